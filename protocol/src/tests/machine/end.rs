//! The ways in which an append ends before its time: overrun, a store that fails, a stop from
//! outside (rows T16, T22, T43; architecture, "Cancellation").

use super::{
    NO_LIMITS, answered, append, commit, complete, declaring, done, facts, polled_commit, refused,
    settle, staged, stop, store, taken,
};
use crate::problem::Problem;
use crate::upload::{Effect, Ending, Facts, Limits, Mark, Stop, Upload, Verdict};

const EVERY_10: Limits = Limits {
    checkpoint_bytes: 10,
    ..NO_LIMITS
};

/// Something that happens.
type Happen = fn(&mut Upload);

/// Part of an upload of 100 bytes, of which 10 were committed by this append's first checkpoint
/// and 7 more are written.
fn under_way() -> Upload {
    let mut machine = taken(facts(0, Some(100)), EVERY_10, &append(0));
    store(&mut machine, 10);
    polled_commit(&mut machine);
    machine.handle_committed();
    store(&mut machine, 7);
    assert_eq!(machine.poll_effect(), None);
    machine
}

#[test]
fn t22_an_overrun_keeps_exactly_the_length_and_completes() {
    // However the surplus arrives.
    for lens in [&[15][..], &[10, 5], &[10, 0, 1], &[9, 2], &[0, 11]] {
        let mut machine = taken(facts(10, Some(20)), NO_LIMITS, &append(10));
        let kept: u64 = lens.iter().map(|len| store(&mut machine, *len)).sum();
        assert_eq!(kept, 10);
        assert!(!machine.is_receiving());
        let ended = settle(&mut machine, Verdict::Match);
        assert_eq!(ended.commits, [commit(10, 20, Mark::Completed)]);
        let problem = Problem::ExceedsLength { length: 20 };
        assert_eq!(problem.status(), 413);
        assert_eq!(ended.outcome, refused(complete(20), problem));
    }
}

#[test]
fn t22_an_overrun_after_the_checkpoint_that_completed_says_413_all_the_same() {
    let mut machine = taken(facts(0, Some(10)), EVERY_10, &append(0));
    store(&mut machine, 10);
    polled_commit(&mut machine);
    assert_eq!(machine.handle_data(1), 0);
    assert_eq!(machine.poll_effect(), None, "the commit is under way");
    machine.handle_committed();
    let problem = Problem::ExceedsLength { length: 10 };
    assert_eq!(answered(&mut machine), refused(complete(10), problem));
}

#[test]
fn t43_an_overrun_of_a_limit_keeps_what_fits_and_completes_nothing() {
    let size_max = Limits {
        size_max: Some(20),
        ..NO_LIMITS
    };
    let append_max = Limits {
        append_max: Some(10),
        ..NO_LIMITS
    };
    let both = Limits {
        size_max: Some(20),
        append_max: Some(20),
        ..NO_LIMITS
    };
    let table = [
        (size_max, None, 20),
        (append_max, None, 10),
        (append_max, Some(30), 10),
        (both, None, 20),
    ];
    for (limits, length, limit) in table {
        let mut machine = taken(facts(10, length), limits, &append(10));
        assert_eq!(store(&mut machine, 11), 10);
        let ended = settle(&mut machine, Verdict::Match);
        assert_eq!(ended.commits, [commit(10, 20, Mark::Open)]);
        let problem = Problem::TooLarge { limit };
        assert_eq!(problem.status(), 413);
        assert_eq!(ended.outcome, refused(facts(20, length), problem));
    }
}

#[test]
fn bytes_behind_the_end_are_dropped() {
    let ends: [Happen; 3] = [
        |machine| machine.handle_end(),
        |machine| machine.handle_stop(stop(Ending::Settle)),
        |machine| machine.handle_stop(stop(Ending::Abandon)),
    ];
    for end in ends {
        let mut machine = under_way();
        end(&mut machine);
        assert!(!machine.is_receiving());
        assert_eq!(machine.handle_data(5), 0);
    }
}

#[test]
fn t16_a_stop_commits_what_arrived() {
    let problems = [
        None,
        Some(Problem::UploadStalled),
        Some(Problem::UploadSuperseded),
    ];
    for problem in problems {
        let mut machine = under_way();
        machine.handle_stop(Stop {
            problem: problem.clone(),
            ending: Ending::Settle,
        });
        assert!(!machine.is_receiving() && machine.is_storing());
        let ended = settle(&mut machine, Verdict::Match);
        assert_eq!(ended.commits, [commit(10, 17, Mark::Open)]);
        assert_eq!(ended.outcome.facts, facts(17, Some(100)));
        assert_eq!(ended.outcome.problem, problem);
    }
}

#[test]
fn t16_a_stop_waits_for_bytes_on_their_way() {
    let mut machine = under_way();
    assert_eq!(machine.handle_data(3), 3);
    machine.handle_stop(stop(Ending::Settle));
    assert_eq!(machine.poll_effect(), None);
    machine.handle_written(20);
    assert_eq!(polled_commit(&mut machine), commit(10, 20, Mark::Open));
}

#[test]
fn a_stop_before_the_first_byte_changes_nothing() {
    for ending in [Ending::Settle, Ending::Abandon] {
        for append in [append(10), staged(10)] {
            let known = facts(10, Some(20));
            let mut machine = taken(known, NO_LIMITS, &append);
            machine.handle_stop(stop(ending));
            let ended = settle(&mut machine, Verdict::Match);
            assert_eq!(ended.commits, []);
            assert_eq!(ended.outcome, refused(known, Problem::UploadStalled));
        }
    }
}

#[test]
fn a_stop_while_settling_is_ignored() {
    let begun: [(Happen, Option<Problem>); 3] = [
        (|machine| machine.handle_end(), None),
        (
            |machine| {
                machine.handle_stop(Stop {
                    problem: Some(Problem::UploadSuperseded),
                    ending: Ending::Settle,
                });
            },
            Some(Problem::UploadSuperseded),
        ),
        (
            |machine| machine.handle_write_failed(Problem::StorageFull),
            Some(Problem::StorageFull),
        ),
    ];
    for (begin, problem) in begun {
        let mut machine = under_way();
        begin(&mut machine);
        machine.handle_stop(stop(Ending::Settle));
        assert_eq!(polled_commit(&mut machine), commit(10, 17, Mark::Open));
        machine.handle_stop(stop(Ending::Settle));
        machine.handle_committed();
        machine.handle_stop(stop(Ending::Settle));
        let outcome = answered(&mut machine);
        assert_eq!(outcome.facts, facts(17, Some(100)));
        assert_eq!(outcome.problem, problem);
    }
}

#[test]
fn an_abandoned_append_stores_nothing_more() {
    let mut machine = under_way();
    assert_eq!(machine.handle_data(3), 3);
    machine.handle_checkpoint_due();
    machine.handle_stop(stop(Ending::Abandon));
    assert!(!machine.is_receiving() && !machine.is_storing());
    // The write that was under way may still come back.
    machine.handle_written(20);
    let outcome = refused(facts(10, Some(100)), Problem::UploadStalled);
    assert_eq!(answered(&mut machine), outcome);
}

#[test]
fn an_abandoned_append_waits_for_its_commit_under_way() {
    for succeeds in [true, false] {
        let mut machine = under_way();
        machine.handle_checkpoint_due();
        assert_eq!(polled_commit(&mut machine), commit(10, 17, Mark::Open));
        store(&mut machine, 20);
        machine.handle_stop(stop(Ending::Abandon));
        assert_eq!(machine.poll_effect(), None);
        let outcome = match succeeds {
            true => {
                machine.handle_committed();
                refused(facts(17, Some(100)), Problem::UploadStalled)
            }
            false => {
                machine.handle_refused(Problem::UploadSuperseded);
                refused(facts(10, Some(100)), Problem::UploadSuperseded)
            }
        };
        assert_eq!(answered(&mut machine), outcome);
    }
}

#[test]
fn an_append_is_abandoned_while_it_settles() {
    let mut settling = under_way();
    settling.handle_end();
    let mut verifying = taken(facts(10, Some(100)), NO_LIMITS, &staged(10));
    store(&mut verifying, 5);
    verifying.handle_end();
    let mut truncating = taken(facts(10, Some(100)), NO_LIMITS, &staged(10));
    store(&mut truncating, 5);
    truncating.handle_stop(stop(Ending::Settle));
    for mut machine in [settling, verifying, truncating] {
        machine.handle_stop(stop(Ending::Abandon));
        let outcome = refused(facts(10, Some(100)), Problem::UploadStalled);
        assert_eq!(answered(&mut machine), outcome);
    }
}

#[test]
fn a_failed_write_keeps_what_was_written() {
    // How many of 20 bytes reach the blob.
    for written in [0, 1, 19] {
        for ended in [false, true] {
            let mut machine = taken(facts(10, Some(30)), NO_LIMITS, &append(10));
            assert_eq!(machine.handle_data(20), 20);
            if ended {
                machine.handle_end();
            }
            machine.handle_written(10 + written);
            machine.handle_write_failed(Problem::StorageFull);
            assert!(!machine.is_receiving());
            let ended = settle(&mut machine, Verdict::Match);
            let to = 10 + written;
            let expected = match written {
                0 => vec![],
                _ => vec![commit(10, to, Mark::Open)],
            };
            assert_eq!(ended.commits, expected);
            let outcome = refused(facts(to, Some(30)), Problem::StorageFull);
            assert_eq!(ended.outcome, outcome);
        }
    }
}

#[test]
fn a_write_fails_while_a_commit_is_under_way() {
    let mut machine = under_way();
    machine.handle_checkpoint_due();
    assert_eq!(polled_commit(&mut machine), commit(10, 17, Mark::Open));
    assert_eq!(machine.handle_data(20), 20);
    machine.handle_written(20);
    machine.handle_write_failed(Problem::StorageFull);
    assert_eq!(machine.poll_effect(), None);
    machine.handle_committed();
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.commits, [commit(17, 20, Mark::Open)]);
    let outcome = refused(facts(20, Some(100)), Problem::StorageFull);
    assert_eq!(ended.outcome, outcome);
}

#[test]
fn the_first_problem_is_the_one_that_is_told() {
    let mut machine = taken(facts(10, Some(20)), NO_LIMITS, &append(10));
    assert_eq!(machine.handle_data(11), 10);
    machine.handle_written(15);
    machine.handle_write_failed(Problem::StorageFull);
    let ended = settle(&mut machine, Verdict::Match);
    let problem = Problem::ExceedsLength { length: 20 };
    assert_eq!(ended.outcome, refused(facts(15, Some(20)), problem));
}

#[test]
fn a_refused_commit_advances_nothing_and_stores_nothing_more() {
    for ended in [false, true] {
        let mut machine = under_way();
        if ended {
            machine.handle_end();
        }
        machine.handle_checkpoint_due();
        assert_eq!(polled_commit(&mut machine), commit(10, 17, Mark::Open));
        assert_eq!(store(&mut machine, 20), if ended { 0 } else { 20 });
        machine.handle_refused(Problem::UploadSuperseded);
        assert!(!machine.is_receiving() && !machine.is_storing());
        assert_eq!(machine.handle_data(1), 0);
        let outcome = refused(facts(10, Some(100)), Problem::UploadSuperseded);
        assert_eq!(answered(&mut machine), outcome);
    }
}

#[test]
fn a_refused_commit_leaves_a_declared_length_undeclared() {
    let mut machine = taken(facts(0, None), NO_LIMITS, &declaring(0, 100));
    store(&mut machine, 5);
    machine.handle_end();
    assert_eq!(polled_commit(&mut machine).length, Some(100));
    machine.handle_refused(Problem::Internal);
    let outcome = refused(facts(0, None), Problem::Internal);
    assert_eq!(answered(&mut machine), outcome);
}

#[test]
fn after_the_answer_nothing_happens_any_more() {
    let mut machine = under_way();
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.outcome, done(facts(17, Some(100))));
    let late: [Happen; 10] = [
        |machine| assert_eq!(machine.handle_data(5), 0),
        |machine| machine.handle_end(),
        |machine| machine.handle_stop(stop(Ending::Settle)),
        |machine| machine.handle_stop(stop(Ending::Abandon)),
        |machine| machine.handle_write_failed(Problem::StorageFull),
        |machine| machine.handle_checkpoint_due(),
        |machine| machine.handle_committed(),
        |machine| machine.handle_refused(Problem::Internal),
        |machine| machine.handle_verified(Verdict::Mismatch),
        |machine| machine.handle_truncated(),
    ];
    for happen in late {
        happen(&mut machine);
        assert_eq!(machine.poll_effect(), None);
        assert_eq!(machine.facts(), facts(17, Some(100)));
        assert!(!machine.is_receiving() && !machine.is_storing() && !machine.is_staged());
    }
}

#[test]
fn answers_to_questions_that_were_not_asked_are_ignored() {
    let mut machine = under_way();
    machine.handle_committed();
    machine.handle_verified(Verdict::Mismatch);
    machine.handle_truncated();
    assert_eq!(machine.facts().offset, 10);
    assert_eq!(machine.poll_effect(), None);
    machine.handle_end();
    assert_eq!(
        machine.poll_effect(),
        Some(Effect::Commit(commit(10, 17, Mark::Open)))
    );
}

#[test]
fn before_the_append_nothing_happens() {
    let known = Facts {
        ..facts(10, Some(20))
    };
    let mut machine = Upload::new(known, NO_LIMITS);
    assert!(!machine.is_receiving() && !machine.is_storing() && !machine.is_staged());
    assert_eq!(machine.written(), 10);
    assert_eq!(machine.handle_data(5), 0);
    machine.handle_end();
    machine.handle_stop(stop(Ending::Abandon));
    machine.handle_checkpoint_due();
    assert_eq!(machine.poll_effect(), None);
    assert_eq!(machine.facts(), known);
}
