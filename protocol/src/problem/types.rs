//! The table of problem types: the one place where a refusal gets its status.
//!
//! A slug or a code, once published, stays: clients and bookmarks know it.

/// What is the same for every occurrence of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type {
    /// The last segment of its address, `/problems/<slug>`.
    pub slug: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// A short summary for people.
    pub title: &'static str,
    /// Its name for programs.
    pub code: &'static str,
    /// One sentence, for an occurrence that has nothing particular to tell.
    pub summary: &'static str,
    /// What it means and what to do about it, for the page at its address.
    pub text: &'static str,
}

/// The slug of every type, in the order of [`ALL`].
pub const ALL_SLUGS: [&str; ALL.len()] = {
    let mut slugs = [""; ALL.len()];
    let mut at = 0;
    while at < slugs.len() {
        slugs[at] = ALL[at].slug;
        at += 1;
    }
    slugs
};

/// Title and text for the page `/problems/<slug>`.
#[must_use]
pub fn explanation(slug: &str) -> Option<(&'static str, &'static str)> {
    ALL.iter()
        .find(|kind| kind.slug == slug)
        .map(|kind| (kind.title, kind.text))
}

/// Every type.
pub const ALL: [&Type; 61] = [
    &VALIDATION_FAILED,
    &BAD_REQUEST,
    &NOT_JSON,
    &NOT_A_FORM,
    &BODY_TOO_LARGE,
    &UNAUTHORIZED,
    &FOREIGN_ORIGIN,
    &FORBIDDEN,
    &NOT_FOUND,
    &METHOD_NOT_ALLOWED,
    &UPGRADE_REQUIRED,
    &PRECONDITION_FAILED,
    &RANGE_NOT_SATISFIABLE,
    &HEADER_TOO_LARGE,
    &UNSUPPORTED_VERSION,
    &INVALID_CONTENT_TYPE,
    &UNSUPPORTED_CONTENT_ENCODING,
    &MISSING_OFFSET,
    &OFFSET_MISMATCH,
    &ID_TAKEN,
    &ALREADY_QUEUED,
    &CANCEL_WON,
    &LEASE_LOST,
    &CURSOR_UNKNOWN,
    &LENGTH_REQUIRED,
    &LENGTH_CONFLICT,
    &LENGTH_BELOW_OFFSET,
    &UPLOAD_TOO_LARGE,
    &OTHER_PROTOCOL,
    &UPLOAD_COMPLETED,
    &APPEND_TOO_SMALL,
    &PAST_LENGTH,
    &CONTENT_DIGEST_MISMATCH,
    &DIGEST_MISMATCH,
    &EXCEEDS_LENGTH,
    &UNKNOWN_CHECKSUM_ALGORITHM,
    &CHECKSUM_MISMATCH,
    &FINAL_UPLOAD,
    &INVALID_PART,
    &PART_NOT_FOUND,
    &UPLOAD_INCOMPLETE,
    &UPLOAD_CANCELLED,
    &UPLOAD_EXPIRED,
    &UPLOAD_FAILED,
    &EXPORT_RUNNING,
    &EXPORT_INCOMPLETE,
    &EXPORT_CANCELLED,
    &EXPORT_EXPIRED,
    &EXPORT_FAILED,
    &UPLOAD_SUPERSEDED,
    &UPLOAD_STALLED,
    &UPLOAD_BUSY,
    &STORAGE_FULL,
    &QUOTA_EXCEEDED,
    &TOO_MANY_UPLOADS,
    &TOO_MANY_STREAMS,
    &TOO_MANY_ITEMS,
    &TOO_MANY_REQUESTS,
    &SHUTTING_DOWN,
    &UNAVAILABLE,
    &INTERNAL_ERROR,
];

pub(super) const VALIDATION_FAILED: Type = Type {
    slug: "validation-failed",
    status: 400,
    title: "Validation failed",
    code: "VALIDATION_ERROR",
    summary: "A field of the request is not valid.",
    text: "A header field, a query parameter or a member of the JSON body is missing, repeated, \
           out of bounds or not of the form it must have. Nothing was changed. The member \
           `errors` names each such field and says what is wrong with it.",
};

pub(super) const BAD_REQUEST: Type = Type {
    slug: "bad-request",
    status: 400,
    title: "Bad request",
    code: "BAD_REQUEST",
    summary: "The request is malformed.",
    text: "The request as a whole cannot be understood. Nothing was changed. The detail says what \
           is wrong.",
};

pub(super) const NOT_JSON: Type = Type {
    slug: "not-json",
    status: 415,
    title: "Not JSON",
    code: "NOT_JSON",
    summary: "The body must be sent as application/json.",
    text: "A body of this resource is JSON, and its `Content-Type` has to say so: web pages of \
           other origins cannot send that without being asked first. Nothing was changed. A \
           request without a body needs no `Content-Type`.",
};

pub(super) const NOT_A_FORM: Type = Type {
    slug: "not-a-form",
    status: 415,
    title: "Not a form",
    code: "NOT_A_FORM",
    summary: "The body must be sent as multipart/form-data.",
    text: "Images are sent as files of a form: the body is `multipart/form-data`, and its \
           `Content-Type` says so and names the boundary. Nothing was stored. A single file can as \
           well be sent as an upload of its own, which can be resumed.",
};

pub(super) const BODY_TOO_LARGE: Type = Type {
    slug: "body-too-large",
    status: 413,
    title: "Body too large",
    code: "BODY_TOO_LARGE",
    summary: "The body is larger than this resource takes.",
    text: "The body is larger than this resource takes. Nothing was changed. The member `limit` is \
           the most it takes, in bytes.",
};

pub(super) const UNAUTHORIZED: Type = Type {
    slug: "unauthorized",
    status: 401,
    title: "Unauthorized",
    code: "UNAUTHORIZED",
    summary: "A token is needed.",
    text: "This server has to know who is calling. Send a token as `Authorization: Bearer`, or log in \
           again if there was one: the detail says what is wrong with it. Nothing of the request's \
           body was read.",
};

pub(super) const FOREIGN_ORIGIN: Type = Type {
    slug: "foreign-origin",
    status: 403,
    title: "Foreign origin",
    code: "FOREIGN_ORIGIN",
    summary: "A page of this origin may not act with the user's cookie.",
    text: "The request has no token but the cookie, which a browser sends along whatever page makes \
           the request. So one that changes something must say in `Origin` that it comes from a \
           page of this server, or of an origin that is listed in its configuration. Programs send \
           their token as `Authorization: Bearer` and need no `Origin`.",
};

pub(super) const FORBIDDEN: Type = Type {
    slug: "forbidden",
    status: 403,
    title: "Forbidden",
    code: "FORBIDDEN",
    summary: "The caller may not do this.",
    text: "The caller is known and may see this resource, but has no right to do this with it, or \
           the page that sent the request belongs to an origin that this server does not serve.",
};

pub(super) const NOT_FOUND: Type = Type {
    slug: "not-found",
    status: 404,
    title: "Not found",
    code: "NOT_FOUND",
    summary: "There is nothing at this address.",
    text: "There is nothing at this address, or nothing that the caller may know of. An upload \
           that was deleted after it was complete, and a cancelled or expired one whose traces \
           have been removed, are answered like this too. A client that wants to upload the file \
           has to create a new upload.",
};

pub(super) const METHOD_NOT_ALLOWED: Type = Type {
    slug: "method-not-allowed",
    status: 405,
    title: "Method not allowed",
    code: "METHOD_NOT_ALLOWED",
    summary: "The resource does not support this method.",
    text: "The resource exists and does not support the method of the request. The field `Allow` \
           lists the methods that it supports.",
};

pub(super) const UPGRADE_REQUIRED: Type = Type {
    slug: "upgrade-required",
    status: 426,
    title: "Upgrade required",
    code: "UPGRADE_REQUIRED",
    summary: "The resource is only served in another protocol.",
    text: "The resource is only served in the protocol that the field `Upgrade` names, which the \
           request has to ask for in its own `Upgrade` field, over HTTP/1.1. A client that speaks \
           that protocol does so by itself; HTTP/2 has no such request here.",
};

pub(super) const PRECONDITION_FAILED: Type = Type {
    slug: "precondition-failed",
    status: 412,
    title: "Precondition failed",
    code: "PRECONDITION_FAILED",
    summary: "The content is not the one that the request asks for.",
    text: "The request asks for the content only in a state that `If-Match` or `If-Unmodified-\
           Since` describes, and it is not in that state.",
};

pub(super) const RANGE_NOT_SATISFIABLE: Type = Type {
    slug: "range-not-satisfiable",
    status: 416,
    title: "Range not satisfiable",
    code: "RANGE_NOT_SATISFIABLE",
    summary: "No byte of the range exists.",
    text: "All of the byte ranges asked for lie past the end of the content. The member `length` \
           and the field `Content-Range` tell its length.",
};

pub(super) const HEADER_TOO_LARGE: Type = Type {
    slug: "header-too-large",
    status: 431,
    title: "Header fields too large",
    code: "HEADER_TOO_LARGE",
    summary: "The header section, or a field in it, is too large.",
    text: "The header section of the request, or one field such as `Upload-Metadata` or a long \
           `Upload-Concat`, is larger than this server takes. Nothing was changed. Send less \
           metadata, or concatenate in several steps.",
};

pub(super) const UNSUPPORTED_VERSION: Type = Type {
    slug: "unsupported-version",
    status: 412,
    title: "Unsupported protocol version",
    code: "UNSUPPORTED_VERSION",
    summary: "The field Tus-Resumable is missing or names another version.",
    text: "A request of the tus protocol must carry `Tus-Resumable` with a version that this \
           server speaks. The field `Tus-Version` of the answer lists them. Nothing was changed.",
};

pub(super) const INVALID_CONTENT_TYPE: Type = Type {
    slug: "invalid-content-type",
    status: 415,
    title: "Invalid content type",
    code: "INVALID_CONTENT_TYPE",
    summary: "An append must be sent with the media type of its protocol.",
    text: "The bytes of an upload must be sent with the media type of the protocol, \
           `application/offset+octet-stream` for tus and `application/partial-upload` for \
           Resumable Uploads for HTTP. Nothing was stored. What the bytes are is told when the \
           upload is created.",
};

pub(super) const UNSUPPORTED_CONTENT_ENCODING: Type = Type {
    slug: "unsupported-content-encoding",
    status: 415,
    title: "Unsupported content encoding",
    code: "UNSUPPORTED_CONTENT_ENCODING",
    summary: "An append must not have a Content-Encoding.",
    text: "Offsets count bytes as they are sent, so an append cannot be compressed on the way. \
           Nothing was stored. Send the bytes without `Content-Encoding`.",
};

pub(super) const MISSING_OFFSET: Type = Type {
    slug: "missing-offset",
    status: 400,
    title: "Missing upload offset",
    code: "MISSING_OFFSET",
    summary: "An append must carry Upload-Offset.",
    text: "An append must say in `Upload-Offset` where its first byte goes. Ask for the current \
           offset with HEAD.",
};

pub(super) const OFFSET_MISMATCH: Type = Type {
    slug: "offset-mismatch",
    status: 409,
    title: "Offset mismatch",
    code: "OFFSET_MISMATCH",
    summary: "The offset is not that of the upload.",
    text: "An append must start exactly where the upload ends so far. Nothing was stored. Usually \
           an answer was lost, or another sender was faster. The member `expected-offset` and the \
           field `Upload-Offset` tell where to go on.",
};

pub(super) const ID_TAKEN: Type = Type {
    slug: "id-taken",
    status: 409,
    title: "Upload id taken",
    code: "ID_TAKEN",
    summary: "Another upload has this id.",
    text: "`Upload-Id` names an upload that is another one: of another caller, in another project, \
           of another length or kind. Nothing was changed. Choose a new random UUID for each \
           upload; repeating a creation with the same id and the same fields is fine.",
};

pub(super) const ALREADY_QUEUED: Type = Type {
    slug: "already-queued",
    status: 409,
    title: "Already queued",
    code: "ALREADY_QUEUED",
    summary: "The image waits for a worker already, or is being processed.",
    text: "An image is in the queue once at a time. Wait for the end of the item that is there, or \
           cancel it; as soon as a cancel is accepted, the image can be enqueued again.",
};

pub(super) const CANCEL_WON: Type = Type {
    slug: "cancel-won",
    status: 409,
    title: "The cancel has won",
    code: "CANCEL_WON",
    summary: "The item was cancelled before; the report is dropped.",
    text: "A worker has reported a result, or a failure, of an item that somebody had cancelled. A \
           cancel that was accepted is final: the report changes nothing. The worker drops what it \
           has and goes on with something else.",
};

pub(super) const LEASE_LOST: Type = Type {
    slug: "lease-lost",
    status: 409,
    title: "The lease is lost",
    code: "LEASE_LOST",
    summary: "The item is not this worker's any more; the report is dropped.",
    text: "The `fence` of a report is not that of a claim that lasts: the worker was not heard of for \
           too long, or the item was taken away from it, or the fence is wrong. The report changes \
           nothing. The worker drops what it has and goes on with something else.",
};

pub(super) const CURSOR_UNKNOWN: Type = Type {
    slug: "cursor-unknown",
    status: 409,
    title: "Unknown place in a feed",
    code: "CURSOR_UNKNOWN",
    summary: "The feed has never had this place.",
    text: "`after` or `Last-Event-ID` is a place in the feed of another database, or one that this \
           feed has not reached yet: the server was set up anew, or restored from a backup. Read \
           the state that you need once, and subscribe without a place.",
};

pub(super) const LENGTH_REQUIRED: Type = Type {
    slug: "length-required",
    status: 400,
    title: "Length required",
    code: "LENGTH_REQUIRED",
    summary: "A creation must carry Upload-Length or Upload-Defer-Length.",
    text: "A new upload must declare its length in `Upload-Length`, or say with `Upload-Defer-\
           Length: 1` that the length follows later. Nothing was created.",
};

pub(super) const LENGTH_CONFLICT: Type = Type {
    slug: "length-conflict",
    status: 400,
    title: "Length conflict",
    code: "LENGTH_CONFLICT",
    summary: "The length of an upload cannot be changed.",
    text: "The length of an upload is declared once and never changes. The request declares \
           another one. Nothing was stored.",
};

pub(super) const LENGTH_BELOW_OFFSET: Type = Type {
    slug: "length-below-offset",
    status: 400,
    title: "Length below offset",
    code: "LENGTH_BELOW_OFFSET",
    summary: "More bytes are stored than the length allows.",
    text: "The length that the request declares is smaller than what is stored already. The \
           length stays undeclared and nothing was stored.",
};

pub(super) const UPLOAD_TOO_LARGE: Type = Type {
    slug: "upload-too-large",
    status: 413,
    title: "Upload too large",
    code: "UPLOAD_TOO_LARGE",
    summary: "The upload is larger than this server takes.",
    text: "The upload is larger than this server takes. The member `limit` is the largest length \
           in bytes. An upload whose length was declared in advance was not created; one of \
           deferred length keeps the bytes up to the limit.",
};

pub(super) const OTHER_PROTOCOL: Type = Type {
    slug: "other-protocol",
    status: 400,
    title: "Other protocol",
    code: "OTHER_PROTOCOL",
    summary: "The upload was created in another protocol.",
    text: "An upload is complete at its length in tus, and when its sender says so in Resumable \
           Uploads for HTTP, so bytes are appended in the protocol in which it was created. \
           Nothing was stored. Asking for the offset, reading and deleting work in both.",
};

pub(super) const UPLOAD_COMPLETED: Type = Type {
    slug: "upload-completed",
    status: 400,
    title: "Upload completed",
    code: "UPLOAD_COMPLETED",
    summary: "The upload is complete and takes no more bytes.",
    text: "The upload is complete, and its content does not change any more. A sender that has \
           lost the last answer gets it again with an append without content at the end of the \
           upload, with `Upload-Complete: ?1`.",
};

pub(super) const APPEND_TOO_SMALL: Type = Type {
    slug: "append-too-small",
    status: 400,
    title: "Append too small",
    code: "APPEND_TOO_SMALL",
    summary: "The request has less bytes than this server takes at a time.",
    text: "A request after which more is to follow has to have at least as many bytes as the \
           member `limit` says, which is `min-append-size` of the field `Upload-Limit`. Nothing \
           was stored. The last request of an upload may be smaller.",
};

pub(super) const PAST_LENGTH: Type = Type {
    slug: "past-length",
    status: 400,
    title: "Content past the length",
    code: "PAST_LENGTH",
    summary: "The content goes past the length of the upload.",
    text: "More bytes came than the length of the upload allows, so its sender and this server do \
           not speak of the same content. From interop version 7 of Resumable Uploads for HTTP on \
           an upload that was not complete cannot be used any more: check that the file did not grow, and create a new \
           one. In older versions the bytes up to the length are kept.",
};

pub(super) const CONTENT_DIGEST_MISMATCH: Type = Type {
    slug: "content-digest-mismatch",
    status: 400,
    title: "Content digest mismatch",
    code: "CONTENT_DIGEST_MISMATCH",
    summary: "The bytes of the request do not have its Content-Digest.",
    text: "The bytes that arrived do not have the digest in `Content-Digest`. They were discarded \
           and the offset is as before. Send them again.",
};

pub(super) const DIGEST_MISMATCH: Type = Type {
    slug: "digest-mismatch",
    status: 400,
    title: "Digest mismatch",
    code: "DIGEST_MISMATCH",
    summary: "The whole content does not have its Repr-Digest.",
    text: "All bytes have arrived, and together they do not have the digest that the creation of \
           the upload announced in `Repr-Digest`. The upload has failed and its bytes are removed. \
           To send the file, create a new upload.",
};

pub(super) const EXCEEDS_LENGTH: Type = Type {
    slug: "exceeds-length",
    status: 413,
    title: "Append exceeds length",
    code: "EXCEEDS_LENGTH",
    summary: "The request has more bytes than the upload's length allows.",
    text: "The bytes of the request go past the length of the upload. If the request said so in \
           advance, nothing was stored; otherwise the bytes up to the length were. Ask for the \
           offset with HEAD, and check that the file did not grow during the upload.",
};

pub(super) const UNKNOWN_CHECKSUM_ALGORITHM: Type = Type {
    slug: "unknown-checksum-algorithm",
    status: 400,
    title: "Unknown checksum algorithm",
    code: "UNKNOWN_CHECKSUM_ALGORITHM",
    summary: "The checksum algorithm is not offered.",
    text: "`Upload-Checksum` names an algorithm that this server does not offer. Nothing was \
           stored. The field `Tus-Checksum-Algorithm` of the answer to OPTIONS lists those on \
           offer.",
};

pub(super) const CHECKSUM_MISMATCH: Type = Type {
    slug: "checksum-mismatch",
    status: 460,
    title: "Checksum mismatch",
    code: "CHECKSUM_MISMATCH",
    summary: "The bytes do not have the announced checksum.",
    text: "The bytes that arrived do not have the digest that the request announced, or the \
           announced digest never arrived. They were discarded and the offset is as before. Send \
           them again.",
};

pub(super) const FINAL_UPLOAD: Type = Type {
    slug: "final-upload",
    status: 403,
    title: "Final upload",
    code: "FINAL_UPLOAD",
    summary: "Bytes cannot be appended to an upload that is made of others.",
    text: "This upload is the concatenation of others and takes no bytes of its own. Neither it \
           nor its parts were changed.",
};

pub(super) const INVALID_PART: Type = Type {
    slug: "invalid-part",
    status: 400,
    title: "Invalid part",
    code: "INVALID_PART",
    summary: "A part of the list is not a partial upload of this server.",
    text: "A final upload can only be made of uploads of this server that were created with \
           `Upload-Concat: partial`. The member `part` is the place of the offending URL in the \
           list, counted from 1. Nothing was created.",
};

pub(super) const PART_NOT_FOUND: Type = Type {
    slug: "part-not-found",
    status: 404,
    title: "Part not found",
    code: "PART_NOT_FOUND",
    summary: "A part of the list does not exist.",
    text: "A part of the list does not exist, or the caller has no access to it. The member \
           `part` is the place of its URL in the list, counted from 1. Nothing was created.",
};

pub(super) const UPLOAD_INCOMPLETE: Type = Type {
    slug: "upload-incomplete",
    status: 409,
    title: "Upload incomplete",
    code: "UPLOAD_INCOMPLETE",
    summary: "The content can be read when the upload is complete.",
    text: "The content of an upload can be read as soon as all of it has arrived, and not before. \
           HEAD tells how far the upload is.",
};

pub(super) const UPLOAD_CANCELLED: Type = Type {
    slug: "upload-cancelled",
    status: 410,
    title: "Upload cancelled",
    code: "UPLOAD_CANCELLED",
    summary: "The upload was cancelled.",
    text: "Somebody who may do so has cancelled this upload, and its bytes are removed. The \
           members `reason` and `cancelledAt` tell why and when. This is final: to send the file \
           after all, create a new upload.",
};

pub(super) const UPLOAD_EXPIRED: Type = Type {
    slug: "upload-expired",
    status: 410,
    title: "Upload expired",
    code: "UPLOAD_EXPIRED",
    summary: "The upload was not finished in time.",
    text: "The upload was not finished before the time that `Upload-Expires` told, and its bytes \
           have been removed. To send the file after all, create a new upload.",
};

pub(super) const UPLOAD_FAILED: Type = Type {
    slug: "upload-failed",
    status: 410,
    title: "Upload failed",
    code: "UPLOAD_FAILED",
    summary: "The upload can never become complete.",
    text: "The upload can never become complete, for instance because a part of it was removed \
           before all parts were finished. Its bytes are removed. To send the file after \
           all, create a new upload.",
};

pub(super) const EXPORT_RUNNING: Type = Type {
    slug: "export-running",
    status: 429,
    title: "Export running",
    code: "EXPORT_RUNNING",
    summary: "You are exporting this project already.",
    text: "Each user has one export of a project at a time, and the one before, which the member \
           `jobId` names, has not ended. Wait for its end, or cancel it.",
};

pub(super) const EXPORT_INCOMPLETE: Type = Type {
    slug: "export-incomplete",
    status: 409,
    title: "Export incomplete",
    code: "EXPORT_INCOMPLETE",
    summary: "The archive is not complete yet.",
    text: "The export waits or is under way. Its status tells how far it is, and the event \
           `export.completed` when the archive can be downloaded.",
};

pub(super) const EXPORT_CANCELLED: Type = Type {
    slug: "export-cancelled",
    status: 410,
    title: "Export cancelled",
    code: "EXPORT_CANCELLED",
    summary: "The export was cancelled.",
    text: "Somebody who may do so has cancelled this export, and nothing of its archive is left. \
           The members `reason` and `cancelledAt` tell why and when. This is final: start another \
           export to have the archive after all.",
};

pub(super) const EXPORT_EXPIRED: Type = Type {
    slug: "export-expired",
    status: 410,
    title: "Export expired",
    code: "EXPORT_EXPIRED",
    summary: "The archive is no longer kept.",
    text: "Archives are kept for a limited time, which the export's `expiresAt` tells, and this one \
           has been removed. Start another export.",
};

pub(super) const EXPORT_FAILED: Type = Type {
    slug: "export-failed",
    status: 410,
    title: "Export failed",
    code: "EXPORT_FAILED",
    summary: "The export has failed, and there is no archive.",
    text: "The archive could not be made; the export's status tells why. Nothing of it is left. \
           Start another export.",
};

pub(super) const UPLOAD_SUPERSEDED: Type = Type {
    slug: "upload-superseded",
    status: 400,
    title: "Upload superseded",
    code: "UPLOAD_SUPERSEDED",
    summary: "A newer request has taken the upload over.",
    text: "A newer request for the same upload has arrived, and the newest one wins. The bytes \
           that had arrived before are kept. Do not repeat the older request: if both senders \
           did, they would fight forever.",
};

pub(super) const UPLOAD_STALLED: Type = Type {
    slug: "upload-stalled",
    status: 503,
    title: "Upload stalled",
    code: "UPLOAD_STALLED",
    summary: "No bytes arrived for too long.",
    text: "The sender was silent for longer than the server waits, or too slow. The bytes that \
           had arrived are kept. Ask for the offset with HEAD and go on from there.",
};

pub(super) const UPLOAD_BUSY: Type = Type {
    slug: "upload-busy",
    status: 423,
    title: "Upload busy",
    code: "UPLOAD_BUSY",
    summary: "An earlier request has not let go of the upload in time.",
    text: "An earlier request for the same upload was told to stop and has not done so in time. \
           Nothing was changed. Try again in a few seconds.",
};

pub(super) const STORAGE_FULL: Type = Type {
    slug: "storage-full",
    status: 507,
    title: "Storage full",
    code: "STORAGE_FULL",
    summary: "There is no space left to store the bytes.",
    text: "There is no space left to store the bytes. Those before `Upload-Offset` are kept, and \
           the upload can go on from there when there is space again. Reading, cancelling and \
           deleting still work.",
};

pub(super) const QUOTA_EXCEEDED: Type = Type {
    slug: "quota-exceeded",
    status: 413,
    title: "Quota exceeded",
    code: "QUOTA_EXCEEDED",
    summary: "The project has no room for so many bytes.",
    text: "The project may have so many bytes as the member `quota` says, and has those of the \
           member `used`: an upload counts with its whole length from the moment it is created, or \
           with what has arrived while its length is not known. An upload that does not fit was not \
           created; one of unknown length keeps the bytes before `Upload-Offset`. Cancel or delete \
           uploads of the project before you try again.",
};

pub(super) const TOO_MANY_UPLOADS: Type = Type {
    slug: "too-many-uploads",
    status: 429,
    title: "Too many uploads",
    code: "TOO_MANY_UPLOADS",
    summary: "The caller has too many unfinished uploads.",
    text: "The caller has as many unfinished uploads as the member `limit` says, which is the most. \
           Nothing was created. Finish or cancel some of them, or let them expire, and try again \
           after the time in `Retry-After`.",
};

pub(super) const TOO_MANY_STREAMS: Type = Type {
    slug: "too-many-streams",
    status: 429,
    title: "Too many streams",
    code: "TOO_MANY_STREAMS",
    summary: "The caller sends to too many uploads at once.",
    text: "The caller sends to as many uploads at once as the member `limit` says, which is the most. \
           Nothing was stored, and nothing was created. Send to fewer uploads at a time, and try \
           again after the time in `Retry-After`.",
};

pub(super) const TOO_MANY_ITEMS: Type = Type {
    slug: "too-many-items",
    status: 429,
    title: "Too many items in the queue",
    code: "TOO_MANY_ITEMS",
    summary: "The project has as many items in the queue as it may have.",
    text: "Each project may have so many images that wait or are processed, and no more: `limit`. \
           Nothing was enqueued. Try again when some have ended, or cancel some.",
};

pub(super) const TOO_MANY_REQUESTS: Type = Type {
    slug: "too-many-requests",
    status: 429,
    title: "Too many requests",
    code: "TOO_MANY_REQUESTS",
    summary: "The caller makes too many requests.",
    text: "The caller makes more requests, or creates more uploads, in a second than this server \
           takes of one caller. Nothing was changed. Try again after the time in `Retry-After`.",
};

pub(super) const SHUTTING_DOWN: Type = Type {
    slug: "shutting-down",
    status: 503,
    title: "Shutting down",
    code: "SHUTTING_DOWN",
    summary: "The server is stopping.",
    text: "The server is stopping. The bytes that had arrived are kept. Try again after the time \
           in `Retry-After`; ask for the offset with HEAD and go on from there.",
};

pub(super) const UNAVAILABLE: Type = Type {
    slug: "unavailable",
    status: 503,
    title: "Unavailable",
    code: "UNAVAILABLE",
    summary: "The server cannot do this now.",
    text: "The server, its database or its store cannot do this now. Try again after the time in \
           `Retry-After`.",
};

pub(super) const INTERNAL_ERROR: Type = Type {
    slug: "internal-error",
    status: 500,
    title: "Internal error",
    code: "INTERNAL_ERROR",
    summary: "Something went wrong in the server.",
    text: "Something went wrong in the server that the client cannot mend. The log has the \
           particulars under the `X-Request-Id` of the answer. Every offset that was told before \
           still holds; ask for it with HEAD and go on from there.",
};
