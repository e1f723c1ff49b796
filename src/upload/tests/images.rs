//! Forms with images: what is stored and what is left, whatever fails, and whoever leaves when.

use std::sync::Arc;

use futures_util::FutureExt;
use http::header::CONTENT_TYPE;
use http::uri::Scheme;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use serde_json::Value;

use super::script::{Look, Piece, Script};
use super::world::{Crash, HOUR, World, content, on_a_moving_clock, sha256, sweep};
use crate::auth::Caller;
use crate::blob::memory::Failure as BlobFailure;
use crate::cancel::{CancelReason, Scope, Settling};
use crate::http::{Body, Interim, PathParams, Peer, Request, RequestId};
use crate::id::UploadId;
use crate::upload::memory::Failure as RowFailure;
use crate::upload::store::{State, Upload, UploadStore};
use crate::upload::{Uploads, images};

/// Bytes in each frame.
const FRAME: usize = 7;

const FILES: usize = 3;

fn file(index: usize) -> Vec<u8> {
    content(40 + index)
}

/// A form with [`FILES`], the id of each, and where in the form each is whole.
struct Form {
    bytes: Vec<u8>,
    ids: [UploadId; FILES],
    ends: Vec<usize>,
}

impl Form {
    fn new() -> Self {
        let ids = [(); FILES].map(|()| UploadId::random());
        let (mut bytes, mut ends) = (b"--b\r\n".to_vec(), Vec::new());
        for (index, id) in ids.iter().enumerate() {
            let head = format!(
                "Content-Disposition: form-data; name=images; filename={index}\r\nX-Upload-Id: {id}"
            );
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(b"\r\n\r\n");
            bytes.extend_from_slice(&file(index));
            bytes.extend_from_slice(b"\r\n--b");
            let line: &[u8] = if index + 1 == FILES { b"--" } else { b"\r\n" };
            bytes.extend_from_slice(line);
            ends.push(bytes.len());
        }
        Self { bytes, ids, ends }
    }

    fn pieces(&self) -> Vec<Piece> {
        Script::sending(&self.bytes, FRAME)
    }
}

fn request(pieces: Vec<Piece>) -> Request {
    let request = http::Request::builder()
        .method(Method::POST)
        .uri("/api/projects/default/images")
        .header(CONTENT_TYPE, "multipart/form-data; boundary=b")
        .body(())
        .unwrap();
    Request {
        head: request.into_parts().0,
        body: Body::new(Script::new(pieces)),
        upgrade: None,
        interim: Interim::none(),
        caller: Caller::local(),
        is_lent: false,
        path: PathParams::from([("project", "default")]),
        id: RequestId::of(&HeaderMap::new()),
        peer: Peer::Unix,
        scheme: Scheme::HTTP,
    }
}

/// Sends a form, and gives what it was answered: the ids of what is stored, the codes of the rest.
async fn send(uploads: &Arc<Uploads>, pieces: Vec<Piece>) -> (Vec<String>, Vec<String>) {
    let answer = images::serve(uploads.clone(), request(pieces)).await;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let texts = |list: &Value, member: &str| {
        let list = list.as_array().unwrap().iter();
        list.map(|line| line[member].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let data = &body["data"];
    match status {
        201 => (
            texts(&data["images"], "id"),
            texts(&data["failedFiles"], "code"),
        ),
        // Before anything of the form was looked at.
        _ if body["failedFiles"].is_null() => {
            (Vec::new(), vec![body["code"].as_str().unwrap().to_owned()])
        }
        _ => (Vec::new(), texts(&body["failedFiles"], "code")),
    }
}

async fn rows(world: &World) -> Vec<Upload> {
    world.rows.every(None, 100).await.unwrap()
}

/// Checks that what was told as stored is there, whole. Returns how many files are.
async fn assert_stored(world: &World, form: &Form, stored: &[String], about: &str) -> usize {
    let rows = rows(world).await;
    let is_complete = |row: &&Upload| row.state == State::Completed;
    let complete: Vec<_> = rows.iter().filter(is_complete).collect();
    for row in &complete {
        let index = form.ids.iter().position(|id| *id == row.id).unwrap();
        assert_eq!(world.blobs.content(row.id), file(index), "{about}");
        assert_eq!(row.sha256, Some(sha256(&file(index))), "{about}");
    }
    for id in stored {
        let is_there = complete.iter().any(|row| row.id.to_string() == *id);
        assert!(is_there, "{about}: {id} is not");
    }
    complete.len()
}

/// Checks that nothing but complete files is left, once the time of others is over.
async fn assert_nothing_else(world: &World, uploads: &Arc<Uploads>, about: &str) {
    world.rows.pass(HOUR * 2);
    for _ in 0..3 {
        sweep(uploads).await;
    }
    let rows = rows(world).await;
    let complete = rows.iter().filter(|row| row.state == State::Completed);
    assert_eq!(world.blobs.count(), complete.count(), "{about}");
    assert!(
        rows.iter().all(|row| row.state != State::Uploading),
        "{about}"
    );
}

#[test]
fn a_store_that_fails_any_call_leaves_nothing_half() {
    on_a_moving_clock(async {
        for fault in 0..6 {
            for calls in 0.. {
                let (world, form) = (World::default(), Form::new());
                let uploads = world.uploads();
                match fault {
                    0 => world.rows.fail_after(calls, RowFailure::Full),
                    1 => world.rows.fail_after(calls, RowFailure::Io),
                    2 => world.rows.fail_after(calls, RowFailure::AnswerLost),
                    3 => world.rows.fail_after(calls, RowFailure::AnswerLate),
                    4 => world.blobs.fail_after(calls, BlobFailure::Full),
                    _ => world.blobs.fail_after(calls, BlobFailure::Io),
                }
                let about = format!("fault {fault}, call {calls}");
                let (stored, failed) = send(&uploads, form.pieces()).await;
                let unmet = world.rows.fail_no_more() | world.blobs.fail_no_more();
                assert_stored(&world, &form, &stored, &about).await;
                if unmet {
                    assert_eq!((stored.len(), failed.len()), (FILES, 0), "{about}");
                    assert!(calls > FILES, "{about}: too few calls");
                    break;
                }
                assert!(stored.len() + failed.len() <= FILES, "{about}: {failed:?}");
                let uploads = world.restarted(Crash::Kill).await;
                assert_nothing_else(&world, &uploads, &about).await;
            }
        }
    });
}

#[tokio::test]
async fn what_was_whole_when_the_client_left_stays_and_nothing_else() {
    let whole = Form::new();
    for cut in 0..=whole.bytes.len() {
        let (world, form) = (World::default(), Form::new());
        let uploads = world.uploads();
        let mut pieces = Script::sending(&form.bytes[..cut], FRAME);
        pieces.push(Piece::Lost);
        let about = format!("cut at {cut}");
        let (stored, failed) = send(&uploads, pieces).await;
        let ended = form.ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(stored.len(), ended, "{about}");
        assert_eq!(failed.len(), usize::from(ended < FILES), "{about}");
        let complete = assert_stored(&world, &form, &stored, &about).await;
        assert_eq!(complete, ended, "{about}");
        // At once, and not when its time is over.
        let rows = rows(&world).await;
        assert!(
            rows.iter().all(|row| row.state != State::Uploading),
            "{about}"
        );
        assert_eq!(world.blobs.count(), ended, "{about}");
    }
}

/// The future is hyper's, which drops it when the client is gone.
#[tokio::test]
async fn a_form_goes_on_when_its_answer_is_not_wanted_any_more() {
    let (world, form) = (World::default(), Form::new());
    let uploads = world.uploads();
    let mut serving = Box::pin(images::serve(uploads.clone(), request(form.pieces())));
    // Once for the look at its project, and again, so that its task has begun.
    assert!((&mut serving).now_or_never().is_none());
    assert!(serving.now_or_never().is_none());
    let has_come = |id: &UploadId| world.rows.row(*id).is_some();
    assert!(!form.ids.iter().any(has_come));
    assert_eq!(uploads.scope.settle(HOUR).await, Settling::Settled);
    let stored = form.ids.map(|id| id.to_string());
    assert_stored(&world, &form, &stored, "dropped").await;
}

#[tokio::test]
async fn a_file_that_is_cancelled_at_any_moment_spoils_no_other() {
    let pieces = Form::new().pieces().len();
    for at in 0..=pieces {
        let (world, form) = (World::default(), Form::new());
        let uploads = world.uploads();
        let (canceller, id) = (uploads.clone(), form.ids[1]);
        let scope = Scope::root("canceller");
        let mut pieces = form.pieces();
        let cancels = scope.clone();
        let look = Look::at(move || {
            let canceller = canceller.clone();
            let cancel = async move { canceller.cancel(id, None, Caller::local(), None).await };
            drop(cancels.spawn(cancel));
        });
        pieces.insert(at, look);
        let about = format!("cancelled at piece {at}");
        let (stored, failed) = send(&uploads, pieces).await;
        assert_eq!(scope.settle(HOUR).await, Settling::Settled, "{about}");
        let complete = assert_stored(&world, &form, &stored, &about).await;
        assert_eq!(complete, stored.len(), "{about}");
        match failed.as_slice() {
            [] => assert_eq!(stored.len(), FILES, "{about}"),
            [code] => {
                assert_eq!(code, "UPLOAD_CANCELLED", "{about}");
                let others = [form.ids[0], form.ids[2]].map(|id| id.to_string());
                assert_eq!(stored, others, "{about}");
            }
            more => panic!("{about}: {more:?}"),
        }
        assert_nothing_else(&world, &uploads, &about).await;
    }
}

#[tokio::test]
async fn a_server_that_stops_at_any_moment_leaves_nothing_half() {
    let pieces_count = Form::new().pieces().len();
    for at in 0..=pieces_count {
        let (world, form) = (World::default(), Form::new());
        let uploads = world.uploads();
        let scope = uploads.scope.clone();
        let mut pieces = form.pieces();
        let look = Look::at(move || assert!(scope.cancel(CancelReason::Shutdown)));
        pieces.insert(at, look);
        // Whoever is sent away sends no more.
        pieces.insert(at + 1, Piece::Silence);
        let about = format!("stopped at piece {at}");
        let (stored, failed) = send(&uploads, pieces).await;
        // After the last boundary there is nothing to stop.
        match stored.len() {
            FILES => assert!(failed.is_empty() && at + 2 >= pieces_count, "{about}"),
            _ => assert_eq!(failed, ["SHUTTING_DOWN"], "{about}"),
        }
        let complete = assert_stored(&world, &form, &stored, &about).await;
        assert_eq!(complete, stored.len(), "{about}");
        let uploads = world.restarted(Crash::Kill).await;
        let rows = rows(&world).await;
        assert!(
            rows.iter().all(|row| row.state != State::Uploading),
            "{about}"
        );
        assert_nothing_else(&world, &uploads, &about).await;
    }
}
