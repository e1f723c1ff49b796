//! Forms (`multipart/form-data`, RFC 7578), read as they come in.
//!
//! A [`Multipart`] goes from part to part. Content is never kept: it is passed on a piece at a time,
//! as a [`Body`] if need be, or skipped. Whoever is silent or too slow is cut off, wherever in the
//! form he is.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body::{Body as _, Frame};
use tidegate_protocol::field::media::{self, MediaType};
use tidegate_protocol::problem::Problem;
use tokio::sync::oneshot;

use self::parser::{Boundary, Parser, Piece};
use super::{Body, BodyError, StallClock, StallLimits};

mod head;
mod parser;
#[cfg(test)]
mod tests;

pub use head::{Head, HeadError};
pub use parser::Malformed;

/// Why a form cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Its sender has left.
    #[error("the client left before the form ended")]
    Gone,
    /// The body has ended, or broken off, and the form has not.
    #[error("the form ended before its last boundary")]
    Unfinished,
    /// What comes is no form.
    #[error("{0}")]
    Malformed(Malformed),
    /// Its sender was silent or too slow.
    #[error("the client was silent for too long, or too slow")]
    Stalled,
    /// More content in one part than is read of it.
    #[error("a part of the form is too long")]
    TooLong,
}

/// A form that is coming in.
///
/// Dropped unfinished, it is as any other [`Body`].
pub struct Multipart {
    body: Body,
    parser: Parser,
    clock: StallClock,
    /// Of the part that is being read, content that has come so far. `None` between parts.
    content_bytes: Option<u64>,
    is_multiplexed: bool,
    /// Set for good by the first failure.
    broken: Option<Broken>,
}

impl Multipart {
    /// The form in the body of a request with these header fields.
    ///
    /// # Errors
    /// The problem to answer with; no byte of it has been asked for.
    pub fn new(headers: &HeaderMap, body: Body, stall: StallLimits) -> Result<Self, Problem> {
        if !media::is(headers, "multipart/form-data") {
            return Err(Problem::NotAForm);
        }
        let is_coded = |coding: &HeaderValue| !coding.as_bytes().eq_ignore_ascii_case(b"identity");
        if headers.get_all(CONTENT_ENCODING).iter().any(is_coded) {
            return Err(Problem::UnsupportedContentEncoding);
        }
        let boundary = headers.get(CONTENT_TYPE).and_then(boundary);
        let boundary = boundary.ok_or_else(|| {
            Problem::validation("Content-Type", "needs one boundary of 1 to 70 characters")
        })?;
        Ok(Self {
            is_multiplexed: body.is_multiplexed(),
            body,
            parser: Parser::new(&boundary),
            clock: StallClock::new(stall),
            content_bytes: None,
            broken: None,
        })
    }

    /// The next part, or `None` at the end. Whatever is left of the part before has to be
    /// [skipped](Self::skip).
    ///
    /// # Errors
    /// [`Broken`], from then on always.
    ///
    /// # Cancel safety
    /// Cancel safe: a part is either returned or still to come.
    pub async fn part(&mut self) -> Result<Option<Result<Head, HeadError>>, Broken> {
        loop {
            match poll_fn(|context| self.poll_piece(context)).await? {
                Piece::Head(section) => return Ok(Some(Head::parse(&section))),
                Piece::Close => return Ok(None),
                Piece::Content(_) | Piece::End => {}
            }
        }
    }

    /// Discards what is left of the part, unless that makes it longer than `bytes_max` altogether.
    ///
    /// # Errors
    /// [`Broken`], from then on always.
    ///
    /// # Cancel safety
    /// Cancel safe: what has not been discarded is still to come.
    pub async fn skip(&mut self, bytes_max: u64) -> Result<(), Broken> {
        while let Some(bytes) = self.content_bytes {
            if bytes > bytes_max {
                self.broken = Some(Broken::TooLong);
                return Err(Broken::TooLong);
            }
            poll_fn(|context| self.poll_piece(context)).await?;
        }
        Ok(())
    }

    /// The content of the part, and where the form is found again when that has been dropped.
    pub fn into_content(self) -> (Body, Rest) {
        let is_multiplexed = self.is_multiplexed;
        let (back, rest) = oneshot::channel();
        let content = Content {
            form: Some((self, back)),
        };
        (Body::new(content).multiplexed(is_multiplexed), Rest(rest))
    }

    /// Why it cannot be read any further, if so.
    pub fn broken(&self) -> Option<Broken> {
        self.broken
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        if let Some(broken) = self.broken {
            return Poll::Ready(Err(broken));
        }
        let piece = ready!(self.poll_body(context));
        match &piece {
            Ok(Piece::Head(_)) => self.content_bytes = Some(0),
            Ok(Piece::Content(content)) => {
                let bytes = self.content_bytes.get_or_insert(0);
                *bytes = bytes.saturating_add(content.len() as u64);
            }
            Ok(Piece::End | Piece::Close) => self.content_bytes = None,
            Err(broken) => self.broken = Some(*broken),
        }
        self.clock.pause();
        Poll::Ready(piece)
    }

    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        self.clock.resume();
        loop {
            match self.parser.next() {
                Ok(Some(piece)) => return Poll::Ready(Ok(piece)),
                Ok(None) => {}
                Err(malformed) => return Poll::Ready(Err(Broken::Malformed(malformed))),
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                ready!(self.clock.poll_stalled(context));
                return Poll::Ready(Err(Broken::Stalled));
            };
            match frame {
                // Trailer fields mean nothing here.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.clock.received(data.len() as u64);
                        self.parser.push(data);
                    }
                }
                Some(Err(BodyError::Gone)) => return Poll::Ready(Err(Broken::Gone)),
                Some(Err(BodyError::Malformed)) | None => {
                    return Poll::Ready(Err(Broken::Unfinished));
                }
            }
        }
    }
}

impl fmt::Debug for Multipart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multipart")
            .field("content_bytes", &self.content_bytes)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

/// The boundary that a `Content-Type` names once.
fn boundary(content_type: &HeaderValue) -> Option<Boundary> {
    let media = MediaType::parse(content_type.to_str().ok()?)?;
    let mut named = media
        .parameters()
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("boundary"));
    let (Some((_, value)), None) = (named.next(), named.next()) else {
        return None;
    };
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    Boundary::parse(inner.unwrap_or(value))
}

/// Where a form is found again.
#[derive(Debug)]
pub struct Rest(oneshot::Receiver<Multipart>);

impl Rest {
    /// The form, as soon as nobody has the content of its part any more.
    ///
    /// # Cancel safety
    /// Dropping the future drops the form.
    pub async fn found(self) -> Option<Multipart> {
        self.0.await.ok()
    }
}

/// The content of one part, as a body.
struct Content {
    /// Away when the content has ended.
    form: Option<(Multipart, oneshot::Sender<Multipart>)>,
}

impl Content {
    fn give_back(&mut self) {
        if let Some((form, back)) = self.form.take() {
            // Without a receiver nobody wants the rest.
            drop(back.send(form));
        }
    }
}

impl http_body::Body for Content {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some((form, _)) = &mut this.form else {
            return Poll::Ready(None);
        };
        let end = match ready!(form.poll_piece(context)) {
            Ok(Piece::Content(content)) => return Poll::Ready(Some(Ok(Frame::data(content)))),
            Ok(Piece::End | Piece::Head(_) | Piece::Close) => None,
            // Why is told by the form: to whoever reads the part it has broken off.
            Err(_) => Some(Err(BodyError::Gone)),
        };
        this.give_back();
        Poll::Ready(end)
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.give_back();
    }
}
