//! Whether the machine has been up since this data directory was last served.
//!
//! After a crash of the process alone the kernel still has every byte that was written. After a
//! reboot, or when the file system was mounted anew, it may have none that was not synced. The
//! boot id tells the one, the mount's unique id the other; both together are kept in the database
//! by each run for the next one to compare.

use std::path::Path;

use futures_util::FutureExt;
use rustix::fs::{AtFlags, CWD, StatxFlags};

use crate::clock;
use crate::db::{Db, DbError, Param, Sql, sql};

/// `STATX_MNT_ID_UNIQUE`: never used twice while the machine is up (Linux 6.8).
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

static PUT: Sql = sql!(
    "INSERT INTO meta (key, value) VALUES ($1, $2) \
     ON CONFLICT (key) DO UPDATE SET value = excluded.value"
);
static GET: Sql = sql!("SELECT value FROM meta WHERE key = $1");

const KEY: &str = "kernel";

/// This run's identity, compared with that of the run before.
pub(super) struct Identity {
    /// `None`: it cannot be told.
    now: Option<String>,
    is_as_before: bool,
}

impl Identity {
    /// Of a server of these directories.
    pub(super) async fn of(db: &Db, dirs: [&Path; 2]) -> Result<Self, DbError> {
        let Some(now) = look(dirs) else {
            return Ok(Self {
                now: None,
                is_as_before: false,
            });
        };
        let is_as_before = read(db, KEY).await?.as_deref() == Some(now.as_str());
        Ok(Self {
            now: Some(now),
            is_as_before,
        })
    }

    /// Whether unsynced bytes are still those that were written.
    pub(super) fn is_as_before(&self) -> bool {
        self.is_as_before
    }

    /// Notes it for the next run, which will trust what it finds. So this comes after everything
    /// that is not to be trusted has been removed.
    pub(super) async fn note(self, db: &Db) -> Result<(), DbError> {
        match self.now {
            Some(now) => write(db, KEY, now).await,
            None => Ok(()),
        }
    }
}

/// What is kept in the database under `key`.
pub(super) async fn read(db: &Db, key: &'static str) -> Result<Option<String>, DbError> {
    db.read(move |tx| {
        async move {
            let row = tx.fetch_optional(&GET, &[Param::Text(key)]).await?;
            row.map(|row| row.text(0).map(str::to_owned)).transpose()
        }
        .boxed()
    })
    .await
}

/// Writes something, to see whether that works.
pub(super) async fn probe(db: &Db) -> Result<(), DbError> {
    write(db, "probed_at", clock::unix_ms().to_string()).await
}

/// Keeps something in the database under `key`.
pub(super) async fn write(db: &Db, key: &'static str, value: String) -> Result<(), DbError> {
    db.write(move |tx| {
        let value = value.clone();
        async move {
            tx.execute(&PUT, &[Param::Text(key), Param::Text(&value)])
                .await?;
            Ok(())
        }
        .boxed()
    })
    .await
}

/// What changes when unsynced bytes may have been lost. `None`: it cannot be told.
fn look(dirs: [&Path; 2]) -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let mut identity = boot.trim().to_owned();
    for dir in dirs {
        let mount = rustix::fs::statx(CWD, dir, AtFlags::empty(), MNT_ID_UNIQUE).ok()?;
        if mount.stx_mask & MNT_ID_UNIQUE.bits() == 0 {
            return None;
        }
        identity = format!("{identity} {}", mount.stx_mnt_id);
    }
    Some(identity)
}
