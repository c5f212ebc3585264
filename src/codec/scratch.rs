//! Memory that the decoder keeps from record to record: nothing is allocated for a field.
//!
//! What is remembered between records (which name followed which) only makes look-ups faster; no result
//! depends on it.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::plan::{Plan, Table, Which};

/// Not an index.
const NONE: u32 = u32::MAX;

/// What became of a field's name.
pub(super) enum Known {
    /// The entry of the table.
    Entry(usize),
    /// The table does not hold it.
    Unknown,
    /// It stood in this record before.
    Twice,
}

/// The names of one table as they come by.
#[derive(Debug, Default)]
struct Track {
    /// Record in which an entry was last seen.
    seen: Vec<u32>,
    /// The entry that last followed an entry; the first place is for the start of a record.
    after: Vec<u32>,
    /// Place of the last known name in `after`.
    last: usize,
    /// Number of the current record.
    record: u32,
}

impl Track {
    fn new(table: &Table) -> Self {
        let entries = table.entries.len();
        let mut after: Vec<u32> = (0..=entries as u32).collect();
        after[entries] = NONE;
        Self {
            seen: vec![0; entries],
            after,
            last: 0,
            record: 0,
        }
    }

    fn begin(&mut self) {
        self.last = 0;
        self.record = self.record.wrapping_add(1);
        if self.record == 0 {
            self.seen.fill(0);
            self.record = 1;
        }
    }

    /// The entry with this name: the one that followed last time, else looked up.
    #[inline]
    fn find(&mut self, table: &Table, name: &str) -> Option<usize> {
        let guess = self.after[self.last];
        let hit = table
            .entries
            .get(guess as usize)
            .is_some_and(|entry| *entry.name == *name);
        let index = if hit {
            guess as usize
        } else {
            let found = table.find(name)?;
            self.after[self.last] = found as u32;
            found
        };
        self.last = index + 1;
        Some(index)
    }
}

/// A name where it stood last time.
pub(super) struct Expected {
    /// Its entry.
    pub index: usize,
    /// Bytes up to the value, without white space.
    pub length: usize,
    /// See [`super::plan::Spelling::number`].
    pub number: u32,
}

impl Track {
    /// The name that followed last time, if the text begins with it.
    #[inline(always)]
    fn expect(&mut self, table: &Table, text: &[u8]) -> Option<Expected> {
        let index = self.after[self.last] as usize;
        let spelling = table.spellings.get(index)?;
        let length = spelling.begins(text)?;
        let seen = self.seen.get_mut(index)?;
        if *seen == self.record {
            return None;
        }
        *seen = self.record;
        self.last = index + 1;
        Some(Expected {
            index,
            length,
            number: spelling.number,
        })
    }
}

/// The decoder's memory for one plan.
#[derive(Debug)]
pub(super) struct Scratch {
    /// The row that is being filled; NaN = missing.
    pub row: Vec<f32>,
    /// Path of the object that is being read, with a dot at its end; empty at the top.
    pub path: String,
    tracks: [Track; 3],
    /// Hashes of the unknown names of this record.
    unknown: Vec<u64>,
}

impl Scratch {
    pub fn new(plan: &Plan) -> Self {
        Self {
            row: Vec::with_capacity(plan.targets.len()),
            path: String::new(),
            tracks: [&plan.flat, &plan.envelope, &plan.features].map(Track::new),
            unknown: Vec::new(),
        }
    }

    /// Forgets the record before.
    pub fn begin(&mut self, plan: &Plan) {
        self.row.clear();
        self.row.resize(plan.targets.len(), f32::NAN);
        self.path.clear();
        self.unknown.clear();
        self.tracks.iter_mut().for_each(Track::begin);
    }

    /// The name that `text` begins with, at the top of a record or row, if it stood there last time. Else nothing has
    /// changed.
    #[inline(always)]
    pub fn expect(&mut self, table: &Table, which: Which, text: &[u8]) -> Option<Expected> {
        self.tracks[which as usize].expect(table, text)
    }

    /// What a field's name, inside the object at `path`, is.
    #[inline]
    pub fn know(&mut self, plan: &Plan, which: Which, key: &str) -> Known {
        if self.path.is_empty() {
            return resolve(
                &mut self.tracks[which as usize],
                &mut self.unknown,
                plan,
                which,
                key,
            );
        }
        let parent = self.path.len();
        self.path.push_str(key);
        let track = &mut self.tracks[which as usize];
        let known = resolve(track, &mut self.unknown, plan, which, &self.path);
        self.path.truncate(parent);
        known
    }

    /// True when an unknown name stood twice in one object.
    pub fn unknown_twice(&mut self) -> bool {
        if self.unknown.len() < 2 {
            return false;
        }
        self.unknown.sort_unstable();
        self.unknown.windows(2).any(|pair| pair[0] == pair[1])
    }
}

#[inline]
fn resolve(
    track: &mut Track,
    unknown: &mut Vec<u64>,
    plan: &Plan,
    which: Which,
    name: &str,
) -> Known {
    match track.find(plan.table(which), name) {
        Some(index) if track.seen[index] == track.record => Known::Twice,
        Some(index) => {
            track.seen[index] = track.record;
            Known::Entry(index)
        }
        None => {
            unknown.push(xxh3_64_with_seed(name.as_bytes(), which as u64));
            Known::Unknown
        }
    }
}
