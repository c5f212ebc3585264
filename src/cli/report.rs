//! What `replay` writes about a run: the JSON report, the predictions as CSV, the table on the terminal.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::evaluate::{Decided, DecisionSettings, Exact, Metrics, PerClass, most_probable};
use crate::learner::Warning;

/// The whole report of `--report`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was read.
    pub input: Input,
    /// Wall-clock seconds of the run.
    pub seconds: f64,
    /// Examples learned a second.
    pub examples_per_second: f64,
    /// Digest of the learning state after the last full batch.
    pub digest: String,
    /// Examples learned by then.
    pub examples: u64,
    /// One entry a learner, in the order they were named.
    pub learners: Vec<LearnerReport>,
    /// What was noticed of the stream.
    pub warnings: Vec<Warning>,
}

/// What a run read.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Input {
    /// Records read, bad and unlabelled ones included.
    pub rows: u64,
    /// Rejected records by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Accepted examples by class, in order of first appearance.
    pub classes: PerClass<u64>,
}

/// One learner of the run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LearnerReport {
    /// Its name; for a grid the settings that differ.
    pub name: String,
    /// Digest of its own state, where several learned side by side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Of a member of a portfolio: what it counts for in what is served, at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Its settings, dotted keys.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// Figures over the whole stream.
    pub metrics: Metrics,
    /// Mean over ten equal windows.
    pub windowed: Metrics,
    /// What the decision rule achieved.
    pub decided: Decided,
    /// Weight statistics after the last step, as `/v1/weights` shows them.
    pub weights: serde_json::Value,
}

impl LearnerReport {
    /// Computes the figures of a learner from its predictions.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        settings: BTreeMap<String, serde_json::Value>,
        predictions: &Exact,
        classes: &[Arc<str>],
        weights: serde_json::Value,
        decision: &DecisionSettings,
    ) -> Self {
        let ((metrics, windowed), decided) = rayon::join(
            || {
                rayon::join(
                    || predictions.metrics(classes),
                    || predictions.windowed(classes),
                )
            },
            || Decided::of(predictions, decision, classes),
        );
        Self {
            name: name.into(),
            digest: None,
            share: None,
            settings,
            windowed,
            decided,
            metrics,
            weights,
        }
    }
}

impl Report {
    /// Writes the report as indented JSON, with a newline at the end. What is undefined is `null`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        serde_json::to_writer_pretty(&mut out, self)?;
        out.write_all(b"\n")?;
        out.flush()
    }

    /// The learners and their main figures, windowed ones first, as a table for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_BORDERS_ONLY)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(
                std::iter::once("learner").chain(COLUMNS.iter().map(|(heading, _)| *heading)),
            );
        for learner in &self.learners {
            let figures = COLUMNS.iter().map(|(_, figure)| match figure(learner) {
                Some(value) => format!("{value:.4}"),
                None => "-".to_owned(),
            });
            table.add_row(std::iter::once(learner.name.clone()).chain(figures));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}

/// A column of the table: its heading and its figure.
type Column = (&'static str, fn(&LearnerReport) -> Option<f64>);

const COLUMNS: [Column; 8] = [
    ("PR-AUC rare\nwindowed", |learner| {
        learner.windowed.pr_auc_rare
    }),
    ("PR-AUC rare\nwhole", |learner| learner.metrics.pr_auc_rare),
    ("PR-AUC macro\nwindowed", |learner| {
        learner.windowed.pr_auc_macro
    }),
    ("ROC-AUC macro\nwindowed", |learner| {
        learner.windowed.roc_auc_macro
    }),
    ("balanced acc.\nwindowed", |learner| {
        learner.windowed.balanced_accuracy
    }),
    ("G-mean\nwindowed", |learner| learner.windowed.g_mean),
    ("log-loss\nwindowed", |learner| learner.windowed.log_loss),
    ("accuracy\nwindowed", |learner| learner.windowed.accuracy),
];

/// Writes `--predictions`: one line an accepted example and learner, in stream order, the learners of an
/// example one after the other.
///
/// Columns: `row` (from 0 in the input), `learner`, `label`, `class` (the most probable one), `weight` (empty:
/// not learned), then `p_<class>` for every class of the run (empty: not known then). Numbers carry the
/// shortest digits that read back as the same 32-bit float.
///
/// # Errors
/// When the file cannot be written.
pub fn write_predictions(
    path: &Path,
    classes: &[Arc<str>],
    learners: &[(&str, &Exact)],
) -> io::Result<()> {
    let mut out = predictions(BufWriter::new(File::create(path)?), classes, learners)?;
    out.flush()
}

/// [`write_predictions`] into any writer, which it gives back.
///
/// # Errors
/// When the writer fails.
pub fn predictions<W: Write>(
    out: W,
    classes: &[Arc<str>],
    learners: &[(&str, &Exact)],
) -> io::Result<W> {
    let mut csv = csv::Writer::from_writer(out);
    for column in ["row", "learner", "label", "class", "weight"] {
        csv.write_field(column)?;
    }
    for class in classes {
        csv.write_field(format!("p_{class}"))?;
    }
    csv.write_record(None::<&[u8]>)?;

    let name = |class: usize| classes.get(class).map_or("", |name| &**name);
    let mut streams: Vec<_> = learners
        .iter()
        .map(|&(learner, predictions)| (learner, predictions.iter()))
        .collect();
    let longest = learners
        .iter()
        .map(|(_, predictions)| predictions.len())
        .max();
    let mut text = String::new();
    for _ in 0..longest.unwrap_or(0) {
        for (learner, stream) in &mut streams {
            let Some(scored) = stream.next() else {
                continue;
            };
            let mut number = |csv: &mut csv::Writer<W>, value: Option<f32>| {
                text.clear();
                if let Some(value) = value {
                    use std::fmt::Write;
                    // The debug form switches to an exponent where plain digits would be long.
                    let _ = write!(text, "{value:?}");
                }
                csv.write_field(&text)
            };
            csv.write_field(scored.row.to_string())?;
            csv.write_field(learner.as_bytes())?;
            csv.write_field(name(scored.label as usize))?;
            csv.write_field(most_probable(scored.probabilities).map_or("", name))?;
            number(&mut csv, scored.weight)?;
            for class in 0..classes.len() {
                number(&mut csv, scored.probabilities.get(class).copied())?;
            }
            csv.write_record(None::<&[u8]>)?;
        }
    }
    csv.into_inner().map_err(|error| error.into_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Scored;

    fn classes() -> Vec<Arc<str>> {
        vec!["ok".into(), "a \"big\", fraud".into()]
    }

    /// Ten examples; the first was predicted before any class was known, the last was not learned.
    fn predictions_of(shift: f32) -> Exact {
        let mut exact = Exact::new();
        for row in 0..10u32 {
            let fraud = ((row % 5) as f32 / 5.0 + shift) / 1.5;
            let known = [1.0 - fraud, fraud];
            exact.push(Scored {
                row: u64::from(row) * 2,
                label: u32::from(row % 5 == 4),
                weight: (row < 9).then_some(1.0 / 3.0),
                time: None,
                probabilities: &known[..row.min(2) as usize],
            });
        }
        exact
    }

    fn report() -> Report {
        let settings = BTreeMap::from([("learner.lambda".to_owned(), 5.0.into())]);
        let weights = serde_json::json!({ "lambda": 5.0 });
        let learner = |name: &str, shift| {
            LearnerReport::new(
                name,
                settings.clone(),
                &predictions_of(shift),
                &classes(),
                weights.clone(),
                &DecisionSettings::default(),
            )
        };
        Report {
            input: Input {
                rows: 20,
                rejected: BTreeMap::from([("not_json".to_owned(), 10)]),
                classes: PerClass::new(&classes(), vec![8, 2]),
            },
            seconds: 0.5,
            examples_per_second: 20.0,
            digest: "00".to_owned(),
            examples: 9,
            learners: vec![learner("one", 0.0), learner("two", 0.1)],
            warnings: Vec::new(),
        }
    }

    #[test]
    fn the_report_has_the_members_of_the_contract() {
        let path = tempfile::NamedTempFile::new().unwrap();
        report().write(path.path()).unwrap();
        let json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path.path()).unwrap()).unwrap();
        let keys = |value: &serde_json::Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            keys(&json),
            "digest examples examples_per_second input learners seconds warnings"
        );
        assert_eq!(keys(&json["input"]), "classes rejected rows");
        assert_eq!(json["input"]["classes"]["ok"], 8);
        let learner = &json["learners"][0];
        assert_eq!(
            keys(learner),
            "decided metrics name settings weights windowed"
        );
        let figures = "accuracy balanced_accuracy brier calibration_error g_mean log_loss pr_auc \
                       pr_auc_macro pr_auc_rare precision recall roc_auc roc_auc_macro";
        assert_eq!(keys(&learner["metrics"]), figures);
        assert_eq!(keys(&learner["windowed"]), figures);
        assert_eq!(
            keys(&learner["decided"]),
            "alerts balanced_accuracy g_mean precision precision_interval recall recall_interval rule threshold windowed"
        );
        assert_eq!(learner["decided"]["rule"], "argmax");
        assert_eq!(learner["decided"]["g_mean"], learner["metrics"]["g_mean"]);
        assert!(
            learner["windowed"]["pr_auc_rare"].is_null(),
            "no window has five examples"
        );
        assert_eq!(learner["metrics"]["pr_auc"][&*classes()[1]], 1.0);
    }

    #[test]
    fn the_predictions_read_back_to_the_same_bits() {
        let (one, two) = (predictions_of(0.0), predictions_of(0.1));
        let bytes = predictions(Vec::new(), &classes(), &[("one", &one), ("t,wo", &two)]).unwrap();
        let mut csv = csv::Reader::from_reader(bytes.as_slice());
        let header: Vec<&str> = csv.headers().unwrap().iter().collect();
        assert_eq!(
            header.join("|"),
            "row|learner|label|class|weight|p_ok|p_a \"big\", fraud"
        );
        let records: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
        assert_eq!(records.len(), 20);
        let number = |text: &str| (!text.is_empty()).then(|| text.parse::<f32>().unwrap());
        let stores = [("one", one), ("t,wo", two)];
        for (index, record) in records.iter().enumerate() {
            let (learner, store) = &stores[index % 2];
            let scored = store.iter().nth(index / 2).unwrap();
            assert_eq!(&record[0], scored.row.to_string());
            assert_eq!(&record[1], *learner);
            assert_eq!(&record[2], &*classes()[scored.label as usize]);
            let class = most_probable(scored.probabilities);
            assert_eq!(
                &record[3],
                class.map_or("", |class| ["ok", "a \"big\", fraud"][class])
            );
            assert_eq!(number(&record[4]), scored.weight);
            for class in 0..2 {
                assert_eq!(
                    number(&record[5 + class]),
                    scored.probabilities.get(class).copied()
                );
            }
        }
    }

    #[test]
    fn the_table_names_every_learner_and_marks_what_is_undefined() {
        let table = report().table();
        let line = |name: &str| {
            table
                .lines()
                .find(|line| line.contains(name))
                .unwrap()
                .to_owned()
        };
        assert!(
            line("one").contains('-') && line("two").contains("1.0000"),
            "{table}"
        );
    }
}
