//! What the interop versions that clients speak differ in (rows, section 2.8).

use crate::support::eventually;
use crate::support::rufh::{self, LAST, MORE, PARTIAL_UPLOAD};
use crate::support::server::Server;
use crate::support::tus::Upload;
use crate::support::wire::{Answer, Conn, Req, chunk};

const ALL: [u64; 7] = [3, 4, 5, 6, 7, 8, 9];

/// Completeness in the words of a version: 3 says the opposite in another field.
fn completeness(version: u64, complete: bool) -> (&'static str, &'static str) {
    match (version, complete) {
        (3, true) => ("Upload-Incomplete", "?0"),
        (3, false) => ("Upload-Incomplete", "?1"),
        (_, true) => ("Upload-Complete", "?1"),
        (_, false) => ("Upload-Complete", "?0"),
    }
}

fn create(version: u64, complete: bool) -> Req {
    let (name, value) = completeness(version, complete);
    Req::new("POST", "/files")
        .interop(version)
        .header(name, value)
        .body("")
}

/// An append without media type, and without completeness unless it is given.
fn patch(version: u64, upload: &Upload, offset: u64, complete: Option<bool>) -> Req {
    let patch = Req::new("PATCH", &upload.path)
        .interop(version)
        .header("Upload-Offset", offset.to_string());
    let patch = match complete {
        Some(complete) => {
            let (name, value) = completeness(version, complete);
            patch.header(name, value)
        }
        None => patch,
    };
    // Before version 6 there is none.
    match version {
        3..=5 => patch.body(""),
        _ => patch.header("Content-Type", PARTIAL_UPLOAD).body(""),
    }
}

#[track_caller]
fn expect_completeness(answer: Answer, version: u64, complete: bool) -> Answer {
    let (name, value) = completeness(version, complete);
    let other = match name {
        "Upload-Complete" => "Upload-Incomplete",
        _ => "Upload-Complete",
    };
    answer.expect_header(name, value).expect_no_header(other)
}

async fn begun(server: &Server, version: u64, length: u64) -> Upload {
    let create = create(version, false).header("Upload-Length", length.to_string());
    Upload::created(&server.send(create).await.expect(201))
}

#[tokio::test]
async fn v3_to_v9_each_makes_a_whole_upload_in_its_own_words() {
    let server = Server::start(&[]).await;
    for version in ALL {
        let upload = begun(&server, version, 11).await;
        let more = patch(version, &upload, 0, Some(false)).body("hello ");
        let answer = server.send(more).await;
        // tus-js-client, which speaks 5 and 6, takes nothing but 201.
        let answer = answer.expect(if version <= 6 { 201 } else { 204 });
        expect_completeness(answer, version, false).expect_offset(6);
        let head = rufh::head(&upload).interop(version);
        let answer = server.send(head).await.expect(204).expect_offset(6);
        expect_completeness(answer, version, false).expect_header("Upload-Length", "11");
        let last = patch(version, &upload, 6, Some(true)).body("world");
        let answer = server.send(last).await.expect(201).expect_offset(11);
        expect_completeness(answer, version, true)
            .expect_header("Repr-Digest", &rufh::digest(b"hello world"));
        assert_eq!(server.download(&upload).await, b"hello world");
        let delete = rufh::delete(&upload).interop(version);
        server.send(delete).await.expect(204);
    }
}

/// There are clients that take an upload for complete at its length and say nothing (row R47).
#[tokio::test]
async fn up_to_v6_an_upload_is_complete_at_its_length() {
    let server = Server::start(&["--min-append-size", "6"]).await;
    for version in ALL {
        let at_length = version <= 6;
        let empty = create(version, false).header("Upload-Length", "0");
        let answer = server.send(empty).await.expect(201);
        expect_completeness(answer, version, at_length);

        let at_once = create(version, false).header("Upload-Length", "11");
        let answer = server.send(at_once.body("hello world")).await.expect(201);
        expect_completeness(answer, version, at_length);

        let upload = begun(&server, version, 11).await;
        let more = patch(version, &upload, 0, Some(false));
        server.send(more.body("hello ")).await;
        // The rest is smaller than what may be followed by more.
        let rest = patch(version, &upload, 6, Some(false)).body("world");
        let answer = server.send(rest).await;
        if !at_length {
            answer.expect_slug(400, "append-too-small");
            continue;
        }
        expect_completeness(answer.expect(201), version, true).expect_offset(11);
        // Who says so after all is answered alike.
        let last = patch(version, &upload, 11, Some(true));
        expect_completeness(server.send(last).await.expect(201), version, true);
        assert_eq!(server.download(&upload).await, b"hello world");

        let small = patch(version, &begun(&server, version, 11).await, 0, Some(false));
        let small = server.send(small.body("hello")).await;
        small.expect_slug(400, "append-too-small");
    }
}

/// Nothing is committed before a request ends.
const NEVER: [&str; 2] = ["--checkpoint-interval", "1h"];

/// A connection on which all bytes have been sent, and the server has got them, but no end.
async fn sent_all(server: &Server, version: u64, upload: &Upload) -> Conn {
    let mut conn = server.connect().await;
    let more = patch(version, upload, 0, Some(false)).chunked("");
    conn.send_head(&more).await;
    conn.send(&chunk(b"hello world")).await;
    server.quiesce().await;
    conn
}

/// The client that does not say so finds the offset at the length, and goes away content.
#[tokio::test]
async fn up_to_v6_bytes_up_to_the_length_complete_an_upload_however_they_end() {
    let mut server = Server::start(&NEVER).await;
    for version in 3..=6 {
        let upload = begun(&server, version, 11).await;
        // Its last chunk never comes.
        sent_all(&server, version, &upload).await.reset();
        eventually("it is complete", async || {
            (server.uploads("completed").await)
                .iter()
                .any(|view| view["id"] == upload.id())
                .then_some(())
        })
        .await;
        assert_eq!(server.download(&upload).await, b"hello world");
    }
    // A crash after the last byte, before anything is committed.
    let upload = begun(&server, 6, 11).await;
    let _conn = sent_all(&server, 6, &upload).await;
    server.kill9().await;
    server.restart(&NEVER).await;
    let head = server.send(rufh::head(&upload).interop(6)).await;
    let head = head.expect(204).expect_offset(11);
    expect_completeness(head, 6, true);
    assert_eq!(server.download(&upload).await, b"hello world");
}

#[tokio::test]
async fn every_answer_tells_the_version_that_was_spoken() {
    let server = Server::start(&["--max-append-size", "100"]).await;
    for version in ALL {
        let told = version.to_string();
        let upload = begun(&server, version, 11).await;
        for request in [
            create(version, true).body("hello"),
            create(version, true).body(vec![7; 101]),
            patch(version, &upload, 0, Some(false)).body("hello"),
            patch(version, &upload, 9, Some(false)).body("hello"),
            rufh::head(&upload).interop(version),
            rufh::get(&upload).interop(version),
            rufh::delete(&upload).interop(version),
            rufh::head(&upload).interop(version),
        ] {
            let answer = server.send(request).await;
            answer.expect_header("Upload-Draft-Interop-Version", &told);
        }
    }
}

#[tokio::test]
async fn a_version_that_is_not_known_is_served_as_the_newest_without_104() {
    let server = Server::start(&[]).await;
    for version in ["0", "2", "10", "99", "-1", "x", "9.0", "?1", ""] {
        let create = Req::new("POST", "/files")
            .header("Upload-Draft-Interop-Version", version)
            .header("Upload-Complete", MORE)
            .header("Upload-Length", "11")
            .body("hello");
        let answer = server.send(create).await.expect(201).expect_open(5);
        assert!(answer.interim.is_empty(), "{answer}");
        let answer = answer.expect_no_header("Upload-Draft-Interop-Version");
        let upload = Upload::created(&answer);
        let more = rufh::patch(&upload, 5, MORE).body(" wo");
        let more = more.header("Upload-Draft-Interop-Version", version);
        let answer = server.send(more).await.expect(204).expect_open(8);
        answer.expect_no_header("Upload-Draft-Interop-Version");
        server
            .expect_draft_resumable(&upload, 8, b"hello world")
            .await;
    }
}

#[tokio::test]
async fn a_newer_version_is_spoken_once_the_configuration_says_so() {
    let server = Server::start(&["--max-interop-version", "12"]).await;
    for (version, spoken) in [(10, true), (12, true), (13, false)] {
        let create = rufh::create(LAST).interop(version).body("hello");
        let answer = server.send(create).await.expect(201);
        let number = spoken.then(|| version.to_string());
        let told = answer.header("Upload-Draft-Interop-Version");
        assert_eq!(told, number.as_deref(), "{answer}");
        assert_eq!(answer.interim.len(), usize::from(spoken), "{answer}");
        if let Some(interim) = answer.interim.first() {
            let told = interim.header("Upload-Draft-Interop-Version");
            assert_eq!(told, number.as_deref(), "{answer}");
        }
    }
}

#[tokio::test]
async fn v3_an_append_that_says_nothing_is_the_last_one() {
    let server = Server::start(&[]).await;
    let upload = Upload::created(&server.send(create(3, false)).await.expect(201));
    let more = patch(3, &upload, 0, Some(false)).body("hello ");
    server.send(more).await.expect(201);
    let last = patch(3, &upload, 6, None).body("world");
    let answer = server.send(last).await.expect(201).expect_offset(11);
    expect_completeness(answer, 3, true);
    assert_eq!(server.download(&upload).await, b"hello world");
}

#[tokio::test]
async fn v3_the_field_of_later_versions_says_nothing() {
    let server = Server::start(&[]).await;
    let create = Req::new("POST", "/files").interop(3);
    let create = create.header("Upload-Complete", LAST).body("hello");
    let answer = server.send(create).await;
    answer.expect_slug(400, "validation-failed");
    let newer = Req::new("POST", "/files").header("Upload-Incomplete", "?0");
    let answer = server.send(newer.body("hello")).await;
    answer.expect_slug(400, "validation-failed");
}

#[tokio::test]
async fn v4_to_v6_an_append_that_says_nothing_is_the_last_one_at_the_length_it_tells() {
    let server = Server::start(&[]).await;
    for version in [4, 5, 6] {
        let upload = Upload::created(&server.send(create(version, false)).await.expect(201));
        let untold = patch(version, &upload, 0, None).body("hello ");
        let answer = server.send(untold).await;
        answer.expect_slug(400, "validation-failed");
        let more = patch(version, &upload, 0, Some(false)).body("hello ");
        server.send(more).await.expect(201);
        let short = patch(version, &upload, 6, None).header("Upload-Length", "12");
        let answer = server.send(short.body("world")).await;
        answer.expect_slug(400, "validation-failed");
        let last = patch(version, &upload, 6, None).header("Upload-Length", "11");
        let answer = server.send(last.body("world")).await.expect(201);
        answer.expect_complete(b"hello world");
    }
}

#[tokio::test]
async fn v7_to_v9_an_append_that_says_nothing_is_400() {
    let server = Server::start(&[]).await;
    for version in [7, 8, 9] {
        let upload = begun(&server, version, 5).await;
        let last = patch(version, &upload, 0, None).header("Upload-Length", "5");
        let answer = server.send(last.body("hello")).await;
        answer.expect_slug(400, "validation-failed");
        server.expect_draft_resumable(&upload, 0, b"hello").await;
    }
}

#[tokio::test]
async fn r45_up_to_v5_an_append_may_have_any_media_type() {
    let server = Server::start(&[]).await;
    for version in ALL {
        let upload = begun(&server, version, 11).await;
        let odd = patch(version, &upload, 0, Some(false)).with("Content-Type", "text/plain");
        let bare = patch(version, &upload, 0, Some(false)).without("Content-Type");
        for wrong in [odd.body(""), bare.body("hello")] {
            let answer = server.send(wrong).await;
            match version {
                3..=5 => drop(answer.expect(201)),
                _ => drop(answer.expect_slug(415, "invalid-content-type")),
            }
        }
    }
}

#[tokio::test]
async fn r33_up_to_v6_a_look_with_the_fields_of_an_append_is_400() {
    let server = Server::start(&[]).await;
    for version in ALL {
        let upload = begun(&server, version, 5).await;
        let (name, value) = completeness(version, false);
        for (name, value) in [("Upload-Offset", "0"), (name, value)] {
            let head = rufh::head(&upload).interop(version);
            let answer = server.send(head.header(name, value)).await;
            answer.expect(if version <= 6 { 400 } else { 204 });
        }
        let delete = rufh::delete(&upload).interop(version);
        let answer = server.send(delete.header("Upload-Offset", "0")).await;
        match version {
            ..=6 => drop(answer.expect_slug(400, "validation-failed")),
            _ => drop(answer.expect(204)),
        }
    }
}

#[tokio::test]
async fn r46_up_to_v6_content_past_the_length_is_cut_there() {
    let server = Server::start(&[]).await;
    for version in [3, 4, 5, 6] {
        let upload = begun(&server, version, 5).await;
        let declared = patch(version, &upload, 0, Some(false)).body("hello!");
        let answer = server.send(declared).await;
        let answer = answer.expect_slug(400, "past-length").expect_offset(0);
        expect_completeness(answer, version, false);
        let chunked = patch(version, &upload, 0, Some(false)).chunked("hello and more");
        let answer = server.send(chunked).await;
        let answer = answer.expect_slug(400, "past-length").expect_offset(5);
        // All of it is there.
        expect_completeness(answer, version, true);
        assert_eq!(server.download(&upload).await, b"hello");
    }
}

#[tokio::test]
async fn r46_from_v7_on_content_past_the_length_is_the_end_of_the_upload() {
    let server = Server::start(&[]).await;
    for version in [7, 8, 9] {
        let upload = begun(&server, version, 5).await;
        let patch = patch(version, &upload, 0, Some(false)).body("hello!");
        let answer = server.send(patch).await.expect_slug(400, "past-length");
        expect_completeness(answer, version, false);
        server
            .expect_draft_gone(&upload, 410, "upload-failed")
            .await;
    }
}

#[tokio::test]
async fn v6_the_lifetime_has_two_names() {
    let server = Server::start(&[]).await;
    for version in ALL {
        let create = create(version, false);
        let answer = server.send(create).await.expect(201);
        let upload = Upload::created(&answer);
        let head = server.send(rufh::head(&upload).interop(version)).await;
        for answer in [answer, head] {
            let (age, expires) = (answer.limit("max-age"), answer.limit("expires"));
            assert!(age.is_some(), "{answer}");
            let wanted = age.filter(|_| version == 6);
            assert_eq!(expires, wanted, "{answer}");
        }
    }
}

#[tokio::test]
async fn a_version_may_change_from_request_to_request() {
    let server = Server::start(&[]).await;
    let upload = begun(&server, 3, 11).await;
    let more = patch(6, &upload, 0, Some(false)).body("hel");
    server.send(more).await.expect(201);
    let more = patch(9, &upload, 3, Some(false)).body("lo");
    server.send(more).await.expect(204);
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}
