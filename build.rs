//! Turns `docs/openapi.yaml` into the JSON that the program serves.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

const PAGE: &str = "docs/openapi.yaml";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PAGE}");
    // Its maps keep the order of what they were read from.
    let document: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(PAGE)?)?;
    let folder = env::var("OUT_DIR")?;
    fs::write(
        Path::new(&folder).join("openapi.json"),
        document.to_string(),
    )?;
    Ok(())
}
