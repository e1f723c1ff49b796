//! What others make of the archives: `unzip`, `7zz` and Python's `zipfile`.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::super::archive::{Archive, Coding, Head};
use super::*;
use crate::blob::{Appended, BlobWriter, Digests};

/// Bytes that are written without being stored: a hole of a file has them as well.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

fn head(path: &str, coding: Coding, bytes: u64) -> Head {
    Head {
        path: path.to_owned(),
        coding,
        modified: 1_700_000_000_000,
        bytes,
    }
}

/// An archive in a file.
fn archive(path: &Path) -> Archive {
    Archive::new(Arc::new(Sparse::at(path)), Scope::root("test"))
}

/// A file in which what comes out of [`ZEROS`] is a hole.
struct Sparse(std::fs::File);

impl Sparse {
    fn at(path: &Path) -> Self {
        Self(std::fs::File::create(path).unwrap())
    }
}

impl BlobWriter for Sparse {
    fn stage(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        unreachable!()
    }

    fn unstage(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        unreachable!()
    }

    fn append(
        self: Arc<Self>,
        at: u64,
        data: Bytes,
        digests: Digests,
    ) -> BoxFuture<'static, Appended> {
        use std::os::unix::fs::FileExt;

        let end = at + data.len() as u64;
        let written = match ZEROS.as_ptr_range().contains(&data.as_ptr()) {
            true => self.0.set_len(end),
            false => self.0.write_all_at(&data, at),
        };
        written.unwrap();
        let error = None;
        std::future::ready(Appended {
            digests,
            end,
            error,
        })
        .boxed()
    }

    fn sync(self: Arc<Self>) -> BoxFuture<'static, Result<(), BlobError>> {
        std::future::ready(Ok(())).boxed()
    }

    fn truncate(self: Arc<Self>, to: u64) -> BoxFuture<'static, Result<(), BlobError>> {
        self.0.set_len(to).unwrap();
        std::future::ready(Ok(())).boxed()
    }

    fn adopt(
        self: Arc<Self>,
        _: u64,
        _: Digests,
    ) -> BoxFuture<'static, Result<(Digests, u64), BlobError>> {
        unreachable!()
    }
}

/// What a program says of an archive.
#[track_caller]
fn run(program: &str, arguments: &[&str], archive: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(archive).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}{complaint}");
    said
}

/// The archive is sound for each of three programs, and has so many entries.
#[track_caller]
fn is_sound(archive: &Path, entries: usize) {
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(run("unzip", &["-tqq"], archive), ""));
        is_sound_for_others(archive, entries);
    });
}

#[track_caller]
fn is_sound_for_others(archive: &Path, entries: usize) {
    const TEST: &str = "import sys, zipfile\n\
        z = zipfile.ZipFile(sys.argv[1])\n\
        bad = z.testzip()\n\
        sys.exit(bad) if bad else print(len(z.infolist()))";
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let said = run(seven_zip(), &["t", "-bso1", "-bsp0"], archive);
            assert!(said.contains("Everything is Ok"), "{said}");
            assert!(!said.contains("Warning"), "{said}");
        });
        let said = run("python3", &["-c", TEST], archive);
        assert_eq!(said.trim(), entries.to_string(), "python");
    });
}

/// Debian 12 calls it `7zz`.
fn seven_zip() -> &'static str {
    static NAME: OnceLock<&str> = OnceLock::new();
    NAME.get_or_init(|| {
        let is_there = |name: &&&str| Command::new(name).arg("i").output().is_ok();
        ["7zz", "7z"].iter().find(is_there).expect("7zz or 7z")
    })
}

async fn add(archive: &mut Archive, path: &str, coding: Coding, content: &[u8]) {
    let head = head(path, coding, content.len() as u64);
    let mut entry = archive.entry(head).await.unwrap();
    entry.write(Bytes::copy_from_slice(content)).await.unwrap();
    entry.end().await.unwrap();
}

#[tokio::test]
async fn up_to_and_past_the_number_of_entries_of_a_plain_zip() {
    let dir = tempfile::tempdir().unwrap();
    for entries in [0, 1, 65_534, 65_535, 65_536] {
        let path = dir.path().join(entries.to_string());
        let mut archive = archive(&path);
        for entry in 0..entries {
            let text = entry.to_string();
            let path = format!("images/{entry:06}.txt");
            add(&mut archive, &path, Coding::Stored, text.as_bytes()).await;
        }
        assert_eq!(
            archive.finish().await.unwrap(),
            std::fs::metadata(&path).unwrap().len()
        );
        // An archive without entries is none for unzip.
        if entries > 0 {
            is_sound(&path, entries);
        }
    }
}

#[tokio::test]
async fn up_to_and_past_the_size_of_a_plain_zip() {
    const EDGE: u64 = 1 << 32;
    let dir = tempfile::tempdir().unwrap();
    for bytes in [EDGE - 2, EDGE - 1, EDGE] {
        let path = dir.path().join(bytes.to_string());
        let mut archive = archive(&path);
        add(&mut archive, "before", Coding::Deflated, b"before").await;
        let mut entry = archive
            .entry(head("large", Coding::Stored, bytes))
            .await
            .unwrap();
        let mut left = bytes;
        while left > 0 {
            let some = usize::try_from(left).unwrap().min(ZEROS.len());
            entry
                .write(Bytes::from_static(&ZEROS[..some]))
                .await
                .unwrap();
            left -= some as u64;
        }
        entry.end().await.unwrap();
        // Behind the edge.
        add(&mut archive, "behind", Coding::Stored, b"behind").await;
        archive.finish().await.unwrap();
        // A length of just as many bytes as the mark in its place confuses unzip 6.0, whoever writes it.
        match bytes == EDGE - 1 {
            true => is_sound_for_others(&path, 3),
            false => is_sound(&path, 3),
        }
    }
}

/// Random entries, some of which are taken back at a random moment, are what they were meant to be.
#[tokio::test]
async fn what_is_taken_back_was_never_there() {
    let mut rng = fastrand::Rng::new();
    let dir = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = dir.path().join(round.to_string());
        let mut archive = archive(&path);
        let mut kept = BTreeMap::new();
        for place in 0..rng.usize(1..40) {
            let name = format!("entry {place}");
            let coding = [Coding::Stored, Coding::Deflated][rng.usize(0..2)];
            let pieces: Vec<_> = (0..rng.usize(0..5)).map(|_| piece(&mut rng)).collect();
            let content = pieces.concat();
            let head = head(&name, coding, content.len() as u64);
            let mut entry = archive.entry(head).await.unwrap();
            for piece in pieces {
                entry.write(piece.into()).await.unwrap();
            }
            match rng.u8(0..3) {
                0 => entry.undo().await.unwrap(),
                _ => {
                    entry.end().await.unwrap();
                    kept.insert(name, content);
                }
            }
        }
        archive.finish().await.unwrap();
        if !kept.is_empty() {
            is_sound(&path, kept.len());
        }
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(contents(&bytes), kept);
    }
}

fn piece(rng: &mut fastrand::Rng) -> Vec<u8> {
    let len = [rng.usize(0..100), rng.usize(0..600_000)][rng.usize(0..2)];
    let fill = rng.u8(..);
    (0..len).map(|at| fill ^ (at / 7) as u8).collect()
}

/// What an archive has, by a reader that looks at nothing but its table of contents.
pub(super) fn contents(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    use std::io::Read;

    let archive = rawzip::ZipArchive::from_slice(bytes).unwrap();
    let mut found = BTreeMap::new();
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_entry().unwrap() {
        let name = String::from_utf8(entry.file_path().as_ref().to_vec()).unwrap();
        let data = archive.get_entry(entry.wayfinder()).unwrap();
        let mut content = Vec::new();
        match entry.compression_method() {
            rawzip::CompressionMethod::STORE => content.extend_from_slice(data.data()),
            _ => drop(
                flate2::read::DeflateDecoder::new(data.data())
                    .read_to_end(&mut content)
                    .unwrap(),
            ),
        }
        found.insert(name, content);
    }
    found
}
