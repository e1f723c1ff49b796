//! The SHA-256 of final uploads.
//!
//! An upload that is appended to is hashed as it comes in. A final upload is made of rows, in no
//! particular order of arrival, so its digest is computed afterwards, in the background, from its
//! parts' bytes. Until then it has no `ETag`.
//!
//! They take turns: one call of the worker is one slice of one of them, so that a huge one holds
//! up neither the small ones nor the end of the server. What is computed so far is in memory; a
//! restart begins anew.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::Uploads;
use super::store::{State, StoreError, Upload};
use crate::blob::{BlobError, Digests};
use crate::id::UploadId;
use crate::work::{Next, Worker};

/// Final uploads that take turns.
const TURNS_MAX: usize = 256;

/// Bytes of one slice.
const SLICE_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes read and hashed at a time.
const READ_BYTES: u64 = 1024 * 1024;

/// How long what could not be read is left alone: at first, and at most. It is doubled each time.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// The worker that computes them.
pub(super) struct FinalDigests {
    uploads: Arc<Uploads>,
    /// Under way or about to be, the next one first.
    turns: VecDeque<Job>,
    /// Turns until newcomers are looked for.
    round: usize,
    /// Could not be read, each until some time.
    paused: Vec<(Instant, Job)>,
}

/// A digest that is being computed.
struct Job {
    id: UploadId,
    /// What is still to be read, in order: of each blob how many bytes from where. `None` until its
    /// first turn.
    left: Option<VecDeque<Segment>>,
    /// Of what has been read.
    digests: Digests,
    /// For how long it is paused the next time.
    pause: Duration,
}

struct Segment {
    blob: UploadId,
    from: u64,
    to: u64,
}

/// What a turn has brought.
enum Turn {
    /// There is more to read.
    Unfinished,
    /// Nothing is left to do: it has its digest, or nobody will ask for one.
    Over,
    /// It could not be read.
    Failed(BlobError),
}

impl FinalDigests {
    pub(super) fn new(uploads: &Arc<Uploads>) -> Self {
        Self {
            uploads: uploads.clone(),
            turns: VecDeque::new(),
            round: 0,
            paused: Vec::new(),
        }
    }

    async fn step(&mut self) -> Result<Next, StoreError> {
        if self.round == 0 {
            self.resume();
            self.find_newcomers().await?;
            self.round = self.turns.len();
        }
        let Some(mut job) = self.turns.pop_front() else {
            return Ok(Next::Later);
        };
        self.round -= 1;
        match self.turn(&mut job).await {
            Ok(Turn::Unfinished) => self.turns.push_back(job),
            Ok(Turn::Over) => {}
            Ok(Turn::Failed(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(upload = %job.id, error, "no digest of a final upload yet");
                let until = Instant::now() + job.pause;
                job.pause = PAUSE_MAX.min(job.pause * 2);
                self.paused.push((until, job));
            }
            Err(error) => {
                self.turns.push_back(job);
                return Err(error);
            }
        }
        Ok(Next::Now)
    }

    /// Lets those take turns again whose pause is over.
    fn resume(&mut self) {
        let now = Instant::now();
        let over = self.paused.extract_if(.., |(until, _)| *until <= now);
        self.turns.extend(over.map(|(_, job)| job));
    }

    /// Lets those take turns that are not known yet, before all others: most are small.
    async fn find_newcomers(&mut self) -> Result<(), StoreError> {
        let paused = self.paused.iter().map(|(_, job)| job.id);
        let known: HashSet<UploadId> = self.turns.iter().map(|job| job.id).chain(paused).collect();
        let room = TURNS_MAX.saturating_sub(self.turns.len());
        let limit = u32::try_from(known.len() + room).unwrap_or(u32::MAX);
        let found = self.uploads.store.undigested(limit).await?;
        let new = found.into_iter().filter(|id| !known.contains(id));
        for id in new.take(room).collect::<Vec<_>>().into_iter().rev() {
            self.turns.push_front(Job {
                id,
                left: None,
                digests: Digests::sha256(),
                pause: PAUSE_FIRST,
            });
        }
        Ok(())
    }

    /// Reads and hashes a slice, and saves the digest behind the last one.
    async fn turn(&self, job: &mut Job) -> Result<Turn, StoreError> {
        let store = &self.uploads.store;
        let found = store.find(job.id).await?;
        if found.is_none_or(|upload| upload.state != State::Completed) {
            return Ok(Turn::Over);
        }
        let left = match &mut job.left {
            Some(left) => left,
            None => {
                let segment = |part: Upload| Segment {
                    blob: part.id,
                    from: 0,
                    to: part.offset,
                };
                let parts = store.parts(job.id).await?;
                job.left.insert(parts.into_iter().map(segment).collect())
            }
        };
        let mut read = 0;
        while let Some(segment) = left.front_mut() {
            if segment.from == segment.to {
                left.pop_front();
                continue;
            }
            if read >= SLICE_BYTES || self.uploads.scope.reason().is_some() {
                return Ok(Turn::Unfinished);
            }
            let to = segment.to.min(segment.from + READ_BYTES);
            let hashed = self.hash(segment.blob, segment.from..to, job.digests.clone());
            match hashed.await {
                Ok(digests) => job.digests = digests,
                Err(error) => return Ok(Turn::Failed(error)),
            }
            read += to - segment.from;
            segment.from = to;
            job.pause = PAUSE_FIRST;
        }
        let sha256 = job.digests.whole_hex().unwrap_or_default();
        store.digested(job.id, sha256).await?;
        Ok(Turn::Over)
    }

    async fn hash(
        &self,
        blob: UploadId,
        range: Range<u64>,
        mut digests: Digests,
    ) -> Result<Digests, BlobError> {
        let bytes = self.uploads.blobs.read(blob, range).await?;
        let hashed = tokio::task::spawn_blocking(move || {
            digests.update(&bytes);
            digests
        });
        hashed
            .await
            .map_err(|error| BlobError::Io(io::Error::other(error)))
    }
}

impl Worker for FinalDigests {
    fn name(&self) -> &'static str {
        "digests"
    }

    fn work(&mut self) -> BoxFuture<'_, Next> {
        async move {
            if !self.uploads.config.digest {
                return Next::Never;
            }
            match self.step().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "digests");
                    Next::Later
                }
            }
        }
        .boxed()
    }
}
