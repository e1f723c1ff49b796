//! A document that nothing leads to is not read, and a link that leads nowhere is not trusted.

use std::collections::BTreeSet;

use super::{Finding, assert_none, root, texts};

#[test]
fn every_document_can_be_found() {
    assert_none(
        &unreachable(&documents()),
        "link the document from README.md or from a document that is linked from there",
    );
}

#[test]
fn every_link_leads_somewhere() {
    let exists = |path: &str| root().join(path).exists();
    assert_none(&broken(&documents(), exists), "mend the link, or remove it");
}

fn documents() -> Vec<(String, String)> {
    texts()
        .into_iter()
        .filter(|(path, _)| path.ends_with(".md"))
        .collect()
}

/// Documents below `docs/` that no chain of links leads to from the top of the repository.
fn unreachable(documents: &[(String, String)]) -> Vec<Finding> {
    let is_top = |path: &str| !path.contains('/');
    let mut reached: BTreeSet<String> = documents
        .iter()
        .map(|(path, _)| path.clone())
        .filter(|path| is_top(path))
        .collect();
    loop {
        let known = documents.iter().filter(|(path, _)| reached.contains(path));
        let more: Vec<String> = known.flat_map(|(path, text)| targets(path, text)).collect();
        let before = reached.len();
        reached.extend(more);
        if reached.len() == before {
            break;
        }
    }
    let lost = documents
        .iter()
        .filter(|(path, _)| path.starts_with("docs/") && !reached.contains(path));
    lost.map(|(path, _)| Finding::new(path, 0, "nothing links to it"))
        .collect()
}

fn broken(documents: &[(String, String)], exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in documents {
        for target in targets(path, text)
            .into_iter()
            .filter(|target| !exists(target))
        {
            findings.push(Finding::new(path, 0, format!("links to `{target}`")));
        }
    }
    findings
}

/// What the relative links of a Markdown document point to, from the root of the repository.
fn targets(path: &str, text: &str) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let links = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ', '#']).next());
    let relative = links.filter(|link| !link.is_empty() && !link.contains(':'));
    relative.map(|link| join(folder, link)).collect()
}

fn join(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

mod detectors {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files
            .iter()
            .map(|(path, text)| ((*path).into(), (*text).into()))
            .collect()
    }

    #[test]
    fn a_lost_document_is_found() {
        let chain = [
            ("README.md", "[a](docs/a.md#part)"),
            ("docs/a.md", "[b](./b.md) [c](deep/c.md)"),
            ("docs/b.md", ""),
            ("docs/deep/c.md", "[b](../b.md)"),
        ];
        assert_eq!(unreachable(&tree(&chain)), []);
        let lost = [&chain[..], &[("docs/lost.md", "[itself](lost.md)")]].concat();
        assert_eq!(unreachable(&tree(&lost)).len(), 1);
    }

    #[test]
    fn a_broken_link_is_found() {
        let files = tree(&[(
            "docs/a.md",
            "[b](../b.md) [w](https://a.example/x) [h](#here)",
        )]);
        assert_eq!(broken(&files, |path| path == "b.md"), []);
        assert_eq!(broken(&files, |_| false).len(), 1);
    }
}
