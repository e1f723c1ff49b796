//! The root of a store of files: which store it is, and who has it.
//!
//! `blobs/STORE` holds the store's id, and is locked by the process that uses the store. It lies
//! beside the blobs and not above them, so that it comes and goes with their file system.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::local::{blobs_dir, shard_dir, sync_dir};

/// Longer than an id; what is longer still is none.
const MARK_BYTES_MAX: u64 = 64;

/// A store of files in the hands of this process, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Root {
    blobs: PathBuf,
    mark: File,
    id: Option<Uuid>,
}

/// Why a store cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Another process has it.
    #[error("the store is in use by another tidegate")]
    InUse,
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Root {
    /// Takes the store below `dir`. `None`: there is none. Makes nothing.
    pub fn find(dir: &Path) -> Result<Option<Self>, RootError> {
        match Self::take(dir, false) {
            Err(RootError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            taken => taken.map(Some),
        }
    }

    /// Takes the store below `dir`, and begins one without an id where there is none.
    pub fn make(dir: &Path) -> Result<Self, RootError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(blobs_dir(dir))?;
        Self::take(dir, true)
    }

    fn take(dir: &Path, make: bool) -> Result<Self, RootError> {
        let blobs = blobs_dir(dir);
        let mut mark = OpenOptions::new()
            .read(true)
            .write(true)
            .create(make)
            .truncate(false)
            .mode(0o600)
            .open(blobs.join("STORE"))?;
        match mark.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RootError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut bytes = Vec::new();
        mark.by_ref().take(MARK_BYTES_MAX).read_to_end(&mut bytes)?;
        let id = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.trim_end().parse().ok());
        Ok(Self { blobs, mark, id })
    }

    /// The store's id. `None`: it was never given one, or a crash cut that short.
    pub fn id(&self) -> Option<Uuid> {
        self.id
    }

    /// Gives the store its id, durably.
    pub fn give_id(&mut self, id: Uuid) -> io::Result<()> {
        use io::Write;

        self.mark.set_len(0)?;
        self.mark.rewind()?;
        writeln!(self.mark, "{id}")?;
        self.mark.sync_all()?;
        sync_dir(&self.blobs)?;
        self.blobs.parent().map_or(Ok(()), sync_dir)?;
        self.id = Some(id);
        Ok(())
    }
}

/// Whether a store was ever opened below `dir`.
pub fn is_there(dir: &Path) -> bool {
    shard_dir(&blobs_dir(dir), 0).is_dir()
}

/// Whether any file is where the store below `dir` keeps blobs.
pub fn has_blobs(dir: &Path) -> io::Result<bool> {
    let blobs = blobs_dir(dir);
    for shard in 0..=u8::MAX {
        match fs::read_dir(shard_dir(&blobs, shard)) {
            Ok(mut entries) => {
                if entries.next().transpose()?.is_some() {
                    return Ok(true);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Root::find(dir.path()).unwrap().is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_id_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let id = Uuid::new_v4();
        let mut root = Root::make(dir.path()).unwrap();
        assert_eq!(root.id(), None);
        root.give_id(id).unwrap();
        drop(root);
        assert_eq!(Root::find(dir.path()).unwrap().unwrap().id(), Some(id));
        assert_eq!(Root::make(dir.path()).unwrap().id(), Some(id));
    }

    #[test]
    fn what_a_crash_left_of_an_id_is_none_and_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let id = Uuid::new_v4();
        for left in [
            &b""[..],
            &id.to_string().as_bytes()[..20],
            &[0; 37],
            &[b'x'; 100],
        ] {
            drop(Root::make(dir.path()).unwrap());
            fs::write(dir.path().join("blobs/STORE"), left).unwrap();
            let mut root = Root::make(dir.path()).unwrap();
            assert_eq!(root.id(), None);
            root.give_id(id).unwrap();
            drop(root);
            assert_eq!(Root::make(dir.path()).unwrap().id(), Some(id));
        }
    }

    #[test]
    fn a_store_has_one_holder() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::make(dir.path()).unwrap();
        assert!(matches!(Root::make(dir.path()), Err(RootError::InUse)));
        assert!(matches!(Root::find(dir.path()), Err(RootError::InUse)));
        drop(root);
        Root::make(dir.path()).unwrap();
    }

    #[test]
    fn blobs_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_there(dir.path()) && !has_blobs(dir.path()).unwrap());
        fs::create_dir_all(dir.path().join("blobs/00")).unwrap();
        fs::create_dir_all(dir.path().join("blobs/ff")).unwrap();
        assert!(is_there(dir.path()) && !has_blobs(dir.path()).unwrap());
        fs::write(dir.path().join("blobs/ff/x"), "x").unwrap();
        assert!(has_blobs(dir.path()).unwrap());
    }
}
