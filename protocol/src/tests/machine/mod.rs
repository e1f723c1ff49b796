//! The machine, a table per behaviour. [`super::oracle`] looks for what is not in the tables.

mod check;
mod commit;
mod draft;
mod end;
mod policy;
mod staged;
mod whole;

use crate::problem::Problem;
use crate::request::{Append, Completion, Expected, Overrun, Protocol};
use crate::upload::{
    Commit, Effect, Ending, Facts, Limits, Mark, Outcome, Stop, Subject, Upload, Verdict,
};

const NO_LIMITS: Limits = Limits {
    size_max: None,
    append_max: None,
    append_min: None,
    checkpoint_bytes: 1 << 20,
};

/// An upload of tus that is not complete.
fn facts(offset: u64, length: Option<u64>) -> Facts {
    Facts {
        offset,
        length,
        complete: false,
        concatenated: false,
        has_digest: false,
        protocol: Protocol::Tus,
    }
}

/// An append of tus that says nothing in advance.
fn append(offset: u64) -> Append {
    Append {
        offset,
        length: None,
        content_length: None,
        checksum: None,
        completion: Completion::AtLength,
        overrun: Overrun::KeepToLength,
    }
}

fn declaring(offset: u64, length: u64) -> Append {
    Append {
        length: Some(length),
        ..append(offset)
    }
}

fn staged(offset: u64) -> Append {
    Append {
        checksum: Some(Expected::Trailer),
        ..append(offset)
    }
}

/// A machine that has taken the append.
fn taken(facts: Facts, limits: Limits, append: &Append) -> Upload {
    let mut machine = Upload::new(facts, limits);
    assert_eq!(machine.handle_append(append), Ok(()));
    assert_eq!(machine.facts(), facts);
    machine
}

/// Bytes arrive, and what is taken of them is written. Returns how many were taken.
fn store(machine: &mut Upload, len: u64) -> u64 {
    let take = machine.handle_data(len);
    machine.handle_written(machine.written() + take);
    take
}

/// What the only effect says to commit.
fn polled_commit(machine: &mut Upload) -> Commit {
    let Some(Effect::Commit(commit)) = machine.poll_effect() else {
        panic!("no commit: {machine:?}");
    };
    assert_eq!(machine.poll_effect(), None, "one commit at a time");
    commit
}

/// What an append came to, with a store that does all it is told.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    commits: Vec<Commit>,
    truncated: bool,
    outcome: Outcome,
}

/// Lets the append come to its answer, as a store without fault does.
fn settle(machine: &mut Upload, verdict: Verdict) -> Ended {
    settle_with(machine, |_| verdict.clone())
}

/// The same with a verdict for each digest.
fn settle_with(machine: &mut Upload, verdict: impl Fn(Subject) -> Verdict) -> Ended {
    let (mut commits, mut truncated) = (Vec::new(), false);
    loop {
        match machine.poll_effect().expect("an effect until the answer") {
            Effect::Commit(commit) => {
                commits.push(commit);
                machine.handle_committed();
            }
            Effect::Verify(subject) => machine.handle_verified(verdict(subject)),
            Effect::Truncate { to } => {
                assert_eq!(to, machine.facts().offset);
                truncated = true;
                machine.handle_truncated();
            }
            Effect::Answer(outcome) => {
                assert_eq!(machine.poll_effect(), None, "the answer is the last effect");
                return Ended {
                    commits,
                    truncated,
                    outcome,
                };
            }
        }
    }
}

/// The answer, where there is nothing to do before it.
fn answered(machine: &mut Upload) -> Outcome {
    let ended = settle(machine, Verdict::Match);
    assert_eq!((ended.commits, ended.truncated), (Vec::new(), false));
    ended.outcome
}

/// A commit that declares no length.
fn commit(from: u64, to: u64, mark: Mark) -> Commit {
    Commit {
        from,
        to,
        length: None,
        mark,
    }
}

fn stop(ending: Ending) -> Stop {
    Stop {
        problem: Some(Problem::UploadStalled),
        ending,
    }
}

fn done(facts: Facts) -> Outcome {
    Outcome {
        facts,
        problem: None,
    }
}

fn refused(facts: Facts, problem: Problem) -> Outcome {
    Outcome {
        facts,
        problem: Some(problem),
    }
}

fn complete(length: u64) -> Facts {
    Facts {
        complete: true,
        ..facts(length, Some(length))
    }
}
