//! What other modules look up of uploads within their transactions, where there are any.

use futures_util::FutureExt;
use tidegate_protocol::upload::Mark;

use super::finals::{concatenated, new_final, open_part, waiting};
use super::{Clock, Subject, new_upload, project, step};
use crate::db::conformance::execute;
use crate::db::{Db, Sql, sql};
use crate::id::UploadId;
use crate::upload::catalog::{self, Content};
use crate::upload::store::{Canceller, NewUpload, Upload};
use crate::upload::stored::Segment;

pub(super) async fn suite(on: &Subject) {
    let Clock::Database(db) = &on.clock else {
        return;
    };
    pages_of_what_is_complete(on, db).await;
    knows_what_a_complete_one_is_made_of(on, db).await;
}

/// A whole upload that is complete with `length` bytes.
async fn whole(on: &Subject, project: &str, length: u64) -> Upload {
    let new = NewUpload {
        length: Some(length),
        ..new_upload(project)
    };
    let made = on.create(new).await;
    on.must_advance(step(&made, length, Mark::Completed)).await;
    on.find(made.id).await
}

async fn page(db: &Db, project: &str, after: Option<(i64, String)>, limit: i64) -> Vec<Content> {
    let project = project.to_owned();
    let page = db.read(move |tx| {
        let (project, after) = (project.clone(), after.clone());
        async move {
            let after = after.as_ref().map(|(at, id)| (*at, id.as_str()));
            catalog::page(tx, &project, after, limit).await
        }
        .boxed()
    });
    page.await.unwrap()
}

/// All pages of at most `limit`, joined.
async fn pages(db: &Db, project: &str, limit: i64) -> Vec<Content> {
    let mut all = Vec::new();
    loop {
        let last = all.last();
        let after = last.map(|last: &Content| (last.created_at, last.id.clone()));
        let next = page(db, project, after, limit).await;
        assert!(next.len() as i64 <= limit);
        if next.is_empty() {
            return all;
        }
        all.extend(next);
    }
}

async fn pages_of_what_is_complete(on: &Subject, db: &Db) {
    static AT_ONCE: Sql = sql!("UPDATE upload SET created_at = 7 WHERE project_id = $1");
    let project = project();
    assert_eq!(page(db, &project, None, 10).await, []);
    let mut complete = Vec::new();
    for length in 1..=5 {
        complete.push(whole(on, &project, length).await);
        on.tick().await;
    }
    // Neither parts, nor what is not complete, nor what is no more, nor what is elsewhere.
    let part = on.part(&project, 3).await;
    on.create(new_upload(&project)).await;
    waiting(on, &project).await;
    complete.push(concatenated(on, new_final(&project, &[&part, &part])).await);
    let deleted = complete.remove(1).id;
    let cancelled = on.store.cancel(deleted, Canceller::Sender, None).await;
    assert!(cancelled.unwrap().has_begun());
    whole(on, "another", 1).await;

    let mut expected: Vec<_> = complete
        .iter()
        .map(|upload| upload.id.to_string())
        .collect();
    for limit in [1, 2, 5, 6] {
        let all = pages(db, &project, limit).await;
        let found: Vec<_> = all.iter().map(|content| content.id.clone()).collect();
        assert_eq!(found, expected, "{limit}");
        assert_eq!(all[4].bytes, 6);
        assert!(all.iter().all(|content| content.is_complete));
    }
    execute(db, &AT_ONCE, &[&project]).await;
    expected.sort();
    for limit in [1, 2, 5, 6] {
        let all = pages(db, &project, limit).await;
        let found: Vec<_> = all.into_iter().map(|content| content.id).collect();
        assert_eq!(found, expected, "{limit}");
    }
}

async fn segments(db: &Db, id: UploadId) -> Option<Vec<Segment>> {
    let found =
        db.read(move |tx| async move { catalog::segments(tx, &id.to_string()).await }.boxed());
    found.await.unwrap()
}

async fn knows_what_a_complete_one_is_made_of(on: &Subject, db: &Db) {
    let project = project();
    let segment = |part: &Upload| Segment {
        blob: part.id,
        bytes: part.offset,
    };
    let single = whole(on, &project, 4).await;
    assert_eq!(segments(db, single.id).await, Some(vec![segment(&single)]));
    let (a, b) = (on.part(&project, 3).await, on.part(&project, 5).await);
    let empty = on.part(&project, 0).await;
    let made = concatenated(on, new_final(&project, &[&b, &a, &empty, &b])).await;
    let made_of = [&b, &a, &empty, &b].map(segment).to_vec();
    assert_eq!(segments(db, made.id).await, Some(made_of.clone()));

    let part = open_part(on, &project, Some(1)).await;
    let unfinished = on.create(new_upload(&project)).await;
    let waits = waiting(on, &project).await;
    for none in [a.id, part.id, unfinished.id, waits.id, UploadId::random()] {
        assert_eq!(segments(db, none).await, None);
    }
    // The bytes of a part that is deleted stay as long as what is made of it.
    let deleted = [b.id, single.id, made.id];
    let left = [Some(made_of.clone()), Some(made_of), None];
    for (id, left) in deleted.into_iter().zip(left) {
        on.store.cancel(id, Canceller::Sender, None).await.unwrap();
        assert_eq!(segments(db, made.id).await, left);
    }
    assert_eq!(segments(db, single.id).await, None);
}
