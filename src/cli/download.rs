//! `tidegate download`: the content of an upload.

use super::error::CommandError;
use super::fetch::{Content, Target, fetch};
use super::session::{Answer, Common, Session};
use crate::cancel::Scope;
use crate::id::UploadId;

/// For the end of the help text.
pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate download 0c2662d1-024b-479a-abc2-fb1a7e5da6f7
      into a file with the upload's name
  tidegate download 0c2662d1-024b-479a-abc2-fb1a7e5da6f7 -o scans/
      the same in another directory
  tidegate download 0c2662d1-024b-479a-abc2-fb1a7e5da6f7 -o - | tar x
      to another program, which has read it before it is verified

What has come is in FILE.part until it is whole and verified; the same command goes on with it.
Exit codes: 0 all there, 1 failed, 2 usage, 130 interrupted.";

/// The arguments of `tidegate download`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    /// The upload
    #[arg(value_name = "ID")]
    id: UploadId,

    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    common: Common,
}

/// Downloads it.
///
/// # Errors
/// See [`CommandError`].
pub(super) async fn run(arguments: Arguments, scope: &Scope) -> Result<(), CommandError> {
    let session = Session::open(&arguments.common, scope).await?;
    let id = arguments.id;
    let path = format!("/api/uploads/{id}");
    let asked = async { Ok(session.server.get::<Answer>(&path).await?) };
    let upload = session.unless_interrupted(asked).await?.data;
    let is_complete = upload.word("state") == Some("completed");
    let Some(length) = upload.number("length").filter(|_| is_complete) else {
        let (state, offset) = (upload.cell("state"), upload.bytes("offset"));
        let why = format!("the upload is not complete: {state}, with {offset}");
        return Err(CommandError::Failed(why));
    };
    let sha256 = upload.word("sha256").map(str::to_owned);
    let content = Content {
        id: id.to_string(),
        path: format!("/files/{id}"),
        length,
        tag: sha256.as_ref().map(|sum| format!("\"{sum}\"")),
        sha256,
        name: upload.word("filename").unwrap_or_default().to_owned(),
    };
    fetch(&session, &content, &arguments.target).await
}
