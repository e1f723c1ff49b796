//! How a browser takes a download.

use tidegate_protocol::field::{disposition, media};

use crate::split_line;

/// Takes the first line as the file's name, and the rest as its media type.
///
/// # Panics
///
/// When a promise is broken.
pub fn disposition(data: &[u8]) {
    let (name, media_type) = split_line(data);
    let name = String::from_utf8_lossy(name);
    let media_type = String::from_utf8_lossy(media_type);
    for media_type in [Some(&*media_type), None] {
        for name in [Some(&*name), None] {
            check(name, media_type);
        }
    }
}

fn check(name: Option<&str>, media_type: Option<&str>) {
    let value = disposition::content_disposition(name, media_type);
    let value = value.to_str().expect("visible ASCII");
    let mut parts = value.split("; ");
    let kind = parts.next();
    let inline = media_type.is_some_and(disposition::may_inline);
    assert_eq!(kind, Some(if inline { "inline" } else { "attachment" }));
    if inline {
        check_harmless(media_type.unwrap_or_default());
    }
    let Some(plain) = value.split_once("; filename=\"") else {
        assert_eq!(parts.next(), None);
        return;
    };
    let (plain, full) = plain
        .1
        .split_once("\"; filename*=UTF-8''")
        .expect("both forms");
    assert!(
        !plain.is_empty() && !plain.contains(['"', '\\', '%', '/']),
        "{value}"
    );
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~%".contains(&byte);
    assert!(!full.is_empty() && full.bytes().all(legal), "{value}");
}

/// What is shown has a type that runs no script, and is answered under that type.
fn check_harmless(media_type: &str) {
    let told = media::content_type(Some(media_type));
    let told = told.to_str().expect("visible ASCII").to_ascii_lowercase();
    let kind = told.split('/').next().unwrap_or_default();
    assert!(
        ["application", "audio", "image", "text", "video"].contains(&kind),
        "{told}"
    );
    for dangerous in ["html", "svg", "xml", "pdf", "script", "css"] {
        let essence = told.split(';').next().unwrap_or_default();
        assert!(!essence.contains(dangerous), "{told}");
    }
}
