//! A client that reads HTTP/1.1 to the letter: what is no whole message, or is followed by anything
//! but another one, fails the test.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{SOON, Server};
use crate::http::Interim;

/// The client's end of a stream.
pub(super) struct Wire<S> {
    pub(super) stream: BufReader<S>,
}

/// A response as it stood on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Up to and with the empty line.
    pub(super) head: String,
    pub(super) status: u16,
    fields: Vec<(String, String)>,
    /// Undone from its chunks.
    pub(super) body: Vec<u8>,
}

impl Message {
    fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(found, _)| found == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert_eq!(values.next(), None, "{}", self.head);
        value
    }
}

impl Wire<TcpStream> {
    pub(super) async fn connect(server: &Server) -> Self {
        Self::new(server.connect().await.stream.into_inner())
    }
}

impl<S: AsyncWrite + AsyncRead + Unpin> Wire<S> {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        let stream = BufReader::new(stream);
        Self { stream }
    }

    /// The next message, which is an answer to HEAD or not.
    pub(super) async fn message(&mut self, to_head: bool) -> Message {
        let reading = timeout(SOON, self.read_message(to_head));
        reading.await.expect("a message should come")
    }

    /// The next answer, and what came ahead of it.
    pub(super) async fn answer(&mut self, to_head: bool) -> (Vec<Message>, Message) {
        let mut interims = Vec::new();
        loop {
            let message = self.message(to_head).await;
            match message.is_interim() {
                true => interims.push(message),
                false => return (interims, message),
            }
        }
    }

    /// Asserts that the server closes, and sends nothing before that.
    pub(super) async fn end(&mut self) {
        let mut rest = Vec::new();
        let reading = timeout(SOON, self.stream.read_to_end(&mut rest));
        reading.await.expect("it should end").unwrap();
        let rest = String::from_utf8_lossy(&rest);
        assert_eq!(rest, "", "bytes behind the last message");
    }

    async fn read_message(&mut self, to_head: bool) -> Message {
        let line = self.line().await;
        let mut parts = line.splitn(3, ' ');
        let mut part = || {
            parts
                .next()
                .unwrap_or_else(|| panic!("no status: {line:?}"))
        };
        let (version, status, _reason) = (part(), part(), part());
        assert!(["HTTP/1.1", "HTTP/1.0"].contains(&version), "{line:?}");
        let is_number = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
        assert!(is_number, "{line:?}");
        let mut message = Message {
            status: status.parse().unwrap(),
            head: format!("{line}\r\n"),
            fields: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let line = self.line().await;
            message.head += &format!("{line}\r\n");
            if line.is_empty() {
                break;
            }
            let split = line.split_once(": ");
            let (name, value) = split.unwrap_or_else(|| panic!("no field: {line:?}"));
            let is_name = name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            assert!(is_name && !name.is_empty(), "{line:?}");
            message.fields.push((name.into(), value.into()));
        }
        self.read_body(&mut message, to_head).await;
        message
    }

    async fn read_body(&mut self, message: &mut Message, to_head: bool) {
        let length = message.field("content-length");
        let length = length.map(|length| length.parse::<usize>().unwrap());
        let coding = message.field("transfer-encoding");
        let is_bare = message.status < 200 || [204, 304].contains(&message.status);
        match (length, coding) {
            (None, None) if is_bare => {}
            (Some(_), None) | (None, Some("chunked") | None) if to_head => {}
            (Some(length), None) if !is_bare => {
                message.body = vec![0; length];
                self.stream.read_exact(&mut message.body).await.unwrap();
            }
            (None, Some("chunked")) if !is_bare => self.read_chunks(&mut message.body).await,
            framing => panic!("{framing:?} in {}", message.head),
        }
    }

    async fn read_chunks(&mut self, body: &mut Vec<u8>) {
        loop {
            let line = self.line().await;
            let size = usize::from_str_radix(&line, 16);
            let size = size.unwrap_or_else(|_| panic!("no size of a chunk: {line:?}"));
            let start = body.len();
            body.resize(start + size, 0);
            self.stream.read_exact(&mut body[start..]).await.unwrap();
            assert_eq!(self.line().await, "", "behind a chunk of {size}");
            if size == 0 {
                return;
            }
        }
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await.unwrap();
        let is_text = |byte: &u8| matches!(byte, b' '..=b'~');
        match line.strip_suffix(b"\r\n") {
            Some(text) if text.iter().all(is_text) => String::from_utf8(text.to_vec()).unwrap(),
            _ => panic!("no line: {:?}", String::from_utf8_lossy(&line)),
        }
    }
}

/// Sends a 104 that can be told from others by its mark.
pub(super) fn send(interim: &Interim, mark: &str) -> bool {
    let value = HeaderValue::from_str(mark).unwrap();
    let fields = HeaderMap::from_iter([(header::LOCATION, value)]);
    let status = StatusCode::from_u16(104).unwrap();
    interim.send(status, "Upload Resumption Supported", &fields)
}

/// What [`send`] is to put on the wire.
pub(super) fn sent(mark: &str) -> Message {
    Message {
        head: format!("HTTP/1.1 104 Upload Resumption Supported\r\nlocation: {mark}\r\n\r\n"),
        status: 104,
        fields: vec![("location".into(), mark.into())],
        body: Vec::new(),
    }
}

/// What hyper sends when a hesitant client's body is read.
pub(super) fn go_on() -> Message {
    Message {
        head: "HTTP/1.1 100 Continue\r\n\r\n".into(),
        status: 100,
        fields: Vec::new(),
        body: Vec::new(),
    }
}
