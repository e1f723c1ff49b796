//! Webhooks: what happens, sent to whoever is to know (Standard Webhooks 1.0.0).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use crate::feed::told;
use crate::support::hook::{Hook, Sent, status};
use crate::support::server::{Server, run, run_server, temp_dir};
use crate::support::{eventually, random, rounds, tus};

/// 24 bytes and 32.
const SECRETS: [&str; 2] = [
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
];

/// Files of a configuration with webhooks.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self(temp_dir());
        std::fs::write(files.secret_file(), SECRETS.join("\n")).expect("write the secrets");
        files
    }

    fn secret_file(&self) -> PathBuf {
        self.0.path().join("secrets")
    }

    /// Writes a configuration with one webhook `lab`. Returns where it is.
    pub(crate) fn config(&self, url: &str, more: &str) -> String {
        let secret_file = self.secret_file();
        self.write(&format!(
            "[[webhook]]\nname = 'lab'\nurl = '{url}'\nsecret-file = '{}'\n{more}\n",
            secret_file.display()
        ))
    }

    fn write(&self, text: &str) -> String {
        let path = self.0.path().join("tidegate.toml");
        std::fs::write(&path, text).expect("write the configuration");
        path.display().to_string()
    }
}

/// A server with one webhook that may be on this machine.
async fn server(files: &Files, hook: &Hook, more: &str) -> Server {
    let url = format!("http://{}/hook?a=b", hook.addr());
    let config = files.config(&url, &format!("allow-private = true\n{more}"));
    Server::start(&["--config", &config]).await
}

/// Checks a signature as receivers do, with the library that Standard Webhooks has for them.
fn verify(sent: &Sent, secret: &str) -> Result<(), standardwebhooks::WebhookError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &sent.fields {
        let name = name.parse::<HeaderName>().expect("a name");
        headers.insert(name, value.parse().expect("a value"));
    }
    let webhook = standardwebhooks::Webhook::new(secret).expect("a secret");
    webhook.verify(sent.body.as_bytes(), &headers)
}

#[tokio::test]
async fn what_happens_is_sent_and_signed() {
    let (files, mut hook) = (Files::new(), Hook::open(|_| status(204)).await);
    let server = server(&files, &hook, "").await;
    let upload = server.complete(b"hello").await;
    server.send(tus::delete(&upload)).await.expect(204);
    let mut sent = BTreeMap::new();
    for _ in 0..3 {
        let one = hook.next().await;
        assert_eq!(one.line, "POST /hook?a=b HTTP/1.1");
        assert_eq!(one.field("host"), hook.addr().to_string());
        assert_eq!(one.field("content-type"), "application/json");
        assert!(one.field("user-agent").starts_with("tidegate/"));
        for secret in SECRETS {
            verify(&one, secret).expect("the signature is right");
        }
        let other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx";
        assert!(verify(&one, other).is_err());
        let changed = Sent {
            body: one.body.replace("hello", "") + " ",
            ..one.clone()
        };
        assert!(verify(&changed, SECRETS[0]).is_err());
        assert_eq!(one.event()["id"], one.id());
        sent.insert(one.kind(), one.event());
    }
    let kinds: Vec<_> = sent.keys().map(String::as_str).collect();
    assert_eq!(
        kinds,
        ["upload.completed", "upload.created", "upload.deleted"]
    );
    // Byte for byte what other readers get.
    for event in told(&server).await {
        assert_eq!(sent[event.kind()], event.json);
    }
}

#[tokio::test]
async fn only_what_is_wanted_is_sent() {
    let (files, mut hook) = (Files::new(), Hook::open(|_| status(200)).await);
    let server = server(&files, &hook, "types = 'upload.completed,upload.failed'").await;
    for _ in 0..5 {
        server.complete(b"hello").await;
    }
    for _ in 0..5 {
        assert_eq!(hook.next().await.kind(), "upload.completed");
    }
}

/// The operator's endpoints are told of every project, also of one that is new, and of its first event.
#[tokio::test]
async fn what_happens_in_a_new_project_is_sent_from_its_beginning() {
    let (files, mut hook) = (Files::new(), Hook::open(|_| status(200)).await);
    let mut server = server(&files, &hook, "types = 'upload.created'").await;
    let url = format!("http://{}/hook?a=b", hook.addr());
    let config = files.config(&url, "allow-private = true\ntypes = 'upload.created'");
    for round in 0..6 {
        let made = tus::request("POST", "/api/projects")
            .header("Content-Type", "application/json")
            .body(r#"{"title": "new"}"#);
        let made = server.send(made).await.expect(201).json();
        let project = made["data"]["id"].as_str().expect("an id");
        let mut create = tus::create(5);
        create.target = format!("/api/projects/{project}/uploads");
        let upload = tus::Upload::created(&server.send(create).await.expect(201));
        if round % 2 == 0 {
            server.kill9().await;
            server.restart(&["--config", &config]).await;
        }
        // At least once: what was not known to be delivered comes again.
        while hook.next().await.event()["subject"] != format!("upload/{}", upload.id()) {}
    }
}

/// What has failed comes again with the same id, and what comes after it does not wait.
#[tokio::test]
async fn what_is_refused_is_sent_again_and_holds_up_nothing() {
    let files = Files::new();
    let refused = AtomicBool::new(false);
    let mut hook = Hook::open(move |sent| {
        let is_first = sent.kind() == "upload.created" && !refused.swap(true, Ordering::SeqCst);
        status(if is_first { 400 } else { 200 })
    })
    .await;
    let server = server(&files, &hook, "").await;
    server.complete(b"hello").await;
    let refused_at = Instant::now();
    let mut created = Vec::new();
    let mut kinds = Vec::new();
    while created.len() < 2 {
        let sent = hook.next().await;
        kinds.push(sent.kind());
        if sent.kind() == "upload.created" {
            verify(&sent, SECRETS[0]).expect("the signature is right");
            created.push(sent);
        }
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    assert_eq!(kinds[2], "upload.created");
    assert_eq!(created[0].id(), created[1].id());
    assert_eq!(created[0].body, created[1].body);
    assert!(refused_at.elapsed() >= Duration::from_secs(5));
    let stderr = server.stderr();
    assert!(stderr.contains("answered 400"), "{stderr}");
    assert!(!stderr.contains("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
}

/// However many are refused.
#[tokio::test]
async fn what_is_taken_does_not_wait_for_what_is_refused() {
    let files = Files::new();
    let mut hook = Hook::open(|sent| {
        let is_wanted = sent.kind() == "upload.completed";
        status(if is_wanted { 200 } else { 422 })
    })
    .await;
    let server = server(&files, &hook, "").await;
    for _ in 0..30 {
        server.create(5).await;
    }
    // Until all of them have failed once, and are due again.
    let mut attempts = BTreeMap::<String, u32>::new();
    while attempts.values().filter(|count| **count > 1).count() < 2 {
        *attempts
            .entry(hook.next().await.id().to_owned())
            .or_default() += 1;
    }
    server.complete(b"hello").await;
    let asked = Instant::now();
    while hook.next().await.kind() != "upload.completed" {}
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
}

/// Connections on which nothing comes of the handshake are neither kept nor waited for.
#[tokio::test]
async fn a_handshake_without_an_end_holds_up_nothing() {
    let files = Files::new();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("listen");
    let port = silent.local_addr().expect("an address").port();
    let config = files.config(
        &format!("https://localhost:{port}/"),
        "allow-private = true",
    );
    let server = Server::start(&["--config", &config]).await;
    server.complete(b"hello").await;
    let _held = silent.accept().await.expect("it connects");
    server.sigterm();
    let exit = server.exited_within(Duration::from_secs(5)).await;
    assert!(exit.success(), "{exit}");
    assert!(!server.stderr().contains("not everything has settled"));
}

#[tokio::test]
async fn a_redirect_is_a_failure() {
    let (files, mut other) = (Files::new(), Hook::open(|_| status(200)).await);
    let location = format!("http://{}/", other.addr());
    let mut hook = Hook::open(move |_| {
        let head = format!("HTTP/1.1 307 X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        Some(head)
    })
    .await;
    let server = server(&files, &hook, "").await;
    server.create(5).await;
    // The second attempt comes after the first has been judged.
    assert_eq!(hook.next().await.id(), hook.next().await.id());
    assert!(server.stderr().contains("answered 307"));
    assert!(other.all().is_empty());
}

#[tokio::test]
async fn who_is_gone_is_left_alone_until_the_next_start() {
    let files = Files::new();
    let is_gone = Arc::new(AtomicBool::new(true));
    let gone = is_gone.clone();
    let mut hook = Hook::open(move |_| {
        status(if gone.load(Ordering::SeqCst) {
            410
        } else {
            200
        })
    })
    .await;
    let mut server = server(&files, &hook, "").await;
    server.create(5).await;
    hook.next().await;
    eventually("it is given up", async || {
        server
            .stderr()
            .contains("the endpoint is gone")
            .then_some(())
    })
    .await;
    server.complete(b"hello").await;
    server.sigterm();
    let exit = server.exited_within(Duration::from_secs(10)).await;
    assert!(exit.success());
    assert!(hook.all().is_empty());
    is_gone.store(false, Ordering::SeqCst);
    let config = files.0.path().join("tidegate.toml").display().to_string();
    server.restart(&["--config", &config]).await;
    let expected: BTreeSet<_> = told(&server).await.iter().map(event_id).collect();
    let mut sent = BTreeSet::new();
    while !sent.is_superset(&expected) {
        sent.insert(hook.next().await.id().to_owned());
    }
}

fn event_id(event: &crate::support::sse::Event) -> String {
    event.json["id"].as_str().expect("an id").to_owned()
}

/// Whoever configures a webhook must not reach what the server's network lets it reach.
#[tokio::test]
async fn private_addresses_are_refused_unless_allowed() {
    let files = Files::new();
    let mut hook = Hook::open(|_| status(200)).await;
    let port = hook.addr().port();
    let private = "leads to no public address";
    for (host, why) in [
        ("127.0.0.1", private),
        ("localhost", private),
        ("[::ffff:127.0.0.1]", private),
        ("0.0.0.0", private),
        // Numbers that the system takes for an address, and TLS for no name.
        ("2130706433", "invalid dns name"),
        ("0x7f.1", "invalid dns name"),
    ] {
        let config = files.config(&format!("https://{host}:{port}/"), "");
        let server = Server::start(&["--config", &config]).await;
        server.create(5).await;
        eventually("it is refused", async || {
            server.stderr().contains(why).then_some(())
        })
        .await;
    }
    assert!(hook.all().is_empty());
}

/// Crashes, and an endpoint that is away half of the time: everything arrives in the end.
#[tokio::test]
async fn nothing_is_lost_however_often_either_side_goes_down() {
    let (files, mut rng) = (Files::new(), random("webhook crashes"));
    let coin = AtomicUsize::new(0);
    let mut hook = Hook::open(move |_| {
        let turn = coin.fetch_add(1, Ordering::SeqCst);
        status(if turn % 3 == 1 { 503 } else { 200 })
    })
    .await;
    let mut server = server(&files, &hook, "").await;
    let config = files.0.path().join("tidegate.toml").display().to_string();
    let mut sent = BTreeMap::<String, BTreeSet<String>>::new();
    for _ in 0..rounds(6) {
        for _ in 0..rng.usize(1..4) {
            server.complete(b"hello").await;
        }
        for _ in 0..rng.usize(0..3) {
            let one = hook.next().await;
            sent.entry(one.id().to_owned())
                .or_default()
                .insert(one.body);
        }
        server.kill9().await;
        server.restart(&["--config", &config]).await;
    }
    let expected: BTreeSet<_> = told(&server).await.iter().map(event_id).collect();
    while !expected.iter().all(|id| sent.contains_key(id)) {
        let one = hook.next().await;
        verify(&one, SECRETS[1]).expect("the signature is right");
        sent.entry(one.id().to_owned())
            .or_default()
            .insert(one.body);
    }
    for (id, bodies) in sent {
        assert_eq!(bodies.len(), 1, "{id} is the same each time: {bodies:?}");
    }
}

/// An endpoint that takes everything and answers nothing disturbs nobody, and not the end either.
#[tokio::test]
async fn a_silent_endpoint_is_in_nobodys_way() {
    let (files, mut hook) = (Files::new(), Hook::open(|_| None).await);
    let server = server(&files, &hook, "").await;
    for _ in 0..50 {
        server.complete(b"hello").await;
    }
    hook.next().await;
    server.sigterm();
    let exit = server.exited_within(Duration::from_secs(5)).await;
    assert!(exit.success(), "{exit}");
    assert!(!server.stderr().contains("not everything has settled"));
}

/// An answer without an end, and one that is too long: its status is what counts.
#[tokio::test]
async fn an_answers_body_is_not_wanted() {
    let files = Files::new();
    let turn = AtomicUsize::new(0);
    let mut hook = Hook::open(move |_| match turn.fetch_add(1, Ordering::SeqCst) % 2 {
        0 => Some("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nx".to_owned()),
        _ => {
            let body = "x".repeat(10_000_000);
            Some(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n{body}"
            ))
        }
    })
    .await;
    let server = server(&files, &hook, "").await;
    for _ in 0..4 {
        server.create(5).await;
    }
    let ids: BTreeSet<_> = [hook.next().await, hook.next().await, hook.next().await]
        .iter()
        .chain([&hook.next().await])
        .map(|sent| sent.id().to_owned())
        .collect();
    assert_eq!(ids.len(), 4, "each is delivered once");
    assert!(!server.stderr().contains("not delivered"));
}

/// A receiver over TLS, and a file with its certificate.
async fn secure(files: &Files) -> (Hook, PathBuf) {
    let made = rcgen::generate_simple_self_signed([String::from("localhost")]).expect("made");
    let path = files.0.path().join("ca.pem");
    std::fs::write(&path, made.cert.pem()).expect("write the certificate");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a certificate and its key");
    let tls = TlsAcceptor::from(Arc::new(config));
    let hook = Hook::open_at(([127, 0, 0, 1], 0).into(), Some(tls), |_| status(200)).await;
    (hook, path)
}

#[tokio::test]
async fn over_tls_whom_the_machine_trusts_is_trusted() {
    let files = Files::new();
    let (mut hook, certificate) = secure(&files).await;
    let url = format!("https://localhost:{}/", hook.addr().port());
    let config = files.config(&url, "allow-private = true");
    let flags = ["--config", config.as_str()];
    let data = temp_dir();
    let server = Server::start_with(data.path(), &flags, &[]).await;
    server.create(5).await;
    eventually("it is not trusted", async || {
        server.stderr().contains("UnknownIssuer").then_some(())
    })
    .await;
    server.kill9().await;
    assert!(hook.all().is_empty());
    let trusted: [(&str, &Path); 1] = [("SSL_CERT_FILE", &certificate)];
    let _server = Server::start_with(data.path(), &flags, &trusted).await;
    assert_eq!(hook.next().await.kind(), "upload.created");
}

/// One that is no longer configured is forgotten; one that comes back begins anew.
#[tokio::test]
async fn who_is_left_out_once_begins_anew() {
    let (files, mut hook) = (Files::new(), Hook::open(|_| status(200)).await);
    let mut server = server(&files, &hook, "").await;
    server.create(5).await;
    hook.next().await;
    server.kill9().await;
    server.restart(&[]).await;
    server.create(6).await;
    server.kill9().await;
    let config = files.0.path().join("tidegate.toml").display().to_string();
    server.restart(&["--config", &config]).await;
    server.create(7).await;
    let sent = hook.next().await;
    assert_eq!(sent.event()["data"]["length"], 7);
}

#[tokio::test]
async fn the_metrics_tell_how_it_goes() {
    let (files, mut hook) = (Files::new(), Hook::open(|_| status(200)).await);
    let server = server(&files, &hook, "").await;
    server.create(5).await;
    hook.next().await;
    eventually("it is counted", async || {
        let answer = server.send(tus::request("GET", "/metrics")).await;
        let metrics = String::from_utf8(answer.body).expect("text");
        let line = "tidegate_webhook_attempts_total{webhook=\"lab\",outcome=\"delivered\"} 1";
        metrics.contains(line).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_webhook_that_cannot_work_is_refused_at_the_start() {
    let files = Files::new();
    let secrets = files.secret_file().display().to_string();
    let webhook = |lines: &str| format!("[[webhook]]\n{lines}\n");
    let with_url = |url: &str| {
        webhook(&format!(
            "name = 'lab'\nurl = '{url}'\nsecret-file = '{secrets}'"
        ))
    };
    let good = with_url("https://example.org/");
    for (config, complaint) in [
        (with_url("http://example.org/"), "https://"),
        (with_url("ftp://example.org/"), "needs a `url`"),
        (with_url("https://me:pw@example.org/"), "needs a `url`"),
        (with_url("example.org"), "needs a `url`"),
        (with_url("https://example.org:99999/"), "needs a `url`"),
        (with_url("https://example.org:/"), "needs a `url`"),
        (good.replace("lab", "The Lab"), "is no name"),
        (good.clone() + &good, "there twice"),
        (good.clone() + "types = 'upload.gone'", "upload.gone"),
        (good.clone() + "types = 'upload.progress'", "live only"),
        (good.clone() + "colour = 'red'", "colour"),
        (
            webhook("name = 'lab'\nurl = 'https://example.org/'"),
            "secret-file",
        ),
        (
            (0..17)
                .map(|n| good.replace("lab", &format!("lab-{n}")))
                .collect(),
            "17 times",
        ),
    ] {
        let path = files.write(&config);
        let outcome = run(&["check", "--config", &path]).await;
        assert_eq!(outcome.status.code(), Some(2), "{config}\n{outcome}");
        assert!(outcome.stderr.contains(complaint), "{config}\n{outcome}");
    }
    let path = files.write(&good);
    for (text, complaint) in [
        ("", "must have 1 to 4 secrets"),
        ("secret", "line 1"),
        ("\n\nwhsec_c2hvcnQ=\n", "line 3"),
    ] {
        std::fs::write(files.secret_file(), text).expect("write the secrets");
        let checked = run(&["check", "--config", &path]).await;
        let data = temp_dir();
        let served = run_server(data.path(), &["--config", &path]).await;
        for outcome in [checked, served] {
            assert_eq!(outcome.status.code(), Some(1), "{outcome}");
            assert!(outcome.stderr.contains(complaint), "{text:?}\n{outcome}");
            assert!(!outcome.stderr.contains("c2hvcnQ"), "{outcome}");
        }
    }
}
