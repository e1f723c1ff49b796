//! Connections that go on in another protocol.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{SOON, Server, head, hello, text};
use crate::cancel::{CancelReason, Settling};
use crate::http::{Config, Route};

/// `GET /echo`: sends back what comes, and says good-bye when the server ends.
fn echo() -> Route {
    Route::new(Method::GET, "/echo", |request| async move {
        let offer = request.upgrade.filter(|upgrade| upgrade.offers("echo"));
        let Some(upgrade) = offer else {
            return text(426, "no offer");
        };
        upgrade.accept("echo", |mut socket, scope| async move {
            let mut bytes = [0; 64];
            loop {
                let read = tokio::select! {
                    // Nothing is held here.
                    _ = scope.cancelled() => break,
                    // Nothing is read yet.
                    read = socket.read(&mut bytes) => read.unwrap(),
                };
                if read == 0 {
                    return;
                }
                socket.write_all(&bytes[..read]).await.unwrap();
            }
            socket.write_all(b"bye").await.unwrap();
            socket.part().await;
        })
    })
}

const OFFER: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: h2c, ECHO\r\n";

#[tokio::test]
async fn the_other_protocol_has_every_byte_behind_the_request() {
    let server = Server::start([echo(), hello()]).await;
    let mut client = server.connect().await;
    assert_eq!(client.ask("GET /hello").await.status(), 200);
    // The first bytes come with the request, before it is accepted.
    client.send(head("GET /echo", OFFER) + "early").await;
    let answer = client.answer(false).await;
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS.as_u16());
    assert_eq!(answer.header("upgrade"), Some("echo"));
    assert_eq!(answer.header("connection"), Some("upgrade"));
    assert!(answer.header("x-request-id").is_some());
    let mut echoed = [0; 5];
    client.stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"early");
    client.send("GET / HTTP/1.1\r\n\r\n").await;
    let mut echoed = [0; 18];
    client.stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"GET / HTTP/1.1\r\n\r\n");
    client.half_close().await;
    assert!(client.is_closed().await);
    server.stop().await;
}

#[tokio::test]
async fn it_counts_as_a_connection_and_is_waited_for() {
    let config = Config {
        connections_max: 1,
        ..Config::default()
    };
    let server = Server::start_with(config, [echo(), hello()]).await;
    let mut first = server.connect().await;
    first.send(head("GET /echo", OFFER)).await;
    assert_eq!(first.answer(false).await.status(), 101);
    let mut second = server.connect().await;
    second.send(head("GET /hello", "")).await;
    first.send("still here").await;
    let mut echoed = [0; 10];
    first.stream.read_exact(&mut echoed).await.unwrap();
    let open = "tidegate_http_connections 1";
    assert!(server.metrics.encode().contains(open));
    drop(first);
    assert_eq!(second.answer(false).await.status(), 200);

    second.send(head("GET /echo", OFFER)).await;
    assert_eq!(second.answer(false).await.status(), 101);
    server.scope.cancel(CancelReason::Shutdown);
    let mut rest = String::new();
    // It is read although what came last was never read.
    second.send("unread").await;
    let waiting = server.scope.settle(Duration::ZERO).await;
    assert_eq!(waiting, Settling::Overdue);
    second.stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("bye"), "{rest}");
    drop(second);
    assert_eq!(server.scope.settle(SOON).await, Settling::Settled);
}

#[tokio::test]
async fn what_is_no_offer_is_answered_as_any_request() {
    let server = Server::start([echo()]).await;
    let mut client = server.connect().await;
    for (method, fields) in [
        ("GET", "Upgrade: echo\r\n"),
        ("GET", "Connection: Upgrade\r\n"),
        ("GET", "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        ("HEAD", OFFER),
    ] {
        client.send(head(&format!("{method} /echo"), fields)).await;
        let answer = client.answer(method == "HEAD").await;
        assert_eq!(answer.status(), 426, "{method} {fields}");
    }
    let with_body = format!("{OFFER}Content-Length: 2\r\n");
    client.send(head("GET /echo", &with_body) + "hi").await;
    assert_eq!(client.answer(false).await.status(), 426);
    server.stop().await;
}
