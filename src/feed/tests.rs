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

use super::reading::{End, Readable, Reading};
use super::session::Session;
use super::{Cancel, CancelCall, Deps};
use crate::access;
use crate::auth::{Authenticator, Caller, Capabilities};
use crate::cancel::{CancelReason, Scope, Settling};
use crate::db::conformance::{empty_sqlite, execute};
use crate::db::{CORE, Db, Sql, sql};
use crate::event::{Draft, Feed, Filter, Hub, Kind, Start, log};
use crate::http::{Cors, Origin};

/// A wait that only a defect makes this long.
const AT_MOST: Duration = Duration::from_secs(600);

/// What the pipe holds in each direction.
const PIPE_BYTES: usize = 4 * 1024;

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
        db.migrate(&[CORE, log::LINE, access::LINE]).await.unwrap();
        let scope = Scope::root("server");
        let cancels = Arc::new(Held {
            begun: Mutex::default(),
            let_go: Arc::new(Semaphore::new(0)),
        });
        let numbers = (0..32).map(|number| number.to_string());
        let names = ["a", "busy", "quiet", "another"].map(str::to_owned);
        for project in names.into_iter().chain(numbers) {
            execute(&db, &PROJECT, &[&project, Caller::LOCAL]).await;
        }
        let deps = Deps {
            hub: Hub::new(db.clone(), scope.child("feeds")),
            access: access::Changes::new(),
            cancel: cancels.clone(),
            cors: Cors::Off,
            origin: Origin::Request,
            keep: Duration::from_secs(3600),
            auth: Authenticator::new(None, Capabilities::new(&[0; 32], || 0)),
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
    async fn connect_raw(&self, caller: Caller) -> DuplexStream {
        let (client, server) = duplex(PIPE_BYTES);
        let deps = self.deps.clone();
        let session = Session::begin(server, deps, caller, self.scope.clone()).await;
        drop(self.scope.spawn(session.run()));
        client
    }

    async fn connect(&self) -> Client {
        self.connect_as(Caller::local()).await
    }

    async fn connect_as(&self, caller: Caller) -> Client {
        let raw = self.connect_raw(caller).await;
        Client(WebSocketStream::from_raw_socket(raw, Role::Client, None).await)
    }

    /// Reads all that `caller` may see, or one project.
    async fn read(&self, caller: Caller, project: Option<&str>) -> Result<Reading, Problem> {
        let readable = Readable {
            project: project.map(str::to_owned),
            caller,
            filter: Filter::ALL,
        };
        Reading::open(readable, &Start::Now, &self.deps).await
    }

    /// Brings a user's share of a project into a state, as the module of projects does.
    async fn share(&self, project: &str, user: &str, status: &str) {
        let id = format!("{project}/{user}");
        execute(&self.db, &SHARE, &[&id, project, user, status]).await;
        self.changed(project, Some(user));
    }

    fn changed(&self, project: &str, user: Option<&str>) {
        self.deps.access.tell(access::Change {
            project: project.to_owned(),
            user: user.map(str::to_owned),
        });
    }

    /// Writes so many events.
    async fn happen(&self, project: &str, count: usize) {
        let happens_on = Feed::Project(project.to_owned());
        let feed = happens_on.clone();
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
        self.deps.hub.wake([&happens_on]);
    }

    /// Stops and waits until every task has ended.
    async fn stop(self) {
        self.scope.cancel(CancelReason::Shutdown);
        assert_eq!(self.scope.settle(AT_MOST).await, Settling::Settled);
        self.db.close().await;
    }
}

static PROJECT: Sql = sql!(
    "INSERT INTO project (id, owner_id, title, is_default, created_at, updated_at) \
     VALUES ($1, $2, 'a title', 0, {now}, {now})"
);
static SHARE: Sql = sql!(
    "INSERT INTO share (id, project_id, user_id, status, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, {now}, {now}) ON CONFLICT (id) DO UPDATE SET status = excluded.status"
);

/// The feed and the sequence of what is read next. `None` at the end.
async fn next(reading: &mut Reading) -> Option<(String, Option<u64>)> {
    let delivery = timeout(AT_MOST, reading.next()).await.expect("in time")?;
    let event = delivery.event();
    Some((event.feed.to_string(), event.sequence))
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
async fn nobody_reads_what_he_may_not_see() {
    let world = World::new().await;
    for user in ["stranger", ""] {
        let refused = world.read(Caller::named(user), Some("a")).await;
        assert_eq!(refused.map(drop), Err(Problem::NotFound));
    }
    let refused = world.read(Caller::local(), Some("nothing")).await;
    assert_eq!(refused.map(drop), Err(Problem::NotFound));
    world.share("a", "b", "pending").await;
    let refused = world.read(Caller::named("b"), Some("a")).await;
    assert_eq!(refused.map(drop), Err(Problem::NotFound));
    let mut all = world.read(Caller::named("b"), None).await.unwrap();
    world.happen("a", 1).await;
    assert!(all.next().now_or_never().is_none(), "nothing is his");
    world.stop().await;
}

#[tokio::test]
async fn a_reader_ends_with_his_right_and_others_go_on() {
    let world = World::new().await;
    world.share("a", "b", "accepted").await;
    world.share("a", "c", "accepted").await;
    let read = async |user, project| world.read(Caller::named(user), project).await.unwrap();
    let mut his = [read("b", Some("a")).await, read("b", None).await];
    let mut others = read("c", Some("a")).await;
    world.happen("a", 1).await;
    let first = Some((String::from("project:a"), Some(1)));
    for reading in his.iter_mut().chain([&mut others]) {
        assert_eq!(next(reading).await, first);
    }
    world.share("a", "b", "revoked").await;
    world.happen("a", 1).await;
    for reading in &mut his {
        assert_eq!(next(reading).await, None, "not one event more");
        assert_eq!(reading.end(), Some(End::Denied));
        assert_eq!(next(reading).await, None);
    }
    assert_eq!(
        next(&mut others).await,
        Some((String::from("project:a"), Some(2)))
    );
    world.stop().await;
}

#[tokio::test]
async fn a_reader_of_all_gets_what_he_gains_and_ends_with_what_he_loses() {
    let world = World::new().await;
    world.happen("a", 3).await;
    let mut all = world.read(Caller::named("b"), None).await.unwrap();
    world.share("a", "b", "accepted").await;
    assert!(all.next().now_or_never().is_none(), "it looks");
    while !all.cursor().to_string().contains("project:a") {
        assert!(all.next().now_or_never().is_none(), "nothing from before");
        tokio::task::yield_now().await;
    }
    world.happen("a", 1).await;
    assert_eq!(
        next(&mut all).await,
        Some((String::from("project:a"), Some(4)))
    );
    // His own is new: nothing of it is missed, however late he is told.
    execute(&world.db, &PROJECT, &["own", "b"]).await;
    world.happen("own", 2).await;
    world.changed("own", Some("b"));
    for sequence in 1..=2 {
        let expected = (String::from("project:own"), Some(sequence));
        assert_eq!(next(&mut all).await, Some(expected));
    }
    // What concerns somebody else, or changes nothing for him, ends nothing.
    world.changed("a", Some("c"));
    world.changed("a", None);
    world.happen("a", 1).await;
    assert_eq!(
        next(&mut all).await,
        Some((String::from("project:a"), Some(5)))
    );
    world.share("a", "b", "revoked").await;
    assert_eq!(next(&mut all).await, None);
    assert_eq!(all.end(), Some(End::Denied));
    world.stop().await;
}

#[tokio::test]
async fn a_socket_goes_on_without_what_was_lost() {
    let world = World::new().await;
    world.share("a", "b", "accepted").await;
    world.share("quiet", "b", "accepted").await;
    let mut client = world.connect_as(Caller::named("b")).await;
    for project in ["a", "quiet"] {
        client.say(&subscribe(project, 0)).await;
        assert_eq!(client.hear().await["op"], "ack");
    }
    world.share("a", "b", "revoked").await;
    let told = client.hear().await;
    assert_eq!(
        (&told["op"], &told["projectId"]),
        (&json!("error"), &json!("a"))
    );
    assert_eq!(told["problem"]["code"], "NOT_FOUND", "{told}");
    world.happen("a", 1).await;
    world.happen("quiet", 1).await;
    assert_eq!(client.hear().await["feed"], "project:quiet");
    client.say(&subscribe("a", 0)).await;
    assert_eq!(client.hear().await["problem"]["code"], "NOT_FOUND");
    world.stop().await;
}

#[tokio::test]
async fn a_revocation_at_any_moment_is_the_last_that_is_read() {
    let world = World::new().await;
    let mut rng = fastrand::Rng::with_seed(5);
    for round in 0..100 {
        world.share("busy", "b", "accepted").await;
        let mut reading = world.read(Caller::named("b"), Some("busy")).await.unwrap();
        let head = reading.cursor().to_string();
        for _ in 0..rng.usize(0..3) {
            world.happen("busy", 1).await;
            if rng.bool() {
                next(&mut reading).await.expect("he may");
            }
        }
        world.share("busy", "b", "revoked").await;
        world.happen("busy", 2).await;
        // What lay ready may no longer be read either.
        assert_eq!(next(&mut reading).await, None, "round {round}, from {head}");
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
    let mut raw = world.connect_raw(Caller::local()).await;
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
