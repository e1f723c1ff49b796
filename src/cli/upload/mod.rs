//! `tidegate upload`: many files, many at once, each to its end.
//!
//! | file | concern |
//! |---|---|
//! | `args` | what it may be told |
//! | `find` | paths become files |
//! | `watching` | files that appear, once they do not change any more |
//! | `journal` | what is sent and what is half sent, for the next run |
//! | `send` | one file: from what is known of it to all of it on the server, verified |
//! | `piece` | one upload resource, created and sent to its end |
//! | `attempts` | what is tried again |
//! | `tus` | what is asked of the server |
//! | `content`, `hash`, `flow` | the bytes of a file: as they were found, hashed, and on their way |
//! | `pace` | how many files at once |
//! | `stdin` | what has no length yet |
//! | `present` | what the project has already |
//! | `outcome`, `report` | what has become of a file, and how it is told |
//!
//! A run walks, sends and tells at the same time, and holds no more of a tree than is being sent.

mod args;
mod attempts;
mod content;
mod find;
mod flow;
mod hash;
mod journal;
mod outcome;
mod pace;
mod piece;
mod present;
mod report;
mod send;
mod stdin;
mod tus;
mod watching;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use http::Uri;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep, timeout};

pub(super) use self::args::{Arguments, EXAMPLES};
use self::args::{Jobs, OnInterrupt};
use self::find::{Census, FOUND_AHEAD, File, Found, Search};
use self::flow::{Limit, Meter, Position};
pub(super) use self::hash::{Mark, hex};
use self::journal::{Ending, Journal};
use self::outcome::{Outcome, SendError, Skipped};
use self::pace::{Climb, Pace};
use self::report::{Preview, Report, Style, TOLD_EVERY};
use self::tus::Endpoint;
use super::connect::{Profile, home_of};
use super::error::CommandError;
use super::retry::patiently;
use super::server::{AskError, Server};
use super::{interrupt, out, project, text};
use crate::cancel::{CancelReason, Scope};

const RETRIES: u32 = 10;

/// How long what is under way may take to be answered when the run is to end.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// How long a run takes at most to end what nobody wants, and to ask what is kept of what was interrupted.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(5);

const ENDINGS_AT_ONCE: usize = 16;

/// What all files of a run have in common.
struct Run {
    endpoint: Endpoint,
    journal: Journal,
    /// Cancelled when the run is to end before its time.
    scope: Scope,
    pace: Pace,
    limit: Option<Limit>,
    meter: Arc<Meter>,
    retries: u32,
    parallel: u8,
    on_interrupt: OnInterrupt,
    compares_contents: bool,
    sends_absent_only: bool,
    retries_cancelled: bool,
}

impl Run {
    /// What is asked of the server, which gets a last moment to answer when the run is to end.
    async fn settled<T>(
        &self,
        asked: impl Future<Output = Result<T, AskError>>,
    ) -> Result<T, AskError> {
        settled(&self.scope, asked).await
    }

    /// Ends uploads that nobody wants, for as long as anybody likes to wait. Those that may still be
    /// there stay in the journal, for the next run.
    async fn end(&self, endings: Vec<Ending>) {
        let all = stream::iter(endings).for_each_concurrent(ENDINGS_AT_ONCE, async |ending| {
            let url = match &ending.url {
                Some(url) => self.endpoint.server.known(url).ok(),
                None => self.endpoint.url_of(ending.upload),
            };
            let ended = match url {
                Some(url) => self.endpoint.end(&url).await,
                // Nobody knows where it would be.
                None => Ok(()),
            };
            let is_left = ended.is_err_and(|error| error.is_passing());
            if !is_left {
                // A lost journal is told of by whoever needs it next.
                drop(self.journal.ended(ending.upload).await);
            }
        });
        // What is dropped is in the journal.
        drop(timeout(LAST_WORDS_WITHIN, all).await);
    }
}

/// What is asked of the server, which gets a last moment to answer once `scope` is cancelled.
async fn settled<T>(
    scope: &Scope,
    asked: impl Future<Output = Result<T, AskError>>,
) -> Result<T, AskError> {
    let given_up = async {
        scope.cancelled().await;
        sleep(SETTLED_WITHIN).await;
    };
    tokio::select! {
        answered = asked => answered,
        // What the server has made of it is asked by whoever goes on with it.
        () = given_up => Err(AskError::Late),
    }
}

/// Does what it is told, in `scope`.
///
/// # Errors
/// See [`CommandError`]. Everything has been told already but errors that concern all files.
///
/// # Cancel safety
/// What is begun is in the journal: the next run goes on with it.
pub(super) async fn run(mut arguments: Arguments, scope: &Scope) -> Result<(), CommandError> {
    let profile = arguments.connect.profile()?;
    arguments.complete(&profile)?;
    let search = Search::new(&arguments)?;
    let has_stdin = arguments.paths.iter().any(|path| path == Path::new("-"));
    if has_stdin {
        stdin::check(&arguments)?;
    }
    let mut watched = arguments.watch.iter();
    if let Some(watched) = watched.find(|watched| !watched.is_dir()) {
        let why = format!(
            "{} is no directory that could be watched",
            text::path(watched)
        );
        return Err(CommandError::Usage(why));
    }
    raise_descriptors();
    let files = scope.child("files");
    interrupt::listen(scope, &files)?;
    let retries = arguments.retries.unwrap_or(RETRIES);
    let (endpoint, project) = tokio::select! {
        reached = reach(&arguments, &profile, retries, scope) => reached?,
        // Nothing is begun: there was a question at most, or a command for the token.
        _ = files.cancelled() => return Err(CommandError::Interrupted),
    };
    if has_stdin {
        let mut report = Report::new(style(&arguments), Arc::default());
        return stdin::send(&endpoint, &arguments, &files, &mut report).await;
    }
    let journal = open_journal(&arguments, &endpoint, scope).await?;
    let run = Arc::new(Run {
        pace: Pace::new(arguments.jobs.unwrap_or(Jobs::Auto)),
        limit: arguments.limit_rate.map(Limit::new),
        meter: Arc::default(),
        retries,
        parallel: arguments.parallel,
        on_interrupt: arguments.on_interrupt,
        compares_contents: arguments.checksum,
        sends_absent_only: arguments.if_absent,
        retries_cancelled: arguments.retry_cancelled,
        scope: files,
        endpoint,
        journal,
    });
    if arguments.if_absent {
        let project = project.as_deref().unwrap_or(project::DEFAULT);
        tokio::select! {
            noted = present::note(&run.endpoint.server, project, &run.journal) => noted?,
            _ = run.scope.cancelled() => return Err(CommandError::Interrupted),
        }
    }
    if arguments.dry_run {
        // It changes nothing, so that it can be dropped anywhere.
        return tokio::select! {
            told = preview(&run, search, &arguments) => told,
            _ = run.scope.cancelled() => Err(CommandError::Interrupted),
        };
    }
    send_all(&run, search, &arguments).await
}

/// Each file that is sent takes two descriptors, and each part of one takes one more.
fn raise_descriptors() {
    let mut descriptors = getrlimit(Resource::Nofile);
    descriptors.current = descriptors.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, descriptors) {
        tracing::debug!(%error, "as many descriptors as before");
    }
}

/// Sends what is found, after what earlier runs have left to be ended.
async fn send_all(
    run: &Arc<Run>,
    search: Search,
    arguments: &Arguments,
) -> Result<(), CommandError> {
    let left = run.journal.endings().await;
    let left = left.map_err(|error| CommandError::Failed(error.to_string()))?;
    run.end(left).await;
    let census = Arc::default();
    let mut report = Report::new(style(arguments), Arc::clone(&census));
    report.destination(&run.endpoint.url().to_string())?;
    let (found, again) = look(run, search, arguments, &report, &census);
    let ended = Driver::new(run, &mut report, again).drive(found).await;
    conclude(run, &mut report, ended)
}

/// Starts to look for files, and returns where they come from; if files that have failed are looked
/// at again, also where those go.
fn look(
    run: &Arc<Run>,
    search: Search,
    arguments: &Arguments,
    report: &Report,
    census: &Arc<Census>,
) -> (mpsc::Receiver<Found>, Option<mpsc::UnboundedSender<Again>>) {
    let (sender, found) = mpsc::channel(FOUND_AHEAD);
    if arguments.watch.is_some() {
        let (again, failed) = mpsc::unbounded_channel();
        let watching = watching::watch(search, arguments.stable_for.0, sender, failed);
        run.scope.spawn(watching);
        return (found, Some(again));
    }
    if report.wants_census() && search.is_repeatable() {
        let (search, census, scope) = (search.clone(), census.clone(), run.scope.clone());
        let count = move || search.count(&census, || scope.reason().is_some());
        drop(spawn_blocking(count));
    }
    drop(spawn_blocking(move || search.run(&sender)));
    (found, None)
}

/// What may come out otherwise another time, and when. A server that was never there with this name
/// is not waited for.
fn passing(error: &CommandError) -> Option<Option<Duration>> {
    match error {
        CommandError::Ask(AskError::Misnamed(_)) => None,
        CommandError::Ask(error) => error.passing(),
        _ => None,
    }
}

/// What the whole run comes to.
fn conclude(
    run: &Run,
    report: &mut Report,
    ended: Result<(), CommandError>,
) -> Result<(), CommandError> {
    let is_interrupted = ended.is_ok() && run.scope.reason().is_some();
    let resume = is_interrupted.then(|| args::resuming(std::env::args_os()));
    report.summary(run.meter.bytes(), resume.as_deref())?;
    ended?;
    let counts = report.counts();
    match counts {
        _ if is_interrupted => Err(CommandError::Interrupted),
        _ if counts.failed + counts.cancelled > 0 => Err(CommandError::Some),
        _ if counts.all() == 0 => Err(CommandError::Nothing(
            "nothing matches what is to be sent".into(),
        )),
        _ => Ok(()),
    }
}

fn style(arguments: &Arguments) -> Style {
    match (arguments.json, arguments.quiet) {
        (true, _) => Style::Json,
        (_, true) => Style::Quiet,
        _ => Style::People,
    }
}

/// Where to send to, and in which project that is, if it was said. Waits for a server that is away.
async fn reach(
    arguments: &Arguments,
    profile: &Profile,
    retries: u32,
    scope: &Scope,
) -> Result<(Endpoint, Option<String>), CommandError> {
    let (endpoint, connections) = (arguments.endpoint.as_deref(), scope.child("connections"));
    let server = arguments.connect.server(profile, endpoint, connections);
    let server = server.await?;
    let told = |error: &CommandError| {
        if matches!(style(arguments), Style::People) {
            out::tell(&format!("tidegate: {error}; trying again"));
        }
    };
    let found = async || destination(&server, arguments).await;
    patiently(retries, passing, told, found).await
}

/// Where to send to, and in which project that is, if it was said.
async fn destination(
    server: &Server,
    arguments: &Arguments,
) -> Result<(Endpoint, Option<String>), CommandError> {
    let (url, project): (Uri, _) = match (&arguments.endpoint, &arguments.project) {
        (Some(endpoint), _) => {
            // As it was written: a slash at its end makes a difference to some servers.
            let url = endpoint.parse();
            (
                url.map_err(|_| CommandError::Usage("`--endpoint` is no URL".into()))?,
                None,
            )
        }
        (None, Some(project)) => {
            let project = project::find(server, project).await?;
            (
                server.url(&format!("/api/projects/{project}/uploads"))?,
                Some(project),
            )
        }
        (None, None) => (server.url("/files")?, None),
    };
    let is_home = arguments.endpoint.is_none();
    let endpoint = Endpoint::discover(server.clone(), url, is_home).await?;
    Ok((endpoint, project))
}

async fn open_journal(
    arguments: &Arguments,
    endpoint: &Endpoint,
    scope: &Scope,
) -> Result<Journal, CommandError> {
    let dir = arguments.state_dir.clone();
    let dir = dir.or_else(|| Some(home_of("XDG_STATE_HOME", ".local/state")?.join("tidegate")));
    let dir = dir.ok_or_else(|| CommandError::Usage("there is no home: see --state-dir".into()))?;
    let (destination, scope) = (endpoint.destination(), scope.clone());
    let opened = spawn_blocking(move || Journal::open(&dir, &destination, &scope)).await;
    let opened = opened.map_err(|error| CommandError::Failed(error.to_string()))?;
    opened.map_err(|error| CommandError::Failed(format!("the journal {error}")))
}

/// Says what would be sent.
async fn preview(run: &Run, search: Search, arguments: &Arguments) -> Result<(), CommandError> {
    let (sender, mut found) = mpsc::channel(FOUND_AHEAD);
    drop(spawn_blocking(move || search.run(&sender)));
    let mut counts = Preview::default();
    while let Some(found) = found.recv().await {
        match found {
            Found::File(file) => {
                let skipped = send::would_skip(run, &file).await;
                match skipped.map_err(|error| CommandError::Failed(error.to_string()))? {
                    true => counts.skipped += 1,
                    false => {
                        counts.files += 1;
                        counts.bytes += file.print.size;
                        report::would_send(&file, arguments.json)?;
                    }
                }
            }
            Found::Unfit { path, why } => {
                counts.failed += 1;
                report::would_not_send(&path, &why, arguments.json)?;
            }
        }
    }
    report::preview(counts, arguments.json)?;
    match counts {
        Preview { failed: 1.., .. } => Err(CommandError::Some),
        Preview {
            files: 0,
            skipped: 0,
            ..
        } => Err(CommandError::Nothing("nothing matches".into())),
        _ => Ok(()),
    }
}

/// Keeps as many files under way as are allowed.
struct Driver<'r> {
    run: &'r Arc<Run>,
    report: &'r mut Report,
    /// Where files that have failed are told, if they are looked at again.
    again: Option<mpsc::UnboundedSender<Again>>,
    running: HashMap<u64, File>,
    /// The paths of these.
    paths: HashSet<PathBuf>,
    number: u64,
    ended: (mpsc::Sender<Ended>, mpsc::Receiver<Ended>),
}

type Ended = (u64, Result<Outcome, SendError>);

/// What was done until the last look at the pace.
#[derive(Default)]
struct Done {
    climb: Climb,
    files: u64,
    bytes: u64,
}

/// A file that is to be looked at again, and whether as soon as it does not change.
type Again = (PathBuf, bool);

impl<'r> Driver<'r> {
    fn new(
        run: &'r Arc<Run>,
        report: &'r mut Report,
        again: Option<mpsc::UnboundedSender<Again>>,
    ) -> Self {
        Self {
            run,
            report,
            again,
            running: HashMap::new(),
            paths: HashSet::new(),
            number: 0,
            ended: mpsc::channel(usize::from(args::JOBS_MAX)),
        }
    }

    /// Sends what is found, and waits for the end of what is under way, whatever happens.
    ///
    /// # Errors
    /// No other file would fare better, or nobody can be told.
    async fn drive(&mut self, mut found: mpsc::Receiver<Found>) -> Result<(), CommandError> {
        let mut ticks = interval(TOLD_EVERY);
        let mut looks = interval_at(Instant::now() + pace::LOOK_EVERY, pace::LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut done = Done::default();
        let mut is_open = true;
        let mut fatal = None;
        loop {
            is_open &= self.run.scope.reason().is_none();
            if !is_open && self.running.is_empty() {
                return fatal.map_or(Ok(()), Err);
            }
            let may_begin = is_open && self.running.len() < self.run.pace.target();
            // Every arm may be dropped: channels keep what is in them, and a tick that is missed is the
            // next one's.
            let went = tokio::select! {
                next = found.recv(), if may_begin => match next {
                    Some(Found::File(file)) => self.begin(file).map_err(CommandError::Io),
                    Some(Found::Unfit { path, why }) => {
                        self.report.unfit(&path, &why).map_err(CommandError::Io)
                    }
                    None => {
                        is_open = false;
                        Ok(())
                    }
                },
                Some((number, result)) = self.ended.1.recv() => self.end(number, result),
                _ = ticks.tick() => {
                    let running = self.running.len();
                    self.report.tick(self.run.meter.bytes(), running).map_err(CommandError::Io)
                }
                _ = looks.tick() => {
                    self.look(&mut done);
                    Ok(())
                }
                // The loop looks at the reason.
                _ = self.run.scope.cancelled(), if is_open => Ok(()),
            };
            if let Err(error) = went {
                self.run.scope.cancel(CancelReason::Denied);
                fatal.get_or_insert(error);
            }
        }
    }

    fn look(&self, done: &mut Done) {
        let (files, bytes) = (self.report.counts().sent, self.run.meter.bytes());
        // There are not as many files as there might be at once.
        let is_idle = self.running.len() * 2 < self.run.pace.target();
        let since = (files - done.files, bytes - done.bytes);
        self.run
            .pace
            .look(&mut done.climb, since.0, since.1, is_idle);
        (done.files, done.bytes) = (files, bytes);
    }

    fn begin(&mut self, file: File) -> io::Result<()> {
        self.number += 1;
        let number = self.number;
        if !self.paths.insert(file.path.clone()) {
            if let Some(again) = &self.again {
                // It has changed while it was sent, which its sender will find.
                drop(again.send((file.path, true)));
                return Ok(());
            }
            let twice = Outcome::Skipped(Skipped::Twice);
            return self.report.ended(number, &file, &twice);
        }
        let position = Position::new();
        self.report.started(number, &file, &position);
        self.running.insert(number, file.clone());
        let (run, ended) = (self.run.clone(), self.ended.0.clone());
        self.run.scope.spawn(async move {
            let result = send::send(&run, &file, &position).await;
            // Without a driver nobody waits for it.
            drop(ended.send((number, result)).await);
        });
        Ok(())
    }

    fn end(&mut self, number: u64, result: Result<Outcome, SendError>) -> Result<(), CommandError> {
        let Some(file) = self.running.remove(&number) else {
            return Ok(());
        };
        self.paths.remove(&file.path);
        let is_changed = matches!(result, Err(SendError::Changed));
        let (outcome, fatal) = match result {
            Ok(outcome) => (outcome, None),
            Err(SendError::Interrupted { kept }) => (Outcome::Interrupted { kept }, None),
            // What ends all has been told by the first one.
            Err(error) if error.ends_run() && self.run.scope.reason().is_some() => {
                (Outcome::Interrupted { kept: None }, None)
            }
            Err(error) => {
                let why = error.to_string();
                let fatal = error.ends_run().then(|| CommandError::Failed(why.clone()));
                (Outcome::Failed { why }, fatal)
            }
        };
        if let (Outcome::Failed { .. }, Some(again)) = (&outcome, &self.again) {
            // Nobody watches any more.
            drop(again.send((file.path.clone(), is_changed)));
        }
        self.report.ended(number, &file, &outcome)?;
        fatal.map_or(Ok(()), Err)
    }
}

impl From<AskError> for SendError {
    fn from(error: AskError) -> Self {
        Self::Ask(error)
    }
}
