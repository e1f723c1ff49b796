//! The policies of the IETF draft: completion at the end of a request's content, and uploads that
//! too many bytes make unusable (rows R14 to R18, R23, R40 to R42, R46 to R50, R53).

use super::{
    NO_LIMITS, answered, append, commit, done, polled_commit, refused, settle, stop, store, taken,
};
use crate::problem::Problem;
use crate::request::{Append, Completion, Expected, Overrun, Protocol};
use crate::upload::{Commit, Ending, Facts, Invalid, Limits, Mark, Upload, Verdict};

pub(super) const PAST_LENGTH: Mark = Mark::Invalidated(Invalid::PastLength);

/// An upload of the draft that is not complete.
pub(super) fn facts(offset: u64, length: Option<u64>) -> Facts {
    Facts {
        protocol: Protocol::Draft,
        ..super::facts(offset, length)
    }
}

pub(super) fn complete(length: u64) -> Facts {
    Facts {
        protocol: Protocol::Draft,
        ..super::complete(length)
    }
}

pub(super) fn last(offset: u64) -> Append {
    Append {
        completion: Completion::AtEnd,
        overrun: Overrun::Invalidate,
        ..append(offset)
    }
}

pub(super) fn not_last(offset: u64) -> Append {
    Append {
        completion: Completion::Later,
        ..last(offset)
    }
}

pub(super) fn with_digest(append: Append) -> Append {
    Append {
        checksum: Some(Expected::Trailer),
        ..append
    }
}

#[test]
fn r41_the_end_of_the_last_content_completes_and_gives_the_length() {
    for append in [last(10), with_digest(last(10))] {
        for len in [0, 5] {
            let mut machine = taken(facts(10, None), NO_LIMITS, &append);
            store(&mut machine, len);
            machine.handle_end();
            let ended = settle(&mut machine, Verdict::Match);
            let to = 10 + len;
            let expected = Commit {
                length: Some(to),
                ..commit(10, to, Mark::Completed)
            };
            assert_eq!(ended.commits, [expected]);
            assert_eq!(ended.outcome, done(complete(to)));
        }
    }
}

#[test]
fn r41_the_end_of_the_last_content_completes_at_the_length() {
    for declared in [None, Some(20)] {
        let known = facts(10, declared.is_none().then_some(20));
        let append = Append {
            length: declared,
            ..last(10)
        };
        let mut machine = taken(known, NO_LIMITS, &append);
        store(&mut machine, 10);
        machine.handle_end();
        let ended = settle(&mut machine, Verdict::Match);
        let expected = Commit {
            length: declared,
            ..commit(10, 20, Mark::Completed)
        };
        assert_eq!(ended.commits, [expected]);
        assert_eq!(ended.outcome, done(complete(20)));
    }
}

/// Up to interop version 6, as tus-js-client needs it.
#[test]
fn r47_an_early_upload_is_complete_at_its_length_however_its_content_ends() {
    let early = |length| Facts {
        protocol: Protocol::EarlyDraft,
        ..facts(10, length)
    };
    for (length, sent, mark) in [
        (Some(20), 10, Mark::Completed),
        (Some(20), 9, Mark::Open),
        (None, 10, Mark::Open),
    ] {
        for is_whole in [true, false] {
            let mut machine = taken(early(length), NO_LIMITS, &not_last(10));
            store(&mut machine, sent);
            match is_whole {
                true => machine.handle_end(),
                false => machine.handle_stop(stop(Ending::Settle)),
            }
            let ended = settle(&mut machine, Verdict::Match);
            assert_eq!(ended.commits, [commit(10, 10 + sent, mark)]);
        }
    }
    // One that is to have a digest is compared first, when its sender says that it is complete.
    let with_digest = Facts {
        has_digest: true,
        ..early(Some(20))
    };
    let mut machine = taken(with_digest, NO_LIMITS, &not_last(10));
    store(&mut machine, 10);
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.commits, [commit(10, 20, Mark::Open)]);
}

#[test]
fn r22_the_last_content_of_an_early_upload_may_be_small_without_a_word() {
    let limits = Limits {
        append_min: Some(8),
        ..NO_LIMITS
    };
    let early = Facts {
        protocol: Protocol::EarlyDraft,
        ..facts(10, Some(15))
    };
    for (content, is_taken) in [(5, true), (4, false), (0, true)] {
        let append = Append {
            content_length: Some(content),
            ..not_last(10)
        };
        let taken = Upload::new(early, limits).handle_append(&append).is_ok();
        assert_eq!(taken, is_taken, "{content}");
    }
}

#[test]
fn r41_no_checkpoint_completes() {
    let limits = Limits {
        checkpoint_bytes: 10,
        ..NO_LIMITS
    };
    let mut machine = taken(facts(0, Some(10)), limits, &last(0));
    store(&mut machine, 10);
    assert_eq!(polled_commit(&mut machine), commit(0, 10, Mark::Open));
    machine.handle_committed();
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.commits, [commit(10, 10, Mark::Completed)]);
}

#[test]
fn r50_the_last_append_may_be_repeated() {
    let mut machine = taken(complete(10), NO_LIMITS, &last(10));
    machine.handle_end();
    assert_eq!(answered(&mut machine), done(complete(10)));
}

#[test]
fn r47_reaching_the_length_does_not_complete_what_is_not_the_last() {
    let mut machine = taken(facts(0, Some(10)), NO_LIMITS, &not_last(0));
    store(&mut machine, 10);
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.commits, [commit(0, 10, Mark::Open)]);
    assert_eq!(ended.outcome, done(facts(10, Some(10))));
}

#[test]
fn r15_nothing_completes_nothing_if_it_is_not_the_last() {
    let mut machine = taken(facts(0, Some(0)), NO_LIMITS, &not_last(0));
    machine.handle_end();
    assert_eq!(answered(&mut machine), done(facts(0, Some(0))));
}

#[test]
fn r53_a_cut_request_keeps_its_bytes_and_completes_nothing() {
    for (append, length) in [(last(0), None), (last(0), Some(10)), (not_last(0), None)] {
        let mut machine = taken(facts(0, length), NO_LIMITS, &append);
        store(&mut machine, 10);
        machine.handle_stop(stop(Ending::Settle));
        let ended = settle(&mut machine, Verdict::Match);
        assert_eq!(ended.commits, [commit(0, 10, Mark::Open)]);
        let outcome = refused(facts(10, length), Problem::UploadStalled);
        assert_eq!(ended.outcome, outcome);
    }
}

#[test]
fn r53_a_write_that_fails_behind_the_end_completes_nothing() {
    let mut machine = taken(facts(0, None), NO_LIMITS, &last(0));
    assert_eq!(machine.handle_data(10), 10);
    machine.handle_end();
    machine.handle_written(4);
    machine.handle_write_failed(Problem::StorageFull);
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.commits, [commit(0, 4, Mark::Open)]);
    let outcome = refused(facts(4, None), Problem::StorageFull);
    assert_eq!(ended.outcome, outcome);
}

#[test]
fn r48_the_last_content_has_to_reach_the_length() {
    let conflict = Problem::LengthConflict {
        known: 20,
        declared: 15,
    };
    let declaring = Append {
        length: Some(20),
        ..last(10)
    };
    for (known, append) in [(Some(20), last(10)), (None, declaring)] {
        let announced = Append {
            content_length: Some(5),
            ..append.clone()
        };
        let mut machine = Upload::new(facts(10, known), NO_LIMITS);
        assert_eq!(machine.handle_append(&announced), Err(conflict.clone()));
        // It shows only at the end: what came is kept.
        let mut machine = taken(facts(10, known), NO_LIMITS, &append);
        store(&mut machine, 5);
        machine.handle_end();
        let ended = settle(&mut machine, Verdict::Match);
        let outcome = refused(facts(15, Some(20)), conflict.clone());
        assert_eq!(ended.outcome, outcome);
    }
}

#[test]
fn r46_bytes_past_the_length_make_the_upload_unusable() {
    let announced = Append {
        content_length: Some(15),
        ..not_last(10)
    };
    for append in [last(10), not_last(10), announced] {
        let mut machine = taken(facts(10, Some(20)), NO_LIMITS, &append);
        assert_eq!(store(&mut machine, 15), 10);
        assert!(!machine.is_receiving());
        let ended = settle(&mut machine, Verdict::Match);
        assert_eq!(ended.commits, [commit(10, 20, PAST_LENGTH)]);
        let problem = Problem::ExceedsLength { length: 20 };
        assert_eq!(ended.outcome, refused(facts(20, Some(20)), problem));
    }
    // If it says so itself, and is to be the last, its sender is wrong about the length (row R48).
    let announced = Append {
        content_length: Some(15),
        ..last(10)
    };
    let mut machine = Upload::new(facts(10, Some(20)), NO_LIMITS);
    let conflict = Problem::LengthConflict {
        known: 20,
        declared: 25,
    };
    assert_eq!(machine.handle_append(&announced), Err(conflict));
}

#[test]
fn r46_bytes_past_the_length_count_with_a_digest_too() {
    let mut machine = taken(facts(10, Some(20)), NO_LIMITS, &with_digest(last(10)));
    assert_eq!(store(&mut machine, 15), 10);
    let ended = settle(&mut machine, Verdict::Match);
    assert!(ended.truncated);
    assert_eq!(ended.commits, [commit(10, 10, PAST_LENGTH)]);
    assert_eq!(ended.outcome.facts, facts(10, Some(20)));
}

#[test]
fn r46_an_overrun_while_a_checkpoint_is_under_way_is_not_forgotten() {
    let limits = Limits {
        checkpoint_bytes: 10,
        ..NO_LIMITS
    };
    let mut machine = taken(facts(0, Some(20)), limits, &not_last(0));
    store(&mut machine, 10);
    assert_eq!(polled_commit(&mut machine), commit(0, 10, Mark::Open));
    assert_eq!(store(&mut machine, 11), 10);
    machine.handle_committed();
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.commits, [commit(10, 20, PAST_LENGTH)]);
}

#[test]
fn r46_a_write_that_fails_does_not_hide_an_overrun() {
    let mut machine = taken(facts(10, Some(20)), NO_LIMITS, &last(10));
    assert_eq!(machine.handle_data(15), 10);
    machine.handle_written(14);
    machine.handle_write_failed(Problem::StorageFull);
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.commits, [commit(10, 14, PAST_LENGTH)]);
    let problem = Problem::ExceedsLength { length: 20 };
    assert_eq!(ended.outcome, refused(facts(14, Some(20)), problem));
}

#[test]
fn r50_bytes_past_the_length_leave_a_complete_upload_alone() {
    for append in [last(20), not_last(20)] {
        let announced = Append {
            content_length: Some(5),
            ..append
        };
        let mut machine = Upload::new(complete(20), NO_LIMITS);
        let refusal = machine.handle_append(&announced);
        assert_eq!(refusal, Err(Problem::UploadCompleted));
    }
    // It may be the answer to the last append that is asked for, until bytes come.
    let mut machine = taken(complete(20), NO_LIMITS, &last(20));
    assert_eq!(store(&mut machine, 5), 0);
    let problem = Problem::ExceedsLength { length: 20 };
    assert_eq!(answered(&mut machine), refused(complete(20), problem));
}

#[test]
fn r21_bytes_past_a_limit_leave_the_upload_usable() {
    let size_max = Limits {
        size_max: Some(20),
        ..NO_LIMITS
    };
    let append_max = Limits {
        append_max: Some(10),
        ..NO_LIMITS
    };
    for (limits, length, limit) in [(size_max, None, 20), (append_max, Some(30), 10)] {
        for append in [last(10), not_last(10)] {
            let announced = Append {
                content_length: Some(11),
                ..append.clone()
            };
            let problem = Problem::TooLarge { limit };
            let mut machine = Upload::new(facts(10, length), limits);
            assert_eq!(machine.handle_append(&announced), Err(problem.clone()));
            let mut machine = taken(facts(10, length), limits, &append);
            assert_eq!(store(&mut machine, 11), 10);
            let ended = settle(&mut machine, Verdict::Match);
            assert_eq!(ended.commits, [commit(10, 20, Mark::Open)]);
            assert_eq!(ended.outcome, refused(facts(20, length), problem));
        }
    }
}
