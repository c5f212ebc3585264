//! librdkafka properties as a user gave them: values, secrets, and the keys that are not theirs to set.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::rules;

/// What is shown in place of a secret.
const HIDDEN: &str = "(hidden)";

/// One value of `[kafka.properties]` or of `-X`.
#[derive(Clone, PartialEq)]
pub enum Property {
    /// The value as written; numbers and switches are kept as their text.
    Text(String),
    /// The value is the content of this file, without the line end at its end.
    File(PathBuf),
    /// The value is in this environment variable.
    Environment(String),
}

impl Property {
    /// The value itself. The error never holds it.
    fn resolve(&self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::File(path) => std::fs::read_to_string(path)
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|error| format!("cannot read the file {}: {error}", path.display())),
            Self::Environment(name) => std::env::var(name)
                .map_err(|_| format!("the environment variable {name} is not set (or not UTF-8)")),
        }
    }
}

/// Properties by their full dotted name. Secrets given in clear are shown by neither `Debug` nor `Serialize`.
///
/// ```
/// use skewd::stream::kafka::Properties;
/// let text = "security.protocol = \"sasl_ssl\"\n\"sasl.password\" = { env = \"PASSWORD\" }\n\"socket.timeout.ms\" = 5000";
/// let properties: Properties = toml::from_str(text).unwrap();
/// assert_eq!(properties.keys().collect::<Vec<_>>(), ["sasl.password", "security.protocol", "socket.timeout.ms"]);
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct Properties(BTreeMap<String, Property>);

impl Properties {
    /// Adds `key=value` as given to `-X`; a value that is a TOML table (`{ file = "..." }`) names a secret.
    ///
    /// # Errors
    /// When there is no `=` or no key. The message holds no value.
    pub fn add_pair(&mut self, pair: &str) -> Result<(), String> {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.trim().is_empty())
            .ok_or("expected key=value, as in -X security.protocol=ssl")?;
        let key = key.trim();
        let table = value.trim_start().starts_with('{');
        let parsed = table
            .then(|| toml::from_str::<BTreeMap<String, Raw>>(&format!("value = {value}")).ok())
            .flatten()
            .and_then(|mut document| document.remove("value"));
        match parsed {
            Some(raw) => raw.flatten_into(key, &mut self.0)?,
            None => self.set(key, value),
        }
        Ok(())
    }

    /// Sets one property to a plain text.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), Property::Text(value.into()));
    }

    /// The names, in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The text of a property, when it was given in clear.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key) {
            Some(Property::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Every name with its value, secrets included.
    ///
    /// # Errors
    /// The name of a property whose file or variable cannot be read, and why.
    pub(super) fn resolve(&self) -> Result<Vec<(&str, String)>, (String, String)> {
        self.0
            .iter()
            .map(|(key, property)| match property.resolve() {
                Ok(value) => Ok((key.as_str(), value)),
                Err(reason) => Err((key.clone(), reason)),
            })
            .collect()
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = formatter.debug_map();
        for (key, property) in &self.0 {
            match property {
                Property::Text(_) if rules::is_secret(key) => map.entry(key, &HIDDEN),
                Property::Text(text) => map.entry(key, text),
                Property::File(path) => map.entry(key, &format_args!("file {}", path.display())),
                Property::Environment(name) => map.entry(key, &format_args!("variable {name}")),
            };
        }
        map.finish()
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, property) in &self.0 {
            match property {
                Property::Text(_) if rules::is_secret(key) => map.serialize_entry(key, HIDDEN)?,
                Property::Text(text) => map.serialize_entry(key, text)?,
                Property::File(path) => {
                    map.serialize_entry(key, &BTreeMap::from([("file", path)]))?;
                }
                Property::Environment(name) => {
                    map.serialize_entry(key, &BTreeMap::from([("env", name)]))?;
                }
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut properties = BTreeMap::new();
        for (key, raw) in BTreeMap::<String, Raw>::deserialize(deserializer)? {
            raw.flatten_into(&key, &mut properties)
                .map_err(D::Error::custom)?;
        }
        Ok(Self(properties))
    }
}

/// A value as TOML reads it. `ssl.ca.location = "x"` without quotes around the key is a table of tables.
#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Switch(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    Table(BTreeMap<String, Raw>),
}

impl Raw {
    fn flatten_into(
        self,
        key: &str,
        properties: &mut BTreeMap<String, Property>,
    ) -> Result<(), String> {
        let property = match self {
            Self::Switch(on) => Property::Text(on.to_string()),
            Self::Integer(number) => Property::Text(number.to_string()),
            Self::Number(number) => Property::Text(number.to_string()),
            Self::Text(text) => Property::Text(text),
            Self::Table(mut table) if table.len() == 1 && table.contains_key("file") => {
                Property::File(
                    table
                        .remove("file")
                        .and_then(Raw::into_text)
                        .ok_or(secret_form(key))?
                        .into(),
                )
            }
            Self::Table(mut table) if table.len() == 1 && table.contains_key("env") => {
                Property::Environment(
                    table
                        .remove("env")
                        .and_then(Raw::into_text)
                        .ok_or(secret_form(key))?,
                )
            }
            Self::Table(table) => {
                for (tail, raw) in table {
                    raw.flatten_into(&format!("{key}.{tail}"), properties)?;
                }
                return Ok(());
            }
        };
        properties.insert(key.to_owned(), property);
        Ok(())
    }

    fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

fn secret_form(key: &str) -> String {
    format!("{key}: expected a text, {{ file = \"path\" }} or {{ env = \"NAME\" }}")
}
