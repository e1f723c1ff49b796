//! `tidegate queue`: images wait for workers.

use std::collections::{BTreeMap, BTreeSet};

use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value, json};

use super::cancel::{each, many};
use super::error::CommandError;
use super::object::Object;
use super::out;
use super::pages::Pages;
use super::session::{Answer, Common, Consent, Reason, Session};
use crate::cancel::Scope;
use crate::id::UploadId;

/// What one call may enqueue.
const BATCH_MAX: usize = 10_000;

/// For the end of the help text.
pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate queue add --project Slides --all-images --model otsu
      all images of a project that have no result yet
  tidegate queue ls --project Slides --state queued,processing
      what waits and what is processed
  tidegate queue cancel --project Slides
      all that is one's own there, after a question

Exit codes: 0 all done, 1 some failed, 2 usage, 3 there is nothing, 130 interrupted.";

/// What is done with the queue.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum Arguments {
    /// Enqueue images, which are complete uploads
    Add(Box<Add>),
    /// List the items of a project
    Ls(Box<Ls>),
    /// Cancel items that wait or are processed
    Cancel(Box<Cancel>),
    /// Tell how many items wait and are processed
    Stats(Box<Stats>),
}

/// What is enqueued, and how.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Add {
    /// Images
    #[arg(value_name = "IMAGE", required_unless_present = "all_images")]
    images: Vec<UploadId>,

    /// The project of all these images, by id or title; without it, it is asked for
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,

    /// All images of the project
    #[arg(long, conflicts_with = "images")]
    all_images: bool,

    /// What is to look at them [default: the server's]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,

    /// From 0.1 to 0.9 [default: the server's]
    #[arg(long, value_name = "T")]
    threshold: Option<f64>,

    /// From 0 to 10; higher ones come first [default: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=10))]
    priority: Option<u8>,

    /// Do not look for holes
    #[arg(long)]
    no_holes: bool,

    /// Also images that have a result already
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    common: Common,
}

/// What is listed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Ls {
    /// The project, by id or title [default: the project `default`, on a server without login]
    #[arg(long, env = "TIDEGATE_PROJECT", value_name = "PROJECT")]
    project: Option<String>,

    /// Only items in these states, with commas in between
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    #[arg(value_parser = PossibleValuesParser::new(["queued", "processing", "completed", "failed", "cancelling", "cancelled"]))]
    state: Vec<String>,

    #[command(flatten)]
    common: Common,
}

/// What is cancelled.
#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["items", "batch", "project", "all"]))]
pub(super) struct Cancel {
    /// Items
    #[arg(value_name = "ITEM")]
    items: Vec<UploadId>,

    /// What is active of a batch
    #[arg(long, value_name = "BATCH")]
    batch: Option<UploadId>,

    /// The caller's in this project, by id or title
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,

    /// With --project: those of everybody, for the project's owner
    #[arg(long, requires = "project")]
    everyone: bool,

    /// The caller's in all projects
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    reason: Reason,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    common: Common,
}

/// What is counted.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Stats {
    /// The whole of this project, by id or title [default: the caller's items in all projects]
    #[arg(long, env = "TIDEGATE_PROJECT", value_name = "PROJECT")]
    project: Option<String>,

    #[command(flatten)]
    common: Common,
}

/// Does it.
///
/// # Errors
/// See [`CommandError`].
pub(super) async fn run(arguments: Arguments, scope: &Scope) -> Result<(), CommandError> {
    let common = match &arguments {
        Arguments::Add(add) => &add.common,
        Arguments::Ls(ls) => &ls.common,
        Arguments::Cancel(cancel) => {
            if cancel.items.is_empty() {
                cancel.consent.check()?;
            }
            &cancel.common
        }
        Arguments::Stats(stats) => &stats.common,
    };
    let session = Session::open(common, scope).await?;
    session
        .unless_interrupted(async {
            match &arguments {
                Arguments::Add(add) => add.run(&session).await,
                Arguments::Ls(ls) => ls.run(&session).await,
                Arguments::Cancel(cancel) => cancel.run(&session).await,
                Arguments::Stats(stats) => stats.run(&session).await,
            }
        })
        .await
}

impl Add {
    async fn run(&self, session: &Session) -> Result<(), CommandError> {
        if self.all_images {
            return self.all(session).await;
        }
        if let ([image], None) = (self.images.as_slice(), &self.project) {
            let path = format!("/api/queue/images/{image}");
            let answer: Answer = session.post(&path, &self.members()).await?;
            return told(&answer.data, session.json);
        }
        let mut projects: BTreeMap<String, BTreeSet<UploadId>> = BTreeMap::new();
        match &self.project {
            Some(project) => {
                let project = session.project(Some(project)).await?;
                projects.insert(project, self.images.iter().copied().collect());
            }
            None => {
                for image in &self.images {
                    let path = format!("/api/uploads/{image}");
                    let upload: Answer = session.server.get(&path).await?;
                    let project = upload.data.word("projectId").unwrap_or_default();
                    projects.entry(project.into()).or_default().insert(*image);
                }
            }
        }
        for (project, images) in projects {
            // In the order in which they were named, which is that of the queue.
            let mut left = images;
            let named = self.images.iter().filter(|image| left.remove(image));
            let named: Vec<_> = named.map(ToString::to_string).collect();
            for images in named.chunks(BATCH_MAX) {
                self.batch(session, &project, images).await?;
            }
        }
        Ok(())
    }

    async fn all(&self, session: &Session) -> Result<(), CommandError> {
        let project = session.project(self.project.as_deref()).await?;
        let path = format!("/api/projects/{project}/images");
        let mut pages = Pages::new(&session.server, &path);
        let (mut images, mut is_empty) = (Vec::new(), true);
        while let Some(page) = pages.next().await? {
            images.extend(
                page.iter()
                    .filter_map(|image| image.word("id").map(str::to_owned)),
            );
            is_empty &= images.is_empty();
            while images.len() >= BATCH_MAX {
                let rest = images.split_off(BATCH_MAX);
                self.batch(session, &project, &images).await?;
                images = rest;
            }
        }
        if is_empty {
            return Err(CommandError::Nothing("the project has no images".into()));
        }
        match images.is_empty() {
            true => Ok(()),
            false => self.batch(session, &project, &images).await,
        }
    }

    async fn batch(
        &self,
        session: &Session,
        project: &str,
        images: &[String],
    ) -> Result<(), CommandError> {
        let mut body = self.members();
        body.insert("projectId".into(), json!(project));
        body.insert("imageIds".into(), json!(images));
        body.insert("forceResegment".into(), json!(self.force));
        let Answer { data } = session.post::<Answer>("/api/queue/batch", &body).await?;
        if session.json {
            data.objects("queueEntries")
                .try_for_each(|item| out::json(&item))?;
            data.objects("skipped")
                .try_for_each(|image| out::json(&image))?;
            return Ok(());
        }
        let mut skipped: BTreeMap<String, u64> = BTreeMap::new();
        for image in data.objects("skipped") {
            *skipped.entry(image.cell("reason")).or_default() += 1;
        }
        let mut line = format!("{} enqueued", data.number("queuedCount").unwrap_or(0));
        if let Some(batch) = data.text("batchId") {
            line = format!("{line} as batch {batch}");
        }
        for (reason, count) in skipped {
            line = format!("{line}, {count} left out: {reason}");
        }
        Ok(out::line(&line)?)
    }

    /// What is the same of all of them.
    fn members(&self) -> Map<String, Value> {
        let members = [
            ("model", self.model.as_ref().map(|model| json!(model))),
            (
                "threshold",
                self.threshold.map(|threshold| json!(threshold)),
            ),
            ("priority", self.priority.map(|priority| json!(priority))),
            ("detectHoles", self.no_holes.then_some(json!(false))),
        ];
        let told = members.into_iter();
        told.filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }
}

fn told(item: &Object, as_json: bool) -> Result<(), CommandError> {
    match as_json {
        true => out::json(item)?,
        false => out::line(&format!("{} {}", item.cell("id"), item.cell("state")))?,
    }
    Ok(())
}

impl Ls {
    async fn run(&self, session: &Session) -> Result<(), CommandError> {
        let project = session.project(self.project.as_deref()).await?;
        let mut path = format!("/api/queue/projects/{project}/items");
        if !self.state.is_empty() {
            path = format!("{path}?state={}", self.state.join(","));
        }
        let head = ["ID", "STATE", "DONE", "MODEL", "CREATED", "IMAGE"];
        let pages = Pages::new(&session.server, &path);
        pages
            .show(session.json, None, head, |item| {
                let done = item.number("progress").map(|done| format!("{done} %"));
                [
                    item.cell("id"),
                    item.cell("state"),
                    done.unwrap_or_else(|| "-".into()),
                    item.cell("model"),
                    item.cell("createdAt"),
                    item.cell("imageId"),
                ]
            })
            .await
    }
}

impl Cancel {
    async fn run(&self, session: &Session) -> Result<(), CommandError> {
        if let Some(batch) = self.batch {
            let path = format!("/api/queue/batches/{batch}/cancel");
            // Its project is not known, and so neither is how many these are.
            let question = format!("Cancel all that is active of batch {batch}?");
            self.consent.ask(question).await?;
            return many(session, &path, &self.reason.with(json!({}))).await;
        }
        if !self.items.is_empty() {
            let paths = self.items.iter().map(|item| {
                let path = format!("/api/queue/items/{item}/cancel");
                (item.to_string(), path)
            });
            return each(session, paths, &self.reason).await;
        }
        let (path, count) = match &self.project {
            None => (
                "/api/queue/cancel-all-user".into(),
                count(session, None).await?,
            ),
            Some(project) => {
                let project = session.project(Some(project)).await?;
                let path = format!("/api/queue/projects/{project}/cancel");
                let count = match self.everyone {
                    true => count(session, Some(&project)).await?,
                    false => own(session, &project).await?,
                };
                (path, count)
            }
        };
        if count == 0 {
            let why = "nothing waits and nothing is processed";
            return Err(CommandError::Nothing(why.into()));
        }
        self.consent.ask(format!("Cancel {count} items?")).await?;
        let body = match self.everyone {
            true => json!({"all": true}),
            false => json!({}),
        };
        many(session, &path, &self.reason.with(body)).await
    }
}

/// How many items are active: all of a project's, or else the caller's own.
async fn count(session: &Session, project: Option<&str>) -> Result<u64, CommandError> {
    let stats: Answer = session.server.get(&stats_path(project)).await?;
    Ok(stats.data.number("total").unwrap_or(0))
}

/// How many of the caller's own are active in a project.
async fn own(session: &Session, project: &str) -> Result<u64, CommandError> {
    let path = format!("/api/queue/projects/{project}/items?state=queued,processing");
    let mut pages = Pages::new(&session.server, &path);
    let mut count = 0;
    while let Some(items) = pages.next().await? {
        let own = items.iter().filter(|item| session.is_own(item, "userId"));
        count += own.count() as u64;
    }
    Ok(count)
}

fn stats_path(project: Option<&str>) -> String {
    match project {
        Some(project) => format!("/api/queue/projects/{project}/stats"),
        None => "/api/queue/stats".into(),
    }
}

impl Stats {
    async fn run(&self, session: &Session) -> Result<(), CommandError> {
        let project = session.named_project(self.project.as_deref()).await?;
        let path = stats_path(project.as_deref());
        let Answer { data } = session.server.get::<Answer>(&path).await?;
        if session.json {
            return Ok(out::json(&data)?);
        }
        let [queued, processing] = ["queued", "processing"].map(|name| data.number(name));
        let (queued, processing) = (queued.unwrap_or(0), processing.unwrap_or(0));
        Ok(out::line(&format!(
            "{queued} queued, {processing} processing"
        ))?)
    }
}
