//! The tus vocabulary: requests as a correct client sends them, for a test to send or to spoil.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::server::Server;
use super::wire::{Answer, Req};

pub(crate) const VERSION: &str = "1.0.0";
pub(crate) const OFFSET_OCTET_STREAM: &str = "application/offset+octet-stream";

/// An upload resource as its creator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upload {
    /// The absolute URL that the creation answered.
    pub(crate) location: String,
    /// Its path, which stays when the server comes back on another port.
    pub(crate) path: String,
}

impl Upload {
    /// Reads the `Location` of a creation and checks its shape.
    #[track_caller]
    pub(crate) fn created(answer: &Answer) -> Self {
        let location = answer.field("Location").to_owned();
        let after_scheme = location.strip_prefix("http://").unwrap_or_default();
        let path = after_scheme
            .find('/')
            .map(|at| after_scheme[at..].to_owned());
        let path = path.unwrap_or_else(|| panic!("Location is not absolute:\n{answer}"));
        let id = path
            .strip_prefix("/files/")
            .and_then(|id| Uuid::parse_str(id).ok());
        let version = id.map(|id| id.get_version_num());
        assert_eq!(
            version,
            Some(4),
            "Location is not /files/{{random UUID}}:\n{answer}"
        );
        Self { location, path }
    }

    /// An upload from the JSON list.
    pub(crate) fn listed(view: &serde_json::Value) -> Self {
        let path = view["url"]
            .as_str()
            .unwrap_or_else(|| panic!("no url in {view}"))
            .to_owned();
        Self {
            location: format!("http://127.0.0.1{path}"),
            path,
        }
    }

    /// An upload that was never created.
    pub(crate) fn unknown() -> Self {
        let path = format!("/files/{}", Uuid::new_v4());
        Self {
            location: format!("http://127.0.0.1{path}"),
            path,
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.path["/files/".len()..]
    }
}

/// Any request of a tus client.
pub(crate) fn request(method: &str, target: &str) -> Req {
    Req::new(method, target).header("Tus-Resumable", VERSION)
}

/// `POST /files` without what kind of upload it is to be.
pub(crate) fn post() -> Req {
    request("POST", "/files").body("")
}

pub(crate) fn create(length: u64) -> Req {
    post().header("Upload-Length", length.to_string())
}

pub(crate) fn create_deferred() -> Req {
    post().header("Upload-Defer-Length", "1")
}

/// Creation with upload: the body is the test's to add.
pub(crate) fn create_with_data(length: u64) -> Req {
    create(length).header("Content-Type", OFFSET_OCTET_STREAM)
}

pub(crate) fn create_partial(length: u64) -> Req {
    create(length).header("Upload-Concat", "partial")
}

pub(crate) fn create_final(parts: &[&str]) -> Req {
    post().header("Upload-Concat", format!("final;{}", parts.join(" ")))
}

/// A PATCH with an empty body; the test adds another.
pub(crate) fn patch(upload: &Upload, offset: u64) -> Req {
    request("PATCH", &upload.path)
        .header("Content-Type", OFFSET_OCTET_STREAM)
        .header("Upload-Offset", offset.to_string())
        .body("")
}

pub(crate) fn head(upload: &Upload) -> Req {
    request("HEAD", &upload.path)
}

pub(crate) fn delete(upload: &Upload) -> Req {
    request("DELETE", &upload.path)
}

pub(crate) fn options(target: &str) -> Req {
    Req::new("OPTIONS", target)
}

/// A download, as a browser asks for it: nothing of tus in it.
pub(crate) fn get(upload: &Upload) -> Req {
    Req::new("GET", &upload.path)
}

/// An `Upload-Metadata` value.
pub(crate) fn metadata(pairs: &[(&str, &[u8])]) -> String {
    let pair = |(key, value): &(&str, &[u8])| format!("{key} {}", BASE64_STANDARD.encode(value));
    pairs.iter().map(pair).collect::<Vec<_>>().join(",")
}

/// The checksum algorithms of the contract.
pub(crate) const ALGORITHMS: [&str; 4] = ["sha1", "sha256", "md5", "crc32c"];

/// An `Upload-Checksum` value.
pub(crate) fn checksum(algorithm: &str, data: &[u8]) -> String {
    let digest = match algorithm {
        "sha1" => Sha1::digest(data).to_vec(),
        "sha256" => Sha256::digest(data).to_vec(),
        "md5" => Md5::digest(data).to_vec(),
        "crc32c" => crc32c::crc32c(data).to_be_bytes().to_vec(),
        other => panic!("no such algorithm: {other}"),
    };
    format!("{algorithm} {}", BASE64_STANDARD.encode(digest))
}

/// The entity tag of these bytes.
pub(crate) fn etag(data: &[u8]) -> String {
    let hex = Sha256::digest(data)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    format!("\"{hex}\"")
}

impl Server {
    /// Creates an upload of known length.
    pub(crate) async fn create(&self, length: u64) -> Upload {
        Upload::created(&self.send(create(length)).await.expect(201))
    }

    /// Creates an upload of unknown length.
    pub(crate) async fn create_deferred(&self) -> Upload {
        Upload::created(&self.send(create_deferred()).await.expect(201))
    }

    /// Appends, and returns the new offset.
    pub(crate) async fn append(&self, upload: &Upload, offset: u64, data: &[u8]) -> u64 {
        let answer = self
            .send(patch(upload, offset).body(data))
            .await
            .expect(204);
        let end = offset + data.len() as u64;
        answer.expect_offset(end);
        end
    }

    /// Creates an upload that has all of its bytes.
    pub(crate) async fn complete(&self, data: &[u8]) -> Upload {
        let upload = self.create(data.len() as u64).await;
        self.append(&upload, 0, data).await;
        upload
    }

    /// Creates a partial upload that has all of its bytes.
    pub(crate) async fn complete_partial(&self, data: &[u8]) -> Upload {
        let answer = self
            .send(create_partial(data.len() as u64))
            .await
            .expect(201);
        let upload = Upload::created(&answer);
        self.append(&upload, 0, data).await;
        upload
    }

    /// Creates a final upload of these parts.
    pub(crate) async fn concatenate(&self, parts: &[&Upload]) -> Upload {
        let locations = parts
            .iter()
            .map(|part| part.location.as_str())
            .collect::<Vec<_>>();
        Upload::created(&self.send(create_final(&locations)).await.expect(201))
    }

    /// The offset a HEAD tells.
    pub(crate) async fn offset(&self, upload: &Upload) -> u64 {
        let answer = self.send(head(upload)).await.expect(200);
        answer
            .offset()
            .unwrap_or_else(|| panic!("no Upload-Offset in:\n{answer}"))
    }

    /// The uploads in this state, as JSON.
    pub(crate) async fn uploads(&self, state: &str) -> Vec<serde_json::Value> {
        let target = format!("/api/projects/default/uploads?state={state}");
        let listed = self.send(Req::new("GET", &target)).await.expect(200).json();
        let views = listed["data"].as_array();
        views
            .unwrap_or_else(|| panic!("no list in {listed}"))
            .clone()
    }

    /// An upload as JSON.
    pub(crate) async fn row(&self, upload: &Upload) -> serde_json::Value {
        let target = format!("/api/uploads/{}", upload.id());
        let answer = self.send(Req::new("GET", &target)).await.expect(200);
        answer.json()["data"].clone()
    }

    /// The bytes a GET gives.
    pub(crate) async fn download(&self, upload: &Upload) -> Vec<u8> {
        self.send(get(upload)).await.expect(200).body
    }

    /// Checks that the upload has this offset and is otherwise as good as untouched: the rest of
    /// `whole` can be appended to it, and the whole comes back.
    pub(crate) async fn expect_resumable(&self, upload: &Upload, offset: u64, whole: &[u8]) {
        assert_eq!(
            self.offset(upload).await,
            offset,
            "the offset that HEAD tells"
        );
        let kept = usize::try_from(offset).expect("a test's upload fits into memory");
        self.append(upload, offset, &whole[kept..]).await;
        super::assert_same_bytes(&self.download(upload).await, whole, "the resumed upload");
    }
}
