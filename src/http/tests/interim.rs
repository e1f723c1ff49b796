//! Interim responses, over real sockets. `interim_hyper` has what those are too smooth for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Method;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::wire::{Wire, go_on, send, sent};
use super::{Handed, SOON, Server, by_hand, head, read, text};
use crate::http::{Interim, OutBody, Response, Route};

#[tokio::test]
async fn an_interim_response_comes_before_the_body_is_read() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route]).await;
    let mut client = Wire::connect(&server).await;
    client.send(head("POST /in", "Content-Length: 5\r\n")).await;
    let Handed {
        mut request,
        answer,
    } = handed.recv().await.unwrap();
    // hyper waits for a body that nobody asks for.
    assert!(send(&request.interim, "/1"));
    assert_eq!(client.message(false).await, sent("/1"));
    client.send("hello").await;
    assert_eq!(read(&mut request.body).await.0, 5);
    // hyper waits for nothing at all.
    assert!(send(&request.interim, "/2"));
    assert_eq!(client.message(false).await, sent("/2"));
    answer.send(text(201, "done")).unwrap();
    let (interims, answer) = client.answer(false).await;
    assert_eq!((interims, answer.status), (vec![], 201));
    assert_eq!(answer.body, b"done");
    server.stop().await;
}

#[tokio::test]
async fn interim_responses_go_out_while_the_body_comes_in() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route]).await;
    let mut client = Wire::connect(&server).await;
    let fields = "Transfer-Encoding: chunked\r\n";
    client.send(head("POST /in", fields)).await;
    let Handed {
        mut request,
        answer,
    } = handed.recv().await.unwrap();
    for piece in 0..20 {
        client.send("5\r\nhello\r\n").await;
        let frame = request.body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "hello");
        let mark = format!("/{piece}");
        assert!(send(&request.interim, &mark));
        assert_eq!(client.message(false).await, sent(&mark));
    }
    client.send("0\r\n\r\n").await;
    assert!(request.body.frame().await.is_none());
    answer.send(text(201, "done")).unwrap();
    let (interims, answer) = client.answer(false).await;
    assert_eq!((interims, answer.status), (vec![], 201));
    server.stop().await;
}

#[tokio::test]
async fn what_is_left_of_an_answered_request_sends_nothing() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route]).await;
    let mut client = Wire::connect(&server).await;
    let mut stale: Vec<Interim> = Vec::new();
    for round in 0..4 {
        client.send(head("GET /in", "")).await;
        let Handed { request, answer } = handed.recv().await.unwrap();
        assert!(!stale.iter().any(|interim| send(interim, "/stale")));
        let mark = format!("/{round}");
        assert!(send(&request.interim.clone(), &mark));
        assert!(!stale.iter().any(|interim| send(interim, "/stale")));
        stale.push(request.interim);
        answer.send(text(200, mark.clone())).unwrap();
        let (interims, answer) = client.answer(false).await;
        assert_eq!(interims, [sent(&mark)]);
        assert_eq!(answer.body, mark.as_bytes());
        assert!(!stale.iter().any(|interim| send(interim, "/stale")));
    }
    drop(client);
    server.stop().await;
    assert!(!stale.iter().any(|interim| send(interim, "/stale")));
}

#[tokio::test]
async fn interim_responses_to_pipelined_requests_stand_before_their_own_answers() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route]).await;
    let mut client = Wire::connect(&server).await;
    let with_body = head("POST /in", "Content-Length: 5\r\n") + "hello";
    let requests = [head("GET /in", ""), with_body, head("GET /in", "")];
    client.send(requests.concat()).await;
    for round in 0..requests.len() {
        let Handed {
            mut request,
            answer,
        } = handed.recv().await.unwrap();
        assert!(read(&mut request.body).await.1.is_ok());
        for part in 0..3 {
            assert!(send(&request.interim, &format!("/{round}/{part}")));
        }
        answer.send(text(200, format!("{round}"))).unwrap();
    }
    // Only now is anything read.
    for round in 0..requests.len() {
        let (interims, answer) = client.answer(false).await;
        let expected: Vec<_> = (0..3)
            .map(|part| sent(&format!("/{round}/{part}")))
            .collect();
        assert_eq!(interims, expected);
        assert_eq!(answer.body, format!("{round}").as_bytes());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_hesitant_client_is_told_to_continue_once_wherever_interim_responses_stand() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route]).await;
    let mut client = Wire::connect(&server).await;
    for before in [true, false] {
        let fields = "Content-Length: 5\r\nExpect: 100-continue\r\n";
        client.send(head("POST /in", fields)).await;
        let Handed {
            mut request,
            answer,
        } = handed.recv().await.unwrap();
        if before {
            assert!(send(&request.interim, "/before"));
            assert_eq!(client.message(false).await, sent("/before"));
        }
        let interim = request.interim.clone();
        let (read, ()) = tokio::join!(read(&mut request.body), async {
            assert_eq!(client.message(false).await, go_on());
            assert!(send(&interim, "/while"));
            assert_eq!(client.message(false).await, sent("/while"));
            client.send("hello").await;
        });
        assert_eq!(read.0, 5);
        assert!(send(&interim, "/behind"));
        answer.send(text(201, "")).unwrap();
        let (interims, answer) = client.answer(false).await;
        assert_eq!((interims, answer.status), (vec![sent("/behind")], 201));
    }
    server.stop().await;
}

/// Five MiB, in one piece or in chunks.
fn large(chunked: bool) -> Response {
    let piece = Bytes::from(vec![b'x'; 64 * 1024]);
    if !chunked {
        return text(200, piece.repeat(80));
    }
    let pieces = stream::repeat(piece).take(80);
    let frames = pieces.map(|piece| Ok(Frame::data(piece)));
    Response::new(OutBody::stream(StreamBody::new(frames)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_in_the_middle_of_an_answer_or_behind_it() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route]).await;
    let mut client = Wire::new(small_socket(&server).await);
    for chunked in [false, true, false, true] {
        client.send(head("GET /in", "")).await;
        let Handed { request, answer } = handed.recv().await.unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let pushing = server.scope.spawn({
            let (interim, done) = (request.interim.clone(), Arc::clone(&done));
            async move {
                let mut taken = 0;
                while !done.load(Relaxed) {
                    taken += usize::from(send(&interim, "/again"));
                    tokio::task::yield_now().await;
                }
                taken
            }
        });
        assert_eq!(client.message(false).await, sent("/again"));
        answer.send(large(chunked)).unwrap();
        let (interims, answer) = client.answer(false).await;
        assert!(answer.body.len() == 5 << 20 && answer.body.iter().all(|byte| *byte == b'x'));
        assert_eq!(answer.field("content-length").is_none(), chunked);
        assert!(interims.iter().all(|interim| *interim == sent("/again")));
        done.store(true, Relaxed);
        assert_eq!(pushing.await.unwrap(), 1 + interims.len());
    }
    server.stop().await;
}

/// With little room for what is not read.
async fn small_socket(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(server.address).await.unwrap()
}

#[tokio::test]
async fn a_client_that_does_not_read_gets_whole_messages_when_it_does() {
    let (route, mut handed) = by_hand("/in");
    let server = Server::start([route]).await;
    let mut client = Wire::new(small_socket(&server).await);
    let mark = "x".repeat(1 << 20);
    for round in 0..3 {
        client.send(head("GET /in", "")).await;
        let Handed { request, answer } = handed.recv().await.unwrap();
        let (mut taken, mut refused) = (0, 0);
        // Refused that often in a row: the connection had its turns, and the socket is full.
        while refused < 100 {
            match send(&request.interim, &mark) {
                true => (taken, refused) = (taken + 1, 0),
                false => refused += 1,
            }
            tokio::task::yield_now().await;
        }
        assert!(taken >= Interim::WAITING_MAX, "{taken}");
        let body = vec![b'y'; 3 << 20];
        answer.send(text(200, body.clone())).unwrap();
        let (interims, answer) = client.answer(false).await;
        let sent = sent(&mark);
        assert!(interims.iter().all(|interim| *interim == sent), "{round}");
        assert_eq!(interims.len(), taken);
        assert!(answer.body == body);
    }
    server.stop().await;
}

/// Sends one and ends, in a way that its body chooses.
fn sending() -> Route {
    Route::any("/sends", |mut request| async move {
        let taken = send(&request.interim, "/1");
        let (bytes, _) = read(&mut request.body).await;
        let taken = [taken, send(&request.interim, "/2")];
        assert_ne!(bytes, 5, "a handler may panic");
        text(200, format!("{taken:?}"))
    })
}

#[tokio::test]
async fn what_is_sent_right_before_the_end_of_a_handler_still_comes_first() {
    let server = Server::start([sending()]).await;
    let mut client = Wire::connect(&server).await;
    for (body, status) in [("", 200), ("hello", 500), ("bye", 200)] {
        let fields = format!("Content-Length: {}\r\n", body.len());
        client.send(head("POST /sends", &fields) + body).await;
        let (interims, answer) = client.answer(false).await;
        assert_eq!(interims, [sent("/1"), sent("/2")]);
        assert_eq!(answer.status, status);
    }
    client
        .send(head("HEAD /sends", "Connection: close\r\n"))
        .await;
    let (interims, answer) = client.answer(true).await;
    assert_eq!(interims, [sent("/1"), sent("/2")]);
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    client.end().await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_the_answer_alone() {
    let server = Server::start([sending()]).await;
    let mut client = Wire::connect(&server).await;
    let request = "POST /sends HTTP/1.0\r\nHost: tidegate.test\r\nContent-Length: 3\r\n\r\nbye";
    client.send(request).await;
    let (interims, answer) = client.answer(false).await;
    assert_eq!((interims, answer.status), (vec![], 200));
    assert_eq!(answer.body, b"[false, false]");
    client.end().await;

    // Behind a request that could have got some.
    let mut client = Wire::connect(&server).await;
    client.send(head("GET /sends", "") + request).await;
    let (interims, answer) = client.answer(false).await;
    assert_eq!((interims.len(), answer.body), (2, b"[true, true]".to_vec()));
    let (interims, answer) = client.answer(false).await;
    assert_eq!(
        (interims, answer.body),
        (vec![], b"[false, false]".to_vec())
    );
    client.end().await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_of_http2_gets_the_answer_alone() {
    let server = Server::start([sending()]).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    drop(server.scope.spawn(connection));
    let request = http::Request::post("http://tidegate.test/sends");
    let request = request.body(Full::new(Bytes::from_static(b"bye"))).unwrap();
    let answer = client.send_request(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "[false, false]");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_it() {
    for reset in [true, false] {
        let (route, mut handed) = by_hand("/in");
        let server = Server::start([route]).await;
        let mut client = Wire::connect(&server).await;
        client.send(head("GET /in", "")).await;
        let Handed { request, answer } = handed.recv().await.unwrap();
        assert!(send(&request.interim, "/1"));
        assert_eq!(client.message(false).await, sent("/1"));
        if reset {
            client.stream.get_mut().set_zero_linger().unwrap();
        }
        drop(client);
        let leaving = async {
            while !answer.is_closed() {
                send(&request.interim, "/2");
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, leaving).await.expect("it cannot be written");
        server.stop().await;
        assert!(!send(&request.interim, "/3"));
    }
}

#[tokio::test]
async fn a_connection_that_goes_on_in_another_protocol_has_none() {
    let (hand, mut handed) = tokio::sync::mpsc::unbounded_channel();
    let echo = Route::new(Method::GET, "/echo", move |request| {
        let hand = hand.clone();
        async move {
            assert!(send(&request.interim, "/1"));
            let upgrade = request.upgrade.unwrap();
            upgrade.accept("echo", |mut socket, _| async move {
                assert!(!send(&request.interim, "/2"));
                hand.send(request.interim).unwrap();
                let (mut reader, mut writer) = tokio::io::split(&mut socket);
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            })
        }
    });
    let server = Server::start([echo]).await;
    let mut client = Wire::connect(&server).await;
    let offer = "Connection: Upgrade\r\nUpgrade: echo\r\n";
    client.send(head("GET /echo", offer) + "early").await;
    assert_eq!(client.message(false).await, sent("/1"));
    assert_eq!(client.message(false).await.status, 101);
    let interim = handed.recv().await.unwrap();
    assert!(!send(&interim, "/3"));
    client.send(" bird").await;
    let mut echoed = [0; 10];
    client.stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"early bird");
    assert!(!send(&interim, "/4"));
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
        .await
        .unwrap();
    client.end().await;
    server.stop().await;
}
