//! What is to be sent: paths become files, one after the other, so that a tree of any size takes the
//! same memory.

use std::fs::Metadata;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ignore::overrides::{Override, OverrideBuilder};
use ignore::{DirEntry, WalkBuilder};
use tokio::sync::mpsc;

use super::args::{Arguments, Links};
use crate::cli::error::CommandError;

/// Read in each directory: lines of globs that are left out, as in a `.gitignore`.
const IGNORE_FILE: &str = ".tidegateignore";

/// The longest line of a list of files.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// What is found ahead of those that send.
pub(super) const FOUND_AHEAD: usize = 256;

/// A file, as it was when it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Absolute, as it was written: links in it are not resolved.
    pub(super) path: PathBuf,
    /// How it is called on the server: from the argument's own name on, with slashes.
    pub(super) name: String,
    pub(super) print: Print,
}

/// By what a file is known to be the one that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) size: u64,
    /// Nanoseconds since the Unix epoch.
    pub(super) modified: i64,
    pub(super) inode: u64,
}

impl Print {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let seconds = metadata.mtime().saturating_mul(1_000_000_000);
        Self {
            size: metadata.len(),
            modified: seconds.saturating_add(metadata.mtime_nsec()),
            inode: metadata.ino(),
        }
    }
}

/// One thing that a path has led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    File(File),
    /// Something that is not sent, and why.
    Unfit {
        path: PathBuf,
        why: String,
    },
}

/// How much there is, as far as it is known. Counted ahead for who wants to know how long it takes.
#[derive(Debug, Default)]
pub(super) struct Census {
    pub(super) files: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) is_complete: AtomicBool,
}

/// What is looked for, and where.
#[derive(Clone, Debug)]
pub(super) struct Search {
    roots: Vec<PathBuf>,
    list: Option<PathBuf>,
    null: bool,
    is_recursive: bool,
    links: Links,
    include: Vec<String>,
    exclude: Vec<String>,
}

impl Search {
    /// # Errors
    /// A glob is none.
    pub(super) fn new(arguments: &Arguments) -> Result<Self, CommandError> {
        let search = Self {
            roots: match &arguments.watch {
                Some(directory) => vec![directory.clone()],
                None => arguments.paths.clone(),
            },
            list: arguments.files_from.clone(),
            null: arguments.null,
            is_recursive: arguments.recursive,
            links: arguments.links,
            include: arguments.include.clone(),
            exclude: arguments.exclude.clone(),
        };
        let globs = search.globs(Path::new("/"));
        globs.map_err(|error| CommandError::Usage(error.to_string()))?;
        Ok(search)
    }

    /// Whether looking twice finds the same: a list from standard input can be read once.
    pub(super) fn is_repeatable(&self) -> bool {
        self.list.as_deref() != Some(Path::new("-"))
    }

    /// Finds everything, and hands it to whoever asks, until nobody does. Blocks.
    pub(super) fn run(&self, found: &mpsc::Sender<Found>) {
        // Nobody wants more of it: that ends the search.
        let _over = self.each(&mut |what| found.blocking_send(what).map_err(drop));
    }

    /// Counts everything, until it is all counted or `is_enough`. Blocks.
    pub(super) fn count(&self, census: &Arc<Census>, is_enough: impl Fn() -> bool) {
        let counted = self.each(&mut |what| {
            if let Found::File(file) = what {
                census.files.fetch_add(1, Ordering::Relaxed);
                census.bytes.fetch_add(file.print.size, Ordering::Relaxed);
            }
            if is_enough() { Err(()) } else { Ok(()) }
        });
        census.is_complete.store(counted.is_ok(), Ordering::Release);
    }

    /// # Errors
    /// `take` wants no more.
    pub(super) fn each(&self, take: &mut dyn FnMut(Found) -> Result<(), ()>) -> Result<(), ()> {
        for root in &self.roots {
            self.walk(root, take)?;
        }
        match &self.list {
            Some(list) => self.read_list(list, take),
            None => Ok(()),
        }
    }

    fn walk(&self, root: &Path, take: &mut dyn FnMut(Found) -> Result<(), ()>) -> Result<(), ()> {
        let unfit = |why: String| Found::Unfit {
            path: root.to_owned(),
            why,
        };
        let prepared = std::path::absolute(root)
            .and_then(|root| Ok((root.metadata()?, root)))
            .map_err(|error| error.to_string());
        let (metadata, absolute) = match prepared {
            Ok(prepared) => prepared,
            Err(why) => return take(unfit(why)),
        };
        if !metadata.is_dir() {
            let name = absolute.file_name().map(PathBuf::from).unwrap_or_default();
            return take(regular(absolute, &name, &metadata));
        }
        let globs = match self.globs(&absolute) {
            Ok(globs) => globs,
            Err(error) => return take(unfit(error.to_string())),
        };
        let walk = WalkBuilder::new(&absolute)
            .standard_filters(false)
            .add_custom_ignore_filename(IGNORE_FILE)
            .overrides(globs)
            .max_depth((!self.is_recursive).then_some(1))
            .follow_links(self.links == Links::Follow)
            .build();
        let above = above(root, &absolute);
        for entry in walk {
            match entry {
                Ok(entry) => {
                    if let Some(found) = self.look(entry, &above) {
                        take(found)?;
                    }
                }
                Err(error) => take(unreadable(&absolute, &error))?,
            }
        }
        Ok(())
    }

    /// What an entry of a directory is; `None` if nobody needs to know. Names begin after `above`.
    fn look(&self, entry: DirEntry, above: &Path) -> Option<Found> {
        let kind = entry.file_type()?;
        if kind.is_dir() || (entry.depth() > 0 && entry.file_name() == IGNORE_FILE) {
            return None;
        }
        if kind.is_symlink() && entry.depth() == 0 {
            // It was named, and what it leads to is walked.
            return None;
        }
        if kind.is_symlink() {
            let why = match self.links {
                Links::Skip => return None,
                Links::Refuse | Links::Follow => "is a symbolic link: see --links",
            };
            return Some(Found::Unfit {
                path: entry.into_path(),
                why: why.into(),
            });
        }
        // It may have vanished since its directory was read.
        let found = match entry.metadata() {
            Ok(metadata) => {
                let path = entry.into_path();
                let name = path.strip_prefix(above).unwrap_or(&path).to_owned();
                regular(path, &name, &metadata)
            }
            Err(error) => Found::Unfit {
                why: match error.io_error() {
                    Some(error) => error.to_string(),
                    None => error.to_string(),
                },
                path: entry.into_path(),
            },
        };
        Some(found)
    }

    fn read_list(
        &self,
        list: &Path,
        take: &mut dyn FnMut(Found) -> Result<(), ()>,
    ) -> Result<(), ()> {
        let opened: io::Result<Box<dyn BufRead>> = match list == Path::new("-") {
            true => Ok(Box::new(io::stdin().lock())),
            false => std::fs::File::open(list)
                .map(|file| Box::new(BufReader::new(file)) as Box<dyn BufRead>),
        };
        let failed = |error: io::Error| Found::Unfit {
            path: list.to_owned(),
            why: error.to_string(),
        };
        let mut lines = match opened {
            Ok(lines) => lines,
            Err(error) => return take(failed(error)),
        };
        let end = if self.null { 0 } else { b'\n' };
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = io::Read::take(&mut lines, LINE_BYTES_MAX).read_until(end, &mut line);
            match read {
                Ok(0) => return Ok(()),
                Ok(_) if line.len() as u64 == LINE_BYTES_MAX => {
                    return take(failed(io::Error::other("a line is too long for a path")));
                }
                Ok(_) => {}
                Err(error) => return take(failed(error)),
            }
            if line.last() == Some(&end) {
                line.pop();
            }
            if !line.is_empty() {
                self.listed(Path::new(std::ffi::OsStr::from_bytes(&line)), take)?;
            }
        }
    }

    /// A path of a list keeps its folders in its name.
    fn listed(&self, path: &Path, take: &mut dyn FnMut(Found) -> Result<(), ()>) -> Result<(), ()> {
        let looked = std::path::absolute(path).and_then(|path| Ok((path.metadata()?, path)));
        match looked {
            Ok((metadata, _)) if metadata.is_dir() => self.walk(path, take),
            Ok((metadata, absolute)) => {
                let folders = path.components();
                let name: PathBuf = folders
                    .filter(|part| matches!(part, Component::Normal(_)))
                    .collect();
                take(regular(absolute, &name, &metadata))
            }
            Err(error) => take(Found::Unfit {
                path: path.to_owned(),
                why: error.to_string(),
            }),
        }
    }

    /// What is included and excluded, relative to `root`.
    fn globs(&self, root: &Path) -> Result<Override, ignore::Error> {
        let mut globs = OverrideBuilder::new(root);
        for glob in &self.include {
            globs.add(glob)?;
        }
        for glob in &self.exclude {
            globs.add(&format!("!{glob}"))?;
        }
        globs.build()
    }
}

/// What names of files below `root` do not begin with: a directory keeps its own name, unless it has
/// been called by another.
fn above(root: &Path, absolute: &Path) -> PathBuf {
    match root.components().next_back() {
        Some(Component::Normal(_)) => absolute.parent().unwrap_or(absolute).to_owned(),
        _ => absolute.to_owned(),
    }
}

fn regular(path: PathBuf, name: &Path, metadata: &Metadata) -> Found {
    if !metadata.is_file() {
        let why = "is neither a file nor a directory".into();
        return Found::Unfit { path, why };
    }
    match String::from_utf8(name.as_os_str().as_bytes().to_vec()) {
        Ok(name) => Found::File(File {
            print: Print::of(metadata),
            path,
            name,
        }),
        Err(_) => Found::Unfit {
            path,
            why: "has a name that is not UTF-8, and no server can keep it: rename it".into(),
        },
    }
}

fn unreadable(root: &Path, error: &ignore::Error) -> Found {
    let (path, why) = place(error);
    Found::Unfit {
        path: path.unwrap_or(root).to_owned(),
        why,
    }
}

/// Where something went wrong, and what.
fn place(error: &ignore::Error) -> (Option<&Path>, String) {
    match error {
        ignore::Error::WithPath { path, err } => (Some(path), place(err).1),
        ignore::Error::WithDepth { err, .. } => place(err),
        ignore::Error::Loop { child, .. } => (
            Some(child),
            "leads back to a directory that it is in".into(),
        ),
        ignore::Error::Io(error) => (None, error.to_string()),
        other => (None, other.to_string()),
    }
}

/// The bytes of a path, as the journal has them.
pub(super) fn key(path: &Path) -> Vec<u8> {
    path.to_owned().into_os_string().into_vec()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn search(root: &Path) -> Search {
        Search {
            roots: vec![root.to_owned()],
            list: None,
            null: false,
            is_recursive: true,
            links: Links::Refuse,
            include: Vec::new(),
            exclude: Vec::new(),
        }
    }

    /// Names of files, and paths of what is unfit, each in order.
    fn found(search: &Search) -> (Vec<String>, Vec<String>) {
        let (mut names, mut unfit) = (Vec::new(), Vec::new());
        let all = search.each(&mut |found| {
            match found {
                Found::File(file) => names.push(file.name),
                Found::Unfit { path, .. } => {
                    let name = path.file_name().unwrap_or_default();
                    unfit.push(name.to_string_lossy().into_owned());
                }
            }
            Ok(())
        });
        assert_eq!(all, Ok(()));
        names.sort();
        unfit.sort();
        (names, unfit)
    }

    fn tree() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        std::fs::create_dir_all(root.join("sub/deep")).unwrap();
        for name in ["a.tif", ".hidden", "b.tmp", "sub/c.tif", "sub/deep/d.tif"] {
            std::fs::write(root.join(name), name).unwrap();
        }
        (dir, root)
    }

    #[test]
    fn a_directory_is_all_that_is_below_it() {
        let (_dir, root) = tree();
        let all = ["data/.hidden", "data/a.tif", "data/b.tmp", "data/sub/c.tif"];
        let (names, unfit) = found(&search(&root));
        assert_eq!(names[..4], all);
        assert_eq!((names.len(), unfit.len()), (5, 0));
        let flat = Search {
            is_recursive: false,
            ..search(&root)
        };
        assert_eq!(found(&flat).0, all[..3]);
        // Without a name of its own there is none to begin with.
        let (names, _) = found(&search(&root.join("sub/..")));
        assert_eq!(names[..2], [".hidden", "a.tif"]);
        let (names, _) = found(&search(&root.join("sub/c.tif")));
        assert_eq!(names, ["c.tif"]);
    }

    #[test]
    fn globs_and_ignore_files_choose() {
        let (_dir, root) = tree();
        let only = Search {
            include: vec!["*.tif".into()],
            exclude: vec!["deep".into()],
            ..search(&root)
        };
        assert_eq!(found(&only).0, ["data/a.tif", "data/sub/c.tif"]);
        std::fs::write(root.join(IGNORE_FILE), "*.tmp\nsub/deep/\n").unwrap();
        let (names, _) = found(&search(&root));
        assert_eq!(names, ["data/.hidden", "data/a.tif", "data/sub/c.tif"]);
    }

    #[test]
    fn what_is_no_file_is_named() {
        let (_dir, root) = tree();
        symlink("a.tif", root.join("link")).unwrap();
        symlink("nowhere", root.join("broken")).unwrap();
        symlink("..", root.join("sub/loop")).unwrap();
        let _socket = UnixListener::bind(root.join("socket")).unwrap();
        let bad = root.join(std::ffi::OsStr::from_bytes(b"bad\xff"));
        std::fs::write(&bad, "x").unwrap();
        let (names, unfit) = found(&search(&root));
        assert_eq!(names.len(), 5);
        assert_eq!(unfit, ["bad\u{fffd}", "broken", "link", "loop", "socket"]);
        let skipping = Search {
            links: Links::Skip,
            ..search(&root)
        };
        assert_eq!(found(&skipping).1, ["bad\u{fffd}", "socket"]);
        let following = Search {
            links: Links::Follow,
            ..search(&root)
        };
        let (names, unfit) = found(&following);
        assert!(names.contains(&"data/link".to_owned()), "{names:?}");
        assert_eq!(unfit, ["bad\u{fffd}", "broken", "loop", "socket"]);
        let (names, unfit) = found(&search(&root.join("nothing")));
        assert_eq!((names.len(), unfit), (0, vec!["nothing".into()]));
        // Whoever names a link means what it leads to.
        let named = root.parent().unwrap().join("named");
        symlink(&root, &named).unwrap();
        let (names, unfit) = found(&search(&named));
        assert!(names.contains(&"named/a.tif".to_owned()), "{names:?}");
        assert!(!unfit.contains(&"named".to_owned()), "{unfit:?}");
    }

    #[test]
    fn a_list_names_what_is_sent() {
        let (dir, root) = tree();
        let list = dir.path().join("list");
        let listed = |text: String, null| {
            std::fs::write(&list, text).unwrap();
            let search = Search {
                roots: Vec::new(),
                list: Some(list.clone()),
                null,
                ..search(&root)
            };
            found(&search)
        };
        let root = root.display();
        let (names, unfit) = listed(format!("{root}/a.tif\n\n{root}/none\n{root}/sub"), false);
        let name = format!("{root}/a.tif");
        assert_eq!(
            names.iter().filter(|found| name.ends_with(*found)).count(),
            1
        );
        assert_eq!((names.len(), unfit), (3, vec!["none".into()]));
        let (names, _) = listed(format!("{root}/a.tif\0{root}/b.tmp\0"), true);
        assert_eq!(names.len(), 2);
        let long = listed("x".repeat(LINE_BYTES_MAX as usize + 1), false);
        assert_eq!(long.1, ["list"]);
    }
}
