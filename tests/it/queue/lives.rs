//! Workers that die, and servers that do.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::queue::{Worker, cancel, enqueue, id_of};
use crate::support::server::Server;
use crate::support::{PATIENCE, eventually};

const SHORT: [&str; 4] = ["--worker-lease", "1s", "--cancel-grace", "1s"];

/// A worker that is dead says nothing any more: so one is enough that never begins to.
#[tokio::test]
async fn an_item_of_a_dead_worker_goes_to_another() {
    let server = Server::start(&SHORT).await;
    let (_, item) = server.enqueued(json!({})).await;
    let dead = Worker::new("w1");
    let old = dead.take_one(&server).await;
    assert_eq!(old["heartbeatMs"], 333);
    let other = Worker::new("w2");
    let waiting = other.claim(json!({"waitMs": 30_000}));
    let new = server.send(waiting).await.expect(200).json()["items"][0].clone();
    assert_eq!((&new["id"], &new["attempt"]), (&item["id"], &json!(2)));
    assert!(new["fence"].as_i64() > old["fence"].as_i64());
    // It was stopped, not dead.
    let directive = dead.directive(&server, &old).await;
    assert_eq!(directive["directive"], "lost", "{directive}");
    for outcome in ["completed", "failed", "cancelled"] {
        let late = server.send(dead.finish(&old, outcome)).await;
        late.expect_slug(409, "lease-lost");
    }
    assert_eq!(server.item(&id_of(&item)).await["state"], "processing");
    server
        .send(other.finish(&new, "completed"))
        .await
        .expect(200);
}

#[tokio::test]
async fn an_item_that_kills_every_worker_has_failed_in_the_end() {
    let server = Server::start(&SHORT).await;
    let (image, item) = server.enqueued(json!({})).await;
    for attempt in 1..=4 {
        let waiting = Worker::new("w1").claim(json!({"waitMs": 30_000}));
        let taken = server.send(waiting).await.expect(200).json()["items"][0].clone();
        assert_eq!(taken["attempt"], attempt);
    }
    let item = server.reaches(&id_of(&item), "failed").await;
    let error = item["error"].as_str().expect("why");
    assert!(error.contains("worker was lost"), "{error}");
    assert_eq!(item["retryCount"], 3);
    assert_eq!(server.segmentation_status(&image).await, "failed");
    assert_eq!(server.queue_stats().await, [0, 0]);
}

#[tokio::test]
async fn a_cancelled_item_of_a_dead_worker_ends_with_the_grace() {
    let server = Server::start(&["--cancel-grace", "1s"]).await;
    let (image, item) = server.enqueued(json!({})).await;
    let dead = Worker::new("w1");
    let taken = dead.take_one(&server).await;
    let told = server.send(cancel(&id_of(&item))).await.expect(200).json();
    assert_eq!(told["data"]["outcome"], "cancelling", "{told}");
    server.send(enqueue(&image, &json!({}))).await.expect(201);
    // Heartbeats do not lengthen it.
    let item = eventually("the item is cancelled", async || {
        dead.directive(&server, &taken).await;
        let item = server.item(&id_of(&item)).await;
        (item["state"] == "cancelled").then_some(item)
    })
    .await;
    assert_eq!(item["how"], "lease_expired");
    server
        .send(dead.finish(&taken, "completed"))
        .await
        .expect_slug(409, "cancel-won");
    let told = server
        .send(dead.finish(&taken, "cancelled"))
        .await
        .expect(200);
    assert_eq!(told.json(), json!({"state": "cancelled"}));
    let told = server.send(cancel(&id_of(&item))).await.expect(200).json();
    assert_eq!(told["data"]["outcome"], "already_cancelled", "{told}");
    assert_eq!(server.segmentation_status(&image).await, "queued");
}

/// One item of each: it waits, it is processed, it is cancelled and its worker has not said so yet.
struct Three {
    waits: Value,
    processed: Value,
    cancelled: Value,
}

async fn three(server: &Server, worker: &Worker) -> Three {
    server.enqueued(json!({})).await;
    let processed = worker.take_one(server).await;
    server.enqueued(json!({})).await;
    let cancelled = worker.take_one(server).await;
    server.send(cancel(&id_of(&cancelled))).await.expect(200);
    let (_, waits) = server.enqueued(json!({})).await;
    assert_eq!(server.queue_stats().await, [1, 1]);
    Three {
        waits,
        processed,
        cancelled,
    }
}

#[tokio::test]
async fn work_outlasts_a_killed_server() {
    let flags = ["--worker-lease", "5m", "--cancel-grace", "5m"];
    let mut server = Server::start(&flags).await;
    let worker = Worker::new("w1");
    let three = three(&server, &worker).await;
    server.kill9().await;
    server.restart(&flags).await;
    assert_eq!(server.queue_stats().await, [1, 1]);
    let mut control = worker.listen(&server).await;
    control.expect("hello").await;
    let told = control.expect("cancel").await;
    assert_eq!(
        (&told["item"], &told["fence"]),
        (&three.cancelled["id"], &three.cancelled["fence"])
    );
    let directive = worker.directive(&server, &three.processed).await;
    assert_eq!(directive["directive"], "continue", "{directive}");
    server
        .send(worker.finish(&three.processed, "completed"))
        .await
        .expect(200);
    server.kill9().await;
    server.restart(&flags).await;
    // Its answer was lost.
    let again = server
        .send(worker.finish(&three.processed, "completed"))
        .await
        .expect(200);
    assert_eq!(again.json(), json!({"state": "completed"}));
    let late = server
        .send(worker.finish(&three.cancelled, "completed"))
        .await;
    late.expect_slug(409, "cancel-won");
    let next = worker.take_one(&server).await;
    assert_eq!(next["id"], three.waits["id"]);
    assert_eq!(server.queue_stats().await, [0, 1]);
}

#[tokio::test]
async fn what_has_ended_while_the_server_was_away_ends_with_it() {
    let mut server = Server::start(&SHORT).await;
    let worker = Worker::new("w1");
    let three = three(&server, &worker).await;
    server.kill9().await;
    server.restart(&SHORT).await;
    let cancelled = server.reaches(&id_of(&three.cancelled), "cancelled").await;
    assert_eq!(cancelled["how"], "lease_expired");
    let processed = server.reaches(&id_of(&three.processed), "queued").await;
    assert_eq!(processed["attempt"], 1);
    assert_eq!(server.queue_stats().await, [2, 0]);
    let late = server
        .send(worker.finish(&three.processed, "completed"))
        .await;
    late.expect_slug(409, "lease-lost");
    let mut again = worker.take(&server, 5).await;
    again.sort_by_key(|item| item["attempt"].as_i64());
    let told = again
        .iter()
        .map(|item| (item["id"].clone(), item["attempt"].clone()));
    let wanted = [(&three.waits, 1), (&three.processed, 2)];
    let wanted = wanted.map(|(item, attempt)| (item["id"].clone(), json!(attempt)));
    assert_eq!(told.collect::<Vec<_>>(), wanted);
}

/// Long work goes on as long as its worker tells so.
#[tokio::test]
async fn heartbeats_keep_an_item_beyond_its_lease() {
    let server = Server::start(&SHORT).await;
    server.enqueued(json!({})).await;
    let worker = Worker::new("w1");
    let taken = worker.take_one(&server).await;
    let begun = tokio::time::Instant::now();
    eventually("three leases have passed", async || {
        let directive = worker.directive(&server, &taken).await;
        assert_eq!(directive["directive"], "continue", "{directive}");
        (begun.elapsed() > Duration::from_secs(3)).then_some(())
    })
    .await;
    assert_eq!(server.item(&id_of(&taken)).await["attempt"], 1);
    server.sigterm();
    assert!(server.exited_within(PATIENCE).await.success());
}
