//! A file that is being downloaded: bytes in order, hashed as they come, under another name until all
//! of them are there.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::upload::Mark;

/// What is read of a remembered tag.
const TAG_BYTES_MAX: u64 = 1024;

/// How often a file is opened that others take away before it can be locked.
const OPEN_TRIES: u32 = 16;

/// What is there of a content.
pub(super) struct Part {
    to: To,
    pub(super) mark: Mark,
}

enum To {
    File {
        file: Arc<File>,
        /// Where it goes in the end.
        path: PathBuf,
        replaces: bool,
    },
    Stdout,
}

impl Part {
    /// What an earlier run has left beside `path`, as far as it is of the content with this tag, and
    /// the tag that it is of.
    ///
    /// # Errors
    /// The file cannot be opened, or somebody else writes to it.
    pub(super) fn open(
        path: &Path,
        tag: Option<&str>,
        replaces: bool,
    ) -> io::Result<(Self, Option<String>)> {
        let file = open_alone(&beside(path, ".part"))?;
        let known = read(&beside(path, ".part.tag")).ok();
        let known = known.filter(|known| tag.is_none_or(|tag| tag == known));
        let to = To::File {
            file: Arc::new(file),
            path: path.to_owned(),
            replaces,
        };
        let mark = Mark::default();
        Ok((Self { to, mark }, known))
    }

    /// What comes is written to standard output.
    pub(super) fn stdout() -> Self {
        Self {
            to: To::Stdout,
            mark: Mark::default(),
        }
    }

    /// Hashes what is there, up to `length` bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn go_on(mut self, length: u64) -> io::Result<Self> {
        if let To::File { file, .. } = &self.to {
            let end = file.metadata()?.len().min(length);
            self.mark = self.mark.go_on(file.clone(), end).await?;
        }
        Ok(self)
    }

    /// Forgets what there is: a content with this tag comes.
    ///
    /// # Errors
    /// Something of it has been handed on already, or the file cannot be written.
    pub(super) fn begin(&mut self, tag: Option<&str>) -> io::Result<()> {
        match &self.to {
            To::File { file, path, .. } => {
                file.set_len(0)?;
                let known = beside(path, ".part.tag");
                match tag {
                    Some(tag) => write_tag(&known, tag)?,
                    None => remove(&known)?,
                }
            }
            To::Stdout if self.mark.at > 0 => {
                let why = "the content is another one now, and some of it has been written";
                return Err(io::Error::other(why));
            }
            To::Stdout => {}
        }
        self.mark = Mark::default();
        Ok(())
    }

    /// `bytes` come next.
    ///
    /// # Errors
    /// They cannot be written. What of them is there does not count.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        match &self.to {
            To::File { file, .. } => file.write_all_at(bytes, self.mark.at)?,
            To::Stdout => io::stdout().lock().write_all(bytes)?,
        }
        self.mark.update(bytes);
        Ok(())
    }

    /// It is whole: it gets its name, once it is safe on the disk.
    ///
    /// # Errors
    /// It does not. It is still there under the other name then.
    pub(super) fn finish(self) -> io::Result<()> {
        let To::File {
            file,
            path,
            replaces,
        } = &self.to
        else {
            return io::stdout().lock().flush();
        };
        file.set_len(self.mark.at)?;
        file.sync_all()?;
        let part = beside(path, ".part");
        match replaces {
            true => std::fs::rename(&part, path)?,
            false => rename_new(&part, path)?,
        }
        remove(&beside(path, ".part.tag"))?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }

    /// It is of no use.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(super) fn discard(self) -> io::Result<()> {
        let To::File { path, .. } = &self.to else {
            return Ok(());
        };
        remove(&beside(path, ".part"))?;
        remove(&beside(path, ".part.tag"))
    }
}

/// Opens a file that may be there already, for nobody else.
fn open_alone(part: &Path) -> io::Result<File> {
    for _ in 0..OPEN_TRIES {
        let mut options = options();
        let file = options.read(true).truncate(false).mode(0o666).open(part)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::Error::other("another download writes to it"),
        })?;
        // Another download may have finished, and given it its name, before it was locked here.
        if is_at(&file, part)? {
            return Ok(file);
        }
    }
    Err(io::Error::other("other downloads take it away"))
}

/// Whether the path still leads to this file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_tag(path: &Path, tag: &str) -> io::Result<()> {
    let mut file = options().truncate(true).open(path)?;
    file.write_all(tag.as_bytes())
}

/// To write to a file, not to where a link leads that somebody might have put there.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Renames to where nothing is, also if something comes there meanwhile.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot do that.
        Err(Errno::INVAL | Errno::NOSYS) if !to.try_exists()? => std::fs::rename(from, to),
        renamed => Ok(renamed?),
    }
}

/// `path` with more at the end of its name.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(more);
    name.into()
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(TAG_BYTES_MAX)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_to_where_a_link_leads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        let link = |name: &str| std::os::unix::fs::symlink(&victim, dir.path().join(name));
        link("a.part.tag").unwrap();
        let (mut part, _) = Part::open(&path, None, false).unwrap();
        part.begin(Some("tag")).unwrap_err();
        drop(part);
        std::fs::remove_file(dir.path().join("a.part")).unwrap();
        link("a.part").unwrap();
        assert!(Part::open(&path, None, false).is_err());
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    }

    #[test]
    fn a_tag_is_the_last_one_that_was_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for tag in ["a long one", "short"] {
            let (mut part, _) = Part::open(&path, None, false).unwrap();
            part.begin(Some(tag)).unwrap();
        }
        let (_, known) = Part::open(&path, None, false).unwrap();
        assert_eq!(known.as_deref(), Some("short"));
    }

    #[test]
    fn a_file_that_was_taken_away_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.part");
        let file = open_alone(&path).unwrap();
        assert!(is_at(&file, &path).unwrap());
        std::fs::rename(&path, dir.path().join("a")).unwrap();
        assert!(!is_at(&file, &path).unwrap());
        let other = open_alone(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap() && is_at(&other, &path).unwrap());
    }
}
