//! Cross-origin sharing (Fetch, "HTTP extensions").

use http::{HeaderMap, HeaderValue, Method, header};

/// Which web pages of other origins may use the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Nothing is said about it, which browsers read as none; for servers behind a proxy that
    /// answers for them.
    Off,
    /// All of them, without credentials.
    Any,
    /// These, each as `scheme://host[:port]`.
    Origins(Vec<HeaderValue>),
}

/// What a resource allows and shows to other origins.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    /// `Access-Control-Allow-Methods`.
    pub methods: &'static str,
    /// `Access-Control-Allow-Headers`.
    pub request_fields: &'static str,
    /// `Access-Control-Expose-Headers`.
    pub response_fields: &'static str,
}

/// Seconds for which a browser may remember a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

impl Cors {
    /// The fields for the answer to a request, be it a refusal or not: a browser's client needs
    /// to read those too.
    pub fn fields(&self, method: &Method, request: &HeaderMap, shared: Shared) -> HeaderMap {
        let mut answer = HeaderMap::new();
        if let Self::Origins(_) = self {
            // To a request without an origin as well: a cache must not give that answer to a page.
            answer.insert(header::VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = request.get(header::ORIGIN) else {
            return answer;
        };
        let allowed = match self {
            Self::Off => return answer,
            Self::Any => HeaderValue::from_static("*"),
            Self::Origins(origins) => match origins.iter().find(|allowed| *allowed == origin) {
                Some(origin) => origin.clone(),
                None => return answer,
            },
        };
        if self.trusts(origin) {
            // Its pages may act for the user: the browser sends his cookie along.
            let yes = HeaderValue::from_static("true");
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        let exposed = HeaderValue::from_static(shared.response_fields);
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        if is_preflight(method, request) {
            let methods = HeaderValue::from_static(shared.methods);
            answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
            let fields = HeaderValue::from_static(shared.request_fields);
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, fields);
            answer.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
        answer
    }

    /// Whether pages of this origin may use the server, as [`Self::fields`] tells their browser. For
    /// what a page can send without its browser asking first.
    pub fn admits(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Off => false,
            Self::Any => true,
            Self::Origins(origins) => origins.contains(origin),
        }
    }

    /// Whether pages of this origin may act for the user whose browser they are in. That takes more
    /// than being one of all that may come without credentials: the origin has to be listed.
    pub fn trusts(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::Off | Self::Any => false,
            Self::Origins(origins) => origins.contains(origin),
        }
    }
}

fn is_preflight(method: &Method, request: &HeaderMap) -> bool {
    *method == Method::OPTIONS && request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: Shared = Shared {
        methods: "POST",
        request_fields: "Upload-Length",
        response_fields: "Location",
    };

    fn answer(cors: &Cors, method: &Method, origin: Option<&'static str>) -> HeaderMap {
        let mut request = HeaderMap::new();
        if let Some(origin) = origin {
            request.insert(header::ORIGIN, HeaderValue::from_static(origin));
            request.insert(
                header::ACCESS_CONTROL_REQUEST_METHOD,
                HeaderValue::from_static("POST"),
            );
        }
        cors.fields(method, &request, SHARED)
    }

    #[test]
    fn without_an_origin_nothing_is_said_where_all_are_allowed() {
        assert!(answer(&Cors::Any, &Method::OPTIONS, None).is_empty());
    }

    #[test]
    fn any_origin_is_answered_with_a_star() {
        let fields = answer(&Cors::Any, &Method::OPTIONS, Some("https://a.example"));
        assert_eq!(fields[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!fields.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        assert_eq!(fields[header::ACCESS_CONTROL_ALLOW_METHODS], "POST");
        let fields = answer(&Cors::Any, &Method::POST, Some("https://a.example"));
        assert_eq!(fields[header::ACCESS_CONTROL_EXPOSE_HEADERS], "Location");
        assert!(!fields.contains_key(header::ACCESS_CONTROL_ALLOW_METHODS));
    }

    #[test]
    fn listed_origins_match_whole_or_not_at_all() {
        let cors = Cors::Origins(vec![HeaderValue::from_static("https://a.example")]);
        let fields = answer(&cors, &Method::POST, Some("https://a.example"));
        assert_eq!(
            fields[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://a.example"
        );
        assert_eq!(fields[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        for foreign in [
            "https://a.example.evil",
            "http://a.example",
            "null",
            "https://b.example",
        ] {
            let fields = answer(&cors, &Method::POST, Some(foreign));
            assert!(
                !fields.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN),
                "{foreign}"
            );
            assert!(!fields.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
            assert_eq!(fields[header::VARY], "Origin");
        }
    }

    #[test]
    fn with_listed_origins_every_answer_varies_also_for_a_cache_that_sent_none() {
        let listed = Cors::Origins(vec![HeaderValue::from_static("https://a.example")]);
        let fields = answer(&listed, &Method::GET, None);
        assert_eq!(fields[header::VARY], "Origin");
        assert_eq!(fields.len(), 1);
    }

    #[test]
    fn who_is_told_that_it_may_is_admitted() {
        let origin = HeaderValue::from_static("https://a.example");
        for cors in [Cors::Off, Cors::Any, Cors::Origins(vec![origin.clone()])] {
            for page in ["https://a.example", "https://b.example"] {
                let fields = answer(&cors, &Method::POST, Some(page));
                let is_told = fields.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN);
                let admitted = cors.admits(&HeaderValue::from_static(page));
                assert_eq!(admitted, is_told, "{cors:?} {page}");
            }
        }
    }

    #[test]
    fn only_who_is_listed_is_trusted() {
        let origin = HeaderValue::from_static("https://a.example");
        let other = HeaderValue::from_static("https://b.example");
        let listed = Cors::Origins(vec![origin.clone()]);
        assert!(listed.trusts(&origin) && !listed.trusts(&other));
        assert!(!Cors::Any.trusts(&origin) && !Cors::Off.trusts(&origin));
    }

    #[test]
    fn off_is_silent() {
        assert!(answer(&Cors::Off, &Method::OPTIONS, Some("https://a.example")).is_empty());
    }
}
