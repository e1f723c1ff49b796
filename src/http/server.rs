//! Listening and accepting, until the scope is cancelled.
//!
//! Invariant: every accepted connection holds one of `connections_max` permits. While there is none
//! left, nothing is accepted: the kernel's backlog is the queue, and then the clients' patience.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::Scheme;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::connection::{self, Shared};
use super::io::{FastReaders, Socket};
use super::telemetry::HttpMetrics;
use super::{Cors, DrainLimits, Origin, Peer, Proxies, Router, Throttle, Tls};
use crate::auth::Authenticator;
use crate::cancel::Scope;

/// How long a client over TCP may leave unread what it was sent (`TCP_USER_TIMEOUT`, tcp(7)).
const UNREAD_WITHIN: Duration = Duration::from_secs(60);

/// The transport's part of the configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a client may take for the header section of a request. An idle HTTP/1.1 connection
    /// is closed after this time too.
    pub header_timeout: Duration,
    /// The largest header section. A larger one is answered by 431.
    pub header_bytes_max: usize,
    /// How far the read buffer of an HTTP/1.1 connection may grow.
    pub read_buffer_bytes_max: usize,
    /// How many connections are open at once, at most.
    pub connections_max: usize,
    /// What is read of a body after the answer.
    pub drain: DrainLimits,
    /// Secures every connection over TCP.
    pub tls: Option<Tls>,
    /// Who is believed what it says of a client.
    pub proxies: Proxies,
    /// Who is calling.
    pub auth: Authenticator,
    /// Which pages are the server's own.
    pub origin: Origin,
    /// Which others may act for the user whose browser they are in.
    pub cors: Cors,
    /// How many requests each caller may make. `None`: as many as come.
    pub throttle: Option<Throttle>,
}

impl Config {
    /// For these callers, and the rest as most have it.
    pub fn new(auth: Authenticator) -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            header_bytes_max: 16 * 1024,
            read_buffer_bytes_max: 512 * 1024,
            connections_max: 16 * 1024,
            drain: DrainLimits::default(),
            tls: None,
            proxies: Proxies::default(),
            auth,
            origin: Origin::Request,
            cors: Cors::Off,
            throttle: None,
        }
    }

    /// How clients over TCP reach the server.
    pub fn scheme(&self) -> Scheme {
        match self.tls {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        }
    }
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `host:port`. Port 0 is any free one.
    Tcp(String),
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("`unix:` must be followed by a path"),
                path => Ok(Self::Unix(path.into())),
            };
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(text.to_owned()))
            }
            _ => Err("an address is `host:port` or `unix:PATH`"),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where a listener has come to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// At this address, with its real port.
    Tcp(SocketAddr),
    /// At this path.
    Unix(PathBuf),
}

impl Bound {
    /// Whether only this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// As a URL where there is one: `http://127.0.0.1:7070` or `unix:PATH`.
    pub fn url(&self, scheme: &Scheme) -> String {
        match self {
            Self::Tcp(address) => format!("{scheme}://{address}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

/// Why nothing can be listened to.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}: {source}")]
pub struct BindError {
    listen: Listen,
    source: io::Error,
}

/// Sockets that clients can connect to already, and that are served from [`serve`] on.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<Listener>,
    /// The listener that is asked first next time, so that none is starved.
    first: usize,
}

impl Listeners {
    /// Binds all of them, or none.
    ///
    /// A Unix socket that a crashed server left behind is replaced; one that is in use is not.
    ///
    /// # Errors
    ///
    /// The first address that cannot be bound.
    pub async fn bind(listens: &[Listen]) -> Result<Self, BindError> {
        let mut sockets = Vec::with_capacity(listens.len());
        for listen in listens {
            let bound = Listener::bind(listen).await;
            sockets.push(bound.map_err(|source| BindError {
                listen: listen.clone(),
                source,
            })?);
        }
        Ok(Self { sockets, first: 0 })
    }

    /// Where they listen, in the order given to [`Listeners::bind`].
    ///
    /// # Errors
    ///
    /// If the system does not say.
    pub fn bound(&self) -> io::Result<Vec<Bound>> {
        self.sockets.iter().map(Listener::bound).collect()
    }

    /// # Cancel safety
    ///
    /// Cancel safe: a connection is either returned or stays in the backlog.
    async fn accept(&mut self) -> io::Result<(Socket, Peer)> {
        self.first = (self.first + 1) % self.sockets.len().max(1);
        poll_fn(|cx| {
            let (later, sooner) = self.sockets.split_at(self.first);
            let mut polled = sooner
                .iter()
                .chain(later)
                .map(|listener| listener.poll_accept(cx));
            polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
        })
        .await
    }
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix {
        /// Dropped before the listener: the path is gone before a successor can bind it.
        path: SocketPath,
        listener: UnixListener,
    },
}

impl Listener {
    async fn bind(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            Listen::Unix(path) => {
                remove_stale(path).await?;
                let listener = UnixListener::bind(path)?;
                Ok(Self::Unix {
                    path: SocketPath(path.clone()),
                    listener,
                })
            }
        }
    }

    fn bound(&self) -> io::Result<Bound> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Bound::Tcp),
            Self::Unix { path, .. } => Ok(Bound::Unix(path.0.clone())),
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, Peer)>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, address)| {
                if let Err(error) = set_up(&stream) {
                    tracing::debug!(%error, "options of a socket are not set");
                }
                (Socket::Tcp(stream), Peer::Tcp(address))
            }),
            Self::Unix { listener, .. } => listener
                .poll_accept(cx)
                .map_ok(|(stream, _)| (Socket::Unix(stream), Peer::Unix)),
        }
    }
}

fn set_up(stream: &TcpStream) -> io::Result<()> {
    // hyper writes whole answers: there is nothing to wait for.
    stream.set_nodelay(true)?;
    // Neither a client that is gone without a word nor one that never reads is waited for.
    let unread = u32::try_from(UNREAD_WITHIN.as_millis()).unwrap_or(u32::MAX);
    set_tcp_user_timeout(stream, unread)?;
    Ok(())
}

/// The name of a Unix socket in the file system, removed with it.
#[derive(Debug)]
struct SocketPath(PathBuf);

impl Drop for SocketPath {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "the socket's path stays behind");
        }
    }
}

/// Removes a socket that nobody listens on. Anything else at this path is for `bind` to complain of.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|at| at.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Ok(()),
    }
}

/// Serves requests until `scope` is cancelled.
///
/// Returns when nothing is accepted any more and the listeners are closed. The connections are
/// tasks of `scope`: they finish what is under way and end, and [`Scope::settle`] waits for them.
///
/// # Cancel safety
///
/// Not cancel safe for its purpose: dropping it closes the listeners and leaves the connections.
pub async fn serve(
    mut listeners: Listeners,
    router: Router,
    config: Config,
    metrics: HttpMetrics,
    scope: Scope,
) {
    let permits = Arc::new(Semaphore::new(
        config.connections_max.min(Semaphore::MAX_PERMITS),
    ));
    let shared = Arc::new(Shared {
        router,
        config,
        metrics,
        fast: FastReaders::default(),
    });
    let mut backoff = Backoff::default();
    loop {
        let accepting = async {
            // The semaphore is never closed, so there is always a permit to wait for.
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listeners.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            // A connection that is still in the backlog is reset when the listener closes.
            _ = scope.cancelled() => break,
            // Drops a permit or a place in line for one.
            accepted = accepting => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                backoff.succeeded();
                let connected = shared.metrics.connected();
                let own = scope.child("connection");
                let serving = connection::run(socket, peer, Arc::clone(&shared), own.clone());
                drop(own.spawn(async move {
                    serving.await;
                    drop((connected, permit));
                }));
            }
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(%error, "a client left before it was accepted");
            }
            Err(error) => {
                let (delay, first) = backoff.failed();
                if first {
                    tracing::error!(%error, "cannot accept connections; trying again and again");
                }
                tokio::select! {
                    // Nothing is held here.
                    _ = scope.cancelled() => break,
                    () = sleep(delay) => {}
                }
            }
        }
    }
}

/// Whether an error of `accept` is about the connection that was to be accepted. All others are
/// taken for a lack of descriptors or memory, which lasts: the next call would fail at once again.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// How long to wait before accepting is tried again.
#[derive(Debug, Default)]
struct Backoff {
    /// The last wait; zero while accepting works.
    delay: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);

    /// The time to wait, and whether this is the first failure in a row.
    fn failed(&mut self) -> (Duration, bool) {
        let first = self.delay.is_zero();
        self.delay = (self.delay * 2).clamp(Self::FIRST, Self::LONGEST);
        (self.delay, first)
    }

    fn succeeded(&mut self) {
        if !self.delay.is_zero() {
            tracing::info!("accepting connections again");
        }
        self.delay = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, Bound, Listen};

    #[test]
    fn accept_failures_back_off_from_50_ms_to_1_s_and_are_new_only_once() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..7).map(|_| backoff.failed()).collect();
        let ms = [50, 100, 200, 400, 800, 1000, 1000].map(Duration::from_millis);
        assert_eq!(waits.iter().map(|wait| wait.0).collect::<Vec<_>>(), ms);
        assert_eq!(waits.iter().filter(|wait| wait.1).count(), 1);
        assert!(waits[0].1);
        backoff.succeeded();
        assert_eq!(backoff.failed(), (Duration::from_millis(50), true));
    }

    #[test]
    fn a_listen_address_is_host_and_port_or_a_path() {
        assert_eq!("127.0.0.1:0".parse(), Ok(Listen::Tcp("127.0.0.1:0".into())));
        assert_eq!("[::1]:7070".parse(), Ok(Listen::Tcp("[::1]:7070".into())));
        assert_eq!(
            "localhost:80".parse(),
            Ok(Listen::Tcp("localhost:80".into()))
        );
        assert_eq!(
            "unix:/run/t.sock".parse(),
            Ok(Listen::Unix("/run/t.sock".into()))
        );
        for wrong in [
            "",
            "7070",
            ":7070",
            "127.0.0.1",
            "127.0.0.1:",
            "a:70000",
            "unix:",
        ] {
            assert!(wrong.parse::<Listen>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn loopback_is_local_also_when_mapped() {
        let local = |text: &str| Bound::Tcp(text.parse().unwrap()).is_local();
        assert!(local("127.0.0.1:1") && local("[::1]:1") && local("[::ffff:127.0.0.1]:1"));
        assert!(!local("0.0.0.0:1") && !local("[::]:1") && !local("192.0.2.1:1"));
        assert!(Bound::Unix("/x".into()).is_local());
    }
}
