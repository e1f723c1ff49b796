//! The house rules as tests.
//!
//! Each rule is a test whose failure says where it is broken and what to do about it. Each detector
//! is tested as well, on text that breaks its rule: a rule that cannot fail is not kept.
//!
//! | rules about | file |
//! |---|---|
//! | who may import whom, purity, concrete types | `imports` |
//! | sizes of files and functions | `sizes` |
//! | words that must not appear | `words` |
//! | the two databases' migrations | `migrations` |
//! | versions, licences and sources of dependencies | `dependencies`, `npm` |
//! | where the page for browsers loads from | `page` |
//! | links between documents | `links` |
//!
//! Nothing is used here but the standard library, and nothing of the server is linked: these tests
//! read the tree as text, and `source` knows as much of Rust's grammar as that takes.

mod dependencies;
mod imports;
mod links;
mod migrations;
mod npm;
mod page;
mod sizes;
mod source;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};

use source::Source;

/// Folders that hold no source of ours.
const FOREIGN_FOLDERS: [&str; 12] = [
    ".git",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    "__pycache__",
    "artifacts",
    "corpus",
    "dist",
    "node_modules",
    "target",
    "tidegate-data",
];

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// Counted from 1; 0 for the file as a whole.
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Fails with every finding and the way out.
#[track_caller]
fn assert_none(findings: &[Finding], what_to_do: &str) {
    if findings.is_empty() {
        return;
    }
    let lines: Vec<String> = findings
        .iter()
        .map(|finding| format!("  {finding}"))
        .collect();
    panic!(
        "{} found:\n{}\nWhat to do: {what_to_do}",
        findings.len(),
        lines.join("\n")
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the tree: its path from the root, with `/`, and its text. Sorted.
fn texts() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).expect("read a folder") {
            let entry = entry.expect("read a folder");
            let name = entry.file_name().into_string().expect("names are UTF-8");
            let kind = entry.file_type().expect("read a folder");
            let path = folder.join(&name);
            if kind.is_dir() && !FOREIGN_FOLDERS.contains(&name.as_str()) {
                folders.push(path);
            } else if kind.is_file()
                && let Ok(text) = std::fs::read_to_string(entry.path())
            {
                let path = path
                    .into_os_string()
                    .into_string()
                    .expect("names are UTF-8");
                texts.push((path, text));
            }
        }
    }
    texts.sort();
    texts
}

/// Every Rust file of the tree.
fn sources() -> Vec<Source> {
    let rust = texts()
        .into_iter()
        .filter(|(path, _)| path.ends_with(".rs"));
    let mut sources: Vec<_> = rust.map(|(path, text)| Source::new(&path, &text)).collect();
    source::mark_test_files(&mut sources);
    sources
}

/// A tree of one file, for tests of the detectors.
fn sample(path: &str, text: &str) -> [Source; 1] {
    [Source::new(path, text)]
}

#[test]
fn the_tree_is_read() {
    let sources = sources();
    for path in [
        "src/main.rs",
        "src/lib.rs",
        "protocol/src/lib.rs",
        "tests/tidy/main.rs",
    ] {
        assert!(
            sources.iter().any(|source| source.path == path),
            "{path} was not read"
        );
    }
}
