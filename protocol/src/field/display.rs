//! Text that came from a client, made fit to be shown: in a list, a log line or a file name.
//!
//! Never a path: whatever is stored is found by upload id alone (row T37).

/// The longest text shown, in characters.
pub const CHARS_MAX: usize = 255;

/// The text without what could end a line, hide or reorder its neighbours, and not longer than
/// [`CHARS_MAX`]. `None` when nothing is left.
#[must_use]
pub fn text(value: &str) -> Option<String> {
    let clean: String = value
        .trim()
        .chars()
        .filter(|c| !is_unsafe(*c))
        .take(CHARS_MAX)
        .collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// The last segment of what may be a path of any system, then as [`text`]. `None` also for the two
/// names of a directory.
#[must_use]
pub fn file_name(value: &str) -> Option<String> {
    let last = value.rsplit(['/', '\\']).next().unwrap_or(value);
    text(last).filter(|name| name != "." && name != "..")
}

/// Control characters, line and paragraph separators, marks and overrides of the writing direction,
/// and what has no width, except the joiners: some scripts need them.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2064}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}
