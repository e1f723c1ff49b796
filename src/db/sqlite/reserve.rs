//! Room kept back for the database, so that cancelling and deleting work on a full disk.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

/// Enough for thousands of small transactions, and for a checkpoint of the write-ahead log.
const BYTES: u64 = 4 * 1024 * 1024;
static BLOCK: [u8; 64 * 1024] = [0xA5; 64 * 1024];

/// A file of [`BYTES`] next to the database that is deleted when the disk is full.
pub(super) struct Reserve {
    path: PathBuf,
}

impl Reserve {
    pub(super) fn beside(database: &Path) -> Self {
        Self {
            path: database.with_file_name("reserve"),
        }
    }

    /// Tries to make the reserve if it is not there; says whether it is there now.
    pub(super) async fn hold(&self) -> bool {
        if let Ok(found) = fs::metadata(&self.path).await
            && found.len() == BYTES
        {
            return true;
        }
        match self.fill().await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "cannot make the database's reserve");
                // A part of it would only take room from the others.
                self.release().await;
                false
            }
        }
    }

    /// Gives the room back to the file system; says whether there was any.
    pub(super) async fn release(&self) -> bool {
        fs::remove_file(&self.path).await.is_ok()
    }

    /// Writes real bytes: a hole would reserve nothing, and neither would bytes that the file
    /// system has not yet given a place.
    async fn fill(&self) -> io::Result<()> {
        let mut file = File::create(&self.path).await?;
        for _ in 0..BYTES / BLOCK.len() as u64 {
            file.write_all(&BLOCK).await?;
        }
        file.sync_data().await
    }
}
