//! Both dialects at one place: which one a request speaks (rows, section 2.9), and uploads of the
//! one seen from the other, from the JSON, from the events and by whoever cancels.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::feed::assert_stories;
use crate::support::rounds;
use crate::support::rufh::{self, LAST, MORE, NEWEST};
use crate::support::server::Server;
use crate::support::sse::{Event, Sse};
use crate::support::tus::{self, Upload};
use crate::support::wire::Req;

const UPLOADS: &str = "/api/projects/default/uploads";

/// How long the end of a sender may take while the machine is busy with other tests.
const FAST: Duration = Duration::from_secs(3);

/// And how long where nothing else is in the way, as the best of some.
const AT_ONCE: Duration = Duration::from_millis(250);

fn call(path: &str, body: &Value) -> Req {
    Req::new("POST", path)
        .header("Content-Type", "application/json")
        .body(body.to_string())
}

fn cancel(upload: &Upload) -> Req {
    let path = format!("/api/uploads/{}/cancel", upload.id());
    call(&path, &json!({ "reason": "wrong file" }))
}

#[tokio::test]
async fn a_request_that_tells_no_dialect_speaks_that_of_its_upload() {
    let server = Server::start(&[]).await;
    let (draft, tus) = (server.create_draft(5).await, server.create(5).await);
    let head = async |upload: &Upload| server.send(Req::new("HEAD", &upload.path)).await;
    head(&draft).await.expect(204).expect_open(0);
    let answer = head(&tus).await.expect(200).expect_offset(0);
    answer
        .expect_header("Tus-Resumable", "1.0.0")
        .expect_no_header("Upload-Complete");
    let delete = async |upload: &Upload| server.send(Req::new("DELETE", &upload.path)).await;
    delete(&draft).await.expect(204);
    // In tus that needs the version.
    delete(&tus).await.expect(412);
    server.expect_resumable(&tus, 0, b"hello").await;
}

#[tokio::test]
async fn the_dialect_of_a_request_is_the_first_that_something_in_it_tells() {
    let server = Server::start(&[]).await;
    let (draft, tus) = (server.create_draft(5).await, server.create(5).await);
    let post = || Req::new("POST", "/files").body("");
    let patch = |upload: &Upload| {
        let patch = Req::new("PATCH", &upload.path).header("Upload-Offset", "0");
        patch.body("")
    };
    let in_tus = [
        // `Tus-Resumable` wins over everything (trap 13), even where it is wrong.
        tus::create(5).header("Upload-Complete", LAST),
        rufh::create(LAST).header("Tus-Resumable", "0.2.2"),
        rufh::patch(&draft, 0, MORE).header("Tus-Resumable", "1.0.0"),
        // The media type of tus wins over the upload.
        patch(&draft).header("Content-Type", tus::OFFSET_OCTET_STREAM),
        patch(&tus),
        // Nothing tells.
        post().header("Upload-Length", "5"),
        Req::new("HEAD", &Upload::unknown().path),
    ];
    let in_draft = [
        // Any field of the draft, sound or not.
        post().header("Upload-Complete", "x"),
        post().header("Upload-Incomplete", "?0"),
        post().interop(99),
        patch(&tus).header("Content-Type", rufh::PARTIAL_UPLOAD),
        Req::new("HEAD", &tus.path).interop(NEWEST),
        patch(&draft),
    ];
    let in_tus = in_tus.into_iter().map(|request| (request, true));
    let in_draft = in_draft.into_iter().map(|request| (request, false));
    for (request, is_tus) in in_tus.chain(in_draft) {
        let asked = format!("{request:?}");
        let answer = server.send(request).await;
        let version = answer.header("Tus-Resumable");
        assert_eq!(version.is_some(), is_tus, "{asked}\n{answer}");
        let limit = answer.header("Upload-Limit");
        assert!(!is_tus || limit.is_none(), "{asked}\n{answer}");
    }
}

#[tokio::test]
async fn an_upload_of_the_draft_is_told_of_read_and_deleted_in_tus() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(11).await;
    server.append_draft(&upload, 0, b"hello").await;
    let head = server.send(tus::head(&upload)).await.expect(200);
    head.expect_offset(5)
        .expect_header("Upload-Length", "11")
        .expect_header("Tus-Resumable", "1.0.0")
        .expect_no_header("Upload-Complete");
    let get = tus::get(&upload).header("Tus-Resumable", "1.0.0");
    server
        .send(get.clone())
        .await
        .expect_slug(409, "upload-incomplete");
    let open = server.create_open_draft().await;
    let head = server.send(tus::head(&open)).await.expect(200);
    head.expect_header("Upload-Defer-Length", "1");
    server.send(tus::delete(&open)).await.expect(204);
    server
        .expect_draft_gone(&open, 410, "upload-cancelled")
        .await;
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
    let answer = server.send(get).await.expect(200);
    assert_eq!(answer.body, b"hello world");
    answer.expect_no_header("Upload-Complete");
    server.send(tus::delete(&upload)).await.expect(204);
    server.send(rufh::get(&upload)).await.expect(404);
}

#[tokio::test]
async fn an_upload_of_tus_is_told_of_read_and_deleted_in_the_draft() {
    let server = Server::start(&[]).await;
    let upload = server.create(11).await;
    server.append(&upload, 0, b"hello").await;
    let head = rufh::head(&upload).interop(NEWEST);
    let answer = server.send(head.clone()).await.expect(204);
    answer.expect_open(5).expect_header("Upload-Length", "11");
    let deferred = server.create_deferred().await;
    let answer = server.send(rufh::head(&deferred).interop(NEWEST)).await;
    answer
        .expect(204)
        .expect_open(0)
        .expect_no_header("Upload-Length")
        .expect_no_header("Upload-Defer-Length");
    let delete = rufh::delete(&deferred).interop(NEWEST);
    server.send(delete.clone()).await.expect(204);
    server
        .send(delete)
        .await
        .expect_slug(410, "upload-cancelled");
    // Complete at its length, as it is in tus.
    server.append(&upload, 5, b" world").await;
    let answer = server.send(head).await.expect(204);
    answer.expect_complete(b"hello world");
    let get = rufh::get(&upload).interop(NEWEST);
    let answer = server.send(get).await.expect(200);
    assert_eq!(answer.body, b"hello world");
    answer.expect_complete(b"hello world");
}

#[tokio::test]
async fn an_append_in_the_other_dialect_is_400_and_changes_nothing() {
    let server = Server::start(&[]).await;
    let drafts = server.create_draft(11).await;
    server.append_draft(&drafts, 0, b"hello").await;
    for patch in [
        tus::patch(&drafts, 5).body(" world"),
        tus::patch(&drafts, 5),
        tus::patch(&drafts, 0).body("x"),
    ] {
        let answer = server.send(patch).await;
        answer.expect_slug(400, "other-protocol").expect_offset(5);
    }
    let tus = server.create(11).await;
    server.append(&tus, 0, b"hello").await;
    for patch in [
        rufh::patch(&tus, 5, MORE).body(" world"),
        rufh::patch(&tus, 5, LAST).body(" world"),
        rufh::patch(&tus, 5, LAST),
    ] {
        let answer = server.send(patch).await;
        answer.expect_slug(400, "other-protocol").expect_open(5);
    }
    server
        .expect_draft_resumable(&drafts, 5, b"hello world")
        .await;
    server.expect_resumable(&tus, 5, b"hello world").await;
    for complete in [&drafts, &tus] {
        let other = match complete == &drafts {
            true => tus::patch(complete, 11),
            false => rufh::patch(complete, 11, LAST),
        };
        let answer = server.send(other).await;
        answer.expect_slug(400, "other-protocol");
    }
}

#[tokio::test]
async fn a_head_of_tus_disturbs_no_sender_of_the_draft_that_makes_progress() {
    let server = Server::start(&["--checkpoint-interval", "1h"]).await;
    let upload = server.create_draft(11).await;
    let mut sender = server.connect().await;
    let patch = rufh::patch(&upload, 0, LAST).declare(11);
    sender.send_head_and_wait(patch).await;
    sender.send(b"hello").await;
    server.send(tus::head(&upload)).await.expect(200);
    sender.send(b" world").await;
    let answer = sender.answer().await.expect(201);
    answer.expect_complete(b"hello world");
}

/// Creates an upload in both dialects, with the same name.
async fn twins(server: &Server) -> [Upload; 2] {
    let metadata = tus::metadata(&[("filename", b"a.txt"), ("filetype", b"text/plain")]);
    let in_tus = tus::create(11).header("Upload-Metadata", metadata);
    let in_draft = rufh::create_of(11)
        .header("Content-Type", "text/plain")
        .header("Content-Disposition", "attachment; filename=\"a.txt\"");
    let in_tus = server.send(in_tus).await.expect(201);
    let in_draft = server.send(in_draft).await.expect(201);
    [Upload::created(&in_tus), Upload::created(&in_draft)]
}

/// What is left when what has to differ is taken out.
fn alike(mut view: Value) -> Value {
    for own in [
        "id",
        "url",
        "createdAt",
        "updatedAt",
        "completedAt",
        "expiresAt",
    ] {
        if view[own].is_string() {
            view[own] = Value::from("differs");
        }
    }
    view
}

#[tokio::test]
async fn the_json_does_not_know_dialects() {
    let server = Server::start(&[]).await;
    let [in_tus, in_draft] = twins(&server).await;
    let same = async || {
        let (tus, draft) = (server.row(&in_tus).await, server.row(&in_draft).await);
        assert_eq!(alike(tus), alike(draft));
    };
    same().await;
    server.append(&in_tus, 0, b"hello").await;
    server.append_draft(&in_draft, 0, b"hello").await;
    same().await;
    server.append(&in_tus, 5, b" world").await;
    let last = rufh::patch(&in_draft, 5, LAST).body(" world");
    server.send(last).await.expect(201);
    same().await;
    let listed = server.uploads("completed").await;
    assert_eq!(listed.len(), 2);
    assert_eq!(alike(listed[0].clone()), alike(listed[1].clone()));
}

/// The types and data of an upload's logged events.
fn story(events: &[Event], upload: &Upload) -> Vec<(String, Value)> {
    let subject = format!("upload/{}", upload.id());
    let logged = events.iter().filter(|event| event.id.is_some());
    let own = logged.filter(|event| event.subject() == subject);
    own.map(|event| (event.kind().to_owned(), alike(event.json["data"].clone())))
        .collect()
}

#[tokio::test]
async fn the_events_do_not_know_dialects() {
    let server = Server::start(&[]).await;
    let mut feed = Sse::open(&server, "projectId=default", None).await;
    let uploads = twins(&server).await;
    let patches = [
        tus::patch(&uploads[0], 0).declare(11),
        rufh::patch(&uploads[1], 0, LAST).declare(11),
    ];
    let mut events = Vec::new();
    for (upload, patch) in uploads.iter().zip(patches) {
        let mut sender = server.connect().await;
        sender.send_head_and_wait(patch).await;
        sender.send(b"hello").await;
        server.quiesce().await;
        drop(sender);
        events.extend(feed.until("upload.interrupted").await);
        let rest = match upload == &uploads[0] {
            true => tus::patch(upload, 5),
            false => rufh::patch(upload, 5, LAST),
        };
        let answer = server.send(rest.body(" world")).await;
        assert!(matches!(answer.status, 201 | 204), "{answer}");
        events.extend(feed.until("upload.completed").await);
        server
            .send(rufh::delete(upload).interop(NEWEST))
            .await
            .expect(204);
        events.extend(feed.until("upload.deleted").await);
    }
    let stories = uploads.each_ref().map(|upload| story(&events, upload));
    assert_eq!(stories[0].len(), 5, "{stories:?}");
    assert_eq!(stories[0], stories[1]);
    assert_stories(&server).await;
}

#[derive(Clone, Copy, Debug)]
enum By {
    Post,
    Delete,
    Bulk,
}

/// Cancels an upload under a running sender, which creates it or appends to it, and gives the time
/// until that sender has read what became of it.
async fn cancelled(server: &Server, by: By, creates: bool, upload: &mut Upload) -> Duration {
    const LENGTH: u64 = 1 << 40;
    let mut sender = server.connect().await;
    if creates {
        let create = rufh::create(LAST).interop(NEWEST);
        sender.send_head(&create.declare(LENGTH)).await;
        *upload = Upload::created(&sender.next_interim().await);
    } else {
        *upload = server.create_open_draft().await;
        let patch = rufh::patch(upload, 0, LAST).interop(NEWEST);
        sender.send_head_and_wait(patch.declare(LENGTH)).await;
    }
    let piece = vec![7; 64 << 10];
    for _ in 0..16 {
        sender.send(&piece).await;
    }
    let asked = Instant::now();
    let answer = match by {
        By::Post => server.send(cancel(upload)).await.expect(200),
        By::Delete => server.send(rufh::delete(upload)).await.expect(204),
        By::Bulk => {
            let path = format!("{UPLOADS}/cancel");
            let bulk = json!({ "ids": [upload.id()], "reason": "wrong file" });
            server.send(call(&path, &bulk)).await.expect(200)
        }
    };
    // The sender goes on before it looks: what it sends is drained, and the answer is there.
    for _ in 0..16 {
        sender.send(&piece).await;
    }
    let told = sender.answer().await.expect_slug(410, "upload-cancelled");
    let took = asked.elapsed();
    assert!(took < FAST, "{by:?} took {took:?}\n{answer}");
    if !matches!(by, By::Delete) {
        assert_eq!(told.json()["reason"], "wrong file", "{told}");
    }
    told.expect_no_header("Upload-Offset")
        .expect_header("Connection", "close");
    took
}

#[tokio::test]
async fn a_cancel_ends_a_sender_of_the_draft_at_once_and_every_verb_is_410() {
    let server = Server::start(&[]).await;
    for by in [By::Post, By::Delete, By::Bulk] {
        for creates in [false, true] {
            let mut best = FAST;
            for _ in 0..rounds(5) {
                let mut upload = Upload::unknown();
                let took = cancelled(&server, by, creates, &mut upload).await;
                best = best.min(took);
                server
                    .expect_draft_gone(&upload, 410, "upload-cancelled")
                    .await;
                for again in [rufh::head(&upload), rufh::get(&upload)] {
                    server.send(again.interop(NEWEST)).await.expect(410);
                }
            }
            println!("{by:?}, creation {creates}: {best:?}");
            assert!(best < AT_ONCE, "{by:?}: the best took {best:?}");
        }
    }
    assert_stories(&server).await;
}

#[tokio::test]
async fn a_cancelled_upload_of_the_draft_stays_410_after_a_restart() {
    let mut server = Server::start(&[]).await;
    let upload = server.create_draft(11).await;
    server.append_draft(&upload, 0, b"hello").await;
    server.send(cancel(&upload)).await.expect(200);
    server.kill9().await;
    server.restart(&[]).await;
    let patch = rufh::patch(&upload, 5, LAST).body(" world");
    let answer = server.send(patch).await;
    let answer = answer.expect_slug(410, "upload-cancelled");
    assert_eq!(answer.json()["reason"], "wrong file");
    assert!(answer.json()["cancelledAt"].is_string(), "{answer}");
    server
        .expect_draft_gone(&upload, 410, "upload-cancelled")
        .await;
}

#[tokio::test]
async fn a_cancel_may_overtake_a_creation_of_the_draft() {
    let server = Server::start(&[]).await;
    let late = Upload::unknown();
    let answer = server.send(cancel(&late)).await;
    answer.expect_slug(404, "not-found");
    let create = rufh::create(LAST).header("Upload-Id", late.id());
    let answer = server.send(create.interop(NEWEST).body("hello")).await;
    let answer = answer.expect_slug(410, "upload-cancelled");
    assert!(answer.interim.is_empty(), "{answer}");
}

#[tokio::test]
async fn a_complete_upload_of_the_draft_is_not_cancelled() {
    let server = Server::start(&[]).await;
    let upload = server.complete_draft(b"hello").await;
    let answer = server.send(cancel(&upload)).await.expect(200);
    assert_eq!(answer.json()["data"]["outcome"], "already_completed");
    assert_eq!(server.download(&upload).await, b"hello");
}
