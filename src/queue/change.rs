//! What changes items, each function within one transaction.
//!
//! Invariant: one conditional statement decides, and counts and events are made of the rows that it has
//! returned, last in the transaction.

use std::collections::BTreeMap;

use serde_json::json;

use super::event::{self, Stats};
use super::item::{Item, STRANGE, State, items};
use super::statement::{self as sql, Sql};
use crate::db::{DbError, Param, Tx};
use crate::event::record_all;

/// What has been done to items: with the state they are in now, it tells which they were in before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Enqueue,
    Claim,
    Cancel,
    /// They have left their worker, in whatever way.
    Leave,
}

impl Step {
    fn before(self, now: State) -> Option<State> {
        match (self, now) {
            (Self::Enqueue, _) => None,
            (Self::Claim, _) | (Self::Cancel, State::Cancelled) => Some(State::Queued),
            (Self::Leave, State::Cancelled) => Some(State::Cancelling),
            (Self::Cancel | Self::Leave, _) => Some(State::Processing),
        }
    }
}

/// Runs a statement that does `step` to items, and tells of it. Returns them as they are now.
pub(super) async fn apply(
    tx: &mut Tx,
    step: Step,
    statement: &Sql,
    params: &[Param<'_>],
) -> Result<Vec<Item>, DbError> {
    let changed = items(&tx.fetch_all(statement, params).await?)?;
    tell(tx, step, &changed).await?;
    Ok(changed)
}

/// Counts what `step` has done, and writes its events: those of the items, and then those of the
/// projects. To be called last in a transaction, and once.
pub(super) async fn tell(tx: &mut Tx, step: Step, changed: &[Item]) -> Result<(), DbError> {
    let mut drafts: Vec<_> = changed.iter().map(event::reached).collect();
    // In one order, as all who lock them.
    for (project, Stats { queued, processing }) in differences(step, changed) {
        let params = [
            Param::Text(project),
            Param::Int(queued),
            Param::Int(processing),
        ];
        let row = tx.fetch_optional(&sql::COUNT, &params).await?;
        let row = row.ok_or(STRANGE)?;
        let stats = Stats {
            queued: row.int(0)?,
            processing: row.int(1)?,
        };
        drafts.push(event::stats(project, stats));
    }
    record_all(tx, drafts).await
}

/// By how much the counts of projects differ now.
fn differences(step: Step, changed: &[Item]) -> BTreeMap<&str, Stats> {
    let mut differences = BTreeMap::<&str, Stats>::new();
    for item in changed {
        let difference = differences.entry(&item.project).or_default();
        let mut add = |state, one: i64| match state {
            State::Queued => difference.queued += one,
            State::Processing => difference.processing += one,
            State::Cancelling | State::Completed | State::Failed | State::Cancelled => {}
        };
        add(item.state, 1);
        if let Some(before) = step.before(item.state) {
            add(before, -1);
        }
    }
    // What has gone from one end to another changes no count.
    differences.retain(|_, difference| *difference != Stats::default());
    differences
}

/// Items and their fences, as statements take them.
pub(super) fn pairs<'i>(items: impl IntoIterator<Item = (&'i str, i64)>) -> String {
    let pairs: Vec<_> = items.into_iter().collect();
    json!(pairs).to_string()
}
