//! How many bytes of content are in memory, over all attempts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The count. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<AtomicUsize>);

/// One attempt's part of the count; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    all: Held,
    own: usize,
}

impl Share {
    pub(super) fn of(all: Held) -> Self {
        Self { all, own: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.own == 0
    }

    /// What all attempts hold.
    pub(super) fn by_all(&self) -> usize {
        self.all.0.load(Relaxed)
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.own += bytes;
        self.all.0.fetch_add(bytes, Relaxed);
    }

    pub(super) fn remove(&mut self, bytes: usize) {
        let bytes = bytes.min(self.own);
        self.own -= bytes;
        self.all.0.fetch_sub(bytes, Relaxed);
    }

    /// Gives back all but `bytes`.
    pub(super) fn keep(&mut self, bytes: usize) {
        self.remove(self.own.saturating_sub(bytes));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.remove(self.own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_given_back_once() {
        let all = Held::default();
        let (mut one, mut two) = (Share::of(all.clone()), Share::of(all.clone()));
        one.add(10);
        two.add(5);
        assert_eq!(one.by_all(), 15);
        one.keep(3);
        one.remove(100);
        assert_eq!(two.by_all(), 5);
        drop(two);
        assert_eq!(one.by_all(), 0);
    }
}
