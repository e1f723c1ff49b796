//! What a reader wants: which feeds, which events, from where.

use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;
use tidegate_protocol::problem::Problem;

use super::Deps;
use super::reading::{Readable, Reading};
use crate::auth::Caller;
use crate::event::{Cursor, Filter, Start};
use crate::http::Page;

/// What a reader wants.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) readable: Readable,
    pub(super) start: Start,
}

impl Ask {
    /// Reads `?projectId=&types=&after=` and `Last-Event-ID`, which is what a browser sends when it
    /// comes back, and so comes before `after`.
    ///
    /// # Errors
    /// The problem to answer with.
    pub(super) fn of(head: &Parts, caller: Caller) -> Result<Self, Problem> {
        let query = Page::of(head)?;
        let project = query.query("projectId");
        let start = match last_event_id(&head.headers)? {
            Some(cursor) => Start::At(cursor),
            None => start(query.query("after"), project.is_some())?,
        };
        let filter = filter(query.query("types").as_deref())?;
        let readable = Readable {
            project,
            caller,
            filter,
        };
        Ok(Self { readable, start })
    }

    /// # Errors
    /// The problem to answer with.
    pub(super) async fn open(self, deps: &Arc<Deps>) -> Result<Reading, Problem> {
        Reading::open(self.readable, &self.start, deps).await
    }
}

/// Without a word about types, all of them.
pub(super) fn filter(types: Option<&str>) -> Result<Filter, Problem> {
    let Some(types) = types else {
        return Ok(Filter::ALL);
    };
    let filter = types.parse::<Filter>();
    filter.map_err(|error| Problem::validation("types", error.to_string()))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Cursor>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let cursor = value.to_str().ok().and_then(|text| text.parse().ok());
    cursor.map(Some).ok_or_else(|| no_cursor("Last-Event-ID"))
}

/// A place in full, or only the sequence of the last event that is known, if there is one feed.
pub(super) fn start(after: Option<String>, is_one: bool) -> Result<Start, Problem> {
    let Some(after) = after else {
        return Ok(Start::Now);
    };
    let is_number = after.bytes().all(|byte| byte.is_ascii_digit());
    let number = after.parse().ok().filter(|_| is_number && is_one);
    match number {
        Some(sequence) => Ok(Start::After(sequence)),
        None => after.parse().map(Start::At).map_err(|_| no_cursor("after")),
    }
}

fn no_cursor(field: &'static str) -> Problem {
    Problem::ValidationFailed {
        field: field.into(),
        message: "is not a place in a feed".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_a_place_in_one_feed_only() {
        let after = |text: &str, is_one| start(Some(text.to_owned()), is_one);
        assert_eq!(after("12", true), Ok(Start::After(12)));
        assert!(after("12", false).is_err());
        for wrong in ["-1", "+1", "1e3", "99999999999999999999999", "x"] {
            assert!(after(wrong, true).is_err(), "{wrong}");
        }
        let place = "ab12.project:default=7;ab12.user:local=0";
        let Ok(Start::At(cursor)) = after(place, false) else {
            panic!("a place");
        };
        assert_eq!(cursor.to_string(), place);
        for wrong in [
            "ab12.project:default=",
            "ab12.project:=7",
            ".project:default=7",
            "ab12.team:x=7",
            "ab12.project:default=7;ab12.project:default=8",
            "ab12.project:default=7;",
        ] {
            assert!(after(wrong, false).is_err(), "{wrong}");
        }
    }
}
