//! Rows R40 to R53: append.

use crate::support::rufh::{self, LAST, MORE};
use crate::support::server::{Server, files_in};
use crate::support::tus::Upload;
use crate::support::wire::{Answer, Req, chunk, problem_type};
use crate::support::{PATIENCE, content, eventually};

/// Checks a refusal after which the upload is as it was.
#[track_caller]
fn expect_refused(answer: Answer, status: u16, slug: &str, offset: u64) -> Answer {
    answer.expect_slug(status, slug).expect_open(offset)
}

#[tokio::test]
async fn r40_an_append_after_which_more_follows_is_204_with_the_offset() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(11).await;
    let answer = server.send(rufh::patch(&upload, 0, MORE).body("he")).await;
    let answer = answer.expect(204).expect_open(2);
    answer.expect_header("Upload-Length", "11");
    let answer = server
        .send(rufh::patch(&upload, 2, MORE).chunked("llo"))
        .await;
    answer.expect(204).expect_open(5);
    // Without content it changes nothing.
    let answer = server.send(rufh::patch(&upload, 5, MORE)).await;
    answer.expect(204).expect_open(5);
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r41_the_last_append_is_201_and_complete() {
    let server = Server::start(&[]).await;
    for known in [true, false] {
        let upload = match known {
            true => server.create_draft(11).await,
            false => server.create_open_draft().await,
        };
        server.append_draft(&upload, 0, b"hello ").await;
        let answer = server
            .send(rufh::patch(&upload, 6, LAST).body("world"))
            .await;
        answer
            .expect(201)
            .expect_complete(b"hello world")
            .expect_no_header("Location");
        assert_eq!(server.download(&upload).await, b"hello world");
    }
    assert_eq!(server.uploads("completed").await.len(), 2);
}

#[tokio::test]
async fn r42_a_last_append_without_content_completes_what_is_there() {
    let server = Server::start(&[]).await;
    for framed in [true, false] {
        let upload = server.create_open_draft().await;
        server.append_draft(&upload, 0, b"hello").await;
        let last = rufh::patch(&upload, 5, LAST);
        let last = if framed {
            last.body("")
        } else {
            last.chunked("")
        };
        let answer = server.send(last).await;
        answer.expect(201).expect_complete(b"hello");
        assert_eq!(server.download(&upload).await, b"hello");
    }
}

#[tokio::test]
async fn r43_a_wrong_offset_is_409_with_the_true_one_and_changes_nothing() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(11).await;
    server.append_draft(&upload, 0, b"hello").await;
    for (offset, complete) in [(0, MORE), (4, LAST), (6, MORE), (11, LAST), (99, MORE)] {
        let patch = rufh::patch(&upload, offset, complete).body("X");
        let answer = server.send(patch).await;
        let problem = expect_refused(answer, 409, "offset-mismatch", 5).json();
        assert_eq!(
            problem["type"],
            "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"
        );
        assert_eq!(problem["expected-offset"], 5);
        assert_eq!(problem["provided-offset"], offset);
    }
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r43_a_creation_that_did_not_come_through_is_409_when_it_is_gone_on_with() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    let answer = server.send(rufh::patch(&upload, 3, LAST).body("lo")).await;
    expect_refused(answer, 409, "offset-mismatch", 0);
    server.expect_draft_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn r44_an_append_without_offset_or_completeness_is_400() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    let patch = || rufh::patch(&upload, 0, MORE).body("hello");
    let no_offset = patch().without("Upload-Offset");
    let answer = server.send(no_offset).await;
    answer
        .expect_slug(400, "missing-offset")
        .field("Upload-Limit");
    for wrong in [
        "-1",
        "+0",
        "0.0",
        "?0",
        "\"0\"",
        "0, 0",
        "0000000000000000",
        "",
    ] {
        let answer = server.send(patch().with("Upload-Offset", wrong)).await;
        answer.expect_slug(400, "missing-offset");
    }
    let untold = patch().without("Upload-Complete");
    server
        .send(untold)
        .await
        .expect_slug(400, "validation-failed");
    for wrong in ["true", "1", "?2", ""] {
        let answer = server.send(patch().with("Upload-Complete", wrong)).await;
        answer.expect_slug(400, "validation-failed");
    }
    let answer = server.send(patch().header("Upload-Complete", MORE)).await;
    answer.expect_slug(400, "validation-failed");
    // Blanks around it and parameters behind it are part of the syntax.
    let odd = patch().with("Upload-Offset", "  00;a=1").body("he");
    server.send(odd).await.expect(204).expect_open(2);
    server.expect_draft_resumable(&upload, 2, b"hello").await;
}

#[tokio::test]
async fn r45_another_media_type_is_415_and_names_the_right_one() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    let patch = || rufh::patch(&upload, 0, MORE).body("hello");
    for wrong in [
        patch().without("Content-Type"),
        patch().with("Content-Type", "application/octet-stream"),
        patch().with("Content-Type", "application/offset+octet-stream"),
    ] {
        let answer = server.send(wrong).await;
        let answer = answer.expect_slug(415, "invalid-content-type");
        answer
            .expect_header("Accept-Patch", rufh::PARTIAL_UPLOAD)
            .expect_header("Upload-Complete", MORE)
            .field("Upload-Limit");
    }
    let odd = patch().with("Content-Type", "Application/Partial-Upload; a=b");
    server.send(odd.body("he")).await.expect(204);
    server.expect_draft_resumable(&upload, 2, b"hello").await;
}

#[tokio::test]
async fn r46_content_past_the_length_is_400_and_the_end_of_the_upload() {
    let server = Server::start(&[]).await;
    let long = |upload: &Upload, complete| rufh::patch(upload, 2, complete);
    for chunked in [false, true] {
        let upload = server.create_draft(5).await;
        server.append_draft(&upload, 0, b"he").await;
        let patch = match chunked {
            false => long(&upload, MORE).body("llo!"),
            true => long(&upload, MORE).chunked("llo and a good deal more"),
        };
        let answer = server.send(patch).await.expect_slug(400, "past-length");
        let answer = answer.expect_header("Upload-Complete", MORE);
        assert_eq!(answer.json()["length"], 5, "{answer}");
        server
            .expect_draft_gone(&upload, 410, "upload-failed")
            .await;
    }
    let upload = server.create_draft(5).await;
    server.append_draft(&upload, 0, b"he").await;
    let answer = server.send(long(&upload, LAST).chunked("llo!")).await;
    answer.expect_slug(400, "past-length");
    server
        .expect_draft_gone(&upload, 410, "upload-failed")
        .await;
}

#[tokio::test]
async fn r46_an_endless_content_is_stopped_at_the_length() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    let mut conn = server.connect().await;
    conn.send_head(&rufh::patch(&upload, 0, LAST).chunked(""))
        .await;
    conn.send(&chunk(b"hello")).await;
    conn.send(&chunk(b" more")).await;
    // The content has not ended, and never will: the answer does not wait for it.
    let answer = conn.answer().await.expect_slug(400, "past-length");
    answer.expect_header("Connection", "close");
    server
        .expect_draft_gone(&upload, 410, "upload-failed")
        .await;
}

#[tokio::test]
async fn r47_at_its_length_an_upload_is_not_complete_before_its_sender_says_so() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    server.append_draft(&upload, 0, b"hello").await;
    assert_eq!(server.uploads("completed").await.len(), 0);
    // Nor does a restart make it so.
    server.kill9().await;
    let mut server = server;
    server.restart(&[]).await;
    server.expect_draft_resumable(&upload, 5, b"hello").await;
}

#[tokio::test]
async fn r48_another_length_is_400_and_changes_nothing() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(11).await;
    server.append_draft(&upload, 0, b"hello").await;
    let other = |complete| {
        let patch = rufh::patch(&upload, 5, complete);
        patch.header("Upload-Length", "12").body(" world")
    };
    for wrong in [
        other(MORE),
        other(LAST),
        // It ends before the length, and says that this is all; or behind it.
        rufh::patch(&upload, 5, LAST).body(" wor"),
        rufh::patch(&upload, 5, LAST),
        rufh::patch(&upload, 5, LAST).body(" world!"),
    ] {
        let answer = server.send(wrong).await;
        let problem = expect_refused(answer, 400, "length-conflict", 5).json();
        assert_eq!(problem["type"], problem_type("length-conflict"));
        assert_eq!(problem["length"], 11);
    }
    let same = rufh::patch(&upload, 5, MORE).header("Upload-Length", "11");
    server.send(same).await.expect(204).expect_open(5);
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r48_a_chunked_end_before_the_length_is_400_and_not_complete() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(11).await;
    let short = rufh::patch(&upload, 0, LAST).chunked("hello");
    let answer = server.send(short).await.expect_slug(400, "length-conflict");
    answer.expect_open(5);
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r49_the_length_may_come_with_an_append() {
    let server = Server::start(&[]).await;
    let upload = server.create_open_draft().await;
    let told = rufh::patch(&upload, 0, MORE).header("Upload-Length", "11");
    let answer = server.send(told.body("hello")).await.expect(204);
    answer.expect_open(5).expect_header("Upload-Length", "11");
    let head = server.send(rufh::head(&upload)).await.expect(204);
    head.expect_header("Upload-Length", "11");
    let other = rufh::patch(&upload, 5, MORE).header("Upload-Length", "12");
    let answer = server.send(other).await;
    expect_refused(answer, 400, "length-conflict", 5);
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
    let below = server.create_open_draft().await;
    server.append_draft(&below, 0, b"hello").await;
    let short = rufh::patch(&below, 5, MORE).header("Upload-Length", "4");
    let answer = server.send(short).await;
    expect_refused(answer, 400, "length-below-offset", 5);
    server
        .expect_draft_resumable(&below, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r49_the_length_is_known_from_the_last_content_though_it_breaks_off() {
    let server = Server::start(&[]).await;
    let upload = server.create_open_draft().await;
    server.append_draft(&upload, 0, b"hel").await;
    let mut conn = server.connect().await;
    conn.send_head_and_wait(rufh::patch(&upload, 3, LAST).declare(8))
        .await;
    conn.send(b"lo").await;
    server.quiesce().await;
    drop(conn);
    let head = server.send(rufh::head(&upload)).await.expect(204);
    head.expect_open(5).expect_header("Upload-Length", "11");
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r49_the_length_is_counted_where_nobody_tells_it() {
    let server = Server::start(&[]).await;
    let upload = server.create_open_draft().await;
    server.append_draft(&upload, 0, b"hello ").await;
    let last = rufh::patch(&upload, 6, LAST).chunked("world");
    let answer = server.send(last).await.expect(201);
    answer.expect_complete(b"hello world");
}

#[tokio::test]
async fn r50_the_last_append_once_more_is_answered_as_the_first_time() {
    let mut server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    let last = rufh::patch(&upload, 0, LAST).body("hello");
    let first = server
        .send(last)
        .await
        .expect(201)
        .expect_complete(b"hello");
    let fields = |answer: &Answer| {
        let changing = ["date", "x-request-id"];
        let mut fields = answer.headers.clone();
        fields.retain(|(name, _)| !changing.contains(&name.to_ascii_lowercase().as_str()));
        fields.sort();
        fields
    };
    for restarted in [false, true] {
        if restarted {
            server.kill9().await;
            server.restart(&[]).await;
        }
        let replay = || rufh::patch(&upload, 5, LAST);
        for replay in [
            replay(),
            replay().chunked(""),
            replay().header("Upload-Length", "5"),
        ] {
            let again = server.send(replay).await.expect(201);
            assert_eq!(fields(&again), fields(&first));
        }
    }
    assert_eq!(server.download(&upload).await, b"hello");
}

#[tokio::test]
async fn r50_any_other_append_to_a_complete_upload_is_400_and_changes_nothing() {
    let server = Server::start(&[]).await;
    let upload = server.complete_draft(b"hello").await;
    for wrong in [
        rufh::patch(&upload, 5, MORE),
        rufh::patch(&upload, 5, MORE).body("!"),
        rufh::patch(&upload, 5, LAST).body("!"),
        rufh::patch(&upload, 0, LAST),
        rufh::patch(&upload, 0, LAST).body("hello"),
        rufh::patch(&upload, 0, MORE).body("hello"),
        rufh::patch(&upload, 9, LAST),
    ] {
        let answer = server.send(wrong).await;
        answer
            .expect_slug(400, "upload-completed")
            .expect_complete(b"hello");
    }
    let chunked = rufh::patch(&upload, 5, LAST).chunked("!");
    let answer = server.send(chunked).await;
    assert_eq!(answer.status, 400, "{answer}");
    let head = server.send(rufh::head(&upload)).await.expect(204);
    head.expect_complete(b"hello");
    assert_eq!(server.download(&upload).await, b"hello");
}

#[tokio::test]
async fn r52_lost_bytes_end_the_upload_and_no_offset_is_taken_back() {
    let mut server = Server::start(&[]).await;
    let upload = server.create_draft(11).await;
    server.append_draft(&upload, 0, b"hello").await;
    server.kill9().await;
    for path in files_in(&server.data_dir().join("blobs")) {
        if path.to_string_lossy().contains(upload.id()) {
            let blob = std::fs::File::options().write(true).open(&path);
            let blob = blob.expect("open the blob");
            blob.set_len(2).expect("cut the blob");
        }
    }
    server.restart(&[]).await;
    let head = server.send(rufh::head(&upload)).await;
    assert!(head.offset().is_none_or(|offset| offset == 5), "{head}");
    let answer = server
        .send(rufh::patch(&upload, 5, LAST).body(" world"))
        .await;
    let answer = answer.expect_slug(410, "upload-failed");
    answer.expect_no_header("Upload-Offset");
    server
        .expect_draft_gone(&upload, 410, "upload-failed")
        .await;
}

#[tokio::test]
async fn r53_an_append_that_breaks_off_keeps_what_came_and_is_not_complete() {
    let server = Server::start(&[]).await;
    let whole = content(53, 100_000);
    for resets in [false, true] {
        let upload = server.create_draft(whole.len() as u64).await;
        server.append_draft(&upload, 0, &whole[..10_000]).await;
        let mut conn = server.connect().await;
        conn.send_head_and_wait(rufh::patch(&upload, 10_000, LAST).declare(90_000))
            .await;
        conn.send(&whole[10_000..50_000]).await;
        server.quiesce().await;
        match resets {
            true => conn.reset(),
            false => drop(conn),
        }
        server.expect_draft_resumable(&upload, 50_000, &whole).await;
    }
}

/// Everything has come but the end of the coding: the sender has not said that it is all.
#[tokio::test]
async fn r53_a_chunked_append_without_its_last_chunk_is_not_complete() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    let mut conn = server.connect().await;
    conn.send_head_and_wait(rufh::patch(&upload, 0, LAST).chunked(""))
        .await;
    conn.send(&chunk(b"hello")).await;
    server.quiesce().await;
    conn.reset();
    server.expect_draft_resumable(&upload, 5, b"hello").await;
}

/// A client comes back after 5xx, unless it says that all is over.
#[tokio::test]
async fn r53_a_shutdown_in_the_last_append_is_503_and_keeps_what_came() {
    let mut server = Server::start(&["--checkpoint-interval", "1h"]).await;
    let upload = server.create_draft(11).await;
    let mut conn = server.connect().await;
    let last = rufh::patch(&upload, 0, LAST).declare(11);
    conn.send_head_and_wait(last).await;
    conn.send(b"hello").await;
    server.quiesce().await;
    server.sigterm();
    let answer = conn.answer().await.expect_slug(503, "shutting-down");
    answer.expect_open(5).field("Retry-After");
    drop(conn);
    let status = server.exited_within(PATIENCE).await;
    assert!(status.success(), "{status}");
    server.restart(&[]).await;
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r20_an_append_over_the_limit_of_an_upload_is_413_and_changes_nothing() {
    let server = Server::start(&["--max-upload-size", "10"]).await;
    let upload = server.create_open_draft().await;
    server.append_draft(&upload, 0, b"hello").await;
    for wrong in [
        rufh::patch(&upload, 5, MORE).body(" world"),
        rufh::patch(&upload, 5, LAST).body(" world"),
        rufh::patch(&upload, 5, MORE).header("Upload-Length", "11"),
    ] {
        let answer = server.send(wrong).await;
        let answer = expect_refused(answer, 413, "upload-too-large", 5);
        assert_eq!(answer.limit("max-size"), Some(10), "{answer}");
    }
    server
        .expect_draft_resumable(&upload, 5, b"hello worl")
        .await;
}

#[tokio::test]
async fn r21_an_append_over_the_limit_of_a_request_is_413_before_the_length_is_looked_at() {
    let server = Server::start(&["--max-append-size", "4"]).await;
    let upload = server.create_draft(6).await;
    server.append_draft(&upload, 0, b"hell").await;
    for complete in [MORE, LAST] {
        let patch = rufh::patch(&upload, 4, complete).body("o and more");
        let answer = server.send(patch).await;
        let answer = expect_refused(answer, 413, "upload-too-large", 4);
        assert_eq!(answer.limit("max-append-size"), Some(4), "{answer}");
    }
    server.expect_draft_resumable(&upload, 4, b"hello!").await;
}

#[tokio::test]
async fn r21_chunked_content_over_the_limit_of_a_request_is_kept_up_to_it() {
    let server = Server::start(&["--max-append-size", "4"]).await;
    let upload = server.create_draft(6).await;
    let patch = rufh::patch(&upload, 0, MORE).chunked("hello!");
    let answer = server.send(patch).await;
    expect_refused(answer, 413, "upload-too-large", 4);
    server.expect_draft_resumable(&upload, 4, b"hello!").await;
}

#[tokio::test]
async fn r22_an_append_that_is_too_small_is_400_unless_it_is_empty_or_the_last() {
    let server = Server::start(&["--min-append-size", "4"]).await;
    let upload = server.create_draft(11).await;
    let small = rufh::patch(&upload, 0, MORE).body("hel");
    let answer = server.send(small).await;
    let answer = expect_refused(answer, 400, "append-too-small", 0);
    assert_eq!(answer.limit("min-append-size"), Some(4), "{answer}");
    assert_eq!(answer.json()["limit"], 4, "{answer}");
    let empty = rufh::patch(&upload, 0, MORE);
    server.send(empty).await.expect(204).expect_open(0);
    server.append_draft(&upload, 0, b"hello wo").await;
    server
        .expect_draft_resumable(&upload, 8, b"hello world")
        .await;
}

#[tokio::test]
async fn r74_offsets_count_what_is_sent_after_dechunking() {
    let server = Server::start(&[]).await;
    let upload = server.create_open_draft().await;
    let answer = server
        .send(rufh::patch(&upload, 0, MORE).chunked("hello"))
        .await;
    answer.expect(204).expect_open(5);
    // A coding of this request alone would change the bytes that are counted.
    let coded = rufh::patch(&upload, 5, LAST).header("Content-Encoding", "gzip");
    let answer = server.send(coded.body("x")).await;
    answer.expect_slug(415, "unsupported-content-encoding");
    server
        .expect_draft_resumable(&upload, 5, b"hello world")
        .await;
}

#[tokio::test]
async fn r40_a_post_may_stand_for_a_patch() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    let post = Req::new("POST", &upload.path)
        .header("X-HTTP-Method-Override", "PATCH")
        .header("Content-Type", rufh::PARTIAL_UPLOAD)
        .header("Upload-Complete", MORE)
        .header("Upload-Offset", "0");
    let answer = server.send(post.body("he")).await.expect(204);
    answer.expect_open(2);
    server.expect_draft_resumable(&upload, 2, b"hello").await;
}

#[tokio::test]
async fn r46_the_bytes_of_an_invalidated_upload_are_removed() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    let patch = rufh::patch(&upload, 0, MORE).body("hello!");
    server.send(patch).await.expect_slug(400, "past-length");
    eventually("its blob is gone", async || {
        let blobs = files_in(&server.data_dir().join("blobs"));
        let left = blobs
            .iter()
            .filter(|path| path.to_string_lossy().contains(upload.id()));
        (left.count() == 0).then_some(())
    })
    .await;
}
