//! Which server, and as whom: flags, then environment, then the profile of the configuration file.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::CommandError;
use super::server::{Base, Server};
use super::token::{Token, TokenSource};
use crate::cancel::Scope;

/// Where a server is that is told nothing else.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7070";

/// What is read of the configuration file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where the server is, and who is calling.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Connect {
    /// The server [default: http://127.0.0.1:7070]
    #[arg(long, env = "TIDEGATE_SERVER", value_name = "URL")]
    #[arg(help_heading = "Server")]
    server: Option<String>,

    /// The token that proves who is calling; others on this machine may see it, see --token-file
    #[arg(long, env = "TIDEGATE_TOKEN", value_name = "TOKEN")]
    #[arg(help_heading = "Server", hide_env_values = true)]
    #[arg(group = "tokens")]
    token: Option<Secret>,

    /// A file with the token in its first line
    #[arg(long, env = "TIDEGATE_TOKEN_FILE", value_name = "FILE")]
    #[arg(help_heading = "Server")]
    token_file: Option<PathBuf>,

    /// A command that prints the token, run by sh at the start and when the token has expired
    #[arg(long, env = "TIDEGATE_TOKEN_COMMAND", value_name = "COMMAND")]
    #[arg(help_heading = "Server")]
    token_command: Option<String>,

    /// The profile of ~/.config/tidegate/config.toml to take what is not said from
    #[arg(long, env = "TIDEGATE_PROFILE", value_name = "NAME")]
    #[arg(help_heading = "Server")]
    profile: Option<String>,
}

/// Shows nothing of itself when it is formatted.
#[derive(Clone)]
struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// `~/.config/tidegate/config.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    default_profile: Option<String>,
    profiles: BTreeMap<String, Profile>,
}

/// What a profile may say; keys are the names of flags.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Profile {
    server: Option<String>,
    token_file: Option<PathBuf>,
    token_command: Option<String>,
    pub(super) project: Option<String>,
    pub(super) jobs: Option<String>,
    pub(super) limit_rate: Option<String>,
    pub(super) retries: Option<u32>,
    pub(super) state_dir: Option<PathBuf>,
}

impl Connect {
    /// The profile that is asked for; an empty one if none is.
    ///
    /// # Errors
    /// The file cannot be read, or has no such profile.
    pub(super) fn profile(&self) -> Result<Profile, CommandError> {
        let Some(path) = config_file() else {
            return Ok(Profile::default());
        };
        let unusable =
            |why: String| CommandError::Usage(format!("{}: {why}", super::text::path(&path)));
        let file = match read(&path) {
            Ok(text) => toml::from_str(&text).map_err(|error| unusable(error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => File::default(),
            Err(error) => return Err(unusable(error.to_string())),
        };
        let Some(name) = self.profile.as_ref().or(file.default_profile.as_ref()) else {
            return Ok(Profile::default());
        };
        let profile = file.profiles.get(name).cloned();
        profile.ok_or_else(|| unusable(format!("there is no profile `{name}`")))
    }

    /// The server. `endpoint` is one that was named in another way, and counts before all others.
    ///
    /// # Errors
    /// Something that was said cannot be used.
    pub(super) fn server(
        &self,
        profile: &Profile,
        endpoint: Option<&str>,
        scope: Scope,
    ) -> Result<Server, CommandError> {
        let url = endpoint.or(self.server.as_deref());
        let url = url.or(profile.server.as_deref()).unwrap_or(DEFAULT_SERVER);
        let base = Base::parse(url).map_err(|error| CommandError::Usage(error.to_string()))?;
        let token = Token::load(self.token_source(profile, &base))
            .map_err(|error| CommandError::Usage(error.to_string()))?;
        Server::new(base, token, scope).map_err(|error| CommandError::Failed(error.to_string()))
    }

    /// The profile's token is for the profile's server.
    fn token_source(&self, profile: &Profile, server: &Base) -> TokenSource {
        let home = profile.server.as_deref().map(Base::parse);
        let is_home = home.is_none_or(|home| home.is_ok_and(|home| home.is_origin_of(server)));
        let profile = match is_home {
            true => profile,
            false => &Profile::default(),
        };
        let said = [
            self.token.clone().map(|token| TokenSource::Text(token.0)),
            self.token_file.clone().map(TokenSource::File),
            self.token_command.clone().map(TokenSource::Command),
            profile.token_file.clone().map(TokenSource::File),
            profile.token_command.clone().map(TokenSource::Command),
        ];
        let said = said.into_iter().flatten().next();
        said.unwrap_or(TokenSource::None)
    }
}

/// `$XDG_CONFIG_HOME`, or else `~/.config` (XDG Base Directory Specification).
fn config_file() -> Option<PathBuf> {
    Some(home_of("XDG_CONFIG_HOME", ".config")?.join("tidegate/config.toml"))
}

/// The directory that the variable names, or else that one in the user's home.
pub(super) fn home_of(variable: &str, otherwise: &str) -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = std::env::var_os(name).map(PathBuf::from)?;
        path.is_absolute().then_some(path)
    };
    absolute(variable).or_else(|| Some(absolute("HOME")?.join(otherwise)))
}

fn read(path: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_says_what_flags_say() {
        let file: File = toml::from_str(
            "default-profile = 'lab'\n[profiles.lab]\nserver = 'https://lab.example'\n\
             token-file = '/run/token'\nproject = 'Slides'\njobs = '4'\nlimit-rate = '10M'\n\
             retries = 3\nstate-dir = '/var/lib/up'\n[profiles.other]\ntoken-command = 'pass t'",
        )
        .unwrap();
        assert_eq!(file.default_profile.as_deref(), Some("lab"));
        assert_eq!(file.profiles["lab"].project.as_deref(), Some("Slides"));
        for wrong in [
            "token = 'secret'",
            "[profiles.lab]\ntoken = 'x'",
            "[profiles.lab]\nport = 1",
        ] {
            assert!(toml::from_str::<File>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_said_nearer_counts() {
        let profile = Profile {
            token_file: Some("/profile".into()),
            ..Profile::default()
        };
        let server = Base::parse("https://lab.example/other").unwrap();
        let source = |connect: &Connect| connect.token_source(&profile, &server);
        let mut connect = Connect::default();
        assert!(
            matches!(source(&connect), TokenSource::File(path) if path == Path::new("/profile"))
        );
        connect.token_command = Some("echo".into());
        assert!(matches!(source(&connect), TokenSource::Command(_)));
        connect.token = Some(Secret("text".into()));
        assert!(matches!(source(&connect), TokenSource::Text(_)));
        let connect = Connect::default();
        for (home, is_sent) in [
            ("https://LAB.example:443/tidegate", true),
            ("http://lab.example", false),
            ("https://other.example", false),
        ] {
            let profile = Profile {
                server: Some(home.into()),
                ..profile.clone()
            };
            let source = connect.token_source(&profile, &server);
            assert_eq!(matches!(source, TokenSource::File(_)), is_sent, "{home}");
        }
    }
}
