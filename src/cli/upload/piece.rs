//! One upload resource: created, asked how far it is, and sent the rest, until all of it is there.

use std::sync::Arc;

use http::Uri;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::attempts::Attempts;
use super::content::{Content, still_same};
use super::flow::{Flow, Position, watched};
use super::journal::Piece;
use super::outcome::SendError;
use super::send::metadata_of;
use super::tus::{Creation, Kind, Told};
use super::{LAST_WORDS_WITHIN, Run};
use crate::cli::server::AskError;

/// How far an upload is on the server.
#[derive(Clone, Debug)]
enum State {
    /// It may not be there.
    Unknown,
    /// It is there, and nobody knows how far.
    Located(Uri),
    /// All up to this is there. Within the piece, from 0.
    At(Uri, Told, u64),
}

/// Brings all bytes of a piece to the server, and returns where they are.
///
/// # Errors
/// See [`SendError`].
///
/// # Cancel safety
/// What the server has is kept by it, and where that is, is in the journal.
pub(super) async fn send_piece(
    run: &Run,
    content: &Content<'_>,
    piece: &Piece,
    position: &Arc<Position>,
) -> Result<(Uri, Told), SendError> {
    let mut attempts = Attempts::new(run);
    let known = piece
        .url
        .as_deref()
        .map(|url| run.endpoint.server.known(url));
    let mut state = match known.transpose().map_err(SendError::Ask)? {
        Some(url) => State::Located(url),
        None => State::Unknown,
    };
    loop {
        if let State::At(url, told, at) = &state
            && *at == piece.size
        {
            return Ok((url.clone(), told.clone()));
        }
        let url = match &state {
            State::Unknown => None,
            State::Located(url) | State::At(url, ..) => Some(url.clone()),
        };
        if run.scope.reason().is_some() {
            let kept = kept(run, url.as_ref()).await;
            return Err(SendError::Interrupted { kept });
        }
        if content.stop.is_cancelled() {
            return Err(SendError::Interrupted { kept: None });
        }
        let token = run.endpoint.server.token().field();
        let (before, asked) = match &state {
            State::Unknown => (None, create(run, content, piece).await?),
            State::Located(url) => (None, retrieve(run, piece, url).await),
            State::At(url, _, at) => (
                Some(*at),
                append(run, content, piece, url, *at, position).await,
            ),
        };
        state = match asked {
            Ok(next) => {
                if let State::At(_, _, at) = &next {
                    position.set(piece.start + at);
                    match before {
                        Some(before) if *at > before => attempts.advanced(),
                        _ => attempts.met(),
                    }
                }
                next
            }
            Err(error) => {
                if error.refusal().is_none() {
                    // What a file does not have any more cannot be sent.
                    still_same(content.file).await?;
                }
                match attempts.go_on(error, url.as_ref(), token.as_ref()).await {
                    Err(SendError::Interrupted { .. }) => {
                        let kept = kept(run, url.as_ref()).await;
                        return Err(SendError::Interrupted { kept });
                    }
                    other => other?,
                }
                url.map_or(State::Unknown, State::Located)
            }
        };
    }
}

/// Creates the upload, without its bytes: on a bad line that is soon done.
async fn create(
    run: &Run,
    content: &Content<'_>,
    piece: &Piece,
) -> Result<Result<State, AskError>, SendError> {
    let length = piece.size;
    let created = run.endpoint.create(Creation {
        id: piece.upload,
        kind: match piece.number {
            0 => Kind::Whole { length },
            _ => Kind::Part { length },
        },
        metadata: match piece.number {
            0 => metadata_of(content.file),
            _ => String::new(),
        },
        content: None,
    });
    let (url, told) = match run.settled(created).await {
        Ok(created) => created,
        Err(error) => return Ok(Err(error)),
    };
    let path = &content.file.path;
    run.journal
        .located(path, piece.whole, piece.number, url.to_string())
        .await?;
    // One that was there already is told with its offset, and a new one has nothing.
    Ok(match told.offset {
        None => Ok(State::At(url, told, 0)),
        Some(_) => told
            .offset_within(0..=length)
            .map(|at| State::At(url, told, at)),
    })
}

async fn retrieve(run: &Run, piece: &Piece, url: &Uri) -> Result<State, AskError> {
    let told = run.settled(run.endpoint.retrieve(url)).await?;
    let at = told.offset_within(0..=piece.size)?;
    Ok(State::At(url.clone(), told, at))
}

/// Sends the rest, or as much of it as the server takes at once.
async fn append(
    run: &Run,
    content: &Content<'_>,
    piece: &Piece,
    url: &Uri,
    at: u64,
    position: &Arc<Position>,
) -> Result<State, AskError> {
    let most = run.endpoint.can.append_max.unwrap_or(u64::MAX);
    let length = (piece.size - at).min(most);
    let range = piece.start + at..piece.start + at + length;
    let flow = Flow {
        limit: run.limit.clone(),
        meter: run.meter.clone(),
        position: position.clone(),
    };
    let cut = CancellationToken::new();
    // An answer may come before all is sent: then nobody wants the rest.
    let _answered = cut.clone().drop_guard();
    let body = flow.body(content.bytes.clone(), range, cut.clone());
    let request = run.endpoint.append(url, at, Some(length), None, body)?;
    let stopped = async {
        // Either is enough, and both only look.
        tokio::select! {
            _ = run.scope.cancelled() => {}
            () = content.stop.cancelled() => {}
        }
    };
    let answer = watched(run.endpoint.send(request), position, &cut, stopped);
    let told = run.settled(answer).await?;
    // What was not sent in this request cannot have come with it.
    let sent = position.at().saturating_sub(piece.start).max(at);
    let at_now = told.offset_within(at..=sent)?;
    if at_now == at && length > 0 {
        return Err(AskError::Strange(
            "it keeps nothing of what it is sent".into(),
        ));
    }
    Ok(State::At(url.clone(), told, at_now))
}

/// The server is asked what it has, one last time, for no longer than anybody likes to wait. `None`: it
/// does not say.
async fn kept(run: &Run, url: Option<&Uri>) -> Option<u64> {
    let Some(url) = url else {
        return Some(0);
    };
    let told = timeout(LAST_WORDS_WITHIN, run.endpoint.retrieve(url)).await;
    told.ok()?.ok()?.offset
}
