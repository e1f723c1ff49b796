//! Rows R1 to R5: what the server can do, before anything is created.

use crate::support::rufh::{self, LAST};
use crate::support::server::Server;
use crate::support::tus::Upload;
use crate::support::wire::Req;

const LIMITS: [&str; 8] = [
    "--max-upload-size",
    "1Gi",
    "--max-append-size",
    "64Mi",
    "--min-append-size",
    "1Ki",
    "--upload-expires-after",
    "2h",
];

fn options(target: &str) -> Req {
    Req::new("OPTIONS", target)
}

#[tokio::test]
async fn r1_options_on_a_creation_url_tells_every_limit() {
    let server = Server::start(&LIMITS).await;
    for target in ["/files", "/files/", "/api/projects/default/uploads"] {
        let answer = server.send(options(target)).await.expect(204);
        assert_eq!(answer.limit("max-size"), Some(1 << 30), "{answer}");
        assert_eq!(answer.limit("max-append-size"), Some(64 << 20), "{answer}");
        assert_eq!(answer.limit("min-append-size"), Some(1 << 10), "{answer}");
        assert_eq!(answer.limit("max-age"), Some(7200), "{answer}");
    }
}

#[tokio::test]
async fn r1_upload_limit_is_there_without_any_limit_of_size() {
    let server = Server::start(&[]).await;
    let answer = server.send(options("/files")).await.expect(204);
    answer.field("Upload-Limit");
    for key in ["max-size", "max-append-size", "min-append-size"] {
        assert_eq!(answer.limit(key), None, "{answer}");
    }
    // Of an upload that stays there is nothing to say, and the field must not be empty.
    let whole = server.complete_draft(b"hello").await;
    let answer = server.send(rufh::head(&whole)).await.expect(204);
    answer.expect_header("Upload-Limit", "min-size=0");
}

#[tokio::test]
async fn r2_the_whole_server_has_no_limits_to_tell() {
    // Not every resource here has those of uploads.
    let server = Server::start(&LIMITS).await;
    let answer = server.send(options("*")).await.expect_problem(404);
    answer.expect_no_header("Upload-Limit");
    server.complete_draft(b"hello").await;
}

#[tokio::test]
async fn r3_the_announced_limits_are_those_of_the_upload() {
    let server = Server::start(&LIMITS).await;
    let announced = server.send(options("/files")).await.expect(204);
    let created = server.send(rufh::create_of(5)).await.expect(201);
    let head = server.send(rufh::head(&Upload::created(&created))).await;
    for answer in [created, head] {
        for key in ["max-size", "max-append-size", "min-append-size"] {
            assert_eq!(answer.limit(key), announced.limit(key), "{answer}");
        }
        // What is left of it, so a little less.
        let left = answer.limit("max-age").expect("it expires");
        assert!((7000..=7200).contains(&left), "{answer}");
    }
}

#[tokio::test]
async fn r4_options_with_fields_of_an_upload_is_answered_all_the_same() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    for target in ["/files", &upload.path] {
        for complete in ["?0", "?1", "nonsense"] {
            let asked = options(target).header("Upload-Complete", complete);
            let answer = server.send(asked.interop(rufh::NEWEST)).await.expect(204);
            answer.field("Upload-Limit");
            assert!(answer.interim.is_empty(), "{answer}");
        }
    }
    server.expect_draft_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn r5_options_tells_the_media_type_of_an_append() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    for target in ["/files", &upload.path] {
        let types = server.send(options(target)).await.list("Accept-Patch");
        assert!(
            types.iter().any(|known| known == rufh::PARTIAL_UPLOAD),
            "{types:?}"
        );
    }
}

#[tokio::test]
async fn r5_a_browser_may_send_and_read_every_field_of_the_draft() {
    let server = Server::start(&[]).await;
    let preflight = options("/files")
        .header("Origin", "https://example.org")
        .header("Access-Control-Request-Method", "PUT");
    let answer = server.send(preflight).await.expect(204);
    let methods = answer.list("Access-Control-Allow-Methods");
    assert!(methods.iter().any(|known| known == "put"), "{answer}");
    let sent = answer.list("Access-Control-Allow-Headers");
    for field in [
        "upload-complete",
        "upload-incomplete",
        "upload-draft-interop-version",
        "upload-length",
        "upload-offset",
        "content-digest",
        "repr-digest",
        "content-disposition",
    ] {
        assert!(sent.iter().any(|known| known == field), "{field}: {answer}");
    }
    let create = rufh::create(LAST).header("Origin", "https://example.org");
    let answer = server.send(create.body("hello")).await.expect(201);
    let read = answer.list("Access-Control-Expose-Headers");
    for field in [
        "location",
        "upload-offset",
        "upload-complete",
        "upload-incomplete",
        "upload-length",
        "upload-limit",
        "upload-draft-interop-version",
        "repr-digest",
    ] {
        assert!(read.iter().any(|known| known == field), "{field}: {answer}");
    }
}
