//! Keeps a runtime awake while threads of it may be stuck.
//!
//! The sockets and timers of a runtime are looked after by whichever of its threads has nothing
//! else to do. One that leaves them for a task does not call another in its place, so if the task
//! gets stuck while the other threads sleep, nobody looks after them any more. Therefore a thread
//! outside of the runtime wakes one of its threads now and then, as long as anybody is at work.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::runtime::Handle;

/// How long sockets and timers may be without anybody.
const EVERY: Duration = Duration::from_millis(20);

/// Rounds without work after which the watch sleeps until there is some.
const QUIET_ROUNDS: u32 = 50;

/// A thread that watches over a runtime. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    at_work: AtomicUsize,
    is_asleep: AtomicBool,
    is_over: AtomicBool,
}

/// Somebody is at work, until it is dropped.
pub(super) struct AtWork<'w>(&'w Shared);

impl Watch {
    /// # Errors
    /// The operating system gives no more threads.
    pub(super) fn start(runtime: Handle) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let watched = shared.clone();
        let watch = thread::Builder::new()
            .name("tidegate-watch".into())
            .spawn(move || watched.watch(&runtime))?;
        Ok(Self {
            shared,
            thread: watch.thread().clone(),
        })
    }

    /// Somebody begins what may get a thread of the runtime stuck.
    pub(super) fn begin(&self) -> AtWork<'_> {
        self.shared.at_work.fetch_add(1, SeqCst);
        if self.shared.is_asleep.load(SeqCst) {
            self.thread.unpark();
        }
        AtWork(&self.shared)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.is_over.store(true, SeqCst);
        self.thread.unpark();
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, SeqCst);
    }
}

impl Shared {
    fn watch(&self, runtime: &Handle) {
        let mut quiet = 0;
        while !self.is_over.load(SeqCst) {
            if self.at_work.load(SeqCst) > 0 {
                wake(runtime);
                quiet = 0;
            }
            quiet += 1;
            if quiet < QUIET_ROUNDS {
                thread::park_timeout(EVERY);
                continue;
            }
            self.is_asleep.store(true, SeqCst);
            // Whoever begins from here on sees that it sleeps.
            if self.at_work.load(SeqCst) == 0 && !self.is_over.load(SeqCst) {
                thread::park();
            }
            self.is_asleep.store(false, SeqCst);
            quiet = 0;
        }
    }
}

/// Makes a thread of the runtime look for work. It finds none, and looks after the sockets.
fn wake(runtime: &Handle) {
    #[expect(
        clippy::disallowed_methods,
        reason = "there is nothing in it to wait for"
    )]
    drop(runtime.spawn(async {}));
}
