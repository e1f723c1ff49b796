//! Cancels against all that an export does, at any moment: of one that waits, of one that is under way at
//! any stage, of one that is just being completed; twice at once; with the sweeper beside it, and with a
//! server that stops and starts again.
//!
//! Whatever happens, each export has one end, was told of once, and there is an archive if that end is
//! `completed` and nothing at all if it is another. `TIDEGATE_TEST_ROUNDS` says how many exports there are.

use std::collections::HashMap;

use fastrand::Rng;
use futures_util::future::join_all;

use super::*;
use crate::db::conformance::{open, scratch_postgres};
use crate::db::{DbUrl, Durability};
use crate::event::{Event, Kind};

/// Exports, unless told otherwise.
const EXPORTS: usize = 1_000;

/// Who export and cancel at once, each in a project of his own.
const ACTORS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    let (_dir, db) = empty_sqlite().await;
    race(db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    // It is about order, and not about what survives.
    let url = scratch_postgres().await + "&options[synchronous_commit]=off";
    let db = open(DbUrl::Postgres(url), Durability::ProcessCrash).await;
    race(db.unwrap()).await;
}

/// What a canceller was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answer {
    /// Nobody has cancelled it.
    #[default]
    None,
    /// That it is cancelled, now or soon.
    Cancelled,
    /// That it had been completed.
    Completed,
}

async fn race(db: Db) {
    let exports = std::env::var("TIDEGATE_TEST_ROUNDS").ok();
    let exports = exports.and_then(|exports| exports.parse().ok());
    let exports = exports.unwrap_or(EXPORTS);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let world = Arc::new(World::new(db, 3).await);
    let sweeping = sweep(&world);
    let actors = (0..ACTORS).map(|actor| {
        let world = world.clone();
        let rng = Rng::with_seed(seed.wrapping_add(actor as u64));
        let scope = world.scope.clone();
        scope.spawn(async move { act(&world, exports.div_ceil(ACTORS), rng).await })
    });
    let mut answers = HashMap::new();
    for ended in join_all(actors).await {
        answers.extend(ended.unwrap());
    }
    drop(sweeping);
    let counts = judge(&world, &answers).await;
    println!("{counts:?}");
    // Else it was no race.
    assert!(
        counts.values().all(|count| *count > exports / 50),
        "{counts:?}"
    );
    let world = Arc::into_inner(world).expect("nobody else has it");
    world.stop().await;
}

/// Sweeps until what is returned is dropped.
fn sweep(world: &Arc<World>) -> crate::cancel::Guard {
    use crate::work::{self, Worker};

    let sweeper: Box<dyn Worker> = Box::new(super::super::sweep::Sweeper::new(&world.exports));
    let scope = world.scope.child("sweeping");
    scope.spawn(work::run(sweeper, scope.clone()));
    scope.cancel_on_drop(CancelReason::Shutdown)
}

/// Exports again and again, and cancels most of them. Returns what it was told.
async fn act(world: &World, exports: usize, mut rng: Rng) -> Vec<(String, Answer)> {
    let caller = Caller::named(&Uuid::new_v4().to_string());
    let project = world.project(&caller).await;
    for image in 0..rng.usize(0..6) {
        let content = vec![7; rng.usize(0..200_000)];
        world
            .shelf
            .put(&project, &format!("{image}.tif"), content, rng.bool());
    }
    let mut told = Vec::new();
    // How long an export takes here, more or less, in microseconds.
    let mut usual = 5_000;
    for _ in 0..exports {
        let began = std::time::Duration::from_millis(clock::unix_ms());
        let job = world
            .start(&project, &caller)
            .await
            .expect("none is active");
        let mut answer = Answer::None;
        if rng.u8(0..10) > 0 {
            let wait = rng.u64(0..=usual * 5 / 4);
            tokio::time::sleep(Duration::from_micros(wait)).await;
            answer = cancel(world, &job, &caller, &mut rng).await;
        }
        let ended = end(world, &job, &caller).await;
        if answer == Answer::None {
            let now = Duration::from_millis(clock::unix_ms());
            let took = now.saturating_sub(began).as_micros();
            usual = (usual + u64::try_from(took).unwrap().clamp(500, 500_000)) / 2;
        }
        check(world, &ended, answer);
        told.push((job.id, answer));
    }
    told
}

async fn cancel(world: &World, job: &Job, caller: &Caller, rng: &mut Rng) -> Answer {
    let once = || {
        let exports = world.exports.clone();
        let (id, caller) = (job.id.clone(), caller.clone());
        async move { exports.cancel(id, None, caller, None).await.unwrap() }
    };
    let views = match rng.bool() {
        true => vec![once().await],
        false => {
            let (one, another) = futures_util::future::join(once(), once()).await;
            vec![one, another]
        }
    };
    let answers = views.iter().map(|view| {
        let view = serde_json::to_value(view).unwrap();
        match view["outcome"].as_str().unwrap() {
            "cancelled" | "cancelling" | "already_cancelled" => Answer::Cancelled,
            "already_completed" => Answer::Completed,
            other => panic!("{other}"),
        }
    });
    let answers: Vec<_> = answers.collect();
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    answers[0]
}

/// The export when it has ended and nothing more is done to it.
pub(super) async fn end(world: &World, job: &Job, caller: &Caller) -> Job {
    let ended = async {
        loop {
            let job = world.job(job, caller).await;
            let is_over = matches!(
                job.state,
                State::Completed | State::Failed | State::Cancelled
            );
            if is_over && world.exports.live.holder(&job.id).is_none() {
                return job;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(AT_MOST, ended).await.expect("an end")
}

fn check(world: &World, job: &Job, answer: Answer) {
    let archive = world.archive(job);
    match job.state {
        State::Completed => {
            assert_ne!(answer, Answer::Cancelled, "{job:?}");
            assert_eq!(archive, job.bytes, "{job:?}");
        }
        State::Cancelled => {
            assert_eq!(answer, Answer::Cancelled, "{job:?}");
            assert_eq!(archive, None, "{job:?}");
            assert!(job.released_bytes.is_some());
        }
        other => panic!("{other:?}: {job:?}"),
    }
}

/// Whether the events tell the same as the rows. Returns how often an export came to which end.
async fn judge(world: &World, answers: &HashMap<String, Answer>) -> BTreeMap<&'static str, usize> {
    let mut lives = HashMap::<String, Vec<Kind>>::new();
    for Event { subject, kind, .. } in log::all(&world.db).await.unwrap() {
        let id = subject
            .strip_prefix("export/")
            .expect("an export")
            .to_owned();
        lives.entry(id).or_default().push(kind);
    }
    assert_eq!(lives.len(), answers.len());
    let mut counts = BTreeMap::new();
    for (id, life) in lives {
        let end = match (&life[..], answers[&id]) {
            ([Kind::ExportQueued, Kind::ExportCompleted], Answer::None) => "left alone",
            ([Kind::ExportQueued, Kind::ExportCompleted], Answer::Completed) => "too late",
            (
                [
                    Kind::ExportQueued,
                    Kind::ExportCancelling,
                    Kind::ExportCancelled,
                ],
                Answer::Cancelled,
            ) => "cancelled",
            other => panic!("{id}: {other:?}"),
        };
        *counts.entry(end).or_default() += 1;
    }
    counts
}
