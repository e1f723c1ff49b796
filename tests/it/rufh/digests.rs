//! Rows R25 and R75 to R78: digests (RFC 9530).

use crate::support::rufh::{self, LAST, MORE, digest};
use crate::support::server::Server;
use crate::support::tus::Upload;
use crate::support::wire::Req;
use crate::support::{content, eventually};

fn with_digest(request: Req, of: &[u8]) -> Req {
    request.header("Content-Digest", digest(of))
}

#[tokio::test]
async fn r75_content_with_its_digest_is_kept() {
    let server = Server::start(&[]).await;
    let create = with_digest(rufh::create_of(11), b"hello ").body("hello ");
    let upload = Upload::created(&server.send(create).await.expect(201).expect_open(6));
    let last = with_digest(rufh::patch(&upload, 6, LAST), b"world");
    let answer = server.send(last.chunked("world")).await.expect(201);
    answer.expect_complete(b"hello world");
    assert_eq!(server.download(&upload).await, b"hello world");
}

#[tokio::test]
async fn r75_content_with_another_digest_is_400_and_nothing_of_it_is_kept() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(11).await;
    server.append_draft(&upload, 0, b"hello").await;
    for complete in [MORE, LAST] {
        for chunked in [false, true] {
            let patch = with_digest(rufh::patch(&upload, 5, complete), b" World");
            let patch = match chunked {
                false => patch.body(" world"),
                true => patch.chunked(" world"),
            };
            let answer = server.send(patch).await;
            let answer = answer.expect_slug(400, "content-digest-mismatch");
            answer.expect_open(5);
        }
    }
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r75_a_creation_with_another_digest_stores_nothing() {
    let server = Server::start(&[]).await;
    let create = with_digest(rufh::create(LAST), b"Hello").body("hello");
    let answer = server.send(create.clone()).await;
    let answer = answer.expect_slug(400, "content-digest-mismatch");
    answer
        .expect_no_header("Location")
        .expect_header("Upload-Complete", MORE);
    eventually("nothing is left of it", async || {
        server.uploads("uploading").await.is_empty().then_some(())
    })
    .await;
    // Whoever was told where it is can send the content again.
    let answer = server.send(create.interop(rufh::NEWEST)).await;
    let answer = answer.expect_slug(400, "content-digest-mismatch");
    let upload = Upload::created(&answer.interim[0]);
    answer.expect_open(0);
    server.expect_draft_resumable(&upload, 0, b"hello").await;
}

/// Trap 3: of content that breaks off nobody can say whether it is right.
#[tokio::test]
async fn r75_content_with_a_digest_that_breaks_off_is_not_kept() {
    let server = Server::start(&[]).await;
    let whole = content(75, 100_000);
    let upload = server.create_draft(whole.len() as u64).await;
    server.append_draft(&upload, 0, &whole[..10_000]).await;
    let patch = with_digest(rufh::patch(&upload, 10_000, LAST), &whole[10_000..]);
    let mut conn = server.connect().await;
    conn.send_head_and_wait(patch.declare(90_000)).await;
    conn.send(&whole[10_000..50_000]).await;
    server.quiesce().await;
    drop(conn);
    server.expect_draft_resumable(&upload, 10_000, &whole).await;
}

#[tokio::test]
async fn r75_r71_content_with_a_digest_that_is_taken_over_is_not_kept() {
    let server = Server::start(&[]).await;
    let whole = content(76, 100_000);
    let upload = server.create_draft(whole.len() as u64).await;
    let patch = with_digest(rufh::patch(&upload, 0, LAST), &whole);
    let mut conn = server.connect().await;
    conn.send_head_and_wait(patch.declare(100_000)).await;
    conn.send(&whole[..50_000]).await;
    server.quiesce().await;
    let head = server.send(rufh::head(&upload)).await.expect(204);
    head.expect_open(0);
    let answer = conn.answer().await.expect_slug(400, "upload-superseded");
    answer.expect_open(0);
    server.expect_draft_resumable(&upload, 0, &whole).await;
}

#[tokio::test]
async fn r75_algorithms_that_are_not_known_are_not_looked_at() {
    let server = Server::start(&[]).await;
    for unknown in [
        "md5=:AAAA:",
        "sha=:AAAA:, unixsum=:AAAA:",
        "sha-512=:AAAA:",
        "nonsense",
        "sha-256=:AAAA:",
        "sha-256=\"x\"",
    ] {
        let create = rufh::create(LAST).header("Content-Digest", unknown);
        let create = create.header("Repr-Digest", unknown);
        let answer = server.send(create.body("hello")).await.expect(201);
        answer.expect_complete(b"hello");
    }
    // Among others the known one counts, over two lines as well.
    let mixed = rufh::create(LAST)
        .header("Content-Digest", "md5=:AAAA:")
        .header("Content-Digest", digest(b"other"));
    let answer = server.send(mixed.body("hello")).await;
    answer.expect_slug(400, "content-digest-mismatch");
}

/// Who asks for the comparison must not be told of success without it.
#[tokio::test]
async fn r76_a_creation_is_another_one_with_another_digest() {
    let server = Server::start(&[]).await;
    let id = Upload::unknown().id().to_owned();
    let named = |complete, digest_of: Option<&[u8]>| {
        let create = rufh::create(complete).header("Upload-Id", &id);
        let create = create.header("Upload-Length", "5");
        match digest_of {
            Some(bytes) => create.header("Repr-Digest", rufh::digest(bytes)),
            None => create,
        }
    };
    server.send(named(MORE, None)).await.expect(201);
    let asks = named(LAST, Some(b"other")).body("hello");
    server.send(asks).await.expect_slug(409, "id-taken");
    let again = named(LAST, None).body("hello");
    server
        .send(again)
        .await
        .expect(200)
        .expect_complete(b"hello");
}

#[tokio::test]
async fn r76_an_upload_with_its_digest_completes() {
    let server = Server::start(&[]).await;
    let create = rufh::create_of(11).header("Repr-Digest", digest(b"hello world"));
    let upload = Upload::created(&server.send(create.body("hello")).await.expect(201));
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}

/// Row R25 is the same answer: `Upload-Complete: ?1` on a refusal, nothing to go on with.
#[tokio::test]
async fn r76_r25_an_upload_with_another_digest_has_failed() {
    let server = Server::start(&[]).await;
    let wrong = digest(b"Hello World");
    let create = rufh::create_of(11).header("Repr-Digest", &wrong);
    let upload = Upload::created(&server.send(create.body("hello")).await.expect(201));
    let last = rufh::patch(&upload, 5, LAST).body(" world");
    let answer = server.send(last).await.expect_slug(400, "digest-mismatch");
    answer.expect_header("Upload-Complete", LAST);
    server
        .expect_draft_gone(&upload, 410, "upload-failed")
        .await;

    let create = rufh::create(LAST).header("Repr-Digest", &wrong);
    let answer = server.send(create.body("hello world")).await;
    let answer = answer.expect_slug(400, "digest-mismatch");
    answer.expect_header("Upload-Complete", LAST);
    assert_eq!(server.uploads("completed").await.len(), 0);
    assert_eq!(server.uploads("failed").await.len(), 2);
}

#[tokio::test]
async fn r76_the_digest_is_looked_at_over_a_crash_and_by_a_server_without_digests() {
    let flags = ["--digest", "none"];
    let mut server = Server::start(&flags).await;
    for (told, status) in [(&b"hello world"[..], 201), (b"Hello World", 400)] {
        let create = rufh::create_of(11).header("Repr-Digest", digest(told));
        let upload = Upload::created(&server.send(create.body("hello")).await.expect(201));
        server.kill9().await;
        server.restart(&flags).await;
        let last = rufh::patch(&upload, 5, LAST).body(" world");
        let answer = server.send(last).await.expect(status);
        answer.expect_header("Upload-Complete", LAST);
    }
}

#[tokio::test]
async fn r77_the_final_answer_has_the_digest_of_the_whole() {
    let server = Server::start(&[]).await;
    let whole = content(77, 300_000);
    let create = rufh::create(MORE).header("Want-Repr-Digest", "sha-256=10");
    let upload = Upload::created(&server.send(create).await.expect(201));
    server.append_draft(&upload, 0, &whole[..100_000]).await;
    server
        .expect_draft_resumable(&upload, 100_000, &whole)
        .await;
}

/// Without digests there is none to tell; that the upload is complete is told all the same.
#[tokio::test]
async fn r77_a_server_without_digests_completes_without_one() {
    let server = Server::start(&["--digest", "none"]).await;
    let answer = server.send(rufh::create(LAST).body("hello")).await;
    answer
        .expect(201)
        .expect_header("Upload-Complete", LAST)
        .expect_offset(5)
        .expect_no_header("Repr-Digest");
}

#[tokio::test]
async fn r78_a_digest_of_the_unencoded_content_is_not_looked_at() {
    let server = Server::start(&[]).await;
    let create = rufh::create(LAST)
        .header("Unencoded-Digest", digest(b"other"))
        .header("Want-Unencoded-Digest", "sha-256=1");
    let answer = server.send(create.body("hello")).await.expect(201);
    answer.expect_complete(b"hello");
}
