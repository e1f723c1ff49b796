//! How a worker ends an item.

use std::time::Duration;

use super::*;

on_both_engines!(suite);

async fn suite(on: &World) {
    each_report_ends_what_is_processed(on).await;
    a_cancel_wins_over_each_report(on).await;
    a_report_said_again_is_answered_again(on).await;
    what_is_not_the_workers_is_not_ended_by_him(on).await;
    a_failure_is_tried_again_later_and_later(on).await;
    giving_back_does_not_count(on).await;
    whatever_a_worker_says_of_a_failure_is_kept(on).await;
    a_result_is_replaced_when_the_next_is_there(on).await;
    reports_at_once_count_once(on).await;
    a_report_of_what_is_gone_is_of_nothing(on).await;
}

async fn each_report_ends_what_is_processed(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    for (outcome, state, status) in [
        (None, State::Completed, "segmented"),
        (Some(failed(false)), State::Failed, "failed"),
        (Some(failed(true)), State::Queued, "queued"),
        (Some(Outcome::Cancelled), State::Queued, "queued"),
    ] {
        let item = on.processing(&owner, &project).await;
        let outcome = outcome.unwrap_or_else(|| completed(&item));
        let is_failure = matches!(outcome, Outcome::Failed { .. });
        assert_eq!(on.finish(&item, outcome).await, Finished::As(state));
        let now = on.now(&item).await;
        assert_eq!(now.state, state);
        assert_eq!(now.error.is_some(), is_failure);
        assert_eq!(on.status(&item.image).await, status);
        let is_saved = on.result(&item.image).await.is_some();
        assert_eq!(is_saved, state == State::Completed);
        on.cancel_many(&owner, Which::Own).await.unwrap();
        assert_eq!(on.stats(&project).await, (0, 0));
    }
}

async fn a_cancel_wins_over_each_report(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    for first in 0..4 {
        let item = on.processing(&owner, &project).await;
        on.cancel(&owner, &item).await.unwrap();
        let reports = || {
            [
                (completed(&item), Finished::CancelWon),
                (failed(true), Finished::CancelWon),
                (failed(false), Finished::CancelWon),
                (Outcome::Cancelled, Finished::As(State::Cancelled)),
            ]
        };
        let mut reports = Vec::from(reports());
        reports.rotate_left(first);
        let mut events = None;
        for (outcome, answer) in reports {
            assert_eq!(on.finish(&item, outcome).await, answer);
            let now = on.now(&item).await;
            assert_eq!(now.state, State::Cancelled);
            assert_eq!(now.how.as_deref(), Some("worker"));
            assert_eq!(now.error, None);
            let told = on.events().await;
            assert_eq!(*events.get_or_insert(told), told, "only once");
        }
        assert_eq!(on.result(&item.image).await, None);
        assert_eq!(on.status(&item.image).await, "no_segmentation");
    }
}

async fn a_report_said_again_is_answered_again(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    for (outcome, state) in [
        (None, State::Completed),
        (Some(failed(false)), State::Failed),
        (Some(failed(true)), State::Queued),
        (Some(Outcome::Cancelled), State::Queued),
    ] {
        let item = on.processing(&owner, &project).await;
        let outcome = outcome.unwrap_or_else(|| completed(&item));
        on.finish(&item, outcome.clone()).await;
        let (events, row) = (on.events().await, on.now(&item).await);
        let again = on.finish(&item, outcome.clone()).await;
        assert_eq!(again, Finished::As(state));
        let other = match outcome {
            Outcome::Completed(_) => failed(false),
            _ => completed(&item),
        };
        assert_eq!(on.finish(&item, other).await, Finished::LeaseLost);
        assert_eq!(on.now(&item).await, row);
        assert_eq!(on.events().await, events);
        if state == State::Queued {
            on.pass(Duration::from_secs(60)).await;
            let next = on.claim(1).await.pop().unwrap();
            let again = on.finish(&item, outcome.clone()).await;
            assert_eq!(again, Finished::As(State::Queued), "while it is the last");
            on.finish(&next, completed(&next)).await;
            let late = on.finish(&item, outcome).await;
            assert_eq!(late, Finished::LeaseLost);
            assert_eq!(on.state(&item).await, State::Completed);
        }
    }
}

async fn what_is_not_the_workers_is_not_ended_by_him(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.processing(&owner, &project).await;
    let events = on.events().await;
    for outcome in [completed(&item), failed(true), Outcome::Cancelled] {
        let right = finish(&item, outcome);
        for (fence, holder) in [(0, HOLDER), (2, HOLDER), (1, "another")] {
            let wrong = Finish {
                fence,
                holder: holder_of(holder),
                ..right.clone()
            };
            assert_eq!(on.finish_as(wrong).await, Finished::LeaseLost);
        }
    }
    assert_eq!(on.events().await, events);
    assert_eq!(on.state(&item).await, State::Processing);
    on.cancel(&owner, &item).await.unwrap();
    let events = on.events().await;
    let wrong = Finish {
        holder: holder_of("another"),
        ..finish(&item, Outcome::Cancelled)
    };
    assert_eq!(on.finish_as(wrong).await, Finished::LeaseLost);
    assert_eq!(on.events().await, events);
    assert_eq!(on.state(&item).await, State::Cancelling);
    on.finish(&item, Outcome::Cancelled).await;
    // Nobody has what waits.
    let item = on.queued(&owner, &project).await;
    for outcome in [completed(&item), failed(true), Outcome::Cancelled] {
        let lost = on.finish(&item, outcome).await;
        assert_eq!(lost, Finished::LeaseLost);
    }
    on.cancel(&owner, &item).await.unwrap();
}

async fn a_failure_is_tried_again_later_and_later(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.queued(&owner, &project).await;
    let mut fences = Vec::new();
    for (attempt, pause) in [(1, 2), (2, 4), (3, 8)] {
        let claimed = on.claim(1).await.pop().unwrap();
        assert_eq!((&claimed.id, claimed.attempt), (&item.id, attempt));
        fences.push(claimed.fence);
        let answer = on.finish(&claimed, failed(true)).await;
        assert_eq!(answer, Finished::As(State::Queued));
        assert_eq!(on.now(&item).await.error.as_deref(), Some("it broke"));
        on.pass(Duration::from_millis(pause * 1000 - 900)).await;
        assert!(!on.queue.store.is_waiting(&claim(1)).await.unwrap());
        assert_eq!(on.claim(1).await, [], "not yet");
        on.pass(Duration::from_millis(900)).await;
        assert!(on.queue.store.is_waiting(&claim(1)).await.unwrap());
    }
    let last = on.claim(1).await.pop().unwrap();
    assert_eq!(last.attempt, 4);
    let answer = on.finish(&last, failed(true)).await;
    assert_eq!(answer, Finished::As(State::Failed));
    assert_eq!(on.status(&item.image).await, "failed");
    let again = on.finish(&last, failed(true)).await;
    assert_eq!(again, Finished::As(State::Failed));
    fences.push(last.fence);
    assert_eq!(fences, [1, 2, 3, 4]);
}

async fn whatever_a_worker_says_of_a_failure_is_kept(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.processing(&owner, &project).await;
    let outcome = Outcome::Failed {
        message: String::from("\u{1f980} \"it\"\r\nbroke\\"),
        retryable: false,
    };
    let answer = on.finish(&item, outcome.clone()).await;
    assert_eq!(answer, Finished::As(State::Failed));
    let error = on.now(&item).await.error.unwrap();
    assert_eq!(error, "\u{1f980} \"it\"\r\nbroke\\");
}

async fn giving_back_does_not_count(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.queued(&owner, &project).await;
    for turn in 1..=6 {
        let claimed = on.claim(1).await.pop().unwrap();
        assert_eq!((claimed.attempt, claimed.fence), (1, turn));
        let answer = on.finish(&claimed, Outcome::Cancelled).await;
        assert_eq!(answer, Finished::As(State::Queued));
    }
    on.cancel(&owner, &item).await.unwrap();
}

async fn a_result_is_replaced_when_the_next_is_there(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let image = on.image(&project);
    on.enqueue(&owner, &image).await.unwrap();
    let first = on.claim(1).await.pop().unwrap();
    on.finish(&first, completed(&first)).await;
    let saved = on.result(&image).await.unwrap();
    assert_eq!(saved.item, first.id);
    assert_eq!((&*saved.model, &*saved.threshold), ("otsu", "0.5"));
    assert!(saved.report.contains(&first.id));
    on.enqueue(&owner, &image).await.unwrap();
    for outcome in [failed(true), Outcome::Cancelled, failed(false)] {
        on.pass(Duration::from_secs(10)).await;
        let next = on.claim(1).await.pop().unwrap();
        assert_eq!(on.result(&image).await.as_ref().unwrap().item, first.id);
        on.finish(&next, outcome).await;
        assert_eq!(on.result(&image).await.as_ref().unwrap().item, first.id);
    }
    assert_eq!(on.status(&image).await, "failed");
    on.enqueue(&owner, &image).await.unwrap();
    let last = on.claim(1).await.pop().unwrap();
    on.finish(&last, completed(&last)).await;
    let saved = on.result(&image).await.unwrap();
    assert_eq!(saved.item, last.id);
    assert!(saved.report.contains(&last.id));
}

async fn reports_at_once_count_once(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    for _round in 0..20 {
        let item = on.processing(&owner, &project).await;
        let outcomes = [completed(&item), failed(false), completed(&item)];
        let calls = outcomes.map(|outcome| on.queue.store.finish(finish(&item, outcome)));
        let said = futures_util::future::join_all(calls).await;
        let said: Vec<_> = said.into_iter().map(Result::unwrap).collect();
        on.look().await;
        let expected = match on.state(&item).await {
            State::Completed => [
                Finished::As(State::Completed),
                Finished::LeaseLost,
                Finished::As(State::Completed),
            ],
            State::Failed => [
                Finished::LeaseLost,
                Finished::As(State::Failed),
                Finished::LeaseLost,
            ],
            state => panic!("{state:?}"),
        };
        assert_eq!(said, expected);
    }
}

async fn a_report_of_what_is_gone_is_of_nothing(on: &World) {
    let owner = somebody();
    let project = on.project(&owner).await;
    let item = on.processing(&owner, &project).await;
    let never = Finish {
        id: Uuid::new_v4().to_string(),
        ..finish(&item, completed(&item))
    };
    assert_eq!(on.finish_as(never).await, Finished::Unknown);
    on.finish(&item, completed(&item)).await;
    on.pass(Duration::from_secs(10)).await;
    assert!(on.queue.store.forget(0, None, 1000).await.unwrap() > 0);
    let late = on.finish(&item, completed(&item)).await;
    assert_eq!(late, Finished::Unknown);
    assert_eq!(on.status(&item.image).await, "segmented");
}
