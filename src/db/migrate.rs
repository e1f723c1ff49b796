//! Brings the tables to what this binary expects.
//!
//! Each module owns a *line* of numbered migrations and hands it in at the start, so that no
//! module has to know another one's tables. Both engines have the same numbers and names. A
//! migration that was applied anywhere is never edited: its checksum is compared at each start.

use sha2::{Digest, Sha256};

use super::dialect::MIGRATION_LOCK;
use super::{Db, DbError, Engine, Param, Sql, Tx, sql};

/// One migration: its number, its name, its text.
pub type Step = (i64, &'static str, &'static str);

/// The migrations of one module, numbered from 1 without a gap.
///
/// Each one runs in a transaction of its own.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The module's name. It is stored: never change it.
    pub name: &'static str,
    /// The texts for SQLite.
    pub sqlite: &'static [Step],
    /// The texts for PostgreSQL, with the same numbers and names.
    pub postgres: &'static [Step],
}

/// The line that every database has: what is known about the store as a whole.
pub const CORE: Line = Line {
    name: "core",
    sqlite: &[(
        1,
        "meta",
        include_str!("../../migrations/sqlite/core/0001_meta.sql"),
    )],
    postgres: &[(
        1,
        "meta",
        include_str!("../../migrations/postgres/core/0001_meta.sql"),
    )],
};

impl Line {
    fn steps(&self, engine: Engine) -> &'static [Step] {
        match engine {
            Engine::Sqlite => self.sqlite,
            Engine::Postgres => self.postgres,
        }
    }

    /// Refuses a line whose two sides differ or whose numbers have a gap.
    fn check(&self) -> Result<(), DbError> {
        let in_step = |sides: (&Step, &Step)| (sides.0.0, sides.0.1) == (sides.1.0, sides.1.1);
        let same = self.sqlite.len() == self.postgres.len()
            && self.sqlite.iter().zip(self.postgres).all(in_step);
        let dense = (1..)
            .zip(self.sqlite)
            .all(|(number, step)| step.0 == number);
        if same && dense {
            return Ok(());
        }
        Err(DbError::refused(format!(
            "the migrations of {} are not numbered 1, 2, 3... alike for both databases",
            self.name
        )))
    }
}

const CREATE: Sql = sql!(
    "CREATE TABLE IF NOT EXISTS migration (",
    "line TEXT NOT NULL, number BIGINT NOT NULL, name TEXT NOT NULL, ",
    "checksum TEXT NOT NULL, applied_at BIGINT NOT NULL, PRIMARY KEY (line, number))",
);
const APPLIED: Sql =
    sql!("SELECT number, name, checksum FROM migration WHERE line = $1 ORDER BY number");
const RECORD: Sql = sql!(
    "INSERT INTO migration (line, number, name, checksum, applied_at) ",
    "VALUES ($1, $2, $3, $4, {now})",
);

/// Applies what is missing of `lines`, in their order. See [`Db::migrate`].
pub(super) async fn migrate(db: &Db, lines: &[Line]) -> Result<(), DbError> {
    for line in lines {
        line.check()?;
    }
    db.write(|tx| {
        Box::pin(async move {
            tx.fetch_optional(&MIGRATION_LOCK, &[]).await?;
            tx.execute(&CREATE, &[]).await
        })
    })
    .await?;
    for &line in lines {
        while let Some((number, name, _)) = db
            .write(move |tx| Box::pin(async move { apply_next(tx, line).await }))
            .await?
        {
            tracing::info!(line = line.name, number, name, "migration applied");
        }
    }
    Ok(())
}

/// Applies the first migration of a line that is missing and returns it, or `None` if none is.
///
/// All is decided under the lock, so any number of servers can start at once.
async fn apply_next(tx: &mut Tx, line: Line) -> Result<Option<Step>, DbError> {
    tx.fetch_optional(&MIGRATION_LOCK, &[]).await?;
    let steps = line.steps(tx.engine());
    let applied = tx.fetch_all(&APPLIED, &[Param::Text(line.name)]).await?;
    for (place, row) in applied.iter().enumerate() {
        let (number, name, checksum) = (row.int(0)?, row.text(1)?, row.text(2)?);
        let Some(step) = steps.get(place) else {
            return Err(DbError::refused(format!(
                "the database is newer than this binary: it has migration {number} ({name}) of \
                 {}, and this binary knows {} of that line",
                line.name,
                steps.len()
            )));
        };
        if number != step.0 || checksum != checksum_of(step.2) {
            return Err(DbError::refused(format!(
                "migration {number} ({name}) of {} is not the one that this binary has: an \
                 applied migration was edited",
                line.name
            )));
        }
    }
    let Some(&(number, name, text)) = steps.get(applied.len()) else {
        return Ok(None);
    };
    tx.run_script(text).await?;
    let checksum = checksum_of(text);
    let record = [
        Param::Text(line.name),
        Param::Int(number),
        Param::Text(name),
        Param::Text(&checksum),
    ];
    tx.execute(&RECORD, &record).await?;
    Ok(Some((number, name, text)))
}

/// SHA-256 of a migration's text, in hexadecimal.
fn checksum_of(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_line_is_in_order() {
        CORE.check().expect("the numbers of core");
    }

    #[test]
    fn sides_that_differ_are_refused() {
        let lines = [
            (&[(1, "a", "")][..], &[(1, "b", "")][..]),
            (&[(1, "a", "")], &[]),
            (&[(2, "a", "")], &[(2, "a", "")]),
        ];
        for (sqlite, postgres) in lines {
            let line = Line {
                name: "test",
                sqlite,
                postgres,
            };
            assert!(matches!(line.check(), Err(DbError::Refused(_))));
        }
    }
}
