//! Health, metrics, the document of the interface, and the pages that problem types point to.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode, header};
use tidegate_protocol::problem::{Problem, explanation};

use crate::http::telemetry::Metrics;
use crate::http::{OutBody, Request, Response, Route, reject};
use crate::module::Mount;

/// `docs/openapi.yaml` in JSON, as `build.rs` makes it.
const OPENAPI: &str = include_str!(concat!(env!("OUT_DIR"), "/openapi.json"));

/// Says why something that serving needs does not work.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What the module needs of the rest of the house.
pub struct Deps {
    /// Everything that is counted.
    pub metrics: Arc<Metrics>,
    /// All of them have to work for the server to be ready.
    pub probes: Vec<Probe>,
}

/// Mounts the module.
pub fn mount(deps: Deps) -> Mount {
    let probes = Arc::new(deps.probes);
    let metrics = deps.metrics;
    Mount {
        routes: vec![
            Route::new(Method::GET, "/healthz", |_| async {
                text(StatusCode::OK, "ok\n")
            })
            .public(),
            Route::new(Method::GET, "/readyz", move |_| ready(probes.clone())).public(),
            Route::new(Method::GET, "/metrics", move |_| {
                let mut response = text(StatusCode::OK, metrics.encode());
                let media_type = HeaderValue::from_static(Metrics::CONTENT_TYPE);
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, media_type);
                async { response }
            })
            .public(),
            Route::new(Method::GET, "/api/openapi.json", |_| async { openapi() }).public(),
            Route::new(Method::GET, "/problems/{slug}", |request| {
                let response = problem(&request);
                async { response }
            })
            .public(),
        ],
        workers: Vec::new(),
    }
}

async fn ready(probes: Arc<Vec<Probe>>) -> Response {
    for probe in probes.iter() {
        if let Err(reason) = probe().await {
            return text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n"));
        }
    }
    text(StatusCode::OK, "ready\n")
}

/// The same for every caller until another version of the program is started.
fn openapi() -> Response {
    let mut response = text(StatusCode::OK, OPENAPI);
    let fields = response.headers_mut();
    let media_type = HeaderValue::from_static("application/json");
    fields.insert(header::CONTENT_TYPE, media_type);
    let caching = HeaderValue::from_static("public, max-age=300");
    fields.insert(header::CACHE_CONTROL, caching);
    response
}

fn problem(request: &Request) -> Response {
    match request.path.get("slug").and_then(explanation) {
        Some((title, words)) => text(StatusCode::OK, format!("{title}\n\n{words}\n")),
        None => reject::problem(
            &request.head.method,
            request.head.uri.path(),
            &Problem::NotFound,
        ),
    }
}

fn text(status: StatusCode, words: impl Into<Bytes>) -> Response {
    let mut response = Response::new(OutBody::full(words));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
