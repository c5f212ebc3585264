//! Settings of the model.

use serde::{Deserialize, Serialize};

/// Largest width and number of hidden layers that are accepted; beyond is a slip of the keyboard.
const MAX_WIDTH: usize = 65_536;
const MAX_LAYERS: usize = 16;

/// Which architecture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Softmax regression; starts at zero.
    Linear,
    /// Hidden layers with ReLU.
    #[default]
    Mlp,
}

/// Settings of the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which architecture.
    pub kind: Kind,
    /// Widths of the hidden layers of an MLP, from the input on; a linear model has none and ignores this.
    pub hidden: Vec<usize>,
    /// Whether each number also comes in pieces between its quantiles; needs `schema.encoding = "robust"`.
    pub pieces: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kind: Kind::Mlp,
            hidden: vec![64, 64],
            pieces: false,
        }
    }
}

impl Settings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The key and what to put there.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |reason: String| Err(("hidden".to_owned(), reason));
        if self.kind == Kind::Linear {
            return Ok(());
        }
        if self.hidden.is_empty() {
            return wrong(
                "an mlp needs a hidden layer: give widths such as [64, 64], or kind = \"linear\""
                    .to_owned(),
            );
        }
        if self.hidden.len() > MAX_LAYERS {
            return wrong(format!(
                "{} hidden layers are too many: at most {MAX_LAYERS}",
                self.hidden.len()
            ));
        }
        match self
            .hidden
            .iter()
            .find(|width| !(1..=MAX_WIDTH).contains(*width))
        {
            Some(width) => wrong(format!(
                "{width} is no width of a layer: give 1 to {MAX_WIDTH}"
            )),
            None => Ok(()),
        }
    }

    /// The hidden widths that are in force.
    pub(super) fn hidden_widths(&self) -> &[usize] {
        match self.kind {
            Kind::Linear => &[],
            Kind::Mlp => &self.hidden,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mlp_needs_sensible_widths_and_a_linear_model_none() {
        let check = |kind, hidden: &[usize]| {
            let hidden = hidden.to_vec();
            Settings {
                kind,
                hidden,
                pieces: false,
            }
            .check()
        };
        assert!(Settings::default().check().is_ok());
        assert!(check(Kind::Linear, &[]).is_ok());
        for bad in [&[][..], &[64, 0], &[1_000_000], &[1; 17]] {
            let (key, reason) = check(Kind::Mlp, bad).unwrap_err();
            assert_eq!(key, "hidden");
            assert!(!reason.is_empty());
        }
    }
}
