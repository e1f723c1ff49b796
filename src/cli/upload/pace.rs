//! How many files are sent at once: as many as make it faster, and fewer when the server is in trouble.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::args::{JOBS_MAX, Jobs};

/// How often it is looked whether the number is right.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(250);

const FIRST: usize = 8;

/// Beyond this nothing has ever become faster; it only takes memory.
const MOST: usize = JOBS_MAX as usize;

/// What a file counts beside its bytes.
const FILE_BYTES: u64 = 64 * 1024;

/// By how much it has to become faster.
const GAIN: f64 = 1.05;

/// Looks without a gain before it settles: one slow moment says little.
const MISSES: u32 = 3;

/// Looks until another number is tried.
const HOLD: u32 = 8;

/// The number of files at once.
#[derive(Debug)]
pub(super) struct Pace {
    target: AtomicUsize,
    is_fixed: bool,
    is_troubled: AtomicBool,
}

/// Finds the number: it climbs as long as that helps, and tries again every now and then.
#[derive(Debug, Default)]
pub(super) struct Climb {
    /// The best that was seen, and with how many files at once.
    best: (f64, usize),
    /// Looks since with no gain.
    misses: u32,
    /// Looks to come before the next try.
    hold: u32,
}

impl Pace {
    pub(super) fn new(jobs: Jobs) -> Self {
        let (target, is_fixed) = match jobs {
            Jobs::Auto => (FIRST, false),
            Jobs::Fixed(number) => (usize::from(number), true),
        };
        Self {
            target: AtomicUsize::new(target),
            is_fixed,
            is_troubled: AtomicBool::new(false),
        }
    }

    /// So many files may be sent at once.
    pub(super) fn target(&self) -> usize {
        self.target.load(Ordering::Relaxed)
    }

    /// Something has to be tried again.
    pub(super) fn trouble(&self) {
        self.is_troubled.store(true, Ordering::Relaxed);
    }

    /// So much was done since the last look, by about as many files at once as are allowed, or else
    /// `is_idle`.
    pub(super) fn look(&self, climb: &mut Climb, files: u64, bytes: u64, is_idle: bool) {
        let is_troubled = self.is_troubled.swap(false, Ordering::Relaxed);
        if self.is_fixed {
            return;
        }
        let target = self.target();
        let next = if is_troubled {
            climb.hold = HOLD;
            climb.best = (0.0, 0);
            climb.misses = 0;
            (target / 2).max(1)
        } else if is_idle {
            target
        } else {
            climb.next(target, (files * FILE_BYTES + bytes) as f64)
        };
        self.target.store(next, Ordering::Relaxed);
    }
}

impl Climb {
    fn next(&mut self, target: usize, done: f64) -> usize {
        let (best, at) = self.best;
        if self.hold > 0 {
            self.hold -= 1;
            // What is sent changes, and with it what can be done.
            self.best = (best.mul_add(0.8, done * 0.2), target);
            return match self.hold {
                0 => (target + target.div_ceil(4)).min(MOST),
                _ => target,
            };
        }
        if done > best * GAIN {
            self.best = (done, target);
            self.misses = 0;
            return (target * 2).min(MOST);
        }
        self.misses += 1;
        if self.misses < MISSES {
            return target;
        }
        self.misses = 0;
        self.hold = HOLD;
        match at {
            0 => target,
            at => at.min(target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs against something that does so much with so many at once.
    fn settle(pace: &Pace, does: impl Fn(usize) -> u64) -> usize {
        let mut climb = Climb::default();
        for _ in 0..200 {
            pace.look(&mut climb, 0, does(pace.target()), false);
        }
        pace.target()
    }

    #[test]
    fn it_finds_how_many_help() {
        for useful in [8, 16, 32, 64] {
            let pace = Pace::new(Jobs::Auto);
            let found = settle(&pace, |jobs| jobs.min(useful) as u64 * 1_000_000);
            assert!(found >= useful && found <= MOST, "{found} for {useful}");
        }
        let pace = Pace::new(Jobs::Auto);
        let found = settle(&pace, |jobs| 100_000_000 / jobs.max(8) as u64);
        assert!(found <= 10, "{found} where more are slower");
    }

    #[test]
    fn trouble_makes_it_fewer_and_a_number_is_a_number() {
        let pace = Pace::new(Jobs::Auto);
        let mut climb = Climb::default();
        for _ in 0..8 {
            pace.trouble();
            pace.look(&mut climb, 1, 1, false);
        }
        assert_eq!(pace.target(), 1);
        let pace = Pace::new(Jobs::Fixed(7));
        pace.trouble();
        assert_eq!(settle(&pace, |jobs| jobs as u64), 7);
    }
}
