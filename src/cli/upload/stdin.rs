//! Standard input as one upload, whose length is declared at its end.
//!
//! What has been read is gone, so a piece of it is held until the server has it, and a run that ends
//! before its time has nothing to go on with: it removes what it has sent.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Uri};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::args::Arguments;
use super::find::{File, Print};
use super::flow::{Limit, Position};
use super::hash::Mark;
use super::outcome::Outcome;
use super::report::Report;
use super::tus::{ANSWERED_WITHIN, Creation, Endpoint, Kind, Told};
use super::{RETRIES, send};
use crate::cancel::Scope;
use crate::cli::error::CommandError;
use crate::cli::retry::{self, Backoff};
use crate::cli::server::{AskError, full};
use crate::id::UploadId;

/// What is sent in one request, and held until it is answered.
const HELD_BYTES: usize = 8 * 1024 * 1024;

struct Sender<'s> {
    endpoint: &'s Endpoint,
    scope: &'s Scope,
    limit: Option<Limit>,
    backoff: Backoff,
}

/// Sends all that comes.
///
/// # Errors
/// See [`CommandError`].
pub(super) async fn send(
    endpoint: &Endpoint,
    arguments: &Arguments,
    scope: &Scope,
    report: &mut Report,
) -> Result<(), CommandError> {
    if !endpoint.can.deferred_length {
        let why = "the server takes nothing of unknown length, so it cannot take standard input";
        return Err(CommandError::Failed(why.into()));
    }
    let mut sender = Sender {
        endpoint,
        scope,
        limit: arguments.limit_rate.map(Limit::new),
        backoff: Backoff::new(arguments.retries.unwrap_or(RETRIES)),
    };
    report.destination(&endpoint.url().to_string())?;
    let mut file = File {
        path: "-".into(),
        name: arguments.name.clone(),
        print: Print {
            size: 0,
            modified: 0,
            inode: 0,
        },
    };
    let position = Position::new();
    report.started(0, &file, &position);
    let mut url = None;
    let sent = sender.send_all(&file, &mut url, &position).await;
    file.print.size = position.at();
    let is_interrupted = scope.reason().is_some();
    let outcome = match sent {
        Ok(outcome) => outcome,
        Err(error) => {
            if let Some(url) = &url {
                // Best effort: what stays expires.
                drop(timeout(ANSWERED_WITHIN, endpoint.end(url)).await);
            }
            match cancelled(&error) {
                Some(reason) => Outcome::Cancelled { reason },
                None if is_interrupted => Outcome::Interrupted { kept: Some(0) },
                None => Outcome::Failed {
                    why: error.to_string(),
                },
            }
        }
    };
    report.ended(0, &file, &outcome)?;
    report.summary(position.at(), None)?;
    match outcome {
        Outcome::Sent { .. } => Ok(()),
        Outcome::Interrupted { .. } => Err(CommandError::Interrupted),
        Outcome::Skipped(_) | Outcome::Cancelled { .. } | Outcome::Failed { .. } => {
            Err(CommandError::Some)
        }
    }
}

/// The reason, if somebody has cancelled it.
fn cancelled(error: &CommandError) -> Option<Option<String>> {
    let CommandError::Ask(error) = error else {
        return None;
    };
    let refusal = error.refusal()?;
    (refusal.status == http::StatusCode::GONE).then(|| refusal.reason.clone())
}

impl Sender<'_> {
    async fn send_all(
        &mut self,
        file: &File,
        url: &mut Option<Uri>,
        position: &Arc<Position>,
    ) -> Result<Outcome, CommandError> {
        let id = UploadId::random();
        let here = loop {
            let token = self.endpoint.server.token().field();
            let created = self.endpoint.create(Creation {
                id,
                kind: Kind::Deferred,
                metadata: send::metadata_of(file),
                content: None,
            });
            match created.await {
                Ok((here, _)) => break here,
                Err(error) => self.again(error, token).await?,
            }
        };
        *url = Some(here.clone());
        let mut mark = Mark::default();
        loop {
            let read = spawn_blocking(read_held);
            let held = tokio::select! {
                read = read => read.map_err(io::Error::other)??,
                _ = self.scope.cancelled() => return Err(CommandError::Interrupted),
            };
            let is_last = held.len() < HELD_BYTES;
            let from = mark.at;
            mark.update(&held);
            if let Some(limit) = &self.limit {
                tokio::select! {
                    () = limit.pass(held.len() as u64) => {}
                    _ = self.scope.cancelled() => return Err(CommandError::Interrupted),
                }
            }
            let told = self.append(&here, from, held, is_last).await?;
            position.set(mark.at);
            if is_last {
                return self.ended(here, &mark, &told).await;
            }
        }
    }

    async fn ended(&self, url: Uri, mark: &Mark, told: &Told) -> Result<Outcome, CommandError> {
        let (sha256, verified) = (mark.sum(), told.sha256.is_some());
        if told.sha256.is_some_and(|theirs| theirs != sha256) {
            let why = "the server has other bytes than were sent; what it had is removed";
            return Err(CommandError::Failed(why.into()));
        }
        Ok(Outcome::Sent {
            url: url.to_string(),
            sha256,
            verified,
        })
    }

    /// Brings `held` to the server, from wherever it stops in the middle of it.
    async fn append(
        &mut self,
        url: &Uri,
        from: u64,
        held: Bytes,
        is_last: bool,
    ) -> Result<Told, CommandError> {
        let end = from + held.len() as u64;
        let declared = is_last.then_some(end);
        let mut at = Some(from);
        loop {
            let token = self.endpoint.server.token().field();
            let asked = async {
                let here = match at {
                    Some(here) => here,
                    None => self
                        .endpoint
                        .retrieve(url)
                        .await?
                        .offset_within(from..=end)?,
                };
                let rest = held.slice(usize::try_from(here - from).unwrap_or(0)..);
                let length = Some(rest.len() as u64);
                let request = self
                    .endpoint
                    .append(url, here, length, declared, full(rest))?;
                let told = timeout(ANSWERED_WITHIN, self.endpoint.send(request)).await;
                let told = told.unwrap_or(Err(AskError::Late))?;
                told.offset_within(end..=end)?;
                Ok(told)
            };
            let asked = tokio::select! {
                asked = asked => asked,
                _ = self.scope.cancelled() => return Err(CommandError::Interrupted),
            };
            match asked {
                Ok(told) => {
                    self.backoff.reset();
                    return Ok(told);
                }
                Err(error) => self.again(error, token).await?,
            }
            at = None;
        }
    }

    /// Waits until it makes sense to try again what was sent with this token.
    async fn again(
        &mut self,
        error: AskError,
        token: Option<HeaderValue>,
    ) -> Result<(), CommandError> {
        let server = &self.endpoint.server;
        if !retry::may_go_on(server, &error, token.as_ref()).await {
            return Err(error.into());
        }
        let Some(pause) = self.backoff.next(error.retry_after()) else {
            return Err(error.into());
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            _ = self.scope.cancelled() => Err(CommandError::Interrupted),
        }
    }
}

/// The next bytes; fewer than are held only at the end.
fn read_held() -> io::Result<Bytes> {
    let mut held = Vec::with_capacity(HELD_BYTES);
    let limit = HELD_BYTES as u64;
    io::stdin().lock().take(limit).read_to_end(&mut held)?;
    Ok(held.into())
}
