//! What is enqueued, what is refused, and whose turn it is.

use std::time::Duration;

use super::super::lease::Claim;
use super::super::store::{NotEnqueued, Order};
use super::*;

on_both_engines!(suite);

async fn suite(on: &World) {
    an_image_is_enqueued_once_at_a_time(on).await;
    a_batch_passes_over_what_is_active_or_segmented(on).await;
    nothing_is_enqueued_for_whom_the_image_is_none(on).await;
    a_batch_with_one_that_is_wrong_enqueues_nothing(on).await;
    no_project_has_more_items_than_it_may(on).await;
    the_highest_priority_comes_first_and_then_the_first(on).await;
    whoever_comes_late_has_every_second_place(on).await;
    a_claim_gets_models_of_its_own(on).await;
    of_many_who_enqueue_one_image_at_once_one_does(on).await;
    batches_that_overlap_in_any_order_wait_for_nobody_for_ever(on).await;
}

async fn an_image_is_enqueued_once_at_a_time(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let image = on.image(&project);
    assert_eq!(on.status(&image).await, "no_segmentation");
    let item = on.enqueue(&owner, &image).await.unwrap();
    assert_eq!(
        (item.state, item.attempt, item.fence),
        (State::Queued, 0, 0)
    );
    assert_eq!((&item.image, &item.project), (&image, &project));
    assert_eq!((&item.user, &item.batch), (&owner.user, &None));
    assert_eq!((&*item.model, item.threshold.value()), ("otsu", 0.5));
    assert_eq!(on.now(&item).await, item);
    assert_eq!(on.status(&image).await, "queued");
    assert_eq!(on.stats(&project).await, (1, 0));
    let events = on.events().await;
    let again = on.enqueue(&owner, &image).await;
    assert_eq!(again, Err(NotEnqueued::Active));
    let claimed = on.claim(1).await;
    assert_eq!(ids(&claimed), [&item.id]);
    assert_eq!(on.enqueue(&owner, &image).await, Err(NotEnqueued::Active));
    assert_eq!(on.events().await, events + 2, "of the claim alone");
    on.finish(&claimed[0], completed(&claimed[0])).await;
    let next = on.enqueue(&owner, &image).await.unwrap();
    assert_ne!(next.id, item.id);
    assert_eq!(on.status(&image).await, "queued");
    on.cancel(&owner, &next).await.unwrap();
    assert_eq!(on.status(&image).await, "segmented");
}

async fn a_batch_passes_over_what_is_active_or_segmented(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let images = on.images(&project, 5);
    on.enqueue(&owner, &images[1]).await.unwrap();
    let claimed = on.claim(1).await;
    on.finish(&claimed[0], completed(&claimed[0])).await;
    on.enqueue(&owner, &images[3]).await.unwrap();
    let mut asked = images.clone();
    asked.reverse();
    let enqueued = on.batch(&owner, &project, &asked, false).await.unwrap();
    let added: Vec<_> = enqueued.items.iter().map(|item| &item.image).collect();
    assert_eq!(added, [&images[4], &images[2], &images[0]], "as asked");
    assert_eq!(enqueued.segmented, [images[1].clone()]);
    for item in &enqueued.items {
        assert_eq!(item.batch.as_ref(), Some(&enqueued.batch));
        assert_eq!(on.now(item).await, *item);
    }
    let again = on.batch(&owner, &project, &asked, true).await.unwrap();
    assert_eq!(again.items.len(), 1);
    assert_eq!(again.items[0].image, images[1]);
    assert_ne!(again.batch, enqueued.batch);
    let claimed = on.claim(10).await;
    let claimed: Vec<_> = claimed.iter().map(|item| &item.image).collect();
    let order = [&images[3], &images[4], &images[2], &images[0], &images[1]];
    assert_eq!(claimed, order, "first come, first served");
    on.cancel_many(&owner, Which::Own).await.unwrap();
    on.pass(Duration::from_secs(10)).await;
    assert_eq!(on.reap().await, 5);
}

async fn nothing_is_enqueued_for_whom_the_image_is_none(on: &World) {
    let (owner, pending) = (somebody(), somebody());
    let project = on.project(&owner).await;
    on.share(&project, &pending, "pending").await;
    let image = on.image(&project);
    let (events, nothing) = (on.events().await, Uuid::new_v4().to_string());
    let absent = Err(NotEnqueued::Denied(Denied::Absent));
    assert_eq!(on.enqueue(&owner, &nothing).await, absent);
    for caller in [&somebody(), &pending] {
        assert_eq!(on.enqueue(caller, &image).await, absent);
        let images = [image.clone()];
        let refused = on.batch(caller, &project, &images, false).await;
        assert_eq!(refused, Err(NotEnqueued::Denied(Denied::Absent)));
    }
    let images = [image.clone()];
    let refused = on.batch(&owner, &nothing, &images, false).await;
    assert_eq!(refused, Err(NotEnqueued::Denied(Denied::Absent)));
    assert_eq!(on.events().await, events);
    let member = somebody();
    on.share(&project, &member, "accepted").await;
    let item = on.enqueue(&member, &image).await.unwrap();
    assert_eq!(item.user, member.user);
    on.cancel(&member, &item).await.unwrap();
}

async fn a_batch_with_one_that_is_wrong_enqueues_nothing(on: &World) {
    let owner = somebody();
    let (project, other) = (on.project(&owner).await, on.project(&owner).await);
    let good = on.images(&project, 3);
    let (foreign, events) = (on.image(&other), on.events().await);
    let incomplete = on.shelf.put(&project, false);
    let unknown = Uuid::new_v4().to_string();
    for (wrong, why) in [
        (&foreign, NotEnqueued::Foreign(foreign.clone())),
        (&unknown, NotEnqueued::Foreign(unknown.clone())),
        (&incomplete, NotEnqueued::Incomplete(incomplete.clone())),
    ] {
        let mut images = good.clone();
        images.insert(2, wrong.clone());
        let refused = on.batch(&owner, &project, &images, false).await;
        assert_eq!(refused, Err(why));
    }
    let refused = on.enqueue(&owner, &incomplete).await;
    assert_eq!(refused, Err(NotEnqueued::Incomplete(incomplete)));
    assert_eq!(on.events().await, events);
    assert_eq!(on.stats(&project).await, (0, 0));
    assert_eq!(on.claim(10).await, []);
}

async fn no_project_has_more_items_than_it_may(on: &World) {
    let few = World::beside(on, &|config| config.items_max = 5).await;
    let owner = somebody();
    let project = few.project(&owner).await;
    let images = few.images(&project, 7);
    let refused = few.batch(&owner, &project, &images[..6], false).await;
    assert_eq!(refused, Err(NotEnqueued::TooMany));
    assert_eq!(few.stats(&project).await, (0, 0));
    few.batch(&owner, &project, &images[..4], false)
        .await
        .unwrap();
    let refused = few.batch(&owner, &project, &images[4..6], false).await;
    assert_eq!(refused, Err(NotEnqueued::TooMany));
    let last = few.enqueue(&owner, &images[4]).await.unwrap();
    let refused = few.enqueue(&owner, &images[5]).await;
    assert_eq!(refused, Err(NotEnqueued::TooMany));
    let claimed = few.claim(1).await;
    let refused = few.enqueue(&owner, &images[5]).await;
    assert_eq!(refused, Err(NotEnqueued::TooMany), "what is processed, too");
    few.cancel(&owner, &last).await.unwrap();
    few.enqueue(&owner, &images[5]).await.unwrap();
    few.finish(&claimed[0], failed(false)).await;
    few.enqueue(&owner, &images[6]).await.unwrap();
    assert_eq!(few.stats(&project).await, (5, 0));
    few.cancel_many(&owner, Which::Own).await.unwrap();
}

async fn the_highest_priority_comes_first_and_then_the_first(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let mut items = Vec::new();
    for priority in [0, 3, 10, 3, 0, 10] {
        let image = on.image(&project);
        let item = on.enqueue_as(&owner, &image, order(priority)).await;
        items.push(item.unwrap());
    }
    let mut claimed = Vec::new();
    for max in [1, 2, 10] {
        claimed.extend(on.claim(max).await);
    }
    let expected = [2, 5, 1, 3, 0, 4].map(|place: usize| items[place].id.as_str());
    assert_eq!(ids(&claimed), expected);
    for item in &claimed {
        on.finish(item, failed(false)).await;
    }
}

async fn whoever_comes_late_has_every_second_place(on: &World) {
    let (early, late) = (somebody(), somebody());
    let project = on.project(&early).await;
    on.share(&project, &late, "accepted").await;
    let images = on.images(&project, 1000);
    let first = on.batch(&early, &project, &images, false).await.unwrap();
    assert_eq!(ids(&on.claim(100).await), ids(&first.items[..100]));
    let second = on
        .batch(&late, &project, &on.images(&project, 50), false)
        .await
        .unwrap();
    // One by one, and his turns do not begin anew with each.
    let mut expected: Vec<_> = ids(&second.items);
    let singly = [
        on.queued(&late, &project).await,
        on.queued(&late, &project).await,
    ];
    expected.extend(ids(&singly));
    let mut claimed = on.claim(40).await;
    claimed.extend(on.claim(7).await);
    claimed.extend(on.claim(57).await);
    let places = |user: &Caller| {
        let his = claimed.iter().filter(|item| item.user == user.user);
        his.map(|item| item.id.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(places(&late), expected, "all of his, in their order");
    assert_eq!(places(&early), ids(&first.items[100..152]));
    for pair in claimed.chunks(2) {
        assert_ne!(pair[0].user, pair[1].user, "they take turns");
    }
    let all = Which::Project {
        project: project.clone(),
        all: true,
    };
    on.cancel_many(&early, all).await.unwrap();
    on.pass(Duration::from_secs(10)).await;
    assert_eq!(on.reap().await, 204);
    assert_eq!(on.stats(&project).await, (0, 0));
}

async fn a_claim_gets_models_of_its_own(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let otsu = on.queued(&owner, &project).await;
    let local = Order {
        model: String::from("local"),
        ..order(10)
    };
    let image = on.image(&project);
    let local = on.enqueue_as(&owner, &image, local).await.unwrap();
    let [otsu_only, local_only] = ["otsu", "local"].map(|model| Claim {
        models: vec![model.to_owned()],
        ..claim(10)
    });
    let store = &on.queue.store;
    assert!(store.is_waiting(&otsu_only).await.unwrap());
    let claimed = on.claim_as(&otsu_only).await;
    assert_eq!(ids(&claimed), [&otsu.id]);
    let another = claim(1);
    assert!(!store.is_waiting(&another).await.unwrap());
    // What it has got already.
    assert!(store.is_waiting(&otsu_only).await.unwrap());
    assert!(store.is_waiting(&local_only).await.unwrap());
    on.unclaim(&claimed).await;
    let both = Claim {
        models: vec![String::from("otsu"), String::from("local")],
        ..claim(10)
    };
    let claimed = on.claim_as(&both).await;
    assert_eq!(ids(&claimed), [&local.id, &otsu.id]);
    for item in &claimed {
        on.finish(item, failed(false)).await;
    }
}

async fn of_many_who_enqueue_one_image_at_once_one_does(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    for _round in 0..20 {
        let image = on.image(&project);
        let calls = (0..6).map(|_| {
            let store = &on.queue.store;
            store.enqueue(image.clone(), owner.clone(), order(0))
        });
        let done = futures_util::future::join_all(calls).await;
        let done: Vec<_> = done.into_iter().map(Result::unwrap).collect();
        let made = done.iter().filter(|done| done.is_ok()).count();
        assert_eq!(made, 1, "{done:?}");
        let refused = Err(NotEnqueued::Active);
        assert_eq!(done.iter().filter(|done| **done == refused).count(), 5);
        on.look().await;
    }
    let cancelled = on.cancel_many(&owner, Which::Own).await.unwrap();
    assert_eq!(cancelled.changed.len(), 20);
}

/// Whoever adds rows in another order than somebody else would wait for him while he waits.
async fn batches_that_overlap_in_any_order_wait_for_nobody_for_ever(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    for _round in 0..10 {
        let images = on.images(&project, 200);
        let looks = on.shelf.looks.load(SeqCst);
        let calls = (0..6).map(|_| {
            let mut images = images.clone();
            fastrand::shuffle(&mut images);
            let batch = batch(&project, &images, false);
            on.queue.store.enqueue_all(batch, owner.clone())
        });
        let done = futures_util::future::join_all(calls).await;
        let done = done.into_iter().map(|done| done.unwrap().unwrap());
        assert_eq!(done.map(|done| done.items.len()).sum::<usize>(), 200);
        let runs = on.shelf.looks.load(SeqCst) - looks;
        assert_eq!(runs, 6, "no transaction had to run again");
        on.look().await;
        on.cancel_many(&owner, Which::Own).await.unwrap();
    }
}
