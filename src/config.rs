//! Settings: what was typed (defaults < files < environment < `--set`) becomes one checked [`Config`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::learner::Task;
use crate::{checkpoint, codec, evaluate, learner, loss, model, serve, stream};

mod layers;

pub use layers::{Layers, describes_a_learner, parse_assignment};

/// What is wrong with a setting: enough for a person to repair it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {reason}", self.key, self.shown_value())]
pub struct Error {
    /// The dotted key, or the file.
    pub key: String,
    /// The value as typed, where one was.
    pub value: Option<String>,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl Error {
    fn shown_value(&self) -> String {
        self.value
            .as_ref()
            .map(|value| format!(" = {value}"))
            .unwrap_or_default()
    }
}

/// Every setting. `config/skewd.toml` explains each one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the log, the checkpoints and the admin token live.
    pub data_dir: PathBuf,
    /// `cpu`, `cuda:N` or `auto`.
    pub device: String,
    /// Seed of everything that is random.
    pub seed: u64,
    /// `[source]`.
    pub source: stream::Settings,
    /// `[kafka]`.
    pub kafka: stream::kafka::Settings,
    /// `[schema]`.
    pub schema: codec::Settings,
    /// `[model]`.
    pub model: model::Settings,
    /// `[loss]`.
    pub loss: loss::Settings,
    /// `[learner]`.
    pub learner: learner::Settings,
    /// `[evaluation]`.
    pub evaluation: evaluate::Settings,
    /// `[decision]`.
    pub decision: evaluate::DecisionSettings,
    /// `[checkpoint]`.
    pub checkpoint: checkpoint::Settings,
    /// `[http]`.
    pub http: serve::Settings,
    /// `[admin]`.
    pub admin: serve::AdminSettings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("skewd-data"),
            device: "cpu".to_owned(),
            seed: 1,
            source: Default::default(),
            kafka: Default::default(),
            schema: Default::default(),
            model: Default::default(),
            loss: Default::default(),
            learner: Default::default(),
            evaluation: Default::default(),
            decision: Default::default(),
            checkpoint: Default::default(),
            http: Default::default(),
            admin: Default::default(),
        }
    }
}

/// Tables that decide what is learned; the others may differ between two runs with the same digest.
const LEARNING_TABLES: [&str; 6] = [
    "schema",
    "model",
    "loss",
    "learner",
    "evaluation",
    "decision",
];

impl Config {
    /// Defaults, then the files in order, then `SKEWD_…` variables, then `--set` assignments; checked.
    ///
    /// # Errors
    /// The first thing that is wrong, with its key.
    pub fn load(
        files: &[PathBuf],
        environment: impl Iterator<Item = (String, String)>,
        assignments: &[String],
    ) -> Result<Self, Error> {
        let mut layers = Layers::default();
        for file in files {
            layers.add_file(file)?;
        }
        layers.add_environment(environment)?;
        for assignment in assignments {
            layers.add_assignment(assignment)?;
        }
        layers.finish()
    }

    /// Every check that needs no file system and no network.
    ///
    /// # Errors
    /// The first key whose value cannot work.
    pub fn check(&self) -> Result<(), Error> {
        let members = learner::portfolio::members(
            &self.learner,
            &self.loss,
            &self.model,
            self.schema.encoding,
        );
        let tables: [(&str, Result<(), learner::settings::Complaint>); 12] = [
            ("source", self.source.check()),
            ("kafka", self.kafka.check()),
            ("schema", self.schema.check()),
            ("model", self.model.check()),
            ("loss", self.loss.check()),
            ("learner", self.learner.check()),
            ("learner", members.map(drop)),
            ("evaluation", self.evaluation.check()),
            ("decision", self.decision.check()),
            ("checkpoint", self.checkpoint.check()),
            ("http", self.http.check()),
            ("admin", self.admin.check()),
        ];
        for (table, verdict) in tables {
            verdict.map_err(|(key, reason)| self.complaint(&format!("{table}.{key}"), reason))?;
        }
        model::parse_device(&self.device).map_err(|reason| self.complaint("device", reason))?;
        if self.source.kind == stream::Kind::Kafka && self.kafka.topic.is_empty() {
            return Err(self.complaint(
                "kafka.topic",
                "is needed when source.kind = \"kafka\": name the topic to learn from".to_owned(),
            ));
        }
        Ok(())
    }

    fn complaint(&self, key: &str, reason: String) -> Error {
        Error {
            value: self
                .dotted()
                .into_iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value.to_string()),
            key: key.to_owned(),
            reason,
        }
    }

    /// Every key with its value, dotted, in order of names. `kafka.properties` is left out: it may hold secrets.
    #[must_use]
    pub fn dotted(&self) -> Vec<(String, serde_json::Value)> {
        let mut flat = Vec::new();
        if let Ok(serde_json::Value::Object(root)) = serde_json::to_value(self) {
            for (key, value) in root {
                flatten(key, value, &mut flat);
            }
        }
        flat.retain(|(key, _)| !key.starts_with("kafka.properties"));
        flat.sort_by(|a, b| a.0.cmp(&b.0));
        flat
    }

    /// The keys that decide what is learned, dotted.
    #[must_use]
    pub fn learning(&self) -> serde_json::Map<String, serde_json::Value> {
        self.dotted()
            .into_iter()
            .filter(|(key, _)| {
                key == "seed"
                    || LEARNING_TABLES
                        .iter()
                        .any(|table| key.split('.').next() == Some(table))
            })
            .collect()
    }

    /// These settings with others laid over them, by dotted key.
    ///
    /// # Errors
    /// An unknown key, or a value that cannot work.
    pub fn with(
        &self,
        changes: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, Error> {
        let mut layers = Layers::over(self);
        for (key, value) in changes {
            layers.add_json(key, value)?;
        }
        let mut changed = layers.finish()?;
        // Secrets are hidden wherever settings are written out, and layers are: keep the table as it was.
        changed.kafka = self.kafka.clone();
        Ok(changed)
    }

    /// The decision's settings, with what is served by default beside this mode.
    fn settled_decision(&self) -> evaluate::DecisionSettings {
        let mut decision = self.decision.clone();
        let is_portfolio = self.learner.mode == learner::Mode::Portfolio;
        decision.calibration = decision.calibration.settled(is_portfolio);
        decision
    }

    /// What a learner needs to know.
    ///
    /// # Errors
    /// When the device is not one.
    pub fn task(&self) -> Result<Task, Error> {
        Ok(Task {
            learner: self.learner.clone(),
            model: self.model.clone(),
            loss: self.loss.clone(),
            codec: Arc::new(self.schema.clone()),
            evaluation: self.evaluation.clone(),
            decision: self.settled_decision(),
            seed: self.seed,
            device: model::parse_device(&self.device)
                .map_err(|reason| self.complaint("device", reason))?,
        })
    }

    /// Path of something in the data folder.
    #[must_use]
    pub fn in_data_dir(&self, name: impl AsRef<Path>) -> PathBuf {
        self.data_dir.join(name)
    }
}

fn flatten(key: String, value: serde_json::Value, flat: &mut Vec<(String, serde_json::Value)>) {
    match value {
        serde_json::Value::Object(table) => {
            for (inner, value) in table {
                flatten(format!("{key}.{inner}"), value, flat);
            }
        }
        value => flat.push((key, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(assignments: &[&str]) -> Result<Config, Error> {
        let assignments: Vec<String> = assignments.iter().map(|a| (*a).to_owned()).collect();
        Config::load(&[], std::iter::empty(), &assignments)
    }

    #[test]
    fn defaults_pass_their_own_checks() {
        assert_eq!(load(&[]).unwrap(), Config::default());
    }

    #[test]
    fn a_word_and_a_toml_string_are_the_same_value() {
        assert_eq!(
            load(&["model.kind=linear"]).unwrap(),
            load(&["model.kind=\"linear\""]).unwrap()
        );
    }

    #[test]
    fn lambda_takes_a_number_a_negative_number_and_inf() {
        for (text, expected) in [
            ("2", 2.0),
            ("0.5", 0.5),
            ("-5", -5.0),
            ("inf", f64::INFINITY),
        ] {
            let config = load(&[&format!("learner.lambda={text}")]).unwrap();
            assert_eq!(config.learner.lambda.0, expected);
        }
        let error = load(&["learner.lambda=0"]).unwrap_err();
        assert_eq!(error.key, "learner.lambda");
    }

    #[test]
    fn who_describes_a_learner_gets_that_one_as_it_is_and_else_a_calibrated_portfolio() {
        use evaluate::Calibration;
        use learner::Mode;
        for (assignments, mode, calibration) in [
            (&[][..], Mode::Portfolio, Calibration::On),
            (&["learner.batch_size=32"], Mode::Portfolio, Calibration::On),
            (&["schema.label=y"], Mode::Portfolio, Calibration::On),
            (&["learner.lambda=2"], Mode::Single, Calibration::Off),
            (&["model.kind=linear"], Mode::Single, Calibration::Off),
            (&["loss.kind=focal"], Mode::Single, Calibration::Off),
            (
                &["learner.lambda=2", "learner.mode=portfolio"],
                Mode::Portfolio,
                Calibration::On,
            ),
            (
                &["learner.lambda=2", "decision.calibration=on"],
                Mode::Single,
                Calibration::On,
            ),
            (
                &["decision.calibration=off"],
                Mode::Portfolio,
                Calibration::Off,
            ),
        ] {
            let config = load(assignments).unwrap();
            assert_eq!(config.learner.mode, mode, "{assignments:?}");
            let task = config.task().unwrap();
            assert_eq!(task.decision.calibration, calibration, "{assignments:?}");
        }
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let error = load(&["learner.lamda=5"]).unwrap_err();
        assert_eq!(error.key, "learner.lamda");
        assert!(error.reason.contains("learner.lambda"), "{}", error.reason);
        let error = load(&["lerner.lambda=5"]).unwrap_err();
        assert!(error.reason.contains("learner.lambda"), "{}", error.reason);
    }

    #[test]
    fn a_bad_value_names_key_value_and_reason() {
        let error = load(&["learner.gamma=1.5"]).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("learner.gamma = 1.5: "), "{text}");
        let error = load(&["learner.batch_size=many"]).unwrap_err();
        assert_eq!(error.key, "learner.batch_size");
        let error = load(&["model.kind=forest"]).unwrap_err();
        assert!(error.to_string().contains("linear"), "{error}");
    }

    #[test]
    fn later_layers_win() {
        let dir = tempfile::tempdir().unwrap();
        let first = dir.path().join("a.toml");
        let second = dir.path().join("b.toml");
        std::fs::write(&first, "seed = 2\n[learner]\ngamma = 0.2\nbatch_size = 7\n").unwrap();
        std::fs::write(&second, "[learner]\ngamma = 0.3\n").unwrap();
        let environment = [
            ("SKEWD_LEARNER__GAMMA".to_owned(), "0.4".to_owned()),
            ("SKEWD_SEED".to_owned(), "9".to_owned()),
            ("HOME".to_owned(), "/root".to_owned()),
        ];
        let config = Config::load(
            &[first, second],
            environment.into_iter(),
            &["learner.gamma=0.5".to_owned()],
        )
        .unwrap();
        assert_eq!(config.learner.gamma, 0.5);
        assert_eq!(config.learner.batch_size, 7);
        assert_eq!(config.seed, 9);
    }

    #[test]
    fn lists_may_be_typed_with_commas_and_numbers() {
        let config = load(&["schema.classes=[0, 1]", "schema.features=a,b"]).unwrap();
        assert_eq!(config.schema.classes, ["0", "1"]);
        assert_eq!(config.schema.features, ["a", "b"]);
        let config = load(&["model.hidden=[8]"]).unwrap();
        assert_eq!(config.model.hidden, [8]);
    }

    #[test]
    fn an_unknown_variable_is_refused_with_its_name() {
        let environment = [("SKEWD_LEARNER__GAMA".to_owned(), "0.4".to_owned())];
        let error = Config::load(&[], environment.into_iter(), &[]).unwrap_err();
        assert!(error.reason.contains("learner.gamma"), "{error}");
    }

    #[test]
    fn settings_come_back_from_where_they_are_written_down_as_they_were() {
        for assignment in [
            r#"schema.label=" a""#,
            r#"schema.label="1e5""#,
            r#"schema.label="[]""#,
            r#"schema.id="0x10""#,
            r#"schema.weight='"w"'"#,
            r#"schema.classes=["\u007f", "b"]"#,
            r#"decision.costs={"a=b" = 2}"#,
        ] {
            let config = load(&[assignment]).unwrap();
            assert_eq!(config.with(&config.learning()), Ok(config), "{assignment}");
        }
    }

    #[test]
    fn a_name_of_endless_parts_is_no_setting() {
        let endless = format!("{}a=1", "a.".repeat(200_000));
        let error = load(&[&endless]).unwrap_err();
        assert!(error.reason.starts_with("is not a setting"), "{error}");
        assert!(error.to_string().len() < 200, "{error}");
    }

    #[test]
    fn learning_settings_leave_out_where_things_are() {
        let learning = Config::default().learning();
        assert!(learning.contains_key("learner.lambda"));
        assert!(learning.contains_key("seed"));
        assert!(
            !learning
                .keys()
                .any(|key| key.starts_with("http.") || key == "data_dir")
        );
    }
}
