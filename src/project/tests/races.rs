//! Changes that meet. Each pair is tried often, and whichever comes first, answers, rows, events and
//! access must tell one story.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::{Answer, World, request, serve, somebody, text};
use crate::access::Right;
use crate::auth::Caller;
use crate::cancel::Task;

/// How often each pair meets.
const ROUNDS: usize = 25;

pub(super) async fn suite(on: &World) {
    for _round in 0..ROUNDS {
        an_acceptance_meets_a_revocation(on).await;
        a_revocation_meets_its_like(on).await;
        two_invitations_of_one_person_meet(on).await;
        two_acceptances_of_one_person_meet(on).await;
        a_deletion_meets_an_invitation(on).await;
        a_deletion_meets_an_acceptance(on).await;
        a_deletion_meets_a_new_title(on).await;
        two_deletions_meet(on).await;
        crossing_changes_of_many_projects_all_get_on(on).await;
    }
    the_last_place_is_given_once(on).await;
}

impl World {
    /// Asks beside others.
    fn start(&self, caller: &Caller, method: Method, target: String, body: Value) -> Task<Answer> {
        let (projects, caller) = (Arc::clone(&self.projects), caller.clone());
        self.scope.spawn(async move {
            let request = request(&caller, &method, &target, &body);
            Answer::of(serve(projects, request).await).await
        })
    }

    fn start_accept(&self, caller: &Caller, share: &str) -> Task<Answer> {
        let target = format!("/api/shares/{share}/accept");
        self.start(caller, Method::POST, target, Value::Null)
    }

    fn start_revoke(&self, caller: &Caller, share: &str) -> Task<Answer> {
        let target = format!("/api/shares/{share}");
        self.start(caller, Method::DELETE, target, Value::Null)
    }

    fn start_share(&self, caller: &Caller, project: &str, with: Value) -> Task<Answer> {
        let target = format!("/api/projects/{project}/shares");
        self.start(caller, Method::POST, target, with)
    }

    pub(super) fn start_deletion(&self, caller: &Caller, project: &str) -> Task<Answer> {
        let target = format!("/api/projects/{project}");
        self.start(caller, Method::DELETE, target, Value::Null)
    }

    /// The states of a share that were told on a feed.
    async fn states(&self, feed: &str, share: &str) -> Vec<String> {
        let subject = format!("share/{share}");
        let told = self.told(feed).await.into_iter();
        told.filter(|(_, of, _)| *of == subject)
            .map(|(_, _, state)| state)
            .collect()
    }

    /// Waits for whatever a deletion leaves to do.
    async fn is_gone(&self, owner: &Caller, project: &str) {
        let target = format!("/api/projects/{project}");
        self.get(owner, &target).await.expect(404);
        assert_eq!(self.right(owner, project).await, None);
    }
}

/// One of these statuses.
async fn end(task: Task<Answer>, statuses: &[u16]) -> Answer {
    let answer = task.await.unwrap();
    let status = answer.status.as_u16();
    assert!(statuses.contains(&status), "{answer:?}");
    answer
}

async fn an_acceptance_meets_a_revocation(on: &World) {
    let (a, b) = (somebody(), somebody());
    let project = on.project(&a).await;
    let share = on.share(&a, &project, &json!({ "userId": b.user })).await;
    let accepted = on.start_accept(&b, &share);
    let revoked = on.start_revoke(&a, &share);
    let accepted = end(accepted, &[200, 404]).await;
    assert_eq!(end(revoked, &[200]).await.data()["status"], "revoked");
    assert_eq!(on.right(&b, &project).await, None, "a revocation is final");
    let expected: &[&str] = match accepted.status.as_u16() {
        200 => &["accepted", "revoked"],
        _ => &["revoked"],
    };
    for feed in [format!("project:{project}"), format!("user:{}", b.user)] {
        assert_eq!(on.states(&feed, &share).await, expected);
    }
}

async fn a_revocation_meets_its_like(on: &World) {
    let (a, b) = (somebody(), somebody());
    let project = on.project(&a).await;
    let share = on.share(&a, &project, &json!({ "userId": b.user })).await;
    on.accept(&b, &share).await.expect(200);
    let calls = [
        on.start_revoke(&a, &share),
        on.start_revoke(&b, &share),
        on.start_revoke(&a, &share),
    ];
    for (call, statuses) in calls.into_iter().zip([&[200][..], &[200, 404], &[200]]) {
        end(call, statuses).await;
    }
    let told = on.states(&format!("user:{}", b.user), &share).await;
    assert_eq!(told, ["accepted", "revoked"]);
    assert_eq!(on.right(&b, &project).await, None);
}

async fn two_invitations_of_one_person_meet(on: &World) {
    let (a, b) = (somebody(), somebody());
    let project = on.project(&a).await;
    for with in [json!({ "userId": b.user }), json!({ "email": b.email })] {
        let calls = [0, 1, 2].map(|_| on.start_share(&a, &project, with.clone()));
        let mut seen = Vec::new();
        for call in calls {
            let answer = end(call, &[200, 201]).await;
            seen.push((answer.status.as_u16(), text(&answer.data()["id"])));
        }
        let made = seen.iter().filter(|(status, _)| *status == 201).count();
        assert_eq!(made, 1, "{seen:?}");
        assert!(seen.iter().all(|(_, id)| *id == seen[0].1), "{seen:?}");
    }
}

async fn two_acceptances_of_one_person_meet(on: &World) {
    let (a, b) = (somebody(), somebody());
    let project = on.project(&a).await;
    let by_id = on.share(&a, &project, &json!({ "userId": b.user })).await;
    let by_email = on.share(&a, &project, &json!({ "email": b.email })).await;
    let calls = [&by_id, &by_email, &by_email, &by_id].map(|share| on.start_accept(&b, share));
    for call in calls {
        let answer = end(call, &[200]).await;
        assert_eq!(answer.data()["id"], by_id);
        assert_eq!(answer.data()["status"], "accepted");
    }
    assert_eq!(on.right(&b, &project).await, Some(Right::Member));
    let feed = format!("user:{}", b.user);
    assert_eq!(on.states(&feed, &by_id).await, ["accepted"]);
    assert_eq!(on.states(&feed, &by_email).await, ["revoked"]);
}

async fn a_deletion_meets_an_invitation(on: &World) {
    let (a, b) = (somebody(), somebody());
    let project = on.project(&a).await;
    let shared = on.start_share(&a, &project, json!({ "userId": b.user }));
    let deleted = on.start_deletion(&a, &project);
    let shared = end(shared, &[201, 404]).await;
    assert_eq!(end(deleted, &[200]).await.data()["state"], "deleted");
    on.is_gone(&a, &project).await;
    let told = on.told(&format!("user:{}", b.user)).await.len();
    assert_eq!(told, usize::from(shared.status == 201), "{shared:?}");
    on.get(&b, "/api/shares").await.expect(200);
}

async fn a_deletion_meets_an_acceptance(on: &World) {
    let (a, b) = (somebody(), somebody());
    let project = on.project(&a).await;
    let share = on.share(&a, &project, &json!({ "userId": b.user })).await;
    let accepted = on.start_accept(&b, &share);
    let deleted = on.start_deletion(&a, &project);
    let accepted = end(accepted, &[200, 404]).await;
    end(deleted, &[200]).await;
    on.is_gone(&a, &project).await;
    assert_eq!(on.right(&b, &project).await, None);
    let expected: &[&str] = match accepted.status.as_u16() {
        200 => &["accepted", "revoked"],
        _ => &["revoked"],
    };
    let feed = format!("user:{}", b.user);
    assert_eq!(on.states(&feed, &share).await, expected);
}

async fn a_deletion_meets_a_new_title(on: &World) {
    let a = somebody();
    let project = on.project(&a).await;
    let target = format!("/api/projects/{project}");
    let edited = on.start(&a, Method::PUT, target, json!({ "title": "new" }));
    let deleted = on.start_deletion(&a, &project);
    let edited = end(edited, &[200, 404]).await;
    end(deleted, &[200]).await;
    on.is_gone(&a, &project).await;
    let told = on.told(&format!("project:{project}")).await.len();
    assert_eq!(told, usize::from(edited.status == 200), "{edited:?}");
}

async fn two_deletions_meet(on: &World) {
    let a = somebody();
    let project = on.project(&a).await;
    let calls = [0, 1, 2].map(|_| on.start_deletion(&a, &project));
    let mut statuses = Vec::new();
    for call in calls {
        statuses.push(end(call, &[200, 404]).await.status.as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 404, 404]);
    assert_eq!(on.contents.asked(&project), 1);
    on.is_gone(&a, &project).await;
}

/// The same people in many projects: whoever waited for another's feed in another order would wait
/// for ever.
async fn crossing_changes_of_many_projects_all_get_on(on: &World) {
    let (a, people) = (somebody(), [somebody(), somebody(), somebody()]);
    let mut calls = Vec::new();
    let mut projects = Vec::new();
    for turn in 0..3 {
        let project = on.project(&a).await;
        for place in 0..3 {
            let person = &people[(turn + place) % 3];
            let share = on
                .share(&a, &project, &json!({ "userId": person.user }))
                .await;
            calls.push(on.start_accept(person, &share));
        }
        projects.push(project);
    }
    for project in &projects {
        calls.push(on.start_deletion(&a, project));
    }
    for call in calls {
        end(call, &[200, 404]).await;
    }
    for person in &people {
        assert_eq!(on.get(person, "/api/projects").await.ids(), [""; 0]);
        let told = on.told(&format!("user:{}", person.user)).await;
        let revoked = told.iter().filter(|(_, _, state)| state == "revoked");
        assert_eq!(revoked.count(), 3, "{told:?}");
    }
}

async fn the_last_place_is_given_once(on: &World) {
    let a = somebody();
    let project = on.project(&a).await;
    on.invite_many(&project, super::super::store::SHARES_MAX - 1)
        .await;
    let calls: Vec<_> = (0..8)
        .map(|number| on.start_share(&a, &project, json!({ "userId": format!("last {number}") })))
        .collect();
    let mut made = 0;
    for call in calls {
        made += usize::from(end(call, &[201, 400]).await.status == 201);
    }
    assert_eq!(made, 1);
}
