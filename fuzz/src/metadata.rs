//! What a client says about its upload.

use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_protocol::field::metadata::Metadata;
use tidegate_protocol::field::{display, name};

const BYTES_MAX: usize = 256;

/// Takes the input as the value of `Upload-Metadata`.
///
/// # Panics
///
/// When a promise is broken.
pub fn metadata(data: &[u8]) {
    let parsed = Metadata::parse(data, BYTES_MAX);
    if let Ok(value) = HeaderValue::from_bytes(data) {
        let field = HeaderName::from_static(name::UPLOAD_METADATA);
        let headers = HeaderMap::from_iter([(field, value)]);
        let found = Metadata::from_headers(&headers, BYTES_MAX);
        assert_eq!(found.map_err(|error| error.fault), parsed);
    }
    let Ok(metadata) = parsed else { return };
    assert!(data.len() <= BYTES_MAX);
    assert_eq!(metadata.raw().as_bytes(), data);
    assert!(HeaderValue::from_bytes(data).is_ok());
    assert_eq!(Metadata::from_stored(metadata.raw().to_owned()), metadata);
    for (key, value) in metadata.pairs() {
        assert!(!key.is_empty() && !key.contains([' ', ',', '\t']));
        // Keys are there once.
        assert_eq!(metadata.value(key), Some(value));
    }
    if let Some(name) = metadata.filename() {
        assert!(!name.is_empty() && !name.contains(['/', '\\']));
        assert_eq!(display::file_name(&name), Some(name));
    }
    if let Some(media_type) = metadata.filetype() {
        assert_eq!(display::text(&media_type), Some(media_type));
    }
}
