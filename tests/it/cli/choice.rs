//! Which files `tidegate upload` takes.

use std::fs::File;

use super::tree::{expect_files, lay, listed};
use crate::support::cli::{Cli, Running};
use crate::support::server::{Outcome, Server};
use crate::support::wire::Req;

async fn would_send(cli: &Cli, arguments: &[&str]) -> Vec<String> {
    let preview = [&["upload", "--dry-run", "--json"], arguments].concat();
    let outcome = cli.run(&preview).await.expect_code(0);
    outcome.names("wouldSend")
}

#[tokio::test]
async fn arguments_choose_what_is_sent_and_how_it_is_called() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let sizes = [
        "d/a.tif",
        "d/b.tmp",
        "d/.h",
        "d/s/c.tif",
        "d/s/d.txt",
        "d/s/t/e.tif",
    ];
    lay(&cli, &sizes.map(|name| (name, 10)));
    cli.write("d/.tidegateignore", "*.tmp\n");
    cli.write("d/s/.tidegateignore", "/t/\n");
    let cases: [(&[&str], &[&str]); 9] = [
        (&["d"], &["d/.h", "d/a.tif", "d/s/c.tif", "d/s/d.txt"]),
        (&["d/"], &["d/.h", "d/a.tif", "d/s/c.tif", "d/s/d.txt"]),
        (&["d", "--include", "*.tif"], &["d/a.tif", "d/s/c.tif"]),
        (&["d", "--exclude", "s"], &["d/.h", "d/a.tif"]),
        (
            &["d", "--include", "*.tif", "--exclude", "a*"],
            &["d/s/c.tif"],
        ),
        (&["d", "--recursive=false"], &["d/.h", "d/a.tif"]),
        (&["d/s/c.tif"], &["c.tif"]),
        (&["d/b.tmp"], &["b.tmp"]),
        (&["d/s", "d/a.tif"], &["a.tif", "s/c.tif", "s/d.txt"]),
    ];
    for (arguments, wanted) in cases {
        assert_eq!(would_send(&cli, arguments).await, wanted, "{arguments:?}");
    }
    let mut here = cli.command(&["upload", ".", "--json", "--include", "*.tif"]);
    here.current_dir(cli.path("d"));
    let here = Running::of(here).finish().await.expect_code(0);
    assert_eq!(here.names("sent"), ["a.tif", "s/c.tif"]);
    assert_eq!(listed(&server, "default").await.len(), 2);
}

#[tokio::test]
async fn a_preview_sends_nothing_and_remembers_nothing() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let files = lay(&cli, &[("d/a", 300_000), ("d/b", 5)]);
    let preview = cli.run(&["upload", "d", "--dry-run"]).await.expect_code(0);
    assert!(preview.stdout.contains("would send d/b (5 B)"), "{preview}");
    assert!(preview.stderr.contains("would send 2 files"), "{preview}");
    assert!(listed(&server, "default").await.is_empty());
    let sent = cli.run(&["upload", "d", "--json"]).await.expect_code(0);
    assert_eq!(sent.summary()["sent"], 2, "{sent}");
    let arguments = ["upload", "d", "--dry-run", "--json"];
    let preview = cli.run(&arguments).await.expect_code(0);
    let told = preview.object();
    assert_eq!((&told["files"], &told["skipped"]), (&0.into(), &2.into()));
    expect_files(&server, "default", &files).await;
}

#[tokio::test]
async fn a_list_chooses_what_is_sent() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(
        &cli,
        &[("d/a", 1), ("d/b", 2), ("d/c\nd", 3), ("e/f", 4), ("x", 5)],
    );
    let list = |name: &str, text: &str| cli.write(name, text).display().to_string();
    let lines = list("lines", "d/a\n\n./d/b\ne\n");
    let zeros = list("zeros", "d/c\nd\0x");
    let both = ["--files-from", &lines, "x"];
    assert_eq!(would_send(&cli, &both).await, ["d/a", "d/b", "e/f", "x"]);
    let zeros = ["--files-from", &zeros, "-0"];
    assert_eq!(would_send(&cli, &zeros).await, ["d/c\nd", "x"]);
    let mut command = cli.command(&["upload", "--files-from", "-", "--json"]);
    command.stdin(File::open(&lines).expect("open"));
    let sent = Running::of(command).finish().await.expect_code(0);
    assert_eq!(sent.names("sent"), ["d/a", "d/b", "e/f"]);

    let gone = list("gone", "d/a\nnot there\n");
    let arguments = ["upload", "--files-from", &gone];
    let outcome = cli.run(&arguments).await.expect_code(1);
    assert!(outcome.stderr.contains("not there: No such"), "{outcome}");
    let arguments = ["upload", "--files-from", "no list"];
    let outcome = cli.run(&arguments).await.expect_code(1);
    assert!(outcome.stderr.contains("no list: No such"), "{outcome}");
}

#[tokio::test]
async fn what_somebody_else_has_sent_need_not_be_sent() {
    let server = Server::start(&[]).await;
    let (ann, bob) = (server.cli(), server.cli());
    lay(&ann, &[("d/a", 1000), ("d/b", 1000), ("d/c", 1000)]);
    lay(&bob, &[("d/a", 1000), ("d/b", 1000), ("d/c", 1001)]);
    bob.write("d/b", vec![b'x'; 1000]);
    bob.write("d/d", b"more");
    ann.run(&["upload", "d"]).await.expect_code(0);
    let arguments = ["upload", "d", "--json", "--if-absent"];
    let compared = [&arguments[..], &["--checksum"]].concat();
    let sent = bob.run(&arguments).await.expect_code(0);
    assert_eq!(sent.names("sent"), ["d/c", "d/d"]);
    assert_eq!(sent.told("d/a")["why"], "present", "{sent}");
    let sent = bob.run(&compared).await.expect_code(0);
    assert_eq!(sent.names("sent"), ["d/b"]);
}

async fn project(server: &Server, title: &str) -> String {
    let body = serde_json::json!({"title": title}).to_string();
    let create = Req::new("POST", "/api/projects")
        .header("Content-Type", "application/json")
        .body(body);
    let created = server.send(create).await.expect(201).json();
    created["data"]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_project_is_named_by_its_id_or_its_title() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    let files = lay(&cli, &[("d/a", 1000)]);
    let slides = project(&server, "Slides 1").await;
    for _ in 0..2 {
        project(&server, "Twice").await;
    }
    let to = async |named: &str| -> Outcome {
        cli.run(&["upload", "d", "--json", "--project", named])
            .await
    };
    assert_eq!(to("Slides 1").await.expect_code(0).summary()["sent"], 1);
    assert_eq!(to(&slides).await.expect_code(0).summary()["skipped"], 1);
    expect_files(&server, &slides, &files).await;
    let unknown = to("Slides").await.expect_code(1);
    assert!(unknown.stderr.contains("no project `Slides`"), "{unknown}");
    let twice = to("Twice").await.expect_code(2);
    assert!(twice.stderr.contains("name its id"), "{twice}");
    let gone = to("6f1c9c0e-7a43-4c1e-8a77-0b6f2a3d9c10").await;
    assert_eq!(gone.status.code(), Some(1), "{gone}");
    assert!(listed(&server, "default").await.is_empty());
    // It is another destination.
    let here = cli.run(&["upload", "d", "--json"]).await.expect_code(0);
    assert_eq!(here.summary()["sent"], 1, "{here}");
}

#[tokio::test]
async fn a_file_that_is_named_twice_is_sent_once() {
    let server = Server::start(&[]).await;
    let cli = server.cli();
    lay(&cli, &[("d/a", 1000), ("d/b", 400_000)]);
    let arguments = ["upload", "d", "d/b", "d", "--json"];
    let outcome = cli.run(&arguments).await.expect_code(0);
    let summary = outcome.summary();
    assert_eq!(summary["sent"], 2, "{outcome}");
    assert_eq!(summary["skipped"], 3, "{outcome}");
    assert_eq!(listed(&server, "default").await.len(), 2);
}
