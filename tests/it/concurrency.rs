//! Several requests for one upload at once: the newest takes over, a look disturbs nobody, and
//! bytes are never mixed.

use std::cell::Cell;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::support::h2c::H2;
use crate::support::server::Server;
use crate::support::tus::{self, Upload};
use crate::support::wire::{Answer, Req};
use crate::support::{assert_same_bytes, content, eventually, random, rounds};

/// How long a DELETE may take while the machine is busy with other tests.
const FAST: Duration = Duration::from_secs(3);

/// Checks what the racers were told against each other, and gives the racer that won, if any did.
#[track_caller]
fn judge(answers: &[Answer], base: u64, end: u64) -> Option<usize> {
    let mut winner = None;
    for (racer, answer) in answers.iter().enumerate() {
        match answer.status {
            204 => {
                assert_eq!(answer.offset(), Some(end), "{answer}");
                let other = winner.replace(racer);
                assert!(other.is_none(), "racers {other:?} and {racer} both won");
            }
            409 => {
                let told = answer.clone().expect_slug(409, "offset-mismatch").offset();
                let told = told.unwrap_or_else(|| panic!("409 without the true offset:\n{answer}"));
                assert!(base < told && told <= end, "odd offset in:\n{answer}");
            }
            _ => drop(answer.clone().expect_slug(400, "upload-superseded")),
        }
    }
    winner
}

/// Sends each body to the same place at once, over either version of HTTP.
async fn race(server: &Server, upload: &Upload, base: u64, bodies: &[Vec<u8>]) -> Vec<Answer> {
    let racers = bodies.iter().enumerate().map(async |(racer, body)| {
        let patch = tus::patch(upload, base).body(&body[..]);
        match racer % 2 {
            0 => server.send(patch).await,
            _ => H2::open(server.addr()).await.send(&patch).await,
        }
    });
    join_all(racers).await
}

#[tokio::test]
async fn racing_patches_at_one_offset_never_mix_their_bytes() {
    const RACERS: u64 = 4;
    let mut random = random("racing_patches_at_one_offset_never_mix_their_bytes");
    let server = Server::start(&["--checkpoint-bytes", "64Ki"]).await;
    for round in 0..rounds(20) {
        let base = random.usize(0..5000);
        let length = random.usize(1..600_000);
        let prefix = content(round, base);
        let bodies = (0..RACERS).map(|racer| content(random.u64(..) ^ racer, length));
        let bodies = bodies.collect::<Vec<_>>();
        let end = (base + length) as u64;
        let upload = server.create(end).await;
        server.append(&upload, 0, &prefix).await;
        let answers = race(&server, &upload, base as u64, &bodies).await;
        let winner = judge(&answers, base as u64, end);

        // The rest is filled up with what no racer sent, so that the seam shows.
        let kept = usize::try_from(server.offset(&upload).await).expect("it fits into memory");
        assert!(
            kept == base + length || winner.is_none(),
            "a winner, but only {kept} bytes"
        );
        server
            .append(&upload, kept as u64, &vec![0; base + length - kept])
            .await;
        let found = server.download(&upload).await;
        assert_same_bytes(&found[..base], &prefix, "the bytes before the race");
        let raced = &found[base..kept];
        let owners = (0..bodies.len()).filter(|&racer| bodies[racer].starts_with(raced));
        let owners = owners.collect::<Vec<_>>();
        assert!(
            !owners.is_empty(),
            "round {round}: {} bytes of nobody",
            raced.len()
        );
        assert!(
            winner.is_none_or(|winner| owners.contains(&winner)),
            "not the winner's bytes"
        );
        assert!(
            found[kept..].iter().all(|&byte| byte == 0),
            "bytes past the offset"
        );
    }
}

#[tokio::test]
async fn patches_in_quick_succession_never_lose_or_double_a_byte() {
    // A client that gives every request up in the middle and comes back on another connection.
    let mut random = random("patches_in_quick_succession_never_lose_or_double_a_byte");
    let server = Server::start(&["--checkpoint-interval", "20ms"]).await;
    for round in 0..rounds(10) {
        let whole = content(round, 400_000);
        let upload = server.create(whole.len() as u64).await;
        let mut abandoned = Vec::new();
        eventually("the upload is complete", async || {
            let offset = server.offset(&upload).await;
            let from = usize::try_from(offset).expect("it fits into memory");
            if from == whole.len() {
                return Some(());
            }
            let part = random.usize(1..60_000).min(whole.len() - from);
            let mut conn = server.connect().await;
            // Declares the whole rest, and sends a part of it.
            conn.send_head(&tus::patch(&upload, offset).declare((whole.len() - from) as u64))
                .await;
            // By now the offset may be another one, and the answer a 409.
            drop(conn.try_send(&whole[from..from + part]).await);
            abandoned.push(conn);
            None
        })
        .await;
        assert_same_bytes(&server.download(&upload).await, &whole, "the upload");
    }
}

/// Asks for the offset until `done`, and returns the offsets that were told.
async fn poll_offsets(server: &Server, upload: &Upload, done: &Cell<bool>) -> Vec<u64> {
    let mut told = Vec::new();
    while !done.get() {
        told.push(server.offset(upload).await);
    }
    told
}

/// A sender that makes slow progress, watched by HEAD all the time.
async fn watched_patch(server: &Server, upload: &Upload, whole: &[u8], http2: bool) -> Answer {
    const PAUSE: Duration = Duration::from_millis(20);
    const PIECE_BYTES: usize = 4096;
    let patch = tus::patch(upload, 0).declare(whole.len() as u64);
    let mut pace = tokio::time::interval(PAUSE);
    if http2 {
        let mut h2 = H2::open(server.addr()).await;
        let mut exchange = h2.start(&patch).await;
        for piece in whole.chunks(PIECE_BYTES) {
            pace.tick().await;
            exchange.send(piece).await;
        }
        exchange.end(&[]);
        return exchange.answer().await;
    }
    let mut conn = server.connect().await;
    conn.send_head(&patch).await;
    for piece in whole.chunks(PIECE_BYTES) {
        pace.tick().await;
        conn.send(piece).await;
    }
    conn.answer().await
}

#[tokio::test]
async fn head_never_disturbs_a_patch_that_makes_progress() {
    let server = Server::start(&["--checkpoint-interval", "50ms"]).await;
    for http2 in [false, true] {
        let whole = content(20, 300_000);
        let upload = server.create(whole.len() as u64).await;
        let done = Cell::new(false);
        let sending = async {
            let answer = watched_patch(&server, &upload, &whole, http2).await;
            done.set(true);
            answer
        };
        let (answer, told) = tokio::join!(sending, poll_offsets(&server, &upload, &done));
        answer.expect(204).expect_offset(whole.len() as u64);
        assert!(told.is_sorted(), "an offset was taken back: {told:?}");
        let between = told
            .iter()
            .any(|&offset| 0 < offset && offset < whole.len() as u64);
        assert!(
            between,
            "no checkpoint was told while the PATCH ran: {told:?}"
        );
        assert_same_bytes(
            &server.download(&upload).await,
            &whole,
            "the watched upload",
        );
    }
}

#[tokio::test]
async fn head_takes_over_a_silent_patch_and_its_answer_is_final() {
    // Nothing but the take-over can make the offset true.
    let flags = ["--checkpoint-interval", "1h", "--stall-timeout", "1h"];
    let server = Server::start(&flags).await;
    let upload = server.create(11).await;
    let mut silent = server.connect().await;
    silent
        .send_head_and_wait(tus::patch(&upload, 0).declare(11))
        .await;
    silent.send(b"hello").await;
    eventually("HEAD takes over", async || {
        (server.offset(&upload).await == 5).then_some(())
    })
    .await;
    silent.answer().await.expect_slug(400, "upload-superseded");
    server.expect_resumable(&upload, 5, b"hello world").await;
}

#[tokio::test]
async fn a_superseded_patch_can_write_no_more() {
    let server = Server::start(&["--checkpoint-interval", "20ms"]).await;
    let whole = content(21, 100_000);
    let upload = server.create(whole.len() as u64).await;
    let mut older = server.connect().await;
    older
        .send_head_and_wait(tus::patch(&upload, 0).declare(whole.len() as u64))
        .await;
    let mut newer = server.connect().await;
    newer
        .send_head_and_wait(tus::patch(&upload, 0).declare(whole.len() as u64))
        .await;
    // Late bytes of the older, among those of the newer.
    for piece in whole.chunks(10_000) {
        drop(older.try_send(&[0xEE; 10_000]).await);
        newer.send(piece).await;
    }
    newer
        .answer()
        .await
        .expect(204)
        .expect_offset(whole.len() as u64);
    older.answer().await.expect_slug(400, "upload-superseded");
    assert_same_bytes(&server.download(&upload).await, &whole, "the newer upload");
}

/// Sends one PATCH and one DELETE at once; `looks` HEADs before the DELETE are the jitter.
async fn patch_against_delete(
    server: &Server,
    upload: &Upload,
    patch: Req,
    looks: u32,
    http2: bool,
) -> Answer {
    let sending = async {
        match http2 {
            true => H2::open(server.addr()).await.send(&patch).await,
            false => server.send(patch).await,
        }
    };
    let deleting = async {
        for _ in 0..looks {
            server.send(tus::head(upload)).await.expect(200);
        }
        let asked = Instant::now();
        server.send(tus::delete(upload)).await.expect(204);
        let took = asked.elapsed();
        assert!(took < FAST, "DELETE took {took:?}");
    };
    tokio::join!(sending, deleting).0
}

#[tokio::test]
async fn delete_during_patch_wins_or_comes_after_the_last_byte() {
    let mut random = random("delete_during_patch_wins_or_comes_after_the_last_byte");
    let server = Server::start(&[]).await;
    for round in 0..rounds(30) {
        // Some end about when the DELETE comes, some have far to go.
        let length = if random.bool() {
            random.usize(1..50_000)
        } else {
            6 << 20
        };
        let upload = server.create(length as u64).await;
        let patch = tus::patch(&upload, 0).body(content(round, length));
        let looks = random.u32(0..4);
        let answer = patch_against_delete(&server, &upload, patch, looks, random.bool()).await;
        // Completed and then deleted, or cancelled: whatever it is, everybody says the same.
        let afterwards = match answer.status {
            204 => 404,
            410 => {
                answer.expect_slug(410, "upload-cancelled");
                410
            }
            // The DELETE of the completed upload was faster than the PATCH's own look at it.
            _ => {
                answer.expect_problem(404);
                404
            }
        };
        server
            .send(tus::head(&upload))
            .await
            .expect(afterwards)
            .expect_no_header("Upload-Offset");
        server
            .send(tus::get(&upload))
            .await
            .expect_problem(afterwards);
        server
            .send(tus::patch(&upload, 0))
            .await
            .expect_problem(afterwards);
    }
}

#[tokio::test]
async fn delete_of_a_streaming_patch_is_fast_and_its_sender_reads_410() {
    const LENGTH: u64 = 1 << 40;
    let server = Server::start(&[]).await;
    let piece = content(22, 64 << 10);
    for _ in 0..rounds(10) {
        let upload = server.create(LENGTH).await;
        let mut conn = server.connect().await;
        conn.send_head_and_wait(tus::patch(&upload, 0).declare(LENGTH))
            .await;
        for _ in 0..16 {
            conn.send(&piece).await;
        }
        let asked = Instant::now();
        server.send(tus::delete(&upload)).await.expect(204);
        assert!(asked.elapsed() < FAST, "DELETE took {:?}", asked.elapsed());
        // The sender does not look before it has sent more: the answer must still be there.
        for _ in 0..16 {
            conn.send(&piece).await;
        }
        conn.answer().await.expect_slug(410, "upload-cancelled");
    }
}

#[tokio::test]
async fn repeated_deletes_at_once_are_all_204() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    server.append(&upload, 0, b"he").await;
    let deletes = (0..8).map(|_| server.send(tus::delete(&upload)));
    for answer in join_all(deletes).await {
        answer.expect(204);
    }
    server.send(tus::head(&upload)).await.expect(410);
}

#[tokio::test]
async fn uploads_side_by_side_do_not_disturb_each_other() {
    const UPLOADS: u64 = 24;
    let server = Server::start(&[]).await;
    let all = (0..UPLOADS).map(async |seed| {
        let whole = content(seed, 300_000);
        let upload = server.create(whole.len() as u64).await;
        let mut offset = 0;
        for piece in whole.chunks(70_000) {
            offset = server.append(&upload, offset, piece).await;
        }
        assert_same_bytes(
            &server.download(&upload).await,
            &whole,
            "one of many uploads",
        );
    });
    join_all(all).await;
}
