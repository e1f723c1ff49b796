//! Directories that this process makes, and those that it has for itself.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::AppError;

/// What may be made on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// All that is missing.
    Make,
    /// Nothing: what is missing was mistyped.
    Find,
}

/// Makes a directory and what is missing above it, so that a power loss cannot take them back with
/// what is put into them.
pub(super) fn make(dir: &Path) -> Result<(), AppError> {
    let unusable = |source| unusable(dir, source);
    let changed = changed_by_making(dir);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(unusable)?;
    for parent in changed {
        match File::open(&parent).and_then(|parent| parent.sync_all()) {
            Ok(()) => {}
            // It may be entered and written to, and still not be read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::warn!(%error, "cannot sync {}", parent.display());
            }
            Err(error) => return Err(unusable(error)),
        }
    }
    Ok(())
}

/// The directories that get a new entry when `dir` is made, the lowest first.
fn changed_by_making(dir: &Path) -> Vec<PathBuf> {
    dir.ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .filter_map(Path::parent)
        .map(|parent| match parent.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => parent.to_owned(),
        })
        .collect()
}

/// Fails unless `path` is there.
pub(super) fn find(path: &Path) -> Result<(), AppError> {
    match path.metadata() {
        Ok(_) => Ok(()),
        Err(source) => Err(unusable(path, source)),
    }
}

/// Takes a directory for this process alone. A lock on an open file, never a PID file: it ends
/// with its holder, whatever number the next one gets. `None`: no server ever had it, and the file
/// is not to be made.
pub(super) fn lock(dir: &Path, access: Access) -> Result<Option<File>, AppError> {
    let unusable = |source| unusable(dir, source);
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(access == Access::Make)
        .truncate(false)
        .mode(0o600);
    let file = match options.open(dir.join("LOCK")) {
        Err(error) if access == Access::Find && error.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        opened => opened.map_err(unusable)?,
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(AppError::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

pub(super) fn unusable(path: &Path, source: io::Error) -> AppError {
    AppError::DataDir {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_with_a_new_entry_is_synced() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("a/b/c");
        let changed = [temp.path().join("a/b"), temp.path().join("a")];
        let changed = [&changed[..], &[temp.path().to_owned()]].concat();
        assert_eq!(changed_by_making(&dir), changed);
        make(&dir).unwrap();
        assert!(dir.is_dir());
        assert!(changed_by_making(&dir).is_empty());
        make(&dir).unwrap();
    }

    #[test]
    fn a_relative_directory_is_an_entry_of_the_current_one() {
        let dir = Path::new("tidegate-data-that-is-nowhere");
        assert_eq!(changed_by_making(dir), [Path::new(".")]);
    }
}
