//! Rows H1 and H2.

use proptest::prelude::*;

use super::headers;
use crate::field::Fault;
use crate::field::name::UPLOAD_OFFSET;
use crate::field::offset::{MAX, count, parse};

#[test]
fn h1_digits_are_a_count() {
    let legal: [(&str, u64); 6] = [
        ("0", 0),
        ("7", 7),
        ("0005", 5),
        ("00000000000000000000000000000000", 0),
        ("1048576", 1_048_576),
        ("9223372036854775807", MAX),
    ];
    for (text, expected) in legal {
        assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
    }
}

#[test]
fn h1_anything_else_is_not() {
    let malformed = [
        "", " ", "-1", "-0", "+5", "5 ", " 5", "1 2", "1,1", "1, 1", "0x10", "1e3", "1.0", "1_0",
        "５",
    ];
    for text in malformed {
        assert_eq!(parse(text.as_bytes()), Err(Fault::NotCount), "{text:?}");
    }
    let huge = [
        "9223372036854775808",
        "18446744073709551616",
        "99999999999999999999999999999999",
    ];
    for text in huge {
        assert_eq!(parse(text.as_bytes()), Err(Fault::TooLarge), "{text}");
    }
}

#[test]
fn h1_one_field_line_only() {
    assert_eq!(count(&headers(&[]), UPLOAD_OFFSET), Ok(None));
    assert_eq!(
        count(&headers(&[(UPLOAD_OFFSET, "12")]), UPLOAD_OFFSET),
        Ok(Some(12))
    );
    let twice = headers(&[(UPLOAD_OFFSET, "12"), (UPLOAD_OFFSET, "12")]);
    assert_eq!(
        count(&twice, UPLOAD_OFFSET),
        Err(Fault::Repeated.of(UPLOAD_OFFSET))
    );
    let wrong = headers(&[(UPLOAD_OFFSET, "-12")]);
    assert_eq!(
        count(&wrong, UPLOAD_OFFSET),
        Err(Fault::NotCount.of(UPLOAD_OFFSET))
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(count in 0..=MAX, zeros in 0_usize..40) {
        let text = format!("{}{count}", "0".repeat(zeros));
        prop_assert_eq!(parse(text.as_bytes()), Ok(count));
    }

    #[test]
    fn only_digits_up_to_the_bound_are_read(text in "[0-9+\\-, .]{0,24}") {
        let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let oracle = text.parse().ok().filter(|_| is_digits).map(i64::cast_unsigned);
        prop_assert_eq!(parse(text.as_bytes()).ok(), oracle);
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = parse(&bytes);
    }
}
