//! Appends that are worth interrupting.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_protocol::field::checksum::{Algorithm, Checksum};
use tidegate_protocol::problem::Problem;
use tidegate_protocol::request::{Append, Expected};

use super::script::{Piece, Script};
use super::world::{append_at, content};
use crate::blob::Digests;

/// One append at one upload, and how it ends if nobody interferes.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// All that the upload is to hold in the end.
    pub(super) content: Vec<u8>,
    /// As far as it is committed already.
    pub(super) committed: usize,
    /// As far as it is declared already.
    pub(super) length: Option<u64>,
    pub(super) append: Append,
    pub(super) pieces: Vec<Piece>,
    /// Where the committed offset is at the end.
    pub(super) offset: u64,
    pub(super) problem: Option<Problem>,
}

/// All of an upload's bytes.
const BYTES: usize = 50;
/// Bytes in each frame but the last.
const FRAME: usize = 7;

impl Scenario {
    /// Sends `content[from..to]` of an upload with a known length.
    fn new(name: &'static str, from: usize, to: usize) -> Self {
        let content = content(BYTES);
        Self {
            name,
            committed: from,
            length: Some(BYTES as u64),
            append: append_at(from as u64),
            pieces: slowly(&content[from..to]),
            offset: to as u64,
            problem: None,
            content,
        }
    }

    fn with_commit_at(mut self, offset: usize) -> Self {
        self.offset = offset as u64;
        self
    }

    fn ends_with(mut self, problem: Problem) -> Self {
        self.problem = Some(problem);
        self
    }

    fn then(mut self, piece: Piece) -> Self {
        self.pieces.push(piece);
        self
    }

    fn announcing(mut self, bytes: u64) -> Self {
        self.append.content_length = Some(bytes);
        self
    }

    fn deferred(mut self) -> Self {
        self.length = None;
        self
    }

    fn declaring(mut self) -> Self {
        self.append.length = Some(BYTES as u64);
        self.deferred()
    }

    fn checked(mut self, expected: Expected) -> Self {
        self.append.checksum = Some(expected);
        self
    }

    /// Whether its bytes are kept all together or not at all.
    pub(super) fn is_staged(&self) -> bool {
        self.append.checksum.is_some()
    }

    pub(super) fn script(&self) -> Script {
        Script::new(self.pieces.clone())
    }

    /// Whether `offset` may be what is committed after any end of it.
    pub(super) fn may_commit(&self, offset: u64) -> bool {
        let committed = self.committed as u64;
        match self.is_staged() {
            true => offset == committed || offset == self.offset,
            false => (committed..=self.offset).contains(&offset),
        }
    }
}

/// With time between the frames for each to be written, or to meet another on its way.
fn slowly(content: &[u8]) -> Vec<Piece> {
    let frames = content.chunks(FRAME).map(Bytes::copy_from_slice);
    let pieces = frames.map(|data| [Piece::Data(data), Piece::Wait, Piece::Wait, Piece::Wait]);
    pieces.flatten().collect()
}

fn checksum(content: &[u8]) -> Checksum {
    let mut digests = Digests::none().with_part(Algorithm::Sha1);
    digests.update(content);
    Checksum::new(Algorithm::Sha1, &digests.part(Algorithm::Sha1).unwrap()).unwrap()
}

fn trailer(content: &[u8]) -> Piece {
    use base64::Engine as _;
    let digest = checksum(content);
    let digest = base64::engine::general_purpose::STANDARD.encode(digest.digest());
    let value = HeaderValue::from_str(&format!("sha1 {digest}")).unwrap();
    Piece::Trailers(HeaderMap::from_iter([(
        HeaderName::from_static("upload-checksum"),
        value,
    )]))
}

pub(super) fn all() -> Vec<Scenario> {
    let content = content(BYTES);
    let right = || Expected::Header(checksum(&content));
    let rest = || Expected::Header(checksum(&content[5..]));
    let wrong = || Expected::Header(checksum(b"something else"));
    let mismatch = Problem::ChecksumMismatch;
    let cut = super::super::refuse::cut();
    vec![
        Scenario::new("all of it", 0, 50).announcing(50),
        Scenario::new("some of it", 5, 40),
        Scenario::new("lost on the way", 5, 30)
            .then(Piece::Lost)
            .ends_with(cut.clone()),
        Scenario::new("shorter than announced", 5, 40)
            .announcing(45)
            .ends_with(cut.clone()),
        Scenario::new("declares the length", 0, 50).declaring(),
        Scenario::new("declares the length and is lost", 0, 20)
            .declaring()
            .then(Piece::Lost)
            .ends_with(cut.clone()),
        Scenario::new("declares that it was all", 50, 50)
            .declaring()
            .announcing(0),
        Scenario::new("of unknown length", 5, 40).deferred(),
        Scenario::new("too much", 5, 50)
            .then(Piece::Data(Bytes::from_static(b"too much")))
            .ends_with(Problem::ExceedsLength { length: 50 }),
        Scenario::new("with the right checksum", 0, 50)
            .announcing(50)
            .checked(right()),
        Scenario::new("the rest with the right checksum", 5, 50).checked(rest()),
        Scenario::new("with a wrong checksum", 5, 50)
            .checked(wrong())
            .with_commit_at(5)
            .ends_with(mismatch.clone()),
        Scenario::new("with a checksum and lost", 5, 40)
            .checked(right())
            .then(Piece::Lost)
            .with_commit_at(5)
            .ends_with(cut),
        Scenario::new("with the right trailer", 5, 50)
            .checked(Expected::Trailer)
            .then(trailer(&content[5..])),
        Scenario::new("with a wrong trailer", 5, 50)
            .checked(Expected::Trailer)
            .then(trailer(&content))
            .with_commit_at(5)
            .ends_with(mismatch.clone()),
        Scenario::new("without its trailer", 5, 50)
            .checked(Expected::Trailer)
            .with_commit_at(5)
            .ends_with(mismatch),
    ]
}
