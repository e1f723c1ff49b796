//! Cancels at every moment of an export, on both databases.

use serde_json::{Value, json};

use crate::support::export::{Job, everything, kinds, originals};
use crate::support::server::{Server, files_in};
use crate::support::sse::Sse;
use crate::support::ws::Socket;
use crate::support::{eventually, postgres};

/// One at a time. Answers do not wait for the disk, which has an archive to take meanwhile.
const ONE: [&str; 4] = [
    "--max-running-exports",
    "1",
    "--durability",
    "process-crash",
];

#[tokio::test]
async fn a_cancel_ends_what_has_not_ended_and_nothing_else() {
    cancelled(&Server::start(&ONE).await).await;
}

#[tokio::test]
async fn a_cancel_ends_what_has_not_ended_and_nothing_else_on_postgres() {
    cancelled(&postgres::server(&ONE).await).await;
}

#[tokio::test]
async fn an_export_is_cancelled_over_a_websocket() {
    over_a_socket(&Server::start(&ONE).await).await;
}

#[tokio::test]
async fn an_export_is_cancelled_over_a_websocket_on_postgres() {
    over_a_socket(&postgres::server(&ONE).await).await;
}

/// One that is under way, and one in another project that waits for it.
async fn two(server: &Server) -> (Job, Job) {
    let running = server.export("default", &originals()).await;
    server.exporting(&running, 1 << 20).await;
    let other = server.project("Other").await;
    let pairs = [("filename", "a.txt")];
    server.named(&other, &pairs, b"a").await;
    let waiting = server.export(&other, &everything()).await;
    let status = server.export_reaches(&waiting, "queued").await;
    assert_eq!(status["stage"], "queued", "{status}");
    (running, waiting)
}

async fn cancelled(server: &Server) {
    server.large(128).await;
    let (running, waiting) = two(server).await;
    let mut feed = Sse::open(server, "projectId=default", None).await;
    cancelled_before_its_turn(server, &waiting).await;
    expect_cancel(server, &running).await;
    // Nothing holds the next one up.
    let again = server.export("default", &originals()).await;
    let status = server.export_reaches(&running, "cancelled").await;
    assert_eq!(status["cancelReason"], "wrong project", "{status}");
    assert_eq!(server.archive_of(&running), None);
    let other = server.export(&waiting.project, &originals()).await;
    server.export_reaches(&again, "processing").await;
    expect_cancel(server, &again).await;
    server.export_reaches(&again, "cancelled").await;
    // It has the room of those that were cancelled.
    server.export_reaches(&other, "completed").await;
    expect_repeated(server, &running, "already_cancelled", "cancelled").await;
    let wanted = ["export.queued", "export.cancelling", "export.cancelled"];
    for job in [&running, &waiting, &again] {
        let told = server.told(job).await;
        assert_eq!(kinds(&told), wanted);
        for event in &told[1..] {
            let data = &event.json["data"];
            assert_eq!(data["reason"], "wrong project", "{data}");
        }
        let gone = server.send(job.download()).await;
        let gone = gone.expect_slug(410, "export-cancelled").json();
        assert_eq!(gone["reason"], "wrong project", "{gone}");
        let refused = server.send(job.token()).await;
        refused.expect_slug(410, "export-cancelled");
    }
    expect_silence_behind_cancels(server, &mut feed).await;
    assert_eq!(server.archives(), [server.archive_of(&other).expect("one")]);
    cancelled_too_late(server, &other).await;
}

/// No progress of what is cancelled, neither before nor after its end.
async fn expect_silence_behind_cancels(server: &Server, feed: &mut Sse) {
    let mut ended = Vec::new();
    for event in server.came(feed).await {
        let subject = event.subject().to_owned();
        match event.kind() {
            "export.cancelling" => ended.push(subject),
            "export.cancelled" => assert!(ended.contains(&subject), "{event:?}"),
            _ => assert!(!ended.contains(&subject), "{event:?} behind the cancel"),
        }
    }
    assert_eq!(ended.len(), 2);
}

async fn cancelled_before_its_turn(server: &Server, job: &Job) {
    expect_cancel(server, job).await;
    let status = server.export_reaches(job, "cancelled").await;
    for member in ["startedAt", "completedAt", "size", "expiresAt"] {
        assert_eq!(status[member], Value::Null, "{member} of {status}");
    }
    assert!(status["cancelledAt"].is_string(), "{status}");
    assert_eq!(status["downloadable"], false, "{status}");
}

/// It is for good at once, whether or not all is removed by then.
async fn expect_cancel(server: &Server, job: &Job) {
    let told = server.send(job.cancel()).await.expect(200).json();
    assert!(told["message"].is_string(), "{told}");
    let data = &told["data"];
    let outcome = data["outcome"].as_str().expect("an outcome");
    assert!(["cancelling", "cancelled"].contains(&outcome), "{told}");
    for (member, value) in [
        ("operation", json!("export")),
        ("id", json!(job.id)),
        ("state", json!(outcome)),
    ] {
        assert_eq!(data[member], value, "{member} of {told}");
    }
    assert!(data["cancelledAt"].is_string(), "{told}");
    assert!(data["releasedBytes"].is_u64(), "{told}");
}

async fn expect_repeated(server: &Server, job: &Job, outcome: &str, state: &str) {
    let before = server.export_reaches(job, state).await;
    for _ in 0..3 {
        let told = server.send(job.cancel()).await.expect(200).json();
        let data = &told["data"];
        assert_eq!(
            (&data["outcome"], &data["state"]),
            (&json!(outcome), &json!(state))
        );
        assert_eq!(data["cancelledAt"], before["cancelledAt"], "{told}");
    }
    assert_eq!(server.export_reaches(job, state).await, before);
}

/// What has ended in another way stays as it is.
async fn cancelled_too_late(server: &Server, completed: &Job) {
    let archive = server.send(completed.download()).await.expect(200).body;
    expect_repeated(server, completed, "already_completed", "completed").await;
    let again = server.send(completed.download()).await.expect(200).body;
    assert_eq!(again, archive);
    let wanted = ["export.queued", "export.completed"];
    assert_eq!(kinds(&server.told(completed).await), wanted);

    let project = server.project("Damaged").await;
    let pairs = [("filename", "a.tif")];
    let upload = server.named(&project, &pairs, &[1; 100_000]).await;
    let blobs = files_in(&server.data_dir().join("blobs")).into_iter();
    let is_its = |path: &std::path::PathBuf| path.to_string_lossy().contains(upload.id());
    let blob = blobs.into_iter().find(is_its).expect("a blob");
    std::fs::write(&blob, [1; 99_999]).expect("damage the blob");
    let failed = server.export(&project, &originals()).await;
    let status = server.export_reaches(&failed, "failed").await;
    let why = status["error"].as_str().expect("why");
    assert!(why.contains("could not make the archive"), "{status}");
    expect_repeated(server, &failed, "already_failed", "failed").await;
    let wanted = ["export.queued", "export.failed"];
    assert_eq!(kinds(&server.told(&failed).await), wanted);
    assert_eq!(server.archive_of(&failed), None);
    for request in [failed.download(), failed.token()] {
        server.send(request).await.expect_slug(410, "export-failed");
    }
}

async fn over_a_socket(server: &Server) {
    server.large(128).await;
    let (running, waiting) = two(server).await;
    let mut socket = Socket::open(server).await;
    for job in [&waiting, &running] {
        let cancel = json!({"op": "cancel", "operation": "export", "id": job.id,
                            "reason": "stop"});
        let told = socket.acked(cancel.clone()).await;
        let outcome = told["outcome"].as_str().expect("an outcome");
        assert!(["cancelling", "cancelled"].contains(&outcome), "{told}");
        assert_eq!(
            (&told["operation"], &told["id"]),
            (&json!("export"), &json!(job.id))
        );
        let status = server.export_reaches(job, "cancelled").await;
        assert_eq!(status["cancelReason"], "stop", "{status}");
        let told = socket.acked(cancel).await;
        assert_eq!(told["outcome"], "already_cancelled", "{told}");
        let wanted = ["export.queued", "export.cancelling", "export.cancelled"];
        assert_eq!(kinds(&server.told(job).await), wanted);
    }
    assert_eq!(server.archives(), Vec::<std::path::PathBuf>::new());
    for (id, slug) in [
        ("x", "validation-failed"),
        ("0c2662d1-024b-479a-abc2-fb1a7e5da6f7", "not-found"),
    ] {
        let cancel = json!({"op": "cancel", "operation": "export", "id": id});
        socket.refused(cancel, slug).await;
    }
}

/// However many ask, and whenever, there is one end, and it is a cancel.
#[tokio::test]
async fn many_cancels_at_once_are_one() {
    let server = Server::start(&[]).await;
    server.large(128).await;
    let job = server.export("default", &originals()).await;
    server.exporting(&job, 1 << 20).await;
    let cancels = (0..8).map(async |_| server.send(job.cancel()).await.expect(200).json());
    let told = futures_util::future::join_all(cancels).await;
    let outcome = |told: &Value| told["data"]["outcome"].as_str().map(str::to_owned);
    let outcomes: Vec<_> = told.iter().filter_map(outcome).collect();
    let known = ["cancelling", "cancelled", "already_cancelled"];
    assert!(
        outcomes.iter().all(|o| known.contains(&&**o)),
        "{outcomes:?}"
    );
    let at = &told[0]["data"]["cancelledAt"];
    assert!(told.iter().all(|told| told["data"]["cancelledAt"] == *at));
    server.export_reaches(&job, "cancelled").await;
    let wanted = ["export.queued", "export.cancelling", "export.cancelled"];
    assert_eq!(kinds(&server.told(&job).await), wanted);
    eventually("nothing is left", async || {
        server.archives().is_empty().then_some(())
    })
    .await;
}
