//! `tidegate export`: a project as an archive.

use std::io::IsTerminal;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use tokio::time::sleep;

use super::cancel::each;
use super::error::CommandError;
use super::fetch::{Content, Target, fetch};
use super::object::Object;
use super::pages::Pages;
use super::server::AskError;
use super::session::{Answer, Common, Reason, Session};
use super::text::{Bytes, clean};
use super::{out, retry};
use crate::cancel::Scope;
use crate::id::UploadId;

/// How often it is asked how far an export is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often in a row that may fail.
const LOOK_TRIES: u32 = 10;

/// For the end of the help text.
pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate export start --project Slides --annotations coco,yolo --metrics csv --wait
      an archive of the images and of what was found in them
  tidegate export download 398d5d9c-e358-48e8-a8ea-4488062d2e28 --project Slides
      into a file with the archive's name; the same command goes on where it stopped
  id=$(tidegate export start --project Slides) && tidegate export cancel \"$id\" --project Slides
      the id is what is printed

Exit codes: 0 all done, 1 failed, 2 usage, 3 there is none, 130 interrupted.";

/// What is done with exports.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum Arguments {
    /// Begin an export, and print its id
    Start(Box<Start>),
    /// Tell how far one is
    Status(Box<One>),
    /// List the exports of a project
    Ls(Box<Ls>),
    /// Cancel one
    Cancel(Box<Cancel>),
    /// Download the archive, and go on where an earlier run stopped
    Download(Box<Download>),
}

/// Which project.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Place {
    /// The project, by id or title [default: the project `default`, on a server without login]
    #[arg(long, env = "TIDEGATE_PROJECT", value_name = "PROJECT")]
    project: Option<String>,

    #[command(flatten)]
    common: Common,
}

/// What is to be in the archive.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Start {
    /// Annotations in these forms
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(["coco", "yolo", "json"]))]
    annotations: Vec<String>,

    /// Metrics in these forms
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(["csv", "json"]))]
    metrics: Vec<String>,

    /// Leave out the images themselves
    #[arg(long)]
    no_images: bool,

    /// Only these images [default: all of the project]
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    images: Vec<UploadId>,

    /// What the archive is called [default: the title of the project]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Wait until it has ended
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    place: Place,
}

/// One export.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct One {
    /// The export
    #[arg(value_name = "ID")]
    id: UploadId,

    #[command(flatten)]
    place: Place,
}

/// All exports.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Ls {
    #[command(flatten)]
    place: Place,
}

/// What is cancelled.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    one: One,

    #[command(flatten)]
    reason: Reason,
}

/// What is downloaded.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Download {
    #[command(flatten)]
    one: One,

    #[command(flatten)]
    target: Target,
}

/// Does it.
///
/// # Errors
/// See [`CommandError`].
pub(super) async fn run(arguments: Arguments, scope: &Scope) -> Result<(), CommandError> {
    let place = match &arguments {
        Arguments::Start(start) => &start.place,
        Arguments::Status(one) => &one.place,
        Arguments::Ls(ls) => &ls.place,
        Arguments::Cancel(cancel) => &cancel.one.place,
        Arguments::Download(download) => &download.one.place,
    };
    let session = Session::open(&place.common, scope).await?;
    let project = session.project(place.project.as_deref());
    let project = session.unless_interrupted(project).await?;
    let exports = Exports {
        session: &session,
        path: format!("/api/projects/{project}/export"),
        project,
    };
    match &arguments {
        Arguments::Start(start) => exports.start(start).await,
        Arguments::Download(download) => exports.download(download).await,
        Arguments::Status(one) => {
            let status = session.unless_interrupted(exports.status(one.id)).await?;
            match session.json {
                true => Ok(out::json(&status)?),
                false => describe(&status),
            }
        }
        Arguments::Ls(_) => session.unless_interrupted(exports.ls()).await,
        Arguments::Cancel(cancel) => {
            let id = cancel.one.id;
            let path = format!("{}/{id}/cancel", exports.path);
            let paths = std::iter::once((id.to_string(), path));
            let cancelled = each(&session, paths, &cancel.reason);
            session.unless_interrupted(cancelled).await
        }
    }
}

/// The exports of a project.
struct Exports<'s> {
    session: &'s Session,
    project: String,
    /// On the server.
    path: String,
}

impl Exports<'_> {
    async fn start(&self, start: &Start) -> Result<(), CommandError> {
        let mut body = json!({"options": {
            "includeOriginalImages": !start.no_images,
            "annotationFormats": start.annotations,
            "metricsFormats": start.metrics,
        }});
        if !start.images.is_empty() {
            let images: Vec<_> = start.images.iter().map(ToString::to_string).collect();
            body["options"]["selectedImageIds"] = json!(images);
        }
        if let Some(name) = &start.name {
            body["projectName"] = json!(name);
        }
        let (session, path) = (self.session, &self.path);
        let started = async { Ok(session.post::<Object>(path, &body).await?) };
        let started = session.unless_interrupted(started).await?;
        let id: Option<UploadId> = started.word("jobId").and_then(|id| id.parse().ok());
        let id = id.ok_or_else(|| AskError::Strange("it names no export".into()))?;
        match session.json {
            true => out::json(&started)?,
            false => out::line(&id.to_string())?,
        }
        match start.wait {
            true => self.wait(id).await,
            false => Ok(()),
        }
    }

    /// Follows an export to its end.
    async fn wait(&self, id: UploadId) -> Result<(), CommandError> {
        let bar = bar(self.session.json);
        let ended = self.session.unless_interrupted(async {
            loop {
                let look = async || self.get(id).await;
                let status = retry::patiently(LOOK_TRIES, AskError::passing, |_| {}, look).await?;
                bar.set_position(status.number("progress").unwrap_or(0).min(100));
                bar.set_message(status.text("message").unwrap_or_default());
                let is_on = ["queued", "processing", "cancelling"];
                if !is_on
                    .iter()
                    .any(|state| status.word("state") == Some(state))
                {
                    return Ok(status);
                }
                sleep(LOOK_EVERY).await;
            }
        });
        let ended = ended.await;
        bar.finish_and_clear();
        let status = match ended {
            Err(CommandError::Interrupted) => {
                let project = &self.project;
                out::tell(&format!(
                    "tidegate: the export goes on: see `tidegate export status {id} --project {project}`"
                ));
                return Err(CommandError::Interrupted);
            }
            ended => ended?,
        };
        if self.session.json {
            out::json(&status)?;
        }
        for warning in status.texts("warnings") {
            out::tell(&format!("warning: {warning}"));
        }
        if status.word("state") != Some("completed") {
            return Err(CommandError::Failed(not_there(&status)));
        }
        let size = status.bytes("size");
        out::tell(&format!("the archive is whole: {size}"));
        Ok(())
    }

    async fn get(&self, id: UploadId) -> Result<Object, AskError> {
        let path = format!("{}/{id}/status", self.path);
        Ok(self.session.server.get::<Answer>(&path).await?.data)
    }

    async fn status(&self, id: UploadId) -> Result<Object, CommandError> {
        Ok(retry::while_busy(async || self.get(id).await).await?)
    }

    async fn ls(&self) -> Result<(), CommandError> {
        let path = format!("{}/history", self.path);
        let head = ["ID", "STATE", "DONE", "SIZE", "CREATED", "NAME"];
        let pages = Pages::new(&self.session.server, &path);
        pages
            .show(self.session.json, None, head, |export| {
                [
                    export.cell("id"),
                    export.cell("state"),
                    format!("{} %", export.number("progress").unwrap_or(0)),
                    export.bytes("size"),
                    export.cell("createdAt"),
                    export.cell("projectName"),
                ]
            })
            .await
    }

    async fn download(&self, download: &Download) -> Result<(), CommandError> {
        let id = download.one.id;
        let status = self.session.unless_interrupted(self.status(id)).await?;
        let Some(length) = status.number("size").filter(|_| status.is("downloadable")) else {
            return Err(CommandError::Failed(not_there(&status)));
        };
        let content = Content {
            id: id.to_string(),
            path: format!("{}/{id}/download", self.path),
            length,
            tag: Some(format!("\"{id}\"")),
            sha256: None,
            name: format!("{}.zip", status.word("projectName").unwrap_or("export")),
        };
        fetch(self.session, &content, &download.target).await
    }
}

fn not_there(status: &Object) -> String {
    let mut words = format!(
        "there is no archive: the export is {}",
        status.cell("state")
    );
    for why in ["error", "cancelReason"] {
        if let Some(why) = status.text(why) {
            words = format!("{words}: {why}");
        }
    }
    words
}

/// For people: what there is of an export, a line each.
fn describe(status: &Object) -> Result<(), CommandError> {
    let done = status.number("progress").map(|done| format!("{done} %"));
    let size = status.number("size").map(|size| Bytes(size).to_string());
    let lines = [
        ("id", status.text("id")),
        ("name", status.text("projectName")),
        ("state", status.text("state")),
        ("progress", done),
        ("message", status.text("message")),
        ("size", size),
        ("error", status.text("error")),
        ("reason", status.text("cancelReason")),
        ("created", status.text("createdAt")),
        ("ended", status.text("finishedAt")),
        ("expires", status.text("expiresAt")),
    ];
    let warnings = status.texts("warnings").map(|text| ("warning", Some(text)));
    for (name, value) in lines.into_iter().chain(warnings) {
        if let Some(value) = value {
            out::line(&format!("{name:<9}{}", clean(&value)))?;
        }
    }
    Ok(())
}

fn bar(as_json: bool) -> ProgressBar {
    if as_json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let target = ProgressDrawTarget::stderr_with_hz(5);
    let bar = ProgressBar::with_draw_target(Some(100), target);
    if let Ok(style) = ProgressStyle::with_template("{wide_msg} {percent:>3} % {bar:20}") {
        bar.set_style(style);
    }
    bar
}
