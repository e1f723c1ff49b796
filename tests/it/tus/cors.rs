//! Section 1.10 of the protocol digest: what a browser needs. It fails silently without.

use uuid::Uuid;

use crate::support::server::Server;
use crate::support::tus::{self, Upload};
use crate::support::wire::{Answer, Req};

const ORIGIN: &str = "https://app.example";

/// What a browser asks before it sends a request that a form could not have sent.
fn preflight(target: &str, method: &str) -> Req {
    Req::new("OPTIONS", target)
        .header("Origin", ORIGIN)
        .header("Access-Control-Request-Method", method)
        .header(
            "Access-Control-Request-Headers",
            "tus-resumable,upload-length,x-request-id",
        )
}

#[track_caller]
fn expect_all(answer: &Answer, name: &str, wanted: &str) {
    let listed = answer.list(name);
    for member in wanted.split(", ").map(str::to_ascii_lowercase) {
        assert!(
            listed.contains(&member),
            "{member} is not in {name}:\n{answer}"
        );
    }
}

#[track_caller]
fn expect_allowed(answer: &Answer) {
    let allowed = answer.field("Access-Control-Allow-Origin");
    assert!(allowed == ORIGIN || allowed == "*", "{answer}");
    if allowed == "*" {
        let credentials = answer.header("Access-Control-Allow-Credentials");
        assert_eq!(credentials, None, "credentials for everybody:\n{answer}");
    } else {
        expect_all(answer, "Vary", "Origin");
    }
}

#[tokio::test]
async fn a_preflight_is_answered_before_the_version_is_looked_at() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    for (target, method) in [
        ("/files", "POST"),
        ("/files/", "POST"),
        (&*upload.path, "PATCH"),
    ] {
        let answer = server.send(preflight(target, method)).await.expect(204);
        expect_allowed(&answer);
        expect_all(
            &answer,
            "Access-Control-Allow-Methods",
            "POST, HEAD, PATCH, OPTIONS, GET, DELETE",
        );
        answer
            .expect_header("Access-Control-Max-Age", "86400")
            .expect_header("Tus-Version", "1.0.0");
    }
}

#[tokio::test]
async fn a_preflight_allows_every_field_that_clients_send() {
    let server = Server::start(&[]).await;
    let answer = server.send(preflight("/files", "POST")).await;
    expect_all(
        &answer,
        "Access-Control-Allow-Headers",
        "Authorization, Origin, X-Requested-With, X-Request-ID, X-HTTP-Method-Override, \
         Content-Type, Content-Disposition, Upload-Length, Upload-Offset, Tus-Resumable, \
         Upload-Metadata, Upload-Defer-Length, Upload-Concat, Upload-Checksum",
    );
}

#[tokio::test]
async fn every_field_that_clients_read_is_exposed_also_on_errors() {
    let server = Server::start(&[]).await;
    let upload = server.create(5).await;
    let requests = [
        (tus::create(5), 201),
        (tus::head(&upload), 200),
        (tus::patch(&upload, 0).body("he"), 204),
        (tus::patch(&upload, 0).body("he"), 409),
        (tus::patch(&upload, 2).with("Tus-Resumable", "0.1"), 412),
        (tus::patch(&upload, 2).without("Content-Type"), 415),
        (tus::request("GET", "/files/not-a-uuid"), 404),
        (tus::request("PUT", &upload.path).body(""), 405),
    ];
    for (request, status) in requests {
        let answer = server
            .send(request.header("Origin", ORIGIN))
            .await
            .expect(status);
        expect_allowed(&answer);
        expect_all(
            &answer,
            "Access-Control-Expose-Headers",
            "Upload-Offset, Location, Upload-Length, Tus-Version, Tus-Resumable, Tus-Max-Size, \
             Tus-Extension, Tus-Checksum-Algorithm, Upload-Metadata, Upload-Defer-Length, \
             Upload-Concat, Upload-Expires, Repr-Digest, Retry-After, X-Request-ID, \
             Content-Disposition",
        );
    }
}

#[tokio::test]
async fn a_client_without_an_origin_gets_no_cors_fields() {
    let server = Server::start(&[]).await;
    let answers = [
        server.send(tus::create(5)).await.expect(201),
        server.send(tus::options("/files")).await.expect(204),
        server.send(tus::get(&Upload::unknown())).await.expect(404),
    ];
    for answer in answers {
        answer
            .expect_no_header("Access-Control-Allow-Origin")
            .expect_no_header("Access-Control-Expose-Headers")
            .expect_no_header("Access-Control-Allow-Methods")
            .expect_no_header("Access-Control-Allow-Headers")
            .expect_no_header("Access-Control-Max-Age")
            .expect_no_header("Access-Control-Allow-Credentials");
    }
}

#[tokio::test]
async fn a_listed_origin_is_allowed_and_a_cache_keeps_its_answers_apart_from_all_others() {
    let server = Server::start(&["--cors-origin", ORIGIN]).await;
    let upload = server.complete(b"hello").await;
    for (origin, allowed) in [
        (None, None),
        (Some(ORIGIN), Some(ORIGIN)),
        (Some("https://elsewhere.example"), None),
    ] {
        let mut request = tus::get(&upload);
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        let answer = server.send(request).await.expect(200);
        assert_eq!(answer.header("Access-Control-Allow-Origin"), allowed);
        expect_all(&answer, "Vary", "Origin");
    }
}

#[tokio::test]
async fn the_request_id_of_the_client_comes_back_or_is_replaced() {
    let server = Server::start(&[]).await;
    let longest = "x".repeat(64);
    for given in ["6b1b36cb-4d4e-4c3f-9a0c-2b6f6f0c7d11", "a_1.B", &longest] {
        let request = tus::create(5).header("X-Request-ID", given);
        let answer = server.send(request).await.expect(201);
        answer.expect_header("X-Request-Id", given);
    }
    // One that would spoil the log is not repeated.
    let too_long = "x".repeat(65);
    let mut requests = ["", "a b", "a\tb", "a\"b", &too_long, "\u{fc}mlaut"]
        .map(|bad| tus::create(5).header("X-Request-ID", bad))
        .to_vec();
    requests.push(tus::create(5));
    for request in requests {
        let answer = server.send(request).await.expect(201);
        let id = Uuid::parse_str(answer.field("X-Request-Id"));
        let version = id.ok().map(|id| id.get_version_num());
        assert_eq!(version, Some(4), "not a random UUID:\n{answer}");
    }
}
