//! How far an export is that is under way.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// What an image costs beside its bytes, in bytes.
pub(super) const IMAGE_COST: u64 = 4 * 1024;

/// What is done now. The words are those of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// What is to be exported is listed.
    Planning,
    /// Images are copied.
    Images,
    /// What was found in them is written down.
    Annotations,
    /// The archive is closed and made durable.
    Compression,
}

impl Stage {
    const ALL: [Self; 4] = [
        Self::Planning,
        Self::Images,
        Self::Annotations,
        Self::Compression,
    ];

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Planning => ("planning", "Listing the images."),
            Self::Images => ("images", "Copying the images."),
            Self::Annotations => ("annotations", "Writing annotations and measurements."),
            Self::Compression => ("compression", "Closing the archive."),
        }
    }
}

/// How far it is; whoever looks on sees it as it was a moment ago.
#[derive(Debug, Default)]
pub(super) struct Progress {
    stage: AtomicU8,
    items: AtomicU64,
    items_in_all: AtomicU64,
    /// In bytes, what counts as such included.
    work: AtomicU64,
    work_in_all: AtomicU64,
}

/// What somebody saw who looked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) stage: &'static str,
    pub(super) message: &'static str,
    /// Of this stage.
    pub(super) items: u64,
    pub(super) items_in_all: u64,
    /// 0 to 99: it is 100 when the export has ended.
    pub(super) percent: u64,
}

impl Progress {
    /// So much is to be done altogether.
    pub(super) fn plan(&self, work: u64) {
        self.work_in_all.store(work, Relaxed);
    }

    /// A stage of so many items begins.
    pub(super) fn enter(&self, stage: Stage, items: u64) {
        self.items.store(0, Relaxed);
        self.items_in_all.store(items, Relaxed);
        self.stage.store(stage as u8, Relaxed);
    }

    pub(super) fn add_work(&self, work: u64) {
        self.work.fetch_add(work, Relaxed);
    }

    pub(super) fn add_item(&self) {
        self.items.fetch_add(1, Relaxed);
    }

    pub(super) fn seen(&self) -> Seen {
        let stage = usize::from(self.stage.load(Relaxed));
        let (stage, message) = Stage::ALL
            .get(stage)
            .map_or(("", ""), |stage| stage.words());
        let in_all = self.work_in_all.load(Relaxed).max(1);
        let share = u128::from(self.work.load(Relaxed)) * 100 / u128::from(in_all);
        Seen {
            stage,
            message,
            items: self.items.load(Relaxed),
            items_in_all: self.items_in_all.load(Relaxed),
            percent: u64::try_from(share.min(99)).unwrap_or(99),
        }
    }
}
