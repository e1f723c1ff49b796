//! On whose behalf a request is made.
//!
//! A client says it in one of four ways: a login token in `Authorization`, or, where a browser cannot
//! send that, in the cookie `access_token`; and what else a route takes, in its query. What was put
//! into this request comes before the cookie, which a browser sends along with every request, also
//! with those that a page of somebody else has made.

use http::header::{AUTHORIZATION, COOKIE, ORIGIN, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method};
use tidegate_protocol::problem::Problem;

use super::{Config, Request};
use crate::auth::Caller;

/// The cookie with a login token.
const COOKIE_NAME: &[u8] = b"access_token";

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Everybody, without being asked who he is.
    Public,
    /// A caller with a login token, or else with this.
    Callers(Option<Credential>),
}

/// What a route takes in the place of a login token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `?ticket=`, good for one request.
    Ticket,
    /// `?token=`, by which somebody lends his right to this.
    Lent(Operation),
}

/// What can be lent of the resource that the path has as `{id}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// To cancel an upload.
    Upload,
    /// To read an upload with GET.
    Read,
    /// To download an archive.
    Archive,
}

impl Operation {
    /// Under this name it is lent.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Read => "read",
            Self::Archive => "archive",
        }
    }

    /// Whether a token in the query is looked at.
    fn is_asked(self, method: &Method, is_open: bool) -> bool {
        match self {
            // Where nobody is asked, too: with it, a page may do what it could not without.
            Self::Upload | Self::Archive => true,
            // What other methods do at the same path is not lent.
            Self::Read => *method == Method::GET && !is_open,
        }
    }
}

/// Finds out who is calling, and takes from the request what proves it: nobody behind this needs it.
///
/// # Errors
/// The problem to answer with.
///
/// # Cancel safety
/// May be dropped.
pub(super) async fn establish(
    request: &mut Request,
    entry: Entry,
    config: &Config,
) -> Result<Caller, Problem> {
    let proofs = Proofs::take(&mut request.head.headers);
    let everybody = config.auth.everybody();
    let credential = match entry {
        Entry::Callers(credential) if request.head.method != Method::OPTIONS => credential,
        // A browser asks with OPTIONS what it may ask for, and sends no credentials along.
        Entry::Public | Entry::Callers(_) => return Ok(everybody.unwrap_or_else(Caller::nobody)),
    };
    let proofs = match &everybody {
        Some(_) => Proofs::default(),
        None => proofs?,
    };
    if let Some(token) = &proofs.bearer {
        return config.auth.bearer(token).await;
    }
    match credential {
        Some(Credential::Ticket) if everybody.is_none() => {
            if let Some(ticket) = parameter(&request.head, "ticket")? {
                return config.auth.ticket(ticket);
            }
        }
        Some(Credential::Lent(operation))
            if operation.is_asked(&request.head.method, everybody.is_some()) =>
        {
            if let Some(token) = parameter(&request.head, "token")? {
                let id = request.path.get("id").unwrap_or_default();
                let lender = config.auth.capability(token, operation.word(), id)?;
                request.is_lent = true;
                return Ok(lender);
            }
        }
        Some(Credential::Ticket | Credential::Lent(_)) | None => {}
    }
    if let Some(everybody) = everybody {
        return Ok(everybody);
    }
    let token = proofs.cookie.ok_or(Problem::Unauthorized { fault: None })?;
    is_own_page(request, config)?;
    config.auth.bearer(&token).await
}

/// Refuses what a foreign page may have had the browser send. Reading is not asked about: whatever is
/// read, a browser keeps from a foreign page. A WebSocket it would let it read.
fn is_own_page(request: &Request, config: &Config) -> Result<(), Problem> {
    let head = &request.head;
    let is_safe = matches!(head.method, Method::GET | Method::HEAD);
    if is_safe && !head.headers.contains_key(UPGRADE) {
        return Ok(());
    }
    let mut pages = head.headers.get_all(ORIGIN).iter();
    let (Some(page), None) = (pages.next(), pages.next()) else {
        return Err(Problem::ForeignOrigin);
    };
    let is_own = config.origin.is_own(page, head, &request.scheme) || config.cors.trusts(page);
    is_own.then_some(()).ok_or(Problem::ForeignOrigin)
}

/// The login tokens that came with a request.
#[derive(Default)]
struct Proofs {
    bearer: Option<String>,
    cookie: Option<String>,
}

impl Proofs {
    /// # Errors
    /// They are malformed, or there are two where one counts.
    fn take(headers: &mut HeaderMap) -> Result<Self, Problem> {
        let proofs = Self::find(headers);
        headers.remove(AUTHORIZATION);
        headers.remove(COOKIE);
        proofs
    }

    fn find(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut authorizations = headers.get_all(AUTHORIZATION).iter();
        let bearer = match (authorizations.next(), authorizations.next()) {
            (None, _) => None,
            (Some(value), None) => Some(bearer(value.as_bytes())?),
            (Some(_), Some(_)) => return Err(refused("There are two tokens")),
        };
        // Over HTTP/2 each cookie may have a field of its own (RFC 9113, section 8.2.3).
        let fields = headers.get_all(COOKIE).iter();
        let cookies = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
        let mut tokens = cookies.filter_map(|cookie| {
            let cookie = cookie.trim_ascii();
            let sign = cookie.iter().position(|byte| *byte == b'=')?;
            (&cookie[..sign] == COOKIE_NAME).then_some(&cookie[sign + 1..])
        });
        let cookie = match (tokens.next(), tokens.next()) {
            (None, _) => None,
            (Some(token), None) => Some(text(token)?),
            // Another page below the same domain may have set one of them.
            (Some(_), Some(_)) => return Err(refused("There are two tokens")),
        };
        Ok(Self { bearer, cookie })
    }
}

/// The token of `Bearer` credentials (RFC 6750, section 2.1).
fn bearer(credentials: &[u8]) -> Result<String, Problem> {
    let mut words = credentials.splitn(2, |byte| *byte == b' ');
    match (words.next(), words.next()) {
        (Some(scheme), Some(token)) if scheme.eq_ignore_ascii_case(b"bearer") => {
            text(token.trim_ascii())
        }
        _ => Err(refused("Authorization is not Bearer and a token")),
    }
}

/// A token's characters (RFC 6750, section 2.1), of which a JWT has some.
fn text(token: &[u8]) -> Result<String, Problem> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let text = std::str::from_utf8(token).ok();
    let text = text.filter(|text| !text.is_empty() && token.iter().all(is_plain));
    text.map(str::to_owned)
        .ok_or_else(|| refused("The token is malformed"))
}

/// A parameter of the query whose value is written without any escape.
///
/// # Errors
/// It is there twice.
fn parameter<'r>(head: &'r Parts, name: &str) -> Result<Option<&'r str>, Problem> {
    let pairs = head.uri.query().unwrap_or("").split('&');
    let mut found = pairs
        .filter_map(|pair| pair.split_once('='))
        .filter(|(known, _)| *known == name);
    match (found.next(), found.next()) {
        (found, None) => Ok(found.map(|(_, value)| value)),
        (_, Some(_)) => Err(refused("There are two tokens")),
    }
}

fn refused(fault: &'static str) -> Problem {
    Problem::Unauthorized { fault: Some(fault) }
}
