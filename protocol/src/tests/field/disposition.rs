//! RFC 6266; protocol reference, "GET download".

use proptest::prelude::*;

use crate::field::disposition::{content_disposition, may_inline};

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

/// The bytes of the extended form: `attr-char` and the percent sign (RFC 8187, section 3.2.1).
fn is_extended(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"%!#$&+-.^_`|~".contains(&byte)
}

proptest! {
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
