//! Names with a number each: the classes, and the labels of a few records before their classes are known.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::notice::Notice;
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

/// Labels, and how often each came.
#[derive(Debug, Default)]
pub(super) struct Labels {
    names: Names,
    counts: Vec<usize>,
}

impl Labels {
    pub fn add(&mut self, label: &str) {
        let place = self.names.find(label).unwrap_or_else(|| {
            self.counts.push(0);
            self.names.add(label).0
        });
        self.counts[place as usize] += 1;
    }

    /// Different ones.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// The most frequent; of equally frequent ones those that came first.
    fn commonest(&self, most: usize) -> impl Iterator<Item = &Arc<str>> {
        let mut frequent: Vec<usize> = (0..self.len()).collect();
        frequent.sort_by_key(|place| Reverse(self.counts[*place]));
        frequent.truncate(most);
        frequent.into_iter().map(|place| &self.names.all()[place])
    }
}

/// The classes that are known.
pub(super) struct Classes {
    known: Names,
    /// While it is not empty, only these labels may become classes.
    expected: HashSet<Arc<str>>,
    /// That a label was refused for want of a place, once.
    told: bool,
    notice: Option<Notice>,
}

impl Classes {
    pub fn new(settings: &Settings, names: Vec<Arc<str>>) -> Self {
        debug_assert!(settings.classes.is_empty() || !names.is_empty());
        Self {
            known: Names::new(names),
            expected: HashSet::new(),
            told: false,
            notice: None,
        }
    }

    /// By their index.
    pub fn names(&self) -> &[Arc<str>] {
        self.known.all()
    }

    /// Of labels that are to come only the most frequent may become classes where not all can: those that hardly ever come must
    /// not take the places of the others. Answers how many are left without.
    pub fn expect(&mut self, labels: &Labels, settings: &Settings) -> usize {
        let room = settings.max_classes.saturating_sub(self.names().len());
        if !settings.classes.is_empty() || labels.len() <= room {
            return 0;
        }
        self.expected = labels.commonest(room).cloned().collect();
        labels.len() - room
    }

    /// From here on any label may become a class.
    pub fn expect_any(&mut self) {
        self.expected.clear();
    }

    /// The index of a label that may appear, if it did, or why it may not.
    pub fn known(&self, label: &str, settings: &Settings) -> Result<Option<u32>, Fault> {
        if let Some(class) = self.known.find(label) {
            return Ok(Some(class));
        }
        let shown = printable(label);
        let message = if !settings.classes.is_empty() {
            format!(
                "label \"{shown}\" is not in schema.classes; add it there or correct the record"
            )
        } else if self.names().len() >= settings.max_classes || !self.may_come(label) {
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

    fn may_come(&self, label: &str) -> bool {
        self.expected.is_empty() || self.expected.contains(label)
    }

    /// The index of a label, and its name when it is new.
    pub fn number(
        &mut self,
        label: &str,
        settings: &Settings,
    ) -> Result<(u32, Option<Arc<str>>), Fault> {
        match self.known(label, settings) {
            Ok(Some(class)) => return Ok((class, None)),
            Ok(None) => {}
            Err(fault) => {
                self.tell_once(label, settings);
                return Err(fault);
            }
        }
        let (class, name) = self.known.add(label);
        Ok((class, Some(name)))
    }
    /// The first label for which there is no place may be the rare class, of which one in a thousand records is: too few to be
    /// noticed among what is refused.
    fn tell_once(&mut self, label: &str, settings: &Settings) {
        if self.told || !settings.classes.is_empty() || !self.expected.is_empty() {
            return;
        }
        self.told = true;
        let message = format!(
            "label \"{}\" is refused, as is any other new one: {} classes are known, as many as schema.max_classes allows. If it is \
             a class, raise schema.max_classes and send its dead letters again; what was learned is kept",
            printable(label),
            self.names().len()
        );
        self.notice = Some(Notice::of_schema("max_classes", message));
    }

    /// What a person should know, since the last call.
    pub fn take_notice(&mut self) -> Option<Notice> {
        self.notice.take()
    }
}
