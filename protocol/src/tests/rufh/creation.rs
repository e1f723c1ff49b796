//! Rows R10 to R28: what makes an upload, and how it is answered.

use http::Method;

use super::{
    BOUNDS, LAST, LENGTH_5, Lines, NO_LIMITS, NOT_LAST, NUMBERS, PARTIAL, SETTINGS, SHA256, answer,
    answer_in, assert_invalid, complete, created, creation, decode_with, location, post, resource,
    speaking, value,
};
use crate::dialect::{Settings, Target};
use crate::field::checksum::{Algorithm, Checksum};
use crate::field::length::Length;
use crate::field::structured;
use crate::problem::Problem;
use crate::request::{Append, Completion, Expected, NewContent, Overrun, Protocol, Request};
use crate::response::{Interim, Resource, Response};

fn of_length(length: Length) -> NewContent {
    NewContent::Appended {
        length,
        partial: false,
    }
}

fn post_to(
    settings: &Settings,
    lines: Lines<'_>,
    content_length: Option<u64>,
) -> Result<Request, Problem> {
    decode_with(
        settings,
        Target::Creation,
        &Method::POST,
        lines,
        content_length,
    )
}

fn digest() -> Checksum {
    let digest = crate::field::checksum::Checksum::parse(
        b"sha256 LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
    );
    digest.expect("a digest")
}

#[test]
fn r10_uploads_are_made_with_post_and_put() {
    for target in [Target::Creation, Target::Collection] {
        for method in [Method::POST, Method::PUT] {
            created(decode_with(&SETTINGS, target, &method, &[LAST], Some(5)));
        }
        for method in [Method::PATCH, Method::DELETE, Method::TRACE] {
            let decoded = decode_with(&SETTINGS, target, &method, &[LAST], Some(5));
            let problem = decoded.unwrap_err();
            assert_eq!(problem.status(), 405, "{method}");
            let allow: Vec<_> = problem.allow().unwrap().split(", ").collect();
            assert!(allow.contains(&"POST") && allow.contains(&"PUT"));
            let listed = target == Target::Collection;
            assert_eq!(allow.contains(&"GET"), listed);
        }
    }
}

#[test]
fn r14_a_creation_may_be_followed_by_more() {
    for content_length in [None, Some(1), Some(5)] {
        let create = created(post(&[NOT_LAST], content_length));
        assert_eq!(create.content, of_length(Length::Deferred));
        assert_eq!(create.protocol, Protocol::Draft);
        assert_eq!((create.id, create.digest), (None, None));
        let expected = Append {
            offset: 0,
            content_length,
            ..super::append(Completion::Later)
        };
        assert_eq!(create.append, Some(expected));
    }
}

#[test]
fn r14_a_creation_is_answered_201_with_all_that_is_needed_to_go_on() {
    let unknown = Resource {
        length: Some(Length::Deferred),
        ..resource()
    };
    for number in NUMBERS {
        for (resource, length) in [(resource(), Some("10")), (unknown.clone(), None)] {
            let (status, fields) = answer_in(speaking(number), &creation(resource));
            assert_eq!(status, 201);
            assert_eq!(value(&fields, "location"), Some(&*location()));
            assert_eq!(value(&fields, "upload-offset"), Some("5"));
            assert_eq!(value(&fields, "upload-length"), length);
            assert_eq!(value(&fields, "upload-limit"), Some("max-size=1000"));
            let (name, value_) = match number {
                3 => ("upload-incomplete", "?1"),
                _ => ("upload-complete", "?0"),
            };
            assert_eq!(value(&fields, name), Some(value_), "version {number}");
            assert_eq!(value(&fields, "tus-resumable"), None, "section 2.9");
        }
    }
}

#[test]
fn r15_a_careful_creation_brings_nothing() {
    for (lines, length) in [
        (&[NOT_LAST][..], Length::Deferred),
        (&[NOT_LAST, LENGTH_5], Length::Known(5)),
        // It does not complete, unlike that of tus (section 6, 5).
        (&[NOT_LAST, ("upload-length", "0")], Length::Known(0)),
    ] {
        // It is no request that could be too small.
        for settings in [SETTINGS, BOUNDS] {
            let create = created(post_to(&settings, lines, Some(0)));
            assert_eq!(create.content, of_length(length));
            assert_eq!(create.append, None);
        }
    }
}

#[test]
fn r16_a_creation_may_bring_all() {
    for content_length in [None, Some(5)] {
        let create = created(post(&[LAST], content_length));
        let append = create.append.expect("content");
        assert_eq!(append.completion, Completion::AtEnd);
        assert_eq!((append.offset, append.content_length), (0, content_length));
    }
    let (status, fields) = answer(&creation(complete()));
    assert_eq!(status, 201);
    assert_eq!(value(&fields, "upload-complete"), Some("?1"));
    assert_eq!(value(&fields, "upload-offset"), Some("10"));
    assert_eq!(value(&fields, "upload-length"), Some("10"));
    assert_eq!(value(&fields, "location"), Some(&*location()));
    let (_, fields) = answer_in(speaking(3), &creation(complete()));
    assert_eq!(value(&fields, "upload-incomplete"), Some("?0"));
}

#[test]
fn r17_nothing_may_be_the_whole_content() {
    for lines in [&[LAST][..], &[LAST, ("upload-length", "0")]] {
        for settings in [SETTINGS, BOUNDS] {
            let create = created(post_to(&settings, lines, Some(0)));
            assert_eq!(create.content, of_length(Length::Known(0)));
            let append = create.append.expect("what completes it");
            assert_eq!(append.completion, Completion::AtEnd);
            assert_eq!(append.content_length, Some(0));
        }
    }
}

#[test]
fn r18_the_length_is_the_declared_one_or_that_of_the_whole_content() {
    let table = [
        (&[LAST][..], Some(5), Length::Known(5)),
        (&[LAST], None, Length::Deferred),
        (&[LAST, LENGTH_5], Some(5), Length::Known(5)),
        (&[LAST, LENGTH_5], None, Length::Known(5)),
        (&[NOT_LAST], Some(5), Length::Deferred),
        (&[NOT_LAST, LENGTH_5], None, Length::Known(5)),
        (&[NOT_LAST, LENGTH_5], Some(3), Length::Known(5)),
        // Reaching the length is not the end (row R47).
        (&[NOT_LAST, LENGTH_5], Some(5), Length::Known(5)),
    ];
    for (lines, content_length, length) in table {
        let create = created(post(lines, content_length));
        assert_eq!(create.content, of_length(length), "{lines:?}");
        // The upload is made with it: the append need not declare it once more.
        assert_eq!(create.append.and_then(|append| append.length), None);
    }
}

#[test]
fn r19_content_that_is_the_last_has_the_declared_length() {
    for content in [0, 4, 6, u64::MAX] {
        for lines in [[LAST, LENGTH_5], [("upload-length", " 5"), LAST]] {
            let problem = post(&lines, Some(content)).unwrap_err();
            let conflict = Problem::LengthConflict {
                known: 5,
                declared: content,
            };
            assert_eq!(problem, conflict);
            assert!(problem.uri().ends_with("#inconsistent-upload-length"));
        }
    }
}

#[test]
fn r20_a_length_past_the_limit_creates_nothing() {
    created(post(&[NOT_LAST, ("upload-length", "1000")], None));
    for lines in [&[NOT_LAST][..], &[LAST]] {
        for length in ["1001", "999999999999999"] {
            let lines = [lines, &[("upload-length", length)]].concat();
            // It wins over that the content does not fit.
            for content_length in [None, Some(0), Some(5)] {
                let problem = Problem::TooLarge { limit: 1000 };
                assert_eq!(post(&lines, content_length), Err(problem));
            }
        }
        let too_much = post(lines, Some(1001));
        assert_eq!(too_much, Err(Problem::TooLarge { limit: 1000 }));
    }
}

#[test]
fn r21_too_much_for_one_request_wins_over_the_length() {
    for lines in [
        &[LAST][..],
        &[NOT_LAST],
        &[LAST, LENGTH_5],
        &[NOT_LAST, LENGTH_5],
    ] {
        for content in [51, u64::MAX] {
            let decoded = post_to(&BOUNDS, lines, Some(content));
            assert_eq!(decoded, Err(Problem::TooLarge { limit: 50 }), "{lines:?}");
        }
    }
    created(post_to(&BOUNDS, &[NOT_LAST], Some(50)));
    created(post_to(&BOUNDS, &[LAST], Some(50)));
}

#[test]
fn r22_too_little_to_be_followed_by_more_creates_nothing() {
    for content in 1..5 {
        let decoded = post_to(&BOUNDS, &[NOT_LAST], Some(content));
        assert_eq!(decoded, Err(Problem::AppendTooSmall { limit: 5 }));
        created(post_to(&BOUNDS, &[LAST], Some(content)));
    }
    created(post_to(&BOUNDS, &[NOT_LAST], Some(5)));
    created(post_to(&BOUNDS, &[NOT_LAST], None));
    assert_eq!(Problem::AppendTooSmall { limit: 5 }.status(), 400);
}

#[test]
fn r46_content_past_the_length_creates_nothing() {
    for number in NUMBERS {
        let number_ = number.to_string();
        let more = match number {
            3 => ("upload-incomplete", "?1"),
            _ => NOT_LAST,
        };
        let lines = [("upload-draft-interop-version", &*number_), more, LENGTH_5];
        for content in [6, u64::MAX] {
            let problem = post(&lines, Some(content)).unwrap_err();
            let problem = speaking(number).refusal(problem);
            assert_eq!(problem, Problem::PastLength { length: 5 });
            assert_eq!(problem.status(), 400);
        }
    }
}

#[test]
fn no_length_is_made_of_content_that_is_too_long_for_any_field() {
    let most = structured::INTEGER_MAX;
    let limit = Problem::TooLarge { limit: most };
    for content in [most + 1, i64::MAX.unsigned_abs(), u64::MAX] {
        for lines in [[LAST], [NOT_LAST]] {
            let decoded = post_to(&NO_LIMITS, &lines, Some(content));
            assert_eq!(decoded, Err(limit.clone()));
        }
    }
    let create = created(post_to(&NO_LIMITS, &[LAST], Some(most)));
    assert_eq!(create.content, of_length(Length::Known(most)));
}

#[test]
fn r26_an_invalid_upload_complete_is_400_and_not_412_or_415() {
    for text in ["", "1", "true", "?2", "?", "?1, ?1", "\"?1\"", "1.0"] {
        // Whatever else is there.
        for lines in [
            &[("upload-complete", text)][..],
            &[("upload-complete", text), LENGTH_5],
            &[("upload-complete", text), ("content-type", "text/plain")],
            &[PARTIAL, ("upload-complete", text)],
        ] {
            assert_invalid(post(lines, Some(5)), "upload-complete");
        }
    }
    assert_invalid(post(&[LAST, LAST], Some(5)), "upload-complete");
    assert_invalid(post(&[PARTIAL], Some(5)), "upload-complete");
    // The older field is not the one that is looked for where no version is told.
    let inverted = [("upload-incomplete", "?1")];
    assert_invalid(post(&inverted, Some(5)), "upload-complete");
}

#[test]
fn r12_the_location_is_the_same_wherever_it_is_told() {
    let location = location();
    let interim = Interim::Created {
        location: &location,
        expires_in: None,
    };
    for number in NUMBERS {
        let dialect = speaking(number);
        let interim = dialect.interim(&interim, &SETTINGS).expect("an interim");
        let existed = Response::Existed {
            location: location.clone(),
            resource: resource(),
        };
        let (_, first) = answer_in(dialect, &creation(resource()));
        let (status, again) = answer_in(dialect, &existed);
        assert_eq!(status, 200);
        for fields in [interim, first, again] {
            assert_eq!(value(&fields, "location"), Some(&*location));
        }
    }
}

#[test]
fn r74_content_that_is_encoded_is_stored_as_it_is() {
    for coding in ["gzip", "br, gzip"] {
        let lines = [LAST, ("content-encoding", coding)];
        let create = created(post(&lines, Some(5)));
        assert_eq!(create.content, of_length(Length::Known(5)));
    }
}

#[test]
fn r75_first_content_may_have_a_digest() {
    for lines in [
        [LAST, ("content-digest", SHA256)],
        [("content-digest", SHA256), NOT_LAST],
    ] {
        let append = created(post(&lines, Some(5))).append.expect("content");
        assert_eq!(append.checksum, Some(Expected::Header(digest())));
        assert_eq!(digest().algorithm(), Algorithm::Sha256);
    }
    // Other algorithms are not known here.
    let lines = [LAST, ("content-digest", "md5=:XUFAKrxLKna5cZ2REBfFkg==:")];
    let append = created(post(&lines, Some(5))).append.expect("content");
    assert_eq!(append.checksum, None);
}

#[test]
fn r76_the_whole_content_may_have_a_digest() {
    for lines in [
        [LAST, ("repr-digest", SHA256)],
        [NOT_LAST, ("repr-digest", SHA256)],
    ] {
        for content_length in [None, Some(0), Some(5)] {
            let create = created(post(&lines, content_length));
            assert_eq!(create.digest, Some(digest()));
            let checksum = create.append.and_then(|append| append.checksum);
            assert_eq!(checksum, None);
        }
    }
    let unknown = [LAST, ("repr-digest", "sha-512=:AAAA:")];
    assert_eq!(created(post(&unknown, Some(5))).digest, None);
}

#[test]
fn versions_differ_in_what_happens_to_bytes_past_the_length() {
    for number in NUMBERS {
        let number_ = number.to_string();
        let last = match number {
            3 => ("upload-incomplete", "?0"),
            _ => LAST,
        };
        let lines = [("upload-draft-interop-version", &*number_), last];
        let append = created(post(&lines, None)).append.expect("content");
        let overrun = match number {
            3..=6 => Overrun::KeepToLength,
            _ => Overrun::Invalidate,
        };
        assert_eq!(append.overrun, overrun, "version {number}");
        assert_eq!(append.completion, Completion::AtEnd);
    }
}

#[test]
fn an_upload_may_be_given_its_name() {
    let id = "0c7ad2a4-5c44-4d0e-8a3c-4f1a4d8a2b61";
    let create = created(post(&[LAST, ("upload-id", id)], Some(5)));
    assert_eq!(create.id.as_ref().map(|id| id.as_str()), Some(id));
    let decoded = post(&[LAST, ("upload-id", "nonsense")], Some(5));
    assert_invalid(decoded, "upload-id");
}

#[test]
fn t7_a_post_that_means_another_method_makes_nothing() {
    for other in ["PATCH", "DELETE", "HEAD"] {
        let lines = [LAST, ("x-http-method-override", other)];
        let problem = post(&lines, Some(5)).unwrap_err();
        assert_eq!(problem.status(), 405, "{other}");
    }
    let lines = [LAST, ("x-http-method-override", "PUT")];
    assert_invalid(post(&lines, Some(5)), "x-http-method-override");
}
