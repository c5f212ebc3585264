//! JSON records and rows: which object is what.

use serde::de::{DeserializeSeed, Deserializer as _};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::found::Found;
use super::json_value::shallow;
use super::json_walk::{Features, Object, Session, syntax};
use super::plan::{Plan, Which};
use super::reject::{Fault, Place, Reason, printable};
use super::scratch::Scratch;
use super::settings::Format;

/// One record: its text as one object, flat or an envelope.
///
/// `envelope` is a guess of what the record is and becomes what it was; the result does not depend on it.
pub(super) fn record<'a>(
    plan: &Plan,
    scratch: &mut Scratch,
    text: &'a str,
    envelope: &mut bool,
) -> Result<Found<'a>, Fault> {
    shallow(text)?;
    if !text.trim_start_matches(WHITE).starts_with('{') {
        return Err(not_an_object(text, "a record must be one JSON object"));
    }
    match plan.format {
        Format::Flat | Format::Csv => walk(plan, scratch, text, Which::Flat).0,
        Format::Envelope => walk(plan, scratch, text, Which::Envelope).0,
        Format::Auto if *envelope => match walk(plan, scratch, text, Which::Envelope) {
            (result, true) => result,
            _ => {
                *envelope = false;
                either(plan, scratch, text, envelope)
            }
        },
        Format::Auto => either(plan, scratch, text, envelope),
    }
}

/// White space of JSON.
const WHITE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Read as flat; where that stops, as an envelope, if that is what it is.
fn either<'a>(
    plan: &Plan,
    scratch: &mut Scratch,
    text: &'a str,
    envelope: &mut bool,
) -> Result<Found<'a>, Fault> {
    let (flat, _) = walk(plan, scratch, text, Which::Flat);
    if flat.is_ok() {
        return flat;
    }
    match walk(plan, scratch, text, Which::Envelope) {
        (result, true) => {
            *envelope = true;
            result
        }
        _ => flat,
    }
}

/// A row of a prediction: an array in the order of the schema, or an object by name.
pub(super) fn row(plan: &Plan, scratch: &mut Scratch, text: &str) -> Result<(), Fault> {
    shallow(text)?;
    scratch.begin(plan);
    if !text.trim_start_matches(WHITE).starts_with(['{', '[']) {
        return Err(not_an_object(text, "a row must be an array or an object"));
    }
    let mut session = Session::new(plan, scratch);
    let mut deserializer = Deserializer::from_str(text);
    let result = Features(&mut session)
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    match session.finish(result, text)?.fault {
        Some(fault) => Err(fault),
        None => Ok(()),
    }
}

fn not_an_object(text: &str, wanted: &str) -> Fault {
    match serde_json::from_str::<&RawValue>(text) {
        Err(error) => syntax(&error),
        Ok(_) => Fault::whole(
            Reason::NotAnObject,
            format!("{wanted}, not {}", printable(text.trim())),
        ),
    }
}

/// Decodes the object as `which`; also tells whether it has the `features` of an envelope.
fn walk<'a>(
    plan: &Plan,
    scratch: &mut Scratch,
    text: &'a str,
    which: Which,
) -> (Result<Found<'a>, Fault>, bool) {
    scratch.begin(plan);
    let mut session = Session::new(plan, scratch);
    let mut deserializer = Deserializer::from_str(text);
    let object = Object {
        session: &mut session,
        which,
    };
    let result = deserializer
        .deserialize_map(object)
        .and_then(|()| deserializer.end());
    let envelope = session.envelope;
    if which == Which::Envelope && !envelope {
        let message =
            "an envelope needs `features`, an array or an object; or set schema.format to \"flat\"";
        session
            .found
            .fail(Reason::Dimension, Place::Whole, message.to_owned());
    }
    (session.finish(result, text), envelope)
}
