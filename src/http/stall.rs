//! When a sender has stalled.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How fast content has to come.
#[derive(Clone, Copy, Debug)]
pub struct StallLimits {
    /// A sender slower than `rate_min` over this long is stalled.
    pub timeout: Duration,
    /// Bytes per second.
    pub rate_min: u64,
}

/// Tells when the sender has stalled. It counts only while the sender is waited for: what this
/// server's disk takes is not held against him.
#[derive(Debug)]
pub struct StallClock {
    limits: StallLimits,
    sleep: Pin<Box<Sleep>>,
    /// Bytes since it was last put back.
    since: u64,
    /// Since when the sender has not been waited for.
    paused: Option<Instant>,
}

impl StallClock {
    /// It counts from now.
    pub fn new(limits: StallLimits) -> Self {
        Self {
            limits,
            sleep: Box::pin(tokio::time::sleep(limits.timeout)),
            since: 0,
            paused: None,
        }
    }

    /// The sender is not waited for.
    pub fn pause(&mut self) {
        self.paused.get_or_insert_with(Instant::now);
    }

    /// The sender is waited for again.
    pub fn resume(&mut self) {
        if let Some(since) = self.paused.take() {
            let deadline = self.sleep.deadline() + since.elapsed();
            self.sleep.as_mut().reset(deadline);
        }
    }

    /// Content arrived. The clock goes back only for as much of it as `rate_min` asks for, so a
    /// trickle does not keep a connection for ever.
    pub fn received(&mut self, bytes: u64) {
        self.since = self.since.saturating_add(bytes);
        let millis = u64::try_from(self.limits.timeout.as_millis()).unwrap_or(u64::MAX);
        let enough = self.limits.rate_min.saturating_mul(millis) / 1_000;
        if self.since >= enough.max(1) {
            self.since = 0;
            let deadline = Instant::now() + self.limits.timeout;
            self.sleep.as_mut().reset(deadline);
        }
    }

    /// Ready once the sender has stalled. Not to be asked while it is paused.
    pub fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(context)
    }
}
