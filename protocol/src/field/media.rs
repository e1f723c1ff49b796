//! Media types (RFC 9110, section 8.3): compared on the way in, made safe on the way out.

use http::{HeaderMap, HeaderValue, header};

use super::trim;

/// What content of no known type is answered as.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// The longest media type that is passed on, in bytes.
const BYTES_MAX: usize = 255;

/// A media type that parsed completely: printable ASCII, hence a legal field value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType<'a> {
    text: &'a str,
    essence: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> MediaType<'a> {
    /// Parses `type/subtype` and parameters; `None` for anything else, and for more than 255 bytes.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = trim(text);
        if text.len() > BYTES_MAX {
            return None;
        }
        let (essence, mut rest) = text.split_at(text.find(';').unwrap_or(text.len()));
        let essence = trim(essence);
        let (kind, subtype) = essence.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let mut parameters = Vec::new();
        while let Some(tail) = trim(rest).strip_prefix(';') {
            let (parameter, tail) = split_parameter(trim(tail))?;
            parameters.push(parameter);
            rest = tail;
        }
        trim(rest).is_empty().then_some(Self {
            text,
            essence,
            parameters,
        })
    }

    /// Type and subtype, as written.
    #[must_use]
    pub fn essence(&self) -> &'a str {
        self.essence
    }

    /// Parameters in order: name and value as written, a quoted value with its quotes.
    #[must_use]
    pub fn parameters(&self) -> &[(&'a str, &'a str)] {
        &self.parameters
    }
}

/// Whether the header section has exactly one `Content-Type`, and it is `expected` apart from case
/// and parameters (row H14).
#[must_use]
pub fn is(headers: &HeaderMap, expected: &str) -> bool {
    let mut lines = headers.get_all(header::CONTENT_TYPE).iter();
    match (lines.next(), lines.next()) {
        (Some(value), None) => value.to_str().is_ok_and(|text| is_same(text, expected)),
        _ => false,
    }
}

/// Whether a field value is the media type `expected` apart from case and parameters.
#[must_use]
pub fn is_same(text: &str, expected: &str) -> bool {
    let essence = text.split_once(';').map_or(text, |(essence, _)| essence);
    trim(essence).eq_ignore_ascii_case(expected)
}

/// The `Content-Type` for content that its sender called `claimed`: that, if it is a media type,
/// else [`OCTET_STREAM`]. To be sent with `nosniff` only.
#[must_use]
pub fn content_type(claimed: Option<&str>) -> HeaderValue {
    claimed
        .and_then(MediaType::parse)
        .and_then(|media| HeaderValue::from_str(media.text).ok())
        .unwrap_or_else(|| HeaderValue::from_static(OCTET_STREAM))
}

/// Splits `name=value` off; the value is a token or a quoted string (RFC 9110, section 5.6.6).
pub(super) fn split_parameter(text: &str) -> Option<((&str, &str), &str)> {
    let (name, rest) = text.split_once('=')?;
    let bytes = match rest.strip_prefix('"') {
        Some(inner) => quoted_bytes(inner)? + 1,
        None => rest.bytes().take_while(|byte| is_token_byte(*byte)).count(),
    };
    let (value, rest) = rest.split_at_checked(bytes)?;
    (is_token(name) && !value.is_empty()).then_some(((name, value), rest))
}

/// How long the rest of a quoted string is, its closing quote included. Printable ASCII only.
fn quoted_bytes(inner: &str) -> Option<usize> {
    let mut bytes = inner.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(at + 1),
            b'\\' => bytes
                .next()
                .filter(|(_, byte)| is_printable(*byte))
                .map(drop)?,
            byte if is_printable(byte) => {}
            _ => return None,
        }
    }
    None
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// `tchar` (RFC 9110, section 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
