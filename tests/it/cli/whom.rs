//! Where `tidegate upload` sends to and as whom: profile, and tokens that expire.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::tree::{MIB, lay};
use crate::support::cli::{Cli, Running};
use crate::support::eventually;
use crate::support::hook::{Hook, Sent, text};
use crate::support::jwt::{claims, claims_with, guarded, now};
use crate::support::server::Server;
use crate::support::wire::Req;

/// How many uploads there are in somebody's default project.
async fn count(server: &Server, token: &str) -> usize {
    let list = Req::new("GET", "/api/projects").bearer(token);
    let list = server.send(list).await.expect(200).json();
    let id = list["data"][0]["id"].as_str().expect("a project");
    let path = format!("/api/projects/{id}/uploads?state=completed");
    let list = server.send(Req::new("GET", &path).bearer(token)).await;
    list.expect(200).json()["data"]
        .as_array()
        .expect("a list")
        .len()
}

#[tokio::test]
async fn a_token_comes_from_wherever_it_is_kept() {
    let (server, signer) = guarded(&[]).await;
    let url = format!("http://{}", server.addr());
    let cli = Cli::new("http://127.0.0.1:1");
    lay(&cli, &[("d/a", 10)]);
    let token = signer.sign(&claims("ann"));
    let file = cli
        .write("token", format!("{token}\n"))
        .display()
        .to_string();
    let command = format!("cat {file}");
    let profile = |token: &str| {
        let config =
            format!("default-profile = 'lab'\n[profiles.lab]\nserver = '{url}'\n{token}\n");
        cli.write(".config/tidegate/config.toml", config);
    };
    let run = async |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = cli.command(&[&["upload", "d", "--json"], arguments].concat());
        command.env_remove("TIDEGATE_SERVER");
        command.envs(variables.iter().copied());
        Running::of(command).finish().await
    };
    profile("");
    let refused = run(&["--retries", "0"], &[]).await.expect_code(1);
    assert!(refused.text().contains("401"), "{refused}");
    type Said<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);
    let cases: [Said<'_>; 6] = [
        (&["--token", &token], &[]),
        (&["--token-file", &file], &[]),
        (&["--token-command", &command], &[]),
        (&[], &[("TIDEGATE_TOKEN", &token)]),
        (&[], &[("TIDEGATE_TOKEN_FILE", &file)]),
        (&[], &[("TIDEGATE_TOKEN_COMMAND", &command)]),
    ];
    for (nth, (arguments, variables)) in cases.into_iter().enumerate() {
        let sent = run(arguments, variables).await.expect_code(0);
        // The same caller at the same server each time.
        assert_eq!(sent.summary()["sent"], usize::from(nth == 0), "{sent}");
        assert!(!sent.text().contains(&token), "{sent}");
    }
    for kept in [
        format!("token-file = '{file}'"),
        format!("token-command = '{command}'"),
    ] {
        profile(&kept);
        let sent = run(&[], &[]).await.expect_code(0);
        assert_eq!(sent.summary()["skipped"], 1, "{sent}");
    }
    assert_eq!(count(&server, &token).await, 1);
    let hook = Hook::open(|_| text(404, "")).await;
    let elsewhere = format!("http://{}", hook.addr());
    for flag in ["--server", "--endpoint"] {
        run(&[flag, &elsewhere], &[]).await.expect_code(1);
    }
    expect_no_token(hook);
    let other = run(&["--profile", "other"], &[]).await.expect_code(2);
    assert!(other.stderr.contains("no profile `other`"), "{other}");
    cli.write(
        ".config/tidegate/config.toml",
        "[profiles.lab]\ntoken = 'x'",
    );
    let secret = run(&[], &[]).await.expect_code(2);
    assert!(secret.stderr.contains("config.toml"), "{secret}");
    let gone = run(&["--token-file", "gone"], &[]).await.expect_code(2);
    assert!(
        gone.stderr.contains("config.toml") || gone.stderr.contains("gone"),
        "{gone}"
    );
}

/// The profile's token is for its server.
fn expect_no_token(mut hook: Hook) {
    let asked = hook.all();
    assert!(!asked.is_empty());
    let is_told = asked
        .iter()
        .any(|sent| sent.fields.contains_key("authorization"));
    assert!(!is_told, "{asked:?}");
}

#[tokio::test]
async fn two_callers_at_one_server_have_a_journal_each() {
    let (server, signer) = guarded(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/a", 10)]);
    for user in ["ann", "bob"] {
        let token = signer.sign(&claims(user));
        let arguments = ["upload", "d", "--json", "--token", &token];
        let sent = cli.run(&arguments).await.expect_code(0);
        assert_eq!(sent.summary()["sent"], 1, "{user}: {sent}");
        assert_eq!(count(&server, &token).await, 1);
    }
}

/// The first token is good for less than a second (clocks may differ by ten), and there is another each time that the command runs.
#[tokio::test]
async fn a_token_that_has_expired_is_renewed() {
    let (server, signer) = guarded(&[]).await;
    let cli = server.cli();
    let files = lay(
        &cli,
        &[("d/a", 3 * MIB / 2 / 2), ("d/b", 3 * MIB), ("d/c", 10)],
    );
    let good = signer.sign(&claims("ann"));
    let brief = signer.sign(&claims_with("ann", json!({"exp": now() - 10})));
    cli.write("good", &good);
    cli.write("brief", &brief);
    // The first run takes the brief one and leaves a mark.
    let command =
        "if mkdir used 2>/dev/null; then cat brief; else echo x >> renewals; cat good; fi";
    let arguments = [
        "upload",
        "d",
        "--json",
        "--jobs",
        "1",
        "--limit-rate",
        "1200k",
        "--token-command",
        command,
    ];
    let sent = cli.run(&arguments).await.expect_code(0);
    assert_eq!(sent.summary()["sent"], files.len(), "{sent}");
    assert_eq!(count(&server, &good).await, files.len());
    let renewals = std::fs::read_to_string(cli.path("renewals")).expect("it was renewed");
    assert_eq!(renewals, "x\n");
}

/// What fails for another reason does not use up the one renewal.
#[tokio::test]
async fn a_token_is_renewed_after_other_failures_as_well() {
    let answers = std::sync::Mutex::new(vec![201, 401, 503, 503]);
    let mut hook = Hook::open(move |sent| {
        if sent.line.starts_with("OPTIONS") {
            return Some(ABLE.into());
        }
        let status = answers.lock().expect("a lock").pop().expect("an answer");
        match status {
            201 => Some(CREATED.into()),
            status => text(status, ""),
        }
    })
    .await;
    let cli = Cli::new(format!("http://{}", hook.addr()));
    cli.write("a", "hello");
    let command = "echo x >> n; wc -l < n | tr -d ' '";
    let arguments = ["upload", "a", "--token-command", command];
    cli.run(&arguments).await.expect_code(0);
    let tokens: Vec<_> = hook
        .all()
        .iter()
        .map(|sent| sent.field("authorization").to_owned())
        .collect();
    assert_eq!(
        tokens,
        ["Bearer 1", "Bearer 1", "Bearer 1", "Bearer 1", "Bearer 2"]
    );
}

/// The first thing that is asked renews it as well.
#[tokio::test]
async fn a_token_that_is_refused_at_the_start_is_renewed() {
    let hook = Hook::open(|sent| match sent.field("authorization") {
        "Bearer 1" => text(401, ""),
        _ if sent.line.starts_with("OPTIONS") => Some(ABLE.into()),
        _ => Some(CREATED.into()),
    })
    .await;
    let cli = Cli::new(format!("http://{}", hook.addr()));
    cli.write("a", "hello");
    let command = "echo x >> n; wc -l < n | tr -d ' '";
    let arguments = ["upload", "a", "--token-command", command];
    cli.run(&arguments).await.expect_code(0);
    let runs = std::fs::read_to_string(cli.path("n")).expect("it has run");
    assert_eq!(runs, "x\nx\n");
}

#[tokio::test]
async fn a_command_for_a_token_that_hangs_is_interrupted() {
    let cli = Cli::new("http://127.0.0.1:1");
    cli.write("a", "hello");
    let command = "mkfifo hang 2>&-; echo asked >&2; exec cat hang 2>&-";
    for arguments in [&["ls"][..], &["upload", "a"]] {
        let arguments = [arguments, &["--token-command", command]].concat();
        let running = cli.spawn(&arguments);
        eventually("it asks for a token", async || {
            running.stderr().contains("asked").then_some(())
        })
        .await;
        running.interrupt();
        running.finish().await.expect_code(130);
        // The command ends as well.
        std::fs::write(cli.path("hang"), "").expect("it reads");
    }
}

/// A server whose certificate signs itself, and a file with that.
async fn secure(cli: &Cli, is_ca: rcgen::IsCa) -> (Hook, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new([String::from("localhost")]).expect("params");
    params.is_ca = is_ca;
    let certificate = params.self_signed(&key).expect("signed");
    let file = cli.write("ca.pem", certificate.pem());
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .expect("a certificate and its key");
    let tls = TlsAcceptor::from(Arc::new(config));
    let able = |sent: &Sent| match sent.line.starts_with("OPTIONS") {
        true => Some(ABLE.into()),
        false => Some(CREATED.into()),
    };
    let hook = Hook::open_at(([127, 0, 0, 1], 0).into(), Some(tls), able).await;
    (hook, file.display().to_string())
}

/// What will not pass by waiting is told at once.
#[tokio::test]
async fn what_is_amiss_with_tls_is_told() {
    let cli = Cli::new("http://127.0.0.1:1");
    cli.write("a", "hello");
    let send = async |addr: SocketAddr, trusted: &str| {
        let url = format!("https://localhost:{}", addr.port());
        let mut command = cli.command(&["upload", "a", "--server", &url, "--retries", "99"]);
        command.env("SSL_CERT_FILE", trusted);
        Running::of(command).finish().await
    };
    let (hook, good) = secure(&cli, rcgen::IsCa::NoCa).await;
    send(hook.addr(), &good).await.expect_code(0);
    let none = send(hook.addr(), "/nonexistent/ca.pem")
        .await
        .expect_code(1);
    for words in ["/nonexistent/ca.pem", "not signed by an authority"] {
        assert!(none.stderr.contains(words), "{none}");
    }
    let constraints = rcgen::BasicConstraints::Unconstrained;
    let (hook, authority) = secure(&cli, rcgen::IsCa::Ca(constraints)).await;
    let refused = send(hook.addr(), &authority).await.expect_code(1);
    assert!(refused.stderr.contains("CA:TRUE"), "{refused}");
    let plain = Server::start(&[]).await;
    let refused = send(plain.addr(), &authority).await.expect_code(1);
    assert!(refused.stderr.contains("is it http://"), "{refused}");
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for_aloud() {
    // Nobody listens there.
    let cli = Cli::new("http://127.0.0.1:1");
    cli.write("a", "hello");
    for (more, times) in [(&[][..], 1), (&["--quiet"], 0), (&["--json"], 0)] {
        let arguments = [&["upload", "a", "--retries", "2"][..], more].concat();
        let outcome = cli.run(&arguments).await.expect_code(1);
        let told = outcome.stderr.matches("; trying again").count();
        assert_eq!(told, times, "{outcome}");
    }
}

const ABLE: &str = "HTTP/1.1 204 X\r\nTus-Version: 1.0.0\r\n\
     Tus-Extension: creation,creation-with-upload,termination\r\n\r\n";

const CREATED: &str = "HTTP/1.1 201 X\r\nLocation: /files/1\r\nUpload-Offset: 5\r\n\
     Content-Length: 0\r\n\r\n";
