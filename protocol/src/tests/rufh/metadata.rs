//! Rows R24, R27 and R84: what is kept of a creation's header section.

use super::{LAST, Lines, PARTIAL, created, post};
use crate::field::metadata::Metadata;
use crate::problem::Problem;

/// `filename` is "b.txt" and `filetype` is "text/plain".
const FALLBACK: (&str, &str) = (
    "upload-metadata",
    "filename Yi50eHQ=,filetype dGV4dC9wbGFpbg==",
);

fn kept(lines: Lines<'_>) -> Metadata {
    created(post(&[&[LAST], lines].concat(), Some(5))).metadata
}

#[track_caller]
fn assert_kept(lines: Lines<'_>, key: &str, value: Option<&str>) {
    let kept = kept(lines).value(key);
    assert_eq!(kept.as_deref(), value.map(str::as_bytes), "{lines:?}");
}

#[test]
fn r24_what_the_header_section_says_of_the_content_is_kept() {
    let metadata = kept(&[
        ("content-type", "image/tiff"),
        ("content-disposition", "attachment; filename=\"a b.tif\""),
        ("content-encoding", "gzip"),
        ("content-language", "de, en"),
    ]);
    let pairs: Vec<_> = metadata.pairs().collect();
    let expected = [
        ("filename", "a b.tif"),
        ("filetype", "image/tiff"),
        ("content-encoding", "gzip"),
        ("content-language", "de, en"),
    ];
    let expected = expected.map(|(key, value)| (key, value.as_bytes().to_vec()));
    assert_eq!(pairs, expected);
    // It is what would have been a legal field.
    let again = Metadata::parse(metadata.raw().as_bytes(), 256);
    assert_eq!(again, Ok(metadata));
}

#[test]
fn r24_nothing_said_is_nothing_kept() {
    let silent: [Lines<'_>; 5] = [
        &[],
        &[PARTIAL],
        &[("content-type", ""), ("content-language", "")],
        &[("content-disposition", "inline")],
        &[("content-disposition", "inline; filename=\"..\"")],
    ];
    for lines in silent {
        assert_eq!(kept(lines).raw(), "", "{lines:?}");
    }
}

#[test]
fn r24_lists_in_several_lines_are_kept_as_one() {
    let twice = [("content-encoding", "gzip"), ("content-encoding", "br")];
    assert_kept(&twice, "content-encoding", Some("gzip, br"));
    let twice = [("content-language", "de"), ("content-language", "en")];
    assert_kept(&twice, "content-language", Some("de, en"));
}

#[test]
fn f10_the_extended_name_wins() {
    let table = [
        ("inline; filename=a.txt", Some("a.txt")),
        ("inline; filename*=UTF-8''%C3%A4.txt", Some("ä.txt")),
        ("x; filename=a; filename*=utf-8'de'%C3%A4", Some("ä")),
        ("x; filename*=UTF-8''%C3%A4; filename=a", Some("ä")),
        // One that is not valid is none.
        ("x; filename=a; filename*=UTF-8''%ff", Some("a")),
        ("x; filename=\"/etc/passwd\"", Some("passwd")),
        ("x; filename*=UTF-8''..%2F..%2Fb", Some("b")),
        ("x; filename*=UTF-8''%0d%0ax", Some("x")),
    ];
    for (text, name) in table {
        assert_kept(&[("content-disposition", text)], "filename", name);
    }
}

#[test]
fn r27_the_metadata_of_tus_tells_what_nothing_else_does() {
    let metadata = kept(&[FALLBACK]);
    assert_eq!(metadata.raw(), FALLBACK.1, "byte for byte");
    // That of an append is not that of the content.
    assert_eq!(kept(&[FALLBACK, PARTIAL]).raw(), FALLBACK.1);
    let other = [FALLBACK, ("content-language", "de")];
    assert_kept(&other, "content-language", Some("de"));
    assert_kept(&other, "filename", Some("b.txt"));
}

#[test]
fn r27_it_is_a_fallback_only() {
    let lines = [
        FALLBACK,
        ("content-type", "image/tiff"),
        ("content-disposition", "inline; filename=a.tif"),
    ];
    assert_kept(&lines, "filename", Some("a.tif"));
    assert_kept(&lines, "filetype", Some("image/tiff"));
    let keys = kept(&lines);
    assert_eq!(keys.pairs().count(), 2, "each key is there once");
    assert_kept(&[FALLBACK, lines[1]], "filename", Some("b.txt"));
    assert_kept(&[FALLBACK, lines[2]], "filetype", Some("text/plain"));
}

#[test]
fn r27_metadata_that_is_malformed_creates_nothing() {
    for text in ["a Zg==,a Zg==", "a !", ","] {
        let lines = [LAST, ("upload-metadata", text)];
        super::assert_invalid(post(&lines, Some(5)), "upload-metadata");
    }
    // tuspy always sends an empty one.
    assert_eq!(kept(&[("upload-metadata", "")]).raw(), "");
}

#[test]
fn r24_what_is_kept_has_a_bound() {
    let long = "a".repeat(257);
    let refused = Err(Problem::HeaderTooLarge);
    // 8 bytes of key and blank, and four for each three of the value.
    let most = "a".repeat((256 - 9) / 4 * 3);
    let one_more = format!("{most}a");
    for (name, text) in [
        ("upload-metadata", &*long),
        ("content-type", &*one_more),
        ("content-language", &*most),
    ] {
        assert_eq!(post(&[LAST, (name, text)], Some(5)), refused, "{name}");
    }
    assert_kept(&[("content-type", &most)], "filetype", Some(&most));
    // All of it together.
    let half = "a".repeat(130);
    let lines = [LAST, ("content-type", &half), ("upload-metadata", &half)];
    assert_eq!(post(&lines, Some(5)), refused);
}

#[test]
fn r84_what_is_no_text_is_not_kept() {
    let lines = [("content-language", "d\u{e9}"), ("content-type", "a/b")];
    assert_kept(&lines, "content-language", None);
    assert_kept(&lines, "filetype", Some("a/b"));
}
