//! What happens to projects and shares, as events (contract, "Events").

use serde_json::json;

use super::row::{Project, Share, Status};
use crate::event::{Draft, Feed, Kind};

/// A project has a new title or description.
pub(super) fn updated(project: &Project) -> Draft {
    Draft {
        feed: Feed::Project(project.id.clone()),
        kind: Kind::ProjectUpdated,
        subject: format!("project/{}", project.id),
        data: json!({
            "id": project.id,
            "projectId": project.id,
            "userId": project.owner,
            "state": "active",
        }),
    }
}

/// What is told of shares that have just reached their status, on the feeds of the project and of the
/// user whom it concerns. Nothing is told of an invitation.
pub(super) fn reached(shares: &[Share]) -> Vec<Draft> {
    shares.iter().flat_map(told).collect()
}

fn told(share: &Share) -> Vec<Draft> {
    let kind = match share.status {
        Status::Pending => return Vec::new(),
        Status::Accepted => Kind::ShareAccepted,
        Status::Revoked => Kind::ShareRevoked,
    };
    let of_project = Some(Feed::Project(share.project.clone()));
    let of_user = share.user.clone().map(Feed::User);
    let feeds = of_project.into_iter().chain(of_user);
    let draft = |feed| Draft {
        feed,
        kind,
        subject: format!("share/{}", share.id),
        data: json!({
            "id": share.id,
            "projectId": share.project,
            "userId": share.user,
            "state": share.status.as_str(),
        }),
    };
    feeds.map(draft).collect()
}
