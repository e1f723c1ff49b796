//! Workers that wait.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use http_body_util::BodyExt;
use tidegate_protocol::problem::Problem;

use super::super::claim::{Answer, Offer};
use super::*;

on_both_engines!(suite);

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3600);

async fn suite(on: &World) {
    an_item_comes_to_whoever_waits_for_it(on).await;
    whoever_waits_is_woken_by_each_way_back(on).await;
    nothing_comes_of_waiting_in_vain(on).await;
    a_worker_that_goes_while_it_waits_gets_nothing(on).await;
    a_worker_that_goes_with_its_claim_gives_it_back(on).await;
    an_answer_that_nobody_reads_gives_its_claim_back(on).await;
    an_answer_that_is_on_its_way_keeps_its_claim(on).await;
    the_same_claim_twice_gets_the_same_items(on).await;
    the_same_claim_twice_waits_once(on).await;
    whoever_waits_is_told_that_the_server_ends(on).await;
}

async fn offer(on: &World, claim: &Claim, wait: Duration) -> Result<Option<Offer>, Problem> {
    on.queue.offer(claim.clone(), wait, pending()).await
}

/// An offer that there is.
async fn something(on: &World, claim: &Claim) -> Offer {
    let offered = tokio::time::timeout(AT_MOST, offer(on, claim, LONG)).await;
    offered.expect("it comes").unwrap().expect("there is some")
}

fn items(offer: &Offer) -> Vec<Item> {
    offer.items.iter().map(|(item, _)| item.clone()).collect()
}

/// Waits until each claim has come to its end.
async fn settled(on: &World) {
    let settling = on.queue.scope.settle(AT_MOST).await;
    assert_eq!(settling, Settling::Settled);
    on.look().await;
}

/// Waits until a claim has looked for what there is, and waits for more.
async fn waits(on: &World) {
    until(|| async { on.queue.crew.metrics.waiting() > 0 }).await;
}

/// Keeps an answer: the worker is reading it.
async fn answer(offer: Offer) {
    let body = Answer::body(b"what there is".to_vec(), offer.taken);
    let read = body.collect().await.unwrap().to_bytes();
    assert_eq!(read, "what there is");
}

/// To see one of them by looking unasked takes a second, so all of them would take minutes.
async fn an_item_comes_to_whoever_waits_for_it(on: &World) {
    const ROUNDS: usize = 200;
    let owner = somebody();
    let project = on.project(&owner).await;
    let rounds = async {
        for _round in 0..ROUNDS {
            let image = on.image(&project);
            let mine = claim(3);
            let enqueued = async {
                waits(on).await;
                let store = &on.queue.store;
                let item = store.enqueue(image, owner.clone(), order(0)).await;
                item.unwrap().unwrap()
            };
            let (offer, item) = tokio::join!(something(on, &mine), enqueued);
            let got = items(&offer);
            assert_eq!(ids(&got), [&item.id]);
            answer(offer).await;
            let done = on.queue.store.finish(finish(&got[0], completed(&got[0])));
            assert_eq!(done.await.unwrap(), Finished::As(State::Completed));
        }
    };
    let woken = tokio::time::timeout(AT_MOST, rounds).await;
    woken.expect("they are woken, and do not look by themselves");
    settled(on).await;
}

/// The wish for the next item is there before the look, and each way into `queued` grants it.
async fn whoever_waits_is_woken_by_each_way_back(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let crew = &on.queue.crew;
    let wish = pin!(crew.queued());
    let item = on.processing(&owner, &project).await;
    assert!(wish.now_or_never().is_some(), "enqueued");
    let wish = pin!(crew.queued());
    on.finish(&item, Outcome::Cancelled).await;
    assert!(wish.now_or_never().is_some(), "given back");
    let item = on.claim(1).await.pop().unwrap();
    let wish = pin!(crew.queued());
    on.unclaim(&[item]).await;
    assert!(wish.now_or_never().is_some(), "taken back");
    on.claim(1).await.pop().unwrap();
    on.pass(Duration::from_secs(15)).await;
    let wish = pin!(crew.queued());
    assert_eq!(on.reap().await, 1);
    assert!(wish.now_or_never().is_some(), "lost");
    on.claim(1).await.pop().unwrap();
    let wish = pin!(crew.queued());
    assert_eq!(on.queue.store.reset(0, None).await.unwrap(), 1);
    assert!(wish.now_or_never().is_some(), "reset");
    let wish = pin!(crew.queued());
    on.cancel_many(&owner, Which::Own).await.unwrap();
    assert!(wish.now_or_never().is_none(), "nothing waits");
}

async fn nothing_comes_of_waiting_in_vain(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let image = on.image(&project);
    let local = Order {
        model: String::from("local"),
        ..order(0)
    };
    let item = on.enqueue_as(&owner, &image, local).await.unwrap();
    for wait in [Duration::ZERO, Duration::from_millis(50)] {
        assert!(offer(on, &claim(1), wait).await.unwrap().is_none());
    }
    settled(on).await;
    assert_eq!(on.state(&item).await, State::Queued);
    on.cancel(&owner, &item).await.unwrap();
}

async fn a_worker_that_goes_while_it_waits_gets_nothing(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let mine = claim(1);
    {
        let mut waiting = Box::pin(offer(on, &mine, LONG));
        tokio::select! {
            _ = &mut waiting => panic!("there is nothing"),
            () = waits(on) => {}
        }
    }
    settled(on).await;
    let item = on.queued(&owner, &project).await;
    assert_eq!(on.state(&item).await, State::Queued);
    on.cancel(&owner, &item).await.unwrap();
}

async fn a_worker_that_goes_with_its_claim_gives_it_back(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.queued(&owner, &project).await;
    let mine = claim(1);
    for turn in 1..=20 {
        let mut waiting = Box::pin(offer(on, &mine, LONG));
        // Begun, and never looked at again.
        match waiting.as_mut().now_or_never() {
            // What it has got so soon is dropped here.
            Some(offered) => assert!(offered.unwrap().is_some()),
            None if turn % 2 == 0 => {
                until(|| async { on.state(&item).await == State::Processing }).await;
            }
            None => {}
        }
        drop(waiting);
        settled(on).await;
        let now = on.now(&item).await;
        assert_eq!((now.state, now.attempt), (State::Queued, 0));
    }
    on.cancel(&owner, &item).await.unwrap();
}

async fn an_answer_that_nobody_reads_gives_its_claim_back(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.queued(&owner, &project).await;
    let unread = something(on, &claim(1)).await;
    drop(unread);
    settled(on).await;
    assert_eq!(on.now(&item).await.attempt, 0);
    let unread = something(on, &claim(1)).await;
    drop(Answer::body(Vec::new(), unread.taken));
    settled(on).await;
    let now = on.now(&item).await;
    assert_eq!((now.state, now.attempt), (State::Queued, 0));
    // One that was cancelled meanwhile is nobody's any more.
    let unread = something(on, &claim(1)).await;
    on.cancel(&owner, &item).await.unwrap();
    assert_eq!(on.state(&item).await, State::Cancelling);
    drop(unread);
    settled(on).await;
    assert_eq!(on.state(&item).await, State::Cancelled);
}

async fn an_answer_that_is_on_its_way_keeps_its_claim(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    on.queued(&owner, &project).await;
    let offer = something(on, &claim(1)).await;
    let got = items(&offer);
    answer(offer).await;
    settled(on).await;
    let now = on.now(&got[0]).await;
    assert_eq!((now.state, now.fence), (State::Processing, got[0].fence));
    on.finish(&got[0], completed(&got[0])).await;
}

async fn the_same_claim_twice_gets_the_same_items(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let images = on.images(&project, 6);
    on.batch(&owner, &project, &images, false).await.unwrap();
    let mine = claim(3);
    let first = something(on, &mine).await;
    let second = something(on, &mine).await;
    let got = items(&first);
    assert_eq!(ids(&items(&second)), ids(&got), "the first one may be lost");
    drop(first);
    let third = something(on, &mine).await;
    assert_eq!(ids(&items(&third)), ids(&got));
    answer(third).await;
    drop(second);
    settled(on).await;
    for item in &got {
        let now = on.now(item).await;
        assert_eq!((now.state, now.fence), (State::Processing, 1));
    }
    assert_eq!(on.stats(&project).await, (3, 3));
    // One that asks again after it has got its answer, too.
    let again = something(on, &mine).await;
    assert_eq!(ids(&items(&again)), ids(&got));
    answer(again).await;
    settled(on).await;
    on.cancel_many(&owner, Which::Own).await.unwrap();
    for item in &got {
        on.finish(item, Outcome::Cancelled).await;
    }
}

async fn the_same_claim_twice_waits_once(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    for _round in 0..20 {
        let mine = claim(2);
        let (first, (second, ())) = tokio::join!(offer(on, &mine, LONG), async {
            waits(on).await;
            tokio::join!(something(on, &mine), async {
                on.queued(&owner, &project).await;
                // One of both may have got the first.
                on.queued(&owner, &project).await;
            })
        });
        let got = items(&second);
        match first {
            Ok(Some(first)) => assert_eq!(ids(&items(&first)), ids(&got)),
            // It was displaced before it got something.
            Ok(None) => {}
            Err(problem) => panic!("{problem:?}"),
        }
        answer(second).await;
        settled(on).await;
        assert_eq!(on.stats(&project).await.1, got.len() as i64);
        for item in &got {
            on.finish(item, completed(item)).await;
        }
        on.cancel_many(&owner, Which::Own).await.unwrap();
    }
}

async fn whoever_waits_is_told_that_the_server_ends(on: &World) {
    let ending = World::beside(on, &|_| {}).await;
    let mine = claim(1);
    let (told, ()) = tokio::join!(offer(&ending, &mine, LONG), async {
        waits(&ending).await;
        ending.scope.cancel(CancelReason::Shutdown);
    });
    assert!(matches!(told, Err(Problem::ShuttingDown { .. })));
    assert_eq!(ending.scope.settle(AT_MOST).await, Settling::Settled);
}
