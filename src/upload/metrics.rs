//! What the module counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tidegate_protocol::problem::Problem;

/// Counters of the module. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    created: Counter,
    cancelled: Counter,
    expired: Counter,
    received: Counter,
    released: Counter,
    limited: Family<Limited, Counter>,
    open: Gauge,
    ending: Gauge,
    running: Gauge,
    cancel_stopped: Histogram,
    cancel_removed: Histogram,
}

/// Which limit was met.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Limited {
    limit: &'static str,
}

const SIZE: &str = "size";
const METADATA: &str = "metadata";
const QUOTA: &str = "quota";
const OPEN: &str = "open";
const STREAMS: &str = "streams";
const CREATIONS: &str = "creations";
const LIMITS: [&str; 6] = [SIZE, METADATA, QUOTA, OPEN, STREAMS, CREATIONS];

/// How many uploads are in which part of their lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Take appends.
    pub open: u64,
    /// Have ended, and still have bytes.
    pub ending: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        // From a quarter of a millisecond to about half a minute.
        let latency = || Histogram::new(exponential_buckets(0.00025, 2.0, 18));
        Self {
            created: Counter::default(),
            cancelled: Counter::default(),
            expired: Counter::default(),
            received: Counter::default(),
            released: Counter::default(),
            limited: Family::default(),
            open: Gauge::default(),
            ending: Gauge::default(),
            running: Gauge::default(),
            cancel_stopped: latency(),
            cancel_removed: latency(),
        }
    }
}

impl Metrics {
    /// Counters that are part of `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("uploads_created", "Uploads made", metrics.created.clone());
        registry.register(
            "uploads_cancelled",
            "Uploads cancelled",
            metrics.cancelled.clone(),
        );
        registry.register(
            "uploads_expired",
            "Uploads expired",
            metrics.expired.clone(),
        );
        let bytes = [
            (
                "upload_received",
                "Content received by appends",
                metrics.received.clone(),
            ),
            (
                "upload_released",
                "Stored bytes removed",
                metrics.released.clone(),
            ),
        ];
        for (name, help, counter) in bytes {
            registry.register_with_unit(name, help, Unit::Bytes, counter);
        }
        registry.register(
            "uploads_limited",
            "Requests refused by a limit on uploads",
            metrics.limited.clone(),
        );
        for limit in LIMITS {
            drop(metrics.limited.get_or_create(&Limited { limit }));
        }
        let gauges = [
            (
                "uploads_open",
                "Uploads that are not finished",
                &metrics.open,
            ),
            (
                "uploads_ending",
                "Ended uploads whose bytes are not removed yet",
                &metrics.ending,
            ),
            ("appends_running", "Appends under way", &metrics.running),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        let latencies = [
            (
                "upload_cancel_stopped",
                "Time from a cancel call until its upload's stream has stopped",
                &metrics.cancel_stopped,
            ),
            (
                "upload_cancel_removed",
                "Time from a cancel call until its upload's bytes are gone, and that is told",
                &metrics.cancel_removed,
            ),
        ];
        for (name, help, histogram) in latencies {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        metrics
    }

    /// Uploads as counted just now, and the appends that are under way.
    pub(super) fn counted(&self, census: Census, running: usize) {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.open.set(gauge(census.open));
        self.ending.set(gauge(census.ending));
        self.running.set(gauge(running as u64));
    }

    /// The stream of a cancelled upload has stopped, so long after the call.
    pub(super) fn stopped(&self, after: Duration) {
        self.cancel_stopped.observe(after.as_secs_f64());
    }

    /// The bytes of a cancelled upload are gone, so long after the call.
    pub(super) fn removed(&self, after: Duration) {
        self.cancel_removed.observe(after.as_secs_f64());
    }

    pub(super) fn created(&self) {
        self.created.inc();
    }

    pub(super) fn cancelled(&self) {
        self.cancelled.inc();
    }

    /// Somebody is told this. Counts, if it is because of a limit.
    pub(super) fn refused(&self, problem: &Problem) {
        let limit = match problem {
            Problem::TooLarge { .. } => SIZE,
            Problem::HeaderTooLarge => METADATA,
            Problem::QuotaExceeded { .. } => QUOTA,
            Problem::TooManyUploads { .. } => OPEN,
            Problem::TooManyStreams { .. } => STREAMS,
            Problem::TooManyRequests { .. } => CREATIONS,
            _ => return,
        };
        self.limited.get_or_create(&Limited { limit }).inc();
    }

    pub(super) fn expired(&self) {
        self.expired.inc();
    }

    pub(super) fn received(&self, bytes: u64) {
        self.received.inc_by(bytes);
    }

    pub(super) fn released(&self, bytes: u64) {
        self.released.inc_by(bytes);
    }
}
