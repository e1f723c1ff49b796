//! How a form is taken apart.

use bytes::Bytes;

use self::head::Head;
use self::parser::{Boundary, HEAD_BYTES_MAX, Malformed, Parser, Piece};
use crate::split_line;

#[path = "../../src/http/multipart/head.rs"]
mod head;
#[path = "../../src/http/multipart/parser.rs"]
mod parser;

/// A part as its reader sees it.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    head: Vec<u8>,
    content: Vec<u8>,
    is_whole: bool,
}

/// Takes the first line as the boundary, and the rest as the body.
///
/// # Panics
///
/// When a promise is broken.
pub fn multipart(data: &[u8]) {
    let (line, body) = split_line(data);
    let Some(boundary) = str::from_utf8(line).ok().and_then(Boundary::parse) else {
        return;
    };
    let whole = parse(&boundary, body, body.len());
    for size in [1, 2, 3, 7, 64] {
        let split = parse(&boundary, body, size);
        assert_eq!(split, whole, "in chunks of {size}");
    }
    let delimiter = [b"\r\n--", line].concat();
    for part in &whole.0 {
        assert!(part.head.len() <= HEAD_BYTES_MAX);
        let is_delimiter = |text: &[u8]| text == delimiter.as_slice();
        assert!(!part.content.windows(delimiter.len()).any(is_delimiter));
        assert!(!part.content.starts_with(&delimiter[2..]));
        if let Ok(head) = Head::parse(&part.head) {
            check(&head, &part.head);
        }
    }
}

/// The parts, and whether the form has been closed.
fn parse(boundary: &Boundary, body: &[u8], size: usize) -> (Vec<Part>, Result<bool, Malformed>) {
    let mut parser = Parser::new(boundary);
    let mut parts = Vec::<Part>::new();
    for chunk in body.chunks(size.max(1)) {
        parser.push(Bytes::copy_from_slice(chunk));
        loop {
            let piece = match parser.next() {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(malformed) => {
                    assert!(!malformed.to_string().is_empty());
                    return (parts, Err(malformed));
                }
            };
            let is_between = parts.last().is_none_or(|part| part.is_whole);
            match piece {
                Piece::Head(head) if is_between => parts.push(Part {
                    head,
                    content: Vec::new(),
                    is_whole: false,
                }),
                Piece::Close if is_between => return (parts, Ok(true)),
                piece => match (parts.last_mut(), piece) {
                    (Some(part), Piece::Content(content)) if !part.is_whole => {
                        assert!(!content.is_empty());
                        part.content.extend_from_slice(&content);
                    }
                    (Some(part), Piece::End) if !part.is_whole => part.is_whole = true,
                    (_, piece) => panic!("{piece:?} behind {parts:?}"),
                },
            }
        }
    }
    (parts, Ok(false))
}

/// Names are made of what was sent, and no longer.
fn check(head: &Head, section: &[u8]) {
    let names = [Some(&head.name), head.filename.as_ref()];
    let bytes: usize = names.into_iter().flatten().map(Vec::len).sum();
    assert!(bytes < section.len());
    assert!(head.fields.contains_key(http::header::CONTENT_DISPOSITION));
}
