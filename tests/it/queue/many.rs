//! As many as one call takes, and as many as a project may have.

use serde_json::json;

use crate::support::form::{self, Form};
use crate::support::queue::{call, enqueue, enqueue_all};
use crate::support::server::Server;
use crate::support::sse::Sse;
use crate::support::tus::Upload;

/// In one form each.
const FORM: usize = 1000;

const MANY: usize = 10_000;

async fn images(server: &Server, count: usize) -> Vec<Upload> {
    let mut images = Vec::new();
    while images.len() < count {
        let parts = (0..FORM).fold(Form::new(), |form, _| form.image("a.png", b"pixels"));
        let added = server
            .send(form::post().body(parts.end()))
            .await
            .expect(201)
            .json();
        let added = added["data"]["images"].as_array().expect("images");
        images.extend(added.iter().map(Upload::listed));
    }
    images
}

#[tokio::test]
async fn ten_thousand_images_are_enqueued_and_cancelled_by_one_call_each() {
    let flags = [
        "--durability",
        "process-crash",
        "--max-files-per-request",
        "1000",
    ];
    let server = Server::start(&flags).await;
    let images = images(&server, MANY).await;
    let mut feed = Sse::open(&server, "projectId=default&types=queue.stats", None).await;
    let all: Vec<_> = images.iter().collect();
    let told = server.send(enqueue_all("default", &all, json!({}))).await;
    let told = told.expect(201).json()["data"].clone();
    assert_eq!(told["queuedCount"], MANY);
    let entries = told["queueEntries"].as_array().expect("items");
    let order = entries.iter().map(|item| item["imageId"].as_str());
    assert!(
        order.eq(images.iter().map(|image| Some(image.id()))),
        "in the order of the request"
    );
    assert_eq!(feed.next().await.json["data"]["queued"], MANY);
    assert_eq!(server.queue_stats().await, [MANY as u64, 0]);
    let again = server.send(enqueue_all("default", &all, json!({}))).await;
    let again = again.expect(201).json()["data"].clone();
    let skipped = again["skipped"].as_array().map(Vec::len);
    assert_eq!((&again["queuedCount"], skipped), (&json!(0), Some(MANY)));

    let batch = told["batchId"].as_str().expect("an id");
    let path = format!("/api/queue/batches/{batch}/cancel");
    let done = server
        .send(call("POST", &path, &json!({})))
        .await
        .expect(200)
        .json();
    let done = &done["data"];
    assert_eq!(
        (&done["cancelled"], &done["total"]),
        (&json!(MANY), &json!(MANY))
    );
    assert_eq!(feed.next().await.json["data"]["queued"], 0);
    assert_eq!(server.queue_stats().await, [0, 0]);
    assert_eq!(
        server.segmentation_status(&images[MANY - 1]).await,
        "no_segmentation"
    );
    let again = server
        .send(call("POST", &path, &json!({})))
        .await
        .expect(200)
        .json();
    assert_eq!(again["data"]["unchanged"], MANY);
}

#[tokio::test]
async fn a_project_has_as_many_items_as_it_may() {
    let server = Server::start(&["--max-queued-items", "3"]).await;
    let mut images = Vec::new();
    for _ in 0..5 {
        images.push(server.image().await);
    }
    let batch = |images: &[Upload]| {
        let all: Vec<_> = images.iter().collect();
        enqueue_all("default", &all, json!({}))
    };
    let refused = server
        .send(batch(&images[..4]))
        .await
        .expect_slug(429, "too-many-items");
    assert_eq!(refused.json()["limit"], 3);
    assert!(refused.header("Retry-After").is_some(), "{refused}");
    assert_eq!(server.queue_stats().await, [0, 0], "nothing of it");
    server.send(batch(&images[..3])).await.expect(201);
    let one = enqueue(&images[3], &json!({}));
    server
        .send(one.clone())
        .await
        .expect_slug(429, "too-many-items");
    let all = call("POST", "/api/queue/cancel-all-user", &json!({}));
    server.send(all).await.expect(200);
    server.send(one).await.expect(201);
}
