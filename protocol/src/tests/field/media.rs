//! Row H14 and RFC 9110, section 8.3.

use proptest::prelude::*;

use super::headers;
use crate::field::media::{MediaType, OCTET_STREAM, content_type, is};

const APPEND: &str = "application/offset+octet-stream";

#[test]
fn h14_case_and_parameters_are_ignored() {
    let same = [
        "application/offset+octet-stream",
        "Application/Offset+Octet-Stream",
        "application/offset+octet-stream; charset=utf-8",
        "application/offset+octet-stream ;x",
    ];
    for value in same {
        assert!(is(&headers(&[("content-type", value)]), APPEND), "{value}");
    }
    let other = [
        "",
        "application/octet-stream",
        "application/offset+octet-stream+x",
        "x; application/offset+octet-stream",
    ];
    for value in other {
        assert!(!is(&headers(&[("content-type", value)]), APPEND), "{value}");
    }
    assert!(!is(&headers(&[]), APPEND));
    assert!(!is(
        &headers(&[("content-type", APPEND), ("content-type", APPEND)]),
        APPEND
    ));
}

#[test]
fn media_types_are_passed_on() {
    let legal = [
        "text/plain",
        "image/svg+xml",
        "text/plain;charset=utf-8",
        "text/plain ; charset=\"utf-8\" ; x=y",
        "video/mp4; codecs=\"avc1.640028, mp4a.40.2\"",
        "a/b;c=\"\\\"\"",
    ];
    for text in legal {
        assert_eq!(content_type(Some(text)), text);
    }
    assert_eq!(content_type(Some(" text/plain ")), "text/plain");
}

#[test]
fn anything_else_is_octets() {
    let long = format!("a/{}", "b".repeat(254));
    let refused = [
        "",
        "/",
        "text",
        "text/",
        "/plain",
        "text/plain/x",
        "te xt/plain",
        "text/plain;",
        "text/plain;;a=b",
        "text/plain; charset",
        "text/plain; charset=",
        "text/plain; =x",
        "text/plain; a =b",
        "a/b;c=d e",
        "a/b;c=\"",
        "a/b;c=\"x",
        "a/b;c=\"\\",
        "a/b;c=\"x\"y",
        "a/b, c/d",
        "a/b\r\nx: y",
        "a/b;c=\"\r\n\"",
        "a/b;c=\"ü\"",
        "tëxt/plain",
        "null",
        long.as_str(),
    ];
    for text in refused {
        assert_eq!(content_type(Some(text)), OCTET_STREAM, "{text:?}");
    }
    assert_eq!(content_type(None), OCTET_STREAM);
}

#[test]
fn parameters_are_split() {
    let media = MediaType::parse("video/mp4; Codecs=\"a;b=\\\"c\" ;x=1").expect("valid");
    assert_eq!(media.essence(), "video/mp4");
    assert_eq!(
        media.parameters(),
        [("Codecs", "\"a;b=\\\"c\""), ("x", "1")]
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        kind in "[a-z0-9.+-]{1,10}",
        sub in "[a-z0-9.+-]{1,10}",
        value in "[ !#-\\[\\]-~]{0,20}",
    ) {
        let essence = format!("{kind}/{sub}");
        let text = format!("{essence}; x=\"{value}\"");
        let media = MediaType::parse(&text);
        prop_assert_eq!(media.as_ref().map(MediaType::essence), Some(essence.as_str()));
        prop_assert_eq!(content_type(Some(&text)), text.as_str());
    }

    #[test]
    fn nothing_panics_and_the_answer_is_printable(
        text: String,
        near in "[ab/;=\"\\\\\t \r\nü]{0,24}",
    ) {
        for text in [text, near] {
            prop_assert!(content_type(Some(&text)).to_str().is_ok());
        }
    }
}
