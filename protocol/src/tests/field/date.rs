//! Row H11 and RFC 9110, section 5.6.7.

use proptest::prelude::*;

use crate::field::date::{MAX, parse, value};

#[test]
fn h11_dates_are_imf_fixdate() {
    assert_eq!(value(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(value(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(value(MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    assert_eq!(value(u64::MAX), value(MAX));
}

#[test]
fn all_three_formats_are_read() {
    let same = [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ];
    for text in same {
        assert_eq!(parse(text.as_bytes()), Some(784_111_777), "{text}");
    }
    for text in [
        "",
        "0",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "1994-11-06T08:49:37Z",
        "\"tag\"",
    ] {
        assert_eq!(parse(text.as_bytes()), None, "{text}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(seconds in 0..=MAX) {
        prop_assert_eq!(parse(value(seconds).as_bytes()), Some(seconds));
    }

    #[test]
    fn nothing_panics(bytes: Vec<u8>, seconds: u64) {
        let _ = (parse(&bytes), value(seconds));
    }
}
