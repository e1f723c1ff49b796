//! The driver of one append: the only loop in the module.
//!
//! It moves bytes from a request into a blob and tells the protocol machine what happened; the
//! machine decides what it all means. A piece of content is written and hashed before the next one
//! is taken, so an attempt holds one at most: what arrives meanwhile waits in the kernel. Commits
//! overlap with all of it, one at a time.
//!
//! Invariant: effects are polled only while no write is under way, so the digests at hand are
//! those of exactly the written bytes, which is what a commit saves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, poll_fn};
use http_body::{Body, Frame};
use tidegate_protocol::field::checksum::Checksum;
use tidegate_protocol::problem::Problem;
use tidegate_protocol::request::{Append, Expected};
use tidegate_protocol::upload::{Commit, Effect, Ending, Limits, Outcome, Stop, Subject, Verdict};
use tidegate_protocol::upload::{Mark, Upload as Machine};
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep};

use super::interim::Interims;
use super::progress::Progress;
use super::store::{Advance, Advanced, Upload, UploadStore};
use super::{recover, refuse};
use crate::blob::{Appended, BlobWriter, Digests};
use crate::cancel::{self, CancelReason, Reading, Scope};
use crate::http::{StallClock, StallLimits};
use crate::id::UploadId;

/// The bounds and the pace of an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) limits: Limits,
    /// Uncommitted bytes are committed at least this often.
    pub(super) checkpoint_interval: Duration,
    pub(super) stall: StallLimits,
    pub(super) expires_after: Duration,
}

/// One request moving bytes into one upload. Owned by a tracked task, never by the request.
pub(super) struct Attempt {
    machine: Machine,
    store: Arc<dyn UploadStore>,
    blob: Arc<dyn BlobWriter>,
    progress: Arc<Progress>,
    pace: Pace,
    upload: Upload,
    expected: Option<Expected>,
    /// Set by a trailer with a checksum that cannot be compared.
    unusable: Option<Problem>,
    /// Bytes that the request announced, to tell a cut request from a finished one.
    announced: Option<u64>,
    /// Away while a write is under way.
    digests: Option<Digests>,
    /// Whether its connection brings other requests as well.
    gives_way: bool,
    /// What its sender is told meanwhile, if anything.
    interims: Option<Box<Interims>>,
    /// Bytes of content received, taken or not.
    received: u64,
    expires_at: Option<i64>,
    /// Set when what is not committed has to go: a sync has failed, or its project has no room for it.
    is_to_cut: bool,
    /// Set when nobody knows what became of the last commit.
    is_uncertain: bool,
}

/// What became of an attempt.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) expires_at: Option<i64>,
    /// Of the whole, if this has completed it.
    pub(super) sha256: Option<String>,
    /// Bytes of content received.
    pub(super) received: u64,
    /// Whether nobody knows what became of the last commit.
    pub(super) is_uncertain: bool,
}

type Slot<T> = Option<BoxFuture<'static, T>>;

/// What woke the loop.
enum Input {
    /// The upload has ended in its row, whatever the attempt was cancelled for before.
    Ended,
    Cancelled(CancelReason),
    Written(Appended),
    Committed(Result<Advanced, Uncommitted>),
    Frame(Option<Result<Frame<Bytes>, Cut>>),
    CheckpointDue,
    Stalled,
}

/// Why a commit has not been made.
enum Uncommitted {
    /// The bytes may not be durable, and no later sync would tell.
    Unsynced(Problem),
    /// The store failed, and may have committed all the same.
    Untold(Problem),
}

/// The request ended before its content did.
struct Cut;

impl Attempt {
    /// Checks `append` against `upload` and prepares to receive.
    ///
    /// # Errors
    /// The problem to answer with; nothing has changed.
    pub(super) fn begin(
        upload: Upload,
        append: Append,
        pace: Pace,
        store: Arc<dyn UploadStore>,
        blob: Arc<dyn BlobWriter>,
        progress: Arc<Progress>,
    ) -> Result<Box<Self>, Problem> {
        let mut machine = Machine::new(upload.facts(), pace.limits);
        machine.handle_append(&append)?;
        let mut digests = Digests::resume(upload.digest.as_deref()).map_err(|error| {
            tracing::error!(upload = %upload.id, %error, "digest state");
            Problem::Internal
        })?;
        match &append.checksum {
            Some(Expected::Header(checksum)) => digests = digests.with_part(checksum.algorithm()),
            // Which algorithm it will be is only known at the end.
            Some(Expected::Trailer) => digests = digests.with_every_part(),
            None => {}
        }
        // In a box, because it moves through futures that each would keep room for it.
        Ok(Box::new(Self {
            machine,
            store,
            blob,
            progress,
            pace,
            expires_at: upload.expires_at,
            upload,
            expected: append.checksum,
            unusable: None,
            announced: append.content_length,
            digests: Some(digests),
            gives_way: false,
            interims: None,
            received: 0,
            is_to_cut: false,
            is_uncertain: false,
        }))
    }

    /// Lets the connection's other requests go before each write.
    pub(super) fn giving_way(mut self: Box<Self>, gives_way: bool) -> Box<Self> {
        self.gives_way = gives_way;
        self
    }

    /// Tells the sender what is committed.
    pub(super) fn telling(mut self: Box<Self>, interims: Option<Box<Interims>>) -> Box<Self> {
        self.interims = interims;
        self
    }

    /// Runs to the end. Returns once nothing of it is under way any more: what it says is what
    /// the store has.
    ///
    /// # Cancel safety
    /// Dropping it equals a crash: the upload is as last committed, and opening it again cuts or
    /// adopts the rest.
    pub(super) async fn run<B>(mut self: Box<Self>, body: B, scope: &Scope) -> Ended
    where
        B: Body<Data = Bytes> + Unpin,
    {
        if self.machine.is_staged()
            && let Err(error) = self.blob.clone().stage().await
        {
            return self.ended_early(refuse::blob(&error));
        }
        let outcome = self.drive(body, scope).await;
        self.leave().await;
        let digests = self.digests.filter(|_| outcome.facts.complete);
        Ended {
            outcome,
            expires_at: self.expires_at,
            sha256: digests.as_ref().and_then(Digests::whole_hex),
            received: self.received,
            is_uncertain: self.is_uncertain,
        }
    }

    /// Leaves nothing that a crash must not adopt. Nothing is under way any more.
    async fn leave(&mut self) {
        let committed = self.machine.facts().offset;
        if self.is_to_cut {
            recover::cut_uncommitted(&self.blob, self.upload.id, committed).await;
        }
        // As long as unverified bytes are there, so is their mark: the next writer removes both.
        let is_verified = self.machine.written() == committed;
        if self.expected.is_some()
            && is_verified
            && let Err(error) = self.blob.clone().unstage().await
        {
            // The mark only makes a later crash discard a tail, which nobody was promised.
            tracing::warn!(upload = %self.upload.id, %error, "removing the mark of a staged append");
        }
    }

    async fn drive<B>(&mut self, mut body: B, scope: &Scope) -> Outcome
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut write: Slot<Appended> = None;
        let mut commit: Slot<Result<Advanced, Uncommitted>> = None;
        let (mut obey, mut lives) = (true, true);
        let progress = self.progress.clone();
        let mut pulse = Pulse::new(self.pace, self.upload.id);
        loop {
            while write.is_none()
                && let Some(effect) = self.machine.poll_effect()
            {
                match effect {
                    Effect::Commit(step) => commit = Some(self.commit(step)),
                    Effect::Verify(subject) => {
                        let verdict = self.verdict(subject);
                        self.machine.handle_verified(verdict);
                    }
                    Effect::Truncate { to } => self.truncate(to).await,
                    Effect::Answer(outcome) => return outcome,
                }
            }
            let reading = self.machine.is_receiving() && write.is_none();
            pulse.listening(reading);
            self.progress.listening(reading);
            let input = tokio::select! {
                biased;
                // Dropped without loss: asking again gives the same answer.
                () = progress.ended(), if lives => Input::Ended,
                reason = scope.cancelled(), if obey => Input::Cancelled(reason),
                // Polled in place, never dropped before they are done. The write comes last: its
                // poll may be the writing itself.
                advanced = occupied(&mut commit) => Input::Committed(advanced),
                appended = occupied(&mut write) => Input::Written(appended),
                // A frame is either returned or still in the body.
                frame = next_frame(&mut body), if reading => Input::Frame(frame),
                // Timers keep their deadline.
                input = pulse.beat(reading), if self.machine.is_receiving() => input,
            };
            match input {
                Input::Ended => {
                    (obey, lives) = (false, false);
                    self.cancelled(CancelReason::Requested, &mut commit);
                }
                Input::Cancelled(reason) => {
                    obey = false;
                    self.cancelled(reason, &mut commit);
                }
                Input::Written(appended) => {
                    write = None;
                    self.written(appended);
                }
                Input::Committed(advanced) => {
                    commit = None;
                    self.committed(advanced);
                }
                Input::Frame(frame) => {
                    if commit.is_some() || self.gives_way {
                        // A task that was woken just now runs next on this thread, and on no other:
                        // the database's, or that of a connection which has other requests. A
                        // write that the disk holds up must not hold up that.
                        yield_now().await;
                        if let Some(reason) = scope.reason().filter(|_| obey) {
                            obey = false;
                            self.cancelled(reason, &mut commit);
                        }
                    }
                    write = self.frame(frame, &mut pulse);
                }
                Input::CheckpointDue => self.machine.handle_checkpoint_due(),
                Input::Stalled => self.cancelled(CancelReason::Stalled, &mut commit),
            }
        }
    }

    /// Returns the write that is under way now, if there is one.
    fn frame(
        &mut self,
        frame: Option<Result<Frame<Bytes>, Cut>>,
        pulse: &mut Pulse,
    ) -> Slot<Appended> {
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => return self.data(data, pulse),
                Err(frame) => {
                    if let Some(trailers) = frame.trailers_ref() {
                        self.trailer(trailers);
                    }
                }
            },
            None if self
                .announced
                .is_none_or(|announced| announced == self.received) =>
            {
                self.machine.handle_end();
            }
            // Without an error, but short: the connection went away.
            None | Some(Err(Cut)) => {
                let problem = Some(refuse::cut());
                self.machine.handle_stop(Stop {
                    problem,
                    ending: Ending::Settle,
                });
            }
        }
        None
    }

    /// Starts to write what is wanted of `data`.
    fn data(&mut self, mut data: Bytes, pulse: &mut Pulse) -> Slot<Appended> {
        let length = data.len();
        self.received += length as u64;
        pulse.stall.received(length as u64);
        let take = self.machine.handle_data(length as u64);
        data.truncate(usize::try_from(take).unwrap_or(length));
        self.progress
            .arrived(self.machine.written() + data.len() as u64);
        if data.is_empty() {
            return None;
        }
        let digests = self.digests.take()?;
        let at = self.machine.written();
        Some(self.blob.clone().append(at, data, digests))
    }

    fn trailer(&mut self, trailers: &http::HeaderMap) {
        if self.expected != Some(Expected::Trailer) {
            return;
        }
        match Checksum::from_headers(trailers) {
            Ok(Some(checksum)) => self.expected = Some(Expected::Header(checksum)),
            Ok(None) => {}
            Err(error) => self.unusable = Some(error.into()),
        }
    }

    fn verdict(&self, of: Subject) -> Verdict {
        match of {
            Subject::Append => self.verdict_on_append(),
            Subject::Whole => self.verdict_on_whole(),
        }
    }

    fn verdict_on_append(&self) -> Verdict {
        if let Some(problem) = &self.unusable {
            return Verdict::Unusable(problem.clone());
        }
        let matches = match (&self.expected, &self.digests) {
            (Some(Expected::Header(checksum)), Some(digests)) => {
                let computed = digests.part(checksum.algorithm());
                computed.is_some_and(|computed| checksum.matches(&computed))
            }
            (Some(Expected::Trailer) | None, _) | (_, None) => false,
        };
        if matches {
            Verdict::Match
        } else {
            Verdict::Mismatch
        }
    }

    fn verdict_on_whole(&self) -> Verdict {
        let computed = self.digests.as_ref().and_then(Digests::whole_hex);
        match computed.is_some() && computed == self.upload.expected_sha256 {
            true => Verdict::Match,
            false => Verdict::Mismatch,
        }
    }

    fn cancelled(
        &mut self,
        reason: CancelReason,
        commit: &mut Slot<Result<Advanced, Uncommitted>>,
    ) {
        match reason.reading() {
            // The body ends by itself: what had arrived before its sender left is kept.
            Reading::RunDry => return,
            Reading::Stop => {}
        }
        let ending = match reason.ending() {
            cancel::Ending::Settle => Ending::Settle,
            // What is about to be destroyed, or is somebody else's, is not written.
            cancel::Ending::SettleThenDestroy | cancel::Ending::Abandon => Ending::Abandon,
        };
        let problem = refuse::cancelled(reason);
        self.machine.handle_stop(Stop {
            problem: problem.clone(),
            ending,
        });
        if reason.ending() == cancel::Ending::SettleThenDestroy {
            // A write that waits for its turn does so no more.
            self.blob.abandon();
            // The upload has ended in its row before its attempt is told, so a commit that is under
            // way will be refused. Its sync may be one of many, and is not worth the wait.
            if commit.take().is_some() {
                self.machine
                    .handle_refused(problem.unwrap_or(Problem::UploadSuperseded));
            }
        }
    }

    fn written(&mut self, appended: Appended) {
        self.digests = Some(appended.digests);
        self.machine.handle_written(appended.end);
        if let Some(error) = appended.error {
            tracing::error!(upload = %self.upload.id, error = &error as &dyn std::error::Error, "append");
            self.machine.handle_write_failed(refuse::blob(&error));
        }
    }

    /// Makes what is written durable, then commits it: in this order, always.
    fn commit(&self, commit: Commit) -> BoxFuture<'static, Result<Advanced, Uncommitted>> {
        let digests = self.digests.as_ref();
        let completes = commit.mark == Mark::Completed;
        let advance = Advance {
            id: self.upload.id,
            epoch: self.upload.epoch,
            commit,
            digest: digests.filter(|_| !completes).and_then(Digests::save),
            sha256: digests.filter(|_| completes).and_then(Digests::whole_hex),
            expires_after: self.pace.expires_after,
            size_max: self.pace.limits.upload_bytes_max(),
        };
        let (store, blob, id) = (self.store.clone(), self.blob.clone(), self.upload.id);
        async move {
            if let Err(error) = blob.clone().sync().await {
                tracing::error!(upload = %id, error = &error as &dyn std::error::Error, "sync");
                return Err(Uncommitted::Unsynced(refuse::blob(&error)));
            }
            let advanced = store.advance(advance).await;
            advanced.map_err(|error| Uncommitted::Untold(refuse::store(&error)))
        }
        .boxed()
    }

    fn committed(&mut self, advanced: Result<Advanced, Uncommitted>) {
        match advanced {
            Ok(Advanced::Committed { expires_at }) => {
                self.expires_at = expires_at;
                self.machine.handle_committed();
                let offset = self.machine.facts().offset;
                self.progress.committed(offset);
                if let Some(interims) = self
                    .interims
                    .as_mut()
                    .filter(|_| self.machine.is_receiving())
                {
                    interims.committed(offset);
                }
            }
            // Whoever took it says why; the handler asks the store.
            Ok(Advanced::Refused) => self.machine.handle_refused(Problem::UploadSuperseded),
            Ok(Advanced::OverQuota(excess)) => {
                self.is_to_cut = true;
                self.machine.handle_refused(refuse::over_quota(excess));
            }
            Err(Uncommitted::Untold(problem)) => {
                self.is_uncertain = true;
                self.machine.handle_refused(problem);
            }
            Err(Uncommitted::Unsynced(problem)) => {
                self.is_to_cut = true;
                self.machine.handle_refused(problem);
            }
        }
    }

    async fn truncate(&mut self, to: u64) {
        match self.blob.clone().truncate(to).await {
            Ok(()) => self.machine.handle_truncated(),
            Err(error) => {
                tracing::error!(upload = %self.upload.id, error = &error as &dyn std::error::Error, "truncate");
                self.machine.handle_refused(refuse::blob(&error));
            }
        }
    }

    fn ended_early(&self, problem: Problem) -> Ended {
        let outcome = Outcome {
            facts: self.machine.facts(),
            problem: Some(problem),
        };
        Ended {
            outcome,
            expires_at: self.expires_at,
            sha256: None,
            received: 0,
            is_uncertain: false,
        }
    }
}

/// The next frame of `body`; `None` at its end.
///
/// # Cancel safety
/// Cancel safe: a frame is returned or stays in the body.
async fn next_frame<B>(body: &mut B) -> Option<Result<Frame<Bytes>, Cut>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    Some(frame.map_err(|_| Cut))
}

/// Waits for what is in the slot; for ever, if there is nothing.
///
/// # Cancel safety
/// Cancel safe: the future stays in the slot.
async fn occupied<T>(slot: &mut Slot<T>) -> T {
    poll_fn(|context| match slot {
        Some(future) => future.as_mut().poll(context),
        None => Poll::Pending,
    })
    .await
}

/// The two clocks of an attempt.
struct Pulse {
    checkpoint_interval: Duration,
    checkpoint: Pin<Box<Sleep>>,
    stall: StallClock,
}

impl Pulse {
    /// The first checkpoint comes after half of the interval or somewhat more, each upload's at a
    /// moment of its own: uploads that begin together would otherwise sync together, and whoever
    /// commits anything then waits for all of them.
    fn new(pace: Pace, id: UploadId) -> Self {
        let half = pace.checkpoint_interval / 2;
        let first = half + half * (u32::from(id.shard()) + 1) / 256;
        Self {
            checkpoint_interval: pace.checkpoint_interval,
            checkpoint: Box::pin(tokio::time::sleep(first)),
            stall: StallClock::new(pace.stall),
        }
    }

    /// Tells whether the sender is being listened to.
    fn listening(&mut self, now: bool) {
        match now {
            true => self.stall.resume(),
            false => self.stall.pause(),
        }
    }

    /// Waits for the clock that is first. The stall clock only counts while `listening`.
    ///
    /// # Cancel safety
    /// Cancel safe: the clocks keep their deadlines.
    async fn beat(&mut self, listening: bool) -> Input {
        tokio::select! {
            // All keep their deadline.
            () = self.checkpoint.as_mut() => {
                let next = Instant::now() + self.checkpoint_interval;
                self.checkpoint.as_mut().reset(next);
                Input::CheckpointDue
            }
            () = poll_fn(|context| self.stall.poll_stalled(context)), if listening => Input::Stalled,
        }
    }
}
