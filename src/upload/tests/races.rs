//! Requests that meet at one upload, on threads, over stores in memory and over SQLite with files.
//! Whoever comes first: rows, bytes and answers tell one story. A failure prints its seed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tidegate_protocol::problem::Problem;

use super::script::{Piece, Script};
use super::world::{
    World, append_at, config, content, new_final, new_upload, send, sha256, somebody, sweep,
    uploads_over,
};
use crate::access;
use crate::blob::local::LocalStore;
use crate::blob::{BlobStore, Digests};
use crate::cancel::{Scope, Settling, Task};
use crate::db::conformance::open;
use crate::db::{CORE, Db, DbUrl, Durability};
use crate::event::{Hub, log};
use crate::id::UploadId;
use crate::upload::Uploads;
use crate::upload::migrations::LINE;
use crate::upload::receive::Received;
use crate::upload::sql::SqlStore;
use crate::upload::store::{NewUpload, State, Upload, UploadStore};

const BYTES: usize = 300;
const ROUNDS_IN_MEMORY: u64 = 300;
const ROUNDS_ON_DISK: u64 = 60;

/// Where requests meet.
struct Arena {
    store: Arc<dyn UploadStore>,
    blobs: Arc<dyn BlobStore>,
    uploads: Arc<Uploads>,
    rng: Rng,
    seed: u64,
}

impl Arena {
    fn over(store: Arc<dyn UploadStore>, blobs: Arc<dyn BlobStore>, seed: u64) -> Self {
        let uploads = uploads_over(store.clone(), blobs.clone(), config());
        Self {
            store,
            blobs,
            uploads,
            rng: Rng::with_seed(seed),
            seed,
        }
    }

    /// Some content of [`BYTES`], unlike that of another `kind`, in frames of any size.
    fn sending(&mut self, kind: u8) -> (Vec<u8>, Script) {
        let content: Vec<u8> = content(BYTES).iter().map(|byte| byte ^ kind).collect();
        let mut pieces = Vec::new();
        let mut rest = &content[..];
        while !rest.is_empty() {
            let (frame, later) = rest.split_at(self.rng.usize(1..=rest.len().min(80)));
            pieces.extend(Script::sending(frame, 80));
            pieces.extend((0..self.rng.usize(0..3)).map(|_| Piece::Wait));
            rest = later;
        }
        (content, Script::new(pieces))
    }

    async fn create(&self, partial: bool) -> UploadId {
        let new = NewUpload {
            partial,
            ..new_upload(Some(BYTES as u64))
        };
        self.store.create(new).await.unwrap().unwrap().upload.id
    }

    fn append(&self, id: UploadId, script: Script) -> Task<Received> {
        let uploads = self.uploads.clone();
        Scope::root("client").spawn(async move { send(&uploads, id, append_at(0), script).await })
    }

    fn cancel(&self, id: UploadId) -> Task<Result<(), Problem>> {
        let uploads = self.uploads.clone();
        Scope::root("client").spawn(async move { uploads.delete(id).await })
    }

    async fn row(&self, id: UploadId) -> Option<Upload> {
        self.store.find(id).await.unwrap()
    }

    async fn content(&self, id: UploadId) -> Option<Vec<u8>> {
        let len = self.blobs.lens(vec![id]).await.pop()?.unwrap()?;
        Some(self.blobs.read(id, 0..len).await.unwrap().to_vec())
    }

    /// Waits until nothing is under way, then does what is left to do in the background.
    async fn settle(&self) {
        let settled = self.uploads.scope.settle(Duration::from_secs(60)).await;
        assert_eq!(settled, Settling::Settled, "seed {}", self.seed);
        sweep(&self.uploads).await;
    }
}

async fn database(dir: &Path) -> Db {
    let db = open(DbUrl::Sqlite(dir.join("test.db")), Durability::ProcessCrash)
        .await
        .unwrap();
    db.migrate(&[CORE, log::LINE, access::LINE, LINE])
        .await
        .unwrap();
    db
}

/// Runs the meeting many times over stores of both kinds.
async fn often(meet: impl AsyncFn(&mut Arena)) {
    for seed in 0..ROUNDS_IN_MEMORY {
        let world = World::default();
        world.rows.slow_down(Rng::with_seed(seed).usize(0..4));
        let blobs = Arc::new(world.blobs.clone());
        meet(&mut Arena::over(Arc::new(world.rows.clone()), blobs, seed)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path()).await;
    let blobs = Arc::new(LocalStore::open(dir.path(), false).unwrap());
    for seed in 0..ROUNDS_ON_DISK {
        let store = Arc::new(SqlStore::new(
            db.clone(),
            Hub::new(db.clone(), Scope::root("feeds")),
            access::Changes::new(),
        ));
        meet(&mut Arena::over(store, blobs.clone(), seed)).await;
    }
    db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_appends_at_one_offset() {
    often(async |arena| {
        let seed = arena.seed;
        let id = arena.create(false).await;
        let (one, first) = arena.sending(0);
        let (other, second) = arena.sending(0xff);
        let tasks = [arena.append(id, first), arena.append(id, second)];
        let mut answers = Vec::new();
        for task in tasks {
            answers.push(task.await.unwrap());
        }
        arena.settle().await;
        let row = arena.row(id).await.unwrap();
        let committed = usize::try_from(row.offset).unwrap();
        let stored = arena.content(id).await.unwrap_or_default();
        assert_eq!(stored.len(), committed, "seed {seed}");
        let whose: Vec<usize> = [&one, &other]
            .iter()
            .enumerate()
            .filter_map(|(sender, sent)| (sent[..committed] == stored).then_some(sender))
            .collect();
        assert!(
            !whose.is_empty(),
            "seed {seed}: {committed} bytes are a mixture"
        );
        for (sender, answer) in answers.iter().enumerate() {
            match &answer.problem {
                None => {
                    assert_eq!(row.state, State::Completed, "seed {seed}");
                    assert_eq!(whose, [sender], "seed {seed}: the other one was told");
                    assert_eq!(
                        row.sha256,
                        Some(sha256([&one, &other][sender])),
                        "seed {seed}"
                    );
                }
                Some(Problem::UploadSuperseded | Problem::OffsetMismatch { .. }) => {}
                Some(problem) => panic!("seed {seed}: {problem:?}"),
            }
            let told = answer.upload.as_ref().map_or(0, |upload| upload.offset);
            assert!(
                told <= row.offset,
                "seed {seed}: {told} were told, {} are there",
                row.offset
            );
        }
        if row.state != State::Completed {
            let digests = Digests::resume(row.digest.as_deref()).unwrap();
            assert_eq!(digests.whole_hex(), Some(sha256(&stored)), "seed {seed}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_and_a_cancel() {
    often(async |arena| {
        let seed = arena.seed;
        let id = arena.create(false).await;
        let (_, script) = arena.sending(0);
        let appended = arena.append(id, script);
        for _ in 0..arena.rng.usize(0..40) {
            tokio::task::yield_now().await;
        }
        let cancelled = arena.cancel(id).await.unwrap();
        assert_eq!(cancelled, Ok(()), "seed {seed}");
        let row = arena.row(id).await;
        let appended = appended.await.unwrap();
        match appended.problem {
            // It was whole before it was cancelled.
            None => {
                let told = appended.upload.map(|upload| upload.offset);
                assert_eq!(told, Some(BYTES as u64), "seed {seed}");
                let state = row.as_ref().map(|row| row.state);
                assert!(
                    matches!(state, None | Some(State::Deleting)),
                    "seed {seed}: {state:?}"
                );
            }
            Some(Problem::UploadCancelled { at, .. }) => {
                let row = row.expect("its tombstone stays");
                assert!(
                    matches!(row.state, State::Cancelling | State::Cancelled),
                    "seed {seed}"
                );
                assert_eq!(at, row.ended_at.map(i64::unsigned_abs), "seed {seed}");
                assert!(row.offset < BYTES as u64, "seed {seed}");
            }
            // It was whole, and gone before the append could say so.
            Some(Problem::NotFound) => {}
            Some(problem) => panic!("seed {seed}: {problem:?}"),
        }
        arena.settle().await;
        assert_eq!(arena.content(id).await, None, "seed {seed}");
        let state = arena.row(id).await.map(|row| row.state);
        assert!(
            matches!(state, None | Some(State::Cancelled)),
            "seed {seed}: {state:?}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_and_an_expiry() {
    often(async |arena| {
        let seed = arena.seed;
        let new = NewUpload {
            expires_after: Duration::ZERO,
            ..new_upload(Some(BYTES as u64))
        };
        let id = arena.store.create(new).await.unwrap().unwrap().upload.id;
        let (content, script) = arena.sending(0);
        let appended = arena.append(id, script);
        for _ in 0..arena.rng.usize(0..20) {
            tokio::task::yield_now().await;
        }
        sweep(&arena.uploads).await;
        let appended = appended.await.unwrap();
        arena.settle().await;
        let row = arena.row(id).await.unwrap();
        match appended.problem {
            None => {
                assert_eq!(row.state, State::Completed, "seed {seed}");
                assert_eq!(arena.content(id).await, Some(content), "seed {seed}");
            }
            Some(Problem::UploadExpired) => {
                assert_eq!((row.state, row.offset), (State::Expired, 0), "seed {seed}");
                assert_eq!(arena.content(id).await, None, "seed {seed}");
            }
            Some(problem) => panic!("seed {seed}: {problem:?}"),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_concatenation_and_the_cancel_of_a_part() {
    often(async |arena| {
        let seed = arena.seed;
        let (part, other) = (arena.create(true).await, arena.create(true).await);
        let whole = arena.rng.bool();
        let (content, script) = arena.sending(0);
        assert_eq!(arena.append(other, script).await.unwrap().problem, None);
        if whole {
            let (_, script) = arena.sending(0);
            assert_eq!(arena.append(part, script).await.unwrap().problem, None);
        }
        let made = Scope::root("client")
            .spawn(arena.store.concatenate(new_final(vec![other, part, other])));
        assert_eq!(arena.cancel(part).await.unwrap(), Ok(()), "seed {seed}");
        let made = made.await.unwrap().unwrap();
        arena.settle().await;
        match made {
            Err(_) => assert_eq!(arena.content(part).await, None, "seed {seed}"),
            Ok(made) => {
                let made = arena.row(made.upload.id).await.unwrap();
                let expected = if whole {
                    State::Completed
                } else {
                    State::Failed
                };
                assert_eq!(made.state, expected, "seed {seed}");
                let kept = arena.content(part).await;
                assert_eq!(kept, whole.then(|| content.clone()), "seed {seed}");
            }
        }
        assert_eq!(arena.content(other).await, Some(content), "seed {seed}");
    })
    .await;
}

/// Somebody looks at an upload whose tail is still to be adopted while its sender goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_and_a_look_at_an_unsettled_tail() {
    often(async |arena| {
        let seed = arena.seed;
        let id = arena.create(false).await;
        let (content, _) = arena.sending(0);
        let tail = bytes::Bytes::copy_from_slice(&content[..100]);
        let writer = arena.blobs.writer(id, 0);
        assert!(
            writer
                .append(0, tail, Digests::none())
                .await
                .error
                .is_none()
        );
        arena.uploads.unsettle([id]);
        let (_, script) = arena.sending(0);
        let appended = arena.append(id, script);
        let looked = arena.uploads.settled(id, &somebody()).await;
        let appended = appended.await.unwrap();
        arena.settle().await;
        // Neither is disturbed by the other.
        assert_eq!(looked.unwrap().upload.offset, 100, "seed {seed}");
        let row = arena.row(id).await.unwrap();
        assert_eq!(
            appended.problem,
            Some(Problem::OffsetMismatch {
                expected: 100,
                provided: 0,
            }),
            "seed {seed}"
        );
        assert_eq!(
            (row.offset, row.state),
            (100, State::Uploading),
            "seed {seed}"
        );
        let digests = Digests::resume(row.digest.as_deref()).unwrap();
        assert_eq!(
            digests.whole_hex(),
            Some(sha256(&content[..100])),
            "seed {seed}"
        );
    })
    .await;
}
