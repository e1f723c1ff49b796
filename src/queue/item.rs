//! Items as the database has them.

use crate::db::{DbError, Row};

/// Where an item is in its life.
///
/// ```text
///             claim                       finish
///   queued ──────────► processing ──────────────► completed
///     │  ▲                 │  │
///     │  └─────────────────┘  ├─────────────────► failed
///     │   given back, lease   │      no attempt is left
///     │   ended, to be tried  │ cancel
///     │   again               ▼
///     │ cancel            cancelling
///     ▼                       │ any report, or the end of the lease
///  cancelled ◄────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// It waits for a worker.
    Queued,
    /// A worker has it.
    Processing,
    /// It is cancelled for good, and its worker may still be at it.
    Cancelling,
    /// Its result is there.
    Completed,
    /// It can have no result.
    Failed,
    /// It is cancelled, and nobody works on it.
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

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// An item as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) image: String,
    pub(super) project: String,
    /// Who has enqueued it.
    pub(super) user: String,
    pub(super) batch: Option<String>,
    pub(super) model: String,
    pub(super) threshold: Threshold,
    pub(super) detect_holes: bool,
    pub(super) priority: i64,
    /// Decides who comes first among those of one priority.
    pub(super) turn: i64,
    /// Its place among those that were enqueued together.
    pub(super) place: i64,
    pub(super) state: State,
    pub(super) attempt: i64,
    pub(super) fence: i64,
    /// Who has it: as he calls himself, and the user of his token.
    pub(super) worker: Option<String>,
    pub(super) holder: Option<String>,
    /// When the cancel became irrevocable. In milliseconds since the Unix epoch, as all times of rows.
    pub(super) cancelled_at: Option<i64>,
    pub(super) cancel_reason: Option<String>,
    /// How a cancelled item came to its end.
    pub(super) how: Option<String>,
    pub(super) error: Option<String>,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    pub(super) started_at: Option<i64>,
    pub(super) finished_at: Option<i64>,
    /// What is left of the lease, in milliseconds.
    pub(super) lease: Option<i64>,
    /// What is left of the time to end in, in milliseconds.
    pub(super) grace: Option<i64>,
    /// The last item of the same image, if it is a later one.
    newer: Option<State>,
    has_result: bool,
}

impl Item {
    /// The status of its image.
    pub(super) fn image_status(&self) -> &'static str {
        image_status(self.newer.or(Some(self.state)), self.has_result)
    }

    /// Its image's last item, which may be this one, is in this state, and whether the image has a
    /// result.
    pub(super) fn see(&mut self, last: Option<State>, has_result: bool) {
        self.newer = last;
        self.has_result = has_result;
    }

    /// What it is called in events.
    pub(super) fn subject(&self) -> String {
        subject(&self.id)
    }
}

/// What an item is called in events.
pub(super) fn subject(id: &str) -> String {
    format!("queue/{id}")
}

/// An image's status, by its last item and whether it has a result. What is being cancelled, or has
/// been, is as if it had never been enqueued.
pub(super) fn image_status(last: Option<State>, has_result: bool) -> &'static str {
    match last {
        Some(State::Queued) => "queued",
        Some(State::Processing) => "processing",
        Some(State::Failed) => "failed",
        Some(State::Completed) => "segmented",
        Some(State::Cancelling | State::Cancelled) | None => match has_result {
            true => "segmented",
            false => "no_segmentation",
        },
    }
}

/// What a pixel is measured by: 0.1 to 0.9, in decimal, as short as it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Threshold(String);

impl Threshold {
    /// `None`: out of range.
    pub(super) fn new(value: f64) -> Option<Self> {
        (0.1..=0.9)
            .contains(&value)
            .then(|| Self(value.to_string()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn value(&self) -> f64 {
        // It was made of one.
        self.0.parse().unwrap_or(f64::NAN)
    }
}

pub(super) fn item(row: &Row) -> Result<Item, DbError> {
    let owned = |column| Ok::<_, DbError>(row.text(column)?.to_owned());
    let opt_owned = |column| Ok::<_, DbError>(row.opt_text(column)?.map(str::to_owned));
    Ok(Item {
        id: owned(0)?,
        image: owned(1)?,
        project: owned(2)?,
        user: owned(3)?,
        batch: opt_owned(4)?,
        model: owned(5)?,
        threshold: Threshold(owned(6)?),
        detect_holes: row.bool(7)?,
        priority: row.int(8)?,
        turn: row.int(9)?,
        place: row.int(10)?,
        state: state(row.text(11)?)?,
        attempt: row.int(12)?,
        fence: row.int(13)?,
        worker: opt_owned(14)?,
        holder: opt_owned(15)?,
        cancelled_at: row.opt_int(16)?,
        cancel_reason: opt_owned(17)?,
        how: opt_owned(18)?,
        error: opt_owned(19)?,
        created_at: row.int(20)?,
        updated_at: row.int(21)?,
        started_at: row.opt_int(22)?,
        finished_at: row.opt_int(23)?,
        lease: row.opt_int(24)?,
        grace: row.opt_int(25)?,
        newer: row.opt_text(26)?.map(state).transpose()?,
        has_result: row.int(27)? == 1,
    })
}

pub(super) fn items(rows: &[Row]) -> Result<Vec<Item>, DbError> {
    rows.iter().map(item).collect()
}

pub(super) fn state(text: &str) -> Result<State, DbError> {
    State::parse(text).ok_or(STRANGE)
}

/// A row that no statement of this module writes.
pub(super) const STRANGE: DbError =
    DbError::Aborted("a row of the queue holds what it never should");
