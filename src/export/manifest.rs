//! `manifest.json`: every entry of an archive with its digest, and what is missing.

use std::io;

use serde::Serialize;

use super::job::{Job, Options};
use crate::clock::rfc3339;

/// The form of the document; the next one will have another number.
const FORMAT: &str = "tidegate-export/1";

/// What kind of thing an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Original,
    Annotation,
    Metrics,
    Documentation,
}

/// An entry that is in the archive.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed<'a> {
    pub(super) path: &'a str,
    pub(super) kind: Kind,
    /// Of its content.
    pub(super) bytes: u64,
    /// Of its content, in lower-case hexadecimal.
    pub(super) sha256: &'a str,
    /// The upload that it is, or is about. `None`: it is about all of them.
    pub(super) source_id: Option<&'a str>,
}

/// What was to be in the archive, and was removed before its turn.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Missing<'a> {
    pub(super) source_id: &'a str,
    pub(super) what: Lost,
    /// Where the image would be. `None`: it is there, or was gone before it had a place.
    pub(super) path: Option<&'a str>,
    pub(super) reason: &'static str,
}

/// What of an image is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Lost {
    Image,
    /// What was found in it.
    Annotations,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    format: &'static str,
    export_id: &'a str,
    project_id: &'a str,
    project_name: &'a str,
    created_at: String,
    options: &'a Options,
}

/// The document up to its first entry. Entries follow with commas between them.
pub(super) fn begin(job: &Job) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(&Head {
        format: FORMAT,
        export_id: &job.id,
        project_id: &job.project,
        project_name: &job.title,
        created_at: rfc3339(job.created_at),
        options: &job.options,
    })?;
    // The object goes on.
    text.pop();
    text.extend_from_slice(b",\"entries\":[\n");
    Ok(text)
}

/// The text between the entries and what is missing.
pub(super) fn between() -> &'static [u8] {
    b"\n],\"missing\":["
}

/// The document behind the last that is missing.
pub(super) fn end(warnings: &[String]) -> io::Result<Vec<u8>> {
    let mut text = b"],\"warnings\":".to_vec();
    serde_json::to_writer(&mut text, warnings)?;
    text.extend_from_slice(b"}\n");
    Ok(text)
}

/// `README.txt`.
pub(super) fn readme(job: &Job) -> String {
    let made_at = rfc3339(job.created_at);
    format!(
        "{title}\n\nExport {id} of the project {project}, asked for at {made_at}.\n\n{TEXT}",
        title = job.title,
        id = job.id,
        project = job.project,
    )
}

const TEXT: &str = "\
images/                            the images as they were uploaded; names that clashed have numbers
annotations/coco/annotations.json  what was found in them, in the format of COCO: one document
annotations/yolo/*.txt             the same for YOLO segmentation: a file for each image, and classes.txt
annotations/json/*.json            the same as the worker has reported it: a file for each image
metrics/metrics.csv, .json         area, perimeter and circularity of each polygon, in pixels
metrics/images.csv                 counts and sums for each image
manifest.json                      every file here but itself: size, SHA-256, and the upload it comes from

Only what was asked for is here. An image without a result has no annotations. What was removed while the
archive was made is not here; `missing` in manifest.json lists it.

To check the files against the manifest:

    python3 -c \"import json,hashlib;[print(e['path'],'ok' if hashlib.sha256(open(e['path'],'rb')\\
    .read()).hexdigest()==e['sha256'] else 'DAMAGED') for e in json.load(open('manifest.json'))['entries']]\"
";
