//! The tree of running work: signals and reasons go down, the knowledge of what still runs goes up.
//!
//! Invariant: the first reason a scope sees, its own or inherited, is its reason for good.

use std::any::Any;
use std::fmt;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{Instrument, Span};

use super::CancelReason;

/// A unit of work, or a group of them, that can be cancelled and waited for as a whole.
///
/// Clones are handles to the same scope. A scope keeps its ancestors alive but not its children,
/// and dropping the last handle cancels nothing: see [`Scope::cancel_on_drop`] for that.
///
/// Signal and wait are two calls: [`Scope::cancel`], then [`Scope::settle`].
#[derive(Clone)]
pub struct Scope(Arc<Inner>);

struct Inner {
    name: &'static str,
    parent: Option<Scope>,
    /// Wakes whoever waits for the cancel. A child of the parent's token; cancelled only by
    /// [`Scope::cancel`], after a reason is on record here or in the ancestor that was cancelled.
    token: CancellationToken,
    /// Set by the first [`Scope::cancel`], or by the first look at an ancestor's reason; never
    /// cleared.
    reason: OnceLock<CancelReason>,
    /// Counts the running tasks of this scope and of all its descendants. Closed from the start, in
    /// which state it still takes tasks, and waiting for it means: until there are none.
    tasks: TaskTracker,
    /// Every task of this scope runs in it.
    span: Span,
}

impl Scope {
    /// Creates a scope without a parent.
    pub fn root(name: &'static str) -> Self {
        // At error level, as in `child`: the context must be there for whatever the filter shows.
        let span = tracing::error_span!(parent: None, "scope", name);
        Self::new(name, None, CancellationToken::new(), span)
    }

    /// Creates a scope under this one.
    ///
    /// It is cancelled with this scope, for the same reason, and its tasks are waited for when this
    /// scope settles. The child of a cancelled scope is cancelled from its beginning.
    pub fn child(&self, name: &'static str) -> Self {
        let span = tracing::error_span!(parent: &self.0.span, "scope", name);
        Self::new(name, Some(self.clone()), self.0.token.child_token(), span)
    }

    fn new(name: &'static str, parent: Option<Self>, token: CancellationToken, span: Span) -> Self {
        let tasks = TaskTracker::new();
        tasks.close();
        Self(Arc::new(Inner {
            name,
            parent,
            token,
            reason: OnceLock::new(),
            tasks,
            span,
        }))
    }

    /// Cancels this scope and every descendant that has no reason of its own yet.
    ///
    /// Only signals: the tasks notice at their next look at the scope and end by themselves.
    /// Returns whether this call was the one that cancelled the scope; if not, an earlier reason
    /// stands and this one is dropped.
    pub fn cancel(&self, reason: CancelReason) -> bool {
        // The look at the ancestors comes first: one of them may have been cancelled before.
        if self.reason().is_some() || self.0.reason.set(reason).is_err() {
            return false;
        }
        tracing::debug!(parent: &self.0.span, %reason, "cancelled");
        self.0.token.cancel();
        true
    }

    /// Why this scope is cancelled, or `None` while it is not. A reason seen once never changes.
    pub fn reason(&self) -> Option<CancelReason> {
        if let Some(reason) = self.0.reason.get() {
            return Some(*reason);
        }
        let inherited = self.0.parent.as_ref()?.reason()?;
        // What has been seen once must stay: a racing `cancel` of this very scope loses from here
        // on, or has won just now.
        Some(*self.0.reason.get_or_init(|| inherited))
    }

    /// Waits until this scope is cancelled and returns the reason; at once if it already is.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the reason stays with the scope, so that dropping this future loses nothing.
    pub async fn cancelled(&self) -> CancelReason {
        loop {
            if let Some(reason) = self.reason() {
                return reason;
            }
            self.0.token.cancelled().await;
        }
    }

    /// Starts a task in this scope: the only way to start one.
    ///
    /// The task runs in the scope's tracing span and is waited for when this scope or an ancestor
    /// settles. It is never aborted. A cancelled scope takes tasks as any other, because settling
    /// may need some; whoever must not start work in it looks at [`Scope::reason`] first.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let unit = Unit {
            future: Box::pin(future),
            scope: self.0.name,
            _tracked: self.lineage().map(|scope| scope.0.tasks.token()).collect(),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "every other spawn goes through here, tracked and in a span"
        )]
        let handle = tokio::spawn(unit.instrument(self.0.span.clone()));
        Task {
            handle,
            scope: self.0.name,
        }
    }

    /// Cancels this scope for `reason` when the returned guard is dropped.
    ///
    /// It turns the loss of a future that others may drop, such as a service future of hyper, into
    /// a reason.
    pub fn cancel_on_drop(&self, reason: CancelReason) -> Guard {
        Guard {
            armed: Some(self.clone()),
            reason,
        }
    }

    /// Waits, at most for `within`, until no task of this scope and its descendants runs.
    ///
    /// Tasks may be spawned while this waits, and are waited for too. Does not cancel, closes
    /// nothing, and may be called again, also by several callers at once. A task that waits for a
    /// scope it runs in waits for itself, and gets [`Settling::Overdue`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it changes nothing. A later call starts over, with its own deadline.
    pub async fn settle(&self, within: Duration) -> Settling {
        let tasks = &self.0.tasks;
        let ended = async {
            // A task may have come between the end of the last one and this wait's wake-up.
            while !tasks.is_empty() {
                tasks.wait().await;
            }
        };
        match timeout(within, ended).await {
            Ok(()) => Settling::Settled,
            Err(_elapsed) => {
                tracing::debug!(parent: &self.0.span, running = tasks.len(), "settling is overdue");
                Settling::Overdue
            }
        }
    }

    /// This scope, its parent, and so on up to the root.
    fn lineage(&self) -> impl Iterator<Item = &Self> {
        iter::successors(Some(self), |scope| scope.0.parent.as_ref())
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("name", &self.0.name)
            .field("reason", &self.reason())
            .field("running", &self.0.tasks.len())
            .finish_non_exhaustive()
    }
}

/// How [`Scope::settle`] came out.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settling {
    /// Every task has ended, and everything it did is visible to the caller.
    Settled,
    /// Some task still runs. Whoever goes on regardless treats it as crashed.
    Overdue,
}

/// Cancels a scope when dropped; made by [`Scope::cancel_on_drop`].
#[must_use = "dropping the guard cancels the scope"]
#[derive(Debug)]
pub struct Guard {
    /// Cleared by [`Guard::disarm`].
    armed: Option<Scope>,
    reason: CancelReason,
}

impl Guard {
    /// Gives the guard up without cancelling: what it watched over has come to its own end.
    pub fn disarm(mut self) {
        self.armed = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(scope) = &self.armed {
            scope.cancel(self.reason);
        }
    }
}

/// The end of a spawned task, to be awaited; made by [`Scope::spawn`].
///
/// Dropping it detaches the task, which goes on and is still waited for by [`Scope::settle`].
///
/// # Cancel safety
///
/// Cancel safe when polled by reference: the output stays with the task until it is taken.
#[derive(Debug)]
pub struct Task<T> {
    handle: JoinHandle<Result<T, Panicked>>,
    scope: &'static str,
}

impl<T> Future for Task<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = ready!(Pin::new(&mut self.handle).poll(cx));
        Poll::Ready(ended.unwrap_or_else(|error| Err(Panicked::from_join(self.scope, error))))
    }
}

/// A task panicked, or its runtime went down under it: it ended without a result.
///
/// Its scope still settles. A panic of the future is logged in the scope's span, whether or not
/// anybody awaits the [`Task`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    scope: &'static str,
    message: String,
}

impl Panicked {
    fn new(scope: &'static str, payload: &(dyn Any + Send)) -> Self {
        let message = match (
            payload.downcast_ref::<&str>(),
            payload.downcast_ref::<String>(),
        ) {
            (Some(message), _) => (*message).to_owned(),
            (None, Some(message)) => message.clone(),
            (None, None) => "no message".to_owned(),
        };
        tracing::error!(panic = message, "task panicked");
        Self { scope, message }
    }

    /// For what [`Unit`] cannot catch: a panic while the future is dropped, and a runtime that goes
    /// down.
    fn from_join(scope: &'static str, error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(payload) => Self::new(scope, &*payload),
            Err(_shut_down) => Self {
                scope,
                message: "the runtime went down".to_owned(),
            },
        }
    }

    /// What the panic said. Internal: for the log, never for a client.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a task in scope `{}` ended without a result: {}",
            self.scope, self.message
        )
    }
}

impl std::error::Error for Panicked {}

/// What runs in a spawned task.
///
/// The fields are dropped in their order: when the task stops counting, its future, and with it
/// everything the future owned, is gone.
struct Unit<F> {
    /// Boxed so that it is pinned without unsafe code, and stored once: an `async` block around it
    /// would hold it twice.
    future: Pin<Box<F>>,
    scope: &'static str,
    _tracked: Vec<TaskTrackerToken>,
}

impl<F: Future> Future for Unit<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Caught here, and not left to tokio, so that the panic of a detached task is logged too.
        // Nobody sees the future's broken state: it is not polled again, only dropped.
        match catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(Panicked::new(self.scope, &*payload))),
        }
    }
}
