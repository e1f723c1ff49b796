//! Annotations in the format of COCO: one JSON document, in pieces.
//!
//! Images and annotations are two lists that grow together, one behind the other in the document.
//! So there are two streams: one can be sent at once while the other is set aside.
//!
//! ```text
//! begin, image, image, ..., between, annotation, annotation, ..., end
//! ```

use std::io;

use serde::{Serialize, Serializer};

use super::classes::Classes;
use super::found::{Found, Image, Point, Polygon};
use super::number::Number;

/// What the document says of itself.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct About<'a> {
    pub(super) description: &'a str,
    pub(super) version: &'a str,
    /// RFC 3339.
    pub(super) date_created: &'a str,
}

/// How far a document has come.
#[derive(Debug, Default)]
pub(super) struct Coco {
    images: u64,
    annotations: u64,
}

#[derive(Serialize)]
struct ImageEntry<'a> {
    id: u64,
    file_name: &'a str,
    width: u32,
    height: u32,
    upload_id: &'a str,
}

#[derive(Serialize)]
struct Annotation<'a> {
    id: u64,
    image_id: u64,
    category_id: usize,
    segmentation: [Flat<'a>; 1],
    area: Number,
    bbox: [Number; 4],
    iscrowd: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<Number>,
}

#[derive(Serialize)]
struct Category<'a> {
    id: usize,
    name: &'a str,
    supercategory: &'a str,
}

/// Points as one list of x and y in turns.
struct Flat<'a>(&'a [Point]);

impl Coco {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// The text up to the first image.
    pub(super) fn begin(about: &About<'_>) -> io::Result<Vec<u8>> {
        let mut text = b"{\"info\":".to_vec();
        serde_json::to_writer(&mut text, about)?;
        text.extend_from_slice(b",\"licenses\":[],\"images\":[");
        Ok(text)
    }

    /// Appends the next image to the one stream and what was found in it to the other.
    pub(super) fn image(
        &mut self,
        image: &Image<'_>,
        found: &Found,
        classes: &mut Classes,
        images: &mut Vec<u8>,
        annotations: &mut Vec<u8>,
    ) -> io::Result<()> {
        separate(&mut self.images, images);
        let entry = ImageEntry {
            id: self.images,
            file_name: image.file,
            width: found.image_size.width,
            height: found.image_size.height,
            upload_id: image.id,
        };
        serde_json::to_writer(images, &entry)?;
        for polygon in &found.polygons {
            self.annotation(polygon, classes, annotations)?;
        }
        Ok(())
    }

    /// The text between the images and the annotations.
    pub(super) fn between() -> &'static [u8] {
        b"],\"annotations\":["
    }

    /// The text behind the last annotation.
    pub(super) fn end(classes: &Classes) -> io::Result<Vec<u8>> {
        let categories: Vec<Category<'_>> = (1..)
            .zip(classes.names())
            .map(|(id, name)| Category {
                id,
                name,
                supercategory: "",
            })
            .collect();
        let mut text = b"],\"categories\":".to_vec();
        serde_json::to_writer(&mut text, &categories)?;
        text.push(b'}');
        Ok(text)
    }

    /// One of the image that came last.
    fn annotation(
        &mut self,
        polygon: &Polygon,
        classes: &mut Classes,
        annotations: &mut Vec<u8>,
    ) -> io::Result<()> {
        separate(&mut self.annotations, annotations);
        let annotation = Annotation {
            id: self.annotations,
            image_id: self.images,
            category_id: classes.number(polygon) + 1,
            segmentation: [Flat(&polygon.points)],
            area: Number::new(polygon.area()),
            bbox: polygon.bounds().map(Number::new),
            iscrowd: 0,
            score: polygon.confidence.map(Number::new),
        };
        serde_json::to_writer(annotations, &annotation)?;
        Ok(())
    }
}

/// Counts one more of a list, and sets it off against those before it.
fn separate(count: &mut u64, text: &mut Vec<u8>) {
    if *count > 0 {
        text.push(b',');
    }
    *count += 1;
}

impl Serialize for Flat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let numbers = self.0.iter().flat_map(|point| point.0);
        serializer.collect_seq(numbers.map(Number::new))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ABOUT: About<'_> = About {
        description: "Project \"Řez\"",
        version: "1.0",
        date_created: "2026-01-01T00:00:00.000Z",
    };

    fn document(found: &[(Image<'_>, Value)]) -> Value {
        let (mut coco, mut classes) = (Coco::new(), Classes::new());
        let (mut images, mut annotations) = (Vec::new(), Vec::new());
        for (image, found) in found {
            let found: Found = serde_json::from_value(found.clone()).unwrap();
            let done = coco.image(image, &found, &mut classes, &mut images, &mut annotations);
            done.unwrap();
        }
        let begin = Coco::begin(&ABOUT).unwrap();
        let end = Coco::end(&classes).unwrap();
        let text = [&begin, &images, Coco::between(), &annotations, &end].concat();
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn an_empty_document_is_one() {
        let expected = json!({
            "info": {
                "description": "Project \"Řez\"", "version": "1.0",
                "date_created": "2026-01-01T00:00:00.000Z",
            },
            "licenses": [], "images": [], "annotations": [],
            "categories": [{"id": 1, "name": "cell", "supercategory": ""}],
        });
        assert_eq!(document(&[]), expected);
    }

    #[test]
    fn images_and_annotations_are_numbered_from_1() {
        let size = json!({"width": 640, "height": 480});
        let triangle = json!([{"x": 1, "y": 2}, {"x": 5.5, "y": 2}, {"x": 1, "y": 6}]);
        let first = json!({"imageSize": size, "polygons": [
            {"points": triangle, "type": "external", "confidence": 0.75},
            {"points": triangle, "type": "internal", "area": 8, "class": "nucleus"},
        ]});
        let none = json!({"imageSize": size, "polygons": []});
        let third = json!({"imageSize": size, "polygons": [
            {"points": triangle, "type": "external", "class": "nucleus"},
        ]});
        let images = ["images/a.tif", "images/\"b\".tif", "images/c.tif"];
        let image = |index: usize, id| Image {
            file: images[index],
            id,
        };
        let document = document(&[
            (image(0, "x"), first),
            (image(1, "y"), none),
            (image(2, "z"), third),
        ]);
        let entry = |id: usize, upload_id| {
            json!({
                "id": id, "file_name": images[id - 1], "width": 640, "height": 480,
                "upload_id": upload_id,
            })
        };
        assert_eq!(
            document["images"],
            json!([entry(1, "x"), entry(2, "y"), entry(3, "z")])
        );
        let annotation = |id, image_id, category_id, area: Value| {
            json!({
                "id": id, "image_id": image_id, "category_id": category_id,
                "segmentation": [[1, 2, 5.5, 2, 1, 6]], "area": area, "bbox": [1, 2, 4.5, 4],
                "iscrowd": 0,
            })
        };
        let mut scored = annotation(1, 1, 1, json!(9));
        scored["score"] = json!(0.75);
        let expected = [
            scored,
            annotation(2, 1, 2, json!(8)),
            annotation(3, 3, 3, json!(9)),
        ];
        assert_eq!(document["annotations"], json!(expected));
        let names: Vec<&Value> = document["categories"]
            .as_array()
            .unwrap()
            .iter()
            .map(|category| &category["name"])
            .collect();
        assert_eq!(names, ["cell", "hole", "nucleus"]);
        assert_eq!(document["categories"][2]["id"], 3);
    }
}
