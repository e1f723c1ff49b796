//! Rows R11 to R13, R51 and R85, and when there is a 104 at all (rows, section 3.4).

use futures_util::future::join_all;
use sha2::{Digest, Sha256};

use crate::support::h2c::H2;
use crate::support::rufh::{self, LAST, MORE, NEWEST};
use crate::support::server::Server;
use crate::support::tus::{self, Upload};
use crate::support::wire::{Answer, Conn, Req};
use crate::support::{assert_same_bytes, content, eventually, from_env};

/// Commits often, so that there is something new to tell of.
const OFTEN: [&str; 2] = ["--checkpoint-interval", "100ms"];

const DRIP_BYTES: usize = 4096;

#[track_caller]
fn expect_location(interim: &Answer) -> Upload {
    let told = interim.clone().expect(104);
    assert_eq!(told.reason, "Upload Resumption Supported");
    for framing in ["Content-Length", "Transfer-Encoding", "Connection"] {
        assert_eq!(told.header(framing), None, "{told}");
    }
    told.field("Upload-Limit");
    Upload::created(&told.expect_no_header("Upload-Offset"))
}

#[track_caller]
fn expect_progress(interim: &Answer) -> u64 {
    let told = interim.clone().expect(104).expect_no_header("Location");
    assert_eq!(told.reason, "Upload Resumption Supported");
    told.field("Upload-Draft-Interop-Version");
    told.offset().expect("an offset is told")
}

/// Content, and how much of it a client has sent.
struct Source {
    bytes: Vec<u8>,
    sent: usize,
}

impl Source {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0 }
    }

    fn left(&self) -> u64 {
        (self.bytes.len() - self.sent) as u64
    }

    async fn send(&mut self, conn: &mut Conn, bytes: usize) {
        let end = self.bytes.len().min(self.sent + bytes);
        conn.send(&self.bytes[self.sent..end]).await;
        self.sent = end;
    }

    /// Drips until an offset is told, and gives that.
    async fn drip(&mut self, conn: &mut Conn) -> u64 {
        eventually("an offset is told in a 104", async || {
            assert!(self.left() > 1, "all is sent, and no offset was told");
            self.send(conn, DRIP_BYTES.min(self.bytes.len() - self.sent - 1))
                .await;
            conn.poll_interim().map(|told| expect_progress(&told))
        })
        .await
    }
}

#[tokio::test]
async fn r11_the_address_is_told_before_the_content_is_read() {
    let server = Server::start(&["--max-upload-size", "1Gi"]).await;
    for complete in [MORE, LAST] {
        for chunked in [false, true] {
            let create = rufh::create(complete).interop(NEWEST);
            let create = match chunked {
                false => create.declare(5),
                true => create.chunked(""),
            };
            let mut conn = server.connect().await;
            conn.send_head(&create).await;
            // Nothing of the content has been sent.
            let told = conn.next_interim().await;
            let upload = expect_location(&told);
            assert_eq!(told.limit("max-size"), Some(1 << 30), "{told}");
            assert!(told.limit("max-age").is_some(), "{told}");
            let told = told.expect_header("Upload-Draft-Interop-Version", "9");
            // The upload exists: it can be asked for, which ends this request.
            assert_eq!(server.draft_offset(&upload).await, 0, "{told}");
        }
    }
}

#[tokio::test]
async fn r11_r12_the_address_is_that_of_the_answer() {
    let server = Server::start(&[]).await;
    for complete in [MORE, LAST] {
        let create = rufh::create(complete).interop(NEWEST).body("hello");
        let answer = server.send(create).await.expect(201);
        assert_eq!(answer.interim.len(), 1, "{answer}");
        let upload = expect_location(&answer.interim[0]);
        answer.expect_header("Location", &upload.location);
    }
}

#[tokio::test]
async fn r11_every_version_is_told_the_address_and_its_own_number() {
    let server = Server::start(&[]).await;
    for version in 3..=9_u64 {
        let field = match version {
            3 => ("Upload-Incomplete", "?0"),
            _ => ("Upload-Complete", "?1"),
        };
        let create = Req::new("POST", "/files")
            .interop(version)
            .header(field.0, field.1);
        let answer = server.send(create.body("hello")).await.expect(201);
        assert_eq!(answer.interim.len(), 1, "{answer}");
        let told = answer.interim[0].clone();
        expect_location(&told);
        told.expect_header("Upload-Draft-Interop-Version", &version.to_string());
    }
}

/// Trap 12, and whatever is answered at once.
#[tokio::test]
async fn r11_nobody_else_is_sent_a_104() {
    let server = Server::start(&["--max-append-size", "100"]).await;
    let upload = server.create_draft(11).await;
    let whole = server.complete_draft(b"hello").await;
    let in_tus = server.create(5).await;
    let mine = |request: Req| request.interop(NEWEST);
    for request in [
        // No version, or none that is spoken.
        rufh::create(LAST).body("hello"),
        rufh::create(LAST).interop(10).body("hello"),
        rufh::create(LAST).interop(2).body("hello"),
        // No content.
        mine(rufh::create(MORE)),
        mine(rufh::create(LAST)),
        mine(rufh::create_of(5)),
        // tus, whatever else it says.
        mine(tus::create_with_data(5).header("Upload-Complete", LAST)).body("hello"),
        mine(tus::patch(&in_tus, 0).header("Upload-Complete", LAST)).body("hello"),
        // Refused before anything was made.
        mine(rufh::create(LAST)).body(vec![7; 101]),
        mine(rufh::create(LAST).header("Upload-Length", "4")).body("hello"),
        mine(rufh::patch(&upload, 9, LAST)).body("hello"),
        mine(rufh::patch(&whole, 0, LAST)).body("hello"),
        // Not an upload's content.
        mine(rufh::patch(&upload, 0, MORE)).body("hello"),
        mine(rufh::head(&upload)),
        mine(rufh::get(&upload)),
        mine(rufh::delete(&upload)),
        mine(Req::new("OPTIONS", "/files")),
    ] {
        let answer = server.send(request).await;
        assert!(answer.interim.is_empty(), "{answer}");
    }
}

#[tokio::test]
async fn r11_an_older_http_is_sent_no_104() {
    let server = Server::start(&[]).await;
    let mut conn = server.connect().await;
    let create = "POST /files HTTP/1.0\r\nHost: a\r\nUpload-Complete: ?1\r\n\
                  Upload-Draft-Interop-Version: 9\r\nContent-Length: 5\r\n\r\nhello";
    conn.send(create.as_bytes()).await;
    conn.note_request("POST");
    let answer = conn.answer().await.expect(201);
    assert!(answer.interim.is_empty(), "{answer}");
    answer.expect_complete(b"hello");
}

#[tokio::test]
async fn r11_over_http2_there_is_no_104() {
    let server = Server::start(&[]).await;
    let mut h2 = H2::open(server.addr()).await;
    let create = rufh::create(LAST).interop(NEWEST).body("hello");
    let answer = h2.send(&create).await.expect(201);
    assert!(answer.interim.is_empty(), "{answer}");
    answer.expect_complete(b"hello");
}

#[tokio::test]
async fn r11_a_server_may_be_told_to_send_none() {
    let server = Server::start(&["--max-interim-responses", "0"]).await;
    let create = rufh::create(LAST).interop(NEWEST).body("hello");
    let answer = server.send(create).await.expect(201);
    assert!(answer.interim.is_empty(), "{answer}");
    answer.expect_complete(b"hello");
}

#[tokio::test]
async fn r13_progress_is_told_while_a_creation_comes_in() {
    let server = Server::start(&OFTEN).await;
    let mut source = Source::new(content(13, 8 << 20));
    let create = rufh::create(LAST).interop(NEWEST).declare(source.left());
    let mut conn = server.connect().await;
    conn.send_head(&create).await;
    let upload = expect_location(&conn.next_interim().await);
    let told = source.drip(&mut conn).await;
    assert!(0 < told && told <= source.sent as u64);
    source.send(&mut conn, usize::MAX >> 1).await;
    let answer = conn.answer().await.expect(201);
    assert_eq!(answer.interim.len(), 2, "{answer}");
    answer.expect_complete(&source.bytes);
    let found = server.download(&upload).await;
    assert_same_bytes(&found, &source.bytes, "the upload");
}

#[tokio::test]
async fn r13_up_to_v4_no_progress_is_known() {
    let server = Server::start(&OFTEN).await;
    let mut source = Source::new(content(14, 8 << 20));
    let create = rufh::create(LAST).interop(4).declare(source.left());
    let mut conn = server.connect().await;
    conn.send_head(&create).await;
    expect_location(&conn.next_interim().await);
    // Another sender, of a version that knows it, is told: so it is time.
    let mut clock = Source::new(content(15, 8 << 20));
    let upload = server.create_draft(clock.left()).await;
    let mut other = server.connect().await;
    let patch = rufh::patch(&upload, 0, LAST).interop(5);
    other.send_head(&patch.declare(clock.left())).await;
    eventually("the other is told", async || {
        source.send(&mut conn, DRIP_BYTES).await;
        clock.send(&mut other, DRIP_BYTES).await;
        other.poll_interim()
    })
    .await;
    source.send(&mut conn, usize::MAX >> 1).await;
    let answer = conn.answer().await.expect(201);
    assert_eq!(answer.interim.len(), 1, "{answer}");
}

#[tokio::test]
async fn r51_progress_is_told_while_an_append_comes_in_and_holds() {
    let mut server = Server::start(&OFTEN).await;
    let mut source = Source::new(content(51, 8 << 20));
    let upload = server.create_draft(source.left()).await;
    server
        .append_draft(&upload, 0, &source.bytes[..100_000])
        .await;
    source.sent = 100_000;
    let patch = rufh::patch(&upload, 100_000, LAST).interop(NEWEST);
    let mut conn = server.connect().await;
    conn.send_head(&patch.declare(source.left())).await;
    let told = source.drip(&mut conn).await;
    assert!(100_000 < told && told <= source.sent as u64);
    // It is committed: whatever happens now, it is not taken back.
    server.kill9().await;
    server.restart(&OFTEN).await;
    let offset = server.draft_offset(&upload).await;
    assert!(
        told <= offset && offset <= source.sent as u64,
        "{offset} after {told} was told, of {} sent",
        source.sent
    );
    server
        .expect_draft_resumable(&upload, offset, &source.bytes)
        .await;
}

/// Clients there are that take five and no more.
#[tokio::test]
async fn r51_each_progress_is_later_than_the_one_before_and_they_are_few() {
    let flags = [
        "--max-interim-responses",
        "3",
        "--checkpoint-interval",
        "50ms",
    ];
    let server = Server::start(&flags).await;
    let mut source = Source::new(content(52, 64 << 20));
    let create = rufh::create(LAST).interop(NEWEST).declare(source.left());
    let mut conn = server.connect().await;
    conn.send_head(&create).await;
    expect_location(&conn.next_interim().await);
    let begun = tokio::time::Instant::now();
    let first = source.drip(&mut conn).await;
    let second = source.drip(&mut conn).await;
    // One second, and four more.
    let seconds = begun.elapsed().as_secs_f64();
    assert!(seconds > 4.5, "both were told within {seconds} s");
    assert!(first < second, "{first}, then {second}");
    source.send(&mut conn, usize::MAX >> 1).await;
    let answer = conn.answer().await.expect(201);
    assert_eq!(answer.interim.len(), 3, "{answer}");
}

#[tokio::test]
async fn r85_100_continue_is_still_sent_beside_a_104() {
    let server = Server::start(&[]).await;
    let create = rufh::create(LAST).interop(NEWEST).expect_continue();
    let mut conn = server.connect().await;
    conn.send_head(&create.declare(5)).await;
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(conn.next_interim().await.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [100, 104]);
    conn.send(b"hello").await;
    let answer = conn.answer().await.expect(201);
    answer.expect_complete(b"hello");
    // And a refusal costs no content.
    let refused = rufh::create(LAST).interop(NEWEST).expect_continue();
    let refused = refused.header("Upload-Length", "4").declare(5);
    let mut conn = server.connect().await;
    conn.send_head(&refused).await;
    let answer = conn.answer().await.expect_slug(400, "length-conflict");
    assert!(answer.interim.is_empty(), "{answer}");
}

#[tokio::test]
async fn r85_a_client_that_waits_for_100_only_gets_it_with_an_append() {
    let server = Server::start(&[]).await;
    let upload = server.create_draft(5).await;
    let patch = rufh::patch(&upload, 0, LAST).interop(NEWEST);
    let mut conn = server.connect().await;
    conn.send_head_and_wait(patch.declare(5)).await;
    conn.send(b"hello").await;
    conn.answer().await.expect(201).expect_complete(b"hello");
}

/// A connection is used again, and each answer has its own 104 ahead of it and no other.
#[tokio::test]
async fn r12_on_one_connection_each_creation_has_its_own_104() {
    let server = Server::start(&[]).await;
    let connections = (0..4).map(async |_| {
        let mut conn = server.connect().await;
        for turn in 0..50_u8 {
            let create = rufh::create(LAST).body(vec![turn; 1000]);
            let asks = turn % 3 != 0;
            let create = if asks { create.interop(NEWEST) } else { create };
            let answer = conn.exchange(&create).await.expect(201);
            assert_eq!(answer.interim.len(), usize::from(asks), "{answer}");
            for interim in &answer.interim {
                let upload = expect_location(interim);
                assert_eq!(answer.field("Location"), upload.location);
            }
        }
    });
    join_all(connections).await;
}

/// Sends requests one behind the other without reading: the 104s stand where they belong.
#[tokio::test]
async fn r12_pipelined_creations_keep_their_order() {
    let server = Server::start(&[]).await;
    let mut conn = server.connect().await;
    let create = |body: &'static str| rufh::create(LAST).interop(NEWEST).body(body);
    for body in ["a", "bb", "ccc"] {
        conn.send_request(&create(body)).await;
    }
    for body in ["a", "bb", "ccc"] {
        let answer = conn.answer().await.expect(201);
        assert_eq!(answer.interim.len(), 1, "{answer}");
        let upload = expect_location(&answer.interim[0]);
        assert_eq!(answer.field("Location"), upload.location);
        answer.expect_complete(body.as_bytes());
    }
}

/// The whole story: an optimistic upload, cut, found again by what the 104 told, and finished.
///
/// `TIDEGATE_TEST_UPLOAD_MIB=1024` makes it the gibibyte of the name.
#[tokio::test]
async fn r11_r41_r51_a_cut_upload_of_a_gibibyte_is_resumed_from_its_104() {
    const DEFAULT_MIB: u64 = 96;
    let mib = from_env("TIDEGATE_TEST_UPLOAD_MIB").unwrap_or(DEFAULT_MIB);
    let bytes = usize::try_from(mib << 20).expect("it fits into memory");
    let server = Server::start(&["--checkpoint-interval", "200ms"]).await;
    let mut source = Source::new(content(11, bytes));

    let create = rufh::create(LAST).interop(NEWEST).declare(bytes as u64);
    let mut conn = server.connect().await;
    conn.send_head(&create).await;
    let upload = expect_location(&conn.next_interim().await);
    source.send(&mut conn, bytes / 3).await;
    let told = source.drip(&mut conn).await;
    conn.reset();

    let head = server.send(rufh::head(&upload).interop(NEWEST)).await;
    let head = head.expect(204).expect_header("Upload-Complete", MORE);
    let offset = head.offset().expect("an offset is told");
    assert!(
        told <= offset && offset <= source.sent as u64,
        "{offset} after {told} was told, of {} sent",
        source.sent
    );
    head.expect_header("Upload-Length", &bytes.to_string());

    source.sent = usize::try_from(offset).expect("it fits into memory");
    let last = rufh::patch(&upload, offset, LAST).interop(NEWEST);
    let mut conn = server.connect().await;
    conn.send_head(&last.declare(source.left())).await;
    source.send(&mut conn, bytes / 3).await;
    let told = source.drip(&mut conn).await;
    assert!(offset < told && told <= source.sent as u64);
    source.send(&mut conn, bytes).await;
    let answer = conn.answer().await.expect(201);
    answer.expect_complete(&source.bytes);

    let found = server.send(rufh::get(&upload)).await.expect(200);
    assert_eq!(Sha256::digest(&found.body), Sha256::digest(&source.bytes));
    assert_same_bytes(&found.body, &source.bytes, "the upload");
}
