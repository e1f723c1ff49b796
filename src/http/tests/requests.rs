//! Requests and answers: names, routes, refusals, limits, panics, counting.

use std::collections::BTreeMap;

use http::header::HeaderMap;
use http::{Method, StatusCode};
use tidegate_protocol::problem::Problem;

use super::{Client, Server, head, hello, read, text};
use crate::http::reject;
use crate::http::{PathParams, RequestId, Route, Router};

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let server = Server::start([hello()]).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        let answer = client.ask("GET /hello").await;
        assert_eq!(
            (answer.status(), answer.body.as_slice()),
            (200, &b"hello"[..])
        );
        assert!(!answer.says_close());
    }
    // Pipelined ones are answered in their order.
    client
        .send(head("GET /hello", "") + &head("GET /nothing", ""))
        .await;
    assert_eq!(client.answer(false).await.status(), 200);
    assert_eq!(client.answer(false).await.status(), 404);
    server.stop().await;
}

#[tokio::test]
async fn a_request_keeps_the_name_that_its_client_gave_it_or_gets_one() {
    let server = Server::start([hello()]).await;
    let mut client = server.connect().await;
    let longest = "x".repeat(64);
    for given in ["a", "Req_1.2-3", longest.as_str()] {
        client
            .send(head("GET /hello", &format!("X-Request-ID: {given}\r\n")))
            .await;
        assert_eq!(
            client.answer(false).await.header("x-request-id"),
            Some(given)
        );
    }
    let too_long = "x".repeat(65);
    for given in ["", "a b", "a\"b", "ümlaut", too_long.as_str()] {
        client
            .send(head("GET /hello", &format!("X-Request-ID: {given}\r\n")))
            .await;
        let answer = client.answer(false).await;
        let id = answer.header("x-request-id").unwrap();
        assert_eq!(
            id.parse::<uuid::Uuid>().unwrap().get_version_num(),
            4,
            "{given}"
        );
    }
    assert_ne!(
        RequestId::of(&HeaderMap::new()),
        RequestId::of(&HeaderMap::new())
    );
    server.stop().await;
}

#[tokio::test]
async fn a_handler_knows_what_was_asked_of_whom() {
    let route = Route::any("/files/{id}", |request| async move {
        let id = request.path.get("id").unwrap_or_default();
        let authority = request.authority().unwrap_or_default();
        let said = format!(
            "{} {authority} {id} {} {}",
            request.scheme, request.caller.user, request.peer
        );
        text(200, said)
    });
    let server = Server::start([route]).await;
    let mut client = server.connect().await;
    let peer = client.stream.get_ref().local_addr().unwrap();
    let answer = client.ask("GET /files/a%2Fb?c=d").await;
    let said = format!("http tidegate.test a%2Fb local {peer}");
    assert_eq!(String::from_utf8(answer.body).unwrap(), said);
    server.stop().await;
}

#[tokio::test]
async fn an_unknown_path_is_answered_with_a_problem() {
    let server = Server::start([hello()]).await;
    let mut client = server.connect().await;
    let answer = client.ask("GET /nothing/here?q=1").await;
    assert_eq!(answer.status(), 404);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let expected = serde_json::json!({
        "type": "/problems/not-found", "title": "Not found", "status": 404,
        "detail": "There is nothing at this address.", "instance": "/nothing/here",
        "success": false, "error": "Not found", "code": "NOT_FOUND",
    });
    assert_eq!(answer.json(), expected);

    let answer = client.ask("HEAD /nothing").await;
    assert_eq!(
        (answer.status(), answer.header("content-length")),
        (404, None)
    );
    assert_eq!(
        client.ask("GET /hello").await.status(),
        200,
        "HEAD got a body"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_unserved_method_is_told_the_served_ones() {
    let server = Server::start([
        hello(),
        Route::new(Method::PUT, "/hello", |_| async { text(200, "put") }),
        Route::new(Method::PUT, "/put", |_| async { text(200, "put") }),
        Route::new(Method::GET, "/any", |_| async { text(200, "get") }),
        Route::any("/any", |_| async { text(200, "any") }),
    ])
    .await;
    let mut client = server.connect().await;
    let answer = client.ask("DELETE /hello").await;
    assert_eq!(
        (answer.status(), answer.header("allow")),
        (405, Some("GET, PUT, HEAD, OPTIONS"))
    );
    assert_eq!(answer.json()["code"], "METHOD_NOT_ALLOWED");
    let answer = client.ask("HEAD /put").await;
    assert_eq!(
        (answer.status(), answer.header("allow")),
        (405, Some("PUT, OPTIONS"))
    );
    assert_eq!(client.ask("PUT /hello").await.body, b"put");
    assert_eq!(client.ask("GET /any").await.body, b"get");
    assert_eq!(client.ask("BREW /any").await.body, b"any");
    server.stop().await;
}

#[tokio::test]
async fn head_is_answered_as_get_would_be_without_the_content() {
    let server = Server::start([
        hello(),
        Route::new(Method::GET, "/mixed", |_| async { text(200, "get") }),
        Route::any("/mixed", |_| async { text(405, "") }),
        Route::new(Method::GET, "/own", |_| async { text(200, "get") }),
        Route::new(Method::HEAD, "/own", |_| async { text(203, "") }),
        Route::new(Method::GET, "/gone", |request| async move {
            reject::problem(&request.head.method, "/gone", &Problem::NotFound)
        }),
        Route::any("/any", |request| async move {
            assert_eq!(request.head.method, Method::HEAD);
            text(202, "")
        }),
    ])
    .await;
    let mut client = server.connect().await;
    for path in ["/hello", "/mixed", "/gone"] {
        let mut headers = [BTreeMap::new(), BTreeMap::new()];
        let mut statuses = [0, 0];
        for (at, method) in ["HEAD", "GET"].into_iter().enumerate() {
            // Over one connection: content after a HEAD would spoil the next answer.
            let answer = client.ask(&format!("{method} {path}")).await;
            statuses[at] = answer.status();
            headers[at] = answer.headers;
            for changing in ["date", "x-request-id"] {
                headers[at].remove(changing);
            }
        }
        assert_eq!(statuses[0], statuses[1], "{path}");
        assert_eq!(headers[0], headers[1], "{path}");
        assert!(headers[0].contains_key("content-length"), "{path}");
    }
    for (path, status) in [("/own", 203), ("/any", 202)] {
        let answer = client.ask(&format!("HEAD {path}")).await;
        assert_eq!(answer.status(), status, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn options_tells_what_a_path_serves() {
    let server = Server::start([
        hello(),
        Route::new(Method::GET, "/mixed", |_| async { text(200, "get") }),
        Route::any("/mixed", |_| async { text(202, "") }),
    ])
    .await;
    let mut client = server.connect().await;
    let answer = client.ask("OPTIONS /hello").await;
    assert_eq!(
        (answer.status(), answer.header("allow")),
        (204, Some("GET, HEAD, OPTIONS"))
    );
    assert_eq!(client.ask("OPTIONS /mixed").await.status(), 202);
    assert_eq!(client.ask("OPTIONS /nothing").await.status(), 404);
    server.stop().await;
}

#[test]
fn routes_that_want_the_same_requests_are_refused() {
    let get = |path: &str| Route::new(Method::GET, path, |_| async { text(200, "") });
    let any = |path: &str| Route::any(path, |_| async { text(200, "") });
    let error = |routes: [Route; 2]| Router::new(routes).unwrap_err().to_string();
    assert_eq!(error([get("/a"), get("/a")]), "two routes serve GET /a");
    assert_eq!(
        error([any("/a"), any("/a")]),
        "two routes serve any method of /a"
    );
    assert!(error([any("/{a}"), any("/{b}")]).contains("/{b}"));
    assert!(Router::new([get("/a/{b}"), any("/a/b"), any("/a")]).is_ok());
    let params = PathParams::from([("id", "1")]);
    assert_eq!((params.get("id"), params.get("x")), (Some("1"), None));
}

#[tokio::test]
async fn a_header_section_over_16_kib_is_answered_431() {
    let server = Server::start([hello()]).await;
    // 1 MiB is more than what the server reads before it refuses, and than what it reads at once:
    // the client must get through with it and find the answer.
    for padding in [17 * 1024, 64 * 1024, 1024 * 1024] {
        let mut client = server.connect().await;
        let field = format!("Upload-Metadata: {}\r\n", "x".repeat(padding));
        client.send(head("GET /hello", &field)).await;
        let answer = client.answer(false).await;
        assert_eq!(answer.status(), 431, "{padding}");
        assert!(answer.says_close());
        // hyper's answer, which nobody else can give, has no body.
        assert_eq!(answer.body, b"");
        assert!(client.is_closed().await);
    }
    let mut client = server.connect().await;
    let field = format!("Upload-Metadata: {}\r\n", "x".repeat(16 * 1024 - 100));
    client.send(head("GET /hello", &field)).await;
    assert_eq!(client.answer(false).await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn more_than_100_header_fields_are_answered_431() {
    let server = Server::start([hello()]).await;
    let mut client = server.connect().await;
    // Beside Host.
    client
        .send(head("GET /hello", &"A: b\r\n".repeat(99)))
        .await;
    assert_eq!(client.answer(false).await.status(), 200);
    client
        .send(head("GET /hello", &"A: b\r\n".repeat(100)))
        .await;
    assert_eq!(client.answer(false).await.status(), 431);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn what_hyper_refuses_by_itself_has_no_request_id() {
    let server = Server::start([hello()]).await;
    let too_many = "A: b\r\n".repeat(100);
    let long_path = format!("GET /{}", "x".repeat(70_000));
    for (request, fields, status) in [
        ("GET /hello", &*too_many, 431),
        (
            "GET /hello",
            "Content-Length: 18446744073709551615\r\n",
            431,
        ),
        (
            "GET /hello",
            "Content-Length: 99999999999999999999\r\n",
            400,
        ),
        (&*long_path, "", 431),
        ("GET /hello", "no field\r\n", 400),
    ] {
        let mut client = server.connect().await;
        client
            .send(head(request, &format!("X-Request-ID: mine\r\n{fields}")))
            .await;
        let answer = client.answer(false).await;
        assert_eq!(answer.status(), status, "{answer:?}");
        assert_eq!(answer.header("x-request-id"), None, "{answer:?}");
        assert_eq!(answer.body, b"", "{answer:?}");
        drop(client);
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_http_is_answered_400() {
    let server = Server::start([hello()]).await;
    for garbage in [
        "\x16\x03\x01\x02\0\x01\0\r\n\r\n",
        "PRI * HTTP/3.0\r\n\r\nhello, is it me?",
    ] {
        let mut client = server.connect().await;
        client.send(garbage).await;
        assert_eq!(client.answer(false).await.status(), 400, "{garbage:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_panic_of_a_handler_is_a_500_and_not_the_end_of_the_connection() {
    let panics = Route::any("/panics", |request| async move {
        assert!(request.head.uri.query().is_some(), "as told to");
        text(200, "")
    });
    let server = Server::start([hello(), panics]).await;
    let mut client = server.connect().await;
    let answer = client.ask("GET /panics").await;
    assert_eq!(
        (answer.status(), answer.json()["code"].as_str()),
        (500, Some("INTERNAL_ERROR"))
    );
    assert!(
        !answer.json().to_string().contains("as told to"),
        "internal detail"
    );
    assert_eq!(client.ask("GET /panics?not").await.status(), 200);
    assert_eq!(client.ask("GET /hello").await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn a_body_is_read_with_its_trailers() {
    let route = Route::any("/in", |mut request| async move {
        let promised = request.body.size_hint_exact();
        let (bytes, end) = read(&mut request.body).await;
        let trailers = end.unwrap().unwrap_or_default();
        let sum = trailers
            .get("upload-checksum")
            .map(|v| v.to_str().unwrap().to_owned());
        text(200, format!("{promised:?} {bytes} {sum:?}"))
    });
    let server = Server::start([route]).await;
    let mut client = server.connect().await;
    client
        .send(head("POST /in", "Content-Length: 4\r\n") + "1234")
        .await;
    assert_eq!(client.answer(false).await.body, b"Some(4) 4 None");
    client.send(head("POST /in", "")).await;
    assert_eq!(client.answer(false).await.body, b"Some(0) 0 None");
    client
        .send(head(
            "POST /in",
            "Transfer-Encoding: chunked\r\nTrailer: Upload-Checksum\r\n",
        ))
        .await;
    client
        .send("3\r\nabc\r\n2\r\nde\r\n0\r\nUpload-Checksum: sha1 x\r\n\r\n")
        .await;
    let answer = client.answer(false).await;
    assert_eq!(answer.body, b"None 5 Some(\"sha1 x\")");
    assert!(!answer.says_close());
    server.stop().await;
}

#[tokio::test]
async fn requests_and_connections_are_counted_under_bounded_labels() {
    let server = Server::start([hello()]).await;
    let mut client = server.connect().await;
    for request in ["GET /hello", "GET /hello", "FROB /hello", "NICATE /hello"] {
        client.ask(request).await;
    }
    let http = &server.metrics.http;
    assert_eq!(http.requests(&Method::GET, StatusCode::OK), 2);
    let encoded = server.metrics.encode();
    for line in [
        "tidegate_http_requests_total{method=\"other\",status=\"405\"} 2",
        "tidegate_http_request_duration_seconds_count{method=\"GET\"} 2",
        "tidegate_http_connections 1",
    ] {
        assert!(encoded.contains(line), "{line} in\n{encoded}");
    }
    drop(client);
    server.scope.cancel(crate::cancel::CancelReason::Shutdown);
    let _ = server.scope.settle(super::SOON).await;
    assert!(
        server
            .metrics
            .encode()
            .contains("tidegate_http_connections 0")
    );
}

/// Serves `problem` to a client and returns what that gets.
async fn refused(problem: Problem) -> super::Answer {
    let route = Route::any("/x", move |request| {
        let answer = reject::problem(&request.head.method, request.head.uri.path(), &problem);
        std::future::ready(answer)
    });
    let server = Server::start([route]).await;
    let answer = Client::new(
        tokio::net::TcpStream::connect(server.address)
            .await
            .unwrap(),
    )
    .ask("PATCH /x")
    .await;
    server.stop().await;
    answer
}

#[tokio::test]
async fn a_problem_brings_its_members_fields_and_reason_phrase_along() {
    let mismatch = refused(Problem::OffsetMismatch {
        expected: 7,
        provided: 3,
    })
    .await;
    assert_eq!(mismatch.status(), 409);
    assert_eq!(mismatch.json()["expected-offset"], 7);

    let stopping = refused(Problem::ShuttingDown { retry_after: 5 }).await;
    assert_eq!(
        (stopping.status(), stopping.header("retry-after")),
        (503, Some("5"))
    );

    let checksum = refused(Problem::ChecksumMismatch).await;
    assert_eq!(checksum.line, "HTTP/1.1 460 Checksum Mismatch");

    let invalid = refused(Problem::validation("Upload-Length", "is negative")).await;
    let errors = serde_json::json!({ "Upload-Length": ["is negative"] });
    assert_eq!(
        (invalid.status(), &invalid.json()["errors"]),
        (400, &errors)
    );

    let cancelled = Problem::UploadCancelled {
        reason: Some("no".into()),
        at: Some(1),
    };
    let cancelled = refused(cancelled).await.json();
    assert_eq!(cancelled["cancelledAt"], "1970-01-01T00:00:00.001Z");
    assert_eq!(cancelled["reason"], "no");
}

#[tokio::test]
async fn a_success_is_json() {
    let route = Route::any("/{message}", |request| async move {
        let message = request
            .path
            .get("message")
            .filter(|message| *message != "none");
        reject::success(StatusCode::CREATED, &[1, 2], message)
    });
    let server = Server::start([route]).await;
    let mut client = server.connect().await;
    let answer = client.ask("GET /none").await;
    assert_eq!(
        (answer.status(), answer.header("content-type")),
        (201, Some("application/json"))
    );
    assert_eq!(answer.body, br#"{"success":true,"data":[1,2]}"#);
    let answer = client.ask("GET /done").await;
    assert_eq!(
        answer.body,
        br#"{"success":true,"data":[1,2],"message":"done"}"#
    );
    server.stop().await;
}
