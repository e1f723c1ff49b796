//! Answers that come before the body has ended, and bodies that end before they should.

use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::io::AsyncWriteExt;

use super::{Server, by_hand, head, hello, read, text};
use crate::http::{Body, BodyError, Config, DrainLimits, Request, Route};

const MIB: usize = 1024 * 1024;

/// Answers 410 without a look at the body.
fn gone() -> Route {
    Route::any("/gone", |_| async { text(410, "gone") })
}

fn drain(bytes: u64) -> Config {
    let limits = DrainLimits {
        bytes,
        idle: Duration::from_secs(3600),
        total: Duration::from_secs(3600),
    };
    Config {
        drain: limits,
        ..Config::default()
    }
}

#[tokio::test]
async fn a_client_that_writes_all_before_it_reads_still_reads_an_early_answer() {
    let server = Server::start([gone()]).await;
    for fields in [
        "Content-Length: 8388608\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let mut client = server.connect().await;
        client.send(head("PATCH /gone", fields)).await;
        if fields.starts_with("Transfer") {
            client.send("800000\r\n").await;
        }
        client.send(vec![7; 8 * MIB]).await;
        if fields.starts_with("Transfer") {
            client.send("\r\n0\r\n\r\n").await;
        }
        let answer = client.answer(false).await;
        assert_eq!((answer.status(), answer.says_close()), (410, true));
        // Not a reset: the server has read all there was.
        assert!(client.is_closed().await);
    }
    server.stop().await;
}

#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_body() {
    let server = Server::start([gone()]).await;
    let mut client = server.connect().await;
    client
        .send(head("PATCH /gone", "Content-Length: 1000000\r\n") + "a few")
        .await;
    assert_eq!(client.answer(false).await.status(), 410);
    // The client hangs up, as it was asked to, and the drain ends with it.
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_small_body_that_came_with_the_head_costs_no_connection() {
    let server = Server::start([gone(), hello()]).await;
    let mut client = server.connect().await;
    client
        .send(head("POST /gone", "Content-Length: 9\r\n") + "{\"a\": 12}")
        .await;
    let answer = client.answer(false).await;
    assert_eq!((answer.status(), answer.says_close()), (410, false));
    assert_eq!(client.ask("GET /hello").await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn a_malformed_body_behind_an_early_answer_is_drained_as_it_is() {
    let server = Server::start([gone()]).await;
    let mut client = server.connect().await;
    client
        .send(head("PATCH /gone", "Transfer-Encoding: chunked\r\n") + "ZZ\r\n")
        .await;
    let answer = client.answer(false).await;
    assert_eq!((answer.status(), answer.says_close()), (410, true));
    client.send(vec![7; 4 * MIB]).await;
    client.half_close().await;
    assert!(client.is_closed().await);
    server.stop().await;
}

/// hyper undoes the last coding only, and `chunked` may be there once.
#[tokio::test]
async fn another_transfer_coding_is_refused_and_ends_the_connection() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route]).await;
    for fields in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        let mut client = server.connect().await;
        let request = head("POST /in", fields) + "5\r\nhello\r\n0\r\n\r\n";
        client.send(request + &head("GET /in", "")).await;
        let answer = client.answer(false).await;
        assert_eq!((answer.status(), answer.says_close()), (400, true));
        client.half_close().await;
        assert!(client.is_closed().await, "{fields:?}");
    }
    assert!(handed.try_recv().is_err(), "nothing is handled");
    server.stop().await;
}

#[tokio::test]
async fn whoever_read_what_was_promised_keeps_the_connection() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route, hello()]).await;
    let mut client = server.connect().await;
    client
        .send(head("POST /in", "Content-Length: 3\r\n") + "abc")
        .await;
    let mut handed = handed.recv().await.unwrap();
    // One frame, no look whether another follows, and no hurry to let go of the body.
    let frame = handed.request.body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "abc");
    assert_eq!(handed.request.body.size_hint_exact(), Some(0));
    handed.answer.send(text(204, "")).unwrap();
    let answer = client.answer(false).await;
    assert_eq!((answer.status(), answer.says_close()), (204, false));
    assert_eq!(client.ask("GET /hello").await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_somebody_still_holds_is_drained_when_he_lets_go() {
    let (route, mut handed) = by_hand("/held");
    let server = Server::start([route]).await;
    let mut client = server.connect().await;
    client
        .send(head("PATCH /held", "Content-Length: 8388608\r\n"))
        .await;
    let handed = handed.recv().await.unwrap();
    let Request { mut body, .. } = handed.request;
    client.send(vec![7; MIB]).await;
    body.frame().await.unwrap().unwrap();
    handed.answer.send(text(410, "gone")).unwrap();
    let answer = client.answer(false).await;
    assert_eq!((answer.status(), answer.says_close()), (410, true));
    // An attempt settles at its own pace.
    drop(body);
    client.send(vec![7; 7 * MIB]).await;
    assert!(client.is_closed().await);
    server.stop().await;
}

#[tokio::test]
async fn a_drain_ends_at_its_byte_limit() {
    let server = Server::start_with(drain(MIB as u64), [gone()]).await;
    let mut client = server.connect().await;
    client
        .send(head("PATCH /gone", "Content-Length: 1000000000000\r\n"))
        .await;
    assert_eq!(client.answer(false).await.status(), 410);
    let mut sent = 0;
    let piece = vec![7; MIB];
    while client.stream.write_all(&piece).await.is_ok() {
        sent += piece.len();
    }
    // The limit, and what the buffers of both kernels hold.
    assert!(sent < 64 * MIB, "{sent}");
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_when_the_client_is_silent() {
    let server = Server::start([gone()]).await;
    let mut client = server.connect().await;
    client
        .send(head("PATCH /gone", "Content-Length: 1000000\r\n") + "a few")
        .await;
    assert_eq!(client.answer(false).await.status(), 410);
    let answered = tokio::time::Instant::now();
    // It keeps its side open, against what it was told, and sends nothing.
    assert!(client.is_closed().await);
    let idle = DrainLimits::default().idle;
    assert!(answered.elapsed() >= idle && answered.elapsed() < 2 * idle);
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_of_a_hesitant_client_sends_no_100_and_closes() {
    let server = Server::start_with(drain(u64::MAX), [gone()]).await;
    let mut client = server.connect().await;
    let fields = "Content-Length: 1000000\r\nExpect: 100-Continue\r\n";
    client.send(head("PATCH /gone", fields)).await;
    let answer = client.answer(false).await;
    assert_eq!((answer.status(), answer.says_close()), (410, true));
    // At once: nobody waits for a body that will not come.
    assert!(client.is_closed().await);
    // But some send it regardless, and must not be reset for it.
    client.send(vec![7; 1_000_000]).await;
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_hesitant_client_is_told_to_continue_when_its_body_is_read() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route]).await;
    let mut client = server.connect().await;
    client
        .send(head(
            "PATCH /in",
            "Content-Length: 5\r\nExpect: 100-continue\r\n",
        ))
        .await;
    let mut handed = handed.recv().await.unwrap();
    let reading = tokio::task::LocalSet::new();
    let read = reading.run_until(async {
        tokio::join!(read(&mut handed.request.body), async {
            assert_eq!(client.line().await, "HTTP/1.1 100 Continue");
            assert_eq!(client.line().await, "");
            client.send("hello").await;
        })
    });
    assert_eq!(read.await.0, (5, Ok(None)));
    drop(handed.request);
    handed.answer.send(text(204, "")).unwrap();
    let answer = client.answer(false).await;
    assert_eq!((answer.status(), answer.says_close()), (204, false));
    server.stop().await;
}

#[tokio::test]
async fn a_hesitant_body_held_beyond_its_answer_provokes_no_100() {
    let (route, mut handed) = by_hand("/held");
    let server = Server::start([route]).await;
    let mut client = server.connect().await;
    client
        .send(head(
            "PATCH /held",
            "Content-Length: 5\r\nExpect: 100-continue\r\n",
        ))
        .await;
    let handed = handed.recv().await.unwrap();
    let Request { mut body, .. } = handed.request;
    handed.answer.send(text(410, "gone")).unwrap();
    assert_eq!(client.answer(false).await.status(), 410);
    // A client that goes on regardless is read, and told nothing more.
    client.send("hello").await;
    assert_eq!(read(&mut body).await, (5, Ok(None)));
    assert!(client.is_closed().await);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_half_closes_after_its_body_gets_the_answer() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route]).await;
    let mut client = server.connect().await;
    client
        .send(head("PATCH /in", "Content-Length: 5\r\n") + "hello")
        .await;
    client.half_close().await;
    let mut handed = handed.recv().await.unwrap();
    assert_eq!(read(&mut handed.request.body).await, (5, Ok(None)));
    // The connection sees the end of the stream before the answer is there.
    tokio::task::yield_now().await;
    handed.answer.send(text(200, "got it")).unwrap();
    assert_eq!(client.answer(false).await.body, b"got it");
    assert!(client.is_closed().await);
    server.stop().await;
}

#[tokio::test]
async fn a_body_cut_short_is_never_complete() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route]).await;
    for fields in [
        "Content-Length: 50\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello",
    ] {
        for reset in [false, true] {
            let mut client = server.connect().await;
            client
                .send(format!("PATCH /in HTTP/1.1\r\nHost: x\r\n{fields}"))
                .await;
            let mut handed = handed.recv().await.unwrap();
            // What has arrived is read before the end of the stream or the reset is seen.
            let first = handed.request.body.frame().await.unwrap().unwrap();
            assert_eq!(first.into_data().unwrap(), "hello");
            if reset {
                client.reset();
                assert_eq!(
                    read(&mut handed.request.body).await,
                    (0, Err(BodyError::Gone))
                );
                continue;
            }
            client.half_close().await;
            assert_eq!(
                read(&mut handed.request.body).await,
                (0, Err(BodyError::Gone))
            );
            assert!(handed.request.body.frame().await.is_none());
            handed.answer.send(text(200, "kept")).unwrap();
            assert_eq!(client.answer(false).await.body, b"kept");
            assert!(client.is_closed().await);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_malformed_body_is_told_from_a_lost_client() {
    let route = Route::any("/in", |mut request: Request| async move {
        let (bytes, end) = read(&mut request.body).await;
        text(400, format!("{bytes} {:?}", end.unwrap_err()))
    });
    let server = Server::start([route]).await;
    for chunks in [
        "5\r\nhelloXX",
        "5\r\nhello\r\nzz\r\n",
        "5\r\nhello\r\n0\r\n: no name\r\n\r\n",
    ] {
        let mut client = server.connect().await;
        client
            .send(head("PATCH /in", "Transfer-Encoding: chunked\r\n") + chunks)
            .await;
        let answer = client.answer(false).await;
        assert_eq!(
            String::from_utf8_lossy(&answer.body),
            "5 Malformed",
            "{chunks}"
        );
        assert!(answer.says_close());
        assert!(client.is_closed().await);
        // No reset either, for what it sends before it has seen that.
        client.send(vec![7; MIB]).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn bodies_can_be_made_up() {
    let mut empty = Body::empty();
    assert_eq!(
        (empty.size_hint_exact(), empty.frame().await.is_none()),
        (Some(0), true)
    );
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"abc"))),
        Err(BodyError::Gone),
    ];
    let made_up = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
    let mut body = Body::new(made_up);
    assert_eq!(read(&mut body).await, (3, Err(BodyError::Gone)));
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn half_a_body_and_then_silence_costs_no_time_on_the_processor() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route]).await;
    for half_closed in [false, true] {
        let mut client = server.connect().await;
        client
            .send(head("PATCH /in", "Content-Length: 50\r\n") + "hello")
            .await;
        let handed = handed.recv().await.unwrap();
        if half_closed {
            client.half_close().await;
        }
        // A paused clock advances only when there is nothing to run. Were the connection to spin,
        // this would wait for ever.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        handed.answer.send(text(410, "gone")).unwrap();
        assert_eq!(client.answer(false).await.status(), 410);
    }
    server.stop().await;
}
