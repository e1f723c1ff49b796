//! The five ways a client leaves, over HTTP/1.1 and HTTP/2, before, during and after the body.
//!
//! Whatever the way: without a checksum every byte that arrived is kept, with one nothing of the
//! interrupted body is.
//!
//! "Arrived" is made exact. The sender first drips until HEAD shows that the attempt runs, then
//! sends the rest of its part at once; a few round trips later the server has it; then it leaves.
//! The last part is larger than any checkpoint the first one may have left behind.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::h2c::{Exchange, H2};
use crate::support::server::Server;
use crate::support::sse::Sse;
use crate::support::tus::{self, Upload, checksum};
use crate::support::wire::{Answer, Conn, Req};
use crate::support::{content, eventually, rounds};

/// Small enough for one TCP and one HTTP/2 window: what was sent has arrived.
const PART_BYTES: usize = 40_000;
const WHOLE_BYTES: usize = 100_000;
const DRIP_BYTES: usize = 1024;

/// Checkpoints often enough for the drip to show; a stall that takes no test long to wait for.
const FLAGS: [&str; 4] = ["--checkpoint-interval", "50ms", "--stall-timeout", "2s"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Http {
    One,
    Two,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The TCP connection is closed with a FIN.
    Close,
    /// HTTP/1.1: TCP reset. HTTP/2: RST_STREAM, and the connection stays.
    Reset,
    /// The TCP connection is reset, HTTP/2 connection included.
    ResetConnection,
    /// The sending side is closed; the client still reads.
    HalfClose,
    /// The client just stops, and the server's patience ends it.
    Stall,
    /// The client is unreachable. It comes back on another connection, asks, and goes on.
    Vanish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// After the header section.
    Before,
    /// In the middle of the body.
    During,
    /// After the last byte, before the answer is read.
    After,
}

/// A PATCH under way over either version.
enum Sender {
    One(Conn),
    Two(H2, Exchange),
}

impl Sender {
    async fn start(server: &Server, http: Http, patch: &Req) -> Self {
        match http {
            Http::One => {
                let mut conn = server.connect().await;
                conn.send_head(patch).await;
                Self::One(conn)
            }
            Http::Two => {
                let mut h2 = H2::open(server.addr()).await;
                let exchange = h2.start(patch).await;
                Self::Two(h2, exchange)
            }
        }
    }

    async fn send(&mut self, data: &[u8]) {
        match self {
            Self::One(conn) => conn.send(data).await,
            Self::Two(_, exchange) => exchange.send(data).await,
        }
    }

    /// Ends the body. HTTP/1.1 needs nothing: the length has been reached.
    fn end(&mut self) {
        match self {
            Self::One(_) => {}
            Self::Two(_, exchange) => exchange.end(&[]),
        }
    }

    /// Waits until everything sent is in the socket, though not any further.
    async fn flush(&self) {
        if let Self::Two(..) = self {
            // The driver of the connection is a task of this thread: it writes while this yields.
            for _ in 0..32 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits until everything sent is in the server's hands.
    async fn settle(&mut self, server: &Server) {
        if let Self::Two(h2, _) = self {
            h2.settle().await;
        }
        server.quiesce().await;
    }

    /// The answer, if there is one before the end of the stream or of the connection.
    async fn try_answer(self) -> Option<Answer> {
        match self {
            Self::One(mut conn) => conn.try_answer().await.ok(),
            Self::Two(_h2, exchange) => exchange.try_answer().await.ok(),
        }
    }

    /// Leaves. What is returned must be held, for the client to be silent instead of gone.
    async fn leave(self, way: Way) -> Option<Self> {
        match (way, self) {
            (Way::Stall | Way::Vanish, sender) => return Some(sender),
            (Way::Close, Self::One(conn)) => drop(conn),
            (Way::Close, Self::Two(h2, exchange)) => {
                h2.close().await;
                drop(exchange);
            }
            (Way::Reset | Way::ResetConnection, Self::One(conn)) => conn.reset(),
            (Way::Reset, Self::Two(h2, exchange)) => {
                exchange.reset();
                // The connection stays, and moves the RST_STREAM; there is nobody in the stream.
                let mut h2 = h2;
                h2.settle().await;
            }
            (Way::ResetConnection, Self::Two(h2, exchange)) => {
                h2.reset().await;
                drop(exchange);
            }
            (Way::HalfClose, Self::One(mut conn)) => {
                conn.half_close().await;
                return Some(Self::One(conn));
            }
            (Way::HalfClose, Self::Two(h2, exchange)) => {
                h2.half_close();
                return Some(Self::Two(h2, exchange));
            }
        }
        None
    }
}

/// Sends the first half of the part in drips until HEAD shows an offset, which means that the
/// attempt runs; then the rest of the part at once.
async fn send_part(server: &Server, sender: &mut Sender, upload: &Upload, part: &[u8]) {
    let mut sent = 0;
    eventually("the attempt commits its first checkpoint", async || {
        if sent + DRIP_BYTES < part.len() / 2 {
            sender.send(&part[sent..sent + DRIP_BYTES]).await;
            sent += DRIP_BYTES;
        }
        (server.offset(upload).await > 0).then_some(())
    })
    .await;
    sender.send(&part[sent..]).await;
}

/// Waits until the one upload that is under way has received so many bytes, on a slow disk too.
async fn received(server: &Server, bytes: usize) {
    let mut feed = Sse::open(server, "types=upload.progress", None).await;
    while feed.next().await.json["data"]["received"] != bytes {}
}

/// Waits until the upload has this offset, and checks that it stays and that the rest fits.
async fn expect_kept(server: &Server, upload: &Upload, kept: usize, whole: &[u8]) {
    eventually("HEAD tells every byte that arrived", async || {
        let offset = server.offset(upload).await;
        assert!(
            offset <= kept as u64,
            "HEAD tells {offset}, only {kept} bytes were sent"
        );
        (offset == kept as u64).then_some(())
    })
    .await;
    server.expect_resumable(upload, kept as u64, whole).await;
}

async fn leaves(http: Http, way: Way, when: When) {
    println!("{http:?}, {way:?}, {when:?}");
    let server = Server::start(&FLAGS).await;
    let whole = content(1, WHOLE_BYTES);
    let upload = server.create(whole.len() as u64).await;
    // "After the body" sends everything that the request declares, though less than the upload.
    let sent = if when == When::Before { 0 } else { PART_BYTES };
    let declared = if when == When::After {
        sent
    } else {
        WHOLE_BYTES
    };
    let patch = tus::patch(&upload, 0).declare(declared as u64);
    let mut sender = Sender::start(&server, http, &patch).await;
    if sent > 0 {
        send_part(&server, &mut sender, &upload, &whole[..sent]).await;
    }
    if when == When::After {
        sender.end();
    }
    sender.settle(&server).await;
    let silent = sender.leave(way).await;
    let answer = match (way, when, silent) {
        // Looking earlier would take the upload over, which is another test.
        (Way::Stall, When::Before | When::During, Some(sender)) => {
            let answer = sender.try_answer().await;
            Some(
                answer
                    .expect("an answer")
                    .expect_slug(503, "upload-stalled"),
            )
        }
        (Way::HalfClose, _, Some(sender)) => sender.try_answer().await,
        (_, _, silent) => {
            expect_kept(&server, &upload, sent, &whole).await;
            drop(silent);
            return;
        }
    };
    // Who still reads must not read that a body cut short was taken for a whole one.
    if let Some(answer) = answer.filter(|_| when != When::After) {
        assert!(answer.status >= 400, "a success:\n{answer}");
    }
    expect_kept(&server, &upload, sent, &whole).await;
}

/// One test per way, so that a failure names it.
macro_rules! ways {
    ($($name:ident: $http:ident, $way:ident;)*) => {$(
        #[tokio::test]
        async fn $name() {
            for when in [When::Before, When::During, When::After] {
                leaves(Http::$http, Way::$way, when).await;
            }
        }
    )*};
}

ways! {
    http1_close_keeps_every_byte: One, Close;
    http1_reset_keeps_every_byte: One, Reset;
    http1_half_close_keeps_every_byte: One, HalfClose;
    http1_stall_keeps_every_byte: One, Stall;
    http1_vanish_keeps_every_byte: One, Vanish;
    http2_close_keeps_every_byte: Two, Close;
    http2_reset_of_the_stream_keeps_every_byte: Two, Reset;
    http2_reset_of_the_connection_keeps_every_byte: Two, ResetConnection;
    http2_half_close_keeps_every_byte: Two, HalfClose;
    http2_stall_keeps_every_byte: Two, Stall;
    http2_vanish_keeps_every_byte: Two, Vanish;
}

/// The last bytes and the departure come together: the server learns that the client has gone
/// while what it sent still lies unread in a socket or in a stream.
async fn leaves_with_the_last_byte(http: Http, way: Way) {
    println!("{http:?}, {way:?}, with the last byte");
    let server = Server::start(&FLAGS).await;
    let whole = content(6, WHOLE_BYTES);
    for _ in 0..rounds(5) {
        let upload = server.create(whole.len() as u64).await;
        let patch = tus::patch(&upload, 0).declare(whole.len() as u64);
        let mut sender = Sender::start(&server, http, &patch).await;
        send_part(&server, &mut sender, &upload, &whole[..PART_BYTES]).await;
        sender.flush().await;
        let silent = sender.leave(way).await;
        expect_kept(&server, &upload, PART_BYTES, &whole).await;
        drop(silent);
    }
}

#[tokio::test]
async fn http1_bytes_that_are_unread_at_the_departure_are_kept() {
    for way in [Way::Close, Way::Reset, Way::HalfClose] {
        leaves_with_the_last_byte(Http::One, way).await;
    }
}

#[tokio::test]
async fn http2_bytes_that_are_unread_at_the_departure_are_kept() {
    for way in [Way::Close, Way::Reset, Way::ResetConnection, Way::HalfClose] {
        leaves_with_the_last_byte(Http::Two, way).await;
    }
}

/// With a checksum the same departures keep nothing, because nothing could be verified.
async fn leaves_with_checksum(http: Http, way: Way) {
    println!("{http:?}, {way:?}, with a checksum");
    let server = Server::start(&FLAGS).await;
    let whole = content(2, WHOLE_BYTES);
    let upload = server.create(whole.len() as u64).await;
    server.append(&upload, 0, &whole[..DRIP_BYTES]).await;
    let rest = &whole[DRIP_BYTES..];
    let patch = tus::patch(&upload, DRIP_BYTES as u64).declare(rest.len() as u64);
    let patch = patch.header("Upload-Checksum", checksum("sha256", rest));
    let mut sender = Sender::start(&server, http, &patch).await;
    sender.send(&rest[..PART_BYTES]).await;
    sender.settle(&server).await;
    let silent = sender.leave(way).await;
    if way == Way::Stall {
        let sender = silent.expect("the sender is still there");
        let answer = sender.try_answer().await.expect("an answer");
        answer.expect_slug(503, "upload-stalled");
    }
    server.quiesce().await;
    server
        .expect_resumable(&upload, DRIP_BYTES as u64, &whole)
        .await;
}

#[tokio::test]
async fn http1_with_a_checksum_nothing_is_kept() {
    for way in [
        Way::Close,
        Way::Reset,
        Way::HalfClose,
        Way::Stall,
        Way::Vanish,
    ] {
        leaves_with_checksum(Http::One, way).await;
    }
}

#[tokio::test]
async fn http2_with_a_checksum_nothing_is_kept() {
    let abrupt = [Way::Close, Way::Reset, Way::ResetConnection];
    for way in abrupt
        .into_iter()
        .chain([Way::HalfClose, Way::Stall, Way::Vanish])
    {
        leaves_with_checksum(Http::Two, way).await;
    }
}

/// With a checksum and the whole body, the departure comes too late: it is verified and kept.
#[tokio::test]
async fn a_verified_body_is_kept_though_nobody_reads_the_answer() {
    for http in [Http::One, Http::Two] {
        let server = Server::start(&FLAGS).await;
        let whole = content(3, PART_BYTES);
        let upload = server.create(whole.len() as u64).await;
        let patch = tus::patch(&upload, 0).declare(whole.len() as u64);
        let patch = patch.header("Upload-Checksum", checksum("sha256", &whole));
        let mut sender = Sender::start(&server, http, &patch).await;
        sender.send(&whole).await;
        sender.end();
        sender.settle(&server).await;
        drop(sender.leave(Way::Close).await);
        eventually("the upload is complete", async || {
            (server.offset(&upload).await == whole.len() as u64).then_some(())
        })
        .await;
        assert_eq!(server.download(&upload).await, whole);
    }
}

/// A client that vanished comes back with a PATCH and no HEAD: it gets its upload at once.
#[tokio::test]
async fn a_new_patch_takes_over_from_a_vanished_one() {
    for http in [Http::One, Http::Two] {
        let server = Server::start(&["--checkpoint-interval", "50ms"]).await;
        let whole = content(4, WHOLE_BYTES);
        let upload = server.create(whole.len() as u64).await;
        let patch = tus::patch(&upload, 0).declare(whole.len() as u64);
        let mut vanished = Sender::start(&server, http, &patch).await;
        send_part(&server, &mut vanished, &upload, &whole[..PART_BYTES]).await;
        vanished.flush().await;
        received(&server, PART_BYTES).await;
        let asked = Instant::now();
        server
            .append(&upload, PART_BYTES as u64, &whole[PART_BYTES..])
            .await;
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "took over in {:?}",
            asked.elapsed()
        );
        assert_eq!(server.download(&upload).await, whole);
        drop(vanished);
    }
}

/// A chunked body that breaks off is never taken for a complete one.
#[tokio::test]
async fn a_chunked_body_cut_short_does_not_declare_its_end() {
    let server = Server::start(&FLAGS).await;
    let upload = server.create_deferred().await;
    let patch = tus::patch(&upload, 0)
        .header("Upload-Length", "5")
        .chunked("");
    let mut conn = server.connect().await;
    conn.send_head_and_wait(patch).await;
    // The chunk promises more than comes.
    conn.send(b"10\r\nhel").await;
    server.quiesce().await;
    drop(conn);
    eventually("the prefix is kept", async || {
        (server.offset(&upload).await == 3).then_some(())
    })
    .await;
    server.send(tus::get(&upload)).await.expect_problem(409);
    server.expect_resumable(&upload, 3, b"hello").await;
}

/// Many clients leave in the middle; the server stays light on its feet and keeps their bytes.
#[tokio::test]
async fn a_crowd_that_leaves_at_once_loses_nothing() {
    const CROWD: usize = 50;
    let server = Server::start(&[]).await;
    let whole = content(5, WHOLE_BYTES);
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let upload = server.create(whole.len() as u64).await;
        let mut conn = server.connect().await;
        conn.send_head_and_wait(tus::patch(&upload, 0).declare(whole.len() as u64))
            .await;
        conn.send(&whole[..PART_BYTES]).await;
        crowd.push((upload, conn));
    }
    server.quiesce().await;
    for (index, (upload, conn)) in crowd.into_iter().enumerate() {
        match index % 2 {
            0 => drop(conn),
            _ => conn.reset(),
        }
        expect_kept(&server, &upload, PART_BYTES, &whole).await;
    }
}
