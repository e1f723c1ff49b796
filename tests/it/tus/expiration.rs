//! Rows T60 to T65: expiration.

use std::time::{Duration, SystemTime};

use crate::support::server::Server;
use crate::support::tus::{self, Upload, checksum};
use crate::support::wire::Answer;
use crate::support::{content, eventually};

/// Long enough that a test on a busy machine does not lose its upload before it looks.
const SOON: [&str; 2] = ["--upload-expires-after", "2s"];

/// Waits until HEAD no longer finds the upload, and gives that HEAD's answer.
async fn expired(server: &Server, upload: &Upload) -> Answer {
    eventually("the upload expires", async || {
        Some(server.send(tus::head(upload)).await).filter(|answer| answer.status != 200)
    })
    .await
}

fn date(answer: &Answer, name: &str) -> SystemTime {
    let text = answer.field(name);
    let date = httpdate::parse_http_date(text);
    let date = date.unwrap_or_else(|_| panic!("{name} is not a date:\n{answer}"));
    // The parser knows two older formats as well, which a server must not write.
    assert_eq!(
        httpdate::fmt_http_date(date),
        text,
        "{name} is not an IMF-fixdate:\n{answer}"
    );
    date
}

#[tokio::test]
async fn t60_expiration_is_advertised() {
    let server = Server::start(&[]).await;
    let extensions = server
        .send(tus::options("/files"))
        .await
        .list("Tus-Extension");
    assert!(
        extensions.iter().any(|known| known == "expiration"),
        "{extensions:?}"
    );
}

#[tokio::test]
async fn t61_post_patch_and_head_tell_when_the_upload_expires() {
    let server = Server::start(&[]).await;
    let created = server.send(tus::create(5)).await.expect(201);
    let upload = Upload::created(&created);
    let wrong_sum = checksum("sha1", b"other");
    let patches = [
        (tus::patch(&upload, 0).body("he"), 204),
        (tus::patch(&upload, 2), 204),
        // Refused, and the upload is still there.
        (tus::patch(&upload, 0).body("llo"), 409),
        (tus::patch(&upload, 2).body("llo and more"), 413),
        (tus::patch(&upload, 2).header("Upload-Length", "6"), 400),
        (
            tus::patch(&upload, 2)
                .header("Upload-Checksum", wrong_sum)
                .body("llo"),
            460,
        ),
    ];
    let mut answers = vec![created, server.send(tus::head(&upload)).await.expect(200)];
    for (request, status) in patches {
        answers.push(server.send(request).await.expect(status));
    }
    let mut before = SystemTime::UNIX_EPOCH;
    for answer in answers {
        let expires = date(&answer, "Upload-Expires");
        assert!(expires > date(&answer, "Date"), "in the past:\n{answer}");
        assert!(expires >= before, "sooner than told before:\n{answer}");
        before = expires;
    }
}

#[tokio::test]
async fn t62_the_date_is_an_imf_fixdate_as_far_away_as_configured() {
    const TWO_HOURS: Duration = Duration::from_secs(7200);
    let server = Server::start(&["--upload-expires-after", "2h"]).await;
    let created = server.send(tus::create(5)).await.expect(201);
    let told = date(&created, "Upload-Expires").duration_since(date(&created, "Date"));
    let told = told.expect("the upload expires in the future");
    assert!(
        told.abs_diff(TWO_HOURS) < Duration::from_secs(60),
        "expires in {told:?}\n{created}"
    );
}

#[tokio::test]
async fn t63_an_expired_upload_is_410_for_everything() {
    let server = Server::start(&SOON).await;
    let upload = server.create(5).await;
    server.append(&upload, 0, b"he").await;
    expired(&server, &upload)
        .await
        .expect(410)
        .expect_no_header("Upload-Offset");
    server
        .send(tus::patch(&upload, 2).body("llo"))
        .await
        .expect_problem(410);
    server.send(tus::get(&upload)).await.expect_problem(410);
    server.send(tus::delete(&upload)).await.expect_problem(410);
    // And an empty PATCH, which would end a deferred upload, ends nothing here.
    server
        .send(tus::patch(&upload, 2))
        .await
        .expect_problem(410);
}

#[tokio::test]
async fn t63_expiry_outlives_a_restart_with_a_longer_limit() {
    let mut server = Server::start(&SOON).await;
    let upload = server.create(5).await;
    expired(&server, &upload).await.expect(410);
    server.kill9().await;
    server.restart(&["--upload-expires-after", "1d"]).await;
    server.send(tus::head(&upload)).await.expect(410);
}

#[tokio::test]
async fn t63_an_upload_that_expired_while_the_server_was_down_is_410() {
    let mut server = Server::start(&["--upload-expires-after", "1s"]).await;
    let upload = server.create(5).await;
    server.kill9().await;
    // Whether the second passes while the server is down or just after the start: same answer.
    server.restart(&["--upload-expires-after", "1s"]).await;
    expired(&server, &upload).await.expect(410);
}

#[tokio::test]
async fn t63_the_tombstone_of_an_expired_upload_goes_after_its_time() {
    let server = Server::start(&["--upload-expires-after", "1s", "--tombstone-keep", "1s"]).await;
    let upload = server.create(5).await;
    expired(&server, &upload).await.expect(410);
    eventually("the tombstone is forgotten", async || {
        (server.send(tus::head(&upload)).await.status == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn t64_a_complete_upload_does_not_expire() {
    let server = Server::start(&SOON).await;
    let upload = server.create(5).await;
    let last = server
        .send(tus::patch(&upload, 0).body("hello"))
        .await
        .expect(204);
    last.expect_no_header("Upload-Expires");
    // Created later, hence expired later: by then the other one would have expired as well.
    let witness = server.create(5).await;
    expired(&server, &witness).await.expect(410);
    server
        .send(tus::head(&upload))
        .await
        .expect(200)
        .expect_no_header("Upload-Expires");
    assert_eq!(server.download(&upload).await, b"hello");
}

#[tokio::test]
async fn t65_a_progressing_patch_does_not_expire() {
    const PIECES: usize = 40;
    const PIECE_BYTES: usize = 4096;
    const PAUSE: Duration = Duration::from_millis(100);
    let server = Server::start(&SOON).await;
    let bytes = content(65, PIECES * PIECE_BYTES);
    let upload = server.create(bytes.len() as u64).await;
    let mut conn = server.connect().await;
    conn.send_head_and_wait(tus::patch(&upload, 0).declare(bytes.len() as u64))
        .await;
    // The client is slow, twice as slow as the upload may last without it.
    let mut pace = tokio::time::interval(PAUSE);
    for piece in bytes.chunks(PIECE_BYTES) {
        pace.tick().await;
        conn.send(piece).await;
    }
    conn.answer()
        .await
        .expect(204)
        .expect_offset(bytes.len() as u64);
    assert_eq!(server.download(&upload).await, bytes);
}
