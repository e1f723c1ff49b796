//! `tidegate share`: whom projects are shared with.

use http::Method;
use serde_json::json;

use super::error::CommandError;
use super::object::Object;
use super::out;
use super::pages::Pages;
use super::session::{Answer, Common, Session};
use crate::cancel::Scope;
use crate::id::ShareId;

/// For the end of the help text.
pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate share add --project Slides --user bob
      invite somebody, who sees nothing before he has accepted
  tidegate share ls
      what one is invited to, and what is shared with one
  tidegate share accept 9a2f6c3e-7d41-4f6d-8a8f-54b1d7c0e2aa
      accept; `tidegate share rm` declines, leaves and takes back

Exit codes: 0 done, 1 failed, 2 usage, 3 there is none, 130 interrupted.";

/// What is done with shares.
#[derive(Clone, Debug, clap::Subcommand)]
pub(super) enum Arguments {
    /// Invite somebody to a project
    Add(Box<Add>),
    /// List one's own shares, or those of a project
    Ls(Box<Ls>),
    /// Accept an invitation
    Accept(Box<One>),
    /// Take a share back, decline it, or leave the project
    Rm(Box<One>),
}

/// Who is invited, and where.
#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("who").required(true).args(["user", "email"]))]
pub(super) struct Add {
    /// The project, by id or title
    #[arg(long, env = "TIDEGATE_PROJECT", value_name = "PROJECT")]
    project: Option<String>,

    /// By the name that tokens have
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// By an address, for whoever proves to have it
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,

    #[command(flatten)]
    common: Common,
}

/// What is listed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Ls {
    /// A project, by id or title [default: the caller's own shares]
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,

    #[command(flatten)]
    common: Common,
}

/// One share.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct One {
    /// The share
    #[arg(value_name = "ID")]
    id: ShareId,

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
        Arguments::Accept(one) | Arguments::Rm(one) => &one.common,
    };
    let session = Session::open(common, scope).await?;
    session
        .unless_interrupted(async {
            match &arguments {
                Arguments::Add(add) => add.run(&session).await,
                Arguments::Ls(ls) => ls.run(&session).await,
                Arguments::Accept(one) => {
                    let path = format!("/api/shares/{}/accept", one.id);
                    told(
                        &session,
                        &session.post::<Answer>(&path, &json!({})).await?.data,
                    )
                }
                Arguments::Rm(one) => {
                    let path = format!("/api/shares/{}", one.id);
                    let call = session.server.call(Method::DELETE, &path, None::<&()>);
                    told(&session, &call.await.map(|answer: Answer| answer.data)?)
                }
            }
        })
        .await
}

impl Add {
    async fn run(&self, session: &Session) -> Result<(), CommandError> {
        let project = session.project(self.project.as_deref()).await?;
        let path = format!("/api/projects/{project}/shares");
        let body = match (&self.user, &self.email) {
            (Some(user), _) => json!({"userId": user}),
            (None, email) => json!({"email": email}),
        };
        told(session, &session.post::<Answer>(&path, &body).await?.data)
    }
}

impl Ls {
    async fn run(&self, session: &Session) -> Result<(), CommandError> {
        let project = self.project.as_deref();
        let (path, project) = match project {
            None => ("/api/shares".to_owned(), "projectTitle"),
            Some(project) => {
                let project = session.project(Some(project)).await?;
                (format!("/api/projects/{project}/shares"), "projectId")
            }
        };
        let head = ["ID", "STATUS", "WHO", "CREATED", "PROJECT"];
        let pages = Pages::new(&session.server, &path);
        let row = |share: &Object| {
            let who = share.text("userId").or_else(|| share.text("email"));
            [
                share.cell("id"),
                share.cell("status"),
                who.unwrap_or_else(|| "-".into()),
                share.cell("createdAt"),
                share.cell(project),
            ]
        };
        pages.show(session.json, None, head, row).await
    }
}

fn told(session: &Session, share: &Object) -> Result<(), CommandError> {
    match session.json {
        true => out::json(share)?,
        false => out::line(&format!("{} {}", share.cell("id"), share.cell("status")))?,
    }
    Ok(())
}
