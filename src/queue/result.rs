//! placeholder
use serde::Deserialize;
use tidegate_protocol::problem::Problem;
#[derive(Deserialize)]
pub(super) struct Report(serde_json::Value);
impl Report {
    pub(super) fn checked(self) -> Result<String, Problem> {
        Ok(self.0.to_string())
    }
}
