//! The page in a real Chromium: scripts of `tests/clients/page`.
//!
//! A test here runs one script, as those of [`super::clients`] do. Each fails as well if the page
//! complains in the console or breaks its `Content-Security-Policy`.

use tokio::process::Command;

use crate::support::script::{node, succeed, with_own_server, worker_python};
use crate::support::server::Server;

/// A script, and the server that it is about: its creation URL and its data.
fn at(script: &str, server: &Server) -> Command {
    let mut command = node(script);
    command.arg(format!("http://{}/files", server.addr()));
    command.arg(server.data_dir());
    command
}

async fn look(script: &str) {
    let server = Server::start(&[]).await;
    succeed(at(script, &server)).await;
}

#[tokio::test]
async fn files_and_folders_are_uploaded_paused_and_cancelled() {
    look("page/upload.mjs").await;
}

#[tokio::test]
async fn uploads_outlive_a_reload() {
    look("page/reload.mjs").await;
}

#[tokio::test]
async fn a_remote_cancel_ends_an_upload_for_good() {
    look("page/remote.mjs").await;
}

#[tokio::test]
async fn uploads_outlive_the_network_and_the_server() {
    succeed(with_own_server("page/network.mjs")).await;
}

#[tokio::test]
async fn what_others_do_is_shown_and_can_be_cancelled() {
    look("page/operations.mjs").await;
}

#[tokio::test]
async fn the_page_is_for_everybody() {
    succeed(with_own_server("page/a11y.mjs")).await;
}

#[tokio::test]
async fn images_are_shown_segmented_and_stopped() {
    let server = Server::start(&[]).await;
    let mut command = at("page/images.mjs", &server);
    command.arg(worker_python());
    succeed(command).await;
}

#[tokio::test]
async fn projects_are_exported_and_events_shown() {
    look("page/export.mjs").await;
}

#[tokio::test]
async fn users_sign_in_and_share_a_project() {
    succeed(with_own_server("page/people.mjs")).await;
}
