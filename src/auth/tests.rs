//! Tokens of every kind, good and bad.
