//! One reader of some feeds, from a place of its own.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future;
use futures_util::stream::{self, BoxStream, SelectAll, Stream, StreamExt};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::hub::{Hub, Item, Listener};
use super::{Draft, Event, Feed, Filter, Kind, log};
use crate::db::{Db, DbError};

/// Events that a reader who is behind takes from the log at once: what it holds in memory.
const PAGE: u32 = 32;

/// Where a reader is in each of its feeds.
///
/// ```text
/// <epoch>.<feed>=<sequence>[;<epoch>.<feed>=<sequence>...]
/// ```
///
/// In the name of a user, what could be taken for something else is percent-encoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(BTreeMap<Feed, Mark>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    epoch: String,
    sequence: u64,
}

/// A text is no [`Cursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a place in a feed")]
pub struct InvalidCursor;

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let mut marks = BTreeMap::new();
        for part in text.split(';') {
            let (epoch, rest) = part.split_once('.').ok_or(InvalidCursor)?;
            let (feed, sequence) = rest.rsplit_once('=').ok_or(InvalidCursor)?;
            let feed = percent_decode_str(feed).decode_utf8().ok();
            let feed = feed.and_then(|feed| Feed::parse(&feed));
            let feed = feed.ok_or(InvalidCursor)?;
            let is_number = sequence.bytes().all(|byte| byte.is_ascii_digit());
            let is_word = epoch.bytes().all(|byte| byte.is_ascii_alphanumeric());
            if !is_number || !is_word || epoch.is_empty() {
                return Err(InvalidCursor);
            }
            let mark = Mark {
                epoch: epoch.to_owned(),
                sequence: sequence.parse().map_err(|_| InvalidCursor)?,
            };
            if marks.insert(feed, mark).is_some() {
                return Err(InvalidCursor);
            }
        }
        Ok(Self(marks))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (feed, mark)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            let Mark { epoch, sequence } = mark;
            let feed = feed.to_string();
            let feed = utf8_percent_encode(&feed, NOT_IN_A_NAME);
            write!(f, "{separator}{epoch}.{feed}={sequence}")?;
        }
        Ok(())
    }
}

impl Cursor {
    /// The feeds in which it says where the reader is.
    pub fn feeds(&self) -> Vec<Feed> {
        self.0.keys().cloned().collect()
    }

    /// Whether something has happened on `feed` that lies behind this.
    ///
    /// # Errors
    /// The database's.
    pub async fn is_behind(&self, db: &Db, feed: &Feed) -> Result<bool, DbError> {
        let place = log::place(db, feed).await?;
        let mark = self.0.get(feed);
        Ok(mark.is_none_or(|mark| mark.sequence < place.head))
    }
}
/// Fit for a header field, and for a line of its own.
const NOT_IN_A_NAME: &AsciiSet = &CONTROLS.add(b'%').add(b';').add(b' ').add(b'"');

/// Where a reader wants to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what happens from now on.
    Now,
    /// Behind this one, in every feed.
    After(u64),
    /// Where it left off. Feeds that are not in it begin now, unless none is in it.
    At(Cursor),
}

/// What a reader gets.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// An event of the log, or [`Kind::FeedGap`]: the reader's place is behind it now.
    Logged(Arc<Event>),
    /// A live one. The reader's place is where it was.
    Live(Arc<Event>),
}

impl Delivery {
    /// What is delivered.
    pub fn event(&self) -> &Event {
        match self {
            Self::Logged(event) | Self::Live(event) => event,
        }
    }
}

/// Why no place to begin was found.
#[derive(Debug, thiserror::Error)]
pub enum NoSuchPlace {
    /// It is a place in another database, or in the future of this one.
    #[error("no such place in {0}")]
    Unknown(Feed),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// A reader: a stream of what it gets. It ends with the server, and when one of its feeds cannot be
/// read: whoever reads several must not lose one of them without noticing.
pub struct Subscription {
    /// The last item of each is `None`.
    streams: SelectAll<BoxStream<'static, Option<Delivery>>>,
    cursor: Cursor,
    filter: Filter,
    has_ended: bool,
}

impl Subscription {
    /// Begins to read what `filter` wants of `feeds`.
    ///
    /// # Errors
    /// There is no such place.
    ///
    /// # Cancel safety
    /// Dropping it ends the reader.
    pub async fn open(
        hub: &Hub,
        feeds: &[Feed],
        start: &Start,
        filter: Filter,
    ) -> Result<Self, NoSuchPlace> {
        let is_elsewhere = |at: &Cursor| !feeds.iter().any(|feed| at.0.contains_key(feed));
        if let (Start::At(at), [first, ..]) = (start, feeds)
            && is_elsewhere(at)
        {
            return Err(NoSuchPlace::Unknown(first.clone()));
        }
        let mut streams = SelectAll::new();
        let mut cursor = Cursor::default();
        for feed in feeds {
            // Before the place is looked up: nothing is missed in between.
            let listener = hub.listen(feed, filter.wants_live());
            let place = log::place(hub.db(), feed).await?;
            let (sequence, is_of_here) = match start {
                Start::Now => (place.head, true),
                Start::After(sequence) => (*sequence, true),
                Start::At(cursor) => match cursor.0.get(feed) {
                    Some(mark) => (mark.sequence, mark.epoch == place.epoch),
                    None => (place.head, true),
                },
            };
            if !is_of_here || sequence > place.head {
                return Err(NoSuchPlace::Unknown(feed.clone()));
            }
            let epoch = place.epoch;
            let mark = Mark {
                epoch: epoch.clone(),
                sequence,
            };
            cursor.0.insert(feed.clone(), mark);
            let reader = Reader {
                hub: hub.clone(),
                epoch,
                feed: feed.clone(),
                listener,
                last: sequence,
                page: VecDeque::new(),
                is_behind: true,
            };
            let deliveries = stream::unfold(reader, async |mut reader| {
                Some((Some(reader.next().await?), reader))
            });
            let end = stream::once(future::ready(None));
            streams.push(deliveries.chain(end).boxed());
        }
        Ok(Self {
            streams,
            cursor,
            filter,
            has_ended: false,
        })
    }

    /// The place behind all that was delivered, or was not wanted.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// What it reads.
    pub fn feeds(&self) -> Vec<Feed> {
        self.cursor.feeds()
    }

    /// Whether it reads this one.
    pub fn reads(&self, feed: &Feed) -> bool {
        self.cursor.0.contains_key(feed)
    }

    /// Reads what `other` reads, too. It reads other feeds than this one, with the same filter. Whoever
    /// waits for this one has to ask again.
    pub fn join(&mut self, other: Self) {
        self.streams.extend(other.streams);
        self.cursor.0.extend(other.cursor.0);
    }
}

impl Stream for Subscription {
    type Item = Delivery;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let this = self.get_mut();
        loop {
            if this.has_ended {
                return Poll::Ready(None);
            }
            let Some(delivery) = ready!(this.streams.poll_next_unpin(context)) else {
                // There is no feed yet.
                return Poll::Pending;
            };
            let Some(delivery) = delivery else {
                this.streams.clear();
                this.has_ended = true;
                continue;
            };
            if let Delivery::Logged(event) = &delivery
                && let Some(sequence) = event.sequence
                && let Some(mark) = this.cursor.0.get_mut(&event.feed)
            {
                mark.sequence = sequence;
            }
            if this.filter.wants(delivery.event().kind) {
                return Poll::Ready(Some(delivery));
            }
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

/// A reader of one feed.
struct Reader {
    hub: Hub,
    epoch: String,
    feed: Feed,
    listener: Listener,
    /// The sequence of the last event that was delivered.
    last: u64,
    page: VecDeque<Event>,
    /// Whether the log has something that has not been delivered, and the live feed has not.
    is_behind: bool,
}

impl Reader {
    /// `None` when the server ends.
    async fn next(&mut self) -> Option<Delivery> {
        let scope = self.hub.scope().clone();
        loop {
            if let Some(event) = self.page.pop_front() {
                return Some(self.logged(event));
            }
            if self.is_behind {
                // In a box, which is gone when it is done: what a read needs would otherwise be kept
                // for every reader that only listens.
                match Box::pin(self.catch_up()).await {
                    Ok(Some(gap)) => return Some(gap),
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::warn!(feed = %self.feed, %error, "reading a feed");
                        return None;
                    }
                }
            }
            let item = tokio::select! {
                // The reader ends with it.
                _ = scope.cancelled() => return None,
                // An item is received or stays in the ring.
                item = self.listener.receiver.recv() => item,
            };
            match item {
                Ok(Item::Logged(event)) => match event.sequence {
                    Some(sequence) if sequence <= self.last => {}
                    Some(sequence) if sequence == self.last + 1 => {
                        self.last = sequence;
                        return Some(Delivery::Logged(event));
                    }
                    Some(_) | None => self.is_behind = true,
                },
                // One from before the last event may be about what that has ended.
                Ok(Item::Live(after, event)) if after >= self.last => {
                    return Some(Delivery::Live(event));
                }
                Ok(Item::Live(..)) => {}
                Ok(Item::Head(head)) => self.is_behind |= head > self.last,
                Err(RecvError::Lagged(_)) => self.is_behind = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Takes a page from the log. Returns what tells that some of it is no longer there.
    async fn catch_up(&mut self) -> Result<Option<Delivery>, DbError> {
        let (trimmed, events) = log::read(self.hub.db(), &self.feed, self.last, PAGE).await?;
        self.is_behind = events.len() == PAGE as usize;
        let first = events.first().and_then(|event| event.sequence);
        self.page = events.into();
        let next = self.last + 1;
        let last_missing = match first {
            Some(first) => first - 1,
            None => trimmed,
        };
        if last_missing < next {
            return Ok(None);
        }
        self.last = last_missing;
        let gap = Draft {
            feed: self.feed.clone(),
            kind: Kind::FeedGap,
            subject: self.feed.to_string(),
            data: json!({
                "from": next.to_string(),
                "to": last_missing.to_string(),
                "reason": "retention",
            }),
        };
        let id = format!("{}.gap.{next}-{last_missing}", self.epoch);
        let gap = gap
            .unlogged(id, Some(last_missing))
            .map_err(|_| log::STRANGE)?;
        Ok(Some(Delivery::Logged(Arc::new(gap))))
    }

    fn logged(&mut self, event: Event) -> Delivery {
        self.last = event.sequence.unwrap_or(self.last);
        Delivery::Logged(Arc::new(event))
    }
}
