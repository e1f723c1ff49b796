//! What happens to items, as events (contract, "Events").

use serde_json::{Value, json};

use super::item::{Item, State};
use crate::event::{Draft, Feed, Kind};

/// An item has come into the state that it is in now.
pub(super) fn reached(item: &Item) -> Draft {
    let mut data = data(item);
    if let Some(members) = data.as_object_mut() {
        let texts = [
            ("how", &item.how),
            ("reason", &item.cancel_reason),
            ("error", &item.error),
        ];
        let texts = texts.into_iter().filter_map(|(name, text)| {
            let text = text.as_deref()?;
            Some((name.to_owned(), Value::from(text)))
        });
        members.extend(texts);
    }
    Draft {
        feed: feed(&item.project),
        kind: match item.state {
            State::Queued => Kind::QueueItemQueued,
            State::Processing => Kind::QueueItemProcessing,
            State::Cancelling => Kind::QueueItemCancelling,
            State::Completed => Kind::QueueItemCompleted,
            State::Failed => Kind::QueueItemFailed,
            State::Cancelled => Kind::QueueItemCancelled,
        },
        subject: item.subject(),
        data,
    }
}

/// What a worker's progress on an item tells beside how far it is.
pub(super) fn data(item: &Item) -> Value {
    json!({
        "id": item.id,
        "projectId": item.project,
        "userId": item.user,
        "state": item.state.as_str(),
        "imageId": item.image,
        "batchId": item.batch,
        "model": item.model,
        "attempt": item.attempt,
        "imageStatus": item.image_status(),
    })
}

/// How many items of a project wait and are processed now.
pub(super) fn stats(project: &str, stats: Stats) -> Draft {
    Draft {
        feed: feed(project),
        kind: Kind::QueueStats,
        subject: format!("project/{project}"),
        data: json!({
            "id": project,
            "projectId": project,
            // Of everybody's items.
            "userId": null,
            "state": "active",
            "queued": stats.queued,
            "processing": stats.processing,
            "total": stats.queued + stats.processing,
        }),
    }
}

/// How many items wait and are processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stats {
    pub(super) queued: i64,
    pub(super) processing: i64,
}

pub(super) fn feed(project: &str) -> Feed {
    Feed::Project(project.to_owned())
}
