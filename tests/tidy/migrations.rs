//! The two databases are brought up by the same steps and end with the same tables.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, assert_none, texts};

const ENGINES: [&str; 2] = ["sqlite", "postgres"];

#[test]
fn both_databases_have_the_same_steps() {
    assert_none(
        &unpaired(&migrations()),
        "a step is migrations/ENGINE/LINE/NNNN_name.sql, for both engines, numbered from 0001 \
         without gaps in each line",
    );
}

#[test]
fn both_databases_end_with_the_same_tables() {
    assert_none(
        &differing(&migrations()),
        "write the same tables, columns and indexes for both engines; only BLOB (sqlite) and BYTEA \
         (postgres) differ, and what follows the last parenthesis of a table",
    );
}

fn migrations() -> Vec<(String, String)> {
    texts()
        .into_iter()
        .filter(|(path, _)| path.starts_with("migrations/"))
        .collect()
}

fn unpaired(migrations: &[(String, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut steps = ENGINES.map(|_| BTreeSet::new());
    for (path, _) in migrations {
        let engine = ENGINES
            .iter()
            .position(|e| path.starts_with(&format!("migrations/{e}/")));
        match engine {
            Some(engine) => {
                steps[engine].extend(path.split_once('/').and_then(|(_, p)| p.split_once('/')));
            }
            None => findings.push(Finding::new(path, 0, "belongs to no engine")),
        }
    }
    let names = steps.map(|steps| {
        steps
            .into_iter()
            .map(|(_, step)| step)
            .collect::<BTreeSet<_>>()
    });
    for (mine, other) in [(0, 1), (1, 0)] {
        for step in names[mine].difference(&names[other]) {
            let path = format!("migrations/{}/{step}", ENGINES[mine]);
            findings.push(Finding::new(
                &path,
                0,
                format!("is missing for {}", ENGINES[other]),
            ));
        }
    }
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    for step in &names[0] {
        let (line, file) = step.rsplit_once('/').unwrap_or(("", step));
        let number = next
            .entry(line)
            .and_modify(|number| *number += 1)
            .or_insert(1);
        if !file.starts_with(&format!("{number:04}_")) || !file.ends_with(".sql") {
            let what = format!("should be step {number:04} of `{line}`");
            findings.push(Finding::new(&format!("migrations/sqlite/{step}"), 0, what));
        }
    }
    findings
}

fn differing(migrations: &[(String, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, sqlite) in migrations
        .iter()
        .filter(|(path, _)| path.contains("/sqlite/"))
    {
        let twin = path.replace("/sqlite/", "/postgres/");
        let Some((_, postgres)) = migrations.iter().find(|(path, _)| *path == twin) else {
            continue;
        };
        let [sqlite, postgres] = [sqlite, postgres].map(|text| definitions(text));
        for (engine, mine, other) in [
            ("sqlite", &sqlite, &postgres),
            ("postgres", &postgres, &sqlite),
        ] {
            for definition in mine.difference(other) {
                let what = format!("only {engine} has `{definition}`");
                findings.push(Finding::new(path, 0, what));
            }
        }
    }
    findings
}

/// Every column, constraint, index and other statement of a migration, in one spelling.
fn definitions(sql: &str) -> BTreeSet<String> {
    let lines = sql
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default());
    let sql = lines.collect::<Vec<_>>().join(" ");
    let mut definitions = BTreeSet::new();
    for statement in sql
        .split(';')
        .map(one_spelling)
        .filter(|statement| !statement.is_empty())
    {
        let table = statement.strip_prefix("create table ");
        let Some((name, rest)) = table.and_then(|table| table.split_once('(')) else {
            definitions.insert(statement);
            continue;
        };
        for column in split_outside_parentheses(in_parentheses(rest)) {
            definitions.insert(format!("table {}: {}", name.trim(), column.trim()));
        }
    }
    definitions
}

/// Lower case, single blanks, one word for bytes.
fn one_spelling(statement: &str) -> String {
    let words = statement.split_whitespace().map(str::to_lowercase);
    let words = words
        .map(|word| word.replace("bytea", "blob"))
        .collect::<Vec<_>>();
    words.join(" ").replace("( ", "(").replace(" )", ")")
}

/// What stands before the parenthesis that closes one before the text. How a table is stored stands
/// behind it, and is each engine's own.
fn in_parentheses(text: &str) -> &str {
    let mut depth = 1_usize;
    let end = text.find(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    end.map_or(text, |end| &text[..end])
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

mod detectors {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = files
            .iter()
            .map(|(path, sql)| (format!("migrations/{path}"), (*sql).into()));
        owned.collect()
    }

    #[test]
    fn a_missing_step_is_found() {
        let one = ("sqlite/core/0001_a.sql", "");
        assert_eq!(unpaired(&tree(&[one])).len(), 1);
        assert_eq!(
            unpaired(&tree(&[one, ("postgres/core/0001_a.sql", "")])),
            []
        );
        assert_eq!(
            unpaired(&tree(&[one, ("postgres/core/0001_b.sql", "")])).len(),
            2
        );
        assert_eq!(unpaired(&tree(&[("mysql/core/0001_a.sql", "")])).len(), 1);
        let gap = ["sqlite", "postgres"].map(|e| format!("{e}/core/0002_a.sql"));
        assert_eq!(unpaired(&tree(&[(&gap[0], ""), (&gap[1], "")])).len(), 1);
    }

    #[test]
    fn a_difference_is_found() {
        let found = |sqlite, postgres| {
            let files = [
                ("sqlite/a/0001_a.sql", sqlite),
                ("postgres/a/0001_a.sql", postgres),
            ];
            differing(&tree(&files)).len()
        };
        let sqlite =
            "-- a; comment\nCREATE TABLE t (\n  a BLOB,\n  PRIMARY KEY (a, b)\n) WITHOUT ROWID;";
        assert_eq!(
            found(sqlite, "create table t (a BYTEA, primary key (a, b));"),
            0
        );
        assert_eq!(
            found(
                sqlite,
                "create table t (a BYTEA NOT NULL, primary key (a, b));"
            ),
            2
        );
        assert_eq!(
            found(sqlite, "create table t (b BYTEA, primary key (a, b));"),
            2
        );
        assert_eq!(
            found(sqlite, "create table u (a BYTEA, primary key (a, b));"),
            4
        );
        assert_eq!(
            found("CREATE INDEX i ON t (a);", "CREATE INDEX i ON t (b);"),
            2
        );
        assert_eq!(found("", "CREATE INDEX i ON t (b);"), 1);
    }
}
