//! What an operator sees: the line on standard output, health, metrics, and the commands that work
//! on a data directory.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::support::h2c::H2;
use crate::support::server::{Outcome, Server, files_in, run, run_server, temp_dir};
use crate::support::tus::{self, Upload};
use crate::support::wire::Req;
use crate::support::{assert_same_bytes, content, eventually};

/// Runs a command on a data directory.
async fn on(data_dir: &Path, arguments: &[&str]) -> Outcome {
    let data_dir = data_dir.to_str().expect("the tests' paths are UTF-8");
    run(&[arguments, &["--data-dir", data_dir]].concat()).await
}

#[tokio::test]
async fn standard_output_is_one_line() {
    let server = Server::start(&[]).await;
    server.complete(b"hello").await;
    server
        .send(Req::new("GET", "/nothing"))
        .await
        .expect_problem(404);
    server.sigterm();
    server.exited_within(crate::support::PATIENCE).await;
    let wanted = format!("tidegate listening on http://{}\n", server.addr());
    assert_eq!(server.stdout(), wanted);
}

#[tokio::test]
async fn health_and_readiness_are_200() {
    let server = Server::start(&[]).await;
    let mut h2 = H2::open(server.addr()).await;
    for target in ["/healthz", "/readyz"] {
        server.send(Req::new("GET", target)).await.expect(200);
        h2.send(&Req::new("GET", target)).await.expect(200);
    }
}

#[tokio::test]
async fn metrics_are_prometheus_text_with_our_names_and_units() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    server.append(&upload, 0, b"he").await;
    server.send(tus::delete(&upload)).await.expect(204);
    let answer = server.send(Req::new("GET", "/metrics")).await.expect(200);
    let content_type = answer.field("Content-Type");
    let known = ["text/plain", "application/openmetrics-text"];
    assert!(
        known.iter().any(|known| content_type.starts_with(known)),
        "{answer}"
    );
    let text = String::from_utf8(answer.body.clone()).expect("metrics are UTF-8");
    let mut samples = 0;
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let (series, value) = line
            .rsplit_once(' ')
            .expect("a sample is a series and a value");
        assert!(series.starts_with("tidegate_"), "a foreign name: {line}");
        assert!(value.parse::<f64>().is_ok(), "no number: {line}");
        samples += 1;
    }
    assert!(samples > 0, "no samples:\n{answer}");
    for unit in ["_bytes", "_seconds", "_total"] {
        assert!(text.contains(unit), "no metric in {unit}:\n{text}");
    }
    // An id in a label would make a series per upload.
    assert!(
        !text.contains(upload.id()),
        "an upload's id is a label:\n{text}"
    );
}

#[tokio::test]
async fn a_second_server_on_the_same_data_directory_exits_with_a_clear_error() {
    let first = Server::start(&[]).await;
    let upload = first.create(5).await;
    let second = run_server(first.data_dir(), &[]).await;
    assert!(!second.status.success(), "{second}");
    assert_eq!(second.stdout, "", "{second}");
    let data_dir = first
        .data_dir()
        .to_str()
        .expect("the tests' paths are UTF-8");
    assert!(
        second.stderr.contains(data_dir),
        "which directory?\n{second}"
    );
    assert!(!second.stderr.contains("panicked"), "{second}");
    // The first one did not notice.
    first.expect_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn a_data_directory_is_free_again_after_a_crash() {
    let mut server = Server::start(&[]).await;
    for _ in 0..3 {
        server.kill9().await;
        server.restart(&[]).await;
    }
    server.complete(b"hello").await;
}

#[tokio::test]
async fn a_public_address_without_login_is_refused() {
    let data_dir = temp_dir();
    let refused = on(data_dir.path(), &["serve", "--listen", "0.0.0.0:0"]).await;
    assert!(!refused.status.success(), "{refused}");
    assert!(refused.stderr.contains("--insecure-no-auth"), "{refused}");
}

#[tokio::test]
async fn wrong_flags_and_values_are_usage_errors() {
    let data_dir = temp_dir();
    let wrong: [&[&str]; 6] = [
        &["--no-such-flag"],
        &["--max-upload-size", "much"],
        &["--upload-expires-after", "5 fortnights"],
        &["--durability", "hope"],
        &["--digest", "rot13"],
        &["--listen", "nowhere"],
    ];
    for flags in wrong {
        let outcome = run_server(data_dir.path(), flags).await;
        assert_eq!(outcome.status.code(), Some(2), "{flags:?}: {outcome}");
        assert!(
            outcome.stderr.contains(flags[0]),
            "{flags:?} is not named: {outcome}"
        );
    }
}

#[tokio::test]
async fn migrate_prepares_a_data_directory_and_may_be_repeated() {
    let data_dir = temp_dir();
    for _ in 0..2 {
        let outcome = on(data_dir.path(), &["migrate"]).await;
        assert!(outcome.status.success(), "{outcome}");
    }
    let server = Server::start_in(data_dir.path(), &[]).await;
    let upload = server.complete(b"hello").await;
    server.sigterm();
    server.exited_within(crate::support::PATIENCE).await;
    let outcome = on(data_dir.path(), &["migrate"]).await;
    assert!(outcome.status.success(), "{outcome}");
    let server = Server::start_in(data_dir.path(), &[]).await;
    assert_eq!(server.download(&upload).await, b"hello");
}

#[tokio::test]
async fn check_accepts_a_good_configuration_and_names_what_is_wrong_in_a_bad_one() {
    let directory = temp_dir();
    let file = directory.path().join("tidegate.toml");
    let path = file.to_str().expect("the tests' paths are UTF-8");
    std::fs::write(&file, "max-upload-size = \"3Gi\"\nstall-timeout = \"5s\"\n").expect("write");
    let good = on(directory.path(), &["check", "--config", path]).await;
    assert!(good.status.success(), "{good}");
    // Unknown keys are errors, and so are values that cannot be.
    let bad = [
        ("max-uplaod-size = \"3Gi\"\n", "max-uplaod-size"),
        ("max-upload-size = \"much\"\n", "max-upload-size"),
        ("max-upload-size = \n", "tidegate.toml"),
    ];
    for (text, named) in bad {
        std::fs::write(&file, text).expect("write");
        let outcome = on(directory.path(), &["check", "--config", path]).await;
        assert!(!outcome.status.success(), "{text}: {outcome}");
        assert!(outcome.text().contains(named), "{text}: {outcome}");
        let outcome = run_server(directory.path(), &["--config", path]).await;
        assert!(
            !outcome.status.success() && outcome.stderr.contains(named),
            "{text}: {outcome}"
        );
    }
}

#[tokio::test]
async fn a_flag_wins_over_the_file() {
    let directory = temp_dir();
    let file = directory.path().join("tidegate.toml");
    std::fs::write(&file, "max-upload-size = \"1Ki\"\n").expect("write");
    let path = file.to_str().expect("the tests' paths are UTF-8");
    let server = Server::start(&["--config", path]).await;
    server
        .send(tus::options("/files"))
        .await
        .expect_header("Tus-Max-Size", "1024");
    let server = Server::start(&["--config", path, "--max-upload-size", "2Ki"]).await;
    server
        .send(tus::options("/files"))
        .await
        .expect_header("Tus-Max-Size", "2048");
}

/// A data directory with one complete and one open upload, and no server on it.
struct Stopped {
    server: Server,
    complete: Upload,
    open: Upload,
    bytes: Vec<u8>,
}

impl Stopped {
    async fn new() -> Self {
        let server = Server::start(&[]).await;
        let bytes = content(50, 300_000);
        let complete = server.complete(&bytes).await;
        let open = server.create(bytes.len() as u64).await;
        server.append(&open, 0, &bytes[..100_000]).await;
        server.sigterm();
        assert!(
            server
                .exited_within(crate::support::PATIENCE)
                .await
                .success()
        );
        Self {
            server,
            complete,
            open,
            bytes,
        }
    }

    async fn fsck(&self, arguments: &[&str]) -> Outcome {
        on(self.server.data_dir(), &[&["fsck"], arguments].concat()).await
    }

    /// The file that holds the complete upload's bytes.
    fn blob(&self) -> PathBuf {
        let files = files_in(self.server.data_dir());
        let holds = |file: &PathBuf| std::fs::read(file).is_ok_and(|found| found == self.bytes);
        files
            .into_iter()
            .find(holds)
            .expect("one file holds exactly the upload's bytes")
    }

    /// A stray blob beside the good one: named like it, under an id that no row has.
    ///
    /// The first group of the id stays, so that whatever directory is made of it stays right.
    fn plant_orphan(&self) -> (PathBuf, String) {
        let blob = self.blob();
        let id = self.complete.id();
        let stray = format!("{}{}", &id[..8], &Uuid::new_v4().to_string()[8..]);
        let name = blob
            .file_name()
            .and_then(|name| name.to_str())
            .expect("an UTF-8 name");
        let plain = |id: &str| id.replace('-', "");
        let name = name.replace(id, &stray).replace(&plain(id), &plain(&stray));
        let orphan = blob.with_file_name(name);
        assert_ne!(
            orphan, blob,
            "the blob's name does not hold the upload's id"
        );
        std::fs::write(&orphan, b"nobody's bytes").expect("write the orphan");
        (orphan, stray)
    }
}

#[tokio::test]
async fn fsck_finds_nothing_in_a_sound_data_directory() {
    let mut stopped = Stopped::new().await;
    for arguments in [&[][..], &["--repair"]] {
        let outcome = stopped.fsck(arguments).await;
        assert!(outcome.status.success(), "{outcome}");
    }
    stopped.server.restart(&[]).await;
    let Stopped {
        server,
        complete,
        open,
        bytes,
    } = &stopped;
    assert_same_bytes(
        &server.download(complete).await,
        bytes,
        "the complete upload",
    );
    server.expect_resumable(open, 100_000, bytes).await;
}

#[tokio::test]
async fn fsck_reports_an_orphan_and_repair_puts_it_into_quarantine() {
    let mut stopped = Stopped::new().await;
    let (orphan, stray) = stopped.plant_orphan();
    let named = |outcome: &Outcome| {
        let text = outcome.text();
        text.contains(&stray) || text.contains(&stray.replace('-', ""))
    };
    let found = stopped.fsck(&[]).await;
    assert!(!found.status.success() && named(&found), "{found}");
    assert!(
        orphan.exists(),
        "fsck without --repair changed something: {found}"
    );
    let repaired = stopped.fsck(&["--repair"]).await;
    assert!(repaired.status.success() && named(&repaired), "{repaired}");
    assert!(!orphan.exists(), "the orphan is still there: {repaired}");
    // Moved aside, not destroyed: it may be the only copy of something.
    let kept = files_in(stopped.server.data_dir());
    let kept = kept
        .iter()
        .find(|file| std::fs::read(file).is_ok_and(|b| b == b"nobody's bytes"));
    let kept = kept.expect("the orphan was destroyed");
    assert!(
        kept.to_string_lossy().contains("quarantine"),
        "{}",
        kept.display()
    );
    let again = stopped.fsck(&[]).await;
    assert!(again.status.success(), "{again}");

    stopped.server.restart(&[]).await;
    let Stopped {
        server,
        complete,
        open,
        bytes,
    } = &stopped;
    assert_same_bytes(
        &server.download(complete).await,
        bytes,
        "the complete upload",
    );
    server.expect_resumable(open, 100_000, bytes).await;
}

#[tokio::test]
async fn a_lost_blob_is_reported_and_never_served_short() {
    for truncated in [false, true] {
        let mut stopped = Stopped::new().await;
        let blob = stopped.blob();
        if truncated {
            std::fs::write(&blob, &stopped.bytes[..1000]).expect("shorten the blob");
        } else {
            std::fs::remove_file(&blob).expect("remove the blob");
        }
        let found = stopped.fsck(&[]).await;
        assert!(!found.status.success(), "{found}");
        assert!(found.text().contains(stopped.complete.id()), "{found}");
        stopped.server.restart(&[]).await;
        let Stopped {
            server,
            complete,
            open,
            bytes,
        } = &stopped;
        let answer = server.try_send(tus::get(complete)).await;
        if let Ok(answer) = answer {
            assert!(
                answer.status >= 400,
                "a short body with status {}",
                answer.status
            );
        }
        server.expect_resumable(open, 100_000, bytes).await;
    }
}

#[tokio::test]
async fn fsck_keeps_away_from_a_running_server() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let outcome = on(server.data_dir(), &["fsck", "--repair"]).await;
    assert!(!outcome.status.success(), "{outcome}");
    server.expect_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn stored_bytes_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let stopped = Stopped::new().await;
    let blob = stopped.blob();
    let mode = std::fs::metadata(&blob)
        .expect("metadata")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "{} has mode {mode:o}", blob.display());
}

#[tokio::test]
async fn the_request_id_is_in_the_log() {
    let server = Server::start(&["--log-format", "json", "--log-filter", "debug"]).await;
    let answer = server.send(tus::create(5)).await.expect(201);
    let id = answer.field("X-Request-Id").to_owned();
    eventually("the log names the request", async || {
        server.stderr().contains(&id).then_some(())
    })
    .await;
    for line in server.stderr().lines() {
        let parsed = serde_json::from_str::<serde_json::Value>(line);
        assert!(parsed.is_ok(), "not JSON: {line}");
    }
}
