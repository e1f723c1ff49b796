//! Rows R70 to R73: the newest request wins, and what has come before it is kept.

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::h2c::H2;
use crate::support::rufh::{self, LAST, MORE, NEWEST};
use crate::support::server::Server;
use crate::support::tus::Upload;
use crate::support::wire::{Conn, Req};
use crate::support::{PATIENCE, assert_same_bytes, content, random, rounds};

/// Nothing but a newer request ends the sender or makes an offset true.
const NOTHING_ELSE: [&str; 4] = ["--checkpoint-interval", "1h", "--stall-timeout", "1h"];

/// A sender that has sent a part of what it declares; the server has got it.
async fn sending(server: &Server, upload: &Upload, offset: u64, part: &[u8]) -> Conn {
    let mut conn = server.connect().await;
    // With `?1` it would fix the length.
    let patch = rufh::patch(upload, offset, MORE).declare(1 << 20);
    conn.send_head_and_wait(patch).await;
    conn.send(part).await;
    server.quiesce().await;
    conn
}

#[tokio::test]
async fn r70_of_two_appends_at_one_offset_one_at_most_succeeds() {
    let mut random = random("r70");
    let server = Server::start(&[]).await;
    let mut won_once = false;
    for round in 0..rounds(20) {
        let length = random.usize(1..300_000);
        let upload = server.create_open_draft().await;
        let bodies = [content(2 * round, length), content(2 * round + 1, length)];
        let complete = if random.bool() { LAST } else { MORE };
        let racers = bodies.iter().map(|body| {
            let patch = rufh::patch(&upload, 0, complete).body(&body[..]);
            server.send(patch)
        });
        let answers = join_all(racers).await;
        let won = |status: u16| matches!(status, 201 | 204);
        let winners = answers.iter().filter(|answer| won(answer.status)).count();
        assert!(
            winners <= 1,
            "round {round}: {} and {}",
            answers[0],
            answers[1]
        );
        won_once |= winners == 1;
        for answer in answers.iter().filter(|answer| !won(answer.status)) {
            assert!(matches!(answer.status, 400 | 409), "{answer}");
        }
        let head = server.send(rufh::head(&upload)).await.expect(204);
        let kept = head.offset().expect("it is told");
        let kept = usize::try_from(kept).expect("it fits into memory");
        // The rest is filled up with what no racer sent, so that the seam shows.
        if head.header("Upload-Complete") == Some(MORE) {
            let last = rufh::patch(&upload, kept as u64, LAST).body(vec![0; length - kept]);
            server.send(last).await.expect(201);
        }
        let found = server.download(&upload).await;
        let owners = bodies
            .iter()
            .filter(|body| body.starts_with(&found[..kept]));
        assert!(owners.count() >= 1, "round {round}: a mixture");
        assert!(found[kept..].iter().all(|&byte| byte == 0), "round {round}");
    }
    assert!(won_once, "nobody ever succeeds");
}

/// Whoever reads the 104 may come at once: the upload is its creation's from then on.
#[tokio::test]
async fn r71_who_comes_by_the_104_ends_the_creation_and_not_the_other_way_round() {
    let server = Server::start(&[]).await;
    for round in 0..rounds(60) {
        let create = rufh::create(MORE).interop(NEWEST).declare(5);
        let (mut older, mut newer) = (server.connect().await, server.connect().await);
        older.send_head(&create).await;
        let upload = Upload::created(&older.next_interim().await);
        let answer = match round % 2 {
            0 => newer.exchange(&rufh::head(&upload)).await.expect(204),
            _ => {
                let patch = rufh::patch(&upload, 0, LAST).body("newer");
                newer.exchange(&patch).await.expect(201)
            }
        };
        older.send(b"older").await;
        older.answer().await.expect_slug(400, "upload-superseded");
        let kept = answer.offset().expect("it is told");
        assert_eq!(server.draft_offset(&upload).await, kept, "round {round}");
    }
}

#[tokio::test]
async fn r71_a_head_ends_whoever_sends_and_its_offset_is_final() {
    let server = Server::start(&NOTHING_ELSE).await;
    let whole = content(71, 100_000);
    for head in [
        |upload: &Upload| rufh::head(upload),
        |upload: &Upload| rufh::head(upload).interop(rufh::NEWEST),
        |upload: &Upload| rufh::get(upload).interop(rufh::NEWEST),
    ] {
        let upload = server.create_open_draft().await;
        let mut older = sending(&server, &upload, 0, &whole[..40_000]).await;
        let answer = server.send(head(&upload)).await.expect(204);
        answer.expect_open(40_000);
        let answer = older.answer().await.expect_slug(400, "upload-superseded");
        answer.expect_header("Connection", "close");
        server.expect_draft_resumable(&upload, 40_000, &whole).await;
    }
}

#[tokio::test]
async fn r71_a_get_of_anybody_does_not_disturb_a_sender() {
    let server = Server::start(&NOTHING_ELSE).await;
    let upload = server.create_draft(11).await;
    let mut sender = server.connect().await;
    let patch = rufh::patch(&upload, 0, LAST).declare(11);
    sender.send_head_and_wait(patch).await;
    sender.send(b"hello").await;
    server.quiesce().await;
    server.send(rufh::get(&upload)).await.expect(204);
    let json = format!("/api/uploads/{}", upload.id());
    server.send(Req::new("GET", &json)).await.expect(200);
    sender.send(b" world").await;
    sender
        .answer()
        .await
        .expect(201)
        .expect_complete(b"hello world");
}

#[tokio::test]
async fn r71_an_append_ends_the_one_before_it_even_if_it_is_refused() {
    let server = Server::start(&NOTHING_ELSE).await;
    let upload = server.create_open_draft().await;
    let mut older = sending(&server, &upload, 0, b"hello").await;
    // It cannot know how far the older one came.
    let newer = rufh::patch(&upload, 0, LAST).body("X");
    let answer = server.send(newer).await;
    let answer = answer.expect_slug(409, "offset-mismatch").expect_open(5);
    assert_eq!(answer.json()["expected-offset"], 5);
    older.answer().await.expect_slug(400, "upload-superseded");
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r71_a_creation_is_ended_by_whoever_comes_to_its_upload() {
    let server = Server::start(&NOTHING_ELSE).await;
    let create = rufh::create(LAST).interop(rufh::NEWEST).declare(1 << 20);
    let mut older = server.connect().await;
    older.send_head(&create).await;
    let upload = Upload::created(&older.next_interim().await);
    older.send(b"hello").await;
    server.quiesce().await;
    let answer = server.send(rufh::head(&upload)).await.expect(204);
    answer.expect_open(5);
    let answer = older.answer().await.expect_slug(400, "upload-superseded");
    answer.expect_header("Location", &upload.location);
}

#[tokio::test]
async fn r71_over_http2_it_is_the_same() {
    let server = Server::start(&NOTHING_ELSE).await;
    let upload = server.create_open_draft().await;
    let mut h2 = H2::open(server.addr()).await;
    let patch = rufh::patch(&upload, 0, LAST).chunked("");
    let mut older = h2.start(&patch).await;
    older.send(b"hello").await;
    h2.settle().await;
    server.quiesce().await;
    // On the same connection, where both can live.
    let answer = h2.send(&rufh::head(&upload)).await.expect(204);
    answer.expect_open(5);
    older.answer().await.expect_slug(400, "upload-superseded");
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r71_r60_a_delete_ends_whoever_sends() {
    let server = Server::start(&NOTHING_ELSE).await;
    let upload = server.create_open_draft().await;
    let mut older = sending(&server, &upload, 0, b"hello").await;
    server.send(rufh::delete(&upload)).await.expect(204);
    older.answer().await.expect_slug(410, "upload-cancelled");
    server
        .expect_draft_gone(&upload, 410, "upload-cancelled")
        .await;
}

/// A dead peer does not keep an upload from going on until its patience ends (row R72).
#[tokio::test]
async fn r72_nobody_waits_for_a_peer_that_is_silent() {
    let server = Server::start(&NOTHING_ELSE).await;
    let upload = server.create_open_draft().await;
    let mut silent = Vec::new();
    let asked = Instant::now();
    for _ in 0..5 {
        silent.push(sending(&server, &upload, 0, b"").await);
    }
    server.append_draft(&upload, 0, b"hello").await;
    assert!(asked.elapsed() < PATIENCE);
    for mut silent in silent {
        silent.answer().await.expect_slug(400, "upload-superseded");
    }
}

#[tokio::test]
async fn r73_the_older_can_commit_nothing_after_the_newer_has_come() {
    let server = Server::start(&["--checkpoint-interval", "20ms"]).await;
    let whole = content(73, 100_000);
    let upload = server.create_draft(whole.len() as u64).await;
    let mut older = server.connect().await;
    let patch = rufh::patch(&upload, 0, MORE).declare(whole.len() as u64);
    older.send_head_and_wait(patch).await;
    older.send(&whole[..10_000]).await;
    server.quiesce().await;
    let offset = server.draft_offset(&upload).await;
    assert_eq!(offset, 10_000);
    let mut newer = server.connect().await;
    newer
        .send_head_and_wait(rufh::patch(&upload, offset, LAST).declare(90_000))
        .await;
    // Late bytes of the older, among those of the newer.
    for piece in whole[10_000..].chunks(10_000) {
        drop(older.try_send(&[0xEE; 10_000]).await);
        newer.send(piece).await;
    }
    newer.answer().await.expect(201).expect_complete(&whole);
    older.answer().await.expect_slug(400, "upload-superseded");
    let found = server.download(&upload).await;
    assert_same_bytes(&found, &whole, "the newer upload");
}

/// What had come of the older is committed before the newer is served, however many there are.
#[tokio::test]
async fn r73_a_chain_of_senders_loses_no_byte() {
    let mut random = random("r73");
    let server = Server::start(&NOTHING_ELSE).await;
    let whole = content(random.u64(..), 200_000);
    let upload = server.create_open_draft().await;
    let mut senders = Vec::new();
    let mut sent = 0;
    while sent < whole.len() {
        let part = random.usize(1..30_000).min(whole.len() - sent);
        // Every other one asks first, and knows the rest from its own.
        if random.bool() {
            assert_eq!(server.draft_offset(&upload).await, sent as u64);
        }
        let piece = &whole[sent..sent + part];
        senders.push(sending(&server, &upload, sent as u64, piece).await);
        sent += part;
    }
    let last = rufh::patch(&upload, sent as u64, LAST);
    let answer = server.send(last).await.expect(201);
    answer.expect_complete(&whole);
    for mut sender in senders {
        sender.answer().await.expect_slug(400, "upload-superseded");
    }
    let found = server.download(&upload).await;
    assert_same_bytes(&found, &whole, "the upload");
}
