//! Every parser of a header field's value that has no target of its own.

use http::header::{
    ACCEPT_ENCODING, CONTENT_TYPE, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
};
use http::{HeaderMap, HeaderValue};
use tidegate_protocol::field::checksum::{Algorithm, Checksum};
use tidegate_protocol::field::concat::{self, Concat, PARTS_MAX};
use tidegate_protocol::field::id::Id;
use tidegate_protocol::field::length::Length;
use tidegate_protocol::field::media::MediaType;
use tidegate_protocol::field::precondition::{Comparison, Validators, Verdict, evaluate, lists};
use tidegate_protocol::field::{
    coding, date, display, disposition, media, name, offset, structured,
};
use tidegate_protocol::problem::Problem;

/// Gives the input to all of them.
///
/// # Panics
///
/// When a promise is broken.
pub fn field(data: &[u8]) {
    count(data);
    checksum(data);
    id(data);
    concatenation(data);
    dates(data);
    preconditions(data);
    codings(data);
    media_types(data);
    shown(data);
    structured_fields(data);
    uploaded_name(data);
}

/// A header section with this value in a field, where it is a legal one.
fn section(field: HeaderName, value: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(value).ok()?;
    Some(HeaderMap::from_iter([(field, value)]))
}

fn count(value: &[u8]) {
    let parsed = offset::parse(value);
    if let Ok(count) = parsed {
        assert!(count <= offset::MAX);
        let zeros = value.iter().take_while(|digit| **digit == b'0').count();
        let written = if count == 0 {
            String::new()
        } else {
            count.to_string()
        };
        assert_eq!(&value[zeros..], written.as_bytes());
    }
    if let Some(headers) = section(HeaderName::from_static(name::UPLOAD_LENGTH), value) {
        let declared = Length::declared(&headers);
        let expected = parsed.map(|count| Some(Length::Known(count)));
        assert_eq!(declared.map_err(|error| error.fault), expected);
    }
    if let Some(headers) = section(HeaderName::from_static(name::UPLOAD_DEFER_LENGTH), value) {
        let declared = Length::declared(&headers);
        assert_eq!(declared.is_ok(), value == b"1");
    }
}

fn id(value: &[u8]) {
    if let Ok(id) = Id::parse(value) {
        assert_eq!(id.as_str().as_bytes(), value);
        let hyphens = value.iter().filter(|byte| **byte == b'-').count();
        assert_eq!((value.len(), hyphens), (36, 4));
    }
}

fn checksum(value: &[u8]) {
    let parsed = Checksum::parse(value);
    if let Some(headers) = section(HeaderName::from_static(name::UPLOAD_CHECKSUM), value) {
        let found = Checksum::from_headers(&headers);
        if let Err(error) = found {
            assert_eq!(Problem::from(error).status(), 400);
        }
        assert_eq!(found.map_err(|error| error.fault), parsed.map(Some));
    }
    let Ok(checksum) = parsed else { return };
    let (algorithm, digest) = (checksum.algorithm(), checksum.digest());
    assert_eq!(digest.len(), algorithm.digest_bytes());
    assert!(checksum.matches(digest) && !checksum.matches(&digest[1..]));
    assert_eq!(Checksum::new(algorithm, digest), Some(checksum));
    assert!(value.starts_with(algorithm.name().as_bytes()));
}

fn structured_fields(value: &[u8]) {
    if let Some(hex) = str::from_utf8(value).ok().and_then(structured::from_sha256) {
        assert_eq!(value.len(), 64);
        let field = HeaderName::from_static(name::REPR_DIGEST);
        let headers = HeaderMap::from_iter([(field, hex)]);
        assert!(structured::sha256(&headers, name::REPR_DIGEST).is_some());
    }
    let field = HeaderName::from_static(name::UPLOAD_OFFSET);
    let Some(mut headers) = section(field.clone(), value) else {
        return;
    };
    // One value has one type.
    let boolean = structured::boolean(&headers, field.as_str());
    let count = structured::count(&headers, field.as_str());
    let digest = structured::sha256(&headers, field.as_str());
    assert!(boolean.is_none() || count.is_none());
    assert!(digest.is_none_or(|digest| digest.algorithm() == Algorithm::Sha256));
    let told = [
        boolean.map(structured::from_boolean),
        count.map(|count| structured::from_count(count).expect("in bounds")),
    ];
    for told in told.into_iter().flatten() {
        let again = HeaderMap::from_iter([(field.clone(), told)]);
        assert_eq!(structured::boolean(&again, field.as_str()), boolean);
        assert_eq!(structured::count(&again, field.as_str()), count);
    }
    // Twice the same is a list, which no item is, and a dictionary of the same.
    let line = headers[&field].clone();
    headers.append(&field, line);
    if boolean.is_some() || count.is_some() {
        assert_eq!(structured::boolean(&headers, field.as_str()), None);
        assert_eq!(structured::count(&headers, field.as_str()), None);
    }
    if digest.is_some() {
        assert_eq!(structured::sha256(&headers, field.as_str()), digest);
    }
}

fn uploaded_name(value: &[u8]) {
    let Ok(text) = str::from_utf8(value) else {
        return;
    };
    if let Some(name) = disposition::file_name(text) {
        assert_eq!(display::file_name(&name).as_ref(), Some(&name));
        // A download is called the same.
        let told = disposition::content_disposition(Some(&name), None);
        let told = told.to_str().expect("visible ASCII");
        assert_eq!(disposition::file_name(told), Some(name));
    }
}

fn concatenation(value: &[u8]) {
    if let Ok(concat) = Concat::parse(value) {
        assert_eq!(concat.raw().as_bytes(), value);
        assert_eq!(Concat::parse(concat.raw().as_bytes()).as_ref(), Ok(&concat));
        if let Concat::Final(parts) = concat {
            assert!((1..=PARTS_MAX).contains(&parts.parts().count()));
            for part in parts.parts() {
                assert!(!part.is_empty() && !part.contains(' '));
                part_id(part);
            }
        }
    }
    part_id(&String::from_utf8_lossy(value));
}

fn part_id(url: &str) {
    let own = ["up.example", "up.example:7070"];
    if let Ok(id) = concat::part_id(url, "/files", &own) {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(!id.is_empty() && id.bytes().all(legal));
        // The same id, however it is written.
        let path = format!("/files/{id}");
        assert_eq!(concat::part_id(&path, "/files", &[]), Ok(id));
        let url = format!("http://up.example{path}");
        assert_eq!(concat::part_id(&url, "/files", &own), Ok(id));
    }
}

fn dates(value: &[u8]) {
    if let Some(seconds) = date::parse(value) {
        let written = date::value(seconds);
        let expected = seconds.min(date::MAX);
        assert_eq!(date::parse(written.as_bytes()), Some(expected));
    }
}

fn preconditions(value: &[u8]) {
    let validators = Validators {
        etag: "\"tag\"",
        modified: Some(784_111_777),
    };
    let strong = lists(value, validators.etag, Comparison::Strong);
    let weak = lists(value, validators.etag, Comparison::Weak);
    assert!(!strong || weak);
    assert!(!weak || value.contains(&b'*') || value.windows(5).any(|five| five == b"\"tag\""));
    let verdicts = [
        (IF_MATCH, Verdict::Failed),
        (IF_UNMODIFIED_SINCE, Verdict::Failed),
        (IF_NONE_MATCH, Verdict::NotModified),
        (IF_MODIFIED_SINCE, Verdict::NotModified),
    ];
    for (field, other) in verdicts {
        if let Some(headers) = section(field, value) {
            let verdict = evaluate(&headers, &validators);
            assert!(verdict == Verdict::Proceed || verdict == other);
        }
    }
}

fn codings(value: &[u8]) {
    if let Some(mut headers) = section(ACCEPT_ENCODING, value) {
        let names_one = value.contains(&b'*')
            || value
                .windows(4)
                .any(|four| four.eq_ignore_ascii_case(b"gzip"));
        assert!(names_one || !coding::prefers_gzip(&headers));
        // What is said first counts.
        let refusal = HeaderValue::from_static("gzip;q=0");
        if let Some(said) = headers.insert(ACCEPT_ENCODING, refusal) {
            headers.append(ACCEPT_ENCODING, said);
        }
        assert!(!coding::prefers_gzip(&headers));
    }
}

fn media_types(value: &[u8]) {
    let text = String::from_utf8_lossy(value);
    let told = media::content_type(Some(&text));
    let told = told.to_str().expect("visible ASCII");
    assert!(MediaType::parse(told).is_some());
    match MediaType::parse(&text) {
        Some(parsed) => {
            assert!(media::is_same(&text, parsed.essence()));
            let again = MediaType::parse(told).expect("it was told");
            assert_eq!(again.parameters(), parsed.parameters());
            assert_eq!(again.essence(), parsed.essence());
        }
        None => assert_eq!(told, media::OCTET_STREAM),
    }
    if let Some(headers) = section(CONTENT_TYPE, value) {
        // A header map takes what is not text, which is no media type.
        let same = str::from_utf8(value).is_ok_and(|text| media::is_same(text, "text/plain"));
        let legal = headers[CONTENT_TYPE].to_str().is_ok();
        assert_eq!(media::is(&headers, "text/plain"), same && legal);
    }
}

fn shown(value: &[u8]) {
    let text = String::from_utf8_lossy(value);
    if let Some(shown) = display::text(&text) {
        assert!(!shown.is_empty() && shown.chars().count() <= display::CHARS_MAX);
        assert!(!shown.contains(char::is_control));
        assert_eq!(display::text(&shown).as_ref(), Some(&shown));
    }
    if let Some(name) = display::file_name(&text) {
        assert!(!name.contains(['/', '\\']) && name != "." && name != "..");
        assert_eq!(display::file_name(&name).as_ref(), Some(&name));
    }
}
