//! The upload state machine: what one append may do to an upload, and in which order.
//!
//! ```text
//!         handle_append          handle_end · handle_stop · overrun · failure
//!  Idle ────────────────► Receiving ─────────────────────────────► Ending ──► Done
//!                          │     ▲                                   │
//!                          └──┬──┘                    write out ─► verify ─► commit ─► answer
//!                         checkpoint                      (or truncate what was staged)
//! ```
//!
//! The machine counts bytes and never sees them. Its methods come in three kinds: plain getters;
//! `handle_*`, which tell it that something happened; and [`Upload::poll_effect`], which tells its
//! driver what to do now. After each `handle_*` the driver polls effects until there are none.
//!
//! Two orders are fixed here, for every dialect: bytes are *written*, then *committed* (the
//! driver makes them durable inside the commit), then *told*; and a staged append (one with a
//! checksum) commits all of its bytes or none.

use crate::field::{offset, structured};
use crate::problem::Problem;
use crate::request::{Append, Completion, Overrun, Protocol};

/// What the store says of an upload before an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Committed bytes.
    pub offset: u64,
    /// The length, once declared.
    pub length: Option<u64>,
    /// Whether it is complete.
    pub complete: bool,
    /// Whether its content comes from other uploads: then nothing can be appended.
    pub concatenated: bool,
    /// Whether the whole content has to have a certain digest.
    pub has_digest: bool,
    /// The rules that it follows.
    pub protocol: Protocol,
}

impl Facts {
    /// As [`Protocol::completes_at_length`].
    #[must_use]
    pub fn completes_at_length(&self) -> bool {
        self.protocol.completes_at_length(self.has_digest)
    }
}

/// Bounds that come from configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest upload, in bytes.
    pub size_max: Option<u64>,
    /// Largest content of one request, in bytes.
    pub append_max: Option<u64>,
    /// Smallest content of a request after which more is to follow, in bytes; but it may be empty.
    pub append_min: Option<u64>,
    /// Bytes after which a running append commits what it has.
    pub checkpoint_bytes: u64,
}

impl Limits {
    /// Largest upload, in bytes: no offset past [`offset::MAX`] can be told.
    #[must_use]
    pub fn upload_bytes_max(&self) -> u64 {
        self.size_max.unwrap_or(offset::MAX)
    }
}

/// What the driver has to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make the bytes up to `to` durable, then commit. Then [`Upload::handle_committed`],
    /// [`Upload::handle_refused`].
    Commit(Commit),
    /// Compare a digest. Then [`Upload::handle_verified`].
    Verify(Subject),
    /// Remove the staged bytes past `to`. Then [`Upload::handle_truncated`].
    Truncate {
        /// The committed offset.
        to: u64,
    },
    /// The append is over: tell the client. The last effect.
    Answer(Outcome),
}

/// What a digest is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The bytes of this append.
    Append,
    /// All bytes that were written.
    Whole,
}

/// One conditional step of an upload from one committed state to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The committed offset which this step builds on.
    pub from: u64,
    /// The committed offset after it.
    pub to: u64,
    /// A length that becomes known with it.
    pub length: Option<u64>,
    /// What becomes of the upload.
    pub mark: Mark,
}

/// What a commit makes of the upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// More may follow.
    Open,
    /// The content is whole.
    Completed,
    /// It can no longer be used.
    Invalidated(Invalid),
}

/// Why an upload can no longer be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// Content came past its length (IETF draft, "Upload Append").
    PastLength,
    /// Its whole content does not have the digest that it was to have.
    Digest,
}

/// How an append ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The upload as committed.
    pub facts: Facts,
    /// Why the request has not been done in full, if so.
    pub problem: Option<Problem>,
}

/// An end that comes from outside of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// What the client is told, if it still listens.
    pub problem: Option<Problem>,
    /// What becomes of the bytes that arrived.
    pub ending: Ending,
}

/// The two ways to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Commit what arrived (with a checksum pending: nothing can be committed).
    Settle,
    /// Write nothing more: somebody else owns the upload now.
    Abandon,
}

/// What became of a checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The bytes are what the client meant to send.
    Match,
    /// They are not, or the announced trailer never came (row T78).
    Mismatch,
    /// What came in the trailer is no checksum that can be compared (rows T71 to T73, T77).
    Unusable(Problem),
}

/// One append at one upload, from its first check to its answer.
#[derive(Debug)]
pub struct Upload {
    facts: Facts,
    limits: Limits,
    phase: Phase,
    /// Bytes taken from the request, as an offset. `>= written`.
    received: u64,
    /// Bytes in the blob, as an offset. `>= facts.offset`.
    written: u64,
    /// The commit under way; cleared by its result.
    committing: Option<Commit>,
    /// Whether the checkpoint interval has passed since the last commit.
    due: bool,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Receiving(Plan),
    Ending {
        plan: Plan,
        step: Step,
        problem: Option<Problem>,
    },
    /// Nothing may be stored any more; only the answer is left.
    Over {
        problem: Option<Problem>,
    },
    Done,
}

/// What is left to do once no more bytes are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Verify(Subject),
    Verifying(Subject),
    Truncate,
    Truncating,
    Commit,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    /// No byte at or past this offset is stored.
    bound: Bound,
    /// A length that this append declares; cleared once committed.
    declared: Option<u64>,
    staged: bool,
    completion: Completion,
    overrun: Overrun,
    /// Set when this append has made the upload unusable.
    invalid: Option<Invalid>,
}

#[derive(Clone, Copy, Debug)]
struct Bound {
    offset: u64,
    by: BoundBy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BoundBy {
    Length(u64),
    Limit(u64),
}

impl Upload {
    /// A machine for one append at an upload which stands as `facts` say.
    #[must_use]
    pub fn new(facts: Facts, limits: Limits) -> Self {
        Self {
            facts,
            limits,
            phase: Phase::Idle,
            received: facts.offset,
            written: facts.offset,
            committing: None,
            due: false,
        }
    }

    /// The upload as committed.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.facts
    }

    /// Whether bytes of the request are still wanted.
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        matches!(self.phase, Phase::Receiving(_))
    }

    /// Whether bytes that were taken are still to be written.
    #[must_use]
    pub fn is_storing(&self) -> bool {
        matches!(self.phase, Phase::Receiving(_) | Phase::Ending { .. })
    }

    /// Bytes in the blob, as an offset: where the next write goes.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether the bytes are committed all together or not at all.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        match &self.phase {
            Phase::Receiving(plan) | Phase::Ending { plan, .. } => plan.staged,
            Phase::Idle | Phase::Over { .. } | Phase::Done => false,
        }
    }

    /// The request's header section is here. Checks it against the upload in the order of the
    /// rows (final 403, protocol 400, complete 400, offset 409, content 413, length 400, content 400,
    /// size 413); nothing has changed if it is refused.
    ///
    /// # Errors
    /// The problem to answer with.
    pub fn handle_append(&mut self, append: &Append) -> Result<(), Problem> {
        if self.facts.concatenated {
            return Err(Problem::FinalUpload);
        }
        let is_of_tus = append.completion == Completion::AtLength;
        if is_of_tus != (self.facts.protocol == Protocol::Tus) {
            return Err(Problem::OtherProtocol);
        }
        self.check_replay(append)?;
        if append.offset != self.facts.offset {
            return Err(Problem::OffsetMismatch {
                expected: self.facts.offset,
                provided: append.offset,
            });
        }
        self.check_most(append)?;
        let declared = self.check_declared(append.length)?;
        let length = declared.or(self.facts.length);
        self.check_least(append, length)?;
        let bound = self.bound(length);
        if let Some(content) = append.content_length {
            let end = append.offset.saturating_add(content);
            if append.completion == Completion::AtEnd {
                Self::check_whole(length, end)?;
            }
            // A dialect that invalidates on overrun has to see the bytes come (draft, R46).
            if end > bound.offset && !self.invalidates(bound, append.overrun) {
                return Err(bound.by.problem());
            }
        }
        self.phase = Phase::Receiving(Plan {
            bound,
            declared,
            staged: append.checksum.is_some(),
            completion: append.completion,
            overrun: append.overrun,
            invalid: None,
        });
        Ok(())
    }

    /// `len` bytes of content are here. Returns how many of them, from the front, are to be
    /// written at the end of the blob; the rest must be dropped.
    #[must_use]
    pub fn handle_data(&mut self, len: u64) -> u64 {
        let Phase::Receiving(plan) = &mut self.phase else {
            return 0;
        };
        let take = len.min(plan.bound.offset - self.received);
        self.received += take;
        if take < len {
            let mut plan = *plan;
            if self.invalidates(plan.bound, plan.overrun) {
                plan.invalid = Some(Invalid::PastLength);
            }
            let problem = plan.bound.by.problem();
            self.end(plan, Some(problem), false);
        }
        take
    }

    /// The request's content ended as it should.
    pub fn handle_end(&mut self) {
        if let Phase::Receiving(plan) = self.phase {
            let length = plan.declared.or(self.facts.length);
            let problem = match plan.completion {
                Completion::AtEnd => Self::check_whole(length, self.received).err(),
                Completion::AtLength | Completion::Later => None,
            };
            let whole = problem.is_none();
            self.end(plan, problem, whole);
        }
    }

    /// The request was cut off, or cancelled.
    pub fn handle_stop(&mut self, stop: Stop) {
        match (&self.phase, stop.ending) {
            (Phase::Idle | Phase::Over { .. } | Phase::Done, _) => {}
            (Phase::Receiving(_) | Phase::Ending { .. }, Ending::Abandon) => {
                self.phase = Phase::Over {
                    problem: stop.problem,
                };
            }
            (Phase::Receiving(plan), Ending::Settle) => self.end(*plan, stop.problem, false),
            // All bytes are here already: settling is what happens anyway.
            (Phase::Ending { .. }, Ending::Settle) => {}
        }
    }

    /// The blob now holds all bytes before `to`.
    pub fn handle_written(&mut self, to: u64) {
        debug_assert!(self.written <= to && to <= self.received);
        self.written = to;
    }

    /// Writing failed past the last [`Self::handle_written`]. What was written is kept.
    pub fn handle_write_failed(&mut self, problem: Problem) {
        self.received = self.written;
        match &mut self.phase {
            Phase::Receiving(plan) => {
                let plan = *plan;
                self.end(plan, Some(problem), false);
            }
            Phase::Ending {
                plan,
                step,
                problem: said,
            } => {
                said.get_or_insert(problem);
                plan.give_up_completion();
                *step = if plan.staged {
                    Step::Truncate
                } else {
                    Step::Commit
                };
            }
            Phase::Idle | Phase::Over { .. } | Phase::Done => {}
        }
    }

    /// The checkpoint interval has passed.
    pub fn handle_checkpoint_due(&mut self) {
        self.due = true;
    }

    /// The commit under way has succeeded.
    pub fn handle_committed(&mut self) {
        let Some(commit) = self.committing.take() else {
            return;
        };
        self.facts.offset = commit.to;
        self.facts.length = commit.length.or(self.facts.length);
        self.facts.complete |= commit.mark == Mark::Completed;
        match &mut self.phase {
            // There is nothing more to be said of it.
            Phase::Ending { problem, .. } if matches!(commit.mark, Mark::Invalidated(_)) => {
                let problem = problem.take();
                self.phase = Phase::Over { problem };
            }
            Phase::Receiving(plan) | Phase::Ending { plan, .. } => plan.declared = None,
            Phase::Idle | Phase::Over { .. } | Phase::Done => {}
        }
    }

    /// The commit under way has failed, or the upload is no longer this append's to change.
    /// Nothing has advanced and nothing more is stored.
    pub fn handle_refused(&mut self, problem: Problem) {
        self.committing = None;
        if !matches!(self.phase, Phase::Done) {
            self.phase = Phase::Over {
                problem: Some(problem),
            };
        }
    }

    /// The digest has been compared.
    pub fn handle_verified(&mut self, verdict: Verdict) {
        let Phase::Ending {
            step,
            plan,
            problem,
        } = &mut self.phase
        else {
            return;
        };
        let Step::Verifying(subject) = *step else {
            return;
        };
        match (subject, verdict) {
            (Subject::Append, Verdict::Match) => *step = plan.verify_whole(self.facts),
            (Subject::Append, Verdict::Mismatch) => {
                problem.get_or_insert(Problem::ChecksumMismatch);
                *step = Step::Truncate;
            }
            (Subject::Append, Verdict::Unusable(unusable)) => {
                problem.get_or_insert(unusable);
                *step = Step::Truncate;
            }
            (Subject::Whole, Verdict::Match) => *step = Step::Commit,
            (Subject::Whole, Verdict::Mismatch | Verdict::Unusable(_)) => {
                problem.get_or_insert(Problem::DigestMismatch);
                plan.give_up_completion();
                plan.invalid = Some(Invalid::Digest);
                *step = Step::Commit;
            }
        }
    }

    /// The staged bytes are gone.
    pub fn handle_truncated(&mut self) {
        if let Phase::Ending {
            step: step @ Step::Truncating,
            plan,
            problem,
        } = &mut self.phase
        {
            self.received = self.facts.offset;
            self.written = self.facts.offset;
            match plan.invalid {
                // All that is left to say of it.
                Some(_) => {
                    plan.declared = None;
                    *step = Step::Commit;
                }
                None => {
                    self.phase = Phase::Over {
                        problem: problem.take(),
                    }
                }
            }
        }
    }

    /// What to do now, or `None` until something happens. Each effect is returned once.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        if self.committing.is_some() {
            return None;
        }
        match &mut self.phase {
            Phase::Idle | Phase::Done => None,
            Phase::Receiving(plan) => {
                let plan = *plan;
                let news = self.written - self.facts.offset;
                let due = news > 0 && (self.due || news >= self.limits.checkpoint_bytes);
                (due && !plan.staged).then(|| self.commit(plan))
            }
            // What was taken is still on its way to the blob.
            Phase::Ending { .. } if self.written < self.received => None,
            Phase::Ending {
                step,
                plan,
                problem,
            } => match *step {
                Step::Verifying(_) | Step::Truncating => None,
                Step::Verify(subject) => {
                    *step = Step::Verifying(subject);
                    Some(Effect::Verify(subject))
                }
                Step::Truncate => {
                    *step = Step::Truncating;
                    Some(Effect::Truncate {
                        to: self.facts.offset,
                    })
                }
                Step::Commit => {
                    let (plan, problem) = (*plan, problem.clone());
                    match self.has_news(plan) {
                        true => Some(self.commit(plan)),
                        false => Some(self.answer(problem)),
                    }
                }
            },
            Phase::Over { problem } => {
                let problem = problem.take();
                Some(self.answer(problem))
            }
        }
    }

    fn check_declared(&self, declared: Option<u64>) -> Result<Option<u64>, Problem> {
        let Some(declared) = declared else {
            return Ok(None);
        };
        match self.facts.length {
            Some(known) if known == declared => Ok(None),
            Some(known) => Err(Problem::LengthConflict { known, declared }),
            None if declared < self.facts.offset => Err(Problem::LengthBelowOffset {
                offset: self.facts.offset,
                declared,
            }),
            None => match self.size_max() {
                limit if declared > limit => Err(Problem::TooLarge { limit }),
                _ => Ok(Some(declared)),
            },
        }
    }

    /// Largest upload, in bytes: no offset past what its protocol can tell.
    fn size_max(&self) -> u64 {
        let size_max = self.limits.upload_bytes_max();
        match self.facts.protocol {
            Protocol::Tus => size_max,
            Protocol::Draft | Protocol::EarlyDraft => size_max.min(structured::INTEGER_MAX),
        }
    }

    /// Row R50: all that a complete upload of the draft takes is its last append once more, without
    /// content: the answer to the first one may be lost.
    fn check_replay(&self, append: &Append) -> Result<(), Problem> {
        let replays = append.completion == Completion::AtEnd
            && append.offset == self.facts.offset
            && append.content_length.unwrap_or(0) == 0;
        match self.facts.complete && append.completion != Completion::AtLength && !replays {
            true => Err(Problem::UploadCompleted),
            false => Ok(()),
        }
    }

    /// Row R21: the most content of one request.
    fn check_most(&self, append: &Append) -> Result<(), Problem> {
        match (append.content_length, self.limits.append_max) {
            (Some(content), Some(limit)) if content > limit => Err(Problem::TooLarge { limit }),
            _ => Ok(()),
        }
    }

    /// Row R22: the least, if more is to follow.
    fn check_least(&self, append: &Append, length: Option<u64>) -> Result<(), Problem> {
        let (Some(content), Some(limit)) = (append.content_length, self.limits.append_min) else {
            return Ok(());
        };
        let end = append.offset.saturating_add(content);
        let is_last = self.facts.completes_at_length() && length == Some(end);
        let is_small = append.completion == Completion::Later && (1..limit).contains(&content);
        match is_small && !is_last {
            true => Err(Problem::AppendTooSmall { limit }),
            false => Ok(()),
        }
    }

    /// Row R48: content that says it is the last has to end at the length.
    fn check_whole(length: Option<u64>, end: u64) -> Result<(), Problem> {
        match length {
            Some(known) if end != known => Err(Problem::LengthConflict {
                known,
                declared: end,
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether bytes past `bound` make the upload unusable. A complete one stays as it is (R50).
    fn invalidates(&self, bound: Bound, overrun: Overrun) -> bool {
        bound.by.is_length() && overrun == Overrun::Invalidate && !self.facts.complete
    }

    fn bound(&self, length: Option<u64>) -> Bound {
        let size_max = self.size_max();
        // An upload that was accepted keeps its length when the limit is lowered later.
        let whole = length.map_or((size_max, BoundBy::Limit(size_max)), |length| {
            (length, BoundBy::Length(length))
        });
        let request = self.limits.append_max.map(|limit| {
            (
                self.facts.offset.saturating_add(limit),
                BoundBy::Limit(limit),
            )
        });
        let (offset, by) = match request {
            Some(request) if request.0 < whole.0 => request,
            Some(_) | None => whole,
        };
        Bound {
            offset: offset.max(self.facts.offset),
            by,
        }
    }

    /// No more bytes are taken. `whole`: the content ended as it should.
    fn end(&mut self, plan: Plan, problem: Option<Problem>, whole: bool) {
        let mut plan = plan;
        if !whole {
            plan.give_up_completion();
        }
        let step = match (plan.staged, whole) {
            (true, true) => Step::Verify(Subject::Append),
            (true, false) => Step::Truncate,
            (false, _) => plan.verify_whole(self.facts),
        };
        self.phase = Phase::Ending {
            plan,
            step,
            problem,
        };
    }

    /// Whether the upload's committed state is behind what this append has made of it.
    fn has_news(&self, plan: Plan) -> bool {
        self.written > self.facts.offset
            || plan.declared.is_some()
            || plan.invalid.is_some()
            || (self.mark(plan) == Mark::Completed && !self.facts.complete)
    }

    fn mark(&self, plan: Plan) -> Mark {
        if let Some(why) = plan.invalid {
            return Mark::Invalidated(why);
        }
        let length = plan.declared.or(self.facts.length);
        let ended = matches!(self.phase, Phase::Ending { .. });
        let is_said = plan.completion == Completion::AtEnd && ended;
        let is_long = self.facts.completes_at_length() && length == Some(self.written);
        match is_said || is_long {
            true => Mark::Completed,
            false => Mark::Open,
        }
    }

    fn commit(&mut self, plan: Plan) -> Effect {
        self.due = false;
        let mark = self.mark(plan);
        let length = match (mark, plan.completion) {
            (Mark::Completed, Completion::AtEnd) if self.facts.length.is_none() => {
                Some(self.written)
            }
            _ => plan.declared,
        };
        let commit = Commit {
            from: self.facts.offset,
            to: self.written,
            length,
            mark,
        };
        self.committing = Some(commit);
        Effect::Commit(commit)
    }

    fn answer(&mut self, problem: Option<Problem>) -> Effect {
        self.phase = Phase::Done;
        Effect::Answer(Outcome {
            facts: self.facts,
            problem,
        })
    }
}

impl Plan {
    /// Content that completes an upload with a digest is held against that first.
    fn verify_whole(&self, facts: Facts) -> Step {
        match self.completion == Completion::AtEnd && facts.has_digest && !facts.complete {
            true => Step::Verify(Subject::Whole),
            false => Step::Commit,
        }
    }

    /// Some of the content is missing, so that its end completes nothing.
    fn give_up_completion(&mut self) {
        if self.completion == Completion::AtEnd {
            self.completion = Completion::Later;
        }
    }
}

impl BoundBy {
    fn is_length(self) -> bool {
        matches!(self, Self::Length(_))
    }

    fn problem(self) -> Problem {
        match self {
            Self::Length(length) => Problem::ExceedsLength { length },
            Self::Limit(limit) => Problem::TooLarge { limit },
        }
    }
}
