//! From what was written to a [`Config`]: layers, defaults, checks.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderValue, Uri};
use tidegate_protocol::dialect::rufh;
use tidegate_protocol::field::metadata;
use tracing_subscriber::EnvFilter;

use super::args::{Flags, Optional};
use super::{Config, Digest, Durability, Log, Modules, Settings, TlsFiles, UploadLimits, Url};
use crate::http::telemetry::LogFormat;
use crate::http::{Cors, DrainLimits, Listen, Network, Origin, Proxies};
use crate::units::{ByteSize, TimeSpan};

/// What is wrong with the settings. Names the setting, because it may come from any layer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("cannot read the configuration file `{}`: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("in the configuration file `{}`: {source}", path.display())]
    Malformed {
        path: PathBuf,
        source: toml::de::Error,
    },
    #[error("`{setting}` {why}")]
    Setting { setting: &'static str, why: String },
    #[error(
        "`listen` has `{listen}`, which others than this machine can reach, and with `auth` \
         `none` they could do everything: listen on 127.0.0.1, set `auth` to `jwt`, or insist with \
         `--insecure-no-auth`"
    )]
    Exposed { listen: Listen },
    #[error("`public-url` and `behind-proxy` exclude each other: a fixed address needs no proxy")]
    TwoOrigins,
    #[error("`tls-cert` and `tls-key` belong together: one of them is missing")]
    HalfTls,
}

pub(super) type Result<T> = std::result::Result<T, ConfigError>;

/// Reads the file, lays the layers over each other and checks the outcome.
pub(super) fn config(flags: Flags) -> Result<Config> {
    let file = match &flags.config {
        Some(path) => read(path)?,
        None => Settings::default(),
    };
    resolve(flags.settings.over(file))
}

fn read(path: &Path) -> Result<Settings> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| ConfigError::Malformed {
        path: path.to_owned(),
        source,
    })
}

fn resolve(settings: Settings) -> Result<Config> {
    let uploads = upload_limits(&settings)?;
    let exports = super::export::limits(&settings)?;
    let queue = super::queue::limits(&settings)?;
    let auth = super::auth::tokens(&settings)?;
    let is_open = auth.is_some() || settings.insecure_no_auth.unwrap_or(false);
    let listen = listen(settings.listen, is_open)?;
    let without = settings.without.unwrap_or_default();
    let span = |written: Option<TimeSpan>, default| written.map_or(default, |span| span.0);
    let behind_proxy = settings.behind_proxy.unwrap_or(false);
    Ok(Config {
        listen,
        tls: match (settings.tls_cert, settings.tls_key) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            _ => return Err(ConfigError::HalfTls),
        },
        proxies: proxies(behind_proxy, settings.trusted_proxy)?,
        origin: origin(settings.public_url, behind_proxy)?,
        cors: cors(settings.cors_origin)?,
        auth,
        data_dir: settings
            .data_dir
            .unwrap_or_else(|| PathBuf::from("./tidegate-data")),
        database: settings.database.map(database).transpose()?,
        store: settings.store.as_deref().map(store).transpose()?,
        durability: settings.durability.unwrap_or(Durability::PowerLoss),
        digest: settings.digest.unwrap_or(Digest::Sha256),
        uploads,
        exports,
        queue,
        requests_per_second: count("max-requests-per-second", settings.max_requests_per_second)?,
        event_keep: span(settings.event_keep, DAY * 7),
        webhooks: super::webhook::endpoints(settings.webhook.unwrap_or_default())?,
        drain: DrainLimits {
            // Whoever may send so much at once must be able to read the answer.
            bytes: settings
                .drain_bytes
                .map_or(16 * MEBIBYTE, |size| size.0)
                .max(uploads.append_bytes_max.unwrap_or(0)),
            idle: span(settings.drain_idle, Duration::from_secs(5)),
            total: span(settings.drain_time, Duration::from_secs(60)),
        },
        shutdown_grace: span(settings.shutdown_grace, Duration::from_secs(10)),
        log: log(settings.log_format, settings.log_filter)?,
        modules: Modules {
            export: !without.contains(&Optional::Export),
            queue: !without.contains(&Optional::Queue),
        },
    })
}

fn upload_limits(settings: &Settings) -> Result<UploadLimits> {
    let size = |setting, written: Option<ByteSize>| match written {
        Some(ByteSize(0)) => Err(wrong(setting, "is 0: leave it out, or say how much")),
        written => Ok(written.map(|size| size.0)),
    };
    let span = |setting, written: Option<TimeSpan>, default| match written {
        Some(TimeSpan(Duration::ZERO)) => Err(wrong(setting, "must be longer than nothing")),
        written => Ok(written.map_or(default, |span| span.0)),
    };
    let append_bytes_max = size("max-append-size", settings.max_append_size)?;
    let append_bytes_min = size("min-append-size", settings.min_append_size)?;
    if let (Some(min), Some(max)) = (append_bytes_min, append_bytes_max)
        && min > max
    {
        return Err(wrong("min-append-size", "is more than max-append-size"));
    }
    let interop_max = settings.max_interop_version.unwrap_or(rufh::NEWEST);
    if interop_max < rufh::NEWEST {
        return Err(wrong("max-interop-version", "must be 9 or more"));
    }
    Ok(UploadLimits {
        upload_bytes_max: size("max-upload-size", settings.max_upload_size)?,
        append_bytes_max,
        append_bytes_min,
        interop_max,
        interims_max: settings.max_interim_responses.unwrap_or(5).min(100),
        images_max: match settings.max_files_per_request.unwrap_or(100) {
            files @ 1..=1000 => files,
            _ => return Err(wrong("max-files-per-request", "must be 1 to 1000")),
        },
        metadata_bytes_max: match size("max-metadata-size", settings.max_metadata_size)? {
            None => metadata::BYTES_MAX,
            Some(bytes @ ..=METADATA_BYTES_MOST) => bytes as usize,
            Some(_) => return Err(wrong("max-metadata-size", "must be 12Ki or less")),
        },
        project_bytes_max: size("project-quota", settings.project_quota)?,
        open_max: count("max-open-uploads", settings.max_open_uploads)?.map(NonZeroU32::get),
        streams_max: count("max-streams", settings.max_streams)?,
        creations_per_second: count(
            "max-creations-per-second",
            settings.max_creations_per_second,
        )?,
        expires_after: span("upload-expires-after", settings.upload_expires_after, DAY)?,
        // Zero is fine: then nothing is remembered.
        tombstone_keep: settings.tombstone_keep.map_or(DAY * 7, |span| span.0),
        stall_timeout: span(
            "stall-timeout",
            settings.stall_timeout,
            Duration::from_secs(30),
        )?,
        rate_min: settings.min_rate.map_or(1024, |size| size.0),
        checkpoint_bytes: size("checkpoint-bytes", settings.checkpoint_bytes)?
            .unwrap_or(64 * MEBIBYTE),
        checkpoint_interval: span(
            "checkpoint-interval",
            settings.checkpoint_interval,
            Duration::from_secs(1),
        )?,
    })
}

/// How many of something there may be, if that is limited.
fn count(setting: &'static str, written: Option<u32>) -> Result<Option<NonZeroU32>> {
    match written.map(NonZeroU32::new) {
        Some(None) => Err(wrong(setting, "is 0: leave it out, or say how many")),
        written => Ok(written.flatten()),
    }
}

/// Without authentication, whoever can connect may do everything: that has to be wanted.
fn listen(written: Option<Vec<Listen>>, is_open: bool) -> Result<Vec<Listen>> {
    let listen = match written {
        Some(listen) if listen.is_empty() => return Err(wrong("listen", "is empty")),
        Some(listen) => listen,
        None => vec![Listen::Tcp(String::from("127.0.0.1:7070"))],
    };
    match listen.iter().find(|listen| !is_open && !is_local(listen)) {
        Some(exposed) => Err(ConfigError::Exposed {
            listen: exposed.clone(),
        }),
        None => Ok(listen),
    }
}

/// Whether only this machine can connect, as far as a name tells. It is not resolved here: any name
/// but `localhost` counts as exposed.
fn is_local(listen: &Listen) -> bool {
    let Listen::Tcp(address) = listen else {
        return true;
    };
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) => address.ip().to_canonical().is_loopback(),
        Err(_) => address
            .rsplit_once(':')
            .is_some_and(|(host, _)| host == "localhost"),
    }
}

fn origin(public_url: Option<String>, behind_proxy: bool) -> Result<Origin> {
    let Some(url) = public_url else {
        return Ok(if behind_proxy {
            Origin::Forwarded
        } else {
            Origin::Request
        });
    };
    if behind_proxy {
        return Err(ConfigError::TwoOrigins);
    }
    let why = "must be http://HOST or https://HOST, with a port and a path if need be";
    if !is_web_url(&url) || url.contains(['?', '#']) {
        return Err(wrong("public-url", why));
    }
    Ok(Origin::Fixed(url.trim_end_matches('/').to_owned()))
}

fn proxies(behind_proxy: bool, networks: Option<Vec<Network>>) -> Result<Proxies> {
    match (behind_proxy, networks) {
        (true, networks) => Ok(Proxies::on_this_machine_and(networks.unwrap_or_default())),
        (false, None) => Ok(Proxies::default()),
        (false, Some(_)) => Err(wrong("trusted-proxy", "is for `behind-proxy` only")),
    }
}

fn cors(written: Option<Vec<String>>) -> Result<Cors> {
    let Some(origins) = written else {
        return Ok(Cors::Any);
    };
    let texts: Vec<&str> = origins.iter().map(String::as_str).collect();
    match texts.as_slice() {
        ["none"] => Ok(Cors::Off),
        ["*"] => Ok(Cors::Any),
        [] => Err(wrong(
            "cors-origin",
            "is empty: `none` allows no other origin",
        )),
        origins => origins
            .iter()
            .map(|text| web_origin(text))
            .collect::<Result<_>>()
            .map(Cors::Origins),
    }
}

/// An origin as browsers send it: compared byte for byte, so anything else would never match.
fn web_origin(text: &str) -> Result<HeaderValue> {
    let why = || {
        let form = "must be `*` or `none` alone, or origins such as https://app.example:8443";
        wrong("cors-origin", &format!("{form}, not `{text}`"))
    };
    let after_scheme = text.split_once("://").map_or("", |(_, rest)| rest);
    if !is_web_url(text) || after_scheme.contains(['/', '?', '#']) {
        return Err(why());
    }
    HeaderValue::from_str(&text.to_ascii_lowercase()).map_err(|_| why())
}

/// Whether this is a URL of a web server, without a user in it.
pub(super) fn is_web_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else {
        return false;
    };
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    // What follows the host is a port, if anything, and that can be told.
    let is_plain = |authority: &Authority| {
        let rest = authority.as_str().len() - authority.host().len();
        !authority.as_str().contains('@') && (rest == 0 || authority.port_u16().is_some())
    };
    is_web && uri.authority().is_some_and(is_plain)
}

/// The refusal does not repeat the text, because a password may be in it.
fn database(url: String) -> Result<Url> {
    let known = ["sqlite:", "postgres://", "postgresql://"];
    if known
        .iter()
        .any(|start| url.starts_with(start) && url.len() > start.len())
    {
        Ok(Url(url))
    } else {
        Err(wrong(
            "database",
            "must be sqlite:PATH or postgres://USER@HOST/NAME",
        ))
    }
}

fn store(url: &str) -> Result<PathBuf> {
    let path = url
        .strip_prefix("file:")
        .ok_or_else(|| wrong("store", "must be file:PATH"))?;
    // file:///srv/blobs is the same as file:/srv/blobs.
    let path = match path.strip_prefix("//") {
        Some(path) if !path.starts_with('/') => {
            return Err(wrong(
                "store",
                "names a host: a file is file:PATH or file:///PATH",
            ));
        }
        Some(path) => path,
        None => path,
    };
    if path.is_empty() {
        return Err(wrong("store", "must be file:PATH"));
    }
    Ok(PathBuf::from(path))
}

fn log(format: Option<LogFormat>, filter: Option<String>) -> Result<Log> {
    let filter = filter.unwrap_or_else(|| String::from("info"));
    EnvFilter::try_new(&filter)
        .map_err(|error| wrong("log-filter", &format!("is no filter: {error}")))?;
    Ok(Log {
        format: format.unwrap_or_default(),
        filter,
    })
}

pub(super) fn wrong(setting: &'static str, why: &str) -> ConfigError {
    ConfigError::Setting {
        setting,
        why: why.to_owned(),
    }
}

/// A header section may have 16 KiB, and has other fields, too.
const METADATA_BYTES_MOST: u64 = 12 * 1024;

pub(super) const MEBIBYTE: u64 = 1 << 20;
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
