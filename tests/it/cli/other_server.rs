//! `tidegate upload --endpoint`: to a tus server that is another program.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::tree::{Files, KIB, MIB, lay};
use crate::support::cli::{Cli, Running};
use crate::support::server::temp_dir;
use crate::support::{assert_same_bytes, content, eventually};

/// `@tus/server`, which stores what it is sent in a folder.
struct Other {
    _running: Running,
    url: String,
    folder: TempDir,
}

impl Other {
    /// `extensions`: only these, with commas.
    async fn start(extensions: &[&str]) -> Self {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let node = clients.join("node_modules/.bin/node");
        assert!(node.exists(), "run make deps");
        let folder = temp_dir();
        let mut command = Command::new(node);
        command.arg(clients.join("cli/server.mjs"));
        command.arg(folder.path()).args(extensions);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let running = Running::of(command);
        running.says("/uploads\n").await;
        let url = running.stdout().trim().to_owned();
        Self {
            _running: running,
            url,
            folder,
        }
    }

    fn cli(&self) -> Cli {
        Cli::new("http://127.0.0.1:1")
    }

    /// The files with the bytes of uploads.
    fn stored(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path()).expect("a folder");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_none()).collect()
    }

    /// It has these files and nothing else.
    fn expect(&self, wanted: &Files) {
        let mut found = Files::new();
        for path in self.stored() {
            let about = std::fs::read_to_string(path.with_extension("json")).expect("metadata");
            let about: serde_json::Value = serde_json::from_str(&about).expect("JSON");
            let name = about["metadata"]["relativePath"].as_str().expect("a name");
            let bytes = std::fs::read(&path).expect("bytes");
            assert!(
                found.insert(name.to_owned(), bytes).is_none(),
                "{name} is there twice"
            );
        }
        let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(wanted));
        for (name, bytes) in wanted {
            assert_same_bytes(&found[name], bytes, name);
        }
    }
}

const TREE: [(&str, usize); 5] = [
    ("d/empty", 0),
    ("d/small.txt", 100),
    ("d/s/\u{6771}\u{4eac} 1.tif", 256 * KIB),
    ("d/s/above", 256 * KIB + 1),
    ("d/large", 9 * MIB),
];

#[tokio::test]
async fn a_tree_arrives_at_another_server_and_is_not_verified() {
    let other = Other::start(&[]).await;
    let cli = other.cli();
    let files = lay(&cli, &TREE);
    let arguments = ["upload", "d", "--endpoint", &other.url];
    let sent = cli.run(&arguments).await.expect_code(0);
    assert!(sent.stderr.contains("5 not verified"), "{sent}");
    other.expect(&files);
    let again = cli.run(&arguments).await.expect_code(0);
    assert!(again.stderr.contains("5 sent before"), "{again}");
    other.expect(&files);
    let both = ["upload", "d", "--endpoint", &other.url, "--project", "x"];
    cli.run(&both).await.expect_code(2);
}

/// One that cannot put parts together gets a file in one.
#[tokio::test]
async fn a_server_that_can_only_create_gets_everything() {
    let other = Other::start(&["creation"]).await;
    let cli = other.cli();
    let files = lay(&cli, &[&TREE[..], &[("d/huge", 25 * MIB)]].concat());
    let arguments = [
        "upload",
        "d",
        "--parallel",
        "3",
        "--json",
        "--endpoint",
        &other.url,
    ];
    let sent = cli.run(&arguments).await.expect_code(0);
    assert_eq!(sent.summary()["unverified"], files.len(), "{sent}");
    other.expect(&files);
    let stdin = cli.run(&["upload", "-", "--endpoint", &other.url]).await;
    let stdin = stdin.expect_code(1);
    assert!(stdin.stderr.contains("unknown length"), "{stdin}");
}

#[tokio::test]
async fn a_killed_client_goes_on_where_it_was_at_another_server() {
    const SIZE: usize = 6 * MIB;
    let other = Other::start(&[]).await;
    let cli = other.cli();
    let files = lay(&cli, &[("d/large", SIZE)]);
    let arguments = ["upload", "d", "--json", "--endpoint", &other.url];
    let running = cli.spawn(&[&arguments[..], &["--limit-rate", "4M"]].concat());
    let stored = || {
        other
            .stored()
            .iter()
            .filter_map(|path| path.metadata().ok())
            .map(|it| it.len())
            .sum::<u64>()
    };
    eventually("some of it is stored", async || {
        (stored() >= MIB as u64).then_some(())
    })
    .await;
    running.kill();
    running.finish().await;
    let sent = cli.run(&arguments).await.expect_code(0);
    let bytes = sent.summary()["bytesSent"].as_u64().expect("bytes");
    assert!(bytes <= (SIZE - MIB) as u64, "{sent}");
    other.expect(&files);
}

#[tokio::test]
async fn standard_input_arrives_at_another_server() {
    let other = Other::start(&[]).await;
    let cli = other.cli();
    let bytes = content(9, 9 * MIB);
    let source = cli.write("source", &bytes);
    let arguments = ["upload", "-", "--name", "a.tar", "--endpoint", &other.url];
    let mut command = cli.command(&arguments);
    command.stdin(File::open(source).expect("open"));
    let sent = Running::of(command).finish().await.expect_code(0);
    assert!(sent.stderr.contains("not verified"), "{sent}");
    other.expect(&[("a.tar".to_owned(), bytes)].into());
}
