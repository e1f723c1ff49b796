//! The program as a client: commands in an environment of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::eventually;
use super::server::{Outcome, Process, Server, finish, program, temp_dir};

/// Somebody who calls commands: at one server, with a home and a working directory of his own.
pub(crate) struct Cli {
    server: String,
    token: Option<String>,
    home: TempDir,
}

impl Cli {
    /// `server` is a URL.
    pub(crate) fn new(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            token: None,
            home: temp_dir(),
        }
    }

    /// The same with this token.
    pub(crate) fn with_token(server: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            token: Some(token.into()),
            ..Self::new(server)
        }
    }

    /// Another server from now on.
    pub(crate) fn turn_to(&mut self, server: impl Into<String>) {
        self.server = server.into();
    }

    /// His home, which is where commands run.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// A file in his home.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home().join(name)
    }

    /// Writes a file in his home, and tells its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let folder = path.parent().expect("it is in a directory");
        std::fs::create_dir_all(folder).expect("a directory");
        std::fs::write(&path, content).expect("write a file");
        path
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Outcome {
        finish(self.spawn(arguments).0).await
    }

    /// Starts a command.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        Running(Process::spawn(self.command(arguments)))
    }

    /// A command that is not started yet.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command
            .args(arguments)
            .current_dir(self.home())
            .env("HOME", self.home())
            .env("XDG_CONFIG_HOME", self.path(".config"))
            .env("XDG_STATE_HOME", self.path(".local/state"))
            .env("TIDEGATE_SERVER", &self.server);
        if let Some(token) = &self.token {
            command.env("TIDEGATE_TOKEN", token);
        }
        command
    }
}

/// A command that may still run. Dropping it kills it.
pub(crate) struct Running(Process);

impl Running {
    /// Starts what [`Cli::command`] has prepared.
    pub(crate) fn of(command: Command) -> Self {
        Self(Process::spawn(command))
    }

    /// What Ctrl-C on a terminal does.
    pub(crate) fn interrupt(&self) {
        self.0.signal(Signal::INT);
    }

    /// What is sent when a terminal is closed.
    pub(crate) fn hang_up(&self) {
        self.0.signal(Signal::HUP);
    }

    /// Ends it the way a crash does.
    pub(crate) fn kill(&self) {
        self.0.signal(Signal::KILL);
    }

    pub(crate) fn stdout(&self) -> String {
        self.0.stdout()
    }

    pub(crate) fn stderr(&self) -> String {
        self.0.stderr()
    }

    /// Waits for its end.
    pub(crate) async fn finish(self) -> Outcome {
        finish(self.0).await
    }

    /// Waits until standard output has this.
    pub(crate) async fn says(&self, what: &str) {
        eventually(&format!("it says {what:?}"), async || {
            self.stdout().contains(what).then_some(())
        })
        .await;
    }
}

impl Server {
    /// Somebody who calls commands at this server.
    pub(crate) fn cli(&self) -> Cli {
        Cli::new(format!("http://{}", self.addr()))
    }
}

impl Outcome {
    /// # Panics
    /// It has ended with another exit code.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Standard output as lines of JSON.
    #[track_caller]
    pub(crate) fn objects(&self) -> Vec<Value> {
        objects(&self.stdout)
    }

    /// Standard output as the one line of JSON that it is.
    #[track_caller]
    pub(crate) fn object(&self) -> Value {
        let mut objects = self.objects();
        assert_eq!(objects.len(), 1, "{self}");
        objects.remove(0)
    }
}

/// Lines of JSON.
#[track_caller]
pub(crate) fn objects(text: &str) -> Vec<Value> {
    let object = |line: &str| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
    };
    text.lines().map(object).collect()
}
