//! Servers that mean no good, or are in trouble: what they say is believed as far as it can be checked.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::cli::Cli;
use crate::support::hook::{Hook, Reply, Sent, status, text};
use crate::support::server::Outcome;

const ABLE: &str = "Tus-Version: 1.0.0\r\nTus-Extension: creation,termination";
const TOKEN: &str = "the-token";

/// What is in the one file that is sent.
const SIZE: usize = 1000;

/// A head, without a body.
fn head(status: u16, fields: &str) -> Reply {
    let length = if status == 204 {
        ""
    } else {
        "Content-Length: 0\r\n"
    };
    let fields = match fields {
        "" => String::new(),
        fields => format!("{fields}\r\n"),
    };
    Some(format!("HTTP/1.1 {status} X\r\n{fields}{length}\r\n"))
}

/// A server that creates what it is asked for, and answers what follows in another way.
async fn server(reply: impl Fn(&str, &Sent) -> Reply + Send + Sync + 'static) -> Hook {
    Hook::open(move |sent| match sent.line.split(' ').next() {
        Some("OPTIONS") => head(204, ABLE),
        Some(method) => reply(method, sent),
        None => None,
    })
    .await
}

/// As [`server`]; only PATCH is answered in another way.
async fn storing(reply: impl Fn(&Sent) -> Reply + Send + Sync + 'static) -> Hook {
    server(move |method, sent| match method {
        "POST" => head(201, "Location: /files/1\r\nUpload-Offset: 5"),
        "PATCH" => reply(sent),
        "HEAD" => head(200, "Upload-Offset: 5"),
        _ => status(204),
    })
    .await
}

fn caller(hook: &Hook) -> Cli {
    let cli = Cli::with_token(format!("http://{}", hook.addr()), TOKEN);
    cli.write("d/file", "x".repeat(SIZE));
    cli
}

async fn fails(cli: &Cli, arguments: &[&str], words: &str) -> Outcome {
    let outcome = cli.run(&[&["upload", "d"], arguments].concat()).await;
    let outcome = outcome.expect_code(1);
    assert!(outcome.text().contains(words), "no {words:?}: {outcome}");
    outcome
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_token_stays() {
    let mut other = Hook::open(|_| status(200)).await;
    let to = format!("Location: http://{}/files", other.addr());
    for redirected in ["OPTIONS", "POST", "PATCH", "HEAD"] {
        let to = to.clone();
        let hook = Hook::open(move |sent| match sent.line.split(' ').next() {
            Some(method) if method == redirected => head(307, &to),
            Some("OPTIONS") => head(204, ABLE),
            Some("POST") => head(201, "Location: /files/1"),
            // What is not known is asked.
            Some("PATCH") => status(503),
            _ => head(200, "Upload-Offset: 0"),
        })
        .await;
        fails(&caller(&hook), &[], "redirects (307)").await;
    }
    assert!(other.all().is_empty(), "somebody else was asked");
}

#[tokio::test]
async fn an_upload_at_another_origin_is_not_sent() {
    let mut other = Hook::open(|_| status(204)).await;
    let here = |scheme: &str| format!("Location: {scheme}{}/files/1", other.addr());
    for location in [
        here("http://"),
        here("https://"),
        here("//"),
        here("http://127.0.0.1@"),
        "Location: http://[/".into(),
        "X: 1".into(),
    ] {
        let hook = server(move |_, _| head(201, &location)).await;
        fails(&caller(&hook), &[], "the server cannot be believed").await;
    }
    assert!(other.all().is_empty(), "somebody else was asked");
}

#[tokio::test]
async fn offsets_that_cannot_be_true_are_not_believed() {
    let lies = [
        "Upload-Offset: 4",
        "Upload-Offset: 5",
        "Upload-Offset: 1001",
        "Upload-Offset: -1",
        "Upload-Offset: 99999999999999999999",
        "Upload-Offset: 1e3",
        "Upload-Offset: 1000\r\nUpload-Offset: 1000",
        "X: 1",
    ];
    for lie in lies {
        let hook = storing(move |_| head(204, lie)).await;
        let outcome = fails(&caller(&hook), &[], "cannot be believed").await;
        assert!(outcome.stderr.contains("d/file: "), "{lie}: {outcome}");
    }
    for lie in ["Upload-Offset: 1001", "Upload-Offset: -1", "X: 1"] {
        let hook = server(move |method, _| match method {
            "POST" => head(201, "Location: /files/1"),
            "PATCH" => status(503),
            _ => head(200, lie),
        })
        .await;
        fails(&caller(&hook), &[], "cannot be believed").await;
    }
}

/// Even where all bytes are said to have arrived.
#[tokio::test]
async fn what_has_arrived_as_something_else_is_removed_and_not_taken_for_sent() {
    let other = BASE64_STANDARD.encode([7; 32]);
    let fields = format!("Upload-Offset: 1000\r\nRepr-Digest: sha-256=:{other}:");
    let mut hook = storing(move |_| head(204, &fields)).await;
    let cli = caller(&hook);
    fails(&cli, &[], "other bytes than the file").await;
    let lines = |sent: Vec<Sent>| sent.into_iter().map(|sent| sent.line).collect::<Vec<_>>();
    let first = lines(hook.all());
    assert_eq!(
        first.last().map(String::as_str),
        Some("DELETE /files/1 HTTP/1.1"),
        "{first:?}"
    );
    fails(&cli, &[], "other bytes than the file").await;
    assert!(
        lines(hook.all())
            .iter()
            .any(|line| line.starts_with("POST")),
        "it is sent again"
    );
}

#[tokio::test]
async fn answers_without_an_end_are_cut() {
    let endless = "x".repeat(200 * 1024);
    let field = endless.clone();
    let hook = storing(move |_| Some(format!("HTTP/1.1 204 X\r\nX: {field}"))).await;
    fails(&caller(&hook), &["--retries", "0"], "given up").await;
    let hook = storing(move |_| {
        Some(format!(
            "HTTP/1.1 403 X\r\nContent-Length: 9999999999\r\n\r\n{endless}"
        ))
    })
    .await;
    let outcome = fails(&caller(&hook), &[], "the server answers 403").await;
    assert!(outcome.text().len() < 4096, "all of it is shown");
}

#[tokio::test]
async fn what_a_server_says_is_safe_to_show() {
    let detail = "\u{1b}[31mred\u{1b}]0;title\u{7}\r\n\u{202e}back \u{9b}2J";
    let problem = serde_json::json!({"type": "/problems/forbidden", "detail": detail}).to_string();
    let cancelled =
        serde_json::json!({"type": "/problems/upload-cancelled", "reason": detail}).to_string();
    for (code, body, words) in [
        (403, problem, "the server answers 403"),
        (410, cancelled, "cancelled by somebody"),
    ] {
        let hook = storing(move |_| text(code, &body)).await;
        let cli = caller(&hook);
        let outcome = fails(&cli, &[], words).await;
        let shown = outcome.text();
        let is_safe = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(shown.chars().all(is_safe), "{shown:?}");
        assert!(shown.contains("\\u{1b}[31mred"), "{shown}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let cli = Cli::new(url);
    cli.write("d/file", "x");
    let count = AtomicUsize::new(0);
    let closing = async {
        loop {
            drop(listener.accept().await);
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let outcome = tokio::select! {
        outcome = cli.run(&["upload", "d", "--retries", "2"]) => outcome.expect_code(1),
        () = closing => unreachable!(),
    };
    assert!(outcome.stderr.contains("cannot be reached"), "{outcome}");
    // A client may try a new connection at once where an idle one was closed.
    let count = count.into_inner();
    assert!((3..=6).contains(&count), "{count} connections");
}

/// Answers in turn, the last one for ever.
fn in_turn(answers: &[Reply]) -> impl Fn(&Sent) -> Reply + Send + Sync + 'static {
    let answers = Mutex::new(answers.iter().rev().cloned().collect::<Vec<_>>());
    move |_| {
        let mut answers = answers.lock().expect("a lock");
        match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop().expect("an answer"),
        }
    }
}

#[tokio::test]
async fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let all = head(204, "Upload-Offset: 1000");
    for code in [503, 429] {
        let busy = head(code, "Retry-After: 1");
        let hook = storing(in_turn(&[busy, all.clone()])).await;
        let cli = caller(&hook);
        let began = Instant::now();
        let outcome = cli.run(&["upload", "d", "--json"]).await.expect_code(0);
        assert!(began.elapsed() >= Duration::from_secs(1), "{code}");
        assert_eq!(outcome.summary()["unverified"], 1, "{outcome}");
    }
    let mut hook = storing(|_| status(503)).await;
    let words = "given up after 2 tries: the server answers 503";
    fails(&caller(&hook), &["--retries", "1"], words).await;
    let patches = |sent: Vec<Sent>| {
        sent.iter()
            .filter(|sent| sent.line.starts_with("PATCH"))
            .count()
    };
    assert_eq!(patches(hook.all()), 2);
}

#[tokio::test]
async fn a_token_that_is_refused_ends_the_whole_run() {
    let mut hook = server(|_, _| status(401)).await;
    let cli = caller(&hook);
    for nth in 0..200 {
        cli.write(&format!("d/{nth}"), "x");
    }
    let outcome = fails(&cli, &["--jobs", "1"], "the server answers 401").await;
    assert!(!outcome.text().contains(TOKEN), "{outcome}");
    let asked = hook.all();
    assert!(asked.len() < 5, "{} requests", asked.len());
    assert!(
        asked
            .iter()
            .all(|sent| sent.field("authorization") == "Bearer the-token")
    );
}

#[tokio::test]
async fn what_is_no_tus_server_is_sent_nothing() {
    for (fields, words) in [
        ("X: 1", "does not speak tus"),
        (
            "Tus-Version: 0.2.2\r\nTus-Extension: creation",
            "does not speak tus",
        ),
        ("Tus-Version: 1.0.0", "cannot be created"),
    ] {
        let mut hook = Hook::open(move |_| head(204, fields)).await;
        fails(&caller(&hook), &[], words).await;
        assert_eq!(hook.all().len(), 1);
    }
}
