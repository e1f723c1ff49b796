//! Those who work, and what they wait for. All of it is in memory, and nothing depends on it but how
//! soon somebody hears of something: what is true is in the database, where everybody looks again.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Number, Value};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::event;
use super::item::{Item, State, subject};
use super::metrics::Metrics;
use crate::clock;
use crate::event::{Kind, Operation, Operations};

/// A worker counts as there for so long after it was heard of.
const HEARD_WITHIN: Duration = Duration::from_secs(30);

/// All workers.
pub(super) struct Crew {
    /// Wakes every claim that waits.
    queued: Notify,
    seats: Mutex<HashMap<Name, Arc<Seat>>>,
    running: Mutex<HashMap<String, Running>>,
    /// Tells two of `running` on one item apart.
    begun: AtomicU64,
    operations: Operations,
    pub(super) metrics: Metrics,
    /// In milliseconds since the Unix epoch.
    heard_at: AtomicU64,
}

/// A worker's name, and the user of its token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    pub(super) worker: String,
    pub(super) holder: String,
}

/// Where a worker listens for cancels.
#[derive(Default)]
struct Seat {
    wake: Notify,
    is_taken: AtomicBool,
}

/// A seat that is held, until it is dropped.
pub(super) struct Seated {
    crew: Arc<Crew>,
    name: Name,
    seat: Arc<Seat>,
}

/// What was made ready for a worker's progress on an item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prepared(u64);

/// An item of which a worker has told how far it is.
struct Running {
    number: u64,
    operation: Operation,
    /// `None`: it has told nothing yet.
    progress: Option<Arc<Mutex<Progress>>>,
}

struct Progress {
    value: f64,
    is_told: bool,
}

impl Crew {
    pub(super) fn new(operations: Operations, metrics: Metrics) -> Self {
        Self {
            queued: Notify::new(),
            seats: Mutex::default(),
            running: Mutex::default(),
            begun: AtomicU64::new(0),
            operations,
            metrics,
            heard_at: AtomicU64::new(0),
        }
    }

    /// Tells whoever waits for it what has been committed.
    pub(super) fn tell(&self, changed: &[Item]) {
        for item in changed {
            self.metrics.reached(item);
        }
        if changed.iter().any(|item| item.state == State::Queued) {
            self.queued.notify_waiters();
        }
        let mut running = lock(&self.running);
        for item in changed
            .iter()
            .filter(|item| item.state != State::Processing)
        {
            running.remove(&item.id);
        }
        drop(running);
        let seats = lock(&self.seats);
        for item in changed
            .iter()
            .filter(|item| item.state == State::Cancelling)
        {
            let name = item.worker.clone().zip(item.holder.clone());
            let seat = name.and_then(|(worker, holder)| seats.get(&Name { worker, holder }));
            if let Some(seat) = seat {
                seat.wake.notify_one();
            }
        }
    }

    /// Ends with the next item that is queued, if it is made before looking for one.
    pub(super) fn queued(&self) -> Notified<'_> {
        self.queued.notified()
    }

    /// Takes a worker's seat, in the place of whoever had it.
    pub(super) fn sit(self: &Arc<Self>, name: Name) -> Seated {
        let seat = Arc::new(Seat::default());
        let mut seats = lock(&self.seats);
        if let Some(before) = seats.insert(name.clone(), seat.clone()) {
            before.is_taken.store(true, Relaxed);
            before.wake.notify_one();
        }
        self.metrics.workers(seats.len());
        drop(seats);
        Seated {
            crew: self.clone(),
            name,
            seat,
        }
    }

    /// The workers that listen for cancels.
    pub(super) fn workers(&self) -> Vec<String> {
        let seats = lock(&self.seats);
        let mut workers: Vec<_> = seats.keys().map(|name| name.worker.clone()).collect();
        drop(seats);
        workers.sort();
        workers
    }

    /// A worker has said something.
    pub(super) fn heard(&self) {
        self.heard_at.store(clock::unix_ms(), Relaxed);
    }

    /// Whether a worker is there.
    pub(super) fn is_there(&self) -> bool {
        let since = clock::unix_ms().saturating_sub(self.heard_at.load(Relaxed));
        u128::from(since) <= HEARD_WITHIN.as_millis() || !lock(&self.seats).is_empty()
    }

    /// A worker is about to tell how far it is with an item. Before looking whether it has the item: an
    /// end that is told in between keeps it silent.
    pub(super) fn prepare(&self, id: &str) -> Prepared {
        let mut running = lock(&self.running);
        let running = running.entry(id.to_owned()).or_insert_with(|| Running {
            number: self.begun.fetch_add(1, Relaxed),
            operation: self.operations.begin(subject(id)),
            progress: None,
        });
        Prepared(running.number)
    }

    /// How far a worker is with an item that it has. It is silent if the item has ended since it was
    /// prepared for.
    pub(super) fn progress(&self, item: &Item, prepared: Prepared, value: f64) {
        let mut running = lock(&self.running);
        let running = running.get_mut(&item.id);
        let Some(running) = running.filter(|running| running.number == prepared.0) else {
            return;
        };
        let told = Progress {
            value,
            is_told: false,
        };
        match &running.progress {
            Some(progress) => *lock(progress) = told,
            None => {
                let progress = Arc::new(Mutex::new(told));
                running.progress = Some(progress.clone());
                let data = event::data(item);
                let tell = move || told_once(&progress, &data);
                let feed = event::feed(&item.project);
                running.operation.show(feed, Kind::QueueItemProgress, tell);
            }
        }
    }

    /// Of those that were prepared for, these are no worker's.
    pub(super) fn dismiss<'i>(&self, ids: impl Iterator<Item = &'i str>) {
        let mut running = lock(&self.running);
        for id in ids {
            if running.get(id).is_some_and(|one| one.progress.is_none()) {
                running.remove(id);
            }
        }
    }

    /// How far the worker of an item is, in percent, as far as it has told.
    pub(super) fn progress_of(&self, id: &str) -> Option<f64> {
        let running = lock(&self.running);
        let progress = running.get(id)?.progress.as_ref()?;
        Some(lock(progress).value)
    }
}

impl Seated {
    /// Returns when there may be something to hear, or the seat is taken.
    ///
    /// # Cancel safety
    /// May be dropped.
    pub(super) async fn woken(&self) {
        self.seat.wake.notified().await;
    }

    /// Whether somebody else has it now.
    pub(super) fn is_taken(&self) -> bool {
        self.seat.is_taken.load(Relaxed)
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        let mut seats = lock(&self.crew.seats);
        if seats
            .get(&self.name)
            .is_some_and(|seat| Arc::ptr_eq(seat, &self.seat))
        {
            seats.remove(&self.name);
            self.crew.metrics.workers(seats.len());
        }
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").finish_non_exhaustive()
    }
}

/// The data of a progress event, unless this was told before.
fn told_once(progress: &Mutex<Progress>, data: &Value) -> Option<Value> {
    let mut progress = lock(progress);
    if progress.is_told {
        return None;
    }
    progress.is_told = true;
    let mut data = data.clone();
    data["progress"] = Number::from_f64(progress.value)?.into();
    Some(data)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
