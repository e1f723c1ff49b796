//! What projects are charged for their uploads, how many of them somebody has open, and the most of
//! both. Whatever meets, the books are the sum over the rows, and nothing is ever above a limit.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use tidegate_protocol::request::Protocol;
use tidegate_protocol::upload::{Invalid, Mark};

use super::finals::{new_final, open_part};
use super::{Clock, HOUR, Subject, new_upload, project, step};
use crate::access;
use crate::auth::Caller;
use crate::cancel::{Scope, Task};
use crate::db::{Db, Durability};
use crate::event::Hub;
use crate::id::UploadId;
use crate::upload::sql::SqlStore;
use crate::upload::store::{
    Advance, Advanced, Allowance, Canceller, Excess, Made, NewUpload, NotMade, State, StoreError,
    Upload, Usage,
};

/// How often creations, or appends, meet at an edge.
const ROUNDS: u64 = 10;

const TOGETHER: usize = 64;

pub(super) async fn suite(on: &Subject) {
    charges_from_the_creation_to_the_release(on).await;
    charges_what_has_come_while_the_length_is_not_known(on).await;
    charges_nothing_for_what_has_no_bytes_of_its_own(on).await;
    a_refusal_leaves_nothing(on).await;
    reckons_anew_at_a_start(on).await;
    counts_what_somebody_has_open(on).await;
    tells_how_much_there_is(on).await;
    for round in 0..ROUNDS {
        creations_meet_at_the_edge(on, round).await;
        appends_meet_at_the_edge(on).await;
        openings_meet_at_the_edge(on).await;
        everything_meets(on, round).await;
    }
    within(on, Allowance::default()).await;
}

pub(super) fn sql_store(db: &Db) -> SqlStore {
    let hub = Hub::new(db.clone(), Scope::root("feeds"));
    SqlStore::new(db.clone(), hub, access::Changes::new())
}

/// The same store, as a server with this allowance would open it.
pub(super) async fn within(on: &Subject, allowance: Allowance) -> Subject {
    match &on.clock {
        Clock::Manual(store) => {
            store.keep_within(allowance);
            Subject {
                store: Arc::new(store.clone()),
                clock: Clock::Manual(store.clone()),
            }
        }
        Clock::Database(db) => {
            let store = sql_store(db).within(allowance);
            store.balance().await.unwrap();
            Subject {
                store: Arc::new(store),
                clock: Clock::Database(db.clone()),
            }
        }
    }
}

fn quota(bytes: u64) -> Allowance {
    Allowance {
        project_bytes_max: Some(bytes),
        open_max: None,
    }
}

fn of_length(project: &str, length: Option<u64>) -> NewUpload {
    NewUpload {
        length,
        ..new_upload(project)
    }
}

async fn usage(on: &Subject, project: &str) -> Usage {
    let usage = on
        .store
        .usage(project.to_owned(), Caller::named("somebody"));
    usage.await.unwrap().expect("he may see it")
}

/// What the project is charged, which has to be what its rows are.
async fn balanced(on: &Subject, project: &str) -> u64 {
    let (mut sum, mut after) = (0_u64, None);
    loop {
        let page = on.store.every(after, 500).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        let charges = page.iter().filter(|row| row.project == project);
        sum = charges.fold(sum, |sum, row| sum.saturating_add(row.charge()));
    }
    let used = usage(on, project).await.used_bytes;
    assert_eq!(used, sum, "the book and the rows of {project}");
    used
}

async fn try_create(on: &Subject, new: NewUpload) -> Result<Made, NotMade> {
    on.store.create(new).await.unwrap()
}

async fn create(on: &Subject, new: NewUpload) -> Upload {
    try_create(on, new).await.expect("there is room").upload
}

async fn release(on: &Subject, id: UploadId) {
    on.store.released(id, 1, HOUR).await.unwrap();
}

fn over(quota: u64, used: u64) -> NotMade {
    NotMade::OverQuota(Excess { quota, used })
}

async fn charges_from_the_creation_to_the_release(on: &Subject) {
    let on = &within(on, quota(100)).await;
    let project = project();
    on.open(&project).await;
    let ends = [
        None,
        Some((30, Mark::Open)),
        Some((60, Mark::Completed)),
        Some((60, Mark::Invalidated(Invalid::PastLength))),
    ];
    for advanced in ends {
        let made = create(on, of_length(&project, Some(60))).await;
        assert_eq!(balanced(on, &project).await, 60);
        let more = try_create(on, of_length(&project, Some(41))).await;
        assert_eq!(more, Err(over(100, 60)));
        let last = create(on, of_length(&project, Some(40))).await;
        assert_eq!(balanced(on, &project).await, 100);
        if let Some((to, mark)) = advanced {
            on.must_advance(step(&made, to, mark)).await;
        }
        assert_eq!(balanced(on, &project).await, 100, "it had been reserved");
        for id in [made.id, last.id] {
            on.store.cancel(id, Canceller::Sender, None).await.unwrap();
            assert_eq!(usage(on, &project).await.used_bytes, 100, "bytes are there");
        }
        for id in [made.id, last.id, made.id, last.id] {
            release(on, id).await;
        }
        assert_eq!(
            balanced(on, &project).await,
            0,
            "once, however often it is told"
        );
    }
    let expiring = NewUpload {
        expires_after: Duration::ZERO,
        ..of_length(&project, Some(60))
    };
    let made = create(on, expiring).await;
    on.tick().await;
    assert!(on.store.expire(made.id).await.unwrap());
    assert_eq!(balanced(on, &project).await, 60);
    release(on, made.id).await;
    assert_eq!(balanced(on, &project).await, 0);
    let made = create(on, of_length(&project, Some(100))).await;
    on.store.fail(made.id, String::from("lost")).await.unwrap();
    release(on, made.id).await;
    assert_eq!(balanced(on, &project).await, 0);
}

async fn charges_what_has_come_while_the_length_is_not_known(on: &Subject) {
    let on = &within(on, quota(100)).await;
    let project = project();
    on.open(&project).await;
    let made = create(on, of_length(&project, None)).await;
    assert_eq!(balanced(on, &project).await, 0);
    on.must_advance(step(&made, 70, Mark::Open)).await;
    assert_eq!(balanced(on, &project).await, 70);
    let found = on.find(made.id).await;
    let excess = Excess {
        quota: 100,
        used: 70,
    };
    let too_much = [
        step(&found, 101, Mark::Open),
        step(&found, 101, Mark::Completed),
        declaring(step(&found, 70, Mark::Open), 101),
        declaring(step(&found, 80, Mark::Open), i64::MAX.unsigned_abs()),
    ];
    for too_much in too_much {
        let refused = on.store.advance(too_much).await.unwrap();
        assert_eq!(refused, Advanced::OverQuota(excess));
        assert_eq!(on.find(made.id).await, found, "nothing has changed");
        assert_eq!(balanced(on, &project).await, 70);
    }
    // One that is not the next is refused for that, and charged for nothing.
    on.must_refuse(step(&made, 101, Mark::Open)).await;
    on.must_advance(declaring(step(&found, 71, Mark::Open), 90))
        .await;
    assert_eq!(balanced(on, &project).await, 90);
    let found = on.find(made.id).await;
    on.must_advance(step(&found, 90, Mark::Completed)).await;
    assert_eq!(balanced(on, &project).await, 90);
    // What is charged already may grow in what is charged.
    let full = create(on, of_length(&project, Some(10))).await;
    on.must_advance(step(&full, 10, Mark::Completed)).await;
    on.store
        .cancel(made.id, Canceller::Sender, None)
        .await
        .unwrap();
    release(on, made.id).await;
    assert_eq!(balanced(on, &project).await, 10);
}

fn declaring(mut step: Advance, length: u64) -> Advance {
    step.commit.length = Some(length);
    step
}

async fn charges_nothing_for_what_has_no_bytes_of_its_own(on: &Subject) {
    let on = &within(on, quota(10)).await;
    let project = project();
    on.open(&project).await;
    create(on, of_length(&project, Some(0))).await;
    let part = open_part(on, &project, Some(10)).await;
    let whole = on.store.concatenate(new_final(&project, &[&part, &part]));
    let whole = whole.await.unwrap().expect("it costs nothing").upload;
    on.must_advance(step(&part, 10, Mark::Completed)).await;
    assert_eq!(on.find(whole.id).await.offset, 20);
    assert_eq!(balanced(on, &project).await, 10);

    let named = NewUpload {
        named: true,
        ..of_length(&project, Some(1_000))
    };
    let who = Caller::named("somebody");
    let forestalled = on
        .store
        .forestall(named.id, None, who, Canceller::Other, None);
    forestalled.await.unwrap();
    let stillborn = create(on, named).await;
    assert_eq!(stillborn.state, State::Cancelled);
    assert_eq!(balanced(on, &project).await, 10);
    release(on, stillborn.id).await;
    on.store
        .cancel(whole.id, Canceller::Sender, None)
        .await
        .unwrap();
    release(on, whole.id).await;
    on.store
        .cancel(part.id, Canceller::Sender, None)
        .await
        .unwrap();
    release(on, part.id).await;
    assert_eq!(balanced(on, &project).await, 0);
}

async fn a_refusal_leaves_nothing(on: &Subject) {
    let allowance = Allowance {
        project_bytes_max: Some(10),
        open_max: Some(1),
    };
    let on = &within(on, allowance).await;
    let project = project();
    on.open(&project).await;
    let who = Caller::named(&project);
    on.share(&project, &who.user, "accepted").await;
    let new = |length| NewUpload {
        caller: who.clone(),
        ..of_length(&project, Some(length))
    };
    let there = create(on, new(10)).await;
    let before = on.told().await;
    for new in [new(1), new(u64::MAX >> 1)] {
        let id = new.id;
        assert_eq!(try_create(on, new).await, Err(NotMade::TooManyOpen(1)));
        assert_eq!(on.store.find(id).await.unwrap(), None);
    }
    // Whoever repeats a creation finds what it has made, whatever there is no room for.
    let again = NewUpload {
        id: there.id,
        ..new(10)
    };
    let again = try_create(on, again).await.expect("it is there");
    assert_eq!((again.is_new, again.upload.id), (false, there.id));
    on.must_advance(step(&there, 10, Mark::Completed)).await;
    let refused = new(1);
    let id = refused.id;
    assert_eq!(try_create(on, refused).await, Err(over(10, 10)));
    assert_eq!(on.store.find(id).await.unwrap(), None);
    let told = on.told().await;
    assert_eq!(told.len(), before.len(), "nobody hears of it");
    // Whoever may not add is told nothing of what is there.
    let stranger = NewUpload {
        caller: Caller::named("stranger"),
        ..new(100)
    };
    assert_eq!(try_create(on, stranger).await, Err(NotMade::NoProject));
    // An id that was refused is free.
    on.store
        .cancel(there.id, Canceller::Sender, None)
        .await
        .unwrap();
    release(on, there.id).await;
    let made = create(on, NewUpload { id, ..new(10) }).await;
    assert_eq!(balanced(on, &project).await, 10);
    on.store
        .cancel(made.id, Canceller::Sender, None)
        .await
        .unwrap();
    release(on, made.id).await;
}

async fn reckons_anew_at_a_start(on: &Subject) {
    let project = project();
    let unlimited = within(on, Allowance::default()).await;
    unlimited.open(&project).await;
    let most = i64::MAX.unsigned_abs();
    let huge = create(&unlimited, of_length(&project, Some(most))).await;
    let other = create(&unlimited, of_length(&project, Some(most))).await;
    let small = create(&unlimited, of_length(&project, Some(7))).await;
    let sum = usage(&unlimited, &project).await.used_bytes;
    assert_eq!(sum, most, "as many as can be counted");

    let on = &within(on, quota(100)).await;
    let refused = try_create(on, of_length(&project, Some(1))).await;
    assert!(matches!(refused, Err(NotMade::OverQuota(_))), "{refused:?}");
    for id in [huge.id, other.id] {
        on.store.cancel(id, Canceller::Sender, None).await.unwrap();
        release(on, id).await;
    }
    assert_eq!(balanced(on, &project).await, 7);
    create(on, of_length(&project, Some(93))).await;
    // Without a quota nobody keeps the books.
    let unlimited = within(on, Allowance::default()).await;
    create(&unlimited, of_length(&project, Some(50))).await;
    unlimited
        .store
        .cancel(small.id, Canceller::Sender, None)
        .await
        .unwrap();
    release(&unlimited, small.id).await;
    assert_eq!(balanced(&unlimited, &project).await, 143);
    let on = &within(on, quota(200)).await;
    assert_eq!(balanced(on, &project).await, 143);
    create(on, of_length(&project, Some(57))).await;
    assert_eq!(balanced(on, &project).await, 200);
}

async fn counts_what_somebody_has_open(on: &Subject) {
    let allowance = Allowance {
        project_bytes_max: None,
        open_max: Some(3),
    };
    let on = &within(on, allowance).await;
    let (project, who) = (project(), Caller::named(&project()));
    on.open(&project).await;
    on.share(&project, &who.user, "accepted").await;
    let new = |length, partial| NewUpload {
        caller: who.clone(),
        partial,
        ..of_length(&project, length)
    };
    let part = create(on, new(Some(5), true)).await;
    let draft = NewUpload {
        protocol: Protocol::Draft,
        ..new(Some(0), false)
    };
    create(on, draft).await;
    // What is whole at once is not open.
    create(on, new(Some(0), false)).await;
    let mut whole = new_final(&project, &[&part]);
    whole.caller = who.clone();
    let waiting = on.store.concatenate(whole.clone()).await.unwrap();
    let waiting = waiting.expect("the third").upload;
    let refused = try_create(on, new(None, false)).await;
    assert_eq!(refused, Err(NotMade::TooManyOpen(3)));
    whole.id = UploadId::random();
    let refused = on.store.concatenate(whole.clone()).await.unwrap();
    assert_eq!(refused.unwrap_err(), NotMade::TooManyOpen(3));
    assert_eq!(on.store.find(whole.id).await.unwrap(), None);
    assert_eq!(on.store.parts(whole.id).await.unwrap(), []);
    let of_another = NewUpload {
        caller: Caller::named(&format!("another {project}")),
        ..of_length(&project, None)
    };
    on.share(&project, &of_another.caller.user, "accepted")
        .await;
    create(on, of_another).await;
    on.must_advance(step(&part, 5, Mark::Completed)).await;
    assert_eq!(on.find(waiting.id).await.state, State::Completed);
    create(on, new(None, false)).await;
    let third = create(on, new(Some(5), false)).await;
    let refused = try_create(on, new(Some(1), false)).await;
    assert_eq!(refused, Err(NotMade::TooManyOpen(3)));
    on.store
        .cancel(third.id, Canceller::Other, None)
        .await
        .unwrap();
    create(on, new(Some(1), false)).await;
}

async fn tells_how_much_there_is(on: &Subject) {
    for allowance in [Allowance::default(), quota(100)] {
        let on = &within(on, allowance).await;
        let project = project();
        let asked = |who| on.store.usage(project.clone(), Caller::named(who));
        assert_eq!(asked("somebody").await.unwrap(), None, "there is none");
        on.open(&project).await;
        let mut expected = Usage {
            quota_bytes: allowance.project_bytes_max,
            ..Usage::default()
        };
        assert_eq!(usage(on, &project).await, expected);
        create(on, of_length(&project, Some(10))).await;
        let deferred = create(on, of_length(&project, None)).await;
        on.must_advance(step(&deferred, 3, Mark::Open)).await;
        create(on, of_length(&project, Some(0))).await;
        let ended = create(on, of_length(&project, Some(20))).await;
        on.store
            .cancel(ended.id, Canceller::Other, None)
            .await
            .unwrap();
        expected = Usage {
            used_bytes: 33,
            open: 2,
            completed: 1,
            ..expected
        };
        assert_eq!(
            usage(on, &project).await,
            expected,
            "its bytes are still there"
        );
        release(on, ended.id).await;
        expected.used_bytes = 13;
        assert_eq!(usage(on, &project).await, expected);
        for (status, sees) in [("pending", false), ("accepted", true), ("revoked", false)] {
            on.share(&project, "member", status).await;
            let seen = asked("member").await.unwrap();
            assert_eq!(seen, sees.then_some(expected), "{status}");
        }
        assert_eq!(asked("stranger").await.unwrap(), None);
    }
}

fn start<T: Send + 'static>(
    call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Task<Result<T, StoreError>> {
    Scope::root("test").spawn(call)
}

async fn all<T>(tasks: Vec<Task<Result<T, StoreError>>>) -> Vec<T> {
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(task.await.unwrap().unwrap());
    }
    done
}

/// As many are made as fit, whichever they are.
async fn creations_meet_at_the_edge(on: &Subject, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let most = rng.u64(500..1_500);
    let on = &within(on, quota(most)).await;
    let project = project();
    on.open(&project).await;
    let tasks = (0..TOGETHER).map(|_| {
        let new = NewUpload {
            named: rng.bool(),
            ..of_length(&project, Some(rng.u64(1..40)))
        };
        start(on.store.create(new))
    });
    let mut refused = 0;
    for made in all(tasks.collect()).await {
        match made {
            Ok(made) => assert!(made.is_new),
            Err(NotMade::OverQuota(excess)) => {
                assert!(excess.quota == most && excess.used <= most, "{excess:?}");
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    let used = balanced(on, &project).await;
    assert!(used <= most, "{used} of {most}");
    // What did not fit was more than is left.
    assert!(
        refused == 0 || most - used < 39,
        "{refused}: {used} of {most}"
    );
}

/// Of appends to uploads of unknown length, those are kept that fit.
async fn appends_meet_at_the_edge(on: &Subject) {
    let on = &within(on, quota(100)).await;
    let project = project();
    on.open(&project).await;
    let mut made = Vec::new();
    for _ in 0..16 {
        made.push(create(on, of_length(&project, None)).await);
    }
    let steps = made.iter().map(|made| {
        let step = step(made, 9, Mark::Open);
        start(on.store.advance(declaring(step, 10)))
    });
    let advanced = all(steps.collect()).await;
    let kept = advanced
        .iter()
        .filter(|advanced| matches!(advanced, Advanced::Committed { .. }));
    assert_eq!(kept.count(), 10, "{advanced:?}");
    assert_eq!(balanced(on, &project).await, 100);
}

async fn openings_meet_at_the_edge(on: &Subject) {
    let allowance = Allowance {
        project_bytes_max: None,
        open_max: Some(5),
    };
    let on = &within(on, allowance).await;
    let projects = [project(), project()];
    let who = Caller::named(&project());
    for project in &projects {
        on.open(project).await;
        on.share(project, &who.user, "accepted").await;
    }
    let tasks = (0..TOGETHER).map(|at| {
        let new = NewUpload {
            caller: who.clone(),
            named: at % 3 == 0,
            ..of_length(&projects[at % 2], Some(9))
        };
        start(on.store.create(new))
    });
    let made = all(tasks.collect()).await;
    assert_eq!(
        made.iter().filter(|made| made.is_ok()).count(),
        5,
        "{made:?}"
    );
}

/// Creations, appends, concatenations, cancels and releases: none waits for another one for good.
async fn everything_meets(on: &Subject, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let allowance = Allowance {
        project_bytes_max: Some(300),
        open_max: Some(1_000_000),
    };
    let on = &within(on, allowance).await;
    let project = project();
    on.open(&project).await;
    let (mut parts, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        parts.push(open_part(on, &project, None).await);
        let made = create(on, of_length(&project, Some(10))).await;
        on.store
            .cancel(made.id, Canceller::Sender, None)
            .await
            .unwrap();
        ended.push(made);
    }
    let mut work: Vec<BoxFuture<'static, Result<(), StoreError>>> = Vec::new();
    for part in &parts {
        let advanced = on.store.advance(step(part, rng.u64(1..60), Mark::Open));
        work.push(advanced.map_ok(drop).boxed());
    }
    for order in [[0, 1], [1, 0], [2, 3], [3, 2]] {
        let new = new_final(&project, &order.map(|at| &parts[at]));
        work.push(on.store.concatenate(new).map_ok(drop).boxed());
    }
    for ended in &ended {
        work.push(on.store.released(ended.id, 1, HOUR));
    }
    for id in [parts[0].id, parts[3].id] {
        let store = on.store.clone();
        let cancelled = store.cancel(id, Canceller::Sender, None);
        let ended = cancelled.and_then(move |_| store.released(id, 1, HOUR));
        work.push(ended.boxed());
    }
    for _ in 0..12 {
        let new = of_length(&project, Some(rng.u64(0..60)));
        work.push(on.store.create(new).map_ok(drop).boxed());
    }
    rng.shuffle(&mut work);
    all(work.into_iter().map(start).collect()).await;
    assert!(balanced(on, &project).await <= 300);
}

/// Many operations in a row by whoever has the time: `TIDEGATE_TEST_ROUNDS` says how many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_agree_with_the_rows_whatever_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let rounds = std::env::var("TIDEGATE_TEST_ROUNDS").ok();
    let rounds = rounds
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(2_000_u64);
    let seed = std::env::var("TIDEGATE_TEST_SEED").ok();
    let seed = seed
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("repeat with TIDEGATE_TEST_SEED={seed}");
    let sqlite = Subject::sqlite(dir.path(), Durability::ProcessCrash).await;
    for on in [Subject::memory(), sqlite] {
        walk(&on, Rng::with_seed(seed), rounds).await;
        on.close().await;
    }
}

/// Does `steps` random things to uploads of two projects that are mostly nearly full.
async fn walk(on: &Subject, mut rng: Rng, steps: u64) {
    const QUOTA: u64 = 2_000;
    let allowance = Allowance {
        project_bytes_max: Some(QUOTA),
        open_max: Some(40),
    };
    let on = &within(on, allowance).await;
    let projects = [project(), project()];
    for project in &projects {
        on.open(project).await;
    }
    let (mut live, mut refused) = (Vec::<UploadId>::new(), 0_u64);
    for done in 0..steps {
        if live.is_empty() || rng.u8(0..3) == 0 {
            let length = [None, Some(rng.u64(0..300))][rng.usize(0..2)];
            let new = NewUpload {
                partial: rng.bool(),
                ..of_length(&projects[rng.usize(0..2)], length)
            };
            match on.store.create(new).await.unwrap() {
                Ok(made) => live.push(made.upload.id),
                Err(_) => refused += 1,
            }
        } else {
            let at = rng.usize(0..live.len());
            if act(on, &mut rng, live[at], &mut refused).await {
                live.swap_remove(at);
            }
        }
        if done % 100 == 0 {
            // What has ended before this moment, so that there is never much.
            on.tick().await;
            on.store.forget(Duration::ZERO).await.unwrap();
            for project in &projects {
                assert!(balanced(on, project).await <= QUOTA, "after {done} steps");
            }
        }
    }
    assert!(
        steps < 1_000 || refused > steps / 100,
        "{refused} at the edge"
    );
    for id in live {
        on.store.cancel(id, Canceller::Sender, None).await.unwrap();
        release(on, id).await;
    }
    for project in &projects {
        assert_eq!(balanced(on, project).await, 0);
    }
}

/// Does something to an upload. True: its bytes are gone.
async fn act(on: &Subject, rng: &mut Rng, id: UploadId, refused: &mut u64) -> bool {
    let found = on.find(id).await;
    if rng.u8(0..4) == 0 || found.state != State::Uploading {
        match rng.u8(0..3) {
            0 => on.store.fail(id, String::from("lost")).await.unwrap(),
            _ => drop(on.store.cancel(id, Canceller::Sender, None).await.unwrap()),
        }
        release(on, id).await;
        return true;
    }
    let left = found.length.map_or(200, |length| length - found.offset);
    let to = found.offset + rng.u64(0..=left);
    let mark = match Some(to) == found.length {
        true => Mark::Completed,
        false => Mark::Open,
    };
    let mut step = step(&found, to, mark);
    if found.length.is_none() && rng.u8(0..4) == 0 {
        step = declaring(step, to + rng.u64(1..200));
    }
    if let Advanced::OverQuota(_) = on.store.advance(step).await.unwrap() {
        *refused += 1;
    }
    false
}
