//! Users with tokens: one export of a project each, and who may have which archive.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::export::{Archive, Job, everything, originals, start};
use crate::support::jwt::{Signer, claims, guarded};
use crate::support::queue::{call, get, id_of};
use crate::support::server::Server;
use crate::support::tus::{self, Upload};
use crate::support::wire::{Answer, Req};
use crate::support::{content, eventually, postgres, rounds};

/// A server with a project of ada's, in which bob is a member.
struct World {
    server: Server,
    signer: Signer,
    project: String,
    share: String,
}

impl World {
    async fn new(flags: &[&str]) -> Self {
        let (server, signer) = guarded(flags).await;
        let mut world = Self {
            server,
            signer,
            project: String::new(),
            share: String::new(),
        };
        let made = json!({"title": "Cells"});
        let made = world.call("ada", "/api/projects", made).await;
        world.project = id_of(&made.expect(201).json()["data"]);
        let shares = format!("/api/projects/{}/shares", world.project);
        let share = world.call("ada", &shares, json!({"userId": "bob"})).await;
        world.share = id_of(&share.expect(201).json()["data"]);
        let accept = format!("/api/shares/{}/accept", world.share);
        world.call("bob", &accept, json!({})).await.expect(200);
        world
    }

    async fn send(&self, user: &str, req: Req) -> Answer {
        let token = self.signer.sign(&claims(user));
        self.server.send(req.bearer(&token)).await
    }

    async fn call(&self, user: &str, path: &str, body: Value) -> Answer {
        self.send(user, call("POST", path, &body)).await
    }

    async fn upload(&self, user: &str, bytes: &[u8]) -> Upload {
        let create = Req {
            target: format!("/api/projects/{}/uploads", self.project),
            ..tus::create_with_data(bytes.len() as u64).body(bytes)
        };
        Upload::created(&self.send(user, create).await.expect(201))
    }

    async fn export(&self, user: &str, body: &Value) -> Job {
        let started = self.send(user, start(&self.project, body)).await;
        let id = started.expect(200).json()["jobId"].clone();
        Job {
            project: self.project.clone(),
            id: id.as_str().expect("a job").to_owned(),
        }
    }

    async fn reaches(&self, user: &str, job: &Job, state: &str) -> Value {
        eventually(&format!("it is {state}"), async || {
            let found = self.send(user, job.status()).await.expect(200).json();
            let found = found["data"].clone();
            (found["state"] == state).then_some(found)
        })
        .await
    }

    async fn exported(&self, user: &str) -> Job {
        let job = self.export(user, &originals()).await;
        self.reaches(user, &job, "completed").await;
        job
    }

    /// The token with which a browser downloads.
    async fn token(&self, user: &str, job: &Job) -> String {
        let token = self.send(user, job.token()).await.expect(200);
        let token = token.expect_header("Cache-Control", "no-store").json();
        assert!(token["expiresAt"].is_string(), "{token}");
        token["token"].as_str().expect("a token").to_owned()
    }

    /// A download with nothing but a token in the query.
    async fn lent(&self, job: &Job, token: &str) -> Answer {
        let target = format!("{}?token={token}", job.path("download"));
        self.server.send(get(&target)).await
    }
}

#[tokio::test]
async fn a_second_start_is_told_of_the_first() {
    second(&Server::start(&[]).await).await;
}

#[tokio::test]
async fn a_second_start_is_told_of_the_first_on_postgres() {
    second(&postgres::server(&[]).await).await;
}

async fn second(server: &Server) {
    server.large(64).await;
    let job = server.export("default", &originals()).await;
    let refused = server.send(start("default", &everything())).await;
    let refused = refused.expect_slug(429, "export-running");
    let wait: u64 = refused.field("Retry-After").parse().expect("seconds");
    assert!(wait > 0);
    assert_eq!(refused.json()["jobId"], job.id, "{refused}");
    server.send(job.cancel()).await.expect(200);
    let next = server.export("default", &originals()).await;
    server.send(next.cancel()).await.expect(200);
    server.export_reaches(&next, "cancelled").await;

    for _ in 0..rounds(25) {
        let (one, other) = tokio::join!(
            server.send(start("default", &originals())),
            server.send(start("default", &originals())),
        );
        let (started, refused) = match one.status {
            200 => (one, other),
            _ => (other, one),
        };
        let id = started.expect(200).json()["jobId"].clone();
        let refused = refused.expect_slug(429, "export-running").json();
        assert_eq!(refused["jobId"], id);
        let job = Job {
            project: "default".into(),
            id: id.as_str().expect("a job").to_owned(),
        };
        server.send(job.cancel()).await.expect(200);
    }
    eventually("nothing is left", async || {
        server.archives().is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_users_export_one_project_and_each_has_his_archive() {
    let world = World::new(&[]).await;
    let (of_ada, of_bob) = (content(1, 70_000), content(2, 50_000));
    let uploads = [
        world.upload("ada", &of_ada).await,
        world.upload("bob", &of_bob).await,
    ];
    let (for_ada, for_bob) = tokio::join!(world.exported("ada"), world.exported("bob"));
    assert_ne!(for_ada, for_bob);
    for job in [&for_ada, &for_bob] {
        let archive = world.send("ada", job.download()).await.expect(200).body;
        let again = world.send("bob", job.download()).await.expect(200).body;
        assert_eq!(archive, again);
        let archive = Archive::open(&archive).await;
        archive.expect_manifest();
        archive.expect_originals(&[(&uploads[0], &of_ada), (&uploads[1], &of_bob)]);
        assert_eq!(archive.manifest()["exportId"], job.id);
        for request in [job.status(), job.download(), job.token(), job.cancel()] {
            let request = || request.clone();
            world.send("eve", request()).await.expect(404);
            world.server.send(request()).await.expect(401);
        }
    }
    let refused = world.send("eve", start(&world.project, &originals())).await;
    refused.expect_slug(404, "not-found");
    let history = format!("/api/projects/{}/export/history", world.project);
    let listed = world.send("bob", get(&history)).await.expect(200).json();
    let listed = listed["data"].as_array().expect("a list");
    let mut users: Vec<_> = listed.iter().map(|job| job["userId"].as_str()).collect();
    users.sort_unstable();
    assert_eq!(users, [Some("ada"), Some("bob")]);
    world.send("eve", get(&history)).await.expect(404);
}

#[tokio::test]
async fn a_member_cancels_his_own_and_the_owner_everybodys() {
    let world = World::new(&["--max-running-exports", "1"]).await;
    world.upload("ada", &content(1, 100 << 20)).await;
    let of_ada = world.export("ada", &originals()).await;
    let of_bob = world.export("bob", &originals()).await;
    let refused = world.send("bob", of_ada.cancel()).await;
    refused.expect_slug(403, "forbidden");
    world.send("ada", of_bob.cancel()).await.expect(200);
    world.reaches("bob", &of_bob, "cancelled").await;
    let of_bob = world.export("bob", &originals()).await;
    world.send("bob", of_bob.cancel()).await.expect(200);
    world.reaches("ada", &of_bob, "cancelled").await;
    world.reaches("ada", &of_ada, "completed").await;
}

#[tokio::test]
async fn a_token_downloads_one_archive_and_does_nothing_else() {
    let world = World::new(&[]).await;
    let image = world.upload("ada", b"pixels").await;
    let (job, other) = (world.exported("bob").await, world.exported("ada").await);
    let token = world.token("bob", &job).await;
    let archive = world.send("ada", job.download()).await.expect(200).body;
    for _ in 0..3 {
        assert_eq!(world.lent(&job, &token).await.expect(200).body, archive);
    }
    let target = format!("{}?token={token}", job.path("download"));
    let part = get(&target).header("Range", "bytes=10-19");
    let part = world.server.send(part).await.expect(206);
    assert_eq!(part.body, archive[10..20]);
    world
        .lent(&other, &token)
        .await
        .expect_slug(401, "unauthorized");
    let unknown = Job {
        id: Uuid::new_v4().to_string(),
        ..job.clone()
    };
    world.lent(&unknown, &token).await.expect(401);
    let elsewhere = Job {
        project: Uuid::new_v4().to_string(),
        ..job.clone()
    };
    world.lent(&elsewhere, &token).await.expect(404);
    for (method, path) in [
        ("GET", job.path("status")),
        ("POST", job.path("cancel")),
        ("POST", job.path("download-token")),
        (
            "GET",
            format!("/api/projects/{}/export/history", job.project),
        ),
        ("POST", format!("/api/projects/{}/export", job.project)),
        ("GET", image.path.clone()),
        ("GET", format!("/api/projects/{}", job.project)),
    ] {
        let request = call(method, &format!("{path}?token={token}"), &json!({}));
        world.server.send(request).await.expect(401);
    }
    let login = world.signer.sign(&claims("ada"));
    let spoiled = format!("{}x", &token[..token.len() - 1]);
    for wrong in [&login, &spoiled, "x", "", "%00", &token[1..]] {
        world
            .lent(&job, wrong)
            .await
            .expect_slug(401, "unauthorized");
    }
    let twice = format!("{}?token={token}&token={token}", job.path("download"));
    world.server.send(get(&twice)).await.expect(401);
    // That of an upload, which may be read so as well.
    let of_upload = format!("/api/uploads/{}/cancel-token", image.id());
    let of_upload = world.call("ada", &of_upload, json!({})).await.json();
    if let Some(of_upload) = of_upload["data"]["token"].as_str() {
        world.lent(&job, of_upload).await.expect(401);
    }
}

#[tokio::test]
async fn a_token_is_worth_what_its_lender_may_do() {
    let world = World::new(&[]).await;
    world.upload("ada", b"pixels").await;
    let job = world.exported("bob").await;
    let (of_ada, of_bob) = (
        world.token("ada", &job).await,
        world.token("bob", &job).await,
    );
    world.lent(&job, &of_bob).await.expect(200);
    let share = format!("/api/shares/{}", world.share);
    let revoked = Req::new("DELETE", &share);
    world.send("ada", revoked).await.expect(200);
    let gone = world.lent(&job, &of_bob).await;
    gone.expect_slug(404, "not-found");
    world.send("bob", job.download()).await.expect(404);
    world.lent(&job, &of_ada).await.expect(200);
}
