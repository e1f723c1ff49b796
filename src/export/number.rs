//! Numbers as they are written.

use serde::{Serialize, Serializer};

/// Up to here every whole number is one of `f64`.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A finite number, which is written without a fraction if it has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number(f64);

impl Number {
    /// The number, or the closest to it that can be written: a sum of large areas may have no end.
    pub(super) fn new(number: f64) -> Self {
        match number.is_nan() {
            true => Self(0.0),
            false => Self(number.clamp(f64::MIN, f64::MAX)),
        }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.fract() == 0.0 && self.0.abs() <= WHOLE_MAX {
            true => serializer.serialize_i64(self.0 as i64),
            false => serializer.serialize_f64(self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_finite() {
        for (number, text) in [
            (1.0, "1"),
            (-0.0, "0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e300, "1e+300"),
            (f64::NAN, "0"),
            (f64::INFINITY, "1.7976931348623157e+308"),
            (f64::NEG_INFINITY, "-1.7976931348623157e+308"),
        ] {
            let written = serde_json::to_string(&Number::new(number)).unwrap();
            assert_eq!(written, text);
        }
    }
}
