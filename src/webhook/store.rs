//! What is known of each webhook from one run to the next.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;

use crate::db::{Db, DbError, Line, Param, Row, Sql, sql};
use crate::event::Cursor;

/// The module's migrations.
pub const LINE: Line = Line {
    name: "webhook",
    sqlite: &[(
        1,
        "webhook",
        include_str!("../../migrations/sqlite/webhook/0001_webhook.sql"),
    )],
    postgres: &[(
        1,
        "webhook",
        include_str!("../../migrations/postgres/webhook/0001_webhook.sql"),
    )],
};

/// $1 a JSON array of names.
static FORGET: Sql = sql!("DELETE FROM webhook WHERE name NOT IN ({list:$1})");

static FIND: Sql = sql!("SELECT cursor FROM webhook WHERE name = $1");

/// $1 name, $2 cursor.
static MOVE: Sql = sql!(
    "INSERT INTO webhook (name, cursor) VALUES ($1, $2) \
     ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor"
);

/// $1 webhook.
static BACKLOG: Sql = sql!(
    "SELECT count(*), CAST(MIN(next_at) - {now} AS BIGINT) FROM webhook_delivery WHERE webhook = $1"
);

/// $1 webhook, $2 limit.
static DUE: Sql = sql!(
    "SELECT event_id, body, attempts FROM webhook_delivery \
     WHERE webhook = $1 AND next_at <= {now} ORDER BY next_at LIMIT $2"
);

/// $1 webhook, $2 event, $3 body, $4 attempts, $5 milliseconds from now.
static POSTPONE: Sql = sql!(
    "INSERT INTO webhook_delivery (webhook, event_id, body, attempts, next_at) \
     VALUES ($1, $2, $3, $4, {now} + $5) \
     ON CONFLICT (webhook, event_id) \
     DO UPDATE SET attempts = excluded.attempts, next_at = excluded.next_at"
);

/// $1 webhook, $2 event.
static SETTLE: Sql = sql!("DELETE FROM webhook_delivery WHERE webhook = $1 AND event_id = $2");

/// All of them, so that a test can prepare each on both engines.
#[cfg(test)]
pub(super) static ALL: &[&Sql] = &[&FORGET, &FIND, &MOVE, &BACKLOG, &DUE, &POSTPONE, &SETTLE];

/// An event that is to be delivered to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// The event's.
    pub(super) id: String,
    /// The event, in JSON.
    pub(super) body: Bytes,
    /// That have failed.
    pub(super) attempts: u32,
}

/// What waits for its next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backlog {
    pub(super) count: u64,
    /// Until the first is due.
    pub(super) due_in: Option<Duration>,
}

/// What becomes of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is over, for good or ill.
    Over,
    /// It is tried again after this time.
    Postponed(Duration),
}

/// Removes what belongs to other webhooks than these.
pub(super) async fn forget_others(db: &Db, names: &[String]) -> Result<(), DbError> {
    let names = serde_json::Value::from(names).to_string();
    db.write(move |tx| {
        let names = names.clone();
        async move { tx.execute(&FORGET, &[Param::Text(&names)]).await }.boxed()
    })
    .await?;
    Ok(())
}

/// How far a webhook is. `None`: it has not begun.
pub(super) async fn find(db: &Db, name: &str) -> Result<Option<Cursor>, DbError> {
    let row = db.read(|tx| {
        let name = name.to_owned();
        async move { tx.fetch_optional(&FIND, &[Param::Text(&name)]).await }.boxed()
    });
    let row = row.await?;
    Ok(row.and_then(|row| match row.text(0).ok()? {
        // There was no feed yet.
        "" => Some(Cursor::default()),
        // One that cannot be read is as good as none.
        text => text.parse().ok(),
    }))
}

pub(super) async fn backlog(db: &Db, name: &str) -> Result<Backlog, DbError> {
    let row = db.read(|tx| {
        let name = name.to_owned();
        async move { tx.fetch_optional(&BACKLOG, &[Param::Text(&name)]).await }.boxed()
    });
    let row = row.await?.ok_or(STRANGE)?;
    let until = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    Ok(Backlog {
        count: u64::try_from(row.int(0)?).map_err(|_| STRANGE)?,
        due_in: row.opt_int(1)?.map(until),
    })
}

/// Up to `limit` deliveries whose time has come.
pub(super) async fn due(db: &Db, name: &str, limit: u32) -> Result<Vec<Delivery>, DbError> {
    let rows = db.read(|tx| {
        let name = name.to_owned();
        async move {
            tx.fetch_all(&DUE, &[Param::Text(&name), Param::Int(limit.into())])
                .await
        }
        .boxed()
    });
    let delivery = |row: &Row| {
        Ok(Delivery {
            id: row.text(0)?.to_owned(),
            body: row.text(1)?.to_owned().into(),
            attempts: u32::try_from(row.int(2)?).map_err(|_| STRANGE)?,
        })
    };
    rows.await?.iter().map(delivery).collect()
}

/// Remembers what has become of some deliveries, and that everything before `cursor` is either over
/// or postponed.
pub(super) async fn settle(
    db: &Db,
    name: &str,
    cursor: &Cursor,
    fates: Vec<(Delivery, Fate)>,
) -> Result<(), DbError> {
    let (name, cursor) = (name.to_owned(), cursor.to_string());
    db.write(move |tx| {
        let (name, cursor, fates) = (name.clone(), cursor.clone(), fates.clone());
        async move {
            tx.execute(&MOVE, &[Param::Text(&name), Param::Text(&cursor)])
                .await?;
            for (delivery, fate) in &fates {
                let Delivery { id, body, attempts } = delivery;
                match fate {
                    Fate::Over => {
                        let params = [Param::Text(&name), Param::Text(id)];
                        tx.execute(&SETTLE, &params).await?;
                    }
                    Fate::Postponed(pause) => {
                        let body = str::from_utf8(body).map_err(|_| STRANGE)?;
                        let pause = i64::try_from(pause.as_millis()).map_err(|_| STRANGE)?;
                        let params = [
                            Param::Text(&name),
                            Param::Text(id),
                            Param::Text(body),
                            Param::Int((*attempts).into()),
                            Param::Int(pause),
                        ];
                        tx.execute(&POSTPONE, &params).await?;
                    }
                }
            }
            Ok(())
        }
        .boxed()
    })
    .await
}

/// A row that this program cannot have written.
const STRANGE: DbError = DbError::Aborted("a row of a webhook holds what it never should");
