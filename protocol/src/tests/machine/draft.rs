//! What an append of the IETF draft is checked for, and which problem wins (rows R19 to R22, R43,
//! R46 to R50).

use super::policy::{complete, facts, last, not_last, with_digest};
use super::{NO_LIMITS, answered, append, commit, declaring, done, refused, settle, store, taken};
use crate::field::{offset, structured};
use crate::problem::Problem;
use crate::request::{Append, Completion, Overrun};
use crate::upload::{Commit, Facts, Limits, Mark, Upload, Verdict};

const BOUNDS: Limits = Limits {
    append_max: Some(50),
    append_min: Some(5),
    ..NO_LIMITS
};

fn carrying(append: Append, content: u64) -> Append {
    Append {
        content_length: Some(content),
        ..append
    }
}

fn of_length(append: Append, length: u64) -> Append {
    Append {
        length: Some(length),
        ..append
    }
}

/// As in interop versions up to 6.
fn keeping(append: Append) -> Append {
    Append {
        overrun: Overrun::KeepToLength,
        ..append
    }
}

/// The problem of an append that is not taken, which changes nothing.
#[track_caller]
fn refusal(facts: Facts, limits: Limits, append: &Append) -> Problem {
    let mut machine = Upload::new(facts, limits);
    let problem = machine.handle_append(append).unwrap_err();
    assert_eq!(machine.facts(), facts);
    assert!(!machine.is_receiving() && !machine.is_storing());
    assert_eq!(machine.handle_data(9), 0);
    assert_eq!(machine.poll_effect(), None);
    problem
}

fn conflict(known: u64, declared: u64) -> Problem {
    Problem::LengthConflict { known, declared }
}

#[test]
fn an_append_of_the_other_protocol_is_refused() {
    for (tus, draft) in [
        (super::facts(10, None), facts(10, None)),
        (super::facts(10, Some(20)), facts(10, Some(20))),
        (super::complete(10), complete(10)),
    ] {
        // The offset and the bounds of the other protocol do not matter.
        for offset in [10, 11] {
            for foreign in [last(offset), not_last(offset), keeping(last(offset))] {
                assert_eq!(refusal(tus, BOUNDS, &foreign), Problem::OtherProtocol);
            }
            for foreign in [append(offset), declaring(offset, 20)] {
                let foreign = carrying(foreign, 51);
                assert_eq!(refusal(draft, BOUNDS, &foreign), Problem::OtherProtocol);
            }
        }
    }
    // A final upload takes nothing in any protocol (row T106).
    let joined = Facts {
        concatenated: true,
        ..super::complete(10)
    };
    assert_eq!(refusal(joined, BOUNDS, &last(10)), Problem::FinalUpload);
}

#[test]
fn the_order_of_checks_decides_which_problem_wins() {
    let limits = Limits {
        size_max: Some(100),
        ..BOUNDS
    };
    let known = facts(10, Some(70));
    let deferred = facts(10, None);
    let mismatch = Problem::OffsetMismatch {
        expected: 10,
        provided: 11,
    };
    let below = Problem::LengthBelowOffset {
        offset: 10,
        declared: 9,
    };
    let request = Problem::TooLarge { limit: 50 };
    let whole = Problem::TooLarge { limit: 100 };
    // Each line mends what the line before it was refused for.
    let table = [
        (
            complete(10),
            of_length(last(11), 71),
            51,
            Problem::UploadCompleted,
        ),
        (known, of_length(last(11), 71), 51, mismatch.clone()),
        (known, of_length(last(10), 71), 51, request.clone()),
        (known, of_length(last(10), 71), 50, conflict(70, 71)),
        (known, of_length(last(10), 70), 50, conflict(70, 60)),
        (deferred, of_length(not_last(11), 9), 4, mismatch),
        (deferred, of_length(not_last(10), 9), 51, request),
        (deferred, of_length(not_last(10), 9), 4, below),
        (deferred, of_length(not_last(10), 101), 4, whole),
        (
            deferred,
            of_length(keeping(not_last(10)), 12),
            4,
            Problem::AppendTooSmall { limit: 5 },
        ),
        (
            deferred,
            of_length(keeping(not_last(10)), 12),
            5,
            Problem::ExceedsLength { length: 12 },
        ),
    ];
    for (facts, append, content, problem) in table {
        let append = carrying(append, content);
        assert_eq!(refusal(facts, limits, &append), problem, "{append:?}");
    }
    taken(deferred, limits, &carrying(of_length(not_last(10), 15), 5));
}

#[test]
fn r43_only_the_committed_offset_is_taken() {
    for provided in [0, 9, 11, offset::MAX] {
        for append in [last(provided), not_last(provided)] {
            let problem = Problem::OffsetMismatch {
                expected: 10,
                provided,
            };
            assert_eq!(refusal(facts(10, None), NO_LIMITS, &append), problem);
        }
    }
}

#[test]
fn r21_the_content_of_one_request_has_a_bound() {
    for append in [last(10), not_last(10), with_digest(not_last(10))] {
        taken(facts(10, None), BOUNDS, &carrying(append.clone(), 50));
        for content in [51, offset::MAX, u64::MAX] {
            let append = carrying(append.clone(), content);
            let problem = Problem::TooLarge { limit: 50 };
            // Whatever the length is: that would be another refusal (section 6, 9).
            for length in [None, Some(10), Some(20), Some(60), Some(61)] {
                assert_eq!(refusal(facts(10, length), BOUNDS, &append), problem);
            }
        }
    }
}

#[test]
fn r22_content_after_which_more_follows_is_not_too_small() {
    let problem = Problem::AppendTooSmall { limit: 5 };
    for content in 1..5 {
        for append in [
            not_last(10),
            with_digest(not_last(10)),
            keeping(not_last(10)),
        ] {
            let append = carrying(append, content);
            for length in [None, Some(10), Some(12), Some(60)] {
                assert_eq!(refusal(facts(10, length), BOUNDS, &append), problem);
            }
        }
    }
    for content in [0, 5, 6, 50] {
        taken(facts(10, None), BOUNDS, &carrying(not_last(10), content));
    }
    // How much comes does not show in advance, and what came is kept.
    let mut machine = taken(facts(10, None), BOUNDS, &not_last(10));
    store(&mut machine, 1);
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.outcome, done(facts(11, None)));
}

#[test]
fn r22_the_last_content_and_that_of_tus_may_be_small() {
    for content in 0..5 {
        taken(facts(10, None), BOUNDS, &carrying(last(10), content));
        let tus = carrying(append(10), content);
        taken(super::facts(10, None), BOUNDS, &tus);
    }
}

#[test]
fn r22_no_least_is_none() {
    for append_min in [None, Some(0), Some(1)] {
        let limits = Limits {
            append_min,
            ..NO_LIMITS
        };
        taken(facts(10, None), limits, &carrying(not_last(10), 1));
    }
}

#[test]
fn r48_content_that_is_announced_as_the_last_ends_at_the_length() {
    let deferred = facts(10, None);
    for content in [0, 9, 11, u64::MAX] {
        let end = content.saturating_add(10);
        // Whoever knows the length, and whatever a version does with too many bytes.
        for append in [last(10), with_digest(last(10)), keeping(last(10))] {
            let append = carrying(append, content);
            let problem = refusal(facts(10, Some(20)), NO_LIMITS, &append);
            assert_eq!(problem, conflict(20, end));
            let problem = refusal(deferred, NO_LIMITS, &of_length(append, 20));
            assert_eq!(problem, conflict(20, end));
        }
    }
    taken(facts(10, Some(20)), NO_LIMITS, &carrying(last(10), 10));
    taken(deferred, NO_LIMITS, &carrying(of_length(last(10), 20), 10));
}

#[test]
fn r48_a_length_does_not_contradict_the_one_before() {
    for append in [last(10), not_last(10)] {
        let known = facts(10, Some(20));
        taken(known, NO_LIMITS, &of_length(append.clone(), 20));
        for declared in [0, 10, 19, 21] {
            let append = of_length(append.clone(), declared);
            let problem = refusal(known, NO_LIMITS, &append);
            assert_eq!(problem, conflict(20, declared));
        }
    }
}

#[test]
fn r48_content_that_turns_out_too_short_leaves_the_upload_usable() {
    let mut machine = taken(facts(10, Some(20)), NO_LIMITS, &last(10));
    store(&mut machine, 4);
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.commits, [commit(10, 14, Mark::Open)]);
    let mut machine = taken(ended.outcome.facts, NO_LIMITS, &last(14));
    store(&mut machine, 6);
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.outcome, done(complete(20)));
}

#[test]
fn r48_content_with_a_digest_that_is_too_short_counts_for_nothing() {
    let mut machine = taken(facts(10, Some(20)), NO_LIMITS, &with_digest(last(10)));
    store(&mut machine, 4);
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Match);
    assert!(ended.truncated);
    assert_eq!(ended.commits, []);
    let outcome = refused(facts(10, Some(20)), conflict(20, 14));
    assert_eq!(ended.outcome, outcome);
}

#[test]
fn r49_a_length_may_come_with_any_append() {
    for append in [last(10), not_last(10)] {
        let is_last = append.completion == Completion::AtEnd;
        let append = of_length(append, if is_last { 15 } else { 20 });
        let mut machine = taken(facts(10, None), NO_LIMITS, &append);
        store(&mut machine, 5);
        machine.handle_end();
        let ended = settle(&mut machine, Verdict::Match);
        let mark = if is_last { Mark::Completed } else { Mark::Open };
        let expected = Commit {
            length: append.length,
            ..commit(10, 15, mark)
        };
        assert_eq!(ended.commits, [expected]);
    }
}

#[test]
fn r50_a_complete_upload_takes_its_last_append_again_and_nothing_else() {
    let replays = [
        last(10),
        carrying(last(10), 0),
        carrying(of_length(last(10), 10), 0),
        keeping(last(10)),
        with_digest(last(10)),
    ];
    for append in replays {
        let mut machine = taken(complete(10), BOUNDS, &append);
        machine.handle_end();
        let ended = settle(&mut machine, Verdict::Match);
        assert_eq!(ended.commits, [], "{append:?}");
        assert_eq!(ended.outcome, done(complete(10)));
    }
    let others = [
        last(9),
        last(11),
        last(0),
        carrying(last(0), 10),
        carrying(last(10), 1),
        not_last(10),
        carrying(not_last(10), 0),
        carrying(not_last(0), 10),
    ];
    for append in others {
        let problem = refusal(complete(10), BOUNDS, &append);
        assert_eq!(problem, Problem::UploadCompleted, "{append:?}");
        assert_eq!(problem.status(), 400);
    }
    let other_length = of_length(last(10), 11);
    assert_eq!(
        refusal(complete(10), BOUNDS, &other_length),
        conflict(10, 11)
    );
}

#[test]
fn r50_a_repeated_append_that_is_cut_leaves_the_upload_complete() {
    let mut machine = taken(complete(10), NO_LIMITS, &last(10));
    machine.handle_stop(super::stop(crate::upload::Ending::Settle));
    let outcome = refused(complete(10), Problem::UploadStalled);
    assert_eq!(answered(&mut machine), outcome);
}

#[test]
fn r17_nothing_at_all_may_be_the_whole_content() {
    for length in [None, Some(0)] {
        let mut machine = taken(facts(0, length), BOUNDS, &carrying(last(0), 0));
        machine.handle_end();
        let ended = settle(&mut machine, Verdict::Match);
        let expected = Commit {
            length: length.is_none().then_some(0),
            ..commit(0, 0, Mark::Completed)
        };
        assert_eq!(ended.commits, [expected]);
        assert_eq!(ended.outcome, done(complete(0)));
    }
}

#[test]
fn up_to_version_6_bytes_past_the_length_are_dropped_and_complete_nothing() {
    for append in [keeping(last(10)), keeping(not_last(10))] {
        let mut machine = taken(facts(10, Some(20)), NO_LIMITS, &append);
        assert_eq!(store(&mut machine, 15), 10);
        let ended = settle(&mut machine, Verdict::Match);
        assert_eq!(ended.commits, [commit(10, 20, Mark::Open)]);
        let problem = Problem::ExceedsLength { length: 20 };
        assert_eq!(ended.outcome, refused(facts(20, Some(20)), problem));
    }
}

#[test]
fn no_offset_grows_past_what_an_integer_of_the_draft_can_tell() {
    let most = structured::INTEGER_MAX;
    let problem = Problem::TooLarge { limit: most };
    let near = facts(most - 10, None);
    let huge = Limits {
        size_max: Some(offset::MAX),
        ..NO_LIMITS
    };
    for limits in [NO_LIMITS, huge] {
        // A length that follows from the content, as the codec makes it.
        for content in [11, offset::MAX, u64::MAX] {
            let end = (most - 10).saturating_add(content);
            let append = carrying(of_length(last(most - 10), end), content);
            assert_eq!(refusal(near, limits, &append), problem);
            let append = carrying(not_last(most - 10), content);
            assert_eq!(refusal(near, limits, &append), problem);
        }
        let mut machine = taken(near, limits, &last(most - 10));
        assert_eq!(store(&mut machine, 11), 10);
        let ended = settle(&mut machine, Verdict::Match);
        assert_eq!(ended.commits, [commit(most - 10, most, Mark::Open)]);
        taken(
            near,
            limits,
            &carrying(of_length(last(most - 10), most), 10),
        );
    }
}
