//! Which learners run side by side: the `[[learner.portfolio]]` tables, or the built-in ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::settings::{Complaint, Mode, Settings, Task};
use crate::codec::Encoding;
use crate::{loss, model};

/// One `[[learner.portfolio]]` table: a name, and every setting in which the member differs from `[learner]`, `[loss]`
/// and `[model]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberSettings {
    /// What reports call it.
    pub name: String,
    /// Settings by their name; those of `[loss]` and `[model]` may stand in tables of that name.
    #[serde(flatten)]
    pub differs: BTreeMap<String, Value>,
}

/// The settings of one member, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberTask {
    /// What reports call it.
    pub name: String,
    /// `[learner]` as this member has it; its batch size divides that of the table.
    pub learner: Settings,
    /// `[loss]` as this member has it.
    pub loss: loss::Settings,
    /// `[model]` as this member has it.
    pub model: model::Settings,
}

/// Name of the only member in single mode.
pub const SINGLE: &str = "single";
/// Name of the mixture in reports.
pub const SERVED: &str = "served";
/// What follows the name of a member in that of its average.
pub const AVERAGE: &str = "-average";
/// Members that may run side by side.
const MOST: usize = 32;

/// The members without `[[learner.portfolio]]`: what differs from the tables.
fn built_in() -> Vec<MemberSettings> {
    let members = BUILT_IN.iter().map(|(name, differs)| MemberSettings {
        name: (*name).to_owned(),
        differs: serde_json::from_str(differs).unwrap_or_default(),
    });
    members.collect()
}

/// Plain momentum SGD, three under Adam that differ in what wins on some streams (weights, fresh labels, rehearsal), and two
/// linear models, which noise misleads least. Averages hold better where the stream stays the same.
const BUILT_IN: [(&str, &str); 6] = [
    ("sgd", r#"{"lambda":"inf","averaging_examples":2000}"#),
    (
        "adam-4-rehearsal",
        r#"{"optimizer":"adam","learning_rate":0.001,"batch_size":4,"rehearsal_rows":1,"averaging_examples":2000}"#,
    ),
    (
        "adam-1",
        r#"{"optimizer":"adam","learning_rate":0.0005,"batch_size":1}"#,
    ),
    (
        "adam-1-rehearsal",
        r#"{"optimizer":"adam","learning_rate":0.0005,"batch_size":1,"rehearsal_rows":1,"averaging_examples":2000,"pieces":true}"#,
    ),
    (
        "linear-1",
        r#"{"kind":"linear","optimizer":"adam","learning_rate":0.0005,"batch_size":1,"pieces":true}"#,
    ),
    (
        "linear-4-rehearsal",
        r#"{"kind":"linear","optimizer":"adam","learning_rate":0.001,"batch_size":4,"rehearsal_rows":1,"pieces":true}"#,
    ),
];

/// One that predicts: a member, or the average of its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Voice {
    /// What reports call it.
    pub name: String,
    /// Place of the member.
    pub member: usize,
    /// Whether it is the average that predicts.
    pub averaged: bool,
}

/// The voices of these members, in their order. In single mode there is one: the average, where it is wanted.
#[must_use]
pub fn voices(members: &[MemberTask]) -> Vec<Voice> {
    let mut voices = Vec::new();
    for (place, member) in members.iter().enumerate() {
        let is_averaged = member.learner.averaging_examples > 0;
        let is_single = member.name == SINGLE;
        if !(is_single && is_averaged) {
            voices.push(Voice {
                name: member.name.clone(),
                member: place,
                averaged: false,
            });
        }
        if is_averaged {
            let name = if is_single {
                member.name.clone()
            } else {
                format!("{}{AVERAGE}", member.name)
            };
            voices.push(Voice {
                name,
                member: place,
                averaged: true,
            });
        }
    }
    voices
}

impl Task {
    /// The members, in their order: one in single mode.
    ///
    /// # Errors
    /// The key of `[learner]` that cannot work, and what would.
    pub fn members(&self) -> Result<Vec<MemberTask>, Complaint> {
        members(&self.learner, &self.loss, &self.model, self.codec.encoding)
    }
}

/// The members that these tables ask for.
///
/// # Errors
/// The key of `[learner]` that cannot work, and what would.
pub fn members(
    learner: &Settings,
    loss: &loss::Settings,
    model: &model::Settings,
    encoding: Encoding,
) -> Result<Vec<MemberTask>, Complaint> {
    let has_quantiles = encoding == Encoding::Robust;
    if model.pieces && !has_quantiles {
        return Err(no_quantiles("model.pieces"));
    }
    if learner.mode == Mode::Single {
        return Ok(vec![MemberTask {
            name: SINGLE.to_owned(),
            learner: learner.clone(),
            loss: loss.clone(),
            model: model.clone(),
        }]);
    }
    let is_built_in = learner.portfolio.is_empty();
    let tables = if is_built_in {
        built_in()
    } else {
        learner.portfolio.clone()
    };
    if tables.len() > MOST {
        let count = tables.len();
        return Err(complaint(format!(
            "{count} members are too many: at most {MOST} run side by side"
        )));
    }
    let mut members: Vec<MemberTask> = Vec::new();
    for table in &tables {
        let mut member = member(table, learner, loss, model)?;
        let outer = learner.batch_size;
        if is_built_in {
            member.learner.batch_size = largest_divisor(outer, member.learner.batch_size);
            member.model.pieces &= has_quantiles;
        }
        if member.model.pieces && !has_quantiles {
            return Err(no_quantiles(&format!("pieces of member {:?}", member.name)));
        }
        if !outer.is_multiple_of(member.learner.batch_size) {
            return Err(complaint(format!(
                "the batch_size {} of member {:?} does not divide the {outer} of [learner]",
                member.learner.batch_size, member.name
            )));
        }
        if member.name.is_empty()
            || member.name == SERVED
            || member.name.ends_with(AVERAGE)
            || members.iter().any(|other| other.name == member.name)
        {
            return Err(complaint(format!(
                "{:?} cannot be the name of a member: give each its own, other than {SERVED:?}, and without {AVERAGE:?} at the end",
                member.name
            )));
        }
        members.push(member);
    }
    Ok(members)
}

fn complaint(reason: String) -> Complaint {
    ("portfolio".to_owned(), reason)
}

fn no_quantiles(what: &str) -> Complaint {
    complaint(format!(
        "{what} cannot be true: set schema.encoding = \"robust\", which knows the quantiles that the pieces lie between"
    ))
}

/// The largest divisor of `whole` that is not above `wanted`.
fn largest_divisor(whole: usize, wanted: usize) -> usize {
    (1..=wanted.min(whole))
        .rev()
        .find(|size| whole.is_multiple_of(*size))
        .unwrap_or(1)
}

/// `[learner]`, `[loss]` and `[model]`.
type Tables<'a> = [(&'a str, Map<String, Value>); 3];

/// Lays what differs over the tables.
fn member(
    table: &MemberSettings,
    learner: &Settings,
    loss: &loss::Settings,
    model: &model::Settings,
) -> Result<MemberTask, Complaint> {
    let base = Settings {
        mode: Mode::Single,
        portfolio: Vec::new(),
        ..learner.clone()
    };
    let mut tables = [
        ("learner", object(&base)),
        ("loss", object(loss)),
        ("model", object(model)),
    ];
    let about =
        |key: &str, reason: &str| complaint(format!("member {:?}: {key}: {reason}", table.name));
    for (key, value) in &table.differs {
        lay(&mut tables, key, value).map_err(|reason| about(key, &reason))?;
        readable(&tables).map_err(|reason| about(key, &reason))?;
    }
    let [(_, learner), (_, loss), (_, model)] = tables;
    let member = MemberTask {
        name: table.name.clone(),
        learner: read(&learner).map_err(|reason| about("learner", &reason))?,
        loss: read(&loss).map_err(|reason| about("loss", &reason))?,
        model: read(&model).map_err(|reason| about("model", &reason))?,
    };
    let wrong = |(key, reason): Complaint| about(&key, &reason);
    member.learner.check().map_err(wrong)?;
    member.loss.check().map_err(wrong)?;
    member.model.check().map_err(wrong)?;
    Ok(member)
}

/// Puts a value where its key belongs.
fn lay(tables: &mut Tables<'_>, key: &str, value: &Value) -> Result<(), String> {
    if let (Some((_, table)), Value::Object(inner)) =
        (tables.iter_mut().find(|(name, _)| *name == key), value)
    {
        for (key, value) in inner {
            if !table.contains_key(key) {
                return Err(format!("has no setting {key:?}"));
            }
            table.insert(key.clone(), value.clone());
        }
        return Ok(());
    }
    let is_of_all = matches!(
        key,
        "mode" | "portfolio" | "batch_linger_ms" | "sender_share"
    );
    if is_of_all || key.starts_with("drift_") {
        return Err("is the same for all members: set it in [learner]".to_owned());
    }
    let is_architecture = matches!(value.as_str(), Some("linear" | "mlp"));
    let table = match (key, is_architecture) {
        ("kind", true) => &mut tables[2].1,
        ("kind", false) => &mut tables[1].1,
        _ => match tables.iter_mut().find(|(_, table)| table.contains_key(key)) {
            Some((_, table)) => table,
            None => return Err("is no setting of [learner], [loss] or [model]".to_owned()),
        },
    };
    table.insert(key.to_owned(), value.clone());
    Ok(())
}

impl MemberTask {
    /// The settings of the member by their dotted names.
    pub fn settings(&self) -> impl Iterator<Item = (String, Value)> + use<> {
        let tables = [
            ("learner", object(&self.learner)),
            ("loss", object(&self.loss)),
            ("model", object(&self.model)),
        ];
        let own = |key: &String| !matches!(key.as_str(), "mode" | "portfolio");
        tables.into_iter().flat_map(move |(table, settings)| {
            let settings = settings.into_iter().filter(move |(key, _)| own(key));
            settings.map(move |(key, value)| (format!("{table}.{key}"), value))
        })
    }
}

/// Settings always are a table of JSON.
fn object(settings: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(table)) => table,
        _ => Map::new(),
    }
}

fn read<T: serde::de::DeserializeOwned>(table: &Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(table.clone())).map_err(|error| error.to_string())
}

/// Whether every table still has a meaning.
fn readable([(_, learner), (_, loss), (_, model)]: &Tables<'_>) -> Result<(), String> {
    read::<Settings>(learner)?;
    read::<loss::Settings>(loss)?;
    read::<model::Settings>(model).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learner::Optimizer;
    use serde_json::json;

    fn portfolio(tables: Value) -> Result<Vec<MemberTask>, Complaint> {
        let settings = Settings {
            mode: Mode::Portfolio,
            portfolio: serde_json::from_value(tables).unwrap(),
            ..Settings::default()
        };
        members(
            &settings,
            &loss::Settings::default(),
            &model::Settings::default(),
            Encoding::Standard,
        )
    }

    #[test]
    fn without_tables_plain_sgd_is_always_among_them() {
        let members = portfolio(json!([])).unwrap();
        assert_eq!(members.len(), BUILT_IN.len());
        for member in &members {
            assert!(64 % member.learner.batch_size == 0, "{member:?}");
        }
        assert!(members[0].learner.lambda.0.is_infinite());
        assert_eq!(members[0].learner.optimizer, Optimizer::Momentum);
    }

    #[test]
    fn a_built_in_member_follows_an_odd_batch_size() {
        let settings = Settings {
            mode: Mode::Portfolio,
            batch_size: 10,
            ..Settings::default()
        };
        let all = members(
            &settings,
            &loss::Settings::default(),
            &model::Settings::default(),
            Encoding::Standard,
        );
        let sizes: Vec<usize> = all.unwrap().iter().map(|m| m.learner.batch_size).collect();
        assert!(
            sizes.iter().all(|size| [1, 2, 10].contains(size)),
            "{sizes:?}"
        );
    }

    #[test]
    fn an_average_is_a_voice_of_its_own_and_in_single_mode_the_only_one() {
        let members =
            portfolio(json!([{ "name": "a", "averaging_examples": 10 }, { "name": "b" }]));
        let names = |members: &[MemberTask]| -> Vec<(String, usize, bool)> {
            let voices = voices(members).into_iter();
            voices.map(|v| (v.name, v.member, v.averaged)).collect()
        };
        assert_eq!(
            names(&members.unwrap()),
            [
                ("a".to_owned(), 0, false),
                ("a-average".to_owned(), 0, true),
                ("b".to_owned(), 1, false)
            ]
        );
        let settings = Settings {
            mode: Mode::Single,
            averaging_examples: 10,
            ..Settings::default()
        };
        let single = members_of(&settings);
        assert_eq!(names(&single), [(SINGLE.to_owned(), 0, true)]);
    }

    fn members_of(settings: &Settings) -> Vec<MemberTask> {
        let (loss, model) = (loss::Settings::default(), model::Settings::default());
        members(settings, &loss, &model, Encoding::Standard).unwrap()
    }

    #[test]
    fn a_member_differs_where_it_says_so() {
        let members = portfolio(json!([
            { "name": "a", "lambda": "inf", "kind": "linear" },
            { "name": "b", "batch_size": 16, "optimizer": "adam", "model": { "hidden": [8] } },
        ]));
        let members = members.unwrap();
        assert!(members[0].learner.lambda.0.is_infinite());
        assert_eq!(members[0].model.kind, model::Kind::Linear);
        assert_eq!(members[1].learner.batch_size, 16);
        assert_eq!(members[1].model.hidden, [8]);
        assert_eq!(members[1].learner.learning_rate, 0.05);
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_members_name() {
        for (table, word) in [
            (json!([{ "name": "a", "batch_size": 7 }]), "divide"),
            (json!([{ "name": "a", "lamda": 7 }]), "lamda"),
            (json!([{ "name": "a", "lambda": 0 }]), "lambda"),
            (json!([{ "name": "a", "mode": "single" }]), "same for all"),
            (json!([{ "name": "a" }, { "name": "a" }]), "its own"),
            (json!([{ "name": "served" }]), "served"),
            (json!([{ "name": "a-average" }]), "average"),
            (json!([{ "name": "a", "pieces": true }]), "robust"),
            (json!([{ "name": "a", "model": { "width": 3 } }]), "width"),
        ] {
            let (key, reason) = portfolio(table).unwrap_err();
            assert_eq!(key, "portfolio");
            assert!(reason.contains(word), "{reason}");
        }
    }
}
