//! Rows T30 to T52: creation, creation-with-upload and creation-defer-length.

use crate::support::server::Server;
use crate::support::tus::{self, OFFSET_OCTET_STREAM, Upload};
use crate::support::wire::chunk;
use crate::support::{content, eventually};

#[tokio::test]
async fn t30_a_creation_is_201_with_an_absolute_location() {
    let server = Server::start(&[]).await;
    for target in ["/files", "/files/"] {
        let mut request = tus::create(5);
        target.clone_into(&mut request.target);
        let created = server.send(request).await.expect(201);
        let upload = Upload::created(&created);
        assert!(
            upload
                .location
                .starts_with(&format!("http://{}/", server.addr())),
            "{created}"
        );
        server.expect_resumable(&upload, 0, b"hello").await;
    }
    // The origin is the one the client used.
    let created = server
        .send(tus::create(5).header("Host", "up.example:8443"))
        .await
        .expect(201);
    assert!(
        created
            .field("Location")
            .starts_with("http://up.example:8443/files/"),
        "{created}"
    );
}

/// Others than proxies are not believed what they say of the client: that needs another machine,
/// and is tested beside the code.
#[tokio::test]
async fn t30_a_proxy_on_this_machine_says_how_the_client_came() {
    let forwarded = || {
        let create = tus::create(5).header("X-Forwarded-Proto", "https");
        create.header("X-Forwarded-Host", "up.example")
    };
    for (flags, is_believed) in [(&["--behind-proxy"][..], true), (&[], false)] {
        let server = Server::start(flags).await;
        let created = server.send(forwarded()).await.expect(201);
        let location = created.field("Location");
        assert_eq!(
            location.starts_with("https://up.example/files/"),
            is_believed,
            "{location}"
        );
    }
}

#[tokio::test]
async fn t30_every_upload_has_an_id_of_its_own() {
    let server = Server::start(&[]).await;
    let (one, other) = (server.create(5).await, server.create(5).await);
    assert_ne!(one, other);
    server.append(&one, 0, b"hello").await;
    server.expect_resumable(&other, 0, b"other").await;
    assert_eq!(server.download(&one).await, b"hello");
}

#[tokio::test]
async fn t31_a_creation_without_any_length_is_400() {
    let server = Server::start(&[]).await;
    server
        .send(tus::post())
        .await
        .expect_problem(400)
        .expect_no_header("Location");
    let partial = tus::post().header("Upload-Concat", "partial");
    server
        .send(partial)
        .await
        .expect_problem(400)
        .expect_no_header("Location");
}

#[tokio::test]
async fn t32_length_and_defer_length_together_are_400() {
    let server = Server::start(&[]).await;
    let both = tus::create(5).header("Upload-Defer-Length", "1");
    server
        .send(both)
        .await
        .expect_problem(400)
        .expect_no_header("Location");
}

#[tokio::test]
async fn t33_defer_length_other_than_1_is_400() {
    let server = Server::start(&[]).await;
    for value in ["0", "2", "true", "01", "1,1", ""] {
        let request = tus::post().header("Upload-Defer-Length", value);
        server
            .send(request)
            .await
            .expect_problem(400)
            .expect_no_header("Location");
    }
}

#[tokio::test]
async fn t34_a_length_over_the_maximum_is_413() {
    let server = Server::start(&["--max-upload-size", "1Ki"]).await;
    for length in [1025, 1 << 40, i64::MAX as u64] {
        server
            .send(tus::create(length))
            .await
            .expect_problem(413)
            .expect_no_header("Location");
    }
    let upload = server.create(1024).await;
    server
        .expect_resumable(&upload, 0, &content(34, 1024))
        .await;
}

#[tokio::test]
async fn t35_an_empty_upload_is_complete_at_once() {
    let server = Server::start(&[]).await;
    let upload = server.create(0).await;
    let head = server.send(tus::head(&upload)).await.expect(200);
    head.expect_offset(0).expect_header("Upload-Length", "0");
    server
        .send(tus::get(&upload))
        .await
        .expect(200)
        .expect_header("Content-Length", "0");
    server
        .send(tus::patch(&upload, 0))
        .await
        .expect(204)
        .expect_offset(0);
    server
        .send(tus::patch(&upload, 0).body("x"))
        .await
        .expect_problem(413);
}

#[tokio::test]
async fn t36_metadata_is_told_again_byte_for_byte() {
    let server = Server::start(&[]).await;
    let values = [
        "filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential",
        "is_confidential,filename YS50aWY=",
        "a YQ== ,  b Yg==,c",
        "trailing-space ,x eA==",
        "UPPER YQ==,upper Yg==",
        "relativePath bnVsbA==,name YS50aWY=,type aW1hZ2UvdGlmZg==,filetype aW1hZ2UvdGlmZg==",
    ];
    for value in values {
        let request = tus::create(5).header("Upload-Metadata", value);
        let upload = Upload::created(&server.send(request).await.expect(201));
        let head = server.send(tus::head(&upload)).await.expect(200);
        head.expect_header("Upload-Metadata", value);
        server.append(&upload, 0, b"hello").await;
        let head = server.send(tus::head(&upload)).await.expect(200);
        head.expect_header("Upload-Metadata", value);
    }
}

#[tokio::test]
async fn t36_empty_metadata_is_no_metadata() {
    let server = Server::start(&[]).await;
    // tuspy always sends the field.
    let request = tus::create(5).header("Upload-Metadata", "");
    let upload = Upload::created(&server.send(request).await.expect(201));
    let head = server.send(tus::head(&upload)).await.expect(200);
    assert!(
        head.header("Upload-Metadata").is_none_or(str::is_empty),
        "{head}"
    );
}

#[tokio::test]
async fn t37_metadata_values_may_be_any_bytes() {
    let server = Server::start(&[]).await;
    let every_byte = (0..=255).collect::<Vec<u8>>();
    let value = tus::metadata(&[
        ("filename", b"a\r\nSet-Cookie: a=b\r\n\r\n<html>\0"),
        ("filetype", b"text/html\r\nX-Injected: 1"),
        ("bytes", &every_byte),
        ("escape", b"\x1b[31m../../etc/passwd"),
    ]);
    let request = tus::create(5).header("Upload-Metadata", &value);
    let upload = Upload::created(&server.send(request).await.expect(201));
    server.append(&upload, 0, b"hello").await;
    let head = server.send(tus::head(&upload)).await.expect(200);
    head.expect_header("Upload-Metadata", &value);
    let get = server.send(tus::get(&upload)).await.expect(200);
    let get = get
        .expect_no_header("Set-Cookie")
        .expect_no_header("X-Injected");
    assert_eq!(get.body, b"hello");
    let disposition = get.field("Content-Disposition");
    assert!(!disposition.contains(['/', '\x1b', '\0']), "{get}");
}

#[tokio::test]
async fn t38_no_metadata_key_is_refused_by_policy() {
    let server = Server::start(&[]).await;
    for key in ["filename", "x-unheard-of", "!#$%&'*+-.^_`|~", "a:b;c=d/e"] {
        let value = tus::metadata(&[(key, b"value")]);
        let request = tus::create(5).header("Upload-Metadata", &value);
        let upload = Upload::created(&server.send(request).await.expect(201));
        let head = server.send(tus::head(&upload)).await.expect(200);
        head.expect_header("Upload-Metadata", &value);
    }
}

#[tokio::test]
async fn t39_a_deferred_length_is_told_until_it_is_known() {
    let server = Server::start(&[]).await;
    let upload = server.create_deferred().await;
    for (offset, piece) in [(0, "he"), (2, "llo")] {
        let head = server
            .send(tus::head(&upload))
            .await
            .expect(200)
            .expect_offset(offset);
        head.expect_header("Upload-Defer-Length", "1")
            .expect_no_header("Upload-Length");
        server.append(&upload, offset, piece.as_bytes()).await;
    }
    server.send(tus::get(&upload)).await.expect_problem(409);
}

#[tokio::test]
async fn t40_a_deferred_length_is_fixed_by_the_first_patch_that_tells_it() {
    let server = Server::start(&[]).await;
    let pieces = [(0, "he"), (2, "ll"), (4, "o")];
    // On the first, the middle or the last PATCH.
    for telling in 0..pieces.len() {
        let upload = server.create_deferred().await;
        for (index, (offset, piece)) in pieces.into_iter().enumerate() {
            let mut patch = tus::patch(&upload, offset).body(piece);
            if index == telling {
                patch = patch.header("Upload-Length", "5");
            }
            server.send(patch).await.expect(204);
            let head = server.send(tus::head(&upload)).await.expect(200);
            let length = (index >= telling).then_some("5");
            assert_eq!(head.header("Upload-Length"), length, "{head}");
            assert_eq!(
                head.header("Upload-Defer-Length").is_none(),
                length.is_some(),
                "{head}"
            );
        }
        assert_eq!(server.download(&upload).await, b"hello");
    }
}

#[tokio::test]
async fn t40_a_deferred_length_may_come_without_a_body() {
    let server = Server::start(&[]).await;
    let upload = server.create_deferred().await;
    server.append(&upload, 0, b"he").await;
    let patch = tus::patch(&upload, 2).header("Upload-Length", "5");
    server.send(patch).await.expect(204).expect_offset(2);
    let head = server
        .send(tus::head(&upload))
        .await
        .expect(200)
        .expect_offset(2);
    head.expect_header("Upload-Length", "5")
        .expect_no_header("Upload-Defer-Length");
    server
        .send(tus::patch(&upload, 2).body("llo!"))
        .await
        .expect_problem(413);
    server.expect_resumable(&upload, 2, b"hello").await;
}

#[tokio::test]
async fn t41_a_known_length_cannot_be_changed() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let patch = tus::patch(&upload, 0).body("he");
    for length in ["4", "6", "0"] {
        server
            .send(patch.clone().header("Upload-Length", length))
            .await
            .expect_problem(400);
    }
    server
        .send(tus::head(&upload))
        .await
        .expect_offset(0)
        .expect_header("Upload-Length", "5");
    // The same length again says nothing new.
    server
        .send(patch.header("Upload-Length", "5"))
        .await
        .expect(204)
        .expect_offset(2);
    server.expect_resumable(&upload, 2, b"hello").await;
}

#[tokio::test]
async fn t42_a_length_below_the_offset_or_over_the_maximum_is_refused() {
    let server = Server::start(&["--max-upload-size", "1Ki"]).await;
    let upload = server.create_deferred().await;
    server.append(&upload, 0, b"hello").await;
    let patch = tus::patch(&upload, 5);
    server
        .send(patch.clone().header("Upload-Length", "4"))
        .await
        .expect_problem(400);
    server
        .send(patch.clone().header("Upload-Length", "1025"))
        .await
        .expect_problem(413);
    let head = server
        .send(tus::head(&upload))
        .await
        .expect(200)
        .expect_offset(5);
    head.expect_header("Upload-Defer-Length", "1")
        .expect_no_header("Upload-Length");
    server
        .send(patch.header("Upload-Length", "5"))
        .await
        .expect(204)
        .expect_offset(5);
    assert_eq!(server.download(&upload).await, b"hello");
}

#[tokio::test]
async fn t43_a_deferred_upload_stops_at_the_maximum_with_413() {
    let server = Server::start(&["--max-upload-size", "1Ki"]).await;
    let upload = server.create_deferred().await;
    let bytes = content(43, 4096);
    server
        .send(tus::patch(&upload, 0).chunked(&bytes[..]))
        .await
        .expect_problem(413);
    assert_eq!(server.offset(&upload).await, 1024);
    let patch = tus::patch(&upload, 1024).header("Upload-Length", "1024");
    server.send(patch).await.expect(204).expect_offset(1024);
    assert_eq!(server.download(&upload).await, &bytes[..1024]);
}

#[tokio::test]
async fn t44_declaring_the_present_offset_completes_the_upload() {
    let server = Server::start(&[]).await;
    let upload = server.create_deferred().await;
    server.append(&upload, 0, b"hello").await;
    // This is how tus-js-client ends a stream whose end it did not foresee.
    let patch = tus::patch(&upload, 5).header("Upload-Length", "5");
    server.send(patch).await.expect(204).expect_offset(5);
    assert_eq!(server.download(&upload).await, b"hello");

    let empty = server.create_deferred().await;
    let patch = tus::patch(&empty, 0).header("Upload-Length", "0");
    server.send(patch).await.expect(204).expect_offset(0);
    assert_eq!(server.download(&empty).await, b"");
}

#[tokio::test]
async fn t45_a_creation_with_data_is_201_with_the_offset() {
    let server = Server::start(&[]).await;
    let request = tus::create_with_data(11).body("hello");
    let created = server.send(request).await.expect(201).expect_offset(5);
    server
        .expect_resumable(&Upload::created(&created), 5, b"hello world")
        .await;

    let request = tus::create_with_data(11).chunked("hello");
    let created = server.send(request).await.expect(201).expect_offset(5);
    server
        .expect_resumable(&Upload::created(&created), 5, b"hello world")
        .await;

    let request = tus::create_deferred().header("Content-Type", OFFSET_OCTET_STREAM);
    let created = server
        .send(request.body("hello"))
        .await
        .expect(201)
        .expect_offset(5);
    let upload = Upload::created(&created);
    let head = server
        .send(tus::head(&upload))
        .await
        .expect(200)
        .expect_offset(5);
    head.expect_header("Upload-Defer-Length", "1");
}

#[tokio::test]
async fn t46_a_body_of_another_type_is_ignored() {
    let server = Server::start(&[]).await;
    for content_type in ["application/x-www-form-urlencoded", "text/plain"] {
        let request = tus::create(5)
            .header("Content-Type", content_type)
            .body("hello and more");
        let created = server
            .send(request)
            .await
            .expect(201)
            .expect_no_header("Upload-Offset");
        server
            .expect_resumable(&Upload::created(&created), 0, b"hello")
            .await;
    }
    let created = server.send(tus::create(5).body("hello")).await.expect(201);
    server
        .expect_resumable(&Upload::created(&created), 0, b"hello")
        .await;
}

#[tokio::test]
async fn t46_an_ignored_body_is_not_taken_for_the_next_request() {
    let server = Server::start(&[]).await;
    let mut conn = server.connect().await;
    let smuggled = "DELETE /files HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = tus::create(5)
        .header("Content-Type", "text/plain")
        .body(smuggled);
    let first = conn.exchange(&request).await.expect(201);
    if first
        .list("Connection")
        .iter()
        .any(|option| option == "close")
    {
        conn.expect_closed().await;
    } else {
        conn.exchange(&tus::create(5)).await.expect(201);
    }
}

#[tokio::test]
async fn t47_a_creation_cut_short_keeps_the_upload_and_its_prefix() {
    let server = Server::start(&[]).await;
    let mut conn = server.connect().await;
    conn.send_head_and_wait(tus::create_with_data(11).declare(11))
        .await;
    conn.send(b"hello").await;
    drop(conn);
    // The answer with the Location never came; the list knows the upload.
    let upload = eventually("the prefix is committed", async || {
        let uploading = server.uploads("uploading").await;
        uploading
            .iter()
            .find(|view| view["offset"] == 5)
            .map(Upload::listed)
    })
    .await;
    server.expect_resumable(&upload, 5, b"hello world").await;
}

#[tokio::test]
async fn t48_a_creation_with_too_much_data_is_413() {
    let server = Server::start(&[]).await;
    let declared = tus::create_with_data(5).body("hello!");
    server.send(declared).await.expect_problem(413);
    let mut conn = server.connect().await;
    conn.send_head(&tus::create_with_data(5).chunked("")).await;
    conn.send(&chunk(b"hello and more")).await;
    let answer = conn.answer().await.expect_problem(413);
    // All of it is there by now, and the client is told where.
    assert_eq!(server.download(&Upload::created(&answer)).await, b"hello");
}

#[tokio::test]
async fn t49_a_refused_creation_does_not_ask_for_the_body() {
    let server = Server::start(&["--max-upload-size", "1Ki"]).await;
    let good = tus::create_with_data(5).declare(5);
    let refused = [
        (tus::create_with_data(1025).declare(1025), 413),
        (good.clone().declare(6), 413),
        (good.clone().without("Upload-Length"), 400),
        (good.clone().with("Tus-Resumable", "0.1"), 412),
        (good.clone().header("Upload-Metadata", "a b c"), 400),
        (good.clone().header("Upload-Checksum", "rot13 YQ=="), 400),
    ];
    for (request, status) in refused {
        let mut conn = server.connect().await;
        conn.send_head(&request.expect_continue()).await;
        let answer = conn.answer().await.expect(status);
        assert!(
            answer.interim.is_empty(),
            "the body was asked for:\n{answer}"
        );
    }
    let mut conn = server.connect().await;
    conn.send_head_and_wait(good).await;
    conn.send(b"hello").await;
    conn.answer().await.expect(201).expect_offset(5);
}

#[tokio::test]
async fn t50_creation_with_upload_is_advertised_with_creation() {
    let server = Server::start(&[]).await;
    let extensions = server
        .send(tus::options("/files"))
        .await
        .list("Tus-Extension");
    for wanted in ["creation", "creation-with-upload", "creation-defer-length"] {
        assert!(
            extensions.iter().any(|known| known == wanted),
            "{wanted} not in {extensions:?}"
        );
    }
}

#[tokio::test]
async fn t51_a_creation_with_all_the_data_is_201_and_complete() {
    let server = Server::start(&[]).await;
    let created = server
        .send(tus::create_with_data(5).body("hello"))
        .await
        .expect(201);
    let upload = Upload::created(&created.expect_offset(5));
    assert_eq!(server.download(&upload).await, b"hello");
    let created = server
        .send(tus::create_with_data(0).body(""))
        .await
        .expect(201);
    assert_eq!(server.download(&Upload::created(&created)).await, b"");
}

#[tokio::test]
async fn t52_length_and_final_concatenation_together_are_400() {
    let server = Server::start(&[]).await;
    let part = server.complete_partial(b"hello").await;
    let request = tus::create_final(&[&part.location]);
    for (name, value) in [("Upload-Length", "5"), ("Upload-Defer-Length", "1")] {
        let answer = server.send(request.clone().header(name, value)).await;
        answer.expect_problem(400).expect_no_header("Location");
    }
    server.send(request).await.expect(201);
}
