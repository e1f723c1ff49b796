//! `Range` and `Content-Range` (RFC 9110, section 14): which bytes a download gets.
//!
//! A server may ignore or refuse a `Range` that it does not like. This one ignores other units and
//! requests for very many ranges, as the whole content is always right, and refuses what is
//! malformed, as its sender would otherwise take the whole for a part.

use std::ops::Range;

use http::{HeaderMap, HeaderValue};

use super::precondition::{self, Validators};
use super::{elements, sole};

/// The most ranges served in one answer; a request for more gets the whole content.
pub const RANGES_MAX: usize = 16;

/// What of the content to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it, as if there were no `Range`: 200.
    Whole,
    /// These parts, in the order asked for: 206. At least one; none is empty, past the end, or
    /// overlapping or touching another.
    Parts(Vec<Range<u64>>),
    /// Nothing of what was asked for exists, or it is malformed: 416 with [`unsatisfied`].
    Unsatisfiable,
}

/// What a GET gets of content that is `length` bytes long, after `If-Range` had its say.
#[must_use]
pub fn requested(headers: &HeaderMap, validators: &Validators<'_>, length: u64) -> Selection {
    match sole(headers, "range") {
        Ok(Some(value)) if precondition::range_applies(headers, validators) => {
            select(value.as_bytes(), length)
        }
        Ok(_) => Selection::Whole,
        Err(_) => Selection::Unsatisfiable,
    }
}

/// Resolves the value of `Range` against content that is `length` bytes long.
#[must_use]
pub fn select(value: &[u8], length: u64) -> Selection {
    let Some(specs) = parse(value) else {
        return Selection::Whole;
    };
    if length == 0 && specs.iter().any(|spec| matches!(spec, Spec::Suffix(1..))) {
        // Satisfiable, yet no Content-Range can express an empty part.
        return Selection::Whole;
    }
    let mut parts = Vec::with_capacity(specs.len());
    for part in specs.into_iter().filter_map(|spec| spec.within(length)) {
        merge(&mut parts, part);
    }
    if parts.is_empty() {
        Selection::Unsatisfiable
    } else {
        Selection::Parts(parts)
    }
}

/// The `Content-Range` of a part, which must not be empty.
#[must_use]
pub fn satisfied(part: &Range<u64>, length: u64) -> HeaderValue {
    value(&format!(
        "bytes {}-{}/{length}",
        part.start,
        part.end.saturating_sub(1)
    ))
}

/// The `Content-Range` of a 416 answer.
#[must_use]
pub fn unsatisfied(length: u64) -> HeaderValue {
    value(&format!("bytes */{length}"))
}

/// The text is ASCII; the empty value stands in for the error that cannot come.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// One range as asked for. Positions past the largest number are that number.
#[derive(Clone, Copy)]
enum Spec {
    /// From the first position to the last, including both; or to the end.
    From(u64, Option<u64>),
    /// That many bytes at the end.
    Suffix(u64),
}

impl Spec {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once('-')? {
            ("", suffix) => position(suffix).map(Self::Suffix),
            (first, "") => position(first).map(|first| Self::From(first, None)),
            (first, last) => {
                let (first, last) = (position(first)?, position(last)?);
                (first <= last).then_some(Self::From(first, Some(last)))
            }
        }
    }

    /// The bytes of it that exist.
    fn within(self, length: u64) -> Option<Range<u64>> {
        let part = match self {
            Self::From(first, None) => first..length,
            Self::From(first, Some(last)) => first..last.saturating_add(1).min(length),
            Self::Suffix(count) => length.saturating_sub(count)..length,
        };
        (part.start < part.end).then_some(part)
    }
}

/// Parses `bytes=` and a list; `None` for another unit and for too many ranges. A malformed list is
/// one without any range: nothing of what it asks for exists.
fn parse(value: &[u8]) -> Option<Vec<Spec>> {
    let bytes_unit = b"bytes=";
    let (unit, set) = value.split_at_checked(bytes_unit.len())?;
    if !unit.eq_ignore_ascii_case(bytes_unit) {
        return None;
    }
    let specs = elements(str::from_utf8(set).unwrap_or_default())
        .filter(|element| !element.is_empty())
        .take(RANGES_MAX + 1)
        .map(Spec::parse)
        .collect::<Option<Vec<_>>>();
    Some(specs.unwrap_or_default()).filter(|specs| specs.len() <= RANGES_MAX)
}

/// `1*DIGIT`, saturating: a position may lie anywhere past the end.
fn position(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// Adds a part, and unites it with all that it overlaps or touches at the place of the earliest of
/// them (RFC 9110, section 15.3.7.2).
fn merge(parts: &mut Vec<Range<u64>>, mut part: Range<u64>) {
    let mut place = parts.len();
    // A united part may reach others: parts are disjoint, so one that was passed over can be
    // touched only by one that is united later. Hence again, until nothing changes.
    while let Some(at) = parts
        .iter()
        .position(|p| p.start <= part.end && part.start <= p.end)
    {
        let met = parts.remove(at);
        part = met.start.min(part.start)..met.end.max(part.end);
        place = place.min(at);
    }
    parts.insert(place, part);
}
