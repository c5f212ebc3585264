use proptest::prelude::*;

use super::*;
use crate::example::Record;

fn letter(offset: i64) -> Letter {
    Letter::new(&Record::new(0, offset, "{"), "syntax", "line 1")
}

fn large(offset: i64) -> Letter {
    Letter::new(
        &Record::new(0, offset, vec![b'x'; 300 << 10]),
        "syntax",
        "line 1",
    )
}

/// Sends everything, as a topic that takes all of it would have it.
fn drain(spool: &mut Spool) -> Vec<i64> {
    let mut offsets = Vec::new();
    while !spool.is_empty() {
        offsets.extend(
            spool
                .oldest()
                .unwrap()
                .iter()
                .map(|letter| letter.record.offset),
        );
        spool.remove_oldest().unwrap();
    }
    offsets
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn letters_come_back_in_order_over_files_and_starts_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("spool");
    for offset in 0..20 {
        // A process that is killed after each letter.
        let mut spool = Spool::open(&at, 1 << 30).unwrap();
        spool.append(&large(offset)).unwrap();
        spool.flush().unwrap();
    }
    let mut spool = Spool::open(&at, 1 << 30).unwrap();
    for offset in 20..30 {
        spool.append(&large(offset)).unwrap();
    }
    assert_eq!(spool.letters(), 30);
    let expected: Vec<i64> = (0..30).collect();
    assert_eq!(drain(&mut spool), expected);
    assert!(files(&at).is_empty());
    spool.append(&letter(30)).unwrap();
    assert_eq!(drain(&mut spool), [30]);
}

#[test]
fn what_was_not_removed_is_sent_again_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 30).unwrap();
    for offset in 0..12 {
        spool.append(&large(offset)).unwrap();
        spool.flush().unwrap();
    }
    let first = spool.oldest().unwrap().len();
    spool.remove_oldest().unwrap();
    spool.oldest().unwrap();
    drop(spool);
    let rest: Vec<i64> = (first as i64..12).collect();
    assert_eq!(drain(&mut Spool::open(dir.path(), 1 << 30).unwrap()), rest);
}

#[test]
fn a_full_spool_refuses_and_takes_again_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 2 << 20).unwrap();
    let taken = (0..20)
        .take_while(|offset| spool.append(&large(*offset)).is_ok())
        .count();
    assert_eq!(taken, 6, "letters of 300 KiB in 2 MiB");
    assert!(matches!(spool.append(&large(6)), Err(Refused::Full)));
    spool.oldest().unwrap();
    spool.remove_oldest().unwrap();
    spool.append(&large(6)).unwrap();
    // One that alone is over the bound is taken when nothing else waits.
    let mut small = Spool::open(&dir.path().join("small"), 1000).unwrap();
    small.append(&large(0)).unwrap();
    assert_eq!(drain(&mut small), [0]);
}

#[test]
fn a_torn_end_is_cut_and_damage_before_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 30).unwrap();
    spool.append(&letter(0)).unwrap();
    spool.append(&letter(1)).unwrap();
    spool.flush().unwrap();
    let path = files(dir.path())[0].clone();
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut spool = Spool::open(dir.path(), 1 << 30).unwrap();
        let letters = drain(&mut spool);
        assert!(
            [vec![], vec![0], vec![0, 1]].contains(&letters) && letters.len() < 2,
            "cut at {cut}: {letters:?}"
        );
        fs::write(&path, &whole).unwrap();
    }
    for flipped in 0..whole.len() {
        let mut data = whole.clone();
        data[flipped] ^= 1;
        fs::write(&path, &data).unwrap();
        fs::write(dir.path().join(format!("dead-{:020}.spool", 9)), &whole).unwrap();
        let Err(error) = Spool::open(dir.path(), 1 << 30) else {
            panic!("the bit flipped at {flipped} was not noticed")
        };
        assert!(error.to_string().contains("is damaged at byte"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_disk_that_fails_loses_nothing_that_was_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(dir.path(), 1 << 30).unwrap();
    spool.append(&letter(0)).unwrap();
    spool.flush().unwrap();
    spool.append(&letter(1)).unwrap();
    // Every write to this device fails with "no space left".
    spool.file = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let error = spool.flush().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().contains(".spool"), "{error}");
    // Half of an entry has reached the file.
    let path = files(dir.path())[0].clone();
    let mut data = fs::read(&path).unwrap();
    data.extend_from_slice(&[7; 30]);
    fs::write(&path, data).unwrap();
    spool.append(&letter(2)).unwrap();
    spool.flush().unwrap();
    assert_eq!(
        drain(&mut Spool::open(dir.path(), 1 << 30).unwrap()),
        [0, 1, 2]
    );
}

proptest! {
    #[test]
    fn any_letter_comes_back_as_it_was(
        value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50)),
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
        headers in proptest::collection::vec((".{0,9}", proptest::option::of(".{0,9}")), 0..4),
        timestamp in proptest::option::of(any::<i64>()),
        place in any::<(i32, i64)>(),
        is_cut in any::<bool>(),
    ) {
        let mut record = Record::new(place.0, place.1, "");
        record.payload = value.map(Into::into);
        record.key = key.map(Into::into);
        record.timestamp_ms = timestamp;
        record.headers = headers.into_iter().map(|(name, value)| (name, value.map(Into::into))).collect();
        let mut letter = Letter::new(&record, "syntax", "\u{fc}");
        letter.is_cut = is_cut;
        let bytes = encode(&letter);
        prop_assert_eq!(decode(&bytes), Some(letter));
        for cut in 0..bytes.len() {
            // No part of it panics; some are letters with fewer headers, which the checksum tells apart.
            let _ = decode(&bytes[..cut]);
        }
    }
}
