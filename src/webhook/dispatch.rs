//! Which events are delivered next, and what becomes of them.

use std::time::Duration;

use futures_util::future::{BoxFuture, join_all, ready};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, sleep_until};

use super::attempt::{Courier, Verdict};
use super::metrics::Metrics;
use super::schedule::{Health, pause};
use super::store::{self, Backlog, Delivery, Fate};
use crate::access::{self, Change};
use crate::cancel::Scope;
use crate::db::{Db, DbError};
use crate::event::{Cursor, Feed, Hub, NoSuchPlace, Start, Subscription};
use crate::work::{Next, Worker};

/// Deliveries that may wait for another attempt. With so many, events stay in the log.
const WAITING_MAX: u64 = 1000;

/// Projects that are looked up at once.
const PAGE: u32 = 1_000;

/// How long new events have to show themselves before those that have failed get their turn.
const NEW_WITHIN: Duration = Duration::from_millis(50);

/// What was read without anything to deliver is remembered once in this time.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// The worker of one webhook.
pub(super) struct Dispatcher {
    courier: Courier,
    hub: Hub,
    /// Tells of projects that are new.
    changes: Receiver<Change>,
    scope: Scope,
    metrics: Metrics,
    /// Ahead of what is stored only while a round runs. `None`: to be opened where that is.
    subscription: Option<Subscription>,
    health: Health,
    /// New events and those that have failed take turns: neither keeps the other back.
    is_new_first: bool,
}

#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the feed has ended")]
    Ended,
}

impl Dispatcher {
    pub(super) fn new(
        courier: Courier,
        hub: Hub,
        changes: Receiver<Change>,
        scope: Scope,
        metrics: Metrics,
    ) -> Self {
        Self {
            courier,
            hub,
            changes,
            scope,
            metrics,
            subscription: None,
            health: Health::new(),
            is_new_first: false,
        }
    }

    fn name(&self) -> &str {
        &self.courier.endpoint.name
    }

    /// Delivers what is next, once there is something.
    async fn round(&mut self) -> Result<Next, Interrupted> {
        let mut subscription = match self.subscription.take() {
            Some(subscription) => subscription,
            None => self.open().await?,
        };
        let scope = self.scope.clone();
        let (batch, verdicts) = tokio::select! {
            // What is not known to be delivered is sent again after the next start.
            _ = scope.cancelled() => return Ok(Next::Never),
            delivered = self.deliver(&mut subscription) => delivered?,
        };
        let is_gone = verdicts.contains(&Verdict::Gone);
        self.settle(subscription.cursor(), batch, verdicts).await?;
        // Only now: what an error has left undone is read again.
        self.subscription = Some(subscription);
        if is_gone {
            tracing::error!(
                webhook = self.name(),
                "the endpoint is gone (410): it is sent nothing more until the next start"
            );
            return Ok(Next::Never);
        }
        Ok(Next::Now)
    }

    async fn deliver(
        &mut self,
        subscription: &mut Subscription,
    ) -> Result<(Vec<Delivery>, Vec<Verdict>), Interrupted> {
        sleep_until(self.health.rests_until()).await;
        let batch = self.next_batch(subscription).await?;
        let attempts = batch
            .iter()
            .map(|delivery| self.courier.attempt(&delivery.id, &delivery.body));
        let verdicts = join_all(attempts).await;
        Ok((batch, verdicts))
    }

    /// Where it was left, or from now on.
    async fn open(&mut self) -> Result<Subscription, DbError> {
        let cursor = store::find(self.hub.db(), self.name()).await?;
        // Before they are looked up: none that comes in between is missed.
        self.changes = self.changes.resubscribe();
        let feeds = every_feed(self.hub.db()).await?;
        let (left, start) = match cursor {
            None => (feeds.clone(), Start::Now),
            Some(cursor) => {
                let mut left = Vec::new();
                for feed in cursor.feeds() {
                    // Of a project that is gone, what was not delivered yet.
                    if feeds.contains(&feed) || cursor.is_behind(self.hub.db(), &feed).await? {
                        left.push(feed);
                    }
                }
                (left, Start::At(cursor))
            }
        };
        let mut subscription = match self.subscribe(&left, start).await {
            Err(NoSuchPlace::Unknown(feed)) => {
                let webhook = self.name();
                tracing::warn!(webhook, %feed, "is not as it was left: what comes now is sent");
                self.subscribe(&left, Start::Now).await
            }
            opened => opened,
        }
        .map_err(no_place)?;
        self.join(&mut subscription, feeds).await?;
        self.save(subscription.cursor(), Vec::new()).await?;
        Ok(subscription)
    }

    async fn subscribe(
        &mut self,
        feeds: &[Feed],
        start: Start,
    ) -> Result<Subscription, NoSuchPlace> {
        // Nobody reads with it, so what is live only is not sent.
        let filter = self.courier.endpoint.filter.logged();
        Subscription::open(&self.hub, feeds, &start, filter).await
    }

    /// Reads those of `feeds` that are new from their beginning.
    async fn join(
        &mut self,
        subscription: &mut Subscription,
        mut feeds: Vec<Feed>,
    ) -> Result<(), DbError> {
        let known = subscription.feeds();
        feeds.retain(|feed| !known.contains(feed));
        if !feeds.is_empty() {
            let joining = self.subscribe(&feeds, Start::After(0)).await;
            subscription.join(joining.map_err(no_place)?);
        }
        Ok(())
    }

    /// The feeds that there are to join after `heard`.
    async fn heard(&mut self, heard: Result<Change, RecvError>) -> Result<Vec<Feed>, Interrupted> {
        match heard {
            Ok(change) => Ok(vec![Feed::Project(change.project)]),
            Err(RecvError::Lagged(_)) => Ok(every_feed(self.hub.db()).await?),
            Err(RecvError::Closed) => Err(Interrupted::Ended),
        }
    }

    /// What is to be sent, once there is something.
    async fn next_batch(
        &mut self,
        subscription: &mut Subscription,
    ) -> Result<Vec<Delivery>, Interrupted> {
        let limit = self.health.at_once();
        loop {
            let backlog = self.backlog().await?;
            let has_room = backlog.count < WAITING_MAX;
            let is_due = backlog.due_in == Some(Duration::ZERO);
            if is_due && !(self.is_new_first && has_room) {
                self.is_new_first = true;
                let due = store::due(self.hub.db(), self.name(), limit).await?;
                if !due.is_empty() {
                    return Ok(due);
                }
            }
            let wait = match is_due {
                true => NEW_WITHIN,
                false => backlog.due_in.unwrap_or(SAVE_EVERY).min(SAVE_EVERY),
            };
            self.is_new_first = false;
            tokio::select! {
                // The subscription is behind what was taken only after it is returned.
                taken = take(subscription, limit), if has_room => {
                    return taken.ok_or(Interrupted::Ended);
                }
                // A change is received or stays in the channel.
                heard = self.changes.recv() => {
                    let feeds = self.heard(heard).await?;
                    self.join(subscription, feeds).await?;
                    continue;
                }
                () = sleep(wait) => {}
            }
            if !is_due {
                self.save(subscription.cursor(), Vec::new()).await?;
            }
        }
    }

    async fn backlog(&mut self) -> Result<Backlog, DbError> {
        let backlog = store::backlog(self.hub.db(), self.name()).await?;
        self.metrics.waiting(self.name(), backlog.count);
        Ok(backlog)
    }

    async fn settle(
        &mut self,
        cursor: &Cursor,
        batch: Vec<Delivery>,
        verdicts: Vec<Verdict>,
    ) -> Result<(), DbError> {
        let mut fates = Vec::new();
        let (mut has_answered, mut asked) = (false, Duration::ZERO);
        for (delivery, verdict) in batch.into_iter().zip(verdicts) {
            let is_delivered = verdict == Verdict::Delivered;
            self.metrics.attempted(self.name(), is_delivered);
            has_answered |= matches!(verdict, Verdict::Delivered | Verdict::Refused { .. });
            match verdict {
                // It has a row only if it had failed before.
                Verdict::Delivered if delivery.attempts == 0 => {}
                Verdict::Delivered => fates.push((delivery, Fate::Over)),
                Verdict::Refused { why } => fates.push(self.failed(delivery, &why)),
                Verdict::Failed { why, retry_after } => {
                    asked = asked.max(retry_after);
                    fates.push(self.failed(delivery, &why));
                }
                Verdict::Gone => fates.push(self.failed(delivery, "answered 410 Gone")),
            }
        }
        let has_changed = !fates.is_empty();
        self.save(cursor, fates).await?;
        self.health.record(has_answered, asked);
        if has_changed {
            self.backlog().await?;
        }
        Ok(())
    }

    fn failed(&self, delivery: Delivery, why: &str) -> (Delivery, Fate) {
        let attempts = delivery.attempts.saturating_add(1);
        let (webhook, event) = (self.name(), &delivery.id);
        let fate = match pause(attempts) {
            Some(pause) => {
                tracing::warn!(webhook, event, attempts, why, "not delivered yet");
                Fate::Postponed(pause)
            }
            None => {
                self.metrics.given_up(webhook);
                tracing::error!(webhook, event, attempts, why, "given up");
                Fate::Over
            }
        };
        (
            Delivery {
                attempts,
                ..delivery
            },
            fate,
        )
    }

    async fn save(&mut self, cursor: &Cursor, fates: Vec<(Delivery, Fate)>) -> Result<(), DbError> {
        store::settle(self.hub.db(), self.name(), cursor, fates).await
    }
}

impl Worker for Dispatcher {
    fn name(&self) -> &'static str {
        "webhook"
    }

    /// From then on nothing is missed.
    fn prepare(&mut self) -> BoxFuture<'_, Result<(), Box<dyn std::error::Error + Send + Sync>>> {
        async {
            self.subscription = Some(self.open().await?);
            Ok(())
        }
        .boxed()
    }

    fn work(&mut self) -> BoxFuture<'_, Next> {
        async {
            match self.round().await {
                Ok(next) => next,
                Err(_) if self.scope.reason().is_some() => Next::Never,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(webhook = self.name(), error, "goes on later");
                    Next::Later
                }
            }
        }
        .boxed()
    }
}

/// The feeds of all projects.
async fn every_feed(db: &Db) -> Result<Vec<Feed>, DbError> {
    let mut feeds = Vec::new();
    let mut after = String::new();
    loop {
        let page = db.read(|tx| {
            let after = after.clone();
            async move { access::every(tx, &after, PAGE).await }.boxed()
        });
        let page = page.await?;
        let Some(last) = page.last() else {
            return Ok(feeds);
        };
        after = last.clone();
        feeds.extend(page.into_iter().map(Feed::Project));
    }
}

fn no_place(error: NoSuchPlace) -> DbError {
    match error {
        NoSuchPlace::Db(error) => error,
        NoSuchPlace::Unknown(_) => DbError::Aborted("a feed has no place to begin"),
    }
}

/// Up to `limit` events, once there is one. `None`: the subscription has ended.
///
/// # Cancel safety
/// Dropped before it is done, it has taken nothing.
async fn take(subscription: &mut Subscription, limit: u32) -> Option<Vec<Delivery>> {
    let mut taken = Vec::new();
    while taken.len() < limit as usize {
        let next = match taken.is_empty() {
            true => subscription.next().await?,
            // Nothing is waited for with something in hand.
            false => match subscription.next().now_or_never().flatten() {
                Some(next) => next,
                None => break,
            },
        };
        let event = next.event();
        taken.push(Delivery {
            id: event.id.clone(),
            body: event.json.clone(),
            attempts: 0,
        });
    }
    Some(taken)
}

/// Forgets, before anything is served, webhooks that are no longer configured: one that comes back
/// later begins anew.
pub(super) struct Janitor {
    hub: Hub,
    names: Vec<String>,
}

impl Janitor {
    pub(super) fn new(hub: &Hub, names: Vec<String>) -> Self {
        Self {
            hub: hub.clone(),
            names,
        }
    }

    fn db(&self) -> &Db {
        self.hub.db()
    }
}

impl Worker for Janitor {
    fn name(&self) -> &'static str {
        "webhook janitor"
    }

    fn prepare(&mut self) -> BoxFuture<'_, Result<(), Box<dyn std::error::Error + Send + Sync>>> {
        async {
            store::forget_others(self.db(), &self.names).await?;
            Ok(())
        }
        .boxed()
    }

    fn work(&mut self) -> BoxFuture<'_, Next> {
        ready(Next::Never).boxed()
    }
}
