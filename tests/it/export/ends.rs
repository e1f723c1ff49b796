//! What is removed while it is exported, archives that expire, and what is found on the disk.

use std::path::{Path, PathBuf};

use serde_json::json;
use uuid::Uuid;

use crate::support::export::{Archive, Job, everything, kinds, originals, start, tested};
use crate::support::queue::{call, delete, get};
use crate::support::server::{Outcome, Server, run};
use crate::support::tus;
use crate::support::wire::Req;
use crate::support::ws::Socket;
use crate::support::{PATIENCE, content, eventually};

/// Enough that an export is caught while it copies this.
const LARGE_BYTES: usize = 200 << 20;

/// So that a deletion does not wait for the disk, which has an archive to take meanwhile.
const QUICK: [&str; 2] = ["--durability", "process-crash"];

#[tokio::test]
async fn what_is_deleted_before_its_turn_is_listed_as_missing() {
    let server = Server::start(&QUICK).await;
    // The large one comes first.
    server.large(40).await;
    let (gone, kept) = (server.image().await, server.image().await);
    let job = server.export("default", &everything()).await;
    server.exporting(&job, 1 << 20).await;
    server.send(tus::delete(&gone)).await.expect(204);
    let status = server.export_reaches(&job, "completed").await;
    let archive = server.send(job.download()).await.expect(200).body;
    let archive = Archive::open(&archive).await;
    archive.expect_manifest();
    let manifest = archive.manifest();
    assert_eq!(manifest["missing"].as_array().map(Vec::len), Some(1));
    let missing = &manifest["missing"][0];
    assert_eq!(missing["sourceId"], gone.id(), "{missing}");
    assert!(missing["path"].is_string(), "{missing}");
    assert!(missing["reason"].is_string(), "{missing}");
    let path = missing["path"].as_str().expect("a path");
    assert!(!archive.paths().contains(&path), "{:?}", archive.paths());
    assert_eq!(archive.content(&archive.original(&kept)), b"pixels");
    for warnings in [&manifest["warnings"], &status["warnings"]] {
        let text = warnings.to_string();
        assert!(text.contains("removed meanwhile: 1."), "{text}");
    }
    let originals = archive.paths();
    let originals = originals.iter().filter(|path| path.starts_with("images/"));
    assert_eq!(originals.count(), 2);
}

#[tokio::test]
async fn what_is_deleted_in_the_middle_of_its_copy_leaves_a_sound_archive() {
    let server = Server::start(&QUICK).await;
    let before = server.image().await;
    let gone = server.complete(&content(1, LARGE_BYTES)).await;
    let behind = server.image().await;
    let mut conn = server.connect().await;
    let job = server.export("default", &originals()).await;
    server.exporting(&job, 1 << 20).await;
    // Stopped, so that the copy is not over before the deletion has come.
    server.sigstop();
    conn.send_request(&tus::delete(&gone)).await;
    server.sigcont();
    conn.answer().await.expect(204);
    let status = server.export_reaches(&job, "completed").await;
    let size = status["size"].as_u64().expect("a size");
    assert!(size < 100_000, "what was begun is taken back: {status}");
    let archive = server.send(job.download()).await.expect(200).body;
    let archive = Archive::open(&archive).await;
    archive.expect_manifest();
    archive.expect_originals(&[(&before, b"pixels"), (&behind, b"pixels")]);
    let missing = &archive.manifest()["missing"];
    assert_eq!(missing[0]["sourceId"], gone.id(), "{missing}");
    assert_eq!(missing.as_array().map(Vec::len), Some(1), "{missing}");
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("removed meanwhile: 1."), "{warnings}");
}

#[tokio::test]
async fn what_is_deleted_before_it_has_a_place_is_listed_as_missing() {
    let server = Server::start(&["--max-running-exports", "1"]).await;
    let other = server.project("Other").await;
    let (gone, kept) = (
        server.named(&other, &[("filename", "a")], b"a").await,
        server.named(&other, &[("filename", "b")], b"b").await,
    );
    server.large(40).await;
    let running = server.export("default", &originals()).await;
    server.exporting(&running, 1 << 20).await;
    let chosen = json!({"selectedImageIds": [gone.id(), kept.id()]});
    let waiting = server.export(&other, &json!({ "options": chosen })).await;
    server.send(tus::delete(&gone)).await.expect(204);
    server.export_reaches(&waiting, "queued").await;
    server.send(running.cancel()).await.expect(200);
    server.export_reaches(&waiting, "completed").await;
    let archive = server.send(waiting.download()).await.expect(200).body;
    let archive = Archive::open(&archive).await;
    archive.expect_manifest();
    archive.expect_originals(&[(&kept, b"b")]);
    let missing = &archive.manifest()["missing"];
    assert_eq!(missing.as_array().map(Vec::len), Some(1), "{missing}");
    assert_eq!(missing[0]["sourceId"], gone.id(), "{missing}");
    assert_eq!(missing[0]["path"], serde_json::Value::Null, "{missing}");
}

#[tokio::test]
async fn exports_go_with_their_project() {
    let server = Server::start(&["--max-running-exports", "1"]).await;
    let project = server.project("Going").await;
    server
        .named(&project, &[("filename", "a.tif")], b"pixels")
        .await;
    let done = server.export(&project, &originals()).await;
    server.export_reaches(&done, "completed").await;
    let large = content(1, LARGE_BYTES);
    server.named(&project, &[], &large).await;
    let running = server.export(&project, &originals()).await;
    server.exporting(&running, 1 << 20).await;
    let other = server.export("default", &originals()).await;
    let going = delete(&format!("/api/projects/{project}"));
    let answer = server.send(going).await;
    assert!(matches!(answer.status, 200 | 202), "{answer}");
    for job in [&done, &running] {
        for request in [job.status(), job.cancel(), job.download(), job.token()] {
            server.send(request).await.expect_slug(404, "not-found");
        }
    }
    server.send(start(&project, &originals())).await.expect(404);
    // It has the room of the one that is gone.
    server.export_reaches(&other, "completed").await;
    eventually("nothing of the project is left", async || {
        let left = [&done, &running].map(|job| server.archive_of(job));
        (left == [None, None]).then_some(())
    })
    .await;
    server.send(other.download()).await.expect(200);
}

#[tokio::test]
async fn an_archive_is_kept_for_as_long_as_archives_are() {
    let mut server = Server::start(&["--archive-keep", "1s"]).await;
    server.image().await;
    let job = server.export("default", &originals()).await;
    expect_expired(&server, &job).await;
    // It outlasts the server.
    let job = server.export("default", &originals()).await;
    server.export_reaches(&job, "completed").await;
    server.kill9().await;
    server.restart(&["--archive-keep", "1d"]).await;
    expect_expired(&server, &job).await;
    let kept = server.export("default", &originals()).await;
    server.export_reaches(&kept, "completed").await;
    server.send(kept.download()).await.expect(200);
}

async fn expect_expired(server: &Server, job: &Job) {
    eventually("the archive is gone", async || {
        let completed = server.send(job.status()).await.expect(200).json();
        let is_gone = completed["state"] == "completed" && server.archive_of(job).is_none();
        is_gone.then_some(())
    })
    .await;
    for request in [job.download(), job.token()] {
        server
            .send(request)
            .await
            .expect_slug(410, "export-expired");
    }
    let status = server.export_reaches(job, "completed").await;
    assert_eq!(status["downloadable"], false, "{status}");
    let told = server.send(job.cancel()).await.expect(200).json();
    assert_eq!(told["data"]["outcome"], "already_completed", "{told}");
    let wanted = ["export.queued", "export.completed"];
    assert_eq!(kinds(&server.told(job).await), wanted);
}

#[tokio::test]
async fn of_one_user_the_newest_archives_of_a_project_are_kept() {
    let server = Server::start(&QUICK).await;
    server.image().await;
    let mut jobs = Vec::new();
    for _ in 0..12 {
        let job = server.export("default", &originals()).await;
        server.export_reaches(&job, "completed").await;
        jobs.push(job);
    }
    for old in jobs.drain(..2) {
        server
            .send(old.download())
            .await
            .expect_slug(410, "export-expired");
    }
    for job in &jobs {
        server.send(job.download()).await.expect(200);
    }
    let removed = async || (server.archives().len() == jobs.len()).then_some(());
    eventually("what has expired is removed", removed).await;
}

#[tokio::test]
async fn what_has_ended_long_ago_is_forgotten() {
    let flags = ["--archive-keep", "1s", "--export-keep", "1s"];
    let mut server = Server::start(&flags).await;
    server.image().await;
    let job = server.export("default", &originals()).await;
    expect_expired(&server, &job).await;
    // It is looked for when the server starts, and once a minute.
    eventually("it is forgotten", async || {
        server.sigterm();
        server.exited_within(PATIENCE).await;
        server.restart(&flags).await;
        let answer = server.send(job.status()).await;
        (answer.status == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_exports_there_are_no_routes() {
    let server = Server::start(&["--without", "export"]).await;
    server.image().await;
    let job = Job {
        project: "default".into(),
        id: Uuid::new_v4().to_string(),
    };
    let history = get("/api/projects/default/export/history");
    let start = start("default", &originals());
    for request in [
        start,
        history,
        job.status(),
        job.cancel(),
        job.download(),
        job.token(),
    ] {
        server.send(request).await.expect_slug(404, "not-found");
    }
    let mut socket = Socket::open(&server).await;
    let cancel = json!({"op": "cancel", "operation": "export", "id": job.id});
    socket.refused(cancel, "validation-failed").await;
    let metrics = server.send(get("/metrics")).await.expect(200).body;
    let metrics = String::from_utf8(metrics).expect("UTF-8");
    assert!(!metrics.contains("export"), "{metrics}");
}

async fn fsck(data: &Path, more: &[&str]) -> Outcome {
    let data = data.to_str().expect("UTF-8");
    run(&[&["fsck", "--data-dir", data], more].concat()).await
}

#[tokio::test]
async fn fsck_finds_archives_without_exports_and_exports_without_archives() {
    let mut server = Server::start(&[]).await;
    server.image().await;
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let job = server.export("default", &originals()).await;
        server.export_reaches(&job, "completed").await;
        jobs.push(job);
    }
    server.sigterm();
    server.exited_within(PATIENCE).await;
    let sound = fsck(server.data_dir(), &[]).await;
    assert!(sound.status.success(), "{sound}");

    let [cut, lost, stays] = &jobs[..] else {
        panic!("three");
    };
    let path = |job: &Job| server.archive_of(job).expect("an archive");
    let [of_cut, of_lost] =
        [cut, lost].map(|job| std::fs::metadata(path(job)).expect("a file").len());
    let file = std::fs::OpenOptions::new().write(true).open(path(cut));
    let file = file.expect("open");
    file.set_len(of_cut - 1).expect("cut it");
    std::fs::remove_file(path(lost)).expect("lose it");
    // Its directory is that of its first digits.
    let stray = format!("{}{}", &stays.id[..8], &Uuid::new_v4().to_string()[8..]);
    let shard = if stays.id.starts_with("00") {
        "01"
    } else {
        "00"
    };
    let elsewhere = server.data_dir().join("archives").join(shard);
    let orphans = [
        path(stays).with_file_name(&stray),
        path(stays).with_file_name("notes.txt"),
        path(stays).with_file_name(format!("{}.staged", stays.id)),
        elsewhere.join(&stays.id),
    ];
    for orphan in &orphans {
        std::fs::write(orphan, b"nobody's").expect("an orphan");
    }
    for repair in [&[][..], &["--repair"], &[]] {
        let found = fsck(server.data_dir(), repair).await;
        let text = found.text();
        // What is damaged stays so, and is said each time.
        for (job, left, of) in [(cut, of_cut - 1, of_cut), (lost, 0, of_lost)] {
            let words = format!("the archive of {} has {left} bytes where {of}", job.id);
            assert!(text.contains(&words), "{found}");
        }
        let sound = format!("the archive of {} ", stays.id);
        assert!(!text.contains(&sound), "{found}");
        let is_repaired = orphans.iter().all(|orphan| !orphan.exists());
        assert_eq!(text.contains(&stray), !is_repaired || repair.len() == 1);
        assert_eq!(found.status.success(), repair.len() == 1, "{found}");
    }
    for orphan in orphans {
        assert!(!orphan.exists(), "{}", orphan.display());
    }

    server.restart(&[]).await;
    let whole = server.send(stays.download()).await.expect(200).body;
    std::fs::write(path_of(&server, "whole.zip"), whole).expect("write");
    tested(&path_of(&server, "whole.zip")).await;
    for job in [cut, lost] {
        let broken = server.send(job.download()).await;
        broken.expect_slug(410, "export-expired");
    }
}

fn path_of(server: &Server, name: &str) -> PathBuf {
    server.data_dir().join(name)
}

#[tokio::test]
async fn an_export_needs_nobody_who_waits_for_it() {
    let server = Server::start(&[]).await;
    let abandoned = call("POST", "/api/projects/default/export", &originals());
    let mut conn = server.connect().await;
    conn.send_request(&abandoned).await;
    drop(conn);
    let history = "/api/projects/default/export/history";
    let id = eventually("it is known", async || {
        let listed = server.send(Req::new("GET", history)).await.expect(200);
        Some(listed.json()["data"][0]["id"].as_str()?.to_owned())
    })
    .await;
    let job = Job {
        project: "default".into(),
        id,
    };
    server.export_reaches(&job, "completed").await;
    server.send(job.download()).await.expect(200);
}
