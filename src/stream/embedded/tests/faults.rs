//! The log under retention, full disks, failing syncs and damaged files.

use std::sync::atomic::Ordering::SeqCst;

use super::super::*;
use super::place::*;
use crate::example::Positions;
use crate::stream::{Error, Halt, Source};

/// A log of 3 MiB with a retention of 1 MiB, in records of 1,000 bytes, and how many there are.
fn overfull(place: &Place) -> (EmbeddedLog, i64) {
    let log = EmbeddedLog::open(&place.path(), 2 * MIB).unwrap();
    for _ in 0..30 {
        log.append_blocking(vec![Bytes::from(vec![7u8; 1000]); 100])
            .unwrap();
    }
    (log, 3000)
}

#[test]
fn nothing_is_removed_before_a_checkpoint_lets_go_of_it() {
    let place = Place::new();
    let (log, next) = overfull(&place);
    assert_eq!(log.bounds(), (0, next));
    log.reader(0)
        .unwrap()
        .checkpointed(&Positions([(0, 500)].into()))
        .unwrap();
    log.append_blocking(vec![Bytes::from_static(b"x")]).unwrap();
    let (first, end) = log.bounds();
    assert!(first > 300 && first <= 500, "{first}");
    assert_eq!(end, next + 1);
    let halt = log.reader(first - 1).err().unwrap();
    assert_eq!(
        halt,
        Halt::Gap {
            partition: 0,
            have: first - 1,
            low: first
        }
    );
    assert_eq!(read_all(&log, first).len() as i64, end - first);
}

#[test]
fn retention_keeps_about_its_bytes_and_offsets_go_on_after_a_restart() {
    let place = Place::new();
    let (log, next) = overfull(&place);
    log.retain_from(next);
    log.append_blocking(vec![Bytes::from_static(b"x")]).unwrap();
    let kept = log.size().unwrap().payload_bytes;
    assert!(kept <= 2 * MIB && kept > 2 * MIB - 100_000, "{kept}");
    let bounds = log.bounds();
    drop(log);
    let log = EmbeddedLog::open(&place.path(), 2 * MIB).unwrap();
    assert_eq!(log.bounds(), bounds);
    assert_eq!(log.append_blocking(texts(0..1)), Ok(bounds.1..bounds.1 + 1));
}

#[test]
fn a_record_larger_than_the_retention_still_leaves_an_end_to_go_on_from() {
    let place = Place::new();
    let log = EmbeddedLog::open(&place.path(), MIB).unwrap();
    for i in 0..3i64 {
        log.retain_from(i);
        let range = log.append_blocking(vec![Bytes::from(vec![0u8; 3 << 19])]);
        assert_eq!(range, Ok(i..i + 1));
    }
    assert_eq!(log.bounds(), (2, 3));
    let refused = log
        .append_blocking(vec![Bytes::from(vec![0u8; 3 << 20])])
        .unwrap_err();
    assert!(matches!(refused, LogError::Full(_)), "{refused}");
}

#[test]
fn a_log_that_no_checkpoint_lets_go_of_is_full_at_twice_its_retention() {
    let place = Place::new();
    let (log, next) = overfull(&place);
    let megabyte = || vec![Bytes::from(vec![1u8; MIB as usize])];
    log.append_blocking(megabyte()).unwrap();
    let refused = log.append_blocking(megabyte()).unwrap_err();
    let LogError::Full(text) = refused else {
        panic!("{refused}")
    };
    assert!(text.contains("retention_bytes"), "{text}");
    assert_eq!(log.bounds(), (0, next + 1));
    log.retain_from(next);
    assert_eq!(log.append_blocking(megabyte()), Ok(next + 1..next + 2));
}

#[test]
fn a_full_disk_loses_nothing_acknowledged_at_any_write() {
    for budget in 0..40 {
        let place = Place::new();
        let faults = Faults::none();
        let log = place.open_faulty(&faults);
        log.append_blocking(texts(0..200)).unwrap();
        faults.writes.store(budget, SeqCst);
        let mut expected = texts(0..200);
        for round in 0..20 {
            let more = vec![Bytes::from(vec![round; 100_000]); 3];
            match log.append_blocking(more.clone()) {
                Ok(range) => {
                    assert_eq!(range.start, expected.len() as i64);
                    expected.extend(more);
                }
                Err(error) => {
                    assert!(matches!(error, LogError::Full(_)), "{error}");
                    break;
                }
            }
        }
        assert!(faults.writes.load(SeqCst) == 0);
        faults.heal();
        let range = log.append_blocking(texts(0..5)).unwrap();
        assert_eq!(range.start, expected.len() as i64, "write {budget}");
        expected.extend(texts(0..5));
        assert_holds(&log, &expected);
        drop(log);
        assert_holds(&place.open(), &expected);
    }
}

#[test]
fn after_a_failed_sync_the_log_goes_on_in_a_new_file() {
    for budget in 0..3 {
        let place = Place::new();
        let faults = Faults::none();
        let log = place.open_faulty(&faults);
        log.append_blocking(texts(0..100)).unwrap();
        let number =
            |path: &Path| crate::stream::files::identity(&std::fs::metadata(path).unwrap());
        let before = number(&place.path());
        faults.syncs.store(budget, SeqCst);
        let mut acknowledged = 100;
        let refused = loop {
            match log.append_blocking(texts(0..10)) {
                Ok(_) => acknowledged += 10,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, LogError::Io(_)), "{refused}");
        assert_eq!(log.bounds(), (0, acknowledged));
        // Still failing: refused again, and nothing of it is shown to readers.
        assert!(log.append_blocking(texts(0..10)).is_err());
        assert_eq!(log.bounds(), (0, acknowledged));
        faults.heal();
        let range = log.append_blocking(texts(0..10)).unwrap();
        assert!(range.start >= acknowledged);
        assert_ne!(number(&place.path()), before);
        assert_eq!(read_all(&log, 0).len() as i64, range.end);
        assert_eq!(
            read_all(&log, 0)[99].payload,
            Some(Bytes::from("record 99"))
        );
    }
}

#[test]
fn a_removed_or_replaced_file_is_noticed_before_anything_is_acknowledged() {
    let place = Place::new();
    let log = place.open();
    log.append_blocking(texts(0..10)).unwrap();
    let aside = place.folder.path().join("aside");
    std::fs::rename(place.path(), &aside).unwrap();
    let refused = log.append_blocking(texts(0..1)).unwrap_err();
    assert!(
        refused.to_string().contains("removed or replaced"),
        "{refused}"
    );
    assert!(log.append_blocking(texts(0..1)).is_err());
    assert!(!place.path().exists(), "no empty log may take its place");
    std::fs::rename(&aside, place.path()).unwrap();
    assert_eq!(log.append_blocking(texts(0..1)), Ok(10..11));
}

#[test]
fn a_second_opener_is_refused() {
    let place = Place::new();
    let _log = place.open();
    let refused = EmbeddedLog::open(&place.path(), MIB).unwrap_err();
    assert!(refused.to_string().contains("another process"), "{refused}");
}

#[test]
fn a_bloated_file_is_written_anew_at_open_with_the_same_records() {
    let place = Place::new();
    let log = EmbeddedLog::open(&place.path(), 64 * MIB).unwrap();
    for i in 0..100u8 {
        log.append_blocking(vec![Bytes::from(vec![i; 1 << 20])])
            .unwrap();
    }
    drop(log);
    // A smaller retention empties most of the file, but keeps its size.
    let log = EmbeddedLog::open(&place.path(), MIB).unwrap();
    log.retain_from(99);
    log.append_blocking(texts(0..10)).unwrap();
    let (bounds, large) = (log.bounds(), log.size().unwrap());
    let (records, name) = (read_all(&log, bounds.0), log.identity());
    drop(log);
    let log = EmbeddedLog::open(&place.path(), MIB).unwrap();
    assert_eq!(log.identity(), name);
    let small = log.size().unwrap();
    assert!(
        small.file_bytes < large.file_bytes / 4,
        "{small:?} {large:?}"
    );
    assert_eq!(small.payload_bytes, large.payload_bytes);
    assert_eq!(log.bounds(), bounds);
    assert_eq!(read_all(&log, bounds.0), records);
    assert_eq!(log.append_blocking(texts(0..1)), Ok(bounds.1..bounds.1 + 1));
}

#[test]
fn a_leftover_of_an_interrupted_rewrite_is_removed() {
    let place = Place::new();
    drop(place.open());
    let leftover = place.folder.path().join("log.redb.new");
    std::fs::write(&leftover, b"half a file").unwrap();
    drop(place.open());
    assert!(!leftover.exists());
}

#[test]
fn a_damaged_record_halts_the_source_and_is_never_delivered() {
    let place = Place::new();
    let log = place.open();
    log.append_blocking(texts(0..1000)).unwrap();
    drop(log);
    let mut bytes = std::fs::read(place.path()).unwrap();
    let at = bytes.windows(10).position(|w| w == b"record 500").unwrap();
    bytes[at] ^= 1;
    std::fs::write(place.path(), bytes).unwrap();
    let log = place.open();
    let mut source = log.reader(0).unwrap();
    let mut out = Vec::new();
    for _ in 0..2 {
        let error = source.poll(LONG, 1000, &mut out).unwrap_err();
        assert!(matches!(error, Error::Halt(Halt::Refused(_))), "{error}");
        assert_eq!(source.status().state, "halted");
    }
    assert!(out.is_empty());
}

#[test]
fn a_file_that_is_no_log_is_refused_with_its_name() {
    let place = Place::new();
    std::fs::write(place.path(), vec![b'x'; 100_000]).unwrap();
    let refused = EmbeddedLog::open(&place.path(), MIB).unwrap_err();
    assert!(refused.to_string().contains("log.redb"), "{refused}");
    assert!(refused.to_string().contains("move it away"), "{refused}");
}
