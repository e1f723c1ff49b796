//! The server under test: the real binary as a child process on a data directory of its own.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::wire::{Answer, Conn, Req};
use super::{PATIENCE, eventually, within};

/// Round trips after which bytes that had reached the server's sockets have been read by it.
const QUIESCING_ROUND_TRIPS: usize = 20;

/// A running server. Dropping it kills the process, by its pid, and removes the data directory.
pub(crate) struct Server {
    process: Process,
    addr: SocketAddr,
    data_dir: PathBuf,
    /// Set when the directory is the server's own. A field after `process`, so that the process has
    /// ended before its files go.
    _temp: Option<TempDir>,
}

impl Server {
    /// Starts `tidegate serve` on a free port and a fresh data directory.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let temp = temp_dir();
        let mut server = Self::start_in(temp.path(), flags).await;
        server._temp = Some(temp);
        server
    }

    /// Starts it on a data directory that belongs to the caller.
    pub(crate) async fn start_in(data_dir: &Path, flags: &[&str]) -> Self {
        Self::start_with(data_dir, flags, &[]).await
    }

    /// Starts it so, with these variables in its environment.
    pub(crate) async fn start_with(
        data_dir: &Path,
        flags: &[&str],
        variables: &[(&str, &Path)],
    ) -> Self {
        let mut command = serve(data_dir, flags);
        command.envs(variables.iter().copied());
        let mut process = Process::spawn(command);
        let addr = process.listening().await;
        Self {
            process,
            addr,
            data_dir: data_dir.to_owned(),
            _temp: None,
        }
    }

    /// Starts it again on the same data directory; the old process must have ended.
    pub(crate) async fn restart(&mut self, flags: &[&str]) {
        assert!(
            self.process.exit_status().is_some(),
            "restart of a running server"
        );
        let mut process = Process::spawn(serve(&self.data_dir, flags));
        self.addr = process.listening().await;
        self.process = process;
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Ends the process the way a crash does, and waits until it is gone.
    pub(crate) async fn kill9(&self) {
        self.process.signal(Signal::KILL);
        self.exited_within(PATIENCE).await;
    }

    /// Asks the process to shut down, and does not wait.
    pub(crate) fn sigterm(&self) {
        self.process.signal(Signal::TERM);
    }

    pub(crate) fn sighup(&self) {
        self.process.signal(Signal::HUP);
    }

    /// Stops the process until [`Self::sigcont`]; what is sent to it meanwhile waits in the kernel.
    pub(crate) fn sigstop(&self) {
        self.process.signal(Signal::STOP);
    }

    pub(crate) fn sigcont(&self) {
        self.process.signal(Signal::CONT);
    }

    /// What Ctrl-C on a terminal does.
    pub(crate) fn sigint(&self) {
        self.process.signal(Signal::INT);
    }

    /// As `ulimit -f` in the shell that starts the process, but from now on.
    pub(crate) fn limit_file_size(&self, bytes: u64) {
        let limit = Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        prlimit(Some(self.process.pid()), Resource::Fsize, limit).expect("limit file sizes");
    }

    /// How many files and sockets the process has open.
    pub(crate) fn descriptors(&self) -> usize {
        let pid = self.process.pid().as_raw_nonzero();
        let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
        open.expect("the server's descriptors").count()
    }

    /// The same without those of its database, which opens readers as it needs them.
    pub(crate) fn descriptors_beside_database(&self) -> usize {
        let pid = self.process.pid().as_raw_nonzero();
        let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
        let open = open.expect("the server's descriptors").flatten();
        let targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let is_other = |target: &PathBuf| !target.to_string_lossy().contains("tidegate.db");
        targets.filter(is_other).count()
    }

    /// Memory of the process that is in use, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let pid = self.process.pid().as_raw_nonzero();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        let status = status.expect("the server's status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib = kib.and_then(|kib| kib.parse::<u64>().ok());
        kib.expect("VmRSS in kB") * 1024
    }

    /// Waits for the end of the process.
    pub(crate) async fn exited_within(&self, limit: Duration) -> ExitStatus {
        within(limit, "the process ends", async || {
            self.process.exit_status()
        })
        .await
    }

    /// Everything written to standard output until now.
    pub(crate) fn stdout(&self) -> String {
        self.process.stdout()
    }

    /// Everything logged until now.
    pub(crate) fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Conn {
        Conn::open(self.addr).await
    }

    /// Sends one request on a connection of its own and reads the answer.
    pub(crate) async fn send(&self, req: Req) -> Answer {
        self.connect().await.exchange(&req).await
    }

    /// Sends one request, where the server may be killed meanwhile.
    pub(crate) async fn try_send(&self, req: Req) -> std::io::Result<Answer> {
        Conn::try_open(self.addr).await?.try_exchange(&req).await
    }

    /// Returns when the server has read what had reached its sockets before the call.
    ///
    /// A round trip shows that the server has looked at its sockets since. A few more let the bytes
    /// pass from the connection to the upload's own task.
    pub(crate) async fn quiesce(&self) {
        for _ in 0..QUIESCING_ROUND_TRIPS {
            self.send(Req::new("GET", "/healthz")).await.expect(200);
        }
    }
}

/// What a command that runs to its end has left.
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Both streams together: some findings are answers, others are diagnostics.
    pub(crate) fn text(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\nstdout: {}\nstderr: {}",
            self.status, self.stdout, self.stderr
        )
    }
}

/// Runs the binary with exactly these arguments until it ends.
pub(crate) async fn run(arguments: &[&str]) -> Outcome {
    let mut command = program();
    command.args(arguments);
    finish(Process::spawn(command)).await
}

/// Runs a server that is expected to refuse its data directory or its flags.
pub(crate) async fn run_server(data_dir: &Path, flags: &[&str]) -> Outcome {
    finish(Process::spawn(serve(data_dir, flags))).await
}

pub(crate) fn temp_dir() -> TempDir {
    tempfile::Builder::new()
        .prefix("tidegate-it-")
        .tempdir()
        .expect("a temporary directory")
}

/// Waits for the end of a command.
pub(crate) async fn finish(mut process: Process) -> Outcome {
    let status = eventually("the command ends", async || process.exit_status()).await;
    process.join_readers();
    Outcome {
        status,
        stdout: read_log(&process.stdout),
        stderr: read_log(&process.stderr),
    }
}

fn serve(data_dir: &Path, flags: &[&str]) -> Command {
    let mut command = program();
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data_dir)
        .args(flags);
    command
}

/// The binary, without settings that the developer's own environment may hold for it.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDEGATE_") {
            command.env_remove(name);
        }
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A child process and what it has written.
pub(crate) struct Process {
    /// Locked only for the length of one system call.
    child: Mutex<Child>,
    first_line: mpsc::UnboundedReceiver<String>,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (first, first_line) = mpsc::unbounded_channel();
        let (stdout, stderr) = (Arc::default(), Arc::default());
        let out = child.stdout.take().expect("standard output is piped");
        let err = child.stderr.take().expect("standard error is piped");
        let readers = vec![
            collect(out, Arc::clone(&stdout), Some(first)),
            collect(err, Arc::clone(&stderr), None),
        ];
        Self {
            child: Mutex::new(child),
            first_line,
            stdout,
            stderr,
            readers,
        }
    }

    /// Waits for the one line that says where the server listens.
    async fn listening(&mut self) -> SocketAddr {
        const PREFIXES: [&str; 2] = [
            "tidegate listening on http://",
            "tidegate listening on https://",
        ];
        let line = timeout(PATIENCE, self.first_line.recv()).await;
        let Ok(Some(line)) = line else {
            let status = self.exit_status();
            panic!("no server within {PATIENCE:?}, exit status {status:?}");
        };
        let address = PREFIXES.iter().find_map(|prefix| line.strip_prefix(prefix));
        address
            .and_then(|addr| addr.parse().ok())
            .unwrap_or_else(|| panic!("standard output began with {line:?}"))
    }

    /// Signals the process, unless it has ended: once waited for, its pid may be somebody else's.
    pub(crate) fn signal(&self, signal: Signal) {
        let mut child = self.child();
        if child.try_wait().expect("wait for the server").is_some() {
            return;
        }
        rustix::process::kill_process(pid_of(&child), signal).expect("signal the server");
    }

    fn pid(&self) -> Pid {
        pid_of(&self.child())
    }

    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("wait for the server")
    }

    /// Everything written to standard output until now.
    pub(crate) fn stdout(&self) -> String {
        read_log(&self.stdout)
    }

    /// Everything written to standard error until now.
    pub(crate) fn stderr(&self) -> String {
        read_log(&self.stderr)
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            // A reader has nothing to panic about, and a second panic in `drop` would abort.
            drop(reader.join());
        }
    }
}

impl Drop for Process {
    /// # Panics
    ///
    /// When something in the server panicked, though the test itself saw nothing wrong.
    fn drop(&mut self) {
        let mut child = self.child();
        // Both fail only if the process has ended already, which is what they are for.
        drop(child.kill());
        drop(child.wait());
        let pid = child.id();
        drop(child);
        self.join_readers();
        let stderr = read_log(&self.stderr);
        let panicked = stderr.contains("panicked at");
        let failing = std::thread::panicking();
        if panicked || failing {
            eprintln!("--- standard error of server {pid}\n{stderr}---");
        }
        assert!(failing || !panicked, "server {pid} panicked");
    }
}

/// Keeps reading a stream of the child, so that it never blocks on a full pipe.
fn collect(
    stream: impl Read + Send + 'static,
    log: Arc<Mutex<String>>,
    lines: Option<mpsc::UnboundedSender<String>>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            writeln!(log, "{line}").expect("a String takes every line");
            drop(log);
            if let Some(lines) = &lines {
                // Nobody listens any more once the server runs.
                drop(lines.send(line));
            }
        }
    })
}

fn read_log(log: &Mutex<String>) -> String {
    log.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Every regular file below a directory, as far as it can be read.
pub(crate) fn files_in(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(directory) else {
            continue;
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files
}

fn pid_of(child: &Child) -> Pid {
    let pid = i32::try_from(child.id()).expect("a pid is a positive i32");
    Pid::from_raw(pid).expect("a pid is not zero")
}
