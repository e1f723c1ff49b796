//! A request body that follows a script.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::time::{Instant, Interval, interval_at};

use crate::http::BodyError;

/// What a sender does next. After the last one it ends the body as it should.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Nothing for a moment.
    Wait,
    /// Nothing for this long, by the runtime's clock.
    Pause(Duration),
    /// Nothing, but somebody looks at how things are.
    Look(Look),
    /// Nothing more, and no end.
    Silence,
    /// The connection is lost.
    Lost,
}

/// Is called when the script gets there.
#[derive(Clone)]
pub(super) struct Look(Arc<dyn Fn() + Send + Sync>);

impl Look {
    pub(super) fn at(look: impl Fn() + Send + Sync + 'static) -> Piece {
        Piece::Look(Self(Arc::new(look)))
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

/// A sender. Clones of the handle from [`Script::line`] can cut it off.
#[derive(Debug)]
pub(super) struct Script {
    pieces: VecDeque<Piece>,
    line: Line,
    pause: Option<Interval>,
}

/// The connection to a sender.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    cut: Arc<AtomicBool>,
}

impl Line {
    /// The sender leaves: what has not been read by now is lost.
    pub(super) fn cut(&self) {
        self.cut.store(true, SeqCst);
    }
}

impl Script {
    pub(super) fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let pieces = pieces.into_iter().collect();
        Self {
            pieces,
            line: Line::default(),
            pause: None,
        }
    }

    /// Sends `content` in frames of up to `frame` bytes, with a moment between them.
    pub(super) fn sending(content: &[u8], frame: usize) -> Vec<Piece> {
        let frames = content
            .chunks(frame)
            .map(|data| Piece::Data(Bytes::copy_from_slice(data)));
        frames.flat_map(|data| [data, Piece::Wait]).collect()
    }

    pub(super) fn line(&self) -> Line {
        self.line.clone()
    }
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.line.cut.load(SeqCst) {
            this.pieces = VecDeque::from([Piece::Lost]);
        }
        loop {
            match this.pieces.front() {
                // Stays until it is over.
                Some(Piece::Silence) => return Poll::Pending,
                Some(Piece::Pause(time)) => {
                    let (time, now) = (*time, Instant::now());
                    let pause = this
                        .pause
                        .get_or_insert_with(|| interval_at(now + time, time));
                    ready!(pause.poll_tick(context));
                    this.pause = None;
                }
                _ => {}
            }
            return Poll::Ready(match this.pieces.pop_front() {
                None => None,
                Some(Piece::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Piece::Trailers(fields)) => Some(Ok(Frame::trailers(fields))),
                Some(Piece::Lost) => {
                    this.pieces.clear();
                    Some(Err(BodyError::Gone))
                }
                Some(Piece::Wait) => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Piece::Look(look)) => {
                    (look.0)();
                    continue;
                }
                Some(Piece::Pause(_) | Piece::Silence) => continue,
            });
        }
    }
}
