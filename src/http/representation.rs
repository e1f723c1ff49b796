//! Answers of bytes that do not change: conditions, ranges, and fields that keep a browser from
//! running them.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use tidegate_protocol::field::date;
use tidegate_protocol::field::precondition::{self, Validators, Verdict};
use tidegate_protocol::field::range::{self, Selection};
use tidegate_protocol::problem::Problem;
use uuid::Uuid;

use super::{OutBody, Response};

/// Bytes asked for at a time.
const READ_BYTES: u64 = 256 * 1024;

/// What a GET is answered with (RFC 9110, section 3.2): bytes that never change, which may be a
/// stranger's, and what is told of them.
#[derive(Clone, Debug)]
pub struct Representation {
    /// How many bytes there are.
    pub length: u64,
    /// The strong entity tag, with its quotes; empty: there is none.
    pub etag: String,
    /// When they came to be, in seconds since the Unix epoch.
    pub modified: u64,
    /// Their media type.
    pub content_type: HeaderValue,
    /// What else every answer tells, a 304 included.
    pub fields: HeaderMap,
}

impl Representation {
    /// Answers a GET with this `head`.
    ///
    /// `read` is asked for one range after the other, each when the one before it is there. It may
    /// give only the beginning of a range, but never nothing of it. An error of it breaks the
    /// answer off.
    ///
    /// # Errors
    /// A condition of the request does not hold, or nothing is there of what it wants.
    pub fn answer<R, F>(self, head: &Parts, read: R) -> Result<Response, Problem>
    where
        R: FnMut(Range<u64>) -> F + Send + 'static,
        F: Future<Output = io::Result<Bytes>> + Send + 'static,
    {
        let length = self.length;
        let validators = Validators {
            etag: &self.etag,
            modified: Some(self.modified),
        };
        match precondition::evaluate(&head.headers, &validators) {
            Verdict::Proceed => {}
            Verdict::Failed => return Err(Problem::PreconditionFailed),
            Verdict::NotModified => {
                let mut response = Response::new(OutBody::empty());
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                self.describe(&mut response);
                return Ok(response);
            }
        }
        let message = match range::requested(&head.headers, &validators, length) {
            Selection::Unsatisfiable => return Err(Problem::RangeNotSatisfiable { length }),
            Selection::Whole => self.whole(),
            Selection::Parts(parts) => match <[Range<u64>; 1]>::try_from(parts) {
                Ok([part]) => self.part(part),
                Err(parts) => self.parts(&parts),
            },
        };
        let mut response = message.respond(read);
        self.describe(&mut response);
        Ok(response)
    }

    fn whole(&self) -> Message {
        Message {
            status: StatusCode::OK,
            content_type: self.content_type.clone(),
            content_range: None,
            pieces: vec![Piece::Content(0..self.length)],
        }
    }

    fn part(&self, part: Range<u64>) -> Message {
        Message {
            status: StatusCode::PARTIAL_CONTENT,
            content_type: self.content_type.clone(),
            content_range: Some(range::satisfied(&part, self.length)),
            pieces: vec![Piece::Content(part)],
        }
    }

    /// `multipart/byteranges` (RFC 9110, section 14.6).
    fn parts(&self, parts: &[Range<u64>]) -> Message {
        // Random, so that no content holds it on purpose.
        let boundary = Uuid::new_v4();
        let mut pieces = Vec::with_capacity(parts.len() * 2 + 1);
        for part in parts {
            let mut head = format!("\r\n--{boundary}\r\ncontent-type: ").into_bytes();
            head.extend_from_slice(self.content_type.as_bytes());
            head.extend_from_slice(b"\r\ncontent-range: ");
            head.extend_from_slice(range::satisfied(part, self.length).as_bytes());
            head.extend_from_slice(b"\r\n\r\n");
            pieces.push(Piece::Text(Bytes::from(head)));
            pieces.push(Piece::Content(part.clone()));
        }
        let end = format!("\r\n--{boundary}--\r\n");
        pieces.push(Piece::Text(Bytes::from(end)));
        let media_type = format!("multipart/byteranges; boundary={boundary}");
        Message {
            status: StatusCode::PARTIAL_CONTENT,
            // It is ASCII; the other value stands in for the error that cannot come.
            content_type: HeaderValue::try_from(media_type)
                .unwrap_or_else(|_| HeaderValue::from_static("multipart/byteranges")),
            content_range: None,
            pieces,
        }
    }

    /// The fields that every answer about it has, a 304 included.
    fn describe(&self, response: &mut Response) {
        let fields = response.headers_mut();
        fields.extend(self.fields.clone());
        if let Ok(etag) = HeaderValue::from_str(&self.etag)
            && !etag.is_empty()
        {
            fields.insert(header::ETAG, etag);
        }
        fields.insert(header::LAST_MODIFIED, date::value(self.modified));
        let fixed = [
            (header::ACCEPT_RANGES, "bytes"),
            // It never changes, but it may be deleted, or denied to the next who asks.
            (header::CACHE_CONTROL, "private, no-cache"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (
                header::CONTENT_SECURITY_POLICY,
                "sandbox; default-src 'none'",
            ),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "cross-origin",
            ),
        ];
        for (name, value) in fixed {
            fields.insert(name, HeaderValue::from_static(value));
        }
    }
}

/// A response that has content.
struct Message {
    status: StatusCode,
    content_type: HeaderValue,
    content_range: Option<HeaderValue>,
    pieces: Vec<Piece>,
}

/// What a response is made of.
enum Piece {
    Text(Bytes),
    /// A range of the representation's bytes.
    Content(Range<u64>),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Content(range) => range.end - range.start,
        }
    }
}

impl Message {
    fn respond<R, F>(self, read: R) -> Response
    where
        R: FnMut(Range<u64>) -> F + Send + 'static,
        F: Future<Output = io::Result<Bytes>> + Send + 'static,
    {
        let length: u64 = self.pieces.iter().map(Piece::len).sum();
        let body = StreamBody::new(read_all(read, self.pieces));
        let mut response = Response::new(OutBody::stream(body));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, self.content_type);
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if let Some(content_range) = self.content_range {
            fields.insert(header::CONTENT_RANGE, content_range);
        }
        response
    }
}

fn read_all<R, F>(
    read: R,
    pieces: Vec<Piece>,
) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send
where
    R: FnMut(Range<u64>) -> F + Send,
    F: Future<Output = io::Result<Bytes>> + Send,
{
    let pieces = pieces.into_iter().filter(|piece| piece.len() > 0);
    stream::try_unfold(
        (read, pieces, None),
        |(mut read, mut pieces, rest)| async move {
            let next = match rest {
                Some(range) => Some(Piece::Content(range)),
                None => pieces.next(),
            };
            match next {
                None => Ok(None),
                Some(Piece::Text(text)) => Ok(Some((Frame::data(text), (read, pieces, None)))),
                Some(Piece::Content(Range { start, end })) => {
                    let to = end.min(start + READ_BYTES);
                    let bytes = read(start..to).await?;
                    let next = start + bytes.len() as u64;
                    if next == start || next > to {
                        return Err(io::Error::other("what was read is not what was asked for"));
                    }
                    let rest = (next < end).then_some(next..end);
                    Ok(Some((Frame::data(bytes), (read, pieces, rest))))
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::{Arc, Mutex};

    use http::Request;
    use http_body_util::BodyExt;

    use super::*;

    const LENGTH: u64 = 3 * READ_BYTES + 5;

    /// Asks for a range of [`LENGTH`] bytes, of which at most `most` are given at once. Returns the
    /// answer, what is read of it, and what was asked for.
    async fn ask(range: &str, most: u64) -> (Response, io::Result<Bytes>, Vec<Range<u64>>) {
        let request = Request::get("/").header("range", range).body(());
        let (head, ()) = request.unwrap().into_parts();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        let read = move |range: Range<u64>| {
            let end = range.end.min(range.start.saturating_add(most));
            let bytes = (range.start..end).map(|at| at.to_le_bytes()[0]);
            let bytes = bytes.collect::<Bytes>();
            noted.lock().unwrap().push(range);
            ready(Ok(bytes))
        };
        let answer = representation().answer(&head, read).unwrap();
        let (parts, body) = answer.into_parts();
        let body = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes);
        let asked = asked.lock().unwrap().clone();
        (Response::from_parts(parts, OutBody::empty()), body, asked)
    }

    fn representation() -> Representation {
        Representation {
            length: LENGTH,
            etag: String::new(),
            modified: 0,
            content_type: HeaderValue::from_static("text/plain"),
            fields: HeaderMap::new(),
        }
    }

    fn content(range: Range<u64>) -> Bytes {
        range.map(|at| at.to_le_bytes()[0]).collect()
    }

    #[tokio::test]
    async fn no_read_is_too_large() {
        let (answer, body, asked) = ask("bytes=1-", u64::MAX).await;
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(body.unwrap(), content(1..LENGTH));
        let starts = [1, 2, 3].map(|count| 1 + count * READ_BYTES);
        let [second, third, last] = starts;
        assert_eq!(asked, [1..second, second..third, third..last, last..LENGTH]);
    }

    #[tokio::test]
    async fn what_a_read_does_not_give_is_asked_for_again() {
        let (_, body, asked) = ask("bytes=10-16", 3).await;
        assert_eq!(body.unwrap(), content(10..17));
        assert_eq!(asked, [10..17, 13..17, 16..17]);
        let (answer, body, asked) = ask("bytes=0-3,10-12", 2).await;
        assert_eq!(asked, [0..4, 2..4, 10..13, 12..13]);
        let body = body.unwrap();
        let told = &answer.headers()[header::CONTENT_LENGTH];
        assert_eq!(*told, body.len().to_string());
    }

    #[tokio::test]
    async fn a_read_of_nothing_breaks_the_answer_off() {
        let (_, body, asked) = ask("bytes=0-3", 0).await;
        assert!(body.is_err());
        assert_eq!(asked.len(), 1);
    }

    #[tokio::test]
    async fn nothing_loosens_what_keeps_browsers_out() {
        let mut representation = representation();
        for field in ["content-security-policy", "cache-control", "x-own"] {
            let value = HeaderValue::from_static("own");
            representation.fields.insert(field, value);
        }
        let (head, ()) = Request::get("/").body(()).unwrap().into_parts();
        let read = |_| ready(Err(io::Error::other("it is not read")));
        let answer = representation.answer(&head, read).unwrap();
        let field = |name| answer.headers()[name].to_str().unwrap();
        assert_eq!(
            field("content-security-policy"),
            "sandbox; default-src 'none'"
        );
        assert_eq!(field("cache-control"), "private, no-cache");
        assert_eq!(field("x-own"), "own");
    }
}
