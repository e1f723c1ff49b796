//! What a worker has found in an image.

use std::sync::Arc;

use self::report::Report;

#[path = "../../src/queue/result/report.rs"]
mod report;

/// Takes the whole as a result in JSON.
///
/// # Panics
///
/// When a promise is broken.
pub fn result(data: &[u8]) {
    let Some(kept) = kept(data) else {
        return;
    };
    assert_eq!(self::kept(kept.as_bytes()), Some(kept));
}

/// What is kept of a result. `None`: it is none.
fn kept(text: &[u8]) -> Option<Arc<str>> {
    let report: Report = serde_json::from_slice(text).ok()?;
    let checked = report.checked().inspect_err(|problem| {
        assert_eq!(problem.status().as_u16(), 400, "{problem:?}");
    });
    Some(checked.ok()?.into())
}
