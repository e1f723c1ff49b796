//! Answers that go on as server-sent events (WHATWG HTML, "Server-sent events").

use std::io;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue};
use http_body::Frame;
use http_body_util::StreamBody;

use super::{OutBody, Response};

/// An answer of `pieces`, each of which is sent when it comes.
pub fn event_stream(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let frames = pieces.map(|piece| Ok::<_, io::Error>(Frame::data(piece)));
    let mut response = Response::new(OutBody::stream(StreamBody::new(frames)));
    let fixed = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // nginx would hold them back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let fixed = fixed.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(fixed);
    response
}
