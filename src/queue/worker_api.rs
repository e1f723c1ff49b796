//! The routes of workers (contract, "Processing queue"). What they are answered is plain JSON, without
//! the envelope of the other routes, and every time in it is a duration in milliseconds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tidegate_protocol::problem::Problem;
use tokio::task::spawn_blocking;

use super::api::turned_away;
use super::ask::{self, known_model};
use super::claim::{Answer, Offer};
use super::crew::Name;
use super::item::{Item, State};
use super::lease::{Claim, Finish, Finished, Holder, Outcome};
use super::result::Report;
use super::{Image, Queue, control};
use crate::auth::{Caller, Models, Role};
use crate::http::{Operation, OutBody, Page, Request, Response, json};

/// How long a claim may wait.
const WAIT_MAX_MS: u64 = 30_000;

/// Items in one claim, and in one heartbeat, at most.
const CLAIMED_MAX: i64 = 100;
const HEARTBEAT_MAX: usize = 1000;

/// Models in one claim, at most.
const MODELS_MAX: usize = 32;

/// The longest name of a worker, in bytes.
const NAME_MAX: usize = 100;

/// The longest message of a failure that is kept, in characters.
const MESSAGE_MAX: usize = 2000;

/// Bytes of a report that are read in a moment.
const READ_AT_ONCE: usize = 64 * 1024;

/// For how long the URL of an image is good.
const URL_LIFETIME: Duration = Duration::from_secs(3600);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct AskClaim {
    worker: String,
    session: String,
    claim_id: String,
    models: Vec<String>,
    max: Option<i64>,
    wait_ms: u64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AskHeartbeat {
    session: String,
    items: Vec<Beat>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Beat {
    id: String,
    fence: i64,
    progress: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AskFinish<'b> {
    fence: Option<i64>,
    outcome: String,
    /// Read when it is known to be wanted.
    #[serde(borrow)]
    result: Option<&'b RawValue>,
    error: Option<AskError>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskError {
    message: String,
    #[serde(default)]
    retryable: bool,
}

/// An item, as its worker gets it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Claimed {
    id: String,
    fence: i64,
    attempt: i64,
    lease_ms: i64,
    heartbeat_ms: u128,
    model: String,
    threshold: f64,
    detect_holes: bool,
    image: ClaimedImage,
}

#[derive(Serialize)]
struct ClaimedImage {
    id: String,
    filename: Option<String>,
    size: u64,
    sha256: Option<String>,
    url: String,
}

/// What a worker is to do with an item.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Directive {
    id: String,
    directive: &'static str,
    lease_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_ms: Option<i64>,
}

/// `POST /api/worker/claim`.
pub(super) async fn claim(queue: Arc<Queue>, mut request: Request) -> Response {
    let offered = async {
        may_work(&request.caller)?;
        let ask: AskClaim = json::read(&request.head.headers, &mut request.body).await?;
        let (claim, wait) = ask.checked(&queue, &request.caller)?;
        queue.crew.heard();
        queue.offer(claim, wait, request.interim.left()).await
    };
    match offered.await {
        Ok(Some(Offer { items, taken })) => {
            let items = items.into_iter();
            let items = items.map(|(item, image)| claimed(&queue, &request, item, image));
            let items: Vec<_> = items.collect();
            let body = json!({ "items": items }).to_string();
            plain(Answer::body(body.into_bytes(), taken))
        }
        Ok(None) => {
            let mut response = unkept(OutBody::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Err(problem) => turned_away(&request, &problem),
    }
}

impl AskClaim {
    fn checked(self, queue: &Queue, caller: &Caller) -> Result<(Claim, Duration), Problem> {
        if !(1..=MODELS_MAX).contains(&self.models.len()) {
            return Err(Problem::validation("models", "must be 1 to 32"));
        }
        let mut models = Vec::new();
        for model in self.models {
            let model = known_model(model, &queue.config)?;
            if !caller.may_work_on(&model) {
                return Err(Problem::Forbidden);
            }
            models.push(model);
        }
        let max = self.max.unwrap_or(1);
        if !(1..=CLAIMED_MAX).contains(&max) {
            return Err(Problem::validation("max", "must be a number from 1 to 100"));
        }
        if self.wait_ms > WAIT_MAX_MS {
            return Err(Problem::validation(
                "waitMs",
                "must be a number from 0 to 30000",
            ));
        }
        ask::uuid(&self.session, "session")?;
        let claim = Claim {
            worker: worker_name(&self.worker)?,
            holder: caller.user.clone(),
            claim: ask::uuid(&self.claim_id, "claimId")?,
            models,
            max,
        };
        Ok((claim, Duration::from_millis(self.wait_ms)))
    }
}

fn claimed(queue: &Queue, request: &Request, item: Item, image: Image) -> Claimed {
    Claimed {
        lease_ms: item.lease.unwrap_or(0),
        heartbeat_ms: queue.config.heartbeat().as_millis(),
        threshold: item.threshold.value(),
        image: ClaimedImage {
            url: url(queue, request, &item, &image),
            id: image.id,
            filename: image.filename,
            size: image.bytes,
            sha256: image.sha256,
        },
        id: item.id,
        fence: item.fence,
        attempt: item.attempt,
        model: item.model,
        detect_holes: item.detect_holes,
    }
}

/// Where a worker, who has no right in the project, can read an image: with that of whoever has
/// enqueued it.
fn url(queue: &Queue, request: &Request, item: &Item, image: &Image) -> String {
    let origin = queue.origin.of(&request.head, &request.scheme);
    let url = format!("{origin}/files/{}", image.id);
    if queue.auth.everybody().is_some() {
        return url;
    }
    let lender = Caller::named(&item.user);
    let capabilities = queue.auth.capabilities();
    let (token, _) = capabilities.issue(&lender, Operation::Read.word(), &image.id, URL_LIFETIME);
    format!("{url}?token={token}")
}

/// `GET /api/worker/{worker}/control?session=`.
pub(super) async fn listen(queue: Arc<Queue>, request: Request) -> Response {
    let name = name(&request).and_then(|name| {
        let session = Page::of(&request.head)?.query("session");
        ask::uuid(&session.unwrap_or_default(), "session")?;
        Ok(name)
    });
    match name {
        Ok(name) => {
            queue.crew.heard();
            control::answer(queue, name)
        }
        Err(problem) => turned_away(&request, &problem),
    }
}

/// `POST /api/worker/{worker}/heartbeat`.
pub(super) async fn beat(queue: Arc<Queue>, mut request: Request) -> Response {
    let directives = async {
        name(&request)?;
        let ask: AskHeartbeat = json::read(&request.head.headers, &mut request.body).await?;
        ask::uuid(&ask.session, "session")?;
        if ask.items.len() > HEARTBEAT_MAX {
            return Err(Problem::validation("items", "must not be more than 1000"));
        }
        for beat in &ask.items {
            ask::uuid(&beat.id, "items")?;
            if beat
                .progress
                .is_some_and(|progress| !(0.0..=100.0).contains(&progress))
            {
                let why = "has a progress that is no number from 0 to 100";
                return Err(Problem::validation("items", why));
            }
        }
        queue.crew.heard();
        queue.beat(&ask.items, &holder(&request.caller)).await
    };
    match directives.await {
        Ok(directives) => {
            let drain = queue.scope.reason().is_some();
            let body = json!({ "items": directives, "drain": drain });
            plain(OutBody::full(body.to_string()))
        }
        Err(problem) => turned_away(&request, &problem),
    }
}

impl Queue {
    async fn beat(&self, beats: &[Beat], holder: &Holder) -> Result<Vec<Directive>, Problem> {
        let told = beats.iter().filter_map(|beat| Some((beat, beat.progress?)));
        let told: Vec<_> = told
            .map(|(beat, progress)| (beat, progress, self.crew.prepare(&beat.id)))
            .collect();
        let pairs: Vec<_> = beats
            .iter()
            .map(|beat| (beat.id.clone(), beat.fence))
            .collect();
        let renewed = match pairs.is_empty() {
            true => Ok(Vec::new()),
            false => self.store.heartbeat(&pairs, holder).await,
        };
        let items = renewed.as_deref().unwrap_or_default();
        let held: HashMap<_, _> = items.iter().map(|item| (item.id.as_str(), item)).collect();
        let find = |beat: &Beat| {
            let item = held.get(beat.id.as_str()).copied();
            item.filter(|item| item.fence == beat.fence)
        };
        for (beat, progress, prepared) in &told {
            let item = find(beat).filter(|item| item.state == State::Processing);
            if let Some(item) = item {
                self.crew.progress(item, *prepared, *progress);
            }
        }
        let told = told.iter().map(|(beat, ..)| beat.id.as_str());
        self.crew.dismiss(told);
        let directives = beats.iter().map(|beat| directive(beat, find(beat)));
        let directives = directives.collect();
        renewed.map(|_| directives).map_err(Problem::from)
    }
}

fn directive(beat: &Beat, item: Option<&Item>) -> Directive {
    Directive {
        id: beat.id.clone(),
        directive: match item.map(|item| item.state) {
            Some(State::Processing) => "continue",
            Some(State::Cancelling) => "cancel",
            _ => "lost",
        },
        lease_ms: item.and_then(|item| item.lease).unwrap_or(0),
        grace_ms: item.and_then(|item| item.grace).map(|grace| grace.max(0)),
    }
}

/// `POST /api/worker/items/{item}/finish`.
pub(super) async fn finish(queue: Arc<Queue>, mut request: Request) -> Response {
    let finished = async {
        may_work(&request.caller)?;
        let id = ask::path_id(&request.path, "item")?;
        let limit = queue.config.result_bytes_max;
        let bytes = json::read_within(&request.head.headers, &mut request.body, limit).await?;
        let (fence, outcome) = report(bytes).await?;
        let finish = Finish {
            id,
            fence,
            holder: holder(&request.caller),
            outcome,
        };
        queue.crew.heard();
        match queue.store.finish(finish).await? {
            Finished::As(state) => Ok(state),
            Finished::CancelWon => Err(Problem::CancelWon),
            Finished::LeaseLost => Err(Problem::LeaseLost),
            Finished::Unknown => Err(Problem::NotFound),
        }
    };
    match finished.await {
        Ok(state) => {
            let body = json!({ "state": state.as_str() });
            plain(OutBody::full(body.to_string()))
        }
        Err(problem) => turned_away(&request, &problem),
    }
}

/// A fence, and what is said of the item. A large report is read where it holds nobody up.
async fn report(bytes: Vec<u8>) -> Result<(i64, Outcome), Problem> {
    if bytes.len() <= READ_AT_ONCE {
        return AskFinish::read(&bytes);
    }
    let read = spawn_blocking(move || AskFinish::read(&bytes)).await;
    read.unwrap_or_else(|error| {
        tracing::error!(%error, "reading a report");
        Err(Problem::Internal)
    })
}

impl AskFinish<'_> {
    fn read(bytes: &[u8]) -> Result<(i64, Outcome), Problem> {
        let ask: AskFinish<'_> = json::parse(bytes, "body")?;
        let missing = || Problem::validation("fence", "is missing");
        let fence = ask.fence.ok_or_else(missing)?;
        Ok((fence, ask.outcome()?))
    }

    fn outcome(self) -> Result<Outcome, Problem> {
        let wrong = |field, why| Err(Problem::validation(field, why));
        match (self.outcome.as_str(), self.result, self.error) {
            ("completed", Some(result), None) => {
                let report: Report = json::parse(result.get().as_bytes(), "result")?;
                Ok(Outcome::Completed(report.checked()?.into()))
            }
            ("failed", None, Some(error)) => Ok(Outcome::Failed {
                message: kept(&error.message),
                retryable: error.retryable,
            }),
            ("cancelled", None, None) => Ok(Outcome::Cancelled),
            ("completed", None, _) => wrong("result", "is missing"),
            ("failed", _, None) => wrong("error", "is missing"),
            ("completed" | "failed" | "cancelled", _, _) => wrong(
                "outcome",
                "goes with `result` if it is `completed`, with `error` if it is `failed`",
            ),
            _ => wrong("outcome", "must be `completed`, `failed` or `cancelled`"),
        }
    }
}

/// As much of a failure's message as is kept, which may be some traceback.
fn kept(message: &str) -> String {
    let is_text = |c: &char| !c.is_control() || ['\n', '\t'].contains(c);
    message.chars().filter(is_text).take(MESSAGE_MAX).collect()
}

/// The worker that a path names, if the caller is one.
fn name(request: &Request) -> Result<Name, Problem> {
    may_work(&request.caller)?;
    Ok(Name {
        worker: worker_name(request.path.get("worker").unwrap_or_default())?,
        holder: request.caller.user.clone(),
    })
}

fn holder(caller: &Caller) -> Holder {
    let models = match &caller.role {
        Role::Worker(Models::Only(models)) => Some(json!(models[..]).to_string()),
        Role::Worker(Models::All) | Role::Local | Role::User | Role::Admin => None,
    };
    Holder {
        user: caller.user.clone(),
        models,
    }
}

fn may_work(caller: &Caller) -> Result<(), Problem> {
    caller.is_worker().then_some(()).ok_or(Problem::Forbidden)
}

fn worker_name(text: &str) -> Result<String, Problem> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err(Problem::validation(
            "worker",
            "must be 1 to 100 of letters, digits, `.`, `_` and `-`",
        )),
    }
}

fn plain(body: OutBody) -> Response {
    let mut response = unkept(body);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// Nobody keeps it: what is said holds now only, and the URL of an image lends a right.
fn unkept(body: OutBody) -> Response {
    let mut response = Response::new(body);
    let fixed = [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let fixed = fixed.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(fixed);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PostgreSQL has no texts with a NUL in them.
    #[test]
    fn a_message_is_text_and_bounded() {
        assert_eq!(kept("a\0b\r\n\tc\u{1b}[31m"), "ab\n\tc[31m");
        assert_eq!(kept(&"\u{1f980}".repeat(3000)).chars().count(), MESSAGE_MAX);
    }
}
