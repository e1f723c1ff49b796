//! TLS on TCP: what the certificate proves, and HTTP/2 by ALPN.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

use super::io::Protocol;

/// What is offered in the handshake (RFC 7301), the preferred one first.
const OFFERED: [(&[u8], Protocol); 2] = [(b"h2", Protocol::Http2), (b"http/1.1", Protocol::Http1)];

/// The server's certificate and key. Clones share them.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    cert: PathBuf,
    key: PathBuf,
    /// Replaced when the files are read again.
    acceptor: RwLock<TlsAcceptor>,
}

/// Why connections cannot be secured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or has nothing of the kind in PEM.
    #[error("no {what} in `{}`: {source}", path.display())]
    File {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it was not found.
        source: pem::Error,
    },
    /// The key does not belong to the certificate, or one of them cannot be used.
    #[error("the certificate and the key cannot be used: {0}")]
    Unusable(#[source] rustls::Error),
}

impl Tls {
    /// Reads a chain of certificates, the server's own first, and its key, both in PEM. Blocks.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let acceptor = RwLock::new(acceptor(cert, key)?);
        let (cert, key) = (cert.to_owned(), key.to_owned());
        let shared = Shared {
            cert,
            key,
            acceptor,
        };
        Ok(Self(Arc::new(shared)))
    }

    /// Reads the files again, for the handshakes that come. Connections stay as they are. Blocks.
    ///
    /// # Errors
    /// See [`TlsError`]; what was there before goes on.
    pub fn reload(&self) -> Result<(), TlsError> {
        let acceptor = acceptor(&self.0.cert, &self.0.key)?;
        let current = self.0.acceptor.write();
        *current.unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }

    /// Shakes hands. The protocol is `None` if the client did not take part in the choice.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Protocol>)> {
        let acceptor = {
            let current = self.0.acceptor.read();
            current.unwrap_or_else(PoisonError::into_inner).clone()
        };
        let stream = acceptor.accept(stream).await?;
        let (_, session) = stream.get_ref();
        let chosen = session.alpn_protocol();
        let protocol = OFFERED.iter().find(|(name, _)| Some(*name) == chosen);
        Ok((stream, protocol.map(|(_, protocol)| *protocol)))
    }
}

fn acceptor(cert: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let file = |what, path: &Path, source| TlsError::File {
        what,
        path: path.to_owned(),
        source,
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain| match chain.is_empty() {
            true => Err(pem::Error::NoItemsFound),
            false => Ok(chain),
        })
        .map_err(|source| file("certificate", cert, source))?;
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|source| file("private key", key, source))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = OFFERED.map(|(name, _)| name.to_vec()).into();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
