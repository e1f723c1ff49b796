//! What a project has already, for `--if-absent`.

use serde::Deserialize;

use super::journal::Journal;
use crate::cli::error::CommandError;
use crate::cli::server::Server;

const PAGE: usize = 100;

#[derive(Debug, Deserialize)]
struct List {
    data: Vec<Upload>,
}

#[derive(Debug, Deserialize)]
struct Upload {
    filename: Option<String>,
    length: Option<u64>,
    sha256: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(rename = "relativePath")]
    relative_path: Option<String>,
}

/// Notes all complete uploads of the project in the journal, page by page. One that becomes complete
/// meanwhile may be missing.
///
/// # Errors
/// The server does not tell.
pub(super) async fn note(
    server: &Server,
    project: &str,
    journal: &Journal,
) -> Result<(), CommandError> {
    for page in 1_u64.. {
        let path =
            format!("/api/projects/{project}/uploads?state=completed&limit={PAGE}&page={page}");
        let list: List = server.get(&path).await?;
        let count = list.data.len();
        let present = list.data.into_iter().filter_map(|upload| {
            let name = upload.metadata.relative_path.or(upload.filename)?;
            Some((name, upload.length?, upload.sha256))
        });
        let noted = journal.note_present(present.collect()).await;
        noted.map_err(|error| CommandError::Failed(error.to_string()))?;
        if count < PAGE {
            break;
        }
    }
    Ok(())
}
