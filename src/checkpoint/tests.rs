use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::state::Blob;

fn save(dir: &Path, checkpoint: &Checkpoint, keep: usize) -> Result<PathBuf, Error> {
    super::save(dir, checkpoint, keep).map(|written| written.path)
}

fn sample(step: u64) -> Checkpoint {
    let mut state = State::default();
    state.put_text("classes", "[\"ok\",\"fraud\"]");
    state.put_f32(
        "model.param.000.weight",
        vec![2, 2],
        vec![1.5, -0.0, f32::INFINITY, 1e-40],
    );
    state.put_f32("model.momentum.000.weight", vec![2, 2], vec![0.0; 4]);
    state.put_f64("absgd.normalizer", vec![0.25, f64::NEG_INFINITY]);
    state.put_u64("learner.counters", vec![step * 64, step, u64::MAX]);
    let mut positions = Positions::default();
    positions.advance(0, 41);
    positions.advance(7, 1 << 40);
    Checkpoint {
        digest: state.digest(),
        state,
        positions,
        examples: step * 64,
        taken: step * 64,
        step,
        settings: json!({"learner.lambda": 5.0, "seed": 1}),
        instruction_set: "x86-64-v3".to_owned(),
        source: "embedded".to_owned(),
    }
}

/// Bits, so that infinities, -0.0 and NaN count.
fn same(a: &Checkpoint, b: &Checkpoint) -> bool {
    a.header() == b.header()
        && a.state.texts == b.state.texts
        && a.state.blobs.len() == b.state.blobs.len()
        && a.state
            .blobs
            .iter()
            .zip(&b.state.blobs)
            .all(|((name, a), (other, b))| {
                name == other
                    && a.kind() == b.kind()
                    && a.shape() == b.shape()
                    && a.to_le_bytes() == b.to_le_bytes()
            })
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let bytes = format::encode(&sample(3));
    assert!(format::decode(&bytes).is_ok());
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        for bit in 0..8 {
            changed[at] = bytes[at] ^ (1 << bit);
            assert!(format::decode(&changed).is_err(), "byte {at}, bit {bit}");
        }
        assert!(format::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(format::decode(&longer).is_err());
}

#[test]
fn a_flipped_bit_in_a_kept_file_is_found_and_the_file_named() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(scrub(dir.path()).unwrap().whole, 0);
    let paths: Vec<PathBuf> = (1..=3)
        .map(|step| save(dir.path(), &sample(step), 3).unwrap())
        .collect();
    let clean = scrub(dir.path()).unwrap();
    assert_eq!((clean.whole, clean.damaged.len()), (3, 0));
    let mut bytes = fs::read(&paths[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&paths[1], bytes).unwrap();
    let found = scrub(dir.path()).unwrap();
    assert_eq!((found.whole, found.damaged.len()), (2, 1));
    assert_eq!(found.damaged[0].path, paths[1]);
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let mut bytes = format::encode(&sample(3));
    let body = bytes.len() - blake3::OUT_LEN;
    bytes[8] = 9;
    let hash = blake3::hash(&bytes[..body]);
    bytes[body..].copy_from_slice(hash.as_bytes());
    assert_eq!(format::decode(&bytes).unwrap_err(), format::Fault::Newer(9));
}

#[test]
fn shapes_beyond_the_file_are_refused_before_memory_is_taken() {
    let huge = [vec![usize::MAX], vec![1 << 40, 1 << 40], vec![3], vec![1]];
    for shape in huge {
        let header = serde_json::to_value(sample(1).header()).unwrap();
        let arrays = json!([{ "name": "w", "kind": "f32", "shape": shape }]);
        let json = json!({ "header": header, "texts": {}, "arrays": arrays }).to_string();
        let mut bytes = b"SKEWDCKP\x01\0\0\0".to_vec();
        bytes.extend_from_slice(&(json.len() as u64).to_le_bytes());
        bytes.extend_from_slice(json.as_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        let decoded = format::decode(&bytes);
        assert!(
            matches!(decoded, Err(format::Fault::Damaged(_))),
            "{shape:?}"
        );
    }
}

#[test]
fn the_first_format_can_still_be_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoint-v1.skewd");
    assert!(same(&load(&path).unwrap(), &sample(11)));
}

#[test]
fn the_newest_are_kept_and_the_newest_valid_one_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("checkpoints");
    assert!(load_newest(&folder).unwrap().is_none());
    let paths: Vec<PathBuf> = (1..=5)
        .map(|step| save(&folder, &sample(step), 3).unwrap())
        .collect();
    let kept: Vec<u64> = list(&folder)
        .unwrap()
        .iter()
        .map(|entry| entry.checkpoint.as_ref().unwrap().step)
        .collect();
    assert_eq!(kept, [3, 4, 5]);
    fs::write(&paths[4], b"SKEWDCKP").unwrap();
    let loaded = load_newest(&folder).unwrap().unwrap();
    assert!(same(&loaded.checkpoint, &sample(4)));
    assert_eq!(loaded.skipped.len(), 1);
    assert_eq!(loaded.skipped[0].path, paths[4]);
    for path in &paths[2..] {
        fs::write(path, b"").unwrap();
    }
    let error = load_newest(&folder).unwrap_err().to_string();
    assert!(error.contains("none of the 3 checkpoints"), "{error}");
    assert!(error.contains("start anew"), "{error}");
}

#[test]
fn two_saves_of_one_step_are_two_files_and_remains_of_a_crash_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    let first = save(dir.path(), &sample(1), 3).unwrap();
    fs::write(dir.path().join(".writing-x"), b"half").unwrap();
    let second = save(dir.path(), &sample(1), 3).unwrap();
    assert!(second > first);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn damaged_files_never_push_out_one_that_can_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let good = save(dir.path(), &sample(1), 3).unwrap();
    for step in 2..=4 {
        let path = save(dir.path(), &sample(step), 3).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(good.exists(), "step {step}");
    }
    // Two whole ones more, and the oldest whole one is still among the three.
    save(dir.path(), &sample(5), 3).unwrap();
    save(dir.path(), &sample(6), 3).unwrap();
    assert!(good.exists());
    save(dir.path(), &sample(7), 3).unwrap();
    assert!(!good.exists());
    let steps: Vec<u64> = list(dir.path())
        .unwrap()
        .iter()
        .map(|entry| entry.checkpoint.as_ref().unwrap().step)
        .collect();
    assert_eq!(steps, [5, 6, 7]);
}

#[test]
fn the_length_of_a_file_is_told_by_its_beginning() {
    let bytes = format::encode(&sample(3));
    let length = bytes.len() as u64;
    let told = |bytes: &[u8]| format::length(&mut &bytes[..], length).unwrap();
    assert_eq!(told(&bytes), Some(length));
    let mut other = bytes.clone();
    other[0] ^= 1;
    assert_eq!(told(&other), None);
    assert_eq!(format::length(&mut &bytes[..10], 10).unwrap(), None);
}

#[test]
fn after_a_fall_back_the_next_file_is_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &sample(50), 3).unwrap();
    let newer = save(dir.path(), &sample(90), 3).unwrap();
    fs::write(&newer, b"torn").unwrap();
    save(dir.path(), &sample(60), 3).unwrap();
    let loaded = load_newest(dir.path()).unwrap().unwrap();
    assert_eq!(loaded.checkpoint.step, 60);
    assert!(loaded.skipped.is_empty());
}

#[test]
fn a_state_that_could_not_be_read_again_is_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    let good = save(dir.path(), &sample(1), 1).unwrap();
    let mut wrong = sample(2);
    let values = vec![1.0; 3];
    let shape = vec![2];
    wrong
        .state
        .blobs
        .insert("w".to_owned(), Blob::F32 { shape, values });
    assert!(matches!(
        save(dir.path(), &wrong, 1),
        Err(Error::Damaged { .. })
    ));
    assert_eq!(load_newest(dir.path()).unwrap().unwrap().path, good);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn other_files_in_the_folder_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let names = [
        "checkpoint-.skewd",
        "checkpoint-+5.skewd",
        "checkpoint-7.bak",
        "notes",
    ];
    for name in names {
        fs::write(dir.path().join(name), b"mine").unwrap();
    }
    for step in 1..=3 {
        save(dir.path(), &sample(step), 1).unwrap();
    }
    assert_eq!(list(dir.path()).unwrap().len(), 1);
    for name in names {
        assert!(dir.path().join(name).exists(), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_process_that_was_killed_holds_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    // What such a process leaves: the file with its number, unlocked.
    fs::write(dir.path().join("lock"), "4194304\n").unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    let text = fs::read_to_string(dir.path().join("lock")).unwrap();
    assert_eq!(text, format!("{}\n", std::process::id()));
    drop(lock);
}

#[test]
fn what_cannot_be_written_leaves_the_older_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("file");
    fs::write(&blocked, b"not a folder").unwrap();
    assert!(matches!(
        save(&blocked, &sample(1), 3),
        Err(Error::Io { .. })
    ));
    assert_eq!(fs::read(&blocked).unwrap(), b"not a folder");
}

#[test]
fn parameters_are_exported_without_momentum() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    export_safetensors(&sample(2), &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.names(), ["layer.000.weight"]);
    assert_eq!(tensors.tensor("layer.000.weight").unwrap().shape(), [2, 2]);
}

#[test]
fn a_folder_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    let error = DirLock::acquire(dir.path()).unwrap_err();
    assert!(matches!(error, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()));
    drop(lock);
    assert!(DirLock::acquire(dir.path()).is_ok());
}

/// Any state: every bit pattern, any text as a name, up to three dimensions, empty ones too.
fn any_state() -> impl Strategy<Value = State> {
    let bits = proptest::collection::vec(any::<u64>(), 0..12);
    let shape = proptest::collection::vec(0usize..4, 0..4);
    let blob = (0..3, bits, shape).prop_map(|(kind, bits, shape)| match kind {
        0 => {
            let values = (0..shape.iter().product())
                .map(|at| f32::from_bits(bits.get(at).map_or(at as u32, |bits| *bits as u32)));
            Blob::F32 {
                values: values.collect(),
                shape,
            }
        }
        1 => Blob::F64(bits.into_iter().map(f64::from_bits).collect()),
        _ => Blob::U64(bits),
    });
    let texts = proptest::collection::btree_map(any::<String>(), any::<String>(), 0..4);
    let blobs = proptest::collection::btree_map(any::<String>(), blob, 0..6);
    (texts, blobs).prop_map(|(texts, blobs)| State { texts, blobs })
}

proptest! {
    #[test]
    fn any_state_comes_back_bit_for_bit(
        state in any_state(),
        positions in proptest::collection::btree_map(any::<i32>(), any::<i64>(), 0..4),
        (examples, step) in any::<(u64, u64)>(),
        (source, number) in any::<(String, f64)>(),
    ) {
        let checkpoint = Checkpoint {
            digest: state.digest(),
            state,
            positions: Positions(positions),
            examples,
            taken: examples.saturating_add(step),
            step,
            settings: json!({ "x": number, source.clone(): [step] }),
            instruction_set: String::new(),
            source,
        };
        let bytes = format::encode(&checkpoint);
        let back = format::decode(&bytes).unwrap();
        prop_assert!(same(&back, &checkpoint));
        prop_assert_eq!(back.state.digest(), checkpoint.digest);
        let length = bytes.len() as u64;
        prop_assert_eq!(format::length(&mut bytes.as_slice(), length).unwrap(), Some(length));
    }

    #[test]
    fn bytes_that_are_no_checkpoint_are_refused_without_harm(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        json in ".{0,80}",
        sealed in any::<bool>(),
    ) {
        if sealed {
            // With magic, version and checksum in order, what lies between must be looked at.
            let mut whole = b"SKEWDCKP\x01\0\0\0".to_vec();
            whole.extend_from_slice(&(json.len() as u64).to_le_bytes());
            whole.extend_from_slice(json.as_bytes());
            whole.append(&mut bytes);
            let hash = blake3::hash(&whole);
            whole.extend_from_slice(hash.as_bytes());
            bytes = whole;
        }
        prop_assert!(format::decode(&bytes).is_err());
        let length = bytes.len() as u64;
        let told = format::length(&mut bytes.as_slice(), length).unwrap();
        prop_assert_ne!(told, Some(length));
    }
}
