//! JSON records and rows, read as a stream: no tree is built, unknown values are only checked.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Deserializer, Error};

use super::found::Found;
use super::json_value::{Cell, Number, Skip, twice};
use super::plan::{Leaf, Plan, Which};
use super::reject::{Fault, Place, Reason, printable};
use super::scratch::{Known, Scratch};
use super::value::Value;

/// Takes any scalar; what is done with all but `null` follows.
macro_rules! scalars {
    (|$self:ident| $act:expr) => {
        fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
            Ok(())
        }

        fn visit_bool<E: serde::de::Error>($self, _: bool) -> Result<(), E> {
            $act;
            Ok(())
        }

        fn visit_i64<E: serde::de::Error>($self, _: i64) -> Result<(), E> {
            $act;
            Ok(())
        }

        fn visit_u64<E: serde::de::Error>($self, _: u64) -> Result<(), E> {
            $act;
            Ok(())
        }

        fn visit_f64<E: serde::de::Error>($self, _: f64) -> Result<(), E> {
            $act;
            Ok(())
        }

        fn visit_str<E: serde::de::Error>($self, _: &str) -> Result<(), E> {
            $act;
            Ok(())
        }
    };
}

pub(super) fn syntax(error: &Error) -> Fault {
    Fault::whole(Reason::Syntax, format!("not valid JSON: {error}"))
}

/// The decoding of one record.
pub(super) struct Session<'s, 'a> {
    plan: &'s Plan,
    scratch: &'s mut Scratch,
    pub found: Found<'a>,
    /// The top-level `features` is an array or object.
    pub envelope: bool,
    /// Where a number stood that no f64 can hold.
    out_of_range: Place,
}

impl<'s, 'a> Session<'s, 'a> {
    pub fn new(plan: &'s Plan, scratch: &'s mut Scratch) -> Self {
        Self {
            plan,
            scratch,
            found: Found::new(),
            envelope: false,
            out_of_range: Place::Whole,
        }
    }

    /// The end of the text was reached, or an error.
    pub fn finish(self, result: Result<(), Error>, text: &str) -> Result<Found<'a>, Fault> {
        match result {
            Ok(()) if self.scratch.unknown_twice() => {
                let name =
                    twice(text).map_or_else(|| "a field".to_owned(), |name| printable(&name));
                Err(Fault::whole(
                    Reason::Syntax,
                    format!("not valid: {name} appears twice"),
                ))
            }
            Ok(()) => Ok(self.found),
            // The only error of a valid document: serde_json tells it from others by its words alone.
            Err(error) if error.to_string().starts_with("number out of range") => Err(Fault {
                reason: Reason::NonFinite,
                place: self.out_of_range,
                message: "a number beyond every float; send a smaller number or null".to_owned(),
            }),
            Err(error) => Err(syntax(&error)),
        }
    }

    /// Puts the outcome of a numeric feature into the row.
    #[inline]
    fn number(&mut self, index: u32, cell: Cell, place: impl FnOnce() -> Place) {
        match cell {
            Ok(number) => self.scratch.row[index as usize] = number,
            Err(complaint) => self.found.no_number(self.plan, index, complaint, place),
        }
    }

    /// Puts a value that is still text where its entry says.
    fn raw(&mut self, which: Which, index: usize, raw: &'a str) -> Result<(), Error> {
        let plan = self.plan;
        let entry = &plan.table(which).entries[index];
        if entry.branch && raw.starts_with('{') {
            let branch = Branch(self, which, index);
            return branch.deserialize(&mut Deserializer::from_str(raw));
        }
        let value = Value::of_json(raw)?;
        match entry.leaf {
            Some(leaf) => {
                let place = || Place::Field(entry.name.to_string());
                self.found
                    .put(plan, &mut self.scratch.row, leaf, value, place);
            }
            None if value == Value::Null => {}
            None => self.found.unknown += 1,
        }
        Ok(())
    }
}

/// An object whose fields the plan knows or does not.
pub(super) struct Object<'v, 's, 'a> {
    pub session: &'v mut Session<'s, 'a>,
    pub which: Which,
}

impl<'a> Visitor<'a> for Object<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(mut self, mut map: M) -> Result<(), M::Error> {
        loop {
            let key = Key {
                plan: self.session.plan,
                scratch: &mut *self.session.scratch,
                which: self.which,
            };
            match map.next_key_seed(key)? {
                None => return Ok(()),
                Some(Some(index)) => self.field(index, &mut map)?,
                Some(None) => {
                    self.session.found.unknown += 1;
                    map.next_value_seed(Skip)?;
                }
            }
        }
    }
}

impl<'a> Object<'_, '_, 'a> {
    #[inline]
    fn field<M: MapAccess<'a>>(&mut self, index: usize, map: &mut M) -> Result<(), M::Error> {
        let plan = self.session.plan;
        let entry = &plan.table(self.which).entries[index];
        let place = || Place::Field(entry.name.to_string());
        match entry.leaf {
            Some(Leaf::Numeric(feature)) if !entry.branch && !entry.envelope => {
                let cell = map
                    .next_value_seed(Number)
                    .inspect_err(|_| self.session.out_of_range = place())?;
                self.session.number(feature, cell, place);
                Ok(())
            }
            _ if entry.envelope && self.which == Which::Envelope => {
                map.next_value_seed(Features(self.session))
            }
            None if !entry.envelope => map.next_value_seed(Branch(self.session, self.which, index)),
            _ => {
                let raw = map.next_value::<&'a RawValue>()?.get();
                if entry.envelope && raw.starts_with(['[', '{']) {
                    return Err(M::Error::custom("an envelope, not a flat record"));
                }
                self.session
                    .raw(self.which, index, raw)
                    .map_err(M::Error::custom)
            }
        }
    }
}

/// The features of an envelope, or a row: by position or by name.
pub(super) struct Features<'v, 's, 'a>(pub &'v mut Session<'s, 'a>);

impl<'a> DeserializeSeed<'a> for Features<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Features<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, map: M) -> Result<(), M::Error> {
        self.0.envelope = true;
        let which = Which::Features;
        Object {
            session: self.0,
            which,
        }
        .visit_map(map)
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<(), S::Error> {
        let session = self.0;
        session.envelope = true;
        let plan = session.plan;
        let targets = &plan.targets;
        for (index, target) in targets.iter().enumerate() {
            let place = || Place::Element(index, target.name.to_string());
            let more = match target.leaf {
                Leaf::Numeric(feature) => seq
                    .next_element_seed(Number)
                    .inspect_err(|_| session.out_of_range = place())?
                    .map(|cell| session.number(feature, cell, place)),
                leaf => match seq.next_element::<&'a RawValue>()? {
                    None => None,
                    Some(raw) => {
                        let value = Value::of_json(raw.get()).map_err(S::Error::custom)?;
                        session
                            .found
                            .put(plan, &mut session.scratch.row, leaf, value, place);
                        Some(())
                    }
                },
            };
            if more.is_none() {
                session.dimension(index);
                return Ok(());
            }
        }
        let mut length = targets.len();
        while seq.next_element_seed(Skip)?.is_some() {
            length += 1;
        }
        if plan.has_schema && length != targets.len() {
            session.dimension(length);
        }
        Ok(())
    }

    // A scalar is no features: the record is no envelope then.
    scalars!(|self| {});
}

/// An object of which only some names are wanted, at an entry of a table.
struct Branch<'v, 's, 'a>(&'v mut Session<'s, 'a>, Which, usize);

impl<'a> DeserializeSeed<'a> for Branch<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Branch<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, map: M) -> Result<(), M::Error> {
        let Self(session, which, index) = self;
        let path = &mut session.scratch.path;
        let parent = path.len();
        path.clear();
        path.push_str(&session.plan.table(which).entries[index].name);
        path.push('.');
        let object = Object {
            session: &mut *session,
            which,
        };
        object.visit_map(map)?;
        session.scratch.path.truncate(parent);
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut seq: S) -> Result<(), S::Error> {
        self.0.found.unknown += 1;
        while seq.next_element_seed(Skip)?.is_some() {}
        Ok(())
    }

    // A scalar where names below were wanted: they are absent.
    scalars!(|self| self.0.found.unknown += 1);
}

impl Session<'_, '_> {
    /// Another number of features than the schema has: said first, for no element is where it belongs then.
    #[cold]
    fn dimension(&mut self, length: usize) {
        let wanted = self.plan.targets.len();
        self.found.fault = Some(Fault::whole(
            Reason::Dimension,
            format!(
                "{length} features where the schema has {wanted}; send one value each, null for none"
            ),
        ));
    }
}

/// A field's name: its entry, or `None` when it is unknown.
struct Key<'k> {
    plan: &'k Plan,
    scratch: &'k mut Scratch,
    which: Which,
}

impl<'a> DeserializeSeed<'a> for Key<'_> {
    type Value = Option<usize>;

    #[inline]
    fn deserialize<D: serde::Deserializer<'a>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    #[inline]
    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Self::Value, E> {
        match self.scratch.know(self.plan, self.which, key) {
            Known::Entry(index) => Ok(Some(index)),
            Known::Unknown => Ok(None),
            Known::Twice => Err(E::custom(format_args!(
                "field {} appears twice",
                printable(key)
            ))),
        }
    }
}
