//! Blobs as files on the local disk: `blobs/<first byte>/<id>`, mode 0600.
//!
//! The 256 shard directories exist before the first request, so a new blob needs one directory
//! sync at most. File descriptors live as long as a writer does. Everything that may block runs
//! on the blocking pool.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustix::fs::OFlags;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::writes::{THREADS_MAX, Writes};
use super::{Appended, BlobError, BlobStore, BlobWriter, Digests, Found};
use crate::id::UploadId;

/// What marks a blob whose tail waits for its checksum.
const STAGED: &str = ".staged";

/// Bytes read at a time when a tail is adopted.
const ADOPT_BYTES: usize = 256 * 1024;

/// Syncs at the same time.
const SYNCS_MAX: usize = 12;

/// Threads that syncs and writes may take at once. They can take long, and what else must block, such
/// as the removal of a file, needs some too.
pub const BLOCKED_MAX: usize = SYNCS_MAX + THREADS_MAX;

/// How many threads of a runtime may be writing at once, and be held up by the disk: it needs one
/// more than these.
pub fn writers_max() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Blobs below one directory.
#[derive(Clone, Debug)]
pub struct LocalStore {
    root: Arc<PathBuf>,
    sync: bool,
    writes: Arc<Writes>,
    syncs: Arc<Semaphore>,
}

impl LocalStore {
    /// Opens the store below `dir` and makes what is missing of it. With `sync` off, nothing is
    /// made durable: what was acknowledged survives the process, not the power.
    ///
    /// # Errors
    /// The directories cannot be made, or it is not called in a runtime.
    pub fn open(dir: &Path, sync: bool) -> io::Result<Self> {
        Ok(Self {
            root: Arc::new(make_shards(blobs_dir(dir), sync)?),
            sync,
            writes: Arc::new(Writes::new(writers_max())?),
            syncs: Arc::new(Semaphore::new(SYNCS_MAX)),
        })
    }

    /// Opens a store of other blobs, whose ids do not matter here, in the directory `dir`. Both take
    /// turns at the disk.
    ///
    /// # Errors
    /// The directories cannot be made.
    pub fn beside(&self, dir: PathBuf) -> io::Result<Self> {
        Ok(Self {
            root: Arc::new(make_shards(dir, self.sync)?),
            ..self.clone()
        })
    }

    /// The directory of the blobs, which may be the root of a file system of its own.
    pub fn dir(&self) -> &Path {
        &self.root
    }

    fn path(&self, id: UploadId) -> PathBuf {
        shard_dir(&self.root, id.shard()).join(id.to_string())
    }
}

/// Where the store below `dir` keeps its blobs.
pub(super) fn blobs_dir(dir: &Path) -> PathBuf {
    dir.join("blobs")
}

pub(super) fn shard_dir(root: &Path, shard: u8) -> PathBuf {
    root.join(format!("{shard:02x}"))
}

/// Makes a directory of blobs, and what is missing in it.
fn make_shards(root: PathBuf, sync: bool) -> io::Result<PathBuf> {
    for shard in 0..=u8::MAX {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(shard_dir(&root, shard))?;
    }
    if sync {
        sync_dir(&root)?;
        root.parent().map_or(Ok(()), sync_dir)?;
    }
    Ok(root)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Runs `work` where blocking is allowed.
fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> BoxFuture<'static, Result<T, BlobError>> {
    let task = tokio::task::spawn_blocking(work);
    async move {
        task.await
            .unwrap_or_else(|error| Err(BlobError::Io(io::Error::other(error))))
    }
    .boxed()
}

/// Cuts a file that is about to be removed to nothing, if it has no other name. Whoever has it open,
/// such as a sync that nobody waits for, then keeps no bytes on the disk.
fn empty(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let file = options.open(path)?;
    if file.metadata()?.nlink() == 1 {
        file.set_len(0)?;
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

impl BlobStore for LocalStore {
    fn writer(&self, id: UploadId, committed: u64) -> Arc<dyn BlobWriter> {
        Arc::new(LocalWriter {
            path: self.path(id),
            committed,
            sync: self.sync,
            writes: self.writes.clone(),
            syncs: self.syncs.clone(),
            file: OnceLock::new(),
            named: AtomicBool::new(committed > 0),
            abandoned: CancellationToken::new(),
        })
    }

    fn lens(&self, ids: Vec<UploadId>) -> BoxFuture<'static, Vec<Result<Option<u64>, BlobError>>> {
        let store = self.clone();
        let len = move |id| match fs::metadata(store.path(id)) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        };
        let asked = ids.len();
        let lens = blocking(move || Ok(ids.into_iter().map(len).collect::<Vec<_>>()));
        async move {
            lens.await.unwrap_or_else(|error| {
                let unknown = || Err(BlobError::Io(io::Error::other(error.to_string())));
                std::iter::repeat_with(unknown).take(asked).collect()
            })
        }
        .boxed()
    }

    fn read(
        &self,
        id: UploadId,
        range: Range<u64>,
    ) -> BoxFuture<'static, Result<Bytes, BlobError>> {
        let path = self.path(id);
        blocking(move || {
            let file = File::open(path)?;
            let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
            let mut buffer = vec![0; length];
            match file.read_exact_at(&mut buffer, range.start) {
                Ok(()) => Ok(Bytes::from(buffer)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Err(BlobError::Short {
                        promised: range.end,
                        found: file.metadata()?.len(),
                    })
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    fn delete(&self, id: UploadId) -> BoxFuture<'static, Result<u64, BlobError>> {
        let (path, sync) = (self.path(id), self.sync);
        blocking(move || {
            let held = fs::symlink_metadata(&path).map_or(0, |meta| meta.len());
            // What cannot be emptied is removed all the same.
            empty(&path).unwrap_or_default();
            let removed =
                remove_if_there(&path)? | remove_if_there(&path.with_extension("staged"))?;
            if removed && sync {
                path.parent().map_or(Ok(()), sync_dir)?;
            }
            Ok(held)
        })
    }

    fn scan(&self, shard: u8) -> BoxFuture<'static, Result<Vec<Found>, BlobError>> {
        let dir = shard_dir(&self.root, shard);
        blocking(move || {
            let mut found = Vec::new();
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let id = name.strip_suffix(STAGED).unwrap_or(&name).parse().ok();
                let idle_ms = match entry.metadata().and_then(|meta| meta.modified()) {
                    Ok(modified) => modified.elapsed().map_or(0, |age| age.as_millis()),
                    // It went away between the listing and now.
                    Err(_) => continue,
                };
                let idle_ms = u64::try_from(idle_ms).unwrap_or(u64::MAX);
                found.push(Found { name, id, idle_ms });
            }
            Ok(found)
        })
    }

    fn quarantine(&self, shard: u8, name: String) -> BoxFuture<'static, Result<(), BlobError>> {
        let root = self.root.clone();
        blocking(move || {
            // Names come from a scan, which gives no separators; one would leave the store.
            if name.contains('/') {
                return Err(BlobError::Io(io::ErrorKind::InvalidInput.into()));
            }
            let away = root.with_file_name("quarantine");
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&away)?;
            match fs::rename(shard_dir(&root, shard).join(&name), away.join(&name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                Ok(()) | Err(_) => Ok(()),
            }
        })
    }

    fn probe(&self) -> BoxFuture<'static, Result<(), BlobError>> {
        let path = self.root.join("probe");
        blocking(move || {
            fs::write(&path, [0; 4096])?;
            remove_if_there(&path)?;
            Ok(())
        })
    }
}

/// Appends to one file. The file is opened, and made if need be, by the first operation.
#[derive(Debug)]
struct LocalWriter {
    path: PathBuf,
    /// Bytes that were promised when the writer was made.
    committed: u64,
    sync: bool,
    writes: Arc<Writes>,
    syncs: Arc<Semaphore>,
    file: OnceLock<File>,
    /// Whether the file's name is durable; set by the first sync.
    named: AtomicBool,
    abandoned: CancellationToken,
}

impl LocalWriter {
    /// The open file, cut to the committed offset when `keep_tail` is not set.
    fn file(&self, keep_tail: bool) -> Result<&File, BlobError> {
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(self.committed == 0)
            .truncate(false)
            .mode(0o600);
        let file = options
            .open(&self.path)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound if self.committed > 0 => BlobError::Short {
                    promised: self.committed,
                    found: 0,
                },
                _ => error.into(),
            })?;
        let found = file.metadata()?.len();
        if found < self.committed {
            return Err(BlobError::Short {
                promised: self.committed,
                found,
            });
        }
        if !keep_tail {
            if found > self.committed {
                file.set_len(self.committed)?;
            }
            // The order matters: a tail must never be there without its mark.
            remove_if_there(&self.staged_path())?;
        }
        Ok(self.file.get_or_init(|| file))
    }

    fn staged_path(&self) -> PathBuf {
        self.path.with_extension("staged")
    }

    fn sync_now(&self) -> Result<(), BlobError> {
        let Some(file) = self.file.get() else {
            return Ok(());
        };
        file.sync_data()?;
        if !self.named.load(Ordering::Relaxed) {
            self.path.parent().map_or(Ok(()), sync_dir)?;
            self.named.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Returns where the blob ends then, whether or not everything was written.
    fn write(&self, at: u64, mut data: &[u8]) -> (u64, Result<(), BlobError>) {
        let file = match self.file(false) {
            Ok(file) => file,
            Err(error) => return (at, Err(error)),
        };
        let mut end = at;
        while !data.is_empty() {
            match file.write_at(data, end) {
                Ok(0) => return (end, Err(BlobError::Full)),
                Ok(n) => {
                    end += n as u64;
                    data = &data[n..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (end, Err(error.into())),
            }
        }
        (end, Ok(()))
    }
}

impl BlobWriter for LocalWriter {
    fn stage(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        blocking(move || {
            // The order matters: a tail must never be there without its mark.
            self.file(false)?;
            OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(self.staged_path())?;
            Ok(())
        })
    }

    fn unstage(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        blocking(move || {
            remove_if_there(&self.staged_path())?;
            Ok(())
        })
    }

    fn append(
        self: Arc<Self>,
        at: u64,
        data: Bytes,
        mut digests: Digests,
    ) -> BoxFuture<'static, Appended> {
        async move {
            let writes = self.writes.clone();
            let turn = tokio::select! {
                biased;
                // One that is dropped has not begun.
                turn = writes.turn() => turn,
                () = self.abandoned.cancelled() => {
                    return Appended { digests, end: at, error: None };
                }
            };
            let work = move || {
                let (end, written) = self.write(at, &data);
                let length = usize::try_from(end - at).unwrap_or(usize::MAX);
                digests.update(&data[..length.min(data.len())]);
                Appended {
                    digests,
                    end,
                    error: written.err(),
                }
            };
            writes.run(turn, work).await
        }
        .boxed()
    }

    fn abandon(&self) {
        self.abandoned.cancel();
    }

    fn sync(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        if !self.sync {
            return std::future::ready(Ok(())).boxed();
        }
        async move {
            // Whoever is dropped while it waits here leaves the queue.
            let turn = self.syncs.clone().acquire_owned().await;
            blocking(move || {
                let _turn = turn;
                self.sync_now()
            })
            .await
        }
        .boxed()
    }

    fn truncate(self: Arc<Self>, to: u64) -> BoxFuture<'static, Result<(), BlobError>> {
        blocking(move || {
            if let Some(file) = self.file.get() {
                file.set_len(to)?;
            }
            remove_if_there(&self.staged_path())?;
            Ok(())
        })
    }

    fn adopt(
        self: Arc<Self>,
        end: u64,
        mut digests: Digests,
    ) -> BoxFuture<'static, Result<(Digests, u64), BlobError>> {
        blocking(move || {
            let staged = self.staged_path().try_exists()?;
            let mut file = self.file(!staged)?;
            let found = file.metadata()?.len();
            let keep = found.min(end.max(self.committed));
            if found > keep {
                file.set_len(keep)?;
            }
            let mut at = self.committed;
            file.seek(SeekFrom::Start(at))?;
            let mut buffer = vec![0; ADOPT_BYTES];
            while at < keep {
                let n = file.read(&mut buffer)?;
                if n == 0 {
                    return Err(BlobError::Short {
                        promised: keep,
                        found: at,
                    });
                }
                digests.update(&buffer[..n]);
                at += n as u64;
            }
            Ok((digests, at))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else it would come after the removal, and bring the file back.
    #[tokio::test]
    async fn an_abandoned_write_that_waits_is_never_done() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path(), true).unwrap();
        let id = UploadId::random();
        let writer = store.writer(id, 0);
        let digests = Digests::resume(None).unwrap();
        let hello = Bytes::from_static(b"hello");
        let turns = store.writes.all_turns();
        let mut append = writer.clone().append(0, hello.clone(), digests);
        assert!((&mut append).now_or_never().is_none());
        writer.abandon();
        let appended = append.await;
        assert!(appended.end == 0 && appended.error.is_none());
        drop(turns);
        assert!(!store.path(id).exists());
        // In its turn, it is done at once.
        let another = store.writer(id, 0).append(0, hello, appended.digests);
        assert_eq!(another.await.end, 5);
    }

    /// Somebody may have taken a finished upload by a name of its own.
    #[tokio::test]
    async fn another_name_of_a_removed_blob_keeps_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path(), true).unwrap();
        let id = UploadId::random();
        let digests = Digests::resume(None).unwrap();
        let hello = Bytes::from_static(b"hello");
        store.writer(id, 0).append(0, hello, digests).await;
        let kept = dir.path().join("kept");
        fs::hard_link(store.path(id), &kept).unwrap();
        assert_eq!(store.delete(id).await.unwrap(), 5);
        assert_eq!(fs::read(kept).unwrap(), b"hello");
        // Who has it open keeps nothing.
        let digests = Digests::resume(None).unwrap();
        let hello = Bytes::from_static(b"hello");
        store.writer(id, 0).append(0, hello, digests).await;
        let open = File::open(store.path(id)).unwrap();
        assert_eq!(store.delete(id).await.unwrap(), 5);
        assert_eq!(open.metadata().unwrap().len(), 0);
    }
}
