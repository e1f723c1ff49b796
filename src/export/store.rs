//! Exports in the database: whole transactions, and what follows a commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::Source;
use super::event;
use super::job::{Job, Options, STRANGE, job};
use super::statement::{self as sql, Sql};
use crate::access::{Denied, Right, right, right_to_add};
use crate::auth::Caller;
use crate::cancel::Scope;
use crate::db::{Db, DbError, Param, Row, Tx};
use crate::event::{Hub, record_all};
use crate::http::Page;

/// How often an export is begun before it has failed.
pub(super) const ATTEMPTS_MAX: i64 = 3;

/// Exports that one step of a sweep looks at, at most.
pub(super) const SWEPT_MAX: i64 = 100;

/// Rows that are forgotten in one transaction, at most.
const FORGOTTEN_MAX: i64 = 1_000;

/// Archives of one user in one project that are kept; older ones expire.
const KEPT_MAX: i64 = 10;

/// What somebody wants to have exported.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) project: String,
    pub(super) options: Options,
    /// The ids of images. `None`: all of the project.
    pub(super) selected: Option<Vec<String>>,
    /// `None`: the project's title.
    pub(super) title: Option<String>,
    pub(super) warnings: Vec<String>,
}

/// Why nothing is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotStarted {
    Denied(Denied),
    /// This image is none of the project.
    Foreign(String),
    /// Not all bytes of this image are there.
    Incomplete(String),
    /// The project has more images than one export may have.
    TooMany,
    /// This one of the caller's has not ended.
    Running(String),
}

/// What became of a cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It is irrevocable now, and for the caller to finish.
    Now(Job),
    /// It had been before, or the export had ended.
    Before(Job),
}

/// An export that may have something on the disk.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) id: String,
    /// Of its archive, if that is whole.
    pub(super) bytes: Option<u64>,
}

/// A question about images, and what it is about.
type Ask<A, T> = for<'t> fn(&'t dyn Source, &'t mut Tx, &'t A) -> BoxFuture<'t, Result<T, DbError>>;

/// The database, and whom to tell after a commit. Clones share it.
#[derive(Clone)]
pub(super) struct Store {
    db: Db,
    hub: Hub,
    source: Arc<dyn Source>,
    scope: Scope,
}

impl Store {
    pub(super) fn new(db: Db, hub: Hub, source: Arc<dyn Source>, scope: Scope) -> Self {
        Self {
            db,
            hub,
            source,
            scope,
        }
    }

    /// Runs a transaction that changes the exports that it returns last, and tells of them.
    async fn change<T: Send + 'static>(
        &self,
        work: impl for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<(T, Vec<Job>), DbError>>
        + Send
        + Sync
        + 'static,
    ) -> Result<T, DbError> {
        let tell = |hub: &Hub, (_, changed): &(T, Vec<Job>)| {
            let feeds: Vec<_> = changed
                .iter()
                .map(|job| event::feed(&job.project))
                .collect();
            hub.wake(&feeds);
        };
        let (value, _) = self.hub.change(&self.scope, work, tell).await?;
        Ok(value)
    }

    /// Runs one statement that changes exports, with owned texts as parameters.
    async fn step(&self, statement: &'static Sql, params: Vec<Owned>) -> Result<Vec<Job>, DbError> {
        let params = Arc::new(params);
        self.change(move |tx| {
            let params = params.clone();
            async move {
                let params: Vec<_> = params.iter().map(Owned::param).collect();
                let changed = apply(tx, statement, &params).await?;
                Ok((changed.clone(), changed))
            }
            .boxed()
        })
        .await
    }

    /// Asks for images, or for what was found in them.
    pub(super) async fn ask<A, T>(&self, about: A, ask: Ask<A, T>) -> Result<T, DbError>
    where
        A: Clone + Send + Sync + 'static,
        T: Send + 'static,
    {
        let read = self.db.read(|tx| {
            let (source, about) = (self.source.clone(), about.clone());
            async move { ask(&*source, tx, &about).await }.boxed()
        });
        read.await
    }

    /// Queues an export.
    pub(super) async fn start(
        &self,
        order: Order,
        caller: Caller,
        images_max: u32,
    ) -> Result<Result<Job, NotStarted>, DbError> {
        if self.db.is_full() {
            return Err(DbError::Full);
        }
        let asked = Arc::new((Uuid::new_v4().to_string(), order, caller));
        // Looked at before: it may take a while, and what becomes of images until their turn comes is
        // seen then anyway.
        let unfit = self.db.read(|tx| {
            let (this, asked) = (self.clone(), asked.clone());
            async move { this.unfit(tx, &asked.1, &asked.2, images_max).await }.boxed()
        });
        if let Some(why) = unfit.await? {
            return Ok(Err(why));
        }
        let this = self.clone();
        self.change(move |tx| {
            let (this, asked) = (this.clone(), asked.clone());
            async move {
                let (id, order, caller) = &*asked;
                let project = &order.project;
                let refused = |why| Ok((Err(why), Vec::new()));
                if right_to_add(tx, project, caller).await?.is_none() {
                    return refused(NotStarted::Denied(Denied::Absent));
                }
                let title = match &order.title {
                    Some(title) => title.clone(),
                    None => this.source.title(tx, project).await?.ok_or(STRANGE)?,
                };
                let started = insert(tx, id, order, caller, &title).await?;
                match started.first().cloned() {
                    Some(job) => Ok((Ok(job), started)),
                    // It may have ended meanwhile. Then the next try succeeds.
                    None => match active(tx, project, caller).await? {
                        Some(active) => refused(NotStarted::Running(active)),
                        None => Err(DbError::Busy),
                    },
                }
            }
            .boxed()
        })
        .await
    }

    /// Why there can be no such export, if there cannot.
    async fn unfit(
        &self,
        tx: &mut Tx,
        order: &Order,
        caller: &Caller,
        images_max: u32,
    ) -> Result<Option<NotStarted>, DbError> {
        let project = &order.project;
        if right(tx, project, caller).await?.is_none() {
            return Ok(Some(NotStarted::Denied(Denied::Absent)));
        }
        if let Some(active) = active(tx, project, caller).await? {
            return Ok(Some(NotStarted::Running(active)));
        }
        let Some(selected) = &order.selected else {
            let most = u64::from(images_max);
            let count = self.source.count(tx, project, most + 1).await?;
            return Ok((count > most).then_some(NotStarted::TooMany));
        };
        if selected.len() > usize::try_from(images_max).unwrap_or(usize::MAX) {
            return Ok(Some(NotStarted::TooMany));
        }
        let found = self.source.find(tx, selected).await?;
        let found: HashMap<_, _> = found.iter().map(|image| (&image.id, image)).collect();
        Ok(selected.iter().find_map(|id| match found.get(id) {
            Some(image) if image.project != *project => Some(NotStarted::Foreign(id.clone())),
            Some(image) if !image.is_complete => Some(NotStarted::Incomplete(id.clone())),
            Some(_) => None,
            None => Some(NotStarted::Foreign(id.clone())),
        }))
    }

    /// The images that were named. `None`: all of the project.
    pub(super) async fn selected(&self, job: &Job) -> Result<Option<Vec<String>>, DbError> {
        let params = vec![Owned::Text(job.id.clone())];
        let row = fetch(&self.db, &sql::SELECTED, params).await?.pop();
        let row = row.ok_or(STRANGE)?;
        let selected = row.opt_text(0)?.map(serde_json::from_str);
        selected.transpose().map_err(|_| STRANGE)
    }

    /// The next ones that wait, `limit` at most.
    pub(super) async fn next(&self, limit: usize) -> Result<Vec<String>, DbError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = fetch(&self.db, &sql::NEXT, vec![Owned::Int(limit)]).await?;
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    /// Begins one. `None`: it does not wait any more.
    pub(super) async fn begin(&self, id: &str) -> Result<Option<Job>, DbError> {
        let params = vec![Owned::Text(id.to_owned())];
        Ok(self.step(&sql::BEGIN, params).await?.pop())
    }

    /// The archive is whole and durable. `None`: the export was cancelled before.
    pub(super) async fn complete(
        &self,
        job: &Job,
        bytes: u64,
        warnings: &[String],
        keep: Duration,
    ) -> Result<Option<Job>, DbError> {
        let warnings = serde_json::json!(warnings).to_string();
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let (job, keep) = (job.clone(), millis(keep));
        self.change(move |tx| {
            let (job, warnings) = (job.clone(), warnings.clone());
            async move {
                let params = [
                    Param::Text(&job.id),
                    Param::Int(job.attempt),
                    Param::Int(bytes),
                    Param::Text(&warnings),
                    Param::Int(keep),
                ];
                let completed = run(tx, &sql::COMPLETE, &params).await?;
                if !completed.is_empty() {
                    let of_user = [
                        Param::Text(&job.project),
                        Param::Text(&job.user),
                        Param::Int(KEPT_MAX),
                    ];
                    tx.execute(&sql::EXPIRE_OLDER, &of_user).await?;
                }
                tell(tx, &completed).await?;
                Ok((completed.first().cloned(), completed))
            }
            .boxed()
        })
        .await
    }

    /// There can be no archive. `None`: the export was cancelled before.
    pub(super) async fn fail(&self, job: &Job, error: &str) -> Result<Option<Job>, DbError> {
        let params = vec![
            Owned::Text(job.id.clone()),
            Owned::Int(job.attempt),
            Owned::Text(error.to_owned()),
        ];
        Ok(self.step(&sql::FAIL, params).await?.pop())
    }

    /// Nothing of an interrupted export is left on the disk: it is queued again, or has failed.
    pub(super) async fn begin_again(&self, job: &Job) -> Result<Option<Job>, DbError> {
        if job.attempt >= ATTEMPTS_MAX {
            return self
                .fail(job, "The server was interrupted each time.")
                .await;
        }
        self.queue_again(job, 1).await
    }

    /// The same of one that has stopped in time, which costs no attempt.
    pub(super) async fn put_back(&self, job: &Job) -> Result<Option<Job>, DbError> {
        self.queue_again(job, 0).await
    }

    async fn queue_again(&self, job: &Job, cost: i64) -> Result<Option<Job>, DbError> {
        let params = vec![
            Owned::Text(job.id.clone()),
            Owned::Int(job.attempt),
            Owned::Int(cost),
        ];
        Ok(self.step(&sql::BEGIN_AGAIN, params).await?.pop())
    }

    /// Makes a cancel irrevocable.
    pub(super) async fn cancel(
        &self,
        id: String,
        project: Option<String>,
        caller: Caller,
        reason: Option<String>,
    ) -> Result<Result<Begun, Denied>, DbError> {
        let asked = Arc::new((id, project, caller, reason));
        self.change(move |tx| {
            let asked = asked.clone();
            async move {
                let (id, project, caller, reason) = &*asked;
                let silent = |value| Ok((value, Vec::new()));
                let Some((found, right)) = find(tx, id, project.as_deref(), caller).await? else {
                    return silent(Err(Denied::Absent));
                };
                if !right.covers(caller, &found.user) {
                    return silent(Err(Denied::Forbidden));
                }
                let params = [Param::Text(id), Param::OptText(reason.as_deref())];
                let changed = apply(tx, &sql::CANCEL, &params).await?;
                if let Some(job) = changed.first().cloned() {
                    return Ok((Ok(Begun::Now(job)), changed));
                }
                // It may have changed since it was found.
                let row = tx.fetch_optional(&sql::FIND, &params[..1]).await?;
                let found = row.as_ref().map_or(Ok(found), job)?;
                silent(Ok(Begun::Before(found)))
            }
            .boxed()
        })
        .await
    }

    /// Nothing of the archive of a cancelled export is left. `None`: somebody else has said so.
    pub(super) async fn cancelled(&self, id: &str, bytes: u64) -> Result<Option<Job>, DbError> {
        let bytes = Owned::Int(i64::try_from(bytes).unwrap_or(i64::MAX));
        let params = vec![Owned::Text(id.to_owned()), bytes];
        Ok(self.step(&sql::CANCELLED, params).await?.pop())
    }

    /// The archive of a completed export has been removed.
    pub(super) async fn released(&self, id: &str, bytes: u64) -> Result<(), DbError> {
        let (id, bytes) = (id.to_owned(), i64::try_from(bytes).unwrap_or(i64::MAX));
        let released = self.db.write(move |tx| {
            let id = id.clone();
            async move {
                let params = [Param::Text(&id), Param::Int(bytes)];
                tx.execute(&sql::RELEASED, &params).await
            }
            .boxed()
        });
        released.await.map(drop)
    }

    /// What may have something on the disk that is to be removed, unless somebody is at it.
    pub(super) async fn remains(&self) -> Result<Vec<Job>, DbError> {
        let most = || vec![Owned::Int(SWEPT_MAX)];
        let mut remains = self.jobs(&sql::REMAINS, most()).await?;
        remains.extend(self.jobs(&sql::EXPIRED, most()).await?);
        Ok(remains)
    }

    /// An export of these, if it still is one.
    pub(super) async fn still_remains(&self, id: &str) -> Result<Option<Job>, DbError> {
        let params = vec![Owned::Text(id.to_owned())];
        Ok(self.jobs(&sql::STILL_REMAINS, params).await?.pop())
    }

    /// Cancels everything of a project that is going, and lets its archives expire. Returns what is to be
    /// removed from the disk, as far as it is not too much.
    pub(super) async fn end_project(
        &self,
        project: &str,
        reason: &'static str,
    ) -> Result<Vec<Job>, DbError> {
        let of_project = || Owned::Text(project.to_owned());
        let params = vec![of_project(), Owned::Text(reason.into())];
        self.step(&sql::CANCEL_PROJECT, params).await?;
        let project = project.to_owned();
        let expired = self.db.write(move |tx| {
            let project = project.clone();
            async move {
                tx.execute(&sql::EXPIRE_PROJECT, &[Param::Text(&project)])
                    .await
            }
            .boxed()
        });
        expired.await?;
        let params = vec![of_project(), Owned::Int(SWEPT_MAX)];
        self.jobs(&sql::REMAINS_OF_PROJECT, params).await
    }

    /// Forgets exports of a project that is going. True: nothing of it is left.
    pub(super) async fn clear(&self, project: &str) -> Result<bool, DbError> {
        let project = project.to_owned();
        let cleared = self.db.write(move |tx| {
            let project = project.clone();
            async move {
                let params = [Param::Text(&project), Param::Int(FORGOTTEN_MAX)];
                tx.execute(&sql::CLEAR, &params).await?;
                let left = tx.fetch_optional(&sql::ANY, &params[..1]).await?;
                Ok(left.is_none())
            }
            .boxed()
        });
        cleared.await
    }

    /// Forgets what ended long ago. True: there may be more of that.
    pub(super) async fn forget(&self, keep: Duration) -> Result<bool, DbError> {
        let keep = millis(keep);
        let forgotten = self.db.write(move |tx| {
            async move {
                let params = [Param::Int(keep), Param::Int(FORGOTTEN_MAX)];
                tx.execute(&sql::FORGET, &params).await
            }
            .boxed()
        });
        Ok(forgotten.await? >= FORGOTTEN_MAX.unsigned_abs())
    }

    async fn jobs(&self, statement: &'static Sql, params: Vec<Owned>) -> Result<Vec<Job>, DbError> {
        fetch(&self.db, statement, params)
            .await?
            .iter()
            .map(job)
            .collect()
    }

    /// An export of a project, if the caller may see it.
    pub(super) async fn find(
        &self,
        id: &str,
        project: &str,
        caller: &Caller,
    ) -> Result<Option<Job>, DbError> {
        let read = self.db.read(|tx| {
            let asked = (id.to_owned(), project.to_owned(), caller.clone());
            async move {
                let (id, project, caller) = &asked;
                find(tx, id, Some(project), caller).await
            }
            .boxed()
        });
        Ok(read.await?.map(|(job, _)| job))
    }

    /// A page of a project's exports, newest first, and how many there are altogether. `None`: for the
    /// caller there is no such project.
    pub(super) async fn list(
        &self,
        project: &str,
        caller: &Caller,
        page: &Page,
    ) -> Result<Option<(Vec<Job>, u64)>, DbError> {
        let [limit, skip] = page.bounds();
        let read = self.db.read(|tx| {
            let (project, caller) = (project.to_owned(), caller.clone());
            async move {
                if right(tx, &project, &caller).await?.is_none() {
                    return Ok(None);
                }
                let params = [Param::Text(&project), Param::Int(limit), Param::Int(skip)];
                let total = tx.fetch_optional(&sql::COUNT, &params[..1]).await?;
                let total = total.ok_or(STRANGE)?.int(0)?;
                let rows = tx.fetch_all(&sql::LIST, &params).await?;
                let jobs = rows.iter().map(job).collect::<Result<_, _>>()?;
                Ok(Some((jobs, u64::try_from(total).unwrap_or(0))))
            }
            .boxed()
        });
        read.await
    }
}

/// A parameter that outlives its transaction, which may run more than once.
#[derive(Clone, Debug)]
enum Owned {
    Text(String),
    Int(i64),
}

impl Owned {
    fn param(&self) -> Param<'_> {
        match self {
            Self::Text(text) => Param::Text(text),
            Self::Int(number) => Param::Int(*number),
        }
    }
}

/// Runs a statement that changes exports, and tells of it: to be called last in a transaction, and once.
async fn apply(tx: &mut Tx, statement: &Sql, params: &[Param<'_>]) -> Result<Vec<Job>, DbError> {
    let changed = run(tx, statement, params).await?;
    tell(tx, &changed).await?;
    Ok(changed)
}

/// Runs a statement that changes exports, and returns them.
async fn run(tx: &mut Tx, statement: &Sql, params: &[Param<'_>]) -> Result<Vec<Job>, DbError> {
    let rows = tx.fetch_all(statement, params).await?;
    rows.iter().map(job).collect()
}

/// Writes the events of what has changed.
async fn tell(tx: &mut Tx, changed: &[Job]) -> Result<(), DbError> {
    record_all(tx, changed.iter().filter_map(event::reached).collect()).await
}

/// Queues an export, unless one of the caller's has not ended. Returns it.
async fn insert(
    tx: &mut Tx,
    id: &str,
    order: &Order,
    caller: &Caller,
    title: &str,
) -> Result<Vec<Job>, DbError> {
    let options = serde_json::to_string(&order.options).map_err(|_| STRANGE)?;
    let warnings = serde_json::json!(order.warnings).to_string();
    let selected = order.selected.as_ref();
    let selected = selected.map(|ids| serde_json::json!(ids).to_string());
    let params = [
        Param::Text(id),
        Param::Text(&order.project),
        Param::Text(&caller.user),
        Param::Text(&options),
        Param::Text(title),
        Param::Text(&warnings),
        Param::OptText(selected.as_deref()),
    ];
    apply(tx, &sql::START, &params).await
}

/// The export of a caller that has not ended.
async fn active(tx: &mut Tx, project: &str, caller: &Caller) -> Result<Option<String>, DbError> {
    let params = [Param::Text(project), Param::Text(&caller.user)];
    let row = tx.fetch_optional(&sql::ACTIVE, &params).await?;
    row.map(|row| Ok(row.text(0)?.to_owned())).transpose()
}

/// An export that the caller may see, and his right in its project.
async fn find(
    tx: &mut Tx,
    id: &str,
    project: Option<&str>,
    caller: &Caller,
) -> Result<Option<(Job, Right)>, DbError> {
    let Some(row) = tx.fetch_optional(&sql::FIND, &[Param::Text(id)]).await? else {
        return Ok(None);
    };
    let found = job(&row)?;
    if project.is_some_and(|project| project != found.project) {
        return Ok(None);
    }
    let right = right(tx, &found.project, caller).await?;
    Ok(right.map(|right| (found, right)))
}

/// Bounded so that the sum with any time of day still is a number of the database.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis())
        .unwrap_or(i64::MAX)
        .min(i64::MAX / 2)
}

/// Those of some exports that may have something on the disk.
pub(super) async fn kept(db: &Db, ids: &[String]) -> Result<Vec<Kept>, DbError> {
    let ids = serde_json::json!(ids).to_string();
    kept_by(db, &sql::WITH_ARCHIVE, vec![Owned::Text(ids)]).await
}

/// The next page of whole archives, by id.
pub(super) async fn archives(db: &Db, after: &str) -> Result<Vec<Kept>, DbError> {
    let params = vec![Owned::Text(after.to_owned()), Owned::Int(SWEPT_MAX)];
    kept_by(db, &sql::ARCHIVES, params).await
}

async fn kept_by(
    db: &Db,
    statement: &'static Sql,
    params: Vec<Owned>,
) -> Result<Vec<Kept>, DbError> {
    let rows = fetch(db, statement, params).await?;
    let kept = |row: &Row| {
        let bytes = row.opt_int(1)?.map(u64::try_from).transpose();
        Ok(Kept {
            id: row.text(0)?.to_owned(),
            bytes: bytes.map_err(|_| STRANGE)?,
        })
    };
    rows.iter().map(kept).collect()
}

async fn fetch(db: &Db, statement: &'static Sql, params: Vec<Owned>) -> Result<Vec<Row>, DbError> {
    let read = db.read(|tx| {
        let params = params.clone();
        async move {
            let params: Vec<_> = params.iter().map(Owned::param).collect();
            tx.fetch_all(statement, &params).await
        }
        .boxed()
    });
    read.await
}
