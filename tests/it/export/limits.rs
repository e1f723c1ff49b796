//! What there is no room for, and how much room an export takes.

use crate::support::export::{everything, kinds, originals, start, tested};
use crate::support::server::Server;
use crate::support::{content, eventually, from_env, random, rounds};

const MIB: u64 = 1 << 20;

/// Little is sent, and kept as often as it takes.
const PART_MIB: u64 = 64;

#[tokio::test]
async fn an_archive_that_does_not_fit_has_failed_and_leaves_nothing() {
    let server = Server::start(&[]).await;
    server.large(4).await;
    // More than the database has.
    server.limit_file_size(2 * MIB);
    let job = server.export("default", &originals()).await;
    let status = server.export_reaches(&job, "failed").await;
    let why = status["error"].as_str().expect("why");
    assert!(why.contains("No space is left"), "{status}");
    assert_eq!(server.archive_of(&job), None);
    let wanted = ["export.queued", "export.failed"];
    assert_eq!(kinds(&server.told(&job).await), wanted);
    let data = &server.told(&job).await[1].json["data"];
    assert_eq!(data["message"], why, "{data}");
    server
        .send(job.download())
        .await
        .expect_slug(410, "export-failed");
    // Another is tried, and not refused.
    server
        .send(start("default", &originals()))
        .await
        .expect(200);
}

/// `TIDEGATE_TEST_UPLOAD_MIB=5000` makes it larger than the numbers of the first ZIP files.
#[tokio::test]
async fn memory_does_not_grow_with_what_is_exported() {
    let mib = from_env("TIDEGATE_TEST_UPLOAD_MIB").unwrap_or(256);
    let server = Server::start(&["--durability", "process-crash"]).await;
    // What it takes to export anything.
    server.exported("default", &everything()).await;
    let part = content(1, usize::try_from(PART_MIB * MIB).expect("it fits"));
    let part = server.complete_partial(&part).await;
    let parts = usize::try_from(mib / PART_MIB).expect("some");
    server.concatenate(&vec![&part; parts]).await;
    server.image().await;
    let before = server.resident_bytes();
    let job = server.export("default", &originals()).await;
    let mut most = before;
    let mut seen = 0;
    loop {
        most = most.max(server.resident_bytes());
        let status = server.send(job.status()).await.expect(200).json();
        let percent = status["progress"].as_u64().expect("a number");
        assert!(percent >= seen, "{seen}, then {status}");
        seen = percent;
        if status["state"] == "completed" {
            break;
        }
        assert_eq!(status["error"], serde_json::Value::Null, "{status}");
    }
    let archive = server.archive_of(&job).expect("an archive");
    let length = archive.metadata().expect("a file").len();
    assert!(length > mib / PART_MIB * PART_MIB * MIB, "{length}");
    tested(&archive).await;
    let grown = most - before;
    println!("{mib} MiB: from {before} by {grown} bytes");
    assert!(grown < 64 * MIB, "grown from {before} by {grown} bytes");
}

/// Whoever is cancelled gives everything back, wherever he was.
#[tokio::test]
async fn cancels_at_random_moments_cost_nothing_and_are_kept() {
    let mut random = random("cancels_at_random_moments_cost_nothing_and_are_kept");
    let server = Server::start(&["--durability", "process-crash"]).await;
    for number in 0..60 {
        let bytes = content(number, 2000);
        server.complete(&bytes).await;
    }
    server.exported("default", &everything()).await;
    let before = server.descriptors_beside_database();
    let mut completed = 1;
    for _ in 0..rounds(60) {
        let job = server.export("default", &everything()).await;
        for _ in 0..random.usize(0..25) {
            server.send(job.status()).await.expect(200);
        }
        let told = server.send(job.cancel()).await.expect(200).json();
        match told["data"]["outcome"].as_str() {
            Some("cancelled" | "cancelling") => {
                server.export_reaches(&job, "cancelled").await;
                assert_eq!(server.archive_of(&job), None);
                server.send(job.download()).await.expect(410);
            }
            Some("already_completed") => {
                completed += 1;
                let status = server.export_reaches(&job, "completed").await;
                let archive = server.send(job.download()).await.expect(200).body;
                assert_eq!(status["size"], archive.len());
            }
            _ => panic!("{told}"),
        }
        assert_eq!(server.archives().len(), completed);
    }
    println!("{completed} were completed");
    eventually("all files are closed", async || {
        (server.descriptors_beside_database() <= before).then_some(())
    })
    .await;
}
