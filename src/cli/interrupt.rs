//! Ctrl-C: the first one ends what runs, in order; the second one ends the program.

use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::out;
use crate::cancel::{CancelReason, Scope};

/// What a shell takes for the end by an interrupt.
const INTERRUPTED: i32 = 130;

/// Signals so close together are one: what runs a program often passes on what its terminal has sent
/// to both.
const ONE_WITHIN: Duration = Duration::from_millis(250);

/// Cancels `watched` at the first SIGINT, SIGTERM or SIGHUP, and ends the program at the second.
/// What the program was told to ignore, as `nohup` does, stays ignored.
///
/// # Errors
/// Signals cannot be listened for.
pub(super) fn listen(scope: &Scope, watched: &Scope) -> io::Result<()> {
    let ignored = ignored();
    let heard = |kind: SignalKind| {
        let is_ignored = has(ignored, kind);
        (!is_ignored).then(|| signal(kind)).transpose()
    };
    let mut interrupt = heard(SignalKind::interrupt())?;
    let mut terminate = heard(SignalKind::terminate())?;
    let mut hangup = heard(SignalKind::hangup())?;
    let watched = watched.clone();
    scope.spawn(async move {
        let mut first: Option<Instant> = None;
        loop {
            // Whatever is dropped has taken no signal: it is there at the next turn.
            tokio::select! {
                () = next(&mut interrupt) => {}
                () = next(&mut terminate) => {}
                () = next(&mut hangup) => {}
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

/// The next signal of this kind; of one that is ignored there is none.
///
/// # Cancel safety
/// Cancel safe.
async fn next(heard: &mut Option<Signal>) {
    let told = match heard {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if told.is_none() {
        pending().await
    }
}

/// Which signals are ignored, a bit for each. Where nobody tells, none is.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status");
    status.ok().as_deref().and_then(mask).unwrap_or(0)
}

/// `SigIgn` of a process's status (`proc_pid_status(5)`).
fn mask(status: &str) -> Option<u64> {
    let field = |line| str::strip_prefix(line, "SigIgn:");
    let hex = status.lines().find_map(field)?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

fn has(mask: u64, kind: SignalKind) -> bool {
    let nth = u32::try_from(kind.as_raw_value() - 1);
    nth.is_ok_and(|nth| mask.checked_shr(nth).is_some_and(|rest| rest & 1 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_known() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0";
        let mask = mask(status).unwrap();
        assert!(has(mask, SignalKind::hangup()) && has(mask, SignalKind::pipe()));
        assert!(!has(mask, SignalKind::interrupt()) && !has(mask, SignalKind::terminate()));
        assert_eq!(super::mask("SigIgn:\tx"), None);
        assert_eq!(super::mask(""), None);
    }
}
