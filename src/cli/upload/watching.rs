//! Files that appear in a directory, handed over once they have not changed for a while.
//!
//! It looks again and again instead of being told: instruments write to network shares as well, where
//! nobody is told anything.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::Again;
use super::find::{Found, Print, Search};

/// A look comes after a fraction of the time for which a file must not change, within these bounds.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(200);
const LOOK_EVERY_MAX: Duration = Duration::from_secs(10);

/// What has failed is tried again after this.
const FAILED_PAUSE: Duration = Duration::from_secs(300);

/// What is known of the directory.
#[derive(Debug, Default)]
struct Seen {
    files: HashMap<PathBuf, Entry>,
    round: u64,
}

#[derive(Debug)]
struct Entry {
    /// `None`: it is nothing that is sent.
    print: Option<Print>,
    /// When it is handed over if it stays as it is. `None`: it has been.
    due: Option<Instant>,
    /// When it was last there.
    round: u64,
}

/// Looks until nobody wants to know. `failed` are files to be tried again later.
///
/// # Cancel safety
/// Cancel safe: everything is looked at anew by another call.
pub(super) async fn watch(
    search: Search,
    stable_for: Duration,
    found: mpsc::Sender<Found>,
    mut failed: mpsc::UnboundedReceiver<Again>,
) {
    let mut seen = Seen::default();
    let every = (stable_for / 4).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
    loop {
        let (search, sender) = (search.clone(), found.clone());
        let looked = spawn_blocking(move || {
            let now = Instant::now();
            seen.round += 1;
            let is_wanted = search.each(&mut |what| match seen.meet(what, now, stable_for) {
                Some(what) => sender.blocking_send(what).map_err(drop),
                None if sender.is_closed() => Err(()),
                None => Ok(()),
            });
            let round = seen.round;
            seen.files.retain(|_, entry| entry.round == round);
            is_wanted.map(|()| seen)
        });
        // Only a panic is an error here, and then there is nothing to go on with.
        let Ok(Ok(looked)) = looked.await else {
            return;
        };
        seen = looked;
        tokio::select! {
            () = sleep(every) => {}
            () = found.closed() => return,
        }
        while let Ok((path, is_soon)) = failed.try_recv() {
            if let Some(entry) = seen.files.get_mut(&path) {
                let pause = if is_soon { stable_for } else { FAILED_PAUSE };
                entry.due = Some(Instant::now() + pause);
            }
        }
    }
}

impl Seen {
    /// `None`: it is not yet time for it, or not any more.
    fn meet(&mut self, found: Found, now: Instant, stable_for: Duration) -> Option<Found> {
        let (path, print) = match &found {
            Found::File(file) => (&file.path, Some(file.print)),
            Found::Unfit { path, .. } => (path, None),
        };
        let round = self.round;
        let entry = self.files.entry(path.clone()).or_insert_with(|| Entry {
            print,
            due: Some(now + stable_for),
            round,
        });
        entry.round = round;
        if entry.print != print {
            entry.print = print;
            entry.due = Some(now + stable_for);
        }
        let is_due = entry.due.is_some_and(|due| due <= now);
        is_due.then(|| {
            entry.due = None;
            found
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::find::File;
    use super::*;

    const STABLE: Duration = Duration::from_secs(30);

    fn file(size: u64) -> Found {
        Found::File(File {
            path: "/acquisition/a.tif".into(),
            name: "a.tif".into(),
            print: Print {
                size,
                modified: 1,
                inode: 1,
            },
        })
    }

    #[test]
    fn a_file_is_handed_over_once_when_it_has_stopped_to_change() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let mut at = |seconds: u64, size| {
            let now = start + Duration::from_secs(seconds);
            seen.meet(file(size), now, STABLE).is_some()
        };
        assert!(!at(0, 10));
        assert!(!at(29, 10));
        assert!(!at(31, 20), "it has grown");
        assert!(!at(60, 20));
        assert!(at(61, 20));
        assert!(!at(1000, 20), "it is sent");
        assert!(!at(1001, 30), "it has grown again");
        assert!(at(1031, 30));
    }

    #[test]
    fn what_cannot_be_sent_is_told_once() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let mut at = |seconds: u64| {
            let unfit = Found::Unfit {
                path: "/acquisition/socket".into(),
                why: "is no file".into(),
            };
            seen.meet(unfit, start + Duration::from_secs(seconds), STABLE)
                .is_some()
        };
        assert_eq!([at(0), at(30), at(60)], [false, true, false]);
    }
}
