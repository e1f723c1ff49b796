//! Database and store belong to each other, and to one server at a time.

use std::path::{Path, PathBuf};

use rustix::mount::{MountPropagationFlags, UnmountFlags};

use crate::support::server::{Server, files_in, run, run_server, temp_dir};
use crate::support::tus::{self, Upload};
use crate::support::{content, say_loudly};

/// A server that has ended, with half an upload and a whole one.
struct Ended {
    server: Server,
    half: Upload,
    whole: Upload,
}

impl Ended {
    async fn new() -> Self {
        let server = Server::start(&[]).await;
        let half = server.create(10).await;
        server.append(&half, 0, b"hello").await;
        let whole = server.complete(b"hello").await;
        server.kill9().await;
        Self {
            server,
            half,
            whole,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.server.data_dir().join(name)
    }

    /// As if nothing had happened.
    async fn goes_on(&mut self) {
        self.server.restart(&[]).await;
        self.server.append(&self.half, 5, b"world").await;
        assert_eq!(self.server.download(&self.half).await, b"helloworld");
        assert_eq!(self.server.download(&self.whole).await, b"hello");
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Copies `blobs/`, with everything in it.
fn copy_store(from: &Path, to: &Path) {
    for file in files_in(&from.join("blobs")) {
        let copy = to.join(file.strip_prefix(from).expect("it is below"));
        std::fs::create_dir_all(copy.parent().expect("it is below")).expect("make a directory");
        std::fs::copy(&file, copy).expect("copy a file");
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_database_is_refused_and_does_no_harm() {
    let server = Server::start(&[]).await;
    let upload = server.create(10).await;
    server.append(&upload, 0, b"hello").await;
    let database = format!("sqlite:{}", text(&server.data_dir().join("tidegate.db")));
    let own = temp_dir();
    // With a store of its own, with a copy of the first one's, and with the first one's itself.
    let copy = temp_dir();
    copy_store(server.data_dir(), copy.path());
    for store in [own.path(), copy.path(), server.data_dir()] {
        let store = format!("file:{}", text(store));
        let flags = ["--database", &database, "--store", &store];
        let refused = run_server(own.path(), &flags).await;
        assert!(!refused.status.success(), "{refused}");
        assert_eq!(refused.stdout, "", "{refused}");
        assert!(
            refused.stderr.contains("in use by another tidegate"),
            "{refused}"
        );
    }
    // The same store alone.
    let store = format!("file:{}", text(server.data_dir()));
    let refused = run_server(own.path(), &["--store", &store]).await;
    assert!(!refused.status.success(), "{refused}");
    assert!(
        refused.stderr.contains("in use by another tidegate"),
        "{refused}"
    );
    server.append(&upload, 5, b"world").await;
    assert_eq!(server.download(&upload).await, b"helloworld");
}

/// A file system that is not mounted is an empty directory.
#[tokio::test]
async fn a_store_that_is_away_is_not_taken_for_an_empty_one() {
    let mut ended = Ended::new().await;
    let (blobs, away) = (ended.path("blobs"), ended.path("away"));
    std::fs::rename(&blobs, &away).expect("take the store away");
    for _ in 0..2 {
        let refused = run_server(ended.server.data_dir(), &[]).await;
        assert!(!refused.status.success(), "{refused}");
        assert!(
            refused.stderr.contains("is its file system mounted"),
            "{refused}"
        );
        let dir = text(ended.server.data_dir());
        let refused = run(&["fsck", "--repair", "--data-dir", &dir]).await;
        assert!(!refused.status.success(), "{refused}");
    }
    assert!(!blobs.exists(), "nothing was made in its place");
    std::fs::rename(&away, &blobs).expect("bring the store back");
    ended.goes_on().await;
}

#[tokio::test]
async fn a_database_of_another_store_is_refused() {
    let (mut ended, other) = (Ended::new().await, Ended::new().await);
    let database = format!("sqlite:{}", text(&other.path("tidegate.db")));
    let dir = text(ended.server.data_dir());
    let refused = run_server(ended.server.data_dir(), &["--database", &database]).await;
    assert!(!refused.status.success(), "{refused}");
    assert!(
        refused.stderr.contains("do not belong together"),
        "{refused}"
    );
    let fsck = [
        "fsck",
        "--repair",
        "--data-dir",
        &dir,
        "--database",
        &database,
    ];
    let refused = run(&fsck).await;
    assert!(!refused.status.success(), "{refused}");
    assert!(!ended.path("quarantine").exists(), "nothing was moved");
    ended.goes_on().await;
}

/// The first start may be cut short at any point.
#[tokio::test]
async fn a_first_start_that_was_cut_short_is_made_good() {
    let empty = temp_dir();
    let blobs = empty.path().join("blobs");
    std::fs::create_dir(&blobs).expect("make a directory");
    std::fs::write(blobs.join("STORE"), "").expect("make a mark");
    let server = Server::start_in(empty.path(), &[]).await;
    server.complete(b"hello").await;
    server.kill9().await;
    let named = temp_dir();
    std::fs::create_dir(named.path().join("blobs")).expect("make a directory");
    let id = "0f8fad5b-d9cb-469f-a165-70867728950e\n";
    std::fs::write(named.path().join("blobs/STORE"), id).expect("make a mark");
    let server = Server::start_in(named.path(), &[]).await;
    server.complete(b"hello").await;
    let mark = std::fs::read_to_string(named.path().join("blobs/STORE"));
    assert_eq!(mark.expect("the mark is there"), id);
}

/// A mistyped database must not make a store of bytes look like nobody's.
#[tokio::test]
async fn a_database_without_uploads_does_not_take_a_store_with_blobs() {
    let mut ended = Ended::new().await;
    let dir = text(ended.server.data_dir());
    let (new, empty) = (ended.path("new.db"), ended.path("empty.db"));
    let new = format!("sqlite:{}", text(&new));
    let fsck = ["fsck", "--repair", "--data-dir", &dir, "--database"];
    let refused = run(&[&fsck[..], &[&new]].concat()).await;
    assert!(!refused.status.success(), "{refused}");
    assert!(refused.stderr.contains("new.db"), "{refused}");
    assert!(!ended.path("new.db").exists(), "the database was made");
    // No bytes are an empty database to SQLite.
    std::fs::write(&empty, "").expect("make a file");
    let empty = format!("sqlite:{}", text(&empty));
    let refused = run(&[&fsck[..], &[&empty]].concat()).await;
    assert!(!refused.status.success(), "{refused}");
    assert!(
        refused.stderr.contains("no tables of this program"),
        "{refused}"
    );
    for _ in 0..2 {
        let refused = run_server(ended.server.data_dir(), &["--database", &new]).await;
        assert!(!refused.status.success(), "{refused}");
        assert!(
            refused.stderr.contains("do not belong together"),
            "{refused}"
        );
        let refused = run(&[&fsck[..], &[&new]].concat()).await;
        assert!(!refused.status.success(), "{refused}");
        assert!(refused.stderr.contains("knows no store"), "{refused}");
    }
    assert!(!ended.path("quarantine").exists(), "nothing was moved");
    ended.goes_on().await;
}

/// As both were before there were ids.
#[tokio::test]
async fn an_old_database_and_its_store_are_bound() {
    let mut ended = Ended::new().await;
    let forgotten = std::process::Command::new("python3")
        .args(["-c", FORGET, &text(&ended.path("tidegate.db"))])
        .status();
    assert!(forgotten.expect("python3 runs").success());
    std::fs::remove_file(ended.path("blobs/STORE")).expect("remove the mark");
    let (blobs, away) = (ended.path("blobs"), ended.path("away"));
    std::fs::rename(&blobs, &away).expect("take the store away");
    let refused = run_server(ended.server.data_dir(), &[]).await;
    assert!(!refused.status.success(), "{refused}");
    assert!(!blobs.exists(), "nothing was made in its place");
    std::fs::rename(&away, &blobs).expect("bring the store back");
    ended.goes_on().await;
    assert!(ended.path("blobs/STORE").exists());
}

const FORGET: &str = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); \
                      db.execute(\"DELETE FROM meta WHERE key = 'store'\"); db.commit()";

#[tokio::test]
async fn a_restored_backup_is_the_same_store() {
    let mut ended = Ended::new().await;
    // A clean end, so that all of the database is in one file.
    ended.server.restart(&[]).await;
    ended.server.sigterm();
    let status = ended.server.exited_within(crate::support::PATIENCE).await;
    assert!(status.success(), "{status}");
    let restored = temp_dir();
    copy_store(ended.server.data_dir(), restored.path());
    let database = restored.path().join("tidegate.db");
    std::fs::copy(ended.path("tidegate.db"), database).expect("copy the database");
    let checked = run(&["fsck", "--repair", "--data-dir", &text(restored.path())]).await;
    assert!(checked.status.success(), "{checked}");
    let server = Server::start_in(restored.path(), &[]).await;
    server.append(&ended.half, 5, b"world").await;
    assert_eq!(server.download(&ended.half).await, b"helloworld");
}

#[tokio::test]
async fn fsck_and_check_of_nothing_make_nothing() {
    let parent = temp_dir();
    let missing = parent.path().join("mistyped");
    let checked = run(&["check", "--data-dir", &text(&missing)]).await;
    assert!(checked.status.success(), "{checked}");
    let refused = run(&["fsck", "--data-dir", &text(&missing)]).await;
    assert!(!refused.status.success(), "{refused}");
    assert!(refused.stderr.contains("mistyped"), "{refused}");
    // A directory that is there, and not a server's.
    let refused = run(&["fsck", "--data-dir", &text(parent.path())]).await;
    assert!(!refused.status.success(), "{refused}");
    assert!(refused.stderr.contains("tidegate.db"), "{refused}");
    let made = std::fs::read_dir(parent.path()).expect("it is there");
    assert_eq!(made.count(), 0, "something was made");
}

/// A directory that is a mount of its own, until it is dropped. Declare it before its server.
struct Mounted<'d>(&'d Path);

impl<'d> Mounted<'d> {
    fn on(directory: &'d Path) -> Option<Self> {
        if let Err(e) = rustix::mount::mount_bind(directory, directory) {
            say_loudly(&format!(
                "NOT TESTED: a store on its own mount. This machine permits none: {e}"
            ));
            return None;
        }
        let mounted = Self(directory);
        rustix::mount::mount_change(directory, MountPropagationFlags::PRIVATE)
            .expect("keep the mount to ourselves");
        Some(mounted)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Err(e) = rustix::mount::unmount(self.0, UnmountFlags::DETACH) {
            eprintln!("{} stays mounted: {e}", self.0.display());
        }
    }
}

/// The blobs may be on a mount below a data directory that stays what it is.
#[tokio::test]
async fn a_tail_is_cut_when_the_blobs_alone_were_mounted_anew() {
    let data_dir = temp_dir();
    let prepared = run(&["migrate", "--data-dir", &text(data_dir.path())]).await;
    assert!(prepared.status.success(), "{prepared}");
    let blobs = data_dir.path().join("blobs");
    let Some(mounted) = Mounted::on(&blobs) else {
        return;
    };
    let flags = ["--checkpoint-interval", "1h"];
    let mut server = Server::start_in(data_dir.path(), &flags).await;
    let whole = content(61, 100_000);
    let upload = server.create(whole.len() as u64).await;
    let mut conn = server.connect().await;
    conn.send_head_and_wait(tus::patch(&upload, 0).declare(whole.len() as u64))
        .await;
    conn.send(&whole[..40_000]).await;
    server.quiesce().await;
    server.kill9().await;
    drop(mounted);
    let _mounted = Mounted::on(&blobs).expect("it was possible a moment ago");
    server.restart(&flags).await;
    server.expect_resumable(&upload, 0, &whole).await;
}

#[tokio::test]
async fn a_file_size_limit_is_a_full_disk_and_not_the_end() {
    let server = Server::start(&[]).await;
    let upload = server.create(8 << 20).await;
    server.append(&upload, 0, b"hello").await;
    // More than the database has.
    server.limit_file_size(2 << 20);
    let patch = tus::patch(&upload, 5).body(vec![7; 4 << 20]);
    server.send(patch).await.expect_slug(507, "storage-full");
    server.send(tus::head(&upload)).await.expect(200);
}
