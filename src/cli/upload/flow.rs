//! Bytes on their way: from a file to a request, no faster than allowed, and counted.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::tus::ANSWERED_WITHIN;
use crate::cli::server::{AskError, Body};

/// What is read at a time.
const READ_BYTES: u64 = 256 * 1024;

/// So many of these are read before they are wanted.
const READS_AHEAD: usize = 2;

/// So often in a second there is something to send, however low the limit is.
const TURNS_PER_SECOND: u64 = 8;

/// How often it is looked whether anything moves.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Lets bytes go at a bounded rate. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    bytes_per_second: NonZeroU64,
    /// When all that was let go is gone.
    free: Arc<Mutex<Instant>>,
}

impl Limit {
    pub(super) fn new(bytes_per_second: NonZeroU64) -> Self {
        Self {
            bytes_per_second,
            free: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// Waits until `bytes` may go.
    ///
    /// # Cancel safety
    /// A dropped call has used up its turn.
    pub(super) async fn pass(&self, bytes: u64) {
        let turn = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*free).max(Instant::now());
            let takes = bytes as f64 / self.bytes_per_second.get() as f64;
            *free = turn + Duration::from_secs_f64(takes.min(1e6));
            turn
        };
        sleep_until(turn).await;
    }
}

/// Bytes that have been sent, in this run and again where that was necessary.
#[derive(Debug, Default)]
pub(super) struct Meter(AtomicU64);

impl Meter {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// How far a file or a part of it has been sent: its one sender moves it, others look.
#[derive(Debug)]
pub(super) struct Position {
    at: watch::Sender<u64>,
    /// The file that this is a part of.
    whole: Option<Arc<Self>>,
}

impl Position {
    /// At the beginning of a file.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            at: watch::Sender::new(0),
            whole: None,
        })
    }

    /// At the beginning of a part, which is at `start` of the file. The file moves with it.
    pub(super) fn part(self: &Arc<Self>, start: u64) -> Arc<Self> {
        Arc::new(Self {
            at: watch::Sender::new(start),
            whole: Some(self.clone()),
        })
    }

    /// From the beginning of the file; for a file in parts, the bytes of all of them.
    pub(super) fn at(&self) -> u64 {
        *self.at.borrow()
    }

    pub(super) fn set(&self, at: u64) {
        let before = self.at.send_replace(at);
        if let Some(whole) = &self.whole {
            whole
                .at
                .send_modify(|sum| *sum = (*sum + at).saturating_sub(before));
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.at.subscribe()
    }
}

/// What a body tells and heeds on its way.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) limit: Option<Limit>,
    pub(super) meter: Arc<Meter>,
    pub(super) position: Arc<Position>,
}

impl Flow {
    /// The bytes of a range as a body. It ends in an error when it is `cut`, or when the file ends
    /// before the range does.
    pub(super) fn body(self, file: Arc<File>, range: Range<u64>, cut: CancellationToken) -> Body {
        let step = self.step();
        let starts = (range.start..range.end).step_by(usize::try_from(step).unwrap_or(usize::MAX));
        let chunks = stream::iter(starts).map(move |at| {
            let (file, wanted) = (file.clone(), step.min(range.end - at));
            // Begun here, and taken when it is wanted: no thread waits for a slow line.
            let reading = spawn_blocking(move || read_at(&file, at, wanted));
            async { reading.await.map_err(io::Error::other)? }
        });
        self.paced(chunks.buffered(READS_AHEAD).boxed(), cut)
    }

    /// The same of bytes in memory.
    pub(super) fn held(self, mut bytes: Bytes, cut: CancellationToken) -> Body {
        let step = usize::try_from(self.step()).unwrap_or(usize::MAX);
        let slices = std::iter::from_fn(move || {
            let slice = bytes.split_to(bytes.len().min(step));
            (!slice.is_empty()).then_some(Ok(slice))
        });
        self.paced(stream::iter(slices), cut)
    }

    /// What goes at a time.
    fn step(&self) -> u64 {
        self.limit.as_ref().map_or(READ_BYTES, |limit| {
            let turn = limit.bytes_per_second.get() / TURNS_PER_SECOND;
            turn.clamp(1, READ_BYTES)
        })
    }

    fn paced(
        self,
        chunks: impl Stream<Item = io::Result<Bytes>> + Unpin + Send + 'static,
        cut: CancellationToken,
    ) -> Body {
        let stream = stream::unfold((self, chunks, cut), async |(flow, mut chunks, cut)| {
            // A chunk that is not awaited to its end is not sent: the body has ended then.
            let frame = tokio::select! {
                biased;
                () = cut.cancelled() => Err(io::Error::other("cut")),
                chunk = chunks.next() => match chunk? {
                    Ok(bytes) => flow.let_go(bytes, &cut).await,
                    Err(error) => Err(error),
                },
            };
            Some((frame, (flow, chunks, cut)))
        });
        StreamBody::new(stream).boxed_unsync()
    }

    async fn let_go(&self, bytes: Bytes, cut: &CancellationToken) -> io::Result<Frame<Bytes>> {
        let length = bytes.len() as u64;
        if let Some(limit) = &self.limit {
            // A turn that is used up in vain holds up nothing but what is cut as well.
            tokio::select! {
                () = cut.cancelled() => return Err(io::Error::other("cut")),
                () = limit.pass(length) => {}
            }
        }
        self.meter.add(length);
        self.position.set(self.position.at() + length);
        Ok(Frame::data(bytes))
    }
}

/// Waits for the answer to a request whose body moves `position`, for as long as that moves and
/// somewhat longer. Once it is `stopped`, the body is `cut`, and the answer is still waited for.
///
/// # Errors
/// There is no sound answer.
///
/// # Cancel safety
/// As that of `answer`.
pub(super) async fn watched<T>(
    answer: impl Future<Output = Result<T, AskError>>,
    position: &Position,
    cut: &CancellationToken,
    stopped: impl Future<Output = ()>,
) -> Result<T, AskError> {
    let (mut answer, mut stopped) = (pin!(answer), pin!(stopped));
    let mut looks = interval(LOOK_EVERY);
    let mut moved = (Instant::now(), position.at());
    loop {
        // Both futures outlive the loop, and a tick that is not awaited comes again.
        tokio::select! {
            told = &mut answer => return told,
            () = &mut stopped, if !cut.is_cancelled() => cut.cancel(),
            _ = looks.tick() => {}
        }
        if position.at() != moved.1 {
            moved = (Instant::now(), position.at());
        }
        if moved.0.elapsed() >= ANSWERED_WITHIN {
            return Err(AskError::Late);
        }
    }
}

/// All of it, into memory that nobody has to clear before.
fn read_at(file: &File, at: u64, wanted: u64) -> io::Result<Bytes> {
    let wanted = usize::try_from(wanted).map_err(io::Error::other)?;
    let mut buffer = Vec::with_capacity(wanted);
    while buffer.len() < wanted {
        let place = at + buffer.len() as u64;
        match pread(file, spare_capacity(&mut buffer), place) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more than was asked for.
    buffer.truncate(wanted);
    Ok(buffer.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: usize) -> (Arc<File>, Vec<u8>) {
        let content: Vec<u8> = (0..bytes).map(|at| (at / 7 % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        (Arc::new(file), content)
    }

    fn flow(bytes_per_second: Option<u64>) -> Flow {
        let limit = bytes_per_second.and_then(NonZeroU64::new).map(Limit::new);
        Flow {
            limit,
            meter: Arc::default(),
            position: Position::new(),
        }
    }

    async fn all(body: Body) -> io::Result<Vec<u8>> {
        Ok(body.collect().await?.to_bytes().to_vec())
    }

    #[tokio::test]
    async fn a_body_is_the_bytes_of_its_range() {
        let (file, content) = file(1_000_000);
        for range in [0..1_000_000, 0..0, 5..6, 262_143..786_433] {
            let flow = flow(None);
            flow.position.set(range.start);
            let body = flow
                .clone()
                .body(file.clone(), range.clone(), CancellationToken::new());
            let (start, end) = (range.start as usize, range.end as usize);
            assert!(all(body).await.unwrap() == content[start..end], "{range:?}");
            assert_eq!(flow.position.at(), range.end);
            assert_eq!(flow.meter.bytes(), range.end - range.start);
        }
        for held in [&content[..], &[], &content[..1]] {
            let flow = flow(Some(1_000_000_000));
            let body = flow
                .clone()
                .held(Bytes::copy_from_slice(held), CancellationToken::new());
            assert!(all(body).await.unwrap() == held);
            assert_eq!(flow.position.at(), held.len() as u64);
            assert_eq!(flow.meter.bytes(), held.len() as u64);
        }
        let beyond = flow(None).body(file, 0..1_000_001, CancellationToken::new());
        let error = all(beyond).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_kept_and_shared() {
        let first = Limit::new(NonZeroU64::new(100_000).unwrap());
        let second = first.clone();
        let begun = Instant::now();
        for _ in 0..40 {
            tokio::join!(first.pass(10_000), second.pass(10_000));
        }
        let took = begun.elapsed().as_secs_f64();
        assert!((7.5..8.5).contains(&took), "{took} s for 800,000 bytes");
    }

    #[tokio::test]
    async fn a_body_that_waits_can_be_cut() {
        let (file, _) = file(400_000);
        let cut = CancellationToken::new();
        let slow = flow(Some(1)).body(file, 0..400_000, cut.clone());
        let (ended, ()) = tokio::join!(all(slow), async { cut.cancel() });
        assert!(ended.is_err());
    }

    #[test]
    fn a_file_moves_with_its_parts() {
        let whole = Position::new();
        let parts = [whole.part(0), whole.part(1000)];
        parts[0].set(10);
        parts[1].set(1500);
        assert_eq!(whole.at(), 510);
        parts[1].set(1200);
        assert_eq!(whole.at(), 210);
    }
}
