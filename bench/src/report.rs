//! Medians, the lines that are printed, and what is read from answers.

use std::fmt;
use std::time::Duration;

pub(crate) const MIB: f64 = 1024.0 * 1024.0;
pub(crate) const GIB: f64 = 1024.0 * MIB;
/// Rates are in megabytes, not mebibytes.
pub(crate) const MB: f64 = 1e6;

/// One measure of one setup: a heading, decimals, and a value per round.
pub(crate) struct Column {
    pub(crate) heading: &'static str,
    pub(crate) decimals: usize,
    pub(crate) values: Vec<f64>,
}

/// Prints a line for one setup of a figure.
pub(crate) fn print(figure: &str, setup: &str, columns: &[Column]) {
    let measured = columns.iter().filter_map(|column| {
        let spread = Spread::of(&column.values)?;
        let (heading, decimals) = (column.heading, column.decimals);
        Some(format!(" | {spread:.decimals$} {heading}"))
    });
    println!("{figure:<5} | {setup:<46}{}", measured.collect::<String>());
}

/// The quotients, round by round.
pub(crate) fn ratios(values: &[f64], limits: &[f64]) -> Vec<f64> {
    let rounds = values.iter().zip(limits);
    rounds.map(|(value, limit)| value / limit).collect()
}

/// The values of the members of this name that are strings.
pub(crate) fn values<'t>(text: &'t str, name: &str) -> impl Iterator<Item = String> + 't {
    let start = format!("\"{name}\":\"");
    let parts: Vec<_> = text.split(&start).skip(1).collect();
    let values = parts.into_iter();
    values.filter_map(|part| part.split('"').next().map(str::to_owned))
}

/// That share of the delays is not longer, in milliseconds.
pub(crate) fn place(delays: &mut [Duration], share: f64) -> f64 {
    delays.sort();
    let place = delays.get((delays.len() as f64 * share) as usize);
    place.map_or(0.0, |delay| delay.as_secs_f64() * 1e3)
}

#[derive(Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// `None` without values.
    fn of(values: &[f64]) -> Option<Self> {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let (lower, upper) = (values.len().saturating_sub(1) / 2, values.len() / 2);
        Some(Self {
            median: f64::midpoint(*values.get(lower)?, *values.get(upper)?),
            min: *values.first()?,
            max: *values.last()?,
        })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(0);
        let Self { median, min, max } = self;
        write!(
            f,
            "{median:.decimals$} ({min:.decimals$}..{max:.decimals$})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let median = |values: &[f64]| Spread::of(values).map(|spread| spread.median);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn a_spread_shows_its_ends() {
        let spread = Spread::of(&[2.25, 1.0, 4.0]).unwrap();
        assert_eq!(format!("{spread:.1}"), "2.2 (1.0..4.0)");
        assert_eq!(format!("{spread}"), "2 (1..4)");
    }

    #[test]
    fn a_ratio_is_that_of_its_round() {
        assert_eq!(ratios(&[3.0, 8.0], &[2.0, 4.0]), [1.5, 2.0]);
    }
}
