//! Which bytes a download gets.

use http::header::{IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue};
use tidegate_protocol::field::precondition::{Validators, range_applies};
use tidegate_protocol::field::range::{self, RANGES_MAX, Selection};

use crate::{split_line, split_number};

const VALIDATORS: Validators<'_> = Validators {
    etag: "\"tag\"",
    modified: Some(784_111_777),
};

/// Takes the first line as the content's length, and the others as `Range` and `If-Range`.
///
/// # Panics
///
/// When a promise is broken.
pub fn range(data: &[u8]) {
    let (length, rest) = split_line(data);
    let (length, _) = split_number(length);
    let (value, if_range) = split_line(rest);
    let selection = range::select(value, length);
    check(&selection, length);
    let mut headers = HeaderMap::new();
    assert_eq!(requested(&headers, length), Selection::Whole);
    let Ok(value) = HeaderValue::from_bytes(value) else {
        return;
    };
    headers.insert(RANGE, value);
    assert_eq!(requested(&headers, length), selection);
    if let Ok(value) = HeaderValue::from_bytes(if_range) {
        headers.insert(IF_RANGE, value);
        let expected = match range_applies(&headers, &VALIDATORS) {
            true => selection,
            false => Selection::Whole,
        };
        assert_eq!(requested(&headers, length), expected);
    }
}

fn requested(headers: &HeaderMap, length: u64) -> Selection {
    range::requested(headers, &VALIDATORS, length)
}

fn check(selection: &Selection, length: u64) {
    match selection {
        Selection::Whole => {}
        Selection::Unsatisfiable => {
            let told = range::unsatisfied(length);
            assert_eq!(told, format!("bytes */{length}"));
        }
        Selection::Parts(parts) => {
            assert!((1..=RANGES_MAX).contains(&parts.len()));
            for (at, part) in parts.iter().enumerate() {
                assert!(part.start < part.end && part.end <= length);
                let earlier = &parts[..at];
                assert!(
                    earlier
                        .iter()
                        .all(|other| other.end < part.start || part.end < other.start),
                    "{parts:?} overlap or touch"
                );
                let told = range::satisfied(part, length);
                let expected = format!("bytes {}-{}/{length}", part.start, part.end - 1);
                assert_eq!(told, expected);
                // What is told can be asked for.
                let asked = format!("bytes={}-{}", part.start, part.end - 1);
                let selected = range::select(asked.as_bytes(), length);
                assert_eq!(selected, Selection::Parts(vec![part.clone()]));
            }
        }
    }
}
