//! `Upload-Length` and `Upload-Defer-Length`: how long the upload will be (rows H2 and H3).

use http::HeaderMap;

use super::{Fault, FieldError, name, offset, sole};

/// The length of an upload, in bytes.
///
/// A deferred length becomes known once and never changes from then on (tus 1.0.0, "Creation").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Declared.
    Known(u64),
    /// To be declared by a later append.
    Deferred,
}

impl Length {
    /// What the header section of a creation declares (rows T30 to T33, T39); `None` when it
    /// declares nothing, which only a final upload may (row T31).
    ///
    /// # Errors
    ///
    /// Those of [`offset::count`], [`Fault::NotOne`] for `Upload-Defer-Length` other than `1`, and
    /// [`Fault::BesideLength`] when both fields are there.
    pub fn declared(headers: &HeaderMap) -> Result<Option<Self>, FieldError> {
        let known = offset::count(headers, name::UPLOAD_LENGTH)?;
        let defer = sole(headers, name::UPLOAD_DEFER_LENGTH)?;
        match (known, defer) {
            (known, None) => Ok(known.map(Self::Known)),
            (_, Some(defer)) if defer != "1" => Err(Fault::NotOne.of(name::UPLOAD_DEFER_LENGTH)),
            (Some(_), Some(_)) => Err(Fault::BesideLength.of(name::UPLOAD_DEFER_LENGTH)),
            (None, Some(_)) => Ok(Some(Self::Deferred)),
        }
    }

    /// The number of bytes, once known.
    #[must_use]
    pub fn known(self) -> Option<u64> {
        match self {
            Self::Known(length) => Some(length),
            Self::Deferred => None,
        }
    }
}

impl From<Option<u64>> for Length {
    /// From its stored form, in which `None` means deferred.
    fn from(known: Option<u64>) -> Self {
        known.map_or(Self::Deferred, Self::Known)
    }
}
