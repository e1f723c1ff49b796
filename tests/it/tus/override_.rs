//! Row T7: `X-HTTP-Method-Override`, for clients whose proxies let only GET and POST pass.

use crate::support::server::Server;
use crate::support::tus;
use crate::support::wire::Req;

/// The same request, in a POST.
fn in_a_post(mut request: Req) -> Req {
    let method = std::mem::replace(&mut request.method, "POST".to_owned());
    request.header("X-HTTP-Method-Override", method)
}

#[tokio::test]
async fn t7_post_with_override_patch_is_a_patch() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let patch = in_a_post(tus::patch(&upload, 0).body("he"));
    server.send(patch).await.expect(204).expect_offset(2);
    let late = in_a_post(tus::patch(&upload, 0).body("llo"));
    server
        .send(late)
        .await
        .expect_slug(409, "offset-mismatch")
        .expect_offset(2);
    server.expect_resumable(&upload, 2, b"hello").await;
}

#[tokio::test]
async fn t7_post_with_override_head_is_a_head() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let answer = server
        .send(in_a_post(tus::head(&upload)).body(""))
        .await
        .expect(200);
    answer.expect_offset(0).expect_header("Upload-Length", "5");
}

#[tokio::test]
async fn t7_post_with_override_delete_is_a_delete() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    server
        .send(in_a_post(tus::delete(&upload)).body(""))
        .await
        .expect(204);
    server.send(tus::head(&upload)).await.expect(410);
}

#[tokio::test]
async fn t7_an_overridden_request_is_checked_as_the_method_it_names() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let patch = in_a_post(tus::patch(&upload, 0).body("hello"));
    server
        .send(patch.clone().without("Content-Type"))
        .await
        .expect_problem(415);
    server
        .send(patch.clone().without("Upload-Offset"))
        .await
        .expect_problem(400);
    server
        .send(patch.clone().with("Tus-Resumable", "0.1"))
        .await
        .expect(412);
    let unknown = patch.with("X-HTTP-Method-Override", "BREW");
    let refused = server.send(unknown).await;
    assert!((400..500).contains(&refused.status), "{refused}");
    server.expect_resumable(&upload, 0, b"hello").await;
}

#[tokio::test]
async fn t7_only_a_post_is_overridden() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    // A link or an image must not be able to delete anything.
    for method in ["GET", "HEAD", "OPTIONS"] {
        let request = tus::request(method, &upload.path);
        server
            .send(request.header("X-HTTP-Method-Override", "DELETE"))
            .await;
    }
    server.expect_resumable(&upload, 0, b"hello").await;
}
