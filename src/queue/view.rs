//! What users see, as JSON (contract, "Processing queue"). Some members stand there twice, under the
//! names by which the application of a laboratory knows them.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::Image;
use super::crew::Crew;
use super::event::Stats;
use super::item::{Item, State};
use super::look::{Health, Saved};
use super::store::{Cancelled, Enqueued};
use crate::clock::rfc3339;

/// An item.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ItemView {
    id: String,
    image_id: String,
    project_id: String,
    user_id: String,
    batch_id: Option<String>,
    model: String,
    threshold: f64,
    detect_holes: bool,
    priority: i64,
    state: &'static str,
    status: &'static str,
    attempt: i64,
    retry_count: i64,
    progress: Option<f64>,
    created_at: String,
    updated_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    completed_at: Option<String>,
    error: Option<String>,
    cancel_reason: Option<String>,
    how: Option<String>,
    image_status: &'static str,
}

impl ItemView {
    pub(super) fn of(item: Item, crew: &Crew) -> Self {
        let finished_at = item.finished_at.map(rfc3339);
        let image_status = item.image_status();
        Self {
            progress: match item.state {
                State::Completed => Some(100.0),
                State::Processing => crew.progress_of(&item.id),
                State::Queued | State::Cancelling | State::Failed | State::Cancelled => None,
            },
            id: item.id,
            image_id: item.image,
            project_id: item.project,
            user_id: item.user,
            batch_id: item.batch,
            model: item.model,
            threshold: item.threshold.value(),
            detect_holes: item.detect_holes,
            priority: item.priority,
            state: item.state.as_str(),
            status: item.state.as_str(),
            attempt: item.attempt,
            retry_count: (item.attempt - 1).max(0),
            created_at: rfc3339(item.created_at),
            updated_at: rfc3339(item.updated_at),
            started_at: item.started_at.map(rfc3339),
            completed_at: finished_at.clone(),
            finished_at,
            error: item.error,
            cancel_reason: item.cancel_reason,
            how: item.how,
            image_status,
        }
    }
}

/// What became of a batch.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchView {
    batch_id: String,
    queued_count: usize,
    total_requested: usize,
    queue_entries: Vec<ItemView>,
    skipped: Vec<Skipped>,
}

/// An image that was not enqueued.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Skipped {
    image_id: String,
    /// `active` or `segmented`.
    reason: &'static str,
}

impl BatchView {
    pub(super) fn of(enqueued: Enqueued, asked: &[String], crew: &Crew) -> Self {
        let added: BTreeSet<_> = enqueued.items.iter().map(|item| &item.image).collect();
        let segmented: BTreeSet<_> = enqueued.segmented.iter().collect();
        let skipped = asked.iter().filter(|image| !added.contains(image));
        let skipped = skipped.map(|image| Skipped {
            image_id: image.clone(),
            reason: match segmented.contains(image) {
                true => "segmented",
                false => "active",
            },
        });
        let skipped = skipped.collect();
        let items = enqueued.items.into_iter();
        let queue_entries: Vec<_> = items.map(|item| ItemView::of(item, crew)).collect();
        Self {
            batch_id: enqueued.batch,
            queued_count: queue_entries.len(),
            total_requested: asked.len(),
            queue_entries,
            skipped,
        }
    }
}

/// How many items wait and are processed.
#[derive(Serialize)]
pub(super) struct StatsView {
    queued: i64,
    processing: i64,
    total: i64,
}

impl StatsView {
    pub(super) fn of(stats: Stats) -> Self {
        Self {
            queued: stats.queued,
            processing: stats.processing,
            total: stats.queued + stats.processing,
        }
    }
}

/// How the whole queue is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HealthView {
    healthy: bool,
    queue_stats: HealthStats,
    oldest_queued_item: Option<String>,
    ml_service_healthy: bool,
    workers: Vec<String>,
    /// With which images may be processed; the first one is for whoever names none.
    models: Vec<String>,
    issues: Vec<String>,
}

#[derive(Serialize)]
struct HealthStats {
    queued: i64,
    processing: i64,
    cancelling: i64,
    completed: i64,
    failed: i64,
    cancelled: i64,
    stuck: i64,
}

/// Items that wait and make the queue look unwell, and for how long one may wait, in milliseconds.
const QUEUED_MANY: i64 = 100;
const QUEUED_LONG: i64 = 30 * 60_000;

impl HealthView {
    pub(super) fn of(health: Health, crew: &Crew, models: &[String]) -> Self {
        let [queued, processing, cancelling, completed, failed, cancelled] = health.items;
        let is_there = crew.is_there();
        let waited = health.oldest_queued_at.map_or(0, |at| health.now - at);
        let problems = [
            (queued > 0 && !is_there, "no worker is there"),
            (queued > QUEUED_MANY, "more than 100 items wait"),
            (
                waited > QUEUED_LONG,
                "an item waits for more than 30 minutes",
            ),
            (
                health.stuck > 0,
                "an item is processed for more than 10 minutes",
            ),
        ];
        let issues = problems.into_iter().filter(|(is_so, _)| *is_so);
        let issues: Vec<_> = issues.map(|(_, issue)| issue.to_owned()).collect();
        Self {
            healthy: issues.is_empty(),
            queue_stats: HealthStats {
                queued,
                processing,
                cancelling,
                completed,
                failed,
                cancelled,
                stuck: health.stuck,
            },
            oldest_queued_item: health.oldest_queued_at.map(rfc3339),
            ml_service_healthy: is_there,
            workers: crew.workers(),
            models: models.to_vec(),
            issues,
        }
    }
}

/// The answer to the cancel of one item.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelView {
    operation: &'static str,
    id: String,
    pub(super) outcome: &'static str,
    state: &'static str,
    image_status: &'static str,
    /// When it became irrevocable. `null` if it never was.
    cancelled_at: Option<String>,
    /// An item has no bytes of its own.
    released_bytes: u64,
}

impl CancelView {
    pub(super) fn of(item: &Item, is_changed: bool) -> Self {
        Self {
            operation: "queue",
            id: item.id.clone(),
            outcome: outcome(item.state, is_changed),
            state: item.state.as_str(),
            image_status: item.image_status(),
            cancelled_at: item.cancelled_at.map(rfc3339),
            released_bytes: 0,
        }
    }

    pub(super) fn message(&self) -> &'static str {
        match self.outcome {
            "cancelled" => "The item is cancelled.",
            "cancelling" => "The item is cancelled for good; its worker is being told.",
            "already_cancelled" => "The item was cancelled before.",
            "already_completed" => "The item was completed before; its result is kept.",
            _ => "The item had failed before.",
        }
    }
}

/// What a cancel has come to.
fn outcome(state: State, is_changed: bool) -> &'static str {
    match (state, is_changed) {
        (State::Cancelled, true) => "cancelled",
        (State::Cancelled, false) => "already_cancelled",
        (State::Completed, _) => "already_completed",
        (State::Failed, _) => "already_failed",
        // It cannot be active any more.
        (State::Cancelling | State::Queued | State::Processing, _) => "cancelling",
    }
}

/// The answer to the cancel of many.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CancelsView {
    cancelled: usize,
    cancelling: usize,
    unchanged: usize,
    total: usize,
    /// Whether there may be more than one call takes.
    more: bool,
    cancelled_count: usize,
    affected_projects: BTreeSet<String>,
    affected_batches: BTreeSet<String>,
    results: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    id: String,
    outcome: &'static str,
    state: &'static str,
}

impl CancelsView {
    pub(super) fn of(cancelled: Cancelled, more: bool) -> Self {
        let Cancelled { changed, unchanged } = cancelled;
        let of_state = |state| changed.iter().filter(|item| item.state == state).count();
        let lines = changed
            .iter()
            .map(|item| (item.id.clone(), item.state, true));
        let others = unchanged.into_iter().map(|(id, state)| (id, state, false));
        let results = lines.chain(others).map(|(id, state, is_changed)| Line {
            id,
            outcome: outcome(state, is_changed),
            state: state.as_str(),
        });
        let results: Vec<_> = results.collect();
        Self {
            cancelled: of_state(State::Cancelled),
            cancelling: of_state(State::Cancelling),
            unchanged: results.len() - changed.len(),
            total: results.len(),
            more,
            cancelled_count: changed.len(),
            affected_projects: changed.iter().map(|item| item.project.clone()).collect(),
            affected_batches: changed
                .iter()
                .filter_map(|item| item.batch.clone())
                .collect(),
            results,
        }
    }

    pub(super) fn message(&self) -> String {
        match self.cancelled_count {
            0 => String::from("Nothing was active."),
            1 => String::from("1 item is cancelled."),
            count => format!("{count} items are cancelled."),
        }
    }
}

/// What is told of a result before what the worker has reported.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultHead<'r> {
    image_id: &'r str,
    item_id: &'r str,
    model: &'r str,
    threshold: f64,
    detect_holes: bool,
    created_at: String,
}

/// The result of an image, in JSON: the members of the report behind those that tell of what it is.
///
/// # Errors
/// It cannot be written.
pub(super) fn result(image: &str, saved: &Saved) -> Result<String, serde_json::Error> {
    let head = serde_json::to_string(&ResultHead {
        image_id: image,
        item_id: &saved.item,
        model: &saved.model,
        threshold: saved.threshold.parse().unwrap_or(f64::NAN),
        detect_holes: saved.detect_holes,
        created_at: rfc3339(saved.created_at),
    })?;
    // Both are objects, and none is empty: one goes on where the other ends.
    let head = head.strip_suffix('}').unwrap_or(&head);
    let report = saved.report.strip_prefix('{').unwrap_or(&saved.report);
    Ok(format!("{head},{report}"))
}

/// An image.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ImageView {
    id: String,
    project_id: String,
    filename: Option<String>,
    content_type: Option<String>,
    size: u64,
    sha256: Option<String>,
    created_at: String,
    segmentation_status: &'static str,
    url: String,
}

impl ImageView {
    pub(super) fn of(image: Image, status: &'static str) -> Self {
        Self {
            url: format!("/files/{}", image.id),
            id: image.id,
            project_id: image.project,
            filename: image.filename,
            content_type: image.content_type,
            size: image.bytes,
            sha256: image.sha256,
            created_at: rfc3339(image.created_at),
            segmentation_status: status,
        }
    }
}

/// What only says how many.
pub(super) fn count(name: &str, count: u64) -> Value {
    serde_json::json!({ name: count })
}
