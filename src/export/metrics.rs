//! What the module counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::job::{Job, State};

/// Between a cancel and the end of the last byte, in seconds.
const CANCEL_SECONDS: [f64; 10] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// Counters of the module. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    exports: Family<Ended, Counter>,
    bytes: Counter,
    cancel_seconds: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    state: &'static str,
}

impl Metrics {
    /// Counters that nobody reads.
    pub fn unread() -> Self {
        Self {
            exports: Family::default(),
            bytes: Counter::default(),
            cancel_seconds: Histogram::new(CANCEL_SECONDS),
        }
    }

    /// Counters that are part of `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::unread();
        for state in [State::Completed, State::Failed, State::Cancelled] {
            // What has not happened yet is seen as zero.
            drop(metrics.exports.get_or_create(&ended(state)));
        }
        registry.register(
            "exports",
            "Exports that have ended, by how",
            metrics.exports.clone(),
        );
        registry.register_with_unit(
            "export_archives",
            "Archives that have become whole",
            Unit::Bytes,
            metrics.bytes.clone(),
        );
        registry.register_with_unit(
            "export_cancel",
            "From a cancel until nothing of the archive is left",
            Unit::Seconds,
            metrics.cancel_seconds.clone(),
        );
        metrics
    }

    /// An export has come to its end, or waits again.
    pub(super) fn ended(&self, job: &Job) {
        if job.state != State::Queued {
            self.exports.get_or_create(&ended(job.state)).inc();
        }
        if job.state == State::Completed {
            self.bytes.inc_by(job.bytes.unwrap_or(0));
        }
    }

    pub(super) fn removed(&self, since_the_call: Duration) {
        self.cancel_seconds.observe(since_the_call.as_secs_f64());
    }
}

fn ended(state: State) -> Ended {
    Ended {
        state: state.as_str(),
    }
}
