//! Rows H12, T100 to T117.

use proptest::prelude::*;

use super::headers;
use crate::field::Fault;
use crate::field::concat::{Concat, PARTS_MAX, PartFault, last_segment_after, part_id};
use crate::field::name::UPLOAD_CONCAT;

fn parts(value: &str) -> Result<Vec<String>, Fault> {
    Concat::parse(value.as_bytes()).map(|concat| match concat {
        Concat::Partial => vec![],
        Concat::Final(list) => list.parts().map(str::to_owned).collect(),
    })
}

#[test]
fn t100_partial() {
    assert_eq!(Concat::parse(b"partial"), Ok(Concat::Partial));
    assert_eq!(Concat::Partial.raw(), "partial");
}

#[test]
fn h12_a_list_of_urls() {
    let lists = [
        ("final;/files/a /files/b", vec!["/files/a", "/files/b"]),
        ("final; /files/a", vec!["/files/a"]),
        (
            "final;/files/a   http://h/files/b ",
            vec!["/files/a", "http://h/files/b"],
        ),
        ("final;/files/a /files/a", vec!["/files/a", "/files/a"]),
    ];
    for (value, expected) in lists {
        assert_eq!(
            parts(value),
            Ok(expected.into_iter().map(str::to_owned).collect()),
            "{value}"
        );
    }
}

#[test]
fn h12_what_is_refused() {
    let refused = [
        ("", Fault::NotConcat),
        ("Partial", Fault::NotConcat),
        ("partial ", Fault::NotConcat),
        ("partial;/files/a", Fault::NotConcat),
        ("final", Fault::NotConcat),
        ("final /files/a", Fault::NotConcat),
        ("Final;/files/a", Fault::NotConcat),
        ("final;/files/a\t/files/b", Fault::NotConcat),
        ("final;/files/ü", Fault::NotConcat),
        ("final;", Fault::NoParts),
        ("final;  ", Fault::NoParts),
    ];
    for (value, fault) in refused {
        assert_eq!(parts(value), Err(fault), "{value:?}");
    }
}

#[test]
fn h12_one_field_line_only() {
    assert_eq!(Concat::from_headers(&headers(&[])), Ok(None));
    let once = headers(&[(UPLOAD_CONCAT, "partial")]);
    assert_eq!(Concat::from_headers(&once), Ok(Some(Concat::Partial)));
    let twice = headers(&[(UPLOAD_CONCAT, "partial"), (UPLOAD_CONCAT, "partial")]);
    assert_eq!(
        Concat::from_headers(&twice),
        Err(Fault::Repeated.of(UPLOAD_CONCAT))
    );
}

#[test]
fn t104_the_field_is_kept_byte_for_byte() {
    let value = "final;  /files/a   /files/b ";
    assert_eq!(
        Concat::parse(value.as_bytes()).as_ref().map(Concat::raw),
        Ok(value)
    );
}

#[test]
fn t117_the_list_is_bounded() {
    let list = |count: usize| format!("final;{}", "a ".repeat(count));
    assert_eq!(
        parts(&list(PARTS_MAX)).map(|parts| parts.len()),
        Ok(PARTS_MAX)
    );
    let refused = Err(Fault::TooManyParts {
        parts_max: PARTS_MAX,
    });
    assert_eq!(parts(&list(PARTS_MAX + 1)), refused);
}

const OWN: [&str; 3] = ["upload.example:8443", "Files.example", "[::1]:7070"];

#[test]
fn t115_own_urls_and_paths_are_resolved() {
    let own = [
        "https://upload.example:8443/files/id-1",
        "HTTPS://UPLOAD.example:8443/files/id-1",
        "http://files.example/files/id-1",
        "http://files.example:80/files/id-1",
        "https://files.example:443/files/id-1/",
        "https://files.example/behind/a/proxy/files/id-1",
        "http://[::1]:7070/files/id-1",
        "//files.example/files/id-1",
        "/files/id-1",
        "/files/id-1/",
        "/prefix/files/id-1",
    ];
    for url in own {
        assert_eq!(part_id(url, "/files", &OWN), Ok("id-1"), "{url}");
        assert_eq!(part_id(url, "/files/", &OWN), Ok("id-1"), "{url}");
    }
}

#[test]
fn t111_foreign_hosts_are_refused() {
    let foreign = [
        "https://evil.example/files/id-1",
        "https://upload.example/files/id-1",
        "http://files.example:443/files/id-1",
        "https://files.example@evil.example/files/id-1",
        "https://evil@files.example/files/id-1",
        "https://files.example.evil/files/id-1",
        "https://files.example?/files/id-1",
        "https:///files/id-1",
        "//evil.example/files/id-1",
        "//files/id-1",
    ];
    for url in foreign {
        let resolved = part_id(url, "/files", &OWN);
        assert!(resolved.is_err(), "{url}: {resolved:?}");
    }
    assert_eq!(
        part_id("http://a/files/id", "/files", &[]),
        Err(PartFault::Foreign)
    );
}

#[test]
fn t111_other_urls_are_refused() {
    let other = [
        "",
        "/",
        "id-1",
        "files/id-1",
        "x/files/id-1",
        "/files",
        "/files/",
        "/files//",
        "/files/id-1//",
        "/files/id-1/x",
        "/myfiles/id-1",
        "/uploads/id-1",
        "/files/id-1?x",
        "/files/id-1#x",
        "/?/files/id-1",
        "/files/%69d",
        "/files/..",
        "ftp://files.example/files/id-1",
        "https:/files.example/files/id-1",
        "https://files.example",
        "https://files.example/id-1",
    ];
    for url in other {
        assert_eq!(
            part_id(url, "/files", &OWN),
            Err(PartFault::NotAnUpload),
            "{url:?}"
        );
    }
}

#[test]
fn an_empty_base_path_is_the_root() {
    assert_eq!(last_segment_after("/id", ""), Some("id"));
    assert_eq!(last_segment_after("/id", "/"), Some("id"));
}

proptest! {
    #[test]
    fn what_is_written_is_read(urls in prop::collection::vec("[!-~]{1,20}", 1..20)) {
        prop_assert_eq!(parts(&format!("final;{}", urls.join(" "))), Ok(urls));
    }

    #[test]
    fn an_id_is_found_behind_any_prefix(
        prefix in "(/[a-z~%.]{1,6}){0,3}",
        id in "[A-Za-z0-9_-]{1,40}",
    ) {
        let path = format!("{prefix}/files/{id}");
        prop_assert_eq!(part_id(&path, "/files", &OWN), Ok(id.as_str()));
        let url = format!("https://files.example{path}");
        prop_assert_eq!(part_id(&url, "/files", &OWN), Ok(id.as_str()));
    }

    #[test]
    fn nothing_panics(
        bytes: Vec<u8>,
        url: String,
        near in "(https?://|//)?[a-f./:@?#]{0,8}/files/[a-f/]{0,4}",
    ) {
        let _ = Concat::parse(&bytes);
        let _ = Concat::parse(format!("final;{near}").as_bytes());
        for url in [url, near] {
            if let Ok(id) = part_id(&url, "/files", &OWN) {
                prop_assert!(!id.is_empty() && !id.contains(['/', '.', '?', '#', '%']));
            }
        }
    }
}
