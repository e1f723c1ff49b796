//! Rows T1 to T24: the core protocol.

use crate::support::eventually;
use crate::support::server::Server;
use crate::support::tus::{self, Upload};
use crate::support::wire::{Req, chunk};

#[tokio::test]
async fn t1_every_answer_names_the_version() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let requests = [
        tus::create(5),
        tus::post(),
        tus::head(&upload),
        tus::head(&Upload::unknown()),
        tus::patch(&upload, 3),
        tus::patch(&upload, 0).without("Content-Type"),
        tus::patch(&upload, 0).body("hello"),
        tus::request("PUT", &upload.path).body(""),
        tus::request("HEAD", "/files/not-a-uuid"),
        tus::delete(&upload),
        tus::delete(&upload),
    ];
    for request in requests {
        let answer = server.send(request).await;
        answer
            .expect_header("Tus-Resumable", "1.0.0")
            .expect_header("X-Content-Type-Options", "nosniff");
    }
    let whole = server.complete(b"hello").await;
    for (status, request) in [
        (200, tus::get(&whole)),
        (206, tus::get(&whole).header("Range", "bytes=1-2")),
        (304, tus::get(&whole).header("If-None-Match", "*")),
        (416, tus::get(&whole).header("Range", "bytes=9-")),
    ] {
        let answer = server.send(request).await;
        answer
            .expect(status)
            .expect_header("Tus-Resumable", "1.0.0")
            .expect_header("X-Content-Type-Options", "nosniff");
    }
}

#[tokio::test]
async fn t2_another_version_is_412_and_has_no_effect() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    for version in ["0.2.2", "1.0", "2.0.0", "1.0.0, 0.2.2", ""] {
        let requests = [
            tus::create(5),
            tus::head(&upload),
            tus::patch(&upload, 0).body("hello"),
            tus::delete(&upload),
            // The version is looked at before the route: here the path would be a 404.
            tus::head(&Upload::unknown()),
        ];
        for request in requests {
            let answer = server
                .send(request.with("Tus-Resumable", version))
                .await
                .expect(412);
            answer
                .expect_header("Tus-Version", "1.0.0")
                .expect_no_header("Location");
        }
    }
    server.expect_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn t3_a_missing_version_is_412_on_post_patch_and_delete() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let requests = [
        tus::create(5),
        tus::patch(&upload, 0).body("hello"),
        tus::delete(&upload),
    ];
    for request in requests {
        let answer = server
            .send(request.without("Tus-Resumable"))
            .await
            .expect_problem(412);
        answer
            .expect_header("Tus-Version", "1.0.0")
            .expect_no_header("Location");
    }
    server.expect_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn t4_head_and_get_need_no_version() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let head = tus::head(&upload).without("Tus-Resumable");
    server
        .send(head.clone())
        .await
        .expect(200)
        .expect_offset(0)
        .expect_header("Upload-Length", "5");
    server.append(&upload, 0, b"hello").await;
    server.send(head).await.expect(200).expect_offset(5);
    assert_eq!(server.download(&upload).await, b"hello");
}

#[tokio::test]
async fn t5_options_tells_what_the_server_can_do() {
    const EXTENSIONS: &str = "creation,creation-with-upload,creation-defer-length,expiration,\
         checksum,checksum-trailer,termination,concatenation,concatenation-unfinished";
    let server = Server::start(&["--max-upload-size", "3Gi"]).await;
    let upload = server.create(5).await;
    for target in ["/files", "/files/", &upload.path] {
        let answer = server.send(tus::options(target)).await.expect(204);
        let answer = answer.expect_header("Tus-Version", "1.0.0");
        let answer = answer.expect_header("Tus-Resumable", "1.0.0");
        let answer = answer.expect_header("Tus-Max-Size", "3221225472");
        // Some clients split these lists at the commas and do not trim.
        let extensions = answer.field("Tus-Extension");
        assert!(
            !extensions.contains(' '),
            "spaces in Tus-Extension:\n{answer}"
        );
        let mut offered = extensions.split(',').collect::<Vec<_>>();
        let mut wanted = EXTENSIONS.split(',').collect::<Vec<_>>();
        offered.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(offered, wanted, "{answer}");
    }
}

#[tokio::test]
async fn t6_options_ignores_the_version() {
    let server = Server::start(&[]).await;
    for version in ["0.2.2", "nonsense", ""] {
        let request = tus::options("/files").header("Tus-Resumable", version);
        server
            .send(request)
            .await
            .expect(204)
            .expect_header("Tus-Version", "1.0.0");
    }
}

// T7, the method override, is a file of its own: override_.rs.

#[tokio::test]
async fn t8_head_tells_offset_and_length_and_is_not_stored() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    for (end, piece) in [(0, &b""[..]), (2, b"he"), (5, b"llo")] {
        server
            .append(&upload, end - piece.len() as u64, piece)
            .await;
        let answer = server
            .send(tus::head(&upload))
            .await
            .expect(200)
            .expect_offset(end);
        let answer = answer.expect_header("Upload-Length", "5");
        answer
            .expect_header("Cache-Control", "no-store")
            .expect_no_header("Upload-Defer-Length");
    }
}

#[tokio::test]
async fn t9_head_is_200_without_a_body() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let mut conn = server.connect().await;
    conn.exchange(&tus::head(&upload)).await.expect(200);
    // A body after the first answer would be taken for the second answer's head.
    conn.exchange(&tus::head(&upload)).await.expect(200);
}

#[tokio::test]
async fn t10_head_of_an_unknown_upload_has_no_offset() {
    let server = Server::start(&["--upload-expires-after", "1s"]).await;
    let expired = server.create(5).await;
    let cancelled = server.create(5).await;
    server.send(tus::delete(&cancelled)).await.expect(204);
    // tuspy resumes from any Upload-Offset that it sees, whatever the status.
    let unknown = server.send(tus::head(&Upload::unknown())).await.expect(404);
    unknown
        .expect_no_header("Upload-Offset")
        .expect_no_header("Upload-Length");
    server
        .send(tus::head(&cancelled))
        .await
        .expect(410)
        .expect_no_header("Upload-Offset");
    let gone = eventually("the upload expires", async || {
        Some(server.send(tus::head(&expired)).await).filter(|answer| answer.status != 200)
    });
    gone.await.expect(410).expect_no_header("Upload-Offset");
}

#[tokio::test]
async fn t11_another_content_type_is_415_and_changes_nothing() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let patch = tus::patch(&upload, 0).body("hello");
    server
        .send(patch.clone().without("Content-Type"))
        .await
        .expect_problem(415);
    for content_type in [
        "application/octet-stream",
        "text/plain",
        "application/offset",
        "",
    ] {
        server
            .send(patch.clone().with("Content-Type", content_type))
            .await
            .expect_problem(415);
    }
    assert_eq!(server.offset(&upload).await, 0);
    // The media type has no case, and its parameters say nothing.
    let patch = patch.with(
        "Content-Type",
        "Application/Offset+Octet-Stream; charset=utf-8",
    );
    server.send(patch).await.expect(204).expect_offset(5);
}

#[tokio::test]
async fn t12_a_missing_or_malformed_offset_is_400() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let patch = tus::patch(&upload, 0).body("hello");
    server
        .send(patch.clone().without("Upload-Offset"))
        .await
        .expect_problem(400);
    for offset in ["", "x", "-0", "+0", "0x0", "0.0", "0,0", "0 0"] {
        server
            .send(patch.clone().with("Upload-Offset", offset))
            .await
            .expect_problem(400);
    }
    server.expect_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn t13_offset_mismatch_is_409_and_keeps_the_upload() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    server.append(&upload, 0, b"he").await;
    for offset in [0, 1, 3, 5, 6, i64::MAX as u64] {
        let answer = server.send(tus::patch(&upload, offset).body("llo")).await;
        // The true offset spares the client a HEAD.
        answer.expect_slug(409, "offset-mismatch").expect_offset(2);
    }
    server.expect_resumable(&upload, 2, b"hello").await;
}

#[tokio::test]
async fn t14_patch_is_204_with_the_new_offset() {
    let server = Server::start(&[]).await;
    let upload = server.create(11).await;
    for (offset, piece, end) in [(0, "hello", 5), (5, " ", 6), (6, "world", 11)] {
        let answer = server
            .send(tus::patch(&upload, offset).body(piece))
            .await
            .expect(204);
        answer.expect_offset(end);
        assert_eq!(server.offset(&upload).await, end);
    }
    assert_eq!(server.download(&upload).await, b"hello world");
}

#[tokio::test]
async fn t15_patch_of_an_unknown_upload_is_404() {
    let server = Server::start(&[]).await;
    let answer = server
        .send(tus::patch(&Upload::unknown(), 0).body("hello"))
        .await;
    answer.expect_problem(404).expect_no_header("Upload-Offset");
}

#[tokio::test]
async fn t16_a_body_cut_short_keeps_its_prefix() {
    let server = Server::start(&[]).await;
    let upload = server.create(11).await;
    let mut conn = server.connect().await;
    conn.send_head_and_wait(tus::patch(&upload, 0).declare(11))
        .await;
    conn.send(b"hello").await;
    drop(conn);
    eventually("the prefix is committed", async || {
        (server.offset(&upload).await == 5).then_some(())
    })
    .await;
    server.expect_resumable(&upload, 5, b"hello world").await;
}

#[tokio::test]
async fn t17_a_stalled_body_is_503_and_keeps_its_prefix() {
    let server = Server::start(&["--stall-timeout", "1s"]).await;
    let upload = server.create(11).await;
    let mut conn = server.connect().await;
    conn.send_head_and_wait(tus::patch(&upload, 0).declare(11))
        .await;
    conn.send(b"hello").await;
    // A 5xx, because clients retry neither 408 nor any other 4xx.
    conn.answer().await.expect_slug(503, "upload-stalled");
    conn.half_close().await;
    conn.expect_closed().await;
    server.expect_resumable(&upload, 5, b"hello world").await;
}

#[tokio::test]
async fn t18_patch_without_content_length_works() {
    let server = Server::start(&[]).await;
    let upload = server.create(11).await;
    let patch = tus::patch(&upload, 0).chunked("hello world");
    server.send(patch).await.expect(204).expect_offset(11);
    assert_eq!(server.download(&upload).await, b"hello world");
}

#[tokio::test]
async fn t18a_patch_ignores_defer_length() {
    let server = Server::start(&[]).await;
    let known = server.create(5).await;
    let patch = tus::patch(&known, 0)
        .header("Upload-Defer-Length", "1")
        .body("hello");
    server.send(patch).await.expect(204).expect_offset(5);

    let deferred = server.create_deferred().await;
    let patch = tus::patch(&deferred, 0)
        .header("Upload-Defer-Length", "1")
        .body("he");
    server.send(patch).await.expect(204).expect_offset(2);
    let patch = tus::patch(&deferred, 2).header("Upload-Defer-Length", "1");
    let patch = patch.header("Upload-Length", "5").body("llo");
    server.send(patch).await.expect(204).expect_offset(5);
    assert_eq!(server.download(&deferred).await, b"hello");
}

#[tokio::test]
async fn t19_an_empty_patch_changes_nothing() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    server
        .send(tus::patch(&upload, 0))
        .await
        .expect(204)
        .expect_offset(0);
    server.append(&upload, 0, b"he").await;
    server
        .send(tus::patch(&upload, 2))
        .await
        .expect(204)
        .expect_offset(2);
    server
        .send(tus::patch(&upload, 2).chunked(""))
        .await
        .expect(204)
        .expect_offset(2);
    server.expect_resumable(&upload, 2, b"hello").await;
}

#[tokio::test]
async fn t20_an_empty_patch_of_a_complete_upload_is_204() {
    let server = Server::start(&[]).await;
    let upload = server.complete(b"hello").await;
    // A client whose last answer was lost asks like this, perhaps more than once.
    for _ in 0..3 {
        server
            .send(tus::patch(&upload, 5))
            .await
            .expect(204)
            .expect_offset(5);
    }
    assert_eq!(server.download(&upload).await, b"hello");
}

#[tokio::test]
async fn t21_a_declared_body_past_the_length_is_413_before_it_is_read() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    server.append(&upload, 0, b"he").await;
    let patch = tus::patch(&upload, 2).body("llo!").expect_continue();
    let mut conn = server.connect().await;
    conn.send_head(&patch).await;
    let answer = conn.answer().await.expect_problem(413);
    assert!(
        answer.interim.is_empty(),
        "the body was asked for:\n{answer}"
    );
    server.expect_resumable(&upload, 2, b"hello").await;
    server
        .send(tus::patch(&upload, 5).body("!"))
        .await
        .expect_problem(413);
}

#[tokio::test]
async fn t22_a_chunked_body_past_the_length_completes_the_upload_and_is_413() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let patch = tus::patch(&upload, 0).chunked("hello and a good deal more");
    server.send(patch).await.expect_problem(413);
    assert_eq!(server.offset(&upload).await, 5);
    assert_eq!(server.download(&upload).await, b"hello");
}

#[tokio::test]
async fn t22_an_endless_body_is_stopped_at_the_length() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let mut conn = server.connect().await;
    conn.send_head(&tus::patch(&upload, 0).chunked("")).await;
    conn.send(&chunk(b"hello")).await;
    conn.send(&chunk(b" more")).await;
    // The body has not ended, and never will: the answer does not wait for it.
    conn.answer()
        .await
        .expect_problem(413)
        .expect_header("Connection", "close");
    assert_eq!(server.download(&upload).await, b"hello");
}

#[tokio::test]
async fn t23_another_method_is_405_with_allow() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let on_upload = server
        .send(tus::request("PUT", &upload.path).body(""))
        .await;
    let on_upload = on_upload.expect_problem(405).list("Allow");
    for method in ["head", "get", "patch", "delete", "options"] {
        assert!(
            on_upload.iter().any(|known| known == method),
            "{method} not in {on_upload:?}"
        );
    }
    for method in ["PATCH", "DELETE", "BREW"] {
        let answer = server.send(tus::request(method, "/files").body("")).await;
        let allowed = answer.expect_problem(405).list("Allow");
        assert!(
            allowed.iter().any(|known| known == "post"),
            "POST not in {allowed:?}"
        );
    }
    server.expect_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn t24_a_newer_patch_takes_over_and_nobody_sees_423() {
    let server = Server::start(&[]).await;
    let upload = server.create(11).await;
    let mut older = server.connect().await;
    older
        .send_head_and_wait(tus::patch(&upload, 0).declare(11))
        .await;
    server.append(&upload, 0, b"hello").await;
    // 400 and not 423: a client does not try again after it, so two senders never fight.
    older.answer().await.expect_slug(400, "upload-superseded");
    server.expect_resumable(&upload, 5, b"hello world").await;
}

#[tokio::test]
async fn trap_a_request_of_both_dialects_is_tus() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    // Apple's URLSession adds these to any upload task, a tus client's PATCH included.
    let both = |request: Req| {
        request
            .header("Upload-Complete", "?1")
            .header("Upload-Draft-Interop-Version", "6")
    };
    let answer = server
        .send(both(tus::patch(&upload, 0).body("he")))
        .await
        .expect(204);
    assert!(answer.interim.is_empty(), "104 in tus mode:\n{answer}");
    answer.expect_offset(2).expect_no_header("Upload-Complete");
    server
        .send(both(tus::create(5)))
        .await
        .expect(201)
        .expect_no_header("Upload-Complete");
    server.expect_resumable(&upload, 2, b"hello").await;
}
