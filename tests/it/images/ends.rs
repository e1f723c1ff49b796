//! The ways in which a file, or the form that it is in, ends early.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::files::{codes, data, expect_stored};
use crate::feed::assert_stories;
use crate::support::form::{self, BOUNDARY, Form, image};
use crate::support::h2c::H2;
use crate::support::server::{Server, files_in, temp_dir};
use crate::support::sse::{Event, Sse};
use crate::support::tus::{self, Upload};
use crate::support::wire::{Conn, Req, chunk};
use crate::support::{content, eventually, from_env};

/// What a cancel may take on a machine that does other things as well.
const PROMPTLY: Duration = Duration::from_secs(5);

fn blobs(server: &Server) -> usize {
    let is_upload = |path: &std::path::PathBuf| {
        let name = path.file_name().unwrap_or_default();
        Uuid::parse_str(&name.to_string_lossy()).is_ok()
    };
    let blobs = files_in(&server.data_dir().join("blobs"));
    blobs.iter().filter(|path| is_upload(path)).count()
}

/// A form that is being sent by hand, in chunks.
struct Sending {
    conn: Conn,
    feed: Sse,
}

impl Sending {
    /// Sends a whole file, `good.png`, and the beginning of another one.
    async fn start(server: &Server, head: &str) -> (Self, Upload) {
        let feed = Sse::open(server, "projectId=default", None).await;
        let mut conn = server.connect().await;
        conn.send_head_and_wait(form::post().chunked("")).await;
        let mut sending = Self { conn, feed };
        sending
            .send(&Form::new().image("good.png", b"good").open(head).so_far())
            .await;
        sending.send(&content(1, 100_000)).await;
        sending.created("good.png").await;
        let upload = sending.created("running.png").await;
        (sending, upload)
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.conn.send(&chunk(bytes)).await;
    }

    /// Waits until an upload of this name is told of.
    async fn created(&mut self, name: &str) -> Upload {
        loop {
            let event = self.feed.next().await;
            if event.kind() == "upload.created" && event.json["data"]["filename"] == name {
                let id = event.subject().trim_start_matches("upload/");
                return Upload::listed(&json!({ "url": format!("/files/{id}") }));
            }
        }
    }

    async fn told(&mut self, kind: &str) -> Event {
        self.feed.until(kind).await.pop().expect("the last one")
    }

    /// Sends the rest of the file, another file, and the end.
    async fn finish(&mut self) {
        let rest = Form::new().image("next.png", b"next").end();
        self.send(&content(2, 100_000)).await;
        self.send(b"\r\n").await;
        self.send(&rest).await;
        self.conn.send(b"0\r\n\r\n").await;
    }
}

async fn state(server: &Server, upload: &Upload) -> Value {
    let path = format!("/api/uploads/{}", upload.id());
    server.send(Req::new("GET", &path)).await.expect(200).json()["data"]["state"].clone()
}

fn cancel_of(upload: &Upload) -> Req {
    Req::new("POST", &format!("/api/uploads/{}/cancel", upload.id()))
        .header("Content-Type", "application/json")
        .body(r#"{"reason":"wrong file"}"#)
}

fn cancel_of_all(_upload: &Upload) -> Req {
    Req::new("POST", "/api/projects/default/uploads/cancel").body("")
}

#[tokio::test]
async fn a_file_is_cancelled_while_it_streams_and_the_next_one_goes_on() {
    let named = Uuid::new_v4().to_string();
    let head = format!("{}\r\nX-Upload-Id: {named}", image("running.png"));
    for (way, cancel) in [
        ("by a call", cancel_of as fn(&Upload) -> Req),
        ("by DELETE", tus::delete),
        ("with all others", cancel_of_all),
    ] {
        let server = Server::start(&[]).await;
        let (mut sending, running) = Sending::start(&server, &head).await;
        assert_eq!(running.id(), named);
        let called = Instant::now();
        let answer = server.send(cancel(&running)).await;
        assert!(matches!(answer.status, 200 | 204), "{way}:\n{answer}");
        sending.told("upload.cancelled").await;
        assert!(called.elapsed() < PROMPTLY, "{way}: {:?}", called.elapsed());
        // Its sender has not sent another byte meanwhile, and is not hindered to.
        assert_eq!(blobs(&server), 1, "{way}");
        sending.finish().await;
        let answer = sending.conn.answer().await;
        let data = data(&answer);
        assert_eq!(codes(&answer), ["UPLOAD_CANCELLED"], "{way}");
        assert_eq!(data["failedFiles"][0]["filename"], "running.png");
        assert_eq!(data["failedFiles"][0]["id"], named);
        expect_stored(&server, &data["images"][0], "good.png", b"good").await;
        expect_stored(&server, &data["images"][1], "next.png", b"next").await;
        assert_stories(&server).await;
    }
}

#[tokio::test]
async fn over_http2_a_file_is_cancelled_on_the_very_connection() {
    let server = Server::start(&[]).await;
    let mut feed = Sse::open(&server, "projectId=default", None).await;
    let mut h2 = H2::open(server.addr()).await;
    let mut exchange = h2.start(&form::post().chunked("")).await;
    let form = Form::new().open(image("running.png")).so_far();
    exchange.send(&form).await;
    exchange.send(&content(3, 300_000)).await;
    let created = feed.until("upload.created").await.pop().expect("one");
    let id = created.subject().trim_start_matches("upload/");
    let running = Upload::listed(&json!({ "url": format!("/files/{id}") }));
    h2.send(&cancel_of(&running)).await.expect(200);
    exchange.send(b"rest\r\n").await;
    exchange
        .send(&Form::new().image("next.png", b"next").end())
        .await;
    exchange.end(&[]);
    let answer = exchange.answer().await;
    assert_eq!(codes(&answer), ["UPLOAD_CANCELLED"]);
    let reason = data(&answer)["failedFiles"][0]["reason"].clone();
    assert!(reason.as_str().expect("a reason").contains("wrong file"));
    expect_stored(&server, &data(&answer)["images"][0], "next.png", b"next").await;
}

#[tokio::test]
async fn a_file_may_be_cancelled_before_it_comes() {
    let server = Server::start(&[]).await;
    let id = Uuid::new_v4().to_string();
    let upload = Upload::listed(&json!({ "url": format!("/files/{id}") }));
    server.send(tus::delete(&upload)).await;
    let head = format!("{}\r\nX-Upload-Id: {id}", image("a.png"));
    let form = Form::new().part(head, b"hello").image("b.png", b"b").end();
    let answer = server.send(form::post().body(form)).await;
    assert_eq!(codes(&answer), ["UPLOAD_CANCELLED"]);
    assert_eq!(data(&answer)["count"], 1);
    assert_eq!(blobs(&server), 1);
}

/// Somebody who takes a file over has it, and it is never left half.
#[tokio::test]
async fn a_file_that_somebody_else_appends_to_has_failed() {
    let server = Server::start(&[]).await;
    let (mut sending, running) = Sending::start(&server, &image("running.png")).await;
    // Now somebody has it.
    sending.told("upload.progress").await;
    let head = Req::new("HEAD", &running.path).header("Upload-Draft-Interop-Version", "8");
    server.send(head).await;
    sending.finish().await;
    let answer = sending.conn.answer().await;
    assert_eq!(codes(&answer), ["UPLOAD_SUPERSEDED"]);
    assert_eq!(data(&answer)["count"], 2);
    assert_eq!(state(&server, &running).await, "cancelled");
    // Whereas these disturb nobody.
    let (mut sending, running) = Sending::start(&server, &image("running.png")).await;
    server.send(tus::head(&running)).await.expect(200);
    server.send(tus::get(&running)).await;
    assert_eq!(state(&server, &running).await, "uploading");
    sending.finish().await;
    assert_eq!(data(&sending.conn.answer().await)["count"], 3);
}

/// What is left when the sender of `running.png` is gone: nothing of it, and all of `good.png`.
async fn expect_removed(server: &Server, sending: &mut Sending, running: &Upload) {
    let event = sending.told("upload.cancelled").await;
    assert_eq!(event.subject(), format!("upload/{}", running.id()));
    let reason = event.json["data"]["reason"].as_str().expect("a reason");
    assert!(!reason.is_empty());
    assert_eq!(state(server, running).await, "cancelled");
    assert_eq!(server.uploads("completed").await[0]["filename"], "good.png");
    assert_eq!(server.uploads("uploading").await, Vec::<Value>::new());
    assert_eq!(blobs(server), 1);
    assert_stories(server).await;
}

#[tokio::test]
async fn a_file_whose_sender_has_left_is_removed() {
    let server = Server::start(&[]).await;
    let (mut sending, running) = Sending::start(&server, &image("running.png")).await;
    std::mem::replace(&mut sending.conn, server.connect().await).reset();
    expect_removed(&server, &mut sending, &running).await;

    let server = Server::start(&[]).await;
    let (mut sending, running) = Sending::start(&server, &image("running.png")).await;
    sending.conn = server.connect().await;
    expect_removed(&server, &mut sending, &running).await;

    let server = Server::start(&[]).await;
    let (mut sending, running) = Sending::start(&server, &image("running.png")).await;
    sending.conn.half_close().await;
    let answer = sending.conn.answer().await;
    assert_eq!(codes(&answer), ["BAD_REQUEST"]);
    assert_eq!(data(&answer)["images"][0]["filename"], "good.png");
    expect_removed(&server, &mut sending, &running).await;
}

#[tokio::test]
async fn over_http2_as_well() {
    let server = Server::start(&[]).await;
    let mut feed = Sse::open(&server, "projectId=default", None).await;
    let mut h2 = H2::open(server.addr()).await;
    let mut exchange = h2.start(&form::post().chunked("")).await;
    let form = Form::new()
        .image("good.png", b"good")
        .open(image("cut.png"));
    exchange.send(&form.so_far()).await;
    exchange.send(&content(3, 300_000)).await;
    feed.until("upload.completed").await;
    feed.until("upload.created").await;
    exchange.reset();
    feed.until("upload.cancelled").await;
    assert_eq!(server.uploads("completed").await.len(), 1);
    assert_eq!(server.uploads("uploading").await, Vec::<Value>::new());
    assert_eq!(blobs(&server), 1);
}

#[tokio::test]
async fn a_silent_sender_is_told_so_and_his_file_is_removed() {
    let server = Server::start(&["--stall-timeout", "2s"]).await;
    let (mut sending, running) = Sending::start(&server, &image("running.png")).await;
    let answer = sending.conn.answer().await;
    assert_eq!(codes(&answer)[0], "UPLOAD_STALLED", "{answer}");
    expect_removed(&server, &mut sending, &running).await;
    // Between two files, too.
    let mut conn = server.connect().await;
    conn.send_head_and_wait(form::post().chunked("")).await;
    let form = Form::new().image("a.png", b"a").so_far();
    conn.send(&chunk(
        &[&form, format!("--{BOUNDARY}\r\nX").as_bytes()].concat(),
    ))
    .await;
    let answer = conn.answer().await;
    assert_eq!(codes(&answer), ["UPLOAD_STALLED"]);
    assert_eq!(data(&answer)["count"], 1);
    let mut conn = server.connect().await;
    conn.send_head_and_wait(form::post().chunked("")).await;
    conn.answer().await.expect_slug(503, "upload-stalled");
}

/// The bytes of a file up to the last checkpoint are there after a crash, and nobody was told to go
/// on with it: it expires as any other upload does.
#[tokio::test]
async fn after_a_crash_a_file_expires() {
    const FLAGS: [&str; 4] = [
        "--upload-expires-after",
        "2s",
        "--checkpoint-interval",
        "50ms",
    ];
    let mut server = Server::start(&FLAGS).await;
    let (sending, running) = Sending::start(&server, &image("running.png")).await;
    eventually("a checkpoint", async || {
        let path = format!("/api/uploads/{}", running.id());
        let row = server.send(Req::new("GET", &path)).await.json();
        (row["data"]["offset"] != 0).then_some(())
    })
    .await;
    server.kill9().await;
    drop(sending);
    server.restart(&FLAGS).await;
    eventually("the file expires, with its bytes", async || {
        let is_gone = state(&server, &running).await == "expired" && blobs(&server) == 1;
        is_gone.then_some(())
    })
    .await;
    assert_eq!(server.uploads("completed").await[0]["filename"], "good.png");
    assert_stories(&server).await;
}

#[tokio::test]
async fn a_stop_of_the_server_removes_the_running_file_and_tells_what_is_stored() {
    let mut server = Server::start(&[]).await;
    let (mut sending, running) = Sending::start(&server, &image("running.png")).await;
    server.sigterm();
    let answer = sending.conn.answer().await;
    assert!(
        answer.list("Connection").contains(&"close".to_owned()),
        "{answer}"
    );
    assert_eq!(codes(&answer), ["SHUTTING_DOWN"]);
    assert_eq!(data(&answer)["images"][0]["filename"], "good.png");
    drop(sending);
    assert!(server.exited_within(PROMPTLY * 4).await.success());
    server.restart(&[]).await;
    eventually("its bytes are gone", async || {
        let is_gone = state(&server, &running).await == "cancelled" && blobs(&server) == 1;
        is_gone.then_some(())
    })
    .await;
    let mut conn = server.connect().await;
    conn.send_head_and_wait(form::post().chunked("")).await;
    server.sigterm();
    let answer = conn.answer().await.expect_slug(503, "shutting-down");
    answer.field("Retry-After");
}

#[tokio::test]
async fn a_file_is_one_append_and_as_large_as_one_may_be() {
    let server = Server::start(&["--max-append-size", "50000"]).await;
    let form = Form::new()
        .image("large.png", &content(4, 60_000))
        .image("next.png", b"next")
        .end();
    let answer = server.send(form::post().body(form)).await;
    assert_eq!(codes(&answer), ["UPLOAD_TOO_LARGE"]);
    assert_eq!(data(&answer)["count"], 1);
    assert_eq!(blobs(&server), 1);
}

#[tokio::test]
async fn memory_does_not_grow_with_a_file() {
    const MIB: usize = 1 << 20;
    let mib = from_env("TIDEGATE_TEST_UPLOAD_MIB").unwrap_or(1024);
    let directory = temp_dir();
    let server = Server::start_in(directory.path(), &[]).await;
    // What it takes to receive anything.
    let small = Form::new().image("small.png", &content(5, 8 * MIB)).end();
    server.send(form::post().body(small)).await.expect(201);
    let before = server.resident_bytes();
    let mut conn = server.connect().await;
    conn.send_head_and_wait(form::post().chunked("")).await;
    let piece = chunk(&content(6, MIB));
    let mut most = before;
    conn.send(&chunk(&Form::new().open(image("large.png")).so_far()))
        .await;
    for _ in 0..mib {
        conn.send(&piece).await;
        most = most.max(server.resident_bytes());
    }
    conn.send(&chunk(format!("\r\n--{BOUNDARY}--").as_bytes()))
        .await;
    conn.send(b"0\r\n\r\n").await;
    let view = data(&conn.answer().await)["images"][0].clone();
    assert_eq!(view["length"], mib * MIB as u64);
    let grown = most - before;
    println!("{mib} MiB: from {before} by {grown} bytes");
    assert!(grown < 64 << 20, "grown from {before} by {grown} bytes");
}
