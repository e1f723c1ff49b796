//! The one task that writes, and its group commit.
//!
//! ```text
//!  queue ──► BEGIN IMMEDIATE, work, work, ... (what has come meanwhile, up to 64) ──► COMMIT
//!                               │ one fails                                            │
//!                               ▼                                                      ▼
//!      ROLLBACK; those before it, it alone, those after it                answer every one
//! ```
//!
//! Nothing waits for a timer: a batch closes when the queue is empty. While it runs and syncs
//! the next one gathers, so batches grow with the load, and an idle database answers at once.
//!
//! # A full disk
//!
//! Others fill the disk faster than they can be told to stop, so the room that the reserve gives
//! back is used at once: the write-ahead log is brought into the database file, which makes its
//! own room reusable, and from then on the database may grow by a little only. Works that change
//! or delete rows then need no more room from the file system; those that only add rows fail
//! first. Once the reserve could be made again the limit is lifted.
//!
//! The invariant: a work is answered `Ok` only after the COMMIT of a transaction in which it and
//! all before it succeeded.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::super::dialect::{SQLITE_BEGIN, SQLITE_CHECKPOINT, SQLITE_COMMIT, SQLITE_ROLLBACK};
use super::super::tx::{Conn, Tx};
use super::{DbError, Held, Shared};

/// How many works share one commit at most. It bounds how long the first one waits.
const BATCH_MAX: usize = 64;
/// By how many pages of 4 KiB the database may grow on a full disk: room for the rows that tell
/// of cancelled and deleted uploads, and a fourth of the reserve.
const GROWTH_WHEN_FULL: i64 = 256;

/// What is sent to the writer.
pub(super) enum Message {
    /// Run this in a transaction.
    Run(Box<dyn Command>),
    /// Finish what is queued, close the file, then say so.
    Close(oneshot::Sender<()>),
}

/// One queued write, whatever it returns.
pub(super) trait Command: Send {
    /// Runs the work and keeps its result for [`Self::answer`]. Can be run again.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Result<(), DbError>>;

    /// Hands out the result of the last run if that was committed, or else the reason.
    fn answer(self: Box<Self>, committed: Result<(), DbError>);
}

/// A write with its result's type.
pub(super) struct Job<T, W> {
    work: W,
    outcome: Result<T, DbError>,
    reply: oneshot::Sender<Result<T, DbError>>,
}

impl<T, W> Job<T, W> {
    pub(super) fn new(work: W, reply: oneshot::Sender<Result<T, DbError>>) -> Self {
        Self {
            work,
            outcome: Err(DbError::Closed),
            reply,
        }
    }
}

impl<T, W> Command for Job<T, W>
where
    T: Send,
    W: Fn(&mut Tx) -> BoxFuture<'_, Result<T, DbError>> + Send + Sync,
{
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Result<(), DbError>> {
        Box::pin(async move {
            self.outcome = Ok(tx.run(&self.work).await?);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, committed: Result<(), DbError>) {
        // Nobody listens any more if the write's future was dropped: that is allowed.
        drop(self.reply.send(committed.and(self.outcome)));
    }
}

type Batch = Vec<Box<dyn Command>>;

/// Where a batch failed.
enum At {
    /// Before the first work.
    Begin,
    /// In the work of that place.
    Work(usize),
    /// After the last work.
    Commit,
}

struct Failure {
    at: At,
    error: DbError,
}

/// Owns the only connection that writes.
pub(super) struct Writer {
    /// Always around the writing connection; reused by every batch.
    tx: Tx,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Message>,
    /// Set while the database may hardly grow, because the disk is or was full.
    limited: bool,
    /// Who waits for the end.
    closing: Vec<oneshot::Sender<()>>,
}

impl Writer {
    pub(super) fn new(connection: Held, queue: mpsc::Receiver<Message>) -> Self {
        Self {
            shared: Arc::clone(&connection.shared),
            tx: Tx::new(Conn::Sqlite(connection)),
            queue,
            limited: false,
            closing: Vec::new(),
        }
    }

    /// Serves until it is told to close or nobody can send any more.
    pub(super) async fn run(mut self) {
        while let Some(message) = self.queue.recv().await {
            if let Some(command) = self.open(message) {
                self.serve(vec![command]).await;
            }
        }
        // The last connection to close brings the whole write-ahead log into the database file,
        // and a reader must not do that: it cannot write.
        self.shared.close_readers().await;
        if let Conn::Sqlite(connection) = self.tx.into_conn() {
            connection.close().await;
        }
        for closing in self.closing {
            // Nobody waits any more if the close was dropped.
            closing.send(()).unwrap_or_default();
        }
    }

    fn open(&mut self, message: Message) -> Option<Box<dyn Command>> {
        match message {
            Message::Run(command) => Some(command),
            Message::Close(done) => {
                self.queue.close();
                self.closing.push(done);
                None
            }
        }
    }

    /// Brings a batch, and what joins it, to an answer for every one.
    async fn serve(&mut self, first: Batch) {
        if self.limited && !self.shared.is_full() {
            self.limited = !self.limit(None).await;
        }
        // Only the first attempt takes in more: the others must end some time.
        let mut growing = true;
        let mut room_made = false;
        let mut waiting = vec![first];
        while let Some(mut batch) = waiting.pop() {
            if batch.is_empty() {
                continue;
            }
            match self.attempt(&mut batch, growing).await {
                Ok(()) => answer_all(batch, &Ok(())),
                Err(failure) if !room_made && matches!(failure.error, DbError::Full) => {
                    room_made = true;
                    self.make_room().await;
                    waiting.push(batch);
                }
                Err(failure) => {
                    tracing::debug!(error = %failure.error, works = batch.len(), "batch failed");
                    waiting.append(&mut Self::divide(batch, failure));
                }
            }
            growing = false;
        }
    }

    /// Runs the whole batch in one transaction. On an error nothing of it was kept.
    async fn attempt(&mut self, batch: &mut Batch, growing: bool) -> Result<(), Failure> {
        let at = At::Begin;
        if !self.shared.is_healthy() {
            let error = DbError::Broken;
            return Err(Failure { at, error });
        }
        if let Err(error) = self.control(SQLITE_BEGIN).await {
            return Err(Failure { at, error });
        }
        let mut next = 0;
        loop {
            while growing && next == batch.len() && next < BATCH_MAX {
                let Ok(message) = self.queue.try_recv() else {
                    break;
                };
                batch.extend(self.open(message));
            }
            let Some(command) = batch.get_mut(next) else {
                break;
            };
            if let Err(error) = command.run(&mut self.tx).await {
                self.roll_back().await;
                let at = At::Work(next);
                return Err(Failure { at, error });
            }
            next += 1;
        }
        if let Err(error) = self.control(SQLITE_COMMIT).await {
            self.roll_back().await;
            let at = At::Commit;
            return Err(Failure { at, error });
        }
        Ok(())
    }

    /// Answers those of a failed batch whose fate is known and returns the others as batches to
    /// be tried, the last one first.
    ///
    /// A work that failed at the head of a batch failed by itself. One that failed behind others
    /// is tried alone after they were committed, since what it stumbled over must be true. When a
    /// COMMIT fails any of them may be the cause, so each is tried alone. The order stays that of
    /// the queue, and a failed work costs two more commits, whatever the size of the batch.
    fn divide(mut batch: Batch, failure: Failure) -> Vec<Batch> {
        let Failure { at, error } = failure;
        match at {
            At::Work(0) => {
                let rest = batch.split_off(1);
                answer_all(batch, &Err(error));
                vec![rest]
            }
            At::Work(place) => {
                let mut failed = batch.split_off(place);
                let rest = failed.split_off(1);
                vec![rest, failed, batch]
            }
            At::Commit if batch.len() > 1 => batch.into_iter().rev().map(|one| vec![one]).collect(),
            At::Begin | At::Commit => {
                answer_all(batch, &Err(error));
                vec![]
            }
        }
    }

    /// Does what can be done about a full disk, so that the batch is worth another attempt.
    async fn make_room(&mut self) {
        self.shared.full.store(true, Ordering::Release);
        if self.shared.reserve.release().await {
            tracing::warn!("the disk is full: the database's reserve is in use");
        }
        // What fails in here shows again in that attempt.
        if let Err(error) = self.control(SQLITE_CHECKPOINT).await {
            tracing::debug!(%error, "the log cannot be brought into the database file");
        }
        if !self.limited {
            self.limited = self.limit(Some(GROWTH_WHEN_FULL)).await;
        }
    }

    /// Limits how many pages the database may grow by, or lifts the limit; says whether it did.
    async fn limit(&mut self, growth: Option<i64>) -> bool {
        let limited = match self.connection() {
            Ok(connection) => connection.limit(growth).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &limited {
            tracing::debug!(%error, "cannot limit the database's growth");
        }
        limited.is_ok()
    }

    /// Ends a transaction without keeping anything. A connection that cannot do even that is
    /// of no use any more.
    async fn roll_back(&mut self) {
        match self.control(SQLITE_ROLLBACK).await {
            Ok(()) => {}
            // Some errors have ended the transaction already.
            Err(DbError::Driver(error)) if super::is_misuse(&error) => {}
            Err(error) => {
                tracing::error!(%error, "cannot roll back");
                self.shared.break_down();
            }
        }
    }

    async fn control(&mut self, statement: &'static str) -> Result<(), DbError> {
        self.connection()?.control(statement).await
    }

    fn connection(&mut self) -> Result<&mut Held, DbError> {
        match self.tx.conn_mut() {
            Conn::Sqlite(connection) => Ok(connection),
            Conn::Postgres(_) => Err(DbError::Closed),
        }
    }
}

fn answer_all(batch: Batch, outcome: &Result<(), DbError>) {
    for command in batch {
        command.answer(outcome.clone());
    }
}
