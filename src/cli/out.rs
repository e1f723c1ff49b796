//! What commands write: results to standard output, everything else to standard error.

use std::io::{self, BufRead, IsTerminal, Write};

use serde::Serialize;

/// A line for people, on standard error. Without it there is nobody to tell.
pub(super) fn tell(line: &str) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// A line of results.
///
/// # Errors
/// Standard output is closed or full.
pub(super) fn line(line: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{line}")
}

/// A result as one line of JSON.
///
/// # Errors
/// As [`line`].
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(value).map_err(io::Error::other)?;
    line(&text)
}

/// Columns as wide as what is in them, the last one as it is.
///
/// # Errors
/// As [`line`].
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let mut widths = head.map(|title| title.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head = head.map(str::to_owned);
    let mut out = io::stdout().lock();
    for row in std::iter::once(&head).chain(rows) {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            match column + 1 == N {
                true => writeln!(out, "{cell}")?,
                false => write!(out, "{cell:width$}  ")?,
            }
        }
    }
    Ok(())
}

/// Asks on the terminal. `None`: there is none.
///
/// # Errors
/// The answer cannot be read.
pub(super) fn ask(question: &str) -> io::Result<Option<bool>> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(None);
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(Some(matches!(answer.trim(), "y" | "Y" | "yes")))
}
