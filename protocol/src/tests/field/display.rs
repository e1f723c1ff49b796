//! Row T37: what a client says is shown, never believed.

use proptest::prelude::*;

use crate::field::display::{CHARS_MAX, file_name, text};

#[test]
fn what_could_hide_or_reorder_is_removed() {
    let cases = [
        ("photo\u{202e}gpj.exe", Some("photogpj.exe")),
        ("\u{2066}a\u{2069}\u{200f}\u{061c}b", Some("ab")),
        ("a\u{2028}b\u{2029}c\u{200b}d\u{2060}", Some("abcd")),
        ("\u{feff}a\u{1b}[31m", Some("a[31m")),
        ("\u{85}\u{7f}\t\r\n", None),
        ("  a b  ", Some("a b")),
        ("👩\u{200d}🚀", Some("👩\u{200d}🚀")),
        ("", None),
    ];
    for (value, expected) in cases {
        assert_eq!(text(value).as_deref(), expected, "{value:?}");
    }
}

#[test]
fn a_file_name_is_the_last_segment() {
    let cases = [
        ("/etc/passwd", Some("passwd")),
        ("a\\b/c\\d.tif", Some("d.tif")),
        ("dir/", None),
        (".", None),
        (".\u{202e}.", None),
        ("...", Some("...")),
    ];
    for (value, expected) in cases {
        assert_eq!(file_name(value).as_deref(), expected, "{value:?}");
    }
}

#[test]
fn the_length_is_bounded_in_characters() {
    let long = "ü".repeat(CHARS_MAX + 1);
    assert_eq!(
        text(&long).map(|text| text.chars().count()),
        Some(CHARS_MAX)
    );
}

proptest! {
    #[test]
    fn cleaning_is_final(value: String) {
        for clean in [text, file_name] {
            if let Some(once) = clean(&value) {
                prop_assert!(!once.is_empty() && once.chars().count() <= CHARS_MAX);
                prop_assert!(!once.chars().any(char::is_control));
                prop_assert_eq!(clean(&once), Some(once));
            }
        }
    }
}
