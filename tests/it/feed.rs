//! Feeds: what happens, told to whoever listens (contract, "Events").

use std::collections::BTreeMap;

use serde_json::json;

use crate::crash::kill_during;
use crate::support::server::Server;
use crate::support::sse::{Event, Sse};
use crate::support::tus::{self, Upload};
use crate::support::wire::Req;
use crate::support::{PATIENCE, eventually, random, rounds};

const FEED: &str = "projectId=default";

/// What nothing follows, in the life of an operation.
const TERMINAL: [&str; 4] = [
    "upload.completed",
    "upload.cancelled",
    "upload.expired",
    "upload.failed",
];

fn cancel(upload: &Upload) -> Req {
    let path = format!("/api/uploads/{}/cancel", upload.id());
    tus::request("POST", &path)
        .header("Content-Type", "application/json")
        .body(json!({"reason": "wrong file"}).to_string())
}

fn subject(upload: &Upload) -> String {
    format!("upload/{}", upload.id())
}

fn kinds(events: &[Event]) -> Vec<&str> {
    let logged = events.iter().filter(|event| event.id.is_some());
    logged.map(Event::kind).collect()
}

/// Everything that was ever told on the feed.
pub(crate) async fn told(server: &Server) -> Vec<Event> {
    // Its creation is the last event that there is.
    let last = server.create(1).await;
    let mut all = Sse::open(server, &format!("{FEED}&after=0"), None).await;
    let mut events = Vec::new();
    loop {
        let event = all.next().await;
        if event.subject() == subject(&last) {
            return events;
        }
        events.push(event);
    }
}

/// Checks every upload's events against each other and against its row.
///
/// A feed counts without a hole; a life begins with its creation, has one end at most, and no
/// progress behind that; and the row is what was told last.
pub(crate) async fn assert_stories(server: &Server) {
    let mut stories = BTreeMap::<String, Vec<String>>::new();
    let events = told(server).await;
    for (place, event) in (1..).zip(&events) {
        assert_eq!(event.sequence(), Some(place), "{event:?}");
        let story = stories.entry(event.subject().to_owned()).or_default();
        story.push(event.kind().to_owned());
    }
    for (subject, story) in stories {
        assert_eq!(story[0], "upload.created", "{subject}: {story:?}");
        let ends = story.iter().filter(|kind| TERMINAL.contains(&&***kind));
        assert!(ends.count() <= 1, "{subject}: {story:?}");
        let last = story.last().expect("it is not empty").as_str();
        let path = format!("/api/uploads/{}", subject.trim_start_matches("upload/"));
        let row = server.send(tus::request("GET", &path)).await;
        let state = match row.status {
            404 => "deleted".to_owned(),
            _ => row.json()["data"]["state"]
                .as_str()
                .expect("a state")
                .to_owned(),
        };
        let told = match last {
            "upload.created" | "upload.interrupted" | "upload.resumed" => "uploading",
            kind => kind.trim_start_matches("upload."),
        };
        assert_eq!(state, told, "{subject}: {story:?}");
    }
}

#[tokio::test]
async fn a_life_is_told_from_its_beginning_to_its_end() {
    let server = Server::start(&[]).await;
    let mut feed = Sse::open(&server, FEED, None).await;
    let named = tus::create(10).header("Upload-Metadata", tus::metadata(&[("filename", b"a.txt")]));
    let upload = Upload::created(&server.send(named).await.expect(201));
    let mut sender = server.connect().await;
    sender
        .send_head_and_wait(tus::patch(&upload, 0).declare(10))
        .await;
    sender.send(b"hello").await;
    drop(sender);
    let mut events = feed.until("upload.interrupted").await;
    assert_eq!(server.row(&upload).await["interrupted"], true);
    server.append(&upload, 5, b"world").await;
    events.extend(feed.until("upload.completed").await);
    assert_eq!(server.row(&upload).await["interrupted"], false);
    server.send(tus::delete(&upload)).await.expect(204);
    events.extend(feed.until("upload.deleted").await);
    let story = [
        "upload.created",
        "upload.interrupted",
        "upload.resumed",
        "upload.completed",
        "upload.deleted",
    ];
    assert_eq!(kinds(&events), story);
    let logged = events.iter().filter(|event| event.id.is_some());
    for (sequence, event) in (1..).zip(logged) {
        assert_eq!(event.sequence(), Some(sequence));
        assert_eq!(event.subject(), subject(&upload));
        let data = &event.json["data"];
        assert_eq!(data["id"], upload.id());
        assert_eq!(data["projectId"], "default");
        assert_eq!(data["userId"], "local");
        assert_eq!(data["filename"], "a.txt");
        assert_eq!(data["length"], 10);
    }
    let completed = &events.iter().find(|e| e.kind() == "upload.completed");
    let data = &completed.expect("it was told").json["data"];
    assert_eq!(data["offset"], 10);
    assert_eq!(data["sha256"].as_str().map(str::len), Some(64));
    assert_stories(&server).await;
}

#[tokio::test]
async fn a_cancel_is_told_to_its_end_and_nothing_after_it() {
    let server = Server::start(&[]).await;
    let mut feed = Sse::open(&server, FEED, None).await;
    let upload = server.create(1 << 30).await;
    let mut sender = server.connect().await;
    sender
        .send_head_and_wait(tus::patch(&upload, 0).declare(1 << 30))
        .await;
    sender.send(&[7; 100_000]).await;
    let progress = feed.until("upload.progress").await.pop().expect("one");
    assert_eq!(progress.id, None);
    assert_eq!(progress.sequence(), None);
    let data = &progress.json["data"];
    assert!(data["received"].as_u64() <= Some(100_000), "{data}");
    assert!(
        data["offset"].as_u64() <= data["received"].as_u64(),
        "{data}"
    );
    server.send(cancel(&upload)).await.expect(200);
    let events = feed.until("upload.cancelled").await;
    assert_eq!(kinds(&events), ["upload.cancelling", "upload.cancelled"]);
    let data = &events.last().expect("one").json["data"];
    assert_eq!(data["reason"], "wrong file");
    assert!(data["releasedBytes"].is_u64(), "{data}");
    let row = server.row(&upload).await;
    assert_eq!(
        (&row["reason"], &row["interrupted"]),
        (&"wrong file".into(), &false.into())
    );
    // Both are quiet: the first says what was, and there is no sender any more.
    server.send(cancel(&upload)).await.expect(200);
    let next = server.create(1).await;
    let event = feed.next().await;
    assert_eq!(event.subject(), subject(&next), "{event:?}");
}

#[tokio::test]
async fn a_reader_that_comes_back_misses_nothing_whatever_has_happened() {
    let mut rng = random("a reader that comes back");
    let mut server = Server::start(&[]).await;
    let mut cursor = Sse::open(&server, FEED, None).await.cursor;
    let mut known = 0;
    for _ in 0..rounds(5) {
        let micros = rng.u64(0..20_000);
        let made = kill_during(&mut server, micros, &[], async |server| {
            let mut made = Vec::new();
            for _ in 0..50 {
                match server.try_send(tus::create(7)).await {
                    Ok(answer) => made.push(Upload::created(&answer)),
                    Err(_killed) => break,
                }
            }
            made
        });
        let made = made.await;
        let mut feed = Sse::open(&server, FEED, Some(&cursor)).await;
        let last = server.create(7).await;
        let mut seen = Vec::new();
        loop {
            let event = feed.next().await;
            known += 1;
            assert_eq!(event.sequence(), Some(known));
            seen.push(event.subject().to_owned());
            if event.subject() == subject(&last) {
                break;
            }
        }
        for upload in made {
            assert!(seen.contains(&subject(&upload)), "{seen:?}");
        }
        cursor = feed.cursor;
    }
}

#[tokio::test]
async fn readers_get_what_they_ask_for() {
    let server = Server::start(&[]).await;
    let mut all = Sse::open(&server, "", None).await;
    let mut ends = Sse::open(&server, "types=upload.cancelled,upload.completed", None).await;
    let cancelled = server.create(5).await;
    server.send(cancel(&cancelled)).await.expect(200);
    let completed = server.complete(b"hello").await;
    for upload in [&cancelled, &completed] {
        assert_eq!(ends.next().await.subject(), subject(upload));
    }
    let events = all.until("upload.completed").await;
    assert_eq!(kinds(&events).len(), 5, "{events:?}");
    // The place of a reader moves with what it has got.
    let place = ends.cursor.clone();
    let mut rest = Sse::open(&server, "types=upload.*", Some(&place)).await;
    let next = server.create(1).await;
    assert_eq!(rest.next().await.subject(), subject(&next));
}

/// Else it would be told one day that it has missed them.
#[tokio::test]
async fn a_reader_moves_past_what_it_does_not_want() {
    let server = Server::start(&[]).await;
    let mut all = Sse::open(&server, FEED, None).await;
    let query = format!("{FEED}&types=upload.failed");
    let mut few = Sse::open(&server, &query, None).await;
    server.create(5).await;
    all.until("upload.created").await;
    assert_eq!(few.pinged().await, all.cursor);
}

/// Whoever comes next is told to be back, whether it was the sender's end that was noticed or its
/// silence.
#[tokio::test]
async fn a_sender_who_was_taken_over_from_had_gone() {
    let server = Server::start(&[]).await;
    let mut feed = Sse::open(&server, FEED, None).await;
    let upload = server.create(10).await;
    for sent in [0, 3] {
        let mut silent = server.connect().await;
        let patch = tus::patch(&upload, sent).declare(10 - sent);
        silent.send_head_and_wait(patch).await;
        silent.send(b"abc").await;
        let somebody_else = async {
            if sent > 0 {
                let wrong = tus::patch(&upload, 9).body("x");
                server.send(wrong).await.expect(409);
            }
            // Once it has been silent for long enough, a question takes over.
            loop {
                server.offset(&upload).await;
            }
        };
        let answer = tokio::select! {
            answer = silent.answer() => answer,
            () = somebody_else => unreachable!("it goes on asking"),
        };
        answer.expect_slug(400, "upload-superseded");
        feed.until("upload.interrupted").await;
    }
    server.append(&upload, 6, b"defg").await;
    let rest = feed.until("upload.completed").await;
    assert_eq!(kinds(&rest), ["upload.resumed", "upload.completed"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let server = Server::start(&[]).await;
    server.create(1).await;
    let place = Sse::open(&server, FEED, None).await.cursor;
    let other = Server::start(&[]).await;
    let foreign = Sse::open(&other, FEED, None).await.cursor;
    let get = |query: &str| Req::new("GET", &format!("/api/events?{query}"));
    for (request, status, slug) in [
        (get("projectId=other"), 404, "not-found"),
        (get("types=upload.eaten"), 400, "validation-failed"),
        (get("types=*"), 400, "validation-failed"),
        (get("after=1"), 400, "validation-failed"),
        (get("projectId=default&after=x"), 400, "validation-failed"),
        (get("projectId=default&after=2"), 409, "cursor-unknown"),
        (get("after=1&after=2"), 400, "validation-failed"),
        (
            get("projectId=default&after=ab12.user:x=0"),
            409,
            "cursor-unknown",
        ),
        (get(&format!("after={foreign}")), 409, "cursor-unknown"),
        (
            get("").header("Last-Event-ID", "\u{fc}"),
            400,
            "validation-failed",
        ),
        (
            get("").header("Last-Event-ID", &foreign),
            409,
            "cursor-unknown",
        ),
        (
            get("").header("Last-Event-ID", place.replace("=1", "=9")),
            409,
            "cursor-unknown",
        ),
    ] {
        server.send(request).await.expect_slug(status, slug);
    }
}

#[tokio::test]
async fn the_end_of_the_server_ends_the_feed() {
    let server = Server::start(&[]).await;
    let mut feed = Sse::open(&server, FEED, None).await;
    server.sigterm();
    assert!(feed.try_next().await.is_none());
    assert!(server.exited_within(PATIENCE).await.success());
}

/// Senders that come, go, are cancelled and complete, all at once and at random.
#[tokio::test]
async fn rows_and_events_tell_the_same_story() {
    let mut rng = random("rows and events");
    let server = Server::start(&[]).await;
    for _ in 0..rounds(10) {
        let lives = (0..8).map(|_| life(&server, rng.fork()));
        futures_util::future::join_all(lives).await;
    }
    eventually("nothing is half cancelled", async || {
        server.uploads("cancelling").await.is_empty().then_some(())
    })
    .await;
    assert_stories(&server).await;
}

async fn life(server: &Server, mut rng: fastrand::Rng) {
    let upload = server.create(60_000).await;
    for piece in 0..3 {
        let mut sender = server.connect().await;
        let patch = tus::patch(&upload, piece * 20_000).declare(20_000);
        sender.send_head(&patch).await;
        let sent = if rng.bool() {
            20_000
        } else {
            rng.usize(0..20_000)
        };
        // It may be over before it has begun.
        drop(sender.try_send(&vec![7; sent]).await);
        if rng.u8(0..4) == 0 {
            server.send(cancel(&upload)).await.expect(200);
        }
        if sent < 20_000 {
            return drop(sender);
        }
        if sender.try_answer().await.is_ok_and(|a| a.status != 204) {
            return;
        }
    }
}
