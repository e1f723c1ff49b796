//! What was found in an image, as it is kept (contract, "Processing queue").
//!
//! What is kept has been checked, so this reads it as it is: see `queue::result`.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// An image of the archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image<'a> {
    /// What its file is called in the archive.
    pub(super) file: &'a str,
    /// Of its upload.
    pub(super) id: &'a str,
}

/// What was found in one image. Large: up to 2,000,000 points in 100,000 polygons.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Found {
    pub(super) polygons: Box<[Polygon]>,
    pub(super) image_size: ImageSize,
}

/// In pixels.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct ImageSize {
    pub(super) width: u32,
    pub(super) height: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct Polygon {
    pub(super) points: Box<[Point]>,
    #[serde(rename = "type", default)]
    pub(super) kind: Kind,
    /// As the worker has measured it.
    area: Option<f64>,
    /// As the worker has measured it.
    perimeter: Option<f64>,
    pub(super) confidence: Option<f64>,
    pub(super) class: Option<Box<str>>,
}

/// On which side of its edge a polygon has what was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    #[default]
    External,
    Internal,
}

/// Its x and its y, in pixels from the upper left corner.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(from = "Members")]
pub(super) struct Point(pub(super) [f64; 2]);

/// A point as JSON has it.
#[derive(Deserialize)]
struct Members {
    x: f64,
    y: f64,
}

impl From<Members> for Point {
    fn from(Members { x, y }: Members) -> Self {
        Self([x, y])
    }
}

impl Polygon {
    pub(super) fn is_hole(&self) -> bool {
        self.kind == Kind::Internal
    }

    /// In square pixels.
    pub(super) fn area(&self) -> f64 {
        self.area.unwrap_or_else(|| {
            // From the first point on: products of coordinates far from 0 would cost precision.
            let [x0, y0] = self.points.first().map_or([0.0; 2], |point| point.0);
            let doubled = self
                .edges()
                .map(|([x1, y1], [x2, y2])| (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0));
            doubled.sum::<f64>().abs() / 2.0
        })
    }

    /// In pixels.
    pub(super) fn perimeter(&self) -> f64 {
        self.perimeter.unwrap_or_else(|| {
            let lengths = self
                .edges()
                .map(|([x1, y1], [x2, y2])| (x2 - x1).hypot(y2 - y1));
            lengths.sum()
        })
    }

    /// The smallest box around it: x, y, width and height.
    pub(super) fn bounds(&self) -> [f64; 4] {
        let Some(Point([x, y])) = self.points.first() else {
            return [0.0; 4];
        };
        let (mut least, mut most) = ([*x, *y], [*x, *y]);
        for Point([x, y]) in &self.points {
            least = [least[0].min(*x), least[1].min(*y)];
            most = [most[0].max(*x), most[1].max(*y)];
        }
        [least[0], least[1], most[0] - least[0], most[1] - least[1]]
    }

    /// 1 for a circle, and the less the longer the edge is for what it encloses.
    pub(super) fn circularity(&self) -> f64 {
        let (area, perimeter) = (self.area(), self.perimeter());
        match perimeter > 0.0 {
            // Reported numbers may be of any size: the square might have no end.
            true => (4.0 * PI * (area / perimeter) / perimeter).min(1.0),
            false => 0.0,
        }
    }

    /// With the one that closes it.
    fn edges(&self) -> impl Iterator<Item = ([f64; 2], [f64; 2])> {
        let ends = self.points.iter().cycle().skip(1);
        self.points.iter().zip(ends).map(|(a, b)| (a.0, b.0))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn polygon(value: Value) -> Polygon {
        serde_json::from_value(value).unwrap()
    }

    fn of_points(points: &[[f64; 2]]) -> Polygon {
        let points: Vec<Value> = points
            .iter()
            .map(|[x, y]| json!({ "x": x, "y": y }))
            .collect();
        polygon(json!({ "points": points, "type": "external" }))
    }

    #[test]
    fn a_kept_report_is_read() {
        let text = json!({
            "imageId": "i", "threshold": 0.5,
            "polygons": [
                {"points": [{"x": 1, "y": 2}, {"x": 3.5, "y": 2}, {"x": 3, "y": 4}],
                 "type": "external", "area": 7, "perimeter": 8.5, "confidence": 0.9,
                 "class": "nucleus"},
                {"points": [], "type": "internal", "later": [1]},
            ],
            "imageSize": {"width": 640, "height": 480},
            "processingTimeMs": 12.5,
        })
        .to_string();
        let found: Found = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (found.image_size.width, found.image_size.height),
            (640, 480)
        );
        let [first, second] = &*found.polygons else {
            panic!("{found:?}");
        };
        assert_eq!(
            *first.points,
            [Point([1.0, 2.0]), Point([3.5, 2.0]), Point([3.0, 4.0])]
        );
        assert_eq!(
            (first.area(), first.perimeter(), first.confidence),
            (7.0, 8.5, Some(0.9))
        );
        assert_eq!(first.class.as_deref(), Some("nucleus"));
        assert!(!first.is_hole() && second.is_hole());
        assert_eq!((second.confidence, second.class.as_deref()), (None, None));
        for wrong in [
            "{}",
            r#"{"polygons":[],"imageSize":{"width":-1,"height":1}}"#,
        ] {
            assert!(serde_json::from_str::<Found>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn points_are_no_larger_than_their_numbers() {
        assert_eq!(size_of::<Point>(), 16);
        assert!(size_of::<Polygon>() <= 88);
    }

    #[test]
    fn what_is_not_reported_is_measured() {
        let mut corners = [[10.0, 20.0], [13.0, 20.0], [13.0, 24.0], [10.0, 24.0]];
        for _ in 0..2 {
            let rectangle = of_points(&corners);
            assert_eq!((rectangle.area(), rectangle.perimeter()), (12.0, 14.0));
            assert_eq!(rectangle.bounds(), [10.0, 20.0, 3.0, 4.0]);
            let circularity = rectangle.circularity();
            assert!((circularity - 48.0 * PI / 196.0).abs() < 1e-12);
            // The other way round it is the same.
            corners.reverse();
        }
        let far = of_points(&[[1e6, 1e6], [1e6, 999_999.75], [999_999.75, 1e6]]);
        assert_eq!(far.area(), 0.03125);
    }

    #[test]
    fn a_circle_is_round_and_nothing_is_rounder() {
        let points: Vec<[f64; 2]> = (0..1000)
            .map(|step| f64::from(step) / 500.0 * PI)
            .map(|angle| [50.0 + 40.0 * angle.cos(), 50.0 + 40.0 * angle.sin()])
            .collect();
        let circle = of_points(&points);
        assert!((0.9999..=1.0).contains(&circle.circularity()));
        for (area, perimeter, expected) in [
            (100.0, 1.0, 1.0),
            (f64::MAX, f64::MAX, 0.0),
            (f64::MAX, 1e-300, 1.0),
            (1.0, 0.0, 0.0),
            (0.0, 0.0, 0.0),
        ] {
            let reported = polygon(json!({"points": [], "area": area, "perimeter": perimeter}));
            let circularity = reported.circularity();
            assert!(
                (circularity - expected).abs() < 1e-12,
                "{area} {perimeter}: {circularity}"
            );
        }
    }

    #[test]
    fn a_polygon_without_extent_has_none() {
        for points in [&[][..], &[[3.0, 4.0]], &[[3.0, 4.0]; 5]] {
            let flat = of_points(points);
            assert_eq!(
                (flat.area(), flat.perimeter(), flat.circularity()),
                (0.0, 0.0, 0.0)
            );
            assert_eq!(flat.bounds()[2..], [0.0, 0.0]);
        }
    }
}
