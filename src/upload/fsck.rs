//! Do rows and blobs agree? For an operator, while no server runs.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::store::{Kind, State, StoreError, Upload, UploadStore};
use crate::blob::{BlobError, BlobStore};
use crate::id::UploadId;

/// Rows looked at in one step.
const PAGE: u32 = 1_000;

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A blob that no row refers to. Repair: moved to quarantine.
    Orphan {
        /// Its name in the store.
        blob: String,
    },
    /// Fewer bytes than were committed. Repair: the upload is `failed`, and so is every final one
    /// that is made of it.
    Lost {
        /// Whose.
        upload: UploadId,
        /// Bytes that its row promises.
        promised: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// More bytes than a complete upload has. Repair: none; readers never see them.
    Excess {
        /// Whose.
        upload: UploadId,
        /// Bytes that its row promises.
        promised: u64,
        /// Bytes that are there.
        found: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Orphan { blob } => write!(f, "orphan: {blob} belongs to no upload"),
            Self::Lost {
                upload,
                promised,
                found,
            } => {
                write!(
                    f,
                    "lost: {upload} has {found} of {promised} committed bytes"
                )
            }
            Self::Excess {
                upload,
                promised,
                found,
            } => {
                write!(
                    f,
                    "excess: {upload} has {found} bytes where {promised} are its content"
                )
            }
        }
    }
}

/// Why a check did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Compares every row with every blob, and with `repair` mends what can be mended. Returns what
/// it found, mended or not.
///
/// # Errors
/// The database or the store failed; what was mended until then stays so.
pub async fn fsck(
    store: &Arc<dyn UploadStore>,
    blobs: &Arc<dyn BlobStore>,
    repair: bool,
) -> Result<Vec<Finding>, FsckError> {
    let mut findings = Vec::new();
    let mut after = None;
    loop {
        let page = store.every(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        let mut own = Vec::with_capacity(page.len());
        for upload in page {
            if has_own_bytes(&upload, store).await? {
                own.push(upload);
            }
        }
        let lens = blobs.lens(own.iter().map(|upload| upload.id).collect());
        for (upload, len) in own.into_iter().zip(lens.await) {
            let Some(finding) = compare(&upload, len?.unwrap_or(0)) else {
                continue;
            };
            if repair && matches!(finding, Finding::Lost { .. }) {
                store
                    .fail(upload.id, String::from("stored bytes were lost"))
                    .await?;
            }
            findings.push(finding);
        }
    }
    for shard in 0..=u8::MAX {
        for blob in orphans(store, blobs, shard).await? {
            if repair {
                blobs.quarantine(shard, blob.clone()).await?;
            }
            findings.push(Finding::Orphan { blob });
        }
    }
    Ok(findings)
}

/// Whether bytes of its own are promised to somebody.
async fn has_own_bytes(upload: &Upload, store: &Arc<dyn UploadStore>) -> Result<bool, StoreError> {
    Ok(match (upload.kind, upload.state) {
        (Kind::Final, _) => false,
        (_, State::Uploading | State::Completed) => true,
        // A living final upload may read it still.
        (_, State::Deleting) => store.may_release(upload.id).await?.is_none(),
        (_, State::Cancelling | State::Cancelled | State::Expired | State::Failed) => false,
    })
}

fn compare(upload: &Upload, found: u64) -> Option<Finding> {
    let (id, promised) = (upload.id, upload.offset);
    if found < promised {
        Some(Finding::Lost {
            upload: id,
            promised,
            found,
        })
    } else if found > promised && upload.state != State::Uploading {
        Some(Finding::Excess {
            upload: id,
            promised,
            found,
        })
    } else {
        None
    }
}

async fn orphans(
    store: &Arc<dyn UploadStore>,
    blobs: &Arc<dyn BlobStore>,
    shard: u8,
) -> Result<Vec<String>, FsckError> {
    let found = blobs.scan(shard).await?;
    let ids = found.iter().filter_map(|found| found.id).collect();
    let known: HashSet<UploadId> = store.with_blob(ids).await?.into_iter().collect();
    let orphans = found
        .into_iter()
        .filter(|found| found.id.is_none_or(|id| !known.contains(&id)));
    Ok(orphans.map(|found| found.name).collect())
}
