//! What goes with a project: what each module has in it.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_protocol::problem::Problem;

use crate::project::{Cleared, Contents};
use crate::{export, queue, upload};

/// What whoever still sends or reads is told.
const REASON: &str = "the project is deleted";

pub(super) struct Everything {
    pub(super) uploads: upload::Cancels,
    pub(super) queue: queue::Cancels,
    pub(super) exports: export::Cancels,
}

impl Contents for Everything {
    fn clear(&self, project: String) -> BoxFuture<'static, Result<Cleared, Problem>> {
        let (uploads, queue) = (self.uploads.clone(), self.queue.clone());
        let exports = self.exports.clone();
        async move {
            let are_exports_gone = exports.clear(project.clone()).await?;
            // Whoever works on an upload has it as long as he is at it.
            let are_uploads_gone =
                queue.clear(project.clone()).await? && uploads.clear(project, REASON).await?;
            Ok(match are_exports_gone && are_uploads_gone {
                true => Cleared::All,
                false => Cleared::Remaining,
            })
        }
        .boxed()
    }
}
