//! What is written now and copied into the archive later, in a file without a name: it ends with the
//! process, whatever ends that, and takes no memory.

use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::task::spawn_blocking;

/// Bytes that are written, and read, at once.
const BYTES: usize = 256 * 1024;

/// A file without a name: first written, then read.
#[derive(Debug)]
pub(super) struct Spool {
    file: Arc<File>,
    written: u64,
    pending: Vec<u8>,
}

impl Spool {
    /// Makes one in `dir`.
    ///
    /// # Errors
    /// The operating system's, as for all functions of a spool.
    pub(super) async fn new(dir: &Path) -> io::Result<Self> {
        let dir = dir.to_owned();
        let file = blocking(move || tempfile::tempfile_in(dir)).await?;
        Ok(Self {
            file: Arc::new(file),
            written: 0,
            pending: Vec::new(),
        })
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Adds to it.
    pub(super) async fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        match self.pending.len() < BYTES {
            true => Ok(()),
            false => self.flush().await,
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let (file, at) = (self.file.clone(), self.written);
        let pending = mem::take(&mut self.pending);
        self.written += pending.len() as u64;
        blocking(move || file.write_all_at(&pending, at)).await
    }

    /// Goes over to reading.
    pub(super) async fn rewind(mut self) -> io::Result<Reader> {
        self.flush().await?;
        Ok(Reader {
            file: self.file,
            at: 0,
            end: self.written,
            rest: BytesMut::new(),
        })
    }
}

/// A spool that is read, from its beginning.
#[derive(Debug)]
pub(super) struct Reader {
    file: Arc<File>,
    at: u64,
    end: u64,
    /// What has been read of the next line.
    rest: BytesMut,
}

impl Reader {
    /// The next piece. `None`: that was all.
    pub(super) async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let mut piece = vec![0; left.min(BYTES)];
        if piece.is_empty() {
            return Ok(None);
        }
        let (file, at) = (self.file.clone(), self.at);
        self.at += piece.len() as u64;
        let read = blocking(move || {
            file.read_exact_at(&mut piece, at)?;
            Ok(piece)
        });
        read.await.map(|piece| Some(piece.into()))
    }

    /// The next line, without its end. For a spool of lines, all of which have ends.
    pub(super) async fn line(&mut self) -> io::Result<Option<BytesMut>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.rest) {
                let mut line = self.rest.split_to(end + 1);
                line.truncate(end);
                return Ok(Some(line));
            }
            match self.piece().await? {
                Some(piece) => self.rest.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }

    /// Begins again.
    pub(super) fn rewind(&mut self) {
        self.at = 0;
        self.rest.clear();
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
