//! What the module needs of a database: whole transactions, never single rows.
//!
//! Every change of an upload is one conditional statement on its state, its epoch and its
//! committed offset, so all changes of one upload form one order. Terminal states have no way
//! out; each step out of `uploading` raises the epoch, which makes an older attempt's commits
//! fail.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidegate_protocol::field::length::Length;
use tidegate_protocol::request::Protocol;
use tidegate_protocol::response::Resource;
use tidegate_protocol::upload::{Commit, Facts};

use super::Census;
use crate::access::{Denied, Right};
use crate::auth::Caller;
use crate::clock;
use crate::id::UploadId;

/// Where an upload is in its life.
///
/// ```text
///  uploading ──► completed ──► deleting ──► (no row)
///      ├───────► cancelling ─► cancelled ─┐
///      ├───────► expired ─────────────────┼──► (no row) after the tombstone
///      └───────► failed ──────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Takes appends; a final upload waits for its parts.
    Uploading,
    /// The content is whole and stays as it is.
    Completed,
    /// Cancelled for good; its bytes are going.
    Cancelling,
    /// Its bytes are gone, this row is its tombstone.
    Cancelled,
    /// Nobody went on with it in time.
    Expired,
    /// It can never become whole: bytes were lost, or a part of a final upload ended.
    Failed,
    /// Deleted after completion; the row goes with its bytes.
    Deleting,
}

impl State {
    /// The word used in rows and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Completed => "completed",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Uploading,
            Self::Completed,
            Self::Cancelling,
            Self::Cancelled,
            Self::Expired,
            Self::Failed,
            Self::Deleting,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
    }
}

/// Where an upload's content comes from, and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Appended to; a file of its own.
    Whole,
    /// Appended to; meant as a part of final uploads.
    Partial,
    /// Made of partial uploads, in order; owns no bytes.
    Final,
}

impl Kind {
    /// The word used in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Partial => "partial",
            Self::Final => "final",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Whole, Self::Partial, Self::Final]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// An upload as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    pub id: UploadId,
    pub project: String,
    pub owner: String,
    pub kind: Kind,
    pub state: State,
    /// Raised by whatever ends the upload; a commit needs the current one.
    pub epoch: i64,
    /// Committed bytes: the only offset a client is ever told.
    pub offset: u64,
    /// `None` until declared.
    pub length: Option<u64>,
    /// `Upload-Metadata` as received.
    pub metadata: String,
    /// `Upload-Concat` as received.
    pub concat: Option<String>,
    /// State of the running SHA-256 at `offset`; cleared on completion. `None` without digests.
    pub digest: Option<Vec<u8>>,
    /// Set on completion, lower-case hexadecimal; for a final upload some time later.
    pub sha256: Option<String>,
    /// Times are milliseconds since the Unix epoch by the database's clock.
    pub created_at: i64,
    pub updated_at: i64,
    /// Set on completion.
    pub completed_at: Option<i64>,
    /// When it may be removed. `None`: never by itself. A final upload that waits lives as long as
    /// its parts, and the time of a complete part stands still while a final upload has it.
    pub expires_at: Option<i64>,
    /// Set by whatever ended it before completion.
    pub ended_at: Option<i64>,
    /// Why, in the canceller's words.
    pub end_reason: Option<String>,
    /// Who cancelled it.
    pub ended_by: Option<Canceller>,
    /// Since when its sender has been gone, as far as it was told. Cleared when one is back.
    pub interrupted_at: Option<i64>,
    /// The rules that it follows.
    pub protocol: Protocol,
    /// What the whole content is to have, in lower-case hexadecimal.
    pub expected_sha256: Option<String>,
    /// Bytes that its end has freed: as many as its blob had, or had committed if a crash came before
    /// that was written down. `None` as long as its blob may still be there.
    pub released_bytes: Option<u64>,
}

/// Who ends an upload. It decides what the sender is told, and whether a complete one goes too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canceller {
    /// Whoever sends it, by the protocol's own means. Removes a complete upload as well.
    Sender,
    /// Somebody else, perhaps behind the sender's back. Leaves a complete upload as it is.
    Other,
}

impl Canceller {
    /// The word used in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Other => "other",
        }
    }

    /// The inverse of [`Self::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Sender, Self::Other]
            .into_iter()
            .find(|canceller| canceller.as_str() == text)
    }
}

impl Upload {
    /// What the machine needs to know.
    pub fn facts(&self) -> Facts {
        Facts {
            offset: self.offset,
            length: self.length,
            complete: self.state == State::Completed,
            concatenated: self.kind == Kind::Final,
            has_digest: self.expected_sha256.is_some(),
            protocol: self.protocol,
        }
    }

    /// Bytes that its project is charged for it: those that it is to have or, while that is not known,
    /// those that it has; until they are gone. A final upload has none of its own.
    pub fn charge(&self) -> u64 {
        match (self.kind, self.released_bytes) {
            (Kind::Final, _) | (_, Some(_)) => 0,
            (Kind::Whole | Kind::Partial, None) => self.offset.max(self.length.unwrap_or(0)),
        }
    }

    /// What a client is told about it.
    pub fn resource(&self) -> Resource {
        let waits = self.kind == Kind::Final && self.state != State::Completed;
        let concat = match self.kind {
            Kind::Whole => None,
            Kind::Partial => Some(String::from("partial")),
            Kind::Final => self.concat.clone(),
        };
        let expires_at = self.expires_at.and_then(|ms| u64::try_from(ms).ok());
        Resource {
            offset: (!waits).then_some(self.offset),
            length: match self.length {
                Some(length) => Some(Length::Known(length)),
                None if waits => None,
                None => Some(Length::Deferred),
            },
            complete: self.state == State::Completed,
            sha256: self.sha256.clone(),
            metadata: self.metadata.clone(),
            concat,
            // Rounded up: it is there at least until then.
            expires_at: expires_at.map(|ms| ms.div_ceil(1000)),
            expires_in: expires_at.map(|ms| ms.saturating_sub(clock::unix_ms()) / 1000),
        }
    }
}

/// An upload, as somebody sees it who may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub upload: Upload,
    /// Whether he may append to it and end it.
    pub is_covered: bool,
}

impl Seen {
    /// What a caller with this right in its project sees.
    pub(super) fn of(upload: Upload, right: Right, caller: &Caller) -> Self {
        Self {
            is_covered: right.covers(caller, &upload.owner),
            upload,
        }
    }
}

/// An upload that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub upload: Upload,
    /// Whether it was not there before. One whose id was cancelled in advance is new, and ended.
    pub is_new: bool,
}

/// An upload to be.
#[derive(Clone, Debug)]
pub struct NewUpload {
    pub id: UploadId,
    /// Whether its client has chosen the id, and may have cancelled it in advance.
    pub named: bool,
    /// `None`: the caller's default one.
    pub project: Option<String>,
    /// Whose it is to be.
    pub caller: Caller,
    /// [`Kind::Whole`] or [`Kind::Partial`]; final uploads are made by `concatenate`.
    pub partial: bool,
    pub length: Option<u64>,
    pub metadata: String,
    pub protocol: Protocol,
    /// What the whole content is to have, in lower-case hexadecimal.
    pub expected_sha256: Option<String>,
    /// The state of a digest of nothing, or `None` without digests.
    pub digest: Option<Vec<u8>>,
    /// The digest of nothing, for one that is complete at once.
    pub sha256_of_nothing: Option<String>,
    pub expires_after: Duration,
}

impl NewUpload {
    /// Whether it is complete as soon as it is made, of nothing.
    pub fn is_whole(&self) -> bool {
        let has_digest = self.expected_sha256.is_some();
        self.length == Some(0) && self.protocol.completes_at_length(has_digest)
    }
}

/// A final upload to be.
#[derive(Clone, Debug)]
pub struct NewFinal {
    pub id: UploadId,
    /// Whether its client has chosen the id, and may have cancelled it in advance.
    pub named: bool,
    /// `None`: the caller's default one.
    pub project: Option<String>,
    /// Whose it is to be.
    pub caller: Caller,
    /// In the order of the content; one may be there several times.
    pub parts: Vec<UploadId>,
    pub metadata: String,
    /// `Upload-Concat` as received.
    pub concat: String,
    /// Bytes; what an offset can name at most.
    pub size_max: u64,
}

/// The length of a final upload, as far as its parts have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Bytes of the parts that have a length; as large as can be if they are too many to count.
    known: u64,
    /// Whether every part has one.
    is_whole: bool,
}

impl Sum {
    /// The length, once every part has one.
    pub fn length(self) -> Option<u64> {
        self.is_whole.then_some(self.known)
    }

    /// Whether it is too large already, whatever is still to come.
    pub fn exceeds(self, size_max: u64) -> bool {
        self.known > size_max
    }
}

impl FromIterator<Option<u64>> for Sum {
    fn from_iter<I: IntoIterator<Item = Option<u64>>>(lengths: I) -> Self {
        let none = Self {
            known: 0,
            is_whole: true,
        };
        lengths.into_iter().fold(none, |sum, length| Self {
            known: sum.known.saturating_add(length.unwrap_or(0)),
            is_whole: sum.is_whole && length.is_some(),
        })
    }
}

/// Why a final upload fails whose parts turn out to be larger than an upload may be.
pub(super) const TOO_LARGE: &str = "its parts are too large";

/// Why an upload was not made. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMade {
    /// There is no such project, or none for the caller.
    NoProject,
    /// There is no such upload any more in the final upload's project. Parts count from 1.
    PartNotFound(usize),
    /// It is not a partial upload.
    NotPartial(usize),
    /// The parts are larger than an upload may be.
    TooLarge,
    /// It does not fit into its project.
    OverQuota(Excess),
    /// Its owner has so many unfinished ones already, which is the most.
    TooManyOpen(u32),
}

/// How much there may be. Without a number, as much as there is room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes that the uploads of one project may be charged.
    pub project_bytes_max: Option<u64>,
    /// Unfinished uploads that one owner may have, final ones included that wait for their parts.
    pub open_max: Option<u32>,
}

/// What does not fit into a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Bytes that the project may be charged.
    pub quota: u64,
    /// Bytes that it is charged without it.
    pub used: u64,
}

/// What is in a project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that its uploads are charged.
    pub used_bytes: u64,
    /// Bytes that they may be charged at most.
    pub quota_bytes: Option<u64>,
    pub open: u64,
    pub completed: u64,
}

/// One step of an append, with what has to be saved along.
#[derive(Clone, Debug)]
pub struct Advance {
    pub id: UploadId,
    pub epoch: i64,
    pub commit: Commit,
    /// State of the running digest at `commit.to`.
    pub digest: Option<Vec<u8>>,
    /// The digest of the whole, if this completes the upload.
    pub sha256: Option<String>,
    pub expires_after: Duration,
    /// Final uploads that a length makes larger than this have failed.
    pub size_max: u64,
}

/// What became of an [`Advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advanced {
    /// It is committed.
    Committed {
        /// The new expiry.
        expires_at: Option<i64>,
    },
    /// The upload has moved on (cancelled, expired, advanced by somebody else).
    Refused,
    /// Its project has no room for what it would grow by. Nothing has changed.
    OverQuota(Excess),
}

/// What a cancel found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It was active and is `cancelling`, or was complete and is `deleting`, for good.
    Begun(Box<End>),
    /// It had ended before.
    Already(State),
    /// It is not the caller's to end.
    Uncovered,
    /// There is no such upload, or none for the caller.
    Unknown,
}

impl CancelOutcome {
    /// Whether this cancel is the one that ended it.
    #[cfg(test)]
    pub(super) fn has_begun(&self) -> bool {
        matches!(self, Self::Begun(_))
    }
}

/// What an upload leaves when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remains {
    /// Bytes of its own blob that its row promises.
    pub promised: u64,
    /// Whether they are all that is left of an upload that was complete, or are a part of it. They
    /// may be the only copy of something, so they are not to be destroyed.
    pub is_damaged: bool,
}

/// How an upload has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// None in which it takes appends.
    pub state: State,
    pub reason: Option<String>,
    /// Milliseconds since the Unix epoch by the database's clock.
    pub ended_at: Option<i64>,
    /// What is left of it, if that may go and is known without [`UploadStore::may_release`].
    pub remains: Option<Remains>,
}

impl End {
    pub(super) fn of(upload: &Upload) -> Self {
        // Only parts are in final uploads. What is deleted may be forgotten, and its id used again.
        let is_alone = upload.kind == Kind::Whole && upload.state == State::Cancelling;
        Self {
            state: upload.state,
            reason: upload.end_reason.clone(),
            ended_at: upload.ended_at,
            remains: is_alone.then_some(Remains {
                promised: upload.offset,
                is_damaged: false,
            }),
        }
    }
}

/// An upload for which something is to be done, in the order of the time since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// Milliseconds since the Unix epoch by the database's clock.
    pub at: i64,
    pub id: UploadId,
}

/// Failures that are nobody's decision.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database has no space left; reading and cancelling still work.
    #[error("no space left for the database")]
    Full,
    /// It cannot be reached, or is too busy. Later may be better.
    #[error("the database is not available")]
    Unavailable,
    /// Anything else.
    #[error("the database failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

type Answer<T> = BoxFuture<'static, Result<T, StoreError>>;

/// The module's transactions. Each tells what it changes on the project's feed, and is durable when
/// its future is done; each goes on to its end when its future is dropped.
pub trait UploadStore: fmt::Debug + Send + Sync + 'static {
    /// Makes an upload; complete at once if it [is whole](NewUpload::is_whole). If there is one with
    /// its id, that is returned as it is, whoever may see it, and whatever the [`Allowance`] says.
    fn create(&self, new: NewUpload) -> Answer<Result<Made, NotMade>>;

    /// Makes a final upload: only rows, no bytes. It is complete at once if all parts are. If there
    /// is one with its id, that is returned as it is, whoever may see it.
    fn concatenate(&self, new: NewFinal) -> Answer<Result<Made, NotMade>>;

    /// The upload, ended ones included while their row is there, whoever may see it.
    fn find(&self, id: UploadId) -> Answer<Option<Upload>>;

    /// As [`Self::find`], for a caller: what he may not see is not there.
    fn find_for(&self, id: UploadId, caller: Caller) -> Answer<Option<Seen>>;

    /// The upload as the last transaction on it leaves it: waits for one that is under way, even of
    /// a process or a connection that is gone. What a blob is cut to must be read this way whenever
    /// a commit's outcome is not known.
    fn find_settled(&self, id: UploadId) -> Answer<Option<Upload>>;

    /// The parts of a final upload in order, with duplicates.
    fn parts(&self, id: UploadId) -> Answer<Vec<Upload>>;

    /// Commits a step of an append, and does what follows for the final uploads that wait for it:
    /// gives them their length, fails those that became too large, completes the whole ones.
    fn advance(&self, advance: Advance) -> Answer<Advanced>;

    /// Its sender went away. Nothing happens if that was told before, or it no longer takes appends.
    fn interrupted(&self, id: UploadId) -> Answer<()>;

    /// A sender is back. Nothing happens if none was told to be away.
    fn resumed(&self, id: UploadId) -> Answer<()>;

    /// First step of a cancel, whoever asks for it: irrevocable from here on.
    fn cancel(&self, id: UploadId, by: Canceller, reason: Option<String>) -> Answer<CancelOutcome>;

    /// As [`Self::cancel`], for a caller and, if one is named, in that project. If there is no such
    /// upload yet, he gets it cancelled when he makes it; such promises are kept as long as
    /// tombstones, and each caller has a bounded number of them.
    fn forestall(
        &self,
        id: UploadId,
        project: Option<String>,
        caller: Caller,
        by: Canceller,
        reason: Option<String>,
    ) -> Answer<CancelOutcome>;

    /// First step of many cancels by somebody else than their senders, in one transaction: those of
    /// `ids`, each with its outcome and in that order, or the active ones of a project.
    fn cancel_many(
        &self,
        which: Which,
        caller: Caller,
        reason: Option<String>,
    ) -> Answer<Result<Vec<(UploadId, CancelOutcome)>, Denied>>;

    /// First step for up to `limit` uploads of a project that is going, complete ones too, by nobody's
    /// leave, with their outcomes.
    fn clear(
        &self,
        project: String,
        reason: String,
        limit: u32,
    ) -> Answer<Vec<(UploadId, CancelOutcome)>>;

    /// Whether all uploads of a project have ended, and their bytes are gone.
    fn is_clear(&self, project: String) -> Answer<bool>;

    /// Marks an upload whose stored bytes are fewer than were committed, and with it every final
    /// upload that is made of it, complete ones too, and even if it has been deleted itself.
    fn fail(&self, id: UploadId, reason: String) -> Answer<()>;

    /// Ends an upload whose time is over. False if it is not, or not any more.
    fn expire(&self, id: UploadId) -> Answer<bool>;

    /// What is left of an ended upload, if it may go: nothing refers to it.
    fn may_release(&self, id: UploadId) -> Answer<Option<Remains>>;

    /// Last step: the blob is gone. The parts of a final upload are let go, unless another one has
    /// them: their time, `parts_expire_after`, begins anew.
    fn released(&self, id: UploadId, bytes: u64, parts_expire_after: Duration) -> Answer<()>;

    /// Uploads past `after` whose time seems to be over.
    fn expiring(&self, after: Option<Due>, limit: u32) -> Answer<Vec<Due>>;

    /// Ended uploads past `after` whose blob is still there, but those that were deleted while a
    /// final upload had them, until that is released.
    fn releasable(&self, after: Option<Due>, limit: u32) -> Answer<Vec<Due>>;

    /// Forgets tombstones, and promises of [`Self::forestall`], older than `keep`. Returns how many
    /// tombstones.
    fn forget(&self, keep: Duration) -> Answer<u64>;

    /// Uploads with an id past `after` that take appends, by id, as [`Self::find_settled`] would
    /// find them.
    fn open(&self, after: Option<UploadId>, limit: u32) -> Answer<Vec<(UploadId, u64)>>;

    /// How many uploads are open, and how many have ended and still have bytes.
    fn census(&self) -> Answer<Census>;

    /// Every upload with an id past `after`, by id, but those whose bytes are gone.
    fn every(&self, after: Option<UploadId>, limit: u32) -> Answer<Vec<Upload>>;

    /// Of `ids`, those whose row says that there may be a blob.
    fn with_blob(&self, ids: Vec<UploadId>) -> Answer<Vec<UploadId>>;

    /// Complete final uploads that have no digest yet, oldest first.
    fn undigested(&self, limit: u32) -> Answer<Vec<UploadId>>;

    /// The digest of a complete final upload has been computed.
    fn digested(&self, id: UploadId, sha256: String) -> Answer<()>;

    /// Whether there is room for new uploads and appends. What is left on a full disk is kept for
    /// cancels and deletions.
    fn has_room(&self) -> bool;

    /// Tries to get the room back that a full disk used up.
    fn restore_room(&self) -> Answer<()>;

    /// Whether there is such a project for the caller.
    fn is_seen(&self, project: String, caller: Caller) -> Answer<bool>;

    /// How much is in a project. `None`: there is no such project for the caller.
    fn usage(&self, project: String, caller: Caller) -> Answer<Option<Usage>>;

    /// A page of a project's uploads, newest first, and how many there are in all. `None`: there is no
    /// such project for the caller.
    fn list(&self, filter: Filter, caller: Caller) -> Answer<Option<(Vec<Upload>, u64)>>;
}

/// What to cancel.
#[derive(Clone, Debug)]
pub enum Which {
    /// These, if they belong to the project. Those that are not there yet, the caller gets cancelled
    /// when he makes them.
    Ids { project: String, ids: Vec<UploadId> },
    /// Up to `limit` active ones of the project.
    Active {
        project: String,
        /// Everybody's, which is the owner's to ask for, or the caller's alone.
        all: bool,
        limit: u32,
    },
}

/// What to list.
#[derive(Clone, Debug)]
pub struct Filter {
    pub project: String,
    pub state: Option<State>,
    /// From 1.
    pub page: u32,
    /// Rows a page, 1 to 100.
    pub limit: u32,
}
