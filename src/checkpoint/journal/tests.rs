use std::fs;
use std::time::Duration;

use super::*;
use crate::learner::recorded::{Entry, Run};

const PATIENCE: Duration = Duration::from_secs(30);

fn batch(examples: u64) -> Entry {
    let end = examples as i64;
    Entry {
        taken: examples,
        runs: vec![Run(0, end - 10, end)],
        mark: examples * 31,
        change: None,
    }
}

fn write(dir: &Path, after: u64, batches: std::ops::RangeInclusive<u64>) {
    let journal = Journal::open(dir, after, 1 << 30, None).unwrap();
    for number in batches.clone() {
        journal.append(batch(number * 10));
    }
    assert!(journal.waiter().wait_for(*batches.end() * 10, PATIENCE));
    assert_eq!(journal.durable(), *batches.end() * 10);
    assert_eq!(journal.trouble(), None);
}

fn examples(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.taken).collect()
}

#[test]
fn entries_come_back_over_files_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    assert!(read_all(dir.path(), 0).unwrap().is_empty());
    write(dir.path(), 0, 1..=3);
    write(dir.path(), 30, 4..=5);
    let entries = read_all(dir.path(), 0).unwrap();
    assert_eq!(
        entries,
        (1..=5).map(|number| batch(number * 10)).collect::<Vec<_>>()
    );
    assert_eq!(examples(&read_all(dir.path(), 20).unwrap()), [30, 40, 50]);
    assert_eq!(examples(&read_all(dir.path(), 50).unwrap()), [0_u64; 0]);
}

#[test]
fn a_torn_end_is_cut_at_every_byte_and_written_over() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0, 1..=3);
    let path = path_of(dir.path(), 0);
    let whole = fs::read(&path).unwrap();
    let lengths: Vec<usize> = (0..=3)
        .map(|entries| {
            let json: usize = (1..=entries)
                .map(|number| {
                    serde_json::to_vec(&batch(number * 10)).unwrap().len() + 4 + HASH_BYTES
                })
                .sum();
            HEAD_BYTES + json
        })
        .collect();
    assert_eq!(lengths[3], whole.len());
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let left = lengths[1..].iter().filter(|length| **length <= end).count() as u64;
        let (entries, tail) = read(&path).unwrap();
        assert_eq!(entries.len() as u64, left, "cut at {end}");
        assert_eq!(tail == Tail::Whole, lengths.contains(&end), "cut at {end}");
    }
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    write(dir.path(), 20, 3..=4);
    assert_eq!(
        examples(&read_all(dir.path(), 0).unwrap()),
        [10, 20, 30, 40]
    );
}

#[test]
fn a_changed_byte_ends_the_journal_before_it() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0, 1..=3);
    let path = path_of(dir.path(), 0);
    let whole = fs::read(&path).unwrap();
    for at in HEAD_BYTES..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 4;
        fs::write(&path, &changed).unwrap();
        let (entries, tail) = read(&path).unwrap();
        assert!(entries.len() < 3 && tail != Tail::Whole, "byte {at}");
    }
}

#[test]
fn a_file_that_was_only_begun_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0, 1..=3);
    for length in [0, 1, HEAD_BYTES - 1] {
        fs::write(path_of(dir.path(), 30), vec![b'S'; length]).unwrap();
        assert_eq!(examples(&read_all(dir.path(), 0).unwrap()), [10, 20, 30]);
        drop(Journal::open(dir.path(), 30, 1 << 30, None).unwrap());
    }
    write(dir.path(), 30, 4..=4);
    assert_eq!(
        examples(&read_all(dir.path(), 0).unwrap()),
        [10, 20, 30, 40]
    );
}

#[test]
fn what_was_not_repeated_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0, 1..=5);
    write(dir.path(), 20, 3..=3);
    assert_eq!(examples(&read_all(dir.path(), 0).unwrap()), [10, 20, 30]);
}

#[test]
fn missing_entries_are_no_journal() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 0, 1..=2);
    write(dir.path(), 20, 3..=4);
    write(dir.path(), 40, 5..=6);
    fs::remove_file(path_of(dir.path(), 20)).unwrap();
    let error = read_all(dir.path(), 0).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(examples(&read_all(dir.path(), 40).unwrap()), [50, 60]);
    // A checkpoint in the middle of nowhere has no batches that follow.
    assert!(read_all(dir.path(), 45).is_err());
}

#[test]
fn old_files_go_when_all_are_too_large_and_nothing_needs_them() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), 0, 200, None).unwrap();
    for number in 1..=30 {
        journal.append(batch(number * 10));
        journal.turn(150.min(number * 10));
    }
    assert!(journal.waiter().wait_for(300, PATIENCE));
    drop(journal);
    let kept = read_all(dir.path(), 150).unwrap();
    assert_eq!(kept.first().unwrap().taken, 160);
    assert!(
        read_all(dir.path(), 0).is_err(),
        "the oldest files are still there"
    );
}

#[test]
fn waiting_ends_when_it_takes_too_long() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path(), 0, 200, None).unwrap();
    assert!(!journal.waiter().wait_for(10, Duration::from_millis(20)));
}
