//! What a WebSocket client asks for, and what it is answered: one JSON object each.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tidegate_protocol::problem::Problem;

use super::ask;
use crate::event::{Filter, Start};
use crate::http::reject;

/// The longest `ref` of a client, in bytes.
const REFERENCE_BYTES_MAX: usize = 200;

/// One message of a client.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) reference: Reference,
    pub(super) command: Result<Command, Problem>,
}

/// What the client wants its answer to be known by: `ref`, a string or a number, if it gave one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reference(Option<Value>);

#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Subscribe {
        /// `None`: every feed that the caller may see.
        project: Option<String>,
        start: Start,
        filter: Filter,
    },
    Unsubscribe {
        /// As it was subscribed to.
        project: Option<String>,
    },
    Cancel(CancelCall),
}

/// A cancel that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelCall {
    /// What kind of thing is to be cancelled.
    pub operation: String,
    /// Which.
    pub id: String,
    /// Why, for whoever it concerns.
    pub reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Subscribe {
    project_id: Option<String>,
    after: Option<After>,
    types: Option<String>,
}

/// The sequence of an event, or a place as an answer told it.
#[derive(Deserialize)]
#[serde(untagged)]
enum After {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Unsubscribe {
    project_id: Option<String>,
}

impl Asked {
    pub(super) fn parse(text: &str) -> Self {
        let mut members: Map<String, Value> = match serde_json::from_str(text) {
            Ok(members) => members,
            Err(error) => {
                return Self {
                    reference: Reference::default(),
                    command: Err(Problem::validation("message", error.to_string())),
                };
            }
        };
        match Reference::parse(members.remove("ref")) {
            Ok(reference) => Self {
                reference,
                command: Command::parse(members),
            },
            Err(problem) => Self {
                reference: Reference::default(),
                command: Err(problem),
            },
        }
    }
}

impl Reference {
    fn parse(given: Option<Value>) -> Result<Self, Problem> {
        let is_short = |text: &str| text.len() <= REFERENCE_BYTES_MAX;
        match given {
            None => Ok(Self(None)),
            Some(Value::String(text)) if is_short(&text) => Ok(Self(Some(text.into()))),
            Some(Value::Number(number)) => Ok(Self(Some(number.into()))),
            Some(_) => Err(Problem::validation(
                "ref",
                "must be a number or a string of at most 200 bytes",
            )),
        }
    }

    /// The answer to what was done.
    pub(super) fn ack(self, data: &Value) -> String {
        self.answer("ack", "data", data)
    }

    /// The answer to what was not, at `path`.
    pub(super) fn error(self, problem: &Problem, path: &str) -> String {
        self.answer("error", "problem", &reject::problem_body(path, problem))
    }

    fn answer(self, op: &str, name: &str, value: &Value) -> String {
        let mut answer = json!({ "op": op, name: value });
        if let Some(reference) = self.0 {
            answer["ref"] = reference;
        }
        answer.to_string()
    }
}

/// The end of a subscription that the client may no longer have.
pub(super) fn denied(project: Option<String>, path: &str) -> String {
    let problem = reject::problem_body(path, &Problem::NotFound);
    json!({ "op": "error", "projectId": project, "problem": problem }).to_string()
}

impl Command {
    fn parse(mut members: Map<String, Value>) -> Result<Self, Problem> {
        match members.remove("op").as_ref().and_then(Value::as_str) {
            Some("subscribe") => {
                let asked: Subscribe = read(members)?;
                let after = asked.after.map(|after| match after {
                    After::Number(number) => number.to_string(),
                    After::Text(text) => text,
                });
                Ok(Self::Subscribe {
                    start: ask::start(after, asked.project_id.is_some())?,
                    filter: ask::filter(asked.types.as_deref())?,
                    project: asked.project_id,
                })
            }
            Some("unsubscribe") => {
                let asked: Unsubscribe = read(members)?;
                Ok(Self::Unsubscribe {
                    project: asked.project_id,
                })
            }
            Some("cancel") => read(members).map(Self::Cancel),
            _ => Err(Problem::validation(
                "op",
                "must be `subscribe`, `unsubscribe` or `cancel`",
            )),
        }
    }
}

fn read<T: DeserializeOwned>(members: Map<String, Value>) -> Result<T, Problem> {
    serde_json::from_value(Value::Object(members))
        .map_err(|error| Problem::validation("message", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Command {
        Asked::parse(text).command.unwrap()
    }

    #[test]
    fn a_subscription_begins_now_or_at_a_place() {
        let subscribe = |project: Option<&str>, start| Command::Subscribe {
            project: project.map(str::to_owned),
            start,
            filter: Filter::ALL,
        };
        assert_eq!(parsed(r#"{"op":"subscribe"}"#), subscribe(None, Start::Now));
        for after in ["7", r#""7""#] {
            let text = format!(r#"{{"op":"subscribe","projectId":"p","after":{after}}}"#);
            assert_eq!(parsed(&text), subscribe(Some("p"), Start::After(7)));
        }
        let place = "ab12.project:p=7";
        let Command::Subscribe { start, .. } =
            parsed(&format!(r#"{{"op":"subscribe","after":"{place}"}}"#))
        else {
            panic!("a subscription");
        };
        assert_eq!(start, Start::At(place.parse().unwrap()));
    }

    #[test]
    fn a_cancel_names_what_it_is_about() {
        let asked = Asked::parse(r#"{"op":"cancel","operation":"upload","id":"x","ref":7}"#);
        let cancel = CancelCall {
            operation: "upload".into(),
            id: "x".into(),
            reason: None,
        };
        assert_eq!(asked.command.unwrap(), Command::Cancel(cancel));
        let answer: Value = serde_json::from_str(&asked.reference.ack(&json!({"a": 1}))).unwrap();
        assert_eq!(answer, json!({"op": "ack", "ref": 7, "data": {"a": 1}}));
    }

    #[test]
    fn whatever_else_is_refused_and_its_reference_kept() {
        let long = format!(r#"{{"op":"unsubscribe","ref":"{}"}}"#, "x".repeat(201));
        for text in [
            "",
            "{",
            "7",
            "[]",
            "null",
            r#"{"op":"subscribe"} {}"#,
            r#"{"op":"subscribe","ref":null}"#,
            r#"{"op":"subscribe","ref":{}}"#,
            &long,
            r#"{}"#,
            r#"{"op":7}"#,
            r#"{"op":"dance"}"#,
            r#"{"op":"subscribe","projectId":7}"#,
            r#"{"op":"subscribe","project":"p"}"#,
            r#"{"op":"subscribe","after":7}"#,
            r#"{"op":"subscribe","projectId":"p","after":-7}"#,
            r#"{"op":"subscribe","projectId":"p","after":7.5}"#,
            r#"{"op":"subscribe","types":"nothing.*"}"#,
            r#"{"op":"unsubscribe","after":7}"#,
            r#"{"op":"cancel"}"#,
            r#"{"op":"cancel","operation":"upload"}"#,
            r#"{"op":"cancel","operation":"upload","id":7}"#,
        ] {
            let refused = Asked::parse(text).command.expect_err(text);
            assert!(
                matches!(refused, Problem::ValidationFailed { .. }),
                "{text}"
            );
        }
        let deep = format!("{}{}", "[".repeat(60_000), "]".repeat(5));
        assert!(Asked::parse(&deep).command.is_err());
        let asked = Asked::parse(r#"{"op":"dance","ref":"a"}"#);
        let problem = asked.command.unwrap_err();
        let answer: Value =
            serde_json::from_str(&asked.reference.error(&problem, "/here")).unwrap();
        assert_eq!(answer["op"], "error");
        assert_eq!(answer["ref"], "a");
        assert_eq!(answer["problem"]["type"], "/problems/validation-failed");
        assert_eq!(answer["problem"]["instance"], "/here");
        assert!(answer["problem"]["errors"]["op"].is_array());
    }
}
