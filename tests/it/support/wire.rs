//! A raw HTTP/1.1 client: what is sent, and when, is the test's business and nobody else's.
//!
//! A [`Req`] says what a request looks like, valid or not. A [`Conn`] is one TCP connection, over
//! which a request goes in one piece ([`Conn::exchange`]) or bit by bit ([`Conn::send_head`],
//! [`Conn::send`]), and which can be left in every way a client leaves. Interim answers are kept with
//! the one that they came ahead of.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use super::server::Server;

/// A request, exactly as it will look on the wire. `Host` is added unless it is given.
#[derive(Clone, Debug)]
pub(crate) struct Req {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

/// How the end of the body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body.
    None,
    /// `Content-Length`, true or not.
    Length(u64),
    /// `Transfer-Encoding: chunked`; on HTTP/2 just no length.
    Chunked,
}

impl Req {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            framing: Framing::None,
            body: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// Adds a field line; a second one of the same name stays a second line.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// Replaces every field line of that name.
    pub(crate) fn with(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.without(name).header(name, value)
    }

    /// A body with its true `Content-Length`.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.framing = Framing::Length(self.body.len() as u64);
        self
    }

    /// A `Content-Length`, for a body that the test sends by hand.
    pub(crate) fn declare(mut self, length: u64) -> Self {
        self.framing = Framing::Length(length);
        self
    }

    /// A chunked body; without bytes here, the test sends its chunks by hand.
    pub(crate) fn chunked(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.framing = Framing::Chunked;
        self
    }

    /// A trailer field after a chunked body.
    pub(crate) fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn expect_continue(self) -> Self {
        self.header("Expect", "100-continue")
    }

    fn head_bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let mut line = |name: &str, value: &[u8]| {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        };
        if !self
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("Host"))
        {
            line("Host", host.as_bytes());
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        match self.framing {
            Framing::None => {}
            Framing::Length(length) => line("Content-Length", length.to_string().as_bytes()),
            Framing::Chunked => line("Transfer-Encoding", b"chunked"),
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    fn bytes(&self, host: &str) -> Vec<u8> {
        let mut bytes = self.head_bytes(host);
        if self.framing != Framing::Chunked {
            bytes.extend_from_slice(&self.body);
            return bytes;
        }
        // Several chunks, so that a chunk's edge lies inside the body.
        for part in self.body.chunks(self.body.len().div_ceil(3).max(1)) {
            bytes.extend(chunk(part));
        }
        bytes.extend_from_slice(b"0\r\n");
        for (name, value) in &self.trailers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

/// One chunk of the chunked coding.
pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// One HTTP/1.1 connection. Dropping it closes it (FIN, or RST if answers were left unread).
pub(crate) struct Conn {
    stream: TcpStream,
    host: String,
    unread: Vec<u8>,
    /// Interim answers that were looked at before their answer came.
    interim: Vec<Answer>,
    /// Methods of the requests that are not answered yet: HEAD's answer has no body.
    asked: VecDeque<String>,
}

impl Conn {
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        Self::try_open(addr)
            .await
            .unwrap_or_else(|e| panic!("connect to {addr}: {e}"))
    }

    pub(crate) async fn try_open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let host = addr.to_string();
        Ok(Self {
            stream,
            host,
            unread: Vec::new(),
            interim: Vec::new(),
            asked: VecDeque::new(),
        })
    }

    /// Sends the request line and the header section only.
    pub(crate) async fn send_head(&mut self, req: &Req) {
        self.try_send_head(req).await.expect("send");
    }

    pub(crate) async fn try_send_head(&mut self, req: &Req) -> io::Result<()> {
        self.asked.push_back(req.method.clone());
        let head = req.head_bytes(&self.host);
        self.try_send(&head).await
    }

    /// Sends raw bytes: a piece of a body, or garbage.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.expect("send");
    }

    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within_patience(self.stream.write_all(bytes)).await
    }

    /// Sends a head that asks for 100-continue and waits for it. When this returns, the server's
    /// handler is reading the body: nothing else makes hyper send that answer.
    pub(crate) async fn send_head_and_wait(&mut self, req: Req) {
        self.send_head(&req.expect_continue()).await;
        self.wait_for_continue().await;
    }

    /// Waits for `100 Continue`; a 104 may come ahead of it.
    pub(crate) async fn wait_for_continue(&mut self) {
        loop {
            let interim = self.try_next_interim().await.expect("100 Continue");
            match interim.map(|interim| interim.status) {
                Some(104) => {}
                Some(100) => return,
                _ => panic!("wanted 100 Continue, got:\n{}", self.answer().await),
            }
        }
    }

    /// Waits for an interim answer, which [`Conn::answer`] will tell of as well.
    pub(crate) async fn next_interim(&mut self) -> Answer {
        let interim = self.try_next_interim().await.expect("an interim answer");
        interim.unwrap_or_else(|| panic!("the answer, and no interim one before it"))
    }

    /// As [`Conn::next_interim`]; `None` if the answer has come instead, and an error is the end of
    /// the connection.
    pub(crate) async fn try_next_interim(&mut self) -> io::Result<Option<Answer>> {
        within_patience(async {
            loop {
                if let Some(interim) = self.take_interim().transpose()? {
                    return Ok(interim);
                }
                read_more(&mut self.stream, &mut self.unread).await?;
            }
        })
        .await
    }

    /// As [`Conn::next_interim`], if there is one already.
    pub(crate) fn poll_interim(&mut self) -> Option<Answer> {
        self.try_poll_interim().expect("an interim answer")
    }

    /// As [`Conn::poll_interim`]; an error is the end of the connection.
    pub(crate) fn try_poll_interim(&mut self) -> io::Result<Option<Answer>> {
        loop {
            match self.stream.try_read_buf(&mut self.unread) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        self.take_interim().transpose().map(Option::flatten)
    }

    /// What is unread, if that is a head: an interim one, or else `None` and it stays unread.
    fn take_interim(&mut self) -> Option<io::Result<Option<Answer>>> {
        let (head, length) = match peek_head(&self.unread)? {
            Ok(peeked) => peeked,
            Err(e) => return Some(Err(e)),
        };
        if head.status >= 200 {
            return Some(Ok(None));
        }
        self.unread.drain(..length);
        self.interim.push(head.clone());
        Some(Ok(Some(head)))
    }

    /// Notes that a request went out as raw bytes, so that its answer can be read.
    pub(crate) fn note_request(&mut self, method: &str) {
        self.asked.push_back(method.to_owned());
    }

    /// Sends the whole request and reads its answer, both at once: an early answer is seen although
    /// the server never takes the rest of the body.
    pub(crate) async fn exchange(&mut self, req: &Req) -> Answer {
        let answer = self.try_exchange(req).await;
        answer.unwrap_or_else(|e| panic!("{} {}: no answer: {e}", req.method, req.target))
    }

    pub(crate) async fn try_exchange(&mut self, req: &Req) -> io::Result<Answer> {
        let bytes = req.bytes(&self.host);
        let (mut reader, mut writer) = self.stream.split();
        let interim = std::mem::take(&mut self.interim);
        let read = read_answer(&mut reader, &mut self.unread, interim, &req.method);
        let mut read = pin!(read);
        within_patience(async {
            tokio::select! {
                answer = &mut read => return answer,
                // If the server has stopped reading, it has answered or closed: the read tells.
                _ = writer.write_all(&bytes) => {}
            }
            read.await
        })
        .await
    }

    /// Sends the whole request, and does not read.
    pub(crate) async fn send_request(&mut self, req: &Req) {
        self.asked.push_back(req.method.clone());
        let bytes = req.bytes(&self.host);
        self.send(&bytes).await;
    }

    /// Reads the answer to the oldest request that has none yet.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer()
            .await
            .unwrap_or_else(|e| panic!("no answer: {e}"))
    }

    /// As [`Conn::answer`]; an error is the end of the connection or of the patience.
    pub(crate) async fn try_answer(&mut self) -> io::Result<Answer> {
        let method = self.asked.pop_front().expect("a request is out");
        let interim = std::mem::take(&mut self.interim);
        let read = read_answer(&mut self.stream, &mut self.unread, interim, &method);
        within_patience(read).await
    }

    /// Reads so much of an answer at least, its head included, and tells all that has come.
    pub(crate) async fn some_of_answer(&mut self, bytes: usize) -> Vec<u8> {
        let read = within_patience(async {
            while self.unread.len() < bytes {
                read_more(&mut self.stream, &mut self.unread).await?;
            }
            Ok(())
        });
        read.await.expect("an answer");
        std::mem::take(&mut self.unread)
    }

    /// Waits until the server has closed its side.
    pub(crate) async fn expect_closed(&mut self) {
        let mut rest = Vec::new();
        let read = within_patience(self.stream.read_to_end(&mut rest)).await;
        // A reset is an end, too.
        let kept_open = read.is_err_and(|e| e.kind() == io::ErrorKind::TimedOut);
        assert!(!kept_open, "the server keeps the connection open");
    }

    /// Closes the sending side; answers can still be read.
    pub(crate) async fn half_close(&mut self) {
        self.stream.shutdown().await.expect("half-close");
    }

    /// Leaves with a TCP reset instead of a FIN.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().expect("SO_LINGER");
    }
}

/// A response, whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The interim answers ahead of it.
    pub(crate) interim: Vec<Self>,
}

impl Answer {
    /// The value of a field that must not be there twice.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self
            .headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = lines.next().map(|(_, value)| value.as_str());
        assert!(lines.next().is_none(), "{name} is there twice:\n{self}");
        value
    }

    /// The value of a field that must be there.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> &str {
        self.header(name)
            .unwrap_or_else(|| panic!("no {name} in:\n{self}"))
    }

    /// The members of a comma-separated field, over all its lines.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let lines = self
            .headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let members = lines.flat_map(|(_, value)| value.split(','));
        members
            .map(|member| member.trim().to_ascii_lowercase())
            .collect()
    }

    #[track_caller]
    pub(crate) fn offset(&self) -> Option<u64> {
        let text = self.header("Upload-Offset")?;
        Some(
            text.parse()
                .unwrap_or_else(|_| panic!("Upload-Offset is no number:\n{self}")),
        )
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "wanted status {status}, got:\n{self}");
        self
    }

    #[track_caller]
    pub(crate) fn expect_header(self, name: &str, value: &str) -> Self {
        assert_eq!(
            self.header(name),
            Some(value),
            "wanted {name}: {value}, got:\n{self}"
        );
        self
    }

    #[track_caller]
    pub(crate) fn expect_no_header(self, name: &str) -> Self {
        assert_eq!(self.header(name), None, "unwanted {name}:\n{self}");
        self
    }

    #[track_caller]
    pub(crate) fn expect_offset(self, offset: u64) -> Self {
        assert_eq!(
            self.offset(),
            Some(offset),
            "wanted Upload-Offset: {offset}, got:\n{self}"
        );
        self
    }

    /// Checks the status and every member that the contract promises of a problem.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16) -> Self {
        let answer = self.expect(status);
        let content_type = answer.header("Content-Type").unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default();
        assert_eq!(
            media_type, "application/problem+json",
            "not a problem:\n{answer}"
        );
        let problem = answer.json();
        let text = |member: &str| {
            let value = problem[member].as_str().unwrap_or_default();
            assert!(!value.is_empty(), "the problem has no {member}:\n{answer}");
            value.to_owned()
        };
        let is_registered = REGISTERED.iter().any(|(_, uri)| *uri == text("type"));
        assert!(
            is_registered || text("type").starts_with("/problems/"),
            "odd problem type:\n{answer}"
        );
        assert_eq!(problem["status"], status, "odd status member:\n{answer}");
        assert_eq!(problem["success"], false, "odd success member:\n{answer}");
        assert_eq!(
            text("error"),
            text("title"),
            "error is not the title:\n{answer}"
        );
        let shouting = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        assert!(
            text("code").chars().all(shouting),
            "odd code member:\n{answer}"
        );
        text("detail");
        text("instance");
        answer
    }

    /// As [`Answer::expect_problem`], with the kind of problem.
    #[track_caller]
    pub(crate) fn expect_slug(self, status: u16, slug: &str) -> Self {
        let answer = self.expect_problem(status);
        assert_eq!(
            answer.json()["type"],
            problem_type(slug),
            "wanted the problem {slug}, got:\n{answer}"
        );
        answer
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}):\n{self}"))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_BYTES: usize = 2048;
        for interim in &self.interim {
            writeln!(f, "(ahead of it: {interim})")?;
        }
        writeln!(f, "{} {}", self.status, self.reason)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        let shown = &self.body[..self.body.len().min(SHOWN_BYTES)];
        write!(f, "\n{}", String::from_utf8_lossy(shown))?;
        write!(f, "({} bytes of body)", self.body.len())
    }
}

/// Problems whose type is not a page of the server, but registered by the IETF draft.
const REGISTERED: [(&str, &str); 2] = [
    (
        "offset-mismatch",
        "https://iana.org/assignments/http-problem-types#mismatching-upload-offset",
    ),
    (
        "length-conflict",
        "https://iana.org/assignments/http-problem-types#inconsistent-upload-length",
    ),
];

/// The `type` of the problem whose page is called `slug`.
pub(crate) fn problem_type(slug: &str) -> String {
    let registered = REGISTERED.iter().find(|(known, _)| *known == slug);
    registered.map_or_else(|| format!("/problems/{slug}"), |(_, uri)| uri.to_string())
}

async fn within_patience<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn read_answer(
    stream: &mut (impl AsyncRead + Unpin),
    unread: &mut Vec<u8>,
    mut interim: Vec<Answer>,
    method: &str,
) -> io::Result<Answer> {
    let mut answer = loop {
        let head = read_head(stream, unread).await?;
        // Behind 101 there is another protocol, and no other answer.
        if head.status >= 200 || head.status == 101 {
            break head;
        }
        interim.push(head);
    };
    answer.interim = interim;
    if method == "HEAD" || matches!(answer.status, 101 | 204) || answer.status == 304 {
        return Ok(answer);
    }
    let chunked = answer
        .list("Transfer-Encoding")
        .iter()
        .any(|coding| coding == "chunked");
    let length = answer.header("Content-Length").map(str::parse::<usize>);
    answer.body = match length {
        _ if chunked => read_chunks(stream, unread).await?,
        Some(Ok(length)) => take(stream, unread, length).await?,
        Some(Err(_)) => return Err(invalid("Content-Length of the answer")),
        None => {
            let mut body = std::mem::take(unread);
            stream.read_to_end(&mut body).await?;
            body
        }
    };
    Ok(answer)
}

/// Reads a status line and the header section behind it.
///
/// # Cancel safety
/// Cancel safe: a head is taken from what is unread when all of it is there.
async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    unread: &mut Vec<u8>,
) -> io::Result<Answer> {
    loop {
        if let Some((head, length)) = peek_head(unread).transpose()? {
            unread.drain(..length);
            return Ok(head);
        }
        read_more(stream, unread).await?;
    }
}

/// The head that is unread, if all of it is there, and its length.
fn peek_head(unread: &[u8]) -> Option<io::Result<(Answer, usize)>> {
    const BLANK: &[u8] = b"\r\n\r\n";
    let end = unread
        .windows(BLANK.len())
        .position(|bytes| bytes == BLANK)?;
    let head = parse_head(&String::from_utf8_lossy(&unread[..end]));
    Some(head.map(|head| (head, end + BLANK.len())))
}

fn parse_head(head: &str) -> io::Result<Answer> {
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let mut words = status_line.splitn(3, ' ');
    let version = words.next().unwrap_or_default();
    let status = words.next().and_then(|code| code.parse().ok());
    let (true, Some(status)) = (version.starts_with("HTTP/1."), status) else {
        return Err(invalid(&format!("status line {status_line:?}")));
    };
    let reason = words.next().unwrap_or_default().to_owned();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(line))?;
        Ok((name.to_owned(), value.trim().to_owned()))
    });
    Ok(Answer {
        status,
        reason,
        headers: headers.collect::<io::Result<_>>()?,
        body: Vec::new(),
        interim: Vec::new(),
    })
}

async fn read_chunks(
    stream: &mut (impl AsyncRead + Unpin),
    unread: &mut Vec<u8>,
) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream, unread).await?;
        let size = usize::from_str_radix(&line, 16).map_err(|_| invalid(&line))?;
        body.extend(take(stream, unread, size).await?);
        if size == 0 {
            while !read_line(stream, unread).await?.is_empty() {}
            return Ok(body);
        }
        take(stream, unread, 2).await?;
    }
}

async fn read_line(
    stream: &mut (impl AsyncRead + Unpin),
    unread: &mut Vec<u8>,
) -> io::Result<String> {
    loop {
        if let Some(end) = unread.windows(2).position(|pair| pair == b"\r\n") {
            let line = String::from_utf8_lossy(&unread[..end]).into_owned();
            unread.drain(..end + 2);
            return Ok(line);
        }
        read_more(stream, unread).await?;
    }
}

async fn take(
    stream: &mut (impl AsyncRead + Unpin),
    unread: &mut Vec<u8>,
    length: usize,
) -> io::Result<Vec<u8>> {
    while unread.len() < length {
        read_more(stream, unread).await?;
    }
    let rest = unread.split_off(length);
    Ok(std::mem::replace(unread, rest))
}

async fn read_more(stream: &mut (impl AsyncRead + Unpin), unread: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(unread).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Server {
    /// Sends a request that is refused with this status and slug, in words that name this.
    pub(crate) async fn expect_refusal(
        &self,
        request: Req,
        (status, slug): (u16, &str),
        named: &str,
    ) {
        let body = String::from_utf8_lossy(&request.body);
        let shown = body.chars().take(300).collect::<String>();
        let what = format!("{} {} {shown}", request.method, request.target);
        let answer = self.send(request).await;
        assert_eq!(answer.status, status, "{what}:\n{answer}");
        let answer = answer.expect_slug(status, slug);
        let problem = answer.json();
        let text = match slug {
            "validation-failed" => problem["errors"].to_string(),
            _ => problem["detail"].to_string(),
        };
        assert!(text.contains(named), "{what}: {text} and no {named}");
    }
}
