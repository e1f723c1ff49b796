//! The feeds over WebSockets: events, resuming, cancels, refusals, and the end.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::support::h2c::H2;
use crate::support::server::Server;
use crate::support::tus::{self, Upload};
use crate::support::wire::Req;
use crate::support::ws::{self, Socket};

/// When there is nothing to wait for.
const PROMPTLY: Duration = Duration::from_secs(5);

fn cancel(id: &str) -> Value {
    json!({ "op": "cancel", "operation": "upload", "id": id, "reason": "wrong file" })
}

fn subject(upload: &Upload) -> String {
    format!("upload/{}", upload.id())
}

/// Reads the events of the uploads, which have the sequences from `first` on.
async fn expect_events(socket: &mut Socket, first: u64, wanted: &[(&str, &Upload)]) {
    for (sequence, (kind, upload)) in (first..).zip(wanted) {
        let event = socket.logged().await;
        assert_eq!(event["type"], *kind, "{event}");
        assert_eq!(event["subject"], subject(upload), "{event}");
        assert_eq!(event["sequence"], sequence.to_string(), "{event}");
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["feed"], "project:default");
        assert_eq!(event["data"]["id"], upload.id());
    }
}

#[tokio::test]
async fn what_has_happened_is_replayed_and_what_happens_follows() {
    let server = Server::start(&[]).await;
    let before = server.complete(b"hello").await;
    let mut socket = Socket::open(&server).await;
    let place = socket.subscribe_after(0).await;
    assert_eq!(place["projectId"], "default");
    let cursor = place["cursor"].as_str().unwrap();
    assert!(cursor.ends_with(".project:default=0"), "{cursor}");
    let wanted = [("upload.created", &before), ("upload.completed", &before)];
    expect_events(&mut socket, 1, &wanted).await;

    let live = server.complete(b"world").await;
    let wanted = [("upload.created", &live), ("upload.completed", &live)];
    expect_events(&mut socket, 3, &wanted).await;

    // From now on, all feeds, and of these only the ends.
    let mut other = Socket::open(&server).await;
    let place = other
        .acked(json!({ "op": "subscribe", "types": "upload.completed,upload.cancelled" }))
        .await;
    assert_eq!(place["projectId"], Value::Null);
    let cursor = place["cursor"].as_str().unwrap();
    assert!(cursor.contains(".project:default=4;"), "{cursor}");
    assert!(cursor.contains(".user:local="), "{cursor}");
    let live = server.complete(b"!").await;
    let event = other.logged().await;
    assert_eq!(
        (&event["type"], &event["sequence"]),
        (&json!("upload.completed"), &json!("6"))
    );
    assert_eq!(event["subject"], subject(&live));
}

#[tokio::test]
async fn a_reader_goes_on_where_it_left_off() {
    let server = Server::start(&[]).await;
    let mut socket = Socket::open(&server).await;
    socket.subscribe_after(0).await;
    let first = server.complete(b"hello").await;
    let wanted = [("upload.created", &first), ("upload.completed", &first)];
    expect_events(&mut socket, 1, &wanted).await;
    let unsubscribe = json!({ "op": "unsubscribe", "projectId": "default" });
    let place = socket.acked(unsubscribe.clone()).await;
    let cursor = place["cursor"].as_str().unwrap().to_owned();
    assert!(cursor.ends_with(".project:default=2"), "{cursor}");
    socket.refused(unsubscribe, "not-found").await;

    let missed = server.complete(b"world").await;
    let wanted = [("upload.created", &missed), ("upload.completed", &missed)];
    // Nothing of it came meanwhile, or it would come first.
    let resume = json!({ "op": "subscribe", "projectId": "default", "after": cursor });
    socket.acked(resume.clone()).await;
    expect_events(&mut socket, 3, &wanted).await;
    drop(socket);
    let mut socket = Socket::open(&server).await;
    socket.acked(resume).await;
    expect_events(&mut socket, 3, &wanted).await;

    for (after, slug) in [
        (json!("ffff.project:default=2"), "cursor-unknown"),
        (json!(1_000_000), "cursor-unknown"),
        (json!("x"), "validation-failed"),
    ] {
        let wrong = json!({ "op": "subscribe", "projectId": "default", "after": after });
        socket.refused(wrong, slug).await;
    }
    let elsewhere = json!({ "op": "subscribe", "projectId": "other" });
    socket.refused(elsewhere, "not-found").await;
}

#[tokio::test]
async fn a_cancel_is_answered_as_the_call_is_and_told_on_the_feed() {
    let server = Server::start(&[]).await;
    let mut socket = Socket::open(&server).await;
    socket.subscribe_after(0).await;
    let upload = server.create(1 << 20).await;
    let mut sender = server.connect().await;
    let patch = tus::patch(&upload, 0).declare(1 << 20);
    sender.send_head_and_wait(patch).await;
    sender.send(b"hello").await;
    server.quiesce().await;

    let told = socket.acked(cancel(upload.id())).await;
    assert_eq!(told["operation"], "upload");
    assert_eq!(told["id"], upload.id());
    let outcome = told["outcome"].as_str().unwrap();
    assert!(["cancelled", "cancelling"].contains(&outcome), "{told}");
    let problem = sender.answer().await.expect_slug(410, "upload-cancelled");
    assert_eq!(problem.json()["reason"], "wrong file");
    let wanted = [
        ("upload.created", &upload),
        ("upload.cancelling", &upload),
        ("upload.cancelled", &upload),
    ];
    expect_events(&mut socket, 1, &wanted).await;

    // Once more, and by the call.
    let again = socket.acked(cancel(upload.id())).await;
    assert_eq!(again["outcome"], "already_cancelled");
    let path = format!("/api/uploads/{}/cancel", upload.id());
    let called = server.send(Req::new("POST", &path)).await.expect(200);
    assert_eq!(again, called.json()["data"]);
}

#[tokio::test]
async fn what_is_wrong_is_said_and_the_socket_goes_on() {
    let server = Server::start(&[]).await;
    let mut socket = Socket::open(&server).await;
    let unknown = Upload::unknown();
    socket.refused(cancel(unknown.id()), "not-found").await;
    socket.refused(cancel("x"), "validation-failed").await;
    let long = json!({
        "op": "cancel", "operation": "upload", "id": unknown.id(), "reason": "x".repeat(201),
    });
    let problem = socket.refused(long, "validation-failed").await;
    assert!(problem["errors"]["reason"].is_array(), "{problem}");
    let download = json!({ "op": "cancel", "operation": "download", "id": "x" });
    let problem = socket.refused(download, "validation-failed").await;
    assert!(problem["errors"]["operation"].is_array(), "{problem}");
    socket
        .refused(json!({ "op": "dance" }), "validation-failed")
        .await;
    for malformed in ["", "{", "[]", "{\"op\":\"subscribe\"}}"] {
        socket.send(Message::text(malformed)).await;
        let answer = socket.text().await;
        assert_eq!(answer["op"], "error", "{malformed}: {answer}");
        assert_eq!(answer["problem"]["type"], "/problems/validation-failed");
        assert_eq!(answer["problem"]["instance"], ws::PATH);
    }
    socket.send(Message::Ping("alive".into())).await;
    socket.subscribe_after(0).await;
    let upload = server.complete(b"hello").await;
    expect_events(&mut socket, 1, &[("upload.created", &upload)]).await;
}

#[tokio::test]
async fn what_is_no_message_of_ours_closes_the_socket() {
    let server = Server::start(&[]).await;
    let command = json!({ "op": "dance" }).to_string();
    let largest = format!("{command}{}", " ".repeat(64 * 1024 - command.len()));
    let mut socket = Socket::open(&server).await;
    socket.send(Message::text(largest.clone())).await;
    assert_eq!(socket.text().await["op"], "error");
    socket.send(Message::text(largest + " ")).await;
    assert_eq!(socket.closed().await, 1009);

    let mut socket = Socket::open(&server).await;
    socket.send(Message::binary(b"{}".to_vec())).await;
    assert_eq!(socket.closed().await, 1003);

    let mut socket = Socket::open(&server).await;
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "enough".into(),
    };
    socket.send(Message::Close(Some(frame))).await;
    assert_eq!(socket.closed().await, 1000, "its own, sent back");

    let mut raw = server.connect().await;
    raw.send_request(&ws::handshake()).await;
    raw.answer().await.expect(101);
    // Not masked, as a client's frames have to be.
    raw.send(b"\x81\x02{}").await;
    raw.expect_closed().await;
}

#[tokio::test]
async fn a_foreign_page_is_refused_unless_it_is_listed() {
    let listed = "https://app.example";
    let default = Server::start(&[]).await;
    let listing = Server::start(&["--cors-origin", listed]).await;
    for (server, origin, status) in [
        (&default, "https://evil.example".to_owned(), 403),
        (&default, listed.to_owned(), 403),
        (&default, "null".to_owned(), 403),
        (&default, format!("http://{}", default.addr()), 101),
        (&listing, listed.to_owned(), 101),
        (&listing, "https://app.example.evil".to_owned(), 403),
    ] {
        let request = ws::handshake().header("Origin", &origin);
        let mut conn = server.connect().await;
        conn.send_request(&request).await;
        let answer = conn.answer().await;
        assert_eq!(answer.status, status, "{origin}:\n{answer}");
    }
    let request = ws::handshake().header("Origin", "https://evil.example");
    default.send(request).await.expect_slug(403, "forbidden");
}

#[tokio::test]
async fn whoever_asks_for_no_websocket_is_told_so() {
    let server = Server::start(&[]).await;
    let bare = Req::new("GET", ws::PATH);
    let other = ws::handshake().with("Upgrade", "h2c");
    let old = ws::handshake().with("Sec-WebSocket-Version", "8");
    for request in [bare.clone(), other, old] {
        let answer = server.send(request).await;
        let answer = answer.expect_slug(426, "upgrade-required");
        let answer = answer.expect_header("Upgrade", "websocket");
        let answer = answer.expect_header("Connection", "upgrade");
        answer.expect_header("Sec-WebSocket-Version", "13");
    }
    let head = Req::new("HEAD", ws::PATH);
    server.send(head).await.expect(426);
    for key in ["", "x", "dGhlIHNhbXBsZQ=="] {
        let request = ws::handshake().with("Sec-WebSocket-Key", key);
        let answer = server.send(request).await;
        answer.expect_slug(400, "validation-failed");
    }
    let mut h2 = H2::open(server.addr()).await;
    let answer = h2.send(&bare).await;
    let answer = answer.expect_slug(426, "upgrade-required");
    answer.expect_no_header("Connection");
}

#[tokio::test]
async fn the_handshake_is_that_of_the_specification() {
    let server = Server::start(&[]).await;
    let mut conn = server.connect().await;
    conn.send_request(&ws::handshake()).await;
    let answer = conn.answer().await.expect(101);
    answer
        .expect_header("Upgrade", "websocket")
        .expect_header("Connection", "upgrade")
        .expect_header("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[tokio::test]
async fn the_end_of_the_server_is_told_and_waits_for_nobody() {
    let server = Server::start(&["--shutdown-grace", "1h"]).await;
    let mut reading = Socket::open(&server).await;
    reading.subscribe_after(0).await;
    // These say nothing, and do not close their side either.
    let _silent = Socket::open(&server).await;
    let mut deaf = server.connect().await;
    deaf.send_request(&ws::handshake()).await;
    server.quiesce().await;
    server.sigterm();
    assert_eq!(reading.closed().await, 1001);
    drop(reading);
    let status = server.exited_within(PROMPTLY).await;
    assert!(status.success(), "{status}");
}
