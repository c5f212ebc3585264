#![no_main]

#[path = "../../tests/it/bodies/arrivals.rs"]
mod arrivals;
#[path = "../../tests/it/bodies/record.rs"]
mod record;
#[path = "../../tests/it/bodies/sound.rs"]
mod sound;

libfuzzer_sys::fuzz_target!(|data: &[u8]| record::run(data));
