//! What was found in figures: of each polygon and of each image, for spreadsheets and as JSON.

use std::io;

use serde::{Serialize, Serializer};

use super::classes::class;
use super::found::{Found, Image, Kind, Polygon};
use super::number::Number;

/// The first row of the table of polygons.
pub(super) const POLYGONS_HEADER: &[u8] =
    b"image,image_id,polygon,class,type,area_px2,perimeter_px,\
    circularity,confidence\n";

/// The first row of the table of images.
pub(super) const IMAGES_HEADER: &[u8] = b"image,image_id,polygons,holes,area_px2,mean_area_px2,\
    mean_circularity\n";

/// Appends the rows of the polygons of an image to their table.
pub(super) fn polygons_csv(
    image: &Image<'_>,
    found: &Found,
    table: &mut Vec<u8>,
) -> io::Result<()> {
    let mut rows = rows(table);
    for (number, polygon) in (1..).zip(&found.polygons) {
        let of = PolygonFigures::of(polygon, number);
        rows.serialize((
            (Cell(image.file), Cell(image.id), of.number, Cell(of.class)),
            (of.kind, of.area, of.perimeter, of.circularity),
            of.confidence,
        ))?;
    }
    rows.flush()
}

/// Appends the row of an image to its table.
pub(super) fn image_csv(image: &Image<'_>, found: &Found, table: &mut Vec<u8>) -> io::Result<()> {
    let of = ImageFigures::of(found);
    let mut rows = rows(table);
    rows.serialize((
        (Cell(image.file), Cell(image.id), of.count, of.holes),
        (of.area, of.mean_area, of.mean_circularity),
    ))?;
    rows.flush()
}

/// All figures as one JSON document, in pieces: how far it has come.
#[derive(Debug, Default)]
pub(super) struct Json {
    is_begun: bool,
}

/// Of one image.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageFigures {
    /// Without the holes.
    count: usize,
    holes: usize,
    /// Without that of the holes.
    area: Number,
    /// Of a polygon that is no hole, with its holes. `None` if there is none.
    mean_area: Option<Number>,
    /// As `mean_area`.
    mean_circularity: Option<Number>,
}

/// Of one polygon.
#[derive(Serialize)]
struct PolygonFigures<'a> {
    /// From 1.
    #[serde(rename = "polygon")]
    number: usize,
    class: &'a str,
    #[serde(rename = "type")]
    kind: Kind,
    area: Number,
    perimeter: Number,
    circularity: Number,
    confidence: Option<Number>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    image: &'a str,
    image_id: &'a str,
    #[serde(flatten)]
    figures: ImageFigures,
    polygons: Polygons<'a>,
}

struct Polygons<'a>(&'a [Polygon]);

/// A cell of text that a client has chosen. Spreadsheets run what begins like a formula.
struct Cell<'a>(&'a str);

impl Json {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The text up to the first image.
    pub(super) fn begin() -> &'static [u8] {
        b"{\"images\":["
    }

    /// Appends the next image.
    pub(super) fn image(
        &mut self,
        image: &Image<'_>,
        found: &Found,
        text: &mut Vec<u8>,
    ) -> io::Result<()> {
        if self.is_begun {
            text.push(b',');
        }
        self.is_begun = true;
        let entry = Entry {
            image: image.file,
            image_id: image.id,
            figures: ImageFigures::of(found),
            polygons: Polygons(&found.polygons),
        };
        serde_json::to_writer(text, &entry)?;
        Ok(())
    }

    /// The text behind the last image.
    pub(super) fn end() -> &'static [u8] {
        b"]}"
    }
}

impl ImageFigures {
    fn of(found: &Found) -> Self {
        let (mut count, mut holes) = (0, 0);
        let (mut area, mut holes_area, mut circularity) = (0.0, 0.0, 0.0);
        for polygon in &found.polygons {
            if polygon.is_hole() {
                holes += 1;
                holes_area += polygon.area();
            } else {
                count += 1;
                area += polygon.area();
                circularity += polygon.circularity();
            }
        }
        let mean = |sum: f64| (count > 0).then(|| Number::new(sum / count as f64));
        Self {
            count,
            holes,
            area: Number::new(area - holes_area),
            mean_area: mean(area),
            mean_circularity: mean(circularity),
        }
    }
}

impl<'a> PolygonFigures<'a> {
    fn of(polygon: &'a Polygon, number: usize) -> Self {
        Self {
            number,
            class: class(polygon),
            kind: polygon.kind,
            area: Number::new(polygon.area()),
            perimeter: Number::new(polygon.perimeter()),
            circularity: Number::new(polygon.circularity()),
            confidence: polygon.confidence.map(Number::new),
        }
    }
}

impl Serialize for Polygons<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let numbered = (1..).zip(self.0);
        serializer
            .collect_seq(numbered.map(|(number, polygon)| PolygonFigures::of(polygon, number)))
    }
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The wide ones are turned into the others when a table is opened in some languages.
        let signs = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
        match self.0.starts_with(signs) {
            true => serializer.collect_str(&format_args!("'{}", self.0)),
            false => serializer.serialize_str(self.0),
        }
    }
}

/// Writes rows to the end of a table, whose header is there already.
fn rows(table: &mut Vec<u8>) -> csv::Writer<&mut Vec<u8>> {
    csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(table)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use serde_json::{Value, json};

    use super::*;

    const IMAGE: Image<'_> = Image {
        file: "images/a, \"b\".tif",
        id: "0f8fad5b",
    };

    fn found(polygons: Value) -> Found {
        let size = json!({"width": 640, "height": 480});
        serde_json::from_value(json!({"imageSize": size, "polygons": polygons})).unwrap()
    }

    fn some() -> Found {
        let square =
            json!([{"x": 0, "y": 0}, {"x": 2, "y": 0}, {"x": 2, "y": 2}, {"x": 0, "y": 2}]);
        found(json!([
            {"points": square, "type": "external"},
            {"points": square, "type": "external", "area": 9, "perimeter": 0, "confidence": 0.5,
             "class": "=cmd"},
            {"points": square, "type": "internal", "class": "-1"},
        ]))
    }

    fn read(header: &[u8], table: &[u8]) -> Vec<Vec<String>> {
        let text = [header, table].concat();
        // A row that is longer or shorter than the first is an error.
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(&*text);
        let rows = reader.records().map(|row| row.unwrap());
        let cells = rows.map(|row| row.iter().map(str::to_owned).collect());
        cells.collect()
    }

    #[test]
    fn polygons_are_rows() {
        let mut table = Vec::new();
        polygons_csv(&IMAGE, &some(), &mut table).unwrap();
        polygons_csv(&IMAGE, &found(json!([])), &mut table).unwrap();
        let (file, id) = (IMAGE.file, IMAGE.id);
        let round = (PI / 4.0).to_string();
        let expected = [
            [
                "image",
                "image_id",
                "polygon",
                "class",
                "type",
                "area_px2",
                "perimeter_px",
                "circularity",
                "confidence",
            ],
            [file, id, "1", "cell", "external", "4", "8", &round, ""],
            [file, id, "2", "'=cmd", "external", "9", "0", "0", "0.5"],
            [file, id, "3", "hole", "internal", "4", "8", &round, ""],
        ];
        assert_eq!(read(POLYGONS_HEADER, &table), expected);
    }

    #[test]
    fn images_are_rows() {
        let mut table = Vec::new();
        image_csv(&IMAGE, &some(), &mut table).unwrap();
        image_csv(&IMAGE, &found(json!([])), &mut table).unwrap();
        let (file, id) = (IMAGE.file, IMAGE.id);
        let round = (PI / 8.0).to_string();
        let expected = [
            [
                "image",
                "image_id",
                "polygons",
                "holes",
                "area_px2",
                "mean_area_px2",
                "mean_circularity",
            ],
            [file, id, "2", "1", "9", "6.5", &round],
            [file, id, "0", "0", "0", "", ""],
        ];
        assert_eq!(read(IMAGES_HEADER, &table), expected);
    }

    #[test]
    fn no_text_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1"] {
            let image = Image {
                file: text,
                id: text,
            };
            let mut table = Vec::new();
            image_csv(&image, &some(), &mut table).unwrap();
            let row = &read(IMAGES_HEADER, &table)[1];
            assert_eq!(row[..2], [format!("'{text}"), format!("'{text}")]);
        }
        // A number is none.
        let mut table = Vec::new();
        let holes = found(json!([{"points": [], "type": "internal", "area": 2.5}]));
        image_csv(&IMAGE, &holes, &mut table).unwrap();
        assert_eq!(read(IMAGES_HEADER, &table)[1][4], "-2.5");
    }

    #[test]
    fn images_with_their_polygons_are_a_document() {
        let mut json = Json::new();
        let mut text = Json::begin().to_vec();
        for found in [some(), found(json!([]))] {
            json.image(&IMAGE, &found, &mut text).unwrap();
        }
        text.extend_from_slice(Json::end());
        let document: Value = serde_json::from_slice(&text).unwrap();
        let square = |number: u32, class: &str, kind: &str| {
            json!({
                "polygon": number, "class": class, "type": kind, "area": 4, "perimeter": 8,
                "circularity": PI / 4.0, "confidence": null,
            })
        };
        let reported = json!({
            "polygon": 2, "class": "=cmd", "type": "external", "area": 9, "perimeter": 0,
            "circularity": 0, "confidence": 0.5,
        });
        let polygons = [
            square(1, "cell", "external"),
            reported,
            square(3, "hole", "internal"),
        ];
        let expected = json!({"images": [
            {
                "image": IMAGE.file, "imageId": IMAGE.id, "count": 2, "holes": 1, "area": 9,
                "meanArea": 6.5, "meanCircularity": PI / 8.0, "polygons": polygons,
            },
            {
                "image": IMAGE.file, "imageId": IMAGE.id, "count": 0, "holes": 0, "area": 0,
                "meanArea": null, "meanCircularity": null, "polygons": [],
            },
        ]});
        assert_eq!(document, expected);
        let none = [Json::begin(), Json::end()].concat();
        assert_eq!(
            serde_json::from_slice::<Value>(&none).unwrap(),
            json!({"images": []})
        );
    }

    #[test]
    fn figures_have_an_end() {
        let huge = found(json!([
            {"points": [], "type": "external", "area": f64::MAX, "perimeter": f64::MAX},
            {"points": [], "type": "external", "area": f64::MAX, "perimeter": 1e-300},
            {"points": [], "type": "internal", "area": f64::MAX},
            {"points": [], "type": "internal", "area": f64::MAX},
        ]));
        let mut text = Vec::new();
        Json::new().image(&IMAGE, &huge, &mut text).unwrap();
        let read: Value = serde_json::from_slice(&text).unwrap();
        assert!(
            read["area"].is_number() && read["meanArea"].is_number(),
            "{read}"
        );
    }
}
