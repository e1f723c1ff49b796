//! What a worker is told while it works: cancels, over server-sent events.
//!
//! There is nothing to be missed: what a worker is to be told is what the database says of its items.
//! That is looked at when something has been cancelled, and once in a while.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Queue;
use super::crew::{Name, Seated};
use crate::db::DbError;
use crate::http::{Response, event_stream};

/// Something is sent at least this often.
const PING_EVERY: Duration = Duration::from_secs(5);

/// How long it takes at most until a cancel is seen of which nobody was told.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The stream of one worker.
pub(super) fn answer(queue: Arc<Queue>, name: Name) -> Response {
    let control = Control {
        seated: None,
        hello: Some(hello(&queue)),
        told: HashSet::new(),
        ping: every(PING_EVERY),
        look: every(LOOK_EVERY),
        is_over: false,
        queue,
        name,
    };
    event_stream(pieces(control))
}

struct Control {
    queue: Arc<Queue>,
    name: Name,
    /// From the first look on: an answer to HEAD takes nobody's seat.
    seated: Option<Seated>,
    /// What is said first.
    hello: Option<String>,
    /// Items and fences of which it has been told.
    told: HashSet<(String, i64)>,
    ping: Interval,
    look: Interval,
    is_over: bool,
}

fn pieces(control: Control) -> impl Stream<Item = Bytes> {
    stream::unfold(control, async |mut control| {
        let piece = control.piece().await?;
        Some((piece, control))
    })
}

impl Control {
    /// `None` at the end.
    async fn piece(&mut self) -> Option<Bytes> {
        if let Some(hello) = self.hello.take() {
            self.seated = Some(self.queue.crew.sit(self.name.clone()));
            return Some(hello.into());
        }
        let seated = self.seated.take()?;
        let piece = self.next(&seated).await;
        self.seated = Some(seated);
        piece
    }

    async fn next(&mut self, seated: &Seated) -> Option<Bytes> {
        while !self.is_over {
            tokio::select! {
                // Nothing is held here.
                _ = self.queue.scope.cancelled() => {
                    self.is_over = true;
                    let deadline = self.queue.config.shutdown_grace.as_millis();
                    return Some(event("drain", &json!({ "deadlineMs": deadline })).into());
                }
                () = seated.woken() => {}
                _ = self.look.tick() => {}
                _ = self.ping.tick() => return Some(event("ping", &json!({})).into()),
            }
            if seated.is_taken() {
                return None;
            }
            match self.cancels().await {
                Ok(cancels) if cancels.is_empty() => {}
                Ok(cancels) => {
                    self.ping.reset();
                    return Some(cancels.into());
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(worker = self.name.worker, error, "looking for cancels");
                }
            }
        }
        None
    }

    /// The cancels of which it has not been told yet.
    async fn cancels(&mut self) -> Result<String, DbError> {
        let Name { worker, holder } = &self.name;
        let outstanding = self.queue.store.outstanding(worker, holder).await?;
        let mut told = HashSet::new();
        let mut text = String::new();
        for one in outstanding {
            let key = (one.item, one.fence);
            if !self.told.contains(&key) {
                let data = json!({
                    "item": key.0,
                    "fence": key.1,
                    "reason": one.reason,
                    "graceMs": one.grace,
                });
                text.push_str(&event("cancel", &data));
            }
            told.insert(key);
        }
        // What is no longer outstanding is forgotten.
        self.told = told;
        Ok(text)
    }
}

fn hello(queue: &Queue) -> String {
    let data = json!({
        "heartbeatMs": queue.config.heartbeat().as_millis(),
        "pingMs": PING_EVERY.as_millis(),
        "leaseMs": queue.config.lease.as_millis(),
    });
    event("hello", &data)
}

fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
