//! What a client asks of an upload, in the same words for every dialect.

use crate::field::checksum::Checksum;
use crate::field::concat::Final;
use crate::field::id::Id;
use crate::field::length::Length;
use crate::field::metadata::Metadata;

/// One request, decoded and statically valid: what is left to check needs the upload itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// What can this server do? (OPTIONS)
    Discover,
    /// Make a new upload, perhaps with its first bytes.
    Create(Create),
    /// How far did the upload come? (HEAD)
    Retrieve(Retrieve),
    /// Add bytes at an offset.
    Append(Append),
    /// End the upload and remove its bytes (DELETE).
    Cancel {
        /// Whether one that was cancelled before is answered like one that is cancelled now.
        again: bool,
    },
    /// Read the finished content (GET).
    Read(Unfinished),
}

/// The protocol whose rules an upload follows, from its creation on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// tus: complete at its length.
    Tus,
    /// The IETF draft: complete when its sender says so.
    Draft,
    /// The IETF draft up to interop version 6: at its length as well. There are clients that take an
    /// upload for complete there, and do not say so.
    EarlyDraft,
}

impl Protocol {
    /// The word by which it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tus => "tus",
            Self::Draft => "draft",
            Self::EarlyDraft => "early-draft",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Tus, Self::Draft, Self::EarlyDraft]
            .into_iter()
            .find(|protocol| protocol.as_str() == text)
    }

    /// Whether an upload is complete as soon as it has its length. One of the draft with a digest is
    /// not: that is compared when its sender says that it is complete.
    #[must_use]
    pub fn completes_at_length(self, has_digest: bool) -> bool {
        match self {
            Self::Tus => true,
            Self::EarlyDraft => !has_digest,
            Self::Draft => false,
        }
    }
}

/// How the offset of an upload is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retrieve {
    /// A sender that makes progress is not disturbed, and the offset of an upload that somebody else
    /// has cancelled is still told: stock tus clients take anything else for a reason to begin anew.
    Quietly,
    /// Whoever still sends is sent away first, so that the next append must be accepted (draft,
    /// "Offset Retrieval").
    Finally,
}

/// What a GET of an upload that is not complete is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// A refusal.
    Refused,
    /// How far it is. Whoever sends goes on.
    Described,
    /// As to [`Retrieve::Finally`].
    Retrieved,
}

/// The creation of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// The name that the client gives it, so that asking again makes no second one.
    pub id: Option<Id>,
    /// Where the content comes from.
    pub content: NewContent,
    /// Stored and echoed byte for byte.
    pub metadata: Metadata,
    /// The rules that it follows.
    pub protocol: Protocol,
    /// The SHA-256 that the whole content must have.
    pub digest: Option<Checksum>,
    /// The first append, when the request carries content. Its offset is 0.
    pub append: Option<Append>,
}

/// Where a new upload's content comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewContent {
    /// From appends.
    Appended {
        /// The declared length, or that it follows later.
        length: Length,
        /// Whether it is meant as a part of a later final upload.
        partial: bool,
    },
    /// From other uploads, in order (tus concatenation).
    Concatenated(Final),
}

/// Bytes for an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Where the first byte goes; it has to be the upload's offset.
    pub offset: u64,
    /// A length declared together with this append.
    pub length: Option<u64>,
    /// How many bytes this request carries, where it says so in advance.
    pub content_length: Option<u64>,
    /// The digest which these bytes must have. With it the append is all or nothing.
    pub checksum: Option<Expected>,
    /// What makes the upload complete.
    pub completion: Completion,
    /// What happens to bytes past the length.
    pub overrun: Overrun,
}

/// Where the expected digest of an append is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// In the header section: known before the first byte.
    Header(Checksum),
    /// In the trailer section, as announced by `Trailer`.
    Trailer,
}

/// What makes an upload complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Reaching its length (tus).
    AtLength,
    /// The end of this request's content (IETF draft, `Upload-Complete: ?1`).
    AtEnd,
    /// Nothing in this request (IETF draft, `Upload-Complete: ?0`), but what its
    /// [`Protocol`] may say of its length.
    Later,
}

/// What happens to bytes past the upload's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overrun {
    /// Keep what fits, refuse the rest (tus; IETF draft up to interop version 6).
    KeepToLength,
    /// The upload is no longer usable (IETF draft, "Upload Append").
    Invalidate,
}
