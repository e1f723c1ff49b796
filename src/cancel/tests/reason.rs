use std::collections::HashSet;

use crate::cancel::{CancelReason, Ending, Reading};

#[test]
fn every_reason_means_what_the_table_says() {
    use Ending::{Abandon, Settle, SettleThenDestroy};
    use Reading::{RunDry, Stop};
    let table = [
        (CancelReason::ClientGone, RunDry, Settle, false),
        (CancelReason::Superseded, Stop, Settle, false),
        (CancelReason::Requested, Stop, SettleThenDestroy, false),
        (CancelReason::Denied, Stop, Settle, false),
        (CancelReason::Stalled, Stop, Settle, true),
        (CancelReason::Expired, Stop, SettleThenDestroy, false),
        (CancelReason::LeaseLost, Stop, Abandon, false),
        (CancelReason::Shutdown, Stop, Settle, false),
    ];
    for (reason, reading, ending, counts) in table {
        assert_eq!(reason.reading(), reading, "{reason}");
        assert_eq!(reason.ending(), ending, "{reason}");
        assert_eq!(reason.counts_attempt(), counts, "{reason}");
    }
    assert_eq!(table.map(|row| row.0), CancelReason::ALL);
}

#[test]
fn all_is_complete_and_every_name_is_its_own() {
    // A new variant breaks this match; its number then breaks the comparison with `ALL`.
    let number = |reason| match reason {
        CancelReason::ClientGone => 0,
        CancelReason::Superseded => 1,
        CancelReason::Requested => 2,
        CancelReason::Denied => 3,
        CancelReason::Stalled => 4,
        CancelReason::Expired => 5,
        CancelReason::LeaseLost => 6,
        CancelReason::Shutdown => 7,
    };
    assert!(
        CancelReason::ALL
            .into_iter()
            .map(number)
            .eq(0..CancelReason::ALL.len())
    );
    let names: HashSet<_> = CancelReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(names.len(), CancelReason::ALL.len());
    assert_eq!(CancelReason::LeaseLost.to_string(), "lease_lost");
}
