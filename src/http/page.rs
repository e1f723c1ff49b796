//! Pages of a list: `?page=&limit=` in, `pagination` out (contract, "Errors").

use http::request::Parts;
use percent_encoding::percent_decode_str;
use tidegate_protocol::problem::Problem;

/// Rows a page, when the client does not say.
const LIMIT_DEFAULT: u32 = 50;

/// Rows a page, at most.
const LIMIT_MAX: u32 = 100;

/// What a client wants to see of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// From 1.
    pub number: u32,
    /// 1 to 100.
    pub limit: u32,
    query: Vec<(String, String)>,
}

impl Page {
    /// Reads the query of a request.
    ///
    /// # Errors
    /// `page` or `limit` is not a number in its range.
    pub fn of(head: &Parts) -> Result<Self, Problem> {
        let query: Vec<_> = head
            .uri
            .query()
            .unwrap_or("")
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (decoded(name), decoded(value)))
            .collect();
        let mut page = Self {
            number: 1,
            limit: LIMIT_DEFAULT,
            query,
        };
        page.number = page.count("page", u32::MAX)?.unwrap_or(1);
        page.limit = page.count("limit", LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
        Ok(page)
    }

    /// Another parameter of the query. An empty one is as good as none.
    pub fn query(&self, name: &str) -> Option<String> {
        let found = self.query.iter().find(|(known, _)| known == name)?;
        Some(found.1.clone()).filter(|value| !value.is_empty())
    }

    fn count(&self, name: &'static str, max: u32) -> Result<Option<u32>, Problem> {
        let Some(text) = self.query(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(count) if (1..=max).contains(&count) => Ok(Some(count)),
            _ => Err(Problem::ValidationFailed {
                field: name.into(),
                message: format!("must be a number from 1 to {max}").into(),
            }),
        }
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " "))
        .decode_utf8_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<Page, Problem> {
        let request = http::Request::builder()
            .uri(format!("/list?{query}"))
            .body(())
            .unwrap();
        Page::of(&request.into_parts().0)
    }

    #[test]
    fn pages_are_bounded() {
        assert_eq!(page("").map(|p| (p.number, p.limit)), Ok((1, 50)));
        assert_eq!(
            page("page=3&limit=100").map(|p| (p.number, p.limit)),
            Ok((3, 100))
        );
        for wrong in [
            "page=0",
            "page=-1",
            "page=x",
            "limit=0",
            "limit=101",
            "limit=1e2",
        ] {
            assert!(page(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        assert_eq!(
            page("state=up%6coading").unwrap().query("state").unwrap(),
            "uploading"
        );
        assert_eq!(page("state=").unwrap().query("state"), None);
    }
}
