//! `Upload-Metadata`: what a client says about its upload (rows H4 and T36 to T38).
//!
//! The field is kept byte for byte, because HEAD must repeat it exactly as it was received. It is
//! validated once, when it arrives, and decoded whenever it is asked for.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;

use super::{Fault, FieldError, display, elements, name, sole, trim};

/// The bound on the field that a server takes unless configured otherwise.
pub const BYTES_MAX: usize = 8 * 1024;

/// The metadata of one upload. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// A legal field value. Empty: no metadata.
    raw: String,
}

impl Metadata {
    /// Parses the field value. Blanks around commas are tolerated, and an empty value is no
    /// metadata (tuspy always sends one).
    ///
    /// # Errors
    ///
    /// [`Fault::TooLong`] past `bytes_max`, [`Fault::NotText`], [`Fault::EmptyKey`],
    /// [`Fault::DuplicateKey`], [`Fault::NotPair`] and [`Fault::NotBase64`].
    pub fn parse(value: &[u8], bytes_max: usize) -> Result<Self, Fault> {
        if value.len() > bytes_max {
            return Err(Fault::TooLong { bytes_max });
        }
        let raw = str::from_utf8(value).map_err(|_| Fault::NotText)?;
        if raw.chars().any(|c| c != '\t' && c.is_ascii_control()) {
            return Err(Fault::NotText);
        }
        if !trim(raw).is_empty() {
            let mut keys = BTreeSet::new();
            for element in elements(raw) {
                let (key, _) = pair(element)?;
                if !keys.insert(key) {
                    return Err(Fault::DuplicateKey);
                }
            }
        }
        Ok(Self {
            raw: raw.to_owned(),
        })
    }

    /// The metadata in a header section. An absent field is no metadata.
    ///
    /// # Errors
    ///
    /// As [`Metadata::parse`], and [`Fault::Repeated`] for a second field line.
    pub fn from_headers(headers: &HeaderMap, bytes_max: usize) -> Result<Self, FieldError> {
        sole(headers, name::UPLOAD_METADATA)?
            .map_or_else(
                || Ok(Self::default()),
                |value| Self::parse(value.as_bytes(), bytes_max),
            )
            .map_err(|fault| fault.of(name::UPLOAD_METADATA))
    }

    /// The same with `value` under `key`, unless there is something under it already.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        if self.value(key).is_none() {
            let comma = if trim(&self.raw).is_empty() { "" } else { "," };
            let value = STANDARD.encode(value);
            self.raw = format!("{}{comma}{key} {value}", self.raw);
        }
        self
    }

    /// The same with those pairs of `other` under whose keys there is nothing yet.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        if trim(&self.raw).is_empty() {
            return other.clone();
        }
        for element in elements(&other.raw) {
            if let Ok((key, _)) = pair(element)
                && self.value(key).is_none()
            {
                self.raw = format!("{},{element}", self.raw);
            }
        }
        self
    }

    /// The metadata whose [`raw`](Self::raw) form was stored. Nothing is checked again: a pair that
    /// does not parse, which only a damaged store can hold, is not among the
    /// [`pairs`](Self::pairs).
    #[must_use]
    pub fn from_stored(raw: String) -> Self {
        Self { raw }
    }

    /// The field value as received. Empty when there was none.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Keys with their decoded values, in the order received. The value of a key alone is empty.
    /// Values are arbitrary bytes: never copy one into a header, a path or a log.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        elements(&self.raw).filter_map(|element| pair(element).ok())
    }

    /// The decoded value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.pairs()
            .find_map(|(found, value)| (found == key).then_some(value))
    }

    /// The file's name as display text, from `filename` (the convention of tus-js-client) or `name`
    /// (Uppy). See [`display::file_name`] for what is removed.
    #[must_use]
    pub fn filename(&self) -> Option<String> {
        self.first(["filename", "name"], display::file_name)
    }

    /// The file's media type as display text, from `filetype` or `type`. What may be answered as a
    /// `Content-Type` is decided by [`super::media::content_type`].
    #[must_use]
    pub fn filetype(&self) -> Option<String> {
        self.first(["filetype", "type"], display::text)
    }

    /// The first of the keys' values of which `clean` leaves something.
    fn first(&self, keys: [&str; 2], clean: fn(&str) -> Option<String>) -> Option<String> {
        keys.into_iter()
            .filter_map(|key| self.value(key))
            .find_map(|value| clean(&String::from_utf8_lossy(&value)))
    }
}

/// One pair, without blanks around it: a key, or a key, one space and a value in base64.
fn pair(element: &str) -> Result<(&str, Vec<u8>), Fault> {
    let (key, value) = element.split_once(' ').unwrap_or((element, ""));
    if key.is_empty() {
        return Err(Fault::EmptyKey);
    }
    if key.contains('\t') || value.contains([' ', '\t']) {
        return Err(Fault::NotPair);
    }
    let value = STANDARD.decode(value).map_err(|_| Fault::NotBase64)?;
    Ok((key, value))
}
