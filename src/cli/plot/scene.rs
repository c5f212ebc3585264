//! From a finished replay to what the page shows.

use std::sync::Arc;

use super::super::lane::Lane;
use super::super::report::Report;
use super::{Learner, Mixture, Scene};
use crate::evaluate::Exact;

impl<'a> Scene<'a> {
    /// What `--plot` draws of a run: `predictions` are those of the report's learners, in their order.
    #[must_use]
    pub fn of(
        title: String,
        classes: &'a [Arc<str>],
        report: &'a Report,
        predictions: &[(&'a str, &'a Exact)],
        lanes: &'a [Lane],
    ) -> Self {
        let learners = report.learners.iter().zip(predictions);
        let mixtures = lanes.iter().filter(|lane| !lane.members.is_empty());
        Self {
            title,
            classes,
            learners: learners
                .map(|(report, (name, predictions))| Learner {
                    name,
                    predictions,
                    metrics: &report.metrics,
                })
                .collect(),
            mixtures: mixtures
                .map(|lane| Mixture {
                    name: &lane.name,
                    members: lane
                        .members
                        .iter()
                        .map(|(member, _)| member.name.as_str())
                        .collect(),
                    course: &lane.course,
                })
                .collect(),
        }
    }
}
