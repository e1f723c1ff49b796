//! The vocabulary of exports: what users ask, and archives as other programs read them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::process::Command;

use super::eventually;
use super::queue::{call, get, id_of};
use super::server::{Server, files_in, temp_dir};
use super::sse::{Event, Sse};
use super::tus::{self, Upload};
use super::wire::Req;

/// As archives have to be: regular files that everybody may read, no links, no programs.
const MODE: u32 = 0o100_644;

const PART_BYTES: usize = 16 << 20;

/// Images only.
pub(crate) fn originals() -> Value {
    json!({"options": {}})
}

/// Images, and what was found in them in every form.
pub(crate) fn everything() -> Value {
    json!({"options": {
        "includeOriginalImages": true,
        "annotationFormats": ["coco", "yolo", "json"],
        "metricsFormats": ["csv", "json"],
    }})
}

pub(crate) fn start(project: &str, body: &Value) -> Req {
    call("POST", &format!("/api/projects/{project}/export"), body)
}

/// An export as whoever has started it knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) project: String,
    pub(crate) id: String,
}

impl Job {
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/api/projects/{}/export/{}/{rest}", self.project, self.id)
    }

    pub(crate) fn status(&self) -> Req {
        get(&self.path("status"))
    }

    pub(crate) fn cancel(&self) -> Req {
        let why = json!({"reason": "wrong project"});
        call("POST", &self.path("cancel"), &why)
    }

    pub(crate) fn download(&self) -> Req {
        get(&self.path("download"))
    }

    pub(crate) fn token(&self) -> Req {
        call("POST", &self.path("download-token"), &json!({}))
    }
}

/// One entry of an archive, as Python reads it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) crc: u32,
    /// 0: stored, 8: deflated.
    pub(crate) method: u32,
    pub(crate) mode: u32,
    pub(crate) sha256: String,
}

/// An archive that three programs have found sound.
pub(crate) struct Archive {
    /// In the order of its table of contents.
    pub(crate) entries: Vec<Entry>,
    directory: TempDir,
}

impl Archive {
    /// # Panics
    /// When a program finds something wrong.
    pub(crate) async fn open(bytes: &[u8]) -> Self {
        let directory = temp_dir();
        let file = directory.path().join("archive.zip");
        std::fs::write(&file, bytes).expect("write the archive");
        tested(&file).await;
        let told = python(&file, None).await;
        run(unzip().arg("-q").arg(&file).arg("-d").arg(directory.path())).await;
        Self {
            entries: serde_json::from_str(&told).expect("entries"),
            directory,
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("archive.zip")
    }

    pub(crate) fn paths(&self) -> Vec<&str> {
        let paths = self.entries.iter().map(|entry| entry.path.as_str());
        paths.collect()
    }

    /// An entry's content, as `unzip` has extracted it.
    #[track_caller]
    pub(crate) fn content(&self, path: &str) -> Vec<u8> {
        let content = std::fs::read(self.directory.path().join(path));
        content.unwrap_or_else(|error| panic!("{path}: {error}; there is {:?}", self.paths()))
    }

    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> String {
        String::from_utf8(self.content(path)).expect("UTF-8")
    }

    #[track_caller]
    pub(crate) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).expect("JSON")
    }

    #[track_caller]
    pub(crate) fn manifest(&self) -> Value {
        self.json("manifest.json")
    }

    /// The paths of the images by their uploads, as the manifest has them.
    pub(crate) fn original(&self, upload: &Upload) -> String {
        let manifest = self.manifest();
        let entries = manifest["entries"].as_array().expect("entries");
        let is_it = |entry: &&Value| {
            entry["kind"] == "original" && entry["sourceId"].as_str() == Some(upload.id())
        };
        let mut found = entries.iter().filter(is_it);
        let path = found.next().expect("it is listed")["path"].as_str();
        assert!(found.next().is_none(), "it is listed twice: {manifest}");
        path.expect("a path").to_owned()
    }

    /// Checks what holds of every archive: that its manifest lists all but itself, rightly.
    #[track_caller]
    pub(crate) fn expect_manifest(&self) {
        let manifest = self.manifest();
        assert_eq!(manifest["format"], "tidegate-export/1");
        let listed = manifest["entries"].as_array().expect("entries");
        let (last, others) = self.entries.split_last().expect("a manifest");
        assert_eq!(last.path, "manifest.json");
        assert_eq!(listed.len(), others.len(), "{manifest}\n{:?}", self.paths());
        for (listed, entry) in listed.iter().zip(others) {
            assert_eq!(listed["path"], entry.path, "in the archive's order");
            assert_eq!(listed["bytes"], entry.bytes, "{listed}");
            assert_eq!(listed["sha256"], entry.sha256, "{listed}");
        }
        for entry in &self.entries {
            assert_eq!(entry.mode, MODE, "{entry:?}");
        }
    }

    /// Checks that exactly these uploads are in it, each with its bytes.
    #[track_caller]
    pub(crate) fn expect_originals(&self, wanted: &[(&Upload, &[u8])]) {
        let manifest = self.manifest();
        let entries = manifest["entries"].as_array().expect("entries");
        let originals = entries.iter().filter(|entry| entry["kind"] == "original");
        assert_eq!(originals.count(), wanted.len(), "{manifest}");
        for (upload, bytes) in wanted {
            let path = self.original(upload);
            super::assert_same_bytes(&self.content(&path), bytes, &path);
            let entry = self.entries.iter().find(|entry| entry.path == path);
            let entry = entry.expect("an entry");
            assert_eq!(entry.sha256, sha256(bytes), "{path}");
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unzip() -> Command {
    let mut command = Command::new("unzip");
    // Else names that are not ASCII are written in its own way.
    command.env("LC_ALL", "C.UTF-8");
    command
}

/// What Python tells of an archive. With a directory, it extracts it as well.
async fn python(file: &Path, into: Option<&Path>) -> String {
    let mut command = Command::new("python3");
    command.args(["-B", "-c", include_str!("archive.py")]);
    command.arg(file).args(into);
    run(&mut command).await
}

/// Has `unzip` and `7zz` read all of an archive.
pub(crate) async fn tested(file: &Path) {
    let told = run(unzip().args(["-t", "-q"]).arg(file)).await;
    assert!(told.contains("No errors detected"), "{told}");
    let told = run(Command::new("7zz").arg("t").arg(file)).await;
    assert!(told.contains("Everything is Ok"), "{told}");
}

/// Has each of the three programs extract an archive into a directory of its own below `into`.
pub(crate) async fn extracted(file: &Path, into: &Path) -> [PathBuf; 3] {
    let directories = ["unzip", "7zz", "python"].map(|name| into.join(name));
    for directory in &directories {
        std::fs::create_dir(directory).expect("a directory");
    }
    let [by_unzip, by_7zz, by_python] = &directories;
    run(unzip().arg("-q").arg(file).arg("-d").arg(by_unzip)).await;
    let mut to = std::ffi::OsString::from("-o");
    to.push(by_7zz);
    run(Command::new("7zz").arg("x").arg(to).arg(file)).await;
    python(file, Some(by_python)).await;
    directories
}

/// Runs a program to its end, which must be a good one.
pub(crate) async fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = output.await.expect("run make deps");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {command:?}\n{told}\n{complained}",
        output.status
    );
    told
}

/// The names of what was told.
pub(crate) fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(Event::kind).collect()
}

impl Server {
    /// Starts an export.
    pub(crate) async fn export(&self, project: &str, body: &Value) -> Job {
        let answer = self.send(start(project, body)).await.expect(200).json();
        assert_eq!(answer["success"], true, "{answer}");
        let id = answer["jobId"].as_str().expect("a job");
        Job {
            project: project.to_owned(),
            id: id.to_owned(),
        }
    }

    /// Waits until an export is in this state.
    pub(crate) async fn export_reaches(&self, job: &Job, state: &str) -> Value {
        eventually(&format!("{} is {state}", job.id), async || {
            let found = self.send(job.status()).await.expect(200).json();
            let found = found["data"].clone();
            assert!(
                found["finishedAt"].is_null() || found["state"] == state,
                "not {state}: {found}\n{}",
                self.stderr()
            );
            (found["state"] == state).then_some(found)
        })
        .await
    }

    /// Exports a project, and reads the archive.
    pub(crate) async fn exported(&self, project: &str, body: &Value) -> (Job, Archive) {
        let job = self.export(project, body).await;
        let found = self.export_reaches(&job, "completed").await;
        let answer = self.send(job.download()).await.expect(200);
        assert_eq!(found["size"], answer.body.len() as u64, "{found}");
        let archive = Archive::open(&answer.body).await;
        archive.expect_manifest();
        (job, archive)
    }

    /// What there is of archives.
    pub(crate) fn archives(&self) -> Vec<PathBuf> {
        files_in(&self.data_dir().join("archives"))
    }

    pub(crate) fn archive_of(&self, job: &Job) -> Option<PathBuf> {
        let archives = self.archives();
        let is_its = |path: &PathBuf| path.to_string_lossy().contains(&job.id);
        archives.into_iter().find(is_its)
    }

    /// Waits until so much of an archive is written.
    pub(crate) async fn exporting(&self, job: &Job, bytes: u64) {
        eventually("the archive grows", async || {
            let archive = self.archive_of(job)?;
            let length = archive.metadata().ok()?.len();
            (length >= bytes).then_some(())
        })
        .await;
    }

    /// A complete upload, called so.
    pub(crate) async fn named(&self, project: &str, pairs: &[(&str, &str)], data: &[u8]) -> Upload {
        let pairs = pairs.iter().map(|(name, value)| (*name, value.as_bytes()));
        let mut create = tus::create(data.len() as u64);
        create.target = format!("/api/projects/{project}/uploads");
        let metadata = tus::metadata(&pairs.collect::<Vec<_>>());
        let create = create.header("Upload-Metadata", metadata);
        let upload = Upload::created(&self.send(create).await.expect(201));
        if !data.is_empty() {
            self.append(&upload, 0, data).await;
        }
        upload
    }

    /// A large image in the default project, of which little is sent and kept: so many times 16 MiB.
    pub(crate) async fn large(&self, parts: usize) -> Upload {
        let part = super::content(7, PART_BYTES);
        let part = self.complete_partial(&part).await;
        self.concatenate(&vec![&part; parts]).await
    }

    /// A project of this title.
    pub(crate) async fn project(&self, title: &str) -> String {
        let made = call("POST", "/api/projects", &json!({ "title": title }));
        id_of(&self.send(made).await.expect(201).json()["data"])
    }

    /// All that the log of a project has about an export until now.
    pub(crate) async fn told(&self, job: &Job) -> Vec<Event> {
        let mut create = tus::create(1);
        create.target = format!("/api/projects/{}/uploads", job.project);
        let marker = Upload::created(&self.send(create).await.expect(201));
        let query = format!("projectId={}&after=0", job.project);
        let mut feed = Sse::open(self, &query, None).await;
        let told = until_marker(&mut feed, &marker).await;
        let subject = format!("export/{}", job.id);
        let is_its = |event: &Event| event.subject() == subject && event.id.is_some();
        told.into_iter().filter(is_its).collect()
    }

    /// What came on a feed of the default project until now.
    pub(crate) async fn came(&self, feed: &mut Sse) -> Vec<Event> {
        let marker = self.create(1).await;
        let came = until_marker(feed, &marker).await;
        let is_its = |event: &Event| event.kind().starts_with("export.");
        came.into_iter().filter(is_its).collect()
    }
}

async fn until_marker(feed: &mut Sse, marker: &Upload) -> Vec<Event> {
    let subject = format!("upload/{}", marker.id());
    let mut events = Vec::new();
    loop {
        let event = feed.next().await;
        if event.subject() == subject {
            return events;
        }
        events.push(event);
    }
}
