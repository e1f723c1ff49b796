//! Rows R10 to R28: creation.

use crate::support::rufh::{self, LAST, MORE};
use crate::support::server::Server;
use crate::support::tus::{self, Upload};
use crate::support::wire::{Answer, Req};
use crate::support::{assert_same_bytes, content, eventually};

/// Checks that no request so far has left an upload behind.
async fn expect_nothing_created(server: &Server) {
    for state in ["uploading", "completed", "failed", "cancelled"] {
        let found = server.uploads(state).await;
        assert!(found.is_empty(), "{found:?}");
    }
}

/// Checks a creation that was refused before anything was done.
#[track_caller]
fn expect_refused(answer: Answer, status: u16, slug: &str) -> Answer {
    let answer = answer
        .expect_slug(status, slug)
        .expect_header("Upload-Complete", MORE)
        .expect_no_header("Location")
        .expect_no_header("Upload-Offset");
    answer.field("Upload-Limit");
    answer
}

#[tokio::test]
async fn r10_a_request_without_a_word_of_any_dialect_makes_nothing() {
    let server = Server::start(&[]).await;
    let plain = Req::new("POST", "/files").body("hello");
    server.send(plain).await.expect_problem(412);
    let put = Req::new("PUT", "/files").body("hello");
    assert!(server.send(put).await.status >= 400);
    expect_nothing_created(&server).await;
}

#[tokio::test]
async fn r12_every_answer_tells_the_same_location() {
    let server = Server::start(&[]).await;
    for (complete, body) in [(MORE, ""), (MORE, "he"), (LAST, "hello"), (LAST, "")] {
        let create = rufh::create(complete).interop(rufh::NEWEST).body(body);
        let answer = server.send(create).await.expect(201);
        let upload = Upload::created(&answer);
        for interim in &answer.interim {
            let told = interim.header("Location");
            assert_eq!(told, Some(upload.location.as_str()), "{answer}");
        }
    }
}

#[tokio::test]
async fn r14_a_creation_with_the_first_bytes_is_201_with_all_fields() {
    let server = Server::start(&[]).await;
    for (method, target) in [
        ("POST", "/files"),
        ("POST", "/files/"),
        ("PUT", "/files"),
        ("POST", "/api/projects/default/uploads"),
    ] {
        let create = Req::new(method, target).header("Upload-Complete", MORE);
        let answer = server.send(create.body("hello ")).await.expect(201);
        let upload = Upload::created(&answer);
        // Nobody has said how long it will be.
        answer.expect_open(6).expect_no_header("Upload-Length");
        server
            .expect_draft_resumable(&upload, 6, b"hello world")
            .await;
    }
}

#[tokio::test]
async fn r14_a_chunked_creation_is_the_same() {
    let server = Server::start(&[]).await;
    let answer = server.send(rufh::create(MORE).chunked("hello ")).await;
    let upload = Upload::created(&answer.expect(201).expect_open(6));
    server
        .expect_draft_resumable(&upload, 6, b"hello world")
        .await;
    let answer = server.send(rufh::create(LAST).chunked("hello")).await;
    answer.expect(201).expect_complete(b"hello");
}

#[tokio::test]
async fn r15_a_creation_without_content_is_exempt_from_the_least_append() {
    let server = Server::start(&["--min-append-size", "1Ki"]).await;
    for create in [
        rufh::create(MORE),
        rufh::create(MORE).chunked(""),
        rufh::create_of(5),
    ] {
        let answer = server.send(create).await.expect(201).expect_open(0);
        let upload = Upload::created(&answer);
        server.expect_draft_resumable(&upload, 0, b"hello").await;
    }
}

#[tokio::test]
async fn r16_a_creation_with_everything_is_201_and_complete() {
    let server = Server::start(&[]).await;
    for create in [
        rufh::create(LAST),
        rufh::create(LAST).header("Upload-Length", "5"),
        Req::new("PUT", "/files").header("Upload-Complete", LAST),
    ] {
        let answer = server.send(create.body("hello")).await.expect(201);
        let upload = Upload::created(&answer.expect_complete(b"hello"));
        assert_eq!(server.download(&upload).await, b"hello");
    }
    assert_eq!(server.uploads("completed").await.len(), 3);
}

#[tokio::test]
async fn r17_a_creation_that_says_it_is_all_and_is_empty_is_complete() {
    let server = Server::start(&[]).await;
    for create in [
        rufh::create(LAST),
        rufh::create(LAST).chunked(""),
        rufh::create(LAST).header("Upload-Length", "0"),
    ] {
        let answer = server.send(create).await.expect(201).expect_complete(b"");
        assert_eq!(server.download(&Upload::created(&answer)).await, b"");
    }
}

/// Trap 5: tus completes such an upload at once.
#[tokio::test]
async fn r17_an_upload_of_length_0_is_complete_when_its_sender_says_so() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(0).await;
    let head = server.send(rufh::head(&upload)).await.expect(204);
    head.expect_open(0).expect_header("Upload-Length", "0");
    server.expect_draft_resumable(&upload, 0, b"").await;
}

#[tokio::test]
async fn r18_the_length_is_known_from_the_field_or_from_the_last_content() {
    let server = Server::start(&[]).await;
    let told = server.send(rufh::create_of(11).body("hello")).await;
    let told = Upload::created(&told.expect(201).expect_header("Upload-Length", "11"));
    let head = server.send(rufh::head(&told)).await.expect(204);
    head.expect_open(5).expect_header("Upload-Length", "11");

    // The only sign of it is what the request announced and did not send.
    let named = Upload::unknown();
    let create = rufh::create(LAST).header("Upload-Id", named.id());
    let mut conn = server.connect().await;
    conn.send_head_and_wait(create.declare(11)).await;
    conn.send(b"hello").await;
    server.quiesce().await;
    drop(conn);
    let head = server.send(rufh::head(&named)).await.expect(204);
    head.expect_open(5).expect_header("Upload-Length", "11");
    server
        .expect_draft_resumable(&named, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r19_a_last_content_that_is_not_the_length_is_400_and_makes_nothing() {
    let server = Server::start(&[]).await;
    for length in ["4", "6", "0"] {
        let create = rufh::create(LAST).header("Upload-Length", length);
        let answer = server.send(create.body("hello")).await;
        let answer = expect_refused(answer, 400, "length-conflict");
        assert_eq!(answer.json()["title"], answer.json()["error"]);
    }
    // What is to follow is not too much yet, but this is.
    let create = rufh::create_of(4).body("hello");
    expect_refused(server.send(create).await, 400, "past-length");
    expect_nothing_created(&server).await;
}

#[tokio::test]
async fn r20_a_length_over_the_limit_is_413_and_tells_the_limit() {
    let server = Server::start(&["--max-upload-size", "10"]).await;
    for create in [
        rufh::create_of(11),
        rufh::create(LAST).header("Upload-Length", "11").body("x"),
        rufh::create(LAST).body("hello world"),
        rufh::create(MORE).body("hello world"),
    ] {
        let answer = server.send(create).await;
        let answer = expect_refused(answer, 413, "upload-too-large");
        assert_eq!(answer.limit("max-size"), Some(10), "{answer}");
    }
    expect_nothing_created(&server).await;
    let create = rufh::create(LAST).body("hello worl");
    server.send(create).await.expect(201);
}

/// Traps 9 and 10: both rules are broken, and the client can mend only the first.
#[tokio::test]
async fn r21_content_over_the_limit_of_a_request_is_413_before_the_length_is_looked_at() {
    let server = Server::start(&["--max-append-size", "4"]).await;
    for create in [
        rufh::create(LAST).body("hello"),
        rufh::create(MORE).body("hello"),
        rufh::create(LAST)
            .header("Upload-Length", "3")
            .body("hello"),
        rufh::create_of(3).body("hello"),
    ] {
        let answer = server.send(create).await;
        let answer = expect_refused(answer, 413, "upload-too-large");
        assert_eq!(answer.limit("max-append-size"), Some(4), "{answer}");
    }
    expect_nothing_created(&server).await;
    let conflict = rufh::create(LAST).header("Upload-Length", "5").body("hell");
    let answer = expect_refused(server.send(conflict).await, 400, "length-conflict");
    assert_eq!(answer.limit("max-append-size"), Some(4), "{answer}");
}

#[tokio::test]
async fn r22_a_first_content_that_is_too_small_is_400_and_tells_the_limit() {
    let server = Server::start(&["--min-append-size", "6"]).await;
    let answer = server.send(rufh::create(MORE).body("hello")).await;
    let answer = expect_refused(answer, 400, "append-too-small");
    assert_eq!(answer.limit("min-append-size"), Some(6), "{answer}");
    expect_nothing_created(&server).await;
    // The last one may be as small as it is.
    let answer = server.send(rufh::create(LAST).body("hello")).await;
    answer.expect(201).expect_complete(b"hello");
    let answer = server.send(rufh::create(MORE).body("hello ")).await;
    answer.expect(201).expect_open(6);
}

#[tokio::test]
async fn r23_a_creation_that_breaks_off_keeps_what_came_and_is_not_complete() {
    let server = Server::start(&[]).await;
    let whole = content(23, 100_000);
    for resets in [false, true] {
        let create = rufh::create(LAST).interop(rufh::NEWEST);
        let mut conn = server.connect().await;
        conn.send_head(&create.declare(whole.len() as u64)).await;
        let upload = Upload::created(&conn.next_interim().await);
        conn.send(&whole[..40_000]).await;
        server.quiesce().await;
        match resets {
            true => conn.reset(),
            false => drop(conn),
        }
        server.expect_draft_resumable(&upload, 40_000, &whole).await;
    }
}

#[tokio::test]
async fn r23_a_chunked_creation_that_breaks_off_is_not_complete() {
    let server = Server::start(&[]).await;
    let create = rufh::create(LAST).interop(rufh::NEWEST).chunked("");
    let mut conn = server.connect().await;
    conn.send_head(&create).await;
    let upload = Upload::created(&conn.next_interim().await);
    conn.send(b"5\r\nhello\r\n").await;
    server.quiesce().await;
    conn.half_close().await;
    // Somebody still listens, and is told that this was not all.
    let answer = conn.answer().await.expect_slug(400, "bad-request");
    answer.expect_open(5);
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r24_what_the_creation_says_of_the_content_comes_back_with_it() {
    let server = Server::start(&[]).await;
    let create = rufh::create(MORE)
        .header("Content-Type", "text/plain; charset=utf-8")
        .header("Content-Encoding", "gzip")
        .header("Content-Language", "de")
        .header(
            "Content-Disposition",
            "attachment; filename=\"x.txt\"; filename*=UTF-8''na%C3%AFve.txt",
        );
    let upload = Upload::created(&server.send(create.body("not ")).await.expect(201));
    let last = rufh::patch(&upload, 4, LAST).body("gzip");
    server.send(last).await.expect(201);
    let answer = server.send(rufh::get(&upload)).await.expect(200);
    assert_eq!(answer.body, b"not gzip");
    let disposition = answer.field("Content-Disposition");
    assert!(
        disposition.contains("filename*=UTF-8''na%C3%AFve.txt"),
        "{answer}"
    );
    answer
        .expect_header("Content-Type", "text/plain; charset=utf-8")
        .expect_header("Content-Encoding", "gzip")
        .expect_header("Content-Language", "de");
    let listed = server.uploads("completed").await;
    assert_eq!(listed[0]["filename"], "naïve.txt", "{listed:?}");
}

#[tokio::test]
async fn r26_a_field_that_does_not_parse_is_absent() {
    let server = Server::start(&[]).await;
    for wrong in ["true", "1", "?2", "\"?1\"", "?1, ?1", "", "?1?1", "(?1)"] {
        let create = Req::new("POST", "/files").header("Upload-Complete", wrong);
        let answer = server.send(create.body("hello")).await;
        // Neither 412 nor 415: clients take those for something else.
        expect_refused(answer, 400, "validation-failed");
    }
    let twice = rufh::create(LAST).header("Upload-Complete", LAST);
    expect_refused(server.send(twice).await, 400, "validation-failed");
    let nothing = Req::new("POST", "/files").interop(rufh::NEWEST);
    let answer = server.send(nothing.body("hello")).await;
    expect_refused(answer, 400, "validation-failed");
    expect_nothing_created(&server).await;

    // Parameters are no mistake, and a length that is none does not count.
    let odd = Req::new("POST", "/files")
        .header("Upload-Complete", "?1;a=b")
        .header("Upload-Length", "-7");
    let answer = server.send(odd.body("hello")).await.expect(201);
    answer.expect_complete(b"hello");
    for absent in ["+5", "5.0", "1000000000000000", "\"5\"", "6, 6", ""] {
        let create = rufh::create(MORE).header("Upload-Length", absent);
        let answer = server.send(create).await.expect(201);
        answer.expect_no_header("Upload-Length");
    }
    let zeros = rufh::create(MORE).header("Upload-Length", "0005");
    let answer = server.send(zeros).await.expect(201);
    answer.expect_header("Upload-Length", "5");
}

#[tokio::test]
async fn r27_the_metadata_of_tus_are_taken_as_well() {
    let server = Server::start(&[]).await;
    let metadata = tus::metadata(&[("filename", b"a.txt"), ("filetype", b"text/plain")]);
    let create = rufh::create(LAST).header("Upload-Metadata", metadata);
    let answer = server.send(create.body("hello")).await.expect(201);
    let answer = server.send(rufh::get(&Upload::created(&answer))).await;
    let answer = answer
        .expect(200)
        .expect_header("Content-Type", "text/plain");
    let disposition = answer.field("Content-Disposition");
    assert!(disposition.contains("a.txt"), "{answer}");
}

#[tokio::test]
async fn r28_nothing_is_ever_redirected() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    let slashed = format!("{}/", upload.path);
    for request in [
        Req::new("POST", "/files/").header("Upload-Complete", MORE),
        Req::new("HEAD", &slashed),
        Req::new("GET", &slashed),
        Req::new("PATCH", &slashed)
            .header("Content-Type", rufh::PARTIAL_UPLOAD)
            .header("Upload-Complete", MORE)
            .header("Upload-Offset", "0"),
        Req::new("DELETE", &slashed),
    ] {
        let answer = server.send(request.body("")).await;
        assert!(matches!(answer.status, 201 | 204), "{answer}");
    }
}

/// The creation's answer is lost: the client still knows what it has made.
#[tokio::test]
async fn r14_a_client_may_name_its_upload_and_ask_again() {
    let server = Server::start(&[]).await;
    let named = Upload::unknown();
    let create = rufh::create_of(11)
        .header("Upload-Id", named.id())
        .body("hello");
    let made = server.send(create.clone()).await.expect(201).expect_open(5);
    let again = server.send(create.clone()).await.expect(200).expect_open(5);
    assert_eq!(again.header("Location"), made.header("Location"));
    let other = tus::create(11).header("Upload-Id", named.id());
    server.send(other).await.expect_slug(409, "id-taken");
    server
        .expect_draft_resumable(&named, 5, b"hello world")
        .await;
    let again = server.send(create).await.expect(200);
    again.expect_complete(b"hello world");
}

#[tokio::test]
async fn another_method_is_405_with_allow() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    for (method, target) in [
        ("PATCH", "/files"),
        ("DELETE", "/files"),
        ("PUT", &upload.path),
    ] {
        let wrong = Req::new(method, target).header("Upload-Complete", LAST);
        let answer = server.send(wrong.body("hello")).await;
        let answer = answer.expect_slug(405, "method-not-allowed");
        assert!(!answer.list("Allow").is_empty(), "{answer}");
    }
    server.expect_draft_resumable(&upload, 0, b"hello").await;
}

/// What was allowed at the beginning is looked at again while it comes in.
#[tokio::test]
async fn r20_r81_content_without_a_length_is_stopped_at_the_limit() {
    let server = Server::start(&["--max-upload-size", "10"]).await;
    let create = rufh::create(LAST).chunked("hello world and more");
    let answer = server.send(create).await;
    let answer = answer.expect_slug(413, "upload-too-large").expect_open(10);
    assert_eq!(answer.limit("max-size"), Some(10), "{answer}");
    let upload = Upload::created(&answer);
    // The first ten bytes are a legal upload, should the client make do with them.
    server
        .expect_draft_resumable(&upload, 10, b"hello worl")
        .await;
}

#[tokio::test]
async fn r80_urls_are_random_and_tell_nothing() {
    let server = Server::start(&[]).await;
    let mut paths = Vec::new();
    for _ in 0..20 {
        // That it is a random UUID is checked with every creation.
        let create =
            rufh::create(LAST).header("Content-Disposition", "inline; filename=\"secret\"");
        let upload = Upload::created(&server.send(create).await.expect(201));
        assert!(!upload.path.contains("secret"), "{upload:?}");
        paths.push(upload.path);
    }
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 20);
}

#[tokio::test]
async fn r82_a_silent_sender_is_cut_off_with_503_and_its_bytes_are_kept() {
    let server = Server::start(&["--stall-timeout", "1s"]).await;
    let create = rufh::create(LAST).interop(rufh::NEWEST).declare(11);
    let mut conn = server.connect().await;
    conn.send_head(&create).await;
    let upload = Upload::created(&conn.next_interim().await);
    conn.send(b"hello").await;
    // A client tries again after 5xx, unless it says that all is over.
    let answer = conn.answer().await.expect_slug(503, "upload-stalled");
    answer.expect_open(5);
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r83_the_limit_of_a_request_does_not_bound_the_upload() {
    let server = Server::start(&["--max-append-size", "4"]).await;
    let upload = server.create_draft(11).await;
    let mut offset = 0;
    for piece in ["hell", "o wo"] {
        offset = server.append_draft(&upload, offset, piece.as_bytes()).await;
    }
    let long = rufh::patch(&upload, offset, MORE).chunked("rld and more");
    let answer = server.send(long).await;
    assert!(matches!(answer.status, 400 | 413), "{answer}");
}

#[tokio::test]
async fn r84_names_and_types_are_made_harmless() {
    let server = Server::start(&[]).await;
    let create = rufh::create(LAST)
        .header("Content-Type", "text/html")
        .header(
            "Content-Disposition",
            "inline; filename=\"../../etc/pass\\\"wd\"",
        );
    let upload = Upload::created(&server.send(create.body("<script>")).await.expect(201));
    let answer = server.send(rufh::get(&upload)).await.expect(200);
    let disposition = answer.field("Content-Disposition");
    assert!(disposition.starts_with("attachment"), "{answer}");
    assert!(!disposition.contains(".."), "{answer}");
    answer.expect_header("X-Content-Type-Options", "nosniff");
    let long = rufh::create(MORE).header("Content-Language", "x".repeat(9000));
    let answer = server.send(long).await;
    answer.expect_slug(431, "header-too-large");
    eventually("the server goes on", async || {
        (server.uploads("uploading").await.is_empty()).then_some(())
    })
    .await;
    let found = server.download(&upload).await;
    assert_same_bytes(&found, b"<script>", "the content is as it was");
}
