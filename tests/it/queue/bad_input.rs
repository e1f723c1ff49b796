//! What users and workers say wrongly: refused with a word about it, and nothing is changed.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::queue::{Worker, call, cancel, enqueue, enqueue_all, get, id_of};
use crate::support::server::Server;
use crate::support::tus::Upload;
use crate::support::wire::Req;

/// A wrong request, its problem, and what that names.
type Case = (Req, (u16, &'static str), String);

const WRONG: (u16, &str) = (400, "validation-failed");

/// A server with one item that waits.
struct World {
    server: Server,
    item: Value,
}

impl World {
    async fn new() -> Self {
        let server = Server::start(&[]).await;
        let (_, item) = server.enqueued(json!({})).await;
        Self { server, item }
    }

    /// Everything that a wrong request could have changed.
    async fn state(&self) -> Value {
        let listed = get("/api/queue/projects/default/items");
        let listed = self.server.send(listed).await.expect(200).json();
        let stats = self.server.queue_stats().await;
        json!([listed, stats, self.server.data("/api/queue/stats").await])
    }

    async fn expect_refusals(&self, cases: Vec<Case>) {
        let before = self.state().await;
        for (request, problem, named) in cases {
            self.server.expect_refusal(request, problem, &named).await;
        }
        assert_eq!(self.state().await, before);
    }
}

fn raw(path: &str, body: &str) -> Req {
    let req = Req::new("POST", path).header("Content-Type", "application/json");
    req.body(body)
}

/// What is wrong with how an image is to be processed.
fn orders() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"model": "no-such"}), "otsu, local"),
        (json!({"model": ""}), "model"),
        (json!({"model": 7}), "body"),
        (json!({"threshold": 0.0999}), "threshold"),
        (json!({"threshold": 0.91}), "threshold"),
        (json!({"threshold": -0.5}), "threshold"),
        (json!({"threshold": "0.5"}), "body"),
        (json!({"priority": 11}), "priority"),
        (json!({"priority": -1}), "priority"),
        (json!({"priority": 1.5}), "body"),
        (json!({"detectHoles": "yes"}), "body"),
        (json!({"colour": "red"}), "colour"),
    ]
}

#[tokio::test]
async fn an_image_is_not_enqueued_by_a_wrong_request() {
    let world = World::new().await;
    let image = world.server.image().await;
    let path = format!("/api/queue/images/{}", image.id());
    let mut cases: Vec<Case> = orders()
        .into_iter()
        .map(|(order, named)| (enqueue(&image, &order), WRONG, String::from(named)))
        .collect();
    for body in [
        r#"{"threshold": NaN}"#,
        r#"{"threshold": Infinity}"#,
        r#"{"threshold": 1e999}"#,
        r#"{"threshold": 0.5, "threshold": 0.6}"#,
        "[]",
        "null",
        r#"{"model": "otsu""#,
    ] {
        cases.push((raw(&path, body), WRONG, String::from("body")));
    }
    let unfinished = world.server.create(6).await;
    let not_json = Req::new("POST", &path).body("{}");
    let long = raw(&path, &format!(r#"{{"model": "{}"}}"#, "x".repeat(1 << 20)));
    cases.extend([
        (
            enqueue(&unfinished, &json!({})),
            (409, "upload-incomplete"),
            String::new(),
        ),
        (
            enqueue(&Upload::unknown(), &json!({})),
            (404, "not-found"),
            String::new(),
        ),
        (not_json, (415, "not-json"), String::new()),
        (long, (413, "body-too-large"), String::new()),
    ]);
    for id in [
        "x",
        "default",
        "0C2662D1-024B-479A-ABC2-FB1A7E5DA6F7",
        "%00",
    ] {
        let path = format!("/api/queue/images/{id}");
        cases.push((
            call("POST", &path, &json!({})),
            WRONG,
            String::from("image"),
        ));
    }
    world.expect_refusals(cases).await;
    assert_eq!(
        world.server.segmentation_status(&image).await,
        "no_segmentation"
    );
}

/// Wrong in whatever project, and however the images are.
fn wrong_batches(good: &Upload) -> Vec<Case> {
    let mut cases: Vec<Case> = orders()
        .into_iter()
        .map(|(order, named)| {
            let batch = enqueue_all("default", &[good], order);
            (batch, WRONG, String::from(named))
        })
        .collect();
    let ids = |ids: Value| {
        call(
            "POST",
            "/api/queue/batch",
            &json!({"projectId": "default", "imageIds": ids}),
        )
    };
    let many: Vec<_> = (0..10_001).map(|_| Uuid::new_v4().to_string()).collect();
    for (wrong, named) in [
        (json!(many), "1 to 10000"),
        (json!([good.id(), "x"]), "place 2"),
        (json!([good.id().to_uppercase()]), "place 1"),
        (json!([good.id(), 7]), "body"),
        (json!(good.id()), "body"),
        (json!(null), "imageIds"),
    ] {
        cases.push((ids(wrong), WRONG, String::from(named)));
    }
    let batch = |body: Value| call("POST", "/api/queue/batch", &body);
    cases.extend([
        (batch(json!({})), WRONG, String::from("projectId")),
        (
            batch(json!({"projectId": "default"})),
            WRONG,
            String::from("imageIds"),
        ),
        (
            enqueue_all("default", &[good], json!({"forceResegment": 1})),
            WRONG,
            String::from("body"),
        ),
    ]);
    cases
}

#[tokio::test]
async fn a_batch_is_enqueued_as_a_whole_or_not_at_all() {
    let world = World::new().await;
    let server = &world.server;
    let made = call("POST", "/api/projects", &json!({"title": "Other"}));
    let other = id_of(&server.send(made).await.expect(201).json()["data"]);
    let (good, foreign) = (server.image().await, server.image().await);
    let unfinished = server.create(6).await;
    let unknown = Upload::unknown();
    let elsewhere = enqueue_all(&other, &[&good], json!({}));
    let mut cases: Vec<Case> = vec![
        (elsewhere, WRONG, good.id().to_owned()),
        (
            enqueue_all("default", &[&good, &unfinished], json!({})),
            WRONG,
            unfinished.id().to_owned(),
        ),
        (
            enqueue_all("default", &[&good, &unknown], json!({})),
            WRONG,
            unknown.id().to_owned(),
        ),
        (
            enqueue_all("default", &[&good, &foreign, &good], json!({})),
            WRONG,
            good.id().to_owned(),
        ),
        (
            enqueue_all("default", &[], json!({})),
            WRONG,
            String::from("imageIds"),
        ),
        (
            enqueue_all("no project", &[&good], json!({})),
            WRONG,
            String::from("projectId"),
        ),
        (
            enqueue_all(&Uuid::new_v4().to_string(), &[&good], json!({})),
            (404, "not-found"),
            String::new(),
        ),
    ];
    cases.extend(wrong_batches(&good));
    world.expect_refusals(cases).await;
    assert_eq!(server.segmentation_status(&good).await, "no_segmentation");
    assert_eq!(
        server.segmentation_status(&foreign).await,
        "no_segmentation"
    );
}

#[tokio::test]
async fn what_is_looked_for_is_named_in_order() {
    let world = World::new().await;
    let mut cases: Vec<Case> = Vec::new();
    for (query, named) in [
        ("state=no-such", "state"),
        ("state=queued,", "state"),
        ("imageId=x", "imageId"),
        ("batchId=x", "batchId"),
        ("page=0", "page"),
        ("limit=101", "limit"),
        ("limit=5&limit=6", "limit"),
    ] {
        let path = format!("/api/queue/projects/default/items?{query}");
        cases.push((get(&path), WRONG, String::from(named)));
    }
    for (path, named) in [
        ("/api/queue/items/x", "item"),
        ("/api/images/x", "image"),
        ("/api/images/x/result", "image"),
    ] {
        cases.push((get(path), WRONG, String::from(named)));
    }
    let unknown = Uuid::new_v4();
    for path in [
        format!("/api/queue/items/{unknown}"),
        format!("/api/images/{unknown}"),
        format!("/api/images/{unknown}/result"),
        format!("/api/queue/projects/{unknown}/stats"),
        format!("/api/projects/{unknown}/images"),
        String::from("/api/queue/projects/x/items"),
    ] {
        cases.push((get(&path), (404, "not-found"), String::new()));
    }
    world.expect_refusals(cases).await;
}

#[tokio::test]
async fn nothing_is_cancelled_by_a_wrong_request() {
    let world = World::new().await;
    let item = id_of(&world.item);
    let mut cases: Vec<Case> = Vec::new();
    for path in [
        format!("/api/queue/items/{item}/cancel"),
        String::from("/api/queue/projects/default/cancel"),
        String::from("/api/queue/cancel-all-user"),
    ] {
        for (body, named) in [
            (json!({"reason": "x".repeat(201)}), "reason"),
            (json!({"reason": "a\u{7}"}), "reason"),
            (json!({"reason": 7}), "body"),
            (json!({"force": true}), "force"),
        ] {
            cases.push((call("POST", &path, &body), WRONG, String::from(named)));
        }
    }
    let unknown = Uuid::new_v4();
    let batch = format!("/api/queue/batches/{unknown}/cancel");
    let project = format!("/api/queue/projects/{unknown}/cancel");
    for request in [
        cancel(&unknown.to_string()),
        call("POST", &batch, &json!({})),
        call("POST", &project, &json!({})),
    ] {
        cases.push((request, (404, "not-found"), String::new()));
    }
    cases.push((cancel("x"), WRONG, String::from("id")));
    world.expect_refusals(cases).await;
}

#[tokio::test]
async fn care_is_taken_within_bounds() {
    let world = World::new().await;
    let mut cases: Vec<Case> = Vec::new();
    for (path, name, most) in [
        ("/api/queue/reset-stuck", "maxProcessingMinutes", 60),
        ("/api/queue/cleanup", "daysOld", 30),
    ] {
        for (body, named) in [
            (json!({name: 0}), name),
            (json!({name: most + 1}), name),
            (json!({name: -1}), name),
            (json!({name: 1.5}), "body"),
            (json!({"days": 1}), "body"),
        ] {
            cases.push((call("POST", path, &body), WRONG, String::from(named)));
        }
    }
    world.expect_refusals(cases).await;
}

#[tokio::test]
async fn a_worker_that_asks_wrongly_gets_nothing() {
    let world = World::new().await;
    let worker = Worker::new("w1");
    let many = vec!["otsu"; 33];
    let mut cases: Vec<Case> = Vec::new();
    for (members, named) in [
        (json!({"models": []}), "models"),
        (json!({"models": many}), "models"),
        (json!({"models": ["otsu", "no-such"]}), "model"),
        (json!({"max": 0}), "max"),
        (json!({"max": 101}), "max"),
        (json!({"max": "1"}), "body"),
        (json!({"waitMs": 30_001}), "waitMs"),
        (json!({"waitMs": -1}), "body"),
        (json!({"session": "x"}), "session"),
        (json!({"claimId": ""}), "claimId"),
        (json!({"worker": ""}), "worker"),
        (json!({"worker": "a b"}), "worker"),
        (json!({"worker": "\u{e4}"}), "worker"),
        (json!({"worker": "a/b"}), "worker"),
        (json!({"worker": "x".repeat(101)}), "worker"),
        (json!({"fence": 1}), "fence"),
    ] {
        cases.push((worker.claim(members), WRONG, String::from(named)));
    }
    world.expect_refusals(cases).await;
}

#[tokio::test]
async fn a_worker_that_speaks_wrongly_is_told_nothing() {
    let world = World::new().await;
    let worker = Worker::new("w1");
    let mut cases: Vec<Case> = Vec::new();
    let session = worker.session.as_str();
    for name in ["a%20b", "%C3%A4", "a%2Fb", "a;b"] {
        let path = format!("/api/worker/{name}/control?session={session}");
        cases.push((get(&path), WRONG, String::from("worker")));
        let path = format!("/api/worker/{name}/heartbeat");
        let beat = call("POST", &path, &json!({"session": session}));
        cases.push((beat, WRONG, String::from("worker")));
    }
    for query in ["", "?session=", "?session=x", "?session=x&session=y"] {
        let path = format!("/api/worker/w1/control{query}");
        cases.push((get(&path), WRONG, String::from("session")));
    }
    let id = id_of(&world.item);
    let too_many = vec![json!({"id": id, "fence": 1}); 1001];
    for (items, named) in [
        (vec![json!({"id": "x", "fence": 1})], "items"),
        (vec![json!({"id": id})], "fence"),
        (vec![json!({"id": id, "fence": "1"})], "body"),
        (
            vec![json!({"id": id, "fence": 1, "progress": 100.5})],
            "progress",
        ),
        (
            vec![json!({"id": id, "fence": 1, "progress": -1})],
            "progress",
        ),
        (
            vec![json!({"id": id, "fence": 1, "state": "done"})],
            "state",
        ),
        (too_many, "1000"),
    ] {
        cases.push((worker.heartbeat(&items), WRONG, String::from(named)));
    }
    cases.extend([
        (
            call("POST", "/api/worker/nothing", &json!({})),
            (404, "not-found"),
            String::new(),
        ),
        (
            get("/api/worker/w1/nothing"),
            (404, "not-found"),
            String::new(),
        ),
        (
            get("/api/worker/claim"),
            (405, "method-not-allowed"),
            String::new(),
        ),
    ]);
    world.expect_refusals(cases).await;
}

#[tokio::test]
async fn a_wrong_report_leaves_the_item_as_it_was() {
    let world = World::new().await;
    let (worker, server) = (Worker::new("w1"), &world.server);
    let taken = worker.take_one(server).await;
    let (_, waits) = server.enqueued(json!({})).await;
    let fence = taken["fence"].as_i64().expect("a fence");
    let mut cases: Vec<Case> = Vec::new();
    for (body, named) in [
        (json!({"outcome": "completed", "result": {}}), "fence"),
        (json!({"fence": fence}), "outcome"),
        (json!({"fence": fence, "outcome": "done"}), "outcome"),
        (json!({"fence": fence, "outcome": "completed"}), "result"),
        (json!({"fence": fence, "outcome": "failed"}), "error"),
        (
            json!({"fence": fence, "outcome": "failed", "error": "no image"}),
            "body",
        ),
        (
            json!({"fence": fence, "outcome": "failed", "error": {"retryable": true}}),
            "message",
        ),
        (
            json!({"fence": fence, "outcome": "cancelled", "result": {}}),
            "outcome",
        ),
        (json!({"fence": 0.5, "outcome": "cancelled"}), "body"),
        (
            json!({"fence": fence, "outcome": "cancelled", "state": "x"}),
            "state",
        ),
    ] {
        cases.push((worker.report(&taken, &body), WRONG, String::from(named)));
    }
    let other_fence = json!({"id": taken["id"], "fence": fence + 1});
    let unknown = json!({"id": Uuid::new_v4().to_string(), "fence": 1});
    let waits = json!({"id": waits["id"], "fence": 0});
    for (item, problem) in [
        (other_fence, (409, "lease-lost")),
        (waits, (409, "lease-lost")),
        (unknown, (404, "not-found")),
        (json!({"id": "x", "fence": 1}), WRONG),
    ] {
        for outcome in ["completed", "failed", "cancelled"] {
            cases.push((worker.finish(&item, outcome), problem, String::new()));
        }
    }
    world.expect_refusals(cases).await;
    // Nobody else's, either.
    let directive = worker.directive(server, &taken).await;
    assert_eq!(directive["directive"], "continue", "{directive}");
    server
        .send(worker.finish(&taken, "completed"))
        .await
        .expect(200);
}
