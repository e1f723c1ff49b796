//! What a running attempt shows to others, without being disturbed, and is told by them.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tidegate_protocol::problem::Problem;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::Caller;

/// Counters of one attempt, written by it alone, and its upload's end.
#[derive(Debug)]
pub(super) struct Progress {
    started: Instant,
    /// Who sends. `None`: nobody does.
    sender: Option<Caller>,
    /// Milliseconds after `started` at which content last arrived, or [`DEAF`].
    heard_ms: AtomicU64,
    /// Bytes that have arrived, as an offset.
    received: AtomicU64,
    /// The committed offset.
    committed: AtomicU64,
    /// Why the upload has ended, from whoever has ended it.
    end: OnceLock<Problem>,
    ended: CancellationToken,
}

/// Nobody listens to the sender: its silence is not its own.
const DEAF: u64 = u64::MAX;

impl Progress {
    /// Of one that only holds the upload.
    pub(super) fn new() -> Self {
        Self::of(None)
    }

    /// Of one that appends what `sender` sends.
    pub(super) fn sent_by(sender: Caller) -> Self {
        Self::of(Some(sender))
    }

    fn of(sender: Option<Caller>) -> Self {
        Self {
            started: Instant::now(),
            sender,
            heard_ms: AtomicU64::new(0),
            received: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            end: OnceLock::new(),
            ended: CancellationToken::new(),
        }
    }

    /// On whose behalf content is appended, if it is.
    pub(super) fn sender(&self) -> Option<&Caller> {
        self.sender.as_ref()
    }

    /// The upload has ended in its row, so there is nothing to keep, whatever else the attempt was
    /// stopped for. It can say why without looking at the row again.
    pub(super) fn end(&self, problem: Problem) {
        // The first end is the end.
        self.end.get_or_init(|| problem);
        self.ended.cancel();
    }

    /// Waits until that is told.
    ///
    /// # Cancel safety
    /// Cancel safe: it stays told.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Why the upload has ended, if that was told.
    pub(super) fn has_ended(&self) -> Option<&Problem> {
        self.end.get()
    }

    /// Content arrived: all before `received`.
    pub(super) fn arrived(&self, received: u64) {
        self.received.store(received, Relaxed);
        self.heard();
    }

    /// Everything before `offset` is committed.
    pub(super) fn committed(&self, offset: u64) {
        self.committed.store(offset, Relaxed);
    }

    /// Bytes that have arrived and the committed offset.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.received.load(Relaxed), self.committed.load(Relaxed))
    }

    fn heard(&self) {
        self.heard_ms.store(self.elapsed_ms(), Relaxed);
    }

    /// Tells whether the sender is being listened to.
    pub(super) fn listening(&self, now: bool) {
        let is_deaf = self.heard_ms.load(Relaxed) == DEAF;
        match (is_deaf, now) {
            (true, true) => self.heard(),
            (false, false) => self.heard_ms.store(DEAF, Relaxed),
            (true, false) | (false, true) => {}
        }
    }

    /// For how long the sender has been listened to without a byte of content.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_sender_that_is_listened_to_is_silent() {
        let second = Duration::from_secs(1);
        let progress = Progress::new();
        tokio::time::advance(second).await;
        assert_eq!(progress.silent_for(), second);
        progress.arrived(1);
        tokio::time::advance(second).await;
        progress.listening(true);
        assert_eq!(progress.silent_for(), second, "nothing new");
        progress.listening(false);
        tokio::time::advance(second).await;
        assert_eq!(progress.silent_for(), Duration::ZERO);
        progress.listening(true);
        assert_eq!(progress.silent_for(), Duration::ZERO);
        tokio::time::advance(second).await;
        assert_eq!(progress.silent_for(), second);
    }
}
