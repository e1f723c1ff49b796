//! Reading what is complete: what is told of it beside its bytes.

use std::io;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use tidegate_protocol::dialect::rufh;
use tidegate_protocol::field::metadata::Metadata;
use tidegate_protocol::field::{disposition, media, structured};
use tidegate_protocol::problem::Problem;
use tidegate_protocol::request::Protocol;
use tidegate_protocol::response::Resource;

use super::store::{Kind, Seen, State, Upload};
use super::stored::{Segment, Stored};
use super::{Uploads, refuse};
use crate::auth::Caller;
use crate::http::{Representation, Response};
use crate::id::UploadId;

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
    let stored = stored(uploads, &upload).await?;
    let read = move |range| {
        let stored = stored.clone();
        async move { stored.read(range).await.map_err(io::Error::other) }
    };
    let answer = representation(&upload, uploads.config.digest).answer(head, read)?;
    Ok((answer, resource))
}

/// Of a final upload the bytes of its parts, of any other its own.
async fn stored(uploads: &Uploads, upload: &Upload) -> Result<Stored, Problem> {
    let segment = |upload: &Upload| Segment {
        blob: upload.id,
        bytes: upload.offset,
    };
    let segments = match upload.kind {
        Kind::Whole | Kind::Partial => vec![segment(upload)],
        Kind::Final => {
            let parts = uploads.store.parts(upload.id).await;
            let parts = parts.map_err(|error| refuse::store(&error))?;
            parts.iter().map(segment).collect()
        }
    };
    Ok(Stored::new(segments, uploads.blobs.clone()))
}

/// `has_digest`: each upload has one, or will have.
fn representation(upload: &Upload, has_digest: bool) -> Representation {
    // Content never changes, so where there is no digest to come the id is a validator too.
    let tag = match (&upload.sha256, has_digest) {
        (Some(sha256), _) => Some(sha256.clone()),
        (None, true) => None,
        (None, false) => Some(upload.id.to_string()),
    };
    let metadata = Metadata::from_stored(upload.metadata.clone());
    let (filename, filetype) = (metadata.filename(), metadata.filetype());
    let mut fields = HeaderMap::new();
    if upload.protocol != Protocol::Tus {
        put_coding(&mut fields, &metadata);
    }
    let sha256 = upload.sha256.as_deref();
    if let Some(digest) = sha256.and_then(structured::from_sha256) {
        fields.insert("repr-digest", digest);
    }
    fields.insert(
        header::CONTENT_DISPOSITION,
        disposition::content_disposition(filename.as_deref(), filetype.as_deref()),
    );
    let completed_at = upload.completed_at.unwrap_or(upload.updated_at);
    Representation {
        length: upload.offset,
        etag: tag.map_or_else(String::new, |tag| format!("\"{tag}\"")),
        modified: u64::try_from(completed_at / 1000).unwrap_or(0),
        content_type: media::content_type(filetype.as_deref()),
        fields,
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
