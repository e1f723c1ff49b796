//! The log: every event that is not live only, until it is trimmed.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use uuid::Uuid;

use super::{Draft, Event, Feed, Kind, Told};
use crate::db::{Db, DbError, Line, Param, Row, Sql, Tx, sql};

/// The migrations of feeds and events.
pub const LINE: Line = Line {
    name: "event",
    sqlite: &[
        (
            1,
            "event",
            include_str!("../../migrations/sqlite/event/0001_event.sql"),
        ),
        (
            2,
            "sequence",
            include_str!("../../migrations/sqlite/event/0002_sequence.sql"),
        ),
    ],
    postgres: &[
        (
            1,
            "event",
            include_str!("../../migrations/postgres/event/0001_event.sql"),
        ),
        (
            2,
            "sequence",
            include_str!("../../migrations/postgres/event/0002_sequence.sql"),
        ),
    ],
};

/// Events that are trimmed in one transaction, at most.
const TRIM_MAX: i64 = 500;

/// The sequence of a feed's last event, in a statement that has the feed's row.
macro_rules! head {
    () => {
        "{greatest}(feed.trimmed, COALESCE((SELECT MAX(last.sequence) FROM event last \
         WHERE last.feed_id = feed.id), 0))"
    };
}

/// $1 feed, $2 an epoch.
static OPEN: Sql =
    sql!("INSERT INTO feed (id, epoch, trimmed) VALUES ($1, $2, 0) ON CONFLICT (id) DO NOTHING");

static LOCK: Sql = sql!("SELECT id FROM feed WHERE id = $1 {for_update}");

/// Nothing happens if there is no such feed. $1 feed, $2 events in their order, each a JSON array of id,
/// type, subject and data.
static INSERT: Sql = sql!(
    // Reckoned once: what the statement adds must not be walked past for each event.
    "WITH stands AS MATERIALIZED (SELECT feed.id, ",
    head!(),
    " AS head FROM feed WHERE feed.id = $1) \
     INSERT INTO event (feed_id, sequence, id, type, subject, time, data) \
     SELECT stands.id, stands.head + each.place, each.value ->> 0, each.value ->> 1, \
     each.value ->> 2, {now}, each.value ->> 3 FROM stands, {each:$2} WHERE TRUE"
);

static PLACE: Sql = sql!(
    "SELECT epoch, ",
    head!(),
    ", trimmed FROM feed WHERE id = $1"
);

/// $1 feed, $2 sequence to go on after, $3 limit.
static READ: Sql = sql!(
    "SELECT sequence, id, type, subject, time, data FROM event \
     WHERE feed_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3"
);

static FEEDS: Sql = sql!("SELECT id, trimmed FROM feed WHERE id > $1 ORDER BY id LIMIT 100");

/// The last of the oldest events that is older than that. $1 feed, $2 sequence to go on after,
/// $3 milliseconds, $4 limit.
static OLD: Sql = sql!(
    "SELECT CAST(MAX(sequence) AS BIGINT) FROM (SELECT sequence, time FROM event \
     WHERE feed_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $4) oldest \
     WHERE time < (SELECT {now} - $3)"
);

/// $1 feed, $2 sequence.
static TRIM: Sql = sql!("DELETE FROM event WHERE feed_id = $1 AND sequence <= $2");

/// $1 feed, $2 sequence.
static TRIMMED: Sql = sql!("UPDATE feed SET trimmed = $2 WHERE id = $1 AND trimmed < $2");

/// All of them, so that a test can prepare each on both engines.
#[cfg(test)]
pub(super) static ALL: &[&Sql] = &[
    &OPEN, &LOCK, &INSERT, &PLACE, &READ, &FEEDS, &OLD, &TRIM, &TRIMMED,
];

/// Writes an event within the transaction of what it tells of: see [`record_all`].
///
/// # Errors
/// The database's.
pub async fn record(tx: &mut Tx, draft: Draft) -> Result<(), DbError> {
    record_all(tx, vec![draft]).await
}

/// Writes events within the transaction of what they tell of. Those of one feed keep their order.
///
/// Call it last in a transaction, and once: it locks the feeds, in the order of their names, until the
/// commit, which is what makes the order of the sequence that of the commits.
///
/// # Errors
/// The database's.
pub async fn record_all(tx: &mut Tx, drafts: Vec<Draft>) -> Result<(), DbError> {
    let mut feeds = BTreeMap::<String, Vec<[String; 4]>>::new();
    for draft in drafts {
        feeds.entry(draft.feed.to_string()).or_default().push([
            Uuid::new_v4().to_string(),
            draft.kind.as_str().to_owned(),
            draft.subject,
            draft.data.to_string(),
        ]);
    }
    for (feed, events) in feeds {
        let events = serde_json::json!(events).to_string();
        let params = [Param::Text(&feed), Param::Text(&events)];
        // Before the statement that counts: it has to see what was committed by whom this waits for.
        let is_there = tx.lock(&LOCK, &params[..1]).await?;
        if !is_there || tx.execute(&INSERT, &params).await? == 0 {
            let epoch = new_epoch();
            tx.execute(&OPEN, &[params[0], Param::Text(&epoch)]).await?;
            tx.lock(&LOCK, &params[..1]).await?;
            tx.execute(&INSERT, &params).await?;
        }
    }
    Ok(())
}

/// For a feed that may be made just now.
fn new_epoch() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Where a feed stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Tells this database's feed from another's.
    pub(super) epoch: String,
    /// The sequence of its last event.
    pub(super) head: u64,
    /// The sequence of the last one that the log no longer has.
    pub(super) trimmed: u64,
}

/// Where `feed` stands. A feed on which nothing has happened yet is made.
pub(super) async fn place(db: &Db, feed: &Feed) -> Result<Place, DbError> {
    let name = feed.to_string();
    if let Some(place) = find(db, &name).await? {
        return Ok(place);
    }
    let opened = name.clone();
    db.write(move |tx| {
        let name = opened.clone();
        async move {
            let epoch = new_epoch();
            tx.execute(&OPEN, &[Param::Text(&name), Param::Text(&epoch)])
                .await
        }
        .boxed()
    })
    .await?;
    find(db, &name).await?.ok_or(STRANGE)
}

async fn find(db: &Db, feed: &str) -> Result<Option<Place>, DbError> {
    db.read(|tx| {
        let feed = feed.to_owned();
        async move {
            let row = tx.fetch_optional(&PLACE, &[Param::Text(&feed)]).await?;
            row.as_ref().map(place_of).transpose()
        }
        .boxed()
    })
    .await
}

fn place_of(row: &Row) -> Result<Place, DbError> {
    Ok(Place {
        epoch: row.text(0)?.to_owned(),
        head: count(row, 1)?,
        trimmed: count(row, 2)?,
    })
}

/// Up to `limit` events of `feed` after `after`, and what had been trimmed from it before them.
pub(super) async fn read(
    db: &Db,
    feed: &Feed,
    after: u64,
    limit: u32,
) -> Result<(u64, Vec<Event>), DbError> {
    let name = feed.to_string();
    let read = db.read(|tx| {
        let name = name.clone();
        async move {
            let params = [
                Param::Text(&name),
                Param::Int(i64::try_from(after).unwrap_or(i64::MAX)),
                Param::Int(limit.into()),
            ];
            let rows = tx.fetch_all(&READ, &params).await?;
            // After the events: what is trimmed in between is then known to be.
            let place = tx.fetch_optional(&PLACE, &[Param::Text(&name)]).await?;
            let trimmed = place.map_or(Ok(0), |row| count(&row, 2))?;
            Ok((trimmed, rows))
        }
        .boxed()
    });
    let (trimmed, rows) = read.await?;
    let event = |row: &Row| {
        let told = Told {
            feed: feed.clone(),
            sequence: Some(count(row, 0)?),
            id: row.text(1)?.to_owned(),
            kind: Kind::parse(row.text(2)?).ok_or(STRANGE)?,
            subject: row.text(3)?.to_owned(),
            time: row.int(4)?,
            data: serde_json::from_str(row.text(5)?).map_err(|_| STRANGE)?,
        };
        told.event().map_err(|_| STRANGE)
    };
    let events = rows.iter().map(event).collect::<Result<_, DbError>>()?;
    Ok((trimmed, events))
}

/// Removes events that are older than `keep`. Returns whether there are older ones still.
///
/// # Errors
/// The database's.
///
/// # Cancel safety
/// A dropped call has trimmed some.
pub async fn trim(db: &Db, keep: Duration) -> Result<bool, DbError> {
    let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let keep = keep.min(i64::MAX / 2);
    let (mut after, mut has_more) = (String::new(), false);
    loop {
        let feeds = db.read(|tx| {
            let after = after.clone();
            async move { tx.fetch_all(&FEEDS, &[Param::Text(&after)]).await }.boxed()
        });
        let feeds = feeds.await?;
        for row in &feeds {
            has_more |= trim_one(db, row.text(0)?, row.int(1)?, keep).await?;
        }
        match feeds.last() {
            Some(last) => after = last.text(0)?.to_owned(),
            None => return Ok(has_more),
        }
    }
}

/// Whether there may be more to trim.
async fn trim_one(db: &Db, feed: &str, trimmed: i64, keep: i64) -> Result<bool, DbError> {
    let old = db.read(|tx| {
        let feed = feed.to_owned();
        async move {
            let params = [
                Param::Text(&feed),
                Param::Int(trimmed),
                Param::Int(keep),
                Param::Int(TRIM_MAX),
            ];
            let row = tx.fetch_optional(&OLD, &params).await?;
            row.map_or(Ok(None), |row| row.opt_int(0))
        }
        .boxed()
    });
    let Some(last) = old.await? else {
        return Ok(false);
    };
    let feed = feed.to_owned();
    let trim = db.write(move |tx| {
        let feed = feed.clone();
        async move {
            let params = [Param::Text(&feed), Param::Int(last)];
            tx.execute(&TRIM, &params).await?;
            tx.execute(&TRIMMED, &params).await
        }
        .boxed()
    });
    trim.await?;
    Ok(last - trimmed >= TRIM_MAX)
}

/// Every event, for tests: feed by feed, each without a hole.
#[cfg(test)]
pub(crate) async fn all(db: &Db) -> Result<Vec<Event>, DbError> {
    static NAMES: Sql = sql!("SELECT id FROM feed ORDER BY id");
    let names = db.read(|tx| async move { tx.fetch_all(&NAMES, &[]).await }.boxed());
    let mut all = Vec::new();
    for row in names.await? {
        let feed = Feed::parse(row.text(0)?).ok_or(STRANGE)?;
        let (_, events) = read(db, &feed, 0, u32::MAX).await?;
        for (place, event) in (1..).zip(events) {
            assert_eq!(event.sequence, Some(place), "{event:?}");
            all.push(event);
        }
    }
    Ok(all)
}

/// A row that nothing of this module writes.
pub(super) const STRANGE: DbError = DbError::Aborted("a row of a feed holds what it never should");

fn count(row: &Row, column: usize) -> Result<u64, DbError> {
    u64::try_from(row.int(column)?).map_err(|_| STRANGE)
}
