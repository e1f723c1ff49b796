//! Forms that nobody means well with.

use serde_json::Value;

use super::files::{codes, data};
use crate::support::form::{self, BOUNDARY, Form, IMAGES, image};
use crate::support::hostile::{assert_nothing_escaped, name};
use crate::support::random;
use crate::support::server::{Server, temp_dir};
use crate::support::tus::Upload;
use crate::support::wire::Req;

/// Whether a name can be sent, and stored, at all.
fn is_sound(name: &str) -> bool {
    let is_sent = |c: char| c == '\t' || c == '\r' || c == '\n' || !c.is_ascii_control();
    (1..=255).contains(&name.len()) && name.chars().all(is_sent)
}

#[tokio::test]
async fn a_name_is_kept_as_it_is_or_refused_and_leads_nowhere() {
    let mut rng = random("hostile names");
    let around = temp_dir();
    let server = Server::start_in(&around.path().join("data"), &[]).await;
    for _ in 0..5 {
        let names: Vec<String> = (0..100).map(|_| name(&mut rng)).collect();
        let form = names
            .iter()
            .fold(Form::new(), |form, name| form.image(name, name.as_bytes()));
        let answer = server.send(form::post().body(form.end())).await;
        let stored = data(&answer)["images"].clone();
        let stored = stored.as_array().expect("a list");
        let sound: Vec<_> = names.iter().filter(|name| is_sound(name)).collect();
        let kept: Vec<_> = stored
            .iter()
            .map(|view| &view["metadata"]["filename"])
            .collect();
        assert_eq!(kept, sound, "in order, and each as it was sent");
        assert_eq!(codes(&answer).len(), names.len() - sound.len());
        for view in stored {
            let shown = view["filename"].as_str().unwrap_or("a");
            let is_safe = !shown.contains(['/', '\\']) && !shown.chars().any(char::is_control);
            assert!(is_safe && shown != ".." && shown != ".", "{view}");
            let answer = server
                .send(Req::new("GET", &Upload::listed(view).path))
                .await;
            let answer = answer.expect(200);
            assert_eq!(
                view["metadata"]["filename"].as_str(),
                str::from_utf8(&answer.body).ok()
            );
            answer.field("Content-Disposition");
        }
    }
    assert_nothing_escaped(&around.path().join("data"), around.path());
}

/// Without the care of a browser: raw quotes and line breaks.
#[tokio::test]
async fn a_name_that_is_not_escaped_changes_nothing_else() {
    let mut rng = random("raw names");
    let server = Server::start(&[]).await;
    for _ in 0..5 {
        let mut form = Form::new();
        for _ in 0..100 {
            let name = name(&mut rng);
            let raw =
                format!("Content-Disposition: form-data; name=\"images\"; filename=\"{name}\"");
            form = form.part(raw, b"hello");
        }
        let form = form.image("good.png", b"good").end();
        let answer = server.send(form::post().body(form)).await;
        assert!(answer.status < 500, "{answer}");
        assert_eq!(server.uploads("uploading").await, Vec::<Value>::new());
    }
}

#[tokio::test]
async fn what_is_no_form_is_refused_before_it_is_read() {
    let server = Server::start(&[]).await;
    for (content_type, status, slug) in [
        (None, 415, "not-a-form"),
        (Some("application/json"), 415, "not-a-form"),
        (Some("multipart/mixed; boundary=b"), 415, "not-a-form"),
        (Some("multipart/form-data"), 400, "validation-failed"),
        (
            Some("multipart/form-data; boundary=\"\""),
            400,
            "validation-failed",
        ),
        (
            Some("multipart/form-data; boundary=\"a*\""),
            400,
            "validation-failed",
        ),
    ] {
        let mut request = Req::new("POST", IMAGES).expect_continue().declare(1 << 30);
        if let Some(content_type) = content_type {
            request = request.header("Content-Type", content_type);
        }
        let mut conn = server.connect().await;
        conn.send_head(&request).await;
        let answer = conn.answer().await.expect_slug(status, slug);
        assert!(
            answer.interim.is_empty(),
            "nothing was asked for:\n{answer}"
        );
    }
    let coded = form::post().header("Content-Encoding", "gzip").body("x");
    server
        .send(coded)
        .await
        .expect_slug(415, "unsupported-content-encoding");
}

#[tokio::test]
async fn a_form_that_is_malformed_keeps_what_came_before() {
    let server = Server::start(&[]).await;
    let large = format!("X: {}", "x".repeat(9000));
    let field = "Content-Disposition: form-data; name=\"other\"";
    let many = (0..101).fold(Form::new(), |form, _| form.part(field, b""));
    let nested = "Content-Disposition: form-data; name=\"images\"\r\nContent-Type: multipart/mixed; boundary=c";
    for (rest, status) in [
        (b"".to_vec(), 400),
        (b"--".to_vec(), 400),
        (format!("--{BOUNDARY}").into_bytes(), 400),
        (format!("--{BOUNDARY}x\r\n").into_bytes(), 400),
        (format!("--{BOUNDARY}\nA: b\n\n").into_bytes(), 400),
        (Form::new().open(large).so_far(), 400),
        (Form::new().open(image("cut.png")).so_far(), 400),
        (Form::new().part(field, &[0; 65 * 1024]).end(), 400),
        (many.end(), 400),
        (
            Form::new().part(nested, b"--c\r\n\r\nx\r\n--c--").end(),
            400,
        ),
        (vec![0; 100_000], 400),
    ] {
        let shown = String::from_utf8_lossy(&rest[..rest.len().min(200)]).into_owned();
        let alone = server.send(form::post().body(rest.clone())).await;
        alone.expect_problem(status);
        let mut form = Form::new().image("good.png", b"hello").so_far();
        form.extend(rest);
        let answer = server.send(form::post().body(form)).await;
        if shown.is_empty() || shown.starts_with('\0') {
            // The delimiter behind the first file is in neither: it is not whole.
            answer.expect_problem(400);
            continue;
        }
        if answer.status == 201 {
            assert_eq!(data(&answer)["count"], 1, "{shown:?}");
            assert_eq!(codes(&answer).len(), 1, "{shown:?}:\n{answer}");
        } else {
            answer.expect_problem(400);
        }
    }
    assert_eq!(server.uploads("uploading").await, Vec::<Value>::new());
}

/// The same body to every boundary: no answer is a failure of the server's.
#[tokio::test]
async fn random_bodies_are_answered() {
    let mut rng = random("random forms");
    let server = Server::start(&[]).await;
    let words = [
        "\r\n",
        "--",
        BOUNDARY,
        "Content-Disposition: form-data; ",
        "name=\"images\"",
        "; filename=\"a\"",
        "\r\n\r\n",
        "x",
        ":",
        " ",
    ];
    let mut conn = server.connect().await;
    for _ in 0..200 {
        let body: String = (0..rng.usize(..40))
            .map(|_| words[rng.usize(..words.len())])
            .collect();
        let answer = conn.exchange(&form::post().body(body.clone())).await;
        assert!(
            answer.status == 201 || answer.status == 400,
            "{body:?}:\n{answer}"
        );
        if answer.list("Connection").contains(&"close".to_owned()) {
            conn = server.connect().await;
        }
    }
    assert_eq!(server.uploads("uploading").await, Vec::<Value>::new());
}
