//! The rules, tested as rules.

mod field;
mod problem;
