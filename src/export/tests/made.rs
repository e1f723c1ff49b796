//! What an archive has, by its table of contents.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::zip::contents;
use super::*;

/// Exports a project and returns what its archive has.
async fn exported(world: &World, project: &str, caller: &Caller) -> BTreeMap<String, Vec<u8>> {
    let job = world.start(project, caller).await.unwrap();
    let job = super::races::end(world, &job, caller).await;
    assert_eq!(job.state, State::Completed, "{job:?}");
    let shard = world.dir.path().join("blobs").join(&job.id[..2]);
    contents(&std::fs::read(shard.join(&job.id)).unwrap())
}

/// What loads a data set finds the label of an image by the image's name.
#[tokio::test]
async fn each_label_is_called_like_its_image_and_like_no_other() {
    let (_dir, db) = empty_sqlite().await;
    let world = World::new(db, 1).await;
    let caller = Caller::named("ada");
    let project = world.project(&caller).await;
    let images = [
        ("a.png", true),
        ("a.tif", true),
        ("A.TIF", true),
        ("a (2).tif", true),
        ("b.png", false),
        ("b.tif", true),
        ("classes.png", true),
        ("noext", true),
        (".hidden", true),
    ];
    let mut labelled = BTreeSet::new();
    for (name, has_result) in images {
        let id = world.shelf.put(&project, name, name, has_result);
        if has_result {
            labelled.insert(id);
        }
    }
    let found = exported(&world, &project, &caller).await;
    let manifest: Value = serde_json::from_slice(&found["manifest.json"]).unwrap();
    let entries = manifest["entries"].as_array().unwrap();
    let of = |directory: &str| {
        let stems = entries.iter().filter_map(|entry| {
            let name = entry["path"].as_str().unwrap().strip_prefix(directory)?;
            let source = entry["sourceId"].as_str()?.to_owned();
            let (stem, _) = super::super::names::split(name);
            Some((source, stem.to_owned()))
        });
        stems.collect::<BTreeMap<_, _>>()
    };
    let (stems, labels) = (of("images/"), of("annotations/yolo/"));
    assert_eq!(stems.len(), images.len());
    let different: BTreeSet<_> = stems.values().map(|stem| stem.to_lowercase()).collect();
    assert_eq!(different.len(), stems.len(), "{stems:?}");
    assert_eq!(labels.keys().cloned().collect::<BTreeSet<_>>(), labelled);
    for (id, stem) in &labels {
        assert_eq!(stem, &stems[id]);
    }
    assert_eq!(found["annotations/yolo/classes.txt"], b"cell\n");
    world.stop().await;
}
