//! The way out of life: first the row, for good; then stop, destroy, confirm.
//!
//! A cancel and a deletion begin with one durable, irrevocable statement. What follows can be cut
//! short by a crash at any point: the row says what is left to do, and [`super::sweep`] does it.

use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::problem::Problem;

use super::progress::Progress;
use super::store::{CancelOutcome, State};
use super::{Uploads, refuse};
use crate::cancel::CancelReason;
use crate::id::UploadId;

/// How long a canceller waits for the confirmation.
const CONFIRM_WITHIN: Duration = Duration::from_millis(50);

impl Uploads {
    /// Ends the upload for good. Returns when that is durable and, unless it takes too long, when
    /// its stream has stopped and its bytes are gone.
    ///
    /// # Errors
    /// The problem to answer with: it does not exist, or can no longer be ended.
    ///
    /// # Cancel safety
    /// Once begun, it is finished whether or not the future is dropped.
    pub(super) async fn cancel(self: &Arc<Self>, id: UploadId) -> Result<(), Problem> {
        let begun = self
            .store
            .cancel(id, None)
            .await
            .map_err(|error| refuse::store(&error))?;
        match begun {
            CancelOutcome::Unknown | CancelOutcome::Already(State::Deleting) => {
                return Err(Problem::NotFound);
            }
            CancelOutcome::Already(State::Expired) => return Err(Problem::UploadExpired),
            CancelOutcome::Already(State::Failed) => return Err(Problem::UploadFailed),
            CancelOutcome::Already(_) => return Ok(()),
            CancelOutcome::Begun => {}
        }
        self.metrics.cancelled();
        let this = self.clone();
        let finish = self
            .scope
            .spawn(async move { this.finish(id, CancelReason::Requested).await });
        // Whether it is confirmed in time or later, it is cancelled.
        if tokio::time::timeout(CONFIRM_WITHIN, finish).await.is_err() {
            tracing::debug!(upload = %id, "the confirmation of a cancel takes long");
        }
        Ok(())
    }

    /// Stops whoever still writes to an ended upload, then removes its bytes.
    pub(super) async fn finish(&self, id: UploadId, reason: CancelReason) {
        let scope = self.scope.child("end");
        let progress = Arc::new(Progress::new());
        match self.admit(id, scope, progress, reason).await {
            // Held, so that no attempt opens the blob while it goes.
            Ok(_lease) => self.release(id).await,
            // Somebody else sees to it.
            Err(Problem::UploadSuperseded) => {}
            // The sweeper comes back to it.
            Err(problem) => tracing::warn!(upload = %id, ?problem, "the writer does not stop"),
        }
    }

    /// Removes the bytes of an ended upload, unless something else refers to them, and says so in
    /// its row. The caller holds the upload's lease.
    async fn release(&self, id: UploadId) {
        let released = async {
            if !self
                .store
                .may_release(id)
                .await
                .map_err(|error| refuse::store(&error))?
            {
                return Ok(());
            }
            self.has_settled(id);
            let bytes = self
                .blobs
                .delete(id)
                .await
                .map_err(|error| refuse::blob(&error))?;
            self.store
                .released(id, bytes)
                .await
                .map_err(|error| refuse::store(&error))?;
            self.metrics.released(bytes);
            tracing::debug!(upload = %id, bytes, "released");
            Ok::<(), Problem>(())
        };
        if let Err(problem) = released.await {
            tracing::error!(upload = %id, ?problem, "removing the bytes of an ended upload");
        }
    }
}
