//! Tails, lost bytes and orphans: what a restart finds, and what it does with it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_protocol::field::offset;
use tidegate_protocol::problem::Problem;
use tidegate_protocol::upload::{Commit, Mark};

use super::script::Script;
use super::world::{
    Crash, HOUR, World, append_at, content, new_upload, send, sha256, somebody, sweep,
};
use crate::auth::Caller;
use crate::blob::{BlobStore, Digests};
use crate::cancel::{CancelReason, Scope};
use crate::id::UploadId;
use crate::upload::Uploads;
use crate::upload::fsck::{Finding, fsck};
use crate::upload::progress::Progress;
use crate::upload::recover::Tails;
use crate::upload::store::{Advance, Allowance, Canceller, NewUpload, State, UploadStore};
use crate::upload::sweep::Sweeper;
use crate::work::{Next, Worker};

const BYTES: usize = 60;
const COMMITTED: usize = 20;

/// An upload of [`BYTES`] of which [`COMMITTED`] are committed.
async fn begun(world: &World) -> UploadId {
    let id = world
        .rows
        .create(new_upload(Some(BYTES as u64)))
        .await
        .unwrap()
        .unwrap()
        .upload
        .id;
    let script = Script::new(Script::sending(&content(COMMITTED), 7));
    let received = send(&world.uploads(), id, append_at(0), script).await;
    assert_eq!(received.problem, None);
    id
}

/// Writes behind what is committed, as an attempt does that never gets to its commit.
async fn leave_tail(world: &World, id: UploadId, tail: &[u8]) {
    let committed = world.row(id).offset;
    let writer = world.blobs.writer(id, committed);
    let tail = Bytes::copy_from_slice(tail);
    let appended = writer.append(committed, tail, Digests::none()).await;
    assert!(appended.error.is_none());
}

/// Makes durable whatever is there, as a kernel may do at any time.
async fn write_back(world: &World, id: UploadId) {
    let writer = world.blobs.writer(id, world.row(id).offset);
    let (_, _) = writer
        .clone()
        .adopt(u64::MAX, Digests::none())
        .await
        .unwrap();
    writer.sync().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_tail_is_adopted_after_a_crash_of_the_process() {
    let content = content(BYTES);
    for (tail, offset) in [(1, 21), (39, 59), (40, 60)] {
        let world = World::default();
        let id = begun(&world).await;
        leave_tail(&world, id, &content[COMMITTED..COMMITTED + tail]).await;
        let uploads = world.restarted(Crash::Kill).await;
        assert_eq!(world.row(id).offset, offset);
        world.assert_sound(id, &content, "adopted");
        // It is as good as any other byte that was told.
        world.blobs.lose_power();
        world.assert_sound(id, &content, "adopted and without power");
        world.finish(&uploads, id, &content, "adopted").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_tail_past_the_length_is_no_content() {
    let content = content(BYTES);
    let world = World::default();
    let id = begun(&world).await;
    leave_tail(&world, id, &[&content[COMMITTED..], b"too much"].concat()).await;
    world.restarted(Crash::Kill).await;
    assert_eq!(world.row(id).state, State::Completed);
    assert_eq!(world.blobs.content(id), content);
    assert_eq!(world.row(id).sha256, Some(sha256(&content)));
}

/// It is removed, so that the disk has what the project is charged for, and the upload goes on.
#[tokio::test(start_paused = true)]
async fn a_tail_that_its_project_has_no_room_for_is_removed() {
    let content = content(BYTES);
    let world = World::default();
    world.rows.keep_within(Allowance {
        project_bytes_max: Some(30),
        open_max: None,
    });
    let made = world.rows.create(new_upload(None)).await.unwrap().unwrap();
    let id = made.upload.id;
    let script = Script::new(Script::sending(&content[..COMMITTED], 7));
    let received = send(&world.uploads(), id, append_at(0), script).await;
    assert_eq!(received.problem, None);
    leave_tail(&world, id, &content[COMMITTED..COMMITTED + 11]).await;
    let uploads = world.restarted(Crash::Kill).await;
    assert_eq!(world.row(id).offset, COMMITTED as u64);
    assert_eq!(world.blobs.content(id), content[..COMMITTED]);
    let project = world.row(id).project;
    let usage = world.rows.usage(project, somebody()).await.unwrap();
    assert_eq!(usage.map(|usage| usage.used_bytes), Some(COMMITTED as u64));
    world.rows.keep_within(Allowance::default());
    world.finish(&uploads, id, &content, "with room").await;
}

/// What is behind the committed bytes after a power cut is anybody's guess, and stays that for
/// every later run.
#[tokio::test(start_paused = true)]
async fn a_tail_from_before_a_power_cut_is_never_adopted() {
    for crashes in [1, 2] {
        let world = World::default();
        let id = begun(&world).await;
        leave_tail(&world, id, &[0xee; 30]).await;
        write_back(&world, id).await;
        let mut uploads = world.restarted(Crash::PowerLoss).await;
        for _ in 0..crashes {
            // Nobody has written to it since, so nobody has cut it.
            uploads = world.restarted(Crash::Kill).await;
        }
        assert_eq!(world.row(id).offset, COMMITTED as u64);
        world.assert_sound(id, &content(BYTES), "garbage");
        world.finish(&uploads, id, &content(BYTES), "garbage").await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_tail_that_cannot_be_adopted_does_not_hold_up_the_others() {
    let world = World::default();
    let content = content(BYTES);
    let mut ids = Vec::new();
    for _ in 0..5 {
        let id = begun(&world).await;
        leave_tail(&world, id, &content[COMMITTED..30]).await;
        ids.push(id);
    }
    let damaged = ids[2];
    let row = world.row(damaged);
    let commit = Commit {
        from: row.offset,
        to: row.offset,
        length: None,
        mark: Mark::Open,
    };
    let digest = Some(vec![1, 2, 3]);
    let step = Advance {
        id: damaged,
        epoch: row.epoch,
        commit,
        digest,
        sha256: None,
        expires_after: HOUR,
        size_max: offset::MAX,
    };
    world.rows.advance(step).await.unwrap();

    let uploads = world.uploads();
    let mut tails = Tails::new(&uploads, true);
    tails.prepare().await.unwrap();
    let mut calls = 0;
    while tails.work().await != Next::Never {
        calls += 1;
        assert!(calls < 20, "it does not end");
    }
    for id in ids {
        let expected = if id == damaged { COMMITTED } else { 30 };
        assert_eq!(world.row(id).offset, expected as u64);
    }
    let refused = send(&uploads, damaged, append_at(20), Script::new([])).await;
    assert_eq!(refused.problem, Some(Problem::Internal));
    assert_eq!(world.row(damaged).offset, COMMITTED as u64);
}

/// What is foreign is answered as what is not there, and nobody does anything for it.
#[tokio::test(start_paused = true)]
async fn a_stranger_has_no_tail_adopted() {
    let world = World::default();
    let content = content(BYTES);
    let id = begun(&world).await;
    leave_tail(&world, id, &content[COMMITTED..30]).await;
    let uploads = world.uploads();
    Tails::new(&uploads, true).prepare().await.unwrap();
    let stranger = Caller::named("stranger");
    let refused = uploads.settled(id, &stranger).await;
    assert_eq!(refused, Err(Problem::NotFound));
    assert!(uploads.is_unsettled(id));
    let settled = uploads.settled(id, &somebody()).await.unwrap();
    assert_eq!(settled.upload.offset, 30);
}

/// Background work waits for nobody and takes nothing over.
#[tokio::test(start_paused = true)]
async fn background_work_leaves_running_appends_alone() {
    let world = World::default();
    let content = content(BYTES);
    let id = begun(&world).await;
    leave_tail(&world, id, &content[COMMITTED..30]).await;
    let uploads = world.uploads();
    let mut tails = Tails::new(&uploads, true);
    tails.prepare().await.unwrap();
    world.rows.pass(HOUR * 2);
    let scope = Scope::root("append");
    let lease = uploads
        .live
        .take_free(id, scope.clone(), Arc::new(Progress::new()));
    assert!(lease.is_some());

    while tails.work().await == Next::Now {}
    sweep(&uploads).await;
    assert_eq!(scope.reason(), None);
    assert_eq!(
        (world.row(id).state, world.row(id).offset),
        (State::Uploading, 20)
    );

    // It is still known that there is a tail.
    drop(lease);
    let settled = uploads.settled(id, &somebody()).await.unwrap();
    assert_eq!(settled.upload.offset, 30);
}

/// More uploads than the sweeper takes on at once, that have a holder, and one that has none.
async fn held_and_free(
    world: &World,
    uploads: &Uploads,
) -> (Vec<(Scope, impl Sized)>, Vec<UploadId>, UploadId) {
    let (mut leases, mut held) = (Vec::new(), Vec::new());
    for _ in 0..600 {
        let id = begun_empty(world).await;
        let scope = Scope::root("append");
        let lease = uploads
            .live
            .take_free(id, scope.clone(), Arc::new(Progress::new()));
        leases.push((scope, lease.expect("it is free")));
        held.push(id);
    }
    world.rows.pass(Duration::from_millis(1));
    let free = begun_empty(world).await;
    (leases, held, free)
}

async fn begun_empty(world: &World) -> UploadId {
    let made = world.rows.create(new_upload(Some(1))).await;
    made.unwrap().unwrap().upload.id
}

/// What is being written to holds up no expiry but its own, and makes nobody spin.
#[tokio::test(start_paused = true)]
async fn held_uploads_do_not_hold_up_the_expiry_of_others() {
    let world = World::default();
    let uploads = world.uploads();
    let (leases, held, free) = held_and_free(&world, &uploads).await;
    world.rows.pass(HOUR * 2);
    let mut sweeper = Sweeper::new(&uploads);
    let mut steps = 1;
    while sweeper.work().await == Next::Now {
        steps += 1;
        assert!(steps < 5, "it spins");
    }
    assert_eq!(world.row(free).state, State::Expired);
    assert!(leases.iter().all(|(scope, _)| scope.reason().is_none()));
    drop(leases);
    sweep(&uploads).await;
    assert_eq!(world.rows.expiring(None, 1).await.unwrap(), []);
    sweep(&uploads).await;
    for id in held {
        let row = world.row(id);
        assert_eq!((row.state, row.released_bytes), (State::Expired, Some(0)));
    }
}

/// Nor does what cannot be removed yet hold up other removals: it is told to stop, and not waited
/// for.
#[tokio::test(start_paused = true)]
async fn stuck_writers_do_not_hold_up_the_removal_of_others() {
    let world = World::default();
    let uploads = world.uploads();
    let (leases, held, free) = held_and_free(&world, &uploads).await;
    for id in held.iter().copied().chain([free]) {
        let ended = world.rows.cancel(id, Canceller::Sender, None);
        ended.await.unwrap();
        world.rows.pass(Duration::from_millis(1));
    }
    let begun = tokio::time::Instant::now();
    sweep(&uploads).await;
    assert_eq!(world.row(free).state, State::Cancelled);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "nobody is waited for"
    );
    let stopped = Some(CancelReason::Requested);
    assert!(leases.iter().all(|(scope, _)| scope.reason() == stopped));
    drop(leases);
    sweep(&uploads).await;
    for id in held {
        assert_eq!(world.row(id).state, State::Cancelled);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_whose_bytes_are_gone_has_failed() {
    for by_restart in [false, true] {
        let world = World::default();
        let id = begun(&world).await;
        world
            .blobs
            .writer(id, 0)
            .append(0, Bytes::from_static(b"short"), Digests::none())
            .await;
        // The row cannot be told at first.
        world.rows.fail_after(
            if by_restart { 4 } else { 1 },
            crate::upload::memory::Failure::Io,
        );
        let uploads = match by_restart {
            true => world.restarted(Crash::Kill).await,
            false => world.uploads(),
        };
        for _ in 0..2 {
            let received = send(&uploads, id, append_at(20), sending_rest()).await;
            assert_eq!(received.problem, Some(Problem::UploadFailed));
            assert!(
                world.row(id).offset >= COMMITTED as u64,
                "it is not taken back"
            );
        }
        assert_eq!(world.rows.failed(), Some("fail"));
        let row = world.row(id);
        assert_eq!((row.state, row.offset), (State::Failed, COMMITTED as u64));
        sweep(&uploads).await;
        assert_eq!(world.blobs.count(), 0);
        assert_eq!(world.row(id).state, State::Failed);
    }
}

/// A crash between the removal of a blob and the row does not make its bytes unheard of.
#[tokio::test(start_paused = true)]
async fn what_was_freed_is_told_after_a_crash() {
    let world = World::default();
    let id = begun(&world).await;
    let cancelled = world.rows.cancel(id, Canceller::Other, None);
    cancelled.await.unwrap();
    world.blobs.delete(id).await.unwrap();
    sweep(&world.restarted(Crash::Kill).await).await;
    let row = world.row(id);
    let freed = Some(COMMITTED as u64);
    assert_eq!((row.state, row.released_bytes), (State::Cancelled, freed));
}

/// A complete upload of `bytes`, as a part or by itself.
async fn complete(world: &World, partial: bool, bytes: usize) -> UploadId {
    let new = NewUpload {
        partial,
        ..new_upload(Some(bytes as u64))
    };
    let id = world.rows.create(new).await.unwrap().unwrap().upload.id;
    let script = Script::new(Script::sending(&content(bytes), 7));
    let sent = send(&world.uploads(), id, append_at(0), script).await;
    assert_eq!(sent.problem, None);
    id
}

async fn made_of(world: &World, parts: Vec<UploadId>) -> UploadId {
    let made = world.rows.concatenate(super::world::new_final(parts)).await;
    made.unwrap().unwrap().upload.id
}

/// What is left of a complete upload may be the only copy of it that there is.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_damaged_upload_is_moved_away() {
    let world = World::default();
    let store: Arc<dyn UploadStore> = Arc::new(world.rows.clone());
    let blobs: Arc<dyn BlobStore> = Arc::new(world.blobs.clone());
    let whole = complete(&world, false, BYTES).await;
    let (lost, sound) = (
        complete(&world, true, 9).await,
        complete(&world, true, 8).await,
    );
    let sound_too = complete(&world, true, 7).await;
    let made = made_of(&world, vec![sound, lost]).await;
    let untouched = made_of(&world, vec![sound_too]).await;
    let uploads = world.uploads();
    uploads.delete(lost).await.unwrap();
    for id in [whole, lost] {
        let few = Bytes::from_static(b"few");
        let writer = world.blobs.writer(id, 0);
        writer.append(0, few, Digests::none()).await;
    }

    let mut findings = fsck(&store, &blobs, true).await.unwrap();
    findings.sort_by_key(|finding| format!("{finding}"));
    let mut expected = [(whole, BYTES as u64), (lost, 9)].map(|(upload, promised)| Finding::Lost {
        upload,
        promised,
        found: 3,
    });
    expected.sort_by_key(|finding| format!("{finding}"));
    assert_eq!(findings, expected);
    assert_eq!(world.row(whole).state, State::Failed);
    assert_eq!(world.row(made).state, State::Failed);
    assert_eq!(world.row(untouched).state, State::Completed);

    // The final upload is released first, and then what it has held.
    sweep(&uploads).await;
    sweep(&uploads).await;
    assert_eq!(world.rows.row(lost), None);
    let row = world.row(whole);
    assert_eq!((row.state, row.released_bytes), (State::Failed, Some(0)));
    for id in [whole, lost] {
        assert_eq!(world.blobs.quarantined(id).as_deref(), Some(&b"few"[..]));
    }
    assert_eq!(world.blobs.content(sound), content(8));
    // Its time is over before that of the tombstone.
    uploads.delete(sound).await.unwrap();
    assert_eq!(world.blobs.quarantined(sound), Some(content(8)));
    assert_eq!(world.blobs.count(), 1);
    assert_eq!(fsck(&store, &blobs, true).await.unwrap(), []);
}

fn sending_rest() -> Script {
    Script::new(Script::sending(&content(BYTES)[COMMITTED..], 7))
}

/// One round over all shards, as the sweeper does it in the course of about an hour.
async fn sweep_all_shards(uploads: &Arc<Uploads>) {
    let mut sweeper = Sweeper::new(uploads);
    for _ in 0..15 * 256 {
        sweeper.work().await;
    }
}

#[tokio::test(start_paused = true)]
async fn blobs_that_belong_to_nobody_are_moved_away() {
    let world = World::default();
    let uploads = world.uploads();
    let living = begun(&world).await;
    let orphan = UploadId::random();
    world
        .blobs
        .writer(orphan, 0)
        .append(0, Bytes::from_static(b"?"), Digests::none())
        .await;
    // Its bytes stay as long as a final upload has them.
    let part = NewUpload {
        partial: true,
        ..new_upload(Some(COMMITTED as u64))
    };
    let part = world.rows.create(part).await.unwrap().unwrap().upload.id;
    let script = Script::new(Script::sending(&content(COMMITTED), 7));
    send(&uploads, part, append_at(0), script).await;
    let made = world
        .rows
        .concatenate(super::world::new_final(vec![part]))
        .await
        .unwrap()
        .unwrap();
    uploads.delete(part).await.unwrap();

    sweep_all_shards(&uploads).await;
    assert!(world.blobs.content(orphan).is_empty());
    for kept in [living, part] {
        assert_eq!(world.blobs.content(kept), content(COMMITTED));
    }
    uploads.delete(made.upload.id).await.unwrap();
    sweep(&uploads).await;
    assert_eq!(world.blobs.count(), 1);
    assert_eq!(world.rows.row(part), None);
}

#[tokio::test(start_paused = true)]
async fn tombstones_are_forgotten_in_time() {
    let world = World::default();
    let uploads = world.uploads();
    let id = begun(&world).await;
    uploads.delete(id).await.unwrap();
    sweep_all_shards(&uploads).await;
    assert_eq!(world.row(id).state, State::Cancelled);
    world.rows.pass(HOUR * 2);
    sweep_all_shards(&uploads).await;
    assert_eq!(world.rows.row(id), None);
    let late = send(&uploads, id, append_at(20), sending_rest()).await;
    assert_eq!(late.problem, Some(Problem::NotFound));
}

#[tokio::test(start_paused = true)]
async fn fsck_finds_and_mends() {
    let world = World::default();
    let store: Arc<dyn UploadStore> = Arc::new(world.rows.clone());
    let blobs: Arc<dyn BlobStore> = Arc::new(world.blobs.clone());
    let sound = begun(&world).await;
    leave_tail(&world, sound, b"a tail is no fault").await;
    let (lost, excess) = (begun(&world).await, begun(&world).await);
    world
        .blobs
        .writer(lost, 0)
        .append(0, Bytes::from_static(b"few"), Digests::none())
        .await;
    world
        .finish(&world.uploads(), excess, &content(BYTES), "fsck")
        .await;
    let writer = world.blobs.writer(excess, BYTES as u64);
    writer
        .append(BYTES as u64, Bytes::from_static(b"more"), Digests::none())
        .await;
    let orphan = UploadId::random();
    world
        .blobs
        .writer(orphan, 0)
        .append(0, Bytes::from_static(b"?"), Digests::none())
        .await;
    let ended = begun(&world).await;
    world
        .rows
        .cancel(ended, Canceller::Sender, None)
        .await
        .unwrap();

    let expected = [
        Finding::Lost {
            upload: lost,
            promised: 20,
            found: 3,
        },
        Finding::Excess {
            upload: excess,
            promised: 60,
            found: 64,
        },
        Finding::Orphan {
            blob: orphan.to_string(),
        },
    ];
    for repair in [false, true] {
        let findings = fsck(&store, &blobs, repair).await.unwrap();
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        assert!(
            expected.iter().all(|finding| findings.contains(finding)),
            "{findings:?}"
        );
    }
    assert_eq!(world.row(lost).state, State::Failed);
    assert_eq!(
        fsck(&store, &blobs, true).await.unwrap(),
        [expected[1].clone()]
    );
    assert_eq!(world.row(sound).offset, 20);
}

/// A cancel says what it found: a tombstone is one for as long as it stands.
#[tokio::test(start_paused = true)]
async fn what_has_ended_cannot_be_cancelled_anew() {
    let world = World::default();
    let uploads = world.uploads();
    let cancelled = begun(&world).await;
    assert_eq!(uploads.delete(cancelled).await, Ok(()));
    let failed = begun(&world).await;
    world.rows.fail(failed, String::from("lost")).await.unwrap();
    let expired = begun(&world).await;
    world.rows.pass(HOUR * 2);
    sweep(&uploads).await;
    for (id, answer) in [
        (cancelled, Ok(())),
        (failed, Err(Problem::UploadFailed)),
        (expired, Err(Problem::UploadExpired)),
        (UploadId::random(), Err(Problem::NotFound)),
    ] {
        let before = world.rows.row(id);
        assert_eq!(uploads.delete(id).await, answer);
        assert_eq!(world.rows.row(id), before);
    }
    assert_eq!(world.blobs.count(), 0);
}

/// Whoever ends an upload waits for its writer, so that no byte comes after the end.
#[tokio::test(start_paused = true)]
async fn the_end_of_an_upload_stops_its_sender_first() {
    let world = World::default();
    let uploads = world.uploads();
    let id = begun(&world).await;
    let mut pieces = Script::sending(&content(BYTES)[COMMITTED..40], 7);
    pieces.push(super::script::Piece::Silence);
    let sender = {
        let uploads = uploads.clone();
        Scope::root("client")
            .spawn(async move { send(&uploads, id, append_at(20), Script::new(pieces)).await })
    };
    while world.blobs.content(id).len() < 40 {
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    uploads.delete(id).await.unwrap();
    assert_eq!(
        (world.row(id).state, world.blobs.count()),
        (State::Cancelled, 0)
    );
    let received = sender.await.unwrap();
    assert!(matches!(
        received.problem,
        Some(Problem::UploadCancelled { .. })
    ));
    assert!(received.upload.is_none());
    assert_eq!(world.blobs.count(), 0);
}
