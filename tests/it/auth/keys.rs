//! Keys of every kind: what they check, how they change, and which are no keys.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::hook::{Hook, Sent, text};
use crate::support::jwt::{Keys, SECRET, Signer, base64, claims, claims_with, jwks, now, unbase64};
use crate::support::server::{Server, run, run_server, temp_dir};
use crate::support::wire::{Answer, Req};

fn list(token: &str) -> Req {
    Req::new("GET", "/api/projects").bearer(token)
}

#[track_caller]
fn expect_fault(answer: Answer, told: &str) {
    let answer = answer.expect_slug(401, "unauthorized");
    assert!(
        answer.field("WWW-Authenticate").contains(told),
        "{told}: {answer}"
    );
}

#[tokio::test]
async fn each_kind_of_key_checks_its_algorithm() {
    let keys = Keys::new();
    for signer in [Signer::rs256(), Signer::es256(), Signer::eddsa()] {
        let algorithm = signer.algorithm();
        let pem = keys.write("pem", signer.pem());
        let document = keys.write("jwks", jwks(&[signer.jwk("k1")]));
        for (flag, path) in [("--jwt-public-key", &pem), ("--jwt-jwks", &document)] {
            let server = Server::start(&["--auth", "jwt", flag, path]).await;
            server
                .send(list(&signer.sign(&claims("ada"))))
                .await
                .expect(200);
            let named = signer.sign_named("k1", &claims("ada"));
            server.send(list(&named)).await.expect(200);
            let other = match signer {
                Signer::Es256(_) => Signer::es256(),
                _ => Signer::eddsa(),
            };
            let forged = other.sign_as(&json!({"alg": algorithm}), &claims("ada"));
            expect_fault(server.send(list(&forged)).await, "signature is wrong");
            let confused = Signer::hs256(signer.pem()).sign(&claims("ada"));
            expect_fault(server.send(list(&confused)).await, "algorithm is not that");
        }
    }
}

#[tokio::test]
async fn a_secret_may_end_with_a_line_and_be_read_by_others_with_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let keys = Keys::new();
    let secret = keys.write("secret", format!("{SECRET}\n"));
    let flags = ["--auth", "jwt", "--jwt-secret-file", &secret];
    let server = Server::start(&flags).await;
    let token = Signer::hs256(SECRET).sign(&claims("ada"));
    server.send(list(&token)).await.expect(200);
    assert!(!server.stderr().contains("chmod"), "{}", server.stderr());
    let all = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&secret, all).expect("chmod");
    let server = Server::start(&flags).await;
    assert!(server.stderr().contains("chmod 600"), "{}", server.stderr());
}

#[tokio::test]
async fn a_file_of_keys_is_read_again_when_a_token_names_a_new_one() {
    let keys = Keys::new();
    let (old, new) = (Signer::eddsa(), Signer::es256());
    let path = keys.write("jwks", jwks(&[old.jwk("old")]));
    let server = Server::start(&["--auth", "jwt", "--jwt-jwks", &path]).await;
    let (by_old, by_new) = (
        old.sign_named("old", &claims("ada")),
        new.sign_named("new", &claims("ada")),
    );
    server.send(list(&by_old)).await.expect(200);
    keys.write("jwks", jwks(&[old.jwk("old"), new.jwk("new")]));
    server.send(list(&by_new)).await.expect(200);
    server.send(list(&by_old)).await.expect(200);
    // With two of them, a token has to say which.
    expect_fault(
        server.send(list(&new.sign(&claims("ada")))).await,
        "does not name its key",
    );
}

#[tokio::test]
async fn keys_at_a_url_are_fetched_once_for_all_who_wait_and_old_ones_stay_when_that_fails() {
    let (old, new) = (Signer::eddsa(), Signer::es256());
    let served = Arc::new(Mutex::new(text(200, &jwks(&[old.jwk("old")]))));
    let answering = served.clone();
    let mut idp = Hook::open(move |_: &Sent| answering.lock().expect("a lock").clone()).await;
    let serve = |reply| *served.lock().expect("a lock") = reply;
    let url = format!("http://{}/keys", idp.addr());
    let server = Server::start(&["--auth", "jwt", "--jwt-jwks", &url]).await;
    assert!(idp.next().await.line.starts_with("GET /keys "));
    let by_old = old.sign_named("old", &claims("ada"));
    server.send(list(&by_old)).await.expect(200);
    serve(text(200, &jwks(&[new.jwk("new")])));
    let by_new = new.sign_named("new", &claims("ada"));
    let asked = (0..20).map(|_| server.send(list(&by_new)));
    for answer in futures_util::future::join_all(asked).await {
        answer.expect(200);
    }
    assert_eq!(idp.all().len(), 1, "one fetch for all");
    // The old key is gone, and is not asked for again so soon.
    for _ in 0..5 {
        expect_fault(server.send(list(&by_old)).await, "key that is not known");
    }
    assert_eq!(idp.all().len(), 0);
    server.send(list(&by_new)).await.expect(200);
}

#[tokio::test]
async fn while_there_are_no_keys_yet_callers_are_told_to_come_back() {
    let signer = Signer::eddsa();
    let served = Arc::new(Mutex::new(text(500, "")));
    let answering = served.clone();
    let idp = Hook::open(move |_: &Sent| answering.lock().expect("a lock").clone()).await;
    let url = format!("http://{}/keys", idp.addr());
    let server = Server::start(&["--auth", "jwt", "--jwt-jwks", &url]).await;
    assert!(server.stderr().contains("no keys for tokens yet"));
    let token = signer.sign_named("k1", &claims("ada"));
    let answer = server.send(list(&token)).await;
    answer
        .expect_slug(503, "unavailable")
        .expect_header("Retry-After", "5");
    // Whoever has no token is told that first.
    let none = Req::new("GET", "/api/projects");
    server.send(none).await.expect(401);
    *served.lock().expect("a lock") = text(200, &jwks(&[signer.jwk("k1")]));
    crate::support::eventually("the keys come", async || {
        let answer = server.send(list(&token)).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

/// A JWK Set with one RSA key, of which this is different.
fn rsa_with(member: &str, value: serde_json::Value) -> String {
    let mut jwk = Signer::rs256().jwk("k1");
    jwk[member] = value;
    jwks(&[jwk])
}

fn rsa_of(bytes: usize) -> String {
    rsa_with(
        "n",
        base64([vec![0x81], vec![1; bytes - 1]].concat()).into(),
    )
}

/// Not on the curve.
fn twisted() -> String {
    let mut jwk = Signer::es256().jwk("k1");
    jwk["y"] = jwk["x"].clone();
    jwks(&[jwk])
}

#[tokio::test]
async fn what_is_no_key_keeps_the_server_from_starting_and_check_says_so_too() {
    const SECRET_FILE: &str = "--jwt-secret-file";
    const PEM: &str = "--jwt-public-key";
    const JWKS: &str = "--jwt-jwks";
    const NO_KEY: &str = "no key that a token";
    let keys = Keys::new();
    let short = "x".repeat(31);
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let shared = jwks(&[Signer::hs256("").jwk("k1")]);
    for (flag, text, told) in [
        (SECRET_FILE, short.clone(), "fewer than 32 bytes"),
        (SECRET_FILE, format!("{short}\n"), "fewer than 32 bytes"),
        (SECRET_FILE, String::new(), "fewer than 32 bytes"),
        (SECRET_FILE, "x".repeat(65 * 1024), "cannot be read"),
        (PEM, SECRET.into(), "no public key in PEM"),
        (PEM, private.into(), "no public key in PEM"),
        (
            PEM,
            Signer::rs256().pem().replace("MIIB", "MIIC"),
            "malformed",
        ),
        (JWKS, "[]".into(), "no JWK Set"),
        (JWKS, "{\"keys\":[]}".into(), NO_KEY),
        (JWKS, shared, NO_KEY),
        (JWKS, rsa_of(255), NO_KEY),
        (JWKS, rsa_of(1025), NO_KEY),
        (JWKS, twisted(), NO_KEY),
        (JWKS, rsa_with("use", json!("enc")), NO_KEY),
        (JWKS, rsa_with("key_ops", json!(["sign"])), NO_KEY),
        (JWKS, rsa_with("alg", json!("PS256")), NO_KEY),
        (JWKS, rsa_with("e", json!("AQ")), NO_KEY),
        (JWKS, "x".repeat(257 * 1024), "file too large"),
    ] {
        let path = keys.write("key", &text);
        let data = temp_dir();
        let flags = ["--auth", "jwt", flag, &path];
        let served = run_server(data.path(), &flags).await;
        let checked = run(&[&["check"], &flags[..]].concat()).await;
        for outcome in [served, checked] {
            let shown = &text[..text.len().min(80)];
            assert!(!outcome.status.success(), "{flag} {shown}: {outcome}");
            let is_told = outcome.stderr.contains(told) && outcome.stderr.contains(&path);
            assert!(is_told, "{flag} {shown}: {outcome}");
        }
    }
    let nowhere = ["check", "--auth", "jwt", PEM, "/nowhere/key"];
    assert!(run(&nowhere).await.stderr.contains("cannot be read"));
    // The same key is fine as it is.
    let path = keys.write("key", rsa_with("use", json!("sig")));
    let fine = run(&["check", "--auth", "jwt", JWKS, &path]).await;
    assert!(fine.status.success(), "{fine}");
}

#[tokio::test]
async fn the_command_signs_what_the_server_accepts_and_prints_nothing_else() {
    let keys = Keys::new();
    let secret = keys.write("secret", SECRET);
    let file = keys.write(
        "config",
        format!(
            "auth = \"jwt\"\njwt-secret-file = \"{secret}\"\njwt-issuer = \"us\"\njwt-audience = \"them\"\n"
        ),
    );
    let server = Server::start(&["--config", &file]).await;
    for more in [
        &[][..],
        &["--expires", "5s"],
        &["--email", "Ada@Example.org", "--role", "admin"],
        &["--role", "worker"],
        &["--role", "worker", "--models", "otsu,local"],
    ] {
        let command = ["token", "--user", "ada", "--config", &file];
        let outcome = run(&[&command, more].concat()).await;
        assert!(outcome.status.success(), "{outcome}");
        let token = outcome.stdout.trim_end();
        assert_eq!(outcome.stdout, format!("{token}\n"));
        assert_eq!(token.split('.').count(), 3);
        server.send(list(token)).await.expect(200);
        let claims: Vec<_> = token.split('.').map(unbase64).collect();
        let claims: Value = serde_json::from_slice(&claims[1]).expect("claims");
        let models = more.last().filter(|last| last.contains(','));
        let models = models.map(|_| json!(["otsu", "local"]));
        assert_eq!(claims.get("models"), models.as_ref(), "{claims}");
    }
    let alone = ["token", "--user", "ada", "--jwt-secret-file", &secret];
    let outcome = run(&alone).await;
    assert!(outcome.status.success(), "{outcome}");
    // Which of the two is missed first is not said.
    expect_fault(
        server.send(list(outcome.stdout.trim())).await,
        "The token has no ",
    );
}

#[tokio::test]
async fn the_command_signs_nothing_that_would_be_refused() {
    let keys = Keys::new();
    let secret = keys.write("secret", SECRET);
    let document = keys.write("jwks", jwks(&[Signer::rs256().jwk("k1")]));
    let worker = [
        "--user",
        "a",
        "--role",
        "worker",
        "--jwt-secret-file",
        &secret,
    ];
    let (too_many, too_long) = (["x"; 65].join(","), [&*"x".repeat(100); 64].join(","));
    for (arguments, told) in [
        (
            vec!["--user", "", "--jwt-secret-file", &secret],
            "names no user",
        ),
        (
            vec![
                "--user",
                "a",
                "--expires",
                "0s",
                "--jwt-secret-file",
                &secret,
            ],
            "expires",
        ),
        (
            vec!["--user", "a", "--jwt-jwks", &document],
            "has no secret",
        ),
        (vec!["--user", "a"], "needs a key"),
        (
            vec![
                "--user",
                "a",
                "--role",
                "king",
                "--jwt-secret-file",
                &secret,
            ],
            "king",
        ),
        (
            [&worker[..], &["--models", "otsu,,local"]].concat(),
            "name that is none",
        ),
        (
            [&worker[..], &["--models", &too_many]].concat(),
            "list of at most 64",
        ),
        (
            [&worker[..], &["--models", &too_long]].concat(),
            "token is too long",
        ),
        (vec!["--user", "a", "--auth", "none"], "no tokens"),
        (vec!["--jwt-secret-file", &secret], "--user"),
    ] {
        let outcome = run(&[&["token"], &arguments[..]].concat()).await;
        assert!(!outcome.status.success(), "{arguments:?}: {outcome}");
        assert!(outcome.stderr.contains(told), "{arguments:?}: {outcome}");
        assert_eq!(outcome.stdout, "");
    }
}

#[tokio::test]
async fn with_tokens_any_address_may_be_listened_to() {
    let keys = Keys::new();
    let secret = keys.write("secret", SECRET);
    let data = temp_dir();
    let path = data.path().to_str().expect("UTF-8");
    let exposed = ["--listen", "0.0.0.0:0", "--data-dir", path];
    let refused = run(&[&["check"], &exposed[..]].concat()).await;
    assert!(
        refused.stderr.contains("others than this machine"),
        "{refused}"
    );
    let with_tokens = ["--auth", "jwt", "--jwt-secret-file", &secret];
    let fine = run(&[&["check"], &exposed[..], &with_tokens].concat()).await;
    assert!(fine.status.success(), "{fine}");
    let token = Signer::hs256(SECRET).sign(&claims_with("ada", json!({"exp": now() + 60})));
    let server = Server::start(&with_tokens).await;
    server.send(list(&token)).await.expect(200);
}
