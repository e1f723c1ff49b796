//! Clients that are ended before their time: by Ctrl-C, by somebody who cancels, by the clock.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::tree::{MIB, blob_bytes, expect_file, half_sent, lay, listed, stored};
use crate::support::cli::{Cli, Running};
use crate::support::server::{Outcome, Server};
use crate::support::tus::{self, Upload};
use crate::support::wire::Req;
use crate::support::{PATIENCE, eventually};

const SIZE: usize = 6 * MIB;

/// A file that takes three seconds to send, and so much of it is on the server.
async fn begun(server: &Server, cli: &Cli, more: &[&str]) -> Running {
    let slow = ["upload", "d", "--json", "--limit-rate", "2M"];
    let running = cli.spawn(&[&slow, more].concat());
    stored(server, MIB as u64).await;
    running
}

async fn run(cli: &Cli, more: &[&str]) -> Outcome {
    cli.run(&[&["upload", "d", "--json"], more].concat()).await
}

fn reason(text: &str) -> Vec<u8> {
    serde_json::json!({"reason": text}).to_string().into_bytes()
}

#[tokio::test]
async fn the_first_interrupt_keeps_what_is_sent_and_tells_how_to_go_on() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let files = lay(&cli, &[("d/it's $HOME", SIZE)]);
    let slow = ["upload", "d", "--limit-rate", "2M", "--token", "secret"];
    let running = cli.spawn(&slow);
    stored(&server, MIB as u64).await;
    running.interrupt();
    let first = running.finish().await.expect_code(130);
    let (upload, kept) = half_sent(&server).await;
    assert!(first.stderr.contains("half sent"), "{first}");
    let resume = first
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("To go on: "));
    let resume = resume.unwrap_or_else(|| panic!("{first}"));
    assert!(!resume.contains("secret"), "{resume}");

    // Pasted, with what is to be added.
    let mut shell = Command::new("sh");
    let rate = resume.replace("--limit-rate 2M", "--limit-rate 2G --json");
    shell.args(["-c", &rate]).stdin(Stdio::null());
    shell.stdout(Stdio::piped()).stderr(Stdio::piped());
    let like = cli.command(&[]);
    shell
        .current_dir(cli.home())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").expect("PATH"));
    for (name, value) in like.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    let second = Running::of(shell).finish().await.expect_code(0);
    assert_eq!(
        second.summary()["bytesSent"],
        SIZE as u64 - kept,
        "{second}"
    );
    let uploads = listed(&server, "default").await;
    assert_eq!(uploads.len(), 1);
    assert_eq!(uploads[0]["id"], upload.id());
    expect_file(&server, &uploads[0], &files["d/it's $HOME"]).await;
}

#[tokio::test]
async fn json_tells_what_is_kept() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/large", SIZE)]);
    let running = begun(&server, &cli, &[]).await;
    running.interrupt();
    let first = running.finish().await.expect_code(130);
    let (_, kept) = half_sent(&server).await;
    assert_eq!(first.told("d/large")["state"], "interrupted", "{first}");
    assert_eq!(first.told("d/large")["kept"], kept, "{first}");
    let resume = first.summary()["resume"].to_string();
    assert!(resume.contains("upload d --json"), "{resume}");
    let again = run(&cli, &[]).await.expect_code(0);
    assert_eq!(again.summary()["bytesSent"], SIZE as u64 - kept, "{again}");
}

#[tokio::test]
async fn an_interrupt_may_cancel_instead() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/large", SIZE)]);
    let running = begun(&server, &cli, &["--on-interrupt", "cancel"]).await;
    running.interrupt();
    let outcome = running.finish().await.expect_code(130);
    assert_eq!(outcome.told("d/large")["kept"], 0, "{outcome}");
    eventually("nothing is left of it", async || {
        (blob_bytes(server.data_dir()) == 0).then_some(())
    })
    .await;
    assert!(server.uploads("uploading").await.is_empty());
    assert!(server.uploads("completed").await.is_empty());
    let again = run(&cli, &[]).await.expect_code(0);
    assert_eq!(again.summary()["bytesSent"], SIZE, "{again}");
}

#[tokio::test]
async fn an_interrupt_ends_what_waits_for_its_turn() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(
        &cli,
        &[("d/a", 200_000), ("d/b", 200_000), ("d/c", 200_000)],
    );
    let arguments = ["upload", "d", "--json", "--limit-rate", "8k"];
    let running = cli.spawn(&arguments);
    running.says("\"sent\"").await;
    let began = Instant::now();
    running.interrupt();
    let outcome = running.finish().await.expect_code(130);
    assert!(began.elapsed() < Duration::from_secs(10), "{outcome}");
    assert_eq!(outcome.summary()["sent"], 1, "{outcome}");
}

#[tokio::test]
async fn the_second_interrupt_ends_it_at_once() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/large", SIZE)]);
    let running = begun(&server, &cli, &[]).await;
    server.sigstop();
    running.interrupt();
    let first = Instant::now();
    // Two that come together are one.
    running.interrupt();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while first.elapsed() < Duration::from_millis(400) {
        ticks.tick().await;
        assert!(!running.stderr().contains("given up"), "that was one");
    }
    running.interrupt();
    let outcome = running.finish().await.expect_code(130);
    assert!(first.elapsed() < Duration::from_secs(4), "{outcome}");
    assert!(outcome.stderr.contains("given up"), "{outcome}");
    server.sigcont();
    let again = run(&cli, &[]).await.expect_code(0);
    assert!(
        again.summary()["bytesSent"].as_u64() < Some(SIZE as u64),
        "{again}"
    );
    assert_eq!(listed(&server, "default").await.len(), 1);
}

/// What follows when somebody has cancelled the one upload.
async fn expect_cancelled(server: &Server, cli: &Cli, running: Running, why: Option<&str>) {
    let outcome = running.finish().await.expect_code(1);
    let told = outcome.told("d/large");
    assert_eq!(told["state"], "cancelled", "{outcome}");
    assert_eq!(told["reason"], Value::from(why), "{outcome}");
    assert_eq!(listed(server, "default").await.len(), 1);
    let again = cli.run(&["upload", "d"]).await.expect_code(1);
    let words = format!(
        "cancelled by somebody{}",
        why.map_or(String::new(), |why| format!(": {why}"))
    );
    assert!(again.stderr.contains(&words), "{again}");
    assert_eq!(listed(server, "default").await.len(), 1);
    let anew = run(cli, &["--retry-cancelled"]).await.expect_code(0);
    assert_eq!(anew.summary()["bytesSent"], SIZE, "{anew}");
    assert_eq!(listed(server, "default").await.len(), 2);
    assert_eq!(run(cli, &[]).await.expect_code(0).summary()["skipped"], 1);
}

#[tokio::test]
async fn what_is_cancelled_with_a_reason_is_not_sent_again() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/large", SIZE)]);
    let running = begun(&server, &cli, &[]).await;
    let (upload, _) = half_sent(&server).await;
    let cancel = Req::new("POST", &format!("/api/uploads/{}/cancel", upload.id()))
        .header("Content-Type", "application/json")
        .body(reason("wrong plate"));
    server.send(cancel).await.expect(200);
    expect_cancelled(&server, &cli, running, Some("wrong plate")).await;
}

#[tokio::test]
async fn what_is_deleted_while_it_is_sent_is_not_sent_again() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/large", SIZE)]);
    let running = begun(&server, &cli, &[]).await;
    let (upload, _) = half_sent(&server).await;
    server.send(tus::delete(&upload)).await.expect(204);
    expect_cancelled(&server, &cli, running, None).await;
}

#[tokio::test]
async fn a_file_with_a_cancelled_part_is_not_sent() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("large", 24 * MIB)]);
    let slow = [
        "upload",
        "large",
        "--json",
        "--parallel",
        "3",
        "--limit-rate",
        "6M",
    ];
    let running = cli.spawn(&slow);
    stored(&server, 3 * MIB as u64).await;
    let parts = server.uploads("uploading").await;
    assert_eq!(parts.len(), 3, "{parts:?}");
    let part = Upload::listed(&parts[1]);
    let began = Instant::now();
    let cancel = Req::new("POST", &format!("/api/uploads/{}/cancel", part.id()))
        .header("Content-Type", "application/json")
        .body(reason("enough"));
    server.send(cancel).await.expect(200);
    let outcome = running.finish().await.expect_code(1);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "the other parts go on"
    );
    assert_eq!(outcome.told("large")["reason"], "enough", "{outcome}");
    assert!(server.uploads("uploading").await.is_empty());
    eventually("nothing is left of the other parts", async || {
        (blob_bytes(server.data_dir()) == 0).then_some(())
    })
    .await;
    cli.run(&["upload", "large"]).await.expect_code(1);
    assert!(server.uploads("completed").await.is_empty());
}

#[tokio::test]
async fn what_has_expired_is_begun_anew() {
    let server = Server::start(&["--upload-expires-after", "1s"]).await;
    let cli = server.cli();
    let files = lay(&cli, &[("d/large", SIZE)]);
    let running = begun(&server, &cli, &[]).await;
    running.interrupt();
    running.finish().await.expect_code(130);
    let upload = listed(&server, "default").await.remove(0);
    let upload = Upload::listed(&upload);
    crate::support::within(PATIENCE, "it expires", async || {
        let status = server.send(tus::head(&upload)).await.status;
        matches!(status, 404 | 410).then_some(())
    })
    .await;
    let again = run(&cli, &[]).await.expect_code(0);
    assert_eq!(again.summary()["bytesSent"], SIZE, "{again}");
    let uploads = server.uploads("completed").await;
    assert_eq!(uploads.len(), 1);
    expect_file(&server, &uploads[0], &files["d/large"]).await;
}

/// As `nohup` has it.
#[tokio::test]
async fn a_hangup_that_is_ignored_stays_ignored() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let arguments = ["watch", "--project", "default", "--after", "0"];
    let program = cli.command(&arguments);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"trap "" HUP; exec "$0" "$@""#])
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(cli.home())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let running = Running::of(shell);
    let before = server.complete(b"pixels").await;
    running.says(before.id()).await;
    running.hang_up();
    let after = server.complete(b"pixels").await;
    running.says(after.id()).await;
    running.interrupt();
    running.finish().await.expect_code(130);
}
