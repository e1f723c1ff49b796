//! What commands beside `upload` have in common: a server, Ctrl-C, a project, and a question before
//! much is undone.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::connect::{Connect, Profile};
use super::error::CommandError;
use super::object::Object;
use super::server::{AskError, Server};
use super::{interrupt, out, project, retry};
use crate::cancel::Scope;

/// What every command may be told.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Common {
    #[command(flatten)]
    connect: Connect,

    /// Tell everything as lines of JSON on standard output
    #[arg(long)]
    pub(super) json: bool,
}

/// That something is meant.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Consent {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Why something is cancelled.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Reason {
    /// Why, for whoever is concerned: up to 200 characters
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// A server, and what was said of it.
pub(super) struct Session {
    pub(super) server: Server,
    pub(super) json: bool,
    profile: Profile,
    /// Cancelled at Ctrl-C.
    pub(super) interrupted: Scope,
}

/// An answer in JSON.
#[derive(serde::Deserialize)]
pub(super) struct Answer<T = Object> {
    pub(super) data: T,
}

impl Session {
    /// Begins to listen for Ctrl-C as well.
    ///
    /// # Errors
    /// Something that was said cannot be used.
    pub(super) async fn open(common: &Common, scope: &Scope) -> Result<Self, CommandError> {
        let profile = common.connect.profile()?;
        let interrupted = scope.child("work");
        interrupt::listen(scope, &interrupted)?;
        let connections = scope.child("connections");
        let server = tokio::select! {
            server = common.connect.server(&profile, None, connections) => server?,
            // A command for the token may take as long as it likes; nothing was asked with it yet.
            _ = interrupted.cancelled() => return Err(CommandError::Interrupted),
        };
        Ok(Self {
            server,
            json: common.json,
            profile,
            interrupted,
        })
    }

    /// Does it, unless Ctrl-C comes first.
    ///
    /// # Errors
    /// As `work`, and [`CommandError::Interrupted`].
    pub(super) async fn unless_interrupted<T>(
        &self,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        tokio::select! {
            done = work => done,
            // Nobody knows what the server has made of it then, and nobody has asked.
            _ = self.interrupted.cancelled() => Err(CommandError::Interrupted),
        }
    }

    /// Calls something that may be repeated, and waits while the server asks for it.
    ///
    /// # Errors
    /// As [`Server::call`].
    pub(super) async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, AskError> {
        retry::while_busy(async || {
            let call = self.server.call(http::Method::POST, path, Some(body));
            call.await
        })
        .await
    }

    /// The id of the project that was named here or in the profile, if one was.
    ///
    /// # Errors
    /// See [`project::find`].
    pub(super) async fn named_project(
        &self,
        named: Option<&str>,
    ) -> Result<Option<String>, CommandError> {
        match named.or(self.profile.project.as_deref()) {
            Some(named) => project::find(&self.server, named).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same, or else the one that a server without authentication has from the beginning.
    ///
    /// # Errors
    /// There is none.
    pub(super) async fn project(&self, named: Option<&str>) -> Result<String, CommandError> {
        if let Some(id) = self.named_project(named).await? {
            return Ok(id);
        }
        let path = format!("/api/projects/{}", project::DEFAULT);
        match self.server.get::<Answer>(&path).await {
            Ok(_) => Ok(project::DEFAULT.to_owned()),
            Err(AskError::Refused(refusal)) if refusal.status == http::StatusCode::NOT_FOUND => {
                let why = "say which project with --project: `tidegate project ls` lists them";
                Err(CommandError::Usage(why.into()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this is something of the caller's. `owner` is the member that tells whose it is.
    pub(super) fn is_own(&self, object: &Object, owner: &str) -> bool {
        let caller = match self.server.token().field() {
            Some(_) => self.server.token().subject(),
            None => Some("local".to_owned()),
        };
        caller.is_none_or(|caller| object.word(owner) == Some(&caller))
    }
}

impl Consent {
    /// # Errors
    /// Nobody has said yes, and nobody can be asked.
    pub(super) fn check(self) -> Result<(), CommandError> {
        match self.yes || out::has_terminal() {
            true => Ok(()),
            false => Err(CommandError::Usage(
                "there is no terminal to ask on: say that you mean it with -y".into(),
            )),
        }
    }

    /// Asks, unless it is clear.
    ///
    /// # Errors
    /// The answer is no.
    pub(super) async fn ask(self, question: String) -> Result<(), CommandError> {
        if self.yes {
            return Ok(());
        }
        let asked = spawn_blocking(move || out::ask(&question)).await;
        match asked.map_err(std::io::Error::other)?? {
            true => Ok(()),
            false => Err(CommandError::Failed("nothing is changed".into())),
        }
    }
}

impl Reason {
    /// A body with the reason, and these members.
    pub(super) fn with(&self, mut body: Value) -> Value {
        if let (Some(reason), Some(members)) = (&self.reason, body.as_object_mut()) {
            members.insert("reason".into(), json!(reason));
        }
        body
    }
}

/// A value of a query.
pub(super) fn encoded(text: &str) -> impl std::fmt::Display {
    const PLAIN: AsciiSet = NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    const KEPT: &AsciiSet = &PLAIN;
    utf8_percent_encode(text, KEPT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_query_means_nothing_else() {
        assert_eq!(encoded("upload.*&a=b").to_string(), "upload.%2A%26a%3Db");
    }
}
