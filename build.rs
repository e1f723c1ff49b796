//! Turns `docs/openapi.yaml` into the JSON that the program serves, and `web/dist` into the table of
//! `src/page.rs`.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

const DOCUMENT: &str = "docs/openapi.yaml";
const PAGE: &str = "web/dist";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::var("OUT_DIR")?);
    document(&folder.join("openapi.json"))?;
    page(&folder)?;
    Ok(())
}

fn document(to: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={DOCUMENT}");
    // Its maps keep the order of what they were read from.
    let document: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string(DOCUMENT)?)?;
    fs::write(to, document.to_string())?;
    Ok(())
}

/// Writes `page.rs`, a slice of `File`, and the contents that it includes from beside it.
fn page(folder: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PAGE}");
    fs::create_dir_all(folder.join("page/assets"))?;
    // What is included is a copy, so that it is what the tag was made of.
    let write = |name: &str, bytes: &[u8]| -> io::Result<String> {
        fs::write(folder.join("page").join(name), bytes)?;
        let digest = Sha256::digest(bytes);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let tag = format!("\"{digest}\"");
        let bytes = format!("include_bytes!({:?})", format!("page/{name}"));
        Ok(format!("Content {{ bytes: {bytes}, etag: {tag:?} }}"))
    };
    let mut table = String::from("&[\n");
    for name in names()? {
        let path = name.strip_suffix("index.html").unwrap_or(&name);
        let plain = fs::read(Path::new(PAGE).join(&name))?;
        let gzip = gzip(&plain)?;
        let gzip = match worth_it(&plain, &gzip) {
            true => format!("Some({})", write(&format!("{name}.gz"), &gzip)?),
            false => String::from("None"),
        };
        let media_type = media_type(&name)?;
        let plain = write(&name, &plain)?;
        writeln!(
            table,
            "File {{ path: \"/{path}\", media_type: {media_type:?}, plain: {plain}, gzip: {gzip} }},"
        )?;
    }
    table.push(']');
    fs::write(folder.join("page.rs"), table)?;
    Ok(())
}

/// The files of the page, from its folder. Nothing would serve one that is anywhere else.
fn names() -> Result<Vec<String>, Box<dyn Error>> {
    let list = |folder: &str| -> io::Result<Vec<String>> {
        let entries = fs::read_dir(Path::new(PAGE).join(folder))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    let top = list("")?;
    if top != ["assets", "index.html"] {
        return Err(
            format!("{PAGE} has {top:?}, but only assets and index.html are served").into(),
        );
    }
    let assets = list("assets")?.into_iter();
    let assets = assets.map(|name| format!("assets/{name}"));
    Ok(assets.chain([String::from("index.html")]).collect())
}

fn media_type(name: &str) -> Result<&'static str, String> {
    Ok(
        match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
            "css" => "text/css; charset=utf-8",
            "html" => "text/html; charset=utf-8",
            "js" | "mjs" => "text/javascript; charset=utf-8",
            "json" => "application/json",
            "png" => "image/png",
            "svg" => "image/svg+xml",
            "txt" => "text/plain; charset=utf-8",
            "wasm" => "application/wasm",
            "webmanifest" => "application/manifest+json",
            "webp" => "image/webp",
            "woff2" => "font/woff2",
            _ => {
                return Err(format!(
                    "{PAGE}/{name}: build.rs knows no media type for it"
                ));
            }
        },
    )
}

/// The same for the same content: without a name, and without a time.
fn gzip(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}

/// What is compressed already, or small, would only have to be unpacked.
fn worth_it(content: &[u8], gzip: &[u8]) -> bool {
    content.len() > gzip.len() + 64 + content.len() / 10
}
