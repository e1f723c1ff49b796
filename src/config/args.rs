//! What an operator may write: one set of settings for flags, environment and file.
//!
//! Every setting is optional here, because three layers are laid over each other. A default stands
//! in the help text as `[default: ...]` and is applied in `resolve`; a test compares the two.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::BoolishValueParser;
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::{Digest, Durability, TokenRole};
use crate::cli;
use crate::http::telemetry::LogFormat;
use crate::http::{Listen, Network};
use crate::units::{ByteSize, TimeSpan};

/// Headings of the settings that a command takes, if it does not serve: serving takes all of them.
pub(super) const HEADINGS: [(&str, [&str; 2]); 3] = [
    ("migrate", ["Storage", "Logging"]),
    ("fsck", ["Storage", "Logging"]),
    ("token", ["Callers", "Logging"]),
];

/// What `--models` is about on the command line of `token`, where it is no setting.
pub(super) const MODELS_OF_TOKEN: &str =
    "The models that a worker may work with, separated by commas; without it, every one";

/// A resumable upload server whose uploads can be cancelled
#[derive(Debug, clap::Parser)]
#[command(name = "tidegate", version)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Subcommand,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Subcommand {
    /// Serve uploads until told to stop
    Serve(Flags),
    /// Bring the database to the schema of this version
    Migrate(Flags),
    /// Read the configuration, say what is wrong with it, and do nothing else
    Check(Flags),
    /// Compare stored bytes with what the database says of them
    Fsck {
        /// Put right what can be put right without losing anything acknowledged
        #[arg(long)]
        repair: bool,
        #[command(flatten)]
        flags: Flags,
    },
    /// Sign a token with the secret of the configuration, for development and tests
    Token {
        /// Whom it names
        #[arg(long, value_name = "USER")]
        user: String,
        /// For how long it is good
        #[arg(long, value_name = "TIME", default_value = "1h")]
        expires: TimeSpan,
        /// The user's address
        #[arg(long, value_name = "EMAIL")]
        email: Option<String>,
        /// What he may do beyond what everybody may
        #[arg(long, value_enum, value_name = "ROLE")]
        role: Option<TokenRole>,
        #[command(flatten)]
        flags: Flags,
    },
    /// Write a script with which a shell completes this command line
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual page, or all of them into a directory
    Man {
        /// The directory
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    #[command(flatten)]
    Client(cli::Command),
}

/// The settings of one command line, and the file with further ones.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// TOML file with the names of these flags as keys; flags and environment win over it
    #[arg(long, env = "TIDEGATE_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) settings: Settings,
}

#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Settings {
    /// HOST:PORT or unix:PATH; port 0 picks a free one; may be repeated [default: 127.0.0.1:7070]
    #[arg(
        long,
        env = "TIDEGATE_LISTEN",
        value_name = "ADDR",
        value_delimiter = ','
    )]
    #[arg(help_heading = "Network")]
    #[serde(default, deserialize_with = "list")]
    pub(super) listen: Option<Vec<Listen>>,

    /// PEM file with the server's certificate, followed by those that vouch for it
    #[arg(
        long,
        env = "TIDEGATE_TLS_CERT",
        value_name = "FILE",
        help_heading = "Network"
    )]
    pub(super) tls_cert: Option<PathBuf>,

    /// PEM file with the key of the certificate
    #[arg(
        long,
        env = "TIDEGATE_TLS_KEY",
        value_name = "FILE",
        help_heading = "Network"
    )]
    pub(super) tls_key: Option<PathBuf>,

    /// Under which address clients reach the server, if not under the one that they ask for
    #[arg(
        long,
        env = "TIDEGATE_PUBLIC_URL",
        value_name = "URL",
        help_heading = "Network"
    )]
    pub(super) public_url: Option<String>,

    /// Believe Forwarded and X-Forwarded-*: only behind a proxy that sets them itself
    #[arg(long, env = "TIDEGATE_BEHIND_PROXY", help_heading = "Network")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_parser = BoolishValueParser::new(), value_name = "BOOL")]
    pub(super) behind_proxy: Option<bool>,

    /// Address or network of a proxy, beside this machine, for --behind-proxy; may be repeated
    #[arg(
        long,
        env = "TIDEGATE_TRUSTED_PROXY",
        value_name = "NET",
        value_delimiter = ','
    )]
    #[arg(help_heading = "Network")]
    #[serde(default, deserialize_with = "list")]
    pub(super) trusted_proxy: Option<Vec<Network>>,

    /// Web origins that may use the server: *, none, or origins; may be repeated [default: *]
    #[arg(
        long,
        env = "TIDEGATE_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    #[arg(help_heading = "Network")]
    #[serde(default, deserialize_with = "list")]
    pub(super) cors_origin: Option<Vec<String>>,

    /// How callers prove who they are [default: none]
    #[arg(long, env = "TIDEGATE_AUTH", value_enum, value_name = "KIND")]
    #[arg(help_heading = "Callers")]
    pub(super) auth: Option<Auth>,

    /// Serve everybody who can reach an address that is not loopback
    #[arg(long, env = "TIDEGATE_INSECURE_NO_AUTH", help_heading = "Network")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(value_parser = BoolishValueParser::new(), value_name = "BOOL")]
    pub(super) insecure_no_auth: Option<bool>,

    /// File with the secret that signs tokens and checks them (HS256)
    #[arg(long, env = "TIDEGATE_JWT_SECRET_FILE", value_name = "FILE")]
    #[arg(help_heading = "Callers")]
    pub(super) jwt_secret_file: Option<PathBuf>,

    /// PEM file with the public key that checks tokens (RS256, ES256 or EdDSA)
    #[arg(long, env = "TIDEGATE_JWT_PUBLIC_KEY", value_name = "FILE")]
    #[arg(help_heading = "Callers")]
    pub(super) jwt_public_key: Option<PathBuf>,

    /// File or https:// URL of a JWK Set with such keys
    #[arg(long, env = "TIDEGATE_JWT_JWKS", value_name = "LOCATION")]
    #[arg(help_heading = "Callers")]
    pub(super) jwt_jwks: Option<String>,

    /// The issuer that every token must name
    #[arg(long, env = "TIDEGATE_JWT_ISSUER", value_name = "ISSUER")]
    #[arg(help_heading = "Callers")]
    pub(super) jwt_issuer: Option<String>,

    /// The audience that every token must be for
    #[arg(long, env = "TIDEGATE_JWT_AUDIENCE", value_name = "AUDIENCE")]
    #[arg(help_heading = "Callers")]
    pub(super) jwt_audience: Option<String>,

    /// Where everything is kept; one server at a time [default: ./tidegate-data]
    #[arg(
        long,
        env = "TIDEGATE_DATA_DIR",
        value_name = "DIR",
        help_heading = "Storage"
    )]
    pub(super) data_dir: Option<PathBuf>,

    /// sqlite:PATH or postgres://...; without it, SQLite in the data directory
    #[arg(
        long,
        env = "TIDEGATE_DATABASE",
        value_name = "URL",
        help_heading = "Storage"
    )]
    #[arg(hide_env_values = true)]
    pub(super) database: Option<String>,

    /// file:PATH, where uploaded bytes are kept; without it, in the data directory
    #[arg(
        long,
        env = "TIDEGATE_STORE",
        value_name = "URL",
        help_heading = "Storage"
    )]
    pub(super) store: Option<String>,

    /// What an acknowledged offset survives [default: power-loss]
    #[arg(long, env = "TIDEGATE_DURABILITY", value_enum, value_name = "KIND")]
    #[arg(help_heading = "Storage")]
    pub(super) durability: Option<Durability>,

    /// The digest computed of every upload while it comes in [default: sha256]
    #[arg(long, env = "TIDEGATE_DIGEST", value_enum, value_name = "KIND")]
    #[arg(help_heading = "Uploads")]
    pub(super) digest: Option<Digest>,

    /// The largest upload; without it, as large as the disk
    #[arg(
        long,
        env = "TIDEGATE_MAX_UPLOAD_SIZE",
        value_name = "SIZE",
        help_heading = "Uploads"
    )]
    pub(super) max_upload_size: Option<ByteSize>,

    /// The most bytes in one request; without it, as many as the upload takes
    #[arg(
        long,
        env = "TIDEGATE_MAX_APPEND_SIZE",
        value_name = "SIZE",
        help_heading = "Uploads"
    )]
    pub(super) max_append_size: Option<ByteSize>,

    /// The least bytes in one request of the IETF draft after which more is to follow
    #[arg(
        long,
        env = "TIDEGATE_MIN_APPEND_SIZE",
        value_name = "SIZE",
        help_heading = "Uploads"
    )]
    pub(super) min_append_size: Option<ByteSize>,

    /// The newest interop version of the IETF draft to speak as its newest known one [default: 9]
    #[arg(
        long,
        env = "TIDEGATE_MAX_INTEROP_VERSION",
        value_name = "N",
        help_heading = "Uploads"
    )]
    pub(super) max_interop_version: Option<u64>,

    /// The most 104 responses ahead of one answer; 0 behind a proxy that breaks them [default: 5]
    #[arg(
        long,
        env = "TIDEGATE_MAX_INTERIM_RESPONSES",
        value_name = "N",
        help_heading = "Uploads"
    )]
    pub(super) max_interim_responses: Option<u32>,

    /// The most files in one form [default: 100]
    #[arg(
        long,
        env = "TIDEGATE_MAX_FILES_PER_REQUEST",
        value_name = "N",
        help_heading = "Uploads"
    )]
    pub(super) max_files_per_request: Option<u32>,

    /// The largest Upload-Metadata, 12Ki at most [default: 8Ki]
    #[arg(long, env = "TIDEGATE_MAX_METADATA_SIZE", value_name = "SIZE")]
    #[arg(help_heading = "Limits")]
    pub(super) max_metadata_size: Option<ByteSize>,

    /// The most bytes in one project; without it, as many as fit on the disk
    #[arg(long, env = "TIDEGATE_PROJECT_QUOTA", value_name = "SIZE")]
    #[arg(help_heading = "Limits")]
    pub(super) project_quota: Option<ByteSize>,

    /// The most unfinished uploads of one caller; without it, as many as he likes
    #[arg(long, env = "TIDEGATE_MAX_OPEN_UPLOADS", value_name = "N")]
    #[arg(help_heading = "Limits")]
    pub(super) max_open_uploads: Option<u32>,

    /// The most uploads that one caller sends to at once; without it, as many as he likes
    #[arg(long, env = "TIDEGATE_MAX_STREAMS", value_name = "N")]
    #[arg(help_heading = "Limits")]
    pub(super) max_streams: Option<u32>,

    /// The most requests of one caller in a second; without it, as many as he likes
    #[arg(long, env = "TIDEGATE_MAX_REQUESTS_PER_SECOND", value_name = "N")]
    #[arg(help_heading = "Limits")]
    pub(super) max_requests_per_second: Option<u32>,

    /// The most uploads that one caller creates in a second; without it, as many as he likes
    #[arg(long, env = "TIDEGATE_MAX_CREATIONS_PER_SECOND", value_name = "N")]
    #[arg(help_heading = "Limits")]
    pub(super) max_creations_per_second: Option<u32>,

    /// An unfinished upload that nobody goes on with is removed after this [default: 1d]
    #[arg(long, env = "TIDEGATE_UPLOAD_EXPIRES_AFTER", value_name = "TIME")]
    #[arg(help_heading = "Uploads")]
    pub(super) upload_expires_after: Option<TimeSpan>,

    /// For how long a cancelled or expired upload is answered 410 [default: 7d]
    #[arg(
        long,
        env = "TIDEGATE_TOMBSTONE_KEEP",
        value_name = "TIME",
        help_heading = "Uploads"
    )]
    pub(super) tombstone_keep: Option<TimeSpan>,

    /// For how long events can be read again [default: 7d]
    #[arg(
        long,
        env = "TIDEGATE_EVENT_KEEP",
        value_name = "TIME",
        help_heading = "Uploads"
    )]
    pub(super) event_keep: Option<TimeSpan>,

    /// A sender slower than --min-rate over this time is cut off [default: 30s]
    #[arg(
        long,
        env = "TIDEGATE_STALL_TIMEOUT",
        value_name = "TIME",
        help_heading = "Uploads"
    )]
    pub(super) stall_timeout: Option<TimeSpan>,

    /// Bytes per second; 0 cuts off the silent only [default: 1Ki]
    #[arg(
        long,
        env = "TIDEGATE_MIN_RATE",
        value_name = "SIZE",
        help_heading = "Uploads"
    )]
    pub(super) min_rate: Option<ByteSize>,

    /// At most this much is sent again after a crash [default: 64Mi]
    #[arg(
        long,
        env = "TIDEGATE_CHECKPOINT_BYTES",
        value_name = "SIZE",
        help_heading = "Uploads"
    )]
    pub(super) checkpoint_bytes: Option<ByteSize>,

    /// At most the bytes of this time are sent again after a crash [default: 1s]
    #[arg(long, env = "TIDEGATE_CHECKPOINT_INTERVAL", value_name = "TIME")]
    #[arg(help_heading = "Uploads")]
    pub(super) checkpoint_interval: Option<TimeSpan>,

    /// How much of a body is read and discarded after an early answer [default: 16Mi]
    #[arg(
        long,
        env = "TIDEGATE_DRAIN_BYTES",
        value_name = "SIZE",
        help_heading = "Ending"
    )]
    pub(super) drain_bytes: Option<ByteSize>,

    /// For how long its sender may be silent meanwhile [default: 5s]
    #[arg(
        long,
        env = "TIDEGATE_DRAIN_IDLE",
        value_name = "TIME",
        help_heading = "Ending"
    )]
    pub(super) drain_idle: Option<TimeSpan>,

    /// How long that may take altogether [default: 60s]
    #[arg(
        long,
        env = "TIDEGATE_DRAIN_TIME",
        value_name = "TIME",
        help_heading = "Ending"
    )]
    pub(super) drain_time: Option<TimeSpan>,

    /// How long work in hand may take to settle when the server is told to stop [default: 10s]
    #[arg(
        long,
        env = "TIDEGATE_SHUTDOWN_GRACE",
        value_name = "TIME",
        help_heading = "Ending"
    )]
    pub(super) shutdown_grace: Option<TimeSpan>,

    /// What the queue's workers may be asked for, the default one first [default: otsu,local]
    #[arg(
        long,
        env = "TIDEGATE_MODELS",
        value_name = "NAME",
        value_delimiter = ','
    )]
    #[arg(help_heading = "Queue")]
    #[serde(default, deserialize_with = "list")]
    pub(super) models: Option<Vec<String>>,

    /// How long a worker keeps an item that it tells nothing of [default: 15s]
    #[arg(long, env = "TIDEGATE_WORKER_LEASE", value_name = "TIME")]
    #[arg(help_heading = "Queue")]
    pub(super) worker_lease: Option<TimeSpan>,

    /// How long a worker has to end what is cancelled [default: 10s]
    #[arg(long, env = "TIDEGATE_CANCEL_GRACE", value_name = "TIME")]
    #[arg(help_heading = "Queue")]
    pub(super) cancel_grace: Option<TimeSpan>,

    /// The largest result of one image, 64Mi at most [default: 16Mi]
    #[arg(long, env = "TIDEGATE_MAX_RESULT_SIZE", value_name = "SIZE")]
    #[arg(help_heading = "Queue")]
    pub(super) max_result_size: Option<ByteSize>,

    /// The most items of one project that wait or are processed [default: 100000]
    #[arg(long, env = "TIDEGATE_MAX_QUEUED_ITEMS", value_name = "N")]
    #[arg(help_heading = "Queue")]
    pub(super) max_queued_items: Option<u32>,

    /// How long an item is kept that has ended [default: 30d]
    #[arg(long, env = "TIDEGATE_ITEM_KEEP", value_name = "TIME")]
    #[arg(help_heading = "Queue")]
    pub(super) item_keep: Option<TimeSpan>,

    /// How long an archive is kept [default: 24h]
    #[arg(long, env = "TIDEGATE_ARCHIVE_KEEP", value_name = "TIME")]
    #[arg(help_heading = "Export")]
    pub(super) archive_keep: Option<TimeSpan>,

    /// How long an export that has ended stays in the history [default: 30d]
    #[arg(long, env = "TIDEGATE_EXPORT_KEEP", value_name = "TIME")]
    #[arg(help_heading = "Export")]
    pub(super) export_keep: Option<TimeSpan>,

    /// Exports that run at once; others wait [default: 2]
    #[arg(long, env = "TIDEGATE_MAX_RUNNING_EXPORTS", value_name = "N")]
    #[arg(help_heading = "Export")]
    pub(super) max_running_exports: Option<u32>,

    /// The most images of one export [default: 100000]
    #[arg(long, env = "TIDEGATE_MAX_EXPORT_IMAGES", value_name = "N")]
    #[arg(help_heading = "Export")]
    pub(super) max_export_images: Option<u32>,

    /// Modules to leave out, separated by commas: export, queue
    #[arg(long, env = "TIDEGATE_WITHOUT", value_enum, value_name = "MODULE")]
    #[arg(value_delimiter = ',', help_heading = "Modules")]
    #[serde(default, deserialize_with = "list")]
    pub(super) without: Option<Vec<Optional>>,

    /// text or json, on standard error [default: text]
    #[arg(
        long,
        env = "TIDEGATE_LOG_FORMAT",
        value_name = "FORMAT",
        help_heading = "Logging"
    )]
    #[serde(default, deserialize_with = "text")]
    pub(super) log_format: Option<LogFormat>,

    /// What is logged, as in info,tidegate::http=debug [default: info]
    #[arg(
        long,
        env = "TIDEGATE_LOG_FILTER",
        value_name = "FILTER",
        help_heading = "Logging"
    )]
    pub(super) log_filter: Option<String>,

    // In the file alone: one has too many parts for a flag.
    #[arg(skip)]
    pub(super) webhook: Option<Vec<Webhook>>,
}

/// An endpoint for events, as a table of the file: `[[webhook]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Webhook {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) secret_file: PathBuf,
    #[serde(default, deserialize_with = "list")]
    pub(super) types: Option<Vec<String>>,
    #[serde(default)]
    pub(super) allow_private: bool,
}

/// How callers prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Auth {
    /// Not at all: everybody is the user `local`
    None,
    /// With a signed token, as `Authorization: Bearer`
    Jwt,
}

/// A module that a server can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Optional {
    /// Archives of a project's uploads
    Export,
    /// The processing queue
    Queue,
}

impl FromStr for Optional {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        <Self as clap::ValueEnum>::from_str(text, false)
            .map_err(|_| format!("there is no module `{text}`: it can be export or queue"))
    }
}

impl Settings {
    /// These settings, and where they say nothing, those of `under`.
    pub(super) fn over(self, under: Self) -> Self {
        Self {
            listen: self.listen.or(under.listen),
            tls_cert: self.tls_cert.or(under.tls_cert),
            tls_key: self.tls_key.or(under.tls_key),
            public_url: self.public_url.or(under.public_url),
            behind_proxy: self.behind_proxy.or(under.behind_proxy),
            trusted_proxy: self.trusted_proxy.or(under.trusted_proxy),
            cors_origin: self.cors_origin.or(under.cors_origin),
            auth: self.auth.or(under.auth),
            insecure_no_auth: self.insecure_no_auth.or(under.insecure_no_auth),
            jwt_secret_file: self.jwt_secret_file.or(under.jwt_secret_file),
            jwt_public_key: self.jwt_public_key.or(under.jwt_public_key),
            jwt_jwks: self.jwt_jwks.or(under.jwt_jwks),
            jwt_issuer: self.jwt_issuer.or(under.jwt_issuer),
            jwt_audience: self.jwt_audience.or(under.jwt_audience),
            data_dir: self.data_dir.or(under.data_dir),
            database: self.database.or(under.database),
            store: self.store.or(under.store),
            durability: self.durability.or(under.durability),
            digest: self.digest.or(under.digest),
            max_upload_size: self.max_upload_size.or(under.max_upload_size),
            max_append_size: self.max_append_size.or(under.max_append_size),
            min_append_size: self.min_append_size.or(under.min_append_size),
            max_interop_version: self.max_interop_version.or(under.max_interop_version),
            max_interim_responses: self.max_interim_responses.or(under.max_interim_responses),
            max_files_per_request: self.max_files_per_request.or(under.max_files_per_request),
            max_metadata_size: self.max_metadata_size.or(under.max_metadata_size),
            project_quota: self.project_quota.or(under.project_quota),
            max_open_uploads: self.max_open_uploads.or(under.max_open_uploads),
            max_streams: self.max_streams.or(under.max_streams),
            max_requests_per_second: self
                .max_requests_per_second
                .or(under.max_requests_per_second),
            max_creations_per_second: self
                .max_creations_per_second
                .or(under.max_creations_per_second),
            upload_expires_after: self.upload_expires_after.or(under.upload_expires_after),
            tombstone_keep: self.tombstone_keep.or(under.tombstone_keep),
            event_keep: self.event_keep.or(under.event_keep),
            stall_timeout: self.stall_timeout.or(under.stall_timeout),
            min_rate: self.min_rate.or(under.min_rate),
            checkpoint_bytes: self.checkpoint_bytes.or(under.checkpoint_bytes),
            checkpoint_interval: self.checkpoint_interval.or(under.checkpoint_interval),
            drain_bytes: self.drain_bytes.or(under.drain_bytes),
            drain_idle: self.drain_idle.or(under.drain_idle),
            drain_time: self.drain_time.or(under.drain_time),
            shutdown_grace: self.shutdown_grace.or(under.shutdown_grace),
            models: self.models.or(under.models),
            worker_lease: self.worker_lease.or(under.worker_lease),
            cancel_grace: self.cancel_grace.or(under.cancel_grace),
            max_result_size: self.max_result_size.or(under.max_result_size),
            max_queued_items: self.max_queued_items.or(under.max_queued_items),
            item_keep: self.item_keep.or(under.item_keep),
            archive_keep: self.archive_keep.or(under.archive_keep),
            export_keep: self.export_keep.or(under.export_keep),
            max_running_exports: self.max_running_exports.or(under.max_running_exports),
            max_export_images: self.max_export_images.or(under.max_export_images),
            without: self.without.or(under.without),
            log_format: self.log_format.or(under.log_format),
            log_filter: self.log_filter.or(under.log_filter),
            webhook: self.webhook.or(under.webhook),
        }
    }
}

/// A value in the file that is written as on the command line.
fn text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    String::deserialize(deserializer)?
        .parse()
        .map(Some)
        .map_err(de::Error::custom)
}

/// Several values in the file: an array, or one string with commas as on the command line.
fn list<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    struct List<T>(PhantomData<T>);

    impl<'de, T: FromStr<Err: fmt::Display>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or an array of strings")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            text.split(',')
                .map(|item| item.parse().map_err(E::custom))
                .collect()
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element::<String>()? {
                list.push(item.parse().map_err(de::Error::custom)?);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_any(List(PhantomData)).map(Some)
}
