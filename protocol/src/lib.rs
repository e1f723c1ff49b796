//! The rules of resumable uploads, and nothing else.
//!
//! This crate decides what a request may do to an upload, in which order bytes become true, and
//! how the answer reads on the wire. It has no runtime, no clock, no I/O and no randomness: bytes
//! are counted here, never touched; time and storage are told to it. CI proves it from the
//! dependency tree.
//!
//! | concern | file |
//! |---|---|
//! | the upload state machine (tus 1.0.0 core; IETF draft, "Upload Append") | [`upload`] |
//! | what is asked, without dialect | [`request`] |
//! | what is answered, without dialect | [`response`] |
//! | wire form: tus 1.0.0 | [`dialect::tus1`] |
//! | wire form: "Resumable Uploads for HTTP", the IETF draft | [`dialect::rufh`] |
//! | header fields, one parsed type each | [`field`] |
//! | refusals (RFC 9457) | [`problem`] |

pub mod dialect;
pub mod field;
pub mod problem;
pub mod request;
pub mod response;
pub mod upload;

#[cfg(test)]
mod tests;
