//! A subscription for as long as its reader may read.
//!
//! Whoever reads one project loses it with the right to see it. Whoever reads all that he may see
//! gets more when there is more, and has to begin anew when there is less: he must not lose a feed
//! without noticing.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use tidegate_protocol::problem::Problem;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Deps;
use crate::access::{self, Change, Right};
use crate::auth::{Caller, Role};
use crate::db::{Db, DbError};
use crate::event::{Cursor, Delivery, Feed, Filter, NoSuchPlace, Start, Subscription};

/// Projects that can be read at once without being named: the places in all of them are one cursor,
/// which a client sends back in a header section of 16 KiB.
const PROJECTS_MAX: u32 = 100;

/// What is read, and by whom.
#[derive(Clone, Debug)]
pub(super) struct Readable {
    /// `None`: every feed that he may see.
    pub(super) project: Option<String>,
    pub(super) caller: Caller,
    pub(super) filter: Filter,
}

/// What a reader gets. It ends with the server, when a feed cannot be read, and with the right.
pub(super) struct Reading {
    subscription: Subscription,
    /// What has changed for the reader. `None`: nobody knows.
    changes: BoxStream<'static, Option<Change>>,
    /// What he may read now, while that is being found out.
    looking: Option<BoxFuture<'static, Result<Option<Subscription>, End>>>,
    about: Arc<(Readable, Arc<Deps>)>,
    end: Option<End>,
}

/// Why nothing more comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// He may see less than before.
    Denied,
    /// The server ends, or a feed cannot be read.
    Broken,
}

impl Reading {
    /// Begins to read at `start`.
    ///
    /// # Errors
    /// The problem to answer with.
    pub(super) async fn open(
        readable: Readable,
        start: &Start,
        deps: &Arc<Deps>,
    ) -> Result<Self, Problem> {
        // Before the right is asked for: no change is missed in between.
        let changes = changes(deps.access.listen(), readable.caller.user.clone());
        let feeds = readable.feeds(deps.hub.db()).await?;
        let filter = readable.filter.clone();
        let opened = Subscription::open(&deps.hub, &feeds, start, filter).await;
        Ok(Self {
            subscription: opened.map_err(refused)?,
            changes,
            looking: None,
            about: Arc::new((readable, deps.clone())),
            end: None,
        })
    }

    /// The place behind all that was delivered, or was not wanted.
    pub(super) fn cursor(&self) -> &Cursor {
        self.subscription.cursor()
    }

    /// Why it has ended, once it has.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// Finds out what may be read now. What is not there yet is to be joined.
    fn look(&self) -> BoxFuture<'static, Result<Option<Subscription>, End>> {
        let (about, known) = (self.about.clone(), self.subscription.feeds());
        async move {
            let (readable, deps) = &*about;
            let feeds = match readable.feeds(deps.hub.db()).await {
                Ok(feeds) => feeds,
                Err(Problem::NotFound | Problem::ValidationFailed { .. }) => {
                    return Err(End::Denied);
                }
                Err(_) => return Err(End::Broken),
            };
            if known.iter().any(|feed| !feeds.contains(feed)) {
                return Err(End::Denied);
            }
            let mut more: Option<Subscription> = None;
            for feed in feeds.into_iter().filter(|feed| !known.contains(feed)) {
                let start = readable.start(&feed, deps.hub.db()).await;
                let start = start.map_err(|_| End::Broken)?;
                let filter = readable.filter.clone();
                let opened = Subscription::open(&deps.hub, &[feed], &start, filter).await;
                let opened = opened.map_err(|_| End::Broken)?;
                match &mut more {
                    Some(more) => more.join(opened),
                    None => more = Some(opened),
                }
            }
            Ok(more)
        }
        .boxed()
    }

    /// Whether something may be different for this reader.
    fn is_about(&self, change: Option<&Change>) -> bool {
        let Some(change) = change else {
            return true;
        };
        let gains = change.user.is_some() && self.about.0.project.is_none();
        gains
            || self
                .subscription
                .reads(&Feed::Project(change.project.clone()))
    }

    fn poll_access(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            if let Some(looking) = &mut self.looking {
                let looked = ready!(looking.poll_unpin(context));
                self.looking = None;
                if let Some(more) = looked? {
                    self.subscription.join(more);
                }
            }
            match self.changes.poll_next_unpin(context) {
                Poll::Ready(Some(change)) if self.is_about(change.as_ref()) => {
                    self.looking = Some(self.look());
                }
                Poll::Ready(Some(_)) => {}
                // Nobody is left who could change anything.
                Poll::Ready(None) | Poll::Pending => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl Stream for Reading {
    type Item = Delivery;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let this = self.get_mut();
        if this.end.is_some() {
            return Poll::Ready(None);
        }
        // Before anything is delivered that he may no longer see.
        if let Err(end) = ready!(this.poll_access(context)) {
            this.end = Some(end);
            return Poll::Ready(None);
        }
        let delivery = ready!(this.subscription.poll_next_unpin(context));
        if delivery.is_none() {
            this.end = Some(End::Broken);
        }
        Poll::Ready(delivery)
    }
}

impl Readable {
    /// # Errors
    /// The problem to answer with.
    async fn feeds(&self, db: &Db) -> Result<Vec<Feed>, Problem> {
        let Some(project) = &self.project else {
            return self.every_feed(db).await;
        };
        let right = right(db, project, &self.caller).await;
        match right.map_err(|error| unavailable(&error))? {
            Some(_) => Ok(vec![Feed::Project(project.clone())]),
            None => Err(Problem::NotFound),
        }
    }

    async fn every_feed(&self, db: &Db) -> Result<Vec<Feed>, Problem> {
        let visible = db.read(|tx| {
            let caller = self.caller.clone();
            async move { access::visible(tx, &caller, PROJECTS_MAX + 1).await }.boxed()
        });
        let visible = visible.await.map_err(|error| unavailable(&error))?;
        if visible.len() > PROJECTS_MAX as usize {
            let why = format!("is needed: there are more than {PROJECTS_MAX} projects");
            return Err(Problem::validation("projectId", why));
        }
        let mut feeds: Vec<Feed> = visible.into_iter().map(Feed::Project).collect();
        feeds.push(Feed::User(self.caller.user.clone()));
        Ok(feeds)
    }

    /// Where to begin with a feed that was not there before: a project that is now the reader's own
    /// is new, and all that has happened in it has happened since.
    async fn start(&self, feed: &Feed, db: &Db) -> Result<Start, DbError> {
        let Feed::Project(project) = feed else {
            return Ok(Start::Now);
        };
        let as_user = Caller {
            role: Role::User,
            ..self.caller.clone()
        };
        Ok(match right(db, project, &as_user).await? {
            Some(Right::Owner) => Start::After(0),
            Some(Right::Member) | None => Start::Now,
        })
    }
}

async fn right(db: &Db, project: &str, caller: &Caller) -> Result<Option<Right>, DbError> {
    let right = db.read(|tx| {
        let (project, caller) = (project.to_owned(), caller.clone());
        async move { access::right(tx, &project, &caller).await }.boxed()
    });
    right.await
}

/// Those changes that concern this user.
fn changes(receiver: Receiver<Change>, user: String) -> BoxStream<'static, Option<Change>> {
    let next = async |(mut receiver, user): (Receiver<Change>, String)| {
        loop {
            let change = match receiver.recv().await {
                Ok(change) if change.user.as_ref().is_none_or(|who| *who == user) => Some(change),
                Ok(_) => continue,
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => return None,
            };
            return Some((change, (receiver, user)));
        }
    };
    stream::unfold((receiver, user), next).boxed()
}

fn refused(error: NoSuchPlace) -> Problem {
    match error {
        NoSuchPlace::Unknown(_) => Problem::CursorUnknown,
        NoSuchPlace::Db(error) => unavailable(&error),
    }
}

fn unavailable(error: &DbError) -> Problem {
    tracing::error!(error = error as &dyn std::error::Error, "feed");
    Problem::Unavailable { retry_after: 5 }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("subscription", &self.subscription)
            .finish_non_exhaustive()
    }
}
