//! Where events are sent to.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use http::Uri;

use super::sign::{InvalidSecret, Secret};
use crate::event::Filter;
use crate::http::Reach;

/// Secrets that sign at the same time.
const SECRETS_MAX: usize = 4;

/// What is read of a file with secrets.
const FILE_BYTES_MAX: u64 = 4096;

/// An endpoint, as it is configured.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// By which its progress is kept.
    pub name: String,
    /// With scheme and host.
    pub url: Uri,
    /// A file with one secret a line.
    pub secret_file: PathBuf,
    /// Which events it is sent.
    pub filter: Filter,
    /// Where its host may be.
    pub reach: Reach,
}

/// Why an endpoint cannot be signed for.
#[derive(Debug, thiserror::Error)]
#[error("webhook `{name}`: {cause}")]
pub struct EndpointError {
    name: String,
    cause: SecretsError,
}

#[derive(Debug, thiserror::Error)]
enum SecretsError {
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("line {line} of `{}` {source}", path.display())]
    Invalid {
        path: PathBuf,
        line: usize,
        source: InvalidSecret,
    },
    #[error("`{}` must have 1 to {SECRETS_MAX} secrets, one a line", path.display())]
    Count { path: PathBuf },
}

/// Endpoints that can be signed for.
#[derive(Debug)]
pub struct Endpoints(pub(super) Vec<Endpoint>);

impl Endpoints {
    /// Reads the secrets. Blocks.
    ///
    /// # Errors
    /// A file cannot be read, or has no secrets.
    pub fn load(configs: Vec<EndpointConfig>) -> Result<Self, EndpointError> {
        let endpoints = configs.into_iter().map(Endpoint::load);
        endpoints.collect::<Result<_, _>>().map(Self)
    }
}

/// An endpoint that can be signed for.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) name: String,
    pub(super) url: Uri,
    pub(super) secrets: Vec<Secret>,
    pub(super) filter: Filter,
    pub(super) reach: Reach,
}

impl Endpoint {
    fn load(config: EndpointConfig) -> Result<Self, EndpointError> {
        let EndpointConfig {
            name,
            url,
            secret_file,
            filter,
            reach,
        } = config;
        match secrets(secret_file) {
            Ok(secrets) => Ok(Self {
                name,
                url,
                secrets,
                filter,
                reach,
            }),
            Err(cause) => Err(EndpointError { name, cause }),
        }
    }
}

fn secrets(path: PathBuf) -> Result<Vec<Secret>, SecretsError> {
    let mut text = String::new();
    let read =
        File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    if let Err(source) = read {
        return Err(SecretsError::Unreadable { path, source });
    }
    let mut secrets = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match line.trim().parse() {
            Ok(secret) => secrets.push(secret),
            Err(_) if line.trim().is_empty() => {}
            Err(source) => {
                let line = index + 1;
                return Err(SecretsError::Invalid { path, line, source });
            }
        }
    }
    match secrets.len() {
        1..=SECRETS_MAX => Ok(secrets),
        _ => Err(SecretsError::Count { path }),
    }
}
