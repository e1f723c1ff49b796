//! RFC 6266; protocol reference, "GET download".

use proptest::prelude::*;

use crate::field::disposition::{content_disposition, file_name, may_inline};

#[test]
fn only_harmless_types_are_shown() {
    let shown = [
        "text/plain",
        "TEXT/Plain",
        "text/plain; charset=utf-8",
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/bmp",
        "image/webp",
        "audio/wave",
        "audio/wav",
        "audio/x-wav",
        "audio/x-pn-wav",
        "audio/webm",
        "audio/ogg",
        "video/mp4",
        "video/webm; codecs=\"vp9\"",
        "video/ogg",
        "application/ogg",
    ];
    for text in shown {
        assert!(may_inline(text), "{text}");
    }
    let saved = [
        "",
        "text/html",
        "image/svg+xml",
        "application/xml",
        "text/xml",
        "application/xhtml+xml",
        "application/pdf",
        "application/octet-stream",
        "text/javascript",
        "text/plain, text/html",
        "text/plain; x=y",
        "text/plain;",
        "text/plain; charset",
        "image/png;image/svg+xml",
        "image/*",
    ];
    for text in saved {
        assert!(!may_inline(text), "{text}");
    }
}

#[test]
fn names_come_in_both_forms() {
    let cases = [
        (
            "a.tif",
            "attachment; filename=\"a.tif\"; filename*=UTF-8''a.tif",
        ),
        (
            "a b.tif",
            "attachment; filename=\"a b.tif\"; filename*=UTF-8''a%20b.tif",
        ),
        (
            "ä€.tif",
            "attachment; filename=\"__.tif\"; filename*=UTF-8''%C3%A4%E2%82%AC.tif",
        ),
        ("a\"b\\", "attachment"),
        (
            "a\"; x=\"y",
            "attachment; filename=\"a_; x=_y\"; filename*=UTF-8''a%22%3B%20x%3D%22y",
        ),
        (
            "100%41",
            "attachment; filename=\"100_41\"; filename*=UTF-8''100%2541",
        ),
        (
            "it's (1)*",
            "attachment; filename=\"it's (1)*\"; filename*=UTF-8''it%27s%20%281%29%2A",
        ),
        (
            "a\r\nX: y",
            "attachment; filename=\"aX: y\"; filename*=UTF-8''aX%3A%20y",
        ),
        ("../../x", "attachment; filename=\"x\"; filename*=UTF-8''x"),
        ("\u{202e}", "attachment"),
        ("", "attachment"),
    ];
    for (name, expected) in cases {
        assert_eq!(content_disposition(Some(name), None), expected, "{name:?}");
    }
}

#[test]
fn type_and_name_are_independent() {
    assert_eq!(content_disposition(None, None), "attachment");
    assert_eq!(content_disposition(None, Some("image/png")), "inline");
    assert_eq!(
        content_disposition(Some("x.png"), Some("text/html")).as_bytes()[..10],
        *b"attachment"
    );
}

#[test]
fn the_name_of_an_upload_is_the_extended_one_or_the_plain_one() {
    let cases = [
        ("attachment; filename=a.tif", Some("a.tif")),
        ("attachment; filename=\"a b.tif\"", Some("a b.tif")),
        (
            "form-data; name=\"f\"; filename=\"a;b=c.tif\"",
            Some("a;b=c.tif"),
        ),
        ("inline ; FileName=a", Some("a")),
        ("x;filename=a;creation-date=\"now\"", Some("a")),
        ("x; filename*=UTF-8''%e2%82%ac%20rates", Some("€ rates")),
        ("x; filename*=utf-8'en'a", Some("a")),
        ("x; filename*=UTF-8''%C3%A4; filename=a", Some("ä")),
        ("x; filename=a; filename*=UTF-8''%C3%A4", Some("ä")),
        // Quotes may be escaped, and so may anything else.
        (r#"x; filename="a\"\\\b""#, Some("b")),
        (r#"x; filename="a\".tif""#, Some("a\".tif")),
    ];
    for (value, name) in cases {
        assert_eq!(file_name(value).as_deref(), name, "{value}");
    }
}

#[test]
fn an_extended_name_that_is_not_valid_is_none() {
    let cases = [
        "iso-8859-1''%e4",
        "''a",
        "UTF-8'a",
        "UTF-8",
        "UTF-8''%",
        "UTF-8''%4",
        "UTF-8''%zz",
        "UTF-8''%+4",
        "UTF-8''%ff",
        "UTF-8''%c3",
        "\"UTF-8''a\"",
    ];
    for extended in cases {
        let alone = format!("x; filename*={extended}");
        assert_eq!(file_name(&alone), None, "{alone}");
        let beside = format!("{alone}; filename=plain");
        assert_eq!(file_name(&beside).as_deref(), Some("plain"), "{beside}");
    }
}

#[test]
fn a_disposition_that_does_not_parse_has_no_name() {
    for value in [
        "",
        ";",
        "attachment",
        "attachment;",
        "filename=a",
        "x; filename",
        "x; filename=",
        "x; filename=\"\"",
        "x; filename=\"a",
        "x; filename=\"a\\",
        "x; filename=a b",
        "x; filename=\"a\"b",
        "x; filename=a, y; filename=b",
        "x; filename =a",
        "x; =a",
        "x; filename=ä",
        "x; filename=a; b",
        "x; filename*1=a",
    ] {
        assert_eq!(file_name(value), None, "{value}");
    }
}

#[test]
fn r84_the_name_of_an_upload_is_display_text() {
    let cases = [
        ("x; filename=\"../../etc/passwd\"", Some("passwd")),
        ("x; filename=\"C:\\\\temp\\\\x.exe\"", Some("x.exe")),
        ("x; filename=\"..\"", None),
        ("x; filename=\"  \"", None),
        ("x; filename*=UTF-8''a%0d%0aX%3A%20y%00", Some("aX: y")),
        ("x; filename*=UTF-8''%E2%80%AEa", Some("a")),
        ("x; filename*=UTF-8''%2e%2e%2fa", Some("a")),
    ];
    for (value, name) in cases {
        assert_eq!(file_name(value).as_deref(), name, "{value}");
    }
}

/// The bytes of the extended form: `attr-char` and the percent sign (RFC 8187, section 3.2.1).
fn is_extended(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"%!#$&+-.^_`|~".contains(&byte)
}

proptest! {
    /// What a download is called is what an upload may be called.
    #[test]
    fn a_name_that_is_told_is_read(name: String) {
        let value = content_disposition(Some(&name), None);
        let told = file_name(value.to_str().expect("printable ASCII"));
        prop_assert_eq!(told, crate::field::display::file_name(&name));
    }

    #[test]
    fn no_disposition_panics(
        any: String,
        near in "x; ?filename\\*?=[a\"\\\\%'=;/ 4cüUTF8-]{0,24}",
    ) {
        for value in [any, near] {
            if let Some(name) = file_name(&value) {
                prop_assert!(!name.is_empty() && !name.contains(['/', '\\']));
            }
        }
    }

    #[test]
    fn nothing_breaks_out(
        name: String,
        near in "[a\"\\\\%;=/\r\n\0\u{202e}ü ]{0,40}",
        media_type: String,
    ) {
        for name in [name, near] {
            let value = content_disposition(Some(&name), Some(&media_type));
            let text = value.to_str().expect("printable ASCII").to_owned();
            prop_assert!(text.starts_with("attachment"));
            if text != "attachment" {
                let quoted = text.strip_prefix("attachment; filename=\"").expect("quoted");
                let (inner, rest) = quoted.split_once('"').expect("closed");
                prop_assert!(!inner.contains(['\\', '/', '%']));
                let full = rest.strip_prefix("; filename*=UTF-8''").expect("the full form");
                prop_assert!(full.bytes().all(is_extended));
            }
        }
    }
}
