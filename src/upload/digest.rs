//! The SHA-256 of final uploads.
//!
//! An upload that is appended to is hashed as it comes in. A final upload is made of rows, in no
//! particular order of arrival, so its digest is computed afterwards, in the background, from its
//! parts' bytes. Until then it has no `ETag`.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Uploads;
use super::store::StoreError;
use crate::blob::{BlobError, Digests};
use crate::id::UploadId;
use crate::work::{Next, Worker};

/// Final uploads taken on in one step.
const BATCH: u32 = 16;

/// Bytes read and hashed at a time.
const READ_BYTES: u64 = 1024 * 1024;

/// The worker that computes them.
pub(super) struct FinalDigests {
    uploads: Arc<Uploads>,
    /// Uploads whose bytes could not be read; not tried again in this run.
    unreadable: HashSet<UploadId>,
}

impl FinalDigests {
    pub(super) fn new(uploads: &Arc<Uploads>) -> Self {
        Self {
            uploads: uploads.clone(),
            unreadable: HashSet::new(),
        }
    }

    async fn step(&mut self) -> Result<Next, StoreError> {
        let skipped = u32::try_from(self.unreadable.len()).unwrap_or(u32::MAX);
        let found = self
            .uploads
            .store
            .undigested(BATCH.saturating_add(skipped))
            .await?;
        let mut next = Next::Later;
        for id in found
            .into_iter()
            .filter(|id| !self.unreadable.contains(id))
            .collect::<Vec<_>>()
        {
            match self.digest(id).await? {
                Ok(sha256) => {
                    self.uploads.store.digested(id, sha256).await?;
                    next = Next::Now;
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(upload = %id, error, "no digest of a final upload");
                    self.unreadable.insert(id);
                }
            }
        }
        Ok(next)
    }

    /// The SHA-256 of all parts in order, in hexadecimal.
    async fn digest(&self, id: UploadId) -> Result<Result<String, BlobError>, StoreError> {
        let mut digests = Digests::sha256();
        for part in self.uploads.store.parts(id).await? {
            let mut at = 0;
            while at < part.offset {
                let to = part.offset.min(at + READ_BYTES);
                let bytes = match self.uploads.blobs.read(part.id, at..to).await {
                    Ok(bytes) => bytes,
                    Err(error) => return Ok(Err(error)),
                };
                let hashed = tokio::task::spawn_blocking(move || {
                    digests.update(&bytes);
                    digests
                });
                digests = match hashed.await {
                    Ok(digests) => digests,
                    Err(error) => return Ok(Err(BlobError::Io(std::io::Error::other(error)))),
                };
                at = to;
            }
        }
        Ok(Ok(digests.whole_hex().unwrap_or_default()))
    }
}

impl Worker for FinalDigests {
    fn name(&self) -> &'static str {
        "digests"
    }

    fn prepare(&mut self) -> BoxFuture<'_, Result<(), Box<dyn std::error::Error + Send + Sync>>> {
        async { Ok(()) }.boxed()
    }

    fn work(&mut self) -> BoxFuture<'_, Next> {
        async move {
            if !self.uploads.config.digest {
                return Next::Never;
            }
            match self.step().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "digests");
                    Next::Later
                }
            }
        }
        .boxed()
    }
}
