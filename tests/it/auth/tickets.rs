//! Tickets: what a browser shows in the place of a token that it cannot send.

use serde_json::json;

use crate::support::jwt::{Signer, claims, guarded};
use crate::support::server::Server;
use crate::support::sse::Sse;
use crate::support::tus;
use crate::support::wire::Req;
use crate::support::ws;

async fn ticket(server: &Server, token: &str) -> String {
    let request = Req::new("POST", "/api/events/ticket").bearer(token);
    let answer = server.send(request).await.expect(201);
    let answer = answer.expect_header("Cache-Control", "no-store").json();
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(answer["data"]["expiresIn"], 30, "{answer}");
    let ticket = answer["data"]["ticket"].as_str().expect("a ticket");
    assert_eq!(ticket.len(), 43, "256 bits in base64");
    ticket.to_owned()
}

async fn as_ada() -> (Server, String, Signer) {
    let (server, signer) = guarded(&[]).await;
    let token = signer.sign(&claims("ada"));
    (server, token, signer)
}

#[tokio::test]
async fn a_ticket_opens_one_stream_of_events() {
    let (server, token, _) = as_ada().await;
    let ticket = ticket(&server, &token).await;
    let query = format!("ticket={ticket}");
    let mut sse = Sse::open(&server, &query, None).await;
    let created = server.send(tus::create(5).bearer(&token)).await.expect(201);
    let event = sse.next().await;
    let id = tus::Upload::created(&created).id().to_owned();
    assert_eq!(event.subject(), format!("upload/{id}"));
    let again = server
        .send(Req::new("GET", &format!("/api/events?{query}")))
        .await;
    let again = again.expect_slug(401, "unauthorized");
    assert!(
        again.field("WWW-Authenticate").contains("has been used"),
        "{again}"
    );
}

#[tokio::test]
async fn a_ticket_opens_one_websocket() {
    let (server, token, _) = as_ada().await;
    let ticket = ticket(&server, &token).await;
    let path = format!("{}?ticket={ticket}", ws::PATH);
    let mut socket = ws::Socket::open_at(&server, &path).await;
    let ack = socket.acked(json!({"op": "subscribe"})).await;
    assert!(ack.is_object(), "{ack}");
    let again = Req {
        target: path,
        ..ws::handshake()
    };
    server.send(again).await.expect(401);
}

#[tokio::test]
async fn a_ticket_is_for_feeds_and_for_nothing_else() {
    let (server, token, _) = as_ada().await;
    let created = server.send(tus::create(5).bearer(&token)).await.expect(201);
    let upload = tus::Upload::created(&created);
    let ticket = ticket(&server, &token).await;
    let id = upload.id();
    for (method, target) in [
        ("GET", String::from("/api/projects")),
        ("GET", format!("/api/uploads/{id}")),
        ("POST", format!("/api/uploads/{id}/cancel")),
        ("POST", String::from("/api/events/ticket")),
        ("POST", String::from("/files")),
        ("GET", upload.path.clone()),
        ("HEAD", upload.path.clone()),
        ("DELETE", upload.path.clone()),
    ] {
        for name in ["ticket", "token", "access_token"] {
            let target = format!("{target}?{name}={ticket}");
            server.send(tus::request(method, &target)).await.expect(401);
        }
    }
    let as_token = Req::new("GET", "/api/projects").bearer(&ticket);
    server.send(as_token).await.expect(401);
    let as_cookie = Req::new("GET", "/api/events").cookie(&ticket);
    server.send(as_cookie).await.expect(401);
    for name in ["Ticket", "tickets", "token"] {
        let target = format!("/api/events?{name}={ticket}");
        server.send(Req::new("GET", &target)).await.expect(401);
    }
    let twice = format!("/api/events?ticket={ticket}&ticket={ticket}");
    server.send(Req::new("GET", &twice)).await.expect(401);
    // Nothing of that has used it up.
    Sse::open(&server, &format!("ticket={ticket}"), None).await;
}

#[tokio::test]
async fn a_ticket_needs_a_caller_and_a_token_comes_before_it() {
    let (server, token, _) = as_ada().await;
    server
        .send(Req::new("POST", "/api/events/ticket"))
        .await
        .expect(401);
    let ticket = ticket(&server, &token).await;
    let both = Req::new("HEAD", &format!("/api/events?ticket={ticket}")).bearer("bad");
    server.send(both).await.expect(401);
    Sse::open(&server, &format!("ticket={ticket}"), None).await;
}

#[tokio::test]
async fn a_login_token_does_not_cancel_as_a_capability() {
    let (server, token, _) = as_ada().await;
    let created = server.send(tus::create(5).bearer(&token)).await.expect(201);
    let id = tus::Upload::created(&created).id().to_owned();
    let target = format!("/api/uploads/{id}/cancel?token={token}");
    let answer = server.send(Req::new("POST", &target)).await;
    let answer = answer.expect_slug(401, "unauthorized");
    assert!(
        answer.field("WWW-Authenticate").contains("not for this"),
        "{answer}"
    );
    let view = Req::new("GET", &format!("/api/uploads/{id}")).bearer(&token);
    let view = server.send(view).await.expect(200).json();
    assert_eq!(view["data"]["state"], "uploading", "{view}");
}

#[tokio::test]
async fn without_authentication_tickets_are_given_out_and_not_needed() {
    let server = Server::start(&[]).await;
    let answer = server.send(Req::new("POST", "/api/events/ticket")).await;
    answer.expect(201);
    Sse::open(&server, "projectId=default&ticket=none", None).await;
}
