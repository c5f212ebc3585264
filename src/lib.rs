//! skewd: learn from a skewed stream while it runs.
//!
//! # The map, in reading order
//!
//! | room | what it holds | layer |
//! |---|---|---|
//! | [`example`] | the nouns: records, positions, examples | nouns |
//! | [`state`] | the learning state as named arrays, and its digest | nouns |
//! | [`random`] | random numbers that are a function of seed and place, and the reservoir | nouns |
//! | [`wide`] | loops over wide vectors, the same to the bit on every processor | nouns |
//! | [`crash`] | places where the crash test may end the process | nouns |
//! | [`absgd`] | losses -> weights (log domain), momentum, weight statistics | pure |
//! | [`loss`] | per-example losses and their gradients, never reduced | pure |
//! | [`model`] | linear and MLP: forward, backward, update; ordered parameters | pure |
//! | [`codec`] | bytes -> example, or a reason why not; schema, discovery, encoding | pure |
//! | [`evaluate`] | prequential metrics that rare classes cannot break | pure |
//! | [`learner`] | `handle(event) -> effects`: batches, the step, the guard, snapshots | heart |
//! | [`stream`] | where records come from: embedded log, Kafka, files | edge |
//! | [`checkpoint`] | the state and the positions in one file, written atomically | edge |
//! | [`serve`] | HTTP: predictions, statistics, ingest, admin, the page | edge |
//! | [`telemetry`] | every metric name, label and bucket; logging | edge |
//! | [`config`] | what was typed -> checked settings | door |
//! | [`daemon`] | the only file that knows every room: build, THE LOOP, drain | door |
//! | [`cli`] | the commands | door |
//!
//! # The data path, one way
//!
//! `Record -> codec -> Example -> batcher -> Batch -> step [forward -> losses -> weights -> Σwᵢℓᵢ/B ->
//! backward -> clip -> momentum] -> Snapshot -> Arc swap -> predictions`
//!
//! # The import rule
//!
//! Imports point inwards, edges never meet, only `daemon` knows everyone:
//! nouns <- pure <- heart <- edges <- door. `tests/it/tidy.rs` holds the walls up.

pub mod crash;
pub mod example;
pub mod random;
pub mod state;
pub mod wide;

pub mod absgd;
pub mod loss;
pub mod model;

pub mod codec;
pub mod evaluate;

pub mod learner;

pub mod checkpoint;
pub mod serve;
pub mod stream;
pub mod telemetry;

pub mod cli;
pub mod config;
pub mod daemon;
