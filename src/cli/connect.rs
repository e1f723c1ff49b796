//! Which server, and as whom: flags, then environment, then the profile of the configuration file.
//!
//! A token that was said beside a server is for that server's origin, whatever another layer says.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::task::spawn_blocking;

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
    /// The server [default: http://127.0.0.1:7070] [env: TIDEGATE_SERVER]
    #[arg(long, value_name = "URL")]
    #[arg(help_heading = "Server")]
    server: Option<String>,

    /// The token that proves who is calling; others on this machine may see it, see --token-file
    /// [env: TIDEGATE_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    #[arg(help_heading = "Server")]
    token: Option<Secret>,

    /// A file with the token in its first line [env: TIDEGATE_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    #[arg(help_heading = "Server")]
    token_file: Option<PathBuf>,

    /// A command that prints the token, run by sh at the start and when the token has expired
    /// [env: TIDEGATE_TOKEN_COMMAND]
    #[arg(long, value_name = "COMMAND")]
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
        let profile = profile.ok_or_else(|| unusable(format!("there is no profile `{name}`")))?;
        Ok(profile.at(absolute("HOME").as_deref()))
    }

    /// The server. `endpoint` is one that was named in another way, and counts before all others.
    ///
    /// # Errors
    /// Something that was said cannot be used.
    ///
    /// # Cancel safety
    /// Cancel safe: a command for the token may run on, and nobody wants what it prints.
    pub(super) async fn server(
        &self,
        profile: &Profile,
        endpoint: Option<&str>,
        scope: Scope,
    ) -> Result<Server, CommandError> {
        let layers = [
            Layer {
                server: endpoint.map(str::to_owned).or_else(|| self.server.clone()),
                token: first([
                    self.token.clone().map(|token| TokenSource::Text(token.0)),
                    self.token_file.clone().map(TokenSource::File),
                    self.token_command.clone().map(TokenSource::Command),
                ]),
            },
            Layer::environment(),
            Layer {
                server: profile.server.clone(),
                token: first([
                    profile.token_file.clone().map(TokenSource::File),
                    profile.token_command.clone().map(TokenSource::Command),
                ]),
            },
        ];
        let (base, token) = choose(layers)?;
        let opened = spawn_blocking(move || {
            let token = Token::load(token);
            let token = token.map_err(|error| CommandError::Usage(error.to_string()))?;
            Server::new(base, token, scope).map_err(|error| CommandError::Failed(error.to_string()))
        });
        let failed = |error: tokio::task::JoinError| CommandError::Failed(error.to_string());
        opened.await.map_err(failed)?
    }
}

impl Profile {
    /// The same with paths that mean it where they begin with `~/`: no shell has read them.
    fn at(mut self, home: Option<&Path>) -> Self {
        for path in [&mut self.token_file, &mut self.state_dir] {
            if let (Some(path), Some(home)) = (path, home)
                && let Ok(rest) = path.strip_prefix("~")
            {
                *path = home.join(rest);
            }
        }
        self
    }
}

/// What was said in one place.
struct Layer {
    server: Option<String>,
    token: Option<TokenSource>,
}

impl Layer {
    fn environment() -> Self {
        Self {
            server: variable("TIDEGATE_SERVER"),
            token: first([
                variable("TIDEGATE_TOKEN").map(TokenSource::Text),
                variable("TIDEGATE_TOKEN_FILE").map(|path| TokenSource::File(path.into())),
                variable("TIDEGATE_TOKEN_COMMAND").map(TokenSource::Command),
            ]),
        }
    }
}

/// The first server, and the first token that is for it.
fn choose(layers: [Layer; 3]) -> Result<(Base, TokenSource), CommandError> {
    let parse =
        |url: &str| Base::parse(url).map_err(|error| CommandError::Usage(error.to_string()));
    let named = layers.iter().find_map(|layer| layer.server.as_deref());
    let base = parse(named.unwrap_or(DEFAULT_SERVER))?;
    for layer in layers {
        let home = layer.server.as_deref().map(parse).transpose()?;
        if let Some(token) = layer.token
            && home.is_none_or(|home| home.is_origin_of(&base))
        {
            return Ok((base, token));
        }
    }
    Ok((base, TokenSource::None))
}

fn first<const N: usize>(said: [Option<TokenSource>; N]) -> Option<TokenSource> {
    said.into_iter().flatten().next()
}

/// What the environment says, unless that is nothing.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `$XDG_CONFIG_HOME`, or else `~/.config` (XDG Base Directory Specification).
fn config_file() -> Option<PathBuf> {
    Some(home_of("XDG_CONFIG_HOME", ".config")?.join("tidegate/config.toml"))
}

/// The directory that the variable names, or else that one in the user's home.
pub(super) fn home_of(variable: &str, otherwise: &str) -> Option<PathBuf> {
    absolute(variable).or_else(|| Some(absolute("HOME")?.join(otherwise)))
}

/// The absolute path that a variable names.
fn absolute(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from)?;
    path.is_absolute().then_some(path)
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
    fn a_path_of_a_profile_may_begin_at_home() {
        let of = |path: &str, home: Option<&str>| {
            let profile = Profile {
                token_file: Some(path.into()),
                state_dir: Some(path.into()),
                ..Profile::default()
            };
            let profile = profile.at(home.map(Path::new));
            assert_eq!(profile.token_file, profile.state_dir);
            profile.token_file.unwrap()
        };
        for (path, meant) in [
            ("~/token", "/ann/token"),
            ("~", "/ann"),
            ("~bob/token", "~bob/token"),
            ("/run/~/token", "/run/~/token"),
            ("token", "token"),
        ] {
            assert_eq!(of(path, Some("/ann")), Path::new(meant));
            assert_eq!(of(path, None), Path::new(path));
        }
    }

    fn layer(server: Option<&str>, token: Option<&str>) -> Layer {
        Layer {
            server: server.map(str::to_owned),
            token: token.map(|token| TokenSource::Text(token.into())),
        }
    }

    fn chosen(layers: [Layer; 3]) -> (String, Option<String>) {
        let (base, token) = choose(layers).unwrap();
        let token = match token {
            TokenSource::Text(token) => Some(token),
            _ => None,
        };
        (base.to_string(), token)
    }

    #[test]
    fn what_was_said_nearer_counts() {
        let none = || layer(None, None);
        assert_eq!(
            chosen([none(), none(), none()]),
            (DEFAULT_SERVER.into(), None)
        );
        let profile = || layer(Some("https://lab.example"), Some("profile"));
        let lab = String::from("https://lab.example");
        let by_profile = (lab.clone(), Some("profile".into()));
        assert_eq!(chosen([none(), none(), profile()]), by_profile);
        let by_flag = chosen([layer(None, Some("flag")), none(), profile()]);
        assert_eq!(by_flag, (lab.clone(), Some("flag".into())));
        let by_variable = chosen([none(), layer(None, Some("env")), profile()]);
        assert_eq!(by_variable, (lab, Some("env".into())));
    }

    #[test]
    fn a_token_is_for_the_server_beside_which_it_was_said() {
        for (named, is_sent) in [
            ("https://LAB.example:443/tidegate", true),
            ("http://lab.example", false),
            ("https://other.example", false),
        ] {
            for place in [1, 2] {
                let mut layers = [
                    layer(Some(named), None),
                    layer(None, None),
                    layer(None, None),
                ];
                layers[place] = layer(Some("https://lab.example"), Some("secret"));
                assert_eq!(chosen(layers).1.is_some(), is_sent, "{named}");
            }
        }
        let wrong = [
            layer(None, None),
            layer(Some("lab.example"), None),
            layer(None, None),
        ];
        assert!(matches!(choose(wrong), Err(CommandError::Usage(_))));
    }
}
