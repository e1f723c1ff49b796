//! What a reader of the feeds may cancel: each operation by the module that runs it.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tidegate_protocol::problem::Problem;

use crate::auth::Caller;
use crate::feed::{Cancel, CancelCall};
use crate::upload;

#[derive(Debug)]
pub(super) struct Cancels {
    pub(super) uploads: upload::Cancels,
}

impl Cancel for Cancels {
    fn cancel(
        &self,
        caller: Caller,
        call: CancelCall,
    ) -> BoxFuture<'static, Result<Value, Problem>> {
        let uploads = self.uploads.clone();
        let cancelling = async move {
            let CancelCall {
                operation,
                id,
                reason,
            } = call;
            let cancelled = match operation.as_str() {
                "upload" => uploads.cancel(&caller, &id, reason).await?,
                _ => return Err(Problem::validation("operation", "must be `upload`")),
            };
            serde_json::to_value(cancelled).map_err(|error| {
                tracing::error!(%error, "an answer cannot be written as JSON");
                Problem::Internal
            })
        };
        cancelling.boxed()
    }
}
