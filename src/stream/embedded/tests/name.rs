//! The name of a log: made with it, kept through everything, and no other log has it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use redb::TableDefinition;
use redb::backends::FileBackend;

use super::super::{EmbeddedLog, disk};
use super::place::{MIB, Place, texts};
use crate::stream::Source;

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
fn a_log_that_is_written_anew_keeps_its_name() {
    let place = Place::new();
    let log = EmbeddedLog::open(&place.path(), 64 * MIB).unwrap();
    let identity = log.identity();
    for i in 0..100u8 {
        log.append_blocking(vec![Bytes::from(vec![i; 1 << 20])])
            .unwrap();
    }
    drop(log);
    let log = EmbeddedLog::open(&place.path(), MIB).unwrap();
    log.retain_from(99);
    log.append_blocking(texts(0..10)).unwrap();
    let large = log.size().unwrap().file_bytes;
    drop(log);
    let log = EmbeddedLog::open(&place.path(), MIB).unwrap();
    assert!(log.size().unwrap().file_bytes < large / 4, "not anew");
    assert_eq!(log.identity(), identity);
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
