//! The rules, tested as rules.

mod codec;
mod driver;
mod field;
mod machine;
mod oracle;
mod problem;
mod rufh;
mod tus1;
