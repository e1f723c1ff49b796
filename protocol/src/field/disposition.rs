//! `Content-Disposition` of a download (RFC 6266): shown or saved, and under which name.
//!
//! Content comes from strangers and is served from the server's own origin, so it is saved unless
//! its type is on a short list of those that cannot carry a script.

use std::fmt::Write as _;

use http::HeaderValue;

use super::display;
use super::media::MediaType;

/// The types that a browser may show. HTML, SVG, XML and PDF are not among them.
const INLINE: [&str; 16] = [
    "application/ogg",
    "audio/ogg",
    "audio/wav",
    "audio/wave",
    "audio/webm",
    "audio/x-pn-wav",
    "audio/x-wav",
    "image/bmp",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/plain",
    "video/mp4",
    "video/ogg",
    "video/webm",
];

/// The parameters that a type to be shown may have.
const INLINE_PARAMETERS: [&str; 2] = ["charset", "codecs"];

/// Whether a browser may show content that its sender called `media_type`.
#[must_use]
pub fn may_inline(media_type: &str) -> bool {
    let any_of = |list: &[&str], text: &str| list.iter().any(|one| one.eq_ignore_ascii_case(text));
    MediaType::parse(media_type).is_some_and(|media| {
        any_of(&INLINE, media.essence())
            && media
                .parameters()
                .iter()
                .all(|(name, _)| any_of(&INLINE_PARAMETERS, name))
    })
}

/// The `Content-Disposition` for content with this name and type, both as its sender called them.
/// The name is cleaned once more ([`display::file_name`]); it appears as plain ASCII and, for the
/// clients of today, in full (RFC 8187).
#[must_use]
pub fn content_disposition(file_name: Option<&str>, media_type: Option<&str>) -> HeaderValue {
    let kind = if media_type.is_some_and(may_inline) {
        "inline"
    } else {
        "attachment"
    };
    let value = match file_name.and_then(display::file_name) {
        None => kind.to_owned(),
        Some(name) => {
            format!(
                "{kind}; filename=\"{}\"; filename*=UTF-8''{}",
                ascii(&name),
                percent(&name)
            )
        }
    };
    // Both forms are printable ASCII. Saving is the safe choice for the error that cannot come.
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}

/// The name in characters that every client reads alike inside quotes: no quote or backslash, and
/// no percent sign, which some clients decode (RFC 6266, appendix D).
fn ascii(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '"' | '\\' | '%' | '/' => '_',
            ' '..='~' => c,
            _ => '_',
        })
        .collect()
}

/// The name with all but `attr-char` (RFC 8187, section 3.2.1) as percent-encoded UTF-8.
fn percent(name: &str) -> String {
    name.bytes()
        .fold(String::with_capacity(name.len()), |mut text, byte| {
            if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                // Writing to a String does not fail.
                _ = write!(text, "%{byte:02X}");
            }
            text
        })
}
