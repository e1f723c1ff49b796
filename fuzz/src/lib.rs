//! What is fuzzed: one function per target, from bytes to a panic if a promise is broken.
//!
//! The functions are run in two ways. `make fuzz TARGET=field` lets libFuzzer look for new paths
//! for as long as it is given, on a nightly toolchain. `make fuzz-smoke`, part of `make test`, runs
//! `tests/corpus.rs` on the stable one: it replays the committed corpus and varies it for some
//! seconds. An input that failed once belongs into `corpus/`, so that it is tried for ever.
//!
//! | target | input | promise |
//! |---|---|---|
//! | [`field`] | a letter that chooses a parser, and a field's value | what is parsed is in bounds, what is written is a legal field value |
//! | [`dialect`] | method, target, and header lines | every request is decoded or refused with a 4xx, and can be answered |
//! | [`upload_ops`] | a sequence of things that happen to one append | only written bytes are committed, in order, all or none with a checksum; there is one answer |

mod dialect;
mod field;
mod upload_ops;

pub use dialect::dialect;
pub use field::field;
pub use upload_ops::upload_ops;

/// A function that panics when a promise is broken.
pub type Target = fn(&[u8]);

/// Every target with its name, which is that of its folder in `corpus/`, too.
pub const TARGETS: [(&str, Target); 3] = [
    ("dialect", dialect),
    ("field", field),
    ("upload_ops", upload_ops),
];

/// Takes decisions from the input, and the smallest ones once it is used up.
struct Input<'d>(&'d [u8]);

impl Input<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number whose size is spread over all magnitudes.
    fn number(&mut self) -> u64 {
        let shift = u32::from(self.byte() % 64);
        let digits = u64::from(self.byte()) << 8 | u64::from(self.byte());
        digits.rotate_left(shift)
    }

    /// A number that small uploads are made of.
    fn small(&mut self) -> u64 {
        u64::from(self.byte() % 64)
    }

    fn maybe(&mut self, number: impl FnOnce(&mut Self) -> u64) -> Option<u64> {
        self.flag().then(|| number(self))
    }
}
