//! `tidegate ls`: the uploads of a project.

use super::error::CommandError;
use super::object::Object;
use super::pages::Pages;
use super::session::{Common, Session};
use super::text::Bytes;
use crate::cancel::Scope;

/// For the end of the help text.
pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate ls --project Slides
      all uploads of the project, newest first
  tidegate ls --state uploading
      what is on its way
  tidegate ls --json --limit 1 | jq -r .id
      the id of the newest one

Exit codes: 0 listed, 1 failed, 2 usage, 3 there is none, 130 interrupted.";

/// The arguments of `tidegate ls`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    /// The project, by id or title [default: the project `default`, on a server without login]
    #[arg(long, env = "TIDEGATE_PROJECT", value_name = "PROJECT")]
    project: Option<String>,

    /// Only uploads in this state
    #[arg(long, value_name = "STATE")]
    #[arg(value_parser = ["uploading", "completed", "cancelling", "cancelled", "expired", "failed"])]
    state: Option<String>,

    /// So many at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    #[command(flatten)]
    common: Common,
}

/// Lists them.
///
/// # Errors
/// See [`CommandError`].
pub(super) async fn run(arguments: Arguments, scope: &Scope) -> Result<(), CommandError> {
    let session = Session::open(&arguments.common, scope).await?;
    session
        .unless_interrupted(async {
            let project = session.project(arguments.project.as_deref()).await?;
            let mut path = format!("/api/projects/{project}/uploads");
            if let Some(state) = &arguments.state {
                path = format!("{path}?state={state}");
            }
            let head = ["ID", "STATE", "SIZE", "CREATED", "NAME"];
            let pages = Pages::new(&session.server, &path);
            pages.show(session.json, arguments.limit, head, row).await
        })
        .await
}

fn row(upload: &Object) -> [String; 5] {
    let size = match (upload.word("state"), upload.number("offset")) {
        (Some("completed"), _) | (_, None) => upload.bytes("length"),
        (_, Some(offset)) => format!("{} of {}", Bytes(offset), upload.bytes("length")),
    };
    [
        upload.cell("id"),
        upload.cell("state"),
        size,
        upload.cell("createdAt"),
        upload.cell("filename"),
    ]
}
