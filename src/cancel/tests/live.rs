use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::{WITHIN, poll_now};
use crate::cancel::CancelReason::{self, Requested, Stalled, Superseded};
use crate::cancel::{Lease, Live, Refused, Scope, Settling};

/// A holder shows its name; the count of the `Arc` tells whether anything of it is left behind.
type Uploads = Live<&'static str, Arc<String>>;

/// A newcomer that takes over `"key"` in the name of `shown`.
async fn come(
    live: &Uploads,
    scope: &Scope,
    shown: &Arc<String>,
    reason: CancelReason,
) -> Result<Lease<&'static str, Arc<String>>, Refused> {
    live.take_over("key", scope.clone(), Arc::clone(shown), reason, WITHIN)
        .await
}

fn unit(name: &'static str) -> (Scope, Arc<String>) {
    (Scope::root(name), Arc::new(name.to_owned()))
}

/// The name of the present holder of `"key"`, or nothing.
fn shown(live: &Uploads) -> String {
    live.holder(&"key")
        .map(|holder| holder.shown.to_string())
        .unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_free_key_is_granted_at_once_and_freed_by_the_lease() {
    let live = Uploads::default();
    let (scope, value) = unit("a");
    let Poll::Ready(Ok(lease)) = poll_now(pin!(come(&live, &scope, &value, Superseded))) else {
        panic!("nobody holds the key");
    };
    assert_eq!(shown(&live), "a");
    assert_eq!(live.len(), 1);
    assert!(!live.is_empty());
    live.holder(&"key").expect("held").scope.cancel(Requested);
    assert_eq!(
        scope.reason(),
        Some(Requested),
        "the holder's own scope is shown"
    );

    drop(lease);
    assert_eq!(shown(&live), "");
    assert!(live.is_empty());
    assert_eq!(Arc::strong_count(&value), 1);
}

#[tokio::test(start_paused = true)]
async fn a_free_key_can_be_taken_without_disturbing_anybody() {
    let live = Uploads::new();
    let ((a, a_shown), (b, b_shown)) = (unit("a"), unit("b"));
    let lease = live.take_free("key", a.clone(), Arc::clone(&a_shown));
    assert!(lease.is_some());
    assert!(
        live.take_free("key", b.clone(), Arc::clone(&b_shown))
            .is_none()
    );
    assert_eq!(
        (a.reason(), b.reason(), shown(&live)),
        (None, None, "a".to_owned())
    );
    assert_eq!(Arc::strong_count(&b_shown), 1);

    drop(lease);
    let lease = live.take_free("key", b.clone(), Arc::clone(&b_shown));
    assert_eq!(shown(&live), "b");
    drop(lease);
    live.close();
    assert!(live.take_free("key", a, a_shown).is_none());
    assert!(live.is_empty());
}

#[tokio::test(start_paused = true)]
async fn keys_do_not_disturb_each_other() {
    let live = Live::new();
    let (a, b) = (Scope::root("a"), Scope::root("b"));
    let one = live.take_over(1, a.clone(), (), Superseded, WITHIN).await;
    let other = live.take_over(2, b.clone(), (), Superseded, WITHIN).await;
    assert!(one.is_ok() && other.is_ok());
    assert_eq!((a.reason(), b.reason(), live.len()), (None, None, 2));
    assert!(live.holder(&3).is_none());
}

#[tokio::test(start_paused = true)]
async fn take_over_cancels_the_holder_and_waits_for_its_lease() {
    let live = Arc::new(Uploads::new());
    let ((a, a_shown), (b, b_shown)) = (unit("a"), unit("b"));
    let lease = come(&live, &a, &a_shown, Superseded).await.expect("free");
    let (settle, settled) = oneshot::channel::<()>();
    let holder = a.spawn({
        let a = a.clone();
        async move {
            let reason = a.cancelled().await;
            settled.await.expect("not dropped");
            drop(lease);
            reason
        }
    });

    let mut newcomer = pin!(come(&live, &b, &b_shown, Requested));
    assert!(poll_now(newcomer.as_mut()).is_pending());
    yield_now().await;
    assert_eq!(a.reason(), Some(Requested));
    assert!(
        poll_now(newcomer.as_mut()).is_pending(),
        "cancelled is not yet settled"
    );
    assert_eq!(shown(&live), "a");

    settle.send(()).expect("the holder settles");
    let lease = newcomer.await.expect("the holder is gone");
    assert_eq!(holder.await, Ok(Requested));
    assert_eq!((shown(&live).as_str(), live.len()), ("b", 1));
    assert_eq!(b.reason(), None);
    drop(lease);
    assert!(live.is_empty());
}

#[tokio::test(start_paused = true)]
async fn of_three_racing_newcomers_the_newest_wins() {
    let live = Uploads::new();
    let (holder, holder_shown) = unit("holder");
    let lease = come(&live, &holder, &holder_shown, Superseded)
        .await
        .expect("free");
    let [(a, a_shown), (b, b_shown), (c, c_shown)] = ["a", "b", "c"].map(unit);
    let mut first = pin!(come(&live, &a, &a_shown, Superseded));
    let mut second = pin!(come(&live, &b, &b_shown, Superseded));
    let mut third = pin!(come(&live, &c, &c_shown, Requested));
    assert!(poll_now(first.as_mut()).is_pending());
    assert!(poll_now(second.as_mut()).is_pending());
    assert!(poll_now(third.as_mut()).is_pending());

    // The losers need not wait for the holder, and find out why they were displaced.
    assert_eq!(first.await.expect_err("older"), Refused::Superseded);
    assert_eq!(second.await.expect_err("older"), Refused::Superseded);
    assert_eq!(
        (a.reason(), b.reason()),
        (Some(Superseded), Some(Requested))
    );
    assert_eq!(
        holder.reason(),
        Some(Superseded),
        "the first newcomer's reason"
    );
    assert!(poll_now(third.as_mut()).is_pending());

    drop(lease);
    assert_eq!(shown(&live), "c", "handed over without a gap");
    let lease = third.await.expect("the newest");
    assert_eq!(c.reason(), None);
    drop(lease);
    assert!(live.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_overdue_take_over_ends_on_time_and_leaves_the_holder() {
    let live = Uploads::new();
    let ((a, a_shown), (b, b_shown)) = (unit("a"), unit("b"));
    let lease = come(&live, &a, &a_shown, Superseded).await.expect("free");
    let begin = Instant::now();
    let refused = come(&live, &b, &b_shown, Stalled).await.expect_err("held");
    assert_eq!((refused, begin.elapsed()), (Refused::Overdue, WITHIN));
    assert_eq!((shown(&live).as_str(), a.reason()), ("a", Some(Stalled)));
    assert_eq!(
        Arc::strong_count(&b_shown),
        1,
        "nothing of the newcomer stays behind"
    );

    drop(lease);
    assert!(live.is_empty());
    assert!(
        come(&live, &b, &b_shown, Superseded).await.is_ok(),
        "and it may try again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_closed_table_refuses_waiters_and_newcomers() {
    let live = Uploads::new();
    let [(a, a_shown), (b, b_shown), (c, c_shown)] = ["a", "b", "c"].map(unit);
    let lease = come(&live, &a, &a_shown, Superseded).await.expect("free");
    let mut waiter = pin!(come(&live, &b, &b_shown, Superseded));
    assert!(poll_now(waiter.as_mut()).is_pending());
    assert_eq!(live.len(), 1, "a waiter does not count");

    live.close();
    assert_eq!(waiter.await.expect_err("closed"), Refused::Closed);
    let newcomer = come(&live, &c, &c_shown, Superseded).await;
    assert_eq!(newcomer.expect_err("closed"), Refused::Closed);
    let elsewhere = live
        .take_over("free", c.clone(), c_shown, Superseded, WITHIN)
        .await;
    assert_eq!(elsewhere.expect_err("closed"), Refused::Closed);
    assert_eq!(
        (shown(&live).as_str(), live.len()),
        ("a", 1),
        "the holder settles in peace"
    );
    live.close();
    drop(lease);
    assert!(live.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_that_leaves_while_waiting_leaves_nothing_behind() {
    let live = Uploads::new();
    let ((a, a_shown), (b, b_shown)) = (unit("a"), unit("b"));
    let lease = come(&live, &a, &a_shown, Superseded).await.expect("free");
    assert!(poll_now(pin!(come(&live, &b, &b_shown, Superseded))).is_pending());
    assert_eq!(Arc::strong_count(&b_shown), 1);
    assert_eq!(a.reason(), Some(Superseded), "the cancel is not taken back");
    assert_eq!(live.len(), 1);
    drop(lease);
    assert!(live.is_empty());
    assert_eq!(Arc::strong_count(&a_shown), 1);
}

#[tokio::test(start_paused = true)]
async fn a_displaced_waiter_that_leaves_does_not_take_the_newest_along() {
    let live = Uploads::new();
    let [(a, a_shown), (b, b_shown), (c, c_shown)] = ["a", "b", "c"].map(unit);
    let lease = come(&live, &a, &a_shown, Superseded).await.expect("free");
    let mut newest = pin!(come(&live, &c, &c_shown, Superseded));
    {
        let mut older = pin!(come(&live, &b, &b_shown, Superseded));
        assert!(poll_now(older.as_mut()).is_pending());
        assert!(poll_now(newest.as_mut()).is_pending());
    }
    drop(lease);
    assert!(newest.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_is_never_received_goes_to_the_next() {
    let live = Uploads::new();
    let [(a, a_shown), (b, b_shown), (c, c_shown)] = ["a", "b", "c"].map(unit);
    let lease = come(&live, &a, &a_shown, Superseded).await.expect("free");
    let mut next = pin!(come(&live, &c, &c_shown, Superseded));
    {
        let mut granted = pin!(come(&live, &b, &b_shown, Superseded));
        assert!(poll_now(granted.as_mut()).is_pending());
        drop(lease);
        assert_eq!(shown(&live), "b");
        assert!(poll_now(next.as_mut()).is_pending());
        assert_eq!(b.reason(), Some(Superseded), "a holder before it knows");
    }
    let lease = next.await.expect("the grant came back");
    assert_eq!(shown(&live), "c");
    drop(lease);
    assert!(live.is_empty());
    for value in [&a_shown, &b_shown, &c_shown] {
        assert_eq!(Arc::strong_count(value), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_may_outlive_its_table() {
    let live = Uploads::new();
    let (a, a_shown) = unit("a");
    let lease = come(&live, &a, &a_shown, Superseded).await.expect("free");
    drop(live);
    drop(lease);
    assert_eq!(Arc::strong_count(&a_shown), 1);
}

/// Polls at most `polls` times, with the runtime's turn in between, then drops.
async fn leave_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let poll = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = poll {
            return Some(output);
        }
        yield_now().await;
    }
    None
}

const KEYS: usize = 3;

/// One of many that want the same few keys again and again. Returns how often it was admitted.
async fn contend(
    id: usize,
    root: Scope,
    live: Arc<Live<usize, usize>>,
    running: Arc<[AtomicUsize; KEYS]>,
) -> usize {
    let mut admitted = 0;
    for round in 0..200 {
        let key = (id + round) % KEYS;
        let minute = Duration::from_secs(60);
        let call = live.take_over(key, root.child("unit"), id, Superseded, minute);
        // Every third one leaves after a few polls; the others wait to be woken.
        let outcome = match id % 3 {
            0 => leave_after(round % 4, call).await,
            _ => Some(call.await),
        };
        let lease = match outcome {
            Some(Ok(lease)) => lease,
            Some(Err(refused)) => {
                assert_eq!(refused, Refused::Superseded);
                continue;
            }
            None => continue,
        };
        admitted += 1;
        assert_eq!(running[key].fetch_add(1, Ordering::SeqCst), 0);
        assert_eq!(live.holder(&key).map(|holder| holder.shown), Some(id));
        for _ in 0..round % 5 {
            yield_now().await;
        }
        assert_eq!(running[key].fetch_sub(1, Ordering::SeqCst), 1);
        drop(lease);
    }
    admitted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_stress_a_key_never_has_two_leases() {
    let live = Arc::new(Live::new());
    let running = Arc::default();
    let root = Scope::root("stress");
    let tasks: Vec<_> = (0..48)
        .map(|id| {
            let contender = contend(id, root.clone(), Arc::clone(&live), Arc::clone(&running));
            root.spawn(contender)
        })
        .collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += task.await.expect("no assertion failed");
    }
    assert!(admitted >= KEYS, "{admitted} admitted");
    assert!(live.is_empty());
    assert_eq!(root.settle(WITHIN).await, Settling::Settled);
}

#[derive(Clone, Debug)]
enum Step {
    Come(u8),
    /// The holder drops its lease.
    End(u8),
    /// The waiter drops its call.
    Leave(u8),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..2_u8;
    prop_oneof![
        6 => key.clone().prop_map(Step::Come),
        4 => key.clone().prop_map(Step::End),
        3 => key.prop_map(Step::Leave),
        1 => Just(Step::Close),
    ]
}

type Call<'a> = Pin<Box<dyn Future<Output = Result<Lease<u8, usize>, Refused>> + 'a>>;

/// What a reader of the contract expects of a key: one holder, and one waiter at most behind it.
#[derive(Default)]
struct Line<'a> {
    holder: Option<(usize, Scope, Lease<u8, usize>)>,
    waiter: Option<(usize, Scope, Call<'a>)>,
}

/// A `Live`, and what is expected of it.
struct Model<'a> {
    live: &'a Live<u8, usize>,
    lines: BTreeMap<u8, Line<'a>>,
    closed: bool,
}

impl Model<'_> {
    /// Newcomers are told apart by their `id`, which is also what they show.
    fn come(&mut self, key: u8, id: usize) {
        let line = self.lines.entry(key).or_default();
        let scope = Scope::root("unit");
        let mut call: Call<'_> =
            Box::pin(
                self.live
                    .take_over(key, scope.clone(), id, Superseded, WITHIN),
            );
        match poll_now(call.as_mut()) {
            Poll::Ready(Ok(lease)) => {
                assert!(!self.closed && line.holder.is_none());
                line.holder = Some((id, scope, lease));
            }
            Poll::Ready(Err(refused)) => assert!(self.closed && refused == Refused::Closed),
            Poll::Pending => {
                assert!(!self.closed);
                let (_, holder, _) = line.holder.as_ref().expect("somebody is waited for");
                assert_eq!(holder.reason(), Some(Superseded));
                if let Some((_, older, refused)) = line.waiter.replace((id, scope, call)) {
                    assert_eq!(older.reason(), Some(Superseded));
                    assert_refused(refused, Refused::Superseded);
                }
            }
        }
    }

    fn end(&mut self, key: u8) {
        let line = self.lines.entry(key).or_default();
        drop(line.holder.take());
        if let Some((id, scope, mut call)) = line.waiter.take() {
            let Poll::Ready(Ok(lease)) = poll_now(call.as_mut()) else {
                panic!("the waiter follows the holder at once");
            };
            assert_eq!(scope.reason(), None);
            line.holder = Some((id, scope, lease));
        }
    }

    fn leave(&mut self, key: u8) {
        drop(self.lines.entry(key).or_default().waiter.take());
    }

    fn close(&mut self) {
        self.live.close();
        self.closed = true;
        for line in self.lines.values_mut() {
            if let Some((_, _, call)) = line.waiter.take() {
                assert_refused(call, Refused::Closed);
            }
        }
    }

    fn check(&self) {
        for (key, line) in &self.lines {
            let holder = line.holder.as_ref().map(|(id, ..)| *id);
            assert_eq!(self.live.holder(key).map(|holder| holder.shown), holder);
        }
        let held = self
            .lines
            .values()
            .filter(|line| line.holder.is_some())
            .count();
        assert_eq!(self.live.len(), held);
    }
}

fn assert_refused(mut call: Call<'_>, why: Refused) {
    match poll_now(call.as_mut()) {
        Poll::Ready(Err(refused)) => assert_eq!(refused, why),
        Poll::Ready(Ok(_)) | Poll::Pending => panic!("not refused at once as {why:?}"),
    }
}

proptest! {
    #[test]
    fn any_sequence_of_steps_follows_the_contract(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime whose clock stands still");
        let _entered = runtime.enter();
        let live = Live::new();
        let mut model = Model { live: &live, lines: BTreeMap::new(), closed: false };
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Come(key) => model.come(key, id),
                Step::End(key) => model.end(key),
                Step::Leave(key) => model.leave(key),
                Step::Close => model.close(),
            }
            model.check();
        }
    }
}
