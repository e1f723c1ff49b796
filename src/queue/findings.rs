//! What was found in images, for other modules that do something with it: looked up within their
//! transactions.

use super::statement as sql;
use super::store::texts;
use crate::db::{DbError, Param, Tx};

/// Those of some images that have a result.
///
/// # Errors
/// The database's.
pub async fn with_result(tx: &mut Tx, images: &[String]) -> Result<Vec<String>, DbError> {
    texts(tx, &sql::SEGMENTED, images).await
}

/// What was found in an image: the JSON object that its worker has reported, checked.
///
/// # Errors
/// The database's.
pub async fn result(tx: &mut Tx, image: &str) -> Result<Option<String>, DbError> {
    let row = tx
        .fetch_optional(&sql::RESULT, &[Param::Text(image)])
        .await?;
    row.map(|row| Ok(row.text(4)?.to_owned())).transpose()
}
