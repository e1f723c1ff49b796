//! A WebSocket client for the feeds.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::PATIENCE;
use super::server::Server;
use super::wire::Req;

pub(crate) const PATH: &str = "/api/events/ws";

/// A handshake, for a test to send or to spoil.
pub(crate) fn handshake() -> Req {
    Req::new("GET", PATH)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

/// One socket. Dropping it resets or closes the connection without a word.
pub(crate) struct Socket {
    socket: WebSocketStream<TcpStream>,
    asked: u64,
    /// Events that came before the answer that was waited for.
    events: std::collections::VecDeque<Value>,
}

impl Socket {
    pub(crate) async fn open(server: &Server) -> Self {
        Self::open_at(server, PATH).await
    }

    /// With a query behind the path.
    pub(crate) async fn open_at(server: &Server, path: &str) -> Self {
        let stream = TcpStream::connect(server.addr()).await.expect("connect");
        let url = format!("ws://{}{path}", server.addr());
        let opened = timeout(PATIENCE, tokio_tungstenite::client_async(url, stream)).await;
        let (socket, _) = opened.expect("in time").expect("a handshake");
        Self {
            socket,
            asked: 0,
            events: std::collections::VecDeque::new(),
        }
    }

    pub(crate) async fn send(&mut self, message: Message) {
        let sent = timeout(PATIENCE, self.socket.send(message)).await;
        sent.expect("in time").expect("send");
    }

    /// Sends a command with a `ref` of its own, and waits for its answer.
    pub(crate) async fn ask(&mut self, mut command: Value) -> Value {
        self.asked += 1;
        command["ref"] = json!(self.asked);
        self.send(Message::text(command.to_string())).await;
        loop {
            let message = self.text().await;
            match message["op"].is_string() {
                true => {
                    assert_eq!(message["ref"], self.asked, "{message}");
                    return message;
                }
                false => self.events.push_back(message),
            }
        }
    }

    /// As [`Socket::ask`]: the `data` of an ack.
    #[track_caller]
    pub(crate) fn acked(&mut self, command: Value) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.ask(command).await;
            assert_eq!(answer["op"], "ack", "{caller}: {answer}");
            answer["data"].clone()
        }
    }

    /// As [`Socket::ask`]: the problem of an error, which must be of this kind.
    #[track_caller]
    pub(crate) fn refused(&mut self, command: Value, slug: &str) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        let wanted = format!("/problems/{slug}");
        async move {
            let answer = self.ask(command).await;
            assert_eq!(answer["op"], "error", "{caller}: {answer}");
            assert_eq!(answer["problem"]["type"], wanted, "{caller}: {answer}");
            answer["problem"].clone()
        }
    }

    /// Reads `default` behind the event with this sequence.
    pub(crate) async fn subscribe_after(&mut self, after: u64) -> Value {
        self.acked(json!({ "op": "subscribe", "projectId": "default", "after": after }))
            .await
    }

    /// The next event that is in the log.
    pub(crate) async fn logged(&mut self) -> Value {
        loop {
            let event = match self.events.pop_front() {
                Some(event) => event,
                None => self.text().await,
            };
            assert!(event["op"].is_null(), "wanted an event, got {event}");
            if event["sequence"].is_string() {
                return event;
            }
        }
    }

    /// The next message that is text.
    pub(crate) async fn text(&mut self) -> Value {
        loop {
            match self.message().await {
                Message::Text(text) => {
                    return serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("wanted text, got {other:?}"),
            }
        }
    }

    /// The code with which the server closes, whatever comes before.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            if let Message::Close(frame) = self.message().await {
                return frame.expect("a code").code.into();
            }
        }
    }

    async fn message(&mut self) -> Message {
        let message = timeout(PATIENCE, self.socket.next()).await;
        let message = message.expect("a message in time").expect("not the end");
        message.expect("a message")
    }
}
