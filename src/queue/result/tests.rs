//! What is a result, what is not, and what is kept of one.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use tidegate_protocol::problem::Problem;

use super::report::{Checked, Report};
use crate::http::json::parse;

/// What is kept of a result, or what is said of it.
fn checked(text: &str) -> Result<Arc<str>, String> {
    let checked = parse(text.as_bytes(), "result").and_then(Report::checked);
    checked.map(Checked::into).map_err(|problem| match problem {
        Problem::ValidationFailed { field, message } if field == "result" => message.into_owned(),
        other => panic!("{other:?}"),
    })
}

/// A result with one polygon that has everything.
fn whole() -> Value {
    json!({
        "polygons": [{
            "points": [{"x": 1.5, "y": 2.25}, {"x": 640, "y": 0}, {"x": 3, "y": 480}],
            "type": "internal",
            "area": 12.5,
            "perimeter": 20,
            "confidence": 0.75,
            "class": "nucleus",
        }],
        "imageSize": {"width": 640, "height": 480},
        "processingTimeMs": 1234.5,
    })
}

/// [`whole`] with `value` where the pointer points; without that member, if it is `None`.
fn with(pointer: &str, value: Option<Value>) -> String {
    let mut whole = whole();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match (whole.pointer_mut(parent).unwrap(), value) {
        (Value::Object(members), Some(value)) => drop(members.insert(name.into(), value)),
        (Value::Object(members), None) => drop(members.remove(name)),
        (Value::Array(items), Some(value)) => items[name.parse::<usize>().unwrap()] = value,
        (parent, _) => panic!("{parent}"),
    }
    whole.to_string()
}

#[test]
fn a_result_is_kept_as_it_was_meant() {
    let all = r#"{"polygons":[{"points":[{"x":1.5,"y":2.25},{"x":640,"y":0},{"x":3,"y":480}],"type":"internal","area":12.5,"perimeter":20,"confidence":0.75,"class":"nucleus"}],"imageSize":{"width":640,"height":480},"processingTimeMs":1234.5}"#;
    assert_eq!(checked(&whole().to_string()).as_deref(), Ok(all));
    assert_eq!(checked(all).as_deref(), Ok(all));
    let odd = r#" { "imageSize" : {"height":1,"width":1000000}, "processingTimeMs": null, "polygons":
        [{"class":null,"type":null,"points":[{"y":-0.0,"x":1e5},{"x":0.10,"y":1E-1},{"x":1.0,"y":1}]}]} "#;
    let kept = r#"{"polygons":[{"points":[{"x":100000,"y":0},{"x":0.1,"y":0.1},{"x":1,"y":1}],"type":"external"}],"imageSize":{"width":1000000,"height":1}}"#;
    assert_eq!(checked(odd).as_deref(), Ok(kept));
    let none = r#"{"polygons":[],"imageSize":{"width":1,"height":1}}"#;
    assert_eq!(checked(none).as_deref(), Ok(none));
}

#[test]
fn a_number_comes_back_as_it_was() {
    for number in [
        "0.30000000000000004",
        "12.345678329467773",
        "123456.00000000001",
    ] {
        let text = with("/processingTimeMs", None).replace("12.5", number);
        let kept = checked(&text).unwrap();
        assert!(kept.contains(&format!("\"area\":{number},")), "{kept}");
    }
}

#[test]
fn at_its_bounds_a_result_is_sound() {
    for (pointer, value) in [
        ("/polygons/0/points/0/x", json!(0)),
        ("/polygons/0/points/0/x", json!(640.0)),
        ("/polygons/0/points/0/y", json!(480)),
        ("/polygons/0/area", json!(0)),
        ("/polygons/0/area", json!(f64::MAX)),
        ("/polygons/0/perimeter", json!(u64::MAX)),
        ("/polygons/0/confidence", json!(0)),
        ("/polygons/0/confidence", json!(1.0)),
        ("/polygons/0/class", json!("")),
        ("/polygons/0/class", json!("ü".repeat(100))),
        ("/imageSize/width", json!(1_000_000)),
        ("/processingTimeMs", json!(0)),
    ] {
        let text = with(pointer, Some(value));
        checked(&text).expect(&text);
    }
    for optional in [
        "/polygons/0/type",
        "/polygons/0/area",
        "/polygons/0/perimeter",
        "/polygons/0/confidence",
        "/polygons/0/class",
        "/processingTimeMs",
    ] {
        let without = checked(&with(optional, None));
        assert_eq!(checked(&with(optional, Some(json!(null)))), without);
        without.expect(optional);
    }
}

/// The place that a pointer points to, in the words of a refusal.
fn place(pointer: &str) -> String {
    let mut place = String::new();
    for step in pointer.split('/').skip(1) {
        match step.parse::<usize>() {
            Ok(index) => place.push_str(&format!("[{index}]")),
            Err(_) if place.is_empty() => place.push_str(step),
            Err(_) => place.push_str(&format!(".{step}")),
        }
    }
    place
}

#[test]
fn what_is_out_of_bounds_is_refused_with_its_place() {
    let two = json!([{"x": 1, "y": 1}, {"x": 2, "y": 2}]);
    let long = "x".repeat(101);
    for (pointer, value, told) in [
        ("/polygons/0/points/0/x", json!(-0.001), "from 0 to 640"),
        ("/polygons/0/points/1/x", json!(640.001), "from 0 to 640"),
        ("/polygons/0/points/2/y", json!(1e300), "from 0 to 480"),
        ("/polygons/0/points", json!([]), "3 or more"),
        ("/polygons/0/points", two, "3 or more"),
        ("/polygons/0/area", json!(-1), "0 or more"),
        ("/polygons/0/perimeter", json!(-1e-300), "0 or more"),
        ("/polygons/0/confidence", json!(1.001), "from 0 to 1"),
        ("/polygons/0/confidence", json!(-0.1), "from 0 to 1"),
        ("/polygons/0/class", json!(long), "longer than 100"),
        ("/polygons/0/class", json!("a\u{0}"), "control characters"),
        (
            "/polygons/0/class",
            json!("\u{9b}31m"),
            "control characters",
        ),
        ("/imageSize/width", json!(0), "from 1 to 1000000"),
        ("/imageSize/height", json!(1_000_001), "from 1 to 1000000"),
        ("/processingTimeMs", json!(-1), "0 or more"),
    ] {
        let text = with(pointer, Some(value));
        let fault = checked(&text).expect_err(&text);
        let begins = format!("{} must ", place(pointer));
        assert!(fault.starts_with(&begins), "{text}: {fault}");
        assert!(fault.contains(told), "{text}: {fault}");
    }
    let mut several = whole();
    let one = several["polygons"][0].clone();
    several["polygons"] = json!([one, one, one, one]);
    several["polygons"][3]["points"][2]["x"] = json!(641);
    let fault = checked(&several.to_string()).unwrap_err();
    assert_eq!(fault, "polygons[3].points[2].x must be from 0 to 640");
}

#[test]
fn what_has_another_form_is_refused_with_what_the_parser_says() {
    for (pointer, value, told) in [
        ("/polygons", None, "missing field `polygons`"),
        ("/imageSize", None, "missing field `imageSize`"),
        ("/imageSize/height", None, "missing field `height`"),
        ("/polygons/0/points", None, "missing field `points`"),
        ("/polygons/0/points/0/y", None, "missing field `y`"),
        ("/more", Some(json!(1)), "unknown field `more`"),
        (
            "/polygons/0/holes",
            Some(json!([])),
            "unknown field `holes`",
        ),
        (
            "/polygons/0/points/0/z",
            Some(json!(1)),
            "unknown field `z`",
        ),
        ("/imageSize/depth", Some(json!(1)), "unknown field `depth`"),
        ("/polygons", Some(json!({})), "expected an array of objects"),
        (
            "/polygons",
            Some(json!(null)),
            "expected an array of objects",
        ),
        (
            "/polygons/0",
            Some(json!([[], "external"])),
            "expected an object",
        ),
        ("/polygons/0", Some(json!(null)), "expected an object"),
        (
            "/polygons/0/points/0",
            Some(json!([1, 2])),
            "expected an object",
        ),
        ("/polygons/0/points/0/x", Some(json!("1")), "expected f64"),
        ("/polygons/0/points/0/x", Some(json!(null)), "expected f64"),
        ("/polygons/0/points/0/x", Some(json!([1])), "expected f64"),
        (
            "/polygons/0/type",
            Some(json!("External")),
            "unknown variant `External`",
        ),
        (
            "/polygons/0/type",
            Some(json!({"external": null})),
            "expected a string",
        ),
        ("/polygons/0/area", Some(json!("12")), "expected f64"),
        ("/polygons/0/class", Some(json!(7)), "expected a string"),
        ("/imageSize", Some(json!([640, 480])), "expected an object"),
        ("/imageSize/width", Some(json!(640.0)), "expected u32"),
        ("/imageSize/width", Some(json!(-1)), "expected u32"),
        ("/imageSize/width", Some(json!(1_u64 << 32)), "expected u32"),
    ] {
        let text = with(pointer, value);
        let fault = checked(&text).expect_err(&text);
        assert!(fault.contains(told), "{text}: {fault}");
        assert!(fault.contains(" at line 1 column "), "{text}: {fault}");
    }
    assert_eq!(checked("[[],[1,1]]").unwrap_err(), "must be a JSON object");
}

#[test]
fn what_no_value_can_be_is_refused() {
    let text = with("/polygons/0/points/0/x", Some(json!("HERE")));
    let deep = ["[".repeat(1_000_000), "{\"x\":".repeat(1_000_000)];
    let mut wrong = vec![
        "1e999",
        "-1e999",
        "1e309",
        "NaN",
        "Infinity",
        "-Infinity",
        "01",
        "1.",
        ".5",
        "+1",
        "0x10",
        "1,\"x\":1",
        "1}",
        "",
        "\"\\ud800\"",
        "true",
    ];
    wrong.extend(deep.iter().map(String::as_str));
    for number in wrong {
        let text = text.replace("\"HERE\"", number);
        let shown = &number[..number.len().min(20)];
        checked(&text).expect_err(shown);
    }
    let long = format!("1{}", "0".repeat(400));
    checked(&text.replace("\"HERE\"", &long)).unwrap_err();
    let tiny = text.replace("\"HERE\"", "1e-999");
    assert!(checked(&tiny).unwrap().contains("{\"x\":0,"));
    let twice =
        with("/polygons/0/area", None).replace("\"class\"", "\"type\":\"external\",\"class\"");
    assert!(checked(&twice).unwrap_err().contains("duplicate field"));
}

#[test]
fn a_result_has_a_largest_size() {
    let text = |polygons: usize, polygon: &str| {
        let polygons = vec![polygon; polygons].join(",");
        format!("{{\"polygons\":[{polygons}],\"imageSize\":{{\"width\":9,\"height\":9}}}}")
    };
    let point = "{\"x\":0,\"y\":9}";
    let polygon = |points: usize| format!("{{\"points\":[{}]}}", vec![point; points].join(","));
    checked(&text(100_000, &polygon(3))).unwrap();
    let fault = checked(&text(100_001, &polygon(3))).unwrap_err();
    assert!(fault.starts_with("polygons must not be more than 100000 at line 1"));
    // It stops there, and does not look at what follows.
    let fault = checked(&text(1_000_000, "{\"points\":[]}")).unwrap_err();
    assert!(fault.starts_with("polygons must not be more than 100000 at line 1"));
    checked(&text(2, &polygon(1_000_000))).unwrap();
    let fault = checked(&text(2, &polygon(1_000_001))).unwrap_err();
    assert_eq!(
        fault,
        "polygons must not have more than 2000000 points in all"
    );
    let fault = checked(&text(1, &polygon(2_000_001))).unwrap_err();
    assert!(fault.starts_with("points must not be more than 2000000 at line 1"));
}

fn any_polygon(width: u32, height: u32) -> impl Strategy<Value = Value> {
    let (x, y) = (0.0..=f64::from(width), 0.0..=f64::from(height));
    let point = (x, y).prop_map(|(x, y)| json!({"x": x, "y": y}));
    let members = (
        prop::collection::vec(point, 3..20),
        prop::sample::select(vec!["external", "internal"]),
        prop::option::of(0.0..f64::MAX),
        prop::option::of(any::<u32>()),
        prop::option::of(0.0..=1.0),
        prop::option::of("\\PC{0,100}"),
    );
    members.prop_map(|(points, kind, area, perimeter, confidence, class)| {
        let optional = [
            ("area", area.map(Value::from)),
            ("perimeter", perimeter.map(Value::from)),
            ("confidence", confidence.map(Value::from)),
            ("class", class.map(Value::from)),
        ];
        let mut polygon = json!({"points": points, "type": kind});
        for (name, value) in optional {
            if let Some(value) = value {
                polygon[name] = value;
            }
        }
        polygon
    })
}

fn any_result() -> impl Strategy<Value = Value> {
    (1..=1_000_000_u32, 1..=1_000_000_u32).prop_flat_map(|(width, height)| {
        let polygons = prop::collection::vec(any_polygon(width, height), 0..5);
        (polygons, 0.0..1e9).prop_map(move |(polygons, time)| {
            let size = json!({"width": width, "height": height});
            json!({"polygons": polygons, "imageSize": size, "processingTimeMs": time})
        })
    })
}

/// Whether both say the same, however their numbers are written.
fn are_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| are_same(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_there = |(name, value)| other.get(name).is_some_and(|it| are_same(value, it));
            one.len() == other.len() && one.iter().all(is_there)
        }
        _ => one == other,
    }
}

proptest! {
    #[test]
    fn what_is_kept_says_what_was_reported(result in any_result()) {
        let kept = checked(&result.to_string()).unwrap();
        prop_assert_eq!(checked(&kept), Ok(kept.clone()));
        let said: Value = serde_json::from_str(&kept).unwrap();
        prop_assert!(are_same(&said, &result), "{} {}", said, result);
    }

    #[test]
    fn no_bytes_in_the_place_of_a_result_do_harm(
        pointer in prop::sample::select(vec!["/polygons/0/points/0/x", "/polygons/0", "/imageSize", "/polygons/0/class"]),
        noise in "[-+0-9.eE\\[\\]{}\",:xytrufalsn\\\\ ]{0,40}",
    ) {
        let text = with(pointer, Some(json!("HERE"))).replace("\"HERE\"", &noise);
        if let Ok(kept) = checked(&text) {
            prop_assert_eq!(checked(&kept), Ok(kept.clone()));
        }
    }
}
