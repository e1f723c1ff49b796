//! Exports: how fast an archive is made beside a plain copy of the same bytes, what memory that takes, and
//! how soon a cancelled one is gone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::Options;
use crate::client::{self, Connection};
use crate::figure::{CONNECTIONS, DURABLE, column, now, start_server};
use crate::process::Running;
use crate::report::{self, MB, MIB};

/// Of the small uploads.
const SMALL_BYTES: u64 = 100 << 10;

/// Cancels of one round.
const CANCELS: u64 = 100;

const EXPORT: &str = "/api/projects/default/export";

const START: &str = r#"{"options":{}}"#;

/// How often a status is asked for.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// One large upload, and the same with many small ones: copied into one file, and exported.
pub(crate) fn archived(name: &str, small: u64, large: u64, options: &Options) -> io::Result<()> {
    let setups = [("the large one", 0), ("with the small ones", small)];
    for (setup, small) in setups {
        let [mut rate, mut share, mut grown] = [const { Vec::new() }; 3];
        for round in 0..options.rounds {
            let server = start_server(DURABLE, options)?;
            let blobs = uploads(&server, small, large)?;
            let copy = server.dir().join("copy");
            // In turns, since the first one reads what may not be in memory yet.
            let is_copied_first = round.is_multiple_of(2);
            let before = is_copied_first.then(|| copy_all(&blobs, &copy));
            let exported = export(&server)?;
            let copied = match before {
                Some(copied) => copied?,
                None => copy_all(&blobs, &copy)?,
            };
            rate.push(copied.bytes / exported.seconds / MB);
            share.push(copied.seconds / exported.seconds);
            grown.push(exported.grown_bytes as f64 / MIB);
        }
        let columns = [
            column("MB/s", 0, rate),
            column("times the rate of a copy", 2, share),
            column("MiB more at the peak", 1, grown),
        ];
        report::print(name, setup, &columns);
    }
    Ok(())
}

/// A large upload whose export is cancelled at one moment after the other: from the call until the last
/// byte of the archive is written, until the call is answered, and until nothing of the archive is left.
pub(crate) fn cancelled(name: &str, large: u64, options: &Options) -> io::Result<()> {
    let [mut written, mut middle, mut late, mut gone] = [const { Vec::new() }; 4];
    for _ in 0..options.rounds {
        // What is completed before it is cancelled must not fill the disk.
        let server = start_server(&format!("{DURABLE} --archive-keep 1s"), options)?;
        uploads(&server, 0, large)?;
        let mut user = Connection::open(&server.address)?;
        let begun = now();
        let job = start(&mut user)?;
        settle(&mut user, &job, "completed")?;
        // The moments are all over an export's life.
        let step = begun.elapsed() / u32::try_from(CANCELS + 1).map_err(io::Error::other)?;
        let [mut writes, mut answers, mut ends] = [const { Vec::new() }; 3];
        for at in 1..=CANCELS {
            let job = start(&mut user)?;
            pause(step * u32::try_from(at).map_err(io::Error::other)?);
            let archive = server.dir().join("archives").join(&job[..2]).join(&job);
            let watched = thread::spawn(move || last_write(&archive));
            let called = now();
            let answer = user.call("POST", &format!("{EXPORT}/{job}/cancel"), "{}")?;
            let answered = called.elapsed();
            if answer.contains("already_completed") {
                // The one who watches ends with this process.
                continue;
            }
            answers.push(answered);
            settle(&mut user, &job, "cancelled")?;
            ends.push(called.elapsed());
            let watched = watched
                .join()
                .map_err(|_| io::Error::other("a watch panicked"))?;
            writes.extend(watched.map(|at| at.saturating_duration_since(called)));
        }
        written.push(report::place(&mut writes, 0.99));
        middle.push(report::place(&mut answers, 0.5));
        late.push(report::place(&mut answers, 0.99));
        gone.push(report::place(&mut ends, 0.99));
    }
    let columns = [
        column("ms to the last byte written, for 99 %", 1, written),
        column("ms until answered, median", 1, middle),
        column("ms for 99 %", 1, late),
        column("ms until nothing is left, for 99 %", 1, gone),
    ];
    report::print(name, DURABLE, &columns);
    Ok(())
}

/// Makes uploads, and returns their files.
fn uploads(server: &Running, small: u64, large: u64) -> io::Result<Vec<PathBuf>> {
    let (address, block) = (&server.address, client::block());
    let upload = |connection: &mut Connection, bytes| {
        let path = connection.create(bytes)?;
        connection.append(&path, bytes, &block)
    };
    upload(&mut Connection::open(address)?, large)?;
    client::together((0..CONNECTIONS).map(|at| {
        let upload = &upload;
        move || {
            let mut connection = Connection::open(address)?;
            let share = (small + CONNECTIONS - 1 - at) / CONNECTIONS;
            (0..share).try_for_each(|_| upload(&mut connection, SMALL_BYTES))
        }
    }))?;
    let mut blobs = Vec::new();
    for shard in fs::read_dir(server.dir().join("blobs"))? {
        let shard = shard?.path();
        if shard.is_dir() {
            for blob in fs::read_dir(shard)? {
                blobs.push(blob?.path());
            }
        }
    }
    Ok(blobs)
}

struct Copied {
    bytes: f64,
    seconds: f64,
}

/// Copies files into one, one behind the other, and makes that durable.
fn copy_all(files: &[PathBuf], copy: &Path) -> io::Result<Copied> {
    let begun = now();
    let mut to = File::create(copy)?;
    let mut bytes = 0;
    for file in files {
        bytes += io::copy(&mut File::open(file)?, &mut to)?;
    }
    to.sync_all()?;
    let seconds = begun.elapsed().as_secs_f64();
    fs::remove_file(copy)?;
    Ok(Copied {
        bytes: bytes as f64,
        seconds,
    })
}

struct Exported {
    seconds: f64,
    /// How much more memory it has taken.
    grown_bytes: u64,
}

fn export(server: &Running) -> io::Result<Exported> {
    let mut user = Connection::open(&server.address)?;
    let before = server.process.memory()?;
    server.process.forget_peak()?;
    let begun = now();
    let job = start(&mut user)?;
    settle(&mut user, &job, "completed")?;
    Ok(Exported {
        seconds: begun.elapsed().as_secs_f64(),
        grown_bytes: server.process.memory_peak()?.saturating_sub(before),
    })
}

/// When a file that is removed soon was last seen to grow. `None`: it is not there, or stays.
fn last_write(file: &Path) -> Option<Instant> {
    let (mut bytes, mut last) = (0, None);
    while let Ok(found) = fs::metadata(file) {
        if found.len() > bytes {
            (bytes, last) = (found.len(), Some(now()));
        }
        pause(ASK_EVERY);
    }
    last
}

fn start(user: &mut Connection) -> io::Result<String> {
    let answer = user.call("POST", EXPORT, START)?;
    let job = report::values(&answer, "jobId").next();
    job.ok_or_else(|| io::Error::other(answer))
}

/// Waits until an export has come to an end, which is to be this one.
fn settle(user: &mut Connection, job: &str, wanted: &str) -> io::Result<()> {
    loop {
        let status = user.call("GET", &format!("{EXPORT}/{job}/status"), "")?;
        let state = report::values(&status, "state").next();
        match state.as_deref() {
            Some(state) if state == wanted => return Ok(()),
            Some("queued" | "processing" | "cancelling") => pause(ASK_EVERY),
            _ => return Err(io::Error::other(status)),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this thread has nothing else to do, and the moment is what is measured"
)]
fn pause(time: Duration) {
    thread::sleep(time);
}
