//! Projects that are exported, and archives as other programs read them, on both databases.

use serde_json::{Value, json};

use crate::support::export::{Archive, everything, kinds, originals, start};
use crate::support::queue::{Worker, enqueue, report};
use crate::support::server::Server;
use crate::support::sse::{Event, Sse};
use crate::support::tus::{self, Upload};
use crate::support::{content, eventually, postgres};

#[tokio::test]
async fn a_project_is_exported_with_every_byte_and_all_that_was_found() {
    exported(&Server::start(&[]).await).await;
}

#[tokio::test]
async fn a_project_is_exported_with_every_byte_and_all_that_was_found_on_postgres() {
    exported(&postgres::server(&[]).await).await;
}

#[tokio::test]
async fn an_export_is_told_from_its_beginning_to_its_end() {
    told(&Server::start(&[]).await).await;
}

#[tokio::test]
async fn an_export_is_told_from_its_beginning_to_its_end_on_postgres() {
    told(&postgres::server(&[]).await).await;
}

/// What a laboratory uploads.
struct Images {
    /// In the order in which they were begun.
    all: Vec<(Upload, Vec<u8>)>,
    /// Those of them in which something was found.
    found: Vec<Upload>,
}

async fn images(server: &Server) -> Images {
    let (tiff, text) = (("filetype", "image/tiff"), ("filetype", "text/plain"));
    let scan = [b"II*\0".to_vec(), content(1, 3_000_000)].concat();
    let notes = "exposure 20 ms, 4 tiles\n".repeat(20_000).into_bytes();
    let mut all = Vec::new();
    for (name, kind, bytes) in [
        ("scan.tif", tiff, scan),
        ("notes.txt", text, notes),
        ("empty.bin", tiff, Vec::new()),
        ("Scan.TIF", tiff, content(2, 5_000)),
        ("SCAN.tif", tiff, content(3, 1)),
        ("scan.tif", tiff, content(4, 70_000)),
        ("\u{158}ez \u{10d}. 3.ome.tif", tiff, content(5, 300_000)),
    ] {
        let pairs = [("filename", name), kind];
        all.push((server.named("default", &pairs, &bytes).await, bytes));
    }
    let halves = [content(6, 400_000), content(7, 300_001)];
    let (first, second) = (
        server.complete_partial(&halves[0]).await,
        server.complete_partial(&halves[1]).await,
    );
    let metadata = tus::metadata(&[("filename", b"joined.tif")]);
    let join = tus::create_final(&[&first.path, &second.path, &first.path]);
    let join = join.header("Upload-Metadata", metadata);
    let joined = Upload::created(&server.send(join).await.expect(201));
    let whole = [&halves[0][..], &halves[1], &halves[0]].concat();
    all.push((joined.clone(), whole));
    // Of no account: it is not complete.
    server.create(10).await;
    let found = vec![all[0].0.clone(), joined];
    let worker = Worker::new("w1");
    for image in &found {
        server.send(enqueue(image, &json!({}))).await.expect(201);
        worker.work(server).await;
    }
    Images { all, found }
}

async fn exported(server: &Server) {
    let images = images(server).await;
    let (job, archive) = server.exported("default", &everything()).await;
    let wanted: Vec<_> = images.all.iter().map(|(u, b)| (u, &b[..])).collect();
    archive.expect_originals(&wanted);
    expect_names(&archive, &images);
    expect_annotations(&archive, &images);
    expect_measures(&archive, &images);
    let manifest = archive.manifest();
    let without = json!(["Images without a result: 6 of 8."]);
    for (member, value) in [
        ("exportId", json!(job.id)),
        ("projectId", json!("default")),
        ("missing", json!([])),
        ("warnings", without.clone()),
    ] {
        assert_eq!(manifest[member], value, "{member} of {manifest}");
    }
    let status = server.export_reaches(&job, "completed").await;
    assert_eq!(status["warnings"], without, "{status}");
    assert!(archive.text("README.txt").contains(&job.id));

    let (other, again) = server.exported("default", &everything()).await;
    assert_ne!(other, job);
    assert_eq!(again.paths(), archive.paths(), "in the same order");
    let tells_of_its_job = [
        "README.txt",
        "manifest.json",
        "annotations/coco/annotations.json",
    ];
    for (entry, before) in again.entries.iter().zip(&archive.entries) {
        if !tells_of_its_job.contains(&&*entry.path) {
            assert_eq!(entry, before);
        }
    }
    selected(server, &images).await;
}

/// Names that differ in case only differ in more, and text is the smaller.
#[track_caller]
fn expect_names(archive: &Archive, images: &Images) {
    let mut folded: Vec<_> = archive.paths().iter().map(|p| p.to_lowercase()).collect();
    folded.sort_unstable();
    folded.dedup();
    assert_eq!(folded.len(), archive.entries.len(), "{:?}", archive.paths());
    let names = [
        "scan.tif",
        "notes.txt",
        "empty.bin",
        "Scan (2).TIF",
        "SCAN (3).tif",
        "scan (4).tif",
        "\u{158}ez \u{10d}. 3.ome.tif",
        "joined.tif",
    ];
    for ((upload, _), name) in images.all.iter().zip(names) {
        let path = archive.original(upload);
        assert_eq!(path, format!("images/{name}"));
        let entry = archive.entries.iter().find(|entry| entry.path == path);
        let method = entry.expect("an entry").method;
        assert_eq!(method == 8, name == "notes.txt", "{path}: {method}");
    }
}

#[track_caller]
fn expect_annotations(archive: &Archive, images: &Images) {
    let coco = archive.json("annotations/coco/annotations.json");
    let (entries, annotations) = (&coco["images"], &coco["annotations"]);
    assert_eq!(entries.as_array().map(Vec::len), Some(2), "{coco}");
    assert_eq!(annotations.as_array().map(Vec::len), Some(2), "{coco}");
    let category = json!([{"id": 1, "name": "cell", "supercategory": ""}]);
    assert_eq!(coco["categories"], category);
    for (at, (image, stem)) in images.found.iter().zip(["scan", "joined"]).enumerate() {
        let file = archive.original(image);
        for (member, value) in [
            ("file_name", json!(file)),
            ("upload_id", json!(image.id())),
            ("width", json!(16)),
            ("height", json!(12)),
        ] {
            assert_eq!(entries[at][member], value, "{coco}");
        }
        for (member, value) in [
            ("image_id", entries[at]["id"].clone()),
            ("category_id", json!(1)),
            ("area", json!(23.5625)),
            ("bbox", json!([1.5, 2, 6.5, 7.25])),
            ("segmentation", json!([[1.5, 2, 8, 2, 8, 9.25]])),
            ("score", json!(0.75)),
        ] {
            assert_eq!(annotations[at][member], value, "{coco}");
        }
        let label = archive.text(&format!("annotations/yolo/{stem}.txt"));
        let points = "0.093750 0.166667 0.500000 0.166667 0.500000 0.770833";
        assert_eq!(label, format!("0 {points}\n"));
        let own = archive.json(&format!("annotations/json/{stem}.tif.json"));
        assert_eq!(own["polygons"], report()["polygons"], "{own}");
        assert_eq!(own["imageSize"], report()["imageSize"], "{own}");
    }
    assert_eq!(archive.text("annotations/yolo/classes.txt"), "cell\n");
}

#[track_caller]
fn expect_measures(archive: &Archive, images: &Images) {
    let polygons = archive.text("metrics/metrics.csv");
    let rows: Vec<_> = polygons.lines().collect();
    let header = "image,image_id,polygon,class,type,area_px2,perimeter_px,circularity,confidence";
    assert_eq!((rows[0], rows.len()), (header, 3), "{polygons}");
    let each = archive.text("metrics/images.csv");
    let images_rows: Vec<_> = each.lines().collect();
    assert_eq!(images_rows.len(), 3, "{each}");
    let all = archive.json("metrics/metrics.json");
    for (at, image) in images.found.iter().enumerate() {
        let file = archive.original(image);
        let row: Vec<_> = rows[at + 1].split(',').collect();
        let known = [&*file, image.id(), "1", "cell", "external", "23.5625"];
        assert_eq!(row[..6], known, "{polygons}");
        assert_eq!(row[8], "0.75", "{polygons}");
        let number = |at: usize| row[at].parse::<f64>().expect("a number");
        let perimeter = 6.5 + 7.25 + 6.5_f64.hypot(7.25);
        assert!((number(6) - perimeter).abs() < 1e-6, "{polygons}");
        let circularity = 4.0 * std::f64::consts::PI * 23.5625 / perimeter.powi(2);
        assert!((number(7) - circularity).abs() < 1e-6, "{polygons}");
        let row: Vec<_> = images_rows[at + 1].split(',').collect();
        let known = [&*file, image.id(), "1", "0", "23.5625", "23.5625"];
        assert_eq!(row[..6], known, "{each}");
        let own = &all["images"][at];
        assert_eq!(own["imageId"], image.id(), "{all}");
        assert_eq!(own["polygons"][0]["area"], 23.5625, "{all}");
    }
}

/// Only what was chosen, in the forms that were chosen.
async fn selected(server: &Server, images: &Images) {
    let (scan, notes) = (&images.all[0], &images.all[1]);
    let chosen = [notes.0.id(), scan.0.id()];
    let options = json!({"selectedImageIds": chosen, "annotationFormats": ["yolo"]});
    let body = json!({"options": options, "projectName": "Two of them"});
    let (job, archive) = server.exported("default", &body).await;
    archive.expect_originals(&[(&scan.0, &scan.1), (&notes.0, &notes.1)]);
    let others = &archive.paths()[2..];
    let wanted = [
        "annotations/yolo/scan.txt",
        "annotations/yolo/classes.txt",
        "README.txt",
        "manifest.json",
    ];
    assert_eq!(others, wanted);
    let status = server.export_reaches(&job, "completed").await;
    assert_eq!(status["projectName"], "Two of them", "{status}");
    let options = json!({"includeOriginalImages": false, "metricsFormats": ["csv"]});
    let (_, archive) = server
        .exported("default", &json!({ "options": options }))
        .await;
    let wanted = [
        "metrics/metrics.csv",
        "metrics/images.csv",
        "README.txt",
        "manifest.json",
    ];
    assert_eq!(archive.paths(), wanted);
    let empty = server.project("Empty").await;
    let (_, archive) = server.exported(&empty, &everything()).await;
    archive.expect_originals(&[]);
    let warnings = archive.manifest()["warnings"].to_string();
    assert!(warnings.contains("no images to export"), "{warnings}");
}

async fn told(server: &Server) {
    server.large(24).await;
    let mut feed = Sse::open(server, "projectId=default", None).await;
    let started = start("default", &json!({"options": {}, "projectName": "Cells"}));
    let started = server.send(started).await.expect(200).json();
    assert!(started["message"].is_string(), "{started}");
    let job = crate::support::export::Job {
        project: "default".into(),
        id: started["jobId"].as_str().expect("a job").to_owned(),
    };
    expect_twice(&server.send(job.status()).await.expect(200).json());
    server
        .send(job.download())
        .await
        .expect_slug(409, "export-incomplete");
    server
        .send(job.token())
        .await
        .expect_slug(409, "export-incomplete");
    server.export_reaches(&job, "completed").await;
    let came = server.came(&mut feed).await;
    expect_life(&came, &job.id);
    let token = server.send(job.token()).await.expect(200).json();
    expect_twice(&token);
    let status = server.send(job.status()).await.expect(200).json();
    expect_twice(&status);
    expect_status(&status["data"], &job.id);

    let other = server.export("default", &originals()).await;
    server.export_reaches(&other, "completed").await;
    let history = "/api/projects/default/export/history";
    let listed = server.send(crate::support::queue::get(history)).await;
    let listed = listed.expect(200).json();
    let ids: Vec<_> = [&other.id, &job.id].map(|id| json!(id)).into();
    let found = listed["data"].as_array().expect("a list").iter();
    let found: Vec<_> = found.map(|job| job["id"].clone()).collect();
    assert_eq!(found, ids, "newest first: {listed}");
    assert_eq!(listed["data"][1], status["data"]);
    assert_eq!(listed["pagination"]["total"], 2, "{listed}");
    let paged = format!("{history}?page=2&limit=1");
    let listed = server.send(crate::support::queue::get(&paged)).await;
    assert_eq!(listed.expect(200).json()["data"][0]["id"], job.id);
}

/// Each member of `data` stands at the top level as well.
#[track_caller]
fn expect_twice(answer: &Value) {
    assert_eq!(answer["success"], true, "{answer}");
    let data = answer["data"].as_object().expect("data");
    assert!(!data.is_empty());
    for (name, value) in data {
        assert_eq!(answer[name], *value, "{name} of {answer}");
    }
}

#[track_caller]
fn expect_status(status: &Value, id: &str) {
    for (member, value) in [
        ("id", json!(id)),
        ("projectId", json!("default")),
        ("userId", json!("local")),
        ("state", json!("completed")),
        ("status", json!("completed")),
        ("stage", json!("completed")),
        ("progress", json!(100)),
        ("stageProgress", Value::Null),
        ("projectName", json!("Cells")),
        ("error", Value::Null),
        ("cancelReason", Value::Null),
        ("cancelledAt", Value::Null),
        ("downloadable", json!(true)),
    ] {
        assert_eq!(status[member], value, "{member} of {status}");
    }
    for member in ["createdAt", "startedAt", "completedAt", "expiresAt"] {
        assert!(status[member].is_string(), "{member} of {status}");
    }
    assert_eq!(status["completedAt"], status["finishedAt"]);
}

/// Queued, perhaps how far it is, and one end.
#[track_caller]
fn expect_life(came: &[Event], id: &str) {
    let of_it = format!("export/{id}");
    assert!(came.iter().all(|event| event.subject() == of_it));
    let told = kinds(came);
    let (first, last) = (told[0], told[told.len() - 1]);
    assert_eq!((first, last), ("export.queued", "export.completed"));
    let mut percent = 0;
    for event in &came[1..came.len() - 1] {
        assert_eq!(event.kind(), "export.progress", "{told:?}");
        assert_eq!(event.id, None, "it is live only");
        let data = &event.json["data"];
        assert_eq!(data["state"], "processing", "{data}");
        let now = data["progress"].as_u64().expect("a number");
        assert!((percent..100).contains(&now), "{percent}, then {data}");
        percent = now;
        let stages = ["planning", "images", "annotations", "compression"];
        assert!(stages.iter().any(|stage| data["stage"] == *stage), "{data}");
        assert!(data["stageProgress"]["total"].is_u64(), "{data}");
    }
    let data = &came[came.len() - 1].json["data"];
    for (member, value) in [
        ("id", json!(id)),
        ("state", json!("completed")),
        ("progress", json!(100)),
        ("warnings", json!([])),
    ] {
        assert_eq!(data[member], value, "{member} of {data}");
    }
    assert!(data["bytes"].is_u64(), "{data}");
}

/// Looking on disturbs nobody.
#[tokio::test]
async fn an_export_that_is_under_way_tells_how_far_it_is() {
    let server = Server::start(&[]).await;
    server.large(64).await;
    let job = server.export("default", &originals()).await;
    let seen = eventually("it is half way", async || {
        let found = server.send(job.status()).await.expect(200).json();
        assert!(found["finishedAt"].is_null(), "{found}");
        (found["progress"].as_u64() >= Some(20)).then_some(found)
    })
    .await;
    assert_eq!(seen["state"], "processing", "{seen}");
    assert_eq!(seen["stage"], "images", "{seen}");
    assert_eq!(seen["stageProgress"], json!({"current": 0, "total": 1}));
    assert_eq!(seen["size"], Value::Null, "{seen}");
    server.send(job.cancel()).await.expect(200);
}
