//! What an archive has, in its order: images, what was found in each, what goes over all of them, a
//! description, a list of it all.
//!
//! First everything that is to be exported is listed. What is gone when its turn comes is listed as
//! missing, so nothing is left out in silence. The list, as everything else that grows with the project,
//! is a file without a name.

use std::collections::HashSet;
use std::io;
use std::mem;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::archive::{Archive, ArchiveError, Coding, Entry, Head};
use super::findings::{Documents, Forms, Part};
use super::job::{AnnotationFormat, Job};
use super::manifest::{self, Kind, Listed, Lost, Missing};
use super::names::{self, Names};
use super::progress::{IMAGE_COST, Progress, Stage};
use super::spool::{Reader, Spool};
use super::{Content, Exports, Image, found};
use crate::blob::{BlobError, Digests};
use crate::cancel::Scope;
use crate::db::DbError;

/// Images that are asked for at once.
const PAGE: usize = 500;

/// Bytes that are read at once.
const READ_BYTES: u64 = 256 * 1024;

/// Bytes of a text that are compressed at once: between two such pieces it can be stopped.
const PIECE_BYTES: usize = 256 * 1024;

/// Text from here on is stored as it is: it would take too long.
const TEXT_BYTES_MAX: u64 = 1 << 30;

/// Where the labels of YOLO are.
const LABELS: &str = "annotations/yolo";

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotMade {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("reading an image")]
    Read(#[source] BlobError),
    #[error("what waits for its place in the archive")]
    Io(#[from] io::Error),
}

impl NotMade {
    /// Whether there would be one if there were more space.
    pub(super) fn is_for_space(&self) -> bool {
        let is_full = |error: &io::Error| matches!(BlobError::from(copy(error)), BlobError::Full);
        match self {
            Self::Archive(ArchiveError::Blob(BlobError::Full)) | Self::Db(DbError::Full) => true,
            Self::Io(error) | Self::Archive(ArchiveError::Io(error)) => is_full(error),
            Self::Archive(_) | Self::Db(_) | Self::Read(_) => false,
        }
    }

    /// Whether it may be otherwise in a moment.
    pub(super) fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Db(DbError::Busy | DbError::Unavailable(_) | DbError::CommitUnknown)
        )
    }
}

fn copy(error: &io::Error) -> io::Error {
    error.kind().into()
}

/// A whole archive.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) bytes: u64,
    pub(super) warnings: Vec<String>,
}

/// An image that is to be exported.
#[derive(Debug, Deserialize, Serialize)]
struct Planned {
    id: String,
    /// In the archive.
    path: String,
    bytes: u64,
    sha256: Option<String>,
    created_at: i64,
    is_text: bool,
}

/// Makes an archive.
pub(super) struct Maker {
    exports: Arc<Exports>,
    job: Arc<Job>,
    scope: Scope,
    progress: Arc<Progress>,
    archive: Archive,
    names: Names,
    listed: List,
    missing: List,
    /// The images that are missing, or of which something is.
    gone: HashSet<Uuid>,
    warnings: Vec<String>,
}

impl Maker {
    /// Touches nothing that has a name.
    ///
    /// # Errors
    /// There can be no archive, as for all functions here.
    pub(super) async fn begin(
        exports: &Arc<Exports>,
        job: Arc<Job>,
        scope: Scope,
        progress: Arc<Progress>,
    ) -> Result<Self, NotMade> {
        let blob = super::end::blob(&job.id).map_err(ArchiveError::Blob)?;
        let writer = exports.archives.writer(blob, 0);
        Ok(Self {
            exports: exports.clone(),
            archive: Archive::new(writer, scope.clone()),
            names: Names::new(),
            listed: List::new(&exports.spools).await?,
            missing: List::new(&exports.spools).await?,
            gone: HashSet::new(),
            warnings: job.warnings.clone(),
            job,
            scope,
            progress,
        })
    }

    pub(super) async fn make(mut self) -> Result<Made, NotMade> {
        self.progress.enter(Stage::Planning, 0);
        let (plan, images) = self.plan().await?;
        let mut plan = plan.rewind().await?;
        if self.job.options.include_original_images {
            self.progress.enter(Stage::Images, images);
            self.originals(&mut plan).await?;
            plan.rewind();
        }
        if self.job.options.wants_findings() {
            self.progress.enter(Stage::Annotations, images);
            self.findings(&mut plan, images).await?;
        }
        self.progress.enter(Stage::Compression, 0);
        self.describe().await?;
        let bytes = self.archive.finish().await?;
        Ok(Made {
            bytes,
            warnings: self.warnings,
        })
    }

    fn go_on(&self) -> Result<(), NotMade> {
        match self.scope.reason() {
            Some(reason) => Err(ArchiveError::Stopped(reason).into()),
            None => Ok(()),
        }
    }

    /// Lists what is to be exported, and says how much that is.
    async fn plan(&mut self) -> Result<(Spool, u64), NotMade> {
        let mut plan = Spool::new(&self.exports.spools).await?;
        let (mut images, mut work) = (0_u64, 0_u64);
        let most = u64::from(self.exports.config.images_max);
        let mut after = None;
        let selected = match self.exports.store.selected(&self.job).await? {
            Some(ids) => Some(self.selected(ids).await?),
            None => None,
        };
        let mut selected = selected.map(Vec::into_iter);
        loop {
            self.go_on()?;
            let page = match &mut selected {
                Some(images) => images.take(PAGE).collect(),
                None => self.page(mem::take(&mut after)).await?,
            };
            let Some(last) = page.last() else { break };
            after = Some((last.created_at, last.id.clone()));
            for image in page {
                if images == most {
                    let warning =
                        format!("There are more than {most} images: the newest are left out.");
                    self.warnings.push(warning);
                    self.progress.plan(work);
                    return Ok((plan, images));
                }
                images += 1;
                work += self.work_of(&image);
                let planned = self.planned(image);
                let mut line = serde_json::to_vec(&planned).map_err(io::Error::from)?;
                line.push(b'\n');
                plan.push(&line).await?;
            }
        }
        if images == 0 {
            self.warnings.push("There were no images to export.".into());
        }
        self.progress.plan(work);
        Ok((plan, images))
    }

    fn work_of(&self, image: &Image) -> u64 {
        let options = &self.job.options;
        let original = match options.include_original_images {
            true => image.bytes.saturating_add(IMAGE_COST),
            false => 0,
        };
        let findings = if options.wants_findings() {
            IMAGE_COST
        } else {
            0
        };
        original.saturating_add(findings)
    }

    fn planned(&mut self, image: Image) -> Planned {
        let mut name = names::clean(image.filename.as_deref(), &image.id);
        if self.job.options.annotates(AnnotationFormat::Yolo) {
            // Whoever reads labels finds them by the name of the image without its extension.
            let (stem, extension) = names::split(&name);
            let label = self.names.unique(LABELS, &format!("{stem}.txt"));
            name = label_stem(&label).to_owned() + extension;
        }
        Planned {
            path: self.names.unique("images", &name),
            is_text: image.bytes < TEXT_BYTES_MAX
                && image.content_type.as_deref().is_some_and(is_text),
            id: image.id,
            bytes: image.bytes,
            sha256: image.sha256,
            created_at: image.created_at,
        }
    }

    async fn page(&self, after: Option<(i64, String)>) -> Result<Vec<Image>, DbError> {
        let place = (self.job.project.clone(), after);
        let page = self
            .exports
            .store
            .ask(place, |source, tx, (project, after)| {
                let after = after.as_ref().map(|(time, id)| (*time, id.as_str()));
                source.page(tx, project, after, PAGE as i64)
            });
        page.await
    }

    /// Those that were named, in the order of a page. What has gone meanwhile is missing.
    async fn selected(&mut self, ids: Vec<String>) -> Result<Vec<Image>, NotMade> {
        let mut images = self.find(ids.clone()).await?;
        images.retain(|image| image.is_complete && image.project == self.job.project);
        images.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        let found: HashSet<_> = images.iter().map(|image| image.id.clone()).collect();
        for id in ids.iter().filter(|id| !found.contains(*id)) {
            self.miss(id, Lost::Image, None).await?;
        }
        Ok(images)
    }

    /// Something of an image is gone. An image of which nothing is there is missed once.
    async fn miss(&mut self, id: &str, what: Lost, path: Option<&str>) -> Result<(), NotMade> {
        if !self.gone.insert(id.parse().unwrap_or_default()) {
            return Ok(());
        }
        let missing = Missing {
            source_id: id,
            what,
            path,
            reason: match what {
                Lost::Image => "it was removed before it could be exported",
                Lost::Annotations => "it was removed before what was found in it could be exported",
            },
        };
        Ok(self.missing.add(&missing).await?)
    }

    async fn originals(&mut self, plan: &mut Reader) -> Result<(), NotMade> {
        while let Some(planned) = next(plan).await? {
            self.go_on()?;
            self.original(planned).await?;
            self.progress.add_item();
            self.progress.add_work(IMAGE_COST);
        }
        Ok(())
    }

    async fn original(&mut self, planned: Planned) -> Result<(), NotMade> {
        let Some(content) = self.open(&planned.id).await? else {
            let place = Some(planned.path.as_str());
            return self.miss(&planned.id, Lost::Image, place).await;
        };
        let head = Head {
            path: planned.path.clone(),
            coding: match planned.is_text {
                true => Coding::Deflated,
                false => Coding::Stored,
            },
            modified: planned.created_at,
            bytes: planned.bytes,
        };
        let mut entry = self.archive.entry(head).await?;
        match copy_all(&*content, &planned, &mut entry, &self.progress).await {
            Ok(sha256) => {
                entry.end().await?;
                let listed = Listed {
                    path: &planned.path,
                    kind: Kind::Original,
                    bytes: planned.bytes,
                    sha256: &sha256,
                    source_id: Some(&planned.id),
                };
                Ok(self.listed.add(&listed).await?)
            }
            Err(NotMade::Read(error)) => {
                entry.undo().await?;
                match self.open(&planned.id).await? {
                    Some(_) => Err(NotMade::Read(error)),
                    None => {
                        let place = Some(planned.path.as_str());
                        self.miss(&planned.id, Lost::Image, place).await
                    }
                }
            }
            Err(why) => Err(why),
        }
    }

    async fn open(&self, id: &str) -> Result<Option<Box<dyn Content>>, DbError> {
        self.exports
            .store
            .ask(id.to_owned(), |source, tx, id| source.open(tx, id))
            .await
    }

    async fn find(&self, ids: Vec<String>) -> Result<Vec<Image>, DbError> {
        self.exports
            .store
            .ask(ids, |source, tx, ids| source.find(tx, ids))
            .await
    }

    /// Writes down what was found in each image.
    async fn findings(&mut self, plan: &mut Reader, images: u64) -> Result<(), NotMade> {
        let mut forms = Forms::new(&self.job.options);
        let mut documents = Documents::new(&self.exports.spools).await?;
        let mut without = 0;
        loop {
            let mut page = Vec::with_capacity(PAGE);
            while page.len() < PAGE
                && let Some(planned) = next(plan).await?
            {
                page.push(planned);
            }
            if page.is_empty() {
                break;
            }
            let reported = self.with_result(&mut page).await?;
            for planned in page {
                self.go_on()?;
                self.progress.add_item();
                self.progress.add_work(IMAGE_COST);
                let report = match reported.contains(&planned.id) {
                    true => self.report(&planned.id).await?,
                    false => None,
                };
                match report {
                    Some(report) => {
                        forms = self.finding(planned, report, forms, &mut documents).await?;
                    }
                    // It has none, or that was removed a moment ago, with the image.
                    None => match self.open(&planned.id).await? {
                        Some(_) => without += 1,
                        None => self.miss_findings(&planned).await?,
                    },
                }
            }
        }
        if without > 0 {
            let warning = format!("Images without a result: {without} of {images}.");
            self.warnings.push(warning);
        }
        for document in documents.end(&self.job, &forms)? {
            let kind = match document.is_annotation {
                true => Kind::Annotation,
                false => Kind::Metrics,
            };
            self.document(document.path, kind, None, document.parts)
                .await?;
        }
        Ok(())
    }

    async fn miss_findings(&mut self, planned: &Planned) -> Result<(), NotMade> {
        self.miss(&planned.id, Lost::Annotations, None).await
    }

    /// Of a page, those in which something was found. Those that are gone are missing, and taken out.
    async fn with_result(&mut self, page: &mut Vec<Planned>) -> Result<HashSet<String>, NotMade> {
        let ids: Vec<_> = page.iter().map(|planned| planned.id.clone()).collect();
        let found = self.find(ids.clone()).await?.into_iter();
        let found = found.filter(|image| image.is_complete);
        let there: HashSet<_> = found.map(|image| image.id).collect();
        for planned in page.extract_if(.., |planned| !there.contains(&planned.id)) {
            self.miss_findings(&planned).await?;
        }
        let store = &self.exports.store;
        let reported = store.ask(ids, |source, tx, ids| source.with_result(tx, ids));
        let reported = reported.await?;
        Ok(reported.into_iter().collect())
    }

    async fn report(&self, id: &str) -> Result<Option<String>, DbError> {
        self.exports
            .store
            .ask(id.to_owned(), |source, tx, id| source.result(tx, id))
            .await
    }

    /// Writes down what was found in one image.
    async fn finding(
        &mut self,
        planned: Planned,
        report: String,
        mut forms: Forms,
        documents: &mut Documents,
    ) -> Result<Forms, NotMade> {
        let Planned { id, path, .. } = planned;
        let name = path.strip_prefix("images/").unwrap_or(&path).to_owned();
        let wants_report = self.job.options.annotates(AnnotationFormat::Json);
        let (file, image_id) = (path.clone(), id.clone());
        // A large report takes a while.
        let writing = spawn_blocking(move || {
            let image = found::Image {
                file: &file,
                id: &image_id,
            };
            let pieces = forms.write(&image, &report)?;
            Ok::<_, io::Error>((forms, pieces, wants_report.then_some(report)))
        });
        let written = tokio::select! {
            // May be dropped: it goes on for a moment, and writes to nothing but its own memory.
            reason = self.scope.cancelled() => return Err(ArchiveError::Stopped(reason).into()),
            written = writing => written,
        };
        let (forms, pieces, report) = written.map_err(io::Error::other)??;
        documents.add(&pieces).await?;
        if let Some(label) = pieces.yolo {
            // The name was kept for it when the image got its own.
            let (stem, _) = names::split(&name);
            let (path, label) = (format!("{LABELS}/{stem}.txt"), vec![Part::Text(label)]);
            self.document(&path, Kind::Annotation, Some(&id), label)
                .await?;
        }
        if let Some(report) = report {
            let path = self
                .names
                .unique("annotations/json", &format!("{name}.json"));
            let report = vec![Part::Text(report.into_bytes())];
            self.document(&path, Kind::Annotation, Some(&id), report)
                .await?;
        }
        Ok(forms)
    }

    /// Writes what describes the archive: last, since it tells of everything.
    async fn describe(&mut self) -> Result<(), NotMade> {
        if !self.gone.is_empty() {
            let warning = format!(
                "Images that were removed meanwhile: {}. `missing` in manifest.json lists them.",
                self.gone.len()
            );
            self.warnings.push(warning);
        }
        let readme = vec![Part::Text(manifest::readme(&self.job).into_bytes())];
        self.document("README.txt", Kind::Documentation, None, readme)
            .await?;
        let spools = &self.exports.spools;
        let listed = mem::replace(&mut self.listed, List::new(spools).await?);
        let missing = mem::replace(&mut self.missing, List::new(spools).await?);
        let parts = vec![
            Part::Text(manifest::begin(&self.job)?),
            Part::Spool(listed.items),
            Part::Text(manifest::between().to_vec()),
            Part::Spool(missing.items),
            Part::Text(manifest::end(&self.warnings)?),
        ];
        self.document("manifest.json", Kind::Documentation, None, parts)
            .await
    }

    /// Writes an entry that this server has made.
    async fn document(
        &mut self,
        path: &str,
        kind: Kind,
        source_id: Option<&str>,
        parts: Vec<Part>,
    ) -> Result<(), NotMade> {
        let head = Head {
            path: path.to_owned(),
            coding: Coding::Deflated,
            modified: self.job.created_at,
            bytes: parts.iter().map(Part::len).sum(),
        };
        let bytes = head.bytes;
        let mut entry = self.archive.entry(head).await?;
        let mut sum = Digests::sha256();
        for part in parts {
            match part {
                Part::Text(text) => {
                    let mut text = Bytes::from(text);
                    while !text.is_empty() {
                        let piece = text.split_to(text.len().min(PIECE_BYTES));
                        add(&mut entry, piece, &mut sum).await?;
                    }
                }
                Part::Spool(spool) => {
                    let mut reader = spool.rewind().await?;
                    while let Some(piece) = reader.piece().await? {
                        add(&mut entry, piece, &mut sum).await?;
                    }
                }
            }
        }
        entry.end().await?;
        let listed = Listed {
            path,
            kind,
            bytes,
            sha256: &sum.whole_hex().unwrap_or_default(),
            source_id,
        };
        Ok(self.listed.add(&listed).await?)
    }
}

/// The items of an array in JSON, with commas between them.
struct List {
    items: Spool,
    is_begun: bool,
}

impl List {
    /// # Errors
    /// The operating system's, as for all functions here.
    async fn new(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            items: Spool::new(dir).await?,
            is_begun: false,
        })
    }

    async fn add(&mut self, item: &impl Serialize) -> io::Result<()> {
        if mem::replace(&mut self.is_begun, true) {
            self.items.push(b",\n").await?;
        }
        self.items.push(&serde_json::to_vec(item)?).await
    }
}

/// The name of a label without its extension.
fn label_stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.strip_suffix(".txt").unwrap_or(name)
}

async fn next(plan: &mut Reader) -> Result<Option<Planned>, NotMade> {
    let Some(line) = plan.line().await? else {
        return Ok(None);
    };
    let planned = serde_json::from_slice(&line).map_err(io::Error::from)?;
    Ok(Some(planned))
}

/// Copies an image. Returns its digest.
async fn copy_all(
    content: &dyn Content,
    planned: &Planned,
    entry: &mut Entry<'_>,
    progress: &Progress,
) -> Result<String, NotMade> {
    let mut sum = match planned.sha256 {
        Some(_) => Digests::none(),
        None => Digests::sha256(),
    };
    let mut at = 0;
    let mut next = content.read(0, READ_BYTES).await.map_err(NotMade::Read)?;
    while !next.is_empty() {
        at += next.len() as u64;
        progress.add_work(next.len() as u64);
        sum.update(&next);
        // Both are awaited to their ends.
        let (written, read) = join(entry.write(next), content.read(at, READ_BYTES)).await;
        written?;
        next = read.map_err(NotMade::Read)?;
    }
    match at == planned.bytes {
        true => {
            let known = planned.sha256.clone();
            Ok(known.or_else(|| sum.whole_hex()).unwrap_or_default())
        }
        false => Err(NotMade::Read(BlobError::Short {
            promised: planned.bytes,
            found: at,
        })),
    }
}

async fn add(entry: &mut Entry<'_>, piece: Bytes, sum: &mut Digests) -> Result<(), NotMade> {
    sum.update(&piece);
    Ok(entry.write(piece).await?)
}

/// Whether content of this type gets much smaller when it is compressed. Images are compressed already,
/// or so large that it would take too long.
fn is_text(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let is_structured = |suffix: &str| essence.ends_with(suffix);
    essence.starts_with("text/")
        || is_structured("/json")
        || is_structured("+json")
        || (!essence.starts_with("image/") && (is_structured("/xml") || is_structured("+xml")))
}
