//! Cancel or crash at every await of an attempt, for every reason, and go on: in the same
//! process, in the next one, and after a power cut.
//!
//! The attempt is polled by hand. Every call of a store in memory is pending at least once before
//! it has its effect, so between two polls lies at most one effect, and stopping after each number
//! of polls stops between any two of them.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tidegate_protocol::upload::Limits;
use tokio::runtime::Runtime;

use super::scenarios::{self, Scenario};
use super::script::{Line, Script};
use super::world::{Crash, World, append_at, config, content, new_upload, send};
use crate::blob::memory::Waits;
use crate::blob::{Appended, BlobError, BlobStore, BlobWriter, Digests};
use crate::cancel::{CancelReason, Ending, Scope};
use crate::id::UploadId;
use crate::upload::attempt::{Attempt, Ended, Pace};
use crate::upload::progress::Progress;
use crate::upload::refuse;
use crate::upload::store::{Canceller, State, Upload, UploadStore};

const REASONS: [CancelReason; 8] = [
    CancelReason::ClientGone,
    CancelReason::Superseded,
    CancelReason::Requested,
    CancelReason::Denied,
    CancelReason::Stalled,
    CancelReason::Expired,
    CancelReason::LeaseLost,
    CancelReason::Shutdown,
];

/// More polls than any attempt of these takes.
const POLLS_MAX: usize = 10_000;

/// What happens to a running attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Cancel(CancelReason),
    /// The client leaves: its connection is cut, too.
    Leave,
    /// The upload is cancelled in its row first, as a DELETE does it.
    Delete,
}

/// What comes after an attempt that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    GoOn,
    Crash(Crash),
}

/// How fast things are beside each other.
#[derive(Clone, Copy, Debug)]
struct Speed {
    checkpoint_bytes: u64,
    /// How often more than once a call of the rows is pending.
    rows_wait: usize,
    blobs_wait: Waits,
}

const AT_ONCE: Waits = Waits {
    append: 0,
    other: 0,
};

const SPEEDS: [Speed; 5] = [
    Speed {
        checkpoint_bytes: 1,
        rows_wait: 0,
        blobs_wait: AT_ONCE,
    },
    Speed {
        checkpoint_bytes: 16,
        rows_wait: 0,
        blobs_wait: Waits {
            append: 0,
            other: 9,
        },
    },
    Speed {
        checkpoint_bytes: 16,
        rows_wait: 0,
        blobs_wait: Waits {
            append: 7,
            other: 0,
        },
    },
    Speed {
        checkpoint_bytes: 16,
        rows_wait: 9,
        blobs_wait: AT_ONCE,
    },
    Speed {
        checkpoint_bytes: 1_000,
        rows_wait: 0,
        blobs_wait: AT_ONCE,
    },
];

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// An attempt about to run, and all that can be done to it.
struct Stage {
    world: World,
    id: UploadId,
    writer: Arc<Watched>,
    scope: Scope,
    line: Line,
    attempt: Box<Attempt>,
    script: Script,
}

impl Stage {
    fn set(runtime: &Runtime, scenario: &Scenario, speed: Speed) -> Self {
        let world = World::default();
        let id = runtime.block_on(prepare(&world, scenario));
        world.rows.slow_down(speed.rows_wait);
        world.blobs.slow_down(speed.blobs_wait);
        let upload = world.row(id);
        let writer = Arc::new(Watched {
            inner: world.blobs.writer(id, upload.offset),
            begun: AtomicUsize::new(0),
            overlapping: AtomicUsize::new(0),
            is_syncing: Arc::default(),
        });
        let limits = Limits {
            checkpoint_bytes: speed.checkpoint_bytes,
            ..config().settings.limits
        };
        let _context = runtime.enter();
        let script = scenario.script();
        let attempt = Attempt::begin(
            upload,
            scenario.append.clone(),
            pace(limits),
            Arc::new(world.rows.clone()),
            writer.clone(),
            Arc::new(Progress::new()),
        );
        let attempt = attempt.unwrap_or_else(|problem| panic!("{}: {problem:?}", scenario.name));
        Self {
            world,
            id,
            writer,
            scope: Scope::root("attempt"),
            line: script.line(),
            attempt,
            script,
        }
    }
}

fn pace(limits: Limits) -> Pace {
    let config = config();
    Pace {
        limits,
        checkpoint_interval: config.checkpoint_interval,
        stall: config.stall,
        expires_after: config.expires_after,
    }
}

/// Brings an upload to where the scenario begins.
async fn prepare(world: &World, scenario: &Scenario) -> UploadId {
    let id = world
        .rows
        .create(new_upload(scenario.length))
        .await
        .unwrap()
        .unwrap()
        .upload
        .id;
    if scenario.committed > 0 {
        let before = Script::new(Script::sending(&scenario.content[..scenario.committed], 3));
        let sent = send(&world.uploads(), id, append_at(0), before).await;
        assert_eq!(sent.problem, None);
    }
    assert_eq!(world.row(id).offset, scenario.committed as u64);
    id
}

/// Polls up to so many times; a millisecond passes after each.
fn poll_times<F: Future + ?Sized>(
    runtime: &Runtime,
    mut future: Pin<&mut F>,
    times: usize,
) -> Option<F::Output> {
    (0..times).find_map(|_| {
        let polled = {
            let _context = runtime.enter();
            future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        };
        match polled {
            Poll::Ready(output) => Some(output),
            Poll::Pending => {
                runtime.block_on(tokio::time::advance(Duration::from_millis(1)));
                None
            }
        }
    })
}

/// A scenario that nobody interfered with.
struct Undisturbed {
    /// After how many polls it ended.
    polls: usize,
    /// Writes that were begun while something was being committed.
    overlapping: usize,
}

fn undisturbed(runtime: &Runtime, scenario: &Scenario, speed: Speed) -> Undisturbed {
    let about = format!("{}, {speed:?}", scenario.name);
    let stage = Stage::set(runtime, scenario, speed);
    let mut run = pin!(stage.attempt.run(stage.script, &stage.scope));
    let mut polls = 0;
    let ended = loop {
        polls += 1;
        assert!(polls < POLLS_MAX, "{about}: it does not end");
        if let Some(ended) = poll_times(runtime, run.as_mut(), 1) {
            break ended;
        }
    };
    assert_eq!(ended.outcome.problem, scenario.problem, "{about}");
    assert_eq!(ended.outcome.facts.offset, scenario.offset, "{about}");
    assert_told(&stage.world, stage.id, scenario, &ended, &about);
    let overlapping = stage.writer.overlapping.load(SeqCst);
    Undisturbed { polls, overlapping }
}

#[test]
fn undisturbed_scenarios_end_as_they_say() {
    let runtime = runtime();
    let mut overlapping = 0;
    for scenario in scenarios::all() {
        for speed in SPEEDS {
            let undisturbed = undisturbed(&runtime, &scenario, speed);
            assert!(undisturbed.polls > 2);
            overlapping += undisturbed.overlapping;
        }
    }
    // Where nothing overlaps, stopping between any two steps would show little.
    assert!(overlapping > 10, "{overlapping} writes met a commit");
}

#[test]
fn an_attempt_may_be_cancelled_at_every_await() {
    let runtime = runtime();
    let mut rounds = 0;
    for scenario in scenarios::all() {
        for speed in SPEEDS {
            let polls = undisturbed(&runtime, &scenario, speed).polls;
            let cancels = REASONS
                .into_iter()
                .map(Act::Cancel)
                .chain([Act::Leave, Act::Delete]);
            for (number, act) in cancels.enumerate() {
                for after_polls in 0..polls {
                    // Each of the three comes after each act, at every third await.
                    let after = [
                        After::GoOn,
                        After::Crash(Crash::Kill),
                        After::Crash(Crash::PowerLoss),
                    ][(number + after_polls) % 3];
                    cancelled(&runtime, &scenario, speed, act, after_polls, after);
                    rounds += 1;
                }
            }
        }
    }
    assert!(rounds > 10_000, "{rounds} rounds");
}

#[test]
fn an_attempt_may_crash_at_every_await() {
    let runtime = runtime();
    for scenario in scenarios::all() {
        for speed in SPEEDS {
            let polls = undisturbed(&runtime, &scenario, speed).polls;
            for crash in [Crash::Kill, Crash::PowerLoss] {
                for after_polls in 0..polls {
                    let about = format!("{}, {speed:?}, {crash:?} at {after_polls}", scenario.name);
                    let stage = Stage::set(&runtime, &scenario, speed);
                    {
                        let mut run = pin!(stage.attempt.run(stage.script, &stage.scope));
                        assert!(
                            poll_times(&runtime, run.as_mut(), after_polls).is_none(),
                            "{about}"
                        );
                    }
                    restart(&runtime, &stage.world, stage.id, &scenario, crash, &about);
                }
            }
        }
    }
}

/// A cancelled attempt settles; meanwhile the process may end, too.
#[test]
fn an_attempt_may_crash_at_every_await_after_every_cancel() {
    let runtime = runtime();
    let speed = Speed {
        checkpoint_bytes: 16,
        rows_wait: 1,
        blobs_wait: AT_ONCE,
    };
    let wanted = [
        "some of it",
        "the rest with the right checksum",
        "declares the length",
    ];
    for scenario in scenarios::all()
        .into_iter()
        .filter(|one| wanted.contains(&one.name))
    {
        let polls = undisturbed(&runtime, &scenario, speed).polls;
        for act in [
            Act::Leave,
            Act::Delete,
            Act::Cancel(CancelReason::Superseded),
            Act::Cancel(CancelReason::LeaseLost),
        ] {
            for (before, after) in (0..polls).flat_map(|k| (0..12).map(move |j| (k, j))) {
                let crash = [Crash::Kill, Crash::PowerLoss][(before + after) % 2];
                let about = format!(
                    "{}: {act:?} at {before}, {crash:?} {after} polls later",
                    scenario.name
                );
                let stage = Stage::set(&runtime, &scenario, speed);
                {
                    let mut run = pin!(stage.attempt.run(stage.script, &stage.scope));
                    assert!(
                        poll_times(&runtime, run.as_mut(), before).is_none(),
                        "{about}"
                    );
                    do_it(
                        &runtime,
                        &stage.world,
                        stage.id,
                        &stage.scope,
                        &stage.line,
                        act,
                    );
                    let _ended = poll_times(&runtime, run.as_mut(), after);
                }
                restart(&runtime, &stage.world, stage.id, &scenario, crash, &about);
            }
        }
    }
}

fn cancelled(
    runtime: &Runtime,
    scenario: &Scenario,
    speed: Speed,
    act: Act,
    after_polls: usize,
    after: After,
) {
    let about = format!(
        "{}, {speed:?}: {act:?} at {after_polls}, {after:?}",
        scenario.name
    );
    let stage = Stage::set(runtime, scenario, speed);
    let (world, id) = (&stage.world, stage.id);
    let ended = {
        let mut run = pin!(stage.attempt.run(stage.script, &stage.scope));
        assert!(
            poll_times(runtime, run.as_mut(), after_polls).is_none(),
            "{about}"
        );
        let begun = stage.writer.begun.load(SeqCst);
        let committed = world.row(id).offset;
        do_it(runtime, world, id, &stage.scope, &stage.line, act);
        let ended = poll_times(runtime, run.as_mut(), POLLS_MAX);
        let ended = ended.unwrap_or_else(|| panic!("{about}: it does not end"));
        if abandons(act) {
            assert_eq!(
                stage.writer.begun.load(SeqCst),
                begun,
                "{about}: it wrote on"
            );
        }
        if act == Act::Delete {
            assert_eq!(
                world.row(id).offset,
                committed,
                "{about}: it was cancelled before"
            );
        }
        ended
    };
    assert_told(world, id, scenario, &ended, &about);
    if let Act::Cancel(reason) = act {
        let said = &ended.outcome.problem;
        let because = refuse::cancelled(reason);
        assert!(
            *said == scenario.problem || *said == because,
            "{about}: {said:?}"
        );
    }
    if !abandons(act) {
        let stored = world.blobs.content(id).len() as u64;
        assert_eq!(
            stored,
            world.row(id).offset,
            "{about}: it left something behind"
        );
    }
    match after {
        After::GoOn if act == Act::Delete => {}
        After::GoOn => runtime.block_on(async {
            world
                .finish(&world.uploads(), id, &scenario.content, &about)
                .await;
        }),
        After::Crash(crash) => restart(runtime, world, id, scenario, crash, &about),
    }
}

fn do_it(runtime: &Runtime, world: &World, id: UploadId, scope: &Scope, line: &Line, act: Act) {
    match act {
        Act::Cancel(reason) => {
            scope.cancel(reason);
        }
        Act::Leave => {
            line.cut();
            scope.cancel(CancelReason::ClientGone);
        }
        Act::Delete => {
            let mut begun = world.rows.cancel(id, Canceller::Sender, None);
            poll_times(runtime, begun.as_mut(), 100)
                .expect("it is done")
                .unwrap();
            scope.cancel(CancelReason::Requested);
        }
    }
}

fn abandons(act: Act) -> bool {
    match act {
        Act::Cancel(reason) => reason.ending() != Ending::Settle,
        Act::Delete => true,
        Act::Leave => false,
    }
}

/// What an attempt says of its upload is what the rows have.
fn assert_told(world: &World, id: UploadId, scenario: &Scenario, ended: &Ended, about: &str) {
    let row = world.row(id);
    let facts = ended.outcome.facts;
    assert_eq!(
        facts.offset, row.offset,
        "{about}: told is not what is committed"
    );
    if is_alive(&row) {
        assert_eq!(facts.length, row.length, "{about}");
        assert_eq!(facts.complete, row.state == State::Completed, "{about}");
        assert_eq!(ended.expires_at, row.expires_at, "{about}");
    }
    assert!(scenario.may_commit(row.offset), "{about}: {row:?}");
    world.assert_sound(id, &scenario.content, about);
}

/// Ends the process, starts the next one, looks at what there is and goes on.
fn restart(
    runtime: &Runtime,
    world: &World,
    id: UploadId,
    scenario: &Scenario,
    crash: Crash,
    about: &str,
) {
    let before = world.row(id);
    runtime.block_on(async {
        let uploads = world.restarted(crash).await;
        let row = world.row(id);
        assert!(
            row.offset >= before.offset,
            "{about}: {} were told",
            before.offset
        );
        assert!(scenario.may_commit(row.offset), "{about}: {row:?}");
        if crash == Crash::PowerLoss {
            assert_eq!(row.offset, before.offset, "{about}");
        }
        world.assert_sound(id, &scenario.content, about);
        if is_alive(&row) {
            world.finish(&uploads, id, &scenario.content, about).await;
        } else {
            assert_eq!(row, before, "{about}: an end is an end");
        }
    });
}

fn is_alive(row: &Upload) -> bool {
    matches!(row.state, State::Uploading | State::Completed)
}

/// Counts the appends that are begun, and how many of them while a sync is under way.
struct Watched {
    inner: Arc<dyn BlobWriter>,
    begun: AtomicUsize,
    overlapping: AtomicUsize,
    is_syncing: Arc<AtomicBool>,
}

impl BlobWriter for Watched {
    fn stage(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        self.inner.clone().stage()
    }

    fn unstage(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        self.inner.clone().unstage()
    }

    fn append(
        self: Arc<Self>,
        at: u64,
        data: Bytes,
        digests: Digests,
    ) -> BoxFuture<'static, Appended> {
        self.begun.fetch_add(1, SeqCst);
        if self.is_syncing.load(SeqCst) {
            self.overlapping.fetch_add(1, SeqCst);
        }
        self.inner.clone().append(at, data, digests)
    }

    fn sync(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        let (sync, is_syncing) = (self.inner.clone().sync(), self.is_syncing.clone());
        is_syncing.store(true, SeqCst);
        async move {
            let synced = sync.await;
            is_syncing.store(false, SeqCst);
            synced
        }
        .boxed()
    }

    fn truncate(self: Arc<Self>, to: u64) -> BoxFuture<'static, Result<(), BlobError>> {
        self.inner.clone().truncate(to)
    }

    fn adopt(
        self: Arc<Self>,
        end: u64,
        digests: Digests,
    ) -> BoxFuture<'static, Result<(Digests, u64), BlobError>> {
        self.inner.clone().adopt(end, digests)
    }
}

#[test]
fn contents_tell_their_places() {
    let content = content(600);
    let places: std::collections::HashSet<&[u8]> = content.windows(8).collect();
    assert_eq!(places.len(), 593);
}
