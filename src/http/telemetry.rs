//! What an operator sees of the server: metrics and the log.
//!
//! Invariant: no label has a value that a client can invent, so that the number of series is
//! bounded.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// An error with what has caused it, for somebody who sees nothing else of it.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Some say their source themselves.
        let cause = error.to_string();
        if !words.contains(&cause) {
            words.push_str(": ");
            words.push_str(&cause);
        }
        source = error.source();
    }
    words
}

/// All metrics of the server.
///
/// The composition root creates it, lends it to each module to register its own, and shares it from
/// then on.
#[derive(Debug)]
pub struct Metrics {
    /// Puts `tidegate_` before every name.
    pub registry: Registry,
    /// Those of the transport.
    pub http: HttpMetrics,
}

impl Metrics {
    /// What [`Metrics::encode`] is to be sent as.
    pub const CONTENT_TYPE: &'static str =
        "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// The metrics of the transport, and room for those of the modules.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("tidegate");
        let http = HttpMetrics::register(&mut registry);
        Self { registry, http }
    }

    /// Writes the present values in the text format.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing into a string does not fail, and what our metrics write themselves does not.
        if text::encode(&mut out, &self.registry).is_err() {
            tracing::error!("metrics could not be encoded");
        }
        out
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The metrics of the transport. Clones count into the same.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    requests: Family<Answered, Counter>,
    durations: Family<Asked, Histogram, fn() -> Histogram>,
    connections: Gauge,
    discarded: Family<Given, Counter>,
    throttled: Counter,
}

/// Stands in `tidegate_http_requests_total` for a request whose client left before the answer. The
/// number is the one that nginx's logs have made known.
pub(super) const CLIENT_GONE: u16 = 499;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Given {
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
}

impl HttpMetrics {
    fn register(registry: &mut Registry) -> Self {
        // From half a millisecond to about a minute: an append lasts as long as its body.
        let buckets = || Histogram::new(exponential_buckets(0.0005, 2.0, 18));
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(buckets),
            connections: Gauge::default(),
            discarded: Family::default(),
            throttled: Counter::default(),
        };
        // What comes after a cancel is shown before there is any.
        metrics.discarded(StatusCode::GONE, 0);
        let http = registry.sub_registry_with_prefix("http");
        http.register(
            "requests",
            "Requests by method and by status of the answer (499: the client left before it)",
            metrics.requests.clone(),
        );
        http.register_with_unit(
            "request_duration",
            "Time from a request's header section to the head of its answer",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        http.register(
            "connections",
            "Open connections",
            metrics.connections.clone(),
        );
        http.register_with_unit(
            "discarded",
            "Request bodies read and discarded after an early answer",
            Unit::Bytes,
            metrics.discarded.clone(),
        );
        http.register(
            "throttled",
            "Requests refused because their caller makes too many",
            metrics.throttled.clone(),
        );
        metrics
    }

    /// Counts requests that are refused because their caller makes too many.
    pub fn throttled(&self) -> Counter {
        self.throttled.clone()
    }

    /// Counts a request that has been answered, or was given up with [`CLIENT_GONE`].
    pub(super) fn answered(&self, method: &Method, status: u16, took: Duration) {
        let method = label(method);
        self.requests
            .get_or_create(&Answered { method, status })
            .inc();
        self.durations
            .get_or_create(&Asked { method })
            .observe(took.as_secs_f64());
    }

    /// Counts bytes of request bodies that nobody wanted any more.
    /// So much of a request's body came after the answer with this status.
    pub(super) fn discarded(&self, status: StatusCode, bytes: u64) {
        let given = Given {
            status: status.as_u16(),
        };
        self.discarded.get_or_create(&given).inc_by(bytes);
    }

    /// Counts a connection until the returned value is dropped.
    pub(super) fn connected(&self) -> Connected {
        self.connections.inc();
        Connected(self.connections.clone())
    }

    /// How many requests with this method were answered with this status.
    pub fn requests(&self, method: &Method, status: StatusCode) -> u64 {
        let answered = Answered {
            method: label(method),
            status: status.as_u16(),
        };
        self.requests
            .get(&answered)
            .map_or(0, |counter| counter.get())
    }
}

/// An open connection, for as long as it exists.
pub(super) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The methods that somebody serves; a client can send any word.
fn label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, LoggingError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LoggingError::Format),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why the log cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// Neither of the formats.
    #[error("a log format is `text` or `json`")]
    Format,
    /// The filter makes no sense.
    #[error("not a log filter: {0}")]
    Filter(#[from] ParseError),
    /// There can be one log only.
    #[error("the log is set up already: {0}")]
    Again(#[from] TryInitError),
}

/// Sends the log of the whole process to stderr.
///
/// `filter` has the syntax of `tracing`'s environment filter, such as `info,tidegate::http=debug`.
///
/// # Errors
///
/// If the filter cannot be parsed, or when called a second time.
pub fn init_log(format: LogFormat, filter: &str) -> Result<(), LoggingError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter)?)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            builder
                .with_ansi(std::io::stderr().is_terminal())
                .finish()
                .try_init()?;
        }
        LogFormat::Json => builder.json().finish().try_init()?,
    }
    Ok(())
}
