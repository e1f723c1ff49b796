//! The page for browsers needs this server and nobody else.

use super::{Finding, assert_none, root, texts};

/// What stands before the URL of something that is loaded.
const LOADERS: [&str; 13] = [
    "action=",
    "fetch(",
    "href=",
    "href:",
    "import(",
    "poster=",
    "src=",
    "src:",
    "srcset=",
    "url(",
    "EventSource(",
    "WebSocket(",
    "Worker(",
];

/// The same, where it is also a word that people use: only before a quote.
const WORDS: [&str; 2] = ["from", "import"];

#[test]
fn the_page_loads_nothing_from_elsewhere() {
    assert_none(
        &foreign_loads(&page()),
        "install it as a package, so that it becomes a part of the page, or ask this server for it",
    );
}

/// The source of the page, and the document that is built of it.
fn page() -> Vec<(String, String)> {
    let is_of_the_page = |path: &str| path.starts_with("web/src/") || path == "web/index.html";
    let mut page = texts();
    page.retain(|(path, _)| is_of_the_page(path));
    let built = "web/dist/index.html";
    let text = std::fs::read_to_string(root().join(built)).expect("read web/dist/index.html");
    page.push((built.to_owned(), text));
    page
}

fn foreign_loads(texts: &[(String, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in texts {
        for (at, _) in text.match_indices("//") {
            let scheme = ["https:", "http:", "wss:", "ws:"]
                .iter()
                .find(|scheme| text[..at].ends_with(*scheme));
            // Without one it is that of the page.
            let start = at - scheme.map_or(0, |scheme| scheme.len());
            if is_loaded(&text[..start], scheme.is_some()) {
                let line = text[..start].matches('\n').count();
                let what = text.lines().nth(line).unwrap_or_default();
                findings.push(Finding::new(path, line + 1, what.trim()));
            }
        }
    }
    findings
}

/// Whether what stands before a URL makes a browser load it.
fn is_loaded(before: &str, has_scheme: bool) -> bool {
    let is_quoted = before.ends_with(['"', '\'', '`']);
    let opening = |c: char| c.is_whitespace() || "\"'`{".contains(c);
    let before = before.trim_end_matches(opening);
    let is_any = |names: &[&str]| names.iter().any(|name| before.ends_with(name));
    (is_any(&LOADERS) && (is_quoted || has_scheme)) || (is_any(&WORDS) && is_quoted)
}

mod detectors {
    use super::*;

    #[test]
    fn a_foreign_load_is_found() {
        let found = |text: &str| foreign_loads(&[("web/src/a.tsx".into(), text.into())]).len();
        for bad in [
            "<script src=\"https://a.example/x.js\">",
            "<img src='//a.example/x.png'>",
            "<img src={`http://a.example/${x}`} />",
            "a { background: url(https://a.example/x.png) }",
            "@import url(\"//a.example/x.css\");",
            "import x from 'https://a.example/x.js'",
            "import 'https://a.example/x.js'",
            "await import('https://a.example/x.js')",
            "await fetch(\n  'https://a.example/x',\n)",
            "new WebSocket('wss://a.example/x')",
            "{ href: 'https://a.example' }",
        ] {
            assert_eq!(found(bad), 1, "{bad}");
        }
        for good in [
            "<svg xmlns=\"http://www.w3.org/2000/svg\">",
            "createElementNS('http://www.w3.org/2000/svg', 'g')",
            "import x from './x.js' // from https://a.example",
            "// the tags come from https://a.example, see there",
            "fetch('/api/projects') // '//' is no path",
            "<img src=\"/assets/x.png\" /> // x",
            "const text = `${origin.startsWith('https://')}`",
        ] {
            assert_eq!(found(good), 0, "{good}");
        }
    }
}
