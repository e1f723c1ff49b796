use std::time::Duration;

use futures_util::stream;
use http::header::CONTENT_DISPOSITION;
use http_body_util::StreamBody;
use proptest::prelude::*;
use tokio::time::Instant;

use super::parser::HEAD_BYTES_MAX;
use super::*;

/// What a form has, as its reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    head: Vec<u8>,
    content: Vec<u8>,
}

/// Takes a body apart that comes in these chunks. `Ok(None)` for one that has not come to its end.
fn parse(boundary: &str, chunks: &[&[u8]]) -> Result<Option<Vec<Part>>, Malformed> {
    let boundary = Boundary::parse(boundary).unwrap();
    let mut parser = Parser::new(&boundary);
    let (mut parts, mut open) = (Vec::new(), None::<Part>);
    for chunk in chunks {
        parser.push(Bytes::copy_from_slice(chunk));
        while let Some(piece) = parser.next()? {
            match piece {
                Piece::Head(head) => {
                    assert!(open.is_none(), "a part in a part");
                    let content = Vec::new();
                    open = Some(Part { head, content });
                }
                Piece::Content(content) => {
                    assert!(!content.is_empty());
                    open.as_mut().unwrap().content.extend_from_slice(&content);
                }
                Piece::End => parts.push(open.take().unwrap()),
                Piece::Close => {
                    assert!(open.is_none(), "closed within a part");
                    return Ok(Some(parts));
                }
            }
        }
    }
    Ok(None)
}

fn written(boundary: &str, parts: &[Part]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        body.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
        body.extend_from_slice(&part.head);
        let blank: &[u8] = if part.head.is_empty() {
            b"\r\n"
        } else {
            b"\r\n\r\n"
        };
        body.extend_from_slice(blank);
        body.extend_from_slice(&part.content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

fn part(head: &str, content: &[u8]) -> Part {
    Part {
        head: head.as_bytes().to_vec(),
        content: content.to_vec(),
    }
}

/// Contents that look as much like a delimiter as a content may.
fn tricky() -> Vec<Part> {
    let contents: [&[u8]; 10] = [
        b"",
        b"plain",
        b"\r\n",
        b"\r\r\n",
        b"\r\n--",
        b"\r\n--bou",
        b"\r\n--boundar\r\n--boundar",
        b"--bound",
        b"\n--boundary",
        b"\r\n\r\n-\r\n--\r",
    ];
    let with_head = |content: &&[u8]| part("A: b", content);
    contents.iter().map(with_head).collect()
}

#[test]
fn a_form_is_the_same_wherever_it_is_split() {
    let parts = tricky();
    let body = written("boundary", &parts);
    for at in 0..=body.len() {
        let (before, after) = body.split_at(at);
        let parsed = parse("boundary", &[before, after]);
        assert_eq!(parsed, Ok(Some(parts.clone())), "split at {at}");
    }
    let single: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(parse("boundary", &single), Ok(Some(parts)));
}

proptest! {
    #[test]
    fn any_parts_in_any_chunks(
        boundary in "[A-Za-z0-9'()+_,./:=?-]{1,70}",
        contents in prop::collection::vec("([\r\n-]|[\r]\n--|bo|\\PC){0,12}", 0..6),
        cuts in prop::collection::vec(0_usize..1000, 0..40),
    ) {
        let delimiter = format!("--{boundary}");
        let sound = |content: &&String| {
            !content.starts_with(&delimiter) && !content.contains(&format!("\r\n{delimiter}"))
        };
        let parts: Vec<_> = contents.iter().filter(sound)
            .map(|content| part("Content-Disposition: x", content.as_bytes()))
            .collect();
        let body = written(&boundary, &parts);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % (body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let chunks: Vec<_> = cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]).collect();
        prop_assert_eq!(parse(&boundary, &chunks), Ok(Some(parts)));
    }

    #[test]
    fn what_is_cut_is_never_whole(cut in 0_usize..1000) {
        let body = written("boundary", &tricky());
        // The line break behind the last delimiter means nothing.
        let cut = cut % (body.len() - 2);
        let parsed = parse("boundary", &[&body[..cut]]);
        prop_assert_eq!(parsed, Ok(None));
    }

    #[test]
    fn garbage_is_refused_alike_in_one_chunk_and_in_many(
        text in "(\r\n|--|boundary|:|;|[a-c \"]){0,40}",
    ) {
        let bytes = text.as_bytes();
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(parse("boundary", &[bytes]), parse("boundary", &single));
    }
}

#[test]
fn what_is_around_the_parts_means_nothing() {
    for (preamble, padding, epilogue) in [
        ("", "", ""),
        ("\r\n", " \t", "\r\nmore --boundary\r\n"),
        ("a preamble\r\nof lines\r\n", "", "\r\n"),
        ("--bound\r\n", "", "junk"),
    ] {
        let body =
            format!("{preamble}--boundary{padding}\r\nA: b\r\n\r\nhello\r\n--boundary--{epilogue}");
        let parsed = parse("boundary", &[body.as_bytes()]);
        assert_eq!(parsed, Ok(Some(vec![part("A: b", b"hello")])), "{body:?}");
    }
    assert_eq!(parse("boundary", &[b"--boundary--"]), Ok(Some(Vec::new())));
}

/// RFC 2046 gives the line break behind the last field to the delimiter, if there is no content.
#[test]
fn a_part_may_have_no_content_and_no_fields() {
    let body = b"--boundary\r\nA: b\r\n\r\n--boundary\r\n\r\n--boundary--";
    let parsed = parse("boundary", &[body]);
    assert_eq!(parsed, Ok(Some(vec![part("A: b", b""), part("", b"")])));
}

#[test]
fn a_part_whose_delimiter_is_none_has_not_ended() {
    for bad in [
        "--boundaryX\r\n",
        "--boundary-\r\n",
        "--boundary -- \r\n",
        "--boundary\n",
        "--boundary\rX",
    ] {
        let body = format!("--boundary\r\nA: b\r\n\r\nhello\r\n{bad}A: b\r\n\r\n");
        let mut parser = Parser::new(&Boundary::parse("boundary").unwrap());
        parser.push(Bytes::from(body));
        let mut pieces = Vec::new();
        let refused = loop {
            match parser.next() {
                Ok(Some(piece)) => pieces.push(piece),
                Ok(None) => panic!("{bad:?} is taken: {pieces:?}"),
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused, Malformed::Delimiter);
        assert!(!pieces.contains(&Piece::End), "{bad:?}: {pieces:?}");
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let head = |bytes: usize| format!("--b\r\nA: {}\r\n\r\n\r\n--b--", "x".repeat(bytes - 3));
    for (bytes, is_taken) in [(HEAD_BYTES_MAX, true), (HEAD_BYTES_MAX + 1, false)] {
        let body = head(bytes);
        for size in [1, 7, body.len()] {
            let chunks: Vec<_> = body.as_bytes().chunks(size).collect();
            let parsed = parse("b", &chunks);
            assert_eq!(parsed.is_ok(), is_taken, "{bytes} in chunks of {size}");
        }
    }
    let endless = "x".repeat(2000);
    assert_eq!(parse("b", &[endless.as_bytes()]), Err(Malformed::Preamble));
    let blanks = format!("--b{}\r\n", " ".repeat(2000));
    assert_eq!(parse("b", &[blanks.as_bytes()]), Err(Malformed::Delimiter));
}

fn of_type(content_type: &str) -> HeaderMap {
    let value = HeaderValue::from_bytes(content_type.as_bytes()).unwrap();
    HeaderMap::from_iter([(CONTENT_TYPE, value)])
}

const STALL: StallLimits = StallLimits {
    timeout: Duration::from_secs(30),
    rate_min: 1024,
};

#[tokio::test]
async fn only_a_form_with_one_boundary_is_one() {
    let long = "x".repeat(71);
    for (content_type, is_taken) in [
        ("multipart/form-data; boundary=b", true),
        (
            "Multipart/Form-Data; charset=utf-8; Boundary=\"a b'()+_,-./:=?\"",
            true,
        ),
        ("multipart/form-data; boundary=\"b\"", true),
        ("multipart/form-data", false),
        ("multipart/form-data; boundary=", false),
        ("multipart/form-data; boundary=\"\"", false),
        ("multipart/form-data; boundary=a; boundary=a", false),
        ("multipart/form-data; boundary=\"a \"", false),
        ("multipart/form-data; boundary=\"a\\b\"", false),
        ("multipart/form-data; boundary=\"a*b\"", false),
        (&format!("multipart/form-data; boundary={long}"), false),
        (
            &format!("multipart/form-data; boundary={}", &long[1..]),
            true,
        ),
    ] {
        let form = Multipart::new(&of_type(content_type), Body::empty(), STALL);
        assert_eq!(form.is_ok(), is_taken, "{content_type}");
        if let Err(problem) = form {
            assert_eq!(problem.status(), 400, "{content_type}: {problem:?}");
        }
    }
    for content_type in [
        "multipart/mixed; boundary=b",
        "multipart/form-data; boundary=\u{e4}",
        "application/json",
        "form-data",
    ] {
        let form = Multipart::new(&of_type(content_type), Body::empty(), STALL);
        assert_eq!(form.err(), Some(Problem::NotAForm), "{content_type}");
    }
    let mut coded = of_type("multipart/form-data; boundary=b");
    coded.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    let form = Multipart::new(&coded, Body::empty(), STALL);
    assert_eq!(form.err(), Some(Problem::UnsupportedContentEncoding));
}

fn head_of(disposition: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>), HeadError> {
    let section = [b"Content-Disposition: ", disposition, b"\r\nX-More: 1"].concat();
    Head::parse(&section).map(|head| (head.name, head.filename))
}

#[test]
fn names_are_read_as_browsers_write_them() {
    for (written, meant) in [
        (r#""a.png""#, "a.png"),
        (r#""""#, ""),
        ("a.png", "a.png"),
        (r#""f%C3%A4 %41 100%.png""#, "f%C3%A4 %41 100%.png"),
        (r#""a%22b%0D%0a.png""#, "a\"b\r\n.png"),
        (r#""%2""#, "%2"),
        (r#""%""#, "%"),
        (r#""Gr\u{fc}n \u{1f600}.png""#, r"Gr\u{fc}n \u{1f600}.png"),
        ("\"Gr\u{fc}n \u{1f600}.png\"", "Gr\u{fc}n \u{1f600}.png"),
        (r#""C:\x\y.png""#, r"C:\x\y.png"),
        (r#""\\server\share""#, r"\\server\share"),
        (r#""../../etc/passwd""#, "../../etc/passwd"),
        (r#""a\"b.png""#, "a\"b.png"),
        (r#""ends\""#, r"ends\"),
        (r#""a; filename=b""#, "a; filename=b"),
    ] {
        for order in [
            format!("form-data; name=\"images\"; filename={written}"),
            format!("FORM-DATA;filename={written} ; NAME = images;x=y"),
            format!("form-data; name=\"images\"; filename*=UTF-8''other; filename={written}"),
        ] {
            let (name, filename) = head_of(order.as_bytes()).expect(&order);
            assert_eq!(name, b"images", "{order}");
            assert_eq!(filename.as_deref(), Some(meant.as_bytes()), "{order}");
        }
    }
    let (_, none) = head_of(b"form-data; name=\"a\"; filename*=UTF-8''b").unwrap();
    assert_eq!(none, None);
    let (_, latin) = head_of(b"form-data; name=a; filename=\"\xe4\"").unwrap();
    assert_eq!(latin.as_deref(), Some(&b"\xe4"[..]));
}

#[test]
fn a_head_that_can_be_read_in_two_ways_is_refused() {
    for disposition in [
        "",
        "form-data",
        "attachment; name=a",
        "form-data; name",
        "form-data; name=",
        "form-data; name=\"a",
        "form-data; name=\"a\"b",
        "form-data; name=\"a\"b\"",
        "form-data; name=a b",
        "form-data; name=a; name=a",
        "form-data; name=a; filename=b; filename=c",
        "form-data; name=a; filename=\"b\"; FILENAME=\"c\"",
        "form-data; filename=\"a\"",
        "form-data; name=a;",
    ] {
        let head = head_of(disposition.as_bytes());
        assert_eq!(head, Err(HeadError::Disposition), "{disposition}");
    }
    let sound = "Content-Disposition: form-data; name=a";
    for section in [
        format!("{sound}\r\n{sound}"),
        format!("{sound}\r\n folded: 1"),
        format!("{sound}\r\n: 1"),
        format!("{sound}\r\nX : 1"),
        format!("{sound}\r\nX"),
        format!("{sound}\nX: 1"),
        format!("{sound}\rX: 1"),
        format!("{sound}\0"),
        String::new(),
    ] {
        assert!(Head::parse(section.as_bytes()).is_err(), "{section:?}");
    }
    let head = Head::parse(sound.as_bytes()).unwrap();
    assert!(head.fields.contains_key(CONTENT_DISPOSITION));
}

/// A body that comes in these chunks, and then ends or stays away.
fn body(chunks: Vec<&'static [u8]>, ends: bool) -> Body {
    use futures_util::StreamExt;
    let frames = chunks
        .into_iter()
        .map(|chunk| Ok(Frame::data(Bytes::from_static(chunk))));
    let frames = stream::iter(frames);
    match ends {
        true => Body::new(StreamBody::new(frames)),
        false => Body::new(StreamBody::new(frames.chain(stream::pending()))),
    }
}

fn form(chunks: Vec<&'static [u8]>, ends: bool) -> Multipart {
    let head = of_type("multipart/form-data; boundary=b");
    Multipart::new(&head, body(chunks, ends), STALL).unwrap()
}

const HEAD: &[u8] = b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n";

async fn collected(mut content: Body) -> Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::new();
    while let Some(frame) = content.frame().await {
        bytes.extend_from_slice(frame?.data_ref().unwrap());
    }
    Ok(bytes)
}

#[tokio::test]
async fn content_is_a_body_of_its_own_and_gives_the_form_back() {
    let mut form = form(vec![HEAD, b"hel", b"lo\r\n", HEAD, b"2\r\n--b--"], true);
    form.part().await.unwrap().unwrap().unwrap();
    let (content, rest) = form.into_content();
    assert_eq!(collected(content).await, Ok(b"hello".to_vec()));
    let mut form = rest.found().await.unwrap();
    form.skip(0).await.unwrap();
    form.part().await.unwrap().unwrap().unwrap();
    // Dropped without a look.
    let (content, rest) = form.into_content();
    drop(content);
    let mut form = rest.found().await.unwrap();
    form.skip(1).await.unwrap();
    assert!(form.part().await.unwrap().is_none());
    assert!(form.part().await.unwrap().is_none(), "for good");
}

#[tokio::test]
async fn content_that_breaks_off_says_so_and_the_form_why() {
    let cases: [(Vec<&[u8]>, Broken); 2] = [
        (vec![HEAD, b"hel"], Broken::Unfinished),
        (
            vec![HEAD, b"hel\r\n--bX"],
            Broken::Malformed(Malformed::Delimiter),
        ),
    ];
    for (chunks, broken) in cases {
        let mut form = form(chunks, true);
        form.part().await.unwrap().unwrap().unwrap();
        let (content, rest) = form.into_content();
        assert_eq!(collected(content).await, Err(BodyError::Gone));
        let mut form = rest.found().await.unwrap();
        assert_eq!(form.broken(), Some(broken));
        assert_eq!(form.skip(1 << 30).await, Err(broken));
        assert_eq!(form.part().await.err(), Some(broken));
    }
}

#[tokio::test]
async fn no_more_is_skipped_than_a_part_may_have() {
    for (bytes_max, is_skipped) in [(5, true), (4, false)] {
        let mut form = form(vec![HEAD, b"hel", b"lo", b"\r\n--b--"], true);
        form.part().await.unwrap().unwrap().unwrap();
        let skipped = form.skip(bytes_max).await;
        assert_eq!(skipped.is_ok(), is_skipped);
        assert_eq!(form.part().await.is_ok(), is_skipped, "for good");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_stalls_wherever_he_is_and_only_while_he_is_waited_for() {
    let places: [Vec<&[u8]>; 4] = [
        vec![],
        vec![b"--b\r\nCont"],
        vec![HEAD],
        vec![HEAD, b"hello"],
    ];
    for chunks in places {
        let mut form = form(chunks.clone(), false);
        let stalled = async {
            form.part().await?.unwrap().unwrap();
            // Whatever else takes its time meanwhile.
            tokio::time::advance(STALL.timeout * 2).await;
            let waited = Instant::now();
            let skipped = form.skip(u64::MAX).await;
            assert_eq!(waited.elapsed(), STALL.timeout);
            skipped
        };
        assert_eq!(stalled.await, Err(Broken::Stalled), "{chunks:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trickle_is_a_stall_as_well() {
    use futures_util::StreamExt;
    // A byte a second, in contents and between them.
    let bytes = HEAD.iter().copied().chain(std::iter::repeat(b'x'));
    let frames = stream::iter(bytes).then(|byte| async move {
        tokio::time::advance(Duration::from_secs(1)).await;
        Ok(Frame::data(Bytes::from(vec![byte])))
    });
    let head = of_type("multipart/form-data; boundary=b");
    let frames = Box::pin(frames);
    let mut form = Multipart::new(&head, Body::new(StreamBody::new(frames)), STALL).unwrap();
    assert_eq!(form.part().await.err(), Some(Broken::Stalled));
}
