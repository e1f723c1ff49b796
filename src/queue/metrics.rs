//! What the module counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::item::{Item, State};

/// Between a cancel and the end of the work, in seconds: from one that is quick to a lease that ends.
const CANCEL_SECONDS: [f64; 12] = [
    0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0,
];

/// Counters of the module. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    items: Family<Reached, Counter>,
    cancel_seconds: Histogram,
    workers: Gauge,
    waiting: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reached {
    state: &'static str,
}

impl Metrics {
    /// Counters that nobody reads.
    pub fn unread() -> Self {
        Self {
            items: Family::default(),
            cancel_seconds: Histogram::new(CANCEL_SECONDS),
            workers: Gauge::default(),
            waiting: Gauge::default(),
        }
    }

    /// Counters that are part of `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unread();
        for state in State::ALL {
            // What has not happened yet is seen as zero.
            drop(metrics.items.get_or_create(&reached(state)));
        }
        registry.register(
            "queue_items",
            "Items of the queue that have come into a state",
            metrics.items.clone(),
        );
        registry.register_with_unit(
            "queue_cancel",
            "From the cancel of an item that is processed until nobody works on it",
            Unit::Seconds,
            metrics.cancel_seconds.clone(),
        );
        registry.register(
            "queue_workers",
            "Workers that listen for cancels",
            metrics.workers.clone(),
        );
        registry.register(
            "queue_claims_waiting",
            "Claims that wait for an item",
            metrics.waiting.clone(),
        );
        metrics
    }

    pub(super) fn reached(&self, item: &Item) {
        self.items.get_or_create(&reached(item.state)).inc();
        let is_stopped = item.state == State::Cancelled && item.started_at.is_some();
        let times = item.cancelled_at.zip(item.finished_at);
        if let Some((from, to)) = times.filter(|_| is_stopped) {
            self.cancel_seconds.observe((to - from) as f64 / 1e3);
        }
    }

    pub(super) fn workers(&self, count: usize) {
        self.workers.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// A claim that waits, until it is dropped.
pub(super) struct Waiting<'m>(&'m Gauge);

impl Metrics {
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.inc();
        Waiting(&self.waiting)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> i64 {
        self.waiting.get()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn reached(state: State) -> Reached {
    Reached {
        state: state.as_str(),
    }
}
