//! The SHA-256 of a file: in the order of its bytes, in slices that can be waited for in between, and
//! so that a later run goes on where this one was.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use sha2::digest::common::hazmat::SerializableState;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

/// A SHA-256, raw.
pub(in crate::cli) type Sha256Sum = [u8; 32];

/// What is read at a time.
const READ_BYTES: usize = 256 * 1024;

/// How far a file is hashed, and what is to be known to go on.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Mark {
    /// Bytes from the beginning.
    pub(in crate::cli) at: u64,
    hash: Sha256,
}

impl Mark {
    /// Goes on where [`Mark::save`] was; from the beginning, if that is damaged.
    pub(super) fn resume(at: u64, state: Option<&[u8]>) -> Self {
        let hash = state.and_then(|state| Sha256::deserialize(&state.try_into().ok()?).ok());
        hash.map(|hash| Self { at, hash }).unwrap_or_default()
    }

    pub(super) fn save(&self) -> Vec<u8> {
        self.hash.serialize().to_vec()
    }

    /// `bytes` come next.
    pub(in crate::cli) fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.at += bytes.len() as u64;
    }

    /// The SHA-256 of everything so far.
    pub(in crate::cli) fn sum(&self) -> Sha256Sum {
        self.hash.clone().finalize().into()
    }

    /// Hashes the file up to `end`.
    ///
    /// # Errors
    /// The file cannot be read, or ends before.
    ///
    /// # Cancel safety
    /// Nothing is changed but what this returns.
    pub(in crate::cli) async fn go_on(mut self, file: Arc<File>, end: u64) -> io::Result<Self> {
        let hashing = spawn_blocking(move || {
            let mut buffer = vec![0; READ_BYTES];
            while self.at < end {
                let left = usize::try_from(end - self.at).unwrap_or(usize::MAX);
                let wanted = left.min(READ_BYTES);
                let read = file.read_at(&mut buffer[..wanted], self.at)?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.update(&buffer[..read]);
            }
            Ok(self)
        });
        hashing.await.map_err(io::Error::other)?
    }
}

impl PartialEq for Mark {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && self.save() == other.save()
    }
}

impl Eq for Mark {}

/// In lower-case hexadecimal.
pub(in crate::cli) fn hex(sum: &Sha256Sum) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in sum {
        let _infallible = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_hash_goes_on_where_it_was() {
        let data: Vec<u8> = (0..1_000_003_u32).map(|i| ((i * 31) >> 3) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&data).unwrap();
        let file = Arc::new(file);
        let whole: Sha256Sum = Sha256::digest(&data).into();
        for cut in [0, 1, 64, 300_000, 1_000_003] {
            let first = Mark::default().go_on(file.clone(), cut).await.unwrap();
            assert_eq!(first.at, cut);
            let second = Mark::resume(first.at, Some(&first.save()));
            assert_eq!(second, first);
            let end = second.go_on(file.clone(), 1_000_003).await.unwrap();
            assert_eq!(hex(&end.sum()), hex(&whole), "{cut}");
        }
        assert_eq!(Mark::resume(7, Some(b"damaged")), Mark::default());
        let beyond = Mark::default().go_on(file, 1_000_004).await.unwrap_err();
        assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
    }
}
