//! What comes from others: how old, from where, under which licence.
//!
//! `deny.toml` is the one place where this is decided. `cargo deny` reads it where that is
//! installed; these tests read it everywhere, so that nothing depends on a tool being there.

use std::process::Command;

use super::{Finding, assert_none, root, texts};

#[test]
fn locked_versions_are_at_or_above_their_floors() {
    let floors = floors(&deny_toml());
    for needed in [
        "hyper",
        "h2",
        "jsonwebtoken",
        "sqlx",
        "libsqlite3-sys",
        "rustls",
    ] {
        assert!(
            floors.iter().any(|(name, _)| name == needed),
            "deny.toml has lost the floor of {needed}: put it back, or say why none is needed"
        );
    }
    let findings: Vec<Finding> = lock_files()
        .iter()
        .flat_map(|(path, lock)| below_floor(path, &packages(lock), &floors))
        .collect();
    assert_none(
        &findings,
        "run `cargo update -p NAME`; deny.toml says what is wrong with the older versions",
    );
}

#[test]
fn everything_comes_from_the_registry() {
    let locks = lock_files();
    let findings: Vec<Finding> = locks
        .iter()
        .flat_map(|(path, lock)| foreign_sources(path, &packages(lock)))
        .collect();
    assert_none(&findings, "depend on a published version of the crate");
}

#[test]
fn every_licence_is_allowed() {
    let allowed = allowed_licences(&deny_toml());
    assert!(
        allowed.iter().any(|name| name == "Apache-2.0"),
        "deny.toml allows no licence"
    );
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let tree = Command::new(cargo)
        .args([
            "tree",
            "--workspace",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}|{l}", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let tree = String::from_utf8(tree.stdout).unwrap();
    assert!(
        tree.contains("hyper v"),
        "`cargo tree` lists no dependencies:\n{tree}"
    );
    assert_none(
        &refused_licences(&tree, &allowed),
        "do without the crate, or add its licence to deny.toml if ours permits it",
    );
}

/// One locked package.
struct Package {
    name: String,
    version: String,
    /// Ours have none.
    source: Option<String>,
}

pub(super) fn deny_toml() -> String {
    std::fs::read_to_string(root().join("deny.toml")).expect("read deny.toml")
}

fn lock_files() -> Vec<(String, String)> {
    let locks = texts()
        .into_iter()
        .filter(|(path, _)| path.ends_with("Cargo.lock"));
    locks.collect()
}

fn packages(lock: &str) -> Vec<Package> {
    let tables = lock.split("[[package]]").skip(1);
    let packages = tables.map(|table| Package {
        name: value(table, "name").unwrap_or_default(),
        version: value(table, "version").unwrap_or_default(),
        source: value(table, "source"),
    });
    packages.collect()
}

/// The text of `key = "text"` on a line of its own.
fn value(table: &str, key: &str) -> Option<String> {
    let lines = table.lines().filter_map(|line| line.split_once(" = "));
    let mut values = lines
        .filter(|(name, _)| *name == key)
        .map(|(_, value)| value);
    values
        .next()
        .map(|value| value.trim_matches('"').to_owned())
}

/// The entries `{ crate = "NAME:<VERSION", ... }`.
fn floors(deny: &str) -> Vec<(String, String)> {
    let entries = deny
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let specs = entries.filter_map(|line| line.split_once("crate = \"")?.1.split_once('"'));
    let floors = specs.filter_map(|(spec, _)| spec.split_once(":<"));
    floors
        .map(|(name, version)| (name.to_owned(), version.trim().to_owned()))
        .collect()
}

fn below_floor(path: &str, packages: &[Package], floors: &[(String, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, floor) in floors {
        for package in packages.iter().filter(|package| package.name == *name) {
            if number(&package.version) < number(floor) {
                let what = format!("{name} {} is older than {floor}", package.version);
                findings.push(Finding::new(path, 0, what));
            }
        }
    }
    findings
}

/// Major, minor and patch, as far as they are given.
fn number(version: &str) -> [u64; 3] {
    let version = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    [(); 3].map(|()| parts.next().unwrap_or(0))
}

fn foreign_sources(path: &str, packages: &[Package]) -> Vec<Finding> {
    let foreign = packages.iter().filter_map(|package| {
        let source = package.source.as_ref()?;
        let is_registry = source.starts_with("registry+") && source.ends_with("crates.io-index");
        (!is_registry).then(|| Finding::new(path, 0, format!("{} is from {source}", package.name)))
    });
    foreign.collect()
}

/// The array `allow` of the table `[licenses]`.
pub(super) fn allowed_licences(deny: &str) -> Vec<String> {
    let table = deny.split_once("[licenses]").map_or("", |(_, table)| table);
    let array = table.split_once("allow = [").map_or("", |(_, array)| array);
    let array = array.split_once(']').map_or(array, |(array, _)| array);
    array
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// `tree` has a line `PACKAGE|LICENCE` for each package.
fn refused_licences(tree: &str, allowed: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for line in tree.lines().filter(|line| !line.trim().is_empty()) {
        let (package, licence) = line.split_once('|').unwrap_or((line, ""));
        let licence = licence.trim_end_matches(" (*)").replace('/', " OR ");
        if !is_permitted(&licence, allowed) {
            findings.push(Finding::new(
                "Cargo.lock",
                0,
                format!("{package}: `{licence}`"),
            ));
        }
    }
    findings
}

/// Whether an expression (SPDX, annex D) leaves a choice of these licences.
pub(super) fn is_permitted(licence: &str, allowed: &[String]) -> bool {
    let spaced = licence.replace('(', " ( ").replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    permits(&mut words, allowed) && words.is_empty()
}

/// Evaluates `A OR B` of `C AND D`. The words are in reverse order.
fn permits(words: &mut Vec<&str>, allowed: &[String]) -> bool {
    let mut any = permits_all(words, allowed);
    while words.last() == Some(&"OR") {
        words.pop();
        any |= permits_all(words, allowed);
    }
    any
}

fn permits_all(words: &mut Vec<&str>, allowed: &[String]) -> bool {
    let mut all = permits_one(words, allowed);
    while words.last() == Some(&"AND") {
        words.pop();
        all &= permits_one(words, allowed);
    }
    all
}

fn permits_one(words: &mut Vec<&str>, allowed: &[String]) -> bool {
    match words.pop() {
        Some("(") => permits(words, allowed) & (words.pop() == Some(")")),
        Some(name) => {
            let mut name = name.to_owned();
            if words.last() == Some(&"WITH") {
                words.pop();
                name = format!("{name} WITH {}", words.pop().unwrap_or_default());
            }
            allowed.contains(&name)
        }
        None => false,
    }
}

mod detectors {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"h2\"\nversion = \"0.4.9\"\n\
        source = \"registry+https://github.com/rust-lang/crates.io-index\"\n\n\
        [[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n";

    #[test]
    fn an_old_version_is_found() {
        let deny =
            "deny = [\n  { crate = \"h2:<0.4.20\", reason = \"x\" },\n  # crate = \"a:<1\"\n]";
        let floor = floors(deny);
        assert_eq!(floor, [("h2".to_owned(), "0.4.20".to_owned())]);
        assert_eq!(below_floor("Cargo.lock", &packages(LOCK), &floor).len(), 1);
        let newer = LOCK.replace("0.4.9", "0.4.20");
        assert_eq!(below_floor("Cargo.lock", &packages(&newer), &floor), []);
        assert!(number("0.37") == number("0.37.0+sqlite") && number("1.2.3") < number("1.10"));
    }

    #[test]
    fn a_foreign_source_is_found() {
        assert_eq!(foreign_sources("Cargo.lock", &packages(LOCK)), []);
        for source in [
            "git+https://a.example/h2",
            "registry+https://a.example/index",
        ] {
            let lock = LOCK.replace(
                "registry+https://github.com/rust-lang/crates.io-index",
                source,
            );
            assert_eq!(
                foreign_sources("Cargo.lock", &packages(&lock)).len(),
                1,
                "{source}"
            );
        }
    }

    #[test]
    fn a_refused_licence_is_found() {
        let allowed = allowed_licences("[licenses]\nallow = [\n    \"MIT\",\n    \"ISC\",\n]\n");
        assert_eq!(allowed, ["MIT", "ISC"]);
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "Apache-2.0/MIT (*)",
            "(GPL-3.0 OR MIT) AND ISC",
        ] {
            assert_eq!(
                refused_licences(&format!("a v1|{good}"), &allowed),
                [],
                "{good}"
            );
        }
        let with = "GPL-3.0 WITH x";
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT ISC", with] {
            assert_eq!(
                refused_licences(&format!("a v1|{bad}"), &allowed).len(),
                1,
                "{bad}"
            );
        }
    }
}
