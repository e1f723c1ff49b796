//! Interim responses: what a sender is told while its content still comes in (IETF draft, 104).

use std::time::Duration;

use http::StatusCode;
use tidegate_protocol::dialect::{Dialect, Settings};
use tidegate_protocol::response::Interim;
use tokio::time::Instant;

use super::Uploads;
use crate::http as transport;

/// The status and its reason (draft, "104 (Upload Resumption Supported)").
const UPLOAD_RESUMPTION_SUPPORTED: (u16, &str) = (104, "Upload Resumption Supported");

/// How far the first offset is from the beginning. Each next one comes after four times as long, but
/// at most a minute: there are clients that take no more than five interim responses.
const FIRST_AFTER: Duration = Duration::from_secs(1);
const GROWTH: u32 = 4;
const GAP_MAX: Duration = Duration::from_secs(60);

/// What one request is told before its answer.
pub(super) struct Interims {
    sink: transport::Interim,
    dialect: Dialect,
    settings: Settings,
    /// How many may still be sent.
    left: u32,
    next: Instant,
    gap: Duration,
}

impl Interims {
    /// `None` if the request must not be sent any.
    pub(super) fn of(
        uploads: &Uploads,
        dialect: Dialect,
        sink: transport::Interim,
    ) -> Option<Box<Self>> {
        let settings = uploads.config.settings;
        // Whoever takes none of an address takes none at all.
        let any = Interim::Created {
            location: "",
            expires_in: None,
        };
        dialect.interim(&any, &settings)?;
        Some(Box::new(Self {
            sink,
            dialect,
            settings,
            left: uploads.config.interims_max,
            next: Instant::now() + FIRST_AFTER,
            gap: FIRST_AFTER,
        }))
    }

    /// The upload exists. Returns whether its sender is told; `expires_in` is in seconds.
    pub(super) fn created(&mut self, location: &str, expires_in: Option<u64>) -> bool {
        self.send(&Interim::Created {
            location,
            expires_in,
        })
    }

    /// Everything before `offset` is committed.
    pub(super) fn committed(&mut self, offset: u64) {
        if Instant::now() >= self.next && self.send(&Interim::Progress { offset }) {
            self.gap = (self.gap * GROWTH).min(GAP_MAX);
            self.next += self.gap;
        }
    }

    fn send(&mut self, interim: &Interim<'_>) -> bool {
        let (status, reason) = UPLOAD_RESUMPTION_SUPPORTED;
        let fields = self.dialect.interim(interim, &self.settings);
        let (Some(fields), Ok(status)) = (fields, StatusCode::from_u16(status)) else {
            return false;
        };
        let is_sent = self.left > 0 && self.sink.send(status, reason, &fields);
        self.left -= u32::from(is_sent);
        is_sent
    }
}
