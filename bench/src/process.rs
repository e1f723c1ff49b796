//! A server or a loop as a process, and what it uses.

use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::param::clock_ticks_per_second;
use tempfile::TempDir;

/// A program that listens, with a directory for what it stores. Both end with this value.
pub(crate) struct Running {
    child: Child,
    pub(crate) process: Process,
    /// HOST:PORT
    pub(crate) address: String,
    /// Removed after the child has been ended, since fields are dropped after `drop`.
    dir: TempDir,
}

impl Running {
    /// Starts a program and waits for the line that ends with its address.
    pub(crate) fn start(mut command: Command, dir: TempDir) -> io::Result<Self> {
        let program = command.get_program().display().to_string();
        let failed = |what: &str| io::Error::other(format!("{program}: {what}"));
        let mut child = command
            // A setting of the server in the environment would change what is measured.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error.to_string()))?;
        let stdout = child.stdout.take();
        let mut running = Self {
            process: Process(child.id()),
            child,
            address: String::new(),
            dir,
        };
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.split_whitespace().next_back();
        let address = address.ok_or_else(|| failed("ended before it listened"))?;
        running.address = address.trim_start_matches("http://").to_owned();
        Ok(running)
    }

    /// Where it stores things.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its data is removed next, so it has nothing to finish. Neither call fails for a child
        // that has not been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process by its id.
#[derive(Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// CPU seconds so far. The kernel counts them here in ticks of 10 ms, but for all threads, also
    /// for those that have ended, which the finer count in `task/*/schedstat` loses.
    pub(crate) fn cpu_seconds(self) -> io::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        let ticks = cpu_ticks(&stat).ok_or_else(|| io::Error::other("no times in `stat`"))?;
        Ok(ticks as f64 / clock_ticks_per_second() as f64)
    }

    /// The most memory it has had, in bytes.
    pub(crate) fn memory_peak(self) -> io::Result<u64> {
        self.status("VmHWM").map(|kib| kib * 1024)
    }

    /// Measures the most memory from now on.
    pub(crate) fn forget_peak(self) -> io::Result<()> {
        // See proc(5).
        fs::write(format!("/proc/{}/clear_refs", self.0), "5")
    }

    /// The memory that it has, in bytes.
    pub(crate) fn memory(self) -> io::Result<u64> {
        self.status("VmRSS").map(|kib| kib * 1024)
    }

    pub(crate) fn threads(self) -> io::Result<u64> {
        self.status("Threads")
    }

    fn status(self, name: &str) -> io::Result<u64> {
        number_in(&format!("/proc/{}/status", self.0), name)
    }
}

/// What can be allocated without swapping, in bytes.
pub(crate) fn memory_available() -> io::Result<u64> {
    number_in("/proc/meminfo", "MemAvailable").map(|kib| kib * 1024)
}

/// Takes this much memory and gives it back.
pub(crate) fn touch_memory(bytes: u64) -> io::Result<()> {
    let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
    black_box(vec![1_u8; bytes]);
    Ok(())
}

fn number_in(path: &str, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    number(&text, name).ok_or_else(|| io::Error::other(format!("no `{name}` in {path}")))
}

/// The number of a line `NAME: NUMBER`, with or without a unit.
fn number(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(other, _)| *other == name)?;
    value.split_whitespace().next()?.parse().ok()
}

/// User and system time: the fields 14 and 15, see proc(5). The second, a name in parentheses, can
/// hold blanks and parentheses itself.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, from_third) = stat.rsplit_once(')')?;
    let mut times = from_third.split_whitespace().skip(14 - 3);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 95 0 0 0 20 22 0 0 20 0 1 0 5 3 1";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn a_number_has_the_whole_name() {
        let text = "VmHWMx:\t1 kB\nVmHWM:\t  24 kB\nThreads:\t13\n";
        assert_eq!(number(text, "VmHWM"), Some(24));
        assert_eq!(number(text, "Threads"), Some(13));
        assert_eq!(number(text, "Vm"), None);
    }
}
