//! Every way in which a record can be bad, as a closed set with stable names.

/// Why a record is not an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Not JSON (or not CSV): bad syntax, bad UTF-8, trailing bytes, duplicate keys, nested too deep.
    Syntax,
}

/// A bad record: the reason, and what a person needs to repair it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// One of the closed set.
    pub reason: Reason,
    /// What was wrong and where, in words.
    pub detail: String,
}
