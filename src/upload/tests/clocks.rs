//! Time, on a paused clock that moves when nothing else can: stalls, checkpoints, and how long one
//! request waits for another.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_protocol::problem::Problem;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::script::{Look, Piece, Script};
use super::world::{World, append_at, config, content, new_upload, send, told, uploads_over};
use crate::blob::memory::MemoryStore as MemoryBlobs;
use crate::blob::{Appended, BlobError, BlobStore, BlobWriter, Digests, Found};
use crate::cancel::{Scope, Settling, Task};
use crate::id::UploadId;
use crate::upload::Uploads;
use crate::upload::receive::Received;
use crate::upload::store::{State, UploadStore};

const LENGTH: u64 = 10_000;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn data(bytes: usize) -> Piece {
    Piece::Data(Bytes::from(content(bytes)))
}

async fn made(world: &World) -> UploadId {
    world
        .rows
        .create(new_upload(Some(LENGTH)))
        .await
        .unwrap()
        .unwrap()
        .upload
        .id
}

/// Sends this to a new upload. Returns it, what was answered, and when.
async fn run(world: &World, pieces: Vec<Piece>) -> (UploadId, Received, Duration) {
    let id = made(world).await;
    let begun = Instant::now();
    let received = send(&world.uploads(), id, append_at(0), Script::new(pieces)).await;
    (id, received, begun.elapsed())
}

/// The configuration asks for 30 bytes in each 30 seconds.
#[tokio::test(start_paused = true)]
async fn a_silent_sender_is_stalled() {
    for sent in [0_usize, 1, 20] {
        let world = World::default();
        let mut pieces: Vec<Piece> = (0..sent).map(|_| data(1)).collect();
        pieces.push(Piece::Silence);
        let (id, received, took) = run(&world, pieces).await;
        assert_eq!(
            told(&received),
            (Some(sent as u64), Some(&Problem::UploadStalled))
        );
        assert_eq!(world.row(id).offset, sent as u64, "what arrived is kept");
        assert!((seconds(30)..seconds(31)).contains(&took), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn silence_counts_from_the_last_sufficient_byte() {
    let world = World::default();
    let pieces = vec![Piece::Pause(seconds(20)), data(30), Piece::Silence];
    let (_, received, took) = run(&world, pieces).await;
    assert_eq!(told(&received), (Some(30), Some(&Problem::UploadStalled)));
    assert!((seconds(50)..seconds(51)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_trickle_is_stalled() {
    let world = World::default();
    let pieces = (0..1_000)
        .flat_map(|_| [data(1), Piece::Pause(seconds(2))])
        .collect();
    let (id, received, took) = run(&world, pieces).await;
    assert_eq!(received.problem, Some(Problem::UploadStalled));
    assert!(
        (14..=16).contains(&world.row(id).offset),
        "{}",
        world.row(id).offset
    );
    assert!((seconds(30)..seconds(31)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_sender_that_is_fast_enough_is_not() {
    let world = World::default();
    let pieces = (0..200)
        .flat_map(|_| [data(2), Piece::Pause(seconds(1))])
        .collect();
    let (id, received, took) = run(&world, pieces).await;
    assert_eq!(told(&received), (Some(400), None));
    assert_eq!((world.row(id).offset, took.as_secs()), (400, 200));
}

#[tokio::test(start_paused = true)]
async fn what_has_arrived_is_committed_at_intervals() {
    let world = World::default();
    let id = made(&world).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let look = {
        let (rows, seen, begun) = (world.rows.clone(), seen.clone(), Instant::now());
        move || {
            let offset = rows.row(id).map(|row| row.offset);
            seen.lock()
                .unwrap()
                .push((begun.elapsed().as_secs(), offset));
        }
    };
    let mut pieces = vec![data(5)];
    for _ in 0..4 {
        // Fewer than the bytes that make a checkpoint by themselves.
        pieces.extend([Piece::Pause(seconds(1)), Look::at(look.clone()), data(1)]);
    }
    let received = send(&world.uploads(), id, append_at(0), Script::new(pieces)).await;
    assert_eq!(told(&received), (Some(9), None));
    let seen = seen.lock().unwrap().clone();
    let at: Vec<u64> = seen.iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [1, 2, 3, 4]);
    assert_eq!(seen[0].1, Some(0), "the interval is two seconds");
    assert!(seen[2].1 >= Some(5), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn what_has_arrived_is_committed_by_bytes() {
    let world = World::default();
    let id = made(&world).await;
    let offsets = Arc::new(Mutex::new(Vec::new()));
    let mut pieces = Vec::new();
    for sent in 1..=40_u64 {
        let (rows, offsets) = (world.rows.clone(), offsets.clone());
        pieces.push(data(5));
        // Time for every call on the way to the row, and for bytes to wait for others.
        pieces.push(Piece::Pause(Duration::from_millis(5)));
        pieces.push(Look::at(move || {
            let offset = rows.row(id).map_or(0, |row| row.offset);
            offsets.lock().unwrap().push((sent * 5, offset));
        }));
    }
    let received = send(&world.uploads(), id, append_at(0), Script::new(pieces)).await;
    assert_eq!(told(&received), (Some(200), None));
    let offsets = offsets.lock().unwrap().clone();
    assert_eq!(offsets.len(), 40);
    for (sent, committed) in offsets {
        assert!(sent - committed < 16, "{sent} sent, {committed} committed");
    }
}

/// A disk that does not get on is not the sender's fault, however long it takes.
#[tokio::test(start_paused = true)]
async fn a_slow_disk_is_not_held_against_the_sender() {
    let world = World::default();
    let (gate, uploads) = gated(&world);
    let id = made(&world).await;
    let sender = start(&uploads, id, vec![data(1), data(1)]);
    get_going().await;
    assert_eq!(world.blobs.content(id).len(), 0, "nothing is written yet");
    let opener = gate.clone();
    let opened = Scope::root("disk").spawn(async move {
        let mut minutes = tokio::time::interval(seconds(60));
        for _ in 0..10 {
            minutes.tick().await;
        }
        opener.add_permits(1_000_000);
    });
    let received = sender.await.unwrap();
    opened.await.unwrap();
    assert_eq!(told(&received), (Some(2), None));
}

/// Once the disk gets on again, a sender has as much time as at the beginning.
#[tokio::test(start_paused = true)]
async fn a_slow_disk_does_not_use_up_the_senders_time() {
    let world = World::default();
    let (gate, uploads) = gated(&world);
    let id = made(&world).await;
    // What comes after the pause is too little to be enough by itself.
    let sender = start(&uploads, id, vec![data(1), data(1), Piece::Silence]);
    get_going().await;
    tokio::time::advance(seconds(300)).await;
    let opened = Instant::now();
    gate.add_permits(1_000_000);
    let received = sender.await.unwrap();
    let stalled = (Some(2), Some(&Problem::UploadStalled));
    assert_eq!(told(&received), stalled);
    let took = opened.elapsed();
    assert!((seconds(30)..seconds(31)).contains(&took), "{took:?}");
}

/// While it waits for the disk, nobody may say of a sender that it is silent.
#[tokio::test(start_paused = true)]
async fn a_slow_disk_is_not_a_silent_sender() {
    let world = World::default();
    let (gate, uploads) = gated(&world);
    let id = made(&world).await;
    let sender = start(&uploads, id, vec![data(1), data(1)]);
    get_going().await;
    tokio::time::advance(seconds(10)).await;
    let silent_for = || uploads.live.holder(&id).unwrap().shown.silent_for();
    assert_eq!(silent_for(), Duration::ZERO);
    gate.add_permits(1_000_000);
    assert_eq!(told(&sender.await.unwrap()), (Some(2), None));
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_wait_for_a_stuck_disk() {
    let world = World::default();
    let (gate, uploads) = gated(&world);
    let id = made(&world).await;
    let first = start(&uploads, id, vec![data(10), Piece::Silence]);
    get_going().await;
    let begun = Instant::now();
    let second = send(&uploads, id, append_at(0), Script::new([data(10)])).await;
    assert_eq!(told(&second), (None, Some(&Problem::UploadBusy)));
    assert_eq!(begun.elapsed(), seconds(5));

    gate.add_permits(1_000_000);
    let first = first.await.unwrap();
    assert_eq!(told(&first), (Some(10), Some(&Problem::UploadSuperseded)));
    let third = send(&uploads, id, append_at(10), Script::new([data(10)])).await;
    assert_eq!(told(&third), (Some(20), None));
}

/// A cancel is confirmed once it is durable; that the bytes are gone is waited for only briefly.
#[tokio::test(start_paused = true)]
async fn a_cancel_does_not_wait_for_a_stuck_disk() {
    let world = World::default();
    let (gate, uploads) = gated(&world);
    let id = made(&world).await;
    let sender = start(&uploads, id, vec![data(10), Piece::Silence]);
    get_going().await;
    let begun = Instant::now();
    assert_eq!(uploads.delete(id).await, Ok(()));
    assert!(begun.elapsed() < seconds(1), "{:?}", begun.elapsed());
    assert_eq!(world.row(id).state, State::Cancelling);
    assert_eq!(
        uploads.delete(id).await,
        Ok(()),
        "it may be asked for twice"
    );

    gate.add_permits(1_000_000);
    let received = sender.await.unwrap();
    assert!(matches!(
        received.problem,
        Some(Problem::UploadCancelled { .. })
    ));
    assert_eq!(uploads.scope.settle(seconds(60)).await, Settling::Settled);
    assert_eq!(
        (world.row(id).state, world.blobs.count()),
        (State::Cancelled, 0)
    );
}

/// Nor for a sync that has not begun, though its sender left before: nothing is kept for him any more.
#[tokio::test(start_paused = true)]
async fn a_cancel_does_not_wait_for_what_a_departure_left_to_do() {
    let world = World::default();
    let (gate, uploads) = gated(&world);
    let id = made(&world).await;
    // For the write; the sync is stuck.
    gate.add_permits(1);
    let mut client = Box::pin(send(
        &uploads,
        id,
        append_at(0),
        Script::new(vec![data(10)]),
    ));
    tokio::select! {
        _ = &mut client => panic!("nothing is committed yet"),
        () = get_going() => {}
    }
    drop(client);
    get_going().await;
    assert_eq!(uploads.delete(id).await, Ok(()));
    assert_eq!(world.row(id).state, State::Cancelling);
    // For the removal, and for nobody before it.
    gate.add_permits(1);
    get_going().await;
    assert_eq!(
        (world.row(id).state, world.blobs.count()),
        (State::Cancelled, 0)
    );
}

/// Who waits for the holder is displaced by whoever ends the upload, and hears that it has ended.
#[tokio::test(start_paused = true)]
async fn a_newcomer_in_line_learns_of_a_cancel() {
    let world = World::default();
    let (gate, uploads) = gated(&world);
    let id = made(&world).await;
    let holder = start(&uploads, id, vec![data(10), Piece::Silence]);
    get_going().await;
    let in_line = start(&uploads, id, vec![data(10)]);
    get_going().await;
    assert_eq!(uploads.delete(id).await, Ok(()));
    let refused = in_line.await.unwrap();
    assert!(
        matches!(refused.problem, Some(Problem::UploadCancelled { .. })),
        "{:?}",
        refused.problem
    );
    gate.add_permits(1_000_000);
    let ended = holder.await.unwrap();
    assert!(matches!(
        ended.problem,
        Some(Problem::UploadCancelled { .. })
    ));
}

fn start(uploads: &Arc<Uploads>, id: UploadId, pieces: Vec<Piece>) -> Task<Received> {
    let uploads = uploads.clone();
    let script = Script::new(pieces);
    Scope::root("client").spawn(async move { send(&uploads, id, append_at(0), script).await })
}

/// Time for whoever was started to come to where nothing goes on without the gate.
async fn get_going() {
    for _ in 0..1_000 {
        tokio::time::advance(Duration::from_millis(1)).await;
    }
}

/// The module over a disk that does not write before the gate has permits.
fn gated(world: &World) -> (Arc<Semaphore>, Arc<Uploads>) {
    let gate = Arc::new(Semaphore::new(0));
    let blobs = Arc::new(Gated {
        inner: world.blobs.clone(),
        gate: gate.clone(),
    });
    (
        gate,
        uploads_over(Arc::new(world.rows.clone()), blobs, config()),
    )
}

#[derive(Debug)]
struct Gated {
    inner: MemoryBlobs,
    gate: Arc<Semaphore>,
}

struct GatedWriter {
    inner: Arc<dyn BlobWriter>,
    gate: Arc<Semaphore>,
}

fn behind<T: Send + 'static>(
    gate: &Arc<Semaphore>,
    call: BoxFuture<'static, T>,
) -> BoxFuture<'static, T> {
    let gate = gate.clone();
    async move {
        gate.acquire().await.unwrap().forget();
        call.await
    }
    .boxed()
}

impl BlobStore for Gated {
    fn writer(&self, id: UploadId, committed: u64) -> Arc<dyn BlobWriter> {
        let inner = self.inner.writer(id, committed);
        Arc::new(GatedWriter {
            inner,
            gate: self.gate.clone(),
        })
    }

    fn lens(&self, ids: Vec<UploadId>) -> BoxFuture<'static, Vec<Result<Option<u64>, BlobError>>> {
        self.inner.lens(ids)
    }

    fn read(
        &self,
        id: UploadId,
        range: Range<u64>,
    ) -> BoxFuture<'static, Result<Bytes, BlobError>> {
        self.inner.read(id, range)
    }

    fn delete(&self, id: UploadId) -> BoxFuture<'static, Result<u64, BlobError>> {
        behind(&self.gate, self.inner.delete(id))
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

impl BlobWriter for GatedWriter {
    fn stage(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        behind(&self.gate, self.inner.clone().stage())
    }

    fn unstage(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        behind(&self.gate, self.inner.clone().unstage())
    }

    fn append(
        self: Arc<Self>,
        at: u64,
        data: Bytes,
        digests: Digests,
    ) -> BoxFuture<'static, Appended> {
        behind(&self.gate, self.inner.clone().append(at, data, digests))
    }

    fn sync(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        behind(&self.gate, self.inner.clone().sync())
    }

    fn truncate(self: Arc<Self>, to: u64) -> BoxFuture<'static, Result<(), BlobError>> {
        behind(&self.gate, self.inner.clone().truncate(to))
    }

    fn adopt(
        self: Arc<Self>,
        end: u64,
        digests: Digests,
    ) -> BoxFuture<'static, Result<(Digests, u64), BlobError>> {
        behind(&self.gate, self.inner.clone().adopt(end, digests))
    }
}
