//! What a module hands to the composition root.

use crate::http::Route;
use crate::work::Worker;

/// A module, ready to run: its outside towards clients, and its work in the background.
///
/// Dropped unused it leaves nothing behind. That is how a module is left off.
#[derive(Default)]
#[must_use = "a module that is not mounted serves nobody"]
pub struct Mount {
    /// What it serves.
    pub routes: Vec<Route>,
    /// What it does unasked.
    pub workers: Vec<Box<dyn Worker>>,
}
