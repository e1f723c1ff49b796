//! Who may see, make and end what.

use super::{HOUR, Subject, new_upload, project, step};
use crate::access::Denied;
use crate::auth::{Caller, Models, Role};
use crate::id::UploadId;
use crate::upload::store::{
    CancelOutcome, Canceller, Filter, NewUpload, NotMade, Seen, State, Upload, Which,
};
use tidegate_protocol::upload::Mark;

pub(super) async fn suite(on: &Subject) {
    what_is_made_goes_where_its_maker_may_add(on).await;
    without_a_name_the_default_project_is_meant(on).await;
    what_is_seen_and_covered(on).await;
    what_is_listed(on).await;
    what_is_ended(on).await;
    many_are_ended_by_right(on).await;
    a_used_id_tells_nothing_to_who_lost_access(on).await;
    a_project_that_goes_is_cleared(on).await;
}

fn admin() -> Caller {
    Caller {
        role: Role::Admin,
        ..Caller::named("admin")
    }
}

async fn seen(on: &Subject, id: UploadId, who: &Caller) -> Option<Seen> {
    on.store.find_for(id, who.clone()).await.unwrap()
}

async fn what_is_made_goes_where_its_maker_may_add(on: &Subject) {
    let project = project();
    let new = |user: &str| NewUpload {
        caller: Caller::named(user),
        ..new_upload(&project)
    };
    let refused = on.store.create(new("somebody")).await.unwrap();
    assert_eq!(refused, Err(NotMade::NoProject), "there is none");
    on.open(&project).await;
    for status in ["pending", "revoked"] {
        on.share(&project, "member", status).await;
        let refused = on.store.create(new("member")).await.unwrap();
        assert_eq!(refused, Err(NotMade::NoProject), "{status}");
    }
    on.share(&project, "member", "accepted").await;
    for user in ["somebody", "member"] {
        let made = on.store.create(new(user)).await.unwrap().unwrap();
        assert_eq!(
            (&made.upload.project, made.upload.owner.as_str()),
            (&project, user)
        );
    }
    let by_admin = NewUpload {
        caller: admin(),
        ..new_upload(&project)
    };
    assert!(on.store.create(by_admin).await.unwrap().is_ok());
}

async fn without_a_name_the_default_project_is_meant(on: &Subject) {
    let new = |caller: Caller| NewUpload {
        project: None,
        caller,
        ..new_upload("")
    };
    let made = async |who| on.store.create(new(who)).await.unwrap().unwrap().upload;
    let first = made(Caller::named("homely")).await;
    let second = made(Caller::named("homely")).await;
    assert_eq!(first.project, second.project);
    assert_ne!(made(Caller::named("another")).await.project, first.project);
    assert_eq!(made(Caller::local()).await.project, "default");
    assert!(seen(on, first.id, &Caller::named("homely")).await.is_some());
    assert_eq!(seen(on, first.id, &Caller::named("another")).await, None);
}

/// A project with an upload of its owner and one of a member.
async fn shared(on: &Subject) -> (String, Upload, Upload) {
    let project = project();
    let of_owner = on.create(new_upload(&project)).await;
    let of_member = NewUpload {
        caller: Caller::named("member"),
        ..new_upload(&project)
    };
    let of_member = on.create(of_member).await;
    (project, of_owner, of_member)
}

async fn what_is_seen_and_covered(on: &Subject) {
    let (project, of_owner, of_member) = shared(on).await;
    for (who, covers_owner, covers_member) in [
        (Caller::named("somebody"), true, true),
        (Caller::named("member"), false, true),
        (admin(), true, true),
    ] {
        for (upload, is_covered) in [(&of_owner, covers_owner), (&of_member, covers_member)] {
            let upload = upload.clone();
            let expected = Some(Seen { upload, is_covered });
            assert_eq!(
                seen(on, expected.as_ref().unwrap().upload.id, &who).await,
                expected
            );
        }
    }
    let worker = Caller {
        role: Role::Worker(Models::All),
        ..Caller::named("worker")
    };
    for who in [Caller::named("stranger"), Caller::named(""), worker] {
        assert_eq!(seen(on, of_owner.id, &who).await, None);
    }
    on.share(&project, "member", "revoked").await;
    assert_eq!(
        seen(on, of_member.id, &Caller::named("member")).await,
        None,
        "his own"
    );
    assert!(
        seen(on, of_member.id, &Caller::named("somebody"))
            .await
            .is_some()
    );
}

async fn what_is_listed(on: &Subject) {
    let (project, ..) = shared(on).await;
    let count = async |project: &str, who| {
        let filter = Filter {
            project: project.to_owned(),
            state: None,
            page: 1,
            limit: 10,
        };
        let listed = on.store.list(filter, who).await.unwrap();
        listed.map(|(rows, total)| (rows.len(), total))
    };
    for who in [Caller::named("somebody"), Caller::named("member"), admin()] {
        assert_eq!(count(&project, who).await, Some((2, 2)));
    }
    assert_eq!(count(&project, Caller::named("stranger")).await, None);
    assert_eq!(count("nowhere", admin()).await, None);
}

async fn what_is_ended(on: &Subject) {
    let (project, of_owner, of_member) = shared(on).await;
    let end = async |id, project: Option<&str>, who| {
        let (project, reason) = (project.map(str::to_owned), Some(String::from("why")));
        let ended = on
            .store
            .forestall(id, project, who, Canceller::Other, reason);
        ended.await.unwrap()
    };
    let untouched = on.find(of_owner.id).await;
    let here = Some(project.as_str());
    assert_eq!(
        end(of_owner.id, None, Caller::named("member")).await,
        CancelOutcome::Uncovered
    );
    assert_eq!(
        end(of_owner.id, here, Caller::named("member")).await,
        CancelOutcome::Uncovered
    );
    assert_eq!(
        end(of_owner.id, here, Caller::named("stranger")).await,
        CancelOutcome::Unknown
    );
    assert_eq!(
        end(of_owner.id, Some("p"), Caller::named("somebody")).await,
        CancelOutcome::Unknown
    );
    assert_eq!(on.find(of_owner.id).await, untouched);
    assert!(
        end(of_member.id, here, Caller::named("member"))
            .await
            .has_begun()
    );
    let again = end(of_member.id, None, Caller::named("somebody")).await;
    assert_eq!(again, CancelOutcome::Already(State::Cancelling));
    assert!(end(of_owner.id, None, admin()).await.has_begun());
    // What is already complete is no more a member's than what is not.
    let (.., of_owner, _) = shared(on).await;
    on.must_advance(step(&of_owner, 100, Mark::Completed)).await;
    let (who, by) = (Caller::named("member"), Canceller::Sender);
    let refused = on.store.forestall(of_owner.id, None, who, by, None).await;
    assert_eq!(refused.unwrap(), CancelOutcome::Uncovered);
}

async fn many_are_ended_by_right(on: &Subject) {
    let (project, of_owner, of_member) = shared(on).await;
    let end = async |which, who| on.store.cancel_many(which, who, None).await.unwrap();
    let active = |all| Which::Active {
        project: project.clone(),
        all,
        limit: 10,
    };
    assert_eq!(
        end(active(false), Caller::named("stranger")).await,
        Err(Denied::Absent)
    );
    assert_eq!(
        end(active(true), Caller::named("stranger")).await,
        Err(Denied::Absent)
    );
    assert_eq!(
        end(active(true), Caller::named("member")).await,
        Err(Denied::Forbidden)
    );
    let named = Which::Ids {
        project: project.clone(),
        ids: vec![of_owner.id, of_member.id],
    };
    let ended = end(named.clone(), Caller::named("member")).await.unwrap();
    assert_eq!(ended[0], (of_owner.id, CancelOutcome::Uncovered));
    assert!(ended[1].0 == of_member.id && ended[1].1.has_begun());
    assert_eq!(
        end(named, Caller::named("stranger")).await,
        Err(Denied::Absent)
    );
    assert_eq!(
        end(active(false), Caller::named("member")).await,
        Ok(vec![])
    );
    let ended = end(active(true), Caller::named("somebody")).await.unwrap();
    assert_eq!(ended.len(), 1);
    assert!(ended[0].0 == of_owner.id && ended[0].1.has_begun());
}

async fn a_used_id_tells_nothing_to_who_lost_access(on: &Subject) {
    let (project, _, of_member) = shared(on).await;
    let again = NewUpload {
        id: of_member.id,
        caller: Caller::named("member"),
        ..new_upload(&project)
    };
    let made = on.store.create(again.clone()).await.unwrap().unwrap();
    assert!(!made.is_new);
    on.share(&project, "member", "revoked").await;
    let refused = on.store.create(again.clone()).await.unwrap();
    assert_eq!(refused, Err(NotMade::NoProject));
    // Whoever takes another's id is told that it is taken, wherever he may be.
    let taken = NewUpload {
        project: None,
        caller: Caller::named("stranger"),
        ..again
    };
    let made = on.store.create(taken).await.unwrap().unwrap();
    assert_eq!((made.is_new, made.upload.id), (false, of_member.id));
}

async fn a_project_that_goes_is_cleared(on: &Subject) {
    let (project, open, whole) = shared(on).await;
    on.must_advance(step(&whole, 100, Mark::Completed)).await;
    let cleared = async |limit| {
        let why = String::from("the project was deleted");
        on.store.clear(project.clone(), why, limit).await.unwrap()
    };
    let first = cleared(1).await;
    assert_eq!(first.len(), 1);
    let second = cleared(10).await;
    assert_eq!(second.len(), 1);
    for (_, outcome) in first.iter().chain(&second) {
        assert!(outcome.has_begun(), "{outcome:?}");
    }
    assert_eq!(cleared(10).await, []);
    assert_eq!(on.find(open.id).await.state, State::Cancelling);
    assert_eq!(on.find(whole.id).await.state, State::Deleting);
    let is_clear = async || on.store.is_clear(project.clone()).await.unwrap();
    for id in [open.id, whole.id] {
        assert!(!is_clear().await, "bytes are left");
        on.store.released(id, 1, HOUR).await.unwrap();
    }
    assert!(is_clear().await);
}
