//! Rows of a prediction request.

use super::json;
use super::plan::Plan;
use super::quick;
use super::reject::Reject;
use super::schema::Schema;
use super::scratch::Scratch;
use super::settings::Settings;

/// Reads the rows of prediction requests by one schema; built once, shared by all requests.
#[derive(Debug, Clone)]
pub struct RowReader {
    plan: Plan,
}

impl RowReader {
    /// A reader for rows of this schema.
    #[must_use]
    pub fn new(schema: &Schema) -> Self {
        Self {
            plan: Plan::for_rows(schema),
        }
    }

    /// One row from its JSON text: an array in the order of the schema, or an object by name, where a dotted
    /// path reaches into nested objects. Unknown names (a label is one) are ignored, absent ones are missing.
    ///
    /// # Errors
    /// Why the text is no row; the detail continues the row's own name (see [`Reject::detail`]).
    pub fn read(&self, raw: &str) -> Result<Box<[f32]>, Reject> {
        let mut scratch = Scratch::new(&self.plan);
        if quick::row(&self.plan, &mut scratch, raw).is_some() {
            return Ok(scratch.row.into_boxed_slice());
        }
        match json::row(&self.plan, &mut scratch, raw) {
            Ok(()) => Ok(scratch.row.into_boxed_slice()),
            Err(fault) => Err(fault.into_row_reject()),
        }
    }
}

/// One row of a prediction request: an array in the order of the schema, or an object by name. For many rows
/// build a [`RowReader`] once.
///
/// # Errors
/// Why the text is no row; the detail continues the row's own name (see [`Reject::detail`]).
///
/// ```
/// use skewd::codec::{Schema, Settings, row_of_json};
/// let settings = Settings { features: vec!["amount".into(), "geo.lat".into()], ..Settings::default() };
/// let schema = Schema::given(&settings).unwrap();
/// let by_position = row_of_json(&schema, &settings, "[12.5, 47]").unwrap();
/// let by_name = row_of_json(&schema, &settings, r#"{"geo": {"lat": 47}, "amount": 12.5}"#).unwrap();
/// assert_eq!(by_position, by_name);
/// let reject = row_of_json(&schema, &settings, r#"{"amount": "x"}"#).unwrap_err();
/// assert!(format!("rows[3]{}", reject.detail).starts_with("rows[3].amount: text"));
/// ```
pub fn row_of_json(schema: &Schema, _settings: &Settings, raw: &str) -> Result<Box<[f32]>, Reject> {
    RowReader::new(schema).read(raw)
}
