use std::env;
use std::future::{self, poll_fn};
use std::io;
use std::process::Command;
use std::task::Poll;

use super::WITHIN;
use crate::cancel::{Scope, Settling};

struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("while dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_error_of_its_task_and_the_scope_settles() {
    let scope = Scope::root("scope");
    let fixed = scope.spawn(async { panic!("boom") });
    let formatted = scope.spawn(async { panic!("boom {}", 2) });
    let odd = scope.spawn(async { std::panic::panic_any(7) });
    let fine = scope.spawn(async { 7 });
    assert_eq!(scope.settle(WITHIN).await, Settling::Settled);

    let fixed: Result<(), _> = fixed.await;
    let fixed = fixed.expect_err("it panicked");
    assert_eq!(fixed.message(), "boom");
    assert_eq!(
        fixed.to_string(),
        "a task in scope `scope` ended without a result: boom"
    );
    let formatted: Result<(), _> = formatted.await;
    assert_eq!(formatted.expect_err("it panicked").message(), "boom 2");
    let odd: Result<(), _> = odd.await;
    assert_eq!(odd.expect_err("it panicked").message(), "no message");
    assert_eq!(fine.await, Ok(7), "the panic is its task's alone");
    assert_eq!(scope.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_the_future_is_dropped_is_reported_too() {
    let scope = Scope::root("scope");
    let task = scope.spawn({
        let owned = PanicsOnDrop;
        poll_fn(move |_| {
            let _owned = &owned;
            Poll::Ready(())
        })
    });
    assert_eq!(scope.settle(WITHIN).await, Settling::Settled);
    assert_eq!(
        task.await.expect_err("it panicked").message(),
        "while dropped"
    );
}

/// Set for the process in which [`panic_unseen`] does something.
const UNSEEN: &str = "TIDEGATE_TEST_PANIC_UNSEEN";

/// A task logs and panics, and nobody awaits it. Only in the process that the next test starts.
#[tokio::test(start_paused = true)]
async fn panic_unseen() {
    if env::var_os(UNSEEN).is_none() {
        return;
    }
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();
    let scope = Scope::root("uploads").child("attempt");
    drop(scope.spawn(async {
        tracing::info!("at work");
        panic!("nobody awaits this");
    }));
    assert_eq!(scope.settle(WITHIN).await, Settling::Settled);
}

/// In a process of its own, because tracing remembers for all threads what the first thread to use
/// a callsite decides about it, and tests on other threads log nothing.
#[test]
fn the_panic_of_a_detached_task_is_logged_in_its_span() {
    let output = Command::new(env::current_exe().expect("this test runs from a file"))
        .env(UNSEEN, "1")
        .args([
            "--exact",
            "--nocapture",
            "cancel::tests::panics::panic_unseen",
        ])
        .output()
        .expect("this test can be run again");
    let log = String::from_utf8_lossy(&output.stderr);
    let span = r#"scope{name="uploads"}:scope{name="attempt"}"#;
    for text in ["at work", r#"task panicked panic="nobody awaits this""#] {
        let line = log
            .lines()
            .find(|line| line.contains(text))
            .unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains(span), "{line}");
    }
}

#[test]
fn a_task_whose_runtime_went_down_ends_with_an_error() {
    let runtime = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime without drivers")
    };
    let scope = Scope::root("scope");
    let first = runtime();
    let task = {
        let _entered = first.enter();
        scope.spawn(future::pending::<()>())
    };
    drop(first);
    let ended = runtime().block_on(task);
    assert_eq!(
        ended.expect_err("it never ended").message(),
        "the runtime went down"
    );
}
