//! Structured fields (RFC 9651): what the fields of the IETF draft are made of.
//!
//! One that does not parse, or is of another type than its field has, is absent: the draft has no
//! other word for a malformed field. Parameters are ignored.

use http::{HeaderMap, HeaderValue};
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

use super::byte_of;
use super::checksum::{Algorithm, Checksum};

/// The largest Integer (RFC 9651, section 3.3.1).
pub const INTEGER_MAX: u64 = 999_999_999_999_999;

/// The key of SHA-256 in a dictionary of digests (RFC 9530, section 7.2).
const SHA_256: &str = "sha-256";

/// The Boolean in the field `name`.
#[must_use]
pub fn boolean(headers: &HeaderMap, name: &str) -> Option<bool> {
    item(headers, name)?.as_boolean()
}

/// The Integer in the field `name`, if it is not negative.
#[must_use]
pub fn count(headers: &HeaderMap, name: &str) -> Option<u64> {
    let integer = item(headers, name)?.as_integer()?;
    u64::try_from(i64::from(integer)).ok()
}

/// The SHA-256 in a dictionary of digests (`Content-Digest`, `Repr-Digest`; RFC 9530). Other
/// algorithms are not known here, and a digest of another length is none.
#[must_use]
pub fn sha256(headers: &HeaderMap, name: &str) -> Option<Checksum> {
    let lines = joined(headers, name)?;
    let dictionary = Parser::new(&lines).parse::<Dictionary>().ok()?;
    let ListEntry::Item(item) = dictionary.get(SHA_256)? else {
        return None;
    };
    let digest = item.bare_item.as_byte_sequence()?;
    Checksum::new(Algorithm::Sha256, digest)
}

/// A Boolean as a field value.
#[must_use]
pub fn from_boolean(value: bool) -> HeaderValue {
    HeaderValue::from_static(if value { "?1" } else { "?0" })
}

/// A count as a field value; `None` if it is larger than an Integer can be.
#[must_use]
pub fn from_count(count: u64) -> Option<HeaderValue> {
    (count <= INTEGER_MAX).then(|| HeaderValue::from(count))
}

/// A SHA-256 in hexadecimal as a dictionary of digests; `None` if it is not one.
#[must_use]
pub fn from_sha256(hex: &str) -> Option<HeaderValue> {
    use base64::Engine as _;
    let bytes = hex.as_bytes().chunks(2).map(|pair| match *pair {
        [high, low] => byte_of(high, low),
        _ => None,
    });
    let digest = bytes.collect::<Option<Vec<u8>>>()?;
    let digest = Checksum::new(Algorithm::Sha256, &digest)?;
    let digest = base64::engine::general_purpose::STANDARD.encode(digest.digest());
    HeaderValue::try_from(format!("{SHA_256}=:{digest}:")).ok()
}

fn item(headers: &HeaderMap, name: &str) -> Option<BareItem> {
    let lines = joined(headers, name)?;
    let item = Parser::new(&lines).parse::<Item>().ok()?;
    Some(item.bare_item)
}

/// All lines of a field as one value (RFC 9651, section 4.2).
fn joined(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    (!lines.is_empty()).then(|| lines.join(&b", "[..]))
}
