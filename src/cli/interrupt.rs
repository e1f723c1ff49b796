//! Ctrl-C: the first one ends what runs, in order; the second one ends the program.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::out;
use crate::cancel::{CancelReason, Scope};

/// What a shell takes for the end by an interrupt.
const INTERRUPTED: i32 = 130;

/// Signals so close together are one: what runs a program often passes on what its terminal has sent
/// to both.
const ONE_WITHIN: Duration = Duration::from_millis(250);

/// Cancels `watched` at the first SIGINT, SIGTERM or SIGHUP, and ends the program at the second.
///
/// # Errors
/// Signals cannot be listened for.
pub(super) fn listen(scope: &Scope, watched: &Scope) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let watched = watched.clone();
    scope.spawn(async move {
        let mut first: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            let first = *first.get_or_insert_with(Instant::now);
            if !watched.cancel(CancelReason::Shutdown) && first.elapsed() > ONE_WITHIN {
                out::tell("tidegate: given up; what is not settled is found by the next run");
                std::process::exit(INTERRUPTED);
            }
        }
    });
    Ok(())
}
