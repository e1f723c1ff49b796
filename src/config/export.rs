//! The settings of exports, checked.

use std::time::Duration;

use super::args::Settings;
use super::resolve::{DAY, Result, wrong};
use crate::units::TimeSpan;

/// Exports that may run at once, at most: each has the disk and a share of the threads that may wait
/// for it.
const RUNNING_MOST: u32 = 16;

/// Images of one export, at most: an archive's table of contents is held in memory until its end.
const IMAGES_MOST: u32 = 1_000_000;

/// Bounds of exports.
#[derive(Clone, Copy, Debug)]
pub struct ExportLimits {
    /// For how long an archive is kept.
    pub archive_keep: Duration,
    /// For how long an export is known that has ended. Never less than its archive is kept.
    pub keep: Duration,
    /// How many run at once: 1 to 16.
    pub running_max: usize,
    /// Images of one export: 1 to a million.
    pub images_max: u32,
}

pub(super) fn limits(settings: &Settings) -> Result<ExportLimits> {
    let span = |written: Option<TimeSpan>, default| written.map_or(default, |span| span.0);
    let archive_keep = span(settings.archive_keep, DAY);
    if archive_keep.is_zero() {
        return Err(wrong(
            "archive-keep",
            "is 0: nobody could download anything",
        ));
    }
    let running_max = settings.max_running_exports.unwrap_or(2);
    if !(1..=RUNNING_MOST).contains(&running_max) {
        return Err(wrong("max-running-exports", "must be 1 to 16"));
    }
    let images_max = settings.max_export_images.unwrap_or(100_000);
    if !(1..=IMAGES_MOST).contains(&images_max) {
        return Err(wrong("max-export-images", "must be 1 to 1000000"));
    }
    Ok(ExportLimits {
        archive_keep,
        keep: span(settings.export_keep, DAY * 30).max(archive_keep),
        running_max: usize::try_from(running_max).unwrap_or(1),
        images_max,
    })
}
