//! The queue in the database: whole transactions, and what follows a commit.
//!
//! A transaction returns the items that it has changed. After the commit, in a task that no leaving
//! client can stop, whoever waits is told: readers of feeds, workers with a cancelled item, workers that
//! wait for one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::change::{Step, apply, tell};
use super::crew::Crew;
use super::event::{self, Stats};
use super::item::{Item, STRANGE, State, Threshold, item, items, state};
use super::statement as sql;
use super::{Config, Deps, Image, Images};
use crate::access::{Denied, Right, right, right_to_add};
use crate::auth::Caller;
use crate::cancel::Scope;
use crate::db::{Db, DbError, Param, Row, Tx};
use crate::event::Hub;

/// Items in one call, and in one transaction, at most.
pub(super) const MANY_MAX: usize = 10_000;

/// How often an item is claimed before it has failed.
pub(super) const ATTEMPTS_MAX: i64 = 4;

/// Items that one step of a sweep changes at most.
pub(super) const SWEPT_MAX: i64 = 1_000;

/// What an image is to be segmented by.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    pub(super) model: String,
    pub(super) threshold: Threshold,
    pub(super) priority: i64,
    pub(super) detect_holes: bool,
}

/// Many images of a project.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Batch {
    pub(super) project: String,
    /// Each once.
    pub(super) images: Vec<String>,
    pub(super) order: Order,
    /// Those with a result, too.
    pub(super) force: bool,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Enqueued {
    pub(super) batch: String,
    /// In the order in which they were asked for.
    pub(super) items: Vec<Item>,
    /// Those of the others that have a result already.
    pub(super) segmented: Vec<String>,
}

/// Why nothing is enqueued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotEnqueued {
    Denied(Denied),
    /// This image is none of the project.
    Foreign(String),
    /// Not all bytes of this image are there.
    Incomplete(String),
    /// It has been enqueued before, and has not ended.
    Active,
    /// The project has as many items as it may have.
    TooMany,
}

/// Which items to cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Batch(String),
    /// The caller's own of a project, or everybody's.
    Project {
        project: String,
        all: bool,
    },
    /// The caller's own, everywhere.
    Own,
}

/// What became of a cancel of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cancelled {
    pub(super) changed: Vec<Item>,
    /// Those of a batch that had ended, or were being cancelled, before.
    pub(super) unchanged: Vec<(String, State)>,
}

/// The value of a transaction, and the items that it has changed.
pub(super) struct Done<T> {
    pub(super) value: T,
    pub(super) changed: Vec<Item>,
}

impl<T> Done<T> {
    pub(super) fn silent(value: T) -> Self {
        Self {
            value,
            changed: Vec::new(),
        }
    }
}

impl Done<usize> {
    /// How many were changed.
    pub(super) fn of(changed: Vec<Item>) -> Self {
        Self {
            value: changed.len(),
            changed,
        }
    }
}

/// The database, and whom to tell after a commit. Clones share it.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) db: Db,
    hub: Hub,
    pub(super) images: Arc<dyn Images>,
    pub(super) crew: Arc<Crew>,
    scope: Scope,
    pub(super) config: Arc<Config>,
}

impl Store {
    pub(super) fn new(deps: &Deps, crew: Arc<Crew>, config: Arc<Config>) -> Self {
        Self {
            db: deps.db.clone(),
            hub: deps.hub.clone(),
            images: deps.images.clone(),
            crew,
            scope: deps.scope.clone(),
            config,
        }
    }

    /// Runs a transaction and tells of it, whether or not somebody still waits for the answer.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<Done<T>, DbError>>
        + Send
        + Sync
        + 'static,
    ) -> Result<T, DbError> {
        let crew = self.crew.clone();
        let tell = move |hub: &Hub, done: &Done<T>| {
            if done.changed.is_empty() {
                return;
            }
            crew.tell(&done.changed);
            let projects: HashSet<_> = done.changed.iter().map(|item| &item.project).collect();
            let feeds: Vec<_> = projects.into_iter().map(|id| event::feed(id)).collect();
            hub.wake(&feeds);
        };
        let done = self.hub.change(&self.scope, work, tell).await?;
        Ok(done.value)
    }

    /// Enqueues one image.
    pub(super) async fn enqueue(
        &self,
        image: String,
        caller: Caller,
        order: Order,
    ) -> Result<Result<Item, NotEnqueued>, DbError> {
        if self.db.is_full() {
            return Err(DbError::Full);
        }
        let (this, asked) = (self.clone(), Arc::new((vec![image], caller, order)));
        self.change(move |tx| {
            let (this, asked) = (this.clone(), asked.clone());
            async move {
                let (images, caller, order) = &*asked;
                let refused = |why| Ok(Done::silent(Err(why)));
                let found = this.images.find(tx, images).await?.pop();
                let Some(image) = found else {
                    return refused(NotEnqueued::Denied(Denied::Absent));
                };
                if right_to_add(tx, &image.project, caller).await?.is_none() {
                    return refused(NotEnqueued::Denied(Denied::Absent));
                }
                if !image.is_complete {
                    return refused(NotEnqueued::Incomplete(image.id));
                }
                let project = &image.project;
                let items = this.add(tx, project, images, caller, order, None).await?;
                Ok(match items.map(|mut items| items.pop()) {
                    Err(why) => Done::silent(Err(why)),
                    Ok(None) => Done::silent(Err(NotEnqueued::Active)),
                    Ok(Some(item)) => Done {
                        value: Ok(item.clone()),
                        changed: vec![item],
                    },
                })
            }
            .boxed()
        })
        .await
    }

    /// Enqueues many images of one project: all that are not active, nor have a result, or nothing.
    pub(super) async fn enqueue_all(
        &self,
        batch: Batch,
        caller: Caller,
    ) -> Result<Result<Enqueued, NotEnqueued>, DbError> {
        if self.db.is_full() {
            return Err(DbError::Full);
        }
        let name = Uuid::new_v4().to_string();
        let (this, asked) = (self.clone(), Arc::new((name, batch, caller)));
        self.change(move |tx| {
            let (this, asked) = (this.clone(), asked.clone());
            async move {
                let (name, batch, caller) = &*asked;
                let project = &batch.project;
                let refused = |why| Ok(Done::silent(Err(why)));
                if right_to_add(tx, project, caller).await?.is_none() {
                    return refused(NotEnqueued::Denied(Denied::Absent));
                }
                let found = this.images.find(tx, &batch.images).await?;
                if let Some(why) = unfit(batch, &found) {
                    return refused(why);
                }
                let of_batch = Some((name.as_str(), batch.force));
                let added = this
                    .add(tx, project, &batch.images, caller, &batch.order, of_batch)
                    .await?;
                let items = match added {
                    Ok(items) => items,
                    Err(why) => return refused(why),
                };
                let segmented = match batch.force || items.len() == batch.images.len() {
                    true => Vec::new(),
                    false => texts(tx, &sql::SEGMENTED, &batch.images).await?,
                };
                Ok(Done {
                    value: Ok(Enqueued {
                        batch: name.clone(),
                        items: items.clone(),
                        segmented,
                    }),
                    changed: items,
                })
            }
            .boxed()
        })
        .await
    }

    /// Adds items, in the caller's next turns. `of_batch`: its name, and whether images with a result
    /// are wanted.
    async fn add(
        &self,
        tx: &mut Tx,
        project: &str,
        images: &[String],
        caller: &Caller,
        order: &Order,
        of_batch: Option<(&str, bool)>,
    ) -> Result<Result<Vec<Item>, NotEnqueued>, DbError> {
        let stats = counted(tx, project).await?;
        let room = i64::from(self.config.items_max) - stats.queued - stats.processing;
        if i64::try_from(images.len()).map_or(true, |wanted| wanted > room) {
            return Ok(Err(NotEnqueued::TooMany));
        }
        let named = images
            .iter()
            .map(|image| (Uuid::new_v4().to_string(), image));
        let named = serde_json::json!(named.collect::<Vec<_>>()).to_string();
        let (user, priority) = (Param::Text(&caller.user), Param::Int(order.priority));
        let turn = tx.fetch_optional(&sql::TURN, &[user, priority]).await?;
        let params = [
            Param::Text(&named),
            Param::Text(project),
            user,
            Param::OptText(of_batch.map(|(name, _)| name)),
            Param::Text(&order.model),
            Param::Text(order.threshold.as_str()),
            Param::Bool(order.detect_holes),
            priority,
            Param::Int(turn.ok_or(STRANGE)?.int(0)?),
            Param::Int(of_batch.is_none_or(|(_, force)| force).into()),
        ];
        let mut added = items(&tx.fetch_all(&sql::ENQUEUE, &params).await?)?;
        added.sort_by_key(|item| item.place);
        tell(tx, Step::Enqueue, &mut added).await?;
        Ok(Ok(added))
    }

    /// Cancels an item, if it has not ended. Returns it as it is now, and whether this has changed it.
    pub(super) async fn cancel(
        &self,
        id: String,
        caller: Caller,
        reason: Option<String>,
    ) -> Result<Result<(Item, bool), Denied>, DbError> {
        let grace = millis(self.config.grace);
        let asked = Arc::new((id, caller, reason));
        self.change(move |tx| {
            let asked = asked.clone();
            async move {
                let (id, caller, reason) = &*asked;
                let before = match find(tx, id, caller).await? {
                    Some((item, right)) if right.covers(caller, &item.user) => item,
                    Some(_) => return Ok(Done::silent(Err(Denied::Forbidden))),
                    None => return Ok(Done::silent(Err(Denied::Absent))),
                };
                let params = cancel_params(id, grace, reason.as_deref());
                let changed = apply(tx, Step::Cancel, &sql::CANCEL, &params).await?;
                Ok(match changed.first() {
                    Some(item) => Done {
                        value: Ok((item.clone(), true)),
                        changed,
                    },
                    None => {
                        // It may have ended in between.
                        let now = find(tx, id, caller).await?.map(|(item, _)| item);
                        Done::silent(Ok((now.unwrap_or(before), false)))
                    }
                })
            }
            .boxed()
        })
        .await
    }

    /// Cancels many items, [`MANY_MAX`] at most.
    pub(super) async fn cancel_many(
        &self,
        which: Which,
        caller: Caller,
        reason: Option<String>,
    ) -> Result<Result<Cancelled, Denied>, DbError> {
        let grace = millis(self.config.grace);
        let asked = Arc::new((which, caller, reason));
        self.change(move |tx| {
            let asked = asked.clone();
            async move {
                let (which, caller, reason) = &*asked;
                let known = match which {
                    Which::Batch(batch) => of_batch(tx, batch).await?,
                    Which::Project { .. } | Which::Own => Vec::new(),
                };
                if let Err(denied) = may_cancel(tx, which, &known, caller).await? {
                    return Ok(Done::silent(Err(denied)));
                }
                let (statement, name) = match which {
                    Which::Batch(batch) => (&sql::CANCEL_BATCH, batch),
                    Which::Project { project, all: true } => (&sql::CANCEL_PROJECT, project),
                    Which::Project {
                        project,
                        all: false,
                    } => (&sql::CANCEL_OF_MEMBER, project),
                    Which::Own => (&sql::CANCEL_OF_USER, &caller.user),
                };
                let mut params = cancel_params(name, grace, reason.as_deref()).to_vec();
                if let Which::Project { all: false, .. } = which {
                    params.push(Param::Text(&caller.user));
                }
                let changed = apply(tx, Step::Cancel, statement, &params).await?;
                let unchanged = match which {
                    Which::Batch(batch) => {
                        let ids: HashSet<_> = changed.iter().map(|item| &item.id).collect();
                        let mut others = of_batch(tx, batch).await?;
                        others.retain(|other| !ids.contains(&other.id));
                        others
                    }
                    Which::Project { .. } | Which::Own => Vec::new(),
                };
                Ok(Done {
                    value: Ok(Cancelled {
                        changed: changed.clone(),
                        unchanged: unchanged
                            .into_iter()
                            .map(|one| (one.id, one.state))
                            .collect(),
                    }),
                    changed,
                })
            }
            .boxed()
        })
        .await
    }

    /// Cancels what is active of images that are gone.
    pub(super) async fn cancel_images(&self, images: &[String]) -> Result<(), DbError> {
        let images = serde_json::json!(images).to_string();
        let grace = millis(self.config.grace);
        let cancelled = self.change(move |tx| {
            let images = images.clone();
            async move {
                let params = cancel_params(&images, grace, Some("the image is gone"));
                let changed = apply(tx, Step::Cancel, &sql::CANCEL_IMAGES, &params).await?;
                Ok(Done::of(changed))
            }
            .boxed()
        });
        cancelled.await.map(drop)
    }

    /// Ends some of what is left of a project that is going. True: nothing of it is left.
    pub(super) async fn clear(&self, project: String) -> Result<bool, DbError> {
        let grace = millis(self.config.grace);
        let cancelled = self.change({
            let project = project.clone();
            move |tx| {
                let project = project.clone();
                async move {
                    let params = cancel_params(&project, grace, Some("the project is deleted"));
                    let changed = apply(tx, Step::Cancel, &sql::CANCEL_PROJECT, &params).await?;
                    Ok(Done::of(changed))
                }
                .boxed()
            }
        });
        if cancelled.await? >= MANY_MAX {
            return Ok(false);
        }
        // Where the module is not mounted nobody else does it.
        self.reap().await?;
        let cleared = self.db.write(move |tx| {
            let project = project.clone();
            async move {
                let this = [Param::Text(&project), Param::Int(SWEPT_MAX)];
                // Whoever works on one is told first.
                if tx
                    .fetch_optional(&sql::IS_CLAIMED, &this[..1])
                    .await?
                    .is_some()
                {
                    return Ok(false);
                }
                let items = tx.execute(&sql::CLEAR_ITEMS, &this).await?;
                let results = tx.execute(&sql::CLEAR_RESULTS, &this).await?;
                if items + results > 0 {
                    return Ok(false);
                }
                tx.execute(&sql::CLEAR_COUNT, &this[..1]).await?;
                Ok(true)
            }
            .boxed()
        });
        cleared.await
    }

    /// Takes items away that have been processed for so many milliseconds. `user`: only his.
    pub(super) async fn reset(&self, after: i64, user: Option<String>) -> Result<usize, DbError> {
        let reset = self.change(move |tx| {
            let user = user.clone();
            async move {
                let params = [
                    Param::Int(ATTEMPTS_MAX),
                    Param::Text("it took too long, as the times before"),
                    Param::Int(after),
                    Param::OptText(user.as_deref()),
                    Param::Int(MANY_MAX as i64),
                ];
                let changed = apply(tx, Step::Leave, &sql::RESET, &params).await?;
                Ok(Done::of(changed))
            }
            .boxed()
        });
        reset.await
    }

    /// Forgets items that ended so many milliseconds ago. `user`: only his. Returns how many.
    pub(super) async fn forget(
        &self,
        after: i64,
        user: Option<String>,
        limit: i64,
    ) -> Result<u64, DbError> {
        let forgotten = self.db.write(move |tx| {
            let user = user.clone();
            async move {
                let user = Param::OptText(user.as_deref());
                let params = [Param::Int(after), user, Param::Int(limit)];
                tx.execute(&sql::FORGET, &params).await
            }
            .boxed()
        });
        forgotten.await
    }
}

/// Why a batch cannot be enqueued, if it cannot.
fn unfit(batch: &Batch, found: &[Image]) -> Option<NotEnqueued> {
    let found: HashMap<_, _> = found
        .iter()
        .map(|image| (image.id.as_str(), image))
        .collect();
    batch
        .images
        .iter()
        .find_map(|id| match found.get(id.as_str()) {
            Some(image) if image.project != batch.project => Some(NotEnqueued::Foreign(id.clone())),
            Some(image) if !image.is_complete => Some(NotEnqueued::Incomplete(id.clone())),
            Some(_) => None,
            None => Some(NotEnqueued::Foreign(id.clone())),
        })
}

/// An item that the caller may see, and his right in its project.
pub(super) async fn find(
    tx: &mut Tx,
    id: &str,
    caller: &Caller,
) -> Result<Option<(Item, Right)>, DbError> {
    let Some(row) = tx.fetch_optional(&sql::FIND, &[Param::Text(id)]).await? else {
        return Ok(None);
    };
    let item = item(&row)?;
    let right = right(tx, &item.project, caller).await?;
    Ok(right.map(|right| (item, right)))
}

/// One of a batch.
struct Member {
    id: String,
    project: String,
    user: String,
    state: State,
}

async fn of_batch(tx: &mut Tx, batch: &str) -> Result<Vec<Member>, DbError> {
    let rows = tx.fetch_all(&sql::BATCH, &[Param::Text(batch)]).await?;
    let member = |row: &Row| {
        Ok(Member {
            id: row.text(0)?.to_owned(),
            project: row.text(1)?.to_owned(),
            user: row.text(2)?.to_owned(),
            state: state(row.text(3)?)?,
        })
    };
    rows.iter().map(member).collect()
}

/// A batch is of one user, and in one project.
async fn may_cancel(
    tx: &mut Tx,
    which: &Which,
    batch: &[Member],
    caller: &Caller,
) -> Result<Result<(), Denied>, DbError> {
    let (project, owner) = match (which, batch.first()) {
        (Which::Own, _) => return Ok(Ok(())),
        (Which::Batch(_), None) => return Ok(Err(Denied::Absent)),
        (Which::Batch(_), Some(one)) => (&one.project, Some(&one.user)),
        (Which::Project { project, all: true }, _) => (project, None),
        (Which::Project { project, .. }, _) => (project, Some(&caller.user)),
    };
    let right = right(tx, project, caller).await?;
    Ok(match right {
        None => Err(Denied::Absent),
        Some(Right::Owner) => Ok(()),
        Some(right) => match owner.is_some_and(|owner| right.covers(caller, owner)) {
            true => Ok(()),
            false => Err(Denied::Forbidden),
        },
    })
}

fn cancel_params<'a>(which: &'a str, grace: i64, reason: Option<&'a str>) -> [Param<'a>; 4] {
    [
        Param::Text(which),
        Param::Int(grace),
        Param::OptText(reason),
        Param::Int(MANY_MAX as i64),
    ]
}

/// How many items of a project wait and are processed.
pub(super) async fn counted(tx: &mut Tx, project: &str) -> Result<Stats, DbError> {
    let row = tx
        .fetch_optional(&sql::COUNTED, &[Param::Text(project)])
        .await?;
    row.map_or(Ok(Stats::default()), |row| {
        Ok(Stats {
            queued: row.int(0)?,
            processing: row.int(1)?,
        })
    })
}

/// The first column of a statement about some images.
pub(super) async fn texts(
    tx: &mut Tx,
    statement: &sql::Sql,
    images: &[String],
) -> Result<Vec<String>, DbError> {
    let images = serde_json::json!(images).to_string();
    let rows = tx.fetch_all(statement, &[Param::Text(&images)]).await?;
    rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
}

/// Bounded so that the sum with any time of day still is a number of the database.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis())
        .unwrap_or(i64::MAX)
        .min(i64::MAX / 2)
}
