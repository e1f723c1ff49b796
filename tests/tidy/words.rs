//! What must not be written, and where.

use super::source::{Source, skip_blank};
use super::{Finding, assert_none, sample, sources, texts};

/// Tests that sleep on purpose: the file, how often, and why no handshake will do.
const SLEEPS_ON_PURPOSE: [(&str, usize, &str); 3] = [
    (
        "src/export/tests/races.rs",
        1,
        "the moment of the cancel is random, and that is the test",
    ),
    (
        "src/http/tests/early.rs",
        1,
        "a paused clock moves only when nothing is left to run",
    ),
    (
        "tests/it/crash.rs",
        1,
        "the moment of the kill is random, and that is the test",
    ),
];

#[test]
fn product_code_does_not_unwrap() {
    assert_none(
        &unwraps(&sources()),
        "return an error, or make the type say that it cannot happen: a server that panics drops \
         what it was doing",
    );
}

#[test]
fn no_test_is_switched_off() {
    assert_none(
        &ignored_tests(&sources()),
        "mend the test or remove it. A slow one takes its rounds from the environment at run time",
    );
}

#[test]
fn nothing_is_left_to_do() {
    assert_none(
        &unfinished(&sources()),
        "finish it, or open an issue and describe in the comment how things are, not how they \
         should become",
    );
}

#[test]
fn tests_do_not_sleep() {
    assert_none(
        &sleeps(&sources()),
        "wait for what is waited for: a channel, a line of output, `poll k times, then drop`, or a \
         probe with a deadline. A sleep is too short on a slow day and too long on the others. If \
         time itself is what is tested, say so in SLEEPS_ON_PURPOSE in tests/tidy/words.rs",
    );
}

#[test]
fn exceptions_to_lints_are_expected_with_a_reason() {
    assert_none(
        &silent_exceptions(&sources()),
        "write `#[expect(lint, reason = \"...\")]`: it fails once the exception is not needed any \
         more",
    );
}

#[test]
fn no_path_of_a_developers_machine_is_written_down() {
    assert_none(
        &machine_paths(&texts()),
        "use a path from the repository's root, a temporary directory, or a setting",
    );
}

fn unwraps(sources: &[Source]) -> Vec<Finding> {
    let pieces = [
        ".unwrap()",
        ".expect(",
        ".unwrap_err()",
        ".expect_err(",
        "unwrap_unchecked",
    ];
    find(sources, &pieces, |source, at| !source.is_test(at))
}

fn ignored_tests(sources: &[Source]) -> Vec<Finding> {
    find(sources, &["#[ignore", ", ignore)"], |_, _| true)
}

/// In code and in comments.
fn unfinished(sources: &[Source]) -> Vec<Finding> {
    let mut findings = find(sources, &["todo!", "unimplemented!", "dbg!("], |_, _| true);
    for source in sources {
        for (line, text) in source.text.lines().enumerate() {
            let comment = text.split_once("//").map_or("", |(_, comment)| comment);
            let marks = ["TO\u{44}O", "FIX\u{4d}E", "XX\u{58}"];
            if marks
                .iter()
                .any(|mark| super::source::words(comment, mark).next().is_some())
            {
                findings.push(Finding::new(&source.path, line + 1, comment.trim()));
            }
        }
    }
    findings
}

fn sleeps(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let found: Vec<usize> = source
            .word("sleep")
            .filter(|at| source.is_test(*at))
            .collect();
        let on_purpose = SLEEPS_ON_PURPOSE
            .iter()
            .find(|(path, ..)| *path == source.path);
        if found.len() != on_purpose.map_or(0, |(_, times, _)| *times) {
            let line = found.first().map_or(0, |at| source.line(*at));
            let what = format!("sleeps {} times", found.len());
            findings.push(Finding::new(&source.path, line, what));
        }
    }
    findings
}

fn silent_exceptions(sources: &[Source]) -> Vec<Finding> {
    let mut findings = find(sources, &["#[allow(", "#![allow("], |_, _| true);
    for source in sources {
        let exceptions = source.piece("#[expect(").chain(source.piece("#![expect("));
        for at in exceptions {
            let attribute = &source.code[at..];
            let attribute = &attribute[..attribute.find(")]").unwrap_or(attribute.len())];
            if !attribute.contains("reason") {
                let what = "an exception without a reason";
                findings.push(Finding::new(&source.path, source.line(at), what));
            }
        }
    }
    findings
}

fn machine_paths(texts: &[(String, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in texts {
        for (line, text) in text.lines().enumerate() {
            for folder in ["home", "root", "Users", "work"] {
                let folder = format!("/{folder}/");
                let begins = |at: usize| {
                    let before = text[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || "._-}*".contains(c))
                };
                if text.match_indices(&folder).any(|(at, _)| begins(at)) {
                    findings.push(Finding::new(path, line + 1, text.trim()));
                }
            }
        }
    }
    findings
}

/// Every place of these pieces of code where `counts` says that it matters.
fn find(
    sources: &[Source],
    pieces: &[&str],
    counts: impl Fn(&Source, usize) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for piece in pieces {
            for at in source.piece(piece).filter(|at| counts(source, *at)) {
                let start = source.text[..at]
                    .rfind('\n')
                    .map_or(0, |newline| newline + 1);
                let start = skip_blank(&source.text, start);
                let line = source.text[start..].lines().next().unwrap_or_default();
                findings.push(Finding::new(&source.path, source.line(at), line));
            }
        }
    }
    findings.sort_by_key(|finding| (finding.path.clone(), finding.line));
    findings
}

mod detectors {
    use super::*;

    #[test]
    fn an_unwrap_is_found() {
        for text in ["fn f() { x.unwrap(); }", "fn f() { x.expect(\"y\"); }"] {
            assert_eq!(unwraps(&sample("src/a.rs", text)).len(), 1, "{text}");
            assert_eq!(unwraps(&sample("tests/it/a.rs", text)), [], "{text}");
            let in_test = format!("#[cfg(test)]\nmod tests {{ {text} }}");
            assert_eq!(unwraps(&sample("src/a.rs", &in_test)), [], "{text}");
        }
        let harmless = "#[expect(x, reason = \"y\")] fn f() { x.unwrap_or(1); } // .unwrap()";
        assert_eq!(unwraps(&sample("src/a.rs", harmless)), []);
    }

    #[test]
    fn a_switched_off_test_is_found() {
        for text in [
            "#[ignore]",
            "#[ignore = \"slow\"]",
            "#[cfg_attr(miri, ignore)]",
        ] {
            assert_eq!(
                ignored_tests(&sample("tests/it/a.rs", text)).len(),
                1,
                "{text}"
            );
        }
    }

    #[test]
    fn unfinished_work_is_found() {
        let mark = ["TO", "DO"].concat();
        for text in [
            format!("// {mark}: more"),
            format!("x(); /// {mark}"),
            "todo!()".into(),
        ] {
            assert_eq!(unfinished(&sample("src/a.rs", &text)).len(), 1, "{text}");
        }
        let harmless = format!("// {mark}S is a word of its own\nlet todo = \"todo!()\";");
        assert_eq!(unfinished(&sample("src/a.rs", &harmless)), []);
    }

    #[test]
    fn a_sleep_is_found() {
        let calls = [
            "std::thread::sleep(x)",
            "tokio::time::sleep(x).await",
            "use time::sleep;",
        ];
        for text in calls {
            assert_eq!(sleeps(&sample("tests/it/a.rs", text)).len(), 1, "{text}");
            assert_eq!(sleeps(&sample("src/a.rs", text)), [], "{text}");
        }
        assert_eq!(
            sleeps(&sample("tests/it/a.rs", "// sleep\nfn no_sleep() {}")),
            []
        );
    }

    #[test]
    fn a_silent_exception_is_found() {
        for text in [
            "#[allow(x)]",
            "#![allow(x)]",
            "#[expect(x)]",
            "#[expect(\n x,\n y,\n)]",
        ] {
            assert_eq!(
                silent_exceptions(&sample("src/a.rs", text)).len(),
                1,
                "{text}"
            );
        }
        let good = "#[expect(clippy::x, reason = \"it is (so) [here]\")]";
        assert_eq!(silent_exceptions(&sample("src/a.rs", good)), []);
    }

    #[test]
    fn a_machine_path_is_found() {
        let found = |text: String| machine_paths(&[("a.md".into(), text)]).len();
        for folder in ["home", "root", "Users", "work"] {
            assert_eq!(found(format!("see /{folder}/me/notes")), 1);
            assert_eq!(found(format!("\"/{folder}/me\"")), 1);
            assert_eq!(
                found(format!("src/{folder}/mod.rs, https://a.example/{folder}/x")),
                0
            );
        }
    }
}
