//! Bytes past the committed offset, after a crash.
//!
//! While the kernel is the same, what the dead process had written is still in the page cache: it
//! is adopted, hashing only it. After a reboot nothing is known about it, and the next writer
//! cuts it. Which of the two is decided once, at the start.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_protocol::problem::Problem;
use tidegate_protocol::upload::{Commit, Mark};

use super::progress::Progress;
use super::store::{Advance, Advanced, Seen, State, StoreError, Upload};
use super::{Uploads, refuse};
use crate::auth::Caller;
use crate::blob::{BlobError, BlobWriter, Digests};
use crate::id::UploadId;
use crate::work::{Next, Worker};

/// How long somebody who asks waits for a tail to be adopted.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);

/// How often somebody who waits looks whether the holder has left.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Uploads looked at in one step of the scan at the start.
const SCAN_PAGE: u32 = 1_000;

/// Brings an upload's row up to what its blob holds, if it is one whose tail may be good. The
/// caller holds the upload's lease and has made no writer yet.
pub(super) async fn adopt(uploads: &Uploads, upload: Upload) -> Result<Upload, Problem> {
    let id = upload.id;
    if !uploads.is_unsettled(id) {
        return Ok(upload);
    }
    // What was read before may be from before a commit that is still on its way.
    let found = uploads.store.find_settled(id).await;
    let upload = found.map_err(|error| refuse::store(&error))?;
    let upload = upload.ok_or(Problem::NotFound)?;
    if let Some(problem) = refuse::ended(&upload) {
        return Err(problem);
    }
    let adopted = match upload.state {
        State::Uploading => adopt_tail(uploads, upload).await?,
        _ => upload,
    };
    uploads.has_settled(id);
    Ok(adopted)
}

async fn adopt_tail(uploads: &Uploads, mut upload: Upload) -> Result<Upload, Problem> {
    let id = upload.id;
    let end_max = upload
        .length
        .unwrap_or_else(|| uploads.config.settings.limits.upload_bytes_max());
    let digests = Digests::resume(upload.digest.as_deref()).map_err(|error| {
        tracing::error!(upload = %id, %error, "digest state");
        Problem::Internal
    })?;
    let blob = uploads.blobs.writer(id, upload.offset);
    let (digests, end) = match blob.clone().adopt(end_max, digests).await {
        Ok(adopted) => adopted,
        Err(error) => {
            if matches!(error, BlobError::Short { .. }) {
                uploads.lost(id).await;
            }
            return Err(refuse::blob(&error));
        }
    };
    if end == upload.offset {
        return Ok(upload);
    }
    // Or else only its sender can say that it is complete.
    let completes = upload.facts().completes_at_length() && upload.length == Some(end);
    if let Err(error) = blob.clone().sync().await {
        cut_uncommitted(&blob, id, upload.offset).await;
        return Err(refuse::blob(&error));
    }
    let advance = Advance {
        id,
        epoch: upload.epoch,
        commit: Commit {
            from: upload.offset,
            to: end,
            length: None,
            mark: if completes {
                Mark::Completed
            } else {
                Mark::Open
            },
        },
        digest: digests.save().filter(|_| !completes),
        sha256: digests.whole_hex().filter(|_| completes),
        expires_after: uploads.config.expires_after,
        size_max: uploads.config.settings.limits.upload_bytes_max(),
    };
    let advanced = uploads.store.advance(advance.clone()).await;
    match advanced.map_err(|error| refuse::store(&error))? {
        Advanced::Committed { expires_at } => {
            tracing::info!(upload = %id, bytes = end - upload.offset, "adopted after a crash");
            upload.offset = end;
            upload.expires_at = expires_at;
            upload.digest = advance.digest;
            upload.sha256 = advance.sha256;
            if completes {
                upload.state = State::Completed;
            }
            Ok(upload)
        }
        Advanced::Refused => Err(Problem::UploadSuperseded),
        Advanced::OverQuota(_) => {
            cut_uncommitted(&blob, id, upload.offset).await;
            Ok(upload)
        }
    }
}

/// Removes what must never be adopted: what a failed sync has left, since the kernel may have dropped
/// it, and the next sync, even on another descriptor, may succeed all the same; and what a project has
/// no room for.
pub(super) async fn cut_uncommitted(blob: &Arc<dyn BlobWriter>, id: UploadId, committed: u64) {
    let failed = |error: BlobError, step: &str| {
        tracing::error!(upload = %id, error = &error as &dyn std::error::Error, step, "removing what is not committed");
    };
    if let Err(error) = blob.clone().truncate(committed).await {
        failed(error, "cut");
        // What is marked is cut by whoever opens it next.
        if let Err(error) = blob.clone().stage().await {
            failed(error, "mark");
        }
    }
}

impl Uploads {
    /// The upload as it stands, as `caller` may see it, with its tail adopted if that is still to be
    /// done. Disturbs nobody: whoever holds the upload has adopted its tail, or is about to, and is
    /// waited for.
    ///
    /// # Errors
    /// [`Problem::NotFound`], and [`Problem::UploadBusy`] if that takes too long.
    pub(super) async fn settled(
        self: &Arc<Self>,
        id: UploadId,
        caller: &Caller,
    ) -> Result<Seen, Problem> {
        if self.is_unsettled(id) {
            // Nobody else waits for it, or has it done.
            self.seen(id, caller).await?;
            let settling = tokio::time::timeout(SETTLE_WITHIN, self.settle(id));
            settling.await.unwrap_or(Err(Problem::UploadBusy))?;
        }
        self.seen(id, caller).await
    }

    async fn settle(self: &Arc<Self>, id: UploadId) -> Result<(), Problem> {
        let mut unsettled = self.unsettled.subscribe();
        while unsettled.borrow_and_update().contains(&id) {
            let scope = self.scope.child("recover");
            let progress = Arc::new(Progress::new());
            if let Some(lease) = self.live.take_free(id, scope.clone(), progress) {
                let this = self.clone();
                // As a task: a client that leaves must not leave half of it behind.
                let task = scope.spawn(async move {
                    let _lease = lease;
                    this.settle_tail(id).await
                });
                return task.await.unwrap_or(Err(Problem::Internal));
            }
            // It tells when it has adopted the tail. One that leaves without is found by looking again.
            drop(tokio::time::timeout(LOOK_AGAIN, unsettled.changed()).await);
        }
        Ok(())
    }

    /// Adopts the tail of an upload, if there still is one to go on with. The caller holds its
    /// lease.
    async fn settle_tail(&self, id: UploadId) -> Result<(), Problem> {
        let found = self.store.find(id).await;
        match found.map_err(|error| refuse::store(&error))? {
            Some(upload) if refuse::ended(&upload).is_none() => adopt(self, upload).await.map(drop),
            _ => {
                self.has_settled(id);
                Ok(())
            }
        }
    }

    /// Finds the uploads whose blob is not as long as its row says, with what is committed of
    /// each. To be done before the first request; costs one look at each unfinished upload.
    ///
    /// # Errors
    /// The database failed.
    async fn find_tails(&self) -> Result<Vec<(UploadId, u64)>, StoreError> {
        let mut tails = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.open(after, SCAN_PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(tails);
            };
            after = Some(*last);
            let lens = self.blobs.lens(page.iter().map(|(id, _)| *id).collect());
            for ((id, committed), len) in page.into_iter().zip(lens.await) {
                match len {
                    Ok(found) if found.unwrap_or(0) == committed => {}
                    // What cannot be looked at now is looked at when it is asked for.
                    Ok(_) | Err(_) => tails.push((id, committed)),
                }
            }
        }
    }

    /// Cuts a tail that nothing is known about. Not left to the next writer: a crash before it
    /// comes would make this tail look like one of this run.
    async fn cut_tail(&self, id: UploadId, committed: u64) -> Result<(), BlobError> {
        match self
            .blobs
            .writer(id, committed)
            .adopt(committed, Digests::none())
            .await
        {
            // Too short is noticed, and said, when it is asked for.
            Ok(_) | Err(BlobError::Short { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Adopts in the background what no request has asked for yet.
pub(super) struct Tails {
    uploads: Arc<Uploads>,
    good: bool,
    /// What has not been tried yet.
    left: Vec<UploadId>,
}

impl Tails {
    pub(super) fn new(uploads: &Arc<Uploads>, good: bool) -> Self {
        Self {
            uploads: uploads.clone(),
            good,
            left: Vec::new(),
        }
    }
}

impl Worker for Tails {
    fn name(&self) -> &'static str {
        "tails"
    }

    fn prepare(&mut self) -> BoxFuture<'_, Result<(), Box<dyn std::error::Error + Send + Sync>>> {
        async move {
            let tails = self.uploads.find_tails().await?;
            if self.good {
                tracing::info!(
                    uploads = tails.len(),
                    "bytes past a committed offset: to be adopted"
                );
                self.left = tails.into_iter().map(|(id, _)| id).collect();
                self.uploads.unsettle(self.left.iter().copied());
            } else {
                tracing::info!(uploads = tails.len(), "bytes past a committed offset: cut");
                for (id, committed) in tails {
                    self.uploads.cut_tail(id, committed).await?;
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn work(&mut self) -> BoxFuture<'_, Next> {
        async move {
            let Some(id) = self.left.pop() else {
                return Next::Never;
            };
            let scope = self.uploads.scope.child("recover");
            // Whoever holds it has adopted its tail, or is about to.
            let lease = self
                .uploads
                .live
                .take_free(id, scope, Arc::new(Progress::new()));
            if lease.is_some()
                && let Err(problem) = self.uploads.settle_tail(id).await
            {
                // It stays for whoever asks for it; the others must not wait for it.
                tracing::warn!(upload = %id, ?problem, "adopting");
            }
            Next::Now
        }
        .boxed()
    }
}
