//! What a request needs, and what it is told that has not got it.

use serde_json::json;

use crate::support::jwt::{Signer, claims, claims_with, guarded};
use crate::support::server::{Server, files_in};
use crate::support::tus;
use crate::support::wire::{Answer, Req};
use crate::support::ws;

const ID: &str = "3f2f5d3c-9d3e-4b0e-8c39-0d6c7a2e5a11";

/// Everything that is for callers.
fn for_callers() -> Vec<Req> {
    let upload = format!("/files/{ID}");
    let view = format!("/api/uploads/{ID}");
    vec![
        tus::post().header("Upload-Length", "5"),
        tus::request("POST", "/files/").header("Upload-Length", "5"),
        tus::request("HEAD", &upload),
        tus::request("PATCH", &upload).body("hello"),
        tus::request("DELETE", &upload),
        tus::request("POST", &upload).header("X-HTTP-Method-Override", "DELETE"),
        Req::new("GET", &upload),
        Req::new("GET", "/files"),
        Req::new("PUT", "/files").body("hello"),
        Req::new("TRACE", &upload),
        Req::new("GET", "/api/projects/default/uploads"),
        Req::new("HEAD", "/api/projects/default/uploads"),
        tus::request("POST", "/api/projects/default/uploads").header("Upload-Length", "5"),
        Req::new("GET", &view),
        Req::new("POST", &format!("{view}/cancel")),
        Req::new("POST", "/api/projects/default/uploads/cancel"),
        Req::new(
            "POST",
            &format!("/api/projects/default/uploads/{ID}/cancel"),
        ),
        Req::new("GET", "/api/events"),
        Req::new("POST", "/api/events/ticket"),
        ws::handshake(),
    ]
}

#[track_caller]
fn expect_challenge(answer: Answer, error: Option<&str>) -> Answer {
    let answer = match answer.body.is_empty() {
        // To HEAD.
        true => answer.expect(401),
        false => answer.expect_slug(401, "unauthorized"),
    };
    let challenge = answer.field("WWW-Authenticate").to_owned();
    match error {
        None => assert_eq!(challenge, "Bearer realm=\"tidegate\"", "{answer}"),
        Some(error) => {
            let begin = "Bearer realm=\"tidegate\", error=\"invalid_token\", error_description=\"";
            let described = challenge
                .strip_prefix(begin)
                .unwrap_or_else(|| panic!("{answer}"));
            assert!(described.contains(error), "{error}: {answer}");
        }
    }
    answer
}

#[tokio::test]
async fn without_a_token_nothing_is_served_that_is_for_callers() {
    let (server, _) = guarded(&[]).await;
    for request in for_callers() {
        let what = format!("{} {}", request.method, request.target);
        let answer = server.send(request).await;
        println!("{what}: {answer}");
        expect_challenge(answer, None);
    }
}

#[tokio::test]
async fn what_is_public_needs_no_token_and_a_preflight_none_either() {
    let (server, _) = guarded(&[]).await;
    for (method, target, status) in [
        ("GET", "/healthz", 200),
        ("HEAD", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/problems/unauthorized", 200),
        ("GET", "/problems/no-such", 404),
        ("GET", "/no/such/path", 404),
        ("OPTIONS", "/files", 204),
        ("OPTIONS", "/files/", 204),
        ("OPTIONS", "/api/projects/default/uploads", 204),
        ("OPTIONS", "/api/events", 204),
        ("OPTIONS", "/api/events/ticket", 204),
    ] {
        // A bad token does not close what is open to everybody.
        for request in [
            Req::new(method, target),
            Req::new(method, target).bearer("bad"),
        ] {
            let answer = server.send(request).await;
            assert_eq!(answer.status, status, "{method} {target}:\n{answer}");
        }
    }
}

#[tokio::test]
async fn an_override_does_not_make_a_preflight_another_method() {
    let (server, signer) = guarded(&[]).await;
    let token = signer.sign(&claims("ada"));
    let created = server.send(tus::create(5).bearer(&token)).await.expect(201);
    let path = tus::Upload::created(&created).path;
    for method in ["DELETE", "PATCH", "POST", "HEAD"] {
        let request = tus::options(&path).header("X-HTTP-Method-Override", method);
        let answer = server.send(request).await.expect(204);
        answer.expect_no_header("Upload-Offset");
    }
    let still = server
        .send(tus::request("HEAD", &path).bearer(&token))
        .await;
    still.expect(200).expect_offset(0);
}

#[tokio::test]
async fn an_uploads_refusal_is_one_that_tus_clients_and_browsers_can_read() {
    let (server, _) = guarded(&["--cors-origin", "https://app.example"]).await;
    for path in ["/files".to_owned(), format!("/files/{ID}")] {
        let request = tus::request("POST", &path).header("Origin", "https://app.example");
        let answer = expect_challenge(server.send(request).await, None);
        let exposed = answer.list("Access-Control-Expose-Headers");
        assert!(exposed.contains(&"www-authenticate".to_owned()), "{answer}");
        answer
            .expect_header("Tus-Resumable", "1.0.0")
            .expect_header("Access-Control-Allow-Origin", "https://app.example")
            .expect_header("Access-Control-Allow-Credentials", "true");
    }
    let draft = Req::new("POST", "/files")
        .header("Upload-Complete", "?1")
        .body("hello");
    let draft = draft.header("Upload-Draft-Interop-Version", "8");
    let answer = expect_challenge(server.send(draft).await, None);
    answer.expect_no_header("Tus-Resumable");
}

#[tokio::test]
async fn whoever_still_sends_his_body_reads_the_refusal_and_nothing_is_stored() {
    const SIZE: usize = 8 << 20;
    let (server, signer) = guarded(&[]).await;
    let token = signer.sign(&claims("ada"));
    let created = server.send(tus::create(SIZE as u64).bearer(&token)).await;
    let upload = tus::Upload::created(&created.expect(201));
    let (patch, create) = (tus::patch(&upload, 0), tus::create_with_data(SIZE as u64));
    for request in [&patch, &create] {
        let whole = request.clone().body(vec![7; SIZE]);
        let answer = expect_challenge(server.send(whole).await, None);
        answer.expect_header("Connection", "close");
        // As one that was asked for nothing yet.
        let mut conn = server.connect().await;
        let polite = request.clone().declare(SIZE as u64).expect_continue();
        conn.send_head(&polite).await;
        let answer = expect_challenge(conn.answer().await, None);
        assert!(answer.interim.is_empty(), "{answer}");
        let mut conn = server.connect().await;
        conn.send_head(&request.clone().declare(SIZE as u64)).await;
        conn.send(&[7; 4096]).await;
        expect_challenge(conn.answer().await, None);
    }
    let head = tus::head(&upload).bearer(&token);
    server.send(head).await.expect(200).expect_offset(0);
    let list = async |path: &str| {
        let list = server.send(Req::new("GET", path).bearer(&token)).await;
        let list = list.expect(200).json();
        assert_eq!(list["pagination"]["total"], 1, "{list}");
        list["data"][0]["id"].as_str().expect("an id").to_owned()
    };
    let home = list("/api/projects").await;
    let only = list(&format!("/api/projects/{home}/uploads")).await;
    assert_eq!(only, upload.id());
    let stored = files_in(&server.data_dir().join("blobs"));
    let stored = stored
        .iter()
        .map(|path| path.metadata().expect("a file").len());
    assert!(stored.sum::<u64>() < 4096);
}

#[tokio::test]
async fn a_token_makes_the_caller_and_his_name_stands_in_the_log() {
    let (server, signer) = guarded(&["--log-filter", "debug"]).await;
    let token = signer.sign(&claims("ada \u{202e}\u{1f9ed}"));
    let created = server.send(tus::create(5).bearer(&token)).await.expect(201);
    let upload = tus::Upload::created(&created);
    let patch = tus::patch(&upload, 0).body("hello").bearer(&token);
    server.send(patch).await.expect(204).expect_offset(5);
    let view = format!("/api/uploads/{}", upload.id());
    let view = server.send(Req::new("GET", &view).bearer(&token)).await;
    let owner = view.expect(200).json()["data"]["ownerId"].clone();
    assert_eq!(owner, "ada \u{202e}\u{1f9ed}");
    assert!(
        server.stderr().contains("user=\"ada "),
        "{}",
        server.stderr()
    );
}

#[tokio::test]
async fn a_token_that_is_no_good_is_described() {
    let (server, signer) = guarded(&["--jwt-issuer", "us", "--jwt-audience", "them"]).await;
    let now = crate::support::jwt::now();
    let good = |others| {
        let expected = claims_with("ada", json!({"iss": "us", "aud": ["x", "them"]}));
        let mut claims = expected;
        let serde_json::Value::Object(others) = others else {
            panic!("claims");
        };
        claims.as_object_mut().expect("an object").extend(others);
        signer.sign(&claims)
    };
    let list = |token: &str| Req::new("GET", "/api/projects").bearer(token);
    for fine in [
        json!({}),
        json!({"aud": "them"}),
        // Clocks may be some seconds apart.
        json!({"exp": now - 5}),
        json!({"nbf": now + 5}),
        json!({"nbf": now - 60, "iat": "whenever"}),
    ] {
        server.send(list(&good(fine.clone()))).await.expect(200);
    }
    for (others, told) in [
        (json!({"exp": now - 60}), "has expired"),
        (json!({"nbf": now + 60}), "is not valid yet"),
        (json!({"iss": "others"}), "from another issuer"),
        (json!({"iss": null}), "has no iss"),
        (json!({"aud": "others"}), "for another audience"),
        (json!({"aud": []}), "for another audience"),
        (json!({"aud": null}), "has no aud"),
        (json!({"exp": null}), "is malformed"),
        (json!({"sub": ""}), "names no user"),
        (json!({"sub": null}), "has no sub"),
    ] {
        let answer = server.send(list(&good(others.clone()))).await;
        println!("{others}: {answer}");
        expect_challenge(answer, Some(told));
    }
    let stranger = Signer::hs256("another secret of more than thirty-two bytes");
    let forged = stranger.sign(&claims_with("ada", json!({"iss": "us", "aud": "them"})));
    let answer = server.send(list(&forged)).await;
    expect_challenge(answer, Some("signature is wrong"));
}

#[tokio::test]
async fn credentials_that_contradict_themselves_are_refused() {
    let (server, signer) = guarded(&[]).await;
    let token = signer.sign(&claims("ada"));
    let list = || Req::new("GET", "/api/projects");
    let bearer = format!("Bearer {token}");
    for refused in [
        list()
            .header("Authorization", &bearer)
            .header("Authorization", &bearer),
        list().header("Authorization", "Basic YTpi"),
        list().header("Authorization", "Bearer"),
        list().header("Authorization", "Bearer "),
        list().header("Authorization", &token),
        list().header("Authorization", format!("Bearer {token} {token}")),
        list().header("Authorization", format!("Bearer {token},")),
        list().header("Authorization", b"Bearer \xff\xfe"),
        list().header("Authorization", "Basic YTpi").cookie(&token),
        list().header(
            "Cookie",
            format!("access_token={token}; access_token={token}"),
        ),
        list().header("Cookie", format!("access_token=\"{token}\"")),
        list().header("Cookie", "access_token="),
        list()
            .cookie(&token)
            .header("Cookie", format!("access_token={token}")),
    ] {
        let answer = server.send(refused).await;
        expect_challenge(answer, Some(""));
    }
    for fine in [
        list().header("Authorization", &bearer),
        list().header("Authorization", format!("bEARER {token}")),
        list().header("Authorization", format!("Bearer   {token}")),
        list().cookie(&token),
        list().header("Cookie", format!(" a=b;access_token={token} ;c")),
        // The header wins.
        list()
            .header("Authorization", &bearer)
            .header("Cookie", "access_token=bad"),
    ] {
        server.send(fine).await.expect(200);
    }
    for elsewhere in [
        list().header("Cookie", format!("xaccess_token={token}")),
        list().header("Cookie", format!("access_token2={token}")),
        list().header("Cookie", format!("Access_Token={token}")),
        list().header("X-Access-Token", &token),
        Req::new("GET", &format!("/api/projects?access_token={token}")),
        Req::new("GET", &format!("/api/projects?token={token}")),
        Req::new("GET", &format!("/api/events?ticket={token}&x=1")),
    ] {
        server.send(elsewhere).await.expect(401);
    }
}

#[tokio::test]
async fn with_the_cookie_a_change_needs_an_origin_that_may_act_for_the_user() {
    let (server, signer) = guarded(&["--cors-origin", "https://app.example"]).await;
    let token = signer.sign(&claims("ada"));
    let own = format!("http://{}", server.addr());
    let create = || tus::create(5).cookie(&token);
    for fine in [
        create().header("Origin", &own),
        create().header("Origin", "https://app.example"),
        tus::create(5).bearer(&token),
        tus::create(5)
            .bearer(&token)
            .header("Origin", "https://evil.example"),
    ] {
        server.send(fine).await.expect(201);
    }
    for refused in [
        create(),
        create().header("Origin", "https://evil.example"),
        create().header("Origin", "null"),
        create().header("Origin", &own).header("Origin", &own),
        create().header("Referer", &own),
        Req::new("POST", "/api/events/ticket").cookie(&token),
        tus::request("DELETE", &format!("/files/{ID}")).cookie(&token),
    ] {
        let answer = server
            .send(refused)
            .await
            .expect_slug(403, "foreign-origin");
        answer.expect_no_header("WWW-Authenticate");
    }
    // A browser keeps from a foreign page what it reads.
    let list = Req::new("GET", "/api/projects").cookie(&token);
    server
        .send(list.header("Origin", "https://evil.example"))
        .await
        .expect(200);
}

#[tokio::test]
async fn with_the_cookie_a_websocket_needs_an_origin_as_well() {
    let (server, signer) = guarded(&[]).await;
    let token = signer.sign(&claims("ada"));
    let own = format!("http://{}", server.addr());
    for (request, status) in [
        (ws::handshake().cookie(&token), 403),
        (
            ws::handshake()
                .cookie(&token)
                .header("Origin", "https://evil.example"),
            403,
        ),
        (ws::handshake().cookie(&token).header("Origin", &own), 101),
        (ws::handshake().bearer(&token), 101),
    ] {
        let mut conn = server.connect().await;
        conn.send_request(&request).await;
        let answer = conn.answer().await;
        assert_eq!(answer.status, status, "{answer}");
    }
}

#[tokio::test]
async fn without_authentication_credentials_are_not_even_looked_at() {
    let server = Server::start(&[]).await;
    let create = tus::create(5)
        .bearer("bad")
        .header("Cookie", "access_token=bad");
    let created = server.send(create).await.expect(201);
    let id = tus::Upload::created(&created).id().to_owned();
    let view = Req::new("GET", &format!("/api/uploads/{id}")).header("Authorization", "Basic x");
    let owner = server.send(view).await.expect(200).json()["data"]["ownerId"].clone();
    assert_eq!(owner, "local");
    // Nor is what might lend a right.
    let read = Req::new("GET", &format!("/files/{id}?token=x&token=y"));
    server
        .send(read)
        .await
        .expect_slug(409, "upload-incomplete");
}
