//! Claims and leases: what a worker gets, keeps and gives back.
//!
//! Invariant: whatever a worker says counts only with the fence of its claim and the token that has
//! claimed, while the lease has not been taken away. The clock of leases is the database's.

use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::json;

use super::Image;
use super::change::{Step, apply, pairs, tell};
use super::item::{Item, State, item, items, state};
use super::statement as sql;
use super::store::{ATTEMPTS_MAX, Done, SWEPT_MAX, Store, millis};
use crate::db::{DbError, Param, Row, Tx};

/// What is told of an item whose last worker was lost.
const LOST: &str = "its worker was lost, as those before";

/// A worker's wish for something to do.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) worker: String,
    /// The user of his token.
    pub(super) holder: String,
    pub(super) claim: String,
    pub(super) models: Vec<String>,
    pub(super) max: i64,
}

impl Claim {
    /// What an earlier request of it is found by. `models` is the list of them in JSON.
    fn params<'c>(&'c self, models: &'c str) -> [Param<'c>; 4] {
        [
            Param::Text(models),
            Param::Text(&self.claim),
            Param::Text(&self.worker),
            Param::Text(&self.holder),
        ]
    }
}

/// Who says something of items that a worker has.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    /// The user of the token.
    pub(super) user: String,
    /// The models that it is for, in JSON. `None`: every one.
    pub(super) models: Option<String>,
}

/// What a worker says in the end.
#[derive(Clone, Debug)]
pub(super) struct Finish {
    pub(super) id: String,
    pub(super) fence: i64,
    pub(super) holder: Holder,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// With the report, as it is to be served.
    Completed(Arc<str>),
    Failed {
        message: String,
        retryable: bool,
    },
    /// Nobody works on it any more, and there is nothing to tell.
    Cancelled,
}

impl Outcome {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Completed(_) => "completed",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a report has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finished {
    /// The item is in this state by it.
    As(State),
    /// The item was cancelled before: the report is dropped.
    CancelWon,
    /// The item is not this worker's any more: the report is dropped.
    LeaseLost,
    /// There is no such item.
    Unknown,
}

impl Store {
    /// Whether there may be something for a claim.
    pub(super) async fn is_waiting(&self, claim: &Claim) -> Result<bool, DbError> {
        let found = self.db.read(|tx| {
            let claim = claim.clone();
            async move {
                let models = json!(claim.models).to_string();
                tx.fetch_optional(&sql::IS_WAITING, &claim.params(&models))
                    .await
            }
            .boxed()
        });
        Ok(found.await?.is_some())
    }

    /// Gives a worker what is next, or what an earlier request of the same claim has given him.
    pub(super) async fn claim(&self, claim: &Claim) -> Result<Vec<(Item, Image)>, DbError> {
        let (this, asked) = (self.clone(), Arc::new(claim.clone()));
        let claimed = self.change(move |tx| {
            let (this, claim) = (this.clone(), asked.clone());
            async move {
                let models = json!(claim.models).to_string();
                let again = tx.fetch_all(&sql::CLAIMED, &claim.params(&models)).await?;
                let mut known = items(&again)?;
                let mut changed = Vec::new();
                if known.is_empty() {
                    known = this.take_next(tx, &claim).await?;
                    changed.clone_from(&known);
                }
                let ids: Vec<_> = known.iter().map(|item| item.image.clone()).collect();
                let images = this.images.find(tx, &ids).await?;
                let value = (known, images);
                Ok(Done { value, changed })
            }
            .boxed()
        });
        let (items, mut images) = claimed.await?;
        images.retain(|image| image.is_complete);
        let mut there = Vec::new();
        let mut gone = Vec::new();
        for item in items {
            match images.iter().find(|image| image.id == item.image) {
                Some(image) => there.push((item, image.clone())),
                None => gone.push(item),
            }
        }
        if !gone.is_empty() {
            let images: Vec<_> = gone.iter().map(|item| item.image.clone()).collect();
            self.cancel_images(&images).await?;
            self.unclaim(&gone).await?;
        }
        there.sort_by(|(one, _), (other, _)| {
            let order = |item: &Item| (-item.priority, item.turn, item.created_at, item.place);
            order(one).cmp(&order(other))
        });
        Ok(there)
    }

    async fn take_next(&self, tx: &mut Tx, claim: &Claim) -> Result<Vec<Item>, DbError> {
        let mut next = Vec::new();
        // One by one: each is an index of its own, in the order of what is next.
        for model in &claim.models {
            let params = [Param::Text(model), Param::Int(claim.max)];
            for row in tx.fetch_all(&sql::NEXT, &params).await? {
                let order = (-row.int(1)?, row.int(2)?, row.int(3)?, row.int(4)?);
                next.push((order, row.text(0)?.to_owned()));
            }
        }
        next.sort();
        let ids = next.iter().map(|(_, id)| id);
        let ids: Vec<_> = ids.take(usize::try_from(claim.max).unwrap_or(0)).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids = json!(ids).to_string();
        let params = [
            Param::Text(&ids),
            Param::Text(&claim.worker),
            Param::Text(&claim.claim),
            Param::Text(&claim.holder),
            Param::Int(millis(self.config.lease)),
        ];
        apply(tx, Step::Claim, &sql::CLAIM, &params).await
    }

    /// Takes back a claim whose answer nobody has got.
    pub(super) async fn unclaim(&self, items: &[Item]) -> Result<(), DbError> {
        let pairs = pairs(items.iter().map(|item| (item.id.as_str(), item.fence)));
        let taken = self.change(move |tx| {
            let pairs = pairs.clone();
            async move {
                let params = [Param::Text(&pairs)];
                let changed = apply(tx, Step::Leave, &sql::UNCLAIM, &params).await?;
                Ok(Done::of(changed))
            }
            .boxed()
        });
        taken.await.map(drop)
    }

    /// Renews leases. What is not returned is not the worker's any more.
    pub(super) async fn heartbeat(
        &self,
        claims: &[(String, i64)],
        holder: &Holder,
    ) -> Result<Vec<Item>, DbError> {
        let pairs = pairs(claims.iter().map(|(id, fence)| (id.as_str(), *fence)));
        let (holder, lease) = (holder.clone(), millis(self.config.lease));
        let renewed = self.db.write(move |tx| {
            let (pairs, holder) = (pairs.clone(), holder.clone());
            async move {
                let params = [
                    Param::Text(&pairs),
                    Param::Int(lease),
                    Param::Text(&holder.user),
                    Param::OptText(holder.models.as_deref()),
                ];
                tx.fetch_all(&sql::HEARTBEAT, &params).await
            }
            .boxed()
        });
        items(&renewed.await?)
    }

    /// Takes a worker's report, unless the item is not his any more or was cancelled.
    pub(super) async fn finish(&self, finish: Finish) -> Result<Finished, DbError> {
        let finish = Arc::new(finish);
        self.change(move |tx| {
            let finish = finish.clone();
            async move {
                let Some(row) = report(tx, &finish).await? else {
                    return Ok(Done::silent(reported(tx, &finish).await?));
                };
                let mut item = item(&row)?;
                if let (State::Completed, Outcome::Completed(report)) =
                    (item.state, &finish.outcome)
                {
                    save(tx, &item, report).await?;
                }
                tell(tx, Step::Leave, std::slice::from_mut(&mut item)).await?;
                Ok(Done {
                    value: answer(item.state, &finish.outcome),
                    changed: vec![item],
                })
            }
            .boxed()
        })
        .await
    }

    /// Takes items away whose lease has ended. Returns how many.
    pub(super) async fn reap(&self) -> Result<usize, DbError> {
        let reaped = self.change(|tx| {
            async move {
                let params = [
                    Param::Int(ATTEMPTS_MAX),
                    Param::Text(LOST),
                    Param::Int(SWEPT_MAX),
                ];
                let changed = apply(tx, Step::Leave, &sql::REAP, &params).await?;
                Ok(Done::of(changed))
            }
            .boxed()
        });
        reaped.await
    }
}

/// Runs the statement by which a report counts, if it counts.
async fn report(tx: &mut Tx, finish: &Finish) -> Result<Option<Row>, DbError> {
    let (retryable, error) = match &finish.outcome {
        Outcome::Failed { message, retryable } => (*retryable, Some(message.as_str())),
        Outcome::Completed(_) | Outcome::Cancelled => (false, None),
    };
    let params = [
        Param::Text(&finish.id),
        Param::Int(finish.fence),
        Param::Text(finish.outcome.as_str()),
        Param::Int(retryable.into()),
        Param::Int(ATTEMPTS_MAX),
        Param::OptText(error),
        Param::Text(&finish.holder.user),
        Param::OptText(finish.holder.models.as_deref()),
    ];
    tx.fetch_optional(&sql::FINISH, &params).await
}

/// What a report has led to that changes nothing: it has been heard before, or comes too late.
async fn reported(tx: &mut Tx, finish: &Finish) -> Result<Finished, DbError> {
    let this = [Param::Text(&finish.id)];
    let Some(row) = tx.fetch_optional(&sql::REPORTED, &this).await? else {
        return Ok(Finished::Unknown);
    };
    let is_again =
        row.opt_int(1)? == Some(finish.fence) && row.opt_text(2)? == Some(finish.outcome.as_str());
    let now = state(row.text(0)?)?;
    Ok(match row.opt_text(3)?.map(state).transpose()? {
        Some(then) if is_again => answer(then, &finish.outcome),
        // Of this claim, or of one before.
        _ if now == State::Cancelled && finish.fence <= row.int(4)? => answer(now, &finish.outcome),
        _ => Finished::LeaseLost,
    })
}

/// What a worker is told whose report has led to this state.
fn answer(state: State, outcome: &Outcome) -> Finished {
    match (state, outcome) {
        (State::Cancelled, Outcome::Completed(_) | Outcome::Failed { .. }) => Finished::CancelWon,
        (state, _) => Finished::As(state),
    }
}

/// Saves a result in the place of the one before.
async fn save(tx: &mut Tx, item: &Item, report: &str) -> Result<(), DbError> {
    let params = [
        Param::Text(&item.image),
        Param::Text(&item.project),
        Param::Text(&item.id),
        Param::Text(&item.model),
        Param::Text(item.threshold.as_str()),
        Param::Bool(item.detect_holes),
        Param::Text(report),
    ];
    tx.execute(&sql::SAVE, &params).await?;
    Ok(())
}
