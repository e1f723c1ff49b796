//! What a project has already, for `--if-absent`.

use super::journal::Journal;
use crate::cli::error::CommandError;
use crate::cli::pages::Pages;
use crate::cli::server::Server;

/// Notes all complete uploads of the project in the journal, page by page. One that becomes complete
/// meanwhile may be missing.
///
/// # Errors
/// The server does not tell.
///
/// # Cancel safety
/// What is noted stays noted, and is true.
pub(super) async fn note(
    server: &Server,
    project: &str,
    journal: &Journal,
) -> Result<(), CommandError> {
    let path = format!("/api/projects/{project}/uploads?state=completed");
    let mut pages = Pages::new(server, &path);
    while let Some(uploads) = pages.next().await? {
        let present = uploads.into_iter().filter_map(|upload| {
            let metadata = upload.object("metadata");
            let path = metadata.word("relativePath");
            let name = path.or_else(|| upload.word("filename"))?.to_owned();
            let sha256 = upload.word("sha256").map(str::to_owned);
            Some((name, upload.number("length")?, sha256))
        });
        let noted = journal.note_present(present.collect()).await;
        noted.map_err(|error| CommandError::Failed(error.to_string()))?;
    }
    Ok(())
}
