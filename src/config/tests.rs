//! Settings from each layer, defaults as documented, and every kind of refusal.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::auth::{KeySource, Location};
use crate::units::{ByteSize, TimeSpan};

fn parse<I>(arguments: I) -> Result<Command, Refusal>
where
    I: IntoIterator<Item: Into<OsString> + Clone>,
{
    match super::parse(arguments)? {
        Invocation::Operator(command) => Ok(*command),
        other => panic!("asked for an operator's, got {other:?}"),
    }
}

fn serve(arguments: &[&str]) -> Result<Config, Refusal> {
    let program = ["tidegate", "serve"].iter().chain(arguments);
    match parse(program)? {
        Command::Serve(config) => Ok(config),
        other => panic!("asked for serve, got {other:?}"),
    }
}

fn refusal(arguments: &[&str]) -> String {
    match parse(["tidegate"].iter().chain(arguments)) {
        Ok(command) => panic!("{arguments:?} became {command:?}"),
        Err(refusal) => {
            assert!(refusal.0.use_stderr());
            assert_eq!(refusal.0.exit_code(), 2);
            refusal.to_string()
        }
    }
}

/// A configuration file in a directory of its own.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tidegate.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn nothing_need_be_said() {
    let config = serve(&[]).unwrap();
    assert_eq!(config.listen, [Listen::Tcp("127.0.0.1:7070".into())]);
    assert_eq!(config.origin, Origin::Request);
    assert_eq!(config.cors, Cors::Any);
    assert_eq!(config.data_dir, Path::new("./tidegate-data"));
    assert_eq!((config.database, config.store), (None, None));
    assert_eq!(config.durability, Durability::PowerLoss);
    assert_eq!(config.digest, Digest::Sha256);
    assert_eq!(config.uploads.upload_bytes_max, None);
    assert_eq!(config.uploads.append_bytes_max, None);
    assert_eq!(config.uploads.rate_min, 1024);
    assert_eq!(config.uploads.checkpoint_bytes, 64 << 20);
    assert!(config.modules.export && config.modules.queue);
}

#[test]
fn the_help_tells_the_defaults_that_are_applied() {
    let silent = format!("{:?}", serve(&[]).unwrap());
    let program = program();
    let mut told = 0;
    for flag in program.find_subcommand("serve").unwrap().get_arguments() {
        let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
        let Some((_, default)) = help.split_once("[default: ") else {
            continue;
        };
        let flag = format!(
            "--{}={}",
            flag.get_long().unwrap(),
            default.trim_end_matches(']')
        );
        assert_eq!(format!("{:?}", serve(&[&flag]).unwrap()), silent, "{flag}");
        told += 1;
    }
    assert!(told >= 18, "only {told} flags tell their default");
}

/// Flags that say what to do this time.
const OF_ONE_COMMAND: [&str; 5] = ["repair", "user", "expires", "email", "role"];

#[test]
fn every_flag_has_its_variable_and_its_heading() {
    let is_operators = |command: &&clap::Command| {
        let mut flags = command.get_arguments();
        flags.any(|flag| flag.get_id() == "config")
    };
    for command in program().get_subcommands().filter(is_operators) {
        for flag in command
            .get_arguments()
            .filter(|flag| !OF_ONE_COMMAND.contains(&flag.get_id().as_str()))
        {
            let long = flag.get_long().unwrap();
            let variable = format!("TIDEGATE_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(flag.get_env().unwrap().to_str(), Some(variable.as_str()));
            let has_none = long == "config" || (command.get_name(), long) == ("token", "models");
            assert_eq!(flag.get_help_heading().is_none(), has_none, "{long}");
        }
    }
    program().debug_assert();
}

#[test]
fn every_flag_is_a_key_of_the_file() {
    let program = program();
    let mut keys: Vec<_> = program
        .find_subcommand("serve")
        .unwrap()
        .get_arguments()
        .map(|flag| flag.get_long().unwrap())
        .filter(|long| *long != "config")
        .collect();
    let (_dir, path) = file("no-such-key = 1");
    let text = refusal(&["serve", "--config", &path]);
    let (_, expected) = text.split_once("expected one of ").unwrap();
    let expected = expected.lines().next().unwrap();
    let mut found: Vec<_> = expected
        .split(", ")
        .map(|key| key.trim_matches('`'))
        .collect();
    // These have too many parts for a flag.
    found.retain(|key| *key != "webhook");
    keys.sort_unstable();
    found.sort_unstable();
    assert_eq!(keys, found);
}

#[test]
fn a_flag_wins_over_the_file() {
    let (_dir, path) = file("stall-timeout = \"7s\"\ndrain-idle = \"8s\"\nlisten = \"[::1]:1\"\n");
    let config = serve(&["--config", &path, "--stall-timeout", "9s"]).unwrap();
    assert_eq!(config.uploads.stall_timeout, Duration::from_secs(9));
    assert_eq!(config.drain.idle, Duration::from_secs(8));
    assert_eq!(config.drain.total, Duration::from_secs(60));
    assert_eq!(config.listen, [Listen::Tcp("[::1]:1".into())]);
}

/// The environment of a process is shared by all tests and cannot be changed safely, so this test
/// runs itself once more in a process whose environment is made for it.
#[test]
fn the_environment_stands_between_flag_and_file() {
    let Ok(path) = std::env::var("TIDEGATE_TEST_CONFIG_FILE") else {
        let (_dir, path) = file("drain-idle = \"1s\"\nstall-timeout = \"1s\"\nmin-rate = 1\n");
        let test = std::thread::current().name().unwrap().to_owned();
        let inner = std::process::Command::new(std::env::current_exe().unwrap())
            .args([&test, "--exact"])
            .env("TIDEGATE_TEST_CONFIG_FILE", path)
            .env("TIDEGATE_DRAIN_IDLE", "2s")
            .env("TIDEGATE_STALL_TIMEOUT", "2s")
            .env("TIDEGATE_BEHIND_PROXY", "yes")
            .env("TIDEGATE_WITHOUT", "queue,export")
            .env("TIDEGATE_LISTEN", "127.0.0.1:0,unix:/run/t.sock")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&inner.stdout);
        assert!(
            inner.status.success() && told.contains("1 passed"),
            "{told}"
        );
        return;
    };
    let config = serve(&["--config", &path, "--stall-timeout", "3s"]).unwrap();
    assert_eq!(config.uploads.rate_min, 1);
    assert_eq!(config.drain.idle, Duration::from_secs(2));
    assert_eq!(config.uploads.stall_timeout, Duration::from_secs(3));
    assert_eq!(config.origin, Origin::Forwarded);
    assert!(!config.modules.queue && !config.modules.export);
    let unix = Listen::Unix("/run/t.sock".into());
    assert_eq!(config.listen, [Listen::Tcp("127.0.0.1:0".into()), unix]);
    // What the environment says is no flag: `fsck` serves nothing, and does not mind.
    assert!(matches!(
        parse(["tidegate", "fsck"]),
        Ok(Command::Fsck { repair: false, .. })
    ));
}

#[test]
fn every_key_of_the_file_is_read() {
    let (_dir, path) = file(
        r#"
        listen = ["127.0.0.1:1", "unix:/run/tidegate.sock"]
        public-url = "https://up.example/tide/"
        behind-proxy = false
        cors-origin = "https://a.example,https://B.example:8443"
        auth = "none"
        insecure-no-auth = false
        data-dir = "/srv/tide"
        database = "postgres://tide@db/tide"
        store = "file:///srv/blobs"
        durability = "process-crash"
        digest = "none"
        max-upload-size = "5G"
        max-append-size = 4096
        upload-expires-after = "2h"
        tombstone-keep = "3d"
        event-keep = "9d"
        stall-timeout = "4m"
        min-rate = 0
        checkpoint-bytes = "1Mi"
        checkpoint-interval = "250ms"
        drain-bytes = 0
        drain-idle = "6s"
        drain-time = "7s"
        shutdown-grace = "8s"
        without = ["export"]
        log-format = "json"
        log-filter = "warn,tidegate=debug"
        "#,
    );
    let config = serve(&["--config", &path]).unwrap();
    assert_eq!(config.listen.len(), 2);
    assert_eq!(
        config.origin,
        Origin::Fixed("https://up.example/tide".into())
    );
    let origins = ["https://a.example", "https://b.example:8443"].map(|o| o.parse().unwrap());
    assert_eq!(config.cors, Cors::Origins(origins.to_vec()));
    assert_eq!(config.data_dir, Path::new("/srv/tide"));
    assert_eq!(config.database.as_deref(), Some("postgres://tide@db/tide"));
    assert_eq!(config.store.as_deref(), Some(Path::new("/srv/blobs")));
    assert_eq!(config.durability, Durability::ProcessCrash);
    assert_eq!(config.digest, Digest::None);
    assert_eq!(config.uploads.upload_bytes_max, Some(5_000_000_000));
    assert_eq!(config.uploads.append_bytes_max, Some(4096));
    assert_eq!(config.uploads.expires_after, Duration::from_secs(2 * 3600));
    assert_eq!(
        config.uploads.tombstone_keep,
        Duration::from_secs(3 * 24 * 3600)
    );
    assert_eq!(config.event_keep, Duration::from_secs(9 * 24 * 3600));
    assert_eq!(config.uploads.stall_timeout, Duration::from_secs(240));
    assert_eq!(config.uploads.rate_min, 0);
    assert_eq!(config.uploads.checkpoint_bytes, 1 << 20);
    assert_eq!(
        config.uploads.checkpoint_interval,
        Duration::from_millis(250)
    );
    assert_eq!(config.drain.bytes, 4096, "never below the largest append");
    assert_eq!(config.drain.idle, Duration::from_secs(6));
    assert_eq!(config.drain.total, Duration::from_secs(7));
    assert_eq!(config.shutdown_grace, Duration::from_secs(8));
    assert!(!config.modules.export && config.modules.queue);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.filter, "warn,tidegate=debug");
}

#[test]
fn a_wrong_file_is_refused_with_key_and_line() {
    for (text, told) in [
        ("stall-timout = \"1s\"", "stall-timout"),
        ("config = \"other.toml\"", "config"),
        ("min-rate = 1\nmin-rate = 2", "min-rate"),
        ("drain-bytes = -1", "drain-bytes"),
        ("drain-bytes = \"16X\"", "16X"),
        ("drain-idle = 5", "drain-idle"),
        ("drain-idle = \"5\"", "as in 30s"),
        ("digest = \"md5\"", "md5"),
        ("auth = \"basic\"", "`none` or `jwt`"),
        ("without = [\"uploads\"]", "export or queue"),
        ("listen = 7070", "listen"),
        ("listen = [\"127.0.0.1\"]", "host:port"),
        ("log-format = \"xml\"", "`text` or `json`"),
        ("durability", "line 1"),
    ] {
        let (_dir, path) = file(text);
        let refusal = refusal(&["check", "--config", &path]);
        assert!(refusal.contains(told), "{text}: {refusal}");
        assert!(
            refusal.contains("line ") && refusal.contains(&path),
            "{text}: {refusal}"
        );
    }
    assert!(refusal(&["check", "--config", "/nowhere/t.toml"]).contains("cannot read"));
}

#[test]
fn a_wrong_value_is_refused_by_its_name() {
    for (flag, value, told) in [
        ("--listen", "localhost", "host:port"),
        ("--public-url", "up.example", "https://HOST"),
        ("--public-url", "ftp://up.example", "https://HOST"),
        ("--public-url", "https://u:p@up.example", "https://HOST"),
        ("--public-url", "https://up.example/?a", "https://HOST"),
        ("--cors-origin", "*,https://a.example", "alone"),
        ("--cors-origin", "none,https://a.example", "alone"),
        ("--cors-origin", "https://a.example/", "cors-origin"),
        ("--cors-origin", "a.example", "cors-origin"),
        ("--auth", "basic", "possible values: none, jwt"),
        ("--auth", "jwt", "needs a key"),
        ("--database", "mysql://db", "sqlite:PATH"),
        ("--database", "postgres://", "sqlite:PATH"),
        ("--store", "s3://bucket", "file:PATH"),
        ("--store", "file:", "file:PATH"),
        ("--store", "file://host/path", "names a host"),
        ("--durability", "none", "power-loss"),
        ("--digest", "md5", "sha256"),
        ("--max-upload-size", "0", "max-upload-size"),
        ("--max-append-size", "0", "max-append-size"),
        ("--min-append-size", "0", "min-append-size"),
        ("--max-interop-version", "8", "max-interop-version"),
        ("--max-files-per-request", "0", "max-files-per-request"),
        ("--max-files-per-request", "1001", "max-files-per-request"),
        ("--trusted-proxy", "proxy.example", "192.0.2.0/24"),
        ("--trusted-proxy", "192.0.2.7", "behind-proxy"),
        ("--checkpoint-bytes", "0", "checkpoint-bytes"),
        ("--upload-expires-after", "0s", "upload-expires-after"),
        ("--stall-timeout", "0s", "stall-timeout"),
        ("--checkpoint-interval", "0ms", "checkpoint-interval"),
        ("--drain-time", "1y", "as in 30s"),
        ("--behind-proxy", "perhaps", "behind-proxy"),
        ("--without", "upload", "possible values: export, queue"),
        ("--log-filter", "a=b=c", "log-filter"),
        ("--no-such-flag", "1", "no-such-flag"),
    ] {
        let refusal = refusal(&["serve", &format!("{flag}={value}")]);
        assert!(refusal.contains(told), "{flag}={value}: {refusal}");
    }
    let both = [
        "serve",
        "--public-url",
        "https://up.example",
        "--behind-proxy",
    ];
    assert!(refusal(&both).contains("exclude each other"));
    let crossed = ["serve", "--min-append-size=2Ki", "--max-append-size=1Ki"];
    assert!(refusal(&crossed).contains("more than max-append-size"));
}

#[test]
fn a_certificate_needs_its_key() {
    let config = serve(&["--tls-cert", "c.pem", "--tls-key", "k.pem"]).unwrap();
    let files = config.tls.unwrap();
    assert_eq!((files.cert, files.key), ("c.pem".into(), "k.pem".into()));
    assert!(serve(&[]).unwrap().tls.is_none());
    for half in ["--tls-cert", "--tls-key"] {
        assert!(refusal(&["serve", half, "x.pem"]).contains("belong together"));
    }
}

#[test]
fn without_authentication_only_this_machine_is_served() {
    for local in [
        "127.0.0.1:1",
        "127.8.9.1:0",
        "[::1]:1",
        "localhost:1",
        "unix:/run/t.sock",
    ] {
        serve(&["--listen", local]).unwrap();
    }
    serve(&["--listen", "[::ffff:127.0.0.1]:1"]).unwrap();
    for exposed in [
        "0.0.0.0:1",
        "[::]:1",
        "192.0.2.1:1",
        "up.example:1",
        "localhost.example:1",
    ] {
        let both = ["serve", "--listen", "127.0.0.1:1", "--listen", exposed];
        let refusal = refusal(&both);
        assert!(
            refusal.contains("--insecure-no-auth") && refusal.contains(exposed),
            "{refusal}"
        );
        serve(&["--listen", exposed, "--insecure-no-auth"]).unwrap();
        serve(&["--insecure-no-auth=true", "--listen", exposed]).unwrap();
    }
}

#[test]
fn special_origins() {
    assert_eq!(serve(&["--cors-origin", "none"]).unwrap().cors, Cors::Off);
    assert_eq!(serve(&["--cors-origin", "*"]).unwrap().cors, Cors::Any);
    let twice = [
        "--cors-origin",
        "https://a.example",
        "--cors-origin",
        "http://localhost:5173",
    ];
    assert!(matches!(serve(&twice).unwrap().cors, Cors::Origins(list) if list.len() == 2));
    assert_eq!(
        serve(&["--behind-proxy"]).unwrap().origin,
        Origin::Forwarded
    );
    assert!(serve(&["--behind-proxy", "--trusted-proxy", "192.0.2.7,::1/64"]).is_ok());
    assert_eq!(
        serve(&["--behind-proxy=no"]).unwrap().origin,
        Origin::Request
    );
}

#[test]
fn commands_take_what_they_need() {
    let Ok(Command::Fsck {
        config,
        repair: true,
    }) = parse([
        "tidegate",
        "fsck",
        "--repair",
        "--data-dir",
        "d",
        "--log-format",
        "json",
    ])
    else {
        panic!("fsck with its flags");
    };
    assert_eq!(config.data_dir, Path::new("d"));
    let database = ["tidegate", "migrate", "--database", "sqlite:x"];
    assert!(matches!(parse(database), Ok(Command::Migrate(_))));
    assert!(matches!(
        parse(["tidegate", "check", "--min-rate", "5k"]),
        Ok(Command::Check(_))
    ));
    for command in ["migrate", "fsck"] {
        let refusal = refusal(&[command, "--min-rate", "5k"]);
        assert!(refusal.contains("`--min-rate` means nothing"), "{refusal}");
    }
    assert!(refusal(&["migrate", "--repair"]).contains("--repair"));
    refusal(&["servo"]);
    refusal(&[]);
}

#[test]
fn help_and_version_are_no_mistakes() {
    for asked in ["--help", "--version"] {
        let Err(refusal) = parse(["tidegate", asked]) else {
            panic!("{asked} is not a command")
        };
        assert!(!refusal.0.use_stderr(), "{asked}");
    }
}

#[test]
fn a_password_is_not_shown() {
    let config = serve(&["--database", "postgres://u:hunter2@db/tide"]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let refusal = refusal(&[
        "serve",
        "--database",
        "postgres://u:hunter2@db/t",
        "--store",
        "x",
    ]);
    assert!(!refusal.contains("hunter2"), "{refusal}");
}

#[test]
fn sizes_are_read_and_written() {
    for (text, bytes, again) in [
        ("0", 0, "0"),
        ("1", 1, "1"),
        ("1k", 1_000, "1k"),
        ("1024", 1_024, "1Ki"),
        ("10M", 10_000_000, "10M"),
        ("64Mi", 64 << 20, "64Mi"),
        ("3G", 3_000_000_000, "3G"),
        ("2Gi", 2 << 30, "2Gi"),
        ("1025", 1_025, "1025"),
        ("007", 7, "7"),
        (
            "9223372036854775807",
            i64::MAX as u64,
            "9223372036854775807",
        ),
    ] {
        let size: ByteSize = text.parse().unwrap();
        assert_eq!(size.0, bytes, "{text}");
        assert_eq!(size.to_string(), again, "{text}");
        assert_eq!(again.parse(), Ok(size), "{text}");
    }
    for wrong in [
        "", "k", "-1", "+1", "1 k", "1K", "1m", "1KiB", "1.5M", "1e3", "0x10", "1T",
    ] {
        let refusal = wrong.parse::<ByteSize>().unwrap_err().to_string();
        assert!(refusal.contains("as in 16Mi"), "{wrong}: {refusal}");
    }
    for large in [
        "9223372036854775808",
        "8589934592Gi",
        "99999999999999999999999",
    ] {
        let refusal = large.parse::<ByteSize>().unwrap_err().to_string();
        assert!(
            refusal.contains("at most 9223372036854775807"),
            "{large}: {refusal}"
        );
    }
}

#[test]
fn durations_are_read_and_written() {
    for (text, millis, again) in [
        ("0s", 0, "0s"),
        ("250ms", 250, "250ms"),
        ("1500ms", 1_500, "1500ms"),
        ("90s", 90_000, "90s"),
        ("60s", 60_000, "1m"),
        ("24h", 86_400_000, "1d"),
        ("36500d", 3_153_600_000_000, "36500d"),
    ] {
        let span: TimeSpan = text.parse().unwrap();
        assert_eq!(span.0, Duration::from_millis(millis), "{text}");
        assert_eq!(span.to_string(), again, "{text}");
        assert_eq!(again.parse(), Ok(span), "{text}");
    }
    for wrong in [
        "", "s", "30", "-1s", "1 s", "1S", "1.5s", "1w", "1y", "1min", "∞",
    ] {
        let refusal = wrong.parse::<TimeSpan>().unwrap_err().to_string();
        assert!(refusal.contains("as in 30s"), "{wrong}: {refusal}");
    }
    for long in ["36501d", "99999999999999999999s", "18446744073709551615d"] {
        let refusal = long.parse::<TimeSpan>().unwrap_err().to_string();
        assert!(refusal.contains("at most 36500d"), "{long}: {refusal}");
    }
}

#[test]
fn tokens_are_checked_with_one_key() {
    let jwt = |more: &[&str]| serve(&[&["--auth", "jwt"], more].concat()).map(|config| config.auth);
    let keys = |more: &[&str]| jwt(more).unwrap().unwrap().keys;
    let url = |text: &str| KeySource::Jwks(Location::Url(text.parse().unwrap()));
    let file = |text: &str| KeySource::Jwks(Location::File(text.into()));
    assert_eq!(
        keys(&["--jwt-secret-file", "s"]),
        KeySource::Secret("s".into())
    );
    assert_eq!(
        keys(&["--jwt-public-key", "p"]),
        KeySource::PublicKey("p".into())
    );
    for (text, expected) in [
        ("jwks.json", file("jwks.json")),
        ("/etc/a:b", file("/etc/a:b")),
        ("https://id.example/keys", url("https://id.example/keys")),
        (
            "http://127.0.0.1:8080/keys",
            url("http://127.0.0.1:8080/keys"),
        ),
        ("http://[::1]/keys", url("http://[::1]/keys")),
        ("http://localhost/keys", url("http://localhost/keys")),
    ] {
        assert_eq!(keys(&["--jwt-jwks", text]), expected);
    }
    let expected = jwt(&[
        "--jwt-jwks",
        "j",
        "--jwt-issuer",
        "us",
        "--jwt-audience",
        "them",
    ]);
    let expected = expected.unwrap().unwrap().expected;
    assert_eq!(expected.issuer.as_deref(), Some("us"));
    assert_eq!(expected.audience.as_deref(), Some("them"));
    assert_eq!(serve(&["--auth", "none"]).unwrap().auth, None);
    let secret = "--jwt-secret-file=s";
    assert!(jwt(&[secret, "--listen", "0.0.0.0:80"]).is_ok());
}

#[test]
fn contradictions_about_callers_are_refused() {
    let secret = "--jwt-secret-file=s";
    for (flags, told) in [
        (&["--auth=jwt", secret, "--jwt-jwks=j"][..], "exclude"),
        (&["--auth=jwt", secret, "--jwt-public-key=p"], "exclude"),
        (&["--auth=jwt", "--jwt-issuer=us"], "needs a key"),
        (&["--auth=jwt", secret, "--jwt-issuer="], "jwt-issuer"),
        (&["--auth=jwt", secret, "--jwt-audience="], "jwt-audience"),
        (&["--auth=jwt", "--jwt-jwks="], "jwt-jwks"),
        (&["--auth=jwt", "--jwt-jwks=http://id.example/"], "jwt-jwks"),
        (
            &["--auth=jwt", "--jwt-jwks=http://127.0.0.1.evil.example/"],
            "jwt-jwks",
        ),
        (
            &["--auth=jwt", "--jwt-jwks=https://a:b@id.example/"],
            "jwt-jwks",
        ),
        (&["--auth=jwt", "--jwt-jwks=ftp://id.example/"], "jwt-jwks"),
        (&["--auth=jwt", "--jwt-jwks=file:///keys"], "jwt-jwks"),
        (&["--auth=none", secret], "`jwt` only"),
        (&[secret], "`jwt` only"),
        (&["--jwt-public-key=p"], "`jwt` only"),
        (&["--jwt-jwks=j"], "`jwt` only"),
        (&["--jwt-issuer=us"], "`jwt` only"),
        (&["--jwt-audience=them"], "`jwt` only"),
        (&["--listen=0.0.0.0:80"], "set `auth` to `jwt`"),
    ] {
        let refusal = refusal(&[&["serve"], flags].concat());
        assert!(refusal.contains(told), "{flags:?}: {refusal}");
    }
    let token = ["token", "--user", "ada", secret];
    assert!(refusal(&[&token[..], &["--expires", "0s"]].concat()).contains("expires"));
    assert!(refusal(&[&token[..], &["--listen", "a:1"]].concat()).contains("means nothing"));
    for role in [&[][..], &["--role", "admin"]] {
        let models = [&token[..], role, &["--models", "otsu"]].concat();
        assert!(refusal(&models).contains("--role worker"), "{role:?}");
    }
    assert!(refusal(&["token", secret]).contains("--user"));
}

/// The setting of the same name says what the queue has, and nothing of this worker.
#[test]
fn the_models_of_a_token_are_those_of_its_command_line() {
    let (_dir, path) = file("models = ['otsu', 'local']");
    let token = [
        "token", "--user", "w", "--role", "worker", "--config", &path,
    ];
    let token = [&token[..], &["--jwt-secret-file", "s"]].concat();
    let models = |more: &[&str]| match parse([&["tidegate"], &token[..], more].concat()) {
        Ok(Command::Token { token, .. }) => token.models,
        other => panic!("{other:?}"),
    };
    assert_eq!(models(&[]), None);
    let two = Some(vec![String::from("a"), String::from("b")]);
    assert_eq!(models(&["--models", "a,b"]), two);
}
