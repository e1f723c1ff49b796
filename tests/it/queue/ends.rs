//! What goes with an image, with a project, and with the module.

use serde_json::json;

use crate::support::eventually;
use crate::support::queue::{Worker, call, cancel, delete, enqueue, get, id_of};
use crate::support::server::Server;
use crate::support::tus::{self, Upload};
use crate::support::wire::Req;
use crate::support::ws::Socket;

#[tokio::test]
async fn an_image_that_is_deleted_takes_its_items_along() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let mut control = worker.listen(&server).await;
    control.expect("hello").await;
    let (processed, item) = server.enqueued(json!({})).await;
    let taken = worker.take_one(&server).await;
    let (waits, other) = server.enqueued(json!({})).await;
    for image in [&processed, &waits] {
        server.send(tus::delete(image)).await.expect(204);
    }
    let told = control.expect("cancel").await;
    assert_eq!(told["item"], item["id"]);
    assert!(
        told["reason"]
            .as_str()
            .is_some_and(|why| why.contains("gone")),
        "{told}"
    );
    server
        .send(worker.finish(&taken, "completed"))
        .await
        .expect_slug(409, "cancel-won");
    let ended = server.reaches(&id_of(&other), "cancelled").await;
    assert_eq!(ended["how"], "before_start");
    assert_eq!(server.queue_stats().await, [0, 0]);
    let shown = format!("/api/images/{}", waits.id());
    server.send(get(&shown)).await.expect_slug(404, "not-found");
    let enqueued = server.send(enqueue(&waits, &json!({}))).await;
    enqueued.expect_slug(404, "not-found");
}

/// A worker that comes before the server has looked gets nothing that cannot be read.
#[tokio::test]
async fn an_image_that_is_deleted_is_given_to_nobody() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    for _ in 0..5 {
        let (image, item) = server.enqueued(json!({})).await;
        server.send(tus::delete(&image)).await.expect(204);
        assert!(worker.take(&server, 1).await.is_empty());
        server.reaches(&id_of(&item), "cancelled").await;
    }
    assert_eq!(server.queue_stats().await, [0, 0]);
}

#[tokio::test]
async fn an_image_that_is_deleted_takes_its_result_along() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let (image, _) = server.enqueued(json!({})).await;
    worker.work(&server).await;
    server.send(tus::delete(&image)).await.expect(204);
    let result = format!("/api/images/{}/result", image.id());
    server
        .send(get(&result))
        .await
        .expect_slug(404, "not-found");
}

/// A project with an item of each kind, and what a worker has of it.
async fn project(server: &Server, worker: &Worker) -> (String, Vec<serde_json::Value>) {
    let made = call("POST", "/api/projects", &json!({"title": "Cells"}));
    let project = id_of(&server.send(made).await.expect(201).json()["data"]);
    let mut items = Vec::new();
    for place in 0..4 {
        let create = Req {
            target: format!("/api/projects/{project}/uploads"),
            ..tus::create_with_data(6).body("pixels")
        };
        let image = Upload::created(&server.send(create).await.expect(201));
        server.send(enqueue(&image, &json!({}))).await.expect(201);
        if place < 3 {
            items.push(worker.take_one(server).await);
        }
    }
    server
        .send(worker.finish(&items[0], "completed"))
        .await
        .expect(200);
    server.send(cancel(&id_of(&items[1]))).await.expect(200);
    (project, items)
}

async fn expect_gone(server: &Server, project: &str) {
    eventually("the project is gone", async || {
        let again = delete(&format!("/api/projects/{project}"));
        let answer = server.send(again).await;
        (answer.status == 404).then_some(())
    })
    .await;
    let items = format!("/api/queue/projects/{project}/items");
    server.send(get(&items)).await.expect(404);
}

#[tokio::test]
async fn a_project_that_is_deleted_ends_what_is_queued_and_processed() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let (project, items) = project(&server, &worker).await;
    let mut control = worker.listen(&server).await;
    control.expect("hello").await;
    control.expect("cancel").await;
    let mut conn = server.connect().await;
    conn.send_request(&delete(&format!("/api/projects/{project}")))
        .await;
    let told = control.expect("cancel").await;
    assert_eq!(told["item"], items[2]["id"]);
    for item in &items[1..] {
        server
            .send(worker.finish(item, "cancelled"))
            .await
            .expect(200);
    }
    // It waits for nobody else.
    let answer = conn.answer().await.expect(200).json();
    assert_eq!(answer["data"]["state"], "deleted", "{answer}");
    for item in &items {
        let path = format!("/api/queue/items/{}", id_of(item));
        server.send(get(&path)).await.expect(404);
    }
    let late = server.send(worker.finish(&items[2], "completed")).await;
    late.expect_problem(404);
    expect_gone(&server, &project).await;
}

#[tokio::test]
async fn a_project_does_not_wait_for_a_dead_worker_to_be_deleted() {
    let server = Server::start(&["--cancel-grace", "1s"]).await;
    let (project, _) = project(&server, &Worker::new("w1")).await;
    let answer = server
        .send(delete(&format!("/api/projects/{project}")))
        .await;
    let answer = answer.expect(200).json();
    assert_eq!(answer["data"]["state"], "deleted", "{answer}");
    let health = server.data("/api/queue/health").await;
    assert_eq!(health["queueStats"]["cancelled"], 0, "{health}");
}

#[tokio::test]
async fn a_server_can_be_without_the_queue() {
    let flags = ["--cancel-grace", "1s"];
    let mut server = Server::start(&flags).await;
    let worker = Worker::new("w1");
    let (project, items) = project(&server, &worker).await;
    let (image, item) = server.enqueued(json!({})).await;
    server.sigterm();
    server.exited_within(crate::support::PATIENCE).await;
    server
        .restart(&["--without", "queue", "--cancel-grace", "1s"])
        .await;
    for req in [
        enqueue(&image, &json!({})),
        get("/api/queue/stats"),
        get("/api/queue/health"),
        get(&format!("/api/queue/items/{}", id_of(&item))),
        cancel(&id_of(&item)),
        get(&format!("/api/images/{}", image.id())),
        worker.claim(json!({})),
        worker.heartbeat(&[]),
        worker.finish(&items[2], "completed"),
    ] {
        server.send(req).await.expect_slug(404, "not-found");
    }
    let images = get("/api/projects/default/images");
    server
        .send(images)
        .await
        .expect_slug(405, "method-not-allowed");
    let mut socket = Socket::open(&server).await;
    let cancel = json!({"op": "cancel", "operation": "queue", "id": item["id"]});
    let problem = socket.refused(cancel, "validation-failed").await;
    assert!(
        !problem["errors"]["operation"][0]
            .to_string()
            .contains("queue"),
        "{problem}"
    );
    // What is left of it goes with its project.
    server
        .send(delete(&format!("/api/projects/{project}")))
        .await
        .expect(200);
    expect_gone(&server, &project).await;
    server.kill9().await;
    server.restart(&flags).await;
    // It goes on where it was.
    let stats = server.data("/api/queue/health").await["queueStats"].clone();
    let left = json!({"queued": 1, "processing": 0, "cancelling": 0, "completed": 0, "failed": 0,
                      "cancelled": 0, "stuck": 0});
    assert_eq!(stats, left);
    assert_eq!(worker.work(&server).await["id"], item["id"]);
}
