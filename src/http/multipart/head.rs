//! The header section of a part of a form (RFC 7578, section 4).

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What a part says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The field of the form that it is for. Any bytes.
    pub name: Vec<u8>,
    /// The name of the file that it is, if it is one. Any bytes: never a path.
    pub filename: Option<Vec<u8>>,
    /// All of its fields.
    pub fields: HeaderMap,
}

/// Why a part cannot be taken for what it is. The parts behind it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// A line of it is no field.
    Field,
    /// It has no `Content-Disposition: form-data` with a name, or more than one.
    Disposition,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Field => "the header section of a part is malformed",
            Self::Disposition => {
                "a part has no single Content-Disposition of form-data with a name"
            }
        })
    }
}

impl Head {
    /// Parses a header section, without the empty line behind it.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn parse(section: &[u8]) -> Result<Self, HeadError> {
        let fields = fields(section)?;
        let mut lines = fields.get_all(header::CONTENT_DISPOSITION).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err(HeadError::Disposition);
        };
        let (name, filename) = disposition(line.as_bytes()).ok_or(HeadError::Disposition)?;
        Ok(Self {
            name,
            filename,
            fields,
        })
    }
}

fn fields(section: &[u8]) -> Result<HeaderMap, HeadError> {
    let mut fields = HeaderMap::new();
    let mut rest = section;
    while !rest.is_empty() {
        let end = memchr::memmem::find(rest, b"\r\n").unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 2..).unwrap_or_default();
        let colon = memchr::memchr(b':', line).ok_or(HeadError::Field)?;
        // No blank before the colon, and none at the front: lines are not continued.
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| HeadError::Field)?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        let value = value.map_err(|_| HeadError::Field)?;
        fields
            .try_append(name, value)
            .map_err(|_| HeadError::Field)?;
    }
    Ok(fields)
}

/// The name and the file's name in a `Content-Disposition`.
fn disposition(value: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let (mut name, mut filename) = (None, None);
    let (kind, mut rest) = split(value);
    if !kind.trim_ascii().eq_ignore_ascii_case(b"form-data") {
        return None;
    }
    while let Some(parameters) = rest {
        let equals = memchr::memchr(b'=', parameters)?;
        let key = parameters[..equals].trim_ascii();
        let value = parameters[equals + 1..].trim_ascii_start();
        let (value, behind) = match value.split_first() {
            Some((b'"', quoted)) => {
                let (text, behind) = unquote(quoted)?;
                (text, split_empty(behind)?)
            }
            _ => {
                let (token, behind) = split(value);
                (bare(token.trim_ascii_end())?.to_vec(), behind)
            }
        };
        rest = behind;
        // `filename*` is another one, and is not for forms (RFC 7578, section 4.2).
        let known = if key.eq_ignore_ascii_case(b"name") {
            &mut name
        } else if key.eq_ignore_ascii_case(b"filename") {
            &mut filename
        } else {
            continue;
        };
        if known.replace(value).is_some() {
            return None;
        }
    }
    Some((name?, filename))
}

/// What is before the next semicolon, and what is behind it.
fn split(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b';', text) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// As [`split`], if there is nothing but blanks before it.
fn split_empty(text: &[u8]) -> Option<Option<&[u8]>> {
    let (before, behind) = split(text);
    before.trim_ascii().is_empty().then_some(behind)
}

/// The text, if it needs no quotes (RFC 9110, section 5.6.2).
fn bare(text: &[u8]) -> Option<&[u8]> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    (!text.is_empty() && text.iter().all(is_plain)).then_some(text)
}

/// The text up to its closing quote, and what is behind that.
///
/// Browsers write a quote as `%22`, and line breaks likewise (HTML, "Multipart form data"); other
/// clients put a backslash before a quote, and a backslash is also what a name may end with: then the
/// quote behind it is followed by nothing, or by another parameter.
fn unquote(quoted: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    loop {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        match byte {
            b'"' if text.last() == Some(&b'\\') && split_empty(rest).is_none() => {
                text.pop();
                text.push(b'"');
            }
            b'"' => return Some((text, rest)),
            b'%' => {
                let escaped = rest.get(..2).and_then(escaped);
                rest = rest.get(escaped.map_or(0, |_| 2)..).unwrap_or_default();
                text.push(escaped.unwrap_or(b'%'));
            }
            byte => text.push(*byte),
        }
    }
}

/// The byte that a browser means by two digits behind `%`. It leaves a `%` of a name as it is, so
/// that all others mean themselves.
fn escaped(digits: &[u8]) -> Option<u8> {
    match digits.to_ascii_uppercase().as_slice() {
        b"22" => Some(b'"'),
        b"0D" => Some(b'\r'),
        b"0A" => Some(b'\n'),
        _ => None,
    }
}
