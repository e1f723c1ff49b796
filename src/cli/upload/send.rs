//! One file: from what is known of it to all of it on the server, verified.
//!
//! The order is fixed. What is begun is in the journal before the server hears of it, under an id
//! that this side has chosen, so that nothing is ever created twice; it is done in the journal after
//! the server has told the same SHA-256 that the file has.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Run;
use super::args::OnInterrupt;
use super::attempts::{Attempts, What};
use super::content::{Content, broken, still_same};
use super::find::File;
use super::flow::Position;
use super::hash::{Mark, Sha256Sum, hex};
use super::journal::{Known, Piece, Sending};
use super::outcome::{Outcome, SendError, Skipped};
use super::piece::send_piece;
use super::tus::{Creation, Kind, Told};
use crate::id::UploadId;

/// A part is worth a request of its own from this size on.
const PART_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// The hash follows what is sent in steps of this size, while it is still in the page cache.
const HASH_STEP_BYTES: u64 = 8 * 1024 * 1024;

/// Its state is remembered so often.
const MARK_BYTES: u64 = 64 * 1024 * 1024;

/// How often an upload of an earlier run may be gone before something is wrong.
const LOST_MAX: u32 = 3;

/// A server needs a while for the SHA-256 of what was put together: as long as this rate makes it,
/// and some.
const DIGEST_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;

/// Sends a file, or finds that there is no need to.
pub(super) async fn send(
    run: &Run,
    file: &File,
    position: &Arc<Position>,
) -> Result<Outcome, SendError> {
    if let Some(skipped) = needless(run, file).await? {
        return Ok(Outcome::Skipped(skipped));
    }
    let mut lost = 0;
    loop {
        match run.journal.begin(file, parts(run, file)).await? {
            Known::Done { upload, sha256 } => {
                return Ok(Outcome::Skipped(Skipped::Sent { upload, sha256 }));
            }
            Known::Cancelled { reason } if !run.retries_cancelled => {
                return Ok(Outcome::Cancelled { reason });
            }
            Known::Cancelled { .. } => run.journal.forget(file).await?,
            Known::Sending(sending) => {
                let own = sending.whole.upload;
                let sent = transfer(run, file, sending, position).await;
                match settle(run, file, own, sent).await? {
                    Some(outcome) => return Ok(outcome),
                    None if lost < LOST_MAX => lost += 1,
                    None => return Err(SendError::Lost),
                }
            }
        }
    }
}

/// Whether [`send`] would have nothing to do. Changes nothing.
pub(super) async fn would_skip(run: &Run, file: &File) -> Result<bool, SendError> {
    if run.sends_absent_only && is_present(run, file).await? {
        return Ok(true);
    }
    if run.compares_contents
        && let Some(sent) = run.journal.sent(file).await?
    {
        let content = Content::open(file).await?;
        return Ok(content.sum().await? == sent);
    }
    Ok(match run.journal.look(file).await? {
        Some(Known::Done { .. }) => true,
        Some(Known::Cancelled { .. }) => !run.retries_cancelled,
        Some(Known::Sending(_)) | None => false,
    })
}

/// What makes sending needless, beside an earlier run.
async fn needless(run: &Run, file: &File) -> Result<Option<Skipped>, SendError> {
    if run.compares_contents
        && let Some(sent) = run.journal.sent(file).await?
    {
        let content = Content::open(file).await?;
        if content.sum().await? == sent {
            run.journal.renew(file).await?;
        } else {
            run.journal.forget(file).await?;
        }
    }
    let is_present = run.sends_absent_only && is_present(run, file).await?;
    Ok(is_present.then_some(Skipped::Present))
}

/// Whether the destination has it already, whoever has sent it.
async fn is_present(run: &Run, file: &File) -> Result<bool, SendError> {
    let present = run.journal.present(&file.name, file.print.size).await?;
    if !run.compares_contents || present.is_empty() {
        return Ok(!present.is_empty());
    }
    let here = hex(&Content::open(file).await?.sum().await?);
    // What a server tells no SHA-256 of is taken for what it is called.
    let is_here = |there: &Option<String>| there.as_ref().is_none_or(|there| *there == here);
    Ok(present.iter().any(is_here))
}

/// What the end of a transfer means for the journal and for what the server has of it. `None`: begin
/// anew. What is to be ended is in the journal first: the next run ends what this one cannot.
async fn settle(
    run: &Run,
    file: &File,
    own: UploadId,
    sent: Result<Outcome, SendError>,
) -> Result<Option<Outcome>, SendError> {
    match sent {
        Ok(outcome) => Ok(Some(outcome)),
        Err(SendError::Lost) => {
            run.end(run.journal.abandon(&file.path, own).await?).await;
            Ok(None)
        }
        Err(SendError::Cancelled(refusal)) => {
            let reason = refusal.reason;
            let parts = run.journal.cancelled(&file.path, own, reason.clone());
            run.end(parts.await?).await;
            Ok(Some(Outcome::Cancelled { reason }))
        }
        Err(SendError::Interrupted { .. }) if run.on_interrupt == OnInterrupt::Cancel => {
            run.end(run.journal.abandon(&file.path, own).await?).await;
            Ok(Some(Outcome::Interrupted { kept: Some(0) }))
        }
        Err(SendError::Interrupted { kept }) => Ok(Some(Outcome::Interrupted { kept })),
        Err(error @ (SendError::Changed | SendError::Differs)) => {
            run.end(run.journal.abandon(&file.path, own).await?).await;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

fn parts(run: &Run, file: &File) -> u8 {
    let worth = file.print.size / PART_BYTES_MIN;
    match run.endpoint.can.concatenation {
        true => run.parallel.min(u8::try_from(worth).unwrap_or(u8::MAX)),
        false => 1,
    }
}

async fn transfer(
    run: &Run,
    file: &File,
    mut sending: Sending,
    position: &Arc<Position>,
) -> Result<Outcome, SendError> {
    run.end(std::mem::take(&mut sending.stale)).await;
    position.set(0);
    if let Some(size_max) = run
        .endpoint
        .can
        .size_max
        .filter(|max| *max < file.print.size)
    {
        let why = format!("is larger than the {size_max} bytes that the server takes");
        return Ok(Outcome::Failed { why });
    }
    let content = Content::open(file).await?;
    let is_new = sending.parts.is_empty() && sending.whole.url.is_none();
    let in_one = match &content.small {
        Some(bytes) if is_new => send_small(run, &content, bytes, &mut sending, position).await?,
        _ => None,
    };
    let (sum, told, url) = match in_one {
        Some(sent) => sent,
        None => send_large(run, &content, &mut sending, position).await?,
    };
    let checked = match told.sha256 {
        Some(theirs) if theirs != sum => Err(SendError::Differs),
        told => still_same(file).await.map(|()| told.is_some()),
    };
    let own = sending.whole.upload;
    if checked.is_err() {
        // A server that knows no ids is asked to end it by its URL.
        run.journal.located(&file.path, own, 0, url.clone()).await?;
    }
    let verified = checked?;
    let parts = run.journal.done(&file.path, own, sum).await?;
    if run.endpoint.url_of(own).is_some() {
        // Only of ours it is known that the whole does not need them any more.
        run.end(parts).await;
    }
    Ok(Outcome::Sent {
        url,
        sha256: sum,
        verified,
    })
}

type Complete = (Sha256Sum, Told, String);

/// Creates the upload with all of its bytes. `None`: not all of them have arrived, or the server does
/// not tell.
async fn send_small(
    run: &Run,
    content: &Content<'_>,
    bytes: &Bytes,
    sending: &mut Sending,
    position: &Arc<Position>,
) -> Result<Option<Complete>, SendError> {
    if !run.endpoint.can.creation_with_upload {
        return Ok(None);
    }
    let size = content.file.print.size;
    let mut mark = Mark::default();
    mark.update(bytes);
    let mut attempts = Attempts::new(run);
    loop {
        let token = run.endpoint.server.token().field();
        if let Some(limit) = &run.limit {
            // Nothing is under way: a turn that is not used is lost.
            tokio::select! {
                () = limit.pass(size) => {}
                _ = run.scope.cancelled() => return Err(SendError::Interrupted { kept: None }),
            }
        }
        let created = run.endpoint.create(Creation {
            id: sending.whole.upload,
            kind: Kind::Whole { length: size },
            metadata: metadata_of(content.file),
            content: Some(bytes.clone()),
        });
        let (url, told) = match run.settled(created).await {
            Ok(created) => created,
            Err(error) => {
                attempts
                    .again(What::Creation, error, token.as_ref())
                    .await?;
                continue;
            }
        };
        run.meter.add(size);
        let url = url.to_string();
        if told.offset == Some(size) {
            position.set(size);
            return Ok(Some((mark.sum(), told, url)));
        }
        let own = sending.whole.upload;
        run.journal
            .located(&content.file.path, own, 0, url.clone())
            .await?;
        sending.whole.url = Some(url);
        sending.mark = mark;
        return Ok(None);
    }
}

/// Sends all pieces at once, hashes the file beside them, and has parts put together.
async fn send_large(
    run: &Run,
    content: &Content<'_>,
    sending: &mut Sending,
    position: &Arc<Position>,
) -> Result<Complete, SendError> {
    let size = content.file.print.size;
    let is_one = sending.parts.is_empty();
    let pieces = sending.pieces();
    // Parts arrive in no order that a hash could follow.
    let frontier = if is_one {
        position.watch()
    } else {
        watch::channel(size).1
    };
    let own = sending.whole.upload;
    let hashed = hash(run, content, own, sending.mark.clone(), frontier);
    let sent = async {
        let each = pieces.iter().map(async |piece| {
            let position = match is_one {
                true => position.clone(),
                false => position.part(piece.start),
            };
            let sent = send_piece(run, content, piece, &position).await;
            if sent.is_err() {
                // Without it the others are of no use.
                content.stop.cancel();
            }
            sent
        });
        join_all(each).await
    };
    let (hashed, sent) = tokio::join!(hashed, sent);
    let (mut urls, mut last, mut kept) = (Vec::new(), None, Some(0_u64));
    let mut failure: Option<SendError> = None;
    for sent in sent {
        let bytes = match sent {
            Ok((url, told)) => {
                urls.push(url.to_string());
                let offset = told.offset;
                last = Some(told);
                offset
            }
            Err(SendError::Interrupted { kept }) => {
                failure.get_or_insert(SendError::Interrupted { kept: None });
                kept
            }
            Err(error) => {
                // What ends the others is told before that they have ended, and a cancel before all.
                let is_told = !matches!(failure, None | Some(SendError::Interrupted { .. }));
                if !is_told || matches!(error, SendError::Cancelled(_)) {
                    failure = Some(error);
                }
                None
            }
        };
        kept = kept.zip(bytes).map(|(sum, bytes)| sum + bytes);
    }
    match failure {
        Some(SendError::Interrupted { .. }) => return Err(SendError::Interrupted { kept }),
        Some(error) => return Err(error),
        None => {}
    }
    let sum = hashed?;
    if is_one {
        let told = last.unwrap_or(Told {
            offset: None,
            sha256: None,
        });
        return Ok((sum, told, urls.pop().unwrap_or_default()));
    }
    let (url, told) = put_together(run, content, &sending.whole, urls).await?;
    Ok((sum, told, url))
}

/// Makes the final upload of its parts, and waits for its digest.
async fn put_together(
    run: &Run,
    content: &Content<'_>,
    whole: &Piece,
    parts: Vec<String>,
) -> Result<(String, Told), SendError> {
    let mut attempts = Attempts::new(run);
    let url = loop {
        let token = run.endpoint.server.token().field();
        let created = run.endpoint.create(Creation {
            id: whole.upload,
            kind: Kind::Final {
                parts: parts.clone(),
            },
            metadata: metadata_of(content.file),
            content: None,
        });
        match run.settled(created).await {
            Ok((url, _)) => break url,
            Err(error) => {
                attempts
                    .again(What::Creation, error, token.as_ref())
                    .await?
            }
        }
    };
    run.journal
        .located(&content.file.path, whole.upload, 0, url.to_string())
        .await?;
    attempts.advanced();
    let patience = Duration::from_secs(60 + whole.size / DIGEST_BYTES_PER_SECOND);
    let deadline = Instant::now() + patience;
    loop {
        let token = run.endpoint.server.token().field();
        let told = match run.settled(run.endpoint.retrieve(&url)).await {
            Ok(told) => told,
            Err(error) => {
                attempts.again(What::Upload, error, token.as_ref()).await?;
                continue;
            }
        };
        if told.offset.is_some_and(|offset| offset != whole.size) {
            return Err(SendError::Differs);
        }
        if told.sha256.is_some() || !run.endpoint.can.digests || Instant::now() >= deadline {
            return Ok((url.to_string(), told));
        }
        // Nothing is under way in either arm.
        tokio::select! {
            _ = run.scope.cancelled() => return Err(SendError::Interrupted { kept: Some(whole.size) }),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
}

/// Hashes a file behind what is sent of it, and remembers how far it is.
async fn hash(
    run: &Run,
    content: &Content<'_>,
    own: UploadId,
    mut mark: Mark,
    mut frontier: watch::Receiver<u64>,
) -> Result<Sha256Sum, SendError> {
    let (path, size) = (&content.file.path, content.file.print.size);
    let mut noted = mark.at;
    while mark.at < size {
        let wanted = (mark.at + HASH_STEP_BYTES).min(size);
        let arrived = async {
            let arrived = frontier.wait_for(|sent| *sent >= wanted).await;
            arrived.map(|sent| *sent)
        };
        // Both only look; hashing itself goes to the end of its slice.
        let end = tokio::select! {
            sent = arrived => match sent {
                Ok(sent) => sent.min(mark.at + MARK_BYTES).min(size),
                Err(_) => return Err(SendError::Interrupted { kept: None }),
            },
            () = content.stop.cancelled() => {
                run.journal.hashed(path, own, &mark).await?;
                return Err(SendError::Interrupted { kept: None });
            }
        };
        mark = mark
            .go_on(content.bytes.clone(), end)
            .await
            .map_err(broken)?;
        if mark.at - noted >= MARK_BYTES {
            run.journal.hashed(path, own, &mark).await?;
            noted = mark.at;
        }
    }
    Ok(mark.sum())
}

/// As in `Upload-Metadata`.
pub(super) fn metadata_of(file: &File) -> String {
    let name = file.name.rsplit('/').next().unwrap_or_default();
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    pairs(&[
        ("filename", name),
        ("filetype", kind.essence_str()),
        ("relativePath", &file.name),
    ])
}

fn pairs(pairs: &[(&str, &str)]) -> String {
    let encoded = pairs.iter().map(|(key, value)| {
        let value = BASE64_STANDARD.encode(value);
        format!("{key} {value}")
    });
    encoded.collect::<Vec<_>>().join(",")
}
