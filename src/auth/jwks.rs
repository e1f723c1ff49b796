//! Keys of somebody else (JWK Set, RFC 7517), which change while the server runs.
//!
//! Whoever signs tokens puts a new key into the document before he signs with it. So it is fetched
//! again every now and then, and at once when a token names a key that is not in it. Fetching is a
//! task's business: a request only asks for it and waits a little.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::key::{Key, KeyError};

/// The largest document.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// A document is fetched again after this long.
const REFRESHED_AFTER: Duration = Duration::from_secs(5 * 60);

/// The least time between two fetches for the sake of tokens, which can name any key.
const SPACING: Duration = Duration::from_secs(10);

/// For how long a request waits for keys.
const PATIENCE: Duration = Duration::from_secs(5);

/// Gets the document, each time from where it is kept.
pub trait Fetch: fmt::Debug + Send + Sync + 'static {
    /// Ends in bounded time.
    ///
    /// # Errors
    /// It is not there, too large, or not to be had.
    fn fetch(&self) -> BoxFuture<'_, Result<Bytes, FetchError>>;
}

/// Why there is no document.
pub type FetchError = Box<dyn std::error::Error + Send + Sync>;

/// The document does not have what it is there for.
#[derive(Debug, thiserror::Error)]
pub(super) enum JwksError {
    #[error(transparent)]
    Fetch(FetchError),
    #[error("is no JWK Set")]
    Malformed,
    #[error("has no key that a token can be checked with")]
    NoKey,
}

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// There are no keys at all yet.
    Everything,
    /// The token names none, and there are several.
    Name,
    /// There is none of this name.
    Key,
}

/// The keys, and the way to newer ones.
#[derive(Debug)]
pub struct Jwks {
    document: Box<dyn Fetch>,
    /// `None` until the document was there for the first time.
    keys: RwLock<Option<Arc<KeySet>>>,
    fetching: Mutex<Fetching>,
    wanted: Notify,
    /// Changes with the end of each fetch.
    ended: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Fetching {
    /// Set from the moment that it is wanted.
    is_on: bool,
    /// When a token has last made it wanted.
    asked: Option<Instant>,
}

impl Jwks {
    pub(super) fn new(document: Box<dyn Fetch>) -> Self {
        Self {
            document,
            keys: RwLock::default(),
            fetching: Mutex::default(),
            wanted: Notify::new(),
            ended: watch::Sender::default(),
        }
    }

    /// Fetches the keys. What cannot be fetched leaves those that there are.
    ///
    /// # Cancel safety
    /// The keys are old or new.
    pub(super) async fn load(&self) -> Result<(), JwksError> {
        self.fetching().is_on = true;
        let fetched = self.document.fetch().await.map_err(JwksError::Fetch);
        let parsed = fetched.and_then(|document| KeySet::parse(&document));
        let loaded = parsed.map(|keys| {
            let mut current = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            *current = Some(Arc::new(keys));
        });
        self.fetching().is_on = false;
        self.ended.send_modify(|count| *count += 1);
        loaded
    }

    /// Keeps the keys fresh, for as long as it is polled.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn keep(&self) {
        loop {
            let pause = match self.current() {
                Some(_) => REFRESHED_AFTER,
                None => SPACING,
            };
            tokio::select! {
                // Whoever has asked looks for the next end of a fetch, whichever brings it.
                () = self.wanted.notified() => {}
                // Begins anew.
                () = sleep(pause) => {}
            }
            if let Err(error) = self.load().await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "no newer keys for tokens");
            }
        }
    }

    /// The key of this name, if need be a new one.
    ///
    /// # Cancel safety
    /// May be dropped: the fetch goes on.
    pub(super) async fn find(&self, name: Option<&str>) -> Result<Arc<Key>, Missing> {
        let mut ended = self.ended.subscribe();
        let found = self.look(name);
        let Err(Missing::Key | Missing::Everything) = found else {
            return found;
        };
        if self.ask() {
            // Late or not, what there is then counts.
            drop(timeout(PATIENCE, ended.changed()).await);
        }
        self.look(name)
    }

    fn look(&self, name: Option<&str>) -> Result<Arc<Key>, Missing> {
        self.current().ok_or(Missing::Everything)?.find(name)
    }

    /// Whether newer keys are on their way.
    fn ask(&self) -> bool {
        let mut fetching = self.fetching();
        let is_recent = |asked: Instant| asked.elapsed() < SPACING;
        if !fetching.is_on && !fetching.asked.is_some_and(is_recent) {
            fetching.is_on = true;
            fetching.asked = Some(Instant::now());
            self.wanted.notify_one();
        }
        fetching.is_on
    }

    fn current(&self) -> Option<Arc<KeySet>> {
        let keys = self.keys.read();
        keys.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fetching(&self) -> MutexGuard<'_, Fetching> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys of one document that tokens can be checked with.
#[derive(Debug)]
struct KeySet(Vec<(Option<String>, Arc<Key>)>);

impl KeySet {
    /// Leaves out what is not for signatures, is shared with others, or is of a kind that is not
    /// known: such a document is for more programs than this one.
    fn parse(document: &[u8]) -> Result<Self, JwksError> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document =
            serde_json::from_slice(document).map_err(|_| JwksError::Malformed)?;
        let (mut keys, mut names) = (Vec::new(), HashSet::new());
        for (place, value) in document.keys.into_iter().enumerate() {
            let jwk = serde_json::from_value::<Jwk>(value).ok();
            match jwk
                .ok_or(Unused::Key(KeyError::Malformed))
                .and_then(Jwk::key)
            {
                // Which of two is meant cannot be told.
                Ok((Some(name), _)) if !names.insert(name.clone()) => {
                    tracing::warn!(place, "a JWK has the `kid` of one before it");
                }
                Ok((name, key)) => keys.push((name, Arc::new(key))),
                Err(why) => tracing::debug!(place, %why, "a JWK is not used"),
            }
        }
        match keys.len() {
            0 => Err(JwksError::NoKey),
            _ => Ok(Self(keys)),
        }
    }

    fn find(&self, name: Option<&str>) -> Result<Arc<Key>, Missing> {
        let found = match (name, self.0.as_slice()) {
            (None, [(_, only)]) => Some(only),
            (None, _) => return Err(Missing::Name),
            (Some(name), keys) => {
                let named = keys
                    .iter()
                    .find(|(known, _)| known.as_deref() == Some(name));
                named.map(|(_, key)| key)
            }
        };
        found.cloned().ok_or(Missing::Key)
    }
}

/// A JSON Web Key (RFC 7517, section 4; RFC 7518, section 6; RFC 8037, section 2).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Why a key of the document is left out.
#[derive(Debug, thiserror::Error)]
enum Unused {
    #[error("it is shared, so that whoever can check a token could sign one")]
    Shared,
    #[error("it is not for signatures")]
    OtherUse,
    #[error("it {0}")]
    Key(#[from] KeyError),
}

impl Jwk {
    fn key(self) -> Result<(Option<String>, Key), Unused> {
        if self.kty == "oct" {
            return Err(Unused::Shared);
        }
        let checks = |operations: &Vec<String>| operations.iter().any(|name| name == "verify");
        let is_to_sign = self.usage.as_ref().is_none_or(|usage| usage == "sig");
        if !is_to_sign || !self.key_ops.as_ref().is_none_or(checks) {
            return Err(Unused::OtherUse);
        }
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Key::rsa(&decoded(&self.n)?, &decoded(&self.e)?)?,
            ("EC", Some("P-256")) => {
                let point = [vec![4], decoded(&self.x)?, decoded(&self.y)?].concat();
                Key::p256(&point)?
            }
            ("OKP", Some("Ed25519")) => Key::ed25519(&decoded(&self.x)?)?,
            _ => return Err(KeyError::OtherKind.into()),
        };
        match self.alg {
            Some(other) if other != key.algorithm_name() => Err(Unused::OtherUse),
            _ => Ok((self.kid, key)),
        }
    }
}

fn decoded(number: &Option<String>) -> Result<Vec<u8>, KeyError> {
    let text = number.as_ref().ok_or(KeyError::Malformed)?;
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| KeyError::Malformed)
}
