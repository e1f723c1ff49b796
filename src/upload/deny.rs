//! What becomes of an append whose sender may no longer go on.
//!
//! An append asks for the right to its upload after it has been admitted, and this looks at whoever
//! has been admitted after the right was taken away. So none slips through between the two.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_protocol::problem::Problem;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Uploads;
use crate::access::Change;
use crate::cancel::CancelReason;
use crate::work::{Next, Worker};

/// Ends appends that were begun with a right which is gone.
pub(super) struct Denials {
    uploads: Arc<Uploads>,
    changes: Receiver<Change>,
    /// Whose appends are still to be looked at.
    due: Option<Who>,
}

enum Who {
    Everybody,
    One(String),
}

impl Denials {
    pub(super) fn new(uploads: &Arc<Uploads>, changes: Receiver<Change>) -> Self {
        Self {
            uploads: uploads.clone(),
            changes,
            due: None,
        }
    }

    /// Waits until there is somebody to look at. False at the end.
    async fn hear(&mut self) -> bool {
        while self.due.is_none() {
            let heard = tokio::select! {
                // Appends end with the server by themselves.
                _ = self.uploads.scope.cancelled() => return false,
                // A change is received or stays in the channel.
                heard = self.changes.recv() => heard,
            };
            self.due = match heard {
                // Nobody sees a project that goes, and what is in it is cancelled, which is more.
                Ok(change) => change.user.map(Who::One),
                Err(RecvError::Lagged(_)) => Some(Who::Everybody),
                Err(RecvError::Closed) => return false,
            };
        }
        true
    }
}

impl Worker for Denials {
    fn name(&self) -> &'static str {
        "denials"
    }

    fn work(&mut self) -> BoxFuture<'_, Next> {
        async {
            if !self.hear().await {
                return Next::Never;
            }
            let user = match &self.due {
                Some(Who::One(user)) => Some(user.as_str()),
                Some(Who::Everybody) | None => None,
            };
            if !self.uploads.deny(user).await {
                return Next::Later;
            }
            self.due = None;
            Next::Now
        }
        .boxed()
    }
}

impl Uploads {
    /// Ends the appends of `user`, or of everybody, that are no longer allowed. False: the database
    /// did not say whether they are.
    async fn deny(&self, user: Option<&str>) -> bool {
        let mut is_known = true;
        for (id, holder) in self.live.holders() {
            let sender = holder.shown.sender();
            let sender = sender.filter(|sender| user.is_none_or(|user| user == sender.user));
            let Some(sender) = sender else {
                continue;
            };
            match self.usable(id, sender).await {
                Err(Problem::NotFound | Problem::Forbidden) => {
                    tracing::info!(upload = %id, user = sender.user, "the right to send is gone");
                    holder.scope.cancel(CancelReason::Denied);
                }
                Err(Problem::Unavailable { .. } | Problem::Internal) => is_known = false,
                Ok(_) | Err(_) => {}
            }
        }
        is_known
    }
}
