//! What changes items, each function within one transaction.
//!
//! Invariant: one conditional statement decides, and counts and events are made of the rows that it has
//! returned, last in the transaction.

use std::collections::{BTreeMap, HashMap};

use serde_json::json;

use super::event::{self, Stats};
use super::item::{Item, STRANGE, State, items, state};
use super::statement::{self as sql, Sql};
use crate::db::{DbError, Param, Row, Tx};
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
    let mut changed = items(&tx.fetch_all(statement, params).await?)?;
    tell(tx, step, &mut changed).await?;
    Ok(changed)
}

/// Counts what `step` has done, and writes its events: those of the items, and then those of the
/// projects. To be called last in a transaction, and once.
///
/// Whoever changes an item of a project holds the project's count until the commit, so that what is
/// told of an image that has several items is in the order in which they have changed.
pub(super) async fn tell(tx: &mut Tx, step: Step, changed: &mut [Item]) -> Result<(), DbError> {
    let mut stats_drafts = Vec::new();
    // In one order, as all who lock them.
    for (project, Stats { queued, processing }) in differences(step, changed) {
        if (queued, processing) == (0, 0) {
            tx.lock(&sql::HOLD_COUNT, &[Param::Text(project)]).await?;
            continue;
        }
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
        stats_drafts.push(event::stats(project, stats));
    }
    look_again(tx, step, changed).await?;
    let drafts = changed.iter().map(event::reached);
    record_all(tx, drafts.chain(stats_drafts).collect()).await
}

/// Of items that have left their workers cancelled, sees what there is of their images beside them. The
/// statement that has changed them may have been waiting since it looked, and saw nothing of what it did
/// itself. Of all others nothing can have changed: no other item of their images was active.
async fn look_again(tx: &mut Tx, step: Step, changed: &mut [Item]) -> Result<(), DbError> {
    let is_ended = |item: &&mut Item| step == Step::Leave && item.state == State::Cancelled;
    let images = changed.iter_mut().filter(is_ended);
    let images: Vec<_> = images.map(|item| item.image.clone()).collect();
    if images.is_empty() {
        return Ok(());
    }
    let seen = statuses(tx, &images).await?;
    for item in changed.iter_mut().filter(is_ended) {
        if let Some((last, has_result)) = seen.get(&item.image) {
            item.see(*last, *has_result);
        }
    }
    Ok(())
}

/// The state of the last item of some images, and whether each has a result.
pub(super) async fn statuses(
    tx: &mut Tx,
    images: &[String],
) -> Result<HashMap<String, (Option<State>, bool)>, DbError> {
    let images = json!(images).to_string();
    let rows = tx
        .fetch_all(&sql::STATUSES, &[Param::Text(&images)])
        .await?;
    let status = |row: &Row| {
        let last = row.opt_text(1)?.map(state).transpose()?;
        Ok((row.text(0)?.to_owned(), (last, row.int(2)? == 1)))
    };
    rows.iter().map(status).collect()
}

/// By how much the counts of projects differ now, for each that has an item among those.
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
    differences
}

/// Items and their fences, as statements take them.
pub(super) fn pairs<'i>(items: impl IntoIterator<Item = (&'i str, i64)>) -> String {
    let pairs: Vec<_> = items.into_iter().collect();
    json!(pairs).to_string()
}
