//! Black-box tests of the `tidegate` binary over real sockets.
//!
//! One binary on purpose. Every integration test file at the top of `tests/` is linked on its own,
//! against the whole server with its bundled database: a dozen of them cost a dozen slow links and
//! a dozen copies on disk. As modules of one binary they share the client code in `support`, run
//! in parallel with each other, and a concern is still picked by its path:
//! `cargo test --test it leave::`.
//!
//! Nothing here links the server. Each test starts the real program on a free port and a fresh data
//! directory, speaks bytes to it, and ends it. What a test may assume stands in the contract and in
//! the rows of the protocol digest, whose numbers the tests in `tus` and `rufh` carry in their names.
//!
//! Some of the queue's run on PostgreSQL as well, and fail unless `TIDEGATE_TEST_POSTGRES` names a
//! server for tests; `make it` starts one.
//!
//! Knobs: `TIDEGATE_TEST_ROUNDS` (rounds of every randomised test), `TIDEGATE_TEST_CUTS` (power cuts
//! of each file system), `TIDEGATE_TEST_UPLOAD_MIB` (size of the one large upload) and
//! `TIDEGATE_TEST_SEED` (their first seed, as printed by a run that failed).

mod support;

mod bad_input;
mod binding;
mod browser;
mod cancel;
mod clients;
mod concurrency;
mod crash;
mod disk_full;
mod docs;
mod download;
mod feed;
mod hostile_names;
mod leave;
mod limits;
mod matrix;
mod ops;
mod page;
mod power_cut;
mod project;
mod reload;
mod sharing;
mod shutdown;
mod stuck_disk;
mod webhook;
mod websocket;

/// Who is calling.
mod auth {
    mod canary;
    mod hostile;
    mod keys;
    mod requests;
    mod tickets;
}

/// The commands of a client.
mod cli {
    mod choice;
    mod commands;
    mod hostile;
    mod interrupted;
    mod kills;
    mod left;
    mod local;
    mod other_server;
    mod tree;
    mod upload;
    mod whom;
}

/// Projects as archives.
mod export {
    mod bad_input;
    mod callers;
    mod cancels;
    mod crashes;
    mod download;
    mod ends;
    mod hostile;
    mod limits;
    mod many;
    mod stories;
}

/// Forms with images.
mod images {
    mod ends;
    pub(crate) mod files;
    mod hostile;
}

/// The processing queue.
mod queue {
    mod bad_input;
    mod callers;
    mod claims;
    mod control;
    mod ends;
    mod lives;
    mod many;
    mod reports;
    mod stories;
    mod told;
}

/// The rows of the protocol digest, one test or more for each.
mod tus {
    mod checksum;
    mod concatenation;
    mod core;
    mod cors;
    mod creation;
    mod expiration;
    mod override_;
    mod termination;
}

/// The same for the rows of the IETF draft, and its tests at random moments.
mod rufh {
    mod append;
    mod both;
    mod concurrency;
    mod creation;
    mod digests;
    mod discovery;
    mod interim;
    mod races;
    mod retrieval;
    mod versions;
}
