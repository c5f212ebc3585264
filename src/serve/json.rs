//! JSON bodies, read strictly: an object where an object is meant, and every name once. What serde would take besides (an
//! array with the fields in their order, the last of two equal names) is nearly always a mistake of the sender.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

/// A body that is an object.
///
/// # Errors
/// What is wrong with it, without the names of our types.
pub fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    match body.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(body).map_err(|error| error.to_string()),
        None => Err("the body is empty".to_owned()),
        Some(_) => {
            // Bad JSON is named as such.
            serde_json::from_slice::<serde::de::IgnoredAny>(body)
                .map_err(|error| error.to_string())?;
            Err("the body is not a JSON object".to_owned())
        }
    }
}

/// A body that is an object whose names stand there once, at any depth.
///
/// # Errors
/// As [`object`].
pub fn once(body: &[u8]) -> Result<Map<String, Value>, String> {
    // Read as usual first, which bounds how deep it is: below every level has a reader of its own.
    object::<Value>(body)?;
    object::<Once>(body).map(|once| once.0)
}

/// An object whose names, at any depth, stand there once.
#[derive(Debug, Default)]
struct Once(Map<String, Value>);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Once;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Once, A::Error> {
                let mut map = Map::new();
                while let Some(name) = access.next_key::<String>()? {
                    if map.contains_key(&name) {
                        return Err(serde::de::Error::custom(format!(
                            "{name:?} stands there twice"
                        )));
                    }
                    let value = match access.next_value::<Inner>()? {
                        Inner::Object(inner) => Value::Object(inner.0),
                        Inner::Other(value) => value,
                    };
                    map.insert(name, value);
                }
                Ok(Once(map))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

/// A value below.
enum Inner {
    Object(Once),
    Other(Value),
}

impl<'de> Deserialize<'de> for Inner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        let read = if text.starts_with('{') {
            serde_json::from_str(text).map(Self::Object)
        } else {
            serde_json::from_str(text).map(Self::Other)
        };
        read.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_one_and_nothing_else() {
        assert!(once(b" {\"a\": {\"b\": [1]}} ").is_ok());
        for depth in [200, 100_000] {
            let deep = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
            let error = once(deep.as_bytes()).unwrap_err();
            assert!(error.contains("recursion limit"), "{error}");
        }
        for (body, told) in [
            ("", "empty"),
            ("[]", "not a JSON object"),
            ("[[[1]], null]", "not a JSON object"),
            ("7", "not a JSON object"),
            ("[1", "EOF"),
            (r#"{"a":1,"a":1}"#, "\"a\" stands there twice"),
            (r#"{"x":{"a":1,"a":2}}"#, "\"a\" stands there twice"),
        ] {
            let error = once(body.as_bytes()).unwrap_err();
            assert!(error.contains(told), "{body}: {error}");
        }
    }
}
