//! A connection that goes on in another protocol (RFC 9110, section 7.8).
//!
//! A handler that finds an [`Upgrade`] in its request may accept it; what serves the other protocol
//! then runs where HTTP ran before, in the task of the connection: it has the connection's scope and
//! keeps its permit.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Version};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tracing::{Instrument, Span};

use super::connection::discard;
use super::io::{Io, Socket};
use super::{Body, DrainLimits, OutBody, Response};
use crate::cancel::Scope;

/// A client's offer to go on in another protocol.
///
/// Only GET over HTTP/1.1 makes one, and only without a body: what follows its head can then be
/// nothing but the other protocol.
#[derive(Debug)]
pub struct Upgrade {
    /// The values of `Upgrade`.
    protocols: Vec<HeaderValue>,
}

impl Upgrade {
    pub(super) fn of(head: &Parts, body: &Body) -> Option<Self> {
        let is_able = head.method == Method::GET && head.version == Version::HTTP_11;
        let is_asked = lists(head.headers.get_all(CONNECTION), "upgrade");
        let protocols: Vec<_> = head.headers.get_all(UPGRADE).iter().cloned().collect();
        let is_offer = is_able && is_asked && !protocols.is_empty() && body.is_end_stream();
        is_offer.then_some(Self { protocols })
    }

    /// Whether the client would go on in this one.
    pub fn offers(&self, protocol: &str) -> bool {
        lists(&self.protocols, protocol)
    }

    /// The answer that accepts. Behind it, `serve` has the connection, whose scope it is given;
    /// the connection ends with it.
    pub fn accept<F, A>(self, protocol: &'static str, serve: F) -> Response
    where
        F: FnOnce(Switched, Scope) -> A + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let span = Span::current();
        let serve: Serve =
            Box::new(move |socket, scope| Box::pin(serve(socket, scope).instrument(span)));
        let mut response = Response::new(OutBody::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(protocol));
        let switch = Switch(Arc::new(Mutex::new(Some(serve))));
        response.extensions_mut().insert(switch);
        response
    }
}

/// Whether one of these comma-separated lists has the word, in any case.
fn lists<'v>(values: impl IntoIterator<Item = &'v HeaderValue>, word: &str) -> bool {
    let mut texts = values.into_iter().filter_map(|value| value.to_str().ok());
    texts.any(|text| {
        text.split(',')
            .any(|listed| listed.trim().eq_ignore_ascii_case(word))
    })
}

/// Serves the other protocol.
pub(super) type Serve =
    Box<dyn FnOnce(Switched, Scope) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Travels from the handler to the connection with the answer. The lock is there because what
/// travels like this must be cloneable.
#[derive(Clone)]
struct Switch(Arc<Mutex<Option<Serve>>>);

/// What is to have the connection behind this answer.
pub(super) fn taken(response: &mut Response) -> Option<Serve> {
    let switch = response.extensions_mut().remove::<Switch>()?;
    let mut serve = switch.0.lock().unwrap_or_else(PoisonError::into_inner);
    serve.take()
}

/// A connection that HTTP has left.
#[derive(Debug)]
pub struct Switched {
    /// What the client sent behind its request, as far as hyper has read it.
    first: Bytes,
    io: Io<Socket>,
}

/// How long a client that is parted from may take to close its side, and how much it may send.
const PARTING: DrainLimits = DrainLimits {
    bytes: 1024 * 1024,
    idle: Duration::from_secs(2),
    total: Duration::from_secs(2),
};

impl Switched {
    pub(super) fn new(first: &[u8], io: Io<Socket>) -> Self {
        // Copied, since a slice of hyper's buffer, even an empty one, keeps all of it alive.
        let first = Bytes::copy_from_slice(first);
        Self { first, io }
    }

    /// Closes the connection such that the client gets to read what it was sent last.
    ///
    /// # Cancel safety
    /// May be dropped at any point: the connection is closed then.
    pub async fn part(mut self) {
        if self.io.shutdown().await.is_ok() {
            discard(&mut self.io, PARTING).await;
        }
    }
}

impl AsyncRead for Switched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let n = this.first.len().min(buf.remaining());
        buf.put_slice(&this.first.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Switched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
