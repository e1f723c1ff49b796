//! Standard input as one upload, whose length is declared at its end.
//!
//! What has been read is gone, so a piece of it is held until the server has it, and a run that ends
//! before its time has nothing to go on with: it removes what it has sent.

use std::io::{self, Read};
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::Uri;
use tokio::task::spawn_blocking;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::args::{Arguments, Jobs};
use super::attempts::Attempts;
use super::find::{File, Print};
use super::flow::{Flow, Limit, Position, watched};
use super::hash::Mark;
use super::outcome::{Outcome, SendError};
use super::pace::Pace;
use super::report::{Report, TOLD_EVERY};
use super::send::metadata_of;
use super::tus::{Creation, Endpoint, Kind, Told};
use super::{LAST_WORDS_WITHIN, RETRIES, settled};
use crate::cancel::{CancelReason, Scope};
use crate::cli::error::CommandError;
use crate::cli::server::AskError;
use crate::id::UploadId;

/// What is held until the server has it.
const HELD_BYTES: usize = 8 * 1024 * 1024;

/// What has been read and may not be on the server yet.
struct Held {
    bytes: Bytes,
    /// Of everything that was read.
    mark: Mark,
}

struct Sender<'s> {
    endpoint: &'s Endpoint,
    scope: &'s Scope,
    attempts: Attempts<'s>,
    flow: Flow,
    /// Where it is on the server, once it is there.
    url: Option<Uri>,
    /// So much is there for certain.
    kept: u64,
}

/// Whether everything else that was said can be done with standard input.
///
/// # Errors
/// What cannot.
pub(super) fn check(arguments: &Arguments) -> Result<(), CommandError> {
    let usage = |why: String| Err(CommandError::Usage(why));
    let is_beside = arguments.files_from.is_some() || arguments.watch.is_some();
    if arguments.paths.len() > 1 || is_beside {
        return usage("`-` is standard input, and nothing else can be sent beside it".into());
    }
    let unfit = [
        ("--dry-run", arguments.dry_run),
        ("--if-absent", arguments.if_absent),
        ("--checksum", arguments.checksum),
        ("--parallel", arguments.parallel > 1),
    ];
    match unfit.iter().find(|(_, is_said)| *is_said) {
        Some((flag, _)) => usage(format!(
            "`{flag}` is about files, and `-` is standard input"
        )),
        None => Ok(()),
    }
}

/// Sends all that comes.
///
/// # Errors
/// See [`CommandError`].
///
/// # Cancel safety
/// What has been sent stays on the server, and nobody goes on with it.
pub(super) async fn send(
    endpoint: &Endpoint,
    arguments: &Arguments,
    scope: &Scope,
    report: &mut Report,
) -> Result<(), CommandError> {
    if !endpoint.can.deferred_length {
        let why = "the server takes nothing of unknown length, so it cannot take standard input";
        return Err(CommandError::Failed(why.into()));
    }
    report.destination(&endpoint.url().to_string())?;
    let mut file = File {
        path: "-".into(),
        name: arguments.name.clone(),
        print: Print {
            size: 0,
            modified: 0,
            inode: 0,
        },
    };
    let flow = Flow {
        limit: arguments.limit_rate.map(Limit::new),
        meter: Arc::default(),
        position: Position::new(),
    };
    report.streaming(0, &file, &flow.position);
    let pace = Pace::new(Jobs::Fixed(1));
    let retries = arguments.retries.unwrap_or(RETRIES);
    let sender = Sender {
        endpoint,
        scope,
        attempts: Attempts::of(endpoint, scope, &pace, retries),
        flow: flow.clone(),
        url: None,
        kept: 0,
    };
    let outcome = {
        let mut sent = pin!(sender.run(&file));
        let mut ticks = interval(TOLD_EVERY);
        loop {
            // What is sent outlives the loop, and a tick that is not awaited comes again.
            tokio::select! {
                outcome = &mut sent => break outcome,
                _ = ticks.tick() => if report.tick(flow.meter.bytes(), 1).is_err() {
                    // Nobody listens any more, which is told once everything is removed.
                    scope.cancel(CancelReason::Shutdown);
                },
            }
        }
    };
    file.print.size = flow.position.at();
    report.ended(0, &file, &outcome)?;
    report.summary(flow.meter.bytes(), None)?;
    match outcome {
        Outcome::Sent { .. } => Ok(()),
        Outcome::Interrupted { .. } => Err(CommandError::Interrupted),
        Outcome::Skipped(_) | Outcome::Cancelled { .. } | Outcome::Failed { .. } => {
            Err(CommandError::Some)
        }
    }
}

impl Sender<'_> {
    /// Sends everything, or removes what was sent of it.
    async fn run(mut self, file: &File) -> Outcome {
        let error = match self.send(file).await {
            Ok(outcome) => return outcome,
            Err(SendError::Cancelled(refusal)) => {
                let reason = refusal.reason;
                return Outcome::Cancelled { reason };
            }
            Err(error) => error,
        };
        if let Some(url) = &self.url {
            let ended = timeout(LAST_WORDS_WITHIN, self.endpoint.end(url)).await;
            if matches!(ended, Ok(Ok(()))) {
                self.kept = 0;
            }
        }
        match error {
            SendError::Interrupted { .. } => Outcome::Interrupted {
                kept: Some(self.kept),
            },
            error => Outcome::Failed {
                why: error.to_string(),
            },
        }
    }

    async fn send(&mut self, file: &File) -> Result<Outcome, SendError> {
        let url = self.create(file).await?;
        self.url = Some(url.clone());
        self.attempts.advanced();
        let mut mark = Mark::default();
        loop {
            let held = self.read(mark).await?;
            let told = self.bring(&url, &held).await?;
            if !held.is_last() {
                mark = held.mark;
                continue;
            }
            let sha256 = held.mark.sum();
            if told.sha256.is_some_and(|theirs| theirs != sha256) {
                return Err(SendError::Differs);
            }
            return Ok(Outcome::Sent {
                url: url.to_string(),
                sha256,
                verified: told.sha256.is_some(),
            });
        }
    }

    async fn create(&mut self, file: &File) -> Result<Uri, SendError> {
        let id = UploadId::random();
        loop {
            let token = self.endpoint.server.token().field();
            let created = self.endpoint.create(Creation {
                id,
                kind: Kind::Deferred,
                metadata: metadata_of(file),
                content: None,
            });
            match settled(self.scope, created).await {
                Ok((url, _)) => return Ok(url),
                Err(error) => self.attempts.go_on(error, None, token.as_ref()).await?,
            }
        }
    }

    /// What comes after `mark`.
    async fn read(&self, mark: Mark) -> Result<Held, SendError> {
        let reading = spawn_blocking(move || Held::read(mark));
        // A read goes on without anybody who waits for it, and keeps nobody from ending.
        let read = tokio::select! {
            read = reading => read.map_err(io::Error::other).flatten(),
            _ = self.scope.cancelled() => return Err(SendError::Interrupted { kept: None }),
        };
        read.map_err(SendError::File)
    }

    /// Brings what is held to the server, from wherever that stops in the middle of it.
    async fn bring(&mut self, url: &Uri, held: &Held) -> Result<Told, SendError> {
        let mut at = Some(held.start());
        loop {
            if self.scope.reason().is_some() {
                return Err(SendError::Interrupted { kept: None });
            }
            let token = self.endpoint.server.token().field();
            let asked = match at {
                Some(at) => self.append(url, held, at).await,
                None => self.look(url, held).await,
            };
            let (now, told) = match asked {
                Ok(asked) => asked,
                Err(error) => {
                    self.attempts
                        .go_on(error, Some(url), token.as_ref())
                        .await?;
                    at = None;
                    continue;
                }
            };
            self.flow.position.set(now);
            match now > self.kept {
                true => self.attempts.advanced(),
                false => self.attempts.met(),
            }
            self.kept = now;
            // The last bytes alone are not the end: that has to be declared, and may be already.
            let is_ended = !held.is_last() || at.is_some() || told.sha256.is_some();
            if now == held.end() && is_ended {
                return Ok(told);
            }
            at = Some(now);
        }
    }

    /// Asks where it goes on.
    async fn look(&self, url: &Uri, held: &Held) -> Result<(u64, Told), AskError> {
        let told = settled(self.scope, self.endpoint.retrieve(url)).await?;
        let at = told.offset_within(held.start()..=held.end())?;
        Ok((at, told))
    }

    /// Sends what is held from `at` on, or as much of it as the server takes at once.
    async fn append(&self, url: &Uri, held: &Held, at: u64) -> Result<(u64, Told), AskError> {
        let most = self.endpoint.can.append_max.unwrap_or(u64::MAX);
        let end = held.end().min(at.saturating_add(most));
        let declared = (held.is_last() && end == held.end()).then_some(end);
        self.flow.position.set(at);
        let cut = CancellationToken::new();
        // An answer may come before all is sent: then nobody wants the rest.
        let _answered = cut.clone().drop_guard();
        let body = self.flow.clone().held(held.between(at, end), cut.clone());
        let request = self
            .endpoint
            .append(url, at, Some(end - at), declared, body)?;
        let stopped = async {
            self.scope.cancelled().await;
        };
        let position = &self.flow.position;
        let answer = watched(self.endpoint.send(request), position, &cut, stopped);
        let told = settled(self.scope, answer).await?;
        // What was not sent in this request cannot have come with it.
        let now = told.offset_within(at..=position.at().max(at))?;
        if now == at && end > at {
            let what = "it keeps nothing of what it is sent";
            return Err(AskError::Strange(what.into()));
        }
        Ok((now, told))
    }
}

impl Held {
    /// The next bytes; fewer than are held only at the end.
    fn read(mut mark: Mark) -> io::Result<Self> {
        let mut bytes = Vec::with_capacity(HELD_BYTES);
        let limit = HELD_BYTES as u64;
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
        mark.update(&bytes);
        let bytes = bytes.into();
        Ok(Self { bytes, mark })
    }

    /// From the beginning of everything.
    fn start(&self) -> u64 {
        self.mark.at - self.bytes.len() as u64
    }

    fn end(&self) -> u64 {
        self.mark.at
    }

    fn is_last(&self) -> bool {
        self.bytes.len() < HELD_BYTES
    }

    /// Within [`Held::start`] and [`Held::end`].
    fn between(&self, at: u64, end: u64) -> Bytes {
        let within = |place: u64| {
            let within = usize::try_from(place.saturating_sub(self.start()));
            within.map_or(self.bytes.len(), |it| it.min(self.bytes.len()))
        };
        self.bytes.slice(within(at)..within(end))
    }
}
