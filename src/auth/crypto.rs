//! The arithmetic behind signatures: `ring`, which TLS uses as well.
//!
//! `jsonwebtoken` knows the form of tokens and leaves this to a provider. Its own pure one would
//! bring some forty crates more, among them `rsa` with a known leak (RUSTSEC-2023-0071).

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(Hs256::signing(*algorithm, key)?)),
    verifier_factory: |algorithm, key| Ok(Box::new(Checked::of(*algorithm, key)?)),
    // What JWKs need of it is done in `key`.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Lets `jsonwebtoken` calculate with `ring`. To be called before it does; again does nothing.
pub(super) fn install() {
    // It is taken once in a process, and this is the only provider that anybody installs.
    let _ = PROVIDER.install_default();
}

/// A key and how signatures are checked with it.
enum Checked {
    Hs256(hmac::Key),
    Rs256(RsaPublicKeyComponents<Vec<u8>>),
    Es256(UnparsedPublicKey<Vec<u8>>),
    EdDsa(UnparsedPublicKey<Vec<u8>>),
}

impl Checked {
    fn of(algorithm: Algorithm, key: &DecodingKey) -> Result<Self, Error> {
        if algorithm.family() != key.family() {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        Ok(match (algorithm, key.kind()) {
            (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) => {
                Self::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret))
            }
            (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let (n, e) = (n.clone(), e.clone());
                Self::Rs256(RsaPublicKeyComponents { n, e })
            }
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => Self::Es256(
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.clone()),
            ),
            (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) => {
                Self::EdDsa(UnparsedPublicKey::new(&ED25519, point.clone()))
            }
            _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
        })
    }
}

impl Verifier<Vec<u8>> for Checked {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let checked = match self {
            Self::Hs256(key) => hmac::verify(key, message, signature),
            Self::Rs256(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            Self::Es256(key) | Self::EdDsa(key) => key.verify(message, signature),
        };
        checked.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Checked {
    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hs256(_) => Algorithm::HS256,
            Self::Rs256(_) => Algorithm::RS256,
            Self::Es256(_) => Algorithm::ES256,
            Self::EdDsa(_) => Algorithm::EdDSA,
        }
    }
}

/// The one way in which this program signs tokens.
struct Hs256(hmac::Key);

impl Hs256 {
    fn signing(algorithm: Algorithm, key: &EncodingKey) -> Result<Self, Error> {
        match algorithm {
            Algorithm::HS256 if key.family() == algorithm.family() => {
                Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())))
            }
            _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
        }
    }
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}
