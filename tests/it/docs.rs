//! What the documents say of the program, held against the program.
//!
//! The documents are read as text, by their own conventions: a setting has a heading of its own, a
//! problem and a metric each a row of a table that begins with its name, and `openapi.yaml` keeps
//! paths, methods and statuses at fixed indents. Each list is compared in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use tidegate_protocol::problem::{ALL_SLUGS, types};

use crate::support::eventually;
use crate::support::form::{self, Form};
use crate::support::jwt::{claims, guarded};
use crate::support::page;
use crate::support::queue::{self, Worker};
use crate::support::server::{Server, run, temp_dir};
use crate::support::tus;
use crate::support::wire::{Answer, Req};
use crate::webhook;

/// Of no upload.
const ID: &str = "3f2f5d3c-9d3e-4b0e-8c39-0d6c7a2e5a11";

const CONFIGURATION: &str = include_str!("../../docs/configuration.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const HTTP: &str = include_str!("../../docs/http.md");
const DRAFT: &str = include_str!("../../docs/draft.md");
const EVENTS: &str = include_str!("../../docs/events.md");
const OPENAPI: &str = include_str!("../../docs/openapi.yaml");

/// The program's own tests see to it that it has every route.
const ROUTES: &str = include_str!("matrix.txt");

#[tokio::test]
async fn every_flag_is_in_the_configuration_page_and_every_one_there_is_a_flag() {
    let flags = flags(&help("serve").await);
    let headings = sections(CONFIGURATION, "### `--");
    let known: BTreeSet<_> = flags.keys().collect();
    let documented: BTreeSet<_> = headings.keys().collect();
    assert_eq!(
        documented, known,
        "headings of docs/configuration.md and `serve --help`"
    );
    for (flag, help) in &flags {
        let section = &headings[flag];
        let variable = format!("`TIDEGATE_{}`", flag.to_uppercase().replace('-', "_"));
        assert!(
            section.contains(&variable),
            "--{flag}: {variable} is not in its section"
        );
        if let Some(default) = between(help, "[default: ", "]") {
            let wanted = format!("default: `{default}`");
            assert!(
                section.contains(&wanted),
                "--{flag}: its section does not say {wanted}"
            );
        }
    }
}

#[tokio::test]
async fn no_document_names_a_flag_that_no_command_has() {
    let mut known = BTreeSet::from(["help".to_owned(), "version".to_owned()]);
    for command in ["serve", "check", "migrate", "fsck", "token"] {
        known.extend(flags(&help(command).await).into_keys());
    }
    for (page, text) in [
        ("configuration", CONFIGURATION),
        ("operations", OPERATIONS),
        ("http", HTTP),
        ("draft", DRAFT),
        ("events", EVENTS),
    ] {
        for flag in mentioned_flags(text) {
            assert!(known.contains(flag), "docs/{page}.md mentions --{flag}");
        }
    }
}

#[tokio::test]
async fn the_example_files_are_accepted() {
    let examples = CONFIGURATION.split("```toml\n").skip(1);
    assert_eq!(examples.clone().count(), 2);
    let directory = temp_dir();
    let (file, secret) = (
        directory.path().join("toml"),
        directory.path().join("secret"),
    );
    std::fs::write(&secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").expect("write the secret");
    let path = |file: &Path| {
        file.to_str()
            .expect("the tests' paths are UTF-8")
            .to_owned()
    };
    for example in examples {
        let example = example.split("```").next().expect("an end");
        let example = example.replace("/etc/tidegate/lab.secret", &path(&secret));
        let example = example.replace("/etc/tidegate/jwt.secret", &path(&secret));
        std::fs::write(&file, example).expect("write the example");
        let outcome = run(&["check", "--config", &path(&file)]).await;
        assert!(outcome.status.success(), "{outcome}");
    }
}

#[tokio::test]
async fn every_operation_of_the_openapi_page_is_served_and_answers_a_status_that_it_names() {
    let server = Server::start(&[]).await;
    let operations = operations();
    assert!(
        operations.len() > 10,
        "docs/openapi.yaml was not understood: {operations:?}"
    );
    for ((path, method), statuses) in &operations {
        let answer = server.send(example_of(&server, path, method).await).await;
        let what = format!("{method} {path}");
        assert!(
            !matches!(answer.status, 404 | 405),
            "{what} is not served:\n{answer}"
        );
        let status = answer.status.to_string();
        assert!(
            statuses.contains(&status),
            "{what}: {status} is not among {statuses:?}:\n{answer}"
        );
    }
}

/// Of each path, the methods are compared below.
#[test]
fn every_path_that_is_served_is_in_the_openapi_page_and_every_one_there_is_served() {
    let rows = ROUTES.lines().filter(|line| !line.starts_with('#'));
    let routes = rows.filter_map(|row| row.split_whitespace().nth(1));
    // A slash at the end changes nothing, where there is something before it.
    let served: BTreeSet<_> = routes
        .map(|path| match path {
            "/" => path,
            path => path.trim_end_matches('/'),
        })
        .collect();
    let operations = operations();
    let documented: BTreeSet<_> = operations.keys().map(|(path, _)| &**path).collect();
    assert_eq!(
        documented, served,
        "paths of docs/openapi.yaml, and of tests/it/matrix.txt"
    );
}

#[tokio::test]
async fn the_openapi_page_is_served_in_json_as_it_is_written() {
    let server = Server::start(&[]).await;
    let get = Req::new("GET", "/api/openapi.json");
    let answer = server.send(get.clone()).await.expect(200);
    let answer = answer
        .expect_header("Content-Type", "application/json")
        .expect_header("Cache-Control", "public, max-age=300");
    let served = answer.json();
    let paths = served["paths"].as_object().expect("paths").iter();
    let methods = |(path, item): (&String, &Value)| {
        let methods = item.as_object().expect("methods").keys();
        let methods = methods.filter(|method| *method != "parameters");
        let methods = methods.map(|method| (path.clone(), method.to_uppercase()));
        methods.collect::<Vec<_>>()
    };
    let served: BTreeSet<_> = paths.flat_map(methods).collect();
    assert_eq!(served, operations().into_keys().collect());
    // A reader meets it in the order of the page.
    let text = String::from_utf8(answer.body.clone()).expect("JSON is UTF-8");
    let places = [
        "openapi",
        "info",
        "/healthz",
        "/problems/{slug}",
        "components",
    ];
    let places = places.map(|key| text.find(&format!("\"{key}\":")).expect(key));
    assert!(places.is_sorted(), "{places:?}");
    let head = Req {
        method: "HEAD".into(),
        ..get
    };
    let head = server.send(head).await.expect(200);
    let length = answer.body.len().to_string();
    head.expect_header("Content-Length", &length);
}

#[tokio::test]
async fn the_methods_that_the_server_allows_are_those_of_the_openapi_page() {
    /// It means another method, and is refused without one.
    const OVERRIDE: (&str, &str) = ("/files/{id}", "POST");
    let server = Server::start(&[]).await;
    let mut methods = BTreeMap::<_, BTreeSet<_>>::new();
    for (path, method) in operations().into_keys() {
        if (&*path, &*method) != OVERRIDE {
            methods.entry(path).or_default().insert(method);
        }
    }
    let upload = server.complete(b"hello").await;
    for (path, documented) in methods {
        let target = filled(&path, upload.id());
        let answer = server
            .send(tus::request("TRACE", &target))
            .await
            .expect(405);
        let allowed = answer.list("Allow").into_iter();
        let allowed: BTreeSet<_> = allowed.map(|method| method.to_uppercase()).collect();
        assert_eq!(
            documented, allowed,
            "methods of {path} in docs/openapi.yaml, and `Allow`"
        );
    }
}

#[tokio::test]
async fn every_operation_that_is_for_callers_names_401_and_a_change_403_as_well() {
    let (server, signer) = guarded(&[]).await;
    let token = signer.sign(&claims("ada"));
    for ((path, method), statuses) in operations() {
        let path = match &*path {
            // A stream of what he may see has no end.
            "/api/events" => format!("{path}?projectId={ID}"),
            path => filled(path, ID),
        };
        let request = tus::request(&method, &path);
        let answer = server.send(request.clone()).await;
        let is_for_callers = answer.status == 401;
        let what = format!("{method} {path}");
        assert_eq!(is_for_callers, statuses.contains("401"), "{what}");
        if is_for_callers && !matches!(&*method, "GET" | "HEAD") {
            let by_cookie = request.cookie(&token);
            server
                .send(by_cookie)
                .await
                .expect_slug(403, "foreign-origin");
            assert!(statuses.contains("403"), "{what}");
        }
    }
}

#[test]
fn every_operation_on_uploads_names_503_since_the_database_may_be_away() {
    let on_uploads = |path: &str| {
        (path.starts_with("/files") || path.starts_with("/api/")) && path != "/api/openapi.json"
    };
    for ((path, method), statuses) in operations() {
        if on_uploads(&path) && method != "OPTIONS" {
            assert!(statuses.contains("503"), "{method} {path}: {statuses:?}");
        }
    }
}

#[tokio::test]
async fn every_problem_has_a_page_and_a_row_that_tells_its_status_and_code() {
    let server = Server::start(&[]).await;
    let rows = rows(HTTP, "## Problems");
    let documented: BTreeSet<_> = rows.keys().map(String::as_str).collect();
    assert_eq!(
        documented,
        BTreeSet::from(ALL_SLUGS),
        "rows of docs/http.md, and ALL_SLUGS"
    );
    for kind in types::ALL {
        let page = server
            .send(Req::new("GET", &format!("/problems/{}", kind.slug)))
            .await;
        page.expect(200)
            .expect_header("Content-Type", "text/plain; charset=utf-8");
        let wanted = [kind.status.to_string(), format!("`{}`", kind.code)];
        assert_eq!(rows[kind.slug][..2], wanted, "the row of {}", kind.slug);
    }
}

#[tokio::test]
async fn every_metric_has_a_row_in_the_operations_page_and_every_one_there_is_a_metric() {
    let files = webhook::Files::new();
    // Nobody is there.
    let config = files.config("http://127.0.0.1:1/", "allow-private = true");
    let server = Server::start(&["--config", &config]).await;
    server.complete(b"hello").await;
    let answer = server.send(Req::new("GET", "/metrics")).await.expect(200);
    let text = String::from_utf8(answer.body).expect("metrics are UTF-8");
    // The samples of a counter have a suffix that its name has not.
    let sample = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some(if kind == "counter" {
            format!("{name}_total")
        } else {
            name.to_owned()
        })
    };
    let metrics: BTreeSet<_> = text.lines().filter_map(sample).collect();
    let documented: BTreeSet<_> = rows(OPERATIONS, "## Metrics").into_keys().collect();
    assert_eq!(
        documented, metrics,
        "rows of docs/operations.md, and GET /metrics"
    );
}

#[test]
fn the_documents_are_read_as_they_are_written() {
    let page = "# T\n\n### `--one`\n\n`A`\n\n### `--two-b`\n\n`B`\n\n## Other\n\n`--three`";
    let sections = sections(page, "### `--");
    assert_eq!(sections["one"], "### `--one`\n\n`A`\n\n");
    assert_eq!(sections["two-b"], "### `--two-b`\n\n`B`\n\n");
    assert_eq!(
        mentioned_flags(page).collect::<Vec<_>>(),
        ["one", "two-b", "three"]
    );
    let table = rows(
        "## A\n| `x` | 1 |\n## B\n| name | n |\n|---|---|\n| `y` | 2 | z |\n## C",
        "## B",
    );
    assert_eq!(
        table,
        BTreeMap::from([("y".into(), vec!["2".into(), "z".into()])])
    );
}

async fn help(command: &str) -> String {
    let outcome = run(&[command, "--help"]).await;
    assert!(outcome.status.success(), "{outcome}");
    outcome.stdout
}

/// The long flags of a help text, each with what stands below it.
fn flags(help: &str) -> BTreeMap<String, String> {
    let mut flags = sections(help, "      --");
    assert!(
        flags.remove("help").is_none(),
        "only flags without a short form begin there"
    );
    flags
}

/// The parts of a text that begin with lines of this prefix. Named by the word behind it, up to the
/// next line with the prefix, or up to a line that begins another chapter.
fn sections(text: &str, prefix: &str) -> BTreeMap<String, String> {
    let mut sections = BTreeMap::<String, String>::new();
    let mut name = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix(prefix) {
            name = Some(word(rest).to_owned());
        } else if line.starts_with("## ") {
            name = None;
        }
        if let Some(name) = &name {
            let section = sections.entry(name.clone()).or_default();
            section.push_str(line);
            section.push('\n');
        }
    }
    sections
}

fn mentioned_flags(text: &str) -> impl Iterator<Item = &str> {
    let marked = text
        .split("`--")
        .chain(text.split(" --"))
        .chain(text.split("[--"));
    let begins = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_lowercase());
    // What stands before the first mark of a document is a heading.
    marked.filter(begins).map(word)
}

/// The letters, digits and hyphens that a text begins with.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    &text[..end.unwrap_or(text.len())]
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

/// The rows of the tables of a chapter whose first cell is a name in backticks: the other cells, by
/// that name.
fn rows(text: &str, chapter: &str) -> BTreeMap<String, Vec<String>> {
    let mut lines = text.lines().skip_while(|line| *line != chapter);
    assert!(lines.next().is_some(), "there is no chapter {chapter:?}");
    let lines = lines.take_while(|line| !line.starts_with("## "));
    let cells = lines.filter_map(|line| {
        let mut cells = line
            .strip_prefix("| `")?
            .strip_suffix(" |")?
            .split(" | ")
            .map(str::to_owned);
        Some((cells.next()?.strip_suffix('`')?.to_owned(), cells.collect()))
    });
    cells.collect()
}

/// The operations of `openapi.yaml` by path and method, with the statuses that they name.
fn operations() -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut operations = BTreeMap::<_, BTreeSet<String>>::new();
    let (mut path, mut operation) = (String::new(), None);
    let paths = between(OPENAPI, "\npaths:\n", "\ncomponents:\n").expect("paths, then components");
    for line in paths.lines() {
        let indent = line.len() - line.trim_start().len();
        let Some((key, _)) = line.trim_start().split_once(':') else {
            continue;
        };
        match (indent, key.trim_matches('\'')) {
            (2, key) => (path, operation) = (key.to_owned(), None),
            (4, "parameters") => operation = None,
            (4, method) => {
                let found = (path.clone(), method.to_uppercase());
                operations.entry(found.clone()).or_default();
                operation = Some(found);
            }
            (8, status) if status.parse::<u16>().is_ok() => {
                let statuses = operation.as_ref().and_then(|of| operations.get_mut(of));
                statuses
                    .expect("a status belongs to an operation")
                    .insert(status.to_owned());
            }
            _ => {}
        }
    }
    operations
}

/// A path with something that exists in each of its variable segments.
fn filled(path: &str, upload: &str) -> String {
    let target = path.replace("{id}", upload).replace("{project}", "default");
    let target = target.replace("{slug}", "offset-mismatch");
    let target = target.replace("{name}", &page::assets()[0]);
    // Any UUID: what is asked there does not look for it.
    let mut target = target.replace("{worker}", "w1");
    for name in ["{share}", "{image}", "{item}", "{batch}"] {
        target = target.replace(name, upload);
    }
    assert!(
        !target.contains('{'),
        "this test does not know what to put into {path}"
    );
    target
}

/// A request that is in order, to an upload that is complete.
async fn example_of(server: &Server, path: &str, method: &str) -> Req {
    if let Some(request) = example_in_a_project(server, path, method).await {
        return request;
    }
    if let Some(request) = example_in_the_queue(server, path, method).await {
        return request;
    }
    if let Some(request) = example_of_an_export(server, path, method).await {
        return request;
    }
    let upload = server.complete(b"hello").await;
    let target = filled(path, upload.id());
    let request = tus::request(method, &target);
    let is_upload = path.contains("{id}");
    match method {
        // In order, it would have no end.
        "GET" | "HEAD" if path == "/api/events" => Req::new(method, "/api/events?after=0"),
        "GET" => Req::new(method, &target),
        "OPTIONS" | "HEAD" | "DELETE" => request,
        "PATCH" => Req {
            target,
            ..tus::patch(&upload, 5)
        },
        "POST" if path.ends_with("/cancel") => Req::new(method, &target),
        "POST" if path == "/api/projects/{project}/images" => {
            form::post().body(Form::new().image("a.png", b"hello").end())
        }
        "POST" if is_upload => request.header("X-HTTP-Method-Override", "HEAD").body(""),
        "POST" => request.header("Upload-Length", "5").body(""),
        "PUT" => Req::new(method, &target)
            .header("Upload-Complete", "?1")
            .body("hello"),
        _ => panic!("this test does not know how to send {method} {path}"),
    }
}

/// The same for projects and shares: to new ones.
async fn example_in_a_project(server: &Server, path: &str, method: &str) -> Option<Req> {
    const SHARES: &str = "/api/projects/{project}/shares";
    let said = |method: &str, target: &str, body: &str| {
        Req::new(method, target)
            .header("Content-Type", "application/json")
            .body(body)
    };
    let id = |answer: Answer| answer.json()["data"]["id"].as_str().map(str::to_owned);
    let is_of_projects = ["/api/projects", "/api/projects/{project}", SHARES].contains(&path);
    if !is_of_projects && !path.starts_with("/api/shares") {
        return None;
    }
    let made = said("POST", "/api/projects", r#"{"title":"t"}"#);
    let project = id(server.send(made).await.expect(201))?;
    let with = r#"{"userId":"somebody"}"#;
    let shares = SHARES.replace("{project}", &project);
    let target = path.replace("{project}", &project);
    let target = match path.contains("{share}") {
        true => {
            let share = server.send(said("POST", &shares, with)).await.expect(201);
            target.replace("{share}", &id(share)?)
        }
        false => target,
    };
    Some(match (method, path) {
        ("POST", SHARES) => said(method, &target, with),
        ("POST", "/api/projects") | ("PUT", _) => said(method, &target, r#"{"title":"u"}"#),
        _ => Req::new(method, &target),
    })
}

/// The same for the queue: to an image that waits, or has a result, or is a worker's.
async fn example_in_the_queue(server: &Server, path: &str, method: &str) -> Option<Req> {
    let begins = ["/api/queue/", "/api/images/", "/api/worker/"];
    if method == "OPTIONS" || !begins.iter().any(|begin| path.starts_with(begin)) {
        return None;
    }
    let worker = Worker::new("w1");
    // What a worker gets is what is enqueued here.
    let all = queue::call("POST", "/api/queue/cancel-all-user", &json!({}));
    server.send(all).await.expect(200);
    let image = server.image().await;
    let first = queue::enqueue_all("default", &[&image], json!({}));
    if path != "/api/queue/images/{image}" && path != "/api/queue/batch" {
        server.send(first.clone()).await.expect(201);
    }
    let id = image.id();
    let listed = format!("/api/queue/projects/default/items?imageId={id}");
    let item = server.data(&listed).await[0].clone();
    let named = |name: &str| item[name].as_str().unwrap_or(id).to_owned();
    let target = path.replace("{item}", &named("id"));
    let target = filled(&target.replace("{batch}", &named("batchId")), id);
    Some(match path {
        "/api/queue/batch" => first,
        "/api/images/{image}/result" => {
            worker.work(server).await;
            Req::new(method, &target)
        }
        "/api/worker/claim" => worker.claim(json!({})),
        // In order, it would have no end.
        "/api/worker/{worker}/control" => Req::new(method, &target),
        "/api/worker/{worker}/heartbeat" => worker.heartbeat(&[]),
        "/api/worker/items/{item}/finish" => {
            let taken = worker.take(server, 1).await;
            worker.finish(&taken[0], "completed")
        }
        _ if method == "POST" => queue::call(method, &target, &json!({})),
        _ => Req::new(method, &target),
    })
}

/// The same for exports: to a whole one, of a new project.
async fn example_of_an_export(server: &Server, path: &str, method: &str) -> Option<Req> {
    let rest = path.strip_prefix("/api/projects/{project}/export")?;
    let made = queue::call("POST", "/api/projects", &json!({"title": "t"}));
    let project = queue::id_of(&server.send(made).await.expect(201).json()["data"]);
    let exports = format!("/api/projects/{project}/export");
    let start = queue::call("POST", &exports, &json!({"options": {}}));
    if (method, rest) == ("POST", "") {
        return Some(start);
    }
    let started = server.send(start).await.expect(200).json();
    let id = started["jobId"].as_str().expect("an id");
    let history = format!("{exports}/history");
    eventually("the archive is whole", async || {
        (server.data(&history).await[0]["downloadable"] == true).then_some(())
    })
    .await;
    let target = format!("{exports}{}", rest.replace("{id}", id));
    Some(match method {
        "POST" => queue::call(method, &target, &json!({})),
        _ => Req::new(method, &target),
    })
}
