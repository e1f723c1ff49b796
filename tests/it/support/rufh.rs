//! The vocabulary of the IETF draft: requests as a correct client sends them, for a test to send or
//! to spoil. They name no interop version unless a test adds one ([`Req::interop`]), so that they
//! mean the newest and are sent no 104.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::server::Server;
use super::tus::Upload;
use super::wire::{Answer, Req};

/// The media type of an append.
pub(crate) const PARTIAL_UPLOAD: &str = "application/partial-upload";

/// The newest interop version that is known.
pub(crate) const NEWEST: u64 = 9;

/// In `Upload-Complete`: more is to follow.
pub(crate) const MORE: &str = "?0";

/// In `Upload-Complete`: with this the upload is complete.
pub(crate) const LAST: &str = "?1";

/// `POST /files` with an empty body; the test adds another.
pub(crate) fn create(complete: &str) -> Req {
    Req::new("POST", "/files")
        .header("Upload-Complete", complete)
        .body("")
}

/// A creation without content that tells the length.
pub(crate) fn create_of(length: u64) -> Req {
    create(MORE).header("Upload-Length", length.to_string())
}

/// A PATCH with an empty body; the test adds another.
pub(crate) fn patch(upload: &Upload, offset: u64, complete: &str) -> Req {
    Req::new("PATCH", &upload.path)
        .header("Content-Type", PARTIAL_UPLOAD)
        .header("Upload-Offset", offset.to_string())
        .header("Upload-Complete", complete)
        .body("")
}

/// Nothing in it tells the dialect, but its upload's URL.
pub(crate) fn head(upload: &Upload) -> Req {
    Req::new("HEAD", &upload.path)
}

pub(crate) fn delete(upload: &Upload) -> Req {
    Req::new("DELETE", &upload.path)
}

/// A GET that looks like any reader's.
pub(crate) fn get(upload: &Upload) -> Req {
    Req::new("GET", &upload.path)
}

/// A value of `Content-Digest` and `Repr-Digest`.
pub(crate) fn digest(data: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(data)))
}

impl Req {
    /// Names an interop version, and with it asks for 104.
    pub(crate) fn interop(self, version: u64) -> Self {
        self.header("Upload-Draft-Interop-Version", version.to_string())
    }
}

impl Answer {
    /// Checks what the answer says of an upload that can be gone on with.
    #[track_caller]
    pub(crate) fn expect_open(self, offset: u64) -> Self {
        let answer = self.expect_header("Upload-Complete", MORE);
        answer.field("Upload-Limit");
        answer
            .expect_offset(offset)
            .expect_no_header("Tus-Resumable")
    }

    /// Checks the answer that says of these bytes that they are a complete upload.
    #[track_caller]
    pub(crate) fn expect_complete(self, data: &[u8]) -> Self {
        let length = data.len() as u64;
        let answer = self.expect_header("Upload-Complete", LAST);
        answer.field("Upload-Limit");
        answer
            .expect_offset(length)
            .expect_header("Upload-Length", &length.to_string())
            .expect_header("Repr-Digest", &digest(data))
            .expect_no_header("Tus-Resumable")
    }

    /// A member of `Upload-Limit`.
    #[track_caller]
    pub(crate) fn limit(&self, key: &str) -> Option<u64> {
        let members = self.list("Upload-Limit");
        let value = members.iter().find_map(|member| {
            let (name, value) = member.split_once('=')?;
            (name == key).then(|| value.parse().ok())
        });
        value.map(|value| value.unwrap_or_else(|| panic!("odd {key} in:\n{self}")))
    }
}

impl Server {
    /// Creates an upload of known length in the draft.
    pub(crate) async fn create_draft(&self, length: u64) -> Upload {
        Upload::created(&self.send(create_of(length)).await.expect(201))
    }

    /// Creates one of unknown length.
    pub(crate) async fn create_open_draft(&self) -> Upload {
        Upload::created(&self.send(create(MORE)).await.expect(201))
    }

    /// Appends what more is to follow, and returns the new offset.
    pub(crate) async fn append_draft(&self, upload: &Upload, offset: u64, data: &[u8]) -> u64 {
        let patch = patch(upload, offset, MORE).body(data);
        let end = offset + data.len() as u64;
        self.send(patch).await.expect(204).expect_open(end);
        end
    }

    /// Creates an upload that has all of its bytes.
    pub(crate) async fn complete_draft(&self, data: &[u8]) -> Upload {
        let answer = self.send(create(LAST).body(data)).await.expect(201);
        Upload::created(&answer.expect_complete(data))
    }

    /// The offset a HEAD tells. Whoever sends is sent away by it.
    pub(crate) async fn draft_offset(&self, upload: &Upload) -> u64 {
        let answer = self.send(head(upload)).await.expect(204);
        answer
            .offset()
            .unwrap_or_else(|| panic!("no Upload-Offset in:\n{answer}"))
    }

    /// Checks that the upload has this offset and is otherwise as good as untouched: the rest of
    /// `whole` can be appended to it, and the whole comes back.
    pub(crate) async fn expect_draft_resumable(&self, upload: &Upload, offset: u64, whole: &[u8]) {
        let answer = self.send(head(upload)).await.expect(204);
        answer.expect_open(offset);
        let kept = usize::try_from(offset).expect("a test's upload fits into memory");
        let last = patch(upload, offset, LAST).body(&whole[kept..]);
        self.send(last).await.expect(201).expect_complete(whole);
        super::assert_same_bytes(&self.download(upload).await, whole, "the resumed upload");
    }

    /// Checks that there is nothing to go on with: every verb gets this problem.
    pub(crate) async fn expect_draft_gone(&self, upload: &Upload, status: u16, slug: &str) {
        let verbs = [
            get(upload),
            patch(upload, 0, MORE).body("x"),
            patch(upload, 0, LAST),
            delete(upload),
        ];
        for verb in verbs {
            let answer = self.send(verb).await.expect_slug(status, slug);
            answer
                .expect_no_header("Upload-Offset")
                .expect_no_header("Upload-Complete");
        }
        let answer = self.send(head(upload)).await.expect(status);
        answer.expect_no_header("Upload-Offset");
    }
}
