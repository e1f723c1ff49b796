//! Lists of a server, page by page: no more than one page is held.

use std::collections::HashSet;

use super::error::CommandError;
use super::object::Object;
use super::out::{self, Table};
use super::retry;
use super::server::{AskError, Server};

const PAGE: usize = 100;

/// A list that goes on for longer is none.
const PAGES_MAX: u64 = 1_000_000;

/// A list that is being read.
pub(super) struct Pages<'s> {
    server: &'s Server,
    /// With the rest of the query.
    path: String,
    /// The next one; `None` behind the last one.
    page: Option<u64>,
    /// What was on the page before. Something new at the top moves everything else down.
    before: HashSet<String>,
}

impl<'s> Pages<'s> {
    /// `path` may have a query.
    pub(super) fn new(server: &'s Server, path: &str) -> Self {
        let separator = if path.contains('?') { '&' } else { '?' };
        Self {
            server,
            path: format!("{path}{separator}limit={PAGE}"),
            page: Some(1),
            before: HashSet::new(),
        }
    }

    /// The next page. `None`: there are no more.
    ///
    /// # Errors
    /// The server does not tell.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Object>>, AskError> {
        let Some(page) = self.page else {
            return Ok(None);
        };
        let path = format!("{}&page={page}", self.path);
        let answer: super::session::Answer<Vec<Object>> =
            retry::while_busy(async || self.server.get(&path).await).await?;
        let mut rows = answer.data;
        let is_last = rows.len() < PAGE || page == PAGES_MAX;
        self.page = (!is_last).then_some(page + 1);
        let ids = rows.iter().filter_map(|row| row.word("id"));
        let ids = ids.map(str::to_owned).collect();
        let before = std::mem::replace(&mut self.before, ids);
        rows.retain(|row| row.word("id").is_none_or(|id| !before.contains(id)));
        Ok(Some(rows))
    }

    /// Shows everything, or the first `limit` of it. `row` makes a row of a table of an object.
    ///
    /// # Errors
    /// The server does not tell, nobody can be told, or there is nothing.
    pub(super) async fn show<const N: usize>(
        mut self,
        as_json: bool,
        limit: Option<u64>,
        head: [&'static str; N],
        row: impl Fn(&Object) -> [String; N],
    ) -> Result<(), CommandError> {
        let mut table = Table::new(head);
        let mut left = limit.unwrap_or(u64::MAX);
        let mut is_empty = true;
        while left > 0
            && let Some(mut objects) = self.next().await?
        {
            objects.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= objects.len() as u64;
            is_empty &= objects.is_empty();
            if as_json {
                objects.iter().try_for_each(out::json)?;
            } else if !objects.is_empty() {
                table.print(&objects.iter().map(&row).collect::<Vec<_>>())?;
            }
        }
        match is_empty {
            true => Err(CommandError::Nothing("there is nothing to list".into())),
            false => Ok(()),
        }
    }
}
