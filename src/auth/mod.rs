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
    /// The user's address in lower case, if whoever vouches for him knows that it is his.
    pub email: Option<String>,
    /// What he may do beyond what everybody may.
    pub role: Role,
}

/// What a caller may do beyond what everybody may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    User,
    /// Work on the items of the processing queue.
    Worker,
    /// See and end everything.
    Admin,
    /// Both: there is nobody else.
    Local,
}

impl Caller {
    /// The user of a server without authentication.
    pub const LOCAL: &'static str = "local";

    /// The only caller of a server without authentication.
    pub fn local() -> Self {
        Self {
            user: String::from(Self::LOCAL),
            email: None,
            role: Role::Local,
        }
    }

    /// One who may do nothing beyond what everybody may.
    #[cfg(test)]
    pub(crate) fn named(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            email: None,
            role: Role::User,
        }
    }

    /// Whether every project is open to him.
    pub fn is_admin(&self) -> bool {
        matches!(self.role, Role::Admin | Role::Local)
    }

    /// Whether the queue's items are his to work on.
    pub fn is_worker(&self) -> bool {
        matches!(self.role, Role::Worker | Role::Local)
    }
}
