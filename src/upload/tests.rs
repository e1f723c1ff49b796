//! The module's rules on stores in memory: what an upload is after every way in which an attempt,
//! a call or the process may end.
//!
//! | file | what |
//! |---|---|
//! | `script.rs` | the sender: a body that follows a script |
//! | `world.rs` | stores, and the module over them; what must be true of both at any time |
//! | `scenarios.rs` | appends that are worth interrupting |
//! | `interrupted.rs` | cancel or crash at every await of an attempt, for every reason |
//! | `failures.rs` | a store that fails its n-th call, for every n |
//! | `images.rs` | forms: cut, cancelled, stopped anywhere, on stores that fail |
//! | `races.rs` | requests that meet |
//! | `recovery.rs` | tails, and what a restart does with them |
//! | `lent.rs` | reading by a right that somebody has lent |
//! | `clocks.rs` | stalls and checkpoints, by a paused clock |

mod clocks;
mod digests;
mod failures;
mod images;
mod interrupted;
mod lent;
mod races;
mod recovery;
mod scenarios;
mod script;
mod world;
