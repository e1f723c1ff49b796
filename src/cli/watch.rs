//! `tidegate watch`: what happens, as it happens, without an end.

use std::collections::VecDeque;
use std::time::Duration;

use http::Request;
use http::header::ACCEPT;
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout};

use super::error::CommandError;
use super::object::Object;
use super::out;
use super::retry::{self, Backoff};
use super::server::{AskError, full};
use super::session::{Common, Session, encoded};
use super::sse::{Block, Parser};
use super::text::{Bytes, clean};
use crate::cancel::Scope;

/// For the end of the help text.
pub(super) const EXAMPLES: &str = "\
Examples:
  tidegate watch --project Slides
      everything that happens in the project from now on
  tidegate watch --types 'upload.completed,queue.*'
      some of what happens in all projects
  tidegate watch --project Slides --after 0 --json | jq .type
      everything that is still known, in a form for programs

It goes on until Ctrl-C, and comes back by itself when the server does, where it was.
Exit codes: 1 refused, 2 usage, 130 interrupted.";

/// The server says something every 15 s. When it has not for so long, it is not there.
const SILENT_MAX: Duration = Duration::from_secs(45);

/// Events that are remembered: the server may tell one again after a break.
const REMEMBERED: usize = 1024;

/// The arguments of `tidegate watch`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    /// The project, by id or title [default: all that the caller sees]
    #[arg(long, env = "TIDEGATE_PROJECT", value_name = "PROJECT")]
    project: Option<String>,

    /// Only these types, with commas in between, such as upload.*,export.completed
    #[arg(long, value_name = "LIST")]
    types: Option<String>,

    /// Where to go on: a place that the server has told, or with a project a sequence; 0 is the
    /// beginning
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,

    #[command(flatten)]
    common: Common,
}

/// Tells what happens.
///
/// # Errors
/// See [`CommandError`]; there is no other end.
pub(super) async fn run(arguments: Arguments, scope: &Scope) -> Result<(), CommandError> {
    let session = Session::open(&arguments.common, scope).await?;
    session
        .unless_interrupted(async {
            let project = session.named_project(arguments.project.as_deref()).await?;
            let parameters = [
                ("projectId", project),
                ("types", arguments.types),
                ("after", arguments.after),
            ];
            let mut path = String::from("/api/events");
            for (name, value) in parameters {
                if let Some(value) = value {
                    let separator = if path.contains('?') { '&' } else { '?' };
                    path = format!("{path}{separator}{name}={}", encoded(&value));
                }
            }
            let mut feed = Feed {
                session: &session,
                path,
                cursor: None,
                told: VecDeque::new(),
                backoff: Backoff::new(u32::MAX),
                is_lost: false,
            };
            feed.follow().await
        })
        .await
}

/// A feed that is followed over many streams.
struct Feed<'s> {
    session: &'s Session,
    path: String,
    /// Behind what was told.
    cursor: Option<String>,
    /// The last events.
    told: VecDeque<String>,
    backoff: Backoff,
    /// That it is away has been told.
    is_lost: bool,
}

impl Feed<'_> {
    async fn follow(&mut self) -> Result<(), CommandError> {
        loop {
            let token = self.session.server.token().field();
            let error = match self.stream().await {
                Err(CommandError::Ask(error)) => error,
                ended => return ended,
            };
            if !retry::may_go_on(&self.session.server, &error, token.as_ref()).await {
                return Err(error.into());
            }
            if !std::mem::replace(&mut self.is_lost, true) {
                out::tell(&format!("tidegate: {error}; trying again until it is back"));
            }
            let asked = error.retry_after();
            let pause = self.backoff.next(asked);
            sleep(pause.unwrap_or(SILENT_MAX)).await;
        }
    }

    /// One stream to its end, which is always an error.
    async fn stream(&mut self) -> Result<(), CommandError> {
        let server = &self.session.server;
        let mut request = Request::get(server.url(&self.path)?).header(ACCEPT, "text/event-stream");
        if let Some(cursor) = &self.cursor {
            request = request.header("last-event-id", cursor);
        }
        let request = request.body(full("")).map_err(|error| {
            AskError::Strange(format!("it names a place that is none: {error}"))
        })?;
        let late = |_| AskError::Late;
        let answer = timeout(SILENT_MAX, server.send(request)).await;
        let mut body = answer.map_err(late)??.into_body();
        let mut parser = Parser::default();
        loop {
            let frame = timeout(SILENT_MAX, body.frame()).await.map_err(late)?;
            let frame = frame
                .and_then(Result::ok)
                .ok_or_else(|| AskError::Unreachable("the feed has ended".into()))?;
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            let fed = parser.feed(&bytes);
            fed.map_err(|error| AskError::Strange(error.to_string()))?;
            while let Some(block) = parser.next() {
                self.take(block)?;
            }
        }
    }

    fn take(&mut self, block: Block) -> Result<(), CommandError> {
        self.backoff.reset();
        if std::mem::take(&mut self.is_lost) {
            out::tell("tidegate: the server is back");
        }
        if !block.data.is_empty() {
            let event: Object = serde_json::from_str(&block.data)
                .map_err(|error| AskError::Strange(format!("an event is no JSON: {error}")))?;
            self.tell(&event)?;
        }
        // Behind the event, which is told now: whatever breaks next, it does not come again.
        self.cursor = block.id.or_else(|| self.cursor.take());
        Ok(())
    }

    fn tell(&mut self, event: &Object) -> Result<(), CommandError> {
        if let Some(id) = event.word("id") {
            if self.told.iter().any(|told| told == id) {
                return Ok(());
            }
            if self.told.len() == REMEMBERED {
                self.told.pop_front();
            }
            self.told.push_back(id.to_owned());
        }
        match self.session.json {
            true => out::json(event)?,
            false => out::line(&line(event))?,
        }
        Ok(())
    }
}

/// What people want to know of an event.
fn line(event: &Object) -> String {
    let data = event.object("data");
    let head = ["time", "type", "subject"].map(|name| event.cell(name));
    let mut words = vec![format!("{}  {:<22}  {}", head[0], head[1], head[2])];
    words.extend(data.text("filename"));
    let is_upload = head[1].starts_with("upload.");
    match (data.number("offset"), data.number("length")) {
        (Some(offset), Some(length)) if offset < length => {
            let received = data.number("received").unwrap_or(offset);
            words.push(format!("{} of {}", Bytes(received), Bytes(length)));
        }
        (Some(offset), _) if is_upload => words.push(Bytes(offset).to_string()),
        _ => {}
    }
    let has_progress = ["export.progress", "queue.item.progress"].contains(&head[1].as_str());
    if let Some(progress) = data.number("progress").filter(|_| has_progress) {
        words.push(format!("{progress} %"));
    }
    for name in ["queued", "processing", "from", "to"] {
        if let Some(number) = data.number(name) {
            words.push(format!("{name} {number}"));
        }
    }
    for name in ["model", "how", "message", "reason", "error"] {
        if let Some(text) = data.text(name).filter(|text| !text.is_empty()) {
            words.push(text);
        }
    }
    if let Some(freed) = data.number("releasedBytes").filter(|bytes| *bytes > 0) {
        words.push(format!("{} freed", Bytes(freed)));
    }
    clean(&words.join("  ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = r#"{"type": "upload.cancelled", "time": "2026-11-26T02:30:00.123Z",
            "subject": "upload/1", "data": {"filename": "a\nb.tif", "offset": 1024, "length": 2048,
            "reason": "wrong file", "releasedBytes": 1024}}"#;
        assert_eq!(
            line(&serde_json::from_str(event).unwrap()),
            "2026-11-26T02:30:00.123Z  upload.cancelled        upload/1  a\\nb.tif  \
             1.0 KiB of 2.0 KiB  wrong file  1.0 KiB freed"
        );
    }
}
