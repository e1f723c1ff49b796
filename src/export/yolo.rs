//! Annotations in the format of YOLO for segmentation: a text file for each image, with a line for
//! each polygon.

use super::classes::Classes;
use super::found::{Found, ImageSize, Point, Polygon};

/// The file of one image.
pub(super) fn label(found: &Found, classes: &mut Classes) -> Vec<u8> {
    let mut text = Vec::new();
    for polygon in &found.polygons {
        line(polygon, found.image_size, classes, &mut text);
    }
    text
}

/// The file `classes.txt`: the name of a class stands in the line of its number.
pub(super) fn names(classes: &Classes) -> Vec<u8> {
    let mut text = String::new();
    for name in classes.names() {
        text.extend(name.chars().map(|c| if c.is_control() { ' ' } else { c }));
        text.push('\n');
    }
    text.into_bytes()
}

fn line(polygon: &Polygon, size: ImageSize, classes: &mut Classes, text: &mut Vec<u8>) {
    text.extend_from_slice(classes.number(polygon).to_string().as_bytes());
    for Point([x, y]) in &polygon.points {
        share(x / f64::from(size.width), text);
        share(y / f64::from(size.height), text);
    }
    text.push(b'\n');
}

/// From 0 to 1. An image may have millions, so none becomes a text of its own first.
fn share(share: f64, text: &mut Vec<u8>) {
    let millionths = (share.clamp(0.0, 1.0) * 1e6).round() as u32;
    text.push(b' ');
    text.push(digit(millionths / 1_000_000));
    text.push(b'.');
    for place in [100_000, 10_000, 1_000, 100, 10, 1] {
        text.push(digit(millionths / place));
    }
}

/// The last one of a number.
fn digit(number: u32) -> u8 {
    b'0' + (number % 10) as u8
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(points: &[[f64; 2]], side: u32) -> Found {
        let points: Vec<_> = points
            .iter()
            .map(|[x, y]| json!({"x": x, "y": y}))
            .collect();
        serde_json::from_value(json!({
            "imageSize": {"width": side, "height": 2 * side},
            "polygons": [
                {"points": points, "type": "external", "class": "a"},
                {"points": points, "type": "internal"},
                {"points": points, "type": "external"},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn each_polygon_is_a_line_of_shares_of_the_sides() {
        let mut classes = Classes::new();
        let found = found(
            &[[0.0, 0.0], [300.0, 600.0], [100.0, 1.0], [299.9999, 9e9]],
            300,
        );
        let text = String::from_utf8(label(&found, &mut classes)).unwrap();
        let points = "0.000000 0.000000 1.000000 1.000000 0.333333 0.001667 1.000000 1.000000";
        assert_eq!(text, format!("1 {points}\n2 {points}\n0 {points}\n"));
        assert_eq!(names(&classes), b"cell\na\nhole\n");
    }

    #[test]
    fn what_is_read_again_is_what_was_found() {
        let points: Vec<[f64; 2]> = (0..500)
            .map(|step| f64::from(step) * 1.37)
            .map(|place| [place, place * 1.99])
            .collect();
        let text = label(&found(&points, 700), &mut Classes::new());
        for line in String::from_utf8(text).unwrap().lines() {
            let read: Vec<f64> = line
                .split(' ')
                .skip(1)
                .map(|share| share.parse().unwrap())
                .collect();
            assert_eq!(read.len(), 2 * points.len());
            for ([x, y], read) in points.iter().zip(read.chunks(2)) {
                let off = (read[0] * 700.0 - x).abs() + (read[1] * 1400.0 - y).abs();
                assert!(off <= 0.5e-6 * 2101.0, "{off}");
            }
        }
    }

    #[test]
    fn an_image_without_polygons_has_an_empty_file() {
        let found = json!({"imageSize": {"width": 0, "height": 0}, "polygons": []});
        let found: Found = serde_json::from_value(found).unwrap();
        assert_eq!(label(&found, &mut Classes::new()), b"");
        // No image has no sides, but the format has no word for what is no number.
        let mut text = Vec::new();
        share(f64::NAN, &mut text);
        assert_eq!(text, b" 0.000000");
    }
}
