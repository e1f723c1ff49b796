//! One SQL text for two engines.
//!
//! A statement is written once, with `$1` placeholders and portable column types, and the few
//! places where SQLite and PostgreSQL part ways are *holes* in that text. Holes are filled at
//! compile time: an unknown or unclosed one does not compile. This file is the only one that
//! may contain a fragment of SQL that just one engine understands.
//!
//! | hole | stands for |
//! |---|---|
//! | `{now}` | milliseconds since the Unix epoch by the database's clock; two in one statement may differ: see `{moment}` |
//! | `{moment}` | a table `moment` with one row, whose column `now` is one and the same `{now}` for the whole statement |
//! | `{for_update}` | lock the selected rows; SQLite's one writer needs no lock |
//! | `{for_share}` | keep the selected rows from being changed; others may do the same |
//! | `{skip_locked}` | the same, passing over rows that somebody else has locked |
//! | `{lock:$1}` | the same for the text bound to `$1`, which need not be in any row |
//! | `{list:$1}` | the texts of the JSON array bound to `$1`, as a subquery for `IN (...)` |
//! | `{each:$1}` | the elements of the JSON array bound to `$1`, as a table `each` of `place` (from 1) and `value`: `value ->> 0` is the first text in one that is an array |
//! | `{least}`, `{greatest}` | the scalar function of that name |
//! | `{bytewise}` | after an expression: order and compare text by its bytes |
//! | `{blob}` | the column type of bytes |
//!
//! `{{` is a literal brace.

use std::fmt;

/// The two database engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The embedded one.
    Sqlite,
    /// The server.
    Postgres,
}

/// A statement in the words of both engines. Built by the macro `sql!` only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sql {
    sqlite: &'static str,
    postgres: &'static str,
}

impl Sql {
    /// The text for one engine.
    pub(super) const fn text(&self, engine: Engine) -> &'static str {
        match engine {
            Engine::Sqlite => self.sqlite,
            Engine::Postgres => self.postgres,
        }
    }

    /// What `sql!` expands to. Both texts come from [`expand`].
    #[doc(hidden)]
    pub const fn from_expanded(sqlite: &'static [u8], postgres: &'static [u8]) -> Self {
        match (str::from_utf8(sqlite), str::from_utf8(postgres)) {
            (Ok(sqlite), Ok(postgres)) => Self { sqlite, postgres },
            _ => panic!("a hole splits a character"),
        }
    }
}

impl fmt::Debug for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.postgres)
    }
}

/// Builds an [`Sql`] from one text, given as one or more constant `&str` parts.
///
/// The holes are listed in [`db::dialect`](crate::db::dialect).
///
/// ```ignore
/// const COLUMNS: &str = "id, state, expires_at";
/// const EXPIRED: Sql = sql!("SELECT ", COLUMNS, " FROM upload WHERE expires_at < {now}");
/// ```
macro_rules! sql {
    ($($part:expr),+ $(,)?) => {{
        use $crate::db::dialect::{Engine, Sql, expand, expanded_len};
        const PARTS: &[&str] = &[$($part),+];
        const SQLITE: &[u8] = &expand::<{ expanded_len(PARTS, Engine::Sqlite) }>(
            PARTS,
            Engine::Sqlite,
        );
        const POSTGRES: &[u8] = &expand::<{ expanded_len(PARTS, Engine::Postgres) }>(
            PARTS,
            Engine::Postgres,
        );
        const SQL: Sql = Sql::from_expanded(SQLITE, POSTGRES);
        SQL
    }};
}
pub(crate) use sql;

/// What one hole becomes: the text before and after its argument, for each engine.
struct Hole {
    name: &'static str,
    sqlite: (&'static str, &'static str),
    postgres: (&'static str, &'static str),
}

impl Hole {
    /// A hole without an argument.
    const fn plain(name: &'static str, sqlite: &'static str, postgres: &'static str) -> Self {
        Self {
            name,
            sqlite: (sqlite, ""),
            postgres: (postgres, ""),
        }
    }
}

const HOLES: &[Hole] = &[
    Hole::plain(
        "now",
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
        "(extract(epoch from clock_timestamp()) * 1000)::bigint",
    ),
    Hole::plain(
        "moment",
        "(SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now) moment",
        // Volatile, so it is not taken apart and read twice.
        "(SELECT (extract(epoch from clock_timestamp()) * 1000)::bigint AS now) moment",
    ),
    Hole::plain("for_update", "", "FOR UPDATE"),
    Hole::plain("for_share", "", "FOR SHARE"),
    Hole::plain("skip_locked", "", "FOR UPDATE SKIP LOCKED"),
    Hole {
        name: "lock",
        sqlite: ("CAST(", " AS TEXT)"),
        // Two texts with one hash wait for each other, and nothing worse.
        postgres: ("pg_advisory_xact_lock(hashtextextended(", ", 0))"),
    },
    Hole {
        name: "list",
        sqlite: ("SELECT value FROM json_each(", ")"),
        postgres: ("SELECT value FROM json_array_elements_text(", "::json)"),
    },
    Hole {
        name: "each",
        sqlite: (
            "(SELECT key + 1 AS place, value FROM json_each(",
            ")) AS each",
        ),
        postgres: (
            "json_array_elements(",
            "::json) WITH ORDINALITY AS each (value, place)",
        ),
    },
    Hole::plain("least", "min", "least"),
    Hole::plain("greatest", "max", "greatest"),
    Hole::plain("bytewise", "COLLATE BINARY", "COLLATE \"C\""),
    Hole::plain("blob", "BLOB", "BYTEA"),
];

/// Begins the writer's transaction. Taking the lock at once leaves no statement that can find
/// the database busy later on.
pub(super) const SQLITE_BEGIN: &str = "BEGIN IMMEDIATE";
/// Begins a read of several statements that see one moment.
pub(super) const SQLITE_BEGIN_SNAPSHOT: &str = "BEGIN DEFERRED";
/// Ends a transaction and keeps it.
pub(super) const SQLITE_COMMIT: &str = "COMMIT";
/// Ends a transaction and forgets it.
pub(super) const SQLITE_ROLLBACK: &str = "ROLLBACK";

/// Brings the whole write-ahead log into the database file and lets the next write begin it
/// anew. The log keeps its size on the disk.
pub(super) const SQLITE_CHECKPOINT: &str = "PRAGMA wal_checkpoint(RESTART)";
/// How many pages the database has.
pub(super) const SQLITE_PAGES: &str = "PRAGMA page_count";

/// Limits how many pages the database may have.
pub(super) fn sqlite_limit(pages: i64) -> String {
    format!("PRAGMA max_page_count = {pages}")
}

/// Begins a write. The level is named because a server's default can be changed.
pub(super) const POSTGRES_BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
/// Begins a read of several statements that see one moment.
pub(super) const POSTGRES_BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Ends a transaction and keeps it.
pub(super) const POSTGRES_COMMIT: &str = "COMMIT";
/// Ends a transaction and forgets it.
pub(super) const POSTGRES_ROLLBACK: &str = "ROLLBACK";
/// Sent once on each connection. A read must not write, as on SQLite, where it cannot; and the
/// locks of a client that hangs or is gone are freed. The last four concern TCP only.
pub(super) const POSTGRES_SESSION: &str = "SET default_transaction_read_only = on; \
     SET idle_in_transaction_session_timeout = '10s'; \
     SET statement_timeout = '20s'; \
     SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; \
     SET tcp_keepalives_count = 4; SET tcp_user_timeout = '30s'";
/// Sent in the transaction of a migration, which may take as long as its tables are large.
pub(super) const POSTGRES_PATIENT: &str = "SET LOCAL statement_timeout = 0";
/// Sent once on the connection that holds the claim. When this machine is gone, the lock is free
/// after half a minute.
pub(super) const POSTGRES_CLAIM_SESSION: &str = "SET tcp_keepalives_idle = 10; \
     SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 4; \
     SET tcp_user_timeout = '30s'";
/// Takes the schema that the tables are in, as long as the connection lasts. The first number is
/// the product's name, cut short, in ASCII; any other constant would do.
pub(super) const POSTGRES_CLAIM: &str = "SELECT pg_try_advisory_lock(x'54494445'::int, \
     coalesce((SELECT oid::int FROM pg_namespace WHERE nspname = current_schema()), 0))";
/// What decides whether a commit survives a power loss.
pub(super) const POSTGRES_DURABILITY: &str =
    "SELECT current_setting('fsync'), current_setting('synchronous_commit')";

/// Keeps two servers from migrating one database at the same time, until the transaction ends.
/// On SQLite the write transaction itself does.
pub(super) const MIGRATION_LOCK: Sql = Sql {
    sqlite: "SELECT 1",
    // The number is the product's name in ASCII; any other constant would do.
    postgres: "SELECT pg_advisory_xact_lock(x'5449444547415445'::bigint)",
};

/// How many bytes [`expand`] fills.
#[doc(hidden)]
pub const fn expanded_len(parts: &[&str], engine: Engine) -> usize {
    fill(parts, engine, &mut [])
}

/// The parts joined, with every hole filled for `engine`. `N` is [`expanded_len`].
#[doc(hidden)]
pub const fn expand<const N: usize>(parts: &[&str], engine: Engine) -> [u8; N] {
    let mut out = [0; N];
    fill(parts, engine, &mut out);
    out
}

/// Writes the expanded text into `out` as far as it fits and returns its whole length.
const fn fill(parts: &[&str], engine: Engine, out: &mut [u8]) -> usize {
    let mut len = 0;
    let mut part = 0;
    while part < parts.len() {
        let text = parts[part].as_bytes();
        let mut at = 0;
        while at < text.len() {
            if text[at] != b'{' {
                len = put(text, at, at + 1, out, len);
                at += 1;
            } else if at + 1 < text.len() && text[at + 1] == b'{' {
                len = put(text, at, at + 1, out, len);
                at += 2;
            } else {
                let end = find(text, at, b'}');
                len = fill_hole(text, at + 1, end, engine, out, len);
                at = end + 1;
            }
        }
        part += 1;
    }
    len
}

/// Expands the hole whose name and argument are `text[from..to]`.
const fn fill_hole(
    text: &[u8],
    from: usize,
    to: usize,
    engine: Engine,
    out: &mut [u8],
    len: usize,
) -> usize {
    let mut name_end = from;
    while name_end < to && text[name_end] != b':' {
        name_end += 1;
    }
    let argument = if name_end < to { name_end + 1 } else { to };
    let mut hole = 0;
    while hole < HOLES.len() {
        if same(text, from, name_end, HOLES[hole].name.as_bytes()) {
            let (before, after) = match engine {
                Engine::Sqlite => HOLES[hole].sqlite,
                Engine::Postgres => HOLES[hole].postgres,
            };
            assert!(
                (argument < to) != after.is_empty(),
                "this hole takes an argument where none is given, or the reverse"
            );
            let len = put(before.as_bytes(), 0, before.len(), out, len);
            let len = put(text, argument, to, out, len);
            return put(after.as_bytes(), 0, after.len(), out, len);
        }
        hole += 1;
    }
    panic!("unknown hole: see the table in db/dialect.rs")
}

/// Appends `text[from..to]` at `len`, dropping what does not fit; returns the new length.
const fn put(text: &[u8], from: usize, to: usize, out: &mut [u8], len: usize) -> usize {
    let mut i = from;
    while i < to {
        if len + i - from < out.len() {
            out[len + i - from] = text[i];
        }
        i += 1;
    }
    len + to - from
}

/// The first `byte` at or after `from`.
const fn find(text: &[u8], from: usize, byte: u8) -> usize {
    let mut at = from;
    while at < text.len() {
        if text[at] == byte {
            return at;
        }
        at += 1;
    }
    panic!("a hole is not closed")
}

/// Whether `text[from..to]` is `name`.
const fn same(text: &[u8], from: usize, to: usize, name: &[u8]) -> bool {
    if to - from != name.len() {
        return false;
    }
    let mut i = 0;
    while i < name.len() {
        if text[from + i] != name[i] {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_holes_stays_as_it_is() {
        let sql = sql!("SELECT 'ü}' FROM t WHERE a = $1");
        assert_eq!(sql.text(Engine::Sqlite), "SELECT 'ü}' FROM t WHERE a = $1");
        assert_eq!(sql.text(Engine::Postgres), sql.text(Engine::Sqlite));
    }

    #[test]
    fn parts_are_joined_and_holes_filled() {
        const COLUMNS: &str = "a, {greatest}(b, c)";
        let sql = sql!(
            "SELECT ",
            COLUMNS,
            " FROM t WHERE d IN ({list:$1}) {for_update}"
        );
        assert_eq!(
            sql.text(Engine::Sqlite),
            "SELECT a, max(b, c) FROM t WHERE d IN (SELECT value FROM json_each($1)) "
        );
        assert_eq!(
            sql.text(Engine::Postgres),
            "SELECT a, greatest(b, c) FROM t WHERE d IN \
             (SELECT value FROM json_array_elements_text($1::json)) FOR UPDATE"
        );
    }

    #[test]
    fn a_doubled_brace_is_a_brace() {
        let sql = sql!("SELECT '{{}', '{{now}'");
        assert_eq!(sql.text(Engine::Sqlite), "SELECT '{}', '{now}'");
    }

    #[test]
    #[should_panic(expected = "unknown hole")]
    fn an_unknown_hole_is_refused() {
        expanded_len(&["SELECT {nwo}"], Engine::Sqlite);
    }

    #[test]
    #[should_panic(expected = "not closed")]
    fn an_open_hole_is_refused() {
        expanded_len(&["SELECT {now"], Engine::Sqlite);
    }

    #[test]
    #[should_panic(expected = "takes an argument")]
    fn a_missing_argument_is_refused() {
        expanded_len(&["SELECT 1 WHERE 'a' IN ({list})"], Engine::Sqlite);
    }
}
