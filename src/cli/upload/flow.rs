//! Bytes on their way: from a file to a request, no faster than allowed, and counted.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::cli::server::Body;

/// What is read at a time. One such piece is read ahead.
const READ_BYTES: u64 = 256 * 1024;

/// So often in a second there is something to send, however low the limit is.
const TURNS_PER_SECOND: u64 = 8;

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
        let step = self.limit.as_ref().map_or(READ_BYTES, |limit| {
            let turn = limit.bytes_per_second.get() / TURNS_PER_SECOND;
            turn.clamp(1, READ_BYTES)
        });
        let (sender, chunks) = mpsc::channel(1);
        // Detached: it ends when nobody takes what it reads.
        drop(spawn_blocking(move || read(&file, range, step, &sender)));
        let stream = stream::unfold((self, chunks, cut), async |(flow, mut chunks, cut)| {
            let frame = tokio::select! {
                biased;
                () = cut.cancelled() => Err(io::Error::other("cut")),
                chunk = chunks.recv() => match chunk? {
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

fn read(file: &File, range: Range<u64>, step: u64, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut at = range.start;
    while at < range.end {
        let wanted = (range.end - at).min(step);
        let chunk = read_at(file, at, usize::try_from(wanted).unwrap_or(1));
        let (read, is_over) = match &chunk {
            Ok(bytes) => (bytes.len() as u64, false),
            Err(_) => (0, true),
        };
        if sender.blocking_send(chunk).is_err() || is_over {
            return;
        }
        at += read;
    }
}

/// At least one byte and at most `wanted`, into memory that nobody has to clear before.
fn read_at(file: &File, at: u64, wanted: usize) -> io::Result<Bytes> {
    let mut buffer = Vec::with_capacity(wanted);
    loop {
        match pread(file, spare_capacity(&mut buffer), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                // The allocator may have given more than was asked for.
                buffer.truncate(wanted);
                return Ok(buffer.into());
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
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
