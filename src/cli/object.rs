//! What a server tells of something, as far as it is shown. Members that are missing or of another
//! type are shown as if there was nothing.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::text::{Bytes, clean};

/// An object of the JSON interface.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Object(Map<String, Value>);

impl Object {
    /// A text, as the server tells it.
    pub(super) fn word(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A text, safe to show.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.word(name).map(|text| clean(text).into_owned())
    }

    /// The same in a table.
    pub(super) fn cell(&self, name: &str) -> String {
        self.text(name).unwrap_or_else(|| "-".into())
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    /// A number of bytes in a table.
    pub(super) fn bytes(&self, name: &str) -> String {
        let bytes = self.number(name).map(|bytes| Bytes(bytes).to_string());
        bytes.unwrap_or_else(|| "-".into())
    }

    /// The same with this object as a member.
    pub(super) fn with(mut self, name: &str, object: Self) -> Self {
        self.0.insert(name.to_owned(), Value::Object(object.0));
        self
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// The object that is a member.
    pub(super) fn object(&self, name: &str) -> Self {
        let object = self.0.get(name).and_then(Value::as_object);
        Self(object.cloned().unwrap_or_default())
    }

    /// The objects of a list.
    pub(super) fn objects(&self, name: &str) -> impl Iterator<Item = Self> {
        let list = self.0.get(name).and_then(Value::as_array);
        let objects = list.into_iter().flatten().filter_map(Value::as_object);
        objects.map(|object| Self(object.clone()))
    }

    /// The texts of a list, safe to show.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = String> {
        let list = self.0.get(name).and_then(Value::as_array);
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(|text| clean(text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_strange_is_shown_as_nothing_and_what_is_hostile_as_text() {
        let text = r#"{"a": "x\u001b[2J", "b": 1536, "c": -1, "d": ["x", 1], "e": true}"#;
        let object: Object = serde_json::from_str(text).unwrap();
        assert_eq!(object.cell("a"), "x\\u{1b}[2J");
        assert_eq!(object.cell("b"), "-");
        assert_eq!(object.bytes("b"), "1.5 KiB");
        assert_eq!((object.number("c"), object.bytes("z")), (None, "-".into()));
        assert_eq!(object.texts("d").collect::<Vec<_>>(), ["x"]);
        assert!(object.is("e") && !object.is("a"));
    }
}
