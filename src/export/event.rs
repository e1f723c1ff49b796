//! What happens to exports, as events (contract, "Events").

use serde_json::{Value, json};

use super::job::{Job, State};
use super::progress::Seen;
use super::view::words;
use crate::event::{Draft, Feed, Kind};

/// An export has come into the state that it is in now. `None`: nobody is told of that.
pub(super) fn reached(job: &Job) -> Option<Draft> {
    let kind = match job.state {
        State::Queued => Kind::ExportQueued,
        // The first progress tells it.
        State::Processing => return None,
        State::Cancelling => Kind::ExportCancelling,
        State::Completed => Kind::ExportCompleted,
        State::Failed => Kind::ExportFailed,
        State::Cancelled => Kind::ExportCancelled,
    };
    let (stage, message) = words(job, None);
    let mut data = data(job, stage, message);
    if let Some(members) = data.as_object_mut() {
        if let Some(reason) = &job.cancel_reason {
            members.insert("reason".into(), json!(reason));
        }
        if job.state == State::Cancelled {
            members.insert("releasedBytes".into(), json!(job.released_bytes));
        }
        if job.state == State::Completed {
            members.insert("progress".into(), json!(100));
            members.insert("bytes".into(), json!(job.bytes));
            members.insert("warnings".into(), json!(job.warnings));
        }
    }
    Some(Draft {
        feed: feed(&job.project),
        kind,
        subject: job.subject(),
        data,
    })
}

/// How far an export is that is under way.
pub(super) fn progress(job: &Job, seen: &Seen) -> Value {
    let (stage, message) = words(job, Some(seen));
    let mut data = data(job, stage, message);
    if let Some(members) = data.as_object_mut() {
        members.insert("progress".into(), json!(seen.percent));
        members.insert(
            "stageProgress".into(),
            json!({ "current": seen.items, "total": seen.items_in_all }),
        );
    }
    data
}

fn data(job: &Job, stage: &str, message: &str) -> Value {
    json!({
        "id": job.id,
        "projectId": job.project,
        "userId": job.user,
        "state": job.state.as_str(),
        "progress": 0,
        "stage": stage,
        "message": message,
    })
}

pub(super) fn feed(project: &str) -> Feed {
    Feed::Project(project.to_owned())
}
