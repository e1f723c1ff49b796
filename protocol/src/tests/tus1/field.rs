//! Rows H1 to H16: each field's grammar where it is used. The parsers alone are tested in
//! `tests/field`.

use http::Method;

use super::{
    LENGTH_5, OFFSET_5, SETTINGS, VERSION, answer, append, assert_invalid, created, decode_at,
    location, patch, post, refusal, resource, value,
};
use crate::dialect::{
    CORS_METHODS, CORS_REQUEST_FIELDS, CORS_RESPONSE_FIELDS, Dialect, METHOD_OVERRIDE, Target,
};
use crate::field::{Fault, name};
use crate::problem::Problem;
use crate::request::{Request, Unfinished};
use crate::response::{Resource, Response};

const NOT_COUNTS: [&str; 9] = [
    "",
    "-0",
    "-1",
    "+5",
    "5 5",
    "0x5",
    "5.",
    "\u{665}",
    "9223372036854775808",
];

#[test]
fn h1_h2_counts_are_strict() {
    for count in NOT_COUNTS {
        assert_invalid(patch(&[("upload-offset", count)]), name::UPLOAD_OFFSET);
        assert_invalid(
            patch(&[OFFSET_5, ("upload-length", count)]),
            name::UPLOAD_LENGTH,
        );
        assert_invalid(post(&[("upload-length", count)]), name::UPLOAD_LENGTH);
    }
    // Twice the same is refused, too.
    assert_invalid(post(&[LENGTH_5, LENGTH_5]), name::UPLOAD_LENGTH);
}

#[test]
fn h3_a_deferred_length_is_only_told_while_it_is() {
    let (_, fields) = answer(&Response::Retrieved(resource()));
    assert_eq!(value(&fields, "upload-defer-length"), None);
    let (_, fields) = answer(&Response::Appended(resource()));
    assert_eq!(value(&fields, "upload-defer-length"), None);
}

#[test]
fn h4_no_metadata_and_empty_metadata_are_the_same() {
    for lines in [&[LENGTH_5][..], &[LENGTH_5, ("upload-metadata", "")]] {
        assert_eq!(created(post(lines)).metadata.raw(), "");
    }
    let (_, fields) = answer(&Response::Retrieved(resource()));
    assert!(!fields.contains_key("upload-metadata"));
}

#[test]
fn h4_stored_metadata_that_is_no_field_value_is_not_told() {
    let damaged = Resource {
        metadata: String::from("a Zg==\r\nset-cookie: x"),
        concat: Some(String::from("final;/files/\n")),
        ..resource()
    };
    let (_, fields) = answer(&Response::Retrieved(damaged));
    assert!(!fields.contains_key("upload-metadata"));
    assert!(!fields.contains_key("upload-concat"));
    assert_eq!(value(&fields, "upload-offset"), Some("5"));
}

#[test]
fn h5_the_version_comes_once() {
    let lines = [VERSION, VERSION, LENGTH_5];
    let decoded = decode_at(Target::Creation, &Method::POST, &lines, Some(0));
    assert_eq!(decoded, Err(Problem::UnsupportedVersion));
}

#[test]
fn h6_the_versions_are_listed_where_they_matter() {
    let told = [
        Response::Discovered,
        refusal(Problem::UnsupportedVersion, None),
    ];
    for response in told {
        assert_eq!(value(&answer(&response).1, "tus-version"), Some("1.0.0"));
    }
    for response in [
        Response::Retrieved(resource()),
        refusal(Problem::NotFound, None),
    ] {
        assert_eq!(value(&answer(&response).1, "tus-version"), None);
    }
}

#[test]
fn h7_h8_h9_only_options_list_what_there_is() {
    for response in [Response::Retrieved(resource()), Response::Cancelled] {
        let (_, fields) = answer(&response);
        for absent in ["tus-extension", "tus-max-size", "tus-checksum-algorithm"] {
            assert_eq!(value(&fields, absent), None, "{absent}");
        }
    }
}

#[test]
fn h11_expiry_is_an_imf_fixdate() {
    let table = [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ];
    for (seconds, date) in table {
        let resource = Resource {
            expires_at: Some(seconds),
            ..resource()
        };
        let (_, fields) = answer(&Response::Appended(resource));
        assert_eq!(value(&fields, "upload-expires"), Some(date));
    }
}

#[test]
fn h13_a_link_cannot_change_anything() {
    for other in ["DELETE", "PATCH"] {
        let lines = [VERSION, ("x-http-method-override", other)];
        let decoded = decode_at(Target::Upload, &Method::GET, &lines, None);
        assert_eq!(decoded, Ok(Request::Read(Unfinished::Refused)));
    }
}

#[test]
fn h14_media_types_are_compared_without_case_and_parameters() {
    for media_type in [
        "application/offset+octet-stream",
        "Application/Offset+Octet-Stream",
        "application/offset+octet-stream;charset=utf-8",
        "application/offset+octet-stream ; x=\"y\"",
    ] {
        let lines = [VERSION, OFFSET_5, ("content-type", media_type)];
        let decoded = decode_at(Target::Upload, &Method::PATCH, &lines, Some(5));
        assert_eq!(decoded, Ok(Request::Append(append())), "{media_type}");
    }
}

#[test]
fn h15_a_location_is_told_as_it_is() {
    for appended in [false, true] {
        let (_, fields) = answer(&Response::Created {
            location: location(),
            resource: resource(),
            appended,
        });
        assert_eq!(value(&fields, "location"), Some(&*location()));
    }
}

#[test]
fn h16_what_a_retrieval_says_is_not_stored_on_the_way() {
    let (_, fields) = answer(&Response::Retrieved(resource()));
    assert_eq!(value(&fields, "cache-control"), Some("no-store"));
}

#[test]
fn every_field_of_a_browsers_client_is_allowed_and_exposed() {
    let list =
        |fields: &str| -> Vec<String> { fields.split(", ").map(str::to_ascii_lowercase).collect() };
    let allowed = list(CORS_REQUEST_FIELDS);
    for field in [
        VERSION.0,
        METHOD_OVERRIDE.as_str(),
        "content-type",
        name::UPLOAD_CHECKSUM,
        name::UPLOAD_CONCAT,
        name::UPLOAD_DEFER_LENGTH,
        name::UPLOAD_LENGTH,
        name::UPLOAD_METADATA,
        name::UPLOAD_OFFSET,
    ] {
        assert!(allowed.iter().any(|allowed| allowed == field), "{field}");
    }
    let exposed = list(CORS_RESPONSE_FIELDS);
    let everything = Resource {
        metadata: String::from("a"),
        concat: Some(String::from("partial")),
        expires_at: Some(0),
        ..resource()
    };
    let created = Response::Created {
        location: location(),
        resource: resource(),
        appended: true,
    };
    for response in [
        Response::Discovered,
        Response::Retrieved(everything),
        created,
    ] {
        for field in Dialect::Tus1.fields(&response, &SETTINGS).keys() {
            // These are the browser's business.
            let hidden = ["x-content-type-options", "cache-control"].contains(&field.as_str());
            assert!(
                hidden || exposed.iter().any(|exposed| exposed == field.as_str()),
                "{field}"
            );
        }
    }
    assert_eq!(CORS_METHODS, "POST, PUT, HEAD, PATCH, OPTIONS, GET, DELETE");
}

#[test]
fn a_field_that_is_too_long_is_431() {
    let fault = Fault::TooLong { bytes_max: 64 };
    let problem = Problem::from(fault.of(name::UPLOAD_METADATA));
    assert_eq!(problem.status(), 431);
}
