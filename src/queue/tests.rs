//! The module over both engines, below its routes: whole transactions of users, of workers and of the
//! sweeper in, answers, rows and events out.
//!
//! After each step the whole database is looked at: see `audit.rs`.
//!
//! | file | what |
//! |---|---|
//! | this one | the world of a test |
//! | `audit.rs` | what holds between any two transactions |
//! | `enqueueing.rs` | what is enqueued, what is refused, and whose turn it is |
//! | `leases.rs` | claims and heartbeats, and how a worker loses an item |
//! | `reports.rs` | how a worker ends one |
//! | `cancels.rs` | cancels, and whose they are |
//! | `statuses.rs` | what becomes of images meanwhile |
//! | `sweeps.rs` | what nobody asks for, and the end of a project |
//! | `waiting.rs` | workers that wait |
//! | `races.rs`, `verdict.rs` | everything at once, and whether it came out right |

mod audit;
mod cancels;
mod enqueueing;
mod leases;
mod races;
mod reports;
mod statuses;
mod sweeps;
mod verdict;
mod waiting;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use self::audit::Audit;
use super::item::{Item, State, Threshold};
use super::lease::{Claim, Finish, Finished, Holder, Outcome};
use super::look::Saved;
use super::store::{Batch, Cancelled, Enqueued, NotEnqueued, Order, Which};
use super::{Config, Deps, Image, Images, LINE, Metrics, Queue, statement};
use crate::access::{self, Denied};
use crate::auth::{Authenticator, Caller, Capabilities, Role};
use crate::cancel::{CancelReason, Scope, Settling};
use crate::clock;
use crate::db::conformance::{empty_postgres, empty_sqlite, execute};
use crate::db::{CORE, Db, DbError, Param, Sql, Tx, sql};
use crate::event::{Hub, log};
use crate::http::Origin;

/// A wait that only a defect makes this long.
const AT_MOST: Duration = Duration::from_secs(60);

/// Whose token the workers have, unless a test says otherwise.
const HOLDER: &str = "machine";

/// Runs a suite over both engines.
macro_rules! on_both_engines {
    ($suite:path) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn sqlite() {
            let (_dir, db) = $crate::db::conformance::empty_sqlite().await;
            let world = $crate::queue::tests::World::new(db, &|_| {}).await;
            $suite(&world).await;
            world.stop().await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn postgres() {
            let db = $crate::db::conformance::empty_postgres().await;
            let world = $crate::queue::tests::World::new(db, &|_| {}).await;
            $suite(&world).await;
            world.stop().await;
        }
    };
}
use on_both_engines;

#[tokio::test]
async fn sqlite_understands_every_statement() {
    let (_dir, db) = empty_sqlite().await;
    understands_every_statement(db).await;
}

#[tokio::test]
async fn postgres_understands_every_statement() {
    understands_every_statement(empty_postgres().await).await;
}

async fn understands_every_statement(db: Db) {
    db.migrate(&[CORE, LINE]).await.unwrap();
    db.prepare_all(statement::ALL).await.unwrap();
    db.close().await;
}

/// The module and all that it is given.
struct World {
    db: Db,
    shelf: Arc<Shelf>,
    scope: Scope,
    queue: Arc<Queue>,
    audit: Mutex<Audit>,
    projects: Mutex<Vec<String>>,
}

static PROJECT: Sql = sql!(
    "INSERT INTO project (id, owner_id, title, is_default, created_at, updated_at) \
     VALUES ($1, $2, 'a title', 0, {now}, {now})"
);
static SHARE: Sql = sql!(
    "INSERT INTO share (id, project_id, user_id, status, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, {now}, {now})"
);

/// Everything has happened earlier by so many milliseconds. $1 milliseconds.
static PASS: Sql = sql!(
    "UPDATE queue_item SET available_at = available_at - $1, lease_until = lease_until - $1, \
     cancel_by = cancel_by - $1, started_at = started_at - $1, finished_at = finished_at - $1, \
     created_at = created_at - $1"
);

impl World {
    async fn new(db: Db, configure: &(dyn Fn(&mut Config) + Sync)) -> Self {
        let lines = [CORE, log::LINE, access::LINE, LINE];
        db.migrate(&lines).await.unwrap();
        let scope = Scope::root("server");
        let shelf = Arc::new(Shelf::default());
        let capabilities = Capabilities::new(&[7; 32], clock::unix_ms);
        let deps = Deps {
            db: db.clone(),
            hub: Hub::new(db.clone(), scope.child("feeds")),
            images: shelf.clone(),
            auth: Authenticator::new(None, capabilities),
            origin: Origin::Request,
            metrics: Metrics::unread(),
            scope: scope.child("queue"),
        };
        let mut config = Config {
            models: vec![String::from("otsu"), String::from("local")],
            lease: Duration::from_secs(15),
            grace: Duration::from_secs(10),
            result_bytes_max: 1 << 20,
            items_max: 100_000,
            keep: Duration::from_secs(3600),
            shutdown_grace: Duration::from_secs(10),
        };
        configure(&mut config);
        Self {
            db,
            shelf,
            scope,
            queue: Arc::new(Queue::new(deps, config)),
            audit: Mutex::default(),
            projects: Mutex::default(),
        }
    }

    /// Another one on the same database.
    async fn beside(other: &Self, configure: &(dyn Fn(&mut Config) + Sync)) -> Self {
        Self::new(other.db.clone(), configure).await
    }

    async fn stop(self) {
        self.look().await;
        // Which looks whether each feed is without a hole.
        log::all(&self.db).await.unwrap();
        self.scope.cancel(CancelReason::Shutdown);
        assert_eq!(self.scope.settle(AT_MOST).await, Settling::Settled);
        self.db.close().await;
    }

    /// Whatever holds between any two transactions holds now.
    async fn look(&self) {
        let projects = self.projects.lock().unwrap().clone();
        let mut found = Vec::new();
        for project in projects {
            let after = self.audit.lock().unwrap().seen(&project);
            found.push(audit::read(&self.db, project, after).await);
        }
        let mut audit = self.audit.lock().unwrap();
        for found in found {
            audit.check(found, &self.shelf);
        }
    }

    /// The id of a new project.
    async fn project(&self, owner: &Caller) -> String {
        let id = Uuid::new_v4().to_string();
        execute(&self.db, &PROJECT, &[&id, &owner.user]).await;
        self.projects.lock().unwrap().push(id.clone());
        id
    }

    async fn share(&self, project: &str, with: &Caller, status: &str) {
        let id = Uuid::new_v4().to_string();
        execute(&self.db, &SHARE, &[&id, project, &with.user, status]).await;
    }

    /// The ids of new images, which are complete.
    fn images(&self, project: &str, count: usize) -> Vec<String> {
        let images = (0..count).map(|_| self.shelf.put(project, true));
        images.collect()
    }

    fn image(&self, project: &str) -> String {
        self.shelf.put(project, true)
    }

    async fn enqueue(&self, by: &Caller, image: &str) -> Result<Item, NotEnqueued> {
        self.enqueue_as(by, image, order(0)).await
    }

    async fn enqueue_as(
        &self,
        by: &Caller,
        image: &str,
        order: Order,
    ) -> Result<Item, NotEnqueued> {
        let store = &self.queue.store;
        let enqueued = store.enqueue(image.to_owned(), by.clone(), order).await;
        self.look().await;
        enqueued.unwrap()
    }

    /// A new item of a new image.
    async fn queued(&self, by: &Caller, project: &str) -> Item {
        let image = self.image(project);
        self.enqueue(by, &image).await.unwrap()
    }

    async fn batch(
        &self,
        by: &Caller,
        project: &str,
        images: &[String],
        force: bool,
    ) -> Result<Enqueued, NotEnqueued> {
        let batch = batch(project, images, force);
        let enqueued = self.queue.store.enqueue_all(batch, by.clone()).await;
        self.look().await;
        enqueued.unwrap()
    }

    /// What a new claim of the worker "w" gets.
    async fn claim(&self, max: i64) -> Vec<Item> {
        self.claim_as(&claim(max)).await
    }

    async fn claim_as(&self, claim: &Claim) -> Vec<Item> {
        let claimed = self.queue.store.claim(claim).await.unwrap();
        self.look().await;
        claimed.into_iter().map(|(item, _)| item).collect()
    }

    /// A new item that is being processed.
    async fn processing(&self, by: &Caller, project: &str) -> Item {
        let queued = self.queued(by, project).await;
        let claimed = self.claim(1).await;
        assert_eq!(claimed[0].id, queued.id, "nothing else waits");
        claimed.into_iter().next().unwrap()
    }

    async fn finish(&self, item: &Item, outcome: Outcome) -> Finished {
        self.finish_as(finish(item, outcome)).await
    }

    async fn finish_as(&self, finish: Finish) -> Finished {
        let finished = self.queue.store.finish(finish).await;
        self.look().await;
        finished.unwrap()
    }

    async fn cancel(&self, by: &Caller, item: &Item) -> Result<(Item, bool), Denied> {
        let store = &self.queue.store;
        let cancelled = store.cancel(item.id.clone(), by.clone(), None).await;
        self.look().await;
        cancelled.unwrap()
    }

    async fn cancel_many(&self, by: &Caller, which: Which) -> Result<Cancelled, Denied> {
        let store = &self.queue.store;
        let cancelled = store.cancel_many(which, by.clone(), None).await;
        self.look().await;
        cancelled.unwrap()
    }

    async fn reap(&self) -> usize {
        let reaped = self.queue.store.reap().await;
        self.look().await;
        reaped.unwrap()
    }

    async fn unclaim(&self, items: &[Item]) {
        self.queue.store.unclaim(items).await.unwrap();
        self.look().await;
    }

    async fn heartbeat(&self, claims: &[(String, i64)], holder: &str) -> Vec<Item> {
        let renewed = self.queue.store.heartbeat(claims, &holder_of(holder)).await;
        self.look().await;
        renewed.unwrap()
    }

    /// The item as it is now.
    async fn now(&self, item: &Item) -> Item {
        let found = self.queue.store.find(&item.id, &admin()).await.unwrap();
        found.expect("the item is there")
    }

    async fn state(&self, item: &Item) -> State {
        self.now(item).await.state
    }

    /// The status of an image, as users see it.
    async fn status(&self, image: &str) -> &'static str {
        let shown = self.queue.store.show(image, &admin()).await.unwrap();
        shown.expect("the image is there").1
    }

    async fn result(&self, image: &str) -> Option<Saved> {
        let result = self.queue.store.result(image, &admin()).await.unwrap();
        result.expect("the image is there")
    }

    /// How many items of a project wait and are processed.
    async fn stats(&self, project: &str) -> (i64, i64) {
        let stats = self.queue.store.stats(project, &admin()).await.unwrap();
        let stats = stats.expect("the project is there");
        (stats.queued, stats.processing)
    }

    /// How many events there are altogether.
    async fn events(&self) -> usize {
        log::all(&self.db).await.unwrap().len()
    }

    /// Time passes, for items.
    async fn pass(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap();
        run(&self.db, &PASS, vec![millis]).await;
    }
}

/// Runs a statement whose parameters are numbers in a transaction of its own.
async fn run(db: &Db, sql: &'static Sql, numbers: Vec<i64>) -> u64 {
    let done = db.write(move |tx| {
        let numbers = numbers.clone();
        async move {
            let params: Vec<_> = numbers.into_iter().map(Param::Int).collect();
            tx.execute(sql, &params).await
        }
        .boxed()
    });
    done.await.unwrap()
}

/// Waits until something is so.
async fn until<A: Future<Output = bool>>(is_so: impl Fn() -> A) {
    let waited = tokio::time::timeout(AT_MOST, async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("it comes to be so");
}

/// Images in memory.
#[derive(Default)]
struct Shelf {
    images: Mutex<HashMap<String, Image>>,
    /// How often it was looked for images.
    looks: AtomicUsize,
}

impl Shelf {
    fn put(&self, project: &str, is_complete: bool) -> String {
        let image = Image {
            id: Uuid::new_v4().to_string(),
            project: project.to_owned(),
            is_complete,
            filename: Some(String::from("a.png")),
            content_type: Some(String::from("image/png")),
            bytes: 7,
            sha256: None,
            created_at: 0,
        };
        let id = image.id.clone();
        self.images.lock().unwrap().insert(id.clone(), image);
        id
    }

    fn remove(&self, image: &str) {
        self.images.lock().unwrap().remove(image).unwrap();
    }

    fn has(&self, image: &str) -> bool {
        self.images.lock().unwrap().contains_key(image)
    }
}

impl Images for Shelf {
    fn find<'t>(
        &'t self,
        _tx: &'t mut Tx,
        ids: &'t [String],
    ) -> BoxFuture<'t, Result<Vec<Image>, DbError>> {
        let images = self.images.lock().unwrap();
        let found = ids.iter().filter_map(|id| images.get(id).cloned());
        let found = found.collect();
        drop(images);
        self.looks.fetch_add(1, SeqCst);
        async move { Ok(found) }.boxed()
    }

    fn list<'t>(
        &'t self,
        _tx: &'t mut Tx,
        _project: &'t str,
        _bounds: [i64; 2],
    ) -> BoxFuture<'t, Result<(Vec<Image>, u64), DbError>> {
        panic!("nobody asks for a list")
    }
}

/// Somebody whom no other test knows.
fn somebody() -> Caller {
    Caller::named(&Uuid::new_v4().to_string())
}

fn admin() -> Caller {
    Caller {
        role: Role::Admin,
        ..Caller::named("root")
    }
}

fn order(priority: i64) -> Order {
    Order {
        model: String::from("otsu"),
        threshold: Threshold::new(0.5).unwrap(),
        priority,
        detect_holes: true,
    }
}

fn batch(project: &str, images: &[String], force: bool) -> Batch {
    Batch {
        project: project.to_owned(),
        images: images.to_vec(),
        order: order(0),
        force,
    }
}

/// A claim that nobody has made before.
fn claim(max: i64) -> Claim {
    Claim {
        worker: String::from("w"),
        holder: HOLDER.to_owned(),
        claim: Uuid::new_v4().to_string(),
        models: vec![String::from("otsu")],
        max,
    }
}

/// A worker for every model.
fn holder_of(user: &str) -> Holder {
    Holder {
        user: user.to_owned(),
        models: None,
    }
}

fn finish(item: &Item, outcome: Outcome) -> Finish {
    Finish {
        id: item.id.clone(),
        fence: item.fence,
        holder: holder_of(HOLDER),
        outcome,
    }
}

/// A report that tells whose it is.
fn completed(item: &Item) -> Outcome {
    let report = serde_json::json!({ "item": item.id, "fence": item.fence });
    Outcome::Completed(report.to_string().into())
}

fn failed(retryable: bool) -> Outcome {
    Outcome::Failed {
        message: String::from("it broke"),
        retryable,
    }
}

fn ids(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.id.as_str()).collect()
}
