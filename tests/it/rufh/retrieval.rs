//! Rows R30 to R34, R54 and R60: how far an upload is, and its end.

use crate::support::eventually;
use crate::support::rufh::{self, LAST, MORE};
use crate::support::server::Server;
use crate::support::tus::Upload;
use crate::support::wire::Req;

#[tokio::test]
async fn r30_head_is_204_with_every_field() {
    let server = Server::start(&["--max-upload-size", "1Gi"]).await;
    let upload = server.create_draft(11).await;
    server.append_draft(&upload, 0, b"hello").await;
    // With a field of the draft and without: the upload tells its dialect.
    for head in [
        rufh::head(&upload),
        rufh::head(&upload).interop(rufh::NEWEST),
    ] {
        let answer = server.send(head).await.expect(204).expect_open(5);
        assert_eq!(answer.limit("max-size"), Some(1 << 30), "{answer}");
        assert!(answer.limit("max-age").is_some(), "{answer}");
        answer
            .expect_header("Upload-Length", "11")
            .expect_header("Cache-Control", "no-store")
            .expect_no_header("Upload-Expires")
            .expect_no_header("Location");
    }
}

#[tokio::test]
async fn r30_a_length_that_nobody_has_told_is_not_told() {
    let server = Server::start(&[]).await;
    let upload = server.create_open_draft().await;
    let answer = server.send(rufh::head(&upload)).await.expect(204);
    answer
        .expect_open(0)
        .expect_no_header("Upload-Length")
        .expect_no_header("Upload-Defer-Length");
}

#[tokio::test]
async fn r30_get_of_an_incomplete_upload_tells_the_same() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(11).await;
    server.append_draft(&upload, 0, b"hello").await;
    for get in [rufh::get(&upload), rufh::get(&upload).interop(rufh::NEWEST)] {
        let answer = server.send(get).await.expect(204).expect_open(5);
        answer
            .expect_header("Upload-Length", "11")
            .expect_header("Cache-Control", "no-store");
    }
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r31_get_of_a_complete_upload_is_the_file_with_the_fields() {
    let server = Server::start(&[]).await;
    let upload = server.complete_draft(b"hello world").await;
    for get in [rufh::get(&upload), rufh::get(&upload).interop(rufh::NEWEST)] {
        let answer = server.send(get).await.expect(200);
        assert_eq!(answer.body, b"hello world");
        answer.expect_complete(b"hello world");
    }
    let part = rufh::get(&upload).header("Range", "bytes=6-10");
    let answer = server.send(part).await.expect(206);
    assert_eq!(answer.body, b"world");
    answer.expect_header("Upload-Complete", LAST);
}

/// Whoever reads only the fields must not take the upload for one to go on with.
#[tokio::test]
async fn r31_a_refused_look_at_the_file_still_tells_that_it_is_complete() {
    let server = Server::start(&[]).await;
    let upload = server.complete_draft(b"hello").await;
    for (status, name, value) in [
        (416, "Range", "bytes=99-"),
        (412, "If-Match", "\"other\""),
        (304, "If-None-Match", "*"),
    ] {
        let answer = server.send(rufh::get(&upload).header(name, value)).await;
        answer.expect(status).expect_header("Upload-Complete", LAST);
    }
}

#[tokio::test]
async fn r32_the_offset_told_is_one_to_go_on_from() {
    let server = Server::start(&[]).await;
    let upload = server.create_open_draft().await;
    let mut whole = Vec::new();
    for piece in [&b"a"[..], b"", b"bcd", b"efghijkl"] {
        let offset = server.draft_offset(&upload).await;
        assert_eq!(offset, whole.len() as u64);
        server.append_draft(&upload, offset, piece).await;
        whole.extend(piece);
    }
    let offset = server.draft_offset(&upload).await;
    server.expect_draft_resumable(&upload, offset, &whole).await;
}

#[tokio::test]
async fn r34_an_unknown_upload_is_404_for_everything() {
    let server = Server::start(&[]).await;
    let unknown = Upload::unknown();
    for target in [&unknown.path, "/files/not-an-id"] {
        for method in ["HEAD", "GET", "PATCH", "DELETE"] {
            let asked = Req::new(method, target)
                .header("Content-Type", rufh::PARTIAL_UPLOAD)
                .interop(rufh::NEWEST);
            let asked = match method {
                "PATCH" => asked
                    .header("Upload-Offset", "0")
                    .header("Upload-Complete", LAST)
                    .body("hello"),
                _ => asked,
            };
            let answer = server.send(asked).await.expect(404);
            answer
                .expect_no_header("Upload-Offset")
                .expect_no_header("Tus-Resumable");
        }
    }
}

#[tokio::test]
async fn r34_an_expired_upload_is_410_for_everything() {
    let server = Server::start(&["--upload-expires-after", "1s"]).await;
    let upload = server.create_draft(5).await;
    // A look with a GET is none that an upload goes on with.
    eventually("the upload expires", async || {
        let answer = server.send(rufh::get(&upload)).await;
        (answer.status == 410).then_some(())
    })
    .await;
    server
        .expect_draft_gone(&upload, 410, "upload-expired")
        .await;
}

#[tokio::test]
async fn r54_a_complete_upload_is_still_told_of() {
    let mut server = Server::start(&["--upload-expires-after", "1s"]).await;
    let upload = server.complete_draft(b"hello").await;
    for restarted in [false, true] {
        if restarted {
            server.kill9().await;
            server.restart(&[]).await;
        }
        for head in [
            rufh::head(&upload),
            rufh::head(&upload).interop(rufh::NEWEST),
        ] {
            let answer = server.send(head).await.expect(204);
            answer
                .expect_complete(b"hello")
                .expect_header("Cache-Control", "no-store");
        }
    }
}

#[tokio::test]
async fn r60_delete_ends_an_upload_for_good() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(11).await;
    server.append_draft(&upload, 0, b"hello").await;
    let answer = server.send(rufh::delete(&upload)).await.expect(204);
    answer
        .expect_no_header("Upload-Offset")
        .expect_no_header("Tus-Resumable");
    // The second DELETE among them: in tus that is 204.
    server
        .expect_draft_gone(&upload, 410, "upload-cancelled")
        .await;
    let again = rufh::delete(&upload).interop(rufh::NEWEST);
    let answer = server.send(again).await;
    answer.expect_slug(410, "upload-cancelled");
}

#[tokio::test]
async fn r60_delete_of_a_complete_upload_leaves_404() {
    let server = Server::start(&[]).await;
    let upload = server.complete_draft(b"hello").await;
    server.send(rufh::delete(&upload)).await.expect(204);
    for method in ["HEAD", "GET", "DELETE"] {
        let asked = Req::new(method, &upload.path).interop(rufh::NEWEST);
        let answer = server.send(asked).await.expect(404);
        answer.expect_no_header("Upload-Offset");
    }
    let patch = rufh::patch(&upload, 5, LAST);
    server.send(patch).await.expect_slug(404, "not-found");
}

#[tokio::test]
async fn r60_a_post_may_stand_for_a_delete() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    let post = Req::new("POST", &upload.path)
        .header("X-HTTP-Method-Override", "DELETE")
        .interop(rufh::NEWEST);
    server.send(post.body("")).await.expect(204);
    let patch = rufh::patch(&upload, 0, MORE).body("hello");
    let answer = server.send(patch).await;
    answer.expect_slug(410, "upload-cancelled");
}
