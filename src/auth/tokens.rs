//! Login tokens (JWT, RFC 7519): checked with keys that are configured, believed within bounds.
//!
//! Invariant: nothing in a token chooses how it is checked. Its `kid` chooses among keys that are
//! trusted anyway, its `alg` is compared with that of the key, and where it says that a key may be
//! found (`jku`, `jwk`, `x5u`, `x5c`) is not looked at.

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};
use tidegate_protocol::problem::Problem;

use super::claims::{Claims, Vouched};
use super::jwks::{Jwks, Missing};
use super::key::{self, Key, KeyError};
use super::seen::{Seen, TokenDigest};
use super::{Caller, Models, Role};

/// The longest token.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// How far two clocks may be apart, in seconds.
const LEEWAY_SECS: u64 = 10;

/// When a client is to try again, if there are no keys yet. In seconds.
const KEYS_RETRY_AFTER: u64 = 5;

/// Whom a token has to come from and be for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The `iss` that a token must have.
    pub issuer: Option<String>,
    /// What must be among its `aud`.
    pub audience: Option<String>,
}

/// Checks login tokens.
#[derive(Debug)]
pub struct Tokens {
    keys: Keys,
    checks: HashMap<Algorithm, Validation>,
    seen: Seen,
}

/// What tokens are checked with.
#[derive(Debug)]
pub(super) enum Keys {
    One(Arc<Key>),
    Many(Arc<Jwks>),
}

impl Tokens {
    pub(super) fn new(keys: Keys, expected: &Expected) -> Self {
        let algorithms = match &keys {
            Keys::One(key) => vec![key.algorithm()],
            Keys::Many(_) => vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
        };
        let checks = algorithms.into_iter();
        Self {
            checks: checks
                .map(|algorithm| (algorithm, check(algorithm, expected)))
                .collect(),
            keys,
            seen: Seen::default(),
        }
    }

    /// The keys that somebody else changes, if they are such.
    pub fn jwks(&self) -> Option<&Arc<Jwks>> {
        match &self.keys {
            Keys::One(_) => None,
            Keys::Many(jwks) => Some(jwks),
        }
    }

    /// Whom a token names.
    ///
    /// # Errors
    /// The problem to answer with, without a word of the token.
    ///
    /// # Cancel safety
    /// May be dropped.
    pub(super) async fn caller(&self, token: &str) -> Result<Caller, Problem> {
        check_length(token)?;
        let key = match &self.keys {
            Keys::One(key) => key.clone(),
            Keys::Many(jwks) => {
                let header = jsonwebtoken::decode_header(token).map_err(|error| fault(&error))?;
                jwks.find(header.kid.as_deref()).await.map_err(missing)?
            }
        };
        if key.algorithm() == Algorithm::HS256 {
            // Checked sooner than looked up.
            return Ok(self.check(token, &key)?.caller);
        }
        let digest = TokenDigest::of(token);
        // By the clock that it was checked by.
        let earliest = jsonwebtoken::get_current_timestamp().saturating_sub(LEEWAY_SECS);
        if let Some(caller) = self.seen.look(digest, &key, earliest) {
            return Ok(caller);
        }
        let vouched = self.check(token, &key)?;
        self.seen.note(digest, &key, vouched.clone());
        Ok(vouched.caller)
    }

    fn check(&self, token: &str, key: &Key) -> Result<Vouched, Problem> {
        let check = self.checks.get(&key.algorithm()).ok_or(Problem::Internal)?;
        let decoded = jsonwebtoken::decode::<Claims>(token, key.decoding(), check);
        let decoded = decoded.map_err(|error| fault(&error))?;
        if decoded.header.crit.is_some() {
            // It is there for what must be understood, and nothing of it is (RFC 7515, section 4.1.11).
            return Err(refused(
                "The token needs an extension that is not supported",
            ));
        }
        decoded.claims.vouch().map_err(refused)
    }
}

fn check_length(token: &str) -> Result<(), Problem> {
    match token.len() > TOKEN_BYTES_MAX {
        true => Err(refused("The token is too long")),
        false => Ok(()),
    }
}

fn check(algorithm: Algorithm, expected: &Expected) -> Validation {
    let mut check = Validation::new(algorithm);
    check.leeway = LEEWAY_SECS;
    check.validate_nbf = true;
    let mut required = vec!["exp"];
    if let Some(issuer) = &expected.issuer {
        required.push("iss");
        check.set_issuer(&[issuer]);
    }
    match &expected.audience {
        Some(audience) => {
            required.push("aud");
            check.set_audience(&[audience]);
        }
        None => check.validate_aud = false,
    }
    check.set_required_spec_claims(&required);
    check
}

fn refused(fault: &'static str) -> Problem {
    Problem::Unauthorized { fault: Some(fault) }
}

fn missing(why: Missing) -> Problem {
    match why {
        Missing::Everything => Problem::Unavailable {
            retry_after: KEYS_RETRY_AFTER,
        },
        Missing::Name => refused("The token does not name its key, and there are several"),
        Missing::Key => refused("The token is signed with a key that is not known"),
    }
}

/// What is told of an error, which itself may quote the token.
fn fault(error: &Error) -> Problem {
    refused(match error.kind() {
        ErrorKind::InvalidSignature => "The token's signature is wrong",
        ErrorKind::ExpiredSignature => "The token has expired",
        ErrorKind::ImmatureSignature => "The token is not valid yet",
        ErrorKind::InvalidIssuer => "The token is from another issuer",
        ErrorKind::InvalidAudience => "The token is for another audience",
        ErrorKind::InvalidAlgorithm => "The token's algorithm is not that of the key",
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "iss" => "The token has no iss",
            "aud" => "The token has no aud",
            _ => "The token has no exp",
        },
        _ => "The token is malformed",
    })
}

/// Signs tokens that a server with the same secret and the same expectations accepts.
#[derive(Debug)]
pub struct Signer {
    pub(super) secret: Vec<u8>,
    pub(super) expected: Expected,
}

impl Signer {
    /// A token for `caller`, good until this many seconds after the Unix epoch.
    ///
    /// # Errors
    /// It cannot be signed, or would not be accepted: the user's name is none, say.
    pub fn sign(&self, caller: &Caller, until: u64) -> Result<String, SignError> {
        let (role, models) = match &caller.role {
            Role::User => (None, None),
            Role::Worker(Models::All) => (Some("worker"), None),
            Role::Worker(Models::Only(names)) => (Some("worker"), Some(names.to_vec())),
            Role::Admin | Role::Local => (Some("admin"), None),
        };
        let mut claims = Map::new();
        let said = [
            ("sub", Some(caller.user.as_str())),
            ("email", caller.email.as_deref()),
            ("role", role),
            ("iss", self.expected.issuer.as_deref()),
            ("aud", self.expected.audience.as_deref()),
        ];
        for (name, value) in said {
            claims.extend(value.map(|value| (name.to_owned(), value.into())));
        }
        claims.extend(models.map(|names| (String::from("models"), names.into())));
        claims.insert(String::from("exp"), until.into());
        let token = key::sign(&Value::Object(claims), &self.secret)?;
        // What is printed works, or is not printed.
        check_length(&token).map_err(SignError::Useless)?;
        let keys = Keys::One(Arc::new(Key::secret(&self.secret)?));
        let tokens = Tokens::new(keys, &self.expected);
        match &tokens.keys {
            Keys::One(key) => tokens.check(&token, key).map_err(SignError::Useless)?,
            Keys::Many(_) => return Err(KeyError::Unusable.into()),
        };
        Ok(token)
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The secret cannot be used.
    #[error("the secret {0}")]
    Key(#[from] KeyError),
    /// A server would refuse it.
    #[error("such a token is refused: {0}")]
    Useless(Problem),
}
