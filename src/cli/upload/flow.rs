//! Bytes on their way: from a file to a request, no faster than allowed, and counted.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
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
        let mut buffer = vec![0; usize::try_from(wanted).unwrap_or(1)];
        let chunk = file
            .read_exact_at(&mut buffer, at)
            .map(|()| Bytes::from(buffer));
        let is_over = chunk.is_err();
        if sender.blocking_send(chunk).is_err() || is_over {
            return;
        }
        at += wanted;
    }
}
