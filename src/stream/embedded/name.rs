//! The name of a log, written into it when it is made. Positions are worth something only beside it: offset 20,000 of a
//! log that was put in the place of another one is not where the other one was left.

use redb::{ReadTransaction, TableDefinition, TableError, WriteTransaction};
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use super::block::Stored;

/// Facts about the log as a whole.
const FACTS: TableDefinition<'static, &str, &str> = TableDefinition::new("facts.v1");
const NAME: &str = "name";
/// Set in a log that was made before logs had names.
const ADOPTED: &str = "adopted";

/// What the positions of a log without a name were kept beside.
const NAMELESS: &str = "embedded";

/// Which log it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    name: String,
    /// The log is older than its name, so positions may be known that were kept without one.
    adopted: bool,
}

impl Name {
    /// For a log that is made now.
    pub(super) fn fresh() -> Self {
        Self {
            name: Uuid::new_v4().to_string(),
            adopted: false,
        }
    }

    /// For a log that was made without one.
    pub(super) fn adopted() -> Self {
        Self {
            adopted: true,
            ..Self::fresh()
        }
    }

    /// What is kept beside positions.
    pub(super) fn identity(&self) -> String {
        format!("{NAMELESS} {}", self.name)
    }

    /// True when positions that were kept beside `identity` are positions of this log.
    pub(super) fn answers_to(&self, identity: &str) -> bool {
        let name = without_mark(identity);
        name == self.identity() || (self.adopted && name == NAMELESS)
    }
}

/// What was kept of the last record before a position: copies of a log have its name, and may go ways of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The record's offset.
    pub offset: u64,
    /// Hash of its time and its bytes.
    pub hash: u64,
}

impl Mark {
    /// The mark of a record.
    pub(super) fn of(offset: u64, (timestamp_ms, payload): &Stored) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(&timestamp_ms.to_le_bytes());
        hasher.update(payload);
        Self {
            offset,
            hash: hasher.digest(),
        }
    }

    /// An identity that says so.
    pub(super) fn beside(self, identity: &str) -> String {
        format!("{identity}{MARK}{}:{:016x}", self.offset, self.hash)
    }

    /// The mark in an identity, if there is one.
    pub(super) fn in_identity(identity: &str) -> Option<Self> {
        let (offset, hash) = identity.split_once(MARK)?.1.split_once(':')?;
        Some(Self {
            offset: offset.parse().ok()?,
            hash: u64::from_str_radix(hash, 16).ok()?,
        })
    }
}

/// What stands between a name and a mark.
const MARK: &str = " at ";

fn without_mark(identity: &str) -> &str {
    identity.split_once(MARK).map_or(identity, |(name, _)| name)
}

/// True when two identities may be those of one log.
pub(super) fn may_be_one(one: &str, other: &str) -> bool {
    let (one, other) = (without_mark(one), without_mark(other));
    is_of_a_log(one) && is_of_a_log(other) && (one == other || one == NAMELESS || other == NAMELESS)
}

/// True when an identity is that of some embedded log.
pub(super) fn is_of_a_log(identity: &str) -> bool {
    identity == NAMELESS || identity.starts_with("embedded ")
}

/// The name in a log; `None` where it has none yet.
pub(super) fn read(transaction: &ReadTransaction) -> Result<Option<Name>, redb::Error> {
    let facts = match transaction.open_table(FACTS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        facts => facts?,
    };
    let Some(name) = facts.get(NAME)?.map(|name| name.value().to_owned()) else {
        return Ok(None);
    };
    Ok(Some(Name {
        name,
        adopted: facts.get(ADOPTED)?.is_some(),
    }))
}

/// Writes the name.
pub(super) fn write(transaction: &WriteTransaction, name: &Name) -> Result<(), redb::Error> {
    let mut facts = transaction.open_table(FACTS)?;
    facts.insert(NAME, name.name.as_str())?;
    if name.adopted {
        facts.insert(ADOPTED, "")?;
    } else {
        facts.remove(ADOPTED)?;
    }
    Ok(())
}
