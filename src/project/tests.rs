//! The module over both engines, as its handlers see it: requests of several callers in, answers,
//! events and changes of access out.
//!
//! | file | what |
//! |---|---|
//! | this one | the world of a test, and what one caller sees |
//! | `shares.rs` | what several see, and their shares |
//! | `deletions.rs` | the end of a project, with failures and crashes |
//! | `races.rs` | changes that meet |

mod deletions;
mod races;
mod shares;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::uri::Scheme;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tidegate_protocol::problem::Problem;
use tokio::sync::{Notify, broadcast};

use super::deletion::{Cleared, Contents, Deletions};
use super::{Config, Deps, Projects, api, share_api, statement};
use crate::access::{self, Change, Changes, Right};
use crate::auth::{Caller, Role};
use crate::cancel::{CancelReason, Scope, Settling};
use crate::db::conformance::{empty_postgres, empty_sqlite};
use crate::db::{CORE, Db, Param, Sql, sql};
use crate::event::{Hub, log};
use crate::http::{Body, Interim, PathParams, Peer, Request, RequestId, Response};

/// A wait that only a defect makes this long.
const AT_MOST: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    let (_dir, db) = empty_sqlite().await;
    suite(db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    suite(empty_postgres().await).await;
}

async fn suite(db: Db) {
    db.migrate(&[CORE, log::LINE, access::LINE]).await.unwrap();
    db.prepare_all(statement::ALL).await.unwrap();
    let world = World::new(db);
    projects_are_made_found_changed_and_listed(&world).await;
    what_is_malformed_is_refused(&world).await;
    a_title_that_stays_is_no_news(&world).await;
    shares::suite(&world).await;
    deletions::suite(&world).await;
    races::suite(&world).await;
    world.stop().await;
}

/// The module and all that it is given.
struct World {
    db: Db,
    changes: Changes,
    contents: Arc<Scripted>,
    scope: Scope,
    projects: Arc<Projects>,
}

impl World {
    fn new(db: Db) -> Self {
        let scope = Scope::root("server");
        let changes = Changes::new();
        let contents = Arc::new(Scripted::default());
        let deps = Deps {
            db: db.clone(),
            hub: Hub::new(db.clone(), scope.child("feeds")),
            changes: changes.clone(),
            contents: contents.clone(),
            scope: scope.child("projects"),
        };
        let config = Config {
            revoked_keep: Duration::from_secs(3600),
        };
        Self {
            db,
            changes,
            contents,
            scope,
            projects: Arc::new(Projects::new(deps, config)),
        }
    }

    /// The same database after a restart.
    async fn restarted(&self) -> Self {
        self.scope.cancel(CancelReason::Shutdown);
        assert_eq!(self.scope.settle(AT_MOST).await, Settling::Settled);
        Self::new(self.db.clone())
    }

    async fn stop(self) {
        // Which looks whether each feed is without a hole.
        log::all(&self.db).await.unwrap();
        self.scope.cancel(CancelReason::Shutdown);
        assert_eq!(self.scope.settle(AT_MOST).await, Settling::Settled);
        self.db.close().await;
    }

    /// What the module answers.
    async fn ask(&self, caller: &Caller, method: Method, target: &str, body: &Value) -> Answer {
        let request = request(caller, &method, target, body);
        Answer::of(serve(self.projects.clone(), request).await).await
    }

    async fn get(&self, caller: &Caller, target: &str) -> Answer {
        self.ask(caller, Method::GET, target, &Value::Null).await
    }

    async fn post(&self, caller: &Caller, target: &str, body: &Value) -> Answer {
        self.ask(caller, Method::POST, target, body).await
    }

    async fn put(&self, caller: &Caller, target: &str, body: &Value) -> Answer {
        self.ask(caller, Method::PUT, target, body).await
    }

    async fn delete(&self, caller: &Caller, target: &str) -> Answer {
        self.ask(caller, Method::DELETE, target, &Value::Null).await
    }

    /// The id of a new project.
    async fn project(&self, owner: &Caller) -> String {
        let made = self
            .post(owner, "/api/projects", &json!({ "title": "a title" }))
            .await
            .expect(201);
        text(&made.data()["id"])
    }

    /// The id of a new share.
    async fn share(&self, owner: &Caller, project: &str, with: &Value) -> String {
        let target = format!("/api/projects/{project}/shares");
        let made = self.post(owner, &target, with).await.expect(201);
        text(&made.data()["id"])
    }

    async fn accept(&self, caller: &Caller, share: &str) -> Answer {
        let target = format!("/api/shares/{share}/accept");
        self.post(caller, &target, &Value::Null).await
    }

    async fn revoke(&self, caller: &Caller, share: &str) -> Answer {
        self.delete(caller, &format!("/api/shares/{share}")).await
    }

    async fn right(&self, caller: &Caller, project: &str) -> Option<Right> {
        let right = self.db.read(|tx| {
            let (caller, project) = (caller.clone(), project.to_owned());
            async move { access::right(tx, &project, &caller).await }.boxed()
        });
        right.await.unwrap()
    }

    /// Type, subject and state of all that was told on a feed.
    async fn told(&self, feed: &str) -> Vec<(String, String, String)> {
        let rows = self.db.read(|tx| {
            let feed = feed.to_owned();
            async move { tx.fetch_all(&TOLD, &[Param::Text(&feed)]).await }.boxed()
        });
        let rows = rows.await.unwrap();
        let told = rows.iter().map(|row| {
            let (kind, subject) = (row.text(0).unwrap(), row.text(1).unwrap());
            let data: Value = serde_json::from_str(row.text(2).unwrap()).unwrap();
            assert_eq!(subject.split_once('/').unwrap().1, text(&data["id"]));
            (kind.to_owned(), subject.to_owned(), text(&data["state"]))
        });
        told.collect()
    }
}

/// $1 feed.
static TOLD: Sql =
    sql!("SELECT type, subject, data FROM event WHERE feed_id = $1 ORDER BY sequence");

/// Answers as it is told, and otherwise that nothing is left.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Result<Cleared, Problem>>>,
    /// The projects that were to be cleared.
    asked: Mutex<Vec<String>>,
    /// Answers nothing while set, until it is notified.
    held: Mutex<Option<Arc<Notify>>>,
}

impl Scripted {
    fn answer(&self, answers: impl IntoIterator<Item = Result<Cleared, Problem>>) {
        self.answers.lock().unwrap().extend(answers);
    }

    fn hold(&self) -> Arc<Notify> {
        let held = Arc::new(Notify::new());
        *self.held.lock().unwrap() = Some(held.clone());
        held
    }

    fn asked(&self, project: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| *asked == project).count()
    }

    async fn is_asked(&self, project: &str) {
        while self.asked(project) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

impl Contents for Scripted {
    fn clear(&self, project: String) -> BoxFuture<'static, Result<Cleared, Problem>> {
        self.asked.lock().unwrap().push(project);
        let answer = self.answers.lock().unwrap().pop_front();
        let held = self.held.lock().unwrap().take();
        let cleared = async move {
            if let Some(held) = held {
                held.notified().await;
            }
            answer.unwrap_or(Ok(Cleared::All))
        };
        cleared.boxed()
    }
}

/// As the router does it.
async fn serve(projects: Arc<Projects>, mut request: Request) -> Response {
    let path = request.head.uri.path().to_owned();
    let segments: Vec<&str> = path.trim_start_matches("/api/").split('/').collect();
    let method = request.head.method.as_str();
    let params = |name, value| PathParams::from([(name, value)]);
    match (method, &segments[..]) {
        ("POST", ["projects"]) => api::create(projects, request).await,
        ("GET", ["projects"]) => api::list(projects, request).await,
        (_, ["projects", id]) => {
            request.path = params("project", id);
            match method {
                "GET" => api::find(projects, request).await,
                "PUT" => api::update(projects, request).await,
                "DELETE" => api::delete(projects, request).await,
                other => panic!("{other}"),
            }
        }
        (_, ["projects", id, "shares"]) => {
            request.path = params("project", id);
            match method {
                "GET" => share_api::list(projects, request).await,
                "POST" => share_api::create(projects, request).await,
                other => panic!("{other}"),
            }
        }
        ("GET", ["shares"]) => share_api::list_own(projects, request).await,
        ("POST", ["shares", id, "accept"]) => {
            request.path = params("share", id);
            share_api::accept(projects, request).await
        }
        ("DELETE", ["shares", id]) => {
            request.path = params("share", id);
            share_api::revoke(projects, request).await
        }
        other => panic!("{other:?}"),
    }
}

/// `null` is no body.
fn request(caller: &Caller, method: &Method, target: &str, body: &Value) -> Request {
    let head = http::Request::builder()
        .method(method)
        .uri(target)
        .header(CONTENT_TYPE, "application/json")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    let body = match body {
        Value::Null => Body::empty(),
        body => Body::new(Full::new(body.to_string().into()).map_err(|never| match never {})),
    };
    Request {
        id: RequestId::of(&head.headers),
        head,
        body,
        upgrade: None,
        interim: Interim::none(),
        caller: caller.clone(),
        is_lent: false,
        path: PathParams::default(),
        peer: Peer::Unix,
        scheme: Scheme::HTTP,
    }
}

/// A status and a JSON body.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    body: Value,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Self {
            status: head.status,
            body: serde_json::from_slice(&bytes).unwrap(),
        }
    }

    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.body["success"], self.status.is_success(), "{self:?}");
        self
    }

    fn data(&self) -> &Value {
        &self.body["data"]
    }

    /// The ids in a list.
    fn ids(&self) -> Vec<String> {
        let rows = self.data().as_array().unwrap();
        rows.iter().map(|row| text(&row["id"])).collect()
    }
}

fn user(id: &str) -> Caller {
    Caller {
        user: id.to_owned(),
        email: Some(format!("{id}@example.org")),
        role: Role::User,
    }
}

fn admin() -> Caller {
    Caller {
        role: Role::Admin,
        ..user("root")
    }
}

/// Somebody whom no other test knows.
fn somebody() -> Caller {
    user(&uuid::Uuid::new_v4().to_string())
}

#[track_caller]
fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// What listeners have been told so far.
fn heard(listener: &mut broadcast::Receiver<Change>) -> Vec<(String, Option<String>)> {
    let mut heard = Vec::new();
    while let Ok(Change { project, user }) = listener.try_recv() {
        heard.push((project, user));
    }
    heard
}

async fn projects_are_made_found_changed_and_listed(on: &World) {
    let owner = somebody();
    let mut listener = on.changes.listen();
    let new = json!({ "title": "Gr\u{fc}n \u{1f980}", "description": "two\nlines" });
    let made = on.post(&owner, "/api/projects", &new).await.expect(201);
    let data = made.data();
    let id = text(&data["id"]);
    assert_eq!(
        heard(&mut listener),
        [(id.clone(), Some(owner.user.clone()))]
    );
    assert_eq!(data["title"], new["title"]);
    assert_eq!(data["description"], new["description"]);
    assert_eq!(data["ownerId"], owner.user);
    assert_eq!(data["role"], "owner");
    assert_eq!(data["createdAt"], data["updatedAt"]);
    let target = format!("/api/projects/{id}");
    assert_eq!(on.get(&owner, &target).await.expect(200).data(), data);

    let edit = json!({ "description": null });
    let edited = on.put(&owner, &target, &edit).await.expect(200);
    assert_eq!(edited.data()["title"], new["title"]);
    assert_eq!(edited.data()["description"], Value::Null);
    assert_eq!(edited.data()["createdAt"], data["createdAt"]);
    assert_eq!(
        on.get(&owner, &target).await.expect(200).data(),
        edited.data()
    );
    let subject = format!("project/{id}");
    let news = ("project.updated".into(), subject, "active".into());
    assert_eq!(on.told(&format!("project:{id}")).await, [news]);
    assert_eq!(heard(&mut listener), [], "nobody sees more or less");

    let mut made = vec![id];
    for _ in 0..4 {
        made.insert(0, on.project(&owner).await);
    }
    // Those of the same millisecond are in the order of their ids.
    let mut listed = Vec::new();
    for page in 1..=3 {
        let target = format!("/api/projects?limit=2&page={page}");
        let answer = on.get(&owner, &target).await.expect(200);
        assert_eq!(
            answer.body["pagination"],
            json!({ "page": page, "limit": 2, "total": 5, "totalPages": 3 })
        );
        listed.extend(answer.ids());
    }
    let oldest = listed.last().cloned();
    let mut both = [made.clone(), listed];
    both.iter_mut().for_each(|ids| ids.sort());
    assert_eq!(both[0], both[1]);
    assert!(oldest.is_some_and(|oldest| made.contains(&oldest)));
    assert_eq!(on.get(&somebody(), "/api/projects").await.ids(), [""; 0]);
    on.get(&owner, "/api/projects?all=true").await.expect(403);
    on.get(&owner, "/api/projects?all=yes").await.expect(400);
    on.get(&owner, "/api/projects?all=false").await.expect(200);
}

async fn what_is_malformed_is_refused(on: &World) {
    let owner = somebody();
    let id = on.project(&owner).await;
    for body in [
        json!({}),
        json!({ "title": "" }),
        json!({ "title": "x".repeat(256) }),
        json!({ "title": 7 }),
        json!({ "title": "t", "description": "x".repeat(1001) }),
        json!({ "title": "t", "ownerId": "somebody else" }),
    ] {
        let refused = on.post(&owner, "/api/projects", &body).await.expect(400);
        assert_eq!(refused.body["code"], "VALIDATION_ERROR", "{body}");
        if body != json!({}) {
            on.put(&owner, &format!("/api/projects/{id}"), &body)
                .await
                .expect(400);
        }
    }
    for absent in ["nothing", "..", "%64efault", &id.to_uppercase(), &id[1..]] {
        on.get(&owner, &format!("/api/projects/{absent}"))
            .await
            .expect(404);
        on.delete(&owner, &format!("/api/projects/{absent}"))
            .await
            .expect(404);
    }
    for query in ["page=0", "limit=101", "page=1&page=1"] {
        on.get(&owner, &format!("/api/projects?{query}"))
            .await
            .expect(400);
        on.get(&owner, &format!("/api/shares?{query}"))
            .await
            .expect(400);
    }
    on.accept(&owner, "nothing").await.expect(400);
    on.revoke(&owner, "nothing").await.expect(400);
    let unknown = uuid::Uuid::new_v4().to_string();
    on.accept(&owner, &unknown).await.expect(404);
    on.revoke(&owner, &unknown).await.expect(404);
    let said = json!({ "reason": "why not" });
    on.post(&owner, &format!("/api/shares/{unknown}/accept"), &said)
        .await
        .expect(400);
}

async fn a_title_that_stays_is_no_news(on: &World) {
    let owner = somebody();
    let id = on.project(&owner).await;
    let target = format!("/api/projects/{id}");
    let before = on.get(&owner, &target).await.expect(200);
    for same in [
        json!({}),
        json!({ "title": "a title" }),
        json!({ "description": "" }),
    ] {
        let after = on.put(&owner, &target, &same).await.expect(200);
        assert_eq!(after.data(), before.data());
    }
    assert_eq!(on.told(&format!("project:{id}")).await, []);
}
