//! Blobs in memory, with a disk's habits: what was not synced can be taken away, and any call can
//! be made to fail. For tests.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::{Appended, BlobError, BlobStore, BlobWriter, Digests, Found};
use crate::id::UploadId;

/// Blobs in memory. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    files: HashMap<UploadId, File>,
    /// Calls until one fails. `None`: none does.
    fails_after: Option<(usize, Failure)>,
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    staged: bool,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Full,
    Io,
}

impl MemoryStore {
    /// The call after `calls` more ones fails, once.
    pub fn fail_after(&self, calls: usize, failure: Failure) {
        self.disk().fails_after = Some((calls, failure));
    }

    /// Whether the failure asked for is still to come.
    pub fn is_about_to_fail(&self) -> bool {
        self.disk().fails_after.is_some()
    }

    /// Takes away everything that was not synced.
    pub fn lose_power(&self) {
        for file in self.disk().files.values_mut() {
            file.bytes.clone_from(&file.durable);
        }
    }

    /// The bytes of a blob; empty where there is none.
    pub fn content(&self, id: UploadId) -> Vec<u8> {
        self.disk().files.get(&id).map(|file| file.bytes.clone()).unwrap_or_default()
    }

    /// How many blobs there are.
    pub fn count(&self) -> usize {
        self.disk().files.len()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call: fails if it is the one that was asked to.
    fn call(&self) -> Result<MutexGuard<'_, Disk>, BlobError> {
        let mut disk = self.disk();
        match disk.fails_after.take() {
            None => Ok(disk),
            Some((0, Failure::Full)) => Err(BlobError::Full),
            Some((0, Failure::Io)) => Err(BlobError::Io(io::Error::other("asked to fail"))),
            Some((calls, failure)) => {
                disk.fails_after = Some((calls - 1, failure));
                Ok(disk)
            }
        }
    }
}

/// Pending once, so that a test can stop between a call and its effect.
fn later<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> BoxFuture<'static, T> {
    async move {
        let mut polled = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut polled, true) {
                return std::task::Poll::Ready(());
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
        work()
    }
    .boxed()
}

impl BlobStore for MemoryStore {
    fn writer(&self, id: UploadId, committed: u64) -> Arc<dyn BlobWriter> {
        let opened = Mutex::new(false);
        Arc::new(MemoryWriter { store: self.clone(), id, committed: committed as usize, opened })
    }

    fn len(&self, id: UploadId) -> BoxFuture<'static, Result<Option<u64>, BlobError>> {
        let len = self.disk().files.get(&id).map(|file| file.bytes.len() as u64);
        ready(Ok(len)).boxed()
    }

    fn read(&self, id: UploadId, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, BlobError>> {
        let content = self.content(id);
        let wanted = range.start as usize..range.end as usize;
        ready(content.get(wanted).map(Bytes::copy_from_slice).ok_or(BlobError::Short {
            promised: range.end,
            found: content.len() as u64,
        }))
        .boxed()
    }

    fn delete(&self, id: UploadId) -> BoxFuture<'static, Result<u64, BlobError>> {
        let store = self.clone();
        later(move || {
            let gone = store.call()?.files.remove(&id);
            Ok(gone.map_or(0, |file| file.bytes.len() as u64))
        })
    }

    fn scan(&self, shard: u8) -> BoxFuture<'static, Result<Vec<Found>, BlobError>> {
        let disk = self.disk();
        let ids = disk.files.keys().filter(|id| id.shard() == shard);
        let found = ids.map(|id| Found { name: id.to_string(), id: Some(*id), idle_ms: u64::MAX });
        ready(Ok(found.collect())).boxed()
    }

    fn quarantine(&self, name: String) -> BoxFuture<'static, Result<(), BlobError>> {
        if let Ok(id) = name.parse() {
            self.disk().files.remove(&id);
        }
        ready(Ok(())).boxed()
    }

    fn probe(&self) -> BoxFuture<'static, Result<(), BlobError>> {
        ready(self.call().map(drop)).boxed()
    }
}

struct MemoryWriter {
    store: MemoryStore,
    id: UploadId,
    committed: usize,
    opened: Mutex<bool>,
}

impl MemoryWriter {
    fn open(&self, disk: &mut Disk, keep_tail: bool) -> Result<(), BlobError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if *opened {
            return Ok(());
        }
        let file = disk.files.entry(self.id).or_default();
        if file.bytes.len() < self.committed {
            let (promised, found) = (self.committed as u64, file.bytes.len() as u64);
            return Err(BlobError::Short { promised, found });
        }
        if !keep_tail {
            file.bytes.truncate(self.committed);
        }
        *opened = true;
        Ok(())
    }
}

impl BlobWriter for MemoryWriter {
    fn stage(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        later(move || {
            let mut disk = self.store.call()?;
            self.open(&mut disk, false)?;
            disk.files.entry(self.id).or_default().staged = true;
            Ok(())
        })
    }

    fn unstage(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        later(move || {
            if let Some(file) = self.store.call()?.files.get_mut(&self.id) {
                file.staged = false;
            }
            Ok(())
        })
    }

    fn append(
        self: Arc<Self>,
        at: u64,
        data: Vec<Bytes>,
        mut digests: Digests,
    ) -> BoxFuture<'static, Appended> {
        later(move || {
            let mut disk = match self.store.call() {
                Ok(disk) => disk,
                Err(error) => return Appended { digests, end: at, error: Some(error) },
            };
            if let Err(error) = self.open(&mut disk, false) {
                return Appended { digests, end: at, error: Some(error) };
            }
            let bytes = &mut disk.files.entry(self.id).or_default().bytes;
            assert_eq!(bytes.len() as u64, at, "an append goes where the blob ends");
            for piece in data {
                digests.update(&piece);
                bytes.extend_from_slice(&piece);
            }
            Appended { digests, end: bytes.len() as u64, error: None }
        })
    }

    fn sync(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        later(move || {
            if let Some(file) = self.store.call()?.files.get_mut(&self.id) {
                file.durable.clone_from(&file.bytes);
            }
            Ok(())
        })
    }

    fn truncate(self: Arc<Self>, to: u64) -> BoxFuture<'static, Result<(), BlobError>> {
        later(move || {
            if let Some(file) = self.store.call()?.files.get_mut(&self.id) {
                file.bytes.truncate(to as usize);
                file.staged = false;
            }
            Ok(())
        })
    }

    fn adopt(
        self: Arc<Self>,
        end: u64,
        mut digests: Digests,
    ) -> BoxFuture<'static, Result<(Digests, u64), BlobError>> {
        later(move || {
            let mut disk = self.store.call()?;
            let staged = disk.files.get(&self.id).is_some_and(|file| file.staged);
            self.open(&mut disk, !staged)?;
            let file = disk.files.entry(self.id).or_default();
            file.staged = false;
            file.bytes.truncate(end as usize);
            digests.update(&file.bytes[self.committed..]);
            Ok((digests, file.bytes.len() as u64))
        })
    }
}
