//! What is shown to people: nothing that a server or a file's name says reaches a terminal as it is.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// The most characters of somebody else's text that are shown.
const SHOWN_CHARS_MAX: usize = 1000;

/// `text` without what would move a cursor, change a colour, turn the direction of writing or hide
/// something: such characters are shown as their escapes.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let is_long = text.chars().nth(SHOWN_CHARS_MAX).is_some();
    if !is_long && !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len().min(4 * SHOWN_CHARS_MAX));
    for c in text.chars().take(SHOWN_CHARS_MAX) {
        match is_unsafe(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    if is_long {
        shown.push_str("...");
    }
    Cow::Owned(shown)
}

/// A path as it is shown; what is no UTF-8 of it has replacement characters.
pub(super) fn path(path: &Path) -> String {
    clean(&path.to_string_lossy()).into_owned()
}

/// Whether a character is nothing but itself.
pub(super) fn is_plain(c: char) -> bool {
    !is_unsafe(c)
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        // Zero-width characters, line and paragraph separators, and what turns the direction.
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || ('\u{e0000}'..='\u{e007f}').contains(&c)
}

/// A number of bytes, in binary units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

/// A length of time, to the second, or to the tenth of one below ten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0..10 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            10..60 => write!(f, "{seconds} s"),
            60..3600 => write!(f, "{} min {:02} s", seconds / 60, seconds % 60),
            _ => write!(f, "{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        }
    }
}

/// A word as a shell reads it, and safe to show.
pub(super) fn quoted(word: &OsStr) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    match word.to_str() {
        Some(word) if !word.is_empty() && word.chars().all(is_plain) => word.to_owned(),
        Some(word) if !word.chars().any(is_unsafe) => format!("'{}'", word.replace('\'', r"'\''")),
        // As bash, zsh and newer shells read it.
        _ => format!("$'{}'", word.as_bytes().escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_that_is_more_than_text() {
        assert_eq!(clean("Zellen 1.tif"), "Zellen 1.tif");
        assert_eq!(clean("a\u{1b}[31mb\r\n"), "a\\u{1b}[31mb\\r\\n");
        assert_eq!(clean("exe\u{202e}fit."), "exe\\u{202e}fit.");
        for hidden in ["\u{9b}31m", "\u{200b}", "\u{2066}", "\u{feff}", "\u{7f}"] {
            assert!(clean(hidden).starts_with("\\u{"), "{hidden:?}");
        }
        let long = clean(&"x".repeat(SHOWN_CHARS_MAX + 1)).into_owned();
        assert_eq!(long.len(), SHOWN_CHARS_MAX + 3);
    }

    #[test]
    fn sizes_and_times_are_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        for (seconds, text) in [
            (1.25, "1.2 s"),
            (59.9, "59 s"),
            (61.0, "1 min 01 s"),
            (7260.0, "2 h 01 min"),
        ] {
            assert_eq!(Span(Duration::from_secs_f64(seconds)).to_string(), text);
        }
    }

    #[test]
    fn a_shell_reads_what_was_quoted() {
        let quoted = |word: &[u8]| quoted(OsStr::from_bytes(word));
        assert_eq!(quoted(b"data/a.tif"), "data/a.tif");
        assert_eq!(quoted(b"it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(b""), "''");
        assert_eq!(quoted(b"a\x1b'\xff\n"), r"$'a\x1b\'\xff\n'");
    }
}
