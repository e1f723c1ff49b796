//! Whether a client is still there while its request is served.
//!
//! hyper does not read while a handler runs, so that a client may close its sending side and still
//! gets the answer. One that has died looks the same. Who would rather not answer a dead client than
//! answer one of that kind asks here.
//!
//! hyper flushes its stream whenever it is polled (`interim`), and it is polled with the handler: so
//! there the stream is looked at, as long as the handler wants to know.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use super::io::Socket;

/// A stream that may tell that nothing more will come.
pub(super) trait Ends {
    /// Ready when the client has closed its sending side and all that it has sent is read. As good as
    /// never where that cannot be known: while something waits to be read, as the end of a TLS session
    /// does.
    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Ends for Socket {
    fn poll_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Tcp(stream) => tcp_end(stream, cx),
            Self::Tls(stream) => tcp_end(stream.get_ref().0, cx),
            Self::Unix(stream) => unix_end(stream, cx),
        }
    }
}

fn tcp_end(stream: &TcpStream, cx: &mut Context<'_>) -> Poll<()> {
    let peek = || stream.try_io(Interest::READABLE, || peek(stream));
    end(|cx| stream.poll_read_ready(cx), peek, cx)
}

fn unix_end(stream: &UnixStream, cx: &mut Context<'_>) -> Poll<()> {
    let peek = || stream.try_io(Interest::READABLE, || peek(stream));
    end(|cx| stream.poll_read_ready(cx), peek, cx)
}

fn end(
    poll_ready: impl Fn(&mut Context<'_>) -> Poll<io::Result<()>>,
    peek: impl Fn() -> io::Result<usize>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    loop {
        if ready!(poll_ready(cx)).is_err() {
            return Poll::Ready(());
        }
        match peek() {
            Ok(0) => return Poll::Ready(()),
            // A further request.
            Ok(_) => return Poll::Pending,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Poll::Ready(()),
        }
    }
}

fn peek(socket: impl AsFd) -> io::Result<usize> {
    let mut byte = [0];
    let (seen, _) = recv(socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok(seen)
}

/// What a handler wants to know, and its connection finds out. Both run in one task, so that one wakes
/// the other by its own waker.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    is_wanted: AtomicBool,
    has_left: AtomicBool,
}

impl Leaving {
    /// Waits until the client has left. To be asked in the task of the connection, by one at a time.
    pub(super) async fn left(&self) {
        let _wanted = Wanted::new(self);
        poll_fn(|_| match self.has_left.load(Relaxed) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    /// Looks at the stream, if somebody wants to know.
    pub(super) fn look(&self, stream: &impl Ends, cx: &mut Context<'_>) {
        let is_wanted = self.is_wanted.load(Relaxed);
        if is_wanted && stream.poll_end(cx).is_ready() {
            self.has_left.store(true, Relaxed);
            cx.waker().wake_by_ref();
        }
    }
}

/// Somebody wants to know.
struct Wanted<'l>(&'l Leaving);

impl<'l> Wanted<'l> {
    fn new(leaving: &'l Leaving) -> Self {
        leaving.is_wanted.store(true, Relaxed);
        Self(leaving)
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.is_wanted.store(false, Relaxed);
    }
}

#[cfg(test)]
impl Ends for tokio::io::DuplexStream {
    fn poll_end(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}
