//! Bodies in JSON: read whole, within bounds.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_TYPE, ORIGIN};
use serde::de::DeserializeOwned;
use tidegate_protocol::field::media;
use tidegate_protocol::problem::Problem;
use tokio::time::timeout;

use super::{Body, BodyError};

/// What a body may have, at most.
const BYTES_MAX: usize = 1024 * 1024;

/// How long it may take to come.
const WITHIN: Duration = Duration::from_secs(30);

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
    let bytes = timeout(WITHIN, collect(body)).await;
    let bytes = bytes.map_err(|_elapsed| Problem::BadRequest {
        detail: "the body did not come in time".into(),
    })??;
    // A web page may send an empty body anywhere without being asked for its origin, too.
    if bytes.is_empty() && !headers.contains_key(ORIGIN) {
        return Ok(T::default());
    }
    if headers.get_all(CONTENT_TYPE).iter().count() > 1 || !media::is(headers, "application/json") {
        return Err(Problem::NotJson);
    }
    if bytes.is_empty() {
        return Ok(T::default());
    }
    let refused = |message| Problem::ValidationFailed {
        field: "body".into(),
        message,
    };
    // A struct would be read from an array as well.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(refused("must be a JSON object".into()));
    }
    serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string().into()))
}

async fn collect(body: &mut Body) -> Result<Vec<u8>, Problem> {
    let too_large = Problem::BodyTooLarge {
        limit: BYTES_MAX as u64,
    };
    if body
        .size_hint_exact()
        .is_some_and(|bytes| bytes > BYTES_MAX as u64)
    {
        return Err(too_large);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error: BodyError| Problem::BadRequest {
            detail: error.to_string().into(),
        })?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        if bytes.len() + data.len() > BYTES_MAX {
            return Err(too_large);
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
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
