//! Who is calling: keys from files, from the database and from other servers.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use ::http::header::ACCEPT;
use ::http::{Request, StatusCode, Uri};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::task::spawn_blocking;

use super::{AppError, identity};
use crate::auth::{
    Authenticator, Caller, Capabilities, DOCUMENT_BYTES_MAX, Fetch, FetchError, Location, Models,
    Role, TokenConfig, Tokens, read_document,
};
use crate::cancel::Scope;
use crate::clock;
use crate::config::{Config, TokenRequest, TokenRole};
use crate::db::Db;
use crate::http::{Client, Reach};

/// Under which the database has the key of capabilities.
const CAPABILITY_KEY: &str = "capability_key";

/// How long another server may take for its keys. Requests may be waiting for them.
const FETCHED_WITHIN: Duration = Duration::from_secs(5);

/// What finds out who is calling. It keeps its keys fresh in `scope`.
pub(super) async fn authenticator(
    config: &Config,
    db: &Db,
    scope: &Scope,
) -> Result<Authenticator, AppError> {
    let tokens = tokens(config.auth.as_ref(), scope).await?;
    if let Some(jwks) = tokens.as_ref().and_then(Tokens::jwks).cloned() {
        let ending = scope.clone();
        scope.spawn(async move {
            tokio::select! {
                // Nobody waits for keys any more.
                _ = ending.cancelled() => {}
                () = jwks.keep() => {}
            }
        });
    }
    let capabilities = Capabilities::new(&capability_key(db).await?, clock::unix_ms);
    Ok(Authenticator::new(tokens, capabilities))
}

/// Reads the keys of tokens, and tries them.
pub(super) async fn tokens(
    config: Option<&TokenConfig>,
    scope: &Scope,
) -> Result<Option<Tokens>, AppError> {
    let Some(config) = config else {
        return Ok(None);
    };
    let document = |location: &Location| Document::at(location, scope);
    Ok(Some(config.load(document).await?))
}

/// The key that capabilities are signed with, which is made once.
async fn capability_key(db: &Db) -> Result<[u8; 32], AppError> {
    let kept = identity::read(db, CAPABILITY_KEY).await?;
    let kept = kept.and_then(|text| BASE64_STANDARD.decode(text).ok());
    if let Some(Ok(key)) = kept.map(<[u8; 32]>::try_from) {
        return Ok(key);
    }
    let mut key = [0; 32];
    let filled = SystemRandom::new().fill(&mut key);
    filled.map_err(|_| io::Error::other("the system has no random numbers"))?;
    identity::write(db, CAPABILITY_KEY, BASE64_STANDARD.encode(key)).await?;
    Ok(key)
}

/// `tidegate token`: nothing but the token on standard output.
pub(super) fn print_token(config: &Config, token: TokenRequest) -> Result<(), AppError> {
    let tokens = config.auth.as_ref();
    let signer = tokens.map(TokenConfig::signer).transpose()?;
    let signer =
        signer.ok_or_else(|| io::Error::other("there are no tokens with `auth` `none`"))?;
    let role = match token.role {
        None => Role::User,
        Some(TokenRole::Admin) => Role::Admin,
        Some(TokenRole::Worker) => Role::Worker(match token.models {
            None => Models::All,
            Some(names) => Models::Only(names.into()),
        }),
    };
    let caller = Caller {
        user: token.user,
        email: token.email,
        role,
    };
    let now = clock::unix_ms() / 1000;
    let until = now.saturating_add(token.expires.as_secs());
    writeln!(io::stdout(), "{}", signer.sign(&caller, until)?)?;
    Ok(())
}

/// Where a JWK Set is.
#[derive(Debug)]
enum Document {
    File(PathBuf),
    Url { url: Uri, client: Box<Client> },
}

impl Document {
    fn at(location: &Location, scope: &Scope) -> Result<Box<dyn Fetch>, FetchError> {
        Ok(Box::new(match location {
            Location::File(path) => Self::File(path.clone()),
            // The operator has named the server; it may well be within his own network.
            Location::Url(url) => Self::Url {
                url: url.clone(),
                client: Box::new(Client::new(Reach::Anywhere, scope.child("keys"))?),
            },
        }))
    }
}

impl Fetch for Document {
    fn fetch(&self) -> BoxFuture<'_, Result<Bytes, FetchError>> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                let read = spawn_blocking(move || read_document(&path));
                async { Ok(read.await??.into()) }.boxed()
            }
            Self::Url { url, client } => get(client, url).boxed(),
        }
    }
}

async fn get(client: &Client, url: &Uri) -> Result<Bytes, FetchError> {
    let request = Request::get(url).header(ACCEPT, "application/jwk-set+json, application/json");
    let request = request.body(Full::default())?;
    let answer = client
        .fetch(request, FETCHED_WITHIN, DOCUMENT_BYTES_MAX)
        .await?;
    match answer.status() {
        StatusCode::OK => Ok(answer.into_body()),
        status => Err(format!("{url} answers {status}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{CORE, DbConfig, DbUrl, Durability};

    #[tokio::test]
    async fn the_key_of_capabilities_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let config = DbConfig {
            url: DbUrl::Sqlite(dir.path().join("db")),
            durability: Durability::ProcessCrash,
        };
        let db = Db::open(&config, &Scope::root("test")).await.unwrap();
        db.migrate(&[CORE]).await.unwrap();
        let key = capability_key(&db).await.unwrap();
        assert_ne!(key, [0; 32]);
        assert_eq!(capability_key(&db).await.unwrap(), key);
        // One that is damaged is of no use to anybody.
        identity::write(&db, CAPABILITY_KEY, "AAAA".into())
            .await
            .unwrap();
        assert_ne!(capability_key(&db).await.unwrap(), key);
        db.close().await;
    }
}
