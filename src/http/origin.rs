//! Under which address clients reach this server: absolute URLs are built from it.

use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Version, header};
use tidegate_protocol::problem::Problem;

/// How the server's own address is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the request's `Host` (HTTP/1.1) or `:authority` (HTTP/2), and how it came.
    Request,
    /// From `Forwarded` or `X-Forwarded-Host` and `-Proto`. Others than [`super::Proxies`] are not
    /// heard.
    Forwarded,
    /// Always this: `scheme://host[:port][/prefix]`, without a slash at its end.
    Fixed(String),
}

impl Origin {
    /// `scheme://authority[/prefix]` for a request. Empty when the request does not say: then a
    /// URL made with it is relative to the host.
    pub fn of(&self, head: &Parts, scheme: &Scheme) -> String {
        match self {
            Self::Fixed(url) => url.clone(),
            Self::Request => absolute(scheme.as_str(), authority_of(head)),
            Self::Forwarded => {
                let (told, authority) = forwarded(&head.headers);
                let scheme = told.unwrap_or(scheme.as_str());
                absolute(scheme, authority.or_else(|| authority_of(head)))
            }
        }
    }

    /// The authorities under which this server may appear in a URL that a client sends.
    pub fn authorities(&self, head: &Parts, scheme: &Scheme) -> Vec<String> {
        let of_origin = self.of(head, scheme);
        let authority = of_origin.split_once("://").map(|(_, rest)| rest);
        let authority = authority
            .and_then(|rest| rest.split('/').next())
            .map(str::to_owned);
        authority
            .into_iter()
            .chain(authority_of(head).map(str::to_owned))
            .collect()
    }

    /// Whether a web page of `page`, the value of an `Origin` field, is this server's own. The
    /// scheme is not compared: a proxy that ends TLS leaves no trace of it.
    pub fn is_own(&self, page: &HeaderValue, head: &Parts, scheme: &Scheme) -> bool {
        let page = page.to_str().ok().and_then(|page| page.split_once("://"));
        let Some((page_scheme, host)) = page else {
            // Such as `null`.
            return false;
        };
        let host = absolute(page_scheme, Some(host));
        let own = self.authorities(head, scheme);
        own.iter()
            .any(|own| absolute(page_scheme, Some(own)).eq_ignore_ascii_case(&host))
    }
}

/// Without a port that the scheme implies (RFC 9110, section 4.2.3): a client that compares URLs as
/// text knows the address without it.
fn absolute(scheme: &str, authority: Option<&str>) -> String {
    let default_port = match scheme {
        "https" => ":443",
        _ => ":80",
    };
    authority.map_or_else(String::new, |authority| {
        let authority = authority.strip_suffix(default_port).unwrap_or(authority);
        format!("{scheme}://{authority}")
    })
}

/// The authority that the request names, if it is one that can stand in a URL.
fn authority_of(head: &Parts) -> Option<&str> {
    let authority = match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head.headers.get(header::HOST)?.to_str().ok()?,
    };
    is_authority(authority).then_some(authority)
}

/// Refuses an HTTP/1.1 request that does not name exactly one sound host (RFC 9112, section 3.2):
/// whoever forwards it could read another one.
///
/// # Errors
/// The problem to answer with.
pub(super) fn check_host(head: &Parts) -> Result<(), Problem> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let sound = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().is_ok_and(is_authority),
        (None, _) => head.version != Version::HTTP_11,
        (Some(_), Some(_)) => false,
    };
    if sound {
        Ok(())
    } else {
        Err(Problem::BadRequest {
            detail: "the host is missing or malformed".into(),
        })
    }
}

/// Scheme and authority as the proxy nearest to the client saw them. The first element counts.
fn forwarded(headers: &HeaderMap) -> (Option<&str>, Option<&str>) {
    let first = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(split_unquoted(value, ',').next().unwrap_or(value).trim())
    };
    let mut scheme = first("x-forwarded-proto");
    let mut authority = first("x-forwarded-host");
    for pair in split_unquoted(first("forwarded").unwrap_or(""), ';') {
        let Some((key, value)) = pair.split_once('=') else {
            continue;
        };
        let value = unquoted(value.trim());
        match key.trim() {
            key if key.eq_ignore_ascii_case("proto") => scheme = Some(value),
            key if key.eq_ignore_ascii_case("host") => authority = Some(value),
            _ => {}
        }
    }
    (
        scheme.and_then(|scheme| {
            ["http", "https"]
                .into_iter()
                .find(|known| scheme.eq_ignore_ascii_case(known))
        }),
        authority.filter(|authority| is_authority(authority)),
    )
}

/// The parts between separators that stand outside of quoted strings (RFC 9110, section 5.6.4).
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        let literal = escaped;
        escaped = quoted && !literal && c == '\\';
        quoted ^= c == '"' && !literal;
        c == separator && !quoted
    })
}

/// A value without the quotes around it. What is escaped within stays so: no scheme and no host
/// needs that.
fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"');
    inner
        .and_then(|inner| inner.strip_suffix('"'))
        .unwrap_or(value)
}

/// Whether the text is `host[:port]` and nothing that could break out of a URL.
fn is_authority(text: &str) -> bool {
    !text.contains('@') && text.parse::<http::uri::Authority>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri("/files");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_names_its_own_authority() {
        let request = head(&[("host", "up.example:7070")]);
        assert_eq!(
            Origin::Request.of(&request, &Scheme::HTTP),
            "http://up.example:7070"
        );
        assert_eq!(
            Origin::Request.authorities(&request, &Scheme::HTTP)[0],
            "up.example:7070"
        );
    }

    #[test]
    fn nothing_that_breaks_out_of_a_url_is_an_authority() {
        for host in ["a b", "user@host", "host/path", "<script>", "a\"b", ""] {
            assert_eq!(
                Origin::Request.of(&head(&[("host", host)]), &Scheme::HTTP),
                "",
                "{host}"
            );
        }
    }

    #[test]
    fn proxies_are_believed_only_when_told_so() {
        let fields = [
            ("host", "inner:1"),
            ("x-forwarded-host", "outer.example, other"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(
            Origin::Request.of(&head(&fields), &Scheme::HTTP),
            "http://inner:1"
        );
        assert_eq!(
            Origin::Forwarded.of(&head(&fields), &Scheme::HTTP),
            "https://outer.example"
        );
    }

    #[test]
    fn forwarded_wins_over_its_predecessors() {
        let fields = [
            ("host", "inner:1"),
            ("x-forwarded-host", "old.example"),
            (
                "forwarded",
                "for=1.2.3.4;host=\"new.example:8443\";proto=https, for=5.6.7.8",
            ),
        ];
        assert_eq!(
            Origin::Forwarded.of(&head(&fields), &Scheme::HTTP),
            "https://new.example:8443"
        );
    }

    #[test]
    fn what_is_quoted_in_forwarded_separates_nothing() {
        let table = [
            (r#"for="a,b";host=ex.com;proto=https"#, "https://ex.com"),
            (r#"for="a;host=evil.example";host=ex.com"#, "http://ex.com"),
            (
                r#"for="\",host=evil.example,";host="ex.com";proto="https""#,
                "https://ex.com",
            ),
            (r#"host=ex.com;for="a, host=evil.example"#, "http://ex.com"),
            // Never closed: whatever follows is within the quotes.
            (r#"for="a;host=evil.example"#, "http://inner:1"),
            (r#"host="evil.example"#, "http://inner:1"),
        ];
        for (forwarded, origin) in table {
            let fields = [("host", "inner:1"), ("forwarded", forwarded)];
            assert_eq!(
                Origin::Forwarded.of(&head(&fields), &Scheme::HTTP),
                origin,
                "{forwarded}"
            );
        }
    }

    #[test]
    fn a_port_that_the_scheme_implies_is_left_out() {
        let table = [
            ("https", "ex.com:443", "https://ex.com"),
            ("http", "ex.com:80", "http://ex.com"),
            ("https", "[2001:db8::1]:443", "https://[2001:db8::1]"),
            ("https", "ex.com:80", "https://ex.com:80"),
            ("http", "ex.com:443", "http://ex.com:443"),
            ("https", "ex.com:8443", "https://ex.com:8443"),
        ];
        for (scheme, host, origin) in table {
            let fields = [
                ("host", "inner:1"),
                ("x-forwarded-proto", scheme),
                ("x-forwarded-host", host),
            ];
            assert_eq!(
                Origin::Forwarded.of(&head(&fields), &Scheme::HTTP),
                origin,
                "{host}"
            );
        }
        let request = head(&[("host", "ex.com:80")]);
        assert_eq!(Origin::Request.of(&request, &Scheme::HTTP), "http://ex.com");
    }

    #[test]
    fn an_odd_scheme_is_not_believed() {
        let fields = [("host", "inner:1"), ("x-forwarded-proto", "javascript")];
        assert_eq!(
            Origin::Forwarded.of(&head(&fields), &Scheme::HTTP),
            "http://inner:1"
        );
    }

    #[test]
    fn a_page_is_the_servers_own_by_its_host() {
        let is_own = |origin: &Origin, page: &'static str, host| {
            let request = head(&[("host", host), ("x-forwarded-host", "outer.example")]);
            origin.is_own(&HeaderValue::from_static(page), &request, &Scheme::HTTP)
        };
        let direct = |page, host| is_own(&Origin::Request, page, host);
        assert!(direct("http://127.0.0.1:7070", "127.0.0.1:7070"));
        assert!(direct("https://Up.Example", "up.example:443"));
        assert!(direct("http://up.example", "up.example"));
        for foreign in [
            "http://127.0.0.1:7071",
            "http://127.0.0.1",
            "http://localhost:7070",
            "http://127.0.0.1:7070.evil.example",
            "http://evil.example",
            "127.0.0.1:7070",
            "null",
            "",
        ] {
            assert!(!direct(foreign, "127.0.0.1:7070"), "{foreign}");
        }
        let outer = "https://outer.example";
        assert!(!direct(outer, "inner:1"));
        assert!(is_own(&Origin::Forwarded, outer, "inner:1"));
        assert!(is_own(&Origin::Fixed(outer.to_owned()), outer, "inner:1"));
    }
}
