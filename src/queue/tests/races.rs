//! Everything at once: workers that report, fail, give back, are slow, die, or come back when their item
//! is another's; cancels of one, of a batch, of a project and of a user; the sweeper; claims that are
//! made twice and claims that nobody reads. A trial is one item on its way to its end.
//!
//! Whatever happens, `verdict.rs` has to find that each item has one end, and that everybody who was
//! told of it was told the truth. `TIDEGATE_TEST_ROUNDS` says how many trials there are.

use std::collections::HashSet;
use std::future::pending;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;

use super::verdict::{Diary, Tally};
use super::*;
use crate::db::conformance::{open, scratch_postgres};
use crate::db::{DbUrl, Durability};

/// Trials, unless told otherwise.
const TRIALS: usize = 5_000;

/// Trials between two verdicts, about.
const TRIALS_PER_ROUND: usize = 2_500;

/// Tasks that do something at once, each of them many things.
const ACTORS: usize = 8;

const LEASE: Duration = Duration::from_millis(40);
const GRACE: Duration = Duration::from_millis(20);

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

async fn race(db: Db) {
    let trials = std::env::var("TIDEGATE_TEST_ROUNDS").ok();
    let trials = trials.and_then(|trials| trials.parse().ok());
    let trials = trials.unwrap_or(TRIALS);
    let configure = |config: &mut Config| {
        config.lease = LEASE;
        config.grace = GRACE;
    };
    let world = Arc::new(World::new(db, &configure).await);
    let mut tally = Tally::default();
    while tally.trials < trials {
        let left = (trials - tally.trials).min(TRIALS_PER_ROUND);
        let field = Field::new(&world, left).await;
        let actors = (0..ACTORS).map(|_| {
            let field = field.clone();
            world.scope.spawn(async move { field.act().await })
        });
        for ended in join_all(actors).await {
            ended.unwrap();
        }
        field.late().await;
        world.look().await;
        let diary = std::mem::take(&mut *field.diary.lock().unwrap());
        diary.judge(&world, &field.projects, &mut tally).await;
        for project in world.projects.lock().unwrap().drain(..) {
            world.audit.lock().unwrap().forget(&project);
        }
    }
    println!("{tally:#?}");
    tally.has_seen_everything();
    let world = Arc::into_inner(world).expect("nobody else has it");
    world.scope.cancel(CancelReason::Shutdown);
    assert_eq!(world.scope.settle(AT_MOST).await, Settling::Settled);
    world.db.close().await;
}

/// What becomes of an item in the hands of a worker.
#[derive(Clone, Copy)]
enum Fate {
    Complete,
    FailForNow,
    FailForGood,
    GiveBack,
    /// Its worker dies.
    Crash,
    /// Its worker comes back later.
    Return,
    /// Its worker tells that it is there, and reports in the end.
    Last(usize),
    /// The answer to its claim was lost, and its worker reports all the same.
    Unread,
}

/// Where one round takes place.
struct Field {
    world: Arc<World>,
    owner: Caller,
    members: [Caller; 2],
    projects: [String; 2],
    /// Items that are still to be enqueued.
    left: AtomicUsize,
    is_over: AtomicBool,
    diary: Mutex<Diary>,
    /// Items whose workers come back later.
    returning: Mutex<Vec<Item>>,
    batches: Mutex<Vec<String>>,
}

/// What waits for another attempt need not wait for long.
static HURRY: Sql = sql!(
    "WITH due AS MATERIALIZED (SELECT id FROM queue_item WHERE state = 'queued' \
     AND available_at > {now} ORDER BY id {skip_locked}) \
     UPDATE queue_item SET available_at = 0 WHERE id IN (SELECT id FROM due)"
);

/// $1 project.
static OPEN: Sql = sql!(
    "SELECT COUNT(*) FROM queue_item WHERE project_id = $1 \
     AND state IN ('queued', 'processing', 'cancelling')"
);

/// $1 items.
static CLAIMS: Sql = sql!(
    "SELECT id, fence FROM queue_item WHERE id IN ({list:$1}) \
     AND state IN ('processing', 'cancelling')"
);

impl Field {
    async fn new(world: &Arc<World>, left: usize) -> Arc<Self> {
        let (owner, members) = (somebody(), [somebody(), somebody()]);
        let projects = [world.project(&owner).await, world.project(&owner).await];
        for project in &projects {
            for member in &members {
                world.share(project, member, "accepted").await;
            }
        }
        Arc::new(Self {
            world: world.clone(),
            owner,
            members,
            projects,
            left: AtomicUsize::new(left),
            is_over: AtomicBool::new(false),
            diary: Mutex::default(),
            returning: Mutex::default(),
            batches: Mutex::default(),
        })
    }

    fn diary<T>(&self, write: impl FnOnce(&mut Diary) -> T) -> T {
        write(&mut self.diary.lock().unwrap())
    }

    /// Does things until nothing is left to be done.
    async fn act(&self) {
        let mut rng = Rng::new();
        while !self.is_over.load(SeqCst) {
            let claimed = self.claim(&mut rng).await;
            if claimed.is_empty() || rng.u8(..100) < 15 {
                self.enqueue(&mut rng).await;
            }
            let mut work = Vec::new();
            for item in &claimed {
                work.push(self.meet(item, fate(&mut rng), rng.fork()).boxed());
            }
            for _ in 0..rng.usize(..6) {
                let item = rng.choice(&claimed);
                work.push(self.cancel(item.cloned(), rng.fork()).boxed());
            }
            work.push(self.sweep(rng.fork()).boxed());
            work.push(self.come_back(rng.fork()).boxed());
            rng.shuffle(&mut work);
            join_all(work).await;
            if claimed.is_empty() && self.left.load(SeqCst) == 0 && self.is_empty().await {
                self.is_over.store(true, SeqCst);
            }
        }
    }

    async fn is_empty(&self) -> bool {
        for project in &self.projects {
            let open = self.world.db.read(|tx| {
                let project = project.clone();
                async move { tx.fetch_optional(&OPEN, &[Param::Text(&project)]).await }.boxed()
            });
            if open.await.unwrap().unwrap().int(0).unwrap() > 0 {
                return false;
            }
        }
        true
    }

    /// Takes up to so many of the items that are still to be enqueued.
    fn take(&self, wanted: usize) -> usize {
        let take = |left: usize| Some(left.saturating_sub(wanted));
        let before = self.left.fetch_update(SeqCst, SeqCst, take).unwrap();
        before.min(wanted)
    }

    async fn enqueue(&self, rng: &mut Rng) {
        let count = self.take(rng.usize(40..120));
        if count == 0 {
            return;
        }
        let project = &self.projects[rng.usize(..2)];
        let user = rng.choice([&self.owner, &self.members[0], &self.members[1]]);
        let images = self.world.images(project, count);
        let batch = Batch {
            order: order(rng.i64(0..3)),
            ..batch(project, &images, false)
        };
        let store = &self.world.queue.store;
        let enqueued = store.enqueue_all(batch, user.unwrap().clone()).await;
        let enqueued = enqueued.unwrap().unwrap();
        assert_eq!(enqueued.items.len(), count);
        self.batches.lock().unwrap().push(enqueued.batch);
        self.diary(|diary| diary.enqueued(&enqueued.items));
    }

    async fn claim(&self, rng: &mut Rng) -> Vec<Item> {
        let mine = claim(rng.i64(1..=24));
        let queue = &self.world.queue;
        if rng.u8(..100) < 15 {
            let offered = queue.offer(mine, Duration::ZERO, pending()).await.unwrap();
            let Some(offer) = offered else {
                return Vec::new();
            };
            let items = offer.items.into_iter().map(|(item, _)| item).collect();
            if rng.bool() {
                // Otherwise nobody reads the answer, and it is given back behind the worker's back.
                offer.taken.send(()).unwrap();
            }
            return items;
        }
        let first = self.claim_once(&mine).await;
        if rng.u8(..100) < 20 && !first.is_empty() {
            let again = self.claim_once(&mine).await;
            let known: HashSet<_> = ids(&again).into_iter().collect();
            let missing = first.iter().filter(|item| !known.contains(&*item.id));
            let missing: Vec<_> = missing.cloned().collect();
            let lost = self.lost(&missing).await;
            assert_eq!(lost.len(), missing.len(), "the same claim, the same items");
            return again;
        }
        first
    }

    async fn claim_once(&self, claim: &Claim) -> Vec<Item> {
        let claimed = self.world.queue.store.claim(claim).await.unwrap();
        claimed.into_iter().map(|(item, _)| item).collect()
    }

    /// Those of some items that are not their workers' any more.
    async fn lost(&self, items: &[Item]) -> Vec<Item> {
        let names = serde_json::json!(ids(items)).to_string();
        let held = self.world.db.read(|tx| {
            let names = names.clone();
            async move { tx.fetch_all(&CLAIMS, &[Param::Text(&names)]).await }.boxed()
        });
        let held = held.await.unwrap();
        let fence = |row: &crate::db::Row| (row.text(0).unwrap().to_owned(), row.int(1).unwrap());
        let held: HashMap<_, _> = held.iter().map(fence).collect();
        let lost = items
            .iter()
            .filter(|item| held.get(&item.id) != Some(&item.fence));
        lost.cloned().collect()
    }

    async fn meet(&self, item: &Item, fate: Fate, mut rng: Rng) {
        match fate {
            Fate::Complete => {
                let answer = self.report(item, completed(item)).await;
                if rng.u8(..100) < 20 {
                    let again = self.report(item, completed(item)).await;
                    let is_final = answer != Finished::LeaseLost;
                    assert!(again == answer || !is_final, "what is done is done");
                }
                if rng.u8(..100) < 10 && self.take(1) == 1 {
                    self.enqueue_again(item.image.clone()).await;
                }
            }
            Fate::FailForNow => drop(self.report(item, failed(true)).await),
            Fate::FailForGood => drop(self.report(item, failed(false)).await),
            Fate::GiveBack => drop(self.report(item, Outcome::Cancelled).await),
            Fate::Crash => {}
            Fate::Return => self.returning.lock().unwrap().push(item.clone()),
            Fate::Last(beats) => self.last(item, beats, &mut rng).await,
            Fate::Unread => {
                let store = &self.world.queue.store;
                store.unclaim(std::slice::from_ref(item)).await.unwrap();
                self.report_in_vain(item, completed(item)).await;
            }
        }
    }

    /// Keeps an item, and others beside it, by heartbeats.
    async fn last(&self, item: &Item, beats: usize, rng: &mut Rng) {
        let others = self.returning.lock().unwrap().clone();
        let mut claims: Vec<_> = others
            .iter()
            .rev()
            .take(rng.usize(..8))
            .chain([item])
            .map(|item| (item.id.clone(), item.fence))
            .collect();
        for _beat in 0..beats {
            rng.shuffle(&mut claims);
            let store = &self.world.queue.store;
            let kept = store.heartbeat(&claims, &holder_of(HOLDER)).await.unwrap();
            match kept.iter().find(|kept| kept.id == item.id) {
                Some(kept) if kept.state == State::Processing => {}
                Some(kept) => {
                    let left = kept.lease.unwrap();
                    assert!(left <= GRACE.as_millis() as i64, "{left}");
                    self.report(item, Outcome::Cancelled).await;
                    return;
                }
                None => return self.report_in_vain(item, completed(item)).await,
            }
        }
        self.report(item, completed(item)).await;
    }

    async fn report(&self, item: &Item, outcome: Outcome) -> Finished {
        let word = match &outcome {
            Outcome::Completed(_) => "completed",
            Outcome::Failed { .. } => "failed",
            Outcome::Cancelled => "cancelled",
        };
        let store = &self.world.queue.store;
        let answer = store.finish(finish(item, outcome)).await.unwrap();
        self.diary(|diary| diary.answered(item, word, answer));
        answer
    }

    /// Reports an item that is known to be lost.
    async fn report_in_vain(&self, item: &Item, outcome: Outcome) {
        let answer = self.report(item, outcome).await;
        assert!(
            matches!(answer, Finished::LeaseLost | Finished::CancelWon),
            "{answer:?} at {} for {:?}: {:?}",
            item.fence,
            self.world.now(item).await,
            self.diary(|diary| diary.told(item))
        );
        self.diary(|diary| diary.refused += 1);
    }

    /// Workers come back to what they had left.
    async fn come_back(&self, mut rng: Rng) {
        let back: Vec<_> = {
            let mut returning = self.returning.lock().unwrap();
            rng.shuffle(&mut returning);
            let keep = returning.len().saturating_sub(8);
            returning.drain(keep..).collect()
        };
        let lost = self.lost(&back).await;
        // One item may be there with several fences.
        let is_lost: HashSet<_> = lost.iter().map(|item| (&item.id, item.fence)).collect();
        for item in &back {
            let outcome = match rng.u8(..4) {
                0 => failed(true),
                1 => failed(false),
                _ => completed(item),
            };
            if is_lost.contains(&(&item.id, item.fence)) {
                // It may have been said before, by a worker that came back in time.
                if !self.diary(|diary| diary.has_reported(item)) {
                    self.report_in_vain(item, outcome).await;
                }
            } else if rng.u8(..4) == 0 {
                self.report(item, outcome).await;
            } else {
                self.returning.lock().unwrap().push(item.clone());
            }
        }
    }

    /// Everybody who has not come back yet comes when all is over.
    async fn late(&self) {
        let settling = self.world.queue.scope.settle(AT_MOST).await;
        assert_eq!(settling, Settling::Settled);
        let late = std::mem::take(&mut *self.returning.lock().unwrap());
        for item in &late {
            if !self.diary(|diary| diary.has_reported(item)) {
                self.report_in_vain(item, completed(item)).await;
            }
        }
    }

    async fn sweep(&self, mut rng: Rng) {
        let store = &self.world.queue.store;
        if rng.u8(..100) < 50 {
            let reaped = store.reap().await.unwrap();
            self.diary(|diary| diary.reaped += reaped);
        }
        if rng.u8(..100) < 5 {
            let user = rng.choice([None, Some(self.owner.user.clone())]).unwrap();
            let reset = store.reset(rng.i64(10..40), user).await.unwrap();
            self.diary(|diary| diary.reset += reset);
        }
        if rng.u8(..100) < 30 {
            run(&self.world.db, &HURRY, vec![]).await;
        }
    }

    async fn cancel(&self, item: Option<Item>, mut rng: Rng) {
        let project = self.projects[rng.usize(..2)].clone();
        let member = rng.choice(&self.members).unwrap();
        let batches = self.batches.lock().unwrap().clone();
        match (rng.u16(..1000), item) {
            (0..8, _) if !batches.is_empty() => {
                let batch = rng.choice(batches).unwrap();
                self.cancel_many(&self.owner, Which::Batch(batch)).await;
            }
            (8..9, _) => {
                let all = Which::Project { project, all: true };
                self.cancel_many(&self.owner, all).await;
            }
            (9..10, _) => {
                let all = false;
                let own = Which::Project { project, all };
                self.cancel_many(member, own).await;
            }
            (10..11, _) => self.cancel_many(member, Which::Own).await,
            (11..500, item) => {
                let id = match item.filter(|_| rng.u8(..4) > 0) {
                    Some(item) => Some(item.id),
                    None => self.diary(|diary| diary.any(&mut rng)),
                };
                if let Some(id) = id {
                    self.cancel_one(id, &mut rng).await;
                }
            }
            _ => {}
        }
    }

    async fn cancel_one(&self, id: String, rng: &mut Rng) {
        let store = &self.world.queue.store;
        let denied = store.cancel(id.clone(), somebody(), None).await.unwrap();
        assert_eq!(denied, Err(Denied::Absent));
        let cancelled = store.cancel(id, self.owner.clone(), None).await.unwrap();
        let (item, is_changed) = cancelled.unwrap();
        if !is_changed {
            return;
        }
        self.diary(|diary| diary.cancelled(std::slice::from_ref(&item)));
        if rng.u8(..100) < 40 && self.take(1) == 1 {
            // While the worker of the one before may still be at it.
            self.enqueue_again(item.image).await;
        }
    }

    async fn enqueue_again(&self, image: String) {
        let store = &self.world.queue.store;
        let enqueued = store.enqueue(image, self.owner.clone(), order(2)).await;
        match enqueued.unwrap() {
            Ok(item) => self.diary(|diary| diary.enqueued(&[item])),
            Err(why) => {
                assert_eq!(why, NotEnqueued::Active);
                self.left.fetch_add(1, SeqCst);
            }
        }
    }

    async fn cancel_many(&self, caller: &Caller, which: Which) {
        let store = &self.world.queue.store;
        let cancelled = store.cancel_many(which, caller.clone(), None).await;
        let cancelled = cancelled.unwrap().unwrap();
        self.diary(|diary| diary.cancelled(&cancelled.changed));
    }
}

fn fate(rng: &mut Rng) -> Fate {
    match rng.u8(..100) {
        0..48 => Fate::Complete,
        48..56 => Fate::FailForNow,
        56..60 => Fate::FailForGood,
        60..66 => Fate::GiveBack,
        66..74 => Fate::Crash,
        74..86 => Fate::Return,
        86..95 => Fate::Last(rng.usize(1..5)),
        _ => Fate::Unread,
    }
}
