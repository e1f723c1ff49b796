//! Conditional requests for finished content (RFC 9110, section 13).

use http::header::{
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE,
};
use http::{HeaderMap, HeaderValue};

use super::date;

/// What identifies the content. It never changes, so both are strong validators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validators<'a> {
    /// The strong entity tag, with its quotes, as answered in `ETag`.
    pub etag: &'a str,
    /// When the content became complete, in seconds since the Unix epoch, as in `Last-Modified`; `None`
    /// where that is not told, and dates do not count (RFC 9110, sections 13.1.3 and 13.1.4).
    pub modified: Option<u64>,
}

/// What the conditions of a GET or HEAD amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Answer as if there were no conditions.
    Proceed,
    /// 304: the client has this content.
    NotModified,
    /// 412: the client wants other content than there is.
    Failed,
}

/// Evaluates the conditions of a GET or HEAD in the order of RFC 9110, section 13.2.2. `If-Range`
/// is left to [`range_applies`].
#[must_use]
pub fn evaluate(headers: &HeaderMap, validators: &Validators<'_>) -> Verdict {
    if headers.contains_key(IF_MATCH) {
        if !names(headers, &IF_MATCH, validators.etag, Comparison::Strong) {
            return Verdict::Failed;
        }
    } else if let (Some(modified), Some(date)) =
        (validators.modified, date_of(headers, &IF_UNMODIFIED_SINCE))
        && modified > date
    {
        return Verdict::Failed;
    }
    if headers.contains_key(IF_NONE_MATCH) {
        if names(headers, &IF_NONE_MATCH, validators.etag, Comparison::Weak) {
            return Verdict::NotModified;
        }
    } else if let (Some(modified), Some(date)) =
        (validators.modified, date_of(headers, &IF_MODIFIED_SINCE))
        && modified <= date
    {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Whether `If-Range` lets `Range` count (RFC 9110, section 13.1.5): when it is absent, or is
/// exactly the entity tag, or exactly the date.
#[must_use]
pub fn range_applies(headers: &HeaderMap, validators: &Validators<'_>) -> bool {
    let mut lines = headers.get_all(IF_RANGE).iter();
    match (lines.next(), lines.next()) {
        (None, _) => true,
        (Some(value), None) => {
            let date = date::parse(value.as_bytes());
            value == validators.etag || (date.is_some() && date == validators.modified)
        }
        (Some(_), Some(_)) => false,
    }
}

/// How entity tags are compared (RFC 9110, section 8.8.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// A weak tag equals nothing.
    Strong,
    /// Weakness is ignored.
    Weak,
}

/// Whether a list of entity tags names the strong tag `etag`, or is `*`. What follows a malformed
/// element is not looked at.
#[must_use]
pub fn lists(list: &[u8], etag: &str, comparison: Comparison) -> bool {
    if list.trim_ascii() == b"*" {
        return true;
    }
    let mut rest = list;
    loop {
        while let [b' ' | b'\t' | b',', tail @ ..] = rest {
            rest = tail;
        }
        let (is_weak, tag) = match rest {
            [b'W', b'/', tag @ ..] => (true, tag),
            tag => (false, tag),
        };
        let Some(bytes) = tag_bytes(tag) else {
            return false;
        };
        let (tag, tail) = tag.split_at(bytes);
        if tag == etag.as_bytes() && (comparison == Comparison::Weak || !is_weak) {
            return true;
        }
        rest = tail;
    }
}

/// How long the opaque tag is that the bytes start with, quotes included.
fn tag_bytes(bytes: &[u8]) -> Option<usize> {
    let inner = bytes.strip_prefix(b"\"")?;
    let end = inner
        .iter()
        .position(|byte| !matches!(byte, 0x21 | 0x23..=0x7e | 0x80..))?;
    (inner.get(end) == Some(&b'"')).then_some(end + 2)
}

fn names(headers: &HeaderMap, name: &HeaderName, etag: &str, comparison: Comparison) -> bool {
    headers
        .get_all(name)
        .iter()
        .any(|line| lists(line.as_bytes(), etag, comparison))
}

/// A condition whose date does not parse is ignored (RFC 9110, sections 13.1.3 and 13.1.4).
fn date_of(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers
        .get(name)
        .map(HeaderValue::as_bytes)
        .and_then(date::parse)
}
