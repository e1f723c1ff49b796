//! `Upload-Id`: the name that a client gives to an upload before it makes it (contract, "Cancel").
//!
//! With it, a client that never got the answer to a creation still knows what to ask for, to go on
//! with, and to cancel.

use http::HeaderMap;

use super::{Fault, FieldError, name, sole};

/// A random (version 4) UUID in its canonical form: 36 characters, lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(String);

/// Where the canonical form has hyphens.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

const CHARACTERS: usize = 36;

impl Id {
    /// Parses the canonical form.
    ///
    /// # Errors
    ///
    /// [`Fault::NotUuid`] for everything else, also for a UUID that is not random: ids that can be
    /// guessed would be addresses that can be guessed.
    pub fn parse(value: &[u8]) -> Result<Self, Fault> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_canonical = value.len() == CHARACTERS
            && value.iter().enumerate().all(|(at, byte)| match at {
                at if HYPHENS.contains(&at) => *byte == b'-',
                // Version and variant (RFC 9562, sections 4.1 and 5.4).
                14 => *byte == b'4',
                19 => matches!(byte, b'8' | b'9' | b'a' | b'b'),
                _ => is_digit(byte),
            });
        let text = str::from_utf8(value).map_err(|_| Fault::NotUuid)?;
        match is_canonical {
            true => Ok(Self(text.to_owned())),
            false => Err(Fault::NotUuid),
        }
    }

    /// The id in a header section; `None` when the field is absent.
    ///
    /// # Errors
    ///
    /// As [`Id::parse`], and [`Fault::Repeated`] for a second field line.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, FieldError> {
        sole(headers, name::UPLOAD_ID)?
            .map(|value| Self::parse(value.as_bytes()))
            .transpose()
            .map_err(|fault| fault.of(name::UPLOAD_ID))
    }

    /// The canonical form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
