//! Tokens that have been checked before: a signature with a public key costs up to a tenth of a
//! millisecond, and a client sends the same token with every request.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::Caller;
use super::claims::Vouched;
use super::key::Key;

/// Tokens that are remembered. One more takes the place of the oldest.
const COUNT_MAX: usize = 4096;

/// Good tokens, by their digest: none is kept itself.
#[derive(Default)]
pub(super) struct Seen(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    good: HashMap<TokenDigest, Good>,
    /// In the order in which they were noted.
    order: VecDeque<TokenDigest>,
}

struct Good {
    /// By which it was found to be good. One that has been replaced vouches for nobody any more.
    key: Arc<Key>,
    vouched: Vouched,
}

/// By which a token is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl Seen {
    /// Whom the token names, if it has been checked with this very key and is good until after
    /// `earliest`, in seconds since the Unix epoch.
    pub(super) fn look(&self, token: TokenDigest, key: &Arc<Key>, earliest: u64) -> Option<Caller> {
        let remembered = self.lock();
        let good = remembered.good.get(&token)?;
        let is_good = Arc::ptr_eq(&good.key, key) && good.vouched.until >= earliest;
        is_good.then(|| good.vouched.caller.clone())
    }

    pub(super) fn note(&self, token: TokenDigest, key: &Arc<Key>, vouched: Vouched) {
        let key = key.clone();
        let mut remembered = self.lock();
        let Remembered { good, order } = &mut *remembered;
        if good.insert(token, Good { key, vouched }).is_none() {
            order.push_back(token);
        }
        if order.len() > COUNT_MAX
            && let Some(oldest) = order.pop_front()
        {
            good.remove(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Role;
    use super::*;

    fn key() -> Arc<Key> {
        Arc::new(Key::ed25519(&[7; 32]).unwrap())
    }

    fn vouched(user: &str) -> Vouched {
        let caller = Caller {
            user: user.to_owned(),
            email: None,
            role: Role::User,
        };
        Vouched { caller, until: 100 }
    }

    #[test]
    fn a_token_is_remembered_until_its_end_and_as_long_as_its_key_is() {
        let (seen, key) = (Seen::default(), key());
        let token = TokenDigest::of("a.b.c");
        assert_eq!(seen.look(token, &key, 0), None);
        seen.note(token, &key, vouched("ada"));
        assert_eq!(seen.look(token, &key, 100), Some(vouched("ada").caller));
        assert_eq!(seen.look(token, &key, 101), None);
        assert_eq!(seen.look(TokenDigest::of("a.b.d"), &key, 0), None);
        // The same key, fetched again.
        let fetched = self::key();
        assert_eq!(seen.look(token, &fetched, 0), None);
        seen.note(token, &fetched, vouched("ada"));
        assert!(seen.look(token, &fetched, 0).is_some());
        assert_eq!(seen.lock().order.len(), 1);
    }

    #[test]
    fn their_number_is_bounded() {
        let (seen, key) = (Seen::default(), key());
        for number in 0..=COUNT_MAX {
            let token = TokenDigest::of(&number.to_string());
            seen.note(token, &key, vouched("ada"));
        }
        assert_eq!(seen.look(TokenDigest::of("0"), &key, 0), None);
        assert!(seen.look(TokenDigest::of("1"), &key, 0).is_some());
        let remembered = seen.lock();
        let (good, order) = (remembered.good.len(), remembered.order.len());
        assert_eq!((good, order), (COUNT_MAX, COUNT_MAX));
    }
}
