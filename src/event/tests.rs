//! The feeds over both engines: what is written, what is read, and what readers miss never.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::hub::Hub;
use super::{
    Cursor, Delivery, Draft, Event, Feed, Filter, Kind, NoSuchPlace, Start, Subscription, log,
};
use crate::cancel::{CancelReason, Scope, Settling};
use crate::db::conformance::{empty_postgres, empty_sqlite};
use crate::db::{CORE, Db, Sql, sql};

const EVENTS: &str = include_str!("../../docs/events.md");
const ASYNCAPI: &str = include_str!("../../docs/asyncapi.yaml");

/// A wait that only a defect makes this long.
const AT_MOST: Duration = Duration::from_secs(20);

#[test]
fn the_pages_name_every_type_that_there_is_and_no_other() {
    let known: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    let named = |text: &'static str, prefix: &'static str, suffix: &'static str| {
        let names = text.lines().filter_map(move |line| {
            let name = line.strip_prefix(prefix)?.split_once(suffix)?.0;
            (name.contains('.') && !name.contains(' ')).then_some(name)
        });
        names.collect::<BTreeSet<_>>()
    };
    assert_eq!(
        named(EVENTS, "| `", "` | "),
        known,
        "rows of docs/events.md"
    );
    let reference = ": { $ref: '#/components/messages/";
    for (prefix, suffix) in [("      ", reference), ("    ", ":")] {
        let found = named(ASYNCAPI, prefix, suffix);
        assert_eq!(found, known, "docs/asyncapi.yaml, at `{prefix}`");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    let (_dir, db) = empty_sqlite().await;
    suite(db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    suite(empty_postgres().await).await;
}

async fn suite(db: Db) {
    db.migrate(&[CORE, log::LINE]).await.unwrap();
    db.prepare_all(log::ALL).await.unwrap();
    let world = World {
        hub: Hub::new(db.clone(), Scope::root("feeds")),
        db,
    };
    world.an_event_is_a_cloud_event().await;
    world.what_is_rolled_back_is_not_told().await;
    world.writers_count_without_a_hole().await;
    world.a_new_feed_counts_its_first_events().await;
    world.a_slow_reader_misses_nothing().await;
    world.a_reader_goes_on_where_it_left_off().await;
    world.places_that_never_were_are_refused().await;
    world.what_was_trimmed_is_a_gap().await;
    world
        .a_feed_that_cannot_be_read_is_not_lost_in_silence()
        .await;
    world.no_progress_follows_the_end().await;
    world.the_end_of_the_server_ends_readers().await;
    world.db.close().await;
}

struct World {
    hub: Hub,
    db: Db,
}

fn draft(feed: &Feed, kind: Kind, subject: &str, data: Value) -> Draft {
    Draft {
        feed: feed.clone(),
        kind,
        subject: subject.to_owned(),
        data,
    }
}

fn feed(name: &str) -> Feed {
    Feed::Project(name.to_owned())
}

/// A reader that is asked for one delivery after the other.
struct Reader(Subscription);

impl Reader {
    async fn next(&mut self) -> Delivery {
        let next = timeout(AT_MOST, self.0.next()).await;
        next.expect("in time").expect("the feed goes on")
    }

    async fn logged(&mut self) -> std::sync::Arc<Event> {
        match self.next().await {
            Delivery::Logged(event) => event,
            Delivery::Live(event) => panic!("{event:?}"),
        }
    }

    async fn sequences(&mut self, count: u64) -> Vec<u64> {
        let mut sequences = Vec::new();
        for _ in 0..count {
            sequences.push(self.logged().await.sequence.unwrap());
        }
        sequences
    }
}

impl World {
    async fn tell(&self, draft: Draft) {
        let feed = draft.feed.clone();
        self.write(draft).await;
        self.hub.wake([&feed]);
    }

    async fn write(&self, draft: Draft) {
        let told = self.db.write(move |tx| {
            let draft = draft.clone();
            async move { log::record(tx, draft).await }.boxed()
        });
        told.await.unwrap();
    }

    async fn tell_many(&self, feed: &Feed, count: u64) {
        for n in 0..count {
            self.tell(draft(feed, Kind::UploadCreated, "upload/x", json!(n)))
                .await;
        }
    }

    async fn reader(&self, feed: &Feed, start: Start) -> Reader {
        let feeds = [feed.clone()];
        Reader(
            Subscription::open(&self.hub, &feeds, &start, Filter::ALL)
                .await
                .unwrap(),
        )
    }

    async fn an_event_is_a_cloud_event(&self) {
        let feed = feed("shape");
        let mut reader = self.reader(&feed, Start::Now).await;
        let data = json!({"filename": "\u{0}\"gr\u{fc}n\"\n"});
        self.tell(draft(&feed, Kind::UploadCreated, "upload/1", data.clone()))
            .await;
        let event = reader.logged().await;
        let json: Value = serde_json::from_slice(&event.json).unwrap();
        let fixed = [
            ("specversion", "1.0"),
            ("source", "/tidegate"),
            ("type", "upload.created"),
            ("subject", "upload/1"),
            ("datacontenttype", "application/json"),
            ("feed", "project:shape"),
            ("sequence", "1"),
        ];
        for (name, value) in fixed {
            assert_eq!(json[name], value, "{json}");
        }
        assert_eq!(json["data"], data);
        assert!(json["id"].as_str().unwrap().len() == 36);
        assert!(json["time"].as_str().unwrap().ends_with('Z'));
        assert!(!event.json.contains(&b'\n'), "one line of an event stream");
    }

    async fn what_is_rolled_back_is_not_told(&self) {
        let feed = feed("rolled back");
        let undone = self.db.write({
            let feed = feed.clone();
            move |tx| {
                let draft = draft(&feed, Kind::UploadCreated, "upload/2", json!({}));
                async move {
                    log::record(tx, draft).await?;
                    Err::<(), _>(crate::db::DbError::Busy)
                }
                .boxed()
            }
        });
        assert!(undone.await.is_err());
        self.tell_many(&feed, 1).await;
        let mut reader = self.reader(&feed, Start::After(0)).await;
        assert_eq!(reader.sequences(1).await, [1]);
    }

    async fn writers_count_without_a_hole(&self) {
        let feed = feed("many writers");
        let mut reader = self.reader(&feed, Start::Now).await;
        let writers = (0..8).map(|_| self.tell_many(&feed, 40));
        futures_util::future::join_all(writers).await;
        assert_eq!(reader.sequences(320).await, (1..=320).collect::<Vec<_>>());
    }

    async fn a_new_feed_counts_its_first_events(&self) {
        for round in 0..20 {
            let feed = feed(&format!("new {round}"));
            let writers = (0..8).map(|_| self.tell_many(&feed, 2));
            futures_util::future::join_all(writers).await;
            let mut reader = self.reader(&feed, Start::After(0)).await;
            assert_eq!(reader.sequences(16).await, (1..=16).collect::<Vec<_>>());
        }
    }

    async fn a_slow_reader_misses_nothing(&self) {
        let feed = feed("slow");
        let mut slow = self.reader(&feed, Start::Now).await;
        let mut fast = self.reader(&feed, Start::Now).await;
        // More than the ring of the live feed has.
        for _ in 0..6 {
            self.tell_many(&feed, 100).await;
            fast.sequences(100).await;
        }
        assert_eq!(slow.sequences(600).await, (1..=600).collect::<Vec<_>>());
        self.tell_many(&feed, 1).await;
        assert_eq!(slow.sequences(1).await, [601], "and is live again");
    }

    async fn a_reader_goes_on_where_it_left_off(&self) {
        let (one, two) = (feed("one of two"), feed("two of two"));
        let feeds = [one.clone(), two.clone()];
        let open = |start| Subscription::open(&self.hub, &feeds, start, Filter::ALL);
        let mut reader = Reader(open(&Start::Now).await.unwrap());
        self.tell_many(&one, 3).await;
        self.tell_many(&two, 2).await;
        for _ in 0..4 {
            reader.logged().await;
        }
        let cursor: Cursor = reader.0.cursor().to_string().parse().unwrap();
        drop(reader);
        self.tell_many(&two, 1).await;
        let mut reader = Reader(open(&Start::At(cursor)).await.unwrap());
        let mut all = Vec::new();
        for _ in 0..2 {
            let event = reader.logged().await;
            all.push((event.feed.clone(), event.sequence.unwrap()));
        }
        all.sort();
        let last = (two, 3);
        assert!(all.contains(&last), "{all:?}");
        assert_ne!(all[0], all[1]);
        let open_ended = timeout(Duration::from_millis(50), reader.0.next()).await;
        assert!(open_ended.is_err(), "nothing is told twice");
    }

    async fn places_that_never_were_are_refused(&self) {
        let feed = feed("places");
        self.tell_many(&feed, 1).await;
        let place = self.reader(&feed, Start::Now).await.0.cursor().to_string();
        let future = place.replace("=1", "=2");
        let foreign = format!("x{place}");
        for (start, is_known) in [
            (Start::After(1), true),
            (Start::After(2), false),
            (Start::At(place.parse().unwrap()), true),
            (Start::At(future.parse().unwrap()), false),
            (Start::At(foreign.parse().unwrap()), false),
        ] {
            let opened =
                Subscription::open(&self.hub, std::slice::from_ref(&feed), &start, Filter::ALL)
                    .await;
            let known = !matches!(opened, Err(NoSuchPlace::Unknown(_)));
            assert_eq!(known, is_known, "{start:?}");
        }
    }

    async fn what_was_trimmed_is_a_gap(&self) {
        static AGE: Sql = sql!("UPDATE event SET time = 0 WHERE sequence <= 700");
        let feed = feed("trimmed");
        self.tell_many(&feed, 703).await;
        let aged = self.db.write(|tx| tx.execute(&AGE, &[]).boxed());
        aged.await.unwrap();
        let hour = Duration::from_secs(3600);
        // As often as a sweeper would.
        while log::trim(&self.db, hour).await.unwrap() {}
        let mut late = self.reader(&feed, Start::After(10)).await;
        let gap = late.logged().await;
        assert_eq!((gap.kind, gap.sequence), (Kind::FeedGap, Some(700)));
        let json: Value = serde_json::from_slice(&gap.json).unwrap();
        let data = json!({"from": "11", "to": "700", "reason": "retention"});
        assert_eq!(json["data"], data);
        assert_eq!(late.sequences(3).await, [701, 702, 703]);
        log::trim(&self.db, Duration::ZERO).await.unwrap();
        self.tell_many(&feed, 1).await;
        assert_eq!(late.sequences(1).await, [704], "the count goes on");
    }

    async fn a_feed_that_cannot_be_read_is_not_lost_in_silence(&self) {
        static SPOIL: Sql =
            sql!("UPDATE event SET type = 'no such' WHERE feed_id = 'project:spoilt'");
        let feeds = [feed("sound"), feed("spoilt")];
        self.tell_many(&feeds[0], 3).await;
        self.tell_many(&feeds[1], 1).await;
        let spoilt = self.db.write(|tx| tx.execute(&SPOIL, &[]).boxed());
        spoilt.await.unwrap();
        let opened = Subscription::open(&self.hub, &feeds, &Start::After(0), Filter::ALL).await;
        let reading = opened.unwrap().count();
        assert!(timeout(AT_MOST, reading).await.expect("an end") <= 3);
    }

    async fn no_progress_follows_the_end(&self) {
        let feed = feed("progress");
        for round in 0..10 {
            let subject = format!("upload/{round}");
            let mut reader = self.reader(&feed, Start::Now).await;
            let operation = self.hub.operations().begin(subject.clone());
            operation.show(feed.clone(), Kind::UploadProgress, || Some(json!({})));
            let live = reader.next().await;
            assert!(matches!(live, Delivery::Live(_)), "{live:?}");
            self.tell(draft(&feed, Kind::UploadCompleted, &subject, json!({})))
                .await;
            let mut has_ended = false;
            loop {
                match timeout(Duration::from_millis(500), reader.0.next()).await {
                    Ok(Some(Delivery::Live(event))) => assert!(!has_ended, "{event:?}"),
                    Ok(Some(Delivery::Logged(_))) => has_ended = true,
                    Ok(None) => panic!("the feed goes on"),
                    Err(_silence) => break,
                }
            }
            assert!(has_ended);
            drop(operation);
        }
    }

    async fn the_end_of_the_server_ends_readers(&self) {
        let mut reader = self.reader(&feed("end"), Start::Now).await;
        self.hub.scope().cancel(CancelReason::Shutdown);
        let ended = timeout(AT_MOST, reader.0.next()).await;
        assert!(ended.expect("in time").is_none());
        let settled = self.hub.scope().settle(AT_MOST).await;
        assert_eq!(settled, Settling::Settled);
    }
}
