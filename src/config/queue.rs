//! The queue's settings, checked.

use std::collections::HashSet;
use std::time::Duration;

use super::args::Settings;
use super::resolve::{DAY, MEBIBYTE, Result, wrong};
use crate::units::TimeSpan;

/// Models that a server may have.
const MODELS_MAX: usize = 64;

/// The longest name of a model, in bytes.
const MODEL_BYTES_MAX: usize = 100;

/// What one result may have, at most.
const RESULT_BYTES_MOST: u64 = 64 * MEBIBYTE;

/// Bounds and pace of the queue.
#[derive(Clone, Debug)]
pub struct QueueLimits {
    /// What workers may be asked for; the first one is for whoever names none. Never empty.
    pub models: Vec<String>,
    /// How long a worker has an item that it tells nothing of: 1 s to 5 min.
    pub lease: Duration,
    /// How long a worker has to end what is cancelled: up to 5 min.
    pub grace: Duration,
    /// The largest result of one image. Never zero.
    pub result_bytes_max: usize,
    /// Items of one project that wait or are processed. Never zero.
    pub items_max: u32,
    /// For how long an item is kept that has ended.
    pub keep: Duration,
}

pub(super) fn limits(settings: &Settings) -> Result<QueueLimits> {
    let longest = Duration::from_secs(300);
    let span = |written: Option<TimeSpan>, default| written.map_or(default, |span| span.0);
    let lease = span(settings.worker_lease, Duration::from_secs(15));
    if !(Duration::from_secs(1)..=longest).contains(&lease) {
        return Err(wrong("worker-lease", "must be 1s to 5m"));
    }
    let grace = span(settings.cancel_grace, Duration::from_secs(10));
    if grace > longest {
        return Err(wrong("cancel-grace", "must be 5m or less"));
    }
    let result_bytes_max = settings
        .max_result_size
        .map_or(16 * MEBIBYTE, |size| size.0);
    if !(1..=RESULT_BYTES_MOST).contains(&result_bytes_max) {
        return Err(wrong("max-result-size", "must be 1 to 64Mi"));
    }
    let items_max = settings.max_queued_items.unwrap_or(100_000);
    if items_max == 0 {
        return Err(wrong(
            "max-queued-items",
            "is 0: leave it out, or say how many",
        ));
    }
    Ok(QueueLimits {
        models: models(settings.models.as_deref())?,
        lease,
        grace,
        result_bytes_max: usize::try_from(result_bytes_max).unwrap_or(usize::MAX),
        items_max,
        keep: span(settings.item_keep, DAY * 30),
    })
}

fn models(written: Option<&[String]>) -> Result<Vec<String>> {
    let Some(written) = written else {
        return Ok(vec![String::from("otsu"), String::from("local")]);
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_name =
        |name: &String| (1..=MODEL_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain);
    let distinct: HashSet<_> = written.iter().collect();
    match (1..=MODELS_MAX).contains(&written.len()) {
        false => Err(wrong("models", "must be 1 to 64")),
        true if distinct.len() < written.len() => Err(wrong("models", "has one of them twice")),
        true if !written.iter().all(is_name) => Err(wrong(
            "models",
            "must be names of letters, digits, `.`, `_` and `-`",
        )),
        true => Ok(written.to_vec()),
    }
}
