//! What users see, as JSON (contract, "Export").

use serde::Serialize;

use super::job::{Job, Options, State};
use super::progress::{Progress, Seen};
use crate::clock::rfc3339;

/// An export.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobView {
    id: String,
    project_id: String,
    user_id: String,
    state: &'static str,
    /// The same, under the name by which the application of a laboratory knows it.
    status: &'static str,
    progress: u64,
    stage: &'static str,
    message: String,
    stage_progress: Option<StageProgress>,
    options: Options,
    project_name: String,
    size: Option<u64>,
    warnings: Vec<String>,
    error: Option<String>,
    cancel_reason: Option<String>,
    cancelled_at: Option<String>,
    created_at: String,
    updated_at: String,
    started_at: Option<String>,
    completed_at: Option<String>,
    finished_at: Option<String>,
    expires_at: Option<String>,
    /// Whether the archive is there.
    downloadable: bool,
}

/// How far a stage is.
#[derive(Serialize)]
struct StageProgress {
    current: u64,
    total: u64,
}

impl JobView {
    /// `running`: of one that is under way. `now`: in milliseconds since the Unix epoch.
    pub(super) fn of(job: Job, running: Option<&Progress>, now: i64) -> Self {
        let seen = running
            .filter(|_| job.state == State::Processing)
            .map(Progress::seen);
        let (stage, message) = words(&job, seen.as_ref());
        let downloadable = job.is_kept(now);
        let message = match (job.state, downloadable) {
            (State::Completed, false) => "The archive is no longer kept.",
            _ => message,
        };
        Self {
            progress: match (job.state, &seen) {
                (State::Completed, _) => 100,
                (_, Some(seen)) => seen.percent,
                (_, None) => 0,
            },
            stage,
            message: message.to_owned(),
            stage_progress: seen.map(|seen| StageProgress {
                current: seen.items,
                total: seen.items_in_all,
            }),
            downloadable,
            id: job.id,
            project_id: job.project,
            user_id: job.user,
            state: job.state.as_str(),
            status: job.state.as_str(),
            options: job.options,
            project_name: job.title,
            size: job.bytes,
            warnings: job.warnings,
            error: job.error,
            cancel_reason: job.cancel_reason,
            cancelled_at: job.cancelled_at.map(rfc3339),
            created_at: rfc3339(job.created_at),
            updated_at: rfc3339(job.updated_at),
            started_at: job.started_at.map(rfc3339),
            completed_at: job
                .finished_at
                .filter(|_| job.state == State::Completed)
                .map(rfc3339),
            finished_at: job.finished_at.map(rfc3339),
            expires_at: job.expires_at.map(rfc3339),
        }
    }
}

/// The stage of an export, and a sentence about it.
pub(super) fn words<'j>(job: &'j Job, seen: Option<&Seen>) -> (&'static str, &'j str) {
    match (job.state, seen) {
        (State::Processing, Some(seen)) => (seen.stage, seen.message),
        (State::Processing, None) => ("planning", "The export is beginning."),
        (State::Queued, _) => ("queued", "The export waits for its turn."),
        (State::Cancelling, _) => ("cancelling", "The export is being cancelled."),
        (State::Completed, _) => ("completed", "The archive can be downloaded."),
        (State::Failed, _) => (
            "failed",
            job.error
                .as_deref()
                .unwrap_or("The archive could not be made."),
        ),
        (State::Cancelled, _) => ("cancelled", "The export is cancelled."),
    }
}

/// The answer to a cancel (contract, "Cancel").
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelView {
    operation: &'static str,
    id: String,
    outcome: &'static str,
    state: &'static str,
    cancelled_at: Option<String>,
    released_bytes: u64,
}

impl CancelView {
    pub(super) fn of(job: &Job, is_changed: bool) -> Self {
        Self {
            operation: "export",
            id: job.id.clone(),
            outcome: match (job.state, is_changed) {
                (State::Cancelled, true) => "cancelled",
                (State::Cancelled, false) => "already_cancelled",
                (State::Completed, _) => "already_completed",
                (State::Failed, _) => "already_failed",
                // It cannot be active any more.
                (State::Cancelling | State::Queued | State::Processing, _) => "cancelling",
            },
            state: job.state.as_str(),
            cancelled_at: job.cancelled_at.map(rfc3339),
            released_bytes: job
                .released_bytes
                .filter(|_| job.state == State::Cancelled)
                .unwrap_or(0),
        }
    }

    pub(super) fn message(&self) -> &'static str {
        match self.outcome {
            "cancelled" => "The export is cancelled.",
            "cancelling" => "The export is cancelled for good; its archive is being removed.",
            "already_cancelled" => "The export was cancelled before.",
            "already_completed" => "The export was completed before.",
            _ => "The export had failed before.",
        }
    }
}
