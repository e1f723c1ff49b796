//! What becomes of images meanwhile. What events tell of it is seen by the audit after each step.

use std::time::Duration;

use super::*;

on_both_engines!(suite);

async fn suite(on: &World) {
    a_cancel_restores_what_was_before(on).await;
    a_newer_item_decides_over_an_older_one(on).await;
    items_of_one_image_that_lose_their_leases_together_agree(on).await;
    an_older_items_end_meets_what_the_newer_one_does(on).await;
}

/// An image that has a result.
async fn segmented(on: &World, by: &Caller, project: &str) -> String {
    let item = on.processing(by, project).await;
    on.finish(&item, completed(&item)).await;
    item.image
}

async fn a_cancel_restores_what_was_before(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let known = segmented(on, &owner, &project).await;
    let unknown = on.image(&project);
    let result = on.result(&known).await;
    for (image, before) in [(&known, "segmented"), (&unknown, "no_segmentation")] {
        assert_eq!(on.status(image).await, before);
        let waiting = on.enqueue(&owner, image).await.unwrap();
        assert_eq!(on.status(image).await, "queued");
        on.cancel(&owner, &waiting).await.unwrap();
        assert_eq!(on.status(image).await, before);
        on.enqueue(&owner, image).await.unwrap();
        let taken = on.claim(1).await.pop().unwrap();
        assert_eq!(on.status(image).await, "processing");
        let (item, _) = on.cancel(&owner, &taken).await.unwrap();
        assert_eq!(item.image_status(), before, "at once");
        assert_eq!(on.status(image).await, before);
        on.finish(&taken, completed(&taken)).await;
        assert_eq!(on.status(image).await, before);
    }
    assert_eq!(on.result(&known).await, result);
    assert_eq!(on.result(&unknown).await, None);
}

async fn a_newer_item_decides_over_an_older_one(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    for has_result in [false, true] {
        let image = match has_result {
            true => segmented(on, &owner, &project).await,
            false => on.image(&project),
        };
        on.enqueue(&owner, &image).await.unwrap();
        let older = on.claim(1).await.pop().unwrap();
        on.cancel(&owner, &older).await.unwrap();
        let newer = on.enqueue(&owner, &image).await.unwrap();
        assert_eq!(on.status(&image).await, "queued");
        assert_eq!(on.now(&older).await.image_status(), "queued");
        let (again, is_changed) = on.cancel(&owner, &older).await.unwrap();
        assert_eq!((again.image_status(), is_changed), ("queued", false));
        assert_eq!(on.state(&newer).await, State::Queued);
        let taken = on.claim(1).await.pop().unwrap();
        assert_eq!(taken.id, newer.id);
        let late = on.finish(&older, completed(&older)).await;
        assert_eq!(late, Finished::CancelWon);
        assert_eq!(on.status(&image).await, "processing");
        let saved = on.result(&image).await;
        assert_eq!(saved.is_some(), has_result);
        let done = on.finish(&taken, completed(&taken)).await;
        assert_eq!(done, Finished::As(State::Completed));
        assert_eq!(on.status(&image).await, "segmented");
        assert_eq!(on.result(&image).await.unwrap().item, newer.id);
    }
}

async fn items_of_one_image_that_lose_their_leases_together_agree(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    for image in on.images(&project, 30) {
        for _ in 0..3 {
            let item = on.enqueue(&owner, &image).await.unwrap();
            on.claim(1).await.pop().expect("it is alone");
            on.cancel(&owner, &item).await.unwrap();
        }
        on.enqueue(&owner, &image).await.unwrap();
        on.claim(1).await.pop().expect("it is alone");
        on.pass(Duration::from_secs(15)).await;
        assert_eq!(on.reap().await, 4, "at once");
        assert_eq!(on.status(&image).await, "queued");
        on.cancel_many(&owner, Which::Own).await.unwrap();
    }
}

/// Whichever comes first, what the last event says of the image is what it is.
async fn an_older_items_end_meets_what_the_newer_one_does(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    for round in 0..40 {
        let images = on.images(&project, 20);
        on.batch(&owner, &project, &images, false).await.unwrap();
        let older = on.claim(20).await;
        on.cancel_many(&owner, Which::Own).await.unwrap();
        let store = &on.queue.store;
        let mut work = Vec::new();
        for item in &older {
            let reported = store.finish(finish(item, Outcome::Cancelled));
            work.push(reported.map(|said| assert!(said.is_ok())).boxed());
            let enqueued = store.enqueue(item.image.clone(), owner.clone(), order(0));
            work.push(enqueued.map(|done| drop(done.unwrap().unwrap())).boxed());
            if round % 2 == 0 {
                let claimed = async { drop(store.claim(&claim(1)).await.unwrap()) };
                work.push(claimed.boxed());
            }
        }
        fastrand::shuffle(&mut work);
        futures_util::future::join_all(work).await;
        on.look().await;
        on.cancel_many(&owner, Which::Own).await.unwrap();
        on.pass(Duration::from_secs(10)).await;
        on.reap().await;
    }
}
