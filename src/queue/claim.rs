//! Workers ask for something to do, and wait for it (long polling).
//!
//! A claim is a lease from the moment of its commit, and whoever asked may have gone by then. So a
//! tracked task asks, hands over what it has got, and takes it back unless the answer is on its way.
//! Should the answer still be lost, the worker asks again under the same name, and gets the same.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tidegate_protocol::problem::Problem;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::item::Item;
use super::lease::Claim;
use super::{Image, Queue};
use crate::cancel::{CancelReason, Scope};
use crate::db::DbError;
use crate::http::OutBody;

/// How long it takes at most until an item is seen of which nobody was told.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long an earlier request of the same claim may take to end.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// Names a claim: the user of the token, the worker, and its own name for it.
pub(super) type Key = (String, String, String);

/// What a worker gets.
pub(super) struct Offer {
    pub(super) items: Vec<(Item, Image)>,
    /// To be told when the answer is on its way. Dropped: it never will be.
    pub(super) taken: oneshot::Sender<()>,
}

impl Queue {
    /// What there is to do for a worker, after `wait` at the latest. `None`: nothing. Nobody waits any
    /// longer when the client `has_left`.
    ///
    /// # Errors
    /// The problem to answer with.
    ///
    /// # Cancel safety
    /// What has been claimed is given back when the future, or the offer, is dropped.
    pub(super) async fn offer(
        self: &Arc<Self>,
        claim: Claim,
        wait: Duration,
        has_left: impl Future<Output = ()>,
    ) -> Result<Option<Offer>, Problem> {
        let scope = self.scope.child("claim");
        let guard = scope.cancel_on_drop(CancelReason::ClientGone);
        let (hand, offered) = oneshot::channel();
        let claiming = Claiming {
            queue: self.clone(),
            claim,
            until: Instant::now() + wait,
            scope: scope.clone(),
        };
        scope.spawn(claiming.run(hand));
        let offered = tokio::select! {
            offered = offered => offered,
            // What has been handed over is dropped, and so given back.
            () = has_left => return Ok(None),
        };
        guard.disarm();
        // Without one the task has panicked.
        offered.unwrap_or(Err(Problem::Internal))
    }
}

/// One request of a claim.
struct Claiming {
    queue: Arc<Queue>,
    claim: Claim,
    until: Instant,
    scope: Scope,
}

impl Claiming {
    async fn run(self, hand: oneshot::Sender<Result<Option<Offer>, Problem>>) {
        let key = (
            self.claim.holder.clone(),
            self.claim.worker.clone(),
            self.claim.claim.clone(),
        );
        let admitted = self.queue.claims.take_over(
            key,
            self.scope.clone(),
            (),
            CancelReason::Superseded,
            SETTLE_WITHIN,
        );
        let lease = admitted.await;
        let items = match &lease {
            Ok(_) => self.wait().await,
            Err(_displaced) => Ok(None),
        };
        let items = match items {
            Ok(Some(items)) => items,
            Ok(None) => return drop(hand.send(self.nothing())),
            Err(error) => return drop(hand.send(Err(error.into()))),
        };
        let claimed: Vec<Item> = items.iter().map(|(item, _)| item.clone()).collect();
        let (taken, is_taken) = oneshot::channel();
        let offer = Offer { items, taken };
        // A failed send drops the offer.
        drop(hand.send(Ok(Some(offer))));
        let is_lost = tokio::select! {
            // What was said is said; nothing is lost by looking away.
            taken = is_taken => taken.is_err(),
            reason = self.scope.cancelled() => reason == CancelReason::ClientGone,
        };
        // Whoever has displaced this gets the same items.
        if is_lost && self.scope.reason() != Some(CancelReason::Superseded) {
            self.give_back(&claimed).await;
        }
    }

    /// What is answered without an item. To a displaced request nobody listens any more.
    fn nothing(&self) -> Result<Option<Offer>, Problem> {
        match self.scope.reason() {
            Some(CancelReason::Shutdown) => Err(Problem::ShuttingDown { retry_after: 1 }),
            _ => Ok(None),
        }
    }

    /// `None`: there was nothing in time, or nobody waits any more.
    async fn wait(&self) -> Result<Option<Vec<(Item, Image)>>, DbError> {
        let (store, crew) = (&self.queue.store, &self.queue.crew);
        loop {
            if self.scope.reason().is_some() {
                return Ok(None);
            }
            // Before looking: nothing is missed in between.
            let queued = crew.queued();
            if store.is_waiting(&self.claim).await? {
                let items = store.claim(&self.claim).await?;
                if !items.is_empty() {
                    return Ok(Some(items));
                }
            }
            if Instant::now() >= self.until {
                return Ok(None);
            }
            let _waiting = crew.metrics.wait();
            tokio::select! {
                // Nothing has been claimed here.
                () = queued => {}
                () = sleep_until(self.until.min(Instant::now() + LOOK_EVERY)) => {}
                _ = self.scope.cancelled() => {}
            }
        }
    }

    async fn give_back(&self, items: &[Item]) {
        tracing::debug!(
            worker = self.claim.worker,
            "nobody has got the answer to a claim"
        );
        if let Err(error) = self.queue.store.unclaim(items).await {
            // The lease ends, and that is as good.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "giving a claim back"
            );
        }
    }
}

/// An answer that tells when it is on its way.
pub(super) struct Answer {
    bytes: Option<Bytes>,
    taken: Option<oneshot::Sender<()>>,
}

impl Answer {
    pub(super) fn body(bytes: Vec<u8>, taken: oneshot::Sender<()>) -> OutBody {
        OutBody::stream(Self {
            bytes: Some(bytes.into()),
            taken: Some(taken),
        })
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(taken) = self.taken.take() {
            // Nobody listens if the server ends.
            taken.send(()).ok();
        }
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
