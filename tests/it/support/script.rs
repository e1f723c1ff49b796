//! Scripts of `tests/clients`, each a scenario of its own: see the README there.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// Longer than any script allows itself.
const DEADLINE: Duration = Duration::from_secs(300);

/// Where servers listen that come back at the same port. The other tests listen at 127.0.0.1, so
/// that none of them takes the port meanwhile.
const OWN_HOST: &str = "127.0.0.2";

pub(crate) const NOT_INSTALLED: &str = "run make deps";

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

pub(crate) fn node(script: &str) -> Command {
    assert!(
        folder().join("node_modules/tus-js-client").is_dir(),
        "{NOT_INSTALLED}"
    );
    // Of a fixed version: Debian's may be too old for the browser's driver.
    let mut command = Command::new(folder().join("node_modules/.bin/node"));
    command.arg(folder().join(script));
    command
}

/// A file of tests of the client in TypeScript.
pub(crate) fn typescript(tests: &str) -> Command {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/js");
    assert!(client.join("dist/index.js").is_file(), "run make js");
    let mut command = Command::new(folder().join("node_modules/.bin/node"));
    command.args(["--test", tests]).current_dir(client);
    command.env("TIDEGATE_BIN", env!("CARGO_BIN_EXE_tidegate"));
    command
}

/// The interpreter of workers, with what they need.
pub(crate) fn worker_python() -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("workers/python/.venv");
    let interpreter = venv.join("bin/python");
    assert!(interpreter.is_file(), "{NOT_INSTALLED}");
    interpreter
}

/// A script that starts and ends servers itself.
pub(crate) fn with_own_server(script: &str) -> Command {
    let mut command = node(script);
    command.args([
        "--server",
        env!("CARGO_BIN_EXE_tidegate"),
        "--host",
        OWN_HOST,
    ]);
    command
}

/// Runs a script to its end, which must be a good one.
pub(crate) async fn succeed(mut command: Command) {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(DEADLINE, command.output())
        .await
        .unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {command:?}"))
        .unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => panic!("{NOT_INSTALLED}"),
            _ => panic!("{command:?}: {error}"),
        });
    let stderr = String::from_utf8_lossy(&output.stderr);
    // The harness shows both if the test fails.
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{stderr}");
    assert!(output.status.success(), "{}: {command:?}", output.status);
    // A server of the script's own logs there as well.
    assert!(!stderr.contains("panicked at"), "the server panicked");
}
