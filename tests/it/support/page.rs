//! The page as it is in the tree, which is what the program must serve.

use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("web/dist")
}

/// The names of its assets, in order.
pub(crate) fn assets() -> Vec<String> {
    let entries = std::fs::read_dir(folder().join("assets")).expect("read web/dist/assets");
    let names = entries.map(|entry| entry.expect("read web/dist/assets").file_name());
    let mut names: Vec<_> = names
        .map(|name| name.into_string().expect("names are UTF-8"))
        .collect();
    names.sort();
    names
}

/// What is in the file that is served at this path.
pub(crate) fn content(path: &str) -> Vec<u8> {
    let file = match path {
        "/" => "index.html",
        asset => asset.trim_start_matches('/'),
    };
    std::fs::read(folder().join(file)).expect("read web/dist")
}
