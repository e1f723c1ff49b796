//! What a reader of the feeds may cancel: each operation by the module that runs it.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use tidegate_protocol::problem::Problem;

use crate::auth::Caller;
use crate::feed::{Cancel, CancelCall};
use crate::{export, queue, upload};

#[derive(Debug)]
pub(super) struct Cancels {
    pub(super) uploads: upload::Cancels,
    /// `None`: there is no queue.
    pub(super) queue: Option<queue::Cancels>,
    /// `None`: there are no exports.
    pub(super) exports: Option<export::Cancels>,
}

impl Cancel for Cancels {
    fn cancel(
        &self,
        caller: Caller,
        call: CancelCall,
    ) -> BoxFuture<'static, Result<Value, Problem>> {
        let (uploads, queue) = (self.uploads.clone(), self.queue.clone());
        let exports = self.exports.clone();
        let cancelling = async move {
            let CancelCall {
                operation,
                id,
                reason,
            } = call;
            match (operation.as_str(), queue, exports) {
                ("upload", _, _) => json(&uploads.cancel(&caller, &id, reason).await?),
                ("queue", Some(queue), _) => json(&queue.cancel(&caller, &id, reason).await?),
                ("export", _, Some(exports)) => json(&exports.cancel(&caller, &id, reason).await?),
                (_, queue, exports) => Err(Problem::validation(
                    "operation",
                    match (queue, exports) {
                        (Some(_), Some(_)) => "must be `upload`, `export` or `queue`",
                        (Some(_), None) => "must be `upload` or `queue`",
                        (None, Some(_)) => "must be `upload` or `export`",
                        (None, None) => "must be `upload`",
                    },
                )),
            }
        };
        cancelling.boxed()
    }
}

fn json<T: Serialize>(cancelled: &T) -> Result<Value, Problem> {
    serde_json::to_value(cancelled).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        Problem::Internal
    })
}
