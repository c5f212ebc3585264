//! Who sent a record: what `schema.sender` names, as a number.

use xxhash_rust::xxh3::xxh3_64;

use crate::example::Record;

/// Where the name of a sender stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sender {
    /// Senders are not told apart.
    #[default]
    Nobody,
    /// In the record's key: all of it, or what comes before the first separator.
    Key(Option<String>),
    /// In the record's own id (`schema.id`), likewise.
    Id(Option<String>),
    /// In the first header of this name.
    Header(String),
}

impl Sender {
    /// Reads the setting: empty, `key`, `key:SEPARATOR`, `id`, `id:SEPARATOR` or `header:NAME`.
    ///
    /// # Errors
    /// What is possible instead.
    ///
    /// ```
    /// use skewd::codec::Sender;
    /// assert_eq!(Sender::parse("header:terminal").unwrap(), Sender::Header("terminal".into()));
    /// assert_eq!(Sender::parse("key:/").unwrap(), Sender::Key(Some("/".into())));
    /// assert!(Sender::parse("header:").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        match (kind, rest) {
            ("", None) => Ok(Self::Nobody),
            ("key", separator) if separator != Some("") => Ok(Self::Key(separator.map(Into::into))),
            ("id", separator) if separator != Some("") => Ok(Self::Id(separator.map(Into::into))),
            ("header", Some(name)) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            _ => Err(format!(
                "{text:?} names no sender; give header:NAME, key, key:SEPARATOR (what comes before it), id, \
                 id:SEPARATOR, or nothing"
            )),
        }
    }

    /// The sender's number: 0 where none is named, the same for all of them.
    #[must_use]
    pub fn number(&self, record: &Record, id: Option<&str>) -> u64 {
        let (name, separator) = match self {
            Self::Nobody => return 0,
            Self::Key(separator) => (record.key.as_deref(), separator.as_deref()),
            Self::Id(separator) => (id.map(str::as_bytes), separator.as_deref()),
            Self::Header(wanted) => {
                let mut headers = record.headers.iter();
                let found = headers.find(|(name, _)| name == wanted);
                (found.and_then(|(_, value)| value.as_deref()), None)
            }
        };
        let Some(name) = name else { return 0 };
        let separator = separator.unwrap_or_default().as_bytes();
        let end = match separator.len() {
            0 => name.len(),
            length => {
                let mut places = name.windows(length);
                places
                    .position(|place| place == separator)
                    .unwrap_or(name.len())
            }
        };
        xxh3_64(&name[..end]).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn record(key: &'static str, headers: &[(&str, &'static str)]) -> Record {
        Record {
            key: Some(Bytes::from(key)),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Some(Bytes::from(*value))))
                .collect(),
            ..Record::new(0, 0, "x")
        }
    }

    #[test]
    fn a_name_ends_at_the_separator_and_nobody_is_nobody() {
        let by =
            |setting: &str, record: &Record, id| Sender::parse(setting).unwrap().number(record, id);
        let (a, b) = (record("t1//4", &[]), record("t1//5", &[]));
        assert_eq!(by("key://", &a, None), by("key://", &b, None));
        assert_ne!(by("key", &a, None), by("key", &b, None));
        assert_eq!(by("key://", &a, None), by("key", &record("t1", &[]), None));
        assert_eq!(by("id:-", &a, Some("t1-9")), by("key://", &a, None));
        assert_eq!(by("", &a, Some("t1")), 0);
        assert_eq!(by("id", &a, None), 0);
        assert_eq!(by("header:who", &a, None), 0);
        let c = record("", &[("other", "t2"), ("who", "t1"), ("who", "t3")]);
        assert_eq!(by("header:who", &c, None), by("id", &a, Some("t1")));
    }

    #[test]
    fn what_names_no_sender_is_refused_with_what_would() {
        for text in ["header", "header:", "key:", "keys", ":", "id:"] {
            let reason = Sender::parse(text).unwrap_err();
            assert!(reason.contains("header:NAME"), "{reason}");
        }
    }
}
