//! Rows R11 to R13 and R51, and section 3.4: what is told ahead of the answer.

use http::{HeaderMap, Method};

use super::{NO_LIMITS, NUMBERS, PARTIAL, SETTINGS, head, location, speaking, untold, value};
use crate::dialect::{Dialect, Settings};
use crate::response::Interim;

fn created(dialect: Dialect, expires_in: Option<u64>) -> Option<HeaderMap> {
    let location = location();
    let interim = Interim::Created {
        location: &location,
        expires_in,
    };
    dialect.interim(&interim, &SETTINGS)
}

fn progress(dialect: Dialect) -> Option<HeaderMap> {
    dialect.interim(&Interim::Progress { offset: 5 }, &SETTINGS)
}

/// Names and values in the order of names.
fn told(fields: &HeaderMap) -> Vec<(&str, &str)> {
    let mut told: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
        .collect();
    told.sort_unstable();
    told
}

#[test]
fn r11_a_creation_is_told_with_its_location_its_limits_and_the_version() {
    for number in NUMBERS {
        let fields = created(speaking(number), None).expect("an interim");
        let number = number.to_string();
        let expected = [
            ("location", &*location()),
            ("upload-draft-interop-version", &*number),
            ("upload-limit", "max-size=1000"),
        ];
        assert_eq!(told(&fields), expected);
    }
    let fields = created(speaking(9), Some(60)).expect("an interim");
    let limit = value(&fields, "upload-limit");
    assert_eq!(limit, Some("max-size=1000, max-age=60"));
}

#[test]
fn r11_the_limits_are_never_empty() {
    let location = location();
    let interim = Interim::Created {
        location: &location,
        expires_in: None,
    };
    let fields = speaking(9).interim(&interim, &NO_LIMITS).expect("one");
    assert_eq!(value(&fields, "upload-limit"), Some("min-size=0"));
}

#[test]
fn r51_progress_is_told_with_the_offset_and_without_a_location() {
    for number in [5, 6, 7, 8, 9] {
        let fields = progress(speaking(number)).expect("an interim");
        let number = number.to_string();
        let expected = [
            ("upload-draft-interop-version", &*number),
            ("upload-offset", "5"),
        ];
        assert_eq!(told(&fields), expected);
    }
}

#[test]
fn r13_versions_3_and_4_know_no_progress() {
    for number in [3, 4] {
        assert_eq!(progress(speaking(number)), None);
        assert!(created(speaking(number), None).is_some());
    }
}

#[test]
fn nothing_is_told_ahead_to_whoever_speaks_no_version_of_ours() {
    let lines = ["2", "10", "0", "-9", "9.0", "\"9\"", "9, 9", "", "nine"];
    for line in lines {
        let lines = [("upload-draft-interop-version", line), PARTIAL];
        let dialect = Dialect::detect(&head(&Method::POST, &lines)).expect("a dialect");
        assert_eq!(created(dialect, None), None, "{line:?}");
        assert_eq!(progress(dialect), None, "{line:?}");
    }
    for dialect in [untold(), Dialect::Tus1] {
        assert_eq!(created(dialect, None), None);
        assert_eq!(progress(dialect), None);
    }
}

#[test]
fn newer_versions_are_a_matter_of_configuration() {
    let location = location();
    for (interop_max, spoken) in [(0, 9), (9, 9), (10, 10), (12, 12)] {
        let settings = Settings {
            interop_max,
            ..SETTINGS
        };
        for number in 3..15 {
            for interim in [
                Interim::Created {
                    location: &location,
                    expires_in: None,
                },
                Interim::Progress { offset: 5 },
            ] {
                let fields = speaking(number).interim(&interim, &settings);
                let is_progress = matches!(interim, Interim::Progress { .. });
                let known = number <= spoken && (number > 4 || !is_progress);
                assert_eq!(fields.is_some(), known, "{number} of {interop_max}");
            }
        }
    }
}
