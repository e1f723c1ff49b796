//! Rows T70 to T80: checksum and checksum-trailer.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::support::eventually;
use crate::support::h2c::H2;
use crate::support::server::Server;
use crate::support::tus::{self, ALGORITHMS, Upload, checksum};
use crate::support::wire::{Req, chunk};

/// A chunked PATCH that announces its checksum as a trailer.
fn with_trailer(upload: &Upload, offset: u64, body: &str, checksum: &str) -> Req {
    tus::patch(upload, offset)
        .chunked(body)
        .header("Trailer", "Upload-Checksum")
        .trailer("Upload-Checksum", checksum)
}

#[tokio::test]
async fn t70_the_algorithms_are_advertised() {
    let server = Server::start(&[]).await;
    let answer = server.send(tus::options("/files")).await.expect(204);
    let algorithms = answer.field("Tus-Checksum-Algorithm");
    let mut offered = algorithms.split(',').collect::<Vec<_>>();
    offered.sort_unstable();
    let mut wanted = ALGORITHMS;
    wanted.sort_unstable();
    assert_eq!(offered, wanted, "{answer}");
}

#[tokio::test]
async fn t71_a_matching_checksum_is_204() {
    let server = Server::start(&[]).await;
    for algorithm in ALGORITHMS {
        let upload = server.create(11).await;
        // The digest is of this request's body, not of the upload until now.
        for (offset, piece) in [(0, "hello"), (5, " world")] {
            let patch = tus::patch(&upload, offset).body(piece);
            let patch = patch.header("Upload-Checksum", checksum(algorithm, piece.as_bytes()));
            let end = offset + piece.len() as u64;
            server.send(patch).await.expect(204).expect_offset(end);
        }
        assert_eq!(server.download(&upload).await, b"hello world");
    }
}

#[tokio::test]
async fn t71_the_checksum_of_an_empty_body_is_checked_like_any_other() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let patch = tus::patch(&upload, 0);
    let good = patch
        .clone()
        .header("Upload-Checksum", checksum("sha1", b""));
    server.send(good).await.expect(204).expect_offset(0);
    server
        .send(patch.header("Upload-Checksum", checksum("sha1", b"x")))
        .await
        .expect(460);
}

#[tokio::test]
async fn t72_an_algorithm_that_is_not_offered_is_400_before_the_body() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    for algorithm in ["sha512", "crc32", "rot13", "SHA1", "sha-1"] {
        let value = format!(
            "{algorithm} {}",
            BASE64_STANDARD.encode(b"12345678901234567890")
        );
        let mut conn = server.connect().await;
        let patch = tus::patch(&upload, 0)
            .declare(5)
            .header("Upload-Checksum", value);
        conn.send_head(&patch.expect_continue()).await;
        let answer = conn.answer().await.expect_problem(400);
        assert!(
            answer.interim.is_empty(),
            "the body was asked for:\n{answer}"
        );
    }
    server.expect_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn t73_a_mismatch_is_460_and_keeps_nothing_of_the_body() {
    let server = Server::start(&[]).await;
    for algorithm in ALGORITHMS {
        let upload = server.create(5).await;
        server.append(&upload, 0, b"he").await;
        let patch = tus::patch(&upload, 2).body("LLO");
        let patch = patch.header("Upload-Checksum", checksum(algorithm, b"llo"));
        let answer = server.send(patch).await.expect_problem(460);
        assert_eq!(answer.reason, "Checksum Mismatch", "{answer}");
        server.expect_resumable(&upload, 2, b"hello").await;
    }
}

#[tokio::test]
async fn t74_an_interrupted_body_with_a_checksum_keeps_nothing() {
    let server = Server::start(&["--checkpoint-interval", "50ms"]).await;
    let upload = server.create(11).await;
    server.append(&upload, 0, b"he").await;
    let mut conn = server.connect().await;
    let patch = tus::patch(&upload, 2).declare(9);
    let patch = patch.header("Upload-Checksum", checksum("sha1", b"llo world"));
    conn.send_head_and_wait(patch).await;
    conn.send(b"llo wor").await;
    server.quiesce().await;
    drop(conn);
    // Whenever HEAD looks, before, while or after the server notices: the offset does not move.
    server.quiesce().await;
    server.expect_resumable(&upload, 2, b"hello world").await;
}

#[tokio::test]
async fn t75_a_length_declared_with_a_failed_checksum_is_not_declared() {
    let server = Server::start(&[]).await;
    let upload = server.create_deferred().await;
    let patch = tus::patch(&upload, 0)
        .header("Upload-Length", "5")
        .body("HELLO");
    let patch = patch.header("Upload-Checksum", checksum("sha256", b"hello"));
    server.send(patch).await.expect_problem(460);
    let head = server
        .send(tus::head(&upload))
        .await
        .expect(200)
        .expect_offset(0);
    head.expect_header("Upload-Defer-Length", "1")
        .expect_no_header("Upload-Length");
    // So another length can still be declared.
    let patch = tus::patch(&upload, 0)
        .header("Upload-Length", "11")
        .body("hello world");
    server.send(patch).await.expect(204).expect_offset(11);
    assert_eq!(server.download(&upload).await, b"hello world");
}

#[tokio::test]
async fn t76_a_creation_with_data_and_checksum_is_all_or_nothing() {
    let server = Server::start(&[]).await;
    let request = tus::create_with_data(5).body("hello");
    let good = request
        .clone()
        .header("Upload-Checksum", checksum("md5", b"hello"));
    let created = server.send(good).await.expect(201).expect_offset(5);
    assert_eq!(server.download(&Upload::created(&created)).await, b"hello");

    let bad = request.header("Upload-Checksum", checksum("md5", b"HELLO"));
    server
        .send(bad)
        .await
        .expect_problem(460)
        .expect_no_header("Location");
    let orphans = server.uploads("uploading").await;
    assert!(orphans.is_empty(), "left behind: {orphans:?}");
}

#[tokio::test]
async fn t77_a_checksum_in_the_trailer_is_verified() {
    let server = Server::start(&[]).await;
    for algorithm in ALGORITHMS {
        let upload = server.create(5).await;
        let good = with_trailer(&upload, 0, "he", &checksum(algorithm, b"he"));
        server.send(good).await.expect(204).expect_offset(2);
        let bad = with_trailer(&upload, 2, "LLO", &checksum(algorithm, b"llo"));
        server.send(bad).await.expect_problem(460);
        server.expect_resumable(&upload, 2, b"hello").await;
    }
}

#[tokio::test]
async fn t77_a_checksum_in_the_trailer_is_verified_over_http2() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let mut h2 = H2::open(server.addr()).await;
    let good = with_trailer(&upload, 0, "he", &checksum("sha1", b"he"));
    h2.send(&good).await.expect(204).expect_offset(2);
    let bad = with_trailer(&upload, 2, "LLO", &checksum("sha1", b"llo"));
    h2.send(&bad).await.expect_problem(460);
    let missing = tus::patch(&upload, 2)
        .chunked("LLO")
        .header("Trailer", "Upload-Checksum");
    h2.send(&missing).await.expect_problem(460);
    server.expect_resumable(&upload, 2, b"hello").await;
}

#[tokio::test]
async fn t77_an_unusable_checksum_in_the_trailer_keeps_nothing() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    for value in ["rot13 YQ==", "sha1", "sha1 YQ==", "sha1 ***", ""] {
        let answer = server.send(with_trailer(&upload, 0, "hello", value)).await;
        answer.expect_problem(400).expect_offset(0);
    }
    server.expect_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn t78_an_announced_trailer_that_never_comes_keeps_nothing() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let announced = tus::patch(&upload, 0).header("Trailer", "Upload-Checksum");
    // The body ends cleanly, without the trailer.
    server
        .send(announced.clone().chunked("hello"))
        .await
        .expect_problem(460);
    // A body that tells its length cannot have trailers at all.
    let answer = server.send(announced.clone().body("hello")).await;
    assert!(matches!(answer.status, 400 | 460), "{answer}");
    // The client leaves before the trailer.
    let mut conn = server.connect().await;
    conn.send_head_and_wait(announced.chunked("")).await;
    conn.send(&chunk(b"hello")).await;
    server.quiesce().await;
    drop(conn);
    server.quiesce().await;
    server.expect_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn t79_a_trailer_that_was_not_announced_is_ignored() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    // Whether to stage the body is decided before it comes.
    let patch = tus::patch(&upload, 0).chunked("hello");
    let patch = patch.trailer("Upload-Checksum", &checksum("sha1", b"HELLO"));
    server.send(patch).await.expect(204).expect_offset(5);
    assert_eq!(server.download(&upload).await, b"hello");
}

#[tokio::test]
async fn t80_crc32c_is_four_bytes_big_endian() {
    let server = Server::start(&[]).await;
    let upload = server.create(9).await;
    // The check value of the CRC catalogue, so that no library is compared with itself.
    let patch = tus::patch(&upload, 0).body("123456789");
    let digest = BASE64_STANDARD.encode(0xE306_9283_u32.to_be_bytes());
    let little = BASE64_STANDARD.encode(0xE306_9283_u32.to_le_bytes());
    let bad = patch
        .clone()
        .header("Upload-Checksum", format!("crc32c {little}"));
    server.send(bad).await.expect_problem(460);
    let good = patch.header("Upload-Checksum", format!("crc32c {digest}"));
    server.send(good).await.expect(204).expect_offset(9);
}

#[tokio::test]
async fn t80_the_base64_of_a_hex_digest_is_refused_not_guessed() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    // tusc.sh sends this.
    let hex = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";
    let value = format!("sha1 {}", BASE64_STANDARD.encode(hex));
    let patch = tus::patch(&upload, 0)
        .body("hello")
        .header("Upload-Checksum", value);
    server.send(patch).await.expect_problem(400);
    server.expect_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn a_large_body_with_a_checksum_becomes_visible_in_one_step() {
    const BODY_BYTES: usize = 8 << 20;
    let flags = [
        "--checkpoint-bytes",
        "64Ki",
        "--checkpoint-interval",
        "10ms",
    ];
    let server = Server::start(&flags).await;
    let bytes = crate::support::content(80, BODY_BYTES);
    let upload = server.create(bytes.len() as u64).await;
    let patch = tus::patch(&upload, 0).header("Upload-Checksum", checksum("sha256", &bytes));
    let mut conn = server.connect().await;
    conn.send_head_and_wait(patch.declare(bytes.len() as u64))
        .await;
    // Checkpoints would show here, if the staged bytes had any.
    for piece in bytes.chunks(1 << 20) {
        assert_eq!(
            server.offset(&upload).await,
            0,
            "bytes are told before they are verified"
        );
        conn.send(piece).await;
    }
    conn.answer()
        .await
        .expect(204)
        .expect_offset(bytes.len() as u64);
    eventually("the upload is complete", async || {
        (server.offset(&upload).await == bytes.len() as u64).then_some(())
    })
    .await;
    assert_eq!(server.download(&upload).await, bytes);
}
