//! Random sequences of transactions against the store in memory and the one on SQLite, step by
//! step: if an answer or a row differs, one of the two is wrong, and with it every test that
//! trusts the first.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use tidegate_protocol::field::offset;
use tidegate_protocol::upload::{Commit, Invalid, Mark};

use super::limits::within;
use super::{HOUR, Subject, new_upload};
use crate::auth::{Caller, Role};
use crate::db::Durability;
use crate::id::UploadId;
use crate::upload::store::{
    Advance, Allowance, Canceller, Due, Filter, Kind, NewFinal, NewUpload, State, Upload, Which,
};

const SEQUENCES: u64 = 40;
const STEPS: usize = 60;
const PROJECTS: [&str; 2] = ["one", "two"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_sqlite_tell_one_story() {
    for seed in 0..SEQUENCES {
        let dir = tempfile::tempdir().unwrap();
        let sqlite = Subject::sqlite(dir.path(), Durability::ProcessCrash).await;
        let mut pair = Pair {
            memory: Subject::memory(),
            sqlite,
            rng: Rng::with_seed(seed),
            ids: Vec::new(),
            homes: BTreeMap::new(),
            log: vec![format!("seed {seed}")],
        };
        if seed % 2 == 0 {
            let allowance = Allowance {
                project_bytes_max: Some([20, 1_000][pair.rng.usize(0..2)]),
                open_max: Some(pair.rng.u32(3..20)),
            };
            pair.memory = within(&pair.memory, allowance).await;
            pair.sqlite = within(&pair.sqlite, allowance).await;
        }
        for subject in [&pair.memory, &pair.sqlite] {
            subject.open(PROJECTS[0]).await;
            subject.open(PROJECTS[1]).await;
            subject.share(PROJECTS[0], "member", "accepted").await;
        }
        pair.new_id();
        for _ in 0..STEPS {
            pair.step().await;
            pair.compare_rows().await;
        }
        pair.sqlite.close().await;
    }
}

struct Pair {
    memory: Subject,
    sqlite: Subject,
    rng: Rng,
    /// Every id that there ever was, and one that there was not.
    ids: Vec<UploadId>,
    /// Where each was made first. If it was gone, it is made there again: what is told of it on two
    /// feeds would have no order.
    homes: BTreeMap<UploadId, &'static str>,
    /// What has been done, for whoever has to find out.
    log: Vec<String>,
}

/// Runs one call on both and compares what it says.
macro_rules! both {
    ($pair:ident, $store:ident => $call:expr) => {{
        let call = stringify!($call).to_owned();
        let of_memory = {
            let $store = &$pair.memory.store;
            $call.await
        };
        let of_sqlite = {
            let $store = &$pair.sqlite.store;
            $call.await
        };
        let told = match (&of_memory, &of_sqlite) {
            (Ok(memory), Ok(sqlite)) => (timeless(memory), timeless(sqlite)),
            // The words of an error are each store's own.
            (memory, sqlite) => (memory.is_ok().to_string(), sqlite.is_ok().to_string()),
        };
        $pair.log.push(format!("{call} -> {}", told.0));
        assert_eq!(
            told.0, told.1,
            "memory is left, SQLite is right; {:#?}",
            $pair.log
        );
        of_memory
    }};
}

/// An answer without the times in it: each store has a clock of its own.
fn timeless(answer: &impl std::fmt::Debug) -> String {
    let text = format!("{answer:?}");
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        if words[at - 1].ends_with("_at:") {
            let digits = words[at]
                .trim_matches(|c: char| !c.is_ascii_digit())
                .to_owned();
            if !digits.is_empty() {
                words[at] = words[at].replace(&digits, "T");
            }
        }
    }
    words.join(" ")
}

impl Pair {
    async fn step(&mut self) {
        match self.rng.u32(0..100) {
            0..20 => self.create().await,
            20..32 => self.concatenate().await,
            32..62 => self.advance().await,
            62..72 => self.cancel().await,
            72..76 => {
                let id = self.pick();
                let _told = both!(self, store => store.fail(id, String::from("lost")));
            }
            76..86 => {
                let id = self.pick();
                let _told = both!(self, store => store.expire(id));
            }
            86..87 => {
                let id = self.pick();
                match self.rng.bool() {
                    true => drop(both!(self, store => store.interrupted(id))),
                    false => drop(both!(self, store => store.resumed(id))),
                }
            }
            87..88 => {
                let id = self.pick();
                let _told = both!(self, store => store.digested(id, String::from("cd")));
            }
            88..96 => {
                let (id, bytes, span) = (self.pick(), self.rng.u64(0..1_000), self.span());
                if both!(self, store => store.may_release(id))
                    .unwrap()
                    .is_some()
                    || self.rng.u8(..) < 20
                {
                    let _told = both!(self, store => store.released(id, bytes, span));
                }
            }
            _ => {
                let keep = [Duration::ZERO, HOUR][self.rng.usize(0..2)];
                let _told = both!(self, store => store.forget(keep));
            }
        }
    }

    async fn cancel(&mut self) {
        let (id, reason) = (self.pick(), self.rng.bool().then(|| String::from("why")));
        match self.rng.u8(0..10) {
            0..5 => {
                let by = [Canceller::Sender, Canceller::Other][self.rng.usize(0..2)];
                let _told = both!(self, store => store.cancel(id, by, reason.clone()));
            }
            5..8 => {
                let who = self.who();
                let project = self.rng.bool().then(|| String::from(PROJECTS[0]));
                let by = [Canceller::Sender, Canceller::Other][self.rng.usize(0..2)];
                let _told = both!(self, store => store.forestall(
                    id, project.clone(), who.clone(), by, reason.clone()
                ));
            }
            8 => {
                let which = Which::Ids {
                    project: String::from(PROJECTS[0]),
                    ids: vec![id, self.pick(), id],
                };
                let who = self.who();
                let _told = both!(self, store => store.cancel_many(
                    which.clone(), who.clone(), reason.clone()
                ));
            }
            _ => {
                let which = Which::Active {
                    project: String::from(PROJECTS[self.rng.usize(0..2)]),
                    all: self.rng.bool(),
                    limit: self.rng.u32(0..3),
                };
                let who = self.who();
                let _told = both!(self, store => store.cancel_many(
                    which.clone(), who.clone(), reason.clone()
                ));
            }
        }
    }

    /// The owner of both projects, a member of the first, a stranger, or an admin.
    fn who(&mut self) -> Caller {
        match self.rng.u8(0..8) {
            0 => Caller::named("member"),
            1 => Caller::named("stranger"),
            2 => Caller {
                role: Role::Admin,
                ..Caller::named("admin")
            },
            _ => Caller::named("somebody"),
        }
    }

    async fn create(&mut self) {
        // Sometimes one that is there, that was, or that was cancelled in advance.
        let id = match self.rng.u8(0..4) {
            0 => self.pick(),
            _ => self.new_id(),
        };
        let mut project = PROJECTS[self.rng.usize(0..2)];
        if self.memory.store.find(id).await.unwrap().is_none() {
            project = self.homes.entry(id).or_insert(project);
        }
        let new = NewUpload {
            id,
            named: self.rng.bool(),
            partial: self.rng.u8(0..4) > 0,
            length: [
                None,
                Some(0),
                Some(1),
                Some(7),
                Some(i64::MAX.unsigned_abs()),
            ][self.rng.usize(0..5)],
            digest: self.rng.bool().then(|| vec![self.rng.u8(..)]),
            expires_after: self.span(),
            caller: self.who(),
            ..new_upload(project)
        };
        let _told = both!(self, store => store.create(new.clone()));
    }

    async fn concatenate(&mut self) {
        let project = PROJECTS[self.rng.usize(0..2)];
        // Mostly what can be a part, and so a final upload that can be made.
        let mut usable = self.memory.store.every(None, 1_000).await.unwrap();
        usable.retain(|upload| {
            upload.kind == Kind::Partial
                && upload.project == project
                && matches!(upload.state, State::Uploading | State::Completed)
        });
        let mut parts = Vec::new();
        for _ in 0..self.rng.usize(1..4) {
            parts.push(match usable.is_empty() || self.rng.u8(0..10) == 0 {
                true => self.pick(),
                false => usable[self.rng.usize(0..usable.len())].id,
            });
        }
        let new = NewFinal {
            id: self.new_id(),
            named: false,
            project: Some(String::from(project)),
            caller: self.who(),
            parts,
            metadata: String::new(),
            concat: String::from("final;a"),
            size_max: [offset::MAX, offset::MAX, 8][self.rng.usize(0..3)],
        };
        let _told = both!(self, store => store.concatenate(new.clone()));
    }

    /// Mostly a step that an attempt would make, sometimes one that comes too late.
    async fn advance(&mut self) {
        let id = self.pick();
        let now = self.memory.store.find(id).await.unwrap();
        let (epoch, from, length) =
            now.map_or((1, 0, None), |now| (now.epoch, now.offset, now.length));
        let late = |rng: &mut Rng| rng.u8(0..10) == 0;
        let epoch = if late(&mut self.rng) {
            epoch - 1
        } else {
            epoch
        };
        let from = if late(&mut self.rng) {
            from.saturating_sub(1)
        } else {
            from
        };
        let declared = length.is_none() && self.rng.bool();
        let to = match length {
            Some(length) if self.rng.bool() => length,
            _ => from
                .saturating_add(self.rng.u64(0..4))
                .min(length.unwrap_or(u64::MAX >> 1)),
        };
        let mark = match self.rng.u8(0..12) {
            0 => Mark::Invalidated(Invalid::PastLength),
            1..8 => Mark::Completed,
            _ => Mark::Open,
        };
        let step = Advance {
            id,
            epoch,
            commit: Commit {
                from,
                to,
                length: declared.then_some(to),
                mark,
            },
            digest: (mark != Mark::Completed).then(|| vec![1]),
            sha256: (mark == Mark::Completed).then(|| String::from("ab")),
            expires_after: self.span(),
            size_max: [offset::MAX, offset::MAX, 8][self.rng.usize(0..3)],
        };
        self.log.push(format!("{step:?}"));
        let _told = both!(self, store => store.advance(step.clone()));
    }

    /// Compares everything that can be asked, once it is later on both clocks: so what is due is
    /// the same, and so is what is ordered by time.
    async fn compare_rows(&mut self) {
        self.memory.tick().await;
        self.sqlite.tick().await;
        for id in self.ids.clone() {
            let who = self.who();
            let _told = both!(self, store => store.find(id));
            let _told = both!(self, store => store.find_for(id, who.clone()));
            let _told = both!(self, store => store.parts(id));
            let _told = both!(self, store => store.may_release(id));
            self.log.truncate(self.log.len() - 4);
        }
        let (memory, sqlite) = (self.memory.told().await, self.sqlite.told().await);
        assert_eq!(memory, sqlite, "{:#?}", self.log);
        let ids = self.ids.clone();
        let _told = both!(self, store => store.with_blob(ids.clone()));
        let _told = both!(self, store => store.census());
        let _told = both!(self, store => store.every(None, 1_000));
        let _told = both!(self, store => store.open(None, 1_000));
        let _told = both!(self, store => store.open(Some(ids[0]), 2));
        // Several may end, complete or be let go in one transaction, and then in no order.
        let _told = both!(self, store => async { store.expiring(None, 1_000).await.map(ids_of) });
        let _told = both!(self, store => async { store.releasable(None, 1_000).await.map(ids_of) });
        let _told = both!(self, store => async { store.undigested(1_000).await.map(sorted) });
        let everybody = [self.who(), Caller::named("somebody")];
        for (project, who) in PROJECTS.iter().zip(everybody) {
            let project = String::from(*project);
            let used = both!(self, store => store.usage(project.clone(), who.clone()));
            let rows = self.memory.store.every(None, 1_000).await.unwrap();
            let charges = rows.iter().filter(|row| row.project == project);
            let sum = charges.fold(0_u64, |sum, row| sum.saturating_add(row.charge()));
            if let Some(used) = used.unwrap() {
                let most = i64::MAX.unsigned_abs();
                assert_eq!(used.used_bytes, sum.min(most), "{:#?}", self.log);
            }
        }
        let state = [
            None,
            Some(State::Uploading),
            Some(State::Completed),
            Some(State::Failed),
        ][self.rng.usize(0..4)];
        let (page, limit, who) = (self.rng.u32(1..4), self.rng.u32(1..9), self.who());
        let filter = Filter {
            project: String::from(PROJECTS[0]),
            state,
            page,
            limit,
        };
        let _told = both!(self, store => store.list(filter.clone(), who.clone()));
        self.log.truncate(self.log.len() - 10);
        let every: Vec<Upload> = self.memory.store.every(None, 1_000).await.unwrap();
        every.iter().for_each(assert_sound);
        for whole in every {
            if matches!(whole.state, State::Uploading | State::Completed) {
                let parts = self.memory.store.parts(whole.id).await.unwrap();
                let mut complete = parts.iter().filter(|part| part.state == State::Completed);
                assert!(complete.all(|part| part.expires_at.is_none()), "{parts:?}");
            }
        }
    }

    /// An upload that there is, or was, or rarely never was.
    fn pick(&mut self) -> UploadId {
        if self.rng.u8(0..30) == 0 {
            return self.new_id();
        }
        // The newer ones more often: the older ones have ended.
        let from = if self.rng.bool() {
            self.ids.len().saturating_sub(5)
        } else {
            0
        };
        self.ids[self.rng.usize(from..self.ids.len())]
    }

    fn new_id(&mut self) -> UploadId {
        let (a, b) = (self.rng.u32(..), self.rng.u64(..) >> 16);
        let id: UploadId = format!("{a:08x}-0000-4000-8000-{b:012x}").parse().unwrap();
        self.ids.push(id);
        id
    }

    fn span(&mut self) -> Duration {
        [Duration::ZERO, HOUR][self.rng.usize(0..2)]
    }
}

fn sorted(mut ids: Vec<UploadId>) -> Vec<UploadId> {
    ids.sort();
    ids
}

fn ids_of(due: Vec<Due>) -> Vec<UploadId> {
    sorted(due.into_iter().map(|due| due.id).collect())
}

/// What is true of every row, whatever has been done to it.
fn assert_sound(upload: &Upload) {
    let (ended, completed) = (upload.ended_at.is_some(), upload.completed_at.is_some());
    match upload.state {
        State::Uploading => {
            let has_time = upload.expires_at.is_some();
            assert!(!ended && !completed && has_time == (upload.kind != Kind::Final));
        }
        State::Completed => assert!(completed && !ended && upload.digest.is_none()),
        State::Deleting => assert!(completed && ended && upload.expires_at.is_none()),
        State::Cancelling | State::Cancelled | State::Expired => {
            assert!(ended && !completed && upload.expires_at.is_none());
        }
        State::Failed => assert!(ended && upload.expires_at.is_none()),
    }
    assert!(upload.offset <= i64::MAX.unsigned_abs(), "{upload:?}");
}
