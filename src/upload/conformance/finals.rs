//! Final uploads: what they are made of, when they are whole, and what that keeps alive.

use std::time::Duration;

use tidegate_protocol::field::offset;
use tidegate_protocol::request::Protocol;
use tidegate_protocol::upload::{Invalid, Mark};

use super::ends::End;
use super::{HOUR, ODD_TEXT, Subject, new_upload, project, step};
use crate::auth::Caller;
use crate::id::UploadId;
use crate::upload::store::{
    Advance, Advanced, Canceller, Kind, NewFinal, NewUpload, NotMade, Remains, State, Upload,
};

pub(super) async fn suite(on: &Subject) {
    concatenates_what_is_complete(on).await;
    concatenates_what_is_not_complete_yet(on).await;
    refuses_what_is_no_part(on).await;
    refuses_what_is_too_large(on).await;
    an_id_is_used_once(on).await;
    the_last_part_completes_a_waiting_final(on).await;
    a_length_comes_later(on).await;
    a_known_part_of_the_sum_counts(on).await;
    an_ended_part_fails_a_waiting_final(on).await;
    a_complete_final_outlives_its_parts(on).await;
    an_ended_final_leaves_its_parts_alone(on).await;
    a_part_in_use_does_not_expire(on).await;
    a_waiting_final_has_no_time_of_its_own(on).await;
    lost_bytes_fail_what_is_made_of_them(on).await;
    a_digest_comes_later(on).await;
}

pub(super) fn new_final(project: &str, parts: &[&Upload]) -> NewFinal {
    NewFinal {
        id: UploadId::random(),
        named: false,
        project: Some(project.to_owned()),
        caller: Caller::named("somebody"),
        parts: parts.iter().map(|part| part.id).collect(),
        metadata: String::from("filename Zg=="),
        concat: String::from("final;/files/a /files/b"),
        size_max: offset::MAX,
    }
}

/// A final upload that waits for one more part.
pub(super) async fn waiting(on: &Subject, project: &str) -> Upload {
    let whole = on.part(project, 3).await;
    let open = open_part(on, project, Some(4)).await;
    concatenated(on, new_final(project, &[&whole, &open])).await
}

/// A partial upload that is not complete.
pub(super) async fn open_part(on: &Subject, project: &str, length: Option<u64>) -> Upload {
    on.create(NewUpload {
        partial: true,
        length,
        ..new_upload(project)
    })
    .await
}

pub(super) async fn concatenated(on: &Subject, new: NewFinal) -> Upload {
    on.store
        .concatenate(new)
        .await
        .unwrap()
        .expect("it can be made")
        .upload
}

async fn complete(on: &Subject, part: &Upload, length: u64) {
    let mut last = step(&on.find(part.id).await, length, Mark::Completed);
    last.commit.length = Some(length);
    on.must_advance(last).await;
}

async fn part_ids(on: &Subject, id: UploadId) -> Vec<UploadId> {
    on.store
        .parts(id)
        .await
        .unwrap()
        .iter()
        .map(|part| part.id)
        .collect()
}

async fn concatenates_what_is_complete(on: &Subject) {
    let project = project();
    let (a, b, empty) = (
        on.part(&project, 10).await,
        on.part(&project, 20).await,
        on.part(&project, 0).await,
    );
    let new = NewFinal {
        metadata: ODD_TEXT.to_owned(),
        concat: ODD_TEXT.to_owned(),
        ..new_final(&project, &[&b, &a, &empty, &b])
    };
    let made = concatenated(on, new.clone()).await;
    assert_eq!(
        made,
        Upload {
            id: new.id,
            project: project.clone(),
            owner: new.caller.user.clone(),
            kind: Kind::Final,
            state: State::Completed,
            epoch: 1,
            offset: 50,
            length: Some(50),
            metadata: ODD_TEXT.to_owned(),
            concat: Some(ODD_TEXT.to_owned()),
            digest: None,
            sha256: None,
            created_at: made.created_at,
            updated_at: made.updated_at,
            completed_at: made.completed_at,
            expires_at: None,
            ended_at: None,
            end_reason: None,
            ended_by: None,
            interrupted_at: None,
            protocol: Protocol::Tus,
            expected_sha256: None,
            released_bytes: None,
        }
    );
    assert!(made.completed_at.is_some());
    assert_eq!(on.find(new.id).await, made);
    let parts = on.store.parts(new.id).await.unwrap();
    assert_eq!(
        parts.iter().map(|part| part.id).collect::<Vec<_>>(),
        new.parts
    );
    let a = on.find(a.id).await;
    assert_eq!(parts[1], a, "parts are whole rows");
    assert_eq!(
        on.store.parts(a.id).await.unwrap(),
        [],
        "a part has no parts"
    );

    // A part serves twice, and the final upload is no part of anything.
    let again = concatenated(on, new_final(&project, &[&a])).await;
    assert_eq!((again.offset, again.state), (10, State::Completed));
    let of_final = on
        .store
        .concatenate(new_final(&project, &[&a, &again]))
        .await
        .unwrap();
    assert_eq!(of_final, Err(NotMade::NotPartial(2)));
    let nothing = concatenated(on, new_final(&project, &[&empty])).await;
    assert_eq!((nothing.offset, nothing.length), (0, Some(0)));
}

async fn concatenates_what_is_not_complete_yet(on: &Subject) {
    let project = project();
    let whole = on.part(&project, 10).await;
    let (known, deferred) = (
        open_part(on, &project, Some(5)).await,
        open_part(on, &project, None).await,
    );
    let made = concatenated(on, new_final(&project, &[&whole, &known])).await;
    assert_eq!(
        (made.state, made.offset, made.length),
        (State::Uploading, 0, Some(15))
    );
    assert_eq!((made.completed_at, made.expires_at), (None, None));
    let made = concatenated(on, new_final(&project, &[&whole, &deferred, &known])).await;
    assert_eq!(
        (made.state, made.offset, made.length),
        (State::Uploading, 0, None)
    );
}

async fn refuses_what_is_no_part(on: &Subject) {
    let project = project();
    let good = on.part(&project, 1).await;
    let whole = on.create(new_upload(&project)).await;
    let foreign = on.part("another", 1).await;
    let refused = async |parts: &[&Upload]| {
        let new = new_final(&project, parts);
        let answer = on.store.concatenate(new.clone()).await.unwrap();
        assert_eq!(
            on.store.find(new.id).await.unwrap(),
            None,
            "nothing has changed"
        );
        assert_eq!(part_ids(on, new.id).await, []);
        answer.expect_err("it is refused")
    };
    assert_eq!(refused(&[&good, &whole]).await, NotMade::NotPartial(2));
    assert_eq!(refused(&[&foreign, &good]).await, NotMade::PartNotFound(1));
    let unknown = Upload {
        id: UploadId::random(),
        ..good.clone()
    };
    assert_eq!(
        refused(&[&good, &good, &unknown]).await,
        NotMade::PartNotFound(3)
    );

    for end in End::ALL {
        let ended = end.of(on, true).await;
        let ended = Upload {
            project: project.clone(),
            ..ended
        };
        assert_eq!(
            refused(&[&good, &ended]).await,
            NotMade::PartNotFound(2),
            "{end:?}"
        );
    }
    let gone = on.part(&project, 1).await;
    on.store
        .cancel(gone.id, Canceller::Sender, None)
        .await
        .unwrap();
    assert_eq!(refused(&[&gone]).await, NotMade::PartNotFound(1));
    on.store.released(gone.id, 1, HOUR).await.unwrap();
    assert_eq!(refused(&[&gone]).await, NotMade::PartNotFound(1));
}

async fn refuses_what_is_too_large(on: &Subject) {
    let project = project();
    let (ten, open) = (
        on.part(&project, 10).await,
        open_part(on, &project, Some(11)).await,
    );
    for (size_max, made) in [(20, false), (21, true), (offset::MAX, true)] {
        let new = NewFinal {
            size_max,
            ..new_final(&project, &[&ten, &open])
        };
        let answer = on.store.concatenate(new).await.unwrap();
        assert_eq!(answer.is_ok(), made, "{size_max}: {answer:?}");
        if let Err(error) = answer {
            assert_eq!(error, NotMade::TooLarge);
        }
    }
    // What no offset can name, however large an upload may be.
    let most = i64::MAX.unsigned_abs();
    let largest = open_part(on, &project, Some(most)).await;
    let one = on.part(&project, 1).await;
    for parts in [vec![&largest, &one], vec![&largest, &largest, &largest]] {
        let new = new_final(&project, &parts);
        let answer = on.store.concatenate(new).await.unwrap();
        assert_eq!(answer, Err(NotMade::TooLarge));
    }
    let made = concatenated(on, new_final(&project, &[&largest])).await;
    assert_eq!(made.length, Some(most));
}

async fn an_id_is_used_once(on: &Subject) {
    let project = project();
    let (a, b) = (on.part(&project, 1).await, on.part(&project, 2).await);
    let made = concatenated(on, new_final(&project, &[&a])).await;
    let again = NewFinal {
        id: made.id,
        ..new_final(&project, &[&b, &b])
    };
    let again = on.store.concatenate(again).await.unwrap().unwrap();
    assert_eq!((again.is_new, &again.upload), (false, &made));
    assert_eq!(on.find(made.id).await, made);
    assert_eq!(
        part_ids(on, made.id).await,
        [a.id],
        "not a part of it is left behind"
    );
}

async fn the_last_part_completes_a_waiting_final(on: &Subject) {
    let project = project();
    let whole = on.part(&project, 3).await;
    let (a, b) = (
        open_part(on, &project, None).await,
        open_part(on, &project, Some(5)).await,
    );
    let other = open_part(on, &project, Some(1)).await;
    let all = concatenated(on, new_final(&project, &[&a, &whole, &b, &a])).await;
    let with_a = concatenated(on, new_final(&project, &[&a])).await;
    let stuck = concatenated(on, new_final(&project, &[&a, &b, &other])).await;

    on.must_advance(step(&a, 4, Mark::Open)).await;
    assert_eq!(
        on.find(with_a.id).await,
        with_a,
        "a step of a part is not its end"
    );
    on.tick().await;
    complete(on, &a, 7).await;
    let found = on.find(with_a.id).await;
    assert_eq!(
        (found.state, found.offset, found.length),
        (State::Completed, 7, Some(7))
    );
    assert!(found.completed_at.is_some_and(|at| at > with_a.created_at));
    assert_eq!(
        (found.expires_at, found.ended_at, found.epoch),
        (None, None, 1)
    );
    let found = on.find(all.id).await;
    assert_eq!(
        (found.state, found.offset, found.length),
        (State::Uploading, 0, Some(22)),
        "it waits for one whose length is known"
    );

    complete(on, &b, 5).await;
    let found = on.find(all.id).await;
    assert_eq!(
        (found.state, found.offset, found.length),
        (State::Completed, 22, Some(22))
    );
    assert_eq!(on.find(stuck.id).await.state, State::Uploading);

    // One that its owner cancelled is not woken.
    on.store
        .cancel(stuck.id, Canceller::Sender, None)
        .await
        .unwrap();
    complete(on, &other, 1).await;
    assert_eq!(on.find(stuck.id).await.state, State::Cancelling);
}

/// No disk holds that many bytes, but nothing may be torn by them either.
/// A part may declare its length long after the final upload was made.
async fn a_length_comes_later(on: &Subject) {
    let project = project();
    let limited = |upload: &Upload, length: u64| {
        let mut step = step(upload, 0, Mark::Open);
        step.commit.length = Some(length);
        Advance {
            size_max: 10,
            ..step
        }
    };
    for (last, length) in [(4, Some(10)), (5, None), (offset::MAX, None)] {
        let ten = NewFinal {
            size_max: 10,
            ..new_final(&project, &[])
        };
        let whole = on.part(&project, 3).await;
        let (a, b) = (
            open_part(on, &project, None).await,
            open_part(on, &project, None).await,
        );
        let parts = vec![whole.id, a.id, b.id];
        let made = concatenated(on, NewFinal { parts, ..ten }).await;
        assert_eq!(made.length, None);
        on.must_advance(limited(&a, 3)).await;
        assert_eq!(on.find(made.id).await.length, None, "one is missing");
        on.must_advance(limited(&b, last)).await;
        let found = on.find(made.id).await;
        assert_eq!(found.length, length, "{last}");
        let state = match length {
            Some(_) => State::Uploading,
            None => State::Failed,
        };
        assert_eq!(found.state, state, "{last}");
        assert_eq!(on.find(b.id).await.length, Some(last), "the part goes on");
    }
}

/// What is known is too much already, though a part has no length yet.
async fn a_known_part_of_the_sum_counts(on: &Subject) {
    let project = project();
    let (known, open) = (
        open_part(on, &project, Some(21)).await,
        open_part(on, &project, None).await,
    );
    for (size_max, made) in [(20, false), (21, true)] {
        let new = NewFinal {
            size_max,
            ..new_final(&project, &[&open, &known])
        };
        assert_eq!(on.store.concatenate(new).await.unwrap().is_ok(), made);
    }
}

async fn an_ended_part_fails_a_waiting_final(on: &Subject) {
    let project = project();
    for end in End::ALL {
        let whole = on.part(&project, 3).await;
        let part = open_part(on, &project, Some(100)).await;
        // Its end must not come before the final upload does.
        let made = if end == End::Delete {
            on.must_advance(step(&part, 100, Mark::Completed)).await;
            let open = open_part(on, &project, Some(1)).await;
            concatenated(on, new_final(&project, &[&whole, &part, &open])).await
        } else {
            concatenated(on, new_final(&project, &[&whole, &part])).await
        };
        let kept = on.find(whole.id).await;
        on.tick().await;
        match end {
            End::Cancel | End::Delete => {
                let begun = on
                    .store
                    .cancel(part.id, Canceller::Sender, None)
                    .await
                    .unwrap();
                assert!(begun.has_begun());
            }
            End::Expire => {
                on.outlive(&part).await;
                assert!(on.store.expire(part.id).await.unwrap());
            }
            End::Fail => on.store.fail(part.id, String::from("lost")).await.unwrap(),
            End::Invalidate => {
                on.must_advance(step(&part, 9, Mark::Invalidated(Invalid::PastLength)))
                    .await
            }
        }
        let found = on.find(made.id).await;
        assert_eq!((found.state, found.epoch), (State::Failed, 2), "{end:?}");
        assert!(
            found.ended_at.is_some_and(|at| at > made.created_at),
            "{end:?}"
        );
        assert!(found.end_reason.is_some() && found.expires_at.is_none());
        assert_eq!(
            on.find(whole.id).await,
            kept,
            "{end:?}: the other parts stay"
        );
        assert!(on.store.may_release(made.id).await.unwrap().is_some());
        assert!(
            on.store.may_release(part.id).await.unwrap().is_some(),
            "{end:?}: nothing uses it"
        );
    }
}

async fn a_complete_final_outlives_its_parts(on: &Subject) {
    let project = project();
    let (a, b) = (on.part(&project, 3).await, on.part(&project, 4).await);
    let made = concatenated(on, new_final(&project, &[&a, &b, &a])).await;
    let second = concatenated(on, new_final(&project, &[&a])).await;

    on.store
        .cancel(a.id, Canceller::Sender, None)
        .await
        .unwrap();
    assert_eq!(on.find(made.id).await, made);
    assert_eq!(
        part_ids(on, made.id).await,
        [a.id, b.id, a.id],
        "its bytes are still read"
    );
    assert!(on.store.may_release(a.id).await.unwrap().is_none());
    assert!(!on.releasable().await.contains(&a.id));
    assert_eq!(on.store.with_blob(vec![a.id]).await.unwrap(), [a.id]);

    // The last use counts.
    on.store
        .cancel(made.id, Canceller::Sender, None)
        .await
        .unwrap();
    assert!(on.store.may_release(made.id).await.unwrap().is_some());
    assert!(on.store.may_release(a.id).await.unwrap().is_none());
    on.store.released(made.id, 0, HOUR).await.unwrap();
    assert_eq!(on.store.find(made.id).await.unwrap(), None);
    assert_eq!(part_ids(on, made.id).await, []);
    assert!(on.store.may_release(a.id).await.unwrap().is_none());
    on.store
        .cancel(second.id, Canceller::Sender, None)
        .await
        .unwrap();
    assert!(on.store.may_release(a.id).await.unwrap().is_some());
    // The sweeper comes to it once the last that had it is done with.
    on.store.released(second.id, 0, HOUR).await.unwrap();
    assert!(on.releasable().await.contains(&a.id));
    on.store.released(a.id, 3, HOUR).await.unwrap();
    assert_eq!(on.store.find(a.id).await.unwrap(), None);
    let b = on.find(b.id).await;
    assert_eq!((b.state, b.expires_at.is_some()), (State::Completed, true));
}

async fn an_ended_final_leaves_its_parts_alone(on: &Subject) {
    let project = project();
    let (whole, open) = (
        on.part(&project, 3).await,
        open_part(on, &project, Some(4)).await,
    );
    let made = concatenated(on, new_final(&project, &[&whole, &open])).await;
    assert!(
        on.store
            .cancel(made.id, Canceller::Sender, None)
            .await
            .unwrap()
            .has_begun()
    );
    assert_eq!(on.find(made.id).await.state, State::Cancelling);
    assert_eq!(on.find(open.id).await, open);
    on.store.released(made.id, 0, HOUR).await.unwrap();
    let expires_at = on.find(whole.id).await.expires_at;
    assert!(expires_at >= whole.expires_at, "its time begins anew");
    let before = Upload {
        expires_at,
        ..whole.clone()
    };
    assert_eq!(on.find(whole.id).await, before);
    assert_eq!(on.find(made.id).await.state, State::Cancelled);
    on.tick().await;
    on.store.forget(Duration::ZERO).await.unwrap();
    assert_eq!(part_ids(on, made.id).await, []);
    complete(on, &open, 4).await;
}

/// A complete part's time stands still while a final upload has it, and nothing is to be looked at.
async fn a_part_in_use_does_not_expire(on: &Subject) {
    let project = project();
    let new = NewUpload {
        partial: true,
        length: Some(0),
        expires_after: Duration::ZERO,
        ..new_upload(&project)
    };
    let part = on.create(new).await;
    on.tick().await;
    assert!(on.expiring(1_000).await.contains(&part.id));
    let open = open_part(on, &project, Some(1)).await;
    let first = concatenated(on, new_final(&project, &[&part, &open, &part])).await;
    let second = concatenated(on, new_final(&project, &[&part])).await;
    let stands_still = async || {
        assert_eq!(on.find(part.id).await.expires_at, None);
        assert!(!on.expiring(1_000).await.contains(&part.id));
        assert!(!on.store.expire(part.id).await.unwrap());
    };
    stands_still().await;
    let mut last = step(&open, 1, Mark::Completed);
    last.expires_after = Duration::ZERO;
    let told = on.store.advance(last).await.unwrap();
    assert_eq!(told, Advanced::Committed { expires_at: None });
    assert_eq!(on.find(first.id).await.state, State::Completed);
    assert_eq!(on.find(open.id).await.expires_at, None);

    let end = async |upload: &Upload| {
        let cancelled = on.store.cancel(upload.id, Canceller::Sender, None);
        assert!(cancelled.await.unwrap().has_begun());
        let released = on.store.released(upload.id, 0, Duration::ZERO);
        released.await.unwrap();
        on.tick().await;
    };
    end(&first).await;
    stands_still().await;
    assert!(on.expiring(1_000).await.contains(&open.id));
    end(&second).await;
    assert!(on.expiring(1_000).await.contains(&part.id));
    for id in [part.id, open.id] {
        assert!(on.store.expire(id).await.unwrap());
        let found = on.find(id).await;
        let like_deleted = (State::Deleting, 2);
        assert_eq!((found.state, found.epoch), like_deleted);
        on.store.released(id, 0, HOUR).await.unwrap();
        assert_eq!(on.store.find(id).await.unwrap(), None);
    }
}

/// It lives as long as its parts (row T114), which every commit keeps alive.
async fn a_waiting_final_has_no_time_of_its_own(on: &Subject) {
    let project = project();
    let part = open_part(on, &project, None).await;
    let made = concatenated(on, new_final(&project, &[&part])).await;
    assert_eq!(made.expires_at, None);
    on.tick().await;
    assert!(!on.expiring(1_000).await.contains(&made.id));
    assert!(!on.store.expire(made.id).await.unwrap());
    on.outlive(&part).await;
    assert!(on.store.expire(part.id).await.unwrap());
    assert_eq!(on.find(made.id).await.state, State::Failed);
}

/// Complete or not, and deleted parts of them are no exception. What is left may be the only copy.
async fn lost_bytes_fail_what_is_made_of_them(on: &Subject) {
    for deleted in [false, true] {
        let project = project();
        let (lost, sound) = (on.part(&project, 3).await, on.part(&project, 4).await);
        let open = open_part(on, &project, Some(5)).await;
        let whole = concatenated(on, new_final(&project, &[&sound, &lost])).await;
        let other = concatenated(on, new_final(&project, &[&sound])).await;
        if deleted {
            let begun = on.store.cancel(lost.id, Canceller::Sender, None);
            assert!(begun.await.unwrap().has_begun());
        } else {
            let waiting = concatenated(on, new_final(&project, &[&lost, &open])).await;
            on.store.fail(lost.id, String::from("gone")).await.unwrap();
            assert_eq!(on.find(waiting.id).await.state, State::Failed);
        }
        on.store.fail(lost.id, String::from("gone")).await.unwrap();
        let found = on.find(whole.id).await;
        assert_eq!((found.state, found.epoch), (State::Failed, 2));
        assert_eq!(found.end_reason.as_deref(), Some("gone"));
        assert_eq!(on.find(other.id).await.state, State::Completed);
        assert_eq!(on.find(sound.id).await.state, State::Completed);

        let remains = async |upload: &Upload| on.store.may_release(upload.id).await.unwrap();
        let damaged = |promised| {
            Some(Remains {
                promised,
                is_damaged: true,
            })
        };
        assert_eq!(remains(&lost).await, damaged(3));
        let nothing = Remains {
            promised: 0,
            is_damaged: false,
        };
        assert_eq!(remains(&whole).await, Some(nothing));
        on.store.released(whole.id, 0, HOUR).await.unwrap();
        assert!(on.releasable().await.contains(&lost.id));
        // Another part of it as well, once nothing else has it.
        for id in [other.id, sound.id] {
            let begun = on.store.cancel(id, Canceller::Sender, None);
            assert!(begun.await.unwrap().has_begun());
        }
        assert_eq!(remains(&sound).await, damaged(4));
    }
    let cancelled = End::Cancel.of(on, true).await;
    let found = on.store.may_release(cancelled.id).await.unwrap();
    assert_eq!(found.map(|remains| remains.is_damaged), Some(false));
}

async fn a_digest_comes_later(on: &Subject) {
    let project = project();
    let part = on.part(&project, 3).await;
    let open = open_part(on, &project, Some(1)).await;
    let undigested = async |id| on.store.undigested(1_000).await.unwrap().contains(&id);
    let made = concatenated(on, new_final(&project, &[&part, &part])).await;
    let waiting = concatenated(on, new_final(&project, &[&part, &open])).await;
    assert!(undigested(made.id).await);
    for no_complete_final in [waiting.id, part.id, open.id, UploadId::random()] {
        assert!(!undigested(no_complete_final).await);
        let before = on.store.find(no_complete_final).await.unwrap();
        on.store
            .digested(no_complete_final, String::from("ab"))
            .await
            .unwrap();
        assert_eq!(on.store.find(no_complete_final).await.unwrap(), before);
    }
    on.store
        .digested(made.id, String::from("ab"))
        .await
        .unwrap();
    let found = on.find(made.id).await;
    assert_eq!(found.sha256.as_deref(), Some("ab"));
    assert_eq!(
        (found.state, found.epoch, found.completed_at),
        (State::Completed, 1, made.completed_at)
    );
    assert!(!undigested(made.id).await);

    complete(on, &open, 1).await;
    assert!(undigested(waiting.id).await);
    on.store
        .cancel(waiting.id, Canceller::Sender, None)
        .await
        .unwrap();
    assert!(!undigested(waiting.id).await, "nobody will read it");
}
