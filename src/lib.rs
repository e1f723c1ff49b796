//! Tidegate: a resumable upload server whose uploads can be cancelled.
//!
//! | module | what it is |
//! |---|---|
//! | [`app`] | composition root: the only place that names concrete stores and mounts modules |
//! | [`cli`] | the commands of a client, which talk HTTP to a server |
//! | [`config`] | flags, environment and file become one typed configuration |
//! | [`project`] | module: projects, and whom they are shared with |
//! | [`upload`] | module: uploads |
//! | [`queue`] | module: images wait for workers, and are processed |
//! | [`export`] | module: archives of a project |
//! | [`feed`] | module: what happens, told to whoever listens |
//! | [`webhook`] | module: what happens, sent to whoever is to know |
//! | [`page`] | module: the page for browsers |
//! | [`ops`] | module: health, metrics, problem pages |
//! | [`module`] | what a module hands to the composition root |
//! | [`http`] | mechanism: transport; knows no domain |
//! | [`blob`] | mechanism: stored bytes |
//! | [`db`] | mechanism: SQLite and PostgreSQL, one SQL text |
//! | [`event`] | mechanism: domain events, their log, the live feeds |
//! | [`access`] | mechanism: who may do what in a project |
//! | [`work`] | mechanism: background work |
//! | [`cancel`] | leaf: the one concept of cancellation |
//! | [`auth`], [`clock`], [`id`], [`units`] | leaves: who calls, what time it is, what things are called, sizes and durations |
//!
//! The rules of the protocols are a crate of their own, `tidegate-protocol`, without any I/O.

pub mod access;
pub mod app;
pub mod auth;
pub mod blob;
pub mod cancel;
pub mod cli;
pub mod clock;
pub mod config;
pub mod db;
pub mod event;
pub mod export;
pub mod feed;
pub mod http;
pub mod id;
pub mod module;
pub mod ops;
pub mod page;
pub mod project;
pub mod queue;
pub mod units;
pub mod upload;
pub mod webhook;
pub mod work;
