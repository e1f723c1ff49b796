//! Identifiers, parsed once at the rim: past it, an id is known to be one.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Names one upload, and the blob that its own bytes are in.
///
/// Always a random (version 4) UUID in its canonical form: 36 characters, lower case. Anything
/// else is refused before it can reach a path or a statement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(Uuid);

/// The text is not an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID in canonical form")]
pub struct InvalidId;

impl UploadId {
    /// A new random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The first byte, evenly spread: what stores shard by.
    pub fn shard(&self) -> u8 {
        self.0.as_bytes()[0]
    }
}

impl FromStr for UploadId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let id = Uuid::try_parse(text).map_err(|_| InvalidId)?;
        let mut canonical = Uuid::encode_buffer();
        let canonical = id.hyphenated().encode_lower(&mut canonical);
        if canonical == text {
            Ok(Self(id))
        } else {
            Err(InvalidId)
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0.as_hyphenated(), f)
    }
}

impl fmt::Debug for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_an_id() {
        let id = UploadId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        let text = id.to_string();
        for wrong in [
            text.to_uppercase(),
            text.replace('-', ""),
            format!("{{{text}}}"),
            format!("urn:uuid:{text}"),
            format!("../{text}"),
            format!("{text}/"),
            format!(" {text}"),
            String::new(),
        ] {
            // A random id without letters has no upper case of its own.
            if wrong != text {
                assert_eq!(wrong.parse::<UploadId>(), Err(InvalidId), "{wrong}");
            }
        }
    }
}
