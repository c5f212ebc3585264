#![no_main]

#[path = "../../tests/it/bodies/settings.rs"]
mod settings;

libfuzzer_sys::fuzz_target!(|data: &[u8]| settings::run(data));
