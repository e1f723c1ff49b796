//! The module over both engines and real files, below its routes.
//!
//! | file | what |
//! |---|---|
//! | this one | the world of a test |
//! | `made.rs` | what an archive has |
//! | `races.rs` | cancels against all that an export does, at any moment |
//! | `zip.rs` | what others make of the archives |

mod made;
mod races;
mod zip;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use uuid::Uuid;

use super::job::{Job, Options, State};
use super::store::{NotStarted, Order};
use super::{Config, Content, Deps, Exports, Image, LINE, Metrics, Source, statement};
use crate::access;
use crate::auth::{Authenticator, Caller, Capabilities};
use crate::blob::BlobError;
use crate::blob::local::LocalStore;
use crate::cancel::{CancelReason, Scope, Settling};
use crate::clock;
use crate::db::conformance::{empty_postgres, empty_sqlite, execute};
use crate::db::{CORE, Db, DbError, Sql, Tx, sql};
use crate::event::{Hub, log};

/// A wait that only a defect makes this long.
const AT_MOST: Duration = Duration::from_secs(60);

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

static PROJECT: Sql = sql!(
    "INSERT INTO project (id, owner_id, title, is_default, created_at, updated_at) \
     VALUES ($1, $2, 'a title', 0, {now}, {now})"
);

/// The module and all that it is given.
struct World {
    db: Db,
    dir: TempDir,
    shelf: Arc<Shelf>,
    scope: Scope,
    exports: Arc<Exports>,
}

impl World {
    async fn new(db: Db, running_max: usize) -> Self {
        let lines = [CORE, log::LINE, access::LINE, LINE];
        db.migrate(&lines).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let shelf = Arc::new(Shelf::default());
        let (scope, exports) = Self::serve(&db, &dir, &shelf, running_max);
        Self {
            db,
            dir,
            shelf,
            scope,
            exports,
        }
    }

    fn serve(
        db: &Db,
        dir: &TempDir,
        shelf: &Arc<Shelf>,
        running_max: usize,
    ) -> (Scope, Arc<Exports>) {
        let scope = Scope::root("server");
        let capabilities = Capabilities::new(&[7; 32], clock::unix_ms);
        let deps = Deps {
            db: db.clone(),
            hub: Hub::new(db.clone(), scope.child("feeds")),
            source: shelf.clone(),
            archives: Arc::new(LocalStore::open(dir.path(), false).unwrap()),
            spools: dir.path().to_owned(),
            auth: Authenticator::new(None, capabilities),
            metrics: Metrics::unread(),
            scope: scope.child("exports"),
        };
        let config = Config {
            archive_keep: Duration::from_secs(3600),
            keep: Duration::from_secs(3600),
            running_max,
            images_max: 1_000,
        };
        (scope.clone(), Arc::new(Exports::new(deps, config)))
    }

    /// As a server does that ends in time.
    async fn stop(self) {
        // Which looks whether each feed is without a hole.
        log::all(&self.db).await.unwrap();
        self.scope.cancel(CancelReason::Shutdown);
        assert_eq!(self.scope.settle(AT_MOST).await, Settling::Settled);
        self.db.close().await;
    }

    /// The id of a new project.
    async fn project(&self, owner: &Caller) -> String {
        let id = Uuid::new_v4().to_string();
        execute(&self.db, &PROJECT, &[&id, &owner.user]).await;
        id
    }

    async fn start(&self, project: &str, caller: &Caller) -> Result<Job, NotStarted> {
        let order = Order {
            project: project.to_owned(),
            options: everything(),
            selected: None,
            title: None,
            warnings: Vec::new(),
        };
        let store = &self.exports.store;
        let started = store.start(order, caller.clone(), 1_000).await.unwrap();
        self.exports.begin_waiting();
        started
    }

    async fn job(&self, job: &Job, caller: &Caller) -> Job {
        let found = self.exports.store.find(&job.id, &job.project, caller);
        found.await.unwrap().expect("it is there")
    }

    /// How long the archive of an export is, if there is one.
    fn archive(&self, job: &Job) -> Option<u64> {
        let shard = self.dir.path().join("blobs").join(&job.id[..2]);
        let meta = std::fs::metadata(shard.join(&job.id));
        meta.ok().map(|meta| meta.len())
    }
}

fn everything() -> Options {
    use super::job::{AnnotationFormat, MetricsFormat};

    Options {
        include_original_images: true,
        annotation_formats: vec![
            AnnotationFormat::Coco,
            AnnotationFormat::Yolo,
            AnnotationFormat::Json,
        ],
        metrics_formats: vec![MetricsFormat::Csv, MetricsFormat::Json],
        selected_images: None,
    }
}

/// Images that are in memory.
#[derive(Default)]
struct Shelf(Mutex<BTreeMap<String, Shelved>>);

struct Shelved {
    image: Image,
    content: Bytes,
    report: Option<String>,
}

/// What a worker has found, as it is kept.
const REPORT: &str = r#"{"polygons":[{"points":[{"x":1,"y":1},{"x":5,"y":1},{"x":5,"y":4}],"type":"external"}],"imageSize":{"width":10,"height":10}}"#;

impl Shelf {
    fn put(
        &self,
        project: &str,
        filename: &str,
        content: impl Into<Bytes>,
        has_result: bool,
    ) -> String {
        let id = Uuid::new_v4().to_string();
        let content = content.into();
        let mut shelf = self.0.lock().unwrap();
        let image = Image {
            id: id.clone(),
            project: project.to_owned(),
            is_complete: true,
            filename: Some(filename.to_owned()),
            content_type: None,
            bytes: content.len() as u64,
            sha256: None,
            created_at: 1_700_000_000_000 + shelf.len() as i64,
        };
        let report = has_result.then(|| String::from(REPORT));
        let shelved = Shelved {
            image,
            content,
            report,
        };
        shelf.insert(id.clone(), shelved);
        id
    }

    fn images(&self, is_wanted: impl Fn(&Image) -> bool) -> Vec<Image> {
        let shelf = self.0.lock().unwrap();
        let mut images: Vec<_> = shelf
            .values()
            .map(|shelved| shelved.image.clone())
            .collect();
        images.retain(|image| is_wanted(image));
        images.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        images
    }
}

/// Content that gives others a turn with each piece.
struct Piecemeal(Bytes);

impl Content for Piecemeal {
    fn read(&self, at: u64, bytes_max: u64) -> BoxFuture<'_, Result<Bytes, BlobError>> {
        async move {
            tokio::task::yield_now().await;
            let at = usize::try_from(at).unwrap();
            let end = self
                .0
                .len()
                .min(at + usize::try_from(bytes_max).unwrap().min(4096));
            Ok(self.0.slice(at..end))
        }
        .boxed()
    }
}

/// A transaction is of no use here: what is in memory does not change within one.
fn now<'t, T: Send + 't>(found: T) -> BoxFuture<'t, Result<T, DbError>> {
    std::future::ready(Ok(found)).boxed()
}

impl Source for Shelf {
    fn title<'t>(
        &'t self,
        _: &'t mut Tx,
        _: &'t str,
    ) -> BoxFuture<'t, Result<Option<String>, DbError>> {
        now(Some(String::from("a title")))
    }

    fn count<'t>(
        &'t self,
        _: &'t mut Tx,
        project: &'t str,
        limit: u64,
    ) -> BoxFuture<'t, Result<u64, DbError>> {
        let count = self.images(|image| image.project == project).len() as u64;
        now(count.min(limit))
    }

    fn page<'t>(
        &'t self,
        _: &'t mut Tx,
        project: &'t str,
        after: Option<(i64, &'t str)>,
        limit: i64,
    ) -> BoxFuture<'t, Result<Vec<Image>, DbError>> {
        let is_next =
            |image: &Image| after.is_none_or(|after| after < (image.created_at, &image.id));
        let mut page = self.images(|image| image.project == project && is_next(image));
        page.truncate(usize::try_from(limit).unwrap());
        now(page)
    }

    fn find<'t>(
        &'t self,
        _: &'t mut Tx,
        ids: &'t [String],
    ) -> BoxFuture<'t, Result<Vec<Image>, DbError>> {
        now(self.images(|image| ids.contains(&image.id)))
    }

    fn open<'t>(
        &'t self,
        _: &'t mut Tx,
        id: &'t str,
    ) -> BoxFuture<'t, Result<Option<Box<dyn Content>>, DbError>> {
        let shelf = self.0.lock().unwrap();
        let content = shelf.get(id).map(|shelved| shelved.content.clone());
        now(content.map(|content| Box::new(Piecemeal(content)) as Box<dyn Content>))
    }

    fn with_result<'t>(
        &'t self,
        _: &'t mut Tx,
        ids: &'t [String],
    ) -> BoxFuture<'t, Result<Vec<String>, DbError>> {
        let shelf = self.0.lock().unwrap();
        let has = |id: &&String| {
            shelf
                .get(*id)
                .is_some_and(|shelved| shelved.report.is_some())
        };
        now(ids.iter().filter(has).cloned().collect())
    }

    fn result<'t>(
        &'t self,
        _: &'t mut Tx,
        id: &'t str,
    ) -> BoxFuture<'t, Result<Option<String>, DbError>> {
        let shelf = self.0.lock().unwrap();
        now(shelf.get(id).and_then(|shelved| shelved.report.clone()))
    }
}
