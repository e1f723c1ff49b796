//! `tidegate upload`: what is sent arrives as it is, under its name, and once.

use std::fs::File;
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;

use super::tree::{KIB, MIB, blob_bytes, expect_file, expect_files, lay, listed, name_of, stored};
use crate::support::cli::{Cli, Running};
use crate::support::content;
use crate::support::server::Server;

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
    let cases: [(&[&str], i32, &str); 12] = [
        (&["d"], 0, "1 sent"),
        (&["d", "gone"], 1, "gone: No such file"),
        (&["empty"], 3, "nothing matches"),
        (&["d", "--exclude", "*"], 3, "nothing matches"),
        (&["d", "--dry-run", "--exclude", "*"], 3, "nothing matches"),
        (&[], 2, "required"),
        (&["d", "--exclude", "[z-a]"], 2, "[z-a]"),
        (&["d", "--jobs", "0"], 2, "--jobs"),
        (&["d", "-"], 2, "standard input"),
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
