//! A ZIP archive on its way into the blob store, written once from its first byte to its last.
//!
//! The structure of the archive comes from the crate `rawzip`; content goes past it, straight to the
//! store. Invariant: nothing is in the table of contents before all of it is in the archive, so an entry
//! whose content cannot be had to its end can be taken back.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use rawzip::extra_fields::ExtraFieldId;
use rawzip::time::UtcDateTime;
use rawzip::{CompressionMethod, DataDescriptorOutput, Header, ZipArchiveWriter, ZipFileBuilder};
use tokio::task::spawn_blocking;

use crate::blob::{BlobError, BlobWriter, Digests};
use crate::cancel::{CancelReason, Scope};

/// Regular files that everybody may read, and nothing else: no links, no programs.
const MODE: u32 = 0o100_644;

/// Bytes that are held back to be written together, and the most that is written at once.
const WRITE_BYTES: usize = 256 * 1024;

/// From here on lengths do not fit into 4 bytes, of which the largest number stands for that.
const LARGE_BYTES: u64 = 0xFFFF_FFFF;

/// Content that is smaller than this is not worth a write of its own.
const SMALL_BYTES: usize = 16 * 1024;

/// Why an archive cannot be written on.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    /// It is not to be.
    #[error("stopped: {0}")]
    Stopped(CancelReason),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("the archive's structure")]
    Zip(#[from] rawzip::Error),
    #[error("compressing")]
    Io(#[from] io::Error),
}

/// How the content of an entry is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is.
    Stored,
    Deflated,
}

impl Coding {
    fn method(self) -> CompressionMethod {
        match self {
            Self::Stored => CompressionMethod::STORE,
            Self::Deflated => CompressionMethod::DEFLATE,
        }
    }
}

/// What is told of an entry before its content.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// Its path, with `/`.
    pub(super) path: String,
    pub(super) coding: Coding,
    /// When its content was made, in milliseconds since the Unix epoch.
    pub(super) modified: i64,
    /// How many bytes its content has.
    pub(super) bytes: u64,
}

/// An archive that is being written.
pub(super) struct Archive {
    /// What is whole.
    contents: ZipArchiveWriter<Tap>,
    tap: Tap,
    writer: Arc<dyn BlobWriter>,
    /// Looked at before each write.
    scope: Scope,
    /// Bytes that the store has.
    written: u64,
    /// Those behind them.
    pending: Vec<u8>,
}

impl Archive {
    /// Begins an archive in an empty blob.
    pub(super) fn new(writer: Arc<dyn BlobWriter>, scope: Scope) -> Self {
        let tap = Tap::default();
        Self {
            contents: ZipArchiveWriter::new(tap.clone()),
            tap,
            writer,
            scope,
            written: 0,
            pending: Vec::new(),
        }
    }

    /// Begins an entry.
    ///
    /// # Errors
    /// Nothing can be written any more, as for all functions of an archive.
    pub(super) async fn entry(&mut self, head: Head) -> Result<Entry<'_>, ArchiveError> {
        let began_at = self.end();
        // Written by a scratch archive: this one's does not know of the entry before its end.
        let mut bytes = Vec::new();
        let mut scratch = ZipArchiveWriter::new(&mut bytes);
        drop(builder(&mut scratch, &head)?.start()?);
        drop(scratch);
        self.push(bytes.into()).await?;
        Ok(Entry {
            deflate: match head.coding {
                Coding::Stored => None,
                Coding::Deflated => Some(Box::new(Compress::new(Compression::default(), false))),
            },
            head,
            began_at,
            crc: crc32fast::Hasher::new(),
            bytes: 0,
            stored: 0,
            archive: self,
        })
    }

    /// Closes the archive and makes it durable. Returns its length.
    pub(super) async fn finish(mut self) -> Result<u64, ArchiveError> {
        let contents = mem::replace(&mut self.contents, ZipArchiveWriter::new(Tap::default()));
        // Of a million entries it takes a while.
        let finished = spawn_blocking(move || contents.finish().map(drop));
        finished.await.map_err(io::Error::other)??;
        let bytes = self.tap.take();
        self.push(bytes.into()).await?;
        self.flush().await?;
        let synced = self.writer.clone().sync();
        tokio::select! {
            // May be dropped: what is not durable is about to be removed.
            reason = self.scope.cancelled() => Err(ArchiveError::Stopped(reason)),
            synced = synced => Ok(synced.map(|()| self.written)?),
        }
    }

    /// Where the archive ends.
    fn end(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    async fn push(&mut self, bytes: Bytes) -> Result<(), ArchiveError> {
        if bytes.len() < SMALL_BYTES {
            self.pending.extend_from_slice(&bytes);
            return match self.pending.len() < WRITE_BYTES {
                true => Ok(()),
                false => self.flush().await,
            };
        }
        self.flush().await?;
        self.write(bytes).await
    }

    async fn flush(&mut self) -> Result<(), ArchiveError> {
        match mem::take(&mut self.pending) {
            pending if pending.is_empty() => Ok(()),
            pending => self.write(pending.into()).await,
        }
    }

    /// Awaits each write to its end: a blob that is removed under one might come back.
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), ArchiveError> {
        while !bytes.is_empty() {
            if let Some(reason) = self.scope.reason() {
                return Err(ArchiveError::Stopped(reason));
            }
            let next = bytes.split_to(bytes.len().min(WRITE_BYTES));
            let writer = self.writer.clone();
            let mut append = writer.append(self.written, next, Digests::none());
            let appended = tokio::select! {
                appended = &mut append => appended,
                // Goes on below: it ends at once if it has not begun.
                _ = self.scope.cancelled() => {
                    self.writer.abandon();
                    append.await
                }
            };
            self.written = appended.end;
            if let Some(error) = appended.error {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Cuts the archive.
    async fn truncate(&mut self, to: u64) -> Result<(), ArchiveError> {
        match usize::try_from(to.saturating_sub(self.written)) {
            Ok(kept) if to >= self.written => self.pending.truncate(kept),
            _ => {
                self.pending.clear();
                self.writer.clone().truncate(to).await?;
                self.written = to;
            }
        }
        Ok(())
    }
}

/// An entry that is being written.
pub(super) struct Entry<'a> {
    archive: &'a mut Archive,
    head: Head,
    /// Where it begins in the archive.
    began_at: u64,
    deflate: Option<Box<Compress>>,
    crc: crc32fast::Hasher,
    /// Of its content.
    bytes: u64,
    /// The same as it is stored.
    stored: u64,
}

impl Entry<'_> {
    /// Adds to its content.
    pub(super) async fn write(&mut self, content: Bytes) -> Result<(), ArchiveError> {
        self.crc.update(&content);
        self.bytes += content.len() as u64;
        match self.deflate.take() {
            None => self.store(content).await,
            Some(deflate) => self.compress(deflate, content, FlushCompress::None).await,
        }
    }

    /// It is whole.
    pub(super) async fn end(mut self) -> Result<(), ArchiveError> {
        if let Some(deflate) = self.deflate.take() {
            self.compress(deflate, Bytes::new(), FlushCompress::Finish)
                .await?;
        }
        let descriptor = DataDescriptorOutput::new(self.crc.finalize(), self.bytes);
        let archive = self.archive;
        let (mut entry, _) = builder(&mut archive.contents, &self.head)?.start()?;
        archive.tap.skip(true);
        count(&mut entry, self.stored)?;
        archive.tap.skip(false);
        // The header is in the archive already.
        archive.tap.take();
        entry.finish(descriptor)?;
        let bytes = archive.tap.take();
        archive.push(bytes.into()).await
    }

    /// Takes it back: the archive is as if it had never begun.
    pub(super) async fn undo(self) -> Result<(), ArchiveError> {
        self.archive.truncate(self.began_at).await
    }

    async fn store(&mut self, bytes: Bytes) -> Result<(), ArchiveError> {
        self.stored += bytes.len() as u64;
        self.archive.push(bytes).await
    }

    async fn compress(
        &mut self,
        mut deflate: Box<Compress>,
        content: Bytes,
        flush: FlushCompress,
    ) -> Result<(), ArchiveError> {
        // It takes some milliseconds, in which others want this thread.
        let work = spawn_blocking(move || {
            let compressed = compress_all(&mut deflate, &content, flush);
            compressed.map(|compressed| (deflate, compressed))
        });
        let (deflate, compressed) = work.await.map_err(io::Error::other)??;
        self.deflate = Some(deflate);
        self.store(compressed.into()).await
    }
}

fn compress_all(
    deflate: &mut Compress,
    mut content: &[u8],
    flush: FlushCompress,
) -> io::Result<Vec<u8>> {
    let mut compressed = Vec::with_capacity(content.len() / 2 + 1024);
    loop {
        let before = deflate.total_in();
        let status = deflate
            .compress_vec(content, &mut compressed, flush)
            .map_err(io::Error::other)?;
        let taken = usize::try_from(deflate.total_in() - before).map_err(io::Error::other)?;
        content = content.get(taken..).unwrap_or_default();
        let is_done = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            _ => content.is_empty() && compressed.len() < compressed.capacity(),
        };
        if is_done {
            return Ok(compressed);
        }
        compressed.reserve(64 * 1024);
    }
}

fn builder<'a, W: Write>(
    archive: &'a mut ZipArchiveWriter<W>,
    head: &'a Head,
) -> Result<ZipFileBuilder<'a, 'a, W>, rawzip::Error> {
    let builder = archive
        .new_file(head.path.as_str())
        .compression_method(head.coding.method())
        .last_modified(UtcDateTime::from_unix(head.modified.div_euclid(1000)))
        .unix_permissions(MODE);
    match head.bytes < LARGE_BYTES {
        true => Ok(builder),
        // Its lengths follow behind the content in 8 bytes each, and this is how a reader knows (ZIP
        // application note, section 4.3.9.2).
        false => builder.extra_field(ExtraFieldId::ZIP64, &[0; 16], Header::LOCAL),
    }
}

/// Tells an entry of the table of contents that it has so many bytes.
fn count(entry: &mut impl Write, mut bytes: u64) -> io::Result<()> {
    static ANY: [u8; 1 << 20] = [0; 1 << 20];
    while bytes > 0 {
        let some = usize::try_from(bytes).map_or(ANY.len(), |left| left.min(ANY.len()));
        entry.write_all(&ANY[..some])?;
        bytes -= some as u64;
    }
    Ok(())
}

/// Where the table of contents writes to, and what it has written is taken from. Clones are the same.
#[derive(Clone, Debug, Default)]
struct Tap(Arc<Mutex<Tapped>>);

#[derive(Debug, Default)]
struct Tapped {
    bytes: Vec<u8>,
    /// What is written now is somewhere else.
    is_skipping: bool,
}

impl Tap {
    fn skip(&self, skip: bool) {
        self.lock().is_skipping = skip;
    }

    fn take(&self) -> Vec<u8> {
        mem::take(&mut self.lock().bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Tapped> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Tap {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut tapped = self.lock();
        if !tapped.is_skipping {
            tapped.bytes.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
