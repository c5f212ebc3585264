//! Settings: what was typed (defaults < files < environment < `--set`) becomes one checked [`Config`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::learner::Task;
use crate::{checkpoint, codec, evaluate, learner, loss, model, serve, stream};

mod layers;
#[cfg(test)]
mod tests;

pub use layers::{Layers, describes_a_learner, environment, is_setting, parse_assignment};

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
        self.check_places()?;
        if self.source.kind == stream::Kind::Kafka && self.kafka.topic.is_empty() {
            return Err(self.complaint(
                "kafka.topic",
                "is needed when source.kind = \"kafka\": name the topic to learn from".to_owned(),
            ));
        }
        Ok(())
    }

    /// Where the daemon writes and listens.
    fn check_places(&self) -> Result<(), Error> {
        if self.data_dir.as_os_str().is_empty() {
            let reason = "is empty: name a folder for the state, or \".\" for this one";
            return Err(self.complaint("data_dir", reason.to_owned()));
        }
        if let (Ok(public), Ok(admin)) = (self.http.address(), self.admin.address())
            && public.port() == admin.port()
            && public.port() != 0
            && (public.ip() == admin.ip()
                || public.ip().is_unspecified()
                || admin.ip().is_unspecified())
        {
            let reason = format!("is where http.listen ({public}) is: give it another port");
            return Err(self.complaint("admin.listen", reason));
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
