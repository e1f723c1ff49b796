//! Rows R40 to R53: what an append is, and how it is answered.

use http::Method;

use super::{
    LAST, LENGTH_5, Lines, NOT_LAST, NUMBERS, OFFSET_5, PARTIAL, SETTINGS, SHA256, answer,
    answer_in, append, appended, assert_invalid, complete, decode_with, patch, refusal, resource,
    speaking, value,
};
use crate::dialect::Target;
use crate::field::checksum::Algorithm;
use crate::field::structured;
use crate::problem::{Member, Problem};
use crate::request::{Append, Completion, Expected, Overrun, Request};
use crate::response::{Resource, Response};

const LENGTH_10: (&str, &str) = ("upload-length", "10");

/// An append of a version, with exactly these lines besides.
fn patch_in(
    number: u64,
    lines: Lines<'_>,
    content_length: Option<u64>,
) -> Result<Request, Problem> {
    let number = number.to_string();
    let lines = [&[("upload-draft-interop-version", &*number)], lines].concat();
    let (target, method) = (Target::Upload, Method::PATCH);
    decode_with(&SETTINGS, target, &method, &lines, content_length)
}

/// The field of that version that says whether it is the last request.
fn says(number: u64, last: bool) -> (&'static str, &'static str) {
    match (number, last) {
        (3, true) => ("upload-incomplete", "?0"),
        (3, false) => ("upload-incomplete", "?1"),
        (_, true) => LAST,
        (_, false) => NOT_LAST,
    }
}

#[test]
fn r40_an_append_after_which_more_follows() {
    for content_length in [None, Some(0), Some(5)] {
        let expected = Append {
            content_length,
            ..append(Completion::Later)
        };
        let decoded = patch(&[OFFSET_5, NOT_LAST], content_length);
        assert_eq!(decoded, Ok(Request::Append(expected)));
    }
}

#[test]
fn r40_it_is_answered_with_the_offset_and_that_more_is_to_come() {
    for number in NUMBERS {
        let (status, fields) = answer_in(speaking(number), &Response::Appended(resource()));
        let expected = if number <= 6 { 201 } else { 204 };
        assert_eq!(status, expected, "version {number}");
        assert_eq!(value(&fields, "upload-offset"), Some("5"));
        let (name, text) = says(number, false);
        assert_eq!(value(&fields, name), Some(text));
        assert_eq!(value(&fields, "location"), None);
    }
    assert_eq!(answer(&Response::Appended(resource())).0, 204);
}

#[test]
fn r41_the_last_append_is_answered_like_the_creation() {
    for number in NUMBERS {
        let (status, fields) = answer_in(speaking(number), &Response::Appended(complete()));
        assert_eq!(status, 201, "version {number}");
        let (name, text) = says(number, true);
        assert_eq!(value(&fields, name), Some(text));
        assert_eq!(value(&fields, "upload-offset"), Some("10"));
        assert_eq!(value(&fields, "upload-length"), Some("10"));
    }
}

#[test]
fn r42_the_last_append_may_be_empty() {
    let expected = Append {
        length: Some(5),
        content_length: Some(0),
        ..append(Completion::AtEnd)
    };
    let decoded = patch(&[OFFSET_5, LAST], Some(0));
    assert_eq!(decoded, Ok(Request::Append(expected)));
}

#[test]
fn r43_a_wrong_offset_is_told_the_right_one() {
    let problem = Problem::OffsetMismatch {
        expected: 5,
        provided: 7,
    };
    assert_eq!(
        problem.uri(),
        "https://iana.org/assignments/http-problem-types#mismatching-upload-offset"
    );
    let members = [
        ("expected-offset", Member::Number(5)),
        ("provided-offset", Member::Number(7)),
    ];
    assert_eq!(problem.members(), members);
    let (status, fields) = answer(&refusal(problem, Some(resource())));
    assert_eq!(status, 409);
    assert_eq!(value(&fields, "upload-offset"), Some("5"));
    assert_eq!(value(&fields, "upload-complete"), Some("?0"));
}

#[test]
fn r44_an_append_has_an_offset() {
    assert_eq!(patch(&[LAST], Some(5)), Err(Problem::MissingOffset));
    for offset in ["", "-1", "+5", "5 5", "5, 5", "5.0", "?1", "\"5\"", "x"] {
        let lines = [("upload-offset", offset), LAST];
        // Anything else than a count is as good as no field (F1).
        assert_eq!(patch(&lines, Some(5)), Err(Problem::MissingOffset));
    }
    let twice = [OFFSET_5, OFFSET_5, LAST];
    assert_eq!(patch(&twice, Some(5)), Err(Problem::MissingOffset));
    assert_eq!(Problem::MissingOffset.status(), 400);
}

#[test]
fn r44_an_append_says_whether_it_is_the_last() {
    for number in [6, 7, 8, 9] {
        for lines in [
            &[PARTIAL, OFFSET_5][..],
            &[PARTIAL, OFFSET_5, LENGTH_5],
            &[PARTIAL, OFFSET_5, ("upload-complete", "true")],
            &[PARTIAL, OFFSET_5, LAST, LAST],
            // That is the field of another version.
            &[PARTIAL, OFFSET_5, ("upload-incomplete", "?0")],
        ] {
            assert_invalid(patch_in(number, lines, Some(5)), "upload-complete");
        }
    }
    // From version 7 on even at the end of a declared length.
    for number in [7, 8, 9, 10] {
        let lines = [PARTIAL, OFFSET_5, LENGTH_10];
        assert_invalid(patch_in(number, &lines, Some(5)), "upload-complete");
    }
    assert_invalid(patch(&[OFFSET_5], Some(5)), "upload-complete");
}

#[test]
fn r45_an_append_has_one_media_type() {
    let others: [Lines<'_>; 5] = [
        &[],
        &[("content-type", "")],
        &[("content-type", "application/octet-stream")],
        &[("content-type", "application/offset+octet-stream")],
        &[PARTIAL, PARTIAL],
    ];
    for lines in others {
        for number in NUMBERS {
            // It wins over the other fields where it is required.
            let wrong = [lines, &[("upload-offset", "-5")]].concat();
            let refused = patch_in(number, &wrong, Some(5)).unwrap_err();
            let lines = [lines, &[OFFSET_5, says(number, true)]].concat();
            let decoded = patch_in(number, &lines, Some(5));
            if number <= 5 {
                assert_eq!(appended(decoded).offset, 5, "version {number}");
                assert_eq!(refused, Problem::MissingOffset);
            } else {
                assert_eq!(decoded, Err(Problem::InvalidContentType));
                assert_eq!(refused, Problem::InvalidContentType);
            }
        }
    }
    let (status, fields) = answer(&refusal(Problem::InvalidContentType, None));
    assert_eq!(status, 415);
    let accepted = value(&fields, "accept-patch");
    assert_eq!(accepted, Some("application/partial-upload"));
}

#[test]
fn f6_media_types_are_compared_without_case_and_parameters() {
    for text in [
        "Application/Partial-Upload",
        "application/partial-upload ; a=\"b\"",
    ] {
        let lines = [("content-type", text), OFFSET_5, NOT_LAST];
        appended(patch_in(9, &lines, None));
    }
}

#[test]
fn r45_the_media_type_of_an_append_has_no_coding() {
    for number in NUMBERS {
        for coding in ["gzip", "identity, br"] {
            let coding = ("content-encoding", coding);
            let lines = [PARTIAL, OFFSET_5, says(number, true), coding];
            let decoded = patch_in(number, &lines, Some(5));
            assert_eq!(decoded, Err(Problem::UnsupportedContentEncoding));
        }
    }
    let identity = ("content-encoding", "identity");
    appended(patch(&[OFFSET_5, LAST, identity], Some(5)));
}

#[test]
fn r46_content_past_the_length_is_400_and_never_413() {
    for number in NUMBERS {
        let exceeds = Problem::ExceedsLength { length: 10 };
        let problem = speaking(number).refusal(exceeds);
        assert_eq!(problem, Problem::PastLength { length: 10 });
        let (status, fields) = answer(&refusal(problem, None));
        assert_eq!(status, 400);
        assert_eq!(value(&fields, "upload-complete"), Some("?0"));
        assert_eq!(value(&fields, "upload-offset"), None);
    }
    // Afterwards there is nothing to tell of it.
    let (status, fields) = answer(&refusal(Problem::UploadFailed, None));
    assert_eq!(status, 410);
    assert_eq!(value(&fields, "upload-offset"), None);
}

#[test]
fn r46_what_happens_to_bytes_past_the_length_is_a_matter_of_the_version() {
    for number in NUMBERS {
        let lines = [PARTIAL, OFFSET_5, says(number, false)];
        let overrun = appended(patch_in(number, &lines, None)).overrun;
        let expected = match number {
            3..=6 => Overrun::KeepToLength,
            _ => Overrun::Invalidate,
        };
        assert_eq!(overrun, expected, "version {number}");
    }
}

#[test]
fn r48_inconsistent_lengths_have_a_type_of_their_own() {
    let problem = Problem::LengthConflict {
        known: 10,
        declared: 11,
    };
    assert_eq!(
        problem.uri(),
        "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"
    );
    for resource in [Some(resource()), None] {
        let (status, fields) = answer(&refusal(problem.clone(), resource));
        assert_eq!(status, 400);
        assert_eq!(value(&fields, "upload-complete"), Some("?0"));
        assert_eq!(value(&fields, "upload-limit"), Some("max-size=1000"));
    }
}

#[test]
fn r49_a_length_comes_declared_or_with_the_last_content() {
    let table = [
        (&[OFFSET_5, LAST][..], Some(5), Some(10)),
        (&[OFFSET_5, LAST], Some(0), Some(5)),
        // It is counted then.
        (&[OFFSET_5, LAST], None, None),
        (&[OFFSET_5, LAST, LENGTH_10], None, Some(10)),
        (&[OFFSET_5, LAST, LENGTH_10], Some(5), Some(10)),
        // Which of the two is right is for the machine to say (row R48).
        (&[OFFSET_5, LAST, LENGTH_10], Some(7), Some(10)),
        (&[OFFSET_5, NOT_LAST], Some(5), None),
        (&[OFFSET_5, NOT_LAST, LENGTH_10], Some(5), Some(10)),
        (&[OFFSET_5, NOT_LAST, LENGTH_10], None, Some(10)),
        // F3: anything else is no length.
        (&[OFFSET_5, NOT_LAST, ("upload-length", "-1")], None, None),
        (&[OFFSET_5, NOT_LAST, LENGTH_5, LENGTH_10], None, None),
    ];
    for (lines, content_length, length) in table {
        let append = appended(patch(lines, content_length));
        assert_eq!(append.length, length, "{lines:?}");
        assert_eq!(append.content_length, content_length);
    }
}

#[test]
fn the_end_of_an_append_does_not_wrap_around() {
    let most = ("upload-offset", "999999999999999");
    for lines in [[most, LAST], [most, NOT_LAST]] {
        let append = appended(patch(&lines, Some(u64::MAX)));
        assert_eq!(append.offset, structured::INTEGER_MAX);
        assert!(append.length.is_none_or(|length| length > append.offset));
    }
}

#[test]
fn r49_version_3_takes_an_append_that_says_nothing_for_the_last() {
    for content_length in [None, Some(0), Some(5)] {
        let append = appended(patch_in(3, &[OFFSET_5], content_length));
        assert_eq!(append.completion, Completion::AtEnd);
        assert_eq!(append.length, content_length.map(|content| content + 5));
    }
    // A field that is not valid is as good as none, and the field of later versions says nothing.
    for other in [("upload-incomplete", "no"), NOT_LAST] {
        let append = appended(patch_in(3, &[OFFSET_5, other], Some(5)));
        assert_eq!(append.completion, Completion::AtEnd);
    }
}

#[test]
fn up_to_version_6_the_end_at_a_declared_length_may_go_without_saying() {
    for number in [4, 5, 6] {
        // How tus-js-client ends a stream.
        let lines = [PARTIAL, OFFSET_5, LENGTH_5];
        let append = appended(patch_in(number, &lines, Some(0)));
        assert_eq!(append.completion, Completion::AtEnd, "version {number}");
        assert_eq!(append.length, Some(5));
        let lines = [PARTIAL, OFFSET_5, LENGTH_10];
        let append = appended(patch_in(number, &lines, Some(5)));
        assert_eq!(append.completion, Completion::AtEnd);
        let silent = [
            (&[PARTIAL, OFFSET_5][..], Some(0)),
            (&[PARTIAL, OFFSET_5], Some(5)),
            (&[PARTIAL, OFFSET_5], None),
            (&[PARTIAL, OFFSET_5, LENGTH_10], Some(4)),
            (&[PARTIAL, OFFSET_5, LENGTH_10], Some(6)),
            (&[PARTIAL, OFFSET_5, LENGTH_10], Some(u64::MAX)),
            // Where it ends does not show.
            (&[PARTIAL, OFFSET_5, LENGTH_10], None),
        ];
        for (lines, content_length) in silent {
            let decoded = patch_in(number, lines, content_length);
            assert_invalid(decoded, "upload-complete");
        }
        // What is said counts, even at the length (row R47).
        let lines = [PARTIAL, OFFSET_5, LENGTH_10, NOT_LAST];
        let append = appended(patch_in(number, &lines, Some(5)));
        assert_eq!(append.completion, Completion::Later);
    }
}

#[test]
fn r50_an_append_to_a_complete_upload_is_told_that_it_is_complete() {
    let (status, fields) = answer(&refusal(Problem::UploadCompleted, Some(complete())));
    assert_eq!(status, 400);
    assert_eq!(value(&fields, "upload-complete"), Some("?1"));
    assert_eq!(value(&fields, "upload-offset"), Some("10"));
    // The registered type of versions 6 to 8 is gone from the draft.
    assert_eq!(Problem::UploadCompleted.uri(), "/problems/upload-completed");
}

#[test]
fn r75_an_append_may_have_a_digest() {
    for completes in [LAST, NOT_LAST] {
        let lines = [OFFSET_5, completes, ("content-digest", SHA256)];
        for content_length in [None, Some(5)] {
            let append = appended(patch(&lines, content_length));
            let Some(Expected::Header(checksum)) = append.checksum else {
                panic!("no digest: {append:?}");
            };
            assert_eq!(checksum.algorithm(), Algorithm::Sha256);
        }
    }
    // That of the whole content belongs to the creation (row R76).
    let lines = [OFFSET_5, LAST, ("repr-digest", SHA256)];
    assert_eq!(appended(patch(&lines, Some(5))).checksum, None);
}

#[test]
fn r75_content_without_its_digest_is_400_and_leaves_the_upload_usable() {
    let (status, fields) = answer(&refusal(Problem::ChecksumMismatch, Some(resource())));
    assert_eq!(status, 400);
    assert_eq!(value(&fields, "upload-offset"), Some("5"));
    assert_eq!(value(&fields, "upload-complete"), Some("?0"));
    let problem = super::untold().refusal(Problem::ChecksumMismatch);
    assert_eq!(problem, Problem::ContentDigestMismatch);
    assert_eq!(problem.reason_phrase(), None, "that of 460 is for tus");
}

#[test]
fn t7_a_post_may_mean_an_append() {
    let lines = [
        PARTIAL,
        OFFSET_5,
        NOT_LAST,
        ("x-http-method-override", "PATCH"),
    ];
    let decoded = decode_with(&SETTINGS, Target::Upload, &Method::POST, &lines, None);
    let expected = append(Completion::Later);
    assert_eq!(decoded, Ok(Request::Append(expected)));
}

#[test]
fn an_append_tells_when_the_upload_will_be_removed() {
    let expiring = Resource {
        expires_in: Some(60),
        ..resource()
    };
    let (_, fields) = answer(&Response::Appended(expiring));
    let limit = value(&fields, "upload-limit");
    assert_eq!(limit, Some("max-size=1000, max-age=60"));
}
