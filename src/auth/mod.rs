//! Who is calling.
//!
//! The caller is established once per request, before any byte of its body is read. With `--auth
//! none`, which is refused on addresses other than loopback, everybody is the user `local`; with
//! `--auth jwt` a caller is whom one of his credentials names.
//!
//! Invariant: what a credential says is believed after its signature has been checked, and nothing of
//! it is told to anybody: an error is one of a few sentences that stand in this program.
//!
//! | file | what |
//! |---|---|
//! | `tokens` | login tokens: checked, and signed by `tidegate token` |
//! | `claims` | what a token says of its user |
//! | `key` | one key, and the algorithm that it pins |
//! | `jwks` | keys that change while the server runs |
//! | `crypto` | the arithmetic |
//! | `seen` | tokens that have been checked before |
//! | `ticket` | one request of a browser that cannot send a token |
//! | `capability` | one operation on one resource, by whoever has this |
//! | `source` | from the configuration to keys |

use std::sync::Arc;

use tidegate_protocol::problem::Problem;

mod capability;
mod claims;
mod crypto;
mod jwks;
mod key;
mod seen;
mod source;
#[cfg(test)]
mod tests;
mod ticket;
mod tokens;

pub use capability::Capabilities;
pub use jwks::{DOCUMENT_BYTES_MAX, Fetch, FetchError, Jwks};
pub use key::KeyError;
pub use source::{KeySource, KeysError, Location, TokenConfig, read_document};
pub use ticket::{LIFETIME as TICKET_LIFETIME, Tickets, TooMany};
pub use tokens::{Expected, SignError, Signer, Tokens};

/// Finds out who is calling. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Authenticator(Arc<Asked>);

#[derive(Debug)]
struct Asked {
    /// `None`: nobody is asked.
    tokens: Option<Tokens>,
    tickets: Tickets,
    capabilities: Capabilities,
}

impl Authenticator {
    /// Of a server for which everybody is [`Caller::local`], unless there are `tokens`.
    pub fn new(tokens: Option<Tokens>, capabilities: Capabilities) -> Self {
        Self(Arc::new(Asked {
            tokens,
            tickets: Tickets::default(),
            capabilities,
        }))
    }

    /// One that asks everybody, by a clock for what is lent; and what signs for it.
    #[cfg(test)]
    pub(crate) fn with_signer(clock: fn() -> u64) -> (Self, Signer) {
        let signer = Signer {
            secret: b"a secret of the tests that is long enough".to_vec(),
            expected: Expected::default(),
        };
        let key = key::Key::secret(&signer.secret).unwrap();
        let tokens = Tokens::new(tokens::Keys::One(Arc::new(key)), &signer.expected);
        let capabilities = Capabilities::new(&[7; 32], clock);
        (Self::new(Some(tokens), capabilities), signer)
    }

    /// The caller on a server that asks nobody.
    pub fn everybody(&self) -> Option<Caller> {
        self.0.tokens.is_none().then(Caller::local)
    }

    /// Whom a login token names.
    ///
    /// # Errors
    /// The problem to answer with.
    ///
    /// # Cancel safety
    /// May be dropped.
    pub async fn bearer(&self, token: &str) -> Result<Caller, Problem> {
        match &self.0.tokens {
            Some(tokens) => tokens.caller(token).await,
            None => Ok(Caller::local()),
        }
    }

    /// Who was given this ticket, which is used up with that.
    ///
    /// # Errors
    /// The problem to answer with.
    pub fn ticket(&self, ticket: &str) -> Result<Caller, Problem> {
        self.0.tickets.redeem(ticket).ok_or(Problem::Unauthorized {
            fault: Some("The ticket has been used, or is too old, or is none"),
        })
    }

    /// Who has lent his right to `operation` on `id`. What that right is today is not looked at here.
    ///
    /// # Errors
    /// The problem to answer with.
    pub fn capability(&self, token: &str, operation: &str, id: &str) -> Result<Caller, Problem> {
        let lent = self.0.capabilities.redeem(token, operation, id);
        // What was everybody's before there was authentication is nobody's now.
        let lent = lent.filter(|lender| lender.role != Role::Local || self.0.tokens.is_none());
        lent.ok_or(Problem::Unauthorized {
            fault: Some("The token is not for this, or not any more"),
        })
    }

    /// What gives out tickets.
    pub fn tickets(&self) -> &Tickets {
        &self.0.tickets
    }

    /// What lends the right to one operation.
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    /// The keys of login tokens, if somebody else changes them.
    pub fn jwks(&self) -> Option<&Arc<Jwks>> {
        self.0.tokens.as_ref()?.jwks()
    }
}

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    User,
    /// Work on those items of the processing queue that are for these models.
    Worker(Models),
    /// See and end everything.
    Admin,
    /// Both: there is nobody else.
    Local,
}

/// The models that a worker may work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Models {
    /// Every one.
    All,
    /// Those that have one of these names.
    Only(Arc<[String]>),
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
    pub fn named(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            email: None,
            role: Role::User,
        }
    }

    /// Whoever asks for what everybody may have. He owns nothing and never can: no user's name is
    /// empty.
    pub fn nobody() -> Self {
        Self {
            user: String::new(),
            email: None,
            role: Role::User,
        }
    }

    /// The same user, without what his role adds. On a server without authentication there is nothing
    /// else.
    pub fn without_role(&self) -> Self {
        Self {
            role: match self.role {
                Role::Local => Role::Local,
                Role::User | Role::Worker(_) | Role::Admin => Role::User,
            },
            ..self.clone()
        }
    }

    /// Whether every project is open to him.
    pub fn is_admin(&self) -> bool {
        matches!(self.role, Role::Admin | Role::Local)
    }

    /// Whether the queue's items are his to work on.
    pub fn is_worker(&self) -> bool {
        matches!(self.role, Role::Worker(_) | Role::Local)
    }

    /// Whether those of the queue's items are that are for this model.
    pub fn may_work_on(&self, model: &str) -> bool {
        match &self.role {
            Role::Worker(Models::Only(names)) => names.iter().any(|name| name == model),
            Role::Worker(Models::All) | Role::Local => true,
            Role::User | Role::Admin => false,
        }
    }
}
