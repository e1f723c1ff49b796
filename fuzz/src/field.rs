//! Every parser of a header field's value.

use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue};
use tidegate_protocol::field::checksum::Checksum;
use tidegate_protocol::field::concat::{self, Concat};
use tidegate_protocol::field::metadata::Metadata;
use tidegate_protocol::field::precondition::{Comparison, Validators, lists};
use tidegate_protocol::field::range::{self, RANGES_MAX, Selection};
use tidegate_protocol::field::{date, display, disposition, media, offset};

/// Runs one parser, chosen by the first byte, over the rest.
///
/// # Panics
///
/// When a promise of a parser is broken.
pub fn field(data: &[u8]) {
    let Some((parser, value)) = data.split_first() else {
        return;
    };
    match parser.wrapping_sub(b'a') % 10 {
        0 => count(value),
        1 => metadata(value),
        2 => checksum(value),
        3 => concatenation(value),
        4 => dates(value),
        5 => ranges(value),
        6 => preconditions(value),
        7 => media_types(value),
        8 => dispositions(value),
        _ => shown(value),
    }
}

fn count(value: &[u8]) {
    if let Ok(count) = offset::parse(value) {
        assert!(count <= offset::MAX);
        let digits = str::from_utf8(value).unwrap().trim_start_matches('0');
        assert_eq!(
            digits,
            if count == 0 {
                String::new()
            } else {
                count.to_string()
            }
        );
    }
}

fn metadata(value: &[u8]) {
    let Ok(metadata) = Metadata::parse(value, 256) else {
        return;
    };
    assert_eq!(metadata.raw().as_bytes(), value);
    assert!(HeaderValue::from_bytes(metadata.raw().as_bytes()).is_ok());
    for (key, decoded) in metadata.pairs() {
        assert!(!key.is_empty());
        assert_eq!(metadata.value(key), Some(decoded));
    }
    assert!(
        !metadata
            .filename()
            .is_some_and(|name| name.contains(['/', '\\', '\0']))
    );
    assert_eq!(Metadata::from_stored(metadata.raw().to_owned()), metadata);
}

fn checksum(value: &[u8]) {
    let Ok(checksum) = Checksum::parse(value) else {
        return;
    };
    assert_eq!(checksum.digest().len(), checksum.algorithm().digest_bytes());
    assert!(checksum.matches(checksum.digest()));
    assert_eq!(
        Checksum::new(checksum.algorithm(), checksum.digest()),
        Some(checksum)
    );
}

fn concatenation(value: &[u8]) {
    if let Ok(Concat::Final(parts)) = Concat::parse(value) {
        assert!(parts.parts().count() > 0);
        assert_eq!(parts.raw().as_bytes(), value);
        for part in parts.parts() {
            part_id(part);
        }
    }
    part_id(&String::from_utf8_lossy(value));
}

fn part_id(url: &str) {
    if let Ok(id) = concat::part_id(url, "/files", &["up.example", "up.example:7070"]) {
        assert!(!id.is_empty() && url.contains(id));
        assert!(
            id.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
    }
}

fn dates(value: &[u8]) {
    if let Some(seconds) = date::parse(value) {
        let written = date::value(seconds);
        assert_eq!(
            date::parse(written.as_bytes()),
            Some(seconds.min(date::MAX))
        );
    }
}

fn ranges(value: &[u8]) {
    let Some((length, value)) = value.split_first() else {
        return;
    };
    let length = u64::from(*length);
    let Selection::Parts(parts) = range::select(value, length) else {
        return;
    };
    assert!((1..=RANGES_MAX).contains(&parts.len()));
    for (index, part) in parts.iter().enumerate() {
        assert!(part.start < part.end && part.end <= length);
        let apart = |other: &std::ops::Range<u64>| other.end < part.start || part.end < other.start;
        assert!(parts[..index].iter().all(apart), "{parts:?}");
        assert!(range::satisfied(part, length).to_str().is_ok());
    }
    // The same value in a header section means the same.
    if let Ok(value) = HeaderValue::from_bytes(value) {
        let headers = HeaderMap::from_iter([(RANGE, value)]);
        let validators = Validators {
            etag: "\"tag\"",
            modified: 0,
        };
        assert_eq!(
            range::requested(&headers, &validators, length),
            Selection::Parts(parts)
        );
    }
}

fn preconditions(value: &[u8]) {
    let strong = lists(value, "\"tag\"", Comparison::Strong);
    assert!(!strong || lists(value, "\"tag\"", Comparison::Weak));
    assert!(!strong || value.contains(&b'*') || value.windows(5).any(|five| five == b"\"tag\""));
}

fn media_types(value: &[u8]) {
    let text = String::from_utf8_lossy(value);
    let answered = media::content_type(Some(&text));
    assert!(media::MediaType::parse(answered.to_str().unwrap()).is_some());
    if let Some(parsed) = media::MediaType::parse(&text) {
        assert!(media::is_same(&text, parsed.essence()));
        assert!(HeaderValue::from_str(parsed.essence()).is_ok());
    }
    if let Ok(value) = HeaderValue::from_bytes(value) {
        let same = value
            .to_str()
            .is_ok_and(|text| media::is_same(text, "text/plain"));
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, value)]);
        assert_eq!(media::is(&headers, "text/plain"), same);
    }
}

fn dispositions(value: &[u8]) {
    let text = String::from_utf8_lossy(value);
    let (name, media_type) = text.split_once('\n').unwrap_or((&text, "image/png"));
    let value = disposition::content_disposition(Some(name), Some(media_type));
    let value = value.to_str().expect("a disposition is visible ASCII");
    let kind = value.split(';').next().unwrap();
    assert!(
        ["inline", "attachment"].contains(&kind),
        "{CONTENT_DISPOSITION}: {value}"
    );
    assert_eq!(kind == "inline", disposition::may_inline(media_type));
    assert!(!value.contains('/'), "{value}");
}

fn shown(value: &[u8]) {
    let text = String::from_utf8_lossy(value);
    if let Some(shown) = display::text(&text) {
        assert!(!shown.is_empty() && shown.chars().count() <= display::CHARS_MAX);
        assert!(!shown.contains(char::is_control));
        assert_eq!(display::text(&shown).as_ref(), Some(&shown));
    }
    if let Some(name) = display::file_name(&text) {
        assert!(!name.contains(['/', '\\', '\0']) && name != "." && name != "..");
    }
}
