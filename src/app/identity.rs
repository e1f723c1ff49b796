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

/// Notes this run's identity for the next one. Returns whether it is that of the run before.
pub(super) async fn renew(db: &Db, data_dir: &Path) -> Result<bool, DbError> {
    const KEY: &str = "kernel";
    let Some(now) = of(data_dir) else { return Ok(false) };
    let before = db
        .read(|tx| {
            async move {
                let row = tx.fetch_optional(&GET, &[Param::Text(KEY)]).await?;
                row.map(|row| row.text(0).map(str::to_owned)).transpose()
            }
            .boxed()
        })
        .await?;
    let same = before.as_deref() == Some(now.as_str());
    put(db, KEY, now).await?;
    Ok(same)
}

/// Writes something, to see whether that works.
pub(super) async fn probe(db: &Db) -> Result<(), DbError> {
    put(db, "probed_at", clock::unix_ms().to_string()).await
}

async fn put(db: &Db, key: &'static str, value: String) -> Result<(), DbError> {
    db.write(move |tx| {
        let value = value.clone();
        async move {
            tx.execute(&PUT, &[Param::Text(key), Param::Text(&value)]).await?;
            Ok(())
        }
        .boxed()
    })
    .await
}

/// What changes when unsynced bytes may have been lost. `None`: it cannot be told.
fn of(data_dir: &Path) -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let mount = rustix::fs::statx(CWD, data_dir, AtFlags::empty(), MNT_ID_UNIQUE).ok()?;
    if mount.stx_mask & MNT_ID_UNIQUE.bits() == 0 {
        return None;
    }
    Some(format!("{} {}", boot.trim(), mount.stx_mnt_id))
}
