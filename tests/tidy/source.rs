//! A Rust file as text, with as much structure as the rules ask for.
//!
//! The one invariant: `code` has the length of `text`, byte for byte, with comments and the insides
//! of literals blanked out. An offset into one is an offset into the other.

use std::ops::Range;

/// One Rust file.
pub(crate) struct Source {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
    /// Where it is compiled for tests only.
    test_code: TestCode,
    /// Inline modules, outermost first.
    modules: Vec<Range<usize>>,
}

enum TestCode {
    /// The whole file.
    All,
    /// These items.
    Items(Vec<Range<usize>>),
}

/// A function with a body.
pub(crate) struct Function<'s> {
    pub(crate) name: &'s str,
    /// From `fn` to the closing brace.
    pub(crate) range: Range<usize>,
    /// Between the braces.
    pub(crate) body: Range<usize>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let of_tests = ["tests/", "benches/", "fuzz/", "protocol/tests/"];
        let test_code = match of_tests.iter().any(|folder| path.starts_with(folder)) {
            true => TestCode::All,
            false => TestCode::Items(test_items(&code)),
        };
        let modules = inline_modules(&code);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            test_code,
            modules,
        }
    }

    /// The line of an offset, counted from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    pub(crate) fn is_test(&self, at: usize) -> bool {
        match &self.test_code {
            TestCode::All => true,
            TestCode::Items(items) => items.iter().any(|range| range.contains(&at)),
        }
    }

    /// Whether the whole file is compiled for tests only.
    pub(crate) fn is_test_file(&self) -> bool {
        matches!(self.test_code, TestCode::All)
    }

    /// Lines that are not compiled for tests only.
    pub(crate) fn product_lines(&self) -> usize {
        let mut start = 0;
        let starts = self.text.split_inclusive('\n').map(|line| {
            let at = start;
            start += line.len();
            at
        });
        starts.filter(|at| !self.is_test(*at)).count()
    }

    /// How many modules there are around an offset, the crate's root not counted.
    pub(crate) fn module_depth(&self, at: usize) -> usize {
        let inline = self
            .modules
            .iter()
            .filter(|range| range.contains(&at))
            .count();
        module_path(&self.path).len() + inline
    }

    /// Where an identifier stands in the code, as a whole word.
    pub(crate) fn word<'s>(&'s self, word: &'s str) -> impl Iterator<Item = usize> + 's {
        words(&self.code, word)
    }

    /// Where a piece of code stands. The piece says itself how it begins and ends.
    pub(crate) fn piece<'s>(&'s self, piece: &'s str) -> impl Iterator<Item = usize> + 's {
        self.code.match_indices(piece).map(|(at, _)| at)
    }

    pub(crate) fn functions(&self) -> Vec<Function<'_>> {
        let code = &self.code;
        let mut functions = Vec::new();
        for at in self.word("fn") {
            let after = at + "fn".len();
            let Some(name) = identifier(code, skip_blank(code, after)) else {
                continue;
            };
            let Some(open) = item_end(code, after) else {
                continue;
            };
            if code.as_bytes()[open] != b'{' {
                continue;
            }
            let Some(close) = closing_brace(code, open) else {
                continue;
            };
            functions.push(Function {
                name,
                range: at..close + 1,
                body: open + 1..close,
            });
        }
        functions
    }
}

/// Marks the files that are compiled for tests only because their parent says so, with all files
/// below them.
pub(crate) fn mark_test_files(sources: &mut [Source]) {
    let mut test_modules = Vec::new();
    for source in sources.iter() {
        for at in source.word("mod").filter(|at| source.is_test(*at)) {
            let name = identifier(&source.code, skip_blank(&source.code, at + "mod".len()));
            let folder = match source.path.rsplit_once('/') {
                Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder,
                _ => source.path.trim_end_matches(".rs"),
            };
            test_modules.extend(name.map(|name| format!("{folder}/{name}")));
        }
    }
    for source in sources {
        let is_below = |module: &String| {
            let rest = source.path.strip_prefix(module.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        if test_modules.iter().any(is_below) {
            source.test_code = TestCode::All;
        }
    }
}

/// The modules that a file is, from the crate's root: `[a, b]` for `src/a/b.rs` and
/// `src/a/b/mod.rs`.
pub(crate) fn module_path(path: &str) -> Vec<&str> {
    let inside = path.split_once("src/").map_or(path, |(_, inside)| inside);
    let mut parts: Vec<&str> = inside.trim_end_matches(".rs").split('/').collect();
    if matches!(parts.last(), Some(&("mod" | "lib" | "main"))) {
        parts.pop();
    }
    parts
}

/// Where a word stands, neither beginning nor ending inside another.
pub(crate) fn words<'s>(text: &'s str, word: &'s str) -> impl Iterator<Item = usize> + 's {
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let before = text[..*at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The identifier that begins at an offset.
pub(crate) fn identifier(text: &str, at: usize) -> Option<&str> {
    let rest = &text[at..];
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

/// The first offset at or after this one that holds no white space.
pub(crate) fn skip_blank(text: &str, at: usize) -> usize {
    at + text[at..]
        .find(|c: char| !c.is_whitespace())
        .unwrap_or(text.len() - at)
}

/// The brace that closes the one at `open`.
pub(crate) fn closing_brace(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Where the head of an item ends: its `{` or its `;`, outside of parentheses and brackets.
fn item_end(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.checked_sub(1)?,
            b'{' | b';' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// Items under `#[cfg(test)]`, attributes included.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    for attribute in ["#[cfg(test)]", "#[cfg(all(test,"] {
        for (at, _) in code.match_indices(attribute) {
            let Some(end) = item_end(code, after_attributes(code, at)) else {
                continue;
            };
            let end = match code.as_bytes()[end] {
                b'{' => closing_brace(code, end).unwrap_or(code.len() - 1),
                _ => end,
            };
            items.push(at..end + 1);
        }
    }
    items
}

/// The offset behind all attributes that begin at `at`.
fn after_attributes(code: &str, mut at: usize) -> usize {
    while code[at..].starts_with("#[") {
        let mut depth = 0_usize;
        let end = code[at..].find(|c| {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                _ => return false,
            }
            depth == 0
        });
        let Some(end) = end else { return code.len() };
        at = skip_blank(code, at + end + 1);
    }
    at
}

fn inline_modules(code: &str) -> Vec<Range<usize>> {
    let mut modules = Vec::new();
    for at in words(code, "mod") {
        let name = skip_blank(code, at + "mod".len());
        let Some(length) = identifier(code, name).map(str::len) else {
            continue;
        };
        let open = skip_blank(code, name + length);
        if code[open..].starts_with('{')
            && let Some(close) = closing_brace(code, open)
        {
            modules.push(open..close);
        }
    }
    modules
}

/// The text with comments and the insides of literals replaced by blanks.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let after_word = at > 0 && is_word(char::from(bytes[at - 1]));
        let (keep, end) = if rest.starts_with(b"//") {
            (0, line_end(rest))
        } else if rest.starts_with(b"/*") {
            (0, comment_end(rest))
        } else if let Some(hashes) = raw_string(rest).filter(|_| !after_word) {
            (1, raw_string_end(rest, hashes))
        } else if rest[0] == b'"' {
            (1, string_end(rest))
        } else if let Some(end) = char_end(rest) {
            (1, end)
        } else {
            at += 1;
            continue;
        };
        // Delimiters stay, so that an empty literal does not vanish from the code.
        for byte in &mut code[at + keep..at + end - keep] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += end;
    }
    String::from_utf8(code).expect("only whole characters are blanked")
}

fn line_end(rest: &[u8]) -> usize {
    rest.iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(rest.len())
}

/// Block comments nest.
fn comment_end(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The number of hashes, if a raw string begins here.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let after = ["r", "br", "cr"]
        .iter()
        .find_map(|start| rest.strip_prefix(start.as_bytes()))?;
    let hashes = after.iter().take_while(|byte| **byte == b'#').count();
    (after.get(hashes) == Some(&b'"')).then_some(hashes)
}

fn raw_string_end(rest: &[u8], hashes: usize) -> usize {
    let open = rest.iter().position(|byte| *byte == b'"').unwrap_or(0) + 1;
    let close = [&b"\""[..], &vec![b'#'; hashes]].concat();
    let found = rest[open..]
        .windows(close.len())
        .position(|window| window == close);
    found.map_or(rest.len(), |at| open + at + close.len())
}

fn string_end(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Where a character literal ends, if one begins here: a lifetime has no closing quote.
fn char_end(rest: &[u8]) -> Option<usize> {
    let inside = rest.strip_prefix(b"'")?;
    if inside.first() == Some(&b'\\') {
        let close = inside.iter().skip(2).position(|byte| *byte == b'\'')?;
        return Some(1 + 2 + close + 1);
    }
    // The longest character has four bytes.
    let text = inside.get(..inside.len().min(4))?;
    let length = text
        .utf8_chunks()
        .next()?
        .valid()
        .chars()
        .next()?
        .len_utf8();
    (inside.get(length) == Some(&b'\'')).then_some(1 + length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        for (text, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x { \" }", 1)"#, r#"f("        ", 1)"#),
            ("r#\"a \" b\"#; c", "r        #; c"),
            ("var\"x\"", "var\" \""),
            ("b'{' + '\\'' + '\\u{7d}'", "b' ' + '  ' + '      '"),
            ("'ä' 'a f<'a>('b)", "'  ' 'a f<'a>('b)"),
            ("\"// no comment\" x", "\"             \" x"),
        ] {
            assert_eq!(blank(text), code, "{text}");
        }
    }

    #[test]
    fn test_code_is_told_from_product_code() {
        let text = "fn a() {}\n#[cfg(test)]\n#[path = \"x\"]\nmod t {\n fn b() {}\n}\nfn c() {}\n";
        let source = Source::new("src/x.rs", text);
        let is_test = |name: &str| source.is_test(text.find(name).unwrap());
        assert!(!is_test("fn a") && is_test("fn b") && !is_test("fn c"));
        assert_eq!(source.product_lines(), 2);
        assert!(Source::new("tests/it/main.rs", text).is_test_file());
        assert!(!source.is_test_file());
    }

    #[test]
    fn a_file_is_test_code_when_its_parent_says_so() {
        let mut sources = [
            Source::new("src/a/mod.rs", "#[cfg(test)]\nmod tests;\nmod b;\n"),
            Source::new("src/a/tests.rs", "mod deep;"),
            Source::new("src/a/tests/deep.rs", "fn f() {}"),
            Source::new("src/a/b.rs", "#[cfg(test)]\nmod fakes;\n"),
            Source::new("src/a/b/fakes.rs", "fn f() {}"),
            Source::new("src/a/tests_of_nothing.rs", "fn f() {}"),
        ];
        mark_test_files(&mut sources);
        let is_test: Vec<bool> = sources.iter().map(Source::is_test_file).collect();
        assert_eq!(is_test, [false, true, true, false, true, false]);
    }

    #[test]
    fn functions_are_found_with_their_bodies() {
        let text = "fn a(f: fn(u8), x: [u8; 2]) -> u8 where u8: X { if x { 1 } else { 2 } }\n\
                    trait T { fn none(); fn some() { } }";
        let source = Source::new("src/x.rs", text);
        let names: Vec<&str> = source.functions().iter().map(|f| f.name).collect();
        assert_eq!(names, ["a", "some"]);
        assert!(
            text[source.functions()[0].body.clone()]
                .trim()
                .ends_with("{ 2 }")
        );
    }

    #[test]
    fn modules_have_a_depth() {
        assert_eq!(module_path("src/lib.rs"), [""; 0]);
        assert_eq!(module_path("src/a.rs"), ["a"]);
        assert_eq!(module_path("protocol/src/a/b/mod.rs"), ["a", "b"]);
        let text = "x; mod m { y }";
        let source = Source::new("src/a/b.rs", text);
        assert_eq!(source.module_depth(text.find('x').unwrap()), 2);
        assert_eq!(source.module_depth(text.find('y').unwrap()), 3);
    }
}
