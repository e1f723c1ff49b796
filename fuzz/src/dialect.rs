//! Whole requests, from header lines to an answer, in every dialect.

use http::header::{ALLOW, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request as HttpRequest, StatusCode};
use tidegate_protocol::dialect::{Dialect, Settings, Target, effective_method, rufh};
use tidegate_protocol::field::length::Length;
use tidegate_protocol::field::metadata::Metadata;
use tidegate_protocol::field::{name, offset, structured};
use tidegate_protocol::problem::Problem;
use tidegate_protocol::request::{
    Append, Completion, Create, NewContent, Protocol, Request, Unfinished,
};
use tidegate_protocol::response::{Interim, Resource, Response};
use tidegate_protocol::upload::{Effect, Facts, Limits, Upload, Verdict};

use crate::{split_line, split_number};

const SETTINGS: Settings = Settings {
    limits: Limits {
        size_max: Some(1 << 40),
        append_max: Some(1 << 30),
        append_min: Some(4),
        checkpoint_bytes: 1 << 20,
    },
    metadata_bytes_max: 128,
    expires_after: Some(60),
    interop_max: rufh::NEWEST + 1,
};

/// Without any bound of ours: then a number is only bounded by what can be told and stored.
const NO_LIMITS: Settings = Settings {
    limits: Limits {
        size_max: None,
        append_max: None,
        append_min: None,
        ..SETTINGS.limits
    },
    ..SETTINGS
};

const LOCATION_TOLD: &str = "http://up.example/files/id";

/// Decodes a request and answers it.
///
/// The first line is like `PATCH /files/id 5`: method, path and the length of the content as far
/// as it is known; the others are header lines.
///
/// # Panics
///
/// When a request is neither decoded nor refused, or cannot be answered.
pub fn dialect(data: &[u8]) {
    let (line, lines) = split_line(data);
    let mut words = line.split(|byte| *byte == b' ');
    let method = Method::from_bytes(words.next().unwrap_or_default()).unwrap_or_default();
    let target = match words.next() {
        Some(b"/files") => Target::Creation,
        Some(b"/") => Target::Collection,
        Some(_) | None => Target::Upload,
    };
    let content_length = words.next().map(|digits| split_number(digits).0);
    let mut request = HttpRequest::new(());
    *request.method_mut() = method;
    *request.headers_mut() = headers(lines);
    let (head, ()) = request.into_parts();
    if let Ok(method) = effective_method(&head) {
        assert!(method == head.method || head.method == Method::POST);
    }
    let detected = Dialect::detect(&head);
    if head.headers.contains_key("tus-resumable") {
        assert_eq!(detected, Some(Dialect::Tus1));
    }
    // A request that tells nothing speaks the protocol of the upload.
    let dialects = match detected {
        Some(dialect) => vec![dialect],
        None => [Protocol::Tus, Protocol::Draft].map(Dialect::of).to_vec(),
    };
    for dialect in dialects {
        for settings in [&SETTINGS, &NO_LIMITS] {
            let codec = Codec { dialect, settings };
            match dialect.decode(&head, target, content_length, settings) {
                Ok(request) => codec.answer(request),
                Err(problem) => {
                    codec.check_status(&problem, target, &head.headers);
                    codec.refuse(problem, None);
                }
            }
        }
    }
}

fn headers(mut lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    while !lines.is_empty() {
        let (line, rest) = split_line(lines);
        lines = rest;
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// A dialect as it is configured.
#[derive(Clone, Copy)]
struct Codec<'s> {
    dialect: Dialect,
    settings: &'s Settings,
}

impl Codec<'_> {
    fn protocol(self) -> Protocol {
        match self.dialect {
            Dialect::Tus1 => Protocol::Tus,
            Dialect::Rufh(_) => Protocol::Draft,
        }
    }

    fn is_tus(self) -> bool {
        self.dialect == Dialect::Tus1
    }

    fn answer(self, request: Request) {
        match request {
            Request::Create(create) => self.created(create),
            Request::Append(append) => self.append(&append),
            Request::Discover => {
                let fields = self.told(&Response::Discovered);
                assert_eq!(fields["tus-version"], "1.0.0");
                assert!(!fields[name::UPLOAD_LIMIT].is_empty());
            }
            Request::Retrieve(_) | Request::Read(Unfinished::Retrieved | Unfinished::Described) => {
                for complete in [false, true] {
                    self.retrieved(complete);
                }
            }
            Request::Read(Unfinished::Refused) => assert!(self.is_tus()),
            Request::Cancel { again } => {
                assert_eq!(again, self.is_tus());
                let cancelled = Response::Cancelled;
                self.told(&cancelled);
                let status = self.dialect.status(&cancelled);
                assert_eq!(status, StatusCode::NO_CONTENT);
            }
        }
    }

    fn retrieved(self, complete: bool) {
        let resource = Resource {
            complete,
            sha256: Some("5e".repeat(32)),
            ..resource(0)
        };
        let response = Response::Retrieved(resource.clone());
        let fields = self.told(&response);
        assert_eq!(fields["upload-offset"], "0");
        assert_eq!(fields["cache-control"], "no-store");
        let expected = if self.is_tus() { 200 } else { 204 };
        assert_eq!(self.dialect.status(&response), expected);
        let content = self.dialect.content_fields(&resource, self.settings);
        assert_eq!(fields.contains_key(name::REPR_DIGEST), complete);
        // With content of tus it is told by whoever sends that.
        let told = content.contains_key(name::REPR_DIGEST);
        assert_eq!(told, complete && !self.is_tus());
    }

    fn created(self, create: Create) {
        assert_eq!(create.protocol == Protocol::Tus, self.is_tus());
        let metadata = create.metadata.raw().to_owned();
        assert!(metadata.len() <= self.settings.metadata_bytes_max);
        let again = Metadata::parse(metadata.as_bytes(), usize::MAX);
        assert_eq!(again.as_ref(), Ok(&create.metadata));
        let (length, concat) = match &create.content {
            NewContent::Appended { length, partial } => {
                (Some(*length), partial.then(|| String::from("partial")))
            }
            NewContent::Concatenated(parts) => {
                assert!(parts.parts().count() > 0);
                assert_eq!(create.append, None);
                (None, Some(parts.raw().to_owned()))
            }
        };
        // What came in goes out byte for byte.
        let resource = Resource {
            offset: Some(0),
            length,
            metadata: metadata.clone(),
            concat: concat.clone(),
            expires_at: Some(u64::MAX),
            ..resource(0)
        };
        let fields = self.told(&Response::Retrieved(resource.clone()));
        let field = |name| fields.get(name).map(HeaderValue::as_bytes);
        if self.is_tus() {
            let told = field("upload-metadata").unwrap_or_default();
            assert_eq!(told, metadata.as_bytes());
            assert_eq!(field("upload-concat"), concat.as_deref().map(str::as_bytes));
            assert_eq!(create.digest, None);
        } else {
            assert_eq!(concat, None);
            assert_eq!(field("upload-metadata"), None);
            let digest = create.digest.map(|digest| digest.digest().len());
            assert!(digest.is_none_or(|bytes| bytes == 32));
        }
        self.told_where_it_is(resource);
        let length = length.and_then(Length::known);
        assert!(length.is_none_or(|length| length <= offset::MAX));
        if let Some(append) = create.append {
            assert_eq!(append.offset, 0);
            assert_eq!(append.length, None);
            // Nothing is created whose first content the machine would refuse.
            let facts = facts(0, length, self.protocol());
            let mut machine = Upload::new(facts, self.settings.limits);
            assert_eq!(machine.handle_append(&append), Ok(()));
            run(machine, &append);
        }
    }

    /// The interim response and the answer tell the same place.
    fn told_where_it_is(self, resource: Resource) {
        let created = Response::Created {
            location: LOCATION_TOLD.to_owned(),
            resource,
            appended: true,
        };
        assert_eq!(self.dialect.status(&created), StatusCode::CREATED);
        assert_eq!(self.told(&created)[LOCATION], LOCATION_TOLD);
        let interim = Interim::Created {
            location: LOCATION_TOLD,
            expires_in: Some(60),
        };
        let interim = self.dialect.interim(&interim, self.settings);
        let progress = Interim::Progress { offset: 5 };
        let progress = self.dialect.interim(&progress, self.settings);
        if let Some(fields) = &interim {
            assert_eq!(fields[LOCATION], LOCATION_TOLD);
            assert!(!fields[name::UPLOAD_LIMIT].is_empty());
        }
        if let Some(fields) = &progress {
            assert!(interim.is_some());
            assert!(!fields.contains_key(LOCATION));
            assert_eq!(structured::count(fields, name::UPLOAD_OFFSET), Some(5));
        }
        for fields in interim.into_iter().chain(progress) {
            assert!(!self.is_tus());
            self.check_legal(&fields);
            let told = structured::count(&fields, name::UPLOAD_DRAFT_INTEROP_VERSION);
            assert!(told.is_some_and(|told| (3..=self.settings.interop_max).contains(&told)));
        }
    }

    fn append(self, append: &Append) {
        let tus = append.completion == Completion::AtLength;
        assert_eq!(tus, self.is_tus());
        let at = append.offset;
        assert!(
            at <= if tus {
                offset::MAX
            } else {
                structured::INTEGER_MAX
            }
        );
        // As it may be stored.
        let lengths = [Some(at), at.checked_add(3), append.length].into_iter();
        let lengths = lengths
            .flatten()
            .filter(|length| (at..=offset::MAX).contains(length));
        let lengths: Vec<_> = lengths.map(Some).chain([None]).collect();
        for protocol in [Protocol::Tus, Protocol::Draft] {
            for length in lengths.iter().copied() {
                for complete in [false, length == Some(at)] {
                    let facts = Facts {
                        complete,
                        ..facts(at, length, protocol)
                    };
                    let mut machine = Upload::new(facts, self.settings.limits);
                    match machine.handle_append(append) {
                        Ok(()) => {
                            assert_eq!(protocol, self.protocol());
                            run(machine, append);
                        }
                        Err(problem) => self.refuse(problem, Some(resource(at))),
                    }
                }
            }
        }
    }

    /// The fields of an answer: legal, and each there once.
    fn told(self, response: &Response) -> HeaderMap {
        let fields = self.dialect.fields(response, self.settings);
        let names_tus = *response == Response::Discovered || self.is_tus();
        assert_eq!(fields.contains_key("tus-resumable"), names_tus);
        self.check_legal(&fields);
        assert!(self.dialect.status(response).as_u16() >= 200);
        fields
    }

    fn check_legal(self, fields: &HeaderMap) {
        for (name, value) in fields {
            assert_eq!(fields.get_all(name).iter().count(), 1, "{name}");
            // Metadata of tus may be any text.
            let text = name == "upload-metadata" || value.to_str().is_ok();
            assert!(text, "{name}: {value:?}");
        }
        if self.is_tus() {
            return;
        }
        for count in [name::UPLOAD_OFFSET, name::UPLOAD_LENGTH] {
            let told = structured::count(fields, count);
            assert_eq!(told.is_some(), fields.contains_key(count), "{count}");
        }
        for boolean in [name::UPLOAD_COMPLETE, name::UPLOAD_INCOMPLETE] {
            let told = structured::boolean(fields, boolean);
            assert_eq!(told.is_some(), fields.contains_key(boolean), "{boolean}");
        }
        let digest = structured::sha256(fields, name::REPR_DIGEST);
        assert_eq!(digest.is_some(), fields.contains_key(name::REPR_DIGEST));
    }

    /// What the rows allow for a request that is not even decoded.
    fn check_status(self, problem: &Problem, target: Target, headers: &HeaderMap) {
        let status = self.dialect.refusal(problem.clone()).status().as_u16();
        let allowed: &[u16] = match (self.is_tus(), target) {
            (true, _) => &[400, 403, 405, 412, 413, 415, 431],
            // Rows R26 and R44 to R46.
            (false, Target::Upload) => &[400, 405, 415],
            (false, Target::Creation | Target::Collection) => &[400, 405, 413, 431],
        };
        assert!(allowed.contains(&status), "{status}: {headers:?}");
    }

    fn refuse(self, problem: Problem, resource: Option<Resource>) {
        let problem = self.dialect.refusal(problem);
        assert!(!problem.slug().is_empty() && !problem.title().is_empty());
        assert!(!problem.code().is_empty() && !problem.detail().is_empty());
        assert!(problem.members().iter().all(|(name, _)| !name.is_empty()));
        assert!(HeaderValue::try_from(problem.uri()).is_ok());
        let (field, message) = problem.errors().unwrap_or(("none", "none"));
        assert!(!field.is_empty() && !message.is_empty());
        let allow = problem.allow().map(str::to_owned);
        if let Some(allow) = &allow {
            let fields =
                HeaderMap::from_iter([(ALLOW, HeaderValue::from_str(allow).expect("text"))]);
            assert!(!fields[ALLOW].is_empty());
        }
        let offset = resource.as_ref().and_then(|resource| resource.offset);
        let response = Response::Refused {
            problem,
            location: None,
            resource,
        };
        let status = self.dialect.status(&response);
        assert!(status.is_client_error());
        let fields = self.told(&response);
        let expected = offset.map(HeaderValue::from);
        assert_eq!(fields.get("upload-offset"), expected.as_ref());
        if !self.is_tus() {
            assert!(!matches!(status.as_u16(), 412 | 460));
            // Whether there is something to go on with, and within which bounds.
            let complete = [name::UPLOAD_COMPLETE, name::UPLOAD_INCOMPLETE];
            let told = complete.iter().filter(|name| fields.contains_key(**name));
            assert_eq!(told.count(), usize::from(allow.is_none()));
            assert_eq!(fields.contains_key(name::UPLOAD_LIMIT), allow.is_none());
        }
    }
}

/// Lets all come that the append announces, or a little, and looks at what is committed.
fn run(mut machine: Upload, append: &Append) {
    let before = machine.facts();
    let take = machine.handle_data(append.content_length.unwrap_or(7));
    machine.handle_written(machine.written() + take);
    machine.handle_end();
    while let Some(effect) = machine.poll_effect() {
        match effect {
            Effect::Commit(commit) => {
                assert!(commit.from <= commit.to && commit.to <= offset::MAX);
                let length = commit.length.or(before.length);
                assert!(length.is_none_or(|length| commit.to <= length && length <= offset::MAX));
                machine.handle_committed();
            }
            Effect::Verify(_) => machine.handle_verified(Verdict::Match),
            Effect::Truncate { .. } => machine.handle_truncated(),
            Effect::Answer(outcome) => {
                assert!(outcome.facts.complete || !before.complete);
                return;
            }
        }
    }
    panic!("no answer to {append:?}");
}

fn facts(offset: u64, length: Option<u64>, protocol: Protocol) -> Facts {
    Facts {
        offset,
        length,
        complete: false,
        concatenated: false,
        has_digest: false,
        protocol,
    }
}

fn resource(offset: u64) -> Resource {
    Resource {
        offset: Some(offset),
        complete: false,
        sha256: None,
        length: Some(Length::Deferred),
        metadata: String::new(),
        concat: None,
        expires_at: None,
        expires_in: None,
    }
}
