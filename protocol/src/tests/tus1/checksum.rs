//! Rows T70 to T80: checksum and checksum-trailer.

use super::{
    LENGTH_5, OFFSET_5, answer, append, assert_invalid, created, patch, post_with, refusal,
    resource, value,
};
use crate::field::checksum::{Algorithm, Checksum};
use crate::problem::Problem;
use crate::request::{Append, Expected, Request};
use crate::response::Response;

/// SHA-1 of "hello".
const SHA1: &str = "sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00=";
const TRAILER: (&str, &str) = ("trailer", "Upload-Checksum");

fn expected(checksum: Option<Expected>) -> Request {
    Request::Append(Append {
        checksum,
        ..append()
    })
}

#[test]
fn t70_the_algorithms_are_told_in_lower_case() {
    let (_, fields) = answer(&Response::Discovered);
    let algorithms = value(&fields, "tus-checksum-algorithm").unwrap();
    let algorithms: Vec<_> = algorithms.split(',').collect();
    assert_eq!(algorithms, ["sha1", "sha256", "md5", "crc32c"], "row H9");
}

#[test]
fn t71_a_digest_in_the_header_section_is_expected() {
    let decoded = patch(&[OFFSET_5, ("upload-checksum", SHA1)]);
    let Ok(Request::Append(append)) = decoded else {
        panic!("not an append: {decoded:?}");
    };
    let Some(Expected::Header(checksum)) = append.checksum else {
        panic!("no digest: {append:?}");
    };
    assert_eq!(checksum.algorithm(), Algorithm::Sha1);
    assert_eq!(checksum.digest().len(), 20);
    let table = [
        ("md5 XUFAKrxLKna5cZ2REBfFkg==", Algorithm::Md5, 16),
        ("crc32c mnG7TA==", Algorithm::Crc32c, 4),
        (
            "sha256 LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",
            Algorithm::Sha256,
            32,
        ),
    ];
    for (value, algorithm, bytes) in table {
        let checksum = Checksum::parse(value.as_bytes()).unwrap();
        assert_eq!(checksum.digest().len(), bytes);
        assert_eq!(checksum.algorithm(), algorithm);
        let decoded = patch(&[OFFSET_5, ("upload-checksum", value)]);
        assert_eq!(decoded, Ok(expected(Some(Expected::Header(checksum)))));
    }
}

#[test]
fn t72_an_algorithm_that_is_not_offered_is_refused_before_the_bytes() {
    for value in [
        "sha512 AAAA",
        "SHA1 qvTGHdzF6KLavt4PO0gs2a6pQ00=",
        "crc32 AAAAAA==",
    ] {
        let decoded = patch(&[OFFSET_5, ("upload-checksum", value)]);
        assert_eq!(decoded, Err(Problem::UnknownChecksumAlgorithm), "{value}");
        let decoded = post_with(&[LENGTH_5, ("upload-checksum", value)], Some(5));
        assert_eq!(decoded, Err(Problem::UnknownChecksumAlgorithm), "{value}");
    }
    assert_eq!(Problem::UnknownChecksumAlgorithm.status(), 400);
}

#[test]
fn t73_a_mismatch_is_460_with_the_offset_as_before() {
    let (status, fields) = answer(&refusal(Problem::ChecksumMismatch, Some(resource())));
    assert_eq!(status, 460);
    assert_eq!(value(&fields, "upload-offset"), Some("5"));
    assert_eq!(
        Problem::ChecksumMismatch.reason_phrase(),
        Some("Checksum Mismatch")
    );
}

#[test]
fn t75_a_digest_and_a_length_may_come_together() {
    let decoded = patch(&[OFFSET_5, ("upload-length", "10"), TRAILER]);
    let Ok(Request::Append(append)) = decoded else {
        panic!("not an append: {decoded:?}");
    };
    assert_eq!(append.length, Some(10));
    assert_eq!(append.checksum, Some(Expected::Trailer));
}

#[test]
fn t76_a_creation_with_content_may_have_a_digest() {
    let create = created(post_with(&[LENGTH_5, ("upload-checksum", SHA1)], Some(5)));
    let checksum = create.append.and_then(|append| append.checksum);
    assert!(matches!(checksum, Some(Expected::Header(_))));
    let create = created(post_with(&[LENGTH_5, TRAILER], None));
    let checksum = create.append.and_then(|append| append.checksum);
    assert_eq!(checksum, Some(Expected::Trailer));
    // Nobody is told an address for what is removed again.
    let (_, fields) = answer(&refusal(Problem::ChecksumMismatch, None));
    assert_eq!(value(&fields, "location"), None);
    assert_eq!(value(&fields, "upload-offset"), None);
}

#[test]
fn t77_a_digest_may_be_announced_for_the_trailer_section() {
    for announced in [
        "Upload-Checksum",
        "upload-checksum",
        "X-Other, Upload-Checksum ,",
    ] {
        let decoded = patch(&[OFFSET_5, ("trailer", announced)]);
        assert_eq!(
            decoded,
            Ok(expected(Some(Expected::Trailer))),
            "{announced}"
        );
    }
    let decoded = patch(&[OFFSET_5, ("trailer", "X-Other"), TRAILER]);
    assert_eq!(decoded, Ok(expected(Some(Expected::Trailer))));
}

#[test]
fn t79_a_trailer_that_is_not_announced_is_not_expected() {
    for announced in ["X-Other", "", "Upload-Checksums", "Upload Checksum"] {
        let decoded = patch(&[OFFSET_5, ("trailer", announced)]);
        assert_eq!(decoded, Ok(expected(None)), "{announced}");
    }
}

#[test]
fn t80_digests_are_not_guessed() {
    let table = [
        "sha1",
        "sha1 ",
        "sha1 !",
        "sha1  qvTGHdzF6KLavt4PO0gs2a6pQ00=",
        // The base64 of the digest in hexadecimal, and the latter itself.
        "sha1 YWFmNGM2MWRkY2M1ZThhMmRhYmVkZTBmM2I0ODJjZDlhZWE5NDM0ZA==",
        "sha1 aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d",
        "sha1 qvTGHdzF6KLavt4PO0gs2a6pQ00",
        "sha1 qvTGHdzF6KLavt4PO0gs2a6pQ0==",
        "md5 qvTGHdzF6KLavt4PO0gs2a6pQ00=",
    ];
    for value in table {
        let decoded = patch(&[OFFSET_5, ("upload-checksum", value)]);
        assert_invalid(decoded, "upload-checksum");
    }
}

#[test]
fn h10_a_digest_comes_in_one_place_once() {
    let header = ("upload-checksum", SHA1);
    assert_invalid(patch(&[OFFSET_5, header, TRAILER]), "upload-checksum");
    assert_invalid(patch(&[OFFSET_5, header, header]), "upload-checksum");
    let create = post_with(&[LENGTH_5, header, TRAILER], None);
    assert_invalid(create, "upload-checksum");
}
