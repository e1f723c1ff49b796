//! `Upload-Offset`, and every other field that is a count of bytes (rows H1 and H2).
//!
//! Strict on purpose: a parser that takes `+5`, `0x5` or `5, 5` disagrees with the next one on the
//! way, and here a disagreement is a wrong offset.

use http::HeaderMap;

use super::{Fault, FieldError, sole};

/// The largest count: what fits the signed 64-bit columns of both databases.
pub const MAX: u64 = i64::MAX.cast_unsigned();

/// Parses `1*DIGIT`. Leading zeros are digits, hence legal.
///
/// # Errors
///
/// [`Fault::NotCount`] for anything but digits, [`Fault::TooLarge`] past [`MAX`].
pub fn parse(value: &[u8]) -> Result<u64, Fault> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Fault::NotCount);
    }
    value
        .iter()
        .try_fold(0_u64, |count, digit| {
            count.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .filter(|count| *count <= MAX)
        .ok_or(Fault::TooLarge)
}

/// The count in the field `name`; `None` when the field is absent.
///
/// # Errors
///
/// As [`parse`], and [`Fault::Repeated`] for a second field line.
pub fn count(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, FieldError> {
    let value = sole(headers, name)?;
    value
        .map(|value| parse(value.as_bytes()))
        .transpose()
        .map_err(|fault| fault.of(name))
}
