//! Rows R1 to R5, R30 to R34, R54, R60 and R77: what is asked of a server and of an upload.

use http::Method;

use super::{
    LAST, LENGTH_5, Lines, NO_LIMITS, NOT_LAST, NUMBERS, OFFSET_5, PARTIAL, SETTINGS, answer,
    answer_in, assert_invalid, complete, creation, decode_with, head, refusal, resource, speaking,
    value,
};
use crate::dialect::{Dialect, Settings, Target};
use crate::field::length::Length;
use crate::problem::Problem;
use crate::request::{Protocol, Request, Retrieve, Unfinished};
use crate::response::{Resource, Response};

/// Of "hello", in both forms.
const HEX: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const DIGEST: &str = super::SHA256;

fn ask(method: &Method, lines: Lines<'_>) -> Result<Request, Problem> {
    let lines = [&[("upload-draft-interop-version", "9")], lines].concat();
    decode_with(&SETTINGS, Target::Upload, method, &lines, Some(0))
}

fn ask_in(number: u64, method: &Method, lines: Lines<'_>) -> Result<Request, Problem> {
    let number = number.to_string();
    let lines = [&[("upload-draft-interop-version", &*number)], lines].concat();
    decode_with(&SETTINGS, Target::Upload, method, &lines, Some(0))
}

#[test]
fn r1_options_tell_the_limits() {
    for target in [Target::Creation, Target::Collection, Target::Upload] {
        // R4: whatever comes with it.
        for lines in [[LAST], [NOT_LAST], [PARTIAL]] {
            let method = Method::OPTIONS;
            let decoded = decode_with(&SETTINGS, target, &method, &lines, Some(0));
            assert_eq!(decoded, Ok(Request::Discover));
        }
    }
    for dialect in [Dialect::Tus1, super::untold(), speaking(3), speaking(6)] {
        let (status, fields) = answer_in(dialect, &Response::Discovered);
        assert_eq!(status, 204);
        assert_eq!(value(&fields, "upload-limit"), Some("max-size=1000"));
        // Both protocols, since nobody has chosen yet.
        assert_eq!(value(&fields, "tus-version"), Some("1.0.0"));
        let accepted = value(&fields, "accept-patch").expect("row R5");
        let accepted: Vec<_> = accepted.split(", ").collect();
        assert!(accepted.contains(&"application/partial-upload"));
        assert!(accepted.contains(&"application/offset+octet-stream"));
    }
}

#[test]
fn r1_the_limits_are_never_empty() {
    let fields = super::untold().fields(&Response::Discovered, &NO_LIMITS);
    assert_eq!(value(&fields, "upload-limit"), Some("min-size=0"));
}

#[test]
fn r3_the_announced_limits_are_those_of_the_created_upload() {
    let settings = Settings {
        expires_after: Some(60),
        ..super::BOUNDS
    };
    let created = creation(Resource {
        expires_in: Some(60),
        ..resource()
    });
    let [announced, created] = [Response::Discovered, created].map(|response| {
        let fields = super::untold().fields(&response, &settings);
        value(&fields, "upload-limit").map(str::to_owned)
    });
    assert!(announced.is_some());
    assert_eq!(announced, created);
}

#[test]
fn f8_the_wanted_digests_are_those_that_are_looked_at() {
    let (_, fields) = answer(&Response::Discovered);
    for name in ["want-content-digest", "want-repr-digest"] {
        assert_eq!(value(&fields, name), Some("sha-256=10"));
    }
}

#[test]
fn r30_a_retrieval_tells_all_there_is() {
    let decoded = ask(&Method::HEAD, &[]);
    // R32: so that the next append is taken.
    assert_eq!(decoded, Ok(Request::Retrieve(Retrieve::Finally)));
    for number in NUMBERS {
        for (resource, offset, complete) in [(resource(), "5", false), (complete(), "10", true)] {
            let (status, fields) = answer_in(speaking(number), &Response::Retrieved(resource));
            assert_eq!(status, 204, "version {number}");
            assert_eq!(value(&fields, "upload-offset"), Some(offset));
            assert_eq!(value(&fields, "upload-length"), Some("10"));
            assert_eq!(value(&fields, "upload-limit"), Some("max-size=1000"));
            assert_eq!(value(&fields, "cache-control"), Some("no-store"));
            let (name, told) = match number {
                3 => ("upload-incomplete", !complete),
                _ => ("upload-complete", complete),
            };
            let told = if told { "?1" } else { "?0" };
            assert_eq!(value(&fields, name), Some(told));
            let other = ["upload-complete", "upload-incomplete"];
            let told = other.iter().filter(|name| fields.contains_key(**name));
            assert_eq!(told.count(), 1);
        }
    }
}

#[test]
fn r30_a_length_that_nobody_knows_is_not_told() {
    for length in [None, Some(Length::Deferred)] {
        let (_, fields) = answer(&Response::Retrieved(Resource {
            length,
            ..resource()
        }));
        assert_eq!(value(&fields, "upload-length"), None);
        assert_eq!(value(&fields, "upload-defer-length"), None);
    }
    // Nor is an offset that there is not yet (row T105).
    let (_, fields) = answer(&Response::Retrieved(Resource {
        offset: None,
        ..resource()
    }));
    assert_eq!(value(&fields, "upload-offset"), None);
}

#[test]
fn what_is_larger_than_an_integer_can_be_is_not_told() {
    // Of an upload of tus, of which any client may ask.
    for (bytes, told) in [
        (999_999_999_999_999, Some("999999999999999")),
        (1_000_000_000_000_000, None),
        (i64::MAX.unsigned_abs(), None),
    ] {
        let (_, fields) = answer(&Response::Retrieved(Resource {
            offset: Some(bytes),
            length: Some(Length::Known(bytes)),
            ..resource()
        }));
        assert_eq!(value(&fields, "upload-offset"), told);
        assert_eq!(value(&fields, "upload-length"), told);
    }
}

#[test]
fn r31_a_get_is_a_retrieval_until_the_content_is_there() {
    for lines in [&[][..], &[LAST], &[OFFSET_5]] {
        let decoded = ask(&Method::GET, lines);
        assert_eq!(decoded, Ok(Request::Read(Unfinished::Retrieved)));
    }
    for number in NUMBERS {
        let dialect = speaking(number);
        let fields = dialect.content_fields(&complete(), &SETTINGS);
        assert_eq!(value(&fields, "upload-offset"), Some("10"));
        assert_eq!(value(&fields, "upload-length"), Some("10"));
        assert_eq!(value(&fields, "upload-limit"), Some("max-size=1000"));
    }
}

#[test]
fn r31_whoever_just_looks_does_not_disturb_the_sender() {
    let head = head(&Method::GET, &[]);
    assert_eq!(Dialect::detect(&head), None);
    let dialect = Dialect::of(Protocol::Draft);
    let decoded = dialect.decode(&head, Target::Upload, Some(0), &SETTINGS);
    assert_eq!(decoded, Ok(Request::Read(Unfinished::Described)));
}

#[test]
fn r33_up_to_version_6_a_retrieval_has_nothing_of_an_append() {
    let completeness = |number| match number {
        3 => ("upload-incomplete", "?1"),
        _ => LAST,
    };
    for method in [Method::HEAD, Method::DELETE] {
        for number in NUMBERS {
            // Even if it is not valid.
            for (name, text) in [OFFSET_5, ("upload-offset", "x"), completeness(number)] {
                let decoded = ask_in(number, &method, &[(name, text)]);
                match number {
                    3..=6 => assert_invalid(decoded, name),
                    _ => assert!(decoded.is_ok(), "version {number}"),
                }
            }
            // Which the length is from the version on that has one.
            let decoded = ask_in(number, &method, &[LENGTH_5]);
            match number {
                6 => assert_invalid(decoded, "upload-length"),
                _ => assert!(decoded.is_ok(), "version {number}"),
            }
            assert!(ask_in(number, &method, &[]).is_ok());
        }
        // Whoever tells no version is not as strict.
        for lines in [[OFFSET_5, LAST], [OFFSET_5, NOT_LAST]] {
            let decoded = decode_with(&SETTINGS, Target::Upload, &method, &lines, Some(0));
            assert!(decoded.is_ok());
        }
    }
}

#[test]
fn r34_nothing_is_told_of_what_is_not_there() {
    let cancelled = Problem::UploadCancelled {
        reason: None,
        at: None,
    };
    for (problem, expected) in [
        (Problem::NotFound, 404),
        (Problem::UploadExpired, 410),
        (Problem::UploadFailed, 410),
        (cancelled, 410),
    ] {
        let (status, fields) = answer(&refusal(problem, None));
        assert_eq!(status, expected);
        let told: Vec<_> = fields.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(told, ["x-content-type-options"]);
    }
}

#[test]
fn r60_a_delete_cancels() {
    let decoded = ask(&Method::DELETE, &[]);
    assert_eq!(decoded, Ok(Request::Cancel { again: false }));
    for number in NUMBERS {
        let (status, fields) = answer_in(speaking(number), &Response::Cancelled);
        assert_eq!(status, 204);
        assert_eq!(value(&fields, "upload-offset"), None);
        assert_eq!(value(&fields, "upload-complete"), None);
    }
}

#[test]
fn t7_a_post_may_mean_a_head_or_a_delete() {
    let table = [
        ("HEAD", Request::Retrieve(Retrieve::Finally)),
        ("DELETE", Request::Cancel { again: false }),
    ];
    for (other, request) in table {
        let lines = [("x-http-method-override", other)];
        assert_eq!(ask(&Method::POST, &lines), Ok(request));
        // But not a link.
        let decoded = ask(&Method::GET, &lines);
        assert_eq!(decoded, Ok(Request::Read(Unfinished::Retrieved)));
    }
}

#[test]
fn other_methods_are_told_which_there_are() {
    for method in [Method::POST, Method::PUT, Method::TRACE] {
        let problem = ask(&method, &[]).unwrap_err();
        assert_eq!(problem.status(), 405, "{method}");
        let allow = "OPTIONS, HEAD, GET, PATCH, DELETE";
        assert_eq!(problem.allow(), Some(allow));
    }
}

#[test]
fn r77_the_digest_of_the_whole_is_told_when_it_is_there() {
    let with = |sha256: &str, resource| Resource {
        sha256: Some(sha256.to_owned()),
        ..resource
    };
    let responses = |resource: &Resource| {
        [
            creation(resource.clone()),
            Response::Appended(resource.clone()),
            Response::Retrieved(resource.clone()),
        ]
    };
    for response in responses(&with(HEX, complete())) {
        assert_eq!(value(&answer(&response).1, "repr-digest"), Some(DIGEST));
    }
    let fields = super::untold().content_fields(&with(HEX, complete()), &SETTINGS);
    assert_eq!(value(&fields, "repr-digest"), Some(DIGEST));
    for resource in [
        with(HEX, resource()),
        with("nonsense", complete()),
        complete(),
    ] {
        for response in responses(&resource) {
            assert_eq!(value(&answer(&response).1, "repr-digest"), None);
        }
    }
}
