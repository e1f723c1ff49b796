//! Fields F1 to F11: each one's grammar where it is used. The parsers alone are tested in
//! `tests/field`.

use super::{
    BOUNDS, LAST, NO_LIMITS, NOT_LAST, OFFSET_5, SETTINGS, SHA256, answer, appended,
    assert_invalid, complete, created, creation, patch, post, resource, speaking, value,
};
use crate::dialect::{CORS_REQUEST_FIELDS, CORS_RESPONSE_FIELDS, Settings};
use crate::field::name;
use crate::field::structured::INTEGER_MAX;
use crate::problem::Problem;
use crate::request::{Completion, Expected, NewContent};
use crate::response::{Resource, Response};
use crate::upload::Limits;

/// Values that are counts, however they are written.
const COUNTS: [(&str, u64); 9] = [
    ("0", 0),
    ("-0", 0),
    ("5", 5),
    ("05", 5),
    ("5;a=b", 5),
    ("5; a; b=\"x\"", 5),
    (" 5 ", 5),
    ("000000000000007", 7),
    ("999999999999999", INTEGER_MAX),
];

const NOT_COUNTS: [&str; 16] = [
    "",
    "-1",
    "-5",
    "+5",
    "5 5",
    "5,",
    "5, 5",
    "(5)",
    "5.0",
    "0x5",
    "\"5\"",
    ":NQ==:",
    "?1",
    "@5",
    "1000000000000000",
    "0000000000000005",
];

#[test]
fn f1_an_offset_is_an_integer_that_is_not_negative() {
    for (text, offset) in COUNTS {
        let append = appended(patch(&[("upload-offset", text), NOT_LAST], None));
        assert_eq!(append.offset, offset, "{text:?}");
    }
    for text in NOT_COUNTS {
        let decoded = patch(&[("upload-offset", text), NOT_LAST], None);
        assert_eq!(decoded, Err(Problem::MissingOffset), "{text:?}");
    }
}

#[test]
fn f2_completeness_is_a_boolean() {
    for text in ["?1", " ?1 ", "?1;a=b", "?1; a"] {
        let append = appended(patch(&[OFFSET_5, ("upload-complete", text)], None));
        assert_eq!(append.completion, Completion::AtEnd, "{text:?}");
    }
    for text in ["?0", "?0;a=?1"] {
        let append = appended(patch(&[OFFSET_5, ("upload-complete", text)], None));
        assert_eq!(append.completion, Completion::Later, "{text:?}");
    }
    for text in [
        "", "?2", "?", "? 1", "?11", "1", "0", "true", "?1,", "(?1)", "?1;A=b",
    ] {
        let decoded = patch(&[OFFSET_5, ("upload-complete", text)], None);
        assert_invalid(decoded, "upload-complete");
    }
    for other in [LAST, NOT_LAST] {
        assert_invalid(patch(&[OFFSET_5, LAST, other], None), "upload-complete");
    }
}

#[test]
fn f3_a_length_is_an_integer_that_is_not_negative() {
    for (text, length) in COUNTS {
        let append = appended(patch(&[OFFSET_5, NOT_LAST, ("upload-length", text)], None));
        assert_eq!(append.length, Some(length), "{text:?}");
    }
    for text in NOT_COUNTS {
        let append = appended(patch(&[OFFSET_5, NOT_LAST, ("upload-length", text)], None));
        assert_eq!(append.length, None, "{text:?}");
        let create = created(post(&[NOT_LAST, ("upload-length", text)], None));
        let expected = NewContent::Appended {
            length: None.into(),
            partial: false,
        };
        assert_eq!(create.content, expected, "{text:?}");
    }
}

/// `Upload-Limit` in the answer to a HEAD of an upload that is removed in so many seconds.
fn limit(number: u64, settings: &Settings, expires_in: Option<u64>) -> String {
    let response = Response::Retrieved(Resource {
        expires_in,
        ..resource()
    });
    let fields = speaking(number).fields(&response, settings);
    value(&fields, "upload-limit").expect("limits").to_owned()
}

#[test]
fn f4_the_limits_are_a_dictionary_and_never_empty() {
    assert_eq!(limit(9, &NO_LIMITS, None), "min-size=0");
    assert_eq!(limit(9, &SETTINGS, None), "max-size=1000");
    assert_eq!(limit(9, &NO_LIMITS, Some(0)), "max-age=0");
    let all = "max-size=1000, max-append-size=50, min-append-size=5, max-age=60";
    assert_eq!(limit(9, &BOUNDS, Some(60)), all);
}

#[test]
fn f4_version_6_calls_the_age_something_else() {
    for number in [3, 4, 5, 7, 8, 9, 10] {
        assert_eq!(limit(number, &NO_LIMITS, Some(60)), "max-age=60");
    }
    assert_eq!(limit(6, &NO_LIMITS, Some(60)), "expires=60, max-age=60");
    assert_eq!(limit(6, &NO_LIMITS, None), "min-size=0");
}

#[test]
fn f4_a_limit_that_no_integer_can_be_is_left_out() {
    for (bytes, told) in [
        (INTEGER_MAX, "max-size=999999999999999, max-append-size=7"),
        (INTEGER_MAX + 1, "max-append-size=7"),
        (u64::MAX, "max-append-size=7"),
    ] {
        let settings = Settings {
            limits: Limits {
                size_max: Some(bytes),
                append_max: Some(7),
                ..SETTINGS.limits
            },
            ..SETTINGS
        };
        assert_eq!(limit(9, &settings, Some(u64::MAX)), told);
    }
    let huge = Settings {
        limits: Limits {
            size_max: Some(u64::MAX),
            append_max: Some(u64::MAX),
            append_min: Some(u64::MAX),
            ..SETTINGS.limits
        },
        ..SETTINGS
    };
    assert_eq!(limit(6, &huge, Some(u64::MAX)), "min-size=0");
}

#[test]
fn f7_digests_are_a_dictionary_of_byte_sequences() {
    let known = [
        SHA256.to_owned(),
        format!("sha-512=:AAAA:, {SHA256}"),
        format!("{SHA256}, unixsum=:AAAA:;a=1, x"),
        format!("{SHA256};a=b"),
        format!("sha-256=1, {SHA256}"),
    ];
    for text in &known {
        let lines = [OFFSET_5, LAST, ("content-digest", &**text)];
        let checksum = appended(patch(&lines, None)).checksum;
        assert!(matches!(checksum, Some(Expected::Header(_))), "{text}");
    }
    let two = [
        OFFSET_5,
        LAST,
        ("content-digest", "x=1"),
        ("content-digest", SHA256),
    ];
    assert!(appended(patch(&two, None)).checksum.is_some());
    let unknown = [
        "",
        "sha-256",
        "sha-256=::",
        "sha-256=:AAAA:",
        "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ",
        "sha-256=:LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:",
        "sha-256=\"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=\"",
        "sha-256=LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
        "sha-256=(:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:)",
        "SHA-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:",
        "sha256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:",
        "md5=:XUFAKrxLKna5cZ2REBfFkg==:",
    ];
    for text in unknown {
        let lines = [OFFSET_5, LAST, ("content-digest", text)];
        assert_eq!(appended(patch(&lines, None)).checksum, None, "{text:?}");
        let create = created(post(&[LAST, ("repr-digest", text)], None));
        assert_eq!(create.digest, None, "{text:?}");
    }
    let replaced = format!("{SHA256}, sha-256=1");
    let lines = [OFFSET_5, LAST, ("content-digest", &*replaced)];
    assert_eq!(appended(patch(&lines, None)).checksum, None);
}

#[test]
fn f11_a_request_may_say_more_than_is_looked_at() {
    let lines = [
        OFFSET_5,
        LAST,
        ("incremental", "?1"),
        ("unencoded-digest", SHA256),
        ("want-repr-digest", "sha-256=0"),
        ("upload-checksum", "nonsense"),
        ("upload-defer-length", "nonsense"),
        ("upload-concat", "partial"),
        ("prefer", "wait"),
    ];
    assert_eq!(patch(&lines, None), patch(&lines[..2], None));
}

#[test]
fn every_field_of_a_browsers_client_is_allowed_and_exposed() {
    let list =
        |fields: &str| -> Vec<String> { fields.split(", ").map(str::to_ascii_lowercase).collect() };
    let allowed = list(CORS_REQUEST_FIELDS);
    for field in [
        name::CONTENT_DIGEST,
        name::REPR_DIGEST,
        name::UPLOAD_COMPLETE,
        name::UPLOAD_DRAFT_INTEROP_VERSION,
        name::UPLOAD_INCOMPLETE,
        name::UPLOAD_LENGTH,
        name::UPLOAD_METADATA,
        name::UPLOAD_OFFSET,
        "content-disposition",
        "content-type",
    ] {
        assert!(allowed.iter().any(|allowed| allowed == field), "{field}");
    }
    let exposed = list(CORS_RESPONSE_FIELDS);
    let digest = Resource {
        sha256: Some("00".repeat(32)),
        expires_in: Some(1),
        ..complete()
    };
    let wrong_type = super::refusal(Problem::InvalidContentType, None);
    for number in [3, 9] {
        for response in [
            Response::Retrieved(digest.clone()),
            creation(digest.clone()),
            wrong_type.clone(),
        ] {
            for field in speaking(number).fields(&response, &SETTINGS).keys() {
                // These are the browser's business.
                let hidden = ["x-content-type-options", "cache-control"].contains(&field.as_str());
                let exposed = exposed.iter().any(|exposed| exposed == field.as_str());
                assert!(hidden || exposed, "{field}");
            }
        }
    }
}

#[test]
fn what_belongs_to_tus_is_not_told() {
    let everything = Resource {
        metadata: String::from("a"),
        concat: Some(String::from("partial")),
        expires_at: Some(0),
        ..resource()
    };
    for response in [
        Response::Retrieved(everything.clone()),
        Response::Appended(everything.clone()),
        creation(everything),
    ] {
        let (_, fields) = answer(&response);
        for absent in [
            "tus-resumable",
            "upload-metadata",
            "upload-concat",
            "upload-expires",
            "upload-defer-length",
        ] {
            assert_eq!(value(&fields, absent), None, "{absent}");
        }
    }
}
