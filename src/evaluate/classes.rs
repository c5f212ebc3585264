//! Figures per class, in the order the classes joined, and which classes count as rare.

use std::sync::Arc;

use serde::{Serialize, Serializer};

/// One value a class, in class order; serialises as a map from class name to value.
///
/// ```
/// use skewd::evaluate::PerClass;
/// let recall = PerClass::new(&["ok".into(), "fraud".into()], vec![Some(0.9), None]);
/// assert_eq!(serde_json::to_string(&recall).unwrap(), r#"{"ok":0.9,"fraud":null}"#);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PerClass<T>(pub Vec<(Arc<str>, T)>);

impl<T> Default for PerClass<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> PerClass<T> {
    /// Pairs names with values, both in class order; what is left over on either side is dropped.
    #[must_use]
    pub fn new(names: &[Arc<str>], values: Vec<T>) -> Self {
        Self(names.iter().cloned().zip(values).collect())
    }

    /// The value of a class by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0
            .iter()
            .find(|(class, _)| &**class == name)
            .map(|(_, value)| value)
    }

    /// The values in class order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }
}

impl<T: Serialize> Serialize for PerClass<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (&**name, value)))
    }
}

/// The share of the examples below which a class is rare, where there are more than two.
const RARE_SHARE: f64 = 0.05;

/// Which classes are rare, given the examples of each: of two present classes the smaller; of more, all
/// below 5 % of the examples, or the smallest where none is. Among equals the one that joined last.
///
/// Classes without examples do not count: nothing can be measured on them.
///
/// ```
/// use skewd::evaluate::rare_classes;
/// assert_eq!(rare_classes(&[60, 40]), [1]);
/// assert_eq!(rare_classes(&[3, 940, 0, 57, 1]), [0, 4]);
/// assert_eq!(rare_classes(&[30, 40, 30]), [2]);
/// assert!(rare_classes(&[0, 0]).is_empty());
/// ```
#[must_use]
pub fn rare_classes(examples: &[u64]) -> Vec<usize> {
    let total: u64 = examples.iter().sum();
    let present = || (0..examples.len()).filter(|&class| examples[class] > 0);
    let Some(smallest) = present().min_by_key(|&class| (examples[class], usize::MAX - class))
    else {
        return Vec::new();
    };
    let below: Vec<usize> = present()
        .filter(|&class| (examples[class] as f64) < RARE_SHARE * total as f64)
        .collect();
    if present().count() == 2 || below.is_empty() {
        vec![smallest]
    } else {
        below
    }
}
