//! Projects, as the one caller of a server without authentication sees them (contract, "Callers,
//! projects, access").

use serde_json::{Value, json};
use uuid::Uuid;

use crate::crash::kill_during;
use crate::support::server::{Server, files_in};
use crate::support::sse::Sse;
use crate::support::tus;
use crate::support::wire::{Answer, Req};
use crate::support::{eventually, random, rounds};

const PROJECTS: &str = "/api/projects";

fn said(method: &str, target: &str, body: &Value) -> Req {
    Req::new(method, target)
        .header("Content-Type", "application/json")
        .body(body.to_string())
}

async fn get(server: &Server, target: &str) -> Answer {
    server.send(Req::new("GET", target)).await
}

async fn delete(server: &Server, target: &str) -> Answer {
    server.send(Req::new("DELETE", target)).await
}

#[track_caller]
fn data(answer: &Answer) -> Value {
    let body = answer.json();
    assert_eq!(body["success"], true, "{answer}");
    body["data"].clone()
}

/// The id of a new project.
async fn project(server: &Server, title: &str) -> String {
    let made = server
        .send(said("POST", PROJECTS, &json!({ "title": title })))
        .await
        .expect(201);
    let id = data(&made)["id"].as_str().expect("an id").to_owned();
    let version = Uuid::parse_str(&id).expect("a UUID").get_version_num();
    assert_eq!(version, 4, "{id}");
    id
}

#[tokio::test]
async fn without_authentication_there_is_a_default_project() {
    let server = Server::start(&[]).await;
    let found = get(&server, "/api/projects/default").await.expect(200);
    let found = data(&found);
    assert_eq!(found["id"], "default");
    assert_eq!(found["ownerId"], "local");
    assert_eq!(found["role"], "owner");
    assert_eq!(found["description"], Value::Null);
    let listed = get(&server, PROJECTS).await.expect(200).json();
    assert_eq!(listed["data"], json!([found]));
    assert_eq!(
        listed["pagination"],
        json!({ "page": 1, "limit": 50, "total": 1, "totalPages": 1 })
    );
}

#[tokio::test]
async fn a_project_is_made_found_changed_and_deleted() {
    let mut server = Server::start(&[]).await;
    let id = project(&server, "Gr\u{fc}n").await;
    let target = format!("{PROJECTS}/{id}");
    let edit = json!({ "title": "Rot", "description": "two\nlines" });
    let edited = server.send(said("PUT", &target, &edit)).await.expect(200);
    let edited = data(&edited);
    assert_eq!(edited["title"], "Rot");
    assert_eq!(edited["description"], "two\nlines");
    server.kill9().await;
    server.restart(&[]).await;
    assert_eq!(data(&get(&server, &target).await.expect(200)), edited);
    let all = get(&server, "/api/projects?all=true&limit=1")
        .await
        .expect(200);
    assert_eq!(data(&all), json!([edited]), "the newest comes first");
    let deleted = delete(&server, &target).await.expect(200);
    assert_eq!(data(&deleted), json!({ "id": id, "state": "deleted" }));
    for method in ["GET", "DELETE"] {
        server.send(Req::new(method, &target)).await.expect(404);
    }
    server.send(said("PUT", &target, &edit)).await.expect(404);
}

#[tokio::test]
async fn what_is_malformed_is_refused_and_what_is_not_there_is_not_found() {
    let server = Server::start(&[]).await;
    for body in [
        json!({}),
        json!({ "title": "" }),
        json!({ "title": "x".repeat(256) }),
        json!({ "title": "t", "description": "x".repeat(1001) }),
        json!({ "title": "t", "id": "default" }),
    ] {
        let refused = server.send(said("POST", PROJECTS, &body)).await.expect(400);
        assert_eq!(refused.json()["code"], "VALIDATION_ERROR", "{refused}");
    }
    let plain = Req::new("POST", PROJECTS).body("title=t");
    server.send(plain).await.expect(415);
    let absent = Uuid::new_v4();
    for id in [&absent.to_string(), "nothing", "Default", "%00", "a%2Fb"] {
        for target in [
            format!("{PROJECTS}/{id}"),
            format!("{PROJECTS}/{id}/shares"),
        ] {
            get(&server, &target).await.expect(404);
        }
        delete(&server, &format!("{PROJECTS}/{id}"))
            .await
            .expect(404);
    }
    for query in ["page=0", "limit=101", "all=maybe"] {
        get(&server, &format!("{PROJECTS}?{query}"))
            .await
            .expect(400);
    }
    delete(&server, &format!("/api/shares/{absent}"))
        .await
        .expect(404);
    delete(&server, "/api/shares/nothing").await.expect(400);
}

#[tokio::test]
async fn an_invitation_is_the_invited_ones_to_accept_and_the_owners_to_take_back() {
    let server = Server::start(&[]).await;
    let id = project(&server, "shared").await;
    let shares = format!("{PROJECTS}/{id}/shares");
    let with = json!({ "email": "B@Example.org" });
    let made = server.send(said("POST", &shares, &with)).await.expect(201);
    let made = data(&made);
    assert_eq!(made["email"], "b@example.org");
    assert_eq!(made["userId"], Value::Null);
    assert_eq!(made["status"], "pending");
    assert_eq!(made["projectId"], id.as_str());
    let again = server.send(said("POST", &shares, &with)).await.expect(200);
    assert_eq!(data(&again), made);
    let own = json!({ "userId": "local" });
    server.send(said("POST", &shares, &own)).await.expect(400);
    assert_eq!(
        data(&get(&server, &shares).await.expect(200)),
        json!([made])
    );
    assert_eq!(
        data(&get(&server, "/api/shares").await.expect(200)),
        json!([])
    );
    let share = format!("/api/shares/{}", made["id"].as_str().expect("an id"));
    let accept = Req::new("POST", &format!("{share}/accept"));
    server.send(accept).await.expect(403);
    for _again in 0..2 {
        let revoked = delete(&server, &share).await.expect(200);
        assert_eq!(data(&revoked)["status"], "revoked");
    }
    assert_eq!(data(&get(&server, &shares).await.expect(200)), json!([]));
}

#[tokio::test]
async fn deleting_a_project_ends_everything_in_it() {
    let server = Server::start(&[]).await;
    let complete = server.complete(b"hello").await;
    let running = server.create(1 << 20).await;
    let mut sender = server.connect().await;
    let patch = tus::patch(&running, 0).declare(1 << 20);
    sender.send_head_and_wait(patch).await;
    sender.send(b"some of it").await;
    let mut feed = Sse::open(&server, "projectId=default&after=0", None).await;
    feed.until("upload.completed").await;

    let deleted = delete(&server, "/api/projects/default").await.expect(200);
    assert_eq!(data(&deleted)["state"], "deleted");
    let answer = sender.answer().await.expect(410);
    assert_eq!(answer.json()["code"], "UPLOAD_CANCELLED", "{answer}");
    assert_eq!(answer.json()["reason"], "the project is deleted");
    server.send(tus::get(&complete)).await.expect(404);
    let blobs = server.data_dir().join("blobs");
    let of_an_upload = |path: &std::path::Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.len() >= 36
    };
    eventually("no blob is left", async || {
        let left = files_in(&blobs).into_iter().any(|path| of_an_upload(&path));
        (!left).then_some(())
    })
    .await;
}

/// Whatever the moment: the project is as it was, or nothing is left of it.
#[tokio::test]
async fn a_deletion_that_a_crash_cuts_short_is_finished() {
    let mut rng = random("a_deletion_that_a_crash_cuts_short_is_finished");
    let mut server = Server::start(&[]).await;
    for _round in 0..rounds(8) {
        let uploads = [
            server.complete(b"hello").await,
            server.complete(b"again").await,
            server.create(1 << 20).await,
        ];
        let before = created(&server).await.expect("it is there");
        let deleted = kill_during(&mut server, rng.u64(0..30_000), &[], async |server| {
            let deletion = Req::new("DELETE", "/api/projects/default");
            server.try_send(deletion).await
        });
        let deleted = deleted.await;
        // A new one is made at the start, unless the old one is still going then.
        let was_deleted = created(&server).await.as_ref() != Some(&before);
        if let Ok(answer) = deleted {
            assert!(was_deleted, "it was acknowledged:\n{answer}");
        }
        for upload in &uploads {
            let path = format!("/api/uploads/{}", upload.id());
            if !was_deleted {
                let state = data(&get(&server, &path).await.expect(200))["state"].clone();
                assert!(["completed", "uploading"].contains(&state.as_str().expect("a state")));
                continue;
            }
            eventually("the upload is gone or cancelled", async || {
                let found = get(&server, &path).await;
                let is_over = found.status == 404 || data(&found)["state"] == "cancelled";
                is_over.then_some(())
            })
            .await;
        }
        // As soon as nothing is left of the old one.
        while created(&server).await.is_none() {
            server.kill9().await;
            server.restart(&[]).await;
        }
    }
}

/// When the default project was made, if there is one.
async fn created(server: &Server) -> Option<String> {
    let found = get(server, "/api/projects/default").await;
    match found.status {
        404 => None,
        _ => data(&found.expect(200))["createdAt"]
            .as_str()
            .map(str::to_owned),
    }
}
