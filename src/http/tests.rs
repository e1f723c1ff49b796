//! The transport over real sockets on the loopback interface.
//!
//! Nothing here waits for time to pass: a test and its handlers meet over channels, or over what
//! the socket says. The one exception runs on a paused clock.

mod callers;
mod early;
mod http2;
mod interim;
mod interim_hyper;
mod leaving;
mod lifecycle;
mod requests;
mod tls;
mod upgrade;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::telemetry::Metrics;
use super::{
    Body, BodyError, Bound, Config, Listen, Listeners, OutBody, Request, Response, Route, Router,
    serve,
};
use crate::auth::{Authenticator, Capabilities};
use crate::cancel::{CancelReason, Scope, Settling};

impl Default for Config {
    /// For everybody.
    fn default() -> Self {
        let capabilities = Capabilities::new(&[0; 32], || 0);
        Self::new(Authenticator::new(None, capabilities))
    }
}

/// Long enough for anything that does happen.
const SOON: Duration = Duration::from_secs(30);

/// A server on a port of its own.
struct Server {
    address: SocketAddr,
    scope: Scope,
    metrics: Metrics,
}

impl Server {
    async fn start(routes: impl IntoIterator<Item = Route>) -> Self {
        Self::start_with(Config::default(), routes).await
    }

    async fn start_with(config: Config, routes: impl IntoIterator<Item = Route>) -> Self {
        let listeners = Listeners::bind(&[Listen::Tcp("127.0.0.1:0".into())])
            .await
            .unwrap();
        let Bound::Tcp(address) = listeners.bound().unwrap()[0] else {
            panic!("not TCP")
        };
        let (scope, metrics) = (Scope::root("server"), Metrics::new());
        let router = Router::new(routes).unwrap();
        let serving = serve(
            listeners,
            router,
            config,
            metrics.http.clone(),
            scope.clone(),
        );
        drop(scope.spawn(serving));
        Self {
            address,
            scope,
            metrics,
        }
    }

    async fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// Stops and waits until every task has ended.
    async fn stop(self) {
        self.scope.cancel(CancelReason::Shutdown);
        assert_eq!(self.scope.settle(SOON).await, Settling::Settled);
    }
}

/// An HTTP/1.1 client that does nothing by itself.
struct Client {
    stream: BufReader<TcpStream>,
}

#[derive(Debug)]
struct Answer {
    line: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends a request without a body.
    async fn ask(&mut self, method_and_path: &str) -> Answer {
        self.send(head(method_and_path, "")).await;
        self.answer(method_and_path.starts_with("HEAD ")).await
    }

    async fn answer(&mut self, to_head: bool) -> Answer {
        let mut answer = Answer {
            line: self.line().await,
            headers: BTreeMap::new(),
            body: Vec::new(),
        };
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            answer.headers.insert(name.to_lowercase(), value.into());
        }
        if let Some(length) = answer.header("content-length").filter(|_| !to_head) {
            answer.body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut answer.body).await.unwrap();
        }
        answer
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    /// Whether the server has closed without sending anything more.
    async fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]).await, Ok(0))
    }

    async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Leaves with a reset instead of an orderly close.
    fn reset(self) {
        let stream = self.stream.into_inner();
        stream.set_zero_linger().unwrap();
    }
}

impl Answer {
    fn status(&self) -> u16 {
        self.line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn says_close(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

/// A request's head; `fields` are whole lines.
fn head(method_and_path: &str, fields: &str) -> String {
    format!("{method_and_path} HTTP/1.1\r\nHost: tidegate.test\r\n{fields}\r\n")
}

fn text(status: u16, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(OutBody::full(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// `GET /hello`.
fn hello() -> Route {
    Route::new(http::Method::GET, "/hello", |_| async {
        text(200, "hello")
    })
}

/// Reads a body to its end: its bytes, and how it ended.
async fn read(body: &mut Body) -> (usize, Result<Option<http::HeaderMap>, BodyError>) {
    let (mut bytes, mut trailers) = (0, None);
    loop {
        match body.frame().await.map(|frame| frame.map(Frame::into_data)) {
            None => return (bytes, Ok(trailers)),
            Some(Ok(Ok(data))) => bytes += data.len(),
            Some(Ok(Err(frame))) => trailers = frame.into_trailers().ok(),
            Some(Err(error)) => return (bytes, Err(error)),
        }
    }
}

/// Serves every method at `path` by handing the request over to the test, which answers it.
fn by_hand(path: &str) -> (Route, mpsc::UnboundedReceiver<Handed>) {
    let (hand, handed) = mpsc::unbounded_channel();
    let route = Route::any(path, move |request| {
        let hand = hand.clone();
        async move {
            let (answer, answered) = tokio::sync::oneshot::channel();
            hand.send(Handed { request, answer }).unwrap();
            answered.await.unwrap()
        }
    });
    (route, handed)
}

/// A request whose handler waits for the test.
struct Handed {
    request: Request,
    answer: tokio::sync::oneshot::Sender<Response>,
}
