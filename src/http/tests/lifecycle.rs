//! Listening, the connection cap, timeouts and the end.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::{SOON, Server, by_hand, head, hello, text};
use crate::cancel::{CancelReason, Scope, Settling};
use crate::http::telemetry::Metrics;
use crate::http::{Bound, Config, Listen, Listeners, Router, serve};

#[tokio::test]
async fn shutdown_lets_a_request_under_way_end_and_takes_no_other() {
    let (route, mut handed) = by_hand("/slow");
    let server = Server::start([route, hello()]).await;
    let mut idle = server.connect().await;
    assert_eq!(idle.ask("GET /hello").await.status(), 200);
    let mut silent = server.connect().await;
    let mut busy = server.connect().await;
    busy.send(head("GET /slow", "")).await;
    let handed = handed.recv().await.unwrap();

    server.scope.cancel(CancelReason::Shutdown);
    assert!(idle.is_closed().await && silent.is_closed().await);
    let refused = TcpStream::connect(server.address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let unfinished = server.scope.settle(Duration::ZERO).await;
    assert_eq!(
        unfinished,
        Settling::Overdue,
        "a request under way was not waited for"
    );

    handed.answer.send(text(200, "done")).unwrap();
    let answer = busy.answer(false).await;
    assert_eq!(
        (answer.body.as_slice(), answer.says_close()),
        (&b"done"[..], true)
    );
    assert!(busy.is_closed().await);
    drop(handed.request);
    server.stop().await;
}

#[tokio::test]
async fn at_the_cap_nobody_is_accepted_until_somebody_leaves() {
    let config = Config {
        connections_max: 1,
        ..Config::default()
    };
    let server = Server::start_with(config, [hello()]).await;
    let mut first = server.connect().await;
    assert_eq!(first.ask("GET /hello").await.status(), 200);
    // Waits in the kernel's backlog.
    let mut second = server.connect().await;
    second.send(head("GET /hello", "")).await;
    assert_eq!(first.ask("GET /hello").await.status(), 200);
    assert!(
        server
            .metrics
            .encode()
            .contains("tidegate_http_connections 1")
    );
    drop(first);
    assert_eq!(second.answer(false).await.status(), 200);
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_finish_its_head_is_closed() {
    let timeout = Duration::from_secs(7);
    let config = Config {
        header_timeout: timeout,
        ..Config::default()
    };
    let server = Server::start_with(config, [hello()]).await;
    for beginning in ["", "P", "GET /hello HTTP/1.1\r\nHos"] {
        let mut client = server.connect().await;
        client.send(beginning).await;
        let began = tokio::time::Instant::now();
        assert!(client.is_closed().await);
        assert!(
            began.elapsed() >= timeout && began.elapsed() < 2 * timeout,
            "{beginning}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn unix_sockets_are_served_and_cleared_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidegate.sock");
    // What a server that was killed leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listens = [
        Listen::Unix(path.clone()),
        Listen::Tcp("127.0.0.1:0".into()),
    ];
    let listeners = Listeners::bind(&listens).await.unwrap();
    assert_eq!(listeners.bound().unwrap()[0], Bound::Unix(path.clone()));
    let taken = Listeners::bind(&listens[..1])
        .await
        .unwrap_err()
        .to_string();
    assert!(taken.contains("tidegate.sock"), "{taken}");

    let (scope, metrics) = (Scope::root("server"), Metrics::new());
    let router = Router::new([hello()]).unwrap();
    let serving = serve(
        listeners,
        router,
        Config::default(),
        metrics.http.clone(),
        scope.clone(),
    );
    let serving = scope.spawn(serving);
    let mut client = UnixStream::connect(&path).await.unwrap();
    client
        .write_all(head("GET /hello", "Connection: close\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"),
        "{answer}"
    );

    scope.cancel(CancelReason::Shutdown);
    serving.await.unwrap();
    assert!(!path.exists());
    assert_eq!(scope.settle(SOON).await, Settling::Settled);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    assert!(
        Listeners::bind(&[Listen::Unix(path.clone())])
            .await
            .is_err()
    );
    assert_eq!(std::fs::read(&path).unwrap(), b"data");
}
