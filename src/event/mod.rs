//! Domain events: written with what they tell of, delivered to whoever listens.
//!
//! A change of state and its event are one transaction ([`record`]), so there is never one without
//! the other. Each feed counts its events without a hole and in the order of the commits; a reader
//! that has seen `n` knows that `n + 1` comes next, and gets it from the log ([`log`]) if it was too
//! slow for the live feed ([`hub`]).
//!
//! | may be relied on | kept by |
//! |---|---|
//! | an event for each change, one for one | [`record`], in the transaction of the change |
//! | the order of a feed is that of its commits | the feed's row, which every writer locks |
//! | a reader misses nothing that the log has | [`Subscription`]: it counts |
//! | no progress after the end | [`hub`]: one task per feed sends both |
//! | a slow reader costs no memory | the ring of a feed is bounded, and the log is the rest |

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use crate::clock::{self, rfc3339};

mod filter;
pub mod hub;
pub mod log;
mod subscription;
#[cfg(test)]
mod tests;

pub use filter::Filter;
pub use hub::{Hub, Operation, Operations};
pub use log::{record, record_all};
pub use subscription::{Cursor, Delivery, NoSuchPlace, Start, Subscription};

/// What happened. The words are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An upload exists.
    UploadCreated,
    /// Bytes have arrived. Live only.
    UploadProgress,
    /// Its sender went away before the end.
    UploadInterrupted,
    /// A sender is back.
    UploadResumed,
    /// It is whole.
    UploadCompleted,
    /// It is cancelled for good; its bytes are going.
    UploadCancelling,
    /// It is cancelled and its bytes are gone.
    UploadCancelled,
    /// Nobody went on with it in time.
    UploadExpired,
    /// It can never become whole.
    UploadFailed,
    /// It was complete, and was deleted.
    UploadDeleted,
    /// An export waits for its turn.
    ExportQueued,
    /// It has come further. Live only.
    ExportProgress,
    /// Its archive can be downloaded.
    ExportCompleted,
    /// It is cancelled for good; its archive is going.
    ExportCancelling,
    /// It is cancelled, and nothing of its archive is left.
    ExportCancelled,
    /// It can have no archive.
    ExportFailed,
    /// An item waits for a worker.
    QueueItemQueued,
    /// A worker has it.
    QueueItemProcessing,
    /// It has come further. Live only.
    QueueItemProgress,
    /// Its result is there.
    QueueItemCompleted,
    /// It can have no result.
    QueueItemFailed,
    /// It is cancelled for good; its worker is being told.
    QueueItemCancelling,
    /// It is cancelled, and nobody works on it.
    QueueItemCancelled,
    /// How many items of a project wait and are processed now.
    QueueStats,
    /// A project has a new title or description.
    ProjectUpdated,
    /// Somebody is a member of a project now.
    ShareAccepted,
    /// Somebody is no longer a member of a project, or no longer invited.
    ShareRevoked,
    /// The log no longer has what the reader asked for.
    FeedGap,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::UploadCreated,
        Self::UploadProgress,
        Self::UploadInterrupted,
        Self::UploadResumed,
        Self::UploadCompleted,
        Self::UploadCancelling,
        Self::UploadCancelled,
        Self::UploadExpired,
        Self::UploadFailed,
        Self::UploadDeleted,
        Self::ExportQueued,
        Self::ExportProgress,
        Self::ExportCompleted,
        Self::ExportCancelling,
        Self::ExportCancelled,
        Self::ExportFailed,
        Self::QueueItemQueued,
        Self::QueueItemProcessing,
        Self::QueueItemProgress,
        Self::QueueItemCompleted,
        Self::QueueItemFailed,
        Self::QueueItemCancelling,
        Self::QueueItemCancelled,
        Self::QueueStats,
        Self::ProjectUpdated,
        Self::ShareAccepted,
        Self::ShareRevoked,
        Self::FeedGap,
    ];

    /// The `type` of the event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UploadCreated => "upload.created",
            Self::UploadProgress => "upload.progress",
            Self::UploadInterrupted => "upload.interrupted",
            Self::UploadResumed => "upload.resumed",
            Self::UploadCompleted => "upload.completed",
            Self::UploadCancelling => "upload.cancelling",
            Self::UploadCancelled => "upload.cancelled",
            Self::UploadExpired => "upload.expired",
            Self::UploadFailed => "upload.failed",
            Self::UploadDeleted => "upload.deleted",
            Self::ExportQueued => "export.queued",
            Self::ExportProgress => "export.progress",
            Self::ExportCompleted => "export.completed",
            Self::ExportCancelling => "export.cancelling",
            Self::ExportCancelled => "export.cancelled",
            Self::ExportFailed => "export.failed",
            Self::QueueItemQueued => "queue.item.queued",
            Self::QueueItemProcessing => "queue.item.processing",
            Self::QueueItemProgress => "queue.item.progress",
            Self::QueueItemCompleted => "queue.item.completed",
            Self::QueueItemFailed => "queue.item.failed",
            Self::QueueItemCancelling => "queue.item.cancelling",
            Self::QueueItemCancelled => "queue.item.cancelled",
            Self::QueueStats => "queue.stats",
            Self::ProjectUpdated => "project.updated",
            Self::ShareAccepted => "share.accepted",
            Self::ShareRevoked => "share.revoked",
            Self::FeedGap => "feed.gap",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether only those get it who listen when it happens.
    pub fn is_live_only(self) -> bool {
        matches!(
            self,
            Self::UploadProgress | Self::ExportProgress | Self::QueueItemProgress
        )
    }

    /// Whether its operation tells no progress behind it: it has ended, or is being ended.
    pub fn ends_progress(self) -> bool {
        let is_ending = matches!(
            self,
            Self::UploadCancelling | Self::ExportCancelling | Self::QueueItemCancelling
        );
        is_ending || self.is_terminal()
    }

    /// Whether nothing more happens to its operation. There is exactly one such event for each.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::UploadCompleted
            | Self::UploadCancelled
            | Self::UploadExpired
            | Self::UploadFailed
            | Self::ExportCompleted
            | Self::ExportCancelled
            | Self::ExportFailed
            | Self::QueueItemCompleted
            | Self::QueueItemFailed
            | Self::QueueItemCancelled => true,
            Self::UploadCreated
            | Self::UploadProgress
            | Self::UploadInterrupted
            | Self::UploadResumed
            | Self::UploadCancelling
            | Self::UploadDeleted
            | Self::ExportQueued
            | Self::ExportProgress
            | Self::ExportCancelling
            | Self::QueueItemQueued
            | Self::QueueItemProcessing
            | Self::QueueItemProgress
            | Self::QueueItemCancelling
            | Self::QueueStats
            | Self::ProjectUpdated
            | Self::ShareAccepted
            | Self::ShareRevoked
            | Self::FeedGap => false,
        }
    }
}

/// Whose events belong together: the unit of order, and of who may see them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feed {
    /// What happens in a project.
    Project(String),
    /// What concerns a user, wherever it happens.
    User(String),
}

impl Feed {
    /// The inverse of its `Display`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            (_, "") => None,
            ("project", id) => Some(Self::Project(id.to_owned())),
            ("user", id) => Some(Self::User(id.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(id) => write!(f, "project:{id}"),
            Self::User(id) => write!(f, "user:{id}"),
        }
    }
}

/// An event to be.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Where it is told.
    pub feed: Feed,
    /// What happened.
    pub kind: Kind,
    /// To what: `upload/{id}`, `export/{id}`, `queue/{id}`, `project/{id}`, `share/{id}`.
    pub subject: String,
    /// The rest of the story.
    pub data: Value,
}

/// An event as it is delivered. Readers share it.
#[derive(Debug)]
pub struct Event {
    /// Where it is told.
    pub feed: Feed,
    /// Its place there. `None` for one that is live only.
    pub sequence: Option<u64>,
    /// The same however often it is delivered.
    pub id: String,
    /// What happened.
    pub kind: Kind,
    /// To what.
    pub subject: String,
    /// All of it, in JSON.
    pub json: Bytes,
}

impl Draft {
    /// An event that only its readers ever see, by this machine's clock.
    fn unlogged(self, id: String, sequence: Option<u64>) -> Result<Event, serde_json::Error> {
        Told {
            feed: self.feed,
            sequence,
            id,
            kind: self.kind,
            subject: self.subject,
            time: i64::try_from(clock::unix_ms()).unwrap_or(i64::MAX),
            data: &to_raw_value(&self.data)?,
        }
        .event()
    }
}

/// An event in its parts.
struct Told<'a> {
    feed: Feed,
    sequence: Option<u64>,
    id: String,
    kind: Kind,
    subject: String,
    /// Milliseconds since the Unix epoch.
    time: i64,
    data: &'a RawValue,
}

impl Told<'_> {
    fn event(self) -> Result<Event, serde_json::Error> {
        let json = serde_json::to_vec(&Envelope {
            specversion: "1.0",
            id: &self.id,
            source: "/tidegate",
            kind: self.kind.as_str(),
            subject: &self.subject,
            time: rfc3339(self.time),
            datacontenttype: "application/json",
            feed: self.feed.to_string(),
            sequence: self.sequence.map(|sequence| sequence.to_string()),
            data: self.data,
        })?;
        Ok(Event {
            feed: self.feed,
            sequence: self.sequence,
            id: self.id,
            kind: self.kind,
            subject: self.subject,
            json: json.into(),
        })
    }
}

/// CloudEvents 1.0 in JSON, with two extension attributes: `feed` and `sequence`.
#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    feed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<String>,
    data: &'a RawValue,
}
