//! RFC 9110, section 13.

use proptest::prelude::*;

use super::headers;
use crate::field::precondition::{Comparison, Validators, Verdict, evaluate, lists, range_applies};

const CONTENT: Validators<'static> = Validators {
    etag: "\"abc\"",
    modified: Some(784_111_777),
};
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

#[test]
fn single_conditions() {
    let cases = [
        ("if-match", "*", Verdict::Proceed),
        ("if-match", "\"abc\"", Verdict::Proceed),
        ("if-match", "\"x\", \"abc\"", Verdict::Proceed),
        ("if-match", "\"x\"", Verdict::Failed),
        ("if-match", "W/\"abc\"", Verdict::Failed),
        ("if-match", "", Verdict::Failed),
        ("if-none-match", "*", Verdict::NotModified),
        ("if-none-match", "\"abc\"", Verdict::NotModified),
        ("if-none-match", "W/\"abc\"", Verdict::NotModified),
        ("if-none-match", "\"x\"", Verdict::Proceed),
        ("if-none-match", "abc", Verdict::Proceed),
        ("if-unmodified-since", SAME, Verdict::Proceed),
        ("if-unmodified-since", BEFORE, Verdict::Failed),
        ("if-unmodified-since", "yesterday", Verdict::Proceed),
        ("if-modified-since", SAME, Verdict::NotModified),
        ("if-modified-since", BEFORE, Verdict::Proceed),
        ("if-modified-since", "tomorrow", Verdict::Proceed),
    ];
    for (name, value, expected) in cases {
        assert_eq!(
            evaluate(&headers(&[(name, value)]), &CONTENT),
            expected,
            "{name}: {value}"
        );
    }
    assert_eq!(evaluate(&headers(&[]), &CONTENT), Verdict::Proceed);
}

#[test]
fn entity_tags_win_over_dates_and_match_over_none_match() {
    let cases = [
        (
            [("if-match", "\"abc\""), ("if-unmodified-since", BEFORE)],
            Verdict::Proceed,
        ),
        (
            [("if-none-match", "\"x\""), ("if-modified-since", SAME)],
            Verdict::Proceed,
        ),
        (
            [("if-none-match", "\"abc\""), ("if-match", "\"x\"")],
            Verdict::Failed,
        ),
        (
            [("if-none-match", "\"abc\""), ("if-match", "\"abc\"")],
            Verdict::NotModified,
        ),
        (
            [("if-none-match", "\"x\""), ("if-none-match", "\"abc\"")],
            Verdict::NotModified,
        ),
    ];
    for (lines, expected) in cases {
        assert_eq!(evaluate(&headers(&lines), &CONTENT), expected, "{lines:?}");
    }
}

#[test]
fn dates_do_not_count_where_none_is_told() {
    let undated = Validators {
        modified: None,
        ..CONTENT
    };
    for name in ["if-unmodified-since", "if-modified-since"] {
        for date in [BEFORE, SAME] {
            let headers = headers(&[(name, date)]);
            assert_eq!(evaluate(&headers, &undated), Verdict::Proceed, "{name}");
        }
    }
    for line in ["", "yesterday", SAME] {
        assert!(!range_applies(&headers(&[("if-range", line)]), &undated));
    }
    assert!(range_applies(
        &headers(&[("if-range", "\"abc\"")]),
        &undated
    ));
}

#[test]
fn lists_of_entity_tags() {
    let named = [
        "\"a,b\"",
        "\"x\",\"a,b\"",
        " , \"x\"\t,, W/\"y\" ,\"a,b\"",
        "W/\"a,b\", \"a,b\"",
        "*",
        " * ",
    ];
    for list in named {
        assert!(
            lists(list.as_bytes(), "\"a,b\"", Comparison::Strong),
            "{list}"
        );
    }
    let not = [
        "",
        "a,b",
        "\"a,b",
        "\"x\" x \"a,b\"",
        "w/\"a,b\"",
        "W/\"a,b\"",
        "\"\"",
        "*, \"x\"",
    ];
    for list in not {
        assert!(
            !lists(list.as_bytes(), "\"a,b\"", Comparison::Strong),
            "{list}"
        );
    }
    assert!(lists(b"W/\"a,b\"", "\"a,b\"", Comparison::Weak));
}

proptest! {
    #[test]
    fn a_tag_is_found_anywhere(
        tags in prop::collection::vec("[!#-~]{0,8}", 1..10),
        at: prop::sample::Index,
    ) {
        let tags: Vec<_> = tags.iter().map(|tag| format!("\"{tag}\"")).collect();
        let tag = at.get(&tags[..]);
        prop_assert!(lists(tags.join(", ").as_bytes(), tag, Comparison::Strong));
    }

    #[test]
    fn nothing_panics_or_hangs(bytes: Vec<u8>, text in "[W/\", *a]{0,24}") {
        for list in [&bytes[..], text.as_bytes()] {
            let _ = lists(list, "\"a\"", Comparison::Weak);
        }
    }
}
