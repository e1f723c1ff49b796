//! What happens to uploads, as events (contract, "Events").

use serde::Serialize;
use serde_json::Value;
use tidegate_protocol::field::metadata::Metadata;

use super::store::{State, Upload};
use crate::event::{Draft, Feed, Kind};
use crate::id::UploadId;

/// What an event tells of an upload.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    id: String,
    project_id: &'a str,
    user_id: &'a str,
    state: &'static str,
    offset: u64,
    length: Option<u64>,
    filename: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    released_bytes: Option<u64>,
    /// Bytes that have arrived so far, safe or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<u64>,
}

/// `kind` has happened to `upload`, which is now as it is here.
pub(super) fn draft(upload: &Upload, kind: Kind) -> Draft {
    Draft {
        feed: feed(upload),
        kind,
        subject: subject(upload.id),
        data: data(upload, None),
    }
}

/// Where what happens to it is told.
pub(super) fn feed(upload: &Upload) -> Feed {
    Feed::Project(upload.project.clone())
}

pub(super) fn subject(id: UploadId) -> String {
    format!("upload/{id}")
}

/// As much of an upload as an event tells.
pub(super) fn data(upload: &Upload, received: Option<u64>) -> Value {
    let metadata = Metadata::from_stored(upload.metadata.clone());
    let data = Data {
        id: upload.id.to_string(),
        project_id: &upload.project,
        user_id: &upload.owner,
        state: upload.state.as_str(),
        offset: upload.offset,
        length: upload.length,
        filename: metadata.filename(),
        sha256: upload.sha256.as_deref(),
        reason: upload.end_reason.as_deref(),
        released_bytes: upload.released_bytes,
        received,
    };
    // Plain numbers and text.
    serde_json::to_value(data).unwrap_or_default()
}

/// What has happened when an upload is in this state now, and was not before. `None`: its end is
/// told when its row goes.
pub(super) fn reached(state: State) -> Option<Kind> {
    Some(match state {
        State::Uploading => Kind::UploadCreated,
        State::Completed => Kind::UploadCompleted,
        State::Cancelling => Kind::UploadCancelling,
        State::Cancelled => Kind::UploadCancelled,
        State::Expired => Kind::UploadExpired,
        State::Failed => Kind::UploadFailed,
        State::Deleting => return None,
    })
}
