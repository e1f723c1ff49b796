//! Database and store belong to each other, and to one server at a time.

use std::path::{Path, PathBuf};

use crate::support::server::{Server, run, run_server, temp_dir};
use crate::support::tus::{self, Upload};

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

#[tokio::test]
async fn a_second_server_on_the_same_database_is_refused_and_does_no_harm() {
    let server = Server::start(&[]).await;
    let upload = server.create(10).await;
    server.append(&upload, 0, b"hello").await;
    let database = format!("sqlite:{}", text(&server.data_dir().join("tidegate.db")));
    let own = temp_dir();
    let refused = run_server(own.path(), &["--database", &database]).await;
    assert!(!refused.status.success(), "{refused}");
    assert!(
        refused.stderr.contains("is its file system mounted"),
        "{refused}"
    );
    // With the same store it is in use.
    let store = format!("file:{}", text(server.data_dir()));
    let flags = ["--database", &database, "--store", &store];
    let refused = run_server(own.path(), &flags).await;
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

#[tokio::test]
async fn fsck_of_nothing_makes_nothing() {
    let parent = temp_dir();
    let missing = parent.path().join("mistyped");
    let refused = run(&["fsck", "--data-dir", &text(&missing)]).await;
    assert!(!refused.status.success(), "{refused}");
    assert!(refused.stderr.contains("mistyped"), "{refused}");
    assert!(!missing.exists());
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
