//! The client side of the tests: the server process, two HTTP clients and the tus vocabulary.

pub(crate) mod cli;
pub(crate) mod export;
pub(crate) mod form;
pub(crate) mod h2c;
pub(crate) mod hook;
pub(crate) mod hostile;
pub(crate) mod jwt;
pub(crate) mod page;
pub(crate) mod postgres;
pub(crate) mod queue;
pub(crate) mod relay;
pub(crate) mod rufh;
pub(crate) mod script;
pub(crate) mod server;
pub(crate) mod sse;
pub(crate) mod tus;
pub(crate) mod wire;
pub(crate) mod ws;

use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

/// How long anything may take before a test gives up on it. Generous, because the tests share two
/// cores with each other; a test that is about speed sets its own deadline.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Asks `probe` again and again until it has an answer, and gives that answer.
///
/// # Panics
///
/// When there is none after [`PATIENCE`]; `what` then tells what was waited for.
pub(crate) async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, probe).await
}

/// As [`eventually`], for what has to come sooner.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    loop {
        ticks.tick().await;
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
    }
}

/// Says what was not tested, past the harness, which shows only what a failed test has printed.
pub(crate) fn say_loudly(what: &str) {
    writeln!(std::io::stderr(), "{what}").expect("write to standard error");
}

/// Rounds of a randomised test, unless the environment says otherwise.
pub(crate) fn rounds(default: u64) -> u64 {
    from_env("TIDEGATE_TEST_ROUNDS").unwrap_or(default)
}

/// A seeded generator for one test, whose seed is printed: the harness shows it if the test fails.
pub(crate) fn random(test: &str) -> fastrand::Rng {
    let seed = from_env("TIDEGATE_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("{test}: repeat with TIDEGATE_TEST_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Bytes that tell their position and their seed: any shift, loss, doubling or mixture shows.
pub(crate) fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// Compares two large byte strings; a failure shows where they part, not megabytes of digits.
#[track_caller]
pub(crate) fn assert_same_bytes(found: &[u8], wanted: &[u8], what: &str) {
    if found == wanted {
        return;
    }
    let common = found
        .iter()
        .zip(wanted)
        .take_while(|(found, wanted)| found == wanted)
        .count();
    panic!(
        "{what}: {} bytes found, {} wanted, the first difference is at {common}",
        found.len(),
        wanted.len(),
    );
}

/// A number from the environment.
pub(crate) fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
    )
}
