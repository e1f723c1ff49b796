//! What users say, checked.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;
use tidegate_protocol::problem::Problem;
use uuid::Uuid;

use super::job::{AnnotationFormat, MetricsFormat, Options};
use super::store::Order;
use crate::http::PathParams;
use crate::http::json::Object;
use crate::id::{ProjectId, UploadId};

/// The most images that may be named; of a project without naming them there may be more.
const SELECTED_MAX: usize = 10_000;

/// The longest name of an archive, in characters.
const NAME_CHARS_MAX: usize = 255;

/// `{options, projectName?}` of a start.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct AskStart {
    options: Option<Object<AskOptions>>,
    project_name: Option<String>,
}

/// What is to be exported. The last ones are known from the application of a laboratory, and are asked for
/// in vain: a warning says so.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct AskOptions {
    include_original_images: Option<bool>,
    annotation_formats: Vec<String>,
    metrics_formats: Vec<String>,
    selected_image_ids: Option<Vec<String>>,
    /// Every archive has some.
    #[serde(rename = "includeDocumentation")]
    _include_documentation: Option<bool>,
    include_visualizations: Option<bool>,
    #[serde(rename = "visualizationOptions")]
    _visualization_options: Option<Value>,
    pixel_to_micrometer_scale: Option<f64>,
    mt_metrics: Option<Value>,
    mt_kymographs: Option<Value>,
}

impl AskStart {
    /// # Errors
    /// The problem to answer with.
    pub(super) fn checked(self, project: String) -> Result<Order, Problem> {
        let Some(Object(asked)) = self.options else {
            return Err(Problem::validation("options", "is missing"));
        };
        let warnings = asked.in_vain();
        let annotation_formats = formats(
            "options.annotationFormats",
            &asked.annotation_formats,
            &[
                ("coco", AnnotationFormat::Coco),
                ("yolo", AnnotationFormat::Yolo),
                ("json", AnnotationFormat::Json),
            ],
        )?;
        let metrics_formats = formats(
            "options.metricsFormats",
            &asked.metrics_formats,
            &[("csv", MetricsFormat::Csv), ("json", MetricsFormat::Json)],
        )?;
        let selected = asked.selected_image_ids.map(selected).transpose()?;
        let options = Options {
            // Nothing is said: whoever exports wants his images.
            include_original_images: asked.include_original_images.unwrap_or(true),
            annotation_formats,
            metrics_formats,
            selected_images: selected.as_ref().map(Vec::len),
        };
        if !options.include_original_images && !options.wants_findings() {
            return Err(Problem::validation(
                "options",
                "must ask for images, annotations or metrics",
            ));
        }
        Ok(Order {
            project,
            options,
            selected,
            title: self.project_name.map(name).transpose()?.flatten(),
            warnings,
        })
    }
}

impl AskOptions {
    fn in_vain(&self) -> Vec<String> {
        let is_some = |asked: &Option<Value>| asked.as_ref().is_some_and(|asked| !asked.is_null());
        let asked = [
            (
                "includeVisualizations",
                self.include_visualizations == Some(true),
            ),
            (
                "pixelToMicrometerScale",
                self.pixel_to_micrometer_scale.is_some(),
            ),
            ("mtMetrics", is_some(&self.mt_metrics)),
            ("mtKymographs", is_some(&self.mt_kymographs)),
        ];
        let asked = asked.into_iter().filter(|(_, is_asked)| *is_asked);
        asked
            .map(|(name, _)| format!("The option {name} is not supported and was ignored."))
            .collect()
    }
}

/// Each of the words once.
fn formats<F: Copy + PartialEq>(
    field: &'static str,
    words: &[String],
    known: &[(&str, F)],
) -> Result<Vec<F>, Problem> {
    let mut formats = Vec::new();
    for word in words {
        let found = known.iter().find(|(name, _)| name == word);
        let Some((_, format)) = found else {
            let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            let why = format!("must be some of {}", names.join(", "));
            return Err(Problem::validation(field, why));
        };
        if !formats.contains(format) {
            formats.push(*format);
        }
    }
    Ok(formats)
}

fn selected(ids: Vec<String>) -> Result<Vec<String>, Problem> {
    const FIELD: &str = "options.selectedImageIds";
    if !(1..=SELECTED_MAX).contains(&ids.len()) {
        return Err(Problem::validation(FIELD, "must be 1 to 10000"));
    }
    let mut seen = HashSet::new();
    for (place, id) in ids.iter().enumerate() {
        if id.parse::<UploadId>().is_err() {
            let why = format!("has no id in canonical form at place {}", place + 1);
            return Err(Problem::validation(FIELD, why));
        }
        if !seen.insert(id) {
            return Err(Problem::validation(FIELD, format!("has {id} twice")));
        }
    }
    Ok(ids)
}

/// An empty one is as good as none.
fn name(text: String) -> Result<Option<String>, Problem> {
    if text.chars().count() > NAME_CHARS_MAX {
        return Err(Problem::validation(
            "projectName",
            "must not be longer than 255 characters",
        ));
    }
    match text.contains(char::is_control) {
        true => Err(Problem::validation(
            "projectName",
            "must not contain control characters",
        )),
        false => Ok(Some(text).filter(|text| !text.trim().is_empty())),
    }
}

/// `{reason?}` of a cancel.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AskCancel {
    pub(super) reason: Option<String>,
}

/// The id of an export, in canonical form.
///
/// # Errors
/// The problem to answer with.
pub(super) fn uuid(text: &str) -> Result<String, Problem> {
    let id = Uuid::try_parse(text).map_err(|_| Problem::validation("id", "must be a UUID"))?;
    Ok(id.to_string())
}

/// The export that a path names, and its project. A project that cannot be is as good as one that is not
/// there.
///
/// # Errors
/// The problem to answer with.
pub(super) fn path(path: &PathParams) -> Result<(String, String), Problem> {
    Ok((project(path)?, uuid(path.get("id").unwrap_or_default())?))
}

/// # Errors
/// The problem to answer with.
pub(super) fn project(path: &PathParams) -> Result<String, Problem> {
    let id = path.get("project").unwrap_or_default();
    let id: ProjectId = id.parse().map_err(|_| Problem::NotFound)?;
    Ok(id.to_string())
}
