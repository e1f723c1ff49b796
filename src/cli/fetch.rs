//! Downloads: one content, in as many pieces as it takes, verified.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::json;
use tidegate_protocol::field::{name, structured};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::error::CommandError;
use super::part::Part;
use super::retry::{self, Backoff};
use super::server::{AskError, full};
use super::session::Session;
use super::upload::hex;
use super::{out, text};

/// Pieces that have come and are not written yet.
const AHEAD: usize = 16;

/// A server that sends nothing for so long is not there.
const SILENT_MAX: Duration = Duration::from_secs(60);

/// The longest name of a file that is made of what a server says.
const NAME_BYTES_MAX: usize = 200;

/// Where to, and how.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Target {
    /// The file, or the directory for it; `-` is standard output [default: the name that it has on
    /// the server, in the current directory]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Replace the file if it is there
    #[arg(long)]
    force: bool,

    /// How often in a row something is tried again without any progress
    #[arg(long, value_name = "N", default_value_t = 10)]
    retries: u32,
}

/// What is downloaded.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) id: String,
    /// On the server.
    pub(super) path: String,
    pub(super) length: u64,
    /// Its `ETag`, if that is known.
    pub(super) tag: Option<String>,
    /// In lower-case hexadecimal, if the server knows it.
    pub(super) sha256: Option<String>,
    /// What the server calls it.
    pub(super) name: String,
}

/// Downloads it, and tells that it is there.
///
/// # Errors
/// It is not. What has come of it is kept for the next time, unless it is of no use.
///
/// # Cancel safety
/// Not cancel safe: it ends by itself at Ctrl-C.
pub(super) async fn fetch(
    session: &Session,
    content: &Content,
    target: &Target,
) -> Result<(), CommandError> {
    let path = target.path(content)?;
    let (part, known) = match &path {
        None => (Part::stdout(), None),
        Some(path) => {
            let opened = Part::open(path, content.tag.as_deref(), target.force);
            opened.map_err(|error| about(path, &error))?
        }
    };
    let bar = bar(session, content);
    let mut fetching = Fetching {
        session,
        content,
        tag: known.clone(),
        sha256: content.sha256.clone(),
        part: None,
        bar,
    };
    let part = match (known, &content.tag) {
        (None, _) => part,
        (Some(_), Some(_)) => part.go_on(content.length).await?,
        // Only the server can tell whether it is of this content: something is left to ask for.
        (Some(_), None) => part.go_on(content.length.saturating_sub(1)).await?,
    };
    let began_at = part.mark.at;
    fetching.part = Some(part);
    let ended = fetching.run(target.retries).await;
    fetching.bar.finish_and_clear();
    let at = fetching.part.as_ref().map_or(0, |part| part.mark.at);
    if let Err(error) = ended {
        if path.is_some() && at > 0 {
            let kept = text::Bytes(at);
            out::tell(&format!(
                "tidegate: {kept} are kept: the same command goes on from there"
            ));
        }
        return Err(error);
    }
    let Some(part) = fetching.part else {
        return Err(CommandError::Failed("the download was given up".into()));
    };
    let sum = hex(&part.mark.sum());
    let verified = fetching.sha256.is_some();
    if fetching.sha256.is_some_and(|wanted| wanted != sum) {
        part.discard()?;
        let why = "what has come is not what the server has, by its SHA-256, and is removed";
        return Err(CommandError::Failed(why.into()));
    }
    part.finish().map_err(|error| match &path {
        Some(path) => about(path, &error),
        None => error.into(),
    })?;
    told(session, content, path.as_deref(), &sum, verified, began_at)
}

fn told(
    session: &Session,
    content: &Content,
    path: Option<&Path>,
    sum: &str,
    verified: bool,
    began_at: u64,
) -> Result<(), CommandError> {
    let Some(path) = path else {
        // Standard output is the content's.
        return Ok(());
    };
    if session.json {
        return Ok(out::json(&json!({
            "id": content.id, "path": path.to_string_lossy(), "bytes": content.length,
            "sha256": sum, "verified": verified, "resumedAt": began_at,
        }))?);
    }
    let checked = match verified {
        true => "verified by its SHA-256",
        false => "not verified: the server tells no SHA-256",
    };
    let bytes = text::Bytes(content.length);
    Ok(out::line(&format!(
        "{} ({bytes}, {checked})",
        text::path(path)
    ))?)
}

/// A download that is under way.
struct Fetching<'s> {
    session: &'s Session,
    content: &'s Content,
    /// What the part is of.
    tag: Option<String>,
    sha256: Option<String>,
    /// `None` while it is being written to.
    part: Option<Part>,
    bar: ProgressBar,
}

impl Fetching<'_> {
    /// Until all is there.
    async fn run(&mut self, retries: u32) -> Result<(), CommandError> {
        let mut backoff = Backoff::new(retries);
        loop {
            let at = self.part.as_ref().map_or(0, |part| part.mark.at);
            if at == self.content.length && self.tag.is_some() {
                return Ok(());
            }
            let token = self.session.server.token().field();
            let error = match self.attempt(at).await {
                Ok(()) => return Ok(()),
                Err(CommandError::Ask(error)) => error,
                Err(error) => return Err(error),
            };
            if !retry::may_go_on(&self.session.server, &error, token.as_ref()).await {
                return Err(error.into());
            }
            if self.part.as_ref().is_some_and(|part| part.mark.at > at) {
                backoff.reset();
            }
            let asked = error.retry_after();
            let pause = backoff.next(asked).ok_or(error)?;
            self.session
                .unless_interrupted(async {
                    sleep(pause).await;
                    Ok(())
                })
                .await?;
        }
    }

    /// One request. Whatever comes of it, what has arrived is in the part afterwards.
    async fn attempt(&mut self, at: u64) -> Result<(), CommandError> {
        let server = &self.session.server;
        let mut request = Request::get(server.url(&self.content.path)?);
        if let (Some(tag), 1..) = (&self.tag, at) {
            request = request.header(RANGE, format!("bytes={at}-"));
            request = request.header(IF_RANGE, tag);
        }
        let request = request.body(full(""));
        let request = request.map_err(|error| AskError::Strange(error.to_string()))?;
        let asked = async {
            let answer = timeout(SILENT_MAX, server.send(request)).await;
            Ok(answer.map_err(|_| AskError::Late)??)
        };
        let answer = self.session.unless_interrupted(asked).await?;
        if self.sha256.is_none() {
            self.sha256 = digest(answer.headers());
        }
        let mut part = self
            .part
            .take()
            .ok_or_else(|| io::Error::other("no part"))?;
        let goes_on = answer.status() == StatusCode::PARTIAL_CONTENT;
        if goes_on && !begins_at(answer.headers(), at) {
            self.part = Some(part);
            let why = "it answers with another range than the one that was asked for";
            return Err(AskError::Strange(why.into()).into());
        }
        if !goes_on {
            let told = answer.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
            // One that the server does not vouch for, byte for byte, is of no use.
            let told = told.filter(|tag| tag.starts_with('"')).map(str::to_owned);
            self.tag = self.content.tag.clone().or(told);
            part.begin(self.tag.as_deref())?;
        }
        self.receive(answer.into_body(), part).await
    }

    /// Takes what comes, and writes it meanwhile.
    async fn receive(&mut self, mut body: Incoming, mut part: Part) -> Result<(), CommandError> {
        let mut at = part.mark.at;
        self.bar.set_position(at);
        let (pieces, mut written) = mpsc::channel::<Bytes>(AHEAD);
        let writing = spawn_blocking(move || {
            let mut done = Ok(());
            while let Some(piece) = written.blocking_recv() {
                done = part.write(&piece);
                if done.is_err() {
                    break;
                }
            }
            (part, done)
        });
        let (session, length, bar) = (self.session, self.content.length, &self.bar);
        let received = session.unless_interrupted(async {
            while at < length {
                let frame = timeout(SILENT_MAX, body.frame()).await;
                let frame = frame.map_err(|_| AskError::Late)?.and_then(Result::ok);
                let gone = || AskError::Unreachable("it went away in between".into());
                let Ok(piece) = frame.ok_or_else(gone)?.into_data() else {
                    continue;
                };
                at += piece.len() as u64;
                if at > length {
                    let why = "it sends more than there is";
                    return Err(AskError::Strange(why.into()).into());
                }
                bar.set_position(at);
                if pieces.send(piece).await.is_err() {
                    // It could not be written, which is told below.
                    break;
                }
            }
            Ok(())
        });
        let received = received.await;
        drop(pieces);
        // Settles what has come, whatever has ended it.
        let (part, done) = writing.await.map_err(io::Error::other)?;
        self.part = Some(part);
        done?;
        received
    }
}

impl Target {
    /// `None`: standard output.
    fn path(&self, content: &Content) -> Result<Option<PathBuf>, CommandError> {
        let name = || safe_name(&content.name, &content.id);
        let path = match &self.output {
            Some(path) if path == Path::new("-") => return Ok(None),
            Some(path) if path.is_dir() => path.join(name()),
            Some(path) => path.clone(),
            None => PathBuf::from(name()),
        };
        match path.symlink_metadata() {
            Ok(_) if !self.force => Err(CommandError::Failed(format!(
                "{} is there already: see --force",
                text::path(&path)
            ))),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(about(&path, &error)),
            _ => Ok(Some(path)),
        }
    }
}

fn about(path: &Path, error: &io::Error) -> CommandError {
    CommandError::Failed(format!("{}: {error}", text::path(path)))
}

/// A name for a file, made of what a server says: one of a file in a directory, that does not hide and
/// is safe to show; or else the id.
fn safe_name(name: &str, id: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let shown = last.chars().filter(|c| text::is_plain(*c));
    let mut safe = String::new();
    for c in shown.skip_while(|c| *c == '.' || c.is_whitespace()) {
        if safe.len() + c.len_utf8() > NAME_BYTES_MAX {
            break;
        }
        safe.push(c);
    }
    match safe.trim_end().is_empty() {
        true => id.to_owned(),
        false => safe.trim_end().to_owned(),
    }
}

/// The SHA-256 that the answer tells of the whole (RFC 9530), in hexadecimal.
fn digest(headers: &HeaderMap) -> Option<String> {
    Some(structured::sha256(headers, name::REPR_DIGEST)?.hex())
}

/// Whether what follows begins where it should (RFC 9110, section 14.4).
fn begins_at(headers: &HeaderMap, at: u64) -> bool {
    let field = headers
        .get(CONTENT_RANGE)
        .and_then(|field| field.to_str().ok());
    let range = field.and_then(|field| field.strip_prefix("bytes "));
    let first = range.and_then(|range| range.split_once('-')?.0.parse().ok());
    first == Some(at)
}

fn bar(session: &Session, content: &Content) -> ProgressBar {
    if session.json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let target = ProgressDrawTarget::stderr_with_hz(5);
    let bar = ProgressBar::with_draw_target(Some(content.length), target);
    bar.set_style(out::style(out::TOTAL_BAR));
    bar.set_message(text::clean(&content.name).into_owned());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_and_hides_nothing() {
        for (name, safe) in [
            ("a.tif", "a.tif"),
            ("../../etc/passwd", "passwd"),
            ("c:\\temp\\b.tif", "b.tif"),
            (".ssh", "ssh"),
            ("..", "id"),
            ("", "id"),
            ("dir/", "id"),
            ("a\u{1b}[2J\u{202e}b\n", "a[2Jb"),
            (" . x ", "x"),
        ] {
            assert_eq!(safe_name(name, "id"), safe, "{name:?}");
        }
        assert_eq!(safe_name(&"\u{e4}".repeat(300), "id").len(), NAME_BYTES_MAX);
    }

    #[test]
    fn a_range_begins_where_it_was_asked_for() {
        let mut headers = HeaderMap::new();
        assert!(!begins_at(&headers, 7));
        headers.insert(CONTENT_RANGE, "bytes 7-10/11".parse().unwrap());
        assert!(begins_at(&headers, 7) && !begins_at(&headers, 0));
    }
}
