//! One binary for the tests that use the library, or the program, from outside.

// In a test a panic is the failure report, also in the functions that tests share.
#![allow(clippy::unwrap_used)]

mod bodies;
mod changes;
mod commands;
mod contract;
mod corpora;
mod decisions;
mod disturbed;
mod golden;
mod guard;
mod inputs;
mod journal;
mod kafka;
mod life;
mod lost_log;
mod metrics;
mod notices;
mod poison;
mod portfolio;
mod properties;
mod reaction;
mod replay;
mod resume;
mod senders;
mod snapshot;
mod support;
mod tidy;
mod tls;
