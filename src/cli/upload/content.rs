//! A file that is open, as long as it is the one that was found.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::find::{File, Print};
use super::hash::{Mark, Sha256Sum};
use super::outcome::SendError;

/// A file of up to this size is held in memory and sent in one request.
const SMALL_BYTES: u64 = 256 * 1024;

/// A file that is open.
#[derive(Clone, Debug)]
pub(super) struct Content<'f> {
    pub(super) file: &'f File,
    pub(super) bytes: Arc<fs::File>,
    /// All of it, if that is not much.
    pub(super) small: Option<Bytes>,
    /// Cancelled when a piece of it has failed.
    pub(super) stop: CancellationToken,
}

impl<'f> Content<'f> {
    /// # Errors
    /// It cannot be read, or is not the one that was found any more.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn open(file: &'f File) -> Result<Self, SendError> {
        let (path, size) = (file.path.clone(), file.print.size);
        let opened = spawn_blocking(move || {
            let bytes = fs::File::open(path)?;
            let print = Print::of(&bytes.metadata()?);
            let small = match size <= SMALL_BYTES {
                true => Some(read_whole(&bytes, size)?),
                false => None,
            };
            Ok((bytes, print, small))
        });
        let opened = opened.await.map_err(io::Error::other);
        let (bytes, print, small) = opened.and_then(|opened| opened).map_err(broken)?;
        match print == file.print {
            true => Ok(Self {
                file,
                bytes: Arc::new(bytes),
                small,
                stop: CancellationToken::new(),
            }),
            false => Err(SendError::Changed),
        }
    }

    /// The SHA-256 of all of it.
    ///
    /// # Errors
    /// It cannot be read.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn sum(&self) -> Result<Sha256Sum, SendError> {
        let hashed = Mark::default().go_on(self.bytes.clone(), self.file.print.size);
        Ok(hashed.await.map_err(broken)?.sum())
    }
}

/// # Errors
/// The file is not any more what it was when it was found.
///
/// # Cancel safety
/// Cancel safe.
pub(super) async fn still_same(file: &File) -> Result<(), SendError> {
    let path = file.path.clone();
    let looked = spawn_blocking(move || fs::metadata(path)).await;
    let looked = looked.map_err(io::Error::other).and_then(|looked| looked);
    match looked {
        Ok(metadata) if Print::of(&metadata) == file.print => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SendError::File(error)),
        _ => Err(SendError::Changed),
    }
}

/// What went wrong with a file: one that ends early has been cut since it was found.
pub(super) fn broken(error: io::Error) -> SendError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => SendError::Changed,
        _ => SendError::File(error),
    }
}

fn read_whole(file: &fs::File, size: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes.into())
}
