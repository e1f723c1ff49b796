//! Who is calling, and how that is known.

use std::path::PathBuf;

use http::Uri;
use http::uri::Scheme;

use super::Settings;
use super::args::Auth;
use super::resolve::{Result, is_web_url, wrong};
use crate::auth::{Expected, KeySource, Location, TokenConfig};

/// How tokens are checked; `None` if there are none.
pub(super) fn tokens(settings: &Settings) -> Result<Option<TokenConfig>> {
    let secret = settings.jwt_secret_file.clone().map(KeySource::Secret);
    let public = settings.jwt_public_key.clone().map(KeySource::PublicKey);
    let jwks = settings.jwt_jwks.as_deref().map(location).transpose()?;
    let sources = [
        ("jwt-secret-file", secret),
        ("jwt-public-key", public),
        ("jwt-jwks", jwks.map(KeySource::Jwks)),
    ];
    let mut given = sources
        .into_iter()
        .filter_map(|(name, source)| Some((name, source?)));
    let (first, second) = (given.next(), given.next());
    match settings.auth {
        None | Some(Auth::None) => {
            let expected = [
                ("jwt-issuer", &settings.jwt_issuer),
                ("jwt-audience", &settings.jwt_audience),
            ];
            let mut expected = expected.iter().filter(|(_, value)| value.is_some());
            let useless = first.map(|(name, _)| name);
            match useless.or_else(|| expected.next().map(|(name, _)| *name)) {
                Some(setting) => Err(wrong(setting, "is for `auth` `jwt` only")),
                None => Ok(None),
            }
        }
        Some(Auth::Jwt) => {
            let why = "`jwt` needs a key: `jwt-secret-file`, `jwt-public-key` or `jwt-jwks`";
            let (name, keys) = first.ok_or_else(|| wrong("auth", why))?;
            if let Some((second, _)) = second {
                let why = format!("and `{second}` exclude each other: one key checks all tokens");
                return Err(wrong(name, &why));
            }
            let expected = Expected {
                issuer: said("jwt-issuer", &settings.jwt_issuer)?,
                audience: said("jwt-audience", &settings.jwt_audience)?,
            };
            Ok(Some(TokenConfig { keys, expected }))
        }
    }
}

fn said(setting: &'static str, value: &Option<String>) -> Result<Option<String>> {
    match value.as_deref() {
        Some("") => Err(wrong(setting, "is empty: leave it out, or say which")),
        _ => Ok(value.clone()),
    }
}

/// Whoever could change the document on its way could log in as anybody.
fn location(text: &str) -> Result<Location> {
    if !text.contains("://") {
        return match text {
            "" => Err(wrong("jwt-jwks", "is empty")),
            path => Ok(Location::File(PathBuf::from(path))),
        };
    }
    let why = "must be a file, https://..., or http://... on 127.0.0.1, [::1] or localhost";
    let url = text.parse::<Uri>().ok().filter(|_| is_web_url(text));
    let url = url.ok_or_else(|| wrong("jwt-jwks", why))?;
    let is_secure = url.scheme() == Some(&Scheme::HTTPS);
    let is_here = matches!(url.host(), Some("127.0.0.1" | "[::1]" | "localhost"));
    match is_secure || is_here {
        true => Ok(Location::Url(url)),
        false => Err(wrong("jwt-jwks", why)),
    }
}
