//! The digests of final uploads: who waits for whom, and who does not.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::script::Script;
use super::world::uploads_over;
use super::world::{World, append_at, config, content, new_final, new_upload, send, sha256};
use crate::blob::{BlobError, BlobStore, BlobWriter, Found};
use crate::cancel::CancelReason;
use crate::id::UploadId;
use crate::upload::Uploads;
use crate::upload::digest::FinalDigests;
use crate::upload::store::{NewUpload, UploadStore};
use crate::work::{Next, Worker};

const MIB: usize = 1024 * 1024;

/// What is done about a read, by its number from 1.
type OnRead = Box<dyn FnMut(usize) -> Result<(), io::Error> + Send>;

/// Blobs whose reads are counted, and may fail.
#[derive(Clone)]
struct Watched {
    inner: Arc<dyn BlobStore>,
    reads: Arc<AtomicUsize>,
    on_read: Arc<Mutex<OnRead>>,
}

/// The module over a world whose reads are watched, with a complete part of one MiB.
async fn watched(world: &World) -> (Arc<Uploads>, Watched, UploadId) {
    let watched = Watched {
        inner: Arc::new(world.blobs.clone()),
        reads: Arc::default(),
        on_read: Arc::new(Mutex::new(Box::new(|_| Ok(())))),
    };
    let rows = Arc::new(world.rows.clone());
    let uploads = uploads_over(rows, Arc::new(watched.clone()), config());
    let part = NewUpload {
        partial: true,
        ..new_upload(Some(MIB as u64))
    };
    let part = world.rows.create(part).await.unwrap().unwrap().upload.id;
    let script = Script::new(Script::sending(&content(MIB), 64 * 1024));
    let sent = send(&uploads, part, append_at(0), script).await;
    assert_eq!(sent.problem, None);
    (uploads, watched, part)
}

async fn made_of(world: &World, part: UploadId, times: usize) -> UploadId {
    let new = new_final(vec![part; times]);
    let made = world.rows.concatenate(new).await.unwrap();
    world.rows.pass(Duration::from_millis(1));
    made.unwrap().upload.id
}

impl Watched {
    fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    fn on_read(&self, then: impl FnMut(usize) -> Result<(), io::Error> + Send + 'static) {
        *self.on_read.lock().unwrap() = Box::new(then);
    }
}

#[tokio::test(start_paused = true)]
async fn a_huge_one_does_not_hold_up_the_small_ones() {
    let world = World::default();
    let (uploads, _, part) = watched(&world).await;
    let mut digests = FinalDigests::new(&uploads);
    let huge = made_of(&world, part, 150).await;
    assert_eq!(digests.work().await, Next::Now);
    let small = made_of(&world, part, 2).await;
    for _ in 0..3 {
        digests.work().await;
    }
    assert_eq!(
        world.row(small).sha256,
        Some(sha256(&content(MIB).repeat(2)))
    );
    assert_eq!(world.row(huge).sha256, None);
    while digests.work().await == Next::Now {}
    assert_eq!(
        world.row(huge).sha256,
        Some(sha256(&content(MIB).repeat(150)))
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_server_waits_for_one_read_at_most() {
    let world = World::default();
    let (uploads, watched, part) = watched(&world).await;
    made_of(&world, part, 150).await;
    let scope = uploads.scope.clone();
    watched.on_read(move |number| {
        if number == 3 {
            scope.cancel(CancelReason::Shutdown);
        }
        Ok(())
    });
    FinalDigests::new(&uploads).work().await;
    assert_eq!(watched.reads(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_meanwhile_is_read_no_further() {
    let world = World::default();
    let (uploads, watched, part) = watched(&world).await;
    let mut digests = FinalDigests::new(&uploads);
    let huge = made_of(&world, part, 150).await;
    digests.work().await;
    let read = watched.reads();
    assert!((1..150).contains(&read), "{read}");
    uploads.delete(huge).await.unwrap();
    while digests.work().await == Next::Now {}
    assert_eq!(watched.reads(), read);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_now_is_read_later() {
    let world = World::default();
    let (uploads, watched, part) = watched(&world).await;
    let mut digests = FinalDigests::new(&uploads);
    let made = made_of(&world, part, 3).await;
    watched.on_read(|number| match number {
        // Too many open files.
        2 | 3 => Err(io::Error::from_raw_os_error(24)),
        _ => Ok(()),
    });
    let mut seconds = 0;
    while world.row(made).sha256.is_none() {
        while digests.work().await == Next::Now {}
        tokio::time::advance(Duration::from_secs(1)).await;
        seconds += 1;
        assert!(seconds < 10, "it is not tried again");
    }
    assert_eq!(
        world.row(made).sha256,
        Some(sha256(&content(MIB).repeat(3)))
    );
    assert_eq!(watched.reads(), 5, "it goes on where it was");
    assert!(seconds > 2, "the pauses grow");
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

impl BlobStore for Watched {
    fn writer(&self, id: UploadId, committed: u64) -> Arc<dyn BlobWriter> {
        self.inner.writer(id, committed)
    }

    fn lens(&self, ids: Vec<UploadId>) -> BoxFuture<'static, Vec<Result<Option<u64>, BlobError>>> {
        self.inner.lens(ids)
    }

    fn read(
        &self,
        id: UploadId,
        range: Range<u64>,
    ) -> BoxFuture<'static, Result<Bytes, BlobError>> {
        let number = self.reads.fetch_add(1, Ordering::Relaxed) + 1;
        match (self.on_read.lock().unwrap())(number) {
            Ok(()) => self.inner.read(id, range),
            Err(error) => ready(Err(BlobError::Io(error))).boxed(),
        }
    }

    fn delete(&self, id: UploadId) -> BoxFuture<'static, Result<u64, BlobError>> {
        self.inner.delete(id)
    }

    fn scan(&self, shard: u8) -> BoxFuture<'static, Result<Vec<Found>, BlobError>> {
        self.inner.scan(shard)
    }

    fn quarantine(&self, shard: u8, name: String) -> BoxFuture<'static, Result<(), BlobError>> {
        self.inner.quarantine(shard, name)
    }

    fn probe(&self) -> BoxFuture<'static, Result<(), BlobError>> {
        self.inner.probe()
    }
}
