//! `Upload-Concat`: an upload that is a part of another, or is made of others (rows H12, T100 to
//! T117).

use http::HeaderMap;

use super::{Fault, FieldError, name, sole};

/// The most parts one final upload may name (row T117).
pub const PARTS_MAX: usize = 10_000;

const PARTIAL: &str = "partial";
const FINAL: &str = "final;";

/// What a creation says about concatenation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concat {
    /// The new upload is meant as a part.
    Partial,
    /// The new upload is made of parts.
    Final(Final),
}

impl Concat {
    /// Parses `partial`, or `final;` and URLs separated by spaces. A space after the semicolon and
    /// repeated ones are tolerated.
    ///
    /// # Errors
    ///
    /// [`Fault::NotConcat`], [`Fault::NoParts`] and [`Fault::TooManyParts`].
    pub fn parse(value: &[u8]) -> Result<Self, Fault> {
        if !value.iter().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(Fault::NotConcat);
        }
        let value = str::from_utf8(value).map_err(|_| Fault::NotConcat)?;
        if value == PARTIAL {
            return Ok(Self::Partial);
        }
        if !value.starts_with(FINAL) {
            return Err(Fault::NotConcat);
        }
        let list = Final {
            raw: value.to_owned(),
        };
        match list.parts().take(PARTS_MAX + 1).count() {
            0 => Err(Fault::NoParts),
            count if count > PARTS_MAX => Err(Fault::TooManyParts {
                parts_max: PARTS_MAX,
            }),
            _ => Ok(Self::Final(list)),
        }
    }

    /// What a header section says; `None` when the field is absent.
    ///
    /// # Errors
    ///
    /// As [`Concat::parse`], and [`Fault::Repeated`] for a second field line.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, FieldError> {
        sole(headers, name::UPLOAD_CONCAT)?
            .map(|value| Self::parse(value.as_bytes()))
            .transpose()
            .map_err(|fault| fault.of(name::UPLOAD_CONCAT))
    }

    /// The field value as received: HEAD repeats it (rows T100 and T104).
    #[must_use]
    pub fn raw(&self) -> &str {
        match self {
            Self::Partial => PARTIAL,
            Self::Final(list) => list.raw(),
        }
    }
}

/// The list of a final upload: between one and [`PARTS_MAX`] parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    /// Starts with [`FINAL`]; printable ASCII.
    raw: String,
}

impl Final {
    /// The field value as received.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The URLs of the parts in order; one may come twice (row T107). See [`part_id`].
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        let list = self.raw.strip_prefix(FINAL).unwrap_or_default();
        list.split(' ').filter(|part| !part.is_empty())
    }
}

/// Why a part's URL names no upload of this server (row T111).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartFault {
    /// The URL of another server.
    #[error("the URL belongs to another server")]
    Foreign,
    /// Not a URL of an upload.
    #[error("the URL is not one of an upload")]
    NotAnUpload,
}

/// The upload id in a part's URL (row T115). The id is not checked beyond its characters, and
/// nothing is ever fetched.
///
/// Accepted are `http` and `https` URLs whose authority (`host` or `host:port`) is among
/// `own_authorities`, and absolute paths; in both, whatever prefix a proxy has put in front of
/// `base_path`, which is where uploads live (`/files`).
///
/// # Errors
///
/// [`PartFault`].
pub fn part_id<'u>(
    url: &'u str,
    base_path: &str,
    own_authorities: &[&str],
) -> Result<&'u str, PartFault> {
    let path = match split_authority(url) {
        None => url,
        Some(Absolute {
            authority,
            default_port,
            path,
        }) => {
            let bare = |authority: &str| {
                authority
                    .strip_suffix(default_port)
                    .unwrap_or(authority)
                    .to_ascii_lowercase()
            };
            let wanted = bare(authority);
            if !own_authorities.iter().any(|own| bare(own) == wanted) {
                return Err(PartFault::Foreign);
            }
            path
        }
    };
    last_segment_after(path, base_path).ok_or(PartFault::NotAnUpload)
}

/// A URL that names a server.
struct Absolute<'u> {
    authority: &'u str,
    /// As it may stand behind the authority. Empty for a URL without a scheme.
    default_port: &'static str,
    path: &'u str,
}

/// Splits a URL that names a server; `None` for a mere path. A network-path reference
/// (`//host/path`, RFC 3986, section 4.2) looks like a path and names a server all the same.
fn split_authority(url: &str) -> Option<Absolute<'_>> {
    [("http://", ":80"), ("https://", ":443"), ("//", "")]
        .into_iter()
        .find_map(|(prefix, default_port)| {
            let (found, rest) = url.split_at_checked(prefix.len())?;
            if !found.eq_ignore_ascii_case(prefix) {
                return None;
            }
            let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            Some(Absolute {
                authority,
                default_port,
                path,
            })
        })
}

/// The last segment of an absolute path, if the segments before it end with `base_path`. One slash
/// behind it is tolerated, as it is in a request.
#[must_use]
pub fn last_segment_after<'p>(path: &'p str, base_path: &str) -> Option<&'p str> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let (parent, segment) = path.rsplit_once('/')?;
    let is_id = !segment.is_empty()
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let is_under_base = (parent.is_empty() || parent.starts_with('/'))
        && !parent.contains(['?', '#', ';', ','])
        && parent.ends_with(base_path.trim_end_matches('/'));
    (is_id && is_under_base).then_some(segment)
}
