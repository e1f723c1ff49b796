//! Requests that the server makes itself.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::uri::Scheme;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::rt::Executor;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_native_certs::load_native_certs;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

use super::TlsError;
use super::reach::Reach;
use crate::cancel::Scope;

/// How long one address may take to take a connection, before the next one is tried.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// How long finding, connecting and shaking hands may take together.
const SECURED_WITHIN: Duration = Duration::from_secs(12);

/// How long a connection is kept for the next request.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Connections to one server that are kept.
const IDLE_COUNT_MAX: usize = 4;

/// Names that are looked up at once. The system's resolver blocks a thread for as long as it likes,
/// and those threads are needed for the disk.
static LOOKUPS: Semaphore = Semaphore::const_new(2);

/// What is read of an answer's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What is read of an answer's body, so that its connection can be used again.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// For how long it is read.
const BODY_WITHIN: Duration = Duration::from_secs(1);

/// Asks other servers. It follows no redirects, takes no proxy, and goes where its [`Reach`] lets it.
pub struct Client(legacy::Client<Timed<HttpsConnector<Connector>>, Full<Bytes>>);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It did not come in time.
    #[error("no answer in time")]
    Late,
    /// It could not be asked, or went away.
    #[error(transparent)]
    Failed(#[from] legacy::Error),
    /// Its body broke off, or is larger than wanted.
    #[error("no whole answer: {0}")]
    Body(BoxError),
}

impl Client {
    /// Its connections run in `scope`. Reads the certificates that this machine trusts, which
    /// blocks.
    ///
    /// # Errors
    /// TLS cannot be used.
    pub fn new(reach: Reach, scope: Scope) -> Result<Self, TlsError> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector { reach });
        let client = legacy::Client::builder(Tasks(scope))
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_COUNT_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(Timed(connector));
        Ok(Self(client))
    }

    /// Sends `request` to where its URI leads, and waits for the head of the answer. Its body is not
    /// wanted.
    ///
    /// # Errors
    /// There is none, or none `within` this time.
    ///
    /// # Cancel safety
    /// Nobody knows then what the other side has made of it.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        within: Duration,
    ) -> Result<http::Response<()>, ClientError> {
        let asked = timeout(within, self.0.request(request)).await;
        let (head, body) = asked.map_err(|_| ClientError::Late)??.into_parts();
        // A body that is too long or too slow costs its connection, and the answer is known.
        let body = Limited::new(body, BODY_BYTES_MAX);
        drop(timeout(BODY_WITHIN, body.collect()).await);
        Ok(http::Response::from_parts(head, ()))
    }

    /// As [`Client::send`], with a body of up to `bytes_max`, all of it `within` the same time.
    ///
    /// # Errors
    /// There is no answer, or none in time, or its body is larger.
    ///
    /// # Cancel safety
    /// Nobody knows then what the other side has made of it.
    pub async fn fetch(
        &self,
        request: Request<Full<Bytes>>,
        within: Duration,
        bytes_max: usize,
    ) -> Result<http::Response<Bytes>, ClientError> {
        let fetched = timeout(within, async {
            let (head, body) = self.0.request(request).await?.into_parts();
            let body = Limited::new(body, bytes_max).collect().await;
            let body = body.map_err(ClientError::Body)?.to_bytes();
            Ok(http::Response::from_parts(head, body))
        });
        fetched.await.map_err(|_| ClientError::Late)?
    }
}

/// Servers are believed whom this machine believes.
fn trust() -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors = found.errors;
        tracing::warn!(
            ?errors,
            "this machine trusts no certificates: https:// will not work"
        );
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Runs connections, which end with the scope.
#[derive(Clone)]
struct Tasks(Scope);

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        let scope = self.0.clone();
        self.0.spawn(async move {
            tokio::select! {
                // Whoever waits for an answer ends by itself.
                _ = scope.cancelled() => {}
                _ = future => {}
            }
        });
    }
}

/// Connects in bounded time: a connect that nobody waits for any more is gone on with, for the next
/// request.
#[derive(Clone)]
struct Timed<C>(C);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<C> Service<Uri> for Timed<C>
where
    C: Service<Uri, Error = BoxError, Future: Send + 'static>,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        async move { timeout(SECURED_WITHIN, connecting).await? }.boxed()
    }
}

/// Connects to addresses within reach: what was looked at is what is connected to.
#[derive(Clone)]
struct Connector {
    reach: Reach,
}

#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("the URL names no host")]
    NoHost,
    #[error("`{host}` leads to no public address")]
    OutOfReach { host: String },
    #[error("`{host}` cannot be found: {source}")]
    Lookup { host: String, source: io::Error },
    #[error("{address} cannot be reached: {source}")]
    Connect {
        address: SocketAddr,
        source: io::Error,
    },
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<TokioIo<TcpStream>, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        connect(self.reach, uri).boxed()
    }
}

async fn connect(reach: Reach, uri: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
    let host = uri.host().ok_or(ConnectError::NoHost)?;
    // An IPv6 address has brackets in a URI, and none elsewhere.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_secure = uri.scheme() == Some(&Scheme::HTTPS);
    let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    let found = lookup(host.to_owned(), port).await;
    let found = found.map_err(|source| ConnectError::Lookup {
        host: host.to_owned(),
        source,
    })?;
    let mut failure = ConnectError::OutOfReach {
        host: host.to_owned(),
    };
    for address in found
        .into_iter()
        .filter(|address| reach.includes(address.ip()))
    {
        let connected = timeout(CONNECTED_WITHIN, TcpStream::connect(address)).await;
        let connected = connected.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
        match connected {
            Ok(stream) => return Ok(TokioIo::new(stream)),
            Err(source) => failure = ConnectError::Connect { address, source },
        }
    }
    Err(failure)
}

/// # Cancel safety
/// A lookup that has begun goes on, and counts until it ends.
async fn lookup(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let permit = LOOKUPS.acquire().await.map_err(io::Error::other)?;
    let looked_up = spawn_blocking(move || {
        let found = (host, port).to_socket_addrs().map(Iterator::collect);
        drop(permit);
        found
    });
    looked_up.await?
}
