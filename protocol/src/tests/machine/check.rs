//! Which appends are taken, and which problem wins (rows T13, T20, T21, T41 to T43, T106).

use super::{
    NO_LIMITS, answered, append, commit, complete, declaring, done, facts, settle, staged, store,
    taken,
};
use crate::field::offset;
use crate::problem::Problem;
use crate::request::Append;
use crate::upload::{Facts, Limits, Mark, Upload, Verdict};

const LIMITS: Limits = Limits {
    size_max: Some(100),
    ..NO_LIMITS
};

fn with_content(append: Append, content: u64) -> Append {
    Append {
        content_length: Some(content),
        ..append
    }
}

/// The problem of an append that is not taken, which changes nothing.
fn refusal(facts: Facts, limits: Limits, append: &Append) -> Problem {
    let mut machine = Upload::new(facts, limits);
    let problem = machine.handle_append(append).unwrap_err();
    assert_eq!(machine.facts(), facts);
    assert!(!machine.is_receiving() && !machine.is_storing() && !machine.is_staged());
    assert_eq!(machine.handle_data(9), 0);
    assert_eq!(machine.poll_effect(), None);
    problem
}

#[test]
fn the_order_of_checks_decides_which_problem_wins() {
    let known = facts(10, Some(20));
    let deferred = facts(10, None);
    let last = Facts {
        concatenated: true,
        ..known
    };
    let mismatch = Problem::OffsetMismatch {
        expected: 10,
        provided: 11,
    };
    let conflict = Problem::LengthConflict {
        known: 20,
        declared: 21,
    };
    let below = Problem::LengthBelowOffset {
        offset: 10,
        declared: 9,
    };
    let exceeds = |length| Problem::ExceedsLength { length };
    let large = Problem::TooLarge { limit: 100 };
    // Each line mends what the line before it was refused for.
    let table = [
        (last, declaring(11, 21), 999, 403, Problem::FinalUpload),
        (known, declaring(11, 21), 999, 409, mismatch.clone()),
        (known, declaring(10, 21), 999, 400, conflict),
        (known, declaring(10, 20), 999, 413, exceeds(20)),
        (deferred, declaring(11, 9), 999, 409, mismatch),
        (deferred, declaring(10, 9), 999, 400, below),
        (deferred, declaring(10, 101), 999, 413, large.clone()),
        (deferred, declaring(10, 100), 999, 413, exceeds(100)),
        (deferred, append(10), 999, 413, large),
    ];
    for (facts, append, content, status, problem) in table {
        assert_eq!(problem.status(), status);
        let append = with_content(append, content);
        assert_eq!(refusal(facts, LIMITS, &append), problem, "{append:?}");
    }
}

#[test]
fn t13_only_the_committed_offset_is_taken() {
    for (offset, length) in [(0, Some(20)), (10, Some(20)), (20, Some(20)), (10, None)] {
        for provided in [0, 9, 10, 11, 20, 21, offset::MAX] {
            let facts = facts(offset, length);
            if provided == offset {
                taken(facts, LIMITS, &append(provided));
                continue;
            }
            let problem = Problem::OffsetMismatch {
                expected: offset,
                provided,
            };
            assert_eq!(refusal(facts, LIMITS, &append(provided)), problem);
        }
    }
}

#[test]
fn t20_an_empty_append_to_a_complete_upload_is_done_at_once() {
    for append in [append(20), staged(20), declaring(20, 20)] {
        let mut machine = taken(complete(20), LIMITS, &with_content(append, 0));
        machine.handle_end();
        if machine.is_staged() {
            let ended = settle(&mut machine, Verdict::Match);
            assert_eq!((ended.commits, ended.outcome), (vec![], done(complete(20))));
        } else {
            assert_eq!(answered(&mut machine), done(complete(20)));
        }
    }
    let one_more = with_content(append(20), 1);
    let problem = Problem::ExceedsLength { length: 20 };
    assert_eq!(refusal(complete(20), LIMITS, &one_more), problem);
}

#[test]
fn t21_content_that_is_announced_has_to_fit() {
    let known = facts(10, Some(20));
    let deferred = facts(10, None);
    let append_max = Limits {
        append_max: Some(5),
        ..LIMITS
    };
    let unlimited = offset::MAX - 10;
    // The facts, the limits, the most content that fits, and the problem of one byte more.
    let table = [
        (known, LIMITS, 10, Problem::ExceedsLength { length: 20 }),
        (deferred, LIMITS, 90, Problem::TooLarge { limit: 100 }),
        (known, append_max, 5, Problem::TooLarge { limit: 5 }),
        (deferred, append_max, 5, Problem::TooLarge { limit: 5 }),
        (
            deferred,
            NO_LIMITS,
            unlimited,
            Problem::TooLarge { limit: offset::MAX },
        ),
    ];
    for (facts, limits, most, problem) in table {
        taken(facts, limits, &with_content(append(10), 0));
        taken(facts, limits, &with_content(append(10), most));
        for more in [most + 1, offset::MAX, u64::MAX] {
            let append = with_content(append(10), more);
            assert_eq!(refusal(facts, limits, &append), problem, "{append:?}");
        }
    }
}

#[test]
fn the_nearer_of_two_bounds_is_the_one_that_is_told() {
    let five_at_most = Limits {
        append_max: Some(5),
        ..NO_LIMITS
    };
    let table = [
        (14, Problem::ExceedsLength { length: 14 }),
        // The length itself is what the client has to know.
        (15, Problem::ExceedsLength { length: 15 }),
        (16, Problem::TooLarge { limit: 5 }),
    ];
    for (length, problem) in table {
        let facts = facts(10, Some(length));
        let mut machine = taken(facts, five_at_most, &append(10));
        assert_eq!(store(&mut machine, 9), 5.min(length - 10));
        let ended = settle(&mut machine, Verdict::Match);
        assert_eq!(ended.outcome.problem, Some(problem));
        // Content that is announced is held against the limit of a request first (row R21).
        let announced = with_content(append(10), 9);
        let problem = Problem::TooLarge { limit: 5 };
        assert_eq!(refusal(facts, five_at_most, &announced), problem);
    }
}

#[test]
fn t41_a_length_is_declared_once() {
    let known = facts(10, Some(20));
    let mut machine = taken(known, LIMITS, &declaring(10, 20));
    machine.handle_end();
    assert_eq!(answered(&mut machine), done(known));
    for declared in [0, 10, 19, 21, 101, offset::MAX] {
        let problem = Problem::LengthConflict {
            known: 20,
            declared,
        };
        assert_eq!(refusal(known, LIMITS, &declaring(10, declared)), problem);
    }
    let problem = Problem::LengthConflict {
        known: 20,
        declared: 21,
    };
    assert_eq!(refusal(complete(20), LIMITS, &declaring(20, 21)), problem);
}

#[test]
fn t42_a_declared_length_is_within_bounds() {
    let deferred = facts(10, None);
    for declared in [0, 9] {
        let problem = Problem::LengthBelowOffset {
            offset: 10,
            declared,
        };
        assert_eq!(refusal(deferred, LIMITS, &declaring(10, declared)), problem);
    }
    for declared in [10, 11, 100] {
        taken(deferred, LIMITS, &declaring(10, declared));
    }
    for declared in [101, offset::MAX] {
        let problem = Problem::TooLarge { limit: 100 };
        assert_eq!(refusal(deferred, LIMITS, &declaring(10, declared)), problem);
    }
    taken(deferred, NO_LIMITS, &declaring(10, offset::MAX));
}

#[test]
fn an_accepted_length_outlives_a_limit_that_is_lowered() {
    let mut machine = taken(facts(10, Some(200)), LIMITS, &with_content(append(10), 190));
    assert_eq!(store(&mut machine, 190), 190);
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.commits, [commit(10, 200, Mark::Completed)]);
    assert_eq!(ended.outcome, done(complete(200)));
}

#[test]
fn a_deferred_upload_past_a_lowered_limit_takes_nothing_and_loses_nothing() {
    let beyond = facts(150, None);
    taken(beyond, LIMITS, &with_content(append(150), 0));
    let one_more = with_content(append(150), 1);
    assert_eq!(
        refusal(beyond, LIMITS, &one_more),
        Problem::TooLarge { limit: 100 }
    );
    let mut machine = taken(beyond, LIMITS, &append(150));
    assert_eq!(machine.handle_data(1), 0);
    let outcome = answered(&mut machine);
    assert_eq!(outcome.facts, beyond);
    assert_eq!(outcome.problem, Some(Problem::TooLarge { limit: 100 }));
}

#[test]
fn t106_nothing_is_appended_to_a_final_upload() {
    for facts in [facts(0, None), facts(0, Some(20)), complete(20)] {
        let last = Facts {
            concatenated: true,
            ..facts
        };
        for append in [append(0), append(20), declaring(20, 20), staged(20)] {
            assert_eq!(refusal(last, LIMITS, &append), Problem::FinalUpload);
        }
    }
}
