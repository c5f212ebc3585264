//! The quick ways find what the reference finds, to the bit, or nothing.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::strings;
use crate::codec::csv_record::{Columns, CsvRecords};
use crate::codec::found::Found;
use crate::codec::plan::Plan;
use crate::codec::reject::Fault;
use crate::codec::scratch::Scratch;
use crate::codec::{Encoder, Encoding, Format, Schema, Settings, json, quick};

fn settings(format: Format) -> Settings {
    Settings {
        format,
        features: strings(&["x", "c", "g.y", "a rather long name", "q\"uote"]),
        categorical: strings(&["c"]),
        ignore: strings(&["note"]),
        id: "id".into(),
        weight: "w".into(),
        timestamp: "ts".into(),
        columns: strings(&["x", "c", "note", "g.y", "label", "zz", "w", "ts", "id"]),
        ..Settings::default()
    }
}

fn plan(format: Format) -> Plan {
    let settings = settings(format);
    Plan::for_records(&settings, Schema::given(&settings).as_ref())
}

/// Everything that decoding gives, or the fault.
fn outcome(result: Result<Found<'_>, Fault>, row: &[f32]) -> String {
    let bits: Vec<u32> = row.iter().map(|value| value.to_bits()).collect();
    match result {
        Ok(found) => format!("{found:?} {bits:?}"),
        Err(fault) => format!("{fault:?}"),
    }
}

/// Reads the records one after the other both ways; how many the quick one took.
fn compare_json(format: Format, records: &[String]) -> usize {
    let plan = plan(format);
    let mut scratch = [Scratch::new(&plan), Scratch::new(&plan)];
    let (mut envelope, mut taken) = (false, 0);
    for record in records {
        let found = quick::record(&plan, &mut scratch[0], record.as_bytes(), envelope);
        let reference = json::record(&plan, &mut scratch[1], record, &mut envelope);
        if let Some(found) = found {
            taken += 1;
            let quick = outcome(Ok(found), &scratch[0].row);
            assert_eq!(quick, outcome(reference, &scratch[1].row), "{record}");
        }
    }
    taken
}

fn compare_csv(records: &[String]) -> usize {
    let plan = plan(Format::Csv);
    let columns = Arc::new(Columns(settings(Format::Csv).columns));
    let mut scratch = [Scratch::new(&plan), Scratch::new(&plan)];
    let mut readers = [CsvRecords::new(), CsvRecords::new()];
    let mut taken = 0;
    for record in records {
        let bytes = record.as_bytes();
        let found = readers[0].quick(&plan, &mut scratch[0], bytes, &columns);
        if let Some(found) = found {
            taken += 1;
            let quick = outcome(Ok(found), &scratch[0].row);
            let reference = readers[1].record(&plan, &mut scratch[1], record, &columns);
            let reference = outcome(reference, &scratch[1].row);
            assert_eq!(quick, reference, "{record:?}");
        }
    }
    taken
}

#[test]
fn usual_records_of_every_form_are_taken() {
    let flat = [
        r#"{"x":1.5,"c":"a","label":"ok"}"#,
        r#"{"x": -0.0001, "c": "b", "g.y": 17, "a rather long name": 0.12345678901234567, "label": 3}"#,
        "\t{ \"label\" : \"\u{fc}\" , \"zz\" : true,\"x\":null, \"id\": 7, \"w\": 2.5e-1, \"ts\": \"2024-01-01\" }\n",
        r#"{"note":0,"label":null}"#,
        "{}",
    ];
    let flat = flat.map(str::to_owned);
    assert_eq!(compare_json(Format::Flat, &flat), flat.len());
    assert_eq!(compare_json(Format::Auto, &flat), flat.len());
    let envelope = [
        r#"{"features":[1,"a",2.5,null,1e-3],"label":"ok"}"#,
        r#"{"features": {"x": 1, "g.y": 2}, "label": "ok", "id": "r", "weight": 2}"#,
        r#"{"label":"ok","features":[1,true,"",-7.125,99999999999999999999]}"#,
    ];
    let envelope = envelope.map(str::to_owned);
    assert_eq!(compare_json(Format::Envelope, &envelope), envelope.len());
    // The first of a stream tells what the others are.
    assert_eq!(compare_json(Format::Auto, &envelope), envelope.len() - 1);
    let csv = [
        "1.5,a,,2,ok,9,1,1700000000,r\n",
        "-0.25,NA,x,NA,\u{fc},,,,",
        ",3,x,1e3,7,,0.5,2024-01-01,12\r\n",
    ];
    let csv = csv.map(str::to_owned);
    assert_eq!(compare_csv(&csv), csv.len());
}

#[test]
fn what_is_out_of_the_ordinary_is_left_to_the_reference() {
    let records = [
        r#"{"x":1,"x":2,"label":"a"}"#,
        r#"{"zz":1,"zz":2,"label":"a"}"#,
        r#"{"x":1,"label":"a"} 1"#,
        r#"{"x":1,"label":"a",}"#,
        r#"{"x":01,"label":"a"}"#,
        r#"{"x":1.,"label":"a"}"#,
        r#"{"x":1e999,"label":"a"}"#,
        r#"{"zz":1e999,"label":"a"}"#,
        r#"{"x":3.5e38,"label":"\ud800"}"#,
        r#"{"x":1,"label":"a\n"}"#,
        "{\"x\":1,\"label\":\"a\n\"}",
        r#"{"q"uote":1,"label":"a"}"#,
        r#"{"g":{"y":1},"label":"a"}"#,
        r#"{"features":[1,2],"label":"a"}"#,
        r#"{"x":"text","label":"ok"}"#,
        r#"{"x":10e40,"label":"ok"}"#,
        r#"["x"]"#,
        "",
    ];
    for record in records.map(str::to_owned) {
        for format in [Format::Flat, Format::Auto] {
            assert_eq!(
                compare_json(format, std::slice::from_ref(&record)),
                0,
                "{record}"
            );
        }
    }
    // Maybe an envelope.
    let record = r#"{"features":3,"label":"a"}"#.to_owned();
    assert_eq!(compare_json(Format::Auto, &[record]), 0);
    let plan = plan(Format::Flat);
    let record = b"{\"x\":1,\"label\":\"\xff\"}";
    assert!(quick::record(&plan, &mut Scratch::new(&plan), record, false).is_none());
    let csv = [
        "1,a,,2,ok,9,1,0",
        "text,a,,2,ok,9,1,0,r",
        "1,a,,2,ok,9,1,0,r,",
        "\"1\",a,,2,ok,9,1,0,r",
        "1,a,,2,o\nk,9,1,0,r",
        "\n",
        "\u{feff}1,a,,2,ok,9,1,0,r",
    ];
    assert_eq!(compare_csv(&csv.map(str::to_owned)), 0);
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "-?(0|[1-9][0-9]{0,3})\\.[0-9]{1,5}",
        2 => "-?(0|[1-9][0-9]{0,2})\\.[0-9]{12,19}",
        2 => "-?[0-9]{1,20}(\\.[0-9]{0,3})?",
        1 => "-?[0-9]\\.?[0-9]{0,9}[eE][+-]?[0-9]{0,3}",
        1 => "[-+.0-9eE]{1,6}",
    ]
}

/// A JSON value, mostly sound.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => number(),
        2 => "\"[a-z\u{e9} ]{0,5}\"",
        1 => prop::sample::select(vec![
            "null", "true", "false", "\"NA\"", "\"\"", "[]", "{}", "[1,2]", "nul", "\"\\n\"", "\"a\u{1}\"",
        ]).prop_map(str::to_owned),
    ]
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(""), 3 => Just(" "), 1 => Just("\n \t")].prop_map(str::to_owned)
}

const NAMES: [&str; 12] = [
    "x",
    "c",
    "g.y",
    "g",
    "a rather long name",
    "a rather long nam",
    "label",
    "w",
    "id",
    "ts",
    "zz",
    "note",
];

fn fields() -> impl Strategy<Value = String> {
    let field = (
        prop::sample::select(NAMES.to_vec()),
        value(),
        space(),
        space(),
        space(),
    );
    vec(field, 0..9).prop_map(|fields| {
        let fields = fields
            .into_iter()
            .map(|(name, value, a, b, c)| format!("{a}\"{name}\"{b}:{c}{value}{a}"));
        fields.collect::<Vec<_>>().join(",")
    })
}

fn record() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (fields(), space()).prop_map(|(fields, s)| format!("{s}{{{fields}}}{s}")),
        2 => (fields(), value()).prop_map(|(fields, v)| format!("{{\"features\":{{{fields}}},\"label\":{v}}}")),
        2 => (vec(value(), 3..7), space(), value())
            .prop_map(|(v, s, l)| format!("{{\"label\": {l}, \"features\": [{}]}}", v.join(&format!("{s},{s}")))),
        1 => (fields(), any::<prop::sample::Index>()).prop_map(|(fields, cut)| {
            let text = format!("{{{fields}}}");
            let at = text.floor_char_boundary(cut.index(text.len()));
            text[..at].to_owned()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_that_is_taken_is_what_the_reference_finds(records in vec(record(), 1..5)) {
        for format in [Format::Flat, Format::Auto, Format::Envelope] {
            compare_json(format, &records);
        }
    }

    #[test]
    fn csv_that_is_taken_is_what_the_reference_finds(
        records in vec(prop_oneof![
            vec(prop_oneof![number(), "[a-z\u{e9} ]{0,4}", Just("NA".to_owned())], 8..11)
                .prop_map(|fields| fields.join(",")),
            "[0-9a.,\"\r\n]{0,24}",
        ], 1..4),
        end in prop::sample::select(vec!["", "\n", "\r\n"]),
    ) {
        let records: Vec<String> = records.into_iter().map(|record| record + end).collect();
        compare_csv(&records);
    }

    /// By the definitions, one value after the other.
    #[test]
    fn inputs_are_those_of_a_plain_loop(
        rows in vec(vec(prop_oneof![9 => -1e3..1e3_f32, 1 => Just(f32::NAN), 1 => -1e30..1e30_f32], 5), 1..60),
    ) {
        let settings = Settings {
            features: strings(&["a", "b", "c", "d", "e"]),
            categorical: strings(&["c"]),
            category_buckets: 3,
            ..Settings::default()
        };
        let schema = Schema::given(&settings).expect("features are given");
        let rows: Vec<Vec<f32>> = rows
            .into_iter()
            .map(|mut row| {
                row[2] = if row[2].is_nan() { row[2] } else { (row[2].abs() % 3.0).floor() };
                row
            })
            .collect();
        let (known, new) = rows.split_at(rows.len() / 2);
        let mut encoder = Encoder::new(&schema, Encoding::Standard, 1);
        encoder.observe(known.iter().map(Vec::as_slice));
        let mut inputs = Vec::new();
        encoder.encode(new.iter().map(Vec::as_slice), &mut inputs);
        for (row, inputs) in new.iter().zip(inputs.chunks_exact(7)) {
            for (column, input) in [(0, 0), (1, 1), (3, 5), (4, 6)] {
                let expected = plainly(known.iter().map(|row| row[column]), row[column]);
                prop_assert_eq!(expected.to_bits(), inputs[input].to_bits(), "{} {}", column, row[column]);
            }
            for bucket in 0..3 {
                let expected = if row[2] == bucket as f32 { 1.0 } else { 0.0 };
                prop_assert_eq!(inputs[2 + bucket], expected);
            }
        }
    }
}

/// `value` standardised by the moments of those before it.
fn plainly(before: impl Iterator<Item = f32>, value: f32) -> f32 {
    let (mut count, mut mean, mut squares) = (0_u64, 0.0_f64, 0.0_f64);
    let mut farthest = f64::INFINITY;
    for (row, value) in before.map(f64::from).enumerate() {
        if (row % 64 == 0 || row == 16) && count >= 16 && squares > 0.0 {
            farthest = 10_000.0 * (squares / count as f64);
        }
        if value.is_nan() {
            continue;
        }
        let value = match (value - mean).powi(2) > farthest {
            true => mean + farthest.sqrt().copysign(value - mean),
            false => value,
        };
        count += 1;
        let distance = value - mean;
        mean += distance / count as f64;
        squares += distance * (value - mean);
    }
    let deviation = (squares / count as f64).sqrt();
    if value.is_nan() {
        return 0.0;
    }
    let scale = if count < 2 || deviation <= 0.0 {
        0.0
    } else {
        1.0 / deviation
    };
    ((f64::from(value) - mean) * scale).clamp(-8.0, 8.0) as f32
}
