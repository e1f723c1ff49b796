//! The result of a segmentation: as a worker reports it, and as it is kept.
//!
//! Invariant: what is kept has been written from what was checked, never taken over from a body, so
//! whatever is read of it later is sound.

mod report;
#[cfg(test)]
mod tests;

pub(super) use report::Report;
