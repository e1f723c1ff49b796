//! Images with names that nobody means well with, and archives of them that are unpacked.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::export::{everything, extracted};
use crate::support::hostile::name;
use crate::support::queue::{Worker, enqueue};
use crate::support::random;
use crate::support::server::{Server, files_in, temp_dir};

const NAMES: usize = 500;

/// Every 25th has a result, so that files are called after it as well.
const FOUND_EVERY: usize = 25;

#[tokio::test]
async fn whatever_images_are_called_archives_unpack_where_they_should() {
    let mut random = random("whatever_images_are_called_archives_unpack_where_they_should");
    let server = Server::start(&["--durability", "process-crash"]).await;
    let worker = Worker::new("w1");
    let mut wanted = BTreeMap::new();
    for number in 0..NAMES {
        let name = name(&mut random);
        let content = format!("{number}: {name:?}").into_bytes();
        let pairs = [("filename", &*name)];
        let image = server.named("default", &pairs, &content).await;
        if number % FOUND_EVERY == 0 {
            let item = enqueue(&image, &serde_json::json!({}));
            server.send(item).await.expect(201);
            worker.work(&server).await;
        }
        wanted.insert(image.id().to_owned(), content);
    }
    let (_, archive) = server.exported("default", &everything()).await;
    let manifest = archive.manifest();
    let listed = manifest["entries"].as_array().expect("entries");
    let mut of_images = BTreeMap::new();
    for entry in listed.iter().filter(|entry| entry["kind"] == "original") {
        let path = entry["path"].as_str().expect("a path").to_owned();
        let source = entry["sourceId"].as_str().expect("an upload");
        of_images.insert(path, wanted.remove(source).expect("once"));
    }
    assert_eq!(wanted, BTreeMap::new(), "all are there");
    // A system that takes other names for the same has all of them, too.
    let folded: BTreeSet<_> = archive.paths().iter().map(|p| p.to_lowercase()).collect();
    assert_eq!(folded.len(), archive.entries.len());
    let labels = |path: &&str| path.starts_with("annotations/yolo/");
    let labels = archive.paths().into_iter().filter(labels).count();
    assert_eq!(labels, NAMES / FOUND_EVERY + 1);

    let around = temp_dir();
    let directories = extracted(&archive.file(), around.path()).await;
    let beside = std::fs::read_dir(around.path()).expect("the directory");
    assert_eq!(beside.count(), directories.len(), "nothing is outside");
    for directory in &directories {
        expect_unpacked(directory, &archive.paths(), &of_images);
    }
}

#[track_caller]
fn expect_unpacked(directory: &Path, paths: &[&str], of_images: &BTreeMap<String, Vec<u8>>) {
    let files = files_in(directory);
    let found: BTreeSet<_> = files
        .iter()
        .map(|file| {
            let path = file.strip_prefix(directory).expect("inside");
            path.to_str().expect("UTF-8").to_owned()
        })
        .collect();
    let wanted: BTreeSet<_> = paths.iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(found, wanted, "{}", directory.display());
    assert_eq!(entries_in(directory), paths.len(), "files and nothing else");
    for (path, content) in of_images {
        let found = std::fs::read(directory.join(path)).expect("a file");
        assert_eq!(found, *content, "{path}");
    }
    for file in &files {
        let meta = std::fs::symlink_metadata(file).expect("a file");
        assert_eq!(meta.mode() & 0o7111, 0, "{}", file.display());
    }
}

/// Everything below a directory but directories.
fn entries_in(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let count = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("an entry");
        match entry.file_type().expect("a type").is_dir() {
            true => entries_in(&entry.path()),
            false => 1,
        }
    };
    entries.map(count).sum()
}
