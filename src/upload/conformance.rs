//! One behavioural suite over every [`UploadStore`]: in memory, on SQLite, on PostgreSQL.
//!
//! | file | what |
//! |---|---|
//! | this one | creation, steps of an append, lists, what a restart asks for |
//! | `contents.rs` | what other modules look up |
//! | `ends.rs` | the ways to end, and what comes after |
//! | `finals.rs` | final uploads, and what refers to a blob |
//! | `races.rs` | transactions that meet |
//! | `limits.rs` | what projects are charged, how many uploads somebody has open, and the most of both |
//! | `plans.rs` | how the databases go about what is asked again and again |
//! | `drift.rs` | random sequences, against the store in memory step by step |
//!
//! The PostgreSQL half needs the server that [`crate::db::conformance`] asks for.

mod access_rights;
mod contents;
mod drift;
mod ends;
mod finals;
mod limits;
mod plans;
mod races;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tidegate_protocol::field::offset;
use tidegate_protocol::request::Protocol;
use tidegate_protocol::upload::{Commit, Invalid, Mark};

use super::event;
use super::memory::MemoryStore;
use super::migrations::LINE;
use super::statement;
use super::store::{
    Advance, Advanced, Canceller, Filter, Kind, Made, NewUpload, State, Upload, UploadStore,
};
use crate::access;
use crate::auth::Caller;
use crate::db::conformance::{execute, open, scratch_postgres};
use crate::db::{CORE, Db, DbUrl, Durability, Sql, sql};
use crate::event::log;
use crate::id::UploadId;

const HOUR: Duration = Duration::from_secs(3600);

/// Stored as they are, whatever they are.
const ODD_TEXT: &str = "name d29ybGQ=,empty,\tq\"'\\$1 {now} %00 gr\u{fc}n \u{1f980}";

#[tokio::test]
async fn memory() {
    suite(&Subject::memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    for durability in [Durability::PowerLoss, Durability::ProcessCrash] {
        let dir = tempfile::tempdir().unwrap();
        let subject = Subject::sqlite(dir.path(), durability).await;
        prepares_every_statement(&subject).await;
        suite(&subject).await;
        subject.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    let subject = Subject::postgres().await;
    prepares_every_statement(&subject).await;
    suite(&subject).await;
    subject.close().await;
}

async fn suite(on: &Subject) {
    makes_uploads(on).await;
    makes_uploads_that_say_less(on).await;
    an_id_is_used_once(on).await;
    keeps_text_and_bytes_as_they_are(on).await;
    advances_on_condition(on).await;
    declares_a_length(on).await;
    completes(on).await;
    invalidates(on).await;
    keeps_the_rules_of_a_protocol(on).await;
    keeps_the_largest_numbers(on).await;
    access_rights::suite(on).await;
    ends::suite(on).await;
    lists_pages(on).await;
    walks_for_a_restart(on).await;
    finals::suite(on).await;
    contents::suite(on).await;
    races::suite(on).await;
    limits::suite(on).await;
}

/// A store under test, and its clock.
pub(super) struct Subject {
    store: Arc<dyn UploadStore>,
    clock: Clock,
}

enum Clock {
    Manual(MemoryStore),
    Database(Db),
}

impl Subject {
    fn memory() -> Self {
        let store = MemoryStore::default();
        Self {
            store: Arc::new(store.clone()),
            clock: Clock::Manual(store),
        }
    }

    async fn sqlite(dir: &Path, durability: Durability) -> Self {
        Self::over(
            open(DbUrl::Sqlite(dir.join("test.db")), durability)
                .await
                .unwrap(),
        )
        .await
    }

    async fn postgres() -> Self {
        let url = DbUrl::Postgres(scratch_postgres().await);
        Self::over(open(url, Durability::PowerLoss).await.unwrap()).await
    }

    async fn over(db: Db) -> Self {
        db.migrate(&[CORE, log::LINE, access::LINE, LINE])
            .await
            .unwrap();
        Self {
            store: Arc::new(limits::sql_store(&db)),
            clock: Clock::Database(db),
        }
    }

    async fn close(&self) {
        if let Clock::Database(db) = &self.clock {
            db.close().await;
        }
    }

    /// What has been told: the story of each upload, in its order.
    async fn told(&self) -> BTreeMap<String, Vec<&'static str>> {
        let told = match &self.clock {
            Clock::Manual(store) => {
                let subject = |(id, kind)| (event::subject(id), kind);
                store.told().into_iter().map(subject).collect()
            }
            Clock::Database(db) => {
                let events = log::all(db).await.unwrap();
                let told = events.into_iter().map(|event| (event.subject, event.kind));
                told.collect::<Vec<_>>()
            }
        };
        let mut stories = BTreeMap::<_, Vec<_>>::new();
        for (subject, kind) in told {
            stories.entry(subject).or_default().push(kind.as_str());
        }
        stories
    }

    /// Waits until the store's clock shows another millisecond.
    async fn tick(&self) {
        match &self.clock {
            Clock::Manual(store) => store.pass(Duration::from_millis(1)),
            Clock::Database(db) => {
                let begun = now(db).await;
                while now(db).await <= begun {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    async fn find(&self, id: UploadId) -> Upload {
        self.store
            .find(id)
            .await
            .unwrap()
            .expect("the row is there")
    }

    async fn create(&self, new: NewUpload) -> Upload {
        self.made(new).await.upload
    }

    /// Makes an upload, in a project to which its owner has access.
    async fn made(&self, new: NewUpload) -> Made {
        if let Some(project) = &new.project {
            self.open(project).await;
            self.share(project, &new.caller.user, "accepted").await;
        }
        self.store.create(new).await.unwrap().expect("it is made")
    }

    /// Makes a project of somebody's, if it is not there.
    async fn open(&self, project: &str) {
        match &self.clock {
            Clock::Manual(store) => store.open(project, "somebody"),
            Clock::Database(db) => {
                execute(db, &OPEN, &[project, "somebody"]).await;
            }
        }
    }

    /// Brings somebody's share of a project into a state.
    async fn share(&self, project: &str, user: &str, status: &'static str) {
        match &self.clock {
            Clock::Manual(store) => store.share(project, user, status == "accepted"),
            Clock::Database(db) => {
                let id = format!("{project}/{user}");
                execute(db, &SHARE, &[&id, project, user, status]).await;
            }
        }
    }

    async fn expiring(&self, limit: u32) -> Vec<UploadId> {
        let due = self.store.expiring(None, limit).await.unwrap();
        due.into_iter().map(|due| due.id).collect()
    }

    async fn releasable(&self) -> Vec<UploadId> {
        let due = self.store.releasable(None, 1_000).await.unwrap();
        due.into_iter().map(|due| due.id).collect()
    }

    /// A partial upload that is complete with `length` bytes.
    async fn part(&self, project: &str, length: u64) -> Upload {
        let upload = self
            .create(NewUpload {
                partial: true,
                length: Some(length),
                ..new_upload(project)
            })
            .await;
        if length > 0 {
            self.must_advance(step(&upload, length, Mark::Completed))
                .await;
        }
        self.find(upload.id).await
    }

    async fn must_advance(&self, advance: Advance) {
        let advanced = self.store.advance(advance).await.unwrap();
        assert!(
            matches!(advanced, Advanced::Committed { .. }),
            "{advanced:?}"
        );
    }

    async fn must_refuse(&self, advance: Advance) {
        let before = self.store.find(advance.id).await.unwrap();
        assert_eq!(
            self.store.advance(advance.clone()).await.unwrap(),
            Advanced::Refused
        );
        assert_eq!(
            self.store.find(advance.id).await.unwrap(),
            before,
            "{advance:?}"
        );
    }

    /// Lets an upload's time be over.
    async fn outlive(&self, upload: &Upload) {
        let step = Advance {
            expires_after: Duration::ZERO,
            ..step(upload, upload.offset, Mark::Open)
        };
        self.must_advance(step).await;
        self.tick().await;
    }
}

static OPEN: Sql = sql!(
    "INSERT INTO project (id, owner_id, title, is_default, created_at, updated_at) \
     VALUES ($1, $2, 'a title', 0, {now}, {now}) ON CONFLICT DO NOTHING"
);
static SHARE: Sql = sql!(
    "INSERT INTO share (id, project_id, user_id, status, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, {now}, {now}) ON CONFLICT (id) DO UPDATE SET status = excluded.status"
);

async fn now(db: &Db) -> i64 {
    static NOW: Sql = sql!("SELECT {now}");
    let now = db.read(|tx| {
        async move { tx.fetch_optional(&NOW, &[]).await?.expect("one row").int(0) }.boxed()
    });
    now.await.unwrap()
}

/// A project of its own, so that nothing else is in its list.
fn project() -> String {
    UploadId::random().to_string()
}

fn new_upload(project: &str) -> NewUpload {
    NewUpload {
        id: UploadId::random(),
        named: false,
        project: Some(project.to_owned()),
        caller: Caller::named("somebody"),
        partial: false,
        length: Some(100),
        metadata: String::from("filename Zg=="),
        protocol: Protocol::Tus,
        expected_sha256: None,
        digest: Some(vec![1, 2, 3]),
        sha256_of_nothing: Some(String::from("e3b0")),
        expires_after: HOUR,
    }
}

/// A step of `upload` to `to`, as its newest attempt would make it.
fn step(upload: &Upload, to: u64, mark: Mark) -> Advance {
    let completes = mark == Mark::Completed;
    Advance {
        id: upload.id,
        epoch: upload.epoch,
        commit: Commit {
            from: upload.offset,
            to,
            length: None,
            mark,
        },
        digest: (!completes).then(|| to.to_be_bytes().to_vec()),
        sha256: completes.then(|| format!("{to:x}")),
        expires_after: HOUR,
        size_max: offset::MAX,
    }
}

async fn prepares_every_statement(on: &Subject) {
    let Clock::Database(db) = &on.clock else {
        return;
    };
    db.prepare_all(statement::ALL).await.unwrap();
}

async fn makes_uploads(on: &Subject) {
    let new = new_upload(&project());
    let made = on.create(new.clone()).await;
    assert_eq!(
        made,
        Upload {
            id: new.id,
            project: new.project.clone().unwrap(),
            owner: new.caller.user.clone(),
            kind: Kind::Whole,
            state: State::Uploading,
            epoch: 1,
            offset: 0,
            length: Some(100),
            metadata: new.metadata.clone(),
            concat: None,
            digest: Some(vec![1, 2, 3]),
            sha256: None,
            created_at: made.created_at,
            updated_at: made.updated_at,
            completed_at: None,
            expires_at: made.expires_at,
            ended_at: None,
            end_reason: None,
            ended_by: None,
            interrupted_at: None,
            protocol: Protocol::Tus,
            expected_sha256: None,
            released_bytes: None,
        }
    );
    let expires_in = made.expires_at.unwrap() - made.created_at;
    assert!((0..=50).contains(&(expires_in - 3_600_000)), "{expires_in}");
    assert_eq!(on.find(new.id).await, made);
    assert_eq!(on.store.find(UploadId::random()).await.unwrap(), None);
}

async fn makes_uploads_that_say_less(on: &Subject) {
    let deferred = on
        .create(NewUpload {
            length: None,
            digest: None,
            ..new_upload("p")
        })
        .await;
    assert_eq!(
        (deferred.length, deferred.digest, deferred.state),
        (None, None, State::Uploading)
    );

    for partial in [false, true] {
        let new = NewUpload {
            length: Some(0),
            partial,
            ..new_upload("p")
        };
        let empty = on.create(new).await;
        assert_eq!(
            (empty.state, empty.offset, empty.length),
            (State::Completed, 0, Some(0))
        );
        assert_eq!(
            (empty.sha256.as_deref(), &empty.digest),
            (Some("e3b0"), &None)
        );
        assert!(empty.completed_at.is_some());
        assert_eq!(
            empty.expires_at.is_some(),
            partial,
            "only a part is not for ever"
        );
        on.must_refuse(step(&empty, 1, Mark::Open)).await;
    }
}

async fn an_id_is_used_once(on: &Subject) {
    let made = on.create(new_upload("p")).await;
    let again = on
        .store
        .create(NewUpload {
            id: made.id,
            length: Some(1),
            ..new_upload("q")
        })
        .await
        .unwrap();
    let again = again.unwrap();
    assert_eq!((again.is_new, &again.upload), (false, &made));
    assert_eq!(on.find(made.id).await, made);
}

async fn keeps_text_and_bytes_as_they_are(on: &Subject) {
    let long = ODD_TEXT.repeat(200);
    for text in [ODD_TEXT, "", " ", long.as_str()] {
        let every_byte: Vec<u8> = (0..=255).collect();
        let new = NewUpload {
            caller: Caller::named(text),
            metadata: text.to_owned(),
            digest: Some(every_byte.clone()),
            ..new_upload(&project())
        };
        let made = on.create(new).await;
        let found = on.find(made.id).await;
        assert_eq!(
            (found.owner.as_str(), found.metadata.as_str()),
            (text, text)
        );
        assert_eq!(found.digest, Some(every_byte));
        let cancelled = on
            .store
            .cancel(made.id, Canceller::Sender, Some(text.to_owned()))
            .await
            .unwrap();
        assert!(cancelled.has_begun());
        assert_eq!(on.find(made.id).await.end_reason.as_deref(), Some(text));
    }
}

async fn advances_on_condition(on: &Subject) {
    let made = on.create(new_upload("p")).await;
    on.tick().await;
    let first = step(&made, 40, Mark::Open);
    let advanced = on.store.advance(first.clone()).await.unwrap();
    let found = on.find(made.id).await;
    assert_eq!(
        advanced,
        Advanced::Committed {
            expires_at: found.expires_at
        }
    );
    assert_eq!(
        (found.offset, found.state, found.epoch),
        (40, State::Uploading, 1)
    );
    assert_eq!((&found.digest, &found.sha256), (&first.digest, &None));
    assert!(found.expires_at > made.expires_at, "it is put off");
    assert!(found.updated_at > made.updated_at);
    assert_eq!(
        (found.created_at, found.completed_at),
        (made.created_at, None)
    );

    on.must_refuse(first.clone()).await;
    on.must_refuse(Advance {
        epoch: 0,
        ..step(&found, 50, Mark::Open)
    })
    .await;
    on.must_refuse(Advance {
        epoch: 2,
        ..step(&found, 50, Mark::Open)
    })
    .await;
    for from in [0, 39, 41] {
        let commit = Commit {
            from,
            to: 60,
            length: None,
            mark: Mark::Open,
        };
        on.must_refuse(Advance {
            commit,
            ..first.clone()
        })
        .await;
    }
    on.must_refuse(Advance {
        id: UploadId::random(),
        ..step(&found, 50, Mark::Open)
    })
    .await;

    // Only the state of the digest is news.
    on.must_advance(Advance {
        digest: None,
        ..step(&found, 40, Mark::Open)
    })
    .await;
    assert_eq!(on.find(made.id).await.digest, None);
}

async fn declares_a_length(on: &Subject) {
    let made = on
        .create(NewUpload {
            length: None,
            ..new_upload("p")
        })
        .await;
    let mut declaring = step(&made, 5, Mark::Open);
    declaring.commit.length = Some(9);
    on.must_advance(declaring).await;
    let found = on.find(made.id).await;
    assert_eq!((found.offset, found.length), (5, Some(9)));
    on.must_advance(step(&found, 7, Mark::Open)).await;
    let found = on.find(made.id).await;
    assert_eq!(found.length, Some(9), "a step without a length leaves it");
    let mut last = step(&found, 9, Mark::Completed);
    last.commit.length = Some(9);
    on.must_advance(last).await;
    let found = on.find(made.id).await;
    assert_eq!(
        (found.offset, found.length, found.state),
        (9, Some(9), State::Completed)
    );
}

async fn completes(on: &Subject) {
    for partial in [false, true] {
        let made = on
            .create(NewUpload {
                partial,
                ..new_upload("p")
            })
            .await;
        on.tick().await;
        let last = step(&made, 100, Mark::Completed);
        let advanced = on.store.advance(last.clone()).await.unwrap();
        let found = on.find(made.id).await;
        assert_eq!(
            advanced,
            Advanced::Committed {
                expires_at: found.expires_at
            }
        );
        assert_eq!((found.state, found.offset), (State::Completed, 100));
        assert_eq!((&found.digest, &found.sha256), (&None, &last.sha256));
        assert!(found.completed_at.is_some_and(|at| at > made.created_at));
        assert_eq!((found.ended_at, &found.end_reason), (None, &None));
        assert_eq!(
            found.expires_at.is_some(),
            partial,
            "only a part is not for ever"
        );
        on.must_refuse(step(&found, 100, Mark::Completed)).await;
        on.must_refuse(step(&found, 101, Mark::Open)).await;
        on.must_refuse(last).await;
    }
}

async fn invalidates(on: &Subject) {
    let mut reasons = BTreeSet::new();
    for why in [Invalid::PastLength, Invalid::Digest] {
        let made = on.create(new_upload("p")).await;
        on.must_advance(step(&made, 100, Mark::Invalidated(why)))
            .await;
        let found = on.find(made.id).await;
        assert_eq!(
            (found.state, found.offset, found.expires_at),
            (State::Failed, 100, None)
        );
        assert!(found.ended_at.is_some());
        reasons.extend(found.end_reason.clone());
        assert_eq!(found.completed_at, None);
        on.must_refuse(step(&found, 101, Mark::Open)).await;
    }
    assert_eq!(reasons.len(), 2, "{reasons:?}");
}

/// An upload of the draft is complete when its sender says so, and not at its length.
async fn keeps_the_rules_of_a_protocol(on: &Subject) {
    let new = NewUpload {
        length: Some(0),
        protocol: Protocol::Draft,
        expected_sha256: Some("ab".repeat(32)),
        ..new_upload("p")
    };
    let made = on.create(new.clone()).await;
    assert_eq!((made.state, made.length), (State::Uploading, Some(0)));
    assert!(made.expires_at.is_some() && made.digest.is_some() && made.sha256.is_none());
    assert_eq!(made.protocol, Protocol::Draft);
    assert_eq!(made.expected_sha256, new.expected_sha256);
    assert_eq!(on.find(made.id).await, made);
    on.must_advance(step(&made, 0, Mark::Completed)).await;
    let found = on.find(made.id).await;
    assert_eq!((found.state, found.offset), (State::Completed, 0));
}

async fn keeps_the_largest_numbers(on: &Subject) {
    let most = i64::MAX.unsigned_abs();
    let new = NewUpload {
        length: Some(most),
        ..new_upload("p")
    };
    let made = on.create(new).await;
    on.must_advance(step(&made, most - 1, Mark::Open)).await;
    let found = on.find(made.id).await;
    assert_eq!((found.offset, found.length), (most - 1, Some(most)));
    on.must_advance(step(&found, most, Mark::Completed)).await;
    assert_eq!(on.find(made.id).await.offset, most);
    on.store
        .cancel(made.id, Canceller::Sender, None)
        .await
        .unwrap();
    on.store.released(made.id, most, HOUR).await.unwrap();
    assert_eq!(on.store.find(made.id).await.unwrap(), None);

    // A time that no calendar has is still a time.
    let new = NewUpload {
        expires_after: Duration::MAX,
        ..new_upload("p")
    };
    let made = on.create(new).await;
    assert!(
        made.expires_at.is_some_and(|at| at > made.created_at),
        "{made:?}"
    );
    let far = Advance {
        expires_after: Duration::MAX,
        ..step(&made, 1, Mark::Open)
    };
    on.must_advance(far).await;
    assert!(!on.store.expire(made.id).await.unwrap());
    assert_eq!(on.store.forget(Duration::MAX).await.unwrap(), 0);
}

async fn lists_pages(on: &Subject) {
    let project = project();
    on.open(&project).await;
    let list = |state, page, limit| {
        let filter = Filter {
            project: project.clone(),
            state,
            page,
            limit,
        };
        async move {
            let listed = on
                .store
                .list(filter, Caller::named("somebody"))
                .await
                .unwrap();
            let (found, total) = listed.expect("he may see it");
            (
                found
                    .into_iter()
                    .map(|upload| upload.id)
                    .collect::<Vec<_>>(),
                total,
            )
        }
    };
    assert_eq!(list(None, 1, 10).await, (vec![], 0));
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(on.create(new_upload(&project)).await);
        on.tick().await;
    }
    let newest_first: Vec<UploadId> = made.iter().rev().map(|upload| upload.id).collect();
    assert_eq!(list(None, 1, 10).await, (newest_first.clone(), 5));
    assert_eq!(list(None, 1, 2).await, (newest_first[..2].to_vec(), 5));
    assert_eq!(list(None, 2, 2).await, (newest_first[2..4].to_vec(), 5));
    assert_eq!(list(None, 3, 2).await, (newest_first[4..].to_vec(), 5));
    assert_eq!(list(None, 4, 2).await, (vec![], 5));
    assert_eq!(list(None, u32::MAX, 100).await, (vec![], 5));

    on.must_advance(step(&made[0], 100, Mark::Completed)).await;
    on.must_advance(step(&made[1], 100, Mark::Completed)).await;
    on.store
        .cancel(made[2].id, Canceller::Sender, None)
        .await
        .unwrap();
    assert_eq!(list(Some(State::Completed), 1, 10).await.1, 2);
    assert_eq!(list(Some(State::Completed), 2, 1).await.0, [made[0].id]);
    assert_eq!(list(Some(State::Cancelling), 1, 10).await.0, [made[2].id]);
    assert_eq!(list(Some(State::Failed), 1, 10).await, (vec![], 0));
    // What is being deleted is not there any more, for whoever asks.
    on.store
        .cancel(made[1].id, Canceller::Sender, None)
        .await
        .unwrap();
    assert_eq!(list(None, 1, 10).await.1, 4);
    assert_eq!(list(Some(State::Deleting), 1, 10).await, (vec![], 0));
    assert_eq!(list(Some(State::Completed), 1, 10).await.0, [made[0].id]);
}

async fn walks_for_a_restart(on: &Subject) {
    let mut expected_open = Vec::new();
    for length in [Some(100), None, Some(0)] {
        let made = on
            .create(NewUpload {
                length,
                ..new_upload("p")
            })
            .await;
        if length != Some(0) {
            on.must_advance(step(&made, 5, Mark::Open)).await;
            expected_open.push((made.id, 5));
        }
    }
    let waiting = finals::waiting(on, "p").await;
    let ended = ends::End::Cancel.of(on, false).await;

    let (mut open, mut every) = (Vec::new(), Vec::new());
    let mut after = None;
    loop {
        let page = on.store.open(after, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some((last, _)) = page.last() else { break };
        assert!(after < Some(*last), "it gets on");
        after = Some(*last);
        open.extend(page);
    }
    after = None;
    loop {
        let page = on.store.every(after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        every.extend(page);
    }
    assert!(expected_open.iter().all(|expected| open.contains(expected)));
    assert!(
        open.iter()
            .all(|(id, _)| *id != ended.id && *id != waiting.id)
    );
    assert!(open.is_sorted() && every.is_sorted_by_key(|upload| upload.id));
    for id in [ended.id, waiting.id] {
        assert!(
            every.iter().any(|upload| upload.id == id),
            "its bytes may still be there"
        );
    }
    let asked = vec![ended.id, UploadId::random(), waiting.id, expected_open[0].0];
    let with_blob = on.store.with_blob(asked).await.unwrap();
    assert_eq!(
        with_blob,
        [ended.id, expected_open[0].0],
        "a final upload has no blob"
    );
    assert_eq!(on.store.with_blob(vec![]).await.unwrap(), []);

    on.store.released(ended.id, 5, HOUR).await.unwrap();
    let every = on.store.every(None, 1_000).await.unwrap();
    assert!(every.iter().all(|upload| upload.id != ended.id));
}
