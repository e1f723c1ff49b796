//! Cancels, and whose they are.

use std::collections::HashSet;
use std::time::Duration;

use super::*;

on_both_engines!(suite);

async fn suite(on: &World) {
    a_cancel_is_for_good_and_told_once(on).await;
    what_has_ended_is_left_as_it_is(on).await;
    members_cancel_their_own_and_owners_everything(on).await;
    a_batch_is_cancelled_as_far_as_it_is_active(on).await;
    a_project_is_cancelled_by_whom_and_as_far_as_he_may(on).await;
    everything_of_a_user_is_cancelled_and_nothing_else(on).await;
    what_a_worker_has_to_hear_is_there_until_it_ends(on).await;
    cancels_of_many_meet_claims_and_every_item_ends_once(on).await;
}

async fn a_cancel_is_for_good_and_told_once(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let waiting = on.queued(&owner, &project).await;
    let why = Some(String::from("wrong image"));
    let store = &on.queue.store;
    let cancelled = store.cancel(waiting.id.clone(), owner.clone(), why).await;
    on.look().await;
    let (item, is_changed) = cancelled.unwrap().unwrap();
    assert!(is_changed);
    assert_eq!(item.state, State::Cancelled);
    assert_eq!(item.how.as_deref(), Some("before_start"));
    assert_eq!(item.cancel_reason.as_deref(), Some("wrong image"));
    assert!(item.cancelled_at.is_some() && item.finished_at.is_some());
    assert_eq!(on.claim(1).await, []);

    let taken = on.processing(&owner, &project).await;
    let (item, is_changed) = on.cancel(&owner, &taken).await.unwrap();
    assert!(is_changed);
    assert_eq!((item.state, &item.how), (State::Cancelling, &None));
    assert_eq!(item.fence, taken.fence, "its worker may still say so");
    assert_eq!(on.stats(&project).await, (0, 0));
    let events = on.events().await;
    for item in [&waiting, &taken] {
        let before = on.now(item).await;
        let (now, is_changed) = on.cancel(&owner, item).await.unwrap();
        assert!(!is_changed);
        assert_eq!(
            (now.state, now.cancelled_at),
            (before.state, before.cancelled_at)
        );
    }
    for which in [
        Which::Own,
        Which::Project {
            project: project.clone(),
            all: true,
        },
    ] {
        let again = on.cancel_many(&owner, which).await.unwrap();
        assert_eq!((again.changed, again.unchanged), (vec![], vec![]));
    }
    assert_eq!(on.events().await, events);
    assert_eq!(on.reap().await, 0);
    on.finish(&taken, Outcome::Cancelled).await;
}

async fn what_has_ended_is_left_as_it_is(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    for (is_success, state) in [(true, State::Completed), (false, State::Failed)] {
        let item = on.processing(&owner, &project).await;
        let outcome = match is_success {
            true => completed(&item),
            false => failed(false),
        };
        on.finish(&item, outcome).await;
        let (events, row) = (on.events().await, on.now(&item).await);
        let (now, is_changed) = on.cancel(&owner, &item).await.unwrap();
        assert_eq!((now.state, is_changed), (state, false));
        assert_eq!(on.events().await, events);
        assert_eq!(on.now(&item).await, row);
        assert_eq!(on.result(&item.image).await.is_some(), is_success);
    }
}

async fn members_cancel_their_own_and_owners_everything(on: &World) {
    let [owner, member, other, pending, stranger] = [(); 5].map(|()| somebody());
    let project = on.project(&owner).await;
    for (caller, status) in [
        (&member, "accepted"),
        (&other, "accepted"),
        (&pending, "pending"),
    ] {
        on.share(&project, caller, status).await;
    }
    let item = on.queued(&member, &project).await;
    let events = on.events().await;
    for (caller, denied) in [
        (&other, Denied::Forbidden),
        (&pending, Denied::Absent),
        (&stranger, Denied::Absent),
    ] {
        assert_eq!(on.cancel(caller, &item).await, Err(denied));
        let found = on.queue.store.find(&item.id, caller).await.unwrap();
        assert_eq!(found.is_some(), denied == Denied::Forbidden);
        let shown = on.queue.store.show(&item.image, caller).await.unwrap();
        assert_eq!(shown.is_some(), denied == Denied::Forbidden);
    }
    assert_eq!(on.events().await, events);
    let of_owner = on.queued(&owner, &project).await;
    assert_eq!(on.cancel(&member, &of_owner).await, Err(Denied::Forbidden));
    for (caller, item) in [(&member, &item), (&admin(), &of_owner)] {
        let (item, is_changed) = on.cancel(caller, item).await.unwrap();
        assert_eq!((item.state, is_changed), (State::Cancelled, true));
    }
    let item = on.queued(&member, &project).await;
    assert!(on.cancel(&owner, &item).await.unwrap().1);
    let mut nothing = item;
    nothing.id = Uuid::new_v4().to_string();
    assert_eq!(on.cancel(&owner, &nothing).await, Err(Denied::Absent));
}

async fn a_batch_is_cancelled_as_far_as_it_is_active(on: &World) {
    let [owner, member, other, stranger] = [(); 4].map(|()| somebody());
    let project = on.project(&owner).await;
    on.share(&project, &member, "accepted").await;
    on.share(&project, &other, "accepted").await;
    let images = on.images(&project, 6);
    let beside = on.queued(&member, &project).await;
    let beside = on.claim(1).await.pop().filter(|one| one.id == beside.id);
    let enqueued = on.batch(&member, &project, &images, false).await.unwrap();
    let batch = || Which::Batch(enqueued.batch.clone());
    let claimed = on.claim(4).await;
    on.finish(&claimed[0], completed(&claimed[0])).await;
    on.finish(&claimed[1], failed(false)).await;
    on.cancel(&member, &claimed[2]).await.unwrap();
    let events = on.events().await;
    for (caller, denied) in [(&other, Denied::Forbidden), (&stranger, Denied::Absent)] {
        let refused = on.cancel_many(caller, batch()).await;
        assert_eq!(refused, Err(denied));
    }
    let nothing = Which::Batch(Uuid::new_v4().to_string());
    let refused = on.cancel_many(&owner, nothing).await;
    assert_eq!(refused, Err(Denied::Absent));
    assert_eq!(on.events().await, events);
    let cancelled = on.cancel_many(&member, batch()).await.unwrap();
    let mut states = HashMap::<_, usize>::new();
    for item in &cancelled.changed {
        *states.entry(item.state).or_default() += 1;
    }
    let expected = [(State::Cancelled, 2), (State::Cancelling, 1)];
    assert_eq!(states, HashMap::from(expected));
    let left = |place: usize, state| (claimed[place].id.clone(), state);
    let unchanged = [
        left(0, State::Completed),
        left(1, State::Failed),
        left(2, State::Cancelling),
    ];
    assert_eq!(cancelled.unchanged, unchanged);
    let events = on.events().await;
    let again = on.cancel_many(&owner, batch()).await.unwrap();
    assert_eq!((again.changed.len(), again.unchanged.len()), (0, 6));
    assert_eq!(on.events().await, events);
    let beside = beside.expect("it was the first");
    assert_eq!(on.state(&beside).await, State::Processing);
    for item in [&beside, &claimed[2], &claimed[3]] {
        on.finish(item, Outcome::Cancelled).await;
    }
    on.cancel(&owner, &beside).await.unwrap();
}

async fn a_project_is_cancelled_by_whom_and_as_far_as_he_may(on: &World) {
    let [owner, member, pending, stranger] = [(); 4].map(|()| somebody());
    let (project, other) = (on.project(&owner).await, on.project(&owner).await);
    on.share(&project, &member, "accepted").await;
    on.share(&project, &pending, "pending").await;
    let elsewhere = on.queued(&owner, &other).await;
    let mut items = Vec::new();
    for caller in [&owner, &member, &owner, &member] {
        items.push(on.queued(caller, &project).await);
    }
    let of = |all| Which::Project {
        project: project.clone(),
        all,
    };
    let events = on.events().await;
    for (caller, all, denied) in [
        (&member, true, Denied::Forbidden),
        (&pending, false, Denied::Absent),
        (&stranger, false, Denied::Absent),
        (&stranger, true, Denied::Absent),
    ] {
        let refused = on.cancel_many(caller, of(all)).await;
        assert_eq!(refused, Err(denied));
    }
    assert_eq!(on.events().await, events);
    let sorted = |cancelled: &Cancelled| {
        let mut ids: Vec<_> = cancelled
            .changed
            .iter()
            .map(|item| item.id.clone())
            .collect();
        ids.sort();
        ids
    };
    let expected = |places: [usize; 2]| {
        let mut ids = places.map(|place| items[place].id.clone());
        ids.sort();
        ids
    };
    let own = on.cancel_many(&member, of(false)).await.unwrap();
    assert_eq!(sorted(&own), expected([1, 3]));
    assert_eq!(own.unchanged, []);
    let all = on.cancel_many(&owner, of(true)).await.unwrap();
    assert_eq!(sorted(&all), expected([0, 2]));
    assert_eq!(on.stats(&project).await, (0, 0));
    assert_eq!(on.stats(&other).await, (1, 0));
    on.cancel(&owner, &elsewhere).await.unwrap();
}

async fn everything_of_a_user_is_cancelled_and_nothing_else(on: &World) {
    let [one, other] = [(); 2].map(|()| somebody());
    let (project, second) = (on.project(&one).await, on.project(&other).await);
    on.share(&project, &other, "accepted").await;
    on.share(&second, &one, "accepted").await;
    let taken = on.processing(&one, &second).await;
    let his = [
        on.queued(&one, &project).await,
        on.queued(&one, &second).await,
    ];
    let not_his = [
        on.queued(&other, &project).await,
        on.queued(&other, &second).await,
    ];
    let cancelled = on.cancel_many(&one, Which::Own).await.unwrap();
    let changed: HashSet<_> = ids(&cancelled.changed).into_iter().collect();
    let expected = [&his[0].id, &his[1].id, &taken.id];
    assert_eq!(changed, expected.map(|id| id.as_str()).into());
    for item in &not_his {
        assert_eq!(on.state(item).await, State::Queued);
    }
    let mine = on.queue.store.stats_of(&one.user).await.unwrap();
    assert_eq!((mine.queued, mine.processing), (0, 0));
    let his = on.queue.store.stats_of(&other.user).await.unwrap();
    assert_eq!((his.queued, his.processing), (2, 0));
    on.cancel_many(&other, Which::Own).await.unwrap();
    on.finish(&taken, completed(&taken)).await;
    assert_eq!(on.state(&taken).await, State::Cancelled);
}

async fn what_a_worker_has_to_hear_is_there_until_it_ends(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let store = &on.queue.store;
    let outstanding = |worker, holder| async move {
        let told = store.outstanding(worker, holder).await.unwrap();
        told.into_iter().map(|one| one.item).collect::<Vec<_>>()
    };
    let seat = on.queue.crew.sit(super::super::crew::Name {
        worker: String::from("w"),
        holder: HOLDER.to_owned(),
    });
    let item = on.processing(&owner, &project).await;
    assert_eq!(outstanding("w", HOLDER).await, [""; 0]);
    on.cancel(&owner, &item).await.unwrap();
    let woken = tokio::time::timeout(AT_MOST, seat.woken()).await;
    woken.expect("it is woken by the cancel");
    let told = outstanding("w", HOLDER).await;
    assert_eq!(told, std::slice::from_ref(&item.id));
    assert_eq!(outstanding("another", HOLDER).await, [""; 0]);
    assert_eq!(outstanding("w", "another").await, [""; 0]);
    on.finish(&item, Outcome::Cancelled).await;
    assert_eq!(outstanding("w", HOLDER).await, [""; 0]);
    assert!(seat.woken().now_or_never().is_none());
}

async fn cancels_of_many_meet_claims_and_every_item_ends_once(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let images = on.images(&project, 1000);
    on.batch(&owner, &project, &images, false).await.unwrap();
    let worker = || async {
        let mut completed_by_me = 0;
        loop {
            let claimed = on.queue.store.claim(&claim(25)).await.unwrap();
            if claimed.is_empty() {
                return completed_by_me;
            }
            let reports = claimed
                .iter()
                .map(|(item, _)| on.queue.store.finish(finish(item, completed(item))));
            for said in futures_util::future::join_all(reports).await {
                match said.unwrap() {
                    Finished::As(State::Completed) => completed_by_me += 1,
                    said => assert_eq!(said, Finished::CancelWon),
                }
            }
        }
    };
    let cancel = async {
        until(|| async { on.stats(&project).await.0 <= 700 }).await;
        let cancelled = on.queue.store.cancel_many(Which::Own, owner.clone(), None);
        cancelled.await.unwrap().unwrap().changed.len()
    };
    let workers = futures_util::future::join_all((0..4).map(|_| worker()));
    let (completed, cancelled) = tokio::join!(workers, cancel);
    on.look().await;
    assert_eq!(completed.into_iter().sum::<usize>() + cancelled, 1000);
    assert_eq!(on.stats(&project).await, (0, 0));
    on.pass(Duration::from_secs(10)).await;
    assert_eq!(on.reap().await, 0, "nobody has anything");
}
