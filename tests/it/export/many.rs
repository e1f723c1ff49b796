//! Many exports at once.

use futures_util::future::join_all;

use crate::support::export::{Job, originals};
use crate::support::server::Server;
use crate::support::{eventually, rounds};

/// What makes room on the disk must not touch what is made meanwhile.
#[tokio::test]
async fn archives_that_expire_take_no_others_with_them() {
    const PROJECTS: usize = 6;
    let flags = ["--archive-keep", "1s", "--max-running-exports", "4"];
    let server = Server::start(&flags).await;
    let clients = (0..PROJECTS).map(async |number| {
        let project = server.project(&format!("Project {number}")).await;
        for _ in 0..20 {
            server.named(&project, &[], b"pixels").await;
        }
        let mut watched = Vec::new();
        for _ in 0..rounds(40) {
            let job = server.export(&project, &originals()).await;
            server.export_reaches(&job, "completed").await;
            watched.push(job);
            watched = still_kept(&server, watched).await;
        }
        while !watched.is_empty() {
            watched = still_kept(&server, watched).await;
        }
    });
    join_all(clients).await;
    eventually("all are removed", async || {
        server.archives().is_empty().then_some(())
    })
    .await;
}

/// Those whose archives can be downloaded, and are there.
async fn still_kept(server: &Server, jobs: Vec<Job>) -> Vec<Job> {
    let mut kept = Vec::new();
    for job in jobs {
        let is_there = server.archive_of(&job).is_some();
        let status = server.send(job.status()).await.expect(200).json();
        if status["downloadable"] == true {
            assert!(is_there, "lost: {status}\n{}", server.stderr());
            kept.push(job);
        }
    }
    kept
}
