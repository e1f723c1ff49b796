//! From a checked request to a settled append, in a task that outlives its connection.

use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::problem::Problem;
use tidegate_protocol::request::Append;

use super::attempt::{Attempt, Ended};
use super::interim::Interims;
use super::progress::Progress;
use super::refuse;
use super::store::{Seen, State, StoreError, Upload};
use super::streams::Stream;
use super::{Uploads, event, recover};
use crate::auth::Caller;
use crate::cancel::{CancelReason, Lease, Scope};
use crate::event::{Kind, Operation};
use crate::http::Body;
use crate::id::UploadId;

/// How long a newcomer waits for the one before it to settle.
const TAKE_OVER_WITHIN: Duration = Duration::from_secs(5);

/// How an append ended, and what its upload looks like now.
pub(super) struct Received {
    /// As committed. `None`: the client may not be told.
    pub(super) upload: Option<Upload>,
    pub(super) problem: Option<Problem>,
    /// Whether its sender has been told the upload's URL before.
    is_addressed: bool,
}

impl Received {
    /// Whether the content could not be kept, not even a first part of it.
    fn has_kept_nothing(&self) -> bool {
        let could_not = matches!(
            self.problem,
            Some(Problem::ChecksumMismatch | Problem::StorageFull | Problem::QuotaExceeded { .. })
        );
        could_not && self.upload.as_ref().is_none_or(|upload| upload.offset == 0)
    }

    fn refused(problem: Problem) -> Self {
        Self {
            upload: None,
            problem: Some(problem),
            is_addressed: false,
        }
    }
}

/// Where the content of a request comes from.
pub(super) struct Sender {
    /// Who sends it.
    pub(super) caller: Caller,
    pub(super) body: Body,
    /// What it is told before its answer.
    pub(super) interims: Option<Box<Interims>>,
    /// The upload's URL, to be told among the first of that.
    pub(super) location: Option<String>,
    /// What counts it, if that is not done already.
    pub(super) stream: Option<Stream>,
}

/// Appends what `sender` sends to the upload `id`.
///
/// # Cancel safety
/// Dropping the future tells the running attempt that its client is gone; it settles by itself.
pub(super) async fn append(
    uploads: &Arc<Uploads>,
    id: UploadId,
    append: Append,
    sender: Sender,
) -> Received {
    attempt(uploads, id, append, sender, Address::Known).await
}

/// As [`append`], with the content of the creation of `id`. If none of it can be kept, the upload is
/// removed again: its client has no address for it (row T76).
///
/// # Cancel safety
/// As [`append`].
pub(super) async fn append_first(
    uploads: &Arc<Uploads>,
    id: UploadId,
    append: Append,
    sender: Sender,
) -> Received {
    attempt(uploads, id, append, sender, Address::Untold).await
}

/// Whether the client could come back to the upload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Address {
    Known,
    Untold,
}

async fn attempt(
    uploads: &Arc<Uploads>,
    id: UploadId,
    append: Append,
    sender: Sender,
    address: Address,
) -> Received {
    let scope = uploads.scope.child("append");
    let gone = scope.cancel_on_drop(CancelReason::ClientGone);
    let task = {
        let (uploads, scope) = (uploads.clone(), scope.clone());
        scope.clone().spawn(async move {
            let mut received = uploads.clone().run(id, append, sender, scope).await;
            let is_lost = address == Address::Untold && !received.is_addressed;
            if is_lost && received.has_kept_nothing() {
                uploads.remove_untold(id).await;
                received.upload = None;
            }
            received
        })
    };
    let received = task.await.unwrap_or_else(|panicked| {
        tracing::error!(upload = %id, %panicked, "append");
        Received::refused(Problem::Internal)
    });
    gone.disarm();
    received
}

/// Lets everybody see how far an append is.
fn show(operation: &Operation, upload: &Upload, progress: Arc<Progress>) {
    let mut upload = upload.clone();
    progress.committed(upload.offset);
    let mut last = upload.offset;
    operation.show(event::feed(&upload), Kind::UploadProgress, move || {
        let (received, committed) = progress.bytes();
        if received <= last {
            return None;
        }
        last = received;
        upload.offset = committed;
        Some(event::data(&upload, Some(received)))
    });
}

impl Uploads {
    /// Admits one attempt at an upload; the one before it ends with `reason`.
    pub(super) async fn admit(
        &self,
        id: UploadId,
        scope: Scope,
        progress: Arc<Progress>,
        reason: CancelReason,
    ) -> Result<Lease<UploadId, Arc<Progress>>, Problem> {
        let admitted = self
            .live
            .take_over(id, scope, progress, reason, TAKE_OVER_WITHIN)
            .await;
        admitted.map_err(refuse::not_admitted)
    }

    /// The upload, as `caller` may see it.
    ///
    /// # Errors
    /// [`Problem::NotFound`] also if he may not.
    pub(super) async fn seen(&self, id: UploadId, caller: &Caller) -> Result<Seen, Problem> {
        let seen = self.store.find_for(id, caller.clone()).await;
        let seen = seen.map_err(|error| refuse::store(&error))?;
        seen.ok_or(Problem::NotFound)
    }

    /// The upload, if `caller` may append to it and it can still be gone on with.
    pub(super) async fn usable(&self, id: UploadId, caller: &Caller) -> Result<Upload, Problem> {
        let Seen { upload, is_covered } = self.seen(id, caller).await?;
        match refuse::ended(&upload) {
            _ if !is_covered => Err(Problem::Forbidden),
            Some(problem) => Err(problem),
            None => Ok(upload),
        }
    }

    async fn run(
        self: Arc<Self>,
        id: UploadId,
        append: Append,
        sender: Sender,
        scope: Scope,
    ) -> Received {
        let progress = Arc::new(Progress::sent_by(sender.caller.clone()));
        let takes_over = self.live.holder(&id).is_some();
        // Nobody is sent away for somebody who may not go on.
        if takes_over && let Err(problem) = self.usable(id, &sender.caller).await {
            return Received::refused(problem);
        }
        let admitted = self
            .admit(
                id,
                scope.clone(),
                progress.clone(),
                CancelReason::Superseded,
            )
            .await;
        // Held until everything of this attempt has ended.
        let lease = match admitted {
            Ok(lease) => lease,
            // Whoever took the place in line may have come to end the upload.
            Err(Problem::UploadSuperseded) => return self.superseded(id, &sender.caller).await,
            Err(problem) => return Received::refused(problem),
        };
        let operation = self.operations.begin(event::subject(id));
        let (upload, attempt) = match self.begin(id, &sender.caller, append, &progress).await {
            Ok(begun) => begun,
            Err(received) => {
                if takes_over && received.upload.is_some() {
                    // The one before has been sent away, and nobody sends now.
                    self.told(id, self.store.interrupted(id).await);
                }
                return *received;
            }
        };
        show(&operation, &upload, progress.clone());
        let Sender {
            caller: _,
            body,
            mut interims,
            location,
            // Counted to the end of this.
            stream: _stream,
        } = sender;
        // Not before it has the upload: whoever is told may send somebody else to it at once.
        let is_addressed = match (&mut interims, location) {
            (Some(interims), Some(location)) => {
                interims.created(&location, upload.resource().expires_in)
            }
            _ => false,
        };
        let attempt = attempt.giving_way(body.is_multiplexed()).telling(interims);
        let ended = attempt.run(body, &scope).await;
        self.note(id, &ended).await;
        drop((operation, lease));
        let received = self.ended(upload, ended, &progress).await;
        Received {
            is_addressed,
            ..received
        }
    }

    /// Prepares an attempt at an upload that can be gone on with. The caller holds its lease.
    async fn begin(
        self: &Arc<Self>,
        id: UploadId,
        caller: &Caller,
        append: Append,
        progress: &Arc<Progress>,
    ) -> Result<(Upload, Box<Attempt>), Box<Received>> {
        let usable = tokio::select! {
            biased;
            // Nothing has been done yet, and there is nothing to be done any more.
            () = progress.ended() => Err(progress.has_ended().cloned().unwrap_or(Problem::NotFound)),
            usable = self.usable(id, caller) => usable,
        };
        let refused = |problem| Box::new(Received::refused(problem));
        let upload = usable.map_err(refused)?;
        let upload = recover::adopt(self, upload).await.map_err(refused)?;
        let attempt = match self.store.has_room() {
            false => Err(Problem::StorageFull),
            true => Attempt::begin(
                upload.clone(),
                append,
                self.pace(),
                self.store.clone(),
                self.blobs.writer(id, upload.offset),
                progress.clone(),
            ),
        };
        match attempt {
            Ok(attempt) => {
                if upload.interrupted_at.is_some() {
                    self.told(id, self.store.resumed(id).await);
                }
                Ok((upload, attempt))
            }
            Err(problem) => Err(Box::new(Received {
                upload: Some(upload),
                ..Received::refused(problem)
            })),
        }
    }

    /// Notes what others have to know of an attempt's end before the lease is given up.
    async fn note(&self, id: UploadId, ended: &Ended) {
        if ended.is_uncertain {
            // The next one must not cut the blob to what it reads.
            self.unsettle([id]);
        }
        self.metrics.received(ended.received);
        match &ended.outcome.problem {
            Some(Problem::UploadFailed) => self.lost(id).await,
            // Whoever comes next is told to be back after this.
            Some(problem) if refuse::is_departure(problem) => {
                self.told(id, self.store.interrupted(id).await);
            }
            _ => {}
        }
    }

    /// Nothing depends on whether it could be told that a sender has come or gone.
    pub(super) fn told(&self, id: UploadId, told: Result<(), StoreError>) {
        if let Err(error) = told {
            tracing::warn!(upload = %id, error = &error as &dyn std::error::Error, "an event is not told");
        }
    }

    /// For one that somebody newer did not let begin.
    async fn superseded(&self, id: UploadId, caller: &Caller) -> Received {
        let problem = match self.usable(id, caller).await {
            Ok(_) => Problem::UploadSuperseded,
            Err(problem) => problem,
        };
        Received::refused(problem)
    }

    async fn remove_untold(self: &Arc<Self>, id: UploadId) {
        if let Err(problem) = self.delete(id).await {
            tracing::warn!(upload = %id, ?problem, "removing an upload without an address");
        }
    }

    /// Finds the words for an attempt's end. The row knows better than the attempt why it was
    /// refused.
    async fn ended(&self, mut upload: Upload, ended: Ended, progress: &Progress) -> Received {
        let facts = ended.outcome.facts;
        let mut problem = ended.outcome.problem;
        let taken_away = matches!(
            problem,
            Some(
                Problem::UploadSuperseded
                    | Problem::UploadCancelled { .. }
                    | Problem::UploadExpired
                    | Problem::UploadFailed
            )
        );
        if let Some(end) = progress.has_ended().filter(|_| taken_away) {
            return Received::refused(end.clone());
        }
        if taken_away && let Ok(Some(now)) = self.store.find(upload.id).await {
            problem = refuse::ended(&now).or(problem);
            let known = refuse::ended(&now).is_none();
            return Received {
                upload: known.then_some(now),
                problem,
                is_addressed: false,
            };
        }
        upload.offset = facts.offset;
        upload.length = facts.length;
        upload.expires_at = ended.expires_at;
        if facts.complete && upload.state == State::Uploading {
            upload.state = State::Completed;
            upload.sha256 = ended.sha256;
        }
        Received {
            upload: Some(upload),
            problem,
            is_addressed: false,
        }
    }

    /// Fewer bytes are there than were committed: the offset would have to be taken back, so the
    /// upload ends instead.
    pub(super) async fn lost(&self, id: UploadId) {
        tracing::error!(upload = %id, "committed bytes are missing");
        if let Err(error) = self
            .store
            .fail(id, String::from("stored bytes were lost"))
            .await
        {
            tracing::error!(upload = %id, error = &error as &dyn std::error::Error, "fail");
        }
    }
}
