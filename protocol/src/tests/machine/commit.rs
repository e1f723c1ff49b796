//! When bytes become true: checkpoints, completion, and lengths that become known (rows T14, T16,
//! T35, T40, T43, T44).

use super::{
    NO_LIMITS, answered, append, commit, complete, declaring, done, facts, polled_commit, settle,
    stop, store, taken,
};
use crate::problem::Problem;
use crate::upload::{Commit, Ending, Limits, Mark, Verdict};

const EVERY_10: Limits = Limits {
    checkpoint_bytes: 10,
    ..NO_LIMITS
};

#[test]
fn t14_an_append_commits_what_it_brought() {
    for lens in [&[7][..], &[3, 4], &[0, 1, 0, 6], &[1; 7]] {
        let mut machine = taken(facts(10, Some(20)), NO_LIMITS, &append(10));
        for len in lens {
            assert_eq!(store(&mut machine, *len), *len);
            assert_eq!(machine.poll_effect(), None);
        }
        machine.handle_end();
        let ended = settle(&mut machine, Verdict::Match);
        assert_eq!(ended.commits, [commit(10, 17, Mark::Open)]);
        assert_eq!(ended.outcome, done(facts(17, Some(20))));
    }
}

#[test]
fn nothing_is_committed_before_it_is_written() {
    let mut machine = taken(facts(0, Some(20)), EVERY_10, &append(0));
    assert_eq!(machine.handle_data(20), 20);
    machine.handle_checkpoint_due();
    machine.handle_end();
    assert_eq!(machine.poll_effect(), None);
    machine.handle_written(19);
    assert_eq!(
        machine.poll_effect(),
        None,
        "the end is committed in one step"
    );
    machine.handle_written(20);
    assert_eq!(polled_commit(&mut machine), commit(0, 20, Mark::Completed));
}

#[test]
fn a_checkpoint_is_committed_after_so_many_bytes() {
    let mut machine = taken(facts(0, Some(100)), EVERY_10, &append(0));
    // Bytes that arrive, and whether they bring a checkpoint.
    let table = [
        (9, None),
        (1, Some((0, 10))),
        (9, None),
        (30, Some((10, 49))),
    ];
    for (len, expected) in table {
        store(&mut machine, len);
        let Some((from, to)) = expected else {
            assert_eq!(machine.poll_effect(), None);
            continue;
        };
        assert_eq!(polled_commit(&mut machine), commit(from, to, Mark::Open));
        assert_eq!(machine.facts().offset, from, "not before it has succeeded");
        machine.handle_committed();
        assert_eq!(machine.facts().offset, to);
        assert_eq!(machine.poll_effect(), None);
    }
    assert!(machine.is_receiving());
}

#[test]
fn a_checkpoint_is_committed_after_an_interval_with_news() {
    let mut machine = taken(facts(0, Some(100)), NO_LIMITS, &append(0));
    machine.handle_checkpoint_due();
    assert_eq!(machine.poll_effect(), None, "there is nothing to commit");
    assert_eq!(machine.handle_data(5), 5);
    assert_eq!(machine.poll_effect(), None, "nothing is written");
    machine.handle_written(3);
    assert_eq!(polled_commit(&mut machine), commit(0, 3, Mark::Open));
    machine.handle_committed();
    machine.handle_written(5);
    assert_eq!(machine.poll_effect(), None, "the interval has begun anew");
    machine.handle_checkpoint_due();
    assert_eq!(polled_commit(&mut machine), commit(3, 5, Mark::Open));
}

#[test]
fn one_commit_at_a_time_while_bytes_go_on_arriving() {
    let mut machine = taken(facts(0, Some(100)), EVERY_10, &append(0));
    store(&mut machine, 10);
    assert_eq!(polled_commit(&mut machine), commit(0, 10, Mark::Open));
    store(&mut machine, 40);
    machine.handle_checkpoint_due();
    assert_eq!(machine.poll_effect(), None);
    machine.handle_end();
    assert_eq!(machine.poll_effect(), None);
    machine.handle_committed();
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.commits, [commit(10, 50, Mark::Open)]);
}

#[test]
fn the_last_checkpoint_may_be_all_that_was_to_commit() {
    let mut machine = taken(facts(0, Some(100)), EVERY_10, &append(0));
    store(&mut machine, 10);
    polled_commit(&mut machine);
    machine.handle_end();
    machine.handle_committed();
    assert_eq!(answered(&mut machine), done(facts(10, Some(100))));
}

#[test]
fn reaching_the_length_completes_even_before_the_request_has_ended() {
    let mut machine = taken(facts(0, Some(10)), EVERY_10, &append(0));
    store(&mut machine, 10);
    assert_eq!(polled_commit(&mut machine), commit(0, 10, Mark::Completed));
    machine.handle_committed();
    assert!(machine.facts().complete);
    // The connection is lost now: nothing is missing.
    machine.handle_stop(stop(Ending::Settle));
    let outcome = answered(&mut machine);
    assert_eq!(outcome.facts, complete(10));
    assert_eq!(outcome.problem, Some(Problem::UploadStalled));
}

#[test]
fn t35_a_length_of_nothing_is_completed_by_nothing() {
    let mut machine = taken(facts(0, Some(0)), NO_LIMITS, &append(0));
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.commits, [commit(0, 0, Mark::Completed)]);
    assert_eq!(ended.outcome, done(complete(0)));
    // As it is if the creation has completed it.
    let mut machine = taken(complete(0), NO_LIMITS, &append(0));
    machine.handle_end();
    assert_eq!(answered(&mut machine), done(complete(0)));
}

#[test]
fn t40_a_length_is_declared_on_the_first_the_middle_or_the_last_append() {
    for declares in 0..3 {
        let mut now = facts(0, None);
        for (append_no, offset) in [0, 4, 8].into_iter().enumerate() {
            let append = match append_no == declares {
                true => declaring(offset, 12),
                false => append(offset),
            };
            let mut machine = taken(now, NO_LIMITS, &append);
            store(&mut machine, 4);
            machine.handle_end();
            let ended = settle(&mut machine, Verdict::Match);
            let length = (append_no == declares).then_some(12);
            let known = append_no >= declares;
            let mark = match known && offset == 8 {
                true => Mark::Completed,
                false => Mark::Open,
            };
            let to = offset + 4;
            let expected = Commit {
                from: offset,
                to,
                length,
                mark,
            };
            assert_eq!(ended.commits, [expected]);
            now = ended.outcome.facts;
            assert_eq!(now.length, known.then_some(12));
        }
        assert_eq!(now, complete(12));
    }
}

#[test]
fn t40_a_length_declared_with_nothing_else_is_committed() {
    let mut machine = taken(facts(8, None), NO_LIMITS, &declaring(8, 12));
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Match);
    let expected = Commit {
        length: Some(12),
        ..commit(8, 8, Mark::Open)
    };
    assert_eq!(ended.commits, [expected]);
    assert_eq!(ended.outcome, done(facts(8, Some(12))));
}

#[test]
fn t40_the_first_checkpoint_declares_the_length() {
    let mut machine = taken(facts(0, None), EVERY_10, &declaring(0, 100));
    store(&mut machine, 10);
    let first = Commit {
        length: Some(100),
        ..commit(0, 10, Mark::Open)
    };
    assert_eq!(polled_commit(&mut machine), first);
    machine.handle_committed();
    assert_eq!(machine.facts().length, Some(100));
    store(&mut machine, 5);
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.commits, [commit(10, 15, Mark::Open)]);
}

#[test]
fn t40_a_length_is_declared_by_a_request_that_is_cut() {
    let mut machine = taken(facts(0, None), NO_LIMITS, &declaring(0, 100));
    machine.handle_stop(stop(Ending::Settle));
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.outcome.facts, facts(0, Some(100)));
}

#[test]
fn t44_a_length_declared_at_the_offset_completes() {
    for offset in [0, 12] {
        let mut machine = taken(facts(offset, None), NO_LIMITS, &declaring(offset, offset));
        machine.handle_end();
        let ended = settle(&mut machine, Verdict::Match);
        let expected = Commit {
            length: Some(offset),
            ..commit(offset, offset, Mark::Completed)
        };
        assert_eq!(ended.commits, [expected]);
        assert_eq!(ended.outcome, done(complete(offset)));
    }
}

#[test]
fn a_deferred_upload_is_not_complete_at_any_size() {
    let at_most_10 = Limits {
        size_max: Some(10),
        ..NO_LIMITS
    };
    let mut machine = taken(facts(0, None), at_most_10, &append(0));
    store(&mut machine, 10);
    machine.handle_end();
    let ended = settle(&mut machine, Verdict::Match);
    assert_eq!(ended.commits, [commit(0, 10, Mark::Open)]);
    assert_eq!(ended.outcome, done(facts(10, None)));
}
