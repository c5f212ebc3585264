//! Decoding ahead changes nothing.

use super::corpus::{GOOD, corpus, label, settings};
use super::{records, strings};
use crate::codec::{Decoded, Intake, Reader, Settings};
use crate::example::{Arrival, Record};

/// Good and bad records, more labels than classes may be, and a record without any.
fn stream() -> Vec<Record> {
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    for round in 0..6 {
        payloads.extend(corpus().into_iter().map(|(payload, _)| payload));
        payloads.extend(GOOD.iter().map(|good| good.as_bytes().to_vec()));
        for name in 0..5 {
            payloads.push(label(&format!("\"class {}\"", round + name)).into_bytes());
        }
    }
    let mut records = records(payloads);
    let mut tombstone = Record::new(0, records.len() as i64, "");
    tombstone.payload = None;
    records.push(tombstone);
    for record in &mut records {
        record.partition = (record.offset % 3) as i32;
    }
    records
}

/// What comes out, by its text: missing values are not equal to themselves.
fn told(intake: &mut Intake, arrivals: &[Arrival]) -> (Vec<String>, String) {
    let arrivals = arrivals.iter().map(|arrival| format!("{arrival:?}"));
    let notices = intake.take_notices();
    let rest = format!("{:?} {notices:?}", intake.classes());
    (arrivals.collect(), rest)
}

fn at_once(settings: &Settings) -> (Vec<String>, String) {
    let (mut intake, mut out) = (Intake::new(settings, None), Vec::new());
    for record in stream() {
        intake.push(record, &mut out);
    }
    intake.end();
    told(&mut intake, &out)
}

/// The stream in lots that several readers decoded, the last ones first.
fn decoded(intake: &Intake, readers: usize, lot: usize) -> Vec<Decoded> {
    let mut readers: Vec<Reader> = (0..readers).map(|_| Reader::default()).collect();
    let count = readers.len();
    let stream = stream();
    let lots: Vec<_> = stream.chunks(lot).enumerate().collect();
    let mut decoded: Vec<_> = lots
        .into_iter()
        .rev()
        .map(|(place, records)| {
            let terms = intake.terms().unwrap();
            readers[place % count].decode(records.to_vec(), terms)
        })
        .collect();
    decoded.reverse();
    decoded
}

#[test]
fn whoever_decodes_and_in_whatever_lots_the_arrivals_are_the_same() {
    let given = settings();
    let open = Settings {
        classes: Vec::new(),
        max_classes: 6,
        sender: "id".into(),
        ..settings()
    };
    let csv = Settings {
        format: crate::codec::Format::Csv,
        columns: strings(&["amount", "count", "merchant", "geo.lat", "label"]),
        ..open.clone()
    };
    for settings in [given, open, csv] {
        let expected = at_once(&settings);
        for (readers, lot) in [(1, 1), (1, 64), (2, 7), (8, 33)] {
            let (mut intake, mut out) = (Intake::new(&settings, None), Vec::new());
            for decoded in decoded(&intake, readers, lot) {
                intake.push_decoded(decoded, &mut out);
            }
            intake.end();
            let came = told(&mut intake, &out);
            assert!(came == expected, "{readers} readers, lots of {lot}");
        }
    }
}

#[test]
fn what_was_decoded_by_other_terms_is_decoded_once_more() {
    let narrow = settings();
    let wide = Settings {
        features: strings(&["count", "amount", "merchant", "geo.lat", "more"]),
        ..settings()
    };
    let mut reader = Reader::default();
    let stream = stream();
    let (early, late) = stream.split_at(stream.len() / 2);
    let narrow = Intake::new(&narrow, None).terms().unwrap();
    let early = reader.decode(early.to_vec(), narrow);
    let (mut intake, mut out) = (Intake::new(&wide, None), Vec::new());
    let late = reader.decode(late.to_vec(), intake.terms().unwrap());
    intake.push_decoded(early, &mut out);
    intake.push_decoded(late, &mut out);
    intake.end();
    assert!(told(&mut intake, &out) == at_once(&wide));
}
