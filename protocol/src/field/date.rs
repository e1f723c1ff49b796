//! Dates in fields: `Upload-Expires`, `Last-Modified`, `If-Range`, `Retry-After` (RFC 9110, section
//! 5.6.7; row H11).
//!
//! Here and at every caller a time is a number of seconds since the Unix epoch.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, header};

/// The last second of the year 9999, past which the format ends.
pub const MAX: u64 = 253_402_300_799;

/// The date as an IMF-fixdate, always GMT. Later ones than [`MAX`] are shown as that.
#[must_use]
pub fn value(seconds: u64) -> HeaderValue {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(MAX));
    let text = httpdate::fmt_http_date(time);
    // An IMF-fixdate is ASCII. The epoch stands in for the error that cannot come.
    HeaderValue::try_from(text)
        .unwrap_or_else(|_| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

/// Parses any of the three formats of an HTTP date; `None` for anything else, and before 1970.
#[must_use]
pub fn parse(value: &[u8]) -> Option<u64> {
    let text = str::from_utf8(value).ok()?;
    let time = httpdate::parse_http_date(text).ok()?;
    time.duration_since(SystemTime::UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs())
}

/// `Retry-After` (RFC 9110, section 10.2.3): how long to wait, from seconds or from a date. `now` is in
/// seconds since the Unix epoch. `None`: the field is absent or means nothing.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: u64) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = parse(text.as_bytes())?;
    Some(Duration::from_secs(until.saturating_sub(now)))
}
