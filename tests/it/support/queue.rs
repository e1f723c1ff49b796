//! The vocabulary of the processing queue: what users ask, and workers as they should be.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::eventually;
use super::server::Server;
use super::sse::Sse;
use super::tus::Upload;
use super::wire::{Answer, Req};

/// A request with a body in JSON.
pub(crate) fn call(method: &str, path: &str, body: &Value) -> Req {
    Req::new(method, path)
        .header("Content-Type", "application/json")
        .body(body.to_string())
}

pub(crate) fn get(path: &str) -> Req {
    Req::new("GET", path)
}

pub(crate) fn delete(path: &str) -> Req {
    Req::new("DELETE", path)
}

pub(crate) fn enqueue(image: &Upload, body: &Value) -> Req {
    call("POST", &format!("/api/queue/images/{}", image.id()), body)
}

/// With whatever `more` has beside the images.
pub(crate) fn enqueue_all(project: &str, images: &[&Upload], more: Value) -> Req {
    let ids: Vec<_> = images.iter().map(|image| image.id()).collect();
    let mut body = json!({ "projectId": project, "imageIds": ids });
    let Value::Object(more) = more else {
        panic!("members are an object");
    };
    body.as_object_mut().expect("an object").extend(more);
    call("POST", "/api/queue/batch", &body)
}

pub(crate) fn cancel(item: &str) -> Req {
    let path = format!("/api/queue/items/{item}/cancel");
    call("POST", &path, &json!({"reason": "wrong image"}))
}

/// What a worker has found, as it should be reported.
pub(crate) fn report() -> Value {
    json!({
        "polygons": [{
            "points": [{"x": 1.5, "y": 2}, {"x": 8, "y": 2}, {"x": 8, "y": 9.25}],
            "type": "external",
            "area": 23.5625,
            "confidence": 0.75,
        }],
        "imageSize": {"width": 16, "height": 12},
        "processingTimeMs": 12.5,
    })
}

/// The member `id` of what was answered.
#[track_caller]
pub(crate) fn id_of(value: &Value) -> String {
    let id = value["id"].as_str();
    id.unwrap_or_else(|| panic!("no id in {value}")).to_owned()
}

/// One process of a worker.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) name: &'static str,
    pub(crate) session: String,
    /// `None` where nobody is asked for one.
    pub(crate) token: Option<String>,
}

impl Worker {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            session: Uuid::new_v4().to_string(),
            token: None,
        }
    }

    pub(crate) fn with_token(name: &'static str, token: String) -> Self {
        Self {
            token: Some(token),
            ..Self::new(name)
        }
    }

    fn signed(&self, req: Req) -> Req {
        match &self.token {
            Some(token) => req.bearer(token),
            None => req,
        }
    }

    /// A claim of a name of its own, with these members in the place of the usual ones.
    pub(crate) fn claim(&self, members: Value) -> Req {
        let mut body = json!({
            "worker": self.name,
            "session": self.session,
            "claimId": Uuid::new_v4().to_string(),
            "models": ["otsu", "local"],
            "max": 1,
            "waitMs": 0,
        });
        let Value::Object(members) = members else {
            panic!("members are an object");
        };
        body.as_object_mut().expect("an object").extend(members);
        self.signed(call("POST", "/api/worker/claim", &body))
    }

    /// With the items as a worker tells them: `id`, `fence` and perhaps `progress`.
    pub(crate) fn heartbeat(&self, items: &[Value]) -> Req {
        let path = format!("/api/worker/{}/heartbeat", self.name);
        let body = json!({"session": self.session, "items": items});
        self.signed(call("POST", &path, &body))
    }

    /// A report about an item that a claim has given.
    pub(crate) fn finish(&self, item: &Value, outcome: &str) -> Req {
        let mut body = json!({"fence": item["fence"], "outcome": outcome});
        match outcome {
            "completed" => body["result"] = report(),
            "failed" => body["error"] = json!({"message": "no image", "retryable": false}),
            _ => {}
        }
        self.report(item, &body)
    }

    pub(crate) fn report(&self, item: &Value, body: &Value) -> Req {
        let path = format!("/api/worker/items/{}/finish", id_of(item));
        self.signed(call("POST", &path, body))
    }

    /// What there is for it now, so many at most.
    pub(crate) async fn take(&self, server: &Server, max: usize) -> Vec<Value> {
        let answer = server.send(self.claim(json!({ "max": max }))).await;
        items(&answer)
    }

    /// The one item that there is.
    pub(crate) async fn take_one(&self, server: &Server) -> Value {
        let mut items = self.take(server, 2).await;
        assert_eq!(items.len(), 1, "{items:?}");
        items.remove(0)
    }

    /// Takes what there is, up to this item.
    pub(crate) async fn take_one_of(&self, server: &Server, wanted: &Value) -> Value {
        loop {
            let item = self.take(server, 1).await.pop().expect("it waits");
            if item["id"] == wanted["id"] {
                return item;
            }
        }
    }

    /// The directive for one item.
    pub(crate) async fn directive(&self, server: &Server, item: &Value) -> Value {
        let beat = json!({"id": item["id"], "fence": item["fence"]});
        let answer = server.send(self.heartbeat(&[beat])).await.expect(200);
        let directive = answer.json()["items"][0].clone();
        assert_eq!(directive["id"], item["id"], "{answer}");
        directive
    }

    /// Takes the first item that there is, and reports a result.
    pub(crate) async fn work(&self, server: &Server) -> Value {
        let item = self.take(server, 1).await.remove(0);
        let done = server.send(self.finish(&item, "completed")).await;
        assert_eq!(done.expect(200).json(), json!({"state": "completed"}));
        item
    }

    /// Begins to listen for cancels.
    pub(crate) async fn listen(&self, server: &Server) -> Control {
        let path = format!("/api/worker/{}/control?session={}", self.name, self.session);
        let token = self.token.as_ref();
        let field = token.map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        let (stream, head) = Sse::begin(server, &path, &field).await;
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        Control(stream)
    }
}

/// The items of a claim's answer.
#[track_caller]
pub(crate) fn items(answer: &Answer) -> Vec<Value> {
    match answer.status {
        204 => Vec::new(),
        200 => answer.json()["items"].as_array().expect("items").clone(),
        _ => panic!("no claim:\n{answer}"),
    }
}

/// The stream on which a worker is told of cancels.
pub(crate) struct Control(Sse);

impl Control {
    /// The next message but pings: its name and what it says.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            let (name, data) = self.message().await?;
            if name != "ping" {
                return Some((name, data));
            }
        }
    }

    /// The next message of this name, which must be the next but pings.
    pub(crate) async fn expect(&mut self, wanted: &str) -> Value {
        let (name, data) = self.next().await.expect("the stream goes on");
        assert_eq!(name, wanted, "{data}");
        data
    }

    /// The next message, whatever it is.
    pub(crate) async fn message(&mut self) -> Option<(String, Value)> {
        let block: BTreeMap<_, _> = self.0.block().await?;
        let data = serde_json::from_str(&block["data"]).expect("JSON");
        Some((block["event"].clone(), data))
    }
}

impl Server {
    /// The `data` of an answer to a GET.
    pub(crate) async fn data(&self, path: &str) -> Value {
        let answer = self.send(get(path)).await.expect(200).json();
        assert_eq!(answer["success"], true, "{answer}");
        answer["data"].clone()
    }

    /// An image that can be enqueued.
    pub(crate) async fn image(&self) -> Upload {
        self.complete(b"pixels").await
    }

    /// A new image that is enqueued with these members, and its item.
    pub(crate) async fn enqueued(&self, members: Value) -> (Upload, Value) {
        let image = self.image().await;
        let item = self.send(enqueue(&image, &members)).await.expect(201);
        (image, item.json()["data"].clone())
    }

    pub(crate) async fn item(&self, id: &str) -> Value {
        self.data(&format!("/api/queue/items/{id}")).await
    }

    /// How many items of the default project wait and are processed.
    pub(crate) async fn queue_stats(&self) -> [u64; 2] {
        let stats = self.data("/api/queue/projects/default/stats").await;
        let count = |name: &str| stats[name].as_u64().expect("a count");
        assert_eq!(count("total"), count("queued") + count("processing"));
        [count("queued"), count("processing")]
    }

    pub(crate) async fn segmentation_status(&self, image: &Upload) -> String {
        let image = self.data(&format!("/api/images/{}", image.id())).await;
        let status = image["segmentationStatus"].as_str();
        status.expect("a status").to_owned()
    }

    /// Waits until an item is in this state.
    pub(crate) async fn reaches(&self, id: &str, state: &str) -> Value {
        eventually(&format!("{id} is {state}"), async || {
            let item = self.item(id).await;
            (item["state"] == state).then_some(item)
        })
        .await
    }
}
