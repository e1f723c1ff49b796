//! A handler that waits hears whether its client is still there.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::{SOON, Server, head, hello, text};
use crate::cancel::{CancelReason, Scope, Settling};
use crate::http::telemetry::Metrics;
use crate::http::{Config, Listen, Listeners, Route, Router, serve};

/// Waits until its client has left or it is told to go on. Says when it waits, and why no longer.
fn waiting() -> (Route, mpsc::UnboundedReceiver<&'static str>, Arc<Notify>) {
    let (say, said) = mpsc::unbounded_channel();
    let go_on = Arc::new(Notify::new());
    let told = go_on.clone();
    let route = Route::any("/wait", move |request| {
        let (say, told) = (say.clone(), told.clone());
        async move {
            say.send("waits").unwrap();
            tokio::select! {
                () = request.interim.left() => say.send("left").unwrap(),
                () = told.notified() => say.send("goes on").unwrap(),
            }
            text(200, "done")
        }
    });
    (route, said, go_on)
}

async fn next(said: &mut mpsc::UnboundedReceiver<&'static str>) -> &'static str {
    timeout(SOON, said.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn whoever_closes_or_resets_while_he_waits_has_left() {
    let (route, mut said, _) = waiting();
    let server = Server::start([route]).await;
    for end in ["close", "half-close", "reset"] {
        let mut client = server.connect().await;
        client.send(head("GET /wait", "")).await;
        assert_eq!(next(&mut said).await, "waits", "{end}");
        match end {
            "close" => drop(client),
            "reset" => client.reset(),
            _ => {
                client.half_close().await;
                assert_eq!(client.answer(false).await.body, b"done");
            }
        }
        assert_eq!(next(&mut said).await, "left", "{end}");
    }
    server.stop().await;
}

#[tokio::test]
async fn whoever_waits_or_asks_for_more_has_not_left() {
    let (route, mut said, go_on) = waiting();
    let server = Server::start([route, hello()]).await;
    for more in ["", &head("GET /hello", "")] {
        let mut client = server.connect().await;
        client.send(head("GET /wait", "") + more).await;
        assert_eq!(next(&mut said).await, "waits");
        go_on.notify_one();
        assert_eq!(next(&mut said).await, "goes on");
        assert_eq!(client.answer(false).await.body, b"done");
        // The connection goes on.
        if more.is_empty() {
            client.send(head("GET /hello", "")).await;
        }
        assert_eq!(client.answer(false).await.body, b"hello");
    }
    server.stop().await;
}

#[tokio::test]
async fn it_is_so_on_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("http.sock");
    let listeners = Listeners::bind(&[Listen::Unix(path.clone())])
        .await
        .unwrap();
    let (route, mut said, _) = waiting();
    let scope = Scope::root("server");
    let router = Router::new([route]).unwrap();
    let metrics = Metrics::new().http;
    drop(scope.spawn(serve(
        listeners,
        router,
        Config::default(),
        metrics,
        scope.clone(),
    )));
    let mut client = UnixStream::connect(&path).await.unwrap();
    let asked = head("GET /wait", "");
    client.write_all(asked.as_bytes()).await.unwrap();
    assert_eq!(next(&mut said).await, "waits");
    drop(client);
    assert_eq!(next(&mut said).await, "left");
    scope.cancel(CancelReason::Shutdown);
    assert_eq!(scope.settle(SOON).await, Settling::Settled);
}
