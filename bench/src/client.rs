//! Clients of the server and of the loop: as little as can send an upload.
//!
//! The HTTP is written by hand, so that the client costs about the same for both.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::sink;

/// How long an answer may take before the run is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

const BLOCK_BYTES: usize = 1 << 20;

/// Pseudo-random bytes that uploads repeat as their content.
pub(crate) fn block() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = (0..BLOCK_BYTES / size_of::<u64>()).map(|_| {
        // Marsaglia's xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().collect()
}

/// Does all of it at once, each on a thread of its own.
pub(crate) fn together<J>(jobs: impl Iterator<Item = J>) -> io::Result<()>
where
    J: FnOnce() -> io::Result<()> + Send,
{
    thread::scope(|scope| {
        let threads: Vec<_> = jobs.map(|job| scope.spawn(job)).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        // All are waited for before the first error is told.
        let ended: Vec<_> = ended.collect();
        ended.into_iter().try_for_each(|ended| {
            ended.unwrap_or_else(|_| Err(io::Error::other("a client panicked")))
        })
    })
}

/// Sends one upload to the loop and waits until it is stored.
pub(crate) fn pour(mut stream: TcpStream, size: u64, block: &[u8]) -> io::Result<()> {
    stream.write_all(&size.to_be_bytes())?;
    send(&mut stream, size, block)?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    match answer {
        [sink::DONE] => Ok(()),
        other => Err(unexpected(&format!("the loop answers {other:?}"))),
    }
}

pub(crate) fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(stream)
}

/// In which protocol an upload is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Tus,
    /// The IETF draft.
    Draft,
    /// The same, to be told with 104 how far it is.
    DraftTold,
}

impl Dialect {
    /// The fields of every request.
    fn fields(self) -> &'static str {
        match self {
            Self::Tus => "Tus-Resumable: 1.0.0\r\n",
            Self::Draft => "",
            Self::DraftTold => "Upload-Draft-Interop-Version: 9\r\n",
        }
    }

    /// Those of a creation without content.
    fn creation(self) -> &'static str {
        match self {
            Self::Tus => "",
            Self::Draft | Self::DraftTold => "Upload-Complete: ?0\r\n",
        }
    }

    /// Those of an append that is the last one.
    fn append(self) -> &'static str {
        match self {
            Self::Tus => "Content-Type: application/offset+octet-stream\r\n",
            Self::Draft | Self::DraftTold => {
                "Content-Type: application/partial-upload\r\nUpload-Complete: ?1\r\n"
            }
        }
    }

    /// How that is answered.
    fn appended(self) -> u16 {
        match self {
            Self::Tus => 204,
            Self::Draft | Self::DraftTold => 201,
        }
    }
}

/// One connection to the server, kept alive.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    dialect: Dialect,
    /// HOST:PORT
    address: String,
}

impl Connection {
    pub(crate) fn open(address: &str) -> io::Result<Self> {
        Self::open_in(Dialect::Tus, address)
    }

    pub(crate) fn open_in(dialect: Dialect, address: &str) -> io::Result<Self> {
        Ok(Self {
            stream: BufReader::new(connect(address)?),
            dialect,
            address: address.to_owned(),
        })
    }

    /// Creates an upload and returns its path.
    pub(crate) fn create(&mut self, size: u64) -> io::Result<String> {
        let creation = self.dialect.creation();
        let fields = format!("{creation}Upload-Length: {size}\r\nContent-Length: 0\r\n");
        let request = self.head("POST", "/files", &fields);
        self.stream.get_mut().write_all(&request)?;
        let answer = self.answer(201)?;
        let location = answer.field("location").unwrap_or_default();
        let path = location.strip_prefix("http://").unwrap_or(location);
        let path = path.strip_prefix(&self.address).unwrap_or(path);
        match path.starts_with('/') {
            true => Ok(path.to_owned()),
            false => Err(unexpected(&format!("201 with Location `{location}`"))),
        }
    }

    /// Sends a request in JSON, and returns what it is answered with success.
    pub(crate) fn call(&mut self, method: &str, path: &str, body: &str) -> io::Result<String> {
        let fields = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        );
        let mut request = self.head(method, path, &fields);
        request.extend_from_slice(body.as_bytes());
        self.stream.get_mut().write_all(&request)?;
        let (answer, content) = self.any_answer()?;
        match answer.status {
            200..300 => Ok(content),
            status => Err(unexpected(&format!("{status} {content}"))),
        }
    }

    /// Sends a whole upload in one request.
    pub(crate) fn append(&mut self, path: &str, size: u64, block: &[u8]) -> io::Result<()> {
        let small = slice(block, size);
        let sent = if (small.len() as u64) < size {
            self.begin_append(path, size, &[])?;
            send(self.stream.get_mut(), size, block)
        } else {
            self.begin_append(path, size, small)
        };
        // A server that refuses does not read everything, and its answer says why.
        let answer = self.answer(self.dialect.appended())?;
        sent?;
        let offset = answer.field("upload-offset");
        match offset.and_then(|offset| offset.parse().ok()) == Some(size) {
            true => Ok(()),
            false => Err(unexpected(&format!(
                "success with Upload-Offset {offset:?}"
            ))),
        }
    }

    /// Sends the head of such a request and the first bytes of its content, as one write.
    pub(crate) fn begin_append(&mut self, path: &str, size: u64, first: &[u8]) -> io::Result<()> {
        let append = self.dialect.append();
        let fields = format!("{append}Upload-Offset: 0\r\nContent-Length: {size}\r\n");
        let mut request = self.head("PATCH", path, &fields);
        request.extend_from_slice(first);
        self.stream.get_mut().write_all(&request)
    }

    /// Waits this long, in which the server must say nothing and keep the connection.
    pub(crate) fn stay_unanswered(&mut self, time: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(time))?;
        match self.stream.fill_buf() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
            Ok([]) => Err(unexpected("a stalled upload is cut off")),
            Ok(answer) => Err(unexpected(&String::from_utf8_lossy(answer))),
        }
    }

    fn head(&self, method: &str, path: &str, fields: &str) -> Vec<u8> {
        let (address, common) = (&self.address, self.dialect.fields());
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{common}{fields}\r\n").into_bytes()
    }

    fn answer(&mut self, expected: u16) -> io::Result<Answer> {
        let (answer, content) = self.any_answer()?;
        match answer.status == expected {
            true => Ok(answer),
            false => Err(unexpected(&format!("{answer:?} {content}"))),
        }
    }

    /// An answer, and its content.
    fn any_answer(&mut self) -> io::Result<(Answer, String)> {
        let mut head = self.answer_head()?;
        while head.starts_with("HTTP/1.1 1") {
            head = self.answer_head()?;
        }
        let answer = Answer::parse(&head).ok_or_else(|| unexpected(&head))?;
        let length = answer.field("content-length").unwrap_or("0");
        let length = length.parse().map_err(|_| unexpected(&head))?;
        let mut content = String::new();
        (&mut self.stream)
            .take(length)
            .read_to_string(&mut content)?;
        Ok((answer, content))
    }

    fn answer_head(&mut self) -> io::Result<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err(unexpected(&format!("the end, after `{}`", head.trim())));
            }
        }
        Ok(head)
    }
}

/// Status and header fields of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// With names in lower case.
    fields: Vec<(String, String)>,
}

impl Answer {
    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?;
        let fields = lines.map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        Some(Self {
            status: status.parse().ok()?,
            fields: fields.collect::<Option<_>>()?,
        })
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let (_, value) = fields.find(|(other, _)| other == name)?;
        Some(value)
    }
}

fn send(stream: &mut TcpStream, size: u64, block: &[u8]) -> io::Result<()> {
    let mut left = size;
    while left > 0 {
        let next = slice(block, left);
        stream.write_all(next)?;
        left -= next.len() as u64;
    }
    Ok(())
}

/// The first `size` bytes of a block, or all of it.
fn slice(block: &[u8], size: u64) -> &[u8] {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    block.get(..size).unwrap_or(block)
}

fn unexpected(what: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("unexpected answer: {}", what.trim()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_fields() {
        let head = "HTTP/1.1 204 No Content\r\nUpload-Offset: 7\r\nx:\r\n\r\n";
        let answer = Answer::parse(head).unwrap();
        assert_eq!(answer.status, 204);
        assert_eq!(answer.field("upload-offset"), Some("7"));
        assert_eq!(answer.field("x"), Some(""));
        assert_eq!(answer.field("location"), None);
        for wrong in [
            "",
            "HTTP/1.1 2",
            "HTTP/1.1 abc d",
            "HTTP/1.1 204 x\r\nno field",
        ] {
            assert_eq!(Answer::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_slice_ends_with_the_upload_or_the_block() {
        assert_eq!(slice(&[1, 2, 3], 2), [1, 2]);
        assert_eq!(slice(&[1, 2, 3], u64::MAX), [1, 2, 3]);
    }
}
