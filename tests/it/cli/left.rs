//! What is left on a server when a file is begun anew, and who may say what has become of it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::tree::{MIB, blob_bytes, expect_file, hex, lay, listed, stored};
use crate::support::cli::Cli;
use crate::support::hook::{Hook, Reply, Sent, status};
use crate::support::server::Server;
use crate::support::{content, eventually};

/// More than are sent, at that rate, before the server can be stopped.
const FILES: usize = 500;

/// The later of two runs begins the changed file anew, and ends what the first one sends. That one must
/// not take it for somebody's cancel.
#[tokio::test]
async fn a_run_that_is_overtaken_cancels_nothing() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/file", 6 * MIB)]);
    let slow = ["upload", "d", "--json", "--limit-rate", "2M"];
    let first = cli.spawn(&slow);
    stored(&server, MIB as u64).await;
    let changed = content(7, MIB);
    cli.write("d/file", &changed);
    let second = cli.spawn(&["upload", "d", "--json", "--limit-rate", "300k"]);
    let first = first.finish().await.expect_code(1);
    assert_eq!(first.told("d/file")["state"], "failed", "{first}");
    second.kill();
    second.finish().await;
    let third = cli.run(&["upload", "d", "--json"]).await.expect_code(0);
    assert_eq!(third.told("d/file")["sha256"], hex(&changed), "{third}");
    let uploads = listed(&server, "default").await;
    let complete: Vec<_> = uploads
        .iter()
        .filter(|it| it["state"] == "completed")
        .collect();
    assert_eq!(complete.len(), 1, "{uploads:?}");
    expect_file(&server, complete[0], &changed).await;
}

/// The server hears of the cancel when the client has gone already.
#[tokio::test]
async fn what_this_side_has_ended_is_begun_anew_and_not_cancelled_by_somebody() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/file", 6 * MIB)]);
    let slow = ["upload", "d", "--json", "--limit-rate", "2M"];
    let running = cli.spawn(&[&slow[..], &["--on-interrupt", "cancel"]].concat());
    stored(&server, MIB as u64).await;
    server.sigstop();
    running.interrupt();
    running.finish().await.expect_code(130);
    server.sigcont();
    let again = cli.run(&["upload", "d", "--json"]).await.expect_code(0);
    assert_eq!(again.told("d/file")["state"], "sent", "{again}");
    assert_eq!(again.summary()["bytesSent"], 6 * MIB, "{again}");
    eventually("only the new one is left", async || {
        (blob_bytes(server.data_dir()) == 6 * MIB as u64).then_some(())
    })
    .await;
}

/// Its creation was on its way when everything ended, and nobody has heard where it is.
#[tokio::test]
async fn what_nobody_has_heard_of_is_ended_as_well() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let names: Vec<_> = (0..FILES).map(|nth| format!("d/{nth}")).collect();
    let old: Vec<_> = names.iter().map(|name| (name.as_str(), 1000)).collect();
    lay(&cli, &old);
    let running = cli.spawn(&[
        "upload",
        "d",
        "--json",
        "--jobs",
        "8",
        "--limit-rate",
        "200k",
    ]);
    running.says(r#""state":"sent""#).await;
    server.sigstop();
    // Told once a second: then all of its requests are on their way.
    let told = || running.stdout().matches(r#""event":"progress""#).count();
    let before = told();
    eventually("nothing moves any more", async || {
        (told() >= before + 2).then_some(())
    })
    .await;
    let sent = running.stdout().matches(r#""state":"sent""#).count();
    assert!(sent < FILES, "all were sent before the server was stopped");
    running.kill();
    running.finish().await;
    server.sigcont();
    for name in &names {
        cli.write(name, [7; 2000]);
    }
    cli.run(&["upload", "d", "--json"]).await.expect_code(0);
    eventually("nothing of the old ones is left", async || {
        let uploads = listed(&server, "default").await;
        let complete = uploads.iter().filter(|it| it["state"] == "completed");
        (complete.count() == FILES + sent && uploads.iter().all(|it| it["state"] != "uploading"))
            .then_some(())
    })
    .await;
    let bytes = FILES * 2000 + sent * 1000;
    assert_eq!(blob_bytes(server.data_dir()), bytes as u64);
}

fn head(code: u16, fields: &str) -> Reply {
    Some(format!(
        "HTTP/1.1 {code} X\r\n{fields}\r\nContent-Length: 0\r\n\r\n"
    ))
}

/// It has come with its creation, and is complete.
#[tokio::test]
async fn a_small_file_that_differs_is_removed_as_a_large_one_is() {
    let other = BASE64_STANDARD.encode([7; 32]);
    let created =
        format!("Location: /files/1\r\nUpload-Offset: 10\r\nRepr-Digest: sha-256=:{other}:");
    let mut hook = Hook::open(move |sent: &Sent| match sent.line.split(' ').next() {
        Some("OPTIONS") => head(
            200,
            "Tus-Version: 1.0.0\r\nTus-Extension: creation,creation-with-upload,termination",
        ),
        Some("POST") => head(201, &created),
        _ => status(204),
    })
    .await;
    let cli = Cli::new(format!("http://{}", hook.addr()));
    cli.write("d/file", "0123456789");
    let outcome = cli.run(&["upload", "d"]).await.expect_code(1);
    assert!(
        outcome.stderr.contains("other bytes than the file"),
        "{outcome}"
    );
    let last = hook.all().pop().expect("requests");
    assert_eq!(last.line, "DELETE /files/1 HTTP/1.1");
}
