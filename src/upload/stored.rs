//! The bytes of complete uploads, wherever they are.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::blob::{BlobError, BlobStore};
use crate::id::UploadId;

/// What a complete upload is made of: a final one of its parts, any other of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The blob, from its beginning.
    pub blob: UploadId,
    /// How many bytes of it.
    pub bytes: u64,
}

/// The bytes of a complete upload. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Stored {
    /// In order.
    blobs: Arc<[Placed]>,
    store: Arc<dyn BlobStore>,
}

/// A blob, and where it ends in the whole. It begins where the one before it ends.
#[derive(Clone, Copy, Debug)]
struct Placed {
    blob: UploadId,
    end: u64,
}

impl Stored {
    /// Those of `segments`, in this order.
    pub fn new(segments: impl IntoIterator<Item = Segment>, store: Arc<dyn BlobStore>) -> Self {
        let mut end = 0;
        let place = |Segment { blob, bytes }| {
            end += bytes;
            Placed { blob, end }
        };
        Self {
            blobs: segments.into_iter().map(place).collect(),
            store,
        }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.blobs.last().map_or(0, |last| last.end)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the beginning of `range`, as far as one blob has it: never nothing, unless nothing is
    /// asked for.
    ///
    /// # Errors
    /// They cannot be read, or there are none. The log says which blob it is.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, BlobError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let at = self.blobs.partition_point(|blob| blob.end <= range.start);
        let Some(&Placed { blob, end }) = self.blobs.get(at) else {
            return Err(BlobError::Short {
                promised: range.end,
                found: self.len(),
            });
        };
        let begin = at.checked_sub(1).map_or(0, |before| self.blobs[before].end);
        let part = range.start - begin..range.end.min(end) - begin;
        let read = self.store.read(blob, part).await;
        read.inspect_err(|error| {
            let told = error as &dyn std::error::Error;
            tracing::error!(upload = %blob, error = told, "reading content");
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Digests;
    use crate::blob::memory::MemoryStore;

    /// A final upload of these parts.
    async fn stored(parts: &[&'static str]) -> Stored {
        let store = MemoryStore::default();
        let mut segments = Vec::new();
        for part in parts {
            let blob = UploadId::random();
            let data = Bytes::from_static(part.as_bytes());
            let writer = store.writer(blob, 0);
            let appended = writer.append(0, data, Digests::none()).await;
            assert!(appended.error.is_none(), "{appended:?}");
            let bytes = appended.end;
            segments.push(Segment { blob, bytes });
        }
        Stored::new(segments, Arc::new(store))
    }

    async fn read(stored: &Stored, range: Range<u64>) -> String {
        let bytes = stored.read(range).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_read_ends_at_the_border_of_a_part() {
        let stored = stored(&["", "abc", "", "", "defg", ""]).await;
        assert_eq!((stored.len(), stored.is_empty()), (7, false));
        assert_eq!(read(&stored, 0..7).await, "abc");
        assert_eq!(read(&stored, 1..2).await, "b");
        assert_eq!(read(&stored, 2..4).await, "c");
        assert_eq!(read(&stored, 3..4).await, "d");
        assert_eq!(read(&stored, 4..7).await, "efg");
        assert_eq!(read(&stored, 7..7).await, "");
    }

    #[tokio::test]
    async fn every_range_is_there_piece_by_piece() {
        let whole = "abcdefghij";
        let stored = stored(&["ab", "", "c", "defg", "hij"]).await;
        for start in 0..=whole.len() {
            for end in start..=whole.len() {
                let mut all = String::new();
                while start + all.len() < end {
                    let more = read(&stored, (start + all.len()) as u64..end as u64).await;
                    assert!(!more.is_empty());
                    all.push_str(&more);
                }
                assert_eq!(all, whole[start..end]);
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_made_up_past_the_end() {
        let two = stored(&["ab", "c"]).await;
        assert_eq!(read(&two, 2..9).await, "c");
        let past = two.read(3..9).await;
        assert!(matches!(past, Err(BlobError::Short { found: 3, .. })));
        let none = stored(&[]).await;
        assert!(none.is_empty() && none.read(0..1).await.is_err());
        // A blob that has lost bytes.
        let blob = UploadId::random();
        let lost = Stored::new([Segment { blob, bytes: 1 }], two.store);
        assert!(lost.read(0..1).await.is_err());
    }
}
