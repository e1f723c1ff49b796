//! Uploads of which the whole content has to have a digest (row R76): it is compared between the
//! last byte and the commit that would complete.

use super::policy::{PAST_LENGTH, facts, last, not_last, with_digest};
use super::{
    NO_LIMITS, answered, append, commit, done, polled_commit, refused, settle, settle_with, stop,
    store, taken,
};
use crate::problem::Problem;
use crate::request::Append;
use crate::upload::{
    Commit, Effect, Ending, Facts, Invalid, Limits, Mark, Subject, Upload, Verdict,
};

const BAD: Mark = Mark::Invalidated(Invalid::Digest);

fn promised(facts: Facts) -> Facts {
    Facts {
        has_digest: true,
        ..facts
    }
}

/// An upload of which ten bytes are there.
fn begun(length: Option<u64>) -> Facts {
    promised(facts(10, length))
}

fn complete(length: u64) -> Facts {
    promised(super::policy::complete(length))
}

/// The last ten bytes have come and are written.
fn ended(known: Facts, append: &Append) -> Upload {
    let mut machine = taken(known, NO_LIMITS, append);
    store(&mut machine, 10);
    machine.handle_end();
    machine
}

fn whole(machine: &mut Upload) {
    assert_eq!(machine.poll_effect(), Some(Effect::Verify(Subject::Whole)));
    assert_eq!(machine.poll_effect(), None, "each effect comes once");
}

#[test]
fn r76_the_whole_content_is_compared_before_it_is_complete() {
    for length in [None, Some(20)] {
        let mut machine = ended(begun(length), &last(10));
        whole(&mut machine);
        assert_eq!(machine.facts(), begun(length), "nothing is true yet");
        machine.handle_verified(Verdict::Match);
        let ended = settle(&mut machine, Verdict::Mismatch);
        let expected = Commit {
            length: length.is_none().then_some(20),
            ..commit(10, 20, Mark::Completed)
        };
        assert_eq!(ended.commits, [expected]);
        assert_eq!(ended.outcome, done(complete(20)));
    }
}

#[test]
fn r76_content_that_is_not_what_was_announced_fails_the_upload() {
    for verdict in [
        Verdict::Mismatch,
        Verdict::Unusable(Problem::UnknownChecksumAlgorithm),
    ] {
        for length in [None, Some(20)] {
            let mut machine = ended(begun(length), &last(10));
            let ended = settle(&mut machine, verdict.clone());
            assert_eq!(ended.commits, [commit(10, 20, BAD)]);
            assert!(!ended.truncated);
            let facts = promised(facts(20, length));
            assert_eq!(ended.outcome, refused(facts, Problem::DigestMismatch));
        }
    }
    assert_eq!(Problem::DigestMismatch.status(), 400);
}

#[test]
fn r76_a_length_declared_with_the_last_content_is_kept_for_a_failed_upload() {
    let append = Append {
        length: Some(20),
        ..last(10)
    };
    let mut machine = ended(begun(None), &append);
    let ended = settle(&mut machine, Verdict::Mismatch);
    let expected = Commit {
        length: Some(20),
        ..commit(10, 20, BAD)
    };
    assert_eq!(ended.commits, [expected]);
}

#[test]
fn r76_nothing_is_compared_before_the_last_content_has_ended() {
    let every_10 = Limits {
        checkpoint_bytes: 10,
        ..NO_LIMITS
    };
    for append in [last(10), not_last(10)] {
        let mut machine = taken(begun(Some(20)), every_10, &append);
        store(&mut machine, 10);
        assert_eq!(polled_commit(&mut machine), commit(10, 20, Mark::Open));
        machine.handle_committed();
        assert_eq!(machine.poll_effect(), None);
    }
    let mut machine = ended(begun(Some(20)), &not_last(10));
    let ended = settle_with(&mut machine, |subject| panic!("{subject:?} compared"));
    assert_eq!(ended.outcome, done(promised(facts(20, Some(20)))));
}

#[test]
fn r76_all_is_written_and_no_commit_under_way_when_it_is_compared() {
    let mut machine = taken(begun(None), NO_LIMITS, &last(10));
    store(&mut machine, 4);
    machine.handle_checkpoint_due();
    assert_eq!(polled_commit(&mut machine), commit(10, 14, Mark::Open));
    assert_eq!(machine.handle_data(6), 6);
    machine.handle_end();
    machine.handle_committed();
    assert_eq!(machine.poll_effect(), None, "bytes are on their way");
    machine.handle_written(20);
    whole(&mut machine);
    machine.handle_verified(Verdict::Match);
    let ended = settle(&mut machine, Verdict::Mismatch);
    let expected = Commit {
        length: Some(20),
        ..commit(14, 20, Mark::Completed)
    };
    assert_eq!(ended.commits, [expected]);
}

#[test]
fn r76_content_that_does_not_come_to_its_end_is_not_compared() {
    let never = |subject: Subject| -> Verdict { panic!("{subject:?} compared") };
    let mut cut = taken(begun(None), NO_LIMITS, &last(10));
    store(&mut cut, 5);
    cut.handle_stop(stop(Ending::Settle));
    let mut short = taken(begun(Some(20)), NO_LIMITS, &last(10));
    store(&mut short, 5);
    short.handle_end();
    let mut full = taken(begun(None), NO_LIMITS, &last(10));
    assert_eq!(full.handle_data(10), 10);
    full.handle_end();
    full.handle_written(15);
    full.handle_write_failed(Problem::StorageFull);
    for mut machine in [cut, short, full] {
        let ended = settle_with(&mut machine, never);
        assert_eq!(ended.commits, [commit(10, 15, Mark::Open)]);
        assert!(!ended.outcome.facts.complete);
    }
    let mut over = taken(begun(Some(20)), NO_LIMITS, &last(10));
    assert_eq!(store(&mut over, 11), 10);
    let ended = settle_with(&mut over, never);
    assert_eq!(ended.commits, [commit(10, 20, PAST_LENGTH)]);
}

#[test]
fn r76_the_digest_of_the_content_is_compared_before_that_of_the_whole() {
    let append = with_digest(last(10));
    let mut machine = ended(begun(None), &append);
    let first = Effect::Verify(Subject::Append);
    assert_eq!(machine.poll_effect(), Some(first));
    machine.handle_verified(Verdict::Match);
    whole(&mut machine);
    machine.handle_verified(Verdict::Match);
    let outcome = settle(&mut machine, Verdict::Mismatch).outcome;
    assert_eq!(outcome, done(complete(20)));

    let mut machine = ended(begun(None), &append);
    let ended_ = settle_with(&mut machine, |subject| match subject {
        Subject::Append => Verdict::Match,
        Subject::Whole => Verdict::Mismatch,
    });
    assert_eq!(ended_.commits, [commit(10, 20, BAD)]);

    // Bytes that count for nothing say nothing of the whole.
    let mut machine = ended(begun(None), &append);
    let ended = settle_with(&mut machine, |subject| match subject {
        Subject::Append => Verdict::Mismatch,
        Subject::Whole => panic!("compared"),
    });
    assert!(ended.truncated);
    assert_eq!(ended.commits, []);
    let outcome = refused(begun(None), Problem::ChecksumMismatch);
    assert_eq!(ended.outcome, outcome);
}

#[test]
fn r76_an_append_without_content_may_be_the_one_that_is_found_out() {
    for (verdict, mark) in [(Verdict::Match, Mark::Completed), (Verdict::Mismatch, BAD)] {
        let mut machine = taken(begun(Some(10)), NO_LIMITS, &last(10));
        machine.handle_end();
        let ended = settle(&mut machine, verdict);
        assert_eq!(ended.commits, [commit(10, 10, mark)]);
    }
}

#[test]
fn r50_a_complete_upload_is_not_compared_again() {
    for append in [last(10), with_digest(last(10))] {
        let mut machine = taken(complete(10), NO_LIMITS, &append);
        machine.handle_end();
        let ended = settle_with(&mut machine, |subject| match subject {
            Subject::Append => Verdict::Match,
            Subject::Whole => panic!("compared"),
        });
        assert_eq!(ended.commits, []);
        assert_eq!(ended.outcome, done(complete(10)));
    }
}

#[test]
fn an_upload_of_tus_has_no_digest_to_be_compared() {
    let mut machine = ended(promised(super::facts(10, Some(20))), &append(10));
    let ended = settle_with(&mut machine, |subject| panic!("{subject:?} compared"));
    assert_eq!(ended.commits, [commit(10, 20, Mark::Completed)]);
}

#[test]
fn a_comparison_is_abandoned_with_the_append() {
    let mut machine = ended(begun(None), &last(10));
    whole(&mut machine);
    machine.handle_stop(stop(Ending::Abandon));
    // It may still come back.
    machine.handle_verified(Verdict::Mismatch);
    let outcome = refused(begun(None), Problem::UploadStalled);
    assert_eq!(answered(&mut machine), outcome);
}

#[test]
fn a_stop_does_not_keep_the_whole_from_being_compared() {
    let mut machine = ended(begun(None), &last(10));
    whole(&mut machine);
    machine.handle_stop(stop(Ending::Settle));
    assert_eq!(machine.poll_effect(), None);
    machine.handle_verified(Verdict::Match);
    let ended = settle(&mut machine, Verdict::Mismatch);
    assert_eq!(ended.outcome, done(complete(20)));
}

#[test]
fn a_store_that_fails_while_the_whole_is_compared_completes_nothing() {
    for (append, staged) in [(last(10), false), (with_digest(last(10)), true)] {
        let mut machine = ended(begun(None), &append);
        if staged {
            assert_eq!(machine.poll_effect(), Some(Effect::Verify(Subject::Append)));
            machine.handle_verified(Verdict::Match);
        }
        whole(&mut machine);
        machine.handle_write_failed(Problem::StorageFull);
        // What the comparison came to is not asked any more.
        machine.handle_verified(Verdict::Match);
        let ended = settle(&mut machine, Verdict::Match);
        assert_eq!(ended.truncated, staged);
        let expected = match staged {
            true => vec![],
            false => vec![commit(10, 20, Mark::Open)],
        };
        assert_eq!(ended.commits, expected);
        assert_eq!(ended.outcome.problem, Some(Problem::StorageFull));
        assert!(!ended.outcome.facts.complete);
    }
}

#[test]
fn a_refused_commit_of_a_bad_upload_says_so() {
    let mut machine = ended(begun(None), &last(10));
    whole(&mut machine);
    machine.handle_verified(Verdict::Mismatch);
    assert_eq!(polled_commit(&mut machine), commit(10, 20, BAD));
    machine.handle_refused(Problem::Internal);
    let outcome = refused(begun(None), Problem::Internal);
    assert_eq!(answered(&mut machine), outcome);
}
