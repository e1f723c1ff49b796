//! Senders, lookers, cancels and kills at random moments: whatever anybody was told stays true.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::crash::kill_during;
use crate::feed::assert_stories;
use crate::support::rufh::{self, LAST, MORE, NEWEST};
use crate::support::server::Server;
use crate::support::tus::{Upload, etag};
use crate::support::wire::{Answer, Conn, Req};
use crate::support::{assert_same_bytes, content, random, rounds};

/// What all who take part in the race for one upload know.
struct Race {
    upload: Upload,
    source: Vec<u8>,
    /// The highest offset that anybody was told.
    told: Cell<u64>,
    /// Set before the last byte of a request that says it is the last.
    said_all: Cell<bool>,
    /// Set before somebody asks for the end.
    ending: Cell<bool>,
}

impl Race {
    fn new(upload: Upload, source: Vec<u8>) -> Self {
        Self {
            upload,
            source,
            told: Cell::new(0),
            said_all: Cell::new(false),
            ending: Cell::new(false),
        }
    }

    fn len(&self) -> u64 {
        self.source.len() as u64
    }

    fn rest(&self, offset: u64) -> &[u8] {
        &self.source[usize::try_from(offset).expect("it fits into memory")..]
    }

    /// Takes an offset into account that was asked for when `before` had been told.
    #[track_caller]
    fn tell(&self, before: u64, offset: u64) {
        assert!(offset >= before, "{offset} after {before} was told");
        assert!(offset <= self.len(), "{offset} of {}", self.len());
        self.told.set(self.told.get().max(offset));
    }

    /// Holds an answer against what is known. Returns whether the upload is over for its sender.
    #[track_caller]
    fn judge(&self, before: u64, answer: &Answer) -> bool {
        if let Some(offset) = answer.offset() {
            self.tell(before, offset);
        }
        if answer.header("Upload-Complete") == Some(LAST) {
            assert!(self.said_all.get(), "nobody has sent it all:\n{answer}");
            answer.clone().expect_complete(&self.source);
            return true;
        }
        match answer.status {
            201 => panic!("201 and not complete:\n{answer}"),
            204 => false,
            400 => {
                answer.clone().expect_slug(400, "upload-superseded");
                false
            }
            409 => {
                answer.clone().expect_slug(409, "offset-mismatch");
                false
            }
            404 | 410 => {
                assert!(self.ending.get(), "nobody has asked for its end:\n{answer}");
                true
            }
            _ => panic!("odd answer:\n{answer}"),
        }
    }

    async fn look(&self, server: &Server) -> bool {
        let before = self.told.get();
        let answer = server.send(rufh::head(&self.upload)).await;
        self.judge(before, &answer)
    }

    /// A sender that begins at what was told last, right or not, goes as far as it likes, and then
    /// waits for its answer, leaves, or stays and is silent (which is what it returns).
    async fn send(&self, server: &Server, rng: &mut fastrand::Rng) -> Option<Conn> {
        let before = self.told.get();
        let rest = self.rest(before);
        let (complete, whole) = match rng.bool() {
            true => (LAST, rest.len()),
            false => (MORE, rng.usize(0..=rest.len())),
        };
        let part = match rng.u8(0..4) {
            0 => rng.usize(0..=whole),
            _ => whole,
        };
        let patch = rufh::patch(&self.upload, before, complete).declare(whole as u64);
        let mut conn = server.connect().await;
        if complete == LAST && part == whole {
            self.said_all.set(true);
        }
        conn.send_head(&patch.expect_continue()).await;
        // Once it leaves, it must have been heard: or else it might come after whoever looks next.
        let is_heard = part == whole || conn.try_next_interim().await.expect("a head").is_some();
        if !is_heard {
            let answer = conn.answer().await;
            self.judge(before, &answer);
            return None;
        }
        for piece in rest[..part].chunks(rng.usize(1..100_000)) {
            // That nobody takes it any more is what its answer tells.
            drop(conn.try_send(piece).await);
        }
        if part == whole {
            let answer = conn.answer().await;
            self.judge(before, &answer);
            return None;
        }
        match rng.u8(0..3) {
            0 => conn.reset(),
            1 => drop(conn),
            _ => return Some(conn),
        }
        None
    }

    /// Ends it, by its sender's wish or somebody else's.
    async fn end(&self, server: &Server, rng: &mut fastrand::Rng) {
        self.ending.set(true);
        let call = format!("/api/uploads/{}/cancel", self.upload.id());
        let end = match rng.bool() {
            true => rufh::delete(&self.upload),
            false => Req::new("POST", &call)
                .header("Content-Type", "application/json")
                .body(json!({ "reason": "raced" }).to_string()),
        };
        let answer = server.send(end).await;
        assert!(matches!(answer.status, 200 | 204), "{answer}");
    }

    /// What is left is a whole upload, one to go on with, or none, and everybody says the same.
    async fn settle(&self, server: &Server) {
        let before = self.told.get();
        let head = server.send(rufh::head(&self.upload)).await;
        self.judge(before, &head);
        if self.ending.get() && head.status == 410 {
            let gone = server.expect_draft_gone(&self.upload, 410, "upload-cancelled");
            return gone.await;
        }
        if self.ending.get() && head.status == 404 {
            server.send(rufh::get(&self.upload)).await.expect(404);
            return;
        }
        let row = server.row(&self.upload).await;
        assert_eq!(row["offset"].as_u64(), head.offset(), "{row}\n{head}");
        let is_complete = head.header("Upload-Complete") == Some(LAST);
        assert_eq!(row["state"] == "completed", is_complete, "{row}\n{head}");
        if !is_complete {
            let offset = head.offset().expect("it is told");
            let last = rufh::patch(&self.upload, offset, LAST).body(self.rest(offset));
            server.send(last).await.expect(201);
        }
        let found = server.send(rufh::get(&self.upload)).await.expect(200);
        assert_same_bytes(&found.body, &self.source, "the upload");
        found
            .expect_header("ETag", &etag(&self.source))
            .expect_complete(&self.source);
    }
}

#[tokio::test]
async fn r70_to_r73_senders_lookers_and_cancels_at_random_never_disagree() {
    let mut rng = random("r70_to_r73_senders_lookers_and_cancels_at_random_never_disagree");
    let server =
        Server::start(&["--checkpoint-bytes", "64Ki", "--checkpoint-interval", "5ms"]).await;
    for _ in 0..rounds(40) {
        let source = content(rng.u64(..), rng.usize(1..600_000));
        let upload = match rng.bool() {
            true => server.create_draft(source.len() as u64).await,
            false => server.create_open_draft().await,
        };
        let race = Race::new(upload, source);
        let ends = rng.u8(0..3) == 0;
        let mut rngs = [rng.fork(), rng.fork(), rng.fork(), rng.fork()];
        let [one, two, three, four] = &mut rngs;
        let sending = async |rng: &mut fastrand::Rng| {
            let mut silent = Vec::new();
            for _ in 0..rng.usize(1..5) {
                silent.extend(race.send(&server, rng).await);
            }
            silent
        };
        let looking = async {
            for _ in 0..three.usize(0..8) {
                if three.bool() {
                    race.look(&server).await;
                } else {
                    server.send(Req::new("GET", "/healthz")).await.expect(200);
                }
            }
        };
        let ending = async {
            for _ in 0..four.usize(0..10) {
                server.send(Req::new("GET", "/healthz")).await.expect(200);
            }
            if ends {
                race.end(&server, four).await;
            }
        };
        let all = tokio::join!(sending(one), sending(two), looking, ending);
        race.settle(&server).await;
        drop(all);
    }
    assert_stories(&server).await;
}

/// A sender of a whole upload in one request, as far as it is when the server is killed.
struct Optimist {
    /// Known from the first 104.
    race: Option<Race>,
    source: Vec<u8>,
    /// The end of the furthest byte that it has ever sent.
    sent: u64,
    /// Whether it has read that all is well.
    is_done: bool,
}

impl Optimist {
    fn new(source: Vec<u8>) -> Self {
        Self {
            race: None,
            source,
            sent: 0,
            is_done: false,
        }
    }

    /// Creates with `?1`, drips, now and then leaves for another connection, and reads every 104.
    ///
    /// # Errors
    /// The server is gone.
    async fn send(&mut self, server: &Server, rng: &mut fastrand::Rng) -> io::Result<()> {
        const PAUSE: Duration = Duration::from_millis(5);
        let length = self.source.len() as u64;
        let create = rufh::create(LAST).interop(NEWEST).declare(length);
        let mut conn = Conn::try_open(server.addr()).await?;
        conn.try_send_head(&create).await?;
        let Some(told) = conn.try_next_interim().await? else {
            panic!("no 104 ahead of:\n{}", conn.answer().await);
        };
        let upload = Upload::created(&told);
        let race = self.race.insert(Race::new(upload, self.source.clone()));
        let (mut at, mut left) = (0, Vec::new());
        let mut pace = tokio::time::interval(PAUSE);
        while at < length {
            pace.tick().await;
            if rng.u8(..) < 3 {
                let before = race.told.get();
                let head = rufh::head(&race.upload).interop(NEWEST);
                let answer = server.try_send(head).await?;
                assert!(!race.judge(before, &answer), "{answer}");
                at = answer.offset().expect("it is told");
                let patch = rufh::patch(&race.upload, at, LAST).interop(NEWEST);
                left.push(std::mem::replace(
                    &mut conn,
                    Conn::try_open(server.addr()).await?,
                ));
                let patch = patch.declare(length - at).expect_continue();
                conn.try_send_head(&patch).await?;
                // Or else it might come to the server after whoever takes it over next.
                while conn
                    .try_next_interim()
                    .await?
                    .is_some_and(|told| told.status != 100)
                {}
            }
            let piece = rng.usize(1..20_000).min(race.rest(at).len());
            race.said_all.set(at + piece as u64 == length);
            self.sent = self.sent.max(at + piece as u64);
            conn.try_send(&race.rest(at)[..piece]).await?;
            at += piece as u64;
            // With the last byte, it may be the answer that comes.
            if at < length
                && let Some(told) = conn.try_poll_interim()?.as_ref().and_then(Answer::offset)
            {
                race.tell(race.told.get(), told);
                assert!(told <= self.sent, "{told} of {} sent", self.sent);
            }
        }
        let answer = conn.try_answer().await?.expect(201);
        for interim in &answer.interim {
            assert!(matches!(interim.status, 100 | 104), "{answer}");
        }
        self.is_done = race.judge(race.told.get(), &answer);
        Ok(())
    }

    async fn settle(&self, server: &Server) {
        let Some(race) = &self.race else {
            return;
        };
        let head = server.send(rufh::head(&race.upload)).await.expect(204);
        let offset = head.offset().expect("it is told");
        assert!(
            offset <= self.sent,
            "{offset} of {} sent\n{head}",
            self.sent
        );
        let is_complete = head.header("Upload-Complete") == Some(LAST);
        assert!(is_complete || !self.is_done, "201 was told\n{head}");
        race.settle(server).await;
    }
}

#[tokio::test]
async fn r23_r52_r53_killed_over_last_requests_takes_nothing_back_and_completes_nothing() {
    const FLAGS: [&str; 4] = [
        "--checkpoint-bytes",
        "64Ki",
        "--checkpoint-interval",
        "20ms",
    ];
    const SENDERS: usize = 8;
    let mut rng = random("r23_r52_r53_killed_over_last_requests");
    let mut server = Server::start(&FLAGS).await;
    for round in 0..rounds(4) {
        let mut flags = FLAGS.to_vec();
        flags.extend([
            "--durability",
            if round % 2 == 0 {
                "process-crash"
            } else {
                "power-loss"
            },
        ]);
        let sources = (0..SENDERS).map(|_| content(rng.u64(..), rng.usize(1..6_000_000)));
        let mut senders: Vec<_> = sources.map(Optimist::new).collect();
        let mut rngs: Vec<_> = senders.iter().map(|_| rng.fork()).collect();
        // Before the first offset is told, and after it.
        let micros = rng.u64(0..2_500_000);
        kill_during(&mut server, micros, &flags, async |server| {
            let sending = senders.iter_mut().zip(&mut rngs);
            let sending = sending.map(async |(sender, rng)| {
                // That it is gone is what was to happen.
                drop(sender.send(server, rng).await);
            });
            join_all(sending).await;
        })
        .await;
        for sender in &senders {
            sender.settle(&server).await;
        }
    }
    assert_stories(&server).await;
}
