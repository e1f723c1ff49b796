//! What is kept of a webhook, over both engines.

use std::time::Duration;

use super::store::{Backlog, Delivery, Fate, LINE, backlog, due, find, forget_others, settle};
use crate::db::conformance::{empty_postgres, empty_sqlite};
use crate::db::{CORE, Db};
use crate::event::Cursor;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    let (_dir, db) = empty_sqlite().await;
    suite(db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    suite(empty_postgres().await).await;
}

async fn suite(db: Db) {
    db.migrate(&[CORE, LINE]).await.unwrap();
    db.prepare_all(super::store::ALL).await.unwrap();
    what_is_kept_is_found(&db).await;
    what_fails_is_due_again(&db).await;
    others_are_forgotten(&db).await;
    db.close().await;
}

fn place(sequence: u64) -> Cursor {
    format!("ab12.project:default={sequence}").parse().unwrap()
}

fn delivery(id: &str, attempts: u32) -> Delivery {
    Delivery {
        id: id.to_owned(),
        body: format!("{{\"id\":\"{id}\"}}").into(),
        attempts,
    }
}

const NOTHING: Backlog = Backlog {
    count: 0,
    due_in: None,
};

async fn what_is_kept_is_found(db: &Db) {
    assert_eq!(find(db, "a").await.unwrap(), None);
    for sequence in [7, 9] {
        settle(db, "a", &place(sequence), Vec::new()).await.unwrap();
        assert_eq!(find(db, "a").await.unwrap(), Some(place(sequence)));
    }
    assert_eq!(backlog(db, "a").await.unwrap(), NOTHING);
}

async fn what_fails_is_due_again(db: &Db) {
    let now = Fate::Postponed(Duration::ZERO);
    let later = Fate::Postponed(Duration::from_secs(3600));
    let fates = vec![
        (delivery("one", 1), now.clone()),
        (delivery("two", 1), later.clone()),
        (delivery("three", 1), now),
    ];
    settle(db, "b", &place(3), fates).await.unwrap();
    let waiting = backlog(db, "b").await.unwrap();
    assert_eq!((waiting.count, waiting.due_in), (3, Some(Duration::ZERO)));
    let mut found = due(db, "b", 10).await.unwrap();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(found, [delivery("one", 1), delivery("three", 1)]);
    assert_eq!(due(db, "b", 1).await.unwrap().len(), 1);
    assert_eq!(due(db, "a", 10).await.unwrap(), [], "another's");
    let fates = vec![
        (delivery("one", 1), Fate::Over),
        (delivery("three", 2), later),
        (delivery("never", 0), Fate::Over),
    ];
    settle(db, "b", &place(3), fates).await.unwrap();
    assert_eq!(due(db, "b", 10).await.unwrap(), []);
    let waiting = backlog(db, "b").await.unwrap();
    assert_eq!(waiting.count, 2);
    let due_in = waiting.due_in.unwrap();
    assert!(due_in > Duration::from_secs(3500), "{due_in:?}");
}

async fn others_are_forgotten(db: &Db) {
    forget_others(db, &["a".to_owned()]).await.unwrap();
    assert_eq!(find(db, "a").await.unwrap(), Some(place(9)));
    assert_eq!(find(db, "b").await.unwrap(), None);
    assert_eq!(backlog(db, "b").await.unwrap(), NOTHING);
    forget_others(db, &[]).await.unwrap();
    assert_eq!(find(db, "a").await.unwrap(), None);
}
