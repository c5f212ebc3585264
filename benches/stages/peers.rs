//! Other parsers over the same records.

use std::hint::black_box;

use serde::Deserialize;

macro_rules! record {
    ($($name:ident)*) => {
        /// A record that a program would write down by hand.
        #[derive(Deserialize)]
        pub struct Typed<'a> {
            $($name: f64,)*
            label: &'a str,
        }

        impl Typed<'_> {
            fn used(&self) -> (f64, usize) {
                (0.0 $(+ self.$name)*, self.label.len())
            }
        }
    };
}

record!(f0 f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 f11 f12 f13 f14 f15 f16 f17 f18 f19 f20 f21 f22 f23 f24 f25 f26 f27 f28 f29);

pub fn serde_typed(records: &[Vec<u8>]) {
    for record in records {
        let typed: Typed<'_> = serde_json::from_slice(record).expect("a record");
        black_box(typed.used());
    }
}

pub fn serde_tree(records: &[Vec<u8>]) {
    for record in records {
        let tree: serde_json::Value = serde_json::from_slice(record).expect("a record");
        black_box(tree);
    }
}

pub fn sonic_typed(records: &[Vec<u8>]) {
    for record in records {
        let typed: Typed<'_> = sonic_rs::from_slice(record).expect("a record");
        black_box(typed.used());
    }
}

pub fn sonic_tree(records: &[Vec<u8>]) {
    for record in records {
        let tree: sonic_rs::Value = sonic_rs::from_slice(record).expect("a record");
        black_box(tree);
    }
}

// simd-json writes into the text that it reads: it has a copy of each.

pub fn simd_typed(records: &[Vec<u8>]) {
    let mut buffers = simd_json::Buffers::default();
    let mut text = Vec::new();
    for record in records {
        text.clone_from(record);
        // Its `from_slice_with_buffers` is `unsafe` only for text that borrows the input as `str`.
        let tape = simd_json::to_tape_with_buffers(&mut text, &mut buffers).expect("a record");
        let typed: Typed<'_> = tape.deserialize().expect("a record");
        black_box(typed.used());
    }
}

pub fn simd_tape(records: &[Vec<u8>]) {
    let mut buffers = simd_json::Buffers::default();
    let mut text = Vec::new();
    for record in records {
        text.clone_from(record);
        black_box(simd_json::to_tape_with_buffers(&mut text, &mut buffers).expect("a record"));
    }
}

pub fn simd_tree(records: &[Vec<u8>]) {
    let mut text = Vec::new();
    for record in records {
        text.clone_from(record);
        black_box(simd_json::to_borrowed_value(&mut text).expect("a record"));
    }
}

/// Splits, parses, and keeps nothing.
pub fn csv_loop(records: &[Vec<u8>]) {
    let mut reader = csv_core::Reader::new();
    let (mut text, mut ends) = (vec![0; 4096], vec![0; 64]);
    for record in records {
        reader.reset();
        let (_, read, written, _) = reader.read_record(record, &mut text, &mut ends);
        let (_, _, _, last) =
            reader.read_record(&record[read..], &mut text[written..], &mut ends[30..]);
        let fields = 30 + last;
        let (mut start, mut sum) = (0, 0.0);
        for end in &ends[..fields - 1] {
            let field = std::str::from_utf8(&text[start..*end]).expect("ASCII");
            sum += field.parse::<f64>().expect("a number") as f32;
            start = *end;
        }
        black_box((sum, &text[start..written]));
    }
}
