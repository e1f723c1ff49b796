//! How often each caller may do something.
//!
//! Each has a second's worth of it to use up at once, and gets it back evenly (the generic cell rate
//! algorithm): in any span of time nobody does it more often than the rate allows for that span and
//! one more second.
//!
//! Invariant: whoever has done nothing for two seconds takes no room.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tidegate_protocol::problem::Problem;
use tokio::time::Instant;

use crate::auth::Caller;

/// Callers that are counted in one turn, which takes a second. Others wait.
const CALLERS_MAX: usize = 100_000;

const SECOND: Duration = Duration::from_secs(1);

/// Counts what callers do. Clones count together.
#[derive(Clone)]
pub struct Throttle {
    /// How long after another one comes the next, at an even pace.
    interval: Duration,
    /// So many intervals may be used up at once.
    burst: Duration,
    counted: Arc<Mutex<Counted>>,
    refused: Counter,
}

/// By user, when each has all of his second's worth again.
#[derive(Default)]
struct Counted {
    /// Of those who have been here since the turn.
    recent: HashMap<String, Instant>,
    /// Of those who were here in the turn before, and have not been since.
    earlier: HashMap<String, Instant>,
    /// When the next turn is. By then whoever is in `earlier` has all of it again.
    turn_at: Option<Instant>,
}

impl Throttle {
    /// So many a second.
    pub fn per_second(rate: NonZeroU32) -> Self {
        // Rounded up, so that it is never more.
        let nanos = 1_000_000_000_u32.div_ceil(rate.get());
        let interval = Duration::from_nanos(nanos.into());
        Self {
            interval,
            burst: interval * rate.get(),
            counted: Arc::default(),
            refused: Counter::default(),
        }
    }

    /// Counts in `refused` what is refused.
    #[must_use]
    pub fn counting(mut self, refused: Counter) -> Self {
        self.refused = refused;
        self
    }

    /// Counts one thing that `caller` does.
    ///
    /// # Errors
    /// [`Problem::TooManyRequests`], with when to try again; then it is not counted.
    pub fn admit(&self, caller: &Caller) -> Result<(), Problem> {
        let now = Instant::now();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = counted.count(&caller.user, now, self);
        drop(counted);
        match wait {
            Duration::ZERO => Ok(()),
            wait => {
                self.refused.inc();
                Err(Problem::TooManyRequests {
                    retry_after: wait.as_secs() + u64::from(wait.subsec_nanos() > 0),
                })
            }
        }
    }
}

impl Counted {
    /// How long it is too early for `user`. Counts, if it is not.
    fn count(&mut self, user: &str, now: Instant, throttle: &Throttle) -> Duration {
        if self.turn_at.is_none_or(|turn_at| turn_at <= now) {
            self.earlier = mem::take(&mut self.recent);
            self.turn_at = Some(now + throttle.burst);
        }
        if !self.recent.contains_key(user) {
            if self.recent.len() >= CALLERS_MAX {
                return SECOND;
            }
            let known = self.earlier.remove_entry(user);
            let (user, full_at) = known.unwrap_or_else(|| (user.to_owned(), now));
            self.recent.insert(user, full_at);
        }
        let Some(full_at) = self.recent.get_mut(user) else {
            return SECOND;
        };
        let next = (*full_at).max(now) + throttle.interval;
        let wait = next.duration_since(now).saturating_sub(throttle.burst);
        if wait.is_zero() {
            *full_at = next;
        }
        wait
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use tokio::time::advance;

    use super::*;

    fn throttle(rate: u32) -> Throttle {
        Throttle::per_second(NonZeroU32::new(rate).unwrap())
    }

    fn retry_after(refused: Result<(), Problem>) -> Option<u64> {
        refused.err().and_then(|problem| problem.retry_after())
    }

    #[tokio::test(start_paused = true)]
    async fn a_seconds_worth_may_come_at_once_and_then_one_at_a_time() {
        for rate in [1, 2, 3, 7, 1_000] {
            let (throttle, ada) = (throttle(rate), Caller::named("ada"));
            for _ in 0..rate {
                assert_eq!(throttle.admit(&ada), Ok(()), "{rate}");
            }
            assert_eq!(retry_after(throttle.admit(&ada)), Some(1), "{rate}");
            assert_eq!(throttle.admit(&Caller::named("bob")), Ok(()));
            advance(throttle.interval).await;
            assert_eq!(throttle.admit(&ada), Ok(()), "{rate}");
            assert_eq!(retry_after(throttle.admit(&ada)), Some(1), "{rate}");
            advance(throttle.burst).await;
            for _ in 0..rate {
                assert_eq!(throttle.admit(&ada), Ok(()), "{rate}");
            }
            assert_eq!(retry_after(throttle.admit(&ada)), Some(1), "{rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_the_schedule_never_more_than_the_rate_and_a_second_more() {
        for seed in 0..200 {
            let mut rng = Rng::with_seed(seed);
            let rate = rng.u32(1..50);
            let (throttle, ada) = (throttle(rate), Caller::named("ada"));
            let mut admitted: Vec<Instant> = Vec::new();
            for _ in 0..400 {
                let pause = match rng.u8(0..4) {
                    0 | 1 => 0,
                    2 => rng.u64(0..2_000_000_000 / u64::from(rate)),
                    _ => rng.u64(0..2_000_000_000),
                };
                advance(Duration::from_nanos(pause)).await;
                let now = Instant::now();
                match throttle.admit(&ada) {
                    Ok(()) => admitted.push(now),
                    Err(problem) => assert_eq!(problem.retry_after(), Some(1)),
                }
            }
            // From each one that was admitted on, what came within any span.
            for (first, from) in admitted.iter().enumerate() {
                for (count, to) in (1_u64..).zip(&admitted[first..]) {
                    let span = to.duration_since(*from) + SECOND;
                    let most = u128::from(rate) * span.as_nanos() / 1_000_000_000;
                    assert!(
                        u128::from(count) <= most,
                        "seed {seed}: {count} in {span:?}"
                    );
                }
            }
            // Whoever waits as long as he is told gets on.
            advance(SECOND).await;
            assert_eq!(throttle.admit(&ada), Ok(()), "seed {seed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_nothing_takes_no_room_and_there_is_an_end_to_it() {
        let throttle = throttle(10);
        let room = || {
            let counted = throttle.counted.lock().unwrap();
            (counted.recent.len(), counted.earlier.len())
        };
        for round in 0..5 {
            for user in 0..5_000 {
                let user = Caller::named(&format!("{round}/{user}"));
                assert_eq!(throttle.admit(&user), Ok(()));
            }
            advance(SECOND).await;
        }
        assert_eq!(room(), (5_000, 5_000));
        for user in 0..CALLERS_MAX + 1 {
            drop(throttle.admit(&Caller::named(&format!("many/{user}"))));
        }
        assert_eq!(room(), (CALLERS_MAX, 5_000));
        let refused = throttle.admit(&Caller::named("one more"));
        assert_eq!(retry_after(refused), Some(1));
        advance(SECOND).await;
        assert_eq!(throttle.admit(&Caller::named("one more")), Ok(()));
    }
}
