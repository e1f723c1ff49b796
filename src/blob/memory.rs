//! Blobs in memory, with a disk's habits: what was not synced can be taken away, and any call can
//! be made to fail. For tests.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, poll_fn, ready};

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
    quarantined: HashMap<UploadId, Vec<u8>>,
    /// Calls until one fails. `None`: none does.
    fails_after: Option<(usize, Failure)>,
    waits: Waits,
}

/// How often a call is pending before it has its effect, beside once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// An append.
    pub append: usize,
    /// Any other call.
    pub other: usize,
}

#[derive(Clone, Debug, Default)]
struct File {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Bytes that a failed sync has marked as clean: they can be read as long as the power lasts,
    /// and no later sync writes them.
    dropped: Range<usize>,
    staged: bool,
}

impl File {
    fn sync(&mut self) {
        self.durable.clone_from(&self.bytes);
        self.durable[self.dropped.clone()].fill(0);
    }

    fn fail_to_sync(&mut self) {
        self.dropped = self.durable.len().min(self.bytes.len())..self.bytes.len();
    }

    fn truncate(&mut self, to: usize) {
        self.bytes.truncate(to);
        self.dropped = self.dropped.start.min(to)..self.dropped.end.min(to);
    }
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

    /// Makes calls slow.
    pub fn slow_down(&self, waits: Waits) {
        self.disk().waits = waits;
    }

    /// Takes a failure back that has not come yet. Returns whether there was one.
    pub fn fail_no_more(&self) -> bool {
        self.disk().fails_after.take().is_some()
    }

    /// Takes away everything that was not synced.
    pub fn lose_power(&self) {
        for file in self.disk().files.values_mut() {
            file.bytes.clone_from(&file.durable);
            file.dropped = 0..0;
        }
    }

    /// The bytes of a blob; empty where there is none.
    pub fn content(&self, id: UploadId) -> Vec<u8> {
        self.disk()
            .files
            .get(&id)
            .map(|file| file.bytes.clone())
            .unwrap_or_default()
    }

    /// The bytes of a blob that was moved to quarantine.
    pub fn quarantined(&self, id: UploadId) -> Option<Vec<u8>> {
        self.disk().quarantined.get(&id).cloned()
    }

    /// How many blobs there are.
    pub fn count(&self) -> usize {
        self.disk().files.len()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pending at least once, so that a test can stop between a call and its effect.
    fn later<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> BoxFuture<'static, T> {
        let waits = self.disk().waits.other;
        Self::after(waits, work)
    }

    fn after<T: Send + 'static>(
        waits: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> BoxFuture<'static, T> {
        let mut waits = waits + 1;
        async move {
            poll_fn(|context| {
                if waits == 0 {
                    return Poll::Ready(());
                }
                waits -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            work()
        }
        .boxed()
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

impl BlobStore for MemoryStore {
    fn writer(&self, id: UploadId, committed: u64) -> Arc<dyn BlobWriter> {
        let opened = Mutex::new(false);
        Arc::new(MemoryWriter {
            store: self.clone(),
            id,
            committed: committed as usize,
            opened,
        })
    }

    fn lens(&self, ids: Vec<UploadId>) -> BoxFuture<'static, Vec<Result<Option<u64>, BlobError>>> {
        let disk = self.disk();
        let len = |id| Ok(disk.files.get(&id).map(|file| file.bytes.len() as u64));
        ready(ids.into_iter().map(len).collect()).boxed()
    }

    fn read(
        &self,
        id: UploadId,
        range: Range<u64>,
    ) -> BoxFuture<'static, Result<Bytes, BlobError>> {
        let content = self.content(id);
        let wanted = range.start as usize..range.end as usize;
        ready(
            content
                .get(wanted)
                .map(Bytes::copy_from_slice)
                .ok_or(BlobError::Short {
                    promised: range.end,
                    found: content.len() as u64,
                }),
        )
        .boxed()
    }

    fn delete(&self, id: UploadId) -> BoxFuture<'static, Result<u64, BlobError>> {
        let store = self.clone();
        self.later(move || {
            let gone = store.call()?.files.remove(&id);
            Ok(gone.map_or(0, |file| file.bytes.len() as u64))
        })
    }

    fn scan(&self, shard: u8) -> BoxFuture<'static, Result<Vec<Found>, BlobError>> {
        let disk = self.disk();
        let ids = disk.files.keys().filter(|id| id.shard() == shard);
        let found = ids.map(|id| Found {
            name: id.to_string(),
            id: Some(*id),
            idle_ms: u64::MAX,
        });
        ready(Ok(found.collect())).boxed()
    }

    fn quarantine(&self, _shard: u8, name: String) -> BoxFuture<'static, Result<(), BlobError>> {
        let mut disk = self.disk();
        if let Ok(id) = name.parse()
            && let Some(file) = disk.files.remove(&id)
        {
            disk.quarantined.insert(id, file.bytes);
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
            file.truncate(self.committed);
            file.staged = false;
        }
        *opened = true;
        Ok(())
    }
}

impl BlobWriter for MemoryWriter {
    fn stage(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        self.store.clone().later(move || {
            let mut disk = self.store.call()?;
            self.open(&mut disk, false)?;
            disk.files.entry(self.id).or_default().staged = true;
            Ok(())
        })
    }

    fn unstage(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        self.store.clone().later(move || {
            if let Some(file) = self.store.call()?.files.get_mut(&self.id) {
                file.staged = false;
            }
            Ok(())
        })
    }

    fn append(
        self: Arc<Self>,
        at: u64,
        data: Bytes,
        mut digests: Digests,
    ) -> BoxFuture<'static, Appended> {
        let waits = self.store.disk().waits.append;
        MemoryStore::after(waits, move || {
            let mut disk = match self.store.call() {
                Ok(disk) => disk,
                Err(error) => {
                    return Appended {
                        digests,
                        end: at,
                        error: Some(error),
                    };
                }
            };
            if let Err(error) = self.open(&mut disk, false) {
                return Appended {
                    digests,
                    end: at,
                    error: Some(error),
                };
            }
            let bytes = &mut disk.files.entry(self.id).or_default().bytes;
            assert_eq!(bytes.len() as u64, at, "an append goes where the blob ends");
            digests.update(&data);
            bytes.extend_from_slice(&data);
            Appended {
                digests,
                end: bytes.len() as u64,
                error: None,
            }
        })
    }

    fn sync(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        self.store.clone().later(move || {
            let called = self.store.call().map(drop);
            let mut disk = self.store.disk();
            match (disk.files.get_mut(&self.id), &called) {
                (Some(file), Ok(())) => file.sync(),
                (Some(file), Err(_)) => file.fail_to_sync(),
                (None, _) => {}
            }
            called
        })
    }

    fn truncate(self: Arc<Self>, to: u64) -> BoxFuture<'static, Result<(), BlobError>> {
        self.store.clone().later(move || {
            if let Some(file) = self.store.call()?.files.get_mut(&self.id) {
                file.truncate(to as usize);
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
        self.store.clone().later(move || {
            let mut disk = self.store.call()?;
            let staged = disk.files.get(&self.id).is_some_and(|file| file.staged);
            self.open(&mut disk, !staged)?;
            let file = disk.files.entry(self.id).or_default();
            file.staged = false;
            file.truncate(self.committed.max(end as usize));
            digests.update(&file.bytes[self.committed..]);
            Ok((digests, file.bytes.len() as u64))
        })
    }
}
