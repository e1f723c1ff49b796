//! Cancel calls: what somebody else than the sender asks for, in JSON (contract, "Cancel").

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use tidegate_protocol::field::media;
use tidegate_protocol::problem::Problem;

use super::end::Cancelled;
use super::store::{State, Which};
use super::{Uploads, api, refuse};
use crate::auth::Caller;
use crate::clock::rfc3339;
use crate::http::{Operation, Request, Response, json, reason, reject};
use crate::id::UploadId;

/// Uploads in one call, at most.
const MANY_MAX: usize = 10_000;

/// For how long a token is good if nobody says so, and at most.
const TOKEN_SECONDS: u64 = 3600;
const TOKEN_SECONDS_MAX: u64 = 7 * 24 * 3600;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Ask {
    reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AskMany {
    #[serde(deserialize_with = "given")]
    ids: Option<Vec<String>>,
    /// Everybody's, and not only the caller's own.
    all: bool,
    reason: Option<String>,
}

/// A list. `null` is none: whoever has lost his list does not mean all of his uploads.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Vec::deserialize(deserializer).map(Some)
}

/// Cancels uploads for whoever serves such a call in another way than this module. Clones share it.
#[derive(Clone)]
pub struct Cancels(pub(super) Arc<Uploads>);

/// The answer to one cancel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    operation: &'static str,
    id: String,
    outcome: &'static str,
    state: &'static str,
    /// When it became irrevocable. `null` if it never was.
    cancelled_at: Option<String>,
    /// `null` until it is known.
    released_bytes: Option<u64>,
}

/// One line of the answer to many.
#[derive(Serialize)]
struct Line {
    id: String,
    outcome: &'static str,
    /// `null` for one that is not there, or not the caller's to end.
    state: Option<&'static str>,
}

#[derive(Serialize)]
struct Many {
    cancelled: usize,
    cancelling: usize,
    unchanged: usize,
    total: usize,
    /// Whether there may be more active uploads than one call takes.
    more: bool,
    results: Vec<Line>,
}

/// Why a sender deletes his upload, if he says so: tus has no body there, so any other is passed over.
///
/// # Errors
/// The problem to answer with.
pub(super) async fn reason_of_deletion(request: &mut Request) -> Result<Option<String>, Problem> {
    if !media::is(&request.head.headers, "application/json") {
        return Ok(None);
    }
    let ask: Ask = json::read(&request.head.headers, &mut request.body).await?;
    reason::checked(ask.reason)
}

/// `POST /api/uploads/{id}/cancel`, also below a project.
pub(super) async fn one(uploads: Arc<Uploads>, mut request: Request) -> Response {
    let done = async {
        // A page can send a token and nothing else while it is being closed. No other page can have had
        // it sent: nobody else has the token.
        let is_beacon = request.is_lent && request.body.size_hint_exact() == Some(0);
        let ask = match is_beacon {
            true => Ask::default(),
            false => json::read(&request.head.headers, &mut request.body).await?,
        };
        let id = request.path.get("id").unwrap_or_default();
        let project = request.path.get("project");
        uploads
            .cancel_for(&request.caller, project, id, ask.reason)
            .await
    };
    match done.await {
        Ok(view) => reject::success(StatusCode::OK, &view, Some(message(view.outcome))),
        Err(problem) => reject::problem(&request.head.method, request.head.uri.path(), &problem),
    }
}

/// For how long a token is asked for.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct AskToken {
    expires_in: Option<u64>,
}

/// A token that can cancel one upload.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenView {
    token: String,
    expires_at: String,
}

/// `POST /api/uploads/{id}/cancel-token`.
pub(super) async fn lend(uploads: Arc<Uploads>, mut request: Request) -> Response {
    let lent = async {
        let ask: AskToken = json::read(&request.head.headers, &mut request.body).await?;
        let seconds = ask.expires_in.unwrap_or(TOKEN_SECONDS);
        if !(1..=TOKEN_SECONDS_MAX).contains(&seconds) {
            let why = format!("must be a number of seconds from 1 to {TOKEN_SECONDS_MAX}");
            return Err(Problem::validation("expiresIn", why));
        }
        let id = api::id(request.path.get("id").unwrap_or_default(), "id")?;
        let seen = uploads.seen(id, &request.caller).await?;
        if seen.upload.state == State::Deleting {
            return Err(Problem::NotFound);
        }
        // He may not have the role any more when the token is used.
        let lender = request.caller.without_role();
        let is_covered = match uploads.seen(id, &lender).await {
            Ok(seen) => seen.is_covered,
            Err(Problem::NotFound) => false,
            Err(problem) => return Err(problem),
        };
        if !is_covered {
            return Err(Problem::Forbidden);
        }
        let within = Duration::from_secs(seconds);
        let capabilities = uploads.auth.capabilities();
        let operation = Operation::Upload.word();
        let (token, until) = capabilities.issue(&lender, operation, &id.to_string(), within);
        Ok(TokenView {
            token,
            expires_at: rfc3339(i64::try_from(until).unwrap_or(i64::MAX)),
        })
    };
    match lent.await {
        Ok(view) => reject::success(StatusCode::CREATED, &view, None),
        Err(problem) => reject::problem(&request.head.method, request.head.uri.path(), &problem),
    }
}

impl Cancels {
    /// What a call of `POST /api/uploads/{id}/cancel` does, and the `data` of its answer.
    ///
    /// # Errors
    /// The problem to answer with.
    ///
    /// # Cancel safety
    /// Once begun, it is finished whether or not the future is dropped.
    pub async fn cancel(
        &self,
        caller: &Caller,
        id: &str,
        reason: Option<String>,
    ) -> Result<View, Problem> {
        self.0.cancel_for(caller, None, id, reason).await
    }

    /// Ends some of what is left in a project that is going, whosever it is and complete or not, and
    /// tells whoever still sends why. True: nothing of it is left, not a byte.
    ///
    /// # Errors
    /// The database failed.
    ///
    /// # Cancel safety
    /// As [`Self::cancel`].
    pub async fn clear(&self, project: String, reason: &str) -> Result<bool, Problem> {
        self.0.clear(project, reason).await
    }
}

impl fmt::Debug for Cancels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancels").finish_non_exhaustive()
    }
}

impl Uploads {
    async fn cancel_for(
        self: &Arc<Self>,
        caller: &Caller,
        project: Option<&str>,
        id: &str,
        given: Option<String>,
    ) -> Result<View, Problem> {
        let reason = reason::checked(given)?;
        let id = api::id(id, "id")?;
        let project = project.map(str::to_owned);
        let cancelled = self.cancel(id, project, caller.clone(), reason).await?;
        match cancelled {
            Cancelled::Unknown => return Err(Problem::NotFound),
            Cancelled::Uncovered => return Err(Problem::Forbidden),
            Cancelled::Confirmed { .. } | Cancelled::Accepted | Cancelled::Already(_) => {}
        }
        let row = self.store.find(id).await;
        let row = row.map_err(|error| refuse::store(&error))?;
        let row = row.ok_or(Problem::NotFound)?;
        // It may have been confirmed since.
        let cancelled = match (cancelled, row.state, row.released_bytes) {
            (Cancelled::Accepted, State::Cancelled, Some(released)) => {
                Cancelled::Confirmed { released }
            }
            (cancelled, _, _) => cancelled,
        };
        let (outcome, state) = words(cancelled).ok_or(Problem::NotFound)?;
        let is_cancelled = matches!(state, State::Cancelling | State::Cancelled);
        Ok(View {
            operation: "upload",
            id: id.to_string(),
            outcome,
            state: state.as_str(),
            cancelled_at: row.ended_at.filter(|_| is_cancelled).map(rfc3339),
            released_bytes: row.released_bytes.filter(|_| is_cancelled),
        })
    }
}

/// `POST /api/projects/{project}/uploads/cancel`.
pub(super) async fn many(uploads: Arc<Uploads>, mut request: Request) -> Response {
    let done = async {
        let ask: AskMany = json::read(&request.head.headers, &mut request.body).await?;
        let reason = reason::checked(ask.reason)?;
        let project = request.path.get("project").unwrap_or_default().to_owned();
        let which = match ask.ids {
            Some(ids) => Which::Ids {
                project,
                ids: all_ids(&ids)?,
            },
            None => Which::Active {
                project,
                all: ask.all,
                limit: u32::try_from(MANY_MAX).unwrap_or(u32::MAX),
            },
        };
        let is_open = matches!(which, Which::Active { .. });
        let outcomes = uploads.cancel_many(which, request.caller, reason).await?;
        Ok::<_, Problem>(summary(&outcomes, is_open && outcomes.len() >= MANY_MAX))
    };
    match done.await {
        Ok(many) => reject::success(StatusCode::OK, &many, None),
        Err(problem) => reject::problem(&request.head.method, request.head.uri.path(), &problem),
    }
}

fn all_ids(texts: &[String]) -> Result<Vec<UploadId>, Problem> {
    if texts.len() > MANY_MAX {
        return Err(Problem::ValidationFailed {
            field: "ids".into(),
            message: "must not be more than 10000".into(),
        });
    }
    let ids = texts.iter().map(|text| api::id(text, "ids"));
    let mut ids: Vec<UploadId> = ids.collect::<Result<_, _>>()?;
    // One that is named twice is cancelled once, and counted once.
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(*id));
    Ok(ids)
}

/// The outcome and the state, as they are told. `None`: there is nothing that the caller may end.
fn words(cancelled: Cancelled) -> Option<(&'static str, State)> {
    Some(match cancelled {
        Cancelled::Confirmed { .. } => ("cancelled", State::Cancelled),
        Cancelled::Accepted => ("cancelling", State::Cancelling),
        Cancelled::Already(state) => match state {
            // Nothing ends here: it was decided in the meantime, and goes on being active.
            State::Uploading | State::Deleting => return None,
            State::Cancelling => ("cancelling", state),
            State::Cancelled => ("already_cancelled", state),
            State::Completed => ("already_completed", state),
            State::Expired | State::Failed => ("already_failed", state),
        },
        Cancelled::Uncovered | Cancelled::Unknown => return None,
    })
}

fn message(outcome: &str) -> &'static str {
    match outcome {
        "cancelled" => "The upload is cancelled and its bytes are gone.",
        "cancelling" => "The upload is being cancelled.",
        "already_cancelled" => "The upload was cancelled before.",
        "already_completed" => "The upload was complete before; it is kept.",
        _ => "The upload had ended before.",
    }
}

fn summary(outcomes: &[(UploadId, Cancelled)], more: bool) -> Many {
    let results: Vec<Line> = outcomes
        .iter()
        .map(|(id, cancelled)| {
            let words = words(*cancelled);
            Line {
                id: id.to_string(),
                outcome: match (words, cancelled) {
                    (Some((outcome, _)), _) => outcome,
                    (None, Cancelled::Uncovered) => "forbidden",
                    (None, _) => "not_found",
                },
                state: words.map(|(_, state)| state.as_str()),
            }
        })
        .collect();
    let count = |wanted: &str| results.iter().filter(|line| line.outcome == wanted).count();
    let (cancelled, cancelling) = (count("cancelled"), count("cancelling"));
    Many {
        cancelled,
        cancelling,
        unchanged: results.len() - cancelled - cancelling,
        total: results.len(),
        more,
        results,
    }
}
