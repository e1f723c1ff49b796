//! Rows H2, H3 and T30 to T33.

use super::headers;
use crate::field::Fault;
use crate::field::length::Length;
use crate::field::name::{UPLOAD_DEFER_LENGTH, UPLOAD_LENGTH};

#[test]
fn t30_a_length_is_declared() {
    let declared = Length::declared(&headers(&[(UPLOAD_LENGTH, "0")]));
    assert_eq!(declared, Ok(Some(Length::Known(0))));
}

#[test]
fn t31_nothing_is_declared() {
    assert_eq!(Length::declared(&headers(&[])), Ok(None));
}

#[test]
fn t32_both_fields_exclude_each_other() {
    let both = headers(&[(UPLOAD_LENGTH, "5"), (UPLOAD_DEFER_LENGTH, "1")]);
    assert_eq!(
        Length::declared(&both),
        Err(Fault::BesideLength.of(UPLOAD_DEFER_LENGTH))
    );
}

#[test]
fn t33_deferred_means_one() {
    let declared = Length::declared(&headers(&[(UPLOAD_DEFER_LENGTH, "1")]));
    assert_eq!(declared, Ok(Some(Length::Deferred)));
    for value in ["", "0", "2", "01", "+1", "true", "1, 1"] {
        let declared = Length::declared(&headers(&[(UPLOAD_DEFER_LENGTH, value)]));
        assert_eq!(
            declared,
            Err(Fault::NotOne.of(UPLOAD_DEFER_LENGTH)),
            "{value:?}"
        );
    }
    let twice = headers(&[(UPLOAD_DEFER_LENGTH, "1"), (UPLOAD_DEFER_LENGTH, "1")]);
    assert_eq!(
        Length::declared(&twice),
        Err(Fault::Repeated.of(UPLOAD_DEFER_LENGTH))
    );
}

#[test]
fn a_malformed_length_is_refused_before_all() {
    let both = headers(&[(UPLOAD_LENGTH, "-5"), (UPLOAD_DEFER_LENGTH, "0")]);
    assert_eq!(
        Length::declared(&both),
        Err(Fault::NotCount.of(UPLOAD_LENGTH))
    );
}

#[test]
fn the_stored_form_goes_both_ways() {
    for known in [None, Some(0), Some(9)] {
        assert_eq!(Length::from(known).known(), known);
    }
}
