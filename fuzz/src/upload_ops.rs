//! Sequences of operations on the upload machine, beside a model that knows what is promised.

use tidegate_protocol::field::checksum::{Algorithm, Checksum};
use tidegate_protocol::problem::Problem;
use tidegate_protocol::request::{Append, Completion, Expected, Overrun};
use tidegate_protocol::upload::{
    Commit, Effect, Ending, Facts, Limits, Mark, Outcome, Stop, Upload, Verdict,
};

use crate::Input;

/// Runs one append: its request from the first bytes, what happens to it from the rest.
///
/// # Panics
///
/// When the machine breaks a promise, or never answers.
pub fn upload_ops(data: &[u8]) {
    let mut input = Input(data);
    let Some(mut driver) = Driver::admitted(&mut input) else {
        return;
    };
    driver.poll();
    while !input.is_empty() && driver.outcome.is_none() {
        driver.step(&mut input);
        driver.poll();
    }
    driver.finish();
}

/// Drives the machine and watches it.
struct Driver {
    machine: Upload,
    append: Append,
    limits: Limits,
    /// What has been committed.
    facts: Facts,
    /// Where the append began.
    start: u64,
    /// Bytes taken, as an offset.
    received: u64,
    /// Bytes in the blob, as an offset.
    written: u64,
    pending: Option<Effect>,
    /// Set once the digest has been found to match.
    verified: bool,
    /// Set once the content came to its end.
    ended: bool,
    /// Set once nothing more may be stored.
    closed: bool,
    /// Set once bytes that were taken may be lost.
    lossy: bool,
    outcome: Option<Outcome>,
}

impl Driver {
    /// An append that the machine takes; `None` where it refuses, which changes nothing.
    fn admitted(input: &mut Input<'_>) -> Option<Self> {
        let offset = input.small();
        let facts = Facts {
            offset,
            length: input.maybe(|input| offset + input.small()),
            complete: false,
            concatenated: input.byte() == 255,
        };
        let limits = Limits {
            size_max: input.maybe(|input| offset + input.small()),
            append_max: input.maybe(Input::small),
            checkpoint_bytes: input.small() + 1,
        };
        let append = Append {
            offset: offset + u64::from(input.byte() == 255),
            length: input.maybe(Input::small),
            content_length: input.maybe(Input::small),
            checksum: expected(input.byte()),
            completion: match input.byte() % 4 {
                0 => Completion::AtEnd,
                1 => Completion::Later,
                _ => Completion::AtLength,
            },
            overrun: if input.flag() {
                Overrun::Invalidate
            } else {
                Overrun::KeepToLength
            },
        };
        let mut machine = Upload::new(facts, limits);
        if machine.handle_append(&append).is_err() {
            assert_eq!(machine.facts(), facts);
            assert_eq!(machine.poll_effect(), None);
            return None;
        }
        Some(Self {
            machine,
            append,
            limits,
            facts,
            start: offset,
            received: offset,
            written: offset,
            pending: None,
            verified: false,
            ended: false,
            closed: false,
            lossy: false,
            outcome: None,
        })
    }

    /// One thing that happens, in any order that a driver could see.
    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 9 {
            0 | 1 => self.data(input.small()),
            2 => self.write(input.small()),
            3 => self.resolve(input.byte()),
            4 => self.machine.handle_checkpoint_due(),
            5 => {
                self.ended |= self.machine.is_receiving();
                self.machine.handle_end();
            }
            6 => self.stop(Ending::Settle),
            7 if input.byte() > 192 => self.stop(Ending::Abandon),
            8 if input.byte() > 192 && self.machine.is_storing() && self.pending.is_none() => {
                self.lossy = true;
                self.received = self.written;
                self.machine.handle_write_failed(Problem::ValidationFailed {
                    field: "disk".into(),
                    message: "is full".into(),
                });
            }
            _ => {}
        }
    }

    fn data(&mut self, len: u64) {
        let receiving = self.machine.is_receiving();
        let take = self.machine.handle_data(len);
        assert!(take <= len && (receiving || take == 0));
        self.received += take;
    }

    fn write(&mut self, at_most: u64) {
        if self.machine.is_storing() {
            self.written += at_most.min(self.received - self.written);
            self.machine.handle_written(self.written);
            assert_eq!(self.machine.written(), self.written);
        }
    }

    fn stop(&mut self, ending: Ending) {
        self.closed |= ending == Ending::Abandon;
        self.lossy |= ending == Ending::Abandon;
        self.machine.handle_stop(Stop {
            problem: None,
            ending,
        });
    }

    /// Ends the effect under way, one way or the other.
    fn resolve(&mut self, how: u8) {
        match self.pending.take() {
            Some(Effect::Commit(_)) if how > 224 => {
                self.closed = true;
                self.lossy = true;
                self.machine.handle_refused(Problem::ChecksumMismatch);
            }
            Some(Effect::Commit(commit)) => {
                self.facts.offset = commit.to;
                self.facts.length = commit.length.or(self.facts.length);
                self.facts.complete |= commit.mark == Mark::Completed;
                self.machine.handle_committed();
            }
            Some(Effect::Verify) if how > 128 => {
                self.lossy = true;
                self.machine.handle_verified(Verdict::Mismatch);
            }
            Some(Effect::Verify) => {
                self.verified = true;
                self.machine.handle_verified(Verdict::Match);
            }
            Some(Effect::Truncate { to }) => {
                self.received = to;
                self.written = to;
                self.machine.handle_truncated();
            }
            Some(Effect::Answer(_)) | None => {}
        }
        assert_eq!(self.machine.facts(), self.facts);
    }

    fn poll(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            assert!(self.outcome.is_none(), "{effect:?} after the answer");
            match &effect {
                Effect::Answer(outcome) => {
                    self.check_answer(outcome);
                    self.outcome = Some(outcome.clone());
                    continue;
                }
                Effect::Commit(commit) => self.check_commit(*commit),
                Effect::Verify => {
                    assert!(self.append.checksum.is_some() && self.ended);
                    assert_eq!(
                        self.written, self.received,
                        "verified before all is written"
                    );
                }
                Effect::Truncate { to } => {
                    assert!(self.append.checksum.is_some());
                    assert_eq!(*to, self.facts.offset);
                }
            }
            assert!(!self.closed, "{effect:?} after the upload was given up");
            assert_eq!(
                self.pending, None,
                "{effect:?} before the last effect has ended"
            );
            self.pending = Some(effect);
        }
    }

    fn check_commit(&self, commit: Commit) {
        assert_eq!(commit.from, self.facts.offset);
        assert!(
            commit.from <= commit.to && commit.to <= self.written,
            "{commit:?}"
        );
        let length = commit.length.or(self.facts.length);
        let grown = commit.to - self.start;
        assert!(
            grown == 0 || length.is_none_or(|length| commit.to <= length),
            "{commit:?}"
        );
        assert!(grown == 0 || self.limits.append_max.is_none_or(|limit| grown <= limit));
        if self.append.checksum.is_some() {
            assert!(
                self.verified && commit.to == self.received,
                "{commit:?} is not all"
            );
        }
        if commit.mark == Mark::Completed {
            let whole = self.append.completion == Completion::AtEnd && self.ended;
            assert!(whole || length == Some(commit.to), "{commit:?}");
        }
    }

    fn check_answer(&self, outcome: &Outcome) {
        assert_eq!(
            outcome.facts, self.facts,
            "something else is told than what is committed"
        );
        let all_or_none = self.append.checksum.is_some();
        if !self.lossy && (self.ended || !all_or_none) {
            assert_eq!(
                self.facts.offset, self.received,
                "bytes that arrived were not kept"
            );
        }
        if all_or_none && !self.verified {
            assert_eq!(self.facts.offset, self.start, "unverified bytes were kept");
        }
    }

    /// Whatever has happened, a driver that does its part comes to the answer.
    fn finish(mut self) {
        self.stop(Ending::Settle);
        for _ in 0..8 {
            self.poll();
            self.write(u64::MAX);
            self.resolve(0);
        }
        self.poll();
        assert!(self.outcome.is_some(), "no answer: {:?}", self.machine);
        assert_eq!(self.machine.poll_effect(), None);
    }
}

fn expected(choice: u8) -> Option<Expected> {
    match choice % 4 {
        0 => Some(Expected::Trailer),
        1 => Checksum::new(Algorithm::Crc32c, &[0; 4]).map(Expected::Header),
        _ => None,
    }
}
