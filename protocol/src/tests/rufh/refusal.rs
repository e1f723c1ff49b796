//! What a refusal tells of what can be done about it (rows R19 to R25, R43 to R50, R75, R76, and
//! the limits that version 9 wants in any refusal because of one).

use super::{
    NUMBERS, SETTINGS, answer, answer_in, complete, location, refusal, resource, speaking, untold,
    value,
};
use crate::dialect::Dialect;
use crate::problem::Problem;
use crate::response::{Resource, Response};

/// What may be put right, at an upload that is as it was.
fn mendable() -> Vec<(Problem, u16)> {
    let conflict = Problem::LengthConflict {
        known: 10,
        declared: 11,
    };
    let mismatch = Problem::OffsetMismatch {
        expected: 5,
        provided: 7,
    };
    let below = Problem::LengthBelowOffset {
        offset: 5,
        declared: 4,
    };
    vec![
        (conflict, 400),
        (mismatch, 409),
        (below, 400),
        (Problem::TooLarge { limit: 1000 }, 413),
        (Problem::AppendTooSmall { limit: 5 }, 400),
        (Problem::ExceedsLength { length: 10 }, 400),
        (Problem::ChecksumMismatch, 400),
        (Problem::OtherProtocol, 400),
        (Problem::MissingOffset, 400),
        (Problem::InvalidContentType, 415),
        (Problem::UploadSuperseded, 400),
        (Problem::UploadStalled, 503),
        (Problem::StorageFull, 507),
        (Problem::ShuttingDown { retry_after: 1 }, 503),
    ]
}

#[test]
fn a_refusal_tells_that_the_upload_is_not_complete_and_its_limits() {
    for number in NUMBERS {
        for (problem, expected) in mendable() {
            for (resource, offset) in [(None, None), (Some(resource()), Some("5"))] {
                // An upload that has failed by what it was sent has no offset any more (row R46).
                let has_failed = matches!(problem, Problem::ExceedsLength { .. }) && number > 6;
                let offset = offset.filter(|_| !has_failed);
                let response = refusal(problem.clone(), resource);
                let (status, fields) = answer_in(speaking(number), &response);
                assert_eq!(status, expected, "{problem:?}");
                let (name, text) = match number {
                    3 => ("upload-incomplete", "?1"),
                    _ => ("upload-complete", "?0"),
                };
                assert_eq!(value(&fields, name), Some(text), "{problem:?}");
                assert_eq!(value(&fields, "upload-limit"), Some("max-size=1000"));
                assert_eq!(value(&fields, "upload-offset"), offset);
                assert_eq!(value(&fields, "location"), None);
            }
        }
    }
}

#[test]
fn r12_a_refusal_tells_the_location_of_an_upload_that_is_there() {
    for (problem, _) in mendable() {
        let (_, fields) = answer(&Response::Refused {
            problem,
            location: Some(location()),
            resource: Some(resource()),
        });
        assert_eq!(value(&fields, "location"), Some(&*location()));
    }
}

#[test]
fn a_refusal_at_a_complete_upload_tells_that_it_is() {
    for problem in [Problem::UploadCompleted, Problem::UploadStalled] {
        let (_, fields) = answer(&refusal(problem, Some(complete())));
        assert_eq!(value(&fields, "upload-complete"), Some("?1"));
        assert_eq!(value(&fields, "upload-offset"), Some("10"));
    }
}

#[test]
fn r76_there_is_nothing_to_resume_of_content_that_is_not_what_was_announced() {
    for resource in [None, Some(resource()), Some(complete())] {
        let response = refusal(Problem::DigestMismatch, resource);
        let (status, fields) = answer(&response);
        assert_eq!(status, 400);
        assert_eq!(value(&fields, "upload-complete"), Some("?1"));
        assert_eq!(value(&fields, "upload-offset"), None);
        let (_, fields) = answer_in(speaking(3), &response);
        assert_eq!(value(&fields, "upload-incomplete"), Some("?0"));
    }
}

#[test]
fn a_method_that_is_not_there_says_nothing_of_an_upload() {
    let problem = Problem::MethodNotAllowed {
        allow: "GET".into(),
    };
    let (status, fields) = answer(&refusal(problem, None));
    assert_eq!(status, 405);
    assert_eq!(value(&fields, "upload-complete"), None);
    assert_eq!(value(&fields, "upload-limit"), None);
}

#[test]
fn only_another_media_type_is_told_the_right_one() {
    for (problem, _) in mendable() {
        let is_type = problem == Problem::InvalidContentType;
        let (_, fields) = answer(&refusal(problem, None));
        assert_eq!(value(&fields, "accept-patch").is_some(), is_type);
    }
}

#[test]
fn every_answer_tells_the_spoken_version_and_none_tells_that_of_tus() {
    let answers = |resource: Resource| {
        let refused = mendable().into_iter().map(|(problem, _)| problem);
        let refused = refused.chain([Problem::NotFound, Problem::DigestMismatch]);
        refused
            .map(move |problem| refusal(problem, Some(resource.clone())))
            .chain([
                super::creation(complete()),
                Response::Retrieved(complete()),
                Response::Appended(complete()),
                Response::Cancelled,
            ])
    };
    for response in answers(resource()) {
        for number in NUMBERS {
            let (_, fields) = answer_in(speaking(number), &response);
            let number = number.to_string();
            let told = value(&fields, "upload-draft-interop-version");
            assert_eq!(told, Some(&*number));
            assert_eq!(value(&fields, "x-content-type-options"), Some("nosniff"));
        }
        for dialect in [untold(), speaking(2), speaking(10)] {
            let (_, fields) = answer_in(dialect, &response);
            assert_eq!(value(&fields, "upload-draft-interop-version"), None);
            assert_eq!(value(&fields, "tus-resumable"), None);
        }
    }
}

#[test]
fn tus_has_its_own_words_for_a_refusal() {
    for problem in [
        Problem::ExceedsLength { length: 10 },
        Problem::ChecksumMismatch,
        Problem::NotFound,
    ] {
        assert_eq!(Dialect::Tus1.refusal(problem.clone()), problem);
    }
    // And for an upload of the draft, of which it may ask.
    let fields = Dialect::Tus1.fields(&Response::Retrieved(complete()), &SETTINGS);
    assert_eq!(value(&fields, "upload-complete"), None);
    assert_eq!(value(&fields, "upload-limit"), None);
}
