//! Interim responses: 1xx ahead of the answer (RFC 9110, section 15.2).
//!
//! hyper's server cannot send them. Over HTTP/1.1 their heads are put between the bytes that hyper
//! writes. A head may stand between complete messages only, and that rests on one property of hyper:
//! **it flushes its stream only when it has nothing left to write.** Therefore
//!
//! - a head is begun in `poll_flush` and nowhere else, and completed before any byte of hyper's;
//! - heads are taken while the handler of their request runs. With its answer the gate closes, and
//!   the answer waits until hyper has flushed once more, if heads are left. So there are none while
//!   hyper has an answer, nor any behind it;
//! - a request is known by its number, so that what is left of an earlier one is not let in.
//!
//! hyper must also flush whenever it is polled. `tests/interim_hyper.rs` fails if either changes.

use std::future::{pending, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, BytesMut};
use futures_util::task::AtomicWaker;
use http::header::{CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::leaving::{Ends, Leaving};

/// Sends interim responses to a request, until that is answered.
///
/// Clones are the same, may go to other tasks, and may outlive the request and its connection.
#[derive(Clone, Debug)]
pub struct Interim {
    /// `None`: the transport has no way.
    exchange: Option<Exchange>,
}

/// A request over HTTP/1.1, with what comes back.
#[derive(Clone, Debug)]
struct Exchange {
    gate: Gate,
    number: u64,
}

impl Interim {
    /// How many responses may wait for a client to read, per request.
    pub const WAITING_MAX: usize = 8;

    /// Sends nothing, for requests that did not come over HTTP/1.1.
    pub fn none() -> Self {
        Self { exchange: None }
    }

    /// Sends a response without content ahead of the answer. Returns whether it was taken; if so,
    /// it is written before the answer, unless the client leaves.
    ///
    /// It is not taken if the client does not speak HTTP/1.1, if the request has been answered or
    /// its connection has ended, if [`Self::WAITING_MAX`] wait already because the client does not
    /// read, if `status` is not one of 1xx or is 100 or 101, which are not a handler's to send, or
    /// if `reason` is not printable ASCII. Fields that frame a message or belong to its connection
    /// are left out.
    pub fn send(&self, status: StatusCode, reason: &str, fields: &HeaderMap) -> bool {
        let reserved = [StatusCode::CONTINUE, StatusCode::SWITCHING_PROTOCOLS];
        let is_interim = status.is_informational() && !reserved.contains(&status);
        let is_printable = reason.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        match &self.exchange {
            Some(Exchange { gate, number }) if is_interim && is_printable => {
                gate.take(*number, |bytes| write_head(bytes, status, reason, fields))
            }
            _ => false,
        }
    }

    /// Waits until the client has closed its sending side, as one that has died has. For a handler that
    /// waits: to be asked while it runs, and nowhere else. Never returns if that cannot be known; over
    /// HTTP/2 the handler is dropped.
    ///
    /// # Cancel safety
    /// May be dropped.
    pub async fn left(&self) {
        match &self.exchange {
            Some(Exchange { gate, .. }) => gate.0.leaving.left().await,
            None => pending().await,
        }
    }

    /// Takes nothing more, and waits until what was taken is sure to be written before whatever
    /// hyper is given from then on.
    ///
    /// # Cancel safety
    ///
    /// Whoever drops it must drop the connection as well: nothing more is taken, but what was may
    /// come too late.
    pub(super) async fn close(&self) {
        if let Some(Exchange { gate, number }) = &self.exchange {
            gate.close(*number);
            poll_fn(|_| match gate.queued().is_none() {
                true => Poll::Ready(()),
                // `Interleaved::claim` wakes the task, which is the connection's own.
                false => Poll::Pending,
            })
            .await;
        }
    }
}

/// Names and values cannot hold a line break: their types see to that.
fn write_head(bytes: &mut BytesMut, status: StatusCode, reason: &str, fields: &HeaderMap) {
    const NOT_OURS: [HeaderName; 4] = [CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING];
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        bytes.put_slice(part.as_bytes());
    }
    for (name, value) in fields.iter().filter(|(name, _)| !NOT_OURS.contains(name)) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.put_slice(part);
        }
    }
    bytes.put_slice(b"\r\n");
}

/// Lets heads from the handler of a connection's current request through to its stream.
///
/// A connection has it from its first to its last request. What is not needed by a client that
/// merely waits is allocated when there is a head.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The connection's, while the gate is open: polled, it flushes.
    task: AtomicWaker,
    /// Goes up by one when a request comes and when it is answered, so it is odd while the gate is
    /// open, and is then the number of the request. It changes while `queued` is locked.
    number: AtomicU64,
    /// Heads that were taken and are not written yet, in `queued` and beyond.
    waiting: AtomicUsize,
    /// Heads that hyper has not made way for yet.
    queued: Mutex<Option<Box<Heads>>>,
    leaving: Leaving,
}

/// Some heads, one behind the other.
#[derive(Debug, Default)]
struct Heads {
    /// Never empty.
    bytes: BytesMut,
    count: usize,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            task: AtomicWaker::new(),
            number: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            queued: Mutex::new(None),
            leaving: Leaving::default(),
        }))
    }

    /// Opens for a request, as hyper hands it over. Its handler gets what is returned, and
    /// [`Interim::close`] is due with its answer.
    pub(super) fn open(&self, version: Version) -> Interim {
        // An older client takes the first head that comes for the answer.
        if version != Version::HTTP_11 {
            return Interim::none();
        }
        let mut queued = self.queued();
        self.discard(&mut queued);
        // The next odd one.
        let number = self.0.number.load(Relaxed);
        let number = number + 1 + number % 2;
        self.0.number.store(number, Relaxed);
        drop(queued);
        let gate = self.clone();
        Interim {
            exchange: Some(Exchange { gate, number }),
        }
    }

    fn is_open(&self) -> bool {
        self.0.number.load(Relaxed) % 2 == 1
    }

    /// Takes a head for the request with this number, if that is still to be answered.
    fn take(&self, number: u64, write: impl FnOnce(&mut BytesMut)) -> bool {
        let mut queued = self.queued();
        let is_current = self.0.number.load(Relaxed) == number;
        if !is_current || self.0.waiting.load(Relaxed) >= Interim::WAITING_MAX {
            return false;
        }
        let heads = queued.get_or_insert_with(Box::default);
        write(&mut heads.bytes);
        heads.count += 1;
        self.0.waiting.fetch_add(1, Relaxed);
        drop(queued);
        self.0.task.wake();
        true
    }

    fn close(&self, number: u64) {
        let _queued = self.queued();
        if self.0.number.load(Relaxed) == number {
            self.0.number.store(number + 1, Relaxed);
        }
    }

    /// Closes for good, when the connection ends. Whoever still has an [`Interim`] then keeps no
    /// part of the connection alive, neither its task nor heads.
    fn shut(&self) {
        let mut queued = self.queued();
        self.discard(&mut queued);
        if self.is_open() {
            self.0.number.fetch_add(1, Relaxed);
        }
        drop(queued);
        drop(self.0.task.take());
    }

    fn discard(&self, queued: &mut Option<Box<Heads>>) {
        if let Some(heads) = queued.take() {
            self.0.waiting.fetch_sub(heads.count, Relaxed);
        }
    }

    fn queued(&self) -> MutexGuard<'_, Option<Box<Heads>>> {
        self.0.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream to which hyper writes, with interim heads in between.
#[derive(Debug)]
pub(super) struct Interleaved<S> {
    stream: S,
    claim: Claim,
}

/// The stream's side of a gate, which shuts with it.
#[derive(Debug)]
struct Claim {
    gate: Gate,
    /// What is to be written before any byte that hyper writes from now on.
    heads: Option<Box<Heads>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.gate.shut();
    }
}

impl<S> Interleaved<S> {
    pub(super) fn new(stream: S, gate: Gate) -> Self {
        let claim = Claim { gate, heads: None };
        Self { stream, claim }
    }

    /// The stream alone, when HTTP is over.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Claims the heads that are queued. Right only while hyper has nothing to write.
    fn claim(&mut self, cx: &mut Context<'_>) {
        let Claim { gate, heads } = &mut self.claim;
        let is_open = gate.is_open();
        if is_open {
            // Before the look at what waits: a head that comes later wakes.
            gate.0.task.register(cx.waker());
        }
        if gate.0.waiting.load(Relaxed) == 0 {
            return;
        }
        let Some(queued) = gate.queued().take() else {
            return;
        };
        match heads {
            None => *heads = Some(queued),
            Some(heads) => {
                heads.bytes.unsplit(queued.bytes);
                heads.count += queued.count;
            }
        }
        if !is_open {
            // The answer waits for this.
            cx.waker().wake_by_ref();
        }
    }
}

impl<S: AsyncWrite + Unpin> Interleaved<S> {
    /// Writes what is claimed.
    fn poll_claimed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Claim { gate, heads } = &mut self.claim;
        while let Some(claimed) = heads {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &claimed.bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            claimed.bytes.advance(written);
            if claimed.bytes.is_empty() {
                gate.0.waiting.fetch_sub(claimed.count, Relaxed);
                *heads = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Interleaved<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Ends + Unpin> AsyncWrite for Interleaved<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_claimed(cx))?;
        Pin::new(&mut this.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_claimed(cx))?;
        Pin::new(&mut this.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.claim.gate.0.leaving.look(&this.stream, cx);
        this.claim(cx);
        ready!(this.poll_claimed(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper has flushed just before.
        this.claim(cx);
        this.claim.gate.shut();
        ready!(this.poll_claimed(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http::{HeaderMap, HeaderValue, StatusCode, Version};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::{Gate, Interim, Interleaved, Shared};

    fn send(interim: &Interim) -> bool {
        interim.send(StatusCode::EARLY_HINTS, "", &HeaderMap::new())
    }

    #[tokio::test]
    async fn a_head_is_written_as_it_is_given_but_for_what_frames_a_message() {
        let (mut client, server) = duplex(1024);
        let gate = Gate::new();
        let mut server = Interleaved::new(server, gate.clone());
        let interim = gate.open(Version::HTTP_11);
        let mut fields = HeaderMap::new();
        for (name, value) in [
            ("connection", "close"),
            ("content-length", "5"),
            ("location", "/\u{e9}\t/"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
        ] {
            fields.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        fields.append("location", HeaderValue::from_static(""));
        let status = StatusCode::from_u16(104).unwrap();
        assert!(interim.send(status, "Upload Resumption Supported", &fields));
        server.flush().await.unwrap();
        drop(server);
        let mut written = String::new();
        client.read_to_string(&mut written).await.unwrap();
        assert_eq!(
            written,
            "HTTP/1.1 104 Upload Resumption Supported\r\n\
             location: /\u{e9}\t/\r\nlocation: \r\n\r\n"
        );
    }

    #[test]
    fn what_is_no_interim_response_is_not_taken() {
        let gate = Gate::new();
        let interim = gate.open(Version::HTTP_11);
        let fields = HeaderMap::new();
        for status in [100, 101, 200, 204, 404, 999] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(!interim.send(status, "Reason", &fields), "{status}");
        }
        for reason in ["a\r\nb: c", "\n", "\t", "\u{e9}", "\u{7f}"] {
            let status = StatusCode::PROCESSING;
            assert!(!interim.send(status, reason, &fields), "{reason:?}");
        }
        assert!(gate.queued().is_none());
        assert!(!send(&Interim::none()));
        assert!(!send(&gate.open(Version::HTTP_10)));
    }

    #[tokio::test]
    async fn only_so_many_wait_for_a_client_that_does_not_read() {
        let (mut client, server) = duplex(10);
        let gate = Gate::new();
        let mut server = Interleaved::new(server, gate.clone());
        let interim = gate.open(Version::HTTP_11);
        assert!(send(&interim));
        assert!(server.flush().now_or_never().is_none(), "half written");
        for _ in 1..Interim::WAITING_MAX {
            assert!(send(&interim));
        }
        assert!(!send(&interim));
        assert!(server.flush().now_or_never().is_none());
        assert!(!send(&interim), "claimed, and not written");
        let mut written = vec![0; "HTTP/1.1 103 \r\n\r\n".len() * Interim::WAITING_MAX];
        let (flushed, read) = tokio::join!(server.flush(), client.read_exact(&mut written));
        flushed.and(read).unwrap();
        assert!(send(&interim));
    }

    #[tokio::test]
    async fn an_answer_waits_until_hyper_has_flushed_but_not_for_the_client() {
        let (_client, server) = duplex(10);
        let gate = Gate::new();
        let mut server = Interleaved::new(server, gate.clone());
        let interim = gate.open(Version::HTTP_11);
        assert!(interim.close().now_or_never().is_some(), "nothing is sent");
        let interim = gate.open(Version::HTTP_11);
        assert!(send(&interim));
        let mut closing = Box::pin(interim.close());
        assert!((&mut closing).now_or_never().is_none());
        assert!(!send(&interim), "it is closed already");
        assert!(server.flush().now_or_never().is_none(), "nobody reads");
        assert!(closing.now_or_never().is_some());
        let head = server.write(b"HTTP/1.1 200");
        assert!(head.now_or_never().is_none(), "the other one comes first");
    }

    #[tokio::test]
    async fn whoever_outlives_the_connection_keeps_nothing_of_it() {
        let (_client, server) = duplex(10);
        let gate = Gate::new();
        let mut server = Interleaved::new(server, gate.clone());
        let interim = gate.open(Version::HTTP_11);
        server.flush().await.unwrap();
        assert!(send(&interim));
        server.flush().now_or_never();
        assert!(send(&interim));
        drop(server);
        assert!(!send(&interim));
        assert!(gate.queued().is_none() && gate.0.task.take().is_none());
    }

    #[test]
    fn a_connection_that_sends_none_pays_little() {
        assert!(size_of::<Shared>() <= 64);
        assert!(size_of::<Interleaved<()>>() <= 16);
        assert!(size_of::<Interim>() <= 16);
    }
}
