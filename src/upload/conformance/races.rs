//! Transactions that meet. On PostgreSQL and SQLite they run on threads; on every store each pair
//! is tried often, and whichever comes first, the rows and the answers must tell one story.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tidegate_protocol::upload::Mark;
use tokio::sync::Semaphore;

use super::finals::{concatenated, new_final, open_part};
use super::{Clock, Subject, new_upload, project, step};
use crate::auth::Caller;
use crate::cancel::{Scope, Task};
use crate::db::{Param, Sql, sql};
use crate::upload::store::{
    Advanced, CancelOutcome, Canceller, NewFinal, NewUpload, NotMade, State, StoreError, Upload,
};

/// How often each pair meets.
const ROUNDS: usize = 25;

pub(super) async fn suite(on: &Subject) {
    a_creation_that_waits_for_a_revocation_is_refused(on).await;
    for _round in 0..ROUNDS {
        one_of_many_steps_wins(on).await;
        a_cancel_meets_the_last_step(on).await;
        a_cancel_meets_an_expiry(on).await;
        a_cancel_in_advance_meets_the_creation(on).await;
        a_cancel_by_the_sender_meets_the_creation(on).await;
        the_last_parts_complete_together(on).await;
        a_concatenation_meets_the_last_step_of_a_part(on).await;
        a_concatenation_meets_the_end_of_a_part(on).await;
        a_concatenation_meets_the_expiry_of_a_part(on).await;
        a_part_ends_while_another_completes(on).await;
        crossing_concatenations_and_cancels_all_get_on(on).await;
    }
}

/// Runs a call beside the others.
fn start<T: Send + 'static>(
    call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Task<Result<T, StoreError>> {
    Scope::root("test").spawn(call)
}

async fn end<T>(task: Task<Result<T, StoreError>>) -> T {
    task.await.unwrap().unwrap()
}

static LOCK_PROJECT: Sql = sql!("SELECT id FROM project WHERE id = $1 {for_update}");
static REVOKE: Sql = sql!("UPDATE share SET status = 'revoked' WHERE project_id = $1");

/// The share is looked at after the project has been waited for, and not as it was before.
async fn a_creation_that_waits_for_a_revocation_is_refused(on: &Subject) {
    let Clock::Database(db) = &on.clock else {
        return;
    };
    for _again in 0..ROUNDS {
        let project = project();
        on.open(&project).await;
        on.share(&project, "member", "accepted").await;
        let (locked, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (db, revoked) = (db.clone(), project.clone());
        let (is_locked, goes_on) = (locked.clone(), go_on.clone());
        let revocation = Scope::root("test").spawn(async move {
            let revoking = db.write(move |tx| {
                let (locked, go_on) = (is_locked.clone(), goes_on.clone());
                let project = revoked.clone();
                async move {
                    let this = [Param::Text(&project)];
                    tx.lock(&LOCK_PROJECT, &this).await?;
                    locked.add_permits(1);
                    drop(go_on.acquire().await);
                    tx.execute(&REVOKE, &this).await
                }
                .boxed()
            });
            revoking.await
        });
        drop(locked.acquire().await);
        let new = NewUpload {
            caller: Caller::named("member"),
            ..new_upload(&project)
        };
        let made = start(on.store.create(new));
        // As long as it takes to come to the lock, or to the queue.
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        go_on.add_permits(1);
        assert_eq!(revocation.await.unwrap().unwrap(), 1);
        assert_eq!(end(made).await, Err(NotMade::NoProject));
    }
}

async fn one_of_many_steps_wins(on: &Subject) {
    let made = on.create(new_upload("races")).await;
    let steps: Vec<_> = (1..=6).map(|to| step(&made, to, Mark::Open)).collect();
    let tasks: Vec<_> = steps
        .iter()
        .map(|step| start(on.store.advance(step.clone())))
        .collect();
    let mut won = Vec::new();
    for (task, step) in tasks.into_iter().zip(&steps) {
        match end(task).await {
            Advanced::Committed { .. } => won.push(step),
            other => assert_eq!(other, Advanced::Refused),
        }
    }
    let [won] = won[..] else {
        panic!("{} won", won.len())
    };
    let found = on.find(made.id).await;
    assert_eq!((found.offset, &found.digest), (won.commit.to, &won.digest));
}

async fn a_cancel_meets_the_last_step(on: &Subject) {
    let made = on.create(new_upload("races")).await;
    let cancelled = start(on.store.cancel(made.id, Canceller::Sender, None));
    let advanced = start(on.store.advance(step(&made, 100, Mark::Completed)));
    assert!(end(cancelled).await.has_begun());
    let found = on.find(made.id).await;
    match end(advanced).await {
        Advanced::Committed { .. } => {
            assert_eq!((found.state, found.offset), (State::Deleting, 100));
        }
        other => {
            assert_eq!(other, Advanced::Refused);
            assert_eq!((found.state, found.offset), (State::Cancelling, 0));
        }
    }
    assert_eq!(found.epoch, 2);
}

async fn a_cancel_meets_an_expiry(on: &Subject) {
    let new = NewUpload {
        expires_after: Duration::ZERO,
        ..new_upload("races")
    };
    let made = on.create(new).await;
    on.tick().await;
    let cancelled = start(on.store.cancel(made.id, Canceller::Sender, None));
    let expired = start(on.store.expire(made.id));
    let (cancelled, expired) = (end(cancelled).await, end(expired).await);
    let found = on.find(made.id).await;
    match cancelled {
        CancelOutcome::Begun(_) => assert_eq!((expired, found.state), (false, State::Cancelling)),
        other => {
            assert_eq!(other, CancelOutcome::Already(State::Expired));
            assert_eq!((expired, found.state), (true, State::Expired));
        }
    }
    assert_eq!(found.epoch, 2, "one of them ended it");
}

/// Whichever comes first, an upload that is cancelled by its id does not go on.
async fn a_cancel_in_advance_meets_the_creation(on: &Subject) {
    let project = project();
    let part = on.part(&project, 3).await;
    for _again in 0..8 {
        let new = NewUpload {
            named: true,
            ..new_upload(&project)
        };
        let whole = NewFinal {
            named: true,
            ..new_final(&project, &[&open_part(on, &project, None).await, &part])
        };
        let forestall = |id| {
            on.store
                .forestall(id, None, Caller::named("somebody"), Canceller::Other, None)
        };
        let cancels = [new.id, whole.id].map(|id| (id, start(forestall(id))));
        let made = start(on.store.create(new));
        let concatenated = start(on.store.concatenate(whole));
        let made = [
            end(made).await.expect("its project is there").upload,
            end(concatenated).await.expect("its parts are there").upload,
        ];
        for ((id, cancelled), made) in cancels.into_iter().zip(made) {
            let expected = match end(cancelled).await {
                CancelOutcome::Unknown => [State::Cancelled; 2],
                CancelOutcome::Begun(_) => [State::Uploading, State::Cancelling],
                other => panic!("{other:?}"),
            };
            assert_eq!([made.state, on.find(id).await.state], expected);
        }
    }
}

/// Either there is no such upload yet, or it ends.
async fn a_cancel_by_the_sender_meets_the_creation(on: &Subject) {
    for _again in 0..16 {
        let new = NewUpload {
            named: true,
            ..new_upload("races")
        };
        let id = new.id;
        let cancelled = start(on.store.cancel(id, Canceller::Sender, None));
        let made = start(on.store.create(new));
        let made = end(made).await.expect("its project is there");
        assert_eq!(made.upload.state, State::Uploading);
        let expected = match end(cancelled).await {
            CancelOutcome::Unknown => State::Uploading,
            CancelOutcome::Begun(_) => State::Cancelling,
            other => panic!("{other:?}"),
        };
        assert_eq!(on.find(id).await.state, expected);
    }
}

async fn the_last_parts_complete_together(on: &Subject) {
    let project = project();
    let mut parts = Vec::new();
    for length in 1..=3 {
        parts.push(open_part(on, &project, Some(length)).await);
    }
    let made = concatenated(on, new_final(&project, &parts.iter().collect::<Vec<_>>())).await;
    let tasks: Vec<_> = (1..)
        .zip(&parts)
        .map(|(length, part)| start(on.store.advance(step(part, length, Mark::Completed))))
        .collect();
    for task in tasks {
        assert!(matches!(end(task).await, Advanced::Committed { .. }));
    }
    let found = on.find(made.id).await;
    assert_eq!(
        (found.state, found.offset, found.length),
        (State::Completed, 6, Some(6))
    );
}

async fn a_concatenation_meets_the_last_step_of_a_part(on: &Subject) {
    let project = project();
    let part = open_part(on, &project, Some(5)).await;
    let made = start(on.store.concatenate(new_final(&project, &[&part, &part])));
    let advanced = start(on.store.advance(step(&part, 5, Mark::Completed)));
    assert!(matches!(end(advanced).await, Advanced::Committed { .. }));
    let made = end(made).await.expect("a part is usable, complete or not");
    let found = on.find(made.upload.id).await;
    assert_eq!((found.state, found.offset), (State::Completed, 10));
}

async fn a_concatenation_meets_the_end_of_a_part(on: &Subject) {
    let project = project();
    let whole = on.part(&project, 3).await;
    for part in [open_part(on, &project, Some(5)).await, whole.clone()] {
        let made = start(on.store.concatenate(new_final(&project, &[&part, &whole])));
        let cancelled = start(on.store.cancel(part.id, Canceller::Sender, None));
        assert!(end(cancelled).await.has_begun());
        let may_release = on.store.may_release(part.id).await.unwrap().is_some();
        match end(made).await {
            Err(error) => {
                assert!(matches!(error, NotMade::PartNotFound(_)), "{error:?}");
                assert!(may_release);
            }
            Ok(made) => {
                let found = on.find(made.upload.id).await;
                let kept = part.state == State::Completed;
                let expected = if kept {
                    State::Completed
                } else {
                    State::Failed
                };
                assert_eq!(found.state, expected);
                assert_eq!(may_release, !kept, "a complete upload keeps its bytes");
            }
        }
    }
}

/// A part that a final upload has got does not expire, and one that has expired is none.
async fn a_concatenation_meets_the_expiry_of_a_part(on: &Subject) {
    let project = project();
    for _again in 0..8 {
        let new = NewUpload {
            partial: true,
            length: Some(0),
            expires_after: Duration::ZERO,
            ..new_upload(&project)
        };
        let part = on.create(new).await;
        on.tick().await;
        let expired = start(on.store.expire(part.id));
        let made = start(on.store.concatenate(new_final(&project, &[&part])));
        let (expired, made) = (end(expired).await, end(made).await);
        assert_ne!(expired, made.is_ok(), "{made:?}");
        let state = on.find(part.id).await.state;
        let expected = if expired {
            State::Deleting
        } else {
            State::Completed
        };
        assert_eq!(state, expected);
    }
}

async fn a_part_ends_while_another_completes(on: &Subject) {
    let project = project();
    let (open, other) = (
        open_part(on, &project, Some(5)).await,
        open_part(on, &project, Some(6)).await,
    );
    let whole = on.part(&project, 3).await;
    let never = concatenated(on, new_final(&project, &[&open, &other])).await;
    let perhaps = concatenated(on, new_final(&project, &[&other, &whole])).await;
    let tasks = [
        start(on.store.cancel(open.id, Canceller::Sender, None)),
        start(on.store.cancel(whole.id, Canceller::Sender, None)),
    ];
    let completed = start(on.store.advance(step(&other, 6, Mark::Completed)));
    for task in tasks {
        assert!(end(task).await.has_begun());
    }
    assert!(matches!(end(completed).await, Advanced::Committed { .. }));
    assert_eq!(on.find(never.id).await.state, State::Failed);
    let state = on.find(perhaps.id).await.state;
    assert!(
        matches!(state, State::Completed | State::Failed),
        "{state:?}"
    );
    let may_release = on.store.may_release(whole.id).await.unwrap().is_some();
    assert_eq!(may_release, state == State::Failed);
}

/// Locks taken in any order must not make two transactions wait for each other for good.
async fn crossing_concatenations_and_cancels_all_get_on(on: &Subject) {
    let project = project();
    let mut parts: Vec<Upload> = Vec::new();
    for length in 1..=4 {
        parts.push(open_part(on, &project, Some(length)).await);
    }
    let forwards: Vec<&Upload> = parts.iter().collect();
    let backwards: Vec<&Upload> = parts.iter().rev().collect();
    let mut made: Vec<Upload> = Vec::new();
    for order in [&forwards, &backwards] {
        made.push(concatenated(on, new_final(&project, order)).await);
    }
    let finals: Vec<_> = [&forwards, &backwards, &forwards, &backwards]
        .into_iter()
        .map(|order| start(on.store.concatenate(new_final(&project, order))))
        .collect();
    let advanced = start(on.store.advance(step(&parts[3], 4, Mark::Completed)));
    let cancelled: Vec<_> = parts[..2]
        .iter()
        .map(|part| start(on.store.cancel(part.id, Canceller::Sender, None)))
        .collect();
    assert!(matches!(end(advanced).await, Advanced::Committed { .. }));
    for task in cancelled {
        assert!(end(task).await.has_begun());
    }
    for task in finals {
        made.extend(end(task).await.ok().map(|made| made.upload));
    }
    for upload in made {
        assert_eq!(on.find(upload.id).await.state, State::Failed);
    }
}
