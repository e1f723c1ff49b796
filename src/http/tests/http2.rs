//! HTTP/2 with prior knowledge, on the port of HTTP/1.1.

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Server, by_hand, head, hello, read, text};
use crate::http::telemetry::CLIENT_GONE;
use crate::http::{BodyError, Route};

async fn connect(server: &Server) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    drop(server.scope.spawn(connection));
    client
}

fn request(method: Method, path: &str, body: impl Into<Bytes>) -> http::Request<Full<Bytes>> {
    let uri = format!("http://tidegate.test{path}");
    http::Request::builder()
        .method(method)
        .uri(uri)
        .body(Full::new(body.into()))
        .unwrap()
}

#[tokio::test]
async fn http2_is_served_on_the_port_of_http1() {
    let route = Route::any("/in", |mut request| async move {
        let authority = request.authority().unwrap_or_default().to_owned();
        let (bytes, end) = read(&mut request.body).await;
        text(200, format!("{authority} {bytes} {end:?}"))
    });
    let server = Server::start([hello(), route]).await;
    let mut client = connect(&server).await;
    let answer = client
        .send_request(request(Method::GET, "/hello", ""))
        .await
        .unwrap();
    assert_eq!(
        (answer.status(), answer.version()),
        (StatusCode::OK, http::Version::HTTP_2)
    );
    assert!(answer.headers().contains_key("x-request-id"));
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "hello"
    );
    let answer = client
        .send_request(request(Method::PATCH, "/in", vec![7; 3_000_000]))
        .await;
    let said = answer
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(said, "tidegate.test 3000000 Ok(None)");
    let mut other = server.connect().await;
    assert_eq!(other.ask("GET /hello").await.status(), 200);
    drop((client, other));
    server.stop().await;
}

#[tokio::test]
async fn the_answer_to_head_has_the_length_and_no_content() {
    let server = Server::start([hello()]).await;
    let mut client = connect(&server).await;
    let answer = client
        .send_request(request(Method::HEAD, "/hello", ""))
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-length"], "5");
    let content = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(content, "");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn an_early_answer_is_read_and_the_body_drained() {
    let gone = Route::any("/gone", |_| async { text(410, "gone") });
    let server = Server::start([gone, hello()]).await;
    let mut client = connect(&server).await;
    let sent = request(Method::PATCH, "/gone", vec![7; 8 * 1024 * 1024]);
    let answer = client.send_request(sent).await.unwrap();
    assert_eq!(answer.status(), StatusCode::GONE);
    assert!(!answer.headers().contains_key("connection"));
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "gone"
    );
    let answer = client
        .send_request(request(Method::GET, "/hello", ""))
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    drop(client);
    server.stop().await;
}

/// Over HTTP/2 nobody is told to go on, so a client that asked is sending anyway.
#[tokio::test]
async fn an_early_answer_to_a_hesitant_client_is_read_and_the_body_drained() {
    let gone = Route::any("/gone", |_| async { text(410, "gone") });
    let server = Server::start([gone]).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // RFC 7541: the name `expect` is entry 35 of the static table.
    let fields = [
        &[0x83, 0x86, 0x44, 5][..],
        b"/gone",
        &[0x41, 4],
        b"host",
        &[0x0f, 20, 12],
        b"100-continue",
    ]
    .concat();
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &fields));
    bytes.extend(frame(DATA, 0, 1, b"hello"));
    stream.write_all(&bytes).await.unwrap();
    let mut of_stream = Vec::new();
    while !of_stream.contains(&DATA) {
        of_stream.push(next_frame(&mut stream).await);
    }
    stream
        .write_all(&frame(DATA, END_STREAM, 1, b"world"))
        .await
        .unwrap();
    stream.write_all(&frame(PING, 0, 0, &[7; 8])).await.unwrap();
    // The answer to the ping comes behind whatever became of the stream.
    while !of_stream.contains(&PING) {
        of_stream.push(next_frame(&mut stream).await);
    }
    assert!(!of_stream.contains(&RST_STREAM), "{of_stream:?}");
    drop(stream);
    server.stop().await;
}

/// The kind of the next frame.
async fn next_frame(stream: &mut TcpStream) -> u8 {
    let mut header = [0; 9];
    stream.read_exact(&mut header).await.unwrap();
    let length = usize::from(header[1]) << 8 | usize::from(header[2]);
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    header[3]
}

#[tokio::test]
async fn a_panic_harms_no_other_stream() {
    let panics = Route::any("/panics", |request| async move {
        assert!(request.path.get("x").is_some(), "as told to");
        text(200, "")
    });
    let (route, mut handed) = by_hand("/waits");
    let server = Server::start([panics, route]).await;
    let mut client = connect(&server).await;
    let waiting = client.send_request(request(Method::GET, "/waits", ""));
    let answer = client
        .send_request(request(Method::GET, "/panics", ""))
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    handed
        .recv()
        .await
        .unwrap()
        .answer
        .send(text(200, ""))
        .unwrap();
    assert_eq!(waiting.await.unwrap().status(), StatusCode::OK);
    drop(client);
    server.stop().await;
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame as RFC 9113, section 4.1 has it.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// `POST /in`, without a length, on stream 1, and five bytes of its body.
fn half_a_request() -> Vec<u8> {
    // RFC 7541: two fields of the static table, and two with a name from there.
    let fields = [&[0x83, 0x86, 0x44, 3][..], b"/in", &[0x41, 4], b"host"].concat();
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &fields));
    bytes.extend(frame(DATA, 0, 1, b"hello"));
    bytes
}

#[tokio::test]
async fn a_stream_reset_is_a_lost_client_whatever_its_code() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route]).await;
    const NO_ERROR: [u8; 4] = [0, 0, 0, 0];
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    for code in [NO_ERROR, CANCEL] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&half_a_request()).await.unwrap();
        let mut handed = handed.recv().await.unwrap();
        let first = handed.request.body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "hello");
        stream
            .write_all(&frame(RST_STREAM, 0, 1, &code))
            .await
            .unwrap();
        assert_eq!(
            read(&mut handed.request.body).await,
            (0, Err(BodyError::Gone)),
            "{code:?}"
        );
        // And the handler is dropped.
        handed.answer.closed().await;
    }
    let gone = StatusCode::from_u16(CLIENT_GONE).unwrap();
    assert_eq!(server.metrics.http.requests(&Method::POST, gone), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_preface_may_come_in_pieces() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route]).await;
    let request = half_a_request();
    for cut in [1, 3, 23] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&request[..cut]).await.unwrap();
        // The server reads the piece while this client is asking for something else.
        assert_eq!(server.connect().await.ask("GET /").await.status(), 404);
        stream.write_all(&request[cut..]).await.unwrap();
        drop(handed.recv().await.unwrap());
    }
    // As may a request that begins like one.
    let mut client = server.connect().await;
    client.send("PR").await;
    assert_eq!(server.connect().await.ask("GET /").await.status(), 404);
    client.send(&head("PROPFIND /", "").as_bytes()[2..]).await;
    assert_eq!(client.answer(false).await.status(), 404);
    server.stop().await;
}

#[tokio::test]
async fn an_oversized_header_section_is_answered_431() {
    let server = Server::start([hello()]).await;
    let mut client = connect(&server).await;
    let mut sent = request(Method::GET, "/hello", "");
    let padding = "x".repeat(20 * 1024);
    sent.headers_mut()
        .insert("upload-metadata", padding.parse().unwrap());
    let answer = client.send_request(sent).await.unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_ends_within_the_preface_is_let_go() {
    let server = Server::start([hello()]).await;
    for sent in [&b""[..], &PREFACE[..10]] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    server.stop().await;
}
