//! What several callers see of one project.

use serde_json::json;

use super::{World, admin, heard, somebody, text, user};
use crate::access::Right;
use crate::auth::{Caller, Models, Role};

pub(super) async fn suite(on: &World) {
    only_an_accepted_share_opens_a_project(on).await;
    a_right_is_needed_for_each_thing(on).await;
    an_admin_sees_and_does_everything(on).await;
    an_address_is_as_good_as_an_id(on).await;
    one_share_for_each_person(on).await;
    nobody_is_invited_to_what_is_his(on).await;
    who_is_invited_twice_has_one_share(on).await;
    who_is_invited_may_decline_or_leave(on).await;
    a_revoked_share_is_over_and_somebody_may_be_invited_anew(on).await;
    a_project_has_so_many_shares_and_no_more(on).await;
    revoked_shares_are_forgotten(on).await;
}

async fn only_an_accepted_share_opens_a_project(on: &World) {
    let (a, b, c) = (somebody(), somebody(), somebody());
    let project = on.project(&a).await;
    let target = format!("/api/projects/{project}");
    let mut listener = on.changes.listen();
    let with = json!({ "userId": b.user });
    let share = on.share(&a, &project, &with).await;
    assert_eq!(on.right(&b, &project).await, None);
    on.get(&b, &target).await.expect(404);
    let own = on.get(&b, "/api/shares").await.expect(200);
    let [invitation] = &own.data().as_array().unwrap()[..] else {
        panic!("{own:?}");
    };
    assert_eq!(invitation["id"], share);
    assert_eq!(invitation["projectId"], project);
    assert_eq!(invitation["projectTitle"], "a title");
    assert_eq!(invitation["status"], "pending");
    assert_eq!(on.get(&c, "/api/shares").await.ids(), [""; 0]);
    assert_eq!(heard(&mut listener), [], "an invitation opens nothing");

    on.accept(&c, &share).await.expect(404);
    on.accept(&a, &share).await.expect(403);
    let accepted = on.accept(&b, &share).await.expect(200);
    assert_eq!(accepted.data()["status"], "accepted");
    assert_eq!(
        on.accept(&b, &share).await.expect(200).data(),
        accepted.data()
    );
    assert_eq!(on.right(&b, &project).await, Some(Right::Member));
    let seen = on.get(&b, &target).await.expect(200);
    assert_eq!(seen.data()["role"], "member");
    assert_eq!(on.get(&b, "/api/projects").await.ids(), [project.as_str()]);
    assert_eq!(on.get(&b, "/api/shares").await.ids(), [share.as_str()]);
    let told = ["accepted", "revoked"].map(|state| {
        (
            format!("share.{state}"),
            format!("share/{share}"),
            state.to_owned(),
        )
    });
    for feed in [format!("project:{project}"), format!("user:{}", b.user)] {
        assert_eq!(on.told(&feed).await, told[..1], "{feed}");
    }
    let changed = (project.clone(), Some(b.user.clone()));
    // The second time, too: whoever accepts again may not have been answered the first time.
    assert_eq!(heard(&mut listener), vec![changed.clone(); 2]);

    let revoked = on.revoke(&a, &share).await.expect(200);
    assert_eq!(revoked.data()["status"], "revoked");
    assert_eq!(
        on.revoke(&a, &share).await.expect(200).data(),
        revoked.data()
    );
    assert_eq!(on.right(&b, &project).await, None);
    on.get(&b, &target).await.expect(404);
    on.accept(&b, &share).await.expect(404);
    on.revoke(&b, &share).await.expect(404);
    assert_eq!(on.get(&b, "/api/shares").await.ids(), [""; 0]);
    for feed in [format!("project:{project}"), format!("user:{}", b.user)] {
        assert_eq!(on.told(&feed).await, told, "{feed}");
    }
    assert_eq!(heard(&mut listener), vec![changed; 2]);
}

async fn a_right_is_needed_for_each_thing(on: &World) {
    let (a, member, other, stranger) = (somebody(), somebody(), somebody(), somebody());
    let project = on.project(&a).await;
    let own = on
        .share(&a, &project, &json!({ "userId": member.user }))
        .await;
    on.accept(&member, &own).await.expect(200);
    let others = on
        .share(&a, &project, &json!({ "userId": other.user }))
        .await;
    let target = format!("/api/projects/{project}");
    let shares = format!("{target}/shares");
    for (caller, status) in [(&member, 403), (&stranger, 404), (&other, 404)] {
        on.put(caller, &target, &json!({ "title": "mine" }))
            .await
            .expect(status);
        on.delete(caller, &target).await.expect(status);
        on.post(caller, &shares, &json!({ "userId": "x" }))
            .await
            .expect(status);
    }
    for caller in [&member, &stranger] {
        on.accept(caller, &others).await.expect(404);
        on.revoke(caller, &others).await.expect(404);
    }
    on.revoke(&stranger, &own).await.expect(404);
    on.get(&stranger, &shares).await.expect(404);
    on.get(&other, &shares).await.expect(404);
    assert_eq!(
        on.get(&member, &shares).await.expect(200).ids(),
        [own.as_str()]
    );
    let mut all = on.get(&a, &shares).await.expect(200).ids();
    all.sort();
    let mut both = [own, others];
    both.sort();
    assert_eq!(all, both);
    assert_eq!(on.told(&format!("project:{project}")).await.len(), 1);
}

async fn an_admin_sees_and_does_everything(on: &World) {
    let (a, b) = (somebody(), somebody());
    let project = on.project(&a).await;
    let target = format!("/api/projects/{project}");
    let root = admin();
    assert_eq!(
        on.get(&root, &target).await.expect(200).data()["role"],
        "admin"
    );
    assert_eq!(
        on.get(&root, "/api/projects").await.expect(200).ids(),
        [""; 0]
    );
    let all = on
        .get(&root, "/api/projects?all=true&limit=100")
        .await
        .expect(200);
    assert!(all.ids().contains(&project), "the newest come first");
    on.put(&root, &target, &json!({ "title": "better" }))
        .await
        .expect(200);
    let share = on
        .share(&root, &project, &json!({ "userId": b.user }))
        .await;
    on.accept(&root, &share).await.expect(403);
    on.accept(&b, &share).await.expect(200);
    on.revoke(&root, &share).await.expect(200);
    assert_eq!(on.right(&b, &project).await, None);
    let worker = Caller {
        role: Role::Worker(Models::All),
        ..somebody()
    };
    on.get(&worker, &target).await.expect(404);
    on.get(&worker, "/api/projects?all=true").await.expect(403);
    on.delete(&root, &target).await.expect(200);
    on.get(&a, &target).await.expect(404);
}

async fn an_address_is_as_good_as_an_id(on: &World) {
    let (a, b, c) = (somebody(), somebody(), somebody());
    let project = on.project(&a).await;
    let email = b.email.clone().unwrap();
    let share = on
        .share(&a, &project, &json!({ "email": email.to_uppercase() }))
        .await;
    let listed = on.get(&a, &format!("/api/projects/{project}/shares")).await;
    assert_eq!(listed.data()[0]["email"], email, "in lower case");
    assert_eq!(listed.data()[0]["userId"], serde_json::Value::Null);
    let without = Caller {
        email: None,
        ..b.clone()
    };
    // The id of a user is no address of his.
    let named = Caller {
        email: None,
        ..user(&email)
    };
    for other in [&c, &without, &named] {
        assert_eq!(on.get(other, "/api/shares").await.ids(), [""; 0]);
        on.accept(other, &share).await.expect(404);
        on.revoke(other, &share).await.expect(404);
    }
    assert_eq!(on.get(&b, "/api/shares").await.ids(), [share.as_str()]);
    let accepted = on.accept(&b, &share).await.expect(200);
    assert_eq!(accepted.data()["userId"], b.user);
    assert_eq!(accepted.data()["email"], email);
    // It is his now, whatever his address is, and nobody else's who has the address later.
    assert_eq!(on.right(&without, &project).await, Some(Right::Member));
    let heir = Caller {
        email: b.email.clone(),
        ..somebody()
    };
    on.accept(&heir, &share).await.expect(404);
    assert_eq!(on.right(&heir, &project).await, None);
    on.accept(&without, &share).await.expect(200);
    assert_eq!(on.told(&format!("user:{}", b.user)).await.len(), 1);
}

async fn one_share_for_each_person(on: &World) {
    let (a, b) = (somebody(), somebody());
    let project = on.project(&a).await;
    let target = format!("/api/projects/{project}/shares");
    for with in [
        json!({ "userId": b.user }),
        json!({ "email": "Else@Example.org" }),
    ] {
        let first = on.post(&a, &target, &with).await.expect(201);
        let again = on.post(&a, &target, &with).await.expect(200);
        assert_eq!(first.data(), again.data());
    }
    let other = json!({ "email": "else@example.org" });
    on.post(&a, &target, &other).await.expect(200);
    let else_ = Caller {
        email: Some("else@example.org".into()),
        ..somebody()
    };
    let listed = on.get(&else_, "/api/shares").await;
    on.accept(&else_, &listed.ids()[0]).await.expect(200);
    let again = on.post(&a, &target, &other).await.expect(200);
    assert_eq!(again.data()["status"], "accepted");
    assert_eq!(on.get(&a, &target).await.ids().len(), 2);
}

async fn nobody_is_invited_to_what_is_his(on: &World) {
    let a = somebody();
    let project = on.project(&a).await;
    let target = format!("/api/projects/{project}/shares");
    let root = admin();
    for (caller, with) in [
        (&a, json!({ "userId": a.user })),
        (&a, json!({ "email": a.email })),
        (&root, json!({ "userId": a.user })),
        (&root, json!({ "userId": root.user })),
        (&a, json!({ "userId": "b", "email": "b@example.org" })),
        (&a, json!({})),
    ] {
        let refused = on.post(caller, &target, &with).await.expect(400);
        assert_eq!(refused.body["code"], "VALIDATION_ERROR", "{with}");
    }
    // Who invites him by an address does not know that it is the owner's.
    let share = on
        .share(&root, &project, &json!({ "email": a.email }))
        .await;
    assert_eq!(on.get(&a, "/api/shares").await.ids(), [""; 0]);
    on.accept(&a, &share).await.expect(403);
    on.revoke(&a, &share).await.expect(200);
    assert_eq!(on.right(&a, &project).await, Some(Right::Owner));
}

async fn who_is_invited_twice_has_one_share(on: &World) {
    for accepts_first in [true, false] {
        let (a, b) = (somebody(), somebody());
        let project = on.project(&a).await;
        let by_id = on.share(&a, &project, &json!({ "userId": b.user })).await;
        let by_email = on.share(&a, &project, &json!({ "email": b.email })).await;
        if accepts_first {
            on.accept(&b, &by_id).await.expect(200);
        }
        for _again in 0..2 {
            let accepted = on.accept(&b, &by_email).await.expect(200);
            assert_eq!(accepted.data()["id"], by_id);
            assert_eq!(accepted.data()["status"], "accepted");
        }
        assert_eq!(on.get(&b, "/api/shares").await.ids(), [by_id.as_str()]);
        assert_eq!(on.right(&b, &project).await, Some(Right::Member));
        // And so one revocation is enough.
        on.revoke(&a, &by_id).await.expect(200);
        assert_eq!(on.right(&b, &project).await, None);
        on.accept(&b, &by_email).await.expect(404);
        let mut told = on.told(&format!("user:{}", b.user)).await;
        told.sort();
        let mut expected = [
            ("share.accepted", &by_id, "accepted"),
            ("share.revoked", &by_id, "revoked"),
            ("share.revoked", &by_email, "revoked"),
        ]
        .map(|(kind, id, state)| (kind.to_owned(), format!("share/{id}"), state.to_owned()));
        expected.sort();
        assert_eq!(told, expected);
    }
}

async fn who_is_invited_may_decline_or_leave(on: &World) {
    let (a, b) = (somebody(), somebody());
    let project = on.project(&a).await;
    let shares = format!("/api/projects/{project}/shares");
    let declined = on.share(&a, &project, &json!({ "email": b.email })).await;
    let answer = on.revoke(&b, &declined).await.expect(200);
    assert_eq!(answer.data()["status"], "revoked");
    assert_eq!(
        answer.data()["userId"],
        b.user,
        "it is known whom it concerned"
    );
    on.accept(&b, &declined).await.expect(404);
    on.revoke(&b, &declined).await.expect(404);
    on.revoke(&a, &declined).await.expect(200);
    let left = on.share(&a, &project, &json!({ "userId": b.user })).await;
    on.accept(&b, &left).await.expect(200);
    let mut listener = on.changes.listen();
    on.revoke(&b, &left).await.expect(200);
    assert_eq!(
        heard(&mut listener),
        [(project.clone(), Some(b.user.clone()))]
    );
    assert_eq!(on.right(&b, &project).await, None);
    assert_eq!(on.get(&a, &shares).await.ids(), [""; 0]);
    // Of one that nobody has claimed only the project is told.
    let unclaimed = on
        .share(&a, &project, &json!({ "email": "x@example.org" }))
        .await;
    on.revoke(&a, &unclaimed).await.expect(200);
    let kinds = |told: Vec<(String, String, String)>| -> Vec<String> {
        told.into_iter().map(|(kind, ..)| kind).collect()
    };
    let (accepted, revoked) = ("share.accepted", "share.revoked");
    let of_user = kinds(on.told(&format!("user:{}", b.user)).await);
    assert_eq!(of_user, [revoked, accepted, revoked]);
    let of_project = kinds(on.told(&format!("project:{project}")).await);
    assert_eq!(of_project, [revoked, accepted, revoked, revoked]);
}

async fn a_revoked_share_is_over_and_somebody_may_be_invited_anew(on: &World) {
    let (a, b) = (somebody(), somebody());
    let project = on.project(&a).await;
    let with = json!({ "userId": b.user });
    let first = on.share(&a, &project, &with).await;
    on.revoke(&a, &first).await.expect(200);
    on.accept(&b, &first).await.expect(404);
    let second = on.share(&a, &project, &with).await;
    assert_ne!(first, second);
    on.accept(&b, &second).await.expect(200);
    on.revoke(&a, &first).await.expect(200);
    assert_eq!(on.right(&b, &project).await, Some(Right::Member));
}

async fn a_project_has_so_many_shares_and_no_more(on: &World) {
    let a = somebody();
    let project = on.project(&a).await;
    let target = format!("/api/projects/{project}/shares");
    on.invite_many(&project, super::super::store::SHARES_MAX - 1)
        .await;
    let last = on.share(&a, &project, &json!({ "userId": "last" })).await;
    let more = json!({ "userId": "more" });
    let refused = on.post(&a, &target, &more).await.expect(400);
    assert!(
        text(&refused.body["detail"]).contains("1000"),
        "{refused:?}"
    );
    on.post(&a, &target, &json!({ "userId": "last" }))
        .await
        .expect(200);
    on.revoke(&a, &last).await.expect(200);
    on.post(&a, &target, &more).await.expect(201);
    let listed = on.get(&a, &format!("{target}?limit=100&page=10")).await;
    assert_eq!(listed.ids().len(), 100);
    assert_eq!(listed.body["pagination"]["total"], 1000);
    // All of them go with it, and each of their users is told.
    on.delete(&a, &format!("/api/projects/{project}"))
        .await
        .expect(200);
    assert_eq!(on.told("user:more").await.len(), 1);
    assert_eq!(on.told("user:many 7").await.len(), 1);
}

async fn revoked_shares_are_forgotten(on: &World) {
    let (a, b) = (somebody(), somebody());
    let project = on.project(&a).await;
    let living = on.share(&a, &project, &json!({ "userId": b.user })).await;
    on.accept(&b, &living).await.expect(200);
    let revoked = on.share(&a, &project, &json!({ "userId": "x" })).await;
    on.revoke(&a, &revoked).await.expect(200);
    on.projects.store.forget(super::AT_MOST).await.unwrap();
    on.revoke(&a, &revoked).await.expect(200);
    // Until a millisecond has passed since then.
    while on.revoke(&a, &revoked).await.status == 200 {
        on.projects
            .store
            .forget(std::time::Duration::ZERO)
            .await
            .unwrap();
    }
    on.revoke(&a, &revoked).await.expect(404);
    assert_eq!(on.right(&b, &project).await, Some(Right::Member));
}
