//! Compresses plotly.js as the crate `plotly` carries it, so that the program holds 1.2 MB instead of 6.8: the plain text, and a
//! formula renderer behind it that nothing here uses.

use std::path::PathBuf;
use std::{env, fs, io};

/// Size against time, of a compressor built without optimisation.
const COMPRESSION: i32 = 12;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let sources = plotly::Plot::offline_js_sources();
    let script = first_script(&sources)
        .ok_or_else(|| io::Error::other("the sources of the crate plotly hold no script"))?;
    let compressed = zstd::encode_all(script.as_bytes(), COMPRESSION)?;
    let folder = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    fs::write(PathBuf::from(folder).join("plotly.js.zst"), compressed)
}

/// The text inside the first `<script>`.
fn first_script(sources: &str) -> Option<&str> {
    let start = sources.find('>')? + 1;
    let rest = &sources[start..];
    let next = rest.rfind("<script")?;
    let end = rest[..next].rfind("</script>")?;
    Some(&rest[..end])
}
