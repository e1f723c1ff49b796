//! Drives the machine through one append in any order, beside an oracle that only keeps bytes.
//!
//! `fuzz/` compiles this file, too: it takes its scripts from raw input instead of from proptest.

use self::oracle::{Oracle, Stage};
use crate::problem::Problem;
use crate::request::Append;
use crate::upload::{Effect, Ending, Facts, Limits, Outcome, Stop, Subject, Upload, Verdict};

mod oracle;

/// What fills the disk in these tests.
const WRITE_PROBLEM: Problem = Problem::StorageFull;
/// What a store answers that fails to commit or to truncate.
const STORE_PROBLEM: Problem = Problem::Internal;
/// What a client is told whose request is ended from outside.
const STOP_PROBLEM: Problem = Problem::UploadStalled;

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
    /// The whole content has to have the digest of so many bytes of the file; set if and only if
    /// [`Facts::has_digest`] is.
    pub(crate) digest_of: Option<u64>,
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
    let mut driver = Driver::new(stored, script);
    if driver.admit(&script.append) {
        for step in &script.steps {
            driver.step(*step);
        }
        driver.finish();
    }
    driver.stored.facts = driver.oracle.committed;
    driver.stored.invalidated = driver.oracle.invalidated;
    (driver.stored, driver.told.expect("an answer"))
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
    fn new(mut stored: Stored, script: &Script) -> Self {
        // Opening a blob cuts what was not committed.
        let committed = usize::try_from(stored.facts.offset).unwrap();
        stored.blob.truncate(committed);
        Self {
            machine: Upload::new(stored.facts, script.limits),
            oracle: Oracle::new(&stored, script),
            stored,
            sent: script.sent,
            pending: Vec::new(),
            under_way: None,
            told: None,
        }
    }

    /// Whether the append is taken. Nothing has changed, whether it is or not.
    fn admit(&mut self, append: &Append) -> bool {
        let facts = self.stored.facts;
        let problem = self.machine.handle_append(append).err();
        let refusal = problem
            .as_ref()
            .map(|problem| (problem.status().as_u16(), problem.slug()));
        assert_eq!(refusal, self.oracle.refusal());
        assert_eq!(self.machine.facts(), facts);
        assert_eq!(self.machine.poll_effect(), None);
        let taken = problem.is_none();
        assert_eq!(self.machine.is_receiving(), taken);
        assert_eq!(self.machine.is_storing(), taken);
        self.told = (!taken).then_some(Outcome { facts, problem });
        taken
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
                self.machine.handle_committed();
            }
            Some(Effect::Verify(subject)) => {
                let matches = match subject {
                    Subject::Append => self.oracle.is_intact(),
                    Subject::Whole => self.oracle.verify_whole(),
                };
                self.machine.handle_verified(match matches {
                    true => Verdict::Match,
                    false => Verdict::Mismatch,
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
        if let Some(Effect::Commit(_) | Effect::Truncate { .. }) = self.under_way {
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
                Some(Effect::Verify(_) | Effect::Truncate { .. }) => !given_up,
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
                Effect::Verify(subject) => {
                    match subject {
                        Subject::Append => assert!(self.machine.is_staged()),
                        Subject::Whole => assert!(self.oracle.awaits_whole()),
                    }
                    assert!(self.pending.is_empty(), "verified before all is written");
                }
                Effect::Truncate { to } => {
                    assert!(self.machine.is_staged());
                    assert_eq!(to, self.oracle.committed.offset);
                    assert!(self.pending.is_empty(), "truncated before all is written");
                }
            }
            assert!(!given_up, "{effect:?} of an append that was given up");
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
        assert_eq!(self.machine.is_receiving(), self.oracle.is_open());
        if self.machine.is_storing() {
            assert!(self.oracle.received.starts_with(blob));
            assert_eq!(self.machine.written(), blob.len() as u64);
        }
        if self.machine.is_receiving() && !self.machine.is_staged() && self.under_way.is_none() {
            let uncommitted = blob.len() as u64 - facts.offset;
            let checkpoint = self.oracle.limits.checkpoint_bytes.max(1);
            assert!(uncommitted < checkpoint, "a checkpoint was forgotten");
        }
    }

    /// Whatever has happened: a driver that does its part comes to the answer.
    fn finish(&mut self) {
        self.step(Step::Stop(Ending::Settle));
        for _ in 0..4 {
            self.step(Step::Write(usize::MAX));
            self.step(Step::Done);
        }
        // Nothing happens after it.
        for step in [Step::Data(1), Step::End, Step::CheckpointDue, Step::Done] {
            self.step(step);
        }
    }
}
