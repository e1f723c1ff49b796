//! Workers wait for something to do (long polling), and lose nothing on the way.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::support::queue::{Worker, enqueue_all, id_of, items};
use crate::support::server::Server;
use crate::support::wire::Conn;
use crate::support::{PATIENCE, eventually};

/// A claim that waits, once the server knows of it.
async fn waiting(server: &Server, worker: &Worker, members: Value) -> Conn {
    let mut conn = server.connect().await;
    conn.send_request(&worker.claim(members)).await;
    server.quiesce().await;
    conn
}

fn named() -> (String, Value) {
    let id = Uuid::new_v4().to_string();
    let members = json!({"claimId": id, "waitMs": 30_000});
    (id, members)
}

#[tokio::test]
async fn a_claim_that_waits_gets_at_once_what_is_enqueued() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let mut quickest = PATIENCE;
    for _ in 0..5 {
        let mut conn = waiting(&server, &worker, json!({"waitMs": 30_000})).await;
        let image = server.image().await;
        let begun = Instant::now();
        let all = enqueue_all("default", &[&image], json!({}));
        server.send(all).await.expect(201);
        let got = items(&conn.answer().await);
        quickest = quickest.min(begun.elapsed());
        assert_eq!(got[0]["image"]["id"], image.id());
        server
            .send(worker.finish(&got[0], "completed"))
            .await
            .expect(200);
    }
    // Long before anybody looks again by himself.
    assert!(quickest < Duration::from_millis(500), "{quickest:?}");
}

#[tokio::test]
async fn a_claim_ends_after_its_time_and_may_not_wait_at_all() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let begun = Instant::now();
    let answer = server
        .send(worker.claim(json!({"waitMs": 700})))
        .await
        .expect(204);
    answer.expect_header("Cache-Control", "no-store");
    assert!(begun.elapsed() >= Duration::from_millis(700));
    server.send(worker.claim(json!({}))).await.expect(204);
    // What is there is not for this model.
    server.enqueued(json!({"model": "local"})).await;
    let other = json!({"models": ["otsu"], "waitMs": 100});
    server.send(worker.claim(other)).await.expect(204);
    assert_eq!(worker.take(&server, 1).await.len(), 1);
}

#[tokio::test]
async fn a_claim_is_answered_the_same_again() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    for _ in 0..3 {
        server.enqueued(json!({})).await;
    }
    let (_, mut members) = named();
    members["max"] = json!(2);
    let claim = worker.claim(members);
    let first = items(&server.send(claim.clone()).await);
    assert_eq!(first.len(), 2);
    let same = |items: &[Value]| {
        let told = items
            .iter()
            .map(|item| (item["id"].clone(), item["fence"].clone()));
        told.collect::<Vec<_>>()
    };
    let again = items(&server.send(claim.clone()).await);
    assert_eq!(same(&again), same(&first));
    assert_eq!(again[0]["attempt"], 1);
    // What has ended is left out.
    server
        .send(worker.finish(&first[0], "completed"))
        .await
        .expect(200);
    let rest = items(&server.send(claim.clone()).await);
    assert_eq!(same(&rest), same(&first[1..]));
    // Another worker's name for it is another claim.
    let other = Worker::new("w2");
    let (_, members) = named();
    let claim_id: Value = serde_json::from_slice(&claim.body).expect("JSON");
    let mut members = members;
    members["claimId"] = claim_id["claimId"].clone();
    let others = items(&server.send(other.claim(members)).await);
    assert_eq!(others.len(), 1);
    assert_ne!(others[0]["id"], first[1]["id"]);
    assert_eq!(server.queue_stats().await, [0, 2]);
}

#[tokio::test]
async fn of_two_requests_of_one_claim_the_newer_is_answered() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let (_, members) = named();
    let mut older = waiting(&server, &worker, members.clone()).await;
    let mut newer = waiting(&server, &worker, members).await;
    older.answer().await.expect(204);
    let (_, item) = server.enqueued(json!({})).await;
    let got = items(&newer.answer().await);
    assert_eq!(got[0]["id"], item["id"]);
    assert_eq!(got[0]["attempt"], 1);
}

#[tokio::test]
async fn a_worker_that_leaves_while_it_waits_takes_nothing_along() {
    let (server, other) = (Server::start(&[]).await, Worker::new("w2"));
    for round in 0..6 {
        let conn = waiting(&server, &Worker::new("w1"), json!({"waitMs": 30_000})).await;
        match round % 2 {
            // As the end of its process does.
            0 => drop(conn),
            _ => conn.reset(),
        }
        server.quiesce().await;
        let (_, item) = server.enqueued(json!({})).await;
        let got = eventually("the other worker gets it", async || {
            other.take(&server, 1).await.pop()
        })
        .await;
        assert_eq!(got["id"], item["id"], "round {round}");
        assert_eq!(
            got["attempt"], 1,
            "round {round}: what nobody got does not count"
        );
        server
            .send(other.finish(&got, "completed"))
            .await
            .expect(200);
    }
    assert_eq!(server.queue_stats().await, [0, 0]);
}

#[tokio::test]
async fn every_item_is_given_to_one_worker() {
    let server = Server::start(&[]).await;
    let mut conns = Vec::new();
    for name in ["w1", "w2", "w3", "w4"] {
        let worker = Worker::new(name);
        conns.push((
            waiting(&server, &worker, json!({"max": 3, "waitMs": 30_000})).await,
            worker,
        ));
    }
    let mut images = Vec::new();
    for _ in 0..10 {
        images.push(server.image().await);
    }
    let all: Vec<_> = images.iter().collect();
    server
        .send(enqueue_all("default", &all, json!({})))
        .await
        .expect(201);
    let mut got = Vec::new();
    for (conn, worker) in &mut conns {
        for item in items(&conn.answer().await) {
            let directive = worker.directive(&server, &item).await;
            assert_eq!(directive["directive"], "continue", "{directive}");
            got.push(id_of(&item));
        }
    }
    assert_eq!(got.len(), 10);
    got.sort();
    got.dedup();
    assert_eq!(got.len(), 10, "each once");
    assert_eq!(server.queue_stats().await, [0, 10]);
}

#[tokio::test]
async fn the_highest_priority_comes_first_and_then_what_was_first() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let mut ids = Vec::new();
    for priority in [0, 5, 10, 5, 0] {
        let (_, item) = server.enqueued(json!({"priority": priority})).await;
        ids.push(id_of(&item));
    }
    let got = worker.take(&server, 3).await;
    let mut order: Vec<_> = got.iter().map(id_of).collect();
    order.extend(worker.take(&server, 3).await.iter().map(id_of));
    let wanted = [2, 1, 3, 0, 4].map(|place: usize| ids[place].clone());
    assert_eq!(order, wanted);
}

#[tokio::test]
async fn a_claim_that_waits_does_not_hold_up_the_end() {
    let (server, worker) = (Server::start(&[]).await, Worker::new("w1"));
    let mut conn = waiting(&server, &worker, json!({"waitMs": 30_000})).await;
    server.sigterm();
    let begun = Instant::now();
    conn.answer().await.expect_problem(503);
    let status = server.exited_within(PATIENCE).await;
    assert!(status.success(), "{status}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}
