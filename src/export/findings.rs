//! What was found in images, in all the forms that are asked for.
//!
//! Each result is read once, so all forms tell the same of an image, and goes piece by piece to where it
//! belongs. What is one document for all images waits in spools for the last one.

use std::io;
use std::path::Path;

use super::classes::Classes;
use super::coco::{About, Coco};
use super::found::{Found, Image};
use super::job::{AnnotationFormat, Job, MetricsFormat, Options};
use super::spool::Spool;
use super::{measure, yolo};
use crate::clock::rfc3339;

/// How far the documents are that go over all images.
#[derive(Debug)]
pub(super) struct Forms {
    options: Options,
    pub(super) classes: Classes,
    coco: Coco,
    measures: measure::Json,
}

/// What one image adds.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    coco_image: Vec<u8>,
    coco_annotations: Vec<u8>,
    polygons_table: Vec<u8>,
    images_table: Vec<u8>,
    measures: Vec<u8>,
    /// A file of its own.
    pub(super) yolo: Option<Vec<u8>>,
}

impl Forms {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            options: options.clone(),
            classes: Classes::new(),
            coco: Coco::new(),
            measures: measure::Json::new(),
        }
    }

    /// Writes down what was found in an image. Takes its time if that is much.
    ///
    /// # Errors
    /// The report is none.
    pub(super) fn write(&mut self, image: &Image<'_>, report: &str) -> io::Result<Pieces> {
        let found: Found = serde_json::from_str(report)?;
        let mut pieces = Pieces::default();
        if self.options.annotates(AnnotationFormat::Coco) {
            let (images, annotations) = (&mut pieces.coco_image, &mut pieces.coco_annotations);
            self.coco
                .image(image, &found, &mut self.classes, images, annotations)?;
        }
        if self.options.annotates(AnnotationFormat::Yolo) {
            pieces.yolo = Some(yolo::label(&found, &mut self.classes));
        }
        if self.options.measures(MetricsFormat::Csv) {
            measure::polygons_csv(image, &found, &mut pieces.polygons_table)?;
            measure::image_csv(image, &found, &mut pieces.images_table)?;
        }
        if self.options.measures(MetricsFormat::Json) {
            self.measures.image(image, &found, &mut pieces.measures)?;
        }
        Ok(pieces)
    }
}

/// A document that goes over all images: where it goes, and what it is made of.
pub(super) struct Document {
    pub(super) path: &'static str,
    pub(super) is_annotation: bool,
    pub(super) parts: Vec<Part>,
}

/// A part of a document.
pub(super) enum Part {
    Text(Vec<u8>),
    Spool(Spool),
}

impl Part {
    /// How many bytes it has.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Spool(spool) => spool.len(),
        }
    }
}

/// The documents that go over all images, as far as they are written.
pub(super) struct Documents {
    coco_images: Spool,
    coco_annotations: Spool,
    polygons_table: Spool,
    images_table: Spool,
    measures: Spool,
}

impl Documents {
    /// # Errors
    /// The operating system's, as for all functions here.
    pub(super) async fn new(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            coco_images: Spool::new(dir).await?,
            coco_annotations: Spool::new(dir).await?,
            polygons_table: Spool::new(dir).await?,
            images_table: Spool::new(dir).await?,
            measures: Spool::new(dir).await?,
        })
    }

    pub(super) async fn add(&mut self, pieces: &Pieces) -> io::Result<()> {
        self.coco_images.push(&pieces.coco_image).await?;
        self.coco_annotations.push(&pieces.coco_annotations).await?;
        self.polygons_table.push(&pieces.polygons_table).await?;
        self.images_table.push(&pieces.images_table).await?;
        self.measures.push(&pieces.measures).await
    }

    /// Those that are asked for, whole.
    pub(super) fn end(self, job: &Job, forms: &Forms) -> io::Result<Vec<Document>> {
        let mut documents = Vec::new();
        if job.options.annotates(AnnotationFormat::Coco) {
            documents.push(Document {
                path: "annotations/coco/annotations.json",
                is_annotation: true,
                parts: vec![
                    Part::Text(Coco::begin(&About {
                        description: &job.title,
                        version: "1",
                        date_created: &rfc3339(job.created_at),
                    })?),
                    Part::Spool(self.coco_images),
                    Part::Text(Coco::between().to_vec()),
                    Part::Spool(self.coco_annotations),
                    Part::Text(Coco::end(&forms.classes)?),
                ],
            });
        }
        if job.options.annotates(AnnotationFormat::Yolo) {
            documents.push(Document {
                path: "annotations/yolo/classes.txt",
                is_annotation: true,
                parts: vec![Part::Text(yolo::names(&forms.classes))],
            });
        }
        if job.options.measures(MetricsFormat::Csv) {
            documents.push(Document {
                path: "metrics/metrics.csv",
                is_annotation: false,
                parts: vec![
                    Part::Text(measure::POLYGONS_HEADER.to_vec()),
                    Part::Spool(self.polygons_table),
                ],
            });
            documents.push(Document {
                path: "metrics/images.csv",
                is_annotation: false,
                parts: vec![
                    Part::Text(measure::IMAGES_HEADER.to_vec()),
                    Part::Spool(self.images_table),
                ],
            });
        }
        if job.options.measures(MetricsFormat::Json) {
            documents.push(Document {
                path: "metrics/metrics.json",
                is_annotation: false,
                parts: vec![
                    Part::Text(measure::Json::begin().to_vec()),
                    Part::Spool(self.measures),
                    Part::Text(measure::Json::end().to_vec()),
                ],
            });
        }
        Ok(documents)
    }
}
