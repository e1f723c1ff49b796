//! What nobody asks for: leases that have ended, images that are gone, items that nobody needs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Queue;
use super::statement::{self as sql, Sql};
use super::store::{SWEPT_MAX, Store, millis};
use crate::db::{DbError, Param};
use crate::work::{Next, Worker};

/// Steps, a second apart at most, between two looks for items to forget.
const STEPS_PER_FORGETTING: u32 = 60;

/// Looks after the queue.
pub(super) struct Sweeper {
    queue: Arc<Queue>,
    steps: u32,
    /// The images up to which it has been seen that they are there.
    items_seen: String,
    results_seen: String,
}

impl Sweeper {
    pub(super) fn new(queue: &Arc<Queue>) -> Self {
        Self {
            queue: queue.clone(),
            steps: 0,
            items_seen: String::new(),
            results_seen: String::new(),
        }
    }

    async fn step(&mut self) -> Result<Next, DbError> {
        let store = &self.queue.store;
        let reaped = store.reap().await?;
        if reaped > 0 {
            tracing::info!(items = reaped, "took items away whose lease had ended");
        }
        if reaped >= SWEPT_MAX as usize {
            return Ok(Next::Now);
        }
        let gone = store.gone(&sql::WALK_ITEMS, &mut self.items_seen).await?;
        if !gone.is_empty() {
            store.cancel_images(&gone).await?;
        }
        if self.steps == 0 {
            let gone = store
                .gone(&sql::WALK_RESULTS, &mut self.results_seen)
                .await?;
            if !gone.is_empty() {
                store.drop_results(&gone).await?;
            }
            let keep = millis(self.queue.config.keep);
            if store.forget(keep, None, SWEPT_MAX).await? >= SWEPT_MAX as u64 {
                return Ok(Next::Now);
            }
        }
        self.steps = (self.steps + 1) % STEPS_PER_FORGETTING;
        Ok(match store.first_end().await? {
            Some(left) => Next::In(Duration::from_millis(left.max(1).unsigned_abs())),
            None => Next::Later,
        })
    }
}

impl Store {
    /// Images of the next page of `walk` that are not there.
    async fn gone(&self, walk: &'static Sql, seen: &mut String) -> Result<Vec<String>, DbError> {
        let read = self.db.read(|tx| {
            let (this, seen) = (self.clone(), seen.clone());
            async move {
                let params = [Param::Text(&seen), Param::Int(SWEPT_MAX)];
                let rows = tx.fetch_all(walk, &params).await?;
                let ids = rows.iter().map(|row| Ok(row.text(0)?.to_owned()));
                let ids: Vec<String> = ids.collect::<Result<_, DbError>>()?;
                let mut images = this.images.find(tx, &ids).await?;
                images.retain(|image| image.is_complete);
                let there: HashSet<_> = images.into_iter().map(|image| image.id).collect();
                let last = ids.last().cloned().unwrap_or_default();
                Ok((
                    ids.into_iter().filter(|id| !there.contains(id)).collect(),
                    last,
                ))
            }
            .boxed()
        });
        let (gone, last) = read.await?;
        // From the beginning again after the last page.
        *seen = last;
        Ok(gone)
    }

    async fn drop_results(&self, images: &[String]) -> Result<(), DbError> {
        let images = serde_json::json!(images).to_string();
        let dropped = self.db.write(move |tx| {
            let images = images.clone();
            async move {
                tx.execute(&sql::DROP_RESULTS, &[Param::Text(&images)])
                    .await
            }
            .boxed()
        });
        dropped.await.map(drop)
    }

    /// How long the first lease lasts that is to end, in milliseconds.
    async fn first_end(&self) -> Result<Option<i64>, DbError> {
        let read = self
            .db
            .read(|tx| async move { tx.fetch_optional(&sql::FIRST_END, &[]).await }.boxed());
        read.await?.map_or(Ok(None), |row| row.opt_int(0))
    }
}

impl Worker for Sweeper {
    fn name(&self) -> &'static str {
        "queue"
    }

    fn work(&mut self) -> BoxFuture<'_, Next> {
        async move {
            self.step().await.unwrap_or_else(|error| {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "looking after the queue");
                Next::Later
            })
        }
        .boxed()
    }
}
