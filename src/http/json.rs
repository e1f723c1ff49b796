//! Bodies in JSON: read whole, within bounds.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_TYPE, ORIGIN};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tidegate_protocol::field::media;
use tidegate_protocol::problem::Problem;
use tokio::time::{Instant, timeout_at};

use super::{Body, BodyError};

/// What a body may have, at most, where nobody says otherwise.
const BYTES_MAX: usize = 1024 * 1024;

/// How long so much of one may take to come.
const WITHIN: Duration = Duration::from_secs(30);

/// The longest complaint about a body, in characters: it may quote all of it.
const COMPLAINT_MAX: usize = 300;

/// What the body says. An empty one says what `T` is by default.
///
/// A body of another media type is refused even if it is JSON: a web page of another origin can send
/// plain text to us without asking, and JSON it cannot.
///
/// # Errors
/// The problem to answer with.
pub async fn read<T>(headers: &HeaderMap, body: &mut Body) -> Result<T, Problem>
where
    T: DeserializeOwned + Default,
{
    let bytes = read_within(headers, body, BYTES_MAX).await?;
    match bytes.is_empty() {
        true => Ok(T::default()),
        false => parse(&bytes, "body"),
    }
}

/// The bytes of a body of at most so many, for [`parse`]. They may be none.
///
/// # Errors
/// As [`read`].
pub async fn read_within(
    headers: &HeaderMap,
    body: &mut Body,
    bytes_max: usize,
) -> Result<Vec<u8>, Problem> {
    let bytes = collect(body, bytes_max).await?;
    // A web page may send an empty body anywhere without being asked for its origin, too.
    if bytes.is_empty() && !headers.contains_key(ORIGIN) {
        return Ok(bytes);
    }
    if headers.get_all(CONTENT_TYPE).iter().count() > 1 || !media::is(headers, "application/json") {
        return Err(Problem::NotJson);
    }
    Ok(bytes)
}

/// What a JSON object says.
///
/// # Errors
/// The problem to answer with, about `field`.
pub fn parse<'b, T: Deserialize<'b>>(bytes: &'b [u8], field: &'static str) -> Result<T, Problem> {
    // A struct would be read from an array as well.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::validation(field, "must be a JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|error| Problem::validation(field, complaint(&error)))
}

/// What is read from a JSON object within another value: derived, a struct would be read from an array as
/// well.
#[derive(Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData))
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(Object)
    }
}

fn complaint(error: &serde_json::Error) -> String {
    let told = error.to_string();
    match told.char_indices().nth(COMPLAINT_MAX) {
        Some((end, _)) => {
            let (line, column) = (error.line(), error.column());
            format!("{}... at line {line} column {column}", &told[..end])
        }
        None => told,
    }
}

async fn collect(body: &mut Body, bytes_max: usize) -> Result<Vec<u8>, Problem> {
    let too_large = Problem::BodyTooLarge {
        limit: bytes_max as u64,
    };
    if body
        .size_hint_exact()
        .is_some_and(|bytes| bytes > bytes_max as u64)
    {
        return Err(too_large);
    }
    let began = Instant::now();
    let mut bytes = Vec::new();
    loop {
        let times = u32::try_from(1 + bytes.len() / BYTES_MAX).unwrap_or(u32::MAX);
        let frame = timeout_at(began + WITHIN * times, body.frame()).await;
        let frame = frame.map_err(|_elapsed| Problem::BadRequest {
            detail: "the body did not come in time".into(),
        })?;
        let Some(frame) = frame else {
            return Ok(bytes);
        };
        let frame = frame.map_err(|error: BodyError| Problem::BadRequest {
            detail: error.to_string().into(),
        })?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if bytes.len() + data.len() > bytes_max {
            return Err(too_large);
        }
        bytes.extend_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::StreamExt;
    use http::HeaderValue;
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    #[derive(Debug, Default, PartialEq, Eq, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Said {
        reason: Option<String>,
    }

    fn of_type(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(text).unwrap())])
    }

    fn body(text: impl Into<Bytes>) -> Body {
        Body::new(Full::new(text.into()).map_err(|never| match never {}))
    }

    async fn said(text: &str) -> Result<Said, Problem> {
        read(&of_type("application/json"), &mut body(text.to_owned())).await
    }

    #[tokio::test]
    async fn a_body_is_read_or_may_be_missing() {
        let given = Said {
            reason: Some("a".into()),
        };
        assert_eq!(said(r#"{"reason":"a"}"#).await, Ok(given));
        assert_eq!(said("{}").await, Ok(Said::default()));
        assert_eq!(said("").await, Ok(Said::default()));
        let nothing = read::<Said>(&HeaderMap::new(), &mut Body::empty()).await;
        assert_eq!(nothing, Ok(Said::default()));
    }

    #[tokio::test]
    async fn what_is_no_such_object_is_refused() {
        for text in [
            "{",
            "[]",
            "null",
            "7",
            "{\"reason\":7}",
            "{\"other\":1}",
            "{} {}",
            "\u{feff}{}",
        ] {
            let problem = said(text).await.expect_err(text);
            assert!(
                matches!(problem, Problem::ValidationFailed { ref field, .. } if field == "body"),
                "{text}: {problem:?}"
            );
        }
        let deep = "[".repeat(100_000);
        assert!(
            said(&deep).await.is_err(),
            "and it does not overflow the stack"
        );
        let no_text = Bytes::from_static(b"{\"reason\":\"\xff\"}");
        let refused = read::<Said>(&of_type("application/json"), &mut body(no_text)).await;
        assert!(refused.is_err());
    }

    #[tokio::test]
    async fn another_media_type_is_refused() {
        for (kind, taken) in [
            ("application/json; charset=utf-8", true),
            ("APPLICATION/JSON", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("application/jsonp", false),
        ] {
            let said = read::<Said>(&of_type(kind), &mut body("{}")).await;
            assert_eq!(said.is_ok(), taken, "{kind}: {said:?}");
        }
        let of_a_page =
            HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("https://a.example"))]);
        let empty = read::<Said>(&of_a_page, &mut Body::empty()).await;
        assert_eq!(empty, Err(Problem::NotJson));
        let none = read::<Said>(&HeaderMap::new(), &mut body("{}")).await;
        assert_eq!(none, Err(Problem::NotJson));
    }

    #[tokio::test]
    async fn a_complaint_quotes_only_so_much_and_tells_the_place() {
        for text in [
            format!("{{\"{}\":1}}", "ä".repeat(100_000)),
            format!("{{\"reason\":{{\"{}\":1}}}}", "x".repeat(100_000)),
            format!("{{\"reason\":[\"{}\"]}}", "\u{1f600}".repeat(100_000)),
        ] {
            let Err(Problem::ValidationFailed { message, .. }) = said(&text).await else {
                panic!("it is refused");
            };
            assert!(message.chars().count() < 350, "{message}");
            assert!(message.contains(" at line 1 column "), "{message}");
        }
    }

    #[tokio::test]
    async fn who_allows_more_gets_the_bytes_and_says_what_they_are_about() {
        let json = of_type("application/json");
        let text = format!("{{\"reason\":\"{}\"}}", "a".repeat(2 * BYTES_MAX));
        let bytes_max = text.len();
        let read = read_within(&json, &mut body(text.clone()), bytes_max).await;
        let read = read.unwrap();
        assert_eq!(read, text.as_bytes());
        // Nothing is copied that need not be.
        #[derive(serde::Deserialize)]
        struct Borrowed<'a> {
            reason: &'a str,
        }
        let parsed: Borrowed<'_> = parse(&read, "body").unwrap();
        assert_eq!(parsed.reason.len(), 2 * BYTES_MAX);
        let limit = bytes_max as u64 - 1;
        let larger = read_within(&json, &mut body(text), bytes_max - 1).await;
        assert_eq!(larger, Err(Problem::BodyTooLarge { limit }));
        let nothing = read_within(&HeaderMap::new(), &mut Body::empty(), 1).await;
        assert_eq!(nothing, Ok(Vec::new()));
        let other = read_within(&of_type("text/plain"), &mut body("{}"), 2).await;
        assert_eq!(other, Err(Problem::NotJson));
        for wrong in ["", "[]", "{\"reason\":7}"] {
            let refused = parse::<Said>(wrong.as_bytes(), "result").unwrap_err();
            assert!(
                matches!(refused, Problem::ValidationFailed { ref field, .. } if field == "result"),
                "{wrong}: {refused:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_larger_body_has_more_time() {
        let slowly = |pieces: usize| {
            let pieces = futures_util::stream::iter(0..pieces).then(|_| async {
                tokio::time::advance(WITHIN - Duration::from_secs(1)).await;
                Ok(http_body::Frame::data(Bytes::from(vec![b' '; BYTES_MAX])))
            });
            Body::new(StreamBody::new(Box::pin(pieces)))
        };
        let json = of_type("application/json");
        let read = read_within(&json, &mut slowly(8), 8 * BYTES_MAX).await;
        assert_eq!(read.map(|bytes| bytes.len()), Ok(8 * BYTES_MAX));
        let began = Instant::now();
        let first = futures_util::stream::iter([Ok(http_body::Frame::data(Bytes::from("{")))]);
        let silent = first.chain(futures_util::stream::pending());
        let mut silent = Body::new(StreamBody::new(silent));
        let read = read_within(&json, &mut silent, 8 * BYTES_MAX).await;
        assert!(matches!(read, Err(Problem::BadRequest { .. })), "{read:?}");
        assert_eq!(began.elapsed(), WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_bounded_in_size_and_time() {
        let limit = BYTES_MAX as u64;
        let large = " ".repeat(BYTES_MAX + 1);
        assert_eq!(said(&large).await, Err(Problem::BodyTooLarge { limit }));
        // Without a length, as a chunked one.
        let frame = || {
            Ok(http_body::Frame::data(Bytes::from(vec![
                b' ';
                BYTES_MAX / 2 + 1
            ])))
        };
        let frames = futures_util::stream::iter([frame(), frame()]);
        let mut chunked = Body::new(StreamBody::new(frames));
        let said = read::<Said>(&of_type("application/json"), &mut chunked).await;
        assert_eq!(said, Err(Problem::BodyTooLarge { limit }));
        let never = futures_util::stream::pending();
        let silent = read::<Said>(&HeaderMap::new(), &mut Body::new(StreamBody::new(never))).await;
        assert!(
            matches!(silent, Err(Problem::BadRequest { .. })),
            "{silent:?}"
        );
    }
}
