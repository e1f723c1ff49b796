//! From a method and a path to the handler that serves them.
//!
//! Invariant: the caller is established here, once, before any byte of the body is read.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{ALLOW, CONTENT_LENGTH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use http_body::Body as _;
use tidegate_protocol::problem::Problem;

use super::{OutBody, Request, Response, reject};

/// What a handler returns.
pub type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Serves requests.
///
/// The future runs inside of hyper's: it is dropped when the client leaves. So it may only signal;
/// whatever must be brought to an end belongs in a task of its own.
pub type Handler = Arc<dyn Fn(Request) -> Answering + Send + Sync>;

/// A path and what serves it.
///
/// A path is one of `matchit`: `/files/{id}` takes a segment of any text, `/page/{*rest}` all that
/// follows. Paths are compared as they were sent; nothing is percent-decoded.
#[derive(Clone)]
pub struct Route {
    path: String,
    /// `None` for every method that has no route of its own at this path.
    method: Option<Method>,
    handler: Handler,
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
            handler: boxed(handler),
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
            handler: boxed(handler),
        }
    }
}

fn boxed<F, A>(handler: F) -> Handler
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    Arc::new(move |request| Box::pin(handler(request)))
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("path", &self.path)
            .field("method", &self.method)
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
    methods: Vec<(Method, Handler)>,
    any: Option<Handler>,
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
            handler,
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
                Some(method) => endpoint.methods.push((method, handler)),
                None if endpoint.any.is_some() => {
                    return Err(RouteError::Twice { path, method: None });
                }
                None => endpoint.any = Some(handler),
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
    pub(super) async fn serve(&self, mut request: Request) -> Response {
        let served = self
            .paths
            .at(request.head.uri.path())
            .map_err(|_| Problem::NotFound)
            .and_then(|found| {
                let served = found.value.find(&request.head.method)?;
                Ok((served, PathParams::of(&found.params)))
            });
        match served {
            Ok((Served::Own(handler), path)) => {
                request.path = path;
                handler(request).await
            }
            Ok((Served::HeadOfGet(handler), path)) => {
                request.path = path;
                request.head.method = Method::GET;
                without_content(handler(request).await)
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
    Own(&'r Handler),
    /// HEAD, by what serves GET.
    HeadOfGet(&'r Handler),
    /// OPTIONS, by the router.
    Options { allow: String },
}

impl Endpoint {
    fn find(&self, method: &Method) -> Result<Served<'_>, Problem> {
        if let Some(handler) = self.own(method) {
            return Ok(Served::Own(handler));
        }
        if *method == Method::HEAD
            && let Some(handler) = self.own(&Method::GET)
        {
            return Ok(Served::HeadOfGet(handler));
        }
        match &self.any {
            Some(handler) => Ok(Served::Own(handler)),
            None if *method == Method::OPTIONS => Ok(Served::Options {
                allow: self.allow(),
            }),
            None => Err(Problem::MethodNotAllowed {
                allow: self.allow().into(),
            }),
        }
    }

    fn own(&self, method: &Method) -> Option<&Handler> {
        let own = self.methods.iter().find(|(served, _)| served == method);
        own.map(|(_, handler)| handler)
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
