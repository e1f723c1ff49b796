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
    /// A parameter is there twice, or `page` or `limit` is not a number in its range.
    pub fn of(head: &Parts) -> Result<Self, Problem> {
        let pairs = head.uri.query().unwrap_or("").split('&');
        let mut query = Vec::<(String, String)>::new();
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name);
            if query.iter().any(|(known, _)| *known == name) {
                return Err(Problem::ValidationFailed {
                    field: name.into(),
                    message: "must not be there twice".into(),
                });
            }
            query.push((name, decoded(value)));
        }
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

    /// How many rows it has at most, and how many come before them.
    pub fn bounds(&self) -> [i64; 2] {
        let limit = i64::from(self.limit);
        [limit, i64::from(self.number.saturating_sub(1)) * limit]
    }

    fn count(&self, name: &'static str, max: u32) -> Result<Option<u32>, Problem> {
        let Some(text) = self.query(name) else {
            return Ok(None);
        };
        // `parse` would take a sign.
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(count) if is_number && (1..=max).contains(&count) => Ok(Some(count)),
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
            "limit=%2B5",
            "limit=+5",
            "page=%D9%A5",
        ] {
            assert!(page(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_parameter_that_is_there_twice_is_refused() {
        for (query, repeated) in [
            ("page=1&page=2", "page"),
            ("limit=5&state=uploading&limit=5", "limit"),
            ("limit=5&limit", "limit"),
            ("state=uploading&state=completed", "state"),
            ("state=&st%61te=completed", "state"),
        ] {
            let refused = page(query);
            let Err(Problem::ValidationFailed { field, .. }) = refused else {
                panic!("{query}: {refused:?}");
            };
            assert_eq!(field, repeated, "{query}");
        }
        assert!(page("&state=&&page=2").is_ok());
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
