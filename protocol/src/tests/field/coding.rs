//! RFC 9110, section 12.5.3.

use proptest::prelude::*;

use super::headers;
use crate::field::coding::prefers_gzip;

fn prefers(lines: &[&str]) -> bool {
    let lines: Vec<_> = lines
        .iter()
        .map(|line| ("accept-encoding", *line))
        .collect();
    prefers_gzip(&headers(&lines))
}

#[test]
fn gzip_is_for_those_who_want_it() {
    let wanted: [&[&str]; 12] = [
        &["gzip"],
        &["GZip"],
        &["x-gzip"],
        &["gzip, deflate, br, zstd"],
        &["br;q=1.0, gzip;q=0.8, *;q=0.1"],
        &["gzip;q=0.001"],
        &["gzip ; Q=1.000"],
        &["*"],
        &["identity;q=0, *"],
        &["identity;q=0.5, gzip;q=0.5"],
        &["*;q=0, gzip"],
        &["br", ", gzip"],
    ];
    for lines in wanted {
        assert!(prefers(lines), "{lines:?}");
    }
}

#[test]
fn nobody_else_gets_it() {
    let unwanted: [&[&str]; 16] = [
        &[],
        &[""],
        &["identity"],
        &["br, deflate"],
        &["gzip;q=0"],
        &["gzip;q=0.000, *"],
        &["*;q=0"],
        &["identity;q=0"],
        &["identity, gzip;q=0.9"],
        &["gzip;q=0.5, *"],
        &["gzip;q=0", "gzip"],
        &["gzip;q=2"],
        &["gzip;q=1.001"],
        &["gzip;q=0.0001"],
        &["gzip;q"],
        &["gzip;level=9"],
    ];
    for lines in unwanted {
        assert!(!prefers(lines), "{lines:?}");
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_a_refusal_counts(text in "[gzip*,;=q01. \t]{0,32}") {
        let refused = prefers(&["gzip;q=0", &text]);
        prop_assert!(!refused);
        let _ = prefers(&[&text]);
    }
}
