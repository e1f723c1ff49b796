//! `tidegate cancel`: uploads that are on their way, and how cancels of all kinds are told.

use serde_json::json;

use super::error::CommandError;
use super::object::Object;
use super::out;
use super::pages::Pages;
use super::server::AskError;
use super::session::{Answer, Common, Consent, Reason, Session};
use super::text::Bytes;
use crate::cancel::Scope;
use crate::id::UploadId;

/// For the end of the help text.
pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate cancel 0c2662d1-024b-479a-abc2-fb1a7e5da6f7 --reason 'wrong plate'
      one upload; whoever sends it is told why
  tidegate cancel --all --project Slides
      all of one's own in the project, after a question
  tidegate cancel --all --everyone --yes --project Slides
      those of everybody, for the project's owner

Exit codes: 0 all cancelled, also before; 1 some are not, also because they were complete;
2 usage; 3 there is none; 130 interrupted.";

/// The arguments of `tidegate cancel`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    /// Uploads
    #[arg(
        value_name = "ID",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    ids: Vec<UploadId>,

    /// All of the caller's that are on their way in the project
    #[arg(long)]
    all: bool,

    /// With --all: those of everybody, for the project's owner
    #[arg(long, requires = "all")]
    everyone: bool,

    /// With --all: the project, by id or title
    #[arg(long, env = "TIDEGATE_PROJECT", value_name = "PROJECT")]
    project: Option<String>,

    #[command(flatten)]
    reason: Reason,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    common: Common,
}

/// Cancels them.
///
/// # Errors
/// See [`CommandError`].
pub(super) async fn run(arguments: Arguments, scope: &Scope) -> Result<(), CommandError> {
    if arguments.all {
        arguments.consent.check()?;
    }
    let session = Session::open(&arguments.common, scope).await?;
    session
        .unless_interrupted(async {
            if arguments.all {
                return all(&session, &arguments).await;
            }
            let paths = arguments.ids.iter().map(|id| {
                let path = format!("/api/uploads/{id}/cancel");
                (id.to_string(), path)
            });
            each(&session, paths, &arguments.reason).await
        })
        .await
}

async fn all(session: &Session, arguments: &Arguments) -> Result<(), CommandError> {
    let project = session.project(arguments.project.as_deref()).await?;
    let path = format!("/api/projects/{project}/uploads?state=uploading");
    let mut pages = Pages::new(&session.server, &path);
    let (mut count, mut bytes) = (0_u64, 0_u64);
    while let Some(uploads) = pages.next().await? {
        for upload in uploads {
            if arguments.everyone || session.is_own(&upload, "ownerId") {
                count += 1;
                bytes = bytes.saturating_add(upload.number("offset").unwrap_or(0));
            }
        }
    }
    if count == 0 {
        return Err(CommandError::Nothing("nothing is on its way".into()));
    }
    let question = format!("Cancel {count} uploads, and free {}?", Bytes(bytes));
    arguments.consent.ask(question).await?;
    let body = match arguments.everyone {
        true => json!({"all": true}),
        false => json!({}),
    };
    let path = format!("/api/projects/{project}/uploads/cancel");
    many(session, &path, &arguments.reason.with(body)).await
}

/// Cancels each of these, by its name and the path of the call, and tells what became of it.
///
/// # Errors
/// Some are not cancelled.
pub(super) async fn each(
    session: &Session,
    paths: impl Iterator<Item = (String, String)>,
    reason: &Reason,
) -> Result<(), CommandError> {
    let body = reason.with(json!({}));
    let mut all_done = true;
    for (id, path) in paths {
        match session.post::<Answer>(&path, &body).await {
            Ok(answer) => all_done &= told(&answer.data, session.json)?,
            Err(error @ AskError::Refused(_)) => {
                all_done = false;
                if session.json {
                    out::json(&json!({"id": id, "error": error.to_string()}))?;
                }
                out::tell(&format!("tidegate: {id}: {error}"));
            }
            // It would be the same for the others.
            Err(error) => return Err(error.into()),
        }
    }
    all_done.then_some(()).ok_or(CommandError::Some)
}

/// Tells what a cancel has come to, and whether it is what was wanted.
fn told(data: &Object, as_json: bool) -> Result<bool, CommandError> {
    let outcome = data.cell("outcome");
    if as_json {
        out::json(data)?;
    } else {
        let id = data.cell("id");
        let words = match outcome.as_str() {
            "cancelled" => "cancelled",
            "cancelling" => "cancelled, and its end follows",
            "already_cancelled" => "was cancelled before",
            "already_completed" => "is not cancelled: it was complete before",
            "already_failed" => "had failed before",
            other => other,
        };
        let freed = data.number("releasedBytes").filter(|bytes| *bytes > 0);
        let freed = freed.map(|bytes| format!(", {} freed", Bytes(bytes)));
        out::line(&format!("{id} {words}{}", freed.unwrap_or_default()))?;
    }
    let is_done = [
        "cancelled",
        "cancelling",
        "already_cancelled",
        "already_failed",
    ];
    Ok(is_done.contains(&outcome.as_str()))
}

/// Cancels many with one call, which is repeated as long as there are more.
///
/// # Errors
/// There was nothing to cancel, or some were not cancelled.
pub(super) async fn many(
    session: &Session,
    path: &str,
    body: &serde_json::Value,
) -> Result<(), CommandError> {
    let (mut cancelled, mut unchanged) = (0_u64, 0_u64);
    loop {
        let Answer { data } = session.post::<Answer>(path, body).await?;
        let done = ["cancelled", "cancelling"].map(|name| data.number(name).unwrap_or(0));
        let done = done[0].saturating_add(done[1]);
        cancelled = cancelled.saturating_add(done);
        unchanged = unchanged.saturating_add(data.number("unchanged").unwrap_or(0));
        if session.json {
            data.objects("results")
                .try_for_each(|result| out::json(&result))?;
        }
        if !data.is("more") {
            break;
        }
        if done == 0 {
            let why = "it has more to cancel, and cancels nothing";
            return Err(AskError::Strange(why.into()).into());
        }
    }
    if cancelled + unchanged == 0 {
        return Err(CommandError::Nothing("there was nothing to cancel".into()));
    }
    if !session.json {
        let rest = match unchanged {
            0 => String::new(),
            more => format!(", {more} had ended before"),
        };
        out::line(&format!("{cancelled} cancelled{rest}"))?;
    }
    Ok(())
}
