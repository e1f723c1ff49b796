//! What nobody asks for: what crashes have left, archives that expire, exports that wait.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Exports;
use crate::db::DbError;
use crate::work::{Next, Worker};

/// Steps, a second apart, between two looks for exports to forget.
const STEPS_PER_FORGETTING: u32 = 60;

/// Looks after exports.
pub(super) struct Sweeper {
    exports: Arc<Exports>,
    steps: u32,
}

impl Sweeper {
    pub(super) fn new(exports: &Arc<Exports>) -> Self {
        Self {
            exports: exports.clone(),
            steps: 0,
        }
    }

    async fn step(&mut self) -> Result<Next, DbError> {
        let exports = &self.exports;
        for job in exports.store.remains().await? {
            exports.finish_free(&job).await;
        }
        exports.begin_waiting();
        if self.steps == 0 {
            let is_more = exports.store.forget(exports.config.keep).await?;
            if is_more {
                return Ok(Next::Now);
            }
        }
        self.steps = (self.steps + 1) % STEPS_PER_FORGETTING;
        Ok(Next::Later)
    }
}

impl Worker for Sweeper {
    fn name(&self) -> &'static str {
        "exports"
    }

    fn work(&mut self) -> BoxFuture<'_, Next> {
        async move {
            self.step().await.unwrap_or_else(|error| {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "looking after exports");
                Next::Later
            })
        }
        .boxed()
    }
}
