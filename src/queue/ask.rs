//! What users say, checked.

use std::collections::HashSet;

use serde::Deserialize;
use tidegate_protocol::problem::Problem;

use super::Config;
use super::item::{State, Threshold};
use super::look::{Among, Listed};
use super::store::{Batch, MANY_MAX, Order};
use crate::http::{Page, PathParams};
use crate::id::{ProjectId, UploadId};

/// `{model?, threshold?, priority?, detectHoles?}` of an image.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct AskOne {
    model: Option<String>,
    threshold: Option<f64>,
    priority: Option<i64>,
    detect_holes: Option<bool>,
}

/// The same of many images of a project.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct AskMany {
    project_id: Option<String>,
    image_ids: Option<Vec<String>>,
    force_resegment: bool,
    model: Option<String>,
    threshold: Option<f64>,
    priority: Option<i64>,
    detect_holes: Option<bool>,
}

/// `{reason?}` of a cancel.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AskCancel {
    pub(super) reason: Option<String>,
}

/// `{all?, reason?}` of a cancel in a project.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AskCancelAll {
    pub(super) all: bool,
    pub(super) reason: Option<String>,
}

/// `{maxProcessingMinutes?}`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct AskReset {
    max_processing_minutes: Option<i64>,
}

/// `{daysOld?}`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(super) struct AskCleanup {
    days_old: Option<i64>,
}

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// An item that is processed for longer is called stuck, in milliseconds.
pub(super) const STUCK_AFTER: i64 = 10 * MINUTE;

impl AskOne {
    /// # Errors
    /// The problem to answer with.
    pub(super) fn checked(self, config: &Config) -> Result<Order, Problem> {
        let model = match self.model {
            Some(model) => known_model(model, config)?,
            None => config.models.first().cloned().unwrap_or_default(),
        };
        let threshold = Threshold::new(self.threshold.unwrap_or(0.5))
            .ok_or_else(|| Problem::validation("threshold", "must be a number from 0.1 to 0.9"))?;
        let priority = self.priority.unwrap_or(0);
        if !(0..=10).contains(&priority) {
            return Err(Problem::validation(
                "priority",
                "must be a number from 0 to 10",
            ));
        }
        Ok(Order {
            model,
            threshold,
            priority,
            detect_holes: self.detect_holes.unwrap_or(true),
        })
    }
}

impl AskMany {
    /// # Errors
    /// The problem to answer with.
    pub(super) fn checked(self, config: &Config) -> Result<Batch, Problem> {
        let missing = |field| Problem::validation(field, "is missing");
        let project = self.project_id.ok_or_else(|| missing("projectId"))?;
        let project: ProjectId = project
            .parse()
            .map_err(|_| Problem::validation("projectId", "is no id of a project"))?;
        let images = self.image_ids.ok_or_else(|| missing("imageIds"))?;
        if !(1..=MANY_MAX).contains(&images.len()) {
            return Err(Problem::validation("imageIds", "must be 1 to 10000"));
        }
        let mut seen = HashSet::new();
        for (place, image) in images.iter().enumerate() {
            if image.parse::<UploadId>().is_err() {
                let why = format!("has no id in canonical form at place {}", place + 1);
                return Err(Problem::validation("imageIds", why));
            }
            if !seen.insert(image) {
                return Err(Problem::validation(
                    "imageIds",
                    format!("has {image} twice"),
                ));
            }
        }
        let one = AskOne {
            model: self.model,
            threshold: self.threshold,
            priority: self.priority,
            detect_holes: self.detect_holes,
        };
        Ok(Batch {
            project: project.to_string(),
            order: one.checked(config)?,
            images,
            force: self.force_resegment,
        })
    }
}

impl AskReset {
    /// Milliseconds.
    ///
    /// # Errors
    /// The problem to answer with.
    pub(super) fn checked(self) -> Result<i64, Problem> {
        match self.max_processing_minutes {
            None => Ok(STUCK_AFTER),
            Some(minutes @ 1..=60) => Ok(minutes * MINUTE),
            Some(_) => Err(Problem::validation(
                "maxProcessingMinutes",
                "must be a number from 1 to 60",
            )),
        }
    }
}

impl AskCleanup {
    /// Milliseconds.
    ///
    /// # Errors
    /// The problem to answer with.
    pub(super) fn checked(self) -> Result<i64, Problem> {
        match self.days_old.unwrap_or(7) {
            days @ 1..=30 => Ok(days * DAY),
            _ => Err(Problem::validation(
                "daysOld",
                "must be a number from 1 to 30",
            )),
        }
    }
}

/// `?state=&imageId=&batchId=` of a list; `state` is one or several, separated by commas.
///
/// # Errors
/// The problem to answer with.
pub(super) fn listed(project: String, page: &Page) -> Result<Listed, Problem> {
    let states = match page.query("state") {
        None => State::ALL.to_vec(),
        Some(words) => {
            let states = words.split(',').map(State::parse);
            let states: Option<Vec<_>> = states.collect();
            states.ok_or_else(|| {
                let known = State::ALL.map(State::as_str).join(", ");
                Problem::validation("state", format!("must be some of {known}"))
            })?
        }
    };
    let id = |name: &'static str| {
        let Some(text) = page.query(name) else {
            return Ok(None);
        };
        uuid(&text, name).map(Some)
    };
    let among = match (id("imageId")?, id("batchId")?) {
        (None, None) => Among::All,
        (Some(image), None) => Among::OfImage(image),
        (None, Some(batch)) => Among::OfBatch(batch),
        (Some(_), Some(_)) => {
            let why = "must not be there beside `imageId`";
            return Err(Problem::validation("batchId", why));
        }
    };
    Ok(Listed {
        project,
        states,
        among,
    })
}

/// An id of an item, an image or a batch: all of them are made like that of an upload.
///
/// # Errors
/// The problem to answer with.
pub(super) fn uuid(text: &str, field: &'static str) -> Result<String, Problem> {
    match text.parse::<UploadId>() {
        Ok(id) => Ok(id.to_string()),
        Err(error) => Err(Problem::validation(field, format!("is {error}"))),
    }
}

/// The id that a path has.
///
/// # Errors
/// The problem to answer with.
pub(super) fn path_id(path: &PathParams, name: &'static str) -> Result<String, Problem> {
    uuid(path.get(name).unwrap_or_default(), name)
}

/// # Errors
/// The problem to answer with.
pub(super) fn known_model(model: String, config: &Config) -> Result<String, Problem> {
    match config.models.contains(&model) {
        true => Ok(model),
        false => {
            let why = format!("must be one of {}", config.models.join(", "));
            Err(Problem::validation("model", why))
        }
    }
}
