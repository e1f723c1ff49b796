//! A disk that hangs: whoever writes to it waits, and nobody else does.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::power_cut::{Disk, run};
use crate::support::server::Server;
use crate::support::tus;
use crate::support::wire::Req;
use crate::support::{content, say_loudly};

/// Soon, on a busy machine; a server that waits for the disk does not answer at all.
const SOON: Duration = Duration::from_secs(5);

/// How long a sender may be silent.
const SILENT_MAX: Duration = Duration::from_secs(2);

/// A file system on which every write waits, until it is dropped. Declare it before its server.
struct Frozen<'d>(&'d Path);

impl<'d> Frozen<'d> {
    fn freeze(path: &'d Path) -> Self {
        run(Command::new("fsfreeze").arg("-f").arg(path)).expect("freeze");
        Self(path)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(e) = run(Command::new("fsfreeze").arg("-u").arg(self.0)) {
            say_loudly(&format!("{} stays frozen: {e}", self.0.display()));
        }
    }
}

#[tokio::test]
async fn everything_else_goes_on_while_a_write_hangs() {
    const BYTES: usize = 100_000;
    let disk = match Disk::try_make("ext4") {
        Ok(disk) => disk,
        Err(reason) => return say_loudly(&format!("NOT TESTED: a disk that hangs: {reason}")),
    };
    let store = format!("file:{}", disk.path().display());
    let silent_max = format!("{}s", SILENT_MAX.as_secs());
    let flags = ["--store", &store, "--stall-timeout", &silent_max];
    let server = Server::start(&flags).await;
    let source = content(1, BYTES);
    for _ in 0..3 {
        let upload = server.create(BYTES as u64).await;
        let mut sender = server.connect().await;
        sender
            .send_head_and_wait(tus::patch(&upload, 0).declare(BYTES as u64))
            .await;
        sender.send(&source[..10]).await;
        server.quiesce().await;
        let frozen = Frozen::freeze(disk.path());
        sender.send(&source[10..]).await;
        // Longer than a sender may be silent: this one is not to blame.
        let end = Instant::now() + SILENT_MAX + SILENT_MAX / 2;
        while Instant::now() < end {
            for target in ["/healthz", "/api/uploads/none"] {
                let answer = timeout(SOON, server.try_send(Req::new("GET", target))).await;
                let answer = answer.expect("others are answered soon");
                assert!(matches!(answer.expect("an answer").status, 200 | 400));
            }
        }
        drop(frozen);
        sender
            .answer()
            .await
            .expect(204)
            .expect_offset(BYTES as u64);
        assert_eq!(server.download(&upload).await, source);
    }
}
