//! tus 1.0.0 from the other side: what is asked of a server, and what of its answers is believed.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use tidegate_protocol::dialect::tus1::MEDIA_TYPE;
use tidegate_protocol::field::{name, offset, structured};
use tokio::time::timeout;

use super::hash::Sha256Sum;
use crate::cli::refusal::Refusal;
use crate::cli::server::{AskError, Body, Server, full};
use crate::id::UploadId;

/// How long an answer may take once all of the request is sent. Putting parts together, and syncing
/// a lot to a slow disk, take their time.
pub(super) const ANSWERED_WITHIN: Duration = Duration::from_secs(120);

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");

/// Where uploads are created, and what can be done there.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) server: Server,
    url: Uri,
    /// Whether uploads are at `/files/` and the id that their creation has named.
    is_home: bool,
    pub(super) can: Abilities,
}

/// What a server says of itself (tus, "OPTIONS").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is there or not, in any combination"
)]
pub(super) struct Abilities {
    /// Bytes of the upload may come with its creation.
    pub(super) creation_with_upload: bool,
    /// The length may follow.
    pub(super) deferred_length: bool,
    /// Uploads can be put together.
    pub(super) concatenation: bool,
    /// Uploads can be ended.
    pub(super) termination: bool,
    /// Complete uploads are told with their SHA-256.
    pub(super) digests: bool,
    /// The largest upload.
    pub(super) size_max: Option<u64>,
    /// The most bytes of one request.
    pub(super) append_max: Option<u64>,
}

/// An upload that is to exist.
#[derive(Debug)]
pub(super) struct Creation {
    /// Servers that know it make one upload of it, however often they are asked.
    pub(super) id: UploadId,
    pub(super) kind: Kind,
    /// As in `Upload-Metadata`; empty: none.
    pub(super) metadata: String,
    /// All of its bytes, if they come with it.
    pub(super) content: Option<bytes::Bytes>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Whole {
        length: u64,
    },
    /// Of unknown length.
    Deferred,
    /// To be put together with others.
    Part {
        length: u64,
    },
    /// Put together of these.
    Final {
        parts: Vec<String>,
    },
}

/// What an answer says of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) offset: Option<u64>,
    pub(super) sha256: Option<Sha256Sum>,
}

impl Abilities {
    /// # Errors
    /// The answer is not that of a server which can be sent to.
    fn read(headers: &HeaderMap) -> Result<Self, AskError> {
        let list = |name: &str| {
            let lines = headers.get_all(name).iter();
            let text = lines.filter_map(|line| line.to_str().ok());
            text.flat_map(|line| line.split(','))
                .map(|word| word.trim().to_owned())
                .collect::<Vec<_>>()
        };
        let strange = |what: &str| AskError::Strange(what.to_owned());
        if !list("tus-version").iter().any(|version| version == "1.0.0") {
            return Err(strange("it does not speak tus 1.0.0"));
        }
        let extensions = list("tus-extension");
        let has = |name: &str| extensions.iter().any(|extension| extension == name);
        if !has("creation") {
            return Err(strange("uploads cannot be created there"));
        }
        let bound = |text: &str| offset::parse(text.as_bytes()).ok();
        let limits = list(name::UPLOAD_LIMIT);
        let limit = |key: &str| {
            let pairs = limits.iter().filter_map(|pair| pair.split_once('='));
            let mut values = pairs.filter(|(name, _)| *name == key);
            values.next().and_then(|(_, value)| bound(value))
        };
        let size_max = headers
            .get("tus-max-size")
            .and_then(|size| size.to_str().ok());
        Ok(Self {
            creation_with_upload: has("creation-with-upload"),
            deferred_length: has("creation-defer-length"),
            concatenation: has("concatenation"),
            termination: has("termination"),
            digests: list("want-repr-digest")
                .iter()
                .any(|wanted| wanted.starts_with("sha-256")),
            size_max: size_max.and_then(bound),
            append_max: limit("max-append-size").filter(|bytes| *bytes > 0),
        })
    }
}

impl Told {
    fn read(headers: &HeaderMap) -> Result<Self, AskError> {
        let offset = offset::count(headers, name::UPLOAD_OFFSET);
        let sha256 = structured::sha256(headers, name::REPR_DIGEST);
        Ok(Self {
            offset: offset.map_err(|error| AskError::Strange(error.to_string()))?,
            sha256: sha256.and_then(|digest| digest.digest().try_into().ok()),
        })
    }

    /// The offset, which has to be within these bounds.
    ///
    /// # Errors
    /// There is none, or one that cannot be true.
    pub(super) fn offset_within(
        &self,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, AskError> {
        match self.offset {
            Some(offset) if bounds.contains(&offset) => Ok(offset),
            Some(offset) => {
                let (least, most) = bounds.into_inner();
                let what =
                    format!("it tells the offset {offset}, and only {least} to {most} can be true");
                Err(AskError::Strange(what))
            }
            None => Err(AskError::Strange("it tells no Upload-Offset".into())),
        }
    }
}

impl Endpoint {
    /// Asks the server what it can do. `is_home`: it is one like ours, where ids are chosen by clients.
    ///
    /// # Errors
    /// It does not answer, or is no tus server.
    ///
    /// # Cancel safety
    /// Cancel safe: it only asks.
    pub(super) async fn discover(
        server: Server,
        url: Uri,
        is_home: bool,
    ) -> Result<Self, AskError> {
        let mut this = Self {
            server,
            url,
            is_home,
            can: Abilities::default(),
        };
        let url = this.url.clone();
        let asked = async || this.ask(Method::OPTIONS, &url, &[]).await;
        let answer = this.server.renewing(asked).await?;
        this.can = Abilities::read(answer.headers())?;
        Ok(this)
    }

    /// Where uploads are created.
    pub(super) fn url(&self) -> &Uri {
        &self.url
    }

    /// Where an upload is or will be, if that is known by its id.
    pub(super) fn url_of(&self, upload: UploadId) -> Option<Uri> {
        let url = self.server.url(&format!("/files/{upload}"));
        url.ok().filter(|_| self.is_home)
    }

    /// What is sent to: the same for two runs that mean the same.
    pub(super) fn destination(&self) -> String {
        let caller = self.server.token().subject().unwrap_or_default();
        format!("{} {caller}", self.url)
    }

    /// Makes an upload, and returns its URL.
    ///
    /// # Errors
    /// There is no sound answer. The upload may exist.
    ///
    /// # Cancel safety
    /// As after an error.
    pub(super) async fn create(&self, creation: Creation) -> Result<(Uri, Told), AskError> {
        let mut request = Request::post(&self.url)
            .header(TUS_RESUMABLE, VERSION)
            .header(name::UPLOAD_ID, creation.id.to_string());
        request = match creation.kind {
            Kind::Whole { length } => request.header(name::UPLOAD_LENGTH, length),
            Kind::Deferred => request.header(name::UPLOAD_DEFER_LENGTH, 1),
            Kind::Part { length } => request
                .header(name::UPLOAD_LENGTH, length)
                .header(name::UPLOAD_CONCAT, "partial"),
            Kind::Final { parts } => {
                request.header(name::UPLOAD_CONCAT, format!("final;{}", parts.join(" ")))
            }
        };
        if !creation.metadata.is_empty() {
            request = request.header(name::UPLOAD_METADATA, creation.metadata);
        }
        if creation.content.is_some() {
            request = request.header(CONTENT_TYPE, MEDIA_TYPE);
        }
        let request = request.body(full(creation.content.unwrap_or_default()));
        let request = request.map_err(|error| AskError::Local(error.to_string()))?;
        let answer = self.answer(request).await?;
        let url = self.server.location(&answer, &self.url)?;
        Ok((url, Told::read(answer.headers())?))
    }

    /// Where an upload goes on, and what it is once it is complete.
    ///
    /// # Errors
    /// There is no sound answer.
    ///
    /// # Cancel safety
    /// Cancel safe: it only asks.
    pub(super) async fn retrieve(&self, url: &Uri) -> Result<Told, AskError> {
        let answer = self
            .ask(Method::HEAD, url, &[(TUS_RESUMABLE, VERSION)])
            .await?;
        Told::read(answer.headers())
    }

    /// A request that brings bytes from `offset` on, `length` of them if that is known. A deferred
    /// length is `declared`.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn append(
        &self,
        url: &Uri,
        offset: u64,
        length: Option<u64>,
        declared: Option<u64>,
        body: Body,
    ) -> Result<Request<Body>, AskError> {
        let mut request = Request::patch(url)
            .header(TUS_RESUMABLE, VERSION)
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header(name::UPLOAD_OFFSET, offset);
        if let Some(length) = length {
            request = request.header(http::header::CONTENT_LENGTH, length);
        }
        if let Some(declared) = declared {
            request = request.header(name::UPLOAD_LENGTH, declared);
        }
        request
            .body(body)
            .map_err(|error| AskError::Local(error.to_string()))
    }

    /// Sends it, and waits for as long as it takes: whoever sends bytes looks after the time.
    ///
    /// # Errors
    /// There is no sound answer.
    ///
    /// # Cancel safety
    /// The server may have kept some of it.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Told, AskError> {
        Told::read(self.server.send(request).await?.headers())
    }

    /// Ends an upload and removes what there is of it. One that is gone is ended.
    ///
    /// # Errors
    /// It may still be there.
    ///
    /// # Cancel safety
    /// As after an error.
    pub(super) async fn end(&self, url: &Uri) -> Result<(), AskError> {
        let asked = self
            .ask(Method::DELETE, url, &[(TUS_RESUMABLE, VERSION)])
            .await;
        match asked {
            Ok(_) => Ok(()),
            Err(AskError::Refused(refusal)) if is_gone(refusal.status) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Why a HEAD, whose answers have no words, was answered 410.
    ///
    /// # Errors
    /// Nor does the server tell now.
    ///
    /// # Cancel safety
    /// Cancel safe: it only asks.
    pub(super) async fn why_gone(&self, url: &Uri) -> Result<Refusal, AskError> {
        match self
            .ask(Method::GET, url, &[(TUS_RESUMABLE, VERSION)])
            .await
        {
            Err(AskError::Refused(refusal)) => Ok(refusal),
            Ok(_) => Err(AskError::Strange("what is gone can be read".into())),
            Err(error) => Err(error),
        }
    }

    async fn ask(
        &self,
        method: Method,
        url: &Uri,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Response<Incoming>, AskError> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let request = request.body(full(bytes::Bytes::new()));
        self.answer(request.map_err(|error| AskError::Local(error.to_string()))?)
            .await
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Incoming>, AskError> {
        let answer = timeout(ANSWERED_WITHIN, self.server.send(request)).await;
        answer.map_err(|_| AskError::Late)?
    }
}

/// Whether there is no such upload any more.
pub(super) fn is_gone(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}
