//! Section 2.8: what the interop versions have in common and what not. The details are in the files
//! of what they are about.

use http::{Method, StatusCode};

use super::{
    SETTINGS, answer_in, complete, creation, decode_with, head, resource, speaking, value,
};
use crate::dialect::{Dialect, Settings, Target, rufh};
use crate::problem::Problem;
use crate::request::{Completion, Overrun, Protocol, Request};
use crate::response::{Interim, Resource, Response};

/// One column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Column {
    inverted: bool,
    /// What an append without the field means.
    omitted: Option<Completion>,
    any_media_type: bool,
    /// The rules of an upload that is created in it.
    protocol: Protocol,
    appended: u16,
    /// Whether HEAD with an offset, and with a length, is refused.
    strict: (bool, bool),
    overrun: Overrun,
    expires: bool,
    progress: bool,
}

const NEWEST: Column = Column {
    inverted: false,
    omitted: None,
    any_media_type: false,
    protocol: Protocol::Draft,
    appended: 204,
    strict: (false, false),
    overrun: Overrun::Invalidate,
    expires: false,
    progress: true,
};

fn column(number: u64) -> Column {
    let to_5 = Column {
        any_media_type: true,
        protocol: Protocol::EarlyDraft,
        appended: 201,
        strict: (true, false),
        overrun: Overrun::KeepToLength,
        ..NEWEST
    };
    match number {
        3 => Column {
            inverted: true,
            omitted: Some(Completion::AtEnd),
            progress: false,
            ..to_5
        },
        4 => Column {
            progress: false,
            ..to_5
        },
        5 => to_5,
        6 => Column {
            any_media_type: false,
            strict: (true, true),
            expires: true,
            ..to_5
        },
        _ => NEWEST,
    }
}

/// What a dialect turns out to be like. `version` is the line that tells it.
fn observed(version: Option<&str>, settings: &Settings) -> Column {
    let told = version.map(|text| ("upload-draft-interop-version", text));
    let decode = |method: Method, lines: &[(&str, &str)]| {
        let lines: Vec<_> = told.into_iter().chain(lines.iter().copied()).collect();
        decode_with(settings, Target::Upload, &method, &lines, None)
    };
    let partial = super::PARTIAL;
    let any_type = ("content-type", "text/plain");
    let offset = super::OFFSET_5;
    let inverted = decode(
        Method::PATCH,
        &[partial, offset, ("upload-incomplete", "?1")],
    );
    let inverted = matches!(inverted, Ok(Request::Append(append))
        if append.completion != Completion::AtEnd);
    let more = match inverted {
        true => ("upload-incomplete", "?1"),
        false => ("upload-complete", "?0"),
    };
    let append = |lines: &[(&str, &str)]| match decode(Method::PATCH, lines) {
        Ok(Request::Append(append)) => Some(append),
        Ok(_) => panic!("not an append"),
        Err(_) => None,
    };
    let lines: Vec<_> = told.into_iter().chain([more]).collect();
    let created = decode_with(settings, Target::Creation, &Method::POST, &lines, Some(0));
    let Ok(Request::Create(created)) = created else {
        panic!("not a creation");
    };
    let refused = |line| decode(Method::HEAD, &[partial, line]).is_err();
    let lines: Vec<_> = told.into_iter().chain([partial]).collect();
    let dialect = Dialect::detect(&head(&Method::PATCH, &lines)).expect("a dialect");
    let expiring = Resource {
        expires_in: Some(60),
        ..resource()
    };
    let fields = dialect.fields(&Response::Retrieved(expiring), settings);
    let limit = value(&fields, "upload-limit").expect("limits");
    let progress = dialect.interim(&Interim::Progress { offset: 1 }, settings);
    let spoken = value(&fields, "upload-draft-interop-version").is_some();
    Column {
        inverted,
        omitted: append(&[partial, offset]).map(|append| append.completion),
        any_media_type: append(&[any_type, offset, more]).is_some(),
        protocol: created.protocol,
        appended: dialect.status(&Response::Appended(resource())).as_u16(),
        strict: (refused(offset), refused(super::LENGTH_5)),
        overrun: append(&[partial, offset, more]).expect("an append").overrun,
        expires: limit.contains("expires=60") && limit.contains("max-age=60"),
        // Whoever speaks no known version is told nothing ahead, and no version has no such thing.
        progress: progress.is_some() || !spoken,
    }
}

#[test]
fn every_version_is_as_the_table_says() {
    for number in 3..=9 {
        let column = column(number);
        let text = number.to_string();
        assert_eq!(observed(Some(&text), &SETTINGS), column, "version {number}");
        // Structured fields may have parameters, and an Integer leading zeros.
        for text in [
            format!("{number};a=b"),
            format!("00{number}"),
            format!(" {number} "),
        ] {
            assert_eq!(observed(Some(&text), &SETTINGS), column, "{text:?}");
        }
    }
}

#[test]
fn a_version_that_is_not_known_is_taken_for_the_newest() {
    let newer = Settings {
        interop_max: 12,
        ..SETTINGS
    };
    for settings in [SETTINGS, newer] {
        for text in ["0", "1", "2", "10", "11", "12", "13", "999999999999999"] {
            assert_eq!(observed(Some(text), &settings), NEWEST, "{text}");
        }
        // As is one that does not parse, and none.
        for text in ["", "-3", "+3", "3.0", "x", "3, 3", "1000000000000000"] {
            assert_eq!(observed(Some(text), &settings), NEWEST, "{text:?}");
        }
        assert_eq!(observed(None, &settings), NEWEST);
    }
    assert_eq!(rufh::NEWEST, 9);
}

#[test]
fn r41_every_version_is_told_201_when_it_has_created_or_completed() {
    for number in 3..=9 {
        let dialect = speaking(number);
        for response in [
            creation(resource()),
            creation(complete()),
            Response::Appended(complete()),
        ] {
            assert_eq!(answer_in(dialect, &response).0, StatusCode::CREATED);
        }
    }
}

#[test]
fn the_version_of_an_answer_is_that_of_the_request() {
    for number in [3, 6, 9, 10, 11] {
        let settings = Settings {
            interop_max: 10,
            ..SETTINGS
        };
        let fields = speaking(number).fields(&Response::Cancelled, &settings);
        let text = number.to_string();
        let told = value(&fields, "upload-draft-interop-version");
        assert_eq!(told, (number <= 10).then_some(&*text));
    }
}

#[test]
fn a_refusal_has_the_same_words_in_every_version() {
    for number in 3..=9 {
        let dialect = speaking(number);
        let past = dialect.refusal(Problem::ExceedsLength { length: 10 });
        assert_eq!(past, Problem::PastLength { length: 10 });
        let digest = dialect.refusal(Problem::ChecksumMismatch);
        assert_eq!(digest, Problem::ContentDigestMismatch);
        assert_eq!(dialect.refusal(Problem::NotFound), Problem::NotFound);
        let limit = Problem::TooLarge { limit: 9 };
        assert_eq!(dialect.refusal(limit.clone()), limit);
    }
}
