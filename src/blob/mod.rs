//! Stored bytes.
//!
//! A blob is a named run of bytes that one writer at a time appends to. It knows nothing of
//! uploads, offsets that were promised, or HTTP: the committed offset is the caller's, and is
//! handed in when a blob is opened.
//!
//! # Contract of [`BlobStore`]
//! * A blob comes into being with its first byte, and is durable, name included, once
//!   [`BlobWriter::sync`] returned. Before that a power cut may take any of it.
//! * Opening cuts everything past the committed offset before the next byte is written, so a
//!   stale tail never becomes content.
//! * After a failed sync the writer is dead: the error is not retried on that descriptor.
//! * Deleting what does not exist succeeds. A deletion is durable when it returns.
//!
//! `conformance.rs` runs the contract against every implementation.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::id::UploadId;

#[cfg(test)]
mod conformance;
pub mod digest;
pub mod local;
#[cfg(test)]
pub mod memory;
pub mod root;
mod watch;
mod writes;

pub use digest::Digests;

/// Where blobs are kept.
pub trait BlobStore: fmt::Debug + Send + Sync + 'static {
    /// A writer for the blob `id`, of which `committed` bytes are promised. Touches nothing yet.
    ///
    /// The caller guarantees that no other writer for `id` is alive.
    fn writer(&self, id: UploadId, committed: u64) -> Arc<dyn BlobWriter>;

    /// For each of `ids`, in this order, its length in bytes, or `None` where there is no blob. For
    /// many it costs little more than for one.
    fn lens(&self, ids: Vec<UploadId>) -> BoxFuture<'static, Vec<Result<Option<u64>, BlobError>>>;

    /// Reads `range`. Fails with [`BlobError::Short`] when the blob ends before it does.
    fn read(&self, id: UploadId, range: Range<u64>)
    -> BoxFuture<'static, Result<Bytes, BlobError>>;

    /// Removes the blob and whatever marks it; returns how many bytes it held.
    fn delete(&self, id: UploadId) -> BoxFuture<'static, Result<u64, BlobError>>;

    /// Every blob of one shard (0 to 255), for sweeps.
    fn scan(&self, shard: u8) -> BoxFuture<'static, Result<Vec<Found>, BlobError>>;

    /// Moves what a scan of `shard` has found, or a blob by its id, out of the way, where an
    /// operator finds it. If it is not there, that is done.
    fn quarantine(&self, shard: u8, name: String) -> BoxFuture<'static, Result<(), BlobError>>;

    /// Whether bytes could be written now.
    fn probe(&self) -> BoxFuture<'static, Result<(), BlobError>>;
}

/// Appends to one blob.
pub trait BlobWriter: Send + Sync + 'static {
    /// Marks everything past the committed offset as unverified, so that a crash discards it.
    fn stage(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>>;

    /// Takes that mark away again.
    fn unstage(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>>;

    /// Writes `data` at `at`, which is where the blob ends, and passes it by `digests`.
    ///
    /// # Cancel safety
    /// The write may go on when the future is dropped; its result is then lost, so the writer must
    /// be dropped too.
    fn append(
        self: Arc<Self>,
        at: u64,
        data: Bytes,
        digests: Digests,
    ) -> BoxFuture<'static, Appended>;

    /// Makes everything appended so far durable.
    fn sync(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>>;

    /// What has not begun need not be done any more: the blob is about to be removed.
    fn abandon(&self) {}

    /// Cuts the blob to `to` bytes.
    fn truncate(self: Arc<Self>, to: u64) -> BoxFuture<'static, Result<(), BlobError>>;

    /// Reads what the blob holds past the committed offset, up to `end` bytes in all, by
    /// `digests` and keeps it. Returns where the blob ends now. A staged tail is cut instead.
    fn adopt(
        self: Arc<Self>,
        end: u64,
        digests: Digests,
    ) -> BoxFuture<'static, Result<(Digests, u64), BlobError>>;
}

/// What an append did.
#[derive(Debug)]
pub struct Appended {
    /// The digests, including exactly the bytes before `end`.
    pub digests: Digests,
    /// Where the blob ends now.
    pub end: u64,
    /// Why it stopped early, if it did.
    pub error: Option<BlobError>,
}

/// A blob met by a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name as stored.
    pub name: String,
    /// The id, when the name is one.
    pub id: Option<UploadId>,
    /// Milliseconds since it was last changed.
    pub idle_ms: u64,
}

/// Why stored bytes could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No space, quota or file size left. Deleting still works.
    #[error("no space left for blobs")]
    Full,
    /// Fewer bytes are there than were promised: the upload is lost.
    #[error("the blob has {found} bytes where {promised} were promised")]
    Short {
        /// Bytes that the caller relies on.
        promised: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// Anything else that the storage said.
    #[error("storage failed")]
    Io(#[source] io::Error),
}

impl From<io::Error> for BlobError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full,
            _ => Self::Io(error),
        }
    }
}
