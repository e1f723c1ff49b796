//! What a running attempt shows to others, without being disturbed.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// Counters of one attempt. Written by it alone.
#[derive(Debug)]
pub(super) struct Progress {
    started: Instant,
    /// Milliseconds after `started` at which content last arrived.
    heard_ms: AtomicU64,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            heard_ms: AtomicU64::new(0),
        }
    }

    /// Content arrived.
    pub(super) fn heard(&self) {
        self.heard_ms.store(self.elapsed_ms(), Relaxed);
    }

    /// How long ago content last arrived.
    pub(super) fn silent_for(&self) -> Duration {
        Duration::from_millis(
            self.elapsed_ms()
                .saturating_sub(self.heard_ms.load(Relaxed)),
        )
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
