//! The rule over both engines.

use futures_util::FutureExt;

use super::{
    ALL, Change, Changes, DEFAULT_OF_LOCAL, LINE, Right, default_project, right, right_to_add,
    visible,
};
use crate::auth::{Caller, Models, Role};
use crate::db::conformance::{empty_postgres, empty_sqlite, execute};
use crate::db::{CORE, Db, Sql, sql};

#[tokio::test]
async fn sqlite() {
    let (_dir, db) = empty_sqlite().await;
    suite(db).await;
}

#[tokio::test]
async fn postgres() {
    suite(empty_postgres().await).await;
}

async fn suite(db: Db) {
    db.migrate(&[CORE, LINE]).await.unwrap();
    db.prepare_all(ALL).await.unwrap();
    let world = World(db);
    world.only_owner_share_and_admin_have_a_right().await;
    world.a_project_that_goes_is_nobodys().await;
    world.everybody_has_one_default_project().await;
    world.0.close().await;
}

struct World(Db);

static PROJECT: Sql = sql!(
    "INSERT INTO project (id, owner_id, title, is_default, created_at, updated_at) \
     VALUES ($1, $2, 'a title', 0, {now}, {now})"
);
static SHARE: Sql = sql!(
    "INSERT INTO share (id, project_id, user_id, status, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, {now}, {now})"
);
static GOING: Sql = sql!("UPDATE project SET deleted_at = {now} WHERE id = $1");

impl World {
    async fn right(&self, caller: &Caller, project: &'static str) -> Option<Right> {
        let (looks, adds) = (caller.clone(), caller.clone());
        let seen = self
            .0
            .read(move |tx| {
                let caller = looks.clone();
                async move { right(tx, project, &caller).await }.boxed()
            })
            .await
            .unwrap();
        let to_add = self.0.write(move |tx| {
            let caller = adds.clone();
            async move { right_to_add(tx, project, &caller).await }.boxed()
        });
        assert_eq!(to_add.await.unwrap(), seen, "one rule");
        seen
    }

    async fn visible(&self, caller: &Caller, limit: u32) -> Vec<String> {
        let caller = caller.clone();
        let visible = self.0.read(move |tx| {
            let caller = caller.clone();
            async move { visible(tx, &caller, limit).await }.boxed()
        });
        visible.await.unwrap()
    }

    async fn default_of(&self, user: &'static str) -> String {
        let made = self
            .0
            .write(move |tx| async move { default_project(tx, user).await }.boxed());
        made.await.unwrap().0
    }

    async fn only_owner_share_and_admin_have_a_right(&self) {
        execute(&self.0, &PROJECT, &["p", "a"]).await;
        execute(&self.0, &PROJECT, &["q", "b"]).await;
        for (share, user, status) in [
            ("s1", "b", "accepted"),
            ("s2", "pending", "pending"),
            ("s3", "revoked", "revoked"),
        ] {
            execute(&self.0, &SHARE, &[share, "p", user, status]).await;
        }
        assert_eq!(
            self.right(&Caller::named("a"), "p").await,
            Some(Right::Owner)
        );
        assert_eq!(
            self.right(&Caller::named("b"), "p").await,
            Some(Right::Member)
        );
        for nobody in ["pending", "revoked", "c", "", "A", "a ", "%"] {
            assert_eq!(
                self.right(&Caller::named(nobody), "p").await,
                None,
                "{nobody}"
            );
            assert_eq!(self.visible(&Caller::named(nobody), 10).await, [""; 0]);
        }
        for absent in ["nothing", "", "P"] {
            assert_eq!(
                self.right(&Caller::named("a"), absent).await,
                None,
                "{absent}"
            );
        }
        let worker = Caller {
            role: Role::Worker(Models::All),
            ..Caller::named("w")
        };
        assert_eq!(self.right(&worker, "p").await, None);
        let admin = Caller {
            role: Role::Admin,
            ..Caller::named("root")
        };
        assert_eq!(self.right(&admin, "p").await, Some(Right::Owner));
        assert_eq!(self.right(&admin, "nothing").await, None);
        assert_eq!(self.visible(&Caller::named("b"), 10).await, ["p", "q"]);
        assert_eq!(self.visible(&Caller::named("b"), 1).await, ["p"]);
    }

    async fn a_project_that_goes_is_nobodys(&self) {
        execute(&self.0, &GOING, &["q"]).await;
        let admin = Caller::local();
        assert_eq!(self.right(&admin, "q").await, None);
        assert_eq!(self.right(&Caller::named("b"), "q").await, None);
        assert_eq!(self.visible(&Caller::named("b"), 10).await, ["p"]);
    }

    async fn everybody_has_one_default_project(&self) {
        assert_eq!(self.default_of(Caller::LOCAL).await, DEFAULT_OF_LOCAL);
        let id = self.default_of("a").await;
        assert_ne!(id, "p");
        assert_eq!(self.default_of("a").await, id);
        assert_ne!(self.default_of("b").await, id);
        assert_eq!(self.visible(&Caller::named("a"), 10).await.len(), 2);
    }
}

#[test]
fn a_right_covers_what_is_ones_own() {
    let member = Caller::named("b");
    assert!(Right::Owner.covers(&member, "c"));
    assert!(Right::Member.covers(&member, "b"));
    assert!(!Right::Member.covers(&member, "c"));
}

#[tokio::test]
async fn a_change_is_heard_by_all_that_listen() {
    let changes = Changes::new();
    let change = Change {
        project: String::from("p"),
        user: None,
    };
    changes.tell(change.clone());
    let (mut one, mut other) = (changes.listen(), changes.clone().listen());
    changes.tell(change.clone());
    assert_eq!(one.recv().await.as_ref(), Ok(&change));
    assert_eq!(other.recv().await, Ok(change));
}
