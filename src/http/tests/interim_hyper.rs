//! What interim responses rely on in hyper, over streams that are as awkward as can be. If something
//! here fails with another version of hyper, `http::interim` has to be thought through again.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use fastrand::Rng;
use futures_util::{StreamExt, stream};
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::wire::{Message, Wire, go_on, send, sent};
use super::{SOON, head, text};
use crate::cancel::{Scope, Settling};
use crate::http::connection::speaking_http1;
use crate::http::interim::{Gate, Interleaved};
use crate::http::io::{FastReaders, Io};
use crate::http::leaving::Ends;
use crate::http::{Config, Interim, OutBody, Response};

/// Serves a connection as `connection.rs` does, with nothing but hyper and a handler.
async fn serve<S, H, A>(stream: S, handler: H) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Ends + Unpin,
    H: Fn(Request<Incoming>, Interim) -> A,
    A: Future<Output = Response>,
{
    let gate = Gate::new();
    let io = Interleaved::new(Io::new(stream, FastReaders::default()), gate.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let interim = gate.open(request.version());
        let answer = handler(request, interim.clone());
        async move {
            let answer = answer.await;
            interim.close().await;
            Ok::<_, Infallible>(answer)
        }
    });
    let config = Config::default();
    let hyper = speaking_http1(&config).serve_connection(TokioIo::new(io), service);
    hyper.await
}

/// Too small for a status line.
const NARROW: usize = 5;

#[tokio::test]
async fn a_half_written_response_is_completed_before_whatever_follows() {
    let (client, server) = duplex(NARROW);
    let (answering, answered) = oneshot::channel();
    let answering = Mutex::new(Some(answering));
    let serving = serve(server, |mut request, interim| {
        let answering = answering.lock().unwrap().take();
        async move {
            assert!(send(&interim, "/1"));
            // Now the client's buffer is full of it.
            yield_now().await;
            let frame = request.body_mut().frame();
            let frame = frame.await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), "x");
            assert!(send(&interim, "/2"));
            answering.unwrap().send(()).unwrap();
            text(200, "done")
        }
    });
    let asking = async {
        let mut client = Wire::new(client);
        let fields = "Content-Length: 1\r\nExpect: 100-continue\r\nConnection: close\r\n";
        client.send(head("POST /", fields) + "x").await;
        answered.await.unwrap();
        let (interims, answer) = client.answer(false).await;
        assert_eq!(interims, [sent("/1"), go_on(), sent("/2")]);
        assert_eq!(answer.body, b"done");
        client.end().await;
    };
    let (served, ()) = timeout(SOON, async { tokio::join!(serving, asking) })
        .await
        .unwrap();
    served.unwrap();
}

#[tokio::test]
async fn a_half_written_100_continue_is_not_broken_into() {
    let (client, server) = duplex(NARROW);
    let (hand, mut handed) = mpsc::unbounded_channel();
    let serving = serve(server, |mut request, interim| {
        let hand = hand.clone();
        async move {
            request.body_mut().frame().await.unwrap().unwrap();
            // hyper gets rid of a few bytes of it.
            yield_now().await;
            let taken = [send(&interim, "/1"), send(&interim, "/2")];
            hand.send(()).unwrap();
            text(200, format!("{taken:?}"))
        }
    });
    let asking = async {
        let mut client = Wire::new(client);
        let fields = "Content-Length: 1\r\nExpect: 100-continue\r\n";
        client.send(head("POST /", fields) + "x").await;
        handed.recv().await.unwrap();
        let (interims, answer) = client.answer(false).await;
        // hyper has written the 100 to its end before it flushes, and the answer waited for that.
        assert_eq!(interims, [go_on(), sent("/1"), sent("/2")]);
        assert_eq!(answer.body, b"[true, true]");
        client.stream.shutdown().await.unwrap();
        client.end().await;
    };
    let (served, ()) = timeout(SOON, async { tokio::join!(serving, asking) })
        .await
        .unwrap();
    served.unwrap();
}

/// hyper hands over the next request as soon as the body of the one before has been read, even if
/// it is still writing the answer to that.
#[tokio::test]
async fn a_half_written_answer_to_the_request_before_is_not_broken_into() {
    let (client, server) = duplex(NARROW);
    let (hand, mut handed) = mpsc::unbounded_channel();
    let serving = serve(server, |request, interim| {
        let path = request.uri().path().to_owned();
        hand.send((request.into_body(), interim)).unwrap();
        async move { text(200, path.repeat(10_000)) }
    });
    let asking = async {
        let mut client = Wire::new(client);
        let first = head("POST /first", "Content-Length: 3\r\n");
        client.send(&first).await;
        let (body, early) = handed.recv().await.unwrap();
        let (read, ()) = tokio::join!(read_late(body), client.send("abc"));
        assert_eq!(read, "abc".len());
        client
            .send(head("GET /second", "Connection: close\r\n"))
            .await;
        let (_, interim) = handed.recv().await.unwrap();
        assert!(!send(&early, "/early"));
        assert!(send(&interim, "/1"));
        let (interims, answer) = client.answer(false).await;
        assert_eq!(interims, []);
        assert!(answer.body == "/first".repeat(10_000).as_bytes());
        let (interims, answer) = client.answer(false).await;
        assert_eq!(interims, [sent("/1")]);
        assert!(answer.body == "/second".repeat(10_000).as_bytes());
        client.end().await;
    };
    let (served, ()) = timeout(SOON, async { tokio::join!(serving, asking) })
        .await
        .unwrap();
    served.unwrap();
}

/// Reads a body that was answered before. It does not wait for hyper to say that there is no more:
/// hyper does so only with the next request.
async fn read_late(mut body: Incoming) -> usize {
    let mut bytes = 0;
    while !body.is_end_stream() {
        match body.frame().await {
            Some(Ok(frame)) => bytes += frame.into_data().unwrap().len(),
            _ => break,
        }
    }
    bytes
}

/// A stream that does as little at a time as it likes.
struct Chopped {
    stream: DuplexStream,
    rng: Rng,
    bytes_max: usize,
    vectored: bool,
}

impl Chopped {
    /// How much is done now, if anything.
    fn poll_some(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if self.rng.u8(..) < 64 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.rng.usize(1..=self.bytes_max))
    }
}

impl AsyncRead for Chopped {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let some = std::task::ready!(this.poll_some(cx));
        Pin::new(&mut (&mut this.stream).take(some as u64)).poll_read(cx, buf)
    }
}

impl Ends for Chopped {
    fn poll_end(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl AsyncWrite for Chopped {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let some = std::task::ready!(this.poll_some(cx)).min(buf.len());
        Pin::new(&mut this.stream).poll_write(cx, &buf[..some])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = bufs.iter().flat_map(|buf| buf.iter().copied());
        let bytes: Vec<u8> = bytes.take(self.bytes_max).collect();
        self.poll_write(cx, &bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        std::task::ready!(this.poll_some(cx));
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// What a client asks, and how it is answered.
#[derive(Clone, Debug)]
struct Plan {
    at: usize,
    method: &'static str,
    expects: bool,
    chunks: bool,
    body: usize,
    /// The answer comes first, and then the body is read.
    reads_late: bool,
    /// Other tasks that send.
    pushers: usize,
    answer: usize,
    /// How much of the answer comes at a time, if it is streamed.
    piece_max: Option<usize>,
    seed: u64,
}

impl Plan {
    fn random(at: usize, rng: &mut Rng) -> Self {
        let body = [0, rng.usize(1..20), rng.usize(1..5_000)][rng.usize(..3)];
        Self {
            at,
            method: match (body, rng.u8(..)) {
                (0, ..32) => "HEAD",
                (0, _) => "GET",
                _ => "POST",
            },
            expects: body > 0 && rng.bool(),
            chunks: rng.bool(),
            body,
            reads_late: rng.u8(..) < 64,
            pushers: rng.usize(..3),
            answer: [0, rng.usize(..100), rng.usize(..20_000)][rng.usize(..3)],
            piece_max: rng.bool().then(|| rng.usize(1..=2_000)),
            seed: rng.u64(..),
        }
    }

    fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Head and body of the request.
    fn request(&self) -> (String, String) {
        let content = "x".repeat(self.body);
        let (framing, body) = match (self.body, self.chunks) {
            (0, _) => (String::new(), content),
            (length, false) => (format!("Content-Length: {length}\r\n"), content),
            (length, true) => {
                let framing = "Transfer-Encoding: chunked\r\n".to_owned();
                (framing, format!("{length:x}\r\n{content}\r\n0\r\n\r\n"))
            }
        };
        let expect = if self.expects {
            "Expect: 100-continue\r\n"
        } else {
            ""
        };
        let head = head(
            &format!("{} /{}", self.method, self.at),
            &format!("{framing}{expect}"),
        );
        (head, body)
    }

    fn answer(&self) -> Response {
        let body = self.answer_body();
        let Some(piece_max) = self.piece_max else {
            return text(200, body);
        };
        let mut rng = Rng::with_seed(self.seed);
        let pieces = body.chunks(piece_max).map(Bytes::copy_from_slice);
        let frames = stream::iter(pieces.collect::<Vec<_>>()).then(move |piece| {
            let yields = rng.usize(..3);
            async move {
                for _ in 0..yields {
                    yield_now().await;
                }
                Ok(Frame::data(piece))
            }
        });
        Response::new(OutBody::stream(StreamBody::new(frames)))
    }

    fn answer_body(&self) -> Vec<u8> {
        let mut body = vec![0; self.answer];
        Rng::with_seed(self.seed).fill(&mut body);
        body
    }

    fn check(&self, interims: &[Message], answer: &Message, taken: &Taken) {
        let (going_on, ours): (Vec<_>, Vec<_>) =
            interims.iter().partition(|interim| interim.status == 100);
        match (self.expects, self.reads_late) {
            (false, _) => assert!(going_on.is_empty()),
            (true, false) => assert_eq!(going_on, [&go_on()]),
            // Whatever was first.
            (true, true) => assert!(going_on.is_empty() || going_on == [&go_on()]),
        }
        // Senders meet in any order, but each keeps its own.
        let taken = taken.of(self.at);
        assert_eq!(ours.len(), taken.len());
        for sender in 0..=self.pushers {
            let is_its = |mark: &str| mark.starts_with(&format!("/{}/{sender}/", self.at));
            let its = taken.iter().filter(|mark| is_its(mark));
            let its: Vec<_> = its.map(|mark| sent(mark)).collect();
            let came = ours
                .iter()
                .filter(|came| is_its(came.field("location").unwrap()));
            assert_eq!(
                came.copied().collect::<Vec<_>>(),
                its.iter().collect::<Vec<_>>()
            );
        }
        assert_eq!(answer.status, StatusCode::OK.as_u16());
        match self.is_head() {
            true => assert_eq!(answer.body, b""),
            false => assert!(answer.body == self.answer_body()),
        }
    }
}

/// The marks of what was taken.
#[derive(Clone, Debug, Default)]
struct Taken(Arc<Mutex<Vec<String>>>);

impl Taken {
    /// Sends, as one of several that answer a request.
    fn send(&self, interim: &Interim, (at, sender, count): (usize, usize, usize)) {
        let mark = format!("/{at}/{sender}/{count}");
        // Noted before the client can have it.
        let mut marks = self.0.lock().unwrap();
        if send(interim, &mark) {
            marks.push(mark);
        }
    }

    fn of(&self, at: usize) -> Vec<String> {
        let marks = self.0.lock().unwrap();
        let its = marks
            .iter()
            .filter(|mark| mark.starts_with(&format!("/{at}/")));
        its.cloned().collect()
    }
}

/// The server's side of one round.
struct Handlers {
    plans: Vec<Plan>,
    taken: Taken,
    /// Of requests that came before.
    interims: Mutex<Vec<Interim>>,
    scope: Scope,
}

impl Handlers {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, interim: Interim) -> Response {
        let at: usize = request.uri().path()[1..].parse().unwrap();
        let plan = &self.plans[at];
        let mut rng = Rng::with_seed(plan.seed);
        let stale = self.interims.lock().unwrap().clone();
        assert!(!stale.iter().any(|interim| send(interim, "/stale")));
        for sender in 1..=plan.pushers {
            let pushing = push(
                self.taken.clone(),
                interim.clone(),
                (at, sender),
                rng.fork(),
            );
            drop(self.scope.spawn(pushing));
        }
        let mut body = request.into_body();
        if plan.reads_late {
            drop(self.scope.spawn(read_late(body)));
            self.taken.send(&interim, (at, 0, 0));
        } else {
            for count in 0.. {
                if rng.bool() {
                    self.taken.send(&interim, (at, 0, count));
                }
                if body.frame().await.is_none() {
                    break;
                }
            }
        }
        self.interims.lock().unwrap().push(interim);
        plan.answer()
    }
}

/// Sends now and then, for longer than most requests take.
async fn push(taken: Taken, interim: Interim, (at, sender): (usize, usize), mut rng: Rng) {
    for count in 0..rng.usize(..30) {
        for _ in 0..rng.usize(..20) {
            yield_now().await;
        }
        taken.send(&interim, (at, sender, count));
    }
}

/// One connection, with a few requests one after the other, or all of them at once.
async fn round(rng: &mut Rng) {
    let (client, server) = duplex([NARROW, 100, 10_000][rng.usize(..3)]);
    let plans = 0..rng.usize(1..=8);
    let plans: Vec<_> = plans.map(|at| Plan::random(at, rng)).collect();
    let reads_late = plans.iter().any(|plan| plan.reads_late);
    let mut chop = |stream| Chopped {
        stream,
        bytes_max: [3, 100, 10_000][rng.usize(..3)],
        // While hyper has a list of buffers to write, it takes the next request and forgets to run
        // its handler, unless something else wakes it.
        vectored: rng.bool() && !reads_late,
        rng: rng.fork(),
    };
    let (client, server) = (chop(client), chop(server));
    let handlers = Arc::new(Handlers {
        plans: plans.clone(),
        taken: Taken::default(),
        interims: Mutex::default(),
        scope: Scope::root("round"),
    });
    let (taken, scope) = (handlers.taken.clone(), handlers.scope.clone());
    let serving = scope.spawn(serve(server, move |request, interim| {
        Arc::clone(&handlers).handle(request, interim)
    }));
    match rng.bool() {
        true => ask_at_once(client, &plans, &taken).await,
        false => ask_in_turn(client, &plans, &taken).await,
    }
    serving.await.unwrap().unwrap();
    assert_eq!(scope.settle(SOON).await, Settling::Settled);
}

async fn ask_at_once(client: Chopped, plans: &[Plan], taken: &Taken) {
    let (reader, mut writer) = tokio::io::split(client);
    let writing = async {
        for plan in plans {
            let (head, body) = plan.request();
            writer.write_all((head + &body).as_bytes()).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    };
    let mut reader = Wire::new(reader);
    let reading = async {
        for plan in plans {
            let (interims, answer) = reader.answer(plan.is_head()).await;
            plan.check(&interims, &answer, taken);
        }
        reader.end().await;
    };
    tokio::join!(writing, reading);
}

async fn ask_in_turn(client: Chopped, plans: &[Plan], taken: &Taken) {
    let (reader, mut writer) = tokio::io::split(client);
    let mut reader = Wire::new(reader);
    for plan in plans {
        let (head, body) = plan.request();
        writer.write_all(head.as_bytes()).await.unwrap();
        let mut early = Vec::new();
        // It may be answered without being asked to go on, if that is how the plan is.
        while plan.expects && !plan.reads_late && early.last() != Some(&go_on()) {
            early.push(reader.message(false).await);
        }
        let writing = async { writer.write_all(body.as_bytes()).await.unwrap() };
        let ((interims, answer), ()) = tokio::join!(reader.answer(plan.is_head()), writing);
        early.extend(interims);
        plan.check(&early, &answer, taken);
    }
    writer.shutdown().await.unwrap();
    reader.end().await;
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

async fn rounds() {
    let first = from_env("TIDEGATE_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    for count in 0..from_env("TIDEGATE_TEST_ROUNDS").unwrap_or(60) {
        let seed = first.wrapping_add(count);
        println!("round {count}: repeat with TIDEGATE_TEST_SEED={seed}");
        let mut rng = Rng::with_seed(seed);
        timeout(SOON, round(&mut rng)).await.expect("it should end");
    }
}

#[tokio::test]
async fn every_mixture_of_messages_is_whole_and_in_order() {
    rounds().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mixture_of_messages_is_whole_and_in_order_on_threads() {
    rounds().await;
}
