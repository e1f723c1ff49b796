//! The lives of items, as users and workers see them, on both databases.

use serde_json::{Value, json};

use crate::support::postgres;
use crate::support::queue::{
    Worker, call, cancel, delete, enqueue, enqueue_all, get, id_of, report,
};
use crate::support::server::Server;
use crate::support::tus::Upload;

#[tokio::test]
async fn an_image_is_enqueued_processed_and_has_a_result() {
    processed(&Server::start(&[]).await).await;
}

#[tokio::test]
async fn an_image_is_enqueued_processed_and_has_a_result_on_postgres() {
    processed(&postgres::server(&[]).await).await;
}

#[tokio::test]
async fn each_way_to_cancel_ends_what_it_names() {
    cancelled(&Server::start(&[]).await).await;
}

#[tokio::test]
async fn each_way_to_cancel_ends_what_it_names_on_postgres() {
    cancelled(&postgres::server(&[]).await).await;
}

#[tokio::test]
async fn a_batch_passes_over_what_is_active_or_has_a_result() {
    batched(&Server::start(&[]).await).await;
}

#[tokio::test]
async fn a_batch_passes_over_what_is_active_or_has_a_result_on_postgres() {
    batched(&postgres::server(&[]).await).await;
}

#[tokio::test]
async fn what_fails_is_tried_again_if_that_may_help() {
    failed(&Server::start(&[]).await).await;
}

#[tokio::test]
async fn what_fails_is_tried_again_if_that_may_help_on_postgres() {
    failed(&postgres::server(&[]).await).await;
}

/// Checks members of an object.
#[track_caller]
fn expect_members<const N: usize>(found: &Value, wanted: [(&str, Value); N]) {
    for (name, value) in wanted {
        assert_eq!(found[name], value, "{name} of {found}");
    }
}

async fn processed(server: &Server) {
    let worker = Worker::new("w1");
    let image = server.image().await;
    assert_eq!(server.segmentation_status(&image).await, "no_segmentation");
    let id = enqueued(server, &image).await;
    let taken = taken(server, &worker, &image, &id).await;
    let result = format!("/api/images/{}/result", image.id());
    server
        .send(get(&result))
        .await
        .expect_slug(404, "not-found");

    let done = server.send(worker.finish(&taken, "completed")).await;
    let done = done.expect(200).expect_header("Cache-Control", "no-store");
    assert_eq!(done.json(), json!({"state": "completed"}));
    let item = server.item(&id).await;
    expect_members(
        &item,
        [("state", json!("completed")), ("progress", json!(100.0))],
    );
    assert!(item["finishedAt"].is_string(), "{item}");
    assert_eq!(item["finishedAt"], item["completedAt"]);
    assert_eq!(server.segmentation_status(&image).await, "segmented");
    assert_eq!(server.queue_stats().await, [0, 0]);
    let found = server.data(&result).await;
    let wanted = [
        ("polygons", report()["polygons"].clone()),
        ("imageSize", report()["imageSize"].clone()),
        ("itemId", json!(id)),
        ("imageId", json!(image.id())),
        ("model", json!("local")),
        ("threshold", json!(0.25)),
        ("detectHoles", json!(false)),
    ];
    expect_members(&found, wanted);

    // The old result stays until there is a new one.
    let again = server.send(enqueue(&image, &json!({}))).await.expect(201);
    assert_eq!(again.json()["data"]["imageStatus"], "queued");
    assert_eq!(server.data(&result).await, found);
    worker.work(server).await;
    let newer = server.data(&result).await;
    assert_eq!(newer["itemId"], again.json()["data"]["id"]);
}

/// Enqueues an image once, and not twice. Returns the item's id.
async fn enqueued(server: &Server, image: &Upload) -> String {
    let wanted = json!({"model": "local", "threshold": 0.25, "priority": 3, "detectHoles": false});
    let answer = server.send(enqueue(image, &wanted)).await.expect(201);
    let item = answer.json()["data"].clone();
    let id = id_of(&item);
    let wanted = [
        ("imageId", json!(image.id())),
        ("projectId", json!("default")),
        ("userId", json!("local")),
        ("batchId", Value::Null),
        ("model", json!("local")),
        ("threshold", json!(0.25)),
        ("priority", json!(3)),
        ("detectHoles", json!(false)),
        ("state", json!("queued")),
        ("status", json!("queued")),
        ("attempt", json!(0)),
        ("retryCount", json!(0)),
        ("progress", Value::Null),
        ("startedAt", Value::Null),
        ("finishedAt", Value::Null),
        ("error", Value::Null),
        ("how", Value::Null),
        ("imageStatus", json!("queued")),
    ];
    expect_members(&item, wanted);
    assert_eq!(server.item(&id).await, item);
    let again = server.send(enqueue(image, &json!({}))).await;
    again.expect_slug(409, "already-queued");
    assert_eq!(server.queue_stats().await, [1, 0]);
    id
}

/// Takes the item, and tells how far it is.
async fn taken(server: &Server, worker: &Worker, image: &Upload, id: &str) -> Value {
    let taken = worker.take_one(server).await;
    let wanted = [
        ("id", json!(id)),
        ("attempt", json!(1)),
        ("heartbeatMs", json!(5000)),
        ("model", json!("local")),
        ("threshold", json!(0.25)),
        ("detectHoles", json!(false)),
    ];
    expect_members(&taken, wanted);
    let wanted = [("id", json!(image.id())), ("size", json!(6))];
    expect_members(&taken["image"], wanted);
    let lease = taken["leaseMs"].as_u64().expect("a lease");
    assert!((1..=15_000).contains(&lease), "{taken}");
    assert_eq!(server.queue_stats().await, [0, 1]);
    let beat = json!({"id": id, "fence": taken["fence"], "progress": 40});
    server.send(worker.heartbeat(&[beat])).await.expect(200);
    let item = server.item(id).await;
    let wanted = [
        ("state", json!("processing")),
        ("attempt", json!(1)),
        ("progress", json!(40.0)),
    ];
    expect_members(&item, wanted);
    assert!(item["startedAt"].is_string(), "{item}");
    assert_eq!(server.segmentation_status(image).await, "processing");
    taken
}

/// Every call, on what waits, what is processed, and what has ended.
async fn cancelled(server: &Server) {
    let worker = Worker::new("w1");
    cancelled_before_it_began(server).await;
    cancelled_at_work(server, &worker).await;
    cancelled_too_late(server, &worker).await;
    for call in [
        "/api/queue/projects/default/cancel",
        "/api/queue/cancel-all-user",
        "/api/queue/batches/{batch}/cancel",
    ] {
        cancelled_together(server, &worker, call).await;
    }
}

async fn cancelled_before_it_began(server: &Server) {
    let (_, queued) = server.enqueued(json!({})).await;
    let cancel = cancel(&id_of(&queued));
    let told = server.send(cancel.clone()).await.expect(200).json();
    assert!(told["message"].is_string(), "{told}");
    let data = &told["data"];
    let wanted = [
        ("operation", json!("queue")),
        ("id", queued["id"].clone()),
        ("releasedBytes", json!(0)),
    ];
    expect_members(data, wanted);
    assert!(data["cancelledAt"].is_string(), "{told}");
    expect_outcome(data, ["cancelled", "cancelled", "no_segmentation"]);
    let item = server.item(&id_of(&queued)).await;
    let wanted = [
        ("how", json!("before_start")),
        ("cancelReason", json!("wrong image")),
    ];
    expect_members(&item, wanted);
    let again = server.send(cancel).await.expect(200).json();
    expect_outcome(
        &again["data"],
        ["already_cancelled", "cancelled", "no_segmentation"],
    );
    assert_eq!(again["data"]["cancelledAt"], data["cancelledAt"]);
}

/// It is irrevocable at once, and the image is free.
async fn cancelled_at_work(server: &Server, worker: &Worker) {
    let (image, _) = server.enqueued(json!({})).await;
    let taken = worker.take_one(server).await;
    let path = format!("/api/queue/items/{}", id_of(&taken));
    for _ in 0..2 {
        let told = server.send(delete(&path)).await.expect(200).json();
        expect_outcome(
            &told["data"],
            ["cancelling", "cancelling", "no_segmentation"],
        );
    }
    assert_eq!(server.queue_stats().await, [0, 0]);
    let next = server.send(enqueue(&image, &json!({}))).await.expect(201);
    let late = server.send(worker.finish(&taken, "completed")).await;
    late.expect_slug(409, "cancel-won");
    let item = server.reaches(&id_of(&taken), "cancelled").await;
    // The status is the image's.
    expect_members(
        &item,
        [("how", json!("worker")), ("imageStatus", json!("queued"))],
    );
    let result = format!("/api/images/{}/result", image.id());
    server.send(get(&result)).await.expect(404);
    let next = cancel(&id_of(&next.json()["data"]));
    server.send(next).await.expect(200);
}

/// What has ended in another way stays as it is.
async fn cancelled_too_late(server: &Server, worker: &Worker) {
    server.enqueued(json!({})).await;
    let done = worker.work(server).await;
    let told = server.send(cancel(&id_of(&done))).await.expect(200).json();
    expect_outcome(
        &told["data"],
        ["already_completed", "completed", "segmented"],
    );
    assert_eq!(told["data"]["cancelledAt"], Value::Null);
    server.enqueued(json!({})).await;
    let taken = worker.take_one(server).await;
    server
        .send(worker.finish(&taken, "failed"))
        .await
        .expect(200);
    let told = server.send(cancel(&id_of(&taken))).await.expect(200).json();
    expect_outcome(&told["data"], ["already_failed", "failed", "failed"]);
}

/// One that is processed, one that waits, and one that had been cancelled before.
async fn cancelled_together(server: &Server, worker: &Worker, path: &str) {
    let (a, b, c) = (
        server.image().await,
        server.image().await,
        server.image().await,
    );
    let batch = enqueue_all("default", &[&a, &b, &c], json!({}));
    let batch = server.send(batch).await.expect(201).json()["data"].clone();
    let ids: Vec<_> = batch["queueEntries"]
        .as_array()
        .expect("items")
        .iter()
        .map(id_of)
        .collect();
    let taken = worker.take(server, 1).await.remove(0);
    assert_eq!(id_of(&taken), ids[0], "in the order of the request");
    server.send(cancel(&ids[2])).await.expect(200);
    let id = batch["batchId"].as_str().expect("an id");
    let path = path.replace("{batch}", id);
    let told = server
        .send(call("POST", &path, &json!({"reason": "stop"})))
        .await;
    let told = told.expect(200).json()["data"].clone();
    let is_batch = path.contains("/batches/");
    let unchanged = u64::from(is_batch);
    for (name, value) in [
        ("cancelled", json!(1)),
        ("cancelling", json!(1)),
        ("unchanged", json!(unchanged)),
        ("total", json!(2 + unchanged)),
        ("cancelledCount", json!(2)),
        ("more", json!(false)),
        ("affectedProjects", json!(["default"])),
        ("affectedBatches", json!([id])),
    ] {
        assert_eq!(told[name], value, "{path}: {name} of {told}");
    }
    let results = told["results"].as_array().expect("results");
    let outcome = |id: &String| {
        let result = results.iter().find(|result| id_of(result) == *id);
        result.map(|result| result["outcome"].as_str().expect("an outcome"))
    };
    assert_eq!(outcome(&ids[0]), Some("cancelling"), "{told}");
    assert_eq!(outcome(&ids[1]), Some("cancelled"), "{told}");
    assert_eq!(
        outcome(&ids[2]),
        is_batch.then_some("already_cancelled"),
        "{told}"
    );
    assert_eq!(server.item(&ids[0]).await["cancelReason"], "stop");
    let confirmed = server.send(worker.finish(&taken, "cancelled")).await;
    assert_eq!(confirmed.expect(200).json(), json!({"state": "cancelled"}));
    let again = server
        .send(call("POST", &path, &json!({})))
        .await
        .expect(200);
    assert_eq!(again.json()["data"]["cancelledCount"], 0, "{again}");
    assert_eq!(server.queue_stats().await, [0, 0]);
}

async fn batched(server: &Server) {
    let worker = Worker::new("w1");
    let segmented = server.enqueued(json!({})).await.0;
    worker.work(server).await;
    let active = server.enqueued(json!({})).await.0;
    let (new, other) = (server.image().await, server.image().await);
    let all = [&other, &segmented, &new, &active];
    let more = json!({"priority": 4, "threshold": 0.9});
    let told = server.send(enqueue_all("default", &all, more)).await;
    let told = told.expect(201).json()["data"].clone();
    assert_eq!(
        (&told["queuedCount"], &told["totalRequested"]),
        (&json!(2), &json!(4))
    );
    let entries = told["queueEntries"].as_array().expect("items");
    let images: Vec<_> = entries
        .iter()
        .map(|item| item["imageId"].as_str())
        .collect();
    assert_eq!(images, [Some(other.id()), Some(new.id())]);
    for item in entries {
        assert_eq!(item["batchId"], told["batchId"]);
        assert_eq!(
            (&item["priority"], &item["threshold"]),
            (&json!(4), &json!(0.9))
        );
    }
    let skipped = json!([
        {"imageId": segmented.id(), "reason": "segmented"},
        {"imageId": active.id(), "reason": "active"},
    ]);
    assert_eq!(told["skipped"], skipped);

    // Asked again after a lost answer.
    let again = server.send(enqueue_all("default", &all, json!({}))).await;
    let again = again.expect(201).json()["data"].clone();
    assert_eq!(
        (&again["queuedCount"], &again["queueEntries"]),
        (&json!(0), &json!([]))
    );
    let forced = enqueue_all("default", &all, json!({"forceResegment": true}));
    let forced = server.send(forced).await.expect(201).json()["data"].clone();
    assert_eq!(forced["queuedCount"], 1, "{forced}");
    assert_eq!(forced["queueEntries"][0]["imageId"], segmented.id());
    assert_eq!(server.queue_stats().await, [4, 0]);

    let list = |query: &str| get(&format!("/api/queue/projects/default/items?{query}"));
    let batch = told["batchId"].as_str().expect("an id");
    for (query, count) in [
        (String::from("state=queued"), 4),
        (String::from("state=queued,completed"), 5),
        (String::from("state=cancelled"), 0),
        (format!("batchId={batch}"), 2),
        (format!("imageId={}", segmented.id()), 2),
        (format!("imageId={}&state=queued", segmented.id()), 1),
        (String::from("limit=2&page=3"), 1),
    ] {
        let listed = server.send(list(&query)).await.expect(200).json();
        let items = listed["data"].as_array().expect("a list");
        assert_eq!(items.len(), count, "{query}: {listed}");
    }
    let listed = server.send(list("limit=2")).await.expect(200).json();
    let pagination = json!({"page": 1, "limit": 2, "total": 5, "totalPages": 3});
    assert_eq!(listed["pagination"], pagination);
    assert_eq!(
        listed["data"][0]["id"], forced["queueEntries"][0]["id"],
        "newest first"
    );
}

async fn failed(server: &Server) {
    let worker = Worker::new("w1");
    let (image, item) = server.enqueued(json!({})).await;
    let id = id_of(&item);
    let taken = worker.take_one(server).await;
    let error = json!({"message": "no memory", "retryable": true});
    let retryable = json!({"fence": taken["fence"], "outcome": "failed", "error": error});
    for _ in 0..2 {
        let told = server
            .send(worker.report(&taken, &retryable))
            .await
            .expect(200);
        assert_eq!(told.json(), json!({"state": "queued"}));
    }
    let item = server.item(&id).await;
    assert_eq!(
        (&item["state"], &item["error"]),
        (&json!("queued"), &json!("no memory"))
    );
    assert_eq!(server.queue_stats().await, [1, 0]);
    // Not yet.
    assert_eq!(worker.take(server, 1).await, Vec::<Value>::new());
    let waiting = worker.claim(json!({"waitMs": 20_000}));
    let again = server.send(waiting).await.expect(200).json()["items"][0].clone();
    assert_eq!((&again["id"], &again["attempt"]), (&json!(id), &json!(2)));
    assert_eq!(server.item(&id).await["retryCount"], 1);
    let told = server
        .send(worker.finish(&again, "failed"))
        .await
        .expect(200);
    assert_eq!(told.json(), json!({"state": "failed"}));
    let item = server.item(&id).await;
    assert_eq!(
        (&item["state"], &item["error"]),
        (&json!("failed"), &json!("no image"))
    );
    assert_eq!(server.segmentation_status(&image).await, "failed");
    // It can be enqueued again.
    server.send(enqueue(&image, &json!({}))).await.expect(201);
    worker.work(server).await;
    assert_eq!(server.segmentation_status(&image).await, "segmented");
}

#[track_caller]
fn expect_outcome(data: &Value, wanted: [&str; 3]) {
    let found = ["outcome", "state", "imageStatus"].map(|name| &data[name]);
    assert_eq!(found, wanted, "{data}");
}
