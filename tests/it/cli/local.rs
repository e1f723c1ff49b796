//! Trouble on the side of `tidegate upload`: files that cannot be read or do not stay as they are,
//! and a journal that cannot be used. What is wrong is named, and everything else arrives.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use super::tree::{MIB, blob_bytes, expect_files, half_sent, lay, listed, stored};
use crate::support::cli::{Cli, Running};
use crate::support::eventually;
use crate::support::server::{Outcome, Server};

/// A line names the file and what is wrong with it.
#[track_caller]
fn names(outcome: &Outcome, file: &str, what: &str) {
    let mut lines = outcome.stderr.lines();
    let named = lines.any(|line| line.contains(&format!("{file}: {what}")));
    assert!(named, "no {file}: {what}: {outcome}");
}

#[tokio::test]
async fn what_is_no_file_is_named_and_everything_else_arrives() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let files = lay(&cli, &[("d/a", 10), ("d/s/b", 20)]);
    let fifo = Command::new("mkfifo").arg(cli.path("d/fifo")).status();
    assert!(fifo.expect("mkfifo").success());
    let _socket = std::os::unix::net::UnixListener::bind(cli.path("d/socket")).expect("a socket");
    let strange = cli.path("d").join(OsStr::from_bytes(b"\xff\xfe"));
    std::fs::write(strange, "x").expect("write");
    symlink("/etc/passwd", cli.path("d/link")).expect("a link");
    symlink("nowhere", cli.path("d/broken")).expect("a link");
    symlink("..", cli.path("d/s/loop")).expect("a link");
    let outcome = cli.run(&["upload", "d"]).await.expect_code(1);
    let no_file = "is neither a file nor a directory";
    let link = "is a symbolic link: see --links";
    for (file, what) in [
        ("d/fifo", no_file),
        ("d/socket", no_file),
        ("d/link", link),
        ("d/broken", link),
        ("d/s/loop", link),
        ("d/\u{fffd}\u{fffd}", "has a name that is not UTF-8"),
    ] {
        names(&outcome, file, what);
    }
    assert!(outcome.stderr.contains("2 sent"), "{outcome}");
    assert!(outcome.stderr.contains("6 failed"), "{outcome}");
    expect_files(&server, "default", &files).await;
}

#[tokio::test]
async fn links_are_followed_or_passed_over_if_that_is_said() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/a", 10), ("e/b", 20)]);
    symlink("../e", cli.path("d/dir")).expect("a link");
    symlink("a", cli.path("d/file")).expect("a link");
    let run = async |links: &str| {
        cli.run(&["upload", "d", "--json", "--dry-run", "--links", links])
            .await
    };
    let skipped = run("skip").await.expect_code(0);
    assert_eq!(skipped.names("wouldSend"), ["d/a"]);
    let followed = run("follow").await.expect_code(0);
    assert_eq!(followed.names("wouldSend"), ["d/a", "d/dir/b", "d/file"]);
    symlink("nowhere", cli.path("d/broken")).expect("a link");
    symlink("..", cli.path("e/loop")).expect("a link");
    symlink("../d", cli.path("e/again")).expect("a link");
    let outcome = cli.run(&["upload", "d", "--links", "follow"]).await;
    let outcome = outcome.expect_code(1);
    names(&outcome, "d/broken", "No such file");
    names(&outcome, "d/dir/again", "leads back to a directory");
    let named: Vec<_> = listed(&server, "default").await;
    assert!(named.len() >= 3, "{named:?}");
    // An argument is what it leads to.
    symlink("d/a", cli.path("direct")).expect("a link");
    let direct = cli.run(&["upload", "direct", "--json"]).await;
    assert_eq!(direct.expect_code(0).names("sent"), ["direct"]);
}

/// What is read can be read by root, so nobody reads it here.
#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let files = lay(&cli, &[("d/a", 10), ("d/z", 300_000)]);
    cli.write("d/secret", "x");
    cli.write("d/closed/inside", "x");
    let chmod = |mode: &str, name: &str| {
        let done = Command::new("chmod").arg(mode).arg(cli.path(name)).status();
        assert!(done.expect("chmod").success());
    };
    let is_root = rustix::process::geteuid().is_root();
    let outcome = if is_root {
        let unprivileged = Command::new("setpriv").arg("--version").output();
        if unprivileged.is_err() {
            crate::support::say_loudly("NOT tested: what cannot be read, without setpriv");
            return;
        }
        chmod("0600", "d/secret");
        chmod("0700", "d/closed");
        chmod("0755", ".");
        std::fs::create_dir(cli.path("state")).expect("a directory");
        chmod("0777", "state");
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["upload", "d", "--state-dir", "state"]);
        let like = cli.command(&[]);
        command
            .current_dir(cli.home())
            .stdin(std::process::Stdio::null());
        for (name, value) in like.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        Running::of(command).finish().await
    } else {
        chmod("0000", "d/secret");
        chmod("0000", "d/closed");
        cli.run(&["upload", "d"]).await
    };
    chmod("0755", "d/closed");
    let outcome = outcome.expect_code(1);
    names(&outcome, "d/secret", "Permission denied");
    names(&outcome, "d/closed", "Permission denied");
    expect_files(&server, "default", &files).await;
}

/// Sends a large file slowly, and does something to it in the middle.
async fn meanwhile(server: &Server, cli: &Cli, change: impl FnOnce(PathBuf)) -> Outcome {
    lay(cli, &[("d/small", 10), ("d/large", 4 * MIB)]);
    let arguments = ["upload", "d", "--limit-rate", "3M", "--retries", "3"];
    let running = cli.spawn(&arguments);
    stored(server, MIB as u64).await;
    change(cli.path("d/large"));
    let outcome = running.finish().await.expect_code(1);
    assert!(outcome.stderr.contains("1 sent"), "{outcome}");
    assert_eq!(server.uploads("completed").await.len(), 1);
    outcome
}

#[tokio::test]
async fn a_file_that_is_cut_while_it_is_sent_is_not_sent() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let outcome = meanwhile(&server, &cli, |path| {
        let file = File::options().write(true).open(path).expect("open");
        file.set_len(2 * MIB as u64).expect("cut");
    })
    .await;
    names(
        &outcome,
        "d/large",
        "has changed or vanished while it was sent",
    );
    assert!(server.uploads("uploading").await.is_empty());
    let again = cli.run(&["upload", "d", "--json"]).await.expect_code(0);
    assert_eq!(again.names("sent"), ["d/large"]);
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_sent_is_not_sent() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let outcome = meanwhile(&server, &cli, |path| {
        let mut file = File::options().append(true).open(path).expect("open");
        std::io::Write::write_all(&mut file, b"more").expect("grow");
    })
    .await;
    names(
        &outcome,
        "d/large",
        "has changed or vanished while it was sent",
    );
    eventually("nothing is kept of it", async || {
        (blob_bytes(server.data_dir()) == 10).then_some(())
    })
    .await;
    let again = cli.run(&["upload", "d", "--json"]).await.expect_code(0);
    assert_eq!(again.summary()["bytesSent"], 4 * MIB + 4, "{again}");
}

#[tokio::test]
async fn a_file_that_vanishes_while_it_is_sent_is_named() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/small", 10), ("d/large", 4 * MIB)]);
    let running = cli.spawn(&["upload", "d", "--limit-rate", "3M"]);
    stored(&server, MIB as u64).await;
    std::fs::remove_file(cli.path("d/large")).expect("remove");
    let outcome = running.finish().await.expect_code(1);
    names(
        &outcome,
        "d/large",
        "has changed or vanished while it was sent",
    );
    assert!(outcome.stderr.contains("1 sent"), "{outcome}");
    assert!(server.uploads("uploading").await.is_empty());
}

/// The file of the journal, if there is one.
pub(super) fn journal(cli: &Cli) -> Option<PathBuf> {
    let dir = std::fs::read_dir(cli.path(".local/state/tidegate")).ok()?;
    let mut files = dir.map(|entry| entry.expect("an entry").path());
    let is_book = |path: &PathBuf| path.extension().is_some_and(|end| end == "db");
    files.find(is_book)
}

#[tokio::test]
async fn a_journal_that_cannot_be_used_is_named_and_nothing_is_sent() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/a", 10)]);
    let file = cli.write("file", "x").join("below").display().to_string();
    for dir in [file.as_str(), "/proc/nowhere"] {
        let outcome = cli
            .run(&["upload", "d", "--state-dir", dir])
            .await
            .expect_code(1);
        assert!(outcome.stderr.contains("the journal"), "{outcome}");
        assert!(outcome.stderr.contains(dir), "{outcome}");
    }
    assert!(listed(&server, "default").await.is_empty());
    cli.run(&["upload", "d"]).await.expect_code(0);
    let path = journal(&cli).expect("a journal");
    let newer = rusqlite::Connection::open(&path)
        .and_then(|book| book.pragma_update(None, "user_version", 99));
    newer.expect("another version");
    let outcome = cli.run(&["upload", "d"]).await.expect_code(1);
    assert!(outcome.stderr.contains("newer version"), "{outcome}");
    let beside = |end: &str| PathBuf::from(format!("{}{end}", path.display()));
    for end in ["-wal", "-shm"] {
        drop(std::fs::remove_file(beside(end)));
    }
    std::fs::write(
        &path,
        "no database at all, and long enough to be one ".repeat(100),
    )
    .expect("write");
    let outcome = cli.run(&["upload", "d"]).await.expect_code(1);
    assert!(outcome.stderr.contains("not a database"), "{outcome}");
    assert!(
        outcome.stderr.contains(&*path.to_string_lossy()),
        "{outcome}"
    );
    assert_eq!(listed(&server, "default").await.len(), 1);
}

#[tokio::test]
async fn a_file_that_has_changed_since_it_was_half_sent_is_begun_anew() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/large", 4 * MIB)]);
    let running = cli.spawn(&["upload", "d", "--limit-rate", "2M"]);
    stored(&server, MIB as u64).await;
    running.interrupt();
    running.finish().await.expect_code(130);
    half_sent(&server).await;
    let files = lay(&cli, &[("d/large", 4 * MIB - 1)]);
    let again = cli.run(&["upload", "d", "--json"]).await.expect_code(0);
    assert_eq!(again.summary()["bytesSent"], 4 * MIB - 1, "{again}");
    assert!(server.uploads("uploading").await.is_empty());
    let complete = server.uploads("completed").await;
    assert_eq!(complete.len(), 1);
    super::tree::expect_file(&server, &complete[0], &files["d/large"]).await;
}
