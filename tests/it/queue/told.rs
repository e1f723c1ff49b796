//! What is told of the queue: on feeds, over sockets, and to webhooks.

use serde_json::{Value, json};

use crate::support::hook::{Hook, status};
use crate::support::queue::{Worker, cancel, enqueue, enqueue_all, id_of};
use crate::support::server::Server;
use crate::support::sse::{Event, Sse};
use crate::support::ws::Socket;
use crate::webhook;

const QUEUE: &str = "projectId=default&types=queue.*";

/// The next events, by type and what matters of them.
async fn expect(feed: &mut Sse, wanted: &[(&str, Value)]) -> Vec<Event> {
    let mut events = Vec::new();
    for (kind, members) in wanted {
        let event = feed.next().await;
        assert_eq!(event.kind(), *kind, "{event:?}");
        for (name, value) in members.as_object().expect("members") {
            assert_eq!(event.json["data"][name], *value, "{name} of {event:?}");
        }
        events.push(event);
    }
    events
}

fn stats(queued: u64, processing: u64) -> (&'static str, Value) {
    let total = queued + processing;
    let data =
        json!({"projectId": "default", "queued": queued, "processing": processing, "total": total});
    ("queue.stats", data)
}

#[tokio::test]
async fn a_life_is_told_in_order_with_the_status_of_its_image() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let mut feed = Sse::open(&server, QUEUE, None).await;
    let (image, item) = server.enqueued(json!({})).await;
    let id = id_of(&item);
    let queued = json!({"id": id, "projectId": "default", "userId": "local", "state": "queued",
                        "imageId": image.id(), "batchId": null, "model": "otsu", "attempt": 0,
                        "imageStatus": "queued"});
    let events = expect(&mut feed, &[("queue.item.queued", queued), stats(1, 0)]).await;
    assert_eq!(events[0].subject(), format!("queue/{id}"));
    assert_eq!(events[1].subject(), "project/default");
    assert_eq!(
        events[1].sequence(),
        events[0].sequence().map(|before| before + 1)
    );
    let taken = worker.take_one(&server).await;
    let processing =
        json!({"id": id, "state": "processing", "imageStatus": "processing", "attempt": 1});
    expect(
        &mut feed,
        &[("queue.item.processing", processing), stats(0, 1)],
    )
    .await;
    let beat = json!({"id": id, "fence": taken["fence"], "progress": 62.5});
    server.send(worker.heartbeat(&[beat])).await.expect(200);
    let progress =
        json!({"id": id, "state": "processing", "progress": 62.5, "imageStatus": "processing"});
    let live = expect(&mut feed, &[("queue.item.progress", progress)]).await;
    assert_eq!(
        (live[0].id.as_ref(), live[0].sequence()),
        (None, None),
        "it is live only"
    );
    server
        .send(worker.finish(&taken, "completed"))
        .await
        .expect(200);
    let completed = json!({"id": id, "state": "completed", "imageStatus": "segmented"});
    expect(
        &mut feed,
        &[("queue.item.completed", completed), stats(0, 0)],
    )
    .await;
}

#[tokio::test]
async fn a_cancel_at_work_is_told_in_two_steps() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let (image, _) = server.enqueued(json!({})).await;
    worker.work(&server).await;
    let mut feed = Sse::open(&server, QUEUE, None).await;
    let again = server
        .send(enqueue(&image, &json!({})))
        .await
        .expect(201)
        .json();
    let again = id_of(&again["data"]);
    expect(
        &mut feed,
        &[("queue.item.queued", json!({"id": again})), stats(1, 0)],
    )
    .await;
    let taken = worker.take_one(&server).await;
    expect(
        &mut feed,
        &[("queue.item.processing", json!({"id": again})), stats(0, 1)],
    )
    .await;
    server.send(cancel(&again)).await.expect(200);
    server.send(cancel(&again)).await.expect(200);
    let cancelling = json!({"id": again, "state": "cancelling", "imageStatus": "segmented",
                            "reason": "wrong image"});
    expect(
        &mut feed,
        &[("queue.item.cancelling", cancelling), stats(0, 0)],
    )
    .await;
    server
        .send(worker.finish(&taken, "completed"))
        .await
        .expect(409);
    let cancelled = json!({"id": again, "state": "cancelled", "imageStatus": "segmented",
                           "how": "worker", "reason": "wrong image"});
    expect(&mut feed, &[("queue.item.cancelled", cancelled)]).await;
}

#[tokio::test]
async fn a_cancel_before_the_beginning_and_a_failure_are_told() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let mut feed = Sse::open(&server, QUEUE, None).await;
    let (_, item) = server.enqueued(json!({})).await;
    server.send(cancel(&id_of(&item))).await.expect(200);
    let cancelled = json!({"how": "before_start", "imageStatus": "no_segmentation"});
    let wanted = [
        ("queue.item.queued", json!({})),
        stats(1, 0),
        ("queue.item.cancelled", cancelled),
        stats(0, 0),
    ];
    expect(&mut feed, &wanted).await;
    server.enqueued(json!({})).await;
    let taken = worker.take_one(&server).await;
    server
        .send(worker.finish(&taken, "failed"))
        .await
        .expect(200);
    let failed = json!({"error": "no image", "imageStatus": "failed", "state": "failed"});
    let wanted = [
        ("queue.item.queued", json!({})),
        stats(1, 0),
        ("queue.item.processing", json!({})),
        stats(0, 1),
        ("queue.item.failed", failed),
        stats(0, 0),
    ];
    expect(&mut feed, &wanted).await;
}

#[tokio::test]
async fn a_batch_is_told_item_by_item_and_then_in_numbers() {
    let server = Server::start(&[]).await;
    let mut images = Vec::new();
    for _ in 0..3 {
        images.push(server.image().await);
    }
    let mut feed = Sse::open(&server, QUEUE, None).await;
    let all: Vec<_> = images.iter().collect();
    let told = server
        .send(enqueue_all("default", &all, json!({})))
        .await
        .expect(201)
        .json();
    let batch = told["data"]["batchId"].clone();
    let one = |image: &str| json!({"imageId": image, "batchId": batch, "imageStatus": "queued"});
    let wanted = [
        ("queue.item.queued", one(images[0].id())),
        ("queue.item.queued", one(images[1].id())),
        ("queue.item.queued", one(images[2].id())),
        stats(3, 0),
    ];
    let events = expect(&mut feed, &wanted).await;
    let first = events[0].sequence().expect("a sequence");
    for (place, event) in (first..).zip(&events) {
        assert_eq!(event.sequence(), Some(place), "dense");
    }
    // Whoever comes back goes on where he was.
    let mut late = Sse::open(&server, QUEUE, events[1].id.as_deref()).await;
    expect(&mut late, &wanted[2..]).await;
}

/// A progress that comes with the end is not told behind it.
#[tokio::test]
async fn no_progress_is_told_after_the_end() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let mut feed = Sse::open(&server, QUEUE, None).await;
    for _ in 0..5 {
        server.enqueued(json!({})).await;
        let taken = worker.take_one(&server).await;
        let beat = |progress: u64| json!({"id": taken["id"], "fence": taken["fence"], "progress": progress});
        for progress in [10, 20, 30] {
            server
                .send(worker.heartbeat(&[beat(progress)]))
                .await
                .expect(200);
        }
        server
            .send(worker.finish(&taken, "completed"))
            .await
            .expect(200);
        // By a heartbeat that was on its way.
        server.send(worker.heartbeat(&[beat(90)])).await.expect(200);
        feed.until("queue.item.completed").await;
        let rest = feed.until("queue.stats").await;
        assert_eq!(rest.len(), 1, "{rest:?}");
    }
    server.enqueued(json!({})).await;
    let next = feed.next().await;
    assert_eq!(next.kind(), "queue.item.queued", "{next:?}");
}

#[tokio::test]
async fn an_item_is_cancelled_over_a_websocket() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let mut socket = Socket::open(&server).await;
    socket
        .acked(json!({"op": "subscribe", "types": "queue.item.cancelled"}))
        .await;
    let cancel =
        |id: &Value| json!({"op": "cancel", "operation": "queue", "id": id, "reason": "no"});
    let (_, queued) = server.enqueued(json!({})).await;
    let told = socket.acked(cancel(&queued["id"])).await;
    let wanted = ["queue", "cancelled", "cancelled", "no_segmentation"];
    assert_eq!(
        ["operation", "outcome", "state", "imageStatus"].map(|name| &told[name]),
        wanted
    );
    let event = socket.logged().await;
    assert_eq!(
        (&event["type"], &event["data"]["reason"]),
        (&json!("queue.item.cancelled"), &json!("no"))
    );
    server.enqueued(json!({})).await;
    let taken = worker.take_one(&server).await;
    let told = socket.acked(cancel(&taken["id"])).await;
    assert_eq!(
        (&told["outcome"], &told["id"]),
        (&json!("cancelling"), &taken["id"])
    );
    let told = socket.acked(cancel(&taken["id"])).await;
    assert_eq!(told["outcome"], "cancelling");
    socket
        .refused(cancel(&json!("x")), "validation-failed")
        .await;
    let unknown = json!("00000000-0000-4000-8000-000000000000");
    socket.refused(cancel(&unknown), "not-found").await;
    let export = json!({"op": "cancel", "operation": "export", "id": taken["id"]});
    socket.refused(export, "not-found").await;
    let other = json!({"op": "cancel", "operation": "download", "id": taken["id"]});
    let problem = socket.refused(other, "validation-failed").await;
    assert!(
        problem["errors"]["operation"][0]
            .to_string()
            .contains("queue"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_webhook_is_told_of_items() {
    let (files, mut hook) = (webhook::Files::new(), Hook::open(|_| status(204)).await);
    let url = format!("http://{}/hook", hook.addr());
    let more = "allow-private = true\ntypes = 'queue.item.*'";
    let server = Server::start(&["--config", &files.config(&url, more)]).await;
    let (_, item) = server.enqueued(json!({})).await;
    let queued = hook.next().await;
    assert_eq!(queued.kind(), "queue.item.queued");
    server.send(cancel(&id_of(&item))).await.expect(200);
    let cancelled = hook.next().await;
    assert_eq!(cancelled.kind(), "queue.item.cancelled");
    assert_eq!(cancelled.event()["data"]["how"], "before_start");
    assert_eq!(cancelled.event()["data"]["id"], item["id"]);
}
