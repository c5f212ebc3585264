//! A checkpoint file. Its checksum keeps changed bytes from everything behind it, so two of the three ways in put a right
//! one: the first byte chooses.

use std::path::Path;

use skewd::checkpoint::disk::Disk;
use skewd::checkpoint::{Checkpoint, Error, load_newest_on, load_on, save_on};

use super::memory::Memory;

const DIR: &str = "data";
const FILE: &str = "data/checkpoint-0000000001.skewd";
const HEAD: &[u8] = b"SKEWDCKP\x01\0\0\0";

/// The file that an input stands for.
fn file_of(data: &[u8]) -> Vec<u8> {
    let Some((first, rest)) = data.split_first() else {
        return Vec::new();
    };
    match first % 3 {
        // The bytes as they are.
        0 => rest.to_vec(),
        // All but the checksum.
        1 => with_checksum(rest.to_vec()),
        // The JSON, a line end, and the arrays.
        _ => {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (json, arrays) = rest.split_at(end.unwrap_or(rest.len()));
            let mut body = HEAD.to_vec();
            body.extend_from_slice(&(json.len() as u64).to_le_bytes());
            body.extend_from_slice(json);
            body.extend_from_slice(arrays.get(1..).unwrap_or_default());
            with_checksum(body)
        }
    }
}

fn with_checksum(mut body: Vec<u8>) -> Vec<u8> {
    let hash = blake3::hash(&body);
    body.extend_from_slice(hash.as_bytes());
    body
}

pub fn run(data: &[u8]) {
    let disk = Memory::default();
    disk.put(FILE, file_of(data));
    let loaded = load_on(&disk, Path::new(FILE));
    let newest = load_newest_on(&disk, Path::new(DIR));
    let checkpoint = match loaded {
        Ok(checkpoint) => checkpoint,
        Err(Error::Damaged { .. }) => {
            let none = matches!(newest, Err(Error::NoneValid { count: 1, .. }));
            return assert!(none, "a damaged file is passed over: {newest:?}");
        }
        Err(Error::Newer { .. }) => {
            return assert!(matches!(newest, Err(Error::Newer { .. })), "{newest:?}");
        }
        Err(other) => panic!("{other}"),
    };
    assert!(checkpoint.taken >= checkpoint.examples);
    // What was read can be written, and comes back as it was: compared by the bytes, since NaN equals nothing.
    let first = saved(&checkpoint);
    let again = Memory::default();
    again.put(FILE, first.clone());
    let back = load_on(&again, Path::new(FILE)).expect("it was just written");
    assert_eq!(back.state.digest(), checkpoint.state.digest());
    assert_eq!(saved(&back), first);
}

fn saved(checkpoint: &Checkpoint) -> Vec<u8> {
    let disk = Memory::default();
    let written = save_on(&disk, Path::new(DIR), checkpoint, 1).expect("memory does not fail");
    disk.read(&written.path).expect("it was just written")
}
