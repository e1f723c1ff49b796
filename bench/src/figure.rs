//! The figures, and how they are measured.

use std::io;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use tempfile::TempDir;

use crate::Options;
use crate::bulk;
use crate::client::{self, Connection, Dialect};
use crate::export;
use crate::feed;
use crate::process::{self, Process, Running};
use crate::queue;
use crate::report::{self, Column, GIB, MB, MIB};

pub(crate) const FIGURES: [Figure; 13] = [
    Figure::Large,
    Figure::Draft,
    Figure::Many,
    Figure::Small,
    Figure::Idle,
    Figure::Feed,
    Figure::Replay,
    Figure::Queue,
    Figure::Told,
    Figure::Export,
    Figure::Cancelled,
    Figure::Bulk,
    Figure::File,
];

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Figure {
    /// One upload of 1 GiB in one request
    Large,
    /// One upload of 4 GiB in one request, in tus and in the IETF draft
    Draft,
    /// 64 uploads of 16 MiB at once, one request each
    Many,
    /// 4,096 uploads of 1 KiB, two requests each, on 32 connections
    Small,
    /// 1,000 uploads that have stalled
    Idle,
    /// 1,000 readers of the feed
    Feed,
    /// 100,000 events, read from the first one
    Replay,
    /// 10,000 items of the queue that are nothing to do, and as many that are cancelled
    Queue,
    /// 1,000 cancels of items that a worker has
    Told,
    /// An upload of 5 GiB, alone and with 10,000 of 100 KiB, exported
    Export,
    /// 100 exports of an upload of 5 GiB, cancelled all over their lives
    Cancelled,
    /// 10,000 files of 10 KiB by `tidegate upload`
    Bulk,
    /// One file of 4 GiB by `tidegate upload`
    File,
}

/// Measures a figure over all rounds and prints its lines.
pub(crate) fn measure(figure: Figure, options: &Options) -> io::Result<()> {
    let load = |uploads, size| Load {
        uploads: options.uploads.unwrap_or(uploads),
        size: options.size.unwrap_or(size),
        block: client::block(),
    };
    let count = |count| options.uploads.unwrap_or(count);
    let size = |size| options.size.unwrap_or(size);
    match figure {
        Figure::Large => transfers("large", &load(1, 1 << 30), options),
        Figure::Draft => dialects("draft", &load(1, 4 << 30), options),
        Figure::Many => transfers("many", &load(64, 16 << 20), options),
        Figure::Small => small("small", &load(4096, 1 << 10), options),
        Figure::Idle => idle("idle", &load(1000, 1 << 20), options),
        Figure::Feed => feed::told("feed", count(1000), options),
        Figure::Replay => feed::replayed("replay", count(100_000), options),
        Figure::Queue => queue::drained("queue", count(10_000), options),
        Figure::Told => queue::told("told", count(1000), options),
        Figure::Export => export::archived("export", count(10_000), size(5 << 30), options),
        Figure::Cancelled => export::cancelled("cancelled", size(5 << 30), options),
        Figure::Bulk => bulk::tree("bulk", count(10_000), size(10 << 10), options),
        Figure::File => bulk::large("file", size(4 << 30), options),
    }
}

/// What clients send in one round.
pub(crate) struct Load {
    pub(crate) uploads: u64,
    pub(crate) size: u64,
    pub(crate) block: Vec<u8>,
}

impl Load {
    pub(crate) fn bytes(&self) -> f64 {
        self.uploads as f64 * self.size as f64
    }
}

/// What one process used for one load.
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    cpu_seconds: f64,
    peak_bytes: u64,
}

impl Sample {
    fn peak_mib(&self) -> f64 {
        self.peak_bytes as f64 / MIB
    }
}

const PLAIN: &str = "--durability process-crash --digest none";
const HASHED: &str = "--durability process-crash --digest sha256";
pub(crate) const RELAXED: &str = "--durability process-crash";
pub(crate) const DURABLE: &str = "--durability power-loss";

/// Connections of `small`.
pub(crate) const CONNECTIONS: u64 = 32;

/// All uploads at once, each in one request: the loop, then the server with and without digest.
fn transfers(name: &str, load: &Load, options: &Options) -> io::Result<()> {
    let [mut limit, mut plain, mut hashed] = [const { Vec::new() }; 3];
    for _ in 0..options.rounds {
        let sink = start_sink(options)?;
        limit.push(pour_all(&sink.address, sink.process, load)?);
        drop(sink);
        for (flags, samples) in [(PLAIN, &mut plain), (HASHED, &mut hashed)] {
            let server = start_server(flags, options)?;
            samples.push(append_all(Dialect::Tus, &server, load)?);
        }
    }
    let cpu = |sample: &Sample| sample.cpu_seconds / load.bytes() * GIB;
    let limit_cpu = each(&limit, cpu);
    for (setup, samples) in [("limit", limit), (PLAIN, plain), (HASHED, hashed)] {
        let rate = each(&samples, |sample| load.bytes() / sample.seconds / MB);
        let cpu = each(&samples, cpu);
        let ratios = report::ratios(&cpu, &limit_cpu);
        let mut columns = vec![
            column("MB/s", 0, rate),
            column("CPU s/GiB", 2, cpu),
            column("MiB peak", 1, each(&samples, Sample::peak_mib)),
        ];
        if setup != "limit" {
            columns.push(column("times the limit's CPU", 2, ratios));
        }
        report::print(name, setup, &columns);
    }
    Ok(())
}

/// All uploads at once, each in one request, in one protocol after the other.
fn dialects(name: &str, load: &Load, options: &Options) -> io::Result<()> {
    let setups = [
        ("tus", Dialect::Tus),
        ("draft", Dialect::Draft),
        ("draft with 104", Dialect::DraftTold),
    ];
    let mut samples = setups.map(|_| Vec::new());
    for _ in 0..options.rounds {
        for ((_, dialect), samples) in setups.iter().zip(&mut samples) {
            let server = start_server(PLAIN, options)?;
            samples.push(append_all(*dialect, &server, load)?);
        }
    }
    let rate = |sample: &Sample| load.bytes() / sample.seconds / MB;
    let cpu = |sample: &Sample| sample.cpu_seconds / load.bytes() * GIB;
    let (tus_rate, tus_cpu) = (each(&samples[0], rate), each(&samples[0], cpu));
    for ((setup, _), samples) in setups.iter().zip(&samples) {
        let (rate, cpu) = (each(samples, rate), each(samples, cpu));
        let columns = [
            column("times the rate of tus", 3, report::ratios(&rate, &tus_rate)),
            column("times its CPU", 3, report::ratios(&cpu, &tus_cpu)),
            column("MB/s", 0, rate),
            column("CPU s/GiB", 3, cpu),
        ];
        report::print(name, setup, &columns);
    }
    Ok(())
}

/// One upload after the other on each connection.
fn small(name: &str, load: &Load, options: &Options) -> io::Result<()> {
    let [mut relaxed, mut durable] = [const { Vec::new() }; 2];
    for _ in 0..options.rounds {
        for (flags, samples) in [(RELAXED, &mut relaxed), (DURABLE, &mut durable)] {
            let server = start_server(flags, options)?;
            let sample = create_and_append_all(&server.address, server.process, load)?;
            samples.push(sample);
        }
    }
    let uploads = load.uploads as f64;
    for (setup, samples) in [(RELAXED, relaxed), (DURABLE, durable)] {
        let rate = each(&samples, |sample| uploads / sample.seconds);
        let cpu = each(&samples, |sample| sample.cpu_seconds / uploads * 1e3);
        let columns = [
            column("uploads/s", 0, rate),
            column("CPU ms/upload", 3, cpu),
            column("MiB peak", 1, each(&samples, Sample::peak_mib)),
        ];
        report::print(name, setup, &columns);
    }
    Ok(())
}

/// What a server holds for uploads that have begun and go no further.
fn idle(name: &str, load: &Load, options: &Options) -> io::Result<()> {
    /// Long enough for the server to read all that was sent, short enough not to be cut off.
    const QUIET: Duration = Duration::from_secs(2);
    let (mut resident_kib, mut threads) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let server = start_server(PLAIN, options)?;
        let before = server.process.memory()?;
        let mut stalled = Vec::new();
        for _ in 0..load.uploads {
            let mut connection = Connection::open(&server.address)?;
            let path = connection.create(load.size)?;
            connection.begin_append(&path, load.size, &load.block[..1])?;
            stalled.push(connection);
        }
        let waits = stalled
            .iter_mut()
            .map(|connection| || connection.stay_unanswered(QUIET));
        client::together(waits)?;
        let grown = server.process.memory()?.saturating_sub(before);
        resident_kib.push(grown as f64 / 1024.0 / load.uploads as f64);
        threads.push(server.process.threads()? as f64);
    }
    let columns = [
        column("KiB resident per upload", 1, resident_kib),
        column("threads", 0, threads),
    ];
    report::print(name, PLAIN, &columns);
    Ok(())
}

fn start_sink(options: &Options) -> io::Result<Running> {
    let dir = warm_dir(options)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("sink").arg("--dir").arg(dir.path());
    command.arg("--buffer").arg(options.buffer.to_string());
    Running::start(command, dir)
}

pub(crate) fn start_server(flags: &str, options: &Options) -> io::Result<Running> {
    let dir = warm_dir(options)?;
    let mut command = Command::new(&options.server);
    command.arg("serve").arg("--data-dir").arg(dir.path());
    command.args(["--listen", "127.0.0.1:0", "--log-filter", "error"]);
    command.args(flags.split(' '));
    if let Some(database) = &options.database {
        command.arg("--database").arg(database);
    }
    Running::start(command, dir)
}

fn warm_dir(options: &Options) -> io::Result<TempDir> {
    process::touch_memory(options.warm)?;
    TempDir::with_prefix_in("tidegate-bench-", &options.dir)
}

fn pour_all(address: &str, process: Process, load: &Load) -> io::Result<Sample> {
    let streams = (0..load.uploads).map(|_| client::connect(address));
    let streams = streams.collect::<io::Result<Vec<_>>>()?;
    let jobs = streams
        .into_iter()
        .map(|stream| || client::pour(stream, load.size, &load.block));
    timed(process, || client::together(jobs))
}

/// The uploads exist before the time starts, as the files of the loop do.
pub(crate) fn append_all(dialect: Dialect, server: &Running, load: &Load) -> io::Result<Sample> {
    let created = (0..load.uploads).map(|_| {
        let mut connection = Connection::open_in(dialect, &server.address)?;
        let path = connection.create(load.size)?;
        Ok((connection, path))
    });
    let created = created.collect::<io::Result<Vec<_>>>()?;
    let jobs = created
        .into_iter()
        .map(|(mut connection, path)| move || connection.append(&path, load.size, &load.block));
    timed(server.process, || client::together(jobs))
}

pub(crate) fn create_and_append_all(
    address: &str,
    process: Process,
    load: &Load,
) -> io::Result<Sample> {
    let connections = (0..CONNECTIONS).map(|_| Connection::open(address));
    let connections = connections.collect::<io::Result<Vec<_>>>()?;
    let jobs = connections
        .into_iter()
        .zip(0..)
        .map(|(mut connection, at)| {
            move || {
                // The remainder goes to the first ones.
                let share = (load.uploads + CONNECTIONS - 1 - at) / CONNECTIONS;
                (0..share).try_for_each(|_| {
                    let path = connection.create(load.size)?;
                    connection.append(&path, load.size, &load.block)
                })
            }
        });
    timed(process, || client::together(jobs))
}

fn timed(process: Process, work: impl FnOnce() -> io::Result<()>) -> io::Result<Sample> {
    let (cpu_before, start) = (process.cpu_seconds()?, now());
    work()?;
    Ok(Sample {
        seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: process.cpu_seconds()? - cpu_before,
        peak_bytes: process.memory_peak()?,
    })
}

#[expect(clippy::disallowed_methods, reason = "the clock of the measurements")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

fn each(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> Vec<f64> {
    samples.iter().map(value).collect()
}

pub(crate) fn column(heading: &'static str, decimals: usize, values: Vec<f64>) -> Column {
    Column {
        heading,
        decimals,
        values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn the_loop_stores_what_the_clients_send() {
        let dir = TempDir::new().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (until, hold) = io::pipe().unwrap();
        let load = Load {
            uploads: 3,
            size: 5000,
            block: (0..251).collect(),
        };
        thread::scope(|scope| {
            let sink = scope.spawn(|| crate::sink::run(&listener, dir.path(), 1024, until));
            let sample = pour_all(&address, Process(std::process::id()), &load);
            drop(hold);
            sink.join().unwrap().unwrap();
            let sample = sample.unwrap();
            assert!(sample.seconds > 0.0 && sample.cpu_seconds >= 0.0);
            assert!(sample.peak_bytes > 0);
        });
        let sent: Vec<u8> = load.block.iter().copied().cycle().take(5000).collect();
        for file in ["0", "1", "2"] {
            assert_eq!(
                std::fs::read(dir.path().join(file)).unwrap(),
                sent,
                "{file}"
            );
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
