//! Appends with a checksum: all of the bytes or none (rows T71, T73 to T75, T78).

use super::{
    Ended, NO_LIMITS, commit, complete, declaring, done, facts, refused, settle, staged, stop,
    store, taken,
};
use crate::problem::Problem;
use crate::request::{Append, Expected};
use crate::upload::{Commit, Effect, Ending, Limits, Mark, Outcome, Subject, Upload, Verdict};

/// The upload as the append finds it: deferred, with the append declaring its length.
fn machine() -> Upload {
    let append = Append {
        length: Some(20),
        ..staged(10)
    };
    let machine = taken(facts(10, None), NO_LIMITS, &append);
    assert!(machine.is_staged());
    machine
}

/// None of the bytes counts, and the length stays undeclared.
fn nothing(problem: Problem) -> Ended {
    Ended {
        commits: vec![],
        truncated: true,
        outcome: refused(facts(10, None), problem),
    }
}

#[test]
fn t71_what_matches_is_committed_as_a_whole() {
    let mut machine = machine();
    for _ in 0..5 {
        store(&mut machine, 2);
        machine.handle_checkpoint_due();
        assert_eq!(machine.poll_effect(), None);
    }
    machine.handle_end();
    let expected = Commit {
        length: Some(20),
        ..commit(10, 20, Mark::Completed)
    };
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.commits, [expected]);
    assert!(!ended.truncated);
    assert_eq!(ended.outcome, done(complete(20)));
}

#[test]
fn no_checkpoint_is_made_while_the_digest_is_not_known() {
    let limits = Limits {
        checkpoint_bytes: 1,
        ..NO_LIMITS
    };
    let mut machine = taken(facts(0, Some(20)), limits, &staged(0));
    store(&mut machine, 20);
    machine.handle_checkpoint_due();
    assert_eq!(machine.poll_effect(), None);
    machine.handle_end();
    assert_eq!(machine.poll_effect(), Some(Effect::Verify(Subject::Append)));
    machine.handle_checkpoint_due();
    assert_eq!(machine.poll_effect(), None, "the digest is being compared");
}

#[test]
fn the_digest_is_compared_when_all_is_written() {
    let mut machine = machine();
    assert_eq!(machine.handle_data(5), 5);
    machine.handle_end();
    assert_eq!(machine.poll_effect(), None);
    machine.handle_written(15);
    assert_eq!(machine.poll_effect(), Some(Effect::Verify(Subject::Append)));
}

#[test]
fn t73_what_does_not_match_is_removed() {
    for len in [0, 5, 10] {
        let mut machine = machine();
        store(&mut machine, len);
        machine.handle_end();
        assert_eq!(
            settle(&mut machine, Verdict::Mismatch),
            nothing(Problem::ChecksumMismatch)
        );
    }
    assert_eq!(Problem::ChecksumMismatch.status(), 460);
}

#[test]
fn t74_what_is_cut_is_removed() {
    for len in [0, 5, 10] {
        let mut machine = machine();
        store(&mut machine, len);
        machine.handle_stop(stop(Ending::Settle));
        assert_eq!(
            settle(&mut machine, Verdict::Match),
            nothing(Problem::UploadStalled)
        );
    }
}

#[test]
fn what_runs_over_is_removed() {
    let mut machine = machine();
    assert_eq!(store(&mut machine, 11), 10);
    let problem = Problem::ExceedsLength { length: 20 };
    assert_eq!(settle(&mut machine, Verdict::Match), nothing(problem));
}

#[test]
fn what_cannot_be_written_is_removed() {
    for ended in [false, true] {
        let mut machine = machine();
        store(&mut machine, 4);
        assert_eq!(machine.handle_data(6), 6);
        if ended {
            machine.handle_end();
        }
        machine.handle_write_failed(Problem::StorageFull);
        assert_eq!(
            settle(&mut machine, Verdict::Match),
            nothing(Problem::StorageFull)
        );
    }
}

#[test]
fn bytes_on_their_way_are_awaited_before_they_are_removed() {
    let mut machine = machine();
    assert_eq!(machine.handle_data(5), 5);
    machine.handle_stop(stop(Ending::Settle));
    assert_eq!(machine.poll_effect(), None);
    machine.handle_written(15);
    assert_eq!(machine.poll_effect(), Some(Effect::Truncate { to: 10 }));
    assert_eq!(machine.poll_effect(), None);
    machine.handle_truncated();
    assert_eq!(machine.written(), 10);
}

#[test]
fn t75_a_length_declared_with_bytes_that_count_for_nothing_is_not_declared() {
    let mut machine = machine();
    store(&mut machine, 5);
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Mismatch);
    assert_eq!(ended.outcome.facts.length, None);
    // Another one can still be declared.
    taken(ended.outcome.facts, NO_LIMITS, &declaring(10, 30));
}

#[test]
fn t78_an_announced_digest_is_awaited_like_a_known_one() {
    let append = Append {
        checksum: Some(Expected::Trailer),
        ..staged(0)
    };
    let mut machine = taken(facts(0, Some(5)), NO_LIMITS, &append);
    store(&mut machine, 5);
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Mismatch);
    let outcome = refused(facts(0, Some(5)), Problem::ChecksumMismatch);
    assert_eq!((ended.commits, ended.outcome), (vec![], outcome));
}

#[test]
fn bytes_that_cannot_be_removed_count_for_nothing_all_the_same() {
    let mut machine = machine();
    store(&mut machine, 5);
    machine.handle_stop(stop(Ending::Settle));
    assert_eq!(machine.poll_effect(), Some(Effect::Truncate { to: 10 }));
    machine.handle_refused(Problem::Internal);
    let outcome = refused(facts(10, None), Problem::Internal);
    assert_eq!(machine.poll_effect(), Some(Effect::Answer(outcome)));
}

#[test]
fn a_verified_append_that_cannot_be_committed_counts_for_nothing() {
    let mut machine = machine();
    store(&mut machine, 10);
    machine.handle_end();
    assert_eq!(machine.poll_effect(), Some(Effect::Verify(Subject::Append)));
    machine.handle_verified(Verdict::Match);
    assert!(matches!(machine.poll_effect(), Some(Effect::Commit(_))));
    machine.handle_refused(Problem::Internal);
    let outcome = refused(facts(10, None), Problem::Internal);
    assert_eq!(machine.poll_effect(), Some(Effect::Answer(outcome)));
}

#[test]
fn an_empty_append_is_verified_too() {
    let known = facts(10, Some(20));
    for (verdict, problem) in [
        (Verdict::Match, None),
        (Verdict::Mismatch, Some(Problem::ChecksumMismatch)),
    ] {
        let mut machine = taken(known, NO_LIMITS, &staged(10));
        machine.handle_end();
        let outcome = Outcome {
            facts: known,
            problem,
        };
        assert_eq!(settle(&mut machine, verdict).outcome, outcome);
    }
}
