//! The end of a project, with failures and crashes in it.

use futures_util::FutureExt;
use serde_json::{Value, json};
use tidegate_protocol::problem::Problem;

use super::super::deletion::Deleted;
use super::{AT_MOST, Cleared, Deletions, World, admin, heard, somebody};
use crate::access::{self, Right};
use crate::auth::Caller;
use crate::cancel::Settling;
use crate::db::{Param, Sql, sql};
use crate::work::{Next, Worker};

pub(super) async fn suite(on: &World) {
    a_deleted_project_is_gone_with_its_shares(on).await;
    nothing_is_left_behind(on).await;
    what_fails_is_tried_again(on).await;
    a_deletion_that_takes_long_goes_on_without_its_client(on).await;
    a_crash_at_any_step_is_finished_after_the_start(on).await;
    a_default_project_is_made_anew_after_it_is_gone(on).await;
    nothing_is_added_to_a_project_that_goes(on).await;
    a_living_project_is_never_emptied(on).await;
}

/// $1 project.
static ROWS: Sql = sql!(
    "SELECT (SELECT count(*) FROM project WHERE id = $1) + \
     (SELECT count(*) FROM share WHERE project_id = $1)"
);

/// $1 share, $2 project, $3 user.
static INVITE: Sql = sql!(
    "INSERT INTO share (id, project_id, user_id, status, created_at, updated_at) \
     VALUES ($1, $2, $3, 'pending', {now}, {now})"
);

impl World {
    /// How many rows there are of a project and its shares.
    async fn rows(&self, project: &str) -> i64 {
        let project = project.to_owned();
        let rows = self.db.write(move |tx| {
            let project = project.clone();
            async move {
                let row = tx.fetch_optional(&ROWS, &[Param::Text(&project)]).await?;
                row.unwrap().int(0)
            }
            .boxed()
        });
        rows.await.unwrap()
    }

    /// Invites users without asking.
    pub(super) async fn invite_many(&self, project: &str, count: i64) {
        let project = project.to_owned();
        let invited = self.db.write(move |tx| {
            let project = project.clone();
            async move {
                for number in 0..count {
                    let (id, user) = (format!("{project} {number}"), format!("many {number}"));
                    let params = [Param::Text(&id), Param::Text(&project), Param::Text(&user)];
                    tx.execute(&INVITE, &params).await?;
                }
                Ok(())
            }
            .boxed()
        });
        invited.await.unwrap();
    }

    /// Lets the worker have a round.
    async fn work(&self) {
        let mut worker = Deletions::new(&self.projects);
        worker.prepare().await.unwrap();
        while worker.work().await == Next::Now {}
    }

    /// Waits until nothing of the module runs.
    async fn settled(&self) {
        assert_eq!(self.projects.scope.settle(AT_MOST).await, Settling::Settled);
    }

    async fn default_of(&self, caller: &Caller) -> Result<String, crate::db::DbError> {
        let user = caller.user.clone();
        let made = self.db.write(move |tx| {
            let user = user.clone();
            async move { access::default_project(tx, &user).await }.boxed()
        });
        Ok(made.await?.0)
    }
}

async fn a_deleted_project_is_gone_with_its_shares(on: &World) {
    let (a, b, c) = (somebody(), somebody(), somebody());
    let project = on.project(&a).await;
    let target = format!("/api/projects/{project}");
    let member = on.share(&a, &project, &json!({ "userId": b.user })).await;
    on.accept(&b, &member).await.expect(200);
    let invited = on.share(&a, &project, &json!({ "email": c.email })).await;
    let mut listener = on.changes.listen();
    let deleted = on.delete(&a, &target).await.expect(200);
    assert_eq!(
        deleted.data(),
        &json!({ "id": project, "state": "deleted" })
    );
    assert!(deleted.body["message"].is_string());
    assert_eq!(heard(&mut listener), [(project.clone(), None)]);
    assert_eq!(on.contents.asked(&project), 1);
    assert_eq!(on.rows(&project).await, 0);
    for caller in [&a, &b, &c, &admin()] {
        assert_eq!(on.right(caller, &project).await, None);
        on.get(caller, &target).await.expect(404);
        on.delete(caller, &target).await.expect(404);
        on.put(caller, &target, &json!({ "title": "t" }))
            .await
            .expect(404);
        on.get(caller, &format!("{target}/shares"))
            .await
            .expect(404);
        for share in [&member, &invited] {
            on.accept(caller, share).await.expect(404);
            on.revoke(caller, share).await.expect(404);
        }
        assert_eq!(on.get(caller, "/api/shares").await.ids(), [""; 0]);
    }
    let told = on.told(&format!("project:{project}")).await;
    let mut revoked: Vec<_> = told[1..]
        .iter()
        .map(|(_, share, state)| (share, state))
        .collect();
    revoked.sort();
    let mut expected = [&member, &invited].map(|share| format!("share/{share}"));
    expected.sort();
    let state = String::from("revoked");
    assert_eq!(
        revoked,
        expected
            .iter()
            .map(|share| (share, &state))
            .collect::<Vec<_>>()
    );
    assert_eq!(on.told(&format!("user:{}", b.user)).await.len(), 2);
}

async fn nothing_is_left_behind(on: &World) {
    let a = somebody();
    let (gone, other) = (on.project(&a).await, on.project(&a).await);
    on.share(&a, &other, &json!({ "userId": "x" })).await;
    on.delete(&a, &format!("/api/projects/{gone}"))
        .await
        .expect(200);
    assert_eq!(on.rows(&other).await, 2, "and nothing else goes");
    assert_eq!(on.right(&a, &other).await, Some(Right::Owner));
}

async fn what_fails_is_tried_again(on: &World) {
    let a = somebody();
    let project = on.project(&a).await;
    on.contents.answer([
        Ok(Cleared::Remaining),
        Err(Problem::Internal),
        Err(Problem::StorageFull),
        Ok(Cleared::Remaining),
        Ok(Cleared::All),
    ]);
    let deleted = on
        .delete(&a, &format!("/api/projects/{project}"))
        .await
        .expect(200);
    assert_eq!(deleted.data()["state"], "deleted");
    assert_eq!(on.contents.asked(&project), 5);
    assert_eq!(on.rows(&project).await, 0);
}

async fn a_deletion_that_takes_long_goes_on_without_its_client(on: &World) {
    let a = somebody();
    let project = on.project(&a).await;
    let target = format!("/api/projects/{project}");
    let held = on.contents.hold();
    let answer = on.delete(&a, &target).await.expect(200);
    assert_eq!(
        answer.data(),
        &json!({ "id": project, "state": "deleting" })
    );
    on.get(&a, &target).await.expect(404);
    on.delete(&a, &target).await.expect(404);
    // The worker does not come in between.
    on.work().await;
    assert_eq!(on.contents.asked(&project), 1);
    assert_eq!(on.rows(&project).await, 1);
    held.notify_one();
    on.settled().await;
    assert_eq!(on.rows(&project).await, 0);

    // A client that leaves at any moment: either nothing has happened, or it happens to the end.
    for polls in 0..40 {
        let project = on.project(&a).await;
        let method = http::Method::DELETE;
        let target = format!("/api/projects/{project}");
        let request = super::request(&a, &method, &target, &Value::Null);
        let mut deletion = Box::pin(super::serve(on.projects.clone(), request));
        for _ in 0..polls {
            if futures_util::poll!(&mut deletion).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(deletion);
        on.settled().await;
        // A write that is queued runs although nobody waits for it, and this one comes behind it.
        let has_begun = on.rows(&project).await == 0 || on.right(&a, &project).await.is_none();
        on.work().await;
        on.settled().await;
        match has_begun {
            true => assert_eq!(on.rows(&project).await, 0),
            false => assert_eq!(on.right(&a, &project).await, Some(Right::Owner)),
        }
    }
}

async fn a_crash_at_any_step_is_finished_after_the_start(on: &World) {
    let a = somebody();
    // Right after the first transaction.
    let project = on.project(&a).await;
    on.share(&a, &project, &json!({ "userId": "x" })).await;
    let store = &on.projects.store;
    let id = project.parse().unwrap();
    store.begin_deletion(id, a.clone()).await.unwrap().unwrap();
    assert_eq!(on.rows(&project).await, 2);
    let mut listener = on.changes.listen();
    on.work().await;
    on.settled().await;
    assert_eq!(on.rows(&project).await, 0);
    assert!(heard(&mut listener).contains(&(project, None)));

    // While it is being emptied.
    let project = on.project(&a).await;
    let before = World::new(on.db.clone());
    before.contents.answer(vec![Ok(Cleared::Remaining); 1000]);
    let deletion = {
        let (projects, a) = (before.projects.clone(), a.clone());
        let id = project.parse().unwrap();
        before
            .scope
            .spawn(async move { projects.delete(id, a).await })
    };
    while before.contents.asked(&project) < 2 {
        tokio::task::yield_now().await;
    }
    let after = before.restarted().await;
    assert_eq!(deletion.await.unwrap(), Ok(Deleted::Begun));
    assert_eq!(after.rows(&project).await, 1);
    after.work().await;
    after.settled().await;
    assert_eq!(after.rows(&project).await, 0);
    assert_eq!(after.contents.asked(&project), 1);
}

async fn a_default_project_is_made_anew_after_it_is_gone(on: &World) {
    let a = somebody();
    let project = on.default_of(&a).await.unwrap();
    let held = on.contents.hold();
    let deletion = on.start_deletion(&a, &project);
    on.contents.is_asked(&project).await;
    assert_ne!(on.default_of(&a).await.unwrap(), project, "at once");
    held.notify_one();
    deletion.await.unwrap().expect(200);

    // The one with a fixed name only when nothing is left of it.
    let local = Caller::local();
    let project = on.default_of(&local).await.unwrap();
    assert_eq!(project, access::DEFAULT_OF_LOCAL);
    let held = on.contents.hold();
    let deletion = on.start_deletion(&local, &project);
    on.contents.is_asked(&project).await;
    let refused = on.default_of(&local).await;
    assert!(
        matches!(refused, Err(crate::db::DbError::Busy)),
        "{refused:?}"
    );
    on.get(&local, "/api/projects/default").await.expect(404);
    held.notify_one();
    deletion.await.unwrap().expect(200);
    assert_eq!(on.default_of(&local).await.unwrap(), project);
    on.get(&local, "/api/projects/default").await.expect(200);
}

async fn nothing_is_added_to_a_project_that_goes(on: &World) {
    let a = somebody();
    let project = on.project(&a).await;
    let id = project.parse().unwrap();
    let store = &on.projects.store;
    store.begin_deletion(id, a.clone()).await.unwrap().unwrap();
    let added = on.db.write(move |tx| {
        let (project, a) = (project.clone(), a.clone());
        async move { access::right_to_add(tx, &project, &a).await }.boxed()
    });
    assert_eq!(added.await.unwrap(), None);
    on.work().await;
    on.settled().await;
}

/// Whoever was told that a project goes may come when it is gone, and another one has its name.
async fn a_living_project_is_never_emptied(on: &World) {
    let a = somebody();
    let project = on.project(&a).await;
    let finishing = on.projects.finish(&project).unwrap();
    assert_eq!(finishing.await, Ok(Deleted::Gone), "what there was");
    assert_eq!(on.contents.asked(&project), 0);
    assert_eq!(on.right(&a, &project).await, Some(Right::Owner));
}
