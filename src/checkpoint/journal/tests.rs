use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::checkpoint::disk::Os;
use crate::learner::recorded::{Change, Entry, Run};

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

/// One append for all.
fn write_together(dir: &Path, after: u64, batches: std::ops::RangeInclusive<u64>) {
    let mut appender = Appender::open(Arc::new(Os), dir, after, 1 << 30).unwrap();
    let mut orders = batches
        .map(|number| Order::Entry(batch(number * 10)))
        .collect();
    appender.carry_out(&mut orders).unwrap();
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

/// Where the head, each of the batches and the last mark end, when all were written together.
fn ends(batches: std::ops::RangeInclusive<u64>) -> Vec<usize> {
    let mut ends = vec![HEAD_BYTES, HEAD_BYTES + MARK_BYTES];
    for number in batches {
        let json = serde_json::to_vec(&batch(number * 10)).unwrap();
        ends.push(ends.last().unwrap() + 4 + json.len() + HASH_BYTES);
    }
    ends.push(ends.last().unwrap() + MARK_BYTES);
    ends
}

#[test]
fn a_torn_end_is_cut_at_every_byte_and_written_over() {
    let dir = tempfile::tempdir().unwrap();
    write_together(dir.path(), 0, 1..=3);
    let path = path_of(dir.path(), 0);
    let whole = fs::read(&path).unwrap();
    let ends = ends(1..=3);
    assert_eq!(*ends.last().unwrap(), whole.len());
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let left = ends[2..=4].iter().filter(|length| **length <= end).count() as u64;
        let (entries, tail) = read(&path).unwrap();
        assert_eq!(entries.len() as u64, left, "cut at {end}");
        assert_eq!(tail == Tail::Whole, ends.contains(&end), "cut at {end}");
        assert!(!matches!(tail, Tail::Damaged { .. }), "cut at {end}");
    }
    fs::write(&path, &whole[..ends[4] - 1]).unwrap();
    write(dir.path(), 20, 3..=4);
    assert_eq!(
        examples(&read_all(dir.path(), 0).unwrap()),
        [10, 20, 30, 40]
    );
}

#[test]
fn any_bit_that_flips_in_what_was_durable_is_no_crash() {
    let dir = tempfile::tempdir().unwrap();
    write_together(dir.path(), 0, 1..=3);
    let path = path_of(dir.path(), 0);
    let whole = fs::read(&path).unwrap();
    let ends = ends(1..=3);
    for at in HEAD_BYTES - HASH_BYTES..ends[4] {
        let mut changed = whole.clone();
        changed[at] ^= 4;
        fs::write(&path, &changed).unwrap();
        let (entries, tail) = read(&path).unwrap();
        assert!(entries.len() < 3, "byte {at}");
        assert!(matches!(tail, Tail::Damaged { reach: 30, .. }), "byte {at}");
        let error = read_all(dir.path(), 20).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("damaged at byte"), "{error}");
        let error = Journal::open(dir.path(), 20, 1 << 30, None).err().unwrap();
        assert!(error.to_string().contains("damaged at byte"), "{error}");
        assert!(fs::read(&path).unwrap() == changed, "byte {at}");
        // A later checkpoint needs none of it.
        assert!(read_all(dir.path(), 30).unwrap().is_empty());
    }
    // The last mark alone is not missed.
    for at in ends[4]..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 4;
        fs::write(&path, &changed).unwrap();
        assert_eq!(read(&path).unwrap().1, Tail::Torn(ends[4] as u64));
        assert_eq!(examples(&read_all(dir.path(), 0).unwrap()), [10, 20, 30]);
    }
}

#[test]
fn a_write_that_lands_in_part_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = path_of(dir.path(), 0);
    let mut appender = Appender::open(Arc::new(Os), dir.path(), 0, 1 << 30).unwrap();
    let mut lengths = Vec::new();
    for numbers in [1..=3, 4..=6] {
        let mut orders = numbers
            .map(|number| Order::Entry(batch(number * 10)))
            .collect();
        appender.carry_out(&mut orders).unwrap();
        lengths.push(fs::read(&path).unwrap().len() - MARK_BYTES);
    }
    let mut whole = fs::read(&path).unwrap();
    whole.truncate(lengths[1]);
    let mut torn = 0;
    for hole in lengths[0]..lengths[1] {
        let mut bytes = whole.clone();
        bytes[hole..(hole + 9).min(lengths[1])].fill(0);
        if bytes == whole {
            continue;
        }
        torn += 1;
        fs::write(&path, &bytes).unwrap();
        let (entries, tail) = read(&path).unwrap();
        assert!(entries.len() >= 3, "a hole at {hole}");
        assert!(matches!(tail, Tail::Torn(_)), "a hole at {hole}");
    }
    assert!(torn > 100);
}

#[test]
fn a_change_after_the_last_batch_is_missed_where_it_is_spoiled() {
    let dir = tempfile::tempdir().unwrap();
    write_together(dir.path(), 0, 1..=3);
    let mut appender = Appender::open(Arc::new(Os), dir.path(), 30, 1 << 30).unwrap();
    let change = Entry::of_change(30, Change::Discover(3));
    appender.carry_out(&mut vec![Order::Entry(change)]).unwrap();
    drop(appender);
    let path = path_of(dir.path(), 30);
    let mut spoiled = fs::read(&path).unwrap();
    spoiled[HEAD_BYTES + MARK_BYTES + 9] ^= 1;
    fs::write(&path, &spoiled).unwrap();
    assert!(read_all(dir.path(), 30).is_err());
    assert!(Appender::open(Arc::new(Os), dir.path(), 30, 1 << 30).is_err());
}

#[test]
fn a_journal_without_marks_is_read_and_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    write_together(dir.path(), 0, 1..=3);
    let path = path_of(dir.path(), 0);
    let whole = fs::read(&path).unwrap();
    let ends = ends(1..=3);
    let mut first = whole[..HEAD_BYTES].to_vec();
    first[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&1_u32.to_le_bytes());
    first.extend_from_slice(&whole[ends[1]..ends[4]]);
    fs::write(&path, &first).unwrap();
    assert_eq!(read(&path).unwrap().1, Tail::Whole);
    write(dir.path(), 30, 4..=5);
    assert_eq!(
        examples(&read_all(dir.path(), 0).unwrap()),
        [10, 20, 30, 40, 50]
    );
    // Nothing says that a spoiled one of these was ever durable.
    first[ends[1] - MARK_BYTES + 9] ^= 1;
    fs::write(&path, &first).unwrap();
    assert!(matches!(read(&path).unwrap().1, Tail::Torn(_)));
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
