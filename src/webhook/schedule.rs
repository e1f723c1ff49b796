//! When something is tried again.

use std::time::Duration;

use tokio::time::Instant;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn hours(count: u64) -> Duration {
    seconds(count * 3600)
}

/// Pauses between the attempts at an event (Standard Webhooks 1.0.0, "Deliverability and
/// reliability").
const PAUSES: [Duration; 9] = [
    seconds(5),
    seconds(5 * 60),
    seconds(30 * 60),
    hours(2),
    hours(5),
    hours(10),
    hours(14),
    hours(20),
    hours(24),
];

/// How long an endpoint is left alone after one failure; twice as long after each further one.
const REST_MIN: Duration = seconds(1);

/// How long it is left alone at most, unless it asks for more.
const REST_MAX: Duration = seconds(5 * 60);

/// How much of what it asks for is granted.
const ASKED_MAX: Duration = hours(1);

/// Deliveries to one endpoint at the same time.
const AT_ONCE: u32 = 4;

/// The pause after an event's attempts have failed so often. `None`: it is given up.
pub(super) fn pause(attempts: u32) -> Option<Duration> {
    let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
    PAUSES.get(index).copied().map(jittered)
}

/// Up to a fifth more, so that what has failed together does not come back together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 + fastrand::f64() / 5.0)
}

/// How an endpoint does. One that does not answer is asked with one event at a time, and ever more
/// rarely, until it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Health {
    failures: u32,
    rests_until: Instant,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            failures: 0,
            rests_until: Instant::now(),
        }
    }

    /// When it may be sent something again.
    pub(super) fn rests_until(&self) -> Instant {
        self.rests_until
    }

    /// How much it may be sent at once.
    pub(super) fn at_once(&self) -> u32 {
        match self.failures {
            0 => AT_ONCE,
            _ => 1,
        }
    }

    /// Something has been sent: whether the endpoint has taken or refused any of it, and how long it
    /// asked to be left alone.
    pub(super) fn record(&mut self, has_answered: bool, asked: Duration) {
        self.failures = match has_answered {
            true => 0,
            false => self.failures.saturating_add(1),
        };
        let rest = match self.failures {
            0 => Duration::ZERO,
            failures => {
                let times = 2_u32.saturating_pow(failures - 1);
                jittered(REST_MIN.saturating_mul(times).min(REST_MAX))
            }
        };
        self.rests_until = Instant::now() + rest.max(asked.min(ASKED_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_tried_ten_times_in_about_three_days() {
        let pauses: Vec<_> = (1..).map_while(pause).collect();
        assert_eq!(pauses.len(), 9);
        let total = pauses.iter().sum::<Duration>();
        assert!(total >= hours(75) && total <= hours(92), "{total:?}");
        for (is, least) in pauses.iter().zip(PAUSES) {
            assert!((least..=least.mul_f64(1.2)).contains(is), "{is:?}");
        }
        assert_eq!(pause(0), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_does_not_answer_is_asked_ever_more_rarely() {
        let rest = |health: &Health| health.rests_until() - Instant::now();
        let mut health = Health::new();
        assert_eq!((health.at_once(), rest(&health)), (AT_ONCE, Duration::ZERO));
        let mut rests = Vec::new();
        for _ in 0..40 {
            health.record(false, Duration::ZERO);
            assert_eq!(health.at_once(), 1);
            rests.push(rest(&health));
        }
        assert!(rests[0] >= REST_MIN && rests[0] <= REST_MIN.mul_f64(1.2));
        assert!(rests[5] >= REST_MIN * 32);
        assert!(rests[39] >= REST_MAX && rests[39] <= REST_MAX.mul_f64(1.2));
        health.record(true, Duration::ZERO);
        assert_eq!((health.at_once(), rest(&health)), (AT_ONCE, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_is_left_alone_for_as_long_as_it_asks() {
        let mut health = Health::new();
        health.record(true, seconds(60));
        assert_eq!(health.rests_until() - Instant::now(), seconds(60));
        health.record(false, hours(1000));
        assert_eq!(health.rests_until() - Instant::now(), ASKED_MAX);
    }
}
