//! What has been sent to one destination, and what is half sent: a file of its own for each.
//!
//! Every change is committed before it is told, in a transaction with whatever else is waiting, and
//! survives the end of this program, however sudden. After a loss of power the last changes may be
//! missing: then a little more is asked and sent than would be necessary, and nothing is wrong.
//! Several programs may have the same journal open: whoever has begun a file changes its row only as long
//! as the row is of that upload.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::find::{File, Print, key};
use super::hash::{self, Mark, Sha256Sum};
use crate::cancel::Scope;
use crate::id::UploadId;

/// Changes of one transaction.
const BATCH_MAX: usize = 256;

/// How long another program may keep it locked.
const LOCKED_MAX: Duration = Duration::from_secs(20);

/// Which tables there are.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE file (
    path BLOB NOT NULL PRIMARY KEY,
    size INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    state INTEGER NOT NULL,
    upload BLOB NOT NULL,
    url TEXT,
    hashed INTEGER NOT NULL DEFAULT 0,
    digest BLOB,
    reason TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE ending (
    upload BLOB NOT NULL PRIMARY KEY,
    url TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE part (
    path BLOB NOT NULL,
    number INTEGER NOT NULL,
    start INTEGER NOT NULL,
    size INTEGER NOT NULL,
    upload BLOB NOT NULL,
    url TEXT,
    PRIMARY KEY (path, number)
) STRICT, WITHOUT ROWID;
";

/// What the destination has. Of this program alone, and gone with it.
const PRESENT: &str = "
CREATE TEMP TABLE present (
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (name, size, sha256)
) STRICT, WITHOUT ROWID;
";

/// How far a file is, as its row says.
const SENDING: i64 = 0;
const DONE: i64 = 1;
const CANCELLED: i64 = 2;

/// The journal of one destination. Clones are handles to the same.
#[derive(Clone)]
pub(super) struct Journal {
    jobs: mpsc::Sender<Job>,
    /// Why there are no more of them. Set before that is found out.
    cause: Arc<OnceLock<String>>,
}

/// Changes something, and returns what tells of it once that is committed.
type Job = Box<dyn FnOnce(&Connection) -> rusqlite::Result<Tell> + Send>;
type Tell = Box<dyn FnOnce() + Send>;

/// It cannot be read or written. What has been told before is there all the same.
#[derive(Debug, thiserror::Error)]
#[error("the journal cannot be used any more: {0}")]
pub(super) struct JournalLost(String);

/// A change of a file that is being sent has not been made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unchanged {
    #[error(transparent)]
    Lost(#[from] JournalLost),
    /// The row is of another upload now, or gone.
    #[error("another run has begun it anew")]
    Overtaken,
}

/// It cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {source}", .path.display())]
    Sqlite {
        path: PathBuf,
        source: rusqlite::Error,
    },
    #[error("{} is of a newer version of this program", .0.display())]
    Newer(PathBuf),
}

/// What a run knows of a file before it sends anything.
#[derive(Debug)]
pub(super) enum Known {
    /// It is sent.
    Done { upload: UploadId, sha256: Sha256Sum },
    /// Somebody has cancelled it.
    Cancelled { reason: Option<String> },
    /// It is to be sent, or the rest of it.
    Sending(Sending),
}

/// A file that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sending {
    /// What becomes of it. If there are parts, it is put together of them.
    pub(super) whole: Piece,
    /// None, or at least two.
    pub(super) parts: Vec<Piece>,
    /// How far it is hashed.
    pub(super) mark: Mark,
    /// What was sent of an older content.
    pub(super) stale: Vec<Ending>,
}

/// An upload that nobody wants any more. It is in the journal until it has ended on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) upload: UploadId,
    /// `None`: it may not have been created.
    pub(super) url: Option<String>,
}

/// Bytes of a file that are one upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// What the file is sent as.
    pub(super) whole: UploadId,
    /// 0 is the whole, parts are counted from 1.
    pub(super) number: u32,
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) upload: UploadId,
    /// `None`: it may not have been created yet.
    pub(super) url: Option<String>,
}

impl Journal {
    /// Opens the journal of `destination` in `dir`, which is made if need be. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(super) fn open(dir: &Path, destination: &str, scope: &Scope) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io {
            path: dir.to_owned(),
            source,
        };
        make_private(dir).map_err(io)?;
        let name = hash::hex(&Sha256::digest(destination).into());
        let path = dir.join(format!("{}.db", &name[..32]));
        let sqlite = |source| OpenError::Sqlite {
            path: path.clone(),
            source,
        };
        create_private(&path).map_err(io)?;
        let connection = Connection::open(&path).map_err(sqlite)?;
        prepare(&connection).map_err(sqlite)?;
        let version = "SELECT user_version FROM pragma_user_version";
        let version: i64 = connection
            .query_one(version, [], |row| row.get(0))
            .map_err(sqlite)?;
        if version > SCHEMA_VERSION {
            return Err(OpenError::Newer(path));
        }
        let (sender, jobs) = mpsc::channel(BATCH_MAX);
        let cause = Arc::default();
        let ended = Arc::clone(&cause);
        scope.spawn(async move {
            // After a panic there is no cause: whoever asks gets `JournalLost` all the same.
            drop(spawn_blocking(move || work(&connection, jobs, &ended)).await);
        });
        Ok(Self {
            jobs: sender,
            cause,
        })
    }

    /// What is known of `file`; if nothing is, or of another content, it is begun.
    ///
    /// # Errors
    /// The journal is lost.
    pub(super) async fn begin(&self, file: &File, parts: u8) -> Result<Known, JournalLost> {
        let (path, print) = (key(&file.path), file.print);
        self.change(move |book| {
            let mut stale = Vec::new();
            match find(book, &path)? {
                Some(row) if row.print == print => return row.known(book, &path),
                Some(row) if row.state == SENDING => stale = abandon(book, &path, row)?,
                _ => forget(book, &path)?,
            }
            let sending = Sending::new(print.size, parts, stale);
            insert(book, &path, print, &sending)?;
            Ok(Known::Sending(sending))
        })
        .await
    }

    /// What is known of `file`, without a change.
    ///
    /// # Errors
    /// The journal is lost.
    pub(super) async fn look(&self, file: &File) -> Result<Option<Known>, JournalLost> {
        let (path, print) = (key(&file.path), file.print);
        self.change(move |book| match find(book, &path)? {
            Some(row) if row.print == print => row.known(book, &path).map(Some),
            _ => Ok(None),
        })
        .await
    }

    /// The digest of what was sent under this path, whatever the file is now.
    ///
    /// # Errors
    /// The journal is lost.
    pub(super) async fn sent(&self, file: &File) -> Result<Option<Sha256Sum>, JournalLost> {
        let path = key(&file.path);
        self.change(move |book| {
            let row = find(book, &path)?.filter(|row| row.state == DONE);
            Ok(row.and_then(|row| row.digest?.try_into().ok()))
        })
        .await
    }

    /// The file is another one, but has what was sent.
    ///
    /// # Errors
    /// The journal is lost.
    pub(super) async fn renew(&self, file: &File) -> Result<(), JournalLost> {
        let (path, print) = (key(&file.path), file.print);
        self.change(move |book| {
            let statement = "UPDATE file SET size = ?2, modified = ?3, inode = ?4
                WHERE path = ?1 AND state = 1";
            let values = params![
                path,
                print.size.cast_signed(),
                print.modified,
                print.inode.cast_signed()
            ];
            book.prepare_cached(statement)?.execute(values).map(drop)
        })
        .await
    }

    /// The piece of this number of a file that is sent as `upload` is at `url`.
    ///
    /// # Errors
    /// See [`Unchanged`].
    pub(super) async fn located(
        &self,
        path: &Path,
        upload: UploadId,
        piece: u32,
        url: String,
    ) -> Result<(), Unchanged> {
        self.change_own(path, upload, move |book, path, own| {
            let statement = match piece {
                0 => "UPDATE file SET url = ?3 WHERE path = ?1 AND upload = ?2",
                _ => {
                    "UPDATE part SET url = ?3 WHERE path = ?1 AND number = ?4
                     AND EXISTS (SELECT 1 FROM file WHERE path = ?1 AND upload = ?2)"
                }
            };
            let mut statement = book.prepare_cached(statement)?;
            match piece {
                0 => statement.execute(params![path, own, url]),
                piece => statement.execute(params![path, own, url, piece]),
            }
        })
        .await
    }

    /// So much of the file is hashed.
    ///
    /// # Errors
    /// See [`Unchanged`].
    pub(super) async fn hashed(
        &self,
        path: &Path,
        upload: UploadId,
        mark: &Mark,
    ) -> Result<(), Unchanged> {
        let (at, state) = (mark.at.cast_signed(), mark.save());
        self.change_own(path, upload, move |book, path, own| {
            let statement = "UPDATE file SET hashed = ?3, digest = ?4
                WHERE path = ?1 AND upload = ?2 AND state = 0";
            let values = params![path, own, at, state];
            book.prepare_cached(statement)?.execute(values)
        })
        .await
    }

    /// All of the file is on the server. Returns the parts that it was put together of.
    ///
    /// # Errors
    /// See [`Unchanged`].
    pub(super) async fn done(
        &self,
        path: &Path,
        upload: UploadId,
        sha256: Sha256Sum,
    ) -> Result<Vec<Ending>, Unchanged> {
        self.close(path, upload, move |book, path, own| {
            let statement = "UPDATE file SET state = 1, hashed = size, digest = ?3, url = NULL
                WHERE path = ?1 AND upload = ?2";
            let values = params![path, own, sha256.as_slice()];
            book.prepare_cached(statement)?.execute(values)
        })
        .await
    }

    /// Somebody has cancelled it. Returns the parts that are left.
    ///
    /// # Errors
    /// See [`Unchanged`].
    pub(super) async fn cancelled(
        &self,
        path: &Path,
        upload: UploadId,
        reason: Option<String>,
    ) -> Result<Vec<Ending>, Unchanged> {
        self.close(path, upload, move |book, path, own| {
            let statement = "UPDATE file SET state = 2, reason = ?3, hashed = 0, digest = NULL
                WHERE path = ?1 AND upload = ?2";
            let values = params![path, own, reason];
            book.prepare_cached(statement)?.execute(values)
        })
        .await
    }

    /// It is not sent as `upload`. Returns what there may be of it.
    ///
    /// # Errors
    /// See [`Unchanged`].
    pub(super) async fn abandon(
        &self,
        path: &Path,
        upload: UploadId,
    ) -> Result<Vec<Ending>, Unchanged> {
        let path = key(path);
        let abandoned = self.change(move |book| {
            let row = find(book, &path)?.filter(|row| row.upload == bytes(upload));
            row.map(|row| abandon(book, &path, row)).transpose()
        });
        abandoned.await?.ok_or(Unchanged::Overtaken)
    }

    /// Nothing is known any more of what is done or cancelled.
    ///
    /// # Errors
    /// The journal is lost.
    pub(super) async fn forget(&self, file: &File) -> Result<(), JournalLost> {
        let path = key(&file.path);
        self.change(move |book| match find(book, &path)? {
            Some(row) if row.state != SENDING => forget(book, &path),
            _ => Ok(()),
        })
        .await
    }

    /// What is still to be ended, of this run and of others, some of it.
    ///
    /// # Errors
    /// The journal is lost.
    pub(super) async fn endings(&self) -> Result<Vec<Ending>, JournalLost> {
        self.change(|book| {
            let statement = "SELECT upload, url FROM ending LIMIT 10000";
            let mut statement = book.prepare_cached(statement)?;
            let endings = statement.query_map([], |row| {
                Ok(Ending {
                    upload: id(&row.get::<_, Vec<u8>>(0)?)?,
                    url: row.get(1)?,
                })
            })?;
            endings.collect()
        })
        .await
    }

    /// It has ended on the server.
    ///
    /// # Errors
    /// The journal is lost.
    pub(super) async fn ended(&self, upload: UploadId) -> Result<(), JournalLost> {
        self.change(move |book| {
            let statement = "DELETE FROM ending WHERE upload = ?1";
            let values = params![bytes(upload)];
            book.prepare_cached(statement)?.execute(values).map(drop)
        })
        .await
    }

    /// Remembers for this run what the destination has: name, size, and SHA-256 if it is known.
    ///
    /// # Errors
    /// The journal is lost.
    pub(super) async fn note_present(
        &self,
        present: Vec<(String, u64, Option<String>)>,
    ) -> Result<(), JournalLost> {
        self.change(move |book| {
            let mut statement = book.prepare_cached(
                "INSERT INTO present (name, size, sha256) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO NOTHING",
            )?;
            for (name, size, sha256) in present {
                let sha256 = sha256.unwrap_or_default();
                statement.execute(params![name, size.cast_signed(), sha256])?;
            }
            Ok(())
        })
        .await
    }

    /// The SHA-256 of each file of this name and size that the destination has, as far as it is known.
    ///
    /// # Errors
    /// The journal is lost.
    pub(super) async fn present(
        &self,
        name: &str,
        size: u64,
    ) -> Result<Vec<Option<String>>, JournalLost> {
        let name = name.to_owned();
        self.change(move |book| {
            let statement = "SELECT sha256 FROM present WHERE name = ?1 AND size = ?2";
            let mut statement = book.prepare_cached(statement)?;
            let found = statement.query_map(params![name, size.cast_signed()], |row| {
                row.get::<_, String>(0)
            })?;
            let known = |sha256: String| Some(sha256).filter(|sha256| !sha256.is_empty());
            found.map(|sha256| sha256.map(known)).collect()
        })
        .await
    }

    /// Changes the row of a file that is sent as `upload`.
    async fn change_own(
        &self,
        path: &Path,
        upload: UploadId,
        change: impl FnOnce(&Connection, &[u8], &[u8]) -> rusqlite::Result<usize> + Send + 'static,
    ) -> Result<(), Unchanged> {
        let (path, own) = (key(path), bytes(upload));
        let changed = self.change(move |book| change(book, &path, &own)).await?;
        match changed {
            0 => Err(Unchanged::Overtaken),
            _ => Ok(()),
        }
    }

    /// As [`Self::change_own`], after which the parts of the file are of no use any more.
    async fn close(
        &self,
        path: &Path,
        upload: UploadId,
        change: impl FnOnce(&Connection, &[u8], &[u8]) -> rusqlite::Result<usize> + Send + 'static,
    ) -> Result<Vec<Ending>, Unchanged> {
        let (path, own) = (key(path), bytes(upload));
        let closed = self.change(move |book| match change(book, &path, &own)? {
            0 => Ok(None),
            _ => end_parts(book, &path).map(Some),
        });
        closed.await?.ok_or(Unchanged::Overtaken)
    }

    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalLost> {
        let (sender, told) = oneshot::channel();
        let job: Job = Box::new(move |book| {
            let value = change(book)?;
            Ok(Box::new(move || drop(sender.send(value))))
        });
        if self.jobs.send(job).await.is_ok()
            && let Ok(value) = told.await
        {
            return Ok(value);
        }
        // The cause is there before the other end is gone, and not before this job is.
        self.jobs.closed().await;
        let cause = self.cause.get().map_or("it has ended", String::as_str);
        Err(JournalLost(cause.to_owned()))
    }
}

impl Sending {
    fn new(size: u64, parts: u8, stale: Vec<Ending>) -> Self {
        let whole = UploadId::random();
        let piece = |number, upload, start, size| Piece {
            whole,
            number,
            start,
            size,
            upload,
            url: None,
        };
        let count = u64::from(parts).min(size);
        // As even as can be, and without an overflow for the largest files.
        let edge = |nth: u64| (size / count) * nth + (size % count).min(nth);
        let parts = (1..).zip(0..count).map(|(number, nth)| {
            let start = edge(nth);
            piece(number, UploadId::random(), start, edge(nth + 1) - start)
        });
        Self {
            parts: if count > 1 {
                parts.collect()
            } else {
                Vec::new()
            },
            whole: piece(0, whole, 0, size),
            mark: Mark::default(),
            stale,
        }
    }

    /// What bytes are sent to.
    pub(super) fn pieces(&self) -> &[Piece] {
        match self.parts.is_empty() {
            true => std::slice::from_ref(&self.whole),
            false => &self.parts,
        }
    }
}

/// The row of a file.
struct FileRow {
    print: Print,
    state: i64,
    upload: Vec<u8>,
    url: Option<String>,
    hashed: u64,
    digest: Option<Vec<u8>>,
    reason: Option<String>,
}

impl FileRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            print: Print {
                size: row.get::<_, i64>(0)?.cast_unsigned(),
                modified: row.get(1)?,
                inode: row.get::<_, i64>(2)?.cast_unsigned(),
            },
            state: row.get(3)?,
            upload: row.get(4)?,
            url: row.get(5)?,
            hashed: row.get::<_, i64>(6)?.cast_unsigned(),
            digest: row.get(7)?,
            reason: row.get(8)?,
        })
    }

    fn known(self, book: &Connection, path: &[u8]) -> rusqlite::Result<Known> {
        let upload = id(&self.upload)?;
        if self.state == CANCELLED {
            let reason = self.reason;
            return Ok(Known::Cancelled { reason });
        }
        if self.state == DONE {
            let sha256 = self.digest.unwrap_or_default();
            let sha256 = sha256.try_into().map_err(|_| damaged(7))?;
            return Ok(Known::Done { upload, sha256 });
        }
        let whole = Piece {
            whole: upload,
            number: 0,
            start: 0,
            size: self.print.size,
            upload,
            url: self.url,
        };
        let mut statement = book.prepare_cached(
            "SELECT number, start, size, upload, url FROM part WHERE path = ?1 ORDER BY number",
        )?;
        let parts = statement.query_map(params![path], |row| {
            Ok(Piece {
                whole: upload,
                number: row.get(0)?,
                start: row.get::<_, i64>(1)?.cast_unsigned(),
                size: row.get::<_, i64>(2)?.cast_unsigned(),
                upload: id(&row.get::<_, Vec<u8>>(3)?)?,
                url: row.get(4)?,
            })
        })?;
        Ok(Known::Sending(Sending {
            whole,
            parts: parts.collect::<rusqlite::Result<_>>()?,
            mark: Mark::resume(self.hashed, self.digest.as_deref()),
            stale: Vec::new(),
        }))
    }
}

fn bytes(upload: UploadId) -> Vec<u8> {
    upload.to_string().into_bytes()
}

fn id(bytes: &[u8]) -> rusqlite::Result<UploadId> {
    let text = str::from_utf8(bytes).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| damaged(4))
}

fn damaged(column: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, "file".into(), rusqlite::types::Type::Blob)
}

fn find(book: &Connection, path: &[u8]) -> rusqlite::Result<Option<FileRow>> {
    let mut statement = book.prepare_cached(
        "SELECT size, modified, inode, state, upload, url, hashed, digest, reason
         FROM file WHERE path = ?1",
    )?;
    statement.query_row(params![path], FileRow::read).optional()
}

fn insert(book: &Connection, path: &[u8], print: Print, sending: &Sending) -> rusqlite::Result<()> {
    let mut statement = book.prepare_cached(
        "INSERT INTO file (path, size, modified, inode, state, upload)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    statement.execute(params![
        path,
        print.size.cast_signed(),
        print.modified,
        print.inode.cast_signed(),
        SENDING,
        bytes(sending.whole.upload),
    ])?;
    let mut statement = book.prepare_cached(
        "INSERT INTO part (path, number, start, size, upload) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for part in &sending.parts {
        let (start, size) = (part.start.cast_signed(), part.size.cast_signed());
        let upload = bytes(part.upload);
        statement.execute(params![path, part.number, start, size, upload])?;
    }
    Ok(())
}

/// Has what there may be of a file ended, and forgets it.
fn abandon(book: &Connection, path: &[u8], row: FileRow) -> rusqlite::Result<Vec<Ending>> {
    let whole = Ending {
        upload: id(&row.upload)?,
        url: row.url,
    };
    note_ending(book, &whole)?;
    let mut endings = end_parts(book, path)?;
    endings.push(whole);
    forget(book, path)?;
    Ok(endings)
}

/// Has the parts of a file ended, and forgets them.
fn end_parts(book: &Connection, path: &[u8]) -> rusqlite::Result<Vec<Ending>> {
    let statement = "DELETE FROM part WHERE path = ?1 RETURNING upload, url";
    let mut statement = book.prepare_cached(statement)?;
    let parts = statement.query_map(params![path], |row| {
        Ok(Ending {
            upload: id(&row.get::<_, Vec<u8>>(0)?)?,
            url: row.get(1)?,
        })
    })?;
    let parts: Vec<_> = parts.collect::<rusqlite::Result<_>>()?;
    parts.iter().try_for_each(|part| note_ending(book, part))?;
    Ok(parts)
}

fn note_ending(book: &Connection, ending: &Ending) -> rusqlite::Result<()> {
    let statement = "INSERT INTO ending (upload, url) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    let values = params![bytes(ending.upload), ending.url];
    book.prepare_cached(statement)?.execute(values).map(drop)
}

/// The row alone.
fn forget(book: &Connection, path: &[u8]) -> rusqlite::Result<()> {
    let statement = "DELETE FROM file WHERE path = ?1";
    book.prepare_cached(statement)?
        .execute(params![path])
        .map(drop)
}

fn prepare(book: &Connection) -> rusqlite::Result<()> {
    book.busy_timeout(LOCKED_MAX)?;
    book.pragma_update(None, "journal_mode", "WAL")?;
    book.pragma_update(None, "synchronous", "NORMAL")?;
    book.pragma_update(None, "cache_size", -4096)?;
    book.execute_batch("BEGIN IMMEDIATE")?;
    let version = "SELECT user_version FROM pragma_user_version";
    let version: i64 = book.query_one(version, [], |row| row.get(0))?;
    if version == 0 {
        book.execute_batch(SCHEMA)?;
        book.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    book.execute_batch("COMMIT")?;
    book.execute_batch(PRESENT)
}

/// For its owner only: names of files are nobody else's business.
fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

/// SQLite gives its other files the mode of this one.
fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    options.open(path).map(drop)
}

/// Commits what is waiting, again and again, until nobody is left who could ask for more.
fn work(book: &Connection, mut jobs: mpsc::Receiver<Job>, cause: &OnceLock<String>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(job) = jobs.try_recv()
        {
            batch.push(job);
        }
        match commit(book, batch) {
            Ok(tells) => tells.into_iter().for_each(|tell| tell()),
            Err(error) => {
                cause.get_or_init(|| error.to_string());
                return;
            }
        }
    }
}

fn commit(book: &Connection, batch: Vec<Job>) -> rusqlite::Result<Vec<Tell>> {
    book.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let tells = batch.into_iter().map(|job| job(book));
    let tells = tells.collect::<rusqlite::Result<_>>()?;
    book.prepare_cached("COMMIT")?.execute([])?;
    Ok(tells)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Book {
        journal: Journal,
        dir: tempfile::TempDir,
    }

    fn open(dir: &Path) -> Journal {
        Journal::open(dir, "http://127.0.0.1/files ann", &Scope::root("test")).unwrap()
    }

    fn book() -> Book {
        let dir = tempfile::tempdir().unwrap();
        Book {
            journal: open(dir.path()),
            dir,
        }
    }

    fn file(size: u64, modified: i64) -> File {
        File {
            path: "/data/a \u{fffd}.tif".into(),
            name: "data/a.tif".into(),
            print: Print {
                size,
                modified,
                inode: u64::MAX,
            },
        }
    }

    async fn sending(journal: &Journal, file: &File, parts: u8) -> Sending {
        match journal.begin(file, parts).await.unwrap() {
            Known::Sending(sending) => sending,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_begun_is_gone_on_with_by_another_program() {
        let book = book();
        let file = file(100, 7);
        let first = sending(&book.journal, &file, 1).await;
        assert!(first.parts.is_empty() && first.whole.url.is_none());
        let own = first.whole.upload;
        let mut mark = Mark::default();
        mark.update(b"half");
        let url = "http://x/1".to_owned();
        book.journal
            .located(&file.path, own, 0, url.clone())
            .await
            .unwrap();
        book.journal.hashed(&file.path, own, &mark).await.unwrap();
        // The first one has it still open: it may have been killed, or be another one.
        let other = open(book.dir.path());
        let again = sending(&other, &file, 4).await;
        assert_eq!(again.whole.upload, own);
        assert_eq!(again.whole.url, Some(url));
        assert_eq!(again.mark, mark);
        assert!(again.parts.is_empty(), "it was begun in one");
        assert_eq!(other.done(&file.path, own, [9; 32]).await.unwrap(), []);
        let known = book.journal.begin(&file, 1).await.unwrap();
        assert!(matches!(known, Known::Done { sha256, .. } if sha256 == [9; 32]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_changed_file_is_begun_anew_and_what_was_left_is_to_be_ended() {
        let Book { journal, dir } = book();
        let old = file(1000, 7);
        let begun = sending(&journal, &old, 3).await;
        let own = begun.whole.upload;
        let url = "http://x/part".to_owned();
        journal
            .located(&old.path, own, 2, url.clone())
            .await
            .unwrap();
        assert!(journal.look(&file(1000, 8)).await.unwrap().is_none());
        let new = sending(&journal, &file(1000, 8), 1).await;
        assert_ne!(new.whole.upload, own);
        assert!(new.parts.is_empty());
        let urls: Vec<_> = new.stale.iter().filter_map(|it| it.url.as_ref()).collect();
        assert_eq!((new.stale.len(), urls), (4, vec![&url]));
        // Whatever becomes of this program, the next one knows what to end.
        let other = open(dir.path());
        assert_eq!(other.endings().await.unwrap().len(), 4);
        for stale in &new.stale {
            other.ended(stale.upload).await.unwrap();
        }
        assert_eq!(journal.endings().await.unwrap(), []);
        // What is done is not taken back from the server when the file changes.
        journal
            .done(&old.path, new.whole.upload, [1; 32])
            .await
            .unwrap();
        assert_eq!(journal.sent(&old).await.unwrap(), Some([1; 32]));
        let newer = sending(&journal, &file(1001, 8), 1).await;
        assert!(newer.stale.is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_is_overtaken_changes_nothing() {
        let Book { journal, dir: _dir } = book();
        let old = file(1000, 7);
        let own = sending(&journal, &old, 2).await.whole.upload;
        let new = sending(&journal, &file(1000, 8), 2).await;
        let path = &old.path;
        let overtaken = |changed: Result<(), Unchanged>| {
            assert!(matches!(changed, Err(Unchanged::Overtaken)), "{changed:?}");
        };
        overtaken(journal.located(path, own, 0, "x".into()).await);
        overtaken(journal.located(path, own, 1, "x".into()).await);
        overtaken(journal.hashed(path, own, &Mark::default()).await);
        overtaken(journal.done(path, own, [0; 32]).await.map(drop));
        overtaken(journal.cancelled(path, own, None).await.map(drop));
        overtaken(journal.abandon(path, own).await.map(drop));
        let again = sending(&journal, &file(1000, 8), 1).await;
        assert_eq!(again.pieces(), new.pieces());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_cancelled_stays_so_until_it_is_forgotten() {
        let Book { journal, dir: _dir } = book();
        let file = file(10, 1);
        let own = sending(&journal, &file, 2).await.whole.upload;
        let reason = Some("wrong".to_owned());
        let parts = journal.cancelled(&file.path, own, reason).await.unwrap();
        assert_eq!(parts.len(), 2);
        let known = journal.begin(&file, 1).await.unwrap();
        assert!(matches!(known, Known::Cancelled { reason: Some(reason) } if reason == "wrong"));
        journal.forget(&file).await.unwrap();
        let own = sending(&journal, &file, 1).await.whole.upload;
        journal.forget(&file).await.unwrap();
        assert_eq!(
            sending(&journal, &file, 1).await.whole.upload,
            own,
            "it is sent"
        );
        assert_eq!(journal.abandon(&file.path, own).await.unwrap().len(), 1);
        assert_ne!(sending(&journal, &file, 1).await.whole.upload, own);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_destination_has_is_known_by_name_and_size() {
        let Book { journal, dir: _dir } = book();
        let there = vec![
            ("a".into(), 1, Some("x".into())),
            ("a".into(), 1, Some("y".into())),
            ("b".into(), 2, None),
        ];
        journal.note_present(there.clone()).await.unwrap();
        journal.note_present(there).await.unwrap();
        let present = async |name, size| journal.present(name, size).await.unwrap();
        assert_eq!(present("a", 1).await, [Some("x".into()), Some("y".into())]);
        assert_eq!(present("b", 2).await, [None]);
        assert_eq!(present("a", 2).await, []);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_asks_a_lost_journal_is_told_why() {
        let Book { journal, dir: _dir } = book();
        let broken = journal.change(|book| book.execute("DROP TABLE file", []).map(drop));
        broken.await.unwrap();
        for _ in 0..2 {
            let lost = journal.begin(&file(1, 1), 1).await.unwrap_err().to_string();
            assert!(lost.contains("no such table"), "{lost}");
        }
    }

    #[test]
    fn parts_are_the_whole_without_gaps() {
        for (size, count) in [
            (0, 4),
            (1, 4),
            (2, 2),
            (10, 3),
            (u64::MAX / 2, 16),
            (1 << 24, 1),
        ] {
            let sending = Sending::new(size, count, Vec::new());
            let mut at = 0;
            for piece in sending.pieces() {
                assert_eq!(piece.start, at, "{size} in {count}");
                at += piece.size;
            }
            assert_eq!(at, size, "{size} in {count}");
            assert!(
                sending
                    .pieces()
                    .iter()
                    .all(|piece| piece.size > 0 || size == 0)
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_journal_that_cannot_be_used_is_refused_and_others_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let book = book();
        let scope = Scope::root("test");
        let refused = Journal::open(Path::new("/dev/null/x"), "d", &scope).err();
        assert!(matches!(refused, Some(OpenError::Io { .. })), "{refused:?}");
        let state = book.dir.path().join("state");
        let journal = open(&state);
        assert_eq!(
            state.metadata().unwrap().permissions().mode() & 0o777,
            0o700
        );
        for file in std::fs::read_dir(&state).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        journal
            .change(|book| book.pragma_update(None, "user_version", 99))
            .await
            .unwrap();
        let newer = Journal::open(&state, "http://127.0.0.1/files ann", &scope).err();
        assert!(matches!(newer, Some(OpenError::Newer(_))), "{newer:?}");
    }
}
