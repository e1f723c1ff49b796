//! Keys that tokens are checked with.
//!
//! Invariant: a key has one algorithm, which follows from its kind and from nothing in a token.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::rand::SystemRandom;
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{SubjectPublicKeyInfoDer, alg_id};

use super::crypto;

/// The shortest secret (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// The sizes of an RSA key that are taken (RFC 7518, section 3.3).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A key and its algorithm.
#[derive(Debug)]
pub(super) struct Key {
    algorithm: Algorithm,
    decoding: DecodingKey,
}

/// A key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It could be guessed.
    #[error("has a secret of fewer than {SECRET_BYTES_MIN} bytes, which could be guessed")]
    ShortSecret,
    /// There is no key, or one in another form.
    #[error("has no public key in PEM, which begins with `-----BEGIN PUBLIC KEY-----`")]
    NotPem,
    /// There is an algorithm for it, but not here.
    #[error("has a key that is neither RSA nor EC on P-256 nor Ed25519")]
    OtherKind,
    /// It could be factored, or takes too long.
    #[error("has an RSA key of {bits} bits: {} to {} are taken", RSA_BITS.start(), RSA_BITS.end())]
    RsaBits {
        /// Its size.
        bits: usize,
    },
    /// It is not what it says it is.
    #[error("has a malformed key")]
    Malformed,
    /// A signature can be neither accepted nor refused with it.
    #[error("has a key that does not work")]
    Unusable,
}

impl Key {
    /// For HS256.
    pub(super) fn secret(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret);
        }
        let decoding = DecodingKey::from_secret(secret);
        Self::new(Algorithm::HS256, decoding)
    }

    /// From PEM (RFC 7468, section 13): RS256, ES256 or EdDSA.
    pub(super) fn public(pem: &[u8]) -> Result<Self, KeyError> {
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| KeyError::NotPem)?;
        let (algorithm, key) = public_key(&info).ok_or(KeyError::Malformed)?;
        if algorithm == &*alg_id::RSA_ENCRYPTION {
            let (n, e) = rsa_public_key(key).ok_or(KeyError::Malformed)?;
            Self::rsa(n, e)
        } else if algorithm == &*alg_id::ECDSA_P256 {
            Self::p256(key)
        } else if algorithm == &*alg_id::ED25519 {
            Self::ed25519(key)
        } else {
            Err(KeyError::OtherKind)
        }
    }

    /// For RS256: the modulus and the exponent, both big-endian.
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let (n, e) = (without_zeros(n), without_zeros(e));
        let bits = n
            .first()
            .map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if !RSA_BITS.contains(&bits) {
            return Err(KeyError::RsaBits { bits });
        }
        let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        // 1 is no exponent: whatever is signed would be its own signature.
        if !is_odd(n) || !is_odd(e) || !(1..=4).contains(&e.len()) || e == [1] {
            return Err(KeyError::Malformed);
        }
        let decoding = DecodingKey::from_rsa_raw_components(n, e);
        Self::new(Algorithm::RS256, decoding)
    }

    /// For ES256: an uncompressed point.
    pub(super) fn p256(point: &[u8]) -> Result<Self, KeyError> {
        match point {
            [4, coordinates @ ..] if coordinates.len() == 64 && is_on_p256(point) => {
                let decoding = DecodingKey::from_ec_der(point);
                Self::new(Algorithm::ES256, decoding)
            }
            _ => Err(KeyError::Malformed),
        }
    }

    /// For EdDSA.
    pub(super) fn ed25519(point: &[u8]) -> Result<Self, KeyError> {
        match point.len() {
            32 => Self::new(Algorithm::EdDSA, DecodingKey::from_ed_der(point)),
            _ => Err(KeyError::Malformed),
        }
    }

    fn new(algorithm: Algorithm, decoding: DecodingKey) -> Result<Self, KeyError> {
        crypto::install();
        let key = Self {
            algorithm,
            decoding,
        };
        key.refuses_garbage()?;
        Ok(key)
    }

    /// Whether a wrong signature is found to be one: whatever else is answered means that nothing can
    /// be calculated with this key.
    fn refuses_garbage(&self) -> Result<(), KeyError> {
        let name = json!({ "alg": self.algorithm_name() });
        let parts = [name.to_string().into_bytes(), b"{}".to_vec(), vec![1; 64]];
        let token = parts
            .map(|part| BASE64_URL_SAFE_NO_PAD.encode(part))
            .join(".");
        let mut nothing = Validation::new(self.algorithm);
        nothing.required_spec_claims.clear();
        match jsonwebtoken::decode::<Value>(&token, &self.decoding, &nothing) {
            Err(error) if *error.kind() == ErrorKind::InvalidSignature => Ok(()),
            _ => Err(KeyError::Unusable),
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// As a token names it.
    pub(super) fn algorithm_name(&self) -> String {
        format!("{:?}", self.algorithm)
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

/// Whether somebody could have the private half of it.
fn is_on_p256(point: &[u8]) -> bool {
    let random = SystemRandom::new();
    EphemeralPrivateKey::generate(&ECDH_P256, &random).is_ok_and(|ours| {
        let theirs = UnparsedPublicKey::new(&ECDH_P256, point);
        agree_ephemeral(ours, &theirs, |_| ()).is_ok()
    })
}

/// Signs claims with a secret, which a [`Key::secret`] checks.
///
/// # Errors
/// Nothing can be signed.
pub(super) fn sign(claims: &Value, secret: &[u8]) -> Result<String, KeyError> {
    crypto::install();
    let key = EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)
        .map_err(|_| KeyError::Unusable)
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The content of the algorithm and the key of a `SubjectPublicKeyInfo` (RFC 5280, section 4.1).
fn public_key(info: &[u8]) -> Option<(&[u8], &[u8])> {
    let (info, b"") = element(info, SEQUENCE)? else {
        return None;
    };
    let (algorithm, rest) = element(info, SEQUENCE)?;
    match element(rest, BIT_STRING)? {
        // No bit of the last byte is unused.
        ([0, key @ ..], b"") => Some((algorithm, key)),
        _ => None,
    }
}

/// The modulus and the exponent of an `RSAPublicKey` (RFC 8017, appendix A.1.1).
fn rsa_public_key(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (key, b"") = element(key, SEQUENCE)? else {
        return None;
    };
    let (n, rest) = element(key, INTEGER)?;
    let (e, b"") = element(rest, INTEGER)? else {
        return None;
    };
    Some((n, e))
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// The content of the first element (DER), if it has this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // More than two bytes of length are more than any key has.
        0x81 | 0x82 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            let length = bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    (found == tag).then_some((content, rest))
}
