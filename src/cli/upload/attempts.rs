//! Trying again: what may pass is waited for, everything else is an answer.

use http::{HeaderValue, StatusCode, Uri};
use tokio::time::sleep;

use super::outcome::SendError;
use super::pace::Pace;
use super::tus::Endpoint;
use super::{Run, settled};
use crate::cancel::Scope;
use crate::cli::refusal::Refusal;
use crate::cli::retry::Backoff;
use crate::cli::server::AskError;

/// The attempts to get one upload to its end.
pub(super) struct Attempts<'r> {
    endpoint: &'r Endpoint,
    scope: &'r Scope,
    pace: &'r Pace,
    backoff: Backoff,
    tries: u32,
    /// Whether another token was tried since.
    renewed: bool,
    /// Whether another program had taken over before.
    was_superseded: bool,
    /// Whether the upload was there in this run.
    met: bool,
}

impl<'r> Attempts<'r> {
    pub(super) fn new(run: &'r Run) -> Self {
        Self::of(&run.endpoint, &run.scope, &run.pace, run.retries)
    }

    /// Without a run.
    pub(super) fn of(
        endpoint: &'r Endpoint,
        scope: &'r Scope,
        pace: &'r Pace,
        retries: u32,
    ) -> Self {
        Self {
            endpoint,
            scope,
            pace,
            backoff: Backoff::new(retries),
            tries: 0,
            renewed: false,
            was_superseded: false,
            met: false,
        }
    }

    /// The server has answered something useful about the upload.
    pub(super) fn met(&mut self) {
        self.met = true;
    }

    /// It is further than before.
    pub(super) fn advanced(&mut self) {
        self.met = true;
        self.tries = 0;
        self.renewed = false;
        self.backoff.reset();
    }

    /// As [`Attempts::again`] for the upload at `url`, or for its creation if there is none yet. The
    /// server is asked what has become of it if the answer does not say so.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn go_on(
        &mut self,
        error: AskError,
        url: Option<&Uri>,
        token: Option<&HeaderValue>,
    ) -> Result<(), SendError> {
        let is_mute = |error: &AskError| {
            let refusal = error.refusal();
            refusal.is_some_and(|it| it.status == StatusCode::GONE && it.problem.is_empty())
        };
        let error = match url {
            Some(url) if is_mute(&error) => {
                match settled(self.scope, self.endpoint.why_gone(url)).await {
                    // Another server may answer anything to this: the 410 counts.
                    Ok(refusal) if refusal.status == StatusCode::GONE => AskError::Refused(refusal),
                    _ => error,
                }
            }
            _ => error,
        };
        let what = url.map_or(What::Creation, |_| What::Upload);
        self.again(what, error, token).await
    }

    /// Waits until it makes sense to try `what` again. `token` was sent with what has failed.
    ///
    /// # Errors
    /// It makes none.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn again(
        &mut self,
        what: What,
        error: AskError,
        token: Option<&HeaderValue>,
    ) -> Result<(), SendError> {
        self.tries += 1;
        let asked = match error.refusal() {
            Some(refusal) => {
                match verdict(refusal, what, self.met) {
                    Verdict::Again => {}
                    Verdict::Cancelled => return Err(SendError::Cancelled(refusal.clone())),
                    Verdict::Lost => return Err(SendError::Lost),
                    Verdict::Superseded if !std::mem::replace(&mut self.was_superseded, true) => {}
                    Verdict::Superseded | Verdict::Final => return Err(SendError::Ask(error)),
                    Verdict::Denied => {
                        // A token that is read already counts, whoever waits for it.
                        let is_new = tokio::select! {
                            is_new = self.endpoint.server.token().renew(token) => is_new,
                            _ = self.scope.cancelled() => {
                                return Err(SendError::Interrupted { kept: None });
                            }
                        };
                        if !is_new || self.renewed {
                            return Err(SendError::Denied(error));
                        }
                        self.renewed = true;
                        return Ok(());
                    }
                }
                refusal.retry_after
            }
            None if error.is_passing() => None,
            None => return Err(SendError::Ask(error)),
        };
        if self.scope.reason().is_some() {
            return Err(SendError::Interrupted { kept: None });
        }
        self.pace.trouble();
        let Some(pause) = self.backoff.next(asked) else {
            let (tries, last) = (self.tries, error);
            return Err(SendError::GivenUp { tries, last });
        };
        tracing::debug!(%error, ?pause, "trying again");
        // Nothing is lost with a wait that is not waited to its end.
        tokio::select! {
            _ = self.scope.cancelled() => Err(SendError::Interrupted { kept: None }),
            () = sleep(pause) => Ok(()),
        }
    }
}

/// What has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// To create an upload.
    Creation,
    /// Something with one.
    Upload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Again,
    Cancelled,
    Lost,
    Denied,
    Superseded,
    Final,
}

/// `met`: whether the upload was there in this run. Then whoever has removed it since meant it.
fn verdict(refusal: &Refusal, what: What, met: bool) -> Verdict {
    match (refusal.status, refusal.problem.as_str()) {
        (StatusCode::UNAUTHORIZED, _) => Verdict::Denied,
        // Nobody has decided these.
        (StatusCode::GONE, "upload-expired" | "upload-failed") if !met => Verdict::Lost,
        (StatusCode::GONE, "upload-expired" | "upload-failed") => Verdict::Final,
        (StatusCode::GONE, "upload-cancelled") => Verdict::Cancelled,
        // A place where nothing can be created any more is no upload that somebody has cancelled.
        (StatusCode::GONE, _) if what == What::Creation => Verdict::Final,
        (StatusCode::GONE, _) => Verdict::Cancelled,
        (StatusCode::NOT_FOUND, _) if what == What::Upload && !met => Verdict::Lost,
        // Another upload has the id, of another caller or another length.
        (StatusCode::CONFLICT, "id-taken") => Verdict::Lost,
        // Whoever sends it now may soon be done. Two that always come back would never be.
        (_, "upload-superseded") => Verdict::Superseded,
        _ if refusal.is_passing() => Verdict::Again,
        _ => Verdict::Final,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn what_is_cancelled_is_never_sent_again_and_what_is_lost_is() {
        let of = |status: u16, problem: &str, met| {
            let body = format!(r#"{{"type": "/problems/{problem}"}}"#);
            let status = StatusCode::from_u16(status).unwrap();
            let refusal = Refusal::new(status, &HeaderMap::new(), body.as_bytes());
            verdict(&refusal, What::Upload, met)
        };
        for met in [false, true] {
            assert_eq!(of(410, "upload-cancelled", met), Verdict::Cancelled);
            assert_eq!(of(410, "", met), Verdict::Cancelled);
            assert_eq!(of(400, "upload-superseded", met), Verdict::Superseded);
            assert_eq!(of(401, "unauthorized", met), Verdict::Denied);
            assert_eq!(of(409, "id-taken", met), Verdict::Lost);
            assert_eq!(of(409, "offset-mismatch", met), Verdict::Again);
            assert_eq!(of(507, "storage-full", met), Verdict::Again);
            assert_eq!(of(403, "forbidden", met), Verdict::Final);
            assert_eq!(of(413, "upload-too-large", met), Verdict::Final);
        }
        assert_eq!(of(410, "upload-expired", false), Verdict::Lost);
        assert_eq!(of(410, "upload-expired", true), Verdict::Final);
        assert_eq!(of(404, "not-found", false), Verdict::Lost);
        assert_eq!(of(404, "not-found", true), Verdict::Final);
        let nowhere = Refusal::new(StatusCode::NOT_FOUND, &HeaderMap::new(), b"");
        let created = verdict(&nowhere, What::Creation, false);
        assert_eq!(created, Verdict::Final);
        let retired = Refusal::new(StatusCode::GONE, &HeaderMap::new(), b"");
        let created = verdict(&retired, What::Creation, false);
        assert_eq!(created, Verdict::Final);
    }
}
