//! The page for browsers, which is built from `web/` and put into the program by `build.rs`.
//!
//! It is for everybody: nothing in it is secret, and what it shows it asks the interface for, with
//! the login of whoever looks at it. Nothing that it consists of changes while the program runs, and
//! nothing is copied to be sent.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tidegate_protocol::field::coding::prefers_gzip;
use tidegate_protocol::field::precondition::{self, Validators, Verdict};
use tidegate_protocol::problem::Problem;

use crate::http::{OutBody, Response, Route, reject};
use crate::module::Mount;

/// What a browser has to keep to. `blob:` and `data:` are previews of what is going to be sent; there
/// is nothing inline, neither script nor style, and nothing comes from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob: data:; font-src 'self'; connect-src 'self'; worker-src 'self'; \
    manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// On every answer: a worker is bound by the policy of its own script, and whatever is opened by
/// itself is a document.
const FIELDS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (header::VARY, "Accept-Encoding"),
];

/// Every file of the page.
static FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

/// A file of the page. `build.rs` writes them down.
#[derive(Debug)]
struct File {
    path: &'static str,
    media_type: &'static str,
    plain: Content,
    /// Where that is a good deal smaller.
    gzip: Option<Content>,
}

/// A file in one coding.
#[derive(Debug)]
struct Content {
    bytes: &'static [u8],
    /// Strong, with its quotes: of these bytes and no others.
    etag: &'static str,
}

/// Mounts the module.
pub fn mount() -> Mount {
    let routes = ["/", "/assets/{name}"].map(|path| {
        let route = Route::new(Method::GET, path, |request| {
            let response = answer(&request.head);
            async { response }
        });
        route.public()
    });
    Mount {
        routes: routes.into(),
        workers: Vec::new(),
    }
}

fn answer(head: &Parts) -> Response {
    let path = head.uri.path();
    let file = FILES.iter().find(|file| file.path == path);
    file.ok_or(Problem::NotFound)
        .and_then(|file| file.answer(head))
        .unwrap_or_else(|problem| reject::problem(&head.method, path, &problem))
}

impl File {
    fn answer(&self, head: &Parts) -> Result<Response, Problem> {
        let gzip = self.gzip.as_ref().filter(|_| prefers_gzip(&head.headers));
        let content = gzip.unwrap_or(&self.plain);
        let validators = Validators {
            etag: content.etag,
            modified: None,
        };
        let mut response = match precondition::evaluate(&head.headers, &validators) {
            Verdict::Failed => return Err(Problem::PreconditionFailed),
            Verdict::NotModified => {
                let mut response = Response::new(OutBody::empty());
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                response
            }
            Verdict::Proceed => self.whole(content, gzip.is_some()),
        };
        let fields = response.headers_mut();
        let etag = HeaderValue::from_static(content.etag);
        fields.insert(header::ETAG, etag);
        let caching = HeaderValue::from_static(self.caching());
        fields.insert(header::CACHE_CONTROL, caching);
        for (name, value) in FIELDS {
            fields.insert(name, HeaderValue::from_static(value));
        }
        Ok(response)
    }

    fn whole(&self, content: &Content, is_gzip: bool) -> Response {
        let mut response = Response::new(OutBody::full(Bytes::from_static(content.bytes)));
        let fields = response.headers_mut();
        let media_type = HeaderValue::from_static(self.media_type);
        fields.insert(header::CONTENT_TYPE, media_type);
        if is_gzip {
            fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    /// Wherever a name has a hash of the content; `/` names the assets of this version.
    fn caching(&self) -> &'static str {
        match self.path {
            "/" | "/assets/licenses.txt" => "no-cache",
            _ => "public, max-age=31536000, immutable",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http::Request;
    use http_body_util::BodyExt as _;

    use super::*;

    fn ask(path: &str, lines: &[(&str, &str)]) -> Response {
        let mut request = Request::get(path);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        answer(&request.body(()).unwrap().into_parts().0)
    }

    async fn content(response: Response) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[test]
    fn the_table_is_sound() {
        let contents = || {
            FILES
                .iter()
                .flat_map(|file| [Some(&file.plain), file.gzip.as_ref()])
        };
        let tags: BTreeSet<_> = contents().flatten().map(|content| content.etag).collect();
        assert_eq!(tags.len(), contents().flatten().count());
        let paths: BTreeSet<_> = FILES.iter().map(|file| file.path).collect();
        assert_eq!(paths.len(), FILES.len());
        assert!(paths.contains("/"));
        for file in FILES {
            assert!(file.path == "/" || file.path.starts_with("/assets/"));
            let Some(gzip) = &file.gzip else { continue };
            let mut unpacked = Vec::new();
            GzDecoder::new(gzip.bytes)
                .read_to_end(&mut unpacked)
                .unwrap();
            assert_eq!(unpacked, file.plain.bytes, "{}", file.path);
            assert!(gzip.bytes.len() < file.plain.bytes.len(), "{}", file.path);
        }
    }

    #[tokio::test]
    async fn nothing_is_copied_to_be_sent() {
        for file in FILES {
            let plain = content(ask(file.path, &[])).await;
            assert_eq!(plain.as_ptr_range(), file.plain.bytes.as_ptr_range());
            let Some(gzip) = &file.gzip else { continue };
            let sent = content(ask(file.path, &[("accept-encoding", "gzip")])).await;
            assert_eq!(sent.as_ptr_range(), gzip.bytes.as_ptr_range());
        }
    }

    #[test]
    fn what_is_compressed_says_so() {
        for file in FILES {
            let answer = ask(file.path, &[("accept-encoding", "br, gzip")]);
            let coding = answer.headers().get(header::CONTENT_ENCODING);
            assert_eq!(coding.is_some(), file.gzip.is_some(), "{}", file.path);
            let answer = ask(file.path, &[("accept-encoding", "gzip;q=0, *")]);
            assert_eq!(answer.headers().get(header::CONTENT_ENCODING), None);
        }
    }

    #[test]
    fn a_condition_is_about_what_would_be_sent() {
        let file = FILES.iter().find(|file| file.gzip.is_some()).unwrap();
        let (plain, gzip) = (file.plain.etag, file.gzip.as_ref().unwrap().etag);
        let coded = ("accept-encoding", "gzip");
        let cases: [(&[_], u16); 8] = [
            (&[("if-none-match", plain)], 304),
            (&[("if-none-match", gzip)], 200),
            (&[("if-none-match", gzip), coded], 304),
            (&[("if-none-match", plain), coded], 200),
            (&[("if-none-match", "*"), coded], 304),
            (&[("if-match", "\"other\"")], 412),
            (
                &[("if-modified-since", "Fri, 31 Dec 2100 00:00:00 GMT")],
                200,
            ),
            (&[("range", "bytes=0-1")], 200),
        ];
        for (lines, status) in cases {
            let answer = ask(file.path, lines);
            assert_eq!(answer.status(), status, "{lines:?}");
            if status == 304 {
                let fields = answer.headers();
                assert_eq!(fields[header::VARY], "Accept-Encoding");
                assert_eq!(fields[header::CACHE_CONTROL], file.caching());
                assert!(fields.contains_key(header::ETAG));
                assert!(!fields.contains_key(header::CONTENT_TYPE));
            }
        }
    }

    #[test]
    fn nothing_else_is_there() {
        for path in [
            "/assets/",
            "/assets/index.html",
            "/index.html",
            "/assets/..",
            "//",
        ] {
            assert_eq!(ask(path, &[]).status(), 404, "{path}");
        }
    }
}
