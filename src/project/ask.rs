//! What clients say of projects and shares, checked.

use serde::{Deserialize, Deserializer};
use tidegate_protocol::problem::Problem;

use super::store::{Edit, With};

/// The longest title, in characters.
const TITLE_MAX: usize = 255;

/// The longest description, in characters.
const DESCRIPTION_MAX: usize = 1000;

/// The longest id of a user, in bytes, as in a token.
const USER_MAX: usize = 255;

/// The longest e-mail address, in bytes: what a mail server takes (RFC 5321, section 4.5.3.1.3).
const EMAIL_MAX: usize = 254;

/// `{title, description?}` of a new project.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct New {
    title: Option<String>,
    description: Option<String>,
}

/// `{title?, description?}` of a project that is there.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Changed {
    title: Option<String>,
    /// The outer one: whether it is there at all.
    #[serde(deserialize_with = "given")]
    description: Option<Option<String>>,
}

/// `{userId}` or `{email}` of a new share.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct Invitation {
    user_id: Option<String>,
    email: Option<String>,
}

impl New {
    /// Title and description.
    ///
    /// # Errors
    /// The problem to answer with.
    pub(super) fn checked(self) -> Result<(String, Option<String>), Problem> {
        let missing = || Problem::validation("title", "is missing");
        let title = title(self.title.ok_or_else(missing)?)?;
        Ok((title, description(self.description)?))
    }
}

impl Changed {
    /// # Errors
    /// The problem to answer with.
    pub(super) fn checked(self) -> Result<Edit, Problem> {
        Ok(Edit {
            title: self.title.map(title).transpose()?,
            description: self.description.map(description).transpose()?,
        })
    }
}

impl Invitation {
    /// With whom, and which field said so.
    ///
    /// # Errors
    /// The problem to answer with.
    pub(super) fn checked(self) -> Result<(With, &'static str), Problem> {
        match (self.user_id, self.email) {
            (Some(user), None) => Ok((With::User(user_id(user)?), "userId")),
            (None, Some(email)) => Ok((With::Email(address(&email)?), "email")),
            (None, None) => Err(Problem::validation("userId", "or `email` is missing")),
            (Some(_), Some(_)) => Err(Problem::validation(
                "email",
                "must not be there beside `userId`",
            )),
        }
    }
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn title(text: String) -> Result<String, Problem> {
    let refused = |message| Err(Problem::validation("title", message));
    if text.chars().count() > TITLE_MAX {
        return refused("must not be longer than 255 characters");
    }
    if text.trim().is_empty() {
        return refused("must not be empty");
    }
    match text.chars().any(char::is_control) {
        true => refused("must not contain control characters"),
        false => Ok(text),
    }
}

/// An empty one is as good as none.
fn description(text: Option<String>) -> Result<Option<String>, Problem> {
    let text = text.filter(|text| !text.is_empty());
    let refused = |message| Err(Problem::validation("description", message));
    match text {
        Some(text) if text.chars().count() > DESCRIPTION_MAX => {
            refused("must not be longer than 1000 characters")
        }
        Some(text)
            if text
                .chars()
                .any(|c| c.is_control() && !"\r\n\t".contains(c)) =>
        {
            refused("must not contain control characters but line ends and tabs")
        }
        text => Ok(text),
    }
}

fn user_id(text: String) -> Result<String, Problem> {
    match (1..=USER_MAX).contains(&text.len()) && !text.chars().any(char::is_control) {
        true => Ok(text),
        false => Err(Problem::validation(
            "userId",
            "must be 1 to 255 bytes without control characters",
        )),
    }
}

/// In lower case, so that each address has one form. Letters beyond ASCII stay as they are: some have
/// the same lower case as one of another address.
fn address(text: &str) -> Result<String, Problem> {
    let text = text.to_ascii_lowercase();
    let is_sound = text
        .rsplit_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
        && text.len() <= EMAIL_MAX
        && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    match is_sound {
        true => Ok(text),
        false => Err(Problem::validation("email", "is not an e-mail address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(json: &str) -> Result<Edit, Problem> {
        serde_json::from_str::<Changed>(json).unwrap().checked()
    }

    /// U+212A has the lower case `k`, and is none.
    #[test]
    fn an_address_that_looks_like_another_is_another() {
        let [plain, odd] = ["mark@example.org", "mar\u{212a}@example.org"].map(address);
        assert_eq!(plain.as_deref(), Ok("mark@example.org"));
        assert_ne!(odd, plain);
        assert_eq!(address("MARK@Example.org"), plain);
    }

    fn invited(json: &str) -> Result<(With, &'static str), Problem> {
        serde_json::from_str::<Invitation>(json).unwrap().checked()
    }

    #[test]
    fn what_is_not_there_stays_and_null_removes() {
        assert_eq!(changed("{}"), Ok(Edit::default()));
        for removed in [r#"{"description":null}"#, r#"{"description":""}"#] {
            assert_eq!(changed(removed).unwrap().description, Some(None));
        }
        let edit = changed(r#"{"title":"t","description":"a\n\tb"}"#).unwrap();
        assert_eq!(edit.title.as_deref(), Some("t"));
        assert_eq!(edit.description, Some(Some("a\n\tb".into())));
    }

    #[test]
    fn titles_and_descriptions_are_bounded() {
        let longest = "\u{1f980}".repeat(TITLE_MAX);
        assert_eq!(title(longest.clone()), Ok(longest.clone()));
        for wrong in [
            String::new(),
            "  ".into(),
            "a\nb".into(),
            "\0".into(),
            longest + "x",
        ] {
            assert!(title(wrong.clone()).is_err(), "{wrong:?}");
        }
        let longest = "\u{1f980}".repeat(DESCRIPTION_MAX);
        assert!(description(Some(longest.clone())).is_ok());
        for wrong in [longest + "x", "a\0b".into(), "\u{85}".into()] {
            assert!(description(Some(wrong.clone())).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_invitation_names_one_user_or_one_address() {
        let user = invited(r#"{"userId":"B b"}"#);
        assert_eq!(user, Ok((With::User("B b".into()), "userId")));
        let email = invited(r#"{"email":"Bo.B@Example.ORG"}"#);
        assert_eq!(email, Ok((With::Email("bo.b@example.org".into()), "email")));
        for wrong in [
            "{}",
            r#"{"userId":"b","email":"b@c"}"#,
            r#"{"userId":""}"#,
            r#"{"userId":"a\u0000"}"#,
            r#"{"email":""}"#,
            r#"{"email":"b"}"#,
            r#"{"email":"@c"}"#,
            r#"{"email":"b@"}"#,
            r#"{"email":"b @c"}"#,
            r#"{"email":"b@c\n"}"#,
        ] {
            assert!(invited(wrong).is_err(), "{wrong}");
        }
        let long = format!(r#"{{"email":"{}@c"}}"#, "b".repeat(EMAIL_MAX));
        assert!(invited(&long).is_err());
    }
}
