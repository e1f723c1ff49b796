//! What comes from others by npm: from where, and under which licence.
//!
//! The lock files say both of every package. They are read as npm writes them: a line for each field,
//! at a fixed indent.

use super::dependencies::{allowed_licences, deny_toml, is_permitted};
use super::{Finding, assert_none, root, texts};

/// What packages may have beside the licences of `deny.toml`: as free as those.
const ALSO_ALLOWED: [&str; 3] = ["0BSD", "BlueOak-1.0.0", "CC0-1.0"];

/// The same for tools, nothing of which gets into what they make.
const ALLOWED_OF_TOOLS: [&str; 1] = ["MPL-2.0"];

/// Packages that tell their licence, but not in the field for it.
const UNDECLARED: [(&str, &str); 1] = [("node_modules/combine-errors", "MIT")];

#[test]
fn every_package_comes_from_the_registry() {
    let is_folder = |folder: &str| root().join(folder).join("package.json").is_file();
    let findings = lock_files().into_iter().flat_map(|(path, lock)| {
        let foreign = foreign_packages(&path, &packages(&lock), is_folder);
        foreign.into_iter()
    });
    assert_none(
        &findings.collect::<Vec<_>>(),
        "depend on a published version of the package",
    );
}

#[test]
fn every_licence_of_a_package_is_allowed() {
    let mut allowed = allowed_licences(&deny_toml());
    allowed.extend(ALSO_ALLOWED.map(str::to_owned));
    let findings = lock_files()
        .into_iter()
        .flat_map(|(path, lock)| refused_licences(&path, &packages(&lock), &allowed));
    assert_none(
        &findings.collect::<Vec<_>>(),
        "do without the package, or add its licence to deny.toml, or to tests/tidy/npm.rs if no crate \
         has it, if ours permits it",
    );
}

/// One locked package.
struct Package<'l> {
    /// Where it is installed; of ours, its folder, and `""` is the root.
    path: &'l str,
    fields: Vec<(&'l str, &'l str)>,
}

impl Package<'_> {
    fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter().filter(|(known, _)| *known == name);
        fields.next().map(|(_, value)| *value)
    }

    fn is_ours(&self) -> bool {
        !self.path.contains("node_modules/") || self.field("link") == Some("true")
    }
}

fn lock_files() -> Vec<(String, String)> {
    let mut locks = texts();
    locks.retain(|(path, _)| path.ends_with("package-lock.json"));
    for known in ["package-lock.json", "tests/clients/package-lock.json"] {
        let lock = locks.iter().find(|(path, _)| path == known);
        let (_, lock) = lock.unwrap_or_else(|| panic!("{known} was not read"));
        assert!(packages(lock).len() > 10, "{known} was not understood");
    }
    locks
}

fn packages(lock: &str) -> Vec<Package<'_>> {
    let mut packages = Vec::<Package<'_>>::new();
    let lines = lock.lines().skip_while(|line| *line != "  \"packages\": {");
    for line in lines {
        let indent = line.len() - line.trim_start().len();
        let Some((name, value)) = line.trim_start().split_once(": ") else {
            continue;
        };
        let (name, value) = (name.trim_matches('"'), value.trim_end_matches(','));
        match (indent, packages.last_mut()) {
            (4, _) => packages.push(Package {
                path: name,
                fields: Vec::new(),
            }),
            (6, Some(package)) => package.fields.push((name, value.trim_matches('"'))),
            _ => {}
        }
    }
    packages
}

/// From the registry is what has a checksum, and either no URL or one there. `is_folder` tells what is
/// a package of this tree.
fn foreign_packages(
    lock: &str,
    packages: &[Package<'_>],
    is_folder: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let is_foreign = |package: &&Package<'_>| {
        let url = package.field("resolved");
        match package.is_ours() {
            true => !is_folder(url.unwrap_or(package.path)),
            false => {
                let is_there = |url: &str| url.starts_with("https://registry.npmjs.org/");
                package.field("integrity").is_none() || !url.is_none_or(is_there)
            }
        }
    };
    let foreign = packages.iter().filter(is_foreign);
    let findings = foreign.map(|package| {
        let url = package.field("resolved").unwrap_or("an unknown place");
        Finding::new(lock, 0, format!("{} is from {url}", package.path))
    });
    findings.collect()
}

fn refused_licences(lock: &str, packages: &[Package<'_>], allowed: &[String]) -> Vec<Finding> {
    let tools = allowed.iter().map(String::as_str).chain(ALLOWED_OF_TOOLS);
    let of_tools: Vec<_> = tools.map(str::to_owned).collect();
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| !package.is_ours()) {
        let undeclared = UNDECLARED.iter().find(|(path, _)| *path == package.path);
        let undeclared = undeclared.map_or("", |(_, licence)| licence);
        let licence = package.field("license").unwrap_or(undeclared);
        let allowed = match package.field("dev") {
            Some("true") => &of_tools,
            _ => allowed,
        };
        if !is_permitted(licence, allowed) {
            let what = format!("{}: `{licence}`", package.path);
            findings.push(Finding::new(lock, 0, what));
        }
    }
    findings
}

mod detectors {
    use super::*;

    /// A lock file with one package, and one of ours.
    fn lock(fields: &str) -> String {
        format!(
            "{{\n  \"name\": \"x\",\n  \"packages\": {{\n    \"\": {{\n      \"name\": \"x\"\n    }},\n    \
             \"node_modules/a\": {{\n{fields}      \"engines\": {{\n        \"node\": \"1\"\n      }}\n    \
             }}\n  }}\n}}\n"
        )
    }

    fn field(name: &str, value: &str) -> String {
        format!("      \"{name}\": \"{value}\",\n")
    }

    #[test]
    fn a_foreign_source_is_found() {
        let found = |fields: &str| {
            let lock = lock(fields);
            let packages = packages(&lock);
            assert_eq!(packages.len(), 2);
            foreign_packages("l", &packages, |folder| {
                folder.is_empty() || folder == "web"
            })
            .len()
        };
        let integrity = field("integrity", "sha512-x");
        let link = "      \"link\": true,\n";
        assert_eq!(found(&integrity), 0);
        let registry = field("resolved", "https://registry.npmjs.org/a/-/a-1.0.0.tgz");
        assert_eq!(found(&format!("{registry}{integrity}")), 0);
        assert_eq!(found(&format!("{}{link}", field("resolved", "web"))), 0);
        assert_eq!(found(&field("version", "1.0.0")), 1);
        assert_eq!(found(&format!("{}{link}", field("resolved", "../b"))), 1);
        for url in [
            "git+ssh://git@github.com/a/a.git#1",
            "https://a.example/a.tgz",
            "file:../a.tgz",
        ] {
            let fields = format!("{}{integrity}", field("resolved", url));
            assert_eq!(found(&fields), 1, "{url}");
        }
    }

    #[test]
    fn a_refused_licence_is_found() {
        let allowed = ["MIT".to_owned(), "Zlib".to_owned()];
        let found = |fields: &str| {
            let lock = lock(fields);
            refused_licences("l", &packages(&lock), &allowed).len()
        };
        for good in ["MIT", "(MIT AND Zlib)", "MIT OR GPL-3.0"] {
            assert_eq!(found(&field("license", good)), 0, "{good}");
        }
        for bad in [
            "GPL-3.0",
            "UNLICENSED",
            "SEE LICENSE IN x",
            "MIT AND GPL-3.0",
            "MPL-2.0",
        ] {
            assert_eq!(found(&field("license", bad)), 1, "{bad}");
        }
        assert_eq!(found(&field("version", "1.0.0")), 1);
        let tool = format!("      \"dev\": true,\n{}", field("license", "MPL-2.0"));
        assert_eq!(found(&tool), 0);
    }
}
