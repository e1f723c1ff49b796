//! What the module counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of the module. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    attempts: Family<Attempted, Counter>,
    given_up: Family<Webhook, Counter>,
    waiting: Family<Webhook, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Webhook {
    webhook: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempted {
    webhook: String,
    outcome: &'static str,
}

const DELIVERED: &str = "delivered";
const FAILED: &str = "failed";

impl Metrics {
    /// Counters that are part of `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "webhook_attempts",
            "Attempts to deliver an event",
            metrics.attempts.clone(),
        );
        registry.register(
            "webhook_given_up",
            "Events that were never delivered",
            metrics.given_up.clone(),
        );
        registry.register(
            "webhook_waiting",
            "Events that wait for another attempt",
            metrics.waiting.clone(),
        );
        metrics
    }

    /// Lets what has not happened yet be seen as zero.
    pub(super) fn begin(&self, webhook: &str) {
        for outcome in [DELIVERED, FAILED] {
            drop(self.attempts.get_or_create(&attempted(webhook, outcome)));
        }
        drop(self.given_up.get_or_create(&labelled(webhook)));
        drop(self.waiting.get_or_create(&labelled(webhook)));
    }

    pub(super) fn attempted(&self, webhook: &str, is_delivered: bool) {
        let outcome = if is_delivered { DELIVERED } else { FAILED };
        let attempted = attempted(webhook, outcome);
        self.attempts.get_or_create(&attempted).inc();
    }

    pub(super) fn given_up(&self, webhook: &str) {
        self.given_up.get_or_create(&labelled(webhook)).inc();
    }

    pub(super) fn waiting(&self, webhook: &str, count: u64) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.waiting.get_or_create(&labelled(webhook)).set(count);
    }
}

fn attempted(webhook: &str, outcome: &'static str) -> Attempted {
    Attempted {
        webhook: webhook.to_owned(),
        outcome,
    }
}

fn labelled(webhook: &str) -> Webhook {
    Webhook {
        webhook: webhook.to_owned(),
    }
}
