//! Exports as the database has them.

use serde::{Deserialize, Serialize};

use crate::db::{DbError, Row};

/// Where an export is in its life.
///
/// ```text
///             begin                       the archive is whole
///   queued ──────────► processing ──────────────► completed
///     │  ▲                 │  │
///     │  └─────────────────┘  └─────────────────► failed
///     │   the server was      │   it cannot be made
///     │   interrupted         │
///     │ cancel                │ cancel
///     └────────► cancelling ◄─┘
///                    │ nothing of the archive is left
///                    ▼
///                cancelled
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// It waits for its turn.
    Queued,
    /// Its archive is being written.
    Processing,
    /// It is cancelled for good, and something of its archive may be left.
    Cancelling,
    /// Its archive is whole.
    Completed,
    /// It can have no archive.
    Failed,
    /// It is cancelled, and nothing of its archive is left.
    Cancelled,
}

impl State {
    pub(super) const ALL: [Self; 6] = [
        Self::Queued,
        Self::Processing,
        Self::Cancelling,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word used in rows, in JSON and in events.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Processing => "processing",
            Self::Cancelling => "cancelling",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What an archive is to have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Options {
    pub(super) include_original_images: bool,
    pub(super) annotation_formats: Vec<AnnotationFormat>,
    pub(super) metrics_formats: Vec<MetricsFormat>,
    /// How many images were named. `None`: none was, so every image of the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) selected_images: Option<usize>,
}

/// How what was found in images is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AnnotationFormat {
    Coco,
    Yolo,
    Json,
}

/// How measurements are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MetricsFormat {
    Csv,
    Json,
}

impl Options {
    pub(super) fn annotates(&self, format: AnnotationFormat) -> bool {
        self.annotation_formats.contains(&format)
    }

    pub(super) fn measures(&self, format: MetricsFormat) -> bool {
        self.metrics_formats.contains(&format)
    }

    /// Whether what was found in the images is wanted in any form.
    pub(super) fn wants_findings(&self) -> bool {
        !self.annotation_formats.is_empty() || !self.metrics_formats.is_empty()
    }
}

/// An export as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) project: String,
    /// Who has asked for it.
    pub(super) user: String,
    pub(super) state: State,
    pub(super) options: Options,
    /// As its archive is called, without `.zip`.
    pub(super) title: String,
    /// How often it was begun.
    pub(super) attempt: i64,
    pub(super) warnings: Vec<String>,
    pub(super) error: Option<String>,
    /// Of its archive, once that is whole.
    pub(super) bytes: Option<u64>,
    pub(super) cancelled_at: Option<i64>,
    pub(super) cancel_reason: Option<String>,
    /// Once nothing of its archive is left: how many bytes that has freed.
    pub(super) released_bytes: Option<u64>,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    /// Until when its archive is kept.
    pub(super) expires_at: Option<i64>,
}

impl Job {
    /// What its events are about.
    pub(super) fn subject(&self) -> String {
        subject(&self.id)
    }

    /// Whether its archive can be downloaded, by the server's clock.
    pub(super) fn is_kept(&self, now: i64) -> bool {
        let is_due = self.expires_at.is_none_or(|expires_at| expires_at <= now);
        self.state == State::Completed && self.released_bytes.is_none() && !is_due
    }
}

/// What the events of an export are about.
pub(super) fn subject(id: &str) -> String {
    format!("export/{id}")
}

/// A row that no statement of this module writes.
pub(super) const STRANGE: DbError =
    DbError::Aborted("a row of an export holds what it never should");

/// The columns that [`job`] reads.
macro_rules! columns {
    () => {
        "id, project_id, user_id, state, options, title, attempt, warnings, error, bytes, \
         cancelled_at, cancel_reason, released_bytes, created_at, updated_at, started_at, \
         finished_at, expires_at"
    };
}
pub(super) use columns;

pub(super) fn job(row: &Row) -> Result<Job, DbError> {
    let bytes = |column| {
        let bytes = row.opt_int(column)?.map(u64::try_from);
        bytes.transpose().map_err(|_| STRANGE)
    };
    let state = row.text(3)?;
    Ok(Job {
        id: row.text(0)?.to_owned(),
        project: row.text(1)?.to_owned(),
        user: row.text(2)?.to_owned(),
        state: State::ALL
            .into_iter()
            .find(|known| known.as_str() == state)
            .ok_or(STRANGE)?,
        options: serde_json::from_str(row.text(4)?).map_err(|_| STRANGE)?,
        title: row.text(5)?.to_owned(),
        attempt: row.int(6)?,
        warnings: serde_json::from_str(row.text(7)?).map_err(|_| STRANGE)?,
        error: row.opt_text(8)?.map(str::to_owned),
        bytes: bytes(9)?,
        cancelled_at: row.opt_int(10)?,
        cancel_reason: row.opt_text(11)?.map(str::to_owned),
        released_bytes: bytes(12)?,
        created_at: row.int(13)?,
        updated_at: row.int(14)?,
        started_at: row.opt_int(15)?,
        finished_at: row.opt_int(16)?,
        expires_at: row.opt_int(17)?,
    })
}
