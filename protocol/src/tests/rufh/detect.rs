//! Which dialect a request speaks (section 2.9 of the rows).

use http::Method;

use super::{LAST, Lines, NOT_LAST, PARTIAL, head, untold};
use crate::dialect::{Dialect, rufh::Interop};
use crate::request::Protocol;

const TUS: (&str, &str) = ("tus-resumable", "1.0.0");
const OFFSET_OCTET_STREAM: (&str, &str) = ("content-type", "application/offset+octet-stream");
const VERSION_6: (&str, &str) = ("upload-draft-interop-version", "6");

fn detect(lines: Lines<'_>) -> Option<Dialect> {
    let methods = [Method::POST, Method::PATCH, Method::HEAD, Method::OPTIONS];
    let all = methods.map(|method| Dialect::detect(&head(&method, lines)));
    assert!(all.iter().all(|one| *one == all[0]), "whatever the method");
    all[0]
}

#[test]
fn tus_resumable_wins_over_all_else() {
    let others: [Lines<'_>; 6] = [
        &[],
        &[LAST],
        &[("upload-incomplete", "?1")],
        &[VERSION_6],
        &[PARTIAL],
        // URLSession adds these to the PATCH of TUSKit.
        &[NOT_LAST, VERSION_6, OFFSET_OCTET_STREAM],
    ];
    for lines in others {
        for version in [TUS, ("tus-resumable", "0.2.2"), ("tus-resumable", "")] {
            let lines = [&[version], lines].concat();
            assert_eq!(detect(&lines), Some(Dialect::Tus1), "{lines:?}");
        }
    }
}

#[test]
fn any_field_of_the_draft_tells_even_if_it_is_not_valid() {
    let lines: [Lines<'_>; 9] = [
        &[LAST],
        &[NOT_LAST],
        &[("upload-complete", "true")],
        &[("upload-complete", "")],
        &[LAST, LAST],
        &[("upload-incomplete", "nonsense")],
        &[("upload-draft-interop-version", "six")],
        &[PARTIAL],
        &[("content-type", "Application/Partial-Upload; x=y")],
    ];
    for lines in lines {
        assert_eq!(detect(lines), Some(untold()), "{lines:?}");
    }
}

#[test]
fn the_media_type_of_tus_is_tus_unless_a_field_says_otherwise() {
    assert_eq!(detect(&[OFFSET_OCTET_STREAM]), Some(Dialect::Tus1));
    let both = detect(&[OFFSET_OCTET_STREAM, LAST]);
    assert_eq!(both, Some(untold()));
}

#[test]
fn what_both_have_and_what_none_has_tells_nothing() {
    let lines: [Lines<'_>; 6] = [
        &[],
        &[("upload-length", "5")],
        &[("upload-offset", "5")],
        &[("upload-metadata", "a")],
        &[("content-type", "application/octet-stream")],
        &[("content-digest", super::SHA256)],
    ];
    for lines in lines {
        assert_eq!(detect(lines), None, "{lines:?}");
    }
}

#[test]
fn what_tells_nothing_speaks_the_protocol_of_the_upload() {
    assert_eq!(Dialect::of(Protocol::Tus), Dialect::Tus1);
    let draft = Dialect::of(Protocol::Draft);
    assert_eq!(draft, Dialect::Rufh(Interop::UNTOLD));
}

#[test]
fn protocols_are_stored_by_a_word() {
    for protocol in [Protocol::Tus, Protocol::Draft] {
        assert_eq!(Protocol::parse(protocol.as_str()), Some(protocol));
    }
    for word in ["", "TUS", "rufh", "tus "] {
        assert_eq!(Protocol::parse(word), None);
    }
}
