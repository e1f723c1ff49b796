//! Cancellation: one concept for everything that runs.
//!
//! To *cancel* is to end a unit of work for a [reason](CancelReason). Ending never destroys: a
//! deletion or an expiry first waits until the unit has ended and then destroys, as a separate
//! step. A cancel only signals; the unit ends by itself, at a point where it can account for every
//! byte that it has accepted. Nothing here aborts a task.
//!
//! * [`CancelReason`] says why, and what follows from it: what is still read, how the unit ends,
//!   whether a queue attempt counts.
//! * [`Scope`] is a node in the tree server -> module -> unit. It carries the signal and the first
//!   reason down, and the knowledge of which tasks still run up. [`Scope::spawn`] is the only place
//!   in the program where a task is started.
//! * [`Live`] knows who runs now: at most one holder per key. A newcomer takes over by cancelling
//!   the holder and waiting for its [`Lease`] to be dropped.
//!
//! A unit hangs under its module, not under the connection that brought it: what happens to a
//! connection reaches the unit as a reason, through a [`Guard`].
//!
//! # Rules
//!
//! 1. **A service future may only signal; a tracked owner settles.** hyper drops the service future
//!    when an HTTP/2 stream is reset, and when an HTTP/1 client leaves after its body. A commit
//!    that lives in it is lost at that moment, so the service future holds a [`Guard`] and awaits a
//!    [`Task`], and the work itself runs in [`Scope::spawn`].
//! 2. **Settle steps are outside every `select!`.** A `select!` drops the arms that lose. What must
//!    be done to the end is awaited alone, after the loop that selects has been left.
//! 3. **No lock is held across `.await`.** A future can be dropped, or never polled again, at any
//!    `.await`; whoever waits for the lock would then depend on a stranger's schedule.
//! 4. **Each `select!` arm says why it may be dropped**, in a comment at the arm. An arm without
//!    such a reason does not belong in a `select!`.
//! 5. **Children are awaited before the parent returns.** An early return that leaves tasks behind
//!    lets them race with whatever comes next; [`Scope::settle`] closes that gap.
//! 6. **Past the deadline we drop, and that equals a crash.** There is no third way to end: what is
//!    still running when [`Scope::settle`] is [`Settling::Overdue`] is left to the recovery that
//!    also follows a power cut, and so needs no code of its own.
//! 7. **Nothing async is started from `Drop`.** Such a task has no owner, is lost at shutdown, and
//!    panics where there is no runtime. `Drop` signals ([`Guard`]) or releases ([`Lease`]), both
//!    synchronously.

// A new reason must not compile until every question about it is answered.
#![warn(clippy::wildcard_enum_match_arm)]

mod live;
mod reason;
mod scope;

pub use live::{Holder, Lease, Live, Refused};
pub use reason::{CancelReason, Ending, Reading};
pub use scope::{Guard, Panicked, Scope, Settling, Task};

#[cfg(test)]
mod tests;
