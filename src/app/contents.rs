//! What goes with a project: what each module has in it.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_protocol::problem::Problem;

use crate::project::{Cleared, Contents};
use crate::upload::Cancels;

/// What whoever still sends or reads is told.
const REASON: &str = "the project is deleted";

pub(super) struct Everything {
    pub(super) uploads: Cancels,
}

impl Contents for Everything {
    fn clear(&self, project: String) -> BoxFuture<'static, Result<Cleared, Problem>> {
        let uploads = self.uploads.clone();
        async move {
            Ok(match uploads.clear(project, REASON).await? {
                true => Cleared::All,
                false => Cleared::Remaining,
            })
        }
        .boxed()
    }
}
