//! Which store of bytes belongs to which database.
//!
//! Rows without their bytes would be taken for lost, and bytes without their rows for nobody's. So a
//! store has an id of its own, the database knows it, and nothing is done while the two disagree: the
//! wrong directory, a file system that is not mounted, a database of another server.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::identity;
use crate::blob::root::{Root, RootError};
use crate::db::{Db, DbError};
use crate::upload::store::{StoreError, UploadStore};

const KEY: &str = "store";

/// Why a database and a store do not go together.
#[derive(Debug, thiserror::Error)]
pub enum BindingError {
    /// The store that the database belongs to is somewhere else.
    #[error(
        "there is no store in `{}`, but the database belongs to one: is its file system mounted?",
        dir.display()
    )]
    Missing {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// They belong to others.
    #[error("the store in `{}` and the database do not belong together", dir.display())]
    Foreign {
        /// Where the store is.
        dir: PathBuf,
    },
    /// The store cannot be had.
    #[error("the store in `{}`: {source}", dir.display())]
    Root {
        /// Where it is.
        dir: PathBuf,
        /// Why.
        source: RootError,
    },
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The database failed.
    #[error(transparent)]
    Rows(#[from] StoreError),
}

/// Takes the store in `dir` for this process and checks that it is the one of the database. At the
/// first start the two are bound to each other.
///
/// # Errors
/// See [`BindingError`]; nothing has been made or changed, unless the operating system failed midway.
pub(super) async fn bind(
    db: &Db,
    uploads: &dyn UploadStore,
    dir: &Path,
) -> Result<Root, BindingError> {
    let of_root = |source: RootError| BindingError::Root {
        dir: dir.to_owned(),
        source,
    };
    let foreign = || BindingError::Foreign {
        dir: dir.to_owned(),
    };
    let known = identity::read(db, KEY).await?;
    let found = Root::find(dir).map_err(of_root)?;
    let id = found.as_ref().and_then(Root::id);
    match (known, id) {
        (Some(known), Some(id)) if known == id.to_string() => found.ok_or_else(foreign),
        (Some(_), Some(_)) => Err(foreign()),
        (Some(_), None) => Err(BindingError::Missing {
            dir: dir.to_owned(),
        }),
        // Whatever the rows are about, it is not here.
        (None, _) if !uploads.every(None, 1).await?.is_empty() => Err(foreign()),
        // The first start, or one that was cut short between the store and the database.
        (None, _) => {
            let mut root = match found {
                Some(root) => root,
                None => Root::make(dir).map_err(of_root)?,
            };
            let id = id.unwrap_or_else(Uuid::new_v4);
            if root.id().is_none() {
                root.give_id(id)
                    .map_err(|source| of_root(RootError::Io(source)))?;
            }
            identity::write(db, KEY, id.to_string()).await?;
            Ok(root)
        }
    }
}
