//! SIGKILL at a random moment of every operation, a restart on the same data directory, and a
//! comparison of every byte.
//!
//! The moment comes from a timer with a random delay: nothing waits for it, it is the fault. What
//! is checked holds at both durability levels, because the page cache outlives the process.

use std::cell::RefCell;
use std::time::Duration;

use futures_util::future::join_all;

use crate::support::server::Server;
use crate::support::tus::{self, OFFSET_OCTET_STREAM, Upload, etag};
use crate::support::{assert_same_bytes, content, eventually, random, rounds};

/// Small checkpoints, so that kills fall between them.
const CHECKPOINTS: [&str; 4] = [
    "--checkpoint-bytes",
    "128Ki",
    "--checkpoint-interval",
    "10ms",
];

/// Alternates the durability levels over the rounds.
fn flags(round: u64) -> Vec<&'static str> {
    let level = if round.is_multiple_of(2) {
        "power-loss"
    } else {
        "process-crash"
    };
    let mut flags = CHECKPOINTS.to_vec();
    flags.extend(["--durability", level]);
    flags
}

/// Kills the server `micros` after the start of `work`, whatever it is doing, and starts it again.
pub(crate) async fn kill_during<T>(
    server: &mut Server,
    micros: u64,
    flags: &[&str],
    work: impl AsyncFnOnce(&Server) -> T,
) -> T {
    let kill = async {
        tokio::time::sleep(Duration::from_micros(micros)).await;
        server.kill9().await;
    };
    let (done, ()) = tokio::join!(work(server), kill);
    server.restart(flags).await;
    done
}

/// What the client knows of one upload.
struct Journal {
    upload: Upload,
    source: Vec<u8>,
    /// The highest offset that the server has told.
    acked: u64,
    /// The end of the furthest byte ever sent.
    sent: u64,
}

impl Journal {
    fn new(upload: Upload, source: Vec<u8>) -> Self {
        Self {
            upload,
            source,
            acked: 0,
            sent: 0,
        }
    }

    fn len(&self) -> u64 {
        self.source.len() as u64
    }

    fn rest(&self) -> &[u8] {
        &self.source[usize::try_from(self.acked).expect("it fits into memory")..]
    }

    /// Appends random pieces until the server is gone or the upload complete.
    async fn append_until_killed(&mut self, server: &Server, random: &mut fastrand::Rng) {
        while self.acked < self.len() {
            let piece = random.usize(1..400_000).min(self.rest().len());
            let patch = tus::patch(&self.upload, self.acked).body(&self.rest()[..piece]);
            self.sent = self.sent.max(self.acked + piece as u64);
            let Ok(answer) = server.try_send(patch).await else {
                return;
            };
            let answer = answer.expect(204);
            self.acked = answer
                .offset()
                .unwrap_or_else(|| panic!("204 without offset:\n{answer}"));
        }
    }

    /// Asks for the offset and holds it against what was told before.
    async fn check_offset(&mut self, server: &Server) {
        let offset = server.offset(&self.upload).await;
        assert!(
            offset >= self.acked,
            "offset {offset} after {} was acknowledged",
            self.acked
        );
        assert!(
            offset <= self.sent,
            "offset {offset}, but only {} bytes were sent",
            self.sent
        );
        self.acked = offset;
    }

    /// Sends what is missing and compares the whole.
    async fn finish(&mut self, server: &Server) {
        self.check_offset(server).await;
        if self.acked < self.len() {
            self.acked = server.append(&self.upload, self.acked, self.rest()).await;
        }
        self.expect_complete(server).await;
    }

    async fn expect_complete(&self, server: &Server) {
        let answer = server.send(tus::get(&self.upload)).await.expect(200);
        assert_same_bytes(&answer.body, &self.source, "the completed upload");
        answer.expect_header("ETag", &etag(&self.source));
    }
}

#[tokio::test]
async fn killed_over_appends_loses_no_acknowledged_byte() {
    const CLIENTS: u64 = 4;
    const UPLOAD_BYTES: usize = 12 << 20;
    let mut random = random("killed_over_appends_loses_no_acknowledged_byte");
    let mut server = Server::start(&flags(0)).await;
    let mut journals = Vec::new();
    for round in 0..rounds(15) {
        if journals.is_empty() {
            for client in 0..CLIENTS {
                let source = content(random.u64(..) ^ client, UPLOAD_BYTES);
                journals.push(Journal::new(
                    server.create(source.len() as u64).await,
                    source,
                ));
            }
        }
        let delay = random.u64(1_000..150_000);
        kill_during(&mut server, delay, &flags(round), async |server| {
            let clients = journals.iter_mut().map(|journal| {
                let mut random = random.fork();
                async move { journal.append_until_killed(server, &mut random).await }
            });
            join_all(clients).await;
        })
        .await;
        for journal in &mut journals {
            journal.check_offset(&server).await;
        }
        // The complete ones are compared and make room for new ones.
        let (complete, open) = journals.into_iter().partition(|j| j.acked == j.len());
        for journal in complete as Vec<Journal> {
            journal.expect_complete(&server).await;
        }
        journals = open;
    }
    for mut journal in journals {
        journal.finish(&server).await;
    }
}

#[tokio::test]
async fn killed_over_one_long_patch_keeps_a_true_prefix() {
    const UPLOAD_BYTES: usize = 24 << 20;
    let mut random = random("killed_over_one_long_patch_keeps_a_true_prefix");
    let mut server = Server::start(&flags(0)).await;
    for round in 0..rounds(15) {
        let source = content(random.u64(..), UPLOAD_BYTES);
        let mut journal = Journal::new(server.create(UPLOAD_BYTES as u64).await, source);
        // Killed twice on the way: the second time on top of what the first one left.
        for _ in 0..2 {
            let delay = random.u64(500..120_000);
            kill_during(&mut server, delay, &flags(round), async |server| {
                let patch = tus::patch(&journal.upload, journal.acked).body(journal.rest());
                journal.sent = journal.len();
                if let Ok(answer) = server.try_send(patch).await {
                    let answer = answer.expect(204);
                    journal.acked = answer
                        .expect_offset(journal.sent)
                        .offset()
                        .unwrap_or_default();
                }
            })
            .await;
            journal.check_offset(&server).await;
        }
        journal.finish(&server).await;
    }
}

#[tokio::test]
async fn killed_over_creations_keeps_what_was_acknowledged() {
    let mut random = random("killed_over_creations_keeps_what_was_acknowledged");
    let mut server = Server::start(&flags(0)).await;
    for round in 0..rounds(15) {
        let created = RefCell::new(Vec::new());
        let delay = random.u64(500..60_000);
        kill_during(&mut server, delay, &flags(round), async |server| {
            // Each creation brings a part of its data with it.
            loop {
                let source = content(random.u64(..), random.usize(1..50_000));
                let part = random.usize(0..=source.len());
                let request = tus::create(source.len() as u64);
                let request = request.header("Content-Type", OFFSET_OCTET_STREAM);
                let Ok(answer) = server.try_send(request.body(&source[..part])).await else {
                    break;
                };
                let answer = answer.expect(201).expect_offset(part as u64);
                let mut journal = Journal::new(Upload::created(&answer), source);
                (journal.acked, journal.sent) = (part as u64, part as u64);
                created.borrow_mut().push(journal);
            }
        })
        .await;
        for mut journal in created.into_inner() {
            journal.finish(&server).await;
        }
    }
}

#[tokio::test]
async fn killed_at_the_last_byte_is_complete_or_resumable() {
    let mut random = random("killed_at_the_last_byte_is_complete_or_resumable");
    let mut server = Server::start(&flags(0)).await;
    for round in 0..rounds(15) {
        let mut journals = Vec::new();
        for _ in 0..8 {
            let source = content(random.u64(..), random.usize(2..100_000));
            let mut journal = Journal::new(server.create(source.len() as u64).await, source);
            let most = &journal.source[..journal.source.len() - 1];
            journal.acked = server.append(&journal.upload, 0, most).await;
            journal.sent = journal.acked;
            journals.push(journal);
        }
        let delay = random.u64(0..30_000);
        kill_during(&mut server, delay, &flags(round), async |server| {
            let last_bytes = journals.iter_mut().map(async |journal| {
                let patch = tus::patch(&journal.upload, journal.acked).body(journal.rest());
                journal.sent = journal.len();
                if let Ok(answer) = server.try_send(patch).await {
                    journal.acked = answer.expect(204).offset().unwrap_or_default();
                }
            });
            join_all(last_bytes).await;
        })
        .await;
        for mut journal in journals {
            journal.finish(&server).await;
        }
    }
}

#[tokio::test]
async fn killed_over_concatenations_leaves_a_whole_final_or_none() {
    let mut random = random("killed_over_concatenations_leaves_a_whole_final_or_none");
    let mut server = Server::start(&flags(0)).await;
    for round in 0..rounds(15) {
        let mut parts = Vec::new();
        let mut whole = Vec::new();
        for _ in 0..3 {
            let bytes = content(random.u64(..), random.usize(1..200_000));
            parts.push((server.complete_partial(&bytes).await, bytes.clone()));
            whole.extend(bytes);
        }
        let urls = parts
            .iter()
            .map(|(part, _)| part.path.as_str())
            .collect::<Vec<_>>();
        let delay = random.u64(0..30_000);
        let finals = kill_during(&mut server, delay, &flags(round), async |server| {
            let mut finals = Vec::new();
            while let Ok(answer) = server.try_send(tus::create_final(&urls)).await {
                finals.push(Upload::created(&answer.expect(201)));
            }
            finals
        })
        .await;
        for upload in &finals {
            let found = server.download(upload).await;
            assert_same_bytes(&found, &whole, "an acknowledged final upload");
        }
        for (part, bytes) in &parts {
            assert_same_bytes(&server.download(part).await, bytes, "a part");
        }
        // And the parts can still be concatenated.
        let again = Upload::created(&server.send(tus::create_final(&urls)).await.expect(201));
        assert_same_bytes(
            &server.download(&again).await,
            &whole,
            "a final upload afterwards",
        );
    }
}

#[tokio::test]
async fn killed_over_a_waiting_concatenation_assembles_it_anyway() {
    let mut random = random("killed_over_a_waiting_concatenation_assembles_it_anyway");
    let mut server = Server::start(&flags(0)).await;
    for round in 0..rounds(15) {
        let source = content(random.u64(..), random.usize(1..200_000));
        let created = server
            .send(tus::create_partial(source.len() as u64))
            .await
            .expect(201);
        let mut part = Journal::new(Upload::created(&created), source);
        let whole = server.concatenate(&[&part.upload, &part.upload]).await;
        let delay = random.u64(0..30_000);
        kill_during(&mut server, delay, &flags(round), async |server| {
            part.append_until_killed(server, &mut random.fork()).await;
        })
        .await;
        part.check_offset(&server).await;
        if part.acked < part.len() {
            part.acked = server.append(&part.upload, part.acked, part.rest()).await;
        }
        eventually("the final upload is assembled", async || {
            let head = server.send(tus::head(&whole)).await.expect(200);
            (head.offset() == Some(2 * part.len())).then_some(())
        })
        .await;
        let found = server.download(&whole).await;
        assert_same_bytes(&found, &part.source.repeat(2), "the final upload");
    }
}

#[tokio::test]
async fn killed_over_deletes_forgets_nothing_and_halves_nothing() {
    let mut random = random("killed_over_deletes_forgets_nothing_and_halves_nothing");
    let mut server = Server::start(&flags(0)).await;
    for round in 0..rounds(15) {
        let mut journals = Vec::new();
        for _ in 0..8 {
            let source = content(random.u64(..), random.usize(2..100_000));
            let mut journal = Journal::new(server.create(source.len() as u64).await, source);
            // Some are complete, some are not.
            let part = random
                .usize(1..=2 * journal.source.len())
                .min(journal.source.len());
            journal.acked = server
                .append(&journal.upload, 0, &journal.source[..part])
                .await;
            journal.sent = journal.acked;
            journals.push(journal);
        }
        let delay = random.u64(0..30_000);
        let deleted = kill_during(&mut server, delay, &flags(round), async |server| {
            let deletes = journals.iter().map(async |journal| {
                let answer = server.try_send(tus::delete(&journal.upload)).await;
                answer.is_ok_and(|answer| answer.expect(204).status == 204)
            });
            join_all(deletes).await
        })
        .await;
        for (mut journal, deleted) in journals.into_iter().zip(deleted) {
            let gone = if journal.acked == journal.len() {
                404
            } else {
                410
            };
            let head = server.send(tus::head(&journal.upload)).await;
            if deleted || head.status != 200 {
                head.expect(gone).expect_no_header("Upload-Offset");
                server
                    .send(tus::get(&journal.upload))
                    .await
                    .expect_problem(gone);
            } else {
                journal.finish(&server).await;
            }
        }
    }
}

#[tokio::test]
async fn killed_with_a_checksum_pending_adopts_nothing_unverified() {
    let mut random = random("killed_with_a_checksum_pending_adopts_nothing_unverified");
    let mut server = Server::start(&flags(0)).await;
    for round in 0..rounds(8) {
        let source = content(random.u64(..), 200_000);
        let upload = server.create(source.len() as u64).await;
        let begin = random.usize(0..100_000);
        server.append(&upload, 0, &source[..begin]).await;
        let patch = tus::patch(&upload, begin as u64).declare((source.len() - begin) as u64);
        let patch = patch.header("Upload-Checksum", tus::checksum("sha1", &source[begin..]));
        let mut conn = server.connect().await;
        conn.send_head_and_wait(patch).await;
        // Wrong bytes, which their checksum would have refused.
        conn.send(&vec![0; 50_000]).await;
        server.quiesce().await;
        server.kill9().await;
        server.restart(&flags(round)).await;
        server
            .expect_resumable(&upload, begin as u64, &source)
            .await;
    }
}
