//! Names with a number each: the classes, and the labels of a few records before their classes are known.

use std::collections::HashMap;
use std::sync::Arc;

use super::reject::{Fault, Reason, printable};
use super::settings::Settings;

/// So many names are compared with one after the other before they are looked up.
const FEW: usize = 4;

/// Names in the order of their number.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, u32>,
}

impl Names {
    pub fn new(names: Vec<Arc<str>>) -> Self {
        let by_name = names.iter().cloned().zip(0..).collect();
        Self { names, by_name }
    }

    pub fn all(&self) -> &[Arc<str>] {
        &self.names
    }

    /// The number of a name.
    pub fn find(&self, name: &str) -> Option<u32> {
        let mut first = self.names.iter().take(FEW);
        if let Some(number) = first.position(|known| **known == *name) {
            return Some(number as u32);
        }
        if self.names.len() <= FEW {
            return None;
        }
        self.by_name.get(name).copied()
    }

    /// Adds a name that is not there.
    pub fn add(&mut self, name: &str) -> (u32, Arc<str>) {
        let (number, name) = (self.names.len() as u32, Arc::<str>::from(name));
        self.names.push(Arc::clone(&name));
        self.by_name.insert(Arc::clone(&name), number);
        (number, name)
    }
}

/// The classes that are known.
pub(super) struct Classes(Names);

impl Classes {
    pub fn new(settings: &Settings, names: Vec<Arc<str>>) -> Self {
        debug_assert!(settings.classes.is_empty() || !names.is_empty());
        Self(Names::new(names))
    }

    /// By their index.
    pub fn names(&self) -> &[Arc<str>] {
        self.0.all()
    }

    /// The index of a label that may appear, if it did, or why it may not.
    pub fn known(&self, label: &str, settings: &Settings) -> Result<Option<u32>, Fault> {
        if let Some(class) = self.0.find(label) {
            return Ok(Some(class));
        }
        let shown = printable(label);
        let message = if !settings.classes.is_empty() {
            format!(
                "label \"{shown}\" is not in schema.classes; add it there or correct the record"
            )
        } else if self.names().len() >= settings.max_classes {
            let most = settings.max_classes;
            format!(
                "label \"{shown}\" would be class {} of at most {most}; raise schema.max_classes",
                most + 1
            )
        } else {
            return Ok(None);
        };
        Err(Fault::whole(Reason::LabelUnknown, message))
    }

    /// The index of a label, and its name when it is new.
    pub fn number(
        &mut self,
        label: &str,
        settings: &Settings,
    ) -> Result<(u32, Option<Arc<str>>), Fault> {
        if let Some(class) = self.known(label, settings)? {
            return Ok((class, None));
        }
        let (class, name) = self.0.add(label);
        Ok((class, Some(name)))
    }
}
