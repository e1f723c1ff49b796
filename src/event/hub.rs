//! The live side of the feeds.
//!
//! A feed that somebody listens to has one task, its pump. It reads from the log what has been
//! committed and hands it to every listener at once; between that it asks running operations for
//! their progress. Since one task sends both, no progress follows the end of its operation.
//!
//! Whoever has committed an event calls [`Hub::wake`]. Should that be missed, the pump looks by
//! itself once in [`LOOK_EVERY`].

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Interval, MissedTickBehavior, interval};
use uuid::Uuid;

use super::log;
use super::{Draft, Event, Feed, Kind};
use crate::cancel::{Panicked, Scope};
use crate::db::{Db, DbError, Tx};

/// Items of a feed that a listener may be behind before it has to read the log.
const RING: usize = 256;

/// Events that a pump reads at once.
const PAGE: u32 = 256;

/// How often a pump looks into the log unasked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often an operation tells its progress, at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// All feeds. Clones share them.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    db: Db,
    scope: Scope,
    channels: Mutex<HashMap<Feed, Arc<Channel>>>,
    operations: Operations,
}

/// The live end of a feed that has listeners.
struct Channel {
    sender: broadcast::Sender<Item>,
    wake: Notify,
    /// Held once by itself, and by each listener that wants what is live only.
    live: Arc<()>,
}

/// Somebody who is sent what happens on a feed, until it is dropped.
pub(super) struct Listener {
    pub(super) receiver: broadcast::Receiver<Item>,
    /// Of a channel, if it wants what is live only.
    _live: Option<Arc<()>>,
}

/// What listeners are sent.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// The next one of the log.
    Logged(Arc<Event>),
    /// Live only; it happened after the event with this sequence.
    Live(u64, Arc<Event>),
    /// The feed stands at this sequence, and what comes before it will not be sent.
    Head(u64),
}

/// Tells how far an operation is: its data for a progress event. `None`: as far as before.
type Progress = Box<dyn FnMut() -> Option<Value> + Send>;

struct Running {
    operation: u64,
    shown: Option<(Feed, Kind, Progress)>,
}

/// The operations that are running. Clones share them.
#[derive(Clone, Default)]
pub struct Operations(Arc<All>);

#[derive(Default)]
struct All {
    /// By subject.
    running: Mutex<HashMap<String, Running>>,
    /// Tells two operations on one subject apart.
    begun: AtomicU64,
}

/// An operation that may tell its progress; until it is dropped, or its end is told.
#[derive(Debug)]
pub struct Operation {
    all: Operations,
    subject: String,
    number: u64,
}

impl Hub {
    /// Over a database with the migrations of [`log::LINE`]. Its tasks end with `scope`.
    pub fn new(db: Db, scope: Scope) -> Self {
        Self(Arc::new(Inner {
            db,
            scope,
            channels: Mutex::default(),
            operations: Operations::default(),
        }))
    }

    /// Where running operations may tell how far they are.
    pub fn operations(&self) -> &Operations {
        &self.0.operations
    }

    /// Something has been committed on these feeds.
    pub fn wake<'f>(&self, feeds: impl IntoIterator<Item = &'f Feed>) {
        let channels = self.channels();
        for channel in feeds.into_iter().filter_map(|feed| channels.get(feed)) {
            channel.wake.notify_one();
        }
    }

    /// As [`Self::wake`], of all feeds: for what happens now and then, on some of them.
    pub fn wake_all(&self) {
        for channel in self.channels().values() {
            channel.wake.notify_one();
        }
    }

    /// Runs a transaction, and tells of it after the commit; as a task of `scope`, since a client that
    /// leaves after the commit must not keep others from being told.
    ///
    /// # Errors
    /// As [`Db::write`]; nobody is told then.
    ///
    /// # Cancel safety
    /// Once begun, it is finished whether or not the future is dropped.
    pub async fn change<T: Send + 'static>(
        &self,
        scope: &Scope,
        work: impl for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, DbError>> + Send + Sync + 'static,
        tell: impl FnOnce(&Self, &T) + Send + 'static,
    ) -> Result<T, DbError> {
        let hub = self.clone();
        let task = scope.spawn(async move {
            let done = hub.0.db.write(work).await?;
            tell(&hub, &done);
            Ok(done)
        });
        let panicked = |error: Panicked| DbError::Panicked(error.message().into());
        task.await.map_err(panicked)?
    }

    /// The database that the feeds are in.
    pub fn db(&self) -> &Db {
        &self.0.db
    }

    /// Everything of the feeds runs in it.
    pub fn scope(&self) -> &Scope {
        &self.0.scope
    }

    /// Listens to what is sent on `feed` from now on. As long as nobody wants what is live only, it is
    /// not made.
    pub(super) fn listen(&self, feed: &Feed, wants_live: bool) -> Listener {
        let mut channels = self.channels();
        let known = channels.get(feed).cloned();
        let channel = known.clone().unwrap_or_else(|| {
            Arc::new(Channel {
                sender: broadcast::Sender::new(RING),
                wake: Notify::new(),
                live: Arc::default(),
            })
        });
        let listener = Listener {
            receiver: channel.sender.subscribe(),
            _live: wants_live.then(|| channel.live.clone()),
        };
        if known.is_some() {
            return listener;
        }
        channels.insert(feed.clone(), channel.clone());
        let pump = Pump {
            hub: self.clone(),
            feed: feed.clone(),
            channel,
            last: 0,
        };
        self.0.scope.spawn(pump.run());
        listener
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<Feed, Arc<Channel>>> {
        self.0
            .channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Operations {
    /// An operation on `subject` is beginning. Its progress is not told before [`Operation::show`].
    ///
    /// Call it before looking whether the operation may begin at all: an end that is told in
    /// between then keeps it silent.
    pub fn begin(&self, subject: String) -> Operation {
        let number = self.0.begun.fetch_add(1, Relaxed);
        let running = Running {
            operation: number,
            shown: None,
        };
        self.running().insert(subject.clone(), running);
        Operation {
            all: self.clone(),
            subject,
            number,
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.0
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations").finish_non_exhaustive()
    }
}

impl Operation {
    /// Lets `progress` be told on `feed` as events of `kind`.
    pub fn show(
        &self,
        feed: Feed,
        kind: Kind,
        progress: impl FnMut() -> Option<Value> + Send + 'static,
    ) {
        let mut running = self.all.running();
        let own = running.get_mut(&self.subject);
        if let Some(own) = own.filter(|own| own.operation == self.number) {
            own.shown = Some((feed, kind, Box::new(progress)));
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        let mut running = self.all.running();
        if running
            .get(&self.subject)
            .is_some_and(|own| own.operation == self.number)
        {
            running.remove(&self.subject);
        }
    }
}

/// Brings a feed to its listeners, as long as there are any.
struct Pump {
    hub: Hub,
    feed: Feed,
    channel: Arc<Channel>,
    /// The sequence of the last event that was sent.
    last: u64,
}

impl Pump {
    async fn run(mut self) {
        let scope = self.hub.0.scope.clone();
        let mut look = every(LOOK_EVERY);
        let mut tick = every(PROGRESS_EVERY);
        let mut is_started = false;
        while !self.is_over() {
            tokio::select! {
                // Nothing is held here.
                _ = scope.cancelled() => return self.close(),
                () = self.channel.wake.notified() => {}
                // The first tick comes at once.
                _ = look.tick() => {}
                _ = tick.tick(), if is_started => {
                    self.tell_progress();
                    continue;
                }
            }
            if let Err(error) = self.look(&mut is_started).await {
                tracing::warn!(feed = %self.feed, %error, "reading a feed");
            }
        }
    }

    /// Sends what the log has got since.
    async fn look(&mut self, is_started: &mut bool) -> Result<(), DbError> {
        if !*is_started {
            self.last = log::place(&self.hub.0.db, &self.feed).await?.head;
            *is_started = true;
            self.send(Item::Head(self.last));
        }
        loop {
            let (_, events) = log::read(&self.hub.0.db, &self.feed, self.last, PAGE).await?;
            let count = events.len();
            for event in events {
                self.last = event.sequence.unwrap_or(self.last);
                if event.kind.ends_progress() {
                    self.hub.0.operations.running().remove(&event.subject);
                }
                self.send(Item::Logged(Arc::new(event)));
            }
            if count < PAGE as usize {
                return Ok(());
            }
        }
    }

    fn tell_progress(&self) {
        if Arc::strong_count(&self.channel.live) == 1 {
            // Nobody wants it.
            return;
        }
        let mut told = Vec::new();
        for (subject, running) in self.hub.0.operations.running().iter_mut() {
            if let Some((feed, kind, progress)) = &mut running.shown
                && *feed == self.feed
                && let Some(data) = progress()
            {
                told.push(Draft {
                    feed: feed.clone(),
                    kind: *kind,
                    subject: subject.clone(),
                    data,
                });
            }
        }
        for draft in told {
            match draft.unlogged(Uuid::new_v4().to_string(), None) {
                Ok(event) => self.send(Item::Live(self.last, Arc::new(event))),
                Err(error) => tracing::error!(%error, "an event that is no JSON"),
            }
        }
    }

    fn send(&self, item: Item) {
        // Without a listener it is not needed.
        drop(self.channel.sender.send(item));
    }

    /// Whether nobody listens any more. The feed is without a pump then.
    fn is_over(&self) -> bool {
        // Locked, so that nobody comes in between.
        let mut channels = self.hub.channels();
        let is_over = self.channel.sender.receiver_count() == 0;
        if is_over {
            channels.remove(&self.feed);
        }
        is_over
    }

    fn close(&self) {
        self.hub.channels().remove(&self.feed);
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
