//! `tidegate upload`: what is sent arrives as it is, under its name, and once.

use std::fs::File;
use std::io::{PipeWriter, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;

use super::tree::{
    KIB, MIB, blob_bytes, expect_file, expect_files, half_sent, lay, listed, name_of, stored,
};
use crate::support::cli::{Cli, Running};
use crate::support::hook::{Hook, Reply, status, text};
use crate::support::server::Server;
use crate::support::{content, eventually};

/// As if it had been written at another time.
fn touch(cli: &Cli, name: &str, seconds: u64) {
    let file = File::options().write(true).open(cli.path(name));
    let time = UNIX_EPOCH + Duration::from_secs(seconds);
    let touched = file.and_then(|file| file.set_modified(time));
    touched.expect("another time");
}

#[tokio::test]
async fn a_tree_arrives_as_it_is_and_is_not_sent_again() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let files = lay(
        &cli,
        &[
            ("data/empty", 0),
            ("data/one", 1),
            ("data/below", 256 * KIB - 1),
            ("data/at", 256 * KIB),
            ("data/above", 256 * KIB + 1),
            ("data/large.tif", 9 * MIB),
            ("data/a/b/c/deep.txt", 10),
            ("data/two words.png", 100),
            ("data/Stra\u{df}e \u{6771}\u{4eac} \u{1f680}.tif", 100),
            ("data/new\nline", 5),
            ("data/.hidden", 7),
            ("data/.config/x", 8),
        ],
    );
    let bytes: usize = files.values().map(Vec::len).sum();
    let sent = cli.run(&["upload", "data", "--json"]).await.expect_code(0);
    let summary = sent.summary();
    assert_eq!(summary["sent"], files.len(), "{summary}");
    assert_eq!(summary["bytesSent"], bytes, "{summary}");
    assert_eq!(summary["unverified"], 0, "{summary}");
    expect_files(&server, "default", &files).await;
    let before = listed(&server, "default").await;
    for upload in &before {
        let metadata = &upload["metadata"];
        let name = name_of(upload);
        let file = name.rsplit('/').next().expect("a name");
        assert_eq!(metadata["filename"], file);
        let kind = match file.rsplit('.').next() {
            Some("tif") => "image/tiff",
            Some("png") => "image/png",
            Some("txt") => "text/plain",
            _ => "application/octet-stream",
        };
        assert_eq!(metadata["filetype"], kind, "{name}");
    }

    let again = cli.run(&["upload", "data", "--json"]).await.expect_code(0);
    let summary = again.summary();
    assert_eq!(summary["bytesSent"], 0, "{summary}");
    assert_eq!(summary["skipped"], files.len(), "{summary}");
    assert_eq!(listed(&server, "default").await, before);

    let plain = cli.run(&["upload", "data"]).await.expect_code(0);
    assert!(plain.stderr.contains("12 sent before"), "{plain}");
    assert!(!plain.text().contains('\u{1b}'), "{plain}");
    let quiet = cli.run(&["upload", "data", "-q"]).await.expect_code(0);
    assert_eq!(quiet.text(), "\n");
}

#[tokio::test]
async fn what_has_changed_is_sent_and_nothing_else() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let sizes = [("d/same", 1000), ("d/other", 300 * KIB), ("d/grown", 1000)];
    lay(&cli, &sizes);
    cli.run(&["upload", "d"]).await.expect_code(0);
    let other = content(77, 300 * KIB);
    cli.write("d/other", &other);
    touch(&cli, "d/other", 1_000_000_000);
    cli.write("d/grown", content(3, 1001));
    let sent = cli.run(&["upload", "d", "--json"]).await.expect_code(0);
    assert_eq!(sent.names("sent"), ["d/grown", "d/other"]);
    assert_eq!(sent.summary()["bytesSent"], 300 * KIB + 1001, "{sent}");
    let uploads = listed(&server, "default").await;
    assert_eq!(uploads.len(), 5);
    let newest = uploads.iter().find(|upload| name_of(upload) == "d/other");
    expect_file(&server, newest.expect("it is there"), &other).await;

    touch(&cli, "d/same", 1_000_000_001);
    touch(&cli, "d/other", 1_000_000_001);
    let arguments = ["upload", "d", "--json", "--checksum"];
    let compared = cli.run(&arguments).await.expect_code(0);
    assert_eq!(compared.summary()["bytesSent"], 0, "{compared}");
    // It is known under its new time as well.
    let again = cli.run(&["upload", "d", "--json"]).await.expect_code(0);
    assert_eq!(again.summary()["skipped"], 3, "{again}");

    // What looks the same is found by its content alone.
    touch(&cli, "d/other", 1_000_000_002);
    cli.run(&["upload", "d", "--checksum"]).await.expect_code(0);
    let file = File::options().write(true).open(cli.path("d/other"));
    std::io::Write::write_all(&mut file.expect("open"), b"changed").expect("write");
    touch(&cli, "d/other", 1_000_000_002);
    let looked = cli.run(&["upload", "d", "--json"]).await.expect_code(0);
    assert_eq!(looked.summary()["sent"], 0, "{looked}");
    let compared = cli.run(&arguments).await.expect_code(0);
    assert_eq!(compared.names("sent"), ["d/other"]);
}

#[tokio::test]
async fn json_has_one_schema() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/a", 300_000), ("d/b", 10)]);
    // Slow enough for a look in between.
    let arguments = ["upload", "d", "missing", "--json", "--limit-rate", "200k"];
    let told = cli.run(&arguments).await.expect_code(1).objects();
    let keys = |object: &serde_json::Value| {
        let keys = object.as_object().expect("an object").keys();
        keys.cloned().collect::<Vec<_>>().join(" ")
    };
    let of = |event: &str| {
        let of_it = told.iter().filter(|object| object["event"] == event);
        of_it.collect::<Vec<_>>()
    };
    assert_eq!(told[0]["event"], "started");
    assert_eq!(told[0]["schema"], 1);
    let url = told[0]["destination"].as_str().expect("a URL");
    assert!(url.ends_with("/files"), "{url}");
    let progress = of("progress");
    let (last, first) = (progress.last().expect("progress"), progress[0]);
    assert_eq!(
        keys(first),
        "bytesPerSecond bytesSent event files running totalBytes totalFiles"
    );
    assert_eq!(last["totalBytes"], 300_010);
    assert_eq!(last["totalFiles"], 2);
    for file in of("file") {
        match file["state"].as_str() {
            Some("sent") => {
                assert_eq!(keys(file), "event name path sha256 size state url verified")
            }
            Some("failed") => assert_eq!(keys(file), "error event path state"),
            other => panic!("{other:?}: {file}"),
        }
    }
    assert_eq!(of("file").len(), 3);
    assert_eq!(
        keys(told.last().expect("a summary")),
        "bytes bytesSent cancelled event failed interrupted resume seconds sent skipped unverified"
    );
}

#[tokio::test]
async fn a_large_file_is_sent_in_parts_and_goes_on_in_parts() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let files = lay(&cli, &[("whole.bin", 40 * MIB)]);
    let arguments = ["upload", "whole.bin", "--parallel", "4", "--json"];
    let slow = [&arguments[..], &["--limit-rate", "20M"]].concat();
    let running = cli.spawn(&slow);
    stored(&server, 6 * MIB as u64).await;
    running.interrupt();
    let first = running.finish().await.expect_code(130);
    let kept = first.told("whole.bin")["kept"].as_u64().expect("bytes");
    assert!(kept >= 4 * MIB as u64, "{first}");
    assert_eq!(kept, blob_bytes(server.data_dir()));
    let second = cli.run(&arguments).await.expect_code(0);
    assert_eq!(second.summary()["bytesSent"], 40 * MIB as u64 - kept);
    assert_eq!(second.told("whole.bin")["verified"], true, "{second}");
    let uploads = server.uploads("completed").await;
    let whole: Vec<_> = uploads
        .iter()
        .filter(|upload| upload["filename"] == "whole.bin")
        .collect();
    assert_eq!(whole.len(), 1, "{uploads:?}");
    expect_file(&server, whole[0], &files["whole.bin"]).await;
    let third = cli.run(&arguments).await.expect_code(0);
    assert_eq!(third.summary()["skipped"], 1, "{third}");
}

#[tokio::test]
async fn standard_input_arrives_without_a_length() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let arguments = ["upload", "-", "--name", "plate1.tar", "--json"];
    cli.run(&arguments).await.expect_code(0);
    let uploads = listed(&server, "default").await;
    expect_file(&server, &uploads[0], b"").await;
    let bytes = content(5, 20 * MIB + 1);
    let path = cli.write("source", &bytes);
    let mut command = cli.command(&arguments);
    command.stdin(File::open(path).expect("open"));
    let sent = Running::of(command).finish().await.expect_code(0);
    assert_eq!(sent.summary()["bytesSent"], bytes.len(), "{sent}");
    assert_eq!(sent.told("plate1.tar")["verified"], true, "{sent}");
    let uploads = listed(&server, "default").await;
    assert_eq!(uploads.len(), 2);
    assert_eq!(uploads[0]["filename"], "plate1.tar");
    expect_file(&server, &uploads[0], &bytes).await;
}

/// Sends what is in a file called `source` as standard input.
fn piped(cli: &Cli, more: &[&str]) -> Running {
    let mut command = cli.command(&[&["upload", "-", "--json"], more].concat());
    command.stdin(File::open(cli.path("source")).expect("open"));
    Running::of(command)
}

/// A command whose standard input does not end before the writer is dropped.
fn open_ended(cli: &Cli, arguments: &[&str]) -> (Running, PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = cli.command(&[&["upload", "--json"], arguments].concat());
    command.stdin(reader);
    (Running::of(command), writer)
}

#[tokio::test]
async fn standard_input_is_sent_evenly_and_told_meanwhile() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let bytes = content(6, 4 * MIB);
    cli.write("source", &bytes);
    let began = Instant::now();
    let running = piped(&cli, &["--limit-rate", "2M"]);
    stored(&server, MIB as u64).await;
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "it came in bursts"
    );
    let sent = running.finish().await.expect_code(0);
    let took = began.elapsed();
    // Without what may go at once.
    assert!(took >= Duration::from_millis(1800), "{took:?}");
    let told = sent.objects();
    let progress: Vec<_> = told
        .iter()
        .filter(|object| object["event"] == "progress")
        .collect();
    let first = progress.first().expect("progress");
    let moved = first["bytesSent"].as_u64().expect("bytes");
    assert!((1..4 * MIB as u64).contains(&moved), "{first}");
    assert_eq!(first["running"], 1, "{first}");
    let uploads = listed(&server, "default").await;
    expect_file(&server, &uploads[0], &bytes).await;
}

#[tokio::test]
async fn an_interrupt_ends_an_idle_standard_input() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let (running, mut writer) = open_ended(&cli, &["-"]);
    writer.write_all(b"and then?").expect("write");
    eventually("the upload is there", async || {
        (server.uploads("uploading").await.len() == 1).then_some(())
    })
    .await;
    let began = Instant::now();
    running.interrupt();
    let outcome = running.finish().await.expect_code(130);
    assert!(began.elapsed() < Duration::from_secs(5), "{outcome}");
    assert_eq!(outcome.told("stdin")["state"], "interrupted", "{outcome}");
    assert_eq!(outcome.told("stdin")["kept"], 0, "{outcome}");
    assert!(server.uploads("uploading").await.is_empty());
}

#[tokio::test]
async fn an_interrupt_ends_a_dry_run() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/a", 1)]);
    let arguments = ["--files-from", "-", "--dry-run"];
    let (running, mut writer) = open_ended(&cli, &arguments);
    writer.write_all(b"d/a\n").expect("write");
    running.says("wouldSend").await;
    let began = Instant::now();
    running.interrupt();
    let outcome = running.finish().await.expect_code(130);
    assert!(began.elapsed() < Duration::from_secs(5), "{outcome}");
}

#[tokio::test]
async fn an_interrupt_ends_a_standard_input_that_no_server_takes() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    cli.write("source", content(6, 4 * MIB));
    let running = piped(&cli, &["--limit-rate", "1M"]);
    stored(&server, MIB as u64).await;
    server.sigstop();
    let began = Instant::now();
    running.interrupt();
    let outcome = running.finish().await.expect_code(130);
    assert!(began.elapsed() < Duration::from_secs(12), "{outcome}");
    server.sigcont();
    cli.write("source", b"hello");
    // One after the other, and none of them is answered.
    for silent in ["POST", "PATCH"] {
        let mut hook = answering(move |method| match method {
            "DELETE" => Some(None),
            _ => (method == silent).then_some(None),
        })
        .await;
        let server = format!("http://{}", hook.addr());
        let running = piped(&cli, &["--server", &server]);
        while !hook.next().await.line.starts_with(silent) {}
        let began = Instant::now();
        running.interrupt();
        let outcome = running.finish().await.expect_code(130);
        assert!(began.elapsed() < Duration::from_secs(12), "{outcome}");
    }
}

#[tokio::test]
async fn a_standard_input_that_somebody_cancels_is_cancelled() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    cli.write("source", content(6, 6 * MIB));
    let running = piped(&cli, &["--limit-rate", "2M"]);
    stored(&server, MIB as u64).await;
    let (upload, _) = half_sent(&server).await;
    let cancel = ["cancel", upload.id(), "--reason", "wrong plate"];
    cli.run(&cancel).await.expect_code(0);
    let outcome = running.finish().await.expect_code(1);
    assert_eq!(outcome.told("stdin")["state"], "cancelled", "{outcome}");
    assert_eq!(outcome.told("stdin")["reason"], "wrong plate", "{outcome}");
}

/// A server that has two bytes of five and takes the others, unless it has another answer to a method.
async fn answering(other: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> Hook {
    Hook::open(move |sent| {
        let method = sent.line.split(' ').next().unwrap_or_default();
        if let Some(reply) = other(method) {
            return reply;
        }
        let (line, fields) = match method {
            "OPTIONS" => (
                "204 X",
                "Tus-Version: 1.0.0\r\nTus-Extension: creation,creation-defer-length,termination",
            ),
            "POST" => ("201 X", "Location: /files/1\r\nContent-Length: 0"),
            "HEAD" => ("200 X", "Upload-Offset: 2"),
            "PATCH" => ("204 X", "Upload-Offset: 5"),
            _ => return status(204),
        };
        Some(format!("HTTP/1.1 {line}\r\n{fields}\r\n\r\n"))
    })
    .await
}

#[tokio::test]
async fn what_answers_mean_for_files_they_mean_for_standard_input() {
    let cli = Cli::new("http://127.0.0.1:1");
    cli.write("source", b"hello");
    let file = cli.write("token", "old");
    let token = file.to_str().expect("a name").to_owned();
    let problem = |status: u16, problem: &str| {
        let body = format!(r#"{{"type": "/problems/{problem}"}}"#);
        text(status, &body)
    };
    let cases = [
        (409, "offset-mismatch", 0, "sent"),
        (401, "unauthorized", 0, "sent"),
        (410, "upload-expired", 1, "failed"),
        (410, "upload-failed", 1, "failed"),
        (410, "upload-cancelled", 1, "cancelled"),
        (403, "forbidden", 1, "failed"),
    ];
    for (status, name, code, state) in cases {
        std::fs::write(&file, "old").expect("a token");
        let renewed = file.clone();
        let patches = AtomicUsize::new(0);
        let mut hook = answering(move |method| {
            let is_first = method == "PATCH" && patches.fetch_add(1, Ordering::Relaxed) == 0;
            is_first.then(|| {
                std::fs::write(&renewed, "new").expect("another token");
                problem(status, name)
            })
        })
        .await;
        let server = format!("http://{}", hook.addr());
        let arguments = ["--server", &server, "--token-file", &token];
        let outcome = piped(&cli, &arguments).finish().await.expect_code(code);
        assert_eq!(outcome.told("stdin")["state"], state, "{name}: {outcome}");
        let sent = hook.all();
        let has = |method: &str| sent.iter().any(|it| it.line.starts_with(method));
        assert_eq!(has("DELETE"), state == "failed", "{name}: {sent:?}");
        let last = sent.last().expect("a request");
        if state == "sent" {
            assert_eq!(last.body, "llo", "{name}");
            assert_eq!(last.field("upload-offset"), "2", "{name}");
            assert_eq!(last.field("upload-length"), "5", "{name}");
        }
        if status == 401 {
            assert_eq!(last.field("authorization"), "Bearer new");
        }
    }
}

#[tokio::test]
async fn the_rate_is_bounded_for_all_files_together() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(
        &cli,
        &[("d/a", 400 * KIB), ("d/b", 400 * KIB), ("d/c", 400 * KIB)],
    );
    let began = Instant::now();
    let arguments = ["upload", "d", "--limit-rate", "1M"];
    cli.run(&arguments).await.expect_code(0);
    let took = began.elapsed();
    // Without what may go at once.
    assert!(took >= Duration::from_millis(600), "{took:?}");
}

#[tokio::test]
async fn what_is_watched_is_sent_once_it_has_stopped_to_grow() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let path = cli.write("in/early", b"early");
    let arguments = ["upload", "--watch", "in", "--stable-for", "1s", "--json"];
    let running = cli.spawn(&arguments);
    // It grows for longer than it would have to stay as it is.
    let began = Instant::now();
    let mut size = 5;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    while began.elapsed() < Duration::from_millis(1600) {
        ticks.tick().await;
        size += 1;
        std::fs::write(&path, vec![b'x'; size]).expect("grow");
        assert!(!running.stdout().contains("\"sent\",\"url"), "too early");
        assert!(listed(&server, "default").await.is_empty(), "too early");
    }
    running.says("early\"").await;
    cli.write("in/sub/late", b"late");
    running.says("late\"").await;
    running.interrupt();
    let outcome = running.finish().await.expect_code(130);
    assert_eq!(outcome.names("sent"), ["in/early", "in/sub/late"]);
    let wanted = [
        ("in/early".to_owned(), vec![b'x'; size]),
        ("in/sub/late".to_owned(), b"late".to_vec()),
    ];
    expect_files(&server, "default", &wanted.into()).await;
}

#[tokio::test]
async fn two_runs_at_once_send_each_file_once() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let names: Vec<_> = (0..40).map(|nth| format!("d/{nth}")).collect();
    let mut sizes: Vec<_> = names.iter().map(|name| (name.as_str(), 20 * KIB)).collect();
    sizes.extend([("d/large", 5 * MIB), ("d/larger", 6 * MIB)]);
    let files = lay(&cli, &sizes);
    let arguments = ["upload", "d", "--json"];
    let (one, other) = tokio::join!(cli.run(&arguments), cli.run(&arguments));
    for outcome in [&one, &other] {
        // One whose upload the other has taken over says so.
        let code = outcome.status.code();
        assert!(matches!(code, Some(0 | 1)), "{outcome}");
    }
    for failed in one.objects().iter().chain(&other.objects()) {
        let why = failed["error"].as_str().unwrap_or("taken the upload over");
        assert!(why.contains("taken the upload over"), "{failed}");
    }
    cli.run(&arguments).await.expect_code(0);
    expect_files(&server, "default", &files).await;
}

#[tokio::test]
async fn the_exit_code_tells_what_has_become_of_it() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/a", 1)]);
    std::fs::create_dir(cli.path("empty")).expect("a directory");
    let cases: [(&[&str], i32, &str); 17] = [
        (&["d"], 0, "1 sent"),
        (&["d", "gone"], 1, "gone: No such file"),
        (&["empty"], 3, "nothing matches"),
        (&["d", "--exclude", "*"], 3, "nothing matches"),
        (&["d", "--dry-run", "--exclude", "*"], 3, "nothing matches"),
        (&[], 2, "required"),
        (&["d", "--exclude", "[z-a]"], 2, "[z-a]"),
        (&["d", "--jobs", "0"], 2, "--jobs"),
        (&["d", "-"], 2, "standard input"),
        (&["-", "--dry-run"], 2, "`--dry-run` is about files"),
        (&["-", "--if-absent"], 2, "`--if-absent` is about files"),
        (&["-", "--checksum"], 2, "`--checksum` is about files"),
        (&["-", "--parallel", "2"], 2, "`--parallel` is about files"),
        (&["-", "--files-from", "d"], 2, "standard input"),
        (&["d", "--limit-rate", "0"], 2, "--limit-rate"),
        (&["d", "--server", "http://u:p@127.0.0.1"], 2, "no user"),
        (&["d", "--server", "ftp://127.0.0.1"], 2, "http://"),
    ];
    for (arguments, code, words) in cases {
        let outcome = cli.run(&[&["upload"], arguments].concat()).await;
        assert!(outcome.stderr.contains(words), "{arguments:?}: {outcome}");
        outcome.expect_code(code);
    }
    let lines = cli.run(&["upload", "d", "gone", "--json"]).await;
    assert_eq!(lines.expect_code(1).told("gone")["state"], "failed");
}
