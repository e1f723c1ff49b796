//! Every route, for every kind of caller. The rows are in `matrix.txt`, and the program's own tests
//! hold them against its routes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::form;
use crate::support::jwt::{Signer, claims, claims_with, guarded, now};
use crate::support::page;
use crate::support::queue::{self, Worker, call, id_of};
use crate::support::rufh;
use crate::support::server::Server;
use crate::support::tus::{self, Upload};
use crate::support::wire::{Answer, Req};

const ROWS: &str = include_str!("matrix.txt");

const CALLERS: [&str; 9] = [
    "none", "expired", "stranger", "pending", "revoked", "member", "owner", "admin", "worker",
];

/// A row: what is asked, and the status for each of [`CALLERS`].
struct Row {
    method: &'static str,
    path: &'static str,
    statuses: Vec<u16>,
}

impl Row {
    fn is_of_the_queue(&self) -> bool {
        let of_images = (self.method, self.path) == ("GET", "/api/projects/{project}/images");
        let begin = ["/api/queue/", "/api/images/", "/api/worker/"];
        of_images || begin.iter().any(|begin| self.path.starts_with(begin))
    }

    fn is_of_an_export(&self) -> bool {
        self.path.starts_with("/api/projects/{project}/export")
    }
}

fn rows() -> Vec<Row> {
    let lines = ROWS.lines().filter(|line| !line.starts_with('#'));
    let rows = lines.map(|line| {
        let mut words = line.split_whitespace();
        let (method, path) = (words.next(), words.next());
        let statuses = words.map(|status| status.parse().expect("a status"));
        Row {
            method: method.expect("a method"),
            path: path.expect("a path"),
            statuses: statuses.collect(),
        }
    });
    rows.collect()
}

struct World {
    server: Server,
    signer: Signer,
}

/// A project in which every kind of caller is what he is called.
struct Scene {
    project: String,
    upload: Upload,
    invitation: String,
    share: String,
    work: Work,
    export: String,
}

/// What there is of the queue in it.
struct Work {
    image: Upload,
    /// Another one.
    segmented: Upload,
    item: String,
    batch: String,
    /// Another item, as the worker has got it.
    claimed: Value,
}

impl World {
    fn token(&self, caller: &str) -> Option<String> {
        let claims = match caller {
            "none" => return None,
            "expired" => claims_with("owner", json!({"exp": now() - 60})),
            "admin" | "worker" => claims_with(caller, json!({"role": caller})),
            user => claims(user),
        };
        Some(self.signer.sign(&claims))
    }

    async fn send(&self, caller: &str, req: Req) -> Answer {
        let req = match self.token(caller) {
            Some(token) => req.bearer(&token),
            None => req,
        };
        self.server.send(req).await
    }

    async fn post(&self, caller: &str, path: &str, body: serde_json::Value) -> String {
        let made = self.send(caller, call("POST", path, &body)).await;
        assert!(matches!(made.status, 200 | 201), "{path}: {made}");
        let id = made.json()["data"]["id"].clone();
        id.as_str().expect("an id").to_owned()
    }

    async fn scene(&self, row: &Row) -> Scene {
        let project = self
            .post("owner", "/api/projects", json!({"title": "Cells"}))
            .await;
        let shares = format!("/api/projects/{project}/shares");
        let mut ids = Vec::new();
        for user in ["pending", "revoked", "member"] {
            ids.push(self.post("owner", &shares, json!({"userId": user})).await);
            if user != "pending" {
                let accept = format!("/api/shares/{}/accept", ids[ids.len() - 1]);
                self.post(user, &accept, json!({})).await;
            }
        }
        let revoke = call("DELETE", &format!("/api/shares/{}", ids[1]), &json!({}));
        self.send("owner", revoke).await.expect(200);
        let create = Req {
            target: format!("/api/projects/{project}/uploads"),
            ..tus::create(10)
        };
        let upload = Upload::created(&self.send("owner", create).await.expect(201));
        let append = tus::patch(&upload, 0).body("12345");
        self.send("owner", append).await.expect(204);
        let share = ids.pop().expect("three");
        let invitation = ids.swap_remove(0);
        Scene {
            work: match row.is_of_the_queue() {
                true => self.work(&project).await,
                false => Work::unknown(),
            },
            export: match row.is_of_an_export() {
                true => self.export(&project).await,
                false => Upload::unknown().id().to_owned(),
            },
            project,
            upload,
            invitation,
            share,
        }
    }

    /// An export of the owner's, which is whole.
    async fn export(&self, project: &str) -> String {
        let path = format!("/api/projects/{project}/export");
        let start = call("POST", &path, &json!({"options": {}}));
        let started = self.send("owner", start).await.expect(200).json();
        let id = started["jobId"].as_str().expect("an id").to_owned();
        let status = format!("{path}/{id}/status");
        eventually("the archive is whole", async || {
            let answer = self
                .send("owner", Req::new("GET", &status))
                .await
                .expect(200);
            (answer.json()["state"] == "completed").then_some(())
        })
        .await;
        id
    }

    async fn work(&self, project: &str) -> Work {
        let mut images = Vec::new();
        for _ in 0..4 {
            let create = Req {
                target: format!("/api/projects/{project}/uploads"),
                ..tus::create_with_data(6).body("pixels")
            };
            images.push(Upload::created(
                &self.send("owner", create).await.expect(201),
            ));
        }
        let worker = Worker::with_token("w1", self.token("worker").expect("a token"));
        let [segmented, claimed, waiting] = [&images[0], &images[1], &images[2]];
        let first = [segmented, claimed];
        let first = queue::enqueue_all(project, &first, json!({"priority": 10}));
        self.send("owner", first).await.expect(201);
        let mut taken = worker.take(&self.server, 2).await;
        taken.sort_by_key(|item| item["image"]["id"] != segmented.id());
        let done = worker.finish(&taken[0], "completed");
        self.server.send(done).await.expect(200);
        let waits = queue::enqueue_all(project, &[waiting], json!({}));
        let waits = self.send("owner", waits).await.expect(201).json()["data"].clone();
        Work {
            item: id_of(&waits["queueEntries"][0]),
            batch: waits["batchId"].as_str().expect("an id").to_owned(),
            image: images.swap_remove(3),
            segmented: images.swap_remove(0),
            claimed: taken.swap_remove(1),
        }
    }
}

impl Work {
    fn unknown() -> Self {
        Self {
            image: Upload::unknown(),
            segmented: Upload::unknown(),
            item: Upload::unknown().id().to_owned(),
            batch: Upload::unknown().id().to_owned(),
            claimed: json!({"id": Upload::unknown().id(), "fence": 1}),
        }
    }

    /// What stands in a path for its parts.
    fn names(&self, path: &str) -> [(&'static str, String); 4] {
        let image = match path.ends_with("/result") {
            true => &self.segmented,
            false => &self.image,
        };
        let item = match path.ends_with("/finish") {
            true => id_of(&self.claimed),
            false => self.item.clone(),
        };
        [
            ("{image}", image.id().to_owned()),
            ("{item}", item),
            ("{batch}", self.batch.clone()),
            ("{worker}", String::from("w1")),
        ]
    }

    /// A request to the queue that is good but for who sends it.
    fn request(&self, method: &str, path: &str, project: &str) -> Option<Req> {
        let worker = Worker::new("w1");
        Some(match path {
            "/api/queue/batch" => queue::enqueue_all(project, &[&self.image], json!({})),
            "/api/worker/claim" => worker.claim(json!({})),
            "/api/worker/{worker}/heartbeat" => worker.heartbeat(&[]),
            "/api/worker/items/{item}/finish" => worker.finish(&self.claimed, "completed"),
            // Of a stream that never ends, its head.
            "/api/worker/{worker}/control" => {
                let session = &worker.session;
                Req::new("HEAD", &format!("/api/worker/w1/control?session={session}"))
            }
            _ if path.starts_with("/api/queue/") && method == "POST" => {
                let mut path = path.replace("{project}", project);
                for (name, value) in self.names(&path) {
                    path = path.replace(name, &value);
                }
                call(method, &path, &json!({}))
            }
            _ => return None,
        })
    }
}

impl Scene {
    /// A request that is good but for who sends it.
    fn request(&self, row: &Row) -> Req {
        let share = match row.path.ends_with("/accept") {
            true => &self.invitation,
            false => &self.share,
        };
        let path = row.path.replace("{project}", &self.project);
        let id = match row.is_of_an_export() {
            true => &self.export,
            false => self.upload.id(),
        };
        let path = path.replace("{id}", id).replace("{share}", share);
        let path = path.replace("{slug}", "not-found");
        let mut path = path.replace("{name}", &page::assets()[0]);
        for (name, value) in self.work.names(row.path) {
            path = path.replace(name, &value);
        }
        if let Some(request) = self.work.request(row.method, row.path, &self.project) {
            return request;
        }
        let at = |req: Req| Req {
            target: path.clone(),
            ..req
        };
        match (row.method, row.path) {
            ("POST", "/files" | "/files/" | "/api/projects/{project}/uploads") => {
                at(tus::create(10))
            }
            ("PUT", "/files" | "/api/projects/{project}/uploads") => Req {
                method: String::from("PUT"),
                ..at(rufh::create(rufh::MORE)).body("12345")
            },
            ("PATCH", _) => at(tus::patch(&self.upload, 5)).body("67890"),
            ("HEAD" | "DELETE", path) if path.starts_with("/files") => {
                at(tus::request(row.method, &self.upload.path))
            }
            ("GET", "/api/events") => {
                // Of a stream that never ends, its head.
                tus::request("HEAD", &format!("{path}?projectId={}", self.project))
            }
            ("GET" | "OPTIONS", _) => Req::new(row.method, &path),
            ("POST", "/api/projects/{project}/images") => {
                at(form::post()).body(form::Form::new().image("a.png", b"pixels").end())
            }
            ("POST", "/api/projects/{project}/export") => {
                call(row.method, &path, &json!({"options": {}}))
            }
            (_, "/api/projects/{project}/shares") => {
                call(row.method, &path, &json!({"userId": "somebody else"}))
            }
            (_, "/api/projects" | "/api/projects/{project}") => {
                call(row.method, &path, &json!({"title": "Tissue"}))
            }
            _ => call(row.method, &path, &json!({})),
        }
    }
}

#[tokio::test]
async fn every_route_answers_every_kind_of_caller_as_it_should() {
    let (server, signer) = guarded(&[]).await;
    let world = World { server, signer };
    let mut wrong = Vec::new();
    for row in rows() {
        assert_eq!(
            row.statuses.len(),
            CALLERS.len(),
            "{} {}",
            row.method,
            row.path
        );
        for (caller, expected) in CALLERS.iter().zip(&row.statuses) {
            // Of its own, since some requests change it.
            let scene = world.scene(&row).await;
            let answer = world.send(caller, scene.request(&row)).await;
            if answer.status != *expected {
                let what = format!("{} {} for {caller}", row.method, row.path);
                wrong.push(format!("{what}: {}, not {expected}", answer.status));
            }
            if answer.status == 401 {
                assert!(answer.header("WWW-Authenticate").is_some(), "{answer}");
            }
            if *expected == 404 || *expected == 401 {
                let seen = format!("/api/uploads/{}", scene.upload.id());
                let seen = world.send("owner", Req::new("GET", &seen)).await.json();
                let state = (&seen["data"]["state"], &seen["data"]["offset"]);
                assert_eq!(
                    state,
                    (&json!("uploading"), &json!(5)),
                    "{}: {caller}",
                    row.path
                );
            }
            if *expected >= 400 && row.is_of_the_queue() {
                let item = format!("/api/queue/items/{}", scene.work.item);
                let item = world.send("owner", Req::new("GET", &item)).await.json();
                let state = &item["data"]["state"];
                assert_eq!(state, "queued", "{}: {caller}", row.path);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An answer must not tell whether there is something that the caller may not see.
#[tokio::test]
async fn what_is_foreign_is_answered_as_what_is_not_there() {
    let (server, signer) = guarded(&[]).await;
    let world = World { server, signer };
    let absent = Scene {
        project: String::from("00000000-0000-4000-8000-000000000000"),
        upload: Upload::unknown(),
        invitation: String::from("00000000-0000-4000-8000-000000000001"),
        share: String::from("00000000-0000-4000-8000-000000000001"),
        work: Work::unknown(),
        export: Upload::unknown().id().to_owned(),
    };
    for row in rows().iter().filter(|row| row.statuses[2] == 404) {
        let there = world.scene(row).await;
        let answers = [&there, &absent].map(|scene| {
            let (request, ids) = (scene.request(row), ids_of(scene));
            async {
                let answer = world.send("stranger", request).await;
                let mut body = String::from_utf8_lossy(&answer.body).into_owned();
                for id in ids {
                    body = body.replace(&id, "ID");
                }
                let changing = ["date", "x-request-id"];
                let fields = answer.headers.into_iter();
                let fields = fields.filter(|(name, _)| !changing.contains(&&*name.to_lowercase()));
                (answer.status, body, fields.collect::<BTreeSet<_>>())
            }
        });
        let [foreign, missing] = answers;
        let (foreign, missing) = (foreign.await, missing.await);
        assert_eq!(foreign, missing, "{} {}", row.method, row.path);
    }
}

fn ids_of(scene: &Scene) -> Vec<String> {
    vec![
        scene.project.clone(),
        scene.upload.id().to_owned(),
        scene.invitation.clone(),
        scene.share.clone(),
        scene.work.image.id().to_owned(),
        scene.work.segmented.id().to_owned(),
        scene.work.item.clone(),
        scene.work.batch.clone(),
        scene.export.clone(),
    ]
}
