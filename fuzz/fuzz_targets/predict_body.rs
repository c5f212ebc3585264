#![no_main]

#[path = "../../tests/it/bodies/predict_body.rs"]
mod predict_body;
#[path = "../../tests/it/bodies/sound.rs"]
mod sound;

libfuzzer_sys::fuzz_target!(|data: &[u8]| predict_body::run(data));
