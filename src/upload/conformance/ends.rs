//! The ways to end an upload, each of them final, and what comes after: release, then oblivion.

use std::time::Duration;

use futures_util::FutureExt;
use tidegate_protocol::upload::{Invalid, Mark};

use super::{Clock, HOUR, Subject, new_upload, project, step};
use crate::auth::Caller;
use crate::db::{Param, Sql, sql};
use crate::id::UploadId;
use crate::upload::change::FORESTALLED_MAX;
use crate::upload::store::{self, CancelOutcome, Canceller, NewUpload, State, Upload, Which};

pub(super) async fn suite(on: &Subject) {
    cancels(on).await;
    somebody_else_cancels(on).await;
    cancels_many(on).await;
    cancels_in_advance(on).await;
    nobody_uses_up_what_others_may_cancel_in_advance(on).await;
    expires_only_in_time(on).await;
    every_end_is_final(on).await;
    releases_and_forgets(on).await;
}

async fn cancels(on: &Subject) {
    let made = on.create(new_upload("p")).await;
    on.must_advance(step(&made, 30, Mark::Open)).await;
    let before = on.find(made.id).await;
    on.tick().await;
    assert!(
        on.store
            .cancel(made.id, Canceller::Sender, None)
            .await
            .unwrap()
            .has_begun()
    );
    let found = on.find(made.id).await;
    assert_eq!(
        (found.state, found.epoch, found.offset),
        (State::Cancelling, 2, 30)
    );
    assert_eq!((found.expires_at, &found.end_reason), (None, &None));
    assert!(found.ended_at.is_some_and(|at| at > before.updated_at));
    on.must_refuse(step(&before, 31, Mark::Open)).await;
    on.must_refuse(step(&found, 31, Mark::Open)).await;

    let made = on.create(new_upload("p")).await;
    on.must_advance(step(&made, 100, Mark::Completed)).await;
    assert!(
        on.store
            .cancel(made.id, Canceller::Sender, None)
            .await
            .unwrap()
            .has_begun()
    );
    let found = on.find(made.id).await;
    assert_eq!((found.state, found.epoch), (State::Deleting, 2));
    let again = on
        .store
        .cancel(made.id, Canceller::Sender, None)
        .await
        .unwrap();
    assert_eq!(again, CancelOutcome::Already(State::Deleting));

    let unknown = on
        .store
        .cancel(UploadId::random(), Canceller::Sender, None)
        .await
        .unwrap();
    assert_eq!(unknown, CancelOutcome::Unknown);
}

/// Somebody else than the sender leaves alone what is complete.
async fn somebody_else_cancels(on: &Subject) {
    let cancel = |id| {
        on.store
            .cancel(id, Canceller::Other, Some(String::from("why")))
    };
    let made = on.create(new_upload("p")).await;
    assert!(cancel(made.id).await.unwrap().has_begun());
    let found = on.find(made.id).await;
    assert_eq!(
        (found.state, found.ended_by, found.released_bytes),
        (State::Cancelling, Some(Canceller::Other), None)
    );
    assert_eq!(found.end_reason.as_deref(), Some("why"));
    on.store.released(made.id, 7, HOUR).await.unwrap();
    let found = on.find(made.id).await;
    assert_eq!(
        (found.state, found.released_bytes),
        (State::Cancelled, Some(7))
    );

    let made = on.create(new_upload("p")).await;
    on.must_advance(step(&made, 100, Mark::Completed)).await;
    let before = on.find(made.id).await;
    assert_eq!(
        cancel(made.id).await.unwrap(),
        CancelOutcome::Already(State::Completed)
    );
    assert_eq!(on.find(made.id).await, before);
}

async fn cancels_many(on: &Subject) {
    let (here, there) = (project(), project());
    let active = on.create(new_upload(&here)).await;
    let of_another = NewUpload {
        caller: Caller::named("another"),
        ..new_upload(&here)
    };
    let of_another = on.create(of_another).await;
    let whole = on.create(new_upload(&here)).await;
    on.must_advance(step(&whole, 100, Mark::Completed)).await;
    let elsewhere = on.create(new_upload(&there)).await;
    let unknown = UploadId::random();

    let asked = [whole.id, active.id, elsewhere.id, unknown, active.id];
    let which = Which::Ids {
        project: here.clone(),
        ids: asked.to_vec(),
    };
    let told = on
        .store
        .cancel_many(which, Caller::named("somebody"), None)
        .await;
    let told = told.unwrap().unwrap();
    let cancelling = Box::new(store::End::of(&on.find(active.id).await));
    let expected = [
        CancelOutcome::Already(State::Completed),
        CancelOutcome::Begun(cancelling),
        CancelOutcome::Unknown,
        CancelOutcome::Unknown,
        CancelOutcome::Already(State::Cancelling),
    ];
    assert_eq!(told, asked.into_iter().zip(expected).collect::<Vec<_>>());

    let cancel_active = async |all, limit| {
        let project = here.clone();
        let which = Which::Active {
            project,
            all,
            limit,
        };
        let told = on
            .store
            .cancel_many(which, Caller::named("somebody"), None)
            .await;
        told.unwrap().unwrap()
    };
    let mine = on.create(new_upload(&here)).await;
    let cancelling = cancel_active(false, 10).await;
    assert_eq!(cancelling.len(), 1);
    assert!(cancelling[0].0 == mine.id && cancelling[0].1.has_begun());
    on.create(new_upload(&here)).await;
    assert_eq!(
        cancel_active(true, 1).await.len(),
        1,
        "not more than the limit"
    );
    assert_eq!(cancel_active(true, 10).await.len(), 1);
    for id in [mine.id, of_another.id] {
        assert_eq!(on.find(id).await.state, State::Cancelling);
    }
    assert_eq!(on.find(elsewhere.id).await.state, State::Uploading);
}

/// A cancel may overtake the creation that it is about.
async fn cancels_in_advance(on: &Subject) {
    let forestall = |id, owner: &str| {
        let reason = Some(String::from("too late"));
        on.store
            .forestall(id, None, Caller::named(owner), Canceller::Other, reason)
    };
    for length in [Some(100), Some(0), None] {
        let new = NewUpload {
            named: true,
            length,
            ..new_upload("p")
        };
        for _ in 0..2 {
            let told = forestall(new.id, "somebody").await.unwrap();
            assert_eq!(told, CancelOutcome::Unknown);
        }
        let made = on.made(new.clone()).await;
        assert!(made.is_new);
        let upload = &made.upload;
        assert_eq!(
            (upload.state, upload.ended_by, upload.released_bytes),
            (State::Cancelled, Some(Canceller::Other), Some(0))
        );
        assert_eq!(upload.end_reason.as_deref(), Some("too late"));
        assert!(upload.ended_at.is_some());
        assert_eq!(on.find(new.id).await, *upload);
        let again = on.made(new).await;
        assert_eq!((again.is_new, again.upload), (false, upload.clone()));
    }
    // It is his alone whose cancel it was, and not of one who never gave it a name.
    let (theirs, random) = (new_upload("p"), new_upload("p"));
    forestall(theirs.id, "another").await.unwrap();
    let theirs = NewUpload {
        named: true,
        ..theirs
    };
    assert_eq!(on.create(theirs).await.state, State::Uploading);
    forestall(random.id, "somebody").await.unwrap();
    assert_eq!(on.create(random).await.state, State::Uploading);
    // One that is there is cancelled in the ordinary way.
    let made = on.create(new_upload("p")).await;
    let told = forestall(made.id, "somebody").await.unwrap();
    assert!(told.has_begun());
    // It is not remembered for ever.
    let forgotten = NewUpload {
        named: true,
        ..new_upload("p")
    };
    forestall(forgotten.id, "somebody").await.unwrap();
    on.tick().await;
    on.store.forget(Duration::ZERO).await.unwrap();
    assert_eq!(on.create(forgotten).await.state, State::Uploading);
}

/// Adds $2 ids that $1 has cancelled in advance.
static FORESTALL_MANY: Sql = sql!(
    "WITH RECURSIVE numbers (n) AS (SELECT CAST(1 AS BIGINT) UNION ALL \
     SELECT n + 1 FROM numbers WHERE n < $2) \
     INSERT INTO upload_forestalled (id, owner_id, cancelled_at) \
     SELECT CAST(n AS TEXT), CAST($1 AS TEXT), {now} FROM numbers"
);

async fn nobody_uses_up_what_others_may_cancel_in_advance(on: &Subject) {
    // The store in memory has no bound.
    let Clock::Database(db) = &on.clock else {
        return;
    };
    let filled = db.write(|tx| {
        let params = [Param::Text("greedy"), Param::Int(FORESTALLED_MAX)];
        async move { tx.execute(&FORESTALL_MANY, &params).await }.boxed()
    });
    assert_eq!(filled.await.unwrap(), FORESTALLED_MAX.unsigned_abs());
    for (owner, expected) in [("greedy", State::Uploading), ("modest", State::Cancelled)] {
        let new = NewUpload {
            named: true,
            caller: Caller::named(owner),
            ..new_upload("p")
        };
        let told = on
            .store
            .forestall(new.id, None, Caller::named(owner), Canceller::Other, None)
            .await;
        assert_eq!(told.unwrap(), CancelOutcome::Unknown);
        assert_eq!(on.create(new).await.state, expected, "{owner}");
    }
    on.tick().await;
    on.store.forget(Duration::ZERO).await.unwrap();
}

async fn expires_only_in_time(on: &Subject) {
    let made = on.create(new_upload("p")).await;
    assert!(
        !on.store.expire(made.id).await.unwrap(),
        "its time is not over"
    );
    on.outlive(&made).await;
    let late = on.find(made.id).await;
    // An append that comes in time puts it off, and the sweeper's look at the list was too old.
    assert!(on.expiring(1_000).await.contains(&made.id));
    on.must_advance(step(&late, 1, Mark::Open)).await;
    assert!(!on.store.expire(made.id).await.unwrap());
    assert!(!on.expiring(1_000).await.contains(&made.id));

    on.outlive(&on.find(made.id).await).await;
    let late = on.find(made.id).await;
    assert!(on.store.expire(made.id).await.unwrap());
    let found = on.find(made.id).await;
    assert_eq!(
        (found.state, found.epoch, found.offset),
        (State::Expired, 2, 1)
    );
    assert!(found.ended_at.is_some() && found.expires_at.is_none());
    assert!(!on.expiring(1_000).await.contains(&made.id));
    on.must_refuse(step(&late, 2, Mark::Open)).await;
    assert!(!on.store.expire(UploadId::random()).await.unwrap());

    // The oldest come first, and no more than were asked for.
    let mut ids = Vec::new();
    for _ in 0..3 {
        let made = on
            .create(NewUpload {
                expires_after: Duration::ZERO,
                ..new_upload("p")
            })
            .await;
        ids.push(made.id);
        on.tick().await;
    }
    assert_eq!(on.expiring(2).await, ids[..2]);
    for id in ids {
        assert!(on.store.expire(id).await.unwrap());
    }
    assert_eq!(on.expiring(1_000).await, []);
}

/// How an upload comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Cancel,
    Delete,
    Expire,
    Fail,
    Invalidate,
}

impl End {
    pub(super) const ALL: [Self; 5] = [
        Self::Cancel,
        Self::Delete,
        Self::Expire,
        Self::Fail,
        Self::Invalidate,
    ];

    /// An upload that has come to this end; how it was when it could still be gone on with.
    pub(super) async fn of(self, on: &Subject, partial: bool) -> Upload {
        let made = on
            .create(NewUpload {
                partial,
                ..new_upload("p")
            })
            .await;
        if self == Self::Expire {
            on.outlive(&made).await;
        }
        if self == Self::Delete {
            on.must_advance(step(&made, 100, Mark::Completed)).await;
        }
        let before = on.find(made.id).await;
        match self {
            Self::Cancel | Self::Delete => {
                assert!(
                    on.store
                        .cancel(made.id, Canceller::Sender, None)
                        .await
                        .unwrap()
                        .has_begun()
                );
            }
            Self::Expire => assert!(on.store.expire(made.id).await.unwrap()),
            Self::Fail => on.store.fail(made.id, String::from("lost")).await.unwrap(),
            Self::Invalidate => {
                on.must_advance(step(&before, 3, Mark::Invalidated(Invalid::PastLength)))
                    .await
            }
        }
        before
    }

    fn state(self) -> State {
        match self {
            Self::Cancel => State::Cancelling,
            Self::Delete => State::Deleting,
            Self::Expire => State::Expired,
            Self::Fail | Self::Invalidate => State::Failed,
        }
    }
}

/// Whatever comes after an end, in whatever order, changes nothing.
async fn every_end_is_final(on: &Subject) {
    for end in End::ALL {
        for partial in [false, true] {
            let before = end.of(on, partial).await;
            let ended = on.find(before.id).await;
            assert_eq!(ended.state, end.state());
            on.tick().await;
            for _twice in 0..2 {
                for upload in [&before, &ended] {
                    for mark in [
                        Mark::Open,
                        Mark::Completed,
                        Mark::Invalidated(Invalid::PastLength),
                    ] {
                        on.must_refuse(step(upload, 100, mark)).await;
                    }
                }
                let again = on
                    .store
                    .cancel(before.id, Canceller::Sender, Some(String::from("late")))
                    .await
                    .unwrap();
                assert_eq!(again, CancelOutcome::Already(ended.state));
                on.store
                    .fail(before.id, String::from("late"))
                    .await
                    .unwrap();
                assert!(!on.store.expire(before.id).await.unwrap());
                assert_eq!(on.find(before.id).await, ended, "{end:?}");
            }
        }
    }
    // The one exception: bytes of a complete upload were lost.
    let part = on.part("p", 10).await;
    on.store.fail(part.id, String::from("lost")).await.unwrap();
    let found = on.find(part.id).await;
    assert_eq!(
        (found.state, found.end_reason.as_deref()),
        (State::Failed, Some("lost"))
    );
}

async fn releases_and_forgets(on: &Subject) {
    let living = on.create(new_upload("p")).await;
    assert!(on.store.may_release(living.id).await.unwrap().is_none());
    let unknown = on.store.may_release(UploadId::random());
    assert_eq!(unknown.await.unwrap(), None);
    on.store.released(living.id, 7, HOUR).await.unwrap();
    assert_eq!(on.find(living.id).await, living, "it has not ended");
    assert_eq!(
        on.store.with_blob(vec![living.id]).await.unwrap(),
        [living.id]
    );

    for end in End::ALL {
        let before = end.of(on, false).await;
        let id = before.id;
        assert!(on.store.may_release(id).await.unwrap().is_some(), "{end:?}");
        assert!(on.releasable().await.contains(&id), "{end:?}");
        assert_eq!(on.store.with_blob(vec![id]).await.unwrap(), [id]);
        on.store.released(id, 30, HOUR).await.unwrap();
        on.store.released(id, 31, HOUR).await.unwrap();
        assert!(!on.releasable().await.contains(&id), "{end:?}");
        assert_eq!(on.store.with_blob(vec![id]).await.unwrap(), []);
        let found = on.store.find(id).await.unwrap();
        let state = found.as_ref().map(|upload| upload.state);
        let expected = match end {
            End::Cancel => Some(State::Cancelled),
            End::Delete => None,
            End::Expire | End::Fail | End::Invalidate => Some(end.state()),
        };
        assert_eq!(state, expected, "{end:?}");
        let digest = found.and_then(|upload| upload.digest);
        assert_eq!(
            digest, None,
            "the state of a digest of nothing is of no use"
        );
        let again = on.store.cancel(id, Canceller::Sender, None).await.unwrap();
        assert_eq!(
            again,
            expected.map_or(CancelOutcome::Unknown, CancelOutcome::Already)
        );

        // The tombstone stays as long as it is told to.
        on.store.forget(HOUR).await.unwrap();
        assert_eq!(
            on.store.find(id).await.unwrap().map(|upload| upload.state),
            expected
        );
        on.tick().await;
        let forgotten = on.store.forget(Duration::ZERO).await.unwrap();
        assert_eq!(forgotten, u64::from(expected.is_some()), "{end:?}");
        assert_eq!(on.store.find(id).await.unwrap(), None);
    }

    // What has ended and still has its bytes is not forgotten.
    let before = End::Cancel.of(on, false).await;
    on.tick().await;
    assert_eq!(on.store.forget(Duration::ZERO).await.unwrap(), 0);
    assert_eq!(on.find(before.id).await.state, State::Cancelling);
    on.store.released(before.id, 0, HOUR).await.unwrap();
}
