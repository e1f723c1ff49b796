//! Rows H4, T36 and T37.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::headers;
use crate::field::Fault;
use crate::field::metadata::{BYTES_MAX, Metadata};
use crate::field::name::UPLOAD_METADATA;

fn parse(value: &str) -> Result<Metadata, Fault> {
    Metadata::parse(value.as_bytes(), BYTES_MAX)
}

fn pairs(value: &str) -> Vec<(String, Vec<u8>)> {
    let metadata = parse(value).unwrap_or_else(|fault| panic!("{value:?}: {fault}"));
    metadata
        .pairs()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn pair(key: &str, value: &[u8]) -> (String, Vec<u8>) {
    (key.to_owned(), value.to_vec())
}

#[test]
fn h4_pairs_in_order() {
    let example = "filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential";
    let expected = vec![
        pair("filename", b"world_domination_plan.pdf"),
        pair("is_confidential", b""),
    ];
    assert_eq!(pairs(example), expected);
}

#[test]
fn h4_an_empty_field_is_no_metadata() {
    for value in ["", " ", " \t "] {
        assert_eq!(pairs(value), vec![], "{value:?}");
    }
    assert_eq!(
        Metadata::from_headers(&headers(&[]), BYTES_MAX),
        Ok(Metadata::default())
    );
    let empty = headers(&[(UPLOAD_METADATA, "")]);
    assert_eq!(
        Metadata::from_headers(&empty, BYTES_MAX),
        Ok(Metadata::default())
    );
}

#[test]
fn h4_an_empty_value_with_and_without_its_space() {
    assert_eq!(
        pairs("a ,b,c YQ=="),
        vec![pair("a", b""), pair("b", b""), pair("c", b"a")]
    );
}

#[test]
fn h4_blanks_around_commas_are_tolerated() {
    assert_eq!(
        pairs(" a YQ== ,\tb Yg== "),
        vec![pair("a", b"a"), pair("b", b"b")]
    );
}

#[test]
fn h4_keys_are_case_sensitive_and_may_be_any_text() {
    let expected = vec![
        pair("a", b"a"),
        pair("A", b"a"),
        pair("schlüssel=1/2", b"a"),
    ];
    assert_eq!(pairs("a YQ==,A YQ==,schlüssel=1/2 YQ=="), expected);
}

#[test]
fn h4_what_is_refused() {
    let refused: [(&str, Fault); 14] = [
        ("a YQ==,a Yg==", Fault::DuplicateKey),
        ("a,b,a", Fault::DuplicateKey),
        (",", Fault::EmptyKey),
        ("a YQ==,", Fault::EmptyKey),
        ("a YQ==,,b Yg==", Fault::EmptyKey),
        ("a  YQ==", Fault::NotPair),
        ("a YQ== Yg==", Fault::NotPair),
        ("a\tYQ==", Fault::NotPair),
        ("a YQ", Fault::NotBase64),
        ("a YQ=", Fault::NotBase64),
        ("a YR==", Fault::NotBase64),
        ("a Y-_=", Fault::NotBase64),
        ("a ====", Fault::NotBase64),
        ("a YQ==\r\nx: y", Fault::NotText),
    ];
    for (value, fault) in refused {
        assert_eq!(parse(value), Err(fault), "{value:?}");
    }
    assert_eq!(
        Metadata::parse(b"a\xff YQ==", BYTES_MAX),
        Err(Fault::NotText)
    );
}

#[test]
fn h4_one_field_line_only() {
    let twice = headers(&[(UPLOAD_METADATA, "a YQ=="), (UPLOAD_METADATA, "b Yg==")]);
    let refused = Metadata::from_headers(&twice, BYTES_MAX);
    assert_eq!(refused, Err(Fault::Repeated.of(UPLOAD_METADATA)));
}

#[test]
fn h4_the_bound_is_on_the_field_as_received() {
    assert!(Metadata::parse(b"a YWFh", 6).is_ok());
    assert_eq!(
        Metadata::parse(b"a YWFh ", 6),
        Err(Fault::TooLong { bytes_max: 6 })
    );
}

#[test]
fn t36_the_field_is_kept_byte_for_byte() {
    for value in ["a YQ== , b", " b Yg==,\ta ", "", " "] {
        assert_eq!(parse(value).as_ref().map(Metadata::raw), Ok(value));
        assert_eq!(parse(value), Ok(Metadata::from_stored(value.to_owned())));
    }
}

#[test]
fn t37_names_are_display_text() {
    let named: [(&str, &[u8], Option<&str>); 8] = [
        ("filename", b"a.tif", Some("a.tif")),
        ("name", b"b.tif", Some("b.tif")),
        ("filename", b"../../etc/passwd", Some("passwd")),
        ("filename", b"C:\\temp\\x.exe", Some("x.exe")),
        ("filename", b"a\r\nb\0.tif", Some("ab.tif")),
        ("filename", b"\xff.tif", Some("\u{fffd}.tif")),
        ("filename", b"..", None),
        ("title", b"a.tif", None),
    ];
    for (key, value, expected) in named {
        let metadata = parse(&format!("{key} {}", STANDARD.encode(value))).expect("valid");
        assert_eq!(metadata.filename().as_deref(), expected, "{key} {value:?}");
    }
    let both = parse("name Yg==,filename YQ==").expect("valid");
    assert_eq!(both.filename().as_deref(), Some("a"));
    let fallback = parse("filename ,name Yg==").expect("valid");
    assert_eq!(fallback.filename().as_deref(), Some("b"));
}

#[test]
fn t37_types_keep_their_slash() {
    let metadata = parse("type aW1hZ2UvdGlmZg0K").expect("valid");
    assert_eq!(metadata.filetype().as_deref(), Some("image/tiff"));
    assert_eq!(metadata.value("type"), Some(b"image/tiff\r\n".to_vec()));
}

#[test]
fn a_value_is_added_where_there_is_none() {
    let cases = [
        ("", "a YQ=="),
        (" ", " a YQ=="),
        ("b Yg==", "b Yg==,a YQ=="),
        ("b ,c", "b ,c,a YQ=="),
        // There is something already, be it nothing.
        ("a Yg==", "a Yg=="),
        ("b, a", "b, a"),
        ("a ", "a "),
        ("A Yg==", "A Yg==,a YQ=="),
    ];
    for (before, after) in cases {
        let metadata = parse(before).expect("valid").with("a", "a");
        assert_eq!(metadata.raw(), after, "{before:?}");
        assert_eq!(parse(metadata.raw()), Ok(metadata));
    }
    let empty = Metadata::default().with("a", "");
    assert_eq!(empty.value("a"), Some(vec![]));
}

#[test]
fn other_metadata_adds_what_is_not_there() {
    let cases = [
        ("", "", ""),
        ("", " a YQ== , b", " a YQ== , b"),
        (" ", "a", "a"),
        ("a YQ==", "", "a YQ=="),
        ("a YQ==", "a Yg==", "a YQ=="),
        ("a YQ==", " a Yg== , b Yg==,c ", "a YQ==,b Yg==,c"),
    ];
    for (first, other, both) in cases {
        let metadata = parse(first).expect("valid");
        let metadata = metadata.or(&parse(other).expect("valid"));
        assert_eq!(metadata.raw(), both, "{first:?} or {other:?}");
        assert_eq!(parse(both), Ok(metadata));
    }
    let damaged = Metadata::from_stored("b !,,c".to_owned());
    let metadata = parse("a").expect("valid").or(&damaged);
    assert_eq!(metadata.raw(), "a,c");
}

#[test]
fn a_damaged_stored_field_has_only_its_sound_pairs() {
    let metadata = Metadata::from_stored("a YQ==,b !,,c".to_owned());
    let keys: Vec<_> = metadata.pairs().map(|(key, _)| key).collect();
    assert_eq!(keys, ["a", "c"]);
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        pairs in prop::collection::btree_map("[!-+\\--~]{1,12}", any::<Vec<u8>>(), 0..8),
        blanks in "[ \t]{0,2}",
    ) {
        let list: Vec<_> =
            pairs.iter().map(|(key, value)| format!("{key} {}", STANDARD.encode(value))).collect();
        let raw = list.join(&format!("{blanks},{blanks}"));
        let metadata = Metadata::parse(raw.as_bytes(), usize::MAX);
        prop_assert!(metadata.is_ok(), "{:?} {:?}", raw, metadata);
        let metadata = metadata.unwrap_or_default();
        prop_assert_eq!(metadata.raw(), &raw);
        let read: Vec<_> = metadata.pairs().map(|(key, value)| (key.to_owned(), value)).collect();
        prop_assert_eq!(read, pairs.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_panic_and_what_is_kept_can_be_echoed(
        bytes: Vec<u8>,
        text in "[a-c=\t, A-D\u{7f}ü]{0,24}",
    ) {
        for value in [&bytes[..], text.as_bytes()] {
            if let Ok(metadata) = Metadata::parse(value, BYTES_MAX) {
                prop_assert_eq!(metadata.raw().as_bytes(), value);
                prop_assert!(http::HeaderValue::from_bytes(value).is_ok());
                let _ = (metadata.filename(), metadata.filetype());
            }
        }
    }
}
