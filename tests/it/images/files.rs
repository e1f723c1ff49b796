//! What becomes of the files of a form, good ones and others.

use std::process::Stdio;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::process::Command;
use uuid::Uuid;

use crate::feed::assert_stories;
use crate::support::form::{self, Form, IMAGES, image};
use crate::support::h2c::H2;
use crate::support::server::{Server, temp_dir};
use crate::support::sse::Sse;
use crate::support::tus::Upload;
use crate::support::wire::{Answer, Req};
use crate::support::{assert_same_bytes, content, say_loudly};

#[track_caller]
pub(super) fn data(answer: &Answer) -> Value {
    let body = answer.clone().expect(201).json();
    assert_eq!(body["success"], true, "{answer}");
    let data = &body["data"];
    let count = |list: &str| json!(data[list].as_array().expect("a list").len());
    assert_eq!(data["count"], count("images"), "{answer}");
    assert_eq!(data["failedCount"], count("failedFiles"), "{answer}");
    data.clone()
}

/// The codes of what has failed, in order.
pub(crate) fn codes(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let lists = [&body["data"]["failedFiles"], &body["failedFiles"]];
    let failed = lists.into_iter().find_map(Value::as_array);
    let failed = failed.unwrap_or_else(|| panic!("no failedFiles:\n{answer}"));
    let text = |line: &Value, member: &str| line[member].as_str().map(str::to_owned);
    for line in failed {
        assert!(text(line, "reason").is_some_and(|reason| !reason.is_empty()));
    }
    let codes = failed.iter().map(|line| text(line, "code"));
    codes.map(|code| code.expect("a code")).collect()
}

/// Checks that the image is complete, is what was sent, and is told as everywhere else.
pub(super) async fn expect_stored(server: &Server, view: &Value, name: &str, content: &[u8]) {
    let upload = Upload::listed(view);
    let path = format!("/api/uploads/{}", upload.id());
    let found = server.send(Req::new("GET", &path)).await.expect(200).json();
    assert_eq!(found["data"], *view, "as GET {path} tells it");
    let sha256: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for (member, wanted) in [
        ("state", json!("completed")),
        ("length", json!(content.len())),
        ("offset", json!(content.len())),
        ("sha256", json!(sha256)),
        ("projectId", json!("default")),
        ("ownerId", json!("local")),
    ] {
        assert_eq!(view[member], wanted, "{member} of {view}");
    }
    assert_eq!(view["metadata"]["filename"], name, "{view}");
    assert_same_bytes(&server.download(&upload).await, content, name);
}

/// Contents that a careless reader of forms would cut.
fn three() -> [(&'static str, Vec<u8>); 3] {
    let near = format!("\r\n--{}\n\r\n--", &form::BOUNDARY[..9]).repeat(2000);
    [
        ("a.png", content(1, 300_000)),
        ("empty.png", Vec::new()),
        ("Gr\u{fc}n \u{1f600}.png", near.into_bytes()),
    ]
}

fn three_of_them() -> Vec<u8> {
    let form = Form::new().part(
        "Content-Disposition: form-data; name=\"note\"",
        b"not an image",
    );
    let form = three()
        .iter()
        .fold(form, |form, (name, content)| form.image(name, content));
    form.end()
}

async fn expect_all_three(server: &Server, answer: &Answer) {
    let data = data(answer);
    assert_eq!(data["failedFiles"], json!([]), "{answer}");
    let views = data["images"].as_array().expect("a list");
    assert_eq!(views.len(), 3, "{answer}");
    for ((name, content), view) in three().iter().zip(views) {
        assert_eq!(view["filename"], *name);
        assert_eq!(view["contentType"], "image/png");
        expect_stored(server, view, name, content).await;
    }
}

#[tokio::test]
async fn every_file_becomes_an_upload() {
    let server = Server::start(&[]).await;
    let mut feed = Sse::open(&server, "projectId=default", None).await;
    let answer = server.send(form::post().body(three_of_them())).await;
    expect_all_three(&server, &answer).await;
    let mut story = Vec::new();
    while story.len() < 6 {
        let event = feed.next().await;
        if event.id.is_some() {
            let name = event.json["data"]["filename"].as_str().expect("a name");
            story.push((event.kind().to_owned(), name.to_owned()));
        }
    }
    let wanted = three().map(|(name, _)| {
        ["upload.created", "upload.completed"].map(|kind| (kind.to_owned(), name.to_owned()))
    });
    assert_eq!(story, wanted.concat());
    assert_stories(&server).await;
}

#[tokio::test]
async fn a_form_may_come_in_chunks_and_its_connection_goes_on() {
    let server = Server::start(&[]).await;
    let mut conn = server.connect().await;
    for _ in 0..2 {
        let answer = conn.exchange(&form::post().chunked(three_of_them())).await;
        expect_all_three(&server, &answer).await;
    }
    let answer = conn.exchange(&form::post().body(three_of_them())).await;
    expect_all_three(&server, &answer.expect_no_header("Connection")).await;
}

#[tokio::test]
async fn a_form_may_come_over_http2() {
    let server = Server::start(&[]).await;
    let mut h2 = H2::open(server.addr()).await;
    let answer = h2.send(&form::post().chunked(three_of_them())).await;
    expect_all_three(&server, &answer).await;
}

#[tokio::test]
async fn curl_sends_files_as_its_manual_says() {
    let server = Server::start(&[]).await;
    let files = temp_dir();
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--form", "note=none"]);
    for (name, content) in three() {
        let path = files.path().join(name);
        std::fs::write(&path, content).expect("write a file");
        command.arg("--form");
        command.arg(format!("images=@{};type=image/png", path.display()));
    }
    command.arg(format!("http://{}{IMAGES}", server.addr()));
    let Ok(output) = command.stdin(Stdio::null()).output().await else {
        return say_loudly("NOT TESTED: a form of curl's. It is not installed");
    };
    assert!(output.status.success(), "{output:?}");
    let body: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let views = body["data"]["images"].as_array().expect("a list");
    assert_eq!(views.len(), 3, "{body}");
    for ((name, content), view) in three().iter().zip(views) {
        expect_stored(&server, view, name, content).await;
    }
}

#[tokio::test]
async fn without_a_digest_none_is_told() {
    let server = Server::start(&["--digest", "none"]).await;
    let form = Form::new().image("a.png", b"hello").end();
    let answer = server.send(form::post().body(form)).await;
    assert_eq!(data(&answer)["images"][0]["sha256"], Value::Null);
}

#[tokio::test]
async fn a_bad_file_is_reported_and_spoils_no_other() {
    let server = Server::start(&["--max-upload-size", "1000"]).await;
    let taken = server.complete(b"hello").await;
    let named = |id: &str| format!("{}\r\nX-Upload-Id: {id}", image("id.png"));
    let fresh = Uuid::new_v4().to_string();
    let bad = [
        (image("large.png"), "UPLOAD_TOO_LARGE"),
        (image(""), "VALIDATION_ERROR"),
        (image(&"x".repeat(256)), "VALIDATION_ERROR"),
        (
            "Content-Disposition: form-data; name=\"images\"".to_owned(),
            "VALIDATION_ERROR",
        ),
        ("Content-Disposition: form-data".to_owned(), "BAD_REQUEST"),
        ("X-No-Colon".to_owned(), "BAD_REQUEST"),
        (named("1"), "VALIDATION_ERROR"),
        (named(&fresh.to_uppercase()), "VALIDATION_ERROR"),
        (
            format!("{}\r\nX-Upload-Id: {}", named(&fresh), Uuid::new_v4()),
            "VALIDATION_ERROR",
        ),
        (named(taken.id()), "ID_TAKEN"),
        (
            format!("{}\r\nContent-Transfer-Encoding: base64", image("b.png")),
            "VALIDATION_ERROR",
        ),
    ];
    let whole = content(2, 5000);
    let mut form = Form::new();
    for (index, (head, _)) in bad.iter().enumerate() {
        form = form.part(head, &whole);
        form = form.image(&format!("good {index}.png"), &whole[..1000]);
    }
    let answer = server.send(form::post().body(form.end())).await;
    let data = data(&answer);
    assert_eq!(codes(&answer), bad.map(|(_, code)| code), "{answer}");
    let views = data["images"].as_array().expect("a list");
    assert_eq!(
        views.len(),
        data["failedFiles"].as_array().expect("a list").len()
    );
    for (index, view) in views.iter().enumerate() {
        let name = format!("good {index}.png");
        expect_stored(&server, view, &name, &whole[..1000]).await;
    }
    let failed = &data["failedFiles"][0];
    assert_eq!(failed["filename"], "large.png");
    let path = format!("/api/uploads/{}", failed["id"].as_str().expect("an id"));
    let row = server.send(Req::new("GET", &path)).await.json();
    assert_eq!(row["data"]["state"], "cancelled", "{row}");
    assert_eq!(server.download(&taken).await, b"hello");
    assert_eq!(server.uploads("uploading").await, Vec::<Value>::new());
    assert_stories(&server).await;
}

/// What is left of a file is skipped to find the next one, but not without end.
#[tokio::test]
async fn a_file_that_is_far_too_large_ends_the_form() {
    let limits = ["--max-upload-size", "1000", "--drain-bytes", "10000"];
    let server = Server::start(&limits).await;
    let form = Form::new()
        .image("good.png", b"hello")
        .image("huge.png", &vec![7; 200_000])
        .image("lost.png", b"hello")
        .end();
    let answer = server.send(form::post().body(form)).await;
    assert_eq!(data(&answer)["images"][0]["filename"], "good.png");
    assert_eq!(data(&answer)["count"], 1);
    assert_eq!(codes(&answer), ["UPLOAD_TOO_LARGE", "BAD_REQUEST"]);
}

#[tokio::test]
async fn its_sender_may_name_a_file() {
    let server = Server::start(&[]).await;
    let ids = [(); 2].map(|()| Uuid::new_v4().to_string());
    let head = |id: &str| format!("{}\r\nx-upload-id: {id}", image("a.png"));
    let form = Form::new()
        .part(head(&ids[0]), b"one")
        .part(head(&ids[1]), b"two")
        .end();
    let answer = server.send(form::post().body(form.clone())).await;
    let views = data(&answer)["images"].clone();
    assert_eq!([&views[0]["id"], &views[1]["id"]], [&ids[0], &ids[1]]);
    // A name is for one upload: this is no creation that could be repeated.
    let again = server.send(form::post().body(form)).await;
    assert_eq!(codes(&again), ["ID_TAKEN", "ID_TAKEN"]);
    again.expect_slug(409, "id-taken");
}

#[tokio::test]
async fn there_are_a_hundred_files_in_a_form_at_most() {
    let server = Server::start(&[]).await;
    let form = (0..105).fold(Form::new(), |form, n| {
        form.image(&format!("{n}.png"), n.to_string().as_bytes())
    });
    let answer = server.send(form::post().body(form.end())).await;
    let data = data(&answer);
    assert_eq!(data["count"], 100);
    assert_eq!(codes(&answer), ["VALIDATION_ERROR"]);
    let reason = data["failedFiles"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("too many files"), "{reason}");
    let last = &data["images"][99];
    expect_stored(&server, last, "99.png", b"99").await;
    let few = Server::start(&["--max-files-per-request", "1"]).await;
    let form = Form::new().image("a", b"a").image("b", b"b").end();
    let answer = few.send(form::post().body(form)).await;
    assert_eq!(codes(&answer), ["VALIDATION_ERROR"]);
}

#[tokio::test]
async fn a_form_without_a_stored_file_is_refused_as_its_first_file_was() {
    let server = Server::start(&["--max-upload-size", "10"]).await;
    let note = "Content-Disposition: form-data; name=\"image\"";
    for form in [Form::new(), Form::new().part(note, b"hello")] {
        let answer = server.send(form::post().body(form.end())).await;
        let problem = answer.expect_slug(400, "validation-failed").json();
        assert!(problem["errors"]["images"].is_array(), "{problem}");
    }
    let form = Form::new().image("a", &[0; 11]).image("", b"").end();
    let answer = server.send(form::post().body(form)).await;
    assert_eq!(codes(&answer), ["UPLOAD_TOO_LARGE", "VALIDATION_ERROR"]);
    let problem = answer.expect_slug(413, "upload-too-large").json();
    assert_eq!(problem["limit"], 10);
    let elsewhere = Req::new("POST", "/api/projects/other/images")
        .header("Content-Type", "multipart/form-data; boundary=b")
        .body("--b--");
    server.send(elsewhere).await.expect_slug(404, "not-found");
}

#[tokio::test]
async fn pages_of_other_origins_send_forms_only_where_they_may() {
    let listed = ["--cors-origin", "https://a.example"];
    let server = Server::start(&listed).await;
    let own = format!("http://{}", server.addr());
    for (origin, status, allowed) in [
        ("https://a.example", 201, Some("https://a.example")),
        (&own, 201, None),
        ("https://b.example", 403, None),
        ("null", 403, None),
    ] {
        let form = Form::new().image("a.png", b"hello").end();
        let request = form::post().header("Origin", origin).body(form);
        let answer = server.send(request).await.expect(status);
        let told = answer.header("Access-Control-Allow-Origin");
        assert_eq!(told, allowed, "{origin}:\n{answer}");
    }
    assert_eq!(server.uploads("completed").await.len(), 2);
    let preflight = Req::new("OPTIONS", IMAGES)
        .header("Origin", "https://a.example")
        .header("Access-Control-Request-Method", "POST");
    let answer = server.send(preflight).await.expect(204);
    let fields = answer.list("Access-Control-Allow-Headers");
    assert!(fields.contains(&"authorization".to_owned()), "{answer}");
}
