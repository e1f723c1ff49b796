//! `tidegate project`, and what projects are called.

use http::Method;
use serde_json::{Map, json};

use super::error::CommandError;
use super::object::Object;
use super::out;
use super::pages::Pages;
use super::server::Server;
use super::session::{Answer, Common, Consent, Session};
use super::text::clean;
use crate::cancel::Scope;
use crate::id::ProjectId;

/// The one that a server without authentication has from the beginning.
pub(super) const DEFAULT: &str = ProjectId::DEFAULT;

/// The id of a project that is named by its id or its title.
///
/// # Errors
/// There is none of that title, or more than one; or the server does not tell.
pub(super) async fn find(server: &Server, named: &str) -> Result<String, CommandError> {
    if let Ok(id) = named.parse::<ProjectId>() {
        return Ok(id.to_string());
    }
    let mut found = None;
    let mut pages = Pages::new(server, "/api/projects");
    while let Some(projects) = pages.next().await? {
        let called = |project: &Object| project.word("title") == Some(named);
        for project in projects.into_iter().filter(called) {
            let id = project
                .word("id")
                .and_then(|id| id.parse::<ProjectId>().ok());
            let id = id.ok_or_else(|| {
                CommandError::Failed("the server names a project in a way that is no id".into())
            })?;
            if found.replace(id.to_string()).is_some() {
                let why = format!(
                    "several projects are called `{}`: name its id",
                    clean(named)
                );
                return Err(CommandError::Usage(why));
            }
        }
    }
    found.ok_or_else(|| {
        CommandError::Failed(format!(
            "there is no project `{}` that you can see",
            clean(named)
        ))
    })
}

/// For the end of the help text.
pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate project create Slides --description 'of May'
      a new project, whose id is printed
  tidegate project show Slides
      what it is, and how much is in it
  tidegate project rm Slides
      away with it and everything in it, after a question

Exit codes: 0 done, 1 failed, 2 usage, 3 there is none, 130 interrupted.";

/// What is done with projects.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum Arguments {
    /// List one's own, and those that are shared with one
    Ls(Box<Ls>),
    /// Make one, and print its id
    Create(Box<Create>),
    /// Tell what one is, and how much is in it
    Show(Box<Show>),
    /// Give one another title
    Rename(Box<Rename>),
    /// Remove one with everything in it
    Rm(Box<Rm>),
}

/// All projects.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Ls {
    #[command(flatten)]
    common: Common,
}

/// A new project.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Create {
    /// What it is called
    title: String,

    /// What it is about
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    #[command(flatten)]
    common: Common,
}

/// A project.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Show {
    /// The project, by id or title
    project: String,

    #[command(flatten)]
    common: Common,
}

/// A project, and how it is to be called.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Rename {
    /// The project, by id or title
    project: String,

    /// What it is called from now on
    title: String,

    #[command(flatten)]
    common: Common,
}

/// What is removed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Rm {
    /// The project, by id or title
    project: String,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    common: Common,
}

/// Does it.
///
/// # Errors
/// See [`CommandError`].
pub(super) async fn run(arguments: Arguments, scope: &Scope) -> Result<(), CommandError> {
    let common = match &arguments {
        Arguments::Ls(ls) => &ls.common,
        Arguments::Create(create) => &create.common,
        Arguments::Show(show) => &show.common,
        Arguments::Rename(rename) => &rename.common,
        Arguments::Rm(rm) => {
            rm.consent.check()?;
            &rm.common
        }
    };
    let session = Session::open(common, scope).await?;
    session
        .unless_interrupted(async {
            match &arguments {
                Arguments::Ls(_) => ls(&session).await,
                Arguments::Create(create) => create.run(&session).await,
                Arguments::Show(show) => show.run(&session).await,
                Arguments::Rename(rename) => rename.run(&session).await,
                Arguments::Rm(rm) => rm.run(&session).await,
            }
        })
        .await
}

async fn ls(session: &Session) -> Result<(), CommandError> {
    let head = ["ID", "ROLE", "OWNER", "CREATED", "TITLE"];
    let pages = Pages::new(&session.server, "/api/projects");
    let row = |project: &Object| {
        ["id", "role", "ownerId", "createdAt", "title"].map(|name| project.cell(name))
    };
    pages.show(session.json, None, head, row).await
}

impl Create {
    async fn run(&self, session: &Session) -> Result<(), CommandError> {
        let mut body = Map::from_iter([("title".to_owned(), json!(self.title))]);
        if let Some(description) = &self.description {
            body.insert("description".into(), json!(description));
        }
        // Not repeated: nobody knows whether it was made.
        let call = session
            .server
            .call(Method::POST, "/api/projects", Some(&body));
        let Answer { data } = call.await?;
        told(session, &data, "id")
    }
}

impl Show {
    async fn run(&self, session: &Session) -> Result<(), CommandError> {
        let id = find(&session.server, &self.project).await?;
        let path = format!("/api/projects/{id}");
        let (project, usage) = tokio::try_join!(
            session.server.get::<Answer>(&path),
            usage(&session.server, &id)
        )?;
        if session.json {
            return Ok(out::json(&project.data.with("usage", usage))?);
        }
        for name in ["id", "title", "description", "ownerId", "role", "createdAt"] {
            if let Some(value) = project.data.text(name) {
                out::line(&format!("{name:<12}{value}"))?;
            }
        }
        Ok(out::line(&format!("{:<12}{}", "usage", described(&usage)))?)
    }
}

impl Rename {
    async fn run(&self, session: &Session) -> Result<(), CommandError> {
        let id = find(&session.server, &self.project).await?;
        let (path, body) = (format!("/api/projects/{id}"), json!({"title": self.title}));
        let call = session.server.call(Method::PUT, &path, Some(&body));
        let Answer { data } = call.await?;
        told(session, &data, "title")
    }
}

impl Rm {
    async fn run(&self, session: &Session) -> Result<(), CommandError> {
        let id = find(&session.server, &self.project).await?;
        let usage = usage(&session.server, &id).await?;
        let (named, usage) = (clean(&self.project), described(&usage));
        let question = format!("Remove the project `{named}` and everything in it ({usage})?");
        self.consent.ask(question).await?;
        let path = format!("/api/projects/{id}");
        let call = session.server.call(Method::DELETE, &path, None::<&()>);
        let Answer { data } = call.await?;
        told(session, &data, "state")
    }
}

async fn usage(server: &Server, id: &str) -> Result<Object, super::server::AskError> {
    let path = format!("/api/projects/{id}/usage");
    Ok(server.get::<Answer>(&path).await?.data)
}

fn described(usage: &Object) -> String {
    let [complete, open] =
        ["completedUploads", "openUploads"].map(|name| usage.number(name).unwrap_or(0));
    let bytes = usage.bytes("usedBytes");
    format!("{bytes}, {complete} complete uploads, {open} unfinished")
}

/// Tells what has become of a project: all of it to programs, one member to people.
fn told(session: &Session, project: &Object, member: &str) -> Result<(), CommandError> {
    match session.json {
        true => out::json(project)?,
        false => out::line(&project.cell(member))?,
    }
    Ok(())
}
