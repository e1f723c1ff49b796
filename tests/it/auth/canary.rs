//! Nothing that proves who a caller is may be told to anybody: not to the log, however much of it is
//! wanted, not to an answer, not to the metrics.

use serde_json::json;

use crate::support::h2c::H2;
use crate::support::jwt::{Keys, SECRET, Signer, claims, claims_with};
use crate::support::server::Server;
use crate::support::tus;
use crate::support::wire::{Answer, Req};
use crate::support::ws;

/// What must not be seen anywhere.
#[derive(Default)]
struct Secrets(Vec<String>);

impl Secrets {
    /// Takes note of each part of a token: what the log has of it may be cut.
    fn note(&mut self, token: &str) {
        self.0.extend(
            token
                .split('.')
                .filter(|part| part.len() > 8)
                .map(String::from),
        );
    }

    #[track_caller]
    fn assert_absent(&self, text: &str, place: &str) {
        for secret in &self.0 {
            assert!(
                !text.contains(secret.as_str()),
                "{place} tells {secret}:\n{text}"
            );
        }
    }
}

fn told(answer: &Answer) -> String {
    format!("{answer}{}", String::from_utf8_lossy(&answer.body))
}

/// Ways in which a client may show what it has, allowed or not.
fn with(secret: &str) -> Vec<Req> {
    let list = "/api/projects";
    let upload = "/api/uploads/3f2f5d3c-9d3e-4b0e-8c39-0d6c7a2e5a11/cancel";
    let content = "/files/3f2f5d3c-9d3e-4b0e-8c39-0d6c7a2e5a11";
    vec![
        Req::new("GET", list).bearer(secret),
        Req::new("GET", "/healthz").bearer(secret),
        Req::new("GET", "/no/such").bearer(secret).cookie(secret),
        Req::new("OPTIONS", "/files").bearer(secret),
        Req::new("GET", list).cookie(secret),
        tus::create(5).cookie(secret),
        tus::create(5)
            .cookie(secret)
            .header("Origin", "https://evil.example"),
        tus::create(5).bearer(secret),
        Req::new("GET", list).header("Authorization", format!("Basic {secret}")),
        Req::new("GET", list).header("Authorization", secret),
        Req::new("GET", list)
            .bearer(secret)
            .header("Authorization", secret),
        Req::new("HEAD", &format!("/api/events?ticket={secret}")),
        Req::new(
            "HEAD",
            &format!("/api/events?projectId=none&ticket={secret}"),
        ),
        Req::new("GET", &format!("/api/events?after=x&ticket={secret}")).bearer(secret),
        Req::new("GET", &format!("{list}?access_token={secret}")),
        Req::new("GET", &format!("{list}?limit=x&access_token={secret}")).bearer(secret),
        Req::new("POST", &format!("{upload}?token={secret}")),
        Req::new("POST", &format!("{upload}?token={secret}&token={secret}")),
        Req::new("GET", &format!("{content}?token={secret}")),
        Req::new("GET", &format!("{content}/?token={secret}&token={secret}")),
        Req::new("GET", &format!("{content}?token={secret}")).bearer(secret),
        Req::new("HEAD", &format!("{content}?token={secret}")),
        Req {
            target: format!("{}?ticket={secret}", ws::PATH),
            ..ws::handshake()
        },
        ws::handshake().cookie(secret),
    ]
}

#[tokio::test]
async fn no_credential_is_seen_again() {
    let keys = Keys::new();
    let secret = keys.write("secret", SECRET);
    let flags = [
        "--auth",
        "jwt",
        "--jwt-secret-file",
        &secret,
        "--log-filter",
        "trace",
    ];
    let server = Server::start(&flags).await;
    let signer = Signer::hs256(SECRET);
    let good = signer.sign(&claims_with(
        "ada",
        json!({"note": "canary-in-a-good-token"}),
    ));
    let mut secrets = Secrets(vec![SECRET.to_owned()]);
    let mut shown = vec![
        good.clone(),
        signer.sign(&claims_with("ada", json!({"exp": 1}))),
        signer.sign(&claims_with(
            "ada",
            json!({"role": ["canary-of-the-wrong-type"]}),
        )),
        signer.sign_as(
            &json!({"alg": "HS256", "kid": {"canary": "in a header"}}),
            &claims("a"),
        ),
        Signer::hs256("nobody").sign(&claims("ada")),
        "canary-that-is-no-token-at-all".to_owned(),
        "canary.of.three-parts-and-a-tail".to_owned(),
    ];
    let issued = Req::new("POST", "/api/events/ticket").bearer(&good);
    let issued = server.send(issued).await.expect(201).json();
    shown.push(
        issued["data"]["ticket"]
            .as_str()
            .expect("a ticket")
            .to_owned(),
    );
    let mut h2 = H2::open(server.addr()).await;
    for token in &shown {
        secrets.note(token);
        for request in with(token) {
            let what = format!("{} {}", request.method, request.target);
            let mut conn = server.connect().await;
            conn.send_request(&request).await;
            secrets.assert_absent(&told(&conn.answer().await), &what);
        }
        for request in with(token).into_iter().take(8) {
            let answer = h2.send(&request).await;
            secrets.assert_absent(&told(&answer), "HTTP/2");
        }
    }
    let metrics = server.send(Req::new("GET", "/metrics")).await.expect(200);
    secrets.assert_absent(&told(&metrics), "the metrics");
    server.sigterm();
    server.exited_within(crate::support::PATIENCE).await;
    let log = server.stderr();
    assert!(log.contains("TRACE") && log.contains("answered"), "{log}");
    secrets.assert_absent(&log, "the log");
    secrets.assert_absent(&server.stdout(), "standard output");
}
