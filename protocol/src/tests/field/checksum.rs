//! Rows H9, H10, T70, T72, T77 and T80.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::headers;
use crate::field::Fault;
use crate::field::checksum::{Algorithm, Checksum, OFFERED, is_announced};
use crate::field::name::UPLOAD_CHECKSUM;

#[test]
fn t70_offered_names_are_lower_case_and_include_sha1() {
    let names: Vec<_> = Algorithm::ALL.into_iter().map(Algorithm::name).collect();
    assert_eq!(OFFERED, names.join(","));
    assert_eq!(OFFERED, OFFERED.to_ascii_lowercase());
    assert!(names.contains(&"sha1"));
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
    }
}

#[test]
fn h10_the_example_of_the_specification_parses() {
    let parsed = Checksum::parse(b"sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=").expect("valid");
    assert_eq!(parsed.algorithm(), Algorithm::Sha1);
    let digest =
        b"\x2a\xae\x6c\x35\xc9\x4f\xcf\xb4\x15\xdb\xe9\x5f\x40\x8b\x9c\xe9\x1e\xe8\x46\xed";
    assert!(parsed.matches(digest));
    assert!(!parsed.matches(&digest[..19]));
    assert!(!parsed.matches(&[0; 20]));
}

#[test]
fn h10_crc32c_is_four_bytes_in_network_order() {
    let parsed = Checksum::parse(b"crc32c 4waSgw==").expect("valid");
    // The check value of CRC-32C, over "123456789".
    assert!(parsed.matches(&0xe306_9283_u32.to_be_bytes()));
}

#[test]
fn t72_and_h10_what_is_refused() {
    let refused: [(&str, Fault); 14] = [
        ("", Fault::NotChecksum),
        ("sha1", Fault::NotChecksum),
        ("sha1,Kq5sNclPz7QV2+lfQIuc6R7oRu0=", Fault::NotChecksum),
        ("crc32 AAAAAA==", Fault::UnknownAlgorithm),
        ("SHA1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", Fault::UnknownAlgorithm),
        (" Kq5sNclPz7QV2+lfQIuc6R7oRu0=", Fault::UnknownAlgorithm),
        ("sha1 ", Fault::WrongDigestLength),
        ("sha1 AAAA", Fault::WrongDigestLength),
        ("md5 Kq5sNclPz7QV2+lfQIuc6R7oRu0=", Fault::WrongDigestLength),
        ("sha1  Kq5sNclPz7QV2+lfQIuc6R7oRu0=", Fault::NotBase64),
        ("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0", Fault::NotBase64),
        ("sha1 Kq5sNclPz7QV2-lfQIuc6R7oRu0=", Fault::NotBase64),
        ("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0= ", Fault::NotBase64),
        // Bits past the last byte are set.
        ("crc32c 4waSgx==", Fault::NotBase64),
    ];
    for (value, fault) in refused {
        assert_eq!(Checksum::parse(value.as_bytes()), Err(fault), "{value:?}");
    }
}

#[test]
fn t80_base64_of_hexadecimal_is_refused() {
    let value = format!(
        "sha1 {}",
        STANDARD.encode("2aae6c35c94fcfb415dbe95f408b9ce91ee846ed")
    );
    assert_eq!(
        Checksum::parse(value.as_bytes()),
        Err(Fault::WrongDigestLength)
    );
}

#[test]
fn h10_one_field_line_only() {
    let value = "crc32c 4waSgw==";
    assert_eq!(Checksum::from_headers(&headers(&[])), Ok(None));
    let once = headers(&[(UPLOAD_CHECKSUM, value)]);
    assert_eq!(
        Checksum::from_headers(&once),
        Ok(Checksum::parse(value.as_bytes()).ok())
    );
    let twice = headers(&[(UPLOAD_CHECKSUM, value), (UPLOAD_CHECKSUM, value)]);
    assert_eq!(
        Checksum::from_headers(&twice),
        Err(Fault::Repeated.of(UPLOAD_CHECKSUM))
    );
}

#[test]
fn t77_a_trailer_is_announced_in_a_list() {
    assert!(is_announced(&headers(&[("trailer", "Upload-Checksum")])));
    assert!(is_announced(&headers(&[(
        "trailer",
        "x-a ,\tUPLOAD-CHECKSUM"
    )])));
    assert!(is_announced(&headers(&[
        ("trailer", "x-a"),
        ("trailer", "upload-checksum")
    ])));
    assert!(!is_announced(&headers(&[])));
    assert!(!is_announced(&headers(&[(
        "trailer",
        "x-upload-checksum, upload-checksum-2"
    )])));
    assert!(!is_announced(&headers(&[("te", "upload-checksum")])));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        algorithm in prop::sample::select(&Algorithm::ALL[..]),
        bytes: [u8; 32],
    ) {
        let digest = &bytes[..algorithm.digest_bytes()];
        let value = format!("{} {}", algorithm.name(), STANDARD.encode(digest));
        let parsed = Checksum::parse(value.as_bytes());
        prop_assert_eq!(parsed, Ok(Checksum::new(algorithm, digest).expect("the right length")));
        prop_assert!(parsed.is_ok_and(|checksum| checksum.matches(digest)));
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, tail in "(sha1|md5|crc32c|sha256) [A-Za-z0-9+/=]{0,70}") {
        let _ = Checksum::parse(&bytes);
        let _ = Checksum::parse(tail.as_bytes());
    }
}
