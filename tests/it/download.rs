//! GET of a completed upload: whole, in ranges, and safe to open in a browser.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use crate::support::server::Server;
use crate::support::tus::{self, Upload, etag};
use crate::support::wire::{Answer, Req};
use crate::support::{assert_same_bytes, content};

const TEN: &[u8] = b"0123456789";

fn ranged(upload: &Upload, range: &str) -> Req {
    tus::get(upload).header("Range", range)
}

/// A completed upload of `hello` with this metadata.
async fn with_metadata(server: &Server, pairs: &[(&str, &[u8])]) -> Upload {
    let request = tus::create_with_data(5).header("Upload-Metadata", tus::metadata(pairs));
    Upload::created(&server.send(request.body("hello")).await.expect(201))
}

/// The parts of a multipart/byteranges body, as (Content-Range, bytes).
fn parts(answer: &Answer) -> Vec<(String, Vec<u8>)> {
    let boundary = answer
        .field("Content-Type")
        .strip_prefix("multipart/byteranges; boundary=");
    let boundary = boundary.unwrap_or_else(|| panic!("not multipart/byteranges:\n{answer}"));
    let delimiter = format!("--{}", boundary.trim_matches('"'));
    let body = String::from_utf8(answer.body.clone()).expect("the tests' parts are ASCII");
    let mut pieces = body.split(&delimiter);
    let preamble = pieces.next().unwrap_or_default();
    assert!(preamble.trim().is_empty(), "a preamble:\n{answer}");
    let mut parts = Vec::new();
    for piece in pieces {
        if piece.trim_end() == "--" {
            return parts;
        }
        let (head, bytes) = piece
            .split_once("\r\n\r\n")
            .expect("a part's header section");
        let range = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("Content-Range")
                .then(|| value.trim().to_owned())
        });
        let bytes = bytes.strip_suffix("\r\n").expect("a part ends with CRLF");
        parts.push((
            range.expect("a part's Content-Range"),
            bytes.as_bytes().to_vec(),
        ));
    }
    panic!("the multipart body has no end:\n{answer}");
}

#[tokio::test]
async fn the_whole_upload_comes_with_its_digest() {
    let server = Server::start(&[]).await;
    let bytes = content(30, 3_000_000);
    let upload = server.complete(&bytes).await;
    let answer = server.send(tus::get(&upload)).await.expect(200);
    assert_same_bytes(&answer.body, &bytes, "the download");
    let repr_digest = format!(
        "sha-256=:{}:",
        BASE64_STANDARD.encode(Sha256::digest(&bytes))
    );
    let answer = answer.expect_header("Content-Length", "3000000");
    let answer = answer
        .expect_header("ETag", &etag(&bytes))
        .expect_header("Accept-Ranges", "bytes");
    let answer = answer.expect_header("Repr-Digest", &repr_digest);
    answer.expect_header("Content-Type", "application/octet-stream");
}

#[tokio::test]
async fn the_digest_is_of_the_whole_however_it_came() {
    let mut server = Server::start(&[]).await;
    let bytes = content(31, 200_001);
    let upload = server.create(bytes.len() as u64).await;
    let mut offset = 0;
    for (index, piece) in bytes.chunks(30_011).enumerate() {
        if index == 3 {
            server.kill9().await;
            server.restart(&[]).await;
        }
        offset = server.append(&upload, offset, piece).await;
    }
    server
        .send(tus::get(&upload))
        .await
        .expect(200)
        .expect_header("ETag", &etag(&bytes));
    let empty = server.create(0).await;
    server
        .send(tus::get(&empty))
        .await
        .expect(200)
        .expect_header("ETag", &etag(b""));
}

#[tokio::test]
async fn without_digests_there_is_neither_digest_nor_wrong_tag() {
    let server = Server::start(&["--digest", "none"]).await;
    let upload = server.complete(TEN).await;
    let answer = server
        .send(tus::get(&upload))
        .await
        .expect(200)
        .expect_no_header("Repr-Digest");
    assert_eq!(answer.body, TEN);
    server.send(ranged(&upload, "bytes=2-4")).await.expect(206);
}

#[tokio::test]
async fn a_download_works_over_http2() {
    let server = Server::start(&[]).await;
    let bytes = content(32, 3_000_000);
    let upload = server.complete(&bytes).await;
    let mut h2 = crate::support::h2c::H2::open(server.addr()).await;
    let answer = h2.send(&tus::get(&upload)).await.expect(200);
    assert_same_bytes(&answer.body, &bytes, "the download");
    let answer = h2
        .send(&ranged(&upload, "bytes=1000000-1999999"))
        .await
        .expect(206);
    assert_same_bytes(&answer.body, &bytes[1_000_000..2_000_000], "the range");
}

#[tokio::test]
async fn a_single_range_is_206() {
    let server = Server::start(&[]).await;
    let upload = server.complete(TEN).await;
    let ranges = [
        ("bytes=0-0", "bytes 0-0/10", "0"),
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=7-9", "bytes 7-9/10", "789"),
        ("bytes=7-1000", "bytes 7-9/10", "789"),
        ("bytes=7-18446744073709551615", "bytes 7-9/10", "789"),
        ("bytes=-3", "bytes 7-9/10", "789"),
        ("bytes=-10", "bytes 0-9/10", "0123456789"),
        ("bytes=-1000", "bytes 0-9/10", "0123456789"),
        ("Bytes=2-4", "bytes 2-4/10", "234"),
    ];
    for (range, content_range, bytes) in ranges {
        let answer = server.send(ranged(&upload, range)).await.expect(206);
        let answer = answer.expect_header("Content-Range", content_range);
        let answer = answer.expect_header("ETag", &etag(TEN));
        assert_eq!(
            String::from_utf8_lossy(&answer.body),
            bytes,
            "{range}:\n{answer}"
        );
    }
}

#[tokio::test]
async fn several_ranges_are_multipart() {
    let server = Server::start(&[]).await;
    let upload = server.complete(TEN).await;
    let answer = server
        .send(ranged(&upload, "bytes=0-1, 4-5,-2"))
        .await
        .expect(206);
    let wanted = [
        ("bytes 0-1/10", "01"),
        ("bytes 4-5/10", "45"),
        ("bytes 8-9/10", "89"),
    ];
    let wanted = wanted.map(|(range, bytes)| (range.to_owned(), bytes.as_bytes().to_vec()));
    assert_eq!(parts(&answer), wanted, "{answer}");
    let answer = answer.expect_no_header("Content-Range");
    let length = answer.body.len().to_string();
    answer.expect_header("Content-Length", &length);
    // What cannot be satisfied is left out of what can.
    let answer = server
        .send(ranged(&upload, "bytes=0-1,50-60"))
        .await
        .expect(206);
    if answer.header("Content-Range").is_some() {
        assert_eq!(answer.body, b"01", "{answer}");
    } else {
        assert_eq!(parts(&answer), wanted[..1], "{answer}");
    }
}

#[tokio::test]
async fn a_range_that_cannot_be_satisfied_is_416() {
    let server = Server::start(&[]).await;
    let upload = server.complete(TEN).await;
    for range in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=50-60,70-"] {
        let answer = server
            .send(ranged(&upload, range))
            .await
            .expect_problem(416);
        answer.expect_header("Content-Range", "bytes */10");
    }
    let empty = server.create(0).await;
    let answer = server
        .send(ranged(&empty, "bytes=0-"))
        .await
        .expect_problem(416);
    answer.expect_header("Content-Range", "bytes */0");
}

#[tokio::test]
async fn a_malformed_range_is_a_problem_and_another_unit_is_ignored() {
    let server = Server::start(&[]).await;
    let upload = server.complete(TEN).await;
    let malformed = [
        "bytes=",
        "bytes=a-b",
        "bytes=5-2",
        "bytes=-",
        "bytes=+1-2",
        "bytes=1-2;3-4",
        "bytes=1 -2",
    ];
    for range in malformed {
        let answer = server.send(ranged(&upload, range)).await;
        assert!(matches!(answer.status, 400 | 416), "{range}:\n{answer}");
        let status = answer.status;
        answer.expect_problem(status);
    }
    for range in ["lines=1-2", "seconds=0-"] {
        let answer = server.send(ranged(&upload, range)).await.expect(200);
        assert_eq!(answer.body, TEN, "{range}");
    }
}

#[tokio::test]
async fn many_ranges_do_not_multiply_the_answer() {
    let server = Server::start(&[]).await;
    let bytes = content(33, 100_000);
    let upload = server.complete(&bytes).await;
    let range = format!("bytes={}", vec!["0-"; 1000].join(","));
    let answer = server.send(ranged(&upload, &range)).await;
    assert!(matches!(answer.status, 200 | 206 | 400 | 416), "{answer}");
    assert!(
        answer.body.len() < 2 * bytes.len(),
        "{} bytes",
        answer.body.len()
    );
}

#[tokio::test]
async fn if_range_asks_for_the_range_only_of_the_same_bytes() {
    let server = Server::start(&[]).await;
    let upload = server.complete(TEN).await;
    let range = ranged(&upload, "bytes=2-4");
    let same = server
        .send(range.clone().header("If-Range", etag(TEN)))
        .await
        .expect(206);
    assert_eq!(same.body, b"234");
    let weak = format!("W/{}", etag(TEN));
    for other in [
        &etag(b"other"),
        &weak,
        "\"\"",
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "nonsense",
    ] {
        let answer = server
            .send(range.clone().header("If-Range", other))
            .await
            .expect(200);
        assert_eq!(answer.body, TEN, "{other}");
    }
}

#[tokio::test]
async fn if_none_match_spares_a_second_download() {
    let server = Server::start(&[]).await;
    let upload = server.complete(TEN).await;
    let weak = format!("\"x\", W/{}", etag(TEN));
    for tags in [&*etag(TEN), &weak, "*"] {
        let answer = server
            .send(tus::get(&upload).header("If-None-Match", tags))
            .await;
        answer.expect(304).expect_header("ETag", &etag(TEN));
    }
    let answer = server
        .send(tus::get(&upload).header("If-None-Match", "\"x\""))
        .await;
    assert_eq!(answer.expect(200).body, TEN);
}

#[tokio::test]
async fn ranges_cross_the_seams_of_a_concatenation() {
    let server = Server::start(&[]).await;
    let mut bytes = Vec::new();
    let mut uploads = Vec::new();
    for seed in 0..3 {
        let part = content(seed, 50_000);
        uploads.push(server.complete_partial(&part).await);
        bytes.extend(part);
    }
    let upload = server
        .concatenate(&uploads.iter().collect::<Vec<_>>())
        .await;
    assert_same_bytes(&server.download(&upload).await, &bytes, "the concatenation");
    for (from, to) in [
        (0, 49_999),
        (49_999, 50_000),
        (10, 149_990),
        (100_000, 149_999),
    ] {
        let range = format!("bytes={from}-{to}");
        let answer = server.send(ranged(&upload, &range)).await.expect(206);
        assert_same_bytes(&answer.body, &bytes[from..=to], &range);
    }
    let answer = server.send(tus::get(&upload)).await;
    // Nobody has hashed the parts in this order; but what looks like a digest must be one.
    if let Some(tag) = answer
        .header("ETag")
        .filter(|tag| tag.len() == etag(b"").len())
    {
        assert_eq!(
            tag,
            etag(&bytes),
            "a tag, but not that of the bytes:\n{answer}"
        );
    }
    answer.expect_no_header("Repr-Digest");
}

#[tokio::test]
async fn an_incomplete_upload_is_409_and_shows_no_byte() {
    let server = Server::start(&[]).await;
    let upload = server.create(100).await;
    server.append(&upload, 0, b"SECRET").await;
    for request in [tus::get(&upload), ranged(&upload, "bytes=0-2")] {
        let answer = server.send(request).await.expect_problem(409);
        assert!(
            !String::from_utf8_lossy(&answer.body).contains("SECRET"),
            "{answer}"
        );
        answer
            .expect_no_header("Accept-Ranges")
            .expect_no_header("ETag");
    }
    server
        .send(tus::get(&Upload::unknown()))
        .await
        .expect_problem(404);
}

#[tokio::test]
async fn every_download_is_locked_up_in_the_browser() {
    let server = Server::start(&[]).await;
    let upload = with_metadata(
        &server,
        &[("filetype", b"image/png"), ("filename", b"a.png")],
    )
    .await;
    for request in [
        tus::get(&upload),
        ranged(&upload, "bytes=0-1"),
        ranged(&upload, "bytes=0-0,2-2"),
    ] {
        let answer = server.send(request).await;
        let answer = answer.expect_header("X-Content-Type-Options", "nosniff");
        let policy = answer.field("Content-Security-Policy");
        assert!(
            policy
                .split(';')
                .any(|directive| directive.trim() == "sandbox"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn only_harmless_types_are_shown_inline() {
    let server = Server::start(&[]).await;
    let never_inline = [
        "text/html",
        "TEXT/HTML",
        "text/html; charset=utf-7",
        "application/xhtml+xml",
        "image/svg+xml",
        "application/xml",
        "text/xml",
        "text/xsl",
        "application/rss+xml",
        "application/pdf",
        "application/javascript",
        "multipart/related",
        "message/rfc822",
        "not a media type",
        "image/png, text/html",
        "",
    ];
    for filetype in never_inline {
        let pairs: [(&str, &[u8]); 2] = [("filetype", filetype.as_bytes()), ("filename", b"a.txt")];
        let upload = with_metadata(&server, &pairs).await;
        let answer = server.send(tus::get(&upload)).await.expect(200);
        let disposition = answer.field("Content-Disposition");
        assert!(
            disposition.starts_with("attachment"),
            "{filetype:?} inline:\n{answer}"
        );
    }
    for filetype in ["image/png", "image/jpeg", "text/plain", "video/mp4"] {
        let upload = with_metadata(&server, &[("filetype", filetype.as_bytes())]).await;
        let answer = server.send(tus::get(&upload)).await.expect(200);
        let shown = answer.field("Content-Type");
        assert!(shown.starts_with(filetype), "{filetype}:\n{answer}");
        assert!(
            answer.field("Content-Disposition").starts_with("inline"),
            "{answer}"
        );
    }
    // Without any metadata there is nothing to trust.
    let upload = server.complete(b"<html>").await;
    let answer = server.send(tus::get(&upload)).await.expect(200);
    assert!(
        answer
            .field("Content-Disposition")
            .starts_with("attachment"),
        "{answer}"
    );
}

/// The name that a browser would save under, from `filename*`, else from `filename`.
#[track_caller]
fn saved_name(answer: &Answer) -> String {
    let disposition = answer.field("Content-Disposition");
    if let Some((_, extended)) = disposition.split_once("filename*=UTF-8''") {
        let extended = extended.split(';').next().unwrap_or_default();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "%!#$&+-.^_`|~".contains(c);
        assert!(
            extended.chars().all(allowed),
            "not an RFC 8187 value:\n{answer}"
        );
        let name = percent_decode_str(extended)
            .decode_utf8()
            .expect("filename* is UTF-8");
        return name.into_owned();
    }
    let (_, quoted) = disposition.split_once("filename=\"").unwrap_or_default();
    let mut name = String::new();
    let mut characters = quoted.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => name.extend(characters.next()),
            '"' => break,
            other => name.push(other),
        }
    }
    name
}

#[tokio::test]
async fn the_file_name_is_display_text_and_nothing_else() {
    let server = Server::start(&[]).await;
    let plain = [
        "report.tif",
        "with space.txt",
        "žluťoučký kůň.tif",
        "画像.png",
        "a;b=c.txt",
        "50%.txt",
    ];
    for name in plain {
        let upload = with_metadata(&server, &[("filename", name.as_bytes())]).await;
        let answer = server.send(tus::get(&upload)).await.expect(200);
        assert_eq!(saved_name(&answer), name, "{answer}");
    }
    let hostile: [&[u8]; 11] = [
        b"../../etc/passwd",
        b"C:\\Windows\\evil.exe",
        b"/absolute",
        b"a\r\nSet-Cookie: x=y",
        b"quote\".html",
        b"back\\\\slash\"; filename=evil.exe; x=\"",
        b"nul\0.txt",
        b"..",
        b"",
        b"\xff\xfe not UTF-8",
        "rtl\u{202e}gpj.exe".as_bytes(),
    ];
    for name in hostile {
        let upload = with_metadata(&server, &[("filename", name)]).await;
        let answer = server
            .send(tus::get(&upload))
            .await
            .expect(200)
            .expect_no_header("Set-Cookie");
        let saved = saved_name(&answer);
        let forbidden =
            |c: char| c.is_control() || matches!(c, '/' | '\\' | '\u{202a}'..='\u{202e}');
        assert!(
            !saved.contains(forbidden),
            "{name:?} is saved as {saved:?}\n{answer}"
        );
        assert!(
            !matches!(&*saved, "." | ".."),
            "{name:?} is saved as {saved:?}\n{answer}"
        );
        let disposition = answer.field("Content-Disposition");
        assert!(disposition.is_ascii(), "{answer}");
        assert!(
            disposition.matches('"').count() % 2 == 0 || disposition.contains("\\\""),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_name_longer_than_any_file_name_does_no_harm() {
    let server = Server::start(&[]).await;
    let name = "n".repeat(6000);
    let upload = with_metadata(&server, &[("filename", name.as_bytes())]).await;
    let answer = server.send(tus::get(&upload)).await.expect(200);
    assert_eq!(answer.body, b"hello");
}
