//! Numbers for the classes of what was found, the same in every format of one archive.

use std::collections::HashMap;
use std::sync::Arc;

use super::found::Polygon;

const CELL: &str = "cell";
const HOLE: &str = "hole";
const OTHER: &str = "other";

/// The last of them is [`OTHER`] then. Workers choose the names, and they are kept.
const COUNT_MAX: usize = 1000;

/// The class of a polygon: a hole is a hole whatever it is called, and what has no class is a cell.
pub(super) fn class(polygon: &Polygon) -> &str {
    let named = polygon.class.as_deref().map(str::trim).unwrap_or_default();
    match named {
        _ if polygon.is_hole() => HOLE,
        "" => CELL,
        named => named,
    }
}

/// The classes of one archive, in the order of their first use.
#[derive(Debug)]
pub(super) struct Classes {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, usize>,
}

impl Classes {
    pub(super) fn new() -> Self {
        let mut classes = Self {
            names: Vec::new(),
            numbers: HashMap::new(),
        };
        // Whoever reads an archive of cells alone need not look up what 0 is.
        classes.add(CELL);
        classes
    }

    /// The number of the class of a polygon, from 0.
    pub(super) fn number(&mut self, polygon: &Polygon) -> usize {
        let class = class(polygon);
        if let Some(number) = self.numbers.get(class) {
            return *number;
        }
        if self.names.len() < COUNT_MAX - 1 {
            return self.add(class);
        }
        match self.numbers.get(OTHER) {
            Some(number) => *number,
            None => self.add(OTHER),
        }
    }

    /// By their numbers.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    fn add(&mut self, name: &str) -> usize {
        let (name, number) = (Arc::<str>::from(name), self.names.len());
        self.names.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn polygon(class: Option<&str>, kind: &str) -> Polygon {
        serde_json::from_value(json!({"points": [], "class": class, "type": kind})).unwrap()
    }

    #[test]
    fn classes_are_numbered_as_they_come() {
        let mut classes = Classes::new();
        for (name, kind, number) in [
            (Some("nucleus"), "external", 1),
            (None, "external", 0),
            (Some("cell"), "internal", 2),
            (Some("nucleus"), "external", 1),
            (Some(" "), "external", 0),
            (Some("hole"), "external", 2),
            (Some("Cell"), "external", 3),
        ] {
            assert_eq!(classes.number(&polygon(name, kind)), number, "{name:?}");
        }
        let names: Vec<&str> = classes.names().collect();
        assert_eq!(names, ["cell", "nucleus", "hole", "Cell"]);
    }

    #[test]
    fn their_number_is_bounded() {
        let mut classes = Classes::new();
        for number in 1..COUNT_MAX - 1 {
            let class = polygon(Some(&format!("class {number}")), "external");
            assert_eq!(classes.number(&class), number);
        }
        for late in ["late", "later", "other"] {
            assert_eq!(
                classes.number(&polygon(Some(late), "external")),
                COUNT_MAX - 1
            );
        }
        assert_eq!(
            classes.number(&polygon(Some("late"), "internal")),
            COUNT_MAX - 1
        );
        assert_eq!(classes.number(&polygon(Some("class 7"), "external")), 7);
        assert_eq!(classes.names().count(), COUNT_MAX);
        assert_eq!(classes.names().last(), Some("other"));
    }
}
