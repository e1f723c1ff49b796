//! Drives the machine through one append in any order, beside an oracle that only keeps bytes.
//!
//! `fuzz/` compiles this file, too: it takes its scripts from raw input instead of from proptest.

use crate::problem::Problem;
use crate::request::{Append, Completion, Overrun};
use crate::upload::{Commit, Effect, Ending, Facts, Limits, Mark, Outcome, Stop, Upload, Verdict};

/// What fills the disk in these tests.
pub(crate) const WRITE_PROBLEM: Problem = Problem::StorageFull;
/// What a store answers that fails to commit or to truncate.
pub(crate) const STORE_PROBLEM: Problem = Problem::Internal;
/// What a client is told whose request is ended from outside.
pub(crate) const STOP_PROBLEM: Problem = Problem::UploadStalled;

/// One append and everything that happens to it.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) limits: Limits,
    pub(crate) append: Append,
    pub(crate) sent: Sent,
    pub(crate) steps: Vec<Step>,
}

/// What arrives of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    AsIs,
    /// Garbled on the way, which a checksum notices.
    Garbled,
}

/// One thing that happens, in any order that a driver could see.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// So many bytes of content arrive.
    Data(usize),
    /// The content comes to its end.
    End,
    /// At most so many bytes reach the blob.
    Write(usize),
    /// What was taken and has not reached the blob never will.
    WriteFails,
    /// The effect under way is done.
    Done,
    /// The effect under way fails.
    Fails,
    CheckpointDue,
    Stop(Ending),
}

/// The stored side of an upload.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) facts: Facts,
    /// The committed bytes, and perhaps some more.
    pub(crate) blob: Vec<u8>,
    /// Whether it can no longer be used.
    pub(crate) invalidated: bool,
}

/// The file that the client uploads, which never ends.
pub(crate) fn file(offset: usize) -> u8 {
    u8::try_from(offset * 31 % 251).unwrap()
}

/// Runs one append to its answer.
///
/// # Panics
/// The machine broke a promise.
pub(crate) fn run(stored: Stored, script: &Script) -> (Stored, Outcome) {
    let mut driver = match Driver::admitted(stored, script) {
        Ok(driver) => driver,
        Err((stored, problem)) => {
            let facts = stored.facts;
            return (
                stored,
                Outcome {
                    facts,
                    problem: Some(problem),
                },
            );
        }
    };
    driver.poll();
    for step in &script.steps {
        driver.step(*step);
    }
    driver.finish()
}

struct Driver {
    machine: Upload,
    stored: Stored,
    sent: Sent,
    /// Taken, and on its way to the blob.
    pending: Vec<u8>,
    under_way: Option<Effect>,
    told: Option<Outcome>,
    oracle: Oracle,
}

impl Driver {
    fn admitted(mut stored: Stored, script: &Script) -> Result<Self, (Stored, Problem)> {
        // Opening a blob cuts what was not committed.
        stored
            .blob
            .truncate(usize::try_from(stored.facts.offset).unwrap());
        let mut machine = Upload::new(stored.facts, script.limits);
        let oracle = Oracle::new(&stored, script);
        let admitted = machine.handle_append(&script.append);
        assert_eq!(
            admitted
                .as_ref()
                .err()
                .map(|problem| problem.status().as_u16()),
            oracle.refusal()
        );
        assert_eq!(
            machine.facts(),
            stored.facts,
            "an append that was only asked for changed facts"
        );
        if let Err(problem) = admitted {
            assert_eq!(machine.poll_effect(), None);
            assert!(!machine.is_receiving() && !machine.is_storing());
            return Err((stored, problem));
        }
        Ok(Self {
            machine,
            stored,
            sent: script.sent,
            pending: Vec::new(),
            under_way: None,
            told: None,
            oracle,
        })
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Data(len) => self.data(len),
            Step::End => {
                self.oracle.end();
                self.machine.handle_end();
            }
            Step::Write(at_most) => self.write(at_most),
            Step::WriteFails => self.write_fails(),
            Step::Done => self.done(),
            Step::Fails => self.fails(),
            Step::CheckpointDue => self.machine.handle_checkpoint_due(),
            Step::Stop(ending) => {
                self.oracle.stop(ending);
                self.machine.handle_stop(Stop {
                    problem: Some(STOP_PROBLEM),
                    ending,
                });
            }
        }
        self.poll();
        self.check();
    }

    fn data(&mut self, len: usize) {
        let from = self.oracle.received.len();
        let garble = if self.sent == Sent::Garbled { 0xff } else { 0 };
        let bytes: Vec<u8> = (from..from + len).map(|at| file(at) ^ garble).collect();
        let take = usize::try_from(self.machine.handle_data(len as u64)).unwrap();
        assert_eq!(
            take,
            self.oracle.data(&bytes),
            "taken of {len} bytes at {from}"
        );
        self.pending.extend(&bytes[..take]);
    }

    fn write(&mut self, at_most: usize) {
        if !self.machine.is_storing() {
            return self.pending.clear();
        }
        let len = at_most.min(self.pending.len());
        self.stored.blob.extend(self.pending.drain(..len));
        self.machine.handle_written(self.stored.blob.len() as u64);
    }

    fn write_fails(&mut self) {
        if self.machine.is_storing() && !self.pending.is_empty() {
            self.pending.clear();
            self.oracle.write_failed(self.stored.blob.len());
            self.machine.handle_write_failed(WRITE_PROBLEM);
        }
    }

    fn done(&mut self) {
        match self.under_way.take() {
            Some(Effect::Commit(commit)) => {
                self.oracle.committed(commit);
                self.stored.invalidated |= commit.mark == Mark::Invalidated;
                self.machine.handle_committed();
            }
            Some(Effect::Verify) => {
                let matches = self.oracle.is_intact();
                self.machine.handle_verified(if matches {
                    Verdict::Match
                } else {
                    Verdict::Mismatch
                });
            }
            Some(Effect::Truncate { to }) => {
                self.stored.blob.truncate(usize::try_from(to).unwrap());
                self.machine.handle_truncated();
            }
            Some(Effect::Answer(_)) | None => {}
        }
    }

    fn fails(&mut self) {
        // Comparing digests cannot fail.
        if matches!(
            self.under_way,
            Some(Effect::Commit(_) | Effect::Truncate { .. })
        ) {
            self.under_way = None;
            self.oracle.give_up(STORE_PROBLEM);
            self.machine.handle_refused(STORE_PROBLEM);
        }
    }

    fn poll(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            assert_eq!(self.told, None, "{effect:?} after the answer");
            let given_up = self.oracle.stage == Stage::GivenUp;
            let waits = match self.under_way {
                Some(Effect::Commit(_)) => true,
                // Nobody waits for these if nothing is to be stored any more.
                Some(Effect::Verify | Effect::Truncate { .. }) => !given_up,
                Some(Effect::Answer(_)) | None => false,
            };
            assert!(!waits, "{effect:?} before {:?} has ended", self.under_way);
            let blob = self.stored.blob.len();
            match effect {
                Effect::Answer(outcome) => {
                    self.under_way = None;
                    assert_eq!(outcome, self.oracle.outcome());
                    self.told = Some(outcome);
                    continue;
                }
                Effect::Commit(commit) => {
                    assert_eq!(commit, self.oracle.commit(blob));
                }
                Effect::Verify => {
                    assert!(self.machine.is_staged());
                    assert!(self.pending.is_empty(), "verified before all is written");
                }
                Effect::Truncate { to } => {
                    assert!(self.machine.is_staged());
                    assert_eq!(to, self.oracle.committed.offset);
                    assert!(self.pending.is_empty(), "truncated before all is written");
                }
            }
            assert_ne!(
                self.oracle.stage,
                Stage::GivenUp,
                "{effect:?} of an append given up"
            );
            self.under_way = Some(effect);
        }
    }

    /// What holds at any time.
    fn check(&self) {
        let (facts, blob) = (self.machine.facts(), &self.stored.blob);
        assert_eq!(facts, self.oracle.committed);
        assert!(
            facts.offset <= blob.len() as u64,
            "committed before written"
        );
        assert!(self.oracle.received.starts_with(blob) || !self.machine.is_storing());
        assert_eq!(self.machine.is_receiving(), self.oracle.is_open());
        if self.machine.is_storing() {
            assert_eq!(self.machine.written(), blob.len() as u64);
        }
    }

    /// Whatever has happened: a driver that does its part comes to the answer.
    fn finish(mut self) -> (Stored, Outcome) {
        self.step(Step::Stop(Ending::Settle));
        for _ in 0..4 {
            self.step(Step::Write(usize::MAX));
            self.step(Step::Done);
        }
        for step in [Step::Data(1), Step::End, Step::CheckpointDue, Step::Done] {
            self.step(step);
        }
        let outcome = self.told.expect("an answer");
        self.stored.facts = outcome.facts;
        (self.stored, outcome)
    }
}

/// What must come of an append: written down from the rows, without regard for how it is done.
struct Oracle {
    before: Facts,
    limits: Limits,
    append: Append,
    /// The content, if nothing more comes and all of it is kept.
    received: Vec<u8>,
    stage: Stage,
    /// Set once bytes came that are not taken.
    overran: bool,
    problem: Option<Problem>,
    committed: Facts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// No more bytes are taken.
    Ended {
        /// Whether all that was to come has come, and reached the blob.
        whole: bool,
    },
    /// Nothing more may be stored.
    GivenUp,
    Told,
}

impl Oracle {
    fn new(stored: &Stored, script: &Script) -> Self {
        Self {
            before: stored.facts,
            limits: script.limits,
            append: script.append.clone(),
            received: stored.blob.clone(),
            stage: Stage::Open,
            overran: false,
            problem: None,
            committed: stored.facts,
        }
    }

    /// The status with which the append is refused, in the order of the checks.
    fn refusal(&self) -> Option<u16> {
        let (known, declared) = (self.before.length, self.append.length);
        let differs = known.is_some() && declared.is_some() && known != declared;
        let declared = declared.filter(|_| known.is_none());
        let end = self
            .append
            .content_length
            .map(|content| self.append.offset + content);
        let checks = [
            (403, self.before.concatenated),
            (409, self.append.offset != self.before.offset),
            (
                400,
                differs || declared.is_some_and(|length| length < self.before.offset),
            ),
            (
                413,
                declared > self.limits.size_max && self.limits.size_max.is_some(),
            ),
            (
                413,
                end.is_some_and(|end| end > self.bound()) && !self.invalidates(),
            ),
            (400, end.is_some_and(|end| self.is_short(end))),
        ];
        checks
            .into_iter()
            .find_map(|(status, fails)| fails.then_some(status))
    }

    fn length(&self) -> Option<u64> {
        self.before.length.or(self.append.length)
    }

    /// Where the request must end for the limit of one request.
    fn request_end(&self) -> u64 {
        self.before
            .offset
            .saturating_add(self.limits.append_max.unwrap_or(u64::MAX))
    }

    /// Where the upload must end.
    fn upload_end(&self) -> u64 {
        self.length()
            .or(self.limits.size_max)
            .unwrap_or(i64::MAX.cast_unsigned())
    }

    fn bound(&self) -> u64 {
        self.upload_end()
            .min(self.request_end())
            .max(self.before.offset)
    }

    /// Whether bytes past the bound make the upload unusable, which never happens to a complete
    /// one.
    fn invalidates(&self) -> bool {
        self.append.overrun == Overrun::Invalidate
            && self.length().is_some()
            && self.upload_end() <= self.request_end()
            && !self.before.complete
    }

    /// Whether a content that ends there, and says that it is the last, is not long enough.
    fn is_short(&self, end: u64) -> bool {
        self.append.completion == Completion::AtEnd
            && self.length().is_some_and(|length| end < length)
    }

    fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether the bytes of this append have the digest of those that the client meant to send.
    fn is_intact(&self) -> bool {
        let start = usize::try_from(self.before.offset).unwrap();
        (start..self.received.len()).all(|at| self.received[at] == file(at))
    }

    /// Whether the bytes of this append count: those of a staged one all together, or none.
    fn counts(&self) -> bool {
        let whole = self.stage == Stage::Ended { whole: true };
        self.append.checksum.is_none() || whole && self.is_intact()
    }

    fn data(&mut self, bytes: &[u8]) -> usize {
        if !self.is_open() {
            return 0;
        }
        let room = usize::try_from(self.bound()).unwrap() - self.received.len();
        let take = room.min(bytes.len());
        self.received.extend(&bytes[..take]);
        if take < bytes.len() {
            self.stage = Stage::Ended { whole: false };
            self.overran = true;
            let request = self.request_end() < self.upload_end();
            self.problem = Some(match (request, self.limits.append_max, self.length()) {
                (true, Some(limit), _) => Problem::TooLarge { limit },
                (_, _, Some(length)) => Problem::ExceedsLength { length },
                (_, _, None) => Problem::TooLarge {
                    limit: self.limits.size_max.unwrap(),
                },
            });
        }
        take
    }

    fn end(&mut self) {
        if self.is_open() {
            let end = self.received.len() as u64;
            let short = self.is_short(end);
            self.stage = Stage::Ended { whole: !short };
            if let (true, Some(known)) = (short, self.length()) {
                self.problem = Some(Problem::LengthConflict {
                    known,
                    declared: end,
                });
            }
        }
    }

    fn stop(&mut self, ending: Ending) {
        match (self.stage, ending) {
            (Stage::Open, Ending::Settle) => {
                self.stage = Stage::Ended { whole: false };
                self.problem = Some(STOP_PROBLEM);
            }
            (Stage::Open | Stage::Ended { .. }, Ending::Abandon) => self.give_up(STOP_PROBLEM),
            (Stage::Ended { .. } | Stage::GivenUp | Stage::Told, _) => {}
        }
    }

    fn write_failed(&mut self, blob: usize) {
        self.stage = Stage::Ended { whole: false };
        self.received.truncate(blob);
        self.problem.get_or_insert(WRITE_PROBLEM);
    }

    fn give_up(&mut self, problem: Problem) {
        self.stage = Stage::GivenUp;
        self.problem = Some(problem);
    }

    /// The one commit that is right now, when the blob holds so many bytes.
    fn commit(&self, blob: usize) -> Commit {
        let from = self.committed.offset;
        let (to, length) = match self.counts() {
            true => (blob as u64, self.append.length),
            false => (from, None),
        };
        let whole = self.stage == Stage::Ended { whole: true };
        let completes = match self.append.completion {
            Completion::AtLength => self.before.length.or(length) == Some(to),
            Completion::AtEnd => whole,
            Completion::Later => false,
        };
        let mark = match (
            self.overran && self.invalidates(),
            completes && self.counts(),
        ) {
            (true, _) => Mark::Invalidated,
            (false, true) => Mark::Completed,
            (false, false) => Mark::Open,
        };
        let length = length.or((whole && mark == Mark::Completed).then_some(to));
        let length = length.filter(|_| self.committed.length.is_none());
        Commit {
            from,
            to,
            length,
            mark,
        }
    }

    fn committed(&mut self, commit: Commit) {
        assert_ne!(self.stage, Stage::Told);
        self.committed.offset = commit.to;
        self.committed.length = commit.length.or(self.committed.length);
        self.committed.complete |= commit.mark == Mark::Completed;
        let complete = self.committed.complete;
        assert!(
            !complete || self.committed.length == Some(commit.to),
            "complete, but not whole"
        );
    }

    /// What the client has to be told.
    fn outcome(&mut self) -> Outcome {
        let mut problem = self.problem.clone();
        if let Stage::Ended { whole } = self.stage {
            if whole && !self.counts() {
                problem = Some(Problem::ChecksumMismatch);
            }
            // Nothing that counts is left uncommitted.
            let due = self.commit(self.received.len());
            assert_eq!(self.committed.offset, due.to);
            assert_eq!(due.length, None);
            assert!(due.mark != Mark::Completed || self.committed.complete);
        }
        assert!(!self.is_open(), "an answer before the end");
        self.stage = Stage::Told;
        Outcome {
            facts: self.committed,
            problem,
        }
    }
}
