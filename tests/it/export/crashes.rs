//! Servers that end while they export, and what is left of it.

use std::path::PathBuf;

use serde_json::json;

use crate::crash::kill_during;
use crate::support::export::{Archive, Job, kinds, originals, start, tested};
use crate::support::server::{Server, temp_dir};
use crate::support::tus::Upload;
use crate::support::{PATIENCE, content, eventually, random, rounds};

/// How often an export is begun.
const ATTEMPTS: usize = 3;

#[tokio::test]
async fn an_export_outlasts_a_server_that_is_stopped() {
    outlasts(async |server| {
        server.sigterm();
        assert!(server.exited_within(PATIENCE).await.success());
    })
    .await;
}

#[tokio::test]
async fn an_export_outlasts_a_server_that_is_killed() {
    outlasts(async |server| server.kill9().await).await;
}

async fn outlasts(stop: impl AsyncFn(&Server)) {
    let mut server = Server::start(&[]).await;
    let image = server.image().await;
    server.large(24).await;
    let job = server.export("default", &originals()).await;
    server.exporting(&job, 1 << 20).await;
    stop(&server).await;
    server.restart(&[]).await;
    let status = server.export_reaches(&job, "completed").await;
    let archive = server.send(job.download()).await.expect(200).body;
    assert_eq!(status["size"], archive.len());
    let archive = Archive::open(&archive).await;
    archive.expect_manifest();
    assert_eq!(archive.content(&archive.original(&image)), b"pixels");
    let wanted = ["export.queued", "export.queued", "export.completed"];
    assert_eq!(kinds(&server.told(&job).await), wanted);
}

#[tokio::test]
async fn an_export_that_is_interrupted_each_time_has_failed_in_the_end() {
    let mut server = Server::start(&[]).await;
    server.large(128).await;
    let job = server.export("default", &originals()).await;
    for end in 0..=ATTEMPTS {
        server.export_reaches(&job, "processing").await;
        server.exporting(&job, 1 << 20).await;
        match end {
            // It stops in time, which does not count.
            1 => server.sigterm(),
            _ => server.kill9().await,
        }
        server.exited_within(PATIENCE).await;
        if end == 1 {
            assert_eq!(server.archive_of(&job), None);
        }
        server.restart(&[]).await;
    }
    let status = server.export_reaches(&job, "failed").await;
    let why = status["error"].as_str().expect("why");
    assert!(why.contains("interrupted each time"), "{status}");
    assert_eq!(server.archive_of(&job), None);
    let mut wanted = vec!["export.queued"; 1 + ATTEMPTS];
    wanted.push("export.failed");
    assert_eq!(kinds(&server.told(&job).await), wanted);
    // The next one is another.
    let next = server.export("default", &originals()).await;
    server.send(next.cancel()).await.expect(200);
}

#[tokio::test]
async fn what_waits_for_its_turn_outlasts_a_killed_server() {
    let flags = ["--max-running-exports", "1"];
    let mut server = Server::start(&flags).await;
    server.large(64).await;
    let running = server.export("default", &originals()).await;
    server.exporting(&running, 1 << 20).await;
    let other = server.project("Other").await;
    server.named(&other, &[("filename", "a")], b"a").await;
    let waiting = server.export(&other, &originals()).await;
    let cancelled = server.project("Cancelled").await;
    let cancelled = server.export(&cancelled, &originals()).await;
    server.send(cancelled.cancel()).await.expect(200);
    server.kill9().await;
    server.restart(&flags).await;
    server.export_reaches(&cancelled, "cancelled").await;
    let told = server.send(running.cancel()).await.expect(200).json();
    let outcome = told["data"]["outcome"].as_str().expect("an outcome");
    assert!(["cancelling", "cancelled"].contains(&outcome), "{told}");
    server.export_reaches(&running, "cancelled").await;
    server.export_reaches(&waiting, "completed").await;
    let wanted = ["export.queued", "export.completed"];
    assert_eq!(kinds(&server.told(&waiting).await), wanted);
}

/// What a client knows of one export that it has started before the server was killed.
struct Known {
    /// `None`: it was never answered.
    job: Option<Job>,
    /// A cancel was answered, so it is for good.
    is_cancelled: bool,
    /// It was seen so.
    was_completed: bool,
}

/// Small ones, so that kills fall between them, and one that takes a while.
async fn fill(server: &Server) -> Vec<(Upload, Vec<u8>)> {
    let mut images = Vec::new();
    for number in 0..40 {
        let bytes = content(number, 1000);
        images.push((server.complete(&bytes).await, bytes));
        if number == 20 {
            let bytes = content(99, 2 << 20);
            images.push((server.complete(&bytes).await, bytes));
        }
    }
    images
}

/// Starts an export, and perhaps cancels it after having looked so many times.
async fn start_and_cancel(server: &Server, looks: Option<usize>) -> Known {
    let mut known = Known {
        job: None,
        is_cancelled: false,
        was_completed: false,
    };
    let Ok(answer) = server.try_send(start("default", &originals())).await else {
        return known;
    };
    let id = answer.expect(200).json()["jobId"].clone();
    let job = Job {
        project: "default".into(),
        id: id.as_str().expect("a job").to_owned(),
    };
    known.job = Some(job.clone());
    for look in 0.. {
        if looks == Some(look) {
            if let Ok(told) = server.try_send(job.cancel()).await {
                let told = told.expect(200).json();
                let outcome = told["data"]["outcome"].as_str().expect("an outcome");
                known.is_cancelled = ["cancelling", "cancelled"].contains(&outcome);
                known.was_completed = outcome == "already_completed";
            }
            return known;
        }
        match server.try_send(job.status()).await {
            Ok(status) => match status.expect(200).json()["state"].as_str() {
                Some("completed") => {
                    known.was_completed = true;
                    return known;
                }
                Some("queued" | "processing") => {}
                other => panic!("{other:?}"),
            },
            Err(_) => return known,
        }
    }
    known
}

/// Every export that the server knows, once nothing happens any more.
async fn settled(server: &Server) -> Vec<(Job, String, u64)> {
    let history = "/api/projects/default/export/history?limit=100";
    eventually("all have ended", async || {
        let listed = crate::support::queue::get(history);
        let listed = server.send(listed).await.expect(200).json();
        let listed = listed["data"].as_array().expect("a list").clone();
        let ended = ["completed", "failed", "cancelled"];
        let has_ended = |job: &serde_json::Value| {
            let state = job["state"].as_str().expect("a state");
            ended.contains(&state)
        };
        listed.iter().all(has_ended).then(|| {
            let of = |job: &serde_json::Value| {
                let id = job["id"].as_str().expect("an id").to_owned();
                let state = job["state"].as_str().expect("a state").to_owned();
                let project = "default".into();
                (
                    Job { project, id },
                    state,
                    job["size"].as_u64().unwrap_or(0),
                )
            };
            listed.iter().map(of).collect()
        })
    })
    .await
}

async fn expect_ended(server: &Server, job: &Job, state: &str, size: u64, is_tested: bool) {
    let told = server.told(job).await;
    let told = kinds(&told);
    let ends = ["export.completed", "export.failed", "export.cancelled"];
    let ended: Vec<_> = told.iter().filter(|kind| ends.contains(*kind)).collect();
    assert_eq!(ended, [&&*format!("export.{state}")], "{told:?}");
    assert_eq!(told.last(), Some(ended[0]), "{told:?}");
    if state != "completed" {
        assert_eq!(server.archive_of(job), None, "of one that is {state}");
        return;
    }
    let archive = server.send(job.download()).await.expect(200).body;
    assert_eq!(archive.len() as u64, size);
    if is_tested {
        let directory = temp_dir();
        let file: PathBuf = directory.path().join("archive.zip");
        std::fs::write(&file, archive).expect("write the archive");
        tested(&file).await;
    }
}

#[tokio::test]
async fn killed_over_exports_leaves_whole_archives_or_none() {
    let mut random = random("killed_over_exports_leaves_whole_archives_or_none");
    let mut server = Server::start(&[]).await;
    let images = fill(&server).await;
    let mut seen: Vec<String> = Vec::new();
    let mut ends = std::collections::BTreeMap::new();
    for _ in 0..rounds(40) {
        let delay = random.u64(0..250_000);
        let looks = random.bool().then(|| random.usize(0..12));
        let known = kill_during(&mut server, delay, &[], async |server| {
            start_and_cancel(server, looks).await
        })
        .await;
        for (job, state, size) in settled(&server).await {
            if seen.contains(&job.id) {
                continue;
            }
            seen.push(job.id.clone());
            *ends.entry(state.clone()).or_insert(0) += 1;
            expect_ended(&server, &job, &state, size, true).await;
            if known.job == Some(job) {
                let wanted = [
                    (known.is_cancelled, "cancelled"),
                    (known.was_completed, "completed"),
                ];
                for (_, wanted) in wanted.iter().filter(|(is_known, _)| *is_known) {
                    assert_eq!(state, *wanted);
                }
            }
        }
        // Past ten, the oldest ones expire.
        let completed = *ends.get("completed").unwrap_or(&0);
        let kept = server.archives().len();
        assert!(
            (completed.min(10)..=completed).contains(&kept),
            "{kept} of {ends:?}"
        );
    }
    println!("{ends:?}");
    // One of them in full.
    let (_, archive) = server.exported("default", &json!({"options": {}})).await;
    let wanted: Vec<_> = images.iter().map(|(u, b)| (u, &b[..])).collect();
    archive.expect_originals(&wanted);
}
