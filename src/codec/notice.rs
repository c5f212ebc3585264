//! What a person should know about a stream that is no fault of a single record.

use serde::Serialize;

/// What it is about: a closed set with stable names, which metrics and reports use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Concern {
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
    pub const ALL: [Self; 9] = [
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
