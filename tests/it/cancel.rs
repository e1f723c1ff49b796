//! Cancel calls: what somebody else than the sender asks for (contract, "Cancel").

use serde_json::{Value, json};

use crate::crash::kill_during;
use crate::feed::assert_stories;
use crate::support::server::{Server, files_in};
use crate::support::tus::{self, Upload};
use crate::support::wire::{Answer, Req};
use crate::support::{eventually, random, rounds};

const UPLOADS: &str = "/api/projects/default/uploads";

fn call(path: &str, body: &Value) -> Req {
    tus::request("POST", path)
        .header("Content-Type", "application/json")
        .body(body.to_string())
}

fn cancel(upload: &Upload) -> Req {
    call(
        &format!("/api/uploads/{}/cancel", upload.id()),
        &json!({ "reason": "wrong file" }),
    )
}

#[track_caller]
fn data(answer: Answer) -> Value {
    let answer = answer
        .expect(200)
        .expect_header("Cache-Control", "no-store");
    let body = answer.json();
    assert_eq!(body["success"], true, "{answer}");
    body["data"].clone()
}

fn blobs(server: &Server) -> usize {
    let blobs = files_in(&server.data_dir().join("blobs"));
    blobs.iter().filter(|path| is_of_an_upload(path)).count()
}

fn is_of_an_upload(path: &std::path::Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.len() >= 36
}

#[tokio::test]
async fn a_cancel_ends_a_running_patch_and_says_so_to_both() {
    let server = Server::start(&[]).await;
    let upload = server.create(1 << 20).await;
    server.append(&upload, 0, b"kept ").await;
    let mut sender = server.connect().await;
    let patch = tus::patch(&upload, 5).declare((1 << 20) - 5);
    sender.send_head_and_wait(patch).await;
    sender.send(b"some of it").await;
    server.quiesce().await;

    let answer = server.send(cancel(&upload)).await;
    assert!(answer.json()["message"].is_string(), "{answer}");
    let told = data(answer);
    assert_eq!(told["operation"], "upload");
    assert_eq!(told["id"], upload.id());
    let settled = eventually("the cancel is confirmed", async || {
        let told = data(server.send(cancel(&upload)).await);
        (told["outcome"] == "already_cancelled").then_some(told)
    });
    let settled = settled.await;
    assert_eq!(settled["state"], "cancelled");
    assert!(settled["cancelledAt"].is_string(), "{settled}");
    assert_eq!(settled["cancelledAt"], told["cancelledAt"]);
    assert!(settled["releasedBytes"].as_u64() >= Some(5), "{settled}");

    let problem = sender.answer().await.expect_slug(410, "upload-cancelled");
    let problem = problem.expect_header("Connection", "close").json();
    assert_eq!(problem["reason"], "wrong file");
    assert_eq!(problem["cancelledAt"], told["cancelledAt"]);
    assert_eq!(blobs(&server), 0);
    let row = server.uploads("cancelled").await;
    assert_eq!(row[0]["id"], upload.id());
}

#[tokio::test]
async fn cancels_are_measured() {
    let server = Server::start(&[]).await;
    let open = server.create(9).await;
    let upload = server.create(1 << 20).await;
    let mut sender = server.connect().await;
    sender
        .send_head_and_wait(tus::patch(&upload, 0).declare(1 << 20))
        .await;
    server.send(cancel(&upload)).await.expect(200);
    sender.answer().await.expect_slug(410, "upload-cancelled");
    sender.send(&vec![7; 1 << 20]).await;
    let wanted = [
        "tidegate_upload_cancel_stopped_seconds_count 1",
        "tidegate_upload_cancel_removed_seconds_count 1",
        "tidegate_http_discarded_bytes_total{status=\"410\"} 1048576",
        "tidegate_uploads_open 1",
        "tidegate_uploads_ending 0",
        "tidegate_appends_running 0",
    ];
    eventually("everything is counted", async || {
        let metrics = server.send(tus::request("GET", "/metrics")).await;
        let text = String::from_utf8(metrics.body).expect("UTF-8");
        let has = |line: &&str| text.lines().any(|found| found == *line);
        wanted.iter().all(has).then_some(())
    })
    .await;
    server.send(tus::delete(&open)).await.expect(204);
}

/// Any other answer to a HEAD makes a stock client send the whole file again.
#[tokio::test]
async fn after_a_cancel_the_offset_is_frozen_and_nothing_else_goes() {
    let mut server = Server::start(&[]).await;
    let upload = server.create(10).await;
    server.append(&upload, 0, b"hello").await;
    assert_eq!(
        data(server.send(cancel(&upload)).await)["state"],
        "cancelled"
    );
    for restarted in [false, true] {
        if restarted {
            server.kill9().await;
            server.restart(&[]).await;
        }
        let head = server.send(tus::head(&upload)).await.expect(200);
        head.expect_offset(5)
            .expect_header("Upload-Length", "10")
            .expect_no_header("Upload-Expires");
        let patch = tus::patch(&upload, 5).body("world");
        let problem = server
            .send(patch)
            .await
            .expect_slug(410, "upload-cancelled");
        assert_eq!(problem.json()["reason"], "wrong file");
        let get = server.send(tus::get(&upload)).await;
        get.expect_slug(410, "upload-cancelled");
    }
}

#[tokio::test]
async fn a_complete_upload_is_not_cancelled() {
    let server = Server::start(&[]).await;
    let upload = server.complete(b"hello").await;
    let told = data(server.send(cancel(&upload)).await);
    assert_eq!(told["outcome"], "already_completed");
    assert_eq!(told["state"], "completed");
    assert_eq!(told["cancelledAt"], Value::Null);
    assert_eq!(server.download(&upload).await, b"hello");
}

#[tokio::test]
async fn a_cancel_needs_no_body_and_may_name_the_project() {
    let server = Server::start(&[]).await;
    let (a, b) = (server.create(5).await, server.create(5).await);
    let bare = tus::request("POST", &format!("/api/uploads/{}/cancel", a.id()));
    assert_eq!(data(server.send(bare).await)["outcome"], "cancelled");
    let scoped = format!("{UPLOADS}/{}/cancel", b.id());
    let told = data(server.send(call(&scoped, &json!({}))).await);
    assert_eq!(told["outcome"], "cancelled");
    let elsewhere = format!("/api/projects/other/uploads/{}/cancel", a.id());
    let answer = server.send(call(&elsewhere, &json!({}))).await;
    answer.expect_slug(404, "not-found");
}

#[tokio::test]
async fn a_call_that_is_wrong_changes_nothing() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let path = format!("/api/uploads/{}/cancel", upload.id());
    let json = |text: &str| {
        tus::request("POST", &path)
            .header("Content-Type", "application/json")
            .body(text.to_owned())
    };
    let long = json!({ "reason": "x".repeat(201) }).to_string();
    for text in [
        "{",
        "[]",
        "\"reason\"",
        "{\"reason\":7}",
        "{\"why\":\"x\"}",
        "{\"reason\":\"a\\nb\"}",
        &long,
    ] {
        server
            .send(json(text))
            .await
            .expect_slug(400, "validation-failed");
    }
    let text = tus::request("POST", &path)
        .header("Content-Type", "text/plain")
        .body("{}");
    server.send(text).await.expect_slug(415, "not-json");
    let large = json(&" ".repeat((1 << 20) + 1));
    server.send(large).await.expect_slug(413, "body-too-large");
    for id in ["not-a-uuid", &upload.id().to_uppercase(), "%00"] {
        let wrong = call(&format!("/api/uploads/{id}/cancel"), &json!({}));
        server
            .send(wrong)
            .await
            .expect_slug(400, "validation-failed");
    }
    let unknown = server.send(cancel(&Upload::unknown())).await;
    unknown.expect_slug(404, "not-found");
    let get = server.send(tus::request("GET", &path)).await;
    get.expect_slug(405, "method-not-allowed");
    assert_eq!(server.offset(&upload).await, 0, "it goes on");
    // As long as a reason may be.
    let reason = json!({ "reason": "é".repeat(200) });
    assert_eq!(
        data(server.send(call(&path, &reason)).await)["outcome"],
        "cancelled"
    );
}

#[tokio::test]
async fn many_are_cancelled_in_one_call() {
    let server = Server::start(&[]).await;
    let (a, b) = (server.create(5).await, server.create(5).await);
    let whole = server.complete(b"hello").await;
    let unknown = Upload::unknown();
    let path = format!("{UPLOADS}/cancel");
    let ids = json!({ "ids": [a.id(), whole.id(), unknown.id()], "reason": "wrong files" });
    let told = data(server.send(call(&path, &ids)).await);
    assert_eq!(told["total"], 3);
    assert_eq!(told["unchanged"], 2);
    let outcomes: Vec<_> = told["results"].as_array().unwrap().iter().collect();
    assert_eq!(outcomes[0]["id"], a.id());
    assert_eq!(outcomes[1]["outcome"], "already_completed");
    assert_eq!(outcomes[2]["outcome"], "not_found");
    assert_eq!(server.offset(&b).await, 0, "it was not asked for");

    let told = data(server.send(call(&path, &json!({}))).await);
    assert_eq!((&told["total"], &told["more"]), (&json!(1), &json!(false)));
    assert_eq!(told["results"][0]["id"], b.id());
    let told = data(server.send(call(&path, &json!({ "all": true }))).await);
    assert_eq!(told["total"], 0);
    let problem = server.send(tus::patch(&a, 0).body("hello")).await;
    assert_eq!(problem.expect_problem(410).json()["reason"], "wrong files");
    assert_eq!(server.download(&whole).await, b"hello");

    for wrong in [
        json!({ "ids": ["x"] }),
        json!({ "ids": "all" }),
        json!({ "ids": null }),
        json!({ "all": 1 }),
    ] {
        let answer = server.send(call(&path, &wrong)).await;
        answer.expect_slug(400, "validation-failed");
    }
    let elsewhere = call("/api/projects/other/uploads/cancel", &json!({}));
    server.send(elsewhere).await.expect_slug(404, "not-found");
}

/// The creation's answer is lost: the client still knows what it has made.
/// More than are cancelled in one transaction, and each is answered in its place.
#[tokio::test]
async fn a_call_for_thousands_is_answered_in_the_order_of_its_ids() {
    let server = Server::start(&[]).await;
    let mut rng = random("a call for thousands");
    let mut ids: Vec<String> = (0..1_200)
        .map(|_| Upload::unknown().id().to_owned())
        .collect();
    for (at, id) in ids.iter_mut().enumerate() {
        *id = format!("{at:08x}-0000-4000-8000-{:012x}", rng.u32(..));
    }
    let mut known = Vec::new();
    for at in [0, 3, 499, 500, 501, 999, 1_000, 1_199] {
        let upload = server.create(10).await;
        ids[at] = upload.id().to_owned();
        known.push(at);
    }
    let path = format!("{UPLOADS}/cancel");
    let told = data(server.send(call(&path, &json!({ "ids": ids }))).await);
    assert_eq!(told["total"], 1_200, "{told}");
    for (at, line) in told["results"]
        .as_array()
        .expect("a list")
        .iter()
        .enumerate()
    {
        assert_eq!(line["id"], ids[at]);
        let is_known = line["outcome"] != "not_found";
        assert_eq!(is_known, known.contains(&at), "{at}: {line}");
    }
    // A few more, and others are served as ever.
    server
        .send(call(&path, &json!({ "ids": [] })))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_client_may_name_its_upload_and_ask_again() {
    let server = Server::start(&[]).await;
    let named = Upload::unknown();
    let create = |length| tus::create(length).header("Upload-Id", named.id());
    let made = server.send(create(10)).await.expect(201);
    assert!(made.header("Location").unwrap().ends_with(named.id()));
    server.append(&named, 0, b"hello").await;
    let again = server.send(create(10)).await.expect(200).expect_offset(5);
    assert_eq!(again.header("Location"), made.header("Location"));
    assert_eq!(server.uploads("uploading").await.len(), 1);

    server.send(create(11)).await.expect_slug(409, "id-taken");
    let partial = create(10).header("Upload-Concat", "partial");
    server.send(partial).await.expect_slug(409, "id-taken");
    for wrong in ["x", "", "0F8FAD5B-D9CB-469F-A165-70867728950E"] {
        let answer = server.send(tus::create(5).header("Upload-Id", wrong)).await;
        answer.expect_slug(400, "validation-failed");
    }
    server.append(&named, 5, b"world").await;
    server.send(create(10)).await.expect(200).expect_offset(10);
    assert_eq!(server.download(&named).await, b"helloworld");
}

/// Its content counts once, however often it is sent.
#[tokio::test]
async fn a_creation_with_content_may_be_repeated() {
    let server = Server::start(&[]).await;
    let create = |upload: &Upload| {
        tus::create_with_data(5)
            .header("Upload-Id", upload.id())
            .body("hello")
    };
    let named = Upload::unknown();
    server
        .send(create(&named))
        .await
        .expect(201)
        .expect_offset(5);
    server
        .send(create(&named))
        .await
        .expect(200)
        .expect_offset(5);
    assert_eq!(server.download(&named).await, b"hello");
    // The first one came without its content.
    let empty = Upload::unknown();
    let bare = tus::create(5).header("Upload-Id", empty.id());
    server.send(bare).await.expect(201);
    server
        .send(create(&empty))
        .await
        .expect(200)
        .expect_offset(5);
    assert_eq!(server.download(&empty).await, b"hello");
}

#[tokio::test]
async fn a_cancel_may_overtake_the_creation() {
    let mut server = Server::start(&[]).await;
    let late = Upload::unknown();
    server
        .send(cancel(&late))
        .await
        .expect_slug(404, "not-found");
    server.kill9().await;
    server.restart(&[]).await;
    let create = tus::create_with_data(5).header("Upload-Id", late.id());
    for _ in 0..2 {
        let refused = server.send(create.clone().body("hello")).await;
        let problem = refused.expect_slug(410, "upload-cancelled");
        assert_eq!(problem.json()["reason"], "wrong file");
    }
    let told = data(server.send(cancel(&late)).await);
    assert_eq!(told["outcome"], "already_cancelled");
    assert_eq!(blobs(&server), 0);
}

#[tokio::test]
async fn a_deletion_may_have_a_reason() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let delete = |body: &str| {
        tus::delete(&upload)
            .header("Content-Type", "application/json")
            .body(body)
    };
    let wrong = json!({ "reason": "x".repeat(201) }).to_string();
    for wrong in ["[]", "{", r#"{"why":"x"}"#, &wrong] {
        let refused = server.send(delete(wrong)).await;
        refused.expect_slug(400, "validation-failed");
    }
    server.send(tus::head(&upload)).await.expect(200);
    let right = delete(r#"{"reason":"wrong file"}"#);
    server.send(right).await.expect(204);
    let refused = server.send(tus::patch(&upload, 0).body("x")).await;
    let problem = refused.expect_slug(410, "upload-cancelled");
    assert_eq!(problem.json()["reason"], "wrong file");
}

/// Then nobody sends it again.
#[tokio::test]
async fn a_sender_who_agrees_to_a_cancel_is_told_so() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    server.send(cancel(&upload)).await.expect(200);
    server.send(tus::head(&upload)).await.expect(200);
    server.send(tus::delete(&upload)).await.expect(204);
    server.send(tus::head(&upload)).await.expect(410);
    let told = data(server.send(cancel(&upload)).await);
    assert_eq!(told["outcome"], "already_cancelled");
}

/// Whatever step a kill meets: an acknowledged cancel stays one, and nothing of it is left behind.
#[tokio::test]
async fn a_kill_in_a_cancel_is_finished_at_the_next_start() {
    const BYTES: usize = 256 * 1024;
    let mut rng = random("kill in a cancel");
    let mut server = Server::start(&[]).await;
    for _ in 0..rounds(20) {
        let mut uploads = Vec::new();
        let mut senders = Vec::new();
        for _ in 0..4 {
            let upload = server.create(1 << 30).await;
            let mut sender = server.connect().await;
            let patch = tus::patch(&upload, 0).declare(1 << 30);
            sender.send_head_and_wait(patch).await;
            sender.send(&vec![7; rng.usize(0..BYTES)]).await;
            uploads.push(upload);
            senders.push(sender);
        }
        let asked = uploads.clone();
        let answers = kill_during(&mut server, rng.u64(0..8_000), &[], async |server| {
            let cancels = asked.iter().map(|upload| server.try_send(cancel(upload)));
            futures_util::future::join_all(cancels).await
        });
        let answers = answers.await;
        drop(senders);
        for (upload, answer) in uploads.iter().zip(answers) {
            let row = eventually("no cancel is half done", async || {
                let path = format!("/api/uploads/{}", upload.id());
                let row = data(server.send(tus::request("GET", &path)).await);
                (row["state"] != "cancelling").then_some(row)
            });
            let state = row.await["state"].clone();
            if answer.is_ok() {
                assert_eq!(state, "cancelled", "it was acknowledged");
            } else if state == "uploading" {
                // On a slow disk it is confirmed later.
                eventually("the cancel is confirmed", async || {
                    let told = data(server.send(cancel(upload)).await);
                    (told["state"] == "cancelled").then_some(())
                })
                .await;
            }
        }
        assert_eq!(blobs(&server), 0, "nothing is left behind");
    }
    assert_stories(&server).await;
}

/// Before an upload is made, while it is, before its content, within it and with its last byte.
#[tokio::test]
async fn cancels_at_any_moment_leave_nothing() {
    let mut rng = random("cancels at any moment");
    let server = Server::start(&[]).await;
    cancelled_life(&server, rng.fork()).await;
    let descriptors = server.descriptors();
    for _ in 0..rounds(10) {
        let lives = (0..16).map(|_| cancelled_life(&server, rng.fork()));
        futures_util::future::join_all(lives).await;
    }
    for state in ["uploading", "cancelling", "completed"] {
        eventually("every upload has ended", async || {
            server.uploads(state).await.is_empty().then_some(())
        })
        .await;
    }
    eventually("nothing is left", async || {
        // Readers of the database are opened when they are needed, and stay.
        let is_back = server.descriptors() <= descriptors + 16;
        (blobs(&server) == 0 && is_back).then_some(())
    })
    .await;
    assert_stories(&server).await;
}

async fn cancelled_life(server: &Server, mut rng: fastrand::Rng) {
    const BYTES: usize = 40_000;
    let upload = Upload::unknown();
    let create = tus::create(BYTES as u64).header("Upload-Id", upload.id());
    let end = match rng.u8(0..3) {
        0 => cancel(&upload),
        1 => tus::delete(&upload),
        _ => call(
            &format!("{UPLOADS}/cancel"),
            &json!({ "ids": [upload.id()] }),
        ),
    };
    let moment = rng.u8(0..5);
    match moment {
        0 => {
            // One call for many is answered for them all.
            let answer = server.send(end).await;
            assert!(matches!(answer.status, 200 | 404), "{answer}");
            server.send(create).await.expect(410);
            return;
        }
        1 => {
            let both = futures_util::future::join(server.send(create), server.send(end.clone()));
            drop(both.await);
        }
        _ => drop(server.send(create).await.expect(201)),
    }
    let sent = match moment {
        3 => rng.usize(0..BYTES),
        4 => BYTES,
        _ => 0,
    };
    let mut sender = server.connect().await;
    if sent > 0 {
        let patch = tus::patch(&upload, 0).declare(BYTES as u64);
        sender.send_head(&patch).await;
        let content = vec![7; sent];
        let sending = sender.try_send(&content);
        let (_, ended) = futures_util::future::join(sending, server.send(end)).await;
        assert!(matches!(ended.status, 200 | 204), "{ended}");
    }
    // Whatever has won: now it ends. A complete upload only its sender can delete.
    let ended = server.send(tus::delete(&upload)).await;
    assert!(matches!(ended.status, 204 | 404), "{ended}");
}
