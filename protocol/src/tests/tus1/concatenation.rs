//! Rows T100 to T117: concatenation and concatenation-unfinished, as far as one request shows them.

use http::Method;

use super::{
    LENGTH_5, VERSION, answer, assert_invalid, created, decode_at, location, post, post_with,
    refusal, resource, value,
};
use crate::dialect::Target;
use crate::field::concat::PARTS_MAX;
use crate::field::length::Length;
use crate::problem::Problem;
use crate::request::{NewContent, Request};
use crate::response::{Resource, Response};

const PARTIAL: (&str, &str) = ("upload-concat", "partial");
const FINAL: (&str, &str) = ("upload-concat", "final;/files/a https://up.example/files/b");

fn parts(request: Result<Request, Problem>) -> Vec<String> {
    match created(request).content {
        NewContent::Concatenated(list) => list.parts().map(str::to_owned).collect(),
        other @ NewContent::Appended { .. } => panic!("not a final upload: {other:?}"),
    }
}

#[test]
fn t100_a_partial_upload_is_an_upload() {
    let table = [
        (LENGTH_5, Length::Known(5)),
        (("upload-defer-length", "1"), Length::Deferred),
    ];
    for (declared, length) in table {
        let create = created(post(&[PARTIAL, declared]));
        let expected = NewContent::Appended {
            length,
            partial: true,
        };
        assert_eq!(create.content, expected);
        let create = created(post_with(&[PARTIAL, declared], Some(5)));
        assert_eq!(create.content, expected);
        assert!(create.append.is_some());
    }
    let (_, fields) = answer(&Response::Retrieved(Resource {
        concat: Some(String::from("partial")),
        ..resource()
    }));
    assert_eq!(value(&fields, "upload-concat"), Some("partial"));
    assert_eq!(value(&fields, "upload-offset"), Some("5"));
}

#[test]
fn t102_a_final_upload_names_its_parts_in_order() {
    let expected = ["/files/a", "https://up.example/files/b"];
    assert_eq!(parts(post(&[FINAL])), expected);
    assert_eq!(created(post(&[FINAL])).append, None);
    let (status, fields) = answer(&Response::Created {
        location: location(),
        resource: resource(),
        appended: false,
    });
    assert_eq!(status, 201);
    assert_eq!(value(&fields, "location"), Some(&*location()));
}

#[test]
fn t103_a_final_upload_has_metadata_of_its_own() {
    let create = created(post(&[FINAL, ("upload-metadata", "filename Zg==")]));
    assert_eq!(create.metadata.filename().as_deref(), Some("f"));
    let create = created(post(&[FINAL]));
    assert_eq!(create.metadata.raw(), "");
}

#[test]
fn t104_a_final_upload_is_told_as_it_was_made() {
    let raw = "final;  /files/a   /files/b";
    let create = created(post(&[("upload-concat", raw)]));
    let NewContent::Concatenated(list) = create.content else {
        panic!("not a final upload");
    };
    let (status, fields) = answer(&Response::Retrieved(Resource {
        offset: Some(10),
        metadata: String::from("filename Zg=="),
        concat: Some(list.raw().to_owned()),
        ..resource()
    }));
    assert_eq!(status, 200);
    assert_eq!(value(&fields, "upload-concat"), Some(raw));
    assert_eq!(value(&fields, "upload-offset"), Some("10"));
    assert_eq!(value(&fields, "upload-length"), Some("10"));
    assert_eq!(value(&fields, "upload-metadata"), Some("filename Zg=="));
}

#[test]
fn t105_a_final_upload_that_waits_has_no_offset() {
    for (length, told) in [(Some(Length::Known(10)), Some("10")), (None, None)] {
        let (status, fields) = answer(&Response::Retrieved(Resource {
            offset: None,
            length,
            concat: Some(FINAL.1.to_owned()),
            ..resource()
        }));
        assert_eq!(status, 200);
        assert_eq!(value(&fields, "upload-offset"), None);
        // Row T110: absent as long as a part's length is deferred.
        assert_eq!(value(&fields, "upload-length"), told);
        assert_eq!(value(&fields, "upload-defer-length"), None);
    }
}

#[test]
fn t106_an_append_to_a_final_upload_is_403() {
    let (status, fields) = answer(&refusal(Problem::FinalUpload, None));
    assert_eq!(status, 403);
    assert_eq!(value(&fields, "upload-offset"), None);
}

#[test]
fn t107_a_part_may_come_twice() {
    let lines = [("upload-concat", "final;/files/a /files/a")];
    assert_eq!(parts(post(&lines)), ["/files/a", "/files/a"]);
}

#[test]
fn t113_a_final_upload_has_no_content() {
    for content_length in [None, Some(0), Some(5)] {
        let decoded = post_with(&[FINAL], content_length);
        assert_eq!(decoded, Err(Problem::FinalUpload));
    }
    // What is not an append is not looked at.
    let lines = [VERSION, FINAL, ("content-type", "text/plain")];
    let decoded = decode_at(Target::Creation, &Method::POST, &lines, Some(5));
    assert_eq!(parts(decoded).len(), 2);
}

#[test]
fn t117_the_list_of_parts_is_bounded() {
    let list = |count| format!("final;{}", "/a ".repeat(count));
    let most = list(PARTS_MAX);
    let lines = [("upload-concat", most.as_str())];
    assert_eq!(parts(post(&lines)).len(), PARTS_MAX);
    let more = list(PARTS_MAX + 1);
    assert_invalid(post(&[("upload-concat", &more)]), "upload-concat");
}

#[test]
fn t52_a_final_upload_has_the_length_of_its_parts() {
    assert_invalid(post(&[FINAL, LENGTH_5]), "upload-length");
    let deferred = ("upload-defer-length", "1");
    assert!(post(&[FINAL, deferred]).is_err());
}

#[test]
fn h12_a_list_is_wellformed() {
    for concat in [
        "",
        "final",
        "final;",
        "final; ",
        "Partial",
        "partial;/a",
        "initial;/a",
    ] {
        let decoded = post(&[LENGTH_5, ("upload-concat", concat)]);
        assert_invalid(decoded, "upload-concat");
    }
    assert_invalid(post(&[LENGTH_5, PARTIAL, PARTIAL]), "upload-concat");
    assert_invalid(post(&[LENGTH_5, PARTIAL, FINAL]), "upload-concat");
}
