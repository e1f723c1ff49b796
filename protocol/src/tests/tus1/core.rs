//! Rows T1 to T23: version, discovery, methods, offsets and appends. Rows T60 to T64: expiry.

use http::Method;

use super::{
    LENGTH_5, Lines, OFFSET_5, OFFSET_OCTET_STREAM, SETTINGS, VERSION, answer, append,
    assert_invalid, decode_at, location, patch, refusal, resource, value,
};
use crate::dialect::{Dialect, Settings, Target};
use crate::field::length::Length;
use crate::problem::Problem;
use crate::request::{Append, Request, Retrieve, Unfinished};
use crate::response::{Resource, Response};
use crate::upload::Limits;

const TARGETS: [Target; 2] = [Target::Creation, Target::Upload];

fn method(name: &str) -> Method {
    Method::from_bytes(name.as_bytes()).unwrap()
}

fn overriding(target: Target, method: &Method, other: &str) -> Result<Request, Problem> {
    let lines = [
        VERSION,
        OFFSET_OCTET_STREAM,
        OFFSET_5,
        ("x-http-method-override", other),
    ];
    decode_at(target, method, &lines, Some(5))
}

#[test]
fn t1_every_answer_tells_the_version() {
    let created = Response::Created {
        location: location(),
        resource: resource(),
        appended: true,
    };
    let answers = [
        Response::Discovered,
        created,
        Response::Retrieved(resource()),
        Response::Appended(resource()),
        Response::Cancelled,
        refusal(Problem::NotFound, None),
        refusal(Problem::UploadStalled, Some(resource())),
    ];
    for response in answers {
        let (_, fields) = answer(&response);
        assert_eq!(value(&fields, "tus-resumable"), Some("1.0.0"));
        assert_eq!(value(&fields, "x-content-type-options"), Some("nosniff"));
    }
}

#[test]
fn t2_another_version_is_refused_before_all_else() {
    for version in [
        "0.2.2",
        "1.0.1",
        "1.0",
        "1",
        "2.0.0",
        "1.0.0, 0.2.2",
        "v1.0.0",
        "",
    ] {
        for name in ["POST", "HEAD", "PATCH", "DELETE", "GET", "PUT"] {
            for target in TARGETS {
                // The other lines are wrong, too.
                let lines = [("tus-resumable", version), ("upload-offset", "-1")];
                let decoded = decode_at(target, &method(name), &lines, None);
                assert_eq!(decoded, Err(Problem::UnsupportedVersion), "{name}");
            }
        }
    }
    let (status, fields) = answer(&refusal(Problem::UnsupportedVersion, None));
    assert_eq!(status, 412);
    assert_eq!(value(&fields, "tus-version"), Some("1.0.0"));
    let (_, fields) = answer(&refusal(Problem::PreconditionFailed, None));
    assert_eq!(value(&fields, "tus-version"), None);
}

#[test]
fn t3_no_version_is_refused_where_something_would_change() {
    for (target, name) in [
        (Target::Creation, "POST"),
        (Target::Upload, "PATCH"),
        (Target::Upload, "DELETE"),
    ] {
        let lines = [OFFSET_OCTET_STREAM, OFFSET_5, LENGTH_5];
        let decoded = decode_at(target, &method(name), &lines, None);
        assert_eq!(decoded, Err(Problem::UnsupportedVersion), "{name}");
    }
}

#[test]
fn t4_reading_needs_no_version() {
    let head = decode_at(Target::Upload, &Method::HEAD, &[], None);
    assert_eq!(head, Ok(Request::Retrieve(Retrieve::Quietly)));
    let get = decode_at(Target::Upload, &Method::GET, &[], None);
    assert_eq!(get, Ok(Request::Read(Unfinished::Refused)));
    // A POST that means HEAD is one.
    let lines = [("x-http-method-override", "HEAD")];
    let head = decode_at(Target::Upload, &Method::POST, &lines, None);
    assert_eq!(head, Ok(Request::Retrieve(Retrieve::Quietly)));
}

#[test]
fn t5_options_are_told_everywhere() {
    for target in TARGETS {
        let decoded = decode_at(target, &Method::OPTIONS, &[], None);
        assert_eq!(decoded, Ok(Request::Discover));
    }
    let (status, fields) = answer(&Response::Discovered);
    assert_eq!(status, 204);
    assert_eq!(value(&fields, "tus-version"), Some("1.0.0"));
    assert_eq!(value(&fields, "tus-max-size"), Some("1000"));
    let extensions: Vec<_> = value(&fields, "tus-extension")
        .unwrap()
        .split(',')
        .collect();
    let expected = [
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "expiration",
        "checksum",
        "checksum-trailer",
        "termination",
        "concatenation",
        "concatenation-unfinished",
    ];
    assert_eq!(extensions, expected, "row H7: no spaces");
}

#[test]
fn t5_no_limit_is_told_where_there_is_none() {
    let limits = Limits {
        size_max: None,
        append_max: Some(5),
        append_min: None,
        checkpoint_bytes: 1,
    };
    let settings = Settings { limits, ..SETTINGS };
    let fields = Dialect::Tus1.fields(&Response::Discovered, &settings);
    assert_eq!(value(&fields, "tus-max-size"), None);
}

#[test]
fn t6_options_with_any_version_are_told() {
    for version in ["0.2.2", "nonsense", "", "1.0.0"] {
        for target in TARGETS {
            let lines = [("tus-resumable", version), ("upload-offset", "-1")];
            let decoded = decode_at(target, &Method::OPTIONS, &lines, None);
            assert_eq!(decoded, Ok(Request::Discover), "{version}");
        }
    }
}

#[test]
fn t7_a_post_may_mean_another_method() {
    let table = [
        ("PATCH", Request::Append(append())),
        ("patch", Request::Append(append())),
        ("DELETE", Request::Cancel { again: true }),
        ("HEAD", Request::Retrieve(Retrieve::Quietly)),
    ];
    for (other, request) in table {
        let decoded = overriding(Target::Upload, &Method::POST, other);
        assert_eq!(decoded, Ok(request), "{other}");
        // Handled entirely as that method: there is none of them where uploads are made.
        let decoded = overriding(Target::Creation, &Method::POST, other).unwrap_err();
        assert_eq!(decoded.status(), 405, "{other}");
    }
}

#[test]
fn t7_an_override_that_is_not_offered_is_refused() {
    for other in [
        "GET",
        "OPTIONS",
        "PUT",
        "POST",
        "CONNECT",
        "",
        "PATCH, DELETE",
        "PATCH;",
    ] {
        for target in TARGETS {
            let decoded = overriding(target, &Method::POST, other);
            assert_invalid(decoded, "x-http-method-override");
        }
    }
    let lines = [
        VERSION,
        ("x-http-method-override", "PATCH"),
        ("x-http-method-override", "PATCH"),
    ];
    let decoded = decode_at(Target::Upload, &Method::POST, &lines, Some(5));
    assert_invalid(decoded, "x-http-method-override");
}

#[test]
fn t7_only_a_post_may_mean_another_method() {
    let table = [
        (Method::GET, Request::Read(Unfinished::Refused)),
        (Method::HEAD, Request::Retrieve(Retrieve::Quietly)),
        (Method::DELETE, Request::Cancel { again: true }),
        (Method::PATCH, Request::Append(append())),
        (Method::OPTIONS, Request::Discover),
    ];
    for (method, request) in table {
        for other in ["DELETE", "PATCH", "HEAD", "nonsense"] {
            let decoded = overriding(Target::Upload, &method, other);
            assert_eq!(decoded, Ok(request.clone()), "{method} {other}");
        }
    }
}

#[test]
fn t8_the_offset_and_the_length_are_told() {
    for (offset, length) in [(0, 10), (5, 10), (10, 10), (0, 0)] {
        let resource = Resource {
            offset: Some(offset),
            length: Some(Length::Known(length)),
            ..resource()
        };
        let (status, fields) = answer(&Response::Retrieved(resource));
        assert_eq!(status, 200, "row T9");
        assert_eq!(value(&fields, "upload-offset"), Some(&*offset.to_string()));
        assert_eq!(value(&fields, "upload-length"), Some(&*length.to_string()));
        assert_eq!(value(&fields, "upload-defer-length"), None);
        assert_eq!(value(&fields, "cache-control"), Some("no-store"), "row H16");
        for absent in [
            "upload-metadata",
            "upload-concat",
            "upload-expires",
            "location",
        ] {
            assert_eq!(value(&fields, absent), None, "{absent}");
        }
    }
}

#[test]
fn t10_no_offset_is_told_of_what_is_not_there() {
    let gone = [
        (Problem::NotFound, 404),
        (Problem::Forbidden, 403),
        (Problem::UploadExpired, 410),
        (Problem::UploadFailed, 410),
    ];
    for (problem, expected) in gone {
        let (status, fields) = answer(&refusal(problem, None));
        assert_eq!(status, expected);
        assert_eq!(value(&fields, "upload-offset"), None);
        assert_eq!(value(&fields, "upload-length"), None);
        assert_eq!(value(&fields, "upload-expires"), None);
    }
}

#[test]
fn t11_an_append_has_one_media_type() {
    let refused: [Lines<'_>; 6] = [
        &[],
        &[("content-type", "")],
        &[("content-type", "application/octet-stream")],
        &[("content-type", "application/partial-upload")],
        &[(
            "content-type",
            "application/offset+octet-stream, text/plain",
        )],
        &[OFFSET_OCTET_STREAM, OFFSET_OCTET_STREAM],
    ];
    for lines in refused {
        // It wins over the other fields.
        for offset in [OFFSET_5, ("upload-offset", "-5")] {
            let lines = [&[VERSION, offset], lines].concat();
            let decoded = decode_at(Target::Upload, &Method::PATCH, &lines, Some(5));
            assert_eq!(decoded, Err(Problem::InvalidContentType), "{lines:?}");
        }
    }
    assert_eq!(Problem::InvalidContentType.status(), 415);
}

#[test]
fn t11_an_append_is_not_encoded() {
    for coding in ["gzip", "br", "identity, gzip", "x"] {
        let decoded = patch(&[OFFSET_5, ("content-encoding", coding)]);
        assert_eq!(decoded, Err(Problem::UnsupportedContentEncoding));
    }
    let lines = [
        OFFSET_5,
        ("content-encoding", "identity"),
        ("content-encoding", "gzip"),
    ];
    assert_eq!(patch(&lines), Err(Problem::UnsupportedContentEncoding));
    for coding in ["identity", "Identity"] {
        let decoded = patch(&[OFFSET_5, ("content-encoding", coding)]);
        assert_eq!(decoded, Ok(Request::Append(append())));
    }
    assert_eq!(Problem::UnsupportedContentEncoding.status(), 415);
}

#[test]
fn t12_an_append_has_an_offset() {
    assert_eq!(patch(&[]), Err(Problem::MissingOffset));
    assert_eq!(Problem::MissingOffset.status(), 400);
    for offset in [
        "",
        "-1",
        "+5",
        "5 5",
        "5,5",
        "0x5",
        "5.0",
        "abc",
        "9223372036854775808",
    ] {
        assert_invalid(patch(&[("upload-offset", offset)]), "upload-offset");
    }
    assert_invalid(patch(&[OFFSET_5, OFFSET_5]), "upload-offset");
    for (value, offset) in [("0", 0), ("005", 5), ("9223372036854775807", i64::MAX)] {
        let append = Append {
            offset: offset.unsigned_abs(),
            ..append()
        };
        let decoded = patch(&[("upload-offset", value)]);
        assert_eq!(decoded, Ok(Request::Append(append)));
    }
}

#[test]
fn t13_a_wrong_offset_is_told_the_right_one() {
    let problem = Problem::OffsetMismatch {
        expected: 5,
        provided: 7,
    };
    let (status, fields) = answer(&refusal(problem, Some(resource())));
    assert_eq!(status, 409);
    assert_eq!(value(&fields, "upload-offset"), Some("5"));
}

#[test]
fn t14_an_append_is_told_its_offset() {
    assert_eq!(patch(&[OFFSET_5]), Ok(Request::Append(append())));
    let (status, fields) = answer(&Response::Appended(resource()));
    assert_eq!(status, 204);
    assert_eq!(value(&fields, "upload-offset"), Some("5"));
    assert_eq!(value(&fields, "upload-length"), None);
}

#[test]
fn t18_an_append_may_be_of_unknown_length() {
    let lines = [VERSION, OFFSET_OCTET_STREAM, OFFSET_5];
    for content_length in [None, Some(0), Some(u64::MAX)] {
        let decoded = decode_at(Target::Upload, &Method::PATCH, &lines, content_length);
        let expected = Append {
            content_length,
            ..append()
        };
        assert_eq!(decoded, Ok(Request::Append(expected)));
    }
}

#[test]
fn t18a_an_append_may_repeat_that_its_length_is_deferred() {
    for defer in ["1", "0", "nonsense"] {
        let defer = ("upload-defer-length", defer);
        let decoded = patch(&[OFFSET_5, defer]);
        assert_eq!(decoded, Ok(Request::Append(append())));
        let decoded = patch(&[OFFSET_5, defer, ("upload-length", "10")]);
        let expected = Append {
            length: Some(10),
            ..append()
        };
        assert_eq!(decoded, Ok(Request::Append(expected)));
    }
}

#[test]
fn t23_other_methods_are_told_which_there_are() {
    // The other dialect's are named as well.
    let creation = "OPTIONS, POST, PUT";
    let upload = "OPTIONS, HEAD, GET, PATCH, DELETE";
    let table = [
        (
            Target::Creation,
            creation,
            ["GET", "HEAD", "PATCH", "DELETE", "PUT"],
        ),
        (
            Target::Upload,
            upload,
            ["POST", "PUT", "TRACE", "CONNECT", "SEARCH"],
        ),
    ];
    for (target, allow, methods) in table {
        for name in methods {
            let decoded = decode_at(target, &method(name), &[VERSION], None);
            let problem = decoded.unwrap_err();
            assert_eq!(problem.status(), 405, "{name}");
            assert_eq!(problem.allow(), Some(allow));
        }
    }
}

#[test]
fn t61_expiry_is_told_wherever_the_upload_is() {
    let expiring = || Resource {
        expires_at: Some(784_111_777),
        ..resource()
    };
    let created = |appended| Response::Created {
        location: location(),
        resource: expiring(),
        appended,
    };
    let answers = [
        created(false),
        created(true),
        Response::Retrieved(expiring()),
        Response::Appended(expiring()),
        refusal(Problem::StorageFull, Some(expiring())),
        refusal(Problem::ChecksumMismatch, Some(expiring())),
    ];
    for response in answers {
        let (_, fields) = answer(&response);
        let expires = value(&fields, "upload-expires");
        assert_eq!(expires, Some("Sun, 06 Nov 1994 08:49:37 GMT"), "row T62");
    }
}

#[test]
fn t64_what_stays_has_no_expiry() {
    for response in [
        Response::Appended(resource()),
        Response::Retrieved(resource()),
        Response::Cancelled,
        Response::Discovered,
    ] {
        assert_eq!(value(&answer(&response).1, "upload-expires"), None);
    }
}

#[test]
fn t94_a_cancelled_upload_is_answered_204() {
    let lines = [VERSION, ("upload-offset", "nonsense")];
    let decoded = decode_at(Target::Upload, &Method::DELETE, &lines, None);
    assert_eq!(decoded, Ok(Request::Cancel { again: true }));
    let (status, fields) = answer(&Response::Cancelled);
    assert_eq!(status, 204);
    assert_eq!(value(&fields, "upload-offset"), None);
}
