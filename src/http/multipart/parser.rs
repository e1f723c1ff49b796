//! The framing of `multipart/form-data` (RFC 2046, section 5.1), a piece at a time.
//!
//! It is strict: whatever two readers could understand in two ways is refused, and a part ends only
//! where a whole delimiter line is. What it holds of a body is a chunk, and the header section of
//! one part at most; content is passed on as the slices of the chunks that it came in.

use std::fmt;

use bytes::{Buf, Bytes};
use memchr::memmem::Finder;

/// The header section of one part, at most.
pub(super) const HEAD_BYTES_MAX: usize = 8 * 1024;

/// What may come before the first delimiter, at most, and blanks behind any.
const FILLING_BYTES_MAX: usize = 1024;

/// The longest boundary (RFC 2046, section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// What separates parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Boundary(String);

impl Boundary {
    /// The value of the parameter `boundary`, without quotes. `None` for what RFC 2046 does not allow
    /// as one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
        let is_sound = (1..=BOUNDARY_BYTES_MAX).contains(&text.len())
            && text.bytes().all(is_known)
            && !text.ends_with(' ');
        is_sound.then(|| Self(text.to_owned()))
    }
}

/// What a body consists of, in order: any number of `Head`, `Content`s, `End`; then `Close`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The header section of a part, without the empty line behind it.
    Head(Vec<u8>),
    /// Content of that part. Never empty.
    Content(Bytes),
    /// That part is whole.
    End,
    /// There are no more parts. What follows means nothing.
    Close,
}

/// Why a body cannot be taken apart any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A line that begins like a delimiter goes on in another way.
    Delimiter,
    /// Too much before the first delimiter.
    Preamble,
    /// A part's header section is too long.
    Head,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delimiter => "a line of the form begins like its boundary and is none",
            Self::Preamble => "the form does not begin with its boundary",
            Self::Head => "the header section of a part is too long",
        })
    }
}

/// Takes one body apart. Its owner calls [`Parser::push`] whenever [`Parser::next`] has nothing.
#[derive(Debug)]
pub(super) struct Parser {
    /// CR LF `--` and the boundary. No CR but the first: what has matched a part of it and goes on in
    /// another way cannot be the beginning of another match.
    delimiter: Bytes,
    finder: Finder<'static>,
    /// What has come and not been looked at.
    chunk: Bytes,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Looking for a delimiter, of which `matched` bytes have come, those before `given` excepted: at
    /// the start of a body or of a content its line break is behind it.
    Text {
        of: Text,
        given: usize,
        matched: usize,
    },
    /// In the line of a delimiter.
    Line {
        behind: Text,
        line: Line,
    },
    /// In a header section.
    Head(Vec<u8>),
    Closed,
}

/// What is before a delimiter.
#[derive(Clone, Copy, Debug)]
enum Text {
    /// As many bytes of it have been dropped.
    Preamble(usize),
    Content,
}

/// Where in the line of a delimiter.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// Behind the boundary and so many blanks.
    Blanks(usize),
    /// One hyphen further.
    Hyphen,
    /// A carriage return further.
    Return,
}

/// The length of a line break, which is what a delimiter begins with.
const BREAK_BYTES: usize = 2;

impl State {
    fn text(of: Text) -> Self {
        Self::Text {
            of,
            given: BREAK_BYTES,
            matched: BREAK_BYTES,
        }
    }
}

impl Parser {
    /// For a body whose parts are separated by `boundary`.
    pub(super) fn new(boundary: &Boundary) -> Self {
        let delimiter = format!("\r\n--{}", boundary.0);
        Self {
            finder: Finder::new(&delimiter).into_owned(),
            delimiter: delimiter.into(),
            chunk: Bytes::new(),
            state: State::text(Text::Preamble(0)),
        }
    }

    /// Takes what has come next. Only to be called when [`Self::next`] has returned `None`.
    pub(super) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty());
        self.chunk = chunk;
    }

    /// The next piece, or `None` until more has come.
    ///
    /// # Errors
    /// [`Malformed`]: nothing that follows can be trusted.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, Malformed> {
        loop {
            if let State::Closed = self.state {
                return Ok(Some(Piece::Close));
            }
            if self.chunk.is_empty() {
                return Ok(None);
            }
            if let Some(piece) = self.step()? {
                return Ok(Some(piece));
            }
        }
    }

    /// Looks at some of the chunk.
    fn step(&mut self) -> Result<Option<Piece>, Malformed> {
        match self.state {
            State::Text {
                of: Text::Content,
                given,
                matched,
            } => {
                let content = self.text(Text::Content, given, matched);
                Ok((!content.is_empty()).then_some(Piece::Content(content)))
            }
            State::Text {
                of: Text::Preamble(dropped),
                given,
                matched,
            } => {
                let dropped = dropped + self.text(Text::Preamble(dropped), given, matched).len();
                if let State::Text { of, .. } = &mut self.state {
                    *of = Text::Preamble(dropped);
                }
                match dropped > FILLING_BYTES_MAX {
                    true => Err(Malformed::Preamble),
                    false => Ok(None),
                }
            }
            State::Line { behind, line } => self.line(behind, line),
            State::Head(_) => self.head(),
            State::Closed => Ok(None),
        }
    }

    /// What is certainly before the next delimiter; perhaps nothing.
    fn text(&mut self, of: Text, given: usize, matched: usize) -> Bytes {
        let line = State::Line {
            behind: of,
            line: Line::Blanks(0),
        };
        if matched > 0 {
            let missing = self.delimiter.iter().skip(matched);
            let more = missing.zip(&self.chunk).take_while(|(a, b)| a == b).count();
            let matched_now = matched + more;
            if matched_now == self.delimiter.len() {
                self.chunk.advance(more);
                self.state = line;
                return Bytes::new();
            }
            if more == self.chunk.len() {
                self.chunk.clear();
                self.state = State::Text {
                    of,
                    given,
                    matched: matched_now,
                };
                return Bytes::new();
            }
            self.state = State::Text {
                of,
                given: 0,
                matched: 0,
            };
            return self.delimiter.slice(given..matched);
        }
        if let Some(at) = self.finder.find(&self.chunk) {
            let text = self.chunk.split_to(at);
            self.chunk.advance(self.delimiter.len());
            self.state = line;
            return text;
        }
        let begun = memchr::memrchr(b'\r', &self.chunk).unwrap_or(self.chunk.len());
        if !self.delimiter.starts_with(&self.chunk[begun..]) {
            return std::mem::take(&mut self.chunk);
        }
        let matched = self.chunk.split_off(begun).len();
        self.state = State::Text {
            of,
            given: 0,
            matched,
        };
        std::mem::take(&mut self.chunk)
    }

    /// One byte of the line of a delimiter.
    fn line(&mut self, behind: Text, line: Line) -> Result<Option<Piece>, Malformed> {
        let line = match (line, self.chunk.get_u8()) {
            (Line::Blanks(0), b'-') => Line::Hyphen,
            (Line::Blanks(n @ ..FILLING_BYTES_MAX), b' ' | b'\t') => Line::Blanks(n + 1),
            (Line::Blanks(_), b'\r') => Line::Return,
            (Line::Hyphen, b'-') => {
                self.state = State::Closed;
                return Ok(behind.end());
            }
            (Line::Return, b'\n') => {
                self.state = State::Head(Vec::new());
                return Ok(behind.end());
            }
            _ => return Err(Malformed::Delimiter),
        };
        self.state = State::Line { behind, line };
        Ok(None)
    }

    /// Takes of the chunk what belongs to the header section.
    fn head(&mut self) -> Result<Option<Piece>, Malformed> {
        const EMPTY_LINE: &[u8] = b"\r\n\r\n";
        let State::Head(head) = &mut self.state else {
            return Ok(None);
        };
        let before = head.len();
        let room = HEAD_BYTES_MAX + EMPTY_LINE.len() - before;
        head.extend_from_slice(&self.chunk[..self.chunk.len().min(room)]);
        // A section without a field is the empty line alone.
        let (fields, end) = if head.starts_with(&EMPTY_LINE[..BREAK_BYTES]) {
            (0, BREAK_BYTES)
        } else {
            // The empty line may have begun in the chunk before.
            let from = before.saturating_sub(EMPTY_LINE.len() - 1);
            match memchr::memmem::find(&head[from..], EMPTY_LINE) {
                Some(at) => (from + at, from + at + EMPTY_LINE.len()),
                None if head.len() == HEAD_BYTES_MAX + EMPTY_LINE.len() => {
                    return Err(Malformed::Head);
                }
                None => {
                    self.chunk.clear();
                    return Ok(None);
                }
            }
        };
        self.chunk.advance(end - before);
        let mut head = std::mem::take(head);
        head.truncate(fields);
        self.state = State::text(Text::Content);
        Ok(Some(Piece::Head(head)))
    }
}

impl Text {
    /// What there is to say at its end.
    fn end(self) -> Option<Piece> {
        match self {
            Self::Preamble(_) => None,
            Self::Content => Some(Piece::End),
        }
    }
}
