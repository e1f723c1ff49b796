//! Which store of bytes belongs to which database.
//!
//! Rows without their bytes would be taken for lost, and bytes without their rows for nobody's. So a
//! store has an id of its own, the database knows it, and nothing is done while the two disagree: the
//! wrong directory, a file system that is not mounted, a database of another server.
//!
//! The id goes to the store first, durably, and then to the database. A crash between the two leaves
//! an id that no database knows in a store without blobs, which a database without uploads may take.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::place::{self, Access};
use super::{AppError, identity};
use crate::blob::root::{Root, RootError, has_blobs, is_there};
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
    /// They have not met yet, which is for a server to change.
    #[error(
        "the database knows no store: if the one in `{}` is its own, run `tidegate migrate` first",
        dir.display()
    )]
    Unbound {
        /// Where the store is.
        dir: PathBuf,
    },
    /// The database is none of ours.
    #[error("the database has no tables of this program")]
    Unprepared(#[source] DbError),
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

/// What a look at a database and a store has shown.
pub(super) enum Binding {
    /// They belong together.
    Bound(Root),
    /// The database knows no store.
    Unbound(Option<Root>),
}

impl Binding {
    /// Takes the store in `dir` for this process, if there is one, and checks that it is the one
    /// that the database knows.
    ///
    /// # Errors
    /// See [`BindingError`]; nothing has been made or changed.
    pub(super) async fn look(db: &Db, dir: &Path, access: Access) -> Result<Self, BindingError> {
        let known = match (identity::read(db, KEY).await, access) {
            (Err(error @ DbError::Driver(_)), Access::Find) => {
                return Err(BindingError::Unprepared(error));
            }
            (known, _) => known?,
        };
        let found = Root::find(dir).map_err(|source| of_root(dir, source))?;
        let dir = dir.to_owned();
        match (known, found) {
            (None, _) if access == Access::Find => Err(BindingError::Unbound { dir }),
            (None, found) => Ok(Self::Unbound(found)),
            (Some(known), Some(root)) => match root.id() {
                Some(id) if known == id.to_string() => Ok(Self::Bound(root)),
                Some(_) => Err(BindingError::Foreign { dir }),
                None => Err(BindingError::Missing { dir }),
            },
            (Some(_), None) => Err(BindingError::Missing { dir }),
        }
    }

    /// The store, which is made and bound to the database if neither has met another.
    pub(super) async fn settle(
        self,
        db: &Db,
        uploads: &dyn UploadStore,
        dir: &Path,
    ) -> Result<Root, AppError> {
        let found = match self {
            Self::Bound(root) => return Ok(root),
            Self::Unbound(found) => found,
        };
        let unusable = |source| place::unusable(dir, source);
        let is_named = found.as_ref().and_then(Root::id).is_some();
        // From before there were ids, rows and blobs may both be there.
        let fits = match uploads
            .every(None, 1)
            .await
            .map_err(BindingError::from)?
            .is_empty()
        {
            true => !has_blobs(dir).map_err(unusable)?,
            false => !is_named && is_there(dir),
        };
        if !fits {
            let dir = dir.to_owned();
            return Err(BindingError::Foreign { dir }.into());
        }
        let mut root = match found {
            Some(root) => root,
            None => {
                place::make(dir)?;
                Root::make(dir).map_err(|source| of_root(dir, source))?
            }
        };
        let id = match root.id() {
            Some(id) => id,
            None => {
                let id = Uuid::new_v4();
                root.give_id(id).map_err(unusable)?;
                id
            }
        };
        identity::write(db, KEY, id.to_string()).await?;
        Ok(root)
    }
}

fn of_root(dir: &Path, source: RootError) -> BindingError {
    BindingError::Root {
        dir: dir.to_owned(),
        source,
    }
}
