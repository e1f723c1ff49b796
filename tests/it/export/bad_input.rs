//! What users say wrongly: refused with a word about it, and nothing is exported.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::export::{Job, originals, start};
use crate::support::queue::{call, get};
use crate::support::server::Server;
use crate::support::tus::Upload;
use crate::support::wire::Req;

/// A wrong request, its problem, and what that names.
type Case = (Req, (u16, &'static str), String);

const WRONG: (u16, &str) = (400, "validation-failed");
const ABSENT: (u16, &str) = (404, "not-found");

/// A server with one export that has ended.
struct World {
    server: Server,
    image: Upload,
    job: Job,
}

impl World {
    async fn new(flags: &[&str]) -> Self {
        let server = Server::start(flags).await;
        let image = server.image().await;
        let job = server.export("default", &originals()).await;
        server.export_reaches(&job, "completed").await;
        Self { server, image, job }
    }

    /// Everything that a wrong request could have changed.
    async fn state(&self) -> Value {
        let history = get("/api/projects/default/export/history");
        self.server.send(history).await.expect(200).json()
    }

    async fn expect_refusals(&self, cases: Vec<Case>) {
        let before = self.state().await;
        let archives = self.server.archives();
        for (request, problem, named) in cases {
            self.server.expect_refusal(request, problem, &named).await;
        }
        assert_eq!(self.state().await, before);
        assert_eq!(self.server.archives(), archives);
    }
}

fn raw(body: &str) -> Req {
    let req = Req::new("POST", "/api/projects/default/export");
    req.header("Content-Type", "application/json").body(body)
}

fn with(options: Value) -> Req {
    start("default", &json!({ "options": options }))
}

fn wrong(cases: Vec<(Req, &str)>) -> Vec<Case> {
    let cases = cases.into_iter();
    cases
        .map(|(req, named)| (req, WRONG, String::from(named)))
        .collect()
}

/// Options, and a word of what is said about them.
fn wrong_options() -> Vec<(Value, &'static str)> {
    vec![
        (json!(null), "options"),
        (json!([]), "body"),
        (json!([true]), "body"),
        (json!("all"), "body"),
        (json!(7), "body"),
        (json!({"colour": "red"}), "colour"),
        (json!({"include_original_images": 1}), "include_original"),
        (json!({"includeOriginalImages": "yes"}), "body"),
        (json!({"annotationFormats": "coco"}), "body"),
        (json!({"annotationFormats": null}), "body"),
        (json!({"annotationFormats": ["voc"]}), "coco, yolo, json"),
        (json!({"annotationFormats": ["COCO"]}), "annotationFormats"),
        (json!({"annotationFormats": ["coco", ""]}), "annotation"),
        (json!({"annotationFormats": [1]}), "body"),
        (json!({"metricsFormats": ["excel"]}), "csv, json"),
        (json!({"metricsFormats": ["coco"]}), "metricsFormats"),
        (json!({"includeOriginalImages": false}), "options"),
        (
            json!({"includeOriginalImages": false, "annotationFormats": [],
                   "includeDocumentation": true, "includeVisualizations": true}),
            "must ask for",
        ),
        (json!({"pixelToMicrometerScale": "wide"}), "body"),
    ]
}

/// What is no JSON, or no object, or says a thing twice.
const WRONG_BODIES: [&str; 8] = [
    "[]",
    "null",
    "\"options\"",
    r#"{"options": {}"#,
    r#"{"options": {}} {}"#,
    r#"{"options": {}, "options": {}}"#,
    r#"{"options": {"includeOriginalImages": true, "includeOriginalImages": true}}"#,
    r#"{"options": {"pixelToMicrometerScale": NaN}}"#,
];

#[tokio::test]
async fn options_have_to_be_those_that_there_are() {
    let world = World::new(&[]).await;
    let options = wrong_options().into_iter();
    let mut cases: Vec<_> = options.map(|(of, named)| (with(of), named)).collect();
    cases.extend(WRONG_BODIES.map(|body| (raw(body), "body")));
    let other = json!({"options": {}, "colour": "red"});
    cases.extend([
        (start("default", &json!({})), "options"),
        (raw(""), "options"),
        (start("default", &other), "colour"),
    ]);
    let mut cases = wrong(cases);
    let long = json!({"options": {}, "projectName": "x".repeat(1 << 20)});
    let plain = raw(r#"{"options": {}}"#);
    for (request, status, slug) in [
        (plain.clone().without("Content-Type"), 415, "not-json"),
        (plain.with("Content-Type", "text/plain"), 415, "not-json"),
        (start("default", &long), 413, "body-too-large"),
    ] {
        cases.push((request, (status, slug), String::new()));
    }
    world.expect_refusals(cases).await;
}

#[tokio::test]
async fn names_have_to_be_short_and_plain() {
    let world = World::new(&[]).await;
    let called = |name: Value| start("default", &json!({"options": {}, "projectName": name}));
    let cases = vec![
        (called(json!("x".repeat(256))), "projectName"),
        (called(json!("\u{e4}".repeat(256))), "projectName"),
        (called(json!("a\nb")), "projectName"),
        (called(json!("a\u{0}b")), "projectName"),
        (called(json!("\u{7f}")), "projectName"),
        (called(json!("a\u{85}b")), "projectName"),
        (called(json!(7)), "body"),
        (called(json!(["a"])), "body"),
    ];
    world.expect_refusals(wrong(cases)).await;
    // So long they may be.
    let longest = json!({"options": {}, "projectName": "\u{e4}".repeat(255)});
    let job = world.server.export("default", &longest).await;
    world.server.export_reaches(&job, "completed").await;
}

#[tokio::test]
async fn images_have_to_be_complete_and_of_the_project() {
    let world = World::new(&["--max-export-images", "3"]).await;
    let server = &world.server;
    let unfinished = server.create(6).await;
    let other = server.project("Other").await;
    let foreign = server.named(&other, &[("filename", "a")], b"a").await;
    let deleted = server.image().await;
    server
        .send(crate::support::tus::delete(&deleted))
        .await
        .expect(204);
    let part = server.complete_partial(b"part").await;
    let unknown = Uuid::new_v4().to_string();
    let good = world.image.id();
    let ids = |ids: Value| with(json!({ "selectedImageIds": ids }));
    let many: Vec<_> = (0..10_001).map(|_| Uuid::new_v4().to_string()).collect();
    let four: Vec<_> = (0..4).map(|_| Uuid::new_v4().to_string()).collect();
    let cases = vec![
        (ids(json!([])), "1 to 10000"),
        (ids(json!(many)), "1 to 10000"),
        (ids(json!([good, "x"])), "place 2"),
        (ids(json!([good.to_uppercase()])), "place 1"),
        (ids(json!([format!("{{{good}}}")])), "place 1"),
        (ids(json!([format!("{good} ")])), "place 1"),
        (ids(json!([good, good])), "twice"),
        (ids(json!([good, 7])), "body"),
        (ids(json!([null])), "body"),
        (ids(json!(good)), "body"),
        (ids(json!([good, unknown])), &*unknown),
        (ids(json!([good, foreign.id()])), foreign.id()),
        (ids(json!([deleted.id()])), deleted.id()),
        (ids(json!([part.id()])), part.id()),
        (ids(json!([unfinished.id(), good])), "not complete"),
        (ids(json!(four)), "3 at most"),
    ];
    world.expect_refusals(wrong(cases)).await;
    for _ in 0..3 {
        server.image().await;
    }
    world
        .expect_refusals(wrong(vec![(with(json!({})), "has 3 at most")]))
        .await;
}

#[tokio::test]
async fn exports_have_to_be_named_rightly() {
    let world = World::new(&[]).await;
    let other = world.server.project("Other").await;
    let requests = |job: &Job| [job.status(), job.cancel(), job.download(), job.token()];
    let named = |project: &str, id: &str| Job {
        project: project.to_owned(),
        id: id.to_owned(),
    };
    let (known, unknown) = (world.job.id.clone(), Uuid::new_v4().to_string());
    let mut cases: Vec<Case> = Vec::new();
    for id in ["x", "default", "%00", "..%2f..", "7", &known[1..]] {
        let wrong = requests(&named("default", id));
        cases.extend(wrong.map(|request| (request, WRONG, String::from("id"))));
    }
    for (project, id) in [
        ("default", &unknown),
        (&other, &known),
        (&unknown, &known),
        ("nothing", &known),
    ] {
        let absent = requests(&named(project, id));
        cases.extend(absent.map(|request| (request, ABSENT, String::new())));
    }
    for project in [&*unknown, "nothing", "%00"] {
        let history = get(&format!("/api/projects/{project}/export/history"));
        cases.push((history, ABSENT, String::new()));
        cases.push((start(project, &originals()), ABSENT, String::new()));
    }
    for query in [
        "page=0",
        "page=x",
        "limit=0",
        "limit=101",
        "limit=1&limit=2",
    ] {
        let history = get(&format!("/api/projects/default/export/history?{query}"));
        cases.push((history, WRONG, String::new()));
    }
    world.expect_refusals(cases).await;
}

#[tokio::test]
async fn cancels_have_to_say_why_in_a_few_words() {
    let world = World::new(&[]).await;
    let path = world.job.path("cancel");
    let cancel = |body: Value| call("POST", &path, &body);
    let cases = vec![
        (cancel(json!({"reason": "x".repeat(10_000)})), "reason"),
        (cancel(json!({"reason": "a\nb"})), "reason"),
        (cancel(json!({"reason": 7})), "body"),
        (cancel(json!({"because": "x"})), "because"),
        (cancel(json!([])), "body"),
    ];
    world.expect_refusals(wrong(cases)).await;
    let plain = Req::new("POST", &path).body("{}");
    let case = (plain, (415, "not-json"), String::new());
    world.expect_refusals(vec![case]).await;
    // Without a word is fine.
    for request in [Req::new("POST", &path), Req::new("POST", &path).body("")] {
        world.server.send(request).await.expect(200);
    }
}

/// What the application of a laboratory asks for beside it: said to be left out, not refused.
#[tokio::test]
async fn what_is_not_supported_is_left_out_with_a_word() {
    let world = World::new(&[]).await;
    let options = json!({
        "includeOriginalImages": true,
        "includeDocumentation": false,
        "includeVisualizations": true,
        "visualizationOptions": {"showNumbers": true},
        "pixelToMicrometerScale": 0.5,
        "mtMetrics": {"a": 1},
        "mtKymographs": null,
        "annotationFormats": ["coco", "coco"],
        "metricsFormats": [],
    });
    let job = world
        .server
        .export("default", &json!({ "options": options }))
        .await;
    let status = world.server.export_reaches(&job, "completed").await;
    let warnings = status["warnings"].as_array().expect("warnings");
    let named = [
        "includeVisualizations",
        "pixelToMicrometerScale",
        "mtMetrics",
    ];
    for (warning, named) in warnings.iter().zip(named) {
        let warning = warning.as_str().expect("a text");
        assert!(warning.contains(named), "{warning}");
    }
    assert_eq!(warnings.len(), named.len() + 1, "{status}");
    let wanted = json!({"includeOriginalImages": true, "annotationFormats": ["coco"],
                        "metricsFormats": []});
    assert_eq!(status["options"], wanted, "{status}");
}
