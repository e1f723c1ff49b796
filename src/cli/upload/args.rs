//! What `tidegate upload` may be told.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::BoolishValueParser;

use crate::cli::connect::{Connect, Profile, variable};
use crate::cli::error::CommandError;
use crate::cli::text;
use crate::units::{ByteSize, TimeSpan};

/// For the end of the help text.
pub(crate) const EXAMPLES: &str = "\
Examples:
  tidegate upload ~/data --project Slides
      everything below ~/data; run it again, and only what is new or changed is sent
  tidegate upload plate1 plate2 --exclude '*.tmp' --dry-run
      what would be sent, and how much
  tidegate upload huge.nd2 --parallel 4 --limit-rate 40M
      one file in four parts at once, with 40 MB/s at most
  find . -name '*.tif' -newer mark | tidegate upload --files-from -
      what another program has chosen
  tidegate upload --watch /acquisition --stable-for 30s
      what an instrument writes, once it has not changed for half a minute
  tar c plate1 | tidegate upload - --name plate1.tar
      what has no length yet
  tidegate upload ~/data --endpoint https://tus.example/files/
      to any other tus server

Exit codes: 0 all done, 1 some failed, 2 usage, 3 nothing matched, 130 interrupted.";

/// The arguments of `tidegate upload`.
#[derive(Clone, Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct Arguments {
    /// Files and directories; `-` is standard input
    #[arg(value_name = "PATH")]
    #[arg(required_unless_present_any = ["files_from", "watch"])]
    pub(super) paths: Vec<PathBuf>,

    /// The project to send to, by id or title [default: the caller's default project]
    /// [env: TIDEGATE_PROJECT]
    #[arg(long, value_name = "PROJECT")]
    #[arg(help_heading = "Server")]
    pub(super) project: Option<String>,

    /// Where any tus server creates uploads, instead of --server and --project
    #[arg(long, value_name = "URL", conflicts_with_all = ["server", "project", "if_absent"])]
    #[arg(help_heading = "Server")]
    pub(super) endpoint: Option<String>,

    #[command(flatten)]
    pub(super) connect: Connect,

    /// Files at once: a number, or auto, which finds out [default: auto]
    #[arg(long, value_name = "N|auto", help_heading = "Transfer")]
    pub(super) jobs: Option<Jobs>,

    /// Parts of one large file at once, put together by the server
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Transfer")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(super) parallel: u8,

    /// The most bytes per second, of all files together
    #[arg(long, value_name = "SIZE", value_parser = rate, help_heading = "Transfer")]
    pub(super) limit_rate: Option<NonZeroU64>,

    /// How often in a row something is tried again without any progress [default: 10]
    #[arg(long, value_name = "N", help_heading = "Transfer")]
    pub(super) retries: Option<u32>,

    /// What becomes of half-sent files at Ctrl-C
    #[arg(long, value_enum, value_name = "WHAT", default_value = "keep")]
    #[arg(help_heading = "Transfer")]
    pub(super) on_interrupt: OnInterrupt,

    /// Take directories with all that is below them, not only with the files in them
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value = "true", value_parser = BoolishValueParser::new(), value_name = "BOOL")]
    #[arg(help_heading = "Selection", action = clap::ArgAction::Set)]
    pub(super) recursive: bool,

    /// Only files that match; may be repeated
    #[arg(long, value_name = "GLOB", help_heading = "Selection")]
    pub(super) include: Vec<String>,

    /// No files and directories that match; may be repeated
    #[arg(long, value_name = "GLOB", help_heading = "Selection")]
    pub(super) exclude: Vec<String>,

    /// What becomes of symbolic links below a directory
    #[arg(long, value_enum, value_name = "WHAT", default_value = "refuse")]
    #[arg(help_heading = "Selection")]
    pub(super) links: Links,

    /// A file with a path in each line, or `-` for standard input
    #[arg(long, value_name = "FILE", help_heading = "Selection")]
    pub(super) files_from: Option<PathBuf>,

    /// Paths of --files-from end with a zero byte, as those of find -print0
    #[arg(long, short = '0', requires = "files_from", help_heading = "Selection")]
    pub(super) null: bool,

    /// Leave out what the project has already, by name and size, whoever has sent it
    #[arg(long, help_heading = "Selection")]
    pub(super) if_absent: bool,

    /// Compare contents with what was sent, instead of size, time and inode
    #[arg(long, help_heading = "Selection")]
    pub(super) checksum: bool,

    /// Send again what somebody has cancelled
    #[arg(long, help_heading = "Selection")]
    pub(super) retry_cancelled: bool,

    /// Say what would be sent, and send nothing
    #[arg(long, help_heading = "Selection")]
    pub(super) dry_run: bool,

    /// Go on for ever with what appears in this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["paths", "files_from", "dry_run"])]
    #[arg(help_heading = "Watching")]
    pub(super) watch: Option<PathBuf>,

    /// For how long a file must not change before it is sent
    #[arg(long, value_name = "TIME", default_value = "30s", requires = "watch")]
    #[arg(help_heading = "Watching")]
    pub(super) stable_for: TimeSpan,

    /// The name of what comes from standard input
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    pub(super) name: String,

    /// Where it is remembered what is sent [default: ~/.local/state/tidegate]
    #[arg(long, env = "TIDEGATE_STATE_DIR", value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,

    /// Tell everything as lines of JSON on standard output
    #[arg(long, conflicts_with = "quiet")]
    pub(super) json: bool,

    /// Tell nothing but failures
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// How many files are sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Jobs {
    /// As many as make it faster.
    Auto,
    /// So many.
    Fixed(u16),
}

/// The most files at once.
pub(super) const JOBS_MAX: u16 = 64;

/// What becomes of what is half sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OnInterrupt {
    /// It stays on the server, and the next run goes on with it
    Keep,
    /// It is cancelled on the server
    Cancel,
}

/// What becomes of a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Links {
    /// It is named as what was not sent
    Refuse,
    /// What it leads to is sent under its name
    Follow,
    /// It is passed over
    Skip,
}

/// A text is no number of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`--jobs` is auto or a number from 1 to {JOBS_MAX}")]
pub(super) struct InvalidJobs;

impl FromStr for Jobs {
    type Err = InvalidJobs;

    fn from_str(text: &str) -> Result<Self, InvalidJobs> {
        match text {
            "auto" => Ok(Self::Auto),
            text => match text.parse() {
                Ok(number @ 1..=JOBS_MAX) => Ok(Self::Fixed(number)),
                _ => Err(InvalidJobs),
            },
        }
    }
}

impl Arguments {
    /// Takes what is not said from the profile.
    ///
    /// # Errors
    /// What the profile says cannot be used.
    pub(super) fn complete(&mut self, profile: &Profile) -> Result<(), CommandError> {
        let unusable =
            |error: &dyn std::fmt::Display| CommandError::Usage(format!("the profile: {error}"));
        if self.jobs.is_none() {
            let jobs = profile.jobs.as_deref().map(str::parse).transpose();
            self.jobs = jobs.map_err(|error| unusable(&error))?;
        }
        if self.limit_rate.is_none() {
            let limit = profile.limit_rate.as_deref().map(rate).transpose();
            self.limit_rate = limit.map_err(|error| unusable(&error))?;
        }
        self.retries = self.retries.or(profile.retries);
        if self.endpoint.is_none() {
            let project = self.project.take().or_else(|| variable("TIDEGATE_PROJECT"));
            self.project = project.or_else(|| profile.project.clone());
        }
        self.state_dir = self.state_dir.take().or_else(|| profile.state_dir.clone());
        Ok(())
    }
}

fn rate(text: &str) -> Result<NonZeroU64, String> {
    let size: ByteSize = text.parse().map_err(|error| format!("{error}"))?;
    NonZeroU64::new(size.0).ok_or_else(|| "nothing would ever be sent".into())
}

/// The command line that goes on with what this one has begun, as a shell reads it. A token is not
/// repeated.
pub(super) fn resuming(arguments: impl Iterator<Item = OsString>) -> String {
    let mut words = Vec::new();
    let mut is_token = false;
    for word in arguments {
        let is_value = std::mem::replace(&mut is_token, word == "--token");
        words.push(match word.to_str() {
            _ if is_value => "TOKEN".into(),
            Some(word) if word.starts_with("--token=") => "--token=TOKEN".into(),
            _ => text::quoted(&word),
        });
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_bounded() {
        assert_eq!("auto".parse(), Ok(Jobs::Auto));
        assert_eq!("64".parse(), Ok(Jobs::Fixed(64)));
        for wrong in ["0", "65", "-1", "many", ""] {
            assert_eq!(wrong.parse::<Jobs>(), Err(InvalidJobs), "{wrong}");
        }
    }

    #[test]
    fn what_resumes_does_not_tell_the_token() {
        let command = [
            "tidegate", "upload", "my data", "--token", "secret", "--jobs", "4",
        ];
        let resumed = resuming(command.into_iter().map(OsString::from));
        assert_eq!(resumed, "tidegate upload 'my data' --token TOKEN --jobs 4");
        let command = ["tidegate", "upload", "--token=secret"];
        let resumed = resuming(command.into_iter().map(OsString::from));
        assert_eq!(resumed, "tidegate upload --token=TOKEN");
    }
}
