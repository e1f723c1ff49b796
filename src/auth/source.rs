//! From what an operator writes to keys.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::jwks::{DOCUMENT_BYTES_MAX, Fetch, FetchError, Jwks, JwksError};
use super::key::{Key, KeyError};
use super::tokens::{Expected, Keys, Signer, Tokens};

/// What is read of a file with a key.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// How tokens are checked, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenConfig {
    /// Where the keys are.
    pub keys: KeySource,
    /// What else a token must say.
    pub expected: Expected,
}

/// Where the keys are that tokens are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file with a secret, which signs as well.
    Secret(PathBuf),
    /// A file with one public key in PEM.
    PublicKey(PathBuf),
    /// A JWK Set.
    Jwks(Location),
}

/// Where a JWK Set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a file.
    File(PathBuf),
    /// At this URL.
    Url(http::Uri),
}

/// Why tokens cannot be checked.
#[derive(Debug, thiserror::Error)]
#[error("`{place}` {cause}")]
pub struct KeysError {
    place: String,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Jwks(#[from] JwksError),
    #[error("has no secret, and only with one can tokens be signed: see `jwt-secret-file`")]
    NoSecret,
}

impl TokenConfig {
    /// Reads the keys; a JWK Set as `document`. One that a URL does not give is waited for later, in
    /// [`Jwks::keep`].
    ///
    /// # Errors
    /// There are no keys, or they cannot be used.
    pub async fn load(
        &self,
        document: impl FnOnce(&Location) -> Result<Box<dyn Fetch>, FetchError>,
    ) -> Result<Tokens, KeysError> {
        let keys = match &self.keys {
            KeySource::Secret(path) => {
                let secret = read_secret(path)?;
                let key = Key::secret(&secret);
                Keys::One(Arc::new(
                    key.map_err(|error| unusable(path.display(), error))?,
                ))
            }
            KeySource::PublicKey(path) => {
                let pem = read(path)?;
                let key = Key::public(&pem);
                Keys::One(Arc::new(
                    key.map_err(|error| unusable(path.display(), error))?,
                ))
            }
            KeySource::Jwks(location) => {
                let unusable = |error| unusable(location.place(), error);
                let document = document(location);
                let jwks = Jwks::new(document.map_err(|error| unusable(JwksError::Fetch(error)))?);
                match (jwks.load().await, location) {
                    (Ok(()), _) => {}
                    (Err(error), Location::File(_)) => return Err(unusable(error)),
                    (Err(error), Location::Url(url)) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, %url, "no keys for tokens yet: nobody can log in");
                    }
                }
                Keys::Many(Arc::new(jwks))
            }
        };
        Ok(Tokens::new(keys, &self.expected))
    }

    /// What signs tokens.
    ///
    /// # Errors
    /// There is no secret, or it cannot be used.
    pub fn signer(&self) -> Result<Signer, KeysError> {
        match &self.keys {
            KeySource::Secret(path) => Ok(Signer {
                secret: read_secret(path)?,
                expected: self.expected.clone(),
            }),
            KeySource::PublicKey(path) => Err(unusable(path.display(), Cause::NoSecret)),
            KeySource::Jwks(location) => Err(unusable(location.place(), Cause::NoSecret)),
        }
    }
}

impl Location {
    fn place(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url) => url.to_string(),
        }
    }
}

/// A JWK Set in a file. Blocks.
///
/// # Errors
/// It cannot be read, or is too large.
pub fn read_document(path: &Path) -> io::Result<Vec<u8>> {
    read_up_to(path, DOCUMENT_BYTES_MAX as u64)
}

/// Without the newline that an editor puts at its end.
fn read_secret(path: &Path) -> Result<Vec<u8>, KeysError> {
    let mut secret = read(path)?;
    if secret.last() == Some(&b'\n') {
        secret.pop();
        if secret.last() == Some(&b'\r') {
            secret.pop();
        }
    }
    let is_open = path
        .metadata()
        .is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
    if is_open {
        let path = path.display();
        tracing::warn!(%path, "others than its owner may read the secret: `chmod 600` mends that");
    }
    Ok(secret)
}

fn read(path: &Path) -> Result<Vec<u8>, KeysError> {
    read_up_to(path, FILE_BYTES_MAX)
        .map_err(|error| unusable(path.display(), Cause::Unreadable(error)))
}

fn read_up_to(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)?;
    match read as u64 > bytes_max {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(bytes),
    }
}

fn unusable(place: impl ToString, cause: impl Into<Cause>) -> KeysError {
    KeysError {
        place: place.to_string(),
        cause: cause.into(),
    }
}
