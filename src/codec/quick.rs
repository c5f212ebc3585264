//! The usual JSON record, read without a detour: names in the order of the record before, numbers, plain texts.
//!
//! Whatever is out of the ordinary (an escape, a nested value, a fault of syntax, a number of the wrong type) gives `None`,
//! and the record is read again by [`super::json`], which is the reference: what is found here is what it finds, to the
//! bit. No fault is ever reported from here, and nothing is allocated.

use super::found::Found;
use super::number::number;
use super::plan::{Leaf, Plan, Spelling, Which};
use super::reject::Place;
use super::scratch::{Known, Scratch};
use super::settings::Format;
use super::value::{Value, looks_like_number};

/// One record, if it is a usual one. `envelope` is a guess of what it is.
pub(super) fn record<'a>(
    plan: &Plan,
    scratch: &mut Scratch,
    bytes: &'a [u8],
    envelope: bool,
) -> Option<Found<'a>> {
    let which = match plan.format {
        Format::Flat | Format::Csv => Which::Flat,
        Format::Envelope => Which::Envelope,
        Format::Auto if envelope => Which::Envelope,
        Format::Auto => Which::Flat,
    };
    scratch.begin(plan);
    let mut reader = Reader {
        plan,
        scratch,
        found: Found::new(),
        envelope: false,
        bytes,
    };
    let at = take(bytes, blank(bytes, 0), b'{')?;
    let at = blank(bytes, reader.object(which, at)?);
    let sound = at == bytes.len()
        && reader.found.fault.is_none()
        && reader.envelope == (which == Which::Envelope)
        && !reader.scratch.unknown_twice();
    sound.then_some(reader.found)
}

/// One row of a prediction request, into the scratch, if it is a usual one: an array or an object of numbers and plain texts.
pub(super) fn row(plan: &Plan, scratch: &mut Scratch, text: &str) -> Option<()> {
    scratch.begin(plan);
    let bytes = text.as_bytes();
    let mut reader = Reader {
        plan,
        scratch,
        found: Found::new(),
        envelope: false,
        bytes,
    };
    let at = blank(bytes, 0);
    let at = reader.features(Which::Envelope, at)?;
    let sound = blank(bytes, at) == bytes.len()
        && reader.found.fault.is_none()
        && !reader.scratch.unknown_twice();
    sound.then_some(())
}

// A place in the text is handed in and out by value, so that it stays in a register. Whatever is stepped over is ASCII or
// was looked at by `plain_text`: the whole is UTF-8.

/// Steps over white space: none or one space, most often.
#[inline(always)]
fn blank(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(b'!'..) => at,
        Some(b' ') if bytes.get(at + 1).is_some_and(|byte| *byte > b' ') => at + 1,
        _ => long_blank(bytes, at),
    }
}

#[inline(never)]
fn long_blank(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

#[inline(always)]
fn take(bytes: &[u8], at: usize, byte: u8) -> Option<usize> {
    (*bytes.get(at)? == byte).then_some(at + 1)
}

/// True when another element follows, false when the list has ended.
#[inline(always)]
fn more(bytes: &[u8], at: usize, end: u8) -> Option<(bool, usize)> {
    let mut at = at;
    if *bytes.get(at)? != b',' {
        at = blank(bytes, at);
        if *bytes.get(at)? == end {
            return Some((false, at + 1));
        }
    }
    take(bytes, at, b',').map(|at| (true, blank(bytes, at)))
}

/// A text in quotes that means what it says: no escape, and none of the bytes that JSON forbids.
fn plain_text(bytes: &[u8], at: usize) -> Option<(&str, usize)> {
    let begin = take(bytes, at, b'"')?;
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let end = begin + bytes[begin..].iter().position(special)?;
    let text = std::str::from_utf8(&bytes[begin..end]).ok()?;
    take(bytes, end, b'"').map(|after| (text, after))
}

/// A text without escapes, or any other scalar.
fn scalar(bytes: &[u8], at: usize) -> Option<(Value<'_>, usize)> {
    let rest = bytes.get(at..)?;
    let (word, value) = match rest.first()? {
        b'"' => {
            let (text, at) = plain_text(bytes, at)?;
            return Some((Value::Text(text.into()), at));
        }
        b'n' => ("null", Value::Null),
        b't' => ("true", Value::Bool(true)),
        b'f' => ("false", Value::Bool(false)),
        _ => {
            let literal = literal(rest)?;
            (literal, Value::Number(literal))
        }
    };
    rest.starts_with(word.as_bytes())
        .then_some((value, at + word.len()))
}

/// The literal of a number, unless no f64 can hold it: that is a fault of the whole record.
fn literal(rest: &[u8]) -> Option<&str> {
    let of_number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
    let length = rest.iter().take_while(of_number).count();
    let literal = std::str::from_utf8(&rest[..length]).ok()?;
    let sound = looks_like_number(literal) && literal.parse::<f64>().ok()?.is_finite();
    sound.then_some(literal)
}

/// The record that is being read.
struct Reader<'s, 'a> {
    plan: &'s Plan,
    scratch: &'s mut Scratch,
    found: Found<'a>,
    /// Features were met, by name or by position.
    envelope: bool,
    bytes: &'a [u8],
}

impl<'a> Reader<'_, 'a> {
    /// The fields of an object, from behind its brace to behind its end.
    fn object(&mut self, which: Which, at: usize) -> Option<usize> {
        let plan = self.plan;
        let bytes = self.bytes;
        let table = plan.table(which);
        let mut at = blank(bytes, at);
        if let Some(end) = take(bytes, at, b'}') {
            return Some(end);
        }
        loop {
            let rest = bytes.get(at..)?;
            let end = match self.scratch.expect(table, which, rest) {
                Some(name) => {
                    let value = blank(bytes, at + name.length);
                    let found = match name.number {
                        Spelling::OTHER => None,
                        feature => self.number(feature, value),
                    };
                    match found {
                        Some(end) => end,
                        None => self.field(which, name.index, value)?,
                    }
                }
                None => self.unexpected(which, at)?,
            };
            let (goes_on, next) = more(bytes, end, b'}')?;
            at = next;
            if !goes_on {
                return Some(at);
            }
        }
    }

    /// Puts the number at `at` into the row; the place behind it.
    #[inline(always)]
    fn number(&mut self, feature: u32, at: usize) -> Option<usize> {
        let number = number(self.bytes.get(at..)?)?;
        *self.scratch.row.get_mut(feature as usize)? = number.value;
        Some(at + number.length)
    }

    /// A name that did not stand here last time, and its value.
    #[inline(never)]
    fn unexpected(&mut self, which: Which, at: usize) -> Option<usize> {
        let (name, at) = plain_text(self.bytes, at)?;
        let at = take(self.bytes, blank(self.bytes, at), b':')?;
        let value = blank(self.bytes, at);
        match self.scratch.know(self.plan, which, name) {
            Known::Entry(index) => self.field(which, index, value),
            Known::Unknown => {
                self.found.unknown += 1;
                Some(scalar(self.bytes, value)?.1)
            }
            Known::Twice => None,
        }
    }

    /// The value of a name that the plan knows.
    #[inline(never)]
    fn field(&mut self, which: Which, index: usize, at: usize) -> Option<usize> {
        let entry = &self.plan.table(which).entries[index];
        if entry.envelope {
            return self.features(which, at);
        }
        self.value(entry.leaf?, at, || Place::Field(entry.name.to_string()))
    }

    fn value(&mut self, leaf: Leaf, at: usize, place: impl FnOnce() -> Place) -> Option<usize> {
        if let Leaf::Numeric(feature) = leaf
            && let Some(end) = self.number(feature, at)
        {
            return Some(end);
        }
        let (value, at) = scalar(self.bytes, at)?;
        let row = &mut self.scratch.row;
        self.found.put(self.plan, row, leaf, value, place);
        Some(at)
    }

    /// The features of an envelope.
    fn features(&mut self, which: Which, at: usize) -> Option<usize> {
        if which != Which::Envelope {
            return None;
        }
        self.envelope = true;
        match self.bytes.get(at)? {
            b'{' => self.object(Which::Features, at + 1),
            b'[' => self.array(at + 1),
            _ => None,
        }
    }

    /// One element for each feature of the schema, from behind the bracket to behind the array's end.
    fn array(&mut self, at: usize) -> Option<usize> {
        let plan = self.plan;
        let bytes = self.bytes;
        let (mut at, mut goes_on) = (blank(bytes, at), true);
        for (index, target) in plan.targets.iter().enumerate() {
            if !goes_on {
                return None;
            }
            let found = match target.leaf {
                Leaf::Numeric(feature) => self.number(feature, at),
                _ => None,
            };
            let place = || Place::Element(index, target.name.to_string());
            let end = match found {
                Some(end) => end,
                None => self.value(target.leaf, at, place)?,
            };
            (goes_on, at) = more(bytes, end, b']')?;
        }
        // More elements than features, or no feature is known.
        (!goes_on).then_some(at)
    }
}
