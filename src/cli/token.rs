//! The token that proves who is calling: where it comes from, and that it goes nowhere else.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use http::HeaderValue;
use tokio::task::spawn_blocking;

/// The longest token that is read.
const BYTES_MAX: u64 = 16 * 1024;

/// Where a token comes from.
#[derive(Clone)]
pub(super) enum TokenSource {
    /// There is none.
    None,
    /// It was given.
    Text(String),
    /// It is the first line of a file.
    File(PathBuf),
    /// It is the first line that a command prints, run by a shell.
    Command(String),
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("the token in {}: {source}", .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the command for the token: {0}")]
    Command(io::Error),
    #[error("the command for the token has failed: {0}")]
    Failed(std::process::ExitStatus),
    #[error("the token is empty or has characters that no token has")]
    Malformed,
}

/// A token as it is now. Shows nothing of it when it is formatted.
#[derive(Clone)]
pub(super) struct Token {
    source: TokenSource,
    /// `None`: there is none.
    field: Arc<RwLock<Option<HeaderValue>>>,
    /// Held while it is read anew: many requests are refused at once, and one command is enough.
    renewing: Arc<Mutex<()>>,
}

impl Token {
    /// Reads it for the first time, which may take as long as the command.
    pub(super) fn load(source: TokenSource) -> Result<Self, TokenError> {
        let field = field(&source)?;
        Ok(Self {
            source,
            field: Arc::new(RwLock::new(field)),
            renewing: Arc::default(),
        })
    }

    /// For `Authorization`.
    pub(super) fn field(&self) -> Option<HeaderValue> {
        let field = self.field.read().unwrap_or_else(PoisonError::into_inner);
        field.clone()
    }

    /// Reads it anew, after `refused` was answered 401. `false`: there is no other.
    ///
    /// # Cancel safety
    /// Cancel safe: a command that runs already goes on, and its token counts.
    pub(super) async fn renew(&self, refused: Option<&HeaderValue>) -> bool {
        if self.field().as_ref() != refused {
            // Somebody else has read it since.
            return true;
        }
        let (this, refused) = (self.clone(), refused.cloned());
        let renewed = spawn_blocking(move || this.read_anew(refused.as_ref()));
        renewed.await.unwrap_or(false)
    }

    fn read_anew(&self, refused: Option<&HeaderValue>) -> bool {
        let _alone = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.field().as_ref() != refused {
            // Whoever was here before has read it.
            return true;
        }
        let Some(renewed) = field(&self.source).ok().flatten() else {
            return false;
        };
        let is_new = refused != Some(&renewed);
        *self.field.write().unwrap_or_else(PoisonError::into_inner) = Some(renewed);
        is_new
    }

    /// Whom it names, as far as it is a JWT. Nothing is checked: whoever has it is called that.
    pub(super) fn subject(&self) -> Option<String> {
        use base64::Engine as _;
        let field = self.field()?;
        let claims = field.to_str().ok()?.split('.').nth(1)?.to_owned();
        let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD
            .decode(claims)
            .ok()?;
        let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
        let subject = claims.get("sub").or_else(|| claims.get("userId"))?;
        subject.as_str().map(str::to_owned)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

fn field(source: &TokenSource) -> Result<Option<HeaderValue>, TokenError> {
    let token = match source {
        TokenSource::None => return Ok(None),
        TokenSource::Text(token) => token.clone(),
        TokenSource::File(path) => {
            let text = File::open(path).and_then(read);
            text.map_err(|source| TokenError::File {
                path: path.clone(),
                source,
            })?
        }
        TokenSource::Command(command) => run(command)?,
    };
    let token = token.lines().next().unwrap_or_default().trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::Malformed);
    }
    let field = HeaderValue::try_from(format!("Bearer {token}"));
    let mut field = field.map_err(|_| TokenError::Malformed)?;
    field.set_sensitive(true);
    Ok(Some(field))
}

fn run(command: &str) -> Result<String, TokenError> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(TokenError::Command)?;
    // Read first: a command that prints more than the pipe holds would never end.
    let text = child.stdout.take().map(read).transpose();
    let status = child.wait().map_err(TokenError::Command)?;
    match status.success() {
        true => Ok(text.map_err(TokenError::Command)?.unwrap_or_default()),
        false => Err(TokenError::Failed(status)),
    }
}

fn read(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_first_line_of_wherever_it_comes_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "abc.def\nmore").unwrap();
        let value = |source| Token::load(source).unwrap().field().unwrap();
        assert_eq!(value(TokenSource::Text("abc".into())), "Bearer abc");
        assert_eq!(value(TokenSource::File(path)), "Bearer abc.def");
        assert_eq!(
            value(TokenSource::Command("echo a; echo b".into())),
            "Bearer a"
        );
        assert!(Token::load(TokenSource::None).unwrap().field().is_none());
        let token = Token::load(TokenSource::Text("secret".into())).unwrap();
        assert!(!format!("{token:?}{:?}", token.field()).contains("secret"));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let refused = |source| Token::load(source).unwrap_err();
        for text in ["", " ", "a b", "a\u{1b}", "gr\u{fc}n"] {
            let error = refused(TokenSource::Text(text.into()));
            assert!(matches!(error, TokenError::Malformed), "{text:?}");
        }
        let none = "/nonexistent/token".into();
        assert!(matches!(
            refused(TokenSource::File(none)),
            TokenError::File { .. }
        ));
        let failed = TokenSource::Command("echo token; exit 3".into());
        assert!(matches!(refused(failed), TokenError::Failed(_)));
    }

    #[tokio::test]
    async fn a_refused_token_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "old").unwrap();
        let token = Token::load(TokenSource::File(path.clone())).unwrap();
        let old = token.field();
        assert!(!token.renew(old.as_ref()).await, "it is the same");
        std::fs::write(&path, "new").unwrap();
        assert!(token.renew(old.as_ref()).await);
        assert_eq!(token.field().unwrap(), "Bearer new");
        assert!(
            token.renew(old.as_ref()).await,
            "somebody has read it before"
        );
    }

    #[tokio::test]
    async fn a_token_that_many_were_refused_with_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs").display().to_string();
        let command = format!("echo x >> '{runs}'; grep -c x '{runs}'");
        let token = Token::load(TokenSource::Command(command)).unwrap();
        let refused = token.field();
        let renewals = (0..32).map(|_| token.renew(refused.as_ref()));
        let renewed = futures_util::future::join_all(renewals).await;
        assert!(renewed.iter().all(|renewed| *renewed), "{renewed:?}");
        assert_eq!(token.field().unwrap(), "Bearer 2");
        assert_eq!(std::fs::read_to_string(runs).unwrap(), "x\nx\n");
    }

    #[test]
    fn a_jwt_names_its_subject() {
        let subject = |text: &str| {
            Token::load(TokenSource::Text(text.into()))
                .unwrap()
                .subject()
        };
        assert_eq!(subject("e30.eyJzdWIiOiJhbm4ifQ.x").as_deref(), Some("ann"));
        assert_eq!(
            subject("e30.eyJ1c2VySWQiOiJib2IifQ.x").as_deref(),
            Some("bob")
        );
        for opaque in ["opaque", "a.b.c", "e30.e30.x"] {
            assert_eq!(subject(opaque), None, "{opaque}");
        }
    }
}
