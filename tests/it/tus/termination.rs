//! Rows T90 to T94: termination.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::support::server::{Server, files_in};
use crate::support::tus::{self, Upload};
use crate::support::{content, eventually};

#[tokio::test]
async fn t90_delete_of_an_unfinished_upload_is_204() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    server.append(&upload, 0, b"he").await;
    let answer = server.send(tus::delete(&upload)).await.expect(204);
    assert!(
        answer.body.is_empty() && answer.header("Upload-Offset").is_none(),
        "{answer}"
    );
}

#[tokio::test]
async fn t90_delete_of_a_complete_upload_is_204() {
    let server = Server::start(&[]).await;
    let upload = server.complete(b"hello").await;
    server.send(tus::delete(&upload)).await.expect(204);
}

#[tokio::test]
async fn t90_delete_frees_the_space() {
    const BLOB_BYTES: u64 = 4 << 20;
    /// What the database may grow by meanwhile.
    const ROWS_BYTES: u64 = 1 << 20;
    let server = Server::start(&[]).await;
    let bytes = content(90, BLOB_BYTES as usize);
    let unfinished = server.create(BLOB_BYTES + 1).await;
    server.append(&unfinished, 0, &bytes).await;
    let complete = server.complete(&bytes).await;
    let before = bytes_in(server.data_dir());
    for upload in [&unfinished, &complete] {
        server.send(tus::delete(upload)).await.expect(204);
    }
    eventually("the blobs are gone", async || {
        (bytes_in(server.data_dir()) + 2 * BLOB_BYTES <= before + ROWS_BYTES).then_some(())
    })
    .await;
}

fn bytes_in(directory: &Path) -> u64 {
    // A file may go while this looks at it.
    files_in(directory)
        .iter()
        .filter_map(|file| file.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

#[tokio::test]
async fn t91_a_cancelled_upload_is_410_for_everything() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    server.append(&upload, 0, b"he").await;
    server.send(tus::delete(&upload)).await.expect(204);
    let patch = server.send(tus::patch(&upload, 2).body("llo")).await;
    patch
        .expect_slug(410, "upload-cancelled")
        .expect_no_header("Upload-Offset");
    server
        .send(tus::get(&upload))
        .await
        .expect_slug(410, "upload-cancelled");
    server
        .send(tus::head(&upload))
        .await
        .expect(410)
        .expect_no_header("Upload-Offset");
    // Repeating a cancel is safe.
    for _ in 0..3 {
        server.send(tus::delete(&upload)).await.expect(204);
    }
}

#[tokio::test]
async fn t91_a_deleted_complete_upload_is_404_for_everything() {
    let server = Server::start(&[]).await;
    let upload = server.complete(b"hello").await;
    server.send(tus::delete(&upload)).await.expect(204);
    server.send(tus::get(&upload)).await.expect_problem(404);
    server
        .send(tus::head(&upload))
        .await
        .expect(404)
        .expect_no_header("Upload-Offset");
    server
        .send(tus::patch(&upload, 5))
        .await
        .expect_problem(404);
    server.send(tus::delete(&upload)).await.expect_problem(404);
}

#[tokio::test]
async fn t91_a_cancel_outlives_a_restart() {
    let mut server = Server::start(&[]).await;
    let cancelled = server.create(5).await;
    let deleted = server.complete(b"hello").await;
    server.send(tus::delete(&cancelled)).await.expect(204);
    server.send(tus::delete(&deleted)).await.expect(204);
    server.kill9().await;
    server.restart(&[]).await;
    server.send(tus::head(&cancelled)).await.expect(410);
    server.send(tus::delete(&cancelled)).await.expect(204);
    server.send(tus::get(&deleted)).await.expect_problem(404);
}

#[tokio::test]
async fn t91_the_tombstone_goes_after_its_time() {
    let server = Server::start(&["--tombstone-keep", "1s"]).await;
    let upload = server.create(5).await;
    server.send(tus::delete(&upload)).await.expect(204);
    let answer = eventually("the tombstone is forgotten", async || {
        Some(server.send(tus::head(&upload)).await).filter(|answer| answer.status != 410)
    });
    answer.await.expect(404);
    server.send(tus::delete(&upload)).await.expect_problem(404);
}

#[tokio::test]
async fn t92_delete_of_an_unknown_upload_is_404() {
    let server = Server::start(&[]).await;
    server
        .send(tus::delete(&Upload::unknown()))
        .await
        .expect_problem(404);
}

#[tokio::test]
async fn t93_delete_ends_a_running_patch() {
    let server = Server::start(&[]).await;
    let upload = server.create(1 << 20).await;
    let mut sender = server.connect().await;
    sender
        .send_head_and_wait(tus::patch(&upload, 0).declare(1 << 20))
        .await;
    sender.send(b"some of it").await;
    let asked = Instant::now();
    server.send(tus::delete(&upload)).await.expect(204);
    let took = asked.elapsed();
    assert!(
        took < Duration::from_secs(5),
        "the running PATCH held DELETE up for {took:?}"
    );
    sender
        .answer()
        .await
        .expect_slug(410, "upload-cancelled")
        .expect_header("Connection", "close");
    server.send(tus::head(&upload)).await.expect(410);
}

#[tokio::test]
async fn t94_success_is_204_and_without_content() {
    let server = Server::start(&[]).await;
    for upload in [
        server.create(5).await,
        server.create(0).await,
        server.complete(b"x").await,
    ] {
        // tus-js-client takes 200 for a failure.
        server
            .send(tus::delete(&upload))
            .await
            .expect(204)
            .expect_no_header("Content-Type");
    }
}
