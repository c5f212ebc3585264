//! The parameters of a checkpoint for other programs.

use std::fs;
use std::io;
use std::path::Path;

use super::{Checkpoint, Error, at};
use crate::state::{Blob, State};

/// Writes the parameters as a safetensors file: `layer.000.weight` (`[outputs, inputs]`), `layer.000.bias`, …, in a
/// portfolio with the name of the member before them; the header's metadata name the examples and the digest. Weights by inputs
/// that are left out of a model are 0: so it predicts.
///
/// # Errors
/// When it cannot be written.
pub fn export_safetensors(checkpoint: &Checkpoint, path: &Path) -> Result<(), Error> {
    let parameters: Vec<(String, Vec<usize>, Vec<u8>)> = checkpoint
        .state
        .blobs
        .iter()
        .filter_map(|(name, blob)| match blob {
            Blob::F32 { shape, values } => {
                let parameter = parameter_name(name)?;
                let values = as_it_predicts(&checkpoint.state, name, shape, values.clone());
                let bytes = values.iter().flat_map(|value| value.to_le_bytes());
                Some((parameter, shape.clone(), bytes.collect()))
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

/// The values of a parameter, those by inputs that its model leaves out 0.
fn as_it_predicts(state: &State, name: &str, shape: &[usize], mut values: Vec<f32>) -> Vec<f32> {
    let Some(owner) = name.strip_suffix("model.param.000.weight") else {
        return values;
    };
    // An average has the inputs of its member.
    let owner = owner.strip_suffix("average.").unwrap_or(owner);
    if let (Ok(left_out), [_, inputs]) = (state.u64(&format!("{owner}model.left_out")), shape) {
        for row in values.chunks_exact_mut((*inputs).max(1)) {
            for input in left_out {
                if let Some(value) = row.get_mut(*input as usize) {
                    *value = 0.0;
                }
            }
        }
    }
    values
}

/// What a parameter is called: `layer.000.weight` of a single learner, `NAME.layer.000.weight` of a member of a portfolio,
/// `NAME-average.layer.000.weight` of its average. Momentum and the guard's copies are no parameters.
fn parameter_name(name: &str) -> Option<String> {
    let (owner, inner) = name.split_once("model.param.")?;
    let (layer, what) = inner.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let parameter = format!("layer.{layer:03}.{what}");
    if owner.is_empty() {
        return Some(parameter);
    }
    if owner == "average." {
        return Some(format!("average.{parameter}"));
    }
    let member = owner.strip_prefix("member.")?.strip_suffix('.')?;
    match member.strip_suffix(".average") {
        Some(member) => Some(format!("{member}-average.{parameter}")),
        None if member.ends_with("guard.good") => None,
        None => Some(format!("{member}.{parameter}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_by_inputs_that_are_left_out_are_zero_in_the_average_too() {
        let mut state = State::default();
        state.put_u64("member.a.model.left_out", vec![1, 9]);
        let values = |name: &str| as_it_predicts(&state, name, &[2, 3], vec![1.0; 6]);
        let narrow = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0];
        assert_eq!(values("member.a.model.param.000.weight"), narrow);
        assert_eq!(values("member.a.average.model.param.000.weight"), narrow);
        for other in [
            "member.a.model.param.001.weight",
            "member.b.model.param.000.weight",
        ] {
            assert_eq!(values(other), [1.0; 6], "{other}");
        }
    }

    #[test]
    fn parameters_are_named_after_their_learner() {
        for (name, wanted) in [
            ("model.param.000.weight", Some("layer.000.weight")),
            (
                "average.model.param.001.bias",
                Some("average.layer.001.bias"),
            ),
            (
                "member.sgd.model.param.000.weight",
                Some("sgd.layer.000.weight"),
            ),
            (
                "member.sgd.average.model.param.000.weight",
                Some("sgd-average.layer.000.weight"),
            ),
            ("member.sgd.guard.good.model.param.000.weight", None),
            ("guard.good.model.param.000.weight", None),
            ("model.momentum.000.weight", None),
        ] {
            assert_eq!(parameter_name(name).as_deref(), wanted, "{name}");
        }
    }
}
