//! Rows T100 to T117: concatenation and concatenation-unfinished.

use crate::support::eventually;
use crate::support::server::Server;
use crate::support::tus::{self, OFFSET_OCTET_STREAM, Upload};
use crate::support::wire::Req;

/// A partial upload that still needs bytes.
async fn open_partial(server: &Server, length: u64) -> Upload {
    Upload::created(&server.send(tus::create_partial(length)).await.expect(201))
}

#[tokio::test]
async fn t100_a_partial_upload_is_an_upload_that_says_so() {
    let server = Server::start(&[]).await;
    let upload = open_partial(&server, 5).await;
    for (offset, piece) in [(0, "he"), (2, "llo")] {
        let head = server
            .send(tus::head(&upload))
            .await
            .expect(200)
            .expect_offset(offset);
        head.expect_header("Upload-Concat", "partial")
            .expect_header("Upload-Length", "5");
        server.append(&upload, offset, piece.as_bytes()).await;
    }
    server
        .send(tus::head(&upload))
        .await
        .expect_offset(5)
        .expect_header("Upload-Concat", "partial");

    let deferred = tus::create_deferred().header("Upload-Concat", "partial");
    let deferred = Upload::created(&server.send(deferred).await.expect(201));
    let head = server.send(tus::head(&deferred)).await.expect(200);
    head.expect_header("Upload-Concat", "partial")
        .expect_header("Upload-Defer-Length", "1");
}

#[tokio::test]
async fn t100_a_partial_upload_may_be_created_with_data() {
    let server = Server::start(&[]).await;
    let request = tus::create_partial(5)
        .header("Content-Type", OFFSET_OCTET_STREAM)
        .body("hello");
    let created = server.send(request).await.expect(201).expect_offset(5);
    let part = Upload::created(&created);
    assert_eq!(
        server.download(&server.concatenate(&[&part]).await).await,
        b"hello"
    );
}

#[tokio::test]
async fn t101_a_finished_partial_stays_a_partial() {
    let server = Server::start(&[]).await;
    let part = server.complete_partial(b"hello").await;
    server.concatenate(&[&part]).await;
    let head = server
        .send(tus::head(&part))
        .await
        .expect(200)
        .expect_offset(5);
    head.expect_header("Upload-Concat", "partial");
}

#[tokio::test]
async fn t102_a_final_upload_is_its_parts_in_order() {
    let server = Server::start(&[]).await;
    let one = server.complete_partial(b"one,").await;
    let two = server.complete_partial(b"two,").await;
    let empty = open_partial(&server, 0).await;
    let three = server.complete_partial(b"three").await;
    let ordered = server.concatenate(&[&one, &two, &empty, &three]).await;
    assert_eq!(server.download(&ordered).await, b"one,two,three");
    let reversed = server.concatenate(&[&three, &two, &one]).await;
    assert_eq!(server.download(&reversed).await, b"threetwo,one,");
}

#[tokio::test]
async fn t103_a_final_upload_has_its_own_metadata() {
    let server = Server::start(&[]).await;
    let request = tus::create_partial(5).header("Upload-Metadata", "part cGFydA==");
    let part = Upload::created(&server.send(request).await.expect(201));
    server.append(&part, 0, b"hello").await;

    let plain = server.concatenate(&[&part]).await;
    let head = server.send(tus::head(&plain)).await.expect(200);
    assert!(
        head.header("Upload-Metadata").is_none_or(str::is_empty),
        "{head}"
    );
    let request = tus::create_final(&[&part.location]).header("Upload-Metadata", "filename YQ==");
    let named = Upload::created(&server.send(request).await.expect(201));
    let head = server.send(tus::head(&named)).await.expect(200);
    head.expect_header("Upload-Metadata", "filename YQ==");
}

#[tokio::test]
async fn t104_head_of_a_final_upload_tells_what_the_client_sent() {
    let server = Server::start(&[]).await;
    let one = server.complete_partial(b"one").await;
    let two = server.complete_partial(b"three").await;
    // Absolute and relative URLs, as they came, blanks included.
    let values = [
        format!("final;{} {}", one.location, two.location),
        format!("final;{} {}", one.path, two.location),
        format!("final; {}  {}", one.path, two.path),
    ];
    for value in values {
        let request = tus::post().header("Upload-Concat", &value);
        let upload = Upload::created(&server.send(request).await.expect(201));
        let head = server
            .send(tus::head(&upload))
            .await
            .expect(200)
            .expect_offset(8);
        head.expect_header("Upload-Length", "8")
            .expect_header("Upload-Concat", &value);
        assert_eq!(server.download(&upload).await, b"onethree");
    }
}

#[tokio::test]
async fn t105_head_of_an_unfinished_final_has_no_offset() {
    let server = Server::start(&[]).await;
    let known = open_partial(&server, 5).await;
    let deferred = tus::create_deferred().header("Upload-Concat", "partial");
    let deferred = Upload::created(&server.send(deferred).await.expect(201));

    let whole = server.concatenate(&[&known]).await;
    let head = server
        .send(tus::head(&whole))
        .await
        .expect(200)
        .expect_no_header("Upload-Offset");
    head.expect_header("Upload-Length", "5");
    // The length is told as soon as every part has one.
    let whole = server.concatenate(&[&known, &deferred]).await;
    let head = server
        .send(tus::head(&whole))
        .await
        .expect(200)
        .expect_no_header("Upload-Offset");
    head.expect_no_header("Upload-Length");
    let patch = tus::patch(&deferred, 0).header("Upload-Length", "6");
    server.send(patch).await.expect(204);
    let head = server
        .send(tus::head(&whole))
        .await
        .expect(200)
        .expect_no_header("Upload-Offset");
    head.expect_header("Upload-Length", "11");
}

#[tokio::test]
async fn t106_patch_of_a_final_upload_is_403_and_changes_nothing() {
    let server = Server::start(&[]).await;
    let part = server.complete_partial(b"hello").await;
    let open = open_partial(&server, 5).await;
    let finished = server.concatenate(&[&part]).await;
    let unfinished = server.concatenate(&[&part, &open]).await;
    for upload in [&finished, &unfinished] {
        for offset in [0, 5] {
            server
                .send(tus::patch(upload, offset).body("x"))
                .await
                .expect_problem(403);
            server
                .send(tus::patch(upload, offset))
                .await
                .expect_problem(403);
        }
        // 403 comes before the offset is looked at.
        server
            .send(tus::patch(upload, 3).body("x"))
            .await
            .expect_problem(403);
    }
    assert_eq!(server.download(&finished).await, b"hello");
    assert_eq!(server.offset(&part).await, 5);
    server.expect_resumable(&open, 0, b"world").await;
    assert_eq!(server.download(&unfinished).await, b"helloworld");
}

#[tokio::test]
async fn t107_a_partial_may_serve_several_times() {
    let server = Server::start(&[]).await;
    let la = server.complete_partial(b"la").await;
    let le = server.complete_partial(b"le").await;
    let first = server.concatenate(&[&la, &la, &le, &la]).await;
    let second = server.concatenate(&[&le, &la]).await;
    assert_eq!(server.download(&first).await, b"lalalela");
    assert_eq!(server.download(&second).await, b"lela");
    server.send(tus::delete(&first)).await.expect(204);
    assert_eq!(server.download(&second).await, b"lela");
}

#[tokio::test]
async fn t108_parts_stay_readable_and_may_be_deleted() {
    let server = Server::start(&[]).await;
    let part = server.complete_partial(b"hello").await;
    let upload = server.concatenate(&[&part, &part]).await;
    assert_eq!(server.download(&part).await, b"hello");
    // The final upload refers to the bytes, and so they stay as long as it does.
    server.send(tus::delete(&part)).await.expect(204);
    server.send(tus::get(&part)).await.expect_problem(404);
    assert_eq!(server.download(&upload).await, b"hellohello");
    server.send(tus::delete(&upload)).await.expect(204);
    server.send(tus::get(&upload)).await.expect_problem(404);
}

#[tokio::test]
async fn t109_unfinished_parts_are_accepted_because_the_extension_is_offered() {
    let server = Server::start(&[]).await;
    let extensions = server
        .send(tus::options("/files"))
        .await
        .list("Tus-Extension");
    for wanted in ["concatenation", "concatenation-unfinished"] {
        assert!(
            extensions.iter().any(|known| known == wanted),
            "{wanted} not in {extensions:?}"
        );
    }
    let part = open_partial(&server, 5).await;
    server
        .send(tus::create_final(&[&part.location]))
        .await
        .expect(201);
}

#[tokio::test]
async fn t110_an_unfinished_final_is_assembled_when_its_last_part_completes() {
    let server = Server::start(&[]).await;
    let one = open_partial(&server, 3).await;
    let two = open_partial(&server, 3).await;
    let upload = server.concatenate(&[&one, &two]).await;
    server.send(tus::get(&upload)).await.expect_problem(409);
    // The order of the list counts, not the order in which the parts come.
    server.append(&two, 0, b"two").await;
    server.send(tus::get(&upload)).await.expect_problem(409);
    server.append(&one, 0, b"one").await;
    let head = eventually("the final upload is assembled", async || {
        Some(server.send(tus::head(&upload)).await.expect(200)).filter(|a| a.offset().is_some())
    })
    .await;
    head.expect_offset(6).expect_header("Upload-Length", "6");
    assert_eq!(server.download(&upload).await, b"onetwo");
}

#[tokio::test]
async fn t110_an_unfinished_final_outlives_a_restart() {
    let mut server = Server::start(&[]).await;
    let one = open_partial(&server, 3).await;
    let upload = server.concatenate(&[&one, &one]).await;
    server.kill9().await;
    server.restart(&[]).await;
    server.append(&one, 0, b"one").await;
    eventually("the final upload is assembled", async || {
        (server.send(tus::head(&upload)).await.expect(200).offset() == Some(6)).then_some(())
    })
    .await;
    assert_eq!(server.download(&upload).await, b"oneone");
}

#[tokio::test]
async fn t111_a_part_that_cannot_be_one_is_refused() {
    let server = Server::start(&[]).await;
    let part = server.complete_partial(b"hello").await;
    let plain = server.complete(b"hello").await;
    let whole = server.concatenate(&[&part]).await;
    let foreign = format!("http://elsewhere.example{}", part.path);
    let elsewhere = part.location.replace("/files/", "/elsewhere/");
    let refused = [
        (plain.location, 400),
        (whole.location, 400),
        (foreign, 400),
        (elsewhere, 400),
        ("/files/not-a-uuid".to_owned(), 400),
        ("ftp://x/y".to_owned(), 400),
        (Upload::unknown().path, 404),
    ];
    for (url, status) in refused {
        for list in [&[&*url][..], &[&*part.location, &*url]] {
            let answer = server.send(tus::create_final(list)).await;
            assert_eq!(answer.status, status, "{url}:\n{answer}");
            answer.expect_problem(status).expect_no_header("Location");
        }
    }
    let nothing = tus::post().header("Upload-Concat", "final;");
    server.send(nothing).await.expect_problem(400);
}

#[tokio::test]
async fn t111_a_cancelled_part_is_refused() {
    let server = Server::start(&[]).await;
    let part = open_partial(&server, 5).await;
    server.send(tus::delete(&part)).await.expect(204);
    let answer = server.send(tus::create_final(&[&part.location])).await;
    let answer = answer
        .expect_slug(404, "part-not-found")
        .expect_no_header("Location");
    assert_eq!(answer.json()["part"], 1, "{answer}");
}

#[tokio::test]
async fn t112_a_sum_over_the_maximum_is_413() {
    let server = Server::start(&["--max-upload-size", "10"]).await;
    let part = server.complete_partial(b"hello").await;
    let within = server.concatenate(&[&part, &part]).await;
    assert_eq!(server.download(&within).await, b"hellohello");
    let over = tus::create_final(&[&part.location, &part.location, &part.location]);
    server
        .send(over)
        .await
        .expect_problem(413)
        .expect_no_header("Location");
}

/// A part may declare its length long after the final upload was made of it.
#[tokio::test]
async fn t112_a_sum_that_grows_over_the_maximum_fails_the_final() {
    let server = Server::start(&["--max-upload-size", "10"]).await;
    let mut parts = Vec::new();
    for _ in 0..2 {
        let deferred = tus::create_deferred().header("Upload-Concat", "partial");
        let made = server.send(deferred).await;
        parts.push(Upload::created(&made));
    }
    let last = server.concatenate(&[&parts[0], &parts[1]]).await;
    for (part, length) in parts.iter().zip(["5", "6"]) {
        let declares = tus::patch(part, 0).header("Upload-Length", length);
        server.send(declares.body("hello")).await.expect(204);
    }
    server.send(tus::head(&last)).await.expect(410);
    server.send(tus::get(&last)).await.expect_problem(410);
}

#[tokio::test]
async fn t113_a_body_on_a_final_creation_is_403() {
    let server = Server::start(&[]).await;
    let part = server.complete_partial(b"hello").await;
    let request = tus::create_final(&[&part.location]);
    let request = request
        .header("Content-Type", OFFSET_OCTET_STREAM)
        .body("world");
    server
        .send(request)
        .await
        .expect_problem(403)
        .expect_no_header("Location");
}

#[tokio::test]
async fn t114_a_waiting_final_fails_with_its_part() {
    let server = Server::start(&["--upload-expires-after", "3s"]).await;
    let done = server.complete_partial(b"hello").await;
    let part = open_partial(&server, 5).await;
    let upload = server.concatenate(&[&done, &part]).await;
    server.send(tus::delete(&part)).await.expect(204);
    let gone = async |upload: &Upload| {
        eventually("the final upload fails", async || {
            Some(server.send(tus::head(upload)).await).filter(|answer| answer.status != 200)
        })
        .await
    };
    gone(&upload).await.expect(410);
    server.send(tus::get(&upload)).await.expect_problem(410);

    let part = open_partial(&server, 5).await;
    let upload = server.concatenate(&[&done, &part]).await;
    gone(&upload).await.expect(410);
}

#[tokio::test]
async fn t115_a_part_is_found_by_any_url_that_leads_to_it() {
    let server = Server::start(&[]).await;
    let part = server.complete_partial(b"hello").await;
    // A proxy may have put a prefix before the path that this server sees.
    let prefixed = format!("/uploads{}", part.path);
    for url in [&part.location, &part.path, &prefixed] {
        let created = server.send(tus::create_final(&[url])).await.expect(201);
        assert_eq!(server.download(&Upload::created(&created)).await, b"hello");
    }
}

/// The row wants the caller's right to each part checked. With `--auth none` everybody is the user
/// `local`, whatever name comes along: parts and final upload have that one owner, and no part is out
/// of his reach.
#[tokio::test]
async fn t116_all_parts_belong_to_the_one_caller_that_there_is() {
    let server = Server::start(&[]).await;
    let part = server
        .send(tus::create_partial(5).header("Authorization", "Bearer one"))
        .await
        .expect(201);
    let part = Upload::created(&part);
    server.append(&part, 0, b"hello").await;
    let whole = server
        .send(tus::create_final(&[&part.location]).header("Authorization", "Bearer other"))
        .await
        .expect(201);
    let whole = Upload::created(&whole);
    assert_eq!(server.download(&whole).await, b"hello");
    for upload in [&part, &whole] {
        let look = Req::new("GET", &format!("/api/uploads/{}", upload.id()));
        let found = server.send(look).await.expect(200).json();
        assert_eq!(found["data"]["ownerId"], "local", "{found}");
    }
}

#[tokio::test]
async fn t117_the_list_of_parts_is_bounded() {
    let server = Server::start(&[]).await;
    let part = server.complete_partial(b"ab").await;
    let many = vec![&*part.path; 300];
    let created = server.send(tus::create_final(&many)).await.expect(201);
    assert_eq!(
        server.download(&Upload::created(&created)).await,
        b"ab".repeat(300)
    );
    let too_many = vec![&*part.path; 10_001];
    let answer = server.send(tus::create_final(&too_many)).await;
    assert!(matches!(answer.status, 400 | 431), "{answer}");
}
