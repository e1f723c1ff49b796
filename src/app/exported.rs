//! What is exported: uploads, and what the queue's workers have found in them.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::blob::{BlobError, BlobStore};
use crate::db::{DbError, Tx};
use crate::export::{Content, Image, Source};
use crate::upload::{Stored, catalog};
use crate::{project, queue};

pub(super) struct Exported {
    /// Those of the uploads.
    pub(super) blobs: Arc<dyn BlobStore>,
}

impl Source for Exported {
    fn title<'t>(
        &'t self,
        tx: &'t mut Tx,
        project: &'t str,
    ) -> BoxFuture<'t, Result<Option<String>, DbError>> {
        project::title(tx, project).boxed()
    }

    fn count<'t>(
        &'t self,
        tx: &'t mut Tx,
        project: &'t str,
        limit: u64,
    ) -> BoxFuture<'t, Result<u64, DbError>> {
        catalog::count_up_to(tx, project, limit).boxed()
    }

    fn page<'t>(
        &'t self,
        tx: &'t mut Tx,
        project: &'t str,
        after: Option<(i64, &'t str)>,
        limit: i64,
    ) -> BoxFuture<'t, Result<Vec<Image>, DbError>> {
        async move {
            let page = catalog::page(tx, project, after, limit).await?;
            Ok(page.into_iter().map(image).collect())
        }
        .boxed()
    }

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

    fn open<'t>(
        &'t self,
        tx: &'t mut Tx,
        id: &'t str,
    ) -> BoxFuture<'t, Result<Option<Box<dyn Content>>, DbError>> {
        async move {
            let segments = catalog::segments(tx, id).await?;
            let stored = segments.map(|segments| Stored::new(segments, self.blobs.clone()));
            Ok(stored.map(|stored| Box::new(Opened(stored)) as Box<dyn Content>))
        }
        .boxed()
    }

    fn with_result<'t>(
        &'t self,
        tx: &'t mut Tx,
        ids: &'t [String],
    ) -> BoxFuture<'t, Result<Vec<String>, DbError>> {
        queue::findings::with_result(tx, ids).boxed()
    }

    fn result<'t>(
        &'t self,
        tx: &'t mut Tx,
        id: &'t str,
    ) -> BoxFuture<'t, Result<Option<String>, DbError>> {
        queue::findings::result(tx, id).boxed()
    }
}

struct Opened(Stored);

impl Content for Opened {
    fn read(&self, at: u64, bytes_max: u64) -> BoxFuture<'_, Result<Bytes, BlobError>> {
        let end = at.saturating_add(bytes_max).min(self.0.len());
        self.0.read(at.min(end)..end).boxed()
    }
}

fn image(content: catalog::Content) -> Image {
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
