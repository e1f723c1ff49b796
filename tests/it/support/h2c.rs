//! An HTTP/2 client with prior knowledge, on the `h2` crate: streams are opened, fed, ended and
//! reset one frame at a time, and the connection below can be taken away.

use std::future::poll_fn;
use std::net::{Shutdown, SocketAddr};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::PATIENCE;
use super::wire::{Answer, Framing, Req};

/// One HTTP/2 connection. Dropping it closes the TCP connection.
pub(crate) struct H2 {
    requests: SendRequest<Bytes>,
    /// Moves the frames; it ends with the connection.
    driver: JoinSet<()>,
    /// A second handle on the socket, for what the `h2` crate would never do to it.
    socket: std::net::TcpStream,
    authority: String,
}

impl H2 {
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("connect");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let stream = stream.into_std().expect("a standard socket");
        let socket = stream.try_clone().expect("a second handle on the socket");
        let stream = TcpStream::from_std(stream).expect("a tokio socket");
        let (requests, connection) = h2::client::handshake(stream).await.expect("HTTP/2 preface");
        let mut driver = JoinSet::new();
        #[expect(
            clippy::disallowed_methods,
            reason = "that the driver ends with its set is what a test's connection is for"
        )]
        driver.spawn(async move {
            // Its error is the end of the connection, which every stream reports as well.
            drop(connection.await);
        });
        Self {
            requests,
            driver,
            socket,
            authority: addr.to_string(),
        }
    }

    /// Opens a stream with the request's header section. The body is the caller's to send, unless
    /// the request has none: then the stream is ended here.
    pub(crate) async fn start(&mut self, req: &Req) -> Exchange {
        let uri = format!("http://{}{}", self.authority, req.target);
        let method = Method::from_bytes(req.method.as_bytes()).expect("a method");
        let mut head = Request::new(());
        *head.method_mut() = method;
        *head.uri_mut() = uri.parse().expect("a URI");
        for (name, value) in &req.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
            let value = HeaderValue::from_bytes(value).expect("a field value");
            head.headers_mut().append(name, value);
        }
        if let Framing::Length(length) = req.framing {
            head.headers_mut()
                .insert(http::header::CONTENT_LENGTH, length.into());
        }
        let requests = self.requests.clone();
        let mut requests = within_patience(requests.ready(), "a free stream").await;
        let ended = req.framing == Framing::None;
        let (answer, body) = requests.send_request(head, ended).expect("open a stream");
        Exchange { answer, body }
    }

    /// Sends a whole request and reads its answer.
    pub(crate) async fn send(&mut self, req: &Req) -> Answer {
        self.try_send(req)
            .await
            .unwrap_or_else(|e| panic!("no answer: {e}"))
    }

    /// As [`H2::send`]; an early answer is seen although the server never takes the rest.
    pub(crate) async fn try_send(&mut self, req: &Req) -> Result<Answer, h2::Error> {
        let Exchange { answer, mut body } = self.start(req).await;
        let mut read = pin!(timeout(PATIENCE, read_answer(answer)));
        let sending = async {
            if req.framing != Framing::None {
                send_data(&mut body, &req.body).await?;
                end(&mut body, &req.trailers);
            }
            Ok::<(), h2::Error>(())
        };
        let early = tokio::select! {
            answer = &mut read => Some(answer),
            // If the server took no more of it, it has answered or reset: the read tells.
            _ = sending => None,
        };
        let answer = match early {
            Some(answer) => answer,
            None => read.await,
        };
        answer.expect("an answer or the stream's end")
    }

    /// Returns when the server has received every frame that was sent before the call.
    ///
    /// The first answer shows that the frames before its request have left; the second one that
    /// the rest of them, which `h2` may have sent behind that request, have arrived.
    pub(crate) async fn settle(&mut self) {
        for _ in 0..2 {
            self.send(&Req::new("GET", "/healthz")).await.expect(200);
        }
    }

    /// Takes the TCP connection away: with a FIN, no GOAWAY before it.
    pub(crate) async fn close(mut self) {
        self.driver.shutdown().await;
    }

    /// Takes the TCP connection away with a reset.
    pub(crate) async fn reset(mut self) {
        let now = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&self.socket, now).expect("SO_LINGER");
        self.driver.shutdown().await;
    }

    /// Ends the sending side of the TCP connection only.
    pub(crate) fn half_close(&self) {
        self.socket.shutdown(Shutdown::Write).expect("half-close");
    }
}

/// One stream. Dropping it unfinished resets it.
pub(crate) struct Exchange {
    answer: ResponseFuture,
    body: SendStream<Bytes>,
}

impl Exchange {
    /// Sends a piece of the body.
    pub(crate) async fn send(&mut self, data: &[u8]) {
        self.try_send(data)
            .await
            .unwrap_or_else(|e| panic!("send DATA: {e}"));
    }

    /// As [`Exchange::send`]; the error is the end of the stream or of the connection.
    pub(crate) async fn try_send(&mut self, data: &[u8]) -> Result<(), h2::Error> {
        send_data(&mut self.body, data).await
    }

    /// Ends the body, with trailers if there are any.
    pub(crate) fn end(&mut self, trailers: &[(String, String)]) {
        end(&mut self.body, trailers);
    }

    /// Resets the stream and leaves the connection alone.
    pub(crate) fn reset(mut self) {
        self.body.send_reset(Reason::CANCEL);
    }

    pub(crate) async fn answer(self) -> Answer {
        self.try_answer()
            .await
            .unwrap_or_else(|e| panic!("no answer: {e}"))
    }

    pub(crate) async fn try_answer(self) -> Result<Answer, h2::Error> {
        // The sending half lives until the answer is read: without it the stream would be reset.
        let Self {
            answer,
            body: _sending,
        } = self;
        timeout(PATIENCE, read_answer(answer))
            .await
            .expect("an answer or the stream's end")
    }
}

async fn send_data(body: &mut SendStream<Bytes>, data: &[u8]) -> Result<(), h2::Error> {
    let mut data = Bytes::copy_from_slice(data);
    while !data.is_empty() {
        body.reserve_capacity(data.len());
        let room = timeout(PATIENCE, poll_fn(|cx| body.poll_capacity(cx))).await;
        let room = room.expect("the server opens its window");
        let room = room.unwrap_or_else(|| Err(Reason::STREAM_CLOSED.into()))?;
        body.send_data(data.split_to(room.min(data.len())), false)?;
    }
    Ok(())
}

/// Ends a body. That the stream is gone already is no error: its answer tells why.
fn end(body: &mut SendStream<Bytes>, trailers: &[(String, String)]) {
    if trailers.is_empty() {
        drop(body.send_data(Bytes::new(), true));
        return;
    }
    let mut fields = HeaderMap::new();
    for (name, value) in trailers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
        fields.append(name, HeaderValue::from_str(value).expect("a field value"));
    }
    drop(body.send_trailers(fields));
}

async fn read_answer(mut answer: ResponseFuture) -> Result<Answer, h2::Error> {
    let mut interim = Vec::new();
    let answer = poll_fn(|cx| {
        while let Poll::Ready(Some(head)) = answer.poll_informational(cx) {
            interim.push(bare(&head?));
        }
        Pin::new(&mut answer).poll(cx)
    });
    let (head, mut incoming) = answer.await?.into_parts();
    let head = http::Response::from_parts(head, ());
    let mut body = Vec::new();
    while let Some(data) = incoming.data().await {
        let data = data?;
        incoming.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(Answer {
        body,
        interim,
        ..bare(&head)
    })
}

/// An answer without its content.
fn bare(head: &http::Response<()>) -> Answer {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)));
    Answer {
        status: head.status().as_u16(),
        reason: String::new(),
        headers: headers.collect(),
        body: Vec::new(),
        interim: Vec::new(),
    }
}

async fn within_patience<T>(work: impl Future<Output = Result<T, h2::Error>>, what: &str) -> T {
    let done = timeout(PATIENCE, work).await;
    done.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
        .unwrap_or_else(|e| panic!("{what}: {e}"))
}
