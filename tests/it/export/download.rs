//! Downloads: in as many pieces as it takes, under safe names, by clients that leave.

use percent_encoding::percent_decode_str;
use serde_json::json;
use tokio::process::Command;

use crate::support::export::{Job, originals, run};
use crate::support::hostile::name;
use crate::support::server::{Server, temp_dir};
use crate::support::wire::{Answer, Req};
use crate::support::{assert_same_bytes, content, eventually, random};

/// A completed export of some megabytes, and its archive.
async fn completed(server: &Server, bytes: usize) -> (Job, Vec<u8>) {
    server.complete(&content(1, bytes)).await;
    let job = server.export("default", &originals()).await;
    server.export_reaches(&job, "completed").await;
    let archive = server.send(job.download()).await.expect(200).body;
    (job, archive)
}

fn ranged(job: &Job, range: &str) -> Req {
    job.download().header("Range", range)
}

#[tokio::test]
async fn any_range_of_an_archive_can_be_had() {
    let server = Server::start(&[]).await;
    let (job, archive) = completed(&server, 1_000_000).await;
    let length = archive.len();
    let whole = server.send(job.download()).await.expect(200);
    let etag = whole.field("ETag").to_owned();
    assert!(etag.starts_with('"'), "a strong tag: {whole}");
    let whole = whole
        .expect_header("Content-Type", "application/zip")
        .expect_header("Accept-Ranges", "bytes")
        .expect_header("X-Content-Type-Options", "nosniff")
        .expect_header("Content-Length", &length.to_string());
    let modified = whole.field("Last-Modified").to_owned();
    for (range, begin, end) in [
        ("bytes=0-0", 0, 1),
        ("bytes=5-99999", 5, 100_000),
        ("bytes=900000-", 900_000, length),
        ("bytes=-22", length - 22, length),
        ("bytes=0-99999999999", 0, length),
    ] {
        let part = server.send(ranged(&job, range)).await.expect(206);
        assert_same_bytes(&part.body, &archive[begin..end], range);
        let told = format!("bytes {begin}-{}/{length}", end - 1);
        part.expect_header("Content-Range", &told)
            .expect_header("ETag", &etag);
    }
    let beyond = server.send(ranged(&job, &format!("bytes={length}-"))).await;
    let beyond = beyond.expect_problem(416);
    beyond.expect_header("Content-Range", &format!("bytes */{length}"));

    // The same archive, or else all of it.
    for (tag, status) in [(&*etag, 206), (&*modified, 206), ("\"another\"", 200)] {
        let part = ranged(&job, "bytes=10-19").header("If-Range", tag);
        let part = server.send(part).await.expect(status);
        let wanted = if status == 206 { 10 } else { length };
        assert_eq!(part.body.len(), wanted, "{tag}");
    }
    let known = job.download().header("If-None-Match", &etag);
    server.send(known).await.expect(304);
    let other = job.download().header("If-Match", "\"another\"");
    server.send(other).await.expect(412);
}

#[tokio::test]
async fn several_ranges_come_in_one_answer() {
    let server = Server::start(&[]).await;
    let (job, archive) = completed(&server, 10_000).await;
    let answer = server.send(ranged(&job, "bytes=0-3,100-199,-22")).await;
    let answer = answer.expect(206);
    let kind = answer.field("Content-Type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=");
    let boundary = boundary.expect("a boundary").to_owned();
    let length = archive.len();
    let mut wanted = Vec::new();
    for (begin, end) in [(0, 4), (100, 200), (length - 22, length)] {
        let head = format!(
            "\r\n--{boundary}\r\ncontent-type: application/zip\r\n\
             content-range: bytes {begin}-{}/{length}\r\n\r\n",
            end - 1
        );
        wanted.extend_from_slice(head.as_bytes());
        wanted.extend_from_slice(&archive[begin..end]);
    }
    wanted.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert_same_bytes(&answer.body, &wanted, "the parts");
}

/// As a browser, or anybody with a script, goes on after the connection broke.
#[tokio::test]
async fn curl_goes_on_where_a_download_was_cut() {
    let mut server = Server::start(&[]).await;
    let (job, archive) = completed(&server, 12 << 20).await;
    let directory = temp_dir();
    let file = directory.path().join("archive.zip");
    let mut conn = server.connect().await;
    conn.send_request(&job.download()).await;
    let begun = conn.some_of_answer(3_000_000).await;
    let head = begun.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let begun = &begun[head.expect("a head") + 4..];
    assert!(begun.len() < archive.len());
    std::fs::write(&file, begun).expect("write what came");
    drop(conn);
    server.kill9().await;
    server.restart(&[]).await;
    let url = format!("http://{}{}", server.addr(), job.path("download"));
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]);
    curl.args(["--continue-at", "-", "--output"]);
    run(curl.arg(&file).arg(&url)).await;
    let found = std::fs::read(&file).expect("read the archive");
    assert_same_bytes(&found, &archive, "the download");
}

#[tokio::test]
async fn clients_that_leave_cost_nothing() {
    let server = Server::start(&[]).await;
    let (job, archive) = completed(&server, 12 << 20).await;
    let before = server.descriptors_beside_database();
    for round in 0..20 {
        let mut conn = server.connect().await;
        conn.send_request(&job.download()).await;
        conn.some_of_answer(1 + round * 50_000).await;
        match round % 2 {
            0 => conn.reset(),
            _ => drop(conn),
        }
    }
    eventually("they are forgotten", async || {
        (server.descriptors_beside_database() <= before).then_some(())
    })
    .await;
    let whole = server.send(job.download()).await.expect(200).body;
    assert_same_bytes(&whole, &archive, "the download");
    let log = server.stderr();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

#[tokio::test]
async fn an_archive_is_saved_under_a_safe_name() {
    let mut random = random("an_archive_is_saved_under_a_safe_name");
    let server = Server::start(&[]).await;
    server.complete(b"pixels").await;
    let mut names: Vec<String> = [
        "Cells",
        "\u{158}ez / 3",
        "../../etc/passwd",
        "a\"b; filename=evil.exe",
        "CON",
        ".",
        "C:\\cells",
        "\u{202e}piz.exe",
    ]
    .map(String::from)
    .into();
    names.extend(["x".repeat(255), "\u{158}".repeat(255)]);
    for _ in 0..40 {
        let name = name(&mut random).replace(char::is_control, "");
        names.push(name.chars().take(255).collect());
    }
    for name in names {
        let body = json!({"options": {}, "projectName": name});
        let job = server.export("default", &body).await;
        server.export_reaches(&job, "completed").await;
        let answer = server.send(job.download()).await.expect(200);
        expect_safe(&answer, &name);
    }
    for (name, saved) in [
        ("\u{158}ez 3", "\u{158}ez 3.zip"),
        ("Kidney 24/7", "Kidney 24_7.zip"),
        ("v1.2", "v1.2.zip"),
    ] {
        let body = json!({"options": {}, "projectName": name});
        let job = server.export("default", &body).await;
        server.export_reaches(&job, "completed").await;
        let answer = server.send(job.download()).await.expect(200);
        assert_eq!(saved_as(&answer), saved);
    }
    // Without a name it is that of the project.
    let project = server.project("Of the project").await;
    for body in [
        json!({"options": {}}),
        json!({"options": {}, "projectName": " "}),
    ] {
        let job = server.export(&project, &body).await;
        server.export_reaches(&job, "completed").await;
        let answer = server.send(job.download()).await.expect(200);
        assert_eq!(saved_as(&answer), "Of the project.zip");
    }
}

#[track_caller]
fn saved_as(answer: &Answer) -> String {
    let disposition = answer.field("Content-Disposition");
    let (_, extended) = disposition
        .split_once("filename*=UTF-8''")
        .unwrap_or_else(|| panic!("{answer}"));
    let name = percent_decode_str(extended).decode_utf8();
    name.expect("UTF-8").into_owned()
}

#[track_caller]
fn expect_safe(answer: &Answer, name: &str) {
    let disposition = answer.field("Content-Disposition");
    assert!(
        disposition.starts_with("attachment; "),
        "{name:?}: {answer}"
    );
    assert!(disposition.is_ascii(), "{name:?}: {answer}");
    let saved = saved_as(answer);
    let is_plain = !saved.contains(['/', '\\']) && !saved.chars().any(char::is_control);
    assert!(is_plain, "{name:?}: {saved:?}");
    assert!(saved.ends_with(".zip"), "{name:?}: {saved:?}");
    assert!(saved.len() <= 255, "{name:?}: {saved:?}");
}
