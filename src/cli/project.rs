//! Projects.

use serde::Deserialize;

use super::error::CommandError;
use super::server::Server;
use super::text::clean;
use crate::id::ProjectId;

/// The one that a server without authentication has from the beginning.
pub(super) const DEFAULT: &str = ProjectId::DEFAULT;

const PAGE: usize = 100;

#[derive(Debug, Deserialize)]
struct List {
    data: Vec<Project>,
}

#[derive(Debug, Deserialize)]
struct Project {
    id: String,
    title: String,
}

/// The id of a project that is named by its id or its title.
///
/// # Errors
/// There is none of that title, or more than one; or the server does not tell.
pub(super) async fn find(server: &Server, named: &str) -> Result<String, CommandError> {
    if let Ok(id) = named.parse::<ProjectId>() {
        return Ok(id.to_string());
    }
    let mut found = None;
    for page in 1_u64.. {
        let list: List = server
            .get(&format!("/api/projects?limit={PAGE}&page={page}"))
            .await?;
        let count = list.data.len();
        for project in list
            .data
            .into_iter()
            .filter(|project| project.title == named)
        {
            let id = project.id.parse::<ProjectId>();
            let id = id.map_err(|_| {
                CommandError::Failed("the server names a project in a way that is no id".into())
            })?;
            if found.replace(id.to_string()).is_some() {
                let why = format!(
                    "several projects are called `{}`: name its id",
                    clean(named)
                );
                return Err(CommandError::Usage(why));
            }
        }
        if count < PAGE {
            break;
        }
    }
    found.ok_or_else(|| {
        CommandError::Failed(format!(
            "there is no project `{}` that you can see",
            clean(named)
        ))
    })
}
