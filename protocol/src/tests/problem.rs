//! Contract, "Errors"; protocol reference, "Status codes in tus mode".

use std::collections::BTreeSet;

use http::StatusCode;

use crate::field::{Fault, name};
use crate::problem::{ALL_SLUGS, Member, Problem, explanation, types};

/// Every problem once, with the status of its row.
fn rows() -> Vec<(Problem, u16)> {
    let expected = Problem::OffsetMismatch {
        expected: 5,
        provided: 7,
    };
    let conflict = Problem::LengthConflict {
        known: 5,
        declared: 7,
    };
    let below = Problem::LengthBelowOffset {
        offset: 5,
        declared: 4,
    };
    let cancelled = Problem::UploadCancelled {
        reason: None,
        at: None,
    };
    let method = Problem::MethodNotAllowed {
        allow: "GET, HEAD".into(),
    };
    let upgrade = Problem::UpgradeRequired {
        protocol: "websocket",
    };
    vec![
        (Problem::validation("ids", "must not be empty"), 400),
        (
            Problem::BadRequest {
                detail: "Not JSON.".into(),
            },
            400,
        ),
        (Problem::Unauthorized { fault: None }, 401),
        (Problem::ForeignOrigin, 403),
        (Problem::Forbidden, 403),
        (Problem::NotFound, 404),
        (method, 405),
        (upgrade, 426),
        (Problem::PreconditionFailed, 412),
        (Problem::RangeNotSatisfiable { length: 9 }, 416),
        (Problem::HeaderTooLarge, 431),
        (Problem::UnsupportedVersion, 412),
        (Problem::InvalidContentType, 415),
        (Problem::UnsupportedContentEncoding, 415),
        (Problem::MissingOffset, 400),
        (expected, 409),
        (Problem::LengthRequired, 400),
        (conflict, 400),
        (below, 400),
        (Problem::TooLarge { limit: 9 }, 413),
        (Problem::ExceedsLength { length: 9 }, 413),
        (Problem::UnknownChecksumAlgorithm, 400),
        (Problem::ChecksumMismatch, 460),
        (Problem::FinalUpload, 403),
        (Problem::IdTaken, 409),
        (Problem::CursorUnknown, 409),
        (Problem::NotJson, 415),
        (Problem::NotAForm, 415),
        (Problem::BodyTooLarge { limit: 7 }, 413),
        (Problem::InvalidPart { part: 2 }, 400),
        (Problem::PartNotFound { part: 2 }, 404),
        (Problem::UploadIncomplete, 409),
        (cancelled, 410),
    ]
    .into_iter()
    .chain(rows_of_the_draft())
    .chain(rows_of_an_end())
    .chain(rows_of_a_limit())
    .chain(rows_of_other_modules())
    .collect()
}

/// Those that come to an upload, or a request, in the midst of it.
fn rows_of_an_end() -> [(Problem, u16); 9] {
    [
        (Problem::UploadExpired, 410),
        (Problem::UploadFailed, 410),
        (Problem::UploadSuperseded, 400),
        (Problem::UploadStalled, 503),
        (Problem::UploadBusy, 423),
        (Problem::StorageFull, 507),
        (Problem::ShuttingDown { retry_after: 5 }, 503),
        (Problem::Unavailable { retry_after: 5 }, 503),
        (Problem::Internal, 500),
    ]
}

fn rows_of_other_modules() -> Vec<(Problem, u16)> {
    let too_many = Problem::TooManyItems {
        limit: 9,
        retry_after: 5,
    };
    let rows = [
        (Problem::AlreadyQueued, 409),
        (Problem::CancelWon, 409),
        (Problem::LeaseLost, 409),
        (too_many, 429),
    ];
    rows.into_iter().chain(rows_of_exports()).collect()
}

fn rows_of_exports() -> [(Problem, u16); 5] {
    let running = Problem::ExportRunning {
        job: "1".into(),
        retry_after: 5,
    };
    let cancelled = Problem::ExportCancelled {
        reason: Some("Wrong images.".into()),
        at: Some(7),
    };
    [
        (running, 429),
        (Problem::ExportIncomplete, 409),
        (cancelled, 410),
        (Problem::ExportExpired, 410),
        (Problem::ExportFailed, 410),
    ]
}

/// Those that a caller or a project comes to who has too much.
fn rows_of_a_limit() -> [(Problem, u16); 4] {
    let (limit, retry_after) = (9, 5);
    [
        (Problem::QuotaExceeded { quota: 9, used: 7 }, 413),
        (Problem::TooManyUploads { limit, retry_after }, 429),
        (Problem::TooManyStreams { limit, retry_after }, 429),
        (Problem::TooManyRequests { retry_after }, 429),
    ]
}

/// Those that only an upload of the IETF draft, or an append to one, comes to.
fn rows_of_the_draft() -> [(Problem, u16); 6] {
    [
        (Problem::OtherProtocol, 400),
        (Problem::UploadCompleted, 400),
        (Problem::AppendTooSmall { limit: 9 }, 400),
        (Problem::PastLength { length: 9 }, 400),
        (Problem::ContentDigestMismatch, 400),
        (Problem::DigestMismatch, 400),
    ]
}

#[test]
fn every_problem_has_its_status_and_its_page() {
    let mut seen = BTreeSet::new();
    for (problem, status) in rows() {
        assert_eq!(problem.status().as_u16(), status, "{problem:?}");
        assert!(seen.insert(problem.slug()), "{} twice", problem.slug());
        let (title, text) = explanation(problem.slug()).expect("a page");
        assert_eq!(title, problem.title());
        assert!(text.len() > 40, "{problem:?}");
        assert!(problem.detail().ends_with('.'), "{}", problem.detail());
    }
    assert_eq!(
        seen,
        ALL_SLUGS.into_iter().collect(),
        "a type without a problem"
    );
    assert_eq!(explanation("no-such-problem"), None);
}

#[test]
fn the_table_is_well_formed() {
    let unique = |of: fn(&types::Type) -> &'static str| {
        types::ALL
            .into_iter()
            .map(of)
            .collect::<BTreeSet<_>>()
            .len()
            == types::ALL.len()
    };
    assert!(unique(|kind| kind.slug) && unique(|kind| kind.code) && unique(|kind| kind.title));
    for kind in types::ALL {
        let status = StatusCode::from_u16(kind.status).expect("a status");
        assert!(status.is_client_error() || status.is_server_error());
        assert!(
            kind.slug
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        );
        let code = kind.slug.to_ascii_uppercase().replace('-', "_");
        assert!(
            kind.code == code || kind.code == "VALIDATION_ERROR",
            "{}",
            kind.slug
        );
        assert!(!kind.text.contains("  "), "{}", kind.slug);
    }
}

#[test]
fn interruptions_by_the_server_are_retried_by_clients_and_take_over_is_not() {
    // tus-js-client retries 5xx, 409 and 423, and no other 4xx.
    let retried = [
        Problem::UploadStalled,
        Problem::UploadBusy,
        Problem::StorageFull,
        Problem::ShuttingDown { retry_after: 1 },
    ];
    let is_retried = |problem: &Problem| {
        problem.status().is_server_error() || matches!(problem.status().as_u16(), 409 | 423)
    };
    assert!(retried.iter().all(is_retried));
    assert!(!is_retried(&Problem::UploadSuperseded));
    for (problem, _) in rows_of_a_limit() {
        assert!(!is_retried(&problem), "{problem:?}");
    }
}

#[test]
fn members_carry_what_a_program_needs() {
    let number = |name, number| vec![(name, Member::Number(number))];
    let mismatch = Problem::OffsetMismatch {
        expected: 5,
        provided: 7,
    };
    let both = [number("expected-offset", 5), number("provided-offset", 7)].concat();
    assert_eq!(mismatch.members(), both);
    assert_eq!(Problem::TooLarge { limit: 9 }.members(), number("limit", 9));
    assert_eq!(
        Problem::ExceedsLength { length: 9 }.members(),
        number("length", 9)
    );
    assert_eq!(
        Problem::InvalidPart { part: 2 }.members(),
        number("part", 2)
    );
    assert_eq!(Problem::Internal.members(), vec![]);
    let cancelled = Problem::UploadCancelled {
        reason: Some("wrong file".into()),
        at: Some(1),
    };
    let expected = vec![
        ("reason", Member::Text("wrong file".into())),
        ("cancelledAt", Member::Time(1)),
    ];
    assert_eq!(cancelled.members(), expected);
    assert_eq!(cancelled.detail(), "The upload was cancelled: wrong file");
}

#[test]
fn what_is_told_of_a_limit() {
    let [quota, uploads, streams, requests] = rows_of_a_limit().map(|(problem, _)| problem);
    let members = vec![("quota", Member::Number(9)), ("used", Member::Number(7))];
    assert_eq!((quota.members(), quota.retry_after()), (members, None));
    for problem in [uploads, streams] {
        assert_eq!(problem.members(), vec![("limit", Member::Number(9))]);
        assert_eq!(problem.retry_after(), Some(5));
        assert!(problem.detail().starts_with("9 "), "{problem}");
    }
    assert_eq!(
        (requests.members(), requests.retry_after()),
        (vec![], Some(5))
    );
}

#[test]
fn members_of_refusals_of_the_draft() {
    let number = |name, number| vec![(name, Member::Number(number))];
    let table = [
        (Problem::PastLength { length: 9 }, number("length", 9)),
        (Problem::AppendTooSmall { limit: 9 }, number("limit", 9)),
        (Problem::OtherProtocol, vec![]),
        (Problem::UploadCompleted, vec![]),
        (Problem::ContentDigestMismatch, vec![]),
        (Problem::DigestMismatch, vec![]),
    ];
    for (problem, members) in table {
        assert_eq!(problem.members(), members, "{problem:?}");
        assert_eq!(problem.retry_after(), None);
        assert_eq!(problem.reason_phrase(), None);
    }
    let conflict = Problem::LengthConflict {
        known: 5,
        declared: 7,
    };
    assert_eq!(conflict.members(), number("length", 5));
    let detail = "At least 9 bytes, or none, while more is to follow.";
    assert_eq!(Problem::AppendTooSmall { limit: 9 }.detail(), detail);
}

#[test]
fn an_address_is_the_registered_one_or_that_of_a_page() {
    let registered = [
        ("offset-mismatch", "mismatching-upload-offset"),
        ("length-conflict", "inconsistent-upload-length"),
    ];
    let mut seen = BTreeSet::new();
    for (problem, _) in rows() {
        let slug = problem.slug();
        let name = registered.iter().find(|(ours, _)| *ours == slug);
        let expected = match name {
            Some((_, name)) => format!("https://iana.org/assignments/http-problem-types#{name}"),
            None => format!("/problems/{slug}"),
        };
        assert_eq!(problem.uri(), expected);
        assert!(seen.insert(problem.uri()));
    }
}

#[test]
fn t73_the_reason_phrase_of_460() {
    assert_eq!(
        Problem::ChecksumMismatch.reason_phrase(),
        Some("Checksum Mismatch")
    );
    assert_eq!(Problem::NotFound.reason_phrase(), None);
}

#[test]
fn fields_that_go_with_a_problem() {
    assert_eq!(
        Problem::ShuttingDown { retry_after: 5 }.retry_after(),
        Some(5)
    );
    assert_eq!(
        Problem::Unavailable { retry_after: 6 }.retry_after(),
        Some(6)
    );
    assert_eq!(Problem::UploadStalled.retry_after(), None);
    assert_eq!(
        Problem::MethodNotAllowed {
            allow: "GET".into()
        }
        .allow(),
        Some("GET")
    );
    assert_eq!(Problem::NotFound.allow(), None);
    let upgrade = Problem::UpgradeRequired {
        protocol: "websocket",
    };
    assert_eq!(upgrade.upgrade(), Some("websocket"));
    assert_eq!(Problem::NotFound.upgrade(), None);
    assert_eq!(Problem::Forbidden.challenge(), None);
}

#[test]
fn a_challenge_says_what_is_wrong_with_a_token_if_there_was_one() {
    let missing = Problem::Unauthorized { fault: None };
    assert_eq!(
        missing.challenge().as_deref(),
        Some("Bearer realm=\"tidegate\"")
    );
    assert_eq!(missing.detail(), "A token is needed.");
    let expired = Problem::Unauthorized {
        fault: Some("The token has expired"),
    };
    assert_eq!(
        expired.challenge().as_deref(),
        Some(
            "Bearer realm=\"tidegate\", error=\"invalid_token\", \
             error_description=\"The token has expired\""
        )
    );
    assert_eq!(expired.detail(), "The token has expired.");
}

#[test]
fn a_faulty_field_becomes_a_problem() {
    let problem = Problem::from(Fault::NotCount.of(name::UPLOAD_OFFSET));
    let message = "must be a non-negative decimal number";
    assert_eq!(problem.errors(), Some(("upload-offset", message)));
    assert_eq!(problem.detail(), format!("upload-offset: {message}."));
    let unknown = Problem::from(Fault::UnknownAlgorithm.of(name::UPLOAD_CHECKSUM));
    assert_eq!(unknown, Problem::UnknownChecksumAlgorithm);
    let long = Problem::from(Fault::TooLong { bytes_max: 1 }.of(name::UPLOAD_METADATA));
    assert_eq!(long, Problem::HeaderTooLarge);
    assert_eq!(long.errors(), None);
}
