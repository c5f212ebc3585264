//! The name of a log: made with it, kept through everything, and no other log has it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use redb::TableDefinition;
use redb::backends::FileBackend;

use super::super::{EmbeddedLog, LogError, disk};
use super::place::{MIB, Place, texts};
use crate::example::Positions;
use crate::stream::{Polled, Source};

#[test]
fn a_log_keeps_its_name_and_answers_to_no_other() {
    let (here, there) = (Place::new(), Place::new());
    let (log, other) = (here.open(), there.open());
    let identity = log.identity();
    assert_eq!(log.reader(0).unwrap().identity(), identity);
    assert!(log.answers_to(&identity));
    assert!(!other.answers_to(&identity));
    assert!(
        !log.answers_to("embedded"),
        "a log with a name has no nameless past"
    );
    assert!(EmbeddedLog::is_of_a_log(&identity) && EmbeddedLog::is_of_a_log("embedded"));
    assert!(!EmbeddedLog::is_of_a_log("cluster topic"));
    log.append_blocking(texts(0..10)).unwrap();
    drop(log);
    assert_eq!(here.open().identity(), identity);
}

#[test]
fn copies_of_a_log_that_went_ways_of_their_own_are_told_apart() {
    let (here, there) = (Place::new(), Place::new());
    let log = here.open();
    log.append_blocking(texts(0..10)).unwrap();
    drop(log);
    std::fs::copy(here.path(), there.path()).unwrap();
    let (log, copy) = (here.open(), there.open());
    assert_eq!(log.identity(), copy.identity());
    let at = |log: &EmbeddedLog, next| {
        log.reader(0)
            .unwrap()
            .identity_at(&Positions([(0, next)].into()))
    };
    // Up to here they are the same, at least.
    assert!(copy.answers_to(&at(&log, 10)));
    log.append_blocking(texts(10..20)).unwrap();
    copy.append_blocking(texts(110..130)).unwrap();
    assert!(log.answers_to(&at(&log, 20)));
    assert!(!copy.answers_to(&at(&log, 20)));
    // A record that is not there tells nothing: that the log ends before it is said elsewhere.
    assert!(copy.answers_to(&format!("{} at 99:0000000000000000", log.identity())));
    assert!(EmbeddedLog::may_be_one(&at(&log, 20), "embedded"));
    assert!(!EmbeddedLog::may_be_one(
        &at(&log, 20),
        &Place::new().open().identity()
    ));
}

#[test]
fn a_renamed_log_keeps_its_records_and_answers_to_nothing_of_before() {
    let place = Place::new();
    EmbeddedLog::rename(&place.path()).unwrap();
    assert!(!place.path().exists(), "there is none to rename");
    let log = place.open();
    log.append_blocking(texts(0..10)).unwrap();
    let identity = log.identity();
    drop(log);
    EmbeddedLog::rename(&place.path()).unwrap();
    let log = place.open();
    assert!(!log.answers_to(&identity) && !log.answers_to("embedded"));
    assert_eq!(log.bounds(), (0, 10));
}

#[test]
fn a_log_that_is_cut_or_written_over_in_its_place_takes_nothing_more() {
    type Harm = fn(&std::path::Path, &[u8]);
    let cut: Harm = |path, _| drop(std::fs::File::create(path).unwrap());
    let older: Harm = |path, older| std::fs::write(path, older).unwrap();
    for harm in [cut, older] {
        let place = Place::new();
        let log = place.open();
        log.append_blocking(texts(0..10)).unwrap();
        let before = std::fs::read(place.path()).unwrap();
        log.append_blocking(texts(10..20)).unwrap();
        harm(&place.path(), &before);
        for _ in 0..2 {
            let refused = log.append_blocking(texts(20..30));
            assert!(matches!(refused, Err(LogError::Io(_))), "{refused:?}");
        }
    }
}

#[test]
fn a_page_that_rots_is_an_error_and_no_panic() {
    let place = Place::new();
    let log = place.open();
    for i in 0..200 {
        log.append_blocking(texts(i * 10..i * 10 + 10)).unwrap();
    }
    drop(log);
    let whole = std::fs::read(place.path()).unwrap();
    for page in 1..whole.len() / 4096 {
        let mut rotten = whole.clone();
        rotten[page * 4096..(page + 1) * 4096].fill(0);
        std::fs::write(place.path(), rotten).unwrap();
        // Whatever is found, it is said, or the records are those that were written.
        if let Ok(log) = EmbeddedLog::open(&place.path(), 64 * MIB)
            && let Ok(mut source) = log.reader(0)
        {
            let mut out = Vec::new();
            while let Ok(Polled::Records) = source.poll(Duration::ZERO, 1000, &mut out) {}
            for record in out {
                let text = format!("record {}", record.offset);
                assert_eq!(record.payload.as_deref(), Some(text.as_bytes()));
            }
        }
    }
}

#[test]
fn a_log_from_before_names_gets_one_and_answers_to_the_positions_of_then() {
    const BLOCKS: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("blocks.v1");
    let place = Place::new();
    {
        let file = disk::file(&place.path(), true).unwrap();
        let backend = FileBackend::new(file).unwrap();
        let database = disk::open(backend, Arc::new(AtomicBool::new(false))).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(BLOCKS).unwrap();
        transaction.commit().unwrap();
    }
    let log = place.open();
    let identity = log.identity();
    assert!(log.answers_to("embedded") && log.answers_to(&identity));
    drop(log);
    let log = place.open();
    assert_eq!(log.identity(), identity);
    assert!(log.answers_to("embedded"));
}
