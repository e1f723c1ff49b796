//! Stock clients against the binary: tus-js-client on Node, tuspy and schemathesis on Python. And ours, by its own tests.
//!
//! A test here runs one script of `tests/clients`. The script does what its first lines say, checks
//! what it sees on the way, compares what comes back byte for byte, prints one line of JSON about
//! it, and ends with status 0 or 1. Each can also be run by hand, against any server.
//!
//! The clients come from npm and PyPI. Where they are missing, these tests fail.

use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::jwt::{claims, claims_with, guarded};
use crate::support::script::{
    NOT_INSTALLED, folder, node, succeed, typescript, with_own_server, worker_python,
};
use crate::support::server::{Server, temp_dir};

fn python(script: &str) -> Command {
    let interpreter = folder().join(".venv/bin/python");
    assert!(interpreter.is_file(), "{NOT_INSTALLED}");
    let mut command = Command::new(interpreter);
    // Without leaving compiled files in the tree.
    command.arg("-B").arg(folder().join(script));
    command
}

/// A scenario with workers, which needs what they need.
fn with_workers(script: &str, server: &Server) -> Command {
    let mut command = Command::new(worker_python());
    command.arg("-B").arg(folder().join("worker").join(script));
    command.arg(format!("http://{}", server.addr()));
    command
}

/// Runs a script against a server of the test's.
async fn upload_with(mut command: Command) {
    let server = Server::start(&[]).await;
    command.arg(format!("http://{}/files", server.addr()));
    succeed(command).await;
}

/// Runs a script that starts and ends the server itself.
async fn interrupt_with(script: &str, arguments: &[&str]) {
    let mut command = with_own_server(script);
    command.args(arguments);
    succeed(command).await;
}

#[tokio::test]
async fn tus_js_client_uploads_a_file() {
    upload_with(node("tus-js/plain.mjs")).await;
}

/// A server that speaks TLS, and the certificate that its clients have to trust.
struct Secure {
    server: Server,
    cert: String,
    _files: TempDir,
}

impl Secure {
    async fn start() -> Self {
        let made =
            rcgen::generate_simple_self_signed([String::from("localhost")]).expect("a certificate");
        let files = temp_dir();
        let path = |name| files.path().join(name).display().to_string();
        let (cert, key) = (path("cert.pem"), path("key.pem"));
        std::fs::write(&cert, made.cert.pem()).expect("write the certificate");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("write its key");
        let server = Server::start(&["--tls-cert", &cert, "--tls-key", &key]).await;
        Self {
            server,
            cert,
            _files: files,
        }
    }

    /// Runs a script against it, with further arguments behind the URL.
    async fn succeed(&self, script: &str, arguments: &[&str]) {
        let mut command = node(script);
        command.env("NODE_EXTRA_CA_CERTS", &self.cert);
        let port = self.server.addr().port();
        command.arg(format!("https://localhost:{port}/files"));
        command.args(arguments);
        succeed(command).await;
    }
}

#[tokio::test]
async fn tus_js_client_uploads_a_file_over_tls() {
    let secure = Secure::start().await;
    let line = secure.server.stdout();
    assert!(line.contains(" https://"), "{line}");
    secure.succeed("tus-js/plain.mjs", &[]).await;
}

/// Whoever is cancelled learns it, every time, and does not send the file anew.
#[tokio::test]
async fn tus_js_client_sees_that_it_is_cancelled() {
    let server = Server::start(&[]).await;
    let mut command = node("cancel/node.mjs");
    command.arg(format!("http://{}/files", server.addr()));
    succeed(command).await;
}

#[tokio::test]
async fn tus_js_client_sees_that_it_is_cancelled_over_tls() {
    Secure::start().await.succeed("cancel/node.mjs", &[]).await;
}

/// A sender whose answer is lost asks with HEAD, and that must not make it begin anew.
#[tokio::test]
async fn tus_js_client_does_not_begin_anew_when_the_answer_is_lost() {
    let server = Server::start(&[]).await;
    let mut command = node("cancel/lost.mjs");
    command.arg(format!("http://{}/files", server.addr()));
    succeed(command).await;
}

#[tokio::test]
async fn chromium_sees_that_it_is_cancelled_over_http2() {
    let secure = Secure::start().await;
    secure.succeed("cancel/chromium.mjs", &["100"]).await;
}

/// Over HTTP/1.1 and TLS a browser loses an answer to a body that is not read to its end.
#[tokio::test]
async fn chromium_sees_that_it_is_cancelled_over_http1() {
    let secure = Secure::start().await;
    secure
        .succeed("cancel/chromium.mjs", &["100", "http1"])
        .await;
}

#[tokio::test]
async fn tus_js_client_uploads_an_empty_file() {
    upload_with(node("tus-js/empty.mjs")).await;
}

#[tokio::test]
async fn tus_js_client_uploads_in_chunks() {
    upload_with(node("tus-js/chunks.mjs")).await;
}

#[tokio::test]
async fn tus_js_client_uploads_data_during_creation() {
    upload_with(node("tus-js/creation.mjs")).await;
}

#[tokio::test]
async fn tus_js_client_overrides_the_patch_method() {
    upload_with(node("tus-js/override.mjs")).await;
}

#[tokio::test]
async fn tus_js_client_defers_the_length() {
    upload_with(node("tus-js/deferred.mjs")).await;
}

#[tokio::test]
async fn tus_js_client_uploads_in_parallel() {
    upload_with(node("tus-js/parallel.mjs")).await;
}

#[tokio::test]
async fn tus_js_client_resumes_what_another_left() {
    upload_with(node("tus-js/resume.mjs")).await;
}

#[tokio::test]
async fn tus_js_client_goes_on_after_cut_connections() {
    upload_with(node("tus-js/cut.mjs")).await;
}

#[tokio::test]
async fn tus_js_client_terminates_a_running_upload() {
    upload_with(node("tus-js/terminate.mjs")).await;
}

#[tokio::test]
async fn tus_js_client_speaks_draft_03() {
    speak_draft("ietf-draft-03").await;
}

#[tokio::test]
async fn tus_js_client_speaks_draft_05() {
    speak_draft("ietf-draft-05").await;
}

#[tokio::test]
async fn chromium_speaks_the_draft_as_the_readme_says() {
    upload_with(node("draft/chromium.mjs")).await;
}

#[tokio::test]
async fn node_and_chromium_send_forms_with_images() {
    upload_with(node("images/forms.mjs")).await;
}

/// Everything that tus-js-client can do in one version of the IETF draft.
async fn speak_draft(protocol: &str) {
    let server = Server::start(&[]).await;
    let mut command = node("tus-js/draft.mjs");
    command.arg(format!("http://{}/files", server.addr()));
    command.arg(protocol);
    succeed(command).await;
}

#[tokio::test]
async fn tus_js_client_outlasts_a_killed_server() {
    interrupt_with("tus-js/restart.mjs", &["--signal", "SIGKILL"]).await;
}

#[tokio::test]
async fn tus_js_client_outlasts_a_stopped_server() {
    interrupt_with("tus-js/restart.mjs", &["--signal", "SIGTERM"]).await;
}

#[tokio::test]
async fn tus_js_client_outlasts_three_random_kills() {
    interrupt_with("kill.mjs", &["--size", "64", "--kills", "3"]).await;
}

#[tokio::test]
async fn the_client_in_typescript_lists_and_cancels() {
    succeed(typescript("test/client.test.ts")).await;
}

#[tokio::test]
async fn the_client_in_typescript_follows_a_project() {
    succeed(typescript("test/feed.test.ts")).await;
}

#[tokio::test]
async fn the_plugin_for_uppy_takes_a_cancel_for_what_it_is() {
    succeed(typescript("test/uppy.test.ts")).await;
}

#[tokio::test]
async fn the_plugin_for_uppy_goes_on_after_a_reload() {
    succeed(typescript("test/restore.test.ts")).await;
}

#[tokio::test]
async fn tuspy_uploads_with_checksums() {
    upload_with(python("tuspy/checksum.py")).await;
}

#[tokio::test]
async fn tuspy_resumes_what_another_left() {
    upload_with(python("tuspy/resume.py")).await;
}

#[tokio::test]
async fn tuspy_is_refused_a_wrong_checksum() {
    upload_with(python("tuspy/wrong_checksum.py")).await;
}

#[tokio::test]
async fn schemathesis_finds_the_server_as_its_openapi_document_has_it() {
    let server = Server::start(&[]).await;
    let mut command = python("openapi/check.py");
    command.arg(format!("http://{}", server.addr()));
    succeed(command).await;
}

#[tokio::test]
async fn schemathesis_finds_a_server_that_checks_tokens_as_its_openapi_document_has_it() {
    let (server, signer) = guarded(&[]).await;
    let mut command = python("openapi/check.py");
    command.arg(format!("http://{}", server.addr()));
    command.env("TOKEN", signer.sign(&claims("ada")));
    command.env("OTHER_TOKEN", signer.sign(&claims("bob")));
    let worker = claims_with("worker", json!({"role": "worker"}));
    command.env("WORKER_TOKEN", signer.sign(&worker));
    succeed(command).await;
}

#[tokio::test]
async fn a_worker_finds_what_a_direct_call_finds() {
    let server = Server::start(&[]).await;
    succeed(with_workers("segment.py", &server)).await;
}

/// With a token for each, and none in the image's URL but what was lent for it.
#[tokio::test]
async fn a_worker_with_a_token_finds_the_same() {
    let (server, signer) = guarded(&[]).await;
    let mut command = with_workers("segment.py", &server);
    command.env("TOKEN", signer.sign(&claims("ada")));
    let worker = json!({"role": "worker", "models": ["otsu", "local"]});
    command.env("WORKER_TOKEN", signer.sign(&claims_with("machine", worker)));
    succeed(command).await;
}

#[tokio::test]
async fn a_cancel_stops_a_slow_inference_and_restores_the_image() {
    let server = Server::start(&[]).await;
    succeed(with_workers("cancel.py", &server)).await;
}

#[tokio::test]
async fn a_function_that_never_looks_is_killed() {
    let server = Server::start(&["--cancel-grace", "2s"]).await;
    succeed(with_workers("deaf.py", &server)).await;
}

#[tokio::test]
async fn a_worker_that_is_killed_or_stopped_loses_its_item() {
    let server = Server::start(&["--worker-lease", "3s", "--cancel-grace", "2s"]).await;
    succeed(with_workers("lost.py", &server)).await;
}
