//! The fields of a JSON object as they stand, for discovery: what the values mean is not known yet.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::plan::{Plan, Table};
use super::settings::{Format, MAX_PATH};

/// Name and value of a field.
pub(super) type Field<'t> = (Cow<'t, str>, &'t RawValue);

/// The fields of a JSON object; none when the text is no object.
pub(super) fn fields(text: &str) -> Vec<Field<'_>> {
    struct Fields;
    impl<'a> Visitor<'a> for Fields {
        type Value = Vec<Field<'a>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Self::Value, M::Error> {
            let mut fields = Vec::new();
            while let Some(Name(name)) = map.next_key()? {
                fields.push((name, map.next_value()?));
            }
            Ok(fields)
        }
    }
    serde_json::Deserializer::from_str(text)
        .deserialize_map(Fields)
        .unwrap_or_default()
}

#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The elements of a JSON array; none when the text is no array.
pub(super) fn elements(raw: &str) -> Vec<&RawValue> {
    serde_json::from_str(raw).unwrap_or_default()
}

/// The raw `features` of an envelope, if the record is one.
pub(super) fn envelope<'t>(plan: &Plan, fields: &[Field<'t>]) -> Option<&'t str> {
    if !matches!(plan.format, Format::Auto | Format::Envelope) {
        return None;
    }
    let (_, raw) = fields.iter().find(|(name, _)| name == "features")?;
    Some(raw.get()).filter(|raw| raw.starts_with(['[', '{']))
}

/// True when a record gives one feature twice: below the top level, or by a dotted name and by nesting. With a
/// schema it would be a bad record, so no schema may follow from it. `plan` is one without a schema.
pub(super) fn ambiguous(plan: &Plan, text: &str) -> bool {
    let fields = fields(text);
    let mut names = HashSet::new();
    match envelope(plan, &fields) {
        Some(raw) if raw.starts_with('[') => false,
        Some(raw) => twice_in("", &self::fields(raw), &plan.features, 1, &mut names),
        None => twice_in("", &fields, &plan.flat, 1, &mut names),
    }
}

fn twice_in(
    path: &str,
    fields: &[Field<'_>],
    table: &Table,
    depth: usize,
    names: &mut HashSet<String>,
) -> bool {
    fields.iter().any(|(key, raw)| {
        let name = format!("{path}{key}");
        if table.leaf(&name).is_some() {
            return false;
        }
        let below = format!("{name}.");
        let inner = raw.get().starts_with('{') && depth < MAX_PATH;
        !names.insert(name)
            || (inner && twice_in(&below, &self::fields(raw.get()), table, depth + 1, names))
    })
}
