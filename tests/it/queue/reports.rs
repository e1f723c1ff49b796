//! Heartbeats and reports: what a worker that is still the one is told, and one that is not.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::queue::{Worker, cancel, enqueue, get, id_of, report};
use crate::support::server::Server;

async fn taken(server: &Server, worker: &Worker) -> Value {
    server.enqueued(json!({})).await;
    worker.take_one(server).await
}

fn beat(item: &Value) -> Value {
    json!({"id": item["id"], "fence": item["fence"]})
}

#[tokio::test]
async fn each_item_of_a_heartbeat_has_its_directive() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let working = taken(&server, &worker).await;
    let cancelled = taken(&server, &worker).await;
    let done = taken(&server, &worker).await;
    let (_, waits) = server.enqueued(json!({})).await;
    server.send(cancel(&id_of(&cancelled))).await.expect(200);
    server
        .send(worker.finish(&done, "completed"))
        .await
        .expect(200);
    let old = json!({"id": working["id"], "fence": working["fence"].as_i64().expect("one") - 1});
    let asked = [
        beat(&cancelled),
        json!({"id": Uuid::new_v4().to_string(), "fence": 1}),
        beat(&working),
        beat(&done),
        old,
        json!({"id": waits["id"], "fence": 0}),
    ];
    for _ in 0..2 {
        let told = server
            .send(worker.heartbeat(&asked))
            .await
            .expect(200)
            .json();
        assert_eq!(told["drain"], false, "{told}");
        let items = told["items"].as_array().expect("directives");
        let ids: Vec<_> = items.iter().map(|item| &item["id"]).collect();
        assert_eq!(
            ids,
            asked.iter().map(|beat| &beat["id"]).collect::<Vec<_>>()
        );
        let directives: Vec<_> = items.iter().map(|item| &item["directive"]).collect();
        assert_eq!(
            directives,
            ["cancel", "lost", "continue", "lost", "lost", "lost"]
        );
        let grace = items[0]["graceMs"].as_i64().expect("a time");
        assert!((1..=10_000).contains(&grace), "{told}");
        assert!(
            items[0]["leaseMs"].as_i64() <= Some(grace + 1),
            "it only shortens: {told}"
        );
        assert_eq!(items[2]["leaseMs"], 15_000, "{told}");
        assert_eq!(items[2].get("graceMs"), None, "{told}");
    }
    let none = server.send(worker.heartbeat(&[])).await.expect(200);
    assert_eq!(none.json(), json!({"items": [], "drain": false}));
}

#[tokio::test]
async fn a_report_is_answered_the_same_again() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    for (outcome, state) in [
        ("completed", "completed"),
        ("failed", "failed"),
        ("cancelled", "queued"),
    ] {
        let item = taken(&server, &worker).await;
        for _ in 0..3 {
            let told = server.send(worker.finish(&item, outcome)).await.expect(200);
            assert_eq!(told.json(), json!({"state": state}), "{outcome}");
        }
        assert_eq!(server.item(&id_of(&item)).await["state"], state);
        for other in ["completed", "failed", "cancelled"] {
            if other != outcome {
                let late = server.send(worker.finish(&item, other)).await;
                late.expect_slug(409, "lease-lost");
            }
        }
        assert_eq!(server.item(&id_of(&item)).await["state"], state);
    }
    // What was given back is as if it had never been taken, but for its fence.
    let again = worker.take_one(&server).await;
    assert_eq!(again["attempt"], 1);
    let item = server.item(&id_of(&again)).await;
    assert_eq!((&item["error"], &item["how"]), (&Value::Null, &Value::Null));
    // The report before is still known, while another worker has the item.
    server
        .send(worker.finish(&again, "completed"))
        .await
        .expect(200);
    assert_eq!(server.queue_stats().await, [0, 0]);
}

#[tokio::test]
async fn a_cancel_wins_over_every_report() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    for outcome in ["completed", "failed", "cancelled"] {
        let item = taken(&server, &worker).await;
        server.send(cancel(&id_of(&item))).await.expect(200);
        for _ in 0..2 {
            let told = server.send(worker.finish(&item, outcome)).await;
            match outcome {
                "cancelled" => assert_eq!(told.expect(200).json(), json!({"state": "cancelled"})),
                _ => drop(told.expect_slug(409, "cancel-won")),
            }
            let now = server.item(&id_of(&item)).await;
            assert_eq!(
                (&now["state"], &now["how"]),
                (&json!("cancelled"), &json!("worker"))
            );
            assert_eq!(now["error"], Value::Null);
        }
        let directive = worker.directive(&server, &item).await;
        assert_eq!(directive["directive"], "lost", "{directive}");
        let image = item["image"]["id"].as_str().expect("an id");
        let result = format!("/api/images/{image}/result");
        server.send(get(&result)).await.expect(404);
        let shown = server.data(&format!("/api/images/{image}")).await;
        assert_eq!(shown["segmentationStatus"], "no_segmentation");
    }
}

#[tokio::test]
async fn what_was_cancelled_does_not_disturb_what_comes_after_it() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let (image, _) = server.enqueued(json!({})).await;
    worker.work(&server).await;
    let result = format!("/api/images/{}/result", image.id());
    let before = server.data(&result).await;
    server.send(enqueue(&image, &json!({}))).await.expect(201);
    let old = worker.take_one(&server).await;
    server.send(cancel(&id_of(&old))).await.expect(200);
    assert_eq!(server.segmentation_status(&image).await, "segmented");
    assert_eq!(server.data(&result).await, before, "the old result stays");
    server
        .send(enqueue(&image, &json!({"threshold": 0.7})))
        .await
        .expect(201);
    let new = Worker::new("w2").take_one(&server).await;
    assert_eq!(server.segmentation_status(&image).await, "processing");
    server
        .send(worker.finish(&old, "completed"))
        .await
        .expect_slug(409, "cancel-won");
    assert_eq!(server.data(&result).await, before);
    assert_eq!(server.segmentation_status(&image).await, "processing");
    let other = json!({"polygons": [], "imageSize": report()["imageSize"]});
    let other = json!({"fence": new["fence"], "outcome": "completed", "result": other});
    server.send(worker.report(&new, &other)).await.expect(200);
    let after = server.data(&result).await;
    assert_eq!(
        (&after["itemId"], &after["threshold"]),
        (&new["id"], &json!(0.7))
    );
    assert_eq!(after["polygons"], json!([]));
}
