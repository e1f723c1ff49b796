//! Who is calling.
//!
//! The caller is established once per request, before any byte of its body is read. With
//! `--auth none` (the only kind so far, refused on addresses other than loopback) everybody is
//! the user `local`.

/// The one on whose behalf a request is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user's id.
    pub user: String,
}

impl Caller {
    /// The only caller of a server without authentication.
    pub fn local() -> Self {
        Self {
            user: String::from("local"),
        }
    }
}
