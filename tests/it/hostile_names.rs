//! Names and ids that nobody means well with: of files, uploads, projects, shares and feeds.

use std::fmt::Write as _;

use crate::support::hostile::{assert_nothing_escaped, name};
use crate::support::jwt::{Keys, SECRET, Signer, claims};
use crate::support::server::{Server, temp_dir};
use crate::support::tus::{self, Upload};
use crate::support::wire::Req;
use crate::support::{eventually, random};

const NAMES: usize = 500;

#[tokio::test]
async fn a_file_is_called_what_its_sender_calls_it_and_shown_safely() {
    let mut rng = random("hostile file names");
    let around = temp_dir();
    let server = Server::start_in(&around.path().join("data"), &[]).await;
    for _ in 0..NAMES {
        let name = name(&mut rng);
        let metadata = tus::metadata(&[("filename", name.as_bytes())]);
        let create = tus::create(2).header("Upload-Metadata", metadata);
        let upload = Upload::created(&server.send(create).await.expect(201));
        server.append(&upload, 0, b"ok").await;
        let view = Req::new("GET", &format!("/api/uploads/{}", upload.id()));
        let view = server.send(view).await.expect(200).json();
        assert_eq!(view["data"]["metadata"]["filename"], name, "{view}");
        let shown = view["data"]["filename"].as_str().unwrap_or("a");
        let is_plain = !shown.contains(['/', '\\']) && !shown.chars().any(char::is_control);
        assert!(is_plain && shown != ".." && shown != ".", "{view}");
        let answer = server.send(tus::get(&upload)).await.expect(200);
        let disposition = answer.field("Content-Disposition");
        assert!(disposition.starts_with("attachment"), "{name:?}: {answer}");
        assert_eq!(answer.body, b"ok");
    }
    assert_nothing_escaped(&around.path().join("data"), around.path());
}

/// As a segment of a path, or a parameter of a query, in which it can be sent at all.
fn escaped(name: &str, rng: &mut fastrand::Rng) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        let is_plain = byte.is_ascii_graphic() && !b"?#&\"<>\\^`{|}".contains(&byte);
        match is_plain && rng.u8(..4) > 0 {
            true => escaped.push(byte.into()),
            false => write!(escaped, "%{byte:02X}").expect("a string takes it"),
        }
    }
    escaped
}

#[tokio::test]
async fn whatever_is_no_id_is_refused_and_leads_nowhere() {
    const PATHS: [(&str, &str); 14] = [
        ("HEAD", "/files/{}"),
        ("PATCH", "/files/{}"),
        ("DELETE", "/files/{}"),
        ("GET", "/files/{}"),
        ("GET", "/api/uploads/{}"),
        ("POST", "/api/uploads/{}/cancel"),
        ("POST", "/api/uploads/{}/cancel-token"),
        ("GET", "/api/projects/{}"),
        ("DELETE", "/api/projects/{}"),
        ("GET", "/api/projects/{}/uploads"),
        ("POST", "/api/projects/{}/images"),
        ("POST", "/api/shares/{}/accept"),
        ("DELETE", "/api/shares/{}"),
        ("GET", "/api/events?projectId={}"),
    ];
    let mut rng = random("hostile ids");
    let around = temp_dir();
    let keys = Keys::new();
    let secret = keys.write("secret", SECRET);
    let flags = ["--auth", "jwt", "--jwt-secret-file", &secret];
    let server = Server::start_in(&around.path().join("data"), &flags).await;
    let token = Signer::hs256(SECRET).sign(&claims("ada"));
    for at in 0..NAMES {
        // Neither empty, which is another path or no parameter.
        let name = format!("{}x", name(&mut rng));
        let (method, path) = PATHS[at % PATHS.len()];
        let path = path.replace("{}", &escaped(&name, &mut rng));
        let answer = server
            .send(tus::request(method, &path).bearer(&token))
            .await;
        let is_refused = (400..500).contains(&answer.status);
        assert!(is_refused, "{method} {path}: {answer}");
        let named = tus::create(2).bearer(&token).header("Upload-Id", &name);
        let answer = server.try_send(named).await;
        let status = answer.map_or(400, |answer| answer.status);
        assert!(
            (400..500).contains(&status),
            "Upload-Id: {name:?}: {status}"
        );
    }
    eventually("it is well", async || {
        let ready = server.send(Req::new("GET", "/readyz")).await;
        (ready.status == 200).then_some(())
    })
    .await;
    assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
    assert_nothing_escaped(&around.path().join("data"), around.path());
}
