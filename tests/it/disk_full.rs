//! A full disk: 507 with the offset that was kept, deletes still work, and space makes room.
//!
//! The data directory is a small tmpfs of the test's own. Where the machine permits no mounts the
//! tests say so and check nothing.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};
use tempfile::TempDir;

use crate::support::form::{self, Form};
use crate::support::server::{Server, files_in, temp_dir};
use crate::support::tus::{self, Upload};
use crate::support::wire::Req;
use crate::support::{assert_same_bytes, content, eventually, say_loudly};

const DISK_BYTES: usize = 24 << 20;

/// A small file system, unmounted when dropped. Declare it before the server that lives on it.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let directory = temp_dir();
        let options = std::ffi::CString::new(format!("size={DISK_BYTES},mode=0700"));
        let options = options.expect("the options hold no NUL");
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        match rustix::mount::mount("tidegate-it", directory.path(), "tmpfs", flags, &*options) {
            Ok(()) => Some(Self { directory }),
            Err(e) => {
                say_loudly(&format!(
                    "NOT TESTED: a full disk. This machine permits no tmpfs mount: {e}"
                ));
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes every byte that is left; the file is the way to give them back.
    fn fill(&self) -> PathBuf {
        let ballast = self.path().join("ballast");
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&ballast);
        let mut file = file.expect("open the ballast");
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(e) = rustix::mount::unmount(self.path(), UnmountFlags::DETACH) {
            eprintln!("{} stays mounted: {e}", self.path().display());
        }
    }
}

/// Creates an upload in spite of 507s: the server may need a moment to see the space.
async fn create_with_patience(server: &Server, length: usize) -> Upload {
    eventually("a creation succeeds when there is space", async || {
        let answer = server.send(tus::create(length as u64)).await;
        match answer.status {
            201 => Some(Upload::created(&answer)),
            _ => {
                answer.expect_problem(507);
                None
            }
        }
    })
    .await
}

/// Appends the rest in spite of 507s, each of which must tell a true offset.
async fn append_with_patience(server: &Server, upload: &Upload, mut offset: u64, whole: &[u8]) {
    eventually("the upload goes on when there is space", async || {
        let kept = usize::try_from(offset).expect("it fits into memory");
        let answer = server
            .send(tus::patch(upload, offset).body(&whole[kept..]))
            .await;
        if answer.status == 204 {
            return Some(());
        }
        let answer = answer.expect_problem(507);
        offset = answer
            .offset()
            .unwrap_or_else(|| panic!("507 without Upload-Offset:\n{answer}"));
        None
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_is_507_with_the_offset_that_was_kept() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut server = Server::start_in(disk.path(), &[]).await;
    let whole = content(40, DISK_BYTES);
    let victim = server.complete(&whole[..8 << 20]).await;
    // It has room alone, and not beside the other one.
    let length = 18 << 20;
    let upload = server.create(length as u64).await;
    let answer = server
        .send(tus::patch(&upload, 0).body(&whole[..length]))
        .await;
    let answer = answer.expect_problem(507);
    let kept = answer
        .offset()
        .unwrap_or_else(|| panic!("507 without Upload-Offset:\n{answer}"));
    assert!(
        kept < length as u64,
        "507, though everything was kept:\n{answer}"
    );
    assert_eq!(server.offset(&upload).await, kept, "HEAD and 507 differ");
    // Reads and cancels still work.
    assert_same_bytes(
        &server.download(&victim).await,
        &whole[..8 << 20],
        "the earlier upload",
    );
    server.send(tus::delete(&victim)).await.expect(204);
    append_with_patience(&server, &upload, kept, &whole[..length]).await;
    assert_same_bytes(
        &server.download(&upload).await,
        &whole[..length],
        "the resumed upload",
    );
    // And a restart finds the same.
    server.kill9().await;
    server.restart(&[]).await;
    assert_same_bytes(
        &server.download(&upload).await,
        &whole[..length],
        "the same, restarted",
    );
}

#[tokio::test]
async fn on_a_full_disk_a_form_ends_and_keeps_what_fits() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let server = Server::start_in(disk.path(), &[]).await;
    let whole = content(42, DISK_BYTES);
    let form = Form::new()
        .image("fits.png", &whole[..1 << 20])
        .image("does not.png", &whole)
        .image("next.png", b"next")
        .end();
    let answer = server.send(form::post().body(form)).await.expect(201);
    let data = &answer.json()["data"];
    assert_eq!(data["count"], 1, "{answer}");
    assert_eq!(data["failedCount"], 1, "{answer}");
    assert_eq!(data["failedFiles"][0]["code"], "STORAGE_FULL", "{answer}");
    assert_eq!(data["failedFiles"][0]["filename"], "does not.png");
    let kept = server.uploads("completed").await;
    let kept = server.download(&Upload::listed(&kept[0])).await;
    assert_same_bytes(&kept, &whole[..1 << 20], "the file that fits");
    // The other one gives its space back.
    eventually("there is room again", async || {
        let form = Form::new().image("again.png", &whole[..4 << 20]).end();
        let answer = server.send(form::post().body(form)).await;
        match answer.status {
            201 => Some(()),
            _ => {
                answer.expect_slug(507, "storage-full");
                None
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_cancel_works_on_a_disk_without_a_free_byte() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let server = Server::start_in(disk.path(), &[]).await;
    let bytes = content(41, 100_000);
    let complete = server.complete(&bytes).await;
    let mut open = Vec::new();
    for _ in 0..10 {
        let upload = server.create(1 << 30).await;
        server.append(&upload, 0, &bytes).await;
        open.push(upload);
    }
    let ballast = disk.fill();
    // The uploads go on as long as there is a byte, and must not eat what cancelling needs.
    for upload in open.iter().chain(&open) {
        let offset = server.offset(upload).await;
        let answer = server
            .send(tus::patch(upload, offset).body(&bytes[..]))
            .await;
        assert!(matches!(answer.status, 204 | 507), "{answer}");
        assert!(
            answer.offset().is_some_and(|told| told >= offset),
            "{answer}"
        );
    }
    assert_same_bytes(
        &server.download(&complete).await,
        &bytes,
        "the complete upload",
    );
    for upload in &open {
        server.send(tus::delete(upload)).await.expect(204);
        server.send(tus::head(upload)).await.expect(410);
    }
    server.send(tus::delete(&complete)).await.expect(204);
    std::fs::remove_file(ballast).expect("remove the ballast");
    let upload = create_with_patience(&server, bytes.len()).await;
    append_with_patience(&server, &upload, 0, &bytes).await;
    assert_same_bytes(
        &server.download(&upload).await,
        &bytes,
        "an upload afterwards",
    );
}

#[tokio::test]
async fn a_creation_on_a_full_disk_is_507_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let server = Server::start_in(disk.path(), &[]).await;
    let bytes = content(42, 2 << 20);
    let files = files_in(disk.path()).len();
    for _ in 0..20 {
        // What the server keeps in reserve may be given up meanwhile: that is filled as well.
        disk.fill();
        let request = tus::create_with_data(bytes.len() as u64).body(&bytes[..]);
        let answer = server.send(request).await.expect_problem(507);
        // With a Location the client goes on later; without one nothing may stay.
        if answer.header("Location").is_some() {
            server
                .send(tus::delete(&Upload::created(&answer)))
                .await
                .expect(204);
        }
    }
    std::fs::remove_file(disk.path().join("ballast")).expect("remove the ballast");
    let orphans = server.uploads("uploading").await;
    assert!(orphans.is_empty(), "nobody was told of these: {orphans:?}");
    let blobs_left = || files_in(disk.path()).len().saturating_sub(files);
    eventually("no blob is left behind", async || {
        (blobs_left() == 0).then_some(())
    })
    .await;
    let upload = create_with_patience(&server, bytes.len()).await;
    append_with_patience(&server, &upload, 0, &bytes).await;
    assert_same_bytes(
        &server.download(&upload).await,
        &bytes,
        "an upload afterwards",
    );
}

#[tokio::test]
async fn a_creation_that_fills_the_disk_is_507_and_goes_on_from_what_was_kept() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let server = Server::start_in(disk.path(), &["--checkpoint-bytes", "1Mi"]).await;
    let whole = content(43, DISK_BYTES);
    let victim = server.complete(&whole[..8 << 20]).await;
    // It has room alone, and not beside the other one.
    let whole = &whole[..18 << 20];
    let request = tus::create_with_data(whole.len() as u64).body(whole);
    let answer = server.send(request).await.expect_problem(507);
    let upload = Upload::created(&answer);
    let kept = answer
        .offset()
        .unwrap_or_else(|| panic!("507 without Upload-Offset:\n{answer}"));
    assert!(kept >= 1 << 20, "a checkpoint was taken back:\n{answer}");
    assert_eq!(server.offset(&upload).await, kept, "HEAD and 507 differ");
    server.send(tus::delete(&victim)).await.expect(204);
    append_with_patience(&server, &upload, kept, whole).await;
    assert_same_bytes(&server.download(&upload).await, whole, "the whole upload");
}

#[tokio::test]
async fn readyz_tells_when_the_disk_is_full_and_when_it_no_longer_is() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let server = Server::start_in(disk.path(), &[]).await;
    server.send(Req::new("GET", "/readyz")).await.expect(200);
    let answer = eventually("readyz sees the full disk", async || {
        // What the server keeps in reserve may be given up meanwhile: that is filled as well.
        disk.fill();
        Some(server.send(Req::new("GET", "/readyz")).await).filter(|answer| answer.status != 200)
    })
    .await;
    assert_eq!(answer.status, 503, "{answer}");
    assert!(!answer.body.is_empty(), "no reason in:\n{answer}");
    // Alive it is all the same.
    server.send(Req::new("GET", "/healthz")).await.expect(200);
    std::fs::remove_file(disk.path().join("ballast")).expect("remove the ballast");
    eventually("readyz sees the space", async || {
        (server.send(Req::new("GET", "/readyz")).await.status == 200).then_some(())
    })
    .await;
}
