//! The log under restarts and crowds, and beside a model of it.

mod faults;
mod name;
mod place;

use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::stream::{Halt, Polled, Source};
use place::*;

#[test]
fn offsets_are_dense_from_zero_across_restarts() {
    let place = Place::new();
    for round in 0..4 {
        let log = place.open();
        assert_eq!(log.bounds(), (0, round * 10));
        let range = log.append_blocking(texts(round as usize * 10..round as usize * 10 + 10));
        assert_eq!(range, Ok(round * 10..round * 10 + 10));
        assert_holds(&log, &texts(0..round as usize * 10 + 10));
    }
}

#[test]
fn an_empty_append_takes_no_offset() {
    let place = Place::new();
    let log = place.open();
    assert_eq!(log.append_blocking(Vec::new()), Ok(0..0));
    assert_eq!(log.append_blocking(vec![Bytes::new()]), Ok(0..1));
    assert_eq!(log.append_blocking(Vec::new()), Ok(1..1));
}

#[test]
fn what_was_acknowledged_is_in_a_copy_of_the_file_taken_at_that_moment() {
    let place = Place::new();
    let log = place.open();
    for round in 0..20 {
        log.append_blocking(texts(round * 50..round * 50 + 50))
            .unwrap();
        // The file as a power cut would leave it: never closed.
        let copy = Place::new();
        std::fs::copy(place.path(), copy.path()).unwrap();
        assert_holds(&copy.open(), &texts(0..round * 50 + 50));
    }
}

#[test]
fn a_crowd_gets_dense_disjoint_ranges_in_which_its_records_lie() {
    let place = Place::new();
    let log = place.open();
    let threads: Vec<_> = (0..8)
        .map(|writer| {
            let log = log.clone();
            thread::spawn(move || {
                (0..40)
                    .map(|round| {
                        let records: Vec<Bytes> = (0..1 + round % 5)
                            .map(|i| Bytes::from(format!("{writer} {round} {i}")))
                            .collect();
                        (log.append_blocking(records.clone()).unwrap(), records)
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let mut answers: Vec<_> = threads
        .into_iter()
        .flat_map(|t| t.join().unwrap())
        .collect();
    answers.sort_by_key(|(range, _)| range.start);
    let mut next = 0;
    let mut expected = Vec::new();
    for (range, records) in answers {
        assert_eq!(range, next..next + records.len() as i64);
        next = range.end;
        expected.extend(records);
    }
    assert_holds(&log, &expected);
}

#[test]
fn an_append_answers_after_its_sync_and_a_crowd_shares_one() {
    let place = Place::new();
    let faults = Faults::none();
    let log = place.open_faulty(&faults);
    faults.close_gate();
    let before = faults.synced.load(SeqCst);
    let mut first = log.queue(texts(0..1)).unwrap();
    // The writer holds the first append at the gate, or will; everything else queues behind it.
    let mut rest: Vec<_> = (1..500)
        .map(|i| log.queue(texts(i..i + 1)).unwrap())
        .collect();
    assert!(first.try_recv().is_err());
    assert!(rest.iter_mut().all(|answer| answer.try_recv().is_err()));
    assert_eq!(log.bounds(), (0, 0));
    faults.open_gate();
    assert_eq!(first.blocking_recv().unwrap(), Ok(0..1));
    for (index, answer) in rest.into_iter().enumerate() {
        let offset = index as i64 + 1;
        assert_eq!(answer.blocking_recv().unwrap(), Ok(offset..offset + 1));
    }
    let syncs = faults.synced.load(SeqCst) - before;
    assert!(syncs < 50, "{syncs} syncs for 500 appends");
    assert_holds(&log, &texts(0..500));
}

#[test]
fn too_many_waiting_appends_are_busy_and_none_of_the_others_is_lost() {
    let place = Place::new();
    let faults = Faults::none();
    let log = place.open_faulty(&faults);
    faults.close_gate();
    let first = log.queue(texts(0..1));
    faults.wait_for_a_sync();
    // The writer stands at the gate with the first append: nothing takes what is queued from here on.
    let answers: Vec<_> = std::iter::once(first)
        .chain((1..3 * QUEUE_ENTRIES).map(|i| log.queue(texts(i..i + 1))))
        .collect();
    let (taken, refused) = answers.split_at(1 + QUEUE_ENTRIES);
    assert!(taken.iter().all(Result::is_ok));
    let busy = |answer: &Result<_, LogError>| matches!(answer, Err(LogError::Busy));
    assert!(refused.iter().all(busy));
    let large = vec![Bytes::from(vec![0u8; QUEUE_BYTES as usize])];
    assert_eq!(log.append_blocking(large), Err(LogError::Busy));
    faults.open_gate();
    let taken = answers
        .into_iter()
        .flatten()
        .map(|a| a.blocking_recv().unwrap().unwrap());
    assert_eq!(taken.last().unwrap().end, log.bounds().1);
    assert_eq!(read_all(&log, 0).len() as i64, log.bounds().1);
}

#[test]
fn closing_writes_what_is_queued_even_when_nobody_waits_for_the_answer() {
    let place = Place::new();
    let log = place.open();
    for i in 0..100 {
        drop(log.append(texts(i..i + 1)));
    }
    drop(log);
    assert_holds(&place.open(), &texts(0..100));
}

#[test]
fn a_waiting_source_wakes_up_when_records_arrive() {
    let place = Place::new();
    let log = place.open();
    let mut source = log.reader(0).unwrap();
    let mut out = Vec::new();
    assert_eq!(
        source.poll(Duration::ZERO, 10, &mut out).unwrap(),
        Polled::Idle
    );
    let waiter = thread::spawn(move || {
        let polled = source.poll(Duration::from_secs(600), 10, &mut out).unwrap();
        (source, polled, out)
    });
    log.append_blocking(texts(0..3)).unwrap();
    let (mut source, polled, out) = waiter.join().unwrap();
    assert_eq!((polled, out.len()), (Polled::Records, 3));
    assert_eq!(source.lag()[&0], 0);
    log.append_blocking(texts(3..8)).unwrap();
    assert_eq!(source.lag()[&0], 5);
    assert_eq!(source.status().state, "running");
}

#[test]
fn a_source_starts_anywhere_inside_the_log_and_nowhere_else() {
    let place = Place::new();
    let log = place.open();
    log.append_blocking(texts(0..10)).unwrap();
    assert_eq!(read_all(&log, 4)[0], {
        let mut record = read_all(&log, 0).swap_remove(4);
        record.payload = Some(Bytes::from_static(b"record 4"));
        record
    });
    assert!(read_all(&log, 10).is_empty());
    let beyond = log.reader(11).err().unwrap();
    let expected = Halt::Truncated {
        partition: 0,
        have: 11,
        high: 10,
    };
    assert_eq!(beyond, expected);
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<usize>),
    RetainFrom(u8),
    Restart,
    Crash,
    FailWrites(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::collection::vec(0usize..40_000, 0..40).prop_map(Step::Append),
        1 => any::<u8>().prop_map(Step::RetainFrom),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
        1 => (0u8..30).prop_map(Step::FailWrites),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, the log is a dense run of the acknowledged records that ends where it should.
    #[test]
    fn the_log_behaves_like_a_list_that_loses_only_what_it_may(steps in steps()) {
        let mut place = Place::new();
        let faults = Faults::none();
        let mut log = Some(place.open_faulty(&faults));
        let mut model: Vec<Bytes> = Vec::new();
        let mut floor = 0i64;
        for step in steps {
            match step {
                Step::Append(sizes) => {
                    let records: Vec<Bytes> = sizes.iter().enumerate()
                        .map(|(i, size)| Bytes::from(vec![(model.len() + i) as u8; *size])).collect();
                    match log.as_ref().unwrap().append_blocking(records.clone()) {
                        Ok(range) => {
                            prop_assert_eq!(range.start, model.len() as i64);
                            model.extend(records);
                        }
                        Err(_) => {
                            faults.heal();
                            // The lost answer may have been a yes: an empty append settles what the disk holds.
                            let end = log.as_ref().unwrap().append_blocking(Vec::new()).unwrap().end as usize;
                            prop_assert!(end == model.len() || end == model.len() + records.len());
                            if end > model.len() { model.extend(records); }
                        }
                    }
                }
                Step::RetainFrom(share) => {
                    floor = model.len() as i64 * i64::from(share) / 255;
                    log.as_ref().unwrap().retain_from(floor);
                }
                Step::Restart => {
                    faults.heal();
                    drop(log.take());
                    log = Some(place.open_faulty(&faults));
                    log.as_ref().unwrap().retain_from(floor);
                }
                Step::Crash => {
                    faults.heal();
                    let copy = Place::new();
                    std::fs::copy(place.path(), copy.path()).unwrap();
                    drop(log.take());
                    place = copy;
                    log = Some(place.open_faulty(&faults));
                    log.as_ref().unwrap().retain_from(floor);
                }
                Step::FailWrites(after) => faults.writes.store(i64::from(after), SeqCst),
            }
            if faults.writes.load(SeqCst) == 0 { faults.heal(); }
            let log = log.as_ref().unwrap();
            let (first, next) = log.bounds();
            prop_assert_eq!(next, model.len() as i64);
            prop_assert!(first <= floor.max(0) || first == 0);
        }
        faults.heal();
        let log = log.as_ref().unwrap();
        let (first, _) = log.bounds();
        let payloads: Vec<Bytes> = read_all(log, first).into_iter().filter_map(|r| r.payload).collect();
        prop_assert!(payloads == model[first as usize..]);
    }
}
