//! Digests of bytes on their way into a blob, computed by the thread that writes them.

use sha2::Sha256;
use sha2::digest::Digest;
use sha2::digest::common::hazmat::SerializableState;
use tidegate_protocol::field::checksum::Algorithm;

/// What is computed over the bytes that pass.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    whole: Option<Sha256>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Sha1(sha1::Sha1),
    Sha256(Sha256),
    Md5(md5::Md5),
    Crc32c(u32),
}

/// A saved state is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved digest state is damaged")]
pub struct DamagedState;

impl Digests {
    /// Nothing is computed.
    pub fn none() -> Self {
        Self::default()
    }

    /// The SHA-256 of a blob from its first byte.
    pub fn sha256() -> Self {
        Self {
            whole: Some(Sha256::new()),
            parts: Vec::new(),
        }
    }

    /// Goes on where [`Self::save`] left off; `None` computes nothing.
    ///
    /// # Errors
    /// The state is damaged.
    pub fn resume(state: Option<&[u8]>) -> Result<Self, DamagedState> {
        let Some(state) = state else {
            return Ok(Self::none());
        };
        let state = state.try_into().map_err(|_| DamagedState)?;
        let whole = Sha256::deserialize(&state).map_err(|_| DamagedState)?;
        Ok(Self {
            whole: Some(whole),
            parts: Vec::new(),
        })
    }

    /// Additionally computes `algorithm` over the bytes from here on.
    pub fn with_part(mut self, algorithm: Algorithm) -> Self {
        self.parts.push(match algorithm {
            Algorithm::Sha1 => Part::Sha1(sha1::Sha1::new()),
            Algorithm::Sha256 => Part::Sha256(Sha256::new()),
            Algorithm::Md5 => Part::Md5(md5::Md5::new()),
            Algorithm::Crc32c => Part::Crc32c(0),
        });
        self
    }

    /// Additionally computes every algorithm over the bytes from here on, for when the one that
    /// is wanted is named behind them.
    pub fn with_every_part(self) -> Self {
        Algorithm::ALL.into_iter().fold(self, Self::with_part)
    }

    /// `bytes` come next.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(whole) = &mut self.whole {
            whole.update(bytes);
        }
        for part in &mut self.parts {
            match part {
                Part::Sha1(hash) => hash.update(bytes),
                Part::Sha256(hash) => hash.update(bytes),
                Part::Md5(hash) => hash.update(bytes),
                Part::Crc32c(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
            }
        }
    }

    /// The state of the whole digest, for [`Self::resume`].
    pub fn save(&self) -> Option<Vec<u8>> {
        self.whole.as_ref().map(|hash| hash.serialize().to_vec())
    }

    /// The SHA-256 of everything so far, in lower-case hexadecimal.
    pub fn whole_hex(&self) -> Option<String> {
        use std::fmt::Write as _;
        let digest = self.whole.clone()?.finalize();
        Some(
            digest
                .iter()
                .fold(String::with_capacity(64), |mut hex, byte| {
                    let _infallible = write!(hex, "{byte:02x}");
                    hex
                }),
        )
    }

    /// The digest of the bytes since [`Self::with_part`]; `None` if that was not asked for.
    pub fn part(&self, algorithm: Algorithm) -> Option<Vec<u8>> {
        self.parts.iter().find_map(|part| match (algorithm, part) {
            (Algorithm::Sha1, Part::Sha1(hash)) => Some(hash.clone().finalize().to_vec()),
            (Algorithm::Sha256, Part::Sha256(hash)) => Some(hash.clone().finalize().to_vec()),
            (Algorithm::Md5, Part::Md5(hash)) => Some(hash.clone().finalize().to_vec()),
            (Algorithm::Crc32c, Part::Crc32c(crc)) => Some(crc.to_be_bytes().to_vec()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_digest_goes_on_where_it_was() {
        let data: Vec<u8> = (0..10_000u32).map(|i| i.to_le_bytes()[0] ^ 0x5a).collect();
        let mut straight = Digests::sha256();
        straight.update(&data);
        for cut in [0, 1, 63, 64, 65, 4096, 9_999, 10_000] {
            let mut first = Digests::sha256();
            first.update(&data[..cut]);
            let mut second = Digests::resume(first.save().as_deref()).unwrap();
            second.update(&data[cut..]);
            assert_eq!(second.whole_hex(), straight.whole_hex(), "cut at {cut}");
        }
    }

    #[test]
    fn damaged_states_are_refused() {
        let state = Digests::sha256().save().unwrap();
        assert!(Digests::resume(Some(&state[1..])).is_err());
        assert!(Digests::resume(Some(&vec![0xff; state.len()])).is_err());
        assert!(Digests::resume(Some(&[])).is_err());
    }

    #[test]
    fn parts_are_the_digests_clients_send() {
        let of = |algorithm| {
            let mut digests = Digests::none().with_every_part();
            digests.update(b"hello ");
            digests.update(b"world");
            digests.part(algorithm).unwrap()
        };
        assert_eq!(of(Algorithm::Sha1)[..4], [0x2a, 0xae, 0x6c, 0x35]);
        assert_eq!(of(Algorithm::Md5)[..4], [0x5e, 0xb6, 0x3b, 0xbb]);
        assert_eq!(of(Algorithm::Sha256)[..4], [0xb9, 0x4d, 0x27, 0xb9]);
        assert_eq!(of(Algorithm::Crc32c), [0xc9, 0x94, 0x65, 0xaa]);
    }
}
