//! `Upload-Id` (contract, "Cancel").

use http::{HeaderMap, HeaderValue};

use crate::field::id::Id;
use crate::field::{Fault, name};

const RANDOM: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

#[test]
fn a_random_uuid_in_canonical_form_is_an_id() {
    for text in [RANDOM, "ffffffff-ffff-4fff-bfff-ffffffffffff"] {
        assert_eq!(Id::parse(text.as_bytes()).unwrap().as_str(), text);
    }
}

#[test]
fn nothing_else_is() {
    let upper = RANDOM.to_uppercase();
    let braced = format!("{{{RANDOM}}}");
    for wrong in [
        "",
        "a",
        &upper,
        &braced,
        &RANDOM[1..],
        &format!("{RANDOM}0"),
        &format!(" {RANDOM}"),
        &RANDOM.replace('-', ""),
        &RANDOM.replace('-', "0"),
        // Version 1, version 7, and a variant of the past.
        "0f8fad5b-d9cb-169f-a165-70867728950e",
        "0f8fad5b-d9cb-769f-a165-70867728950e",
        "0f8fad5b-d9cb-469f-7165-70867728950e",
        "00000000-0000-0000-0000-000000000000",
        "0f8fad5b-d9cb-469f-a165-70867728950g",
        "../../../../../../../../etc/passwd00",
    ] {
        assert_eq!(Id::parse(wrong.as_bytes()), Err(Fault::NotUuid), "{wrong}");
    }
    assert_eq!(Id::parse(&[0xff; 36]), Err(Fault::NotUuid));
}

#[test]
fn a_header_section_has_one_or_none() {
    let mut headers = HeaderMap::new();
    assert_eq!(Id::from_headers(&headers), Ok(None));
    headers.append(name::UPLOAD_ID, HeaderValue::from_static(RANDOM));
    let found = Id::from_headers(&headers).unwrap().unwrap();
    assert_eq!(found.as_str(), RANDOM);
    headers.append(name::UPLOAD_ID, HeaderValue::from_static(RANDOM));
    let error = Id::from_headers(&headers).unwrap_err();
    assert_eq!(error, Fault::Repeated.of(name::UPLOAD_ID));
}
