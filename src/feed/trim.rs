//! Removes events that are too old.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::Deps;
use crate::event::log;
use crate::work::{Next, Worker};

/// Calls (one a second) between two looks.
const EVERY: u32 = 60;

/// The module's worker.
pub(super) struct Trimmer {
    feeds: Arc<Deps>,
    calls: u32,
}

impl Trimmer {
    pub(super) fn new(feeds: &Arc<Deps>) -> Self {
        Self {
            feeds: feeds.clone(),
            calls: 0,
        }
    }

    async fn step(&mut self) -> Next {
        let is_due = self.calls == 0;
        self.calls = (self.calls + 1) % EVERY;
        if !is_due {
            return Next::Later;
        }
        match log::trim(self.feeds.hub.db(), self.feeds.keep).await {
            Ok(true) => {
                self.calls = 0;
                Next::Now
            }
            Ok(false) => Next::Later,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "trimming events");
                Next::Later
            }
        }
    }
}

impl Worker for Trimmer {
    fn name(&self) -> &'static str {
        "event trimmer"
    }

    fn prepare(&mut self) -> BoxFuture<'_, Result<(), Box<dyn std::error::Error + Send + Sync>>> {
        ready(Ok(())).boxed()
    }

    fn work(&mut self) -> BoxFuture<'_, Next> {
        self.step().boxed()
    }
}
