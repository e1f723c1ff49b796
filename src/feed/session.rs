//! One WebSocket, from its handshake to its end.
//!
//! It is one loop: each round either takes a command or sends something, and nothing else happens
//! while something is being sent. So a client that does not read is not listened to either, and
//! there is no queue between the two: events wait in the log, commands in the client's kernel.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tidegate_protocol::problem::Problem;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::ask::Ask;
use super::command::{Asked, CancelCall, Command, Reference};
use super::reading::{self, Readable, Reading};
use super::{Deps, PATH, command, pings};
use crate::auth::Caller;
use crate::cancel::Scope;

/// A silent client is asked this often whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(25);

/// Pings in a row that a client may leave unanswered.
const PINGS_MAX: u32 = 2;

/// How long a client may keep a piece from being sent by not reading.
const SENT_WITHIN: Duration = Duration::from_secs(20);

/// How long the last frame may take.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// The largest message of a client.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What is read at once, and held by a socket on which nothing happens.
const READ_BYTES: usize = 4 * 1024;

/// Bytes after which a piece is sent, though more events are at hand. The buffer for it stays, and
/// may be twice as large.
const PIECE_BYTES: usize = 4 * 1024;

/// Subscriptions of a socket.
const SUBSCRIPTIONS_MAX: usize = 32;

/// Cancels of a socket that are under way; with so many, no further command is read.
const CANCELS_MAX: usize = 4;

pub(super) struct Session<S> {
    socket: WebSocketStream<S>,
    deps: Arc<Deps>,
    caller: Caller,
    scope: Scope,
    readings: Readings,
    /// Those that are under way, as their answers.
    cancels: FuturesUnordered<BoxFuture<'static, String>>,
    ping: Interval,
    /// Pings since the client was last heard of.
    pings: u32,
}

/// Why a socket ends.
#[derive(Debug, PartialEq, Eq)]
enum Closing {
    /// The client has closed or lost it.
    Gone,
    /// It is closed with this code, for this reason.
    Closed(CloseCode, &'static str),
}

const GOING_AWAY: Closing = Closing::Closed(CloseCode::Away, "the server is stopping");
const BINARY: Closing = Closing::Closed(CloseCode::Unsupported, "messages are text");
const TOO_LARGE: Closing = Closing::Closed(CloseCode::Size, "a message may have 64 KiB");
const SLOW: Closing = Closing::Closed(CloseCode::Again, "nothing was read for too long");
const SILENT: Closing = Closing::Closed(CloseCode::Policy, "pings were not answered");
const BROKEN: Closing = Closing::Closed(CloseCode::Again, "a feed cannot be read now");

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Takes over a connection behind the handshake.
    pub(super) async fn begin(socket: S, deps: Arc<Deps>, caller: Caller, scope: Scope) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(PIECE_BYTES)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
        let ping = pings(PING_EVERY);
        Self {
            socket,
            deps,
            caller,
            scope,
            readings: Readings::default(),
            cancels: FuturesUnordered::new(),
            ping,
            pings: 0,
        }
    }

    /// Serves it to its end and returns what is left of the connection.
    ///
    /// # Cancel safety
    /// Dropping it ends the session without a word. Cancels under way are finished all the same.
    pub(super) async fn run(mut self) -> S {
        let end = loop {
            if let Err(end) = self.turn().await {
                break end;
            }
        };
        tracing::debug!(?end, "the socket ends");
        let closing = async {
            match end {
                // Whoever has said good-bye is owed an answer, which lies ready.
                Closing::Gone => self.socket.flush().await,
                Closing::Closed(code, reason) => {
                    let reason = Utf8Bytes::from_static(reason);
                    self.socket.close(Some(CloseFrame { code, reason })).await
                }
            }
        };
        // To whoever does not read there is no way to tell.
        drop(timeout(CLOSED_WITHIN, closing).await);
        self.socket.into_inner()
    }

    async fn turn(&mut self) -> Result<(), Closing> {
        let is_listening = self.cancels.len() < CANCELS_MAX;
        tokio::select! {
            // A signal that stays.
            _ = self.scope.cancelled() => Err(GOING_AWAY),
            // A message is taken or stays in the socket.
            message = self.socket.next(), if is_listening => self.handle_message(message).await,
            // A delivery is taken or stays in its subscription.
            event = self.readings.next() => match event {
                // The end of the server is that of its feeds, and may be noticed there first.
                Some(Heard::Event(event)) => self.send(Message::Text(event)).await,
                Some(Heard::Denied(project)) => {
                    self.send(Message::text(command::denied(project, PATH))).await
                }
                None if self.scope.reason().is_some() => Err(GOING_AWAY),
                None => Err(BROKEN),
            },
            // An answer is taken or stays with its task.
            Some(answer) = self.cancels.next() => self.send(Message::text(answer)).await,
            // A tick that is missed comes later.
            _ = self.ping.tick() => self.handle_tick(is_listening).await,
        }
    }

    async fn handle_message(
        &mut self,
        message: Option<Result<Message, Error>>,
    ) -> Result<(), Closing> {
        self.pings = 0;
        match message {
            Some(Ok(Message::Text(text))) => self.handle_command(Asked::parse(&text)).await,
            Some(Ok(Message::Binary(_))) => Err(BINARY),
            // tungstenite answers a ping by itself, at the next look at the socket.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Ok(Message::Close(_))) | None => Err(Closing::Gone),
            Some(Err(error)) => Err(Closing::of(&error)),
        }
    }

    async fn handle_command(&mut self, asked: Asked) -> Result<(), Closing> {
        let Asked { reference, command } = asked;
        let scope = self.scope.clone();
        let obeying = async {
            match command? {
                Command::Subscribe {
                    project,
                    start,
                    filter,
                } => {
                    let readable = Readable {
                        project,
                        caller: self.caller.clone(),
                        filter,
                    };
                    self.subscribe(Ask { readable, start }).await.map(Some)
                }
                Command::Unsubscribe { project } => {
                    self.readings.remove(project.as_deref()).map(Some)
                }
                Command::Cancel(cancel) => {
                    self.cancel(cancel, reference.clone());
                    Ok(None)
                }
            }
        };
        let obeyed = tokio::select! {
            // The socket ends, and what it subscribes to with it.
            _ = scope.cancelled() => return Err(GOING_AWAY),
            obeyed = obeying => obeyed,
        };
        match obeyed {
            Ok(Some(data)) => self.send(Message::text(reference.ack(&data))).await,
            Ok(None) => Ok(()),
            Err(problem) => {
                self.send(Message::text(reference.error(&problem, PATH)))
                    .await
            }
        }
    }

    /// Returns the `data` of the answer.
    async fn subscribe(&mut self, ask: Ask) -> Result<Value, Problem> {
        let project = ask.readable.project.clone();
        if !self.readings.has_room(project.as_deref()) {
            return Err(Problem::validation(
                "projectId",
                format!("is one more than the {SUBSCRIPTIONS_MAX} that a socket may have"),
            ));
        }
        let reading = ask.open(&self.deps).await?;
        let subscribed = Subscribed { project, reading };
        let data = subscribed.place();
        self.readings.put(subscribed);
        Ok(data)
    }

    fn cancel(&self, call: CancelCall, reference: Reference) {
        let cancelling = self.deps.cancel.cancel(self.caller.clone(), call);
        // As a task: what was asked for is done though the client leaves, or does not read.
        let cancelled = self.scope.spawn(cancelling);
        let answer = async move {
            match cancelled.await.unwrap_or(Err(Problem::Internal)) {
                Ok(data) => reference.ack(&data),
                Err(problem) => reference.error(&problem, PATH),
            }
        };
        self.cancels.push(answer.boxed());
    }

    async fn handle_tick(&mut self, is_listening: bool) -> Result<(), Closing> {
        if !is_listening {
            // Its pong may lie in the kernel.
            return Ok(());
        }
        if self.pings == PINGS_MAX {
            return Err(SILENT);
        }
        self.pings += 1;
        self.send(Message::Ping(Bytes::new())).await
    }

    /// Sends a message, and behind it the events that are at hand, up to a piece.
    async fn send(&mut self, first: Message) -> Result<(), Closing> {
        let (socket, readings) = (&mut self.socket, &mut self.readings);
        let mut sending = pin!(async {
            let mut bytes = first.len();
            socket.feed(first).await?;
            while bytes < PIECE_BYTES
                && let Some(Some(heard)) = readings.next().now_or_never()
            {
                let text = match heard {
                    Heard::Event(event) => event,
                    Heard::Denied(project) => command::denied(project, PATH).into(),
                };
                bytes += text.len();
                socket.feed(Message::Text(text)).await?;
            }
            socket.flush().await
        });
        let sent = match sending.as_mut().now_or_never() {
            Some(sent) => sent,
            None => tokio::select! {
                // The client is told if it reads on at once.
                _ = self.scope.cancelled() => return Err(GOING_AWAY),
                // It is closed then, and goes on elsewhere from where it was.
                sent = timeout(SENT_WITHIN, sending) => {
                    // Somebody has made room by reading. The ping may be far behind that.
                    self.pings = 0;
                    sent.map_err(|_elapsed| SLOW)?
                }
            },
        };
        sent.map_err(|error| Closing::of(&error))
    }
}

impl Closing {
    fn of(error: &Error) -> Self {
        match error {
            Error::Capacity(_) => TOO_LARGE,
            Error::Utf8(_) => Self::Closed(CloseCode::Invalid, "text is UTF-8"),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Gone,
            Error::Protocol(_) => Self::Closed(CloseCode::Protocol, "that is no WebSocket"),
            _ => Self::Gone,
        }
    }
}

/// All that a socket reads.
#[derive(Default)]
struct Readings {
    all: Vec<Subscribed>,
    /// The one that is asked first next time, so that none is starved.
    first: usize,
}

/// One subscription.
struct Subscribed {
    /// What it was asked for, and is known by.
    project: Option<String>,
    reading: Reading,
}

/// What comes of the subscriptions.
enum Heard {
    Event(Utf8Bytes),
    /// The one of this project has ended, since the client may no longer read it.
    Denied(Option<String>),
}

impl Readings {
    fn has_room(&self, project: Option<&str>) -> bool {
        let mut all = self.all.iter();
        self.all.len() < SUBSCRIPTIONS_MAX || all.any(|one| one.project.as_deref() == project)
    }

    /// In place of the one of the same project, if there is one.
    fn put(&mut self, subscribed: Subscribed) {
        self.all.retain(|one| one.project != subscribed.project);
        self.all.push(subscribed);
    }

    /// Returns where it has ended.
    fn remove(&mut self, project: Option<&str>) -> Result<Value, Problem> {
        let mut all = self.all.iter();
        let at = all.position(|one| one.project.as_deref() == project);
        let at = at.ok_or(Problem::NotFound)?;
        Ok(self.all.remove(at).place())
    }

    /// The next that comes of any. `None`: one of them can no longer be read.
    ///
    /// # Cancel safety
    /// An event is either returned or still to come.
    async fn next(&mut self) -> Option<Heard> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Heard>> {
        let count = self.all.len();
        let first = self.first.checked_rem(count).unwrap_or(0);
        for at in (first..count).chain(0..first) {
            let Some(subscribed) = self.all.get_mut(at) else {
                continue;
            };
            let Poll::Ready(event) = subscribed.poll_next(cx) else {
                continue;
            };
            self.first = at + 1;
            if event.is_none() && subscribed.reading.end() == Some(reading::End::Denied) {
                let Subscribed { project, .. } = self.all.remove(at);
                return Poll::Ready(Some(Heard::Denied(project)));
            }
            return Poll::Ready(event.map(Heard::Event));
        }
        Poll::Pending
    }
}

impl Subscribed {
    /// Where it is, for the client.
    fn place(&self) -> Value {
        json!({ "projectId": self.project, "cursor": self.reading.cursor().to_string() })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Utf8Bytes>> {
        loop {
            let Some(delivery) = ready!(self.reading.poll_next_unpin(cx)) else {
                return Poll::Ready(None);
            };
            match Utf8Bytes::try_from(delivery.event().json.clone()) {
                Ok(text) => return Poll::Ready(Some(text)),
                Err(error) => tracing::error!(%error, "an event that is no text"),
            }
        }
    }
}
