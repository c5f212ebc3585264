//! What each fuzz target does with its input. The targets in `fuzz/` include these files; `corpora` runs them over
//! the inputs that fuzzing has found.

mod arrivals;
pub mod checkpoint;
pub mod csv;
pub mod journal;
mod memory;
pub mod predict_body;
pub mod record;
pub mod settings;
mod sound;
