//! Do rows and archives agree? For an operator, while no server runs.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::end::blob;
use super::store::{self, Kept};
use crate::blob::{BlobError, BlobStore};
use crate::db::{Db, DbError};
use crate::id::UploadId;

/// One disagreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An archive that no export refers to. Repair: removed, since it can be made again, or moved aside
    /// if it is where none belongs.
    Orphan {
        /// Its name in the store.
        archive: String,
    },
    /// An archive is not as long as it was when it was whole. Repair: none; a download breaks off.
    Damaged {
        /// Whose.
        export: String,
        /// Bytes that its row promises.
        promised: u64,
        /// Bytes that are there.
        found: u64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Orphan { archive } => write!(f, "orphan: {archive} belongs to no export"),
            Self::Damaged {
                export,
                promised,
                found,
            } => write!(
                f,
                "damaged: the archive of {export} has {found} bytes where {promised} were written"
            ),
        }
    }
}

/// Why a check did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The store failed.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Compares every archive with its export, and with `repair` removes those that nobody has. Returns what
/// it found, mended or not.
///
/// # Errors
/// The database or the store failed; what was mended until then stays so.
pub async fn fsck(
    db: &Db,
    archives: &Arc<dyn BlobStore>,
    repair: bool,
) -> Result<Vec<Finding>, FsckError> {
    let mut findings = Vec::new();
    let mut after = String::new();
    loop {
        let page = store::archives(db, &after).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.id);
        let ids: Result<Vec<_>, _> = page.iter().map(|kept| blob(&kept.id)).collect();
        let lens = archives.lens(ids?).await;
        for (Kept { id, bytes }, len) in page.into_iter().zip(lens) {
            let (promised, found) = (bytes.unwrap_or(0), len?.unwrap_or(0));
            if promised != found {
                findings.push(Finding::Damaged {
                    export: id,
                    promised,
                    found,
                });
            }
        }
    }
    for shard in 0..=u8::MAX {
        let found = archives.scan(shard).await?;
        let ids: Vec<_> = found.iter().map(|found| found.name.clone()).collect();
        let kept = store::kept(db, &ids).await?.into_iter();
        let kept: HashSet<_> = kept.map(|kept| kept.id).collect();
        for found in found {
            let is_its_place = |id: &UploadId| id.shard() == shard && found.name == id.to_string();
            let own = found.id.filter(is_its_place);
            if own.is_some() && kept.contains(&found.name) {
                continue;
            }
            match own {
                _ if !repair => {}
                Some(id) => drop(archives.delete(id).await?),
                None => archives.quarantine(shard, found.name.clone()).await?,
            }
            findings.push(Finding::Orphan {
                archive: found.name,
            });
        }
    }
    Ok(findings)
}
