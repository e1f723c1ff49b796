//! People who share a project, each with a token of his own (contract, "Callers, projects, access").

use serde_json::{Value, json};

use crate::support::jwt::{Signer, claims, claims_with, guarded};
use crate::support::server::{Server, files_in};
use crate::support::sse::Sse;
use crate::support::tus::{self, Upload};
use crate::support::wire::{Answer, Conn, Req};
use crate::support::{content, eventually, random, rounds};

/// A server, and the tokens of those who use it.
struct World {
    server: Server,
    signer: Signer,
}

impl World {
    async fn new() -> Self {
        let (server, signer) = guarded(&["--checkpoint-interval", "20ms"]).await;
        Self { server, signer }
    }

    fn token(&self, user: &str) -> String {
        self.signer.sign(&claims(user))
    }

    async fn send(&self, user: &str, req: Req) -> Answer {
        self.server.send(req.bearer(&self.token(user))).await
    }

    async fn ask(&self, user: &str, method: &str, path: &str) -> Answer {
        self.send(user, tus::request(method, path)).await
    }

    async fn call(&self, user: &str, path: &str, body: Value) -> Answer {
        let req = tus::request("POST", path).header("Content-Type", "application/json");
        self.send(user, req.body(body.to_string())).await
    }

    /// A project of a.
    async fn project(&self) -> String {
        let made = self
            .call("a", "/api/projects", json!({"title": "Cells"}))
            .await;
        let made = made.expect(201).json();
        made["data"]["id"].as_str().expect("an id").to_owned()
    }

    async fn invite(&self, project: &str, whom: Value) -> String {
        let path = format!("/api/projects/{project}/shares");
        let share = self.call("a", &path, whom).await.expect(201).json();
        assert_eq!(share["data"]["status"], "pending", "{share}");
        share["data"]["id"].as_str().expect("an id").to_owned()
    }

    /// Shares a's project with b. Returns the share's id.
    async fn share(&self, project: &str) -> String {
        let share = self.invite(project, json!({"userId": "b"})).await;
        let path = format!("/api/shares/{share}/accept");
        let accepted = self.call("b", &path, json!({})).await.expect(200).json();
        assert_eq!(accepted["data"]["status"], "accepted", "{accepted}");
        share
    }

    async fn revoke(&self, share: &str) {
        let revoked = self
            .ask("a", "DELETE", &format!("/api/shares/{share}"))
            .await;
        assert_eq!(revoked.expect(200).json()["data"]["status"], "revoked");
    }

    async fn create(&self, user: &str, project: &str, length: u64) -> Upload {
        let mut create = tus::create(length);
        create.target = format!("/api/projects/{project}/uploads");
        Upload::created(&self.send(user, create).await.expect(201))
    }

    async fn append(&self, user: &str, upload: &Upload, offset: u64, data: &[u8]) -> Answer {
        self.send(user, tus::patch(upload, offset).body(data)).await
    }

    /// A request of b that has begun to send the rest of an upload.
    async fn sending(&self, upload: &Upload, offset: u64, rest: u64) -> Conn {
        let mut sender = self.server.connect().await;
        let patch = tus::patch(upload, offset).declare(rest);
        sender
            .send_head_and_wait(patch.bearer(&self.token("b")))
            .await;
        sender
    }

    async fn view(&self, user: &str, upload: &Upload) -> Answer {
        self.ask(user, "GET", &format!("/api/uploads/{}", upload.id()))
            .await
    }

    fn blobs(&self) -> usize {
        let blobs = files_in(&self.server.data_dir().join("blobs"));
        let names = blobs.iter().filter_map(|path| path.file_name());
        names.filter(|name| name.len() >= 36).count()
    }
}

/// All that can be asked about a project and an upload in it.
fn everything(project: &str, upload: &Upload) -> Vec<Req> {
    let id = upload.id();
    let json = |method: &str, path: String| {
        tus::request(method, &path)
            .header("Content-Type", "application/json")
            .body("{}")
    };
    vec![
        tus::head(upload),
        tus::get(upload),
        tus::patch(upload, 0).body("x"),
        tus::delete(upload),
        tus::request("GET", &format!("/api/uploads/{id}")),
        json("POST", format!("/api/uploads/{id}/cancel")),
        json("POST", format!("/api/uploads/{id}/cancel-token")),
        json(
            "POST",
            format!("/api/projects/{project}/uploads/{id}/cancel"),
        ),
        json("POST", format!("/api/projects/{project}/uploads/cancel")),
        tus::request("GET", &format!("/api/projects/{project}/uploads")),
        Req {
            target: format!("/api/projects/{project}/uploads"),
            ..tus::create(1)
        },
        tus::request("GET", &format!("/api/projects/{project}")),
        json("PUT", format!("/api/projects/{project}")),
        tus::request("DELETE", &format!("/api/projects/{project}")),
        tus::request("GET", &format!("/api/projects/{project}/shares")),
        tus::request("GET", &format!("/api/events?projectId={project}")),
    ]
}

#[tokio::test]
async fn two_people_share_a_project_and_a_third_sees_nothing() {
    let world = World::new().await;
    let project = world.project().await;
    let share = world.invite(&project, json!({"userId": "b"})).await;
    let refused = world
        .ask("b", "GET", &format!("/api/projects/{project}"))
        .await;
    refused.expect_slug(404, "not-found");
    world
        .call("c", &format!("/api/shares/{share}/accept"), json!({}))
        .await
        .expect_problem(404);
    let path = format!("/api/shares/{share}/accept");
    world.call("b", &path, json!({})).await.expect(200);

    // b uploads into a's project, and a reads of it.
    let of_project = format!("projectId={project}");
    let mut feed = Sse::open_as(&world.server, &of_project, &world.token("a")).await;
    let upload = world.create("b", &project, 1 << 20).await;
    assert_eq!(feed.next().await.json["data"]["userId"], "b");
    world.append("b", &upload, 0, b"kept ").await.expect(204);
    let seen = world.view("a", &upload).await.expect(200).json();
    assert_eq!(seen["data"]["ownerId"], "b");
    assert_eq!(seen["data"]["projectId"], *project);

    for req in everything(&project, &upload) {
        let what = format!("{} {}", req.method, req.target);
        let answer = world.send("c", req).await;
        assert_eq!(answer.status, 404, "{what}: {answer}");
    }

    // a cancels it, and b's client is told so.
    let mut sender = world.sending(&upload, 5, (1 << 20) - 5).await;
    sender.send(b"some of it").await;
    let path = format!("/api/uploads/{}/cancel", upload.id());
    let cancelled = world
        .call("a", &path, json!({"reason": "wrong file"}))
        .await;
    assert_eq!(cancelled.expect(200).json()["data"]["operation"], "upload");
    let told = sender.answer().await.expect_slug(410, "upload-cancelled");
    assert_eq!(told.json()["reason"], "wrong file");
    feed.until("upload.cancelled").await;

    // a revokes b, whose open feeds end.
    let token = world.token("b");
    let mut of_one = Sse::open_as(&world.server, &of_project, &token).await;
    let mut of_all = Sse::open_as(&world.server, "", &token).await;
    world.revoke(&share).await;
    while of_one.try_next().await.is_some() {}
    while of_all.try_next().await.is_some() {}
    for req in everything(&project, &upload) {
        let what = format!("{} {}", req.method, req.target);
        let answer = world.send("b", req).await;
        assert_eq!(answer.status, 404, "{what}: {answer}");
    }
}

/// Whoever loses the right to send is stopped, and nothing that was told to him is taken back.
#[tokio::test]
async fn a_revocation_at_any_moment_ends_the_running_append() {
    let world = World::new().await;
    let mut rng = random("a revocation");
    for round in 0..rounds(8) {
        let project = world.project().await;
        let share = world.share(&project).await;
        let whole = content(round, 400_000);
        let upload = world.create("b", &project, whole.len() as u64).await;
        let mut sender = world.sending(&upload, 0, whole.len() as u64).await;
        let sent = rng.usize(0..whole.len() - 1);
        sender.send(&whole[..sent]).await;
        if rng.bool() {
            world.server.quiesce().await;
        }
        world.revoke(&share).await;
        sender.answer().await.expect_problem(403);
        world
            .append("b", &upload, 0, b"x")
            .await
            .expect_problem(404);

        let seen = world.view("a", &upload).await.expect(200).json();
        assert_eq!(seen["data"]["state"], "uploading", "{seen}");
        let kept = seen["data"]["offset"].as_u64().expect("a number");
        assert!(kept <= sent as u64, "round {round}: {kept} of {sent}");
        // Back in the project, he goes on where it stopped.
        world.share(&project).await;
        let told = world.send("b", tus::head(&upload)).await.expect(200);
        assert_eq!(told.offset(), Some(kept), "nothing more was stored");
        let rest = &whole[usize::try_from(kept).expect("it fits")..];
        world.append("b", &upload, kept, rest).await.expect(204);
        let read = world.send("a", tus::get(&upload)).await.expect(200);
        assert!(read.body == whole, "round {round}: other bytes");
    }
}

#[tokio::test]
async fn a_member_sees_all_and_ends_his_own() {
    let world = World::new().await;
    let project = world.project().await;
    world.share(&project).await;
    let of_a = world.create("a", &project, 10).await;
    let of_b = world.create("b", &project, 10).await;
    world.append("a", &of_a, 0, b"12345").await.expect(204);
    for upload in [&of_a, &of_b] {
        world.view("b", upload).await.expect(200);
    }
    let told = world.send("b", tus::head(&of_a)).await.expect(200);
    assert_eq!(told.offset(), Some(5));
    for refused in [
        world.append("b", &of_a, 5, b"x").await,
        world.send("b", tus::delete(&of_a)).await,
        world
            .call(
                "b",
                &format!("/api/uploads/{}/cancel", of_a.id()),
                json!({}),
            )
            .await,
        world
            .call(
                "b",
                &format!("/api/uploads/{}/cancel-token", of_a.id()),
                json!({}),
            )
            .await,
        world
            .call(
                "b",
                &format!("/api/projects/{project}/uploads/cancel"),
                json!({"all": true}),
            )
            .await,
        world
            .ask("b", "DELETE", &format!("/api/projects/{project}"))
            .await,
    ] {
        refused.expect_slug(403, "forbidden");
    }
    let path = format!("/api/projects/{project}/uploads/cancel");
    let named = json!({"ids": [of_a.id(), of_b.id()]});
    let told = world.call("b", &path, named).await.expect(200).json();
    assert_eq!(told["data"]["results"][0]["outcome"], "forbidden", "{told}");
    assert_eq!(told["data"]["results"][1]["id"], of_b.id());
    assert_ne!(told["data"]["results"][1]["outcome"], "forbidden", "{told}");
    let admin = claims_with("root", json!({"role": "admin"}));
    let admin = world.signer.sign(&admin);
    let path = format!("/api/uploads/{}/cancel", of_a.id());
    let ended = world
        .server
        .send(tus::request("POST", &path).bearer(&admin))
        .await;
    ended.expect(200);
}

/// A look at an upload sends nobody away who still sends, unless the looker may send himself.
#[tokio::test]
async fn a_members_look_disturbs_no_sender() {
    let world = World::new().await;
    let project = world.project().await;
    world.share(&project).await;
    let upload = world.create("b", &project, 10).await;
    let mut sender = world.sending(&upload, 0, 10).await;
    sender.send(b"12345").await;
    let invited = world.invite(&project, json!({"userId": "d"})).await;
    world
        .call("d", &format!("/api/shares/{invited}/accept"), json!({}))
        .await
        .expect(200);
    // Silent for long enough that its sender's own look would take it over.
    eventually("the bytes are safe", async || {
        let seen = world.view("d", &upload).await.json();
        (seen["data"]["offset"] == 5).then_some(())
    })
    .await;
    for user in ["d", "stranger"] {
        let patch = world.append(user, &upload, 5, b"x").await;
        assert!(matches!(patch.status, 403 | 404), "{patch}");
        world.send(user, tus::head(&upload)).await;
    }
    sender.send(b"67890").await;
    sender.answer().await.expect(204);
}

#[tokio::test]
async fn a_deleted_project_takes_everything_along() {
    let world = World::new().await;
    let project = world.project().await;
    world.share(&project).await;
    let whole = world.create("a", &project, 5).await;
    world.append("a", &whole, 0, b"12345").await.expect(204);
    let upload = world.create("b", &project, 1 << 20).await;
    let mut sender = world.sending(&upload, 0, 1 << 20).await;
    sender.send(&content(1, 100_000)).await;
    world.server.quiesce().await;
    assert!(world.blobs() >= 2);

    let path = format!("/api/projects/{project}");
    let deleted = world.ask("a", "DELETE", &path).await.expect(200).json();
    assert_eq!(deleted["data"]["state"], "deleted", "{deleted}");
    let told = sender.answer().await.expect_slug(410, "upload-cancelled");
    assert_eq!(told.json()["reason"], "the project is deleted");
    assert_eq!(world.blobs(), 0, "its bytes are gone");
    for user in ["a", "b"] {
        for req in everything(&project, &upload) {
            let what = format!("{user}: {} {}", req.method, req.target);
            let answer = world.send(user, req).await;
            assert_eq!(answer.status, 404, "{what}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_lent_token_cancels_one_upload_and_does_nothing_else() {
    let world = World::new().await;
    let project = world.project().await;
    let share = world.share(&project).await;
    let (one, other) = (
        world.create("b", &project, 10).await,
        world.create("b", &project, 10).await,
    );
    let lend = async |upload: &Upload| {
        let path = format!("/api/uploads/{}/cancel-token", upload.id());
        let lent = world.call("b", &path, json!({"expiresIn": 60})).await;
        let lent = lent.expect(201).json();
        assert!(lent["data"]["expiresAt"].is_string(), "{lent}");
        lent["data"]["token"].as_str().expect("a token").to_owned()
    };
    let token = lend(&one).await;
    let with_token = |method: &str, path: String| {
        let separator = if path.contains('?') { '&' } else { '?' };
        tus::request(method, &format!("{path}{separator}token={token}"))
    };
    let id = one.id();
    for req in [
        with_token("POST", format!("/api/uploads/{}/cancel", other.id())),
        with_token("GET", format!("/api/uploads/{id}")),
        with_token("POST", format!("/api/uploads/{id}/cancel-token")),
        with_token(
            "POST",
            format!("/api/projects/{project}/uploads/{id}/cancel"),
        ),
        with_token("DELETE", format!("/files/{id}")),
        with_token("HEAD", format!("/files/{id}")),
        with_token("GET", format!("/files/{id}")),
        with_token("GET", format!("/api/events?projectId={project}")),
        tus::request("POST", &format!("/api/uploads/{id}/cancel")).bearer(&token),
        tus::request("GET", &format!("/api/uploads/{id}")).bearer(&token),
    ] {
        let what = format!("{} {}", req.method, req.target);
        let answer = world.server.send(req).await;
        assert_eq!(answer.status, 401, "{what}: {answer}");
    }
    // As a browser sends it while the page is being closed: from anywhere, and empty.
    let beacon = with_token("POST", format!("/api/uploads/{id}/cancel"));
    let beacon = beacon.header("Origin", "https://elsewhere.example");
    world.server.send(beacon).await.expect(200);
    let seen = world.view("b", &one).await.json();
    assert_ne!(seen["data"]["state"], "uploading", "{seen}");

    // What it lends is what its lender may do, then.
    let token = lend(&other).await;
    world.revoke(&share).await;
    let path = format!("/api/uploads/{}/cancel?token={token}", other.id());
    world
        .server
        .send(tus::request("POST", &path))
        .await
        .expect_problem(404);
    let seen = world.view("a", &other).await.json();
    assert_eq!(seen["data"]["state"], "uploading", "{seen}");
}

/// Without authentication a page of another origin cannot cancel, whatever it writes into the query.
#[tokio::test]
async fn what_only_looks_like_a_lent_token_opens_nothing() {
    let server = Server::start(&[]).await;
    let upload = server.create(10).await;
    for query in [
        "token=x",
        "%74oken=x",
        "token=",
        "Token=x",
        "token",
        "x=1&%74oken=x",
    ] {
        let path = format!("/api/uploads/{}/cancel?{query}", upload.id());
        let beacon = tus::request("POST", &path).header("Origin", "https://elsewhere.example");
        let status = server.send(beacon).await.status;
        assert!(matches!(status, 401 | 415), "{query}: {status}");
    }
    assert_eq!(server.offset(&upload).await, 0);
}

#[tokio::test]
async fn parts_of_another_project_are_no_parts() {
    let world = World::new().await;
    let project = world.project().await;
    let partial = async |user: &str, target: &str| {
        let mut create = tus::create_partial(3);
        create.target = target.to_owned();
        let part = Upload::created(&world.send(user, create).await.expect(201));
        world.append(user, &part, 0, b"abc").await.expect(204);
        part
    };
    let there = partial("a", &format!("/api/projects/{project}/uploads")).await;
    let here = partial("a", "/files").await;
    let of_b = partial("b", "/files").await;
    let join = async |user: &str, parts: &[&Upload]| {
        let parts: Vec<_> = parts.iter().map(|part| part.path.as_str()).collect();
        world.send(user, tus::create_final(&parts)).await
    };
    join("a", &[&here, &there])
        .await
        .expect_slug(404, "part-not-found");
    join("a", &[&of_b]).await.expect_slug(404, "part-not-found");
    join("b", &[&here]).await.expect_slug(404, "part-not-found");
    // A member sees what is another's, and keeps nobody from deleting it.
    world.share(&project).await;
    let mut of_another = tus::create_final(&[there.path.as_str()]);
    of_another.target = format!("/api/projects/{project}/uploads");
    world
        .send("b", of_another)
        .await
        .expect_slug(404, "part-not-found");
    join("a", &[&here, &here]).await.expect(201);
}

#[tokio::test]
async fn everybody_has_files_of_his_own() {
    let world = World::new().await;
    let mut all = Sse::open_as(&world.server, "", &world.token("a")).await;
    let of_a = Upload::created(&world.send("a", tus::create(5)).await.expect(201));
    let told = all.next().await;
    assert_eq!(
        (told.kind(), told.subject()),
        ("upload.created", &*format!("upload/{}", of_a.id()))
    );
    let of_b = Upload::created(&world.send("b", tus::create(5)).await.expect(201));
    world.view("b", &of_a).await.expect_problem(404);
    world.view("a", &of_b).await.expect_problem(404);
    let listed = world
        .ask("a", "GET", "/api/projects")
        .await
        .expect(200)
        .json();
    assert_eq!(listed["pagination"]["total"], 1, "{listed}");
    let home = listed["data"][0]["id"].as_str().expect("an id");
    let view = world.view("a", &of_a).await.json();
    assert_eq!(view["data"]["projectId"], home);
    // An id that somebody has given his upload is nobody else's.
    let named = |req: Req| req.header("Upload-Id", of_a.id());
    world
        .send("b", named(tus::create(5)))
        .await
        .expect_slug(409, "id-taken");
}
