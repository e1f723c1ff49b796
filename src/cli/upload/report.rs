//! What a run tells while it is under way, and at its end: to people on a terminal, to people who read
//! it later, or to programs.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::find::{Census, File};
use super::flow::Position;
use super::hash::hex;
use super::outcome::{Outcome, Skipped};
use crate::cli::out;
use crate::cli::text::{self, Bytes, Span};

/// How often it is told how far everything is.
pub(super) const TOLD_EVERY: Duration = Duration::from_millis(200);

/// How often a line tells it that stays.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How often a program is told.
const JSON_EVERY: Duration = Duration::from_secs(1);

/// From this size on a file has a bar of its own.
const BAR_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// Bars at once. More would not fit.
const BARS_MAX: usize = 8;

/// Failures that are repeated at the end. All have been told when they happened.
const REPEATED_MAX: usize = 50;

/// What of the results is repeated in lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Bars on a terminal, and lines wherever there is none.
    People,
    /// Lines of JSON.
    Json,
    /// Failures only.
    Quiet,
}

/// Tells of one run.
pub(super) struct Report {
    mode: Mode,
    began: Instant,
    /// When the last regular line was told, and how many bytes had been sent.
    last: (Instant, u64),
    rate: f64,
    counts: Counts,
    failures: Vec<String>,
    census: Arc<Census>,
}

enum Mode {
    Bars {
        all: MultiProgress,
        total: ProgressBar,
        files: HashMap<u64, (ProgressBar, Arc<Position>)>,
        /// Standard output is not the terminal with the bars: it has its lines.
        has_lines: bool,
    },
    Lines,
    Json,
    Quiet,
}

/// How many files came to which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) sent_bytes: u64,
    pub(super) skipped: u64,
    pub(super) skipped_bytes: u64,
    pub(super) unverified: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) interrupted: u64,
}

impl Counts {
    pub(super) fn all(&self) -> u64 {
        self.sent + self.skipped + self.failed + self.cancelled + self.interrupted
    }

    fn bytes(&self) -> u64 {
        self.sent_bytes + self.skipped_bytes
    }
}

impl Report {
    pub(super) fn new(style: Style, census: Arc<Census>) -> Self {
        let mode = match style {
            Style::Json => Mode::Json,
            Style::Quiet => Mode::Quiet,
            Style::People if io::stderr().is_terminal() => bars(),
            Style::People => Mode::Lines,
        };
        let now = Instant::now();
        Self {
            mode,
            began: now,
            last: (now, 0),
            rate: 0.0,
            counts: Counts::default(),
            failures: Vec::new(),
            census,
        }
    }

    /// Whether anybody is told how much there is altogether.
    pub(super) fn wants_census(&self) -> bool {
        matches!(self.mode, Mode::Bars { .. } | Mode::Json)
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// To whom everything is sent.
    pub(super) fn destination(&self, url: &str) -> io::Result<()> {
        match &self.mode {
            Mode::Json => out::json(&json!({
                "event": "started", "schema": 1, "destination": url,
            })),
            Mode::Bars { .. } | Mode::Lines | Mode::Quiet => Ok(()),
        }
    }

    /// A file is begun. `number` names it until it ends.
    pub(super) fn started(&mut self, number: u64, file: &File, position: &Arc<Position>) {
        if let Mode::Bars {
            all, total, files, ..
        } = &mut self.mode
            && file.print.size >= BAR_BYTES_MIN
            && files.len() < BARS_MAX
        {
            let bar = all.insert_before(total, ProgressBar::new(file.print.size));
            bar.set_style(out::style(
                "{wide_msg} {bytes:>10} {binary_bytes_per_sec:>12} {eta:>4} {bar:20}",
            ));
            bar.set_message(text::clean(&file.name).into_owned());
            files.insert(number, (bar, position.clone()));
        }
    }

    /// The one thing to be sent is begun, of which nobody knows how much it is.
    pub(super) fn streaming(&mut self, number: u64, file: &File, position: &Arc<Position>) {
        if let Mode::Bars {
            all, total, files, ..
        } = &mut self.mode
        {
            all.remove(total);
            let bar = all.add(ProgressBar::no_length());
            bar.set_style(out::style(
                "{wide_msg} {bytes:>10} {binary_bytes_per_sec:>12}",
            ));
            bar.set_message(text::clean(&file.name).into_owned());
            files.insert(number, (bar, position.clone()));
        }
    }

    /// A file has come to an end.
    pub(super) fn ended(&mut self, number: u64, file: &File, outcome: &Outcome) -> io::Result<()> {
        let size = file.print.size;
        match outcome {
            Outcome::Sent { verified, .. } => {
                self.counts.sent += 1;
                self.counts.sent_bytes += size;
                self.counts.unverified += u64::from(!verified);
            }
            Outcome::Skipped(_) => {
                self.counts.skipped += 1;
                self.counts.skipped_bytes += size;
            }
            Outcome::Cancelled { .. } => self.counts.cancelled += 1,
            Outcome::Interrupted { .. } => self.counts.interrupted += 1,
            Outcome::Failed { .. } => self.counts.failed += 1,
        }
        if let Mode::Bars { files, .. } = &mut self.mode
            && let Some((bar, _)) = files.remove(&number)
        {
            bar.finish_and_clear();
        }
        match &self.mode {
            Mode::Json => return out::json(&event(file, outcome)),
            Mode::Lines
            | Mode::Bars {
                has_lines: true, ..
            } => match outcome {
                Outcome::Sent { .. } => {
                    let name = text::clean(&file.name);
                    out::line(&format!("sent {name} ({})", Bytes(size)))?;
                }
                Outcome::Skipped(_)
                | Outcome::Cancelled { .. }
                | Outcome::Interrupted { .. }
                | Outcome::Failed { .. } => {}
            },
            Mode::Bars { .. } | Mode::Quiet => {}
        }
        if let Some(why) = trouble(outcome) {
            self.failed(&file.path, &why);
        }
        Ok(())
    }

    /// Something is not sent, and was never begun.
    pub(super) fn unfit(&mut self, path: &Path, why: &str) -> io::Result<()> {
        self.counts.failed += 1;
        let why = text::clean(why);
        if matches!(self.mode, Mode::Json) {
            return out::json(&unfit_event(path, &why));
        }
        self.failed(path, &why);
        Ok(())
    }

    /// A line for people, above the bars.
    pub(super) fn tell(&self, line: &str) {
        match &self.mode {
            Mode::Bars { all, .. } => all.suspend(|| out::tell(line)),
            Mode::Lines | Mode::Json | Mode::Quiet => out::tell(line),
        }
    }

    fn failed(&mut self, path: &Path, why: &str) {
        let line = format!("{}: {why}", text::path(path));
        self.tell(&line);
        if self.failures.len() < REPEATED_MAX {
            self.failures.push(line);
        }
    }

    /// Tells how far everything is. `moved` bytes were sent altogether.
    pub(super) fn tick(&mut self, moved: u64, running: usize) -> io::Result<()> {
        let every = match &mut self.mode {
            Mode::Quiet => return Ok(()),
            Mode::Bars { total, files, .. } => {
                for (bar, position) in files.values() {
                    bar.set_position(position.at());
                }
                let halves: u64 = files.values().map(|(_, position)| position.at()).sum();
                total.set_length(self.census.bytes.load(Ordering::Relaxed));
                total.set_position(self.counts.bytes() + halves);
                let known = self.census.files.load(Ordering::Relaxed);
                let more = match self.census.is_complete.load(Ordering::Acquire) {
                    true => "",
                    false => "+",
                };
                total.set_message(format!("{} of {known}{more} files", self.counts.all()));
                return Ok(());
            }
            Mode::Lines => LINE_EVERY,
            Mode::Json => JSON_EVERY,
        };
        let (told, before) = self.last;
        if told.elapsed() < every {
            return Ok(());
        }
        self.rate = (moved - before) as f64 / told.elapsed().as_secs_f64();
        self.last = (Instant::now(), moved);
        if matches!(self.mode, Mode::Json) {
            return out::json(&self.progress(moved, running));
        }
        let (files, rate) = (self.counts.all(), Bytes(self.rate as u64));
        let bytes = Bytes(moved);
        self.tell(&format!(
            "{files} files, {bytes} sent, {rate}/s, {running} at once"
        ));
        Ok(())
    }

    fn progress(&self, moved: u64, running: usize) -> Value {
        let is_complete = self.census.is_complete.load(Ordering::Acquire);
        let total = |value: u64| is_complete.then_some(value);
        json!({
            "event": "progress",
            "files": self.counts.all(),
            "totalFiles": total(self.census.files.load(Ordering::Relaxed)),
            "totalBytes": total(self.census.bytes.load(Ordering::Relaxed)),
            "bytesSent": moved,
            "bytesPerSecond": self.rate as u64,
            "running": running,
        })
    }

    /// The end. `resume` is the command that goes on.
    pub(super) fn summary(&mut self, moved: u64, resume: Option<&str>) -> io::Result<()> {
        let (counts, time) = (self.counts, self.began.elapsed());
        if let Mode::Bars { all, total, .. } = &self.mode {
            total.finish_and_clear();
            all.clear()?;
        }
        if matches!(self.mode, Mode::Json) {
            return out::json(&json!({
                "event": "summary", "sent": counts.sent, "skipped": counts.skipped,
                "failed": counts.failed, "cancelled": counts.cancelled,
                "interrupted": counts.interrupted, "unverified": counts.unverified,
                "bytes": counts.sent_bytes, "bytesSent": moved,
                "seconds": (time.as_secs_f64() * 1000.0).round() / 1000.0, "resume": resume,
            }));
        }
        let is_silent = matches!(self.mode, Mode::Quiet);
        let failed = counts.failed + counts.cancelled;
        if failed > 0 && !is_silent {
            out::tell("What was not sent:");
            for line in &self.failures {
                out::tell(&format!("  {line}"));
            }
            let more = (counts.all() - counts.sent - counts.skipped)
                .saturating_sub(self.failures.len() as u64);
            if more > 0 {
                out::tell(&format!("  and {more} more, named above"));
            }
        }
        if !is_silent {
            out::tell(&line(&counts, moved, time));
        }
        match resume {
            Some(command) => writeln!(io::stderr(), "To go on: {command}"),
            None => Ok(()),
        }
    }
}

fn line(counts: &Counts, moved: u64, time: Duration) -> String {
    let seconds = time.as_secs_f64().max(0.001);
    let rate = Bytes((moved as f64 / seconds) as u64);
    let mut line = format!("{} sent ({})", counts.sent, Bytes(counts.sent_bytes));
    for (count, what) in [
        (counts.skipped, "sent before"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled by somebody"),
        (counts.interrupted, "interrupted"),
        (
            counts.unverified,
            "not verified: the server tells no SHA-256",
        ),
    ] {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    format!("{line} in {}, {rate}/s", Span(time))
}

/// What people have to know of it.
fn trouble(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Sent { .. } | Outcome::Skipped(_) => None,
        Outcome::Cancelled { reason: None } => Some("was cancelled by somebody".into()),
        Outcome::Cancelled {
            reason: Some(reason),
        } => Some(format!("was cancelled by somebody: {reason}")),
        Outcome::Interrupted { kept } => Some(match kept {
            None => "interrupted, and the server does not say how much of it is kept".into(),
            Some(0) => "interrupted, and nothing of it is kept".into(),
            Some(bytes) => format!("half sent, {} are kept", Bytes(*bytes)),
        }),
        Outcome::Failed { why } => Some(why.clone()),
    }
}

fn event(file: &File, outcome: &Outcome) -> Value {
    let mut event = json!({
        "event": "file", "path": file.path.to_string_lossy(), "name": file.name,
        "size": file.print.size, "state": outcome.word(),
    });
    let (more, why) = match outcome {
        Outcome::Sent {
            url,
            sha256,
            verified,
        } => (
            json!({"url": url, "sha256": hex(sha256), "verified": verified}),
            None,
        ),
        Outcome::Skipped(Skipped::Sent { upload, sha256 }) => (
            json!({"why": "sent", "uploadId": upload.to_string(), "sha256": hex(sha256)}),
            None,
        ),
        Outcome::Skipped(Skipped::Present) => (json!({"why": "present"}), None),
        Outcome::Skipped(Skipped::Twice) => (json!({"why": "twice"}), None),
        Outcome::Cancelled { reason } => (json!({"reason": reason}), None),
        Outcome::Interrupted { kept } => (json!({"kept": kept}), None),
        Outcome::Failed { why } => (json!({}), Some(why)),
    };
    if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
        event.extend(more);
        if let Some(why) = why {
            event.insert("error".into(), json!(why));
        }
    }
    event
}

fn unfit_event(path: &Path, why: &str) -> Value {
    json!({
        "event": "file", "path": path.to_string_lossy(), "state": "failed", "error": why,
    })
}

fn bars() -> Mode {
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5));
    let total = all.add(ProgressBar::new(0));
    total.set_style(out::style(out::TOTAL_BAR));
    Mode::Bars {
        all,
        total,
        files: HashMap::new(),
        has_lines: !io::stdout().is_terminal(),
    }
}

/// A file that would be sent.
pub(super) fn would_send(file: &File, as_json: bool) -> io::Result<()> {
    let (name, size) = (&file.name, file.print.size);
    match as_json {
        true => out::json(&json!({
            "event": "file", "path": file.path.to_string_lossy(), "name": name, "size": size,
            "state": "wouldSend",
        })),
        false => out::line(&format!(
            "would send {} ({})",
            text::clean(name),
            Bytes(size)
        )),
    }
}

/// Something that would not.
pub(super) fn would_not_send(path: &Path, why: &str, as_json: bool) -> io::Result<()> {
    let why = text::clean(why);
    match as_json {
        true => out::json(&unfit_event(path, &why)),
        false => {
            out::tell(&format!("{}: {why}", text::path(path)));
            Ok(())
        }
    }
}

/// What a run would do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Preview {
    pub(super) files: u64,
    /// Of these.
    pub(super) bytes: u64,
    pub(super) skipped: u64,
    pub(super) failed: u64,
}

/// How much that is.
pub(super) fn preview(counts: Preview, as_json: bool) -> io::Result<()> {
    let Preview {
        files,
        bytes,
        skipped,
        failed,
    } = counts;
    if as_json {
        return out::json(&json!({
            "event": "preview", "files": files, "bytes": bytes, "skipped": skipped, "failed": failed,
        }));
    }
    let bytes = Bytes(bytes);
    out::tell(&format!(
        "would send {files} files ({bytes}), {skipped} sent before, {failed} not"
    ));
    Ok(())
}
