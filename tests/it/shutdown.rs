//! SIGTERM and SIGINT: what arrived is kept, the sender is told to come back, the exit is clean.

use std::cell::Cell;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::Instant;

use crate::support::h2c::H2;
use crate::support::server::Server;
use crate::support::tus::{self, Upload, checksum};
use crate::support::{assert_same_bytes, content, random};

const PART_BYTES: usize = 40_000;
const WHOLE_BYTES: usize = 100_000;

/// The default grace, and what a busy machine may add to it.
const GRACE: Duration = Duration::from_secs(15);

/// When there is nothing to wait for.
const PROMPTLY: Duration = Duration::from_secs(5);

/// No checkpoint helps: what is kept was kept by the shutdown.
const NO_CHECKPOINTS: [&str; 2] = ["--checkpoint-interval", "1h"];

#[tokio::test]
async fn sigterm_in_mid_patch_is_503_and_keeps_the_bytes() {
    let mut server = Server::start(&NO_CHECKPOINTS).await;
    let whole = content(10, WHOLE_BYTES);
    let upload = server.create(whole.len() as u64).await;
    let mut conn = server.connect().await;
    conn.send_head_and_wait(tus::patch(&upload, 0).declare(whole.len() as u64))
        .await;
    conn.send(&whole[..PART_BYTES]).await;
    server.quiesce().await;
    server.sigterm();
    let answer = conn.answer().await.expect_problem(503);
    let seconds = answer.field("Retry-After").parse::<u64>();
    assert!(
        seconds.is_ok(),
        "Retry-After is not a number of seconds:\n{answer}"
    );
    assert!(
        answer.list("Connection").contains(&"close".to_owned()),
        "{answer}"
    );
    drop(conn);
    let status = server.exited_within(GRACE).await;
    assert!(status.success(), "{status}");
    server.restart(&[]).await;
    server
        .expect_resumable(&upload, PART_BYTES as u64, &whole)
        .await;
}

#[tokio::test]
async fn sigint_in_mid_patch_over_http2_is_503_and_keeps_the_bytes() {
    let mut server = Server::start(&NO_CHECKPOINTS).await;
    let whole = content(11, WHOLE_BYTES);
    let upload = server.create(whole.len() as u64).await;
    let mut h2 = H2::open(server.addr()).await;
    let mut exchange = h2
        .start(&tus::patch(&upload, 0).declare(whole.len() as u64))
        .await;
    exchange.send(&whole[..PART_BYTES]).await;
    h2.settle().await;
    server.quiesce().await;
    server.sigint();
    exchange
        .answer()
        .await
        .expect_problem(503)
        .field("Retry-After");
    drop(h2);
    let status = server.exited_within(GRACE).await;
    assert!(status.success(), "{status}");
    server.restart(&[]).await;
    server
        .expect_resumable(&upload, PART_BYTES as u64, &whole)
        .await;
}

#[tokio::test]
async fn sigterm_in_mid_patch_with_a_checksum_keeps_nothing_of_it() {
    let mut server = Server::start(&[]).await;
    let whole = content(12, WHOLE_BYTES);
    let upload = server.create(whole.len() as u64).await;
    server.append(&upload, 0, &whole[..10]).await;
    let patch = tus::patch(&upload, 10).declare(whole.len() as u64 - 10);
    let patch = patch.header("Upload-Checksum", checksum("sha1", &whole[10..]));
    let mut conn = server.connect().await;
    conn.send_head_and_wait(patch).await;
    conn.send(&whole[10..PART_BYTES]).await;
    server.quiesce().await;
    server.sigterm();
    conn.answer().await.expect_problem(503);
    drop(conn);
    assert!(server.exited_within(GRACE).await.success());
    server.restart(&[]).await;
    server.expect_resumable(&upload, 10, &whole).await;
}

#[tokio::test]
async fn an_idle_server_ends_at_once() {
    let server = Server::start(&["--shutdown-grace", "1h"]).await;
    server.complete(b"hello").await;
    server.sigterm();
    let status = server.exited_within(PROMPTLY).await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn idle_connections_do_not_hold_the_shutdown_up() {
    let server = Server::start(&["--shutdown-grace", "1h"]).await;
    let _never_spoke = server.connect().await;
    let mut kept_alive = server.connect().await;
    kept_alive.exchange(&tus::create(5)).await.expect(201);
    let mut h2 = H2::open(server.addr()).await;
    h2.send(&tus::create(5)).await.expect(201);
    server.sigterm();
    let status = server.exited_within(PROMPTLY).await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_client_that_never_reads_does_not_hold_the_shutdown_past_its_grace() {
    let mut server = Server::start(&["--shutdown-grace", "2s"]).await;
    let whole = content(13, WHOLE_BYTES);
    let upload = server.create(whole.len() as u64).await;
    let mut conn = server.connect().await;
    conn.send_head_and_wait(tus::patch(&upload, 0).declare(whole.len() as u64))
        .await;
    conn.send(&whole[..PART_BYTES]).await;
    server.quiesce().await;
    server.sigterm();
    let status = server.exited_within(Duration::from_secs(8)).await;
    assert!(status.success(), "{status}");
    drop(conn);
    server.restart(&[]).await;
    server
        .expect_resumable(&upload, PART_BYTES as u64, &whole)
        .await;
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() {
    // The body after the answer would be drained for an hour.
    let patient = [
        "--shutdown-grace",
        "1h",
        "--drain-idle",
        "1h",
        "--drain-time",
        "1h",
    ];
    let mut server = Server::start(&patient).await;
    let whole = content(14, WHOLE_BYTES);
    let upload = server.create(whole.len() as u64).await;
    let acked = server.append(&upload, 0, &whole[..1000]).await;
    let mut conn = server.connect().await;
    conn.send_head_and_wait(tus::patch(&upload, acked).declare(whole.len() as u64 - acked))
        .await;
    conn.send(&whole[1000..PART_BYTES]).await;
    server.quiesce().await;
    server.sigterm();
    conn.answer().await.expect_problem(503);
    server.sigterm();
    server.exited_within(PROMPTLY).await;
    server.restart(&[]).await;
    let offset = server.offset(&upload).await;
    assert!(
        offset >= acked,
        "offset {offset} after {acked} was acknowledged"
    );
    server.expect_resumable(&upload, offset, &whole).await;
}

/// One client of the crowd: appends pieces until the server goes, and tells what was acknowledged.
async fn append_until_refused(
    server: &Server,
    upload: &Upload,
    whole: &[u8],
    pieces: &Cell<u32>,
    random: &mut fastrand::Rng,
) -> u64 {
    let mut acked = 0;
    while acked < whole.len() {
        let end = (acked + random.usize(1..64_000)).min(whole.len());
        let patch = tus::patch(upload, acked as u64).body(&whole[acked..end]);
        let Ok(answer) = server.try_send(patch).await else {
            break;
        };
        if answer.status != 204 {
            answer.expect_problem(503);
            break;
        }
        acked = end;
        pieces.set(pieces.get() + 1);
    }
    acked as u64
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_a_shutdown_under_load() {
    const CLIENTS: u64 = 16;
    const PIECES_BEFORE_THE_END: u32 = 100;
    let mut random = random("nothing_acknowledged_is_lost_by_a_shutdown_under_load");
    let mut server = Server::start(&[]).await;
    let mut uploads = Vec::new();
    for client in 0..CLIENTS {
        let whole = content(client, 4 << 20);
        uploads.push((
            server.create(whole.len() as u64).await,
            whole,
            random.fork(),
        ));
    }
    let pieces = Cell::new(0);
    let crowd = join_all(uploads.iter_mut().map(|(upload, whole, random)| {
        append_until_refused(&server, upload, whole, &pieces, random)
    }));
    let end = async {
        crate::support::eventually("the crowd is at work", async || {
            (pieces.get() >= PIECES_BEFORE_THE_END).then_some(())
        })
        .await;
        server.sigterm();
    };
    let (acked, ()) = tokio::join!(crowd, end);
    let status = server.exited_within(GRACE).await;
    assert!(status.success(), "{status}");
    server.restart(&[]).await;
    for ((upload, whole, _), acked) in uploads.iter().zip(acked) {
        let offset = server.offset(upload).await;
        assert!(
            offset >= acked,
            "offset {offset} after {acked} was acknowledged"
        );
        let kept = usize::try_from(offset).expect("it fits into memory");
        server.append(upload, offset, &whole[kept..]).await;
        assert_same_bytes(
            &server.download(upload).await,
            whole,
            "an upload of the crowd",
        );
    }
}

/// Whoever has read the line may end the server.
#[tokio::test]
async fn sigterm_right_after_the_line_is_a_clean_end() {
    for _ in 0..50 {
        let server = Server::start(&[]).await;
        server.sigterm();
        let status = server.exited_within(PROMPTLY).await;
        assert!(status.success(), "{status}");
    }
}

/// A database that does not answer holds nothing up beyond the grace.
#[tokio::test]
async fn the_grace_bounds_the_end_whatever_the_database_does() {
    const HOLD: &str = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); \
                        db.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()";
    let server = Server::start(&["--shutdown-grace", "2s"]).await;
    let upload = server.create(10).await;
    let mut holder = Command::new("python3")
        .args(["-c", HOLD])
        .arg(server.data_dir().join("tidegate.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3 runs");
    let mut line = String::new();
    let mut told = BufReader::new(holder.stdout.take().expect("its output is piped"));
    told.read_line(&mut line).await.expect("it says so");
    assert_eq!(line, "held\n");
    let mut sender = server.connect().await;
    sender
        .send_head_and_wait(tus::patch(&upload, 0).declare(10))
        .await;
    sender.send(b"hello").await;
    server.quiesce().await;
    let asked = Instant::now();
    server.sigterm();
    let status = server.exited_within(GRACE).await;
    assert!(status.success(), "{status}");
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}
