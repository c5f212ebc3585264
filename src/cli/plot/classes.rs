//! The figures of each class, as a table.

use std::io::{self, Write};
use std::sync::Arc;

use super::{Learner, escape};

/// Writes the table of what was served: one row a class, in the order of their numbers.
pub(super) fn write(
    out: &mut impl Write,
    served: &Learner<'_>,
    classes: &[Arc<str>],
) -> io::Result<()> {
    let metrics = served.metrics;
    let counts = served.predictions.class_counts(classes.len());
    let all: u64 = counts.iter().sum();
    writeln!(
        out,
        "<h2>Class by class: {}</h2>\n<p>Over the whole stream, every example predicted before it was learned; recall and precision \
         of the most probable class.</p>\n<table><thead><tr><th>class</th><th>examples</th><th>share</th><th>PR-AUC</th>\
         <th>ROC-AUC</th><th>recall</th><th>precision</th></tr></thead><tbody>",
        escape(served.name)
    )?;
    for (class, name) in classes.iter().enumerate() {
        let figure = |of: &crate::evaluate::PerClass<Option<f64>>| {
            of.get(name)
                .copied()
                .flatten()
                .map_or_else(|| "–".to_owned(), |value| format!("{value:.4}"))
        };
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{:.3} %</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(name),
            counts[class],
            100.0 * counts[class] as f64 / all.max(1) as f64,
            figure(&metrics.pr_auc),
            figure(&metrics.roc_auc),
            figure(&metrics.recall),
            figure(&metrics.precision),
        )?;
    }
    writeln!(out, "</tbody></table>")
}
