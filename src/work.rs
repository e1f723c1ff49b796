//! Background work: one contract, one runner.
//!
//! A worker's [`work`](Worker::work) is never interrupted; between two calls the runner may stop
//! it at any time. So a worker keeps each call short, or checks its scope inside.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::cancel::Scope;

/// Pause after work that found nothing to do, or failed.
const LATER: Duration = Duration::from_secs(1);

/// When a worker wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: there is more to do.
    Now,
    /// After a pause.
    Later,
    /// After this, or sooner.
    In(Duration),
    /// Not again.
    Never,
}

/// Something to be done beside requests.
pub trait Worker: Send + 'static {
    /// For logs.
    fn name(&self) -> &'static str;

    /// Done once, before the first request is served. An error keeps the server from starting.
    fn prepare(&mut self) -> BoxFuture<'_, Result<(), Box<dyn std::error::Error + Send + Sync>>> {
        async { Ok(()) }.boxed()
    }

    /// Does a bounded piece of work.
    ///
    /// # Cancel safety
    /// Never dropped before it is done, short of the end of the process.
    fn work(&mut self) -> BoxFuture<'_, Next>;
}

/// Runs `worker` until it is done or `scope` is cancelled.
pub async fn run(mut worker: Box<dyn Worker>, scope: Scope) {
    loop {
        let pause = match worker.work().await {
            Next::Now if scope.reason().is_none() => continue,
            Next::Never | Next::Now => return,
            Next::Later => LATER,
            Next::In(pause) => pause.min(LATER),
        };
        tokio::select! {
            // Both may be dropped: neither has done anything yet.
            _ = scope.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
