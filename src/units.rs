//! Sizes and durations as people write them: `16Mi`, `30s`.
//!
//! The one invariant: a parsed value is small enough for what is done with it later. Sizes fit the
//! databases' signed 64-bit columns, and a time span may be added to any instant.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};

/// A number of bytes: plain, or with a decimal (`k`, `M`, `G`) or binary (`Ki`, `Mi`, `Gi`) unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

/// A length of time: a whole number and one unit of `ms`, `s`, `m`, `h`, `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSpan(pub Duration);

/// The text is no size or no time span. The message says what would be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("a size is a whole number of bytes or one with k, M, G, Ki, Mi or Gi, as in 16Mi")]
    NotSize,
    #[error("a size is at most {} bytes", ByteSize::MAX.0)]
    SizeTooLarge,
    #[error("a duration is a whole number with ms, s, m, h or d, as in 30s")]
    NotTimeSpan,
    #[error("a duration is at most {}", TimeSpan::MAX)]
    TimeSpanTooLong,
}

impl ByteSize {
    /// The largest count that an SQL BIGINT holds.
    const MAX: Self = Self(i64::MAX as u64);

    /// Largest first, so that [`fmt::Display`] finds the shortest form; binary before decimal.
    const UNITS: [(&'static str, u64); 6] = [
        ("Gi", 1 << 30),
        ("G", 1_000_000_000),
        ("Mi", 1 << 20),
        ("M", 1_000_000),
        ("Ki", 1 << 10),
        ("k", 1_000),
    ];
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text).ok_or(UnitError::NotSize)?;
        let factor = match unit {
            "" => 1,
            unit => factor(&Self::UNITS, unit).ok_or(UnitError::NotSize)?,
        };
        let number: u64 = number.parse().map_err(|_| UnitError::SizeTooLarge)?;
        match number.checked_mul(factor) {
            Some(bytes) if bytes <= Self::MAX.0 => Ok(Self(bytes)),
            _ => Err(UnitError::SizeTooLarge),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match largest_divisor(&Self::UNITS, self.0) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl<'de> de::Deserialize<'de> for ByteSize {
    /// From a string, or from a plain integer.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size, as in \"16Mi\" or 16777216")
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                u64::try_from(bytes)
                    .map(ByteSize)
                    .map_err(|_| E::custom(UnitError::NotSize))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl TimeSpan {
    /// A hundred years. The monotonic clock of every platform can be asked that far ahead.
    const MAX: Self = Self(Duration::from_secs(36_500 * 24 * 60 * 60));

    /// Milliseconds per unit, largest first.
    const UNITS: [(&'static str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
}

impl FromStr for TimeSpan {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text).ok_or(UnitError::NotTimeSpan)?;
        let factor = factor(&Self::UNITS, unit).ok_or(UnitError::NotTimeSpan)?;
        let number: u64 = number.parse().map_err(|_| UnitError::TimeSpanTooLong)?;
        let span = number.checked_mul(factor).map(Duration::from_millis);
        match span {
            Some(span) if span <= Self::MAX.0 => Ok(Self(span)),
            _ => Err(UnitError::TimeSpanTooLong),
        }
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A span is made of milliseconds and bounded by MAX, so nothing is lost here.
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        match largest_divisor(&Self::UNITS, millis) {
            Some((unit, factor)) => write!(f, "{}{unit}", millis / factor),
            None => f.write_str("0s"),
        }
    }
}

impl<'de> de::Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// Digits and what follows them; `None` without digits.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, factor)| *factor)
}

/// The largest unit that the value is a whole number of; `None` for zero and for odd values.
fn largest_divisor<'u>(units: &[(&'u str, u64)], value: u64) -> Option<(&'u str, u64)> {
    units
        .iter()
        .copied()
        .find(|(_, factor)| value != 0 && value.is_multiple_of(*factor))
}
