#![no_main]

#[path = "../../tests/it/bodies/checkpoint.rs"]
mod checkpoint;
#[path = "../../tests/it/bodies/memory.rs"]
mod memory;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checkpoint::run(data));
