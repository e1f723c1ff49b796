//! The commands beside `upload`, each against a real server.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::cli::{Cli, objects};
use crate::support::export::{Archive, originals};
use crate::support::jwt::{SECRET, guarded, text_of};
use crate::support::queue::{Worker, id_of};
use crate::support::relay::Relay;
use crate::support::server::Server;
use crate::support::tus::{self, Upload};
use crate::support::{assert_same_bytes, content, eventually};

/// Larger than what sockets hold, so that a download can be cut off.
const LARGE: usize = 24 << 20;

/// What nobody wants on a terminal.
const HOSTILE: &str = "../.\u{1b}[2Jevil\u{202e}fit.\u{7}exe";

fn ids(objects: &[Value]) -> Vec<String> {
    objects.iter().map(id_of).collect()
}

#[tokio::test]
async fn uploads_are_listed_page_by_page() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    cli.run(&["ls"]).await.expect_code(3);
    let mut wanted = BTreeSet::new();
    for number in 0..103 {
        let name = format!("{number}.tif");
        let upload = server
            .named("default", &[("filename", &name)], b"pixels")
            .await;
        wanted.insert(upload.id().to_owned());
    }
    let all = cli.run(&["ls", "--json"]).await.expect_code(0).objects();
    assert_eq!(all.len(), 103);
    assert_eq!(ids(&all).into_iter().collect::<BTreeSet<_>>(), wanted);
    assert_eq!(all[0]["filename"], "102.tif");
    let some = cli.run(&["ls", "--limit", "2"]).await.expect_code(0);
    let lines: Vec<_> = some.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{some}");
    assert!(lines[0].starts_with("ID ") && lines[0].ends_with("NAME"));
    assert!(lines[1].contains("completed") && lines[1].ends_with("102.tif"));
    assert!(lines[1].contains("6 B"), "{some}");
    let none = cli.run(&["ls", "--state", "failed"]).await;
    none.expect_code(3);
    cli.run(&["ls", "--state", "odd"]).await.expect_code(2);
    cli.run(&["ls", "--project", "none"]).await.expect_code(1);
}

#[tokio::test]
async fn hostile_names_are_shown_escaped() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let pairs = [("filename", HOSTILE)];
    let upload = server.named("default", &pairs, b"pixels").await;
    cli.run(&["queue", "add", upload.id(), "--model", "\u{1b}[2J"])
        .await
        .expect_code(1);
    for command in [
        &["ls"][..],
        &["watch", "--after", "0", "--project", "default"],
    ] {
        let running = cli.spawn(command);
        running.says("evil").await;
        running.interrupt();
        let outcome = running.finish().await;
        for unsafe_one in ['\u{1b}', '\u{202e}', '\u{7}'] {
            assert!(!outcome.text().contains(unsafe_one), "{outcome}");
        }
    }
    let outcome = cli.run(&["download", upload.id()]).await.expect_code(0);
    assert!(!outcome.text().contains('\u{1b}'), "{outcome}");
    let names: Vec<_> = std::fs::read_dir(cli.home())
        .expect("his home")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
    assert!(
        names[0].contains("evil") && !names[0].starts_with('.'),
        "{names:?}"
    );
    assert!(
        !names[0].contains(['\u{1b}', '\u{202e}', '\u{7}']),
        "{names:?}"
    );
}

#[tokio::test]
async fn uploads_are_cancelled_by_their_ids() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let (first, second) = (server.create(100).await, server.create(100).await);
    server.append(&first, 0, b"0123456789").await;
    let complete = server.complete(b"pixels").await;
    let reason = ["--reason", "wrong plate"];
    let arguments = [&["cancel", first.id()][..], &reason].concat();
    let outcome = cli.run(&arguments).await.expect_code(0);
    assert!(
        outcome.stdout.contains("cancelled, 10 B freed"),
        "{outcome}"
    );
    let problem = server.send(tus::patch(&first, 10)).await.expect(410).json();
    assert_eq!(problem["reason"], "wrong plate");

    let unknown = Upload::unknown();
    let arguments = [
        "cancel",
        "--json",
        first.id(),
        unknown.id(),
        complete.id(),
        second.id(),
    ];
    let outcome = cli.run(&arguments).await.expect_code(1);
    let told = outcome.objects();
    let outcomes: Vec<_> = told.iter().map(|told| &told["outcome"]).collect();
    let wanted = [
        &json!("already_cancelled"),
        &Value::Null,
        &json!("already_completed"),
        &json!("cancelled"),
    ];
    assert_eq!(outcomes, wanted, "{outcome}");
    assert_eq!(told[1]["id"], unknown.id());
    cli.run(&["cancel"]).await.expect_code(2);
    cli.run(&["cancel", "a-b"]).await.expect_code(2);
    cli.run(&["cancel", "--all", first.id()])
        .await
        .expect_code(2);
}

#[tokio::test]
async fn all_uploads_are_cancelled_only_if_that_is_meant() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    cli.run(&["cancel", "--all", "-y"]).await.expect_code(3);
    let uploads = [server.create(100).await, server.create(100).await];
    let complete = server.complete(b"pixels").await;
    let refused = cli.run(&["cancel", "--all"]).await.expect_code(2);
    assert!(refused.stderr.contains("-y"), "{refused}");
    assert_eq!(server.uploads("uploading").await.len(), 2);
    let outcome = cli.run(&["cancel", "--all", "-y", "--json"]).await;
    let told = outcome.expect_code(0).objects();
    let wanted: BTreeSet<_> = uploads
        .iter()
        .map(|upload| upload.id().to_owned())
        .collect();
    assert_eq!(ids(&told).into_iter().collect::<BTreeSet<_>>(), wanted);
    assert_eq!(server.uploads("uploading").await.len(), 0);
    server.send(tus::get(&complete)).await.expect(200);
}

#[tokio::test]
async fn a_download_is_whole_verified_and_never_in_the_way() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let pairs = [("filename", "a.tif")];
    let upload = server.named("default", &pairs, b"pixels").await;
    let told = cli.run(&["download", upload.id(), "--json"]).await;
    let told = told.expect_code(0).object();
    assert_eq!(
        (&told["verified"], &told["bytes"]),
        (&json!(true), &json!(6))
    );
    let file = cli.path("a.tif");
    assert_eq!(std::fs::read(&file).unwrap(), b"pixels");
    assert!(!cli.path("a.tif.part").exists() && !cli.path("a.tif.part.tag").exists());

    cli.write("a.tif", "mine");
    let refused = cli.run(&["download", upload.id()]).await.expect_code(1);
    assert!(refused.stderr.contains("--force"), "{refused}");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    cli.run(&["download", upload.id(), "--force"])
        .await
        .expect_code(0);
    assert_eq!(std::fs::read(&file).unwrap(), b"pixels");

    std::fs::create_dir(cli.path("scans")).unwrap();
    cli.run(&["download", upload.id(), "-o", "scans"])
        .await
        .expect_code(0);
    assert_eq!(std::fs::read(cli.path("scans/a.tif")).unwrap(), b"pixels");
    let piped = cli.run(&["download", upload.id(), "-o", "-"]).await;
    assert_eq!(piped.expect_code(0).stdout.trim_end(), "pixels");

    let empty = server.create(0).await;
    cli.run(&["download", empty.id(), "-o", "empty"])
        .await
        .expect_code(0);
    assert_eq!(std::fs::read(cli.path("empty")).unwrap(), b"");
    let half = server.create(100).await;
    let refused = cli.run(&["download", half.id()]).await.expect_code(1);
    assert!(refused.stderr.contains("not complete"), "{refused}");
    cli.run(&["download", Upload::unknown().id()])
        .await
        .expect_code(1);
}

#[tokio::test]
async fn a_download_outlives_its_connections() {
    let server = Server::start(&[]).await;
    let data = content(1, LARGE);
    let upload = server.complete(&data).await;
    let relay = Relay::start(server.addr()).await;
    relay.cut_after(10 << 20);
    let cli = Cli::new(relay.url());
    let running = cli.run(&["download", upload.id(), "-o", "a"]).await;
    running.expect_code(0);
    assert!(relay.connections() >= 3, "{}", relay.connections());
    assert_same_bytes(&std::fs::read(cli.path("a")).unwrap(), &data, "the file");
}

#[tokio::test]
async fn a_download_goes_on_after_both_sides_were_killed() {
    let mut server = Server::start(&[]).await;
    let data = content(2, LARGE);
    let upload = server.complete(&data).await;
    let relay = Relay::start(server.addr()).await;
    relay.cut_after(10 << 20);
    let mut cli = Cli::new(relay.url());
    let arguments = ["download", upload.id(), "-o", "a", "--json"];
    let cut = cli
        .run(&[&arguments[..], &["--retries", "0"]].concat())
        .await;
    let cut = cut.expect_code(1);
    assert!(cut.stderr.contains("are kept"), "{cut}");
    let kept = std::fs::metadata(cli.path("a.part")).unwrap().len();
    assert!(kept > 5 << 20 && kept < 10 << 20, "{kept}");
    server.kill9().await;
    server.restart(&[]).await;
    cli.turn_to(format!("http://{}", server.addr()));
    let told = cli.run(&arguments).await.expect_code(0).object();
    assert_eq!(
        (&told["resumedAt"], &told["verified"]),
        (&json!(kept), &json!(true))
    );
    assert_same_bytes(&std::fs::read(cli.path("a")).unwrap(), &data, "the file");
}

#[tokio::test]
async fn a_part_of_something_else_or_that_is_damaged_is_not_believed() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let data = content(3, 1 << 20);
    let upload = server.complete(&data).await;
    let arguments = ["download", upload.id(), "-o", "a", "--json"];
    cli.write("a.part", content(4, 2 << 20));
    cli.write("a.part.tag", "\"another\"");
    let told = cli.run(&arguments).await.expect_code(0).object();
    assert_eq!(told["resumedAt"], 0);
    assert_same_bytes(&std::fs::read(cli.path("a")).unwrap(), &data, "the file");

    std::fs::remove_file(cli.path("a")).unwrap();
    cli.write("a.part", content(5, 1 << 19));
    cli.write("a.part.tag", tus::etag(&data));
    let wrong = cli.run(&arguments).await.expect_code(1);
    assert!(wrong.stderr.contains("SHA-256"), "{wrong}");
    for gone in ["a", "a.part", "a.part.tag"] {
        assert!(!cli.path(gone).exists(), "{gone}");
    }
    cli.run(&arguments).await.expect_code(0);
}

#[tokio::test]
async fn an_interrupted_download_keeps_what_it_has() {
    let server = Server::start(&[]).await;
    let data = content(6, LARGE);
    let upload = server.complete(&data).await;
    let arguments = ["download", upload.id(), "-o", "a"];
    let relay = Relay::start(server.addr()).await;
    // Many breaks and pauses: it surely does not come to its end before.
    relay.cut_after(1 << 20);
    let cli = Cli::new(relay.url());
    let running = cli.spawn(&arguments);
    eventually("some of it is there", async || {
        let there = std::fs::metadata(cli.path("a.part")).ok()?;
        (there.len() > 0).then_some(())
    })
    .await;
    running.interrupt();
    running.finish().await.expect_code(130);
    assert!(!cli.path("a").exists());
}

#[tokio::test]
async fn events_are_told_once_across_restarts_of_the_server() {
    let mut server = Server::start(&[]).await;
    let relay = Relay::start(server.addr()).await;
    let cli = Cli::new(relay.url());
    let first = server.complete(b"pixels").await;
    let watching = cli.spawn(&[
        "watch",
        "--json",
        "--project",
        "default",
        "--after",
        "0",
        "--types",
        "upload.created,upload.completed",
    ]);
    watching.says(first.id()).await;
    let mut wanted = vec![first.id().to_owned()];
    for _ in 0..2 {
        server.kill9().await;
        server.restart(&[]).await;
        // Happens while nobody is told.
        wanted.push(server.complete(b"pixels").await.id().to_owned());
        relay.turn_to(server.addr());
        watching.says(wanted.last().unwrap()).await;
        wanted.push(server.complete(b"pixels").await.id().to_owned());
        watching.says(wanted.last().unwrap()).await;
    }
    let last = wanted.last().unwrap().clone();
    eventually("the last one is complete", async || {
        let events = objects(&watching.stdout());
        events
            .iter()
            .any(|event| event["type"] == "upload.completed" && event["data"]["id"] == *last)
            .then_some(())
    })
    .await;
    watching.interrupt();
    let outcome = watching.finish().await.expect_code(130);
    let told: Vec<_> = outcome
        .objects()
        .iter()
        .map(|event| {
            (
                event["type"].as_str().unwrap().to_owned(),
                id_of(&event["data"]),
            )
        })
        .collect();
    let wanted: Vec<_> = wanted
        .into_iter()
        .flat_map(|id| {
            [
                ("upload.created".to_owned(), id.clone()),
                ("upload.completed".to_owned(), id),
            ]
        })
        .collect();
    assert_eq!(told, wanted, "{outcome}");
    assert!(outcome.stderr.contains("is back"), "{outcome}");
}

#[tokio::test]
async fn a_feed_that_is_refused_is_not_waited_for() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let none = tus::Upload::unknown();
    cli.run(&["watch", "--project", none.id()])
        .await
        .expect_code(1);
    cli.run(&["watch", "--types", "odd"]).await.expect_code(1);
    cli.run(&["watch", "--after", "odd"]).await.expect_code(1);
    let (guarded, _) = guarded(&[]).await;
    let refused = guarded.cli().run(&["watch"]).await.expect_code(1);
    assert!(refused.stderr.contains("401"), "{refused}");
}

#[tokio::test]
async fn images_are_enqueued_and_cancelled() {
    let server = Server::start(&["--models", "otsu"]).await;
    let cli = server.cli();
    let images = [
        server.image().await,
        server.image().await,
        server.image().await,
    ];
    let item = cli
        .run(&[
            "queue",
            "add",
            images[0].id(),
            "--json",
            "--priority",
            "7",
            "--no-holes",
        ])
        .await;
    let item = item.expect_code(0).object();
    assert_eq!(
        (&item["priority"], &item["detectHoles"]),
        (&json!(7), &json!(false))
    );
    cli.run(&["queue", "add", images[0].id()])
        .await
        .expect_code(1);
    let named = images.each_ref().map(Upload::id);
    let both = cli
        .run(&[&["queue", "add", "--json"][..], &named].concat())
        .await;
    let both = both.expect_code(0).objects();
    assert_eq!(both.len(), 3, "{both:?}");
    assert_eq!(both[2], json!({"imageId": named[0], "reason": "active"}));
    let waits = cli
        .run(&["queue", "ls", "--state", "queued,processing", "--json"])
        .await;
    assert_eq!(waits.expect_code(0).objects().len(), 3);
    let stats = cli.run(&["queue", "stats"]).await.expect_code(0);
    assert_eq!(stats.stdout, "3 queued, 0 processing\n");

    let cancelled = cli
        .run(&["queue", "cancel", &id_of(&item), "--json", "--reason", "no"])
        .await;
    assert_eq!(cancelled.expect_code(0).object()["outcome"], "cancelled");
    assert_eq!(server.item(&id_of(&item)).await["cancelReason"], "no");
    let batch = both[0]["batchId"].as_str().unwrap();
    for unasked in [["--project", "default"], ["--batch", batch]] {
        let arguments = [&["queue", "cancel"][..], &unasked].concat();
        cli.run(&arguments).await.expect_code(2);
    }
    cli.run(&["queue", "cancel", "--all", "--batch", batch, "-y"])
        .await
        .expect_code(2);
    let outcome = cli
        .run(&["queue", "cancel", "--batch", batch, "-y"])
        .await
        .expect_code(0);
    assert_eq!(outcome.stdout, "2 cancelled\n");
}

#[tokio::test]
async fn all_items_are_cancelled_of_oneself_of_a_project_and_of_everybody() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let image = server.image().await;
    for all in [
        &["--all"][..],
        &["--project", "default"],
        &["--project", "default", "--everyone"],
    ] {
        let arguments = [&["queue", "cancel", "-y"][..], all].concat();
        cli.run(&arguments).await.expect_code(3);
        cli.run(&["queue", "add", image.id()]).await.expect_code(0);
        let outcome = cli.run(&arguments).await.expect_code(0);
        assert_eq!(outcome.stdout, "1 cancelled\n");
    }
}

#[tokio::test]
async fn all_images_of_a_project_are_enqueued_unless_they_have_a_result() {
    let server = Server::start(&["--models", "otsu,local"]).await;
    let cli = server.cli();
    let arguments = ["queue", "add", "--project", "default", "--all-images"];
    cli.run(&arguments).await.expect_code(3);
    server.enqueued(json!({})).await;
    Worker::new("gpu").work(&server).await;
    server.image().await;
    let outcome = cli.run(&arguments).await.expect_code(0);
    assert!(
        outcome.stdout.starts_with("1 enqueued as batch "),
        "{outcome}"
    );
    assert!(
        outcome.stdout.ends_with(", 1 left out: segmented\n"),
        "{outcome}"
    );
    let outcome = cli.run(&[&arguments[..], &["--force"]].concat()).await;
    let outcome = outcome.expect_code(0);
    assert!(
        outcome.stdout.ends_with(", 1 left out: active\n"),
        "{outcome}"
    );
    assert_eq!(server.queue_stats().await, [2, 0]);
}

#[tokio::test]
async fn a_project_becomes_an_archive() {
    let server = Server::start(&[]).await;
    let project = server.project("Slides").await;
    let data = content(7, 1 << 20);
    let upload = server
        .named(&project, &[("filename", "a.tif")], &data)
        .await;
    let cli = server.cli();
    let place = ["--project", "Slides"];
    let run = async |arguments: &[&str]| cli.run(&[arguments, &place[..]].concat()).await;
    run(&["export", "ls"]).await.expect_code(3);
    let start = [
        "export",
        "start",
        "--wait",
        "--annotations",
        "coco,json",
        "--metrics",
        "csv",
        "--name",
        "../May",
    ];
    let outcome = run(&start).await.expect_code(0);
    let id = outcome.stdout.trim_end();
    let status = run(&["export", "status", id, "--json"])
        .await
        .expect_code(0)
        .object();
    assert_eq!(
        (&status["state"], &status["userId"]),
        (&json!("completed"), &json!("local"))
    );
    let options = json!({"includeOriginalImages": true, "annotationFormats": ["coco", "json"], "metricsFormats": ["csv"]});
    assert_eq!(status["options"], options);
    let told = run(&["export", "status", id]).await.expect_code(0);
    assert!(told.stdout.contains("state    completed"), "{told}");
    let listed = run(&["export", "ls", "--json"])
        .await
        .expect_code(0)
        .object();
    assert_eq!(listed["id"], id);

    let told = run(&["export", "download", id]).await.expect_code(0);
    assert!(told.stdout.starts_with("May.zip ("), "{told}");
    let archive = Archive::open(&std::fs::read(cli.path("May.zip")).unwrap()).await;
    archive.expect_manifest();
    archive.expect_originals(&[(&upload, &data)]);
    let late = run(&["export", "cancel", id, "--json"])
        .await
        .expect_code(1);
    assert_eq!(late.object()["outcome"], "already_completed");
    run(&["export", "start", "--no-images"])
        .await
        .expect_code(1);
}

#[tokio::test]
async fn an_archive_comes_in_pieces() {
    let server = Server::start(&[]).await;
    let data = content(8, LARGE);
    server.complete(&data).await;
    let job = server.export("default", &originals()).await;
    server.export_reaches(&job, "completed").await;
    let relay = Relay::start(server.addr()).await;
    relay.cut_after(10 << 20);
    let cli = Cli::new(relay.url());
    let arguments = ["export", "download", &job.id, "-o", "a.zip", "--json"];
    cli.run(&[&arguments[..], &["--retries", "0"]].concat())
        .await
        .expect_code(1);
    relay.mend();
    let told = cli.run(&arguments).await.expect_code(0).object();
    assert!(told["resumedAt"].as_u64() > Some(5 << 20), "{told}");
    assert_eq!(told["verified"], false);
    let wanted = server.send(job.download()).await.expect(200).body;
    assert_same_bytes(
        &std::fs::read(cli.path("a.zip")).unwrap(),
        &wanted,
        "the archive",
    );
}

#[tokio::test]
async fn an_export_goes_on_when_nobody_waits_any_more_until_it_is_cancelled() {
    let server = Server::start(&["--max-running-exports", "1"]).await;
    server.large(40).await;
    let cli = server.cli();
    let running = cli.spawn(&["export", "start", "--wait", "--annotations", "json"]);
    eventually("the id is told", async || {
        running.stdout().ends_with('\n').then_some(())
    })
    .await;
    let id = running.stdout().trim_end().to_owned();
    running.interrupt();
    let outcome = running.finish().await.expect_code(130);
    assert!(outcome.stderr.contains("goes on"), "{outcome}");
    let cancelled = cli
        .run(&["export", "cancel", &id, "--reason", "too large", "--json"])
        .await;
    let outcome = cancelled.expect_code(0).object()["outcome"].clone();
    assert!(
        outcome == "cancelled" || outcome == "cancelling",
        "{outcome}"
    );
    let refused = cli.run(&["export", "download", &id]).await.expect_code(1);
    assert!(refused.stderr.contains("too large"), "{refused}");
}

#[tokio::test]
async fn projects_live_and_end() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let made = cli
        .run(&["project", "create", "Slides", "--description", "of May"])
        .await;
    let id = made.expect_code(0).stdout.trim_end().to_owned();
    server.named(&id, &[], b"pixels").await;
    let shown = cli.run(&["project", "show", "Slides", "--json"]).await;
    let shown = shown.expect_code(0).object();
    assert_eq!(
        (&shown["id"], &shown["description"]),
        (&json!(id), &json!("of May"))
    );
    assert_eq!(shown["usage"]["completedUploads"], 1);
    cli.run(&["project", "rename", "Slides", "Films"])
        .await
        .expect_code(0);
    cli.run(&["project", "show", "Slides"]).await.expect_code(1);
    let listed = cli.run(&["project", "ls"]).await.expect_code(0);
    assert!(listed.stdout.contains("Films"), "{listed}");
    cli.run(&["project", "create", "Films"])
        .await
        .expect_code(0);
    let ambiguous = cli
        .run(&["project", "rm", "Films", "-y"])
        .await
        .expect_code(2);
    assert!(ambiguous.stderr.contains("several"), "{ambiguous}");
    cli.run(&["project", "rm", &id]).await.expect_code(2);
    cli.run(&["project", "rm", &id, "-y"]).await.expect_code(0);
    cli.run(&["project", "show", &id]).await.expect_code(1);
}

#[tokio::test]
async fn projects_are_shared_and_taken_back() {
    let (server, _) = guarded(&[]).await;
    let url = format!("http://{}", server.addr());
    let operator = Cli::new(url.as_str());
    let secret = operator.write("secret", SECRET);
    let secret = secret.to_str().unwrap();
    let token = async |user: &str| {
        let arguments = ["token", "--user", user, "--jwt-secret-file", secret];
        operator
            .run(&arguments)
            .await
            .expect_code(0)
            .stdout
            .trim_end()
            .to_owned()
    };
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let ann = Cli::with_token(url.as_str(), token("ann").await);
    let bob = Cli::with_token(url.as_str(), token("bob").await);

    let lost = ann.run(&["ls"]).await.expect_code(2);
    assert!(lost.stderr.contains("--project"), "{lost}");
    ann.run(&["project", "create", "Slides"])
        .await
        .expect_code(0);
    let invited = ann
        .run(&[
            "share",
            "add",
            "--project",
            "Slides",
            "--user",
            "bob",
            "--json",
        ])
        .await;
    let share = id_of(&invited.expect_code(0).object());
    bob.run(&["ls", "--project", "Slides"]).await.expect_code(1);
    let listed = bob.run(&["share", "ls"]).await.expect_code(0);
    assert!(
        listed.stdout.contains("pending") && listed.stdout.contains("Slides"),
        "{listed}"
    );
    bob.run(&["share", "accept", &share]).await.expect_code(0);
    bob.run(&["ls", "--project", "Slides"]).await.expect_code(3);
    let listed = ann
        .run(&["share", "ls", "--project", "Slides"])
        .await
        .expect_code(0);
    assert!(
        listed.stdout.contains("accepted") && listed.stdout.contains("bob"),
        "{listed}"
    );

    // Each cancels what is his own, unless the owner means everybody's.
    let bobs = half_sent(&bob, "b.bin").await;
    let none = ann
        .run(&["cancel", "--all", "-y", "--project", "Slides"])
        .await;
    none.expect_code(3);
    let forbidden = ["cancel", "--all", "--everyone", "-y", "--project", "Slides"];
    bob.run(&forbidden).await.expect_code(1);
    let outcome = ann.run(&forbidden).await.expect_code(0);
    assert_eq!(outcome.stdout, "1 cancelled\n");
    drop(bobs);
    ann.run(&["share", "rm", &share]).await.expect_code(0);
    bob.run(&["ls", "--project", "Slides"]).await.expect_code(1);
    bob.run(&["share", "rm", &share]).await.expect_code(1);
}

/// An upload on its way, which its sender has left.
async fn half_sent(cli: &Cli, name: &str) -> crate::support::cli::Running {
    let file = cli.write(name, content(9, LARGE));
    let arguments = [
        "upload",
        &text_of(&file),
        "--project",
        "Slides",
        "--limit-rate",
        "100k",
    ];
    let running = cli.spawn(&arguments);
    eventually("it is on its way", async || {
        let listed = cli
            .run(&["ls", "--project", "Slides", "--state", "uploading"])
            .await;
        listed.status.success().then_some(())
    })
    .await;
    running
}

#[tokio::test]
async fn every_command_has_a_page_and_is_completed() {
    let cli = Cli::new("http://127.0.0.1:9");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = cli.run(&["completions", shell]).await.expect_code(0);
        for word in ["watch", "download", "all-images", "serve"] {
            assert!(script.stdout.contains(word), "{shell} {word}");
        }
    }
    let main = cli.run(&["man"]).await.expect_code(0);
    assert!(main.stdout.contains(".TH tidegate 1"), "{main}");
    cli.run(&["man", "man"]).await.expect_code(0);
    let pages: BTreeSet<_> = std::fs::read_dir(cli.path("man"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for command in [
        "",
        "-serve",
        "-token",
        "-upload",
        "-ls",
        "-cancel",
        "-watch",
        "-download",
        "-queue",
        "-queue-add",
        "-queue-cancel",
        "-export",
        "-export-start",
        "-export-download",
        "-project-rm",
        "-share-accept",
        "-completions",
        "-man",
    ] {
        let page = format!("tidegate{command}.1");
        assert!(pages.contains(&page), "{page} in {pages:?}");
    }
    for command in [
        &["ls"][..],
        &["cancel"],
        &["watch"],
        &["download"],
        &["queue", "add"],
        &["export", "start"],
        &["project", "rm"],
        &["share", "add"],
    ] {
        let help = cli
            .run(&[command, &["--help"]].concat())
            .await
            .expect_code(0);
        assert!(
            help.stdout.contains("--json") && help.stdout.contains("--token-file"),
            "{help}"
        );
    }
}
