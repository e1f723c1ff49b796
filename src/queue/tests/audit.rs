//! What holds between any two transactions, checked over all rows and events of a project at one
//! moment. It tells the story anew from the events alone, and compares.

use std::collections::HashMap;

use futures_util::FutureExt;
use serde_json::Value;

use super::super::item::{State, image_status};
use super::super::store::ATTEMPTS_MAX;
use super::Shelf;
use crate::db::{Db, Param, Row, Sql, sql};
use crate::event::Kind;

/// $1 feed, $2 sequence to go on after.
static EVENTS: Sql = sql!(
    "SELECT sequence, type, subject, data FROM event WHERE feed_id = $1 AND sequence > $2 \
     ORDER BY sequence"
);

/// $1 project.
static ITEMS: Sql = sql!(
    "SELECT id, image_id, state, attempt, fence, how, finished_at, holder, worker, claim_id, \
     lease_until, cancel_by, cancelled_at, error FROM queue_item WHERE project_id = $1"
);

/// $1 project.
static COUNTS: Sql = sql!("SELECT queued, processing FROM queue_count WHERE project_id = $1");

/// $1 project.
static RESULTS: Sql =
    sql!("SELECT image_id, item_id, report FROM queue_result WHERE project_id = $1");

/// A project at one moment.
pub(super) struct Found {
    project: String,
    events: Vec<Row>,
    items: Vec<Row>,
    counts: Option<(i64, i64)>,
    results: Vec<Row>,
}

/// Reads a project, and of its events those after a sequence.
pub(super) async fn read(db: &Db, project: String, after: i64) -> Found {
    let read = db.read_snapshot(|tx| {
        let project = project.clone();
        async move {
            let feed = format!("project:{project}");
            let this = [Param::Text(&project)];
            let events = [Param::Text(&feed), Param::Int(after)];
            let counts = tx.fetch_optional(&COUNTS, &this).await?;
            let counts = counts.map(|row| Ok::<_, crate::db::DbError>((row.int(0)?, row.int(1)?)));
            Ok(Found {
                events: tx.fetch_all(&EVENTS, &events).await?,
                items: tx.fetch_all(&ITEMS, &this).await?,
                counts: counts.transpose()?,
                results: tx.fetch_all(&RESULTS, &this).await?,
                project,
            })
        }
        .boxed()
    });
    read.await.unwrap()
}

/// What the events have told so far.
#[derive(Default)]
pub(super) struct Audit {
    projects: HashMap<String, Project>,
}

#[derive(Default)]
struct Project {
    sequence: i64,
    items: HashMap<String, Told>,
    images: HashMap<String, Life>,
    queued: i64,
    processing: i64,
    /// Of the last event that says so.
    stats: Option<(i64, i64)>,
    /// Events that say of an image what is to come in the same transaction.
    early: Vec<Value>,
}

/// An item, by its events.
struct Told {
    state: State,
    image: String,
    how: Option<String>,
}

/// An image, by the events of its items.
#[derive(Default)]
struct Life {
    /// Of its items, the one that was enqueued last.
    last: String,
    /// Whose result it has.
    result: Option<String>,
}

impl Audit {
    /// The sequence of the last event of a project that it has been told.
    pub(super) fn seen(&self, project: &str) -> i64 {
        self.projects.get(project).map_or(0, |told| told.sequence)
    }

    pub(super) fn check(&mut self, found: Found, shelf: &Shelf) {
        let project = self.projects.entry(found.project.clone()).or_default();
        for row in &found.events {
            project.hear(&found.project, row, shelf);
        }
        project.ends();
        project.agrees(&found, shelf);
    }

    pub(super) fn forget(&mut self, project: &str) {
        self.projects.remove(project);
    }
}

impl Project {
    fn hear(&mut self, name: &str, row: &Row, shelf: &Shelf) {
        let sequence = row.int(0).unwrap();
        assert_eq!(sequence, self.sequence + 1, "without a hole");
        self.sequence = sequence;
        let kind = Kind::parse(row.text(1).unwrap()).unwrap();
        let data: Value = serde_json::from_str(row.text(3).unwrap()).unwrap();
        assert_eq!(data["projectId"], name, "{data}");
        if kind == Kind::QueueStats {
            assert_eq!(row.text(2).unwrap(), format!("project/{name}"));
            let number = |member: &str| data[member].as_i64().unwrap();
            let stats = (number("queued"), number("processing"));
            assert_eq!(stats, (self.queued, self.processing), "{data}");
            assert_eq!(number("total"), stats.0 + stats.1);
            assert_ne!(self.stats, Some(stats), "what stays is no news");
            self.stats = Some(stats);
            // Which comes last in a transaction.
            self.ends();
            return;
        }
        let state = State::parse(data["state"].as_str().unwrap()).unwrap();
        let id = data["id"].as_str().unwrap();
        assert_eq!(row.text(2).unwrap(), format!("queue/{id}"));
        assert_eq!(kind.as_str(), format!("queue.item.{}", state.as_str()));
        self.step(id, state, &data);
        let image = data["imageId"].as_str().unwrap();
        // Of one that is gone the result is dropped in silence.
        if shelf.has(image) && data["imageStatus"] != self.status(image) {
            self.early.push(data);
        }
    }

    fn status(&self, image: &str) -> &'static str {
        let life = &self.images[image];
        let last = self.items[&life.last].state;
        image_status(Some(last), life.result.is_some())
    }

    /// What was told of images has come to be so by the end of the transaction.
    fn ends(&mut self) {
        for data in self.early.drain(..).collect::<Vec<_>>() {
            let image = data["imageId"].as_str().unwrap();
            assert_eq!(data["imageStatus"], self.status(image), "{data}");
        }
    }

    /// An item comes into a state, if it may.
    fn step(&mut self, id: &str, state: State, data: &Value) {
        let image = data["imageId"].as_str().unwrap();
        let how = data["how"].as_str();
        let before = self.items.get(id).map(|told| told.state);
        let is_legal = match (before, state) {
            (None, State::Queued) => {
                let life = self.images.entry(image.to_owned()).or_default();
                if let Some(last) = self.items.get(&life.last) {
                    let is_active = matches!(last.state, State::Queued | State::Processing);
                    assert!(!is_active, "two of one image are active: {data}");
                }
                life.last = id.to_owned();
                how.is_none()
            }
            (Some(State::Queued), State::Processing)
            | (
                Some(State::Processing),
                State::Queued | State::Completed | State::Failed | State::Cancelling,
            ) => how.is_none(),
            (Some(State::Queued), State::Cancelled) => how == Some("before_start"),
            (Some(State::Cancelling), State::Cancelled) => {
                matches!(how, Some("worker" | "lease_expired"))
            }
            _ => false,
        };
        assert!(is_legal, "from {before:?} to {data}");
        for (counted, by) in [(before, -1), (Some(state), 1)] {
            match counted {
                Some(State::Queued) => self.queued += by,
                Some(State::Processing) => self.processing += by,
                _ => {}
            }
        }
        if state == State::Completed {
            self.images.get_mut(image).unwrap().result = Some(id.to_owned());
        }
        let told = Told {
            state,
            image: image.to_owned(),
            how: how.map(str::to_owned),
        };
        if let Some(before) = self.items.insert(id.to_owned(), told) {
            assert_eq!(before.image, image);
        }
    }

    /// The rows say what the events say.
    fn agrees(&self, found: &Found, shelf: &Shelf) {
        let counts = found.counts.unwrap_or_default();
        assert_eq!(counts, (self.queued, self.processing), "counts drift");
        assert_eq!(counts, self.stats.unwrap_or_default(), "the last that told");
        let (mut queued, mut processing) = (0, 0);
        for row in &found.items {
            let told = self.items.get(row.text(0).unwrap());
            match self.item(row, told.expect("what is there was told")) {
                State::Queued => queued += 1,
                State::Processing => processing += 1,
                _ => {}
            }
        }
        assert_eq!(counts, (queued, processing), "what is counted is there");
        let mut results = HashMap::new();
        for row in &found.results {
            results.insert(row.text(0).unwrap(), row.text(1).unwrap());
        }
        for (image, life) in &self.images {
            // A project that goes loses its items first.
            if shelf.has(image) && !found.items.is_empty() {
                assert_eq!(results.get(&**image).copied(), life.result.as_deref());
            }
        }
    }

    fn item(&self, row: &Row, told: &Told) -> State {
        let id = row.text(0).unwrap();
        let state = State::parse(row.text(2).unwrap()).unwrap();
        assert_eq!(state, told.state, "{id}");
        assert_eq!(row.text(1).unwrap(), told.image, "{id}");
        assert_eq!(row.opt_text(5).unwrap(), told.how.as_deref(), "{id}");
        let attempt = row.int(3).unwrap();
        assert!((0..=ATTEMPTS_MAX).contains(&attempt), "{id}: {attempt}");
        assert!(row.int(4).unwrap() >= attempt, "{id}");
        let is_claimed = matches!(state, State::Processing | State::Cancelling);
        for column in [7, 8, 9] {
            let is_there = row.opt_text(column).unwrap().is_some();
            assert_eq!(is_there, is_claimed, "{id}: column {column}");
        }
        let (lease, cancel_by) = (row.opt_int(10).unwrap(), row.opt_int(11).unwrap());
        assert_eq!(lease.is_some(), is_claimed, "{id}");
        assert_eq!(cancel_by.is_some(), state == State::Cancelling, "{id}");
        if let (Some(lease), Some(cancel_by)) = (lease, cancel_by) {
            assert!(lease <= cancel_by, "{id}: a cancel shortens the lease");
        }
        let is_cancelled = matches!(state, State::Cancelling | State::Cancelled);
        assert_eq!(row.opt_int(12).unwrap().is_some(), is_cancelled, "{id}");
        let is_over = matches!(state, State::Completed | State::Failed | State::Cancelled);
        assert_eq!(row.opt_int(6).unwrap().is_some(), is_over, "{id}");
        if state == State::Failed {
            assert!(row.opt_text(13).unwrap().is_some(), "{id}: why");
        }
        state
    }
}
