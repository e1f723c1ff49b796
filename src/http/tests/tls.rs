//! TLS: handshakes, the choice of the protocol, and early answers through it.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::wire::{Wire, go_on, send, sent};
use super::{Handed, Server, by_hand, head, hello, read, text};
use crate::http::{Config, Route, Tls, TlsError};

const NAME: &str = "tidegate.test";

/// A server's certificate and key in files, and who trusts them.
struct Identity {
    cert: NamedTempFile,
    key: NamedTempFile,
    roots: Arc<RootCertStore>,
}

impl Identity {
    fn new() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        Self {
            cert: file(&cert.pem()),
            key: file(&signing_key.serialize_pem()),
            roots: Arc::new(roots),
        }
    }

    fn config(&self) -> Config {
        Config {
            tls: Some(Tls::load(self.cert.path(), self.key.path()).unwrap()),
            header_timeout: Duration::from_secs(3600),
            ..Config::default()
        }
    }

    async fn connect(&self, server: &Server, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
        let mut config = ClientConfig::builder()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(server.address).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, stream).await.unwrap()
    }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// What comes until the server closes, in an orderly way.
async fn rest(stream: &mut TlsStream<TcpStream>) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn http1_is_spoken_with_whoever_wants_it_or_does_not_choose() {
    let identity = Identity::new();
    let says_scheme = Route::any("/scheme", |request| async move {
        text(200, request.scheme.to_string())
    });
    let server = Server::start_with(identity.config(), [says_scheme]).await;
    for alpn in [&[b"http/1.1".as_slice()][..], &[]] {
        let mut client = identity.connect(&server, alpn).await;
        let request = head("GET /scheme", "Connection: close\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("https"), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_again_leaves_what_was_there() {
    let (old, new) = (Identity::new(), Identity::new());
    let config = old.config();
    let tls = config.tls.clone().unwrap();
    let server = Server::start_with(config, [hello()]).await;
    std::fs::copy(new.key.path(), old.key.path()).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Unusable(_))));
    drop(old.connect(&server, &[b"http/1.1"]).await);
    std::fs::copy(new.cert.path(), old.cert.path()).unwrap();
    tls.reload().unwrap();
    drop(new.connect(&server, &[b"http/1.1"]).await);
    server.stop().await;
}

#[tokio::test]
async fn interim_responses_come_through_it() {
    let identity = Identity::new();
    let (route, mut handed) = by_hand("/in");
    let server = Server::start_with(identity.config(), [route]).await;
    let mut client = Wire::new(identity.connect(&server, &[b"http/1.1"]).await);
    for _ in 0..3 {
        let fields = "Content-Length: 5\r\nExpect: 100-continue\r\n";
        client.send(head("POST /in", fields)).await;
        let Handed {
            mut request,
            answer,
        } = handed.recv().await.unwrap();
        assert!(send(&request.interim, "/1"));
        assert_eq!(client.message(false).await, sent("/1"));
        client.send("hello").await;
        assert_eq!(read(&mut request.body).await.0, 5);
        assert!(send(&request.interim, "/2"));
        answer.send(text(201, vec![b'x'; 1 << 20])).unwrap();
        let (interims, answer) = client.answer(false).await;
        assert_eq!(interims, [go_on(), sent("/2")]);
        assert_eq!((answer.status, answer.body.len()), (201, 1 << 20));
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn http2_is_preferred() {
    let identity = Identity::new();
    let server = Server::start_with(identity.config(), [hello()]).await;
    let client = identity.connect(&server, &[b"http/1.1", b"h2"]).await;
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client))
            .await
            .unwrap();
    drop(server.scope.spawn(connection));
    let request = http::Request::get(format!("https://{NAME}/hello"));
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "hello"
    );
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_writes_all_before_it_reads_still_reads_an_early_answer() {
    let identity = Identity::new();
    let gone = Route::any("/gone", |_| async { text(410, "gone") });
    let server = Server::start_with(identity.config(), [gone]).await;
    let mut client = identity.connect(&server, &[]).await;
    let request = head("PATCH /gone", "Content-Length: 8388608\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    client.write_all(&vec![7; 8 << 20]).await.unwrap();
    client.flush().await.unwrap();
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 410"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn whoever_does_not_shake_hands_is_let_go() {
    let identity = Identity::new();
    let server = Server::start_with(identity.config(), [hello()]).await;
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    let request = head("GET /hello", "");
    plain.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // An alert, or nothing; never what was asked for.
    drop(plain.read_to_end(&mut answer).await);
    assert!(answer.len() < 16, "{answer:?}");

    let hasty = Config {
        header_timeout: Duration::from_millis(50),
        ..identity.config()
    };
    let server_of_the_hasty = Server::start_with(hasty, [hello()]).await;
    let mut silent = TcpStream::connect(server_of_the_hasty.address)
        .await
        .unwrap();
    let closed = silent.read(&mut [0]).await;
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    server.stop().await;
    server_of_the_hasty.stop().await;
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    let (one, other) = (Identity::new(), Identity::new());
    let nothing = file("no PEM at all");
    let refused = |cert: &NamedTempFile, key: &NamedTempFile| {
        Tls::load(cert.path(), key.path()).expect_err("it is no pair")
    };
    let error = refused(&nothing, &one.key);
    assert!(error.to_string().contains("no certificate in"), "{error}");
    let error = refused(&one.cert, &nothing);
    assert!(error.to_string().contains("no private key in"), "{error}");
    assert!(matches!(
        refused(&one.cert, &other.key),
        TlsError::Unusable(_)
    ));
    let missing = Tls::load("/nowhere/at/all".as_ref(), one.key.path());
    let error = missing.expect_err("there is no such file").to_string();
    assert!(error.contains("/nowhere/at/all"), "{error}");
}
