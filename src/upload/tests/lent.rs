//! Reading by a right that somebody has lent, over a real socket.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::script::Script;
use super::world::{HOUR, World, append_at, content, new_upload, send};
use crate::access::DEFAULT_OF_LOCAL;
use crate::auth::{Authenticator, Caller, Role, Signer};
use crate::cancel::Scope;
use crate::http::telemetry::Metrics;
use crate::http::{Bound, Config, Listen, Listeners, Router, serve};
use crate::id::UploadId;
use crate::upload::store::State;

/// A server that asks who is calling, over a world.
struct Guarded {
    world: World,
    auth: Authenticator,
    signer: Signer,
    address: SocketAddr,
    _scope: Scope,
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Guarded {
    async fn start() -> Self {
        let world = World::default();
        let (auth, signer) = Authenticator::with_signer(|| 1_000_000);
        let anywhere = [Listen::Tcp("127.0.0.1:0".into())];
        let listeners = Listeners::bind(&anywhere).await.unwrap();
        let Bound::Tcp(address) = listeners.bound().unwrap()[0] else {
            panic!("not TCP")
        };
        let router = Router::new(world.routes(&auth)).unwrap();
        let (scope, config) = (Scope::root("server"), Config::new(auth.clone()));
        let serving = serve(
            listeners,
            router,
            config,
            Metrics::new().http,
            scope.clone(),
        );
        drop(scope.spawn(serving));
        Self {
            world,
            auth,
            signer,
            address,
            _scope: scope,
        }
    }

    /// An upload of somebody's of which so many bytes are there.
    async fn upload(&self, sent: &[u8], length: usize) -> UploadId {
        let uploads = self.world.uploads();
        self.world.rows.share(DEFAULT_OF_LOCAL, "somebody", true);
        let mut new = new_upload(Some(length as u64));
        new.project = Some(DEFAULT_OF_LOCAL.to_owned());
        let id = uploads.store.create(new).await.unwrap().unwrap().upload.id;
        let sender = Script::new(Script::sending(sent, 16));
        send(&uploads, id, append_at(0), sender).await;
        id
    }

    fn lend(&self, caller: &Caller, operation: &str, id: UploadId) -> String {
        let capabilities = self.auth.capabilities();
        let lent = capabilities.issue(caller, operation, &id.to_string(), HOUR);
        lent.0
    }

    async fn ask(&self, method: &str, target: &str, fields: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: up.example\r\nConnection: close\r\n{fields}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let blank = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body = answer.split_off(blank.unwrap() + 4);
        let head = String::from_utf8(answer).unwrap().to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body }
    }
}

#[tokio::test]
async fn who_is_lent_a_right_to_read_reads_the_content_and_parts_of_it() {
    let guarded = Guarded::start().await;
    let whole = content(100);
    let id = guarded.upload(&whole, 100).await;
    let token = guarded.lend(&Caller::named("somebody"), "read", id);
    for path in [format!("/files/{id}"), format!("/files/{id}/")] {
        let target = format!("{path}?token={token}");
        let read = guarded.ask("GET", &target, "").await;
        assert_eq!((read.status, &read.body), (200, &whole), "{}", read.head);
        let part = guarded.ask("GET", &target, "Range: bytes=90-\r\n").await;
        assert_eq!((part.status, &part.body[..]), (206, &whole[90..]));
        let etag = read.head.split("etag: ").nth(1).unwrap();
        let etag = etag.lines().next().unwrap();
        let known = format!("If-None-Match: {etag}\r\n");
        assert_eq!(guarded.ask("GET", &target, &known).await.status, 304);
        assert_eq!(guarded.ask("GET", &path, "").await.status, 401);
    }
}

#[tokio::test]
async fn a_right_to_read_does_nothing_else_and_no_other_right_reads() {
    let guarded = Guarded::start().await;
    let id = guarded.upload(&content(100), 100).await;
    let other = guarded.upload(&content(100), 100).await;
    let somebody = Caller::named("somebody");
    let read = guarded.lend(&somebody, "read", id);
    let cancel = guarded.lend(&somebody, "upload", id);
    let target = |id: UploadId, token: &str| format!("/files/{id}?token={token}");
    let tus = "Tus-Resumable: 1.0.0\r\n";
    for method in ["HEAD", "PATCH", "DELETE", "POST", "PUT"] {
        let answer = guarded.ask(method, &target(id, &read), tus).await;
        assert_eq!(answer.status, 401, "{method}: {}", answer.head);
    }
    for method in ["DELETE", "PATCH", "HEAD"] {
        let fields = format!("{tus}X-HTTP-Method-Override: {method}\r\n");
        let answer = guarded.ask("POST", &target(id, &read), &fields).await;
        assert_eq!(answer.status, 401, "{method}: {}", answer.head);
    }
    for target in [
        target(id, &cancel),
        target(other, &read),
        format!("/api/uploads/{id}?token={read}"),
        format!("/api/projects/{DEFAULT_OF_LOCAL}/uploads?token={read}"),
    ] {
        assert_eq!(guarded.ask("GET", &target, "").await.status, 401);
    }
    let cancelling = format!("/api/uploads/{id}/cancel?token={read}");
    assert_eq!(guarded.ask("POST", &cancelling, "").await.status, 401);
    assert_eq!(guarded.world.row(id).state, State::Completed);
    assert_eq!(guarded.ask("GET", &target(id, &read), "").await.status, 200);
}

#[tokio::test]
async fn what_is_lent_is_what_the_lender_may_do_when_it_is_used() {
    let guarded = Guarded::start().await;
    let id = guarded.upload(&content(100), 100).await;
    let rows = &guarded.world.rows;
    let member = Caller::named("somebody");
    let admin = Caller {
        role: Role::Admin,
        ..Caller::named("root")
    };
    let target = |token: String| format!("/files/{id}?token={token}");
    let by_member = target(guarded.lend(&member, "read", id));
    let by_nobody = target(guarded.lend(&admin.without_role(), "read", id));
    assert_eq!(guarded.ask("GET", &by_member, "").await.status, 200);
    assert_eq!(guarded.ask("GET", &by_nobody, "").await.status, 404);
    rows.share(DEFAULT_OF_LOCAL, "somebody", false);
    let gone = guarded.ask("GET", &by_member, "").await;
    assert_eq!(gone.status, 404, "{}", gone.head);
    rows.share(DEFAULT_OF_LOCAL, "somebody", true);
    assert_eq!(guarded.ask("GET", &by_member, "").await.status, 200);
    // What was lent before there was authentication is lent no more.
    let by_local = target(guarded.lend(&Caller::local(), "read", id));
    assert_eq!(guarded.ask("GET", &by_local, "").await.status, 401);
}

/// By the draft, a GET of an upload that is not complete tells its offset, and sends away who sends.
#[tokio::test]
async fn a_right_to_read_tells_nothing_before_the_upload_is_complete_and_disturbs_nobody() {
    let guarded = Guarded::start().await;
    let whole = content(100);
    let id = guarded.upload(&whole[..40], 100).await;
    let somebody = Caller::named("somebody");
    let login = guarded.signer.sign(&somebody, 4_000_000_000).unwrap();
    let append = format!(
        "PATCH /files/{id} HTTP/1.1\r\nHost: up.example\r\nAuthorization: Bearer {login}\r\n\
         Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n\
         Upload-Offset: 40\r\nContent-Length: 60\r\nConnection: close\r\n\r\n"
    );
    let mut sender = TcpStream::connect(guarded.address).await.unwrap();
    let begun = [append.as_bytes(), &whole[40..80]].concat();
    sender.write_all(&begun).await.unwrap();
    while guarded.world.row(id).offset == 40 {
        tokio::task::yield_now().await;
    }
    let token = guarded.lend(&somebody, "read", id);
    let target = format!("/files/{id}?token={token}");
    let (draft, early) = (
        "Upload-Draft-Interop-Version: 6\r\n",
        "Upload-Incomplete: ?1\r\n",
    );
    for fields in ["", draft, early] {
        let answer = guarded.ask("GET", &target, fields).await;
        assert_eq!(answer.status, 409, "{}", answer.head);
        assert!(!answer.head.contains("upload-offset"), "{}", answer.head);
    }
    sender.write_all(&whole[80..]).await.unwrap();
    let mut answer = String::new();
    sender.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_eq!(guarded.ask("GET", &target, draft).await.body, whole);
}
