//! The page for browsers: what a browser is sent, in which words, and that it needs nothing else.

use std::collections::BTreeSet;
use std::io::Read as _;

use flate2::read::GzDecoder;

use crate::support::h2c::H2;
use crate::support::jwt::guarded;
use crate::support::page::{assets, content};
use crate::support::server::Server;
use crate::support::wire::{Answer, Req};
use crate::support::{hostile, random};

/// The page with everything that it needs to be seen, as it is sent to a browser.
const FIRST_LOAD_BYTES_MAX: usize = 350 * 1024;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob: data:; font-src 'self'; connect-src 'self'; worker-src 'self'; \
    manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// All that is served of it.
fn paths() -> Vec<String> {
    let assets = assets().into_iter().map(|name| format!("/assets/{name}"));
    assets.chain([String::from("/")]).collect()
}

fn get(path: &str) -> Req {
    Req::new("GET", path)
}

fn packed(path: &str) -> Req {
    get(path).header("Accept-Encoding", "gzip, deflate, br, zstd")
}

/// The content of an answer that may be in gzip.
fn unpacked(answer: &Answer) -> Vec<u8> {
    let mut content = Vec::new();
    match answer.header("Content-Encoding") {
        Some("gzip") => GzDecoder::new(&answer.body[..])
            .read_to_end(&mut content)
            .map(drop)
            .expect("it is gzip"),
        Some(other) => panic!("{other}: {answer}"),
        None => content.clone_from(&answer.body),
    }
    content
}

/// What every answer about the page has, a 304 included.
#[track_caller]
fn expect_fields(path: &str, answer: Answer) -> Answer {
    let caching = match path {
        "/" | "/assets/licenses.txt" => "no-cache",
        _ => "public, max-age=31536000, immutable",
    };
    let etag = answer.field("ETag");
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{answer}");
    answer
        .expect_header("Cache-Control", caching)
        .expect_header("Vary", "Accept-Encoding")
        .expect_header("Content-Security-Policy", POLICY)
        .expect_header("X-Content-Type-Options", "nosniff")
        .expect_header("Referrer-Policy", "no-referrer")
        .expect_header("Cross-Origin-Opener-Policy", "same-origin")
        .expect_header("Cross-Origin-Resource-Policy", "same-origin")
        .expect_no_header("Set-Cookie")
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.') {
        None => "text/html; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        Some((_, "txt")) => "text/plain; charset=utf-8",
        Some((_, "png")) => "image/png",
        Some((_, "wasm")) => "application/wasm",
        Some((_, "woff2")) => "font/woff2",
        Some(_) => panic!("{path}: this test does not know its media type"),
    }
}

#[tokio::test]
async fn every_file_is_served_as_it_is_in_the_tree() {
    let server = Server::start(&[]).await;
    let mut h2 = H2::open(server.addr()).await;
    for path in paths() {
        let answer = server.send(get(&path)).await.expect(200);
        let answer = expect_fields(&path, answer)
            .expect_header("Content-Type", media_type(&path))
            .expect_no_header("Content-Encoding");
        assert_eq!(answer.body, content(&path), "{path}");
        let answer = h2.send(&get(&path)).await.expect(200);
        assert_eq!(answer.body, content(&path), "{path}");
    }
}

#[tokio::test]
async fn gzip_is_the_same_for_those_who_prefer_it() {
    let server = Server::start(&[]).await;
    for path in paths() {
        let plain = server.send(get(&path)).await.expect(200);
        let answer = server.send(packed(&path)).await.expect(200);
        let answer = expect_fields(&path, answer).expect_header("Content-Type", media_type(&path));
        assert_eq!(unpacked(&answer), plain.body, "{path}");
        let is_packed = answer.header("Content-Encoding").is_some();
        // What is text, and not tiny, becomes smaller.
        let is_text = !path.ends_with(".png") && !path.ends_with(".woff2");
        assert!(is_packed || !is_text || plain.body.len() < 1024, "{path}");
        assert_eq!(answer.field("ETag") == plain.field("ETag"), !is_packed);
        if is_packed {
            assert!(answer.body.len() < plain.body.len(), "{path}");
        }
    }
    for accepted in ["", "identity", "br", "gzip;q=0", "*;q=0", "gzip;q=0, *"] {
        let answer = server
            .send(get("/").header("Accept-Encoding", accepted))
            .await;
        answer.expect(200).expect_no_header("Content-Encoding");
    }
    for accepted in ["*", "x-gzip", "br, gzip;q=0.1", "identity;q=0, *"] {
        let answer = server
            .send(get("/").header("Accept-Encoding", accepted))
            .await;
        answer.expect(200).expect_header("Content-Encoding", "gzip");
    }
}

#[tokio::test]
async fn whoever_has_it_is_told_so() {
    let server = Server::start(&[]).await;
    for path in paths() {
        for asked in [get(&path), packed(&path)] {
            let answer = server.send(asked.clone()).await.expect(200);
            let etag = answer.field("ETag");
            for known in [
                etag.to_owned(),
                format!("W/{etag}, \"x\""),
                String::from("*"),
            ] {
                for method in ["GET", "HEAD"] {
                    let request = Req {
                        method: method.into(),
                        ..asked.clone().header("If-None-Match", &known)
                    };
                    let answer = server.send(request).await.expect(304);
                    let answer = expect_fields(&path, answer).expect_header("ETag", etag);
                    assert!(answer.body.is_empty(), "{answer}");
                }
            }
            let request = asked.clone().header("If-None-Match", "\"other\"");
            server.send(request).await.expect(200);
            let request = asked.clone().header("If-Match", "\"other\"");
            server
                .send(request)
                .await
                .expect_slug(412, "precondition-failed");
        }
    }
}

#[tokio::test]
async fn head_is_get_without_the_content() {
    let server = Server::start(&[]).await;
    for path in paths() {
        for asked in [get(&path), packed(&path)] {
            let whole = server.send(asked.clone()).await.expect(200);
            let request = Req {
                method: "HEAD".into(),
                ..asked
            };
            let head = server.send(request).await.expect(200);
            assert!(head.body.is_empty());
            let fields = |answer: &Answer| {
                let fields = answer.headers.iter();
                let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
                let changing = ["date", "x-request-id"];
                fields
                    .filter(|(name, _)| !changing.contains(&&**name))
                    .collect::<BTreeSet<_>>()
            };
            assert_eq!(fields(&head), fields(&whole), "{path}");
        }
    }
}

#[tokio::test]
async fn nothing_else_can_be_done_with_it() {
    let server = Server::start(&[]).await;
    for path in paths() {
        for method in ["POST", "PUT", "PATCH", "DELETE", "TRACE"] {
            let answer = server.send(Req::new(method, &path)).await;
            let answer = answer.expect_slug(405, "method-not-allowed");
            answer.expect_header("Allow", "GET, HEAD, OPTIONS");
        }
        server.send(Req::new("OPTIONS", &path)).await.expect(204);
    }
}

#[tokio::test]
async fn it_comes_without_a_login_and_in_spite_of_a_bad_one() {
    let (server, _) = guarded(&[]).await;
    for path in paths() {
        let asked = [get(&path), get(&path).bearer("no token")];
        for request in asked.into_iter().chain([get(&path).cookie("no token")]) {
            let answer = expect_fields(&path, server.send(request).await.expect(200));
            assert_eq!(answer.body, content(&path));
        }
    }
    server.send(get("/api/projects")).await.expect_problem(401);
}

#[tokio::test]
async fn what_has_no_file_is_404_whatever_it_is_called() {
    let server = Server::start(&[]).await;
    let asset = assets().swap_remove(0);
    let mut targets: Vec<String> = [
        "/index.html",
        "//",
        "/assets",
        "/assets/",
        "/assets/.",
        "/assets/..",
        "/assets/index.html",
        "/assets/../index.html",
        "/assets/%2e%2e/index.html",
        "/assets/..%2findex.html",
        "/assets/..\\index.html",
        "/assets/../../Cargo.toml",
        "/assets//etc/passwd",
        "/assets/%2fetc%2fpasswd",
        "/assets/{name}",
        "/./",
    ]
    .map(String::from)
    .into();
    targets.push(format!("/assets/{}", "x".repeat(8000)));
    targets.push(format!("/Assets/{asset}"));
    targets.push(format!("/assets/./{asset}"));
    targets.push(format!("//assets/{asset}"));
    for end in ["/", ".gz", "%00", "%20", ";x", ".map"] {
        targets.push(format!("/assets/{asset}{end}"));
    }
    let mut rng = random("hostile names of assets");
    targets.extend((0..200).map(|_| {
        let name = hostile::name(&mut rng);
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"?#\"<>^`{|}".contains(byte);
        let name: Vec<u8> = name.bytes().filter(is_plain).collect();
        format!("/assets/{}x", String::from_utf8_lossy(&name))
    }));
    for target in targets {
        let answer = server.send(get(&target)).await;
        // Some of these are no targets at all.
        let answer = match answer.status {
            400 => continue,
            _ => answer.expect_slug(404, "not-found"),
        };
        answer.expect_header("Cache-Control", "no-store");
    }
    // A query changes nothing.
    let answer = server.send(get("/?projects#/x")).await;
    assert!(matches!(answer.status, 200 | 400), "{answer}");
    let query = get(&format!("/assets/{asset}?v=1"));
    server.send(query).await.expect(200);
    assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
}

/// The values of `src` and `href`.
fn referenced(html: &str) -> Vec<&str> {
    let values = ["src=\"", "href=\""].map(|begin| html.split(begin).skip(1));
    let values = values.into_iter().flatten();
    values.filter_map(|rest| rest.split('"').next()).collect()
}

/// What a script names in `import ... from "./NAME"` and `import "./NAME"`, which a browser loads
/// before it runs the script.
fn imported(script: &str) -> Vec<String> {
    let quotes = ["\"", "'", "`"];
    let imports = quotes.iter().flat_map(|quote| {
        let begins = ["from", "import"].map(|word| format!("{word}{quote}./"));
        let spaced = ["from", "import"].map(|word| format!("{word} {quote}./"));
        let rests = begins.into_iter().chain(spaced).flat_map(move |begin| {
            let rests = script.split(&begin).skip(1);
            rests.map(str::to_owned).collect::<Vec<_>>()
        });
        rests.filter_map(move |rest| rest.split(*quote).next().map(str::to_owned))
    });
    imports.map(|name| format!("/assets/{name}")).collect()
}

/// What a style sheet names in `url(/assets/NAME)`.
fn pictured(sheet: &str) -> Vec<String> {
    let rests = sheet.split("/assets/").skip(1);
    let names = rests.filter_map(|rest| rest.split(['"', '\'', ')', '?', '#']).next());
    names.map(|name| format!("/assets/{name}")).collect()
}

#[tokio::test]
async fn the_first_load_is_complete_and_small() {
    let server = Server::start(&[]).await;
    let mut wanted = vec![String::from("/")];
    let mut sizes = Vec::<(String, usize)>::new();
    while let Some(path) = wanted.pop() {
        if sizes.iter().any(|(known, _)| *known == path) {
            continue;
        }
        let answer = server.send(packed(&path)).await.expect(200);
        let text = String::from_utf8_lossy(&unpacked(&answer)).into_owned();
        match media_type(&path) {
            html if html.starts_with("text/html") => {
                let paths = referenced(&text);
                assert!(paths.iter().any(|path| path.ends_with(".js")), "{text}");
                wanted.extend(paths.into_iter().map(str::to_owned));
            }
            script if script.starts_with("text/javascript") => wanted.extend(imported(&text)),
            sheet if sheet.starts_with("text/css") => wanted.extend(pictured(&text)),
            _ => {}
        }
        sizes.push((path, answer.body.len()));
    }
    let bytes: usize = sizes.iter().map(|(_, bytes)| bytes).sum();
    assert!(bytes < FIRST_LOAD_BYTES_MAX, "{bytes} bytes: {sizes:#?}");
}

/// The policy would keep it from running.
#[test]
fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
    let html = String::from_utf8(content("/")).expect("the page is UTF-8");
    for path in referenced(&html) {
        assert!(path.starts_with("/assets/"), "{path}");
    }
    assert_eq!(inline(&html), Vec::<String>::new());
    for bad in [
        "<script>x()</script>",
        "<script type=\"module\">x()</script>",
        "<script src=\"/a.js\">x()</script>",
        "<style>a{}</style>",
        "<p style=\"color:red\">",
        "<body onload=\"x()\">",
        "<a href=\"javascript:x()\">",
        "<base href=\"/x\">",
    ] {
        assert_eq!(inline(bad).len(), 1, "{bad}");
    }
}

/// The tags that are, or have, something inline.
fn inline(html: &str) -> Vec<String> {
    let tags = html.split('<').skip(1).filter(|tag| {
        let (tag, content) = tag.split_once('>').unwrap_or((tag, ""));
        let mut words = tag.split_ascii_whitespace();
        let name = words.next().unwrap_or_default().to_ascii_lowercase();
        let is_handler = |word: &str| word.starts_with("on") || word.starts_with("style=");
        match &*name {
            "script" => !tag.contains(" src=\"") || !content.trim().is_empty(),
            "style" | "base" => true,
            _ => words.any(is_handler) || tag.contains("javascript:"),
        }
    });
    tags.map(str::to_owned).collect()
}

#[test]
fn imports_are_found() {
    let script =
        "import{a}from\"./b.js\";import'./c.js';import d from './d.js'; import(\"./e.js\")";
    let mut found = imported(script);
    found.sort();
    assert_eq!(found, ["/assets/b.js", "/assets/c.js", "/assets/d.js"]);
    assert_eq!(
        pictured("a{src:url(/assets/f.woff2)}b{c:url(\"/assets/g.svg#h\")}"),
        ["/assets/f.woff2", "/assets/g.svg"]
    );
}
