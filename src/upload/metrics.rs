//! What the module counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Registry, Unit};

/// Counters of the module. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    created: Counter,
    cancelled: Counter,
    expired: Counter,
    received: Counter,
    released: Counter,
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
        metrics
    }

    pub(super) fn created(&self) {
        self.created.inc();
    }

    pub(super) fn cancelled(&self) {
        self.cancelled.inc();
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
