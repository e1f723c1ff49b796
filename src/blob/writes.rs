//! Where writes run.
//!
//! A write into the page cache is work for a processor, not waiting. The one that has just received
//! the bytes has them in its cache, and writes them for half of what it costs another one. So a
//! write runs in the task that brings the bytes, as long as that is safe: a kernel that has too
//! much to write back holds whoever writes, and a disk that hangs holds him for good. Therefore
//! only so many tasks write like this at once that the runtime keeps a thread for everything else,
//! which a watch calls to its post; and after a write that took long all of them run on threads
//! that may block, for a while.

use std::future::pending;
use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::watch::Watch;

/// A write that takes longer has waited for the disk.
const SLOW: Duration = Duration::from_millis(50);

/// How long the disk is distrusted after such a write.
const DISTRUST: Duration = Duration::from_secs(1);

/// Threads of the blocking pool that write at once. The pool has others for what else must block.
pub(super) const THREADS_MAX: usize = 8;

/// Runs writes, and decides where.
#[derive(Debug)]
pub(super) struct Writes {
    begun: Instant,
    /// Milliseconds since `begun`.
    distrusted_until: AtomicU64,
    here: Semaphore,
    watch: Watch,
    threads: Semaphore,
}

/// The right to write. Given back when it is dropped.
#[derive(Debug)]
pub(super) enum Turn<'w> {
    /// In the task that asked.
    Here { _permit: SemaphorePermit<'w> },
    /// On a thread that may block.
    Elsewhere { _permit: SemaphorePermit<'w> },
}

impl Writes {
    /// At most `here_max` threads of the runtime write at once. Call it in that runtime.
    ///
    /// # Errors
    /// The operating system gives no more threads.
    pub(super) fn new(here_max: usize) -> io::Result<Self> {
        Ok(Self {
            begun: Instant::now(),
            distrusted_until: AtomicU64::new(0),
            here: Semaphore::new(here_max),
            watch: Watch::start(Handle::try_current().map_err(io::Error::other)?)?,
            threads: Semaphore::new(THREADS_MAX),
        })
    }

    /// The right to one write; at once, if that may run here.
    ///
    /// # Cancel safety
    /// Whoever is dropped leaves the line.
    pub(super) async fn turn(&self) -> Turn<'_> {
        if self.is_trusted(Instant::now())
            && let Ok(_permit) = self.here.try_acquire()
        {
            return Turn::Here { _permit };
        }
        match self.threads.acquire().await {
            Ok(_permit) => Turn::Elsewhere { _permit },
            // Never closed.
            Err(_closed) => pending().await,
        }
    }

    /// Does `work`, which writes, here or elsewhere. A panic in it is the caller's.
    ///
    /// # Cancel safety
    /// If the future is dropped, the work may have been done, or be done later, or not at all.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        turn: Turn<'_>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if let Turn::Here { .. } = turn {
            let begun = Instant::now();
            let at_work = self.watch.begin();
            let done = work();
            drop(at_work);
            self.took(begun.elapsed());
            return done;
        }
        let timed = move || {
            let begun = Instant::now();
            (work(), begun.elapsed())
        };
        match spawn_blocking(timed).await.map_err(|e| e.try_into_panic()) {
            Ok((done, took)) => {
                self.took(took);
                done
            }
            Err(Ok(panic)) => resume_unwind(panic),
            // The runtime is going down, and this task with it.
            Err(Err(_shutdown)) => pending().await,
        }
    }

    fn is_trusted(&self, now: Instant) -> bool {
        self.since_begun(now) >= self.distrusted_until.load(Relaxed)
    }

    fn took(&self, time: Duration) {
        if time >= SLOW {
            let until = self.since_begun(Instant::now() + DISTRUST);
            if self.distrusted_until.fetch_max(until, Relaxed) < until {
                tracing::debug!(?time, "a write has waited for the disk");
            }
        }
    }

    fn since_begun(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.begun);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
impl Writes {
    /// Leaves no turn for others.
    pub(super) fn all_turns(&self) -> [Option<SemaphorePermit<'_>>; 2] {
        [&self.here, &self.threads].map(|all| {
            let count = u32::try_from(all.available_permits()).ok()?;
            all.try_acquire_many(count).ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::{Arc, mpsc};
    use std::thread;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::cancel::Scope;

    /// A wait that only a defect makes this long.
    const AT_MOST: Duration = Duration::from_secs(20);

    async fn now<T: Send + 'static>(
        writes: &Writes,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        writes.run(writes.turn().await, work).await
    }

    async fn thread_of(writes: &Writes) -> thread::ThreadId {
        now(writes, || thread::current().id()).await
    }

    #[tokio::test]
    async fn a_write_runs_where_its_bytes_are_until_one_was_slow() {
        let writes = Writes::new(1).unwrap();
        let here = thread::current().id();
        assert_eq!(thread_of(&writes).await, here);
        writes.took(SLOW / 2);
        assert_eq!(thread_of(&writes).await, here);
        writes.took(SLOW);
        assert_ne!(thread_of(&writes).await, here);
        let later = Instant::now() + DISTRUST + SLOW;
        assert!(writes.is_trusted(later), "not for good");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_that_hangs_stops_no_other() {
        let writes = Arc::new(Writes::new(1).unwrap());
        let (release, released) = mpsc::channel::<()>();
        let (begin, begun) = mpsc::channel();
        let stuck = {
            let writes = writes.clone();
            Scope::root("stuck").spawn(async move {
                let work = move || {
                    begin.send(thread::current().id()).unwrap();
                    released.recv().unwrap();
                };
                now(&writes, work).await;
            })
        };
        let on = tokio::task::spawn_blocking(move || begun.recv().unwrap())
            .await
            .unwrap();
        for _ in 0..100 {
            assert_ne!(thread_of(&writes).await, on);
        }
        release.send(()).unwrap();
        stuck.await.unwrap();
    }

    /// Whoever is called by a socket and then writes has left the sockets to others, who are all
    /// asleep.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sockets_are_looked_after_while_one_hangs() {
        let scope = Scope::root("sockets");
        let writes = Arc::new(Writes::new(1).unwrap());
        for _ in 0..50 {
            let caller = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let answerer = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addresses = [&caller, &answerer].map(|of| of.local_addr().unwrap());
            let [call, ask] = addresses;
            // It takes a thread of the runtime until another one answers.
            let asked = move || {
                let mut stream = std::net::TcpStream::connect(ask).unwrap();
                stream.set_read_timeout(Some(AT_MOST)).unwrap();
                stream.write_all(b"?").unwrap();
                stream.read_exact(&mut [0]).unwrap();
            };
            let writes = writes.clone();
            let stuck = scope.spawn(async move {
                caller.accept().await.unwrap();
                now(&writes, asked).await;
            });
            let answering = scope.spawn(async move {
                let (mut stream, _) = answerer.accept().await.unwrap();
                stream.read_u8().await.unwrap();
                stream.write_u8(b'!').await.unwrap();
            });
            let calling = spawn_blocking(move || std::net::TcpStream::connect(call).unwrap());
            calling.await.unwrap();
            stuck.await.unwrap();
            answering.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_panic_is_the_callers_wherever_it_happens() {
        for here_max in [0, 1] {
            let writes = Arc::new(Writes::new(here_max).unwrap());
            let caller = writes.clone();
            let panics = async move { now(&caller, || panic!("on purpose")).await };
            let ended = Scope::root("panics").spawn(panics).await;
            assert!(ended.is_err());
            assert_eq!(now(&writes, || 5).await, 5);
        }
    }
}
