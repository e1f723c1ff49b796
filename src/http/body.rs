//! Request bodies on their way in, response bodies on their way out.
//!
//! Invariant: an unfinished request body is never just dropped. It goes back to its connection,
//! which reads and discards the rest, so that the client gets to the answer: closing a socket with
//! unread bytes in it resets the connection, and a reset can overtake the answer.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::telemetry::HttpMetrics;

/// The body of a request.
///
/// A handler may drop it at any point and answer. If it is unfinished then, the connection takes it
/// back: see [`DrainLimits`].
pub struct Body {
    source: Source,
}

enum Source {
    /// Nothing more comes.
    Ended,
    Wire(Wire),
    Other {
        body: UnsyncBoxBody<Bytes, BodyError>,
        is_multiplexed: bool,
    },
}

/// A body that comes from a client.
struct Wire {
    rest: Rest,
    version: Version,
    /// Where an unfinished body goes; dropped unused when the body has ended.
    back: oneshot::Sender<Remains>,
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self {
            source: Source::Ended,
        }
    }

    /// A body from elsewhere than a client, such as a test.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        Self {
            source: Source::Other {
                body: UnsyncBoxBody::new(body),
                is_multiplexed: false,
            },
        }
    }

    /// The same, with what [`Body::is_multiplexed`] says of it: for a body that is made of another.
    pub(super) fn multiplexed(mut self, now: bool) -> Self {
        if let Source::Other { is_multiplexed, .. } = &mut self.source {
            *is_multiplexed = now;
        }
        self
    }

    /// Wraps what hyper gives, and returns the connection's end beside it.
    ///
    /// `hesitant`: the client waits for `100 Continue`, which hyper sends at the first poll.
    pub(super) fn wire(incoming: Incoming, version: Version, hesitant: bool) -> (Self, Leftover) {
        if incoming.is_end_stream() {
            return (Self::empty(), Leftover(None));
        }
        let (back, leftover) = oneshot::channel();
        let wire = Wire {
            rest: Rest {
                incoming,
                asked_for: !hesitant,
            },
            version,
            back,
        };
        (
            Self {
                source: Source::Wire(wire),
            },
            Leftover(Some(leftover)),
        )
    }

    /// The next piece of data, or the trailer fields, or `None` at the end.
    ///
    /// # Errors
    ///
    /// [`BodyError`], once; `None` after that.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a frame is either returned or still to come.
    pub async fn frame(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        poll_fn(|cx| http_body::Body::poll_frame(Pin::new(&mut *self), cx)).await
    }

    /// Whether other requests come on its connection meanwhile.
    pub fn is_multiplexed(&self) -> bool {
        match &self.source {
            Source::Ended => false,
            Source::Wire(wire) => wire.version == Version::HTTP_2,
            Source::Other { is_multiplexed, .. } => *is_multiplexed,
        }
    }

    /// How many bytes are still to come, if that was announced.
    pub fn size_hint_exact(&self) -> Option<u64> {
        http_body::Body::size_hint(self).exact()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let (polled, ended) = match &mut this.source {
            Source::Ended => return Poll::Ready(None),
            Source::Wire(wire) => ready!(wire.poll_frame(cx)),
            Source::Other { body, .. } => {
                let polled = ready!(Pin::new(&mut *body).poll_frame(cx));
                let ended = !matches!(polled, Some(Ok(_))) || body.is_end_stream();
                (polled, ended)
            }
        };
        if ended {
            let source = mem::replace(&mut this.source, Source::Ended);
            if let (Source::Wire(wire), Some(Err(_))) = (source, &polled) {
                // As in `drop`.
                drop(wire.back.send(Remains::Broken));
            }
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Ended => true,
            Source::Wire(wire) => wire.rest.incoming.is_end_stream(),
            Source::Other { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Ended => SizeHint::with_exact(0),
            Source::Wire(wire) => wire.rest.incoming.size_hint(),
            Source::Other { body, .. } => body.size_hint(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Source::Wire(wire) = mem::replace(&mut self.source, Source::Ended) {
            // Without a receiver the connection or the stream is gone, and the rest with it.
            drop(wire.back.send(Remains::Rest(wire.rest)));
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("left", &self.size_hint_exact())
            .finish_non_exhaustive()
    }
}

/// A frame, or the end, or a failure; and whether nothing comes after it.
type Polled = (Option<Result<Frame<Bytes>, BodyError>>, bool);

impl Wire {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Polled> {
        self.rest.asked_for = true;
        let incoming = &mut self.rest.incoming;
        Poll::Ready(match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
            Some(Ok(frame)) => {
                // The end is noted with the last frame, so that a handler which has all the bytes
                // it was promised may answer without asking for more, and keep the connection.
                let ended = frame.is_trailers() || incoming.is_end_stream();
                (Some(Ok(frame)), ended)
            }
            Some(Err(error)) => (Some(Err(BodyError::of(&error))), true),
            // To hyper, an HTTP/2 stream reset with NO_ERROR is a body that has ended. To us it is
            // a client that left: half an upload must never pass for a whole one.
            None if self.version == Version::HTTP_2 && !incoming.is_end_stream() => {
                (Some(Err(BodyError::Gone)), true)
            }
            None => (None, true),
        })
    }
}

/// Why a request body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The client closed or reset the connection or the stream, or lost it.
    #[error("the client left before the body ended")]
    Gone,
    /// What came is no HTTP message body. Whatever was read before it is sound.
    #[error("the body is malformed")]
    Malformed,
}

impl BodyError {
    fn of(error: &hyper::Error) -> Self {
        tracing::debug!(%error, cause = std::error::Error::source(error), "request body broke off");
        let cause = std::error::Error::source(error).and_then(|e| e.downcast_ref::<io::Error>());
        match cause.map(io::Error::kind) {
            // What hyper's chunk decoder says; a socket says neither.
            Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Self::Malformed,
            _ => Self::Gone,
        }
    }
}

/// How much of an unfinished request body is read and discarded after the answer, before the
/// connection (HTTP/1.1) or the stream (HTTP/2) is closed regardless.
#[derive(Clone, Copy, Debug)]
pub struct DrainLimits {
    /// Bytes, at most.
    pub bytes: u64,
    /// Without a byte, at most.
    pub idle: Duration,
    /// Altogether, at most.
    pub total: Duration,
}

impl Default for DrainLimits {
    fn default() -> Self {
        Self {
            bytes: 16 * 1024 * 1024,
            idle: Duration::from_secs(5),
            total: Duration::from_secs(60),
        }
    }
}

/// What a handler did not read of a body.
pub(super) struct Rest {
    incoming: Incoming,
    /// False as long as the client holds the body back until it is told `100 Continue`. Reading it
    /// would tell it so.
    asked_for: bool,
}

impl Rest {
    /// Discards what has arrived already. Returns what remains, which may be nothing.
    pub(super) fn skim(mut self) -> Option<Remains> {
        // A fast sender could keep this going.
        const FRAMES_MAX: usize = 32;
        for _ in 0..FRAMES_MAX {
            if self.incoming.is_end_stream() {
                return None;
            }
            match self.incoming.frame().now_or_never() {
                Some(Some(Ok(_))) => {}
                Some(Some(Err(_))) => return Some(Remains::Broken),
                Some(None) => return None,
                None => break,
            }
        }
        Some(Remains::Rest(self))
    }

    pub(super) fn asked_for(&self) -> bool {
        self.asked_for
    }

    /// Reads and discards up to the end of the body, or to the first limit, and counts that by the
    /// answer which was given before.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any point: the client's stream is closed then.
    pub(super) async fn drain(
        mut self,
        limits: DrainLimits,
        metrics: HttpMetrics,
        answered: StatusCode,
    ) {
        let deadline = Instant::now() + limits.total;
        let mut bytes = 0u64;
        let end = loop {
            if bytes > limits.bytes {
                break "too many bytes";
            }
            let idle = Instant::now() + limits.idle;
            match timeout_at(deadline.min(idle), self.incoming.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let discarded = frame.data_ref().map_or(0, Bytes::len) as u64;
                    metrics.discarded(answered, discarded);
                    bytes += discarded;
                }
                Ok(None) => break "read to its end",
                Ok(Some(Err(_))) => break "client gone",
                Err(_elapsed) => break "too slow",
            }
        };
        tracing::debug!(bytes, end, "drained the rest of a request body");
    }
}

/// What a request body leaves behind that was not read to its end.
pub(super) enum Remains {
    /// It was dropped before.
    Rest(Rest),
    /// It broke off. The connection cannot tell what the bytes after that mean.
    Broken,
}

/// The connection's end of a request body.
pub(super) struct Leftover(Option<oneshot::Receiver<Remains>>);

/// What has become of a request body.
pub(super) enum Left {
    /// It was read to its end.
    Nothing,
    /// Whoever had it is done with it.
    Remains(Remains),
    /// Somebody still has it, and may read on.
    Held(oneshot::Receiver<Remains>),
}

impl Leftover {
    pub(super) fn look(self) -> Left {
        let Some(mut back) = self.0 else {
            return Left::Nothing;
        };
        match back.try_recv() {
            Ok(remains) => Left::Remains(remains),
            Err(oneshot::error::TryRecvError::Closed) => Left::Nothing,
            Err(oneshot::error::TryRecvError::Empty) => Left::Held(back),
        }
    }
}

/// The body of a response.
pub struct OutBody {
    source: OutSource,
}

enum OutSource {
    /// Also when everything has been handed out.
    Empty,
    Full(Bytes),
    Stream(UnsyncBoxBody<Bytes, io::Error>),
}

impl OutBody {
    /// No bytes.
    pub fn empty() -> Self {
        Self {
            source: OutSource::Empty,
        }
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Self::empty();
        }
        Self {
            source: OutSource::Full(bytes),
        }
    }

    /// Bytes that are still to come. On an error the connection or the stream is broken off, so
    /// that the client does not take what it has for the whole.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error = io::Error> + Send + 'static,
    {
        Self {
            source: OutSource::Stream(UnsyncBoxBody::new(body)),
        }
    }
}

impl http_body::Body for OutBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let source = &mut self.get_mut().source;
        if let OutSource::Stream(body) = source {
            return Pin::new(body).poll_frame(cx);
        }
        Poll::Ready(match mem::replace(source, OutSource::Empty) {
            OutSource::Full(bytes) => Some(Ok(Frame::data(bytes))),
            OutSource::Empty | OutSource::Stream(_) => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            OutSource::Empty => true,
            OutSource::Full(_) => false,
            OutSource::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            OutSource::Empty => SizeHint::with_exact(0),
            OutSource::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            OutSource::Stream(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for OutBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = http_body::Body::size_hint(self).exact();
        f.debug_struct("OutBody")
            .field("left", &left)
            .finish_non_exhaustive()
    }
}
