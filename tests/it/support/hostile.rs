//! Names that nobody means well with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use uuid::Uuid;

use super::server::files_in;

/// What names are made of that lead somewhere, or look like it.
const PIECES: [&str; 32] = [
    "..",
    "../",
    "..\\",
    "/",
    "\\",
    "C:",
    "~",
    ".",
    " ",
    "etc/passwd",
    "con",
    "a.png",
    "\"",
    "'",
    ";",
    "=",
    "%",
    "%2e%2e%2f",
    "%00",
    "\r",
    "\n",
    "\r\nX-Upload-Id: 1",
    "\t",
    "\0",
    "\u{1b}[2J",
    "\u{202e}gnp.",
    "\u{feff}",
    "\u{1f600}",
    "<script>",
    "$(reboot)",
    "; filename=b",
    "*",
];

pub(crate) fn name(rng: &mut Rng) -> String {
    match rng.u8(..20) {
        0 => String::from(".."),
        1 => "x".repeat(rng.usize(250..260)),
        2 => "\u{e4}".repeat(rng.usize(120..135)),
        3 => "../".repeat(rng.usize(1..60)) + "etc/passwd",
        _ => (0..rng.usize(0..8))
            .map(|_| PIECES[rng.usize(..PIECES.len())])
            .collect(),
    }
}

/// Every file has a name of the server's own.
pub(crate) fn assert_nothing_escaped(data: &Path, around: &Path) {
    let beside = std::fs::read_dir(around).expect("the directory").count();
    assert_eq!(beside, 1, "only the data directory");
    let name = |path: PathBuf| {
        path.file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    let names: BTreeSet<String> = files_in(data).into_iter().map(name).collect();
    let own = |name: &String| {
        Uuid::parse_str(name).is_ok()
            || ["LOCK", "STORE", "reserve"].contains(&name.as_str())
            || name.starts_with("tidegate.db")
    };
    let strange: Vec<_> = names.iter().filter(|name| !own(name)).collect();
    assert!(strange.is_empty(), "{strange:?}");
}
