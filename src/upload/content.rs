//! Reading what is complete: ranges, validators, and fields that keep a browser from running it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use tidegate_protocol::dialect::rufh;
use tidegate_protocol::field::metadata::Metadata;
use tidegate_protocol::field::precondition::{self, Validators, Verdict};
use tidegate_protocol::field::range::{self, Selection};
use tidegate_protocol::field::{date, disposition, media, structured};
use tidegate_protocol::problem::Problem;
use tidegate_protocol::request::Protocol;
use tidegate_protocol::response::Resource;

use super::store::{Kind, Seen, State, Upload};
use super::stored::{Segment, Stored};
use super::{Uploads, refuse};
use crate::auth::Caller;
use crate::http::{OutBody, Response};
use crate::id::UploadId;

/// Bytes read from the store at a time.
const READ_BYTES: u64 = 256 * 1024;

/// Answers a GET of an upload, and says what it is about.
///
/// # Errors
/// The problem to answer with.
pub(super) async fn read(
    uploads: &Arc<Uploads>,
    id: UploadId,
    caller: &Caller,
    head: &Parts,
) -> Result<(Response, Resource), Problem> {
    let Seen { upload, .. } = uploads.settled(id, caller).await?;
    if let Some(problem) = refuse::ended(&upload) {
        return Err(problem);
    }
    if upload.state != State::Completed {
        return Err(Problem::UploadIncomplete);
    }
    let resource = upload.resource();
    let content = Content::of(uploads, upload).await?;
    Ok((content.answer(head)?, resource))
}

/// A complete upload, and what is told of it.
struct Content {
    upload: Upload,
    /// Its bytes: of a final upload those of its parts, of any other its own.
    stored: Stored,
    /// Quoted; empty while the digest of a final upload is still to come.
    etag: String,
}

impl Content {
    async fn of(uploads: &Uploads, upload: Upload) -> Result<Self, Problem> {
        let parts = match upload.kind {
            Kind::Whole | Kind::Partial => vec![upload.clone()],
            Kind::Final => uploads
                .store
                .parts(upload.id)
                .await
                .map_err(|error| refuse::store(&error))?,
        };
        // Content never changes, so where there is no digest to come the id is a validator too.
        let tag = match (&upload.sha256, uploads.config.digest) {
            (Some(sha256), _) => Some(sha256.clone()),
            (None, true) => None,
            (None, false) => Some(upload.id.to_string()),
        };
        let etag = tag.map_or_else(String::new, |tag| format!("\"{tag}\""));
        let segments = parts.iter().map(|part| Segment {
            blob: part.id,
            bytes: part.offset,
        });
        Ok(Self {
            upload,
            stored: Stored::new(segments, uploads.blobs.clone()),
            etag,
        })
    }

    fn answer(self, head: &Parts) -> Result<Response, Problem> {
        let length = self.upload.offset;
        let completed_at = self.upload.completed_at.unwrap_or(self.upload.updated_at);
        let modified = u64::try_from(completed_at / 1000).unwrap_or(0);
        let validators = Validators {
            etag: &self.etag,
            modified,
        };
        match precondition::evaluate(&head.headers, &validators) {
            Verdict::Proceed => {}
            Verdict::Failed => return Err(Problem::PreconditionFailed),
            Verdict::NotModified => {
                let mut response = Response::new(OutBody::empty());
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                self.describe(&mut response, modified);
                return Ok(response);
            }
        }
        let mut response = match range::requested(&head.headers, &validators, length) {
            Selection::Unsatisfiable => return Err(Problem::RangeNotSatisfiable { length }),
            Selection::Whole => self.whole(length),
            Selection::Parts(parts) => match <[Range<u64>; 1]>::try_from(parts) {
                Ok([part]) => self.part(part, length),
                Err(parts) => self.parts(&parts, length),
            },
        };
        self.describe(&mut response, modified);
        Ok(response)
    }

    fn whole(&self, length: u64) -> Response {
        let mut response = Response::new(self.body(vec![Piece::Content(0..length)]));
        self.put_content_type(&mut response);
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        response
    }

    fn part(&self, part: Range<u64>, length: u64) -> Response {
        let bytes = part.end - part.start;
        let content_range = range::satisfied(&part, length);
        let mut response = Response::new(self.body(vec![Piece::Content(part)]));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        self.put_content_type(&mut response);
        response
            .headers_mut()
            .insert(header::CONTENT_RANGE, content_range);
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        response
    }

    /// `multipart/byteranges` (RFC 9110, section 14.6).
    fn parts(&self, parts: &[Range<u64>], length: u64) -> Response {
        // Random, so that no content holds it on purpose.
        let boundary = UploadId::random().to_string();
        let content_type = self.content_type();
        let mut pieces = Vec::with_capacity(parts.len() * 2 + 1);
        let mut total = 0;
        for part in parts {
            let mut head = format!("\r\n--{boundary}\r\ncontent-type: ").into_bytes();
            head.extend_from_slice(content_type.as_bytes());
            head.extend_from_slice(b"\r\ncontent-range: ");
            head.extend_from_slice(range::satisfied(part, length).as_bytes());
            head.extend_from_slice(b"\r\n\r\n");
            total += head.len() as u64 + (part.end - part.start);
            pieces.push(Piece::Text(Bytes::from(head)));
            pieces.push(Piece::Content(part.clone()));
        }
        let end = Bytes::from(format!("\r\n--{boundary}--\r\n"));
        total += end.len() as u64;
        pieces.push(Piece::Text(end));
        let mut response = Response::new(self.body(pieces));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let media_type = format!("multipart/byteranges; boundary={boundary}");
        if let Ok(media_type) = HeaderValue::from_str(&media_type) {
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, media_type);
        }
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(total));
        response
    }

    fn content_type(&self) -> HeaderValue {
        media::content_type(
            Metadata::from_stored(self.upload.metadata.clone())
                .filetype()
                .as_deref(),
        )
    }

    fn put_content_type(&self, response: &mut Response) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, self.content_type());
    }

    /// The fields that every answer about this content has, a 304 included.
    fn describe(&self, response: &mut Response, modified: u64) {
        let metadata = Metadata::from_stored(self.upload.metadata.clone());
        let disposition = disposition::content_disposition(
            metadata.filename().as_deref(),
            metadata.filetype().as_deref(),
        );
        let fields = response.headers_mut();
        if self.upload.protocol != Protocol::Tus {
            put_coding(fields, &metadata);
        }
        if let Ok(etag) = HeaderValue::from_str(&self.etag)
            && !etag.is_empty()
        {
            fields.insert(header::ETAG, etag);
        }
        fields.insert(header::LAST_MODIFIED, date::value(modified));
        if let Some(digest) = self
            .upload
            .sha256
            .as_deref()
            .and_then(structured::from_sha256)
        {
            fields.insert("repr-digest", digest);
        }
        fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        fields.insert(header::CONTENT_DISPOSITION, disposition);
        // It never changes, but it may be deleted, or denied to the next who asks.
        fields.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("private, no-cache"),
        );
        fields.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        fields.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("sandbox; default-src 'none'"),
        );
        fields.insert(
            "cross-origin-resource-policy",
            HeaderValue::from_static("cross-origin"),
        );
    }

    fn body(&self, pieces: Vec<Piece>) -> OutBody {
        OutBody::stream(StreamBody::new(read_all(self.stored.clone(), pieces)))
    }
}

/// Says in which coding and language the content is, as its creation did (IETF draft, row R24).
fn put_coding(fields: &mut HeaderMap, metadata: &Metadata) {
    let told = [
        (header::CONTENT_ENCODING, rufh::CONTENT_ENCODING),
        (header::CONTENT_LANGUAGE, rufh::CONTENT_LANGUAGE),
    ];
    for (field, key) in told {
        let value = metadata.value(key).map(HeaderValue::try_from);
        if let Some(Ok(value)) = value {
            fields.insert(field, value);
        }
    }
}

/// What a response is made of.
enum Piece {
    Text(Bytes),
    /// A range of the content.
    Content(Range<u64>),
}

fn read_all(
    stored: Stored,
    pieces: Vec<Piece>,
) -> impl Stream<Item = Result<Frame<Bytes>, io::Error>> + Send {
    let has_bytes = |piece: &Piece| !matches!(piece, Piece::Content(range) if range.is_empty());
    let pieces = pieces.into_iter().filter(has_bytes);
    stream::try_unfold(
        (stored, pieces, None),
        |(stored, mut pieces, rest)| async move {
            let next = match rest {
                Some(range) => Some(Piece::Content(range)),
                None => pieces.next(),
            };
            match next {
                None => Ok(None),
                Some(Piece::Text(text)) => Ok(Some((Frame::data(text), (stored, pieces, None)))),
                Some(Piece::Content(Range { start, end })) => {
                    let to = end.min(start + READ_BYTES);
                    let bytes = stored.read(start..to).await.map_err(io::Error::other)?;
                    let next = start + bytes.len() as u64;
                    let rest = (next < end).then_some(next..end);
                    Ok(Some((Frame::data(bytes), (stored, pieces, rest))))
                }
            }
        },
    )
}
