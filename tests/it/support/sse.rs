//! A reader of server-sent events.

use std::collections::BTreeMap;
use std::io;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use super::server::Server;

/// One event, and the place behind it as the server gave it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) json: Value,
    /// `None` for one that is live only.
    pub(crate) id: Option<String>,
}

impl Event {
    pub(crate) fn kind(&self) -> &str {
        self.json["type"].as_str().expect("a type")
    }

    pub(crate) fn sequence(&self) -> Option<u64> {
        let sequence = self.json["sequence"].as_str()?;
        Some(sequence.parse().expect("a number"))
    }

    pub(crate) fn subject(&self) -> &str {
        self.json["subject"].as_str().expect("a subject")
    }
}

/// A connection on which events come.
pub(crate) struct Sse {
    stream: TcpStream,
    /// As it came, in chunks.
    raw: Vec<u8>,
    text: String,
    /// The place that the server began with, or that of the last event.
    pub(crate) cursor: String,
}

impl Sse {
    /// Subscribes; `query` is that of `/api/events`.
    pub(crate) async fn open(server: &Server, query: &str, last_event_id: Option<&str>) -> Self {
        let field = last_event_id.map_or_else(String::new, |id| format!("Last-Event-ID: {id}\r\n"));
        Self::open_with(server, query, &field).await
    }

    /// Subscribes as whoever has this token.
    pub(crate) async fn open_as(server: &Server, query: &str, token: &str) -> Self {
        let field = format!("Authorization: Bearer {token}\r\n");
        Self::open_with(server, query, &field).await
    }

    async fn open_with(server: &Server, query: &str, field: &str) -> Self {
        let (mut sse, head) = Self::begin(server, &format!("/api/events?{query}"), field).await;
        for field in ["content-type: text/event-stream", "cache-control: no-store"] {
            assert!(head.contains(field), "{head}");
        }
        let beginning = sse.block().await.expect("the feed begins");
        sse.cursor = beginning["id"].clone();
        let cursor = format!("tidegate-cursor: {}", sse.cursor).to_ascii_lowercase();
        assert!(head.contains(&cursor), "{head}");
        sse
    }

    /// A stream that begins, and its head in lower case. `field` is a line of the request.
    pub(crate) async fn begin(server: &Server, target: &str, field: &str) -> (Self, String) {
        let mut stream = TcpStream::connect(server.addr()).await.expect("connect");
        let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{field}\r\n");
        stream.write_all(head.as_bytes()).await.expect("send");
        let mut sse = Self {
            stream,
            raw: Vec::new(),
            text: String::new(),
            cursor: String::new(),
        };
        let end = loop {
            let blank = b"\r\n\r\n";
            if let Some(end) = sse.raw.windows(4).position(|bytes| bytes == blank) {
                break end + blank.len();
            }
            assert!(sse.read().await > 0, "no answer");
        };
        let head = String::from_utf8(sse.raw.drain(..end).collect()).expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        (sse, head.to_ascii_lowercase())
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Event {
        self.try_next().await.expect("the feed goes on")
    }

    /// The next event; `None` at the end of the feed.
    pub(crate) async fn try_next(&mut self) -> Option<Event> {
        loop {
            let mut block = self.block().await?;
            let Some(data) = block.remove("data") else {
                continue;
            };
            let id = block.remove("id");
            if let Some(id) = &id {
                self.cursor = id.clone();
            }
            let json = serde_json::from_str(&data).expect("JSON");
            return Some(Event { json, id });
        }
    }

    /// Waits until the server tells a place without an event.
    pub(crate) async fn pinged(&mut self) -> String {
        loop {
            let mut block = self.block().await.expect("the feed goes on");
            if !block.contains_key("data")
                && let Some(id) = block.remove("id")
            {
                return id;
            }
        }
    }

    /// The events up to the first of this type, and this one.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await;
            let is_last = event.kind() == kind;
            events.push(event);
            if is_last {
                return events;
            }
        }
    }

    /// The fields of the next block; a comment has none.
    pub(crate) async fn block(&mut self) -> Option<BTreeMap<String, String>> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let fields = block.lines().filter(|line| !line.starts_with(':'));
                let field = |line: &str| {
                    let (name, value) = line.split_once(": ").expect("a field");
                    (name.to_owned(), value.to_owned())
                };
                let fields = fields.map(field).collect();
                self.text = rest.to_owned();
                return Some(fields);
            }
            let more = self.chunk().await?;
            self.text.push_str(&more);
        }
    }

    /// The next chunk of the body.
    async fn chunk(&mut self) -> Option<String> {
        loop {
            let line = self.raw.windows(2).position(|bytes| bytes == b"\r\n");
            if let Some(line) = line {
                let size = str::from_utf8(&self.raw[..line]).expect("a size");
                let size = usize::from_str_radix(size, 16).expect("a size");
                let (begin, end) = (line + 2, line + 2 + size);
                if size == 0 {
                    return None;
                }
                if self.raw.len() >= end + 2 {
                    let chunk = self.raw[begin..end].to_vec();
                    self.raw.drain(..end + 2);
                    return Some(String::from_utf8(chunk).expect("UTF-8"));
                }
            }
            if self.read().await == 0 {
                return None;
            }
        }
    }

    async fn read(&mut self) -> usize {
        let mut piece = vec![0; 64 * 1024];
        let read = timeout(PATIENCE, self.stream.read(&mut piece)).await;
        let n = match read.expect("something comes in time") {
            Ok(n) => n,
            // A server that was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{error}"),
        };
        self.raw.extend_from_slice(&piece[..n]);
        n
    }
}
