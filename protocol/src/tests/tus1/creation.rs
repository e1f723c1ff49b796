//! Rows T30 to T52: creation, creation-with-upload and creation-defer-length.

use http::Method;

use super::{
    LENGTH_5, Lines, OFFSET_5, OFFSET_OCTET_STREAM, SETTINGS, VERSION, answer, append,
    assert_invalid, created, decode_at, head, location, patch, post, post_with, refusal, resource,
    value,
};
use crate::dialect::{Dialect, Settings, Target};
use crate::field::length::Length;
use crate::problem::Problem;
use crate::request::{Append, NewContent, Request};
use crate::response::{Resource, Response};
use crate::upload::Limits;

const DEFERRED: (&str, &str) = ("upload-defer-length", "1");

fn of_length(length: Length) -> NewContent {
    NewContent::Appended {
        length,
        partial: false,
    }
}

#[test]
fn t30_a_creation_declares_its_length() {
    let create = created(post(&[LENGTH_5]));
    assert_eq!(create.content, of_length(Length::Known(5)));
    assert_eq!(create.metadata.raw(), "");
    assert_eq!(create.append, None);
    let (status, fields) = answer(&Response::Created {
        location: location(),
        resource: resource(),
        appended: false,
    });
    assert_eq!(status, 201);
    assert_eq!(value(&fields, "location"), Some(&*location()));
    assert_eq!(value(&fields, "upload-offset"), None);
}

#[test]
fn t31_a_creation_says_something_of_its_length() {
    let silent: [Lines<'_>; 3] = [
        &[],
        &[("upload-concat", "partial")],
        &[("upload-metadata", "filename Zg==")],
    ];
    for lines in silent {
        assert_eq!(post(lines), Err(Problem::LengthRequired));
        assert_eq!(post_with(lines, Some(5)), Err(Problem::LengthRequired));
    }
    assert_eq!(Problem::LengthRequired.status(), 400);
}

#[test]
fn t32_a_length_is_known_or_deferred() {
    assert_invalid(post(&[LENGTH_5, DEFERRED]), "upload-defer-length");
}

#[test]
fn t33_deferred_means_1() {
    for defer in ["0", "2", "", "true", "1 1", "01"] {
        let decoded = post(&[("upload-defer-length", defer)]);
        assert_invalid(decoded, "upload-defer-length");
    }
    assert_invalid(post(&[DEFERRED, DEFERRED]), "upload-defer-length");
}

#[test]
fn t34_a_length_past_the_limit_creates_nothing() {
    created(post(&[("upload-length", "1000")]));
    for length in ["1001", "9223372036854775807"] {
        let lines = [("upload-length", length)];
        let partial = [("upload-length", length), ("upload-concat", "partial")];
        let problem = Problem::TooLarge { limit: 1000 };
        assert_eq!(problem.status(), 413);
        assert_eq!(post(&lines), Err(problem.clone()));
        assert_eq!(post(&partial), Err(problem.clone()));
        assert_eq!(post_with(&lines, Some(5)), Err(problem));
    }
}

#[test]
fn t35_a_length_of_0_is_a_length() {
    let create = created(post(&[("upload-length", "0")]));
    assert_eq!(create.content, of_length(Length::Known(0)));
    let create = created(post_with(&[("upload-length", "0")], Some(0)));
    assert_eq!(
        create.append.map(|append| append.content_length),
        Some(Some(0))
    );
}

#[test]
fn t36_metadata_is_repeated_byte_for_byte() {
    for metadata in [
        "filename Zg==",
        "b ,a  , c Zg==",
        "is_confidential",
        "k\u{fc} Zg==",
        "a,\tb",
    ] {
        let create = created(post(&[LENGTH_5, ("upload-metadata", metadata)]));
        let (_, fields) = answer(&Response::Retrieved(Resource {
            metadata: create.metadata.raw().to_owned(),
            ..resource()
        }));
        assert_eq!(fields["upload-metadata"].as_bytes(), metadata.as_bytes());
    }
}

#[test]
fn t38_metadata_that_is_malformed_or_too_long_creates_nothing() {
    for metadata in ["a Zg==,a Zg==", "a !", "a Zg", ",", "a Zg== x"] {
        let decoded = post(&[LENGTH_5, ("upload-metadata", metadata)]);
        assert_invalid(decoded, "upload-metadata");
    }
    let long = "a".repeat(65);
    let decoded = post(&[LENGTH_5, ("upload-metadata", &long)]);
    assert_eq!(decoded, Err(Problem::HeaderTooLarge));
    created(post(&[LENGTH_5, ("upload-metadata", &long[1..])]));
    let twice = [LENGTH_5, ("upload-metadata", "a"), ("upload-metadata", "b")];
    assert_invalid(post(&twice), "upload-metadata");
}

#[test]
fn t39_a_deferred_length_is_told_as_such() {
    let create = created(post(&[DEFERRED]));
    assert_eq!(create.content, of_length(Length::Deferred));
    let (_, fields) = answer(&Response::Retrieved(Resource {
        length: Some(Length::Deferred),
        ..resource()
    }));
    assert_eq!(value(&fields, "upload-defer-length"), Some("1"));
    assert_eq!(value(&fields, "upload-length"), None);
}

#[test]
fn t40_an_append_may_declare_the_length() {
    let expected = Append {
        length: Some(10),
        ..append()
    };
    let decoded = patch(&[OFFSET_5, ("upload-length", "10")]);
    assert_eq!(decoded, Ok(Request::Append(expected)));
}

#[test]
fn t41_an_append_declares_a_wellformed_length_or_none() {
    for length in ["", "-1", "+5", "1e3", "9223372036854775808"] {
        assert_invalid(
            patch(&[OFFSET_5, ("upload-length", length)]),
            "upload-length",
        );
    }
    assert_invalid(patch(&[OFFSET_5, LENGTH_5, LENGTH_5]), "upload-length");
    // Whether it is the right one is for the machine to say.
    let (status, fields) = answer(&refusal(
        Problem::LengthConflict {
            known: 10,
            declared: 11,
        },
        Some(resource()),
    ));
    assert_eq!(status, 400);
    assert_eq!(value(&fields, "upload-offset"), Some("5"));
}

#[test]
fn t45_a_creation_may_bring_its_first_bytes() {
    for (lines, length) in [(LENGTH_5, Length::Known(5)), (DEFERRED, Length::Deferred)] {
        for content_length in [None, Some(0), Some(5)] {
            let create = created(post_with(&[lines], content_length));
            let expected = Append {
                offset: 0,
                content_length,
                ..append()
            };
            assert_eq!(create.content, of_length(length));
            assert_eq!(create.append, Some(expected));
        }
    }
    let (status, fields) = answer(&Response::Created {
        location: location(),
        resource: resource(),
        appended: true,
    });
    assert_eq!(status, 201, "row T51");
    assert_eq!(value(&fields, "location"), Some(&*location()));
    assert_eq!(value(&fields, "upload-offset"), Some("5"));
}

#[test]
fn t47_a_refusal_of_first_bytes_tells_where_the_kept_ones_are() {
    let (status, fields) = answer(&Response::Refused {
        problem: Problem::StorageFull,
        location: Some(location()),
        resource: Some(resource()),
    });
    assert_eq!(status, 507);
    assert_eq!(value(&fields, "location"), Some(&*location()));
    assert_eq!(value(&fields, "upload-offset"), Some("5"));
}

#[test]
fn t46_content_of_another_type_is_not_an_append() {
    let types: [Lines<'_>; 4] = [
        &[],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[
            ("content-type", "application/octet-stream"),
            ("content-encoding", "gzip"),
        ],
        &[
            ("content-type", "text/plain"),
            ("upload-checksum", "nonsense"),
        ],
    ];
    for lines in types {
        let lines = [&[VERSION, LENGTH_5], lines].concat();
        let decoded = decode_at(Target::Creation, &Method::POST, &lines, Some(9));
        assert_eq!(created(decoded).append, None);
    }
}

#[test]
fn t45_an_offset_on_a_creation_says_nothing() {
    let create = created(post_with(&[LENGTH_5, OFFSET_5], Some(5)));
    assert_eq!(create.append.map(|append| append.offset), Some(0));
}

#[test]
fn t48_content_past_the_length_creates_nothing() {
    for content in [6, u64::MAX] {
        let problem = Problem::ExceedsLength { length: 5 };
        assert_eq!(problem.status(), 413);
        assert_eq!(post_with(&[LENGTH_5], Some(content)), Err(problem));
    }
}

#[test]
fn t48_content_past_a_limit_creates_nothing() {
    let append_max = Settings {
        limits: Limits {
            append_max: Some(4),
            ..SETTINGS.limits
        },
        ..SETTINGS
    };
    let table = [
        (SETTINGS, DEFERRED, 1001, 1000),
        (SETTINGS, DEFERRED, u64::MAX, 1000),
        (append_max, DEFERRED, 5, 4),
        (append_max, LENGTH_5, 5, 4),
    ];
    for (settings, declared, content, limit) in table {
        let lines = [VERSION, OFFSET_OCTET_STREAM, declared];
        let head = head(&Method::POST, &lines);
        let decoded = Dialect::Tus1.decode(&head, Target::Creation, Some(content), &settings);
        assert_eq!(decoded, Err(Problem::TooLarge { limit }), "{declared:?}");
    }
}
