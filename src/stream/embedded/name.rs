//! The name of a log, written into it when it is made. Positions are worth something only beside it: offset 20,000 of a
//! log that was put in the place of another one is not where the other one was left.

use redb::{ReadTransaction, TableDefinition, TableError, WriteTransaction};
use uuid::Uuid;

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
        identity == self.identity() || (self.adopted && identity == NAMELESS)
    }
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
    }
    Ok(())
}
