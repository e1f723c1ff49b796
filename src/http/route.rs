//! From a method and a path to the handler that serves them.
//!
//! Invariant: the caller is established here, once, before any byte of the body is read.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use http::Method;
use tidegate_protocol::problem::Problem;

use super::{Request, Response, reject};

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
    /// Serves one method. HEAD is a method like any other: GET does not imply it.
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
        let refused = match self.find(&request) {
            Ok((handler, path)) => {
                request.path = path;
                return handler(request).await;
            }
            Err(problem) => problem,
        };
        reject::problem(&request.head.method, request.head.uri.path(), &refused)
    }

    fn find(&self, request: &Request) -> Result<(&Handler, PathParams), Problem> {
        let Ok(found) = self.paths.at(request.head.uri.path()) else {
            return Err(Problem::NotFound);
        };
        let endpoint = found.value;
        let method = &request.head.method;
        let own = endpoint.methods.iter().find(|(served, _)| served == method);
        match own.map(|(_, handler)| handler).or(endpoint.any.as_ref()) {
            Some(handler) => Ok((handler, PathParams::of(&found.params))),
            None => {
                let allow: Vec<_> = endpoint.methods.iter().map(|(m, _)| m.as_str()).collect();
                Err(Problem::MethodNotAllowed {
                    allow: allow.join(", ").into(),
                })
            }
        }
    }
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
