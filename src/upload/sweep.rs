//! What time and crashes leave to do: expire, release, forget, and find what belongs to nobody.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{self, Stream};
use futures_util::{FutureExt, StreamExt};

use super::Uploads;
use super::progress::Progress;
use super::store::{Due, StoreError};
use crate::id::UploadId;
use crate::work::{Next, Worker};

/// Uploads taken on in one step.
const BATCH: u32 = 256;

/// Of those, how many at the same time. What they wait for is mostly the disk.
const AT_ONCE: usize = 8;

/// A blob without a row is left alone for this long: it may be on its way to one.
const ORPHAN_AFTER: Duration = Duration::from_secs(3600);

/// Rounds (of about a second) between two looks at a shard of the store.
const ROUNDS_PER_SHARD: u32 = 15;

/// The module's worker.
pub(super) struct Sweeper {
    uploads: Arc<Uploads>,
    expiring: Walk,
    releasing: Walk,
    /// Rounds over all that is due.
    round: u32,
    shard: u8,
}

/// How far a round over the uploads for which something is due has come. What cannot be done for
/// one now is left to the next round: it must not hold up those that come after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    Begun,
    After(Due),
    Over,
}

impl Walk {
    fn behind(page: &[Due]) -> Self {
        match page.last() {
            Some(last) if page.len() == BATCH as usize => Self::After(*last),
            _ => Self::Over,
        }
    }

    /// Behind what the next page begins, if there is one.
    fn next(self) -> Option<Option<Due>> {
        match self {
            Self::Begun => Some(None),
            Self::After(last) => Some(Some(last)),
            Self::Over => None,
        }
    }
}

impl Sweeper {
    pub(super) fn new(uploads: &Arc<Uploads>) -> Self {
        Self {
            uploads: uploads.clone(),
            expiring: Walk::Begun,
            releasing: Walk::Begun,
            round: 0,
            shard: 0,
        }
    }

    async fn step(&mut self) -> Result<Next, StoreError> {
        if !self.uploads.store.has_room() {
            self.uploads.store.restore_room().await?;
        }
        if let Some(after) = self.expiring.next() {
            let page = self.uploads.store.expiring(after, BATCH).await?;
            self.uploads.expire_all(&page).await?;
            self.expiring = Walk::behind(&page);
        }
        if let Some(after) = self.releasing.next() {
            let page = self.uploads.store.releasable(after, BATCH).await?;
            self.uploads.finish_all(&page).await;
            self.releasing = Walk::behind(&page);
        }
        if (self.expiring, self.releasing) != (Walk::Over, Walk::Over) {
            return Ok(Next::Now);
        }
        (self.expiring, self.releasing) = (Walk::Begun, Walk::Begun);
        let census = self.uploads.store.census().await?;
        self.uploads
            .metrics
            .counted(census, self.uploads.live.len());
        self.round = self.round.wrapping_add(1);
        if self.round.is_multiple_of(ROUNDS_PER_SHARD) {
            self.uploads
                .store
                .forget(self.uploads.config.tombstone_keep)
                .await?;
            self.uploads.quarantine_orphans(self.shard).await?;
            self.shard = self.shard.wrapping_add(1);
        }
        Ok(Next::Later)
    }
}

impl Worker for Sweeper {
    fn name(&self) -> &'static str {
        "sweeper"
    }

    fn work(&mut self) -> BoxFuture<'_, Next> {
        async move {
            match self.step().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "sweep");
                    Next::Later
                }
            }
        }
        .boxed()
    }
}

impl Uploads {
    async fn expire_all(&self, page: &[Due]) -> Result<(), StoreError> {
        let expired = self.unless_stopped(page).map(|id| self.expire(id));
        let expired: Vec<_> = expired.buffer_unordered(AT_ONCE).collect().await;
        expired.into_iter().collect()
    }

    async fn finish_all(&self, page: &[Due]) {
        let finished = self.unless_stopped(page).map(|id| self.finish_free(id));
        finished.buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    /// The uploads of a page, but no more of them once the server stops.
    fn unless_stopped(&self, page: &[Due]) -> impl Stream<Item = UploadId> {
        let goes_on = |_: &UploadId| ready(self.scope.reason().is_none());
        stream::iter(page.iter().map(|due| due.id)).take_while(goes_on)
    }

    /// Ends an upload whose time is over. One that is being written to is left alone: its commits
    /// put its expiry off (row T65).
    async fn expire(&self, id: UploadId) -> Result<(), StoreError> {
        let scope = self.scope.child("expire");
        let Some(lease) = self.live.take_free(id, scope, Arc::new(Progress::new())) else {
            return Ok(());
        };
        let expired = self.store.expire(id).await?;
        drop(lease);
        if expired {
            self.metrics.expired();
            tracing::info!(upload = %id, "expired");
        }
        Ok(())
    }

    /// Moves blobs of one shard that have no row out of the way.
    async fn quarantine_orphans(&self, shard: u8) -> Result<(), StoreError> {
        let found = match self.blobs.scan(shard).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(shard, error = &error as &dyn std::error::Error, "scan");
                return Ok(());
            }
        };
        let orphan_ms = ORPHAN_AFTER.as_millis();
        let old: Vec<_> = found
            .into_iter()
            .filter(|f| u128::from(f.idle_ms) > orphan_ms)
            .collect();
        let ids: Vec<UploadId> = old.iter().filter_map(|found| found.id).collect();
        let known: HashSet<UploadId> = self.store.with_blob(ids).await?.into_iter().collect();
        for orphan in old
            .into_iter()
            .filter(|found| found.id.is_none_or(|id| !known.contains(&id)))
        {
            tracing::warn!(
                blob = orphan.name,
                "nothing refers to it: moved to quarantine"
            );
            if let Err(error) = self.blobs.quarantine(shard, orphan.name).await {
                tracing::error!(error = &error as &dyn std::error::Error, "quarantine");
            }
        }
        Ok(())
    }
}
