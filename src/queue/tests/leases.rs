//! Claims and heartbeats, and how a worker loses an item.

use std::collections::HashSet;
use std::time::Duration;

use super::super::lease::Claim;
use super::*;

on_both_engines!(suite);

async fn suite(on: &World) {
    a_claim_is_a_lease(on).await;
    the_same_claim_gets_the_same_items(on).await;
    claims_at_once_share_no_item(on).await;
    what_is_given_back_unread_does_not_count(on).await;
    what_is_given_back_while_it_is_cancelled_is_cancelled(on).await;
    only_whoever_has_an_item_keeps_it(on).await;
    heartbeats_that_overlap_in_any_order_all_get_on(on).await;
    no_heartbeat_leads_past_the_end_of_the_grace(on).await;
    a_dead_workers_item_is_tried_four_times(on).await;
    a_dead_workers_cancelled_item_ends(on).await;
    a_lease_that_has_not_ended_is_left_alone(on).await;
    what_takes_too_long_is_taken_away(on).await;
}

async fn a_claim_is_a_lease(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let items = [
        on.queued(&owner, &project).await,
        on.queued(&owner, &project).await,
        on.queued(&owner, &project).await,
    ];
    let claimed = on.claim(2).await;
    assert_eq!(ids(&claimed), ids(&items[..2]));
    for item in &claimed {
        assert_eq!((item.state, item.attempt), (State::Processing, 1));
        assert_eq!(item.fence, 1);
        assert_eq!(item.worker.as_deref(), Some("w"));
        assert_eq!(item.holder.as_deref(), Some(HOLDER));
        assert!(item.started_at.is_some());
        assert!((14_000..=15_000).contains(&item.lease.unwrap()));
        assert_eq!(item.grace, None);
        assert_eq!(on.status(&item.image).await, "processing");
    }
    assert_eq!(on.stats(&project).await, (1, 2));
    assert_eq!(ids(&on.claim(2).await), ids(&items[2..]));
    assert_eq!(on.claim(2).await, []);
    on.cancel_many(&owner, Which::Own).await.unwrap();
    on.pass(Duration::from_secs(10)).await;
    assert_eq!(on.reap().await, 3);
}

async fn the_same_claim_gets_the_same_items(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    for _ in 0..4 {
        on.queued(&owner, &project).await;
    }
    let first = claim(2);
    let claimed = on.claim_as(&first).await;
    let events = on.events().await;
    let again = on.claim_as(&first).await;
    assert_eq!(ids(&again), ids(&claimed));
    assert_eq!(again[0].fence, 1);
    assert_eq!(on.events().await, events);
    on.cancel(&owner, &claimed[0]).await.unwrap();
    let again = on.claim_as(&first).await;
    assert_eq!(ids(&again), ids(&claimed), "it has to hear of the cancel");
    for other in [
        Claim {
            holder: String::from("another"),
            ..first.clone()
        },
        Claim {
            worker: String::from("another"),
            ..first.clone()
        },
    ] {
        let others = on.claim_as(&Claim { max: 1, ..other }).await;
        assert_eq!(others.len(), 1);
        assert!(!ids(&claimed).contains(&&*others[0].id));
    }
    on.finish(&claimed[0], Outcome::Cancelled).await;
    on.finish(&claimed[1], completed(&claimed[1])).await;
    assert_eq!(on.claim_as(&first).await, [], "nothing is left");
    on.cancel_many(&owner, Which::Own).await.unwrap();
    on.pass(Duration::from_secs(10)).await;
    assert_eq!(on.reap().await, 2);
}

async fn claims_at_once_share_no_item(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let images = on.images(&project, 100);
    on.batch(&owner, &project, &images, false).await.unwrap();
    let calls = (0..20).map(|_| async { on.queue.store.claim(&claim(7)).await.unwrap() });
    let claimed = futures_util::future::join_all(calls).await;
    let mut seen = HashSet::new();
    for (item, _) in claimed.into_iter().flatten() {
        assert!(seen.insert(item.id));
    }
    on.look().await;
    seen.extend(on.claim(100).await.into_iter().map(|item| item.id));
    assert_eq!(seen.len(), 100);
    on.cancel_many(&owner, Which::Own).await.unwrap();
    on.pass(Duration::from_secs(10)).await;
    assert_eq!(on.reap().await, 100);
}

async fn what_is_given_back_unread_does_not_count(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.processing(&owner, &project).await;
    on.unclaim(std::slice::from_ref(&item)).await;
    let back = on.now(&item).await;
    assert_eq!(
        (back.state, back.attempt, back.fence),
        (State::Queued, 0, 2)
    );
    assert_eq!((back.started_at, back.turn), (None, item.turn));
    assert_eq!(on.stats(&project).await, (1, 0));
    let events = on.events().await;
    on.unclaim(std::slice::from_ref(&item)).await;
    let late = on.finish(&item, completed(&item)).await;
    assert_eq!(late, Finished::LeaseLost);
    assert_eq!(on.result(&item.image).await, None);
    let next = on.claim(1).await.pop().unwrap();
    assert_eq!((next.attempt, next.fence), (1, 3));
    on.unclaim(std::slice::from_ref(&item)).await;
    assert_eq!(on.finish(&item, failed(false)).await, Finished::LeaseLost);
    assert_eq!(on.state(&item).await, State::Processing);
    assert_eq!(on.events().await, events + 2, "of the claim alone");
    let done = on.finish(&next, completed(&next)).await;
    assert_eq!(done, Finished::As(State::Completed));
}

async fn what_is_given_back_while_it_is_cancelled_is_cancelled(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.processing(&owner, &project).await;
    on.cancel(&owner, &item).await.unwrap();
    on.unclaim(std::slice::from_ref(&item)).await;
    let ended = on.now(&item).await;
    assert_eq!(ended.state, State::Cancelled);
    assert_eq!(ended.how.as_deref(), Some("worker"));
    let events = on.events().await;
    on.unclaim(std::slice::from_ref(&item)).await;
    let late = on.finish(&item, completed(&item)).await;
    assert_eq!(late, Finished::CancelWon);
    assert_eq!(on.events().await, events);
}

async fn only_whoever_has_an_item_keeps_it(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.processing(&owner, &project).await;
    on.pass(Duration::from_secs(14)).await;
    let key = |fence| (item.id.clone(), fence);
    for (fence, holder) in [(0, HOLDER), (2, HOLDER), (1, "another")] {
        assert_eq!(on.heartbeat(&[key(fence)], holder).await, []);
    }
    assert!(on.now(&item).await.lease.unwrap() <= 1000);
    let unknown = (Uuid::new_v4().to_string(), 1);
    let kept = on.heartbeat(&[unknown, key(2), key(1)], HOLDER).await;
    assert_eq!(ids(&kept), [&item.id]);
    assert_eq!(kept[0].state, State::Processing);
    assert!(kept[0].lease.unwrap() > 14_000);
    // Until it is taken away, a lease that has ended can be renewed.
    on.pass(Duration::from_secs(20)).await;
    assert_eq!(on.heartbeat(&[key(1)], HOLDER).await.len(), 1);
    assert_eq!(on.reap().await, 0);
    on.pass(Duration::from_secs(20)).await;
    assert_eq!(on.reap().await, 1);
    assert_eq!(on.heartbeat(&[key(1)], HOLDER).await, []);
    assert_eq!(on.state(&item).await, State::Queued);
    on.cancel(&owner, &item).await.unwrap();
    assert_eq!(on.heartbeat(&[key(2)], HOLDER).await, []);
}

/// Whoever locked them in another order than somebody else would wait for him while he waits.
async fn heartbeats_that_overlap_in_any_order_all_get_on(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let images = on.images(&project, 200);
    on.batch(&owner, &project, &images, false).await.unwrap();
    let mut keys = Vec::new();
    for item in on.claim(200).await {
        keys.push((item.id, item.fence));
    }
    assert_eq!(keys.len(), 200);
    for round in 0..10 {
        let calls = (0..6).map(|_| {
            let mut keys = keys.clone();
            fastrand::shuffle(&mut keys);
            async move {
                on.queue
                    .store
                    .heartbeat(&keys, &holder_of(HOLDER))
                    .await
                    .unwrap()
            }
        });
        let cancelled = async {
            if round == 9 {
                let cancelled = on.queue.store.cancel_many(Which::Own, owner.clone(), None);
                cancelled.await.unwrap().unwrap();
            }
        };
        let (kept, ()) = tokio::join!(futures_util::future::join_all(calls), cancelled);
        assert!(kept.iter().all(|kept| kept.len() == 200));
    }
    on.look().await;
    on.pass(Duration::from_secs(10)).await;
    assert_eq!(on.reap().await, 200);
}

async fn no_heartbeat_leads_past_the_end_of_the_grace(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.processing(&owner, &project).await;
    let key = [(item.id.clone(), 1)];
    let (cancelled, _) = on.cancel(&owner, &item).await.unwrap();
    assert_eq!(cancelled.state, State::Cancelling);
    assert!(cancelled.lease.unwrap() <= 10_000, "it is shorter");
    for left in [10_000, 7_000, 4_000, 1_000] {
        let told = on.heartbeat(&key, HOLDER).await;
        assert_eq!(told[0].state, State::Cancelling);
        let (lease, grace) = (told[0].lease.unwrap(), told[0].grace.unwrap());
        assert!(lease <= left && grace <= left, "{lease} {grace}");
        on.pass(Duration::from_secs(3)).await;
    }
    let again = on.cancel(&owner, &item).await.unwrap();
    assert!(!again.1, "and a second cancel gives no more time");
    assert!(again.0.grace.unwrap() <= 0);
    on.heartbeat(&key, HOLDER).await;
    assert_eq!(on.reap().await, 1);
    let ended = on.now(&item).await;
    assert_eq!(ended.state, State::Cancelled);
    assert_eq!(ended.how.as_deref(), Some("lease_expired"));
    // What was about to end anyway does not last longer for a cancel.
    let item = on.processing(&owner, &project).await;
    on.pass(Duration::from_secs(13)).await;
    let (cancelled, _) = on.cancel(&owner, &item).await.unwrap();
    assert!(cancelled.lease.unwrap() <= 2_000);
    on.pass(Duration::from_secs(2)).await;
    assert_eq!(on.reap().await, 1);
}

async fn a_dead_workers_item_is_tried_four_times(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.queued(&owner, &project).await;
    for attempt in 1..=4 {
        let claimed = on.claim(1).await.pop().expect("it waits at once");
        assert_eq!((&claimed.id, claimed.attempt), (&item.id, attempt));
        on.pass(Duration::from_secs(15)).await;
        assert_eq!(on.reap().await, 1);
        let late = on.finish(&claimed, completed(&claimed)).await;
        assert_eq!(late, Finished::LeaseLost);
        let now = on.now(&item).await;
        assert_eq!(now.fence, claimed.fence + 1);
        match attempt {
            4 => assert_eq!(now.state, State::Failed),
            _ => assert_eq!((now.state, now.error), (State::Queued, None)),
        }
    }
    assert!(on.now(&item).await.error.is_some());
    assert_eq!(on.status(&item.image).await, "failed");
    assert_eq!(on.claim(1).await, []);
    assert_eq!(on.reap().await, 0);
}

async fn a_dead_workers_cancelled_item_ends(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.processing(&owner, &project).await;
    on.cancel(&owner, &item).await.unwrap();
    on.pass(Duration::from_secs(9)).await;
    assert_eq!(on.reap().await, 0);
    on.pass(Duration::from_secs(1)).await;
    assert_eq!(on.reap().await, 1);
    let ended = on.now(&item).await;
    assert_eq!(ended.state, State::Cancelled);
    assert_eq!(ended.how.as_deref(), Some("lease_expired"));
    let events = on.events().await;
    for outcome in [completed(&item), failed(true)] {
        assert_eq!(on.finish(&item, outcome).await, Finished::CancelWon);
    }
    let confirmed = on.finish(&item, Outcome::Cancelled).await;
    assert_eq!(confirmed, Finished::As(State::Cancelled));
    assert_eq!(on.events().await, events);
    assert_eq!(on.result(&item.image).await, None);
}

async fn a_lease_that_has_not_ended_is_left_alone(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.processing(&owner, &project).await;
    let events = on.events().await;
    on.pass(Duration::from_secs(14)).await;
    assert_eq!(on.reap().await, 0);
    assert_eq!(on.events().await, events);
    on.finish(&item, completed(&item)).await;
}

async fn what_takes_too_long_is_taken_away(on: &World) {
    let (one, other) = (somebody(), somebody());
    let project = on.project(&one).await;
    on.share(&project, &other, "accepted").await;
    let slow = [
        on.processing(&one, &project).await,
        on.processing(&other, &project).await,
    ];
    let cancelled = on.processing(&one, &project).await;
    on.cancel(&one, &cancelled).await.unwrap();
    on.pass(Duration::from_secs(600)).await;
    let keys = slow.clone().map(|item| (item.id, item.fence));
    assert_eq!(on.heartbeat(&keys, HOLDER).await.len(), 2);
    let fresh = on.processing(&one, &project).await;
    let reset = |user| async move {
        let reset = on.queue.store.reset(600_000, user).await.unwrap();
        on.look().await;
        reset
    };
    assert_eq!(reset(Some(one.user.clone())).await, 1);
    assert_eq!(on.state(&slow[0]).await, State::Queued);
    assert_eq!(on.state(&slow[1]).await, State::Processing);
    assert_eq!(on.heartbeat(&keys, HOLDER).await.len(), 1);
    let late = on.finish(&slow[0], completed(&slow[0])).await;
    assert_eq!(late, Finished::LeaseLost);
    assert_eq!(reset(Some(one.user.clone())).await, 0);
    assert_eq!(reset(None).await, 1);
    assert_eq!(on.state(&slow[1]).await, State::Queued);
    assert_eq!(on.state(&fresh).await, State::Processing);
    assert_eq!(on.state(&cancelled).await, State::Cancelling);
    assert_eq!(on.reap().await, 1);
    on.finish(&fresh, completed(&fresh)).await;
    for attempt in 2..=4 {
        let claimed = on.claim(2).await;
        assert_eq!(claimed.len(), 2);
        assert_eq!(claimed[0].attempt, attempt);
        on.pass(Duration::from_secs(601)).await;
        assert_eq!(reset(None).await, 2);
    }
    for item in &slow {
        let ended = on.now(item).await;
        assert_eq!(ended.state, State::Failed);
        assert!(ended.error.unwrap().contains("too long"));
    }
}
