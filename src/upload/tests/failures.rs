//! A store that fails its n-th call, for every n: what was told stays true, nothing is left over,
//! and whoever tries again gets to the end.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::field::checksum::{Algorithm, Checksum};
use tidegate_protocol::problem::Problem;
use tidegate_protocol::request::{Append, Expected};

use super::script::Script;
use super::world::{
    Crash, HOUR, World, append_at, content, new_final, new_upload, on_a_moving_clock, send, sender,
    somebody, sweep, told,
};
use crate::blob::memory::{Failure as BlobFailure, Waits};
use crate::blob::{BlobStore, Digests};
use crate::id::UploadId;
use crate::upload::Uploads;
use crate::upload::memory::Failure as RowFailure;
use crate::upload::receive::{self, Received};
use crate::upload::recover::Tails;
use crate::upload::store::{NewUpload, State, UploadStore};
use crate::work::{Next, Worker};

const BYTES: usize = 60;

/// Bytes in one append, at most: enough for a commit and a write to be under way at once.
const STEP: usize = 45;

/// Which store fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Blobs(BlobFailure),
    Rows(RowFailure),
}

const FAULTS: [Fault; 6] = [
    Fault::Blobs(BlobFailure::Full),
    Fault::Blobs(BlobFailure::Io),
    Fault::Rows(RowFailure::Full),
    Fault::Rows(RowFailure::Io),
    Fault::Rows(RowFailure::AnswerLost),
    Fault::Rows(RowFailure::AnswerLate),
];

impl Fault {
    fn inject(self, world: &World, calls: usize) {
        match self {
            Self::Blobs(failure) => world.blobs.fail_after(calls, failure),
            Self::Rows(failure) => world.rows.fail_after(calls, failure),
        }
    }

    /// What a client is told that meets it.
    fn problem(self) -> Problem {
        match self {
            Self::Blobs(BlobFailure::Full) | Self::Rows(RowFailure::Full) => Problem::StorageFull,
            Self::Blobs(BlobFailure::Io)
            | Self::Rows(RowFailure::Io | RowFailure::AnswerLost | RowFailure::AnswerLate) => {
                Problem::Internal
            }
        }
    }
}

/// A story in which one call fails.
struct Trial {
    world: World,
    uploads: Arc<Uploads>,
    fault: Fault,
    /// Whether the failure was taken back before it came.
    unmet: Cell<bool>,
    about: String,
}

impl Trial {
    /// Tells the story with each of its calls failing, in each way.
    async fn each(name: &str, story: impl AsyncFn(&Self)) {
        let speeds = [(0, 0), (0, 3), (7, 0)].map(|(append, other)| Waits { append, other });
        for (fault, waits) in FAULTS
            .into_iter()
            .flat_map(|f| speeds.map(|waits| (f, waits)))
        {
            let mut calls = 0;
            loop {
                let world = World::default();
                world.blobs.slow_down(waits);
                let uploads = world.uploads();
                let about = format!("{name}: {fault:?}, call {calls}, {waits:?}");
                let trial = Self {
                    world,
                    uploads,
                    fault,
                    unmet: Cell::new(false),
                    about,
                };
                fault.inject(&trial.world, calls);
                story(&trial).await;
                trial.calm();
                if trial.unmet.get() {
                    break;
                }
                calls += 1;
                assert!(calls < 1_000, "{name}: it does not end");
            }
            // An upload takes at least a row to be made and a byte to be written.
            assert!(calls > 1, "{name}: {fault:?} met {calls} calls");
        }
    }

    /// Nothing fails from here on.
    fn calm(&self) {
        if self.world.blobs.fail_no_more() || self.world.rows.fail_no_more() {
            self.unmet.set(true);
        }
    }

    fn assert_met(&self, problem: &Problem) {
        assert_eq!(*problem, self.fault.problem(), "{}", self.about);
    }

    /// Makes an upload, as a client does that is not told about the first try.
    async fn create(&self, new: impl Fn() -> NewUpload) -> UploadId {
        match self.world.rows.create(new()).await {
            Ok(made) => made.unwrap().upload.id,
            Err(_) => {
                self.world
                    .rows
                    .create(new())
                    .await
                    .unwrap()
                    .unwrap()
                    .upload
                    .id
            }
        }
    }

    /// Asks for the offset until there is an answer.
    async fn offset(&self, id: UploadId) -> u64 {
        for _ in 0..3 {
            match self.uploads.settled(id, &somebody()).await {
                Ok(seen) => return seen.upload.offset,
                Err(problem) => self.assert_met(&problem),
            }
        }
        panic!("{}: no answer", self.about)
    }

    /// Sends `content` in appends of up to [`STEP`] bytes, each from where the one before got to.
    async fn send_all(&self, id: UploadId, content: &[u8], how: impl Fn(&[u8]) -> Append) {
        let mut known = 0;
        for _ in 0..12 {
            let offset = self.offset(id).await;
            assert!(offset >= known, "{}: {known} were told", self.about);
            let rest = &content[usize::try_from(offset).unwrap()..];
            if rest.is_empty() && self.world.row(id).state == State::Completed {
                self.world.assert_sound(id, content, &self.about);
                assert_eq!(self.world.blobs.content(id), content, "{}", self.about);
                return;
            }
            let part = &rest[..rest.len().min(STEP)];
            let append = Append {
                offset,
                ..how(part)
            };
            let received = send(
                &self.uploads,
                id,
                append,
                Script::new(Script::sending(part, 7)),
            )
            .await;
            known = self.check(id, &received).max(offset);
            self.world.assert_sound(id, content, &self.about);
        }
        panic!("{}: it does not get on", self.about)
    }

    /// Checks what an append told. Returns the offset that counts as promised.
    fn check(&self, id: UploadId, received: &Received) -> u64 {
        let (offset, problem) = told(received);
        let committed = self.world.row(id).offset;
        let Some(problem) = problem else {
            return offset.expect("success comes with an offset");
        };
        self.assert_met(problem);
        match (offset, self.fault) {
            (Some(offset), Fault::Rows(RowFailure::AnswerLost)) => assert!(offset <= committed),
            (Some(offset), _) => assert_eq!(offset, committed, "{}", self.about),
            // Nobody knows the offset of an upload that cannot be looked at.
            (None, Fault::Rows(_)) => {
                let failed = self.world.rows.failed();
                let looked = matches!(failed, Some("find" | "find_settled"));
                assert!(looked, "{}: {problem:?} of {failed:?}", self.about);
            }
            (None, Fault::Blobs(_)) => panic!("{}: {problem:?} and no offset", self.about),
        }
        offset.unwrap_or(0)
    }

    /// Cancels until that is confirmed, then does the work of the background.
    async fn cancel(&self, id: UploadId) {
        let mut tries = 0;
        while let Err(problem) = self.uploads.delete(id).await {
            // It was deleted by the try before, which got no answer.
            if problem == Problem::NotFound && tries > 0 {
                break;
            }
            self.assert_met(&problem);
            tries += 1;
            assert!(tries < 3, "{}", self.about);
        }
        let state = self.world.rows.row(id).map(|row| row.state);
        let over = matches!(
            state,
            None | Some(State::Cancelling | State::Cancelled | State::Deleting)
        );
        assert!(
            over,
            "{}: {state:?} after a cancel was confirmed",
            self.about
        );
    }

    async fn sweep(&self) {
        for _ in 0..3 {
            sweep(&self.uploads).await;
        }
    }

    fn assert_no_blob(&self) {
        assert_eq!(
            self.world.blobs.count(),
            0,
            "{}: a blob is left over",
            self.about
        );
    }
}

fn plain(_part: &[u8]) -> Append {
    append_at(0)
}

fn announced(part: &[u8]) -> Append {
    Append {
        content_length: Some(part.len() as u64),
        ..append_at(0)
    }
}

fn declaring(_part: &[u8]) -> Append {
    Append {
        length: Some(BYTES as u64),
        ..append_at(0)
    }
}

fn checked(part: &[u8]) -> Append {
    let mut digests = Digests::none().with_part(Algorithm::Crc32c);
    digests.update(part);
    let digest = digests.part(Algorithm::Crc32c).unwrap();
    let checksum = Checksum::new(Algorithm::Crc32c, &digest).unwrap();
    Append {
        checksum: Some(Expected::Header(checksum)),
        ..announced(part)
    }
}

/// What an append is called here, how it is made, and the length that it declares.
type How = (&'static str, fn(&[u8]) -> Append, Option<u64>);

#[test]
fn an_upload_is_made_and_finished() {
    on_a_moving_clock(async {
        let hows: [How; 4] = [
            ("plain", plain, Some(BYTES as u64)),
            ("announced", announced, Some(BYTES as u64)),
            ("declaring", declaring, None),
            ("checked", checked, Some(BYTES as u64)),
        ];
        for (name, how, length) in hows {
            Trial::each(name, async |trial| {
                let id = trial.create(|| new_upload(length)).await;
                trial.send_all(id, &content(BYTES), how).await;
            })
            .await;
        }
    });
}

/// The first bytes of an upload come with its creation. Without an address for what was kept the
/// client would send all of it again, and what nobody has an address for must not stay.
#[test]
fn a_creation_with_content_keeps_what_it_tells_and_no_empty_upload_on_a_full_disk() {
    on_a_moving_clock(async {
        for how in [plain as fn(&[u8]) -> Append, checked] {
            Trial::each("first", async |trial| {
                let content = content(BYTES);
                let id = trial.create(|| new_upload(Some(BYTES as u64))).await;
                let sender = sender(Script::new(Script::sending(&content, 7)));
                let received =
                    receive::append_first(&trial.uploads, id, how(&content), sender).await;
                trial.calm();
                let row = trial.world.row(id);
                let is_kept = matches!(row.state, State::Uploading | State::Completed);
                match told(&received) {
                    (None, Some(Problem::StorageFull)) => {
                        assert!(!is_kept && row.offset == 0, "{}: {row:?}", trial.about);
                    }
                    (Some(offset), Some(Problem::StorageFull)) => {
                        assert!(offset > 0, "{}: nothing was kept", trial.about);
                        assert_eq!((is_kept, row.offset), (true, offset), "{}", trial.about);
                    }
                    _ => assert!(is_kept, "{}: {row:?}", trial.about),
                }
                if is_kept {
                    trial
                        .world
                        .finish(&trial.uploads, id, &content, &trial.about)
                        .await;
                }
            })
            .await;
        }
    });
}

#[test]
fn an_upload_is_cancelled() {
    on_a_moving_clock(async {
        for complete in [false, true] {
            Trial::each("cancel", async |trial| {
                let length = if complete { BYTES } else { BYTES + 1 };
                let id = trial.create(|| new_upload(Some(length as u64))).await;
                send(&trial.uploads, id, append_at(0), sending(BYTES)).await;
                trial.cancel(id).await;
                trial.sweep().await;
                let row = trial.world.rows.row(id);
                // The append may have failed to complete it.
                let state = row.as_ref().map(|row| row.state);
                assert!(
                    matches!(state, None | Some(State::Cancelled)),
                    "{}: {row:?}",
                    trial.about
                );
                assert!(
                    complete || row.is_some(),
                    "{}: its tombstone is gone",
                    trial.about
                );
                trial.assert_no_blob();
                trial.calm();
                let again = trial.uploads.delete(id).await;
                assert_eq!(
                    again,
                    row.map_or(Err(Problem::NotFound), |_| Ok(())),
                    "{}",
                    trial.about
                );
            })
            .await;
        }
    });
}

#[test]
fn an_upload_expires() {
    on_a_moving_clock(async {
        Trial::each("expire", async |trial| {
            let id = trial.create(|| new_upload(Some(BYTES as u64 + 1))).await;
            send(&trial.uploads, id, append_at(0), sending(BYTES)).await;
            trial.world.rows.pass(HOUR * 2);
            trial.sweep().await;
            assert_eq!(trial.world.row(id).state, State::Expired, "{}", trial.about);
            trial.assert_no_blob();
            trial.calm();
            let late = send(&trial.uploads, id, append_at(0), sending(BYTES)).await;
            assert_eq!(
                late.problem,
                Some(Problem::UploadExpired),
                "{}",
                trial.about
            );
            assert!(late.upload.is_none(), "{}", trial.about);
            trial.assert_no_blob();
        })
        .await;
    });
}

#[test]
fn parts_become_a_final_upload() {
    on_a_moving_clock(async {
        Trial::each("concatenate", async |trial| {
            let content = content(BYTES);
            let part = || NewUpload {
                partial: true,
                ..new_upload(Some(BYTES as u64))
            };
            let (a, b) = (trial.create(part).await, trial.create(part).await);
            trial.send_all(a, &content, plain).await;
            let made = async || trial.world.rows.concatenate(new_final(vec![a, b, a])).await;
            let waiting = match made().await {
                Ok(waiting) => waiting,
                Err(_) => made().await.unwrap(),
            };
            let id = waiting.expect("the parts are there").upload.id;
            trial.send_all(b, &content, plain).await;
            let row = trial.world.row(id);
            assert_eq!(
                (row.state, row.offset),
                (State::Completed, 3 * BYTES as u64)
            );

            // Its parts go when it does, and not before.
            trial.cancel(a).await;
            trial.cancel(b).await;
            trial.sweep().await;
            for part in [a, b] {
                assert_eq!(trial.world.blobs.content(part), content, "{}", trial.about);
            }
            trial.calm();
            let finals = trial.world.rows.every(None, 100).await.unwrap();
            // One whose making got no answer is there, too.
            for one in finals.iter().filter(|row| row.concat.is_some()) {
                trial.cancel(one.id).await;
            }
            trial.sweep().await;
            trial.assert_no_blob();
        })
        .await;
    });
}

#[test]
fn a_tail_is_adopted() {
    on_a_moving_clock(async {
        for length in [BYTES, BYTES + 10] {
            Trial::each("adopt", async |trial| {
                let content = content(length);
                let id = trial.create(|| new_upload(Some(length as u64))).await;
                let writer = trial.world.blobs.writer(id, 0);
                let tail = bytes::Bytes::copy_from_slice(&content[..BYTES]);
                let written = writer.append(0, tail, Digests::none()).await;
                let mut tails = Tails::new(&trial.uploads, true);
                if tails.prepare().await.is_err() {
                    tails = Tails::new(&trial.uploads, true);
                    tails.prepare().await.unwrap();
                }
                for _ in 0..3 {
                    while tails.work().await == Next::Now {}
                }
                // It stays for whoever asks for it.
                let offset = trial.offset(id).await;
                if written.error.is_none() && !matches!(trial.fault, Fault::Blobs(_)) {
                    assert_eq!(offset, BYTES as u64, "{}", trial.about);
                }
                trial.world.assert_sound(id, &content, &trial.about);
                // What was told is durable.
                trial.world.blobs.lose_power();
                trial.world.assert_sound(id, &content, &trial.about);
                trial.send_all(id, &content, plain).await;
            })
            .await;
        }
    });
}

/// After a failed sync the kernel may have thrown away what was not on the disk, and the next sync
/// may succeed all the same.
#[test]
fn what_was_told_survives_a_power_cut_after_any_failure() {
    on_a_moving_clock(async {
        for how in [plain as fn(&[u8]) -> Append, checked] {
            Trial::each("power", async |trial| {
                let content = content(BYTES);
                let id = trial.create(|| new_upload(Some(BYTES as u64))).await;
                for _ in 0..3 {
                    let offset = trial.offset(id).await;
                    let rest = &content[usize::try_from(offset).unwrap()..];
                    let part = &rest[..rest.len().min(STEP)];
                    let append = Append {
                        offset,
                        ..how(part)
                    };
                    let script = Script::new(Script::sending(part, 7));
                    let received = send(&trial.uploads, id, append, script).await;
                    trial.check(id, &received);
                    if received.problem.is_some() {
                        break;
                    }
                }
                trial.calm();
                let told = trial.world.row(id).offset;
                let uploads = trial.world.restarted(Crash::PowerLoss).await;
                trial.world.assert_sound(id, &content, &trial.about);
                let found = trial.world.row(id).offset;
                // A commit may still have been on its way.
                let may_grow = matches!(trial.fault, Fault::Rows(RowFailure::AnswerLate));
                assert!(
                    found == told || (may_grow && found > told),
                    "{}",
                    trial.about
                );
                trial
                    .world
                    .finish(&uploads, id, &content, &trial.about)
                    .await;
            })
            .await;
        }
    });
}

/// The same, when it is only the process that ends.
#[test]
fn what_a_failure_leaves_is_no_content_after_a_crash() {
    on_a_moving_clock(async {
        for how in [plain as fn(&[u8]) -> Append, checked] {
            Trial::each("kill", async |trial| {
                let content = content(BYTES);
                let id = trial.create(|| new_upload(Some(BYTES as u64))).await;
                let append = how(&content);
                let script = Script::new(Script::sending(&content, 7));
                let received = send(&trial.uploads, id, append, script).await;
                trial.calm();
                trial.check(id, &received);
                let before = trial.world.row(id).offset;
                let uploads = trial.world.restarted(Crash::Kill).await;
                trial.world.assert_sound(id, &content, &trial.about);
                assert!(trial.world.row(id).offset >= before, "{}", trial.about);
                // What is adopted after a failure has to be on the disk.
                trial.world.blobs.lose_power();
                trial.world.assert_sound(id, &content, &trial.about);
                trial
                    .world
                    .finish(&uploads, id, &content, &trial.about)
                    .await;
            })
            .await;
        }
    });
}

#[test]
fn without_room_nothing_new_is_begun() {
    on_a_moving_clock(async {
        let world = World::default();
        let uploads = world.uploads();
        let id = world
            .rows
            .create(new_upload(Some(BYTES as u64)))
            .await
            .unwrap()
            .unwrap()
            .upload
            .id;
        send(&uploads, id, append_at(0), sending(20)).await;
        world.rows.use_up_room(true);
        let received = send(&uploads, id, append_at(20), sending(20)).await;
        assert_eq!(told(&received), (Some(20), Some(&Problem::StorageFull)));
        assert_eq!(world.blobs.content(id).len(), 20);
        assert_eq!(uploads.delete(id).await, Ok(()));
        assert_eq!(
            (world.row(id).state, world.blobs.count()),
            (State::Cancelled, 0)
        );

        let id = world
            .rows
            .create(new_upload(Some(BYTES as u64)))
            .await
            .unwrap()
            .unwrap()
            .upload
            .id;
        world.rows.use_up_room(false);
        tokio::time::advance(Duration::from_secs(1)).await;
        world
            .finish(&uploads, id, &content(BYTES), "room again")
            .await;
    });
}

fn sending(bytes: usize) -> Script {
    Script::new(Script::sending(&content(bytes), 7))
}
