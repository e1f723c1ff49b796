//! The limit: one thread that reads sockets and writes files, and nothing else.
//!
//! A connection sends its length, eight bytes with the most significant first, and that many bytes.
//! They go to a file of its own, and the answer is one byte. All connections share one buffer, and a
//! readable socket is read once before the next one has its turn, so with as many connections and
//! files as the server has, this costs what those must cost.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::retry_on_intr;

/// What is sent before the content.
pub(crate) const HEAD_BYTES: usize = size_of::<u64>();
/// What is answered when all of it is in the file.
pub(crate) const DONE: u8 = b'.';

const EVENTS_MAX: usize = 64;
/// The first keys; the connections follow.
const LISTENER: u64 = 0;
const UNTIL: u64 = 1;
const FIRST: u64 = 2;

/// Takes connections until the other end of `until` is closed.
///
/// # Errors
///
/// Also when a client does not keep to the protocol: then nothing that was measured counts.
pub(crate) fn run(
    listener: &TcpListener,
    dir: &Path,
    buffer_bytes: usize,
    until: impl AsFd,
) -> io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let watch = |fd: &dyn AsFd, key: u64| {
        epoll::add(&epoll, fd.as_fd(), EventData::new_u64(key), EventFlags::IN)
    };
    watch(listener, LISTENER)?;
    watch(&until, UNTIL)?;
    let mut buffer = vec![0; buffer_bytes.max(HEAD_BYTES)];
    let mut events = Vec::with_capacity(EVENTS_MAX);
    // In the order of their arrival, which is their key.
    let mut transfers: Vec<Option<Transfer>> = Vec::new();
    loop {
        retry_on_intr(|| epoll::wait(&epoll, spare_capacity(&mut events), None))?;
        for event in events.drain(..) {
            let at = match event.data.u64() {
                LISTENER => {
                    let (stream, _) = listener.accept()?;
                    let file = File::create_new(dir.join(transfers.len().to_string()))?;
                    watch(&stream, FIRST + transfers.len() as u64)?;
                    transfers.push(Some(Transfer::new(stream, file)?));
                    continue;
                }
                UNTIL => return Ok(()),
                key => usize::try_from(key - FIRST).map_err(io::Error::other)?,
            };
            if let Some(slot) = transfers.get_mut(at)
                && let Some(transfer) = slot
                && transfer.read_once(&mut buffer)?
            {
                // Closes the file and the socket, which leaves the epoll set by that.
                *slot = None;
            }
        }
    }
}

/// One connection and its file.
struct Transfer {
    stream: TcpStream,
    file: File,
    /// Shorter than [`HEAD_BYTES`] while the length is still coming in.
    head: Vec<u8>,
    written: u64,
}

impl Transfer {
    fn new(stream: TcpStream, file: File) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            file,
            head: Vec::with_capacity(HEAD_BYTES),
            written: 0,
        })
    }

    /// Whether that was the end of it.
    fn read_once(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let room = match HEAD_BYTES - self.head.len() {
            0 => buffer.len(),
            missing => missing,
        };
        let read = match self.stream.read(&mut buffer[..room]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        if self.head.len() < HEAD_BYTES {
            self.head.extend_from_slice(&buffer[..read]);
        } else {
            self.file.write_all_at(&buffer[..read], self.written)?;
            self.written += read as u64;
        }
        let Ok(head) = self.head.as_slice().try_into() else {
            return Ok(false);
        };
        let length = u64::from_be_bytes(head);
        if self.written > length {
            return Err(io::Error::other("a client sends more than it announced"));
        }
        let is_done = self.written == length;
        if is_done {
            self.stream.write_all(&[DONE])?;
        }
        Ok(is_done)
    }
}
