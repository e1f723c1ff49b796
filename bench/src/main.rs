//! Measures a server against a bare loop, in the same run.
//!
//! Absolute figures of a shared machine move by a factor of two from one minute to the next. So the
//! server and the loop take turns over several rounds, and what counts is the ratio of the two.
//!
//! | what | file |
//! |---|---|
//! | the figures, and how they are measured | `figure` |
//! | readers of the feed | `feed` |
//! | the processing queue | `queue` |
//! | exports | `export` |
//! | the command line's uploader | `bulk` |
//! | the loop that the server is compared with | `sink` |
//! | clients of the two | `client` |
//! | a server or a loop as a process, and what it uses | `process` |
//! | medians and the lines that are printed | `report` |

mod bulk;
mod client;
mod export;
mod feed;
mod figure;
mod process;
mod queue;
mod report;
mod sink;

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, getrlimit, setrlimit};

use figure::{FIGURES, Figure};

/// Measures a server against a bare loop that reads sockets and writes files
#[derive(Debug, Parser)]
#[command(name = "tidegate-bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommand>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, clap::Subcommand)]
enum Subcommand {
    /// The loop, as a process of its own: it ends when its standard input does
    #[command(hide = true)]
    Sink {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        buffer: usize,
    },
}

#[derive(Debug, clap::Args)]
struct Options {
    /// What to measure; without it, everything
    figures: Vec<Figure>,
    /// The program to measure
    #[arg(long, value_name = "FILE", default_value = "target/release/tidegate")]
    server: PathBuf,
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value = "5")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Uploads, readers or events of a round; without it, as the figure has them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    uploads: Option<u64>,
    /// Size of an upload; without it, as the figure has it
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    size: Option<u64>,
    /// Another database than SQLite, which must be a new one: with `--rounds 1`
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Memory to touch and free before each measurement: a virtual machine gives free memory back
    /// to its host, and then the first pages of a file are slow
    #[arg(long, value_name = "BYTES", default_value = "2147483648")]
    warm: u64,
    /// The buffer of the loop
    #[arg(long, value_name = "BYTES", default_value = "262144")]
    buffer: usize,
    /// Where uploads are kept meanwhile; it should be on a disk
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Some(Subcommand::Sink { dir, buffer }) => sink(&dir, buffer),
        None => measure(arguments.options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn sink(dir: &Path, buffer_bytes: usize) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("sink listening on {}", listener.local_addr()?);
    sink::run(&listener, dir, buffer_bytes, io::stdin())
}

fn measure(mut options: Options) -> io::Result<()> {
    // The children inherit the limit: `idle` alone holds a thousand sockets.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files)?;
    if process::memory_available()? < options.warm.saturating_mul(2) {
        eprintln!("bench: too little free memory to touch --warm bytes of it first");
        options.warm = 0;
    }
    let figures = match options.figures.as_slice() {
        [] => FIGURES.to_vec(),
        chosen => chosen.to_vec(),
    };
    figures
        .into_iter()
        .try_for_each(|figure| figure::measure(figure, &options))
}
