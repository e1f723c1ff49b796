//! What nobody asks for, and the end of a project.

use std::time::Duration;

use super::super::sweep::Sweeper;
use super::*;
use crate::work::{Next, Worker as _};

on_both_engines!(suite);

async fn suite(on: &World) {
    what_ended_long_ago_is_forgotten(on).await;
    a_sweep_ends_leases_and_says_when_the_next_one_ends(on).await;
    a_sweep_forgets_what_ended_long_ago(on).await;
    what_is_of_an_image_that_is_gone_goes(on).await;
    a_claim_gets_no_image_that_is_gone(on).await;
    a_project_goes_when_its_workers_have_let_go(on).await;
    a_large_project_goes_bit_by_bit(on).await;
}

async fn what_ended_long_ago_is_forgotten(on: &World) {
    let [one, other] = [(); 2].map(|()| somebody());
    let project = on.project(&one).await;
    on.share(&project, &other, "accepted").await;
    let mut old = Vec::new();
    for caller in [&one, &other] {
        let item = on.processing(caller, &project).await;
        on.finish(&item, completed(&item)).await;
        old.push(item);
        let item = on.processing(caller, &project).await;
        on.finish(&item, failed(false)).await;
        old.push(item);
        let item = on.queued(caller, &project).await;
        on.cancel(caller, &item).await.unwrap();
        old.push(item);
    }
    let active = on.processing(&one, &project).await;
    let waiting = on.queued(&one, &project).await;
    on.pass(Duration::from_secs(1000)).await;
    let fresh = on.queued(&one, &project).await;
    on.cancel(&one, &fresh).await.unwrap();
    let forget = |user: Option<&Caller>| {
        let user = user.map(|user| user.user.clone());
        async {
            let forgotten = on.queue.store.forget(1_000_000, user, 1000).await;
            on.look().await;
            forgotten.unwrap()
        }
    };
    assert_eq!(forget(Some(&one)).await, 3);
    assert_eq!(forget(Some(&one)).await, 0);
    let is_there = |item: &Item| {
        let id = item.id.clone();
        async move { on.queue.store.find(&id, &admin()).await.unwrap().is_some() }
    };
    for (place, item) in old.iter().enumerate() {
        assert_eq!(is_there(item).await, place >= 3);
    }
    assert_eq!(forget(None).await, 3);
    for item in [&active, &waiting, &fresh] {
        assert!(is_there(item).await);
    }
    assert_eq!(on.status(&old[0].image).await, "segmented");
    on.cancel_many(&one, Which::Own).await.unwrap();
    on.finish(&active, Outcome::Cancelled).await;
}

async fn a_sweep_ends_leases_and_says_when_the_next_one_ends(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let mut sweeper = Sweeper::new(&on.queue);
    assert_eq!(sweeper.work().await, Next::Later);
    let dead = on.processing(&owner, &project).await;
    on.pass(Duration::from_secs(8)).await;
    let alive = on.processing(&owner, &project).await;
    assert!(matches!(sweeper.work().await, Next::In(left)
        if left <= Duration::from_secs(7) && left > Duration::from_secs(1)));
    on.cancel(&owner, &alive).await.unwrap();
    on.pass(Duration::from_secs(7)).await;
    assert!(matches!(sweeper.work().await, Next::In(left)
        if left <= Duration::from_secs(3)));
    on.look().await;
    assert_eq!(on.state(&dead).await, State::Queued);
    assert_eq!(on.state(&alive).await, State::Cancelling);
    on.pass(Duration::from_secs(3)).await;
    assert_eq!(sweeper.work().await, Next::Later);
    on.look().await;
    assert_eq!(on.state(&alive).await, State::Cancelled);
    on.cancel(&owner, &dead).await.unwrap();
}

async fn a_sweep_forgets_what_ended_long_ago(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.queued(&owner, &project).await;
    on.cancel(&owner, &item).await.unwrap();
    on.pass(Duration::from_secs(3600)).await;
    let fresh = on.queued(&owner, &project).await;
    on.cancel(&owner, &fresh).await.unwrap();
    Sweeper::new(&on.queue).work().await;
    on.look().await;
    let find = |item: &Item| {
        let id = item.id.clone();
        async move { on.queue.store.find(&id, &admin()).await.unwrap() }
    };
    assert_eq!(find(&item).await, None);
    assert!(find(&fresh).await.is_some());
}

async fn what_is_of_an_image_that_is_gone_goes(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let before = results(on).await;
    let kept = on.processing(&owner, &project).await;
    on.finish(&kept, completed(&kept)).await;
    let result = on.processing(&owner, &project).await;
    on.finish(&result, completed(&result)).await;
    let taken = on.processing(&owner, &project).await;
    let waiting = on.queued(&owner, &project).await;
    let stays = on.queued(&owner, &project).await;
    let events = on.events().await;
    let mut sweeper = Sweeper::new(&on.queue);
    sweeper.work().await;
    assert_eq!(on.events().await, events);
    for item in [&result, &taken, &waiting] {
        on.shelf.remove(&item.image);
    }
    // One that begins anew looks at the results first.
    Sweeper::new(&on.queue).work().await;
    on.look().await;
    // This one has seen the last page.
    sweeper.work().await;
    sweeper.work().await;
    on.look().await;
    assert_eq!(on.state(&taken).await, State::Cancelling);
    assert_eq!(on.state(&waiting).await, State::Cancelled);
    assert_eq!(on.state(&stays).await, State::Queued);
    assert!(on.now(&waiting).await.cancel_reason.is_some());
    assert!(on.result(&kept.image).await.is_some());
    assert!(
        on.queue
            .store
            .result(&result.image, &owner)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(results(on).await, before + 1);
    on.finish(&taken, completed(&taken)).await;
    assert_eq!(results(on).await, before + 1);
    on.cancel(&owner, &stays).await.unwrap();
}

static RESULTS: Sql = sql!("SELECT COUNT(*) FROM queue_result");

async fn results(on: &World) -> i64 {
    let count = on
        .db
        .read(|tx| async move { tx.fetch_optional(&RESULTS, &[]).await }.boxed());
    count.await.unwrap().unwrap().int(0).unwrap()
}

async fn a_claim_gets_no_image_that_is_gone(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let gone = on.queued(&owner, &project).await;
    let there = on.queued(&owner, &project).await;
    on.shelf.remove(&gone.image);
    let claimed = on.claim(5).await;
    assert_eq!(ids(&claimed), [&there.id]);
    let ended = on.now(&gone).await;
    assert_eq!(ended.state, State::Cancelled);
    assert_eq!(ended.cancel_reason.as_deref(), Some("the image is gone"));
    on.finish(&claimed[0], completed(&claimed[0])).await;
}

static COUNT_OF: Sql = sql!(
    "SELECT CAST((SELECT COUNT(*) FROM queue_item WHERE project_id = $1) \
     + (SELECT COUNT(*) FROM queue_result WHERE project_id = $1) \
     + (SELECT COUNT(*) FROM queue_count WHERE project_id = $1) AS BIGINT)"
);

/// How many rows there are of a project.
async fn rows(on: &World, project: &str) -> i64 {
    let count = on.db.read(|tx| {
        let project = project.to_owned();
        async move { tx.fetch_optional(&COUNT_OF, &[Param::Text(&project)]).await }.boxed()
    });
    count.await.unwrap().unwrap().int(0).unwrap()
}

async fn clear(on: &World, project: &str) -> bool {
    let cleared = on.queue.store.clear(project.to_owned()).await;
    on.look().await;
    cleared.unwrap()
}

async fn a_project_goes_when_its_workers_have_let_go(on: &World) {
    let [owner, member] = [(); 2].map(|()| somebody());
    let (project, other) = (on.project(&owner).await, on.project(&owner).await);
    on.share(&project, &member, "accepted").await;
    let done = on.processing(&owner, &project).await;
    on.finish(&done, completed(&done)).await;
    let taken = on.processing(&member, &project).await;
    let waiting = on.queued(&owner, &project).await;
    let elsewhere = on.queued(&owner, &other).await;
    assert!(!clear(on, &project).await);
    assert_eq!(on.state(&taken).await, State::Cancelling);
    assert_eq!(on.state(&waiting).await, State::Cancelled);
    let reason = on.now(&waiting).await.cancel_reason;
    assert_eq!(reason.as_deref(), Some("the project is deleted"));
    let events = on.events().await;
    assert!(!clear(on, &project).await);
    assert_eq!(on.events().await, events);
    assert!(
        on.result(&done.image).await.is_some(),
        "nothing is half gone"
    );
    let late = on.finish(&taken, completed(&taken)).await;
    assert_eq!(late, Finished::CancelWon);
    until(|| clear(on, &project)).await;
    assert_eq!(rows(on, &project).await, 0);
    assert_eq!(on.stats(&project).await, (0, 0));
    assert_eq!(on.result(&done.image).await, None);
    let late = on.finish(&taken, completed(&taken)).await;
    assert_eq!(late, Finished::Unknown);
    assert!(clear(on, &project).await, "and stays so");
    assert_eq!(on.state(&elsewhere).await, State::Queued);
    on.cancel(&owner, &elsewhere).await.unwrap();
    until(|| clear(on, &other)).await;
    // One whose worker is dead goes after the grace.
    let project = on.project(&owner).await;
    on.processing(&owner, &project).await;
    assert!(!clear(on, &project).await);
    on.pass(Duration::from_secs(10)).await;
    assert_eq!(on.reap().await, 1);
    until(|| clear(on, &project)).await;
    assert_eq!(rows(on, &project).await, 0);
}

async fn a_large_project_goes_bit_by_bit(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    for _ in 0..2 {
        let images = on.images(&project, 1100);
        on.batch(&owner, &project, &images, false).await.unwrap();
    }
    let mut calls = 0;
    while !clear(on, &project).await {
        calls += 1;
        assert!(calls < 10, "it goes on");
    }
    assert!(calls >= 3, "a thousand at once");
    assert_eq!(rows(on, &project).await, 0);
}
