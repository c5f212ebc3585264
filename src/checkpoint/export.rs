//! The parameters of a checkpoint for other programs.

use std::fs;
use std::io;
use std::path::Path;

use super::{Checkpoint, Error, at};
use crate::state::Blob;

/// Writes the parameters as a safetensors file: `layer.000.weight` (`[outputs, inputs]`), `layer.000.bias`, …; the
/// header's metadata name the examples and the digest.
///
/// # Errors
/// When it cannot be written.
pub fn export_safetensors(checkpoint: &Checkpoint, path: &Path) -> Result<(), Error> {
    let parameters: Vec<(String, Vec<usize>, Vec<u8>)> = checkpoint
        .state
        .blobs
        .iter()
        .filter_map(|(name, blob)| match blob {
            Blob::F32 { shape, .. } => {
                Some((parameter_name(name)?, shape.clone(), blob.to_le_bytes()))
            }
            _ => None,
        })
        .collect();
    let mut views = Vec::new();
    for (name, shape, bytes) in &parameters {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        views.push((
            name,
            view.map_err(|error| at(path)(io::Error::other(error)))?,
        ));
    }
    let facts = [
        ("format", "skewd".to_owned()),
        ("examples", checkpoint.examples.to_string()),
        ("digest", checkpoint.digest.clone()),
        (
            "classes",
            checkpoint
                .state
                .text("classes")
                .unwrap_or_default()
                .to_owned(),
        ),
        (
            "schema",
            checkpoint
                .state
                .text("schema")
                .unwrap_or_default()
                .to_owned(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let bytes = safetensors::serialize(views, Some(facts.into_iter().collect()))
        .map_err(|error| at(path)(io::Error::other(error)))?;
    fs::write(path, bytes).map_err(at(path))
}

/// `model.layer.000.weight` is a parameter; momentum is not.
fn parameter_name(name: &str) -> Option<String> {
    let inner = name.strip_prefix("model.")?;
    let (layer, what) = inner.strip_prefix("param.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    Some(format!("layer.{layer:03}.{what}"))
}
