//! From a method and a path to the handler that serves them.
//!
//! Invariant: the caller is established here, once, before any byte of the body is read.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{ALLOW, CONTENT_LENGTH, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use http_body::Body as _;
use tidegate_protocol::problem::Problem;
use tracing::Span;

use super::caller::{self, Credential, Entry};
use super::{Config, OutBody, Request, Response, reject};
use crate::auth::Caller;

/// What a handler returns.
pub type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Serves requests.
///
/// The future runs inside of hyper's: it is dropped when the client leaves. So it may only signal;
/// whatever must be brought to an end belongs in a task of its own.
pub type Handler = Arc<dyn Fn(Request) -> Answering + Send + Sync>;

/// Answers a request that never comes to its handler, in the words of whatever the handler speaks.
type Refusing = Arc<dyn Fn(&Parts, Problem) -> Response + Send + Sync>;

/// A path and what serves it.
///
/// It is for callers who are known, unless it says otherwise. OPTIONS is for everybody: a browser asks
/// with it whether it may ask.
///
/// A path is one of `matchit`: `/files/{id}` takes a segment of any text, `/page/{*rest}` all that
/// follows. Paths are compared as they were sent; nothing is percent-decoded.
#[derive(Clone)]
pub struct Route {
    path: String,
    /// `None` for every method that has no route of its own at this path.
    method: Option<Method>,
    serving: Serving,
}

/// What serves requests, and whose.
#[derive(Clone)]
struct Serving {
    handler: Handler,
    entry: Entry,
    refusing: Refusing,
}

impl Route {
    /// Serves one method.
    ///
    /// GET serves HEAD as well where that has no route of its own (RFC 9110, section 9.1), and does
    /// not notice: it is called with GET, and its content is dropped. OPTIONS is answered by the
    /// router where nothing else serves it.
    pub fn new<F, A>(method: Method, path: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        Self {
            path: path.into(),
            method: Some(method),
            serving: Serving::of(handler),
        }
    }

    /// Serves every method.
    pub fn any<F, A>(path: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        Self {
            path: path.into(),
            method: None,
            serving: Serving::of(handler),
        }
    }

    /// For everybody, known or not.
    #[must_use]
    pub fn public(mut self) -> Self {
        self.serving.entry = Entry::Public;
        self
    }

    /// Also for whoever has no login token, but this.
    #[must_use]
    pub fn takes(mut self, credential: Credential) -> Self {
        self.serving.entry = Entry::Callers(Some(credential));
        self
    }

    /// Whoever is not let in is answered by this.
    #[must_use]
    pub fn refusing<F>(mut self, refusing: F) -> Self
    where
        F: Fn(&Parts, Problem) -> Response + Send + Sync + 'static,
    {
        self.serving.refusing = Arc::new(refusing);
        self
    }
}

impl Serving {
    fn of<F, A>(handler: F) -> Self
    where
        F: Fn(Request) -> A + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        Self {
            handler: Arc::new(move |request| Box::pin(handler(request))),
            entry: Entry::Callers(None),
            refusing: Arc::new(|head, problem| {
                reject::problem(&head.method, head.uri.path(), &problem)
            }),
        }
    }

    /// Lets in who may be, and serves him.
    async fn serve(&self, mut request: Request, config: &Config) -> Response {
        let established = caller::establish(&mut request, self.entry, config).await;
        match established.and_then(|caller| self.count(&request, caller, config)) {
            Ok(caller) => {
                if !caller.user.is_empty() {
                    Span::current().record("user", caller.user.as_str());
                }
                request.caller = caller;
                (self.handler)(request).await
            }
            Err(problem) => (self.refusing)(&request.head, problem),
        }
    }

    /// Counts a request among those of its caller, if it is one of a caller.
    fn count(&self, request: &Request, caller: Caller, config: &Config) -> Result<Caller, Problem> {
        let is_open = self.entry == Entry::Public || request.head.method == Method::OPTIONS;
        match &config.throttle {
            Some(throttle) if !is_open => throttle.admit(&caller).map(|()| caller),
            _ => Ok(caller),
        }
    }
}

impl fmt::Display for Route {
    /// Its method and its path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method.as_ref().map_or("any", Method::as_str);
        write!(f, "{method} {}", self.path)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("path", &self.path)
            .field("method", &self.method)
            .field("entry", &self.serving.entry)
            .finish_non_exhaustive()
    }
}

/// All routes of the server.
#[derive(Default)]
pub struct Router {
    paths: matchit::Router<Endpoint>,
}

/// What serves one path.
#[derive(Clone, Default)]
struct Endpoint {
    methods: Vec<(Method, Serving)>,
    any: Option<Serving>,
}

impl Router {
    /// Puts the routes of all modules together.
    ///
    /// # Errors
    ///
    /// If two routes want the same requests, or a path cannot be understood.
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Result<Self, RouteError> {
        let mut endpoints = BTreeMap::<String, Endpoint>::new();
        for Route {
            path,
            method,
            serving,
        } in routes
        {
            let endpoint = endpoints.entry(path.clone()).or_default();
            match method {
                Some(method) if endpoint.methods.iter().any(|(taken, _)| *taken == method) => {
                    return Err(RouteError::Twice {
                        path,
                        method: Some(method),
                    });
                }
                Some(method) => endpoint.methods.push((method, serving)),
                None if endpoint.any.is_some() => {
                    return Err(RouteError::Twice { path, method: None });
                }
                None => endpoint.any = Some(serving),
            }
        }
        let mut paths = matchit::Router::new();
        for (path, endpoint) in endpoints {
            paths
                .insert(path.as_str(), endpoint)
                .map_err(|source| RouteError::Path { path, source })?;
        }
        Ok(Self { paths })
    }

    /// Serves a request, if only with a refusal.
    pub(super) async fn serve(&self, mut request: Request, config: &Config) -> Response {
        let served = self
            .paths
            .at(request.head.uri.path())
            .map_err(|_| Problem::NotFound)
            .and_then(|found| {
                let served = found.value.find(&request.head.method)?;
                Ok((served, PathParams::of(&found.params)))
            });
        match served {
            Ok((Served::Own(serving), path)) => {
                request.path = path;
                serving.serve(request, config).await
            }
            Ok((Served::HeadOfGet(serving), path)) => {
                request.path = path;
                request.head.method = Method::GET;
                without_content(serving.serve(request, config).await)
            }
            Ok((Served::Options { allow }, _)) => options(&allow),
            Err(problem) => {
                reject::problem(&request.head.method, request.head.uri.path(), &problem)
            }
        }
    }
}

/// How a method is served.
enum Served<'r> {
    /// By what is there for it.
    Own(&'r Serving),
    /// HEAD, by what serves GET.
    HeadOfGet(&'r Serving),
    /// OPTIONS, by the router.
    Options { allow: String },
}

impl Endpoint {
    fn find(&self, method: &Method) -> Result<Served<'_>, Problem> {
        if let Some(serving) = self.own(method) {
            return Ok(Served::Own(serving));
        }
        if *method == Method::HEAD
            && let Some(serving) = self.own(&Method::GET)
        {
            return Ok(Served::HeadOfGet(serving));
        }
        match &self.any {
            Some(serving) => Ok(Served::Own(serving)),
            None if *method == Method::OPTIONS => Ok(Served::Options {
                allow: self.allow(),
            }),
            None => Err(Problem::MethodNotAllowed {
                allow: self.allow().into(),
            }),
        }
    }

    fn own(&self, method: &Method) -> Option<&Serving> {
        let own = self.methods.iter().find(|(served, _)| served == method);
        own.map(|(_, serving)| serving)
    }

    /// The methods that are served where not all are, for `Allow`.
    fn allow(&self) -> String {
        let mut allow: Vec<_> = self.methods.iter().map(|(own, _)| own.as_str()).collect();
        if allow.contains(&"GET") && !allow.contains(&"HEAD") {
            allow.push("HEAD");
        }
        if !allow.contains(&"OPTIONS") {
            allow.push("OPTIONS");
        }
        allow.join(", ")
    }
}

/// The answer to GET as one to HEAD. hyper would leave the content out only on HTTP/1.1.
fn without_content(answer: Response) -> Response {
    let (mut head, body) = answer.into_parts();
    if let Some(length @ 1..) = body.size_hint().exact() {
        head.headers
            .entry(CONTENT_LENGTH)
            .or_insert(HeaderValue::from(length));
    }
    Response::from_parts(head, OutBody::empty())
}

fn options(allow: &str) -> Response {
    let mut response = Response::new(OutBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(allow) = HeaderValue::from_str(allow) {
        headers.insert(ALLOW, allow);
    }
    response
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").finish_non_exhaustive()
    }
}

/// Why routes do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// Two routes want the same requests.
    #[error("two routes serve {} {path}", method.as_ref().map_or("any method of", Method::as_str))]
    Twice {
        /// Their path.
        path: String,
        /// Their method, or `None` for any.
        method: Option<Method>,
    },
    /// A path is malformed, or some request would match it and another path.
    #[error("route {path}: {source}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        source: matchit::InsertError,
    },
}

/// The variable segments of a request's path, raw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathParams(Vec<(String, String)>);

impl PathParams {
    fn of(params: &matchit::Params<'_, '_>) -> Self {
        Self(
            params
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// The segment that stands where the route's path has `{name}`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for PathParams {
    fn from(params: [(&str, &str); N]) -> Self {
        Self(
            params
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        )
    }
}
