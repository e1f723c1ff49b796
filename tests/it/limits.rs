//! How much one caller, or one project, may have, and what is told to whoever has it.

use serde_json::{Value, json};

use crate::images::files::codes;
use crate::support::form::{self, Form};
use crate::support::jwt::{claims, guarded};
use crate::support::server::{Server, files_in, temp_dir};
use crate::support::tus::{self, Upload};
use crate::support::wire::{Answer, Req};
use crate::support::{content, eventually, random, rounds};

const USAGE: &str = "/api/projects/default/usage";

async fn usage(server: &Server) -> Value {
    let answer = server.send(Req::new("GET", USAGE)).await.expect(200);
    answer.json()["data"].clone()
}

async fn used(server: &Server) -> u64 {
    let usage = usage(server).await;
    usage["usedBytes"].as_u64().expect("a number")
}

/// Waits until the project is charged for so many bytes.
async fn expect_used(server: &Server, bytes: u64) {
    let what = format!("{bytes} bytes are charged");
    eventually(&what, async || (used(server).await == bytes).then_some(())).await;
}

/// Bytes of all blobs.
fn stored(server: &Server) -> u64 {
    let files = files_in(&server.data_dir().join("blobs")).into_iter();
    let is_blob = |name: &str| name.len() == 36 && name.matches('-').count() == 4;
    let blobs = files.filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(is_blob)
    });
    let sizes = blobs.filter_map(|path| std::fs::metadata(path).ok());
    sizes.map(|file| file.len()).sum()
}

#[track_caller]
fn expect_over_quota(answer: Answer, quota: u64, used: u64) -> Answer {
    let answer = answer.expect_slug(413, "quota-exceeded");
    let problem = answer.json();
    assert_eq!(
        (&problem["quota"], &problem["used"]),
        (&json!(quota), &json!(used))
    );
    answer.expect_no_header("Retry-After")
}

#[track_caller]
fn expect_429(answer: Answer, slug: &str, retry_after: &str) -> Answer {
    let answer = answer.expect_slug(429, slug);
    answer.expect_header("Retry-After", retry_after)
}

/// Sends requests of this caller until the last one of them is refused.
async fn refused_in_the_end(server: &Server, of: impl Fn() -> Req) -> Answer {
    eventually("a request too many", async || {
        let answer = server.send(of()).await;
        (answer.status == 429).then_some(answer)
    })
    .await
}

#[tokio::test]
async fn a_project_has_what_its_quota_allows_and_gets_back_what_is_removed() {
    let server = Server::start(&["--project-quota", "1000"]).await;
    let whole = json!({"projectId": "default", "usedBytes": 0, "quotaBytes": 1000,
        "openUploads": 0, "completedUploads": 0});
    assert_eq!(usage(&server).await, whole);
    let first = server.complete(&content(1, 400)).await;
    let second = server.create(600).await;
    let full = json!({"projectId": "default", "usedBytes": 1000, "quotaBytes": 1000,
        "openUploads": 1, "completedUploads": 1});
    assert_eq!(usage(&server).await, full);
    let refused = server
        .send(tus::create(1).header("Origin", "https://a.example"))
        .await;
    let refused = expect_over_quota(refused, 1000, 1000);
    let refused = refused.expect_header("Tus-Resumable", tus::VERSION);
    refused.expect_header("Access-Control-Allow-Origin", "*");
    assert_eq!(usage(&server).await, full, "nothing is made");
    // What has been reserved can be sent, and what is full can be read.
    server.append(&second, 0, &content(2, 600)).await;
    assert_eq!(server.download(&first).await, content(1, 400));
    for upload in [&first, &second] {
        server.send(tus::delete(upload)).await.expect(204);
    }
    expect_used(&server, 0).await;
    let cancelled = server.create(1000).await;
    let path = format!("/api/uploads/{}/cancel", cancelled.id());
    server.send(Req::new("POST", &path)).await.expect(200);
    expect_used(&server, 0).await;
    server.complete(&content(3, 1000)).await;
    assert_eq!(used(&server).await, stored(&server));
}

#[tokio::test]
async fn an_upload_of_unknown_length_ends_at_the_quota_and_keeps_what_was_committed() {
    let server = Server::start(&["--project-quota", "1000"]).await;
    let upload = server.create_deferred().await;
    server.append(&upload, 0, &content(1, 700)).await;
    let refused = server
        .send(tus::patch(&upload, 700).body(content(2, 301)))
        .await;
    expect_over_quota(refused.expect_offset(700), 1000, 700);
    assert_eq!(server.offset(&upload).await, 700);
    assert_eq!(
        (used(&server).await, stored(&server)),
        (700, 700),
        "not a byte more"
    );
    let declared = tus::patch(&upload, 700).header("Upload-Length", "1001");
    expect_over_quota(server.send(declared.body("x")).await, 1000, 700);
    let declared = tus::patch(&upload, 700).header("Upload-Length", "1000");
    server
        .send(declared.body(content(2, 300)))
        .await
        .expect(204);
    let whole = [content(1, 700), content(2, 300)].concat();
    assert_eq!(server.download(&upload).await, whole);
    // The creation whose content does not fit has made nothing.
    let first = tus::create_deferred().header("Content-Type", tus::OFFSET_OCTET_STREAM);
    let refused = server.send(first.body("x")).await;
    expect_over_quota(refused, 1000, 1000).expect_no_header("Location");
    expect_used(&server, 1000).await;
    eventually("nothing is open", async || {
        (usage(&server).await["openUploads"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn files_of_a_form_go_through_the_limits_one_by_one() {
    let flags = ["--project-quota", "1000", "--max-metadata-size", "60"];
    let server = Server::start(&flags).await;
    let form = Form::new().image("a.png", &content(1, 600));
    let form = form.image("too-much.png", &content(2, 401));
    let form = form
        .image(&"long".repeat(20), b"x")
        .image("b.png", &content(3, 400));
    let answer = server.send(form::post().body(form.end())).await.expect(201);
    assert_eq!(answer.json()["data"]["count"], 2, "{answer}");
    assert_eq!(codes(&answer), ["QUOTA_EXCEEDED", "HEADER_TOO_LARGE"]);
    expect_used(&server, 1000).await;
    assert_eq!(stored(&server), 1000);
    let form = Form::new().image("c.png", b"x").end();
    let refused = server.send(form::post().body(form)).await;
    expect_over_quota(refused, 1000, 1000);
}

#[tokio::test]
async fn metadata_is_as_long_as_its_limit() {
    let server = Server::start(&["--max-metadata-size", "12"]).await;
    let fits = tus::create(5).header("Upload-Metadata", "k MTIzNDU2Nz");
    server.send(fits).await.expect_problem(400);
    let fits = tus::create(5).header("Upload-Metadata", "key MTIzNDU2");
    server.send(fits).await.expect(201);
    let long = tus::create(5).header("Upload-Metadata", "keys MTIzNDU2");
    server.send(long).await.expect_slug(431, "header-too-large");
}

#[tokio::test]
async fn the_longest_metadata_that_can_be_allowed_fits_into_a_request() {
    let server = Server::start(&["--max-metadata-size", "12Ki"]).await;
    let longest = format!("abc {}", "QUFB".repeat((12 * 1024 - 4) / 4));
    let created = tus::create(5).header("Upload-Metadata", &longest);
    let upload = Upload::created(&server.send(created).await.expect(201));
    let head = server.send(tus::head(&upload)).await.expect(200);
    head.expect_header("Upload-Metadata", &longest);
    let long = tus::create(5).header("Upload-Metadata", format!("abc0 {}", &longest[4..]));
    server.send(long).await.expect_slug(431, "header-too-large");
}

#[tokio::test]
async fn an_upload_of_the_draft_has_its_limits_too() {
    let server = Server::start(&["--project-quota", "1000"]).await;
    let draft = |body: Vec<u8>| {
        Req::new("POST", "/files")
            .header("Upload-Complete", "?1")
            .body(body)
    };
    let refused = server.send(draft(content(1, 1001))).await;
    expect_over_quota(refused, 1000, 0).expect_no_header("Location");
    server.send(draft(content(1, 600))).await.expect(201);
    let chunked = Req {
        method: String::from("POST"),
        ..draft(Vec::new()).chunked(content(2, 401))
    };
    let refused = server.send(chunked).await;
    expect_over_quota(refused, 1000, 600);
    expect_used(&server, 600).await;
    eventually("nothing else is on the disk", async || {
        (stored(&server) == 600).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_caller_has_so_many_unfinished_uploads() {
    let (server, signer) = guarded(&["--max-open-uploads", "2"]).await;
    let [ada, bob] = ["ada", "bob"].map(|user| signer.sign(&claims(user)));
    let create = |token: &str| tus::create(5).bearer(token);
    let first = Upload::created(&server.send(create(&ada)).await.expect(201));
    server.send(create(&ada)).await.expect(201);
    let refused = expect_429(server.send(create(&ada)).await, "too-many-uploads", "5");
    assert_eq!(refused.json()["limit"], 2, "{refused}");
    server.send(create(&bob)).await.expect(201);
    let last = tus::patch(&first, 0).bearer(&ada).body("hello");
    server.send(last).await.expect(204);
    server.send(create(&ada)).await.expect(201);
    expect_429(server.send(create(&ada)).await, "too-many-uploads", "5");
}

#[tokio::test]
async fn a_caller_sends_to_so_many_uploads_at_once_and_may_take_over_from_himself() {
    let (server, signer) = guarded(&["--max-streams", "1"]).await;
    let [ada, bob] = ["ada", "bob"].map(|user| signer.sign(&claims(user)));
    let mut uploads = Vec::new();
    for token in [&ada, &ada, &bob] {
        let created = server.send(tus::create(9).bearer(token)).await.expect(201);
        uploads.push(Upload::created(&created));
    }
    let patch = |at: usize, token: &str| tus::patch(&uploads[at], 0).bearer(token);
    let mut sending = server.connect().await;
    sending.send_head_and_wait(patch(0, &ada).declare(9)).await;
    sending.send(b"abc").await;
    // It has not sent a byte of its content when it is told.
    let mut other = server.connect().await;
    other.send_head(&patch(1, &ada).declare(9)).await;
    let refused = expect_429(other.answer().await, "too-many-streams", "1");
    let refused = refused.expect_header("Tus-Resumable", tus::VERSION);
    assert_eq!(refused.json()["limit"], 1, "{refused}");
    let with_content = tus::create_with_data(5).bearer(&ada).body("hello");
    expect_429(server.send(with_content).await, "too-many-streams", "1");
    let form = Form::new().image("a.png", b"x").end();
    let form = Req {
        target: String::from("/api/projects/default/images"),
        ..form::post().bearer(&ada).body(form)
    };
    let refused = server.send(form).await;
    assert!(matches!(refused.status, 404 | 429), "{refused}");
    server
        .send(patch(2, &bob).body("123456789"))
        .await
        .expect(204);
    // Nobody is sent away for one that is refused, and whoever comes again takes over.
    let head = tus::head(&uploads[0]).bearer(&ada);
    let offset = server
        .send(head)
        .await
        .expect(200)
        .offset()
        .expect("an offset");
    assert!(offset <= 3, "{offset}");
    let mut again = server.connect().await;
    let over = eventually("the newest one goes on", async || {
        let head = server
            .send(tus::head(&uploads[0]).bearer(&ada))
            .await
            .expect(200);
        let offset = head.offset()?;
        let rest = tus::patch(&uploads[0], offset).bearer(&ada);
        let rest = rest.body(&b"abcdefghi"[usize::try_from(offset).ok()?..]);
        let answer = server.send(rest).await;
        assert_ne!(answer.status, 429, "{answer}");
        (answer.status == 204).then_some(answer)
    });
    over.await.expect_offset(9);
    sending.answer().await.expect_slug(400, "upload-superseded");
    again.send_head(&patch(1, &ada).body("123456789")).await;
    again.send(b"123456789").await;
    again.answer().await.expect(204);
}

#[tokio::test]
async fn a_caller_makes_so_many_requests_in_a_second() {
    let (server, signer) = guarded(&["--max-requests-per-second", "3"]).await;
    let [ada, bob] = ["ada", "bob"].map(|user| signer.sign(&claims(user)));
    let create = || {
        tus::create(5)
            .bearer(&ada)
            .header("Origin", "https://a.example")
    };
    let refused = refused_in_the_end(&server, create).await;
    let refused = expect_429(refused, "too-many-requests", "1");
    let refused = refused.expect_header("Tus-Resumable", tus::VERSION);
    refused.expect_header("Access-Control-Allow-Origin", "*");
    server.send(tus::create(5).bearer(&bob)).await.expect(201);
    // Whoever still sends a body reads it.
    let large = || {
        tus::create_with_data(4 << 20)
            .bearer(&ada)
            .body(content(1, 4 << 20))
    };
    let refused = refused_in_the_end(&server, large).await;
    expect_429(refused, "too-many-requests", "1");
    let json = || Req::new("GET", "/api/projects/default/usage").bearer(&ada);
    let refused = refused_in_the_end(&server, json).await;
    expect_429(refused, "too-many-requests", "1");
    // What is for everybody is for him, too.
    for _ in 0..20 {
        server
            .send(Req::new("GET", "/healthz").bearer(&ada))
            .await
            .expect(200);
        server
            .send(tus::options("/files").bearer(&ada))
            .await
            .expect(204);
    }
    let metrics = server.send(Req::new("GET", "/metrics")).await.expect(200);
    let text = String::from_utf8(metrics.body).expect("metrics are UTF-8");
    let name = "tidegate_http_throttled_total ";
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let count: u64 = line.and_then(|count| count.parse().ok()).expect("a count");
    assert!(count >= 3, "{text}");
}

#[tokio::test]
async fn a_caller_creates_so_many_uploads_in_a_second() {
    let server = Server::start(&["--max-creations-per-second", "3"]).await;
    let upload = server.create(5).await;
    let refused = refused_in_the_end(&server, || tus::create(5)).await;
    expect_429(refused, "too-many-requests", "1");
    // Other requests are not counted.
    for _ in 0..20 {
        assert_eq!(server.offset(&upload).await, 0);
    }
    let form = (0..20).fold(Form::new(), |form, at| {
        form.image(&format!("{at}.png"), b"x")
    });
    let answer = server.send(form::post().body(form.end())).await;
    let codes = codes(&answer);
    assert!(codes.len() > 10, "{answer}");
    assert!(
        codes.iter().all(|code| code == "TOO_MANY_REQUESTS"),
        "{answer}"
    );
    let metrics = server.send(Req::new("GET", "/metrics")).await.expect(200);
    let text = String::from_utf8(metrics.body).expect("metrics are UTF-8");
    let name = "tidegate_uploads_limited_total{limit=\"creations\"} ";
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let count: usize = line.and_then(|count| count.parse().ok()).expect("a count");
    assert!(count > codes.len(), "{text}");
}

#[tokio::test]
async fn only_who_sees_a_project_is_told_how_much_is_in_it() {
    let (server, signer) = guarded(&[]).await;
    let [ada, bob] = ["ada", "bob"].map(|user| signer.sign(&claims(user)));
    let created = server.send(tus::create(7).bearer(&ada)).await.expect(201);
    let path = format!("/api/uploads/{}", Upload::created(&created).id());
    let view = server
        .send(Req::new("GET", &path).bearer(&ada))
        .await
        .expect(200)
        .json();
    let project = view["data"]["projectId"].as_str().expect("an id");
    let usage = Req::new("GET", &format!("/api/projects/{project}/usage"));
    let answer = server
        .send(usage.clone().bearer(&ada))
        .await
        .expect(200)
        .json();
    assert_eq!(answer["data"]["usedBytes"], 7, "{answer}");
    assert_eq!(answer["data"]["quotaBytes"], Value::Null, "{answer}");
    server
        .send(usage.clone().bearer(&bob))
        .await
        .expect_slug(404, "not-found");
    server.send(usage).await.expect_slug(401, "unauthorized");
}

/// Whatever is done and however the server ends, what a project is charged is what it has, and that
/// is what is on the disk once nothing is under way.
#[tokio::test]
async fn the_books_agree_with_the_disk_after_any_kill() {
    const QUOTA: u64 = 100_000;
    let flags = ["--project-quota", "100000", "--durability", "process-crash"];
    let mut rng = random("the_books_agree_with_the_disk_after_any_kill");
    let data_dir = temp_dir();
    for _ in 0..rounds(3) {
        let server = Server::start_in(data_dir.path(), &flags).await;
        let mut left: Vec<Upload> = Vec::new();
        for _ in 0..60 {
            let length = rng.u64(0..20_000);
            let bytes = content(length, usize::try_from(length).expect("it is small"));
            match rng.u8(0..4) {
                0 => {
                    let answer = server.send(tus::create_with_data(length).body(bytes)).await;
                    assert!(matches!(answer.status, 201 | 413), "{answer}");
                }
                1 => {
                    let answer = server.send(tus::create(length)).await;
                    left.extend((answer.status == 201).then(|| Upload::created(&answer)));
                }
                2 => {
                    let answer = server.send(tus::create_deferred()).await.expect(201);
                    let upload = Upload::created(&answer);
                    let answer = server.send(tus::patch(&upload, 0).body(bytes)).await;
                    assert!(matches!(answer.status, 204 | 413), "{answer}");
                    left.push(upload);
                }
                _ if left.is_empty() => {}
                _ => {
                    let upload = left.swap_remove(rng.usize(0..left.len()));
                    let answer = server.send(tus::delete(&upload)).await;
                    assert!(matches!(answer.status, 204 | 404), "{answer}");
                }
            }
            assert!(used(&server).await <= QUOTA);
        }
        // One is in the midst of it.
        let open = tus::create_deferred().header("Content-Type", tus::OFFSET_OCTET_STREAM);
        let mut conn = server.connect().await;
        conn.send_head(&open.declare(50_000)).await;
        conn.send(&content(7, rng.usize(0..50_000))).await;
        server.kill9().await;
        drop(conn);
        drop(server);

        let server = Server::start_in(data_dir.path(), &flags).await;
        for view in server.uploads("uploading").await {
            let upload = Upload::listed(&view);
            server.send(tus::delete(&upload)).await.expect(204);
        }
        eventually("the books agree with the disk", async || {
            let used = used(&server).await;
            assert!(used <= QUOTA, "{used}");
            (used == stored(&server)).then_some(())
        })
        .await;
        let complete = server.uploads("completed").await;
        let sum: u64 = complete
            .iter()
            .filter_map(|view| view["length"].as_u64())
            .sum();
        assert_eq!(
            used(&server).await,
            sum,
            "what is complete, and nothing else"
        );
        for view in complete.iter().take(rng.usize(0..=complete.len())) {
            server
                .send(tus::delete(&Upload::listed(view)))
                .await
                .expect(204);
        }
        server.kill9().await;
    }
}

/// Many creations at once, at the edge of a quota.
#[tokio::test]
async fn parallel_creations_never_go_over_the_quota() {
    let server = Server::start(&["--project-quota", "1000"]).await;
    for _ in 0..rounds(2) {
        let answers = futures_util::future::join_all((0..64).map(|_| server.send(tus::create(30))));
        let answers = answers.await;
        let made: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 201)
            .collect();
        assert_eq!((made.len(), used(&server).await), (33, 990));
        for refused in answers.iter().filter(|answer| answer.status != 201) {
            expect_over_quota(refused.clone(), 1000, 990);
        }
        for made in made {
            let upload = Upload::created(made);
            server.send(tus::delete(&upload)).await.expect(204);
        }
        expect_used(&server, 0).await;
    }
}

/// What `tidegate` says of a limit that is none.
#[tokio::test]
async fn a_limit_of_nothing_is_refused() {
    for flag in [
        "--project-quota",
        "--max-open-uploads",
        "--max-streams",
        "--max-requests-per-second",
        "--max-creations-per-second",
        "--max-metadata-size",
    ] {
        let outcome = crate::support::server::run(&["check", flag, "0"]).await;
        assert!(!outcome.status.success(), "{flag}: {outcome}");
        assert!(outcome.stderr.contains(&flag[2..]), "{flag}: {outcome}");
    }
    let outcome = crate::support::server::run(&["check", "--max-metadata-size", "12289"]).await;
    assert!(outcome.stderr.contains("12Ki"), "{outcome}");
}
