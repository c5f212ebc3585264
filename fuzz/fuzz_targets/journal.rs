#![no_main]

#[path = "../../tests/it/bodies/journal.rs"]
mod journal;
#[path = "../../tests/it/bodies/memory.rs"]
mod memory;

libfuzzer_sys::fuzz_target!(|data: &[u8]| journal::run(data));
