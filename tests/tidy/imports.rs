//! Who may import whom: the table of ARCHITECTURE.md, and what else keeps a layer what it is.

use super::source::{Source, identifier, module_path, skip_blank, words};
use super::{Finding, assert_none, root, sample, sources};

const LEAVES: &[&str] = &["auth", "cancel", "clock", "id", "units"];
const MECHANISMS: &[&str] = &["http", "blob", "db", "event", "access", "work"];
const MODULES: &[&str] = &[
    "project", "upload", "export", "queue", "feed", "webhook", "page", "ops",
];

/// A top-level module, and what it may import beside itself and the protocol crate.
fn may_import(module: &str) -> Option<Vec<&'static str>> {
    let below_modules = || [&["module"], MECHANISMS, LEAVES].concat();
    Some(match module {
        "main" => vec!["app", "config", "cli"],
        "app" => [&["config", "cli"], MODULES, &below_modules()].concat(),
        "config" => [&["cli"], MODULES, &below_modules()].concat(),
        // Talks HTTP to a server, and imports none of it.
        "cli" => LEAVES.to_vec(),
        "module" => [MECHANISMS, LEAVES].concat(),
        "event" | "access" => [&["db"], LEAVES].concat(),
        module if MODULES.contains(&module) => below_modules(),
        module if MECHANISMS.contains(&module) => LEAVES.to_vec(),
        module if LEAVES.contains(&module) => Vec::new(),
        _ => return None,
    })
}

/// Crates that a layer must not know. A path is a prefix of the files that it is about.
const FOREIGN: &[(&str, &[&str])] = &[
    (
        "src/blob",
        &[
            "http",
            "http_body",
            "http_body_util",
            "hyper",
            "hyper_util",
            "sqlx",
        ],
    ),
    (
        "src/db",
        &["http", "http_body", "http_body_util", "hyper", "hyper_util"],
    ),
    ("src/http", &["sqlx"]),
    ("src/cli", &["sqlx"]),
    (
        "protocol/src",
        &[
            "tidegate",
            "tokio",
            "hyper",
            "sqlx",
            "rand",
            "fastrand",
            "uuid",
            "tracing",
            "futures_util",
        ],
    ),
];

/// What of the standard library reaches out of a program, or asks what time it is.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::sync",
    "std::thread",
    "std::time::Instant",
    "Instant::now",
    "SystemTime::now",
    "println!",
    "eprintln!",
];

/// All that the protocol crate may depend on, outside of its tests.
const PROTOCOL_DEPENDENCIES: [&str; 6] =
    ["base64", "bytes", "http", "httpdate", "sfv", "thiserror"];

#[test]
fn modules_import_only_what_the_table_allows() {
    let table = "follow the table in ARCHITECTURE.md. What one module needs of another is a trait \
                 in the needing module, implemented in src/app.rs. A new top-level module is added \
                 to the table there and to tests/tidy/imports.rs";
    assert_none(&wrong_imports(&sources()), table);
}

#[test]
fn no_layer_knows_a_foreign_crate() {
    assert_none(
        &foreign_crates(&sources()),
        "keep this knowledge in the layer that has it: hyper in http, sqlx in db, neither in the \
         protocol crate",
    );
}

#[test]
fn the_protocol_is_pure() {
    assert_none(
        &impurities(&sources()),
        "the protocol crate is told the time and the outcome of I/O by its caller: pass them in",
    );
    let manifest = std::fs::read_to_string(root().join("protocol/Cargo.toml")).unwrap();
    assert_none(
        &extra_dependencies(&manifest),
        "the protocol crate depends on nothing that runs, waits, stores or guesses; do without, or \
         add the crate to PROTOCOL_DEPENDENCIES in tests/tidy/imports.rs and say in the review why \
         it is pure",
    );
}

#[test]
fn only_the_composition_root_names_concrete_types() {
    assert_none(
        &concrete_types(&sources()),
        "take the seam (`Arc<dyn BlobStore>` and its like) in the module's `Deps`; src/app.rs \
         chooses the implementation",
    );
}

#[test]
fn lib_rs_is_a_table_of_modules() {
    assert_none(
        &more_than_modules(&sources()),
        "src/lib.rs declares modules and nothing else",
    );
}

/// A path in code, from the crate's root.
struct Path<'s> {
    at: usize,
    names: Vec<&'s str>,
}

fn wrong_imports(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.path.starts_with("src/"))
    {
        let module = match source.path.as_str() {
            "src/lib.rs" => continue,
            "src/main.rs" => "main",
            path => module_path(path)[0],
        };
        let Some(allowed) = may_import(module) else {
            findings.push(Finding::new(
                &source.path,
                0,
                format!("`{module}` has no row in the table"),
            ));
            continue;
        };
        for path in paths(source) {
            let Some(&target) = path.names.first() else {
                continue;
            };
            if target != module && !allowed.contains(&target) {
                let what = format!("`{module}` must not import `{}`", path.names.join("::"));
                findings.push(Finding::new(&source.path, source.line(path.at), what));
            }
        }
    }
    findings
}

/// Every path that begins at the root of the crate, however it is written.
fn paths(source: &Source) -> Vec<Path<'_>> {
    let mut paths = Vec::new();
    let crate_name = if source.path == "src/main.rs" {
        "tidegate"
    } else {
        "crate"
    };
    for at in source.word(crate_name) {
        if let Some(next) = separator(&source.code, at + crate_name.len()) {
            branches(&source.code, next, &[], &mut paths);
        }
    }
    // `super` leads to the root, too, from as deep as the module is.
    for at in source
        .word("super")
        .filter(|at| !source.code[..*at].ends_with("super::"))
    {
        let (mut steps, mut next) = (1, separator(&source.code, at + "super".len()));
        while let Some(at) = next.filter(|at| identifier(&source.code, *at) == Some("super")) {
            steps += 1;
            next = separator(&source.code, at + "super".len());
        }
        if steps == source.module_depth(at)
            && let Some(next) = next
        {
            branches(&source.code, next, &[], &mut paths);
        }
    }
    paths
}

/// Follows a path and the branches of its `{}` groups.
fn branches<'s>(code: &'s str, at: usize, before: &[&'s str], paths: &mut Vec<Path<'s>>) {
    let at = skip_blank(code, at);
    if code[at..].starts_with('{') {
        let mut depth = 0_usize;
        let mut next = Some(at + 1);
        for (offset, byte) in code.bytes().enumerate().skip(at) {
            if depth == 1
                && let Some(start) = next.take()
            {
                branches(code, start, before, paths);
            }
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b',' if depth == 1 => next = Some(offset + 1),
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
        return;
    }
    let star = code[at..].starts_with('*').then_some("*");
    let Some(name) = star.or_else(|| identifier(code, at)) else {
        return;
    };
    let names = match name {
        "self" => before.to_vec(),
        name => [before, &[name]].concat(),
    };
    match separator(code, at + name.len()) {
        Some(next) => branches(code, next, &names, paths),
        None => paths.push(Path { at, names }),
    }
}

/// The offset behind a `::`, if there is one and no generic arguments follow it.
fn separator(code: &str, at: usize) -> Option<usize> {
    let at = skip_blank(code, at);
    let next = skip_blank(
        code,
        at + code[at..].strip_prefix("::").map(|_| "::".len())?,
    );
    (!code[next..].starts_with('<')).then_some(next)
}

fn foreign_crates(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (layer, crates) in FOREIGN {
        let of_layer = |source: &&Source| {
            let rest = source.path.strip_prefix(layer);
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
                && !source.is_test_file()
        };
        for source in sources.iter().filter(of_layer) {
            for name in *crates {
                for at in source.word(name).filter(|at| !source.is_test(*at)) {
                    let begins = !source.code[..at].trim_end().ends_with("::");
                    if begins && separator(&source.code, at + name.len()).is_some() {
                        let what = format!("names the crate `{name}`");
                        findings.push(Finding::new(&source.path, source.line(at), what));
                    }
                }
            }
        }
    }
    findings
}

fn impurities(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.path.starts_with("protocol/src/"))
    {
        for impure in IMPURE {
            for at in source.piece(impure).filter(|at| !source.is_test(*at)) {
                let what = format!("uses `{impure}`");
                findings.push(Finding::new(&source.path, source.line(at), what));
            }
        }
    }
    findings
}

fn extra_dependencies(manifest: &str) -> Vec<Finding> {
    let mut table = "";
    let mut findings = Vec::new();
    for (line, text) in manifest.lines().map(str::trim).enumerate() {
        if text.starts_with('[') {
            table = text;
        }
        let name = text.split(['.', '=', ' ']).next().unwrap_or_default();
        let is_entry = table == "[dependencies]" && text.contains('=') && !text.starts_with('#');
        let is_table = text.starts_with('[')
            && text.contains("dependencies")
            && !["[dependencies]", "[dev-dependencies]"].contains(&text);
        if is_table || (is_entry && !PROTOCOL_DEPENDENCIES.contains(&name)) {
            findings.push(Finding::new("protocol/Cargo.toml", line + 1, text));
        }
    }
    findings
}

/// Types that implement a store or another seam, named where only the seam should be known.
fn concrete_types(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (home, name) in sources.iter().flat_map(implementations) {
        let folder = module_path(&home.path)[0];
        for source in sources
            .iter()
            .filter(|source| source.path.starts_with("src/"))
        {
            let at_home = module_path(&source.path).first() == Some(&folder);
            if at_home || source.path == "src/app.rs" || source.path.starts_with("src/app/") {
                continue;
            }
            for at in source.word(name).filter(|at| !source.is_test(*at)) {
                let what = format!("names `{name}` of {}", home.path);
                findings.push(Finding::new(&source.path, source.line(at), what));
            }
        }
    }
    findings
}

/// The names of types in this file that implement a seam: a trait `...Store`, `EventBus` or
/// `Authorizer`.
fn implementations(source: &Source) -> Vec<(&Source, &str)> {
    let mut names = Vec::new();
    if !source.path.starts_with("src/") {
        return names;
    }
    for at in source.word("impl").filter(|at| !source.is_test(*at)) {
        let head = &source.code[at..];
        let head = &head[..head.find(['{', ';']).unwrap_or(head.len())];
        let Some((of, implementor)) = head.split_once(" for ") else {
            continue;
        };
        let seam = of.rsplit([' ', ':']).next().unwrap_or_default();
        let is_seam = seam.ends_with("Store") || ["EventBus", "Authorizer"].contains(&seam);
        let implementor = identifier(implementor, skip_blank(implementor, 0));
        // A seam behind a pointer is still the seam.
        let of_ours = implementor.filter(|name| !["Arc", "Box"].contains(name));
        names.extend(of_ours.filter(|_| is_seam).map(|name| (source, name)));
    }
    names
}

fn more_than_modules(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path == "src/lib.rs") {
        for (line, code) in source.code.lines().enumerate() {
            let code = code.trim();
            let is_module = code.ends_with(';') && words(code, "mod").next().is_some();
            if !code.is_empty() && !code.starts_with('#') && !is_module {
                findings.push(Finding::new(&source.path, line + 1, code));
            }
        }
    }
    findings
}

mod detectors {
    use super::*;

    fn wrong(path: &str, text: &str) -> Vec<String> {
        wrong_imports(&sample(path, text))
            .into_iter()
            .map(|finding| finding.what)
            .collect()
    }

    #[test]
    fn a_wrong_import_is_found_however_it_is_written() {
        for text in [
            "use crate::upload::Upload;",
            "use crate::{id::UploadId, upload};",
            "use crate::{id, cancel::{self, Scope}, upload::{self}};",
            "pub use crate :: upload :: *;",
            "use crate::*;",
            "fn f() { crate::upload::go() }",
            "fn f(u: &crate::upload::Upload<u8>) {}",
            "use super::super::upload;",
            "mod inner { use super::super::super::upload; }",
            "macro_rules! m { () => { $crate::upload::go() } }",
            "use crate::event::Bus;",
            "#[cfg(test)] mod tests { use crate::db::Db; }",
        ] {
            assert_eq!(wrong("src/http/body.rs", text).len(), 1, "{text}");
        }
        assert_eq!(wrong("src/clock.rs", "use super::http::Body;").len(), 1);
        assert_eq!(
            wrong("src/upload/mod.rs", "use super::export::Job;").len(),
            1
        );
        assert_eq!(
            wrong("src/main.rs", "use tidegate::{app, upload::Upload};").len(),
            1
        );
        assert_eq!(wrong("src/cli/mod.rs", "use crate::http::Body;").len(), 1);
        assert_eq!(
            wrong("src/upload/a.rs", "use crate::config::Config;").len(),
            1
        );
        assert_eq!(
            wrong("src/newcomer.rs", ""),
            ["`newcomer` has no row in the table"]
        );
    }

    #[test]
    fn a_right_import_is_left_alone() {
        for (path, text) in [
            (
                "src/http/body.rs",
                "use crate::{cancel::Scope, id::UploadId, clock, auth::Caller};",
            ),
            (
                "src/http/body.rs",
                "use super::route; use crate::http::Body; use self::x::y;",
            ),
            (
                "src/http/body.rs",
                "// use crate::upload;\nconst S: &str = \"crate::upload\";",
            ),
            (
                "src/http/body.rs",
                "mod tests { use super::*; use super::super::route; }",
            ),
            (
                "src/http/body.rs",
                "pub(crate) fn f() {} pub(in super::super) fn g() {}",
            ),
            ("src/event/mod.rs", "use crate::db::Db;"),
            (
                "src/upload/sql.rs",
                "use crate::{db, blob, http, event, work, module::Mount};",
            ),
            (
                "src/app.rs",
                "use crate::{upload, export, queue, project, config, cli, db};",
            ),
            (
                "src/main.rs",
                "use tidegate::{app, config}; use tokio::runtime;",
            ),
            (
                "src/cli/mod.rs",
                "use hyper::Request; use crate::id::UploadId;",
            ),
            ("src/clock.rs", "mod tests { use super::rfc3339; }"),
        ] {
            assert_eq!(wrong(path, text), [""; 0], "{path}: {text}");
        }
    }

    #[test]
    fn a_foreign_crate_is_found() {
        for (path, text) in [
            ("src/blob/local.rs", "use hyper::body::Body;"),
            ("src/db/mod.rs", "fn f(s: http::StatusCode) {}"),
            ("src/http/mod.rs", "use sqlx::Error;"),
            ("protocol/src/upload.rs", "use tokio::time;"),
        ] {
            assert_eq!(
                foreign_crates(&sample(path, text)).len(),
                1,
                "{path}: {text}"
            );
        }
        for (path, text) in [
            ("src/http/mod.rs", "use http::Method; use hyper::Request;"),
            (
                "src/db/mod.rs",
                "use sqlx::Row; let http = 1; a::http::b();",
            ),
            (
                "src/blob/local.rs",
                "#[cfg(test)] mod tests { use http::Method; }",
            ),
            ("src/blobs.rs", "use http::Method;"),
        ] {
            assert_eq!(foreign_crates(&sample(path, text)), [], "{path}: {text}");
        }
    }

    #[test]
    fn an_impurity_is_found() {
        let pure = "use std::time::{Duration, SystemTime}; // std::fs\n";
        assert_eq!(impurities(&sample("protocol/src/a.rs", pure)), []);
        for text in [
            "use std::fs::File;",
            "let t = SystemTime::now();",
            "println!(\"x\");",
        ] {
            assert_eq!(
                impurities(&sample("protocol/src/a.rs", text)).len(),
                1,
                "{text}"
            );
        }
        let manifest = "[dependencies]\nbytes.workspace = true\nhttp = \"1\"\n[dev-dependencies]\n\
                        proptest = \"1\"\n";
        assert_eq!(extra_dependencies(manifest), []);
        for more in [
            "[dependencies]\ntokio = \"1\"",
            "[dependencies.tokio]",
            "[build-dependencies]",
        ] {
            assert_eq!(extra_dependencies(more).len(), 1, "{more}");
        }
    }

    #[test]
    fn a_concrete_type_is_found() {
        let tree = |path, text| {
            let home = "pub struct Disk; impl<T: X> BlobStore for Disk<T> { }\n\
                        impl super::BlobStore for Arc<dyn BlobStore> {}";
            [
                Source::new("src/blob/disk.rs", home),
                Source::new(path, text),
            ]
        };
        let names = "fn f(s: Disk) {}";
        assert_eq!(concrete_types(&tree("src/upload/mod.rs", names)).len(), 1);
        assert_eq!(concrete_types(&tree("src/app.rs", names)), []);
        assert_eq!(concrete_types(&tree("src/blob/mod.rs", names)), []);
        let in_test = "#[cfg(test)] mod tests { fn f(s: Disk) {} }";
        assert_eq!(concrete_types(&tree("src/upload/mod.rs", in_test)), []);
        assert_eq!(
            concrete_types(&tree("src/upload/mod.rs", "fn f(s: &dyn BlobStore) {}")),
            []
        );
    }

    #[test]
    fn lib_rs_may_not_grow() {
        let table = "//! Docs.\n#![warn(x)]\npub mod a;\n#[cfg(x)]\nmod b;\n";
        assert_eq!(more_than_modules(&sample("src/lib.rs", table)), []);
        for text in ["pub use a::B;", "fn f() {}", "mod a { }"] {
            assert_eq!(
                more_than_modules(&sample("src/lib.rs", text)).len(),
                1,
                "{text}"
            );
        }
    }
}
