//! RFC 9110, section 14.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::headers;
use crate::field::precondition::Validators;
use crate::field::range::{RANGES_MAX, Selection, requested, satisfied, select, unsatisfied};

const CONTENT: Validators<'static> = Validators {
    etag: "\"abc\"",
    modified: Some(784_111_777),
};

#[expect(clippy::single_range_in_vec_init, reason = "a list of one part")]
fn one(start: u64, end: u64) -> Selection {
    Selection::Parts(vec![start..end])
}

#[test]
fn single_ranges() {
    let cases = [
        ("bytes=0-0", one(0, 1)),
        ("bytes=0-99", one(0, 100)),
        ("bytes=0-", one(0, 100)),
        ("bytes=99-", one(99, 100)),
        ("bytes=10-19", one(10, 20)),
        ("bytes=90-1000", one(90, 100)),
        ("bytes=0-99999999999999999999999999", one(0, 100)),
        ("bytes=-1", one(99, 100)),
        ("bytes=-100", one(0, 100)),
        ("bytes=-99999999999999999999999999", one(0, 100)),
        ("BYTES=0-0", one(0, 1)),
        ("bytes=0-0,", one(0, 1)),
        ("bytes= \t,0-0", one(0, 1)),
        ("bytes=007-008", one(7, 9)),
    ];
    for (value, expected) in cases {
        assert_eq!(select(value.as_bytes(), 100), expected, "{value}");
    }
}

#[test]
#[expect(clippy::single_range_in_vec_init, reason = "a list of one part")]
fn several_ranges_keep_their_order_and_never_overlap() {
    let cases = [
        ("bytes=0-1,5-6", vec![0..2, 5..7]),
        ("bytes=5-6, 0-1", vec![5..7, 0..2]),
        ("bytes=0-1,1-2", vec![0..3]),
        ("bytes=0-1,2-3", vec![0..4]),
        ("bytes=0-0,-1", vec![0..1, 99..100]),
        ("bytes=0-1,500-600,5-6", vec![0..2, 5..7]),
        ("bytes=8-9,0-1,4-5,0-9", vec![0..10]),
        ("bytes=50-,8-9,0-1,2-7", vec![50..100, 0..10]),
        ("bytes=0-,0-,0-,0-", vec![0..100]),
    ];
    for (value, expected) in cases {
        assert_eq!(
            select(value.as_bytes(), 100),
            Selection::Parts(expected),
            "{value}"
        );
    }
}

#[test]
fn what_is_malformed_is_refused_and_another_unit_ignored() {
    let malformed = [
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-4",
        "bytes=0-1,5-4",
        "bytes=1 - 2",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=1-2-3",
        "bytes=0x1-2",
    ];
    for value in malformed {
        assert_eq!(
            select(value.as_bytes(), 100),
            Selection::Unsatisfiable,
            "{value:?}"
        );
    }
    assert_eq!(select(b"bytes=\xff-", 100), Selection::Unsatisfiable);
    for value in ["", "bytes", "items=0-1", "bytes:0-1", "bytes =0-1"] {
        assert_eq!(select(value.as_bytes(), 100), Selection::Whole, "{value:?}");
    }
}

#[test]
fn too_many_ranges_are_ignored() {
    let list = |count: u64| {
        let specs: Vec<_> = (0..count).map(|at| format!("{0}-{0}", at * 3)).collect();
        format!("bytes={}", specs.join(","))
    };
    let most = RANGES_MAX as u64;
    let Selection::Parts(parts) = select(list(most).as_bytes(), 1000) else {
        panic!("as many as allowed are served");
    };
    assert_eq!(parts.len(), RANGES_MAX);
    assert_eq!(select(list(most + 1).as_bytes(), 1000), Selection::Whole);
}

#[test]
fn what_does_not_exist_is_unsatisfiable() {
    for value in [
        "bytes=100-",
        "bytes=100-200,300-",
        "bytes=-0",
        "bytes=18446744073709551615-",
    ] {
        assert_eq!(
            select(value.as_bytes(), 100),
            Selection::Unsatisfiable,
            "{value}"
        );
    }
    assert_eq!(select(b"bytes=0-", 0), Selection::Unsatisfiable);
    assert_eq!(select(b"bytes=-0", 0), Selection::Unsatisfiable);
    assert_eq!(select(b"bytes=-5", 0), Selection::Whole);
    assert_eq!(unsatisfied(100), "bytes */100");
}

#[test]
fn content_range_names_the_last_byte() {
    assert_eq!(satisfied(&(0..1), 100), "bytes 0-0/100");
    assert_eq!(satisfied(&(10..100), 100), "bytes 10-99/100");
}

#[test]
fn if_range_decides_whether_range_counts() {
    let matching = ["\"abc\"", "Sun, 06 Nov 1994 08:49:37 GMT"];
    let others = [
        "\"abd\"",
        "W/\"abc\"",
        "abc",
        "",
        "*",
        "Sun, 06 Nov 1994 08:49:38 GMT",
        "Sun, 06 Nov 1994 08:49:36 GMT",
        "\"abc\", \"abc\"",
    ];
    for value in matching {
        let asked = headers(&[("range", "bytes=0-0"), ("if-range", value)]);
        assert_eq!(requested(&asked, &CONTENT, 100), one(0, 1), "{value}");
    }
    for value in others {
        let asked = headers(&[("range", "bytes=0-0"), ("if-range", value)]);
        assert_eq!(
            requested(&asked, &CONTENT, 100),
            Selection::Whole,
            "{value}"
        );
    }
    let twice = headers(&[
        ("range", "bytes=0-0"),
        ("if-range", "\"abc\""),
        ("if-range", "\"abc\""),
    ]);
    assert_eq!(requested(&twice, &CONTENT, 100), Selection::Whole);
}

#[test]
fn a_repeated_range_is_refused() {
    assert_eq!(requested(&headers(&[]), &CONTENT, 100), Selection::Whole);
    let once = headers(&[("range", "bytes=0-0")]);
    assert_eq!(requested(&once, &CONTENT, 100), one(0, 1));
    let twice = headers(&[("range", "bytes=0-0"), ("range", "bytes=0-0")]);
    assert_eq!(requested(&twice, &CONTENT, 100), Selection::Unsatisfiable);
}

proptest! {
    /// Against a set of positions: the parts hold exactly the bytes asked for, each once.
    #[test]
    fn parts_are_the_bytes_asked_for(
        specs in prop::collection::vec((0_u64..40, any::<Option<u8>>(), any::<bool>()), 1..10),
        length in 1_u64..40,
    ) {
        let mut wanted = BTreeSet::new();
        let mut texts = vec![];
        for (first, span, is_suffix) in specs {
            if is_suffix {
                texts.push(format!("-{first}"));
                wanted.extend(length.saturating_sub(first)..length);
            } else {
                let last = span.map(|span| first + u64::from(span % 40));
                let text = last.map(|last| last.to_string()).unwrap_or_default();
                texts.push(format!("{first}-{text}"));
                wanted.extend(first..length.min(last.map_or(length, |last| last + 1)));
            }
        }
        match select(format!("bytes={}", texts.join(",")).as_bytes(), length) {
            Selection::Whole => prop_assert!(false, "a sensible range is not ignored"),
            Selection::Unsatisfiable => prop_assert!(wanted.is_empty()),
            Selection::Parts(parts) => {
                let served: Vec<u64> = parts.iter().cloned().flatten().collect();
                prop_assert_eq!(served.len(), wanted.len());
                prop_assert_eq!(served.into_iter().collect::<BTreeSet<_>>(), wanted);
                let mut sorted = parts;
                sorted.sort_by_key(|part| part.start);
                prop_assert!(sorted.windows(2).all(|two| two[0].end < two[1].start));
            }
        }
    }

    #[test]
    fn nothing_panics(bytes: Vec<u8>, text in "bytes=[0-9,\\- ]{0,60}", length: u64) {
        for value in [&bytes[..], text.as_bytes()] {
            if let Selection::Parts(parts) = select(value, length) {
                prop_assert!(!parts.is_empty() && parts.len() <= RANGES_MAX);
                prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= length));
            }
        }
        let _ = (satisfied(&(0..length), length), unsatisfied(length));
    }
}
