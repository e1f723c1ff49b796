//! What the queue processes: uploads.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::db::{DbError, Tx};
use crate::queue::{Image, Images};
use crate::upload::catalog::{self, Content};

pub(super) struct Uploaded;

impl Images for Uploaded {
    fn find<'t>(
        &'t self,
        tx: &'t mut Tx,
        ids: &'t [String],
    ) -> BoxFuture<'t, Result<Vec<Image>, DbError>> {
        async move {
            let found = catalog::find(tx, ids).await?;
            Ok(found.into_iter().map(image).collect())
        }
        .boxed()
    }

    fn list<'t>(
        &'t self,
        tx: &'t mut Tx,
        project: &'t str,
        bounds: [i64; 2],
    ) -> BoxFuture<'t, Result<(Vec<Image>, u64), DbError>> {
        async move {
            let (found, total) = catalog::list(tx, project, bounds).await?;
            Ok((found.into_iter().map(image).collect(), total))
        }
        .boxed()
    }
}

fn image(content: Content) -> Image {
    Image {
        id: content.id,
        project: content.project,
        is_complete: content.is_complete,
        filename: content.filename,
        content_type: content.content_type,
        bytes: content.bytes,
        sha256: content.sha256,
        created_at: content.created_at,
    }
}
