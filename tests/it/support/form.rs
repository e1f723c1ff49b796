//! Forms as browsers send them, or not quite.

use super::wire::Req;

pub(crate) const IMAGES: &str = "/api/projects/default/images";

pub(crate) const BOUNDARY: &str = "----tidegate-it-7MA4YWxk";

/// The body of a form, part by part. The end is the test's to send.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    bytes: Vec<u8>,
}

impl Form {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A part with these lines as its header section.
    pub(crate) fn part(mut self, head: impl AsRef<[u8]>, content: &[u8]) -> Self {
        self = self.open(head);
        self.bytes.extend_from_slice(content);
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// The beginning of a part, whose content the test sends by hand.
    pub(crate) fn open(mut self, head: impl AsRef<[u8]>) -> Self {
        self.bytes
            .extend_from_slice(format!("--{BOUNDARY}\r\n").as_bytes());
        self.bytes.extend_from_slice(head.as_ref());
        self.bytes.extend_from_slice(b"\r\n\r\n");
        self
    }

    pub(crate) fn image(self, filename: &str, content: &[u8]) -> Self {
        self.part(image(filename), content)
    }

    /// All that has been put together, and no end.
    pub(crate) fn so_far(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn end(self) -> Vec<u8> {
        let mut bytes = self.bytes;
        bytes.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        bytes
    }
}

/// The header section of an image.
pub(crate) fn image(filename: &str) -> String {
    let filename = escaped(filename);
    format!(
        "Content-Disposition: form-data; name=\"images\"; filename=\"{filename}\"\r\n\
         Content-Type: image/png"
    )
}

/// A file's name as browsers write it.
pub(crate) fn escaped(filename: &str) -> String {
    filename
        .replace('\r', "%0D")
        .replace('\n', "%0A")
        .replace('"', "%22")
}

/// A request with a form, whose body is the test's to add.
pub(crate) fn post() -> Req {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    Req::new("POST", IMAGES).header("Content-Type", content_type)
}
