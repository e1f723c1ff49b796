//! Trees of files, and whether a server has them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::cli::{Cli, objects};
use crate::support::server::{Outcome, Server, files_in};
use crate::support::tus::Upload;
use crate::support::wire::Req;
use crate::support::{assert_same_bytes, content, eventually};

pub(super) const KIB: usize = 1024;
pub(super) const MIB: usize = 1024 * KIB;

/// What files are called, and what is in them.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// Files of these sizes in the home of whoever calls.
pub(super) fn lay(cli: &Cli, sizes: &[(&str, usize)]) -> Files {
    let mut files = Files::new();
    for (seed, (name, size)) in sizes.iter().enumerate() {
        let bytes = content(seed as u64 + 1, *size);
        cli.write(name, &bytes);
        files.insert((*name).to_owned(), bytes);
    }
    files
}

/// All uploads of a project, newest first.
pub(super) async fn listed(server: &Server, project: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for page in 1.. {
        let path = format!("/api/projects/{project}/uploads?limit=100&page={page}");
        let list = server.send(Req::new("GET", &path)).await.expect(200).json();
        let data = list["data"].as_array().expect("a list").clone();
        let is_last = data.len() < 100;
        all.extend(data);
        if is_last {
            break;
        }
    }
    all
}

/// How an upload was called by its sender.
pub(super) fn name_of(upload: &Value) -> String {
    let name = upload["metadata"]["relativePath"].as_str();
    name.unwrap_or_else(|| panic!("no relativePath in {upload}"))
        .to_owned()
}

/// The project has one complete upload of each of these, with these bytes, and nothing else.
pub(super) async fn expect_files(server: &Server, project: &str, wanted: &Files) {
    let uploads = listed(server, project).await;
    let names: Vec<_> = {
        let mut names: Vec<_> = uploads.iter().map(name_of).collect();
        names.sort();
        names
    };
    assert_eq!(names, wanted.keys().cloned().collect::<Vec<_>>());
    for upload in &uploads {
        expect_file(server, upload, &wanted[&name_of(upload)]).await;
    }
}

/// An upload is complete, and has these bytes.
pub(super) async fn expect_file(server: &Server, upload: &Value, wanted: &[u8]) {
    assert_eq!(upload["state"], "completed", "{upload}");
    assert_eq!(upload["sha256"], hex(wanted), "{upload}");
    let found = server.download(&Upload::listed(upload)).await;
    assert_same_bytes(&found, wanted, &name_of(upload));
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits until the server has stored so many bytes of uploads.
pub(super) async fn stored(server: &Server, bytes: u64) {
    eventually("bytes are stored", async || {
        (blob_bytes(server.data_dir()) >= bytes).then_some(())
    })
    .await;
}

/// What uploads take on the server's disk.
pub(super) fn blob_bytes(data: &Path) -> u64 {
    let is_blob = |path: &std::path::PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy();
        uuid::Uuid::parse_str(&name).is_ok()
    };
    let blobs = files_in(data).into_iter().filter(is_blob);
    // One may go meanwhile.
    let sizes = blobs.filter_map(|path| path.metadata().ok());
    sizes.map(|metadata| metadata.len()).sum()
}

/// What was sent of it before, and that it is half sent: one upload, with its offset.
pub(super) async fn half_sent(server: &Server) -> (Upload, u64) {
    let uploads = server.uploads("uploading").await;
    assert_eq!(uploads.len(), 1, "{uploads:?}");
    let upload = Upload::listed(&uploads[0]);
    let offset = server.offset(&upload).await;
    (upload, offset)
}

impl Outcome {
    /// The last line of `--json`.
    #[track_caller]
    pub(crate) fn summary(&self) -> Value {
        let objects = self.objects();
        let last = objects.last().unwrap_or_else(|| panic!("{self}"));
        assert_eq!(last["event"], "summary", "{self}");
        last.clone()
    }

    /// What `--json` tells of this file.
    #[track_caller]
    pub(crate) fn told(&self, name: &str) -> Value {
        let is_it = |object: &Value| {
            let path = object["path"].as_str().unwrap_or_default();
            object["event"] == "file" && (object["name"] == name || path.ends_with(name))
        };
        let mut found = self.objects().into_iter().filter(is_it);
        let told = found.next().unwrap_or_else(|| panic!("{name}: {self}"));
        assert!(found.next().is_none(), "{name} is told twice: {self}");
        told
    }

    /// The names of files in this state.
    pub(crate) fn names(&self, state: &str) -> Vec<String> {
        let objects = objects(&self.stdout);
        let files = objects.iter().filter(|object| object["state"] == state);
        let mut names: Vec<_> = files
            .map(|file| file["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        names
    }
}
