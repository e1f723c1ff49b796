//! A client's byte stream, from the accepted socket to what hyper reads and writes.
//!
//! Every byte of every connection passes [`Io`]. What has to see the bytes of HTTP/1.1 (interim
//! responses, which hyper cannot send) or has to come before them (TLS) goes here and nowhere else.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// What an HTTP/2 client with prior knowledge sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An accepted connection.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
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
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
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
    slow_start: SlowStart,
}

impl<S: AsyncRead + Unpin> Io<S> {
    pub(super) fn new(stream: S) -> Self {
        let first = [0; PREFACE.len()];
        Self {
            stream,
            first,
            seen: 0,
            read: 0,
            slow_start: SlowStart::default(),
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
        if this.read < this.seen {
            let n = buf.remaining().min(this.seen - this.read);
            buf.put_slice(&this.first[this.read..this.read + n]);
            this.read += n;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = match this.slow_start.read_bytes_max() {
            Some(max) => Pin::new(&mut (&mut this.stream).take(max)).poll_read(cx, buf),
            None => Pin::new(&mut this.stream).poll_read(cx, buf),
        };
        match &polled {
            Poll::Ready(_) => this.slow_start.arrived(buf.filled().len() - before),
            Poll::Pending => this.slow_start.ran_dry(),
        }
        polled
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

/// Lets large reads through only for a sender that keeps the socket full.
///
/// hyper doubles its HTTP/1.1 read buffer with every read that fills it, reserves the buffer before
/// it reads, and keeps it while the client is silent. Thousands of stalled uploads would then own
/// hundreds of KiB each for having been fast once. So reads are kept below hyper's second buffer
/// size until [`LIFT_AFTER_BYTES`] came in a row, and again as soon as the socket runs dry.
#[derive(Debug, Default)]
struct SlowStart {
    /// Bytes since the socket ran dry last.
    in_a_row: u64,
}

/// One byte less than 16 KiB, because filling a buffer of 16 KiB makes hyper reserve one of 32.
const SLOW_READ_BYTES_MAX: u64 = 16 * 1024 - 1;

/// How much must arrive without the socket running dry before reads may be large.
const LIFT_AFTER_BYTES: u64 = 512 * 1024;

impl SlowStart {
    /// How much may be read at once; `None` for as much as there is room for.
    fn read_bytes_max(&self) -> Option<u64> {
        (self.in_a_row < LIFT_AFTER_BYTES).then_some(SLOW_READ_BYTES_MAX)
    }

    fn arrived(&mut self, bytes: usize) {
        self.in_a_row = self.in_a_row.saturating_add(bytes as u64);
    }

    fn ran_dry(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures_util::FutureExt;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, duplex};

    use super::{Io, LIFT_AFTER_BYTES, PREFACE, Protocol, SLOW_READ_BYTES_MAX};

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
            let mut io = Io::new(server);
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
        let mut io = Io::new(&PREFACE[..5]);
        assert_eq!(io.protocol().await.unwrap(), Protocol::Http1);
        let nothing = Io::new(&b""[..]).protocol().await.unwrap_err();
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

    #[test]
    fn reads_are_small_until_the_socket_stays_full_for_long_and_again_when_it_runs_dry() {
        let mut io = Io::new(Firehose::default());
        let mut room = vec![0; 256 * 1024];
        let mut read = |io: &mut Io<Firehose>| io.read(&mut room).now_or_never()?.ok();
        let small = SLOW_READ_BYTES_MAX as usize;
        for _ in 0..2 {
            for _ in 0..LIFT_AFTER_BYTES.div_ceil(SLOW_READ_BYTES_MAX) {
                assert_eq!(read(&mut io), Some(small));
            }
            for _ in 0..3 {
                assert_eq!(read(&mut io), Some(256 * 1024));
            }
            io.stream.dry = true;
            assert_eq!(read(&mut io), None);
            io.stream.dry = false;
        }
    }
}
