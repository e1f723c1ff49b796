use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::{WITHIN, poll_now};
use crate::cancel::CancelReason::{ClientGone, Expired, Requested, Shutdown, Stalled};
use crate::cancel::{Scope, Settling};

#[test]
fn the_first_reason_wins() {
    let scope = Scope::root("scope");
    assert_eq!(scope.reason(), None);
    assert!(scope.cancel(ClientGone));
    assert!(!scope.cancel(Shutdown));
    assert!(
        !scope.cancel(ClientGone),
        "the same reason again is not the first either"
    );
    assert_eq!(scope.reason(), Some(ClientGone));
}

#[test]
fn a_child_inherits_the_reason_of_its_parent() {
    let server = Scope::root("server");
    let uploads = server.child("uploads");
    let attempt = uploads.child("attempt");
    assert!(server.cancel(Shutdown));
    assert!(
        !attempt.cancel(Requested),
        "the inherited reason came first"
    );
    assert_eq!(attempt.reason(), Some(Shutdown));
    assert_eq!(uploads.reason(), Some(Shutdown));
}

#[test]
fn a_reason_of_its_own_stands_against_a_later_inherited_one() {
    let server = Scope::root("server");
    let uploads = server.child("uploads");
    let attempt = uploads.child("attempt");
    assert!(uploads.cancel(Stalled));
    assert!(server.cancel(Shutdown));
    assert_eq!(uploads.reason(), Some(Stalled));
    assert_eq!(
        attempt.reason(),
        Some(Stalled),
        "the nearest ancestor's reason counts"
    );
    assert_eq!(server.reason(), Some(Shutdown));
}

#[test]
fn a_cancel_reaches_neither_parent_nor_siblings() {
    let parent = Scope::root("parent");
    let (one, other) = (parent.child("one"), parent.child("other"));
    assert!(one.cancel(Requested));
    assert_eq!(other.reason(), None);
    assert_eq!(parent.reason(), None);
    assert!(parent.cancel(Shutdown));
    assert_eq!(other.reason(), Some(Shutdown));
}

#[tokio::test]
async fn the_child_of_a_cancelled_scope_is_cancelled() {
    let parent = Scope::root("parent");
    parent.cancel(Shutdown);
    let child = parent.child("child");
    assert_eq!(child.cancelled().await, Shutdown);
    assert!(!child.cancel(Requested));
}

#[tokio::test]
async fn every_waiter_is_woken_with_the_reason() {
    let server = Scope::root("server");
    let scopes = [
        server.clone(),
        server.child("uploads"),
        server.child("a").child("b"),
    ];
    let waiters = scopes.map(|scope| {
        let waits = scope.clone();
        (scope.spawn(async move { waits.cancelled().await }), scope)
    });
    yield_now().await;
    server.cancel(Expired);
    for (waiter, scope) in waiters {
        assert_eq!(waiter.await, Ok(Expired));
        assert_eq!(
            scope.cancelled().await,
            Expired,
            "and whoever comes later hears it too"
        );
    }
}

#[tokio::test]
async fn dropping_a_wait_for_the_cancel_loses_nothing() {
    let scope = Scope::root("scope");
    for _ in 0..3 {
        assert!(poll_now(pin!(scope.cancelled())).is_pending());
    }
    scope.cancel(Stalled);
    assert_eq!(poll_now(pin!(scope.cancelled())), Poll::Ready(Stalled));
}

/// Whoever wins the race of parent and child, everybody sees the same winner, for good.
#[test]
fn racing_cancels_agree_on_one_reason() {
    for _ in 0..500 {
        let parent = Scope::root("parent");
        let child = parent.child("child");
        let start = Barrier::new(3);
        let (own, seen) = thread::scope(|threads| {
            let own = threads.spawn(|| {
                start.wait();
                child.cancel(Requested)
            });
            let seen = threads.spawn(|| {
                start.wait();
                child.reason()
            });
            start.wait();
            parent.cancel(Shutdown);
            (
                own.join().expect("no panic"),
                seen.join().expect("no panic"),
            )
        });
        let reason = if own { Requested } else { Shutdown };
        assert_eq!(child.reason(), Some(reason));
        assert!(
            seen.is_none_or(|seen| seen == reason),
            "{seen:?}, then {reason}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_scope_is_settled_at_once() {
    let scope = Scope::root("scope");
    assert_eq!(
        poll_now(pin!(scope.settle(Duration::ZERO))),
        Poll::Ready(Settling::Settled)
    );
    assert_eq!(scope.settle(Duration::MAX).await, Settling::Settled);
    assert_eq!(scope.reason(), None, "settling does not cancel");
}

#[tokio::test(start_paused = true)]
async fn a_scope_settles_with_its_descendants_and_not_with_its_relatives() {
    let server = Scope::root("server");
    let (uploads, sweeper) = (server.child("uploads"), server.child("sweeper"));
    let attempt = uploads.child("attempt");
    let (end, ended) = oneshot::channel::<()>();
    attempt.spawn(ended);
    // Neither the child's handle nor the task's is needed for the ancestors to know.
    drop(attempt);

    let mut all = pin!(server.settle(WITHIN));
    assert!(poll_now(all.as_mut()).is_pending());
    assert_eq!(uploads.settle(Duration::ZERO).await, Settling::Overdue);
    assert_eq!(sweeper.settle(Duration::ZERO).await, Settling::Settled);

    end.send(()).expect("the task waits");
    assert_eq!(all.await, Settling::Settled);
    assert_eq!(uploads.settle(Duration::ZERO).await, Settling::Settled);
}

#[tokio::test(start_paused = true)]
async fn settle_waits_for_tasks_spawned_meanwhile() {
    let scope = Scope::root("scope");
    let (end_first, first) = oneshot::channel::<()>();
    let (end_second, second) = oneshot::channel::<()>();
    let (end_third, third) = oneshot::channel::<()>();
    scope.cancel(Shutdown);
    scope.spawn({
        let scope = scope.clone();
        async move {
            first.await.expect("not dropped");
            // The last act of a task, in a scope that is cancelled and being waited for.
            scope.child("child").spawn(second);
        }
    });
    let mut settle = pin!(scope.settle(WITHIN));
    assert!(poll_now(settle.as_mut()).is_pending());
    scope.spawn(third);

    for end in [end_first, end_third] {
        end.send(()).expect("the task waits");
        yield_now().await;
        assert!(poll_now(settle.as_mut()).is_pending());
    }
    end_second.send(()).expect("the task waits");
    assert_eq!(settle.await, Settling::Settled);
}

/// The scope is empty for a moment, unseen, and busy again when the waiter looks.
#[tokio::test(start_paused = true)]
async fn settle_does_not_report_a_moment_that_has_passed() {
    let scope = Scope::root("scope");
    let mut settle = pin!(scope.settle(WITHIN));
    let (end_first, first) = oneshot::channel::<()>();
    let task = scope.spawn(first);
    assert!(poll_now(settle.as_mut()).is_pending());
    end_first.send(()).expect("the task waits");
    task.await.expect("no panic").expect("not dropped");

    let (end_second, second) = oneshot::channel::<()>();
    scope.spawn(second);
    assert!(poll_now(settle.as_mut()).is_pending());
    end_second.send(()).expect("the task waits");
    assert_eq!(settle.await, Settling::Settled);
}

#[tokio::test(start_paused = true)]
async fn an_overdue_settle_ends_on_time_and_can_be_repeated() {
    let scope = Scope::root("scope");
    let (end, ended) = oneshot::channel::<()>();
    let task = scope.spawn(ended);
    for _ in 0..2 {
        let begin = Instant::now();
        assert_eq!(scope.settle(WITHIN).await, Settling::Overdue);
        assert_eq!(begin.elapsed(), WITHIN);
    }
    assert!(
        poll_now(pin!(scope.settle(WITHIN))).is_pending(),
        "dropped while it waits"
    );

    end.send(())
        .expect("the task is not aborted by an overdue settle");
    let (one, other) = (scope.clone(), scope.clone());
    let one = Scope::root("one").spawn(async move { one.settle(WITHIN).await });
    let other = Scope::root("other").spawn(async move { other.settle(WITHIN).await });
    assert_eq!(one.await, Ok(Settling::Settled));
    assert_eq!(other.await, Ok(Settling::Settled));
    assert_eq!(task.await, Ok(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_settles_its_own_scope_waits_for_itself() {
    let scope = Scope::root("scope");
    let own = scope.clone();
    let task = scope.spawn(async move { own.settle(WITHIN).await });
    assert_eq!(task.await, Ok(Settling::Overdue));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_task_handle_detaches_the_task() {
    let scope = Scope::root("scope");
    let (go, gone) = oneshot::channel::<()>();
    let (report, reported) = oneshot::channel();
    drop(scope.spawn(async move {
        gone.await.expect("not dropped");
        report.send("ran to its end")
    }));
    go.send(()).expect("the task waits");
    assert_eq!(scope.settle(WITHIN).await, Settling::Settled);
    assert_eq!(reported.await, Ok("ran to its end"));
}

/// Tells, when it is dropped, whether its scope still waits for somebody.
struct DroppedEarly(Scope, Option<oneshot::Sender<bool>>);

impl Drop for DroppedEarly {
    fn drop(&mut self) {
        let waits = poll_now(pin!(self.0.settle(WITHIN))).is_pending();
        let report = self.1.take().expect("dropped once");
        report.send(waits).expect("the test waits");
    }
}

/// Counting stops when the future is gone, not when it is merely done.
#[tokio::test(start_paused = true)]
async fn when_a_scope_is_settled_its_tasks_own_nothing_any_more() {
    let scope = Scope::root("scope");
    let (report, dropped_early) = oneshot::channel();
    let owned = DroppedEarly(scope.clone(), Some(report));
    scope.spawn(poll_fn(move |_| {
        let _owned = &owned;
        Poll::Ready(())
    }));
    assert_eq!(scope.settle(WITHIN).await, Settling::Settled);
    assert_eq!(dropped_early.await, Ok(true));
}

/// On many threads: the settled scope's tasks are over, and their effects visible.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn settle_holds_under_stress() {
    for _ in 0..300 {
        let scope = Scope::root("scope");
        let owned = Arc::new(());
        for _ in 0..4 {
            let (unit, owned) = (scope.child("unit"), Arc::clone(&owned));
            let nested = unit.clone();
            unit.spawn(async move {
                yield_now().await;
                nested.spawn(async move { drop(owned) });
            });
        }
        assert_eq!(scope.settle(WITHIN).await, Settling::Settled);
        assert_eq!(Arc::strong_count(&owned), 1);
    }
}

#[test]
fn an_armed_guard_cancels_when_dropped() {
    let scope = Scope::root("scope");
    let guard = scope.cancel_on_drop(ClientGone);
    assert_eq!(scope.reason(), None);
    drop(guard);
    assert_eq!(scope.reason(), Some(ClientGone));
}

#[test]
fn a_disarmed_guard_does_not() {
    let scope = Scope::root("scope");
    scope.cancel_on_drop(ClientGone).disarm();
    assert_eq!(scope.reason(), None);
}

#[test]
fn a_guard_respects_an_earlier_reason() {
    let scope = Scope::root("scope");
    let guard = scope.cancel_on_drop(ClientGone);
    scope.cancel(Shutdown);
    drop(guard);
    assert_eq!(scope.reason(), Some(Shutdown));
}

/// The shape of every handler: the service future signals, the tracked task settles.
#[tokio::test(start_paused = true)]
async fn a_dropped_service_future_becomes_a_reason_and_the_work_settles() {
    let uploads = Scope::root("uploads");
    let attempt = uploads.child("attempt");
    let (settled, outcome) = oneshot::channel();
    let service = {
        let attempt = attempt.clone();
        async move {
            let guard = attempt.cancel_on_drop(ClientGone);
            let unit = attempt.clone();
            let task = attempt.spawn(async move {
                let reason = unit.cancelled().await;
                // Stands for the commit, which must outlive the service future.
                yield_now().await;
                settled.send(reason)
            });
            let answer = task.await;
            guard.disarm();
            answer
        }
    };
    {
        let mut service = pin!(service);
        assert!(poll_now(service.as_mut()).is_pending());
    }
    assert_eq!(uploads.settle(WITHIN).await, Settling::Settled);
    assert_eq!(outcome.await, Ok(ClientGone));
}
