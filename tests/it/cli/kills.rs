//! `tidegate upload` and its server, killed at random moments: in the end each file is there once.

use std::pin::pin;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::timeout;

use super::tree::{Files, KIB, MIB, expect_file, expect_files, lay, listed};
use crate::support::cli::Cli;
use crate::support::relay::Relay;
use crate::support::server::{Outcome, Server};
use crate::support::tus::Upload;
use crate::support::{random, rounds};

const ARGUMENTS: [&str; 3] = ["upload", "d", "--json"];

/// Many small files, some that are sent on their own, and a few larger ones.
fn forest(cli: &Cli, random: &mut Rng) -> Files {
    let sizes: Vec<_> = (0..300)
        .map(|nth| {
            let size = match nth % 50 {
                0 => random.usize(MIB..2 * MIB),
                1..5 => random.usize(200 * KIB..400 * KIB),
                5 => 0,
                _ => random.usize(1..10 * KIB),
            };
            (format!("d/{}/{}/{nth}", nth % 7, nth % 3), size)
        })
        .collect();
    let sizes: Vec<_> = sizes
        .iter()
        .map(|(name, size)| (name.as_str(), *size))
        .collect();
    lay(cli, &sizes)
}

/// Some moment, later from time to time, so that there is an end.
fn moment(random: &mut Rng, nth: u64) -> Duration {
    Duration::from_millis(random.u64(20..300 + 100 * nth))
}

/// Runs it, and kills it at some moment unless it has ended before.
async fn run_or_kill(cli: &Cli, arguments: &[&str], after: Duration) -> Option<Outcome> {
    // What is dropped is killed.
    timeout(after, cli.run(arguments)).await.ok()
}

/// Exactly one complete upload of each file, and nothing beside.
async fn expect_all(server: &Server, cli: &Cli, files: &Files) {
    expect_files(server, "default", files).await;
    let again = cli.run(&ARGUMENTS).await.expect_code(0);
    assert_eq!(again.summary()["bytesSent"], 0);
    assert_eq!(again.summary()["skipped"], files.len());
}

/// Ends the server the way a crash does, and starts it again where the relay finds it.
async fn crash(server: &mut Server, relay: &Relay) {
    server.kill9().await;
    server.restart(&[]).await;
    relay.turn_to(server.addr());
}

#[tokio::test]
async fn a_client_that_is_killed_again_and_again_sends_each_file_once() {
    let mut random = random("a killed client");
    for _ in 0..rounds(1) {
        let server = Server::start(&[]).await;
        let cli = server.cli();
        let files = forest(&cli, &mut random);
        let mut kills = 0;
        let last = loop {
            let after = moment(&mut random, kills);
            if let Some(ended) = run_or_kill(&cli, &ARGUMENTS, after).await {
                break ended.expect_code(0);
            }
            kills += 1;
        };
        assert!(kills > 0, "it was never killed: {last}");
        expect_all(&server, &cli, &files).await;
    }
}

#[tokio::test]
async fn a_server_that_is_killed_again_and_again_gets_each_file_once() {
    let mut random = random("a killed server");
    for _ in 0..rounds(1) {
        let mut server = Server::start(&[]).await;
        let relay = Relay::start(server.addr()).await;
        let cli = Cli::new(relay.url());
        let files = forest(&cli, &mut random);
        let running = cli.spawn(&[&ARGUMENTS[..], &["--limit-rate", "8M"]].concat());
        let mut ended = pin!(running.finish());
        let mut kills = 0;
        while kills < 3
            && timeout(moment(&mut random, kills), &mut ended)
                .await
                .is_err()
        {
            crash(&mut server, &relay).await;
            kills += 1;
        }
        assert!(kills > 0, "it was never killed");
        let outcome = ended.await.expect_code(0);
        assert_eq!(outcome.summary()["sent"], files.len(), "{kills} kills");
        expect_all(&server, &cli, &files).await;
    }
}

#[tokio::test]
async fn both_killed_again_and_again_bring_each_file_once() {
    let mut random = random("both killed");
    for _ in 0..rounds(1) {
        let mut server = Server::start(&[]).await;
        let relay = Relay::start(server.addr()).await;
        let cli = Cli::new(relay.url());
        let files = forest(&cli, &mut random);
        let mut kills = 0;
        loop {
            let running = cli.spawn(&ARGUMENTS);
            let mut ended = pin!(running.finish());
            if let Ok(outcome) = timeout(moment(&mut random, kills), &mut ended).await {
                outcome.expect_code(0);
                break;
            }
            kills += 1;
            crash(&mut server, &relay).await;
            // It goes on with the new one, or ends here.
            let after = moment(&mut random, kills);
            if let Ok(outcome) = timeout(after, &mut ended).await {
                outcome.expect_code(0);
                break;
            }
        }
        assert!(kills > 0, "nobody was killed");
        expect_all(&server, &cli, &files).await;
    }
}

/// What the server has said that it has is never sent again, whoever of the two was killed.
#[tokio::test]
async fn of_a_large_file_only_the_rest_is_sent() {
    const SIZE: usize = 64 * MIB;
    let mut random = random("a large file");
    for _ in 0..rounds(1) {
        let mut server = Server::start(&[]).await;
        let relay = Relay::start(server.addr()).await;
        let cli = Cli::new(relay.url());
        let files = lay(&cli, &[("d/large", SIZE)]);
        let slow = [&ARGUMENTS[..], &["--limit-rate", "40M"]].concat();
        let mut kept = 0;
        for nth in 0..4 {
            if run_or_kill(&cli, &slow, moment(&mut random, 2))
                .await
                .is_some()
            {
                break;
            }
            if nth % 2 == 1 {
                crash(&mut server, &relay).await;
            }
            let uploads = listed(&server, "default").await;
            assert!(uploads.len() <= 1, "{uploads:?}");
            if let Some(upload) = uploads.first() {
                // Asking once more, because the server may still be reading what was sent.
                let now = server.offset(&Upload::listed(upload)).await;
                assert!(now >= kept, "{now} of what were {kept}");
                kept = now;
            }
        }
        let last = cli.run(&ARGUMENTS).await.expect_code(0);
        let sent = last.summary()["bytesSent"].as_u64().expect("bytes");
        assert!(
            sent <= SIZE as u64 - kept,
            "{sent} sent, and {kept} were there"
        );
        let uploads = listed(&server, "default").await;
        assert_eq!(uploads.len(), 1);
        expect_file(&server, &uploads[0], &files["d/large"]).await;
    }
}
