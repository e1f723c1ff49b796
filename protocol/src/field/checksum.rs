//! `Upload-Checksum`: the digest that the bytes of one request must have (rows H9, H10, T70 to
//! T80).
//!
//! Digests are only named and compared here. The server computes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

use super::{Fault, FieldError, elements, name, sole};

/// The value of `Tus-Checksum-Algorithm`: every [`Algorithm`], without spaces, because there are
/// clients that split at commas and do not trim.
pub const OFFERED: &str = "sha1,sha256,md5,crc32c";

/// The longest digest of any [`Algorithm`], in bytes.
const DIGEST_BYTES_MAX: usize = 32;

/// A checksum algorithm on offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-1, which every server with this extension must offer.
    Sha1,
    /// SHA-256.
    Sha256,
    /// MD5.
    Md5,
    /// CRC-32C (Castagnoli), its four bytes in big-endian order.
    Crc32c,
}

impl Algorithm {
    /// Every algorithm, in the order of [`OFFERED`].
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Md5, Self::Crc32c];

    /// The name on the wire, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Md5 => "md5",
            Self::Crc32c => "crc32c",
        }
    }

    /// The length of its raw digest, in bytes.
    #[must_use]
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => DIGEST_BYTES_MAX,
            Self::Md5 => 16,
            Self::Crc32c => 4,
        }
    }

    /// The algorithm of that name. Names have no upper case (row T70).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }
}

/// An expected digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    algorithm: Algorithm,
    /// Zero past the algorithm's own length, so that equality can be derived.
    digest: [u8; DIGEST_BYTES_MAX],
}

impl Checksum {
    /// Parses an algorithm, one space and the base64 of the raw digest.
    ///
    /// # Errors
    ///
    /// [`Fault::UnknownAlgorithm`], [`Fault::NotChecksum`] where there is no such pair,
    /// [`Fault::NotBase64`], and [`Fault::WrongDigestLength`], for instance for the base64 of a
    /// digest in hexadecimal (row T80).
    pub fn parse(value: &[u8]) -> Result<Self, Fault> {
        let value = str::from_utf8(value).map_err(|_| Fault::NotChecksum)?;
        let (algorithm, digest) = value.split_once(' ').ok_or(Fault::NotChecksum)?;
        let algorithm = Algorithm::from_name(algorithm).ok_or(Fault::UnknownAlgorithm)?;
        let digest = STANDARD.decode(digest).map_err(|_| Fault::NotBase64)?;
        Self::new(algorithm, &digest).ok_or(Fault::WrongDigestLength)
    }

    /// The checksum in a header section, or in a trailer section; `None` when the field is absent.
    ///
    /// # Errors
    ///
    /// As [`Checksum::parse`], and [`Fault::Repeated`] for a second field line.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, FieldError> {
        sole(headers, name::UPLOAD_CHECKSUM)?
            .map(|value| Self::parse(value.as_bytes()))
            .transpose()
            .map_err(|fault| fault.of(name::UPLOAD_CHECKSUM))
    }

    /// The checksum made of a raw digest; `None` when its length does not fit the algorithm.
    #[must_use]
    pub fn new(algorithm: Algorithm, digest: &[u8]) -> Option<Self> {
        if digest.len() != algorithm.digest_bytes() {
            return None;
        }
        let mut buffer = [0; DIGEST_BYTES_MAX];
        buffer
            .iter_mut()
            .zip(digest)
            .for_each(|(to, from)| *to = *from);
        Some(Self {
            algorithm,
            digest: buffer,
        })
    }

    /// The algorithm to compute.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw digest that is expected.
    #[must_use]
    pub fn digest(&self) -> &[u8] {
        &self.digest[..self.algorithm.digest_bytes()]
    }

    /// The same in lower-case hexadecimal.
    #[must_use]
    pub fn hex(&self) -> String {
        self.digest()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Whether a computed raw digest is the expected one. Not in constant time: neither is a
    /// secret.
    #[must_use]
    pub fn matches(&self, computed: &[u8]) -> bool {
        self.digest() == computed
    }
}

/// Whether `Trailer` announces an `Upload-Checksum` behind the body (row T77). One that is not
/// announced is ignored, since bytes have to be staged from the first one on (row T79).
#[must_use]
pub fn is_announced(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TRAILER)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(elements)
        .any(|announced| announced.eq_ignore_ascii_case(name::UPLOAD_CHECKSUM))
}
