//! A WebSocket over a pipe that holds little, with a clock that can be turned.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tidegate_protocol::problem::Problem;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::session::Session;
use super::{Access, Cancel, CancelCall, Deps};
use crate::auth::Caller;
use crate::cancel::{CancelReason, Scope, Settling};
use crate::db::conformance::empty_sqlite;
use crate::db::{CORE, Db};
use crate::event::{Draft, Feed, Hub, Kind, log};
use crate::http::{Cors, Origin};

/// A wait that only a defect makes this long.
const AT_MOST: Duration = Duration::from_secs(600);

/// What the pipe holds in each direction.
const PIPE_BYTES: usize = 4 * 1024;

/// Every project is there for everybody.
#[derive(Debug)]
struct Everything;

impl Access for Everything {
    fn feeds(&self, _: &Caller, project: Option<&str>) -> Option<Vec<Feed>> {
        Some(vec![Feed::Project(project.unwrap_or("all").to_owned())])
    }
}

/// Cancels that last until they are let go.
#[derive(Debug)]
struct Held {
    begun: Mutex<Vec<String>>,
    let_go: Arc<Semaphore>,
}

impl Cancel for Held {
    fn cancel(&self, _: Caller, call: CancelCall) -> BoxFuture<'static, Result<Value, Problem>> {
        self.begun.lock().unwrap().push(call.id);
        let let_go = self.let_go.clone();
        let cancelling = async move {
            let_go.acquire().await.unwrap().forget();
            Ok(json!("cancelled"))
        };
        cancelling.boxed()
    }
}

struct World {
    _dir: tempfile::TempDir,
    db: Db,
    scope: Scope,
    cancels: Arc<Held>,
    deps: Arc<Deps>,
}

impl World {
    async fn new() -> Self {
        let (dir, db) = empty_sqlite().await;
        db.migrate(&[CORE, log::LINE]).await.unwrap();
        let scope = Scope::root("server");
        let cancels = Arc::new(Held {
            begun: Mutex::default(),
            let_go: Arc::new(Semaphore::new(0)),
        });
        let deps = Deps {
            hub: Hub::new(db.clone(), scope.child("feeds")),
            access: Arc::new(Everything),
            cancel: cancels.clone(),
            cors: Cors::Off,
            origin: Origin::Request,
            keep: Duration::from_secs(3600),
        };
        Self {
            _dir: dir,
            db,
            scope,
            cancels,
            deps: Arc::new(deps),
        }
    }

    /// The client's end of a new socket, raw.
    async fn connect_raw(&self) -> DuplexStream {
        let (client, server) = duplex(PIPE_BYTES);
        let (deps, caller) = (self.deps.clone(), Caller::local());
        let session = Session::begin(server, deps, caller, self.scope.clone()).await;
        drop(self.scope.spawn(session.run()));
        client
    }

    async fn connect(&self) -> Client {
        let raw = self.connect_raw().await;
        Client(WebSocketStream::from_raw_socket(raw, Role::Client, None).await)
    }

    /// Writes so many events.
    async fn happen(&self, project: &str, count: usize) {
        let feed = Feed::Project(project.to_owned());
        let written = self.db.write(move |tx| {
            let feed = feed.clone();
            async move {
                for number in 0..count {
                    let draft = Draft {
                        feed: feed.clone(),
                        kind: Kind::UploadCreated,
                        subject: format!("upload/{number}"),
                        data: json!({ "filler": "x".repeat(100) }),
                    };
                    log::record(tx, draft).await?;
                }
                Ok(())
            }
            .boxed()
        });
        written.await.unwrap();
        self.deps.hub.wake();
    }

    /// Stops and waits until every task has ended.
    async fn stop(self) {
        self.scope.cancel(CancelReason::Shutdown);
        assert_eq!(self.scope.settle(AT_MOST).await, Settling::Settled);
        self.db.close().await;
    }
}

struct Client(WebSocketStream<DuplexStream>);

impl Client {
    async fn say(&mut self, command: &Value) {
        let message = Message::text(command.to_string());
        self.0.send(message).await.unwrap();
    }

    /// The next message that is text.
    async fn hear(&mut self) -> Value {
        loop {
            let message = timeout(AT_MOST, self.0.next()).await.expect("in time");
            match message.expect("the socket goes on").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The code with which the socket is closed, whatever comes before.
    async fn closed(&mut self) -> CloseCode {
        loop {
            let message = timeout(AT_MOST, self.0.next()).await.expect("in time");
            if let Message::Close(frame) = message.expect("the socket is closed").unwrap() {
                return frame.expect("a code").code;
            }
        }
    }
}

fn subscribe(project: &str, after: u64) -> Value {
    json!({ "op": "subscribe", "projectId": project, "after": after })
}

#[tokio::test]
async fn a_reader_through_a_narrow_pipe_misses_nothing() {
    const EVENTS: usize = 700;
    let world = World::new().await;
    world.happen("a", EVENTS).await;
    let mut client = world.connect().await;
    client.say(&subscribe("a", 0)).await;
    assert_eq!(client.hear().await["op"], "ack");
    world.happen("a", EVENTS).await;
    for sequence in 1..=2 * EVENTS {
        assert_eq!(client.hear().await["sequence"], sequence.to_string());
    }
    world.stop().await;
}

#[tokio::test]
async fn no_subscription_starves_another() {
    let world = World::new().await;
    world.happen("busy", 2_000).await;
    world.happen("quiet", 1).await;
    let mut client = world.connect().await;
    client.say(&subscribe("busy", 0)).await;
    client.say(&subscribe("quiet", 0)).await;
    let mut before = 0;
    while client.hear().await["feed"] != "project:quiet" {
        before += 1;
    }
    assert!(before < 1_000, "{before} events came first");
    world.stop().await;
}

#[tokio::test]
async fn subscriptions_are_bounded_and_a_second_one_replaces_the_first() {
    let world = World::new().await;
    let mut client = world.connect().await;
    for project in 0..32 {
        client.say(&subscribe(&project.to_string(), 0)).await;
        assert_eq!(client.hear().await["op"], "ack");
    }
    client.say(&subscribe("another", 0)).await;
    let refused = client.hear().await;
    assert_eq!(refused["problem"]["code"], "VALIDATION_ERROR", "{refused}");
    world.happen("7", 1).await;
    assert_eq!(client.hear().await["sequence"], "1");
    client.say(&subscribe("7", 0)).await;
    assert_eq!(client.hear().await["op"], "ack");
    assert_eq!(client.hear().await["sequence"], "1", "again, and once");
    client
        .say(&json!({ "op": "unsubscribe", "projectId": "7" }))
        .await;
    assert_eq!(client.hear().await["data"]["projectId"], "7");
    client.say(&subscribe("another", 0)).await;
    assert_eq!(client.hear().await["op"], "ack");
    world.stop().await;
}

#[tokio::test]
async fn so_many_cancels_are_under_way_and_no_more() {
    let world = World::new().await;
    let mut client = world.connect().await;
    for id in 0..10 {
        let id = id.to_string();
        let cancel = json!({ "op": "cancel", "operation": "upload", "id": id, "ref": id });
        client.say(&cancel).await;
    }
    world.cancels.let_go.add_permits(1);
    assert_eq!(client.hear().await["data"], "cancelled");
    let begun = world.cancels.begun.lock().unwrap().len();
    assert!(begun <= 5, "{begun} were begun, and one has ended");
    world.cancels.let_go.add_permits(9);
    for _ in 1..10 {
        assert_eq!(client.hear().await["op"], "ack");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_cancel_is_done_though_its_client_leaves() {
    let world = World::new().await;
    let mut client = world.connect().await;
    let cancel = json!({ "op": "cancel", "operation": "upload", "id": "x" });
    client.say(&cancel).await;
    client.say(&json!({ "op": "dance" })).await;
    assert_eq!(client.hear().await["op"], "error");
    drop(client);
    world.scope.cancel(CancelReason::Shutdown);
    let waiting = world.scope.settle(Duration::from_millis(1)).await;
    assert_eq!(waiting, Settling::Overdue);
    world.cancels.let_go.add_permits(1);
    world.stop().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_not_listened_to_and_is_closed() {
    let world = World::new().await;
    tokio::time::pause();
    let mut client = world.connect().await;
    let began = Instant::now();
    let command = Message::text(json!({ "op": "dance", "ref": "x".repeat(100) }).to_string());
    let mut said = 0;
    // Until the pipe to the server is full as well, and for as long as the server waits.
    let patience = Duration::from_millis(20_500);
    while let Ok(sent) = timeout(patience, client.0.send(command.clone())).await {
        sent.unwrap();
        said += 1;
        assert!(said < 1_000, "the server takes one command after the other");
    }
    assert_eq!(client.closed().await, CloseCode::Again);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(20), "{took:?}");
    assert!(took < Duration::from_secs(25), "{took:?}");
    tokio::time::resume();
    world.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_closed() {
    let world = World::new().await;
    tokio::time::pause();
    let mut raw = world.connect_raw().await;
    let began = Instant::now();
    let mut heard = Vec::new();
    timeout(AT_MOST, raw.read_to_end(&mut heard))
        .await
        .unwrap()
        .unwrap();
    let ping = [0x89, 0];
    assert_eq!(heard[..4], [ping, ping].concat(), "{heard:?}");
    assert_eq!(heard[4], 0x88, "{heard:?}");
    assert_eq!(heard[6..8], 1008_u16.to_be_bytes());
    assert_eq!(began.elapsed().as_secs(), 75);

    let mut client = world.connect().await;
    let silent = timeout(Duration::from_secs(300), async {
        loop {
            let message = client.0.next().await.unwrap().unwrap();
            assert!(message.is_ping(), "{message}");
        }
    });
    assert!(silent.await.is_err(), "it answers by itself");
    tokio::time::resume();
    world.stop().await;
}

#[tokio::test]
async fn the_end_of_the_server_is_told_to_whoever_reads() {
    let world = World::new().await;
    let mut clients = Vec::new();
    // Each may notice it in a way of its own.
    for _ in 0..20 {
        let mut client = world.connect().await;
        client.say(&subscribe("a", 0)).await;
        assert_eq!(client.hear().await["op"], "ack");
        clients.push(client);
    }
    world.scope.cancel(CancelReason::Shutdown);
    for mut client in clients {
        assert_eq!(client.closed().await, CloseCode::Away);
    }
    world.stop().await;
}
