//! Bytes -> example, or a reason why not; which features there are; numbers for the model.
//!
//! | file | what it holds |
//! |---|---|
//! | `settings` | the `[schema]` table |
//! | `reject` | the closed set of reasons |
//! | `schema` | names and kinds of the features |
//! | `value`, `found` | what a value means, the same in JSON and CSV |
//! | `plan`, `scratch` | settings and schema compiled; memory kept between records |
//! | `json`, `json_walk`, `json_value`, `csv_record` | the two syntaxes |
//! | `quick`, `number` | the usual record and the usual number, read faster |
//! | `decoder` | one record: bytes -> row, label, weight, id |
//! | `discovery`, `survey`, `fields` | the schema of a stream that names none |
//! | `notice`, `census` | what to know about a stream; features that teach nothing |
//! | `classes`, `reading` | numbers of classes; a record as far as its bytes tell, for who decodes before its turn |
//! | `intake` | the whole: records in, arrivals out, classes numbered |
//! | `encoder`, `passes`, `lanes`, `moments`, `quantiles` | rows -> inputs of the model; what is known of the numbers; loops over them |
//! | `rows`, `split` | rows of predictions; records of a request body |
//!
//! # What a value means
//!
//! - A feature is missing when it is absent, `null`, an empty text or `NA`.
//! - A numeric feature is rounded to f64, then to f32; JSON and CSV give the same bits.
//! - A categorical feature is hashed by its text; a number by its literal (`3` and `3.0` differ), a bool as
//!   `true` or `false`.
//! - A CSV field that looks like a JSON number is one; every other is a text. Labels and ids are their text.
//! - A label that is absent, `null`, an empty text or `NA` means unlabelled (a text that is listed in `classes`
//!   is always a label). Integers are labels by their literal, of whatever length.

mod census;
mod classes;
mod csv_record;
mod decoder;
mod discovery;
mod encoder;
mod evidence;
mod fields;
mod found;
mod intake;
mod json;
mod json_value;
mod json_walk;
mod lanes;
mod moments;
mod notice;
mod number;
mod passes;
mod plan;
mod presence;
mod quantiles;
mod quick;
mod reading;
pub mod reject;
mod rows;
mod schema;
mod scratch;
mod sender;
mod settings;
mod shares;
mod split;
mod survey;
mod time;
mod value;

#[cfg(test)]
mod tests;

pub use csv_record::CsvFields;
pub use discovery::HeldCounts;
pub use encoder::Encoder;
pub use found::MAX_LABEL_BYTES;
pub use intake::Intake;
pub use notice::{Concern, Notice, in_few_words};
pub use reading::{Decoded, Reader, Terms};
pub use reject::{Reason, Reject};
pub use rows::{RowReader, row_of_json};
pub use schema::{Feature, Kind, Schema};
pub use sender::Sender;
pub use settings::{Encoding, Format, MAX_FEATURES, Settings};
pub use shares::{RecentShares, SHARES};
pub use split::{split_json_array, split_lines};
pub use value::looks_like_number;
