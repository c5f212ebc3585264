//! The layers of settings: TOML tables laid over one another, checked against the keys that exist.

use std::path::Path;

use toml::{Table, Value};

use super::{Config, Error};

/// Prefix of the environment variables that are settings; `__` separates table and key.
const PREFIX: &str = "SKEWD_";
/// The level of the log is no setting of the daemon's behaviour.
const LOG_LEVEL: &str = "SKEWD_LOG";
/// Variables of the test suites.
const TEST_PREFIX: &str = "SKEWD_TEST_";
/// Tables whose keys are not ours.
const OPEN_TABLES: [&str; 2] = [PROPERTIES, "decision.costs"];
const PROPERTIES: &str = "kafka.properties";
/// Keys of `[learner]` that a portfolio shares, and so describe no single learner.
const SHARED_KEYS: [&str; 8] = [
    "mode",
    "portfolio",
    "batch_size",
    "batch_linger_ms",
    "sender_share",
    "drift_reaction",
    "drift_rate",
    "drift_examples",
];
/// Bytes of a file of settings.
const MOST_BYTES: u64 = 1 << 20;
/// No setting has a name of more parts: nesting them as tables takes stack for each.
const MOST_PARTS: usize = 8;

/// The variables of this process that may be settings.
///
/// # Errors
/// When one of them is not text.
pub fn environment() -> Result<Vec<(String, String)>, Error> {
    let ours = std::env::vars_os()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    ours.map(|(name, value)| {
        let shown = name.to_string_lossy().into_owned();
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => Ok((name, value)),
            _ => Err(Error {
                key: shown,
                value: None,
                reason: "is a variable that is not UTF-8 text; correct it, or unset it".to_owned(),
            }),
        }
    })
    .collect()
}

/// A file of settings; what is longer is none.
fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(std::io::Error::other("it is longer than 1 MiB"));
    }
    Ok(text)
}

/// Layers collected so far, each key checked to exist.
pub struct Layers {
    known: Table,
    typed: Table,
}

impl Default for Layers {
    fn default() -> Self {
        let known = Value::try_from(Config::default())
            .ok()
            .and_then(|value| value.as_table().cloned())
            .unwrap_or_default();
        Self {
            known,
            typed: Table::new(),
        }
    }
}

impl Layers {
    /// Layers that start from settings that are complete already.
    #[must_use]
    pub fn over(config: &Config) -> Self {
        Self {
            typed: Value::try_from(config)
                .ok()
                .and_then(|value| value.as_table().cloned())
                .unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Lays a TOML file over what is there.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML, or holds an unknown key.
    pub fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let fail = |reason: String| Error {
            key: path.display().to_string(),
            value: None,
            reason,
        };
        let text = read(path).map_err(|error| {
            fail(format!(
                "cannot be read: {error}; name a file of settings (TOML) after -c"
            ))
        })?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            fail(format!("is not TOML: {}", error.to_string().trim_end()))
        })?;
        self.add(table, "").map_err(|error| Error {
            reason: format!("{} (in {})", error.reason, path.display()),
            ..error
        })
    }

    /// Lays the `SKEWD_…` variables over what is there, in order of their names.
    ///
    /// # Errors
    /// When a variable names no setting.
    pub fn add_environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<(), Error> {
        let mut ours: Vec<(String, String)> =
            variables.filter(|(name, _)| is_setting(name)).collect();
        ours.sort();
        for (name, value) in ours {
            let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
            self.set(&key, &value).map_err(|error| Error {
                reason: format!("{} (from the variable {name})", error.reason),
                ..error
            })?;
        }
        Ok(())
    }

    /// Lays `key=value` over what is there.
    ///
    /// # Errors
    /// When it is no assignment, or the key is unknown.
    pub fn add_assignment(&mut self, assignment: &str) -> Result<(), Error> {
        let (key, value) = parse_assignment(assignment)?;
        self.set(key, value)
    }

    /// Lays a value over what is there that was written down, or sent, as JSON. A text is itself where the setting is one,
    /// whatever it looks like; elsewhere it is read as if it were typed.
    ///
    /// # Errors
    /// When the key is unknown.
    pub fn add_json(&mut self, key: &str, value: &serde_json::Value) -> Result<(), Error> {
        let is_text = !holds_numbers(key) && lookup(&self.known, key).is_some_and(Value::is_str);
        let itself = match value {
            serde_json::Value::String(_) if is_text => Value::try_from(value).ok(),
            serde_json::Value::Array(_) => Value::try_from(value).ok(),
            _ => None,
        };
        match (itself, value) {
            (Some(value), _) => self.add_nested(key, value),
            (None, serde_json::Value::String(text)) => self.set(key, text),
            (None, other) => self.set(key, &other.to_string()),
        }
    }

    fn set(&mut self, key: &str, text: &str) -> Result<(), Error> {
        let value = parse_value(text);
        // A property of librdkafka has dots in its own name.
        if let Some(property) = OPEN_TABLES.iter().find_map(|open| {
            key.strip_prefix(open)?
                .strip_prefix('.')
                .map(|name| (open, name))
        }) {
            let (open, name) = property;
            let mut inner = Table::new();
            let value = if *open == PROPERTIES {
                Value::String(text.to_owned())
            } else {
                value
            };
            inner.insert(name.to_owned(), value);
            return self.add(nest(open, Value::Table(inner)), "");
        }
        self.add_nested(key, value)
    }

    fn add_nested(&mut self, key: &str, value: Value) -> Result<(), Error> {
        if key.split('.').nth(MOST_PARTS).is_some() {
            return Err(Error {
                key: key.chars().take(64).chain("...".chars()).collect(),
                value: None,
                reason: format!("is not a setting: no name has more than {MOST_PARTS} parts"),
            });
        }
        self.add(nest(key, value), "")
    }

    fn add(&mut self, table: Table, at: &str) -> Result<(), Error> {
        let table = coerce(table, &self.known, at)?;
        merge(&mut self.typed, table);
        Ok(())
    }

    /// Who describes a learner wants that one: where a table says how to learn and none says `learner.mode`, it is "single".
    fn settle_mode(&mut self) {
        let learner = self.typed.get("learner").and_then(Value::as_table);
        let keys = learner.into_iter().flat_map(Table::keys);
        let is_described = self.typed.contains_key("model")
            || self.typed.contains_key("loss")
            || keys
                .map(|key| format!("learner.{key}"))
                .any(|key| describes_a_learner(&key));
        if is_described && lookup(&self.typed, "learner.mode").is_none() {
            let single = nest("learner.mode", Value::String("single".to_owned()));
            merge(&mut self.typed, single);
        }
    }

    /// Everything typed, over the defaults, as checked settings.
    ///
    /// # Errors
    /// The first value of a wrong type, or that cannot work.
    pub fn finish(mut self) -> Result<Config, Error> {
        self.settle_mode();
        let typed = self.typed.clone();
        let config: Config =
            serde_path_to_error::deserialize(Value::Table(self.typed)).map_err(|error| {
                let key = error.path().to_string();
                Error {
                    value: lookup(&typed, &key).map(ToString::to_string),
                    reason: error.into_inner().to_string().trim_end().to_owned(),
                    key,
                }
            })?;
        config.check()?;
        Ok(config)
    }
}

/// Whether a variable of this name is a setting.
#[must_use]
pub fn is_setting(name: &str) -> bool {
    name.starts_with(PREFIX) && name != LOG_LEVEL && !name.starts_with(TEST_PREFIX)
}

/// Whether a setting says how one learner learns, rather than what a portfolio shares.
#[must_use]
pub fn describes_a_learner(key: &str) -> bool {
    match key.split_once('.') {
        Some(("model" | "loss", _)) => true,
        Some(("learner", key)) => !SHARED_KEYS.contains(&key),
        _ => false,
    }
}

/// Splits `key=value`.
///
/// # Errors
/// When there is no `=` or no key.
pub fn parse_assignment(assignment: &str) -> Result<(&str, &str), Error> {
    match assignment.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim(), value.trim())),
        _ => Err(Error {
            key: assignment.to_owned(),
            value: None,
            reason: "is not key=value: write for example learner.lambda=5".to_owned(),
        }),
    }
}

/// A value is TOML where it parses as such, else a string.
fn parse_value(text: &str) -> Value {
    format!("v = {text}")
        .parse::<Table>()
        .ok()
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn nest(key: &str, value: Value) -> Table {
    let (head, rest) = match key.split_once('.') {
        Some((head, rest)) => (head, Some(rest)),
        None => (key, None),
    };
    let mut table = Table::new();
    let value = match rest {
        Some(rest) => Value::Table(nest(rest, value)),
        None => value,
    };
    table.insert(head.to_owned(), value);
    table
}

/// Checks that every key exists, and turns what was typed into the kind of value that the default has where that is
/// plainly meant: `a,b` for a list, `1` for a text.
fn coerce(table: Table, known: &Table, at: &str) -> Result<Table, Error> {
    let mut out = Table::new();
    for (name, value) in table {
        let key = join(at, &name);
        let Some(default) = known.get(&name) else {
            return Err(unknown(&first_leaf(key, &value)));
        };
        let value = match (default, value) {
            (Value::Table(_), value) if OPEN_TABLES.contains(&key.as_str()) => value,
            (Value::Table(inner), Value::Table(table)) => Value::Table(coerce(table, inner, &key)?),
            (Value::Table(_), value) => {
                return Err(Error {
                    reason: format!("is a table: set a key inside it, such as {key}.…"),
                    value: Some(value.to_string()),
                    key,
                });
            }
            (Value::Array(items), Value::String(text)) if !items.iter().any(Value::is_integer) => {
                Value::Array(
                    text.split(',')
                        .map(|item| Value::String(item.trim().to_owned()))
                        .filter(|item| item.as_str() != Some(""))
                        .collect(),
                )
            }
            (Value::Array(items), Value::Array(given)) if !items.iter().any(Value::is_integer) => {
                Value::Array(given.into_iter().map(as_text).collect())
            }
            (Value::String(_), value) if !holds_numbers(&key) => as_text(value),
            (_, value) => value,
        };
        out.insert(name, value);
    }
    Ok(out)
}

/// The key that a person typed: where a whole table is unknown, the first key inside it.
fn first_leaf(key: String, value: &Value) -> String {
    match value.as_table().and_then(|table| table.iter().next()) {
        Some((name, inner)) => first_leaf(join(&key, name), inner),
        None => key,
    }
}

/// Settings whose default is a word, but which take numbers too.
fn holds_numbers(key: &str) -> bool {
    matches!(
        key,
        "learner.lambda"
            | "learner.lambda_start"
            | "learner.kl_budget"
            | "learner.weight_cap"
            | "learner.clip_norm"
            | "learner.batch_linger_ms"
    )
}

fn as_text(value: Value) -> Value {
    match value {
        Value::String(_) | Value::Array(_) | Value::Table(_) => value,
        scalar => Value::String(scalar.to_string()),
    }
}

fn merge(into: &mut Table, from: Table) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Table(inner)), Value::Table(table)) => merge(inner, table),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

fn unknown(key: &str) -> Error {
    let known = Config::default().dotted();
    let last = key.rsplit('.').next().unwrap_or(key);
    let nearest = known
        .iter()
        .map(|(name, _)| name.as_str())
        .chain(known.iter().filter_map(|(name, _)| name.split('.').next()))
        .max_by(|a, b| similarity(key, last, a).total_cmp(&similarity(key, last, b)));
    let hint = nearest
        .map(|name| format!("; the nearest known one is {name}"))
        .unwrap_or_default();
    Error {
        key: key.to_owned(),
        value: None,
        reason: format!("is not a setting{hint}"),
    }
}

fn similarity(key: &str, last: &str, candidate: &str) -> f64 {
    let whole = strsim::jaro_winkler(key, candidate);
    let tail = candidate.rsplit('.').next().map_or(0.0, |name| {
        strsim::normalized_damerau_levenshtein(last, name)
    });
    strsim::normalized_damerau_levenshtein(key, candidate).max(0.5 * whole) + 0.3 * tail
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() {
        name.to_owned()
    } else {
        format!("{at}.{name}")
    }
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let (head, rest) = match key.split_once('.') {
        Some((head, rest)) => (head, Some(rest)),
        None => (key, None),
    };
    match (table.get(head)?, rest) {
        (Value::Table(inner), Some(rest)) => lookup(inner, rest),
        (value, None) => Some(value),
        _ => None,
    }
}
