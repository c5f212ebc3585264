//! What a person should know about a stream that is no fault of a single record.

use serde::Serialize;

use super::reject::printable;

/// What it is about: a closed set with stable names, which metrics and reports use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Concern {
    /// What was decided from the first records, or cannot be, or that columns and schema do not fit.
    Schema,
    /// A feature has had one value only, or none.
    ConstantFeature,
    /// A feature names records instead of describing them.
    IdentifierFeature,
    /// A feature that was usual is missing.
    FeatureMissing,
    /// Values of a feature lie far outside of all before.
    FeatureRange,
    /// Many records are refused.
    Rejects,
    /// All examples are of one class.
    OneClass,
    /// A class came for the first time, late.
    NewClass,
    /// A class comes far more, or less, often than before.
    ClassShare,
    /// A class has become harder to predict.
    ClassHarder,
}

impl Concern {
    /// All of them, in the order of declaration: `concern as usize` is its place here.
    pub const ALL: [Self; 10] = [
        Self::Schema,
        Self::ConstantFeature,
        Self::IdentifierFeature,
        Self::FeatureMissing,
        Self::FeatureRange,
        Self::Rejects,
        Self::OneClass,
        Self::NewClass,
        Self::ClassShare,
        Self::ClassHarder,
    ];

    /// The stable name, as in reports.
    ///
    /// ```
    /// use skewd::codec::Concern;
    /// for concern in Concern::ALL {
    ///     assert_eq!(serde_json::json!(concern), concern.as_str());
    /// }
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::ConstantFeature => "constant_feature",
            Self::IdentifierFeature => "identifier_feature",
            Self::FeatureMissing => "feature_missing",
            Self::FeatureRange => "feature_range",
            Self::Rejects => "rejects",
            Self::OneClass => "one_class",
            Self::NewClass => "new_class",
            Self::ClassShare => "class_share",
            Self::ClassHarder => "class_harder",
        }
    }
}

/// One thing to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub concern: Concern,
    /// The feature, class or reason that it is about.
    pub subject: String,
    /// What was seen, and what to do; printable and short whatever the records held.
    pub message: String,
}

impl Notice {
    /// Something about the schema.
    pub(super) fn of_schema(subject: &str, message: String) -> Self {
        Self {
            concern: Concern::Schema,
            subject: printable(subject),
            message,
        }
    }
}

/// Notices of one kind that are told one by one; of a wide schema hundreds may come at once.
const ONE_BY_ONE: usize = 8;
/// Names in the notice that stands for the others.
const NAMED: usize = 40;

/// The notices, where there are many of a kind the later ones as a single one that lists their subjects.
#[must_use]
pub fn in_few_words(notices: Vec<Notice>) -> Vec<Notice> {
    let mut told: Vec<Notice> = Vec::new();
    let mut others = std::collections::BTreeMap::<Concern, Vec<String>>::new();
    for notice in notices {
        let same = told.iter().filter(|other| other.concern == notice.concern);
        if same.count() < ONE_BY_ONE {
            told.push(notice);
        } else {
            let subjects = others.entry(notice.concern).or_default();
            subjects.push(notice.subject);
        }
    }
    told.extend(others.into_iter().map(|(concern, subjects)| {
        let named = &subjects[..subjects.len().min(NAMED)];
        let rest = match subjects.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Notice {
            concern,
            subject: format!("{} others", subjects.len()),
            message: format!("{}: also {}{rest}", concern.as_str(), named.join(", ")),
        }
    }));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_of_a_kind_are_told_in_few_words_and_the_few_of_another_one_by_one() {
        let notice = |concern, number: usize| Notice {
            concern,
            subject: format!("f{number}"),
            message: "m".to_owned(),
        };
        let mut all: Vec<Notice> = (0..100)
            .map(|number| notice(Concern::FeatureMissing, number))
            .collect();
        all.push(notice(Concern::FeatureRange, 3));
        let few = in_few_words(all.clone());
        assert_eq!(few.len(), ONE_BY_ONE + 2);
        assert_eq!(few[..ONE_BY_ONE], all[..ONE_BY_ONE]);
        assert_eq!(few[ONE_BY_ONE], all[100]);
        let last = &few[ONE_BY_ONE + 1];
        assert_eq!(last.subject, "92 others");
        assert!(
            last.message.contains("f8, f9, ") && last.message.ends_with("and 52 more"),
            "{}",
            last.message
        );
        assert_eq!(in_few_words(all[..5].to_vec()), all[..5]);
    }
}
