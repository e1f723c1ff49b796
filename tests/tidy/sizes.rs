//! A file can be read in one sitting, a function on one screen.

use super::source::{Function, Source, closing_brace, words};
use super::{Finding, assert_none, sample, sources, texts};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const MAIN_LINES_MAX: usize = 80;

#[test]
fn files_are_small() {
    assert_none(
        &large_files(&sources()),
        "find the second concern in the file and give it a file of its own; tests go to `tests.rs` \
         beside it",
    );
}

/// Of its functions, Biome sees to that: biome.json.
#[test]
fn files_of_typescript_are_small() {
    assert_none(
        &large_texts(&texts()),
        "find the second concern in the file and give it a file of its own",
    );
}

#[test]
fn functions_are_small() {
    assert_none(
        &large_functions(&sources()),
        "name the steps of the function and make them functions. Only one flat `match` may be \
         longer: arms of one level, without loops or further matches",
    );
}

/// Of a file with product code only that counts; a file of tests counts whole.
fn large_files(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let lines = match source.is_test_file() {
            true => source.text.lines().count(),
            false => source.product_lines(),
        };
        let lines_max = if source.path == "src/main.rs" {
            MAIN_LINES_MAX
        } else {
            FILE_LINES_MAX
        };
        if lines > lines_max {
            let what = format!("{lines} lines, of at most {lines_max}");
            findings.push(Finding::new(&source.path, 0, what));
        }
    }
    findings
}

fn large_texts(texts: &[(String, String)]) -> Vec<Finding> {
    const FOLDERS: [(&str, &[&str]); 3] = [
        ("clients/js/src/", &[".ts"]),
        ("web/src/", &[".ts", ".tsx", ".css"]),
        ("tests/clients/", &[".mjs"]),
    ];
    let counts = |path: &str| {
        let of = FOLDERS.iter().find(|(folder, _)| path.starts_with(folder));
        of.is_some_and(|(_, ends)| ends.iter().any(|end| path.ends_with(end)))
    };
    let mut findings = Vec::new();
    for (path, text) in texts.iter().filter(|(path, _)| counts(path)) {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            let what = format!("{lines} lines, of at most {FILE_LINES_MAX}");
            findings.push(Finding::new(path, 0, what));
        }
    }
    findings
}

fn large_functions(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for function in source.functions() {
            let lines = line_count(&source.code[function.range.clone()]);
            let counted = lines - flat_match_lines(source, &function);
            if counted > FUNCTION_LINES_MAX {
                let name = function.name;
                let what = format!("`{name}` has {lines} lines, of at most {FUNCTION_LINES_MAX}");
                findings.push(Finding::new(
                    &source.path,
                    source.line(function.range.start),
                    what,
                ));
            }
        }
    }
    findings
}

fn line_count(code: &str) -> usize {
    code.lines().count()
}

/// The lines inside the longest flat `match` of a function.
fn flat_match_lines(source: &Source, function: &Function<'_>) -> usize {
    let code = &source.code[..function.body.end];
    let matches = words(code, "match").filter(|at| function.body.contains(at));
    let flat = matches.filter_map(|at| {
        let open = at + code[at..].find('{')?;
        let arms = &code[open..=closing_brace(code, open)?];
        is_flat(arms).then(|| line_count(arms) - 1)
    });
    flat.max().unwrap_or(0)
}

/// Whether the arms hold one level of braces, and no control flow but their guards.
fn is_flat(arms: &str) -> bool {
    let mut depth = 0_usize;
    let deepest = arms.bytes().map(|byte| {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        depth
    });
    deepest.max() <= Some(2)
        && ["match", "loop", "while", "for"]
            .iter()
            .all(|word| words(arms, word).next().is_none())
}

mod detectors {
    use super::*;

    #[test]
    fn a_large_file_is_found() {
        let lines = |count: usize| "fn f() {}\n".repeat(count);
        assert_eq!(large_files(&sample("src/a.rs", &lines(800))), []);
        assert_eq!(large_files(&sample("src/a.rs", &lines(801))).len(), 1);
        assert_eq!(large_files(&sample("tests/a.rs", &lines(801))).len(), 1);
        let with_tests = format!(
            "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
            lines(790),
            lines(500)
        );
        assert_eq!(large_files(&sample("src/a.rs", &with_tests)), []);
        assert_eq!(large_files(&sample("src/main.rs", &lines(81))).len(), 1);
    }

    #[test]
    fn a_large_file_of_typescript_is_found() {
        let found = |path: &str, lines: usize| {
            let text = "f()\n".repeat(lines);
            large_texts(&[(path.to_owned(), text)]).len()
        };
        for path in [
            "clients/js/src/a.ts",
            "web/src/a/b.tsx",
            "web/src/a.css",
            "tests/clients/a/b.mjs",
        ] {
            assert_eq!((found(path, 800), found(path, 801)), (0, 1), "{path}");
        }
        assert_eq!(found("package-lock.json", 801), 0);
    }

    #[test]
    fn a_large_function_is_found() {
        let function = |inside: &str| format!("fn f() {{\n{inside}}}\n");
        let found = |text: &str| large_functions(&sample("src/a.rs", text)).len();
        assert_eq!(found(&function(&"    g();\n".repeat(68))), 0);
        assert_eq!(found(&function(&"    g();\n".repeat(69))), 1);
        let arms = "        A => {\n            g();\n        }\n".repeat(40);
        assert_eq!(
            found(&function(&format!("    match x {{\n{arms}    }}\n"))),
            0
        );
        let twice = format!("    match x {{\n{arms}    }}\n    match y {{\n{arms}    }}\n");
        assert_eq!(found(&function(&twice)), 1);
        let nested = arms.replacen("g();", "if x { g() }", 1);
        assert_eq!(
            found(&function(&format!("    match x {{\n{nested}    }}\n"))),
            1
        );
        let looping = arms.replacen("g();", "for x in y {}", 1);
        assert_eq!(
            found(&function(&format!("    match x {{\n{looping}    }}\n"))),
            1
        );
    }
}
