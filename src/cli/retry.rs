//! How long to wait before something is tried again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Doubles the wait with each failure, with jitter, up to half a minute.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    failures_max: u32,
}

impl Backoff {
    /// Gives up after so many failures without a success in between.
    pub(super) fn new(failures_max: u32) -> Self {
        Self {
            failures: 0,
            failures_max,
        }
    }

    /// There was progress: what failed before does not count.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// One more failure. `None`: it was the last one. At least as long as `asked` is waited.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        if self.failures >= self.failures_max {
            return None;
        }
        let longest = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures += 1;
        // Clients that have lost their server together must not come back together.
        let wait = longest.mul_f64(fastrand::f64().mul_add(0.5, 0.5));
        Some(asked.map_or(wait, |asked| asked.max(wait)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_are_bounded_and_end() {
        let mut backoff = Backoff::new(10);
        let waits: Vec<_> = std::iter::from_fn(|| backoff.next(None)).collect();
        assert_eq!(waits.len(), 10);
        for (nth, wait) in waits.iter().enumerate() {
            let longest = (FIRST * (1 << nth)).min(LONGEST);
            assert!(*wait <= longest && *wait >= longest / 2, "{nth}: {wait:?}");
        }
        backoff.reset();
        let asked = Duration::from_secs(90);
        assert_eq!(backoff.next(Some(asked)), Some(asked));
        assert_eq!(Backoff::new(0).next(None), None);
    }
}
