//! What time and crashes leave to do: expire, release, forget, and find what belongs to nobody.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Uploads;
use super::progress::Progress;
use super::store::StoreError;
use crate::cancel::CancelReason;
use crate::id::UploadId;
use crate::work::{Next, Worker};

/// Uploads taken on in one step.
const BATCH: u32 = 256;

/// A blob without a row is left alone for this long: it may be on its way to one.
const ORPHAN_AFTER: Duration = Duration::from_secs(3600);

/// Steps (of about a second) between two looks at a shard of the store.
const STEPS_PER_SHARD: u32 = 15;

/// The module's worker.
pub(super) struct Sweeper {
    uploads: Arc<Uploads>,
    step: u32,
    shard: u8,
}

impl Sweeper {
    pub(super) fn new(uploads: &Arc<Uploads>) -> Self {
        Self {
            uploads: uploads.clone(),
            step: 0,
            shard: 0,
        }
    }

    async fn step(&mut self) -> Result<Next, StoreError> {
        if !self.uploads.store.has_room() {
            self.uploads.store.restore_room().await?;
        }
        let expiring = self.uploads.store.expiring(None, BATCH).await?;
        let mut expired = false;
        for due in &expiring {
            expired |= self.uploads.expire(due.id).await?;
        }
        let releasable = self.uploads.store.releasable(None, BATCH).await?;
        for due in &releasable {
            self.uploads.finish(due.id, CancelReason::Requested).await;
        }
        self.step = self.step.wrapping_add(1);
        if self.step.is_multiple_of(STEPS_PER_SHARD) {
            self.uploads
                .store
                .forget(self.uploads.config.tombstone_keep)
                .await?;
            self.uploads.quarantine_orphans(self.shard).await?;
            self.shard = self.shard.wrapping_add(1);
        }
        // A full batch that made no headway must not spin.
        let more = expired && expiring.len() == BATCH as usize;
        Ok(if more { Next::Now } else { Next::Later })
    }
}

impl Worker for Sweeper {
    fn name(&self) -> &'static str {
        "sweeper"
    }

    fn prepare(&mut self) -> BoxFuture<'_, Result<(), Box<dyn std::error::Error + Send + Sync>>> {
        async { Ok(()) }.boxed()
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
    /// Ends an upload whose time is over. One that is being written to is left alone: its commits
    /// put its expiry off (row T65). Returns whether it was ended.
    async fn expire(&self, id: UploadId) -> Result<bool, StoreError> {
        let scope = self.scope.child("expire");
        let Some(lease) = self.live.take_free(id, scope, Arc::new(Progress::new())) else {
            return Ok(false);
        };
        let expired = self.store.expire(id).await?;
        drop(lease);
        if expired {
            self.metrics.expired();
            tracing::info!(upload = %id, "expired");
        }
        Ok(expired)
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
