#![no_main]

#[path = "../../tests/it/bodies/arrivals.rs"]
mod arrivals;
#[path = "../../tests/it/bodies/csv.rs"]
mod csv;
#[path = "../../tests/it/bodies/sound.rs"]
mod sound;

libfuzzer_sys::fuzz_target!(|data: &[u8]| csv::run(data));
