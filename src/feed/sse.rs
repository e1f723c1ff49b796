//! Server-sent events (WHATWG HTML, "Server-sent events").

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::stream::{self, Stream, StreamExt};
use http::{HeaderName, HeaderValue};
use tokio::time::Interval;

use super::ask::Ask;
use super::reading::Reading;
use super::{Deps, pings};
use crate::event::Delivery;
use crate::http::{Request, Response, event_stream, reject};

/// Something is sent at least this often, so that neither side takes the other for dead.
const PING_EVERY: Duration = Duration::from_secs(15);

/// Bytes after which a piece is sent, though more events are at hand.
const PIECE_BYTES: usize = 16 * 1024;

/// The place that is read from, as the server understood it.
const CURSOR: HeaderName = HeaderName::from_static("tidegate-cursor");

/// `GET /api/events`.
pub(super) async fn serve(deps: Arc<Deps>, request: Request) -> Response {
    let opened = async {
        let ask = Ask::of(&request.head, request.caller.clone())?;
        ask.open(&deps).await
    };
    match opened.await {
        Ok(reading) => answer(reading),
        Err(problem) => reject::problem(&request.head.method, request.head.uri.path(), &problem),
    }
}

fn answer(reading: Reading) -> Response {
    let cursor = reading.cursor().to_string();
    let begin = format!("retry: 1000\nid: {cursor}\n\n");
    let begin = stream::iter([Bytes::from(begin)]);
    let mut response = event_stream(begin.chain(pieces(reading)));
    if let Ok(cursor) = HeaderValue::from_str(&cursor) {
        response.headers_mut().insert(CURSOR, cursor);
    }
    response
}

struct Reader {
    reading: Reading,
    ping: Interval,
}

/// The events as text, in pieces of as many as are at hand.
fn pieces(reading: Reading) -> impl Stream<Item = Bytes> {
    let ping = pings(PING_EVERY);
    let reader = Reader { reading, ping };
    stream::unfold(reader, async |mut reader| {
        let piece = reader.piece().await?;
        Some((piece, reader))
    })
}

impl Reader {
    /// `None` at the end.
    async fn piece(&mut self) -> Option<Bytes> {
        let mut piece = BytesMut::new();
        let delivery = tokio::select! {
            // Each delivery is taken or stays in the reading.
            delivery = self.reading.next() => delivery?,
            // With the place: events that this reader does not want lie before it.
            _ = self.ping.tick() => {
                let ping = format!(": ping\nid: {}\n\n", self.reading.cursor());
                return Some(ping.into());
            }
        };
        self.write(&mut piece, &delivery);
        while piece.len() < PIECE_BYTES
            && let Some(Some(delivery)) = self.reading.next().now_or_never()
        {
            self.write(&mut piece, &delivery);
        }
        self.ping.reset();
        Some(piece.freeze())
    }

    fn write(&self, piece: &mut BytesMut, delivery: &Delivery) {
        let event = match delivery {
            // Its place: a browser sends it back in `Last-Event-ID`.
            Delivery::Logged(event) => {
                let id = format!("id: {}\n", self.reading.cursor());
                piece.extend_from_slice(id.as_bytes());
                event
            }
            Delivery::Live(event) => event,
        };
        piece.put_slice(b"data: ");
        piece.put_slice(&event.json);
        piece.put_slice(b"\n\n");
    }
}
