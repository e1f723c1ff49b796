//! `Content-Disposition` (RFC 6266). Of a download: shown or saved, and under which name. Of an upload:
//! its name.
//!
//! Content comes from strangers and is served from the server's own origin, so it is saved unless
//! its type is on a short list of those that cannot carry a script.

use std::fmt::Write as _;

use http::HeaderValue;

use super::media::{MediaType, split_parameter};
use super::{byte_of, display, trim};

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

/// The file's name in the `Content-Disposition` of an upload, as display text
/// ([`display::file_name`]). `filename*` wins (RFC 6266, section 4.3). `None` for anything that does
/// not parse.
#[must_use]
pub fn file_name(value: &str) -> Option<String> {
    let (_kind, mut rest) = value.split_at(value.find(';')?);
    let (mut plain, mut extended) = (None, None);
    while let Some(tail) = trim(rest).strip_prefix(';') {
        let ((name, value), tail) = split_parameter(trim(tail))?;
        if name.eq_ignore_ascii_case("filename") {
            plain = Some(unquoted(value));
        } else if name.eq_ignore_ascii_case("filename*") {
            extended = decoded(value);
        }
        rest = tail;
    }
    if !trim(rest).is_empty() {
        return None;
    }
    display::file_name(&extended.or(plain)?)
}

/// A token, or a quoted string without its quotes and escapes.
fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut escaped = false;
    inner
        .chars()
        .filter(|c| {
            escaped = *c == '\\' && !escaped;
            !escaped
        })
        .collect()
}

/// A value with its charset in front (RFC 8187, section 3.2.1), of which UTF-8 is the only one.
fn decoded(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, text) = rest.split_once('\'')?;
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => byte_of(rest.next()?, rest.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
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
