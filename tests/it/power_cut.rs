//! A power cut on a real file system, a restart, and a comparison of every byte.
//!
//! The data directory is on an ext4 or XFS image of the test's own. At a random moment the kernel
//! is told to drop everything that has not been synced; the server is killed, the file system
//! mounted anew, which replays its journal, and the server started on what is left.
//!
//! Only what clients were told before the cut is binding: a sync that races the cut may return
//! success although it was dropped. So the clients are not polled any more once the moment has
//! come, and only then is the power cut.
//!
//! The limits of this: whole file systems are cut, not the caches of a disk. That the rig can find
//! a loss at all is shown by the same thing with `--durability process-crash`, which syncs nothing.
//!
//! Where the machine permits no such mounts, the tests say so and check nothing.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use tempfile::{TempDir, TempPath};
use tokio::time::timeout;

use crate::support::server::{self, Server, temp_dir};
use crate::support::tus::{self, Upload, etag};
use crate::support::wire::{Answer, Req};
use crate::support::{content, eventually, from_env, random, say_loudly};

/// Small checkpoints, so that cuts fall between them.
const FLAGS: [&str; 4] = [
    "--checkpoint-bytes",
    "256Ki",
    "--checkpoint-interval",
    "50ms",
];

const CLIENTS: usize = 6;

/// How long the clients work before the cut.
const MOMENT_MS: std::ops::Range<u64> = 3..500;

/// Cuts of the control. Each of them loses something, unless the rig is broken.
const CONTROL_CUTS: u64 = 2;

#[tokio::test]
async fn a_power_cut_on_ext4_loses_nothing_acknowledged() {
    cut_again_and_again("ext4").await;
}

#[tokio::test]
async fn a_power_cut_on_xfs_loses_nothing_acknowledged() {
    cut_again_and_again("xfs").await;
}

#[tokio::test]
async fn a_power_cut_without_syncs_does_lose_something() {
    let mut random = random("a_power_cut_without_syncs_does_lose_something");
    let mut flags = FLAGS.to_vec();
    flags.extend(["--durability", "process-crash"]);
    let (mut acks, mut losses) = (0, Vec::new());
    for _ in 0..CONTROL_CUTS {
        let Some(mut disk) = Disk::make("ext4") else {
            return;
        };
        let mut server = Server::start_in(&disk.data_dir(), &flags).await;
        // What is lost is then what clients were told, and not the whole database.
        disk.sync();
        let work = work_until_the_cut(&server, &mut disk, Vec::new(), &mut random).await;
        acks += work.acks;
        match fsck(&disk).await {
            // Nothing is left that a server could be asked about.
            Err(reason) if !reason.contains("--repair mends") => losses.push(reason),
            Ok(()) | Err(_) => {
                server.restart(&flags).await;
                losses.extend(compare_all(&server, &work.ledger).await);
            }
        }
    }
    println!(
        "control: {acks} binding acknowledgements, {} uploads or databases lost",
        losses.len()
    );
    assert!(
        !losses.is_empty(),
        "the rig does not see what is not synced"
    );
}

/// Cuts the power of one file system many times over the life of one data directory.
async fn cut_again_and_again(kind: &'static str) {
    let Some(mut disk) = Disk::make(kind) else {
        return;
    };
    let mut random = random(&format!("power cut on {kind}"));
    let mut server = Server::start_in(&disk.data_dir(), &FLAGS).await;
    let mut ledger = Vec::new();
    let mut acks = 0;
    let cuts: u64 = from_env("TIDEGATE_TEST_CUTS").unwrap_or(6);
    for cut in 1..=cuts {
        let work = work_until_the_cut(&server, &mut disk, ledger, &mut random).await;
        acks += work.acks;
        // Not always: it opens the database before the server does.
        if random.bool() {
            fsck(&disk).await.expect("rows and blobs after a cut");
        }
        server.restart(&FLAGS).await;
        expect_tails_cut(&server).await;
        // Sometimes the next cut comes before anybody has looked.
        if cut < cuts && random.u8(..) < 64 {
            ledger = work.ledger;
            continue;
        }
        let losses = compare_all(&server, &work.ledger).await;
        assert!(
            losses.is_empty(),
            "lost by cut {cut}:\n{}",
            losses.join("\n")
        );
        ledger = move_on(&server, work.ledger, &mut random).await;
    }
    server.kill9().await;
    fsck(&disk).await.expect("rows and blobs in the end");
    println!("power cut on {kind}: {cuts} cuts, {acks} binding acknowledgements, nothing lost");
}

/// A server that has just started on a file system that was mounted anew must not take what is past
/// a committed offset for what was sent.
async fn expect_tails_cut(server: &Server) {
    eventually("the log says what becomes of tails", async || {
        let log = server.stderr();
        let said = log
            .lines()
            .find(|line| line.contains("past a committed offset"))?;
        assert!(said.contains("cut"), "after a power cut: {said}");
        Some(())
    })
    .await;
}

/// What was done before a cut.
struct Work {
    ledger: Vec<Record>,
    /// How many answers promised something.
    acks: u64,
}

/// Lets clients work for a random while, then cuts the power, kills the server and mounts what is
/// left. The server is not started again.
async fn work_until_the_cut(
    server: &Server,
    disk: &mut Disk,
    ledger: Vec<Record>,
    random: &mut fastrand::Rng,
) -> Work {
    let mut switch = Switch::on(disk.path());
    let desk = Desk {
        server,
        ledger: RefCell::new(ledger),
        acks: Cell::new(0),
    };
    let mut randoms: Vec<_> = (0..CLIENTS).map(|_| random.fork()).collect();
    {
        let clients = join_all(randoms.iter_mut().map(|random| desk.client(random)));
        let mut clients = std::pin::pin!(clients);
        let moment = Duration::from_millis(random.u64(MOMENT_MS));
        // The clients never end. Not polled any more, they keep their connections open and read
        // no answer.
        let ended = timeout(moment, &mut clients).await.is_ok();
        assert!(!ended, "the clients ended");
        switch.cut();
        // It goes on for a moment without its disk.
        let alive = Req::new("GET", "/healthz");
        server.send(alive).await.expect(200);
        server.kill9().await;
    }
    let work = Work {
        ledger: desk.ledger.into_inner(),
        acks: desk.acks.get(),
    };
    disk.remount().await;
    work
}

/// What a client knows of one upload.
struct Record {
    upload: Upload,
    source: Rc<[u8]>,
    kind: Kind,
    /// The highest offset that the server has told.
    acked: u64,
    /// The end of the furthest byte that may have been sent.
    sent: u64,
    /// Whether what is between the two is one piece with a checksum, to be taken whole or not.
    is_piece: bool,
    deletion: Deletion,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    Partial,
    /// Its entity tag comes later, from a digest made in the background.
    Final,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Deletion {
    None,
    Asked,
    /// From now on the answer is this status.
    Acked(u16),
}

impl Record {
    fn len(&self) -> u64 {
        self.source.len() as u64
    }

    fn from(&self, offset: u64) -> &[u8] {
        &self.source[usize::try_from(offset).expect("it fits into memory")..]
    }

    /// Holds the offset of a HEAD against what was told and sent before.
    fn check_offset(&self, offset: u64) -> Result<(), String> {
        let (acked, sent) = (self.acked, self.sent);
        let is_torn = self.is_piece && offset != acked && offset != sent;
        match offset {
            _ if offset < acked => Err(format!("offset {offset} after {acked} was acknowledged")),
            _ if offset > sent => Err(format!("offset {offset} of {sent} bytes sent")),
            _ if is_torn => Err(format!("offset {offset} inside of a piece {acked}..{sent}")),
            _ => Ok(()),
        }
    }

    fn check_content(&self, answer: &Answer) -> Result<(), String> {
        if answer.status != 200 {
            return Err(format!("GET: {}", answer.status));
        }
        if answer.body != self.source[..] {
            let pairs = answer.body.iter().zip(&self.source[..]);
            let common = pairs.take_while(|(found, wanted)| found == wanted).count();
            return Err(format!(
                "{} bytes, wrong from {common} on",
                answer.body.len()
            ));
        }
        match answer.header("ETag") {
            None if self.kind == Kind::Final => Ok(()),
            Some(tag) if tag == etag(&self.source) => Ok(()),
            tag => Err(format!("wrong entity tag {tag:?}")),
        }
    }

    /// Compares everything that was promised with what the server has, resuming the upload to its
    /// end.
    async fn compare(&self, server: &Server) -> Result<(), String> {
        let ask = async |req| server.try_send(req).await.map_err(|e| e.to_string());
        let head = ask(tus::head(&self.upload)).await?;
        match (self.deletion, head.status) {
            (Deletion::Acked(gone), status) if status == gone => return Ok(()),
            (Deletion::Acked(_), status) => return Err(format!("deleted, HEAD: {status}")),
            (Deletion::Asked, 404 | 410) => return Ok(()),
            (Deletion::None | Deletion::Asked, 200) => {}
            (_, status) => return Err(format!("{} acknowledged, HEAD: {status}", self.acked)),
        }
        let offset = head.offset().ok_or("HEAD without an offset")?;
        self.check_offset(offset)?;
        if offset < self.len() {
            let rest = tus::patch(&self.upload, offset).body(self.from(offset));
            let answer = ask(rest).await?;
            if answer.status != 204 {
                return Err(format!("resumed from {offset}: {}", answer.status));
            }
        }
        self.check_content(&ask(tus::get(&self.upload)).await?)
    }
}

/// Compares every record and says what was lost of which.
async fn compare_all(server: &Server, ledger: &[Record]) -> Vec<String> {
    let mut losses = Vec::new();
    for records in ledger.chunks(CLIENTS) {
        let compared = join_all(records.iter().map(|record| record.compare(server))).await;
        let compared = records.iter().zip(compared);
        losses.extend(compared.filter_map(|(record, compared)| {
            let loss = compared.err()?;
            Some(format!(
                "{} of {} bytes: {loss}",
                record.upload.path,
                record.len()
            ))
        }));
    }
    losses
}

/// After a comparison: forgets what is gone, and deletes some of the others. What is left has to
/// outlive further cuts.
async fn move_on(
    server: &Server,
    mut ledger: Vec<Record>,
    random: &mut fastrand::Rng,
) -> Vec<Record> {
    ledger.retain(|record| record.deletion == Deletion::None);
    for record in &mut ledger {
        (record.acked, record.sent, record.is_piece) = (record.len(), record.len(), false);
    }
    let desk = Desk {
        server,
        ledger: RefCell::new(ledger),
        acks: Cell::new(0),
    };
    let known = desk.ledger.borrow().len();
    for at in (0..known).filter(|_| random.bool()) {
        desk.delete(at).await;
    }
    desk.ledger.into_inner()
}

/// Runs `tidegate fsck` on a data directory that no server has. An error is what it found, or why
/// it could not look.
async fn fsck(disk: &Disk) -> Result<(), String> {
    let data_dir = disk.data_dir();
    let data_dir = data_dir
        .to_str()
        .expect("a temporary directory is plain ASCII");
    let outcome = server::run(&["fsck", "--data-dir", data_dir]).await;
    match outcome.status.success() {
        true => Ok(()),
        false => Err(outcome.text()),
    }
}

/// Where the clients of one server write down what they are told.
struct Desk<'a> {
    server: &'a Server,
    ledger: RefCell<Vec<Record>>,
    acks: Cell<u64>,
}

impl Desk<'_> {
    /// Works for ever.
    async fn client(&self, random: &mut fastrand::Rng) {
        loop {
            match random.u8(0..10) {
                0..=2 => self.in_pieces(random, 200_000, 30_000).await,
                3..=4 => self.in_pieces(random, 4 << 20, 1 << 20).await,
                5 => self.in_one_request(random).await,
                6..=7 => self.in_a_long_patch(random).await,
                _ => self.concatenated(random).await,
            }
        }
    }

    /// An upload in appends of that size, some with a checksum; some are deleted on the way or in
    /// the end.
    async fn in_pieces(&self, random: &mut fastrand::Rng, len_max: usize, piece_max: usize) {
        let source = source(random, 1..len_max);
        let at = self.create(&source, Kind::Whole).await;
        let doomed_at = random.usize(0..2 * source.len()) as u64;
        while self.acked(at) < source.len() as u64 {
            self.append(at, random.usize(1..=piece_max), random).await;
            if self.acked(at) > doomed_at {
                return self.delete(at).await;
            }
        }
    }

    async fn in_one_request(&self, random: &mut fastrand::Rng) {
        let source = source(random, 1..100_000);
        let create = tus::create_with_data(source.len() as u64).body(&source[..]);
        let answer = self.server.send(create).await.expect(201);
        let answer = answer.expect_offset(source.len() as u64);
        let at = self.note(Upload::created(&answer), &source, Kind::Whole);
        self.tell(at, source.len() as u64);
    }

    /// One request over many checkpoints, of which somebody else is told; some are cancelled.
    async fn in_a_long_patch(&self, random: &mut fastrand::Rng) {
        let source = source(random, 1 << 20..12 << 20);
        let at = self.create(&source, Kind::Whole).await;
        let upload = self.upload(at);
        let mut conn = self.server.connect().await;
        self.change(at, |record| record.sent = record.len());
        let patch = tus::patch(&upload, 0).declare(source.len() as u64);
        conn.send_head(&patch).await;
        let doomed_at = random.usize(0..4 * source.len());
        let mut sent = 0;
        for piece in source.chunks(128 << 10) {
            if (sent..sent + piece.len()).contains(&doomed_at) {
                return self.delete(at).await;
            }
            conn.send(piece).await;
            sent += piece.len();
            // Unlike a HEAD this does not wait for the PATCH.
            let look = Req::new("GET", &format!("/api/uploads/{}", upload.id()));
            let seen = self.server.send(look).await.expect(200).json();
            let offset = seen["data"]["offset"].as_u64();
            self.tell(at, offset.unwrap_or_else(|| panic!("no offset in {seen}")));
        }
        let answer = conn.answer().await.expect(204);
        answer.expect_offset(source.len() as u64);
        self.tell(at, source.len() as u64);
    }

    /// A final upload, whose parts may be deleted without harm to it.
    async fn concatenated(&self, random: &mut fastrand::Rng) {
        let mut parts = Vec::new();
        let mut whole = Vec::new();
        for _ in 0..random.usize(1..=3) {
            let source = source(random, 1..300_000);
            let at = self.create(&source, Kind::Partial).await;
            while self.acked(at) < source.len() as u64 {
                self.append(at, random.usize(1..=source.len()), random)
                    .await;
            }
            whole.extend_from_slice(&source);
            parts.push(at);
        }
        let uploads: Vec<_> = parts.iter().map(|at| self.upload(*at)).collect();
        let paths: Vec<_> = uploads.iter().map(|upload| upload.path.as_str()).collect();
        let answer = self.server.send(tus::create_final(&paths)).await;
        let upload = Upload::created(&answer.expect(201));
        let at = self.note(upload, &whole.into(), Kind::Final);
        let len = self.ledger.borrow()[at].len();
        self.change(at, |record| record.sent = len);
        self.tell(at, len);
        for part in parts.into_iter().filter(|_| random.u8(..) < 64) {
            self.delete(part).await;
        }
    }

    async fn create(&self, source: &Rc<[u8]>, kind: Kind) -> usize {
        let length = source.len() as u64;
        let create = match kind {
            Kind::Partial => tus::create_partial(length),
            Kind::Whole | Kind::Final => tus::create(length),
        };
        let answer = self.server.send(create).await.expect(201);
        let at = self.note(Upload::created(&answer), source, kind);
        self.tell(at, 0);
        at
    }

    /// Appends a piece of that size or what is left, with or without a checksum.
    async fn append(&self, at: usize, piece: usize, random: &mut fastrand::Rng) {
        let (patch, end) = {
            let record = &mut self.ledger.borrow_mut()[at];
            let rest = record.from(record.acked);
            let piece = &rest[..piece.min(rest.len())];
            let mut patch = tus::patch(&record.upload, record.acked).body(piece);
            let is_piece = random.bool();
            if is_piece {
                let algorithm = random.choice(tus::ALGORITHMS).expect("there are some");
                patch = patch.header("Upload-Checksum", tus::checksum(algorithm, piece));
            }
            record.sent = record.acked + piece.len() as u64;
            record.is_piece = is_piece;
            (patch, record.sent)
        };
        let answer = self.server.send(patch).await.expect(204);
        answer.expect_offset(end);
        self.tell(at, end);
    }

    async fn delete(&self, at: usize) {
        let upload = self.upload(at);
        // A cancelled upload leaves a tombstone, a complete one nothing.
        let is_complete = self.acked(at) == self.ledger.borrow()[at].len();
        let gone = if is_complete { 404 } else { 410 };
        self.change(at, |record| record.deletion = Deletion::Asked);
        self.server.send(tus::delete(&upload)).await.expect(204);
        self.change(at, |record| record.deletion = Deletion::Acked(gone));
        self.acks.update(|acks| acks + 1);
    }

    /// Enters a new upload.
    fn note(&self, upload: Upload, source: &Rc<[u8]>, kind: Kind) -> usize {
        let mut ledger = self.ledger.borrow_mut();
        ledger.push(Record {
            upload,
            source: Rc::clone(source),
            kind,
            acked: 0,
            sent: 0,
            is_piece: false,
            deletion: Deletion::None,
        });
        ledger.len() - 1
    }

    /// Enters an offset that the server has told.
    fn tell(&self, at: usize, offset: u64) {
        self.change(at, |record| {
            assert!(offset >= record.acked, "{offset} after {}", record.acked);
            record.acked = offset;
            record.sent = record.sent.max(offset);
        });
        self.acks.update(|acks| acks + 1);
    }

    fn change(&self, at: usize, change: impl FnOnce(&mut Record)) {
        change(&mut self.ledger.borrow_mut()[at]);
    }

    fn acked(&self, at: usize) -> u64 {
        self.ledger.borrow()[at].acked
    }

    fn upload(&self, at: usize) -> Upload {
        self.ledger.borrow()[at].upload.clone()
    }
}

fn source(random: &mut fastrand::Rng, len: std::ops::Range<usize>) -> Rc<[u8]> {
    content(random.u64(..), random.usize(len)).into()
}

/// A file system in an image in memory. Unmounted and removed when dropped; declare it before the
/// server that lives on it.
pub(crate) struct Disk {
    // Unmounted before they go.
    mount_point: TempDir,
    image: TempPath,
}

impl Disk {
    /// XFS takes no less than 300 MB. Only what is written takes memory.
    const BYTES: u64 = 1 << 30;

    fn make(kind: &'static str) -> Option<Self> {
        match Self::try_make(kind) {
            Ok(disk) => Some(disk),
            Err(reason) => {
                say_loudly(&format!(
                    "POWER CUT NOT TESTED: no {kind} image can be mounted: {reason}"
                ));
                None
            }
        }
    }

    pub(crate) fn try_make(kind: &str) -> Result<Self, String> {
        let image = tempfile::Builder::new()
            .prefix("tidegate-it-")
            .suffix(".img")
            .tempfile_in("/dev/shm")
            .map_err(|e| format!("/dev/shm: {e}"))?;
        image
            .as_file()
            .set_len(Self::BYTES)
            .map_err(|e| e.to_string())?;
        let image = image.into_temp_path();
        run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image))?;
        let mount_point = temp_dir();
        mount(&image, mount_point.path())?;
        Ok(Self { mount_point, image })
    }

    pub(crate) fn path(&self) -> &Path {
        self.mount_point.path()
    }

    fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    fn sync(&self) {
        let directory = std::fs::File::open(self.path()).expect("open the mount point");
        rustix::fs::syncfs(directory).expect("sync the file system");
    }

    /// Forgets what only the kernel still knows, and replays the journal.
    async fn remount(&mut self) {
        eventually(
            "nothing uses the file system any more",
            async || match rustix::mount::unmount(self.path(), UnmountFlags::empty()) {
                Ok(()) => Some(()),
                Err(Errno::BUSY) => None,
                Err(e) => panic!("unmount {}: {e}", self.path().display()),
            },
        )
        .await;
        mount(&self.image, self.path()).expect("mount it again");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(e) = rustix::mount::unmount(self.path(), UnmountFlags::DETACH) {
            eprintln!("unmount {}: {e}", self.path().display());
        }
    }
}

fn mount(image: &Path, mount_point: &Path) -> Result<(), String> {
    let options = "loop,noatime,nosuid,nodev";
    run(Command::new("mount")
        .args(["-o", options])
        .arg(image)
        .arg(mount_point))
}

/// Runs a tool of the system, which for some users is not on the path.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// The program that cuts the power, waiting for its moment. Killed, by its pid, when dropped.
struct Switch {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Switch {
    fn on(directory: &Path) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/power_cut.py");
        let mut command = Command::new("python3");
        command.arg(program).arg(directory);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let lines = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut switch = Self { child, lines };
        switch.expect_line("ready");
        switch
    }

    fn cut(&mut self) {
        let input = self.child.stdin.as_mut().expect("standard input is piped");
        input.write_all(b"\n").expect("tell the switch");
        self.expect_line("cut");
    }

    fn expect_line(&mut self, wanted: &str) {
        let mut line = String::new();
        self.lines
            .read_line(&mut line)
            .expect("read what the switch says");
        assert_eq!(line.trim_end(), wanted, "what the switch says");
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        // Both fail only if the process has ended already, which is what they are for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
