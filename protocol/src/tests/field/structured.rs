//! RFC 9651 as far as the IETF draft uses it, and RFC 9530.

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::headers;
use crate::field::checksum::Algorithm;
use crate::field::name::{CONTENT_DIGEST, UPLOAD_COMPLETE, UPLOAD_OFFSET};
use crate::field::structured::{
    INTEGER_MAX, boolean, count, from_boolean, from_count, from_sha256, sha256,
};

/// SHA-256 of "hello".
const HEX: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const DIGEST: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";

fn booleans(lines: &[&str]) -> Option<bool> {
    let lines: Vec<_> = lines.iter().map(|line| (UPLOAD_COMPLETE, *line)).collect();
    boolean(&headers(&lines), UPLOAD_COMPLETE)
}

fn counts(lines: &[&str]) -> Option<u64> {
    let lines: Vec<_> = lines.iter().map(|line| (UPLOAD_OFFSET, *line)).collect();
    count(&headers(&lines), UPLOAD_OFFSET)
}

fn digests(lines: &[&str]) -> Option<Vec<u8>> {
    let lines: Vec<_> = lines.iter().map(|line| (CONTENT_DIGEST, *line)).collect();
    let checksum = sha256(&headers(&lines), CONTENT_DIGEST)?;
    assert_eq!(checksum.algorithm(), Algorithm::Sha256);
    Some(checksum.digest().to_vec())
}

#[test]
fn an_absent_field_is_absent() {
    assert_eq!(booleans(&[]), None);
    assert_eq!(counts(&[]), None);
    assert_eq!(digests(&[]), None);
    assert_eq!(
        count(&headers(&[(UPLOAD_COMPLETE, "5")]), UPLOAD_OFFSET),
        None
    );
}

#[test]
fn a_boolean_has_two_values() {
    assert_eq!(booleans(&["?1"]), Some(true));
    assert_eq!(booleans(&["?0"]), Some(false));
    for text in [
        "?2", "?", "1", "?true", "??1", "?1 ?1", "\"?1\"", "\t?1", "?1\t",
    ] {
        assert_eq!(booleans(&[text]), None, "{text:?}");
    }
}

#[test]
fn parameters_and_spaces_around_change_nothing() {
    for text in [
        "?1;a=b",
        "?1;a",
        "?1; a=1;b=\"x;y\"",
        " ?1",
        "?1 ",
        "  ?1;a=(  ",
    ] {
        let expected = (!text.contains('(')).then_some(true);
        assert_eq!(booleans(&[text]), expected, "{text:?}");
    }
    // Before the semicolon there is no place for a space.
    assert_eq!(booleans(&["?1 ;a=b"]), None);
    assert_eq!(counts(&["7;unit=byte"]), Some(7));
}

#[test]
fn two_lines_are_a_list_which_no_item_is() {
    assert_eq!(booleans(&["?1", "?1"]), None);
    assert_eq!(counts(&["5", "5"]), None);
    assert_eq!(counts(&["5", ""]), None);
    assert_eq!(counts(&["5, 5"]), None);
}

#[test]
fn an_integer_has_up_to_fifteen_digits() {
    assert_eq!(counts(&["999999999999999"]), Some(INTEGER_MAX));
    assert_eq!(counts(&["000000000000005"]), Some(5));
    for text in [
        "1000000000000000",
        "0000000000000005",
        "9223372036854775808",
    ] {
        assert_eq!(counts(&[text]), None, "{text}");
    }
}

#[test]
fn a_count_is_not_negative() {
    assert_eq!(counts(&["-0"]), Some(0));
    for text in ["-1", "-999999999999999", "--1", "-", "- 1"] {
        assert_eq!(counts(&[text]), None, "{text}");
    }
}

#[test]
fn other_types_are_not_counts() {
    for text in [
        "5.0", "5e3", "0x5", "@5", "?1", "\"5\"", "five", ":NQ==:", "(5)", "%\"5\"",
    ] {
        assert_eq!(counts(&[text]), None, "{text}");
    }
    assert_eq!(counts(&["05"]), Some(5));
    assert_eq!(counts(&["+5"]), None);
}

#[test]
fn bytes_that_are_no_text_are_no_field() {
    let value = HeaderValue::from_bytes(b"5\xff").expect("legal");
    let headers: HeaderMap =
        HeaderMap::from_iter([(http::HeaderName::from_static(UPLOAD_OFFSET), value)]);
    assert_eq!(count(&headers, UPLOAD_OFFSET), None);
}

#[test]
fn a_digest_is_found_among_others() {
    let found = digests(&[DIGEST]).expect("a digest");
    assert_eq!(found.len(), 32);
    for lines in [
        &["md5=:AAAA:", DIGEST][..],
        &[DIGEST, "x"],
        &["a=(1 2);b, sha-512=:AA==:, sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:;p"],
        // The last one of a key counts.
        &["sha-256=1", DIGEST],
    ] {
        assert_eq!(digests(lines).as_ref(), Some(&found), "{lines:?}");
    }
    assert_eq!(digests(&[DIGEST, "sha-256=1"]), None);
    // One that does not parse spoils them all.
    assert_eq!(digests(&[DIGEST, "1=:AAAA:"]), None);
}

#[test]
fn a_digest_of_another_shape_is_none() {
    let short = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmA==:";
    let long = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQA:";
    let hex = format!("sha-256={HEX}");
    for text in [
        short,
        long,
        &hex,
        "sha-256",
        "sha-256=::",
        "sha-256=:!:",
        "sha-256=(:AAAA: :AAAA:)",
        "sha-256=\"AAAA\"",
        "Sha-256=:AAAA:",
    ] {
        assert_eq!(digests(&[text]), None, "{text}");
    }
}

#[test]
fn what_is_told_is_a_structured_field() {
    assert_eq!(from_boolean(true), "?1");
    assert_eq!(from_boolean(false), "?0");
    assert_eq!(from_count(0).expect("a count"), "0");
    assert_eq!(from_count(INTEGER_MAX).expect("a count"), "999999999999999");
    assert_eq!(from_count(INTEGER_MAX + 1), None);
    assert_eq!(from_count(u64::MAX), None);
}

#[test]
fn only_a_sha256_in_hexadecimal_is_told_as_one() {
    assert_eq!(from_sha256(HEX).expect("a digest"), DIGEST);
    let upper = HEX.to_ascii_uppercase();
    assert_eq!(from_sha256(&upper).expect("a digest"), DIGEST);
    let odd = &HEX[1..];
    let short = &HEX[2..];
    let long = format!("{HEX}00");
    let no_hex = HEX.replace('2', "g");
    let signed = HEX.replacen("2c", "+c", 1);
    let wide = HEX.replacen("2cf2", "\u{e4}\u{e4}", 1);
    for text in ["", "0", "00", odd, short, &long, &no_hex, &signed, &wide] {
        assert_eq!(from_sha256(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(number in 0..=INTEGER_MAX, digest: [u8; 32]) {
        let text = from_count(number).expect("in bounds");
        prop_assert_eq!(counts(&[text.to_str().expect("text")]), Some(number));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = from_sha256(&hex).expect("a digest");
        prop_assert_eq!(digests(&[text.to_str().expect("text")]), Some(digest.to_vec()));
    }

    #[test]
    fn no_bytes_panic(
        bytes: Vec<u8>,
        text in "[?01;a=(), :\"@%.\\-]{0,16}",
        number in "[-+ 0-9.,;]{0,20}",
    ) {
        for value in [&bytes[..], text.as_bytes(), number.as_bytes()] {
            let Ok(value) = HeaderValue::from_bytes(value) else { continue };
            let mut headers = HeaderMap::new();
            headers.append(UPLOAD_OFFSET, value);
            let _ = boolean(&headers, UPLOAD_OFFSET);
            let _ = sha256(&headers, UPLOAD_OFFSET);
            if let Some(count) = count(&headers, UPLOAD_OFFSET) {
                prop_assert!(count <= INTEGER_MAX);
            }
        }
    }
}
