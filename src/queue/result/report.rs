//! From what a worker has sent to what is kept.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidegate_protocol::problem::Problem;

const POLYGONS_MAX: usize = 100_000;

/// Of all polygons together.
const POINTS_MAX: usize = 2_000_000;

/// Fewer enclose nothing.
const POINTS_MIN: usize = 3;

/// The longest side of an image, in pixels.
const SIDE_MAX: u32 = 1_000_000;

const CLASS_CHARS_MAX: usize = 100;

/// Up to here every whole number is one of `f64`.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// What a worker has found in an image, in the form of a result but not checked yet.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Report {
    #[serde(deserialize_with = "polygons")]
    polygons: Vec<Polygon>,
    #[serde(deserialize_with = "object")]
    image_size: ImageSize,
    #[serde(skip_serializing_if = "Option::is_none")]
    processing_time_ms: Option<Number>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Polygon {
    #[serde(deserialize_with = "points")]
    points: Vec<Point>,
    #[serde(rename = "type", default, deserialize_with = "kind")]
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    area: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    perimeter: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Point {
    x: Number,
    y: Number,
}

/// On which side of its edge a polygon has what was found.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    External,
    Internal,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ImageSize {
    width: u32,
    height: u32,
}

/// A number, which is written without a fraction if it has none.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Number(f64);

/// A result that is sound: a JSON object with `polygons`, `imageSize` and, if it is known,
/// `processingTimeMs`.
#[derive(Debug)]
pub(crate) struct Checked(String);

impl Report {
    /// The result to keep.
    ///
    /// # Errors
    /// The problem to answer with: it is no result, and where not.
    pub(crate) fn checked(self) -> Result<Checked, Problem> {
        self.check()
            .map_err(|fault| Problem::validation("result", fault))?;
        let text = serde_json::to_string(&self);
        text.map(Checked).map_err(|_| Problem::Internal)
    }

    /// # Errors
    /// The place, and what is wrong there.
    fn check(&self) -> Result<(), String> {
        let size = self.image_size;
        for (name, side) in [("width", size.width), ("height", size.height)] {
            if !(1..=SIDE_MAX).contains(&side) {
                return Err(format!("imageSize.{name} must be from 1 to {SIDE_MAX}"));
            }
        }
        let points = self.polygons.iter().map(|polygon| polygon.points.len());
        if points.sum::<usize>() > POINTS_MAX {
            return Err(format!(
                "polygons must not have more than {POINTS_MAX} points in all"
            ));
        }
        for (index, polygon) in self.polygons.iter().enumerate() {
            let checked = polygon.check(size);
            checked.map_err(|fault| format!("polygons[{index}].{fault}"))?;
        }
        at_least_0("processingTimeMs", self.processing_time_ms)
    }
}

impl Polygon {
    fn check(&self, size: ImageSize) -> Result<(), String> {
        if self.points.len() < POINTS_MIN {
            return Err(format!("points must be {POINTS_MIN} or more"));
        }
        for (index, point) in self.points.iter().enumerate() {
            let within = [("x", point.x, size.width), ("y", point.y, size.height)];
            for (name, Number(place), max) in within {
                if !(0.0..=f64::from(max)).contains(&place) {
                    return Err(format!("points[{index}].{name} must be from 0 to {max}"));
                }
            }
        }
        at_least_0("area", self.area)?;
        at_least_0("perimeter", self.perimeter)?;
        let confidence = self.confidence.map(|Number(share)| share);
        if confidence.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err("confidence must be from 0 to 1".into());
        }
        let class = self.class.as_deref().unwrap_or_default();
        if class.chars().count() > CLASS_CHARS_MAX {
            return Err(format!(
                "class must not be longer than {CLASS_CHARS_MAX} characters"
            ));
        }
        match class.contains(char::is_control) {
            true => Err("class must not contain control characters".into()),
            false => Ok(()),
        }
    }
}

fn at_least_0(name: &str, number: Option<Number>) -> Result<(), String> {
    match number {
        Some(Number(number)) if !(0.0..=f64::MAX).contains(&number) => {
            Err(format!("{name} must be 0 or more"))
        }
        _ => Ok(()),
    }
}

impl From<Checked> for Arc<str> {
    fn from(Checked(text): Checked) -> Self {
        text.into()
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.fract() == 0.0 && self.0.abs() <= WHOLE_MAX {
            true => serializer.serialize_i64(self.0 as i64),
            false => serializer.serialize_f64(self.0),
        }
    }
}

fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    // Derived, it would be read from an object as well.
    let word = Option::<String>::deserialize(deserializer)?;
    match word.as_deref() {
        None | Some("external") => Ok(Kind::External),
        Some("internal") => Ok(Kind::Internal),
        Some(other) => Err(de::Error::unknown_variant(other, &["external", "internal"])),
    }
}

fn polygons<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Polygon>, D::Error> {
    deserializer.deserialize_seq(Objects::up_to(POLYGONS_MAX, "polygons"))
}

fn points<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Point>, D::Error> {
    deserializer.deserialize_seq(Objects::up_to(POINTS_MAX, "points"))
}

fn object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Object(PhantomData).deserialize(deserializer)
}

/// Reads an object. Derived, a struct would be read from an array as well.
struct Object<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Object<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}

/// Reads an array of objects, and stops where it gets too long: an object of a few bytes is many times
/// as large in memory.
struct Objects<T> {
    max: usize,
    name: &'static str,
    object: PhantomData<T>,
}

impl<T> Objects<T> {
    fn up_to(max: usize, name: &'static str) -> Self {
        Self {
            max,
            name,
            object: PhantomData,
        }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Objects<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Object(PhantomData))? {
            if list.len() == self.max {
                let Self { max, name, .. } = self;
                return Err(de::Error::custom(format_args!(
                    "{name} must not be more than {max}"
                )));
            }
            list.push(item);
        }
        Ok(list)
    }
}
