//! Header fields: a table per row of the specification, then properties over arbitrary input.

mod checksum;
mod coding;
mod concat;
mod date;
mod display;
mod disposition;
mod id;
mod length;
mod media;
mod metadata;
mod offset;
mod precondition;
mod range;
mod structured;

use http::{HeaderMap, HeaderName, HeaderValue};

/// A header section with these field lines.
fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a legal field value");
            (HeaderName::from_static(name), value)
        })
        .collect()
}
