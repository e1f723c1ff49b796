//! The commands beside `upload`, each against a real server.

use crate::support::server::Server;

#[tokio::test]
async fn what_is_told_wrongly_is_usage() {
    let server = Server::start(&[]).await;
    let outcome = server.cli().run(&["upload"]).await.expect_code(2);
    assert!(outcome.stderr.contains("Usage"), "{outcome}");
}
