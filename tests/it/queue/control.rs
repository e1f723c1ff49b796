//! The stream on which a worker hears of cancels.

use serde_json::json;

use crate::support::queue::{Worker, call, cancel, enqueue, get, id_of};
use crate::support::server::Server;
use crate::support::{PATIENCE, eventually};

#[tokio::test]
async fn a_worker_hears_of_a_cancel_at_once_and_once() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let mut control = worker.listen(&server).await;
    let hello = control.expect("hello").await;
    assert_eq!(
        hello,
        json!({"heartbeatMs": 5000, "pingMs": 5000, "leaseMs": 15_000})
    );
    let mut ids = Vec::new();
    for _ in 0..2 {
        server.enqueued(json!({})).await;
        let taken = worker.take_one(&server).await;
        server.send(cancel(&id_of(&taken))).await.expect(200);
        server.send(cancel(&id_of(&taken))).await.expect(200);
        let told = control.expect("cancel").await;
        assert_eq!(
            (&told["item"], &told["fence"]),
            (&taken["id"], &taken["fence"])
        );
        assert_eq!(told["reason"], "wrong image");
        let grace = told["graceMs"].as_u64().expect("a time");
        assert!((1..=10_000).contains(&grace), "{told}");
        ids.push(taken);
    }
    for taken in &ids {
        let done = server
            .send(worker.finish(taken, "cancelled"))
            .await
            .expect(200);
        assert_eq!(done.json(), json!({"state": "cancelled"}));
    }
    // What waits is no worker's to hear of.
    let (_, item) = server.enqueued(json!({})).await;
    server.send(cancel(&id_of(&item))).await.expect(200);
    let (name, _) = control.message().await.expect("the stream goes on");
    assert_eq!(name, "ping");
}

#[tokio::test]
async fn what_was_cancelled_before_is_told_first() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let mut ids = Vec::new();
    for _ in 0..3 {
        server.enqueued(json!({})).await;
        ids.push(id_of(&worker.take_one(&server).await));
    }
    let body = json!({});
    for id in &ids[..2] {
        let path = format!("/api/queue/items/{id}/cancel");
        server.send(call("POST", &path, &body)).await.expect(200);
    }
    // Another worker has nothing to do with them.
    let mut others = Worker::new("w2").listen(&server).await;
    for _ in 0..2 {
        let mut control = worker.listen(&server).await;
        control.expect("hello").await;
        let first = control.expect("cancel").await;
        assert_eq!(first["reason"], json!(null));
        let second = control.expect("cancel").await;
        let mut told = [first["item"].clone(), second["item"].clone()];
        told.sort_by_key(|id| id.as_str() != Some(&ids[0]));
        assert_eq!(told, [json!(ids[0]), json!(ids[1])]);
    }
    others.expect("hello").await;
    let (name, _) = others.message().await.expect("the stream goes on");
    assert_eq!(name, "ping");
}

#[tokio::test]
async fn a_newer_stream_takes_the_place_of_the_older_one() {
    let server = Server::start(&[]).await;
    let worker = Worker::new("w1");
    let mut older = worker.listen(&server).await;
    older.expect("hello").await;
    let newer_process = Worker::new("w1");
    let mut newer = newer_process.listen(&server).await;
    newer.expect("hello").await;
    assert_eq!(older.next().await, None, "the older one ends");
    let workers = server.data("/api/queue/health").await["workers"].clone();
    assert_eq!(workers, json!(["w1"]));
    server.enqueued(json!({})).await;
    let taken = newer_process.take_one(&server).await;
    server.send(cancel(&id_of(&taken))).await.expect(200);
    let told = newer.expect("cancel").await;
    assert_eq!(told["item"], taken["id"]);
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_takes_nothing_away() {
    let mut server = Server::start(&[]).await;
    let worker = Worker::new("w1");
    let mut control = worker.listen(&server).await;
    control.expect("hello").await;
    server.enqueued(json!({})).await;
    let taken = worker.take_one(&server).await;
    server.sigterm();
    let drain = control.expect("drain").await;
    assert_eq!(drain, json!({"deadlineMs": 10_000}));
    assert_eq!(control.next().await, None);
    let status = server.exited_within(PATIENCE).await;
    assert!(status.success(), "{status}");
    server.restart(&[]).await;
    let directive = worker.directive(&server, &taken).await;
    assert_eq!(directive["directive"], "continue", "{directive}");
    server
        .send(worker.finish(&taken, "completed"))
        .await
        .expect(200);
}

#[tokio::test]
async fn health_tells_whether_a_worker_is_there() {
    let server = Server::start(&[]).await;
    let alone = server.data("/api/queue/health").await;
    assert_eq!(alone["healthy"], true, "nothing is to be done: {alone}");
    assert_eq!(alone["mlServiceHealthy"], false, "{alone}");
    assert_eq!(alone["models"], json!(["otsu", "local"]), "{alone}");
    let (image, item) = server.enqueued(json!({})).await;
    let health = server.data("/api/queue/health").await;
    assert_eq!(
        (&health["healthy"], &health["issues"]),
        (&json!(false), &json!(["no worker is there"]))
    );
    assert_eq!(health["oldestQueuedItem"], item["createdAt"]);
    let worker = Worker::new("w1");
    let control = worker.listen(&server).await;
    let health = server.data("/api/queue/health").await;
    assert_eq!(
        (&health["healthy"], &health["mlServiceHealthy"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(health["workers"], json!(["w1"]));
    worker.work(&server).await;
    server.send(enqueue(&image, &json!({}))).await.expect(201);
    worker.take_one(&server).await;
    let stats = server.data("/api/queue/health").await["queueStats"].clone();
    let wanted = json!({"queued": 0, "processing": 1, "cancelling": 0, "completed": 1, "failed": 0,
                        "cancelled": 0, "stuck": 0});
    assert_eq!(stats, wanted);
    drop(control);
    eventually("it is noticed that he has gone", async || {
        let health = server.data("/api/queue/health").await;
        (health["workers"] == json!([])).then_some(())
    })
    .await;
    // He may be there without listening.
    assert_eq!(
        server.data("/api/queue/health").await["mlServiceHealthy"],
        true
    );
    for (path, told) in [
        ("/api/queue/reset-stuck", json!({"resetCount": 0})),
        ("/api/queue/cleanup", json!({"deletedCount": 0})),
    ] {
        let done = server
            .send(call("POST", path, &json!({})))
            .await
            .expect(200);
        assert_eq!(done.json()["data"], told);
    }
    let listed = server
        .send(get("/api/queue/projects/default/items"))
        .await
        .expect(200);
    assert_eq!(listed.json()["pagination"]["total"], 2);
}
