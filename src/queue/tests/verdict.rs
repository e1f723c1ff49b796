//! What was told to whom in a race, and whether all of it was true.

use std::collections::{HashMap, HashSet};

use fastrand::Rng;
use futures_util::FutureExt;
use serde_json::Value;

use super::super::item::{Item, State};
use super::super::lease::Finished;
use super::World;
use crate::db::{Param, Sql, sql};

/// $1 project.
static ENDS: Sql = sql!("SELECT id, state, how FROM queue_item WHERE project_id = $1");

/// $1 project.
static RESULTS: Sql = sql!("SELECT item_id, report FROM queue_result WHERE project_id = $1");

/// What everybody has done, and was answered.
#[derive(Default)]
pub(super) struct Diary {
    items: Vec<String>,
    images: HashSet<String>,
    /// Those of which a user was told that they are cancelled for good.
    cancelled: HashSet<String>,
    /// The reports on a claim, by item and fence.
    answers: HashMap<(String, i64), Vec<(&'static str, Finished)>>,
    /// Reports that were known to come too late, and were refused.
    pub(super) refused: usize,
    pub(super) reaped: usize,
    pub(super) reset: usize,
}

/// What has been seen altogether.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) trials: usize,
    completed: usize,
    failed: usize,
    cancelled_before_start: usize,
    cancelled_by_worker: usize,
    cancelled_by_lease: usize,
    enqueued_again: usize,
    results_replaced: usize,
    reports_too_late: usize,
    reports_lost_to_a_cancel: usize,
    reaped: usize,
    reset: usize,
}

impl Diary {
    pub(super) fn enqueued(&mut self, items: &[Item]) {
        self.items.extend(items.iter().map(|item| item.id.clone()));
        let images = items.iter().map(|item| item.image.clone());
        self.images.extend(images);
    }

    pub(super) fn cancelled(&mut self, items: &[Item]) {
        for item in items {
            let is_first = self.cancelled.insert(item.id.clone());
            assert!(is_first, "cancelled twice: {item:?}");
        }
    }

    pub(super) fn answered(&mut self, item: &Item, word: &'static str, answer: Finished) {
        let key = (item.id.clone(), item.fence);
        self.answers.entry(key).or_default().push((word, answer));
    }

    pub(super) fn has_reported(&self, item: &Item) -> bool {
        self.answers.contains_key(&(item.id.clone(), item.fence))
    }

    /// What was answered to reports on an item.
    pub(super) fn told(&self, item: &Item) -> Vec<(i64, &'static str, Finished)> {
        let answers = self.answers.iter().filter(|((id, _), _)| *id == item.id);
        let each = |((_, fence), answers): (&(String, i64), &Vec<_>)| {
            let of = |(word, answer): &(&'static str, Finished)| (*fence, *word, *answer);
            answers.iter().map(of).collect::<Vec<_>>()
        };
        answers.flat_map(each).collect()
    }

    /// The id of some item.
    pub(super) fn any(&self, rng: &mut Rng) -> Option<String> {
        // Mostly of those that may still be active.
        let recent = self.items.len().saturating_sub(400);
        rng.choice(&self.items[recent..]).cloned()
    }

    /// Compares what was told with what there is.
    pub(super) async fn judge(self, on: &World, projects: &[String], tally: &mut Tally) {
        let mut ends = HashMap::new();
        let mut results = HashMap::new();
        for project in projects {
            let read = on.db.read(|tx| {
                let project = project.clone();
                async move {
                    let this = [Param::Text(&project)];
                    let ends = tx.fetch_all(&ENDS, &this).await?;
                    Ok((ends, tx.fetch_all(&RESULTS, &this).await?))
                }
                .boxed()
            });
            let (rows, saved) = read.await.unwrap();
            for row in rows {
                let state = State::parse(row.text(1).unwrap()).unwrap();
                let how = row.opt_text(2).unwrap().map(str::to_owned);
                ends.insert(row.text(0).unwrap().to_owned(), (state, how));
            }
            for row in saved {
                let report: Value = serde_json::from_str(row.text(1).unwrap()).unwrap();
                assert_eq!(report["item"], row.text(0).unwrap());
                let fence = report["fence"].as_i64().unwrap();
                results.insert(row.text(0).unwrap().to_owned(), fence);
            }
            assert_eq!(on.stats(project).await, (0, 0));
        }
        assert_eq!(ends.len(), self.items.len(), "nothing was half enqueued");
        self.every_cancel_was_kept(&ends, tally);
        self.every_success_was_one(&ends, &results, tally);
        tally.trials += ends.len();
        tally.reports_too_late += self.refused;
        tally.reaped += self.reaped;
        tally.reset += self.reset;
    }

    /// What was told to be cancelled is, and nothing else.
    fn every_cancel_was_kept(
        &self,
        ends: &HashMap<String, (State, Option<String>)>,
        tally: &mut Tally,
    ) {
        for (id, (state, how)) in ends {
            let counted = match (state, how.as_deref()) {
                (State::Completed, None) => &mut tally.completed,
                (State::Failed, None) => &mut tally.failed,
                (State::Cancelled, Some("before_start")) => &mut tally.cancelled_before_start,
                (State::Cancelled, Some("worker")) => &mut tally.cancelled_by_worker,
                (State::Cancelled, Some("lease_expired")) => &mut tally.cancelled_by_lease,
                end => panic!("{id} ends as {end:?}"),
            };
            *counted += 1;
            let is_cancelled = *state == State::Cancelled;
            assert_eq!(self.cancelled.contains(id), is_cancelled, "{id}: {state:?}");
        }
    }

    /// One report at most has completed an item, and that one's result was saved.
    fn every_success_was_one(
        &self,
        ends: &HashMap<String, (State, Option<String>)>,
        results: &HashMap<String, i64>,
        tally: &mut Tally,
    ) {
        let mut successes = HashMap::new();
        for ((id, fence), answers) in &self.answers {
            let mut counted = HashSet::new();
            for (word, answer) in answers {
                match answer {
                    Finished::As(State::Completed) => {
                        assert_eq!(*word, "completed");
                        counted.insert(*word);
                        let other = successes.insert(id, *fence);
                        assert!(other.is_none_or(|other| other == *fence), "twice: {id}");
                    }
                    Finished::As(State::Failed | State::Queued) => {
                        assert_ne!(*word, "completed");
                        counted.insert(*word);
                    }
                    Finished::As(State::Cancelled) => assert_eq!(*word, "cancelled"),
                    Finished::CancelWon => {
                        assert!(self.cancelled.contains(id), "by whom? {id}");
                        tally.reports_lost_to_a_cancel += 1;
                    }
                    Finished::LeaseLost => {}
                    answer => panic!("{id}: {answer:?}"),
                }
            }
            assert!(counted.len() <= 1, "{id} at {fence}: {answers:?}");
        }
        for (id, (state, _)) in ends {
            let is_success = *state == State::Completed;
            assert_eq!(successes.contains_key(id), is_success, "{id}: {state:?}");
        }
        for (id, fence) in results {
            assert_eq!(successes.get(id), Some(fence), "whose result is it? {id}");
        }
        // The last success of an image has replaced those before: the audit knows which that is.
        tally.results_replaced += successes.len() - results.len();
        tally.enqueued_again += self.items.len() - self.images.len();
    }
}

impl Tally {
    /// A race in which something never happens proves nothing about it.
    pub(super) fn has_seen_everything(&self) {
        if self.trials < 2_000 {
            return;
        }
        for seen in [
            self.completed,
            self.failed,
            self.cancelled_before_start,
            self.cancelled_by_worker,
            self.cancelled_by_lease,
            self.enqueued_again,
            self.results_replaced,
            self.reports_too_late,
            self.reports_lost_to_a_cancel,
            self.reaped,
            self.reset,
        ] {
            assert!(seen > 0, "{self:?}");
        }
    }
}
