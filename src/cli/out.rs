//! What commands write: results to standard output, everything else to standard error.

use std::io::{self, BufRead, IsTerminal, Write};

use indicatif::ProgressStyle;
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
/// As [`line()`].
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(value).map_err(io::Error::other)?;
    line(&text)
}

/// Columns as wide as what has been in them so far, the last one as it is. The head comes with the
/// first rows.
pub(super) struct Table<const N: usize> {
    head: Option<[&'static str; N]>,
    widths: [usize; N],
}

impl<const N: usize> Table<N> {
    pub(super) fn new(head: [&'static str; N]) -> Self {
        Self {
            widths: head.map(|title| title.chars().count()),
            head: Some(head),
        }
    }

    /// # Errors
    /// As [`line()`].
    pub(super) fn print(&mut self, rows: &[[String; N]]) -> io::Result<()> {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let head = self.head.take().map(|head| head.map(str::to_owned));
        let mut out = io::stdout().lock();
        for row in head.iter().chain(rows) {
            for (column, (cell, width)) in row.iter().zip(self.widths).enumerate() {
                match column + 1 == N {
                    true => writeln!(out, "{cell}")?,
                    false => write!(out, "{cell:width$}  ")?,
                }
            }
        }
        Ok(())
    }
}

/// Whether somebody can be asked.
pub(super) fn has_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on the terminal, and waits for the answer as long as it takes.
///
/// # Errors
/// The answer cannot be read.
pub(super) fn ask(question: &str) -> io::Result<bool> {
    write!(io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// A bar that tells how much there is altogether.
pub(super) const TOTAL_BAR: &str =
    "{wide_msg} {bytes:>10} of {total_bytes} {binary_bytes_per_sec:>12} {eta:>4} {bar:20}";

/// How a bar looks. The templates are ours; a plain bar is better than none.
pub(super) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
