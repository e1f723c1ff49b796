//! How long to wait before something is tried again.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use tokio::time::sleep;

use super::server::{AskError, Server};

/// How often a short call is made again because the server is busy.
const BUSY_TRIES: u32 = 5;

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

/// Asks again while the server has no time. Everything else is an answer, also that it cannot be
/// reached: whoever waits at a terminal wants to know.
///
/// # Errors
/// As `ask`.
pub(super) async fn while_busy<T>(
    ask: impl AsyncFn() -> Result<T, AskError>,
) -> Result<T, AskError> {
    let passing = |error: &AskError| is_busy(error).then(|| error.retry_after());
    patiently(BUSY_TRIES, passing, |_| {}, ask).await
}

/// Asks again so often after what is `passing`, which tells for how long the server wants to be left
/// alone, if it does. The first of these errors is `told`, before it is waited.
///
/// # Errors
/// As `ask`.
pub(super) async fn patiently<T, E>(
    tries: u32,
    passing: impl Fn(&E) -> Option<Option<Duration>>,
    told: impl Fn(&E),
    ask: impl AsyncFn() -> Result<T, E>,
) -> Result<T, E> {
    let mut backoff = Backoff::new(tries);
    let mut is_told = false;
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(pause) = passing(&error).and_then(|asked| backoff.next(asked)) else {
            return Err(error);
        };
        if !std::mem::replace(&mut is_told, true) {
            told(&error);
        }
        sleep(pause).await;
    }
}

fn is_busy(error: &AskError) -> bool {
    let refusal = error.refusal();
    refusal.is_some_and(|refusal| match refusal.status {
        StatusCode::SERVICE_UNAVAILABLE => true,
        StatusCode::TOO_MANY_REQUESTS => refusal.problem == "too-many-requests",
        _ => false,
    })
}

/// Whether it makes sense to begin a stream again that has broken off, or has not begun, with this
/// error. `token` was sent with it; if that is not good any more, there is another one now.
pub(super) async fn may_go_on(
    server: &Server,
    error: &AskError,
    token: Option<&HeaderValue>,
) -> bool {
    match error.refusal().map(|refusal| refusal.status) {
        Some(StatusCode::UNAUTHORIZED) => server.token().renew(token).await,
        // What is asked for is not there, or not yet, or not there any more.
        Some(StatusCode::CONFLICT) => false,
        _ => error.is_passing(),
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
