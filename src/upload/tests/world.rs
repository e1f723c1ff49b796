//! What survives a process: rows and blobs. And the process: the module over them.

use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::dialect::{Settings, rufh};
use tidegate_protocol::field::offset;
use tidegate_protocol::problem::Problem;
use tidegate_protocol::request::{Append, Completion, Overrun, Protocol};
use tidegate_protocol::upload::Limits;

use super::script::Script;
use crate::access::{self, DEFAULT_OF_LOCAL};
use crate::auth::{Authenticator, Caller, Capabilities};
use crate::blob::memory::MemoryStore as MemoryBlobs;
use crate::blob::{BlobStore, Digests};
use crate::cancel::{CancelReason, Scope};
use crate::clock;
use crate::event::Operations;
use crate::http::{Body, Cors, Origin, Route, StallLimits};
use crate::id::UploadId;
use crate::upload::memory::MemoryStore as MemoryRows;
use crate::upload::receive::{self, Received, Sender};
use crate::upload::recover::Tails;
use crate::upload::store::{NewFinal, NewUpload, State, Upload, UploadStore};
use crate::upload::sweep::Sweeper;
use crate::upload::{self, Config, Deps, Metrics, Uploads};
use crate::work::{Next, Worker};

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// Rows and blobs, as a process finds and leaves them.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) rows: MemoryRows,
    pub(super) blobs: MemoryBlobs,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// The kernel still has what was written.
    Kill,
    /// Only what was synced is left.
    PowerLoss,
}

/// Content that tells where each byte belongs.
pub(super) fn content(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at.wrapping_mul(167) ^ (at >> 8)).to_le_bytes()[0])
        .collect()
}

pub(super) fn sha256(content: &[u8]) -> String {
    let mut digests = Digests::sha256();
    digests.update(content);
    digests.whole_hex().unwrap()
}

pub(super) fn config() -> Config {
    Config {
        settings: Settings {
            limits: Limits {
                size_max: None,
                append_max: None,
                append_min: None,
                checkpoint_bytes: 16,
            },
            metadata_bytes_max: 1_000,
            expires_after: Some(3_600),
            interop_max: rufh::NEWEST,
        },
        interims_max: 5,
        images_max: 100,
        streams_max: None,
        creations_per_second: None,
        skip_bytes_max: 1 << 20,
        digest: true,
        expires_after: HOUR,
        tombstone_keep: HOUR,
        checkpoint_interval: Duration::from_secs(2),
        stall: StallLimits {
            timeout: Duration::from_secs(30),
            rate_min: 1,
        },
        cors: Cors::Off,
        origin: Origin::Request,
    }
}

/// The module over any stores, in a process of its own.
pub(super) fn uploads_over(
    store: Arc<dyn UploadStore>,
    blobs: Arc<dyn BlobStore>,
    config: Config,
) -> Arc<Uploads> {
    let auth = Authenticator::new(None, Capabilities::new(&[7; 32], clock::unix_ms));
    Arc::new(Uploads::new(deps(store, blobs, auth), config))
}

fn deps(store: Arc<dyn UploadStore>, blobs: Arc<dyn BlobStore>, auth: Authenticator) -> Deps {
    Deps {
        store,
        blobs,
        scope: Scope::root("uploads"),
        metrics: Metrics::default(),
        operations: Operations::default(),
        access: access::Changes::new(),
        auth,
        tails_are_good: false,
    }
}

/// An append at `offset` as tus asks for it.
pub(super) fn append_at(offset: u64) -> Append {
    Append {
        offset,
        length: None,
        content_length: None,
        checksum: None,
        completion: Completion::AtLength,
        overrun: Overrun::KeepToLength,
    }
}

/// Whose everything is.
pub(super) fn somebody() -> Caller {
    Caller::named("somebody")
}

pub(super) fn new_upload(length: Option<u64>) -> NewUpload {
    let nothing = Digests::sha256();
    NewUpload {
        id: UploadId::random(),
        named: false,
        project: None,
        caller: somebody(),
        partial: false,
        length,
        metadata: String::new(),
        protocol: Protocol::Tus,
        expected_sha256: None,
        digest: nothing.save(),
        sha256_of_nothing: nothing.whole_hex(),
        expires_after: HOUR,
    }
}

pub(super) fn new_final(parts: Vec<UploadId>) -> NewFinal {
    NewFinal {
        id: UploadId::random(),
        named: false,
        project: None,
        caller: somebody(),
        parts,
        metadata: String::new(),
        concat: String::from("final;"),
        size_max: offset::MAX,
    }
}

/// One who sends what the script says and is told nothing meanwhile.
pub(super) fn sender(script: Script) -> Sender {
    Sender {
        caller: somebody(),
        body: Body::new(script),
        interims: None,
        location: None,
        stream: None,
    }
}

/// Sends one append through the module.
pub(super) async fn send(
    uploads: &Arc<Uploads>,
    id: UploadId,
    append: Append,
    script: Script,
) -> Received {
    receive::append(uploads, id, append, sender(script)).await
}

impl World {
    /// A new process.
    pub(super) fn uploads(&self) -> Arc<Uploads> {
        self.rows.open(DEFAULT_OF_LOCAL, Caller::LOCAL);
        uploads_over(
            Arc::new(self.rows.clone()),
            Arc::new(self.blobs.clone()),
            config(),
        )
    }

    /// The routes of a process that asks who is calling.
    pub(super) fn routes(&self, auth: &Authenticator) -> Vec<Route> {
        let (store, blobs) = (Arc::new(self.rows.clone()), Arc::new(self.blobs.clone()));
        let deps = deps(store, blobs, auth.clone());
        upload::mount(deps, config()).0.routes
    }

    /// The next process after one that has ended like this, with all that it does at its start.
    pub(super) async fn restarted(&self, crash: Crash) -> Arc<Uploads> {
        if crash == Crash::PowerLoss {
            self.blobs.lose_power();
        }
        let uploads = self.uploads();
        let mut tails = Tails::new(&uploads, crash == Crash::Kill);
        tails.prepare().await.unwrap();
        while tails.work().await == Next::Now {}
        uploads
    }

    /// The row, which must be there.
    pub(super) fn row(&self, id: UploadId) -> Upload {
        self.rows.row(id).expect("the row is there")
    }

    /// Checks what must be true at any time: the committed bytes are there, are those that were
    /// sent, and the digest is theirs.
    #[track_caller]
    pub(super) fn assert_sound(&self, id: UploadId, sent: &[u8], about: &str) {
        let row = self.row(id);
        let committed = usize::try_from(row.offset).unwrap();
        assert!(committed <= sent.len(), "{about}: {row:?}");
        if !matches!(row.state, State::Uploading | State::Completed) {
            return;
        }
        let blob = self.blobs.content(id);
        assert!(
            blob.len() >= committed,
            "{about}: {} bytes of {committed}",
            blob.len()
        );
        assert_eq!(
            blob[..committed],
            sent[..committed],
            "{about}: not the bytes that were sent"
        );
        match row.state {
            State::Completed => {
                assert_eq!(row.length, Some(row.offset), "{about}: {row:?}");
                assert_eq!(row.sha256, Some(sha256(sent)), "{about}");
                assert_eq!(committed, sent.len(), "{about}");
            }
            _ => {
                let digests = Digests::resume(row.digest.as_deref()).unwrap();
                assert_eq!(
                    digests.whole_hex(),
                    Some(sha256(&sent[..committed])),
                    "{about}"
                );
                assert_ne!(
                    row.length,
                    Some(row.offset),
                    "{about}: it is whole and not complete"
                );
            }
        }
    }

    /// Sends what is missing of `sent` and checks that the upload is complete then.
    pub(super) async fn finish(
        &self,
        uploads: &Arc<Uploads>,
        id: UploadId,
        sent: &[u8],
        about: &str,
    ) {
        let row = uploads.settled(id, &somebody()).await.unwrap().upload;
        let rest = &sent[usize::try_from(row.offset).unwrap()..];
        let append = Append {
            length: row.length.is_none().then_some(sent.len() as u64),
            ..append_at(row.offset)
        };
        let received = send(uploads, id, append, Script::new(Script::sending(rest, 7))).await;
        assert_eq!(received.problem, None, "{about}");
        let told = received.upload.map(|upload| upload.offset);
        assert_eq!(told, Some(sent.len() as u64), "{about}");
        self.assert_sound(id, sent, about);
        assert_eq!(self.row(id).state, State::Completed, "{about}");
        assert_eq!(self.blobs.content(id), sent, "{about}");
    }
}

/// Runs a story on a clock that moves while there is always something to run: a millisecond in each
/// round of the scheduler, so that what takes some rounds takes some time, too.
pub(super) fn on_a_moving_clock<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .event_interval(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let clock = Scope::root("clock");
        let stopped = clock.clone();
        drop(clock.spawn(async move {
            while stopped.reason().is_none() {
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        }));
        let told = story.await;
        clock.cancel(CancelReason::Shutdown);
        told
    })
}

/// One round of everything that is done in the background.
pub(super) async fn sweep(uploads: &Arc<Uploads>) {
    let mut sweeper = Sweeper::new(uploads);
    while sweeper.work().await == Next::Now {}
}

/// The offset that was told together with a problem, if one was.
pub(super) fn told(received: &Received) -> (Option<u64>, Option<&Problem>) {
    (
        received.upload.as_ref().map(|upload| upload.offset),
        received.problem.as_ref(),
    )
}
