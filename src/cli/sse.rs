//! Server-sent events as they come: bytes to events, of which none may be longer than some bound.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>

use std::collections::VecDeque;

/// The longest event, and the longest line of it. Those of a server have some KiB.
const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Something of a stream is longer than any event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it sends an event of more than 1 MiB")]
pub(super) struct TooLong;

/// What has come to its end in a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// The place behind it.
    pub(super) id: Option<String>,
    /// Empty if there is no event, but a place.
    pub(super) data: String,
}

/// One stream. What is half there at its end was never sent.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    block: Block,
    ready: VecDeque<Block>,
    /// A line feed now belongs to the line end before it.
    after_return: bool,
}

impl Parser {
    /// `bytes` come next.
    ///
    /// # Errors
    /// Something is longer than it may be.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        for byte in bytes {
            let ends_return = std::mem::take(&mut self.after_return);
            match byte {
                b'\n' if ends_return => {}
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    self.end_line()?;
                }
                _ if self.line.len() == EVENT_BYTES_MAX => return Err(TooLong),
                _ => self.line.push(*byte),
            }
        }
        Ok(())
    }

    /// The next one that is whole.
    pub(super) fn next(&mut self) -> Option<Block> {
        self.ready.pop_front()
    }

    fn end_line(&mut self) -> Result<(), TooLong> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        if line.is_empty() {
            let mut block = std::mem::take(&mut self.block);
            block.data.pop();
            if block != Block::default() {
                self.ready.push_back(block);
            }
            return Ok(());
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                if self.block.data.len() + value.len() >= EVENT_BYTES_MAX {
                    return Err(TooLong);
                }
                self.block.data.push_str(value);
                self.block.data.push('\n');
            }
            "id" if !value.contains('\0') => self.block.id = Some(value.to_owned()),
            // Comments, and how long to wait: that is decided here.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &str, at_once: usize) -> Vec<(Option<String>, String)> {
        let mut parser = Parser::default();
        for piece in text.as_bytes().chunks(at_once) {
            parser.feed(piece).unwrap();
        }
        std::iter::from_fn(|| parser.next())
            .map(|block| (block.id, block.data))
            .collect()
    }

    #[test]
    fn a_stream_may_come_in_any_pieces_and_with_any_line_ends() {
        let text = ": ping\n\nretry: 1000\nid: a=1\n\nid: a=2\ndata: {\"x\":1}\n\ndata:a\ndata: b\n\nid: a=3\ndata: cut";
        let wanted = [
            (Some("a=1".to_owned()), String::new()),
            (Some("a=2".to_owned()), "{\"x\":1}".to_owned()),
            (None, "a\nb".to_owned()),
        ];
        for at_once in [1, 3, 1000] {
            for end in ["\n", "\r\n", "\r"] {
                assert_eq!(blocks(&text.replace('\n', end), at_once), wanted, "{end:?}");
            }
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let mut parser = Parser::default();
        assert_eq!(parser.feed(&vec![b'x'; EVENT_BYTES_MAX]), Ok(()));
        assert_eq!(parser.feed(b"x"), Err(TooLong));
        let mut parser = Parser::default();
        let line = [&b"data: "[..], &vec![b'x'; EVENT_BYTES_MAX / 2], b"\n"].concat();
        assert_eq!(parser.feed(&line), Ok(()));
        assert_eq!(parser.feed(&line), Err(TooLong));
    }
}
