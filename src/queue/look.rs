//! What there is to see of the queue.

use std::sync::Arc;

use futures_util::FutureExt;

use super::Image;
use super::change::statuses;
use super::event::Stats;
use super::item::{Item, STRANGE, State, image_status, items};
use super::statement as sql;
use super::store::{Store, counted, find};
use crate::access::right;
use crate::auth::Caller;
use crate::db::{DbError, Param, Row, Tx};
use crate::http::Page;

/// Which items of a project to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) project: String,
    pub(super) states: Vec<State>,
    pub(super) among: Among,
}

/// Among which items of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Among {
    All,
    OfImage(String),
    OfBatch(String),
}

/// How the whole queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Health {
    /// Items of each state, in the order of [`State::ALL`].
    pub(super) items: [i64; 6],
    /// Those that have been processed for long.
    pub(super) stuck: i64,
    pub(super) oldest_queued_at: Option<i64>,
    pub(super) now: i64,
}

/// The last result of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) item: String,
    pub(super) model: String,
    pub(super) threshold: String,
    pub(super) detect_holes: bool,
    pub(super) report: String,
    pub(super) created_at: i64,
}

/// A cancelled item of which its worker may not know yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outstanding {
    pub(super) item: String,
    pub(super) fence: i64,
    pub(super) reason: Option<String>,
    /// What is left of the time to end in, in milliseconds.
    pub(super) grace: i64,
}

/// An image, and its status.
pub(super) type Shown = (Image, &'static str);

impl Store {
    /// An item, if the caller may see it.
    pub(super) async fn find(&self, id: &str, caller: &Caller) -> Result<Option<Item>, DbError> {
        let found = self.db.read(|tx| {
            let (id, caller) = (id.to_owned(), caller.clone());
            async move { find(tx, &id, &caller).await }.boxed()
        });
        Ok(found.await?.map(|(item, _)| item))
    }

    /// A page of items, newest first, and how many there are altogether. `None`: for the caller there
    /// is no such project.
    pub(super) async fn list(
        &self,
        listed: Listed,
        caller: &Caller,
        page: &Page,
    ) -> Result<Option<(Vec<Item>, u64)>, DbError> {
        let listed = Arc::new(listed);
        let [limit, skip] = page.bounds();
        let read = self.db.read(|tx| {
            let (listed, caller) = (listed.clone(), caller.clone());
            async move {
                if right(tx, &listed.project, &caller).await?.is_none() {
                    return Ok(None);
                }
                let states: Vec<_> = listed.states.iter().map(|state| state.as_str()).collect();
                let states = serde_json::json!(states).to_string();
                let ([count, list], name) = match &listed.among {
                    Among::All => (sql::LIST, None),
                    Among::OfImage(image) => (sql::LIST_OF_IMAGE, Some(image)),
                    Among::OfBatch(batch) => (sql::LIST_OF_BATCH, Some(batch)),
                };
                let params = [
                    Param::Text(&listed.project),
                    Param::Text(&states),
                    Param::OptText(name.map(String::as_str)),
                    Param::Int(limit),
                    Param::Int(skip),
                ];
                let total = tx.fetch_optional(count, &params[..3]).await?;
                let total = total.ok_or(STRANGE)?.int(0)?;
                let rows = tx.fetch_all(list, &params).await?;
                Ok(Some((items(&rows)?, u64::try_from(total).unwrap_or(0))))
            }
            .boxed()
        });
        read.await
    }

    /// How many items of a project wait and are processed. `None`: for the caller there is no such
    /// project.
    pub(super) async fn stats(
        &self,
        project: &str,
        caller: &Caller,
    ) -> Result<Option<Stats>, DbError> {
        let read = self.db.read(|tx| {
            let (project, caller) = (project.to_owned(), caller.clone());
            async move {
                match right(tx, &project, &caller).await? {
                    Some(_) => counted(tx, &project).await.map(Some),
                    None => Ok(None),
                }
            }
            .boxed()
        });
        read.await
    }

    /// How many items of a user wait and are processed, wherever they are.
    pub(super) async fn stats_of(&self, user: &str) -> Result<Stats, DbError> {
        let read = self.db.read(|tx| {
            let user = user.to_owned();
            async move {
                let params = [Param::Text(&user)];
                tx.fetch_optional(&sql::COUNT_OF_USER, &params).await
            }
            .boxed()
        });
        let row = read.await?.ok_or(STRANGE)?;
        Ok(Stats {
            queued: row.int(0)?,
            processing: row.int(1)?,
        })
    }

    /// How the whole queue is. An item is stuck that has been processed for so many milliseconds.
    pub(super) async fn health(&self, stuck_after: i64) -> Result<Health, DbError> {
        let read = self.db.read(|tx| {
            async move {
                tx.fetch_optional(&sql::HEALTH, &[Param::Int(stuck_after)])
                    .await
            }
            .boxed()
        });
        let row = read.await?.ok_or(STRANGE)?;
        let mut items = [0; 6];
        for (column, count) in items.iter_mut().enumerate() {
            *count = row.int(column)?;
        }
        Ok(Health {
            items,
            stuck: row.int(6)?,
            oldest_queued_at: row.opt_int(7)?,
            now: row.int(8)?,
        })
    }

    /// The result of an image. `None`: for the caller there is no such image; within it: it has none.
    pub(super) async fn result(
        &self,
        image: &str,
        caller: &Caller,
    ) -> Result<Option<Option<Saved>>, DbError> {
        let read = self.db.read(|tx| {
            let (this, image, caller) = (self.clone(), image.to_owned(), caller.clone());
            async move {
                if this.image(tx, &image, &caller).await?.is_none() {
                    return Ok(None);
                }
                let row = tx
                    .fetch_optional(&sql::RESULT, &[Param::Text(&image)])
                    .await?;
                Ok(Some(row.as_ref().map(saved).transpose()?))
            }
            .boxed()
        });
        read.await
    }

    /// An image and its status, if the caller may see it.
    pub(super) async fn show(
        &self,
        image: &str,
        caller: &Caller,
    ) -> Result<Option<Shown>, DbError> {
        let read = self.db.read(|tx| {
            let (this, image, caller) = (self.clone(), image.to_owned(), caller.clone());
            async move {
                match this.image(tx, &image, &caller).await? {
                    Some(image) => Ok(with_statuses(tx, vec![image]).await?.pop()),
                    None => Ok(None),
                }
            }
            .boxed()
        });
        read.await
    }

    /// A page of a project's images, newest first, and how many there are altogether. `None`: for the
    /// caller there is no such project.
    pub(super) async fn show_all(
        &self,
        project: &str,
        caller: &Caller,
        page: &Page,
    ) -> Result<Option<(Vec<Shown>, u64)>, DbError> {
        let bounds = page.bounds();
        let read = self.db.read(|tx| {
            let (this, project, caller) = (self.clone(), project.to_owned(), caller.clone());
            async move {
                if right(tx, &project, &caller).await?.is_none() {
                    return Ok(None);
                }
                let (images, total) = this.images.list(tx, &project, bounds).await?;
                Ok(Some((with_statuses(tx, images).await?, total)))
            }
            .boxed()
        });
        read.await
    }

    /// What a worker is to be told.
    pub(super) async fn outstanding(
        &self,
        worker: &str,
        holder: &str,
    ) -> Result<Vec<Outstanding>, DbError> {
        let read = self.db.read(|tx| {
            let (worker, holder) = (worker.to_owned(), holder.to_owned());
            async move {
                let params = [Param::Text(&worker), Param::Text(&holder)];
                tx.fetch_all(&sql::OUTSTANDING, &params).await
            }
            .boxed()
        });
        let outstanding = |row: &Row| {
            Ok(Outstanding {
                item: row.text(0)?.to_owned(),
                fence: row.int(1)?,
                reason: row.opt_text(2)?.map(str::to_owned),
                grace: row.opt_int(3)?.unwrap_or(0).max(0),
            })
        };
        read.await?.iter().map(outstanding).collect()
    }

    /// A complete image that the caller may see.
    async fn image(
        &self,
        tx: &mut Tx,
        image: &str,
        caller: &Caller,
    ) -> Result<Option<Image>, DbError> {
        let found = self.images.find(tx, &[image.to_owned()]).await?.pop();
        let Some(found) = found.filter(|image| image.is_complete) else {
            return Ok(None);
        };
        let right = right(tx, &found.project, caller).await?;
        Ok(right.map(|_| found))
    }
}

async fn with_statuses(tx: &mut Tx, images: Vec<Image>) -> Result<Vec<Shown>, DbError> {
    let ids: Vec<_> = images.iter().map(|image| image.id.clone()).collect();
    let statuses = statuses(tx, &ids).await?;
    let with_status = |image: Image| {
        let (last, has_result) = statuses.get(&image.id).copied().unwrap_or_default();
        (image, image_status(last, has_result))
    };
    Ok(images.into_iter().map(with_status).collect())
}

fn saved(row: &Row) -> Result<Saved, DbError> {
    Ok(Saved {
        item: row.text(0)?.to_owned(),
        model: row.text(1)?.to_owned(),
        threshold: row.text(2)?.to_owned(),
        detect_holes: row.bool(3)?,
        report: row.text(4)?.to_owned(),
        created_at: row.int(5)?,
    })
}
