//! SIGHUP: a new certificate without a connection being dropped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::eventually;
use crate::support::server::{Server, temp_dir};

/// Where the server finds its certificate and key.
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn in_folder(folder: &Path) -> Self {
        Self {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        }
    }

    /// Replaces both by new ones, and returns what a client has to trust.
    fn renew(&self) -> CertificateDer<'static> {
        let names = vec![String::from("localhost")];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        std::fs::write(&self.cert, made.cert.pem()).expect("write the certificate");
        std::fs::write(&self.key, made.signing_key.serialize_pem()).expect("write its key");
        made.cert.der().clone()
    }
}

/// Shakes hands, trusting this one certificate.
async fn connect(
    server: &Server,
    trusted: &CertificateDer<'static>,
) -> Option<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(server.addr()).await.expect("connect");
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.ok()
}

/// That the connection is alive.
async fn ask(stream: &mut TlsStream<TcpStream>) {
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await.expect("send");
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") && !answer.ends_with(b"ok") {
        let read = stream.read_buf(&mut answer).await.expect("read");
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_no_connection_is_dropped() {
    let folder = temp_dir();
    let files = Files::in_folder(folder.path());
    let old = files.renew();
    let (cert, key) = (
        files.cert.display().to_string(),
        files.key.display().to_string(),
    );
    let server = Server::start(&["--tls-cert", &cert, "--tls-key", &key]).await;
    let mut before = connect(&server, &old).await.expect("the first certificate");
    ask(&mut before).await;

    let new = files.renew();
    assert!(
        connect(&server, &new).await.is_none(),
        "nobody has asked for it"
    );
    server.sighup();
    let mut after = eventually("the new certificate is shown", async || {
        connect(&server, &new).await
    })
    .await;
    assert!(connect(&server, &old).await.is_none());
    ask(&mut before).await;
    ask(&mut after).await;

    std::fs::write(&files.key, "no key").expect("spoil the key");
    server.sighup();
    eventually("it is said that they cannot be used", async || {
        server.stderr().contains("stay as they were").then_some(())
    })
    .await;
    let mut still = connect(&server, &new).await.expect("the last good one");
    ask(&mut still).await;
    ask(&mut before).await;
}
