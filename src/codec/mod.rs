//! Bytes -> example, or a reason why not.

pub mod reject;

pub use reject::{Reason, Reject};
