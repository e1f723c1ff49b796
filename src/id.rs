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
        canonical(text).map(Self)
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

/// Names a project: a random UUID as that of an upload, or [`ProjectId::DEFAULT`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProjectId(String);

impl ProjectId {
    /// The one project whose name is no UUID: the first of a server without authentication.
    pub const DEFAULT: &'static str = "default";

    /// A new random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4().to_string())
    }

    /// The id, as it stands in rows and paths.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            Self::DEFAULT => Ok(Self(text.to_owned())),
            _ => canonical(text).map(|id| Self(id.to_string())),
        }
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one share of a project: a random UUID as that of an upload.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShareId(Uuid);

impl ShareId {
    /// A new random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl FromStr for ShareId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        canonical(text).map(Self)
    }
}

impl fmt::Display for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0.as_hyphenated(), f)
    }
}

impl fmt::Debug for ShareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn canonical(text: &str) -> Result<Uuid, InvalidId> {
    let id = Uuid::try_parse(text).map_err(|_| InvalidId)?;
    let mut canonical = Uuid::encode_buffer();
    match id.hyphenated().encode_lower(&mut canonical) == text {
        true => Ok(id),
        false => Err(InvalidId),
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
                assert_eq!(wrong.parse::<ShareId>(), Err(InvalidId), "{wrong}");
                assert_eq!(wrong.parse::<ProjectId>(), Err(InvalidId), "{wrong}");
            }
        }
    }

    #[test]
    fn a_project_has_a_uuid_or_is_the_default_one() {
        let id = ProjectId::random();
        assert_eq!(id.as_str().parse(), Ok(id));
        let default = ProjectId::DEFAULT.parse::<ProjectId>();
        assert_eq!(default.unwrap().as_str(), "default");
        for wrong in ["Default", "default ", "def%61ult"] {
            assert_eq!(wrong.parse::<ProjectId>(), Err(InvalidId), "{wrong}");
        }
    }
}
