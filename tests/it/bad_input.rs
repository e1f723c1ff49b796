//! Malformed, oversized, doubled, negative, overflowing and unknown input: each gets its 4xx
//! problem, and the upload it was about is what it was.

use std::net::Shutdown;
use std::path::PathBuf;

use crate::support::h2c::H2;
use crate::support::server::Server;
use crate::support::tus::{self, OFFSET_OCTET_STREAM, Upload, checksum};
use crate::support::wire::{Answer, Conn, Req};

/// No number, or none that fits.
const NOT_NUMBERS: [&str; 18] = [
    "",
    "-1",
    "-0",
    "+5",
    "5.0",
    "5,0",
    "5, 5",
    "5 5",
    "0x5",
    "5e0",
    "five",
    "5;",
    "\"5\"",
    "٥",
    "9223372036854775808",
    "18446744073709551616",
    "99999999999999999999999999999999999999",
    "NaN",
];

/// The request was refused with a problem, and nothing was created.
#[track_caller]
fn refused(answer: Answer, what: &str) {
    assert!((400..500).contains(&answer.status), "{what}:\n{answer}");
    let status = answer.status;
    answer.expect_problem(status).expect_no_header("Location");
}

/// As [`refused`], with 400.
#[track_caller]
fn refused_as_malformed(answer: Answer, what: &str) {
    assert_eq!(answer.status, 400, "{what:?}:\n{answer}");
    refused(answer, what);
}

/// An upload of `hello` that has `he`, against which everything bad is sent.
async fn begun(server: &Server) -> Upload {
    let upload = server.create(5).await;
    server.append(&upload, 0, b"he").await;
    upload
}

#[tokio::test]
async fn a_problem_has_the_members_of_the_contract() {
    let server = Server::start(&[]).await;
    let upload = begun(&server).await;
    let answer = server.send(tus::patch(&upload, 0).body("x")).await;
    let problem = answer.expect_slug(409, "offset-mismatch").json();
    let instance = problem["instance"].as_str().unwrap_or_default();
    assert!(
        instance.contains(upload.id()),
        "the instance is another one: {problem}"
    );
    // This type is registered, and its page is elsewhere; the server has one all the same.
    let page = Req::new("GET", "/problems/offset-mismatch");
    server.send(page).await.expect(200);
    // Any other is a page that this server serves.
    let answer = server.send(tus::patch(&upload, 2).body("more")).await;
    let problem = answer.expect_slug(413, "exceeds-length").json();
    let page = problem["type"].as_str().unwrap_or_default();
    let page = server.send(Req::new("GET", page)).await.expect(200);
    assert!(!page.body.is_empty(), "{page}");
    // Something to find the log line by.
    let answer = server
        .send(tus::patch(&Upload::unknown(), 0).body("x"))
        .await
        .expect_problem(404);
    assert!(!answer.field("X-Request-Id").is_empty(), "{answer}");
}

#[tokio::test]
async fn a_length_that_is_no_number_is_400() {
    let server = Server::start(&[]).await;
    for value in NOT_NUMBERS {
        let answer = server
            .send(tus::post().header("Upload-Length", value))
            .await;
        refused_as_malformed(answer, value);
        let deferred = server.create_deferred().await;
        let patch = tus::patch(&deferred, 0)
            .header("Upload-Length", value)
            .body("x");
        refused_as_malformed(server.send(patch).await, value);
        server
            .send(tus::head(&deferred))
            .await
            .expect_offset(0)
            .expect_no_header("Upload-Length");
    }
}

#[tokio::test]
async fn an_offset_that_is_no_number_is_400() {
    let server = Server::start(&[]).await;
    let upload = begun(&server).await;
    for value in NOT_NUMBERS {
        let patch = tus::patch(&upload, 2)
            .with("Upload-Offset", value)
            .body("llo");
        refused_as_malformed(server.send(patch).await, value);
    }
    server.expect_resumable(&upload, 2, b"hello").await;
}

#[tokio::test]
async fn a_field_that_is_there_twice_is_refused() {
    let server = Server::start(&[]).await;
    let upload = begun(&server).await;
    let patch = tus::patch(&upload, 2).body("llo");
    let sum = checksum("sha1", b"llo");
    let patches = [
        patch.clone().header("Upload-Offset", "2"),
        patch.clone().header("Upload-Offset", "3"),
        patch.clone().header("Tus-Resumable", "1.0.0"),
        patch.clone().header("Content-Type", OFFSET_OCTET_STREAM),
        patch
            .clone()
            .header("Upload-Checksum", &sum)
            .header("Upload-Checksum", &sum),
        patch
            .header("Upload-Length", "5")
            .header("Upload-Length", "5"),
    ];
    for request in patches {
        refused(server.send(request.clone()).await, &format!("{request:?}"));
    }
    let creations = [
        tus::create(5).header("Upload-Length", "5"),
        tus::create(5).header("Upload-Length", "6"),
        tus::create_deferred().header("Upload-Defer-Length", "1"),
        tus::create(5)
            .header("Upload-Metadata", "a YQ==")
            .header("Upload-Metadata", "a YQ=="),
        tus::create_partial(5).header("Upload-Concat", "partial"),
        tus::create_partial(5).header("Upload-Concat", format!("final;{}", upload.path)),
    ];
    for request in creations {
        refused(server.send(request.clone()).await, &format!("{request:?}"));
    }
    server.expect_resumable(&upload, 2, b"hello").await;
}

#[tokio::test]
async fn malformed_metadata_is_400() {
    let server = Server::start(&[]).await;
    let malformed: [&[u8]; 13] = [
        b"a YQ==,a Yg==",
        b"a,a",
        b"a YQ==,,b Yg==",
        b",a YQ==",
        b"a  YQ==",
        b"a YQ== x",
        b"a YQ",
        b"a YQ=",
        b"a YQ===",
        b"a Y?==",
        b"a _-8=",
        b"a Y Q==",
        b"a YQ==\xff",
    ];
    for value in malformed {
        let request = tus::create(5).header("Upload-Metadata", value);
        let answer = server.send(request).await;
        refused_as_malformed(answer, &String::from_utf8_lossy(value));
    }
}

#[tokio::test]
async fn a_malformed_checksum_is_400_and_keeps_nothing() {
    let server = Server::start(&[]).await;
    let upload = begun(&server).await;
    let twice = format!("{0},{0}", checksum("sha1", b"llo"));
    let malformed = [
        "",
        "sha1",
        "sha1 ",
        "sha1 YQ==",
        "sha1 ***",
        "sha1  yv66vg==",
        "sha1,sha256 YQ==",
        "md5 YWJjZGVmZ2hpamtsbW5vcHFy",
        "crc32c YWJjZGU=",
        " YQ==",
        &twice,
    ];
    for value in malformed {
        let patch = tus::patch(&upload, 2)
            .header("Upload-Checksum", value)
            .body("llo");
        refused_as_malformed(server.send(patch).await, value);
        let create = tus::create_with_data(5)
            .header("Upload-Checksum", value)
            .body("hello");
        refused_as_malformed(server.send(create).await, value);
    }
    // In the header and announced for the trailer as well.
    let both = tus::patch(&upload, 2)
        .chunked("llo")
        .header("Trailer", "Upload-Checksum");
    let both = both.header("Upload-Checksum", checksum("sha1", b"llo"));
    let both = both.trailer("Upload-Checksum", &checksum("sha1", b"llo"));
    refused(
        server.send(both).await.expect(400),
        "checksum in header and trailer",
    );
    server.expect_resumable(&upload, 2, b"hello").await;
}

#[tokio::test]
async fn a_malformed_concatenation_is_400() {
    let server = Server::start(&[]).await;
    let part = server.complete_partial(b"hello").await;
    let path = &part.path;
    let malformed = [
        String::new(),
        "whole".to_owned(),
        "partial;".to_owned(),
        "final".to_owned(),
        "final;".to_owned(),
        "final; ".to_owned(),
        format!("final {path}"),
        format!("final,{path}"),
        format!("final;{path};{path}"),
        format!("final;{path},{path}"),
        format!("final;{path} \"x\""),
        format!("partial;{path}"),
        format!("final;{path}?a=b/../../x"),
    ];
    for value in &malformed {
        let answer = server
            .send(tus::post().header("Upload-Concat", value))
            .await;
        refused_as_malformed(answer, value);
    }
    for value in ["whole", "final", ""] {
        let answer = server
            .send(tus::create(5).header("Upload-Concat", value))
            .await;
        refused_as_malformed(answer, value);
    }
    assert_eq!(server.download(&part).await, b"hello");
}

/// What no request may read or remove: a file inside the data directory, under a known name.
fn plant_secret(server: &Server) -> PathBuf {
    let secret = server.data_dir().join("secret.txt");
    std::fs::write(&secret, "the secret").expect("write a file to be stolen");
    secret
}

/// An upload resource whose id is whatever the test likes.
fn nowhere(id: &str) -> Upload {
    Upload {
        location: String::new(),
        path: format!("/files/{id}"),
    }
}

#[tokio::test]
async fn an_id_that_is_no_uuid_is_404() {
    let server = Server::start(&[]).await;
    plant_secret(&server);
    let long = "a".repeat(4000);
    let ids = [
        "x",
        "secret.txt",
        "00000000-0000-4000-8000-00000000000",
        "00000000-0000-4000-8000-0000000000000",
        "00000000-0000-4000-8000-00000000000g",
        "{00000000-0000-4000-8000-000000000000}",
        &long,
    ];
    for id in ids {
        let nowhere = nowhere(id);
        server
            .send(tus::head(&nowhere))
            .await
            .expect(404)
            .expect_no_header("Upload-Offset");
        server.send(tus::get(&nowhere)).await.expect_problem(404);
        server
            .send(tus::patch(&nowhere, 0).body("x"))
            .await
            .expect_problem(404);
        server.send(tus::delete(&nowhere)).await.expect_problem(404);
    }
}

#[tokio::test]
async fn an_id_that_is_a_path_never_reaches_one() {
    let server = Server::start(&[]).await;
    let secret = plant_secret(&server);
    let traversals = [
        "..",
        "../secret.txt",
        "../../etc/passwd",
        "..%2fsecret.txt",
        "%2e%2e/secret.txt",
        "%2e%2e%2fsecret.txt",
        "..%5csecret.txt",
        "%252e%252e%252fsecret.txt",
        "..;/secret.txt",
        "./secret.txt",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "%c0%ae%c0%ae/secret.txt",
        "secret.txt%00",
        "%zz",
        "%",
        "00000000-0000-4000-8000-000000000000/../secret.txt",
        "00000000-0000-4000-8000-000000000000%00",
    ];
    for form in traversals {
        let nowhere = nowhere(form);
        for request in [
            tus::get(&nowhere),
            tus::delete(&nowhere),
            tus::patch(&nowhere, 0),
        ] {
            let answer = server.send(request).await;
            assert!((400..500).contains(&answer.status), "{form}:\n{answer}");
            assert!(
                !String::from_utf8_lossy(&answer.body).contains("the secret"),
                "{answer}"
            );
        }
    }
    let kept = std::fs::read_to_string(&secret);
    assert_eq!(
        kept.ok().as_deref(),
        Some("the secret"),
        "a request reached a path"
    );
}

#[tokio::test]
async fn an_unknown_path_is_404_and_a_known_one_says_what_it_takes() {
    let server = Server::start(&[]).await;
    for target in [
        "/nothing",
        "/filesx",
        "/files/a/b",
        "/FILES",
        "/api/nothing",
    ] {
        server
            .send(Req::new("GET", target))
            .await
            .expect_problem(404);
    }
    let answer = server
        .send(Req::new("DELETE", "/healthz"))
        .await
        .expect_problem(405);
    assert!(
        answer.list("Allow").iter().any(|method| method == "get"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_header_section_over_16_kib_is_431() {
    let server = Server::start(&[]).await;
    let fits = tus::create(5).header("Upload-Metadata", tus::metadata(&[("a", &[b'x'; 6000])]));
    server.send(fits).await.expect(201);
    let sizes = [17 << 10, 64 << 10, 300 << 10];
    for size in sizes {
        let request = tus::create(5).header("Upload-Metadata", vec![b'a'; size]);
        server.send(request).await.expect(431);
        let request = tus::create(5).header(&"n".repeat(size), "x");
        server.send(request).await.expect(431);
    }
    let mut request = tus::create(5);
    for index in 0..2000 {
        request = request.header(&format!("X-Field-{index}"), "x");
    }
    server.send(request).await.expect(431);
    let answer = server
        .send(tus::request("GET", &format!("/{}", "a".repeat(20 << 10))))
        .await;
    assert!(matches!(answer.status, 414 | 431), "{answer}");
}

#[tokio::test]
async fn a_header_section_over_16_kib_is_refused_over_http2() {
    let server = Server::start(&[]).await;
    let mut h2 = H2::open(server.addr()).await;
    let mut request = tus::create(5);
    for index in 0..40 {
        request = request.header(&format!("x-field-{index}"), "v".repeat(1000));
    }
    // HTTP/2 has more than one way to say so: 431, a reset stream, a closed connection.
    if let Ok(answer) = h2.try_send(&request).await {
        assert_eq!(answer.status, 431, "{answer}");
    }
    H2::open(server.addr())
        .await
        .send(&tus::create(5))
        .await
        .expect(201);
}

/// Sends these bytes and expects a refusal or the end of the connection.
async fn expect_rejected(server: &Server, bytes: &[u8]) {
    let mut conn = server.connect().await;
    conn.note_request("POST");
    conn.send(bytes).await;
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    match conn.try_answer().await {
        Ok(answer) => assert!((400..500).contains(&answer.status), "{shown}\n{answer}"),
        Err(e) => assert_ne!(
            e.kind(),
            std::io::ErrorKind::TimedOut,
            "no answer to {shown}"
        ),
    }
}

#[tokio::test]
async fn bytes_that_are_no_http_are_refused() {
    let server = Server::start(&[]).await;
    let head = "POST /files HTTP/1.1\r\nHost: a\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5\r\n";
    let malformed = [
        "GARBAGE\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\0\u{5}hello\r\n\r\n".to_owned(),
        "POST /files\r\n\r\n".to_owned(),
        "POST /files HTTP/9.9\r\n\r\n".to_owned(),
        "POST /fi les HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        format!("{head}No-Colon\r\n\r\n"),
        format!("{head}Bad Name: x\r\n\r\n"),
        format!("{head}X-Nul: a\0b\r\n\r\n"),
        format!("{head}Content-Length: -1\r\n\r\n"),
        format!("{head}Content-Length: +5\r\n\r\n"),
        format!("{head}Content-Length: five\r\n\r\n"),
        format!("{head}Content-Length: 18446744073709551617\r\n\r\n"),
        format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
        format!("{head}Transfer-Encoding: gzip\r\n\r\nxx"),
    ];
    for bytes in malformed {
        expect_rejected(&server, bytes.as_bytes()).await;
    }
}

/// Location is built from it, and a proxy may route by it.
#[tokio::test]
async fn a_request_needs_one_valid_host() {
    let server = Server::start(&[]).await;
    let request = "POST /files HTTP/1.1\r\nTus-Resumable: 1.0.0\r\nUpload-Length: 5\r\n";
    for hosts in ["", "Host: a\r\nHost: a\r\n", "Host: a\r\nHost: b\r\n"] {
        expect_rejected(&server, format!("{request}{hosts}\r\n").as_bytes()).await;
    }
    for host in ["a b", "a/b", "a\"<script>", "a@b", "[::1"] {
        let answer = server.send(tus::create(5).header("Host", host)).await;
        assert!(
            (400..500).contains(&answer.status),
            "Host: {host}\n{answer}"
        );
    }
}

#[tokio::test]
async fn a_malformed_chunk_ends_the_body_where_it_stands() {
    let server = Server::start(&[]).await;
    for garbage in [
        "zz\r\nllo\r\n",
        "-1\r\n\r\n",
        "ffffffffffffffff1\r\n",
        "3\r\nlloXX",
    ] {
        let upload = begun(&server).await;
        let mut conn = server.connect().await;
        conn.send_head_and_wait(tus::patch(&upload, 2).chunked(""))
            .await;
        conn.send(garbage.as_bytes()).await;
        // Whether it still answers or just closes: the client learns the offset by asking.
        if let Ok(answer) = conn.try_answer().await {
            assert!(
                (400..500).contains(&answer.status),
                "{garbage:?}:\n{answer}"
            );
        }
        let offset = server.offset(&upload).await;
        // The last form has three good bytes in front of what is wrong.
        assert!(
            offset == 2 || (offset == 5 && garbage.starts_with('3')),
            "{garbage:?}: {offset}"
        );
    }
}

#[tokio::test]
async fn a_body_where_none_belongs_is_not_taken_for_a_request() {
    let server = Server::start(&[]).await;
    let upload = begun(&server).await;
    let smuggled = format!(
        "DELETE {} HTTP/1.1\r\nHost: a\r\nTus-Resumable: 1.0.0\r\n\r\n",
        upload.path
    );
    for request in [
        tus::head(&upload),
        tus::get(&upload),
        tus::options("/files"),
    ] {
        server.send(request.body(smuggled.as_str())).await;
    }
    server.quiesce().await;
    server.expect_resumable(&upload, 2, b"hello").await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(&[]).await;
    let upload = begun(&server).await;
    let mut conn = server.connect().await;
    // Two good ones around a bad one, all on the way before the first answer is read.
    conn.send_request(&tus::head(&upload)).await;
    conn.send_request(&tus::patch(&upload, 0)).await;
    conn.send_request(&tus::patch(&upload, 2).body("llo")).await;
    conn.answer().await.expect(200).expect_offset(2);
    conn.answer().await.expect_slug(409, "offset-mismatch");
    conn.answer().await.expect(204).expect_offset(5);
    assert_eq!(server.download(&upload).await, b"hello");
}

/// Writes all of a large body before it looks at the answer, as many clients do.
async fn write_all_then_read(mut conn: Conn, patch: &Req, body: &[u8]) -> Answer {
    conn.send_head(patch).await;
    for piece in body.chunks(64 << 10) {
        conn.try_send(piece)
            .await
            .expect("the server reads on until the body ends");
    }
    conn.answer().await
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_can_be_read() {
    const BODY_BYTES: u64 = 8 << 20;
    let server = Server::start(&[]).await;
    let body = vec![0; BODY_BYTES as usize];
    let upload = server.create(5).await;
    let cancelled = server.create(BODY_BYTES).await;
    server.send(tus::delete(&cancelled)).await.expect(204);
    let early = [
        (tus::patch(&upload, 0), 413),
        (tus::patch(&upload, 1), 409),
        (tus::patch(&upload, 0).without("Content-Type"), 415),
        (tus::patch(&upload, 0).with("Tus-Resumable", "2"), 412),
        (tus::patch(&Upload::unknown(), 0), 404),
        (tus::patch(&cancelled, 0), 410),
    ];
    for (patch, status) in early {
        let conn = server.connect().await;
        let patch = patch.declare(BODY_BYTES);
        let answer = write_all_then_read(conn, &patch, &body)
            .await
            .expect(status);
        assert!(
            answer.list("Connection").contains(&"close".to_owned()),
            "{answer}"
        );
    }
    server.expect_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn an_endless_body_after_the_answer_is_cut_off() {
    let flags = [
        "--drain-bytes",
        "1Mi",
        "--drain-idle",
        "1s",
        "--drain-time",
        "5s",
    ];
    let server = Server::start(&flags).await;
    let upload = server.create(5).await;
    // One sender floods: the bytes are bounded.
    let mut flood = server.connect().await;
    flood
        .send_head(&tus::patch(&upload, 0).declare(1 << 40))
        .await;
    let piece = vec![0; 256 << 10];
    let mut sent = 0_u64;
    while flood.try_send(&piece).await.is_ok() {
        sent += piece.len() as u64;
        assert!(
            sent < 1 << 30,
            "the server has read {sent} bytes for nothing"
        );
    }
    // Another one falls silent: its time is.
    let mut silent = server.connect().await;
    silent
        .send_head(&tus::patch(&upload, 0).declare(1 << 40))
        .await;
    silent.answer().await.expect(413);
    silent.expect_closed().await;
    server.expect_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn ten_thousand_idle_bytes_of_nothing_do_no_harm() {
    let server = Server::start(&[]).await;
    for bytes in [
        &[0_u8; 10_000][..],
        &[b'\n'; 10_000],
        &[0xFF; 10_000],
        b"PRI * HTTP/2.0\r\n\r\n",
    ] {
        let mut stream = std::net::TcpStream::connect(server.addr()).expect("connect");
        // The server may have hung up before the last of them.
        drop(std::io::Write::write_all(&mut stream, bytes));
        drop(stream.shutdown(Shutdown::Both));
    }
    server.send(Req::new("GET", "/healthz")).await.expect(200);
}
