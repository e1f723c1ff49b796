//! What is fuzzed: one function per target, from bytes to a panic if a promise is broken.
//!
//! The functions are run in two ways. `make fuzz TARGET=field` lets libFuzzer look for new paths
//! for as long as it is given, on a nightly toolchain. `make fuzz-smoke`, part of `make test`, runs
//! `src/bin/smoke.rs` on the stable one. An input that failed once belongs into `corpus/`, so that
//! it is tried for ever.
//!
//! | target | input | promise |
//! |---|---|---|
//! | [`dialect`] | a request line and header lines | every request is decoded or refused with a 4xx, and can be answered |
//! | [`disposition`] | a file's name and its media type, a line each | a download has one legal `Content-Disposition`, and nothing dangerous is shown |
//! | [`field`] | the value of any header field | what is parsed is in bounds, and is the same when it is written and parsed again |
//! | [`metadata`] | the value of `Upload-Metadata` | it is kept byte for byte, and no name taken from it leads anywhere |
//! | [`multipart`] | a boundary in a line of its own, and a form | its parts are the same in whatever chunks it comes, and end at their boundary |
//! | [`range`] | a length, and the lines `Range` and `If-Range` | what is sent lies within the content and overlaps nowhere |
//! | [`result`] | the result of a segmentation in JSON | what is kept of it is read as itself |
//! | [`upload_ops`] | appends and what happens to them, a letter each | the machine and the oracle of `protocol/src/tests` agree |
//!
//! Inputs are text wherever possible, so that a corpus can be read and written by hand.

mod dialect;
mod disposition;
mod field;
mod metadata;
mod multipart;
mod range;
mod result;
mod upload_ops;

pub use self::dialect::dialect;
pub use self::disposition::disposition;
pub use self::field::field;
pub use self::metadata::metadata;
pub use self::multipart::multipart;
pub use self::range::range;
pub use self::result::result;
pub use self::upload_ops::upload_ops;

// The driver, which is compiled as a part of this crate, too, finds these where it expects them.
use tidegate_protocol::{problem, request, upload};

#[path = "../../protocol/src/tests/driver/mod.rs"]
mod driver;

/// A function that panics when a promise is broken.
pub type Target = fn(&[u8]);

/// Every target with its name, which is that of its folder in `corpus/`, too.
pub const TARGETS: [(&str, Target); 8] = [
    ("dialect", dialect),
    ("disposition", disposition),
    ("field", field),
    ("metadata", metadata),
    ("multipart", multipart),
    ("range", range),
    ("result", result),
    ("upload_ops", upload_ops),
];

/// The text up to the next line feed, and what is behind it.
fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| *byte == b'\n');
    let (line, rest) = text.split_at(end.unwrap_or(text.len()));
    (line, rest.get(1..).unwrap_or_default())
}

/// The digits at the front as a number, or else as much as fits; and what is behind them.
fn split_number(text: &[u8]) -> (u64, &[u8]) {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(digits);
    let number = digits.iter().fold(0_u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    });
    (number, rest)
}
