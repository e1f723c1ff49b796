//! What a reader of the feeds may cancel: each operation by the module that runs it.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use tidegate_protocol::problem::Problem;

use crate::auth::Caller;
use crate::feed::{Cancel, CancelCall};
use crate::{queue, upload};

#[derive(Debug)]
pub(super) struct Cancels {
    pub(super) uploads: upload::Cancels,
    /// `None`: there is no queue.
    pub(super) queue: Option<queue::Cancels>,
}

impl Cancel for Cancels {
    fn cancel(
        &self,
        caller: Caller,
        call: CancelCall,
    ) -> BoxFuture<'static, Result<Value, Problem>> {
        let (uploads, queue) = (self.uploads.clone(), self.queue.clone());
        let cancelling = async move {
            let CancelCall {
                operation,
                id,
                reason,
            } = call;
            match (operation.as_str(), queue) {
                ("upload", _) => json(&uploads.cancel(&caller, &id, reason).await?),
                ("queue", Some(queue)) => json(&queue.cancel(&caller, &id, reason).await?),
                (_, Some(_)) => Err(Problem::validation(
                    "operation",
                    "must be `upload` or `queue`",
                )),
                (_, None) => Err(Problem::validation("operation", "must be `upload`")),
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
