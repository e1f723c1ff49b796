//! The server that is spoken to. Its one invariant: requests, and the token with them, go to one
//! origin, whatever an answer says. Redirects are not followed.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;
use rustls_native_certs::load_native_certs;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};

use super::out;
use super::refusal::Refusal;
use super::text::clean;
use super::token::Token;
use crate::cancel::Scope;

/// How long one address may take to take a connection.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection is kept for the next request. Servers keep theirs longer.
const IDLE_MAX: Duration = Duration::from_secs(20);

/// What is read of an answer's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What is read of a refusal, and for how long.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
const REFUSAL_WITHIN: Duration = Duration::from_secs(5);

/// What is read of an answer in JSON: that to a batch of 10,000 items has 5 MB.
const JSON_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long an answer in JSON may take.
const JSON_WITHIN: Duration = Duration::from_secs(120);

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")));

/// A request's body.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A body of these bytes.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// The server at one origin.
#[derive(Clone)]
pub(super) struct Server(Arc<Inner>);

struct Inner {
    base: Base,
    client: legacy::Client<HttpsConnector<HttpConnector>, Body>,
    token: Token,
}

/// An origin, and the path under which everything is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    scheme: Scheme,
    authority: Authority,
    /// Without a slash at its end; empty at the root.
    path: String,
}

/// A text is no address of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UrlError {
    #[error("a URL of a server begins with http:// or https:// and names a host")]
    NotUrl,
    #[error("a URL of a server has no user, password, query or fragment: see `--token-file`")]
    TooMuch,
}

/// Why requests cannot be secured.
#[derive(Debug, thiserror::Error)]
#[error("TLS cannot be used: {0}")]
pub(super) struct TlsError(#[from] rustls::Error);

/// Why a request has no answer that is of any use.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The server refuses.
    #[error("{0}")]
    Refused(Refusal),
    /// It cannot be reached, or went away in between.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// It cannot be reached as it was named, or cannot prove who it is: somebody has to do something
    /// before it can.
    #[error("the server cannot be reached: {0}")]
    Misnamed(String),
    /// It did not answer in time.
    #[error("the server does not answer")]
    Late,
    /// It answers what no sound server would. Asking again is of no use.
    #[error("the server cannot be believed: {0}")]
    Strange(String),
    /// There are no certificates, or something else is amiss on this side.
    #[error("{0}")]
    Local(String),
}

impl AskError {
    /// The refusal, if it is one.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Unreachable(_)
            | Self::Misnamed(_)
            | Self::Late
            | Self::Strange(_)
            | Self::Local(_) => None,
        }
    }

    /// For how long the server wants to be left alone, if it says so.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.refusal().and_then(|refusal| refusal.retry_after)
    }

    /// For [`super::retry::patiently`], which tries again whatever may pass.
    pub(super) fn passing(&self) -> Option<Option<Duration>> {
        self.is_passing().then(|| self.retry_after())
    }

    /// Whether the same may come out otherwise another time.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_passing(),
            // A server that was there before is worth waiting for: names and certificates are put right.
            Self::Unreachable(_) | Self::Misnamed(_) | Self::Late => true,
            Self::Strange(_) | Self::Local(_) => false,
        }
    }
}

impl Base {
    /// # Errors
    /// See [`UrlError`].
    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::NotUrl)?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(UrlError::NotUrl);
        };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(UrlError::NotUrl);
        }
        let path = parts.path_and_query;
        let query = path.as_ref().and_then(PathAndQuery::query);
        if authority.as_str().contains('@') || query.is_some() || text.contains('#') {
            return Err(UrlError::TooMuch);
        }
        let path = path.as_ref().map_or("", PathAndQuery::path);
        Ok(Self {
            scheme,
            authority,
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    /// `path` of the server, which begins with a slash.
    fn join(&self, path: &str) -> Result<Uri, AskError> {
        self.at(&format!("{}{path}", self.path))
    }

    fn at(&self, path: &str) -> Result<Uri, AskError> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|error| AskError::Local(error.to_string()))
    }

    /// Whether both are at one origin.
    pub(super) fn is_origin_of(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.host() == other.host()
    }

    /// Host and port, where names are the same in any case.
    fn host(&self) -> (String, u16) {
        host(&self.scheme, &self.authority)
    }

    /// Why it cannot be reached, in the words of whoever can do something about it.
    fn unreachable(&self, error: &(dyn Error + 'static)) -> AskError {
        let host = clean(self.authority.as_str());
        let why = match of_tls(error) {
            Some(rustls::Error::InvalidMessage(_)) => {
                format!("{host} does not speak TLS: is it http://{host}?")
            }
            Some(rustls::Error::InvalidCertificate(error)) if is_of_authority(error) => {
                format!(
                    "the certificate of {host} is that of an authority (CA:TRUE), not of a server"
                )
            }
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => format!(
                "the certificate of {host} is not signed by an authority that this machine trusts: \
                 see SSL_CERT_FILE"
            ),
            Some(rustls::Error::InvalidCertificate(_)) => causes(error),
            _ => {
                let why = causes(error);
                return match is_no_host(&why) {
                    true => AskError::Misnamed(why),
                    false => AskError::Unreachable(why),
                };
            }
        };
        AskError::Misnamed(why)
    }

    /// What an answer to `asked` names as `location` (RFC 9110, section 10.2.2).
    ///
    /// # Errors
    /// It is nothing of this origin.
    fn locate(&self, location: &str, asked: &Uri) -> Result<Uri, AskError> {
        let strange = || {
            let location = clean(location);
            AskError::Strange(format!("it names `{location}`, which is not at {self}"))
        };
        let is_absolute = location
            .split_once("://")
            .is_some_and(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        if is_absolute {
            let uri: Uri = location.parse().map_err(|_| strange())?;
            let (scheme, authority) = (uri.scheme(), uri.authority());
            let is_here = match (scheme, authority) {
                (Some(scheme), Some(authority)) => {
                    *scheme == self.scheme && host(scheme, authority) == self.host()
                }
                _ => false,
            };
            return is_here.then_some(uri).ok_or_else(strange);
        }
        let path = match location.strip_prefix('/') {
            // Another host in the same scheme.
            Some(rest) if rest.starts_with('/') => return Err(strange()),
            Some(_) => location.to_owned(),
            None => {
                let folder = asked
                    .path()
                    .rsplit_once('/')
                    .map_or("", |(folder, _)| folder);
                format!("{folder}/{location}")
            }
        };
        self.at(&path).map_err(|_| strange())
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path)
    }
}

fn host(scheme: &Scheme, authority: &Authority) -> (String, u16) {
    let default = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let port = authority.port_u16().unwrap_or(default);
    (authority.host().to_ascii_lowercase(), port)
}

impl Server {
    /// Its connections run in `scope`. Reads the certificates that this machine trusts if they are
    /// needed, which blocks.
    ///
    /// # Errors
    /// TLS cannot be used.
    pub(super) fn new(base: Base, token: Token, scope: Scope) -> Result<Self, TlsError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECTED_WITHIN));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust(&base.scheme)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = legacy::Client::builder(Tasks(scope))
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self(Arc::new(Inner {
            base,
            client,
            token,
        })))
    }

    pub(super) fn token(&self) -> &Token {
        &self.0.token
    }

    /// The URL of `path`, which begins with a slash, on this server.
    pub(super) fn url(&self, path: &str) -> Result<Uri, AskError> {
        self.0.base.join(path)
    }

    /// The URL that an earlier answer has named, as it was remembered.
    ///
    /// # Errors
    /// It is not of this origin.
    pub(super) fn known(&self, url: &str) -> Result<Uri, AskError> {
        let root = self.url("/")?;
        self.0.base.locate(url, &root)
    }

    /// What the answer to a request for `asked` names as its `Location`.
    ///
    /// # Errors
    /// It names none, or one of another origin.
    pub(super) fn location<B>(&self, answer: &Response<B>, asked: &Uri) -> Result<Uri, AskError> {
        let field = answer.headers().get(LOCATION);
        let field = field.and_then(|field| field.to_str().ok());
        let field = field.ok_or_else(|| AskError::Strange("it names no Location".into()))?;
        self.0.base.locate(field, asked)
    }

    /// Sends a request of this origin, and waits for the head of an answer that is neither a
    /// refusal nor a redirect.
    ///
    /// # Errors
    /// There is no such answer.
    ///
    /// # Cancel safety
    /// Nobody knows then what the server has made of it.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, AskError> {
        let fields = request.headers_mut();
        fields.insert(USER_AGENT, AGENT);
        if let Some(token) = self.0.token.field() {
            fields.insert(AUTHORIZATION, token);
        }
        let answer = self.0.client.request(request).await;
        let answer = answer.map_err(|error| self.0.base.unreachable(&error))?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status if status.is_redirection() && status != StatusCode::NOT_MODIFIED => {
                let to = answer.headers().get(LOCATION);
                let to = to.map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
                let to = clean(to.as_deref().unwrap_or("nowhere")).into_owned();
                let status = status.as_u16();
                let what = format!("it redirects ({status}) to {to}, which is not followed");
                Err(AskError::Strange(what))
            }
            status => {
                let (head, body) = answer.into_parts();
                let body = Limited::new(body, REFUSAL_BYTES_MAX).collect();
                let body = timeout(REFUSAL_WITHIN, body)
                    .await
                    .ok()
                    .and_then(Result::ok);
                let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                Err(AskError::Refused(Refusal::new(
                    status,
                    &head.headers,
                    &body,
                )))
            }
        }
    }

    /// Calls something that speaks JSON, and returns all of the answer. A token that is not good any
    /// more is read anew once.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal or not of this form.
    ///
    /// # Cancel safety
    /// Nobody knows then what the server has made of it.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, AskError> {
        let body = body.map(serde_json::to_vec).transpose();
        let body = body.map_err(|error| AskError::Local(error.to_string()))?;
        let body = body.map(Bytes::from);
        let url = self.url(path)?;
        let ask = async || {
            let mut request = Request::builder().method(&method).uri(&url);
            if body.is_some() {
                request = request.header(CONTENT_TYPE, "application/json");
            }
            let request = request.body(full(body.clone().unwrap_or_default()));
            let request = request.map_err(|error| AskError::Local(error.to_string()))?;
            let answer = self.send(request).await?;
            let content = Limited::new(answer.into_body(), JSON_BYTES_MAX).collect();
            let content = content
                .await
                .map_err(|error| AskError::Unreachable(format!("no whole answer: {error}")))?;
            let content = content.to_bytes();
            let parsed = serde_json::from_slice(&content);
            parsed.map_err(|error| AskError::Strange(format!("no JSON as expected: {error}")))
        };
        self.renewing(async || {
            let answer = timeout(JSON_WITHIN, ask()).await;
            answer.unwrap_or(Err(AskError::Late))
        })
        .await
    }

    /// Asks again, once, if the token was not good any more and there is another one.
    ///
    /// # Errors
    /// As `ask`.
    pub(super) async fn renewing<T>(
        &self,
        ask: impl AsyncFn() -> Result<T, AskError>,
    ) -> Result<T, AskError> {
        let token = self.0.token.field();
        let answer = ask().await;
        let refusal = answer.as_ref().err().and_then(AskError::refusal);
        let is_refused = refusal.is_some_and(|refusal| refusal.status == StatusCode::UNAUTHORIZED);
        match is_refused && self.0.token.renew(token.as_ref()).await {
            true => ask().await,
            false => answer,
        }
    }

    /// [`Self::call`] of a GET.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        self.call(Method::GET, path, None::<&()>).await
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.0.base).finish()
    }
}

/// Servers are believed whom this machine believes. Tells why it believes nobody.
fn trust(scheme: &Scheme) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    if *scheme == Scheme::HTTPS {
        let found = load_native_certs();
        let (count, _) = roots.add_parsable_certificates(found.certs);
        let why = found.errors.first().map(|error| causes(error));
        let is_named =
            ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(|name| std::env::var_os(name).is_some());
        match (count, why) {
            (0, why) => {
                let why = why.unwrap_or_else(|| "there is none".into());
                let advice = "name a file with some in SSL_CERT_FILE";
                out::tell(&format!(
                    "tidegate: no certificate of an authority can be used: {why}; {advice}"
                ));
            }
            (_, Some(why)) if is_named.contains(&true) => out::tell(&format!(
                "tidegate: not all that SSL_CERT_FILE or SSL_CERT_DIR name can be used: {why}"
            )),
            _ => {}
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What TLS has to say of it.
fn of_tls<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // What one of these is made of is not its source.
        let within = error.downcast_ref().and_then(io::Error::get_ref);
        next = match within {
            Some(within) => Some(within),
            None => error.source(),
        };
    }
    None
}

/// Whether a certificate is that of an authority, which rustls tells in the words of webpki.
fn is_of_authority(error: &CertificateError) -> bool {
    match error {
        CertificateError::Other(error) => format!("{:?}", error.0) == "CaUsedAsEndEntity",
        _ => false,
    }
}

/// Whether the resolver has said that there is no such host. All that is known of it is a text.
fn is_no_host(causes: &str) -> bool {
    let is_passing = ["Temporary failure", "Try again"].map(|words| causes.contains(words));
    causes.contains("dns error") && !is_passing.contains(&true)
}

/// An error and what has caused it, in one line that is safe to show.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Many errors repeat what has caused them.
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = error.source();
    }
    clean(&words).into_owned()
}

/// Runs connections.
#[derive(Clone)]
struct Tasks(Scope);

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(async move {
            future.await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> Base {
        Base::parse(text).unwrap()
    }

    #[test]
    fn a_server_is_an_origin_and_a_path() {
        let at = |text: &str| base(text).join("/files").unwrap().to_string();
        assert_eq!(at("http://127.0.0.1:7070"), "http://127.0.0.1:7070/files");
        assert_eq!(
            at("https://lab.example/tide/"),
            "https://lab.example/tide/files"
        );
        for wrong in [
            "",
            "lab.example",
            "/files",
            "ftp://lab.example",
            "http://",
            "http:///x",
        ] {
            assert_eq!(Base::parse(wrong), Err(UrlError::NotUrl), "{wrong}");
        }
        for more in [
            "http://token@lab.example",
            "http://ann:secret@lab.example",
            "http://lab.example/?token=x",
            "http://lab.example/#x",
        ] {
            assert_eq!(Base::parse(more), Err(UrlError::TooMuch), "{more}");
        }
    }

    #[test]
    fn only_what_is_at_the_origin_is_followed() {
        let here = base("https://Lab.example/tide");
        let asked = here.join("/files").unwrap();
        for (location, url) in [
            ("https://lab.example/files/1", "https://lab.example/files/1"),
            (
                "https://LAB.example:443/files/1",
                "https://LAB.example:443/files/1",
            ),
            ("/files/1", "https://Lab.example/files/1"),
            ("1", "https://Lab.example/tide/1"),
        ] {
            assert_eq!(here.locate(location, &asked).unwrap().to_string(), url);
        }
        for foreign in [
            "http://lab.example/files/1",
            "https://lab.example:8443/files/1",
            "https://evil.example/files/1",
            "//evil.example/files/1",
            "https://lab.example@evil.example/1",
            "javascript://lab.example/",
            "/a b",
            "",
        ] {
            let located = here.locate(foreign, &asked);
            let is_refused = matches!(located, Err(AskError::Strange(_)));
            assert!(is_refused || foreign.is_empty(), "{foreign} {located:?}");
        }
    }

    /// As hyper-rustls and hyper-util wrap it.
    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Wrapped(#[source] io::Error);

    fn told(error: rustls::Error) -> AskError {
        let error = Wrapped(io::Error::other(io::Error::other(error)));
        base("https://lab.example:8443").unreachable(&error)
    }

    #[test]
    fn what_is_amiss_with_tls_is_told_so_that_somebody_can_help() {
        use std::sync::Arc;
        use tokio_rustls::rustls::{InvalidMessage, OtherError};
        let authority = OtherError(Arc::new(Plain("CaUsedAsEndEntity")));
        let certificate = rustls::Error::InvalidCertificate;
        for (error, words) in [
            (
                InvalidMessage::InvalidContentType.into(),
                "is it http://lab.example:8443?",
            ),
            (certificate(CertificateError::Other(authority)), "(CA:TRUE)"),
            (
                certificate(CertificateError::UnknownIssuer),
                "SSL_CERT_FILE",
            ),
            (certificate(CertificateError::Expired), "expired"),
        ] {
            let told = told(error);
            assert!(matches!(told, AskError::Misnamed(_)), "{told}");
            assert!(
                told.to_string()
                    .to_lowercase()
                    .contains(&words.to_lowercase()),
                "{told}"
            );
        }
        let cut_off = told(rustls::Error::HandshakeNotComplete);
        assert!(matches!(cut_off, AskError::Unreachable(_)), "{cut_off}");
    }

    /// Shows itself as a variant of webpki's.
    struct Plain(&'static str);

    impl fmt::Debug for Plain {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl fmt::Display for Plain {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Plain {}

    #[test]
    fn a_host_that_is_unknown_is_another_thing_than_a_resolver_that_is_away() {
        let failed = "client error (Connect): dns error: failed to lookup address information";
        assert!(is_no_host(&format!("{failed}: Name or service not known")));
        assert!(!is_no_host(&format!(
            "{failed}: Temporary failure in name resolution"
        )));
        assert!(!is_no_host(
            "client error (Connect): tcp connect error: refused"
        ));
    }
}
