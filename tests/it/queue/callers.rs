//! Users and workers with tokens: what each may do, and whose rights a worker reads with.

use serde_json::{Value, json};

use crate::support::jwt::{Signer, claims, claims_with, guarded};
use crate::support::queue::{Worker, call, cancel, enqueue_all, get, id_of, items};
use crate::support::server::Server;
use crate::support::tus::{self, Upload};
use crate::support::wire::{Answer, Req};

/// A server with a project of ada's, in which bob is a member.
struct World {
    server: Server,
    signer: Signer,
    project: String,
    share: String,
}

impl World {
    async fn new() -> Self {
        let (server, signer) = guarded(&[]).await;
        let mut world = Self {
            server,
            signer,
            project: String::new(),
            share: String::new(),
        };
        world.project = world.project_of("ada").await;
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

    async fn project_of(&self, user: &str) -> String {
        let made = self
            .call(user, "/api/projects", json!({"title": "Cells"}))
            .await;
        id_of(&made.expect(201).json()["data"])
    }

    /// New images, enqueued in one batch. The items.
    async fn enqueued(&self, user: &str, project: &str, count: usize) -> Vec<Value> {
        let mut images = Vec::new();
        for number in 0..count {
            let create = tus::create_with_data(7).body(format!("pixels{number}"));
            let create = Req {
                target: format!("/api/projects/{project}/uploads"),
                ..create
            };
            images.push(Upload::created(&self.send(user, create).await.expect(201)));
        }
        let all: Vec<_> = images.iter().collect();
        let told = self.send(user, enqueue_all(project, &all, json!({}))).await;
        let told = told.expect(201).json()["data"]["queueEntries"].clone();
        told.as_array().expect("items").clone()
    }

    fn worker(&self, user: &str, others: Value) -> Worker {
        let mut claims = claims_with(user, others);
        claims["role"] = json!("worker");
        Worker::with_token("w1", self.signer.sign(&claims))
    }

    async fn stats_of(&self, user: &str) -> Value {
        let stats = self.send(user, get("/api/queue/stats")).await.expect(200);
        stats.json()["data"].clone()
    }
}

#[tokio::test]
async fn users_take_turns() {
    let world = World::new().await;
    let of_bob = world.project_of("bob").await;
    let many = world.enqueued("ada", &world.project, 6).await;
    let few = world.enqueued("bob", &of_bob, 2).await;
    let worker = world.worker("w", json!({}));
    let mut order = Vec::new();
    for _ in 0..8 {
        order.push(id_of(&worker.take(&world.server, 1).await[0]));
    }
    let place = |item: &Value| {
        order
            .iter()
            .position(|id| *id == id_of(item))
            .expect("it came")
    };
    assert!(place(&few[0]) <= 1, "{order:?}");
    assert!(place(&few[1]) <= 3, "{order:?}");
    let of_ada: Vec<_> = many.iter().map(place).collect();
    assert!(of_ada.is_sorted(), "{of_ada:?}");
    let all = json!({"queued": 0, "processing": 6, "total": 6});
    assert_eq!(world.stats_of("ada").await, all);
    assert_eq!(world.stats_of("bob").await["total"], 2);
}

#[tokio::test]
async fn a_member_cancels_his_own_and_the_owner_everybodys() {
    let world = World::new().await;
    let own = world.enqueued("ada", &world.project, 1).await;
    let his = world.enqueued("bob", &world.project, 3).await;
    assert_eq!(his[0]["userId"], "bob");
    // He sees all of it.
    let item = format!("/api/queue/items/{}", id_of(&own[0]));
    world.send("bob", get(&item)).await.expect(200);
    world
        .send("bob", cancel(&id_of(&own[0])))
        .await
        .expect_slug(403, "forbidden");
    world
        .send("carol", cancel(&id_of(&own[0])))
        .await
        .expect_slug(404, "not-found");
    let batch = format!(
        "/api/queue/batches/{}/cancel",
        own[0]["batchId"].as_str().expect("one")
    );
    world
        .call("bob", &batch, json!({}))
        .await
        .expect_slug(403, "forbidden");
    let project = format!("/api/queue/projects/{}/cancel", world.project);
    world
        .call("bob", &project, json!({"all": true}))
        .await
        .expect_slug(403, "forbidden");
    world.send("bob", cancel(&id_of(&his[0]))).await.expect(200);
    world.send("ada", cancel(&id_of(&his[1]))).await.expect(200);
    // Only his own.
    let told = world
        .call("bob", &project, json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(told["data"]["cancelledCount"], 1, "{told}");
    assert_eq!(told["data"]["results"][0]["id"], his[2]["id"]);
    world.enqueued("bob", &world.project, 1).await;
    let told = world
        .call("ada", &project, json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(told["data"]["results"][0]["id"], own[0]["id"], "{told}");
    assert_eq!(told["data"]["total"], 1, "{told}");
    let told = world
        .call("ada", &project, json!({"all": true}))
        .await
        .expect(200)
        .json();
    assert_eq!(told["data"]["cancelled"], 1, "{told}");
    // In all projects, and nobody else's.
    let of_bob = world.project_of("bob").await;
    world.enqueued("bob", &of_bob, 1).await;
    world.enqueued("bob", &world.project, 1).await;
    world.enqueued("ada", &world.project, 1).await;
    let told = world
        .call("bob", "/api/queue/cancel-all-user", json!({}))
        .await;
    let told = told.expect(200).json();
    let mut projects = [of_bob.as_str(), world.project.as_str()];
    projects.sort_unstable();
    assert_eq!(told["data"]["affectedProjects"], json!(projects));
    assert_eq!(world.stats_of("bob").await["total"], 0);
    assert_eq!(world.stats_of("ada").await["total"], 1);
}

#[tokio::test]
async fn a_token_may_be_for_some_models_only() {
    let world = World::new().await;
    world.enqueued("ada", &world.project, 1).await;
    let local = world.worker("w", json!({"models": ["local"]}));
    let asked = |models: Value| local.claim(json!({"models": models}));
    for models in [json!(["otsu"]), json!(["local", "otsu"])] {
        let answer = world.server.send(asked(models)).await;
        answer.expect_slug(403, "forbidden");
    }
    let answer = world.server.send(asked(json!(["local"]))).await;
    assert_eq!(items(&answer), Vec::<Value>::new());
    let otsu = world.worker("w", json!({"models": ["otsu"]}));
    let answer = world
        .server
        .send(otsu.claim(json!({"models": ["otsu"]})))
        .await;
    assert_eq!(items(&answer).len(), 1);
    let none = world.worker("w", json!({"models": []}));
    let answer = world.server.send(none.claim(json!({}))).await;
    answer.expect_slug(403, "forbidden");
}

#[tokio::test]
async fn an_item_is_the_tokens_that_has_claimed_it() {
    let world = World::new().await;
    let server = &world.server;
    world.enqueued("ada", &world.project, 1).await;
    let (worker, thief) = (world.worker("w", json!({})), world.worker("x", json!({})));
    let taken = worker.take_one(server).await;
    assert_eq!(thief.directive(server, &taken).await["directive"], "lost");
    for outcome in ["completed", "failed", "cancelled"] {
        let report = server.send(thief.finish(&taken, outcome)).await;
        report.expect_slug(409, "lease-lost");
    }
    // He hears nothing of it, and takes nobody's place.
    let mut control = worker.listen(server).await;
    control.expect("hello").await;
    let mut others = thief.listen(server).await;
    others.expect("hello").await;
    world.send("ada", cancel(&id_of(&taken))).await.expect(200);
    let told = control.expect("cancel").await;
    assert_eq!(told["item"], taken["id"]);
    let (name, _) = others.message().await.expect("the stream goes on");
    assert_eq!(name, "ping");
    server
        .send(worker.finish(&taken, "cancelled"))
        .await
        .expect(200);
}

#[tokio::test]
async fn a_worker_reads_the_image_of_its_item_and_nothing_else() {
    let world = World::new().await;
    let server = &world.server;
    let items = world.enqueued("bob", &world.project, 2).await;
    let worker = world.worker("w", json!({}));
    let taken = worker.take_one_of(server, &items[0]).await;
    let url = taken["image"]["url"].as_str().expect("a URL");
    let origin = format!("http://{}", server.addr());
    let path = url
        .strip_prefix(&origin)
        .expect("an absolute URL of this server");
    let read = server.send(get(path)).await.expect(200);
    assert_eq!(read.body, b"pixels0");
    let sha256 = taken["image"]["sha256"].as_str().expect("a digest");
    read.expect_header("ETag", &format!("\"{sha256}\""));
    let part = server.send(get(path).header("Range", "bytes=1-3")).await;
    assert_eq!(part.expect(206).body, b"ixe");
    // Of no other image, by no other method, and in no other place.
    let image = format!("/files/{}", taken["image"]["id"].as_str().expect("an id"));
    let other = format!("/files/{}", items[1]["imageId"].as_str().expect("an id"));
    let moved = path.replace(&image, &other);
    server
        .send(get(&moved))
        .await
        .expect_slug(401, "unauthorized");
    server.send(tus::request("DELETE", path)).await.expect(401);
    server.send(get(&image)).await.expect(401);
    let token = worker.token.clone().expect("a token");
    for path in [
        image.clone(),
        format!("/api/projects/{}", world.project),
        format!("/api/queue/projects/{}/items", world.project),
        format!("/api/queue/items/{}", id_of(&taken)),
        format!(
            "/api/uploads/{}",
            taken["image"]["id"].as_str().expect("an id")
        ),
    ] {
        server
            .send(get(&path).bearer(&token))
            .await
            .expect_slug(404, "not-found");
    }
    // It lends the right of whoever has enqueued the item, as long as he has it.
    let revoke = Req::new("DELETE", &format!("/api/shares/{}", world.share));
    world.send("ada", revoke).await.expect(200);
    server.send(get(path)).await.expect_problem(404);
}

#[tokio::test]
async fn care_is_for_ones_own_unless_an_admin_takes_it() {
    let world = World::new().await;
    world.enqueued("ada", &world.project, 1).await;
    let admin = world
        .signer
        .sign(&claims_with("root", json!({"role": "admin"})));
    for user in [world.signer.sign(&claims("carol")), admin] {
        for (path, count) in [
            ("/api/queue/reset-stuck", "resetCount"),
            ("/api/queue/cleanup", "deletedCount"),
        ] {
            let done = call("POST", path, &json!({})).bearer(&user);
            let done = world.server.send(done).await.expect(200).json();
            assert_eq!(done["data"], json!({count: 0}));
        }
    }
    assert_eq!(world.stats_of("ada").await["queued"], 1);
}
