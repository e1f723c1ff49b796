//! `Accept-Encoding` (RFC 9110, section 12.5.3).

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use super::{elements, trim};

/// Whether the sender would rather have content in gzip than as it is.
///
/// Without the field nobody would, nor with one that leaves gzip out. As it is it may always be sent:
/// that is better than 406 even for those who say that they do not want it.
#[must_use]
pub fn prefers_gzip(headers: &HeaderMap) -> bool {
    let [mut gzip, mut identity, mut others] = [None; 3];
    let lines = headers.get_all(ACCEPT_ENCODING).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    for (coding, weight) in lines.flat_map(elements).filter_map(weighted) {
        let is = |name: &str| coding.eq_ignore_ascii_case(name);
        let place = match coding {
            "*" => &mut others,
            _ if is("gzip") || is("x-gzip") => &mut gzip,
            _ if is("identity") => &mut identity,
            _ => continue,
        };
        place.get_or_insert(weight);
    }
    let gzip = gzip.or(others).unwrap_or(0);
    gzip > 0 && gzip >= identity.or(others).unwrap_or(0)
}

/// A coding and its weight in thousandths (RFC 9110, section 12.4.2).
fn weighted(element: &str) -> Option<(&str, u16)> {
    const FULL: u16 = 1000;
    let Some((coding, weight)) = element.split_once(';') else {
        return Some((element, FULL));
    };
    let value = trim(weight).strip_prefix(['q', 'Q'])?.strip_prefix('=')?;
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    let weight = match (whole, decimals) {
        ("0", decimals) => decimals,
        ("1", 0) => FULL,
        _ => return None,
    };
    Some((trim(coding), weight))
}
