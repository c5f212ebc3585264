//! Records of a stream: the first byte chooses the settings, the rest is one record or one a line.

use std::sync::LazyLock;

use serde::de::IgnoredAny;
use skewd::codec::{Format, Intake, Settings};
use skewd::example::Outcome;

use super::arrivals;

/// This bit of the first byte: all of the rest is one record, line ends included.
const WHOLE: u8 = 8;

/// By the low bits of the first byte.
static SETTINGS: LazyLock<[Settings; 8]> = LazyLock::new(|| {
    [
        given(Format::Auto),
        Settings {
            classes: Vec::new(),
            max_classes: 3,
            ..given(Format::Flat)
        },
        given(Format::Envelope),
        discovered(Format::Auto),
        discovered(Format::Envelope),
        Settings {
            columns: strings("amount,count,merchant,geo.lat,label,w,tx"),
            ..given(Format::Csv)
        },
        Settings {
            columns: strings("a,b,c,label"),
            ..discovered(Format::Csv)
        },
        Settings {
            label: "meta.label".into(),
            categorical: strings("a"),
            ignore: strings("b.c"),
            ..discovered(Format::Flat)
        },
    ]
});

fn strings(names: &str) -> Vec<String> {
    names.split(',').map(str::to_owned).collect()
}

/// The features are known, and every role has a field.
fn given(format: Format) -> Settings {
    Settings {
        format,
        features: strings("amount,count,merchant,geo.lat"),
        categorical: strings("merchant"),
        ignore: strings("note"),
        id: "tx".into(),
        timestamp: "at".into(),
        weight: "w".into(),
        classes: strings("ok,fraud,3,-1"),
        max_record_bytes: 1024,
        ..Settings::default()
    }
}

fn discovered(format: Format) -> Settings {
    Settings {
        format,
        discover_records: 3,
        max_record_bytes: 1024,
        ..Settings::default()
    }
}

pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let settings = &SETTINGS[usize::from(first % 8)];
    let payloads: Vec<&[u8]> = if first & WHOLE == 0 {
        rest.split(|byte| *byte == b'\n').collect()
    } else {
        vec![rest]
    };
    let arrivals = arrivals::of_payloads(|restored| Intake::new(settings, restored), &payloads);
    if settings.format != Format::Csv {
        for (arrival, payload) in arrivals.iter().zip(payloads) {
            check_json(&arrival.outcome, payload);
        }
    }
}

/// Another parser must agree that what was not refused is JSON.
fn check_json(outcome: &Outcome, payload: &[u8]) {
    let verdict = serde_json::from_slice::<IgnoredAny>(payload);
    if let (Err(error), Outcome::Example { .. } | Outcome::Unlabelled) = (verdict, outcome) {
        panic!("{error}: {}", String::from_utf8_lossy(payload));
    }
}
