//! The contract of [`BlobStore`], run against every implementation.

use std::sync::Arc;

use bytes::Bytes;

use super::local::LocalStore;
use super::memory::MemoryStore;
use super::{BlobError, BlobStore, Digests};
use crate::id::UploadId;

#[tokio::test]
async fn local() {
    for sync in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        conformance(&LocalStore::open(dir.path(), sync).unwrap()).await;
    }
}

#[tokio::test]
async fn memory() {
    conformance(&MemoryStore::default()).await;
}

async fn conformance(store: &dyn BlobStore) {
    appends_make_a_blob(store).await;
    opening_cuts_a_stale_tail(store).await;
    a_good_tail_is_adopted(store).await;
    a_staged_tail_is_not_adopted(store).await;
    a_mark_goes_with_what_it_marks(store).await;
    missing_bytes_are_noticed(store).await;
    many_are_measured_at_once(store).await;
    deleting_is_idempotent(store).await;
    scans_find_what_quarantine_takes(store).await;
}

/// A blob `content`, of which `committed` bytes count as promised.
async fn blob(store: &dyn BlobStore, content: &'static [u8]) -> UploadId {
    let id = UploadId::random();
    let writer = store.writer(id, 0);
    let appended = writer
        .clone()
        .append(0, Bytes::from_static(content), Digests::none())
        .await;
    assert!(appended.error.is_none(), "{:?}", appended.error);
    writer.sync().await.unwrap();
    id
}

async fn len(store: &dyn BlobStore, id: UploadId) -> Option<u64> {
    let lens = store.lens(vec![id]).await;
    let [Ok(len)] = lens[..] else {
        panic!("{lens:?}");
    };
    len
}

async fn content(store: &dyn BlobStore, id: UploadId) -> Bytes {
    let len = len(store, id).await.unwrap_or(0);
    store.read(id, 0..len).await.unwrap()
}

async fn appends_make_a_blob(store: &dyn BlobStore) {
    let id = UploadId::random();
    assert_eq!(len(store, id).await, None);
    let writer = store.writer(id, 0);
    let one = Bytes::from_static(b"one two ");
    let first = writer.clone().append(0, one, Digests::sha256()).await;
    assert_eq!((first.end, first.error.is_none()), (8, true));
    let many: Bytes = (0..3_000).map(|i| (i / 10) as u8).collect();
    let second = writer.clone().append(8, many.clone(), first.digests).await;
    assert_eq!((second.end, second.error.is_none()), (3008, true));
    let mut straight = Digests::sha256();
    straight.update(b"one two ");
    straight.update(&many);
    assert_eq!(second.digests.whole_hex(), straight.whole_hex());
    writer.sync().await.unwrap();
    assert_eq!(store.read(id, 4..10).await.unwrap(), &b"two \0\0"[..]);
    assert!(matches!(
        store.read(id, 3000..3009).await,
        Err(BlobError::Short {
            promised: 3009,
            found: 3008
        })
    ));
}

async fn opening_cuts_a_stale_tail(store: &dyn BlobStore) {
    let id = blob(store, b"promised, and then some").await;
    let writer = store.writer(id, 8);
    let appended = writer
        .append(8, Bytes::from_static(b"!"), Digests::none())
        .await;
    assert_eq!((appended.end, appended.error.is_none()), (9, true));
    assert_eq!(content(store, id).await, &b"promised!"[..]);
}

async fn a_good_tail_is_adopted(store: &dyn BlobStore) {
    let id = blob(store, b"promised and more").await;
    let mut digests = Digests::sha256();
    digests.update(b"promised");
    let (digests, end) = store.writer(id, 8).adopt(12, digests).await.unwrap();
    assert_eq!(end, 12, "no more than is wanted");
    let mut straight = Digests::sha256();
    straight.update(b"promised and");
    assert_eq!(digests.whole_hex(), straight.whole_hex());
    assert_eq!(content(store, id).await, &b"promised and"[..]);
}

async fn a_staged_tail_is_not_adopted(store: &dyn BlobStore) {
    let id = blob(store, b"promised").await;
    let writer = store.writer(id, 8);
    writer.clone().stage().await.unwrap();
    writer
        .clone()
        .append(8, Bytes::from_static(b" unverified"), Digests::none())
        .await;
    drop(writer);
    let (_, end) = store
        .writer(id, 8)
        .adopt(u64::MAX, Digests::none())
        .await
        .unwrap();
    assert_eq!(end, 8);
    assert_eq!(content(store, id).await, &b"promised"[..]);

    // The mark is gone with the tail, and by itself where there was no crash.
    let writer = store.writer(id, 8);
    writer.clone().stage().await.unwrap();
    writer
        .clone()
        .append(8, Bytes::from_static(b" again"), Digests::none())
        .await;
    writer.clone().unstage().await.unwrap();
    let (_, end) = store
        .writer(id, 8)
        .adopt(u64::MAX, Digests::none())
        .await
        .unwrap();
    assert_eq!(end, 14);
}

/// The next writer cuts the unverified bytes, and what it writes itself is not marked.
async fn a_mark_goes_with_what_it_marks(store: &dyn BlobStore) {
    for unverified in [&b" unverified"[..], b""] {
        let id = blob(store, b"promised").await;
        let writer = store.writer(id, 8);
        writer.clone().stage().await.unwrap();
        writer
            .append(8, Bytes::from_static(unverified), Digests::none())
            .await;
        let writer = store.writer(id, 8);
        writer
            .append(8, Bytes::from_static(b" plain"), Digests::none())
            .await;
        let (_, end) = store
            .writer(id, 8)
            .adopt(u64::MAX, Digests::none())
            .await
            .unwrap();
        assert_eq!(
            (end, content(store, id).await),
            (14, Bytes::from_static(b"promised plain"))
        );
    }
    // What was promised stays, whatever the bound.
    let id = blob(store, b"promised and more").await;
    let (_, end) = store.writer(id, 8).adopt(3, Digests::none()).await.unwrap();
    assert_eq!(
        (end, content(store, id).await),
        (8, Bytes::from_static(b"promised"))
    );
    // To cut what is not marked is not to adopt it.
    let id = blob(store, b"promised and more").await;
    let (_, end) = store.writer(id, 8).adopt(8, Digests::none()).await.unwrap();
    assert_eq!(
        (end, content(store, id).await),
        (8, Bytes::from_static(b"promised"))
    );
}

async fn missing_bytes_are_noticed(store: &dyn BlobStore) {
    let id = blob(store, b"short").await;
    let appended = store
        .writer(id, 9)
        .append(9, Bytes::from_static(b"x"), Digests::none())
        .await;
    assert!(matches!(
        appended.error,
        Some(BlobError::Short {
            promised: 9,
            found: 5
        })
    ));
    assert_eq!(content(store, id).await, &b"short"[..]);
    let missing = UploadId::random();
    let adopted = store.writer(missing, 3).adopt(10, Digests::none()).await;
    assert!(matches!(
        adopted,
        Err(BlobError::Short {
            promised: 3,
            found: 0
        })
    ));
}

async fn many_are_measured_at_once(store: &dyn BlobStore) {
    let (five, three) = (blob(store, b"short").await, blob(store, b"two").await);
    let asked = vec![three, UploadId::random(), five, three];
    let lens = store.lens(asked).await.into_iter().map(Result::unwrap);
    let expected = [Some(3), None, Some(5), Some(3)];
    assert_eq!(lens.collect::<Vec<_>>(), expected);
    assert!(store.lens(vec![]).await.is_empty());
}

async fn deleting_is_idempotent(store: &dyn BlobStore) {
    let id = blob(store, b"going").await;
    Arc::clone(&store.writer(id, 5)).stage().await.unwrap();
    assert_eq!(store.delete(id).await.unwrap(), 5);
    assert_eq!(store.delete(id).await.unwrap(), 0);
    assert_eq!(len(store, id).await, None);
    assert!(
        store
            .scan(id.shard())
            .await
            .unwrap()
            .iter()
            .all(|found| found.id != Some(id))
    );
}

async fn scans_find_what_quarantine_takes(store: &dyn BlobStore) {
    let id = blob(store, b"nobody's").await;
    let found = store.scan(id.shard()).await.unwrap();
    let found = found
        .into_iter()
        .find(|found| found.id == Some(id))
        .unwrap();
    for _twice in 0..2 {
        let moved = store.quarantine(id.shard(), found.name.clone());
        moved.await.unwrap();
    }
    assert_eq!(len(store, id).await, None);
}
