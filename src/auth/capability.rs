//! Capabilities: a token that lets whoever has it do one thing with one resource.
//!
//! It carries whose rights it lends, and is signed with a key that only this server has. It is no
//! JWT: neither can be taken for the other.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::{Caller, Role};

/// What it begins with.
const PREFIX: &str = "tidegate1";

/// The longest that is looked at.
const BYTES_MAX: usize = 2048;

/// Issues capabilities, and takes them back.
pub struct Capabilities {
    key: hmac::Key,
    /// Milliseconds since the Unix epoch.
    clock: fn() -> u64,
}

/// What is signed.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Lent<'a> {
    operation: &'a str,
    id: &'a str,
    user: std::borrow::Cow<'a, str>,
    role: &'a str,
    /// In milliseconds since the Unix epoch.
    until: u64,
}

impl Capabilities {
    /// With a key of 32 random bytes that outlives the process.
    pub fn new(key: &[u8; 32], clock: fn() -> u64) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        Self { key, clock }
    }

    /// A token for `operation` on `id` with `caller`'s rights, for as long as `within`. Also told is until
    /// when, in milliseconds since the Unix epoch.
    ///
    /// To work on the queue is not lent: of a worker's rights it lends those that everybody has.
    pub fn issue(
        &self,
        caller: &Caller,
        operation: &str,
        id: &str,
        within: Duration,
    ) -> (String, u64) {
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let until = (self.clock)().saturating_add(within);
        let lent = Lent {
            operation,
            id,
            user: caller.user.as_str().into(),
            role: word(&caller.role),
            until,
        };
        let payload = BASE64_URL_SAFE_NO_PAD.encode(serde_json::json!(lent).to_string());
        let signed = format!("{PREFIX}.{payload}");
        let tag = hmac::sign(&self.key, signed.as_bytes());
        let tag = BASE64_URL_SAFE_NO_PAD.encode(tag);
        (format!("{signed}.{tag}"), until)
    }

    /// Whose rights the token lends for `operation` on `id`. `None`: it is not for that, or not any more,
    /// or not ours.
    pub(super) fn redeem(&self, token: &str, operation: &str, id: &str) -> Option<Caller> {
        let (signed, tag) = token
            .rsplit_once('.')
            .filter(|_| token.len() <= BYTES_MAX)?;
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).ok()?;
        hmac::verify(&self.key, signed.as_bytes(), &tag).ok()?;
        let payload = signed.strip_prefix(PREFIX)?.strip_prefix('.')?;
        let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
        let lent: Lent<'_> = serde_json::from_slice(&payload).ok()?;
        if (lent.operation, lent.id) != (operation, id) || lent.until <= (self.clock)() {
            return None;
        }
        Some(Caller {
            user: lent.user.into_owned(),
            email: None,
            role: role(lent.role)?,
        })
    }
}

fn word(role: &Role) -> &'static str {
    match role {
        Role::User | Role::Worker(_) => "user",
        Role::Admin => "admin",
        Role::Local => "local",
    }
}

fn role(word: &str) -> Option<Role> {
    match word {
        "user" => Some(Role::User),
        "admin" => Some(Role::Admin),
        "local" => Some(Role::Local),
        _ => None,
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capabilities").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::Models;
    use super::*;

    fn caller(user: &str, role: Role) -> Caller {
        Caller {
            user: user.to_owned(),
            email: None,
            role,
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_capability_is_for_one_thing_and_carries_whose_rights_it_lends() {
        let capabilities = Capabilities::new(&[7; 32], || 1000);
        for (user, role) in [
            ("ada", Role::User),
            ("root", Role::Admin),
            ("a \"quoted\" ünïcode\\ name", Role::User),
        ] {
            let issuer = caller(user, role);
            let (token, until) = capabilities.issue(&issuer, "upload", "one", HOUR);
            assert_eq!(until, 3_601_000);
            assert_eq!(capabilities.redeem(&token, "upload", "one"), Some(issuer));
            assert_eq!(capabilities.redeem(&token, "upload", "two"), None);
            assert_eq!(capabilities.redeem(&token, "read", "one"), None);
        }
        let worker = caller("w1", Role::Worker(Models::All));
        let token = capabilities.issue(&worker, "upload", "one", HOUR).0;
        let lender = capabilities.redeem(&token, "upload", "one");
        assert_eq!(lender, Some(worker.without_role()));
        let local = capabilities
            .issue(&Caller::local(), "upload", "one", HOUR)
            .0;
        assert_eq!(
            capabilities.redeem(&local, "upload", "one"),
            Some(Caller::local())
        );
    }

    #[test]
    fn a_capability_ends() {
        static NOW: AtomicU64 = AtomicU64::new(0);
        let capabilities = Capabilities::new(&[7; 32], || NOW.load(Ordering::Relaxed));
        let issuer = caller("ada", Role::User);
        let (token, until) = capabilities.issue(&issuer, "upload", "one", HOUR);
        NOW.store(until - 1, Ordering::Relaxed);
        assert!(capabilities.redeem(&token, "upload", "one").is_some());
        NOW.store(until, Ordering::Relaxed);
        assert!(capabilities.redeem(&token, "upload", "one").is_none());
    }

    #[test]
    fn what_was_changed_or_signed_by_others_is_none() {
        let capabilities = Capabilities::new(&[7; 32], || 0);
        let issuer = caller("ada", Role::User);
        let (token, _) = capabilities.issue(&issuer, "upload", "one", HOUR);
        let other = Capabilities::new(&[8; 32], || 0);
        assert!(other.redeem(&token, "upload", "one").is_none());
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(
                capabilities.redeem(&changed, "upload", "one").is_none(),
                "{changed}"
            );
            assert!(capabilities.redeem(&token[..at], "upload", "one").is_none());
        }
        let long = format!("{token}.{}", "A".repeat(BYTES_MAX));
        assert!(capabilities.redeem(&long, "upload", "one").is_none());
    }
}
