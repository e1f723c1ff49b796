//! Threads that write.
//!
//! A write into the page cache is work for a processor, not waiting, so a few threads are enough,
//! and under load they find their next job without ever going to sleep: handing a job to a thread
//! that sleeps costs as much as copying a hundred kilobytes. What waits for the disk, such as a
//! sync, does not belong here.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

/// A fixed number of threads with one queue. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Lanes {
    queue: Arc<Queue>,
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that sleep until a job arrives.
    idle: usize,
    closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Lanes {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// The operating system gives no more threads.
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let lanes = Self {
            queue: Arc::default(),
        };
        for _ in 0..count {
            let queue = lanes.queue.clone();
            thread::Builder::new()
                .name("tidegate-disk".into())
                .spawn(move || queue.work())?;
        }
        Ok(lanes)
    }

    /// Runs `work` on one of the threads. Jobs begin in the order in which they came; their number
    /// is bounded by their callers, who wait for each.
    ///
    /// The receiver fails if the work panicked.
    ///
    /// # Cancel safety
    /// The work is done even if the receiver is dropped.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (done, result) = oneshot::channel();
        // Nobody may be listening any more.
        self.queue.push(Box::new(move || drop(done.send(work()))));
        result
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.queue.state().closed = true;
        self.queue.arrived.notify_all();
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        let mut state = self.state();
        state.jobs.push_back(job);
        let is_awaited = state.idle > 0;
        drop(state);
        if is_awaited {
            self.arrived.notify_one();
        }
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            // Its caller is told by the channel that the job holds; the thread goes on.
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)));
        }
    }

    /// The next job; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_job_is_done_once() {
        let lanes = Lanes::start(3).unwrap();
        let jobs: Vec<_> = (0..1_000_u64).map(|i| lanes.run(move || i)).collect();
        let mut sum = 0;
        for job in jobs {
            sum += job.await.unwrap();
        }
        assert_eq!(sum, 499_500);
    }

    #[tokio::test]
    async fn a_panic_reaches_its_caller_and_no_other() {
        let lanes = Lanes::start(1).unwrap();
        let panics = lanes.run(|| panic!("on purpose"));
        let after = lanes.run(|| 5);
        assert!(panics.await.is_err());
        assert_eq!(after.await, Ok(5));
    }

    #[tokio::test]
    async fn what_is_queued_is_done_when_they_are_dropped() {
        let lanes = Lanes::start(1).unwrap();
        let jobs: Vec<_> = (0..100).map(|i| lanes.run(move || i)).collect();
        drop(lanes);
        for (i, job) in jobs.into_iter().enumerate() {
            assert_eq!(job.await, Ok(i));
        }
    }
}
