//! A client's byte stream, from the accepted socket to what hyper reads and writes.
//!
//! Every byte of every connection passes [`Io`]. What has to come before the bytes of HTTP (TLS) goes
//! here and nowhere else; what has to come between those that hyper writes, into `interim`.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use super::leaving::Ends;

/// What an HTTP/2 client with prior knowledge sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An accepted connection.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    /// In a box, because most of it is the state of the session.
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// What the first bytes of a connection say that it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A connection of which the first bytes may have been looked at already.
///
/// The looking is a read and not a `peek`, because a Unix socket cannot be peeked at, and because a
/// socket with half a preface in it stays readable: whoever waits for the rest by peeking spins.
#[derive(Debug)]
pub(super) struct Io<S> {
    stream: S,
    /// The first bytes of the connection. `read..seen` of them were seen and not yet read.
    first: [u8; PREFACE.len()],
    seen: usize,
    read: usize,
    pace: Pace,
}

impl<S: AsyncRead + Unpin> Io<S> {
    pub(super) fn new(stream: S, fast: FastReaders) -> Self {
        let first = [0; PREFACE.len()];
        Self {
            stream,
            first,
            seen: 0,
            read: 0,
            pace: Pace::new(fast),
        }
    }

    /// Waits until the first bytes tell the protocol; they are read again from the start later.
    ///
    /// # Errors
    ///
    /// Those of the socket, and `UnexpectedEof` if the client leaves without a word.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was seen is kept, and another call goes on from there.
    pub(super) async fn protocol(&mut self) -> io::Result<Protocol> {
        while self.first[..self.seen] == PREFACE[..self.seen] {
            if self.seen == PREFACE.len() {
                return Ok(Protocol::Http2);
            }
            match self.stream.read(&mut self.first[self.seen..]).await? {
                0 if self.seen == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                // Half a preface and no more to come: hyper's to refuse.
                0 => break,
                n => self.seen += n,
            }
        }
        Ok(Protocol::Http1)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Io<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read == this.seen {
            return this.poll_stream(cx, buf, 0);
        }
        let n = buf.remaining().min(this.seen - this.read);
        buf.put_slice(&this.first[this.read..this.read + n]);
        this.read += n;
        // Together with what follows them, as one read within its limit: hyper would double its
        // first buffer for a head that comes in two, and the head keeps that buffer alive.
        if let Poll::Ready(Err(error)) = this.poll_stream(cx, buf, n) {
            // The next read finds the socket closed.
            tracing::debug!(%error, "connection broke off behind its first bytes");
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> Io<S> {
    /// Reads behind `filled` bytes that this read has already been given.
    fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        filled: usize,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let max = self.pace.read_bytes_max().saturating_sub(filled as u64);
        let polled = Pin::new(&mut (&mut self.stream).take(max)).poll_read(cx, buf);
        match &polled {
            Poll::Ready(_) => self.pace.arrived(buf.filled().len() - before),
            Poll::Pending => self.pace.ran_dry(),
        }
        polled
    }
}

impl<S: Ends> Ends for Io<S> {
    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.read == self.seen {
            true => self.stream.poll_end(cx),
            false => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Io<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// How large the reads of one connection may be.
///
/// hyper doubles its HTTP/1.1 read buffer with every read that fills it, reserves the buffer before
/// it reads, and keeps it while the client is silent. Thousands of stalled uploads would own
/// hundreds of KiB each for having been fast once. So reads do not fill hyper's first buffer until
/// [`LIFT_AFTER_BYTES`] came without a pause, and from then on a connection takes its share of
/// [`FAST_BYTES`], which all fast ones have together.
#[derive(Debug)]
struct Pace {
    fast: FastReaders,
    is_fast: bool,
    /// Bytes since the last pause.
    in_a_row: u64,
    /// Since when the socket has been dry; cleared by the next byte.
    dry_since: Option<Instant>,
}

/// How many connections of a server read fast. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct FastReaders(Arc<AtomicU64>);

/// One byte less than hyper's first buffer: a read that fills it, and hyper reserves 24 KiB.
const SLOW_READ_BYTES_MAX: u64 = 8 * 1024 - 1;

/// How much must arrive without a pause before reads may be large.
const LIFT_AFTER_BYTES: u64 = 512 * 1024;

/// Whole pages are cheapest to write.
const PAGE_BYTES: u64 = 4 * 1024;

/// How much must have arrived in a row for each byte of a read.
const EARNED_PER_BYTE: u64 = 16;

/// What all fast connections may have in their read buffers together, while they are few.
const FAST_BYTES: u64 = 4 * 1024 * 1024;

/// A sender that was silent for this long has to prove itself again.
const PAUSE: Duration = Duration::from_millis(500);

impl Pace {
    fn new(fast: FastReaders) -> Self {
        Self {
            fast,
            is_fast: false,
            in_a_row: 0,
            dry_since: None,
        }
    }

    /// How much may be read at once.
    fn read_bytes_max(&self) -> u64 {
        if !self.is_fast {
            return SLOW_READ_BYTES_MAX;
        }
        let share = FAST_BYTES / self.fast.0.load(Relaxed).max(1);
        // Many that begin together are not all counted yet when the first of them are fast.
        let share = share.min(self.in_a_row / EARNED_PER_BYTE);
        // hyper's buffers are powers of two, and one that is filled is doubled.
        let buffer = 1 << share.max(1).ilog2();
        (buffer - PAGE_BYTES).max(SLOW_READ_BYTES_MAX)
    }

    fn arrived(&mut self, bytes: usize) {
        if self
            .dry_since
            .take()
            .is_some_and(|since| since.elapsed() >= PAUSE)
        {
            self.in_a_row = 0;
            self.set_fast(false);
        }
        self.in_a_row = self.in_a_row.saturating_add(bytes as u64);
        if self.in_a_row >= LIFT_AFTER_BYTES {
            self.set_fast(true);
        }
    }

    fn ran_dry(&mut self) {
        self.dry_since.get_or_insert_with(Instant::now);
    }

    fn set_fast(&mut self, fast: bool) {
        match (std::mem::replace(&mut self.is_fast, fast), fast) {
            (false, true) => drop(self.fast.0.fetch_add(1, Relaxed)),
            (true, false) => drop(self.fast.0.fetch_sub(1, Relaxed)),
            (false, false) | (true, true) => {}
        }
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.set_fast(false);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures_util::FutureExt;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, duplex};

    use super::{
        EARNED_PER_BYTE, FAST_BYTES, FastReaders, Io, LIFT_AFTER_BYTES, PAGE_BYTES, PAUSE, PREFACE,
        Pace, Protocol, SLOW_READ_BYTES_MAX,
    };

    #[tokio::test]
    async fn a_protocol_is_told_from_as_few_bytes_as_possible_and_all_are_read_again() {
        for (pieces, protocol) in [
            (&["GET / HTTP/1.1"][..], Protocol::Http1),
            (&["P", "ATCH /"], Protocol::Http1),
            (
                &["PRI * HTTP/2.0\r\n\r\n", "SM\r", "\n\r\nrest"],
                Protocol::Http2,
            ),
            (&["PRI * HTTP/2.0\r\n\r\nS", "X"], Protocol::Http1),
        ] {
            let (mut client, server) = duplex(1024);
            let mut io = Io::new(server, FastReaders::default());
            for (index, piece) in pieces.iter().enumerate() {
                assert!(
                    io.protocol().now_or_never().is_none(),
                    "{pieces:?} before {index}"
                );
                client.write_all(piece.as_bytes()).await.unwrap();
            }
            assert_eq!(io.protocol().await.unwrap(), protocol, "{pieces:?}");
            drop(client);
            let mut all = String::new();
            io.read_to_string(&mut all).await.unwrap();
            assert_eq!(all, pieces.concat());
        }
    }

    #[tokio::test]
    async fn half_a_preface_is_handed_on_and_nothing_at_all_is_an_error() {
        let mut io = Io::new(&PREFACE[..5], FastReaders::default());
        assert_eq!(io.protocol().await.unwrap(), Protocol::Http1);
        let nothing = Io::new(&b""[..], FastReaders::default())
            .protocol()
            .await
            .unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::UnexpectedEof);
    }

    /// Fills whatever room it is given, unless it is dry.
    #[derive(Default)]
    struct Firehose {
        dry: bool,
    }

    impl AsyncRead for Firehose {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.dry {
                return Poll::Pending;
            }
            buf.initialize_unfilled();
            buf.set_filled(buf.capacity());
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn reads_are_small_until_much_came_without_a_pause() {
        let mut io = Io::new(Firehose::default(), FastReaders::default());
        let mut room = vec![0; 256 * 1024];
        let mut read = |io: &mut Io<Firehose>| io.read(&mut room).now_or_never()?.ok();
        let small = SLOW_READ_BYTES_MAX as usize;
        for _ in 0..2 {
            for _ in 0..LIFT_AFTER_BYTES.div_ceil(SLOW_READ_BYTES_MAX) {
                assert_eq!(read(&mut io), Some(small));
            }
            for dry in [false, true, false] {
                io.stream.dry = dry;
                let large = read(&mut io).map(|n| n > small);
                assert_eq!(large, (!dry).then_some(true), "dry for a moment only");
            }
            io.stream.dry = true;
            assert_eq!(read(&mut io), None);
            tokio::time::advance(PAUSE).await;
            io.stream.dry = false;
            let first = read(&mut io);
            assert!(first > Some(small), "it shows that there was a pause");
            io.pace.in_a_row = 0;
        }
    }

    #[test]
    fn fast_connections_share_what_there_is() {
        let fast = FastReaders::default();
        let mut paces: Vec<_> = (0..64).map(|_| Pace::new(fast.clone())).collect();
        paces[0].arrived(LIFT_AFTER_BYTES as usize);
        let earned = LIFT_AFTER_BYTES / EARNED_PER_BYTE;
        assert_eq!(paces[0].read_bytes_max(), earned - PAGE_BYTES);
        for pace in &mut paces {
            pace.arrived(1 << 30);
        }
        assert_eq!(paces[0].read_bytes_max(), FAST_BYTES / 64 - PAGE_BYTES);
        paces.truncate(3);
        assert_eq!(
            paces[0].read_bytes_max(),
            FAST_BYTES / 4 - PAGE_BYTES,
            "who has left takes nothing, and a share is a power of two"
        );
    }
}
