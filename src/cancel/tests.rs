//! The rules of this module as tests: handshakes over channels and "poll, then drop"; no sleeps.

mod live;
mod panics;
mod reason;
mod scope;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A deadline that only a test about deadlines reaches.
const WITHIN: Duration = Duration::from_secs(5);

/// Polls once, with nobody to wake.
fn poll_now<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
