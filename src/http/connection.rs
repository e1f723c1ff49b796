//! One connection, from its first byte to its end, and each request on it.
//!
//! Invariant: whoever answers before the request's body has ended gets a gentle close. The answer
//! says `Connection: close` (HTTP/1.1), and a task in the connection's scope reads on and discards
//! until the body ends or [`DrainLimits`] are reached. An HTTP/2 stream is treated likewise; its
//! connection goes on.

use std::any::Any;
use std::convert::Infallible;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use http::header::{CONNECTION, EXPECT, TRANSFER_ENCODING};
use http::uri::Scheme;
use http::{HeaderValue, Method, Version};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tidegate_protocol::problem::Problem;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;
use tracing::Instrument;
use tracing::field::Empty;

use super::body::{Left, Remains};
use super::interim::{Gate, Interim, Interleaved};
use super::io::{FastReaders, Io, Protocol, Socket};
use super::route::Router;
use super::server::Config;
use super::telemetry::{CLIENT_GONE, HttpMetrics};
use super::upgrade::{self, Serve, Switched, Upgrade};
use super::{Body, DrainLimits, Peer, Request, RequestId, Response, origin, reject};
use crate::auth::Caller;
use crate::cancel::Scope;
use crate::clock;

/// What all connections of a server have in common.
pub(super) struct Shared {
    pub(super) router: Router,
    pub(super) config: Config,
    pub(super) metrics: HttpMetrics,
    pub(super) fast: FastReaders,
}

/// What all requests of a connection have in common.
struct Connection {
    shared: Arc<Shared>,
    peer: Peer,
    scheme: Scheme,
    scope: Scope,
    /// Set when hyper is to close an HTTP/1.1 connection on which bytes may be unread.
    discarding: AtomicBool,
    /// Set with the answer behind which the connection is no longer HTTP/1.1.
    switch: Mutex<Option<Serve>>,
}

/// Serves a connection to its end.
///
/// When `scope` is cancelled, requests under way are finished and no further ones are taken.
pub(super) async fn run(socket: Socket, peer: Peer, shared: Arc<Shared>, scope: Scope) {
    let opening = timeout(shared.config.header_timeout, open(socket, &shared));
    let opened = tokio::select! {
        // Nobody waits for an answer yet.
        _ = scope.cancelled() => return,
        // Not lost: the scope is cancelled, and nothing has been asked.
        opened = opening => opened,
    };
    let (io, protocol, scheme) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "client left without a word"),
        Err(_elapsed) => return tracing::debug!(%peer, "client sent nothing in time"),
    };
    let connection = Arc::new(Connection {
        shared,
        peer,
        scheme,
        scope,
        discarding: AtomicBool::new(false),
        switch: Mutex::new(None),
    });
    let ended = match protocol {
        Protocol::Http1 => connection.http1(io).await,
        Protocol::Http2 => connection.http2(io).await,
    };
    if let Err(error) = ended {
        // Clients do such things all day long.
        let cause = std::error::Error::source(&error);
        tracing::debug!(%peer, %error, cause, "connection broke off");
    }
}

/// Secures the connection, if it is to be, and finds out what the client speaks.
async fn open(socket: Socket, shared: &Shared) -> io::Result<(Io<Socket>, Protocol, Scheme)> {
    let (socket, chosen, scheme) = match (socket, &shared.config.tls) {
        (Socket::Tcp(stream), Some(tls)) => {
            let (stream, chosen) = tls.accept(stream).await?;
            (Socket::Tls(Box::new(stream)), chosen, Scheme::HTTPS)
        }
        (socket, _) => (socket, None, Scheme::HTTP),
    };
    let mut io = Io::new(socket, shared.fast.clone());
    // Whoever chose HTTP/2 has to begin it in time as well: hyper does not bound that.
    let protocol = match chosen {
        Some(Protocol::Http1) => Protocol::Http1,
        Some(Protocol::Http2) | None => io.protocol().await?,
    };
    Ok((io, protocol, scheme))
}

impl Connection {
    async fn http1(self: &Arc<Self>, io: Io<Socket>) -> hyper::Result<()> {
        let config = &self.shared.config;
        let this = Arc::clone(self);
        let gate = Gate::new();
        let io = Interleaved::new(io, gate.clone());
        let service = service_fn(move |request| {
            let interim = gate.open(request.version());
            Arc::clone(&this).answer(request, interim)
        });
        let mut hyper = speaking_http1(config).serve_connection(TokioIo::new(io), service);
        let ended = drive(&mut hyper, &self.scope, |hyper| hyper.graceful_shutdown()).await;
        let switch = self.switch().take().filter(|_| ended.is_ok());
        if let Some(serve) = switch {
            // Not by hyper's own upgrades: they would put the socket into a box, and it would leave
            // this task, and with it the permit.
            let parts = hyper.into_parts();
            let io = parts.io.into_inner().into_inner();
            let socket = Switched::new(&parts.read_buf, io);
            drop((parts.read_buf, parts.service));
            serve(socket, self.scope.clone()).await;
            return ended;
        }
        // hyper refuses the head of a request by itself (400, 414 or 431).
        let refused = ended.as_ref().is_err_and(hyper::Error::is_parse);
        if refused || self.discarding.load(Ordering::Relaxed) {
            // hyper has answered and closed its sending side, but the client may still be sending.
            discard(hyper.into_parts().io.into_inner(), config.drain).await;
        }
        ended
    }

    async fn http2(self: &Arc<Self>, io: Io<Socket>) -> hyper::Result<()> {
        let this = Arc::clone(self);
        let service = service_fn(move |request| Arc::clone(&this).answer(request, Interim::none()));
        let mut hyper = http2::Builder::new(InScope(self.scope.clone()))
            .timer(TokioTimer::new())
            .max_header_list_size(self.shared.config.header_bytes_max as u32)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(TokioIo::new(io), service);
        drive(&mut hyper, &self.scope, |hyper| hyper.graceful_shutdown()).await
    }

    fn switch(&self) -> MutexGuard<'_, Option<Serve>> {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one request: names it, counts it, catches its panic, parts from its body.
    async fn answer(
        self: Arc<Self>,
        request: http::Request<Incoming>,
        interim: Interim,
    ) -> Result<Response, Infallible> {
        let (mut head, incoming) = request.into_parts();
        self.shared
            .config
            .proxies
            .clear(&mut head.headers, self.peer);
        let id = RequestId::of(&head.headers);
        // At the level that no filter leaves out, so that whatever is logged has the id.
        let span = tracing::error_span!(
            "request", method = %head.method, path = head.uri.path(), %id, user = Empty
        );
        let serving = async move {
            let access = Access::new(self.shared.metrics.clone(), head.method.clone());
            // The path is copied: a clone of the URI would keep hyper's read buffer alive for as long
            // as the handler runs, even if that lets go of the head.
            let (method, version) = (head.method.clone(), head.version);
            let path = head.uri.path().to_owned();
            let (body, leftover) = Body::wire(incoming, version, is_hesitant(&head));
            let upgrade = Upgrade::of(&head, &body);
            let request = Request {
                head,
                body,
                upgrade,
                interim: interim.clone(),
                // Established once it is known whom the route is for.
                caller: Caller::nobody(),
                is_lent: false,
                path: super::PathParams::default(),
                id: id.clone(),
                peer: self.peer,
                scheme: self.scheme.clone(),
            };
            let sound = origin::check_host(&request.head);
            let framed = check_coding(&request.head);
            let ambiguous = framed.is_err();
            let mut response = match sound.and(framed) {
                Err(problem) => reject::problem(&method, &path, &problem),
                Ok(()) => {
                    let Shared { router, config, .. } = &*self.shared;
                    let serving = AssertUnwindSafe(router.serve(request, config));
                    serving.catch_unwind().await.unwrap_or_else(|panic| {
                        tracing::error!(message = message(&*panic), "a handler panicked");
                        reject::problem(&method, &path, &Problem::Internal)
                    })
                }
            };
            interim.close().await;
            if let Some(id) = id.to_header() {
                response.headers_mut().insert(RequestId::HEADER, id);
            }
            let left = match ambiguous {
                false => leftover.look(),
                true => Left::Remains(Remains::Broken),
            };
            self.part_from(left, version, &mut response);
            if let Some(serve) = upgrade::taken(&mut response) {
                *self.switch() = Some(serve);
            }
            access.answered(response.status().as_u16());
            Ok(response)
        };
        serving.instrument(span).await
    }

    /// Sees to it that the client gets to read an answer that comes before its body has ended.
    ///
    /// hyper writes the answer's head before it looks at the body again, so that whoever reads on
    /// from here cannot provoke a `100 Continue` behind it.
    fn part_from(&self, left: Left, version: Version, response: &mut Response) {
        let limits = self.shared.config.drain;
        let metrics = self.shared.metrics.clone();
        let answered = response.status();
        match left {
            Left::Nothing => return,
            // What it asks for is not wanted, so it has no reason to send its body; nor could more
            // be read of it without telling it to go on.
            Left::Remains(Remains::Rest(rest)) if !rest.asked_for() => self.discards(),
            Left::Remains(Remains::Rest(rest)) => match rest.skim() {
                // A small body has often come with the head, and costs no connection.
                None => return,
                Some(Remains::Rest(rest)) => {
                    drop(self.scope.spawn(rest.drain(limits, metrics, answered)))
                }
                Some(Remains::Broken) => self.discards(),
            },
            Left::Remains(Remains::Broken) => self.discards(),
            Left::Held(back) => drop(self.scope.spawn(async move {
                match back.await {
                    Ok(Remains::Rest(rest)) if rest.asked_for() => {
                        rest.drain(limits, metrics, answered).await
                    }
                    // Never asked for, broken off, or read to its end after all.
                    _ => {}
                }
            })),
        }
        if version < Version::HTTP_2 {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// Has what the client sends beyond this request discarded, without a look at what it is.
    fn discards(&self) {
        self.discarding.store(true, Ordering::Relaxed);
    }
}

/// How hyper serves HTTP/1.1.
///
/// `pipeline_flush` must stay off. With it, hyper says that it has flushed while it has not: interim
/// responses would not go out, and the answer behind them would wait forever.
pub(super) fn speaking_http1(config: &Config) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_header_size(config.header_bytes_max)
        .max_buf_size(config.read_buffer_bytes_max.max(HYPER_BUFFER_BYTES_MIN))
        // A client may close its sending side after its request and still gets the answer.
        // hyper would otherwise take that for a client that left, and drop the handler. The
        // price: one that really left after its whole body is noticed only when the answer
        // cannot be written. A body that breaks off is noticed at once in either case.
        .half_close(true);
    builder
}

/// The smallest read buffer that hyper takes.
const HYPER_BUFFER_BYTES_MIN: usize = 8 * 1024;
/// How much an HTTP/2 client may send ahead of a handler, per request and altogether. The latter
/// also feeds the budget by which `h2` tells an honest sender of tiny frames from a flood.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const STREAMS_MAX: u32 = 128;
/// An HTTP/2 client that does not answer a ping is gone.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs a connection, and lets it end gracefully from the moment the scope is cancelled.
async fn drive<C>(connection: &mut C, scope: &Scope, close: fn(Pin<&mut C>)) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>> + Unpin,
{
    tokio::select! {
        // Only a borrow is dropped: the connection is polled on below.
        ended = &mut *connection => return ended,
        // A signal that stays.
        _ = scope.cancelled() => close(Pin::new(connection)),
    }
    connection.await
}

/// Reads and discards raw bytes until the client closes, or to the first limit.
pub(super) async fn discard(mut io: impl AsyncRead + Unpin, limits: DrainLimits) {
    let reading = async {
        let mut sink = vec![0; HYPER_BUFFER_BYTES_MIN];
        let mut bytes = 0;
        while bytes <= limits.bytes {
            match timeout(limits.idle, io.read(&mut sink)).await {
                Ok(Ok(n @ 1..)) => bytes += n as u64,
                _closed_or_idle => break,
            }
        }
    };
    // Past the time the socket is closed just the same.
    let _ = timeout(limits.total, reading).await;
}

/// Refuses a transfer coding other than `chunked`, once (RFC 9112, section 6.1): hyper undoes only the
/// last one, so that the rest would pass for content, and another party on the way may read the
/// message differently.
///
/// # Errors
/// The problem to answer with. Nothing behind the head can be trusted then.
fn check_coding(head: &http::request::Parts) -> Result<(), Problem> {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Problem::BadRequest {
            detail: "the only transfer coding is chunked".into(),
        }),
    }
}

/// Whether the client holds its body back until it is told to go on (RFC 9110, section 10.1.1).
fn is_hesitant(head: &http::request::Parts) -> bool {
    // The condition under which hyper sends `100 Continue`: the last of the fields counts, and over
    // HTTP/2 none does.
    let expect = head.headers.get_all(EXPECT).iter().next_back();
    head.version == Version::HTTP_11
        && expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Runs hyper's HTTP/2 streams as tasks of the connection.
#[derive(Clone)]
struct InScope(Scope);

impl<F> Executor<F> for InScope
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        drop(self.0.spawn(stream));
    }
}

/// Counts and logs a request, when it is answered or else when it is dropped.
struct Access {
    metrics: HttpMetrics,
    method: Method,
    started: Instant,
    status: u16,
}

impl Access {
    fn new(metrics: HttpMetrics, method: Method) -> Self {
        Self {
            metrics,
            method,
            started: clock::monotonic(),
            status: CLIENT_GONE,
        }
    }

    fn answered(mut self, status: u16) {
        self.status = status;
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        let took = clock::monotonic() - self.started;
        self.metrics.answered(&self.method, self.status, took);
        // Method and path stand in the span.
        tracing::debug!(
            status = self.status,
            ms = took.as_millis() as u64,
            "answered"
        );
    }
}
